//! Sessions of the past, from OpenCode's database: `opencode db "SQL" --format json` is the official way to it
//! (1.18.33, November 2026). Sessions of all projects are there, archived and imported ones and those of releases
//! without an event log, too. What releases before 1.2.0 have left as files ([`old`](crate::old)) comes along.
//!
//! A past may be larger than memory: several small sessions are read at once, a large one in pages.

use crate::found::{Found, Read, conversation};
use crate::old::Files;
use crate::opencode::from_json;
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};

/// Bytes of messages and parts that are read at once.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// Messages of one session that are read at once.
const PAGE_MESSAGES: usize = 1_000;
/// Sessions that are read at once: a query names each.
const PAGE_SESSIONS: usize = 200;
/// Columns of a session; a release has some of them.
const COLUMNS: &[&str] = &[
    "id",
    "parent_id",
    "directory",
    "title",
    "model",
    "cost",
    "tokens_input",
    "tokens_output",
    "tokens_reasoning",
    "tokens_cache_read",
    "tokens_cache_write",
    "time_created",
    "time_updated",
];
/// A row's JSON without what never leaves and may be large: contents of files, and what tools keep for the screen.
const DATA: &str = "CASE WHEN json_valid(data) THEN json_remove(data, '$.url', '$.snapshot', '$.summary.diffs', '$.state.attachments', '$.state.metadata') ELSE data END AS data";

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

/// All that OpenCode has of the past.
pub struct History<'a> {
    /// Its database.
    pub database: &'a dyn Database,
    /// What an old release has left.
    pub files: Option<Files>,
}

impl History<'_> {
    /// The sessions that a filter lets through, the oldest first.
    pub async fn sessions(&self, filter: &Filter) -> Result<Vec<Found>, String> {
        let mut found = in_database(self.database).await?;
        if let Some(files) = &self.files {
            let known: BTreeSet<String> = found.iter().map(|found| found.id.clone()).collect();
            found.extend(files.sessions(&known).await?);
        }
        found.retain(|found| {
            let directory = found.info["directory"].as_str().unwrap_or_default();
            let is_there = filter.project.as_ref().is_none_or(|project| {
                let below = directory.strip_prefix(project.trim_end_matches(['/', '\\']));
                below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '\\']))
            });
            is_there && filter.since_ms.is_none_or(|since| found.updated >= since)
        });
        let created = |found: &Found| found.info["time"]["created"].as_f64().unwrap_or_default();
        found.sort_by(|a, b| {
            created(a)
                .total_cmp(&created(b))
                .then_with(|| a.id.cmp(&b.id))
        });
        Ok(found)
    }

    /// Reads several sessions. One that cannot be read is left out.
    pub async fn read(&self, batch: &[Found]) -> Result<Vec<Read>, String> {
        let ids: Vec<String> = batch.iter().map(|found| quoted(&found.id)).collect();
        let condition = format!("session_id IN ({})", ids.join(","));
        let (messages, mut parts) = self.rows(&condition, &condition).await?;
        let mut messages = grouped(messages, "session_id");
        let read = |found: &Found| whole(found, messages.remove(&found.id), &mut parts);
        Ok(batch.iter().filter_map(read).collect())
    }

    /// The ids of a session's messages, in the pages that are read at once.
    pub async fn pages(&self, found: &Found) -> Result<Vec<Vec<String>>, String> {
        if let (true, Some(files)) = (found.is_old, &self.files) {
            return files.pages(&found.id).await;
        }
        let sql = format!(
            "SELECT id, LENGTH(data) + IFNULL((SELECT SUM(LENGTH(data)) FROM part WHERE message_id = message.id), 0) AS bytes FROM message WHERE session_id = {} ORDER BY id",
            quoted(&found.id)
        );
        let (mut pages, mut bytes) = (vec![Vec::new()], 0);
        for row in self.database.query(&sql).await? {
            let size = row.get("bytes").and_then(Value::as_u64).unwrap_or_default();
            let Some(id) = row.get("id").and_then(Value::as_str) else {
                continue;
            };
            let page: &Vec<String> = &pages[pages.len() - 1];
            let is_full = bytes + size > PAGE_BYTES || page.len() >= PAGE_MESSAGES;
            if is_full && !page.is_empty() {
                pages.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            pages.last_mut().expect("one").push(id.into());
        }
        Ok(pages)
    }

    /// Reads a page of a session. None if the session itself cannot be read.
    pub async fn page(&self, found: &Found, ids: &[String]) -> Result<Option<Read>, String> {
        if let (true, Some(files)) = (found.is_old, &self.files) {
            return Ok(files.page(found, ids).await);
        }
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Ok(whole(found, None, &mut HashMap::new()));
        };
        let of = |column: &str| {
            format!(
                "session_id = {} AND {column} BETWEEN {} AND {}",
                quoted(&found.id),
                quoted(first),
                quoted(last)
            )
        };
        let (messages, mut parts) = self.rows(&of("id"), &of("message_id")).await?;
        Ok(whole(found, Some(messages), &mut parts))
    }

    /// Messages, and their parts by the messages' ids. Ids rise with time, and are what OpenCode itself orders by.
    async fn rows(
        &self,
        messages: &str,
        parts: &str,
    ) -> Result<(Vec<Row>, HashMap<String, Vec<Row>>), String> {
        let messages =
            format!("SELECT id, session_id, {DATA} FROM message WHERE {messages} ORDER BY id");
        let parts = format!("SELECT id, message_id, {DATA} FROM part WHERE {parts} ORDER BY id");
        let messages = self.database.query(&messages).await?;
        let parts = self.database.query(&parts).await?;
        Ok((messages, grouped(parts, "message_id")))
    }
}

