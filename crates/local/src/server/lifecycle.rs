//! The state machine: what may follow what, and the one place that starts and kills processes.
//!
//! Transitions run in tasks of their own, so a client that goes away does not leave half a start
//! behind. A record is on disk before the step it announces.
//!
//! A sandbox listens on a socket that the server made, in a directory that the sandbox cannot see,
//! and inherits as standard input. There is no path in the sandbox to replace.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::net::UnixStream;
use tokio::sync::{broadcast, watch};

use super::isolation::{self, Walls};
use super::network::policy::Policy;
use super::network::{Attached, Outbound};
use super::sandbox::{Due, Record, SandboxState};
use super::snapshots::{self, Made, Quirk, Stage};
use super::store::Store;
use crate::clock;
use crate::mutex::lock;
use crate::options::Daemon;
use crate::problem::Problem;
use crate::relay;

/// How long a create or start is held before the reply says what there is.
const HELD: Duration = Duration::from_secs(30);
/// As many changes may wait for one who is told of them.
const CHANGES: usize = 1024;
const SOCKET: &str = "toolbox.sock";
const LOG: &str = "toolbox.log";

/// One sandbox and, while it runs, its processes.
pub(crate) struct Sandbox {
    record: Mutex<Record>,
    state: watch::Sender<SandboxState>,
    live: Mutex<Option<Live>>,
    /// Proxied requests in flight; while there are any the sandbox is not idle.
    pub(crate) open: AtomicUsize,
}

/// A sandbox is there, or its state is another one.
#[derive(Clone)]
pub(super) struct Change {
    /// The state before, if it is not new.
    pub(super) before: Option<SandboxState>,
    pub(super) record: Record,
}

#[derive(Clone)]
struct Live {
    dir: Arc<File>,
    kill: Arc<tokio::sync::Notify>,
    gone: watch::Receiver<bool>,
    /// Its own, where it has one.
    network: Option<Arc<Attached>>,
}

impl Sandbox {
    fn new(record: Record) -> Self {
        let state = watch::Sender::new(record.state);
        Self {
            record: Mutex::new(record),
            state,
            live: Mutex::new(None),
            open: AtomicUsize::new(0),
        }
    }

    pub(crate) fn record(&self) -> Record {
        lock(&self.record).clone()
    }

    /// Waits, within limits, for the transition in progress to end.
    pub(crate) async fn settled(&self) -> Record {
        let mut state = self.state.subscribe();
        let _ = tokio::time::timeout(HELD, state.wait_for(|s| !s.is_transition())).await;
        self.record()
    }

    /// Sends one request to the toolbox.
    pub(crate) async fn ask<G: Send + 'static>(
        &self,
        request: Request,
        in_use: G,
    ) -> Result<Response> {
        let live = lock(&self.live)
            .clone()
            .context("the sandbox is not running")?;
        Ok(relay::exchange(live.connect().await?, request, in_use).await?)
    }

    /// Asks the toolbox one of the things that only the server may.
    pub(crate) async fn ask_own(&self, method: &str, path: &str) -> Result<Response> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "toolbox");
        self.ask(request.body(Body::empty())?, ()).await
    }
}

impl Live {
    async fn connect(&self) -> Result<UnixStream> {
        // Through the directory's descriptor: the path of a socket may have 107 bytes, ours any.
        Ok(UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", self.dir.as_raw_fd())).await?)
    }
}

/// All sandboxes of this server.
pub(crate) struct Sandboxes {
    pub(crate) store: Store,
    walls: Walls,
    daemon: Daemon,
    test_snapshots: bool,
    all: Mutex<HashMap<String, Arc<Sandbox>>>,
    /// Those that were made here.
    snapshots: Mutex<Vec<Made>>,
    clock_offset: AtomicI64,
    changes: broadcast::Sender<Change>,
    /// The server is about to end.
    ending: AtomicBool,
}

impl Sandboxes {
    /// Loads what an earlier server left; whatever ran then is stopped now.
    pub(crate) fn load(
        store: Store,
        walls: Walls,
        daemon: Daemon,
        test_snapshots: bool,
    ) -> Result<Arc<Self>> {
        let mut all = HashMap::new();
        for mut record in store.load()? {
            match record.state {
                SandboxState::Destroying | SandboxState::Destroyed => {
                    store.discard(&record.id);
                    continue;
                }
                SandboxState::Stopped | SandboxState::Archived | SandboxState::Error => {}
                SandboxState::Archiving => record.state = SandboxState::Archived,
                SandboxState::Restoring => record.state = SandboxState::Archived,
                _ => record.state = SandboxState::Stopped,
            }
            store.save(&record)?;
            all.insert(record.id.clone(), Arc::new(Sandbox::new(record)));
        }
        let (all, clock_offset) = (Mutex::new(all), AtomicI64::new(0));
        let snapshots = Mutex::new(store.load_snapshots()?);
        let sandboxes = Arc::new(Self {
            store,
            walls,
            daemon,
            test_snapshots,
            all,
            snapshots,
            clock_offset,
            changes: broadcast::Sender::new(CHANGES),
            ending: AtomicBool::new(false),
        });
        sandboxes.sweep();
        Ok(sandboxes)
    }

