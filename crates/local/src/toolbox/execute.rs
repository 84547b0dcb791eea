//! `POST /process/execute`: one script, one shell, one reply. `POST /process/code-run`: the same with
//! code of a language, whose interpreter reads it.
//!
//! The script is the shell's standard input, so a command that reads standard input eats the rest
//! of it. Output and errors share one pipe and arrive in the order they were written. The reply
//! waits until everyone who holds that pipe has closed it, but not for long after the shell has
//! ended, and a timeout discards what there was.
//! A client that goes away changes nothing.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bytes::Bytes;
use serde_json::json;
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::Child;

use super::daemon::{Reply, Toolbox, parse};
use super::shell;
use crate::problem::{Fields, Problem};

/// How long whoever holds the pipe after the shell's end holds the reply, too.
const HELD: Duration = Duration::from_secs(30);

struct Job {
    /// The command that the shell runs; none: its standard input is the script.
    command: Option<String>,
    input: String,
    cwd: Option<String>,
    envs: BTreeMap<String, String>,
    timeout: Option<Duration>,
}

pub(super) async fn execute(State(toolbox): State<Arc<Toolbox>>, body: Bytes) -> Reply {
    start(toolbox, read(&body)?).await
}

pub(super) async fn code_run(State(toolbox): State<Arc<Toolbox>>, body: Bytes) -> Reply {
    start(toolbox, read_code(&body)?).await
}

async fn start(toolbox: Arc<Toolbox>, job: Job) -> Reply {
    // In a task of its own, which a closed connection does not cancel.
    tokio::spawn(async move { job.run(&toolbox).await })
        .await
        .map_err(Problem::internal)?
}

fn parsed(body: &Bytes) -> Result<serde_json::Value, Problem> {
    parse(body).map_err(|problem| {
        let message = problem
            .message
            .replace("invalid body request", "invalid request body");
        Problem::bad_request(format!("bad request: {message}"))
    })
}

fn read(body: &Bytes) -> Result<Job, Problem> {
    let body = parsed(body)?;
    let mut fields = Fields::of(&body)?;
    let script: String = fields.get("command", "a string").unwrap_or_default();
    let cwd: Option<String> = fields.get("cwd", "a string");
    let (envs, timeout) = surroundings(&mut fields);
    finish(fields)?;
    if script.trim().is_empty() {
        return Err(Problem::bad_request(
            "bad request: command cannot be empty or whitespace-only",
        ));
    }
    Ok(Job {
        command: None,
        input: script,
        cwd: cwd.filter(|cwd| !cwd.is_empty()),
        envs,
        timeout,
    })
}

/// The interpreter reads the code from its standard input, and its arguments are words of a shell, as the daemon has it.
fn read_code(body: &Bytes) -> Result<Job, Problem> {
    let body = parsed(body)?;
    let mut fields = Fields::of(&body)?;
    let code: Option<String> = fields.get("code", "a string");
    let language: Option<String> = fields.get("language", "a string");
    let argv: Vec<String> = fields
        .get("argv", "an array of strings")
        .unwrap_or_default();
    let (envs, timeout) = surroundings(&mut fields);
    let argv = argv.join(" ");
    let command = match language.as_deref() {
        Some("python") => format!("python3 -u - {argv}"),
        Some("javascript") => format!("node - {argv}"),
        Some("typescript") => format!(
            "d=$(mktemp -d) && cat > \"$d/code.ts\" && npx --yes ts-node \"$d/code.ts\" {argv}; s=$?; rm -rf \"$d\"; exit $s"
        ),
        _ => {
            fields.complain("language must be python, javascript or typescript".to_owned());
            String::new()
        }
    };
    if code.is_none() {
        fields.complain("code must be a string".to_owned());
    }
    finish(fields)?;
    Ok(Job {
        command: Some(command),
        input: code.unwrap_or_default(),
        cwd: None,
        envs,
        timeout,
    })
}

/// The environment and the time limit that a request asks for.
fn surroundings(fields: &mut Fields<'_>) -> (BTreeMap<String, String>, Option<Duration>) {
    let envs: BTreeMap<String, String> = fields
        .get("envs", "an object of strings")
        .unwrap_or_default();
    let timeout: Option<u32> = fields.get("timeout", "a non-negative integer");
    if let Some(name) = envs.keys().find(|name| !is_env_name(name)) {
        fields.complain(format!("invalid environment variable name: {name}"));
    }
    let timeout = timeout.filter(|seconds| *seconds > 0);
    (envs, timeout.map(|s| Duration::from_secs(s.into())))
}

fn finish(fields: Fields<'_>) -> Result<(), Problem> {
    fields
        .finish()
        .map_err(|p| Problem::bad_request(format!("bad request: {}", p.message)))
}

