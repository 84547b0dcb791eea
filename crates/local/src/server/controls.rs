//! Test controls below `/_test`: latency, counts of requests and bytes, planted faults, the clock,
//! process lists, the list of routes.
//!
//! They are a layer in front of what is served, and know neither its router nor its handlers.
//! They exist only with `--test-controls`, need the key like everything else, and are themselves
//! neither counted nor faulted. A fault's `match.path` is a glob over the path; `*` also crosses `/`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use futures_util::stream;
use globset::{Glob, GlobMatcher};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_service::Service as _;

use super::api;
use super::lifecycle::{Sandbox, Sandboxes};
use super::sandbox::SandboxState;
use crate::mutex::lock;
use crate::problem::Problem;
use crate::route::{self, Name};
use crate::toolbox;

/// A layer in front of everything that is served: it counts, delays and spoils what goes through.
pub(super) struct Controls {
    sandboxes: Arc<Sandboxes>,
    names: Names,
    latency_ms: AtomicU64,
    traffic: Arc<Mutex<BTreeMap<String, Traffic>>>,
    faults: Mutex<Vec<Fault>>,
}

/// The routes that official clients know.
pub(super) struct Names {
    /// Below `/api`.
    pub(super) api: Vec<Name>,
    /// Below `/toolbox/{sandboxId}`.
    pub(super) toolbox: Vec<Name>,
}

impl Names {
    pub(super) fn all() -> Self {
        Self {
            api: api::route_names(),
            toolbox: toolbox::route_names(),
        }
    }
}

/// Ends the connection without a reply.
#[derive(Debug)]
pub(super) struct CloseConnection;

impl std::fmt::Display for CloseConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for CloseConnection {}

/// What went over one route.
#[derive(Clone, Copy, Default)]
struct Traffic {
    requests: u64,
    /// Bytes of requests' bodies.
    received: u64,
    /// Bytes of replies' bodies.
    sent: u64,
}

struct Fault {
    method: Option<String>,
    path: GlobMatcher,
    skip: u64,
    /// Negative is for ever.
    times: i64,
    until: Option<Instant>,
    action: Action,
}

#[derive(Deserialize)]
struct FaultRequest {
    #[serde(rename = "match")]
    on: On,
    #[serde(default = "once")]
    times: i64,
    for_ms: Option<u64>,
    action: Action,
}

fn once() -> i64 {
    1
}

#[derive(Deserialize)]
struct On {
    method: Option<String>,
    path: String,
    #[serde(default)]
    skip: u64,
}

/// What goes wrong.
#[derive(Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Action {
    /// Answer this, without doing the work.
    Status {
        status: u16,
        body: Option<Value>,
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// Close the connection without doing the work.
    DropBefore,
    /// Do the work and close the connection without a reply.
    DropAfter,
    /// Do the work and break off after so many bytes of the body.
    Truncate { bytes: usize },
    /// 200 with a web page, without doing the work.
    Garbage,
    /// Wait, then do the work.
    Slow { ms: u64 },
    /// Do the work twice and answer with the second reply.
    Repeat,
    /// Stop the addressed sandbox, then go on.
    StopSandbox,
    /// Delete the addressed sandbox, then go on.
    DeleteSandbox,
    /// Put the addressed sandbox into an error, then go on.
    FailSandbox { recoverable: bool },
}

impl Controls {
    pub(super) fn new(sandboxes: Arc<Sandboxes>) -> Self {
        Self {
            sandboxes,
            names: Names::all(),
            latency_ms: AtomicU64::new(0),
            traffic: Arc::default(),
            faults: Mutex::default(),
        }
    }

    /// A body whose bytes are counted as they pass, in the field that `field` picks.
    fn counted(&self, route: &str, body: Body, field: fn(&mut Traffic) -> &mut u64) -> Body {
        let (traffic, route) = (self.traffic.clone(), route.to_owned());
        Body::new(Counted {
            body,
            count: Box::new(move |bytes| {
                if let Some(traffic) = lock(&traffic).get_mut(&route) {
                    *field(traffic) += bytes;
                }
            }),
        })
    }

