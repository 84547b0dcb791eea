//! `.git/info/exclude` of the project: the host's own rules for ignored files, for the agent's git and
//! for what goes home, and the temporary files of the tools.
//!
//! The host's rules come first, between two marks, so that those of the image stay in force beside
//! them. A copy is among the runner's records, for a repository that the agent makes anew.

use crate::git::Git;
use crate::storage::{Storage, name_of};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Around the host's rules.
const BEGIN: &[u8] = b"# What git ignores on the user's machine:";
const END: &[u8] = b"# Until here.";
/// Temporary files of the tools.
const LEFTOVERS: &[u8] = b".opencode-*-*.tmp";
/// Beside records and jobs: rules of the host, in one file per project directory.
const RULES: &str = "exclude";

/// Takes uploaded rules, and removes the file that they came in. Without any, those of a session that
/// the image was made of go.
pub(crate) fn take(git: &Git, storage: &Storage, uploaded: Option<&str>) -> io::Result<()> {
    let rules = match uploaded.map(fs::read) {
        None => Vec::new(),
        Some(Ok(rules)) => rules,
        // This is done again, and they were taken the first time.
        Some(Err(why)) if why.kind() == io::ErrorKind::NotFound => return restore(git, storage),
        Some(Err(why)) => return Err(why),
    };
    let _ = storage.sub(RULES);
    for record in records(git, storage) {
        let _ = fs::write(record, &rules);
    }
    put(git, &rules)?;
    uploaded.map_or(Ok(()), fs::remove_file)
}

/// The host's rules again, for a repository that is new.
pub(crate) fn restore(git: &Git, storage: &Storage) -> io::Result<()> {
    let rules = records(git, storage).find_map(|record| fs::read(record).ok());
    rules.map_or(Ok(()), |rules| put(git, &rules))
}

/// What tools leave when they are killed is no work.
pub(crate) fn leftovers(git: &Git) -> io::Result<()> {
    edit(git, |old| {
        let is_there = lines(&old).any(|line| line == LEFTOVERS);
        if is_there {
            return old;
        }
        let gap: &[u8] = match old.last() {
            None | Some(b'\n') => b"",
            _ => b"\n",
        };
        [&old, gap, LEFTOVERS, b"\n"].concat()
    })
}

fn put(git: &Git, rules: &[u8]) -> io::Result<()> {
    edit(git, |old| {
        let mut new = match rules.is_empty() {
            true => Vec::new(),
            false => [BEGIN, b"\n", rules, END, b"\n"].concat(),
        };
        let mut is_ours = false;
        for line in lines(&old) {
            is_ours |= line == BEGIN;
            if !is_ours {
                new.extend([line, b"\n"].concat());
            }
            is_ours &= line != END;
        }
        new
    })
}

/// Changes the file, if there is a repository.
fn edit(git: &Git, change: impl Fn(Vec<u8>) -> Vec<u8>) -> io::Result<()> {
    let Some(path) = git.text(&["rev-parse", "--git-path", "info/exclude"]) else {
        return Ok(());
    };
    let path = git.dir.join(path);
    let old = fs::read(&path).unwrap_or_default();
    let new = change(old.clone());
    if new == old {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    fs::write(&path, new)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let is_empty = text.is_empty();
    text.split(|byte| *byte == b'\n').filter(move |_| !is_empty)
}

fn records(git: &Git, storage: &Storage) -> impl Iterator<Item = PathBuf> {
    let name = name_of(&git.dir);
    storage.all(RULES).map(move |dir| dir.join(&name))
}
