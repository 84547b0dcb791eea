//! Changes that are put into the worktree, or are not.

use crate::world::*;
use git_bridge::Applied;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use testkit::{run, write_tree};

/// What the user has, what the agent changed, and whether it may be applied.
type Application = (&'static str, fn(&World), &'static [Change], bool);

const APPLIED: &[Application] = &[
    (
        "edits of every kind",
        |_| {},
        &[
            ("a.txt", Some(("100755", b"one\nTWO\n"))),
            ("dir/b.txt", None),
            ("new/dir/c", Some((FILE, b"c\n"))),
            ("binary", Some((FILE, b"\0\x01\xff"))),
            ("no end", Some((FILE, b"x"))),
            ("-d", Some((FILE, b"x\n"))),
            ("link", Some((LINK, b"/etc/passwd"))),
        ],
        true,
    ),
    (
        "while the user's index is locked",
        |w| fs::write(w.path().join(".git/index.lock"), "").expect("written"),
        &[("a.txt", Some((FILE, b"1\n")))],
        true,
    ),
    (
        "beside a change of the user's in another file",
        |w| write_tree(&w.path(), "//- dir/b.txt\nthe user's\n"),
        &[("a.txt", Some((FILE, b"1\n")))],
        true,
    ),
    (
        "two names in two cases",
        |_| {},
        &[("F", Some((FILE, b"1\n"))), ("f", Some((FILE, b"2\n")))],
        true,
    ),
    (
        "two names in two cases, where the file system does not tell them apart",
        |w| drop(git(&w.path(), &["config", "core.ignoreCase", "true"])),
        &[("F", Some((FILE, b"1\n"))), ("f", Some((FILE, b"2\n")))],
        false,
    ),
    (
        "a file under the same name in another case, there",
        |w| drop(git(&w.path(), &["config", "core.ignoreCase", "true"])),
        &[("A.txt", Some((FILE, b"1\n"))), ("a.txt", None)],
        false,
    ),
    (
        "names that differ in more than case, there",
        |w| drop(git(&w.path(), &["config", "core.ignoreCase", "true"])),
        &[("F", Some((FILE, b"1\n"))), ("g", Some((FILE, b"2\n")))],
        true,
    ),
    (
        "a file behind a link that leads out",
        |w| symlink(w.outside(), w.path().join("way")).expect("linked"),
        &[("way/x", Some((FILE, b"x\n")))],
        false,
    ),
    (
        "a directory that the user made a link that leads out",
        |w| {
            fs::write(w.outside().join("b.txt"), "b\n").expect("written");
            fs::remove_dir_all(w.path().join("dir")).expect("removed");
            symlink(w.outside(), w.path().join("dir")).expect("linked");
        },
        &[("dir/b.txt", Some((FILE, b"out\n")))],
        false,
    ),
    (
        "a file that the user made a link that leads out",
        |w| {
            fs::write(w.outside().join("a"), "one\ntwo\n").expect("written");
            fs::remove_file(w.path().join("a.txt")).expect("removed");
            symlink(w.outside().join("a"), w.path().join("a.txt")).expect("linked");
        },
        &[("a.txt", Some((FILE, b"out\n")))],
        false,
    ),
    (
        "a link and a file behind it, one after the other",
        |w| symlink(w.outside(), w.path().join("way")).expect("linked"),
        &[
            ("a.txt", Some((LINK, b"../outside"))),
            ("way/x", Some((FILE, b"x\n"))),
        ],
        false,
    ),
    (
        "attributes",
        |_| {},
        &[(".gitattributes", Some((FILE, b"* filter=planted\n")))],
        false,
    ),
    (
        "attributes further down, in other letters",
        |_| {},
        &[("dir/.GitAttributes", Some((FILE, b"* filter=planted\n")))],
        false,
    ),
    (
        "a file of a filter",
        |w| {
            fs::write(
                w.path().join(".git/info/attributes"),
                "*.f filter=planted\n",
            )
            .expect("written")
        },
        &[("x.f", Some((FILE, b"x\n")))],
        false,
    ),
    (
        "a file of a filter, with a name that is no text",
        |w| {
            fs::write(
                w.path().join(".git/info/attributes"),
                b"\xff filter=planted\n",
            )
            .expect("written")
        },
        &[("\u{ff}", Some((FILE, b"x\n")))],
        false,
    ),
    (
        "a deletion of a file that the user changed",
        |w| write_tree(&w.path(), "//- a.txt\nthe user's\n"),
        &[("a.txt", None)],
        false,
    ),
    (
        "a change in a line that the user changed, and others beside",
        |w| write_tree(&w.path(), "//- a.txt\nthe user's\n"),
        &[
            ("a.txt", Some((FILE, b"one\nTWO\n"))),
            ("0", Some((FILE, b"before\n"))),
            ("z", Some((FILE, b"after\n"))),
        ],
        false,
    ),
    (
        "a new file where the user has one",
        |w| write_tree(&w.path(), "//- mine\nthe user's\n"),
        &[("mine", Some((FILE, b"the agent's\n")))],
        false,
    ),
    (
        "a new file where the user has one that git ignores",
        |w| {
            write_tree(&w.path(), "//- mine\nthe user's\n");
            fs::write(w.path().join(".git/info/exclude"), "mine\n").expect("written");
        },
        &[("mine", Some((FILE, b"the agent's\n")))],
        false,
    ),
    (
        "a file where the user has a directory",
        |w| write_tree(&w.path(), "//- mine/x\nthe user's\n"),
        &[("mine", Some((FILE, b"the agent's\n")))],
        false,
    ),
    (
        "a directory where the user has a file",
        |w| write_tree(&w.path(), "//- mine\nthe user's\n"),
        &[("mine/x", Some((FILE, b"the agent's\n")))],
        false,
    ),
];

