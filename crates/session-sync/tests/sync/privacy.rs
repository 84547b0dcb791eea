//! What stays on the machine, and that a rehearsal shows what does not.

use crate::home::Home;
use crate::plugin::nothing;
use crate::world::{OLD, World, conversation, turn};
use host::Body;
use serde_json::{Value, json};
use std::fs;
use testkit::{TestHost, run, until};

/// Everything that is in the spool.
fn spooled(dir: &std::path::Path) -> String {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let texts = files.filter_map(|file| fs::read_to_string(file.path()).ok());
    texts.collect()
}

/// The bodies of the requests that were sent, with their paths.
fn posted(host: &TestHost) -> Vec<(String, String)> {
    let requests = host.requests().into_iter();
    requests
        .filter_map(|request| match request.body {
            Body::Json(body) => {
                let at = request.url.find("/sync/").expect("a path");
                Some((request.url[at..].to_string(), body))
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_rehearsal_shows_to_the_byte_what_then_leaves() {
    run(async {
        let world = World::new();
        let home = Home::new(4);
        home.login(&world).await;
        // A first push; one more message, another title, one message less; a large session in pages; all there.
        for step in 0..5 {
            match step {
                1 => home.past(0, |past| past.messages = 4),
                2 => {
                    home.past(0, |past| past.messages = 1);
                    home.past(1, |past| past.row["title"] = "Another".into());
                    home.past(2, |past| past.row["cost"] = 0.75.into());
                }
                3 => home.past(2, |past| {
                    past.messages = 24;
                    past.text = Box::new(|n| format!("{n} {}", "y".repeat(200_000)));
                }),
                _ => {}
            }
            world.store.forward(60_000).await;
            home.host.skip_ms.set(home.host.skip_ms.get() + 60_000);
            let spool = spooled(&home.at("spool"));
            let (exit, text) = home.call(&["push", "--dry-run", "--json"]).await;
            assert_eq!(exit, 0, "{text}");
            assert_eq!(
                spooled(&home.at("spool")),
                spool,
                "a rehearsal changes nothing"
            );
            let shown = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            let shown: Vec<(String, String)> = shown
                .filter(|line| line["path"].is_string())
                .map(|line| {
                    (
                        line["path"].as_str().expect("a path").into(),
                        line["body"].to_string(),
                    )
                })
                .collect();
            let before = posted(&home.host).len();
            let (exit, text) = home.call(&["push"]).await;
            assert_eq!(exit, 0, "{text}");
            let left = &posted(&home.host)[before..];
            assert_eq!(shown.len(), left.len(), "step {step}");
            for (shown, left) in shown.iter().zip(left) {
                assert!(
                    shown == left,
                    "step {step}: {} {}",
                    &shown.1[..300],
                    &left.1[..300]
                );
            }
            assert_eq!(shown.is_empty(), step == 4, "step {step}");
        }
    });
}

#[test]
fn the_values_of_a_projects_env_files_are_in_nothing_that_is_written_or_sent() {
    run(async {
        let world = World::new();
        let project = world.dir.path().join("project");
        fs::create_dir_all(project.join(".git")).expect("made");
        fs::create_dir_all(project.join("api")).expect("made");
        fs::write(
            project.join(".env"),
            "DB_PASSWORD='tuesday afternoon'\nNODE_ENV=development\n",
        )
        .expect("written");
        fs::write(project.join("api/.env.local"), "ACCOUNT=AC5f-wonder-77d0\n").expect("written");
        let said = "tuesday afternoon and AC5f-wonder-77d0 in development";
        let expected = "[redacted] and [redacted] in development";
        let mut now = conversation(&turn());
        now["info"]["directory"] = project.join("api").to_string_lossy().into();
        now["messages"][0]["parts"][0]["text"] = said.into();
        now["messages"][1]["parts"] = json!([{ "type": "tool", "tool": "bash", "state": { "status": "completed", "input": { "command": said }, "output": said } }]);
        world
            .store
            .fault(json!({ "drop": "before", "times": -1 }))
            .await;
        let open = world.open(now);
        open.plugin.event("session.idle", "ses_1", None);
        assert_eq!(open.plugin.dispose().await, 1);
        let waits = spooled(&world.dir.path().join("spool"));
        assert!(waits.contains(expected), "{waits}");
        world.store.heal().await;
        let _next = world.open(nothing());
        until("it arrived", async || world.arrived().await == 3).await;
        let state = world.store.state().await.to_string();
        for kept in ["tuesday", "wonder"] {
            assert!(!waits.contains(kept) && !state.contains(kept), "{kept}");
        }

        let home = Home::new(1);
        home.login(&world).await;
        home.past(0, |past| {
            past.row["directory"] = project.join("api").to_string_lossy().into();
            past.text = Box::new(move |_| said.into());
        });
        let (_, shown) = home.call(&["push", "--dry-run"]).await;
        assert!(
            shown.contains(expected) && !shown.contains("tuesday"),
            "{shown}"
        );
        assert_eq!(home.call(&["push"]).await.0, 0);
        assert!(!world.store.state().await.to_string().contains("tuesday"));
    });
}

#[test]
fn a_session_that_becomes_private_or_excluded_leaves_no_further() {
    run(async {
        let mut private = conversation(&turn());
        private["info"]["title"] = "The till [private]".into();
        for (what, later, exclude, has_event) in [
            ("its title", private.clone(), vec![], true),
            ("its project", conversation(&turn()), vec!["shop"], true),
            (
                "its project, and OpenCode does not have it here",
                nothing(),
                vec!["/home/me/*"],
                false,
            ),
        ] {
            let world = World::new();
            let first = world.open(conversation(&turn()[..1]));
            first.plugin.event("session.idle", "ses_1", None);
            assert_eq!(first.plugin.dispose().await, 0, "{what}");
            world.store.lose("/sync/message").await;
            let away = world.open(conversation(&turn()));
            away.plugin.event("session.idle", "ses_1", None);
            assert_eq!(away.plugin.dispose().await, 1, "{what}");
            let _died = away.host.die_at(1);
            let spool = world.dir.path().join("spool");
            assert!(spooled(&spool).contains("I look."), "{what}");
            world.store.heal().await;
            world.store.forget().await;
            let open = world.open_with(later, &world.store.key, &exclude);
            if has_event {
                open.plugin.event("session.updated", "ses_1", None);
                assert_eq!(open.plugin.dispose().await, 0, "{what}");
                let log = open.host.logged().join("\n");
                assert!(
                    log.contains("ses_1 stays on this machine from now on"),
                    "{what}: {log}"
                );
            }
            until("what waited is dropped", async || {
                !spooled(&spool).contains("I look.")
            })
            .await;
            assert_eq!(world.store.requests().await, Vec::<String>::new(), "{what}");
            // It may leave again.
            let again = world.open(conversation(&turn()));
            again.plugin.event("session.updated", "ses_1", None);
            assert_eq!(again.plugin.dispose().await, 0, "{what}");
            assert_eq!(world.arrived().await, 3, "{what}");
        }
    });
}

#[test]
fn the_command_drops_what_waits_of_a_session_that_stays_now() {
    run(async {
        for (how, command) in [("exclude", "push"), ("exclude", "retry"), ("title", "push")] {
            let world = World::new();
            let home = Home::new(1);
            home.login(&world).await;
            home.host.fast.set(true);
            world.store.lose("/sync/session").await;
            assert_eq!(home.call(&["push"]).await.0, 1);
            assert!(spooled(&home.at("spool")).contains("Session 0"));
            world.store.heal().await;
            match how {
                "title" => home.past(0, |past| past.row["title"] = "[private]".into()),
                _ => assert_eq!(
                    home.call(&["config", "set", "exclude", "/home/me"]).await.0,
                    0
                ),
            }
            home.past(0, |past| past.row["time_updated"] = json!(OLD + 1.0));
            let (exit, text) = home.call(&[command]).await;
            assert_eq!(exit, 0, "{text}");
            assert!(
                !spooled(&home.at("spool")).contains("Session 0"),
                "{how} {command}"
            );
            let state = world.store.state().await;
            assert_eq!(state["sessions"], json!([]), "{how} {command}");
        }
    });
}
