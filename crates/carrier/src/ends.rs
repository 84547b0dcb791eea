//! What yamux does not tell about its streams, noted as frames pass.
//!
//! A reader of yamux is given the same end of file for a FIN, for a reset and for a connection that is lost. So
//! here is which streams have had their FIN, and how many frames wait unread: each is an allocation of its own,
//! and a window full of frames of one byte costs a hundred times that window.

use crate::rules::Breach;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Frames that may wait unread in all streams together.
const MAX_UNREAD: usize = 1 << 16;

/// The streams of one connection.
#[derive(Default)]
pub(crate) struct Ends(Mutex<Table>);

#[derive(Default)]
struct Table {
    ends: HashMap<u32, End>,
    unread: usize,
}

#[derive(Default)]
struct End {
    /// True for a FIN, false for a reset. The first of them counts: yamux says FIN behind our reset.
    has_finished: Option<bool>,
    bytes: usize,
    frames: usize,
}

impl Ends {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Numbers and flags: no panic leaves them half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream begins, or has begun.
    pub(crate) fn begin(&self, id: u32) {
        self.table().ends.entry(id).or_default();
    }

    /// The peer will write no more: because that was all, or because of a reset.
    pub(crate) fn end(&self, id: u32, is_all: bool) {
        if let Some(end) = self.table().ends.get_mut(&id) {
            end.has_finished.get_or_insert(is_all);
        }
    }

    /// True if the peer has said that this was all.
    pub(crate) fn has_finished(&self, id: u32) -> bool {
        self.table()
            .ends
            .get(&id)
            .is_some_and(|end| end.has_finished == Some(true))
    }

    /// A frame with `bytes` has come. What is for no stream that is known, yamux drops.
    pub(crate) fn arrive(&self, id: u32, bytes: usize) -> Result<(), Breach> {
        let mut table = self.table();
        if let Some(end) = table.ends.get_mut(&id).filter(|_| bytes > 0) {
            end.bytes += bytes;
            end.frames += 1;
            table.unread += 1;
        }
        match table.unread > MAX_UNREAD {
            true => Err(Breach::Unread),
            false => Ok(()),
        }
    }

    /// `bytes` have been read. How many frames these were is not known, so it is their share, and all of
    /// them once nothing is left.
    pub(crate) fn read(&self, id: u32, bytes: usize) {
        let mut table = self.table();
        if let Some(end) = table.ends.get_mut(&id) {
            let frames = end.frames * bytes.min(end.bytes) / end.bytes.max(1);
            end.bytes = end.bytes.saturating_sub(bytes);
            end.frames -= frames;
            table.unread -= frames;
        }
    }

    /// The stream is no more.
    pub(crate) fn forget(&self, id: u32) {
        let mut table = self.table();
        if let Some(end) = table.ends.remove(&id) {
            table.unread -= end.frames;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unread_frames_are_counted_and_bounded() {
        let ends = Ends::default();
        for id in 1..=4 {
            ends.begin(id);
        }
        for n in 0..MAX_UNREAD {
            ends.arrive(n as u32 % 4 + 1, 1).expect("within the bound");
        }
        // What is for no stream, or has nothing in it, takes no place.
        ends.arrive(9, 1).expect("not kept");
        ends.arrive(1, 0).expect("not kept");
        ends.arrive(1, 1).expect_err("one too many");
        ends.read(1, 3);
        ends.arrive(1, 1).expect("there is room again");
        ends.read(1, usize::MAX);
        for id in 1..=4 {
            ends.forget(id);
        }
        assert_eq!(ends.table().unread, 0);
    }
}
