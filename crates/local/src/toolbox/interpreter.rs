//! `/process/interpreter`: Python whose state stays from one request to the next.
//!
//! A context is a process that runs `interpreter.py` and is started with its first request. Requests of one
//! context run one after the other; one that takes too long, or whose client goes away, ends with an
//! interrupt, and with its process if that does not help.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::daemon::{Reply, parse};
use super::shell;
use crate::clock::{now_ms, rfc3339};
use crate::ids;
use crate::mutex::lock;
use crate::problem::{Fields, Problem};
use crate::route::{self, Route};

const PROGRAM: &str = include_str!("interpreter.py");
/// How long a request may take that does not say.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long an interrupt may take.
const GRACE: Duration = Duration::from_secs(2);
/// The close code of a request that took too long.
const TIMEOUT_CODE: u16 = 4008;

/// All contexts of a sandbox.
pub(super) struct Interpreter {
    home: PathBuf,
    /// The one of requests that name none.
    default: Arc<Context>,
    made: Mutex<BTreeMap<String, Arc<Context>>>,
}

struct Context {
    id: String,
    cwd: PathBuf,
    created_at: i64,
    /// Locks are given in the order in which they are asked for.
    process: tokio::sync::Mutex<Option<Process>>,
}

struct Process {
    child: Child,
    requests: ChildStdin,
    messages: Lines<BufReader<ChildStdout>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    code: String,
    context_id: Option<String>,
    #[serde(default)]
    envs: Option<BTreeMap<String, String>>,
    /// Seconds; 0 is no limit.
    timeout: Option<u64>,
}

/// How a request ended.
enum End {
    Done,
    TimedOut,
    ClientGone,
    /// The process ended, or could not be started.
    Died(String),
}

pub(super) fn routes() -> Vec<Route<Arc<Interpreter>>> {
    vec![
        route::get("/process/interpreter/context", list),
        route::post("/process/interpreter/context", create),
        route::delete("/process/interpreter/context/{id}", delete),
        route::get("/process/interpreter/execute", execute),
    ]
}

impl Interpreter {
    pub(super) fn new(home: PathBuf) -> Self {
        Self {
            default: Context::new("default".to_owned(), home.clone()),
            home,
            made: Mutex::default(),
        }
    }

    fn find(&self, id: Option<&str>) -> Option<Arc<Context>> {
        match id {
            None | Some("" | "default") => Some(self.default.clone()),
            Some(id) => lock(&self.made).get(id).cloned(),
        }
    }
}

async fn list(State(all): State<Arc<Interpreter>>) -> Json<Value> {
    let contexts: Vec<Value> = lock(&all.made).values().map(|one| one.dto()).collect();
    Json(json!({ "contexts": contexts }))
}

async fn create(State(all): State<Arc<Interpreter>>, body: Bytes) -> Reply {
    let body = parse(&body)?;
    let mut fields = Fields::of(&body)?;
    let cwd: Option<String> = fields.get("cwd", "a string");
    let language: Option<String> = fields.get("language", "a string");
    if language.is_some_and(|language| !["", "python"].contains(&language.as_str())) {
        fields.complain("language must be python".to_owned());
    }
    fields.finish()?;
    let cwd = all.home.join(cwd.unwrap_or_default());
    if !cwd.is_dir() {
        let message = format!("bad request: {} is not a directory", cwd.display());
        return Err(Problem::bad_request(message));
    }
    let context = Context::new(ids::uuid(), cwd);
    lock(&all.made).insert(context.id.clone(), context.clone());
    Ok(Json(context.dto()))
}

async fn delete(State(all): State<Arc<Interpreter>>, Path(id): Path<String>) -> Reply {
    let removed = lock(&all.made).remove(&id);
    // Its process ends with the last request that holds it.
    removed.ok_or_else(|| Problem::not_found(format!("not found: context {id} not found")))?;
    Ok(Json(json!({ "message": "Context deleted successfully" })))
}

async fn execute(State(all): State<Arc<Interpreter>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(move |mut socket| async move {
        let close = serve(&all, &mut socket).await;
        let _ = socket.send(Message::Close(Some(close))).await;
        // The client has read it when it answers, or has gone.
        let _ = tokio::time::timeout(GRACE, async {
            while let Some(Ok(_)) = socket.recv().await {}
        })
        .await;
    })
}

