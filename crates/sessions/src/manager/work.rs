//! What the store knows of work that is not home yet: written before a change is made, taken back
//! when all of it has come home.

use super::{Error, Sessions, Slot};
use crate::store::{Entry, Home, Undo, Unsynced};
use daytona::Toolbox;
use futures::lock::MutexGuard;
use std::rc::Rc;

/// A call that may change something in the sandbox; ends when it is dropped.
pub struct Working(Rc<Slot>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get().saturating_sub(1));
    }
}

impl Sessions {
    /// Says that a call works for the session until the result is dropped: a deletion waits for
    /// it, and work is not all home as long as it goes on.
    pub fn working(&self, session: &str) -> Working {
        let slot = self.slot(session);
        slot.running.set(slot.running.get() + 1);
        Working(slot)
    }

    pub(super) fn note_unsynced(&self, entry: &mut Entry) {
        let before = entry.unsynced.take().unwrap_or_default();
        entry.unsynced = Some(Unsynced {
            pid: self.host.pid(),
            since: self.host.now_ms().max(before.since + 1),
            rest: before.rest,
        });
    }

    /// What the store knows of the session.
    pub async fn entry_of(&self, session: &str) -> Result<Option<Entry>, Error> {
        Ok(self.store.read().await?.sessions.remove(session))
    }

    /// True if the entry is of this worktree: clones of a repository share a store.
    pub(super) fn is_ours(&self, entry: &Entry) -> bool {
        let worktree = entry.worktree.as_ref();
        worktree.is_none_or(|worktree| *worktree == self.project.worktree)
    }

    /// Sessions of this worktree that have work, in their sandbox or home.
    pub async fn known(&self) -> Result<Vec<String>, Error> {
        let document = self.store.read().await?;
        let has_work = |entry: &Entry| entry.may_hold_work() || entry.home.is_some();
        let ours = (document.sessions.into_iter())
            .filter(|(_, entry)| self.is_ours(entry) && has_work(entry));
        Ok(ours.map(|(session, _)| session).collect())
    }

    /// All sessions of this process that may have work that is not home, or is on its way.
    pub fn unsynced(&self) -> Vec<String> {
        let slots = self.slots.borrow();
        let is_open = |slot: &Slot| slot.unsynced.get() || slot.homing.try_lock().is_none();
        let open = slots.iter().filter(|(_, slot)| is_open(slot));
        open.map(|(session, _)| session.clone()).collect()
    }

    /// Runs `bring` while nobody else in this process brings the session's work home. It gets the
    /// entry as it was before; changes that are made from now on count as new.
    pub async fn homing<R>(
        &self,
        session: &str,
        bring: impl AsyncFnOnce(Option<Entry>) -> R,
    ) -> Result<R, Error> {
        let slot = self.slot(session);
        let _guard: MutexGuard<'_, ()> = slot.homing.lock().await;
        slot.unsynced.set(false);
        slot.is_homing_during_call.set(slot.running.get() > 0);
        let entry = self.entry_of(session).await?;
        Ok(bring(entry).await)
    }

    /// The session's sandbox as the store knows it, deleted session or not, for looking at what it
    /// holds. Makes none, and gives none whose set-up has not ended.
    pub async fn existing(&self, session: &str) -> Result<Option<Toolbox>, Error> {
        if let Some(toolbox) = self.slot(session).toolbox.borrow().clone() {
            return Ok(Some(toolbox));
        }
        let entry = self.entry_of(session).await?;
        let Some(entry) = entry.filter(Entry::may_hold_work) else {
            return Ok(None);
        };
        let toolbox = entry.toolbox();
        match entry.toolbox_url {
            Some(_) => Ok(Some(toolbox)),
            None => Ok(Some(self.revive(session, &toolbox).await?.toolbox)),
        }
    }

    /// Writes down what came home, if anything new did. `before` is the entry that
    /// [`Sessions::homing`] gave; with `all`, nothing of what it knew is left in the sandbox.
    pub async fn came_home(
        &self,
        session: &str,
        before: &Entry,
        home: Option<Home>,
        all: bool,
    ) -> Result<(), Error> {
        let slot = self.slot(session);
        let is_quiet = !slot.is_homing_during_call.get() && slot.running.get() == 0;
        let open = self
            .store
            .update(|document| {
                let entry = document.sessions.get_mut(session)?;
                if entry.sandbox_id == before.sandbox_id {
                    if all && is_quiet && entry.unsynced == before.unsynced {
                        entry.unsynced = None;
                    }
                    if home.is_some() {
                        entry.home = home;
                    }
                    entry.error = None;
                }
                entry.unsynced.as_ref().map(drop)
            })
            .await?;
        slot.unsynced.set(slot.unsynced.get() || open.is_some());
        Ok(())
    }

    /// Writes down why the work did not come home.
    pub async fn stayed(&self, session: &str, reason: &str) -> Result<(), Error> {
        self.slot(session).unsynced.set(true);
        self.change(session, |entry| entry.error = Some(reason.into()))
            .await
    }

    /// Writes down up to which commit the work is in the user's worktree.
    pub async fn applied(&self, session: &str, commit: &str) -> Result<(), Error> {
        self.change(session, |entry| entry.applied = Some(commit.into()))
            .await
    }

    /// Writes down how far the user went back; what the sandbox holds then is not home.
    pub async fn undo(&self, session: &str, undo: Option<Undo>) -> Result<(), Error> {
        self.change(session, |entry| {
            if self.project.brings_home && undo.as_ref().is_some_and(|undo| undo.pending) {
                self.note_unsynced(entry);
            }
            entry.undo = undo;
        })
        .await
    }

    /// Gives the session another branch number than `tried`, above `taken`: its own turned out to be
    /// taken. Another process that brings the same work home may have given it one meanwhile; then it
    /// is that one, so that both use the same branch. None if nothing is known of the session any more.
    pub async fn renumber(
        &self,
        session: &str,
        tried: Option<u64>,
        taken: u64,
    ) -> Result<Option<u64>, Error> {
        let number = self
            .store
            .update(|document| {
                let known = document.sessions.get(session)?.branch_number;
                if known.is_some() && known != tried {
                    return known;
                }
                let numbers = document.sessions.values().filter_map(|e| e.branch_number);
                let next = numbers.fold(taken, u64::max).saturating_add(1);
                document.sessions.get_mut(session)?.branch_number = Some(next);
                Some(next)
            })
            .await?;
        Ok(number)
    }

    async fn change(&self, session: &str, change: impl FnOnce(&mut Entry)) -> Result<(), Error> {
        self.store
            .update(|document| document.sessions.get_mut(session).map(change))
            .await?;
        Ok(())
    }
}
