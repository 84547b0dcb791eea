//! Deleting sandboxes, and remembering those that could not be deleted yet.

use super::{CLEAN_MS, Error, LATE_MS, Notice, Sessions, Slot};
use crate::store::{Cleanup, Document, Entry, Unsynced};
use daytona::SandboxState;
use host::Level;
use std::rc::Rc;
use std::sync::Arc;

/// How often it is looked whether the calls of a deleted session have ended.
const RUNNING_MS: u64 = 50;

impl Sessions {
    /// Deletes the session's sandbox, because the session is deleted: after the calls that still
    /// run have ended, a create that is under way is done, and the work is home. If it cannot come
    /// home, the sandbox is kept, and a later start tries again.
    pub async fn delete(&self, session: &str) -> Result<(), Error> {
        let slot = self.slot(session);
        slot.deleted.set(true);
        self.note_deleted(session).await?;
        while slot.running.get() > 0 {
            self.host.sleep(RUNNING_MS).await;
        }
        let _guard = slot.lock.lock().await;
        if !self.note_deleted(session).await? && !self.fresh.borrow().contains(session) {
            // The store may have lost the entry: then the sandbox's labels still name the session.
            self.adopt(session).await?;
            self.note_deleted(session).await?;
        }
        self.finish(session, &slot).await
    }

    /// Writes down that the session's sandbox must go; false if there is none.
    async fn note_deleted(&self, session: &str) -> Result<bool, Error> {
        let noted = self
            .store
            .update(|document| match document.sessions.get_mut(session) {
                Some(entry) => {
                    entry.deleted = Some(true);
                    true
                }
                None => false,
            })
            .await?;
        Ok(noted)
    }

    /// Brings the work of a deleted session home, then deletes its sandbox.
    async fn finish(&self, session: &str, slot: &Slot) -> Result<(), Error> {
        let Some(entry) = self.store.read().await?.sessions.remove(session) else {
            slot.toolbox.borrow_mut().take();
            return Ok(());
        };
        if entry.unsynced.is_some()
            && let Err(reason) = self.carrier.bring_home(self, session).await
            && !self.is_gone(&entry.sandbox_id).await
        {
            (self.notices)(Notice::Kept {
                id: entry.sandbox_id,
                reason,
            });
            return Ok(());
        }
        self.discard(session, slot, |_| true).await?;
        self.carrier.forget(session).await;
        Ok(())
    }

    /// True if the service knows no such sandbox: there is nothing to keep then.
    pub(super) async fn is_gone(&self, sandbox: &str) -> bool {
        match self.client.get(sandbox).await {
            Err(daytona::Error::NotFound { .. }) => true,
            Ok(sandbox) => matches!(
                sandbox.state,
                SandboxState::Destroyed | SandboxState::Destroying
            ),
            Err(_) => false,
        }
    }

    /// Deletes the session's sandbox if no tool ever worked in it.
    pub async fn delete_unused(&self, session: &str) -> Result<(), Error> {
        let slot = self.slot(session);
        let _guard = slot.lock.lock().await;
        if slot.used.get() {
            return Ok(());
        }
        let pid = self.host.pid();
        // Another process may have taken it over.
        self.discard(session, &slot, |entry| {
            entry.used == Some(false) && entry.owner == Some(pid)
        })
        .await
        .map(drop)
    }

    /// Deletes all sandboxes that this process made and no tool ever worked in.
    pub async fn delete_all_unused(&self) {
        let sessions: Vec<String> = self.slots.borrow().keys().cloned().collect();
        let all = sessions.iter().map(|session| self.delete_unused(session));
        for error in futures::future::join_all(all)
            .await
            .into_iter()
            .filter_map(Result::err)
        {
            self.host.log(
                Level::Warn,
                &format!("an unused sandbox stays until the next start: {error}"),
            );
        }
    }

