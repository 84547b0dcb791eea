//! The command `opencode-sync`.

use crate::config::{self, Config, File, SETTINGS, Source};
use crate::history::{Database, Filter};
use crate::push::{self, Push};
use crate::record::Policy;
use crate::redact::Redactor;
use crate::send::Sender;
use crate::spool::{Entry, Spool};
use crate::store::{Failure, Store, base_url};
use async_trait::async_trait;
use host::Host;
use serde_json::{Value, json};
use std::rc::Rc;

/// What `help` prints.
pub const HELP: &str = "\
Brings OpenCode's sessions into a store that can be searched: an OpenSync deployment.

Usage: opencode-sync <command> [--json]

  login [--url URL]     save the store's address and key; the key comes from a hidden prompt, from
                        standard input or from OPENCODE_SYNC_API_KEY, and is tried before it is saved
  logout                forget address and key
  status                the connection, the account's totals, what waits and why
  config                every setting, its value and where it comes from
  config get NAME       one value
  config set NAME VALUE set one; an empty value takes it out
  push                  bring past sessions into the store; what is there is not sent again
      --since DATE          changed since then: 2026-11-01, or 30d
      --project DIRECTORY   of this project
      --dry-run             show exactly what would leave, and send nothing
  pending               what waits, and what the store does not take
  retry                 try all of that again
  version, help
  sync --new|--all|--force   other names: push; push; push of everything again
";

/// The terminal.
#[async_trait(?Send)]
pub trait Terminal {
    /// Prints a line.
    fn print(&self, line: &str);
    /// Shows how far something is, in the place of the last such line; nothing without a terminal.
    fn progress(&self, line: &str);
    /// Asks for a line. None if nobody can be asked.
    async fn ask(&self, question: &str, hidden: bool) -> Option<String>;
    /// What was piped in; none if it is a terminal.
    async fn piped(&self) -> Option<String>;
}

/// What the command works with.
pub struct Cli {
    /// The machine.
    pub host: Rc<dyn Host>,
    /// The terminal.
    pub terminal: Rc<dyn Terminal>,
    /// OpenCode's database.
    pub database: Rc<dyn Database>,
    /// Directory of the spool.
    pub spool: String,
    /// Variables whose values never leave, beside what looks like a secret.
    pub variables: Vec<(String, String)>,
    /// This package's version.
    pub version: String,
}

/// How a command ended: for people, and for programs.
struct Done {
    text: String,
    json: Value,
    exit: i32,
}

impl Done {
    fn new(text: impl Into<String>, json: Value) -> Done {
        let text = text.into();
        Done {
            text,
            json,
            exit: 0,
        }
    }
}

/// Wrong arguments, or a failure.
enum Problem {
    Usage(String),
    Failed(String),
}

impl From<String> for Problem {
    fn from(why: String) -> Problem {
        Problem::Failed(why)
    }
}

impl From<Failure> for Problem {
    fn from(why: Failure) -> Problem {
        Problem::Failed(why.to_string())
    }
}

impl Cli {
    /// Runs a command; gives the exit code: 0 done, 1 failed, 2 wrong arguments.
    pub async fn run(&self, args: &[String]) -> i32 {
        let is_json = args.iter().any(|arg| arg == "--json");
        let args: Vec<&str> = args
            .iter()
            .map(String::as_str)
            .filter(|arg| *arg != "--json")
            .collect();
        let done = self
            .command(&args, is_json)
            .await
            .unwrap_or_else(|problem| {
                let (text, exit) = match problem {
                    Problem::Usage(why) => (format!("{why}\n\n{HELP}"), 2),
                    Problem::Failed(why) => (why, 1),
                };
                let json = json!({ "ok": false, "error": text.lines().next() });
                Done { text, json, exit }
            });
        let text = if is_json {
            done.json.to_string()
        } else {
            done.text
        };
        self.terminal.print(text.trim_end());
        done.exit
    }

    async fn command(&self, args: &[&str], is_json: bool) -> Result<Done, Problem> {
        match args {
            ["login", rest @ ..] => self.login(rest).await,
            ["logout"] => self.logout().await,
            ["status"] => self.status().await,
            ["config"] => self.settings().await,
            ["config", "get", name] => self.get(name).await,
            ["config", "set", name, value] => self.set(name, value).await,
            ["push", rest @ ..] => self.push(rest, is_json, false).await,
            ["sync", "--new" | "--all"] => self.push(&[], is_json, false).await,
            ["sync", "--force"] => self.push(&[], is_json, true).await,
            ["pending"] => self.pending().await,
            ["retry"] => self.retry().await,
            ["version" | "--version" | "-V"] => Ok(Done::new(
                self.version.clone(),
                json!({ "version": self.version }),
            )),
            ["help" | "--help" | "-h"] | [] => Ok(Done::new(HELP, json!({ "help": HELP }))),
            other => Err(Problem::Usage(format!(
                "there is no command `{}`",
                other.join(" ")
            ))),
        }
    }

