//! What git complains of in old repositories comes home with a word about it, and what this machine has
//! already is nobody's fault.

use crate::world::*;
use git_bridge::Error;
use testkit::run;

/// What is sent, and the message id that git has for it.
const ODD: &[(&str, Make)] = &[
    ("badTimezone", |w| {
        let head = "author a <a> 1 +051800\ncommitter a <a> 1 +051800\n";
        w.raw_commit(head, b"m\n")
    }),
    ("missingEmail", |w| {
        let head = format!("author a 1 +0000\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("badEmail", |w| {
        let head = format!("author a <a 1 +0000\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("badName", |w| {
        let head = format!("author a> <a> 1 +0000\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("missingNameBeforeEmail", |w| {
        let head = format!("author <a> 1 +0000\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("missingSpaceBeforeEmail", |w| {
        let head = format!("author a<a> 1 +0000\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("missingSpaceBeforeDate", |w| {
        let head = format!("author a <a>1 +0000\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("badDate", |w| {
        let head = format!("author a <a> yesterday +0000\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("zeroPaddedDate", |w| {
        let head = format!("author a <a> 01 +0000\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("multipleAuthors", |w| {
        let head = format!("author a <a> 1 +0000\nauthor {IDENTITY}\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\n")
    }),
    ("nulInCommit", |w| {
        let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
        w.raw_commit(&head, b"m\0n\n")
    }),
    ("zeroPaddedFilemode", |w| {
        w.with_tree(&[("0100644", b"f", &w.blob())])
    }),
    ("zeroPaddedFilemode", |w| {
        let dir = w.tree(&[("100644", b"x", &w.blob())]);
        let root = w.tree(&[("040000", b"f", &dir)]);
        let tip = w.commit(&root, &[&w.base]);
        w.sent(&tip, &[&dir, &root, &tip, &w.blob()])
    }),
    ("gitattributesLineLength", |w| {
        let line = format!("*.x {}\n", "a".repeat(2_400));
        let attributes = w.object("blob", line.as_bytes());
        w.with_tree(&[("100644", b".gitattributes", &attributes)])
    }),
    ("gitattributesBlob", |w| {
        let dir = w.tree(&[("100644", b"x", &w.blob())]);
        let root = w.tree(&[("40000", b".gitattributes", &dir)]);
        let tip = w.commit(&root, &[&w.base]);
        w.sent(&tip, &[&dir, &root, &tip, &w.blob()])
    }),
];

#[test]
fn what_old_repositories_have_comes_home_and_is_told() {
    for (id, make) in ODD {
        let world = World::new();
        let sent = make(&world);
        let fsck = ["fsck", "--strict", "--no-dangling"];
        let (is_fine, said) = try_git(&world.sandbox(), &fsck);
        assert!(!is_fine && said.contains(id), "{id}: {said}");
        run(async {
            let told = world.told(&sent).await;
            let told = told.unwrap_or_else(|error| panic!("{id}: {error}"));
            assert_eq!(told.len(), 1, "{id}: {told:?}");
            assert!(told[0].contains(id), "{told:?}");
            let incoming = world.receive(&sent).await.expect(id);
            let landed = world.land(&incoming, None).await.expect(id);
            assert_eq!(landed.branch, BRANCH, "{id}");
            assert_eq!(git(&world.path(), &["rev-parse", BRANCH]), sent.tip);
            // What is here now is not told again.
            assert!(world.told(&sent).await.expect(id).is_empty());
            assert!(world.told(&world.good("good")).await.expect(id).is_empty());
        });
    }
}

#[test]
fn a_message_of_git_that_is_odd_and_one_that_is_dangerous_make_a_refusal() {
    let world = World::new();
    run(async {
        let odd = world
            .raw_commit("author a 1 +0000\ncommitter a 1 +0000\n", b"m\n")
            .tip;
        let blob = world.blob();
        let tree = world.tree(&[("100644", b".git", &blob)]);
        let tip = world.commit(&tree, &[&odd]);
        let f = world.tree(&[("100644", b"f", &blob)]);
        let sent = world.sent(&tip, &[&odd, &f, &blob, &tree, &tip]);
        let error = world.receive(&sent).await;
        assert!(matches!(error, Err(Error::Refused(_))), "{error:?}");
    });
}

#[test]
fn what_this_machine_has_already_is_not_the_sandboxs_fault() {
    type Odd = fn(&World) -> String;
    let cases: &[(&str, Odd)] = &[
        ("hasDotgit", |w| w.tree(&[("100644", b".GIT", &w.blob())])),
        ("treeNotSorted", |w| {
            w.tree(&[("100644", b"g", &w.blob()), ("100644", b"f", &w.blob())])
        }),
        ("gitmodulesUrl", |w| {
            let text = b"[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch x\n";
            let file = w.object("blob", text);
            w.tree(&[("100644", b".gitmodules", &file)])
        }),
    ];
    for (id, make) in cases {
        for has in [true, false] {
            let world = World::new();
            let tree = make(&world);
            let old = world.commit(&tree, &[]);
            let list = git(&world.sandbox(), &["rev-list", "--objects", &old]);
            let objects: Vec<&str> = list
                .lines()
                .filter_map(|line| line.split(' ').next())
                .collect();
            if has {
                // A history of the user's that the sandbox fetched, too.
                let pack = world.pack(&objects);
                feed(&world.path(), &["unpack-objects", "-q"], &pack);
                git(&world.path(), &["branch", "old", &old]);
            }
            let (_, new) = world.work("new");
            let root = git(
                &world.sandbox(),
                &["rev-parse", &format!("{}^{{tree}}", new[2])],
            );
            let tip = world.commit(&root, &[&world.base, &old]);
            let all: Vec<&str> = objects
                .into_iter()
                .chain([&*new[0], &new[1], &tip])
                .collect();
            let sent = world.sent(&tip, &all);
            run(async {
                let received = world.receive(&sent).await;
                assert_eq!(received.is_ok(), has, "{id}: {received:?}");
            });
        }
    }
}

#[test]
fn every_message_of_this_machines_git_is_decided() {
    let table = include_str!("../../src/fsck.rs");
    let known = git(std::path::Path::new("/"), &["help", "--config"]);
    let known = known.lines().filter_map(|line| line.strip_prefix("fsck."));
    let open: Vec<&str> = known
        .filter(|id| *id != "skipList" && !id.contains('<'))
        .filter(|id| !table.contains(&format!("`{id}`")) && !table.contains(&format!("\"{id}\"")))
        .collect();
    assert!(open.is_empty(), "{open:?}");
}
