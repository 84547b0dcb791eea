//! Where the work lands.

use crate::world::*;
use std::fs;
use sync::Error;
use testkit::{run, write_tree};

#[test]
fn the_work_lands_in_a_repository_with_refs_in_tables() {
    let dir = tempfile::tempdir().expect("a directory");
    let init = ["init", "--quiet", "--ref-format=reftable"];
    if !try_git(dir.path(), &init).0 {
        return testkit::skip(
            "the_work_lands_in_a_repository_with_refs_in_tables",
            "this git knows no reftable, which came with 2.45",
        );
    }
    lands(&[("with refs in tables", || {
        World::of(&[
            "init",
            "--quiet",
            "--ref-format=reftable",
            "--initial-branch=main",
            "project",
        ])
    })]);
}

#[test]
fn the_work_lands_in_every_kind_of_repository() {
    lands(&[
        ("a plain one", World::new),
        ("of sha256", || {
            World::of(&[
                "init",
                "--quiet",
                "--object-format=sha256",
                "--initial-branch=main",
                "project",
            ])
        }),
        ("detached", || {
            let world = World::new();
            git(&world.path(), &["checkout", "--quiet", "--detach"]);
            world
        }),
        ("shallow", || {
            let dir = tempfile::tempdir().expect("a directory");
            git(
                dir.path(),
                &["init", "--quiet", "--initial-branch=main", "origin"],
            );
            for n in 0..3 {
                write_tree(&dir.path().join("origin"), &format!("//- a.txt\n{n}\n"));
                git(&dir.path().join("origin"), &["add", "."]);
                git(
                    &dir.path().join("origin"),
                    &["commit", "--quiet", "-m", "n"],
                );
            }
            let url = format!("file://{}/origin", dir.path().display());
            git(
                dir.path(),
                &["clone", "--quiet", "--depth=1", &url, "project"],
            );
            World::around(dir)
        }),
        ("without a commit", || {
            let dir = tempfile::tempdir().expect("a directory");
            git(
                dir.path(),
                &["init", "--quiet", "--initial-branch=main", "project"],
            );
            write_tree(&dir.path().join("project"), "//- a.txt\n1\n");
            World::around(dir)
        }),
        ("a linked worktree", || {
            let dir = tempfile::tempdir().expect("a directory");
            git(
                dir.path(),
                &["init", "--quiet", "--initial-branch=main", "origin"],
            );
            let origin = dir.path().join("origin");
            write_tree(&origin, "//- a.txt\n1\n");
            git(&origin, &["add", "."]);
            git(&origin, &["commit", "--quiet", "-m", "n"]);
            git(
                &origin,
                &["worktree", "add", "--quiet", "-b", "linked", "../project"],
            );
            World::around(dir)
        }),
        ("packed", || {
            let world = World::new();
            git(&world.path(), &["gc", "--quiet"]);
            world
        }),
    ]);
}

type Make = fn() -> World;

/// Brings work home twice, to each of these.
fn lands(cases: &[(&str, Make)]) {
    for (case, make) in cases {
        let world = make();
        run(async {
            let head =
                |w: &World| try_git(&w.path(), &["rev-parse", "--symbolic-full-name", "HEAD"]);
            let index = || {
                let path = ["rev-parse", "--path-format=absolute", "--git-path", "index"];
                fs::read(git(&world.path(), &path)).ok()
            };
            let before = (head(&world), index());
            let first = world.change(&world.base, &[("f", Some((FILE, b"1\n")))]);
            let landed = world.home(&first, None).await;
            let landed = landed.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(landed.branch, BRANCH, "{case}");
            let second = world.change(&first.tip, &[("f", Some((FILE, b"2\n")))]);
            let landed = world.home(&second, Some(&landed.commit)).await;
            let landed = landed.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(
                (landed.branch.as_str(), &landed.files[..]),
                (BRANCH, &["f".to_string()][..])
            );
            assert_eq!(
                git(&world.path(), &["show", &format!("{BRANCH}:f")]),
                "2",
                "{case}"
            );
            assert_eq!((head(&world), index()), before, "{case}");
            let log = git(&world.path(), &["reflog", "show", BRANCH]);
            assert_eq!(log.lines().count(), 2, "{case}: {log}");
            assert!(log.contains("work from the sandbox"), "{case}: {log}");
            world.check(case);
        });
    }
}

