//! Work that may not be home: no sandbox goes while it holds any, and nothing that was written down
//! about it is forgotten.

use super::{DEAD, World};
use async_trait::async_trait;
use host::Host;
use serde_json::{Value, json};
use sessions::{Carrier, Error, Fresh, Home, Notice, Prepared, Sessions, Undo};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use testkit::{TestHost, run};

/// Remembers what it was asked for, and brings work home unless there is a reason against it.
#[derive(Default)]
pub(crate) struct Bringer {
    calls: RefCell<Vec<String>>,
    reason: RefCell<Option<String>>,
    /// Sessions that OpenCode does not have any more.
    deleted: Vec<String>,
}

#[async_trait(?Send)]
impl Carrier for Bringer {
    async fn make_ready(&self, _: &Sessions, _: &str, _: Vec<String>) {}

    async fn give_up(&self, _: &str) {}

    async fn prepare(&self, _: &Sessions, _: Fresh<'_>) -> Result<Prepared, String> {
        Ok(Prepared::default())
    }

    async fn bring_home(&self, _: &Sessions, session: &str) -> Result<(), String> {
        self.calls.borrow_mut().push(format!("home {session}"));
        self.reason.borrow().clone().map_or(Ok(()), Err)
    }

    async fn is_deleted(&self, session: &str) -> bool {
        self.deleted.iter().any(|deleted| deleted == session)
    }

    async fn forget(&self, session: &str) {
        self.calls.borrow_mut().push(format!("forget {session}"));
    }
}

impl World {
    pub(crate) fn bringing(&self, pid: u32) -> (Arc<TestHost>, Sessions) {
        self.process_in("/w", pid, Rc::new(Bringer::default()), true)
    }

    pub(crate) fn entry(&self, session: &str) -> Value {
        self.store()["sessions"][session].clone()
    }

