//! What is to be in the store and is not: `push`, `pending`, `retry`.

use super::{Cli, Done, Problem};
use crate::history::{Filter, History};
use crate::old::Files;
use crate::push::{self, Push};
use crate::record::Policy;
use crate::send::Sender;
use crate::spool::Entry;
use serde_json::json;
use std::sync::Arc;

impl Cli {
    /// Sessions with something that waits, or is refused.
    pub(super) async fn waiting(&self) -> Result<Vec<(String, Entry)>, String> {
        let spool = self.spool();
        let mut found = Vec::new();
        for session in spool.sessions().await.map_err(|error| error.to_string())? {
            let entry = spool
                .entry(&session)
                .await
                .map_err(|error| error.to_string())?;
            if entry.is_due() || entry.refusals().next().is_some() {
                found.push((session, entry));
            }
        }
        Ok(found)
    }

    pub(super) async fn push(
        &self,
        args: &[&str],
        is_json: bool,
        is_forced: bool,
    ) -> Result<Done, Problem> {
        let (filter, is_rehearsal) = self.filter(args)?;
        let config = self.config().await?;
        let policy = Policy::new(config.include, &self.variables);
        let history = History {
            database: &*self.database,
            files: Files::new(&self.host),
        };
        let spool = self.spool();
        let push = Push {
            host: &self.host,
            history: &history,
            policy: &policy,
            exclude: &config.exclude,
            spool: &spool,
            store: config.url.as_deref().unwrap_or_default(),
        };
        if is_rehearsal {
            // The bodies as they would be sent, to the byte.
            let pushed = push.rehearse(&filter, |path, body| {
                let line = if is_json {
                    json!({ "path": path, "body": body }).to_string()
                } else {
                    format!("POST {path}\n{body}\n")
                };
                self.terminal.print(&line);
            });
            let pushed = pushed.await?;
            let text = format!(
                "{} messages of {} sessions would leave; {} sessions stay here.",
                pushed.messages,
                pushed.sessions - pushed.kept,
                pushed.kept
            );
            return Ok(Done::new(
                text,
                json!({ "ok": true, "dryRun": true, "pushed": pushed }),
            ));
        }
        let store = self.store_of(&config)?;
        store.sessions(1).await?;
        if is_forced {
            for session in spool.sessions().await.map_err(|error| error.to_string())? {
                let forget = spool.update(&session, |entry| *entry = Entry::default());
                forget.await.map_err(|error| error.to_string())?;
            }
        }
        let exclude = config.exclude.clone();
        let sender = Sender::new(Arc::clone(&self.host), store, spool.clone(), exclude);
        let progress =
            |done: usize, all: usize| self.terminal.progress(&format!("{done} of {all} sessions"));
        let pushed = push.run(&filter, &sender, progress).await?;
        let text = format!(
            "{} sessions looked at, {} messages sent; {} sessions stay here, {} records wait, {} are not taken by the store.",
            pushed.sessions, pushed.messages, pushed.kept, pushed.left, pushed.refused
        );
        let exit = i32::from(pushed.left + pushed.refused > 0);
        Ok(Done {
            text,
            json: json!({ "ok": exit == 0, "pushed": pushed }),
            exit,
        })
    }

    fn filter(&self, args: &[&str]) -> Result<(Filter, bool), Problem> {
        let (mut filter, mut is_rehearsal, mut args) = (Filter::default(), false, args);
        loop {
            args = match args {
                [] => return Ok((filter, is_rehearsal)),
                ["--dry-run", rest @ ..] => {
                    is_rehearsal = true;
                    rest
                }
                ["--since", date, rest @ ..] => {
                    filter.since_ms = Some(since(date, self.host.now_ms())?);
                    rest
                }
                ["--project", directory, rest @ ..] => {
                    filter.project = Some(directory.to_string());
                    rest
                }
                [other, ..] => return Err(Problem::Usage(format!("push has no option `{other}`"))),
            };
        }
    }

    pub(super) async fn pending(&self) -> Result<Done, Problem> {
        let waiting = self.waiting().await?;
        let mut text = String::new();
        for (session, entry) in &waiting {
            text += &format!("{session}  {} records wait\n", entry.due());
            for why in entry.refusals() {
                text += &format!("    not taken: {why}\n");
            }
        }
        if waiting.is_empty() {
            text += "Nothing waits.\n";
        }
        let json = waiting.iter().map(|(session, entry)| json!({ "session": session, "refused": entry.refusals().collect::<Vec<_>>() }));
        Ok(Done::new(text, json.collect()))
    }

    pub(super) async fn retry(&self) -> Result<Done, Problem> {
        let config = self.config().await?;
        let spool = self.spool();
        let sender = Sender::new(
            Arc::clone(&self.host),
            self.store_of(&config)?,
            spool.clone(),
            config.exclude,
        );
        let (mut messages, mut left) = (0, 0);
        for (session, _) in self.waiting().await? {
            let again = spool.update(&session, |entry| entry.retry());
            again.await.map_err(|error| error.to_string())?;
            let pass = push::send(&self.host, &sender, &session).await?;
            messages += pass.messages;
            left += pass.left + pass.refused;
        }
        let text = format!("{messages} messages sent; {left} records still wait.");
        let exit = i32::from(left > 0);
        Ok(Done {
            text,
            json: json!({ "ok": exit == 0, "messages": messages, "left": left }),
            exit,
        })
    }
}

/// A day, or so many days before now, in milliseconds since the Unix epoch.
fn since(text: &str, now_ms: u64) -> Result<f64, Problem> {
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u32>().ok());
    if let Some(days) = days {
        return Ok(now_ms as f64 - f64::from(days) * 86_400_000.0);
    }
    let wrong = |_| Problem::Usage(format!("{text:?} is no date: write 2026-11-01, or 30d"));
    let date: jiff::civil::Date = text.parse().map_err(wrong)?;
    let start = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(wrong)?;
    Ok(start.timestamp().as_millisecond() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_day_or_days_ago() {
        let now = 1_800_000_000_000;
        for (text, expected) in [
            ("1d", Some(1_799_913_600_000.0)),
            ("2023-11-14", Some(1_699_920_000_000.0)),
            ("yesterday", None),
            ("2023-13-01", None),
            ("", None),
        ] {
            assert_eq!(since(text, now).ok(), expected, "{text}");
        }
    }
}
