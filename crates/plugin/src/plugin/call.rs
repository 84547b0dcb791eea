//! A call that OpenCode has made: its end from outside, and what is shown of it.

use crate::wire::Executed;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};
use protocol::ToolArgs;

pub(super) const ABORTED: &str = "Tool execution aborted";

/// A call that is under way, and what is shown of it.
pub(super) struct UnderWay {
    pub(super) session: String,
    pub(super) title: String,
    /// What its command has printed so far; none as long as it has none.
    pub(super) output: Option<String>,
    /// The text on the screen says what the call waits for.
    pub(super) waits: bool,
}

pub(super) type Cancel = Shared<LocalBoxFuture<'static, ()>>;

/// Nobody aborts.
pub(super) fn never() -> Cancel {
    futures::future::pending().boxed_local().shared()
}

/// True for a command that shall stay.
pub(super) fn is_background(args: &ToolArgs) -> bool {
    matches!(args, ToolArgs::Bash(bash) if bash.background == Some(true))
}

/// A call that ended with an error for the model.
pub(super) fn failed(message: String) -> Executed {
    Executed::Failed { message }
}
