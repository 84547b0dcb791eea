//! The server: start, one front door for every request, clean end.
//!
//! The front door checks the `Host` header, then the key, and only then looks at the path.

mod api;
mod auth;
mod controls;
mod demote;
mod isolation;
mod lifecycle;
mod list;
mod proxy;
mod routes;
mod sandbox;
mod snapshots;
mod store;

use std::collections::HashMap;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tower_service::Service as _;

use crate::cli::{Print, Serve};
use crate::problem::Problem;
pub(crate) use sandbox::DAEMON_VERSION;

/// The server's state.
pub(crate) struct App {
    sandboxes: Arc<lifecycle::Sandboxes>,
    key: String,
    port: u16,
    controls: Option<controls::Controls>,
    router: OnceLock<Router>,
    /// Sandboxes that the proxy has found the key to open, and when.
    opened: Mutex<HashMap<String, i64>>,
}

/// Ends the connection without a reply.
#[derive(Debug)]
struct CloseConnection;

impl std::fmt::Display for CloseConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for CloseConnection {}

/// Serves until a signal or the end of the parent.
pub(crate) fn run(options: Serve) -> Result<()> {
    // SAFETY: cannot fail and touches no memory. What is private names its mode; the rest must be
    // readable to sandboxes, whatever the caller's mask.
    unsafe { libc::umask(0o022) };
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(async {
        // In a task, so that what it spawns is spawned on a worker thread.
        tokio::spawn(serve(options)).await?
    });
    // A read of standard input cannot be cancelled, and there is nothing left to wait for.
    runtime.shutdown_background();
    done
}

async fn serve(options: Serve) -> Result<()> {
    let data = match &options.data {
        Some(data) => data.clone(),
        None => default_data()?,
    };
    let store = store::Store::open(&data)?;
    let key = match options.api_key.clone() {
        Some(key) => key,
        None => store.key()?,
    };
    let walls = isolation::Walls::new(
        options.isolation,
        options.network,
        options.programs.clone(),
        store.root(),
    )?;
    let sandboxes = lifecycle::Sandboxes::load(store, walls, options.test_controls)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .await
        .with_context(|| format!("listen on 127.0.0.1:{}", options.port))?;
    let port = listener.local_addr()?.port();
    let app = Arc::new(App {
        sandboxes: sandboxes.clone(),
        key,
        port,
        controls: options.test_controls.then(controls::Controls::default),
        router: OnceLock::new(),
        opened: Mutex::default(),
    });
    let router = Router::new()
        .nest("/api", api::router())
        .nest("/_test", controls::router())
        .with_state(app.clone());
    let _ = app.router.set(router);
    tokio::spawn(sandboxes.clone().keep_time());
    tokio::spawn(accept(app.clone(), listener));
    announce(&app, options.print)?;
    wait_for_end(options.exit_with_parent).await?;
    sandboxes.stop_all().await;
    Ok(())
}

impl App {
    fn toolbox_url(&self) -> String {
        format!("http://127.0.0.1:{}/toolbox", self.port)
    }

    fn controls(&self) -> Result<&controls::Controls, Problem> {
        self.controls
            .as_ref()
            .ok_or_else(|| Problem::not_found("no test controls"))
    }

    /// The front door.
    async fn enter(self: &Arc<Self>, request: Request) -> Result<Response, CloseConnection> {
        let path = request.uri().path().to_owned();
        match auth::host(request.headers(), self.port) {
            auth::Host::Server => {}
            auth::Host::Preview(label) => return Ok(proxy::preview(self, &label, request).await),
            auth::Host::Foreign => {
                let message = "this server answers to 127.0.0.1 and localhost only";
                return Ok(Problem::new(StatusCode::FORBIDDEN, message).api(&path));
            }
        }
        // No push channel: the SDK retries a few times and then polls.
        if path.starts_with("/api/socket.io") {
            return Ok(Problem::not_found("no event stream here, poll instead").api(&path));
        }
        let open = path == "/api/config";
        if !open && !auth::has_key(request.headers(), &self.key) {
            if path.starts_with("/toolbox/") {
                return Ok(proxy::no_access().proxy(&path));
            }
            return Ok(Problem::new(StatusCode::UNAUTHORIZED, "Invalid credentials").api(&path));
        }
        let Some(controls) = &self.controls else {
            return Ok(self.handle(request).await);
        };
        if path.starts_with("/_test/") {
            return Ok(self.handle(request).await);
        }
        controls::apply(self, controls, request).await
    }

    /// Does what the request asks for.
    async fn handle(self: &Arc<Self>, request: Request) -> Response {
        let path = request.uri().path().to_owned();
        if path.starts_with("/toolbox/") {
            return proxy::toolbox(self, request).await;
        }
        if path.starts_with("/_test/") && self.controls.is_none() {
            return Problem::not_found(format!("Cannot {} {path}", request.method())).api(&path);
        }
        let Some(router) = self.router.get() else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let Ok(reply) = router.clone().call(request).await;
        let mut reply = api::shaped(reply, &path);
        reply.headers_mut().insert(
            "x-daytona-api-version",
            "0.216.0-local".parse().expect("ASCII"),
        );
        reply
    }
}

async fn accept(app: Arc<App>, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(app.clone(), stream));
            }
            // Out of descriptors, most likely: let some connections end.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

async fn connection(app: Arc<App>, stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let service =
        hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let app = app.clone();
            async move { app.enter(request.map(Body::new)).await }
        });
    let mut http = hyper::server::conn::http1::Builder::new();
    // An error here is a client that went away, or a fault that was asked for.
    let _ = http
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

fn announce(app: &App, print: Print) -> Result<()> {
    let (url, key) = (format!("http://127.0.0.1:{}/api", app.port), &app.key);
    let mut out = std::io::stdout().lock();
    match print {
        Print::Json => writeln!(out, "{}", serde_json::json!({ "url": url, "apiKey": key }))?,
        Print::Text => writeln!(out, "DAYTONA_API_URL={url}\nDAYTONA_API_KEY={key}")?,
    }
    Ok(out.flush()?)
}

async fn wait_for_end(with_parent: bool) -> Result<()> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    let parent = async {
        if !with_parent {
            return std::future::pending().await;
        }
        let (mut stdin, mut buffer) = (tokio::io::stdin(), [0; 64]);
        while stdin.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = parent => {}
    }
    Ok(())
}

fn default_data() -> Result<PathBuf> {
    let xdg = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let data = match xdg {
        Some(data) => data,
        None => PathBuf::from(std::env::var_os("HOME").context("no HOME; give --data")?)
            .join(".local/share"),
    };
    Ok(data.join("daytona-local"))
}
