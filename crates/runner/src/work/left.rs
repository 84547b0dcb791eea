//! What is not in the state: found by comparing the files with the index, whatever git said of them.

use crate::git::Git;
use ignore::WalkBuilder;
use protocol::ToolError;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

const MAX: usize = 100;

/// What the user is told of a state.
#[derive(Default)]
pub(super) struct Left {
    /// Files that are not in it, with the reason.
    pub(super) out: Vec<String>,
    /// What else there is to know.
    pub(super) notes: Vec<String>,
}

/// Compares the files with what `git`'s index has of them. `again` adds them once more: a file may have
/// been made between.
pub(super) fn look(
    git: &Git,
    again: impl FnOnce() -> Result<(), ToolError>,
) -> Result<Left, ToolError> {
    let (walked, missing) = std::thread::scope(|scope| {
        let walked = scope.spawn(|| walk(&git.dir));
        let missing = differing(git);
        (walked.join(), missing)
    });
    let (mut left, repositories) = walked.unwrap_or_default();
    let mut missing = missing?;
    left.notes.extend(nested(git, &repositories)?);
    if !missing.is_empty() {
        again()?;
        let still = differing(git)?;
        missing.retain(|path, is_new| still.get(path) == Some(is_new));
    }
    let reasons = missing.iter();
    let reasons = reasons.filter_map(|(path, is_new)| why(&git.dir, path, *is_new));
    left.out.extend(reasons);
    for list in [&mut left.out, &mut left.notes] {
        list.sort();
        list.dedup();
        list.truncate(MAX);
    }
    Ok(left)
}

/// Files that the index has otherwise, or does not have at all: then they are new.
fn differing(git: &Git) -> Result<BTreeMap<OsString, bool>, ToolError> {
    let args = [
        "ls-files",
        "-z",
        "-t",
        "--others",
        "--modified",
        "--exclude-standard",
    ];
    let list = git.feed(&args, b"")?;
    let lines = list.split(|byte| *byte == 0).filter_map(|line| {
        let path = OsString::from_vec(line.get(2..)?.to_vec());
        Some((path, line.starts_with(b"?")))
    });
    Ok(lines.collect())
}

/// Why a file is not in the index; none if it is gone, or `is_new` is not so: then it is in the index and
/// is only being written.
fn why(root: &Path, path: &OsStr, is_new: bool) -> Option<String> {
    let shown = path.to_string_lossy();
    let file = root.join(path);
    let kind = fs::symlink_metadata(&file).ok()?.file_type();
    if kind.is_dir() {
        let mut entries = fs::read_dir(&file).ok()?.flatten();
        let has_files = entries.any(|entry| entry.file_name() != ".git");
        return has_files.then(|| format!("{shown}: a repository that git cannot look into"));
    }
    if kind.is_file()
        && let Err(why) = File::open(&file)
    {
        return Some(format!("{shown}: {}", plain(&why)));
    }
    is_new.then(|| format!("{shown}: git takes no file of this name; give it another"))
}

/// What no index can have: directories that cannot be read, and what is neither file nor link.
/// Beside it the directories that have a `.git`.
fn walk(root: &Path) -> (Left, Vec<PathBuf>) {
    let mut left = Left::default();
    let (sender, found) = mpsc::channel();
    let walk = WalkBuilder::new(root)
        .hidden(false)
        .ignore(false)
        .git_global(false)
        .parents(false)
        .filter_entry(move |entry| {
            let is_repository = entry.file_name() == ".git" && entry.depth() > 0;
            if is_repository && entry.depth() > 1 {
                let _ = sender.send(entry.path().with_file_name(""));
            }
            !is_repository
        })
        .build();
    for entry in walk {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                left.out.extend(unread(root, &error));
                continue;
            }
        };
        let Some(kind) = entry.file_type() else {
            continue;
        };
        let what = match () {
            () if kind.is_fifo() => "a named pipe",
            () if kind.is_socket() => "a socket",
            () if kind.is_block_device() || kind.is_char_device() => "a device",
            () => continue,
        };
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let note = format!("{} is {what}, which git does not carry", path.display());
        left.notes.push(note);
    }
    let relative = |path: PathBuf| Some(path.strip_prefix(root).ok()?.to_path_buf());
    (left, found.try_iter().filter_map(relative).collect())
}

/// A sentence for each repository whose files the index has, as it has none of a submodule.
fn nested(git: &Git, repositories: &[PathBuf]) -> Result<Vec<String>, ToolError> {
    if repositories.is_empty() {
        return Ok(Vec::new());
    }
    let list = git.feed(&["ls-files", "-z", "--stage"], b"")?;
    let links = list.split(|byte| *byte == 0).filter_map(|line| {
        let end = line.iter().position(|byte| *byte == b'\t')?;
        line.starts_with(b"160000").then_some(&line[end + 1..])
    });
    let links: BTreeSet<&Path> = links
        .map(|path| Path::new(OsStr::from_bytes(path)))
        .collect();
    let own = repositories
        .iter()
        .filter(|path| !links.contains(path.as_path()));
    let note = |path: &PathBuf| {
        format!(
            "{} is a repository of its own; its files come home, its commits and branches stay in the sandbox",
            path.display()
        )
    };
    Ok(own.map(note).collect())
}

/// A directory that cannot be read.
fn unread(root: &Path, mut error: &ignore::Error) -> Option<String> {
    loop {
        match error {
            ignore::Error::WithDepth { err, .. } => error = err,
            ignore::Error::WithPath { path, .. } => {
                let why = fs::read_dir(path).err()?;
                let is_dir = fs::symlink_metadata(path).ok()?.is_dir();
                let shown = path.strip_prefix(root).ok()?.display();
                return is_dir.then(|| format!("{shown}/: {}", plain(&why)));
            }
            _ => return None,
        }
    }
}

/// The system's words, without its number.
fn plain(why: &std::io::Error) -> String {
    let text = why.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_string()
}
