//! Odd commits, and odd names of branches.

use crate::world::*;
use git_bridge::Error;
use std::fs;
use testkit::run;

#[test]
fn odd_commits_arrive_or_are_refused_and_never_break_anything() {
    let cases: &[(&str, Make)] = &[
        ("before 1970", |w| {
            let head = "author a <a> -1 +0000\ncommitter a <a> -1 +0000\n";
            w.raw_commit(head, b"m\n")
        }),
        ("an absurd time zone", |w| {
            let head = "author a <a> 1 +9999\ncommitter a <a> 1 -9999\n";
            w.raw_commit(head, b"m\n")
        }),
        ("the year 2100", |w| {
            let head = "author a <a> 4102444800 +0000\ncommitter a <a> 4102444800 +0000\n";
            w.raw_commit(head, b"m\n")
        }),
        ("an encoding that nobody knows", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\nencoding klingon\n");
            w.raw_commit(&head, b"\xff\xfe\n")
        }),
        ("a message that is not text", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
            w.raw_commit(&head, b"\xe4\xf6\xfc\n")
        }),
        ("no message", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
            w.raw_commit(&head, b"")
        }),
        ("a message of five megabytes", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
            w.raw_commit(&head, &vec![b'x'; 5_000_000])
        }),
        ("control characters in the message", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
            w.raw_commit(&head, b"\x1b[2J\x07\r\n")
        }),
        ("a signature that is none", |w| {
            let head = format!(
                "author {IDENTITY}\ncommitter {IDENTITY}\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n"
            );
            w.raw_commit(&head, b"m\n")
        }),
        ("no parent", |w| {
            let tree = w.tree(&[("100644", b"f", &w.blob())]);
            let tip = w.commit(&tree, &[]);
            w.sent(&tip, &[&tree, &tip, &w.blob()])
        }),
        ("no files", |w| w.with_tree(&[])),
        ("a link out of the project", |w| {
            let target = w.object("blob", b"/etc/passwd");
            w.with_tree(&[("120000", b"link", &target)])
        }),
        (".gitattributes as a link", |w| {
            let target = w.object("blob", b"/etc/passwd");
            w.with_tree(&[("120000", b".gitattributes", &target)])
        }),
        ("names of one letter in two cases", |w| {
            w.with_tree(&[("100644", b"F", &w.blob()), ("100644", b"f", &w.blob())])
        }),
        ("a submodule", |w| {
            let module = w.object(
                "blob",
                b"[submodule \"x\"]\n\tpath = x\n\turl = https://example.com/x\n",
            );
            let hash = "1".repeat(40);
            let tree = w.tree(&[("100644", b".gitmodules", &module), ("160000", b"x", &hash)]);
            let tip = w.commit(&tree, &[&w.base]);
            w.sent(&tip, &[&module, &tree, &tip])
        }),
        ("a name that is an option", |w| {
            w.with_tree(&[("100644", b"--output=x", &w.blob())])
        }),
        ("a name that is not text", |w| {
            w.with_tree(&[("100644", b"\xff\n\x1b", &w.blob())])
        }),
        ("nothing but the user's own HEAD", |w| Sent {
            tip: w.head.clone(),
            branches: Vec::new(),
            bundle: None,
        }),
    ];
    for (case, make) in cases {
        let world = World::new();
        run(async {
            let worktree = git(&world.path(), &["status", "--porcelain"]);
            let sent = make(&world);
            match world.home(&sent, None).await {
                Ok(landed) => {
                    assert_eq!(landed.commit, sent.tip, "{case}");
                    // What is built on it arrives too: git puts its first line into the head.
                    let (tip, objects) = world.work_on(&sent.tip, "next");
                    git(
                        &world.sandbox(),
                        &["update-ref", "refs/opencode/out/0", &tip],
                    );
                    let file = world.dir.path().join("next.bundle");
                    let file = file.to_string_lossy();
                    let without = format!("^{}", sent.tip);
                    git(
                        &world.sandbox(),
                        &["bundle", "create", &file, "refs/opencode/out/0", &without],
                    );
                    let next = Sent {
                        bundle: Some(fs::read(&*file).expect("a bundle")),
                        tip,
                        branches: Vec::new(),
                    };
                    let next = world.home(&next, Some(&landed.commit)).await;
                    next.unwrap_or_else(|error| panic!("{case}: {error} {objects:?}"));
                }
                Err(Error::Refused(reason)) => println!("{case}: refused: {reason}"),
                Err(error) => panic!("{case}: {error}"),
            }
            let after = git(&world.path(), &["status", "--porcelain"]);
            assert_eq!(after, worktree, "{case}");
            world.check(case);
        });
    }
}

