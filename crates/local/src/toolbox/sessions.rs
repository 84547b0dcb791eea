//! Sessions: one long-lived shell each, commands one after another, logs in files.
//!
//! Every command goes to the shell's standard input wrapped in [`WRAPPER`], so the state of the
//! shell persists and so do the daemon's traps: `exit` ends the session without an exit code, a
//! background child that keeps the output open blocks completion, a partial line waits for its end.
//! Each line of a log is prefixed with `01 01 01` (output) or `02 02 02` (errors).
//!
//! One deviation: a followed log ends as soon as the command has, not a second later.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use super::daemon::{Reply, parse};
use super::{shell, tree};
use crate::ids;
use crate::mutex::lock;
use crate::options::Daemon;
use crate::problem::{Fields, Problem};
use crate::route::{self, Route, get, post};

const ENTRYPOINT: &str = "entrypoint";
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);
const OUT: &[u8] = b"\x01\x01\x01";
const ERR: &[u8] = b"\x02\x02\x02";

/// `@DIR@`, `@INPUT@` and `@COMMAND@` are filled in. The readers run beside the command, so that
/// `cd` and `export` in it act on the session's own shell.
const WRAPPER: &str = r#"{
__daytona_dir='@DIR@'
( while IFS= read -r line || [ -n "$line" ]; do printf '\001\001\001%s\n' "$line"; done < "$__daytona_dir/out" >> "$__daytona_dir/log" ) & __daytona_out=$!
( while IFS= read -r line || [ -n "$line" ]; do printf '\002\002\002%s\n' "$line"; done < "$__daytona_dir/err" >> "$__daytona_dir/log" ) & __daytona_err=$!
{
@COMMAND@
} < '@INPUT@' > '@DIR@/out' 2> '@DIR@/err'
__daytona_code=$?
wait "$__daytona_out" "$__daytona_err"
echo "$__daytona_code" > '@DIR@/code.new'
mv '@DIR@/code.new' '@DIR@/code'
}
"#;

pub(super) struct Sessions {
    /// Home and work directory.
    home: PathBuf,
    shell: PathBuf,
    daemon: Daemon,
    dir: PathBuf,
    all: Mutex<HashMap<String, Arc<Session>>>,
}

struct Session {
    id: String,
    leader: u32,
    stdin: tokio::sync::Mutex<ChildStdin>,
    commands: Mutex<Vec<Arc<Command>>>,
    ended: tokio::sync::watch::Sender<bool>,
    /// Its shell is gone, be it deleted or not.
    exited: AtomicBool,
}

struct Command {
    id: String,
    text: String,
    dir: PathBuf,
    /// The writing end of an async command's input; keeps it open.
    input: Option<File>,
    echo: bool,
}

