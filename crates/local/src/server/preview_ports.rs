//! Which ports of this machine belong to which ports of sandboxes.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::task::AbortHandle;

use crate::mutex::lock;
use crate::options::PreviewAddress;

/// The listening ports of previews.
pub(super) struct Previews {
    pub(super) address: PreviewAddress,
    /// By sandbox and port in it.
    pub(super) open: Mutex<HashMap<(String, u16), Listening>>,
}

pub(super) struct Listening {
    pub(super) port: u16,
    pub(super) task: AbortHandle,
}

impl Previews {
    pub(super) fn new(address: PreviewAddress) -> Self {
        Self {
            address,
            open: Mutex::default(),
        }
    }

    pub(super) fn port_of(&self, id: &str, port: u16) -> Option<u16> {
        let open = lock(&self.open);
        Some(open.get(&(id.to_owned(), port))?.port)
    }

    /// Ends what listens for a sandbox.
    pub(super) fn close(&self, id: &str) {
        lock(&self.open).retain(|(of, _), listening| {
            if of == id {
                listening.task.abort();
            }
            of != id
        });
    }
}
