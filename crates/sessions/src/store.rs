//! The project's file: which sandbox each session has, what is being made, what must still go.
//!
//! `{data}/opencode/storage/daytona/{projectId}.json`. Earlier plugins wrote `projectId`,
//! `worktree` and `sessions` there; their entries and every unknown field are kept. A file that
//! does not parse is moved aside, never overwritten, and one of a newer layout is left as it is: who
//! wrote it may be at work beside us.

use daytona::Toolbox;
use host::{FileError, FileErrorKind, Host, Level, Lock, Platform, file_name};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// The layout of the file. A new field does not change it, because everybody keeps what it does not
/// know; a change that others would misread does.
const LAYOUT: u64 = 1;
/// On Windows a file that somebody reads at that moment cannot be replaced: how often that is tried
/// again, and after how long.
const REPLACES: usize = 40;
const REPLACE_MS: u64 = 25;

/// Which layout a file has: a number, or one that begins a text, such as `"2.1"`. Files of earlier
/// plugins do not say; they have the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(Value);

impl Default for Version {
    fn default() -> Self {
        Version(LAYOUT.into())
    }
}

impl Version {
    /// False for a newer one, and for what is no version: that is newer than this code, too.
    fn is_known(&self) -> bool {
        let number = match &self.0 {
            Value::String(text) => text.split('.').next().and_then(|n| n.parse().ok()),
            other => other.as_u64(),
        };
        number.is_some_and(|number| number <= LAYOUT)
    }
}

/// What is read before the rest.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    version: Version,
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// The layout of the file.
    #[serde(default)]
    pub version: Version,
    /// OpenCode's project id. Shared by clones, and `global` for every directory without commits.
    #[serde(default)]
    pub project_id: String,
    /// The worktree that wrote the file first.
    #[serde(default)]
    pub worktree: String,
    /// By root session.
    #[serde(default)]
    pub sessions: BTreeMap<String, Entry>,
    /// Sandboxes that are being made right now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub creating: Vec<Creating>,
    /// Sandboxes that must still be deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleanup: Vec<Cleanup>,
    /// By snapshot (empty for the default one): commits of the project that it brings.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub snapshots: BTreeMap<String, Vec<String>>,
    /// Prepared snapshots that sessions start from where nothing else is named: under an empty name that
    /// of the project, or by directory where directories share the file.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prepared: BTreeMap<String, PreparedSnapshot>,
    /// Snapshots that are being made right now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshotting: Vec<Snapshotting>,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One session's sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Daytona's id.
    pub sandbox_id: String,
    /// Number of the branch that brings the work home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_number: Option<u64>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub created: u64,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub last_accessed: u64,
    /// Worktree of the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worktree: Option<String>,
    /// Base URL of the toolbox proxy, so that a warm call needs no look-up after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toolbox_url: Option<String>,
    /// [`crate::Project::known_since`] of the OpenCode that has the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_since: Option<u64>,
    /// The project is in the sandbox. Absent in files of earlier plugins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// A tool worked in it, so it may hold something. Absent (earlier plugins) counts as used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<bool>,
    /// The process that made it, as long as it is unused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
    /// The prepared snapshot that it was made of, if it was made of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Commit that the sandbox's work starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    /// The host's HEAD when the base was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_head: Option<String>,
    /// Something may be in the sandbox that has not come home. Written before the change is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsynced: Option<Unsynced>,
    /// What came home last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    /// The commit up to which the work is in the user's worktree too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// The session is deleted, and its sandbox goes as soon as its work is home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<bool>,
    /// The worktree that this one was before, as long as what was kept there is not taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_from: Option<String>,
    /// The worktree is gone, and a user was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub astray: Option<bool>,
    /// Why the work could not come home at the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Messages that the user has undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Undo>,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Entry {
    /// Where the sandbox is; its address may not be known.
    pub(crate) fn toolbox(&self) -> Toolbox {
        Toolbox {
            id: self.sandbox_id.clone(),
            proxy_url: self.toolbox_url.clone().unwrap_or_default(),
        }
    }

    /// False as long as the sandbox is being set up: no tool has worked in it, so what is there is
    /// nobody's work, and may be half a project. Of a sandbox that was found by its label only the
    /// sandbox knows.
    pub fn may_hold_work(&self) -> bool {
        self.ready == Some(true) || self.used == Some(true)
    }
}

