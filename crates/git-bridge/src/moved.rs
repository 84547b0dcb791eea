//! A worktree that is somewhere else now: whether this one is it, and what its depot held.

use crate::error::Error;
use crate::git::text_of_alternates;
use crate::ground::{Ground, ground};
use crate::project::Project;
use host::FileErrorKind;

/// What another worktree of the same project has to do with this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This one is where it went.
    Here,
    /// It is there, or its repository is, and sees to it itself.
    Elsewhere,
    /// It is not there, and nothing tells where it went.
    Gone,
}

impl Project {
    /// What became of `worktree`, whose depot is `depot`. `is_known` says that this worktree was one
    /// of the project's while that one still was: then it is another clone.
    pub async fn origin_of(&self, worktree: &str, depot: &str, is_known: bool) -> Origin {
        match self.host.file_size(worktree).await {
            // A link, or another spelling of the same name.
            Ok(_) => {
                let here = Ground::Worktree(self.worktree.clone());
                let found = ground(&*self.host, worktree).await;
                return match self.repository && found.ok() == Some(here) {
                    true => Origin::Here,
                    false => Origin::Elsewhere,
                };
            }
            Err(error) if error.kind == FileErrorKind::NotFound => {}
            Err(_) => return Origin::Elsewhere,
        }
        if !self.repository {
            return Origin::Gone;
        }
        let theirs = self.host.read_file(&alternates(depot)).await;
        if let (Ok(theirs), Ok(Some(ours))) = (theirs, self.layout().await) {
            let theirs = String::from_utf8_lossy(&theirs).into_owned();
            if theirs == text_of_alternates(&ours.objects) {
                return Origin::Here;
            }
            if self.host.file_size(theirs.trim_end()).await.is_ok() {
                return Origin::Elsewhere;
            }
        }
        // Of a disk that is not mounted, the directory that it is mounted at may be there, and empty.
        let parent = worktree.rsplit_once('/').map_or("", |(parent, _)| parent);
        let beside = self.host.list_dir(parent).await.unwrap_or_default();
        match is_known || beside.is_empty() || self.has_depot(&self.depot).await {
            true => Origin::Gone,
            false => Origin::Here,
        }
    }

    /// Takes over what the depot of a worktree holds that is this one now. Safe to repeat.
    pub async fn take_over(&self, depot: &str) -> Result<(), Error> {
        if depot == self.depot || !self.has_depot(depot).await {
            return Ok(());
        }
        let is_free = !self.has_depot(&self.depot).await;
        if is_free && self.host.rename_file(depot, &self.depot).await.is_ok() {
            return self.open().await.map(drop);
        }
        let layout = self.layout().await?;
        let git = self.open_at(layout.as_ref()).await?;
        // It borrows the objects of the same repository, wherever that is now.
        if let Some(layout) = layout {
            let borrowed = text_of_alternates(&layout.objects);
            let path = alternates(depot);
            self.host.replace_file(&path, borrowed.as_bytes()).await?;
        }
        let fetch = ["fetch", "--quiet", depot, "refs/opencode/*:refs/opencode/*"];
        git.checked(&fetch, "").await.map(drop)
    }
}

fn alternates(depot: &str) -> String {
    format!("{depot}/objects/info/alternates")
}
