//! The plugin: OpenCode's events wake it, and what OpenCode says of a session then counts. Nothing of it
//! is waited for by OpenCode but its end, for a bounded time.
//!
//! While a turn runs it is only noted that something has changed: the messages are read, compared with what was
//! sent, and spooled when the turn has ended, and seldom before, if it is long. What a killed process has not read is found
//! at the next start, because the session's own date is newer than the one that was compared.
//!
//! The store follows OpenCode, as far as it can: what an undo has taken back stays until OpenCode removes it, because
//! it can be redone, and is emptied then; what a fork has copied is marked and not counted again. A deletion wins over
//! what waits: nothing more of the session is sent, even if the store has only a part of it, and the log says that
//! only the dashboard can delete that part.

use crate::config::{Config, is_excluded, is_private};
use crate::opencode::{Conversation, Session};
use crate::record::{Policy, Sums, message_record, session_record};
use crate::records::MessageRecord;
use crate::send::{Pass, SendError, Sender};
use crate::spool::Spool;
use crate::store::{Failure, Store};
use async_trait::async_trait;
use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::future::{Either, select};
use host::{Level, LocalHost};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

/// Events that say that a session may have changed.
pub const EVENTS: &[&str] = &[
    "session.created",
    "session.updated",
    "session.deleted",
    "session.idle",
    "session.error",
    "session.compacted",
    "session.status",
    "message.updated",
    "message.removed",
    "message.part.updated",
    "message.part.removed",
];
/// After a turn OpenCode still writes totals, a title, a summary: so long they are waited for.
const SETTLE_MS: u64 = 1_000;
/// A long turn is looked at so often.
const LONG_MS: u64 = 30_000;
/// The first pause after a failure, and the longest.
const PAUSE_MS: (u64, u64) = (2_000, 300_000);
/// So many failures one after the other are told.
const TOLD_TRIES: u32 = 3;
/// A store that asks for a longer pause is asked again after this one.
const LONGEST_PAUSE_MS: u64 = 3_600_000;
/// How long OpenCode's end may be held up.
const DISPOSE_MS: u64 = 4_000;
/// An interrupted answer is stored so long after OpenCode's end began.
const INTERRUPTED_MS: u64 = 300;

/// OpenCode, as far as the plugin asks it.
#[async_trait(?Send)]
pub trait OpenCode {
    /// A session with its messages; none if there is no such session. An error says why it is not known.
    async fn conversation(&self, session: &str) -> Result<Option<Conversation>, String>;

    /// The project's sessions.
    async fn sessions(&self) -> Result<Vec<Session>, String>;

    /// Shows a line to the user.
    fn toast(&self, message: &str);
}

/// What is to be done about a session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Job {
    /// When, in milliseconds since the Unix epoch.
    at: u64,
    /// It is to be read and compared; else only sent.
    reads: bool,
    /// OpenCode has deleted it.
    is_deleted: bool,
    /// Failures one after the other.
    tries: u32,
}

/// Why a job was not done.
struct Trouble {
    why: String,
    /// The store asks to be left alone for so long.
    pause_ms: u64,
}

impl From<String> for Trouble {
    fn from(why: String) -> Trouble {
        Trouble { why, pause_ms: 0 }
    }
}

/// How long to wait after so many failures, one after the other.
fn backoff(tries: u32) -> u64 {
    (PAUSE_MS.0 << tries.min(8)).min(PAUSE_MS.1)
}

/// One plugin per OpenCode instance.
pub struct Plugin {
    host: Arc<dyn LocalHost>,
    opencode: Rc<dyn OpenCode>,
    exclude: Vec<String>,
    policy: Policy,
    spool: Spool,
    sender: Sender,
    jobs: RefCell<BTreeMap<String, Job>>,
    /// The session that is worked on.
    current: RefCell<Option<String>>,
    /// Sessions with a turn under way.
    busy: RefCell<BTreeSet<String>>,
    wake: UnboundedSender<()>,
    woken: RefCell<Option<UnboundedReceiver<()>>>,
    /// The user has heard that something is wrong.
    told: Cell<bool>,
    /// The store has asked not to be asked before this, in milliseconds since the Unix epoch.
    quiet_until: Cell<u64>,
    /// The store does not take the key: nothing is sent by this process any more.
    locked: Cell<bool>,
    /// OpenCode has ended this instance. Its process may go on, with another instance.
    ended: Cell<bool>,
}

