//! A process that dies between any two steps of bringing work home loses none of it: the next one
//! brings it, once.

use crate::home::{idle, listed, messages, reverted, turn, users};
use crate::world::{Open, World, git, until};
use serde_json::{Value, json};
use testkit::{Setting, run};

/// For each step of `act`: a process prepares a session, and dies at that step. Then `after` is told
/// of the next process.
async fn each_death(
    world: &World,
    prepare: impl AsyncFn(&Open, &str),
    act: impl AsyncFn(&Open, &str),
    after: impl AsyncFn(&Open, &str),
) -> usize {
    let before = users(world);
    for step in 1.. {
        let session = format!("s{step}");
        let number = 2 * step as u32;
        let dying = world.open_later(number).await;
        prepare(&dying, &session).await;
        let died = dying.host.die_at(step);
        let died = tokio::select! {
            biased;
            _ = died => true,
            () = act(&dying, &session) => false,
        };
        let living = world.open_later(number + 1).await;
        after(&living, &session).await;
        // Where the work is applied, the worktree is meant to change.
        if world.options["sync"] != "apply" {
            assert_eq!(users(world), before, "step {step}");
        }
        let logged = living.host.logged().join("\n");
        until("its temporary directories are gone", async || {
            living.host.temps().is_empty()
        })
        .await;
        until("what the dead process left is swept", async || {
            let left = dying.host.temps();
            left.iter().all(|dir| !std::path::Path::new(dir).exists())
        })
        .await;
        let creating = &world.store()["creating"];
        assert!(creating.is_null(), "step {step}: {creating}\n{logged}");
        if !died {
            git(world.project.path(), &["fsck", "--strict"]);
            return step;
        }
    }
    unreachable!()
}

fn branches(world: &World) -> Vec<String> {
    let listed = git(
        world.project.path(),
        &[
            "for-each-ref",
            "--format=%(refname:short)",
            "refs/heads/opencode",
        ],
    );
    listed.lines().map(str::to_string).collect()
}

/// Branches that hold a file of this content.
fn holding(world: &World, file: &str, content: &str) -> Vec<String> {
    let mut found = branches(world);
    found.retain(|branch| {
        let path = format!("{branch}:{file}");
        let listed = git(world.project.path(), &["ls-tree", "--name-only", branch]);
        listed.lines().any(|name| name == file)
            && git(world.project.path(), &["show", &path]) == content
    });
    found
}

async fn is_home(world: &World, session: &str) {
    until("the work is home", async || {
        let entry = world.entry(session);
        entry.is_null() || entry["unsynced"].is_null()
    })
    .await;
}

/// One sandbox per entry, and one entry per sandbox. What a dead process was still creating goes
/// when it is there.
async fn is_one_to_one(world: &World) {
    until(
        "each entry has its sandbox, and there is no other",
        async || {
            let store = world.store();
            let entries = store["sessions"].as_object().expect("sessions");
            let mut known: Vec<String> = (entries.values())
                .map(|entry| entry["sandboxId"].as_str().expect("an id").to_string())
                .collect();
            let mut there = world.sandboxes().await;
            known.sort();
            there.sort();
            known == there
        },
    )
    .await;
}

async fn works(open: &Open, session: &str) {
    open.bash(session, &format!("echo {session} > work-{session}"))
        .await;
}

/// The work of a session is on its own branch and on no other.
async fn is_on_one_branch(world: &World, session: &str) {
    is_home(world, session).await;
    let (file, content) = (format!("work-{session}"), format!("{session}\n"));
    let found = holding(world, &file, &content);
    assert_eq!(
        found,
        [world.entry(session)["home"]["branch"]
            .as_str()
            .expect("a branch")]
    );
    is_one_to_one(world).await;
}

#[test]
fn a_death_at_any_step_of_a_homecoming_costs_nothing() {
    run(async {
        let world = World::new();
        let act = async |open: &Open, session: &str| idle(&world, open, session).await;
        let after = async |_: &Open, session: &str| is_on_one_branch(&world, session).await;
        let steps = each_death(&world, works, act, after).await;
        assert!(steps > 10, "only {steps} steps were seen");
    });
}

