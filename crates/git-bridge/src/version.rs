//! Which git there is, and whether it is new enough.

use crate::error::Error;
use host::{GitCall, Host};

/// The oldest git that projects are carried with: that of Debian 11.
const OLDEST: (u32, u32) = (2, 30);
const LIMIT_MS: u64 = 10_000;

/// What git says of its version; an error if it is too old. A version in a form that is not known is
/// one of the future, or somebody's own.
pub async fn git_version(host: &dyn Host, directory: &str) -> Result<String, Error> {
    let call = GitCall {
        args: vec!["--version".into()],
        cwd: directory.into(),
        timeout_ms: LIMIT_MS,
        ..GitCall::default()
    };
    let output = host.git(call).await?;
    let said = crate::git::text(&output.stdout);
    match parse(&said) {
        Some(found) if found < OLDEST => Err(Error::OldGit {
            found: said,
            needed: format!("{}.{}", OLDEST.0, OLDEST.1),
        }),
        _ => Ok(said),
    }
}

fn parse(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split(['.', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn versions_are_read_as_git_writes_them() {
        for (said, version) in [
            ("git version 2.30.2", Some((2, 30))),
            ("git version 2.39.5 (Apple Git-154)", Some((2, 39))),
            ("git version 2.47.1.windows.2", Some((2, 47))),
            ("git version 2.52-rc1", Some((2, 52))),
            ("git version 1.8.3.1", Some((1, 8))),
            ("git version 3.0.0", Some((3, 0))),
            ("git version next", None),
            ("", None),
        ] {
            assert_eq!(parse(said), version, "{said}");
        }
    }
}
