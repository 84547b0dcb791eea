//! One session on its way into the store: the session first, so that it has its date and its title, and a new one is looked for; its
//! messages in their order; the session's sums last, because the store makes its index of meanings then.
//! Then all of it is read back: only what the store was seen to have is done. A session that is larger than the
//! store reads at once is not seen; there the number of its messages tells.
//!
//! A sender marks the session in the spool while it works, so that there is one at a time on this machine: what a
//! process that ends has on its way must not arrive behind what another one sends.

use crate::record::SOURCE;
use crate::spool::{Entry, Sending, Spool};
use crate::store::{Failure, MESSAGE, ReadBack, SESSION, Store, Stored, StoredMessage};
use futures::lock::Mutex;
use host::{FileError, Host};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The store drops updates of a message that come sooner after its date.
const QUIET_MS: f64 = 5_000.0;

/// So often a sender says that it is still at work.
const MARK_MS: u64 = 10_000;

/// After this it is worth looking whether another sender has ended.
const ELSEWHERE_MS: u64 = 500;

/// A session that was just sent is among so many that the store has changed last.
const LISTED: usize = 100;

/// What came of a pass over one session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pass {
    /// Messages that the store has now, and had not before.
    pub messages: usize,
    /// Records that are still to be sent.
    pub left: usize,
    /// Records that the store does not take.
    pub refused: usize,
    /// When it is worth trying what is left, in milliseconds from now.
    pub later_ms: u64,
    /// Another sender is at work on the session.
    pub is_elsewhere: bool,
}

