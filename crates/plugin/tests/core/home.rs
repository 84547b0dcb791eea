//! The work comes home as a branch, whatever happens on the way.

use crate::world::{Open, World, git, until};
use plugin::{Executed, Nothing};
use serde_json::{Value, json};
use testkit::run;

/// What the sandbox's daemon says for good.
fn refusal() -> Value {
    let body = json!({ "message": "no", "source": "DAYTONA_DAEMON" });
    json!({ "kind": "status", "status": 400, "body": body })
}

/// A session goes idle, and its work is home.
pub(crate) async fn idle(world: &World, open: &Open, session: &str) {
    open.event("session.idle", json!({ "sessionID": session }))
        .await;
    until("the work is home", async || {
        world.entry(session)["unsynced"].is_null()
    })
    .await;
}

pub(crate) fn show(world: &World, what: &str) -> String {
    git(world.project.path(), &["show", what])
}

/// Everything of the user's that must stay as it is.
pub(crate) fn users(world: &World) -> [String; 4] {
    let of = |args: &[&str]| git(world.project.path(), args);
    [
        of(&["status", "--porcelain"]),
        of(&["rev-parse", "HEAD"]),
        of(&["symbolic-ref", "HEAD"]),
        of(&["stash", "list"]),
    ]
}

#[test]
fn an_edit_is_on_a_branch_when_the_session_is_idle_and_nothing_of_the_users_moves() {
    run(async {
        let world = World::new();
        let before = users(&world);
        let open = world.open().await;
        open.ok(
            "s",
            "write",
            json!({ "filePath": "new.txt", "content": "new\n" }),
        )
        .await;
        assert!(world.entry("s")["unsynced"].is_object());
        idle(&world, &open, "s").await;
        assert_eq!(show(&world, "opencode/1:new.txt"), "new\n");
        // What was not committed on the host is a commit of its own, below the agent's.
        let log = git(world.project.path(), &["log", "--format=%s", "opencode/1"]);
        assert_eq!(
            log.lines().collect::<Vec<_>>(),
            [
                "OpenCode: work in the sandbox",
                "Project as it was on the host",
                "first"
            ]
        );
        let body = git(
            world.project.path(),
            &["log", "-1", "--format=%b", "opencode/1"],
        );
        assert!(body.contains("Session: s"), "{body}");
        assert_eq!(users(&world), before);
        assert_eq!(world.entry("s")["home"]["branch"], "opencode/1");
        git(world.project.path(), &["fsck", "--strict"]);
    });
}

#[test]
fn a_sync_without_news_is_one_request_or_none_and_one_with_news_is_one() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        world.forget_requests().await;
        idle(&world, &open, "s").await;
        assert_eq!(world.requests().await, 1, "changed");
        let tip = git(world.project.path(), &["rev-parse", "opencode/1"]);
        world.forget_requests().await;
        idle(&world, &open, "s").await;
        open.ok("s", "read", json!({ "filePath": "f" })).await;
        idle(&world, &open, "s").await;
        assert_eq!(world.requests().await, 1, "only the read");
        open.bash("s", "true").await;
        world.forget_requests().await;
        idle(&world, &open, "s").await;
        assert_eq!(world.requests().await, 1, "maybe changed, but was not");
        assert_eq!(git(world.project.path(), &["rev-parse", "opencode/1"]), tip);
    });
}

#[test]
fn the_agents_own_commits_and_branches_arrive_as_they_are() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let made = open
            .bash(
                "s",
                "echo 1 > one && git add -A && git commit -qm mine && git rev-parse HEAD",
            )
            .await;
        idle(&world, &open, "s").await;
        let tip = git(world.project.path(), &["rev-parse", "opencode/1"]);
        assert_eq!(tip.trim(), made.trim());
        open.bash(
            "s",
            "git checkout -qb side && echo 2 > two && git add -A && git commit -qm side && git checkout -q main && echo 3 > three",
        )
        .await;
        idle(&world, &open, "s").await;
        assert_eq!(show(&world, "opencode/1-side:two"), "2\n");
        assert_eq!(show(&world, "opencode/1:three"), "3\n");
        assert!(
            git(world.project.path(), &["branch", "--contains", tip.trim()]).contains("opencode/1")
        );
    });
}