#[test]
fn a_branch_that_is_checked_out_anywhere_is_left_alone() {
    let world = World::new();
    run(async {
        let first = world.change(&world.base, &[("f", Some((FILE, b"1\n")))]);
        let landed = world.home(&first, None).await.expect("lands");
        git(
            &world.path(),
            &["worktree", "add", "--quiet", "../linked", BRANCH],
        );
        let linked = files(&world.dir.path().join("linked"));
        let second = world.change(&first.tip, &[("f", Some((FILE, b"2\n")))]);
        let landed = world
            .home(&second, Some(&landed.commit))
            .await
            .expect("lands");
        assert_eq!(landed.branch, "opencode/1-2");
        assert!(landed.beside.expect("a reason").contains("checked out"));
        assert_eq!(git(&world.path(), &["rev-parse", BRANCH]), first.tip);
        assert_eq!(files(&world.dir.path().join("linked")), linked);
        let status = ["status", "--porcelain"];
        assert_eq!(git(&world.dir.path().join("linked"), &status), "");
    });
}

#[test]
fn a_branch_whose_name_is_in_the_way_is_named_and_the_work_waits() {
    let world = World::new();
    git(&world.path(), &["branch", "opencode"]);
    run(async {
        let sent = world.good("f");
        let before = git(&world.path(), &["for-each-ref"]);
        let error = world.home(&sent, None).await.expect_err("it is in the way");
        assert!(matches!(error, Error::Branch { .. }), "{error:?}");
        let said = error.to_string();
        assert!(
            said.contains("opencode/1") && said.contains("branchPrefix"),
            "{said}"
        );
        assert_eq!(git(&world.path(), &["for-each-ref"]), before);
        git(&world.path(), &["branch", "-m", "opencode", "mine"]);
        let landed = world.home(&sent, None).await.expect("lands");
        assert_eq!(landed.branch, BRANCH);
        world.check("in the way");
    });
}

#[test]
fn a_branch_that_somebody_moved_on_stays_and_one_that_the_agent_took_back_is_kept_beside() {
    let world = World::new();
    run(async {
        let first = world.change(&world.base, &[("f", Some((FILE, b"1\n")))]);
        let second = world.change(&first.tip, &[("f", Some((FILE, b"2\n")))]);
        world.home(&first, None).await.expect("lands");
        world.home(&second, Some(&first.tip)).await.expect("lands");
        // A slower process of the same session comes with what it has from before.
        for last in [None, Some(world.base.as_str())] {
            let landed = world.home(&first, last).await.expect("lands");
            assert_eq!((landed.branch.as_str(), &landed.beside), (BRANCH, &None));
            assert_eq!(git(&world.path(), &["rev-parse", BRANCH]), second.tip);
        }
        // The agent itself goes back: both states are kept.
        let landed = world.home(&first, Some(&second.tip)).await.expect("lands");
        assert_eq!(landed.branch, "opencode/1-2");
        assert_eq!(git(&world.path(), &["rev-parse", BRANCH]), second.tip);
        assert_eq!(
            git(&world.path(), &["rev-parse", "opencode/1-2"]),
            first.tip
        );
        world.check("taken back");
    });
}

#[test]
fn what_the_depot_does_not_need_goes_once_there_is_enough_of_it() {
    let world = World::new();
    let objects = world.depot().join("objects");
    // More than git's own estimate of five thousand: it counts one directory of 256.
    for n in 0..30 {
        let name = format!("{n:038x}");
        fs::create_dir_all(objects.join("17")).expect("made");
        fs::write(objects.join("17").join(name), "").expect("written");
    }
    let kept = files(&objects).len();
    run(async {
        world.project().forget("another").await;
    });
    let left = files(&objects)
        .keys()
        .any(|path| path.extension().is_some_and(|e| e == "pack"));
    assert!(
        left || files(&objects).len() < kept,
        "nothing was collected"
    );
}
