//! What the service's proxy answers in the sandbox's place says nothing certain: the API is asked, and
//! what it says decides.

use crate::world::{Open, World};
use futures::future::join_all;
use serde_json::{Value, json};
use testkit::run;

fn status(status: u16) -> Value {
    json!({ "kind": "status", "status": status })
}

async fn warm(world: &World) -> Open {
    let open = world.open().await;
    open.bash("s", "true").await;
    open
}

/// How often a counting command ran.
async fn runs(world: &World, name: &str) -> String {
    let command = format!("cat /home/daytona/project/{name} 2>/dev/null | wc -l");
    world.inside(&world.sandbox_of("s"), &command).await
}

#[test]
fn a_sandbox_deleted_elsewhere_is_replaced_also_when_the_proxy_takes_it_for_a_wrong_key() {
    run(async {
        for long_ago in [false, true] {
            for restarted in [false, true] {
                let case = format!("long ago: {long_ago}, restarted: {restarted}");
                let world = World::new();
                let mut open = world.open_mortal(1).await;
                open.bash("s", "true").await;
                let old = world.sandbox_of("s");
                world.delete_elsewhere(&old, long_ago).await;
                if restarted {
                    open = world.open_mortal(2).await;
                }
                world.forget_requests().await;
                let output = open.bash("s", "cat a.txt").await;
                assert!(
                    output.contains("three") && output.contains("had been deleted"),
                    "{case}: {output}"
                );
                assert_ne!(world.sandbox_of("s"), old, "{case}");
                // A start brings home what was left there, and asks for itself.
                let looks = world.looks().await;
                assert!(
                    (1..=1 + u64::from(restarted)).contains(&looks),
                    "{case}: {looks}"
                );
            }
        }
    });
}

#[test]
fn whatever_the_proxy_answers_the_api_is_asked_once_and_the_call_is_repeated() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        open.host.fast.set(true);
        let sandbox = world.sandbox_of("s");
        for answer in [302, 400, 401, 403, 404, 409, 418, 429, 500, 502, 503, 504] {
            world.forget_requests().await;
            world.fault(3, status(answer)).await;
            let name = format!("n{answer}");
            let command = format!("echo x >> {name}; echo fine");
            assert!(open.bash("s", &command).await.contains("fine"), "{answer}");
            assert_eq!(world.looks().await, 1, "{answer}");
            assert_eq!(runs(&world, &name).await, "1", "{answer}");
        }
        assert_eq!(world.sandboxes().await, [sandbox]);
    });
}

#[test]
fn the_words_of_an_answer_decide_nothing() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        open.host.fast.set(true);
        let sandbox = world.sandbox_of("s");
        for (answer, message) in [
            (400, "Is the Sandbox started? no IP address found"),
            (400, "something that nobody has said before"),
            (404, "not found: sandbox container not found"),
            (401, "Bearer token is invalid"),
            (409, "Sandbox state change in progress"),
        ] {
            world.forget_requests().await;
            let body = json!({ "message": message });
            let action = json!({ "kind": "status", "status": answer, "body": body });
            world.fault(1, action).await;
            assert!(
                open.bash("s", "echo fine").await.contains("fine"),
                "{message}"
            );
            assert_eq!(
                (world.looks().await, world.starts().await),
                (1, 0),
                "{message}"
            );
        }
        assert_eq!(world.sandboxes().await, [sandbox]);
    });
}

#[test]
fn only_the_apis_own_401_is_a_refused_key() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        world.fault(-1, status(401)).await;
        let get = "/api/sandbox/*";
        world.local.fault("GET", get, -1, status(401)).await;
        world.forget_requests().await;
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("refused the API key"), "{error}");
        assert_eq!(world.looks().await, 1);
        world.mend().await;
        assert!(open.bash("s", "echo again").await.contains("again"));
    });
}

