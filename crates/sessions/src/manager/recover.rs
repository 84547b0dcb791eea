//! Finding a sandbox again: after the store lost it, after it stopped, after it was deleted.

use super::{Error, LABEL_SESSION, Notice, START_SECONDS, Sessions};
use crate::store::{Creating, Entry};
use daytona::{Sandbox, Toolbox, Way};
use host::Level;
use runner_client::Looked;

impl Sessions {
    /// Looks for a sandbox that carries the session's label: the store may have lost it.
    pub(super) async fn adopt(&self, session: &str) -> Result<(), Error> {
        let found = self.client.list(&self.labels(Some(session))).await?;
        let Some(sandbox) = found
            .iter()
            .filter(|sandbox| sandbox.can_run())
            .max_by(|a, b| a.created_at.cmp(&b.created_at))
        else {
            return Ok(());
        };
        self.host.log(
            Level::Info,
            &format!(
                "found sandbox {} of session {session} by its label",
                sandbox.id
            ),
        );
        self.insert(session, sandbox).await
    }

    /// Writes an entry for a sandbox found by its label, unless there is one.
    pub(super) async fn insert(&self, session: &str, sandbox: &Sandbox) -> Result<(), Error> {
        let now = self.host.now_ms();
        self.store
            .update(|document| {
                let is_its = |note: &Creating| note.name == sandbox.name;
                // Whoever makes it will write the entry; whoever deletes it already has.
                if (document.creating.iter()).any(|note| is_its(note) && self.is_under_way(note))
                    || (document.cleanup.iter())
                        .any(|note| [&sandbox.id, &sandbox.name].contains(&&note.sandbox))
                {
                    return;
                }
                document.creating.retain(|note| !is_its(note));
                let mut entry = self.entry(document, &sandbox.toolbox(), now);
                // It may hold work: it is never an unused one.
                (entry.used, entry.owner) = (Some(true), None);
                if self.project.brings_home {
                    self.note_unsynced(&mut entry);
                }
                document.sessions.entry(session.into()).or_insert(entry);
            })
            .await?;
        Ok(())
    }

    /// Makes a new file from the labels after the old one broke.
    pub(super) async fn rebuild(&self) -> Result<(), Error> {
        let mut found = self.client.list(&self.labels(None)).await?;
        self.host.log(
            Level::Warn,
            &format!(
                "the session store is broken; rebuilding it from {} sandboxes",
                found.len()
            ),
        );
        found.sort_by(|a, b| b.created_at.cmp(&a.created_at));
        // Moves the broken file aside even if there is nothing to write.
        self.store.update(|_| ()).await?;
        for sandbox in &found {
            if let Some(session) = sandbox.labels.get(LABEL_SESSION)
                && sandbox.can_run()
            {
                self.insert(session, sandbox).await?;
            }
        }
        Ok(())
    }

    /// Finds out why `failed` does not answer and repairs it: waits, starts, or replaces.
    ///
    /// Of several calls that fail together one does the work; the others get its result.
    pub async fn recover(&self, session: &str, failed: &Toolbox) -> Result<Looked, Error> {
        let slot = self.slot(session);
        let before = slot.look.borrow().number;
        let _guard = slot.lock.lock().await;
        if slot.deleted.get() {
            return Err(Error::Deleted);
        }
        if let Some(current) = slot.toolbox.borrow().clone()
            && current != *failed
        {
            return Ok(Looked {
                toolbox: current,
                was_running: false,
            });
        }
        let result = self.repair_after(session, failed, before).await;
        match &result {
            Ok(looked) => *slot.toolbox.borrow_mut() = Some(looked.toolbox.clone()),
            // The caller asks again, and tells it if that does not help.
            Err(Error::Daytona(error)) if error.is_transient() => {}
            Err(error) => self.failed(error),
        }
        result
    }

    pub(super) async fn repair(&self, session: &str, failed: &Toolbox) -> Result<Looked, Error> {
        let before = self.slot(session).look.borrow().number;
        self.repair_after(session, failed, before).await
    }

