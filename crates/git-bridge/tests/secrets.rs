//! Neither a file nor a commit with a secret is packed, whatever it is called and however it is kept.

use git_bridge::{Packed, Secrets, Start};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::{TestHost, git, run, unpack};

const KEY: &str = "dtn_0a1b2c3d4e5f60718293a4b5c6d7e8f9";

fn put(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    fs::write(path, text).expect("written");
}

fn commit(dir: &Path, message: &str) {
    git(dir, &["add", "--all", "--force"]);
    git(dir, &["commit", "--quiet", "--allow-empty", "-m", message]);
}

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Case {
        let case = Case {
            dir: tempfile::tempdir().expect("a directory"),
        };
        fs::create_dir(case.path()).expect("made");
        git(&case.path(), &["init", "--quiet", "--initial-branch=main"]);
        put(&case.path(), "a.txt", "one\n");
        commit(&case.path(), "first");
        case
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    /// Packs, and gives all that a sandbox would have: names, and every object's bytes.
    fn carried(&self, start: Start) -> (Packed, String, String) {
        let start = Start {
            secrets: Secrets::new(vec![KEY.into(), "me:pw@".into()]),
            ..start
        };
        assert!(!format!("{start:?}").contains(KEY));
        let worktree = self.path();
        let depot = self.dir.path().join("depot.git");
        let host = Arc::new(TestHost::new(&[]));
        let (worktree, depot) = (worktree.to_string_lossy(), depot.to_string_lossy());
        run(async {
            let project = git_bridge::Project::new(host.clone(), &worktree, true, &depot);
            let packed = project.pack("ses_1", &start).await.expect("packs");
            let out = tempfile::tempdir().expect("a directory");
            git(out.path(), &["init", "--quiet"]);
            if !packed.shallow.is_empty() {
                let shallow = packed.shallow.join("\n") + "\n";
                fs::write(out.path().join(".git/shallow"), shallow).expect("written");
            }
            unpack(out.path(), packed.packs.iter().map(|pack| &pack.path));
            // Nothing is missing, as far as the sandbox is told where the history ends.
            git(
                out.path(),
                &["rev-list", "--objects", "--quiet", &packed.commit],
            );
            let all = ["cat-file", "--batch-all-objects", "--batch", "--buffer"];
            let objects = git(out.path(), &all);
            let names = git(
                out.path(),
                &["ls-tree", "-r", "--name-only", &packed.commit],
            );
            let kept = packed.clone();
            packed.discard(&*host).await;
            (kept, names, objects)
        })
    }
}

fn history(history: usize) -> Start {
    Start {
        history,
        ..Start::default()
    }
}

#[test]
fn a_file_with_the_value_stays_whatever_it_is_called() {
    let line = format!("export DAYTONA_API_KEY={KEY}\n");
    for (path, tracked) in [
        (".envrc", false),
        (".env.local", false),
        ("pkg/.env", true),
        ("deep/er/settings.json", false),
        ("with \"quotes\" and\ta tab", true),
        ("a.txt", true),
        (&format!("named-{KEY}"), false),
    ] {
        let case = Case::new();
        let text = if path.contains(KEY) { "empty\n" } else { &line };
        put(&case.path(), path, text);
        // The same content again, bytes that are no text, and attributes that hide it.
        put(&case.path(), "twice", &line);
        fs::write(
            case.path().join("binary"),
            [b"\0\xff", KEY.as_bytes()].concat(),
        )
        .expect("written");
        put(&case.path(), ".gitattributes", "* -text -diff binary\n");
        if tracked {
            git(&case.path(), &["add", "--all"]);
        }
        put(&case.path(), "b.txt", "stays in\n");
        let (packed, names, objects) = case.carried(history(50));
        assert!(!objects.contains(KEY), "{path}");
        let mut held = packed.held_back.clone();
        held.sort();
        let mut expected = vec!["binary", path, "twice"];
        expected.sort_unstable();
        assert_eq!(held, expected, "{path}");
        assert!(
            names.contains("b.txt") && names.contains(".gitattributes"),
            "{names}"
        );
        // The history holds nothing, so it goes along.
        assert_eq!((packed.tainted, packed.shallow.len()), (None, 0));
    }
}

