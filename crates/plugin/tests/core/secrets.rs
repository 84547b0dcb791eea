//! No text that leaves the core holds a secret that it knows, whoever wrote it.

use crate::world::{Open, World, until};
use plugin::dispatch;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use testkit::{TestHost, run};

const PASSWORD: &str = "s3cret-of-proxy";

/// Everything that has left the core so far, but for what its calls gave back.
fn said(world: &World, open: &Open) -> String {
    let opencode = &open.opencode;
    let asked: Vec<Value> = (opencode.asked.borrow().iter())
        .map(|asked| serde_json::to_value(asked).expect("serializes"))
        .collect();
    let store = fs::read_to_string(world.store_path()).unwrap_or_default();
    [
        open.host.logged().join("\n"),
        opencode.told.borrow().join("\n"),
        opencode.printed(),
        Value::from(asked).to_string(),
        store,
    ]
    .join("\n")
}

/// A call as the edge makes it.
async fn call(open: &Open, name: &str, params: Value) -> String {
    match dispatch(&open.plugin, name, &params.to_string()).await {
        Ok(result) => result,
        Err(error) => error.to_string(),
    }
}

async fn tool(open: &Open, session: &str, tool: &str, args: Value) -> String {
    let execute = serde_json::to_value(open.execute(session, tool, args)).expect("serializes");
    call(open, "execute", execute).await
}

/// Fails unless something was hidden there, and no secret is shown.
fn assert_hidden(world: &World, what: &str, text: &str) {
    let key = &world.local.key;
    assert!(
        text.contains("[hidden"),
        "nothing was hidden: {what}: {text}"
    );
    for secret in [key.as_str(), &key[..16], PASSWORD] {
        assert!(!text.contains(secret), "{what}: {text}");
    }
}

fn host(world: &World) -> Arc<TestHost> {
    let host = world.host(&world.local.url);
    host.set_env("HTTPS_PROXY", &format!("http://me:{PASSWORD}@127.0.0.1:9"));
    host
}

#[test]
fn no_error_of_any_kind_shows_a_secret() {
    run(async {
        let world = World::new();
        let words = format!(
            "'Bearer {}' by http://me:{PASSWORD}@127.0.0.1:9",
            world.local.key
        );
        // What the host says: requests, files, git.
        for (operation, of) in [
            ("http", "POST"),
            ("http", "GET"),
            ("replace", ".json"),
            ("read", "runners.json"),
            ("create", ".json"),
            ("list", ""),
            ("temp", ""),
            ("git", "init"),
            ("git", "commit-tree"),
        ] {
            let open = world.open_with(json!({}), host(&world)).await;
            open.host.fast.set(true);
            let (session, words) = (format!("{operation}{of}"), words.clone());
            (open.host).fail(move |what, path| {
                (what == operation && path.contains(of)).then(|| words.clone())
            });
            let result = tool(&open, &session, "bash", json!({ "command": "true" })).await;
            let all = format!("{result}\n{}", said(&world, &open));
            assert_hidden(&world, &session, &all);
        }
        // What the service says.
        for status in [400, 401, 403, 404, 409, 429, 500, 503] {
            let open = world.open_with(json!({}), host(&world)).await;
            open.host.fast.set(true);
            let body = json!({ "message": words }).to_string();
            for (method, path) in [("POST", "/api/sandbox"), ("GET", "/api/sandbox/*")] {
                let answer = json!({ "kind": "status", "status": status, "body": body });
                world.local.fault(method, path, -1, answer).await;
            }
            let session = format!("status{status}");
            let result = tool(&open, &session, "bash", json!({ "command": "true" })).await;
            let all = format!("{result}\n{}", said(&world, &open));
            match status {
                // These come with no words.
                401 | 429 => assert!(!all.contains(&world.local.key), "{all}"),
                _ => assert_hidden(&world, &session, &all),
            }
            world.mend().await;
        }
    });
}

#[test]
fn what_a_sandbox_or_a_toolbox_prints_does_not_show_it() {
    run(async {
        let world = World::new();
        let open = world.open_with(json!({}), host(&world)).await;
        let key = world.local.key.clone();
        for (name, args) in [
            (
                "bash",
                json!({ "command": format!("echo {key}; echo {key} | base64 -w0; sleep 1.2; echo me:{PASSWORD}@") }),
            ),
            ("bash", json!({ "command": format!("echo {key}; exit 3") })),
            (
                "bash",
                json!({ "command": format!("echo {key}; sleep 30"), "timeout": 1500 }),
            ),
            (
                "bash",
                json!({ "command": format!("echo {key}; sleep 30"), "background": true }),
            ),
            ("read", json!({ "filePath": format!("/tmp/{key}") })),
            ("write", json!({ "filePath": "/tmp/it", "content": key })),
            ("read", json!({ "filePath": "/tmp/it" })),
            (
                "edit",
                json!({ "filePath": "/tmp/it", "oldString": key, "newString": "x" }),
            ),
            ("glob", json!({ "pattern": key })),
            ("grep", json!({ "pattern": format!("({key}") })),
            (key.as_str(), json!({})),
        ] {
            let result = tool(&open, "s", name, args.clone()).await;
            let all = format!("{result}\n{}", said(&world, &open));
            assert_hidden(&world, &args.to_string(), &all);
        }
        // Neither does what stands between here and the runner.
        for action in [
            json!({ "kind": "status", "status": 403, "body": key }),
            json!({ "kind": "status", "status": 200, "body": json!({ "exitCode": 127, "result": key }).to_string() }),
        ] {
            open.host.fast.set(true);
            world.fault(-1, action.clone()).await;
            let result = tool(&open, "s", "bash", json!({ "command": "true" })).await;
            assert_hidden(
                &world,
                &action.to_string(),
                &format!("{result}\n{}", said(&world, &open)),
            );
            world.mend().await;
        }
    });
}

