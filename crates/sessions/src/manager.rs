//! The lifecycle: find, make, recover, delete, sweep.

use crate::store::{Cleanup, Creating, Document, Entry, Store, StoreError};
use async_trait::async_trait;
use daytona::{Client, CreateSandbox, Sandbox, State, Toolbox};
use futures::lock::Mutex;
use host::{Host, Level};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::OnceLock;

/// Label that says who made a sandbox.
const LABEL_PLUGIN: &str = "opencode.plugin";
/// Label with the project id.
const LABEL_PROJECT: &str = "opencode.project";
/// Label with the root session.
const LABEL_SESSION: &str = "opencode.session";
/// Value of [`LABEL_PLUGIN`].
const PLUGIN: &str = "opencode-daytona-sandbox";
/// How often `lastAccessed` is written.
const TOUCH_MS: u64 = 60_000;
/// How long a create may take until it counts as failed. Images are built in this time.
const CREATE_SECONDS: u64 = 600;
/// A note of a create that is older than this belongs to nobody any more.
const CREATING_STALE_MS: u64 = (CREATE_SECONDS + 60) * 1000;
/// How often a create is sent.
const CREATE_ATTEMPTS: u32 = 4;

/// What goes wrong between a session and its sandbox.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The mapping cannot be written down, so nothing is made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service says no.
    #[error(transparent)]
    Daytona(#[from] daytona::Error),
    /// The sandbox is there, but it could not be made useful.
    #[error("{0}")]
    Prepare(String),
    /// Another process makes the sandbox and does not get done.
    #[error(
        "another OpenCode process (pid {0}) has been creating this session's sandbox for too long; stop it or try again"
    )]
    Stuck(u32),
    /// The session was deleted.
    #[error("this session was deleted, and its sandbox with it")]
    Deleted,
}

/// What a sandbox of this project starts from; the name and the labels are added per session.
pub type Template = CreateSandbox;

/// Which project the sessions belong to.
#[derive(Clone, Debug)]
pub struct Project {
    /// OpenCode's project id.
    pub id: String,
    /// This instance's worktree, or directory where there is none.
    pub worktree: String,
    /// The worktree is a git repository: sessions get a branch number.
    pub git: bool,
}

/// Makes a fresh sandbox useful.
#[async_trait(?Send)]
pub trait Prepare {
    /// Must be safe to repeat: it runs again if a crash left the sandbox half prepared. `foreign`
    /// says that another program worked in it: nothing that is there may be overwritten.
    async fn prepare(&self, toolbox: &Toolbox, foreign: bool) -> Result<Prepared, String>;
}

/// What is now in the sandbox.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// Commit that the work starts from.
    pub base_commit: Option<String>,
    /// The host's HEAD at that moment.
    pub host_head: Option<String>,
}

/// News for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the sandbox's id or the reason")]
pub enum Notice {
    /// A sandbox was made.
    Created { id: String },
    /// A stopped one runs again.
    Resumed { id: String },
    /// The old one was gone; what was only there is lost.
    Replaced { old: String, id: String },
    /// It cannot be had.
    Failed { reason: String },
    /// It could not be deleted yet.
    DeleteLater { id: String, reason: String },
}

/// One root session in this process.
#[derive(Default)]
struct Slot {
    /// Held while the sandbox is looked for, made, recovered or deleted.
    lock: Mutex<()>,
    toolbox: RefCell<Option<Toolbox>>,
    /// How often it could not be had, and why the last time.
    failure: RefCell<(u64, Option<Error>)>,
    used: Cell<bool>,
    deleted: Cell<bool>,
    touched: Cell<u64>,
}