#[test]
fn a_history_with_the_value_stays_and_the_place_is_named() {
    type Make = fn(&Path);
    let cases: &[(&str, Make, &str)] = &[
        (
            "in a file that is gone",
            |dir| {
                put(dir, "x/.envrc", &format!("key {KEY}\n"));
                commit(dir, "with it");
                fs::remove_file(dir.join("x/.envrc")).expect("removed");
                commit(dir, "without it");
            },
            "(x/.envrc)",
        ),
        (
            "in a message",
            |dir| {
                commit(dir, &format!("use {KEY}"));
                commit(dir, "later");
            },
            "(its message)",
        ),
        (
            "in the message of HEAD itself",
            |dir| commit(dir, &format!("use {KEY}")),
            "(its message)",
        ),
        (
            "in a file that is still there",
            |dir| {
                put(dir, ".envrc", KEY);
                commit(dir, "with it");
            },
            "(.envrc)",
        ),
        (
            "on a merged branch",
            |dir| {
                git(dir, &["switch", "--quiet", "-c", "side"]);
                put(dir, "s", &format!("https://me:pw@host {KEY}"));
                commit(dir, "side");
                git(dir, &["rm", "--quiet", "s"]);
                commit(dir, "side again");
                git(dir, &["switch", "--quiet", "main"]);
                commit(dir, "main");
                git(
                    dir,
                    &["merge", "--quiet", "--no-ff", "-m", "merged", "side"],
                );
            },
            "(s)",
        ),
        (
            "as a login",
            |dir| {
                put(dir, "p", "http://me:pw@proxy");
                commit(dir, "with it");
                fs::remove_file(dir.join("p")).expect("removed");
                commit(dir, "without it");
            },
            "(p)",
        ),
    ];
    for (name, make, place) in cases {
        let case = Case::new();
        make(&case.path());
        let (packed, _, objects) = case.carried(history(50));
        assert!(
            !objects.contains(KEY) && !objects.contains("me:pw@"),
            "{name}"
        );
        let tainted = packed
            .tainted
            .unwrap_or_else(|| panic!("{name}: the place is not named"));
        assert!(
            tainted.starts_with("commit ") && tainted.ends_with(place),
            "{name}: {tainted}"
        );
        assert_eq!(packed.shallow, [packed.commit], "{name}");
        // Without history nobody needs to know.
        let (packed, _, objects) = case.carried(history(0));
        assert!(!objects.contains(KEY), "{name}");
        assert_eq!(packed.tainted, None, "{name}");
    }
}

#[test]
fn what_lies_before_the_history_that_goes_is_not_looked_at() {
    let case = Case::new();
    put(&case.path(), ".envrc", KEY);
    commit(&case.path(), "with it");
    fs::remove_file(case.path().join(".envrc")).expect("removed");
    for n in 0..5 {
        commit(&case.path(), &format!("commit {n}"));
    }
    let (packed, _, objects) = case.carried(history(5));
    assert_eq!(packed.tainted, None);
    assert!(!objects.contains(KEY));
    let (packed, _, _) = case.carried(history(6));
    assert!(packed.tainted.is_some());
}

#[test]
fn a_state_that_came_from_elsewhere_is_looked_through_too() {
    let case = Case::new();
    let (packed, ..) = case.carried(history(50));
    // A commit of the depot, as a sandbox may have made it.
    put(&case.path(), "made", KEY);
    commit(&case.path(), "made");
    let from = git(&case.path(), &["rev-parse", "HEAD"]);
    git(
        &case.path(),
        &["reset", "--quiet", "--hard", &packed.commit],
    );
    let start = Start {
        from: Some(from.clone()),
        ..history(50)
    };
    let (packed, names, objects) = case.carried(start);
    assert!(!objects.contains(KEY));
    assert_eq!(
        (packed.held_back, names.as_str()),
        (vec!["made".into()], "a.txt")
    );
    assert!(packed.tainted.is_some());
}

