//! The request's side of a job: start it, ask it, stop it.

use super::list;
use super::wire::{Answer, Ask, BACKGROUND, DONE, OUT, Spec, address, is_same_user, runs};
use crate::answer::{error, sandbox};
use crate::input;
use crate::storage::Storage;
use protocol::{
    Code, JobStop, JobWait, Outcome, StopReason, ToolCall, ToolError, ToolOutput, Wait, args,
};
use serde_json::{Value, json};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Most that one look at a job shows.
const NEWS_BYTES: u64 = 50 * 1024;
const MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Starts the command, or asks for it if this id was started before (then the first value is true).
pub(crate) fn start(
    storage: &Storage,
    id: &str,
    call: &ToolCall,
    bash: &args::Bash,
) -> (bool, Answer) {
    let ask = Ask {
        wait: call.wait,
        ..Ask::default()
    };
    let listener = match address(id).and_then(|address| UnixListener::bind_addr(&address)) {
        Ok(listener) => listener,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            return (true, ask_job(storage, id, ask));
        }
        Err(error) => {
            return (
                false,
                Err(sandbox(format!(
                    "cannot make a socket for the command: {error}"
                ))),
            );
        }
    };
    let dir = match make_dir(storage, id) {
        Ok(dir) => dir,
        // The name is free and the directory is there: that job is over.
        Err(Existing) => {
            drop(listener);
            return (true, recall(storage, id));
        }
    };
    (
        false,
        spawn(listener, id, call, bash, dir)
            .and_then(|stream| converse(stream, ask).map_err(|_| lost(storage, id))?),
    )
}

/// Waits for news of a job.
pub(crate) fn wait(storage: &Storage, wait: &JobWait) -> Answer {
    ask_job(
        storage,
        &wait.job,
        Ask {
            offset: wait.offset,
            wait: wait.wait,
            ..Ask::default()
        },
    )
}

/// Stops a job and answers with what it printed.
pub(crate) fn stop(storage: &Storage, stop: &JobStop) -> Answer {
    ask_job(
        storage,
        &stop.job,
        Ask {
            stop: Some(stop.reason),
            ..Ask::default()
        },
    )
}

/// Looks after a job in the background, for the model: what is new, and whether it still runs.
pub(crate) fn visit(storage: &Storage, id: &str, args: &args::Job) -> Answer {
    let Some(job) = args.job.as_deref().filter(|job| !job.is_empty()) else {
        if args.input.is_some() || args.stop == Some(true) {
            let why = "`job` is missing: it names the command that `input` or `stop` is for. Without these two, the tool lists the commands that run.";
            return Err(error(Code::Tool, why));
        }
        return Ok(Outcome::Done(list::list(storage)));
    };
    let wait = args.wait.unwrap_or(1_000).min(10_000);
    let ask = Ask {
        offset: args.offset,
        wait: Wait {
            output_ms: wait.min(Wait::default().output_ms),
            max_ms: wait,
        },
        stop: (args.stop == Some(true)).then_some(StopReason::Asked),
        input: args.input.clone().map(|input| (id.to_string(), input)),
    };
    let shown = |news: &str, offset: u64, note: &str, exit: Value| {
        let text = if news.is_empty() {
            "(no new output)"
        } else {
            news
        };
        Outcome::Done(ToolOutput {
            title: job.to_string(),
            output: text.to_string() + &protocol::shell_note(note),
            metadata: json!({ "job": job, "output": news, "offset": offset, "exit": exit, "truncated": false }),
            attachments: Vec::new(),
        })
    };
    Ok(match ask_job(storage, job, ask)? {
        Outcome::Running(state) => shown(
            &state.output,
            state.offset,
            "The command still runs.",
            Value::Null,
        ),
        Outcome::Done(done) => {
            let exit = done.metadata.get("exit").cloned().unwrap_or_default();
            let (news, offset) = rest(storage, job, &done, args.offset);
            let note = match exit.as_i64() {
                Some(code) => format!("The command has ended with exit code {code}."),
                None => "The command has ended: it was stopped, or its time was over.".to_string(),
            };
            shown(&news, offset, &note, exit)
        }
        other => other,
    })
}

