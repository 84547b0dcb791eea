//! Test controls below `/_test`: latency, counts of requests and bytes, planted faults, the clock,
//! process lists.
//!
//! They exist only with `--test-controls`, need the key like everything else, and are themselves
//! neither counted nor faulted. A fault's `match.path` is a glob over the path; `*` also crosses `/`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State as Extract};
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

use super::lifecycle::Sandbox;
use super::sandbox::State;
use super::{App, CloseConnection, routes};
use crate::problem::Problem;

#[derive(Default)]
pub(super) struct Controls {
    latency_ms: AtomicU64,
    traffic: Arc<Mutex<BTreeMap<String, Traffic>>>,
    faults: Mutex<Vec<Fault>>,
}

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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Controls {
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

/// Handles a request with everything counted: it, and what goes in and out.
pub(super) async fn apply(
    app: &Arc<App>,
    controls: &Controls,
    request: Request,
) -> Result<Response, CloseConnection> {
    let route = routes::template(request.method().as_str(), request.uri().path());
    lock(&controls.traffic)
        .entry(route.clone())
        .or_default()
        .requests += 1;
    let request = request.map(|body| controls.counted(&route, body, |t| &mut t.received));
    let reply = planned(app, controls, request).await?;
    Ok(reply.map(|body| controls.counted(&route, body, |t| &mut t.sent)))
}

/// Handles a request as planned: delayed, and with its fault if there is one.
async fn planned(
    app: &Arc<App>,
    controls: &Controls,
    request: Request,
) -> Result<Response, CloseConnection> {
    let (method, path) = (
        request.method().to_string(),
        request.uri().path().to_owned(),
    );
    let latency = controls.latency_ms.load(Ordering::Relaxed);
    if latency > 0 {
        tokio::time::sleep(Duration::from_millis(latency)).await;
    }
    let Some(action) = controls.take(&method, &path) else {
        return Ok(app.handle(request).await);
    };
    match action {
        Action::Status {
            status,
            body,
            headers,
        } => Ok(status_reply(status, body, &headers)),
        Action::DropBefore => Err(CloseConnection),
        Action::DropAfter => {
            let _ = app.handle(request).await.into_body().collect().await;
            Err(CloseConnection)
        }
        Action::Truncate { bytes } => Ok(truncated(app.handle(request).await, bytes).await),
        Action::Garbage => {
            let page = "<html><body>Please sign in to this network</body></html>";
            Ok(([("content-type", "text/html")], page).into_response())
        }
        Action::Slow { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(app.handle(request).await)
        }
        Action::Repeat => {
            let (parts, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map(|b| b.to_bytes())
                .unwrap_or_default();
            let again = |body: &Bytes| Request::from_parts(parts.clone(), Body::from(body.clone()));
            let _ = app.handle(again(&body)).await.into_body().collect().await;
            Ok(app.handle(again(&body)).await)
        }
        Action::StopSandbox => {
            if let Some(sandbox) = addressed(app, &path) {
                let _ = app.sandboxes.stop(&sandbox, true);
                app.sandboxes.quiet(&sandbox).await;
            }
            Ok(app.handle(request).await)
        }
        Action::FailSandbox { recoverable } => {
            if let Some(sandbox) = addressed(app, &path) {
                app.sandboxes.fail(&sandbox, recoverable).await;
            }
            Ok(app.handle(request).await)
        }
        Action::DeleteSandbox => {
            if let Some(sandbox) = addressed(app, &path) {
                let _ = app.sandboxes.delete(&sandbox);
                app.sandboxes.quiet(&sandbox).await;
            }
            Ok(app.handle(request).await)
        }
    }
}

fn addressed(app: &App, path: &str) -> Option<Arc<Sandbox>> {
    let rest = path
        .strip_prefix("/toolbox/")
        .or_else(|| path.strip_prefix("/api/sandbox/"))?;
    app.sandboxes.find(rest.split('/').next()?).ok()
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

pub(super) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/latency", post(latency))
        .route("/clock", post(advance))
        .route("/requests", get(requests).delete(reset))
        .route("/faults", post(plant).delete(clear))
        .route("/processes/{id}", get(processes))
}

type Reply = Result<Json<Value>, Problem>;

fn number(body: &Bytes, field: &str) -> Result<i64, Problem> {
    let value: Value =
        serde_json::from_slice(body).map_err(|e| Problem::bad_request(e.to_string()))?;
    let bad = || Problem::bad_request(format!("{field} must be an integer"));
    value[field].as_i64().ok_or_else(bad)
}

async fn latency(Extract(app): Extract<Arc<App>>, body: Bytes) -> Reply {
    let ms = number(&body, "ms")?;
    app.controls()?
        .latency_ms
        .store(ms.max(0) as u64, Ordering::Relaxed);
    Ok(Json(json!({ "ms": ms })))
}

async fn advance(Extract(app): Extract<Arc<App>>, body: Bytes) -> Reply {
    let ms = number(&body, "advance_ms")?;
    app.sandboxes.advance(ms);
    Ok(Json(json!({ "now": app.sandboxes.now() })))
}

async fn requests(Extract(app): Extract<Arc<App>>) -> Reply {
    let traffic = lock(&app.controls()?.traffic).clone();
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

async fn reset(Extract(app): Extract<Arc<App>>) -> Result<StatusCode, Problem> {
    lock(&app.controls()?.traffic).clear();
    Ok(StatusCode::NO_CONTENT)
}

async fn plant(Extract(app): Extract<Arc<App>>, body: Bytes) -> Result<StatusCode, Problem> {
    let bad = |error: String| Problem::bad_request(error);
    let fault: FaultRequest = serde_json::from_slice(&body).map_err(|e| bad(e.to_string()))?;
    let path = Glob::new(&fault.on.path)
        .map_err(|e| bad(e.to_string()))?
        .compile_matcher();
    lock(&app.controls()?.faults).push(Fault {
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

async fn clear(Extract(app): Extract<Arc<App>>) -> Result<StatusCode, Problem> {
    lock(&app.controls()?.faults).clear();
    Ok(StatusCode::NO_CONTENT)
}

async fn processes(
    Extract(app): Extract<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let sandbox = app.sandboxes.find(&id)?;
    if sandbox.record().state != State::Started {
        return Ok(Json(json!({ "processes": [] })).into_response());
    }
    sandbox
        .ask_own("GET", "/_processes")
        .await
        .map_err(Problem::internal)
}
