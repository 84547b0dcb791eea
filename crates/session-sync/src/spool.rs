//! What is to be sent, on disk before it is sent: a file for each session, which several processes may
//! change. A file that cannot be read is put aside, and the session is compared as a whole again.

use crate::record::{MessageRecord, PartRecord, SessionRecord};
use host::{FileError, FileErrorKind, Host, Lock, file_name};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The format of the files.
const VERSION: u32 = 1;

/// What is known of a session in the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    version: u32,
    /// The session's id in the store, once it is there.
    pub store_id: Option<String>,
    /// The title that the store was given last.
    pub title: Option<String>,
    /// When the session had changed last, as OpenCode says, when it was compared.
    #[serde(default)]
    pub updated: f64,
    /// Since when something waits, in milliseconds since the Unix epoch; none if nothing does.
    #[serde(default)]
    pub since: Option<u64>,
    /// The session itself.
    pub session: Item,
    /// Its messages by their ids.
    pub messages: BTreeMap<String, Item>,
}

/// A record, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Hash of what the store was seen to have.
    pub accepted: Option<String>,
    /// What is to be sent.
    pub waiting: Option<Value>,
    /// Why the store does not take what waits. It is not sent again before it changes, or is asked for.
    pub refused: Option<String>,
}

impl Item {
    /// The record as it is now is to be in the store.
    fn want(&mut self, record: Value) {
        if self.accepted.as_ref() == Some(&hash(&record)) {
            *self = Item {
                accepted: self.accepted.take(),
                ..Item::default()
            };
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
    /// All that is to be in the store of a session.
    pub fn want(&mut self, session: &SessionRecord, messages: &[MessageRecord]) {
        self.add(session, messages);
        let ids = messages.iter().map(|message| message.external_id.clone());
        self.keep(&session.external_id, &ids.collect());
    }

    /// A session and some of its messages are to be in the store.
    pub fn add(&mut self, session: &SessionRecord, messages: &[MessageRecord]) {
        self.session.want(json(session));
        for message in messages {
            let item = self.messages.entry(message.external_id.clone());
            item.or_default().want(json(message));
        }
    }

    /// A session has these messages and no others. Those that are not there any more are emptied: the store
    /// cannot delete one.
    pub fn keep(&mut self, session: &str, ids: &BTreeSet<String>) {
        for (id, item) in &mut self.messages {
            if ids.contains(id) {
                continue;
            }
            match (&item.accepted, &item.waiting) {
                (Some(_), _) => item.want(emptied(session, id)),
                // It was never there.
                (None, _) => *item = Item::default(),
            }
        }
        self.messages.retain(|_, item| *item != Item::default());
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
    host: Rc<dyn Host>,
    dir: String,
}

impl Spool {
    /// The files in a directory.
    pub fn new(host: Rc<dyn Host>, dir: &str) -> Spool {
        let dir = dir.to_string();
        Spool { host, dir }
    }

    fn path(&self, session: &str) -> String {
        format!("{}/{}", self.dir, file_name(session))
    }

    /// A session's entry as it is on disk; a new one if there is none, or none that can be read.
    pub async fn entry(&self, session: &str) -> Result<Entry, FileError> {
        let path = self.path(session);
        let bytes = match self.host.read_file(&path).await {
            Err(error) if error.kind == FileErrorKind::NotFound => return Ok(Entry::default()),
            other => other?,
        };
        match serde_json::from_slice::<Entry>(&bytes) {
            Ok(entry) if entry.version == VERSION => Ok(entry),
            // The whole session is compared again: the store takes what it has once more.
            _ => {
                let aside = format!("{path}.broken-{}", self.host.now_ms());
                self.host.rename_file(&path, &aside).await?;
                Ok(Entry::default())
            }
        }
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
