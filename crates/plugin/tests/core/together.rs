//! Two OpenCode processes in one repository bring work home at the same moment.

use crate::home::users;
use crate::world::{Open, World, git, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use testkit::run;

const ROUNDS: usize = 20;

/// Two processes that both live: this one, and the first of the machine.
async fn two(world: &World) -> (Open, Open) {
    let host = world.host(&world.local.url);
    host.pid.set(Some(1));
    tokio::join!(world.open(), world.open_with(json!({}), host))
}

fn locks(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if entry.file_type().expect("a type").is_dir() {
            found.extend(locks(&path));
        } else if path.extension().is_some_and(|end| end == "lock") {
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found
}

fn assert_whole(world: &World) {
    git(world.project.path(), &["fsck", "--strict"]);
    assert_eq!(locks(world.project.path()), [""; 0]);
    let store = world.store_path();
    assert_eq!(locks(store.parent().expect("a directory")), [""; 0]);
}

async fn work(open: &Open, session: &str, file: &str, round: usize) {
    open.bash(session, &format!("echo {round} > {file}")).await;
}

async fn sync(open: &Open, session: &str) {
    open.ok(session, "sync", json!({})).await;
}

#[test]
fn two_processes_with_a_session_each_get_a_branch_each_and_lose_nothing() {
    run(async {
        let world = World::new();
        let before = users(&world);
        let (one, two) = two(&world).await;
        for round in 0..ROUNDS {
            // New sessions now and then: numbers are given out at the same moment too.
            let (a, b) = (format!("a{}", round / 5), format!("b{}", round / 5));
            tokio::join!(work(&one, &a, "f", round), work(&two, &b, "f", round));
            tokio::join!(sync(&one, &a), sync(&two, &b));
            let mut numbers = BTreeSet::new();
            for (_, entry) in world.store()["sessions"].as_object().expect("sessions") {
                let entry: &Value = entry;
                assert!(numbers.insert(entry["branchNumber"].to_string()), "{entry}");
            }
            for session in [a, b] {
                let branch = world.entry(&session)["home"]["branch"].clone();
                let file = format!("{}:f", branch.as_str().expect("a branch"));
                assert_eq!(
                    git(world.project.path(), &["show", &file]),
                    format!("{round}\n")
                );
            }
        }
        let branches = git(world.project.path(), &["branch", "--list", "opencode/*"]);
        assert_eq!(branches.lines().count(), 8, "{branches}");
        assert_eq!(users(&world), before);
        assert_whole(&world);
    });
}

#[test]
fn two_processes_with_one_session_bring_its_work_to_one_branch() {
    run(async {
        let world = World::new();
        let before = users(&world);
        let (one, two) = two(&world).await;
        for round in 0..ROUNDS {
            let session = format!("s{}", round / 10);
            let s = session.as_str();
            tokio::join!(work(&one, s, "a", round), work(&two, s, "b", round));
            tokio::join!(sync(&one, s), sync(&two, s));
            let branch = world.entry(s)["home"]["branch"].clone();
            for file in ["a", "b"] {
                let file = format!("{}:{file}", branch.as_str().expect("a branch"));
                assert_eq!(
                    git(world.project.path(), &["show", &file]),
                    format!("{round}\n")
                );
            }
        }
        let branches = git(world.project.path(), &["branch", "--list", "opencode/*"]);
        assert_eq!(branches.lines().count(), 2, "{branches}");
        assert_eq!(world.sandboxes().await.len(), 2);
        assert_eq!(users(&world), before);
        assert_whole(&world);
    });
}

/// Branches of somebody else have the numbers that the sessions get first.
#[test]
fn two_processes_with_one_session_whose_number_is_taken_bring_its_work_to_one_branch() {
    run(async {
        let world = World::new();
        let (one, two) = two(&world).await;
        for round in 1..=ROUNDS / 2 {
            let session = format!("s{round}");
            let s = session.as_str();
            work(&one, s, "a", round).await;
            let number = world.entry(s)["branchNumber"].to_string();
            let name = format!("refs/heads/opencode/{number}");
            git(world.project.path(), &["update-ref", &name, "HEAD"]);
            match round % 2 {
                0 => drop(tokio::join!(sync(&one, s), sync(&two, s))),
                _ => {
                    let deleted = || json!({ "info": { "id": s } });
                    tokio::join!(
                        one.event("session.deleted", deleted()),
                        two.event("session.deleted", deleted())
                    );
                    until("the session is gone", async || world.entry(s).is_null()).await;
                }
            }
            let contains = git(
                world.project.path(),
                &[
                    "log",
                    "--all",
                    "--format=%H",
                    "--grep",
                    &format!("Session: {s}$"),
                ],
            );
            assert_eq!(contains.lines().count(), 1, "{contains}");
            let format = "--format=%(refname)";
            let commit = contains.trim();
            let on = git(
                world.project.path(),
                &["for-each-ref", format, "--contains", commit, "refs/heads"],
            );
            assert_eq!(on.lines().count(), 1, "{on}");
        }
        assert_whole(&world);
    });
}
