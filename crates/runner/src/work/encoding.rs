//! Files that are not in the encoding that the project's attributes name (`working-tree-encoding`): they
//! are fatal to `git add`, and keep every other file out. They go into the index as they are.

use crate::git::{Git, failed, first_line};
use protocol::ToolError;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Adds all files, those that cannot be converted as they are. The result is a sentence for each of
/// these; it is empty, and nothing was done, if there are none.
pub(super) fn add(git: &Git) -> Result<Vec<String>, ToolError> {
    let args = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--modified",
        "--exclude-standard",
    ];
    let names = git.feed(&args, b"")?;
    let check = ["check-attr", "-z", "--stdin", "working-tree-encoding"];
    let found = git.feed(&check, &names)?;
    let fields: Vec<&[u8]> = found.split(|byte| *byte == 0).collect();
    let (mut exclude, mut entries, mut notes) = (b".\0".to_vec(), Vec::new(), Vec::new());
    for triple in fields.chunks_exact(3) {
        let (path, encoding) = (triple[0], triple[2]);
        if matches!(encoding, b"unspecified" | b"unset" | b"set") {
            continue;
        }
        let file = git.dir.join(std::ffi::OsStr::from_bytes(path));
        let Some(blob) = unconverted(git, &file, path)? else {
            continue;
        };
        let mode: &[u8] = match is_executable(&file) {
            true => b"100755 ",
            false => b"100644 ",
        };
        entries.extend([mode, blob.as_bytes(), b"\t", path, b"\0"].concat());
        exclude.extend([b":(exclude,literal)", path, b"\0"].concat());
        notes.push(format!(
            "{} is not in the encoding {} that .gitattributes names, so it is committed as it is",
            String::from_utf8_lossy(path),
            String::from_utf8_lossy(encoding)
        ));
    }
    if entries.is_empty() {
        return Ok(notes);
    }
    let args = [
        "add",
        "-A",
        "--ignore-errors",
        "--pathspec-from-file=-",
        "--pathspec-file-nul",
    ];
    let out = git.output(&args, &exclude)?;
    if !matches!(out.status.code(), Some(0 | 1)) {
        return Err(failed(&args, &out));
    }
    git.feed(&["update-index", "-z", "--index-info"], &entries)?;
    Ok(notes)
}

/// The blob of a file that git cannot convert; none if it can, or there is no file.
fn unconverted(git: &Git, file: &Path, path: &[u8]) -> Result<Option<String>, ToolError> {
    let is_file = file.symlink_metadata().is_ok_and(|meta| meta.is_file());
    let Ok(path) = std::str::from_utf8(path) else {
        return Ok(None);
    };
    // Only with `-w` does git mind what it cannot convert.
    if !is_file || git.succeeds(&["hash-object", "-w", "--", path]) {
        return Ok(None);
    }
    let raw = ["hash-object", "-w", "--no-filters", "--", path];
    Ok(first_line(&git.feed(&raw, b"")?))
}

fn is_executable(file: &Path) -> bool {
    let meta = file.metadata();
    meta.is_ok_and(|meta| meta.permissions().mode() & 0o100 != 0)
}
