//! What a call costs, and which sandbox it works in.

use crate::world::{World, until};
use futures::future::join_all;
use plugin::Executed;
use serde_json::json;
use testkit::run;

const PATCH: &str = "*** Begin Patch
*** Add File: p1
+1
*** Add File: p2
+2
*** Add File: p3
+3
*** Update File: src/lib.rs
@@
-pub fn answer() -> u32 { 42 }
+pub fn answer() -> u32 { 43 }
*** Delete File: a.txt
*** End Patch";

#[test]
fn a_warm_call_is_one_request_whatever_the_tool() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.event("session.created", json!({ "info": { "id": "s" } }))
            .await;
        world.forget_requests().await;
        let first = open
            .ok("s", "read", json!({ "filePath": "draft.txt" }))
            .await;
        assert!(first.contains("not committed"), "{first}");
        let requests = world.requests().await;
        assert!(
            requests <= 4,
            "creation to first result took {requests} requests"
        );
        for (tool, args, expected) in [
            ("bash", json!({ "command": "pwd" }), "/home/daytona/project"),
            ("read", json!({ "filePath": "a.txt" }), "two"),
            (
                "write",
                json!({ "filePath": "new/b.txt", "content": "hi" }),
                "successfully",
            ),
            (
                "edit",
                json!({ "filePath": "a.txt", "oldString": "two", "newString": "2" }),
                "applied",
            ),
            (
                "glob",
                json!({ "pattern": "**/*.rs" }),
                "/home/daytona/project/src/lib.rs",
            ),
            (
                "grep",
                json!({ "pattern": "an.wer" }),
                "Line 1: pub fn answer",
            ),
            ("apply_patch", json!({ "patchText": PATCH }), "A p3"),
        ] {
            world.forget_requests().await;
            let output = open.ok("s", tool, args).await;
            assert_eq!(world.requests().await, 1, "{tool}");
            assert!(output.contains(expected), "{tool}: {output}");
        }
        let state = open
            .bash("s", "ls p1 p2 p3 a.txt; cat src/lib.rs new/b.txt")
            .await;
        assert!(
            state.contains("p3") && state.contains("43") && state.contains("cannot access 'a.txt'"),
            "{state}"
        );
    });
}

#[test]
fn ten_calls_at_once_on_a_fresh_session_make_one_sandbox() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let calls = (0..10).map(|n| {
            let open = &open;
            async move {
                open.bash("s", &format!("echo {n}; hostname >/dev/null"))
                    .await
            }
        });
        let outputs = join_all(calls).await;
        for (n, output) in outputs.iter().enumerate() {
            assert!(output.contains(&n.to_string()), "{output}");
        }
        assert_eq!(world.sandboxes().await, [world.sandbox_of("s")]);
    });
}

#[test]
fn eight_edits_of_one_file_at_once_are_all_applied() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let lines: String = (0..8).map(|n| format!("line <{n}>\n\n")).collect();
        open.ok(
            "s",
            "write",
            json!({ "filePath": "many", "content": lines }),
        )
        .await;
        let edits = (0..8).map(|n| {
            let args = json!({ "filePath": "many", "oldString": format!("<{n}>"), "newString": format!("[{n}]") });
            open.ok("s", "edit", args)
        });
        join_all(edits).await;
        let expected: String = (0..8).map(|n| format!("line [{n}]\n\n")).collect();
        let path = "/home/daytona/project/many";
        assert_eq!(
            world
                .inside(&world.sandbox_of("s"), &format!("cat {path}"))
                .await,
            expected.trim()
        );
    });
}

#[test]
fn a_subagent_works_in_its_parents_sandbox_and_another_root_session_does_not() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let parents = [
            ("child".to_string(), "s".to_string()),
            ("grandchild".into(), "child".into()),
        ];
        open.opencode.parents.borrow_mut().extend(parents);
        open.bash("s", "echo mine > mark").await;
        open.event(
            "session.created",
            json!({ "info": { "id": "born", "parentID": "s" } }),
        )
        .await;
        for session in ["child", "grandchild", "born"] {
            assert!(
                open.bash(session, "cat mark").await.contains("mine"),
                "{session}"
            );
        }
        assert!(!open.bash("other", "ls").await.contains("mark"));
        assert_eq!(world.sandboxes().await.len(), 2);
    });
}

