//! What carries the project into a sandbox and the work home. [`Transfer`] is what both ways have; each way
//! is a module.

pub(crate) mod fork;
mod homeward;
mod inward;
pub(crate) mod prepared;
pub(crate) mod progress;
mod result;
pub(crate) mod size;

pub(crate) use result::{NotHome, SyncResult};

use crate::config::SyncMode;
use crate::known::Known;
use crate::opencode::OpenCode;
use crate::remote::Remote;
use crate::secrets::Secrets;
use host::Host;
use progress::Steps;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

/// Transfers one project: into sandboxes, and the work in them home.
pub(crate) struct Transfer {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) opencode: Rc<dyn OpenCode>,
    pub(crate) remote: Rc<Remote>,
    pub(crate) project: git_bridge::Project,
    /// The store's file.
    pub(crate) store: String,
    /// Worktree on the host.
    pub(crate) worktree: String,
    /// Project directory in the sandbox.
    pub(crate) root: String,
    /// Directory in the sandbox that the sessions work in.
    pub(crate) cwd: String,
    /// Commits of history that go along.
    pub(crate) history: usize,
    /// Paths that go, if not all do.
    pub(crate) paths: Vec<String>,
    /// How far the preparations are.
    pub(crate) steps: Rc<Steps>,
    /// What becomes of the work.
    pub(crate) mode: SyncMode,
    /// What a branch's number stands behind.
    pub(crate) branch_prefix: String,
    /// What is known of the sessions.
    pub(crate) known: Rc<Known>,
    /// What must not get into a sandbox.
    pub(crate) secrets: Arc<Secrets>,
    /// What the user knows to stay here.
    pub(crate) told: RefCell<HashSet<String>>,
    /// The user knows that the prepared snapshot is behind.
    pub(crate) is_behind_told: Cell<bool>,
    /// The agent's commits are the user's.
    pub(crate) identity: bool,
    /// Is told what came home.
    pub(crate) tell: Box<dyn Fn(&SyncResult)>,
}
