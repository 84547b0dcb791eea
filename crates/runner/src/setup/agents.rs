//! What the agent's own git is told: whose its commits are, where the project's hooks are, how a file
//! that Git LFS keeps is read and written, and what nobody wants to commit. Our git knows none of it.
//!
//! Never: overrule what works in the image, but for the identity, which is the user's.

use crate::answer::setup_failed;
use crate::exclude;
use crate::git::Git;
use crate::lfs;
use protocol::{Identity, ToolError};
use std::path::{Component, Path};

const LFS_PROCESS: &str = "filter.lfs.process";

/// Writes the settings of a repository that is there.
pub(crate) fn configure(
    git: &Git,
    identity: Option<&Identity>,
    hooks: Option<&str>,
) -> Result<(), ToolError> {
    let agents = Git::agents(&git.dir);
    for (key, value, of_user) in [
        ("user.name", "OpenCode", identity.map(|own| &own.name)),
        (
            "user.email",
            "opencode@localhost",
            identity.map(|own| &own.email),
        ),
    ] {
        match of_user {
            Some(value) => git.run(&["config", key, value])?,
            None if agents.text(&["config", "--get", key]).is_some() => {}
            None => git.run(&["config", key, value])?,
        }
    }
    if let Some(hooks) = hooks.filter(|hooks| is_inside(hooks)) {
        git.run(&["config", "core.hooksPath", hooks])?;
    }
    lfs_filter(git, &agents)?;
    exclude::leftovers(git).map_err(setup_failed)
}

/// True for a directory of the project itself.
fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(name) if !name.eq_ignore_ascii_case(".git"));
    parts.peek().is_some() && parts.all(is_plain)
}

/// Gives the agent's git a filter for Git LFS, where the image has none that works: with a filter that
/// is missing a commit fails, and with none it holds a file where everybody expects a pointer.
fn lfs_filter(git: &Git, agents: &Git) -> Result<(), ToolError> {
    let set = agents.text(&["config", "--get", LFS_PROCESS]);
    // One of ours may be of a runner that is gone.
    let is_ours = |command: &String| command.contains(lfs::FLAG);
    let has_own = set.as_ref().is_some_and(|command| !is_ours(command))
        || (set.is_none()
            && agents
                .text(&["config", "--get", "filter.lfs.clean"])
                .is_some());
    if has_own && agents.succeeds(&["lfs", "version"]) {
        return Ok(());
    }
    match lfs::command(&git.dir).filter(|command| set.as_ref() != Some(command)) {
        Some(command) => git.run(&["config", LFS_PROCESS, &command]),
        None => Ok(()),
    }
}
