//! A project that is somewhere else when OpenCode starts again.

use crate::world::{Open, World, git, until};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use testkit::run;

/// A world in whose project a process died with work that is not home.
async fn left() -> World {
    let world = World::new();
    let open = world.open_mortal(1).await;
    open.bash("s", "echo 1 > f").await;
    assert!(world.entry("s")["unsynced"].is_object());
    world
}

/// The next OpenCode, in another directory.
async fn open_in(world: &World, dir: &Path) -> Open {
    let host = world.host(&world.local.url);
    host.skip_ms.set(60_000);
    let worktree = dir.to_string_lossy().into_owned();
    let init = plugin::Init {
        directory: worktree.clone(),
        worktree,
        ..world.init(json!({}))
    };
    world.open_as(init, host).await
}

/// A path beside the project.
fn beside(world: &World, name: &str) -> PathBuf {
    let project = world.project.path();
    let own = project.file_name().expect("a name").to_string_lossy();
    project.with_file_name(format!("{own}-{name}"))
}

/// The sweep at the start is over.
async fn settled(open: &Open) {
    open.plugin.dispose(plugin::Nothing {}).await;
    let swept = async || {
        open.host
            .logged()
            .iter()
            .any(|line| line.contains("is ready"))
    };
    until("it has started", swept).await;
}

async fn is_home(world: &World, dir: &Path) {
    until("the work is home", async || {
        world.entry("s")["unsynced"].is_null()
    })
    .await;
    assert_eq!(git(dir, &["show", "opencode/1:f"]), "1\n");
    let entry = world.entry("s");
    assert_eq!(entry["worktree"], json!(dir));
    assert!(entry["movedFrom"].is_null(), "{entry}");
}

#[test]
fn the_work_of_a_project_that_was_renamed_comes_home_where_it_is_now() {
    run(async {
        let world = left().await;
        let now = beside(&world, "renamed");
        fs::rename(world.project.path(), &now).expect("renamed");
        let open = open_in(&world, &now).await;
        is_home(&world, &now).await;
        until("the user is told", async || !open.toasts().is_empty()).await;
        assert_eq!(open.toasts(), ["Work came home"]);
        // The session goes on there, from what the depot had of it.
        let output = open
            .bash("s", "cat f; echo 2 >> f; git log --format=%s | head -1")
            .await;
        assert!(output.starts_with("1\n"), "{output}");
        open.ok("s", "sync", json!({})).await;
        assert_eq!(git(&now, &["show", "opencode/1:f"]), "1\n2\n");
        let depots = fs::read_dir(world.store_path().parent().expect("a directory"));
        let depots = depots.expect("it is there").flatten();
        let depots =
            depots.filter(|entry| entry.path().extension().is_some_and(|end| end == "git"));
        assert_eq!(depots.count(), 1);
        fs::remove_dir_all(&now).expect("removed");
    });
}

#[test]
fn a_process_that_dies_while_it_follows_a_move_costs_nothing() {
    run(async {
        for n in 1.. {
            let world = left().await;
            let now = beside(&world, "renamed");
            fs::rename(world.project.path(), &now).expect("renamed");
            let host = world.host(&world.local.url);
            host.pid.set(Some(crate::world::DEAD + 2));
            host.skip_ms.set(60_000);
            let died = std::cell::RefCell::new(host.die_at(n));
            let worktree = now.to_string_lossy().into_owned();
            let init = plugin::Init {
                directory: worktree.clone(),
                worktree,
                ..world.init(json!({}))
            };
            let _dying = world.open_as(init, host).await;
            let has_died = || died.borrow_mut().try_recv().is_ok();
            let dead = std::cell::Cell::new(false);
            until("it is over, one way or the other", async || {
                dead.set(dead.get() || has_died());
                dead.get() || world.entry("s")["unsynced"].is_null()
            })
            .await;
            let entry = world.entry("s");
            let has_moved = entry["worktree"] == json!(now) && entry["movedFrom"].is_null();
            let _next = open_in(&world, &now).await;
            is_home(&world, &now).await;
            fs::remove_dir_all(&now).expect("removed");
            if has_moved {
                break;
            }
            assert!(n < 40, "it never gets through");
        }
    });
}

