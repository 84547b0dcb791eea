//! Bringing the work home, and taking it back: the state as a commit, bundles, checkpoints, undo.

use super::setup::git;
use super::*;
use protocol::{Bundle, Synced};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

/// A project on one commit, as a setup leaves it: `refs/opencode/base`, a branch, a clean index.
pub(crate) fn project(fixture: &str) -> Sandbox {
    let sandbox = Sandbox::with(fixture);
    let root = sandbox.root();
    git(&root, &["init", "-q"]);
    git(&root, &["config", "user.name", "Agent"]);
    git(&root, &["config", "user.email", "agent@localhost"]);
    git(&root, &["add", "-A"]);
    git(&root, &["commit", "-q", "--allow-empty", "-m", "base"]);
    git(&root, &["update-ref", "refs/opencode/base", "HEAD"]);
    sandbox
}

pub(crate) fn at(sandbox: &Sandbox, args: &[&str]) -> String {
    git(&sandbox.root(), args)
}

pub(crate) fn commit(sandbox: &Sandbox, message: &str) -> String {
    at(sandbox, &["add", "-A"]);
    at(sandbox, &["commit", "-qm", message]);
    at(sandbox, &["rev-parse", "HEAD"])
}

pub(crate) fn request(sandbox: &Sandbox, fields: Value) -> Value {
    let mut request = sandbox.op(
        "sync",
        json!({ "root": sandbox.root(), "message": "left over" }),
    );
    let fields = fields.as_object().unwrap().clone();
    request.as_object_mut().unwrap().extend(fields);
    request
}

