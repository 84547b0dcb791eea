//! The daemon inside a sandbox: processes, sessions, files and ports over HTTP.
//!
//! It serves the unix socket that it inherits as standard input and opens no other. Requests come
//! from the server, which has checked the key; nothing in here knows a key.
//!
//! What is absent is answered 501 and listed in [`crate::unimplemented`].

mod daemon;
mod drain;
mod errors;
mod execute;
mod files;
mod interpreter;
mod metrics;
mod ports;
mod pty;
mod pty_socket;
mod search;
mod sessions;
mod shell;
mod terminal;
mod transfer;
mod tree;

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::body::read_to_the_end;
use crate::installation::OLD_DAEMON_VERSION;
use crate::options::{Daemon, ToolboxOptions};
use crate::route::{self, Name, Route};
use crate::unimplemented;
use daemon::Toolbox;
use drain::Drain;
use interpreter::Interpreter;
use pty::Ptys;
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
    shell::prepare(&shell, &options.home);
    let sessions = Arc::new(Sessions::new(&options.home, &shell, options.daemon));
    let ptys = Ptys::new(options.home.clone(), shell.clone(), options.daemon);
    let ptys = Arc::new(ptys);
    let toolbox = Arc::new(Toolbox {
        shell,
        home: options.home,
        own_pid_namespace: options.own_pid_namespace,
        daemon: options.daemon,
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
            Ok(axum::serve(listener, router(toolbox, sessions, ptys)).await?)
        })
}

/// The routes that clients know, without those of sessions, terminals and the interpreter.
fn routes() -> Vec<Route<Arc<Toolbox>>> {
    let mut all = vec![
        route::get("/version", version),
        route::get("/work-dir", home),
        route::get("/user-home-dir", home),
        route::post("/process/execute", execute::execute),
        route::post("/process/code-run", execute::code_run),
        route::get("/system/metrics", metrics::metrics),
        route::get("/port", ports::list),
        route::get("/port/{port}/in-use", ports::in_use),
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
    all.extend(route::names(pty::routes()));
    all.extend(route::names(interpreter::routes()));
    all
}

fn router(toolbox: Arc<Toolbox>, sessions: Arc<Sessions>, ptys: Arc<Ptys>) -> Router {
    let drain = Arc::new(Drain::new());
    let end = End {
        toolbox: toolbox.clone(),
        ptys: ptys.clone(),
        drain: drain.clone(),
    };
    let mut terminals = route::router(pty::routes());
    if toolbox.daemon != Daemon::V0_190 {
        terminals = terminals.route("/process/pty/create-connect", get(pty::create_connect));
    }
    let daemon = toolbox.daemon;
    let interpreter = Arc::new(Interpreter::new(toolbox.home.clone()));
    route::router(routes())
        .route("/files/", get(files::list).delete(files::remove))
        .route("/project-dir", get(home))
        .layer(middleware::map_request(read_to_the_end))
        // How the server itself asks, which its proxy lets nobody else do.
        .route("/proxy/{port}", any(ports::proxy))
        .route("/proxy/{port}/", any(ports::proxy))
        .route("/proxy/{port}/{*path}", any(ports::proxy))
        .route("/_processes", get(processes))
        .with_state(toolbox)
        .merge(route::router(sessions::routes()).with_state(sessions))
        .route(
            "/process/session/entrypoint",
            delete(sessions::delete_entrypoint),
        )
        .merge(terminals.with_state(ptys))
        .merge(route::router(interpreter::routes()).with_state(interpreter))
        .merge(Router::new().route("/_stop", post(stop)).with_state(end))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(daemon, errors::render))
        .layer(middleware::from_fn_with_state(drain, drain::count))
}

async fn version(State(toolbox): State<Arc<Toolbox>>) -> Json<Value> {
    let version = match toolbox.ignore_envs {
        true => OLD_DAEMON_VERSION,
        false => toolbox.daemon.version(),
    };
    Json(json!({ "version": version }))
}

async fn home(State(toolbox): State<Arc<Toolbox>>) -> Json<Value> {
    Json(json!({ "dir": toolbox.home }))
}

/// What ends with the daemon.
#[derive(Clone)]
struct End {
    toolbox: Arc<Toolbox>,
    ptys: Arc<Ptys>,
    drain: Arc<Drain>,
}

#[derive(Deserialize)]
struct Stop {
    /// Whether requests in progress get a moment.
    #[serde(default)]
    drain: bool,
}

async fn stop(State(end): State<End>, Query(stop): Query<Stop>) -> StatusCode {
    if stop.drain {
        end.drain.finish().await;
    }
    // Interactive shells ignore what ends everything else.
    end.ptys.hang_up();
    tree::end_all(end.toolbox.own_pid_namespace).await;
    StatusCode::NO_CONTENT
}

async fn processes(State(toolbox): State<Arc<Toolbox>>) -> Json<Value> {
    Json(json!({ "processes": tree::command_lines(toolbox.own_pid_namespace) }))
}

async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    let served = route_names();
    let (method, table) = (request.method().as_str(), unimplemented::TOOLBOX);
    let refusal = unimplemented::refusal(&served, table, method, path);
    drop(read_to_the_end(request).await);
    match refusal {
        Some(problem) => problem.into_response(),
        None => errors::no_such_route(),
    }
}
