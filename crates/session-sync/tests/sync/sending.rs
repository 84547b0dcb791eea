//! Sessions on their way into the store, against a fake OpenSync that drops, refuses and limits as the real one.

use crate::world::{OLD, Process, World, conversation, message, pairs, turn};
use host::Host;
use serde_json::{Value, json};
use session_sync::drain::drain;
use session_sync::send::{Pass, SendError};
use session_sync::store::Failure;
use std::fs;
use std::sync::Arc;
use testkit::run;

#[test]
fn a_session_arrives_whole_with_its_dates_and_sums_in_few_requests() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        let pass = process.send().await.expect("it is sent");
        assert_eq!(
            pass,
            Pass {
                messages: 3,
                ..Pass::default()
            }
        );
        let session = world.store.state().await["sessions"][0].clone();
        for (name, expected) in [
            ("title", json!("The till")),
            ("projectName", json!("shop")),
            ("promptTokens", json!(24)),
            ("completionTokens", json!(12)),
            ("cost", json!(1)),
            ("createdAt", json!(OLD as u64)),
        ] {
            assert_eq!(session[name], expected, "{name}");
        }
        assert_eq!(
            session["messages"][1]["createdAt"],
            json!(OLD as u64 + 2_000)
        );
        assert_eq!(
            world.texts().await,
            pairs(&[
                ("msg_1", "fix it"),
                ("msg_2", "I look."),
                ("msg_3", "Done.")
            ])
        );
        // Its text can be searched, by words and by meaning.
        assert_eq!(
            session["searchableText"],
            json!("The till fix it I look. Done.")
        );
        assert_eq!(session["embeddings"], json!(2));
        // Beside the clock and reading back, of the new session and of all: a request for each message, and two for the session.
        let requests = world.store.requests().await;
        let counted = requests
            .iter()
            .filter(|request| request.starts_with("POST"))
            .count();
        assert_eq!((counted, requests.len()), (5, 8), "{requests:?}");

        // What has arrived is not sent again, by this process or by another.
        world.store.forget().await;
        process.want(&conversation(&turn())).await;
        world.process().want(&conversation(&turn())).await;
        assert_eq!(
            process.send().await.expect("nothing to do"),
            Pass::default()
        );
        assert_eq!(world.store.requests().await, Vec::<String>::new());
    });
}

/// The store says an id that it does not have, or a session was deleted in the dashboard.
#[test]
fn a_session_that_the_store_does_not_know_is_made_once_more() {
    run(async {
        let world = World::new();
        let lie = json!({ "silent": true, "path": "/sync/session" });
        world.store.fault(lie).await;
        let process = world.process();
        process.want(&conversation(&turn())).await;
        world.store.forward(60_000).await;
        let mut passes = 0;
        while process.send().await.expect("a pass").left > 0 {
            passes += 1;
            assert!(passes < 5, "it is never there");
            world.store.forward(60_000).await;
        }
        let state = world.store.state().await;
        let sessions = state["sessions"].as_array().expect("a list");
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions[0]["title"], json!("The till"));
        assert_eq!(sessions[0]["createdAt"], json!(OLD as u64), "its own date");
        assert_eq!(world.texts().await.len(), 3);
    });
}

#[test]
fn a_process_that_is_killed_anywhere_loses_nothing_and_sends_nothing_twice() {
    run(async {
        for step in 1.. {
            let world = World::new();
            let dying = world.process();
            let died = dying.host.die_at(step);
            let work = async {
                dying.want(&conversation(&turn())).await;
                let _ = dying.send().await;
            };
            let died = tokio::select! {
                biased;
                _ = died => true,
                () = work => false,
            };
            let living = world.process();
            living.host.skip_ms.set(60_000);
            living.want(&conversation(&turn())).await;
            world.store.forward(60_000).await;
            let pass = living.send().await.expect("it is sent");
            assert_eq!((pass.left, pass.refused), (0, 0), "step {step}");
            let expected = pairs(&[
                ("msg_1", "fix it"),
                ("msg_2", "I look."),
                ("msg_3", "Done."),
            ]);
            assert_eq!(world.texts().await, expected, "step {step}");
            let session = world.store.state().await["sessions"][0].clone();
            let found = (&session["title"], &session["cost"], &session["createdAt"]);
            assert_eq!(
                found,
                (&json!("The till"), &json!(1), &json!(OLD as u64)),
                "step {step}"
            );
            if !died {
                assert!(step > 8, "it ended after {step} steps");
                break;
            }
        }
    });
}