/// Work that may not be home.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unsynced {
    /// The process that works.
    pub pid: u32,
    /// Milliseconds since the epoch; different for each change that was written down.
    pub since: u64,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What came home.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Home {
    /// Full hash.
    pub commit: String,
    /// Branch of the user's repository that holds it.
    pub branch: String,
    /// Milliseconds since the epoch.
    pub at: u64,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How far the user went back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undo {
    /// The first message that is undone; none if the user went forward again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Nothing was undone before, so the sandbox must keep what it has now.
    #[serde(default)]
    pub first: bool,
    /// The sandbox has not followed yet.
    #[serde(default)]
    pub pending: bool,
    /// The user went on from there: nothing counts as undone once the sandbox has followed.
    #[serde(default)]
    pub over: bool,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A snapshot of the service's with the project in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreparedSnapshot {
    /// The service's name for it.
    pub name: String,
    /// Commit that is checked out in it.
    pub commit: String,
    /// The host's HEAD when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_head: Option<String>,
    /// Bytes that were carried into it.
    #[serde(default)]
    pub bytes: u64,
    /// The command that was run in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub at: u64,
    /// Under this name of a session the project's objects of it are kept.
    #[serde(default)]
    pub session: String,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A snapshot that was asked for, or is about to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshotting {
    /// The service's name for it.
    pub name: String,
    /// The sandbox that it is made of: nobody else's is.
    pub sandbox: String,
    /// The process that asks.
    pub pid: u32,
    /// Milliseconds since the epoch.
    pub since: u64,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A create that was sent, or is about to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Creating {
    /// For this session.
    pub session: String,
    /// Unique name: finds the sandbox even if the answer was lost.
    pub name: String,
    /// The process that sends it.
    pub pid: u32,
    /// Milliseconds since the epoch.
    pub since: u64,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A sandbox that must go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cleanup {
    /// Id or name.
    pub sandbox: String,
    /// Milliseconds since the epoch.
    pub since: u64,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// It was not there, but the create that was sent for it may still come to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<bool>,
    /// Whatever else was there.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Cleanup {
    /// A note that was not acted on yet.
    pub fn new(sandbox: impl Into<String>, since: u64) -> Self {
        Cleanup {
            sandbox: sandbox.into(),
            since,
            error: None,
            late: None,
            rest: Map::new(),
        }
    }
}

/// The store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is no place for it.
    #[error("there is no data directory: set HOME or XDG_DATA_HOME")]
    NoDirectory,
    /// It cannot be read or written.
    #[error(
        "cannot use the session store {0}. Make the file and its directory readable and writable."
    )]
    File(#[from] FileError),
    /// A newer plugin wrote it.
    #[error(
        "the session store {0} was written by a newer version of opencode-daytona-sandbox, and this one must not change it. Update the plugin of this OpenCode, and restart it."
    )]
    Newer(String),
}

/// Directory of all project files, by the rules of a platform.
pub fn store_dir(
    platform: Platform,
    env: impl Fn(&str) -> Option<String>,
) -> Result<String, StoreError> {
    let data = platform.data_dir(env).ok_or(StoreError::NoDirectory)?;
    Ok(format!("{data}/opencode/storage/daytona"))
}

/// One project's file.
#[derive(Clone)]
pub struct Store {
    host: Arc<dyn Host>,
    path: String,
    project_id: String,
    worktree: String,
    /// Is told where a file is now that did not parse, and why it did not.
    broken: Option<Rc<dyn Fn(String, String)>>,
    /// Makes a reason fit to be read.
    told: Rc<dyn Fn(&str) -> String>,
}