/// Serves the one request of a connection.
async fn serve(all: &Interpreter, socket: &mut WebSocket) -> CloseFrame {
    let request = match socket.recv().await {
        Some(Ok(Message::Text(text))) => serde_json::from_str::<Request>(&text),
        Some(Ok(Message::Binary(bytes))) => serde_json::from_slice(&bytes),
        _ => return frame(close_code::NORMAL, ""),
    };
    let request = match request {
        Ok(request) => request,
        Err(error) => return frame(close_code::POLICY, &format!("invalid request: {error}")),
    };
    let Some(context) = all.find(request.context_id.as_deref()) else {
        return frame(close_code::POLICY, "context not found");
    };
    let mut process = context.process.lock().await;
    let end = match process.take().map_or_else(|| context.start(), Ok) {
        Ok(mut running) => {
            let end = running.run(&request, socket).await;
            // One that was interrupted in vain, or that has ended, is replaced by the next request's.
            let is_alive = matches!(running.child.try_wait(), Ok(None));
            if is_alive && (matches!(end, End::Done) || running.interrupt().await) {
                *process = Some(running);
            } else {
                running.kill();
            }
            end
        }
        Err(error) => End::Died(error.to_string()),
    };
    match end {
        End::Done | End::ClientGone => frame(close_code::NORMAL, ""),
        End::TimedOut => frame(TIMEOUT_CODE, "execution timeout"),
        End::Died(why) => {
            let error = json!({ "type": "error", "name": "InterpreterError", "value": why, "traceback": "" });
            let completed = json!({ "type": "control", "text": "completed" });
            for message in [error, completed] {
                let _ = socket.send(Message::text(message.to_string())).await;
            }
            frame(close_code::NORMAL, "")
        }
    }
}

impl Context {
    fn new(id: String, cwd: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            id,
            cwd,
            created_at: now_ms(),
            process: tokio::sync::Mutex::default(),
        })
    }

    fn dto(&self) -> Value {
        json!({
            "id": self.id,
            "cwd": self.cwd,
            "language": "python",
            "active": true,
            "createdAt": rfc3339(self.created_at),
        })
    }

    fn start(&self) -> std::io::Result<Process> {
        let mut command = Command::new("python3");
        command.args(["-u", "-c", PROGRAM]).current_dir(&self.cwd);
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::null()).spawn()?;
        let taken = child.stdin.take().zip(child.stdout.take());
        let (requests, messages) = taken.ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Process {
            child,
            requests,
            messages: BufReader::new(messages).lines(),
        })
    }
}

impl Process {
    /// Runs one request, and tells the client what comes of it.
    async fn run(&mut self, request: &Request, socket: &mut WebSocket) -> End {
        let envs = request.envs.clone().unwrap_or_default();
        let line = format!("{}\n", json!({ "code": request.code, "envs": envs }));
        let written = self.requests.write_all(line.as_bytes());
        if let Err(error) = written.await {
            return End::Died(error.to_string());
        }
        let limit = match request.timeout.map(Duration::from_secs) {
            None => PATIENCE,
            Some(Duration::ZERO) => Duration::MAX,
            Some(limit) => limit,
        };
        let expiry = tokio::time::sleep(limit);
        tokio::pin!(expiry);
        loop {
            tokio::select! {
                () = &mut expiry => return End::TimedOut,
                line = self.messages.next_line() => {
                    let Ok(Some(line)) = line else {
                        return End::Died("the interpreter has ended".to_owned());
                    };
                    let is_last = is_control(&line);
                    if socket.send(Message::text(line)).await.is_err() && !is_last {
                        return End::ClientGone;
                    }
                    if is_last {
                        return End::Done;
                    }
                }
                message = socket.recv() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::ClientGone,
                    Some(Ok(_)) => {}
                }
            }
        }
    }

    /// Interrupts what runs; true if it has ended, so that another request can follow.
    async fn interrupt(&mut self) -> bool {
        shell::signal_group(self.child.id().unwrap_or_default(), libc::SIGINT);
        let ending = async {
            while let Ok(Some(line)) = self.messages.next_line().await {
                if is_control(&line) {
                    return true;
                }
            }
            false
        };
        tokio::time::timeout(GRACE, ending).await.unwrap_or(false)
    }

    /// Ends it with all that it started.
    fn kill(&mut self) {
        shell::signal_group(self.child.id().unwrap_or_default(), libc::SIGKILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_control(line: &str) -> bool {
    let message: Value = serde_json::from_str(line).unwrap_or_default();
    message["type"] == "control"
}

fn frame(code: u16, reason: &str) -> CloseFrame {
    // A reason has at most 123 bytes.
    let reason: String = reason.chars().take(100).collect();
    CloseFrame {
        code,
        reason: reason.into(),
    }
}