/// What a job that is over printed after `offset`, and how much it printed in all.
fn rest(storage: &Storage, job: &str, done: &ToolOutput, offset: u64) -> (String, u64) {
    let total = done.metadata.get("bytes").and_then(Value::as_u64);
    let read = || -> Option<String> {
        let mut file = File::open(storage.find("jobs", job)?.join(OUT)).ok()?;
        // The file of a long output lacks its middle. Then it has another length, and an offset in the
        // output says nothing about the file.
        if Some(file.metadata().ok()?.len()) != total {
            return None;
        }
        let from = offset.max(total?.saturating_sub(NEWS_BYTES));
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut bytes = Vec::new();
        file.take(NEWS_BYTES).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    // Begun in the foreground, a short output is not filed: all of it is in the answer.
    let Some(total) = total else {
        let whole = done.metadata.get("output").and_then(Value::as_str);
        let is_whole = done.metadata.get("truncated") == Some(&Value::Bool(false));
        let news = usize::try_from(offset).ok().and_then(|at| whole?.get(at..));
        return match news.filter(|_| is_whole) {
            Some(news) => (news.to_string(), offset + news.len() as u64),
            None => (done.output.clone(), offset),
        };
    };
    if total <= offset && total > 0 {
        return (String::new(), total);
    }
    (read().unwrap_or_else(|| done.output.clone()), total)
}

struct Existing;

fn make_dir(storage: &Storage, id: &str) -> Result<Option<PathBuf>, Existing> {
    if storage.find("jobs", id).is_some() {
        return Err(Existing);
    }
    let Some(jobs) = storage.sub("jobs") else {
        return Ok(None);
    };
    if storage.is_due("prune-jobs") {
        prune(&jobs);
    }
    let dir = jobs.join(id);
    match DirBuilder::new().mode(0o700).create(&dir) {
        Ok(()) => Ok(Some(dir)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Existing),
        // The command matters more than its record.
        Err(_) => Ok(None),
    }
}

/// Starts the supervisor. Its stdin is the listener and its stdout the first connection: the only
/// two descriptors that it shall have, handed over without `unsafe`.
fn spawn(
    listener: UnixListener,
    id: &str,
    call: &ToolCall,
    bash: &args::Bash,
    dir: Option<PathBuf>,
) -> Result<UnixStream, ToolError> {
    let workdir = bash.workdir.as_deref().unwrap_or_default();
    let cwd = tools::fs::resolve(Path::new(&call.cwd), workdir);
    let undo = |error: ToolError| {
        if let Some(dir) = &dir {
            let _ = fs::remove_dir_all(dir);
        }
        error
    };
    let spec = Spec {
        command: bash.command.clone(),
        cwd,
        env: call.env.clone(),
        timeout_ms: bash.timeout.unwrap_or(match bash.background {
            Some(true) => u64::MAX,
            _ => args::DEFAULT_TIMEOUT_MS,
        }),
        background: bash.background == Some(true),
        dir: dir.clone(),
        job: id.to_string(),
    };
    if let Some(why) = refusal(&spec) {
        return Err(undo(error(Code::Tool, why)));
    }
    if let Some(dir) = &dir {
        list::note(dir, &spec.command);
        if spec.background {
            let _ = File::create(dir.join(BACKGROUND));
        }
    }
    let begin = || -> io::Result<UnixStream> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| input::is_request_variable(name)) {
            command.env_remove(name);
        }
        command
            .arg("--supervise")
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            // A removed working directory must not stop the supervisor.
            .current_dir("/")
            .spawn()?;
        drop(command);
        ours.write_all(serde_json::to_string(&spec)?.as_bytes())?;
        ours.write_all(b"\n")?;
        Ok(ours)
    };
    begin().map_err(|error| undo(sandbox(format!("cannot start the command: {error}"))))
}

