//! Checkpoints, and the files as they were.

use super::work::{agents, at, commit, files, project, request, sync, synced};
use super::*;
use protocol::Code;
use std::os::unix::fs::PermissionsExt;

/// A command in a turn.
fn turn(sandbox: &Sandbox, turn: &str, command: &str) -> Value {
    let mut call = sandbox.call("bash", json!({ "command": command }));
    call["turn"] = json!(turn);
    call
}

fn work(sandbox: &Sandbox, name: &str, command: &str) {
    let output = done(sandbox.send(&turn(sandbox, name, command)).result).unwrap();
    assert_eq!(output.metadata["exit"], 0, "{output:?}");
}

fn before(sandbox: &Sandbox, turn: &str, first: bool) -> Value {
    sandbox.op(
        "restore",
        json!({ "root": sandbox.root(), "to": { "before": { "turn": turn, "first": first } } }),
    )
}

fn latest(sandbox: &Sandbox) -> Value {
    sandbox.op("restore", json!({ "root": sandbox.root(), "to": "latest" }))
}

fn restored(reply: Reply) -> bool {
    match reply.result.unwrap() {
        Outcome::Restored(restored) => restored.changed,
        other => panic!("{other:?}"),
    }
}

fn turns(sandbox: &Sandbox) -> Vec<String> {
    let list = at(
        sandbox,
        &[
            "for-each-ref",
            "--format=%(refname:lstrip=3)",
            "refs/opencode/turn",
        ],
    );
    list.lines().map(str::to_string).collect()
}

#[test]
fn undo_and_redo_go_through_the_turns() {
    let sandbox = project("//- /n.txt\n0\n//- /.gitignore\nignored\n");
    std::fs::write(sandbox.path("ignored"), "i").unwrap();
    work(
        &sandbox,
        "msg_1",
        "echo 1 > n.txt; mkdir -p new/deep; echo 1 > new/deep/one",
    );
    work(
        &sandbox,
        "msg_2",
        "echo 2 > n.txt; rm -r new; git add -A; git commit -qm two; ln -s n.txt link",
    );
    done(
        sandbox
            .send(&{
                let mut call = sandbox.call("read", json!({ "filePath": "n.txt" }));
                call["turn"] = json!("msg_3");
                call
            })
            .result,
    )
    .unwrap();
    work(
        &sandbox,
        "msg_4",
        "echo 4 > n.txt; chmod +x n.txt; rm link; mkdir link; echo 4 > link/f",
    );
    assert_eq!(
        turns(&sandbox),
        ["msg_1", "msg_2", "msg_4"],
        "reading needs none"
    );
    let own = agents(&sandbox);
    let look = || {
        let link = match std::fs::read_link(sandbox.path("link")) {
            Ok(_) => "link",
            Err(_) if sandbox.path("link/f").exists() => "directory",
            Err(_) => "none",
        };
        let mode = sandbox
            .path("n.txt")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        (
            sandbox.text("n.txt").trim().to_string(),
            sandbox.path("new/deep/one").exists(),
            link,
            mode & 0o100 != 0,
        )
    };
    let state = |n: &str, new, link, exec| (n.to_string(), new, link, exec);
    let (zero, one, two, four) = (
        state("0", false, "none", false),
        state("1", true, "none", false),
        state("2", false, "link", false),
        state("4", false, "directory", true),
    );
    assert_eq!(look(), four);
    for (request, changed, expected) in [
        // There is nothing after the last turn.
        (before(&sandbox, "msg_5", true), false, &four),
        (latest(&sandbox), false, &four),
        // One step, and back.
        (before(&sandbox, "msg_4", true), true, &two),
        (latest(&sandbox), true, &four),
        (latest(&sandbox), false, &four),
        // A turn that only read leads to the next.
        (before(&sandbox, "msg_3", true), true, &two),
        // More steps down, one up, all the way back.
        (before(&sandbox, "msg_2", false), true, &one),
        (before(&sandbox, "msg_0", false), true, &zero),
        (before(&sandbox, "msg_1", false), true, &zero),
        (before(&sandbox, "msg_2", false), true, &one),
        (before(&sandbox, "msg_4", false), true, &two),
        (latest(&sandbox), true, &four),
    ] {
        assert_eq!(restored(sandbox.send(&request)), changed, "{request}");
        assert_eq!(&look(), expected, "{request}");
        assert!(
            !sandbox.path("new").exists() || expected == &one,
            "no empty directories"
        );
        assert_eq!(sandbox.text("ignored"), "i");
        let repeated = sandbox.send(&request);
        assert!(repeated.replayed);
        assert_eq!(restored(repeated), changed, "the same answer");
        assert_eq!(&look(), expected);
    }
    assert_eq!(agents(&sandbox)[..2], own[..2], "HEAD and the index stay");
}

