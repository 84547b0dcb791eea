//! `/process/pty`: login shells on pseudo terminals, with WebSockets for whoever watches and types.
//!
//! What is printed goes to everyone who is attached at that moment and to nobody else: there is no
//! scrollback. A shell that ends takes its id along.
//!
//! `GET /process/pty/create-connect`, which newer clients use and no specification has, makes a shell
//! and attaches in one step, so that nothing of its output is missed.

use std::collections::{BTreeMap, HashMap};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::pty_socket::{self, Attached, Audience, Offer};
use super::terminal::{Size, Terminal};
use super::tree;
use crate::clock::{now_ms, rfc3339};
use crate::mutex::lock;
use crate::options::Daemon;
use crate::route::{self, Route, get, post};

const LARGEST_SIZE: u16 = 1000;
/// How long a terminal is read after its shell has ended, while someone else holds it.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// All terminals of a sandbox.
pub(super) struct Ptys {
    home: PathBuf,
    shell: PathBuf,
    daemon: Daemon,
    all: Mutex<HashMap<String, Arc<Pty>>>,
}

/// One terminal and its shell.
struct Pty {
    id: String,
    cwd: String,
    envs: BTreeMap<String, String>,
    lazy_start: bool,
    created_at: i64,
    size: Mutex<Size>,
    stage: Mutex<Stage>,
    audience: Arc<Audience>,
}

enum Stage {
    /// Nobody has come yet; with what is typed meanwhile.
    Waiting(mpsc::Receiver<Bytes>),
    Running {
        terminal: Arc<Terminal>,
        leader: i32,
    },
    Over,
}

/// A refusal in the form of these routes.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

type Reply = Result<Json<Value>, Refusal>;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Wanted {
    id: String,
    cwd: String,
    envs: Option<BTreeMap<String, String>>,
    cols: Option<u16>,
    rows: Option<u16>,
    lazy_start: bool,
}

impl Ptys {
    pub(super) fn new(home: PathBuf, shell: PathBuf, daemon: Daemon) -> Self {
        Self {
            home,
            shell,
            daemon,
            all: Mutex::default(),
        }
    }

