//! What goes out of a sandbox with our keys: requests to models and to git hosts.
//!
//! A sandbox sends plain HTTP to a port of its own loopback, and each connection arrives here as a stream of
//! bytes. The program that this is part of puts the key in and sends the request on. So a sandbox can use a
//! key for what is listed here, and can never read it.
//!
//! Each connection carries one request: what is behind it is never read, so there is no second request for
//! the two ends to disagree about, and the end of a connection is the end of what it asked for.

mod config;
mod git;
mod grant;
mod models;
mod path;
mod refusal;
mod reply;
mod upstream;
mod wire;

pub use config::{
    GitHost, GitLogin, Limits, ModelKind, ModelRoute, Repository, Secret, Settings, SettingsError,
};
pub use git::git_config;
pub use grant::{Allowance, Grant, Refused, Tokens, Usage};
pub use models::provider_config;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::UPGRADE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use path::{NoTarget, Target};
use refusal::Refusal;
use reply::Reply;
use std::convert::Infallible;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use upstream::Upstream;
use wire::Pulse;

/// How long the head of a request may take.
const HEAD: Duration = Duration::from_secs(30);
/// No head that OpenCode or git sends comes near.
const HEAD_BYTES: usize = 64 << 10;
/// How much of a refused body is read, and for how long: a client that still sends does not see the answer.
const UNREAD_BYTES: usize = 64 << 20;
const UNREAD: Duration = Duration::from_secs(10);

/// Sends requests of sandboxes on, with our keys. One serves all sandboxes.
pub struct Gateway {
    settings: Settings,
    upstream: Upstream,
}

/// Why a connection ended before its request was answered. Nothing is to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// It was no HTTP, or the sandbox closed it.
    #[error("a connection of a sandbox broke off: {0}")]
    Broken(#[from] hyper::Error),
    /// A time limit has passed.
    #[error("a connection of a sandbox was cut, because nothing moved on it for too long")]
    Stopped,
}

impl Gateway {
    /// A gateway with these settings. `client` says whose certificates are accepted and which proxies are used.
    pub fn new(settings: Settings, client: reqwest::ClientBuilder) -> Result<Self, SettingsError> {
        let settings = settings.checked()?;
        let upstream = Upstream::new(client, settings.limits.clone())?;
        Ok(Gateway { settings, upstream })
    }

    /// Serves the one request of a connection that something in a sandbox made, and returns when it is over.
    /// If the connection ends before, so does the request to the provider.
    pub async fn serve<S>(&self, stream: S, grant: &Grant) -> Result<(), ConnectionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let pulse = Pulse::new(HEAD + self.settings.limits.idle);
        let service = service_fn(|request| async {
            Ok::<_, Infallible>(self.answer(request, grant, &pulse).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .keep_alive(false)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = connection => Ok(ended?),
            () = pulse.stopped() => Err(ConnectionError::Stopped),
        }
    }

    async fn answer(&self, request: Request<Incoming>, grant: &Grant, pulse: &Pulse) -> Reply {
        pulse.beat(self.settings.limits.idle);
        let (parts, body) = request.into_parts();
        let mut body = Some(body);
        let target = path::parse(&parts.uri);
        let answer = match &target {
            _ if parts.headers.contains_key(UPGRADE) => Err(Refusal::Upgrade),
            Err(NoTarget::Form) => Err(Refusal::Form),
            Err(NoTarget::Unknown) => Err(Refusal::Unknown),
            Ok(Target::Model { provider, rest }) => {
                let (upstream, settings) = (&self.upstream, &self.settings);
                let request = (&parts, &mut body);
                models::ask(upstream, settings, (provider, rest), request, grant, pulse).await
            }
            Ok(Target::Git { host, rest }) => {
                let (upstream, settings) = (&self.upstream, &self.settings);
                let request = (&parts, &mut body);
                git::ask(upstream, settings, (host, rest), request, grant, pulse).await
            }
        };
        let refusal = match answer {
            Ok(reply) => return reply,
            Err(refusal) => refusal,
        };
        if let Some(body) = body {
            let _ = tokio::time::timeout(UNREAD, read_to_end(body)).await;
        }
        let response: Response<_> = match target {
            Ok(Target::Git { .. }) => refusal.for_git(),
            _ => refusal.for_models(),
        };
        response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
    }
}

/// Reads what is left of a body, so that whoever sends it sees the answer.
async fn read_to_end(mut body: Incoming) {
    let mut left = UNREAD_BYTES;
    while !body.is_end_stream() {
        let Some(Ok(frame)) = body.frame().await else {
            return;
        };
        let length = frame.data_ref().map_or(0, |data| data.len());
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