    /// Every change from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Tells of a change. Nobody has to listen.
    fn tell(&self, before: Option<SandboxState>, record: &Record) {
        let record = record.clone();
        let _ = self.changes.send(Change { before, record });
    }

    pub(crate) fn now(&self) -> i64 {
        clock::now_ms() + self.clock_offset.load(Ordering::Relaxed)
    }

    /// Moves this server's clock, for tests of its timers.
    pub(crate) fn advance(&self, ms: i64) {
        self.clock_offset.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn all(&self) -> Vec<Arc<Sandbox>> {
        lock(&self.all).values().cloned().collect()
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<Arc<Sandbox>> {
        lock(&self.all).get(id).cloned()
    }

    pub(crate) fn find(&self, id_or_name: &str) -> Result<Arc<Sandbox>, Problem> {
        if let Some(sandbox) = self.by_id(id_or_name) {
            return Ok(sandbox);
        }
        let named = self
            .all()
            .into_iter()
            .find(|s| lock(&s.record).name == id_or_name);
        named.ok_or_else(|| {
            Problem::not_found(format!("Sandbox with ID or name {id_or_name} not found"))
        })
    }

    /// Changes a record and writes it. The change is visible only once it is on disk.
    pub(crate) fn update<T>(
        &self,
        sandbox: &Sandbox,
        change: impl FnOnce(&mut Record) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut record = lock(&sandbox.record);
        let mut next = record.clone();
        let value = change(&mut next)?;
        next.updated_at = self.now();
        self.store.save(&next).map_err(Problem::internal)?;
        let before = std::mem::replace(&mut *record, next).state;
        sandbox.state.send_replace(record.state);
        if before != record.state {
            self.tell(Some(before), &record);
        }
        Ok(value)
    }

    fn set_state(&self, sandbox: &Sandbox, state: SandboxState) {
        let done = self.update(sandbox, |record| {
            record.state = state;
            record.last_activity_at = self.now();
            Ok(())
        });
        if let Err(problem) = done {
            eprintln!("daytona-local: {}", problem.message);
        }
    }

    pub(crate) fn touch(&self, sandbox: &Sandbox) {
        // In memory only: a timer that starts over after a restart harms nobody.
        lock(&sandbox.record).last_activity_at = self.now();
    }

    /// Creates a sandbox and starts it.
    pub(crate) async fn create(
        self: &Arc<Self>,
        body: &serde_json::Value,
    ) -> Result<Record, Problem> {
        let size_of = |name: &str| {
            let made = self.made(name).map(|made| made.size);
            made.or_else(|| snapshots::size(name, self.test_snapshots))
        };
        let mut record = Record::from_request(body, self.now(), size_of)?;
        record.daemon = self.daemon;
        record.network.holds_in(self.walls.network())?;
        let made = record.snapshot.as_deref().and_then(|name| self.made(name));
        if let Some(made) = made.filter(|_| self.walls.has_layers(self.store.root())) {
            record.layers = made.all_layers();
        }
        let sandbox = Arc::new(Sandbox::new(record.clone()));
        {
            let mut all = lock(&self.all);
            if all
                .values()
                .any(|other| lock(&other.record).name == record.name)
            {
                let name = &record.name;
                return Err(Problem::conflict(format!(
                    "Sandbox with name {name} already exists"
                )));
            }
            let made = self.store.create_on(&record.id, &record.layers);
            made.map_err(Problem::internal)?;
            self.store.save(&record).map_err(Problem::internal)?;
            all.insert(record.id.clone(), sandbox.clone());
        }
        self.tell(None, &record);
        self.boot(&sandbox);
        let record = sandbox.settled().await;
        match record.state {
            SandboxState::Error => Err(Problem::bad_request(format!(
                "Sandbox failed to start: {}",
                record.error_reason.unwrap_or_default()
            ))),
            _ => Ok(record),
        }
    }

    /// Starts a stopped sandbox; one that runs stays as it is.
    pub(crate) async fn start(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<Record, Problem> {
        let next = self.update(sandbox, |record| {
            let next = match record.state {
                SandboxState::Started => return Ok(SandboxState::Started),
                SandboxState::Stopped => SandboxState::Starting,
                SandboxState::Archived => SandboxState::Restoring,
                other => return Err(refused(other, "start")),
            };
            record.state = next;
            record.daemon = self.daemon;
            record.last_activity_at = self.now();
            record.preview_token = crate::ids::token();
            Ok(next)
        })?;
        match next {
            SandboxState::Started => {}
            SandboxState::Restoring => self.boot(sandbox),
            _ => {
                self.boot(sandbox);
                return Ok(sandbox.settled().await);
            }
        }
        Ok(sandbox.record())
    }

    /// Starts a sandbox whose error can be recovered from.
    pub(crate) async fn recover(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
    ) -> Result<Record, Problem> {
        self.update(sandbox, |record| match record.state {
            SandboxState::Error if record.recoverable => {
                record.state = SandboxState::Starting;
                record.daemon = self.daemon;
                (record.recoverable, record.error_reason) = (false, None);
                Ok(())
            }
            SandboxState::Error => Err(Problem::bad_request("Sandbox is not recoverable")),
            _ => Err(Problem::bad_request("Sandbox is not in an errored state")),
        })?;
        self.boot(sandbox);
        Ok(sandbox.settled().await)
    }

    /// Puts a sandbox into an error, as a runner that breaks does.
    pub(crate) async fn fail(&self, sandbox: &Arc<Sandbox>, recoverable: bool) {
        self.halt(sandbox, true).await;
        let _ = self.update(sandbox, |record| {
            record.state = SandboxState::Error;
            record.recoverable = recoverable;
            record.error_reason = Some("the runner lost it".into());
            Ok(())
        });
    }

    fn boot(self: &Arc<Self>, sandbox: &Arc<Sandbox>) {
        let (this, sandbox) = (self.clone(), sandbox.clone());
        tokio::spawn(async move {
            match this.launch(&sandbox).await {
                Ok(()) => this.set_state(&sandbox, SandboxState::Started),
                Err(error) => {
                    let reason = format!("{error:#}");
                    let _ = this.update(&sandbox, |record| {
                        record.state = SandboxState::Error;
                        record.error_reason = Some(reason);
                        Ok(())
                    });
                }
            }
        });
    }

    async fn launch(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<()> {
        let record = sandbox.record();
        match record.snapshot.as_deref().and_then(snapshots::quirk) {
            Some(Quirk::CreateFails) => return Err(anyhow!("this snapshot never starts")),
            Some(Quirk::SlowCreate) if record.state == SandboxState::Creating => {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            _ => {}
        }
        if record.state == SandboxState::Creating
            && record.layers.is_empty()
            && let Some(made) = record.snapshot.as_deref().and_then(|name| self.made(name))
        {
            ensure!(made.layers.is_empty(), isolation::NO_LAYERS);
            let (this, id) = (self.clone(), record.id.clone());
            tokio::task::spawn_blocking(move || this.store.fill(&id, &made.id)).await??;
        }
        let dir = self.store.dir(&record.id);
        let handle = Arc::new(File::open(&dir)?);
        let listener = listen(&dir, &handle)?;
        let log_path = dir.join(LOG);
        let log = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&log_path)?;
        let layers = self.store.layers(&record.layers);
        let (mut command, gate) = self.walls.command(&record, &dir, &layers)?;
        command
            .stdin(OwnedFd::from(listener))
            .stdout(log.try_clone()?)
            .stderr(log);
        // Spawned on a runtime worker, which lives as long as the server: bubblewrap's
        // --die-with-parent watches the thread, not the process.
        let mut child = command.spawn().context("start the sandbox")?;
        drop(command); // Its copy of the socket must go, or a dead toolbox would not refuse.
        let network = match (gate, self.walls.outbound()) {
            (Some(mut gate), Some(outbound)) => {
                let network = outbound.attach(&mut gate, record.network).await?;
                gate.open()?;
                Some(Arc::new(network))
            }
            _ => None,
        };

        let kill = Arc::new(tokio::sync::Notify::new());
        let (gone_in, gone) = watch::channel(false);
        let live = Live {
            dir: handle,
            kill: kill.clone(),
            gone: gone.clone(),
            network: network.clone(),
        };
        *lock(&sandbox.live) = Some(live);
        let (this, watched) = (self.clone(), sandbox.clone());
        let killed = kill.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = child.wait() => {}
                () = killed.notified() => { let _ = child.kill().await; }
            }
            *lock(&watched.live) = None;
            gone_in.send_replace(true);
            if watched.record().state == SandboxState::Started {
                this.set_state(&watched, SandboxState::Stopped);
            }
        });

        // From here on it is told of changes; what changed before is looked at now.
        let renewed = match &network {
            Some(network) => network.renew().await,
            None => Ok(()),
        };
        // The socket listens already, so this waits until the toolbox serves it, or breaks off.
        if renewed.is_ok()
            && let Ok(reply) = sandbox.ask_own("GET", "/version").await
            && reply.status().is_success()
        {
            return Ok(());
        }
        kill.notify_one();
        let mut gone = gone;
        let _ = gone.wait_for(|gone| *gone).await;
        let log = fs::read(&log_path).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..])
            .trim()
            .to_owned();
        renewed?;
        Err(anyhow!("the toolbox did not come up: {tail}"))
    }

