//! The sandbox of each session: what a caller asks for, and the state that making, recovering and
//! deleting (the modules below) share.

mod cleanup;
mod create;
mod ensure;
mod moved;
mod prepared;
mod reach;
mod recover;
pub(crate) mod work;

use crate::store::{Creating, Entry, PreparedSnapshot, Store, StoreError};
use async_trait::async_trait;
use daytona::{Client, CreateSandbox, Toolbox};
use futures::lock::Mutex;
use host::LocalHost;
use runner_client::Looked;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Label that says who made a sandbox.
const LABEL_PLUGIN: &str = "opencode.plugin";
/// Label with the project id.
const LABEL_PROJECT: &str = "opencode.project";
/// Label with the root session.
const LABEL_SESSION: &str = "opencode.session";
/// Label of a sandbox that a snapshot is made of, with the run that makes it.
const LABEL_SNAPSHOT: &str = "opencode.snapshot";
/// Value of [`LABEL_PLUGIN`].
const PLUGIN: &str = "opencode-daytona-sandbox";
/// How often `lastAccessed` is written.
const TOUCH_MS: u64 = 60_000;
/// How long a create may take until it counts as failed. Images are built in this time.
const CREATE_SECONDS: u64 = 600;
/// How long a create whose end nobody saw may still leave a sandbox behind.
const LATE_MS: u64 = CREATE_SECONDS * 1000;
/// How often a sandbox may be taken away between its being found and its first use.
const ENTER_ATTEMPTS: u32 = 3;
/// How long a sandbox that is stopped, or on its way, may take until it runs.
const START_SECONDS: u64 = 300;
/// Until notes are worked off again, at first and at most.
const CLEAN_MS: (u64, u64) = (1_000, 60_000);
/// A note of a create that is older than this belongs to nobody any more.
const CREATING_STALE_MS: u64 = (CREATE_SECONDS + 60) * 1000;

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
    /// Other processes delete it as often as it is made.
    #[error(
        "other OpenCode processes delete this session's sandbox again and again; close them and try again"
    )]
    Taken,
    /// The session was deleted.
    #[error("this session was deleted, and its sandbox with it")]
    Deleted,
    /// There is no sandbox to bring work home from.
    #[error("sandbox {0} does not exist any more, and what was only there is lost")]
    Gone(String),
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
    /// The worktree is one of the repository that OpenCode's id is of.
    pub is_repository: bool,
    /// Work comes home, so it is written down when there may be any.
    pub brings_home: bool,
    /// When this OpenCode's database came to know the project, in milliseconds since the epoch: no other
    /// database has the same time. Only what is written down with it says that a session is in there.
    pub known_since: Option<u64>,
}

/// Carries the project into a sandbox and the work back.
#[async_trait(?Send)]
pub trait Carrier {
    /// A sandbox is being created for the session: what it will need can be made ready meanwhile.
    /// `known` are commits that its snapshot brings, as far as that is known.
    async fn make_ready(&self, sessions: &Sessions, session: &str, known: Vec<String>);

    /// The sandbox is created; what is made ready may not be yet.
    fn created(&self, _session: &str, _sandbox: &daytona::Sandbox) {}

    /// There is no sandbox after all.
    async fn give_up(&self, session: &str);

    /// Makes a fresh sandbox useful. Must be safe to repeat: it runs again if a crash left the
    /// sandbox half prepared.
    async fn prepare(&self, sessions: &Sessions, fresh: Fresh<'_>) -> Result<Prepared, String>;

    /// Brings home what may not be home yet; an error says why it could not. Never makes a sandbox.
    async fn bring_home(&self, sessions: &Sessions, session: &str) -> Result<(), String>;

    /// The session and its sandbox are gone for good.
    async fn forget(&self, session: &str);

    /// True if OpenCode says that it has no such session; false if it has, or nobody knows.
    async fn is_deleted(&self, _session: &str) -> bool {
        false
    }

    /// What became of another worktree of the project. `is_known` says that sessions of this one are
    /// in the store, too.
    async fn origin_of(&self, _worktree: &str, _is_known: bool) -> Origin {
        Origin::Elsewhere
    }

    /// Takes over what is kept here for the sessions of a worktree that is this one now. Safe to repeat.
    async fn take_over(&self, _worktree: &str) -> Result<(), String> {
        Ok(())
    }
}

/// What became of a worktree that sessions were made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This one is where it went.
    Here,
    /// It is there, or another worktree sees to it.
    Elsewhere,
    /// It is not there, and nothing tells where it went.
    Gone,
}

/// A sandbox to prepare.
#[derive(Clone, Debug)]
pub struct Fresh<'a> {
    /// Whose it is.
    pub session: &'a str,
    /// Where it is.
    pub toolbox: &'a Toolbox,
    /// Another program worked in it: nothing that is there may be overwritten.
    pub foreign: bool,
    /// Commits that its snapshot brings, as far as that is known.
    pub known: Vec<String>,
}

/// What is now in the sandbox.
#[derive(Clone, Debug, Default)]
pub struct Prepared {
    /// Commit that the work starts from.
    pub base_commit: Option<String>,
    /// The host's HEAD at that moment.
    pub host_head: Option<String>,
    /// Commits that were there before, if that could be seen.
    pub found: Option<Vec<String>>,
}

