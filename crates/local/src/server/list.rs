//! Filtering, ordering and paging of the sandbox list.
//!
//! A cursor names the last item that was given, so pages neither repeat nor skip while the sort
//! key of what is left stays as it is; the default key, last activity, does not.

use std::collections::BTreeMap;

use super::sandbox::{Record, SandboxState};
use crate::problem::Problem;

pub(crate) struct Page {
    pub(crate) items: Vec<Record>,
    pub(crate) next_cursor: Option<String>,
}

/// One page of `records` as the query string asks for it. Unknown parameters are ignored.
pub(crate) fn page(records: Vec<Record>, query: &[(String, String)]) -> Result<Page, Problem> {
    let all = |name: &str| -> Vec<&str> {
        let with_brackets = format!("{name}[]");
        let values = query
            .iter()
            .filter(|(k, _)| *k == name || *k == with_brackets);
        values.flat_map(|(_, v)| v.split(',')).collect()
    };
    let one = |name: &str| {
        query
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    };

    let limit: usize = match one("limit").map(str::parse) {
        None => 100,
        Some(Ok(limit @ 1..=200)) => limit,
        Some(_) => return Err(Problem::bad_request("limit must be between 1 and 200")),
    };
    let labels: BTreeMap<String, String> = match one("labels") {
        None | Some("") => BTreeMap::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|_| Problem::bad_request("labels must be a JSON object of strings"))?,
    };
    let states = all("states")
        .into_iter()
        .map(|name| name.parse_state())
        .collect::<Result<Vec<_>, _>>()?;
    let snapshots = all("snapshots");
    let prefix = |name: &str, value: &str| {
        one(name).is_none_or(|want| value.to_lowercase().starts_with(&want.to_lowercase()))
    };
    let key: fn(&Record) -> String = match one("sort").unwrap_or("lastActivityAt") {
        "createdAt" => |r| format!("{:020}", r.created_at),
        "lastActivityAt" => |r| format!("{:020}", r.last_activity_at),
        "name" => |r| r.name.clone(),
        "cpu" => |r| format!("{:020}", r.cpu),
        "memoryGib" => |r| format!("{:020}", r.memory),
        "diskGib" => |r| format!("{:020}", r.disk),
        _ => return Err(Problem::bad_request("sort must be a sortable field")),
    };
    let descending = match one("order").unwrap_or("desc") {
        "desc" => true,
        "asc" => false,
        _ => return Err(Problem::bad_request("order must be asc or desc")),
    };

    let mut rows: Vec<((String, String), Record)> = records
        .into_iter()
        .filter(|r| {
            r.state != SandboxState::Destroying || states.contains(&Some(SandboxState::Destroying))
        })
        .filter(|r| states.is_empty() || states.contains(&Some(r.state)))
        .filter(|r| labels.iter().all(|(k, v)| r.labels.get(k) == Some(v)))
        .filter(|r| prefix("id", &r.id) && prefix("name", &r.name))
        .filter(|r| {
            snapshots.is_empty()
                || r.snapshot
                    .as_deref()
                    .is_some_and(|s| snapshots.contains(&s))
        })
        .map(|r| ((key(&r), r.id.clone()), r))
        .collect();
    rows.sort_by(|(a, _), (b, _)| if descending { b.cmp(a) } else { a.cmp(b) });

    if let Some(cursor) = one("cursor").filter(|c| !c.is_empty()) {
        let after = decode(cursor).ok_or_else(|| Problem::bad_request("Invalid cursor"))?;
        rows.retain(|(key, _)| {
            if descending {
                *key < after
            } else {
                *key > after
            }
        });
    }
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|(key, _)| encode(key));
    Ok(Page {
        items: rows.into_iter().map(|(_, record)| record).collect(),
        next_cursor,
    })
}

trait ParseState {
    fn parse_state(self) -> Result<Option<SandboxState>, Problem>;
}

impl ParseState for &str {
    /// `None` is a state that Daytona has and that never occurs here.
    fn parse_state(self) -> Result<Option<SandboxState>, Problem> {
        const OTHERS: &[&str] = &[
            "build_failed",
            "pending_build",
            "building_snapshot",
            "unknown",
            "pulling_snapshot",
            "resizing",
            "snapshotting",
            "forking",
            "pausing",
            "paused",
            "resuming",
        ];
        match serde_json::from_value(serde_json::Value::from(self)) {
            Ok(state) => Ok(Some(state)),
            Err(_) if OTHERS.contains(&self) => Ok(None),
            Err(_) => Err(Problem::bad_request(
                "each value in states must be a sandbox state",
            )),
        }
    }
}

fn encode((key, id): &(String, String)) -> String {
    format!("{id}\n{key}")
        .bytes()
        .map(|b| format!("{b:02x}"))
        .collect()
}

fn decode(cursor: &str) -> Option<(String, String)> {
    let pairs = cursor.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    let (id, key) = text.split_once('\n')?;
    Some((key.to_owned(), id.to_owned()))
}
