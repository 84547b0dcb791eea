//! What a permission question costs, and that nothing is done before its answer.

use crate::home::{reverted, turn};
use crate::world::{Open, World};
use plugin::{Executed, Permission};
use serde_json::{Value, json};
use testkit::run;

const PATCH: &str = "*** Begin Patch
*** Add File: p1
+1
*** Update File: src/lib.rs
*** Move to: src/moved.rs
@@
-pub fn answer() -> u32 { 42 }
+pub fn answer() -> u32 { 43 }
*** End Patch";

/// Calls that change files, and what their question shows of it.
fn changes() -> [(&'static str, Value, &'static str); 3] {
    [
        (
            "write",
            json!({ "filePath": "a.txt", "content": "one\n2\nthree\n" }),
            "-two\n+2\n",
        ),
        (
            "edit",
            json!({ "filePath": "a.txt", "oldString": "one", "newString": "1" }),
            "-one\n+1\n",
        ),
        (
            "apply_patch",
            json!({ "patchText": PATCH }),
            "+pub fn answer() -> u32 { 43 }\n",
        ),
    ]
}

/// An OpenCode whose sandbox is there.
async fn warm(world: &World) -> Open {
    let open = world.open().await;
    open.event("session.created", json!({ "info": { "id": "s" } }))
        .await;
    open.bash("s", "true").await;
    open.opencode.asked.borrow_mut().clear();
    world.forget_requests().await;
    open
}

async fn state(open: &Open) -> String {
    open.bash("s", "git status --porcelain; git diff; ls -a")
        .await
}

fn last(open: &Open) -> Permission {
    open.opencode.asked.borrow_mut().pop().expect("a question")
}

#[test]
fn only_a_question_costs_a_second_request_and_it_shows_the_change() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        for (rules, requests) in [
            (vec![], 1),
            (vec![["edit", "*", "ask"], ["edit", "*", "allow"]], 1),
            (vec![["edit", "*", "ask"]], 2),
        ] {
            *open.opencode.rules.borrow_mut() = rules.clone();
            for (tool, args, expected) in changes() {
                world.forget_requests().await;
                open.ok("s", tool, args).await;
                assert_eq!(world.requests().await, requests, "{tool} {rules:?}");
                let question = last(&open);
                let diff = question.metadata["diff"].as_str().expect("a diff");
                let shown = diff.contains(expected);
                assert_eq!(shown, requests == 2, "{tool}: {diff}");
            }
            open.bash("s", "git checkout --quiet . && git clean -fdq")
                .await;
        }
    });
}

#[test]
fn rules_that_are_not_to_be_had_cost_a_request_and_no_diff() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        open.opencode.forgetful.set(true);
        let (tool, args, expected) = &changes()[1];
        open.ok("s", tool, args.clone()).await;
        assert_eq!(world.requests().await, 2);
        let question = last(&open);
        let diff = question.metadata["diff"].as_str().expect("a diff");
        assert!(diff.contains(expected), "{diff}");
    });
}

#[test]
fn an_always_makes_the_next_edit_one_request() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        *open.opencode.rules.borrow_mut() = vec![["edit", "*", "ask"]];
        let question =
            json!({ "id": "q", "sessionID": "s", "permission": "edit", "always": ["*"] });
        let answer = |reply: &str| json!({ "requestID": "q", "sessionID": "s", "reply": reply });
        for (reply, requests) in [("once", 2), ("always", 1)] {
            open.event("permission.asked", question.clone()).await;
            open.event("permission.replied", answer(reply)).await;
            world.forget_requests().await;
            let args = json!({ "filePath": "new.txt", "content": reply });
            open.ok("s", "write", args).await;
            assert_eq!(world.requests().await, requests, "{reply}");
        }
    });
}

