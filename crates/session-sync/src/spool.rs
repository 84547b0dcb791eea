//! What is to be sent, on disk before it is sent: a file for each session, which several processes may
//! change. A file that cannot be read is put aside, and the session is compared as a whole again.

use crate::config::{is_excluded, is_private};
use crate::records::{MessageRecord, PartRecord, SessionRecord};
use host::{FileError, FileErrorKind, Host, Lock, file_name};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The format of the files.
const VERSION: u32 = 1;

/// A sender that has not been at work for so long has ended without a word. Longer than a request may take.
pub const SENDING_MS: u64 = 50_000;

/// What is known of a session in the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    /// The session's id in the store, once it is there.
    pub store_id: Option<String>,
    /// The store's URL.
    #[serde(default)]
    pub store: Option<String>,
    /// The title that the store was given last.
    pub title: Option<String>,
    /// When the session had changed last, as OpenCode says, when it was compared.
    #[serde(default)]
    pub updated: f64,
    /// Names the rules by which it was compared ([`Policy::name`](crate::record::Policy::name)).
    #[serde(default)]
    pub policy: Option<String>,
    /// Where the session works.
    #[serde(default)]
    pub directory: String,
    /// Since when something waits, in milliseconds since the Unix epoch; none if nothing does.
    #[serde(default)]
    pub since: Option<u64>,
    /// Who sends what waits, while somebody does.
    #[serde(default)]
    sending: Option<Sending>,
    /// The session itself.
    pub session: Item,
    /// Its messages by their ids.
    pub messages: BTreeMap<String, Item>,
}

/// The mark of a sender at work. Two at once could end with the older record in the store, and each would have seen its own
/// there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sending {
    /// The sender's process.
    pub pid: u32,
    /// Tells senders of one process apart, and processes of one number.
    pub nonce: u64,
    /// When it was at work last, in milliseconds since the Unix epoch.
    pub at: u64,
}

impl Sending {
    /// True if the same sender has made the mark.
    fn is_by(&self, other: &Sending) -> bool {
        (self.pid, self.nonce) == (other.pid, other.nonce)
    }
}

/// A record, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Hash of what the store was seen to have.
    pub accepted: Option<String>,
    /// Names what OpenCode had, and the rules, when this was made of it ([`Policy::fingerprints`](crate::record::Policy::fingerprints)).
    #[serde(default)]
    pub made_of: Option<String>,
    /// What is to be sent.
    pub waiting: Option<Value>,
    /// Why the store does not take what waits. It is not sent again before it changes, or is asked for.
    pub refused: Option<String>,
}

impl Item {
    /// The record as it is now is to be in the store.
    fn want(&mut self, record: Value) {
        if self.accepted.as_ref() == Some(&hash(&record)) {
            (self.waiting, self.refused) = (None, None);
        } else if self.waiting.as_ref() != Some(&record) {
            self.waiting = Some(record);
            self.refused = None;
        }
    }

    /// What is to be sent now.
    pub fn due(&self) -> Option<&Value> {
        self.waiting.as_ref().filter(|_| self.refused.is_none())
    }

    /// The store has this record. What has come to wait meanwhile still waits.
    pub fn accept(&mut self, record: &Value) {
        self.accepted = Some(hash(record));
        if self.waiting.as_ref() == Some(record) {
            self.waiting = None;
            self.refused = None;
        }
    }
}

impl Entry {
    /// A session is to be in the store.
    pub fn add(&mut self, session: &SessionRecord) {
        self.session.want(json(session));
    }

    /// Some messages of a session are to be in the store, each with its fingerprint.
    pub fn add_messages(&mut self, messages: &[(MessageRecord, String)]) {
        for (message, made_of) in messages {
            let item = self.messages.entry(message.external_id.clone());
            let item = item.or_default();
            item.want(json(message));
            item.made_of = Some(made_of.clone());
        }
    }

    /// True if what is known of a message was made of the same.
    pub fn has(&self, message: &str, made_of: &str) -> bool {
        let item = self.messages.get(message);
        item.is_some_and(|item| item.made_of.as_deref() == Some(made_of))
    }