impl Plugin {
    /// A plugin for a store that `config` names; an error says what is missing.
    pub fn new(
        host: Arc<dyn LocalHost>,
        opencode: Rc<dyn OpenCode>,
        config: Config,
        policy: Policy,
        spool: Spool,
    ) -> Result<Rc<Plugin>, String> {
        let (Some(url), Some(key)) = (&config.url, &config.key) else {
            return Err("no store is set up: run `opencode-sync login`".into());
        };
        let store = Store::new(host.clone(), url, key);
        let exclude = config.exclude.clone();
        let sender = Sender::new(host.clone(), store, spool.clone(), exclude);
        let (wake, woken) = unbounded();
        Ok(Rc::new(Plugin {
            host,
            opencode,
            exclude: config.exclude,
            policy,
            spool,
            sender,
            jobs: RefCell::default(),
            current: RefCell::default(),
            busy: RefCell::default(),
            wake,
            woken: RefCell::new(Some(woken)),
            told: Cell::new(false),
            quiet_until: Cell::new(0),
            locked: Cell::new(false),
            ended: Cell::new(false),
        }))
    }

    /// Starts to work, and comes back at once.
    pub fn start(self: &Rc<Self>) {
        let Some(mut woken) = self.woken.borrow_mut().take() else {
            return;
        };
        let plugin = Rc::clone(self);
        self.host.spawn(Box::pin(async move {
            plugin.catch_up().await;
            loop {
                let wait = plugin.work().await;
                if plugin.ended.get() {
                    return;
                }
                let sleep = plugin.host.sleep(wait);
                if let Either::Left((None, _)) = select(woken.next(), pin!(sleep)).await {
                    return;
                }
            }
        }));
    }

    /// What has changed while no plugin looked, and what still waits.
    async fn catch_up(&self) {
        let sessions = self.opencode.sessions().await;
        for session in sessions.unwrap_or_else(|why| self.warn(&why)) {
            let entry = self.spool.entry(&session.id).await;
            if entry.is_ok_and(|entry| entry.updated < session.time.updated) {
                self.plan(&session.id, 0, true);
            }
        }
        let spooled = self.spool.sessions().await;
        for session in spooled.unwrap_or_else(|why| self.warn(&why.to_string())) {
            let entry = self.spool.entry(&session).await;
            // The user may have made it private since.
            if entry.is_ok_and(|entry| entry.is_due()) {
                self.plan(&session, 0, true);
            }
        }
    }

    fn warn<T: Default>(&self, why: &str) -> T {
        self.host.log(Level::Warn, why);
        T::default()
    }

    /// Something has happened to a session. Takes microseconds.
    pub fn event(&self, kind: &str, session: &str, status: Option<&str>) {
        match (kind, status) {
            ("session.status", Some("busy" | "retry")) => {
                let is_new = self.busy.borrow_mut().insert(session.into());
                // What came before the turn goes out with the turn.
                if is_new && let Some(job) = self.jobs.borrow_mut().get_mut(session) {
                    job.at = job.at.max(self.host.now_ms() + LONG_MS);
                }
            }
            ("session.idle" | "session.error" | "session.deleted", _) => {
                self.busy.borrow_mut().remove(session);
            }
            _ => {}
        }
        let is_busy = self.busy.borrow().contains(session);
        let is_deleted = kind == "session.deleted";
        // Before anything else of it is sent.
        let after_ms = match (is_deleted, is_busy) {
            (true, _) => 0,
            (false, true) => LONG_MS,
            (false, false) => SETTLE_MS,
        };
        self.plan(session, after_ms, true);
        if let Some(job) = self.jobs.borrow_mut().get_mut(session) {
            job.is_deleted |= is_deleted;
        }
    }

    /// Plans a job so many milliseconds from now, or leaves it where it is planned sooner.
    fn plan(&self, session: &str, after_ms: u64, reads: bool) {
        let at = self.host.now_ms() + after_ms;
        let mut jobs = self.jobs.borrow_mut();
        let job = jobs.entry(session.into()).or_insert(Job {
            at,
            ..Job::default()
        });
        job.at = job.at.min(at);
        job.reads |= reads;
        drop(jobs);
        let _ = self.wake.unbounded_send(());
    }

