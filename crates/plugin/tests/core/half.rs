//! Nothing is taken from a sandbox whose set-up has not ended, or failed: no branch, no state for a
//! fork, no start for the next sandbox. And a state that nobody made does not become the session's.

use crate::home::{idle, listed, messages, reverted, show, turn, users};
use crate::world::{Open, World, git, until};
use futures::future::join_all;
use plugin::{Executed, Nothing};
use serde_json::json;
use testkit::{run, write_tree};

/// The branches and the depot's commits of what came home.
fn home(world: &World) -> String {
    let mut found = git(
        world.project.path(),
        &["for-each-ref", "--format=%(refname)", "refs/heads/opencode"],
    );
    let stores = world.store_path();
    for place in stores
        .parent()
        .expect("a directory")
        .read_dir()
        .expect("it")
    {
        let path = place.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "git") {
            let refs = ["for-each-ref", "--format=%(refname)", "refs/opencode/home"];
            found += &git(&path, &refs);
        }
    }
    found
}

/// Everything that may ask for the state of a session: what the model, the user and OpenCode do.
async fn ask_for_state(open: &Open, session: &str) {
    let synced = open.call(session, "sync", json!({})).await;
    if let Executed::Done(done) = &synced {
        assert!(!done.output.contains("user's repository"), "{done:?}");
    }
    turn(open, session, "msg_1").await;
    reverted(open, session, json!({ "messageID": "msg_1" })).await;
    reverted(open, session, json!(null)).await;
    open.event("session.idle", json!({ "sessionID": session }))
        .await;
    let original = messages(&[("msg_1", "user", 10), ("msg_2", "assistant", 11)]);
    let copies = messages(&[("msg_7", "user", 10), ("msg_8", "user", 31)]);
    let fork = format!("{session}-fork");
    {
        let mut sessions = open.opencode.sessions.borrow_mut();
        sessions.insert(session.into(), (listed(session, "Work", 5), original));
        sessions.insert(fork.clone(), (listed(&fork, "Work (fork #1)", 30), copies));
    }
    open.call(&fork, "sync", json!({})).await;
}

#[test]
fn a_disk_that_is_too_small_for_the_project_brings_no_branch_whatever_is_asked() {
    run(async {
        for large in ["text", "noise"] {
            let world = World::new();
            // It packs to nearly nothing and unpacks to too much, or does not even arrive.
            let line = match large {
                "text" => "all work and no play\n".repeat(700_000).into_bytes(),
                _ => {
                    let mut state = 1_u64;
                    let next = |_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        (state >> 56) as u8
                    };
                    (0..12_000_000).map(next).collect()
                }
            };
            std::fs::write(world.project.path().join("large"), line).expect("written");
            git(world.project.path(), &["add", "."]);
            git(world.project.path(), &["commit", "--quiet", "-m", "large"]);
            let before = users(&world);
            let open = world.open_snapshot("test-small-disk").await;
            // In the first second of the session, and after its set-up has failed.
            let (_, first) = futures::future::join(
                ask_for_state(&open, "s"),
                open.call("s", "bash", json!({ "command": "ls" })),
            )
            .await;
            for call in [
                first,
                open.call("s", "bash", json!({ "command": "ls" })).await,
            ] {
                let Executed::Failed { message } = call else {
                    panic!("{large}: it worked: {call:?}");
                };
                assert!(message.contains("with more room"), "{large}: {message}");
            }
            ask_for_state(&open, "s").await;
            assert_eq!(home(&world), "", "{large}");
            open.plugin.dispose(Nothing {}).await;
            let next = world.open_later(2).await;
            next.event("session.deleted", json!({ "info": { "id": "s" } }))
                .await;
            until("its sandbox is gone", async || world.entry("s").is_null()).await;
            assert_eq!(home(&world), "", "{large}");
            assert_eq!(users(&world), before, "{large}");
        }
    });
}

#[test]
fn what_asks_for_the_state_while_a_set_up_is_under_way_gets_none_or_waits_for_its_end() {
    run(async {
        let world = World::new();
        for n in 0..2_000 {
            let file = format!("//- many/{}/{n}.txt\n{n}\n", n % 50);
            write_tree(world.project.path(), &file);
        }
        let open = world.open().await;
        // The request that sets the project up comes twice to the sandbox, as proxies do it, and
        // once with its answer lost.
        world.fault(1, json!({ "kind": "repeat" })).await;
        world.fault(1, json!({ "kind": "drop_after" })).await;
        let asked = (0..4).map(|_| ask_for_state(&open, "s"));
        join_all(asked).await;
        assert_eq!(home(&world), "");
        let count = open
            .bash("s", "ls many/*/*.txt | wc -l; git status --porcelain")
            .await;
        assert_eq!(count.trim(), "2000");
        idle(&world, &open, "s").await;
        assert_eq!(home(&world), "", "nothing was changed");
        open.bash("s", "echo new > new").await;
        idle(&world, &open, "s").await;
        let files = git(
            world.project.path(),
            &["ls-tree", "-r", "--name-only", "opencode/1"],
        );
        assert_eq!(
            files.lines().count(),
            2_000 + 5,
            "all of them, and the new one"
        );
    });
}

