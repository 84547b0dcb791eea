//! Sandboxes that are not as they should be.

use crate::world::{World, git, until};
use plugin::{Executed, Nothing};
use serde_json::{Value, json};
use testkit::run;

#[test]
fn odd_sandboxes_work_all_the_same() {
    run(async {
        for snapshot in ["test-noisy-shell", "test-slow-create"] {
            let world = World::new();
            let open = world.open_snapshot(snapshot).await;
            let read = open
                .ok("s", "read", json!({ "filePath": "draft.txt" }))
                .await;
            assert!(
                read.contains("not committed") && !read.contains("noise"),
                "{snapshot}: {read}"
            );
            world.forget_requests().await;
            // A shell that prints on its own does so in a command as well.
            assert!(open.bash("s", "echo hi").await.contains("hi"), "{snapshot}");
            assert_eq!(world.requests().await, 1, "{snapshot}");
        }
    });
}

#[test]
fn a_read_only_home_is_no_place_for_the_project_but_another_is() {
    run(async {
        let world = World::new();
        let options = json!({ "snapshot": "test-readonly-home" });
        let open = world.open_with(options, world.host(&world.local.url)).await;
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(
            error.contains("/home/daytona/project") && error.contains("projectDir"),
            "{error}"
        );

        let world = World::new();
        let options = json!({ "snapshot": "test-readonly-home", "projectDir": "/tmp/project" });
        let open = world.open_with(options, world.host(&world.local.url)).await;
        let read = open
            .ok("s", "read", json!({ "filePath": "draft.txt" }))
            .await;
        assert!(read.contains("not committed"), "{read}");
        open.ok(
            "s",
            "edit",
            json!({ "filePath": "a.txt", "oldString": "two", "newString": "2" }),
        )
        .await;
        assert!(
            open.bash("s", "pwd; cat a.txt")
                .await
                .contains("/tmp/project\none\n2")
        );
    });
}

#[test]
fn a_full_disk_can_be_read_and_be_freed() {
    run(async {
        let world = World::new();
        // The project, the runner and what a command writes share eight MiB.
        let open = world.open_snapshot("test-small-disk").await;
        let first = open
            .call(
                "s",
                "bash",
                json!({ "command": "head -c 9000000 /dev/zero > fill; true" }),
            )
            .await;
        assert!(
            matches!(first, Executed::Done(_)),
            "{first:?}\n{}",
            open.host.logged().join("\n")
        );
        let read = open.ok("s", "read", json!({ "filePath": "a.txt" })).await;
        assert!(read.contains("two"), "{read}");
        let content = "x".repeat(100_000);
        let error = open
            .error(
                "s",
                "write",
                json!({ "filePath": "more", "content": content }),
            )
            .await;
        assert!(error.contains("disk is full"), "{error}");
        open.bash("s", "rm fill").await;
        open.ok(
            "s",
            "write",
            json!({ "filePath": "more", "content": content }),
        )
        .await;
    });
}

#[test]
fn what_cannot_work_says_what_is_missing() {
    run(async {
        for (snapshot, expected) in [
            ("test-no-git", "git"),
            ("test-aarch64", "does not start in this sandbox"),
        ] {
            let world = World::new();
            let open = world.open_snapshot(snapshot).await;
            match open.call("s", "bash", json!({ "command": "true" })).await {
                // An emulator is registered on this machine.
                Executed::Done(_) if snapshot == "test-aarch64" => {}
                Executed::Failed { message } => {
                    assert!(message.contains(expected), "{snapshot}: {message}")
                }
                other => panic!("{snapshot}: {other:?}"),
            }
            open.plugin.dispose(Nothing {}).await;
            assert!(world.sandboxes().await.is_empty(), "{snapshot}");
        }
    });
}

/// The project gets a committed file that cannot be compressed.
pub(crate) fn add_large_file(world: &World) {
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(2_000_000)
    .collect();
    std::fs::write(world.project.path().join("large.bin"), bytes).expect("written");
    git(world.project.path(), &["add", "large.bin"]);
    git(world.project.path(), &["commit", "--quiet", "-m", "large"]);
}

