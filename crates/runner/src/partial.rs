//! A project some of whose files are nowhere: the user's repository is a partial clone with a sparse
//! checkout. Here it is one, too, so that every git knows that those objects may be missing, and the
//! files stay out of the working tree without being deleted.
//!
//! Nobody has them to give: whatever needs one says that it cannot be fetched.

use crate::git::Git;
use protocol::ToolError;
use std::collections::HashSet;

/// A remote that is never asked.
const REMOTE: &str = "not-on-the-users-machine";

/// Says that objects may be missing.
pub(crate) fn declare(git: &Git) -> Result<(), ToolError> {
    let remote = |key: &str| format!("remote.{REMOTE}.{key}");
    let nowhere = format!("/{REMOTE}");
    for (key, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", REMOTE),
        (&remote("url"), &nowhere),
        (&remote("promisor"), "true"),
        (&remote("partialCloneFilter"), "blob:none"),
    ] {
        git.run(&["config", key, value])?;
    }
    Ok(())
}

/// Leaves the files that are not here out of the working tree.
pub(crate) fn leave_out(git: &Git) -> Result<(), ToolError> {
    git.run(&["read-tree", "--reset", "HEAD"])?;
    let list = [
        "rev-list",
        "--objects",
        "--no-object-names",
        "--missing=print",
        "HEAD^{tree}",
    ];
    let list = git.feed(&list, b"")?;
    let missing: HashSet<&[u8]> = list
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"?"))
        .collect();
    let listed = git.feed(&["ls-files", "--stage", "-z"], b"")?;
    let mut paths = Vec::new();
    for line in listed.split(|byte| *byte == 0) {
        let Some(tab) = line.iter().position(|byte| *byte == b'\t') else {
            continue;
        };
        let hash = line[..tab].split(|byte| *byte == b' ').nth(1);
        if hash.is_some_and(|hash| missing.contains(hash)) {
            paths.extend_from_slice(&line[tab + 1..]);
            paths.push(0);
        }
    }
    let fix = ["update-index", "--skip-worktree", "-z", "--stdin"];
    git.feed(&fix, &paths).map(drop)
}
