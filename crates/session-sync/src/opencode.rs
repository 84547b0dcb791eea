//! A session as OpenCode describes it: what `GET /session/:id` and `GET /session/:id/message` answer, the event
//! log and `opencode export` have (1.18.33, November 2026). Only what is used is named; fields that an older
//! release does not have, or a newer one no more, are none.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A session and its messages, in their order.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Conversation {
    /// The session.
    pub info: Session,
    /// Its messages.
    pub messages: Vec<Message>,
}

/// Reads JSON that JavaScript has written. JavaScript's texts may have half of a character (a lone surrogate, such
/// as a cut through an emoji leaves), which no other text can have: it becomes the sign for what cannot be shown.
pub fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match whole_characters(text) {
        repaired if repaired != text => serde_json::from_str(&repaired),
        _ => Err(error),
    })
}

/// JSON text in which no escape is half of a character.
fn whole_characters(text: &str) -> String {
    // The unit of the escape that a text begins with.
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match unit(rest) {
            Some(0xd800..0xdc00) if matches!(unit(&rest[6..]), Some(0xdc00..0xe000)) => 12,
            Some(0xd800..0xe000) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            Some(_) => 6,
            // Another escape: a sign behind the backslash, which may be a backslash.
            None => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    out + rest
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
    #[serde(deserialize_with = "known_parts")]
    pub parts: Vec<Part>,
}

/// A part in a form that is not known is as good as one of a kind that is not known: it must not cost the message.
fn known_parts<'de, D: Deserializer<'de>>(given: D) -> Result<Vec<Part>, D::Error> {
    let given = Vec::<Value>::deserialize(given)?;
    let part = |value| Part::deserialize(value).unwrap_or(Part::Other);
    Ok(given.into_iter().map(part).collect())
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
    /// What a command of the user's gave to a subagent.
    Subtask {
        /// What it is to do.
        prompt: String,
        /// Which agent.
        agent: String,
    },
    /// From here on the model sees a summary of what was said.
    Compaction,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_character_costs_nothing_but_itself() {
        for (given, expected) in [
            (r#""plain""#, Some("plain")),
            (r#""a\ud83d\ude00b""#, Some("a😀b")),
            (r#""cut \ud83d""#, Some("cut \u{fffd}")),
            (r#""\ude00 cut""#, Some("\u{fffd} cut")),
            (r#""\ud83d\ud83d\ude00""#, Some("\u{fffd}😀")),
            (r#""\ud83d\n""#, Some("\u{fffd}\n")),
            (r#""\\ud83d \ud83d""#, Some("\\ud83d \u{fffd}")),
            (r#""\ud83dü""#, Some("\u{fffd}ü")),
            (r#""\uD83D""#, Some("\u{fffd}")),
            (r#""\u12"#, None),
            ("\"\\", None),
        ] {
            let found = from_json::<String>(given).ok();
            assert_eq!(found.as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn a_part_that_is_not_as_we_know_it_does_not_cost_its_message() {
        let message = r#"{"info":{"id":"m","role":"user","time":{"created":1}},"parts":[{"type":"text"},{"no":1},7,{"type":"text","text":"hi"}]}"#;
        let message: Message = from_json(message).expect("a message");
        assert_eq!(message.parts.len(), 4);
        assert!(matches!(&message.parts[3], Part::Text { text, .. } if text == "hi"));
    }
}