/// A store that has one message of two, the sender of which has stopped there and lives or does not; and another sender.
async fn in_the_middle(lives: bool) -> (World, Process) {
    for step in 1.. {
        let world = World::new();
        let (first, second) = (world.process(), world.process());
        // No process has the other number.
        first.host.pid.set((!lives).then_some(u32::MAX));
        first.want(&conversation(&turn()[..2])).await;
        let stopped = first.host.die_at(step);
        tokio::select! {
            biased;
            _ = stopped => {}
            _ = first.send() => panic!("it was never in the middle"),
        }
        if world.texts().await.len() == 1 {
            return (world, second);
        }
    }
    unreachable!()
}

/// The older record of two senders could end in the store, and each would have seen its own there.
#[test]
fn of_two_senders_of_one_session_the_second_waits_until_the_first_has_ended_or_is_dead() {
    run(async {
        // Is the first one's process there, and has it been silent for long?
        for (lives, is_silent, waits) in [
            (true, false, true),
            (true, true, false),
            (false, false, false),
        ] {
            let (world, second) = in_the_middle(lives).await;
            second.want(&conversation(&turn())).await;
            second.host.skip_ms.set(if is_silent { 60_000 } else { 0 });
            world.store.forget().await;
            let what = format!("lives: {lives}, is silent: {is_silent}");
            let pass = second.send().await.expect("a pass");
            assert_eq!(pass.is_elsewhere, waits, "{what}");
            assert_eq!(world.store.requests().await.is_empty(), waits, "{what}");
            assert_eq!(pass.left > 0, waits, "{what}");
        }
    });
}

#[test]
fn whatever_the_store_answers_what_it_did_not_take_is_sent_again() {
    run(async {
        for (what, fault, reason) in [
            (
                "dropped before",
                json!({ "drop": "before", "path": "/sync/message" }),
                "cannot be reached",
            ),
            (
                "dropped after",
                json!({ "drop": "after", "path": "/sync/message" }),
                "cannot be reached",
            ),
            (
                "500",
                json!({ "status": 500, "path": "/sync/message" }),
                "answers 500",
            ),
            (
                "502 in HTML",
                json!({ "status": 502, "body": "<html>", "path": "/sync/session" }),
                "answers 502",
            ),
            (
                "429",
                json!({ "status": 429, "headers": { "retry-after": "7" }, "path": "/sync/message" }),
                "pause of 7 s",
            ),
            (
                "404",
                json!({ "status": 404, "body": "No matching routes found" }),
                "answers 404",
            ),
            (
                "a page",
                json!({ "status": 200, "body": "<html>welcome", "path": "/sync/message" }),
                "welcome",
            ),
        ] {
            let world = World::new();
            let process = world.process();
            process.want(&conversation(&turn())).await;
            world.store.fault(fault).await;
            let error = process.send().await.expect_err(what).to_string();
            assert!(error.contains(reason), "{what}: {error}");
            world.store.heal().await;
            world.store.forward(60_000).await;
            let pass = world.process().send().await.expect(what);
            assert_eq!((pass.left, pass.refused), (0, 0), "{what}");
            assert_eq!(world.texts().await.len(), 3, "{what}");
        }
    });
}

#[test]
fn an_ok_that_did_nothing_is_seen() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        world
            .store
            .fault(json!({ "silent": true, "path": "/sync/message" }))
            .await;
        let pass = process.send().await.expect("it is said to be taken");
        assert_eq!((pass.messages, pass.left), (2, 1));
        assert!(pass.later_ms > 0);
        world.store.heal().await;
        assert_eq!(process.send().await.expect("it is sent").messages, 1);
        assert_eq!(world.texts().await.len(), 3);
    });
}