#[test]
fn a_change_is_applied_whole_or_not_at_all_and_nothing_of_the_users_is_lost() {
    for (case, prepare, changes, expected) in APPLIED {
        let world = World::new();
        world.outside();
        prepare(&world);
        run(async {
            let sent = world.change(&world.base, changes);
            let incoming = world.receive(&sent).await.expect("received");
            let (before, outside) = (world.users(), files(&world.outside()));
            let applied = world.project().apply(&world.base, &incoming.tip).await;
            let applied = applied.unwrap_or_else(|error| panic!("{case}: {error}"));
            let changed = difference(&before, &world.users());
            assert_eq!(files(&world.outside()), outside, "{case}");
            match applied {
                Applied::Yes => {
                    assert!(expected, "{case}: applied");
                    let mut wanted: Vec<PathBuf> = changes
                        .iter()
                        .map(|(path, _)| world.path().join(path))
                        .collect();
                    wanted.sort();
                    let mut changed = changed;
                    changed.sort();
                    changed.dedup();
                    assert_eq!(changed, wanted, "{case}");
                    let again = world.project().apply(&world.base, &incoming.tip).await;
                    assert_eq!(again.expect("looks"), Applied::Yes, "{case}: repeated");
                }
                Applied::No(reason) => {
                    assert!(!expected, "{case}: {reason}");
                    assert!(changed.is_empty(), "{case}: {changed:?}");
                    assert!(!reason.is_empty());
                }
            }
            let _ = fs::remove_file(world.path().join(".git/index.lock"));
            world.check(case);
        });
    }
}

#[test]
fn a_change_of_more_bytes_than_git_should_hold_in_memory_is_not_applied() {
    let world = World::new();
    let before = world.users();
    let content: &'static [u8] = vec![0; 49 * 1024 * 1024].leak();
    run(async {
        let sent = world.change(&world.base, &[("large", Some((FILE, content)))]);
        let incoming = world.receive(&sent).await.expect("received");
        let applied = world.project().apply(&world.base, &incoming.tip).await;
        assert_eq!(
            applied.expect("looks"),
            Applied::No(
                "the changed files have 51 MB, and at most 50 MB are put there at once".into()
            )
        );
        assert!(difference(&before, &world.users()).is_empty());
        // As it was before counts, too.
        let sent = world.change(&incoming.tip, &[("large", None)]);
        let deleted = world.receive(&sent).await.expect("received");
        let applied = world.project().apply(&incoming.tip, &deleted.tip).await;
        assert!(matches!(applied.expect("looks"), Applied::No(_)));
    });
}
