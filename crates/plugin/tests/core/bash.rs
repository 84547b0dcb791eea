//! Commands: long, loud, greedy, left behind, stopped.

use crate::world::{Open, World, until};
use host::Body;
use plugin::{Call, Executed, Nothing};
use protocol::{Op, Request, Wait};
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::{Duration, Instant};
use testkit::run;

#[test]
fn a_command_outlives_the_first_wait() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "true").await;
        let sandbox = world.sandbox_of("s");
        world.forget_requests().await;
        let go = async {
            until("the command is asked for again", async || {
                world.executes().await >= 2
            })
            .await;
            world.inside(&sandbox, "touch /tmp/go").await;
        };
        let command = "echo begun; until [ -e /tmp/go ]; do sleep 0.02; done; echo ended";
        let (output, ()) = futures::future::join(open.bash("s", command), go).await;
        assert!(output.contains("begun\nended"), "{output}");
    });
}

/// What every request about a command said of when to return.
fn waits(open: &Open) -> Vec<Wait> {
    let of = |request: host::HttpRequest| -> Option<Wait> {
        let Body::Json(body) = request.body else {
            return None;
        };
        let body: Value = serde_json::from_str(&body).ok()?;
        let text = body["envs"][format!("{}0", protocol::ENV_REQUEST)].as_str()?;
        match serde_json::from_str::<Request>(text).ok()?.op {
            Op::Tool(call) => Some(call.wait),
            Op::JobWait(wait) => Some(wait.wait),
            _ => None,
        }
    };
    open.host.requests().into_iter().filter_map(of).collect()
}

/// What the second request says, which is sent while the command runs, is seen before it ends.
async fn runs_until_asked_again(world: &World, open: &Open, command: &str) -> Vec<Wait> {
    let sandbox = world.sandbox_of("s");
    let before = waits(open).len();
    world.inside(&sandbox, "rm -f /tmp/go").await;
    let go = async {
        until("the command is asked for again", async || {
            waits(open).len() >= before + 2
        })
        .await;
        world.inside(&sandbox, "touch /tmp/go").await;
    };
    let (output, ()) = futures::future::join(open.bash("s", command), go).await;
    assert!(output.contains("ended"), "{output}");
    waits(open)[before..].to_vec()
}

#[test]
fn the_first_text_of_a_command_is_not_held_back_and_what_follows_comes_once_a_second() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "true").await;
        let command = "echo begun; until [ -e /tmp/go ]; do sleep 0.02; done; echo ended";
        let sent = runs_until_asked_again(&world, &open, command).await;
        assert_eq!(sent, [Wait::FIRST, Wait::default()]);
        assert_eq!(
            (Wait::FIRST.output_ms, Wait::default().output_ms),
            (0, 1_000)
        );
        // It was silent while the first request was there, so its first text is still to come.
        let command = "until [ -e /tmp/go ]; do sleep 0.02; done; echo ended";
        let sent = runs_until_asked_again(&world, &open, command).await;
        assert_eq!(sent, [Wait::FIRST, Wait::FIRST]);
    });
}

#[test]
fn a_time_out_ends_the_whole_group() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let args = json!({ "command": "echo begun; sleep 1001 & sleep 1002", "timeout": 300 });
        let output = open.ok("s", "bash", args).await;
        assert!(
            output.contains("begun") && output.contains("300 ms"),
            "{output}"
        );
        until("no sleep is left", async || {
            !world
                .processes(&world.sandbox_of("s"))
                .await
                .contains("sleep 100")
        })
        .await;
    });
}

#[test]
fn an_abort_ends_the_whole_group_and_returns_at_once() {
    run(async {
        let world = World::new();
        let open = Rc::new(world.open().await);
        open.bash("s", "true").await;
        let sandbox = world.sandbox_of("s");
        // Without output the first request is held for ten seconds: the abort must not wait for it.
        for command in [
            "sleep 1001 & sleep 1002",
            "echo begun; sleep 1001 & sleep 1002",
        ] {
            let call = open.execute("s", "bash", json!({ "command": command }));
            let id = call.call;
            let plugin = Rc::clone(&open.plugin);
            let running = tokio::task::spawn_local(async move { plugin.execute(call).await });
            until("it runs", async || {
                world.processes(&sandbox).await.contains("sleep 1002")
            })
            .await;
            let start = Instant::now();
            open.plugin.abort(Call { call: id }).await;
            let result = running.await.expect("no panic");
            assert!(
                start.elapsed() < Duration::from_secs(2),
                "{:?}",
                start.elapsed()
            );
            assert!(!matches!(result, Executed::Rejected), "{result:?}");
            until("no sleep is left", async || {
                !world.processes(&sandbox).await.contains("sleep 100")
            })
            .await;
            assert!(
                start.elapsed() < Duration::from_secs(6),
                "{:?}",
                start.elapsed()
            );
        }
    });
}

#[test]
fn a_command_that_never_ends_is_stopped_from_here() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.bash("s", "true").await;
        world.forget_requests().await;
        let args = json!({ "command": "echo begun; sleep 299.5", "timeout": 200_000 });
        let late = async {
            until("the command is asked for again", async || {
                world.executes().await >= 2
            })
            .await;
            open.host.skip_ms.set(400_000);
        };
        let limit = Duration::from_secs(30);
        let (result, ()) = tokio::join!(
            tokio::time::timeout(limit, open.call("s", "bash", args)),
            late
        );
        let Executed::Done(done) = result.expect("it returns") else {
            panic!("no output");
        };
        assert!(done.output.contains("begun"), "{}", done.output);
        until("nothing of it is left", async || {
            !(world.processes(&world.sandbox_of("s")).await).contains("sleep 299.5")
        })
        .await;
    });
}