/// What OpenCode's own bash says where it cannot start.
fn refusal(spec: &Spec) -> Option<String> {
    if spec.command.is_empty() {
        return Some("The argument 'file' cannot be empty. Received ''".to_string());
    }
    if !spec.cwd.exists() {
        let cwd = spec.cwd.display();
        return Some(format!("NotFound: FileSystem.access ({cwd})"));
    }
    let shell = spec.shell();
    (!spec.cwd.is_dir()).then(|| {
        let shell = shell.display();
        format!("ENOTDIR: not a directory, posix_spawn '{shell}'")
    })
}

fn ask_job(storage: &Storage, job: &str, ask: Ask) -> Answer {
    if !protocol::is_id(job) {
        return Err(unknown(job));
    }
    let connect = || {
        let stream = UnixStream::connect_addr(&address(job)?)?;
        if is_same_user(&stream) {
            Ok(stream)
        } else {
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        }
    };
    match connect().and_then(|stream| converse(stream, ask)) {
        Ok(answer) => answer,
        Err(_) => recall(storage, job),
    }
}

fn converse(mut stream: UnixStream, ask: Ask) -> io::Result<Answer> {
    stream.set_read_timeout(Some(
        Duration::from_millis(ask.wait.max_ms) + Duration::from_secs(30),
    ))?;
    stream.write_all(serde_json::to_string(&ask)?.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// The answer of a job that has no supervisor any more.
fn recall(storage: &Storage, job: &str) -> Answer {
    let done = storage
        .find("jobs", job)
        .and_then(|dir| fs::read(dir.join(DONE)).ok());
    match done.and_then(|text| serde_json::from_slice::<Answer>(&text).ok()) {
        Some(answer) => answer,
        None => Err(lost(storage, job)),
    }
}

fn unknown(job: &str) -> ToolError {
    error(
        Code::NoSuchJob,
        format!(
            "There is no job {job} here: the name is wrong, or the sandbox was restarted. If it was stopped in between (Daytona stops one that nobody uses), its processes ended with it: start the command again."
        ),
    )
}

fn lost(storage: &Storage, job: &str) -> ToolError {
    let Some(dir) = storage.find("jobs", job) else {
        return unknown(job);
    };
    let mut message = "The sandbox was restarted, or the command's supervisor was killed, while the command ran. How it ended is unknown: check its effects before you run it again.".to_string();
    let output = last_part(&dir.join(OUT)).unwrap_or_default();
    if !output.is_empty() {
        message += &format!("\n\nOutput so far:\n{output}");
    }
    error(Code::NoSuchJob, message)
}

/// The last 30,000 bytes.
fn last_part(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(30_000)))?;
    let mut bytes = Vec::new();
    file.take(30_000).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Removes old jobs, and the oldest ones while they take too much, but none that still runs.
fn prune(jobs: &Path) {
    let mut found: Vec<(SystemTime, u64, String, PathBuf)> = fs::read_dir(jobs)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let modified = entry.metadata().ok()?.modified().ok()?;
            let size: u64 = fs::read_dir(entry.path())
                .ok()?
                .flatten()
                .filter_map(|file| file.metadata().ok())
                .map(|m| m.len())
                .sum();
            Some((
                modified,
                size + 4096,
                entry.file_name().into_string().ok()?,
                entry.path(),
            ))
        })
        .collect();
    found.sort_by_key(|job| std::cmp::Reverse(job.0));
    let mut total = 0;
    for (modified, size, job, path) in found {
        total += size;
        let age = SystemTime::now()
            .duration_since(modified)
            .unwrap_or_default();
        if age < MAX_AGE && total < MAX_BYTES {
            continue;
        }
        if !runs(&job) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// How many commands still run in the background. Those that found no place on disk are not known.
pub(crate) fn count_background(storage: &Storage) -> u32 {
    let dirs = storage
        .all("jobs")
        .filter_map(|jobs| fs::read_dir(jobs).ok());
    dirs.flatten()
        .flatten()
        .filter(|job| job.path().join(BACKGROUND).exists() && !job.path().join(DONE).exists())
        .filter(|job| job.file_name().to_str().is_some_and(runs))
        .count() as u32
}