    /// The first fault that applies, used up by this.
    fn take(&self, method: &str, path: &str) -> Option<Action> {
        let mut faults = lock(&self.faults);
        faults.retain(|f| f.times != 0 && f.until.is_none_or(|until| Instant::now() < until));
        let fits =
            |f: &Fault| f.method.as_deref().is_none_or(|m| m == method) && f.path.is_match(path);
        for fault in faults.iter_mut().filter(|f| fits(f)) {
            if fault.skip > 0 {
                fault.skip -= 1;
                continue;
            }
            if fault.times > 0 {
                fault.times -= 1;
            }
            return Some(fault.action.clone());
        }
        None
    }

    /// Handles a request with everything counted: it, and what goes in and out.
    pub(super) async fn apply(
        &self,
        served: &Router,
        request: Request,
    ) -> Result<Response, CloseConnection> {
        let route = counted_as(&self.names, request.method().as_str(), request.uri().path());
        lock(&self.traffic)
            .entry(route.clone())
            .or_default()
            .requests += 1;
        let request = request.map(|body| self.counted(&route, body, |t| &mut t.received));
        let reply = self.planned(served, request).await?;
        Ok(reply.map(|body| self.counted(&route, body, |t| &mut t.sent)))
    }

    /// Handles a request as planned: delayed, and with its fault if there is one.
    async fn planned(
        &self,
        served: &Router,
        request: Request,
    ) -> Result<Response, CloseConnection> {
        let (method, path) = (
            request.method().to_string(),
            request.uri().path().to_owned(),
        );
        let latency = self.latency_ms.load(Ordering::Relaxed);
        if latency > 0 {
            tokio::time::sleep(Duration::from_millis(latency)).await;
        }
        let Some(action) = self.take(&method, &path) else {
            return Ok(serve(served, request).await);
        };
        match action {
            Action::Status {
                status,
                body,
                headers,
            } => Ok(status_reply(status, body, &headers)),
            Action::DropBefore => Err(CloseConnection),
            Action::DropAfter => {
                let _ = serve(served, request).await.into_body().collect().await;
                Err(CloseConnection)
            }
            Action::Truncate { bytes } => Ok(truncated(serve(served, request).await, bytes).await),
            Action::Garbage => {
                let page = "<html><body>Please sign in to this network</body></html>";
                Ok(([("content-type", "text/html")], page).into_response())
            }
            Action::Slow { ms } => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                Ok(serve(served, request).await)
            }
            Action::Repeat => {
                let (parts, body) = request.into_parts();
                let body = body
                    .collect()
                    .await
                    .map(|b| b.to_bytes())
                    .unwrap_or_default();
                let again =
                    |body: &Bytes| Request::from_parts(parts.clone(), Body::from(body.clone()));
                let _ = serve(served, again(&body))
                    .await
                    .into_body()
                    .collect()
                    .await;
                Ok(serve(served, again(&body)).await)
            }
            Action::StopSandbox => {
                if let Some(sandbox) = self.addressed(&path) {
                    let _ = self.sandboxes.stop(&sandbox, true);
                    self.sandboxes.quiet(&sandbox).await;
                }
                Ok(serve(served, request).await)
            }
            Action::FailSandbox { recoverable } => {
                if let Some(sandbox) = self.addressed(&path) {
                    self.sandboxes.fail(&sandbox, recoverable).await;
                }
                Ok(serve(served, request).await)
            }
            Action::DeleteSandbox => {
                if let Some(sandbox) = self.addressed(&path) {
                    let _ = self.sandboxes.delete(&sandbox);
                    self.sandboxes.quiet(&sandbox).await;
                }
                Ok(serve(served, request).await)
            }
        }
    }

    fn addressed(&self, path: &str) -> Option<Arc<Sandbox>> {
        let rest = path
            .strip_prefix("/toolbox/")
            .or_else(|| path.strip_prefix("/api/sandbox/"))?;
        self.sandboxes.find(rest.split('/').next()?).ok()
    }
}