#[test]
fn an_update_waits_until_the_store_takes_it() {
    run(async {
        let world = World::new();
        let process = world.process();
        let now = host::Host::now_ms(&*process.host) as f64;
        let mut messages = turn();
        messages[2]["info"]["time"]["created"] = now.into();
        process.want(&conversation(&messages)).await;
        process.send().await.expect("it is sent");
        messages[2]["parts"][0]["text"] = "Done, really.".into();
        process.want(&conversation(&messages)).await;
        let pass = process.send().await.expect("nothing is taken now");
        assert_eq!((pass.messages, pass.left), (0, 1));
        assert!(
            (1_000..=5_001).contains(&pass.later_ms),
            "{}",
            pass.later_ms
        );
        world.store.forward(6_000).await;
        let pass = world.process().send().await.expect("it is sent");
        assert_eq!((pass.messages, pass.left), (1, 0));
        assert_eq!(world.texts().await[2].1, "Done, really.");
    });
}

#[test]
fn a_date_in_the_future_is_the_stores_now() {
    run(async {
        let world = World::new();
        let process = world.process();
        let now = host::Host::now_ms(&*process.host) as f64;
        let mut messages = turn();
        messages[2]["info"]["time"]["created"] = (now + 86_400_000.0).into();
        process.want(&conversation(&messages)).await;
        let pass = process.send().await.expect("it is sent");
        assert_eq!((pass.messages, pass.left), (3, 0));
        let date = world.store.state().await["sessions"][0]["messages"][2]["createdAt"].clone();
        assert!(date.as_f64().expect("a date") < now + 60_000.0, "{date}");
    });
}

#[test]
fn a_refused_message_is_kept_and_the_others_go_on() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        let refusal = json!({ "error": "ArgumentValidationError: Value is too large" });
        world
            .store
            .fault(json!({ "status": 500, "body": refusal, "path": "/sync/message" }))
            .await;
        let pass = process.send().await.expect("the others are sent");
        assert_eq!((pass.messages, pass.left, pass.refused), (2, 0, 1));
        world.store.heal().await;
        assert_eq!(
            process.send().await.expect("it is not tried again").refused,
            1
        );
        assert_eq!(world.texts().await.len(), 2);
        process
            .spool
            .update("ses_1", |entry| entry.retry())
            .await
            .expect("the spool");
        assert_eq!(process.send().await.expect("it is sent").messages, 1);
        assert_eq!(world.texts().await.len(), 3);
    });
}

#[test]
fn a_wrong_key_is_told_and_everything_is_kept() {
    run(async {
        let world = World::new();
        let process = world.process_with("osk_wrong");
        process.want(&conversation(&turn())).await;
        let error = process.send().await.expect_err("no key");
        assert!(
            matches!(error, SendError::Store(Failure::Key(_))),
            "{error}"
        );
        assert_eq!(
            world.process().send().await.expect("it is sent").messages,
            3
        );
    });
}

#[test]
fn a_message_that_is_gone_is_emptied_and_one_that_never_arrived_is_forgotten() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        process.send().await.expect("it is sent");
        let mut more = turn();
        more.push(message(4, "user", "and this"));
        process.want(&conversation(&more)).await;
        process.want(&conversation(&turn()[..2])).await;
        let pass = process.send().await.expect("it is sent");
        assert_eq!(pass.left, 0);
        assert_eq!(
            world.texts().await,
            pairs(&[("msg_1", "fix it"), ("msg_2", "I look."), ("msg_3", "")])
        );
        assert_eq!(
            world.store.state().await["sessions"][0]["messages"][2]["parts"],
            json!([])
        );
    });
}

#[test]
fn a_new_title_comes_before_new_messages_so_that_their_text_can_be_searched() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn()[..1])).await;
        process.send().await.expect("it is sent");
        let mut renamed = conversation(&turn());
        renamed["info"]["title"] = "The till rings".into();
        process.want(&renamed).await;
        let pass = process.send().await.expect("it is sent");
        assert_eq!((pass.messages, pass.left), (2, 0));
        let session = world.store.state().await["sessions"][0].clone();
        assert_eq!(
            session["searchableText"],
            json!("The till rings I look. Done.")
        );
    });
}

