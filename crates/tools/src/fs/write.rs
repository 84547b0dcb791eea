//! `write`: a whole file, as given. A byte order mark that was there stays.

use super::text::{Text, encode};
use super::{Tree, diff, io_error, replace, text};
use protocol::{ToolError, ToolOutput, args};
use serde_json::json;
use std::path::Path;

pub(super) fn run(tree: &Tree, args: &args::Write) -> Result<ToolOutput, ToolError> {
    let path = tree.absolute(&args.file_path);
    let _lock = tree.lock(&[&path]);
    let exists = path.exists();
    // What was there matters only for its mark, but a directory or a device in its place must fail.
    let had_bom =
        exists && text::mark(&path).map_err(|error| io_error("readFile", &path, &error))?;
    let new = Text::new(&args.content);
    if tree.preview {
        return preview(tree, &path, &new.text, exists);
    }
    replace::replace(&path, encode(&new.text, had_bom || new.bom))
        .map_err(|failed| io_error("writeFile", &failed.path, &failed.error))?;
    Ok(ToolOutput {
        title: tree.title(&path),
        output: "Wrote file successfully.".to_string(),
        metadata: json!({ "diagnostics": {}, "filepath": path.to_string_lossy(), "exists": exists }),
        attachments: Vec::new(),
    })
}

/// The diff is made for the question only: the result of `write` has none.
fn preview(tree: &Tree, path: &Path, new: &str, exists: bool) -> Result<ToolOutput, ToolError> {
    let old = match exists {
        true => {
            text::read(path)
                .map_err(|error| io_error("readFile", path, &error))?
                .text
        }
        false => String::new(),
    };
    let diff = diff::patch(&path.to_string_lossy(), &text::show(&old), &text::show(new));
    Ok(ToolOutput {
        title: tree.title(path),
        output: String::new(),
        metadata: json!({ "diff": diff }),
        attachments: Vec::new(),
    })
}