#[test]
fn a_large_change_comes_by_a_second_request() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "head -c 3000000 /dev/urandom > large").await;
        world.forget_requests().await;
        idle(&world, &open, "s").await;
        assert_eq!(world.requests().await, 2);
        let size = git(
            world.project.path(),
            &["cat-file", "-s", "opencode/1:large"],
        );
        assert_eq!(size.trim(), "3000000");
    });
}

#[test]
fn work_waits_beside_a_branch_that_is_checked_out_or_has_other_commits() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        idle(&world, &open, "s").await;
        let path = world.project.path();
        git(path, &["stash", "--quiet", "--include-untracked"]);
        git(path, &["checkout", "--quiet", "opencode/1"]);
        let before = users(&world);
        open.bash("s", "echo 2 > f").await;
        idle(&world, &open, "s").await;
        assert_eq!(users(&world), before);
        assert_eq!(show(&world, "opencode/1:f"), "1\n");
        assert_eq!(show(&world, "opencode/1-2:f"), "2\n");
        assert_eq!(world.entry("s")["home"]["branch"], "opencode/1-2");
        // Nobody stands on it any more: the branch has all of it, and the other one goes.
        git(path, &["checkout", "--quiet", "main"]);
        open.bash("s", "echo 3 > f").await;
        idle(&world, &open, "s").await;
        assert_eq!(show(&world, "opencode/1:f"), "3\n");
        assert_eq!(git(path, &["branch", "--list", "opencode/1-2"]), "");
        // The user's own commit on it is not touched.
        git(path, &["checkout", "--quiet", "opencode/1"]);
        git(
            path,
            &["commit", "--quiet", "--allow-empty", "-m", "the user's"],
        );
        let users_own = git(path, &["rev-parse", "HEAD"]);
        git(path, &["checkout", "--quiet", "main"]);
        open.bash("s", "echo 4 > f").await;
        idle(&world, &open, "s").await;
        assert_eq!(git(path, &["rev-parse", "opencode/1"]), users_own);
        assert_eq!(show(&world, "opencode/1-2:f"), "4\n");
    });
}

#[test]
fn a_branch_of_somebody_else_is_left_alone() {
    run(async {
        let world = World::new();
        git(world.project.path(), &["branch", "opencode/1"]);
        let before = git(world.project.path(), &["rev-parse", "opencode/1"]);
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        idle(&world, &open, "s").await;
        assert_eq!(
            git(world.project.path(), &["rev-parse", "opencode/1"]),
            before
        );
        assert_eq!(show(&world, "opencode/2:f"), "1\n");
        assert_eq!(world.entry("s")["branchNumber"], 2);
    });
}

#[test]
fn the_tool_names_branch_commit_and_files_and_its_failure_is_an_error() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let nothing = open.ok("s", "sync", json!({})).await;
        assert!(nothing.contains("Nothing was changed"), "{nothing}");
        open.bash("s", "echo 1 > f").await;
        let Executed::Done(done) = open.call("s", "sync", json!({ "message": "Add f" })).await
        else {
            panic!("sync failed");
        };
        let commit = git(world.project.path(), &["rev-parse", "opencode/1"]);
        assert_eq!(done.metadata["commit"], commit.trim());
        assert_eq!(done.metadata["branch"], "opencode/1");
        assert_eq!(done.metadata["files"], json!(["f"]));
        assert!(done.output.contains("opencode/1") && done.output.contains(commit.trim()));
        let subject = git(
            world.project.path(),
            &["log", "-1", "--format=%s", "opencode/1"],
        );
        assert_eq!(subject.trim(), "Add f");
        open.bash("s", "echo 2 > f").await;
        world.fault(-1, refusal()).await;
        let error = open.error("s", "sync", json!({})).await;
        assert!(error.contains("could not be brought home"), "{error}");
        world.mend().await;
        assert!(world.entry("s")["error"].is_string());
        open.ok("s", "sync", json!({})).await;
        assert_eq!(show(&world, "opencode/1:f"), "2\n");
        assert!(world.entry("s")["error"].is_null());
    });
}