#[test]
fn a_sandbox_that_only_its_label_tells_of_is_asked_whether_its_set_up_ended() {
    run(async {
        for (removes, finished) in [(".git/opencode-sandbox", false), ("draft.txt", true)] {
            let world = World::new();
            let open = world.open_mortal(1).await;
            open.bash("s", "echo mine > mine").await;
            let sandbox = world.sandbox_of("s");
            // As a kill in the middle of the set-up leaves it.
            let records = "rm -rf ~/.opencode-daytona/projects";
            let spoil = format!("cd ~/project && rm {removes} && {records}");
            world.inside(&sandbox, &spoil).await;
            std::fs::remove_file(world.store_path()).expect("removed");
            let next = world.open_later(2).await;
            next.event("session.deleted", json!({ "info": { "id": "s" } }))
                .await;
            until("its sandbox is gone", async || {
                world.entry("s").is_null() && world.sandboxes().await.is_empty()
            })
            .await;
            assert_eq!(home(&world).contains("opencode/1"), finished);
            if finished {
                assert_eq!(show(&world, "opencode/1:mine"), "mine\n");
            }
        }
    });
}

#[test]
fn a_sandbox_that_takes_a_lost_ones_place_is_forked_from_what_came_home() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo one > work").await;
        idle(&world, &open, "s").await;
        world.delete_elsewhere(&world.sandbox_of("s"), true).await;
        // The replacement is made, and cannot be set up: then the fork is asked for.
        let next = world.open_later(2).await;
        let body = json!({ "message": "no", "source": "DAYTONA_DAEMON" });
        let refusal = json!({ "kind": "status", "status": 400, "body": body });
        let execute = json!({ "method": "POST", "path": "/toolbox/*/process/execute", "skip": 1 });
        // The first request finds out that the old one is gone.
        let fault = json!({ "match": execute, "times": -1, "action": refusal });
        world.local.control("POST", "/_test/faults", fault).await;
        next.error("s", "bash", json!({ "command": "cat work" }))
            .await;
        assert_eq!(world.entry("s")["ready"], false);
        world.mend().await;
        ask_for_fork(&next).await;
        assert_eq!(world.entry("s")["ready"], false, "and it still is not");
        let text = next.ok("s", "sync", json!({})).await;
        assert!(text.contains("branch opencode/1"), "{text}");
    });
}

/// A fork of the session `s` has its work.
async fn ask_for_fork(open: &Open) {
    let original = messages(&[("msg_1", "user", 10)]);
    let copies = messages(&[("msg_7", "user", 10), ("msg_8", "user", 31)]);
    {
        let mut sessions = open.opencode.sessions.borrow_mut();
        sessions.insert("s".into(), (listed("s", "Work", 5), original));
        sessions.insert("f".into(), (listed("f", "Work (fork #1)", 30), copies));
    }
    assert_eq!(open.bash("f", "cat work").await, "one\n");
}

#[test]
fn a_state_that_lacks_most_files_without_a_change_that_explains_it_goes_beside_and_nothing_builds_on_it()
 {
    run(async {
        // How the sandbox loses them behind the session's back, and whether the session's own
        // command has it do so.
        for (loses, is_own, is_explained) in [
            ("rm -rf * .gitignore .git", false, false),
            ("rm -rf * .gitignore", false, false),
            ("rm -rf * .gitignore .git", true, false),
            ("rm -rf * .gitignore", true, true),
            ("rm -rf .git", true, true),
        ] {
            let case = format!("{loses}, own: {is_own}");
            let world = World::new();
            let open = world.open().await;
            open.bash("s", "echo one > work").await;
            idle(&world, &open, "s").await;
            let first = git(world.project.path(), &["rev-parse", "opencode/1"]);
            let command = format!("cd /home/daytona/project && {loses}");
            match is_own {
                true => drop(open.bash("s", &command).await),
                false => drop(world.inside(&world.sandbox_of("s"), &command).await),
            }
            let text = open.ok("s", "sync", json!({})).await;
            let own = git(world.project.path(), &["rev-parse", "opencode/1"]);
            let home = world.entry("s")["home"]["commit"].clone();
            if is_explained {
                assert_ne!(home, first.trim(), "{case}: {text}");
                continue;
            }
            assert!(
                text.contains("branch opencode/1-2") && text.contains("it lacks 5 of the 5 files"),
                "{case}: {text}"
            );
            assert_eq!(
                (own.as_str(), home),
                (first.as_str(), json!(first.trim())),
                "{case}"
            );
            // The next sandbox begins with what came home last.
            world.delete_elsewhere(&world.sandbox_of("s"), true).await;
            let next = world.open_later(2).await;
            assert!(
                next.bash("s", "cat work").await.starts_with("one\n"),
                "{case}"
            );
        }
    });
}
