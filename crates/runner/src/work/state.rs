//! The state of the project as a commit: every file that is tracked, or untracked and not ignored.
//!
//! Its tree is made in an index of our own, `.git/opencode-index`, which starts as a copy of the
//! agent's so that unchanged files are not read. A merge with conflicts is committed as the files
//! are, conflict marks and all.
//!
//! Never: write to the agent's index, HEAD or files.
//!
//! Surprise: git does not look into a repository within the project: its files would be missing at
//! home, and one without a commit makes `git add` fail as a whole. Git does look into a directory
//! that the index has a file of. So each such repository gets an entry for a file that does not
//! exist ([`ANCHOR`]), and the same `git add` that takes the real files removes it again.

use super::{Repository, WORK};
use crate::error;
use crate::git::{Git, failed, first_line};
use crate::setup::BASE_REF;
use protocol::{Code, ToolError};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const INDEX: &str = "opencode-index";
const ANCHOR: &[u8] = b".opencode-nested";
/// Repositories within repositories, at most so deep.
const MAX_DEPTH: usize = 16;
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
    // An index that is damaged, or names objects that are gone, is worth reading all files.
    let (files, tree, left_out) =
        tree(repository, true).or_else(|first| tree(repository, false).map_err(|_| first))?;
    Ok(Snapshot {
        commit: commit(&repository.git, &tree, message)?,
        tree,
        files,
        left_out,
    })
}

fn tree(repository: &Repository, is_copy: bool) -> Result<(Git, String, Vec<String>), ToolError> {
    let index = repository.dir.join(INDEX);
    let _ = fs::remove_file(&index);
    let _ = fs::remove_file(index.with_extension("lock"));
    if is_copy {
        let _ = copy(&repository.dir.join("index"), &index);
    }
    let git = repository.git.with_index(&index);
    open_nested(&git)?;
    let args = ["add", "-A", "--ignore-errors"];
    let out = git.output(&args, b"")?;
    let said = String::from_utf8_lossy(&out.stderr);
    // 1 says that some files could not be added.
    if !matches!(out.status.code(), Some(0 | 1)) {
        return Err(failed(&args, &out));
    }
    if let Some(line) = said
        .lines()
        .find(|line| SANDBOX_FAULTS.iter().any(|fault| line.contains(fault)))
    {
        let message = format!(
            "The state of the project cannot be committed in the sandbox: {line}. Make room, or make .git writable, with bash."
        );
        return Err(error(Code::Sandbox, message));
    }
    let tree = git.feed(&["write-tree"], b"")?;
    Ok((git, first_line(&tree).unwrap_or_default(), left_out(&said)))
}

/// With its time: git compares it with the files' to know which of them to read again.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let modified = fs::metadata(from)?.modified()?;
    fs::copy(from, to)?;
    File::options().write(true).open(to)?.set_modified(modified)
}

/// Takes what only looks like a submodule out of the index, and anchors every repository within the
/// project, and those within them.
fn open_nested(git: &Git) -> Result<(), ToolError> {
    let mut changes = Vec::new();
    let mut nested: Vec<Vec<u8>> = Vec::new();
    for path in gitlinks(git)? {
        let dir = git.dir.join(OsStr::from_bytes(&path));
        let is_populated = dir.join(".git").symlink_metadata().is_ok();
        let has_files = fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some());
        let is_plain = match is_populated {
            true => !is_submodule(git, &path),
            false => has_files,
        };
        if is_plain {
            changes.extend(entry("0", &"0".repeat(40), &path));
            nested.extend(is_populated.then_some(path));
        }
    }
    let args = ["ls-files", "-z", "--others", "--exclude-standard"];
    for _ in 0..MAX_DEPTH {
        let others = git.feed(&args, b"")?;
        let dirs = names(&others).filter_map(|name| name.strip_suffix(b"/"));
        nested.extend(dirs.map(<[u8]>::to_vec));
        if !nested.is_empty() {
            // Of nothing: the hash that git has for it.
            let empty = git.text(&["hash-object", "--stdin"]).unwrap_or_default();
            for dir in nested.drain(..) {
                let path = [&dir, b"/".as_slice(), ANCHOR].concat();
                changes.extend(entry("100644", &empty, &path));
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        git.feed(&["update-index", "-z", "--index-info"], &changes)?;
        changes.clear();
    }
    Ok(())
}

/// A line for `update-index --index-info`; the mode 0 removes.
fn entry(mode: &str, hash: &str, path: &[u8]) -> Vec<u8> {
    [format!("{mode} {hash}\t").as_bytes(), path, b"\0"].concat()
}

fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
}

/// What the index has as a commit of another repository.
fn gitlinks(git: &Git) -> Result<HashSet<Vec<u8>>, ToolError> {
    let list = git.feed(&["ls-files", "-z", "--stage"], b"")?;
    let links = names(&list).filter(|line| line.starts_with(b"160000 "));
    let paths = links.filter_map(|line| {
        let tab = line.iter().position(|byte| *byte == b'\t')?;
        Some(line[tab + 1..].to_vec())
    });
    Ok(paths.collect())
}

/// True for a submodule that somebody else can get: `.gitmodules` names it, or it came with the
/// project. Any other is a clone that the agent added, and nobody has its commits.
fn is_submodule(git: &Git, path: &[u8]) -> bool {
    let args = ["config", "-z", "-f", ".gitmodules", "--get-regexp", "path$"];
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
            (None, Some(path)) if files.iter().any(|file| file.starts_with(path)) => continue,
            (None, Some(path)) => format!("{path}: it cannot be read"),
            (None, None) => continue,
        };
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
