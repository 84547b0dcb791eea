//! Where the plugin was started: the project, and whether there is a repository that its work can come
//! home to.

use super::Plugin;
use crate::config::DEFAULT_PROJECT_DIR;
use crate::paths::Paths;
use futures::future::join;
use sync::Ground;

impl Plugin {
    /// The worktree, or `/` for a directory without a repository. OpenCode asks a git that an exported
    /// `GIT_WORK_TREE` sends elsewhere, and knows nothing of what may not be carried.
    pub(super) async fn worktree(&self) -> Result<String, String> {
        let (theirs, directory) = (&self.init.worktree, &self.init.directory);
        let version = sync::git_version(&*self.host, directory);
        let (version, ground) = join(version, sync::ground(&*self.host, directory)).await;
        match (version, ground) {
            (Err(error @ sync::Error::OldGit { .. }), _) => Err(error.to_string()),
            // Whatever needs git says that there is none.
            (_, Err(sync::Error::NotRun(_))) => Ok(theirs.clone()),
            (_, Err(error)) => Err(error.to_string()),
            (_, Ok(Ground::Plain)) => Ok("/".into()),
            (_, Ok(Ground::Worktree(top))) => {
                // Another spelling of the same path: what is kept goes by it.
                let real = self.host.real_path(theirs).await;
                let is_same = real.is_ok_and(|real| real == top);
                let paths = Paths::new(theirs, directory, DEFAULT_PROJECT_DIR);
                let holds_it = paths.inside(directory).is_some();
                Ok(if is_same && holds_it {
                    theirs.clone()
                } else {
                    top
                })
            }
        }
    }
}