#[test]
fn what_an_undo_takes_back_goes_home_as_a_change() {
    let sandbox = project("//- /a.txt\n0\n");
    work(&sandbox, "t1", "echo 1 > a.txt; git commit -qam one");
    let first = sync(&sandbox, json!({})).tip;
    assert!(restored(sandbox.send(&before(&sandbox, "t1", true))));
    let tip = sync(&sandbox, json!({})).tip;
    assert_eq!(at(&sandbox, &["rev-parse", &format!("{tip}^")]), first);
    assert_eq!(at(&sandbox, &["show", &format!("{tip}:a.txt")]), "0");
    // A fork after the first message starts from what was before the next turn.
    work(&sandbox, "t2", "echo 2 > a.txt");
    for (after, text) in [("t0", "0"), ("t1", "0"), ("t2", "2")] {
        let fork = sync(&sandbox, json!({ "after": after, "have": [] }));
        assert_eq!(
            at(&sandbox, &["show", &format!("{}:a.txt", fork.tip)]),
            text,
            "{after}"
        );
        assert!(fork.bundle.is_some() && fork.branches.is_empty());
        assert_eq!(
            at(&sandbox, &["rev-parse", "refs/opencode/work"]),
            tip,
            "it stays"
        );
    }
}

#[test]
fn eight_calls_at_once_keep_one_state_from_before_all_of_them() {
    let sandbox = project("//- /a.txt\n0\n");
    let calls: Vec<Value> = (0..8)
        .map(|n| {
            turn(
                &sandbox,
                "msg_1",
                &format!("echo {n} > new-{n}; echo {n} > a.txt"),
            )
        })
        .collect();
    std::thread::scope(|scope| {
        for call in &calls {
            scope.spawn(|| done(sandbox.send(call).result).unwrap());
        }
    });
    assert_eq!(turns(&sandbox), ["msg_1"]);
    assert_eq!(
        files(&sandbox, "refs/opencode/turn/msg_1"),
        ["100644 a.txt"]
    );
    assert_eq!(
        at(&sandbox, &["show", "refs/opencode/turn/msg_1:a.txt"]),
        "0"
    );
    assert_eq!(std::fs::read_dir(sandbox.root()).unwrap().count(), 10);
    // Packed, it is known as well.
    let kept = at(&sandbox, &["rev-parse", "refs/opencode/turn/msg_1"]);
    at(&sandbox, &["pack-refs", "--all"]);
    work(&sandbox, "msg_1", "echo more > more");
    assert_eq!(
        at(&sandbox, &["rev-parse", "refs/opencode/turn/msg_1"]),
        kept
    );
}

#[test]
fn the_oldest_checkpoints_make_room() {
    let sandbox = project("//- /a.txt\n0\n");
    let script: String = (0..205)
        .map(|n| format!("update refs/opencode/turn/m{n:03} HEAD\n"))
        .collect();
    std::fs::write(sandbox.dir.path().join("script"), script).unwrap();
    work(&sandbox, "m000", "git update-ref --stdin < ../script");
    work(&sandbox, "m999", "true");
    let kept = turns(&sandbox);
    assert_eq!(
        (kept.len(), kept[0].as_str(), kept[199].as_str()),
        (200, "m006", "m999")
    );
}

