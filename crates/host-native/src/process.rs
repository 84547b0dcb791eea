//! Child processes: git, and programs of the user's.
//!
//! Each has a process group of its own, so that it can be ended together with what it has started, and so
//! that a Ctrl-C of the terminal is not for it. It is ended when the future that waits for it is dropped,
//! at its time limit, and when this process ends in any way ([`watcher`]).

mod group;
mod watcher;

use crate::environment::{Environment, variable};
use crate::files;
use group::Group;
use host::{GitCall, GitError, GitOutput, Listener, Platform};
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// What is kept of standard error: the end of it.
const MAX_STDERR: usize = 64 * 1024;
/// How often the size of a program's output is looked at.
const WATCH: Duration = Duration::from_millis(200);

/// True while a process of this number lives on this machine.
#[cfg(unix)]
pub(crate) fn is_alive(pid: u32) -> bool {
    let Some(pid) = (i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    // Another user's process may not be signaled, and lives.
    !matches!(
        rustix::process::test_kill_process(pid),
        Err(rustix::io::Errno::SRCH)
    )
}

/// True while a process of this number lives on this machine, or if that cannot be found out.
#[cfg(not(unix))]
pub(crate) fn is_alive(pid: u32) -> bool {
    let filter = format!("PID eq {pid}");
    let list = std::process::Command::new("tasklist")
        .args(["/NH", "/FO", "CSV", "/FI", &filter])
        .output();
    let quoted = format!("\"{pid}\"");
    list.map_or(true, |list| {
        String::from_utf8_lossy(&list.stdout).contains(&quoted)
    })
}

/// A program as the environment finds it. The standard library looks in the child's PATH only after a `fork`,
/// which copies the page tables of this process; of a program that has a path it makes none.
async fn command(env: &Environment, program: &str) -> Command {
    let found = if cfg!(unix) && !program.contains('/') {
        let places = Platform::Linux.places_of(program, |name| variable(env, name));
        let first =
            tokio::task::spawn_blocking(|| places.into_iter().find(|place| is_program(place)));
        first.await.ok().flatten()
    } else {
        None
    };
    let Some(found) = found else {
        return Command::new(program);
    };
    let mut command = Command::new(found);
    #[cfg(unix)]
    command.arg0(program);
    command
}

/// True if this is a program by an absolute path: another one would be looked for in the child's directory.
fn is_program(place: &str) -> bool {
    #[cfg(unix)]
    let may_run = rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_ok();
    #[cfg(not(unix))]
    let may_run = false;
    place.starts_with('/') && may_run && Path::new(place).is_file()
}

/// The environment without the variables of git that are not named.
fn without_git<'a>(
    env: &'a Environment,
    keep: &'a [String],
) -> impl Iterator<Item = (&'a std::ffi::OsString, &'a std::ffi::OsString)> {
    env.iter().filter(|(name, _)| {
        let name = name.to_string_lossy();
        !name.to_ascii_uppercase().starts_with("GIT_") || keep.iter().any(|kept| *kept == name)
    })
}

pub(crate) async fn git(env: &Environment, call: GitCall) -> Result<GitOutput, GitError> {
    let not_run = |error: io::Error| GitError::NotRun(error.to_string());
    let mut command = command(env, "git").await;
    command
        .args(&call.args)
        .current_dir(&call.cwd)
        .env_clear()
        .envs(without_git(env, &call.keep))
        .env("LC_ALL", "C")
        .env("GIT_TERMINAL_PROMPT", "0")
        .envs(call.env.iter().map(|(name, value)| (name, value)))
        .stderr(Stdio::piped());
    let files = (call.stdin_file, call.stdout_file);
    let opened = tokio::task::spawn_blocking(move || opened(files)).await;
    let (stdin, stdout) = opened
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(not_run)?;
    command.stdin(stdin).stdout(stdout);
    let mut group = Group::start(&mut command).map_err(not_run)?;
    let whole = gathered(&mut group, &call.stdin, call.listener.as_ref());
    let output = match call.timeout_ms {
        0 => Ok(whole.await),
        limit => tokio::time::timeout(Duration::from_millis(limit), whole).await,
    };
    match output {
        Ok(output) => output.map_err(not_run),
        Err(_) => {
            group.end().await;
            let timeout_ms = call.timeout_ms;
            Err(GitError::TooSlow { timeout_ms })
        }
    }
}

/// Standard input and output of git: files, or pipes to this process. Git reads and writes the files itself:
/// only of a file can it tell that something is behind the pack in it.
fn opened((stdin, stdout): (Option<(String, u64)>, Option<String>)) -> io::Result<(Stdio, Stdio)> {
    let stdin = match stdin {
        Some((path, offset)) => files::opened_at(&path, offset)?.into(),
        None => Stdio::piped(),
    };
    let stdout = match stdout {
        Some(path) => (files::private().create(true).truncate(true))
            .open(path)?
            .into(),
        None => Stdio::piped(),
    };
    Ok((stdin, stdout))
}

