//! What each tool does to a file tree, with OpenCode's own results.
//!
//! One entrance: [`run`]. A [`Tree`] says where the project is; every tool is one module with one
//! function that takes the tree and its arguments.
//!
//! Never: start a process, follow a symlink loop, open anything but regular files and directories
//! (a read of a FIFO would hang), or leave a file half written.

mod apply_patch;
mod diff;
mod edit;
mod failure;
mod glob;
mod grep;
mod js;
mod path;
mod read;
mod replace;
mod text;
mod tree;
mod walk;
mod write;

pub use edit::{WAYS, ways};
pub use path::resolve;
pub use text::incomplete;
pub use tree::Tree;

use failure::fail;
use protocol::{Change, ToolArgs, ToolError, ToolOutput};

/// Runs one tool. `bash` is not one of them: it is a process, not a change of files.
pub fn run(tree: &Tree, args: &ToolArgs) -> Result<ToolOutput, ToolError> {
    match args {
        ToolArgs::Read(args) => read::run(tree, args),
        ToolArgs::Write(args) => write::run(tree, args),
        ToolArgs::Edit(args) => edit::run(tree, args),
        ToolArgs::ApplyPatch(args) => apply_patch::run(tree, args),
        ToolArgs::Glob(args) => glob::run(tree, args),
        ToolArgs::Grep(args) => grep::run(tree, args),
        ToolArgs::Bash(_)
        | ToolArgs::Job(_)
        | ToolArgs::Preview(_)
        | ToolArgs::Sync(_)
        | ToolArgs::Webfetch(_)
        | ToolArgs::Websearch(_) => Err(fail(
            "this tool is run by the runner, not by the file tools",
        )),
    }
}

/// What a tool would change, or why it refuses; none for a tool that changes no files.
pub fn preview(tree: &Tree, args: &ToolArgs) -> Option<Result<Change, ToolError>> {
    let tree = Tree {
        preview: true,
        locks: None,
        ..tree.clone()
    };
    let is_change = matches!(
        args,
        ToolArgs::Write(_) | ToolArgs::Edit(_) | ToolArgs::ApplyPatch(_)
    );
    is_change.then(|| {
        run(&tree, args).map(|output| Change {
            diff: output.metadata["diff"].as_str().unwrap_or_default().into(),
            files: output.metadata["files"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
        })
    })
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod preview_test;