    /// True if a session was compared as it is now, by the same rules, and a store has all of it.
    pub fn is_current(&self, updated: f64, policy: &str, store: &str) -> bool {
        self.updated >= updated
            && self.policy.as_deref() == Some(policy)
            && self.store.as_deref() == Some(store)
            && self.items().all(|item| item.waiting.is_none())
    }

    /// A session has these messages and no others. Those that are not there any more are emptied: the store
    /// cannot delete one.
    pub fn keep(&mut self, session: &str, ids: &BTreeSet<String>) {
        for (id, item) in &mut self.messages {
            if ids.contains(id) {
                continue;
            }
            match (&item.accepted, &item.waiting) {
                (Some(_), _) => {
                    item.want(emptied(session, id));
                    item.made_of = None;
                }
                // It was never there.
                (None, _) => *item = Item::default(),
            }
        }
        self.messages.retain(|_, item| *item != Item::default());
    }

    /// True if the session is to stay on this machine, by its title or by where it works.
    pub fn is_kept(&self, exclude: &[String]) -> bool {
        let title = self.session.waiting.as_ref().map(|record| &record["title"]);
        let title = title.and_then(Value::as_str).or(self.title.as_deref());
        is_excluded(exclude, &self.directory) || title.is_some_and(is_private)
    }

    /// Nothing that waits is to be sent: the session stays on this machine from now on. True if something did.
    pub fn stay(&mut self) -> bool {
        let waits = self.items().any(|item| item.waiting.is_some());
        for item in self.messages.values_mut().chain([&mut self.session]) {
            let accepted = item.accepted.take();
            *item = Item {
                accepted,
                ..Item::default()
            };
        }
        self.messages.retain(|_, item| *item != Item::default());
        waits
    }

    /// Nothing is in the store yet, because it is another one. True if something was taken to be.
    pub fn begin_anew(&mut self, store: &str) -> bool {
        if self.store.as_deref().is_none_or(|known| known == store) {
            return false;
        }
        (self.store, self.store_id, self.title, self.updated) = (None, None, None, 0.0);
        for item in self.messages.values_mut().chain([&mut self.session]) {
            (item.accepted, item.refused, item.made_of) = (None, None, None);
        }
        self.messages.retain(|_, item| *item != Item::default());
        true
    }

    /// Marks a sender as at work now. False if another one is: one that lives, and was at work within [`SENDING_MS`].
    pub fn begin(&mut self, sender: &Sending, is_alive: impl Fn(u32) -> bool) -> bool {
        let other = self.sending.as_ref().filter(|mark| !mark.is_by(sender));
        let is_taken =
            |mark: &Sending| is_alive(mark.pid) && sender.at.abs_diff(mark.at) < SENDING_MS;
        if other.is_some_and(is_taken) {
            return false;
        }
        self.sending = Some(sender.clone());
        true
    }

    /// Removes a sender's mark.
    pub fn end(&mut self, sender: &Sending) {
        self.sending.take_if(|mark| mark.is_by(sender));
    }

    /// As if the store had taken all that is due.
    pub fn sent(&mut self) {
        self.store_id.get_or_insert_default();
        if let Some(record) = self.session.due() {
            self.title = record["title"].as_str().map(str::to_string);
        }
        for item in self.messages.values_mut().chain([&mut self.session]) {
            if let Some(record) = item.due().cloned() {
                item.accept(&record);
            }
        }
    }

    /// The session and its messages.
    fn items(&self) -> impl Iterator<Item = &Item> {
        self.messages.values().chain([&self.session])
    }

    /// How many records are to be sent.
    pub fn due(&self) -> usize {
        self.items().filter(|item| item.due().is_some()).count()
    }

    /// True if something is to be sent.
    pub fn is_due(&self) -> bool {
        self.due() > 0
    }

    /// Why the store does not take what waits, for each record that it does not take.
    pub fn refusals(&self) -> impl Iterator<Item = &str> {
        self.items().filter_map(|item| item.refused.as_deref())
    }

    /// Everything that the store has refused is tried again.
    pub fn retry(&mut self) {
        self.session.refused = None;
        for item in self.messages.values_mut() {
            item.refused = None;
        }
    }
}

/// A message that is gone, as the store can have it.
fn emptied(session: &str, id: &str) -> Value {
    let parts: [PartRecord; 0] = [];
    json!({ "sessionExternalId": session, "externalId": id, "role": "unknown", "textContent": "", "parts": parts })
}