#[test]
fn a_spool_that_cannot_be_read_is_put_aside_and_the_session_is_sent_again() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        process.send().await.expect("it is sent");
        let path = world.dir.path().join("spool/ses_1.json");
        for broken in ["{", "{\"version\":99}"] {
            std::fs::write(&path, broken).expect("written");
            process.want(&conversation(&turn())).await;
            world.store.forward(60_000).await;
            let process = world.process();
            assert_eq!(
                process.send().await.expect("it is sent").left,
                0,
                "{broken}"
            );
            assert_eq!(world.texts().await.len(), 3, "{broken}");
        }
        let aside = std::fs::read_dir(world.dir.path().join("spool")).expect("a directory");
        let aside = aside.filter(|entry| {
            entry
                .as_ref()
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .contains(".broken-")
        });
        assert_eq!(aside.count(), 2);
    });
}

#[test]
fn whatever_is_over_a_limit_of_the_store_or_in_a_form_that_it_refuses_arrives_all_the_same() {
    run(async {
        let mib = 1024 * 1024;
        let tool = |input: Value, output: &str| json!({ "type": "tool", "tool": "bash", "state": { "status": "completed", "input": input, "output": output } });
        let mut deep = json!(1);
        for _ in 0..30 {
            deep = json!([{ "in": deep }]);
        }
        let mut many = turn()[0]["parts"].as_array().expect("parts").clone();
        many.extend((0..9_000).map(|n| json!({ "type": "text", "text": n.to_string() })));
        let surrogate = r#""cut \ud83d here""#;
        let surrogate: Value = session_sync::opencode::from_json(surrogate).expect("a text");
        for (what, parts, expected) in [
            (
                "a text of 1 MiB",
                json!([{ "type": "text", "text": "ü ".repeat(mib / 3) }]),
                "bytes are left out]",
            ),
            (
                "an output of 1 MiB",
                json!([tool(json!({}), &"x ".repeat(mib / 2))]),
                "bytes are left out]",
            ),
            (
                "arguments of 1 MiB",
                json!([tool(json!({ "content": "x ".repeat(mib / 2) }), "")]),
                "bytes are left out]",
            ),
            (
                "twenty outputs",
                Value::Array(vec![tool(json!({}), &"x ".repeat(mib / 4)); 20]),
                "bytes are left out]",
            ),
            (
                "more parts than a list may have",
                Value::Array(many),
                "parts are left out here]",
            ),
            (
                "a name with $",
                json!([tool(json!({ "$schema": "s", "n": { "$ref": 1 } }), "")]),
                "$schema",
            ),
            (
                "a name that is not ASCII",
                json!([tool(json!({ "größe": 1 }), "")]),
                "größe",
            ),
            ("no name", json!([tool(json!({ "": 1 }), "")]), "\\\"\\\":1"),
            ("a deep list", json!([tool(deep, "")]), "in"),
            (
                "half a character",
                json!([{ "type": "text", "text": surrogate }]),
                "cut \u{fffd} here",
            ),
            (
                "a sign of zero",
                json!([{ "type": "text", "text": "a\u{0}b" }]),
                "a\\u0000b",
            ),
        ] {
            let world = World::new();
            let process = world.process();
            let mut messages = turn();
            messages[1]["parts"] = parts;
            process.want(&conversation(&messages)).await;
            let pass = process.send().await.expect(what);
            assert_eq!(
                (pass.messages, pass.left, pass.refused),
                (3, 0, 0),
                "{what}"
            );
            let stored = world.store.state().await["sessions"][0]["messages"][1].to_string();
            assert!(
                stored.contains(expected),
                "{what}: {}",
                &stored[..stored.len().min(400)]
            );
        }
    });
}

#[test]
fn what_is_left_goes_out_from_one_process_at_a_time() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        let mark = world.dir.path().join("drain");
        let host: Arc<dyn Host> = process.host.clone();
        let drain = async || {
            let mark = mark.to_string_lossy();
            let drained = drain(&*host, &process.spool, &process.sender, &mark).await;
            drained.expect("the mark can be written")
        };
        fs::write(&mark, host.pid().to_string()).expect("written");
        assert_eq!(drain().await, None, "another one is at work");
        assert_eq!(world.store.requests().await, Vec::<String>::new());
        // No process has this number.
        fs::write(&mark, u32::MAX.to_string()).expect("written");
        assert_eq!(drain().await, Some(0), "the other one was killed");
        assert_eq!(world.texts().await.len(), 3);
        assert!(!mark.exists());
    });
}
