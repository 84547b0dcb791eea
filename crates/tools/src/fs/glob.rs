//! `glob`: finds files by name.

use super::failure::fail;
use super::path;
use super::tree::Tree;
use super::walk::{self, Best, CAP, Hit};
use protocol::{ToolError, ToolOutput, args};
use serde_json::json;

pub(super) fn run(tree: &Tree, args: &args::Glob) -> Result<ToolOutput, ToolError> {
    let dir = path::resolve(&tree.cwd, args.path.as_deref().unwrap_or("."));
    if dir.is_file() {
        // An absolute path is shown as it was given, as in OpenCode.
        let shown = tree.absolute(args.path.as_deref().unwrap_or("."));
        let shown = shown.display();
        return Err(fail(format!("glob path must be a directory: {shown}")));
    }
    if !dir.is_dir() {
        return Err(fail("ripgrep execution failed"));
    }
    let best = Best::default();
    // An invalid pattern finds nothing, as in OpenCode.
    if let Ok(globs) = walk::globs(&dir, Some(&args.pattern)) {
        walk::files(&dir, globs, false, &best, || {
            |path| {
                best.add([Hit {
                    path: path.to_path_buf(),
                    line: 0,
                    text: String::new(),
                }])
            }
        });
    }
    let hits = best.into_hits();
    let truncated = hits.len() == CAP;
    let mut lines: Vec<String> = hits
        .iter()
        .map(|hit| hit.path.display().to_string())
        .collect();
    if hits.is_empty() {
        lines.push("No files found".to_string());
    }
    if truncated {
        lines.push(format!(
            "\n(Results are truncated: showing first {CAP} results. Consider using a more specific path or pattern.)"
        ));
    }
    Ok(ToolOutput {
        title: tree.title(&dir),
        output: lines.join("\n"),
        metadata: json!({ "count": hits.len(), "truncated": truncated }),
        attachments: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use crate::fs::fixture::Fixture;
    use serde_json::json;

    #[test]
    fn a_file_is_no_directory_and_is_named_as_it_was_given_if_that_was_absolute() {
        let fixture = Fixture::new("//- /src/a.txt\na\n");
        let root = fixture.path("").display().to_string();
        let root = root.trim_end_matches('/');
        for (path, shown) in [
            (format!("{root}//src/a.txt"), "/T//src/a.txt"),
            (format!("{root}/src/../src/a.txt"), "/T/src/../src/a.txt"),
            ("src//a.txt".into(), "/T/src/a.txt"),
        ] {
            let args = json!({ "pattern": "*", "path": path });
            let error = fixture.run("glob", args).unwrap_err().message;
            assert_eq!(error, format!("glob path must be a directory: {shown}"));
        }
    }
}