#[test]
fn a_checkpoint_that_cannot_be_made_stops_no_tool() {
    let sandbox = Sandbox::new();
    work(&sandbox, "m1", "echo 1 > f");
    assert!(
        !sandbox.path(".git").exists(),
        "nobody asked for a repository"
    );
    assert!(!restored(sandbox.send(&before(&sandbox, "m1", true))));
    std::fs::create_dir(sandbox.path(".git")).unwrap();
    work(&sandbox, "m2", "rm -r .git");
    for bad in ["../x", "", "a b"] {
        let error = sandbox
            .send(&turn(&sandbox, bad, "true"))
            .result
            .unwrap_err();
        assert_eq!(error.code, Code::BadRequest, "{bad:?}");
        let error = sandbox
            .send(&before(&sandbox, bad, true))
            .result
            .unwrap_err();
        assert_eq!(error.code, Code::BadRequest, "{bad:?}");
    }
}

#[test]
fn what_the_restored_rules_ignore_is_left_alone() {
    let sandbox = project("//- /.gitignore\n.env\n//- /a.txt\n0\n");
    std::fs::write(sandbox.path(".env"), "key").unwrap();
    work(
        &sandbox,
        "m1",
        "echo > .gitignore; echo 1 > a.txt; echo x > x.txt",
    );
    assert!(restored(sandbox.send(&before(&sandbox, "m1", true))));
    assert_eq!(
        (
            sandbox.text(".gitignore").as_str(),
            sandbox.text(".env").as_str()
        ),
        (".env\n", "key")
    );
    assert!(!sandbox.path("x.txt").exists());
    assert!(restored(sandbox.send(&latest(&sandbox))));
    assert_eq!(
        (
            sandbox.text(".gitignore").as_str(),
            sandbox.text(".env").as_str()
        ),
        ("\n", "key")
    );
}

#[test]
fn a_clone_that_a_turn_made_goes_and_comes_back() {
    let sandbox = project("//- /a.txt\n0\n");
    work(
        &sandbox,
        "m1",
        "git init -q sub; echo s > sub/f; echo 1 > a.txt",
    );
    assert!(restored(sandbox.send(&before(&sandbox, "m1", true))));
    assert!(!sandbox.path("sub/f").exists());
    assert!(restored(sandbox.send(&latest(&sandbox))));
    assert_eq!(
        (
            sandbox.text("sub/f").as_str(),
            sandbox.text("a.txt").as_str()
        ),
        ("s\n", "1\n")
    );
}

