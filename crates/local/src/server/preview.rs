//! Previews: ports inside sandboxes, with addresses of their own.
//!
//! A preview has two addresses, and both always work. One is a port of 127.0.0.1 that belongs to one
//! port of one sandbox, so it needs no name and a page has an origin of its own. The other is
//! `{port}-{id or signed token}.localhost`, as Daytona's are; browsers know that such a name is this
//! machine, and Node and Python on a plain Debian do not. An option says which of them links have.
//!
//! A signed link has its token in the address: in the host name, or as the first part of the path. A
//! page's own links to `/` have it no more, so whoever gave a token gets it as a cookie, too.
//!
//! The API key and the tokens stop here; a sandbox sees none but what is in the name that it is asked for.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;

use super::app::App;
use super::auth;
use super::connections::serve_connections;
use super::lifecycle::Sandbox;
use super::preview_ports::Listening;
use super::proxy::{TOKEN_QUERY, forward, set_path};
use super::sandbox::{Record, SandboxState};
use crate::mutex::lock;
use crate::options::PreviewAddress;
use crate::problem::Problem;

const TOKEN_HEADER: &str = "x-daytona-preview-token";
/// Begins the names of the cookies. Cookies of 127.0.0.1 go to all of its ports, so each has its own.
const COOKIE: &str = "daytona-preview-";
/// Ports of Daytona's own daemons: never public.
const PROTECTED: [u16; 3] = [2280, 22222, 33333];

/// The link to a port of a sandbox, for whoever has a token, or with a signed token in it.
pub(super) async fn link(
    app: &Arc<App>,
    record: &Record,
    port: u16,
    signed: Option<&str>,
) -> Result<String, Problem> {
    match app.previews.address {
        PreviewAddress::Name => {
            let name = signed.unwrap_or(&record.id);
            Ok(format!("http://{port}-{name}.localhost:{}", app.port))
        }
        PreviewAddress::Port => {
            let own = listen(app, &record.id, port).await;
            let own = own.map_err(Problem::internal)?;
            let token = signed.map(|token| format!("/{token}")).unwrap_or_default();
            Ok(format!("http://127.0.0.1:{own}{token}"))
        }
    }
}

/// Listens for a port of a sandbox, if nothing does yet. Gives the port of this machine, which is the
/// one that it was before, if that is free: links outlive this server.
async fn listen(app: &Arc<App>, id: &str, port: u16) -> Result<u16> {
    if let Some(own) = app.previews.port_of(id, port) {
        return Ok(own);
    }
    let before = app.sandboxes.by_id(id).context("the sandbox is gone")?;
    let before = before.record().preview_ports.get(&port).copied();
    let bind = async |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = match bind(before.unwrap_or(0)).await {
        Ok(listener) => listener,
        Err(_) => bind(0).await.context("listen for a preview")?,
    };
    let own = listener.local_addr()?.port();
    {
        let mut open = lock(&app.previews.open);
        let key = (id.to_owned(), port);
        // Another request was faster.
        if let Some(listening) = open.get(&key) {
            return Ok(listening.port);
        }
        let task = tokio::spawn(serve(app.clone(), id.to_owned(), port, own, listener));
        let task = task.abort_handle();
        open.insert(key, Listening { port: own, task });
    }
    let sandbox = app.sandboxes.by_id(id).context("the sandbox is gone")?;
    let noted = app.sandboxes.update(&sandbox, |record| {
        record.preview_ports.insert(port, own);
        Ok(())
    });
    noted.map_err(|problem| anyhow::anyhow!(problem.message))?;
    Ok(own)
}