#[test]
fn what_is_denied_changes_nothing_and_what_does_not_fit_is_not_asked_about() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let before = state(&open).await;
        *open.opencode.rules.borrow_mut() = vec![["edit", "*", "deny"]];
        *open.opencode.rejects.borrow_mut() = vec!["edit".into()];
        for (tool, args, expected) in changes() {
            assert_eq!(
                open.call("s", tool, args).await,
                Executed::Rejected,
                "{tool}"
            );
            let diff = last(&open).metadata["diff"]
                .as_str()
                .expect("a diff")
                .to_string();
            assert!(diff.contains(expected), "{tool}: {diff}");
        }
        assert_eq!(state(&open).await, before);
        open.opencode.asked.borrow_mut().clear();
        for (tool, args, expected) in [
            (
                "edit",
                json!({ "filePath": "a.txt", "oldString": "no", "newString": "x" }),
                "Could not find oldString",
            ),
            (
                "edit",
                json!({ "filePath": "a.txt", "oldString": "x", "newString": "x" }),
                "identical",
            ),
            (
                "edit",
                json!({ "filePath": "none", "oldString": "a", "newString": "b" }),
                "not found",
            ),
            (
                "write",
                json!({ "filePath": "src", "content": "" }),
                "BadResource",
            ),
            (
                "apply_patch",
                json!({ "patchText": "*** Begin Patch\n*** Delete File: none\n*** End Patch" }),
                "verification failed",
            ),
        ] {
            let error = open.error("s", tool, args).await;
            assert!(error.contains(expected), "{tool}: {error}");
        }
        assert_eq!(*open.opencode.asked.borrow(), []);
    });
}

#[test]
fn a_path_outside_is_looked_at_only_if_the_answer_matters() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        for (rules, requests, pattern) in [
            (vec![], 1, "/usr/*"),
            (vec![["external_directory", "*", "ask"]], 2, "/usr/lib/*"),
        ] {
            *open.opencode.rules.borrow_mut() = rules;
            for (tool, args) in [
                ("read", json!({ "filePath": "/usr/lib" })),
                ("bash", json!({ "command": "cd /usr/lib; cat none" })),
            ] {
                world.forget_requests().await;
                open.ok("s", tool, args).await;
                assert_eq!(world.requests().await, requests, "{tool}");
                let asked = std::mem::take(&mut *open.opencode.asked.borrow_mut());
                assert_eq!(asked[0].permission, "external_directory");
                assert_eq!(asked[0].patterns, [pattern], "{tool}");
            }
        }
    });
}

#[test]
fn a_question_shows_the_files_as_they_are_after_an_undo_that_is_under_way() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for n in 1..=2 {
            turn(&open, "s", &format!("msg_{n}")).await;
            open.bash("s", &format!("echo {n} > f")).await;
        }
        *open.opencode.rules.borrow_mut() = vec![["edit", "*", "ask"]];
        let write = json!({ "filePath": "f", "content": "new\n" });
        for (to, shown) in [
            (json!({ "messageID": "msg_2" }), "-1\n+new\n"),
            (Value::Null, "-2\n+new\n"),
        ] {
            reverted(&open, "s", to).await;
            open.opencode.rejects.borrow_mut().push("edit".into());
            open.call("s", "write", write.clone()).await;
            let diff = last(&open).metadata["diff"].clone();
            assert!(diff.as_str().is_some_and(|d| d.contains(shown)), "{diff}");
        }
    });
}

#[test]
fn under_acp_no_question_names_the_file_that_the_editor_would_write() {
    run(async {
        for (client, expected) in [("acp", false), ("cli", true)] {
            let world = World::new();
            let host = world.host(&world.local.url);
            host.set_env("OPENCODE_CLIENT", client);
            let open = world.open_with(world.options.clone(), host).await;
            let args = json!({ "filePath": "new.txt", "content": "new\n" });
            open.ok("s", "write", args).await;
            let patch = "*** Begin Patch\n*** Add File: other.txt\n+other\n*** End Patch";
            open.ok("s", "apply_patch", json!({ "patchText": patch }))
                .await;
            let asked = open.opencode.asked.borrow();
            let edits: Vec<_> = asked
                .iter()
                .filter(|question| question.permission == "edit")
                .collect();
            assert_eq!(edits.len(), 2);
            for question in edits {
                assert_eq!(
                    question.metadata.get("filepath").is_some(),
                    expected,
                    "{client}"
                );
                assert!(question.metadata.get("diff").is_some(), "{client}");
            }
        }
    });
}