    /// Changes what a sandbox may reach, at once. A rule that cannot be made true ends the sandbox.
    pub(crate) async fn set_network(
        &self,
        sandbox: &Sandbox,
        change: impl FnOnce(&mut Policy) -> Result<(), Problem>,
    ) -> Result<Record, Problem> {
        let network = self.walls.network();
        self.update(sandbox, |record| {
            change(&mut record.network)?;
            record.network.holds_in(network)
        })?;
        let live = lock(&sandbox.live).clone();
        if let Some((live, network)) = live.and_then(|live| Some((live.clone(), live.network?)))
            && let Err(error) = network.set(sandbox.record().network).await
        {
            live.kill.notify_one();
            return Err(Problem::internal(format!(
                "the sandbox was ended: {error:#}"
            )));
        }
        Ok(sandbox.record())
    }

    /// Keeps every sandbox off the addresses of this machine while those change.
    pub(crate) async fn keep_networks(self: Arc<Self>) {
        let Some(mut host) = self.walls.outbound().map(Outbound::host) else {
            return;
        };
        while host.changed().await.is_ok() {
            host.mark_unchanged();
            for live in self.all().iter().filter_map(|s| lock(&s.live).clone()) {
                if let Some(network) = &live.network
                    && let Err(error) = network.renew().await
                {
                    eprintln!("daytona-local: a sandbox was ended: {error:#}");
                    live.kill.notify_one();
                }
            }
        }
    }