fn json(record: &impl Serialize) -> Value {
    serde_json::to_value(record).expect("a record is JSON")
}

/// Names a record's content.
pub fn hash(record: &Value) -> String {
    let digest = Sha256::digest(record.to_string());
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The files.
#[derive(Clone)]
pub struct Spool {
    host: Arc<dyn Host>,
    dir: String,
}

impl Spool {
    /// The files in a directory.
    pub fn new(host: Arc<dyn Host>, dir: &str) -> Spool {
        let dir = dir.to_string();
        Spool { host, dir }
    }

    fn path(&self, session: &str) -> String {
        format!("{}/{}", self.dir, file_name(session))
    }

    /// A session's entry as it is on disk; a new one if there is none, or none that can be read.
    pub async fn entry(&self, session: &str) -> Result<Entry, FileError> {
        if let Some(entry) = self.found(session).await? {
            return Ok(entry);
        }
        // The whole session is compared again: the store takes what it has once more.
        let path = self.path(session);
        let aside = format!("{path}.broken-{}", self.host.now_ms());
        self.host.rename_file(&path, &aside).await?;
        Ok(Entry::default())
    }

    /// The same, and nothing on disk is changed.
    pub async fn look(&self, session: &str) -> Result<Entry, FileError> {
        Ok(self.found(session).await?.unwrap_or_default())
    }

    /// None if there is one that cannot be read.
    async fn found(&self, session: &str) -> Result<Option<Entry>, FileError> {
        let bytes = match self.host.read_file(&self.path(session)).await {
            Err(error) if error.kind == FileErrorKind::NotFound => {
                return Ok(Some(Entry::default()));
            }
            other => other?,
        };
        let entry = serde_json::from_slice::<Entry>(&bytes).ok();
        Ok(entry.filter(|entry| entry.version == VERSION))
    }

    /// Changes a session's entry, alone.
    pub async fn update<R>(
        &self,
        session: &str,
        change: impl FnOnce(&mut Entry) -> R,
    ) -> Result<R, FileError> {
        let path = self.path(session);
        // For the user alone: what waits is what was said.
        self.host.make_dir(&self.dir).await?;
        let lock = Lock::acquire(&*self.host, &path).await?;
        let done = async {
            let before = self.entry(session).await?;
            let mut entry = before.clone();
            let result = change(&mut entry);
            entry.version = VERSION;
            let waits = entry.items().any(|item| item.waiting.is_some());
            let since = entry.since.unwrap_or_else(|| self.host.now_ms());
            entry.since = waits.then_some(since);
            if entry != before {
                let bytes = serde_json::to_vec(&entry).expect("an entry is JSON");
                self.host.replace_file(&path, &bytes).await?;
            }
            Ok(result)
        };
        let result = done.await;
        lock.release(&*self.host).await;
        result
    }

    /// A session stays on this machine from now on: what waits of it is dropped. Gives whether the store has some
    /// of it already, if it was not known before that the session stays.
    pub async fn stay(&self, session: &str) -> Result<Option<bool>, FileError> {
        let entry = self.entry(session).await?;
        if !entry.items().any(|item| item.waiting.is_some()) {
            return Ok(None);
        }
        self.update(session, |entry| {
            entry.stay().then_some(entry.store_id.is_some())
        })
        .await
    }

    /// Removes a session's entry, and gives it; none if there was none.
    pub async fn remove(&self, session: &str) -> Result<Option<Entry>, FileError> {
        let path = self.path(session);
        if self.entry(session).await? == Entry::default() {
            return Ok(None);
        }
        let lock = Lock::acquire(&*self.host, &path).await?;
        let done = async {
            let entry = self.entry(session).await?;
            self.host.remove_file(&path).await?;
            Ok((entry != Entry::default()).then_some(entry))
        };
        let removed = done.await;
        lock.release(&*self.host).await;
        removed
    }

    /// The sessions that have an entry.
    pub async fn sessions(&self) -> Result<Vec<String>, FileError> {
        let names = self.host.list_dir(&self.dir).await?;
        let sessions = names.iter().filter_map(|name| name.strip_suffix(".json"));
        let mut sessions: Vec<String> = sessions.map(str::to_string).collect();
        sessions.sort();
        Ok(sessions)
    }
}