#[test]
fn what_others_wrote_passes_through_the_core_without_it() {
    run(async {
        let world = World::new();
        let key = world.local.key.clone();
        let open = world.open_with(json!({}), host(&world)).await;
        let result = json!({ "output": key, "metadata": { "deep": [key] } });
        let part = json!({ "type": "text", "text": format!("use {key}") });
        for (name, params) in [
            (
                "after",
                json!({ "sessionId": "s", "tool": "other", "result": result }),
            ),
            (
                "after",
                json!({ "sessionId": "s", "tool": "other", "result": { "content": [part] } }),
            ),
            (
                "message",
                json!({ "sessionId": "s", "messageId": "msg_1", "parts": [part] }),
            ),
            (
                "command",
                json!({ "sessionId": "s", "messageId": null, "parts": [part] }),
            ),
            ("system", json!({ "system": [key] })),
            ("cli", json!({ "call": 1, "args": [key], "directory": "/" })),
            ("before", json!({ "tool": key, "args": {} })),
            ("abort", json!({ "call": key })),
        ] {
            let result = call(&open, name, params).await;
            assert_hidden(&world, name, &format!("{result}\n{}", said(&world, &open)));
        }
        // The message of a commit is in the sandbox and in the user's repository.
        open.event("session.created", json!({ "sessionID": "s", "info": {} }))
            .await;
        tool(&open, "s", "bash", json!({ "command": "echo a > made" })).await;
        let result = tool(&open, "s", "sync", json!({})).await;
        assert!(result.contains("opencode/1"), "{result}");
        let log = crate::world::git(world.project.path(), &["log", "--format=%B", "opencode/1"]);
        assert!(log.contains("OpenCode: use [hidden"), "{log}");
        assert!(!log.contains(&key), "{log}");
    });
}

#[test]
fn a_key_that_cannot_be_sent_is_not_shown_either() {
    run(async {
        let world = World::new();
        for odd in ["\u{200b}", "\r", "\u{0}", " "] {
            let (head, tail) = world.local.key.split_at(14);
            let key = format!("{head}{odd}{tail}");
            let host = world.host(&world.local.url);
            host.set_env("DAYTONA_API_KEY", &key);
            let open = world.open_with(json!({}), host).await;
            let problem = open.started.problem.clone().expect("refused");
            assert!(
                problem.contains("DAYTONA_API_KEY (in the environment) has"),
                "{problem}"
            );
            let result = tool(
                &open,
                "s",
                "bash",
                json!({ "command": format!("echo {key}") }),
            )
            .await;
            let doctor = call(
                &open,
                "cli",
                json!({ "args": ["doctor"], "directory": world.project.path() }),
            )
            .await;
            let env = call(&open, "shellEnv", json!({ "sessionId": "s" })).await;
            let all = [result, doctor, env, said(&world, &open)].join("\n");
            assert!(!all.contains(head) && !all.contains(tail), "{odd:?}: {all}");
        }
        assert!(world.sandboxes().await.is_empty());
    });
}

#[test]
fn a_link_is_shown_to_the_user_and_nowhere_else() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let serve = "mkdir -p w; cd w; (python3 -m http.server 4321 >/dev/null 2>&1 || nc -lk -p 4321 >/dev/null) & sleep 0.1; echo up";
        tool(
            &open,
            "s",
            "bash",
            json!({ "command": serve, "background": true }),
        )
        .await;
        let mut link = String::new();
        until("there is a link", async || {
            tool(&open, "s", "preview", json!({ "port": 4321 }))
                .await
                .contains("http")
        })
        .await;
        let result = tool(&open, "s", "preview", json!({ "port": 4321 })).await;
        let result: Value = serde_json::from_str(&result).expect("a result");
        link.push_str(result["metadata"]["url"].as_str().expect("a link"));
        assert!(!link.contains("[hidden"), "{link}");
        assert_eq!(result.get("link"), None);
        let toast = open
            .opencode
            .told
            .borrow()
            .last()
            .cloned()
            .expect("a toast");
        assert!(toast.contains(&link), "{toast}");
        let later = tool(
            &open,
            "s",
            "bash",
            json!({ "command": format!("echo {link}") }),
        )
        .await;
        assert!(
            !later.contains(&link) && later.contains("[hidden: link]"),
            "{later}"
        );
        assert!(!open.host.logged().join("\n").contains(&link));
    });
}
