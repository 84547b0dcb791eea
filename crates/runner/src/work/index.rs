//! The index that a state is made in: `.git/opencode-index`, ready for a `git add -A`.
//!
//! It is that of the last state, so that neither tracked nor untracked files that did not change
//! are read again, brought in line with what the agent's index has ([`follow`]); the first time it
//! is a copy of the agent's.
//!
//! Surprise: git does not look into a repository within the project: its files would be missing at
//! home, and one without a commit makes `git add` fail as a whole. Git does look into a directory
//! that the index has a file of. So each such repository gets an entry for a file that does not
//! exist ([`ANCHOR`]), and the same `git add` that takes the real files removes it again.

use super::repository::Repository;
use crate::git::Git;
use crate::setup::BASE_REF;
use protocol::ToolError;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const INDEX: &str = "opencode-index";
const ANCHOR: &[u8] = b".opencode-nested";
/// Repositories within repositories, at most so deep.
const MAX_DEPTH: usize = 16;
/// Mode of a commit of another repository.
const GITLINK: &[u8] = b"160000";

/// What the index is before the files are added.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Start {
    /// As after the last state, if there was one.
    Last,
    /// As the agent's.
    Agents,
    /// Without anything: every file is read.
    Empty,
}

/// An entry of an index.
struct Entry {
    mode: Vec<u8>,
    hash: Vec<u8>,
    /// The file is to be taken as it is in the index, present or not.
    is_fixed: bool,
}

/// By path.
type Entries = HashMap<Vec<u8>, Entry>;

/// Makes the index. The second result is what real submodules keep to themselves.
pub(super) fn prepare(
    repository: &Repository,
    start: Start,
) -> Result<(Git, Vec<String>), ToolError> {
    let index = repository.dir.join(INDEX);
    let _ = fs::remove_file(index.with_extension("lock"));
    let agents = match start {
        Start::Empty => HashMap::new(),
        _ => entries(&repository.git)?,
    };
    let git = repository.git.with_index(&index);
    let is_loose = |entries: &Entries| !entries.values().any(|entry| entry.is_fixed);
    let last = match start {
        Start::Last if index.exists() && is_loose(&agents) => entries(&git).ok().filter(is_loose),
        _ => None,
    };
    if last.is_none() {
        let _ = fs::remove_file(&index);
        if start != Start::Empty {
            let _ = copy(&repository.dir.join("index"), &index);
        }
    }
    let Links {
        plain,
        mut nested,
        kept_back,
    } = links(&git, &agents);
    let mut changes = Vec::new();
    // What git calls a file without content, and so knows how long a hash is here.
    let empty = git.text(&["hash-object", "--stdin"]).unwrap_or_default();
    let none = "0".repeat(empty.len());
    let remove = |path: &[u8]| line(b"0", none.as_bytes(), path);
    match &last {
        Some(last) => follow(&git, &agents, last, &plain, &remove, &mut changes)?,
        None => changes.extend(plain.iter().flat_map(|path| remove(path))),
    }
    let args = ["ls-files", "-z", "--others", "--exclude-standard"];
    for _ in 0..MAX_DEPTH {
        for dir in nested.drain(..) {
            let path = [&dir, b"/".as_slice(), ANCHOR].concat();
            changes.extend(line(b"100644", empty.as_bytes(), &path));
        }
        if !changes.is_empty() {
            let args = ["update-index", "--replace", "-z", "--index-info"];
            git.feed(&args, &changes)?;
            changes.clear();
        }
        let others = git.feed(&args, b"")?;
        let dirs = names(&others).filter_map(|name| name.strip_suffix(b"/"));
        nested.extend(dirs.map(<[u8]>::to_vec));
        if nested.is_empty() {
            break;
        }
    }
    Ok((git, kept_back))
}

/// What becomes of the index's commits of other repositories.
#[derive(Default)]
struct Links {
    /// They are taken out: they are directories of files.
    plain: HashSet<Vec<u8>>,
    /// Those of them that are repositories.
    nested: Vec<Vec<u8>>,
    /// What real submodules keep to themselves, one line each.
    kept_back: Vec<String>,
}