/// The line that a request is counted in: `METHOD /template`, or its path with the sandbox's id hidden
/// where no route matches.
fn counted_as(all: &Names, method: &str, path: &str) -> String {
    let (prefix, routes, rest) = if let Some(rest) = path.strip_prefix("/api") {
        ("/api", &all.api, rest.to_owned())
    } else if let Some(rest) = path.strip_prefix("/toolbox/") {
        let below = rest
            .split_once('/')
            .map_or(String::new(), |(_, below)| format!("/{below}"));
        ("/toolbox/{sandboxId}", &all.toolbox, below)
    } else {
        return format!("{method} {path}");
    };
    let shown = route::template(routes, method, &rest).unwrap_or(&rest);
    format!("{method} {prefix}{shown}")
}

async fn serve(served: &Router, request: Request) -> Response {
    let Ok(reply) = served.clone().call(request).await;
    reply
}

/// A body that tells how many bytes passed, and is else the body that it wraps.
struct Counted {
    body: Body,
    count: Box<dyn Fn(u64) + Send + Sync>,
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            (self.count)(data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn status_reply(status: u16, body: Option<Value>, headers: &BTreeMap<String, String>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = match body {
        Some(Value::String(text)) => (status, text).into_response(),
        Some(body) => (status, Json(body)).into_response(),
        None => status.into_response(),
    };
    let given = headers
        .iter()
        .filter_map(|(name, value)| Some((name.parse().ok()?, HeaderValue::from_str(value).ok()?)));
    reply.headers_mut().extend(given.collect::<HeaderMap>());
    reply
}

/// The whole length announced, a part of it sent, then the connection is broken.
async fn truncated(reply: Response, bytes: usize) -> Response {
    let (mut parts, body) = reply.into_parts();
    let whole = body
        .collect()
        .await
        .map(|b| b.to_bytes())
        .unwrap_or_default();
    if bytes >= whole.len() {
        return Response::from_parts(parts, Body::from(whole));
    }
    parts
        .headers
        .insert("content-length", HeaderValue::from(whole.len()));
    let cut = stream::iter([
        Ok(whole.slice(..bytes)),
        Err(std::io::Error::other("cut here")),
    ]);
    // The pause lets the first part leave before the error takes the connection away.
    let cut = futures_util::StreamExt::then(cut, |part| async move {
        if part.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        part
    });
    Response::from_parts(parts, Body::from_stream(cut))
}

/// The routes of the controls themselves.
pub(super) fn router(controls: Arc<Controls>) -> Router {
    Router::new()
        .route("/routes", get(routes))
        .route("/latency", post(latency))
        .route("/clock", post(advance))
        .route("/requests", get(requests).delete(reset))
        .route("/faults", post(plant).delete(clear))
        .route("/processes/{id}", get(processes))
        .with_state(controls)
}

type Reply = Result<Json<Value>, Problem>;

fn number(body: &Bytes, field: &str) -> Result<i64, Problem> {
    let value: Value =
        serde_json::from_slice(body).map_err(|e| Problem::bad_request(e.to_string()))?;
    let bad = || Problem::bad_request(format!("{field} must be an integer"));
    value[field].as_i64().ok_or_else(bad)
}

/// The routes that are served and that official clients know.
async fn routes(State(controls): State<Arc<Controls>>) -> Json<Value> {
    let pairs = |names: &[Name]| -> Vec<[&str; 2]> {
        let pair = |name: &Name| [name.method, name.template];
        names.iter().map(pair).collect()
    };
    Json(json!({ "api": pairs(&controls.names.api), "toolbox": pairs(&controls.names.toolbox) }))
}

async fn latency(State(controls): State<Arc<Controls>>, body: Bytes) -> Reply {
    let ms = number(&body, "ms")?;
    controls
        .latency_ms
        .store(ms.max(0) as u64, Ordering::Relaxed);
    Ok(Json(json!({ "ms": ms })))
}

async fn advance(State(controls): State<Arc<Controls>>, body: Bytes) -> Reply {
    let ms = number(&body, "advance_ms")?;
    controls.sandboxes.advance(ms);
    Ok(Json(json!({ "now": controls.sandboxes.now() })))
}

async fn requests(State(controls): State<Arc<Controls>>) -> Reply {
    let traffic = lock(&controls.traffic).clone();
    let sum = |field: fn(&Traffic) -> u64| traffic.values().map(field).sum::<u64>();
    let in_out = |received: u64, sent: u64| json!({ "in": received, "out": sent });
    let counts = traffic.iter().map(|(route, t)| (route, t.requests));
    let bytes = traffic
        .iter()
        .map(|(route, t)| (route, in_out(t.received, t.sent)));
    Ok(Json(json!({
        "total": sum(|t| t.requests),
        "counts": counts.collect::<BTreeMap<_, _>>(),
        "bytes": bytes.collect::<BTreeMap<_, _>>(),
        "bytesTotal": in_out(sum(|t| t.received), sum(|t| t.sent)),
    })))
}

async fn reset(State(controls): State<Arc<Controls>>) -> Result<StatusCode, Problem> {
    lock(&controls.traffic).clear();
    Ok(StatusCode::NO_CONTENT)
}

async fn plant(State(controls): State<Arc<Controls>>, body: Bytes) -> Result<StatusCode, Problem> {
    let bad = |error: String| Problem::bad_request(error);
    let fault: FaultRequest = serde_json::from_slice(&body).map_err(|e| bad(e.to_string()))?;
    let path = Glob::new(&fault.on.path)
        .map_err(|e| bad(e.to_string()))?
        .compile_matcher();
    lock(&controls.faults).push(Fault {
        method: fault.on.method,
        path,
        skip: fault.on.skip,
        times: fault.times,
        until: fault
            .for_ms
            .map(|ms| Instant::now() + Duration::from_millis(ms)),
        action: fault.action,
    });
    Ok(StatusCode::CREATED)
}

async fn clear(State(controls): State<Arc<Controls>>) -> Result<StatusCode, Problem> {
    lock(&controls.faults).clear();
    Ok(StatusCode::NO_CONTENT)
}

async fn processes(
    State(controls): State<Arc<Controls>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let sandbox = controls.sandboxes.find(&id)?;
    if sandbox.record().state != SandboxState::Started {
        return Ok(Json(json!({ "processes": [] })).into_response());
    }
    sandbox
        .ask_own("GET", "/_processes")
        .await
        .map_err(Problem::internal)
}

#[cfg(test)]
mod tests {
    use super::{Names, counted_as};

    #[test]
    fn a_request_is_counted_under_its_route() {
        let names = Names::all();
        for (method, path, want) in [
            (
                "GET",
                "/api/sandbox/abc",
                "GET /api/sandbox/{sandboxIdOrName}",
            ),
            (
                "POST",
                "/toolbox/x/process/execute",
                "POST /toolbox/{sandboxId}/process/execute",
            ),
            (
                "GET",
                "/toolbox/x/process/session/entrypoint",
                "GET /toolbox/{sandboxId}/process/session/entrypoint",
            ),
            (
                "GET",
                "/toolbox/x/process/session/s1",
                "GET /toolbox/{sandboxId}/process/session/{sessionId}",
            ),
            ("GET", "/toolbox/x/nope", "GET /toolbox/{sandboxId}/nope"),
        ] {
            assert_eq!(counted_as(&names, method, path), want);
        }
    }
}