    pub(crate) async fn stop(&self, sandbox: &str) {
        let path = format!("/api/sandbox/{sandbox}");
        let stop = format!("{path}/stop");
        self.local.control("POST", &stop, json!({})).await;
        while self.local.control("GET", &path, json!({})).await["state"] != "stopped" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn count(&self, route: &str) -> u64 {
        let counts = self.local.control("GET", "/_test/requests", json!({}));
        counts.await["counts"][route].as_u64().unwrap_or_default()
    }
}

#[test]
fn the_sandbox_of_a_deleted_session_stays_until_its_work_is_home_or_it_is_gone() {
    run(async {
        for (changes, comes, trouble, calls, stays) in [
            (false, false, "", &["forget s"][..], false),
            (true, true, "", &["home s", "forget s"], false),
            (true, false, "", &["home s"], true),
            (
                true,
                false,
                "deleted elsewhere",
                &["home s", "forget s"],
                false,
            ),
            (true, false, "the service is down", &["home s"], true),
        ] {
            let case = format!("{changes} {comes} {trouble}");
            let world = World::new();
            let bringer = Rc::new(Bringer::default());
            let (host, sessions) = world.process_in("/w", DEAD, bringer.clone(), true);
            let id = sessions.enter("s", changes).await.expect("a sandbox").id;
            let path = format!("/api/sandbox/{id}");
            *bringer.reason.borrow_mut() = (!comes).then(|| "no space".into());
            match trouble {
                "deleted elsewhere" => {
                    world.local.control("DELETE", &path, json!({})).await;
                    world.is_empty(&case).await;
                }
                "the service is down" => {
                    host.fast.set(true);
                    let down = json!({ "kind": "status", "status": 503 });
                    world.local.fault("GET", "/api/sandbox/*", -1, down).await;
                }
                _ => {}
            }
            sessions.delete("s").await.expect("deleted");
            assert_eq!(*bringer.calls.borrow(), calls, "{case}");
            let reason = "no space".to_string();
            let kept = Notice::Kept {
                id: id.clone(),
                reason,
            };
            assert_eq!(world.notices.borrow().contains(&kept), stays, "{case}");
            let mended = world.local.control("DELETE", "/_test/faults", json!({}));
            mended.await;
            if stays {
                assert_eq!(world.entry("s")["deleted"], true, "{case}");
                // A clone of the repository has nothing to bring it home to.
                let clone = Rc::new(Bringer::default());
                let (_, other) = world.process_in("/clone", DEAD + 1, clone.clone(), true);
                other.sweep().await.expect("sweeps");
                assert!(clone.calls.borrow().is_empty(), "{case}");
                assert_eq!(world.sandboxes().await, [id], "{case}");
                let (_, next) = world.bringing(DEAD + 2);
                next.sweep().await.expect("sweeps");
            }
            world.is_empty(&case).await;
            assert_eq!(world.store()["sessions"], json!({}), "{case}");
        }
    });
}

#[test]
fn a_deletion_waits_for_every_call_that_runs() {
    run(async {
        let world = World::new();
        let (_, sessions) = world.bringing(DEAD);
        let id = sessions.enter("s", true).await.expect("a sandbox").id;
        let (first, second) = (sessions.working("s"), sessions.working("s"));
        drop(first);
        let waits = tokio::time::timeout(Duration::from_secs(1), sessions.delete("s")).await;
        assert!(waits.is_err(), "it did not wait: {waits:?}");
        assert_eq!(world.entry("s")["deleted"], true);
        assert_eq!(world.sandboxes().await, [id]);
        drop(second);
        sessions.delete("s").await.expect("deleted");
        world.is_empty("no call runs").await;
    });
}

#[test]
fn a_start_brings_home_what_dead_processes_of_this_worktree_left_and_nothing_else() {
    run(async {
        let world = World::new();
        let own = std::process::id();
        let (host, _) = world.bringing(own);
        let now = host.now_ms();
        let entry = |worktree: Option<&str>, work: Option<(u32, u64)>| {
            let work = work.map(|(pid, since)| json!({ "pid": pid, "since": since }));
            json!({ "sandboxId": "x", "worktree": worktree, "used": true, "unsynced": work })
        };
        let w = Some("/w");
        let entries = json!({
            "a-dead": entry(w, Some((DEAD + 1, now))),
            "b-of-an-earlier-process-with-our-number": entry(w, Some((own, 1))),
            "c-ours": entry(w, Some((own, now))),
            "d-lives": entry(w, Some((1, now))),
            "e-of-a-clone": entry(Some("/clone"), Some((DEAD + 1, now))),
            "f-of-an-earlier-plugin": entry(None, Some((DEAD + 1, now))),
            "g-home": entry(w, None),
        });
        world.write_store(&json!({ "sessions": entries }));
        for brings_home in [true, false] {
            let bringer = Rc::new(Bringer::default());
            let (_, sessions) = world.process_in("/w", own, bringer.clone(), brings_home);
            sessions.sweep().await.expect("sweeps");
            let first = |text: &String| text.chars().take(6).collect::<String>();
            let calls: Vec<String> = bringer.calls.borrow().iter().map(first).collect();
            match brings_home {
                true => assert_eq!(calls, ["home a", "home b", "home f"]),
                false => assert!(calls.is_empty(), "{calls:?}"),
            }
            let known = sessions.known().await.expect("read");
            let known: Vec<&str> = known.iter().map(|name| &name[..1]).collect();
            assert_eq!(known, ["a", "b", "c", "d", "f", "g"]);
        }
        assert_eq!(world.store()["sessions"], entries);
    });
}

#[test]
fn a_start_ends_what_this_opencode_had_and_has_not_any_more_and_nothing_else() {
    run(async {
        let world = World::new();
        let (host, _) = world.bringing(DEAD);
        let now = host.now_ms();
        let entry = |since: Option<u64>, work: Option<u32>| {
            let work = work.map(|pid| json!({ "pid": pid, "since": now }));
            json!({ "sandboxId": "x", "worktree": "/w", "used": true, "knownSince": since, "unsynced": work })
        };
        let entries = json!({
            "a": entry(Some(7), None),
            "b-left": entry(Some(7), Some(DEAD + 1)),
            "c-lives": entry(Some(7), Some(1)),
            "d-of-another-database": entry(Some(8), None),
            "e-of-an-earlier-plugin": entry(None, None),
            "f-there": entry(Some(7), None),
        });
        let names = entries.as_object().expect("entries").keys().cloned();
        for (since, ended) in [(None, ""), (Some(7), "ab"), (Some(8), "d")] {
            world.write_store(&json!({ "sessions": entries }));
            let deleted = names.clone().filter(|name| name != "f-there").collect();
            let bringer = Bringer {
                deleted,
                ..Bringer::default()
            };
            let (_, sessions) = world.process_of(since, Rc::new(bringer));
            sessions.sweep().await.expect("sweeps");
            let left = world.store()["sessions"].clone();
            let gone: String = (names.clone())
                .filter(|name| left[name].is_null())
                .map(|name| name[..1].to_string())
                .collect();
            assert_eq!(gone, ended, "{since:?}");
        }
    });
}

#[test]
fn work_counts_as_home_if_all_of_it_came_and_nothing_was_changed_meanwhile() {
    run(async {
        for case in [
            "all",
            "a part",
            "a call runs",
            "a call ends meanwhile",
            "a change meanwhile",
            "of an earlier sandbox",
        ] {
            let world = World::new();
            let (host, sessions) = world.bringing(DEAD);
            host.skip_ms.set(10_000);
            sessions.enter("s", true).await.expect("a sandbox");
            sessions.stayed("s", "no space").await.expect("written");
            let mut running = case.starts_with("a call").then(|| sessions.working("s"));
            let bring = async |entry: Option<sessions::Entry>| {
                if case == "a call ends meanwhile" {
                    running.take();
                }
                let mut before = entry.expect("an entry");
                assert!(before.unsynced.is_some(), "{case}");
                assert_eq!(sessions.unsynced(), ["s"], "{case}: it is on its way");
                if case == "a change meanwhile" {
                    // The clock was set back, and still the note is another one.
                    host.skip_ms.set(0);
                    sessions.enter("s", true).await.expect("entered");
                }
                if case == "of an earlier sandbox" {
                    before.sandbox_id = "another".into();
                }
                let home = Home {
                    commit: "abc".into(),
                    ..Home::default()
                };
                let all = case != "a part";
                sessions.came_home("s", &before, Some(home), all).await
            };
            let came = sessions.homing("s", bring).await.expect("read");
            came.expect("written");
            drop(running);
            let (entry, is_home) = (world.entry("s"), case == "all");
            assert_eq!(entry["unsynced"].is_null(), is_home, "{case}: {entry}");
            assert_eq!(sessions.unsynced().is_empty(), is_home, "{case}");
            let is_its = case != "of an earlier sandbox";
            assert_eq!(entry["home"]["commit"] == "abc", is_its, "{case}");
            assert_eq!(entry["error"].is_null(), is_its, "{case}");
            // What is changed from now on is noted again.
            sessions.enter("s", true).await.expect("entered");
            assert!(world.entry("s")["unsynced"].is_object(), "{case}");
        }
    });
}

#[test]
fn what_is_known_of_the_work_is_written_down() {
    run(async {
        let world = World::new();
        let (_, sessions) = world.bringing(DEAD);
        sessions.enter("s", false).await.expect("a sandbox");
        assert_eq!(sessions.unsynced(), [""; 0]);
        assert!(world.entry("s")["unsynced"].is_null());
        sessions.stayed("s", "no space").await.expect("written");
        sessions.applied("s", "abc").await.expect("written");
        assert_eq!(sessions.unsynced(), ["s"]);
        let entry = world.entry("s");
        assert_eq!(
            (&entry["error"], &entry["applied"]),
            (&json!("no space"), &json!("abc"))
        );
        let (_, off) = world.process(DEAD);
        for (sessions, pending, noted) in [
            (&sessions, false, false),
            (&off, true, false),
            (&sessions, true, true),
        ] {
            let undo = Undo {
                to: Some("m".into()),
                pending,
                ..Undo::default()
            };
            sessions.undo("s", Some(undo)).await.expect("written");
            let entry = world.entry("s");
            assert_eq!(entry["undo"]["pending"], pending);
            assert_eq!(entry["unsynced"].is_object(), noted, "{entry}");
        }
        sessions.undo("s", None).await.expect("written");
        assert!(world.entry("s")["undo"].is_null());
        // Branch numbers are never given twice.
        let renumber = async |session, tried, taken| {
            let number = sessions.renumber(session, tried, taken).await;
            number.expect("written")
        };
        assert_eq!(renumber("s", Some(1), 5).await, Some(6));
        assert_eq!(world.entry("s")["branchNumber"], 6);
        sessions.enter("t", false).await.expect("a sandbox");
        assert_eq!(world.entry("t")["branchNumber"], 7);
        assert_eq!(renumber("s", Some(6), 1).await, Some(8));
        // Another process that tried the first one too gets the same.
        assert_eq!(renumber("s", Some(1), 5).await, Some(8));
        assert_eq!(renumber("s", None, 0).await, Some(8));
        assert_eq!(renumber("gone", Some(1), 5).await, None);
        let found = sessions.entry_of("s").await.expect("read");
        assert_eq!(found.expect("there").branch_number, Some(8));
        assert_eq!(sessions.entry_of("never").await.expect("read"), None);
    });
}

#[test]
fn an_unused_sandbox_goes_only_while_it_is_unused_and_ours() {
    run(async {
        for (case, goes) in [
            ("unused", true),
            ("used", false),
            ("used by another process", false),
            ("taken over by another process", false),
        ] {
            for all in [true, false] {
                let world = World::new();
                let ((_, a), (_, b)) = (world.process(DEAD), world.process(DEAD + 1));
                a.ensure("s").await.expect("a sandbox");
                match case {
                    "used" => drop(a.enter("s", false).await.expect("entered")),
                    "used by another process" => drop(b.enter("s", false).await.expect("entered")),
                    "taken over by another process" => drop(b.ensure("s").await.expect("found")),
                    _ => {}
                }
                match all {
                    true => a.delete_all_unused().await,
                    false => a.delete_unused("s").await.expect("asked"),
                }
                assert_eq!(world.sandboxes().await.is_empty(), goes, "{case}");
                assert_eq!(world.entry("s").is_null(), goes, "{case}");
            }
        }
    });
}

#[test]
fn a_start_sweeps_the_unused_sandboxes_of_the_dead_and_no_others() {
    run(async {
        let world = World::new();
        let ((_, dead), (_, lives)) = (world.process(DEAD), world.process(1));
        dead.ensure("unused").await.expect("a sandbox");
        let used = dead.enter("used", false).await.expect("a sandbox").id;
        let theirs = lives.ensure("theirs").await.expect("a sandbox").id;
        let (_, next) = world.process(DEAD + 1);
        next.sweep().await.expect("sweeps");
        let mut left = world.sandboxes().await;
        left.sort();
        let mut expected = [used, theirs];
        expected.sort();
        assert_eq!(left, expected);
        assert!(world.entry("unused").is_null() && world.store()["cleanup"].is_null());
        assert!(world.entry("used").is_object() && world.entry("theirs").is_object());
    });
}

#[test]
fn a_deleted_session_gets_no_sandbox_back() {
    run(async {
        let world = World::new();
        let (_, sessions) = world.bringing(DEAD);
        let toolbox = sessions.enter("s", false).await.expect("a sandbox");
        sessions.delete("s").await.expect("deleted");
        for error in [
            sessions.ensure("s").await.expect_err("deleted"),
            sessions.recover("s", &toolbox).await.expect_err("deleted"),
        ] {
            assert!(matches!(error, Error::Deleted), "{error}");
        }
        world.is_empty("deleted").await;
    });
}
