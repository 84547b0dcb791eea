//! A sandbox is found again, or started, or replaced; and of two that were made one is deleted.

use super::{DEAD, Nothing, World};
use async_trait::async_trait;
use daytona::Toolbox;
use host::Host;
use serde_json::{Value, json};
use sessions::{Carrier, Error, Fresh, Home, Notice, Prepared, Sessions};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use testkit::{Setting, run};

const START: &str = "POST /api/sandbox/{sandboxIdOrName}/start";

/// The labels of a session's sandbox.
fn labels(session: &str) -> Value {
    json!({
        "opencode.plugin": "opencode-daytona-sandbox", "opencode.project": "project", "opencode.session": session,
    })
}

impl World {
    async fn make(&self, name: &str, session: &str) -> String {
        let body = json!({ "name": name, "labels": labels(session) });
        let made = self.local.control("POST", "/api/sandbox", body).await;
        made["id"].as_str().expect("an id").into()
    }
}

#[test]
fn a_sandbox_that_does_not_answer_is_started_and_several_calls_share_that() {
    run(async {
        let world = World::new();
        let (_, sessions) = world.bringing(DEAD);
        let toolbox = sessions.enter("s", true).await.expect("a sandbox");
        let looked = sessions.recover("s", &toolbox).await.expect("it runs");
        assert!(looked.was_running && looked.toolbox == toolbox);
        for times in 1..3 {
            world.stop(&toolbox.id).await;
            let both = [
                sessions.recover("s", &toolbox),
                sessions.recover("s", &toolbox),
            ];
            for looked in futures::future::join_all(both).await {
                let looked = looked.expect("started");
                assert!(!looked.was_running && looked.toolbox == toolbox, "{times}");
            }
            assert_eq!(world.count(START).await, times);
        }
        let resumed = Notice::Resumed {
            id: toolbox.id.clone(),
        };
        let notices = world.notices.borrow().clone();
        assert_eq!(notices.iter().filter(|n| **n == resumed).count(), 2);
        // Who still knows an earlier one gets the present one.
        let earlier = Toolbox {
            id: "earlier".into(),
            ..toolbox.clone()
        };
        let looked = sessions.recover("s", &earlier).await.expect("known");
        assert!(!looked.was_running && looked.toolbox == toolbox);
    });
}

#[test]
fn a_sandbox_that_is_gone_leaves_its_branch_and_what_came_home_to_the_next() {
    run(async {
        let world = World::new();
        let (_, sessions) = world.bringing(DEAD);
        let old = sessions.enter("s", true).await.expect("a sandbox");
        let before = sessions.entry_of("s").await.expect("read").expect("there");
        let home = Home {
            commit: "abc".into(),
            ..Home::default()
        };
        let came = sessions.came_home("s", &before, Some(home), true);
        came.await.expect("written");
        sessions.applied("s", "abc").await.expect("written");
        sessions.renumber("s", Some(1), 5).await.expect("written");
        let path = format!("/api/sandbox/{}", old.id);
        world.local.control("DELETE", &path, json!({})).await;
        world.is_empty("deleted elsewhere").await;
        let gone = sessions.revive("s", &old).await.expect_err("gone");
        assert!(matches!(gone, Error::Gone(_)), "{gone}");
        assert!(world.sandboxes().await.is_empty());
        let looked = sessions.recover("s", &old).await.expect("replaced");
        assert!(!looked.was_running);
        assert_eq!(
            world.sandboxes().await,
            std::slice::from_ref(&looked.toolbox.id)
        );
        let entry = world.entry("s");
        assert_eq!(entry["sandboxId"], looked.toolbox.id);
        assert_eq!(entry["branchNumber"], 6);
        assert_eq!(
            (&entry["home"]["commit"], &entry["applied"]),
            (&json!("abc"), &json!("abc"))
        );
        let replaced = Notice::Replaced {
            old: old.id,
            id: looked.toolbox.id.clone(),
        };
        assert!(world.notices.borrow().contains(&replaced));
        // The new one is marked as used and as changed like the first one.
        sessions.enter("s", true).await.expect("entered");
        let entry = world.entry("s");
        assert!(
            entry["used"] == true && entry["unsynced"].is_object(),
            "{entry}"
        );
    });
}

#[test]
fn what_another_process_put_in_its_place_is_not_forgotten() {
    run(async {
        let world = World::new();
        let ((_, a), (_, b)) = (world.process(DEAD), world.process(DEAD + 1));
        let old = a.enter("s", false).await.expect("a sandbox");
        let path = format!("/api/sandbox/{}", old.id);
        world.local.control("DELETE", &path, json!({})).await;
        world.is_empty("deleted elsewhere").await;
        b.ensure("s").await.expect("known");
        let new = b.recover("s", &old).await.expect("replaced").toolbox;
        let looked = a.recover("s", &old).await.expect("found");
        assert_eq!(looked.toolbox, new);
        assert_eq!(world.sandboxes().await, [new.id]);
    });
}

