//! Sessions of the past, from OpenCode's database: `opencode db "SQL" --format json` is the official way to it
//! (1.18.33, November 2026). Sessions of all projects are there, imported ones and those of releases without an
//! event log, too.

use crate::opencode::Conversation;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Bytes of messages and parts that are read at once, as far as one session allows it.
const BATCH_BYTES: u64 = 16 * 1024 * 1024;
/// Sessions that are read at once: a query names each.
const BATCH_SESSIONS: usize = 200;

/// A row, by the names of its columns.
pub type Row = Map<String, Value>;

/// OpenCode's database.
#[async_trait(?Send)]
pub trait Database {
    /// The rows that a query gives, as objects. An error says why there are none.
    async fn query(&self, sql: &str) -> Result<Vec<Row>, String>;
}

/// Which sessions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Changed at or after this, in milliseconds since the Unix epoch.
    pub since_ms: Option<f64>,
    /// Of this directory, or below it.
    pub project: Option<String>,
}

/// A session in the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The session as OpenCode's interface has it.
    info: Value,
    /// Its id.
    pub id: String,
    /// When it changed last.
    pub updated: f64,
    /// Bytes of its messages and parts.
    bytes: u64,
}

/// The sessions that a filter lets through, the oldest first.
pub async fn sessions(database: &dyn Database, filter: &Filter) -> Result<Vec<Found>, String> {
    let rows = database.query("SELECT * FROM session").await?;
    let sizes = database
        .query("SELECT session_id, SUM(LENGTH(data)) AS bytes FROM part GROUP BY session_id")
        .await?;
    let mut bytes_of: HashMap<&str, u64> = HashMap::new();
    for row in &sizes {
        let (session, bytes) = (row.get("session_id"), row.get("bytes"));
        if let (Some(session), Some(bytes)) = (
            session.and_then(Value::as_str),
            bytes.and_then(Value::as_u64),
        ) {
            bytes_of.insert(session, bytes);
        }
    }
    let mut found: Vec<Found> = rows
        .into_iter()
        .filter_map(|row| {
            let id = row.get("id")?.as_str()?.to_string();
            let bytes = bytes_of.get(id.as_str()).copied().unwrap_or_default();
            let updated = row.get("time_updated")?.as_f64()?;
            let info = session(row);
            Some(Found {
                info,
                id,
                updated,
                bytes,
            })
        })
        .filter(|found| filter.since_ms.is_none_or(|since| found.updated >= since))
        .filter(|found| {
            let directory = found.info["directory"].as_str().unwrap_or_default();
            filter.project.as_ref().is_none_or(|project| {
                let below = directory.strip_prefix(project.trim_end_matches(['/', '\\']));
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
            })
        })
        .collect();
    let created = |found: &Found| found.info["time"]["created"].as_f64().unwrap_or_default();
    found.sort_by(|a, b| {
        created(a)
            .total_cmp(&created(b))
            .then_with(|| a.id.cmp(&b.id))
    });
    Ok(found)
}

/// Sessions in groups that are read at once.
pub fn batches(found: &[Found]) -> Vec<&[Found]> {
    let (mut out, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, session) in found.iter().enumerate() {
        let is_full = bytes + session.bytes > BATCH_BYTES || at - start >= BATCH_SESSIONS;
        if at > start && is_full {
            out.push(&found[start..at]);
            (start, bytes) = (at, 0);
        }
        bytes += session.bytes;
    }
    if start < found.len() {
        out.push(&found[start..]);
    }
    out
}

/// Reads a batch. A message or a part that cannot be read is left out.
pub async fn read(database: &dyn Database, batch: &[Found]) -> Result<Vec<Conversation>, String> {
    let ids: Vec<String> = batch
        .iter()
        .map(|found| format!("'{}'", found.id.replace('\'', "''")))
        .collect();
    let ids = ids.join(",");
    // Ids rise with time, and are what OpenCode itself orders by.
    let of = |table: &str| format!("SELECT * FROM {table} WHERE session_id IN ({ids}) ORDER BY id");
    let mut messages = grouped(database.query(&of("message")).await?, "session_id");
    let mut parts = grouped(database.query(&of("part")).await?, "message_id");
    let conversation = |found: &Found| {
        let rows = messages.remove(&found.id).unwrap_or_default();
        let messages = rows.into_iter().filter_map(|row| {
            let parts = parts.remove(row.get("id")?.as_str()?).unwrap_or_default();
            let parts: Vec<Value> = parts.iter().filter_map(data).collect();
            let whole = json!({ "info": data(&row)?, "parts": parts });
            serde_json::from_value(whole).ok()
        });
        let messages = messages.collect();
        let info = serde_json::from_value(found.info.clone()).ok()?;
        Some(Conversation { info, messages })
    };
    Ok(batch.iter().filter_map(conversation).collect())
}

/// Rows by the id in one of their columns, in their order.
fn grouped(rows: Vec<Row>, column: &str) -> HashMap<String, Vec<Row>> {
    let mut groups: HashMap<String, Vec<Row>> = HashMap::new();
    for row in rows {
        let id = row.get(column).and_then(Value::as_str).unwrap_or_default();
        groups.entry(id.into()).or_default().push(row);
    }
    groups
}