#[test]
fn an_aborted_call_does_not_wait_for_its_question() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.opencode.silent.set(true);
        let call = open.execute("s", "bash", json!({ "command": "true" }));
        let id = call.call;
        let abort = async {
            until("it asks", async || !open.opencode.asked.borrow().is_empty()).await;
            open.plugin.abort(Call { call: id }).await;
        };
        let limit = Duration::from_secs(10);
        let (result, ()) = tokio::join!(
            tokio::time::timeout(limit, open.plugin.execute(call)),
            abort
        );
        let message = "Tool execution aborted".to_string();
        assert_eq!(result.expect("it returns"), Executed::Failed { message });
        assert!(world.sandboxes().await.is_empty());
    });
}

#[test]
fn a_call_of_nobody_knows_whose_session_is_no_root() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let parents = &open.opencode.parents;
        parents.borrow_mut().push(("child".into(), "s".into()));
        open.opencode.forgetful.set(true);
        let error = open
            .error("child", "bash", json!({ "command": "true" }))
            .await;
        assert!(
            error.contains("whose session child is: no answer"),
            "{error}"
        );
        assert!(world.sandboxes().await.is_empty());
        open.opencode.forgetful.set(false);
        open.bash("child", "true").await;
        assert_eq!(world.sandboxes().await, [world.sandbox_of("s")]);
    });
}

#[test]
fn a_call_aborted_before_its_sandbox_is_there_never_runs() {
    run(async {
        let world = World::new();
        let open = Rc::new(world.open_snapshot("test-slow-create").await);
        let call = open.execute("s", "bash", json!({ "command": "touch ran" }));
        let id = call.call;
        let plugin = Rc::clone(&open.plugin);
        let running = tokio::task::spawn_local(async move { plugin.execute(call).await });
        until("a create is under way", async || {
            world.store()["creating"].is_array()
        })
        .await;
        open.plugin.abort(Call { call: id }).await;
        let result = running.await.expect("no panic");
        assert_eq!(
            result,
            Executed::Failed {
                message: "Tool execution aborted".into()
            }
        );
        assert!(!open.bash("s", "ls").await.contains("ran\n"));
        assert_eq!(world.sandboxes().await.len(), 1);
        open.plugin.dispose(Nothing {}).await;
    });
}

#[test]
fn what_a_command_may_do_to_its_pipes() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        for (claim, command, expected) in [
            (
                "standard input is at its end",
                "cat; read x || echo eof",
                "eof",
            ),
            ("bytes that are no text", "printf 'a\\377b'", "a\u{fffd}b"),
            ("the output of stderr", "echo out; echo err >&2", "out\nerr"),
            ("no output", "true", "(no output)"),
            (
                "a child in the background does not hold the call",
                "sleep 1003 >/dev/null 2>&1 & echo started",
                "started",
            ),
            (
                "names in any script",
                "echo 'a b' > \"$(printf 'x \\n\"y')\"; ls | wc -l",
                "",
            ),
        ] {
            let output = open.bash("s", command).await;
            assert!(output.contains(expected), "{claim}: {output:?}");
        }
    });
}

#[test]
fn a_hundred_megabytes_of_output_are_bounded() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let output = open
            .bash(
                "s",
                "yes 'ninety-nine bottles' | head -c 100000000; echo; echo END",
            )
            .await;
        assert!(output.len() < 200_000, "{}", output.len());
        assert!(
            output.contains("END"),
            "{}",
            &output[output.len().saturating_sub(300)..]
        );
    });
}

#[test]
fn a_job_in_the_background_outlives_opencode() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let args = json!({ "command": "echo ready; while read line; do echo got $line; done", "background": true });
        let Executed::Done(started) = open.call("s", "bash", args).await else {
            panic!("it did not start");
        };
        let job = started.metadata["job"]
            .as_str()
            .expect("a name")
            .to_string();
        assert!(
            started.output.contains(&format!("job {job}")),
            "{started:?}"
        );
        let look = json!({ "job": job, "input": "one\n", "wait": 5_000 });
        world.forget_requests().await;
        let said = open.ok("s", "job", look).await;
        assert_eq!(world.requests().await, 1);
        assert!(
            said.starts_with("got one\n"),
            "what was shown is not shown again: {said}"
        );
        drop(open);

        let again = world.open().await;
        let said = again.ok("s", "job", json!({ "job": job })).await;
        assert!(said.starts_with("ready\ngot one\n"), "{said}");
        let said = again
            .ok("s", "job", json!({ "job": job, "stop": true }))
            .await;
        assert!(said.contains("The command has ended"), "{said}");
        until("it is gone", async || {
            let processes = world.processes(&world.sandbox_of("s")).await;
            !processes.contains("while read line")
        })
        .await;
    });
}

#[test]
fn what_is_typed_into_a_job_is_asked_like_a_command() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let args = json!({ "command": "bash", "background": true });
        let Executed::Done(started) = open.call("s", "bash", args).await else {
            panic!("it did not start");
        };
        open.opencode.asked.borrow_mut().clear();
        let input = json!({ "job": started.metadata["job"], "input": "rm -rf x && ls\n" });
        open.ok("s", "job", input).await;
        let asked = open.opencode.asked.borrow();
        assert_eq!(asked[0].permission, "bash");
        assert_eq!(asked[0].patterns, ["rm -rf x", "ls"]);
    });
}