/// Feeds a child and takes all that it writes, until it has ended.
async fn gathered(
    group: &mut Group,
    input: &[u8],
    listener: Option<&Listener>,
) -> io::Result<GitOutput> {
    let (stdin, stdout, stderr) = group.pipes();
    let fed = async {
        if let Some(mut stdin) = stdin {
            // A child that wants no more is fine; its end says whether it was.
            let _ = stdin.write_all(input).await;
        }
    };
    let heard = async {
        let mut bytes = Vec::new();
        if let Some(mut stdout) = stdout {
            stdout.read_to_end(&mut bytes).await?;
        }
        io::Result::Ok(bytes)
    };
    // The child is waited for only after its pipes have ended: until then its number belongs to it, and
    // ending its group can hit nobody else.
    let ((), stdout, stderr) = tokio::join!(fed, heard, last_of(stderr, listener));
    let status = group.ended().await?;
    Ok(GitOutput {
        code: status.code().unwrap_or(-1),
        stdout: stdout?,
        stderr: stderr?,
    })
}

/// The end of what a child writes to its standard error, all of which the listener is told.
async fn last_of(
    stderr: Option<impl AsyncRead + Unpin>,
    listener: Option<&Listener>,
) -> io::Result<String> {
    let (mut last, mut part) = (Vec::new(), vec![0; 4096]);
    if let Some(mut stderr) = stderr {
        while let length @ 1.. = stderr.read(&mut part).await? {
            last.extend_from_slice(&part[..length]);
            if last.len() > 2 * MAX_STDERR {
                last.drain(..last.len() - MAX_STDERR);
            }
            if let Some(listener) = listener {
                listener.0.hear(&String::from_utf8_lossy(&part[..length]));
            }
        }
    }
    let start = last.len().saturating_sub(MAX_STDERR);
    // Not from the middle of a letter on.
    let next = |at: &usize| last.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let start = if start == 0 {
        0
    } else {
        (start..=last.len()).find(next).unwrap_or(start)
    };
    Ok(String::from_utf8_lossy(&last[start..]).into_owned())
}

pub(crate) async fn output_of(
    env: &Environment,
    program: &str,
    args: &[&str],
    cwd: &str,
    timeout_ms: u64,
    max_bytes: usize,
) -> Result<String, String> {
    let words = |error: io::Error| error.to_string();
    // Into a file: OpenCode ends without the rest of what a pipe has not taken yet (1.18.33, November 2026).
    let made = tokio::task::spawn_blocking(|| {
        let dir = tempfile::Builder::new()
            .prefix("opencode-output-")
            .tempdir()?;
        let file = files::private()
            .create_new(true)
            .open(dir.path().join("output"))?;
        io::Result::Ok((dir, file))
    });
    let made = made
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    let (dir, file) = made.map_err(words)?;
    let path = dir.path().join("output");
    let mut command = command(env, program).await;
    command
        .args(args)
        .current_dir(cwd)
        .env_clear()
        .envs(env)
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null());
    let mut group = Group::start(&mut command).map_err(|error| format!("{program}: {error}"))?;
    // The command holds the file open as well.
    drop(command);
    let status = tokio::select! {
        status = group.ended() => status.map_err(words).and_then(|status| match status.code() {
            Some(0) => Ok(()),
            Some(code) => Err(format!("it ended with exit code {code}")),
            None => Err(format!("it was ended: {status}")),
        }),
        () = tokio::time::sleep(Duration::from_millis(timeout_ms)) => {
            Err(format!("it did not end within {} s", timeout_ms as f64 / 1000.0))
        }
        () = grown(&path, max_bytes) => Err(too_much(max_bytes)),
    };
    group.end().await;
    if size(&path).await > max_bytes as u64 {
        return Err(too_much(max_bytes));
    }
    status?;
    let output = tokio::fs::read(&path).await.map_err(words)?;
    Ok(String::from_utf8_lossy(&output).into_owned())
}

fn too_much(max_bytes: usize) -> String {
    format!("it wrote more than {max_bytes} bytes")
}

async fn size(path: &Path) -> u64 {
    let found = tokio::fs::metadata(path).await;
    found.map_or(0, |found| found.len())
}

/// Comes back when a file is larger than allowed.
async fn grown(path: &Path, max_bytes: usize) {
    while size(path).await <= max_bytes as u64 {
        tokio::time::sleep(WATCH).await;
    }
}
