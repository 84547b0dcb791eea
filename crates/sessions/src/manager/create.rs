//! Making a session's sandbox, once, whoever asks for it.

use super::reach::Wait;
use super::{CREATE_SECONDS, Error, Sessions};
use crate::store::{Cleanup, Creating, Document, Entry};
use daytona::{Sandbox, SandboxState, Toolbox, Way};
use futures::future::join;
use serde_json::Map;
use std::cell::RefCell;

/// How often a create is sent.
const CREATE_ATTEMPTS: u32 = 4;
/// How often one is sent that the service rejects: it may have no room at the moment, or the request
/// may be wrong, and only its words would tell.
const REJECTED_ATTEMPTS: u32 = 3;

/// What to do about a missing entry, decided under the store's lock.
pub(super) enum Claim {
    Existing(Box<Entry>),
    WaitFor(u32),
    Create(String),
}

impl Sessions {
    /// Decides, for all processes, who makes the session's sandbox.
    pub(super) async fn claim(&self, session: &str) -> Result<Claim, Error> {
        let name = format!(
            "opencode-{}-{:08x}",
            tail(session),
            self.host.random() as u32
        );
        let (now, pid) = (self.host.now_ms(), self.host.pid());
        let claim = self
            .store
            .update(|document| {
                if let Some(entry) = document.sessions.get_mut(session) {
                    if entry.used == Some(false) {
                        (entry.owner, entry.last_accessed) = (Some(pid), now);
                    }
                    return Claim::Existing(Box::new(entry.clone()));
                }
                self.give_up(document);
                let other = |note: &&Creating| note.session == session && self.is_under_way(note);
                if let Some(note) = document.creating.iter().find(other) {
                    return Claim::WaitFor(note.pid);
                }
                document.creating.push(Creating {
                    session: session.into(),
                    name: name.clone(),
                    pid,
                    since: now,
                    rest: Map::new(),
                });
                Claim::Create(name)
            })
            .await?;
        Ok(claim)
    }

    /// Creates that nobody works on any more become things to delete.
    pub(super) fn give_up(&self, document: &mut Document) {
        self.give_up_those(document, |note| !self.is_under_way(note));
    }

    /// The same for those that ended here. Others' are left alone: a process of another container
    /// may look dead from here, and be at work.
    pub(super) fn give_up_own(&self, document: &mut Document) {
        let abandoned = self.abandoned.borrow();
        self.give_up_those(document, |note| abandoned.contains(&note.name));
    }

    fn give_up_those(&self, document: &mut Document, over: impl Fn(&Creating) -> bool) {
        let since = self.host.now_ms();
        let notes = std::mem::take(&mut document.creating);
        let (dead, live): (Vec<_>, Vec<_>) = notes.into_iter().partition(over);
        document.creating = live;
        document
            .cleanup
            .extend(dead.into_iter().map(|note| Cleanup {
                late: Some(true),
                ..Cleanup::new(note.name, since)
            }));
    }

    /// Makes the sandbox that [`Sessions::claim`] wrote down.
    pub(super) async fn make(&self, session: &str, name: String) -> Result<Entry, Error> {
        let prepared = match self.template.snapshot {
            Some(_) => None,
            None => self.prepared().await.unwrap_or_default(),
        };
        let prepared = RefCell::new(prepared.map(|prepared| prepared.name));
        let ready = async {
            let snapshot = self.snapshot_of(&prepared.borrow());
            let known = self.snapshot_brings(&snapshot).await.unwrap_or_default();
            self.carrier.make_ready(self, session, known).await;
        };
        let wait = self.wait_for(session, &name);
        wait.for_what(Way::Creating.text());
        let create = async {
            let made = wait
                .during(self.create(session, &name, &prepared, &wait))
                .await;
            if let Ok(sandbox) = &made {
                self.carrier.created(session, sandbox);
            }
            made
        };
        let (made, ()) = join(create, ready).await;
        let now = self.host.now_ms();
        match made {
            Ok(sandbox) => {
                self.slow.borrow_mut().remove(session);
                let written = self
                    .store
                    .update(|document| {
                        document.creating.retain(|note| note.name != name);
                        let mut entry = self.entry(document, &sandbox.toolbox(), now);
                        entry.snapshot = prepared.take();
                        if let Some(old) = self.slot(session).heritage.take() {
                            entry.branch_number = old.branch_number.or(entry.branch_number);
                            (entry.home, entry.applied) = (old.home, old.applied);
                        }
                        // After a broken file it may have one already, and use it.
                        let entries = &mut document.sessions;
                        let entry = entries.entry(session.into()).or_insert(entry).clone();
                        if entry.sandbox_id != sandbox.id {
                            document.cleanup.push(Cleanup::new(&sandbox.id, now));
                        }
                        entry
                    })
                    .await;
                if written.is_err() {
                    // Nobody would know of it. If this fails too, its note is still there.
                    self.abandoned.borrow_mut().insert(name);
                    let _ = self.client.delete(&sandbox.id).await;
                    self.clean_later();
                }
                Ok(written?)
            }
            Err((error, late)) => {
                self.carrier.give_up(session).await;
                // Whatever may be left of it is remembered, and swept now or at the next start.
                let left = late || !error.had_no_effect();
                let reason = error.to_string();
                self.abandoned.borrow_mut().insert(name.clone());
                self.store
                    .update(|document| {
                        document.creating.retain(|note| note.name != name);
                        if left {
                            document.cleanup.push(Cleanup {
                                error: Some(reason),
                                late: late.then_some(true),
                                ..Cleanup::new(&name, now)
                            });
                        }
                    })
                    .await?;
                if left {
                    self.clean(&name).await;
                }
                Err(error.into())
            }
        }
    }

