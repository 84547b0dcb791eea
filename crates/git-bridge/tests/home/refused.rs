//! Bundles that are refused.

use crate::world::*;
use git_bridge::Error;
use std::path::PathBuf;
use testkit::run;

fn flipped(sent: Sent, at: impl Fn(usize) -> usize) -> Sent {
    let mut bytes = sent.bundle.expect("a bundle");
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    Sent {
        bundle: Some(bytes),
        ..sent
    }
}

fn cut(sent: Sent, to: impl Fn(usize) -> usize) -> Sent {
    let mut bytes = sent.bundle.expect("a bundle");
    bytes.truncate(to(bytes.len()));
    Sent {
        bundle: Some(bytes),
        ..sent
    }
}

fn gitmodules(world: &World, content: &str) -> Sent {
    let blob = world.object("blob", content.as_bytes());
    world.with_tree(&[("100644", b".gitmodules", &blob)])
}

const REFUSED: &[(&str, Make)] = &[
    ("an empty file", |w| cut(w.good("x"), |_| 0)),
    ("half a head", |w| cut(w.good("x"), |_| 30)),
    ("no pack", |w| {
        let head = w.head(&[(&w.work("x").0, "refs/opencode/out/0")]);
        cut(w.good("x"), move |_| head.len())
    }),
    ("half a pack", |w| cut(w.good("x"), |all| all - 60)),
    ("no trailer", |w| cut(w.good("x"), |all| all - 20)),
    ("half a trailer", |w| cut(w.good("x"), |all| all - 3)),
    ("a flipped signature", |w| flipped(w.good("x"), |_| 3)),
    ("a flipped byte in the pack", |w| {
        flipped(w.good("x"), |all| all - 60)
    }),
    ("a flipped byte in the trailer", |w| {
        flipped(w.good("x"), |all| all - 1)
    }),
    ("something behind the pack", |w| {
        let mut sent = w.good("x");
        sent.bundle.as_mut().expect("a bundle").extend([0; 40]);
        sent
    }),
    ("another commit in refs", |w| {
        w.headed(w.head(&[(&w.base, "refs/opencode/out/0")]))
    }),
    ("no refs", |w| w.headed(w.head(&[]))),
    ("a ref main beside", |w| {
        let tip = w.work("headed").0;
        w.headed(w.head(&[(&tip, "refs/opencode/out/0"), (&tip, "refs/heads/main")]))
    }),
    ("a ref HEAD", |w| {
        w.headed(w.head(&[(&w.work("headed").0, "HEAD")]))
    }),
    ("a ref that leads out", |w| {
        w.headed(w.head(&[(&w.work("headed").0, "refs/opencode/out/../../heads/main")]))
    }),
    ("version 3 with a filter", |w| {
        let tip = w.work("headed").0;
        let head = format!("# v3 git bundle\n@filter=blob:none\n{tip} refs/opencode/out/0\n\n");
        w.headed(head.into_bytes())
    }),
    ("another hash in version 3", |w| {
        let tip = w.work("headed").0;
        let head = format!("# v3 git bundle\n@object-format=sha256\n{tip} refs/opencode/out/0\n\n");
        w.headed(head.into_bytes())
    }),
    ("a tip that is a blob", |w| w.sent(&w.blob(), &[&w.blob()])),
    ("a tip that is a tree", |w| {
        let tree = w.tree(&[("100644", b"f", &w.blob())]);
        w.sent(&tree, &[&tree, &w.blob()])
    }),
    ("a tip that is a tag", |w| {
        let commit = w.work("x");
        let tag = format!(
            "object {}\ntype commit\ntag t\ntagger {IDENTITY}\n\nm\n",
            commit.0
        );
        let tag = w.object("tag", tag.as_bytes());
        let objects: Vec<&str> = commit.1.iter().map(String::as_str).chain([&*tag]).collect();
        w.sent(&tag, &objects)
    }),
    ("a tip that nobody has", |_| Sent {
        tip: "1234567890123456789012345678901234567890".into(),
        branches: Vec::new(),
        bundle: None,
    }),
    ("a tip that is no hash", |_| Sent {
        tip: "main".into(),
        branches: Vec::new(),
        bundle: None,
    }),
    ("a tip that is an option", |_| Sent {
        tip: "--all".into(),
        branches: Vec::new(),
        bundle: None,
    }),
    ("a tip of the other hash's length", |_| Sent {
        tip: "1".repeat(64),
        branches: Vec::new(),
        bundle: None,
    }),
    ("a branch that is no hash", |w| Sent {
        branches: vec![("x".into(), "HEAD".into())],
        ..w.good("x")
    }),
    ("a branch that nobody has", |w| Sent {
        branches: vec![("x".into(), "1".repeat(40))],
        ..w.good("x")
    }),
    ("too many branches", |w| {
        let sent = w.good("x");
        let branches = (0..10_000).map(|n| (format!("b{n}"), sent.tip.clone()));
        Sent {
            branches: branches.collect(),
            ..sent
        }
    }),
    ("a missing blob", |w| {
        let (tip, objects) = w.work("missing blob");
        w.sent(&tip, &[&objects[1], &objects[2]])
    }),
    ("a missing tree", |w| {
        let (tip, objects) = w.work("missing tree");
        w.sent(&tip, &[&objects[0], &objects[2]])
    }),
    ("a missing parent", |w| {
        let parent = w.work("missing parent").0;
        let (tip, objects) = w.work_on(&parent, "y");
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        w.sent(&tip, &objects)
    }),
    (".git", |w| w.with_tree(&[("100644", b".git", &w.blob())])),
    (".GIT", |w| w.with_tree(&[("100644", b".GIT", &w.blob())])),
    (".git as a directory with a hook", |w| {
        let hooks = w.tree(&[("100755", b"post-checkout", &w.blob())]);
        let dot = w.tree(&[("40000", b"hooks", &hooks)]);
        let root = w.tree(&[("40000", b".Git", &dot)]);
        let tip = w.commit(&root, &[&w.base]);
        w.sent(&tip, &[&hooks, &dot, &root, &tip, &w.blob()])
    }),
    (".git with a space, as Windows drops it", |w| {
        w.with_tree(&[("100644", b".git ", &w.blob())])
    }),
    (".git with a dot", |w| {
        w.with_tree(&[("100644", b".git.", &w.blob())])
    }),
    (".git as a stream of NTFS", |w| {
        w.with_tree(&[("100644", b".git::$INDEX_ALLOCATION", &w.blob())])
    }),
    (".git with characters that HFS ignores", |w| {
        w.with_tree(&[("100644", ".g\u{200c}it".as_bytes(), &w.blob())])
    }),
    ("git~1", |w| w.with_tree(&[("100644", b"GIT~1", &w.blob())])),
    ("backslashes to .git", |w| {
        w.with_tree(&[("100644", b"x\\.git\\hooks\\post-checkout", &w.blob())])
    }),
    ("a dot", |w| w.with_tree(&[("100644", b".", &w.blob())])),
    ("two dots", |w| w.with_tree(&[("100644", b"..", &w.blob())])),
    ("an empty name", |w| {
        w.with_tree(&[("100644", b"", &w.blob())])
    }),
    ("a slash", |w| w.with_tree(&[("100644", b"a/b", &w.blob())])),
    ("a way out in a name", |w| {
        w.with_tree(&[("100644", b"../../x", &w.blob())])
    }),
    ("an absolute name", |w| {
        w.with_tree(&[("100644", b"/etc/x", &w.blob())])
    }),
    ("an entry twice", |w| {
        w.with_tree(&[("100644", b"f", &w.blob()), ("100644", b"f", &w.blob())])
    }),
    ("a link and a directory of one name", |w| {
        let dir = w.tree(&[("100644", b"x", &w.blob())]);
        let root = w.tree(&[("120000", b"f", &w.blob()), ("40000", b"f", &dir)]);
        let tip = w.commit(&root, &[&w.base]);
        w.sent(&tip, &[&dir, &root, &tip, &w.blob()])
    }),
    ("the wrong order", |w| {
        w.with_tree(&[("100644", b"g", &w.blob()), ("100644", b"f", &w.blob())])
    }),
    ("a null hash", |w| {
        let null = "0".repeat(40);
        let tree = w.tree(&[("160000", b"f", &null)]);
        let tip = w.commit(&tree, &[&w.base]);
        w.sent(&tip, &[&tree, &tip])
    }),
    ("a file that is said to be a directory", |w| {
        w.with_tree(&[("40000", b"f", &w.blob())])
    }),
    ("half a tree", |w| {
        let tree = w.object("tree", b"100644 f\0abc");
        let tip = w.commit(&tree, &[&w.base]);
        w.sent(&tip, &[&tree, &tip])
    }),
    (".gitmodules as a link", |w| {
        let target = w.object("blob", b"/etc/passwd");
        w.with_tree(&[("120000", b".gitmodules", &target)])
    }),
    ("a submodule whose address is an option", |w| {
        gitmodules(
            w,
            "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch x\n",
        )
    }),
    ("a submodule whose path is an option", |w| {
        gitmodules(w, "[submodule \"x\"]\n\tpath = -x\n\turl = https://e/x\n")
    }),
    ("a submodule whose name leads out", |w| {
        gitmodules(
            w,
            "[submodule \"../../x\"]\n\tpath = x\n\turl = https://e/x\n",
        )
    }),
    ("a submodule with a command", |w| {
        gitmodules(
            w,
            "[submodule \"x\"]\n\tpath = x\n\turl = https://e/x\n\tupdate = !touch x\n",
        )
    }),
    ("a prerequisite that nobody has", |w| {
        let (tip, objects) = w.work_on(&w.work("nowhere").0, "z");
        let head = format!(
            "# v2 git bundle\n-{} nowhere\n{tip} refs/opencode/out/0\n\n",
            w.work("nowhere").0
        );
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        Sent {
            bundle: Some([head.into_bytes(), w.pack(&objects)].concat()),
            tip,
            branches: Vec::new(),
        }
    }),
    ("a commit with a null byte in its head", |w| {
        w.raw_commit(
            &format!("author a\0b <a> 1 +0000\ncommitter {IDENTITY}\n"),
            b"m\n",
        )
    }),
    ("a commit without a committer", |w| {
        w.raw_commit(&format!("author {IDENTITY}\n"), b"m\n")
    }),
    ("a commit of the year 292 billion", |w| {
        let head =
            "author a <a> 99999999999999999999 +0000\ncommitter a <a> 99999999999999999999 +0000\n";
        w.raw_commit(head, b"m\n")
    }),
];