#[test]
fn a_death_at_any_step_of_the_tool_sync_costs_nothing() {
    run(async {
        let world = World::new();
        let act = async |open: &Open, session: &str| {
            open.ok(session, "sync", json!({})).await;
        };
        let after = async |open: &Open, session: &str| {
            is_on_one_branch(&world, session).await;
            let output = open.ok(session, "sync", json!({})).await;
            assert!(output.contains("Nothing new"), "{output}");
            is_on_one_branch(&world, session).await;
        };
        let steps = each_death(&world, works, act, after).await;
        assert!(steps > 10, "only {steps} steps were seen");
    });
}

/// Deletes a session at each step of which the process dies, in a mode of the option `sync`; with
/// `busy`, while a command runs. Gives the number of steps.
async fn deaths_of_a_deletion(mode: &'static str, busy: bool) -> usize {
    let mut world = World::new();
    world.options = json!({ "sync": mode });
    let world = &world;
    let gone = async |session: &str| {
        until("entry and sandbox are gone", async || {
            world.entry(session).is_null() && world.sandboxes().await.is_empty()
        })
        .await;
    };
    let prepare = async |open: &Open, session: &str| {
        works(open, session).await;
        if mode == "apply" {
            // It may not be in the way of the next one.
            idle(world, open, session).await;
        }
    };
    let act = async |open: &Open, session: &str| {
        let deleted = json!({ "info": { "id": session } });
        let delete = async {
            open.event("session.deleted", deleted).await;
            gone(session).await;
        };
        match busy {
            false => delete.await,
            true => {
                let command = open.call(session, "bash", json!({ "command": "sleep 1" }));
                futures::join!(command, delete);
            }
        }
    };
    let after = async |open: &Open, session: &str| {
        // If nobody wrote down that it is deleted, the user sees the session and deletes it.
        if mode != "off" {
            is_home(world, session).await;
        }
        if !world.entry(session).is_null() && world.entry(session)["deleted"].is_null() {
            let deleted = json!({ "info": { "id": session } });
            open.event("session.deleted", deleted).await;
        }
        gone(session).await;
        if mode != "off" {
            let (file, content) = (format!("work-{session}"), format!("{session}\n"));
            let found = holding(world, &file, &content);
            assert_eq!(found.len(), 1, "{found:?}");
        }
    };
    each_death(world, prepare, act, after).await
}

#[test]
fn a_death_at_any_step_of_a_deletion_loses_no_work_and_leaves_no_sandbox() {
    run(async {
        let steps = deaths_of_a_deletion("branch", false).await;
        assert!(steps > 20, "only {steps} steps were seen");
    });
}

#[test]
fn a_death_at_any_step_of_a_deletion_leaves_no_sandbox_also_where_nothing_comes_home() {
    run(async {
        for busy in [false, true] {
            let steps = deaths_of_a_deletion("off", busy).await;
            assert!(steps > 6, "only {steps} steps were seen");
        }
    });
}

#[test]
fn a_death_at_any_step_of_a_deletion_costs_nothing_where_the_work_is_applied() {
    run(async {
        let steps = deaths_of_a_deletion("apply", false).await;
        assert!(steps > 6, "only {steps} steps were seen");
    });
}

#[test]
fn a_death_at_any_step_of_an_undo_leaves_the_files_as_they_were_or_as_the_user_wants_them() {
    run(async {
        let world = World::new();
        let prepare = async |open: &Open, session: &str| {
            for n in 1..=2 {
                turn(open, session, &format!("msg_{n}")).await;
                open.bash(session, &format!("echo {n} > f-{session}")).await;
                idle(&world, open, session).await;
            }
        };
        let content = |session: &str| {
            let branch = world.entry(session)["home"]["branch"].clone();
            let branch = branch.as_str().expect("a branch").to_string();
            git(
                world.project.path(),
                &["show", &format!("{branch}:f-{session}")],
            )
        };
        let act = async |open: &Open, session: &str| {
            reverted(open, session, json!({ "messageID": "msg_2" })).await;
            until("it is undone", async || {
                world.entry(session)["unsynced"].is_null() && content(session) == "1\n"
            })
            .await;
        };
        let after = async |open: &Open, session: &str| {
            let is_noted = !world.entry(session)["undo"].is_null();
            let expected = if is_noted { "1\n" } else { "2\n" };
            let now = open.bash(session, &format!("cat f-{session}")).await;
            assert_eq!(now, expected);
            idle(&world, open, session).await;
            assert_eq!(content(session), expected);
            assert_eq!(branches(&world).len(), world.sandboxes().await.len());
            is_one_to_one(&world).await;
        };
        let steps = each_death(&world, prepare, act, after).await;
        assert!(steps > 10, "only {steps} steps were seen");
    });
}