#[test]
fn an_api_that_is_out_is_waited_for_and_nothing_is_replaced() {
    run(async {
        let drop = json!({ "kind": "drop_before" });
        for out in [status(503), status(429), drop] {
            let world = World::new();
            let open = warm(&world).await;
            open.host.fast.set(true);
            let sandbox = world.sandbox_of("s");
            // The proxy cannot ask it either.
            world.fault(2, status(401)).await;
            let get = "/api/sandbox/*";
            world.local.fault("GET", get, 7, out.clone()).await;
            let output = open.bash("s", "echo fine").await;
            assert!(output.contains("fine"), "{out}: {output}");
            assert_eq!(world.sandboxes().await, [sandbox], "{out}");
            assert!(
                !open.toasts().contains(&"Sandbox unavailable".into()),
                "{out}"
            );
            // One that stays out is named, and not for ever waited for.
            world.fault(-1, status(401)).await;
            world.local.fault("GET", get, -1, out.clone()).await;
            let error = open.error("s", "bash", json!({ "command": "true" })).await;
            assert!(!error.contains("refused the API key"), "{out}: {error}");
            let named = ["unavailable (503", "rate limit", "connection to"];
            assert!(
                named.iter().any(|name| error.contains(name)),
                "{out}: {error}"
            );
        }
    });
}

#[test]
fn a_stopped_sandbox_is_started_once_however_many_calls_wait() {
    run(async {
        let world = World::new();
        let (open, other) = (warm(&world).await, world.open().await);
        other.bash("s", "true").await;
        world.stop(&world.sandbox_of("s")).await;
        world.forget_requests().await;
        let calls = (0..8).map(|n| {
            let open = &open;
            async move { open.bash("s", &format!("echo call {n}")).await }
        });
        for (n, output) in join_all(calls).await.iter().enumerate() {
            assert!(output.contains(&format!("call {n}")), "{output}");
        }
        assert_eq!((world.looks().await, world.starts().await), (1, 1));
        let resumed = open
            .toasts()
            .iter()
            .filter(|t| *t == "Sandbox resumed")
            .count();
        assert_eq!(resumed, 1);

        // Another process may start it at the same moment.
        world.stop(&world.sandbox_of("s")).await;
        let calls = [&open, &other].map(|open| open.bash("s", "echo both"));
        for output in join_all(calls).await {
            assert!(output.contains("both"), "{output}");
        }
    });
}

#[test]
fn a_start_that_the_service_refuses_is_decided_by_the_sandboxs_state() {
    run(async {
        for refusal in [409, 400] {
            let world = World::new();
            let open = warm(&world).await;
            world.stop(&world.sandbox_of("s")).await;
            let start = "/api/sandbox/*/start";
            world.local.fault("POST", start, 2, status(refusal)).await;
            let output = open.bash("s", "echo fine").await;
            assert!(output.contains("fine"), "{refusal}: {output}");
        }
    });
}

#[test]
fn a_missing_file_is_an_answer_and_no_reason_to_look() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        let large = "head -c 1500000 /dev/urandom > large";
        open.bash("s", large).await;
        let download = "/toolbox/*/files/download*";
        world.local.fault("GET", download, -1, status(404)).await;
        world.forget_requests().await;
        let error = open.error("s", "sync", json!({})).await;
        assert!(error.contains("refused the request (404)"), "{error}");
        assert_eq!(world.looks().await, 0);
        // Said by the proxy, it is none.
        world.mend().await;
        let lost = json!({ "kind": "status", "status": 404, "body": { "statusCode": 404 } });
        world.local.fault("GET", download, 1, lost).await;
        open.ok("s", "sync", json!({})).await;
        assert_eq!(world.looks().await, 1);
    });
}

/// The first request of a command goes through, and so many after it are ended by the service.
async fn end_requests(world: &World, times: i64) {
    let path = "/toolbox/*/process/execute";
    let body = json!({
        "match": { "method": "POST", "path": path, "skip": 1 }, "times": times, "action": status(408),
    });
    world.local.control("POST", "/_test/faults", body).await;
}

