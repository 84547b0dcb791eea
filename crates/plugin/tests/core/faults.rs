//! Every fault has a defined reaction, and no command runs twice.

use crate::world::{Open, World, until};
use plugin::Executed;
use serde_json::{Value, json};
use std::rc::Rc;
use std::sync::Arc;
use testkit::{Setting, run};

fn status(status: u16, body: Value) -> Value {
    json!({ "kind": "status", "status": status, "body": body })
}

fn message(text: &str) -> Value {
    json!({ "message": text })
}

/// How often a counting command ran.
async fn runs(world: &World, name: &str) -> String {
    let command = format!("cat /home/daytona/project/{name} 2>/dev/null | wc -l");
    world.inside(&world.sandbox_of("s"), &command).await
}

async fn warm(world: &World) -> Open {
    let open = world.open().await;
    open.bash("s", "true").await;
    open
}

#[test]
fn a_call_survives_each_passing_fault_and_its_command_runs_once() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let limit = json!({ "kind": "status", "status": 429, "headers": { "Retry-After": "1" } });
        let faults = [
            ("stopped", json!({ "kind": "stop_sandbox" })),
            (
                "lost404",
                status(404, message("not found: sandbox container not found")),
            ),
            (
                "busy409",
                status(409, message("Sandbox state change in progress")),
            ),
            ("limit429", limit),
            ("error500", status(500, message("oops"))),
            ("empty502", json!({ "kind": "status", "status": 502 })),
            ("down503", status(503, message("maintenance"))),
            ("killed408", status(408, message("request timeout"))),
            ("slow", json!({ "kind": "slow", "ms": 700 })),
            ("drop_before", json!({ "kind": "drop_before" })),
            ("drop_after", json!({ "kind": "drop_after" })),
            ("repeat", json!({ "kind": "repeat" })),
            ("cut_headers", json!({ "kind": "truncate", "bytes": 0 })),
            ("cut_body", json!({ "kind": "truncate", "bytes": 60 })),
            ("garbage", json!({ "kind": "garbage" })),
        ];
        for (name, action) in faults {
            world.fault(1, action).await;
            let output = open
                .bash("s", &format!("echo x >> {name}; echo fine"))
                .await;
            assert!(output.contains("fine"), "{name}: {output}");
            assert_eq!(runs(&world, name).await, "1", "{name}");
            world.mend().await;
        }
        assert!(
            open.toasts().contains(&"Sandbox resumed".to_string()),
            "{:?}",
            open.toasts()
        );
        assert_eq!(world.sandboxes().await.len(), 1);
    });
}

#[test]
fn an_edit_whose_answer_is_lost_is_made_once() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        for kind in ["drop_after", "repeat"] {
            open.ok("s", "write", json!({ "filePath": "f", "content": "a" }))
                .await;
            world.fault(1, json!({ "kind": kind })).await;
            open.ok(
                "s",
                "edit",
                json!({ "filePath": "f", "oldString": "a", "newString": "aa" }),
            )
            .await;
            let sandbox = world.sandbox_of("s");
            assert_eq!(
                world.inside(&sandbox, "cat /home/daytona/project/f").await,
                "aa",
                "{kind}"
            );
        }
    });
}

#[test]
fn a_call_survives_a_toolbox_that_is_away_for_a_while() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let body = json!({
            "match": { "path": "/toolbox/*" }, "times": -1, "for_ms": 400, "action": status(503, json!(null)),
        });
        world.local.control("POST", "/_test/faults", body).await;
        assert!(
            open.bash("s", "echo x >> f; echo fine")
                .await
                .contains("fine")
        );
        assert_eq!(runs(&world, "f").await, "1");
    });
}

#[test]
fn a_request_that_times_out_is_asked_again() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let left = Setting::new(1);
        open.host.fail(move |operation, what| {
            let hit =
                operation == "http" && what.contains("/process/execute") && left.replace(0) == 1;
            hit.then(|| "timeout".into())
        });
        assert!(open.bash("s", "echo fine").await.contains("fine"));
    });
}

