//! How a connection is, and why it is not there.

use super::dial::DialError;
use carrier::Lost;
use std::sync::Arc;

/// How a connection is.
#[derive(Debug, Clone)]
pub enum State {
    /// It is being made for the first time.
    Dialing,
    /// Streams can be opened.
    Live,
    /// It is not there, for this reason, and is tried again.
    Down(Arc<Trouble>),
    /// Another connection to the same sandbox has replaced it. It does not come back.
    Replaced,
    /// It was closed. It does not come back.
    Closed,
}

impl State {
    /// True if it will not be live again.
    pub fn is_over(&self) -> bool {
        matches!(self, State::Replaced | State::Closed)
    }
}

/// Why a connection is down.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It could not be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It was there, and was lost.
    #[error(transparent)]
    Lost(#[from] Lost),
}
