//! What OpenCode calls a project, for a program that no OpenCode has told it: the store's file has that
//! name.
//!
//! As OpenCode 1.18.33 does: the hash of the remote `origin` without what differs between its forms,
//! else what an earlier OpenCode left in the git directory, else the first of the root commits, else
//! [`NO_PROJECT`]. End-to-end tests compare it with the real OpenCode.

use crate::error::Error;
use crate::git::{Git, text};
use crate::layout::{BETWEEN, absolute, between};
use host::Host;
use sha1::{Digest, Sha1};

/// What every directory without commits is called.
pub const NO_PROJECT: &str = "global";

/// OpenCode's id of the project that a directory belongs to.
pub async fn project_id(host: &dyn Host, directory: &str) -> Result<String, Error> {
    let git = Git::users(host, directory);
    let remote = git.run(&["remote", "get-url", "origin"], "").await?;
    let remote = text(&remote.stdout);
    if let Some(place) = place(&remote) {
        let hash = Sha1::digest(format!("git-remote:{place}"));
        return Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    let ask = ["rev-parse", "--git-common-dir", BETWEEN];
    let answer = git.run(&ask, "").await?;
    let answer = String::from_utf8_lossy(&answer.stdout).into_owned();
    if let Some(dir) = between(&answer).next().filter(|dir| !dir.is_empty()) {
        let path = format!("{}/opencode", absolute(directory, &dir));
        let left = host.read_file(&path).await.unwrap_or_default();
        let left = String::from_utf8_lossy(&left).trim().to_string();
        if !left.is_empty() {
            return Ok(left);
        }
    }
    let roots = git
        .run(&["rev-list", "--max-parents=0", "HEAD"], "")
        .await?;
    let roots = text(&roots.stdout);
    let first = roots
        .lines()
        .min()
        .filter(|root| crate::names::is_hash(root));
    Ok(first.unwrap_or(NO_PROJECT).into())
}

/// Host and path of a remote, the same for all forms of its address; none for a path or a file.
fn place(remote: &str) -> Option<String> {
    let remote = remote.trim();
    let (host, path) = match remote.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => {
            let (authority, path) = rest.split_once('/')?;
            let host = authority.rsplit('@').next()?;
            (host.split(':').next()?, path.split(['?', '#']).next()?)
        }
        None => {
            let (place, path) = remote.split_once(':')?;
            let is_place = !place.is_empty() && !place.contains('/') && !is_scheme(place);
            let user = place.find('@').filter(|at| *at > 0);
            let host = user.map_or(place, |at| &place[at + 1..]);
            is_place.then_some((host, path))?
        }
    };
    let path = path.trim_start_matches('/');
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = path.strip_suffix(".git").unwrap_or(path);
    let path = path.trim_end_matches('/');
    (!host.is_empty() && !path.is_empty()).then(|| format!("{}/{path}", host.to_lowercase()))
}

/// True for what begins a URL: that is one without a host then.
fn is_scheme(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_remote_has_one_name_in_all_its_forms() {
        for (remote, expected) in [
            ("https://GitHub.com/a/b.git", "github.com/a/b"),
            ("https://user:tok@github.com/a/b", "github.com/a/b"),
            ("ssh://git@github.com:22/a/b.git/", "github.com/a/b"),
            ("git@github.com:a/b.git\n", "github.com/a/b"),
            ("git@github.com:/a/b/", "github.com/a/b"),
            ("git@GitHub.com:A/B", "github.com/A/B"),
            ("https://h.example:8443/x.git/", "h.example/x"),
            ("git://h/a//", "h/a"),
            ("https://h/a.git?x#y", "h/a"),
            ("ssh://h.x/~me/p.git", "h.x/~me/p"),
            ("my_host:x", "my_host/x"),
            ("1h:x", "1h/x"),
            ("a@b@c:x", "b@c/x"),
            ("u@h.x:p.gitx", "h.x/p.gitx"),
            ("", ""),
            ("file:///a/b", ""),
            ("/a/b", ""),
            ("../a", ""),
            ("C:/a/b", ""),
            ("github.com:a/b.git", ""),
            ("https://github.com", ""),
            ("https://github.com/", ""),
        ] {
            assert_eq!(place(remote).unwrap_or_default(), expected, "{remote}");
        }
    }
}
