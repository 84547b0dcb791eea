//! Sessions of a worktree that was moved: their work comes home where it is now.
//!
//! The store is changed first, and what is kept beside it follows; a process that dies in between
//! leaves a note in the entry.

use super::{Error, Notice, Origin, Sessions};
use crate::store::{Document, Entry};
use host::Level;
use std::collections::BTreeSet;

/// The id that OpenCode gives every directory without commits: it says nothing about a project.
const NO_PROJECT: &str = "global";

impl Sessions {
    /// True if the entry has work that nobody brings home at the moment.
    fn is_left(&self, entry: &Entry) -> bool {
        let work = entry.unsynced.as_ref();
        entry.deleted == Some(true) || work.is_some_and(|work| !self.lives(work.pid, work.since))
    }

    /// Makes the sessions of worktrees that went here sessions of this one. What is not home, and of
    /// which nothing tells where it belongs, the user hears of once.
    pub(super) async fn follow_moves(&self, document: Document) -> Result<Document, Error> {
        let others: BTreeSet<&String> = (document.sessions.values())
            .filter(|entry| !self.is_ours(entry) && self.is_left(entry))
            .filter_map(|entry| entry.worktree.as_ref())
            .collect();
        let is_known = (document.sessions.values())
            .any(|entry| entry.worktree.as_ref() == Some(&self.project.worktree));
        let mut document = document.clone();
        if self.project.brings_home {
            for worktree in others {
                let origin = match self.carrier.origin_of(worktree, is_known).await {
                    Origin::Here if self.project.id == NO_PROJECT => Origin::Gone,
                    origin => origin,
                };
                match origin {
                    Origin::Here => document = self.follow_move(worktree).await?,
                    Origin::Gone => self.tell_astray(worktree).await?,
                    Origin::Elsewhere => {}
                }
            }
        }
        self.take_over(document).await
    }

    async fn follow_move(&self, worktree: &str) -> Result<Document, Error> {
        let here = &self.project.worktree;
        self.host.log(
            Level::Info,
            &format!("{worktree} is {here} now, and so are its sessions"),
        );
        let written = self.store.update(|document| {
            for entry in document.sessions.values_mut() {
                if entry.worktree.as_deref() == Some(worktree) {
                    entry.worktree = Some(here.clone());
                    entry.moved_from = Some(worktree.into());
                    entry.astray = None;
                }
            }
            document.clone()
        });
        Ok(written.await?)
    }

    /// Finishes what [`Sessions::follow_move`] has written down, also in an earlier process.
    async fn take_over(&self, document: Document) -> Result<Document, Error> {
        let before: BTreeSet<&String> = (document.sessions.values())
            .filter(|entry| self.is_ours(entry))
            .filter_map(|entry| entry.moved_from.as_ref())
            .collect();
        let mut after = document.clone();
        for worktree in before {
            if let Err(reason) = self.carrier.take_over(worktree).await {
                let message = format!("what was kept for {worktree} is not taken over: {reason}");
                self.host.log(Level::Warn, &message);
                continue;
            }
            let written = self.store.update(|document| {
                for entry in document.sessions.values_mut() {
                    entry.moved_from.take_if(|from| from == worktree);
                }
                document.clone()
            });
            after = written.await?;
        }
        Ok(after)
    }

    async fn tell_astray(&self, worktree: &str) -> Result<(), Error> {
        let ids = self
            .store
            .update(|document| {
                let mut ids = Vec::new();
                for entry in document.sessions.values_mut() {
                    let is_there = entry.worktree.as_deref() == Some(worktree);
                    if is_there && self.is_left(entry) && entry.astray.is_none() {
                        entry.astray = Some(true);
                        ids.push(entry.sandbox_id.clone());
                    }
                }
                ids
            })
            .await?;
        if !ids.is_empty() {
            let worktree = worktree.into();
            (self.notices)(Notice::Astray { worktree, ids });
        }
        Ok(())
    }
}
