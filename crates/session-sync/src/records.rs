//! Sessions, messages and parts in the fields that the store's interface has (OpenSync's `/sync/session` and
//! `/sync/message`, February 2026). They are made in [`record`](crate::record).

use serde::Serialize;
use serde_json::Value;

/// A session. Fields that are none are not sent: the store keeps what it has then.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the interface's own")]
pub struct SessionRecord {
    pub external_id: String,
    pub title: String,
    pub project_path: String,
    pub project_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    pub source: &'static str,
    pub prompt_tokens: f64,
    pub completion_tokens: f64,
    /// In USD. None if it is not known: a zero would be taken for a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// From the first message to the end of the last.
    pub duration_ms: f64,
    /// In milliseconds since the Unix epoch; counts only in the request that makes the session.
    pub created_at: f64,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the interface's own")]
pub struct MessageRecord {
    pub session_external_id: String,
    pub external_id: String,
    pub role: &'static str,
    pub text_content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    pub source: &'static str,
    pub parts: Vec<PartRecord>,
    /// In milliseconds since the Unix epoch; counts only in the request that makes the message.
    pub created_at: f64,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PartRecord {
    /// `text`, `tool-call` and `tool-result` are shown; others are only kept.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its content.
    pub content: Value,
}