    fn config_path(&self) -> Result<String, String> {
        config::path(self.host.platform(), |name| self.host.env(name))
    }

    async fn config(&self) -> Result<Config, String> {
        let file = config::read(&*self.host, &self.config_path()?).await?;
        config::config(&file, |name| self.host.env(name))
    }

    fn store_of(&self, config: &Config) -> Result<Store, String> {
        match (&config.url, &config.key) {
            (Some(url), Some(key)) => Ok(Store::new(Rc::clone(&self.host), url, key)),
            _ => Err("no store is set up: run `opencode-sync login`".into()),
        }
    }

    fn spool(&self) -> Spool {
        Spool::new(Rc::clone(&self.host), &self.spool)
    }

    async fn login(&self, args: &[&str]) -> Result<Done, Problem> {
        let terminal = &self.terminal;
        let given = match args {
            [] => self.host.env(config::URL_VARIABLE),
            ["--url", url] => Some(url.to_string()),
            _ => {
                return Err(Problem::Usage(
                    "login takes --url URL and nothing else".into(),
                ));
            }
        };
        let url = match given {
            Some(url) => url,
            None => terminal
                .ask("Address of the store (https://NAME.convex.cloud): ", false)
                .await
                .ok_or("name the store with --url URL: nobody can be asked here".to_string())?,
        };
        let url = base_url(&url)?;
        let key = match self.host.env(config::KEY_VARIABLE) {
            Some(key) => key,
            None => match terminal.piped().await {
                Some(key) => key,
                None => terminal
                    .ask("Key (osk_…, it is not shown): ", true)
                    .await
                    .unwrap_or_default(),
            },
        };
        let key = key.trim().trim_matches(['"', '\'']).to_string();
        if key.is_empty() {
            let why = format!(
                "no key was given: pipe it in, or set {}",
                config::KEY_VARIABLE
            );
            return Err(Problem::Failed(why));
        }
        let store = Store::new(Rc::clone(&self.host), &url, &key);
        store
            .clock()
            .await
            .map_err(|why| format!("{url} is no store that answers: {why}"))?;
        store.sessions(1).await?;
        let path = self.config_path()?;
        let file = config::read(&*self.host, &path).await?;
        let file = File {
            url: Some(url.clone()),
            api_key: Some(key),
            ..file
        };
        config::write(&*self.host, &path, &file).await?;
        let text = format!(
            "Logged in to {url}. Address and key are in {path}.\nNext: add \"opencode-session-sync\" to `plugin` in opencode.json; `opencode-sync push` brings past sessions."
        );
        Ok(Done::new(
            text,
            json!({ "ok": true, "url": url, "file": path }),
        ))
    }

    async fn logout(&self) -> Result<Done, Problem> {
        let path = self.config_path()?;
        let file = config::read(&*self.host, &path).await?;
        let file = File {
            url: None,
            api_key: None,
            ..file
        };
        config::write(&*self.host, &path, &file).await?;
        Ok(Done::new(
            "Address and key are forgotten.",
            json!({ "ok": true }),
        ))
    }

    async fn status(&self) -> Result<Done, Problem> {
        let config = self.config().await?;
        let store = self.store_of(&config)?;
        let url = config.url.unwrap_or_default();
        let waiting = self.waiting().await?;
        let sum =
            |of: fn(&Entry) -> usize| waiting.iter().map(|(_, entry)| of(entry)).sum::<usize>();
        let (left, refused) = (sum(Entry::due), sum(|entry| entry.refusals().count()));
        let last = waiting
            .iter()
            .rev()
            .find_map(|(_, entry)| entry.refusals().next());
        let local = format!("{left} records wait, {refused} are not taken by the store.");
        match store.totals().await {
            Ok(totals) => {
                let text = format!(
                    "Connected to {url}.\nIn the store: {} sessions, {} messages, {} tokens, ${:.2}.\n{local}{}",
                    totals.total_sessions,
                    totals.total_messages,
                    totals.total_tokens,
                    totals.total_cost,
                    last.as_ref()
                        .map_or_else(String::new, |why| format!("\nThe last reason: {why}")),
                );
                Ok(Done::new(
                    text,
                    json!({ "ok": true, "url": url, "totals": totals, "waiting": left, "refused": refused, "lastError": last }),
                ))
            }
            Err(why) => {
                let text = format!("Not connected to {url}: {why}.\n{local}");
                let json = json!({ "ok": false, "url": url, "error": why.to_string(), "waiting": left, "refused": refused, "lastError": last });
                Ok(Done {
                    text,
                    json,
                    exit: 1,
                })
            }
        }
    }

