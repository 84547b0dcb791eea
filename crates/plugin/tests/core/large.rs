//! More work than comes home, and large work whose way home breaks.

use crate::home::{idle, show};
use crate::lies::answer;
use crate::world::{Open, World, git, until};
use protocol::{Synced, TooMuch};
use serde_json::{Value, json};
use testkit::run;

/// Options of a limit that a few files reach.
fn limited(megabytes: u32) -> Value {
    json!({ "carry": { "maxMegabytes": megabytes } })
}

async fn open(world: &World, megabytes: u32) -> Open {
    world
        .open_with(limited(megabytes), world.host(&world.local.url))
        .await
}

fn times_not_home(open: &Open) -> usize {
    let lines = open.host.logged();
    let not_home = |line: &&String| line.contains("is not home yet");
    lines.iter().filter(not_home).count()
}

/// A session goes idle, and its work stays where it is.
async fn idle_in_vain(open: &Open, session: &str) {
    let before = times_not_home(open);
    open.event("session.idle", json!({ "sessionID": session }))
        .await;
    until("it was tried", async || times_not_home(open) > before).await;
}

fn told(open: &Open) -> Vec<String> {
    let toasts = open.toasts();
    let said = open.opencode.told.borrow();
    let said = toasts.iter().zip(&*said);
    said.filter(|(title, _)| *title == "Work not home yet")
        .map(|(_, message)| message.clone())
        .collect()
}

/// What waits in the sandbox for this end: file and time of its making.
async fn waiting(world: &World, sandbox: &str) -> String {
    let list = "stat -c '%i %Y %s' /home/daytona/.opencode-daytona/bundles/*";
    world.inside(sandbox, list).await
}

#[test]
fn more_than_may_come_home_is_told_once_for_each_state_and_to_the_model() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "echo 1 > f").await;
        let says = |tip: &str| {
            let synced = Synced {
                tip: tip.repeat(40),
                too_much: Some(TooMuch {
                    size: 1_234_000_001,
                    largest: vec![
                        ("data/all.bin".into(), 900_000_000),
                        ("\u{1b}[31m".repeat(100_000), 1_500_000),
                    ],
                }),
                jobs: 3,
                ..Synced::default()
            };
            open.host
                .answer_with(move |request| answer(request, &synced));
        };
        says("1");
        idle_in_vain(&open, "s").await;
        idle_in_vain(&open, "s").await;
        let first = told(&open);
        assert_eq!(first.len(), 1, "{first:?}");
        for part in [
            "1235 MB of new work",
            "data/all.bin (900 MB), ",
            " (1.5 MB)",
            "option `carry.maxMegabytes`",
        ] {
            assert!(first[0].contains(part), "{part}: {first:?}");
        }
        assert!(first[0].len() < 2_000, "{}", first[0].len());
        // The tool says it whenever it is called.
        for _ in 0..2 {
            let error = open.error("s", "sync", json!({})).await;
            assert!(error.contains("1235 MB of new work"), "{error}");
        }
        assert_eq!(told(&open).len(), 1);
        says("2");
        idle_in_vain(&open, "s").await;
        assert_eq!(told(&open).len(), 2);
        open.host.heal();
        let heard = open.bash("s", "cat f").await;
        assert!(heard.contains("cannot come home: the sandbox has 1235 MB"));
        assert!(!open.bash("s", "cat f").await.contains("cannot come home"));
        // What it says now is nothing of the kind.
        idle(&world, &open, "s").await;
        assert_eq!(show(&world, "opencode/1:f"), "1\n");
    });
}

#[test]
fn work_over_the_limit_stays_in_the_sandbox_and_comes_home_with_a_larger_one() {
    run(async {
        let world = World::new();
        let small = open(&world, 1).await;
        small
            .bash("s", "head -c 3000000 /dev/urandom > large; echo 1 > f")
            .await;
        let sandbox = world.sandbox_of("s");
        world.forget_requests().await;
        idle_in_vain(&small, "s").await;
        assert_eq!(world.requests().await, 1);
        let said = told(&small);
        assert!(
            said[0].contains("4 MB of new work, and at most 1 MB are brought home; the largest files: large (3.0 MB)"),
            "{said:?}"
        );
        assert!(world.entry("s")["unsynced"].is_object());
        // A deletion does not take the work with it.
        small
            .event("session.deleted", json!({ "info": { "id": "s" } }))
            .await;
        until("the user is told", async || {
            small.toasts().contains(&"Sandbox kept".to_string())
        })
        .await;
        assert_eq!(world.sandboxes().await, [sandbox]);
        let why = world.entry("s")["error"].to_string();
        assert!(why.contains("carry.maxMegabytes"), "{why}");
        let _large = open(&world, 10).await;
        until("the sandbox is gone", async || {
            world.sandboxes().await.is_empty()
        })
        .await;
        let size = git(
            world.project.path(),
            &["cat-file", "-s", "opencode/1:large"],
        );
        assert_eq!(
            (size.trim(), &*show(&world, "opencode/1:f")),
            ("3000000", "1\n")
        );
    });
}

#[test]
fn what_is_over_the_limit_and_deleted_does_not_keep_the_rest_in_the_sandbox() {
    run(async {
        let world = World::new();
        let open = open(&world, 1).await;
        open.bash("s", "head -c 3000000 /dev/urandom > core; echo 1 > f")
            .await;
        idle_in_vain(&open, "s").await;
        open.bash("s", "rm core; echo 2 > f").await;
        idle(&world, &open, "s").await;
        assert_eq!(show(&world, "opencode/1:f"), "2\n");
        until("the user is told", async || {
            let said = open.opencode.told.borrow().join("\n");
            said.contains("the states of the files between")
        })
        .await;
    });
}

#[test]
fn a_large_bundle_whose_download_breaks_is_fetched_again_and_not_made_again() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.host.fast.set(true);
        open.bash("s", "head -c 3000000 /dev/urandom > large").await;
        let sandbox = world.sandbox_of("s");
        let plant = async |times, action| {
            let route = "/toolbox/*/files/download*";
            world.local.fault("GET", route, times, action).await;
        };
        // Twice, in two ways, and then it works: nobody hears of it.
        world.forget_requests().await;
        plant(1, json!({ "kind": "truncate", "bytes": 1_000_000 })).await;
        plant(1, json!({ "kind": "drop_after" })).await;
        idle(&world, &open, "s").await;
        assert_eq!(world.executes().await, 1);
        assert_eq!(told(&open), [""; 0]);
        let size = || {
            git(
                world.project.path(),
                &["cat-file", "-s", "opencode/1:large"],
            )
        };
        assert_eq!(size().trim(), "3000000");

        // For good, and then at the next end of a turn.
        open.bash("s", "head -c 4000000 /dev/urandom > large").await;
        let no = json!({ "message": "no", "source": "DAYTONA_DAEMON" });
        plant(-1, json!({ "kind": "status", "status": 400, "body": no })).await;
        idle_in_vain(&open, "s").await;
        assert_eq!(told(&open).len(), 1);
        let made = waiting(&world, &sandbox).await;
        idle_in_vain(&open, "s").await;
        assert_eq!(waiting(&world, &sandbox).await, made);
        world.mend().await;
        idle(&world, &open, "s").await;
        assert_eq!(waiting(&world, &sandbox).await, made);
        assert_eq!(size().trim(), "4000000");
        assert_eq!(open.host.temps(), [""; 0]);
    });
}
