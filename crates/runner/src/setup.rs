//! Makes the project directory.

use crate::state::State;
use protocol::{Ready, Setup, ToolError};

pub(crate) fn run(_state: &State, _setup: &Setup) -> Result<Ready, ToolError> {
    Err(crate::error(protocol::Code::Internal, "setup is not written yet"))
}