    /// Sessions with something that waits, or is refused.
    async fn waiting(&self) -> Result<Vec<(String, Entry)>, String> {
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

    /// Names, values and sources of all settings. A key is cut.
    async fn values(&self) -> Result<Vec<(&'static str, String, &'static str)>, Problem> {
        let file = config::read(&*self.host, &self.config_path()?).await?;
        let config = config::config(&file, |name| self.host.env(name))?;
        let whole = serde_json::to_value(&file).expect("settings are JSON");
        let value = |&(name, default, _): &(&'static str, &'static str, &'static str)| {
            let set = whole.pointer(&format!("/{}", name.replace('.', "/")));
            let from_file = set.map(|value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_string)
            });
            let (value, source) = match name {
                "url" => (config.url.clone(), config.sources.0),
                "apiKey" => (config.key.as_deref().map(cut), config.sources.1),
                _ if from_file.is_some() => (from_file, Source::File),
                _ => (None, Source::Default),
            };
            (name, value.unwrap_or_else(|| default.into()), source.name())
        };
        Ok(SETTINGS.iter().map(value).collect())
    }

    async fn settings(&self) -> Result<Done, Problem> {
        let values = self.values().await?;
        let mut text = format!("{}\n\n", self.config_path()?);
        for (name, value, source) in &values {
            text += &format!("{name:<20} {value}  ({source})\n");
        }
        let json = values
            .iter()
            .map(|(name, value, source)| json!({ "name": name, "value": value, "source": source }));
        Ok(Done::new(text, json.collect()))
    }

    async fn get(&self, name: &str) -> Result<Done, Problem> {
        let values = self.values().await?;
        let found = values.into_iter().find(|(known, ..)| *known == name);
        let (_, value, source) = found.ok_or_else(|| unknown(name))?;
        Ok(Done::new(
            value.clone(),
            json!({ "name": name, "value": value, "source": source }),
        ))
    }

    async fn set(&self, name: &str, value: &str) -> Result<Done, Problem> {
        let path = self.config_path()?;
        let file = config::read(&*self.host, &path).await?;
        let file = config::set(&file, name, value)?;
        config::write(&*self.host, &path, &file).await?;
        Ok(Done::new(
            format!("{name} is set in {path}."),
            json!({ "ok": true, "name": name }),
        ))
    }

    async fn push(&self, args: &[&str], is_json: bool, is_forced: bool) -> Result<Done, Problem> {
        let (filter, is_rehearsal) = self.filter(args)?;
        let config = self.config().await?;
        let variables = self
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let policy = Policy {
            include: config.include,
            redactor: Redactor::new(variables),
        };
        let push = Push {
            host: &self.host,
            database: &*self.database,
            policy: &policy,
            exclude: &config.exclude,
        };
        if is_rehearsal {
            let pushed = push.rehearse(&filter, |session, messages| {
                let shown = json!({ "session": session, "messages": messages });
                let text = if is_json {
                    shown.to_string()
                } else {
                    serde_json::to_string_pretty(&shown).expect("it is JSON")
                };
                self.terminal.print(&text);
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
        let spool = self.spool();
        if is_forced {
            for session in spool.sessions().await.map_err(|error| error.to_string())? {
                let forget = spool.update(&session, |entry| *entry = Entry::default());
                forget.await.map_err(|error| error.to_string())?;
            }
        }
        let sender = Sender::new(Rc::clone(&self.host), store, spool.clone());
        let progress =
            |done: usize, all: usize| self.terminal.progress(&format!("{done} of {all} sessions"));
        let pushed = push.run(&filter, &spool, &sender, progress).await?;
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

    async fn pending(&self) -> Result<Done, Problem> {
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

    async fn retry(&self) -> Result<Done, Problem> {
        let config = self.config().await?;
        let spool = self.spool();
        let sender = Sender::new(
            Rc::clone(&self.host),
            self.store_of(&config)?,
            spool.clone(),
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

fn unknown(name: &str) -> Problem {
    let names: Vec<&str> = SETTINGS.iter().map(|(name, ..)| *name).collect();
    Problem::Usage(format!(
        "there is no setting {name:?}; there are {}",
        names.join(", ")
    ))
}

/// Enough of a key to know it again.
fn cut(key: &str) -> String {
    let start: String = key.chars().take(8).collect();
    format!("{start}…")
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

    #[test]
    fn a_key_is_never_shown_whole() {
        assert_eq!(cut("osk_AbCdEfGhIjKlMnOp"), "osk_AbCd…");
    }
}
