//! When a sandbox comes and when it goes.

use crate::home::{reverted, turn};
use crate::world::{Open, World, git, until};
use plugin::{Nothing, Parts};
use serde_json::json;
use testkit::run;

async fn message(open: &Open, session: &str) {
    open.plugin
        .message(Parts {
            message_id: None,
            session_id: session.into(),
            parts: Vec::new(),
        })
        .await;
}

/// A sandbox that was made early and that no tool used.
async fn prewarmed(world: &World, open: &Open) {
    message(open, "s").await;
    until("the sandbox is ready", async || {
        world.entry("s")["ready"] == true
    })
    .await;
    assert_eq!(world.sandboxes().await.len(), 1);
}

#[test]
fn a_message_makes_the_sandbox_and_the_first_call_is_warm() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        prewarmed(&world, &open).await;
        world.forget_requests().await;
        open.bash("s", "true").await;
        assert_eq!(world.requests().await, 1);
        assert_eq!(open.toasts(), ["Sandbox created"]);
    });
}

#[test]
fn without_prewarm_a_message_makes_nothing() {
    run(async {
        let world = World::new();
        let open = world
            .open_with(json!({ "prewarm": false }), world.host(&world.local.url))
            .await;
        message(&open, "s").await;
        open.bash("other", "true").await;
        assert_eq!(world.sandboxes().await, [world.sandbox_of("other")]);
    });
}

#[test]
fn an_unused_sandbox_goes_when_its_session_is_idle_for_long() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        prewarmed(&world, &open).await;
        // The ten minutes pass at once.
        open.host.fast.set(true);
        open.event("session.idle", json!({ "sessionID": "s" }))
            .await;
        until("it is gone", async || world.sandboxes().await.is_empty()).await;
        until("nothing is left in the store", async || {
            let store = world.store();
            store["sessions"] == json!({}) && store["cleanup"].is_null()
        })
        .await;
        // And it comes back when it is wanted.
        open.host.fast.set(false);
        assert!(open.bash("s", "echo back").await.contains("back"));
    });
}

#[test]
fn a_message_in_between_keeps_an_idle_session_alive() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        prewarmed(&world, &open).await;
        message(&open, "left").await;
        until("the other sandbox is ready", async || {
            world.entry("left")["ready"] == true
        })
        .await;
        // The ten minutes pass at once, but not before the test waits for something: the message
        // comes before their end. The other session's begin later and end later.
        open.host.fast.set(true);
        open.event("session.idle", json!({ "sessionID": "s" }))
            .await;
        message(&open, "s").await;
        open.event("session.idle", json!({ "sessionID": "left" }))
            .await;
        until("only the other one goes", async || {
            world.entry("left").is_null() && world.sandboxes().await.len() < 2
        })
        .await;
        assert_eq!(world.sandboxes().await, [world.sandbox_of("s")]);
    });
}

#[test]
fn at_the_end_the_unused_go_and_the_used_stay() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        prewarmed(&world, &open).await;
        open.bash("used", "true").await;
        open.plugin.dispose(Nothing {}).await;
        assert_eq!(world.sandboxes().await, [world.sandbox_of("used")]);
        // Also if it has been idle for long.
        open.host.fast.set(true);
        open.event("session.idle", json!({ "sessionID": "used" }))
            .await;
        open.plugin.dispose(Nothing {}).await;
        assert_eq!(world.sandboxes().await.len(), 1);
    });
}

#[test]
fn an_unused_sandbox_of_a_killed_process_goes_at_the_next_start() {
    run(async {
        let world = World::new();
        let killed = world.open_mortal(1).await;
        prewarmed(&world, &killed).await;
        killed.bash("used", "true").await;
        let _open = world.open_mortal(2).await;
        until("it is swept", async || {
            world.sandboxes().await == [world.sandbox_of("used")]
        })
        .await;
    });
}

#[test]
fn another_process_may_take_an_unused_sandbox_over() {
    run(async {
        let world = World::new();
        let first = world.open().await;
        prewarmed(&world, &first).await;
        let host = world.host(&world.local.url);
        host.pid.set(Some(1));
        let second = world.open_with(json!({}), host).await;
        message(&second, "s").await;
        until("it is the second's", async || {
            world.entry("s")["owner"] == 1
        })
        .await;
        first.plugin.dispose(Nothing {}).await;
        assert_eq!(world.sandboxes().await, [world.sandbox_of("s")]);
    });
}

#[test]
fn a_deleted_session_takes_its_sandbox_along() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.opencode
            .parents
            .borrow_mut()
            .push(("child".into(), "s".into()));
        open.bash("child", "true").await;
        open.event(
            "session.deleted",
            json!({ "info": { "id": "child", "parentID": "s" } }),
        )
        .await;
        open.event("session.deleted", json!({ "info": { "id": "never-seen" } }))
            .await;
        open.bash("s", "true").await;
        assert_eq!(world.sandboxes().await, [world.sandbox_of("s")]);
        open.event("session.deleted", json!({ "info": { "id": "s" } }))
            .await;
        until("it is gone", async || world.sandboxes().await.is_empty()).await;
        until("the store forgot it", async || {
            world.store()["cleanup"].is_null()
        })
        .await;
        assert_eq!(world.store()["sessions"], json!({}));
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("was deleted"), "{error}");
    });
}

#[test]
fn a_deleted_session_is_found_by_its_label_if_the_store_lost_it() {
    run(async {
        let world = World::new();
        let first = world.open_mortal(1).await;
        first.bash("s", "true").await;
        std::fs::remove_file(world.store_path()).expect("the store is there");
        let open = world.open_mortal(2).await;
        open.event("session.deleted", json!({ "info": { "id": "s" } }))
            .await;
        until("it is gone", async || world.sandboxes().await.is_empty()).await;
    });
}

