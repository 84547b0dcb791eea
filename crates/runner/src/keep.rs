//! `--keep DIR`: a program that comes back when it ends, with nothing left of the one before.
//!
//! ```text
//! DIR/keep.json    what to start ([`Kept`]), written by whoever asks for it
//! DIR/lock         held while a keeper lives: there is one for each directory
//! DIR/log          what the program prints
//! DIR/state.json   what became of it ([`State`])
//! DIR/NAME         a secret, made here, that nobody outside has to send
//! ```
//!
//! The keeper is a process of its own that outlives the request; `--end DIR` ends it and the program. What the
//! program starts is known by a variable in its environment, so commands that a killed one left are
//! found, whatever session they are in.

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Runs the keeper of a directory.
pub(crate) const FLAG: &str = "--keep";
/// Ends it, and what it keeps.
pub(crate) const END_FLAG: &str = "--end";
/// Tells the keeper from the request that starts it.
const APART: &str = "--apart";
/// In the environment of the program and of all that it starts: the directory.
const MARK: &str = "OPENCODE_KEPT";
/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(1);
/// Before the first restart; each one later waits twice as long, up to the second value.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// A program that lived so long starts again at once.
const LIVED: Duration = Duration::from_secs(60);
/// A longer log is put aside at the next start.
const MAX_LOG: u64 = 8 * 1024 * 1024;

/// What is kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// None: this runner itself.
    program: Option<PathBuf>,
    #[serde(default)]
    args: Vec<String>,
    /// The working directory.
    cwd: PathBuf,
    /// The whole environment.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Variables whose values are secrets of this sandbox, and the names of the files that hold them.
    #[serde(default)]
    secrets: BTreeMap<String, String>,
}

/// What became of it.
#[derive(Default, Serialize, Deserialize)]
struct State {
    keeper: i32,
    /// The program's process, while it runs.
    pid: Option<u32>,
    starts: u32,
    /// How the last one ended.
    end: Option<String>,
}

/// Does what the arguments ask; gives what went wrong.
pub(crate) fn serve(flag: &str, dir: &Path, rest: Option<&str>) -> io::Result<()> {
    let dir = dir.canonicalize()?;
    match (flag, rest) {
        (FLAG, Some(APART)) => keep(&dir),
        (FLAG, _) => start(&dir),
        _ => end(&dir),
    }
}

/// Starts the keeper, apart from the request.
fn start(dir: &Path) -> io::Result<()> {
    // What cannot be read is told to whoever asks, and not to a log.
    read(dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(FLAG).arg(dir).arg(APART).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).process_group(0).spawn()?;
    Ok(())
}

fn read(dir: &Path) -> io::Result<Kept> {
    Ok(serde_json::from_slice(&fs::read(dir.join("keep.json"))?)?)
}

/// Keeps the program, for ever.
fn keep(dir: &Path) -> io::Result<()> {
    // Fails only for a group leader, which was told apart already.
    let _ = rustix::process::setsid();
    let lock = private(&dir.join("lock"), false)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(());
    }
    let mut state = State {
        keeper: rustix::process::getpid().as_raw_nonzero().get(),
        ..State::default()
    };
    let mut pause = PAUSE.0;
    loop {
        end_marked(dir);
        let began = Instant::now();
        state.end = Some(match run(dir, &mut state) {
            Ok(end) => end,
            Err(error) => format!("it cannot be started: {error}"),
        });
        state.pid = None;
        write(dir, &state)?;
        if began.elapsed() >= LIVED {
            pause = PAUSE.0;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Runs the program once; gives how it ended.
fn run(dir: &Path, state: &mut State) -> io::Result<String> {
    let kept = read(dir)?;
    let log = dir.join("log");
    if fs::metadata(&log).is_ok_and(|log| log.len() > MAX_LOG) {
        fs::rename(&log, dir.join("log.old"))?;
    }
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log)?;
    let program = kept.program.map_or_else(std::env::current_exe, Ok)?;
    let mut command = Command::new(program);
    command.args(&kept.args).current_dir(&kept.cwd);
    command.env_clear().envs(&kept.env).env(MARK, dir);
    for (name, file) in &kept.secrets {
        command.env(name, secret(&dir.join(file))?);
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?);
    let mut child = command.stderr(log).process_group(0).spawn()?;
    (state.pid, state.starts) = (Some(child.id()), state.starts + 1);
    write(dir, state)?;
    Ok(child.wait()?.to_string())
}

/// The secret in a file; a new one if there is none.
fn secret(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let mut bytes = [0; 24];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    replace(path, text.as_bytes())?;
    Ok(text)
}

fn write(dir: &Path, state: &State) -> io::Result<()> {
    replace(&dir.join("state.json"), &serde_json::to_vec(state)?)
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    private(&fresh, true)?.write_all(content)?;
    fs::rename(fresh, path)
}

fn private(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o600)
        .open(path)
}

/// Ends the keeper first, so that nothing comes back.
fn end(dir: &Path) -> io::Result<()> {
    let lock = private(&dir.join("lock"), false)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let state: State = serde_json::from_slice(&fs::read(dir.join("state.json"))?)?;
        if let Some(keeper) = Pid::from_raw(state.keeper) {
            let _ = kill_process(keeper, Signal::KILL);
        }
        flock(&lock, FlockOperation::LockExclusive)?;
    }
    end_marked(dir);
    Ok(())
}

/// Ends the program and all that it started: politely, then not. Comes back when nothing is left.
fn end_marked(dir: &Path) {
    let began = Instant::now();
    loop {
        let left = marked(dir);
        if left.is_empty() {
            return;
        }
        let signal = if began.elapsed() < GRACE {
            Signal::TERM
        } else {
            Signal::KILL
        };
        for pid in left {
            let _ = kill_process(pid, signal);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes that have the mark in the environment that they began with.
fn marked(dir: &Path) -> Vec<Pid> {
    let mark = format!("{MARK}={}", dir.display());
    let is_marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(is_marked)
        .filter_map(Pid::from_raw)
        .collect()
}
