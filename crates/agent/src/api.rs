//! OpenCode's HTTP API in a sandbox, through the connection: what differs between releases of it belongs here.
//!
//! Everything that answers is the sandbox's, so it is bounded in time and size, and a 200 is believed only if it is JSON:
//! to a path that it does not know OpenCode answers 200 with a web page.

use crate::connection::{Connection, OpenError};
use crate::place::is_supported;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep, timeout};

/// The most that an answer may have, in bytes.
const MAX_ANSWER: usize = 32 << 20;
/// A request that the port takes before OpenCode serves it is never answered (observed, 1.18.33).
const HEALTH_TRY: Duration = Duration::from_secs(1);
const HEALTH_PAUSE: Duration = Duration::from_millis(100);
const QUICK: Duration = Duration::from_secs(60);
/// The user of its Basic authentication.
const USER: &str = "opencode";

/// Why OpenCode did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There was no connection to it.
    #[error(transparent)]
    Connection(#[from] OpenError),
    /// The connection to it broke.
    #[error(
        "OpenCode in the sandbox broke off {path}: {why}. It is started again by itself; see its log"
    )]
    Broken {
        /// What was asked.
        path: String,
        /// What happened.
        why: String,
    },
    /// It did not answer in time.
    #[error("OpenCode in the sandbox has not answered {path} for {} s", limit.as_secs())]
    Slow {
        /// What was asked.
        path: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// It answered with an error.
    #[error("OpenCode in the sandbox answered {status} to {path}: {message}")]
    Refused {
        /// What was asked.
        path: String,
        /// The status of HTTP.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It answered with something that is no answer.
    #[error("OpenCode in the sandbox answered {path} with what is no answer ({why})")]
    Unclear {
        /// What was asked.
        path: String,
        /// What it is.
        why: String,
    },
    /// A release that this program does not know.
    #[error(
        "OpenCode {0} is in the sandbox, and this program speaks with 1.18.15 to 1.x. Use another snapshot"
    )]
    Version(String),
}

/// The API of one OpenCode, for one directory.
pub struct Api {
    connection: Arc<Connection>,
    authorization: String,
    directory: String,
}

#[derive(Deserialize)]
struct Health {
    healthy: bool,
    version: String,
}

impl Api {
    /// Of the OpenCode behind a connection.
    pub fn new(connection: Arc<Connection>, password: &str, directory: &str) -> Self {
        let pair = BASE64_STANDARD.encode(format!("{USER}:{password}"));
        Self {
            connection,
            authorization: format!("Basic {pair}"),
            directory: directory.to_owned(),
        }
    }

    /// Waits until it serves; gives its version.
    pub async fn healthy(&self, limit: Duration) -> Result<String, ApiError> {
        let end = Instant::now() + limit;
        loop {
            let asked = self.send(Method::GET, "/global/health", None, HEALTH_TRY);
            let error = match asked.await {
                Ok(answer) => match serde_json::from_value::<Health>(answer) {
                    Ok(Health {
                        healthy: true,
                        version,
                    }) if is_supported(&version) => {
                        return Ok(version);
                    }
                    Ok(Health {
                        healthy: true,
                        version,
                    }) => {
                        return Err(ApiError::Version(version.chars().take(40).collect()));
                    }
                    _ => ApiError::Unclear {
                        path: "/global/health".into(),
                        why: "it is not healthy".into(),
                    },
                },
                Err(error) => error,
            };
            if Instant::now() >= end {
                return Err(error);
            }
            sleep(HEALTH_PAUSE).await;
        }
    }

    /// Makes a session; gives its id.
    pub async fn create_session(&self, title: &str) -> Result<String, ApiError> {
        let path = "/session";
        let made = self
            .send(Method::POST, path, Some(&json!({ "title": title })), QUICK)
            .await?;
        let id = made["id"].as_str().filter(|id| is_id(id, "ses_"));
        id.map(str::to_owned).ok_or_else(|| ApiError::Unclear {
            path: path.into(),
            why: "it has no id".into(),
        })
    }

    /// Sends a prompt and waits for the end of its turn; gives OpenCode's last message. Repeated with the same ids it starts no
    /// second turn, and after a crash it goes on with the first.
    pub async fn prompt(
        &self,
        session: &str,
        prompt: &Prompt,
        limit: Duration,
    ) -> Result<Value, ApiError> {
        let path = format!("/session/{session}/message");
        self.send(Method::POST, &path, Some(&prompt.body()), limit)
            .await
    }

