//! The path of a request, read strictly: what could mean two things to two programs is refused.

use hyper::Uri;

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `/model/<provider>/<rest>`
    Model { provider: &'a str, rest: &'a str },
    /// `/git/<host>/<rest>`
    Git { host: &'a str, rest: &'a str },
}

/// Why a path asks for nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoTarget {
    /// It is not written as we write paths.
    Form,
    /// There is nothing of that name.
    Unknown,
}

/// What a path asks for. An escape is none of ours: no name that is used here needs one.
pub(super) fn parse(uri: &Uri) -> Result<Target<'_>, NoTarget> {
    if uri.authority().is_some() || uri.scheme().is_some() {
        return Err(NoTarget::Form);
    }
    let path = uri.path().strip_prefix('/').ok_or(NoTarget::Form)?;
    let is_name = |segment: &str| !["", ".", ".."].contains(&segment);
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "/-._~:@+".contains(letter);
    if !path.chars().all(fits) || !path.split('/').all(is_name) {
        return Err(NoTarget::Form);
    }
    let mut parts = path.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("model"), Some(provider), Some(rest)) => Ok(Target::Model { provider, rest }),
        (Some("git"), Some(host), Some(rest)) => Ok(Target::Git { host, rest }),
        _ => Err(NoTarget::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_that_means_one_thing_has_a_target() {
        let model = Ok(Target::Model {
            provider: "a",
            rest: "b/c:d",
        });
        let git = Ok(Target::Git {
            host: "h.example",
            rest: "o/r.js.git/info/refs",
        });
        for (path, target) in [
            ("/model/a/b/c:d?e=f", model),
            ("/git/h.example/o/r.js.git/info/refs?x", git),
            ("/", Err(NoTarget::Form)),
            ("/model/a/../b", Err(NoTarget::Form)),
            ("/model/a/./b", Err(NoTarget::Form)),
            ("/model/a/%2e%2e/b", Err(NoTarget::Form)),
            ("/model/a%2fb/c", Err(NoTarget::Form)),
            ("/model/a//b", Err(NoTarget::Form)),
            ("//model/a/b", Err(NoTarget::Form)),
            ("/model/a/b/", Err(NoTarget::Form)),
            ("/model/a/b;c", Err(NoTarget::Form)),
            ("/model/a/b\\c", Err(NoTarget::Form)),
            ("http://h/model/a/b", Err(NoTarget::Form)),
            ("h:443", Err(NoTarget::Form)),
            ("*", Err(NoTarget::Form)),
            ("/model/a", Err(NoTarget::Unknown)),
            ("/Model/a/b", Err(NoTarget::Unknown)),
            ("/health", Err(NoTarget::Unknown)),
        ] {
            let uri: Uri = path.parse().unwrap();
            assert_eq!(parse(&uri), target, "{path}");
        }
    }
}