#[test]
fn a_deletion_that_fails_is_remembered_and_made_up_for_while_it_runs_or_at_the_next_start() {
    run(async {
        for restarted in [false, true] {
            let world = World::new();
            let open = world.open_mortal(1).await;
            open.bash("s", "true").await;
            let sandbox = world.sandbox_of("s");
            let down = json!({ "kind": "status", "status": 503 });
            world
                .local
                .fault("DELETE", "/api/sandbox/*", -1, down)
                .await;
            open.host.fast.set(true);
            open.event("session.deleted", json!({ "info": { "id": "s" } }))
                .await;
            let told = || {
                let toasts = open.toasts();
                let told = toasts.iter().filter(|t| *t == "Sandbox not deleted yet");
                told.count()
            };
            until("the user is told", async || told() > 0).await;
            let note = &world.store()["cleanup"][0];
            assert_eq!(note["sandbox"], sandbox);
            assert!(
                note["error"].as_str().is_some_and(|e| e.contains("503")),
                "{note}"
            );
            assert_eq!(world.store()["sessions"], json!({}));
            world.forget_requests().await;
            until("it is tried again", async || world.requests().await > 10).await;
            assert_eq!(told(), 1, "once, however often it is tried");

            let mut next = None;
            if restarted {
                drop(open.host.die_at(1));
                next = Some(world.open_mortal(2).await);
            }
            world.mend().await;
            until("it is gone", async || world.sandboxes().await.is_empty()).await;
            until("the note is gone", async || {
                world.store()["cleanup"].is_null()
            })
            .await;
            drop(next);
        }
    });
}

#[test]
fn after_a_restart_the_first_call_is_one_request() {
    run(async {
        let world = World::new();
        let first = world.open_mortal(1).await;
        first.bash("s", "echo kept > f").await;
        first.plugin.dispose(Nothing {}).await;
        let open = world.open_mortal(2).await;
        world.forget_requests().await;
        assert!(open.bash("s", "cat f").await.contains("kept"));
        assert_eq!(world.requests().await, 1);
    });
}

/// A sandbox that is there and has neither runner nor project.
async fn half_prepared(world: &World, open: &Open) -> String {
    let refusal = json!({ "kind": "status", "status": 400, "body": { "message": "no" } });
    world.fault(-1, refusal).await;
    let error = open.error("s", "bash", json!({ "command": "true" })).await;
    assert!(
        error.contains("could not be brought into the sandbox"),
        "{error}"
    );
    world.mend().await;
    world.sandbox_of("s")
}

#[test]
fn a_sandbox_that_stopped_half_prepared_is_started_and_finished() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let sandbox = half_prepared(&world, &open).await;
        world
            .local
            .control("POST", &format!("/api/sandbox/{sandbox}/stop"), json!({}))
            .await;
        assert!(
            open.bash("s", "cat draft.txt")
                .await
                .contains("not committed")
        );
        assert_eq!(world.sandboxes().await, [sandbox]);
    });
}

#[test]
fn a_sandbox_deleted_half_prepared_is_replaced() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let old = half_prepared(&world, &open).await;
        world
            .local
            .control("DELETE", &format!("/api/sandbox/{old}"), json!({}))
            .await;
        until("it is gone", async || world.sandboxes().await.is_empty()).await;
        assert!(
            open.bash("s", "cat draft.txt")
                .await
                .contains("not committed")
        );
        assert_ne!(world.sandbox_of("s"), old);
    });
}

/// Git keeps no empty directories and carries no ignored ones.
#[test]
fn a_session_that_starts_in_a_directory_that_git_does_not_carry_works_there() {
    run(async {
        let world = World::new();
        for (session, dir) in [("empty", "new/place"), ("ignored", "target/out")] {
            let mut init = world.init(json!({}));
            init.directory = format!("{}/{dir}", init.worktree);
            let open = world.open_as(init, world.host(&world.local.url)).await;
            turn(&open, session, "msg_1").await;
            let at = format!("/home/daytona/project/{dir}\n");
            assert_eq!(open.bash(session, "pwd").await, at);
            open.ok(session, "write", json!({ "filePath": "f", "content": "1" }))
                .await;
            let found = open.ok(session, "glob", json!({ "pattern": "*" })).await;
            assert!(found.ends_with("/f") || dir.contains("target"), "{found}");
            // An undo removes the only file, and the directory with it.
            turn(&open, session, "msg_2").await;
            reverted(&open, session, json!({ "messageID": "msg_1" })).await;
            let left = if session == "ignored" { "f\n" } else { "" };
            assert_eq!(open.bash(session, "pwd; ls").await, format!("{at}{left}"));
        }
    });
}

/// `opencode session delete` removes the session before it loads any plugin.
#[test]
fn a_session_that_opencode_does_not_have_any_more_goes_at_the_next_start_with_its_work_home() {
    run(async {
        let world = World::new();
        let open = world.open_mortal(1).await;
        open.bash("s", "echo s > work-s").await;
        open.bash("kept", "true").await;
        world.deleted.borrow_mut().push("s".into());
        world.open_mortal(2).await;
        until("the sandbox is gone", async || {
            world.entry("s").is_null() && world.sandboxes().await.len() == 1
        })
        .await;
        assert!(world.entry("kept").is_object());
        let work = git(world.project.path(), &["show", "opencode/1:work-s"]);
        assert_eq!(work, "s\n");
    });
}
