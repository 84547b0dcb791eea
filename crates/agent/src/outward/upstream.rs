//! Requests to providers and hosts: no redirect is followed, and each has a time limit.

use super::config::{Limits, SettingsError};
use super::refusal::Refusal;
use super::wire::{Pulse, UploadError};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::Response;
use hyper::body::Body;
use hyper::header::HeaderName;
use std::error::Error;
use std::time::Duration;
use tokio::sync::Notify;

/// The longest text of an error that is passed on.
const LONGEST_ERROR: usize = 256 << 10;

/// How long a connection is kept that nothing goes through: less than what load balancers in front of providers
/// keep one, because a request on one that just closes is lost.
const UNUSED: Duration = Duration::from_secs(30);

/// An answer, whose body comes while it is read.
pub(super) type Answer = Response<reqwest::Body>;

/// What sends.
pub(super) struct Upstream {
    client: reqwest::Client,
    pub(super) limits: Limits,
}

impl Upstream {
    /// A client that follows no redirect: another server would get the key.
    pub(super) fn new(
        client: reqwest::ClientBuilder,
        limits: Limits,
    ) -> Result<Self, SettingsError> {
        let client = client
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(limits.connect)
            .pool_idle_timeout(UNUSED)
            .build();
        Ok(Upstream {
            client: client.map_err(SettingsError::Client)?,
            limits,
        })
    }

    /// Sends a request to what an error calls `to`. `sent` is notified when the last byte of the body has gone.
    pub(super) async fn send(
        &self,
        request: reqwest::Request,
        to: &str,
        sent: &Notify,
        pulse: &Pulse,
    ) -> Result<Answer, Refusal> {
        let limit = self.limits.first_byte;
        let silent = async {
            sent.notified().await;
            // Who waits here says that it was in vain, and not the end of the connection.
            pulse.beat(limit + self.limits.idle);
            tokio::time::sleep(limit).await;
        };
        tokio::select! {
            answer = self.client.execute(request) => {
                Ok(answer.map_err(|error| failed(error, to))?.into())
            }
            () = silent => Err(Refusal::Silent { to: to.into(), limit }),
        }
    }

    /// The text of an answer that says what went wrong. None if it is too long, or does not come.
    pub(super) async fn text(&self, answer: Answer) -> Option<Bytes> {
        let text = collect(answer.into_body(), LONGEST_ERROR);
        tokio::time::timeout(self.limits.idle, text).await.ok()?
    }
}

async fn collect(mut body: impl Body<Data = Bytes> + Unpin, limit: usize) -> Option<Bytes> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let data = frame.ok()?.into_data().unwrap_or_default();
        if all.len() + data.len() > limit {
            return None;
        }
        all.extend_from_slice(&data);
    }
    Some(all.freeze())
}

/// Those of the headers that a list has. An entry that ends with `-` names all that begin so.
pub(super) fn listed(headers: &HeaderMap, list: &[&str]) -> HeaderMap {
    let is_listed = |name: &HeaderName| {
        list.iter().any(|entry| match entry.ends_with('-') {
            true => name.as_str().starts_with(entry),
            false => name == entry,
        })
    };
    let found = headers.iter().filter(|(name, _)| is_listed(name));
    found
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Why there is no answer. The error's own words have the URL, which is nothing for a sandbox.
fn failed(error: reqwest::Error, to: &str) -> Refusal {
    let mut cause: Option<&dyn Error> = error.source();
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(UploadError::Large(limit)) => return Refusal::Large { limit: *limit },
            Some(UploadError::Cut(_)) => return Refusal::Cut,
            None => cause = error.source(),
        }
    }
    let reason = match () {
        () if error.is_connect() && error.is_timeout() => "the connection took too long",
        () if error.is_connect() => "there is no connection",
        () => "the connection broke off",
    };
    Refusal::Unreachable {
        to: to.into(),
        reason,
    }
}
