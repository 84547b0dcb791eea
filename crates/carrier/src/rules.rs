//! What a peer can break.

/// Most bytes behind the header of a frame.
pub const MAX_BODY: usize = 16 * 1024;

/// How a peer has broken the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A message or a frame is longer than any may be.
    #[error("a frame of more than {MAX_BODY} bytes")]
    TooLarge,
    /// A message is not one frame.
    #[error("a message that is not one frame")]
    NoFrame,
    /// No WebSocket's message of ours.
    #[error("what is no WebSocket: {0}")]
    NoWebSocket(String),
    /// Too many frames wait unread.
    #[error("more small frames than are kept unread")]
    Unread,
    /// Yamux's own rules: too many streams, more than a window, a stream's number twice.
    #[error("streams or bytes that it was not allowed")]
    Multiplexing,
}
