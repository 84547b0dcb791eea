//! Sandboxes that are not as they should be.

use crate::world::World;
use plugin::{Executed, Nothing};
use serde_json::json;
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