#[test]
fn a_fault_that_stays_ends_in_a_clear_error_and_the_command_did_not_run() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let source = json!({ "message": "no such thing", "source": "DAYTONA_DAEMON" });
        // Minutes of patience, without the minutes.
        open.host.fast.set(true);
        for (name, action, expected) in [
            (
                "e401",
                status(401, json!(null)),
                "although Daytona says that it runs",
            ),
            (
                "e403",
                status(403, message("suspended")),
                "answers 403 (suspended)",
            ),
            ("e409", status(409, message("no")), "answers 409 (no)"),
            ("e400", status(400, message("bad thing")), "bad thing"),
            (
                "daemon",
                status(400, source),
                "refused the request (400): no such thing",
            ),
            (
                "garbage",
                json!({ "kind": "garbage" }),
                "something unexpected",
            ),
        ] {
            world.fault(-1, action).await;
            let error = open
                .error(
                    "s",
                    "bash",
                    json!({ "command": format!("echo x >> {name}") }),
                )
                .await;
            assert!(error.contains(expected), "{name}: {error}");
            world.mend().await;
            assert_eq!(runs(&world, name).await, "0", "{name}");
        }
        for (action, expected) in [
            (
                status(503, message("maintenance")),
                "answers 503 (maintenance)",
            ),
            (json!({ "kind": "drop_before" }), "connection to"),
            (json!({ "kind": "status", "status": 429 }), "answers 429"),
        ] {
            world.fault(-1, action).await;
            let error = open
                .error("s", "bash", json!({ "command": "echo x >> patience" }))
                .await;
            assert!(error.contains(expected), "{error}");
            world.mend().await;
        }
        assert_eq!(runs(&world, "patience").await, "0");
        open.host.fast.set(false);
        assert!(open.bash("s", "echo again").await.contains("again"));
    });
}

#[test]
fn a_deleted_sandbox_is_replaced_and_both_the_model_and_the_user_are_told() {
    run(async {
        let world = World::new();
        let open = world.open_mortal(1).await;
        open.bash("s", "echo work > only-here").await;
        let old = world.sandbox_of("s");
        world.fault(1, json!({ "kind": "delete_sandbox" })).await;
        // The file is gone with the sandbox: a failing call must say why.
        let error = open
            .error("s", "read", json!({ "filePath": "only-here" }))
            .await;
        assert!(
            error.contains("not found") && error.contains("had been deleted"),
            "{error}"
        );
        assert_eq!(open.toasts(), ["Sandbox created", "Sandbox replaced"]);
        let new = world.sandbox_of("s");
        assert_ne!(new, old);

        world.fault(1, json!({ "kind": "delete_sandbox" })).await;
        let output = open.bash("s", "cat a.txt; echo new > work").await;
        assert!(
            output.contains("three") && output.contains("had been deleted"),
            "{output}"
        );
        assert!(
            !open.bash("s", "true").await.contains("had been deleted"),
            "said once"
        );

        // Work is in the third one now: no later start may take it for unused.
        let third = world.sandbox_of("s");
        let again = world.open_mortal(2).await;
        assert!(again.bash("s", "cat work").await.contains("new"));
        assert_eq!(world.sandboxes().await, [third]);
    });
}

#[test]
fn a_sandbox_without_the_runner_gets_it_again() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        world
            .inside(
                &world.sandbox_of("s"),
                "rm -rf ~/.opencode-daytona /tmp/.opencode-daytona-*",
            )
            .await;
        assert!(
            open.bash("s", "echo x >> f; echo fine")
                .await
                .contains("fine")
        );
        assert_eq!(runs(&world, "f").await, "1");
        world.forget_requests().await;
        open.bash("s", "true").await;
        assert_eq!(world.requests().await, 1);
    });
}

#[test]
fn a_create_whose_answer_is_lost_makes_one_sandbox() {
    run(async {
        for action in [
            json!({ "kind": "drop_after" }),
            json!({ "kind": "drop_before" }),
            json!({ "kind": "truncate", "bytes": 20 }),
            json!({ "kind": "repeat" }),
            json!({ "kind": "status", "status": 429, "headers": { "Retry-After": "0" } }),
            status(503, json!(null)),
            status(400, message("No available runners")),
        ] {
            let world = World::new();
            let open = world.open().await;
            world
                .local
                .fault("POST", "/api/sandbox", 1, action.clone())
                .await;
            assert!(
                open.bash("s", "cat draft.txt")
                    .await
                    .contains("not committed"),
                "{action}"
            );
            assert_eq!(world.sandboxes().await, [world.sandbox_of("s")], "{action}");
            assert!(world.store()["creating"].is_null(), "{action}");
        }
    });
}

