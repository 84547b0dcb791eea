//! From a request for a sandbox to the sandbox: the toolbox by path.
//!
//! The API key stops here; a sandbox never sees it.
//!
//! Like Daytona's, the proxy remembers which sandboxes the key opens. Of one that is gone it says 404
//! in that time, and 401 afterwards: then it asks whether the key opens the sandbox, and takes "there
//! is none" for a no.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::app::App;
use super::lifecycle::Sandbox;
use super::sandbox::SandboxState;
use crate::body::read_to_the_end;
use crate::mutex::lock;
use crate::problem::Problem;

/// A token in a query.
pub(super) const TOKEN_QUERY: &str = "DAYTONA_SANDBOX_AUTH_KEY";

/// `/toolbox/{id}/{path}` with a checked key.
pub(super) async fn toolbox(State(app): State<Arc<App>>, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let sandbox = match find_toolbox(&app, &path) {
        Ok(Some((sandbox, below))) => {
            set_path(&mut request, &below);
            sandbox
        }
        Ok(None) => return StatusCode::BAD_GATEWAY.into_response(),
        Err(problem) => return problem.named(request.method().as_str(), &path),
    };
    request.headers_mut().remove(header::AUTHORIZATION);
    forward(&app, sandbox, request).await
}

/// The sandbox and the path in its toolbox; none while its daemon listens to nobody any more.
fn find_toolbox(app: &App, path: &str) -> Result<Option<(Arc<Sandbox>, String)>, Problem> {
    let missing = || Problem::not_found("not found: sandbox container not found");
    let below = path.strip_prefix("/toolbox/").ok_or_else(missing)?;
    let (id, below) = below.split_once('/').ok_or_else(missing)?;
    // `/_...` is how the server itself talks to the toolbox.
    if below.is_empty() || below.starts_with('_') {
        return Err(missing());
    }
    if !is_opened_by_the_key(app, id) {
        return Err(no_access());
    }
    let sandbox = app.sandboxes.by_id(id).ok_or_else(missing)?;
    match sandbox.record().state {
        SandboxState::Started => Ok(Some((sandbox, format!("/{below}")))),
        SandboxState::Stopping => Ok(None),
        SandboxState::Destroying | SandboxState::Destroyed => Err(missing()),
        SandboxState::Archived | SandboxState::Archiving => Err(Problem::bad_request(
            "bad request: failed to get runner info for the sandbox",
        )),
        _ => Err(Problem::bad_request(
            "bad request: no IP address found. Is the Sandbox started?",
        )),
    }
}

/// What the proxy says to a wrong key, and of a sandbox that it does not find.
fn no_access() -> Problem {
    let message = "unauthorized: authentication failed: Bearer token is invalid";
    Problem::new(StatusCode::UNAUTHORIZED, message)
}

/// What the proxy says to a request without the key.
pub(super) fn refusal(request: &Request) -> Response {
    let bearer = request.headers().get(header::AUTHORIZATION);
    let bearer = bearer.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let problem = match bearer {
        Some(token) if !token.trim().is_empty() => no_access(),
        _ => Problem::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized: missing authentication: give the API key as a bearer token",
        ),
    };
    problem.named(request.method().as_str(), request.uri().path())
}

fn is_opened_by_the_key(app: &App, id: &str) -> bool {
    let now = app.sandboxes.now();
    lock(&app.opened).is_open(id, now, || app.sandboxes.by_id(id).is_some())
}

/// Replaces the path and keeps the query, except for a token in it.
pub(super) fn set_path(request: &mut Request, path: &str) {
    let query = request.uri().query().unwrap_or_default();
    let prefix = format!("{TOKEN_QUERY}=");
    let kept: Vec<&str> = query
        .split('&')
        .filter(|p| !p.is_empty() && !p.starts_with(&prefix))
        .collect();
    let full = match kept.is_empty() {
        true => path.to_owned(),
        false => format!("{path}?{}", kept.join("&")),
    };
    // The path came out of a URI, so it fits into one.
    *request.uri_mut() = full.parse().unwrap_or_else(|_| Uri::from_static("/"));
}

pub(super) async fn forward(app: &Arc<App>, sandbox: Arc<Sandbox>, request: Request) -> Response {
    let in_flight = (!skips_activity(request.headers())).then(|| InFlight::new(app, &sandbox));
    let request = read_to_the_end(request).await;
    match sandbox.ask(request, in_flight).await {
        Ok(reply) => reply,
        // The daemon is gone or broke off: as the proxy has it, 502 and no body.
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

fn skips_activity(headers: &HeaderMap) -> bool {
    headers
        .get("x-daytona-skip-last-activity-update")
        .is_some_and(|v| v == "true")
}

/// While this lives the sandbox is in use.
struct InFlight(Arc<App>, Arc<Sandbox>);

impl InFlight {
    fn new(app: &Arc<App>, sandbox: &Arc<Sandbox>) -> Self {
        app.sandboxes.touch(sandbox);
        sandbox.open.fetch_add(1, Ordering::Relaxed);
        Self(app.clone(), sandbox.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.1.open.fetch_sub(1, Ordering::Relaxed);
        self.0.sandboxes.touch(&self.1);
    }
}