    /// Asks a running sandbox to stop; it is stopped when its state says so.
    pub(crate) fn stop(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
        force: bool,
    ) -> Result<(), Problem> {
        self.update(sandbox, |record| match record.state {
            SandboxState::Started => {
                record.state = SandboxState::Stopping;
                Ok(())
            }
            other => Err(refused(other, "stop")),
        })?;
        let (this, sandbox) = (self.clone(), sandbox.clone());
        tokio::spawn(async move {
            this.halt(&sandbox, force).await;
            if sandbox.record().auto_delete == 0 {
                this.set_state(&sandbox, SandboxState::Destroying);
                this.remove(&sandbox).await;
            } else {
                this.set_state(&sandbox, SandboxState::Stopped);
            }
        });
        Ok(())
    }

    /// Ends every process of a sandbox: politely, then not.
    async fn halt(&self, sandbox: &Sandbox, force: bool) {
        let Some(mut live) = lock(&sandbox.live).clone() else {
            return;
        };
        if !force {
            // Nobody waits for an answer of a server that ends.
            let drain = !self.ending.load(Ordering::Relaxed);
            let path = format!("/_stop?drain={drain}");
            let asked = sandbox.ask_own("POST", &path);
            let _ = tokio::time::timeout(Duration::from_secs(16), asked).await;
        }
        live.kill.notify_one();
        let _ = live.gone.wait_for(|gone| *gone).await;
    }

