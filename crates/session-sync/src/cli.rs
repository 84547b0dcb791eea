//! The command `opencode-sync`.

mod account;
mod checks;
mod init;
mod past;
mod settings;

use crate::config::{self, Config};
use crate::history::Database;
use crate::spool::Spool;
use crate::store::{Failure, Store};
use async_trait::async_trait;
use host::Host;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// What `help` prints.
pub const HELP: &str = "\
Brings OpenCode's sessions into a store that can be searched: an OpenSync deployment.

Usage: opencode-sync <command> [--json]

  login [--url URL]     save the store's address and key; the key comes from a hidden prompt, from
                        standard input or from OPENCODE_SYNC_API_KEY, and is tried before it is saved
  login --take-over     with the address and key that opencode-sync-plugin has left in ~/.opensync
  logout                forget address and key
  init [--project]      add the plugin to OpenCode's configuration, the user's own or the project's
  status                the connection, the account's totals, what waits and why
  verify                try settings, key and connection, without a trace in the store
  doctor                all that could be wrong, and what to do about each
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
    pub host: Arc<dyn Host>,
    /// The terminal.
    pub terminal: Rc<dyn Terminal>,
    /// OpenCode's database.
    pub database: Rc<dyn Database>,
    /// Where it was called.
    pub directory: String,
    /// Directory of the spool.
    pub spool: String,
    /// Variables whose values never leave, beside what looks like a secret.
    pub variables: BTreeMap<String, String>,
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
            ["init"] => self.init(false).await,
            ["init", "--project"] => self.init(true).await,
            ["status"] => self.status().await,
            ["verify"] => self.verify().await,
            ["doctor"] => self.doctor().await,
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
        config::load(&*self.host).await
    }

    fn store_of(&self, config: &Config) -> Result<Store, String> {
        match (&config.url, &config.key) {
            (Some(url), Some(key)) => Ok(Store::new(Arc::clone(&self.host), url, key)),
            _ => Err("no store is set up: run `opencode-sync login`".into()),
        }
    }

    fn spool(&self) -> Spool {
        Spool::new(Arc::clone(&self.host), &self.spool)
    }
}