    fn find(&self, id: &str) -> Result<Arc<Pty>, Refusal> {
        let found = lock(&self.all).get(id).cloned();
        found.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, "PTY session not found".to_owned()))
    }

    /// Makes a terminal whose shell is not started yet.
    fn add(&self, wanted: Wanted) -> Result<Arc<Pty>, Refusal> {
        let bad = |message: &str| Refusal(StatusCode::BAD_REQUEST, message.to_owned());
        if wanted.id.is_empty() {
            return Err(bad("session ID is required"));
        }
        let size = Size {
            cols: wanted.cols.unwrap_or(80),
            rows: wanted.rows.unwrap_or(24),
        };
        for (name, value) in [("cols", size.cols), ("rows", size.rows)] {
            if value > LARGEST_SIZE {
                let message = format!("invalid value for {name} - must be less than 1000");
                return Err(bad(&message));
            }
        }
        let mut envs = wanted.envs.unwrap_or_default();
        let term = envs.entry("TERM".to_owned()).or_default();
        if term.is_empty() {
            *term = "xterm-256color".to_owned();
        }
        let (audience, typed) = Audience::new();
        let cwd = match wanted.cwd.is_empty() {
            true => self.home.display().to_string(),
            false => wanted.cwd,
        };
        let pty = Arc::new(Pty {
            id: wanted.id,
            cwd,
            envs,
            lazy_start: wanted.lazy_start,
            created_at: now_ms(),
            size: Mutex::new(size),
            stage: Mutex::new(Stage::Waiting(typed)),
            audience,
        });
        let mut all = lock(&self.all);
        if all.contains_key(&pty.id) {
            let message = format!("PTY session with ID '{}' already exists", pty.id);
            return Err(Refusal(StatusCode::CONFLICT, message));
        }
        all.insert(pty.id.clone(), pty.clone());
        Ok(pty)
    }

    /// Starts the shell, unless it runs. A terminal whose shell cannot start is gone.
    fn start(self: &Arc<Self>, pty: &Arc<Pty>) -> Result<(), Refusal> {
        let mut stage = lock(&pty.stage);
        let typed = match std::mem::replace(&mut *stage, Stage::Over) {
            Stage::Waiting(typed) => typed,
            other => {
                *stage = other;
                return Ok(());
            }
        };
        let mut command = Command::new(&self.shell);
        command
            .args(["-i", "-l"])
            .current_dir(self.home.join(&pty.cwd))
            .envs(&pty.envs);
        let (terminal, child) = Terminal::start(command, *lock(&pty.size)).map_err(|error| {
            lock(&self.all).remove(&pty.id);
            let message = format!(
                "failed to start PTY session: start {} in {}: {error}",
                self.shell.display(),
                pty.cwd
            );
            Refusal(StatusCode::INTERNAL_SERVER_ERROR, message)
        })?;
        let terminal = Arc::new(terminal);
        *stage = Stage::Running {
            terminal: terminal.clone(),
            leader: child.id().unwrap_or_default() as i32,
        };
        tokio::spawn(self.clone().run(pty.clone(), terminal, child, typed));
        Ok(())
    }

    /// Attaches a client, and starts a shell that has waited for one.
    fn attach(self: &Arc<Self>, pty: &Arc<Pty>, offer: &Offer) -> Result<Attached, String> {
        let attached = pty.audience.attach(offer)?;
        self.start(pty).map_err(|refusal| refusal.1)?;
        Ok(attached)
    }

    /// Does to every shell what a terminal that is taken away does.
    pub(super) fn hang_up(&self) {
        for pty in lock(&self.all).values() {
            if let Stage::Running { leader, .. } = *lock(&pty.stage) {
                tree::signal(&[leader], libc::SIGHUP);
            }
        }
    }

    /// Carries what is typed and what is printed, until the shell ends.
    async fn run(
        self: Arc<Self>,
        pty: Arc<Pty>,
        terminal: Arc<Terminal>,
        mut child: Child,
        mut typed: mpsc::Receiver<Bytes>,
    ) {
        let typing = terminal.clone();
        let typing = tokio::spawn(async move {
            while let Some(text) = typed.recv().await {
                if typing.type_in(&text).await.is_err() {
                    return;
                }
            }
        });
        let status = {
            let showing = pty.show(&terminal);
            tokio::pin!(showing);
            tokio::select! {
                status = child.wait() => {
                    let _ = tokio::time::timeout(LAST_WORDS, &mut showing).await;
                    status
                }
                () = &mut showing => child.wait().await,
            }
        };
        typing.abort();
        *lock(&pty.stage) = Stage::Over;
        pty.audience.end(status.map_or(1, exit_code));
        let mut all = lock(&self.all);
        if all
            .get(&pty.id)
            .is_some_and(|known| Arc::ptr_eq(known, &pty))
        {
            all.remove(&pty.id);
        }
    }
}

/// The code as shells have it: 128 and the number of the signal for a killed one.
fn exit_code(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(1)
}

impl Pty {
    async fn show(&self, terminal: &Terminal) {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(read @ 1..) = terminal.read(&mut buffer).await {
            let text = Bytes::copy_from_slice(&buffer[..read]);
            self.audience.show(&text).await;
        }
    }

    fn is_active(&self) -> bool {
        matches!(*lock(&self.stage), Stage::Running { .. })
    }

    fn resize(&self, size: Size) -> Result<(), Refusal> {
        let failed = |message: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, message);
        match &*lock(&self.stage) {
            Stage::Running { terminal, .. } => {
                terminal.resize(size).map_err(|e| failed(e.to_string()))?;
            }
            _ => return Err(failed("cannot resize inactive PTY session".to_owned())),
        }
        *lock(&self.size) = size;
        Ok(())
    }

    /// Ends the shell and everything below it.
    fn kill(&self) {
        if let Stage::Running { leader, .. } = *lock(&self.stage) {
            let mut doomed = tree::descendants(leader);
            doomed.push(leader);
            tree::signal(&doomed, libc::SIGKILL);
        }
    }

    fn json(&self) -> Json<Value> {
        let size = *lock(&self.size);
        Json(json!({
            "id": self.id,
            "cwd": self.cwd,
            "envs": self.envs,
            "cols": size.cols,
            "rows": size.rows,
            "createdAt": rfc3339(self.created_at),
            "active": self.is_active(),
            "lazyStart": self.lazy_start,
        }))
    }
}

