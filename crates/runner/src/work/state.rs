//! The state of the project as a commit: every file that is tracked, or untracked and not ignored.
//!
//! Its tree is made in an index of our own ([`index`]). A merge with conflicts is committed as the
//! files are, conflict marks and all.
//!
//! Never: write to the agent's index, HEAD or files.

use super::encoding;
use super::index::{self, Start};
use super::left::{self, Left};
use super::repository::{Repository, WORK};
use crate::answer::error;
use crate::git::{Git, failed, first_line};
use crate::setup::BASE_REF;
use protocol::{Code, ToolError};

/// What git says if it is not one file that is at fault.
const SANDBOX_FAULTS: &[&str] = &[
    "No space left on device",
    "quota exceeded",
    "Read-only file system",
    "insufficient permission for adding an object",
    "failed to insert into database",
];

/// The state, committed.
pub(super) struct Snapshot {
    pub(super) commit: String,
    pub(super) tree: String,
    /// Git with an index that matches the files.
    pub(super) files: Git,
    pub(super) left: Left,
}

/// Commits the state as it is now. `message` is for a new commit, if it takes one. Only with `compare`
/// is it looked at what is not in it.
pub(super) fn take(
    repository: &Repository,
    message: &str,
    compare: bool,
) -> Result<Snapshot, ToolError> {
    // A file that goes while git looks is fatal to it: look again. And an index that is damaged, or
    // names objects that are gone, is worth reading all files.
    let mut made = tree(repository, Start::Last, compare);
    for start in [Start::Agents, Start::Empty] {
        made = match made {
            Err(why) if !is_fault(&why.message) => {
                tree(repository, start, compare).map_err(|_| why)
            }
            done => done,
        };
    }
    let (files, tree, left) = made?;
    Ok(Snapshot {
        commit: commit(&repository.git, &tree, message, &[WORK, BASE_REF])?,
        tree,
        files,
        left,
    })
}

fn tree(
    repository: &Repository,
    start: Start,
    compare: bool,
) -> Result<(Git, String, Left), ToolError> {
    let (git, kept_back) = index::prepare(repository, start)?;
    let as_they_are = add(&git)?;
    let mut left = Left::default();
    if compare {
        left = left::look(&git, || add(&git).map(drop))?;
        left.notes.extend(as_they_are);
        left.out.extend(kept_back);
    }
    let tree = git.feed(&["write-tree"], b"")?;
    Ok((git, first_line(&tree).unwrap_or_default(), left))
}

/// Brings the index in line with the files. The result tells which are in it as they are, because they
/// cannot be converted as the project's attributes want it.
fn add(git: &Git) -> Result<Vec<String>, ToolError> {
    let args = ["add", "-A", "--ignore-errors"];
    let out = git.output(&args, b"")?;
    let said = String::from_utf8_lossy(&out.stderr);
    if let Some(line) = said.lines().find(|line| is_fault(line)) {
        let message = format!(
            "The state of the project cannot be committed in the sandbox: {line}. Make room, or make .git writable, with bash."
        );
        return Err(error(Code::Sandbox, message));
    }
    // 1 says that some files could not be added.
    if matches!(out.status.code(), Some(0 | 1)) {
        return Ok(Vec::new());
    }
    match encoding::add(git)? {
        as_they_are if as_they_are.is_empty() => Err(failed(&args, &out)),
        as_they_are => Ok(as_they_are),
    }
}

fn is_fault(text: &str) -> bool {
    SANDBOX_FAULTS.iter().any(|fault| text.contains(fault))
}

/// The files of the state `tip` without the states between: on top of what the host has of it, and of
/// the agent's HEAD. None if there are no states between, or if `known`, the commits that the host has,
/// are not behind it.
pub(super) fn shortened(
    git: &Git,
    tip: &str,
    known: &[String],
    message: &str,
) -> Result<Option<String>, ToolError> {
    let Some(from) = known.iter().find(|known| git.is_ancestor(known, tip)) else {
        return Ok(None);
    };
    let without = format!("^{from}");
    let mut between = vec!["rev-list", "--count", tip, &without];
    if git.resolve(&["HEAD^{commit}"]) != [None] {
        between.push("^HEAD");
    }
    if git.text(&between).as_deref() == Some("1") {
        return Ok(None);
    }
    let tree = git.resolve(&[&format!("{tip}^{{tree}}")]);
    match tree.into_iter().flatten().next() {
        Some(tree) => commit(git, &tree, message, &[from]).map(Some),
        None => Ok(None),
    }
}

/// The commit of `tree`: one that is there already, if it is just that, else a new one on top of
/// what was committed before, the first of `before` that is there, and of the agent's HEAD.
fn commit(git: &Git, tree: &str, message: &str, before: &[&str]) -> Result<String, ToolError> {
    let names = ["HEAD"].iter().chain(before);
    let names = names.map(|name| [format!("{name}^{{commit}}"), format!("{name}^{{tree}}")]);
    let names: Vec<String> = names.flatten().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = git.resolve(&names);
    let mut found = found
        .chunks(2)
        .map(|pair| Some((pair[0].as_deref()?, pair[1].as_deref()?)));
    let head = found.next().flatten();
    let before = found.flatten().next();
    let holds = |new: Option<(&str, &str)>, old: Option<(&str, &str)>| match (new, old) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some((new, _)), Some((old, _))) => git.is_ancestor(old, new),
    };
    let (head_holds, before_holds) = (holds(head, before), holds(before, head));
    for (known, is_whole) in [(head, head_holds), (before, before_holds)] {
        match known {
            Some((commit, same)) if is_whole && same == tree => return Ok(commit.to_string()),
            _ => {}
        }
    }
    let mut args = vec!["commit-tree", tree, "-F", "-"];
    let before = before.filter(|_| !head_holds);
    let head = head.filter(|_| !before_holds || before.is_none());
    for (parent, _) in [before, head].into_iter().flatten() {
        args.extend(["-p", parent]);
    }
    new_commit(git, &args, message)
}

/// Runs `commit-tree`, under our own name: the agent's commits are those that it makes itself.
pub(super) fn new_commit(git: &Git, args: &[&str], message: &str) -> Result<String, ToolError> {
    let message = message.replace('\0', "");
    let message = match message.trim() {
        "" => "Work of the agent",
        some => some,
    };
    let name = [
        "-c",
        "user.name=OpenCode",
        "-c",
        "user.email=opencode@localhost",
    ];
    let named = git.feed(&[&name, args].concat(), message.as_bytes())?;
    first_line(&named).ok_or_else(|| {
        error(
            Code::Sandbox,
            "git commit-tree printed no commit in the sandbox",
        )
    })
}
