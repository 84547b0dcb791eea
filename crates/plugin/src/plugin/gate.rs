//! The gate: with an OpenCode in which the plugin cannot hold what it promises, every tool refuses. The
//! release is asked for at the start; what a release can do shows when it is needed.

use super::Plugin;
use crate::release::{self, Lack};
use futures::channel::oneshot;
use futures::future::{Either, select};
use std::rc::Rc;

/// How long the start waits for OpenCode to say which release it is. It takes milliseconds.
const RELEASE_MS: u64 = 1_500;

impl Plugin {
    /// This OpenCode lacks what cannot be done without: from now on every tool refuses. Gives why.
    pub(super) fn lacks(&self, lack: Lack) -> String {
        let reason = lack.refusal();
        if self.core().is_ok() {
            self.refuse(&reason);
        }
        reason
    }

    /// Learns which release of OpenCode this is. Gives why it is not served, if that is known in time; if it
    /// is known later, every tool refuses from then on.
    pub(super) async fn gate(self: &Rc<Self>) -> Option<String> {
        let (tell, told) = oneshot::channel();
        let plugin = Rc::clone(self);
        self.host.spawn(Box::pin(async move {
            let release = plugin.opencode.release().await;
            let refusal = release.as_deref().and_then(release::refusal);
            if let Err(Some(reason)) = tell.send(refusal) {
                plugin.refuse(&reason);
            }
        }));
        match select(told, self.host.sleep(RELEASE_MS)).await {
            Either::Left((refusal, _)) => refusal.ok().flatten(),
            Either::Right(_) => None,
        }
    }
}