#[test]
fn a_sandbox_is_looked_up_without_making_one() {
    run(async {
        let world = World::new();
        let (_, a) = world.process(DEAD);
        assert_eq!(a.existing("s").await.expect("read"), None);
        assert!(world.sandboxes().await.is_empty());
        let toolbox = a.enter("s", false).await.expect("a sandbox");
        assert_eq!(a.existing("s").await.expect("read"), Some(toolbox.clone()));
        for address_known in [true, false] {
            if !address_known {
                let mut store = world.store();
                store["sessions"]["s"]["toolboxUrl"] = Value::Null;
                world.write_store(&store);
            }
            let (_, b) = world.process(DEAD + 1);
            let found = b.existing("s").await.expect("found");
            assert_eq!(found, Some(toolbox.clone()), "{address_known}");
        }
        assert_eq!(
            world.entry("s")["toolboxUrl"],
            json!(toolbox.proxy_url),
            "and it is written down"
        );
    });
}

#[test]
fn what_the_labels_tell_may_hold_work_and_the_newest_counts() {
    run(async {
        for store in [None, Some("not json")] {
            let world = World::new();
            world.make("older", "s").await;
            let forward = json!({ "advance_ms": 5_000 });
            world.local.control("POST", "/_test/clock", forward).await;
            let newest = world.make("newest", "s").await;
            world.make("of-another-session", "t").await;
            if let Some(text) = store {
                std::fs::write(world.store_path(), text).expect("written");
            }
            let (_, sessions) = world.bringing(DEAD);
            let found = sessions.ensure("s").await.expect("found");
            assert_eq!(found.id, newest, "{store:?}");
            let entry = world.entry("s");
            assert_eq!(entry["used"], true, "{store:?}");
            assert!(
                entry["owner"].is_null() && entry["unsynced"].is_object(),
                "{store:?}: {entry}"
            );
            assert_eq!(world.entry("t").is_object(), store.is_some(), "{store:?}");
            let told = world.notices.borrow().iter().any(
                |notice| matches!(notice, Notice::StoreBroken { id, .. } if std::fs::read_to_string(id).is_ok_and(|text| text == "not json")),
            );
            assert_eq!(told, store.is_some());
            assert_eq!(world.sandboxes().await.len(), 3, "{store:?}");
        }
    });
}

#[test]
fn a_sandbox_that_must_go_is_not_found_by_its_label() {
    run(async {
        for by_name in [true, false] {
            let world = World::new();
            let doomed = world.make("doomed", "s").await;
            let note = match by_name {
                true => "doomed",
                false => &doomed,
            };
            world.write_store(&json!({ "cleanup": [{ "sandbox": note, "since": 1 }] }));
            let (_, sessions) = world.process(DEAD);
            let made = sessions.ensure("s").await.expect("made");
            assert_ne!(made.id, doomed, "{by_name}");
            sessions.sweep().await.expect("sweeps");
            assert_eq!(
                world.sandboxes().await,
                std::slice::from_ref(&made.id),
                "{by_name}"
            );
        }
    });
}

#[test]
fn a_create_for_another_session_hides_no_sandbox_that_a_label_names() {
    run(async {
        let world = World::new();
        let found = world.make("opencode-s-1", "s").await;
        let (host, sessions) = world.process(DEAD);
        let note = |session, name, pid| json!({ "session": session, "name": name, "pid": pid, "since": host.now_ms() });
        let theirs = note("t", "opencode-t-1", 1);
        let dead = note("s", "opencode-s-1", DEAD + 1);
        world.write_store(&json!({ "creating": [theirs, dead] }));
        assert_eq!(sessions.ensure("s").await.expect("found").id, found);
        assert_eq!(world.store()["creating"], json!([theirs]));
        assert!(world.store()["cleanup"].is_null());
    });
}

#[test]
fn what_is_made_for_one_session_stops_no_other() {
    run(async {
        let world = World::new();
        let (host, sessions) = world.process(DEAD);
        let note =
            json!({ "session": "t", "name": "opencode-t-1", "pid": 1, "since": host.now_ms() });
        world.write_store(&json!({ "creating": [note] }));
        sessions.enter("s", false).await.expect("a sandbox");
        assert_eq!(world.store()["creating"], json!([note]));
    });
}

#[test]
fn a_create_belongs_to_its_process_for_eleven_minutes_while_that_lives() {
    run(async {
        let own = std::process::id();
        // Whose it is, how old, and how old it is at least when another process makes the sandbox.
        for (pid, age, made_at) in [
            (1, 100_000, Some(660_000)),
            (1, 670_000, Some(670_000)),
            (DEAD + 1, 100_000, Some(100_000)),
            // An earlier process had our number.
            (own, 100_000, Some(100_000)),
            // A clock was set back: it would be waited for too long.
            (1, -650_000, None),
        ] {
            let case = format!("{pid} {age}");
            let world = World::new();
            let (host, sessions) = world.process(own);
            // Sleeping moves the clock.
            host.fast.set(true);
            let start = host.now_ms();
            let since = start.saturating_add_signed(-age);
            let note =
                json!({ "session": "s", "name": "opencode-s-1", "pid": pid, "since": since });
            world.write_store(&json!({ "creating": [note] }));
            let made = sessions.ensure("s").await;
            match made_at {
                Some(at) => {
                    assert_eq!(world.sandboxes().await, [made.expect("made").id], "{case}");
                    assert!(host.now_ms() - since >= at, "{case}");
                    let must_go = &world.store()["cleanup"][0];
                    assert_eq!(must_go["sandbox"], "opencode-s-1", "{case}");
                    // Who is dead or gave up is not waited for.
                    let slept = host.skip_ms.get();
                    // The watch over the create itself moves the clock once.
                    let most = at.saturating_sub(age.unsigned_abs()) + 20_200;
                    assert!(slept <= most, "{case}: {slept}");
                }
                None => {
                    let error = made.expect_err("it is another's");
                    assert!(matches!(error, Error::Stuck(1)), "{case}: {error}");
                    assert!(host.now_ms() - start > 600_000, "{case}");
                    assert_eq!(world.store()["creating"], json!([note]), "{case}");
                    assert!(world.sandboxes().await.is_empty(), "{case}");
                }
            }
        }
    });
}