/// The JSON in a row's column `data`, with the row's id.
fn data(row: &Row) -> Option<Value> {
    let text = row.get("data")?.as_str()?;
    let mut data: Map<String, Value> = serde_json::from_str(text).ok()?;
    data.insert("id".into(), row.get("id")?.clone());
    Some(Value::Object(data))
}

/// A row of the table of sessions, as OpenCode's interface has it.
fn session(row: Row) -> Value {
    let field = |name: &str| row.get(name).cloned().unwrap_or_default();
    let model = field("model");
    let model = model
        .as_str()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    // Releases before 1.17 have no sums.
    let tokens = row.get("tokens_input").map(|input| {
        json!({
            "input": input, "output": field("tokens_output"), "reasoning": field("tokens_reasoning"),
            "cache": { "read": field("tokens_cache_read"), "write": field("tokens_cache_write") },
        })
    });
    json!({
        "id": field("id"), "parentID": field("parent_id"), "directory": field("directory"), "title": field("title"),
        "model": model, "cost": field("cost"), "tokens": tokens,
        "time": { "created": field("time_created"), "updated": field("time_updated") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    /// Rows as 1.18.33 gives them, by the table that a query names.
    struct Rows;

    #[async_trait(?Send)]
    impl Database for Rows {
        async fn query(&self, sql: &str) -> Result<Vec<Map<String, Value>>, String> {
            let rows = match sql {
                "SELECT * FROM session" => json!([
                    { "id": "ses_b", "parent_id": "ses_a", "directory": "/home/me/shop/api", "title": "Child", "cost": 0, "tokens_input": 20, "tokens_output": 10,
                      "tokens_reasoning": 1, "tokens_cache_read": 2, "tokens_cache_write": 3, "model": "{\"id\":\"m\",\"providerID\":\"fake\"}", "time_created": 2000, "time_updated": 3000 },
                    { "id": "ses_a", "parent_id": null, "directory": "/home/me/shop", "title": "Parent", "model": null, "time_created": 1000, "time_updated": 9000 },
                ]),
                sql if sql.starts_with("SELECT session_id, SUM") => {
                    json!([{ "session_id": "ses_a", "bytes": 20_000_000 }, { "session_id": "ses_b", "bytes": 5 }])
                }
                sql if sql.contains("FROM message") => json!([
                    { "id": "msg_1", "session_id": "ses_b", "data": "{\"role\":\"user\",\"time\":{\"created\":2001}}" },
                    { "id": "msg_2", "session_id": "ses_b", "data": "broken" },
                ]),
                _ => json!([
                    { "id": "prt_1", "message_id": "msg_1", "session_id": "ses_b", "data": "{\"type\":\"text\",\"text\":\"hi\"}" },
                    { "id": "prt_2", "message_id": "msg_1", "session_id": "ses_b", "data": "broken" },
                ]),
            };
            Ok(serde_json::from_value(rows).expect("rows"))
        }
    }

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("it does not wait")
    }

    #[test]
    fn rows_become_conversations_and_what_is_broken_is_left_out() {
        let found = now(sessions(&Rows, &Filter::default())).expect("sessions");
        assert_eq!(
            found
                .iter()
                .map(|found| found.id.as_str())
                .collect::<Vec<_>>(),
            ["ses_a", "ses_b"]
        );
        let batches = batches(&found);
        assert_eq!(
            batches.iter().map(|batch| batch.len()).collect::<Vec<_>>(),
            [1, 1]
        );
        let read = now(read(&Rows, batches[1])).expect("conversations");
        let [conversation] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!(conversation.info.parent.as_deref(), Some("ses_a"));
        let tokens = conversation.info.tokens.expect("sums");
        assert_eq!((tokens.prompt(), tokens.completion()), (25.0, 11.0));
        assert_eq!(conversation.messages.len(), 1);
        assert_eq!(conversation.messages[0].parts.len(), 1);
        assert_eq!(found[0].info["tokens"], Value::Null);
    }

    #[test]
    fn a_filter_takes_what_is_new_enough_and_of_the_project() {
        for (filter, expected) in [
            (
                Filter {
                    since_ms: Some(5_000.0),
                    project: None,
                },
                vec!["ses_a"],
            ),
            (
                Filter {
                    since_ms: None,
                    project: Some("/home/me/shop/".into()),
                },
                vec!["ses_a", "ses_b"],
            ),
            (
                Filter {
                    since_ms: None,
                    project: Some("/home/me/shop/api".into()),
                },
                vec!["ses_b"],
            ),
            (
                Filter {
                    since_ms: None,
                    project: Some("/home/me/sho".into()),
                },
                vec![],
            ),
        ] {
            let found = now(sessions(&Rows, &filter)).expect("sessions");
            assert_eq!(
                found
                    .iter()
                    .map(|found| found.id.as_str())
                    .collect::<Vec<_>>(),
                expected,
                "{filter:?}"
            );
        }
    }
}