impl Store {
    /// The file of `project_id` in `dir`.
    pub fn new(host: Arc<dyn Host>, dir: &str, project_id: &str, worktree: &str) -> Self {
        let path = format!("{dir}/{}", file_name(project_id));
        Store {
            host,
            path,
            project_id: project_id.into(),
            worktree: worktree.into(),
            broken: None,
            told: Rc::new(str::to_string),
        }
    }

    /// Every reason that is written down goes through `told`: anybody may read the file.
    pub fn telling(mut self, told: impl Fn(&str) -> String + 'static) -> Self {
        self.told = Rc::new(told);
        self
    }

    /// Who is told when a file did not parse: where it is now, and the reason.
    pub(crate) fn when_broken(&mut self, tell: impl Fn(String, String) + 'static) {
        self.broken = Some(Rc::new(tell));
    }

    /// Where it is.
    pub fn path(&self) -> &str {
        &self.path
    }

    fn empty(&self) -> Document {
        Document {
            project_id: self.project_id.clone(),
            worktree: self.worktree.clone(),
            ..Document::default()
        }
    }

    /// Reads without the lock: a rename makes every version whole. A broken file reads as empty
    /// here; it is moved aside by the next [`Store::update`].
    pub async fn read(&self) -> Result<Document, StoreError> {
        Ok(self.parse().await?.unwrap_or_else(|_| self.empty()))
    }

    /// True if the file is there but is no document.
    pub async fn is_broken(&self) -> Result<bool, StoreError> {
        Ok(self.parse().await?.is_err())
    }

    /// The document, or why the file is none.
    async fn parse(&self) -> Result<Result<Document, serde_json::Error>, StoreError> {
        let bytes = match self.host.read_file(&self.path).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind == FileErrorKind::NotFound => return Ok(Ok(self.empty())),
            Err(error) => return Err(error.into()),
        };
        match serde_json::from_slice::<Head>(&bytes) {
            Ok(head) if !head.version.is_known() => Err(StoreError::Newer(self.path.clone())),
            _ => Ok(serde_json::from_slice(&bytes)),
        }
    }

    async fn read_or_move_aside(&self) -> Result<Document, StoreError> {
        let reason = match self.parse().await? {
            Ok(document) => return Ok(document),
            Err(error) => error.to_string(),
        };
        let aside = format!(
            "{}.broken-{}-{:08x}",
            self.path,
            self.host.now_ms(),
            self.host.random() as u32
        );
        self.host.rename_file(&self.path, &aside).await?;
        self.host.log(
            Level::Warn,
            &format!(
                "the session store {} does not parse ({reason}); moved to {aside}",
                self.path
            ),
        );
        if let Some(tell) = &self.broken {
            tell(aside, reason);
        }
        Ok(self.empty())
    }

    /// Changes the document while no other process does. Written only if `change` changed it.
    pub async fn update<R>(
        &self,
        change: impl FnOnce(&mut Document) -> R,
    ) -> Result<R, StoreError> {
        let lock = Lock::acquire(&*self.host, &self.path).await?;
        let result = self.update_locked(change).await;
        lock.release(&*self.host).await;
        result
    }

    async fn update_locked<R>(
        &self,
        change: impl FnOnce(&mut Document) -> R,
    ) -> Result<R, StoreError> {
        let before = self.read_or_move_aside().await?;
        let mut after = before.clone();
        let result = change(&mut after);
        let sessions = after.sessions.values_mut().map(|entry| &mut entry.error);
        let notes = after.cleanup.iter_mut().map(|note| &mut note.error);
        for reason in sessions.chain(notes).flatten() {
            *reason = (self.told)(reason);
        }
        if after != before {
            let text = serde_json::to_string_pretty(&after).expect("plain data serializes");
            self.replace(text.as_bytes()).await?;
        }
        Ok(result)
    }

    async fn replace(&self, content: &[u8]) -> Result<(), FileError> {
        let mut left = match self.host.platform() {
            Platform::Windows => REPLACES,
            Platform::Linux | Platform::Mac => 0,
        };
        loop {
            match self.host.replace_file(&self.path, content).await {
                Err(_) if left > 0 => left -= 1,
                done => return done,
            }
            self.host.sleep(REPLACE_MS).await;
        }
    }
}
