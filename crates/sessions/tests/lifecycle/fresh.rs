//! What a sandbox is prepared with, and what is learned by that.

use super::{DEAD, World};
use async_trait::async_trait;
use serde_json::{Value, json};
use sessions::{Carrier, Fresh, Prepared, Sessions};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use testkit::run;

/// Remembers whether each sandbox was another program's and what it was said to bring, and prepares
/// it as the test says, or not at all.
#[derive(Default)]
struct Preparer {
    seen: RefCell<Vec<(bool, Vec<String>)>>,
    prepared: RefCell<Prepared>,
    fails: Cell<bool>,
}

#[async_trait(?Send)]
impl Carrier for Preparer {
    async fn make_ready(&self, _: &Sessions, _: &str, _: Vec<String>) {}

    async fn give_up(&self, _: &str) {}

    async fn prepare(&self, _: &Sessions, fresh: Fresh<'_>) -> Result<Prepared, String> {
        self.seen.borrow_mut().push((fresh.foreign, fresh.known));
        match self.fails.get() {
            true => Err("no".into()),
            false => Ok(self.prepared.borrow().clone()),
        }
    }

    async fn bring_home(&self, _: &Sessions, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn forget(&self, _: &str) {}
}

#[test]
fn only_what_is_not_ready_is_prepared_and_nothing_of_another_program_is_overwritten() {
    run(async {
        // What the store says; whether it is prepared, and as another program's.
        for (entry, prepared) in [
            (json!({}), Some(true)),
            (json!({ "used": true }), Some(false)),
            (json!({ "used": true, "ready": false }), Some(false)),
            (json!({ "used": true, "ready": true }), None),
        ] {
            for address_known in [true, false] {
                let case = format!("{entry} {address_known}");
                let world = World::new();
                let made = world.local.control("POST", "/api/sandbox", json!({})).await;
                let id = made["id"].as_str().expect("an id");
                world.stop(id).await;
                let mut entry = entry.clone();
                entry["sandboxId"] = json!(id);
                if address_known {
                    entry["toolboxUrl"] = made["toolboxProxyUrl"].clone();
                }
                world.write_store(&json!({ "sessions": { "s": entry } }));
                let preparer = Rc::new(Preparer::default());
                let (_, sessions) = world.process_with(DEAD, preparer.clone());
                let toolbox = sessions.ensure("s").await.expect("found");
                assert_eq!(json!(toolbox.proxy_url), made["toolboxProxyUrl"], "{case}");
                let seen = preparer.seen.borrow().iter().map(|seen| seen.0).next();
                assert_eq!(seen, prepared, "{case}");
                // It was started to be prepared, or to learn its address.
                let path = format!("/api/sandbox/{id}");
                let state = world.local.control("GET", &path, json!({})).await;
                let started = state["state"] == "started";
                assert_eq!(started, prepared.is_some() || !address_known, "{case}");
                assert_eq!(world.entry("s")["ready"], true, "{case}");
                assert_eq!(world.sandboxes().await, [id], "{case}");
            }
        }
    });
}

#[test]
fn a_sandbox_that_could_not_be_prepared_is_prepared_at_the_next_call() {
    run(async {
        let world = World::new();
        let preparer = Rc::new(Preparer::default());
        let (_, sessions) = world.process_with(DEAD, preparer.clone());
        preparer.fails.set(true);
        sessions.ensure("s").await.expect_err("not prepared");
        let first = world.sandboxes().await;
        preparer.fails.set(false);
        let toolbox = sessions.enter("s", false).await.expect("prepared");
        assert_eq!(first, [toolbox.id]);
        let foreign: Vec<bool> = preparer.seen.borrow().iter().map(|seen| seen.0).collect();
        assert_eq!(foreign, [false, false]);
    });
}

#[test]
fn what_a_snapshot_was_seen_to_bring_is_known_to_the_next_sandbox() {
    run(async {
        let world = World::new();
        let preparer = Rc::new(Preparer::default());
        let (_, sessions) = world.process_with(DEAD, preparer.clone());
        let commits = |list: &[&str]| list.iter().map(|c| c.to_string()).collect::<Vec<_>>();
        // What was found in a sandbox, and what the next one is said to bring.
        for (number, (found, next)) in [
            (None, &[][..]),
            (Some(&["a", "b"][..]), &["a", "b"]),
            (None, &["a", "b"]),
            (Some(&[]), &[]),
        ]
        .into_iter()
        .enumerate()
        {
            *preparer.prepared.borrow_mut() = Prepared {
                base_commit: Some("base".into()),
                host_head: Some("head".into()),
                found: found.map(commits),
            };
            let session = format!("s{number}");
            sessions.ensure(&session).await.expect("made");
            let entry = world.entry(&session);
            let base = (&entry["baseCommit"], &entry["hostHead"]);
            assert_eq!(base, (&json!("base"), &json!("head")));
            sessions
                .ensure(&format!("{session}-next"))
                .await
                .expect("made");
            let seen = preparer.seen.borrow().last().expect("prepared").1.clone();
            assert_eq!(seen, commits(next), "{number}");
        }
    });
}

#[test]
fn a_sandbox_that_must_go_or_was_replaced_is_not_worked_in_again() {
    run(async {
        for lost in [true, false] {
            let world = World::new();
            let (host, sessions) = world.bringing(DEAD);
            let first = sessions.enter("s", false).await.expect("a sandbox");
            let note = json!({ "sandbox": first.id, "since": 1 });
            let notes = match lost {
                true => json!([]),
                false => json!([note]),
            };
            world.write_store(&json!({ "cleanup": notes }));
            // Once a minute it is looked whether it still is the session's.
            host.skip_ms.set(20_000);
            let entered = sessions.enter("s", false).await.expect("entered");
            assert_eq!(entered, first, "{lost}");
            assert_eq!(world.entry("s"), Value::Null, "{lost}");
            host.skip_ms.set(120_000);
            let entered = sessions.enter("s", false).await.expect("entered");
            assert_eq!(entered == first, lost);
            let entry = world.entry("s");
            assert_eq!(entry["sandboxId"], entered.id, "{lost}");
            // What a lost store knew of the work is not known: there may be some.
            assert_eq!(entry["unsynced"].is_object(), lost, "{entry}");
        }
    });
}

#[test]
fn a_first_call_works_in_the_sandbox_that_the_store_names() {
    run(async {
        let world = World::new();
        let (_, sessions) = world.process(DEAD);
        let early = sessions.ensure("s").await.expect("a sandbox");
        // Another process deleted the unused one, and made one of its own.
        let other = world.local.control("POST", "/api/sandbox", json!({})).await;
        let entry = json!({
            "sandboxId": other["id"], "toolboxUrl": other["toolboxProxyUrl"], "ready": true, "used": true,
        });
        world.write_store(&json!({ "sessions": { "s": entry } }));
        let entered = sessions.enter("s", false).await.expect("entered");
        assert_ne!(entered, early);
        assert_eq!(json!(entered.id), other["id"]);
    });
}
