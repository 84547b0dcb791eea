//! The server: start, one entrance for every request, clean end.
//!
//! The entrance ([`entrance`]) checks the `Host` header, then the key, and only then looks at the path.

mod access;
mod api;
mod app;
mod auth;
mod connections;
mod controls;
mod demote;
#[cfg(test)]
mod docs;
mod entrance;
mod events;
mod isolation;
mod lifecycle;
mod list;
mod network;
mod preview;
mod preview_ports;
mod programs;
mod proxy;
mod sandbox;
mod signed_files;
mod snapshots;
mod store;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Print, ServeOptions};
use app::App;
use connections::serve_connections;
use controls::Controls;
use entrance::Entrance;

#[cfg(test)]
pub(crate) use api::route_names;

/// Serves until a signal or the end of the parent.
pub(crate) fn run(options: ServeOptions) -> Result<()> {
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

async fn serve(options: ServeOptions) -> Result<()> {
    let data = match &options.data {
        Some(data) => data.clone(),
        None => default_data()?,
    };
    let store = store::Store::open(&data)?;
    let key = match options.api_key.clone() {
        Some(key) => key,
        None => store.key()?,
    };
    let mut walls = isolation::Walls::new(
        options.isolation,
        options.network,
        options.programs.clone(),
        store.root(),
    )?;
    walls.connect(options.allow_host.clone()).await?;
    let sandboxes =
        lifecycle::Sandboxes::load(store, walls, options.daemon, options.test_controls)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
        .await
        .with_context(|| format!("listen on 127.0.0.1:{}", options.port))?;
    let port = listener.local_addr()?.port();
    let app = Arc::new(App {
        sandboxes: sandboxes.clone(),
        key,
        port,
        previews: preview_ports::Previews::new(options.previews),
        opened: Mutex::default(),
    });
    let controls = options
        .test_controls
        .then(|| Arc::new(Controls::new(sandboxes.clone())));
    let entrance = Arc::new(Entrance::new(app.clone(), controls));
    tokio::spawn(sandboxes.clone().keep_time());
    tokio::spawn(sandboxes.clone().keep_networks());
    tokio::spawn(preview::keep(app.clone()));
    tokio::spawn(serve_connections(listener, move |request| {
        let entrance = entrance.clone();
        async move { entrance.enter(request).await }
    }));
    announce(&app, options.print)?;
    wait_for_end(options.exit_with_parent).await?;
    sandboxes.stop_all().await;
    Ok(())
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