/// All sessions of one project in this process.
pub struct Sessions {
    host: Rc<dyn Host>,
    client: Client,
    store: Store,
    project: Project,
    template: Template,
    prepare: Rc<dyn Prepare>,
    notices: Box<dyn Fn(Notice)>,
    slots: RefCell<HashMap<String, Rc<Slot>>>,
    /// Sessions that this process saw being created: they have no sandbox anywhere.
    fresh: RefCell<HashSet<String>>,
    /// Names of creates that ended here, but whose note could not be taken off the store.
    abandoned: RefCell<HashSet<String>>,
}

/// When this process began, as far as this room can know. A number of a process that wrote before
/// is that of a dead one: in a container, every OpenCode may be process 7.
static STARTED: OnceLock<u64> = OnceLock::new();

/// What to do about a missing entry, decided under the store's lock.
enum Claim {
    Existing(Entry),
    WaitFor(u32),
    Create(String),
}

impl Sessions {
    /// Nothing is asked or written yet.
    pub fn new(
        host: Rc<dyn Host>,
        client: Client,
        store: Store,
        project: Project,
        template: Template,
        prepare: Rc<dyn Prepare>,
        notices: Box<dyn Fn(Notice)>,
    ) -> Self {
        STARTED.get_or_init(|| host.now_ms());
        Sessions {
            host,
            client,
            store,
            project,
            template,
            prepare,
            notices,
            slots: RefCell::default(),
            fresh: RefCell::default(),
            abandoned: RefCell::default(),
        }
    }

    /// True if the process that wrote its number at `at` still runs.
    fn lives(&self, pid: u32, at: u64) -> bool {
        let reused = pid == self.host.pid() && STARTED.get().is_some_and(|started| at < *started);
        self.host.pid_alive(pid) && !reused
    }

    /// True if somebody works on a create that was noted.
    fn is_under_way(&self, note: &Creating) -> bool {
        self.host.now_ms() < note.since + CREATING_STALE_MS
            && self.lives(note.pid, note.since)
            && !self.abandoned.borrow().contains(&note.name)
    }

    /// The client this uses.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Says that `session` was created just now, so nobody needs to look for its sandbox.
    pub fn created(&self, session: &str) {
        self.fresh.borrow_mut().insert(session.into());
    }