    /// Does what is to be done now; gives how long nothing is, in milliseconds.
    async fn work(&self) -> u64 {
        loop {
            let now = self.host.now_ms();
            let next = self
                .jobs
                .borrow()
                .iter()
                .min_by_key(|(_, job)| job.at)
                .map(|(session, job)| (session.clone(), *job));
            match next {
                _ if self.ended.get() => return 0,
                Some((session, job)) if job.at <= now => {
                    self.jobs.borrow_mut().remove(&session);
                    *self.current.borrow_mut() = Some(session.clone());
                    self.do_job(&session, job).await;
                    *self.current.borrow_mut() = None;
                }
                Some((_, job)) => return job.at - now,
                None => return PAUSE_MS.1,
            }
        }
    }

    async fn do_job(&self, session: &str, job: Job) {
        let is_idle = !self.busy.borrow().contains(session);
        let done = async {
            if job.is_deleted {
                self.forget(session).await?;
                return Ok(Pass::default());
            }
            if job.reads {
                self.read(session, is_idle).await?;
            }
            self.send(session).await
        };
        let tries = job.tries + 1;
        match done.await {
            Ok(pass) if pass.left == 0 => {}
            Ok(pass) => {
                // An update that came too soon is taken in a moment. What is not taken then never may be.
                let goes_on = pass.messages > 0 || pass.is_elsewhere;
                let tries = if goes_on { 0 } else { tries };
                let wait = pass.later_ms.max(SETTLE_MS);
                let wait = if tries > 1 {
                    wait.max(backoff(tries))
                } else {
                    wait
                };
                let sends = Job {
                    reads: false,
                    ..job
                };
                self.again(session, wait, sends, tries);
                if tries >= TOLD_TRIES {
                    self.tell(
                        "the store says that it takes them, and does not have them",
                        tries,
                    );
                }
            }
            Err(trouble) => {
                self.again(session, backoff(tries).max(trouble.pause_ms), job, tries);
                self.tell(&trouble.why, tries);
            }
        }
    }

    /// Plans what is left of a job.
    fn again(&self, session: &str, after_ms: u64, job: Job, tries: u32) {
        self.plan(session, after_ms, job.reads);
        if let Some(planned) = self.jobs.borrow_mut().get_mut(session) {
            planned.tries = tries;
            planned.is_deleted |= job.is_deleted;
        }
    }

    /// What OpenCode has of a session is to be in the store.
    async fn read(&self, session: &str, is_idle: bool) -> Result<bool, String> {
        let Some(mut conversation) = self.opencode.conversation(session).await? else {
            return Ok(true);
        };
        let info = &conversation.info;
        if is_excluded(&self.exclude, &info.directory) || is_private(&info.title) {
            let stays = self.spool.stay(session).await;
            if let Some(true) = stays.map_err(|error| error.to_string())? {
                let line = format!(
                    "session {session} stays on this machine from now on; what the store has of it can be deleted in its dashboard only"
                );
                self.host.log(Level::Info, &line);
            }
            return Ok(true);
        }
        let is_whole = |message: &crate::opencode::Message| {
            message.info.role != "assistant" || message.info.time.completed.is_some()
        };
        let all = conversation.messages.iter();
        let unfinished = all.filter(|message| !is_whole(message));
        let unfinished: Vec<String> = unfinished.map(|message| message.info.id.clone()).collect();
        if !is_idle {
            conversation.messages.retain(is_whole);
        }
        let info = &conversation.info;
        let policy = self.policy.in_project(&*self.host, &info.directory).await;
        let mut sums = Sums::default();
        sums.add(info, &conversation.messages);
        let record = session_record(info, &sums, &policy);
        let (messages, ids) = self.changed(session, &conversation, &policy).await?;
        let updated = info.time.updated;
        let want = self.spool.update(session, |entry| {
            entry.directory.clone_from(&info.directory);
            entry.updated = if is_idle { updated } else { entry.updated };
            entry.add(&record);
            entry.add_messages(&messages);
            // What is left out because it is unfinished is not gone.
            let left_out = unfinished.iter().filter(|_| !is_idle).cloned();
            entry.policy = Some(policy.name());
            entry.keep(session, &ids.into_iter().chain(left_out).collect());
        });
        want.await.map_err(|error| error.to_string())?;
        Ok(unfinished.is_empty())
    }

