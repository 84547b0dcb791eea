//! The store: a client of OpenSync's HTTP interface (its Convex functions, February 2026).
//!
//! Surprises: bad input is answered with 500, so a 500 is not always worth repeating; an update that comes too
//! soon after a date is dropped with 200 and `ok: true`; so what was sent is read back.

use host::{Body, Host, HttpError, HttpRequest, percent_encoded};
use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::sync::Arc;

/// Where a session goes, and where a message does.
pub const SESSION: &str = "/sync/session";
/// See [`SESSION`].
pub const MESSAGE: &str = "/sync/message";

/// How long one request may take.
const TIMEOUT_MS: u64 = 30_000;
/// The longest answer: a session with all its messages. Convex sends 20 MiB at most.
const MAX_BYTES: usize = 24 * 1024 * 1024;
/// Words, in lower case, of the store's answers to what it will never take or do. They decide nothing alone: what is refused is kept,
/// and tried again when it is asked for or when the session changes.
const REFUSALS: &[&str] = &[
    "validator",
    "argumentvalidationerror",
    "syntaxerror",
    "field name",
    "too large",
    "too long",
    "too many",
    "too deeply",
    "surrogate",
];

/// Why the store did not take something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It was not reached, or its answer was lost.
    #[error("the store cannot be reached: {0}")]
    Away(String),
    /// The key is not accepted.
    #[error("the store refused the key ({0}): `opencode-sync login` saves another")]
    Key(String),
    /// It asks for a pause of so many milliseconds.
    #[error("the store asks for a pause of {} s ({why})", ms / 1000)]
    Pause {
        /// How long; 0 if it does not say.
        ms: u64,
        /// Its words.
        why: String,
    },
    /// It does not take this record.
    #[error("the store refuses it: {0}")]
    Refused(String),
    /// Its answer is longer than any that it should give.
    #[error("the store's answer is too long")]
    TooLarge,
    /// Anything else.
    #[error("the store answers {status}: {text}")]
    Other {
        /// The status.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
}

/// A session as the store has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the interface's own")]
pub struct Stored {
    pub id: String,
    pub external_id: String,
    pub title: Option<String>,
    pub prompt_tokens: Option<f64>,
    pub completion_tokens: Option<f64>,
    pub cost: Option<f64>,
    pub message_count: Option<f64>,
}

/// A message as the store has it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the interface's own")]
pub struct StoredMessage {
    pub external_id: String,
    #[serde(default)]
    pub text_content: String,
    #[serde(default)]
    pub parts: Vec<Value>,
    pub prompt_tokens: Option<f64>,
    pub completion_tokens: Option<f64>,
}

/// An account's totals. Only what is shown is read; a server may name more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the interface's own")]
pub struct Totals {
    pub total_sessions: f64,
    pub total_messages: f64,
    pub total_tokens: f64,
    pub total_cost: f64,
}

/// The store, with a key.
#[derive(Clone)]
pub struct Store {
    host: Arc<dyn Host>,
    url: String,
    key: String,
}

impl Store {
    /// A store at a URL as [`base_url`] gives it.
    pub fn new(host: Arc<dyn Host>, url: &str, key: &str) -> Store {
        let (url, key) = (url.to_string(), key.to_string());
        Store { host, url, key }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store's clock, in milliseconds since the Unix epoch.
    pub async fn clock(&self) -> Result<f64, Failure> {
        #[derive(Deserialize)]
        struct Health {
            timestamp: f64,
        }
        let health: Health = self.ask("GET", "/health", Body::Empty).await?;
        Ok(health.timestamp)
    }

    /// Makes or updates a session with a [`SessionRecord`](crate::records::SessionRecord); gives its id in the store.
    pub async fn session(&self, record: &Value) -> Result<String, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Done {
            session_id: String,
        }
        let body = Body::Json(record.to_string());
        let done: Done = self.ask("POST", SESSION, body).await?;
        Ok(done.session_id)
    }

