//! Requests of git: the three of its smart HTTP protocol, for the repositories of a sandbox.
//!
//! Git prints the body of an error to the first request if it is plain text, and none of an error to the second,
//! so all that can be refused is refused at the first.

mod config;

pub use config::git_config;

use super::config::{GitHost, GitLogin, Repository, Secret, Settings};
use super::grant::Grant;
use super::refusal::Refusal;
use super::reply::{Reply, names};
use super::upstream::{Answer, Upstream, listed};
use super::wire::{Download, Pulse, Upload, Watch};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use reqwest::Url;
use tokio::sync::OwnedSemaphorePermit;

/// The headers that a host sees of a sandbox.
const ASKED: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "content-type",
    "content-encoding",
    "git-protocol",
    "user-agent",
];

/// The headers that a sandbox sees of a host.
const ANSWERED: &[&str] = &[
    "cache-control",
    "content-encoding",
    "content-type",
    "expires",
    "pragma",
    "retry-after",
];

/// One of the two services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    Fetch,
    Push,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Service::Fetch => "git-upload-pack",
            Service::Push => "git-receive-pack",
        }
    }

    fn of(name: &str) -> Option<Self> {
        let all = [Service::Fetch, Service::Push];
        all.into_iter().find(|service| service.name() == name)
    }
}

/// One of the three requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Refs(Service),
    Pack(Service),
}

impl Call {
    /// The path of a repository and what is asked of it.
    fn of<'a>(parts: &Parts, rest: &'a str) -> Result<(&'a str, Call), Refusal> {
        if let Some((_, call)) = rest.split_once("/info/lfs/") {
            let is_batch = call == "objects/batch";
            return Err(Refusal::Lfs { is_batch });
        }
        let what = || Refusal::NotGit { what: rest.into() };
        let method = |allowed| match parts.method.as_str() == allowed {
            true => Ok(()),
            false => Err(Refusal::Method {
                what: rest.into(),
                allowed,
            }),
        };
        if let Some(path) = rest.strip_suffix("/info/refs") {
            method("GET")?;
            let service = parts
                .uri
                .query()
                .and_then(|query| query.strip_prefix("service="));
            let service = service.and_then(Service::of).ok_or_else(what)?;
            return Ok((path, Call::Refs(service)));
        }
        let (path, name) = rest.rsplit_once('/').ok_or_else(what)?;
        let service = Service::of(name).ok_or_else(what)?;
        method("POST")?;
        Ok((path, Call::Pack(service)))
    }

    fn service(self) -> Service {
        match self {
            Call::Refs(service) | Call::Pack(service) => service,
        }
    }

    /// What is behind the repository's path.
    fn path(self) -> String {
        match self {
            Call::Refs(service) => format!("info/refs?service={}", service.name()),
            Call::Pack(service) => service.name().into(),
        }
    }

    /// The type of an answer that is git's.
    fn content_type(self) -> String {
        match self {
            Call::Refs(service) => format!("application/x-{}-advertisement", service.name()),
            Call::Pack(service) => format!("application/x-{}-result", service.name()),
        }
    }
}

/// Sends a request of git on.
pub(super) async fn ask(
    upstream: &Upstream,
    settings: &Settings,
    (host, rest): (&str, &str),
    (parts, body): (&Parts, &mut Option<Incoming>),
    grant: &Grant,
    pulse: &Pulse,
) -> Result<Reply, Refusal> {
    let found = settings
        .git
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(host));
    let host = found.ok_or_else(|| Refusal::Host {
        host: host.into(),
        known: names(settings.git.iter().map(|host| &host.name)),
    })?;
    let (path, call) = Call::of(parts, rest)?;
    let repository = repository(host, path, grant)?;
    if call.service() == Service::Push && !repository.may_push {
        return Err(Refusal::MayNotPush {
            host: host.name.clone(),
            path: path.into(),
        });
    }
    let slot = grant.slot()?;
    let limits = &upstream.limits;
    // A body that is known to be too large stays, so that it is read to its end and the error is seen.
    let incoming = body.take_if(|body| body.size_hint().lower() <= limits.git_body);
    let limit = limits.git_body;
    let incoming = incoming.ok_or(Refusal::Large { limit })?;
    let (request, sent) = {
        let upload = Upload::new(incoming, limit, pulse.clone(), limits.idle);
        let sent = upload.ended();
        // The body of a GET, which nobody has a use for, does not go along.
        if let Call::Refs(_) = call {
            sent.notify_one();
        }
        (request(host, repository, call, parts, upload)?, sent)
    };
    let answer = upstream.send(request, &host.name, &sent, pulse).await?;
    reply(upstream, host, repository, call, answer, slot, pulse).await
}