#[test]
fn a_deletion_brings_the_work_home_first() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        let child = json!({ "info": { "id": "c", "parentID": "s" } });
        open.event("session.created", child).await;
        open.event("session.idle", json!({ "sessionID": "c" }))
            .await;
        assert_eq!(open.plugin.sessions_known(), 2);
        open.event("session.deleted", json!({ "info": { "id": "s" } }))
            .await;
        until("the sandbox is gone", async || {
            world.sandboxes().await.is_empty()
        })
        .await;
        assert_eq!(show(&world, "opencode/1:f"), "1\n");
        until("the entry is gone", async || world.entry("s").is_null()).await;
        until("nothing is known of it any more", async || {
            open.plugin.sessions_known() == 0
        })
        .await;
    });
}

#[test]
fn a_deletion_that_cannot_bring_the_work_home_keeps_the_sandbox_until_a_later_start_can() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        open.host
            .fail(|operation, _| (operation == "http").then(|| "connect".into()));
        open.host.fast.set(true);
        open.event("session.deleted", json!({ "info": { "id": "s" } }))
            .await;
        until("it is noted why", async || {
            world.entry("s")["error"].is_string()
        })
        .await;
        until("the user is told", async || {
            open.toasts().contains(&"Sandbox kept".to_string())
        })
        .await;
        assert_eq!(world.sandboxes().await.len(), 1);
        assert_eq!(world.entry("s")["deleted"], true);
        let later = world.open().await;
        until("the sandbox is gone", async || {
            world.sandboxes().await.is_empty()
        })
        .await;
        assert_eq!(show(&world, "opencode/1:f"), "1\n");
        until("the entry is gone", async || world.entry("s").is_null()).await;
        drop(later);
    });
}

#[test]
fn an_end_that_waits_for_the_work_says_so_once_its_terminal_is_free() {
    run(async {
        let world = World::new();
        for (command, lines) in [("echo 1 > f", 1), ("", 0)] {
            let open = world.open().await;
            if !command.is_empty() {
                open.bash("s", command).await;
            }
            // The work travels until the line is there, or for a while.
            let slow = json!({ "kind": "slow", "ms": 1_500 });
            world.fault(1, slow).await;
            open.plugin.dispose(Nothing {}).await;
            let said = open.opencode.lines.borrow().clone();
            assert_eq!(said.len(), lines, "{said:?}");
            assert!(
                (said.iter()).all(|line| line.starts_with("Bringing the work home")
                    && line.contains("press Ctrl-C again")),
                "{said:?}"
            );
            assert_eq!(show(&world, "opencode/1:f"), "1\n");
        }
    });
}

#[test]
fn a_deletion_of_a_session_whose_sandbox_is_gone_ends() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        let path = format!("/api/sandbox/{}", world.sandbox_of("s"));
        world.local.control("DELETE", &path, json!({})).await;
        until("the sandbox is gone", async || {
            world.sandboxes().await.is_empty()
        })
        .await;
        open.event("session.deleted", json!({ "info": { "id": "s" } }))
            .await;
        until("the entry is gone", async || world.entry("s").is_null()).await;
    });
}

#[test]
fn what_a_killed_process_left_is_brought_home_by_the_next_start_even_from_a_stopped_sandbox() {
    run(async {
        let world = World::new();
        let dead = world.open_mortal(1).await;
        dead.bash("s", "echo 1 > f").await;
        drop(dead);
        let path = format!("/api/sandbox/{}/stop", world.sandbox_of("s"));
        world.local.control("POST", &path, json!({})).await;
        let open = world.open().await;
        until("the work is home", async || {
            world.entry("s")["unsynced"].is_null()
        })
        .await;
        assert_eq!(show(&world, "opencode/1:f"), "1\n");
        drop(open);
    });
}

#[test]
fn opencode_ends_and_the_work_is_home() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        open.plugin.dispose(Nothing {}).await;
        assert_eq!(show(&world, "opencode/1:f"), "1\n");
        assert!(world.entry("s")["unsynced"].is_null());
    });
}