/// Opens what an earlier server gave links to, and closes what belongs to a sandbox that goes.
pub(super) async fn keep(app: Arc<App>) {
    let mut changes = app.sandboxes.changes();
    for sandbox in app.sandboxes.all() {
        let record = sandbox.record();
        for port in record.preview_ports.keys() {
            if let Err(error) = listen(&app, &record.id, *port).await {
                eprintln!("daytona-local: the preview of port {port} is closed: {error:#}");
            }
        }
    }
    loop {
        match changes.recv().await {
            Ok(change) if change.record.state == SandboxState::Destroyed => {
                app.previews.close(&change.record.id);
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => {
                let is_gone = |id: &String| app.sandboxes.by_id(id).is_none();
                let ids: Vec<String> = (lock(&app.previews.open).keys())
                    .map(|(id, _)| id.clone())
                    .filter(is_gone)
                    .collect();
                ids.iter().for_each(|id| app.previews.close(id));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn serve(app: Arc<App>, id: String, port: u16, own: u16, listener: TcpListener) {
    serve_connections(listener, move |request| {
        let (app, id) = (app.clone(), id.clone());
        async move { Ok::<_, Infallible>(at_port(&app, &id, port, own, request).await) }
    })
    .await;
}

/// A request to the port `own` of this machine.
async fn at_port(app: &Arc<App>, id: &str, port: u16, own: u16, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if auth::host(request.headers(), own) != auth::Host::Server {
        return auth::foreign().api(&path);
    }
    let Some(sandbox) = app.sandboxes.by_id(id) else {
        return Problem::not_found("no such preview").api(&path);
    };
    let (record, now) = (sandbox.record(), app.sandboxes.now());
    let mut parts = path.trim_start_matches('/').splitn(2, '/');
    let first = parts.next().unwrap_or_default();
    if !record.is_signed(port, first, now) {
        return pass(app, sandbox, port, None, request).await;
    }
    let below = format!("/{}", parts.next().unwrap_or_default());
    set_path(&mut request, &below);
    pass(app, sandbox, port, Some(first), request).await
}

/// A request to the name `{port}-{id or signed token}.localhost`.
pub(super) async fn at_name(app: &Arc<App>, label: &str, request: Request) -> Response {
    let Some((port, name)) = label
        .split_once('-')
        .and_then(|(p, n)| Some((p.parse().ok()?, n)))
    else {
        return Problem::not_found("no such preview").api(request.uri().path());
    };
    if let Some(sandbox) = app.sandboxes.by_id(name) {
        return pass(app, sandbox, port, None, request).await;
    }
    let now = app.sandboxes.now();
    let mut all = app.sandboxes.all().into_iter();
    match all.find(|sandbox| sandbox.record().is_signed(port, name, now)) {
        Some(sandbox) => pass(app, sandbox, port, Some(name), request).await,
        None => no_token().api(request.uri().path()),
    }
}

fn no_token() -> Problem {
    let message = "unauthorized: preview needs a token";
    Problem::new(StatusCode::UNAUTHORIZED, message)
}

/// Hands a request on, if it may pass. `signed` is the token of its address.
async fn pass(
    app: &Arc<App>,
    sandbox: Arc<Sandbox>,
    port: u16,
    signed: Option<&str>,
    mut request: Request,
) -> Response {
    let (record, now) = (sandbox.record(), app.sandboxes.now());
    let path = request.uri().path().to_owned();
    let opens = |token: &str| {
        auth::same(token, &record.preview_token) || record.is_signed(port, token, now)
    };
    let name = format!("{COOKIE}{port}-{}", record.id);
    let in_query = in_query(&request);
    let in_address = signed.or(in_query.as_deref()).filter(|token| opens(token));
    let is_open = record.public && !PROTECTED.contains(&port);
    let has_key = auth::has_key(request.headers(), &app.key);
    let header = request.headers().get(TOKEN_HEADER);
    let header = header.and_then(|value| value.to_str().ok());
    let cookie =
        cookies(request.headers()).find_map(|cookie| cookie.strip_prefix(&name)?.strip_prefix('='));
    let in_headers = header.is_some_and(opens) || cookie.is_some_and(opens);
    if !(is_open || has_key || in_address.is_some() || in_headers) {
        return no_token().api(&path);
    }
    if record.state != SandboxState::Started {
        return Problem::bad_request("no IP address found. Is the Sandbox started?").api(&path);
    }
    if has_key {
        request.headers_mut().remove(header::AUTHORIZATION);
    }
    request.headers_mut().remove(TOKEN_HEADER);
    hide_cookies(request.headers_mut());
    set_path(&mut request, &format!("/proxy/{port}{path}"));
    let mut reply = forward(app, sandbox, request).await;
    if let Some(token) = in_address
        && let Ok(value) = format!("{name}={token}; Path=/; HttpOnly; SameSite=Lax").parse()
    {
        reply.headers_mut().append(header::SET_COOKIE, value);
    }
    reply
}

fn in_query(request: &Request) -> Option<String> {
    let mut pairs = request.uri().query()?.split('&');
    let prefix = format!("{TOKEN_QUERY}=");
    pairs.find_map(|pair| pair.strip_prefix(&prefix).map(str::to_owned))
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).into_iter();
    let values = values.filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';').map(str::trim))
}

/// Takes the cookies of all previews out of a request.
fn hide_cookies(headers: &mut HeaderMap) {
    let kept: Vec<&str> = cookies(headers)
        .filter(|cookie| !cookie.starts_with(COOKIE))
        .collect();
    let kept = HeaderValue::from_str(&kept.join("; "));
    match kept {
        Ok(kept) if !kept.is_empty() => {
            headers.insert(header::COOKIE, kept);
        }
        _ => {
            headers.remove(header::COOKIE);
        }
    }
}
