//! What goes into a sandbox beside the branch that the user is on, and that no secret does.

use git_bridge::{Packed, Secrets, Start};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use testkit::{TestHost, git, run, unpack};

const SECRET: &str = "dtn_0123456789abcdef";

fn commit(dir: &Path, file: &str, content: &[u8], message: &str) {
    fs::write(dir.join(file), content).expect("written");
    git(dir, &["add", "-f", file]);
    git(dir, &["commit", "-qm", message]);
}

/// `main` is two commits further than where `feature`, which is checked out, began.
fn repository(on_main: impl FnOnce(&Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path();
    git(path, &["init", "-q", "--initial-branch=main"]);
    commit(path, "a.txt", b"one\n", "first");
    git(path, &["checkout", "-qb", "feature"]);
    commit(path, "f.txt", b"feature\n", "feature");
    git(path, &["checkout", "-q", "main"]);
    on_main(path);
    commit(path, "m.txt", b"main\n", "main");
    git(path, &["checkout", "-q", "feature"]);
    dir
}

/// Packs it, and unpacks it as a sandbox does.
fn pack(worktree: &Path, start: &Start, limit: u64) -> (Packed, tempfile::TempDir) {
    let depot = tempfile::tempdir().expect("a directory");
    let sandbox = tempfile::tempdir().expect("a directory");
    let packed = run(async {
        let host = Arc::new(TestHost::new(&[]));
        let depot = depot.path().join("depot.git");
        let depot = depot.to_string_lossy();
        let project =
            git_bridge::Project::new(host.clone(), &worktree.to_string_lossy(), true, &depot);
        let packed = project
            .with_limit(limit)
            .pack("s", start)
            .await
            .expect("packs");
        git(sandbox.path(), &["init", "-q"]);
        let shallow = packed.shallow.join("\n");
        if !shallow.is_empty() {
            fs::write(sandbox.path().join(".git/shallow"), shallow + "\n").expect("written");
        }
        unpack(sandbox.path(), packed.packs.iter().map(|pack| &pack.path));
        packed.clone().discard(&*host).await;
        packed
    });
    for found in &packed.refs.refs {
        git(sandbox.path(), &["update-ref", &found.name, &found.object]);
    }
    git(
        sandbox.path(),
        &["update-ref", "refs/heads/own", &packed.commit],
    );
    git(sandbox.path(), &["fsck", "--strict", "--connectivity-only"]);
    (packed, sandbox)
}

fn names(packed: &Packed) -> Vec<&str> {
    packed.refs.refs.iter().map(|found| &*found.name).collect()
}

fn start() -> Start {
    Start {
        history: 50,
        secrets: Secrets::new(vec![SECRET.into()]),
        keep_out: vec![".env".into()],
        ..Start::default()
    }
}

#[test]
fn what_holds_a_secret_stays_with_all_that_leads_to_it_and_the_rest_goes() {
    type Make = fn(&Path);
    let cases: &[(&str, Make, &[&str])] = &[
        ("nothing", |_| {}, &["refs/heads/main"]),
        (
            "a file of main's history",
            |path| {
                commit(path, "key", SECRET.as_bytes(), "key");
                git(path, &["rm", "-q", "key"]);
            },
            &[],
        ),
        (
            "a message of main's history",
            |path| commit(path, "b.txt", b"b", SECRET),
            &[],
        ),
        (
            "a file that must stay, in main's history",
            |path| commit(path, ".env", b"DAYTONA_API_KEY=x", "env"),
            &[],
        ),
        (
            "the message of a tag",
            |path| {
                git(path, &["tag", "-a", "-m", SECRET, "v1", "feature"]);
                git(path, &["tag", "-a", "-m", "fine", "v2", "feature"]);
            },
            &["refs/heads/main", "refs/tags/v2"],
        ),
        (
            "the name of a tag",
            |path| {
                git(path, &["tag", SECRET, "feature"]);
                git(path, &["tag", "v2", "feature"]);
            },
            &["refs/heads/main", "refs/tags/v2"],
        ),
        (
            "a tag on what does not go",
            |path| {
                git(path, &["checkout", "-q", "--detach"]);
                commit(path, "gone.txt", SECRET.as_bytes(), "gone");
                git(path, &["tag", "away"]);
                git(path, &["checkout", "-q", "main"]);
                git(path, &["tag", "of-a-tree", "main^{tree}"]);
            },
            &["refs/heads/main"],
        ),
        (
            "the name of the default branch",
            |path| {
                let name = format!("refs/remotes/origin/{SECRET}");
                git(path, &["update-ref", &name, "main"]);
                git(path, &["symbolic-ref", "refs/remotes/origin/HEAD", &name]);
            },
            &[],
        ),
    ];
    for (case, make, expected) in cases {
        let dir = repository(make);
        let (packed, sandbox) = pack(dir.path(), &start(), 1 << 29);
        assert_eq!(names(&packed), *expected, "{case}");
        assert_eq!(packed.tainted, None, "{case}");
        let log = git(sandbox.path(), &["log", "--format=%s", "own"]);
        assert_eq!(log, "feature\nfirst", "{case}");
        let objects = git(
            sandbox.path(),
            &["cat-file", "--batch-all-objects", "--batch"],
        );
        assert!(
            !objects.contains(SECRET) && !objects.contains("DAYTONA_API_KEY"),
            "{case}"
        );
    }
}

#[test]
fn what_does_not_fit_or_is_not_wanted_stays_and_the_work_goes() {
    let mut state = 1_u64;
    let mut next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    let noise: Vec<u8> = (0..400_000).map(&mut next).collect();
    let dir = repository(|path| commit(path, "large", &noise, "large"));
    for (history, limit, expected) in [
        (50, 1 << 29, &["refs/heads/main"][..]),
        (50, 100_000, &[]),
        (0, 1 << 29, &[]),
    ] {
        let start = Start {
            history,
            ..Start::default()
        };
        let (packed, sandbox) = pack(dir.path(), &start, limit);
        assert_eq!(names(&packed), expected, "{history} {limit}");
        assert_eq!(git(sandbox.path(), &["show", "own:f.txt"]), "feature");
    }
    // One commit each: they have nothing in common there.
    let start = Start {
        history: 1,
        ..Start::default()
    };
    let (_, sandbox) = pack(dir.path(), &start, 1 << 29);
    assert_eq!(git(sandbox.path(), &["rev-list", "--count", "main"]), "1");
}

#[test]
fn a_branch_that_is_checked_out_is_none_of_the_others() {
    let dir = repository(|_| {});
    let path = dir.path();
    for (head, branch, expected) in [
        ("main", "main", &[][..]),
        ("feature", "feature", &["refs/heads/main"]),
        // A detached HEAD is on `main` in the sandbox.
        ("--detach", "main", &[]),
    ] {
        git(path, &["checkout", "-q", head]);
        let (packed, _) = pack(path, &start(), 1 << 29);
        assert_eq!(
            (packed.branch.as_str(), names(&packed)),
            (branch, expected.to_vec())
        );
    }
    git(path, &["checkout", "-q", "feature"]);
    git(path, &["update-ref", "refs/remotes/origin/main", "main"]);
    git(path, &["config", "branch.feature.remote", "."]);
    git(path, &["config", "branch.feature.merge", "refs/heads/main"]);
    let (packed, _) = pack(path, &start(), 1 << 29);
    assert_eq!(
        names(&packed),
        ["refs/heads/main", "refs/remotes/origin/main"]
    );
    let upstream = packed.refs.upstream.expect("there");
    assert_eq!(
        (&*upstream.remote, &*upstream.tracking),
        (".", "refs/heads/main")
    );
}

#[test]
fn a_file_in_another_encoding_than_its_attribute_names_goes_as_it_is_and_keeps_nothing_here() {
    let dir = repository(|_| {});
    let path = dir.path();
    let attributes = "*.u working-tree-encoding=UTF-16\n*.k working-tree-encoding=NONE-SUCH\n";
    for (name, content) in [
        (".gitattributes", attributes),
        ("one.u", "plain\n"),
        ("two words.k", "plain\n"),
        ("new.txt", "new\n"),
        ("f.txt", "edited\n"),
    ] {
        fs::write(path.join(name), content).expect("written");
    }
    let (_, sandbox) = pack(path, &start(), 1 << 29);
    for (name, content) in [
        ("one.u", "plain"),
        ("two words.k", "plain"),
        ("new.txt", "new"),
        ("f.txt", "edited"),
    ] {
        let blob = git(
            sandbox.path(),
            &["cat-file", "blob", &format!("own:{name}")],
        );
        assert_eq!(blob, content, "{name}");
    }
}

#[test]
fn edits_that_git_is_told_not_to_see_stay_and_are_named() {
    let dir = repository(|_| {});
    let path = dir.path();
    for name in ["skipped", "assumed", "same", "seen", "gone"] {
        commit(path, name, b"committed\n", name);
    }
    git(
        path,
        &["update-index", "--skip-worktree", "skipped", "same", "gone"],
    );
    git(path, &["update-index", "--assume-unchanged", "assumed"]);
    for name in ["skipped", "assumed", "seen"] {
        fs::write(path.join(name), "mine\n").expect("written");
    }
    // What was only touched is no edit.
    fs::write(path.join("same"), "committed\n").expect("written");
    fs::remove_file(path.join("gone")).expect("removed");
    let before = git(path, &["ls-files", "-v"]);
    let (packed, sandbox) = pack(path, &start(), 1 << 29);
    assert_eq!(packed.hidden, ["assumed", "skipped"]);
    for (name, content) in [
        ("skipped", "committed"),
        ("assumed", "committed"),
        ("seen", "mine"),
        ("gone", "committed"),
    ] {
        let file = format!("own:{name}");
        assert_eq!(git(sandbox.path(), &["cat-file", "blob", &file]), content);
    }
    assert_eq!(git(path, &["ls-files", "-v"]), before);
    // In a sparse checkout the mark says that a file is not there.
    git(path, &["sparse-checkout", "set", "--no-cone", "/*"]);
    git(path, &["update-index", "--skip-worktree", "skipped"]);
    assert_eq!(pack(path, &start(), 1 << 29).0.hidden, [""; 0]);
}