pub(super) fn routes() -> Vec<Route<Arc<Ptys>>> {
    vec![
        get("/process/pty", list),
        post("/process/pty", create),
        get("/process/pty/{sessionId}", read),
        route::delete("/process/pty/{sessionId}", delete),
        get("/process/pty/{sessionId}/connect", connect),
        post("/process/pty/{sessionId}/resize", resize),
    ]
}

fn parse<T: serde::de::DeserializeOwned>(body: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|e| Refusal(StatusCode::BAD_REQUEST, e.to_string()))
}

async fn list(State(ptys): State<Arc<Ptys>>) -> Json<Value> {
    let all: Vec<Value> = lock(&ptys.all).values().map(|pty| pty.json().0).collect();
    Json(json!({ "sessions": all }))
}

async fn create(State(ptys): State<Arc<Ptys>>, body: Bytes) -> Result<Response, Refusal> {
    let pty = ptys.add(parse(&body)?)?;
    if !pty.lazy_start {
        ptys.start(&pty)?;
    }
    let reply = Json(json!({ "sessionId": pty.id }));
    Ok((StatusCode::CREATED, reply).into_response())
}

async fn read(State(ptys): State<Arc<Ptys>>, Path(id): Path<String>) -> Reply {
    Ok(ptys.find(&id)?.json())
}

async fn delete(State(ptys): State<Arc<Ptys>>, Path(id): Path<String>) -> Reply {
    let pty = ptys.find(&id)?;
    lock(&ptys.all).remove(&id);
    pty.kill();
    Ok(Json(json!({ "message": "PTY session deleted" })))
}

async fn resize(State(ptys): State<Arc<Ptys>>, Path(id): Path<String>, body: Bytes) -> Reply {
    let wanted: Wanted = parse(&body)?;
    let (cols, rows) = (wanted.cols.unwrap_or(0), wanted.rows.unwrap_or(0));
    for (name, value) in [("cols", cols), ("rows", rows)] {
        if !(1..=LARGEST_SIZE).contains(&value) {
            let message = format!("{name} must be between 1 and {LARGEST_SIZE}");
            return Err(Refusal(StatusCode::BAD_REQUEST, message));
        }
    }
    let gone = |_| Refusal(StatusCode::GONE, format!("PTY session {id} not found"));
    let pty = ptys.find(&id).map_err(gone)?;
    pty.resize(Size { cols, rows })?;
    Ok(pty.json())
}

async fn connect(
    State(ptys): State<Arc<Ptys>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let offer = Offer::of(&headers);
    offer.accept(upgrade, ptys.daemon, move |socket, offer| async move {
        let attached = match ptys.find(&id) {
            Ok(pty) => ptys.attach(&pty, &offer),
            Err(_) => Err(format!("PTY session {id} not found")),
        };
        let attached = attached.map_err(|why| format!("Failed to connect to PTY session: {why}"));
        pty_socket::serve(socket, attached).await;
    })
}

/// Makes a terminal and attaches to it before its shell starts.
pub(super) async fn create_connect(
    State(ptys): State<Arc<Ptys>>,
    Query(mut wanted): Query<Wanted>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let offer = Offer::of(&headers);
    offer.accept(upgrade, ptys.daemon, move |socket, offer| async move {
        let attached = offer.envs().and_then(|envs| {
            wanted.envs = envs;
            let pty = ptys.add(wanted).map_err(|refusal| refusal.1)?;
            ptys.attach(&pty, &offer)
        });
        let attached = attached.map_err(|why| format!("Failed to create PTY session: {why}"));
        pty_socket::serve(socket, attached).await;
    })
}
