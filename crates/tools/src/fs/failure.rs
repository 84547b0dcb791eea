//! How a tool fails, in the words that the model reads.

use protocol::{Code, ToolError};
use std::io;
use std::path::Path;

/// The tool says no; the model reads `message`.
pub(super) fn fail(message: impl Into<String>) -> ToolError {
    ToolError {
        code: Code::Tool,
        message: message.into(),
        metadata: None,
    }
}

/// An I/O failure as OpenCode words it (`NotFound: FileSystem.readFile (/a)`), or in plain words
/// where the sandbox itself is the cause.
pub(super) fn io_error(action: &str, path: &Path, error: &io::Error) -> ToolError {
    let path = path.display();
    let sandbox = |message: String| ToolError {
        code: Code::Sandbox,
        message,
        metadata: None,
    };
    match error.kind() {
        io::ErrorKind::NotFound => fail(format!("NotFound: FileSystem.{action} ({path})")),
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            fail(format!("BadResource: FileSystem.{action} ({path})"))
        }
        io::ErrorKind::AlreadyExists => {
            fail(format!("AlreadyExists: FileSystem.{action} ({path})"))
        }
        io::ErrorKind::PermissionDenied => {
            fail(format!("PermissionDenied: FileSystem.{action} ({path})"))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => sandbox(format!(
            "The sandbox's disk is full: {path} was left as it was. Free space with bash (for example `rm` a large file) and try again."
        )),
        io::ErrorKind::ReadOnlyFilesystem => sandbox(format!(
            "{path} is on a read-only file system in the sandbox and was left as it was. Write somewhere else."
        )),
        _ => fail(format!("{path}: {error}")),
    }
}