/// `[A-Za-z_][A-Za-z0-9_]*`
fn is_env_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl Job {
    async fn run(self, toolbox: &Toolbox) -> Reply {
        let cwd = toolbox.home.join(self.cwd.as_deref().unwrap_or_default());
        let could_not_start = |error: std::io::Error| {
            let text = format!(
                "fork/exec {}: {}",
                toolbox.shell.display(),
                go_words(&error)
            );
            Ok(Json(json!({ "exitCode": -1, "result": text })))
        };
        if let Err(error) = enterable(&cwd) {
            return could_not_start(error);
        }
        let (reader, writer) = std::io::pipe().map_err(Problem::internal)?;
        let mut command = shell::command(&toolbox.shell);
        command.current_dir(&cwd);
        if let Some(given) = &self.command {
            command.arg("-c").arg(given);
        }
        if !toolbox.ignore_envs {
            command.envs(&self.envs);
        }
        command.stdin(std::process::Stdio::piped());
        command
            .stdout(writer.try_clone().map_err(Problem::internal)?)
            .stderr(writer);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return could_not_start(error),
        };
        drop(command); // It holds the pipe open too.
        let leader = child.id().unwrap_or_default();
        let input = self.input;
        if let Some(mut stdin) = child.stdin.take() {
            tokio::spawn(async move {
                // A shell that exits early does not read the rest.
                let _ = stdin.write_all(input.as_bytes()).await;
            });
        }
        let mut reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(Problem::internal)?;
        let (mut output, mut timed_out) = (Vec::new(), false);
        let status = tokio::select! {
            status = ended(&mut child, &mut reader, &mut output) => status,
            () = expiry(self.timeout) => {
                timed_out = true;
                shell::signal_group(leader, libc::SIGKILL);
                ended(&mut child, &mut reader, &mut output).await
            }
        };
        // Whoever still holds the pipe must not block on it.
        tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        if timed_out {
            let message = "request timeout: command execution timeout";
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, message));
        }
        let status = status.map_err(Problem::internal)?;
        let code = if status.signal().is_some() {
            -1
        } else {
            status.code().unwrap_or(-1)
        };
        let result = match String::from_utf8(output) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        Ok(Json(json!({ "exitCode": code, "result": result })))
    }
}

/// The end of the shell, and of its output if that is not held for too long.
async fn ended(
    child: &mut Child,
    reader: &mut pipe::Receiver,
    output: &mut Vec<u8>,
) -> std::io::Result<ExitStatus> {
    let reading = reader.read_to_end(output);
    tokio::pin!(reading);
    tokio::select! {
        status = child.wait() => {
            let _ = tokio::time::timeout(HELD, reading).await;
            status
        }
        _ = &mut reading => child.wait().await,
    }
}

async fn expiry(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

fn enterable(cwd: &Path) -> std::io::Result<()> {
    if !std::fs::metadata(cwd)?.is_dir() {
        return Err(std::io::Error::from_raw_os_error(libc::ENOTDIR));
    }
    Ok(())
}

/// The error as the Go daemon words it.
pub(super) fn go_words(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => "no such file or directory".to_owned(),
        Some(libc::ENOTDIR) => "not a directory".to_owned(),
        Some(libc::EACCES) => "permission denied".to_owned(),
        Some(libc::ENOSPC) => "no space left on device".to_owned(),
        Some(libc::EROFS) => "read-only file system".to_owned(),
        Some(libc::EISDIR) => "is a directory".to_owned(),
        Some(libc::ENOTEMPTY) => "directory not empty".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Daemon;

    /// What a script comes to, and how long its reply took.
    async fn run(script: &str) -> (serde_json::Value, Duration) {
        let toolbox = Toolbox {
            home: std::env::temp_dir(),
            own_pid_namespace: false,
            daemon: Daemon::default(),
            ignore_envs: false,
            shell: "/bin/sh".into(),
        };
        let job = Job {
            command: None,
            input: script.to_owned(),
            cwd: None,
            envs: BTreeMap::new(),
            timeout: None,
        };
        let start = tokio::time::Instant::now();
        let Ok(Json(reply)) = job.run(&toolbox).await else {
            panic!("{script} was refused");
        };
        (reply, start.elapsed())
    }

    /// The clock is stopped, and jumps when nothing but time is waited for.
    #[tokio::test(start_paused = true)]
    async fn a_background_child_with_the_pipe_holds_the_reply_for_30_seconds() {
        let (reply, took) = run("sleep 1000 & echo $!").await;
        assert_eq!(reply["exitCode"], 0);
        let pid = reply["result"].as_str().map(str::trim);
        let pid = pid.and_then(|pid| pid.parse().ok());
        super::super::tree::signal(&[pid.expect("a pid")], libc::SIGKILL);
        assert!(took >= HELD, "{took:?}");
    }

    #[tokio::test]
    async fn a_background_child_that_ends_holds_the_reply_no_longer() {
        let (reply, took) = run("(sleep 0.1; echo late) & echo early").await;
        assert_eq!(reply["result"], "early\nlate\n");
        assert!(took < HELD, "{took:?}");
    }
}
