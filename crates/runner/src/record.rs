//! The same id is the same work: a record per tool call, in one file.
//!
//! The file is locked while the work is done, so a concurrent duplicate waits in the kernel and
//! then finds the answer. It holds `started`, then the reply behind it. A process that died in
//! between leaves `started` alone, and the lock is gone with it.
//!
//! A record that cannot be read or written is no error: that request then counts as new.

use crate::storage::Storage;
use protocol::Reply;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const STARTED: &str = "started\n";
const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// A larger reply of a reading tool is not kept: asking again does no harm.
const MAX_KEPT: usize = 256 * 1024;

/// The records of this sandbox.
pub(crate) struct Records<'a> {
    storage: &'a Storage,
}

/// What is known of an id.
pub(crate) enum Claim {
    /// It was answered.
    Answered(Box<Reply>),
    /// It was begun by a process that is gone.
    Interrupted(Claimed),
    /// It is new.
    Mine(Claimed),
}

/// The right to do the work and to record its answer.
pub(crate) struct Claimed {
    file: Option<File>,
}

impl Records<'_> {
    /// The records.
    pub(crate) fn open(storage: &Storage) -> Records<'_> {
        Records { storage }
    }

    /// Claims `id`, after waiting for whoever works on it.
    pub(crate) fn claim(&self, id: &str) -> Claim {
        let dir = self.storage.sub("records");
        if let Some(dir) = &dir
            && self.storage.is_due("prune-records")
        {
            prune(dir);
        }
        let Some(path) = self
            .storage
            .find("records", id)
            .or(dir.map(|dir| dir.join(id)))
        else {
            return Claim::Mine(Claimed { file: None });
        };
        let open = || -> std::io::Result<(File, String)> {
            let mut file = File::options()
                .create(true)
                .read(true)
                .append(true)
                .open(&path)?;
            flock(&file, FlockOperation::LockExclusive)?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            if text.is_empty() {
                file.write_all(STARTED.as_bytes())?;
            }
            Ok((file, text))
        };
        let Ok((file, text)) = open() else {
            return Claim::Mine(Claimed { file: None });
        };
        if text.is_empty() {
            return Claim::Mine(Claimed { file: Some(file) });
        }
        match text
            .strip_prefix(STARTED)
            .and_then(|text| serde_json::from_str(text).ok())
        {
            Some(reply) => Claim::Answered(Box::new(reply)),
            None => Claim::Interrupted(Claimed { file: Some(file) }),
        }
    }
}

impl Claimed {
    /// Records the answer and lets the waiting duplicates go on.
    pub(crate) fn answer(self, reply: &Reply, mutates: bool) {
        let Some(mut file) = self.file else { return };
        let text = serde_json::to_string(reply).unwrap_or_default();
        if mutates || text.len() <= MAX_KEPT {
            // Cut short it does not parse, and then the outcome counts as unknown.
            let _ = file.write_all(text.as_bytes());
        }
    }
}

/// Removes old records, and the oldest ones while there are too many.
fn prune(dir: &Path) {
    let mut records: Vec<(SystemTime, u64, PathBuf)> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            // An empty-looking record still takes a block.
            Some((meta.modified().ok()?, meta.len().max(4096), entry.path()))
        })
        .collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.0));
    let now = SystemTime::now();
    let mut total = 0;
    for (modified, size, path) in records {
        total += size;
        let age = now.duration_since(modified).unwrap_or_default();
        if age > MAX_AGE || total > MAX_BYTES {
            let _ = fs::remove_file(path);
        }
    }
}