#[test]
fn a_sandbox_that_takes_a_lost_ones_place_starts_from_what_came_home() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        idle(&world, &open, "s").await;
        let path = format!("/api/sandbox/{}", world.sandbox_of("s"));
        world.local.control("DELETE", &path, json!({})).await;
        let output = open.bash("s", "cat f; echo 2 > f").await;
        assert!(output.starts_with("1\n"), "{output}");
        idle(&world, &open, "s").await;
        assert_eq!(show(&world, "opencode/1:f"), "2\n");
    });
}

#[test]
fn sync_off_brings_nothing_home_and_deletes_as_before() {
    run(async {
        let world = World::new();
        let host = world.host(&world.local.url);
        let open = world.open_with(json!({ "sync": "off" }), host).await;
        open.bash("s", "echo 1 > f").await;
        assert!(world.entry("s")["unsynced"].is_null());
        let error = open.error("s", "sync", json!({})).await;
        assert!(error.contains("off"), "{error}");
        open.event("session.deleted", json!({ "info": { "id": "s" } }))
            .await;
        until("the sandbox is gone", async || {
            world.sandboxes().await.is_empty()
        })
        .await;
        assert_eq!(
            git(world.project.path(), &["branch", "--list", "opencode/*"]),
            ""
        );
    });
}

#[test]
fn apply_puts_the_change_into_the_worktree_where_nothing_is_in_its_way() {
    run(async {
        let world = World::new();
        let host = world.host(&world.local.url);
        let open = world.open_with(json!({ "sync": "apply" }), host).await;
        open.bash("s", "echo new > new.txt; sed -i s/two/TWO/ a.txt")
            .await;
        idle(&world, &open, "s").await;
        let path = world.project.path();
        let file = |name: &str| std::fs::read_to_string(path.join(name)).unwrap_or_default();
        until("it is applied", async || file("new.txt") == "new\n").await;
        assert_eq!(file("a.txt"), "one\nTWO\nthree\n");
        assert_eq!(git(path, &["diff", "--cached", "--name-only"]), "");
        // The user changes the same line: nothing is overwritten.
        std::fs::write(path.join("a.txt"), "one\nMINE\nthree\n").expect("written");
        open.bash("s", "sed -i s/TWO/THEIRS/ a.txt; echo 2 > other.txt")
            .await;
        idle(&world, &open, "s").await;
        until("it came home", async || {
            git(path, &["show", "opencode/1:a.txt"]).contains("THEIRS")
        })
        .await;
        assert_eq!(file("a.txt"), "one\nMINE\nthree\n");
        assert_eq!(file("other.txt"), "");
        // Out of the way: the whole change arrives.
        std::fs::write(path.join("a.txt"), "one\nTWO\nthree\n").expect("written");
        open.bash("s", "echo 3 > third.txt").await;
        idle(&world, &open, "s").await;
        until("it is applied", async || file("third.txt") == "3\n").await;
        assert_eq!(file("a.txt"), "one\nTHEIRS\nthree\n");
        assert_eq!(file("other.txt"), "2\n");
    });
}

#[test]
fn background_commands_keep_the_sandbox_awake_and_what_they_make_comes_home() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let command = "while [ ! -e ../go ]; do sleep 0.1; done; echo late > late.txt";
        let args = json!({ "command": command, "background": true });
        open.ok("s", "bash", args).await;
        // From now on minutes pass at once.
        open.host.fast.set(true);
        open.event("session.idle", json!({ "sessionID": "s" }))
            .await;
        for _ in 0..2 {
            world.forget_requests().await;
            until("the sandbox hears of us", async || {
                world.executes().await >= 3
            })
            .await;
        }
        assert!(world.entry("s")["unsynced"].is_object());
        world.inside(&world.sandbox_of("s"), "touch ~/go").await;
        until("the work is home", async || {
            world.entry("s")["unsynced"].is_null()
        })
        .await;
        assert_eq!(show(&world, "opencode/1:late.txt"), "late\n");
        // The sandbox may sleep: nothing but what is asked for goes there.
        world.forget_requests().await;
        for _ in 0..3 {
            open.ok("s", "read", json!({ "filePath": "late.txt" }))
                .await;
        }
        assert_eq!(world.requests().await, 3);
    });
}

