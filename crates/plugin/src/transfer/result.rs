//! What comes of bringing work home.

use crate::error::Error;
use git_bridge::BranchUpdate;
use sessions::{Entry, Home};

/// What came of bringing work home.
#[derive(Clone, Debug, Default)]
pub(crate) struct SyncResult {
    /// What arrived; none if there was nothing new.
    pub(crate) landed: Option<BranchUpdate>,
    /// The branch that has the session's work, if it ever had any.
    pub(crate) home: Option<Home>,
    /// Files that could not be committed, and why.
    pub(crate) left_out: Vec<String>,
    /// What else the user should know of what arrived.
    pub(crate) notes: Vec<String>,
    /// What is odd about what arrived.
    pub(crate) odd: Vec<String>,
    /// The command that puts what arrived into the working tree, if it is not there yet.
    pub(crate) take: Option<String>,
    /// Background commands that still run.
    pub(crate) jobs: u32,
    /// Why the change is not in the worktree too, if it should be.
    pub(crate) not_applied: Option<String>,
}

/// Why work is not home.
#[derive(Clone, Debug)]
pub(crate) struct NotHome {
    /// What to tell.
    pub(crate) reason: Error,
    /// Where it is more than may come home: the state that it is, and what still runs there. Asked
    /// again, the sandbox says the same until something changes.
    pub(crate) too_much: Option<(String, u32)>,
}

impl<T: Into<Error>> From<T> for NotHome {
    fn from(reason: T) -> NotHome {
        NotHome {
            reason: reason.into(),
            too_much: None,
        }
    }
}

impl SyncResult {
    /// Nothing new.
    pub(crate) fn nothing(entry: &Entry) -> SyncResult {
        SyncResult {
            home: entry.home.clone(),
            ..SyncResult::default()
        }
    }

    /// What to tell: what arrived where, and what did not. None if there is nothing to say.
    pub(crate) fn summary(&self) -> Option<String> {
        let mut said = Vec::new();
        if let Some(landed) = &self.landed {
            let count = landed.files.len();
            said.push(format!(
                "{} has {count} changed file{} ({}).",
                landed.branch,
                if count == 1 { "" } else { "s" },
                landed.commit.get(..8).unwrap_or(&landed.commit)
            ));
            if let Some(why) = &landed.beside {
                said.push(format!(
                    "It is beside the session's own branch, because {why}."
                ));
            }
            if !landed.others.is_empty() {
                said.push(format!("Also: {}.", landed.others.join(", ")));
            }
            if let Some(take) = &self.take {
                said.push(format!("`{take}` puts it into your working tree."));
            }
        }
        if let Some(reason) = &self.not_applied {
            said.push(format!("It is not in the working tree: {reason}."));
        }
        if !self.odd.is_empty() {
            said.push(format!(
                "It was taken although {}: old tools wrote so.",
                self.odd.join("; ")
            ));
        }
        if !self.left_out.is_empty() {
            said.push(format!(
                "Left in the sandbox: {}.",
                self.left_out.join("; ")
            ));
        }
        if !self.notes.is_empty() && self.landed.is_some() {
            said.push(format!("Note: {}.", self.notes.join("; ")));
        }
        (!said.is_empty()).then(|| said.join(" "))
    }
}
