//! The state of the project as a commit: every file that is tracked, or untracked and not ignored.
//!
//! Its tree is made in an index of our own ([`index`]). A merge with conflicts is committed as the
//! files are, conflict marks and all.
//!
//! Never: write to the agent's index, HEAD or files.

use super::index::{self, Start};
use super::{Repository, WORK};
use crate::error;
use crate::git::{Git, failed, first_line};
use crate::setup::BASE_REF;
use protocol::{Code, ToolError};

const MAX_LEFT_OUT: usize = 100;
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
    /// Files that are not in it, with the reason.
    pub(super) left_out: Vec<String>,
}

/// Commits the state as it is now. `message` is for a new commit, if it takes one.
pub(super) fn take(repository: &Repository, message: &str) -> Result<Snapshot, ToolError> {
    // A file that goes while git looks is fatal to it: look again. And an index that is damaged, or
    // names objects that are gone, is worth reading all files.
    let mut made = tree(repository, Start::Last);
    for start in [Start::Agents, Start::Empty] {
        made = match made {
            Err(why) if !is_fault(&why.message) => tree(repository, start).map_err(|_| why),
            done => done,
        };
    }
    let (files, tree, left_out) = made?;
    Ok(Snapshot {
        commit: commit(&repository.git, &tree, message)?,
        tree,
        files,
        left_out,
    })
}

fn tree(repository: &Repository, start: Start) -> Result<(Git, String, Vec<String>), ToolError> {
    let (git, kept_back) = index::prepare(repository, start)?;
    let args = ["add", "-A", "--ignore-errors"];
    let out = git.output(&args, b"")?;
    let said = String::from_utf8_lossy(&out.stderr);
    // 1 says that some files could not be added.
    if !matches!(out.status.code(), Some(0 | 1)) {
        return Err(failed(&args, &out));
    }
    if let Some(line) = said.lines().find(|line| is_fault(line)) {
        let message = format!(
            "The state of the project cannot be committed in the sandbox: {line}. Make room, or make .git writable, with bash."
        );
        return Err(error(Code::Sandbox, message));
    }
    let tree = git.feed(&["write-tree"], b"")?;
    let mut left_out = left_out(&said);
    left_out.extend(kept_back);
    Ok((git, first_line(&tree).unwrap_or_default(), left_out))
}

fn is_fault(text: &str) -> bool {
    SANDBOX_FAULTS.iter().any(|fault| text.contains(fault))
}

/// Files that git complained about.
fn left_out(said: &str) -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    for line in said.lines() {
        let opened = line
            .strip_prefix("error: open(\"")
            .and_then(|rest| rest.split_once("\"): "))
            .or_else(|| {
                line.strip_prefix("warning: could not open directory '")
                    .and_then(|rest| rest.split_once("': "))
            });
        let indexed = line
            .strip_prefix("error: unable to index file '")
            .and_then(|rest| rest.strip_suffix('\''));
        let file = match (opened, indexed) {
            (Some((path, why)), _) => format!("{path}: {why}"),
            // The reason came in the line before.
            (None, Some(path)) if files.iter().any(|file| file.starts_with(path)) => continue,
            (None, Some(path)) => format!("{path}: it cannot be read"),
            (None, None) => continue,
        };
        // It went while git looked.
        if file.ends_with(": No such file or directory") {
            continue;
        }
        if !files.contains(&file) && files.len() < MAX_LEFT_OUT {
            files.push(file);
        }
    }
    files
}

/// The commit of `tree`: one that is there already, if it is just that, else a new one on top of
/// what was committed before and of the agent's HEAD.
fn commit(git: &Git, tree: &str, message: &str) -> Result<String, ToolError> {
    let names = ["HEAD", WORK, BASE_REF];
    let names = names.map(|name| [format!("{name}^{{commit}}"), format!("{name}^{{tree}}")]);
    let names: Vec<&str> = names.iter().flatten().map(String::as_str).collect();
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

/// Runs `commit-tree`, under our own name where the agent's is not known.
pub(super) fn new_commit(git: &Git, args: &[&str], message: &str) -> Result<String, ToolError> {
    let message = message.replace('\0', "");
    let message = match message.trim() {
        "" => "Work of the agent",
        some => some,
    };
    let named = git.feed(args, message.as_bytes()).or_else(|_| {
        let name = [
            "-c",
            "user.name=OpenCode",
            "-c",
            "user.email=opencode@localhost",
        ];
        git.feed(&[&name, args].concat(), message.as_bytes())
    })?;
    first_line(&named).ok_or_else(|| {
        error(
            Code::Sandbox,
            "git commit-tree printed no commit in the sandbox",
        )
    })
}
