//! What a directory is to git: the part of a worktree, a directory without a repository, or something
//! that no work can come home to.
//!
//! | the directory | what it is |
//! | --- | --- |
//! | a worktree, or below one | that worktree |
//! | below a worktree that is the home directory or above it, or ignored by its repository | a directory without a repository: nothing may land in the repository around it |
//! | a bare repository, the inside of a git directory, a directory around worktrees (`.git` leads to a bare repository) | refused: it has no files, and its settings may hold tokens |
//! | a repository of another user's that git does not trust | refused, with git's own way out |
//! | one whose `.git` leads nowhere, or is damaged | refused |
//! | any other | a directory without a repository |
//!
//! Git decides; what it refuses is looked at again here, because its words may be of any version.

use crate::error::Error;
use crate::git::{self, Git, text};
use crate::layout::{BETWEEN, between};
use crate::pack::is_no_project;
use host::Host;

/// What a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ground {
    /// It belongs to the worktree at this path.
    Worktree(String),
    /// It is carried as a directory without a repository.
    Plain,
}

/// Worktrees of a repository that are named as the way out.
const NAMED: usize = 5;

/// Looks at a directory. An error says why nothing may be carried.
pub async fn ground(host: &dyn Host, directory: &str) -> Result<Ground, Error> {
    let git = Git::users(host, directory);
    let ask = [
        "rev-parse",
        "--is-inside-git-dir",
        BETWEEN,
        "--is-bare-repository",
        BETWEEN,
        "--absolute-git-dir",
        BETWEEN,
        "--show-toplevel",
    ];
    let found = git.run(&ask, "").await?;
    let answers = String::from_utf8_lossy(&found.stdout).into_owned();
    let mut answers = between(&answers);
    let (is_git_dir, is_bare) = (answers.next(), answers.next());
    let (dir, top) = (answers.next(), answers.next());
    if let Some(top) = top.filter(|top| found.code == 0 && !top.is_empty()) {
        return within(host, &git, directory, top).await;
    }
    let is = |answer: Option<String>| answer.as_deref() == Some("true");
    let (is_git_dir, is_bare) = (is(is_git_dir), is(is_bare));
    if is_git_dir || is_bare {
        let around = dir.as_deref().and_then(|dir| dir.strip_suffix("/.git"));
        let is_homes = around.is_some_and(|around| is_no_project(host, around, true));
        return match is_homes && !is_git_dir {
            true => Ok(Ground::Plain),
            false => Err(no_worktree(&git, directory).await),
        };
    }
    refused(host, directory, &found).await
}

/// A directory of a worktree.
async fn within(
    host: &dyn Host,
    git: &Git<'_>,
    directory: &str,
    top: String,
) -> Result<Ground, Error> {
    if is_no_project(host, &top, true) {
        return Ok(Ground::Plain);
    }
    if host.platform().is_same(directory, &top) {
        return Ok(Ground::Worktree(top));
    }
    // Nothing that is done in an ignored directory would come home. One with files that are tracked
    // is none to git.
    let ignored = git.run(&["check-ignore", "--quiet", "."], "").await?;
    Ok(match ignored.code {
        0 => Ground::Plain,
        _ => Ground::Worktree(top),
    })
}

/// That there is no worktree, with those that the repository has.
async fn no_worktree(git: &Git<'_>, directory: &str) -> Error {
    let listed = git.run(&["worktree", "list", "--porcelain"], "").await;
    let listed = listed
        .map(|listed| text(&listed.stdout))
        .unwrap_or_default();
    let mut worktrees = Vec::new();
    for block in listed.split("\n\n") {
        let path = block
            .lines()
            .find_map(|line| line.strip_prefix("worktree "));
        let is_bare = block.lines().any(|line| line == "bare");
        worktrees.extend(path.filter(|_| !is_bare).map(str::to_string));
    }
    worktrees.retain(|path| !git.host.platform().is_same(path, directory));
    let help = match worktrees.len() {
        0 => "a worktree of it (`git worktree add` makes one)".to_string(),
        _ => {
            worktrees.truncate(NAMED);
            format!("one of its worktrees ({})", worktrees.join(", "))
        }
    };
    Error::NoWorktree {
        directory: directory.into(),
        help,
    }
}

/// A directory that git says is in no repository, or that it refuses.
async fn refused(
    host: &dyn Host,
    directory: &str,
    found: &host::GitOutput,
) -> Result<Ground, Error> {
    let Some((place, dir)) = nearest(host, directory).await else {
        return Ok(Ground::Plain);
    };
    // Who names the git directory is not asked whether he trusts its owner.
    let ask = ["rev-parse", "--is-bare-repository"];
    let named = Git::users(host, directory).with("GIT_DIR", dir.clone());
    let named = named.run(&ask, "").await?;
    let is_bare = text(&named.stdout) == "true";
    if named.code == 0 {
        return match found.stderr.contains("safe.directory") {
            true => Err(Error::NotTrusted { path: place }),
            // A limit of the user's that git keeps to.
            false if dir == place || is_bare => Err(Error::NoWorktree {
                directory: directory.into(),
                help: "a worktree of it".into(),
            }),
            false => Ok(Ground::Plain),
        };
    }
    // Git passes by a directory `.git` that is no repository, and stops at a file.
    let is_file = host.read_part(&dir, 0, 1).await.is_ok();
    let is_own = host.platform().is_same(&place, directory);
    let is_empty = !is_file
        && host
            .list_dir(&dir)
            .await
            .is_ok_and(|names| names.is_empty());
    match is_file || (is_own && !is_empty) {
        true => Err(Error::Damaged {
            path: dir,
            reason: git::reason(&named),
        }),
        false => Ok(Ground::Plain),
    }
}

/// The nearest directory at or above this one that has a `.git` or is a git directory itself, and the
/// git directory.
async fn nearest(host: &dyn Host, directory: &str) -> Option<(String, String)> {
    let real = host.real_path(directory).await;
    let platform = host.platform();
    let real = platform.slashed(&real.unwrap_or_else(|_| directory.into()));
    let mut place = real.trim_end_matches('/');
    loop {
        let names = host
            .list_dir(&format!("{place}/"))
            .await
            .unwrap_or_default();
        let has = |name: &str| names.iter().any(|found| found == name);
        if has(".git") {
            return Some((place.into(), format!("{place}/.git")));
        }
        if has("HEAD") && has("objects") && has("refs") {
            return Some((place.into(), place.into()));
        }
        place = match platform.parent(place) {
            Some(parent) => parent,
            None if !place.is_empty() && !platform.is_windows() => "",
            None => return None,
        };
    }
}
