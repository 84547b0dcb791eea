//! Directories for temporary files, beside the store: packs may be larger than what a `/tmp` in memory
//! takes. Their names say whose they are, so that what a killed process left is swept by the next.

use crate::error::Error;
use crate::project::{Project, machine};
use host::TEMPORARY;

/// What another machine left, if the home is shared, goes when it is so old.
const OLD_MS: u64 = 2 * 24 * 60 * 60 * 1000;

impl Project {
    /// Removes the temporary directories of processes that are gone; and, if no process works on this
    /// depot or another of the store, what a killed git left in it. Each that does has such a directory.
    pub async fn sweep(&self) -> Result<(), Error> {
        let place = self.temporary();
        let mut is_in_use = false;
        for name in self.host.list_dir(&place).await? {
            let path = format!("{place}/{name}");
            match self.is_left(&name, &path).await {
                true => self.host.remove_dir(&path).await?,
                false => is_in_use = true,
            }
        }
        if is_in_use {
            return Ok(());
        }
        let is_lock = |name: &str| name.ends_with(".lock");
        let is_part = |name: &str| name.starts_with("tmp_");
        self.remove_those("", is_lock).await?;
        self.remove_those("/objects/pack", is_part).await?;
        for kind in ["base", "given", "home", "lfs", "packed"] {
            self.remove_those(&format!("/refs/opencode/{kind}"), is_lock)
                .await?;
        }
        Ok(())
    }

    async fn remove_those(&self, below: &str, which: impl Fn(&str) -> bool) -> Result<(), Error> {
        let dir = format!("{}{below}", self.depot);
        for name in self.host.list_dir(&dir).await? {
            if which(&name) {
                self.host.remove_file(&format!("{dir}/{name}")).await?;
            }
        }
        Ok(())
    }

    async fn is_left(&self, name: &str, path: &str) -> bool {
        let Some(owner) = name.strip_prefix(TEMPORARY) else {
            return false;
        };
        let mut parts = owner.rsplitn(3, '-');
        let (_, pid, machine_of) = (parts.next(), parts.next(), parts.next());
        let pid = pid.and_then(|pid| pid.parse().ok());
        match (pid, machine_of) {
            (Some(pid), Some(of)) if of == machine(&*self.host) => {
                pid != self.host.pid() && !self.host.pid_alive(pid)
            }
            // Whether its process lives cannot be told from here.
            _ => {
                let modified = self.host.modified_ms(path).await;
                modified.is_ok_and(|at| self.host.now_ms().saturating_sub(at) > OLD_MS)
            }
        }
    }
}
