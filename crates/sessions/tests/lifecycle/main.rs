//! A process that dies between any two steps of making a sandbox leaves at most one, and a store
//! that says the truth.
//!
//! Dying is played: from the n-th effect on, the process's host does nothing any more and its
//! future is dropped. Nothing tidies up after it, as after `kill -9`.

mod found;
mod fresh;
mod work;

use async_trait::async_trait;
use daytona::{Client, Settings};
use host::{Host, LocalHost};
use serde_json::{Value, json};
use sessions::{Carrier, Fresh, Notice, Prepared, Project, Sessions, Store, Template};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::{Local, Setting, TestHost, run};
use tokio::sync::oneshot;

/// Larger than any process number of Linux.
const DEAD: u32 = 5_000_000;

struct Nothing;

#[async_trait(?Send)]
impl Carrier for Nothing {
    async fn make_ready(&self, _: &Sessions, _: &str, _: Vec<String>) {}

    async fn give_up(&self, _: &str) {}

    async fn prepare(&self, _: &Sessions, _: Fresh<'_>) -> Result<Prepared, String> {
        Ok(Prepared::default())
    }

    async fn bring_home(&self, _: &Sessions, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn forget(&self, _: &str) {}
}

/// Another process that sweeps while this one prepares its sandbox, for so many times.
struct Swept(Sessions, Setting<u32>);

#[async_trait(?Send)]
impl Carrier for Swept {
    async fn make_ready(&self, _: &Sessions, _: &str, _: Vec<String>) {}

    async fn give_up(&self, _: &str) {}

    async fn prepare(&self, _: &Sessions, _: Fresh<'_>) -> Result<Prepared, String> {
        if self.1.get() == 0 {
            return Ok(Prepared::default());
        }
        self.1.set(self.1.get() - 1);
        self.0.sweep().await.expect("sweeps");
        Err("the toolbox does not answer".into())
    }

    async fn bring_home(&self, _: &Sessions, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn forget(&self, _: &str) {}
}

struct World {
    local: Local,
    data: tempfile::TempDir,
    notices: Rc<RefCell<Vec<Notice>>>,
}

impl World {
    fn new() -> World {
        World {
            local: Local::start(),
            data: tempfile::tempdir().expect("a directory"),
            notices: Rc::default(),
        }
    }

    fn process(&self, pid: u32) -> (Arc<TestHost>, Sessions) {
        self.process_with(pid, Rc::new(Nothing))
    }

    fn process_with(&self, pid: u32, carrier: Rc<dyn Carrier>) -> (Arc<TestHost>, Sessions) {
        self.process_in("/w", pid, carrier, false)
    }

    fn process_in(
        &self,
        worktree: &str,
        pid: u32,
        carrier: Rc<dyn Carrier>,
        brings_home: bool,
    ) -> (Arc<TestHost>, Sessions) {
        let project = Project {
            is_repository: true,
            id: "project".into(),
            worktree: worktree.into(),
            brings_home,
            known_since: None,
        };
        self.process_for(project, pid, carrier)
    }

    /// A process of an OpenCode whose database came to know the project then.
    fn process_of(
        &self,
        since: Option<u64>,
        carrier: Rc<dyn Carrier>,
    ) -> (Arc<TestHost>, Sessions) {
        let project = Project {
            is_repository: true,
            id: "project".into(),
            worktree: "/w".into(),
            brings_home: true,
            known_since: since,
        };
        self.process_for(project, DEAD, carrier)
    }

    fn process_for(
        &self,
        project: Project,
        pid: u32,
        carrier: Rc<dyn Carrier>,
    ) -> (Arc<TestHost>, Sessions) {
        let host = Arc::new(TestHost::new(&[]));
        host.pid.set(Some(pid));
        let dyn_host: Arc<dyn LocalHost> = host.clone();
        let settings = Settings {
            api_url: self.local.url.clone(),
            api_key: self.local.key.clone(),
            organization: None,
        };
        let client = Client::new(dyn_host.clone(), settings);
        let dir = self.data.path().to_string_lossy();
        let store = Store::new(dyn_host.clone(), &dir, "project", &project.worktree);
        let notices = Rc::clone(&self.notices);
        let notices = Box::new(move |notice| notices.borrow_mut().push(notice));
        let sessions = Sessions::new(
            dyn_host,
            client,
            store,
            project,
            Template::default(),
            carrier,
            notices,
        );
        (host, sessions)
    }

    fn store_path(&self) -> PathBuf {
        self.data.path().join(host::file_name("project"))
    }

    fn write_store(&self, store: &Value) {
        std::fs::write(self.store_path(), store.to_string()).expect("written");
    }

    fn store(&self) -> Value {
        let text = std::fs::read(self.store_path());
        serde_json::from_slice(&text.unwrap_or_else(|_| b"{}".to_vec()))
            .expect("the store always parses")
    }

