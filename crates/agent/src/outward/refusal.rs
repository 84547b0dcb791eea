//! Why a request got no answer of a provider or host, and how that is told.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;
use std::time::Duration;

/// Why a request got no answer of a provider or host. Each says what happened, to what, and what to do next.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(
        "This path is not written in the one form that is accepted here: no escapes, no empty or dotted parts, no host."
    )]
    Form,
    #[error(
        "There is nothing at this path. Models are at /model/<provider>/, repositories at /git/<host>/<owner>/<name>."
    )]
    Unknown,
    #[error(
        "This address speaks plain HTTP requests only; it cannot be upgraded to anything else."
    )]
    Upgrade,
    #[error("`{what}` is asked for with {allowed} only.")]
    Method { what: String, allowed: &'static str },
    #[error("The provider `{provider}` is not configured here. Configured: {known}.")]
    Provider { provider: String, known: String },
    #[error(
        "`{rest}` is none of the requests that the provider `{provider}` may be sent from here; only those that make a model answer are."
    )]
    Request { provider: String, rest: String },
    #[error("The model `{model}` of `{provider}` is not allowed here. Allowed: {known}.")]
    Model {
        model: String,
        provider: String,
        known: String,
    },
    #[error("The body of this request cannot be used: {0}.")]
    Body(String),
    #[error("The body of this request is larger than the {limit} bytes that are allowed.")]
    Large { limit: u64 },
    #[error("The request ended before its body did.")]
    Cut,
    #[error(
        "{limit} requests of this sandbox are under way, which is as many as may be at once. Try again when one has ended."
    )]
    AtOnce { limit: usize },
    #[error("{reason}")]
    Allowance {
        reason: String,
        retry_after: Option<Duration>,
    },
    #[error(
        "`{to}` could not be reached: {reason}. Try again; if it stays so, its base URL may be wrong."
    )]
    Unreachable { to: String, reason: &'static str },
    #[error("`{to}` did not answer within {} seconds.", .limit.as_secs_f32())]
    Silent { to: String, limit: Duration },
    #[error(
        "`{to}` answered with a redirect ({status}), which is not followed because our key would go along. Its base URL may be wrong."
    )]
    Redirect { to: String, status: StatusCode },
    #[error(
        "`{to}` does not accept the key that is configured for it ({status}). Whoever runs this service must renew it."
    )]
    Key { to: String, status: StatusCode },
    #[error("`{to}` answered {status} with a text that is too large to pass on.")]
    LargeError { to: String, status: StatusCode },
    #[error("The git host `{host}` is not configured here. Configured: {known}.")]
    Host { host: String, known: String },
    #[error("The repository `{path}` of {host} is none of those that this sandbox may use.")]
    Repository { host: String, path: String },
    #[error("The repository `{path}` of {host} may be read from this sandbox, not pushed to.")]
    MayNotPush { host: String, path: String },
    #[error(
        "Only git's own fetch and push are served here (its smart HTTP protocol), not `{what}`."
    )]
    NotGit { what: String },
    #[error(
        "Files of Git LFS are not served here, because their addresses carry credentials. Clone with GIT_LFS_SKIP_SMUDGE=1 to go on without them."
    )]
    Lfs { is_batch: bool },
    #[error(
        "{host} has moved {path} to {to}. Name it so in the list of repositories; redirects are not followed."
    )]
    Moved {
        host: String,
        path: String,
        to: String,
    },
    #[error(
        "{host} has no repository {path}, or the token that is configured for it may not read it."
    )]
    NotThere { host: String, path: String },
    #[error(
        "{host} does not accept the token that is configured for it. Whoever runs this service must renew it."
    )]
    GitKey { host: String },
    #[error("{host} refused this for {path} ({status}){said}")]
    GitRefused {
        host: String,
        path: String,
        status: StatusCode,
        said: String,
    },
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Refusal::Form | Refusal::Upgrade | Refusal::Body(_) | Refusal::Cut => {
                StatusCode::BAD_REQUEST
            }
            Refusal::Unknown
            | Refusal::Provider { .. }
            | Refusal::Request { .. }
            | Refusal::Host { .. }
            | Refusal::NotThere { .. }
            | Refusal::Lfs { is_batch: false } => StatusCode::NOT_FOUND,
            Refusal::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            // Never 401 for git: it would ask the agent for a password.
            Refusal::Model { .. }
            | Refusal::Repository { .. }
            | Refusal::MayNotPush { .. }
            | Refusal::NotGit { .. }
            | Refusal::GitKey { .. }
            | Refusal::Lfs { is_batch: true } => StatusCode::FORBIDDEN,
            Refusal::Large { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::AtOnce { .. } => StatusCode::TOO_MANY_REQUESTS,
            // OpenCode repeats what gets a 429 without end, so only what can pass later gets one.
            Refusal::Allowance { retry_after, .. } => match retry_after {
                Some(_) => StatusCode::TOO_MANY_REQUESTS,
                None => StatusCode::PAYMENT_REQUIRED,
            },
            Refusal::Unreachable { .. } | Refusal::Redirect { .. } | Refusal::Moved { .. } => {
                StatusCode::BAD_GATEWAY
            }
            Refusal::Silent { .. } => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Key { status, .. } | Refusal::LargeError { status, .. } => *status,
            Refusal::GitRefused { status, .. } if status.is_success() => StatusCode::BAD_GATEWAY,
            Refusal::GitRefused { status, .. } => *status,
        }
    }

    /// As all of the AI SDK's providers read errors: the fields of OpenAI's, Anthropic's and Google's in one object.
    pub(super) fn for_models(&self) -> Response<Full<Bytes>> {
        let status = self.status();
        let kind = match status {
            StatusCode::BAD_REQUEST => "invalid_request_error",
            StatusCode::NOT_FOUND => "not_found_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "api_error",
            _ => "permission_error",
        };
        let body = json!({
            "type": "error",
            "error": {
                "type": kind,
                "message": self.to_string(),
                "code": status.as_u16(),
                "status": kind.to_uppercase(),
            },
        });
        self.response("application/json", body.to_string())
    }

    /// As git shows errors: it prints a body of plain text.
    pub(super) fn for_git(&self) -> Response<Full<Bytes>> {
        if matches!(self, Refusal::Lfs { .. }) {
            let body = json!({ "message": self.to_string() });
            return self.response("application/vnd.git-lfs+json", body.to_string());
        }
        self.response("text/plain; charset=utf-8", format!("{self}\n"))
    }

    fn response(&self, kind: &'static str, body: String) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let wait = match self {
            Refusal::AtOnce { .. } => Some(1),
            Refusal::Allowance { retry_after, .. } => retry_after.map(|wait| wait.as_secs().max(1)),
            _ => None,
        };
        if let Some(seconds) = wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Refusal::Method { allowed, .. } = self {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        response
    }
}