    /// All messages of a session.
    pub async fn messages(&self, session: &str) -> Result<Vec<Value>, ApiError> {
        let path = format!("/session/{session}/message");
        match self.send(Method::GET, &path, None, QUICK).await? {
            Value::Array(messages) => Ok(messages),
            _ => Err(ApiError::Unclear {
                path,
                why: "it is no list".into(),
            }),
        }
    }

    /// Sends one request; gives the JSON of a success.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Value, ApiError> {
        let asked = self.exchange(method, path, body);
        let slow = |_| ApiError::Slow {
            path: path.to_owned(),
            limit,
        };
        timeout(limit, asked).await.map_err(slow)?
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ApiError> {
        let broken = |why: String| ApiError::Broken {
            path: path.to_owned(),
            why,
        };
        let stream = TokioIo::new(self.connection.open().await?);
        let handshake = hyper::client::conn::http1::handshake(stream).await;
        let (mut sender, exchange) = handshake.map_err(|error| broken(error.to_string()))?;
        // Ends with the request, or when its stream does.
        tokio::spawn(exchange);
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "opencode")
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-opencode-directory", encoded(&self.directory))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(error.to_string()))?;
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|error| broken(error.to_string()))?;
        let status = answer.status();
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
        if !status.is_success() {
            let message = String::from_utf8_lossy(&body).chars().take(500).collect();
            return Err(ApiError::Refused {
                path: path.to_owned(),
                status: status.as_u16(),
                message,
            });
        }
        let unclear = |why: String| ApiError::Unclear {
            path: path.to_owned(),
            why,
        };
        if !is_json {
            return Err(unclear("it is no JSON".into()));
        }
        serde_json::from_slice(&body).map_err(|error| unclear(error.to_string()))
    }
}

/// A prompt with ids of its own, so that it can be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    message: String,
    part: String,
    text: String,
    /// Provider and model.
    model: (String, String),
}

impl Prompt {
    /// A prompt to a model of a provider, made at this time.
    pub fn new(provider: &str, model: &str, text: &str, random: u64, at: SystemTime) -> Self {
        Self {
            message: id("msg_", random, at),
            part: id("prt_", random, at),
            text: text.to_owned(),
            model: (provider.to_owned(), model.to_owned()),
        }
    }

    /// The id that its message has in OpenCode.
    pub fn message_id(&self) -> &str {
        &self.message
    }

    fn body(&self) -> Value {
        let (provider, model) = &self.model;
        json!({
            "messageID": self.message,
            "model": { "providerID": provider, "modelID": model },
            "parts": [{ "id": self.part, "type": "text", "text": self.text }],
            // Nobody is there to answer one.
            "tools": { "question": false },
        })
    }
}

/// An id in OpenCode's form: 48 bits of time in hexadecimal (milliseconds × 4096), and 14 letters.
fn id(prefix: &str, random: u64, at: SystemTime) -> String {
    let ms = at
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64;
    let time = (ms << 12) & 0xffff_ffff_ffff;
    format!("{prefix}{time:012x}{:014x}", random & 0xff_ffff_ffff_ffff)
}

/// An id that may go into a path.
fn is_id(text: &str, prefix: &str) -> bool {
    let rest = text.strip_prefix(prefix);
    rest.is_some_and(|rest| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// A path as it stands in a header.
fn encoded(path: &str) -> String {
    host::percent_encoded(path, b".~/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_with_time_and_have_opencodes_form() {
        let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
        let first = Prompt::new("p", "m", "t", 7, at(1_796_094_129_693));
        // What OpenCode 1.18.33 made in that millisecond begins like this.
        assert!(
            first.message_id().starts_with("msg_22f8d761d0"),
            "{first:?}"
        );
        assert_eq!(
            first.message_id().len(),
            "msg_22f8d761d001LNt8DgtdvdlQMQ".len()
        );
        let later = Prompt::new("p", "m", "t", 1, at(1_796_094_129_694));
        assert!(later.message_id() > first.message_id());
        let other = Prompt::new("p", "m", "t", 8, at(1_796_094_129_693));
        assert_ne!(other.message_id(), first.message_id());
    }

    #[test]
    fn only_plain_ids_go_into_paths_and_only_plain_letters_into_headers() {
        for (text, want) in [
            ("ses_a1B", true),
            ("ses_", false),
            ("ses_a/../b", false),
            ("ses_a?b", false),
            ("msg_a", false),
        ] {
            assert_eq!(is_id(text, "ses_"), want, "{text}");
        }
        assert_eq!(encoded("/a b/é\n"), "/a%20b/%C3%A9%0A");
    }
}
