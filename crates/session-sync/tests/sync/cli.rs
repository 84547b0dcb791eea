//! The command, as a user and as a script call it.

use crate::home::Home;
use crate::world::{OLD, World};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use testkit::run;

#[test]
fn login_tries_the_key_before_it_is_saved_for_the_user_alone() {
    run(async {
        let world = World::new();
        let home = Home::new(0);
        let url = &world.store.url;
        for (piped, args, reason) in [
            (
                Some("osk_wrong"),
                vec!["login", "--url", url],
                "refused the key",
            ),
            (None, vec!["login", "--url", url], "no key was given"),
            (Some("x"), vec!["login"], "name the store with --url"),
            (Some("x"), vec!["login", "--url", "nonsense"], "is no URL"),
            (
                Some("x"),
                vec!["login", "--url", "http://127.0.0.1:9"],
                "is no store that answers",
            ),
        ] {
            *home.terminal.piped.borrow_mut() = piped.map(str::to_string);
            let (exit, text) = home.call(&args).await;
            assert_eq!(exit, 1, "{text}");
            assert!(text.contains(reason), "{reason}: {text}");
            assert!(!home.file().exists(), "{reason}");
        }
        // At a terminal the key is not shown.
        home.terminal.asked.borrow_mut().clear();
        *home.terminal.answers.borrow_mut() = vec![url.clone(), format!(" {} ", world.store.key)];
        let (exit, text) = home.call(&["login"]).await;
        assert_eq!(exit, 0, "{text}");
        assert!(!text.contains(&world.store.key), "{text}");
        let hidden: Vec<bool> = home
            .terminal
            .asked
            .borrow()
            .iter()
            .map(|(_, hidden)| *hidden)
            .collect();
        assert_eq!(hidden, [false, true]);
        let mode = |path: &std::path::Path| {
            std::fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(&home.file()), 0o600);
        assert_eq!(mode(home.file().parent().expect("a directory")), 0o700);

        let (exit, status) = home.json(&["status"]).await;
        assert_eq!(
            (exit, &status["ok"], &status["waiting"]),
            (0, &json!(true), &json!(0)),
            "{status}"
        );
        let (_, key) = home.call(&["config", "get", "apiKey"]).await;
        assert_eq!(key, format!("{}…", &world.store.key[..8]));
        assert_eq!(home.call(&["logout"]).await.0, 0);
        let (exit, text) = home.call(&["status"]).await;
        assert_eq!(exit, 1);
        assert!(text.contains("run `opencode-sync login`"), "{text}");
    });
}

const LEFT: &str = ".opensync/credentials.json";

/// What the other plugin leaves when it is logged in.
fn left(url: &str, key: &str) -> String {
    json!({ "convexUrl": url, "apiKey": key }).to_string()
}

#[test]
fn what_the_other_plugin_has_left_is_tried_before_it_is_taken_over_and_stays() {
    run(async {
        let world = World::new();
        let url = &world.store.url;
        let away = "https://happy-otter-1.convex.cloud";
        for (left, says) in [
            (left(&format!("{url}/"), &world.store.key), "Logged in to"),
            (left(url, "osk_wrong"), "refused the key"),
            (left(away, "osk_1"), "happy-otter-1.convex.site is no store"),
            ("{}".into(), "is logged out"),
            ("{".into(), "cannot be used"),
            (String::new(), "nothing to take over"),
        ] {
            let home = Home::new(0);
            if !left.is_empty() {
                home.write(LEFT, &left);
            }
            home.host.fail(|operation, to| {
                (operation == "http" && to.contains("convex.site")).then(|| "connect".into())
            });
            let (exit, text) = home.call(&["login", "--take-over"]).await;
            let is_taken = says == "Logged in to";
            assert_eq!(exit, i32::from(!is_taken), "{text}");
            assert!(text.contains(says), "{says}: {text}");
            assert!(!text.contains(&world.store.key), "{text}");
            assert_eq!(home.file().exists(), is_taken, "{says}");
            assert_eq!(home.read(LEFT), left);
        }
    });
}

