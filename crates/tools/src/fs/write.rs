//! `write`: a whole file, as given. A byte order mark that was there stays.

use super::text::{Text, encode};
use super::{Tree, io_error, replace, text};
use protocol::{ToolError, ToolOutput, args};
use serde_json::json;

pub(super) fn run(tree: &Tree, args: &args::Write) -> Result<ToolOutput, ToolError> {
    let path = tree.absolute(&args.file_path);
    let _lock = tree.lock(&[&path]);
    let exists = path.exists();
    // What was there matters only for its mark, but a directory or a device in its place must fail.
    let had_bom =
        exists && text::mark(&path).map_err(|error| io_error("readFile", &path, &error))?;
    let new = Text::new(&args.content);
    replace::replace(&path, encode(&new.text, had_bom || new.bom))
        .map_err(|failed| io_error("writeFile", &failed.path, &failed.error))?;
    Ok(ToolOutput {
        title: tree.title(&path),
        output: "Wrote file successfully.".to_string(),
        metadata: json!({ "diagnostics": {}, "filepath": path.to_string_lossy(), "exists": exists }),
        attachments: Vec::new(),
    })
}