#[test]
fn a_path_of_the_hosts_worktree_means_the_project_in_the_sandbox() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let host = world.project.path().to_string_lossy().into_owned();
        let read = open
            .ok("s", "read", json!({ "filePath": format!("{host}/a.txt") }))
            .await;
        assert!(read.contains("three"), "{read}");
        let listed = open
            .bash("s", &format!("cd {host}/src && pwd && ls {host}"))
            .await;
        assert!(
            listed.contains("/home/daytona/project/src\n") && listed.contains("draft.txt"),
            "{listed}"
        );
        let found = open
            .ok("s", "glob", json!({ "pattern": "*.txt", "path": host }))
            .await;
        assert!(found.contains("/home/daytona/project/a.txt"), "{found}");
        // Any other path of the host is a path in the sandbox, where it does not exist.
        let data = world.store_path().to_string_lossy().into_owned();
        let missing = open.error("s", "read", json!({ "filePath": data })).await;
        assert!(missing.contains("not found"), "{missing}");
    });
}

#[test]
fn a_refused_permission_means_that_nothing_happens() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for (permission, tool, args) in [
            ("bash", "bash", json!({ "command": "touch x" })),
            ("read", "read", json!({ "filePath": "a.txt" })),
            ("edit", "write", json!({ "filePath": "x", "content": "" })),
            (
                "edit",
                "edit",
                json!({ "filePath": "a.txt", "oldString": "a", "newString": "b" }),
            ),
            ("edit", "apply_patch", json!({ "patchText": PATCH })),
            ("glob", "glob", json!({ "pattern": "*" })),
            ("grep", "grep", json!({ "pattern": "x" })),
            (
                "external_directory",
                "read",
                json!({ "filePath": "/etc/passwd" }),
            ),
        ] {
            *open.opencode.rejects.borrow_mut() = vec![permission.into()];
            world.forget_requests().await;
            assert_eq!(
                open.call("s", tool, args).await,
                Executed::Rejected,
                "{tool}"
            );
            assert_eq!(world.requests().await, 0, "{tool}");
            let asked = open.opencode.asked.borrow_mut().pop().expect("a question");
            assert_eq!(asked.permission, permission, "{tool}");
        }
        assert!(world.sandboxes().await.is_empty());
    });
}

#[test]
fn bad_arguments_are_refused_before_anything_is_asked_or_sent() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        world.forget_requests().await;
        for (tool, args, expected) in [
            ("bash", json!({}), "command"),
            ("bash", json!({ "command": 1 }), "command"),
            ("read", json!(null), "Expected object"),
            ("teleport", json!({}), "teleport"),
        ] {
            let message = open.error("s", tool, args).await;
            assert!(message.contains(expected), "{tool}: {message}");
        }
        assert_eq!(world.requests().await, 0);
        assert!(open.opencode.asked.borrow().is_empty());
    });
}

#[test]
fn a_megabyte_of_arguments_arrives_whole() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for size in [100_000, 900_000, 3_000_000] {
            let content = "é".repeat(size / 2);
            open.ok(
                "s",
                "write",
                json!({ "filePath": "big", "content": content }),
            )
            .await;
            let sandbox = world.sandbox_of("s");
            let bytes = world
                .inside(&sandbox, "wc -c < /home/daytona/project/big")
                .await;
            assert_eq!(bytes, size.to_string());
        }
        until("no upload is left behind", async || {
            world
                .inside(
                    &world.sandbox_of("s"),
                    "find /tmp -maxdepth 1 -name '.opencode-upload-*'",
                )
                .await
                .is_empty()
        })
        .await;
    });
}