/// The repository of a path, as the list has it: that is what the host is asked for.
fn repository<'a>(host: &GitHost, path: &str, grant: &'a Grant) -> Result<&'a Repository, Refusal> {
    let bare = path.strip_suffix(".git").unwrap_or(path);
    let is_it = |listed: &&Repository| {
        let name = format!("{}/{}", listed.owner, listed.name);
        listed.host.eq_ignore_ascii_case(&host.name)
            && match host.ignores_case {
                true => name.eq_ignore_ascii_case(bare),
                false => name == bare,
            }
    };
    grant
        .repositories
        .iter()
        .find(is_it)
        .ok_or_else(|| Refusal::Repository {
            host: host.name.clone(),
            path: bare.into(),
        })
}

fn request(
    host: &GitHost,
    repository: &Repository,
    call: Call,
    parts: &Parts,
    upload: Upload,
) -> Result<reqwest::Request, Refusal> {
    let Repository { owner, name, .. } = repository;
    // GitLab has a repository at its name with `.git` only; the others have it at both.
    let url = format!("{}/{owner}/{name}.git/{}", host.base_url, call.path());
    let url = Url::parse(&url).map_err(|_| Refusal::Form)?;
    let method = match call {
        Call::Refs(_) => Method::GET,
        Call::Pack(_) => Method::POST,
    };
    let mut request = reqwest::Request::new(method, url);
    *request.headers_mut() = listed(&parts.headers, ASKED);
    if let Some(login) = &host.login {
        let value = HeaderValue::from_str(&format!("Basic {}", basic(login).expose()));
        let mut value = value.map_err(|_| Refusal::Form)?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    if matches!(call, Call::Pack(_)) {
        *request.body_mut() = Some(reqwest::Body::wrap(upload));
    }
    Ok(request)
}

/// A login as the header of a request has it.
fn basic(login: &GitLogin) -> Secret {
    let text = format!("{}:{}", login.user, login.token.expose());
    Secret::new(STANDARD.encode(text))
}

async fn reply(
    upstream: &Upstream,
    host: &GitHost,
    repository: &Repository,
    call: Call,
    answer: Answer,
    slot: OwnedSemaphorePermit,
    pulse: &Pulse,
) -> Result<Reply, Refusal> {
    let kind = answer
        .headers()
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    let is_git = kind == Some(call.content_type().as_bytes());
    if answer.status() != StatusCode::OK || !is_git {
        return Err(refused(upstream, host, repository, answer).await);
    }
    let headers = listed(answer.headers(), ANSWERED);
    let idle = upstream.limits.idle;
    let body = Download::new(
        answer.into_body(),
        Held { _slot: slot },
        pulse.clone(),
        idle,
    );
    let mut reply = Response::new(body.boxed_unsync());
    *reply.headers_mut() = headers;
    Ok(reply)
}

/// Why a host did not do it.
async fn refused(
    upstream: &Upstream,
    host: &GitHost,
    repository: &Repository,
    answer: Answer,
) -> Refusal {
    let status = answer.status();
    let path = format!("{}/{}", repository.owner, repository.name);
    let name = host.name.clone();
    if status.is_redirection() {
        return match moved(answer.headers().get(LOCATION)) {
            Some(to) => Refusal::Moved {
                host: name,
                path,
                to,
            },
            None => Refusal::Redirect { to: name, status },
        };
    }
    match (status, &host.login) {
        (StatusCode::UNAUTHORIZED, Some(_)) => return Refusal::GitKey { host: name },
        (StatusCode::UNAUTHORIZED, None) | (StatusCode::NOT_FOUND, _) => {
            return Refusal::NotThere { host: name, path };
        }
        _ => {}
    }
    let kind = answer
        .headers()
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes);
    let is_text = kind.is_some_and(|kind| kind.starts_with(b"text/plain"));
    let said = match is_text {
        true => upstream.text(answer).await.map(|text| said(host, &text)),
        false => None,
    };
    Refusal::GitRefused {
        host: name,
        path,
        status,
        said: said.unwrap_or_else(|| ".".into()),
    }
}

/// A host's own words, as part of a sentence.
fn said(host: &GitHost, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = match &host.login {
        Some(login) => basic(login).cut_from(&login.token.cut_from(&text)),
        None => text.into_owned(),
    };
    let letters = text.trim().chars().filter(|letter| !letter.is_control());
    format!(": {}", letters.take(500).collect::<String>())
}

/// The repository that a redirect leads to, if it is written as one is.
fn moved(location: Option<&HeaderValue>) -> Option<String> {
    let text = location?.to_str().ok()?;
    let path = match Url::parse(text) {
        Ok(url) => url.path().to_string(),
        Err(_) => text.split('?').next()?.to_string(),
    };
    let path = path.strip_suffix("/info/refs")?.trim_start_matches('/');
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "/-._~".contains(letter);
    let path = path.strip_suffix(".git").unwrap_or(path);
    (path.chars().all(fits) && path.len() < 200).then(|| path.into())
}

/// Holds the place of a request.
struct Held {
    _slot: OwnedSemaphorePermit,
}

impl Watch for Held {
    fn pass(&mut self, _: &[u8]) {}

    fn end(&mut self) {}
}
