//! What the agent's git in the sandbox shall do as the user's would here: whose the commits are, and where
//! the project's hooks are.

use crate::error::Error;
use crate::git::{Git, text};
use crate::project::Project;
use crate::secret::Secrets;
use crate::settings::values;
use crate::start::Start;

/// Longest name or address.
const MAX: usize = 1_000;

/// What the agent's git is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agents {
    /// Name and address of the user.
    pub identity: Option<(String, String)>,
    /// The directory of the project that has its hooks, relative to its root.
    pub hooks: Option<String>,
}

impl Project {
    /// Finds it. Where the project is a part of a repository, the hooks are those of the whole.
    /// `settings` are all that git has here, as `config -z --list` writes them.
    pub(crate) async fn agents(
        &self,
        settings: &[u8],
        start: &Start,
        is_root: bool,
    ) -> Result<Agents, Error> {
        let identity = || self.identity(settings, &start.secrets);
        Ok(Agents {
            identity: start.identity.then(identity).flatten(),
            hooks: match is_root {
                true => self.hooks(settings).await?,
                false => None,
            },
        })
    }

    /// Name and address that git on this machine puts into a commit of the user's here; none if it is not
    /// told any, and would guess.
    fn identity(&self, settings: &[u8], secrets: &Secrets) -> Option<(String, String)> {
        let mut found = Vec::new();
        for (part, variable) in [("name", "NAME"), ("email", "EMAIL")] {
            let own = self.host.env(&format!("GIT_AUTHOR_{variable}"));
            let mut value = own.unwrap_or_default();
            for section in ["author", "user"] {
                if value.is_empty() {
                    let set = values(settings, &format!("{section}.{part}")).last();
                    value = set.unwrap_or_default().trim().to_string();
                }
            }
            if value.is_empty() && part == "email" {
                value = self.host.env("EMAIL").unwrap_or_default();
            }
            let is_odd = value.len() > MAX || value.contains(['\n', '<', '>', '\0']);
            if value.is_empty() || is_odd || secrets.are_in(value.as_bytes()) {
                return None;
            }
            found.push(value);
        }
        let email = found.pop()?;
        Some((found.pop()?, email))
    }

    /// The directory of the project that git here takes hooks from, relative to its root; none if that
    /// is another one.
    async fn hooks(&self, settings: &[u8]) -> Result<Option<String>, Error> {
        // The last one is ours, which turns them off here.
        if values(settings, "core.hookspath").nth(1).is_none() {
            return Ok(None);
        }
        let git = Git::users(&*self.host, &self.worktree);
        let get = ["config", "--type=path", "--get-all", "core.hooksPath"];
        let paths = text(&git.run(&get, "").await?.stdout);
        let path = paths.lines().rev().nth(1).unwrap_or_default().to_string();
        let inside = match path.strip_prefix('/') {
            Some(_) => {
                let below = path.strip_prefix(&self.worktree);
                below.and_then(|path| path.strip_prefix('/'))
            }
            None => Some(path.as_str()),
        };
        let is_plain = |path: &&str| {
            let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
            parts.clone().next().is_some()
                && parts.all(|part| part != ".." && !part.eq_ignore_ascii_case(".git"))
        };
        Ok(inside.filter(is_plain).map(str::to_string))
    }
}
