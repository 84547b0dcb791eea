//! How far packing is, for the user who waits.

use futures::channel::mpsc::UnboundedSender;

/// How far packing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is known how large it is.
    Sized {
        /// Files, and their bytes when they are checked out.
        files: (usize, u64),
        /// Bytes that git keeps it in, which is about what is uploaded.
        packed: u64,
    },
    /// Files and commits are looked through for secrets: bytes, and of how many.
    Searching {
        /// Bytes so far.
        done: u64,
        /// All.
        of: u64,
    },
    /// Objects are packed, of so many.
    Packing {
        /// Objects so far.
        done: u64,
        /// All.
        of: u64,
    },
}

/// Hears how far packing is.
pub type Tell = UnboundedSender<Step>;
