//! `POST /process/execute`: one script, one shell, one reply.
//!
//! The script is the shell's standard input, so a command that reads standard input eats the rest
//! of it. Output and errors share one pipe and arrive in the order they were written. The reply
//! waits until everyone who holds that pipe has closed it, and a timeout discards what there was.
//! A client that goes away changes nothing.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
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

use super::daemon::{Reply, Toolbox, parse};
use super::shell;
use crate::problem::{Fields, Problem};

struct Job {
    script: String,
    cwd: Option<String>,
    envs: BTreeMap<String, String>,
    timeout: Option<Duration>,
}

pub(super) async fn execute(State(toolbox): State<Arc<Toolbox>>, body: Bytes) -> Reply {
    let job = read(&body)?;
    // In a task of its own, which a closed connection does not cancel.
    tokio::spawn(async move { job.run(&toolbox).await })
        .await
        .map_err(Problem::internal)?
}

fn read(body: &Bytes) -> Result<Job, Problem> {
    let body = parse(body)?;
    let mut fields = Fields::of(&body)?;
    let script: String = fields.get("command", "a string").unwrap_or_default();
    let cwd: Option<String> = fields.get("cwd", "a string");
    let envs: BTreeMap<String, String> = fields
        .get("envs", "an object of strings")
        .unwrap_or_default();
    let timeout: Option<u32> = fields.get("timeout", "a non-negative integer");
    if let Some(name) = envs.keys().find(|name| !is_env_name(name)) {
        fields.complain(format!("invalid environment variable name: {name}"));
    }
    fields
        .finish()
        .map_err(|p| Problem::bad_request(format!("bad request: {}", p.message)))?;
    if script.trim().is_empty() {
        return Err(Problem::bad_request("bad request: command is required"));
    }
    let cwd = cwd.filter(|cwd| !cwd.is_empty());
    let timeout = timeout
        .filter(|s| *s > 0)
        .map(|s| Duration::from_secs(s.into()));
    Ok(Job {
        script,
        cwd,
        envs,
        timeout,
    })
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
        let script = self.script;
        if let Some(mut stdin) = child.stdin.take() {
            tokio::spawn(async move {
                // A shell that exits early does not read the rest.
                let _ = stdin.write_all(script.as_bytes()).await;
            });
        }
        let mut reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(Problem::internal)?;
        let finished = async {
            let mut output = Vec::new();
            let _ = reader.read_to_end(&mut output).await;
            child.wait().await.map(|status| (status, output))
        };
        tokio::pin!(finished);
        let limit = self.timeout.unwrap_or(Duration::from_secs(u32::MAX.into()));
        let (status, output) = match tokio::time::timeout(limit, &mut finished).await {
            Ok(ended) => ended.map_err(Problem::internal)?,
            Err(_) => {
                shell::signal_group(leader, libc::SIGKILL);
                let _ = finished.await;
                let message = "request timeout: command execution timeout";
                return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, message));
            }
        };
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
