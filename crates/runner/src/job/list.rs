//! Which commands run, for a model that does not know their names any more.

use super::wire::{Answer, BACKGROUND, COMMAND, DONE, runs};
use crate::storage::Storage;
use protocol::{Outcome, ToolOutput};
use serde_json::{Value, json};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

/// Characters of a command that are kept and shown.
const COMMAND_CHARS: usize = 200;
/// Commands that are listed.
const MAX_RUNNING: usize = 100;
/// Commands of the background that have ended and are listed.
const MAX_ENDED: usize = 10;

struct Found {
    id: String,
    command: String,
    background: bool,
    /// How it ended: its answer, as it is on disk.
    done: Option<Vec<u8>>,
    /// When it began, or ended.
    at: SystemTime,
}

/// Keeps how the command of a new job begins.
pub(super) fn note(dir: &Path, command: &str) {
    let begin: String = command.chars().take(COMMAND_CHARS).collect();
    // The command matters more than its record.
    let _ = fs::write(dir.join(COMMAND), begin);
}

/// The commands that run, and the last ones of the background that have ended. Those that found no
/// place on disk are not known.
pub(super) fn list(storage: &Storage) -> ToolOutput {
    let dirs = storage
        .all("jobs")
        .filter_map(|jobs| fs::read_dir(jobs).ok());
    let mut found: Vec<Found> = dirs
        .flatten()
        .flatten()
        .filter_map(|job| look(&job))
        .collect();
    found.sort_by_key(|job| std::cmp::Reverse(job.at));
    let (ended, running): (Vec<_>, Vec<_>) = found.into_iter().partition(|job| job.done.is_some());
    let names = |jobs: &[Found]| jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>();
    let metadata = json!({ "running": names(&running), "truncated": false });
    let mut lines = vec![match running.len() {
        0 => "No command runs.".to_string(),
        1 => "1 command runs:".to_string(),
        count => format!("{count} commands run:"),
    }];
    lines.extend(running.iter().take(MAX_RUNNING).map(|job| {
        let place = match job.background {
            true => "in the background",
            false => "in the foreground",
        };
        format!("{} ({place}, for {}): {}", job.id, age(job.at), job.command)
    }));
    if !ended.is_empty() {
        lines.push("Ended in the background:".into());
    }
    lines.extend(ended.iter().take(MAX_ENDED).map(|job| {
        let how = match job.done.as_deref().and_then(exit) {
            Some(code) => format!("exit code {code}"),
            None => "stopped".into(),
        };
        format!("{} ({how}, {} ago): {}", job.id, age(job.at), job.command)
    }));
    ToolOutput {
        title: "jobs".into(),
        output: lines.join("\n"),
        metadata,
        attachments: Vec::new(),
    }
}

fn look(job: &fs::DirEntry) -> Option<Found> {
    let (id, dir) = (job.file_name().into_string().ok()?, job.path());
    let background = dir.join(BACKGROUND).exists();
    let changed = |file: &str| fs::metadata(dir.join(file)).and_then(|meta| meta.modified());
    let ended = changed(DONE).ok();
    let is_wanted = match ended {
        Some(_) => background,
        None => protocol::is_id(&id) && runs(&id),
    };
    if !is_wanted {
        return None;
    }
    let began = || changed(COMMAND).or_else(|_| job.metadata()?.modified());
    let at = ended.or_else(|| began().ok())?;
    let done = ended.map(|_| fs::read(dir.join(DONE)).unwrap_or_default());
    Some(Found {
        command: command(&dir),
        id,
        background,
        done,
        at,
    })
}

/// The first line of the command.
fn command(dir: &Path) -> String {
    let mut bytes = Vec::new();
    let limit = 4 * COMMAND_CHARS as u64;
    let read =
        fs::File::open(dir.join(COMMAND)).map(|file| file.take(limit).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let first: String = lines
        .next()
        .unwrap_or_default()
        .chars()
        .take(COMMAND_CHARS)
        .collect();
    match (read.is_ok() && !first.is_empty(), lines.next()) {
        (false, _) => "(its command is not known)".into(),
        (true, None) => first,
        (true, Some(_)) => first + " …",
    }
}

fn exit(done: &[u8]) -> Option<i64> {
    match serde_json::from_slice::<Answer>(done) {
        Ok(Ok(Outcome::Done(done))) => done.metadata.get("exit").and_then(Value::as_i64),
        _ => None,
    }
}

fn age(at: SystemTime) -> String {
    let seconds = SystemTime::now()
        .duration_since(at)
        .unwrap_or_default()
        .as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}