#[test]
fn calls_that_wait_for_a_create_share_its_failure_and_the_next_tries_again() {
    run(async {
        let world = World::new();
        let (host, sessions) = world.process(DEAD);
        let note =
            json!({ "session": "t", "name": "opencode-t-1", "pid": 1, "since": host.now_ms() });
        world.write_store(&json!({ "creating": [note] }));
        let refused = json!({ "kind": "status", "status": 401 });
        (world.local)
            .fault("POST", "/api/sandbox", -1, refused)
            .await;
        for times in 1..3 {
            let waiting = (0..3).map(|_| sessions.ensure("s"));
            for made in futures::future::join_all(waiting).await {
                made.expect_err("the key is refused");
            }
            assert_eq!(world.count("POST /api/sandbox").await, times);
            // Nothing of it is left, and another's create is not forgotten.
            let store = world.store();
            assert_eq!(store["creating"], json!([note]), "{store}");
            assert!(store["cleanup"].is_null(), "{store}");
        }
        let mended = world.local.control("DELETE", "/_test/faults", json!({}));
        mended.await;
        let made = sessions.ensure("s").await.expect("made");
        assert!(sessions.is_ready("s"));
        assert_eq!(world.sandboxes().await, [made.id]);
    });
}

#[test]
fn a_create_whose_answer_is_lost_is_made_up_for_once() {
    run(async {
        for kind in ["drop_after", "drop_before"] {
            let world = World::new();
            let (host, sessions) = world.process(DEAD);
            host.fast.set(true);
            let fault = json!({ "kind": kind });
            world.local.fault("POST", "/api/sandbox", 1, fault).await;
            let made = sessions.ensure("s").await.expect("made");
            assert_eq!(world.sandboxes().await, [made.id], "{kind}");
            assert!(world.store()["creating"].is_null(), "{kind}");
        }
    });
}

#[test]
fn a_sandbox_that_cannot_be_written_down_is_deleted_at_once() {
    run(async {
        let world = World::new();
        let (host, sessions) = world.process(std::process::id());
        let writes = Setting::new(0);
        host.fail(move |what, _| {
            writes.set(writes.get() + u32::from(what == "replace"));
            // The note of the create is written, the entry is not.
            (what == "replace" && writes.get() > 1).then(|| "no space left".into())
        });
        sessions.ensure("s").await.expect_err("no space left");
        world.is_empty("it cannot be written down").await;
        host.heal();
        let made = sessions.ensure("s").await.expect("made").id;
        assert_eq!(world.sandboxes().await, [made]);
    });
}

/// Writes this store while a sandbox is made.
struct Meanwhile(PathBuf, RefCell<Value>);

#[async_trait(?Send)]
impl Carrier for Meanwhile {
    async fn make_ready(&self, _: &Sessions, _: &str, _: Vec<String>) {
        std::fs::write(&self.0, self.1.borrow().to_string()).expect("written");
    }

    async fn give_up(&self, _: &str) {}

    async fn prepare(&self, _: &Sessions, _: Fresh<'_>) -> Result<Prepared, String> {
        Ok(Prepared::default())
    }

    async fn bring_home(&self, _: &Sessions, _: &str) -> Result<(), String> {
        Ok(())
    }

    async fn forget(&self, _: &str) {}
}

#[test]
fn what_the_session_got_while_a_sandbox_was_made_stays_and_the_second_goes() {
    run(async {
        let world = World::new();
        let (_, other) = world.process_with(DEAD + 1, Rc::new(Nothing));
        let first = other.enter("s", false).await.expect("a sandbox").id;
        let store = RefCell::new(world.store());
        // This process sees the store without it, as one that was lost and found again.
        world.write_store(&json!({}));
        let carrier = Rc::new(Meanwhile(world.store_path(), store));
        let (_, sessions) = world.process_with(DEAD, carrier);
        sessions.created("s");
        assert_eq!(sessions.enter("s", false).await.expect("found").id, first);
        assert_eq!(world.entry("s")["sandboxId"], first);
        let (_, next) = world.process(DEAD + 2);
        next.sweep().await.expect("sweeps");
        assert_eq!(world.sandboxes().await, [first]);
    });
}