pub(crate) fn synced(result: Result<Outcome, ToolError>) -> Synced {
    match result.unwrap() {
        Outcome::Synced(synced) => synced,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn sync(sandbox: &Sandbox, fields: Value) -> Synced {
    synced(sandbox.send(&request(sandbox, fields)).result)
}

/// The files of a commit with their modes: `100644 a.txt`.
pub(crate) fn files(sandbox: &Sandbox, commit: &str) -> Vec<String> {
    let list = at(
        sandbox,
        &["ls-tree", "-r", "--format=%(objectmode) %(path)", commit],
    );
    list.lines().map(str::to_string).collect()
}

fn parents(sandbox: &Sandbox, commit: &str) -> Vec<String> {
    let list = at(sandbox, &["log", "-1", "--format=%P", commit]);
    list.split_whitespace().map(str::to_string).collect()
}

/// Everything of the repository that is the agent's.
pub(crate) fn agents(sandbox: &Sandbox) -> Vec<Vec<u8>> {
    let dir = sandbox.path(".git");
    let mut seen = vec![
        std::fs::read(dir.join("HEAD")).unwrap(),
        std::fs::read(dir.join("index")).unwrap_or_default(),
    ];
    for args in [
        ["status", "--porcelain=v2", "--branch"].as_slice(),
        &["stash", "list"],
        &[
            "for-each-ref",
            "refs/heads",
            "refs/tags",
            "refs/remotes",
            "refs/stash",
        ],
        &["ls-files", "-s"],
    ] {
        // Without a refresh, which would be this test's own change of the index.
        let args = [["--no-optional-locks"].as_slice(), args].concat();
        seen.push(git(&sandbox.root(), &args).into_bytes());
    }
    seen
}

/// A bundle as the host gets it: its file.
fn fetch_file(sandbox: &Sandbox, bundle: &Bundle) -> PathBuf {
    use base64::Engine;
    let bytes = match (&bundle.inline, &bundle.path) {
        (Some(text), None) => base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap(),
        (None, Some(path)) => std::fs::read(path).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(bytes.len() as u64, bundle.size);
    use sha2::Digest;
    let hash = sha2::Sha256::digest(&bytes);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, bundle.sha256);
    let file = sandbox.dir.path().join("home.bundle");
    std::fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn each_way_of_working_has_its_commit() {
    /// What the agent does on top of base, after a first sync of `early.txt`; what the state
    /// commit then is, and its parents, as names of commits.
    struct Case {
        name: &'static str,
        does: &'static str,
        parents: &'static [&'static str],
        is: Option<&'static str>,
    }
    let cases = [
        Case {
            name: "nothing more",
            does: "true",
            parents: &[],
            is: Some("refs/opencode/work"),
        },
        Case {
            name: "commits all",
            does: "git add -A; git commit -qm one; echo 2 > two; git add -A; git commit -qm two",
            parents: &["WORK", "HEAD"],
            is: None,
        },
        Case {
            name: "leaves all",
            does: "echo 1 > one; mkdir d; echo 2 > d/two",
            parents: &["WORK"],
            is: None,
        },
        Case {
            name: "mixes",
            does: "git add -A; git commit -qm one; echo 2 > two",
            parents: &["WORK", "HEAD"],
            is: None,
        },
        Case {
            name: "amends",
            does: "git commit -q --amend --allow-empty -m other",
            parents: &["WORK", "HEAD"],
            is: None,
        },
        Case {
            name: "builds on what went home",
            does: "git reset -q --hard refs/opencode/work; echo 2 > two; git add -A; git commit -qm two",
            parents: &[],
            is: Some("HEAD"),
        },
        Case {
            name: "goes back",
            does: "rm early.txt",
            parents: &["WORK"],
            is: None,
        },
        Case {
            name: "resets to an older commit",
            does: "git reset -q --hard HEAD^; git clean -qfd",
            parents: &["WORK"],
            is: None,
        },
        Case {
            name: "on another branch",
            does: "git checkout -q -b other; echo 2 > two; git add two; git commit -qm two",
            parents: &["WORK", "HEAD"],
            is: None,
        },
        Case {
            name: "detached",
            does: "git checkout -q --detach; echo 2 > two",
            parents: &["WORK"],
            is: None,
        },
        Case {
            name: "unborn",
            does: "git checkout -q --orphan new; echo 2 > two",
            parents: &["WORK"],
            is: None,
        },
        Case {
            name: "another root",
            does: "git checkout -q --orphan new; git add -A; git commit -qm root",
            parents: &["WORK", "HEAD"],
            is: None,
        },
    ];
    for Case {
        name,
        does,
        parents: expected,
        is,
    } in cases
    {
        let sandbox = project("//- /a.txt\none\n");
        std::fs::write(sandbox.path("a.txt"), "two\n").unwrap();
        commit(&sandbox, "second");
        std::fs::write(sandbox.path("early.txt"), "early\n").unwrap();
        let early = sync(&sandbox, json!({})).tip;
        assert_eq!(
            parents(&sandbox, &early),
            [at(&sandbox, &["rev-parse", "HEAD"])]
        );
        sandbox
            .run("bash", json!({ "command": format!("set -e; {does}") }))
            .unwrap();
        let before = agents(&sandbox);
        let tip = sync(&sandbox, json!({})).tip;
        assert_eq!(
            agents(&sandbox),
            before,
            "{name}: the agent's own is untouched"
        );
        if let Some(is) = is {
            let is = if is == "HEAD" {
                at(&sandbox, &["rev-parse", is])
            } else {
                early.clone()
            };
            assert_eq!(tip, is, "{name}");
        } else {
            let expected: Vec<String> = expected
                .iter()
                .map(|parent| match *parent {
                    "WORK" => early.clone(),
                    other => at(&sandbox, &["rev-parse", other]),
                })
                .collect();
            assert_eq!(parents(&sandbox, &tip), expected, "{name}");
            assert_eq!(
                at(&sandbox, &["log", "-1", "--format=%s %an", &tip]),
                "left over Agent"
            );
        }
        assert_eq!(at(&sandbox, &["rev-parse", "refs/opencode/work"]), tip);
        // The tree is the files.
        at(&sandbox, &["add", "-A"]);
        assert_eq!(
            at(&sandbox, &["write-tree"]),
            at(&sandbox, &["rev-parse", &format!("{tip}^{{tree}}")]),
            "{name}"
        );
        assert_eq!(
            sync(&sandbox, json!({})).tip,
            tip,
            "{name}: again, it is the same"
        );
    }
}

#[test]
fn a_clean_head_goes_home_as_it_is() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    assert_eq!(sync(&sandbox, json!({})).tip, base);
    std::fs::write(sandbox.path("a.txt"), "two\n").unwrap();
    let own = commit(&sandbox, "own");
    assert_eq!(sync(&sandbox, json!({})).tip, own);
}

#[test]
fn an_empty_project_has_a_state_too() {
    let sandbox = Sandbox::new();
    at(&sandbox, &["init", "-q"]);
    let first = sync(&sandbox, json!({ "have": [] }));
    assert!(first.bundle.is_some());
    assert_eq!(files(&sandbox, &first.tip), Vec::<String>::new());
    assert_eq!(
        sync(&sandbox, json!({ "have": [first.tip] })),
        Synced {
            bundle: None,
            ..first
        }
    );
}

#[test]
fn a_merge_with_conflicts_is_committed_as_the_files_are() {
    for merge in [
        "git merge -q side",
        "git rebase -q side",
        "git cherry-pick side",
    ] {
        let sandbox = project("//- /a.txt\none\n//- /b.txt\nb\n");
        sandbox
            .run("bash", json!({ "command": format!(
                "set -e; git checkout -q -b side; echo side > a.txt; git rm -q b.txt; git commit -qam side;
                 git checkout -q -; echo main > a.txt; echo more >> b.txt; git commit -qam main; ! {merge}"
            ) }))
            .unwrap();
        assert!(
            at(&sandbox, &["status", "--porcelain"]).contains("UU a.txt"),
            "{merge}"
        );
        let before = agents(&sandbox);
        let tip = sync(&sandbox, json!({})).tip;
        assert_eq!(agents(&sandbox), before, "{merge}");
        let text = at(&sandbox, &["show", &format!("{tip}:a.txt")]);
        assert!(
            text.contains("<<<<<<<") && text.contains("side"),
            "{merge} {text}"
        );
    }
}

#[test]
fn other_branches_and_the_stash_come_along() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    sandbox
        .run("bash", json!({ "command": "set -e; git branch same; git checkout -q -b side; echo s > s; git add s; git commit -qm side;
            git checkout -q same; echo stashed > a.txt; git stash -q; echo now > now.txt" }))
        .unwrap();
    let before = agents(&sandbox);
    let home = sync(&sandbox, json!({ "have": [base] }));
    assert_eq!(agents(&sandbox), before);
    let names: Vec<_> = home
        .branches
        .iter()
        .map(|branch| branch.name.as_str())
        .collect();
    assert_eq!(names, ["side", "stash"]);
    let host = sandbox.dir.path().join("host");
    git(sandbox.dir.path(), &["init", "-q", "host"]);
    git(
        &host,
        &["fetch", "-q", sandbox.root().to_str().unwrap(), &base],
    );
    let file = fetch_file(&sandbox, &home.bundle.unwrap());
    git(
        &host,
        &[
            "fetch",
            "-q",
            file.to_str().unwrap(),
            "refs/opencode/out/*:refs/in/*",
        ],
    );
    for (n, commit) in std::iter::once(&home.tip)
        .chain(home.branches.iter().map(|branch| &branch.commit))
        .enumerate()
    {
        assert_eq!(git(&host, &["rev-parse", &format!("refs/in/{n}")]), *commit);
    }
    git(&host, &["fsck"]);
    assert_eq!(git(&host, &["show", "refs/in/0:now.txt"]), "now");
    assert_eq!(git(&host, &["show", "refs/in/2:a.txt"]), "stashed");

    // The host has it now, and only what is new comes.
    let have = json!([
        base,
        home.tip,
        home.branches[0].commit,
        home.branches[1].commit
    ]);
    let again = sync(&sandbox, json!({ "have": have }));
    assert_eq!((again.bundle, again.branches), (None, vec![]));
    sandbox.run("bash", json!({ "command": "git checkout -q side; echo t > t; git add t; git commit -qm more; git checkout -q same" })).unwrap();
    let more = sync(&sandbox, json!({ "have": have }));
    assert_eq!(more.tip, home.tip);
    let file = fetch_file(&sandbox, &more.bundle.unwrap());
    git(
        &host,
        &[
            "fetch",
            "-q",
            file.to_str().unwrap(),
            "refs/opencode/out/*:refs/in/*",
        ],
    );
    assert_eq!(
        git(&host, &["rev-parse", "refs/in/1"]),
        more.branches[0].commit
    );
    assert_eq!(
        at(
            &sandbox,
            &["for-each-ref", "--format=%(refname)", "refs/opencode/out"]
        ),
        "refs/opencode/out/0\nrefs/opencode/out/1"
    );
}

#[test]
fn a_bundle_is_as_large_as_what_is_new() {
    let sandbox = project("");
    for n in 0..2_000u32 {
        let dir = sandbox.path(format!("d{}", n % 40));
        std::fs::create_dir_all(&dir).unwrap();
        let text: String = (0..50)
            .map(|line| format!("{} {line}\n", n * 7919))
            .collect();
        std::fs::write(dir.join(format!("f{n}")), text).unwrap();
    }
    let base = commit(&sandbox, "many");
    let text = sandbox.text("d1/f1");
    std::fs::write(sandbox.path("d1/f1"), text + "one more\n").unwrap();
    let unknown = "0123456789012345678901234567890123456789";
    let home = sync(&sandbox, json!({ "have": [unknown, base, "--all"] }));
    let bundle = home.bundle.unwrap();
    assert!(bundle.size < 10_000, "{}", bundle.size);

    // More than fits into a reply stays in a file until the next sync.
    let noise: Vec<u8> = (0..300_000u64)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect();
    std::fs::write(sandbox.path("noise"), noise).unwrap();
    let request = request(&sandbox, json!({ "have": [home.tip] }));
    let large = synced(sandbox.send(&request).result);
    let again = synced(sandbox.send(&request).result);
    assert_eq!((&large.tip, &large.branches), (&again.tip, &again.branches));
    let bundle = again.bundle.unwrap();
    assert!(bundle.inline.is_none() && bundle.size > protocol::MAX_INLINE as u64);
    fetch_file(&sandbox, &bundle);
    let none = sync(&sandbox, json!({ "have": [large.tip] }));
    assert_eq!(none.bundle, None);
    assert!(!Path::new(&bundle.path.unwrap()).exists());
}

#[test]
fn from_a_shallow_history_only_the_new_commits_come() {
    let sandbox = project("//- /a.txt\none\n");
    std::fs::write(sandbox.path("a.txt"), "two\n").unwrap();
    let base = commit(&sandbox, "second");
    let full = sandbox.dir.path().join("full");
    std::fs::rename(sandbox.root(), &full).unwrap();
    let url = format!("file://{}", full.display());
    git(
        sandbox.dir.path(),
        &["clone", "-q", "--depth=1", &url, "project"],
    );
    std::fs::write(sandbox.path("a.txt"), "three\n").unwrap();
    let home = sync(&sandbox, json!({ "have": [base] }));
    assert_eq!(parents(&sandbox, &home.tip), [base]);
    let file = fetch_file(&sandbox, &home.bundle.unwrap());
    git(
        &full,
        &[
            "fetch",
            "-q",
            file.to_str().unwrap(),
            "refs/opencode/out/0:refs/in/0",
        ],
    );
    assert_eq!(git(&full, &["rev-parse", "refs/in/0"]), home.tip);
    assert!(sync(&sandbox, json!({ "have": [] })).bundle.is_some());
}

#[test]
fn files_are_what_they_are() {
    let sandbox = project("//- /.gitignore\nignored/\n//- /gone.txt\nx\n");
    let root = sandbox.root();
    let odd = std::ffi::OsStr::from_bytes(b"n\xff\n \"o\\ -x");
    std::fs::write(root.join(odd), "odd").unwrap();
    std::fs::write(root.join("crlf.txt"), "a\r\nb\r\n").unwrap();
    std::fs::write(root.join("run.sh"), "#!/bin/sh\n").unwrap();
    std::fs::set_permissions(root.join("run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("link")).unwrap();
    std::os::unix::fs::symlink(".", root.join("loop")).unwrap();
    std::fs::create_dir_all(root.join("ignored/deep")).unwrap();
    std::fs::write(root.join("ignored/deep/f"), "i").unwrap();
    std::fs::remove_file(root.join("gone.txt")).unwrap();
    let tip = sync(&sandbox, json!({})).tip;
    assert_eq!(
        files(&sandbox, &tip),
        [
            "100644 .gitignore",
            "100644 crlf.txt",
            "120000 link",
            "120000 loop",
            r#"100644 "n\377\n \"o\\ -x""#,
            "100755 run.sh"
        ]
    );
    let crlf = git(&root, &["cat-file", "-s", &format!("{tip}:crlf.txt")]);
    assert_eq!(crlf, "6");
}

#[test]
fn a_repository_within_the_project_comes_as_plain_files() {
    let sandbox = project("//- /.gitignore\ntarget/\n//- /a.txt\n");
    sandbox
        .run("bash", json!({ "command": r#"set -e
            git init -q empty
            git init -q unborn; echo 1 > unborn/f
            git init -q clone; cd clone; echo 1 > one; mkdir -p target; echo t > target/t; echo '*.log' > .gitignore; echo l > x.log
            git add one; git -c user.name=a -c user.email=a@a commit -qm x
            git init -q 'in ner'; echo 2 > 'in ner/two'; cd ..
            git clone -q clone added; git add added 2> /dev/null; echo 3 > added/three"# }))
        .unwrap();
    let before = agents(&sandbox);
    let tip = sync(&sandbox, json!({})).tip;
    assert_eq!(agents(&sandbox), before);
    assert_eq!(
        files(&sandbox, &tip),
        [
            "100644 .gitignore",
            "100644 a.txt",
            "100644 added/one",
            "100644 added/three",
            "100644 clone/.gitignore",
            "100644 clone/in ner/two",
            "100644 clone/one",
            "100644 unborn/f"
        ]
    );
    assert_eq!(sync(&sandbox, json!({})).tip, tip);
}

#[test]
fn a_submodule_stays_one_unless_it_became_files() {
    let sandbox = project("//- /a.txt\n");
    let library = sandbox.dir.path().join("library");
    git(sandbox.dir.path(), &["init", "-q", "library"]);
    git(&library, &["commit", "-q", "--allow-empty", "-m", "first"]);
    let first = git(&library, &["rev-parse", "HEAD"]);
    for name in ["unpopulated", "populated", "files"] {
        at(
            &sandbox,
            &[
                "-c",
                "protocol.file.allow=always",
                "submodule",
                "--quiet",
                "add",
                library.to_str().unwrap(),
                name,
            ],
        );
    }
    commit(&sandbox, "submodules");
    sandbox
        .run("bash", json!({ "command": "set -e; rm -rf unpopulated files; mkdir unpopulated files; echo f > files/f
            cd populated; git -c user.name=a -c user.email=a@a commit -q --allow-empty -m second" }))
        .unwrap();
    let second = git(&sandbox.path("populated"), &["rev-parse", "HEAD"]);
    let tip = sync(&sandbox, json!({})).tip;
    let list = at(
        &sandbox,
        &[
            "ls-tree",
            "-r",
            "--format=%(objectmode) %(objectname) %(path)",
            &tip,
        ],
    );
    assert!(
        list.contains(&format!("160000 {first} unpopulated")),
        "{list}"
    );
    assert!(
        list.contains(&format!("160000 {second} populated")),
        "{list}"
    );
    assert!(
        list.contains(" files/f") && !list.ends_with(" files"),
        "{list}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_rest_is_committed() {
    let sandbox = project("//- /a.txt\n");
    std::fs::write(sandbox.path("secret"), "s").unwrap();
    std::fs::write(sandbox.path("z.txt"), "z").unwrap();
    std::fs::set_permissions(sandbox.path("secret"), std::fs::Permissions::from_mode(0)).unwrap();
    if std::fs::read(sandbox.path("secret")).is_ok() {
        println!("skipped: this user may read every file");
        return;
    }
    let home = sync(&sandbox, json!({}));
    assert_eq!(home.left_out, ["secret: Permission denied"]);
    assert_eq!(files(&sandbox, &home.tip), ["100644 a.txt", "100644 z.txt"]);
}

#[test]
fn nothing_is_lost_with_the_repository() {
    for damage in [
        "rm -rf .git",
        "rm -rf .git/objects",
        "rm -rf .git/objects/??",
        "rm .git/HEAD",
        "echo rubbish > .git/index",
        "rm -rf .git; echo rubbish > .git",
    ] {
        let sandbox = project("//- /a.txt\none\n//- /.gitignore\nignored\n");
        std::fs::write(sandbox.path("b.txt"), "b").unwrap();
        std::fs::write(sandbox.path("ignored"), "i").unwrap();
        sandbox.run("bash", json!({ "command": damage })).unwrap();
        let home = sync(&sandbox, json!({ "have": [] }));
        assert_eq!(
            files(&sandbox, &home.tip),
            ["100644 .gitignore", "100644 a.txt", "100644 b.txt"],
            "{damage}"
        );
        assert!(home.bundle.is_some(), "{damage}");
        let sound = ["rm .git/HEAD", "echo rubbish > .git/index"].contains(&damage);
        assert_eq!(
            parents(&sandbox, &home.tip).len(),
            usize::from(sound),
            "{damage}"
        );
    }
}
