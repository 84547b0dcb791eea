//! What the handlers of the control plane and of the proxies know.

use std::sync::{Arc, Mutex};

use super::access::Access;
use super::lifecycle::Sandboxes;
use super::preview_ports::Previews;

/// The server's sandboxes, and where and for whom it serves them.
pub(super) struct App {
    pub(super) sandboxes: Arc<Sandboxes>,
    pub(super) key: String,
    pub(super) port: u16,
    pub(super) previews: Previews,
    /// Sandboxes that the proxy has found the key to open, or not to open.
    pub(super) opened: Mutex<Access>,
}

impl App {
    pub(super) fn toolbox_url(&self) -> String {
        format!("http://127.0.0.1:{}/toolbox", self.port)
    }
}
