//! A file tree in one string, for tests: `//- /path` starts a file.

use super::{Tree, run};
use protocol::{ToolArgs, ToolError, ToolOutput};
use serde_json::{Value, json};
use std::path::PathBuf;

pub(super) struct Fixture {
    dir: tempfile::TempDir,
    pub(super) tree: Tree,
}

impl Fixture {
    pub(super) fn new(text: &str) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        for part in text.split("//- /").skip(1) {
            let (path, content) = part.split_once('\n').unwrap();
            let path = dir.path().join(path.trim());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let root = dir.path().to_path_buf();
        Fixture {
            dir,
            tree: Tree {
                root: root.clone(),
                cwd: root,
                ..Tree::default()
            },
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tool; the fixture's own path is shown as `/T`.
    pub(super) fn run(&self, tool: &str, args: Value) -> Result<ToolOutput, ToolError> {
        let args: ToolArgs = serde_json::from_value(json!({ "tool": tool, "args": args })).unwrap();
        let here = self.dir.path().to_str().unwrap();
        run(&self.tree, &args)
            .map(|out| ToolOutput {
                output: out.output.replace(here, "/T"),
                metadata: serde_json::from_str(&out.metadata.to_string().replace(here, "/T"))
                    .unwrap(),
                ..out
            })
            .map_err(|error| ToolError {
                message: error.message.replace(here, "/T"),
                ..error
            })
    }
}
