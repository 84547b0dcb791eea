//! Puts files back. The agent's HEAD, branches and index stay where they are, so what was undone
//! shows there as changes, and its commits are not lost.
//!
//! Never: remove a file that the restored `.gitignore` ignores.
//!
//! Surprise: the state to come back to is saved with the name of its request, so that a request
//! that was interrupted and comes again does not take its own half-made work for it.

use super::repository::{Repository, Site, WORK, project, turn_name};
use super::state::{Snapshot, new_commit, take};
use crate::setup::make_cwd;
use protocol::{Restore, RestoreTo, Restored, ToolError};
use std::path::Path;

const UNDONE: &str = "refs/opencode/undone";

/// Makes the files what they were.
pub(crate) fn restore(site: Site<'_>, id: &str, restore: &Restore) -> Result<Restored, ToolError> {
    if let RestoreTo::Before { turn, .. } = &restore.to {
        turn_name(turn)?;
    }
    let nothing = Ok(Restored { changed: false });
    let Some(repository) = Repository::open(site, project(&restore.root)?)? else {
        return nothing;
    };
    let target = match &restore.to {
        RestoreTo::Before { turn, .. } => {
            let mut turns = repository.turns()?.into_iter();
            turns
                .find(|(kept, _)| kept >= turn)
                .map(|(_, commit)| commit)
        }
        RestoreTo::Latest => repository.git.resolve(&[UNDONE]).remove(0),
    };
    let Some(target) = target else {
        return nothing;
    };
    // It stays in the history of what comes home, whatever becomes of the files now.
    let now = take(&repository, "Before an undo", false)?;
    repository.set(&[(WORK.to_string(), Some(&now.commit))])?;
    if let RestoreTo::Before { first: true, .. } = &restore.to {
        save(&repository, id, &now)?;
    }
    apply(&now, &target)?;
    make_cwd(Path::new(&restore.root), restore.cwd.as_deref());
    if matches!(restore.to, RestoreTo::Latest) {
        repository.set(&[(UNDONE.to_string(), None)])?;
    }
    Ok(Restored { changed: true })
}

/// Keeps the state as it was before anything was undone.
fn save(repository: &Repository, id: &str, now: &Snapshot) -> Result<(), ToolError> {
    let request = format!("Request: {id}");
    let saved = repository.git.feed(&["cat-file", "commit", UNDONE], b"");
    let saved = String::from_utf8_lossy(&saved.unwrap_or_default()).into_owned();
    if saved.lines().any(|line| line == request) {
        return Ok(());
    }
    let commit = new_commit(
        &repository.git,
        &["commit-tree", &now.tree, "-p", &now.commit, "-F", "-"],
        &format!("Before an undo\n\n{request}"),
    )?;
    repository.set(&[(UNDONE.to_string(), Some(&commit))])
}

fn apply(now: &Snapshot, target: &str) -> Result<(), ToolError> {
    let git = &now.files;
    git.run(&["read-tree", "--reset", "-u", target])?;
    // What the agent took out of `.gitignore` was in no earlier state, and is no work of its own.
    let removed = git.feed(
        &[
            "diff-tree",
            "-r",
            "-z",
            "--name-only",
            "--no-renames",
            "--diff-filter=D",
            &now.tree,
            target,
        ],
        b"",
    )?;
    if removed.is_empty() {
        return Ok(());
    }
    // It ends with 1 if it finds none.
    let ignored = git
        .output(&["check-ignore", "-z", "--stdin"], &removed)?
        .stdout;
    if ignored.is_empty() {
        return Ok(());
    }
    let args = [
        "--literal-pathspecs",
        "checkout",
        &now.commit,
        "--pathspec-from-file=-",
        "--pathspec-file-nul",
    ];
    git.feed(&args, &ignored).map(drop)
}