#[test]
fn what_was_looked_through_is_not_again_and_another_key_is_looked_for() {
    let case = Case::new();
    put(&case.path(), ".envrc", KEY);
    put(&case.path(), "other", "dtn_of-another-time");
    let (worktree, depot) = (case.path(), case.dir.path().join("depot.git"));
    let (worktree, depot) = (worktree.to_string_lossy(), depot.to_string_lossy());
    run(async {
        let host = Arc::new(TestHost::new(&[]));
        let project = git_bridge::Project::new(host.clone(), &worktree, true, &depot);
        let pack = async |key: &str| {
            let start = Start {
                secrets: Secrets::new(vec![key.into()]),
                ..history(50)
            };
            let packed = project.pack("ses_1", &start).await.expect("packs");
            packed.clone().discard(&*host).await;
            packed.held_back
        };
        assert_eq!(pack(KEY).await, [".envrc"]);
        assert_eq!(pack(KEY).await, [".envrc"]);
        assert_eq!(pack("dtn_of-another-time").await, ["other"]);
        assert!(pack("dtn_nowhere").await.is_empty());
        // Nothing is new.
        host.fail(|what, args| (what == "git" && args.contains(" grep ")).then(|| "again".into()));
        assert!(pack("dtn_nowhere").await.is_empty());
        // A list that is broken is none.
        host.heal();
        fs::write(format!("{depot}/clean-blobs"), [0xff; 100]).expect("written");
        assert_eq!(pack(KEY).await, [".envrc"]);
    });
}

#[test]
fn nothing_is_packed_that_could_not_be_looked_through() {
    let case = Case::new();
    put(&case.path(), ".envrc", KEY);
    commit(&case.path(), "with it");
    let worktree = case.path();
    let depot = case.dir.path().join("depot.git");
    let host = Arc::new(TestHost::new(&[]));
    let (worktree, depot) = (worktree.to_string_lossy(), depot.to_string_lossy());
    let start = Start {
        secrets: Secrets::new(vec![KEY.into()]),
        ..history(50)
    };
    run(async {
        let project = git_bridge::Project::new(host.clone(), &worktree, true, &depot);
        for command in [
            " grep ",
            " mktree",
            " cat-file --batch",
            " rev-list --objects",
            " update-index",
        ] {
            host.fail(move |what, args| {
                (what == "git" && args.contains(command)).then(|| "broken".into())
            });
            let packed = project.pack("ses_1", &start).await;
            assert!(packed.is_err(), "{command}");
            assert!(host.temps().is_empty(), "{command}");
        }
    });
}

#[test]
fn the_graph_that_is_looked_through_is_the_one_that_is_packed() {
    type Hide = fn(&Path);
    let hash = |dir: &Path, name: &str| git(dir, &["rev-parse", name]);
    let cases: &[(&str, Hide)] = &[
        ("a graft by replacement", |dir| {
            git(dir, &["replace", "--graft", "HEAD"]);
        }),
        ("a graft by replacement further back", |dir| {
            git(dir, &["replace", "--graft", "HEAD~1", "HEAD~3"]);
        }),
        ("a replaced commit", |dir| {
            git(dir, &["replace", "HEAD~2", "HEAD~3"]);
        }),
        ("a replaced file", |dir| {
            let old = git(dir, &["rev-parse", "HEAD~2:.env"]);
            let other = git(dir, &["rev-parse", "HEAD:a.txt"]);
            git(dir, &["replace", &old, &other]);
        }),
        ("a replaced tree", |dir| {
            git(dir, &["replace", "HEAD~2^{tree}", "HEAD~3^{tree}"]);
        }),
        ("a file of grafts", |dir| {
            let head = git(dir, &["rev-parse", "HEAD"]);
            put(dir, ".git/info/grafts", &format!("{head}\n"));
        }),
        ("a file of grafts further back", |dir| {
            let [child, other] = ["HEAD~1", "HEAD~3"].map(|name| git(dir, &["rev-parse", name]));
            put(dir, ".git/info/grafts", &format!("{child} {other}\n"));
        }),
    ];
    for (claim, hide) in cases {
        for keep_out in [vec![], vec![".env".to_string()]] {
            let case = Case::new();
            let dir = case.path();
            put(&dir, ".env", &format!("DAYTONA_API_KEY={KEY}\n"));
            commit(&dir, "with a key");
            fs::remove_file(dir.join(".env")).expect("removed");
            commit(&dir, "without it");
            put(&dir, "a.txt", "two\n");
            commit(&dir, "last");
            let head = hash(&dir, "HEAD");
            hide(&dir);
            put(&dir, "new.txt", "new\n");
            let start = Start {
                keep_out,
                ..history(50)
            };
            let (packed, names, objects) = case.carried(start);
            assert!(!objects.contains(KEY), "{claim}");
            assert!(names.contains("new.txt"), "{claim}: {names}");
            assert_eq!(packed.host_head.as_deref(), Some(&*head), "{claim}");
        }
    }
}
