//! A session as OpenCode describes it: what `GET /session/:id` and `GET /session/:id/message` answer, the event
//! log and `opencode export` have (1.18.33, November 2026). Only what is used is named; fields that an older
//! release does not have, or a newer one no more, are none.

use serde::Deserialize;
use serde_json::Value;

/// A session and its messages, in their order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Conversation {
    /// The session.
    pub info: Session,
    /// Its messages.
    pub messages: Vec<Message>,
}

/// A session without its messages.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Session {
    /// `ses_…`, in all of OpenCode.
    pub id: String,
    /// The session whose tool `task` made this one.
    #[serde(rename = "parentID")]
    pub parent: Option<String>,
    /// Where it works.
    #[serde(default)]
    pub directory: String,
    /// What the user sees.
    #[serde(default)]
    pub title: String,
    /// The model that was used last.
    pub model: Option<SessionModel>,
    /// In USD, of all its messages; none before 1.17.
    pub cost: Option<f64>,
    /// Of all its messages; none before 1.17.
    pub tokens: Option<Tokens>,
    /// When.
    pub time: SessionTime,
}

/// A session's model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SessionModel {
    /// The model.
    pub id: String,
    /// Its provider.
    #[serde(rename = "providerID")]
    pub provider: String,
}

/// A session's times, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SessionTime {
    /// When it was made.
    pub created: f64,
    /// When it changed last.
    pub updated: f64,
}

/// Counted tokens. What was read from a cache is not in `input`, and reasoning is not in `output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are OpenCode's own")]
pub struct Tokens {
    pub input: f64,
    pub output: f64,
    pub reasoning: f64,
    pub cache: CacheTokens,
}

/// Tokens that a cache gave or took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are OpenCode's own")]
pub struct CacheTokens {
    pub read: f64,
    pub write: f64,
}

impl Tokens {
    /// All that the model was given.
    pub fn prompt(&self) -> f64 {
        self.input + self.cache.read + self.cache.write
    }

    /// All that it made.
    pub fn completion(&self) -> f64 {
        self.output + self.reasoning
    }
}

/// A message with its parts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Message {
    /// The message.
    pub info: MessageInfo,
    /// Its parts, in their order.
    pub parts: Vec<Part>,
}

/// A message without its parts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MessageInfo {
    /// `msg_…`, in all of OpenCode.
    pub id: String,
    /// `user` or `assistant`.
    pub role: String,
    /// An assistant's model.
    #[serde(rename = "modelID")]
    pub model: Option<String>,
    /// An assistant's provider.
    #[serde(rename = "providerID")]
    pub provider: Option<String>,
    /// In USD; an assistant's.
    pub cost: Option<f64>,
    /// An assistant's.
    pub tokens: Option<Tokens>,
    /// Why it ended before its end.
    pub error: Option<MessageError>,
    /// When.
    pub time: MessageTime,
}

/// What went wrong with a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MessageError {
    /// `MessageAbortedError`, `ProviderAuthError`, …
    pub name: String,
    /// More of it; mostly with `message`.
    #[serde(default)]
    pub data: Value,
}

/// A message's times, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct MessageTime {
    /// When it was made.
    pub created: f64,
    /// When an assistant's ended; none while it is made, and for ever if OpenCode was killed then.
    pub completed: Option<f64>,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Part {
    /// What the user typed or the model wrote.
    Text {
        /// The text.
        text: String,
        /// OpenCode added it, such as the content of an attached file.
        #[serde(default)]
        synthetic: bool,
        /// The model did not see it.
        #[serde(default)]
        ignored: bool,
    },
    /// What the model thought.
    Reasoning {
        /// The text.
        text: String,
    },
    /// A call of a tool.
    Tool {
        /// Its name.
        tool: String,
        /// How far it is, and what came of it.
        state: ToolState,
    },
    /// An attached file. Its URL may hold its content, and is not looked at.
    File {
        /// Its type.
        #[serde(default)]
        mime: String,
        /// Its name.
        filename: Option<String>,
    },
    /// Where a step begins or ends, a snapshot, and what is not known.
    #[serde(other)]
    Other,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ToolState {
    /// `pending`, `running`, `completed` or `error`.
    pub status: String,
    /// The arguments.
    #[serde(default)]
    pub input: Value,
    /// What a completed call gave.
    pub output: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}
