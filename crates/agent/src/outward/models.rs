//! Requests to models: which provider, which model, with which key.

mod body;
mod form;
mod usage;

use super::config::{ModelRoute, Settings};
use super::grant::{Account, Grant, Usage};
use super::refusal::Refusal;
use super::reply::{Reply, full, names};
use super::upstream::{Answer, Upstream, listed};
use super::wire::{Download, Pulse, Upload, UploadError, Watch};
use body::Asked;
use bytes::{Bytes, BytesMut};
use form::Form;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use usage::Meter;

/// The headers that a provider sees of a sandbox. Any other could be a key, choose who pays, or say who asks.
const ASKED: &[&str] = &[
    "accept",
    "content-type",
    "user-agent",
    "anthropic-version",
    "anthropic-beta",
    // What OpenCode adds, so that requests of one session come to one machine.
    "x-opencode-",
    "x-session-affinity",
    "x-session-id",
    "x-parent-session-id",
];

/// The headers that a sandbox sees of a provider.
const ANSWERED: &[&str] = &[
    "content-type",
    "retry-after",
    "retry-after-ms",
    "request-id",
    "x-request-id",
    "x-should-retry",
    "x-ratelimit-",
    "anthropic-ratelimit-",
];

/// Sends a request to a model on.
pub(super) async fn ask(
    upstream: &Upstream,
    settings: &Settings,
    (provider, rest): (&str, &str),
    (parts, body): (&Parts, &mut Option<Incoming>),
    grant: &Grant,
    pulse: &Pulse,
) -> Result<Reply, Refusal> {
    let route = settings.models.iter().find(|route| route.name == provider);
    let route = route.ok_or_else(|| Refusal::Provider {
        provider: provider.into(),
        known: names(settings.models.iter().map(|route| &route.name)),
    })?;
    let form = Form::of(route.kind, rest).ok_or_else(|| Refusal::Request {
        provider: provider.into(),
        rest: rest.into(),
    })?;
    if parts.method != form.method() {
        let allowed = match form {
            Form::List => "GET",
            _ => "POST",
        };
        let what = format!("{provider}/{rest}");
        return Err(Refusal::Method { what, allowed });
    }
    if form == Form::List {
        return Ok(list(route));
    }
    let slot = grant.slot()?;
    let body = whole(upstream, &parts.headers, body, pulse).await?;
    let model = allowed(route, &form, &body)?;
    let account = grant.start(Usage {
        provider: provider.into(),
        model,
        tokens: None,
        sent: body.len() as u64,
        received: 0,
    })?;
    let request = request(route, &form, rest, parts, body)?;
    let sent = Notify::new();
    sent.notify_one();
    let answer = upstream.send(request, provider, &sent, pulse).await?;
    reply(upstream, route, answer, (account, slot), pulse).await
}

/// The body of a request, which must be seen before the first byte goes: it names the model.
async fn whole(
    upstream: &Upstream,
    headers: &HeaderMap,
    body: &mut Option<Incoming>,
    pulse: &Pulse,
) -> Result<Bytes, Refusal> {
    let limit = upstream.limits.model_body;
    if headers.contains_key(CONTENT_ENCODING) {
        let reason = "it is compressed; send it as it is";
        return Err(Refusal::Body(reason.into()));
    }
    // What is left where it is will be read to its end, so that the error is seen.
    let incoming = body.take_if(|body| body.size_hint().lower() <= limit);
    let incoming = incoming.ok_or(Refusal::Large { limit })?;
    let mut upload = Upload::new(incoming, limit, pulse.clone(), upstream.limits.idle);
    let mut all = BytesMut::new();
    while let Some(frame) = upload.frame().await {
        match frame {
            Ok(frame) => all.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(UploadError::Cut(_)) => return Err(Refusal::Cut),
            Err(UploadError::Large(limit)) => {
                *body = Some(upload.into_inner());
                return Err(Refusal::Large { limit });
            }
        }
    }
    Ok(all.freeze())
}

/// The model that a request asks for, if it may be.
fn allowed(route: &ModelRoute, form: &Form, body: &[u8]) -> Result<String, Refusal> {
    let asked = body::asked(body).map_err(|error| Refusal::Body(error.to_string()))?;
    let Asked { model, instead } = asked;
    let in_path = match form {
        Form::Google(model) => Some(model.clone()),
        _ => None,
    };
    // Google's own name of a model in a body has its collection in front.
    let model = model.map(|model| match (form, model.strip_prefix("models/")) {
        (Form::Google(_), Some(name)) => name.into(),
        _ => model,
    });
    let all: Vec<String> = in_path.into_iter().chain(model).chain(instead).collect();
    if let Some(model) = all.iter().find(|model| !route.models.contains(model)) {
        return Err(Refusal::Model {
            model: model.chars().take(200).collect(),
            provider: route.name.clone(),
            known: names(route.models.iter()),
        });
    }
    let first = all.into_iter().next();
    first.ok_or_else(|| Refusal::Body("it names no model in the field `model`".into()))
}