/// A text in a query.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

async fn in_database(database: &dyn Database) -> Result<Vec<Found>, String> {
    let columns = database
        .query("SELECT name FROM pragma_table_info('session')")
        .await?;
    let has = |column: &&&str| {
        let mut names = columns.iter().filter_map(|row| row.get("name"));
        names.any(|name| name.as_str() == Some(**column))
    };
    let columns: Vec<&str> = COLUMNS.iter().filter(has).copied().collect();
    let sql = format!("SELECT {} FROM session", columns.join(", "));
    let rows = database.query(&sql).await?;
    let sizes = database
        .query("SELECT session_id, SUM(bytes) AS bytes FROM (SELECT session_id, LENGTH(data) AS bytes FROM message UNION ALL SELECT session_id, LENGTH(data) AS bytes FROM part) GROUP BY session_id")
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
    let found = rows.into_iter().filter_map(|row| {
        let id = row.get("id")?.as_str()?.to_string();
        let bytes = bytes_of.get(id.as_str()).copied().unwrap_or_default();
        let updated = row.get("time_updated")?.as_f64()?;
        let info = session(row);
        Some(Found {
            info,
            id,
            updated,
            bytes,
            is_old: false,
        })
    });
    Ok(found.collect())
}

/// Sessions in groups that are read at once; one that has to be read in pages is alone.
pub fn batches(found: &[Found]) -> Vec<&[Found]> {
    let (mut out, mut start, mut bytes) = (Vec::new(), 0, 0);
    for (at, session) in found.iter().enumerate() {
        let is_full = bytes + session.bytes > PAGE_BYTES || at - start >= PAGE_SESSIONS;
        let is_alone = session.is_paged() || (at > start && found[at - 1].is_paged());
        if at > start && (is_full || is_alone) {
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

impl Found {
    /// True if it is read in pages.
    pub fn is_paged(&self) -> bool {
        self.is_old || self.bytes > PAGE_BYTES
    }
}

/// What the rows of messages and parts say of a session.
fn whole(
    found: &Found,
    messages: Option<Vec<Row>>,
    parts: &mut HashMap<String, Vec<Row>>,
) -> Option<Read> {
    let read = messages.unwrap_or_default().into_iter().map(|row| {
        let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
        let parts = parts.remove(id).unwrap_or_default();
        let parts: Vec<Value> = parts.iter().filter_map(data).collect();
        (id.to_string(), data(&row), parts)
    });
    conversation(&found.info, read)
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
    let mut data: Map<String, Value> = from_json(text).ok()?;
    data.insert("id".into(), row.get("id")?.clone());
    Some(Value::Object(data))
}

/// A row of the table of sessions, as OpenCode's interface has it.
fn session(row: Row) -> Value {
    let field = |name: &str| row.get(name).cloned().unwrap_or_default();
    let model = field("model");
    let model = model
        .as_str()
        .and_then(|text| from_json::<Value>(text).ok());
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
                "SELECT name FROM pragma_table_info('session')" => COLUMNS
                    .iter()
                    .filter(|name| **name != "cost")
                    .map(|name| json!({ "name": name }))
                    .collect(),
                sql if sql.ends_with(" FROM session") => json!([
                    { "id": "ses_b", "parent_id": "ses_a", "directory": "/home/me/shop/api", "title": "Child", "cost": 0, "tokens_input": 20, "tokens_output": 10,
                      "tokens_reasoning": 1, "tokens_cache_read": 2, "tokens_cache_write": 3, "model": "{\"id\":\"m\",\"providerID\":\"fake\"}", "time_created": 2000, "time_updated": 3000 },
                    { "id": "ses_a", "parent_id": null, "directory": "/home/me/shop", "title": "Parent", "model": null, "time_created": 1000, "time_updated": 9000 },
                ]),
                sql if sql.starts_with("SELECT session_id, SUM") => {
                    json!([{ "session_id": "ses_a", "bytes": 20_000_000 }, { "session_id": "ses_b", "bytes": 5 }])
                }
                sql if sql.contains(" AS bytes FROM message") => {
                    let row = |n: u64| json!({ "id": format!("msg_{n:04}"), "bytes": if n == 1_500 { 9_000_000 } else { 10 } });
                    (0..2_500).map(row).collect()
                }
                sql if sql.contains("FROM message WHERE") => json!([
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

    const HISTORY: History<'static> = History {
        database: &Rows,
        files: None,
    };

    fn now<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("it does not wait")
    }

    #[test]
    fn rows_become_conversations_and_what_is_broken_is_left_out() {
        let found = now(HISTORY.sessions(&Filter::default())).expect("sessions");
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
        let read = now(HISTORY.read(batches[1])).expect("conversations");
        let [read] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!(read.unreadable, ["msg_2"]);
        let conversation = &read.conversation;
        assert_eq!(conversation.info.parent.as_deref(), Some("ses_a"));
        let tokens = conversation.info.tokens.expect("sums");
        assert_eq!((tokens.prompt(), tokens.completion()), (25.0, 11.0));
        assert_eq!(conversation.messages.len(), 1);
        assert_eq!(conversation.messages[0].parts.len(), 1);
        assert_eq!(found[0].info["tokens"], Value::Null);
    }

    #[test]
    fn a_large_session_is_read_in_pages_of_bounded_size() {
        let found = now(HISTORY.sessions(&Filter::default())).expect("sessions");
        assert_eq!((found[0].is_paged(), found[1].is_paged()), (true, false));
        let pages = now(HISTORY.pages(&found[0])).expect("pages");
        let ends: Vec<(&str, usize)> = pages
            .iter()
            .map(|page| (page[0].as_str(), page.len()))
            .collect();
        // A message that is too large by itself is alone.
        let expected = [
            ("msg_0000", 1_000),
            ("msg_1000", 500),
            ("msg_1500", 1),
            ("msg_1501", 999),
        ];
        assert_eq!(ends, expected);
        let page = now(HISTORY.page(&found[0], &["it's".into(), "msg_2".into()]));
        assert_eq!(
            page.expect("read").expect("a session").unreadable,
            ["msg_2"]
        );
    }

    #[test]
    fn only_columns_that_a_release_has_are_asked_for() {
        let found = now(HISTORY.sessions(&Filter::default())).expect("sessions");
        assert_eq!(found.len(), 2);
        struct Asked;
        #[async_trait(?Send)]
        impl Database for Asked {
            async fn query(&self, sql: &str) -> Result<Vec<Row>, String> {
                let is_asked = sql.ends_with(" FROM session");
                assert!(
                    !is_asked || sql.contains("tokens_input") && !sql.contains("cost"),
                    "{sql}"
                );
                assert!(!sql.contains("event"), "the log has holes: {sql}");
                Rows.query(sql).await
            }
        }
        let history = History {
            database: &Asked,
            files: None,
        };
        assert_eq!(
            now(history.sessions(&Filter::default())).expect("sessions"),
            found
        );
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
            let found = now(HISTORY.sessions(&filter)).expect("sessions");
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