    /// Makes or updates a message with a [`MessageRecord`](crate::records::MessageRecord).
    pub async fn message(&self, record: &Value) -> Result<(), Failure> {
        let body = Body::Json(record.to_string());
        self.ask::<Value>("POST", MESSAGE, body).await?;
        Ok(())
    }

    /// Reads a session by its id in the store, and gives each of its messages to `see`: all of them may be more than
    /// should be held.
    pub async fn read(
        &self,
        id: &str,
        mut see: impl FnMut(StoredMessage),
    ) -> Result<ReadBack, Failure> {
        let id = percent_encoded(id, b"");
        let path = format!("/api/sessions/get?id={id}");
        let answer = match self.fetch("GET", &path, Body::Empty).await {
            Err(Failure::TooLarge) => return Ok(ReadBack::TooLarge),
            Err(Failure::Refused(why)) if why.to_lowercase().contains("too ") => {
                return Ok(ReadBack::TooLarge);
            }
            Err(Failure::Refused(_) | Failure::Other { status: 404, .. }) => {
                return Ok(ReadBack::Unknown);
            }
            answer => answer?,
        };
        let mut json = serde_json::Deserializer::from_slice(&answer);
        let found = Reading(&mut see).deserialize(&mut json);
        found
            .map(ReadBack::Found)
            .map_err(|error| unreadable(&error, &answer))
    }

    /// The sessions that were updated last, at most so many. One of them tells whether the key is accepted.
    pub async fn sessions(&self, limit: usize) -> Result<Vec<Stored>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            sessions: Vec<Stored>,
        }
        let path = format!("/api/sessions?limit={limit}");
        let found: Found = self.ask("GET", &path, Body::Empty).await?;
        Ok(found.sessions)
    }

    /// The account's totals.
    pub async fn totals(&self) -> Result<Totals, Failure> {
        self.ask("GET", "/api/stats", Body::Empty).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        path: &str,
        body: Body,
    ) -> Result<T, Failure> {
        let answer = self.fetch(method, path, body).await?;
        serde_json::from_slice(&answer).map_err(|error| unreadable(&error, &answer))
    }

    /// The body of the answer to a request that was accepted.
    async fn fetch(
        &self,
        method: &'static str,
        path: &str,
        body: Body,
    ) -> Result<Vec<u8>, Failure> {
        let request = HttpRequest {
            method,
            url: format!("{}{path}", self.url),
            headers: vec![("authorization".into(), format!("Bearer {}", self.key))],
            body,
            timeout_ms: TIMEOUT_MS,
            max_bytes: MAX_BYTES,
            save_to: None,
        };
        let answer = self.host.http(request).await.map_err(away)?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let text = String::from_utf8_lossy(&answer.body);
        let retry = answer
            .header("retry-after")
            .map(|value| pause_ms(value, self.host.now_ms()));
        let said = serde_json::from_str::<Value>(&text).ok();
        let said = said.as_ref().and_then(|said| said["error"].as_str());
        let text = beginning(said.unwrap_or(&text));
        Err(match answer.status {
            401 | 403 => Failure::Key(text),
            429 | 503 => Failure::Pause {
                ms: retry.unwrap_or_default(),
                why: text,
            },
            400 | 413 => Failure::Refused(text),
            500 if is_refusal(&text) => Failure::Refused(text),
            status => Failure::Other { status, text },
        })
    }
}

/// What came of reading a session.
pub enum ReadBack {
    /// It was read.
    Found(Stored),
    /// Its messages are more than the store reads, or sends, at once.
    TooLarge,
    /// The store has no session of this id (any more).
    Unknown,
}

fn away(error: HttpError) -> Failure {
    match error {
        HttpError::TooLarge { .. } => Failure::TooLarge,
        error => Failure::Away(error.to_string()),
    }
}

fn unreadable(error: &serde_json::Error, answer: &[u8]) -> Failure {
    let text = beginning(&String::from_utf8_lossy(answer));
    Failure::Other {
        status: 200,
        text: format!("{error}: {text}"),
    }
}

