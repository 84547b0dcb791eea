//! The state of a project as a commit: its parents, its files, and what stays as it was.

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
    git(&root, &["config", "gc.auto", "0"]);
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

pub(crate) fn parents(sandbox: &Sandbox, commit: &str) -> Vec<String> {
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
pub(crate) fn fetch_file(sandbox: &Sandbox, bundle: &Bundle) -> PathBuf {
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
                "left over OpenCode"
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
    at(
        &sandbox,
        &["commit", "-qm", "a clone as if it were a submodule"],
    );
    let committed = sync(&sandbox, json!({})).tip;
    let same =
        [&tip, &committed].map(|tip| at(&sandbox, &["rev-parse", &format!("{tip}^{{tree}}")]));
    assert_eq!(same[0], same[1]);
    let tip = committed;
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
    let Synced { tip, left_out, .. } = sync(&sandbox, json!({}));
    assert!(
        left_out.len() == 1 && left_out[0].starts_with("populated: a submodule"),
        "{left_out:?}"
    );
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
    std::fs::set_permissions(
        sandbox.path("secret"),
        std::fs::Permissions::from_mode(0o000),
    )
    .unwrap();
    std::fs::create_dir(sandbox.path("closed")).unwrap();
    std::fs::write(sandbox.path("closed/f"), "f").unwrap();
    let close = |mode| {
        std::fs::set_permissions(
            sandbox.path("closed"),
            std::fs::Permissions::from_mode(mode),
        )
        .unwrap();
    };
    close(0o000);
    let request = request(&sandbox, json!({}));
    let home = synced(sandbox.send_unprivileged(&request).result);
    close(0o700);
    assert_eq!(
        home.left_out,
        ["closed/: Permission denied", "secret: Permission denied"]
    );
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

#[test]
fn a_change_in_the_same_moment_as_a_commit_is_seen() {
    let sandbox = project("//- /a.txt\n00\n");
    for n in 10..30 {
        std::fs::write(sandbox.path("a.txt"), format!("{n}\n")).unwrap();
        commit(&sandbox, "own");
        std::fs::write(sandbox.path("a.txt"), format!("{}\n", n + 50)).unwrap();
        let tip = sync(&sandbox, json!({})).tip;
        assert_eq!(
            at(&sandbox, &["show", &format!("{tip}:a.txt")]),
            format!("{}", n + 50)
        );
    }
}

#[test]
fn nothing_that_the_repository_names_is_started() {
    let sandbox = project("//- /a.txt\n0\n");
    let ran = sandbox.path(".git/ran");
    for hook in [
        "post-index-change",
        "reference-transaction",
        "post-checkout",
        "pre-commit",
        "monitor",
    ] {
        let path = sandbox.path(".git/hooks").join(hook);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(
            &path,
            format!("#!/bin/sh\necho {hook} >> '{}'\n", ran.display()),
        )
        .unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (key, value) in [
        ("core.fsmonitor", ".git/hooks/monitor"),
        ("commit.gpgSign", "true"),
        ("core.splitIndex", "true"),
        ("core.safecrlf", "true"),
        ("core.autocrlf", "input"),
    ] {
        at(&sandbox, &["config", key, value]);
    }
    let _ = std::fs::remove_file(&ran);
    std::fs::write(sandbox.path("a.txt"), "1\r\n2\n").unwrap();
    let mut call = sandbox.call("write", json!({ "filePath": "b.txt", "content": "b" }));
    call["turn"] = json!("m1");
    done(sandbox.send(&call).result).unwrap();
    assert!(sync(&sandbox, json!({ "have": [] })).bundle.is_some());
    let undo = sandbox.op(
        "restore",
        json!({ "root": sandbox.root(), "to": { "before": { "turn": "m1", "first": true } } }),
    );
    sandbox.send(&undo).result.unwrap();
    assert!(!sandbox.path("b.txt").exists());
    assert!(
        !ran.exists(),
        "{}",
        std::fs::read_to_string(&ran).unwrap_or_default()
    );
    // They are there, and the agent's own git does start them.
    at(&sandbox, &["branch", "other"]);
    assert!(ran.exists());
}

#[test]
fn a_repository_with_long_hashes_goes_home_too() {
    let sandbox = Sandbox::with("//- /a.txt\n0\n");
    at(&sandbox, &["init", "-q", "--object-format=sha256"]);
    at(&sandbox, &["init", "-q", "sub"]);
    std::fs::write(sandbox.path("sub/f"), "f").unwrap();
    at(&sandbox, &["init", "-q", "--object-format=sha256", "added"]);
    git(
        &sandbox.path("added"),
        &["commit", "-q", "--allow-empty", "-m", "x"],
    );
    std::fs::write(sandbox.path("added/g"), "g").unwrap();
    at(&sandbox, &["add", "added"]);
    let home = sync(&sandbox, json!({ "have": [] }));
    assert_eq!(home.tip.len(), 64);
    assert_eq!(
        files(&sandbox, &home.tip),
        ["100644 a.txt", "100644 added/g", "100644 sub/f"]
    );
    fetch_file(&sandbox, &home.bundle.unwrap());
}

#[test]
fn the_second_state_follows_the_agents_index_and_rules() {
    /// What happens between two states.
    const STEPS: &[&str] = &[
        "echo 2 > untracked; echo 3 > more",
        "echo more > .gitignore",
        "git add -f more",
        "git rm -q --cached more",
        "echo > .gitignore; echo 'd/' >> .gitignore; mkdir d; echo f > d/f; git add -f d/f",
        "rm -r d; echo file > d; git add -A",
        "rm d; mkdir d; git init -q d; echo f > d/f; echo > .gitignore",
        "rm -rf d/.git; git add -A",
        "git rm -q --cached a.txt; rm a.txt; ln -s more a.txt",
        "git update-index --assume-unchanged more; echo changed > more",
        "git update-index --no-assume-unchanged more",
        "git reset -q --hard",
        "git sparse-checkout set --no-cone /untracked",
        "echo 4 > untracked",
        "git sparse-checkout disable",
    ];
    let sandbox = project("//- /a.txt\n0\n//- /more\n0\n");
    std::fs::write(sandbox.path("untracked"), "1").unwrap();
    sync(&sandbox, json!({}));
    for step in STEPS {
        sandbox
            .run("bash", json!({ "command": format!("set -e; {step}") }))
            .unwrap();
        let own = agents(&sandbox);
        let tip = sync(&sandbox, json!({})).tip;
        assert_eq!(agents(&sandbox), own, "{step}");
        // What a fresh copy of the agent's index gives.
        let copy = sandbox.dir.path().join("copy");
        // With an old time, so that every file is read.
        std::fs::copy(sandbox.path(".git/index"), &copy).unwrap();
        let index = std::fs::File::options().write(true).open(&copy).unwrap();
        index
            .set_modified(std::time::UNIX_EPOCH + Duration::from_secs(9))
            .unwrap();
        let with = |args: &[&str]| {
            let out = Command::new("git")
                .args(args)
                .env("GIT_INDEX_FILE", &copy)
                .current_dir(sandbox.root())
                .output()
                .unwrap();
            String::from_utf8_lossy(&out.stdout).trim().to_string()
        };
        if !sandbox.path("d/.git").exists() {
            with(&["add", "-A"]);
            assert_eq!(
                at(&sandbox, &["rev-parse", &format!("{tip}^{{tree}}")]),
                with(&["write-tree"]),
                "{step}"
            );
        }
    }
}

#[test]
fn untracked_files_are_read_once() {
    use rustix::fs::inotify;
    let sandbox = project("");
    std::fs::write(sandbox.path("large"), "large").unwrap();
    // A file that is as new as the index may have changed again, and is read again.
    let old = std::time::SystemTime::now() - Duration::from_secs(60);
    std::fs::File::options()
        .write(true)
        .open(sandbox.path("large"))
        .unwrap()
        .set_modified(old)
        .unwrap();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, sandbox.path("large"), inotify::WatchFlags::OPEN).unwrap();
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut opened = inotify::Reader::new(watch, &mut buffer);
    for n in 0..3 {
        std::fs::write(sandbox.path("small"), format!("{n}")).unwrap();
        sync(&sandbox, json!({}));
        // Equal events that nobody has read yet are one.
        assert_eq!(opened.next().is_ok(), n == 0, "the sync {n}");
        while opened.next().is_ok() {}
    }
}