    /// Waits until no sandbox is left.
    async fn is_empty(&self, case: &str) {
        let start = Instant::now();
        while !self.sandboxes().await.is_empty() {
            let late = start.elapsed() > Duration::from_secs(20);
            assert!(!late, "{case}: it stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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
async fn die_at(host: &Arc<TestHost>, n: usize, work: impl Future) -> bool {
    let (died, mut dead) = oneshot::channel::<()>();
    let (count, died) = (Setting::new(0), Mutex::new(Some(died)));
    host.fail(move |operation, _| {
        if !matches!(operation, "create" | "replace" | "remove" | "http") {
            return None;
        }
        count.set(count.get() + 1);
        (count.get() >= n).then(|| {
            if let Some(died) = died.lock().expect("whole").take() {
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
            sessions.enter(&session, false).await.expect("entered");
            let store = world.store();
            assert_eq!(
                store["sessions"][&session]["sandboxId"], toolbox.id,
                "step {steps}"
            );
            assert!(store["creating"].is_null(), "step {steps}: {store}");
            // Only what may still be made is looked for once more.
            for note in store["cleanup"].as_array().into_iter().flatten() {
                assert_eq!(note["late"], true, "step {steps}: {store}");
            }
            assert_eq!(
                world.sandboxes().await,
                std::slice::from_ref(&toolbox.id),
                "step {steps}"
            );
            sessions.delete(&session).await.expect("deleted");
            world.is_empty(&format!("step {steps}")).await;
            if !died {
                break;
            }
        }
        assert!(steps > 8, "only {steps} steps were seen");
    });
}

#[test]
fn a_death_between_any_two_steps_of_a_deletion_leaves_no_sandbox_where_nothing_comes_home() {
    run(async {
        let world = World::new();
        let mut steps = 0;
        loop {
            steps += 1;
            let session = format!("ses_{steps}");
            let (host, sessions) = world.process(DEAD + steps);
            host.skip_ms.set(u64::from(steps) * 20_000);
            sessions.enter(&session, true).await.expect("a sandbox");
            let died = die_at(&host, steps as usize, sessions.delete(&session)).await;
            drop(sessions);

            let (host, sessions) = world.process(DEAD + 1000 + steps);
            host.skip_ms.set(u64::from(steps) * 20_000 + 5_000);
            sessions.sweep().await.expect("sweeps");
            // If nobody wrote down that it is deleted, the user still sees it, and deletes it.
            if world.store()["sessions"][&session].is_object() {
                assert!(steps < 3, "step {steps}: {}", world.store());
                sessions.delete(&session).await.expect("deleted");
            }
            world.is_empty(&format!("step {steps}")).await;
            assert!(world.store()["cleanup"].is_null(), "step {steps}");
            if !died {
                break;
            }
        }
        assert!(steps > 6, "only {steps} steps were seen");
    });
}

#[test]
fn what_could_not_be_deleted_is_tried_again_while_the_process_lives() {
    run(async {
        for late in [true, false] {
            let world = World::new();
            let (host, sessions) = world.process(DEAD);
            let sessions = Rc::new(sessions);
            sessions.keep_clean();
            if late {
                // As another process left it that died while its create was under way.
                let name = "opencode-s-1";
                let note = json!({ "session": "s", "name": name, "pid": DEAD + 1, "since": host.now_ms() });
                let path = world.data.path().join(host::file_name("project"));
                std::fs::write(&path, json!({ "creating": [note] }).to_string()).expect("written");
                sessions.sweep().await.expect("sweeps");
                assert_eq!(world.store()["cleanup"][0]["late"], true);
                // Now it ends.
                let body = json!({ "name": name });
                world.local.control("POST", "/api/sandbox", body).await;
            } else {
                sessions.enter("s", false).await.expect("a sandbox");
                host.fail(|operation, what| {
                    (operation == "http" && what.starts_with("DELETE")).then(|| "TooLarge".into())
                });
                host.fast.set(true);
                sessions.delete("s").await.expect("remembered");
                assert!(world.store()["cleanup"][0]["error"].is_string());
                host.heal();
            }
            host.fast.set(true);
            world.is_empty(&format!("late: {late}")).await;
            let start = Instant::now();
            while !world.store()["cleanup"].is_null() {
                assert!(start.elapsed() < Duration::from_secs(20), "the note stays");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
}

#[test]
fn a_sandbox_swept_before_its_first_use_is_not_worked_in() {
    run(async {
        let world = World::new();
        // Two processes that cannot see each other, as in two containers with one home.
        let (_, a) = world.process(DEAD);
        let (host, b) = world.process(DEAD + 1);
        let early = a.ensure("s").await.expect("a sandbox");
        host.skip_ms.set(5_000);
        b.sweep().await.expect("sweeps");
        let entered = a.enter("s", false).await.expect("a sandbox");
        assert_ne!(entered.id, early.id);
        assert_eq!(world.store()["sessions"]["s"]["sandboxId"], entered.id);
        // Used, it is nobody's to sweep any more.
        b.sweep().await.expect("sweeps");
        assert_eq!(world.sandboxes().await, [entered.id]);
    });
}

#[test]
fn a_sandbox_swept_while_it_is_prepared_is_made_again_and_not_for_ever() {
    run(async {
        for (times, made) in [(1, true), (2, true), (9, false)] {
            let world = World::new();
            let (_, other) = world.process(DEAD + 1);
            let (_, a) = world.process_with(DEAD, Rc::new(Swept(other, Setting::new(times))));
            let entered = a.enter("s", false).await;
            match entered {
                Ok(toolbox) => {
                    assert!(made, "{times}");
                    assert_eq!(world.sandboxes().await, [toolbox.id], "{times}");
                }
                Err(error) => {
                    assert!(
                        !made && matches!(error, sessions::Error::Taken),
                        "{times}: {error}"
                    );
                    world.is_empty("given up").await;
                }
            }
        }
    });
}

#[test]
fn a_store_lost_while_the_sandbox_is_in_use_is_written_again() {
    run(async {
        let world = World::new();
        let (host, a) = world.process(std::process::id());
        let first = a.enter("s", false).await.expect("a sandbox");
        std::fs::remove_file(world.data.path().join(host::file_name("project")))
            .expect("it is there");
        host.skip_ms.set(120_000);
        assert_eq!(a.enter("s", false).await.expect("a sandbox"), first);
        let entry = &world.store()["sessions"]["s"];
        assert_eq!(entry["sandboxId"], first.id);
        assert_eq!(
            (&entry["used"], &entry["ready"]),
            (&json!(true), &json!(true))
        );
    });
}

#[test]
fn what_another_process_is_making_is_not_adopted() {
    run(async {
        let world = World::new();
        // As the store and the service are while a process that lives makes the sandbox.
        let labels = json!({
            "opencode.plugin": "opencode-daytona-sandbox", "opencode.project": "project", "opencode.session": "s",
        });
        let body = json!({ "name": "opencode-s-1", "labels": labels });
        let made = world.local.control("POST", "/api/sandbox", body).await;
        let (host, b) = world.process(std::process::id());
        let note =
            json!({ "session": "s", "name": "opencode-s-1", "pid": 1, "since": host.now_ms() });
        let path = world.data.path().join(host::file_name("project"));
        std::fs::write(&path, json!({ "creating": [note] }).to_string()).expect("written");
        let waits = tokio::time::timeout(Duration::from_millis(700), b.ensure("s")).await;
        assert!(waits.is_err(), "it did not wait: {waits:?}");
        assert_eq!(world.store()["creating"], json!([note]));
        assert!(world.store()["sessions"]["s"].is_null());
        let entry = json!({
            "sandboxId": made["id"], "toolboxUrl": made["toolboxProxyUrl"], "ready": true, "used": false, "owner": 1,
        });
        std::fs::write(&path, json!({ "sessions": { "s": entry } }).to_string()).expect("written");
        assert_eq!(
            b.ensure("s").await.expect("a sandbox").id,
            made["id"].as_str().expect("an id")
        );
    });
}

#[test]
fn a_create_that_ends_after_everybody_gave_up_is_found_at_a_later_start() {
    run(async {
        for comes in [true, false] {
            let world = World::new();
            let (host, a) = world.process(DEAD);
            host.fast.set(true);
            host.fail(|operation, what| {
                (operation == "http" && what.starts_with("POST")).then(|| "timeout".into())
            });
            a.ensure("s").await.expect_err("no answer");
            let note = world.store()["cleanup"][0].clone();
            assert_eq!(note["late"], true, "{note}");
            let name = &note["sandbox"];
            if comes {
                world
                    .local
                    .control("POST", "/api/sandbox", json!({ "name": name }))
                    .await;
            }
            let (host, next) = world.process(DEAD + 1);
            next.sweep().await.expect("sweeps");
            assert_eq!(
                world.store()["cleanup"].is_null(),
                comes,
                "{}",
                world.store()
            );
            // Long after, one more look is the last.
            host.skip_ms.set(3_600_000);
            next.sweep().await.expect("sweeps");
            assert!(world.store()["cleanup"].is_null(), "{}", world.store());
            assert!(world.sandboxes().await.is_empty());
        }
    });
}

#[test]
fn a_sandbox_known_only_by_its_label_is_remembered_until_it_is_deleted() {
    run(async {
        let world = World::new();
        let (_, a) = world.process(DEAD);
        let toolbox = a.enter("s", false).await.expect("a sandbox");
        std::fs::remove_file(world.data.path().join(host::file_name("project")))
            .expect("it is there");
        let (host, b) = world.process(DEAD + 1);
        host.fast.set(true);
        host.fail(|operation, what| {
            (operation == "http" && what.starts_with("DELETE")).then(|| "connect".into())
        });
        b.delete("s").await.expect("remembered");
        assert_eq!(world.store()["cleanup"][0]["sandbox"], toolbox.id);
        host.heal();
        b.sweep().await.expect("sweeps");
        assert!(world.sandboxes().await.is_empty() && world.store()["cleanup"].is_null());
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
        world.is_empty("deleted").await;
        assert_eq!(world.store()["sessions"], json!({}));
    });
}