/// Why a pass was given up.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The store.
    #[error(transparent)]
    Store(#[from] Failure),
    /// The spool.
    #[error("the spool cannot be used: {0}")]
    Spool(#[from] FileError),
    /// Another process has begun to send the session, because this one was silent for too long.
    #[error("another process sends this session")]
    Elsewhere,
}

/// Sends what waits.
pub struct Sender {
    host: Arc<dyn Host>,
    store: Store,
    spool: Spool,
    /// Projects that stay on this machine.
    exclude: Vec<String>,
    /// How far the store's clock is ahead of this machine's.
    ahead_ms: Cell<Option<f64>>,
    /// Tells this sender from others of the same process.
    nonce: u64,
    /// When it last said that it is at work.
    marked_ms: Cell<u64>,
    /// One pass at a time: another would send what this one has not read back yet.
    turn: Mutex<()>,
}

impl Sender {
    /// A sender between a spool and a store. What waits of a session that is to stay on this machine, by its title
    /// or because its project is one of those that `exclude` names, is dropped instead of sent.
    pub fn new(host: Arc<dyn Host>, store: Store, spool: Spool, exclude: Vec<String>) -> Sender {
        Sender {
            nonce: host.random(),
            host,
            store,
            spool,
            exclude,
            ahead_ms: Cell::new(None),
            marked_ms: Cell::new(0),
            turn: Mutex::default(),
        }
    }

    /// The store's clock now.
    async fn clock(&self) -> Result<f64, Failure> {
        let now = || self.host.now_ms() as f64;
        if self.ahead_ms.get().is_none() {
            self.ahead_ms.set(Some(self.store.clock().await? - now()));
        }
        Ok(now() + self.ahead_ms.get().unwrap_or_default())
    }

    /// Sends what waits of a session, if nobody else does. An error leaves what was accepted until then accepted.
    pub async fn session(&self, session: &str) -> Result<Pass, SendError> {
        let _turn = self.turn.lock().await;
        let entry = self.spool.entry(session).await?;
        if !entry.is_due() {
            return Ok(count(&entry, 0, 0));
        }
        let done = match self.mark(session).await {
            Ok(entry) => self.pass(session, entry).await,
            Err(error) => Err(error),
        };
        let mark = self.sending();
        let left = self.spool.update(session, |entry| {
            entry.end(&mark);
            entry.due()
        });
        let left = left.await?;
        match done {
            Err(SendError::Elsewhere) => Ok(Pass {
                left,
                later_ms: ELSEWHERE_MS,
                is_elsewhere: true,
                ..Pass::default()
            }),
            done => done,
        }
    }

    /// This sender at work now.
    fn sending(&self) -> Sending {
        Sending {
            pid: self.host.pid(),
            nonce: self.nonce,
            at: self.host.now_ms(),
        }
    }

    /// Says that this sender is at work on a session; gives what waits.
    async fn mark(&self, session: &str) -> Result<Entry, SendError> {
        let mark = self.sending();
        let is_alive = |pid| self.host.pid_alive(pid);
        let update = self.spool.update(session, |entry| {
            entry.begin(&mark, is_alive).then(|| entry.clone())
        });
        let entry = update.await?.ok_or(SendError::Elsewhere)?;
        self.marked_ms.set(mark.at);
        Ok(entry)
    }

    /// Says it again before others take this sender for dead.
    async fn mark_again(&self, session: &str) -> Result<(), SendError> {
        if self.host.now_ms() < self.marked_ms.get() + MARK_MS {
            return Ok(());
        }
        self.mark(session).await.map(drop)
    }

    async fn pass(&self, session: &str, mut entry: Entry) -> Result<Pass, SendError> {
        let url = self.store.url();
        if entry.begin_anew(url) {
            let anew = self.spool.update(session, |entry| entry.begin_anew(url));
            anew.await?;
        }
        if entry.is_kept(&self.exclude) {
            self.spool.stay(session).await?;
            return Ok(Pass::default());
        }
        let Some(id) = self.open(session, &entry).await? else {
            return Ok(count(&entry, 0, QUIET_MS as u64));
        };
        let (sent, later) = self.messages(session, &entry).await?;
        let sums = entry.session.due();
        if let Some(record) = closing(&entry) {
            self.mark_again(session).await?;
            self.store.session(&self.dated(&record).await?).await?;
        }
        let (stored, sent) = self.seen(session, &id, &entry, sent).await?;
        let has = |record: &&Value| {
            stored
                .as_ref()
                .is_some_and(|stored| has_session(stored, record))
        };
        let sums = sums.filter(has).cloned();
        let messages = sent.len();
        let update = self.spool.update(session, move |entry| {
            if let Some(record) = &sums {
                entry.session.accept(record);
            }
            for (id, record) in &sent {
                if let Some(item) = entry.messages.get_mut(id) {
                    item.accept(record);
                }
            }
            entry.clone()
        });
        let entry = update.await?;
        // What the store said that it took and does not have is sent again, when it is taken.
        let quiet = if entry.is_due() { QUIET_MS as u64 } else { 0 };
        Ok(count(&entry, messages, later.max(quiet)))
    }

    /// What the store has: the session, if it was found, and those of the messages that were sent.
    async fn seen(
        &self,
        session: &str,
        id: &str,
        entry: &Entry,
        sent: Vec<(String, Value)>,
    ) -> Result<(Option<Stored>, Vec<(String, Value)>), SendError> {
        let records: BTreeMap<&str, &Value> = sent
            .iter()
            .map(|(id, record)| (id.as_str(), record))
            .collect();
        let mut seen = BTreeSet::new();
        let read = self.store.read(id, |message| {
            let record = records.get(message.external_id.as_str());
            if record.is_some_and(|record| has_message(&message, record)) {
                seen.insert(message.external_id);
            }
        });
        match read.await? {
            ReadBack::Found(stored) => {
                let sent = sent.into_iter().filter(|(id, _)| seen.contains(id));
                return Ok((Some(stored), sent.collect()));
            }
            ReadBack::Unknown => {
                // It was deleted in the dashboard, or never was there. It is made once more, with what is new.
                let forget = self.spool.update(session, |entry| {
                    (entry.store_id, entry.title) = (None, None);
                });
                forget.await?;
                return Ok((None, Vec::new()));
            }
            ReadBack::TooLarge => {}
        }
        let listed = self.store.sessions(LISTED).await?;
        let stored = listed
            .into_iter()
            .find(|stored| stored.external_id == session);
        let were_there = |id: &String| entry.messages[id].accepted.is_some();
        let before = entry.messages.keys().filter(|id| were_there(id)).count();
        let new = sent.iter().filter(|(id, _)| !were_there(id)).count();
        let count = stored.as_ref().and_then(|stored| stored.message_count);
        let all_there = count.is_some_and(|count| count >= (before + new) as f64);
        Ok((stored, if all_there { sent } else { Vec::new() }))
    }

    /// The session is there, under its title; gives its id in the store.
    /// None if the store says so and has no such session.
    async fn open(&self, session: &str, entry: &Entry) -> Result<Option<String>, SendError> {
        match (&entry.store_id, opening(session, entry)) {
            (Some(id), None) => Ok(Some(id.clone())),
            (_, record) => {
                let record = record.unwrap_or_else(|| bare(session));
                let id = self.store.session(&self.dated(&record).await?).await?;
                // A message to a session that is not there makes one, with today's date and no title.
                let is_new = entry.store_id.is_none();
                if is_new && matches!(self.store.read(&id, |_| {}).await?, ReadBack::Unknown) {
                    return Ok(None);
                }
                let (kept, title) = (id.clone(), title(&record));
                let url = self.store.url().to_string();
                let update = self.spool.update(session, move |entry| {
                    entry.store = Some(url);
                    entry.store_id = Some(kept);
                    entry.title = title;
                });
                update.await?;
                Ok(Some(id))
            }
        }
    }

    /// Sends the messages that are due, in their order. Gives those that were sent, and in how many
    /// milliseconds the others are taken.
    async fn messages(
        &self,
        session: &str,
        entry: &Entry,
    ) -> Result<(Vec<(String, Value)>, u64), SendError> {
        let (mut sent, mut later) = (Vec::new(), 0);
        for (id, record, is_update) in due_messages(entry) {
            let wait = date(record) + QUIET_MS - self.clock().await?;
            if is_update && wait >= 0.0 {
                later = later.max(wait as u64 + 1);
                continue;
            }
            self.mark_again(session).await?;
            match self.store.message(&self.dated(record).await?).await {
                Ok(()) => sent.push((id.clone(), record.clone())),
                Err(Failure::Refused(why)) => {
                    let (id, record) = (id.clone(), record.clone());
                    let update = self.spool.update(session, move |entry| {
                        let item = entry.messages.get_mut(&id);
                        if let Some(item) =
                            item.filter(|item| item.waiting.as_ref() == Some(&record))
                        {
                            item.refused = Some(why);
                        }
                    });
                    update.await?;
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok((sent, later))
    }

    /// A record whose date is not in the store's future: until then the store would take no update.
    async fn dated(&self, record: &Value) -> Result<Value, Failure> {
        let mut record = record.clone();
        if let Some(date) = record.get_mut("createdAt") {
            let now = self.clock().await?;
            if date.as_f64().is_some_and(|date| date > now) {
                *date = now.into();
            }
        }
        Ok(record)
    }
}

fn date(record: &Value) -> f64 {
    record["createdAt"].as_f64().unwrap_or_default()
}

fn title(record: &Value) -> Option<String> {
    record["title"].as_str().map(str::to_string)
}

/// A session of which only messages wait.
fn bare(session: &str) -> Value {
    json!({ "externalId": session, "source": SOURCE })
}

/// The record that makes the session in the store, or gives it another title; none if it is there under its title.
fn opening(session: &str, entry: &Entry) -> Option<Value> {
    let due = entry.session.due();
    let renamed = due.filter(|record| title(record) != entry.title);
    match (&entry.store_id, renamed) {
        (_, Some(record)) => Some(record.clone()),
        (Some(_), None) => None,
        (None, None) => Some(bare(session)),
    }
}

/// The messages that are to be sent, in their order, and whether the store has an earlier form of each.
fn due_messages(entry: &Entry) -> Vec<(&String, &Value, bool)> {
    let due = entry.messages.iter();
    let mut due: Vec<(&String, &Value, bool)> = due
        .filter_map(|(id, item)| Some((id, item.due()?, item.accepted.is_some())))
        .collect();
    due.sort_by(|a, b| date(a.1).total_cmp(&date(b.1)).then(a.0.cmp(b.0)));
    due
}

/// The record that brings the session's sums.
fn closing(entry: &Entry) -> Option<Value> {
    let mut record = entry.session.due()?.clone();
    // A request with the title that is there could be taken for a repetition, and dropped.
    record.as_object_mut().map(|fields| fields.remove("title"));
    Some(record)
}

/// The bodies of the requests that would be sent for an entry, each with its path, if the store took all of them. A
/// date in the store's future is sent as the store's now.
pub fn requests(session: &str, entry: &Entry) -> Vec<(&'static str, Value)> {
    if !entry.is_due() {
        return Vec::new();
    }
    let opening = opening(session, entry).map(|record| (SESSION, record));
    let messages = due_messages(entry).into_iter();
    let messages = messages.map(|(_, record, _)| (MESSAGE, record.clone()));
    let closing = closing(entry).map(|record| (SESSION, record));
    opening.into_iter().chain(messages).chain(closing).collect()
}

fn count(entry: &Entry, messages: usize, later_ms: u64) -> Pass {
    Pass {
        messages,
        left: entry.due(),
        refused: entry.refusals().count(),
        later_ms,
        is_elsewhere: false,
    }
}

fn has_message(stored: &StoredMessage, record: &Value) -> bool {
    let sent = record["parts"].as_array();
    let are_same = |parts: &Vec<Value>| {
        parts.len() == stored.parts.len()
            && parts.iter().zip(&stored.parts).all(|(a, b)| same(a, b))
    };
    record["textContent"].as_str() == Some(&stored.text_content)
        && sent.is_some_and(are_same)
        && is_number(record, "promptTokens", stored.prompt_tokens)
        && is_number(record, "completionTokens", stored.completion_tokens)
}

fn has_session(stored: &Stored, record: &Value) -> bool {
    // A sum cannot go back to zero in the store.
    let is_sum =
        |name: &str, found| record[name].as_f64() == Some(0.0) || is_number(record, name, found);
    record["title"].as_str() == stored.title.as_deref()
        && is_sum("promptTokens", stored.prompt_tokens)
        && is_sum("completionTokens", stored.completion_tokens)
        && is_number(record, "cost", stored.cost)
}

/// True if the store has the number that the record has, or the record has none.
fn is_number(record: &Value, name: &str, found: Option<f64>) -> bool {
    record[name]
        .as_f64()
        .is_none_or(|number| found == Some(number))
}

/// Equal as JavaScript sees it, which has one kind of number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let of_b = |name: &String, a: &Value| b.get(name).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(|(name, a)| of_b(name, a))
        }
        (a, b) => a == b,
    }
}
