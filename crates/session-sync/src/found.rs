//! A session of the past, wherever it was found, and what is read of it.

use crate::opencode::Conversation;
use serde_json::{Value, json};

/// A session of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The session as OpenCode's interface has it.
    pub(crate) info: Value,
    /// Its id.
    pub id: String,
    /// When it changed last.
    pub(crate) updated: f64,
    /// Bytes of its messages and parts.
    pub(crate) bytes: u64,
    /// It is only in the files of an old release.
    pub(crate) is_old: bool,
}

impl Found {
    /// Where it works.
    pub fn directory(&self) -> &str {
        self.info["directory"].as_str().unwrap_or_default()
    }
}

/// What was read of a session.
#[derive(Debug)]
pub struct Read {
    /// Its messages, or some of them.
    pub conversation: Conversation,
    /// Ids of messages that are there and could not be read.
    pub unreadable: Vec<String>,
}

/// A conversation of messages by their ids, each with its JSON, if that can be read, and its parts.
pub(crate) fn conversation(
    info: &Value,
    read: impl Iterator<Item = (String, Option<Value>, Vec<Value>)>,
) -> Option<Read> {
    let (mut messages, mut unreadable) = (Vec::new(), Vec::new());
    for (id, message, parts) in read {
        let whole = message.map(|info| json!({ "info": info, "parts": parts }));
        match whole.and_then(|whole| serde_json::from_value(whole).ok()) {
            Some(message) => messages.push(message),
            None => unreadable.push(id),
        }
    }
    let info = serde_json::from_value(info.clone()).ok()?;
    let conversation = Conversation { info, messages };
    Some(Read {
        conversation,
        unreadable,
    })
}
