//! Where the work lands.

use crate::world::*;
use git_bridge::Error;
use std::fs;
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
fn bytes_modes_and_names_come_home_as_they_are_whatever_the_host_does_with_its_own() {
    let changes: &[Change] = &[
        ("crlf", Some((FILE, b"1\r\n2\r\n"))),
        ("lf", Some((FILE, b"1\n2\n"))),
        ("mixed", Some((FILE, b"1\r\n2\n3\r"))),
        ("run", Some(("100755", b"#!/bin/sh\n"))),
        ("way", Some((LINK, b"lf"))),
        ("e\u{cc}\u{81}", Some((FILE, b"not composed\n"))),
        ("\u{c3}\u{a9}", Some((FILE, b"composed\n"))),
        // No names on Windows, and one that is another file's there.
        ("aux", Some((FILE, b"1\n"))),
        ("a b.", Some((FILE, b"2\n"))),
        ("c:d", Some((FILE, b"3\n"))),
    ];
    for settings in [
        &[
            ("core.autocrlf", "true"),
            ("core.fileMode", "false"),
            ("core.symlinks", "false"),
        ][..],
        &[("core.autocrlf", "input"), ("core.eol", "crlf")],
        &[("core.precomposeUnicode", "true")],
    ] {
        let world = World::new();
        let attributes = world.path().join(".git/info/attributes");
        fs::create_dir_all(attributes.parent().expect("one")).expect("made");
        fs::write(attributes, "* text=auto eol=crlf\n").expect("written");
        for (name, value) in settings {
            git(&world.path(), &["config", name, value]);
        }
        run(async {
            let sent = world.change(&world.base, changes);
            world.home(&sent, None).await.expect("lands");
            let tree = |git_dir: &std::path::Path, commit: &str| {
                let list = ["ls-tree", "-r", "-z", commit];
                let output = std::process::Command::new("git")
                    .args(list)
                    .current_dir(git_dir)
                    .output();
                output.expect("git runs").stdout
            };
            let found = tree(&world.path(), BRANCH);
            assert_eq!(found, tree(&world.sandbox(), &sent.tip), "{settings:?}");
            assert!(found.windows(6).any(|mode| mode == b"100755"));
            world.check("settings");
        });
    }
}

#[test]
fn a_branch_in_letters_of_another_case_has_the_name_and_the_number() {
    let world = World::new();
    git(&world.path(), &["branch", "OpenCode/1"]);
    git(&world.path(), &["branch", "OPENCODE/7-x"]);
    run(async {
        let sent = world.good("f");
        let error = world.home(&sent, None).await.expect_err("it is taken");
        assert!(matches!(error, Error::Taken(_)), "{error:?}");
        let last = world.project().last_number("opencode/").await;
        assert_eq!(last.expect("counted"), 7);
        // Where both are there, each is its own.
        git(&world.path(), &["branch", "-m", "OpenCode/1", "mine"]);
        world.home(&sent, None).await.expect("lands");
        git(&world.path(), &["branch", "-m", "mine", "OpenCode/1"]);
        let second = world.change(&sent.tip, &[("f", Some((FILE, b"2\n")))]);
        let landed = world.home(&second, Some(&sent.tip)).await.expect("lands");
        assert_eq!(landed.branch, BRANCH);
        world.check("another case");
    });
}

#[test]
fn files_that_differ_only_in_case_are_told_where_one_of_them_has_a_place() {
    for (ignores, changes, told) in [
        (
            "true",
            &[
                ("F", Some((FILE, &b"1\n"[..]))),
                ("f", Some((FILE, b"2\n"))),
            ][..],
            Some("F and f"),
        ),
        (
            "true",
            &[("A.txt", Some((FILE, b"1\n")))],
            Some("A.txt and a.txt"),
        ),
        (
            "true",
            &[("Dir/b.txt", Some((FILE, b"1\n")))],
            Some("Dir/b.txt and dir/b.txt"),
        ),
        (
            "true",
            &[
                ("\u{c3}\u{84}", Some((FILE, b"1\n"))),
                ("\u{c3}\u{a4}", Some((FILE, b"2\n"))),
            ],
            Some("Ä and ä"),
        ),
        (
            "true",
            &[("a.txt", Some((FILE, b"1\n"))), ("F", Some((FILE, b"2\n")))],
            None,
        ),
        (
            "true",
            &[("A.txt", Some((FILE, b"1\n"))), ("a.txt", None)],
            None,
        ),
        (
            "false",
            &[("F", Some((FILE, b"1\n"))), ("f", Some((FILE, b"2\n")))],
            None,
        ),
    ] {
        let world = World::new();
        git(&world.path(), &["config", "core.ignoreCase", ignores]);
        run(async {
            let sent = world.change(&world.base, changes);
            let landed = world.home(&sent, None).await.expect("lands");
            let notes = landed.notes.join("\n");
            match told {
                Some(pair) => assert!(notes.starts_with(&format!("{pair} differ only")), "{notes}"),
                None => assert_eq!(notes, "", "{changes:?}"),
            }
            // Whatever has a place here, the branch has all.
            for (path, change) in changes {
                if let Some((_, content)) = change {
                    let path: String =
                        String::from_utf8_lossy(&path.chars().map(|c| c as u8).collect::<Vec<_>>())
                            .into();
                    let text = git(&world.path(), &["show", &format!("{BRANCH}:{path}")]);
                    assert_eq!(text.as_bytes(), content.trim_ascii_end(), "{path}");
                }
            }
        });
    }
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