#[test]
fn a_branchs_name_from_a_sandbox_never_leads_to_a_branch_of_the_users() {
    let world = World::new();
    git(&world.path(), &["branch", "x"]);
    let users = |world: &World| {
        git(
            &world.path(),
            &[
                "rev-parse",
                "main",
                "x",
                "HEAD",
                "--symbolic-full-name",
                "HEAD",
            ],
        )
    };
    let before = users(&world);
    let long = "n".repeat(200);
    let names = [
        "../../x",
        "-d",
        "--delete",
        "refs/heads/main",
        "main",
        "HEAD",
        "@",
        "x",
        "x.lock",
        "a/b",
        "a b",
        "a~b",
        "a-b",
        "\u{202e}nam",
        "A/B",
        "2",
        "",
        " ",
        "\n",
        "\0",
        &long,
    ];
    run(async {
        // All of one commit, then each of its own, then all again with other commits.
        let mut last: Option<String> = None;
        for round in 0..3 {
            let mut objects = Vec::new();
            let mut sent = world.good("tip");
            if let Some(last) = &last {
                let (tip, of_tip) = world.work_on(last, &format!("tip{round}"));
                objects.extend(of_tip);
                sent.tip = tip;
            } else {
                objects.extend(world.work("tip").1);
            }
            let (same, of_same) = world.work(&format!("same{round}"));
            objects.extend(of_same);
            for (n, name) in names.iter().enumerate() {
                let commit = match round {
                    0 => same.clone(),
                    _ => {
                        let (commit, own) = world.work(&format!("b{round}-{n}"));
                        objects.extend(own);
                        commit
                    }
                };
                sent.branches.push((name.to_string(), commit));
            }
            let mut refs = vec![(sent.tip.clone(), "refs/opencode/out/0".to_string())];
            for (n, (_, commit)) in sent.branches.iter().enumerate() {
                refs.push((commit.clone(), format!("refs/opencode/out/{}", n + 1)));
            }
            let refs: Vec<(&str, &str)> = refs.iter().map(|(c, n)| (&**c, &**n)).collect();
            objects.sort();
            objects.dedup();
            let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
            sent.bundle = Some([world.head(&refs), world.pack(&objects)].concat());
            let landed = world.home(&sent, last.as_deref()).await;
            let landed = landed.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(users(&world), before, "round {round}");
            assert_eq!(landed.others.len(), names.len());
            for (name, (_, commit)) in landed.others.iter().zip(&sent.branches) {
                assert!(
                    name.starts_with("opencode/1-") && name.len() < 100,
                    "{name}"
                );
                assert_eq!(
                    &git(&world.path(), &["rev-parse", &format!("refs/heads/{name}")]),
                    commit
                );
            }
            last = Some(sent.tip.clone());
        }
        let refs = git(&world.path(), &["for-each-ref", "--format=%(refname)"]);
        let mut small = std::collections::BTreeSet::new();
        for line in refs.lines() {
            // Where a file system does not tell cases apart, only one of two such names can be written.
            assert!(small.insert(line.to_lowercase()), "{line}: {refs}");
            assert!(
                line.starts_with("refs/heads/opencode/1")
                    || ["refs/heads/main", "refs/heads/x"].contains(&line),
                "{line}"
            );
        }
        world.check("names");
    });
}