impl Sessions {
    pub(super) fn new(home: &FsPath, shell: &FsPath, daemon: Daemon) -> Self {
        let dir = home.join(".daytona/sessions");
        // What is left there is from before a restart, and those ids are dead.
        let _ = fs::remove_dir_all(&dir);
        Self {
            home: home.to_owned(),
            shell: shell.to_owned(),
            daemon,
            dir,
            all: Mutex::default(),
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Session>, Problem> {
        let session = lock(&self.all).get(id).cloned();
        session.ok_or_else(|| Problem::not_found("not found: session not found"))
    }
}

impl Session {
    fn command(&self, id: &str) -> Result<Arc<Command>, Problem> {
        let command = lock(&self.commands).iter().find(|c| c.id == id).cloned();
        command.ok_or_else(|| Problem::not_found("not found: command not found"))
    }

    fn json(&self) -> Value {
        let commands: Vec<Value> = lock(&self.commands).iter().map(|c| c.json()).collect();
        json!({ "sessionId": self.id, "commands": commands })
    }
}

impl Command {
    fn exit_code(&self) -> Option<i32> {
        fs::read_to_string(self.dir.join("code"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    fn json(&self) -> Value {
        let mut json = json!({ "id": self.id, "command": self.text });
        if let Some(code) = self.exit_code() {
            json["exitCode"] = json!(code);
        }
        json
    }

    fn log(&self) -> Vec<u8> {
        fs::read(self.dir.join("log")).unwrap_or_default()
    }
}

pub(super) fn routes() -> Vec<Route<Arc<Sessions>>> {
    vec![
        get("/process/session", list),
        post("/process/session", create),
        get("/process/session/entrypoint", entrypoint),
        get("/process/session/entrypoint/logs", entrypoint_logs),
        get("/process/session/{sessionId}", read),
        route::delete("/process/session/{sessionId}", delete),
        post("/process/session/{sessionId}/exec", exec),
        get("/process/session/{sessionId}/command/{commandId}", command),
        get(
            "/process/session/{sessionId}/command/{commandId}/logs",
            logs,
        ),
        post(
            "/process/session/{sessionId}/command/{commandId}/input",
            input,
        ),
    ]
}

async fn entrypoint() -> Json<Value> {
    Json(json!({ "sessionId": ENTRYPOINT, "commands": [] }))
}

async fn entrypoint_logs() -> Json<Value> {
    Json(json!({ "output": "", "stdout": "", "stderr": "" }))
}

async fn create(State(sessions): State<Arc<Sessions>>, body: Bytes) -> Result<StatusCode, Problem> {
    let body = parse(&body)?;
    let id = body["sessionId"].as_str().unwrap_or_default().to_owned();
    let is_safe = id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if id == ENTRYPOINT {
        let message =
            "bad request: provided session ID is reserved and cannot be created/overridden";
        return Err(Problem::bad_request(message));
    }
    if id.is_empty() || !is_safe || id.starts_with('.') {
        return Err(Problem::bad_request("bad request: invalid session id"));
    }
    let mut all = lock(&sessions.all);
    if all.contains_key(&id) {
        return Err(Problem::conflict("conflict: session already exists"));
    }
    fs::create_dir_all(sessions.dir.join(&id)).map_err(Problem::internal)?;
    let mut command = shell::command(&sessions.shell);
    command
        .current_dir(&sessions.home)
        .stdin(std::process::Stdio::piped());
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut child = command.spawn().map_err(Problem::internal)?;
    let (leader, stdin) = (child.id().unwrap_or_default(), child.stdin.take());
    let stdin = stdin.ok_or_else(|| Problem::internal("no standard input"))?;
    let session = Arc::new(Session {
        id: id.clone(),
        leader,
        stdin: tokio::sync::Mutex::new(stdin),
        commands: Mutex::default(),
        ended: tokio::sync::watch::Sender::new(false),
        exited: AtomicBool::new(false),
    });
    let watched = session.clone();
    tokio::spawn(async move {
        let _ = child.wait().await;
        watched.exited.store(true, Ordering::Relaxed);
    });
    all.insert(id, session);
    Ok(StatusCode::CREATED)
}

async fn list(State(sessions): State<Arc<Sessions>>) -> Json<Value> {
    Json(lock(&sessions.all).values().map(|s| s.json()).collect())
}

async fn read(State(sessions): State<Arc<Sessions>>, Path(id): Path<String>) -> Reply {
    Ok(Json(sessions.find(&id)?.json()))
}

/// Reserved, and so deleted by nobody.
pub(super) async fn delete_entrypoint() -> Problem {
    Problem::bad_request("bad request: can't delete entrypoint session")
}

async fn delete(
    State(sessions): State<Arc<Sessions>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let session = sessions.find(&id)?;
    lock(&sessions.all).remove(&id);
    let leader = session.leader as i32;
    let family = || {
        let mut pids = tree::descendants(leader);
        pids.push(leader);
        pids.retain(|pid| fs::metadata(format!("/proc/{pid}")).is_ok() && !tree::is_zombie(*pid));
        pids
    };
    // The tree is read before its root dies and its children lose their parent.
    let mut doomed = family();
    tree::signal(&doomed, libc::SIGTERM);
    shell::signal_group(session.leader, libc::SIGTERM);
    let deadline = tokio::time::Instant::now() + GRACE;
    while !doomed.is_empty() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
        doomed.retain(|pid| fs::metadata(format!("/proc/{pid}")).is_ok() && !tree::is_zombie(*pid));
    }
    tree::signal(&doomed, libc::SIGKILL);
    shell::signal_group(session.leader, libc::SIGKILL);
    session.ended.send_replace(true);
    let _ = fs::remove_dir_all(sessions.dir.join(&id));
    Ok(StatusCode::NO_CONTENT)
}

async fn exec(
    State(sessions): State<Arc<Sessions>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    not_the_entrypoint(&id, "execute command in entrypoint session")?;
    let body = parse(&body)?;
    let mut fields = Fields::of(&body)?;
    let text: String = fields.get("command", "a string").unwrap_or_default();
    let run_async = fields.get("runAsync", "a boolean").unwrap_or(false)
        || fields.get("async", "a boolean").unwrap_or(false);
    let quiet = fields
        .get("suppressInputEcho", "a boolean")
        .unwrap_or(false);
    fields.finish()?;
    if text.trim().is_empty() {
        return Err(Problem::bad_request("bad request: command cannot be empty"));
    }
    let format = Format::of(&headers);
    let done = run(&sessions, &id, text, run_async, !quiet, format).await;
    let reply = done.map_err(|problem| match sessions.daemon {
        // Whatever it was, this version says that it is its own fault.
        Daemon::V0_190 => {
            let message = format!("failed to execute command: {}", problem.message);
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, message).code("")
        }
        Daemon::V0_216 => problem,
    })?;
    let status = if run_async {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(reply)).into_response())
}

fn not_the_entrypoint(id: &str, verb: &str) -> Result<(), Problem> {
    match id {
        ENTRYPOINT => Err(Problem::bad_request(format!("bad request: can't {verb}"))),
        _ => Ok(()),
    }
}

/// Runs a command and gives the whole answer; of one that goes on, the id and nothing else yet.
async fn run(
    sessions: &Sessions,
    id: &str,
    text: String,
    run_async: bool,
    echo: bool,
    format: Format,
) -> Result<Value, Problem> {
    let session = sessions.find(id)?;
    let command = start(sessions, &session, text, run_async, echo).await?;
    let mut reply = json!({
        "cmdId": command.id, "output": null, "stdout": null, "stderr": null, "exitCode": null,
    });
    if run_async {
        return Ok(reply);
    }
    let mut ended = session.ended.subscribe();
    let mut pause = Duration::from_millis(1);
    let code = loop {
        if let Some(code) = command.exit_code() {
            break code;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = ended.wait_for(|ended| *ended) => {
                return Err(Problem::new(StatusCode::GONE, "gone: session ended").code("SESSION_ENDED"));
            }
        }
        pause = (pause * 2).min(POLL);
    };
    let log = command.log();
    reply["exitCode"] = json!(code);
    reply["output"] = json!(format.text(&log));
    if format == Format::Json {
        let (stdout, stderr) = split(&log);
        reply["stdout"] = json!(stdout);
        reply["stderr"] = json!(stderr);
    }
    Ok(reply)
}

async fn start(
    sessions: &Sessions,
    session: &Session,
    text: String,
    run_async: bool,
    echo: bool,
) -> Result<Arc<Command>, Problem> {
    let id = ids::uuid();
    let dir = sessions.dir.join(&session.id).join(&id);
    fs::create_dir_all(&dir).map_err(Problem::internal)?;
    fs::write(dir.join("log"), b"").map_err(Problem::internal)?;
    for name in ["out", "err"] {
        make_fifo(&dir.join(name))?;
    }
    let (input, input_path) = if run_async {
        let path = dir.join("input");
        make_fifo(&path)?;
        // Both ways, so that neither this open nor the shell's waits for the other.
        let open = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path);
        (Some(open.map_err(Problem::internal)?), path)
    } else {
        (None, PathBuf::from("/dev/null"))
    };
    let quoted = |path: &FsPath| path.display().to_string().replace('\'', r"'\''");
    let script = WRAPPER
        .replace("@DIR@", &quoted(&dir))
        .replace("@INPUT@", &quoted(&input_path))
        .replace("@COMMAND@", &text);
    let command = Arc::new(Command {
        id,
        text,
        dir,
        input,
        echo,
    });
    lock(&session.commands).push(command.clone());
    let mut stdin = session.stdin.lock().await;
    let sent = async {
        stdin.write_all(script.as_bytes()).await?;
        stdin.flush().await
    };
    sent.await
        .map_err(|error| Problem::internal(format!("failed to execute command: {error}")))?;
    Ok(command)
}

fn make_fifo(path: &FsPath) -> Result<(), Problem> {
    let name = CString::new(path.as_os_str().as_bytes()).map_err(Problem::internal)?;
    // SAFETY: `name` is a C string that outlives the call.
    if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
        return Err(Problem::internal(std::io::Error::last_os_error()));
    }
    Ok(())
}