    /// The records of what has changed in a conversation, and the ids of all its messages. OpenCode's own work
    /// goes on between two of them.
    async fn changed(
        &self,
        session: &str,
        conversation: &Conversation,
        policy: &Policy,
    ) -> Result<(Vec<(MessageRecord, String)>, Vec<String>), String> {
        let entry = self.spool.entry(session).await;
        let entry = entry.map_err(|error| error.to_string())?;
        let (mut changed, mut ids) = (Vec::new(), Vec::new());
        let fingerprint_of = policy.fingerprints(&conversation.info);
        for message in &conversation.messages {
            let id = &message.info.id;
            let fingerprint = fingerprint_of(message);
            if entry.has(id, &fingerprint) {
                ids.push(id.clone());
                continue;
            }
            if let Some(record) = message_record(&conversation.info, message, policy) {
                ids.push(id.clone());
                changed.push((record, fingerprint));
            }
            self.host.sleep(0).await;
        }
        Ok((changed, ids))
    }

    /// The user has deleted a session, and so wants less of it, not more: what waits of it is dropped. The store
    /// cannot delete what it has.
    async fn forget(&self, session: &str) -> Result<(), String> {
        let removed = self.spool.remove(session).await;
        let Some(entry) = removed.map_err(|error| error.to_string())? else {
            return Ok(());
        };
        let unsent = match entry.due() + entry.refusals().count() {
            0 => String::new(),
            unsent => format!(" ({unsent} records of it had not been sent, and are not any more)"),
        };
        let left = match entry.store_id {
            Some(_) => "; what the store has of it can be deleted in its dashboard only",
            None => "; the store has nothing of it",
        };
        let line =
            format!("session {session} was deleted: nothing more of it is sent{unsent}{left}");
        self.host.log(Level::Info, &line);
        Ok(())
    }

    async fn send(&self, session: &str) -> Result<Pass, Trouble> {
        if self.locked.get() {
            return Ok(Pass::default());
        }
        let quiet_ms = self.quiet_until.get().saturating_sub(self.host.now_ms());
        if quiet_ms > 0 {
            return Err(Trouble {
                why: "the store has asked for a pause".into(),
                pause_ms: quiet_ms,
            });
        }
        match self.sender.session(session).await {
            Ok(pass) => Ok(pass),
            Err(SendError::Store(Failure::Key(why))) => {
                self.locked.set(true);
                let why = Failure::Key(why).to_string();
                self.tell(&why, TOLD_TRIES);
                Ok(Pass::default())
            }
            Err(error) => {
                let pause_ms = match &error {
                    SendError::Store(Failure::Pause { ms, .. }) => (*ms).min(LONGEST_PAUSE_MS),
                    _ => 0,
                };
                self.quiet_until.set(self.host.now_ms() + pause_ms);
                let why = error.to_string();
                Err(Trouble { why, pause_ms })
            }
        }
    }

    /// One toast when something is wrong for a while, and a line in the log each time.
    fn tell(&self, why: &str, tries: u32) {
        self.host.log(Level::Warn, why);
        if tries >= TOLD_TRIES && !self.told.replace(true) {
            self.opencode.toast(&format!("Sessions are not synced: {why}. They stay on this machine, and it is tried again; `opencode-sync doctor` says more."));
        }
    }

    /// OpenCode ends. Gives how many sessions are not in the store yet; they are on disk.
    pub async fn dispose(&self) -> usize {
        let end = self.host.sleep(DISPOSE_MS);
        let work = async {
            let mut jobs = std::mem::take(&mut *self.jobs.borrow_mut());
            if let Some(session) = self.current.borrow().clone() {
                jobs.entry(session).or_default().reads = true;
            }
            for (session, _) in jobs.iter().filter(|(_, job)| job.is_deleted) {
                let _ = self.forget(session).await;
            }
            jobs.retain(|_, job| !job.is_deleted);
            let reading = jobs.iter().filter(|(_, job)| job.reads);
            let mut interrupted = Vec::new();
            for (session, _) in reading {
                if !matches!(self.read(session, true).await, Ok(true)) {
                    interrupted.push(session.clone());
                }
            }
            if !interrupted.is_empty() {
                self.host.sleep(INTERRUPTED_MS).await;
                for session in &interrupted {
                    let _ = self.read(session, true).await;
                }
            }
            for session in jobs.keys() {
                while matches!(self.send(session).await, Ok(pass) if pass.left > 0) {
                    self.host.sleep(SETTLE_MS).await;
                }
            }
        };
        select(pin!(work), pin!(end)).await;
        self.ended.set(true);
        let _ = self.wake.unbounded_send(());
        let mut left = 0;
        for session in self.spool.sessions().await.unwrap_or_default() {
            let entry = self.spool.entry(&session).await;
            left += usize::from(entry.is_ok_and(|entry| entry.is_due()));
        }
        left
    }
}