/// The user's message with which a turn begins.
pub(crate) async fn turn(open: &Open, session: &str, id: &str) {
    open.plugin
        .message(plugin::Parts {
            session_id: session.into(),
            message_id: Some(id.into()),
            parts: vec![json!({ "type": "text", "text": format!("please do {id}") })],
        })
        .await;
}

pub(crate) async fn reverted(open: &Open, session: &str, to: Value) {
    let info = json!({ "id": session, "revert": to });
    open.event("session.updated", json!({ "info": info })).await;
}

#[test]
fn undo_and_redo_are_followed_by_the_files_and_the_branch() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for n in 1..=3 {
            turn(&open, "s", &format!("msg_{n}")).await;
            open.bash("s", &format!("echo {n} > f; echo {n} > f{n}"))
                .await;
            idle(&world, &open, "s").await;
        }
        let log = git(
            world.project.path(),
            &["log", "-1", "--format=%s", "opencode/1"],
        );
        assert_eq!(log.trim(), "OpenCode: please do msg_3");
        let home = async |files: &str| {
            until(files, async || {
                let listed = git(
                    world.project.path(),
                    &["ls-tree", "--name-only", "opencode/1"],
                );
                let names: Vec<&str> = listed.lines().filter(|n| n.starts_with('f')).collect();
                names.join(" ") == files
            })
            .await;
        };
        home("f f1 f2 f3").await;
        reverted(&open, "s", json!({ "messageID": "msg_3" })).await;
        home("f f1 f2").await;
        assert_eq!(show(&world, "opencode/1:f"), "2\n");
        reverted(&open, "s", json!({ "messageID": "msg_2" })).await;
        home("f f1").await;
        reverted(&open, "s", Value::Null).await;
        home("f f1 f2 f3").await;
        assert_eq!(open.bash("s", "cat f").await, "3\n");
        // Undone for good: the user goes on from there.
        reverted(&open, "s", json!({ "messageID": "msg_2" })).await;
        home("f f1").await;
        let removed = json!({ "sessionID": "s", "messageID": "msg_2" });
        open.event("message.removed", removed).await;
        reverted(&open, "s", Value::Null).await;
        turn(&open, "s", "msg_4").await;
        assert_eq!(open.bash("s", "echo 4 > f4; cat f").await, "1\n");
        idle(&world, &open, "s").await;
        home("f f1 f4").await;
    });
}

#[test]
fn what_was_undone_before_it_came_home_is_in_the_history_of_the_branch() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        turn(&open, "s", "msg_1").await;
        open.bash("s", "echo undone > f").await;
        reverted(&open, "s", json!({ "messageID": "msg_1" })).await;
        until("it is home", async || world.entry("s")["home"].is_object()).await;
        let listed = git(
            world.project.path(),
            &["ls-tree", "--name-only", "opencode/1"],
        );
        assert!(!listed.lines().any(|name| name == "f"), "{listed}");
        let log = git(
            world.project.path(),
            &["log", "-p", "opencode/1", "--", "f"],
        );
        assert!(log.contains("+undone"), "{log}");
    });
}

#[test]
fn work_of_a_turn_that_could_not_come_home_does_so_with_the_next_even_if_it_is_deleted_there() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        turn(&open, "s", "msg_1").await;
        open.bash("s", "echo early > f").await;
        turn(&open, "s", "msg_2").await;
        open.bash("s", "rm f; echo late > g").await;
        idle(&world, &open, "s").await;
        let log = git(
            world.project.path(),
            &["log", "-p", "opencode/1", "--", "f"],
        );
        assert!(log.contains("+early") && log.contains("-early"), "{log}");
    });
}

#[test]
fn a_tool_waits_for_every_undo_and_redo_that_was_told_before_it() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for n in 1..=2 {
            turn(&open, "s", &format!("msg_{n}")).await;
            open.bash("s", &format!("echo {n} > f")).await;
        }
        for (to, expected) in [
            (json!({ "messageID": "msg_2" }), "1\n"),
            (json!({ "messageID": "msg_1" }), "(no output)"),
            (Value::Null, "2\n"),
        ] {
            for told in [json!({ "messageID": "msg_2" }), Value::Null, to] {
                reverted(&open, "s", told).await;
            }
            let output = open.bash("s", "cat f 2>/dev/null || true").await;
            assert_eq!(output, expected);
        }
    });
}

