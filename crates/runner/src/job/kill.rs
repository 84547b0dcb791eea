//! Finds and kills what a command started: everything in the supervisor's session, which also
//! holds descendants that moved to a process group of their own. A program that makes a session of
//! its own (`setsid`) means to survive, and does.

use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};

/// Sends `signal` to the shell's group, if the shell was not reaped yet, and to everyone else in
/// this session. True if someone was there.
pub(super) fn session(shell: Option<Pid>, signal: Signal) -> bool {
    let grouped = shell.is_some_and(|shell| kill_process_group(shell, signal).is_ok());
    let others = members();
    for pid in &others {
        let _ = kill_process(*pid, signal);
    }
    grouped || !others.is_empty()
}

/// Processes of this session, without this one.
fn members() -> Vec<Pid> {
    let me = getpid();
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != me && session_of(*pid) == Some(me))
        .collect()
}

/// Field 6 of `/proc/PID/stat`, for a process that is not a zombie; the name in field 2 may hold
/// anything, so look behind its `)`.
fn session_of(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    Pid::from_raw(fields.nth(2)?.parse().ok()?)
}