#[test]
fn what_the_other_plugin_has_left_is_offered_at_a_terminal_when_nothing_else_is_given() {
    run(async {
        let world = World::new();
        let wrong = "osk_wrong";
        for (key, answers, says) in [
            (None, vec!["y"], "Logged in to"),
            (None, vec!["YES "], "Logged in to"),
            (None, vec!["", "nonsense"], "is no URL"),
            (None, vec!["n", "nonsense"], "is no URL"),
            (None, vec![], "name the store"),
            (Some(wrong), vec!["nonsense"], "is no URL"),
        ] {
            let home = Home::new(0);
            home.write(LEFT, &left(&world.store.url, &world.store.key));
            if let Some(key) = key {
                home.host.set_env("OPENCODE_SYNC_API_KEY", key);
            }
            let all = answers.iter().map(|text| text.to_string()).collect();
            *home.terminal.answers.borrow_mut() = all;
            let (_, text) = home.call(&["login"]).await;
            assert!(text.contains(says), "{answers:?}: {text}");
            assert_eq!(home.file().exists(), says == "Logged in to", "{answers:?}");
            let asked = home.terminal.asked.borrow();
            assert_eq!(asked[0].0.contains("Use them?"), key.is_none());
        }
    });
}

#[test]
fn who_takes_over_hears_that_the_other_plugin_is_still_named() {
    run(async {
        let world = World::new();
        let home = Home::new(0);
        home.write(
            ".config/opencode/opencode.json",
            "{\"plugin\": [\"opencode-sync-plugin\"]}",
        );
        home.write(LEFT, &left(&world.store.url, &world.store.key));
        let (exit, text) = home.call(&["login", "--take-over"]).await;
        assert_eq!(exit, 0, "{text}");
        assert!(
            text.contains("opencode.json names opencode-sync-plugin as well"),
            "{text}"
        );
    });
}

#[test]
fn push_brings_the_past_with_its_dates_and_does_it_once() {
    run(async {
        let world = World::new();
        let home = Home::new(7);
        home.login(&world).await;
        let (exit, pushed) = home.json(&["push"]).await;
        assert_eq!(exit, 0, "{pushed}");
        assert_eq!(
            pushed["pushed"],
            json!({ "sessions": 7, "kept": 1, "messages": 12, "left": 0, "refused": 0 })
        );
        let state = world.store.state().await;
        let sessions = state["sessions"].as_array().expect("sessions");
        assert_eq!(sessions.len(), 6);
        assert_eq!(sessions[2]["createdAt"], json!(OLD as u64 + 2_000));
        assert_eq!(
            sessions[2]["messages"][1]["textContent"],
            json!("use [redacted] in 2")
        );
        assert!(
            !state.to_string().contains("Taxes"),
            "a private session left"
        );
        world.store.forget().await;
        let (_, again) = home.json(&["sync", "--new"]).await;
        assert_eq!(again["pushed"]["messages"], json!(0));
        // That the key is accepted, and nothing else.
        assert_eq!(world.store.requests().await, ["GET /api/sessions"]);
        let (_, forced) = home.json(&["sync", "--force"]).await;
        assert_eq!(forced["pushed"]["messages"], json!(12));
        assert_eq!(
            world.store.state().await["sessions"]
                .as_array()
                .map(Vec::len),
            Some(6)
        );
    });
}

#[test]
fn a_rehearsal_shows_what_would_leave_and_sends_nothing() {
    run(async {
        let world = World::new();
        let home = Home::new(4);
        home.login(&world).await;
        world.store.forget().await;
        let (exit, text) = home
            .call(&["push", "--dry-run", "--project", "/home/me/p0"])
            .await;
        assert_eq!(exit, 0, "{text}");
        assert!(
            text.contains("use [redacted] in 0")
                && text.contains("4 messages of 2 sessions would leave"),
            "{text}"
        );
        assert!(!text.contains("AKIA"), "{text}");
        assert_eq!(world.store.requests().await, Vec::<String>::new());
        assert!(!home.dir.path().join("spool").exists());
    });
}

