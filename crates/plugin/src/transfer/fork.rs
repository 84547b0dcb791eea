//! Which session another one was forked from. OpenCode does not say (1.18.33, November 2026): a fork
//! is a new session titled `… (fork #1)` with copies of the messages, under new ids but with their
//! times.

use crate::opencode::OpenCode;
use serde_json::Value;

/// What a fork began as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The session.
    pub(crate) session: String,
    /// Its last message that was copied.
    pub(crate) message: String,
}

/// The session that `session` is a fork of, among `known` ones. None if it is no fork, or of none of
/// them. An error says what could not be found out: then it is not known whether it is one.
pub(crate) async fn source(
    opencode: &dyn OpenCode,
    session: &str,
    known: &[String],
) -> Result<Option<Source>, String> {
    let all = opencode.sessions().await?;
    let of = |id: &str| listed(&all, id);
    let Some(own) = of(session) else {
        return Ok(None);
    };
    let Some(title) = forked(own) else {
        return Ok(None);
    };
    let created = own["time"]["created"].as_f64().unwrap_or(f64::MAX);
    let copied: Vec<Message> = messages(&opencode.messages(session).await?)
        .into_iter()
        .filter(|message| message.created < created)
        .collect();
    if copied.is_empty() {
        return Ok(None);
    }
    // The likely ones first: those of the same title.
    let mut candidates: Vec<&String> = known.iter().filter(|id| *id != session).collect();
    candidates.sort_by_key(|id| {
        let of_title = of(id).and_then(|info| info["title"].as_str());
        of_title.is_none_or(|other| base(other) != title)
    });
    for candidate in candidates {
        if of(candidate).is_none() {
            continue;
        }
        let theirs = messages(&opencode.messages(candidate).await?);
        let is_source = theirs.len() >= copied.len()
            && (copied.iter().zip(&theirs)).all(|(own, its)| own.is_copy_of(its));
        if is_source {
            return Ok(Some(Source {
                session: candidate.clone(),
                message: theirs[copied.len() - 1].id.clone(),
            }));
        }
    }
    Ok(None)
}

/// True if OpenCode lists the session as a fork of something.
pub(crate) async fn is_fork(opencode: &dyn OpenCode, session: &str) -> bool {
    let Ok(all) = opencode.sessions().await else {
        return false;
    };
    listed(&all, session).is_some_and(|info| forked(info).is_some())
}

/// A session, as OpenCode lists it.
fn listed<'a>(all: &'a Value, session: &str) -> Option<&'a Value> {
    all.as_array()?.iter().find(|info| info["id"] == *session)
}

/// The title of what it was forked from, if it was.
fn forked(info: &Value) -> Option<&str> {
    let title = info["title"].as_str()?;
    (base(title) != title).then(|| base(title))
}

/// A title without ` (fork #1)`.
fn base(title: &str) -> &str {
    let number = title
        .strip_suffix(')')
        .and_then(|t| t.rsplit_once(" (fork #"));
    match number {
        Some((base, number))
            if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) =>
        {
            base
        }
        _ => title,
    }
}

/// What a copy has in common with its original.
#[derive(Debug, PartialEq)]
struct Message {
    id: String,
    role: String,
    created: f64,
}

impl Message {
    fn is_copy_of(&self, other: &Message) -> bool {
        self.role == other.role && self.created == other.created
    }
}

fn messages(list: &Value) -> Vec<Message> {
    let read = |message: &Value| {
        let info = &message["info"];
        Some(Message {
            id: info["id"].as_str()?.into(),
            role: info["role"].as_str()?.into(),
            created: info["time"]["created"].as_f64()?,
        })
    };
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn only_a_number_in_the_right_words_makes_a_fork() {
        for (title, expected) in [
            ("A title (fork #1)", "A title"),
            ("A (fork #2) (fork #13)", "A (fork #2)"),
            ("A title (fork #)", "A title (fork #)"),
            ("A title (fork #x)", "A title (fork #x)"),
            ("(fork #1)", "(fork #1)"),
            ("A title", "A title"),
        ] {
            assert_eq!(base(title), expected);
        }
    }
}