/// What was uploaded since the last look: requests and bytes.
pub(crate) async fn uploaded(world: &World) -> (u64, u64) {
    let requests = world.local.control("GET", "/_test/requests", json!({}));
    let requests = requests.await;
    let route = "POST /toolbox/{sandboxId}/files/bulk-upload";
    world.forget_requests().await;
    (
        requests["counts"][route].as_u64().unwrap_or_default(),
        requests["bytes"][route]["in"].as_u64().unwrap_or_default(),
    )
}

async fn idle(world: &World, open: &crate::world::Open, session: &str) {
    open.event("session.idle", json!({ "sessionID": session }))
        .await;
    until("the work is home", async || {
        world.entry(session)["unsynced"].is_null()
    })
    .await;
}

#[test]
fn a_prepared_snapshot_with_the_project_in_it_gets_only_what_it_does_not_have() {
    run(async {
        let world = World::new();
        add_large_file(&world);
        // The snapshot is made of a sandbox that a session worked in.
        let open = world.open().await;
        let work = "mkdir target && echo built > target/cache && git checkout -qb side && echo 1 > side.txt \
            && git add side.txt && git commit -qm side && git checkout -q main \
            && git commit -q --allow-empty -m old && echo old > old.txt && git stash -q -u && echo old > old.txt";
        open.bash("old", work).await;
        let old = world.sandbox_of("old");
        let path = format!("/api/sandbox/{old}");
        let snapshot = json!({ "name": "prepared" });
        world
            .local
            .control("POST", &format!("{path}/snapshot"), snapshot)
            .await;
        until("the snapshot is there", async || {
            let sandbox = world.local.control("GET", &path, json!({})).await;
            sandbox["state"] == "started"
        })
        .await;
        // The user goes on.
        let project = world.project.path();
        std::fs::write(project.join("a.txt"), "changed\n").expect("written");
        git(project, &["commit", "--quiet", "-am", "second"]);

        let open = world.open_snapshot("prepared").await;
        uploaded(&world).await;
        let look = "git status --porcelain; git log --format=%s; git branch --format='%(refname)'; git stash list; ls; cat a.txt target/cache; git fsck --strict 2>&1 | grep -v dangling; true";
        let looked = open.bash("first", look).await;
        let (_, everything) = uploaded(&world).await;
        let known = world.store()["snapshots"]["prepared"].clone();
        assert!(
            known.as_array().is_some_and(|all| !all.is_empty()),
            "{known}"
        );

        assert_eq!(open.bash("second", look).await, looked);
        assert_eq!(
            looked,
            "Project as it was on the host\nsecond\nlarge\nfirst\nrefs/heads/main\n\
             a.txt\ndraft.txt\nlarge.bin\nsrc\ntarget\nchanged\nbuilt\n"
        );
        let (requests, rest) = uploaded(&world).await;
        let runner = testkit::runners().join("runner-x86_64.gz");
        let runner = std::fs::metadata(runner).expect("the runner").len();
        assert_eq!(requests, 1);
        // The runner goes up in the same request.
        assert!(
            rest < runner + 100_000 && everything > rest + 1_900_000,
            "{everything} at first, then {rest}, of which the runner is {runner}"
        );
        let compared = "sha256sum large.bin";
        let here = std::process::Command::new("sha256sum")
            .arg("large.bin")
            .current_dir(project)
            .output()
            .expect("sha256sum runs");
        assert_eq!(
            open.bash("second", compared).await,
            String::from_utf8_lossy(&here.stdout)
        );

        open.bash("second", "echo new > new.txt").await;
        idle(&world, &open, "second").await;
        let home = world.entry("second")["home"]["branch"].clone();
        let branch = home.as_str().expect("a branch");
        let log = git(project, &["log", "--format=%s", branch]);
        assert_eq!(
            log.lines().collect::<Vec<_>>(),
            [
                "OpenCode: work in the sandbox",
                "Project as it was on the host",
                "second",
                "large",
                "first"
            ]
        );
        let changed = git(
            project,
            &["diff", "--name-only", &format!("{branch}~1"), branch],
        );
        assert_eq!(changed, "new.txt\n");
        // The old session's branches are not this one's.
        let others = git(project, &["branch", "--list", &format!("{branch}-*")]);
        assert_eq!(others, "");
        git(project, &["fsck", "--strict"]);
    });
}