#[test]
fn a_link_at_the_old_place_leads_home() {
    run(async {
        let world = left().await;
        let now = beside(&world, "linked");
        fs::rename(world.project.path(), &now).expect("renamed");
        std::os::unix::fs::symlink(&now, world.project.path()).expect("linked");
        let _open = open_in(&world, &now).await;
        is_home(&world, &now).await;
        fs::remove_file(world.project.path()).expect("removed");
        fs::rename(&now, world.project.path()).expect("renamed");
    });
}

#[test]
fn the_work_of_a_linked_worktree_that_was_moved_or_removed_comes_home_into_its_repository() {
    run(async {
        for moved in [true, false] {
            let world = World::new();
            let project = world.project.path();
            let (linked, now) = (beside(&world, "linked"), beside(&world, "moved"));
            let path = linked.to_string_lossy();
            git(project, &["worktree", "add", "--quiet", "--detach", &path]);
            // The main worktree has sessions of its own.
            world.open().await.bash("main", "true").await;
            let host = world.host(&world.local.url);
            host.pid.set(Some(crate::world::DEAD));
            let init = plugin::Init {
                directory: path.clone().into_owned(),
                worktree: path.clone().into_owned(),
                ..world.init(json!({}))
            };
            let open = world.open_as(init, host).await;
            open.bash("s", "echo 1 > f").await;
            let place = match moved {
                true => {
                    git(
                        project,
                        &["worktree", "move", &path, &now.to_string_lossy()],
                    );
                    now.clone()
                }
                false => {
                    git(project, &["worktree", "remove", "--force", &path]);
                    project.to_path_buf()
                }
            };
            let number = world.entry("s")["branchNumber"].clone();
            let _open = open_in(&world, &place).await;
            until("the work is home", async || {
                world.entry("s")["unsynced"].is_null()
            })
            .await;
            let file = format!("opencode/{number}:f");
            assert_eq!(git(project, &["show", &file]), "1\n");
            let _ = fs::remove_dir_all(&now);
        }
    });
}

#[test]
fn what_may_be_anothers_is_not_taken_and_told_once() {
    run(async {
        for case in [
            "clone",
            "known clone",
            "no project",
            "volume",
            "empty volume",
        ] {
            let mut world = left().await;
            let old = world.project.path().to_path_buf();
            let now = beside(&world, "other");
            let path = now.to_string_lossy().into_owned();
            git(&old, &["clone", "--quiet", ".", &path]);
            if case == "known clone" {
                let open = open_in(&world, &now).await;
                open.bash("other", "true").await;
                open.ok("other", "sync", json!({})).await;
            }
            let mut entry = world.store();
            let volume = beside(&world, "volume");
            match case {
                "clone" => {}
                "volume" | "empty volume" => {
                    entry["sessions"]["s"]["worktree"] = json!(volume.join("project"));
                    fs::write(world.store_path(), entry.to_string()).expect("written");
                    if case == "empty volume" {
                        fs::create_dir(&volume).expect("made");
                    }
                }
                _ => fs::rename(&old, beside(&world, "away")).expect("renamed"),
            }
            if case == "no project" {
                let before = world.store_path();
                world.project_id = "global".into();
                fs::rename(before, world.store_path()).expect("renamed");
            }
            let told = ["Work not home"].map(str::to_string);
            let expected = if case == "clone" { &[][..] } else { &told[..] };
            let open = open_in(&world, &now).await;
            let is_told = async || open.toasts() == expected;
            until(case, is_told).await;
            settled(&open).await;
            assert_eq!(open.toasts(), expected, "{case}");
            let again = open_in(&world, &now).await;
            settled(&again).await;
            assert_eq!(again.toasts(), [] as [String; 0], "{case}");
            let entry = world.entry("s");
            assert!(entry["unsynced"].is_object(), "{case}: {entry}");
            assert_ne!(entry["worktree"], json!(now), "{case}");
            for dir in [now, beside(&world, "away"), volume] {
                let _ = fs::remove_dir_all(dir);
            }
        }
    });
}