#[test]
fn what_the_store_does_not_take_is_shown_kept_and_tried_again_when_that_is_asked_for() {
    run(async {
        let world = World::new();
        let home = Home::new(2);
        home.login(&world).await;
        let refusal = json!({ "error": "ArgumentValidationError: no" });
        world
            .store
            .fault(json!({ "status": 500, "body": refusal, "path": "/sync/message" }))
            .await;
        let (exit, pushed) = home.json(&["push"]).await;
        assert_eq!(
            (exit, &pushed["pushed"]["refused"]),
            (1, &json!(1)),
            "{pushed}"
        );
        let (_, pending) = home.call(&["pending"]).await;
        assert!(
            pending.contains("not taken: ArgumentValidationError: no"),
            "{pending}"
        );
        let (_, status) = home.json(&["status"]).await;
        assert_eq!(status["lastError"], json!("ArgumentValidationError: no"));
        world.store.heal().await;
        let (exit, retried) = home.json(&["retry"]).await;
        assert_eq!((exit, &retried["messages"]), (0, &json!(1)), "{retried}");
        assert_eq!(home.call(&["pending"]).await.1, "Nothing waits.");
    });
}

#[test]
fn a_push_that_was_interrupted_goes_on_where_it_was() {
    run(async {
        let world = World::new();
        let home = Home::new(6);
        home.login(&world).await;
        home.host.fast.set(true);
        world.store.lose("/sync/message").await;
        let (exit, text) = home.call(&["push"]).await;
        assert_eq!(exit, 1);
        assert!(text.contains("cannot be reached"), "{text}");
        world.store.heal().await;
        let (exit, pushed) = home.json(&["push"]).await;
        assert_eq!(exit, 0, "{pushed}");
        let state = world.store.state().await;
        let messages: usize = state["sessions"]
            .as_array()
            .expect("sessions")
            .iter()
            .map(|session| session["messages"].as_array().map_or(0, Vec::len))
            .sum();
        assert_eq!(messages, 10);
        assert!(home.terminal.progress.get() > 0);
    });
}

#[test]
fn settings_say_where_they_come_from_and_wrong_arguments_say_what_there_is() {
    run(async {
        let home = Home::new(0);
        assert_eq!(
            home.call(&["config", "set", "include.reasoning", "true"])
                .await
                .0,
            0
        );
        let (_, settings) = home.json(&["config"]).await;
        let of = |name: &str| {
            settings
                .as_array()
                .expect("a list")
                .iter()
                .find(|setting| setting["name"] == name)
                .cloned()
                .expect(name)
        };
        assert_eq!(
            of("include.reasoning"),
            json!({ "name": "include.reasoning", "value": "true", "source": "file" })
        );
        assert_eq!(of("include.toolOutput")["source"], "default");
        for (args, exit, reason) in [
            (
                vec!["push", "--sinse", "1d"],
                2,
                "push has no option `--sinse`",
            ),
            (vec!["push", "--since", "soon"], 2, "is no date"),
            (vec!["frobnicate"], 2, "there is no command `frobnicate`"),
            (vec!["config", "get", "colour"], 2, "there is no setting"),
            (
                vec!["config", "set", "include.files", "maybe"],
                1,
                "true or false",
            ),
            (vec!["push"], 1, "run `opencode-sync login`"),
        ] {
            let (found, text) = home.call(&args).await;
            assert_eq!(found, exit, "{text}");
            assert!(text.contains(reason), "{reason}: {text}");
            let (found, json) = home.json(&args).await;
            assert_eq!((found, &json["ok"]), (exit, &json!(false)));
        }
        std::fs::write(home.file(), "{\"colour\": 1}").expect("written");
        let (exit, text) = home.call(&["config"]).await;
        assert_eq!(exit, 1);
        assert!(
            text.contains("unknown field `colour`") && text.contains("include.files"),
            "{text}"
        );
    });
}

#[test]
fn another_store_gets_everything() {
    run(async {
        let (one, two) = (World::new(), World::new());
        let home = Home::new(3);
        for world in [&one, &two, &one] {
            home.login(world).await;
            let (exit, pushed) = home.json(&["push"]).await;
            assert_eq!(
                (exit, &pushed["pushed"]["messages"]),
                (0, &json!(6)),
                "{pushed}"
            );
            world.store.forward(60_000).await;
            home.host.skip_ms.set(home.host.skip_ms.get() + 60_000);
        }
        for world in [one, two] {
            let state = world.store.state().await;
            assert_eq!(state["sessions"].as_array().map(Vec::len), Some(3));
        }
    });
}
