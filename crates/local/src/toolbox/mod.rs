//! The daemon inside a sandbox: processes, sessions, files and ports over HTTP.
//!
//! It serves the unix socket that it inherits as standard input and opens no other. Requests come
//! from the server, which has checked the key; nothing in here knows a key.
//!
//! What is absent is answered 501 and listed in [`crate::unimplemented`].

mod daemon;
mod execute;
mod files;
mod ports;
mod search;
mod sessions;
mod shell;
mod transfer;
mod tree;

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::body::read_to_the_end;
use crate::installation::DAEMON_VERSION;
use crate::options::ToolboxOptions;
use crate::problem::Problem;
use crate::route::{self, Name, Route, get};
use crate::unimplemented::{self, refusal};
use daemon::Toolbox;
use sessions::Sessions;

/// Serves standard input until it is killed.
pub(crate) fn run(options: ToolboxOptions) -> Result<()> {
    std::env::set_current_dir(&options.home).context("enter the home directory")?;
    let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener
        .set_nonblocking(true)
        .context("standard input is not a listening socket")?;
    // The inherited socket must not pass on to commands.
    let null = std::fs::File::open("/dev/null")?;
    // SAFETY: both descriptors are open; standard input is not used by anything else.
    unsafe { libc::dup2(std::os::fd::AsRawFd::as_raw_fd(&null), 0) };
    let shell = shell::find();
    let sessions = Arc::new(Sessions::new(&options.home, &shell));
    let toolbox = Arc::new(Toolbox {
        shell,
        home: options.home,
        own_pid_namespace: options.own_pid_namespace,
        ignore_envs: options.ignore_envs,
    });
    if !toolbox.own_pid_namespace {
        // SAFETY: no memory is involved. Without a wall the kernel still ends us with the server,
        // and orphans become our children, so that a stop finds them.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        }
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = tokio::net::UnixListener::from_std(listener)?;
            Ok(axum::serve(listener, router(toolbox, sessions)).await?)
        })
}

/// The routes that clients know, without those of sessions.
fn routes() -> Vec<Route<Arc<Toolbox>>> {
    let mut all = vec![
        get("/version", version),
        get("/work-dir", home),
        get("/user-home-dir", home),
        route::post("/process/execute", execute::execute),
        get("/port", ports::list),
        get("/port/{port}/in-use", ports::in_use),
    ];
    all.extend(files::routes());
    all.extend(transfer::routes());
    all.extend(search::routes());
    all
}

/// The names of all routes that clients know.
pub(crate) fn route_names() -> Vec<Name> {
    let mut all = route::names(routes());
    all.extend(route::names(sessions::routes()));
    all
}

fn router(toolbox: Arc<Toolbox>, sessions: Arc<Sessions>) -> Router {
    route::router(routes())
        .layer(middleware::map_request(read_to_the_end))
        // How the server itself asks, which its proxy lets nobody else do.
        .route("/proxy/{port}", any(ports::proxy))
        .route("/proxy/{port}/", any(ports::proxy))
        .route("/proxy/{port}/{*path}", any(ports::proxy))
        .route("/_stop", post(stop))
        .route("/_processes", axum::routing::get(processes))
        .with_state(toolbox)
        .merge(route::router(sessions::routes()).with_state(sessions))
        .fallback(unknown)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(render))
}

async fn version() -> Json<Value> {
    Json(json!({ "version": DAEMON_VERSION }))
}

async fn home(State(toolbox): State<Arc<Toolbox>>) -> Json<Value> {
    Json(json!({ "dir": toolbox.home }))
}

async fn stop(State(toolbox): State<Arc<Toolbox>>) -> StatusCode {
    tree::end_all(toolbox.own_pid_namespace).await;
    StatusCode::NO_CONTENT
}

async fn processes(State(toolbox): State<Arc<Toolbox>>) -> Json<Value> {
    Json(json!({ "processes": tree::command_lines(toolbox.own_pid_namespace) }))
}

async fn unknown(request: Request) -> Problem {
    let path = request.uri().path();
    Problem::not_found(format!("not found: {} {path}", request.method()))
}

/// Gives every error its body.
async fn render(request: Request, next: Next) -> Response {
    let (method, path) = (
        request.method().to_string(),
        request.uri().path().to_owned(),
    );
    if let Some(problem) = refusal(&route_names(), unimplemented::TOOLBOX, &method, &path) {
        drop(read_to_the_end(request).await);
        return problem.toolbox(&method, &path);
    }
    let reply = next.run(request).await;
    if let Some(problem) = reply.extensions().get::<Problem>() {
        return problem.toolbox(&method, &path);
    }
    let is_text = reply
        .headers()
        .get("content-type")
        .is_some_and(|t| t.as_bytes().starts_with(b"text/plain"));
    if reply.status().is_client_error() && is_text {
        // axum's own words for a query that does not parse, a wrong method, ...
        let reason = reply
            .status()
            .canonical_reason()
            .unwrap_or("error")
            .to_lowercase();
        return Problem::new(reply.status(), reason).toolbox(&method, &path);
    }
    reply
}
