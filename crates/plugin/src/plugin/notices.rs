//! What the user hears of sandboxes and of the store: one toast or line for each kind of notice.

use super::Plugin;
use crate::transfer::prepared;
use crate::transfer::progress::STOPPED;
use host::Level;
use sessions::Notice;
use std::rc::Rc;

impl Plugin {
    /// Tells the user.
    pub(super) fn notice(self: &Rc<Self>, notice: &Notice) {
        let (title, message, variant) = match notice {
            // Who did it knows.
            Notice::Failed { reason } if reason.contains(STOPPED) => {
                return self.host.log(Level::Info, reason);
            }
            Notice::Waiting {
                session,
                id,
                what,
                seconds,
                first,
            } => {
                let text = format!("Waiting for the sandbox: it {what} ({seconds} s so far).");
                self.show_to_all(session, &text);
                if !first {
                    return;
                }
                let message = format!("{id} {what}. The session's calls wait for it.");
                ("Sandbox not ready yet", message, "info")
            }
            Notice::Lost { url } => (
                "Connection lost",
                format!(
                    "Daytona cannot be reached at {url}: check the network and DAYTONA_API_URL. What runs in sandboxes goes on, and calls are tried again for about a minute."
                ),
                "warning",
            ),
            Notice::Back => {
                self.reached();
                (
                    "Connection restored",
                    "Daytona can be reached again.".into(),
                    "success",
                )
            }
            Notice::Created { id } => (
                "Sandbox created",
                format!("This session works in Daytona sandbox {id}."),
                "success",
            ),
            Notice::Resumed { id } => (
                "Sandbox resumed",
                format!(
                    "Daytona sandbox {id} was stopped, as Daytona does with one that nobody uses, and runs again. Its processes ended."
                ),
                "info",
            ),
            Notice::Replaced { old, id } => (
                "Sandbox replaced",
                format!(
                    "Daytona sandbox {old} is gone, with all that was only there. {id} takes its place, with what had come home."
                ),
                "warning",
            ),
            Notice::Failed { reason } => ("Sandbox unavailable", reason.clone(), "error"),
            Notice::PreparedUnusable { prepared, state } => (
                "Prepared snapshot not used",
                prepared::unusable(prepared, state.as_deref()),
                "warning",
            ),
            Notice::DeleteLater { id, reason } => (
                "Sandbox not deleted yet",
                format!(
                    "{id} could not be deleted: {reason} It is tried again while OpenCode runs, and at its next start."
                ),
                "warning",
            ),
            Notice::StoreBroken { id, reason } => (
                "Session store unreadable",
                format!(
                    "It did not parse ({reason}) and is now {id}. The sandboxes are found again by their labels."
                ),
                "warning",
            ),
            Notice::Astray { worktree, ids } => (
                "Work not home",
                format!(
                    "{worktree} is not there any more, and work of its sessions has not come home. It is safe in {} ({}). If the project is elsewhere now, put a link to it there and start OpenCode in it.",
                    if ids.len() == 1 {
                        "sandbox"
                    } else {
                        "sandboxes"
                    },
                    ids.join(", ")
                ),
                "warning",
            ),
            Notice::Kept { id, reason } => (
                "Sandbox kept",
                format!(
                    "The session is deleted, but its work could not come home from sandbox {id}, which stays until it has: {reason}"
                ),
                "error",
            ),
        };
        let level = if matches!(variant, "error" | "warning") {
            Level::Warn
        } else {
            Level::Info
        };
        self.host.log(level, &format!("{title}: {message}"));
        self.toast(title, &message, variant);
    }
}
