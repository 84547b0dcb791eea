//! The proxy that a request goes through, as the JavaScript runtimes choose it: by variables of the
//! environment (Bun 1.3, November 2026).

use crate::encoded::percent_decoded;

/// Variables that name proxies.
pub const VARIABLES: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The variable that names it.
    pub variable: &'static str,
    /// Its host and port.
    pub address: String,
    /// It is spoken to with TLS.
    pub tls: bool,
    /// User and password, decoded.
    pub login: Option<String>,
}

impl Proxy {
    /// Its host without the port.
    pub fn host(&self) -> &str {
        let host = self.address.rsplit_once(':').map(|(host, _)| host);
        host.unwrap_or(&self.address)
    }
}

/// The proxy that the environment names for `url`.
pub fn of(url: &str, env: impl Fn(&str) -> Option<String>) -> Option<Proxy> {
    let value = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let names: [&'static str; 2] = match url.starts_with("https:") {
        true => ["https_proxy", "HTTPS_PROXY"],
        false => ["http_proxy", "HTTP_PROXY"],
    };
    let (variable, named) = (names.into_iter()).find_map(|name| Some((name, value(name)?)))?;
    let (host, port) = authority(url)?;
    let exempt = value("no_proxy").or_else(|| value("NO_PROXY"));
    if exempt.is_some_and(|list| is_exempt(&list, host, port)) {
        return None;
    }
    let named = named.trim();
    let (scheme, rest) = named.split_once("://").unwrap_or(("http", named));
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, place) = match place.rsplit_once('@') {
        Some((login, place)) => (Some(percent_decoded(login)), place),
        None => (None, place),
    };
    let tls = scheme.eq_ignore_ascii_case("https");
    let has_port = place
        .rsplit_once(':')
        .is_some_and(|(_, port)| is_number(port));
    let address = match (has_port, tls) {
        (true, _) => place.to_string(),
        (false, true) => format!("{place}:443"),
        (false, false) => format!("{place}:80"),
    };
    Some(Proxy {
        variable,
        address,
        tls,
        login,
    })
}

/// Host and port of a URL.
pub fn authority(url: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?', '#']).next()?;
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    let default = if scheme == "https" { 443 } else { 80 };
    match place.rsplit_once(':') {
        Some((host, port)) if is_number(port) => Some((host, port.parse().ok()?)),
        _ => Some((place, default)),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    list.split(',').map(str::trim).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        let (name, only) = match entry.rsplit_once(':') {
            Some((name, port)) if is_number(port) => (name.to_string(), port.parse().ok()),
            _ => (entry, None),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.');
        let is_below = host
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'));
        name == "*"
            || (!name.is_empty()
                && (host == name || is_below)
                && only.is_none_or(|only: u16| only == port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_chosen_by_scheme_and_exemptions() {
        let api = "https://app.daytona.io/api";
        for (url, env, expected) in [
            (api, &[][..], None),
            (api, &[("HTTP_PROXY", "http://p:1")], None),
            (
                api,
                &[("HTTPS_PROXY", "http://p:1")],
                Some(("HTTPS_PROXY", "p:1")),
            ),
            (
                api,
                &[("HTTPS_PROXY", "p:3128")],
                Some(("HTTPS_PROXY", "p:3128")),
            ),
            (
                api,
                &[("HTTPS_PROXY", " http://u:w@p/ ")],
                Some(("HTTPS_PROXY", "p:80")),
            ),
            (
                api,
                &[("https_proxy", "https://p")],
                Some(("https_proxy", "p:443")),
            ),
            (
                "http://a:3000/",
                &[("HTTP_PROXY", "http://p:1")],
                Some(("HTTP_PROXY", "p:1")),
            ),
            (
                api,
                &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "daytona.io")],
                None,
            ),
            (
                api,
                &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "x, .daytona.io")],
                None,
            ),
            (
                api,
                &[("HTTPS_PROXY", "p:1"), ("no_proxy", "app.daytona.io:443")],
                None,
            ),
            (api, &[("HTTPS_PROXY", "p:1"), ("NO_PROXY", "*")], None),
            (
                api,
                &[
                    ("HTTPS_PROXY", "p:1"),
                    ("NO_PROXY", "app.daytona.io:444,tona.io"),
                ],
                Some(("HTTPS_PROXY", "p:1")),
            ),
        ] {
            let env = |name: &str| {
                let found = env.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.to_string())
            };
            let found = of(url, env);
            let found = found.as_ref().map(|p| (p.variable, p.address.as_str()));
            assert_eq!(found, expected, "{url}");
        }
    }
}
