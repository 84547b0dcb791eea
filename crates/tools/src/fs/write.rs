//! `write`: a whole file, as given. A byte order mark that was there stays.

use super::failure::io_error;
use super::text::{Text, encode};
use super::tree::Tree;
use super::{diff, replace, text};
use protocol::{ToolError, ToolOutput, args};
use serde_json::json;
use std::path::Path;

pub(super) fn run(tree: &Tree, args: &args::Write) -> Result<ToolOutput, ToolError> {
    let path = tree.joined(&args.file_path);
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

#[cfg(test)]
mod tests {
    use crate::fs::fixture::Fixture;
    use serde_json::json;

    #[test]
    fn a_place_that_is_taken_is_named_as_it_was_given() {
        let fixture = Fixture::new("//- /a.txt\na\n//- /dir/x\nx\n");
        for (path, expected) in [
            ("dir", "BadResource: FileSystem.readFile (/T/dir)"),
            ("dir/", "BadResource: FileSystem.readFile (/T/dir/)"),
            ("a.txt/x", "BadResource: FileSystem.writeFile (/T/a.txt/x)"),
        ] {
            let args = json!({ "filePath": path, "content": "new" });
            assert_eq!(fixture.run("write", args).unwrap_err().message, expected);
        }
        let args = json!({ "filePath": "a.txt/x", "oldString": "a", "newString": "b" });
        assert_eq!(
            fixture.run("edit", args).unwrap_err().message,
            "ENOTDIR: not a directory, lstat '/T/a.txt/x'"
        );
    }
}
