//! `edit`: replaces one text in a file.
//!
//! How the place is found is in [`find`]. Line endings: a file with any CRLF gets CRLF in what is
//! written into it.
//!
//! Surprise: `$&` and `$1` in the new text are plain text. OpenCode expands them with `replaceAll`,
//! by accident of JavaScript's `String.replaceAll`, which damages shell scripts.

mod find;

pub use find::WAYS;

use super::failure::{fail, io_error};
use super::text::{Text, encode};
use super::tree::Tree;
use super::{diff, path, replace, text};
use protocol::{ToolError, ToolOutput, args};
use serde_json::json;
use std::path::Path;

const EMPTY: &str = "oldString cannot be empty when editing an existing file. Provide the exact text to replace, or use write for an intentional full-file replacement.";
const SAME: &str = "No changes to apply: oldString and newString are identical.";

pub(super) fn run(tree: &Tree, args: &args::Edit) -> Result<ToolOutput, ToolError> {
    if args.file_path.is_empty() {
        return Err(fail("filePath is required"));
    }
    if args.old_string == args.new_string {
        return Err(fail(SAME));
    }
    let path = tree.joined(&args.file_path);
    let _lock = tree.lock(&[&path]);
    let lstat = std::fs::symlink_metadata(path::resolve(&path, ""));
    if lstat.is_err_and(|error| error.kind() == std::io::ErrorKind::NotADirectory) {
        let path = path.display();
        return Err(fail(format!("ENOTDIR: not a directory, lstat '{path}'")));
    }
    let exists = path.exists();
    if args.old_string.is_empty() {
        if exists {
            return Err(fail(EMPTY));
        }
        let new = Text::new(&args.new_string);
        store(tree, &path, &new.text, new.bom)?;
        let patch = diff::patch(&path.to_string_lossy(), "", &new.text);
        return Ok(done(tree, &path, patch, diff::counts("", &new.text)));
    }
    if !exists {
        return Err(fail(format!("File {} not found", path.display())));
    }
    if path.is_dir() {
        return Err(fail(format!(
            "Path is a directory, not a file: {}",
            path.display()
        )));
    }
    let old = text::read(&path).map_err(|error| io_error("readFile", &path, &error))?;
    let old_string = with_ending_of(&old.text, &args.old_string);
    let new_string = with_ending_of(&old.text, &args.new_string);
    if old_string == new_string {
        return Err(fail(SAME));
    }
    let all = args.replace_all.unwrap_or(false);
    let new = find::replace(&old.text, &old_string, &new_string, all).map_err(fail)?;
    let new = Text::new(&new);
    store(tree, &path, &new.text, old.bom || new.bom)?;
    let shown = |text: &str| text::show(&text.replace("\r\n", "\n"));
    let patch = diff::patch(
        &path.to_string_lossy(),
        &shown(&old.text),
        &shown(&new.text),
    );
    Ok(done(tree, &path, patch, diff::counts(&old.text, &new.text)))
}

/// `text` with the line ending that `file` has.
fn with_ending_of(file: &str, text: &str) -> String {
    let ending = if file.contains("\r\n") { "\r\n" } else { "\n" };
    text.replace("\r\n", "\n").replace('\n', ending)
}

fn store(tree: &Tree, path: &Path, text: &str, bom: bool) -> Result<(), ToolError> {
    if tree.preview {
        return Ok(());
    }
    replace::replace(path, encode(text, bom))
        .map_err(|failed| io_error("writeFile", &failed.path, &failed.error))
}

/// For tests that count: which of [`WAYS`] propose a part of `file` for `old`, and which of them
/// decides what an edit does, by place or by refusal.
#[doc(hidden)]
pub fn ways(file: &str, old: &str, all: bool) -> (Vec<usize>, Option<usize>) {
    let file = Text::new(file).text;
    find::ways(&file, &with_ending_of(&file, old), all)
}

fn done(
    tree: &Tree,
    path: &Path,
    patch: String,
    (additions, deletions): (usize, usize),
) -> ToolOutput {
    ToolOutput {
        title: tree.title(path),
        output: "Edit applied successfully.".to_string(),
        metadata: json!({
            "diagnostics": {},
            "diff": patch,
            "filediff": {
                "file": path.to_string_lossy(), "patch": patch, "additions": additions, "deletions": deletions,
            },
        }),
        attachments: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::SAME;
    use crate::fs::fixture::Fixture;
    use serde_json::json;

    #[test]
    fn texts_that_differ_only_in_their_line_ending_are_identical() {
        let fixture = Fixture::new("//- /f\na\nb\n");
        let args = json!({ "filePath": "f", "oldString": "a\r\nb", "newString": "a\nb" });
        assert_eq!(fixture.run("edit", args).unwrap_err().message, SAME);
    }
}