#[test]
fn what_a_hostile_sandbox_sends_is_refused_and_nothing_of_the_users_changes() {
    let world = World::new();
    let before = world.users();
    let refs = git(&world.depot(), &["for-each-ref"]);
    let mut wrong = Vec::new();
    run(async {
        for (case, make) in REFUSED {
            let sent = make(&world);
            match world.home(&sent, None).await {
                Err(Error::Refused(reason)) => {
                    assert!(reason.len() < 1_000, "{case}: {reason}");
                }
                other => wrong.push(format!("{case}: {other:?}")),
            }
            let changed = difference(&before, &world.users());
            if !changed.is_empty() {
                wrong.push(format!("{case}: changed {changed:?}"));
                break;
            }
            let now = git(&world.depot(), &["for-each-ref"]);
            assert_eq!(now, refs, "{case}: the depot's refs changed");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        world.check("refused");
        let landed = world.home(&world.good("good"), None).await.expect("lands");
        assert_eq!(landed.branch, BRANCH);
        assert_eq!(landed.files, ["good"]);
        world.check("good");
    });
    let left = files(&world.depot().join("objects"));
    let left: Vec<&PathBuf> = left
        .keys()
        .filter(|path| path.to_string_lossy().contains("tmp_"))
        .collect();
    assert!(left.is_empty(), "refused packs stay in the depot: {left:?}");
}

#[test]
fn what_is_larger_than_allowed_is_refused_packed_or_unpacked() {
    let world = World::new();
    let before = world.users();
    run(async {
        let (tip, objects) = {
            let blob = world.object("blob", &noise(300_000));
            let tree = world.tree(&[("100644", b"large", &blob)]);
            let tip = world.commit(&tree, &[&world.base]);
            (tip.clone(), [blob, tree, tip])
        };
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        let sent = world.sent(&tip, &objects);
        let size = sent.bundle.as_ref().map_or(0, Vec::len) as u64;
        for limit in [100_000, size - 1] {
            let project = world.project().with_limit(limit);
            let error = world.receive_with(&project, &sent).await;
            let error = error.expect_err("it is too large");
            assert!(matches!(error, Error::TooMuch { .. }), "{error:?}");
            let said = error.to_string();
            assert!(said.contains("1 MB of new work, and at most 0 MB are brought home. Raise the option `carry.maxMegabytes`"), "{said}");
            assert!(difference(&before, &world.users()).is_empty());
        }
        let project = world.project().with_limit(size);
        let incoming = world.receive_with(&project, &sent).await;
        let incoming = incoming.expect("it is as large as it may be");
        world.land(&incoming, None).await.expect("it lands");
    });
}

/// Bytes that do not compress.

#[test]
fn a_tree_of_few_objects_and_endless_paths_is_refused() {
    let world = World::new();
    let before = world.users();
    let mut objects = vec![world.blob()];
    let mut mode = "100644";
    // Ten levels of ten: ten thousand million files in eleven objects.
    for _ in 0..10 {
        let below = objects.last().expect("one").clone();
        let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
        let entries: Vec<(&str, &[u8], &str)> = (names.iter())
            .map(|name| (mode, name.as_bytes(), below.as_str()))
            .collect();
        objects.push(world.tree(&entries));
        mode = "40000";
    }
    let tip = world.commit(objects.last().expect("a tree"), &[&world.base]);
    objects.push(tip.clone());
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    run(async {
        let sent = world.sent(&tip, &objects);
        let error = world.home(&sent, None).await;
        assert!(matches!(error, Err(Error::Refused(_))), "{error:?}");
        assert!(difference(&before, &world.users()).is_empty());
    });
}
