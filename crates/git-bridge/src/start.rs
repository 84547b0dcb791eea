//! What a sandbox starts from.

use crate::secret::Secrets;

/// What a sandbox starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// How many commits of history go along; 0 is none but the state itself.
    pub history: usize,
    /// Paths, relative to the worktree, that stay on the host.
    pub keep_out: Vec<String>,
    /// Paths, relative to the worktree, that go, if not all do.
    pub paths: Vec<String>,
    /// A commit of the depot to start from, instead of the worktree as it is.
    pub from: Option<String>,
    /// Commits that the sandbox has already.
    pub known: Vec<String>,
    /// Files and commits that hold one of these stay on the host.
    pub secrets: Secrets,
    /// Tell whose the user's commits are.
    pub identity: bool,
}
