//! The command `opencode-sync` in a home of its own.

use crate::world::{OLD, World};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use session_sync::cli::{Cli, Terminal};
use session_sync::history::Database;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use testkit::TestHost;

/// A terminal, or none.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) printed: RefCell<Vec<String>>,
    /// What was asked, and whether the answer was hidden.
    pub(crate) asked: RefCell<Vec<(String, bool)>>,
    pub(crate) answers: RefCell<Vec<String>>,
    pub(crate) piped: RefCell<Option<String>>,
    pub(crate) progress: Cell<usize>,
}

#[async_trait(?Send)]
impl Terminal for Fake {
    fn print(&self, line: &str) {
        self.printed.borrow_mut().push(line.into());
    }

    fn progress(&self, _: &str) {
        self.progress.set(self.progress.get() + 1);
    }

    async fn ask(&self, question: &str, hidden: bool) -> Option<String> {
        self.asked.borrow_mut().push((question.into(), hidden));
        let mut answers = self.answers.borrow_mut();
        (!answers.is_empty()).then(|| answers.remove(0))
    }

    async fn piped(&self) -> Option<String> {
        self.piped.borrow_mut().take()
    }
}

/// A database with so many sessions of two messages each; the second holds a secret.
pub(crate) struct Rows(pub(crate) usize);

#[async_trait(?Send)]
impl Database for Rows {
    async fn query(&self, sql: &str) -> Result<Vec<Map<String, Value>>, String> {
        let mut rows = Vec::new();
        for n in 0..self.0 {
            let session = format!("ses_{n:04}");
            let named = sql.contains(&format!("'{session}'"));
            let at = OLD + n as f64 * 1_000.0;
            if sql == "SELECT * FROM session" {
                let title = if n == 3 {
                    "Taxes [private]".to_string()
                } else {
                    format!("Session {n}")
                };
                rows.push(json!({ "id": session, "directory": format!("/home/me/p{}", n % 2), "title": title, "cost": 0.5, "tokens_input": 3, "tokens_output": 2,
                    "tokens_reasoning": 0, "tokens_cache_read": 0, "tokens_cache_write": 0, "time_created": at, "time_updated": at }));
            } else if sql.contains("FROM message") && named {
                rows.push(json!({ "id": format!("msg_{n:04}a"), "session_id": session, "data": json!({ "role": "user", "time": { "created": at } }).to_string() }));
                rows.push(json!({ "id": format!("msg_{n:04}b"), "session_id": session, "data": json!({ "role": "assistant", "modelID": "m", "providerID": "p", "time": { "created": at + 1.0, "completed": at + 2.0 } }).to_string() }));
            } else if sql.contains("FROM part WHERE") && named {
                for (which, text) in [
                    ("a", "hi".to_string()),
                    ("b", format!("use AKIAIOSFODNN7EXAMPLQ in {n}")),
                ] {
                    let data = json!({ "type": "text", "text": text }).to_string();
                    rows.push(json!({ "id": format!("prt_{n:04}{which}"), "message_id": format!("msg_{n:04}{which}"), "session_id": session, "data": data }));
                }
            }
        }
        Ok(serde_json::from_value(Value::Array(rows)).expect("rows"))
    }
}

/// The command in a home of its own.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) host: Rc<TestHost>,
    pub(crate) terminal: Rc<Fake>,
    pub(crate) cli: Cli,
}

impl Home {
    pub(crate) fn new(sessions: usize) -> Home {
        let dir = tempfile::tempdir().expect("a directory");
        let host = Rc::new(TestHost::new(&[("HOME", &dir.path().to_string_lossy())]));
        let terminal = Rc::new(Fake::default());
        let cli = Cli {
            host: host.clone(),
            terminal: terminal.clone(),
            database: Rc::new(Rows(sessions)),
            directory: dir.path().join("project").to_string_lossy().into(),
            spool: dir.path().join("spool").to_string_lossy().into(),
            variables: Vec::new(),
            version: "0.0.1".into(),
        };
        Home {
            dir,
            host,
            terminal,
            cli,
        }
    }

    /// Exit code, and what was printed.
    pub(crate) async fn call(&self, args: &[&str]) -> (i32, String) {
        self.terminal.printed.borrow_mut().clear();
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        let exit = self.cli.run(&args).await;
        (exit, self.terminal.printed.borrow().join("\n"))
    }

    pub(crate) async fn json(&self, args: &[&str]) -> (i32, Value) {
        let all: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let (exit, text) = self.call(&all).await;
        (
            exit,
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        )
    }

    pub(crate) async fn login(&self, world: &World) {
        self.host.set_env("OPENCODE_SYNC_API_KEY", &world.store.key);
        let (exit, text) = self.call(&["login", "--url", &world.store.url]).await;
        assert_eq!(exit, 0, "{text}");
    }

    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.dir.path().join(".config/opencode-sync/config.json")
    }
}
