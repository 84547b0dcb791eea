//! The sandbox of a session: found, or made, and prepared.

use super::create::Claim;
use super::{CREATE_SECONDS, ENTER_ATTEMPTS, Error, Fresh, Notice, Sessions, TOUCH_MS};
use daytona::Toolbox;

impl Sessions {
    /// The session's sandbox, ready to work in. Costs no request if this process or the store
    /// knows it; it is not checked whether it runs.
    pub async fn ensure(&self, session: &str) -> Result<Toolbox, Error> {
        let slot = self.slot(session);
        let failures = slot.failure.borrow().0;
        let _guard = slot.lock.lock().await;
        if slot.deleted.get() {
            return Err(Error::Deleted);
        }
        if let Some(toolbox) = slot.toolbox.borrow().clone() {
            return Ok(toolbox);
        }
        // Calls that waited for the one that failed share its answer: ten parallel calls do not
        // knock ten times at a door that is shut.
        if let (count, Some(error)) = &*slot.failure.borrow()
            && *count != failures
        {
            return Err(error.clone());
        }
        match self.find_or_make(session).await {
            Ok((toolbox, made)) => {
                *slot.toolbox.borrow_mut() = Some(toolbox.clone());
                if made {
                    (self.notices)(Notice::Created {
                        id: toolbox.id.clone(),
                    });
                }
                Ok(toolbox)
            }
            Err(error) => {
                *slot.failure.borrow_mut() = (failures + 1, Some(error.clone()));
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Like [`Sessions::ensure`], for a tool that works in it: it is written down that the sandbox
    /// may hold something from now on, and with `changes` that it may not be home. Costs no
    /// request and, once a minute and after each homecoming, one write.
    ///
    /// An unused sandbox may be deleted by whoever finds it idle, so between `ensure` and the
    /// first use it may be gone. What counts is the store: only a sandbox that is the session's
    /// there, and marked, is given out.
    pub async fn enter(&self, session: &str, changes: bool) -> Result<Toolbox, Error> {
        for _ in 0..ENTER_ATTEMPTS {
            let toolbox = self.ensure(session).await?;
            if self.mark_used(session, &toolbox, changes).await? {
                return Ok(toolbox);
            }
            let slot = self.slot(session);
            let _guard = slot.lock.lock().await;
            slot.toolbox.borrow_mut().take_if(|known| *known == toolbox);
            self.fresh.borrow_mut().remove(session);
        }
        Err(Error::Taken)
    }

    /// True if this process has worked out where the session's sandbox is.
    pub fn is_ready(&self, session: &str) -> bool {
        self.slot(session).toolbox.borrow().is_some()
    }

    /// Writes down that a tool works in `toolbox`; false if it is not the session's any more.
    async fn mark_used(
        &self,
        session: &str,
        toolbox: &Toolbox,
        changes: bool,
    ) -> Result<bool, Error> {
        let slot = self.slot(session);
        let (now, used) = (self.host.now_ms(), slot.used.get());
        let unsynced = self.project.brings_home && changes && !slot.unsynced.get();
        if used && !unsynced && now.abs_diff(slot.touched.get()) < TOUCH_MS {
            return Ok(true);
        }
        let marked = self
            .store
            .update(|document| {
                let goes = document.cleanup.iter().any(|c| c.sandbox == toolbox.id);
                match document.sessions.get_mut(session) {
                    Some(entry) if entry.sandbox_id == toolbox.id => {
                        entry.used = Some(true);
                        entry.owner = None;
                        entry.last_accessed = now;
                        entry.known_since = self.project.known_since.or(entry.known_since);
                        if unsynced {
                            self.note_unsynced(entry);
                        }
                        true
                    }
                    // Another process may have replaced the sandbox. The call finds that out, and tells the model.
                    Some(_) => used,
                    // The file was lost, but the work in the sandbox was not.
                    None if used && !goes => {
                        let mut entry = self.entry(document, toolbox, now);
                        (entry.ready, entry.used, entry.owner) = (Some(true), Some(true), None);
                        if self.project.brings_home {
                            self.note_unsynced(&mut entry);
                        }
                        document.sessions.insert(session.into(), entry);
                        true
                    }
                    None => false,
                }
            })
            .await?;
        // Unless it was replaced meanwhile: then the new one is not marked yet.
        if marked && slot.toolbox.borrow().as_ref() == Some(toolbox) {
            slot.used.set(true);
            slot.touched.set(now);
            slot.unsynced.set(slot.unsynced.get() || unsynced);
        }
        Ok(marked)
    }

    /// The session's sandbox, prepared, and whether it was made here.
    pub(super) async fn find_or_make(&self, session: &str) -> Result<(Toolbox, bool), Error> {
        for _ in 0..ENTER_ATTEMPTS {
            match self.find_or_make_once(session).await {
                // Somebody found it unused, and deleted it while it was being prepared.
                Err(Error::Gone(sandbox)) => self.part_with(session, &sandbox).await?,
                done => return done,
            }
        }
        Err(Error::Taken)
    }

    async fn find_or_make_once(&self, session: &str) -> Result<(Toolbox, bool), Error> {
        if self.store.is_broken().await? {
            self.rebuild().await?;
        }
        let known = self.store.read().await?.sessions.contains_key(session);
        if !known && !self.fresh.borrow().contains(session) {
            self.adopt(session).await?;
        }
        let deadline = self.host.now_ms() + CREATE_SECONDS * 1000;
        let wait = self.wait_for(session, "the sandbox");
        let mut made = false;
        let entry = loop {
            match self.claim(session).await? {
                Claim::Existing(found) => break *found,
                Claim::WaitFor(pid) if self.host.now_ms() > deadline => {
                    return Err(Error::Stuck(pid));
                }
                Claim::WaitFor(pid) => {
                    wait.for_what(&format!(
                        "is being created by another OpenCode process (pid {pid})"
                    ));
                    self.host.sleep(200).await;
                }
                Claim::Create(name) => {
                    made = true;
                    break self.make(session, name).await?;
                }
            }
        };
        let mut toolbox = entry.toolbox();
        let is_ready = entry.ready == Some(true);
        if !made && (!is_ready || entry.toolbox_url.is_none()) {
            // An earlier plugin made it, or its preparation did not end: it may be stopped or
            // gone by now, and its address may not be known.
            let current = self.repair(session, &toolbox).await?.toolbox;
            if current.id != toolbox.id {
                return Ok((current, false));
            }
            toolbox = current;
        }
        let foreign = entry.used.is_none();
        if !is_ready
            && let Err(error) = self
                .prepare(session, &toolbox, foreign, &entry.snapshot)
                .await
        {
            if !self.is_gone(&toolbox.id).await {
                return Err(error);
            }
            // Whoever deleted it may have taken the entry away, and what it had inherited.
            if entry.home.is_some() {
                *self.slot(session).heritage.borrow_mut() = Some(entry);
            }
            return Err(Error::Gone(toolbox.id));
        }
        Ok((toolbox, made))
    }

    /// `prepared` is the prepared snapshot that the sandbox was made of.
    async fn prepare(
        &self,
        session: &str,
        toolbox: &Toolbox,
        foreign: bool,
        prepared: &Option<String>,
    ) -> Result<(), Error> {
        let snapshot = self.snapshot_of(prepared);
        let fresh = Fresh {
            session,
            toolbox,
            foreign,
            known: self.snapshot_brings(&snapshot).await?,
        };
        let prepared = self
            .carrier
            .prepare(self, fresh)
            .await
            .map_err(Error::Prepare)?;
        self.store
            .update(|document| {
                match prepared.found {
                    Some(found) if !found.is_empty() => {
                        document.snapshots.insert(snapshot, found);
                    }
                    // It may have brought some before it was made anew.
                    Some(_) => drop(document.snapshots.remove(&snapshot)),
                    None => {}
                }
                if let Some(entry) = document.sessions.get_mut(session)
                    && entry.sandbox_id == toolbox.id
                {
                    entry.ready = Some(true);
                    entry.base_commit = prepared.base_commit.or(entry.base_commit.take());
                    entry.host_head = prepared.host_head.or(entry.host_head.take());
                }
            })
            .await?;
        Ok(())
    }
}
