//! How much a bundle would hold, known before it is made.

use super::repository::Repository;
use crate::git::BIG_FILE;
use protocol::{TooMuch, ToolError};
use std::cmp::Reverse;
use std::fs;

/// Files that are named.
const NAMED: usize = 3;

/// True if the repository has more bytes of objects than that, on disk: only then can a bundle be
/// larger. It costs no git.
pub(super) fn may_exceed(repository: &Repository, max: u64) -> bool {
    let mut sum = 0u64;
    let objects = repository.dir.join("objects");
    let dirs = fs::read_dir(objects).into_iter().flatten().flatten();
    for dir in dirs.filter_map(|dir| fs::read_dir(dir.path()).ok()) {
        for file in dir.flatten() {
            sum += file.metadata().map_or(0, |file| file.len());
            if sum > max {
                return true;
            }
        }
    }
    // Objects of another repository are not counted.
    repository.dir.join("objects/info/alternates").exists()
}

/// What of `tips` is not in `known`.
pub(super) struct Weight {
    /// Bytes of all of it as it is stored here. A bundle of many versions of a file may have fewer.
    pub(super) all: TooMuch,
    /// Bytes of what no bundle has fewer of: files that are not compared with others.
    pub(super) large: u64,
}

pub(super) fn weigh(
    repository: &Repository,
    tips: &[&str],
    known: &[String],
) -> Result<Weight, ToolError> {
    let git = &repository.git;
    let mut revisions = tips.join("\n") + "\n";
    revisions.extend(known.iter().map(|commit| format!("^{commit}\n")));
    let list = ["rev-list", "--objects", "--missing=allow-any", "--stdin"];
    let objects = git.feed(&list, revisions.as_bytes())?;
    let check = "--batch-check=%(objectsize:disk) %(objectsize) %(objecttype) %(rest)";
    let sizes = git.feed(&["cat-file", check], &objects)?;
    let sizes = String::from_utf8_lossy(&sizes);
    let (mut size, mut large, mut files) = (0, 0, Vec::new());
    for line in sizes.lines() {
        let mut fields = line.splitn(4, ' ');
        let mut number = || fields.next()?.parse::<u64>().ok();
        let (Some(stored), Some(whole)) = (number(), number()) else {
            continue;
        };
        size += stored;
        if fields.next() == Some("blob") {
            large += if whole > BIG_FILE { stored } else { 0 };
            files.push((fields.next().unwrap_or_default(), stored));
        }
    }
    files.sort_by_key(|(_, stored)| Reverse(*stored));
    let largest = files.into_iter().take(NAMED);
    let all = TooMuch {
        size,
        largest: largest
            .map(|(path, stored)| (path.to_string(), stored))
            .collect(),
    };
    Ok(Weight { all, large })
}