#[test]
fn a_command_whose_requests_are_ended_by_the_service_lives_on_and_is_named() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        for times in [1, 2, 3, 5, 6, -1] {
            let name = format!("n{times}");
            end_requests(&world, times).await;
            let command = format!(
                "echo x >> {name}; echo begun; until [ -e go-{name} ]; do sleep 0.1; done; echo fine"
            );
            let call = open.call("s", "bash", json!({ "command": command }));
            let go = async {
                if times < 3 && times > 0 {
                    let go = format!("touch /home/daytona/project/go-{name}");
                    // Past the faults, which are for the plugin: they are used up first.
                    crate::world::until("the faults are used up", async || {
                        world.executes().await > times as u64
                    })
                    .await;
                    let sandbox = world.sandbox_of("s");
                    world.inside(&sandbox, &go).await;
                }
            };
            world.forget_requests().await;
            let (done, ()) = futures::join!(call, go);
            world.mend().await;
            let text = match done {
                plugin::Executed::Done(done) => done.output,
                plugin::Executed::Failed { message } => message,
                other => panic!("{other:?}"),
            };
            if times < 3 && times > 0 {
                assert!(
                    text.contains("begun") && text.contains("fine"),
                    "{times}: {text}"
                );
                continue;
            }
            let lives = if [3, 5].contains(&times) {
                "The command runs in the background as job "
            } else {
                "The command may still run, as job "
            };
            assert!(
                text.contains("408") && text.contains(lives),
                "{times}: {text}"
            );
            let (_, job) = text.split_once(" job ").expect("a job");
            let job: String = job.chars().take_while(char::is_ascii_hexdigit).collect();
            open.bash("s", &format!("touch go-{name}")).await;
            let mut output = text;
            while !output.contains("has ended") {
                output.push_str(&open.ok("s", "job", json!({ "job": job })).await);
            }
            for word in ["begun", "fine"] {
                assert_eq!(output.matches(word).count(), 1, "{times}: {output}");
            }
            assert_eq!(runs(&world, &name).await, "1", "{times}");
        }
    });
}

#[test]
fn a_daemon_that_is_too_old_is_named_with_what_is_needed() {
    run(async {
        let needed =
            "version v0.166.0-local of Daytona's daemon, and version 0.167 or newer is needed";
        let world = World::new();
        let open = world.open_snapshot("test-old-daemon").await;
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains(needed), "{error}");
        crate::world::until("nothing is left", async || {
            world.sandboxes().await.is_empty() && world.store()["cleanup"].is_null()
        })
        .await;

        // A sandbox that the session has already, as an earlier plugin left it.
        let world = World::new();
        let old = json!({ "snapshot": "test-old-daemon" });
        let made = world.local.control("POST", "/api/sandbox", old).await;
        for ready in [false, true] {
            let entry = json!({
                "sandboxId": made["id"], "toolboxUrl": made["toolboxProxyUrl"], "ready": ready, "used": true,
            });
            let path = world.store_path();
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            let store = json!({ "sessions": { "s": entry } });
            std::fs::write(&path, store.to_string()).expect("written");
            let open = world.open().await;
            let error = open.error("s", "bash", json!({ "command": "true" })).await;
            assert!(error.contains(needed), "ready: {ready}: {error}");
        }
        assert_eq!(world.sandboxes().await.len(), 1, "it may hold work");
    });
}

#[test]
fn a_link_to_a_port_of_daytonas_own_is_refused_before_anything_is_asked() {
    run(async {
        let world = World::new();
        let open = warm(&world).await;
        for port in [2280, 22220, 22222, 33333] {
            world.forget_requests().await;
            open.opencode.asked.borrow_mut().clear();
            let error = open.error("s", "preview", json!({ "port": port })).await;
            let expected = format!("port {port} belongs to Daytona itself");
            assert!(error.contains(&expected), "{error}");
            assert_eq!(world.requests().await, 0, "{port}");
            assert!(open.opencode.asked.borrow().is_empty(), "{port}");
            let client = daytona::Client::new(
                open.host.clone(),
                daytona::Settings {
                    api_url: world.local.url.clone(),
                    api_key: world.local.key.clone(),
                    organization: None,
                },
            );
            let sandbox = world.sandbox_of("s");
            let link = client.signed_preview_url(&sandbox, port, 60).await;
            assert!(
                matches!(link, Err(daytona::Error::ReservedPort(_))),
                "{link:?}"
            );
        }
    });
}
