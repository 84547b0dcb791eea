//! Processes by `/proc`: whose children they are, what they are called, how to end them.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// How long a process may take to heed SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Parents of all live processes; zombies have nothing left to end.
fn parents() -> HashMap<i32, i32> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // `pid (name) state ppid ...`, and a name may hold anything.
        let mut fields = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|p| p.parse().ok()));
        if let (Some(state), Some(parent)) = (state, parent)
            && state != "Z"
        {
            parents.insert(pid, parent);
        }
    }
    parents
}

/// Every live descendant of `root`.
pub(super) fn descendants(root: i32) -> Vec<i32> {
    let parents = parents();
    let is_below = |mut pid: i32| {
        // The table is not a snapshot, so a walk is bounded.
        for _ in 0..parents.len() {
            match parents.get(&pid) {
                Some(parent) if *parent == root => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    parents
        .keys()
        .copied()
        .filter(|pid| is_below(*pid))
        .collect()
}

/// The sandbox's processes other than this daemon and, in a namespace, its init.
fn others(own_pid_namespace: bool) -> Vec<i32> {
    let me = std::process::id() as i32;
    if own_pid_namespace {
        return parents()
            .into_keys()
            .filter(|pid| *pid != 1 && *pid != me)
            .collect();
    }
    descendants(me)
}

/// What runs in the sandbox, one command line each.
pub(super) fn command_lines(own_pid_namespace: bool) -> Vec<String> {
    let read = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).ok();
    let lines = others(own_pid_namespace)
        .into_iter()
        .filter_map(read)
        .map(|line| {
            let words: Vec<_> = line
                .split(|b| *b == 0)
                .map(String::from_utf8_lossy)
                .collect();
            words.join(" ").trim().to_owned()
        });
    let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.sort();
    lines
}

pub(super) fn signal(pids: &[i32], signal: i32) {
    for pid in pids {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(*pid, signal) };
    }
}

/// SIGTERM to everyone, and SIGKILL to whoever is left after the grace period.
pub(super) async fn end_all(own_pid_namespace: bool) {
    let deadline = tokio::time::Instant::now() + GRACE;
    signal(&others(own_pid_namespace), libc::SIGTERM);
    while !others(own_pid_namespace).is_empty() {
        if tokio::time::Instant::now() > deadline {
            signal(&others(own_pid_namespace), libc::SIGKILL);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether a process has ended and only waits for its parent to notice.
pub(super) fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .unwrap_or_default()
        .trim_start()
        .starts_with('Z')
}