fn links(git: &Git, agents: &Entries) -> Links {
    let mut found = Links::default();
    for (path, _) in agents.iter().filter(|(_, entry)| entry.mode == GITLINK) {
        let dir = git.dir.join(OsStr::from_bytes(path));
        let is_populated = dir.join(".git").symlink_metadata().is_ok();
        let has_files = fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
        let is_plain = match is_populated {
            true => !is_submodule(git, path),
            false => has_files,
        };
        if is_plain {
            found.nested.extend(is_populated.then(|| path.clone()));
            found.plain.insert(path.clone());
        } else if is_populated && has_work(&dir) {
            found.kept_back.push(format!(
                "{}: a submodule; what was done in it stays in the sandbox until it is pushed from there",
                String::from_utf8_lossy(path)
            ));
        }
    }
    found.kept_back.sort();
    found
}

/// Brings the last index in line with the agent's: what that has is in it, also if it is ignored,
/// and what is ignored otherwise is not.
fn follow(
    git: &Git,
    agents: &Entries,
    last: &Entries,
    plain: &HashSet<Vec<u8>>,
    remove: &dyn Fn(&[u8]) -> Vec<u8>,
    changes: &mut Vec<u8>,
) -> Result<(), ToolError> {
    let args = [
        "ls-files",
        "-z",
        "--cached",
        "--ignored",
        "--exclude-standard",
    ];
    let ignored = git.feed(&args, b"")?;
    let ignored = names(&ignored).filter(|path| !agents.contains_key(*path));
    changes.extend(ignored.flat_map(remove));
    let is_link = |path: &Vec<u8>| {
        let entry = agents.get(path);
        entry.is_some_and(|entry| entry.mode == GITLINK) && !plain.contains(path)
    };
    for (path, entry) in last {
        if entry.mode == GITLINK && !is_link(path) {
            changes.extend(remove(path));
        }
    }
    for (path, entry) in agents {
        let is_known = match last.get(path) {
            Some(old) => (old.mode == GITLINK) == (entry.mode == GITLINK),
            None => false,
        };
        if !is_known && !plain.contains(path) {
            changes.extend(line(&entry.mode, &entry.hash, path));
        }
    }
    Ok(())
}

/// What an index has; of a file with conflicts one of the sides.
fn entries(git: &Git) -> Result<Entries, ToolError> {
    let list = git.feed(&["ls-files", "-z", "-v", "--stage"], b"")?;
    // `H 100644 HASH 0\tPATH`; the tag is `S` or in lower case for what is fixed.
    let parsed = names(&list).filter_map(|line| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        let mut fields = line[..tab].split(|byte| *byte == b' ');
        let tag = *fields.next()?.first()?;
        let entry = Entry {
            mode: fields.next()?.to_vec(),
            hash: fields.next()?.to_vec(),
            is_fixed: tag == b'S' || tag.is_ascii_lowercase(),
        };
        Some((line[tab + 1..].to_vec(), entry))
    });
    Ok(parsed.collect())
}

/// With its time: git compares it with the files' to know which of them to read again.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let modified = fs::metadata(from)?.modified()?;
    fs::copy(from, to)?;
    File::options().write(true).open(to)?.set_modified(modified)
}

/// A line for `update-index --index-info`; the mode 0 removes.
fn line(mode: &[u8], hash: &[u8], path: &[u8]) -> Vec<u8> {
    [mode, b" ", hash, b"\t", path, b"\0"].concat()
}

/// True if a submodule holds changes, or commits that no remote has.
fn has_work(dir: &Path) -> bool {
    let git = Git::new(dir);
    let own = ["rev-list", "-n", "1", "HEAD", "--not", "--remotes"];
    let changes = ["--no-optional-locks", "status", "--porcelain"];
    git.text(&own).is_some() || git.text(&changes).is_some()
}

fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
}

/// True for a submodule that somebody else can get: `.gitmodules` names it, or it came with the
/// project. Any other is a clone that the agent added, and nobody has its commits.
fn is_submodule(git: &Git, path: &[u8]) -> bool {
    let args = [
        "config",
        "-z",
        "-f",
        ".gitmodules",
        "--get-regexp",
        "\\.path$",
    ];
    let known = git.feed(&args, b"").unwrap_or_default();
    let mut known = names(&known).filter_map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'\n')?;
        Some(&pair[end + 1..])
    });
    let came = || {
        let path = std::str::from_utf8(path).ok()?;
        git.text(&["ls-tree", BASE_REF, "--", path])
    };
    known.any(|known| known == path) || came().is_some_and(|line| line.starts_with("160000 "))
}