async fn command(
    State(sessions): State<Arc<Sessions>>,
    Path((session, command)): Path<(String, String)>,
) -> Reply {
    Ok(Json(sessions.find(&session)?.command(&command)?.json()))
}

async fn input(
    State(sessions): State<Arc<Sessions>>,
    Path((session, command)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    not_the_entrypoint(&session, "send input to entrypoint session")?;
    let body = parse(&body)?;
    let session = sessions.find(&session)?;
    let gone = |message: String, code| {
        let problem = Problem::new(StatusCode::GONE, message);
        match sessions.daemon {
            Daemon::V0_190 => problem,
            Daemon::V0_216 => problem.code(code),
        }
    };
    if session.exited.load(Ordering::Relaxed) {
        let message = "gone: session process has exited".to_owned();
        return Err(gone(message, "SESSION_ENDED"));
    }
    let command = session.command(&command)?;
    if let Some(code) = command.exit_code() {
        let message = format!("gone: command has already completed with exit code {code}");
        return Err(gone(message, "COMMAND_ALREADY_COMPLETED"));
    }
    let mut data = body["data"].as_str().unwrap_or_default().to_owned();
    if !data.ends_with('\n') {
        data.push('\n');
    }
    if let Some(mut input) = command.input.as_ref() {
        input
            .write_all(data.as_bytes())
            .map_err(Problem::internal)?;
    }
    if command.echo {
        let log = OpenOptions::new()
            .append(true)
            .open(command.dir.join("log"));
        let line = [OUT, data.as_bytes()].concat();
        let _ = log.and_then(|mut log| log.write_all(&line));
    }
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Follow {
    #[serde(default)]
    follow: bool,
}

async fn logs(
    State(sessions): State<Arc<Sessions>>,
    Path((session, command)): Path<(String, String)>,
    Query(query): Query<Follow>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let session = sessions.find(&session)?;
    let command = session.command(&command)?;
    if let (Ok(upgrade), true) = (upgrade, query.follow) {
        let offered = headers
            .get("sec-websocket-protocol")
            .and_then(|v| v.to_str().ok());
        // A client that offers subprotocols needs one of them back.
        let first = offered
            .and_then(|v| v.split(',').next())
            .unwrap_or_default()
            .trim()
            .to_owned();
        let upgrade = if first.is_empty() {
            upgrade
        } else {
            upgrade.protocols([first])
        };
        return Ok(upgrade.on_upgrade(move |socket| follow(socket, session, command)));
    }
    let log = command.log();
    Ok(match Format::of(&headers) {
        Format::Json => {
            let (stdout, stderr) = split(&log);
            let output = text_of(&log);
            Json(json!({ "output": output, "stdout": stdout, "stderr": stderr })).into_response()
        }
        format => format.text(&log).into_response(),
    })
}

async fn follow(mut socket: WebSocket, session: Arc<Session>, command: Arc<Command>) {
    let mut sent = 0;
    loop {
        // Asked before the log is read, so the log of an ended command is complete.
        let ended = command.exit_code().is_some() || *session.ended.borrow();
        let log = command.log();
        if log.len() > sent {
            let chunk = Bytes::copy_from_slice(&log[sent..]);
            sent = log.len();
            if socket.send(Message::Binary(chunk)).await.is_err() {
                return;
            }
        }
        if ended {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            message = socket.recv() => {
                if !matches!(message, Some(Ok(_))) {
                    return;
                }
            }
        }
    }
    let close = CloseFrame {
        code: close_code::NORMAL,
        reason: "".into(),
    };
    let _ = socket.send(Message::Close(Some(close))).await;
}

/// What a client's SDK version entitles it to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Prefixed,
    Plain,
}

impl Format {
    fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .unwrap_or_default()
        };
        let version = text("x-daytona-sdk-version");
        let mut parts = version
            .trim_start_matches('v')
            .split(['.', '-'])
            .map(str::parse::<u32>);
        let mut part = || parts.next().and_then(Result::ok).unwrap_or(0);
        if (part(), part()) >= (0, 167) {
            Self::Json
        } else if text("x-daytona-split-output") == "true" {
            Self::Prefixed
        } else {
            Self::Plain
        }
    }

    fn text(self, log: &[u8]) -> String {
        match self {
            Self::Plain => log
                .split_inclusive(|b| *b == b'\n')
                .map(|line| text_of(bare(line)))
                .collect(),
            _ => text_of(log),
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bare(line: &[u8]) -> &[u8] {
    line.strip_prefix(OUT)
        .or_else(|| line.strip_prefix(ERR))
        .unwrap_or(line)
}

/// Output and errors of a log.
fn split(log: &[u8]) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for line in log.split_inclusive(|b| *b == b'\n') {
        let to = if line.starts_with(ERR) {
            &mut stderr
        } else {
            &mut stdout
        };
        to.extend_from_slice(bare(line));
    }
    (text_of(&stdout), text_of(&stderr))
}