    /// Takes a wanted entry away and deletes its sandbox; true if there was one.
    pub(super) async fn discard(
        &self,
        session: &str,
        slot: &Slot,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<bool, Error> {
        let now = self.host.now_ms();
        let id = self
            .store
            .update(|document| {
                if !document.sessions.get(session).is_some_and(&wanted) {
                    return None;
                }
                let id = document.sessions.remove(session)?.sandbox_id;
                document.cleanup.push(Cleanup::new(&id, now));
                Some(id)
            })
            .await?;
        slot.toolbox.borrow_mut().take();
        if let Some(id) = &id {
            self.clean(id).await;
        }
        Ok(id.is_some())
    }

    /// Deletes one sandbox that the cleanup list names, and takes it off the list.
    pub(super) async fn clean(&self, sandbox: &str) {
        let mut result = self.client.delete(sandbox).await;
        // Right after a create the service refuses for a moment.
        for attempt in 0..3 {
            let Err(error @ daytona::Error::Conflict { .. }) = &result else {
                break;
            };
            self.client.pause(error, attempt).await;
            result = self.client.delete(sandbox).await;
        }
        let now = self.host.now_ms();
        let (was_there, reason) = match result {
            Ok(was_there) => (was_there, None),
            Err(error) => (false, Some(error.to_string())),
        };
        let written = self
            .store
            .update(|document| {
                match &reason {
                    // What is still being made is not there yet: it is looked for again.
                    None => document.cleanup.retain(|c| {
                        let may_come = c.late == Some(true) && now.abs_diff(c.since) < LATE_MS;
                        c.sandbox != sandbox || (!was_there && may_come)
                    }),
                    Some(reason) => document
                        .cleanup
                        .iter_mut()
                        .filter(|c| c.sandbox == sandbox)
                        .for_each(|c| c.error = Some(reason.clone())),
                }
                let mut notes = document.cleanup.iter().filter(|c| c.sandbox == sandbox);
                notes.next().map(|note| note.late == Some(true))
            })
            .await;
        // The user hears of it once, however often it is tried again, and not of one of which nobody
        // knows whether it ever came to be.
        let is_real = !matches!(written, Ok(Some(true)));
        if let Some(reason) = reason
            && is_real
            && self.told.borrow_mut().insert(sandbox.into())
        {
            (self.notices)(Notice::DeleteLater {
                id: sandbox.into(),
                reason,
            });
        }
        let is_left = written.map(|note| note.is_some()).unwrap_or_else(|error| {
            self.host.log(Level::Warn, &error.to_string());
            true
        });
        if is_left {
            self.clean_later();
        }
    }

    /// From now on, what could not be deleted is tried again in the background while this process
    /// lives, and not only at the next start.
    pub fn keep_clean(self: &Rc<Self>) {
        *self.cleaner.borrow_mut() = Rc::downgrade(self);
    }

    /// Works off the notes in the background, at growing intervals, until none is left.
    pub(super) fn clean_later(&self) {
        let cleaner = self.cleaner.borrow().clone();
        if cleaner.upgrade().is_none() || self.cleaning.replace(true) {
            return;
        }
        let host = Arc::clone(&self.host);
        self.host.spawn(Box::pin(async move {
            let mut pause = CLEAN_MS.0;
            loop {
                host.sleep(pause).await;
                let Some(sessions) = cleaner.upgrade() else {
                    return;
                };
                match sessions
                    .work_off(|document| sessions.give_up_own(document))
                    .await
                {
                    Ok(document) if document.cleanup.is_empty() => {
                        sessions.cleaning.set(false);
                        return;
                    }
                    Ok(_) => {}
                    Err(error) => host.log(Level::Warn, &error.to_string()),
                }
                pause = (2 * pause).min(CLEAN_MS.1);
            }
        }));
    }

    /// Deletes every sandbox that a note names, after `change` has made its own notes. Gives the
    /// store as it is afterwards.
    async fn work_off(&self, change: impl FnOnce(&mut Document)) -> Result<Document, Error> {
        let todo = self
            .store
            .update(|document| {
                change(document);
                let notes = document.cleanup.iter().map(|note| note.sandbox.clone());
                notes.collect::<Vec<_>>()
            })
            .await?;
        for sandbox in todo {
            self.clean(&sandbox).await;
        }
        Ok(self.store.read().await?)
    }

    /// Deletes what earlier processes left, and brings home the work that they left. Run once at every
    /// start.
    pub async fn sweep(&self) -> Result<(), Error> {
        let document = self.sweep_sandboxes().await?;
        self.sweep_work(document).await
    }

    /// Deletes what earlier processes left: failed deletions, creates nobody finished, sandboxes
    /// no tool ever used. Gives the store as it is afterwards.
    pub async fn sweep_sandboxes(&self) -> Result<Document, Error> {
        let document = self.store.read().await?;
        if document.creating.is_empty()
            && document.cleanup.is_empty()
            && document
                .sessions
                .values()
                .all(|entry| entry.used != Some(false))
        {
            return Ok(document);
        }
        let now = self.host.now_ms();
        let unused = |document: &mut Document| {
            self.give_up(document);
            let mut gone = Vec::new();
            document.sessions.retain(|_, entry| {
                let owned = entry
                    .owner
                    .is_some_and(|pid| self.lives(pid, entry.last_accessed));
                let unused = entry.used == Some(false) && !owned;
                if unused {
                    gone.push(entry.sandbox_id.clone());
                }
                !unused
            });
            let notes = gone.into_iter().map(|id| Cleanup::new(id, now));
            document.cleanup.extend(notes);
        };
        self.work_off(unused).await
    }

    /// True if the session was deleted while no plugin looked, as `opencode session delete` does; that is
    /// written down then. Another OpenCode's database says nothing about it.
    async fn has_ended(&self, session: &str, entry: &Entry) -> bool {
        let since = self.project.known_since;
        if since.is_none() || entry.known_since != since || !self.carrier.is_deleted(session).await
        {
            return false;
        }
        let noted = self.note_deleted(session).await;
        noted.unwrap_or_else(|error| {
            self.host.log(Level::Warn, &error.to_string());
            false
        })
    }

    /// Deletes the sandboxes of deleted sessions of this worktree, and brings home what processes
    /// that are gone left in the others, if work comes home at all.
    async fn sweep_work(&self, document: Document) -> Result<(), Error> {
        let document = self.follow_moves(document).await?;
        for (session, entry) in document.sessions {
            if !self.is_ours(&entry) {
                continue;
            }
            let is_left = |work: &Unsynced| !self.lives(work.pid, work.since);
            let is_idle = entry.unsynced.as_ref().is_none_or(is_left);
            if entry.deleted == Some(true) || (is_idle && self.has_ended(&session, &entry).await) {
                let slot = self.slot(&session);
                slot.deleted.set(true);
                let _guard = slot.lock.lock().await;
                if let Err(error) = self.finish(&session, &slot).await {
                    let message = format!("deleted session {session} is still there: {error}");
                    self.host.log(Level::Warn, &message);
                }
            } else if self.project.brings_home
                && entry.unsynced.as_ref().is_some_and(is_left)
                && let Err(reason) = self.carrier.bring_home(self, &session).await
            {
                let message = format!("the work of session {session} is not home yet: {reason}");
                self.host.log(Level::Warn, &message);
            }
        }
        Ok(())
    }
}
