//! A process that dies between any two steps of making a sandbox leaves at most one, and a store
//! that says the truth.
//!
//! Dying is played: from the n-th effect on, the process's host does nothing any more and its
//! future is dropped. Nothing tidies up after it, as after `kill -9`.

use async_trait::async_trait;
use daytona::{Client, Settings, Toolbox};
use host::Host;
use serde_json::{Value, json};
use sessions::{Prepare, Prepared, Project, Sessions, Store, Template, file_name};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use testkit::{Local, TestHost, run};
use tokio::sync::oneshot;

/// Larger than any process number of Linux.
const DEAD: u32 = 5_000_000;

struct Nothing;

#[async_trait(?Send)]
impl Prepare for Nothing {
    async fn prepare(&self, _: &Toolbox, _: bool) -> Result<Prepared, String> {
        Ok(Prepared::default())
    }
}

struct World {
    local: Local,
    data: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        World {
            local: Local::start(),
            data: tempfile::tempdir().expect("a directory"),
        }
    }

    fn process(&self, pid: u32) -> (Rc<TestHost>, Sessions) {
        let host = Rc::new(TestHost::new(&[]));
        host.pid.set(Some(pid));
        let dyn_host: Rc<dyn Host> = host.clone();
        let settings = Settings {
            api_url: self.local.url.clone(),
            api_key: self.local.key.clone(),
            organization: None,
        };
        let client = Client::new(Rc::clone(&dyn_host), settings);
        let dir = self.data.path().to_string_lossy();
        let store = Store::new(Rc::clone(&dyn_host), &dir, "project", "/w");
        let project = Project {
            id: "project".into(),
            worktree: "/w".into(),
            git: true,
        };
        let notices = Box::new(|_| ());
        let sessions = Sessions::new(
            dyn_host,
            client,
            store,
            project,
            Template::default(),
            Rc::new(Nothing),
            notices,
        );
        (host, sessions)
    }

    fn store(&self) -> Value {
        let text = std::fs::read(self.data.path().join(file_name("project")));
        serde_json::from_slice(&text.unwrap_or_else(|_| b"{}".to_vec()))
            .expect("the store always parses")
    }

    async fn sandboxes(&self) -> Vec<String> {
        let page = self.local.control("GET", "/api/sandbox", json!({})).await;
        let lives = |s: &&Value| !matches!(s["state"].as_str(), Some("destroyed" | "destroying"));
        let items = page["items"]
            .as_array()
            .expect("a page")
            .iter()
            .filter(lives);
        items
            .map(|s| s["id"].as_str().expect("an id").to_string())
            .collect()
    }
}

/// Ends when the host is asked for its `n`-th effect: a file changed or a request sent. True if it
/// came to that.
async fn die_at(host: &Rc<TestHost>, n: usize, work: impl Future) -> bool {
    let (died, mut dead) = oneshot::channel::<()>();
    let (count, died) = (Cell::new(0), Cell::new(Some(died)));
    host.fail(move |operation, _| {
        if !matches!(operation, "create" | "replace" | "remove" | "http") {
            return None;
        }
        count.set(count.get() + 1);
        (count.get() >= n).then(|| {
            if let Some(died) = died.take() {
                let _ = died.send(());
            }
            "dead".into()
        })
    });
    tokio::select! {
        biased;
        _ = &mut dead => true,
        // It may end by itself when nothing works any more.
        _ = work => dead.try_recv().is_ok(),
    }
}

#[test]
fn a_death_between_any_two_steps_leaves_at_most_one_sandbox_and_a_true_store() {
    run(async {
        let world = World::new();
        let mut steps = 0;
        loop {
            steps += 1;
            let session = format!("ses_{steps}");
            let (host, sessions) = world.process(DEAD + steps);
            let died = die_at(&host, steps as usize, sessions.ensure(&session)).await;
            drop(sessions);

            // The next start, and the session goes on.
            let (host, sessions) = world.process(DEAD + 1000 + steps);
            // Some seconds later, so that what a dead process holds is void.
            host.skip_ms.set(5_000);
            sessions.sweep().await.expect("sweeps");
            let toolbox = sessions.ensure(&session).await.expect("a sandbox");
            sessions.mark_used(&session).await.expect("marked");
            let store = world.store();
            assert_eq!(
                store["sessions"][&session]["sandboxId"], toolbox.id,
                "step {steps}"
            );
            assert!(
                store["creating"].is_null() && store["cleanup"].is_null(),
                "step {steps}: {store}"
            );
            assert_eq!(
                world.sandboxes().await,
                std::slice::from_ref(&toolbox.id),
                "step {steps}"
            );
            sessions.delete(&session).await.expect("deleted");
            let start = Instant::now();
            while !world.sandboxes().await.is_empty() {
                assert!(
                    start.elapsed() < Duration::from_secs(20),
                    "step {steps}: it stays"
                );
            }
            if !died {
                break;
            }
        }
        assert!(steps > 8, "only {steps} steps were seen");
    });
}

#[test]
fn two_processes_that_want_one_sessions_sandbox_at_once_get_the_same() {
    run(async {
        for round in 0..3 {
            let world = World::new();
            // Two processes that both live: this one, and the first of the machine.
            let (_, a) = world.process(std::process::id());
            let (_, b) = world.process(1);
            let (a, b) = tokio::join!(a.ensure("s"), b.ensure("s"));
            let (a, b) = (a.expect("a sandbox"), b.expect("a sandbox"));
            assert_eq!(a, b, "round {round}");
            assert_eq!(world.sandboxes().await, [a.id], "round {round}");
        }
    });
}

#[test]
fn a_session_deleted_while_its_sandbox_is_made_leaves_nothing() {
    run(async {
        let world = World::new();
        let (_, sessions) = world.process(std::process::id());
        let (made, deleted) = tokio::join!(sessions.ensure("s"), async {
            tokio::task::yield_now().await;
            sessions.delete("s").await
        });
        deleted.expect("deleted");
        assert!(made.is_ok(), "the create was under way");
        assert!(matches!(
            sessions.ensure("s").await,
            Err(sessions::Error::Deleted)
        ));
        let start = Instant::now();
        while !world.sandboxes().await.is_empty() {
            assert!(start.elapsed() < Duration::from_secs(20), "it stays");
        }
        assert_eq!(world.store()["sessions"], json!({}));
    });
}