/// A directory for `PATH` with a git that waits in the command `name` until `open` is there, once
/// `armed` is. `half` is what it has done by then.
fn slow(sandbox: &Sandbox, name: &str, half: &str) -> PathBuf {
    let dir = sandbox.dir.path().join("gate");
    std::fs::create_dir(&dir).unwrap();
    let gate = dir.display();
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *\" {name} \"*) if [ -e {gate}/armed ]; then {half}; touch {gate}/reached; until [ -e {gate}/open ]; do sleep 0.01; done; fi;; esac\nPATH=${{PATH#*:}} exec git \"$@\"\n"
    );
    std::fs::write(dir.join("git"), script).unwrap();
    std::fs::set_permissions(dir.join("git"), std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// Kills the runner once git waits at the gate; the gate opens while the request comes again.
fn interrupt(sandbox: &Sandbox, gate: &Path, request: &Value) -> Reply {
    std::fs::write(gate.join("armed"), "").unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut runner = sandbox
        .command(request)
        .env("PATH", format!("{}:{path}", gate.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    eventually("git is at work", || gate.join("reached").exists());
    runner.kill().unwrap();
    runner.wait().unwrap();
    std::thread::scope(|scope| {
        let again = scope.spawn(|| sandbox.send(request));
        std::fs::write(gate.join("open"), "").unwrap();
        again.join().unwrap()
    })
}

#[test]
fn a_sync_that_is_killed_is_done_when_it_is_asked_again() {
    let sandbox = project("//- /a.txt\n0\n");
    let gate = slow(&sandbox, "add", "git update-index --add b.txt");
    std::fs::write(sandbox.path("b.txt"), "b\n").unwrap();
    let own = agents(&sandbox);
    let request = request(&sandbox, json!({ "have": [] }));
    let home = synced(interrupt(&sandbox, &gate, &request).result);
    assert_eq!(files(&sandbox, &home.tip), ["100644 a.txt", "100644 b.txt"]);
    assert_eq!(agents(&sandbox), own);
    // Locks of a git that was killed itself are no obstacle.
    for lock in [
        "opencode-index.lock",
        "refs/opencode/work.lock",
        "refs/opencode/out/0.lock",
    ] {
        std::fs::write(sandbox.path(".git").join(lock), "").unwrap();
    }
    std::fs::write(sandbox.path("c.txt"), "c\n").unwrap();
    assert_ne!(sync(&sandbox, json!({ "have": [home.tip] })).tip, home.tip);
}

#[test]
fn an_undo_that_is_killed_is_completed_and_can_be_undone() {
    let sandbox = project("//- /b.txt\n0\n//- /z.txt\n0\n");
    let gate = slow(&sandbox, "read-tree", "rm a.txt; echo 0 > b.txt");
    work(
        &sandbox,
        "m1",
        "echo 1 > b.txt; echo 1 > z.txt; echo 1 > a.txt",
    );
    let undo = before(&sandbox, "m1", true);
    assert!(restored(interrupt(&sandbox, &gate, &undo)));
    let look = || {
        (
            sandbox.text("b.txt"),
            sandbox.text("z.txt"),
            sandbox.path("a.txt").exists(),
        )
    };
    assert_eq!(look(), ("0\n".to_string(), "0\n".to_string(), false));
    assert!(restored(sandbox.send(&latest(&sandbox))));
    assert_eq!(look(), ("1\n".to_string(), "1\n".to_string(), true));
}

#[test]
fn commands_in_the_background_are_counted_while_they_run() {
    let sandbox = project("//- /a.txt\n0\n");
    assert_eq!(sync(&sandbox, json!({})).jobs, 0);
    let mut call = sandbox.call("bash", json!({ "command": "cat", "background": true }));
    call["wait"] = json!({ "output_ms": 0, "max_ms": 0 });
    let Ok(Outcome::Running(job)) = sandbox.send(&call).result else {
        panic!("it does not run");
    };
    let other = sandbox.start("until [ -e go ]; do sleep 0.02; done", 60_000);
    assert_eq!(
        sync(&sandbox, json!({})).jobs,
        1,
        "one that a turn waits for is none"
    );
    sandbox
        .send(&sandbox.op("job_stop", json!({ "job": job.job, "reason": "asked" })))
        .result
        .unwrap();
    std::fs::write(sandbox.path("go"), "").unwrap();
    sandbox.wait(&other).unwrap();
    assert_eq!(sync(&sandbox, json!({})).jobs, 0);
}

#[test]
fn a_checkpoint_of_a_large_project_stores_only_what_changed() {
    let sandbox = project("");
    for n in 0..10_000u32 {
        let dir = sandbox.path(format!("d{}", n % 100));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("f{n}")), format!("{n}\n")).unwrap();
    }
    commit(&sandbox, "many");
    let objects = || -> u32 {
        let said = at(&sandbox, &["count-objects"]);
        said.split_whitespace().next().unwrap().parse().unwrap()
    };
    let before = objects();
    for name in ["m1", "m2", "m2"] {
        let start = Instant::now();
        work(&sandbox, name, "echo x > d1/f1; echo y > new");
        println!("{name}: {:?}", start.elapsed());
    }
    assert_eq!(turns(&sandbox), ["m1", "m2"]);
    // Two files, their directories and a commit.
    assert_eq!(objects() - before, 5);
}