#[test]
fn a_snapshot_that_was_built_anew_without_the_project_gets_everything() {
    run(async {
        let world = World::new();
        add_large_file(&world);
        let open = world.open_snapshot("daytona-small").await;
        open.bash("before", "true").await;
        let head = git(world.project.path(), &["rev-parse", "HEAD"]);
        let mut store = world.store();
        assert_eq!(store["snapshots"]["daytona-small"], Value::Null);
        store["snapshots"]["daytona-small"] = json!([head.trim()]);
        std::fs::write(world.store_path(), store.to_string()).expect("written");
        uploaded(&world).await;

        let looked = open
            .bash("s", "git status --porcelain; git log --format=%s; wc -c < large.bin; echo new > new.txt")
            .await;
        assert_eq!(
            looked,
            "Project as it was on the host\nlarge\nfirst\n2000000\n"
        );
        let (requests, _) = uploaded(&world).await;
        assert_eq!(requests, 2, "what the snapshot lacked, then everything");
        idle(&world, &open, "s").await;
        let home = world.entry("s")["home"]["branch"].clone();
        let new = format!("{}:new.txt", home.as_str().expect("a branch"));
        assert_eq!(git(world.project.path(), &["show", &new]), "new\n");
        // It is known now, and the next session does not try.
        assert_eq!(world.store()["snapshots"]["daytona-small"], Value::Null);
        open.bash("next", "true").await;
        assert_eq!(uploaded(&world).await.0, 1);
    });
}

/// Mounts a directory of a running sandbox anew; false if this machine does not let a test do that.
fn remount(marker: &str, options: &str, dir: &str) -> bool {
    let all = std::fs::read_dir("/proc").expect("processes").flatten();
    let inside = all.map(|entry| entry.path()).find(|process| {
        std::fs::read(process.join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line) == format!("sleep\0{marker}\0"))
    });
    let inside = inside.expect("the sandbox's process").join("ns/mnt");
    let mounted = std::process::Command::new("nsenter")
        .arg(format!("--mount={}", inside.display()))
        .args(["mount", "-o", options, dir])
        .output();
    mounted.is_ok_and(|output| output.status.success())
}

#[test]
fn a_home_that_runs_no_programs_any_more_is_no_reason_to_stop() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let marker = format!("{}.5", 1_000_000_000 + u64::from(std::process::id()));
        let command = json!({ "command": format!("exec sleep {marker}"), "background": true });
        open.ok("s", "bash", command).await;
        let call = json!({ "command": "echo here" });
        if !remount(&marker, "remount,bind,noexec", "/home/daytona") {
            return testkit::skip(
                "a_home_that_runs_no_programs_any_more_is_no_reason_to_stop",
                "this user cannot change the mounts of a sandbox",
            );
        }
        assert_eq!(open.ok("s", "bash", call.clone()).await, "here\n");
        world.forget_requests().await;
        assert_eq!(open.ok("s", "bash", call.clone()).await, "here\n");
        assert_eq!(world.requests().await, 1);

        assert!(remount(&marker, "remount,bind,noexec", "/tmp"));
        open.bash("s", "rm -rf /tmp/.opencode-daytona-*").await;
        let shm = "/dev/shm/.opencode-daytona-1000/bin";
        let looked = open.bash("s", &format!("ls {shm}")).await;
        assert!(looked.starts_with("runner-"), "{looked}");

        // bubblewrap's /dev is one mount.
        assert!(remount(&marker, "remount,noexec", "/dev"));
        let error = open.error("s", "bash", call).await;
        assert!(
            error.contains("the home directory, /tmp, /dev/shm: mounted noexec"),
            "{error}"
        );
    });
}