/// Reads a session with its messages, and keeps none of them.
struct Reading<'a>(&'a mut dyn FnMut(StoredMessage));

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = Stored;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Stored, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = Stored;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a session with its messages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Stored, A::Error> {
        let (mut session, mut has_messages) = (None, false);
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "session" => session = Some(fields.next_value()?),
                "messages" => {
                    fields.next_value_seed(Messages(&mut *self.0))?;
                    has_messages = true;
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        let missing = |name| serde::de::Error::missing_field(name);
        let session = session.ok_or_else(|| missing("session"))?;
        has_messages
            .then_some(session)
            .ok_or_else(|| missing("messages"))
    }
}

/// See [`Reading`].
struct Messages<'a>(&'a mut dyn FnMut(StoredMessage));

impl<'de> DeserializeSeed<'de> for Messages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Messages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<(), A::Error> {
        while let Some(message) = messages.next_element()? {
            (self.0)(message);
        }
        Ok(())
    }
}

fn is_refusal(text: &str) -> bool {
    let text = text.to_lowercase();
    REFUSALS.iter().any(|word| text.contains(word))
}

/// How long `Retry-After` says to wait: so many seconds, or until a date.
fn pause_ms(value: &str, now_ms: u64) -> u64 {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return seconds.saturating_mul(1_000);
    }
    let date = jiff::fmt::rfc2822::parse(value).ok();
    let date = date.and_then(|date| u64::try_from(date.timestamp().as_millisecond()).ok());
    date.map_or(0, |date| date.saturating_sub(now_ms))
}

/// Enough of an answer to know what it is.
fn beginning(text: &str) -> String {
    text.chars().take(300).collect()
}

/// The URL of the HTTP interface, from what a user enters: Convex shows `https://NAME.convex.cloud`, and answers
/// HTTP at `https://NAME.convex.site`. Addresses of one's own server stay as they are.
pub fn base_url(entered: &str) -> Result<String, String> {
    let entered = entered
        .trim()
        .trim_matches(['"', '\''])
        .trim_end_matches('/');
    let is_url = entered
        .strip_prefix("https://")
        .or_else(|| entered.strip_prefix("http://"))
        .is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace));
    match is_url {
        true => Ok(entered.replacen(".convex.cloud", ".convex.site", 1)),
        false => Err(format!(
            "{entered:?} is no URL: enter the deployment's, for example https://happy-otter-123.convex.cloud"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{base_url, pause_ms};

    #[test]
    fn a_pause_is_seconds_or_a_date() {
        for (value, expected) in [
            ("7", 7_000),
            (" 120 ", 120_000),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 37_000),
            ("Sun, 06 Nov 1994 08:48:00 GMT", 0),
            ("soon", 0),
            ("-1", 0),
            ("99999999999999999999", 0),
        ] {
            assert_eq!(pause_ms(value, 784_111_740_000), expected, "{value}");
        }
    }

    #[test]
    fn the_url_that_a_user_enters_becomes_the_one_that_answers() {
        for (entered, expected) in [
            (
                "https://happy-otter-123.convex.cloud",
                Some("https://happy-otter-123.convex.site"),
            ),
            (
                " https://happy-otter-123.eu-west-1.convex.cloud/ ",
                Some("https://happy-otter-123.eu-west-1.convex.site"),
            ),
            (
                "https://happy-otter-123.convex.site",
                Some("https://happy-otter-123.convex.site"),
            ),
            ("http://127.0.0.1:3211", Some("http://127.0.0.1:3211")),
            (
                "https://sync.example.org/http/",
                Some("https://sync.example.org/http"),
            ),
            ("happy-otter-123.convex.cloud", None),
            ("https://", None),
            ("", None),
        ] {
            assert_eq!(base_url(entered).ok().as_deref(), expected, "{entered}");
        }
    }
}
