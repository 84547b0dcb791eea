//! A project that is half made has no state: nothing is taken from it, and nothing is put back.

use super::setup::{git, pack};
use super::work::{files, synced};
use super::*;
use protocol::Code;
use std::os::unix::fs::PermissionsExt;

/// A project of a few files on the user's side, packed: its commit and the upload.
fn source(sandbox: &Sandbox) -> (String, PathBuf) {
    let source = sandbox.dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    for n in 0..5 {
        std::fs::write(source.join(format!("{n}.txt")), format!("{n}\n")).unwrap();
    }
    git(&source, &["init", "-q"]);
    git(&source, &["add", "-A"]);
    git(&source, &["commit", "-qm", "first"]);
    let upload = sandbox.dir.path().join("p.pack");
    pack(&source, "HEAD", &upload);
    (git(&source, &["rev-parse", "HEAD"]), upload)
}

fn setup(sandbox: &Sandbox, id: &str) -> Value {
    let (commit, upload) = source(sandbox);
    let base = json!({ "pack": [upload], "commit": commit, "branch": "main" });
    sandbox.op(
        "setup",
        json!({ "root": sandbox.root(), "sandbox": id, "base": base }),
    )
}

fn sync(sandbox: &Sandbox, id: &str) -> Value {
    sandbox.op(
        "sync",
        json!({ "root": sandbox.root(), "sandbox": id, "message": "m", "have": [] }),
    )
}

fn restore(sandbox: &Sandbox, id: &str) -> Value {
    sandbox.op(
        "restore",
        json!({ "root": sandbox.root(), "sandbox": id, "to": "latest" }),
    )
}

/// What a git in front of the real one does in the command that `case` matches.
fn faulty_git(sandbox: &Sandbox, case: &str, does: &str) -> String {
    let dir = sandbox.dir.path().join("faulty");
    std::fs::create_dir_all(&dir).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in {case}) {does};; esac\nPATH=${{PATH#*:}} exec git \"$@\"\n"
    );
    std::fs::write(dir.join("git"), script).unwrap();
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.join("git"), executable).unwrap();
    format!("{}:{}", dir.display(), std::env::var("PATH").unwrap())
}

#[test]
fn without_a_setup_that_ended_nothing_is_taken_or_put_back() {
    // What is in the project directory, as a command, and why a request finds no project there.
    for (does, why) in [
        ("true", "nothing was brought in"),
        ("echo image > image.txt", "only the image's files are there"),
        (
            "git init -q && echo image > image.txt && git add -A && git commit -qm image",
            "only the image's repository is there",
        ),
        (
            "git init -q && echo another > .git/opencode-sandbox",
            "it is another sandbox's",
        ),
        (
            "git init -q && echo here > .git/opencode-sandbox && touch .git/opencode-checkout",
            "not all files are there",
        ),
    ] {
        let sandbox = Sandbox::new();
        let done = Command::new("sh")
            .args(["-c", &does.replace("echo here >", "printf here >")])
            .env("GIT_AUTHOR_NAME", "i")
            .env("GIT_AUTHOR_EMAIL", "i@localhost")
            .env("GIT_COMMITTER_NAME", "i")
            .env("GIT_COMMITTER_EMAIL", "i@localhost")
            .current_dir(sandbox.root())
            .status();
        assert!(done.unwrap().success());
        for request in [sync(&sandbox, "here"), restore(&sandbox, "here")] {
            let error = sandbox.send(&request).result.unwrap_err();
            assert_eq!(error.code, Code::NotSetUp, "{why}: {error:?}");
        }
        let git_dir = sandbox.path(".git");
        assert_eq!(git_dir.exists(), does.contains("init"), "{why}");
        assert!(!git_dir.join("refs/opencode").exists(), "{why}");
    }
}

#[test]
fn a_setup_that_fails_at_any_step_leaves_no_state_and_the_next_one_a_whole_project() {
    for case in [
        "*\" init \"*",
        "*\" index-pack \"*",
        "*\" rev-list \"*",
        "*\" update-ref \"*main*",
        "*\" update-ref \"*base*",
        "*\" symbolic-ref \"*",
        "*\" read-tree \"*",
        "*\" config user.email \"*",
    ] {
        // It fails, or its runner is killed with it.
        for does in ["exit 1", "kill -9 $PPID; exit 1"] {
            let sandbox = Sandbox::new();
            let request = setup(&sandbox, "here");
            let path = faulty_git(&sandbox, case, does);
            let out = sandbox.command(&request).env("PATH", path).output();
            let text = String::from_utf8(out.unwrap().stdout).unwrap();
            let ended = text.contains("\"state\":\"ready\"");
            assert!(!ended, "{case}: {text}");
            let error = sandbox.send(&sync(&sandbox, "here")).result.unwrap_err();
            assert_eq!(error.code, Code::NotSetUp, "{case}, {does}: {error:?}");

            sandbox.send(&request).result.unwrap();
            let home = synced(sandbox.send(&sync(&sandbox, "here")).result);
            assert_eq!(Some(home.tip.as_str()), request["base"]["commit"].as_str());
        }
    }
}

#[test]
fn a_sync_during_a_setup_waits_for_its_end() {
    let sandbox = Sandbox::new();
    let gate = sandbox.dir.path().join("gate");
    let wait = format!(
        "touch {0}.reached; until [ -e {0}.open ]; do sleep 0.01; done",
        gate.display()
    );
    let path = faulty_git(&sandbox, "*\" read-tree \"*", &wait);
    let request = setup(&sandbox, "here");
    let mut runner = sandbox
        .command(&request)
        .env("PATH", path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the files are about to be made", || {
        gate.with_extension("reached").exists()
    });
    let asked = sync(&sandbox, "here");
    let mut syncing = sandbox
        .command(&asked)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It has the project's directory open, and waits for the lock on it.
    let root = sandbox.root();
    eventually("the sync is at the lock", || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", syncing.id()));
        let mut links = files
            .into_iter()
            .flatten()
            .flatten()
            .map(|file| std::fs::read_link(file.path()));
        links.any(|link| link.is_ok_and(|link| link == root))
    });
    assert!(syncing.try_wait().unwrap().is_none(), "it waits");
    std::fs::write(gate.with_extension("open"), "").unwrap();
    assert!(runner.wait().unwrap().success());
    let out = syncing.wait_with_output().unwrap();
    let home = synced(parse(asked["id"].as_str().unwrap(), &out).result);
    assert_eq!(files(&sandbox, &home.tip).len(), 5);
}

#[test]
fn a_project_whose_git_directory_the_agent_removed_is_still_set_up_and_never_overwritten() {
    let sandbox = Sandbox::new();
    let request = setup(&sandbox, "here");
    sandbox.send(&request).result.unwrap();
    std::fs::remove_dir_all(sandbox.path(".git")).unwrap();
    std::fs::write(sandbox.path("0.txt"), "mine\n").unwrap();
    let mut again = sandbox.op(
        "setup",
        json!({ "root": sandbox.root(), "sandbox": "here" }),
    );
    again["base"] = request["base"].clone();
    let source = sandbox.dir.path().join("source");
    pack(&source, "HEAD", &sandbox.dir.path().join("p.pack"));
    let error = sandbox.send(&again).result.unwrap_err();
    assert_eq!(error.code, Code::HoldsWork, "{error:?}");
    assert!(error.metadata.is_some(), "{error:?}");
    assert_eq!(sandbox.text("0.txt"), "mine\n");
    let home = synced(sandbox.send(&sync(&sandbox, "here")).result);
    assert_eq!(files(&sandbox, &home.tip).len(), 5);
}