    /// Archives a stopped sandbox. The files stay where they are; only the state is reproduced.
    pub(crate) fn archive(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<(), Problem> {
        self.update(sandbox, |record| match record.state {
            SandboxState::Stopped if record.auto_delete == 0 => Err(Problem::bad_request(
                "Ephemeral sandboxes cannot be archived",
            )),
            SandboxState::Stopped => {
                record.state = SandboxState::Archiving;
                Ok(())
            }
            other => Err(refused(other, "archive")),
        })?;
        let (this, sandbox) = (self.clone(), sandbox.clone());
        tokio::spawn(async move { this.set_state(&sandbox, SandboxState::Archived) });
        Ok(())
    }

    /// All snapshots, the built-in ones first.
    pub(crate) fn snapshots(&self) -> Vec<Made> {
        let mut all = snapshots::built_in();
        all.extend(lock(&self.snapshots).iter().cloned());
        all
    }

    /// The snapshot of that name that was made here, if it is complete.
    fn made(&self, name: &str) -> Option<Made> {
        let all = lock(&self.snapshots);
        let mut active = all.iter().filter(|made| made.stage == Stage::Active);
        active.find(|made| made.name == name).cloned()
    }

    /// Makes a snapshot of a sandbox's files: of those, and of no process. The sandbox goes on when
    /// its state says so.
    pub(crate) fn snapshot(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
        name: &str,
    ) -> Result<Record, Problem> {
        let source = sandbox.record();
        let size = (source.cpu, source.memory, source.disk);
        let made = Made::new(name, &source.id, source.layers, size, self.now());
        {
            let mut all = lock(&self.snapshots);
            let is_taken = |made: &Made| made.name == name && made.stage != Stage::Error;
            if snapshots::size(name, true).is_some() || all.iter().any(is_taken) {
                return Err(Problem::conflict(format!(
                    "Snapshot with name {name} already exists"
                )));
            }
            self.update(sandbox, |record| match record.state {
                SandboxState::Started | SandboxState::Stopped => {
                    record.state = SandboxState::Snapshotting;
                    Ok(())
                }
                other => Err(refused(other, "snapshot")),
            })?;
            all.retain(|made| made.name != name);
            all.push(made.clone());
        }
        let (this, copied) = (self.clone(), sandbox.clone());
        tokio::task::spawn_blocking(move || this.copy(&copied, made));
        Ok(sandbox.record())
    }

    fn copy(&self, sandbox: &Sandbox, mut made: Made) {
        made.stage = Stage::Active;
        if let Err(error) = self.store.snapshot(&made, &sandbox.record().id) {
            self.store.discard_snapshot(&made.id);
            (made.stage, made.error_reason) = (Stage::Error, Some(format!("{error:#}")));
        }
        for known in lock(&self.snapshots).iter_mut().filter(|s| s.id == made.id) {
            *known = made.clone();
        }
        let done = self.update(sandbox, |record| {
            // Whether it runs is looked at while the record is locked: a toolbox that ends after this
            // finds the new state, and changes it to stopped.
            record.state = match lock(&sandbox.live).is_some() {
                true => SandboxState::Started,
                false => SandboxState::Stopped,
            };
            record.last_activity_at = self.now();
            Ok(())
        });
        if let Err(problem) = done {
            eprintln!("daytona-local: {}", problem.message);
        }
    }

    /// Removes the files of deleted snapshots on which nothing lies any more.
    fn sweep(&self) {
        let snapshots = lock(&self.snapshots);
        let mut needed: HashSet<String> = snapshots.iter().flat_map(Made::all_layers).collect();
        for sandbox in self.all() {
            needed.extend(lock(&sandbox.record).layers.iter().cloned());
        }
        self.store.sweep(|id| needed.contains(id));
    }

    /// Deletes a snapshot that was made here. Sandboxes that were made from it keep what they have of it.
    pub(crate) fn delete_snapshot(&self, id: &str) -> Result<(), Problem> {
        let mut all = lock(&self.snapshots);
        match all.iter().position(|made| made.id == id) {
            Some(at) if all[at].stage == Stage::Snapshotting => {
                Err(Problem::conflict("Snapshot state change in progress"))
            }
            Some(at) => {
                all.remove(at);
                self.store.forget_snapshot(id);
                drop(all);
                self.sweep();
                Ok(())
            }
            None => Err(no_snapshot(id)),
        }
    }

    /// Takes a snapshot that was made here from one stage to another.
    pub(crate) fn turn(&self, id: &str, from: Stage, to: Stage) -> Result<Made, Problem> {
        let mut all = lock(&self.snapshots);
        let made = all.iter_mut().find(|made| made.id == id);
        let made = made.ok_or_else(|| no_snapshot(id))?;
        if made.stage != from {
            return Err(Problem::bad_request(format!(
                "Snapshot {id} is not {}",
                if from == Stage::Active {
                    "active"
                } else {
                    "inactive"
                }
            )));
        }
        let turned = Made {
            stage: to,
            ..made.clone()
        };
        self.store
            .save_snapshot(&turned)
            .map_err(Problem::internal)?;
        *made = turned.clone();
        Ok(turned)
    }

    /// Deletes a sandbox. Its name is free at once; GET answers 404 when its files are gone.
    pub(crate) fn delete(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<Record, Problem> {
        let now = self.now();
        self.update(sandbox, |record| {
            if record.state.is_transition() {
                return Err(refused(record.state, "delete"));
            }
            record.state = SandboxState::Destroying;
            record.name = format!("DESTROYED_{}_{now}", record.name);
            Ok(())
        })?;
        let (this, doomed) = (self.clone(), sandbox.clone());
        tokio::spawn(async move { this.remove(&doomed).await });
        Ok(sandbox.record())
    }

    async fn remove(self: &Arc<Self>, sandbox: &Arc<Sandbox>) {
        self.halt(sandbox, true).await;
        let (this, removed) = (self.clone(), sandbox.record().id);
        let discard = move || {
            this.store.discard(&removed);
            lock(&this.all).remove(&removed);
            this.sweep();
        };
        let _ = tokio::task::spawn_blocking(discard).await;
        let mut record = lock(&sandbox.record);
        let before = std::mem::replace(&mut record.state, SandboxState::Destroyed);
        sandbox.state.send_replace(SandboxState::Destroyed);
        self.tell(Some(before), &record);
    }

    /// Waits until a sandbox is in no transition or gone, however long that takes.
    pub(crate) async fn quiet(&self, sandbox: &Sandbox) {
        let mut state = sandbox.state.subscribe();
        let _ = state.wait_for(|s| !s.is_transition()).await;
    }

    /// Runs the sandboxes' own timers, for ever.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        loop {
            tick.tick().await;
            for sandbox in self.all() {
                if sandbox.open.load(Ordering::Relaxed) > 0 {
                    self.touch(&sandbox);
                }
                // A refusal means that someone else was faster.
                let _ = match sandbox.record().due(self.now()) {
                    Some(Due::Stop) => self.stop(&sandbox, false),
                    Some(Due::Archive) => self.archive(&sandbox),
                    Some(Due::Delete) => self.delete(&sandbox).map(drop),
                    None => Ok(()),
                };
            }
        }
    }

