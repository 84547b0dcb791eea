//! What arrives in the pack beside the commit that is checked out.

use super::{io_failed, sandbox};
use crate::git::Git;
use crate::lfs;
use protocol::ToolError;
use std::process::Stdio;

/// Puts files that Git LFS keeps where its filter finds them.
pub(super) fn keep(git: &Git, commit: &str) -> Result<(), ToolError> {
    let Some(store) = lfs::store(&git.dir) else {
        return Ok(());
    };
    let list = git.feed(&["ls-tree", commit], b"")?;
    for line in String::from_utf8_lossy(&list).lines() {
        let Some((entry, oid)) = line.split_once('\t') else {
            continue;
        };
        let blob = entry.rsplit(' ').next().unwrap_or_default();
        let mut child = git
            .command(&["cat-file", "blob", blob])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io_failed)?;
        let kept = child
            .stdout
            .take()
            .map(|mut out| lfs::keep(&store, &mut out));
        let status = child.wait().map_err(io_failed)?;
        let kept = kept.transpose().map_err(io_failed)?;
        if !status.success() || kept.is_none_or(|pointer| pointer.oid != oid) {
            return Err(sandbox(format!(
                "The file with the SHA-256 {oid}, which Git LFS keeps, did not arrive in the sandbox whole."
            )));
        }
    }
    Ok(())
}