#[test]
fn an_undo_that_the_sandbox_could_not_follow_is_followed_before_the_next_tool() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        turn(&open, "s", "msg_1").await;
        open.bash("s", "echo 1 > f").await;
        idle(&world, &open, "s").await;
        world.fault(-1, refusal()).await;
        reverted(&open, "s", json!({ "messageID": "msg_1" })).await;
        until("the user is told", async || {
            open.toasts()
                .contains(&"Files not put back yet".to_string())
        })
        .await;
        assert!(
            open.error("s", "read", json!({ "filePath": "f" }))
                .await
                .contains("put back")
        );
        drop(open);
        world.mend().await;
        let later = world.open().await;
        let error = later.error("s", "read", json!({ "filePath": "f" })).await;
        assert!(error.contains("File not found"), "{error}");
    });
}

pub(crate) fn listed(id: &str, title: &str, created: u64) -> Value {
    json!({ "id": id, "title": title, "time": { "created": created } })
}

pub(crate) fn messages(ids: &[(&str, &str, u64)]) -> Vec<Value> {
    let message = |(id, role, created): &(&str, &str, u64)| json!({ "info": { "id": id, "role": role, "time": { "created": created } } });
    ids.iter().map(message).collect()
}

#[test]
fn a_fork_has_a_sandbox_of_its_own_with_the_state_of_that_moment() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for n in 1..=2 {
            turn(&open, "s", &format!("msg_{n}")).await;
            open.bash("s", &format!("echo {n} > f{n}; echo ignored > target"))
                .await;
        }
        let of_s = messages(&[
            ("msg_1", "user", 10),
            ("msg_1a", "assistant", 11),
            ("msg_2", "user", 20),
            ("msg_2a", "assistant", 21),
        ]);
        let copies = messages(&[
            ("msg_7", "user", 10),
            ("msg_8", "assistant", 11),
            ("msg_9", "user", 31),
        ]);
        {
            let mut sessions = open.opencode.sessions.borrow_mut();
            sessions.insert("s".into(), (listed("s", "Work", 5), of_s));
            sessions.insert(
                "fork".into(),
                (listed("fork", "Work (fork #1)", 30), copies),
            );
        }
        turn(&open, "fork", "msg_9").await;
        assert_eq!(open.bash("fork", "ls f*").await, "f1\n");
        assert_ne!(world.sandbox_of("s"), world.sandbox_of("fork"));
        open.bash("fork", "echo fork > f3").await;
        idle(&world, &open, "fork").await;
        idle(&world, &open, "s").await;
        let branch = |session: &str| {
            world.entry(session)["home"]["branch"]
                .as_str()
                .expect("a branch")
                .to_string()
        };
        let files = |session: &str| {
            git(
                world.project.path(),
                &["ls-tree", "--name-only", &branch(session)],
            )
            .replace('\n', " ")
        };
        assert!(files("fork").contains("f1 f3"), "{}", files("fork"));
        assert!(files("s").contains("f1 f2"), "{}", files("s"));
        assert_ne!(branch("s"), branch("fork"));
    });
}

#[test]
fn a_preview_is_a_link_once_something_listens() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let error = open
            .error("s", "preview", json!({ "port": 3456, "wait": 1 }))
            .await;
        assert!(error.contains("Nothing listens on port 3456"), "{error}");
        let server = "python3 -c 'import socket; s=socket.socket(); s.bind((\"127.0.0.1\", 3456)); s.listen(); s.accept()'";
        open.ok(
            "s",
            "bash",
            json!({ "command": server, "background": true }),
        )
        .await;
        let output = open.ok("s", "preview", json!({ "port": 3456 })).await;
        assert!(output.starts_with("http"), "{output}");
        assert!(open.toasts().contains(&"Preview".to_string()));
    });
}
