//! Who may ask: the `Host` header keeps other web pages out, the key keeps everyone else out.

use axum::http::{HeaderMap, StatusCode, header};

use crate::problem::Problem;

/// Whom a request's `Host` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// This server.
    Server,
    /// A preview; the label before `.localhost`.
    Preview(String),
    /// Someone else: a page that made a name of its own point here.
    Foreign,
}

pub(crate) fn host(headers: &HeaderMap, port: u16) -> Host {
    let host = headers
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    let Some(name) = host
        .to_ascii_lowercase()
        .strip_suffix(&format!(":{port}"))
        .map(str::to_owned)
    else {
        return Host::Foreign;
    };
    match name.as_str() {
        "127.0.0.1" | "localhost" => Host::Server,
        _ => match name.strip_suffix(".localhost") {
            Some(label) if !label.contains('.') => Host::Preview(label.to_owned()),
            _ => Host::Foreign,
        },
    }
}

/// What someone else is told.
pub(crate) fn foreign() -> Problem {
    let message = "this server answers to 127.0.0.1 and localhost only";
    Problem::new(StatusCode::FORBIDDEN, message)
}

/// Whether the request carries the API key.
pub(crate) fn has_key(headers: &HeaderMap, key: &str) -> bool {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok());
    value
        .and_then(|v| v.strip_prefix("Bearer "))
        .is_some_and(|given| same(given.trim(), key))
}

/// Equality that takes the same time wherever the difference is.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .fold(0, |acc, (x, y)| acc | (x ^ y))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_on_our_port_are_ours() {
        for (value, want) in [
            ("127.0.0.1:80", Host::Server),
            ("LOCALHOST:80", Host::Server),
            (
                "3000-abc.localhost:80",
                Host::Preview("3000-abc".to_owned()),
            ),
            ("127.0.0.1:81", Host::Foreign),
            ("127.0.0.1", Host::Foreign),
            ("evil.example:80", Host::Foreign),
            ("a.b.localhost:80", Host::Foreign),
            ("", Host::Foreign),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, value.parse().expect("a value"))]);
            assert_eq!(host(&headers, 80), want, "{value}");
        }
    }
}