#[test]
fn a_death_at_any_step_of_making_a_forks_sandbox_leaves_one_with_the_right_state() {
    run(async {
        let world = World::new();
        let source = world.open_later(1).await;
        for n in 1..=2 {
            turn(&source, "s", &format!("msg_{n}")).await;
            source.bash("s", &format!("echo {n} > f{n}")).await;
        }
        let knows = |open: &Open, fork: &str| {
            let of_s = messages(&[
                ("msg_1", "user", 10),
                ("msg_1a", "assistant", 11),
                ("msg_2", "user", 20),
            ]);
            let copies = messages(&[
                ("msg_7", "user", 10),
                ("msg_8", "assistant", 11),
                ("msg_9", "user", 31),
            ]);
            let mut sessions = open.opencode.sessions.borrow_mut();
            sessions.insert("s".into(), (listed("s", "Work", 5), of_s));
            let info: Value = listed(fork, "Work (fork #1)", 30);
            sessions.insert(fork.into(), (info, copies));
        };
        let prepare = async |open: &Open, fork: &str| knows(open, fork);
        let act = async |open: &Open, fork: &str| {
            knows(open, fork);
            assert_eq!(open.bash(fork, "ls f?").await, "f1\n");
        };
        let after = async |open: &Open, fork: &str| {
            act(open, fork).await;
            open.bash(fork, &format!("echo {fork} > work-{fork}")).await;
            idle(&world, open, fork).await;
            is_on_one_branch(&world, fork).await;
            let deleted = json!({ "info": { "id": fork } });
            open.event("session.deleted", deleted).await;
            until("the sandbox is gone", async || {
                world.entry(fork).is_null() && world.sandboxes().await.len() == 1
            })
            .await;
        };
        let steps = each_death(&world, prepare, act, after).await;
        assert!(steps > 20, "only {steps} steps were seen");
    });
}

#[test]
fn a_homecoming_survives_every_fault_of_the_network_at_each_of_its_requests() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "true").await;
        idle(&world, &open, "s").await;
        let kinds = [
            json!({ "kind": "drop_before" }),
            json!({ "kind": "drop_after" }),
            json!({ "kind": "truncate", "bytes": 0 }),
            json!({ "kind": "truncate", "bytes": 100 }),
            json!({ "kind": "truncate", "bytes": 100_000 }),
            json!({ "kind": "status", "status": 502 }),
            json!({ "kind": "status", "status": 429 }),
            json!({ "kind": "repeat" }),
            json!({ "kind": "garbage" }),
            json!({ "kind": "stop_sandbox" }),
            json!("timeout"),
        ];
        open.host.fast.set(true);
        let mut count = 0;
        for kind in kinds {
            for (method, route) in [("POST", "process/execute"), ("GET", "files/download")] {
                for times in [1, 2] {
                    count += 1;
                    let case = format!("{kind} at {route}, {times} times");
                    // The change is too large to come in the answer.
                    let work =
                        format!("head -c 1500000 /dev/urandom > large; echo {count} > count");
                    open.bash("s", &work).await;
                    if kind == "timeout" {
                        let left = Setting::new(times);
                        open.host.fail(move |operation, what| {
                            let hit = operation == "http" && what.contains(route) && left.get() > 0;
                            hit.then(|| {
                                left.set(left.get() - 1);
                                "timeout".into()
                            })
                        });
                    } else {
                        let path = format!("/toolbox/*/{route}*");
                        world.local.fault(method, &path, times, kind.clone()).await;
                    }
                    let output = open.ok("s", "sync", json!({})).await;
                    assert!(output.contains("2 changed"), "{case}: {output}");
                    world.mend().await;
                    open.host.heal();
                    assert_eq!(branches(&world), ["opencode/1"], "{case}");
                    let found = holding(&world, "count", &format!("{count}\n"));
                    assert_eq!(found, ["opencode/1"], "{case}");
                    assert_eq!(open.host.temps(), [""; 0], "{case}");
                }
            }
        }
        git(world.project.path(), &["fsck", "--strict"]);
        assert_eq!(world.sandboxes().await.len(), 1);
    });
}
