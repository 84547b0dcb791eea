//! The bytes behind pointers: what Git LFS keeps is in no commit, so it travels in the tree of one that
//! is made for it.

use super::repository::Repository;
use crate::git::first_line;
use crate::lfs;
use protocol::ToolError;
use protocol::pointer::{MAX_POINTER, Pointer};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A commit with the files behind the pointers that are in `tips` and not in `known`, as far as they are
/// here; none if there are none.
pub(super) fn kept(
    repository: &Repository,
    tips: &[&str],
    known: &[String],
) -> Result<Option<String>, ToolError> {
    let Some(store) = lfs::store(&repository.git.dir).filter(|store| store.is_dir()) else {
        return Ok(None);
    };
    let git = &repository.git;
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for pointer in pointers(repository, tips, known)? {
        if let Some(file) = lfs::find(&store, &pointer) {
            files.insert(pointer.oid, file);
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    let mut lines = String::new();
    for (oid, file) in &files {
        let file = file.to_string_lossy();
        let args = ["hash-object", "-w", "--no-filters", "--", &file];
        let blob = first_line(&git.feed(&args, b"")?).unwrap_or_default();
        lines += &format!("100644 blob {blob}\t{oid}\n");
    }
    let tree = git.feed(&["mktree"], lines.as_bytes())?;
    let tree = first_line(&tree).unwrap_or_default();
    // Without a time: the same files are the same commit, and in the same bundle.
    let us = "OpenCode <opencode@localhost> 0 +0000";
    let commit = format!("tree {tree}\nauthor {us}\ncommitter {us}\n\nFiles that Git LFS keeps\n");
    let args = ["hash-object", "-t", "commit", "-w", "--stdin"];
    Ok(first_line(&git.feed(&args, commit.as_bytes())?))
}

/// The pointers in what is new.
fn pointers(
    repository: &Repository,
    tips: &[&str],
    known: &[String],
) -> Result<Vec<Pointer>, ToolError> {
    let git = &repository.git;
    let mut revisions = tips.join("\n") + "\n";
    revisions.extend(known.iter().map(|commit| format!("^{commit}\n")));
    let args = ["rev-list", "--objects", "--no-object-names", "--stdin"];
    let objects = git.feed(&args, revisions.as_bytes())?;
    let check = "--batch-check=%(objecttype) %(objectsize) %(objectname)";
    let kinds = git.feed(&["cat-file", check], &objects)?;
    let kinds = String::from_utf8_lossy(&kinds);
    let small = kinds.lines().filter_map(|line| {
        let (size, name) = line.strip_prefix("blob ")?.split_once(' ')?;
        let size: usize = size.parse().ok()?;
        (size < MAX_POINTER).then(|| format!("{name}\n"))
    });
    let small: String = small.collect();
    if small.is_empty() {
        return Ok(Vec::new());
    }
    let contents = git.feed(&["cat-file", "--batch"], small.as_bytes())?;
    let (mut found, mut rest) = (Vec::new(), &contents[..]);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let head = String::from_utf8_lossy(&rest[..end]);
        let size = head.rsplit(' ').next().and_then(|size| size.parse().ok());
        let size: usize = size.unwrap_or_default();
        let content = rest.get(end + 1..end + 1 + size).unwrap_or_default();
        found.extend(Pointer::parse(content));
        rest = rest.get(end + size + 2..).unwrap_or_default();
    }
    Ok(found)
}
