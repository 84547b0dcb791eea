//! The command `opencode-sync` in a home of its own.

use crate::world::{OLD, World};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use session_sync::cli::{Cli, Terminal};
use session_sync::history::Database;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
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

/// A session in the database.
pub(crate) struct Past {
    pub(crate) row: Value,
    /// How many messages it has: the user's and answers by turns.
    pub(crate) messages: usize,
    /// Whose row is broken.
    pub(crate) unreadable: Option<usize>,
    /// What the n-th says.
    pub(crate) text: Box<dyn Fn(usize) -> String>,
}

/// OpenCode's database, as far as it is asked.
pub(crate) struct Rows {
    pub(crate) sessions: RefCell<Vec<Past>>,
    /// All queries, and the bytes of the longest answer.
    pub(crate) queries: RefCell<Vec<String>>,
    pub(crate) longest: Cell<usize>,
}

impl Rows {
    /// So many sessions of two messages each; the second holds a secret.
    pub(crate) fn new(sessions: usize) -> Rows {
        let past = |n: usize| {
            let title = if n == 3 {
                "Taxes [private]".to_string()
            } else {
                format!("Session {n}")
            };
            let mut past = Past::new(&format!("ses_{n:04}"), &title, n as f64 * 1_000.0);
            past.row["directory"] = format!("/home/me/p{}", n % 2).into();
            past.text = Box::new(move |at| match at {
                0 => "hi".into(),
                _ => format!("use AKIAIOSFODNN7EXAMPLQ in {n}"),
            });
            past
        };
        Rows {
            sessions: RefCell::new((0..sessions).map(past).collect()),
            queries: RefCell::default(),
            longest: Cell::default(),
        }
    }
}

impl Past {
    pub(crate) fn new(id: &str, title: &str, after: f64) -> Past {
        let at = OLD + after;
        let row = json!({ "id": id, "directory": "/home/me/shop", "title": title, "cost": 0.5, "tokens_input": 3, "tokens_output": 2,
            "tokens_reasoning": 0, "tokens_cache_read": 0, "tokens_cache_write": 0, "time_created": at, "time_updated": at });
        Past {
            row,
            messages: 2,
            unreadable: None,
            text: Box::new(|n| format!("text {n}")),
        }
    }

    fn id(&self) -> &str {
        self.row["id"].as_str().expect("an id")
    }

    fn message_id(&self, n: usize) -> String {
        format!("msg_{}_{n:06}", self.id())
    }

    fn message(&self, n: usize) -> Value {
        let at = self.row["time_created"].as_f64().expect("a date") + n as f64;
        let data = match n % 2 {
            0 => json!({ "role": "user", "time": { "created": at } }),
            _ => {
                json!({ "role": "assistant", "modelID": "m", "providerID": "p", "time": { "created": at, "completed": at + 1.0 } })
            }
        };
        let data = match self.unreadable {
            Some(broken) if broken == n => "{".to_string(),
            _ => data.to_string(),
        };
        json!({ "id": self.message_id(n), "session_id": self.id(), "data": data })
    }

    fn part(&self, n: usize) -> Value {
        let data = json!({ "type": "text", "text": (self.text)(n) }).to_string();
        json!({ "id": format!("prt_{}_{n:06}", self.id()), "message_id": self.message_id(n), "session_id": self.id(), "data": data })
    }
}

impl Rows {
    fn rows(&self, sql: &str) -> Vec<Value> {
        let sessions = self.sessions.borrow();
        // What a condition names: sessions, or a session and the ends of a range.
        let condition = sql.split(" WHERE ").last().unwrap_or_default();
        let named: Vec<&str> = condition.split('\'').skip(1).step_by(2).collect();
        let range = condition.contains("BETWEEN").then(|| (named[1], named[2]));
        let mut rows = Vec::new();
        if sql.contains("pragma_table_info") {
            let columns = sessions.first().and_then(|past| past.row.as_object());
            let columns = columns.into_iter().flat_map(Map::keys);
            return columns.map(|name| json!({ "name": name })).collect();
        }
        for past in &*sessions {
            if sql.ends_with(" FROM session") {
                rows.push(past.row.clone());
            } else if sql.starts_with("SELECT session_id, SUM(bytes)") {
                let bytes: usize = (0..past.messages).map(|n| (past.text)(n).len() + 100).sum();
                rows.push(json!({ "session_id": past.id(), "bytes": bytes }));
            } else if named.contains(&past.id()) {
                for n in 0..past.messages {
                    let id = past.message_id(n);
                    if range.is_some_and(|(first, last)| *id < *first || *id > *last) {
                        continue;
                    }
                    if sql.contains("AS bytes FROM message") {
                        let bytes = (past.text)(n).len() + 100;
                        rows.push(json!({ "id": id, "bytes": bytes }));
                    } else if sql.contains("FROM message WHERE") {
                        rows.push(past.message(n));
                    } else {
                        rows.push(past.part(n));
                    }
                }
            }
        }
        rows
    }
}

#[async_trait(?Send)]
impl Database for Rows {
    async fn query(&self, sql: &str) -> Result<Vec<Map<String, Value>>, String> {
        self.queries.borrow_mut().push(sql.into());
        let rows = Value::Array(self.rows(sql));
        self.longest
            .set(self.longest.get().max(rows.to_string().len()));
        Ok(serde_json::from_value(rows).expect("rows"))
    }
}

/// The command in a home of its own.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) host: Arc<TestHost>,
    pub(crate) terminal: Rc<Fake>,
    pub(crate) database: Rc<Rows>,
    pub(crate) cli: Cli,
}

impl Home {
    pub(crate) fn new(sessions: usize) -> Home {
        let dir = tempfile::tempdir().expect("a directory");
        let host = Arc::new(TestHost::new(&[("HOME", &dir.path().to_string_lossy())]));
        let terminal = Rc::new(Fake::default());
        let database = Rc::new(Rows::new(sessions));
        let cli = Cli {
            host: host.clone(),
            terminal: terminal.clone(),
            database: database.clone(),
            directory: dir.path().join("project").to_string_lossy().into(),
            spool: dir.path().join("spool").to_string_lossy().into(),
            variables: Default::default(),
            version: "0.0.1".into(),
        };
        Home {
            dir,
            host,
            terminal,
            database,
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

    /// Changes the n-th session in the database.
    /// Changes a session, which OpenCode then calls changed.
    pub(crate) fn past(&self, n: usize, change: impl FnOnce(&mut Past)) {
        let past = &mut self.database.sessions.borrow_mut()[n];
        let updated = past.row["time_updated"].as_f64().expect("a date");
        past.row["time_updated"] = (updated + 1.0).into();
        change(past);
    }

    pub(crate) fn file(&self) -> std::path::PathBuf {
        self.dir.path().join(".config/opencode-sync/config.json")
    }
}