fn request(
    route: &ModelRoute,
    form: &Form,
    rest: &str,
    parts: &Parts,
    body: Bytes,
) -> Result<reqwest::Request, Refusal> {
    let query = form.query(parts.uri.query());
    let url = format!("{}/{rest}{query}", route.base_url);
    // Both were checked, each alone.
    let url = url.parse().map_err(|_| Refusal::Form)?;
    let mut request = reqwest::Request::new(form.method(), url);
    *request.headers_mut() = listed(&parts.headers, ASKED);
    let (name, before) = form.key();
    let value = format!("{before}{}", route.key.expose());
    let mut value = HeaderValue::from_str(&value).map_err(|_| Refusal::Form)?;
    value.set_sensitive(true);
    request.headers_mut().insert(name, value);
    // A compressed answer would come in blocks, and its tokens could not be read.
    let plain = HeaderValue::from_static("identity");
    request.headers_mut().insert(ACCEPT_ENCODING, plain);
    *request.body_mut() = Some(body.into());
    Ok(request)
}

async fn reply(
    upstream: &Upstream,
    route: &ModelRoute,
    answer: Answer,
    (account, slot): (Account, OwnedSemaphorePermit),
    pulse: &Pulse,
) -> Result<Reply, Refusal> {
    let status = answer.status();
    let to = || route.name.clone();
    if status.is_redirection() {
        return Err(Refusal::Redirect { to: to(), status });
    }
    // Some repeat parts of the key that they refuse.
    if status == StatusCode::UNAUTHORIZED {
        return Err(Refusal::Key { to: to(), status });
    }
    let mut headers = listed(answer.headers(), ANSWERED);
    let key = route.key.expose().as_bytes();
    let has_key = |value: &HeaderValue| value.as_bytes().windows(key.len()).any(|part| part == key);
    if headers.values().any(has_key) {
        headers.clear();
    }
    let body = if status.is_success() {
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_stream = kind.is_some_and(|kind| kind.starts_with(b"text/event-stream"));
        let watch = Spending {
            meter: Meter::new(is_stream),
            account,
            _slot: slot,
        };
        let idle = upstream.limits.idle;
        Download::new(answer.into_body(), watch, pulse.clone(), idle).boxed_unsync()
    } else {
        let text = upstream.text(answer).await;
        let text = text.ok_or_else(|| Refusal::LargeError { to: to(), status })?;
        full(route.key.cut_from(&String::from_utf8_lossy(&text)))
    };
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    Ok(reply)
}

/// Reads what an answer costs, and holds the place of its request.
struct Spending {
    meter: Meter,
    account: Account,
    _slot: OwnedSemaphorePermit,
}

impl Watch for Spending {
    fn pass(&mut self, bytes: &[u8]) {
        self.account.usage.received += bytes.len() as u64;
        self.meter.take(bytes);
    }

    fn end(&mut self) {
        self.account.usage.tokens = self.meter.end();
    }
}

impl Drop for Spending {
    /// An answer that was cut has used what it said until then.
    fn drop(&mut self) {
        self.end();
    }
}

/// The models that are allowed, in OpenAI's form. What else the provider has is nothing to choose from.
fn list(route: &ModelRoute) -> Reply {
    let models = route.models.iter();
    let data = models.map(|id| json!({ "id": id, "object": "model", "owned_by": route.name }));
    let body = json!({ "object": "list", "data": data.collect::<Vec<_>>() });
    let mut reply = Response::new(full(body.to_string()));
    let kind = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// OpenCode's configuration of the providers (its key `provider`), for a sandbox whose outward port this is.
/// The key in it is none: OpenCode takes a provider without one for one that is not set up.
pub fn provider_config(routes: &[ModelRoute], port: u16) -> Value {
    let provider = |route: &ModelRoute| {
        let version = route.kind.version().unwrap_or_default();
        let models = route.models.iter();
        let mut provider = json!({
            "options": {
                "baseURL": format!("http://127.0.0.1:{port}/model/{}{version}", route.name),
                "apiKey": "none",
            },
            "models": models.map(|model| (model.clone(), json!({}))).collect::<serde_json::Map<_, _>>(),
            "whitelist": route.models,
        });
        if let Some(package) = form::package(route.kind, &route.name) {
            provider["npm"] = package.into();
        }
        (route.name.clone(), provider)
    };
    Value::Object(routes.iter().map(provider).collect())
}