    pub(super) fn entry(&self, document: &Document, toolbox: &Toolbox, now: u64) -> Entry {
        let numbers = document.sessions.values().filter_map(|e| e.branch_number);
        Entry {
            sandbox_id: toolbox.id.clone(),
            branch_number: Some(numbers.max().unwrap_or(0).saturating_add(1)),
            created: now,
            last_accessed: now,
            worktree: Some(self.project.worktree.clone()),
            known_since: self.project.known_since,
            toolbox_url: Some(toolbox.proxy_url.clone()),
            ready: Some(false),
            used: Some(false),
            owner: Some(self.host.pid()),
            ..Entry::default()
        }
    }

    /// Creates by a unique name, so that a lost answer can be made up for by looking. A failure
    /// comes with whether a sandbox of that name may still come to be. A prepared snapshot that cannot be
    /// used is no reason to fail: it is taken out of `prepared`.
    pub(super) async fn create(
        &self,
        session: &str,
        name: &str,
        prepared: &RefCell<Option<String>>,
        wait: &Wait<'_>,
    ) -> Result<Sandbox, (daytona::Error, bool)> {
        let mut request = self.template.clone();
        request.name = name.into();
        request.snapshot = request.snapshot.or(prepared.borrow().clone());
        self.shape(&mut request, session);
        let (mut attempt, mut late) = (0, false);
        loop {
            let error = match self.client.create(&request).await {
                Ok(sandbox) => return self.started(sandbox, wait).await.map_err(|e| (e, false)),
                Err(error) => error,
            };
            late |= error.is_unanswered();
            if !error.had_no_effect() {
                match self.client.get(name).await {
                    Ok(sandbox)
                        if !matches!(
                            sandbox.state,
                            SandboxState::Error | SandboxState::BuildFailed
                        ) =>
                    {
                        return self.started(sandbox, wait).await.map_err(|e| (e, false));
                    }
                    // A dead one: its own reason says more than the create's.
                    Ok(_) => return Err((error, false)),
                    Err(daytona::Error::NotFound { .. }) => {}
                    Err(_) => return Err((error, late)),
                }
            }
            let snapshot = prepared.borrow().clone();
            if let daytona::Error::Rejected { .. } | daytona::Error::NotFound { .. } = &error
                && let Some(snapshot) = snapshot
                && self.is_unusable(&snapshot).await
            {
                prepared.take();
                request.snapshot = None;
                continue;
            }
            attempt += 1;
            let attempts = match &error {
                daytona::Error::Rejected { .. } | daytona::Error::Conflict { .. } => {
                    REJECTED_ATTEMPTS
                }
                error if error.is_transient() => CREATE_ATTEMPTS,
                _ => 0,
            };
            if attempt >= attempts {
                return Err((error, late));
            }
            self.client.pause(&error, attempt).await;
        }
    }

    async fn started(&self, sandbox: Sandbox, wait: &Wait<'_>) -> Result<Sandbox, daytona::Error> {
        let waits = |way: Way| wait.for_what(way.text());
        match sandbox.state {
            SandboxState::Started => sandbox.fit(),
            _ => {
                (self
                    .client
                    .wait_started(&sandbox.id, CREATE_SECONDS, &waits))
                .await
            }
        }
    }
}

/// The last twelve characters that may stand in a name.
fn tail(session: &str) -> String {
    let clean: Vec<char> = session
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    clean[clean.len().saturating_sub(12)..].iter().collect()
}