#[test]
fn faults_while_a_fresh_sandbox_is_prepared_are_survived() {
    run(async {
        for path in ["/toolbox/*/files/bulk-upload", "/toolbox/*/process/execute"] {
            for kind in ["drop_before", "drop_after", "repeat", "stop_sandbox"] {
                if kind == "stop_sandbox" && path.ends_with("bulk-upload") {
                    continue; // The same reaction, and it takes its time.
                }
                let world = World::new();
                let open = world.open().await;
                world
                    .local
                    .fault("POST", path, 1, json!({ "kind": kind }))
                    .await;
                let first = open
                    .call("s", "read", json!({ "filePath": "draft.txt" }))
                    .await;
                let read = match first {
                    Executed::Done(done) => done.output,
                    // Rarely worth more than an error; but the next call must find its way.
                    _ if kind == "stop_sandbox" => {
                        open.ok("s", "read", json!({ "filePath": "draft.txt" }))
                            .await
                    }
                    other => panic!("{path} {kind}: {other:?}"),
                };
                assert!(read.contains("not committed"), "{path} {kind}: {read}");
                assert_eq!(
                    world.sandboxes().await,
                    [world.sandbox_of("s")],
                    "{path} {kind}"
                );
            }
        }
    });
}

#[test]
fn a_create_that_cannot_work_says_so_and_leaves_nothing() {
    run(async {
        for (action, expected) in [
            (status(401, json!(null)), "refused the API key"),
            (status(403, message("suspended")), "suspended"),
            (
                status(400, message("Snapshot x not found")),
                "Snapshot x not found",
            ),
        ] {
            let world = World::new();
            let open = world.open().await;
            world.local.fault("POST", "/api/sandbox", -1, action).await;
            let error = open.error("s", "bash", json!({ "command": "true" })).await;
            assert!(error.contains(expected), "{error}");
            assert!(open.toasts().contains(&"Sandbox unavailable".to_string()));
            nothing_is_left(&world).await;
            // And nothing blocks the next attempt.
            world.mend().await;
            assert!(open.bash("s", "echo fine").await.contains("fine"));
        }
    });
}

#[test]
fn a_failed_create_that_left_a_sandbox_is_swept() {
    run(async {
        let world = World::new();
        let open = world.open_snapshot("test-create-fails").await;
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("Sandbox failed to start"), "{error}");
        nothing_is_left(&world).await;
        let world = World::new();
        let open = world.open_snapshot("no-such-snapshot").await;
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("no-such-snapshot"), "{error}");
        nothing_is_left(&world).await;
    });
}

#[test]
fn an_api_that_is_not_there_is_named() {
    run(async {
        let world = World::new();
        // A port that was free a moment ago and is closed again.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        let url = format!("http://127.0.0.1:{port}/api");
        let host = world.host(&url);
        host.fast.set(true);
        let open = world.open_with(json!({}), host).await;
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(
            error.contains("cannot connect to") && error.contains(&url),
            "{error}"
        );
        assert!(error.contains("DAYTONA_API_URL"), "{error}");
        nothing_is_left(&world).await;
    });
}

/// The base URL without its last part is the dashboard's, or an address that knows no route.
#[test]
fn a_base_url_that_is_not_the_apis_is_named_with_the_one_that_is_meant() {
    run(async {
        let world = World::new();
        let wrong = world.local.url.trim_end_matches("/api").to_string();
        let open = world.open_with(json!({}), world.host(&wrong)).await;
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("is not Daytona's API"), "{error}");
        assert!(
            error.contains("DAYTONA_API_URL") && error.contains("/api"),
            "{error}"
        );
        nothing_is_left(&world).await;

        // A session that has a sandbox does not lose it to a wrong address.
        let open = world.open().await;
        open.bash("t", "true").await;
        let sandbox = world.sandbox_of("t");
        world.stop(&sandbox).await;
        let open = world.open_with(json!({}), world.host(&wrong)).await;
        let error = open.error("t", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("is not Daytona's API"), "{error}");
        assert_eq!(world.sandbox_of("t"), sandbox);

        // A page says the same.
        let host = world.host("https://app.daytona.example");
        host.answer_with(|_| "<!doctype html><title>Daytona</title>");
        let open = world.open_with(json!({}), host).await;
        let error = open.error("t", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("it answers 200 and sends a page"), "{error}");
        assert_eq!(world.sandbox_of("t"), sandbox);
    });
}

