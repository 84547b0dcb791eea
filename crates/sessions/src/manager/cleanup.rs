//! Deleting sandboxes, and remembering those that could not be deleted yet.

use super::{Error, LATE_MS, Notice, Sessions, Slot};
use crate::store::{Cleanup, Entry};
use host::Level;

impl Sessions {
    /// Deletes the session's sandbox, because the session is deleted. Waits for a create that is
    /// under way; what cannot be deleted now is deleted at a later start.
    pub async fn delete(&self, session: &str) -> Result<(), Error> {
        let slot = self.slot(session);
        slot.deleted.set(true);
        let _guard = slot.lock.lock().await;
        let known = slot.toolbox.borrow().clone();
        if self.discard(session, &slot, |_| true).await? {
            return Ok(());
        }
        // The store may have lost the entry: then the sandbox's labels still name the session.
        let mut left: Vec<String> = known.into_iter().map(|toolbox| toolbox.id).collect();
        if left.is_empty() && !self.fresh.borrow().contains(session) {
            let found = self.client.list(&self.labels(Some(session))).await?;
            left.extend(found.into_iter().map(|sandbox| sandbox.id));
        }
        let now = self.host.now_ms();
        self.store
            .update(|document| {
                let notes = left.iter().map(|id| Cleanup::new(id, now));
                document.cleanup.extend(notes);
            })
            .await?;
        for id in &left {
            self.clean(id).await;
        }
        slot.toolbox.borrow_mut().take();
        Ok(())
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
            .update(|document| match &reason {
                // What is still being made is not there yet: a later start looks again.
                None => document.cleanup.retain(|c| {
                    let may_come = c.late == Some(true) && now.abs_diff(c.since) < LATE_MS;
                    c.sandbox != sandbox || (!was_there && may_come)
                }),
                Some(reason) => document
                    .cleanup
                    .iter_mut()
                    .filter(|c| c.sandbox == sandbox)
                    .for_each(|c| c.error = Some(reason.clone())),
            })
            .await;
        if let Some(reason) = reason {
            (self.notices)(Notice::DeleteLater {
                id: sandbox.into(),
                reason,
            });
        }
        if let Err(error) = written {
            self.host.log(Level::Warn, &error.to_string());
        }
    }

    /// Deletes what earlier processes left: failed deletions, creates nobody finished, sandboxes
    /// no tool ever used. Run once at every start.
    pub async fn sweep(&self) -> Result<(), Error> {
        let document = self.store.read().await?;
        if document.creating.is_empty()
            && document.cleanup.is_empty()
            && document
                .sessions
                .values()
                .all(|entry| entry.used != Some(false))
        {
            return Ok(());
        }
        let now = self.host.now_ms();
        let todo = self
            .store
            .update(|document| {
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
                document
                    .cleanup
                    .extend(gone.into_iter().map(|id| Cleanup::new(id, now)));
                document
                    .cleanup
                    .iter()
                    .map(|c| c.sandbox.clone())
                    .collect::<Vec<_>>()
            })
            .await?;
        for sandbox in todo {
            self.clean(&sandbox).await;
        }
        Ok(())
    }
}
