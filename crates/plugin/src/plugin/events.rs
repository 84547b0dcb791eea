//! What happens in OpenCode, and its end.

use super::{Core, Plugin};
use crate::config::SyncMode;
use crate::wire::*;
use futures::future::{join, pending, select};
use host::Level;
use serde_json::Value;
use std::rc::Rc;

/// An unused sandbox is deleted when its session has been idle this long.
const IDLE_MS: u64 = 10 * 60 * 1000;
/// How long OpenCode's end may be held up.
const DISPOSE_MS: u64 = 8_000;
/// After so long the user hears what the end waits for, and how often it is tried to say that.
const LEAVING_MS: (u64, u64) = (300, 100);
const LEAVING: &str =
    "Bringing the work home from the sandbox …; press Ctrl-C again to leave it for the next start.";

impl Plugin {
    /// Makes the session's sandbox, unless it is there.
    pub(super) fn prewarm(self: &Rc<Self>, session: &str) {
        if let Ok(core) = self.core()
            && core.config.prewarm
            && !self.disposed.get()
        {
            let (plugin, session) = (Rc::clone(self), session.to_string());
            self.host.spawn(Box::pin(async move {
                // A failure is shown by its notice, and again by the first tool call.
                if let Ok(root) = plugin.root(&session).await {
                    core.transfer.steps.wanted(&root);
                    let _ = core.sessions.ensure(&root).await;
                }
            }));
        }
    }

    /// Something happened in OpenCode.
    pub async fn event(self: &Rc<Self>, event: Event) -> Nothing {
        let text = |pointer: &str| {
            event
                .properties
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_string)
        };
        let session = text("/sessionID").or_else(|| text("/info/id"));
        let (Some(session), Ok(core)) = (session, self.core()) else {
            return Nothing {};
        };
        match event.kind.as_str() {
            "session.created" => {
                let parent = text("/info/parentID");
                if parent.is_none() {
                    core.sessions.created(&session);
                }
                self.known.of(&session).parent.replace(Some(parent));
            }
            "session.deleted" => {
                let known = self.known.parent(&session);
                let parent = text("/info/parentID").or(known.flatten());
                if parent.is_some() {
                    self.known.forget(&session);
                } else {
                    let (plugin, host) = (Rc::clone(self), self.host.clone());
                    self.host.spawn(Box::pin(async move {
                        if let Err(error) = core.sessions.delete(&session).await {
                            host.log(
                                Level::Error,
                                &format!(
                                    "the sandbox of session {session} could not be deleted: {error}"
                                ),
                            );
                        }
                        plugin.known.forget(&session);
                    }));
                }
            }
            "session.idle" => {
                self.idle(Rc::clone(&core), session.clone());
                if let Ok(root) = self.root(&session).await
                    && root == session
                {
                    self.come_home(core, root, None);
                }
            }
            "session.updated" => self.updated(core, session, &event.properties["info"]),
            "message.updated" => {
                if text("/info/role").as_deref() == Some("user")
                    && let (Some(session), Some(id)) = (text("/info/sessionID"), text("/info/id"))
                    && let Ok(root) = self.root(&session).await
                    && root == session
                {
                    self.turn(&root, &id, None);
                }
            }
            "message.removed" | "message.part.removed" => self.removed(session),
            "permission.asked" => self.approvals.borrow_mut().asked(&event.properties),
            "permission.replied" => self.approvals.borrow_mut().replied(&event.properties),
            "session.compacted" => {
                if let Some(known) = self.known.find(&session) {
                    known.loaded.take();
                }
            }
            _ => {}
        }
        Nothing {}
    }

    pub(super) fn active(&self, session: &str) -> u64 {
        let known = self.known.of(session);
        known.activity.set(known.activity.get() + 1);
        known.activity.get()
    }

    /// Deletes the session's sandbox later, if nothing happens until then and no tool used it.
    fn idle(self: &Rc<Self>, core: Rc<Core>, session: String) {
        let stamp = self.active(&session);
        let plugin = Rc::downgrade(self);
        let host = self.host.clone();
        self.host.spawn(Box::pin(async move {
            host.sleep(IDLE_MS).await;
            let Some(plugin) = plugin.upgrade() else {
                return;
            };
            let known = plugin.known.find(&session);
            if known.is_some_and(|known| known.activity.get() == stamp)
                && let Err(error) = core.sessions.delete_unused(&session).await
            {
                host.log(
                    Level::Warn,
                    &format!("the unused sandbox of session {session} stays: {error}"),
                );
            }
        }));
    }

    /// OpenCode ends: the work comes home, and no sandbox that nobody used stays behind.
    pub async fn dispose(self: &Rc<Self>, _: Nothing) -> Nothing {
        self.disposed.set(true);
        if let Ok(core) = self.core() {
            let end = join(self.all_home(&core), core.sessions.delete_all_unused());
            let limit = self.host.sleep(DISPOSE_MS);
            let told = self.tell_leaving(&core);
            // What does not get done is done at the next start.
            select(Box::pin(end), select(limit, Box::pin(told))).await;
        }
        Nothing {}
    }

    /// Says in the terminal that work travels: OpenCode's screen has gone, and a user who sees nothing
    /// presses Ctrl-C again, which ends the process at once.
    async fn tell_leaving(&self, core: &Core) {
        if core.config.sync != SyncMode::Off && !core.sessions.unsynced().is_empty() {
            self.host.sleep(LEAVING_MS.0).await;
            while !self.opencode.terminal(LEAVING) {
                self.host.sleep(LEAVING_MS.1).await;
            }
        }
        pending().await
    }
}
