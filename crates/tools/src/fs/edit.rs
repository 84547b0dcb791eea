//! `edit`: replaces one text in a file.
//!
//! How the place is found is in [`find`]. Line endings: a file with any CRLF gets CRLF in what is
//! written into it.
//!
//! Surprise: `$&` and `$1` in the new text are plain text. OpenCode expands them with `replaceAll`,
//! by accident of JavaScript's `String.replaceAll`, which damages shell scripts.

mod find;

use super::text::{Text, encode};
use super::{Tree, diff, fail, io_error, replace, text};
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
    let path = tree.absolute(&args.file_path);
    let _lock = tree.lock(&[&path]);
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
    let ending = if old.text.contains("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    let with_ending = |text: &str| text.replace("\r\n", "\n").replace('\n', ending);
    let new = find::replace(
        &old.text,
        &with_ending(&args.old_string),
        &with_ending(&args.new_string),
        args.replace_all.unwrap_or(false),
    )
    .map_err(fail)?;
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

fn store(tree: &Tree, path: &Path, text: &str, bom: bool) -> Result<(), ToolError> {
    if tree.preview {
        return Ok(());
    }
    replace::replace(path, encode(text, bom))
        .map_err(|failed| io_error("writeFile", &failed.path, &failed.error))
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