/// News for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each field says what it is about, or the reason"
)]
pub enum Notice {
    /// A sandbox was made.
    Created { id: String },
    /// A stopped one runs again.
    Resumed { id: String },
    /// The old one was gone; what was only there is lost.
    Replaced { old: String, id: String },
    /// It cannot be had.
    Failed { reason: String },
    /// It takes long until it runs, and why. `first` is true once per wait, which goes on.
    Waiting {
        session: String,
        id: String,
        what: String,
        seconds: u64,
        first: bool,
    },
    /// Neither the sandbox nor the API can be reached.
    Lost { url: String },
    /// One of them answers again.
    Back,
    /// The prepared snapshot is not there any more, or cannot be used in this state; sandboxes are made of
    /// the service's default.
    PreparedUnusable {
        prepared: PreparedSnapshot,
        state: Option<String>,
    },
    /// It could not be deleted yet.
    DeleteLater { id: String, reason: String },
    /// The store could not be read; it was moved to `id`, and the sandboxes are found by their labels.
    StoreBroken { id: String, reason: String },
    /// The session is deleted, but its work is not home.
    Kept { id: String, reason: String },
    /// Work of sessions of a worktree that is gone is not home.
    Astray { worktree: String, ids: Vec<String> },
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
    /// It is written down that there may be work that is not home.
    unsynced: Cell<bool>,
    /// Calls that may change something right now.
    running: Cell<u32>,
    /// Held while work is brought home.
    homing: Mutex<()>,
    /// A call was running when that began: the sandbox may have been asked before the call wrote.
    is_homing_during_call: Cell<bool>,
    /// What a sandbox that is gone leaves to the one that takes its place.
    heritage: RefCell<Option<Entry>>,
    /// Held while the service is asked about the sandbox, and while it is started.
    looking: Mutex<()>,
    /// What the last look came to.
    look: RefCell<Look>,
}

/// A look at a sandbox that did not answer.
#[derive(Default)]
struct Look {
    /// Counts the looks.
    number: u64,
    /// Which sandbox it was, and what came of it.
    found: Option<(String, Result<Looked, Error>)>,
}

/// All sessions of one project in this process.
pub struct Sessions {
    host: Arc<dyn LocalHost>,
    client: Client,
    store: Store,
    project: Project,
    template: Template,
    carrier: Rc<dyn Carrier>,
    notices: Rc<dyn Fn(Notice)>,
    slots: RefCell<HashMap<String, Rc<Slot>>>,
    /// Sessions that this process saw being created: they have no sandbox anywhere.
    fresh: RefCell<HashSet<String>>,
    /// Names of creates that ended here, but whose note could not be taken off the store.
    abandoned: RefCell<HashSet<String>>,
    /// Itself, once notes are worked off in the background.
    cleaner: RefCell<Weak<Sessions>>,
    /// Notes are being worked off.
    cleaning: Cell<bool>,
    /// Sessions whose users know that their sandbox takes long.
    slow: RefCell<HashSet<String>>,
    /// Nothing of Daytona's can be reached, and the user knows it.
    lost: Cell<bool>,
    /// Sandboxes of which the user knows that they could not be deleted yet.
    told: RefCell<HashSet<String>>,
    /// Sandboxes are made for snapshots.
    builds: Cell<bool>,
    /// Prepared snapshots that no sandbox can be made of.
    unusable: RefCell<HashSet<String>>,
}

/// When this process first made a [`Sessions`], in milliseconds since the Unix epoch. A process number in a note that
/// was written before belongs to a process that has ended, even if this one has the same number: in
/// containers, every OpenCode may be process 7.
static STARTED: AtomicU64 = AtomicU64::new(u64::MAX);

impl Sessions {
    /// Nothing is asked or written yet.
    pub fn new(
        host: Arc<dyn LocalHost>,
        client: Client,
        mut store: Store,
        project: Project,
        template: Template,
        carrier: Rc<dyn Carrier>,
        notices: Box<dyn Fn(Notice)>,
    ) -> Self {
        STARTED.fetch_min(host.now_ms(), Ordering::Relaxed);
        let notices: Rc<dyn Fn(Notice)> = notices.into();
        let tell = Rc::clone(&notices);
        store.when_broken(move |id, reason| tell(Notice::StoreBroken { id, reason }));
        Sessions {
            host,
            client,
            store,
            project,
            template,
            carrier,
            notices,
            slots: RefCell::default(),
            fresh: RefCell::default(),
            abandoned: RefCell::default(),
            cleaner: RefCell::default(),
            cleaning: Cell::default(),
            slow: RefCell::default(),
            lost: Cell::default(),
            told: RefCell::default(),
            builds: Cell::default(),
            unusable: RefCell::default(),
        }
    }

    /// True if the process that wrote its number at `at` still runs.
    fn lives(&self, pid: u32, at: u64) -> bool {
        match pid == self.host.pid() {
            true => at >= STARTED.load(Ordering::Relaxed),
            false => self.host.pid_alive(pid),
        }
    }

    /// True if somebody works on a create that was noted.
    fn is_under_way(&self, note: &Creating) -> bool {
        self.host.now_ms().abs_diff(note.since) < CREATING_STALE_MS
            && self.lives(note.pid, note.since)
            && !self.abandoned.borrow().contains(&note.name)
    }

    /// Says that `session` was created just now, so nobody needs to look for its sandbox.
    pub fn created(&self, session: &str) {
        self.fresh.borrow_mut().insert(session.into());
    }

    fn slot(&self, session: &str) -> Rc<Slot> {
        Rc::clone(self.slots.borrow_mut().entry(session.into()).or_default())
    }

    /// What a sandbox is made of: a prepared snapshot, or what the options name; empty for the service's
    /// default.
    fn snapshot_of(&self, prepared: &Option<String>) -> String {
        let named = prepared.as_ref().or(self.template.snapshot.as_ref());
        named.cloned().unwrap_or_default()
    }

    /// Commits that the snapshot brings, as far as that is known.
    async fn snapshot_brings(&self, snapshot: &str) -> Result<Vec<String>, Error> {
        let known = self.store.read().await?.snapshots.remove(snapshot);
        Ok(known.unwrap_or_default())
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
}
