//! The command, as a user and as a script call it.

use crate::world::{OLD, World};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use session_sync::cli::{Cli, Terminal};
use session_sync::history::Database;
use std::cell::{Cell, RefCell};
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;
use testkit::{TestHost, run};

/// A terminal, or none.
#[derive(Default)]
struct Fake {
    printed: RefCell<Vec<String>>,
    /// What was asked, and whether the answer was hidden.
    asked: RefCell<Vec<(String, bool)>>,
    answers: RefCell<Vec<String>>,
    piped: RefCell<Option<String>>,
    progress: Cell<usize>,
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
struct Rows(usize);

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
struct Home {
    dir: tempfile::TempDir,
    host: Rc<TestHost>,
    terminal: Rc<Fake>,
    cli: Cli,
}

impl Home {
    fn new(sessions: usize) -> Home {
        let dir = tempfile::tempdir().expect("a directory");
        let host = Rc::new(TestHost::new(&[("HOME", &dir.path().to_string_lossy())]));
        let terminal = Rc::new(Fake::default());
        let cli = Cli {
            host: host.clone(),
            terminal: terminal.clone(),
            database: Rc::new(Rows(sessions)),
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
    async fn call(&self, args: &[&str]) -> (i32, String) {
        self.terminal.printed.borrow_mut().clear();
        let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
        let exit = self.cli.run(&args).await;
        (exit, self.terminal.printed.borrow().join("\n"))
    }

    async fn json(&self, args: &[&str]) -> (i32, Value) {
        let all: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let (exit, text) = self.call(&all).await;
        (
            exit,
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
        )
    }

    async fn login(&self, world: &World) {
        self.host.set_env("OPENCODE_SYNC_API_KEY", &world.store.key);
        let (exit, text) = self.call(&["login", "--url", &world.store.url]).await;
        assert_eq!(exit, 0, "{text}");
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join(".config/opencode-sync/config.json")
    }
}

#[test]
fn login_tries_the_key_before_it_is_saved_for_the_user_alone() {
    run(async {
        let world = World::new();
        let home = Home::new(0);
        let url = &world.store.url;
        for (piped, answers, args, reason) in [
            (
                Some("osk_wrong"),
                vec![],
                vec!["login", "--url", url],
                "refused the key",
            ),
            (
                None,
                vec![],
                vec!["login", "--url", url],
                "no key was given",
            ),
            (
                Some("x"),
                vec![],
                vec!["login"],
                "name the store with --url",
            ),
            (
                Some("x"),
                vec![],
                vec!["login", "--url", "nonsense"],
                "is no URL",
            ),
            (
                Some("x"),
                vec![],
                vec!["login", "--url", "http://127.0.0.1:9"],
                "is no store that answers",
            ),
        ] {
            *home.terminal.piped.borrow_mut() = piped.map(str::to_string);
            *home.terminal.answers.borrow_mut() = answers;
            let (exit, text) = home.call(&args).await;
            assert_eq!(exit, 1, "{text}");
            assert!(text.contains(reason), "{reason}: {text}");
            assert!(!home.file().exists(), "{reason}");
        }
        // At a terminal the key is not shown.
        home.terminal.asked.borrow_mut().clear();
        *home.terminal.answers.borrow_mut() = vec![url.clone(), format!(" {} ", world.store.key)];
        let (exit, text) = home.call(&["login"]).await;
        assert_eq!(exit, 0, "{text}");
        assert!(!text.contains(&world.store.key), "{text}");
        let hidden: Vec<bool> = home
            .terminal
            .asked
            .borrow()
            .iter()
            .map(|(_, hidden)| *hidden)
            .collect();
        assert_eq!(hidden, [false, true]);
        let mode = |path: &std::path::Path| {
            std::fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(&home.file()), 0o600);
        assert_eq!(mode(home.file().parent().expect("a directory")), 0o700);

        let (exit, status) = home.json(&["status"]).await;
        assert_eq!(
            (exit, &status["ok"], &status["waiting"]),
            (0, &json!(true), &json!(0)),
            "{status}"
        );
        let (_, key) = home.call(&["config", "get", "apiKey"]).await;
        assert_eq!(key, format!("{}…", &world.store.key[..8]));
        assert_eq!(home.call(&["logout"]).await.0, 0);
        let (exit, text) = home.call(&["status"]).await;
        assert_eq!(exit, 1);
        assert!(text.contains("run `opencode-sync login`"), "{text}");
    });
}

#[test]
fn push_brings_the_past_with_its_dates_and_does_it_once() {
    run(async {
        let world = World::new();
        let home = Home::new(7);
        home.login(&world).await;
        let (exit, pushed) = home.json(&["push"]).await;
        assert_eq!(exit, 0, "{pushed}");
        assert_eq!(
            pushed["pushed"],
            json!({ "sessions": 7, "kept": 1, "messages": 12, "left": 0, "refused": 0 })
        );
        let state = world.store.state().await;
        let sessions = state["sessions"].as_array().expect("sessions");
        assert_eq!(sessions.len(), 6);
        assert_eq!(sessions[2]["createdAt"], json!(OLD as u64 + 2_000));
        assert_eq!(
            sessions[2]["messages"][1]["textContent"],
            json!("use [redacted] in 2")
        );
        assert!(
            !state.to_string().contains("Taxes"),
            "a private session left"
        );
        world.store.forget().await;
        let (_, again) = home.json(&["sync", "--new"]).await;
        assert_eq!(again["pushed"]["messages"], json!(0));
        // That the key is accepted, and nothing else.
        assert_eq!(world.store.requests().await, ["GET /api/sessions"]);
        let (_, forced) = home.json(&["sync", "--force"]).await;
        assert_eq!(forced["pushed"]["messages"], json!(12));
        assert_eq!(
            world.store.state().await["sessions"]
                .as_array()
                .map(Vec::len),
            Some(6)
        );
    });
}

#[test]
fn a_rehearsal_shows_what_would_leave_and_sends_nothing() {
    run(async {
        let world = World::new();
        let home = Home::new(4);
        home.login(&world).await;
        world.store.forget().await;
        let (exit, text) = home
            .call(&["push", "--dry-run", "--project", "/home/me/p0"])
            .await;
        assert_eq!(exit, 0, "{text}");
        assert!(
            text.contains("use [redacted] in 0")
                && text.contains("4 messages of 2 sessions would leave"),
            "{text}"
        );
        assert!(!text.contains("AKIA"), "{text}");
        assert_eq!(world.store.requests().await, Vec::<String>::new());
        assert!(!home.dir.path().join("spool").exists());
    });
}

#[test]
fn what_the_store_does_not_take_is_shown_kept_and_tried_again_when_that_is_asked_for() {
    run(async {
        let world = World::new();
        let home = Home::new(2);
        home.login(&world).await;
        let refusal = json!({ "error": "ArgumentValidationError: no" });
        world
            .store
            .fault(json!({ "status": 500, "body": refusal, "path": "/sync/message" }))
            .await;
        let (exit, pushed) = home.json(&["push"]).await;
        assert_eq!(
            (exit, &pushed["pushed"]["refused"]),
            (1, &json!(1)),
            "{pushed}"
        );
        let (_, pending) = home.call(&["pending"]).await;
        assert!(
            pending.contains("not taken: ArgumentValidationError: no"),
            "{pending}"
        );
        let (_, status) = home.json(&["status"]).await;
        assert_eq!(status["lastError"], json!("ArgumentValidationError: no"));
        world.store.heal().await;
        let (exit, retried) = home.json(&["retry"]).await;
        assert_eq!((exit, &retried["messages"]), (0, &json!(1)), "{retried}");
        assert_eq!(home.call(&["pending"]).await.1, "Nothing waits.");
    });
}

#[test]
fn a_push_that_was_interrupted_goes_on_where_it_was() {
    run(async {
        let world = World::new();
        let home = Home::new(6);
        home.login(&world).await;
        home.host.fast.set(true);
        world
            .store
            .fault(json!({ "drop": "before", "times": -1, "path": "/sync/message" }))
            .await;
        let (exit, text) = home.call(&["push"]).await;
        assert_eq!(exit, 1);
        assert!(text.contains("cannot be reached"), "{text}");
        world.store.heal().await;
        let (exit, pushed) = home.json(&["push"]).await;
        assert_eq!(exit, 0, "{pushed}");
        let state = world.store.state().await;
        let messages: usize = state["sessions"]
            .as_array()
            .expect("sessions")
            .iter()
            .map(|session| session["messages"].as_array().map_or(0, Vec::len))
            .sum();
        assert_eq!(messages, 10);
        assert!(home.terminal.progress.get() > 0);
    });
}

#[test]
fn settings_say_where_they_come_from_and_wrong_arguments_say_what_there_is() {
    run(async {
        let home = Home::new(0);
        assert_eq!(
            home.call(&["config", "set", "include.reasoning", "true"])
                .await
                .0,
            0
        );
        let (_, settings) = home.json(&["config"]).await;
        let of = |name: &str| {
            settings
                .as_array()
                .expect("a list")
                .iter()
                .find(|setting| setting["name"] == name)
                .cloned()
                .expect(name)
        };
        assert_eq!(
            of("include.reasoning"),
            json!({ "name": "include.reasoning", "value": "true", "source": "file" })
        );
        assert_eq!(of("include.toolOutput")["source"], "default");
        for (args, exit, reason) in [
            (
                vec!["push", "--sinse", "1d"],
                2,
                "push has no option `--sinse`",
            ),
            (vec!["push", "--since", "soon"], 2, "is no date"),
            (vec!["frobnicate"], 2, "there is no command `frobnicate`"),
            (vec!["config", "get", "colour"], 2, "there is no setting"),
            (
                vec!["config", "set", "include.files", "maybe"],
                1,
                "true or false",
            ),
            (vec!["push"], 1, "run `opencode-sync login`"),
        ] {
            let (found, text) = home.call(&args).await;
            assert_eq!(found, exit, "{text}");
            assert!(text.contains(reason), "{reason}: {text}");
            let (found, json) = home.json(&args).await;
            assert_eq!((found, &json["ok"]), (exit, &json!(false)));
        }
        std::fs::write(home.file(), "{\"colour\": 1}").expect("written");
        let (exit, text) = home.call(&["config"]).await;
        assert_eq!(exit, 1);
        assert!(
            text.contains("unknown field `colour`") && text.contains("include.files"),
            "{text}"
        );
    });
}