    /// Stops everything, for the end of the server.
    pub(crate) async fn stop_all(self: &Arc<Self>) {
        self.ending.store(true, Ordering::Relaxed);
        let sandboxes = self.all();
        for sandbox in &sandboxes {
            sandbox.settled().await;
            let _ = self.stop(sandbox, false);
        }
        for sandbox in &sandboxes {
            sandbox.settled().await;
        }
    }
}

/// Of the built-in ones none is changed.
fn no_snapshot(id: &str) -> Problem {
    match snapshots::size(id, true) {
        Some(_) => Problem::new(
            StatusCode::FORBIDDEN,
            format!("Snapshot {id} belongs to everybody"),
        ),
        None => Problem::not_found(format!("Snapshot with ID {id} not found")),
    }
}

fn refused(state: SandboxState, verb: &str) -> Problem {
    match state {
        SandboxState::Error => {
            Problem::bad_request(format!("Sandbox is in an errored state, cannot {verb}"))
        }
        _ if state.is_transition() => Problem::conflict("Sandbox state change in progress"),
        _ if verb == "stop" => Problem::bad_request("Sandbox is not started"),
        _ => Problem::bad_request(format!("Sandbox cannot {verb} from its current state")),
    }
}

/// Makes the socket that a toolbox inherits.
fn listen(dir: &Path, handle: &File) -> Result<std::os::unix::net::UnixListener> {
    let _ = fs::remove_file(dir.join(SOCKET));
    let path = format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd());
    std::os::unix::net::UnixListener::bind(path).context("make the toolbox's socket")
}