    fn slot(&self, session: &str) -> Rc<Slot> {
        Rc::clone(self.slots.borrow_mut().entry(session.into()).or_default())
    }

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
        let result = self.find_or_make(session).await;
        match &result {
            Ok(toolbox) => *slot.toolbox.borrow_mut() = Some(toolbox.clone()),
            Err(error) => {
                *slot.failure.borrow_mut() = (failures + 1, Some(error.clone()));
                (self.notices)(Notice::Failed {
                    reason: error.to_string(),
                });
            }
        }
        result
    }

    /// True if this process has worked out where the session's sandbox is.
    pub fn is_ready(&self, session: &str) -> bool {
        self.slot(session).toolbox.borrow().is_some()
    }

    /// Writes down that a tool works in the session's sandbox: from now on it may hold something.
    pub async fn mark_used(&self, session: &str) -> Result<(), Error> {
        let slot = self.slot(session);
        let now = self.host.now_ms();
        if slot.used.get() && now < slot.touched.get() + TOUCH_MS {
            return Ok(());
        }
        let sandbox = slot.toolbox.borrow().clone().map(|toolbox| toolbox.id);
        self.store
            .update(|document| {
                if let Some(entry) = document.sessions.get_mut(session) {
                    entry.used = Some(true);
                    entry.owner = None;
                    entry.last_accessed = now;
                }
            })
            .await?;
        // Unless it was replaced meanwhile: then the new one is not marked yet.
        if slot.toolbox.borrow().clone().map(|toolbox| toolbox.id) == sandbox {
            slot.used.set(true);
            slot.touched.set(now);
        }
        Ok(())
    }

    async fn find_or_make(&self, session: &str) -> Result<Toolbox, Error> {
        if self.store.is_broken().await? {
            self.rebuild().await?;
        }
        let known = self.store.read().await?.sessions.contains_key(session);
        if !known && !self.fresh.borrow().contains(session) {
            self.adopt(session).await?;
        }
        let deadline = self.host.now_ms() + CREATE_SECONDS * 1000;
        let mut made = false;
        let entry = loop {
            match self.claim(session).await? {
                Claim::Existing(found) => break found,
                Claim::WaitFor(pid) if self.host.now_ms() > deadline => {
                    return Err(Error::Stuck(pid));
                }
                Claim::WaitFor(_) => self.host.sleep(200).await,
                Claim::Create(name) => {
                    made = true;
                    break self.make(session, name).await?;
                }
            }
        };
        let mut toolbox = Toolbox {
            id: entry.sandbox_id.clone(),
            proxy_url: entry.toolbox_url.clone().unwrap_or_default(),
        };
        let is_ready = entry.ready == Some(true);
        if !made && (!is_ready || entry.toolbox_url.is_none()) {
            // An earlier plugin made it, or its preparation did not end: it may be stopped or
            // gone by now, and its address may not be known.
            let current = self.repair(session, &toolbox).await?;
            if current.id != toolbox.id {
                return Ok(current);
            }
            toolbox = current;
        }
        if !is_ready {
            self.prepare(session, &toolbox, entry.used.is_none())
                .await?;
        }
        if made {
            (self.notices)(Notice::Created {
                id: toolbox.id.clone(),
            });
        }
        Ok(toolbox)
    }

    async fn prepare(&self, session: &str, toolbox: &Toolbox, foreign: bool) -> Result<(), Error> {
        let prepared = self
            .prepare
            .prepare(toolbox, foreign)
            .await
            .map_err(Error::Prepare)?;
        self.store
            .update(|document| {
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

    /// Decides, for all processes, who makes the session's sandbox.
    async fn claim(&self, session: &str) -> Result<Claim, Error> {
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
                    return Claim::Existing(entry.clone());
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
                });
                Claim::Create(name)
            })
            .await?;
        Ok(claim)
    }

    /// Creates that nobody works on any more become things to delete.
    fn give_up(&self, document: &mut Document) {
        let since = self.host.now_ms();
        let notes = std::mem::take(&mut document.creating);
        let (live, dead): (Vec<_>, Vec<_>) =
            notes.into_iter().partition(|note| self.is_under_way(note));
        document.creating = live;
        document
            .cleanup
            .extend(dead.into_iter().map(|note| Cleanup {
                sandbox: note.name,
                since,
                error: None,
            }));
    }

    /// Makes the sandbox that [`Sessions::claim`] wrote down.
    async fn make(&self, session: &str, name: String) -> Result<Entry, Error> {
        let made = self.create(session, &name).await;
        let now = self.host.now_ms();
        match made {
            Ok(sandbox) => {
                let written = self
                    .store
                    .update(|document| {
                        document.creating.retain(|note| note.name != name);
                        let entry = self.entry(document, &sandbox, now);
                        document.sessions.insert(session.into(), entry.clone());
                        entry
                    })
                    .await;
                if written.is_err() {
                    // Nobody would know of it. If this fails too, its note is still there.
                    self.abandoned.borrow_mut().insert(name);
                    let _ = self.client.delete(&sandbox.id).await;
                }
                Ok(written?)
            }
            Err(error) => {
                // Whatever may be left of it is remembered, and swept now or at the next start.
                let left = !error.had_no_effect();
                let reason = error.to_string();
                self.abandoned.borrow_mut().insert(name.clone());
                self.store
                    .update(|document| {
                        document.creating.retain(|note| note.name != name);
                        if left {
                            document.cleanup.push(Cleanup {
                                sandbox: name.clone(),
                                since: now,
                                error: Some(reason),
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

    fn entry(&self, document: &Document, sandbox: &Sandbox, now: u64) -> Entry {
        let numbers = document.sessions.values().filter_map(|e| e.branch_number);
        Entry {
            sandbox_id: sandbox.id.clone(),
            branch_number: self.project.git.then(|| numbers.max().unwrap_or(0) + 1),
            created: now,
            last_accessed: now,
            worktree: Some(self.project.worktree.clone()),
            toolbox_url: Some(sandbox.toolbox_proxy_url.clone()),
            ready: Some(false),
            used: Some(false),
            owner: Some(self.host.pid()),
            ..Entry::default()
        }
    }

    /// Creates by a unique name, so that a lost answer can be made up for by looking.
    async fn create(&self, session: &str, name: &str) -> Result<Sandbox, daytona::Error> {
        let mut request = self.template.clone();
        request.name = name.into();
        request.labels.extend(self.labels(Some(session)));
        let mut attempt = 0;
        loop {
            let error = match self.client.create(&request).await {
                Ok(sandbox) => return self.started(sandbox).await,
                Err(error) => error,
            };
            if !error.had_no_effect() {
                match self.client.get(name).await {
                    Ok(sandbox) if !matches!(sandbox.state, State::Error | State::BuildFailed) => {
                        return self.started(sandbox).await;
                    }
                    // A dead one: its own reason says more than the create's.
                    Ok(_) => return Err(error),
                    Err(daytona::Error::NotFound { .. }) => {}
                    Err(_) => return Err(error),
                }
            }
            attempt += 1;
            if !error.is_transient() || attempt >= CREATE_ATTEMPTS {
                return Err(error);
            }
            self.client.pause(&error, attempt).await;
        }
    }

    async fn started(&self, sandbox: Sandbox) -> Result<Sandbox, daytona::Error> {
        match sandbox.state {
            State::Started => Ok(sandbox),
            _ => self.client.wait_started(&sandbox.id, CREATE_SECONDS).await,
        }
    }

    fn labels(&self, session: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([
            (LABEL_PLUGIN.to_string(), PLUGIN.to_string()),
            (LABEL_PROJECT.to_string(), self.project.id.clone()),
        ]);
        if let Some(session) = session {
            labels.insert(LABEL_SESSION.into(), session.into());
        }
        labels
    }

    /// Looks for a sandbox that carries the session's label: the store may have lost it.
    async fn adopt(&self, session: &str) -> Result<(), Error> {
        let found = self.client.list(&self.labels(Some(session))).await?;
        let usable = |s: &&Sandbox| {
            !matches!(
                s.state,
                State::Error | State::BuildFailed | State::Destroyed | State::Destroying
            )
        };
        let Some(sandbox) = found
            .iter()
            .filter(usable)
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
    async fn insert(&self, session: &str, sandbox: &Sandbox) -> Result<(), Error> {
        let now = self.host.now_ms();
        self.store
            .update(|document| {
                // A create that is under way in this or another process has this very sandbox.
                document.creating.retain(|note| note.name != sandbox.name);
                let mut entry = self.entry(document, sandbox, now);
                // It may hold work: it is never an unused one.
                (entry.used, entry.owner) = (Some(true), None);
                document.sessions.entry(session.into()).or_insert(entry);
            })
            .await?;
        Ok(())
    }

    /// Makes a new file from the labels after the old one broke.
    async fn rebuild(&self) -> Result<(), Error> {
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
                && !matches!(
                    sandbox.state,
                    State::Error | State::BuildFailed | State::Destroyed | State::Destroying
                )
            {
                self.insert(session, sandbox).await?;
            }
        }
        Ok(())
    }

    /// Finds out why `failed` does not answer and repairs it: waits, starts, or replaces.
    ///
    /// Of several calls that fail together one does the work; the others get its result.
    pub async fn recover(&self, session: &str, failed: &Toolbox) -> Result<Toolbox, Error> {
        let slot = self.slot(session);
        let _guard = slot.lock.lock().await;
        if slot.deleted.get() {
            return Err(Error::Deleted);
        }
        if let Some(current) = slot.toolbox.borrow().clone()
            && current != *failed
        {
            return Ok(current);
        }
        let result = self.repair(session, failed).await;
        match &result {
            Ok(toolbox) => *slot.toolbox.borrow_mut() = Some(toolbox.clone()),
            Err(error) => (self.notices)(Notice::Failed {
                reason: error.to_string(),
            }),
        }
        result
    }

    async fn repair(&self, session: &str, failed: &Toolbox) -> Result<Toolbox, Error> {
        let sandbox = match self.client.get(&failed.id).await {
            Ok(sandbox) => sandbox,
            Err(daytona::Error::NotFound { .. }) => return self.replace(session, &failed.id).await,
            Err(error) => return Err(error.into()),
        };
        let (sandbox, resumed) = match sandbox.state {
            State::Started => (sandbox, false),
            State::Stopped | State::Archived | State::Paused => {
                (self.client.start(&failed.id).await?, true)
            }
            State::Changing => match self.client.wait_started(&failed.id, 15).await {
                Ok(sandbox) => (sandbox, false),
                // It was on its way down, not up.
                Err(daytona::Error::TooSlow { .. }) => (self.client.start(&failed.id).await?, true),
                Err(daytona::Error::NotFound { .. }) => {
                    return self.replace(session, &failed.id).await;
                }
                Err(error) => return Err(error.into()),
            },
            State::Destroyed | State::Destroying => return self.replace(session, &failed.id).await,
            State::Error | State::BuildFailed => {
                let reason = sandbox
                    .error_reason
                    .unwrap_or_else(|| "no reason was given".into());
                return Err(daytona::Error::Failed {
                    id: failed.id.clone(),
                    reason,
                }
                .into());
            }
        };
        let toolbox = Toolbox {
            id: sandbox.id,
            proxy_url: sandbox.toolbox_proxy_url,
        };
        if toolbox != *failed {
            self.store
                .update(|document| {
                    if let Some(entry) = document.sessions.get_mut(session) {
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
        Ok(toolbox)
    }

    /// The old sandbox is gone: a new one, with the project as it is on the host now.
    async fn replace(&self, session: &str, old: &str) -> Result<Toolbox, Error> {
        let slot = self.slot(session);
        slot.toolbox.borrow_mut().take();
        slot.used.set(false);
        self.store
            .update(|document| {
                if document
                    .sessions
                    .get(session)
                    .is_some_and(|entry| entry.sandbox_id == old)
                {
                    document.sessions.remove(session);
                }
            })
            .await?;
        self.fresh.borrow_mut().insert(session.into());
        let toolbox = Box::pin(self.find_or_make(session)).await?;
        (self.notices)(Notice::Replaced {
            old: old.into(),
            id: toolbox.id.clone(),
        });
        Ok(toolbox)
    }

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
        for id in left {
            self.client.delete(&id).await?;
        }
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
    async fn discard(
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
                document.cleanup.push(Cleanup {
                    sandbox: id.clone(),
                    since: now,
                    error: None,
                });
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
    async fn clean(&self, sandbox: &str) {
        let mut result = self.client.delete(sandbox).await;
        // Right after a create the service refuses for a moment.
        for attempt in 0..3 {
            let Err(error @ daytona::Error::Conflict { .. }) = &result else {
                break;
            };
            self.client.pause(error, attempt).await;
            result = self.client.delete(sandbox).await;
        }
        let reason = result.err().map(|error| error.to_string());
        let written = self
            .store
            .update(|document| match &reason {
                None => document.cleanup.retain(|c| c.sandbox != sandbox),
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
                    .extend(gone.into_iter().map(|sandbox| Cleanup {
                        sandbox,
                        since: now,
                        error: None,
                    }));
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

/// The last twelve characters that may stand in a name.
fn tail(session: &str) -> String {
    let clean: Vec<char> = session
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    clean[clean.len().saturating_sub(12)..].iter().collect()
}
