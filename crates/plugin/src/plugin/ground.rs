//! Where the plugin was started: the project, and whether there is a repository that its work can come
//! home to.

use super::Plugin;
use crate::config::DEFAULT_PROJECT_DIR;
use git_bridge::Ground;
use permission::Paths;

/// Variables that send git elsewhere, OpenCode's too.
const REDIRECTING: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_CEILING_DIRECTORIES",
];

impl Plugin {
    /// The worktree in the core's form, or `/` for a directory without a repository. OpenCode asks a git
    /// that an exported `GIT_WORK_TREE` sends elsewhere, and knows nothing of what may not be carried.
    pub(super) async fn worktree(&self) -> Result<String, String> {
        let platform = self.host.platform();
        let theirs = platform.slashed(&self.init.worktree);
        let directory = &platform.slashed(&self.init.directory);
        if self.is_plain_worktree(&theirs, directory).await {
            return Ok(theirs);
        }
        match git_bridge::ground(&*self.host, directory).await {
            // Whatever needs git says that there is none.
            Err(git_bridge::Error::NotRun(_)) => Ok(theirs),
            Err(error) => Err(self.old_git().await.unwrap_or(error.to_string())),
            Ok(Ground::Plain) => Ok("/".into()),
            Ok(Ground::Worktree(top)) => {
                // Another spelling of the same path: what is kept goes by it.
                let real = self.host.real_path(&theirs).await;
                let is_same = real.is_ok_and(|real| platform.is_same(&real, &top));
                let paths = Paths::new(&theirs, directory, DEFAULT_PROJECT_DIR);
                let holds_it = paths.inside(directory).is_some();
                Ok(if is_same && holds_it { theirs } else { top })
            }
        }
    }

    /// True if git has said all that there is to ask, to OpenCode: the directory is the root of its
    /// worktree, has a git directory of its own, and nothing leads git elsewhere. A process of git less
    /// at the start of every OpenCode.
    async fn is_plain_worktree(&self, theirs: &str, directory: &str) -> bool {
        let platform = self.host.platform();
        let is_led = REDIRECTING.iter().any(|name| self.host.env(name).is_some());
        if !platform.is_same(theirs, directory)
            || is_led
            || git_bridge::is_no_project(&*self.host, directory, true)
        {
            return false;
        }
        let real = self.host.real_path(directory).await;
        let head = self.host.read_file(&format!("{directory}/.git/HEAD")).await;
        real.is_ok_and(|real| platform.is_same(&real, directory)) && head.is_ok()
    }

    /// Why this machine's git cannot be used, if it is too old.
    pub(super) async fn old_git(&self) -> Option<String> {
        match git_bridge::git_version(&*self.host, &self.init.directory).await {
            Err(error @ git_bridge::Error::OldGit { .. }) => Some(error.to_string()),
            _ => None,
        }
    }
}
