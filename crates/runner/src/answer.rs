//! What this runner answers: replies, and the errors in them.

use protocol::{Code, Outcome, Reply, Runner, ToolError};
use std::io;

/// A reply from this runner.
pub(crate) fn reply(id: &str, replayed: bool, result: Result<Outcome, ToolError>) -> Reply {
    Reply {
        protocol: protocol::VERSION,
        runner: Runner {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: env!("RUNNER_COMMIT").into(),
        },
        id: id.to_string(),
        replayed,
        result,
    }
}

/// An error with a code.
pub(crate) fn error(code: Code, message: impl Into<String>) -> ToolError {
    ToolError {
        code,
        message: message.into(),
        metadata: None,
    }
}

/// An error of the sandbox, and not of the request.
pub(crate) fn sandbox(message: String) -> ToolError {
    error(Code::Sandbox, message)
}

/// Why the project cannot be set up, where the file system has the reason.
pub(crate) fn setup_failed(why: io::Error) -> ToolError {
    sandbox(format!(
        "The project cannot be set up in the sandbox: {why}"
    ))
}