#[test]
fn a_sandbox_in_an_error_is_recovered_where_the_service_can_and_never_given_up() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for (session, recoverable) in [("yes", true), ("no", false)] {
            open.bash(session, "echo kept > f").await;
            let sandbox = world.sandbox_of(session);
            let fail = json!({ "kind": "fail_sandbox", "recoverable": recoverable });
            world.fault(1, fail).await;
            let look = json!({ "command": "cat f" });
            match recoverable {
                true => assert_eq!(open.bash(session, "cat f").await, "kept\n"),
                false => {
                    let error = open.error(session, "bash", look).await;
                    assert!(error.contains("the runner lost it"), "{error}");
                    assert!(error.contains("as long as it is not deleted"), "{error}");
                }
            }
            assert_eq!(world.sandbox_of(session), sandbox, "it is no other one");
        }
    });
}

/// What a 409 is about is looked up, whatever its words are.
#[test]
fn a_conflict_in_words_that_nobody_knows_is_looked_at_and_tried_again() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let conflict =
            json!({ "kind": "status", "status": 409, "body": { "message": "Zustand unklar" } });
        for (method, path) in [
            ("POST", "/api/sandbox"),
            ("POST", "/toolbox/*/files/bulk-upload"),
            ("POST", "/toolbox/*/process/execute"),
        ] {
            world.local.fault(method, path, 1, conflict.clone()).await;
        }
        assert_eq!(open.bash("s", "echo 1").await, "1\n");
        let sandbox = world.sandbox_of("s");
        world.stop(&sandbox).await;
        let start = "/api/sandbox/*/start";
        world.local.fault("POST", start, 2, conflict.clone()).await;
        assert_eq!(open.bash("s", "echo 2").await, "2\n");
        assert_eq!(world.sandbox_of("s"), sandbox);
        let delete = "/api/sandbox/*";
        world.local.fault("DELETE", delete, 2, conflict).await;
        let deleted = json!({ "info": { "id": "s" } });
        open.event("session.deleted", deleted).await;
        until("it is gone", async || world.sandboxes().await.is_empty()).await;
    });
}

async fn nothing_is_left(world: &World) {
    assert!(world.sandboxes().await.is_empty());
    let store = world.store();
    for list in ["creating", "cleanup"] {
        assert!(store[list].is_null(), "{list}: {store}");
    }
    assert!(
        store["sessions"]
            .as_object()
            .is_none_or(|sessions| sessions.is_empty()),
        "{store}"
    );
}

/// From now on nothing is reached as long as the cell says so.
fn cut_off(open: &Open, how: &'static str) -> Arc<Setting<bool>> {
    let away = Arc::new(Setting::new(false));
    let is_away = Arc::clone(&away);
    open.host
        .fail(move |operation, _| (operation == "http" && is_away.get()).then(|| how.into()));
    away
}

#[test]
fn a_network_that_goes_in_mid_command_is_told_once_and_so_is_its_return() {
    run(async {
        let world = World::new();
        let open = Rc::new(warm(&world).await);
        let away = cut_off(&open, "Did you forget to pass `verbose: true`?");
        let running = tokio::task::spawn_local({
            let open = Rc::clone(&open);
            let command = "echo x > work; echo begun; until [ -e go ]; do echo .; sleep 0.1; done; echo x >> ended";
            async move {
                open.error(
                    "s",
                    "bash",
                    json!({ "command": command, "timeout": 600_000 }),
                )
                .await
            }
        });
        let has_begun = async || open.opencode.printed().contains("begun");
        until("the command runs", has_begun).await;
        // Minutes without a network, without the minutes.
        open.host.fast.set(true);
        away.set(true);
        let error = running.await.expect("it ends");
        let (_, job) = error
            .split_once("The command still runs as job ")
            .expect(&error);
        let (job, how) = job.split_once(':').expect(&error);
        assert!(how.contains("ask the tool job for it"), "{error}");
        for _ in 0..3 {
            let error = open.error("s", "bash", json!({ "command": "echo x >> more" }));
            let error = error.await;
            assert!(error.contains("If the command had begun"), "{error}");
        }
        open.event("session.idle", json!({ "sessionID": "s" }))
            .await;
        let tried = async || {
            let log = open.host.logged();
            log.iter().any(|line| line.contains("is not home yet"))
        };
        until("the homecoming has failed", tried).await;
        assert_eq!(open.toasts(), ["Sandbox created", "Connection lost"]);

        away.set(false);
        let is_home = async || open.toasts().contains(&"Work came home".to_string());
        until("it is back, and what was left comes home", is_home).await;
        assert_eq!(
            open.toasts(),
            [
                "Sandbox created",
                "Connection lost",
                "Connection restored",
                "Work came home"
            ]
        );
        let listed = open.ok("s", "job", json!({})).await;
        assert!(
            listed.starts_with(&format!("1 command runs:\n{job} (in the foreground")),
            "{listed}"
        );
        open.host.fast.set(false);
        open.bash("s", "touch go").await;
        let ended = open
            .ok("s", "job", json!({ "job": job, "wait": 10_000 }))
            .await;
        assert!(ended.starts_with("begun\n."), "{ended}");
        until("it has ended", async || runs(&world, "ended").await == "1").await;
        assert_eq!(runs(&world, "more").await, "0");
        assert_eq!(open.toasts().len(), 4, "{:?}", open.toasts());
    });
}