    async fn repair_after(
        &self,
        session: &str,
        failed: &Toolbox,
        before: u64,
    ) -> Result<Looked, Error> {
        match self.revive_after(session, failed, before).await {
            Err(Error::Gone(_)) => Ok(Looked {
                toolbox: self.replace(session, &failed.id).await?,
                was_running: false,
            }),
            revived => revived,
        }
    }

    /// Starts `failed` if it is stopped, and waits if it is on its way. Makes no other in its
    /// place: if it is gone, that is the error.
    pub async fn revive(&self, session: &str, failed: &Toolbox) -> Result<Looked, Error> {
        let before = self.slot(session).look.borrow().number;
        self.revive_after(session, failed, before).await
    }

    /// Calls that wait for a look at the same sandbox share what it finds: ten of them do not ask
    /// ten times, and start it once. `before` is the number of the last look when the call failed.
    async fn revive_after(
        &self,
        session: &str,
        failed: &Toolbox,
        before: u64,
    ) -> Result<Looked, Error> {
        let slot = self.slot(session);
        let _guard = slot.looking.lock().await;
        {
            let look = slot.look.borrow();
            if let Some((sandbox, result)) = &look.found
                && look.number > before
                && *sandbox == failed.id
            {
                return result.clone();
            }
        }
        let result = self.look(session, failed).await;
        let mut look = slot.look.borrow_mut();
        look.number += 1;
        look.found = Some((failed.id.clone(), result.clone()));
        result
    }

    /// Asks the service about `failed`, and starts it if it is stopped.
    async fn look(&self, session: &str, failed: &Toolbox) -> Result<Looked, Error> {
        let wait = self.wait_for(session, &failed.id);
        let waits = |way: Way| wait.for_what(way.text());
        let up = self.client.bring_up(&failed.id, START_SECONDS, &waits);
        let (sandbox, resumed) = match wait.during(up).await {
            Ok(running) => running,
            Err(daytona::Error::NotFound { .. }) => return Err(Error::Gone(failed.id.clone())),
            Err(error) => return Err(error.into()),
        };
        self.slow.borrow_mut().remove(session);
        let toolbox = sandbox.toolbox();
        if toolbox != *failed {
            self.store
                .update(|document| {
                    if let Some(entry) = document.sessions.get_mut(session)
                        && entry.sandbox_id == toolbox.id
                    {
                        entry.toolbox_url = Some(toolbox.proxy_url.clone());
                    }
                })
                .await?;
        }
        if resumed {
            (self.notices)(Notice::Resumed {
                id: toolbox.id.clone(),
            });
        }
        Ok(Looked {
            toolbox,
            was_running: !resumed,
        })
    }

    /// The old sandbox is gone: a new one, with the project as it is on the host now.
    pub(super) async fn replace(&self, session: &str, old: &str) -> Result<Toolbox, Error> {
        self.part_with(session, old).await?;
        let (toolbox, _) = Box::pin(self.find_or_make(session)).await?;
        (self.notices)(Notice::Replaced {
            old: old.into(),
            id: toolbox.id.clone(),
        });
        Ok(toolbox)
    }

    /// Forgets a sandbox that is gone; what it leaves goes to the next one.
    pub(super) async fn part_with(&self, session: &str, old: &str) -> Result<(), Error> {
        let slot = self.slot(session);
        slot.toolbox.borrow_mut().take();
        slot.used.set(false);
        slot.unsynced.set(false);
        let left = self
            .store
            .update(|document| {
                let is_old = |entry: &Entry| entry.sandbox_id == old;
                match document.sessions.get(session).is_some_and(is_old) {
                    true => document.sessions.remove(session),
                    false => None,
                }
            })
            .await?;
        if left.is_some() {
            *slot.heritage.borrow_mut() = left;
        }
        self.fresh.borrow_mut().insert(session.into());
        Ok(())
    }
}