#[test]
fn a_command_that_was_never_sent_is_not_said_to_run() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let away = cut_off(&open, "connect");
        open.host.fast.set(true);
        away.set(true);
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(!error.contains("job"), "{error}");
        // What reads is no command.
        let away = cut_off(&open, "dropped");
        away.set(true);
        let error = open
            .error("s", "read", json!({ "filePath": "a.txt" }))
            .await;
        assert!(!error.contains("job"), "{error}");
    });
}

#[test]
fn a_network_that_is_away_for_a_moment_is_no_news() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let left = Setting::new(2);
        open.host.fail(move |operation, _| {
            let hit = operation == "http" && left.get() > 0;
            left.set(left.get() - u32::from(hit));
            hit.then(|| "dropped".into())
        });
        assert!(open.bash("s", "echo fine").await.contains("fine"));
        assert_eq!(open.toasts(), ["Sandbox created"]);
    });
}

#[test]
fn a_service_that_cannot_be_reached_for_a_first_sandbox_is_told_once() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let away = cut_off(&open, "connect");
        open.host.fast.set(true);
        away.set(true);
        for _ in 0..4 {
            open.error("s", "bash", json!({ "command": "true" })).await;
        }
        assert_eq!(open.toasts(), ["Connection lost"]);
        away.set(false);
        let is_back = async || open.toasts().len() > 1;
        until("it is back", is_back).await;
        assert_eq!(open.toasts(), ["Connection lost", "Connection restored"]);
    });
}

#[test]
fn a_sandbox_that_takes_long_says_what_it_is_waited_for() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let sandbox = world.sandbox_of("s");
        let path = format!("/api/sandbox/{sandbox}");
        world.stop(&sandbox).await;
        let mut body = world.local.control("GET", &path, json!({})).await;
        body["state"] = json!("restoring");
        let on_its_way = status(200, body);
        (world.local.fault("GET", &path, 40, on_its_way.clone())).await;
        let start = format!("{path}/start");
        world.local.fault("POST", &start, 2, on_its_way).await;
        open.host.fast.set(true);
        open.opencode.shown.borrow_mut().clear();
        assert!(open.bash("s", "echo fine").await.contains("fine"));
        assert_eq!(
            open.toasts(),
            [
                "Sandbox created",
                "Sandbox not ready yet",
                "Sandbox resumed"
            ]
        );
        let shown = open.opencode.printed();
        let expected = "Waiting for the sandbox: it is being restored from the archive (";
        assert!(shown.matches(expected).count() > 5, "{shown}");
    });
}

#[test]
fn a_create_that_the_service_holds_says_so_meanwhile() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let held = json!({ "kind": "slow", "ms": 500 });
        world.local.fault("POST", "/api/sandbox", 1, held).await;
        open.host.fast.set(true);
        open.bash("s", "true").await;
        assert_eq!(open.toasts(), ["Sandbox not ready yet", "Sandbox created"]);
        let shown = open.opencode.printed();
        assert!(
            shown.contains("it is being created (20 s so far)"),
            "{shown}"
        );
    });
}
