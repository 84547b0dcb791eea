//! `push`: all that OpenCode has of the past, wherever it is, in bounded pieces.

use crate::home::{Home, Past};
use crate::world::{OLD, World};
use serde_json::{Value, json};
use testkit::run;

const STORAGE: &str = ".local/share/opencode/storage";

/// A session as a release before 1.2.0 has written it, with a turn of two messages.
fn write_old(home: &Home, id: &str, title: &str) {
    let at = |ms: f64| OLD + ms;
    let write = |path: String, value: Value| {
        home.write(&format!("{STORAGE}/{path}"), &value.to_string());
    };
    write(
        format!("session/0123abcd/{id}.json"),
        json!({ "id": id, "version": "0.9.1", "projectID": "0123abcd", "directory": "/home/me/old", "title": title, "time": { "created": at(0.0), "updated": at(9_000.0) } }),
    );
    for (n, role, text) in [(1, "user", "fix it"), (2, "assistant", "Done.")] {
        let message = format!("msg_{id}_{n}");
        let mut info = json!({ "id": message, "sessionID": id, "role": role, "time": { "created": at(f64::from(n) * 1_000.0) } });
        if role == "assistant" {
            info["time"]["completed"] = at(2_500.0).into();
            info["modelID"] = "m".into();
            info["providerID"] = "p".into();
            info["cost"] = 0.25.into();
            info["tokens"] = json!({ "input": 10, "output": 5, "reasoning": 1, "cache": { "read": 2, "write": 0 } });
        }
        write(format!("message/{id}/{message}.json"), info);
        write(
            format!("part/{message}/prt_{n}.json"),
            json!({ "id": format!("prt_{n}"), "messageID": message, "sessionID": id, "type": "text", "text": text }),
        );
    }
}

async fn sessions(world: &World) -> Vec<Value> {
    let state = world.store.state().await;
    state["sessions"].as_array().expect("sessions").clone()
}

fn texts(session: &Value) -> Vec<&str> {
    let messages = session["messages"].as_array().expect("messages");
    let texts = messages.iter().map(|message| &message["textContent"]);
    texts
        .map(|text| text.as_str().unwrap_or_default())
        .collect()
}

#[test]
fn sessions_that_only_an_old_releases_files_have_come_along() {
    run(async {
        let world = World::new();
        let home = Home::new(1);
        home.login(&world).await;
        write_old(&home, "ses_old", "The old one");
        // The database has it: what was moved there counts.
        write_old(&home, "ses_0000", "Moved");
        for (name, text) in [
            ("session/0123abcd/ses_broken.json", "{"),
            (
                "session/0123abcd/ses_other.json",
                "{\"id\":\"ses_elsewhere\"}",
            ),
            ("session/0123abcd/notes.txt", "mine"),
            ("session_diff/ses_old.json", "[]"),
        ] {
            home.write(&format!("{STORAGE}/{name}"), text);
        }
        let (exit, pushed) = home.json(&["push"]).await;
        assert_eq!(exit, 0, "{pushed}");
        assert_eq!(pushed["pushed"]["sessions"], json!(2));
        let found = sessions(&world).await;
        let of = |id: &str| {
            let mut found = found.iter();
            found
                .find(|session| session["externalId"] == id)
                .expect("a session")
        };
        assert_eq!(of("ses_0000")["title"], json!("Session 0"));
        let old = of("ses_old");
        for (name, expected) in [
            ("title", json!("The old one")),
            ("projectName", json!("old")),
            ("model", json!("m")),
            ("provider", json!("p")),
            ("promptTokens", json!(12)),
            ("completionTokens", json!(6)),
            ("cost", json!(0.25)),
            ("durationMs", json!(1_500)),
            ("createdAt", json!(OLD as u64)),
        ] {
            assert_eq!(old[name], expected, "{name}");
        }
        assert_eq!(texts(old), ["fix it", "Done."]);
        assert_eq!(old["messages"][1]["createdAt"], json!(OLD as u64 + 2_000));
        world.store.forget().await;
        let (_, again) = home.json(&["push"]).await;
        assert_eq!(again["pushed"]["messages"], json!(0));
        // A filter holds for them, too.
        for (args, count) in [
            (["push", "--project", "/home/me/old"], 1),
            (["push", "--since", "1d"], 0),
        ] {
            let (_, pushed) = home.json(&args).await;
            assert_eq!(pushed["pushed"]["sessions"], json!(count), "{args:?}");
        }
    });
}

#[test]
fn sessions_of_every_kind_and_project_come_along() {
    run(async {
        let world = World::new();
        let home = Home::new(0);
        home.login(&world).await;
        let kinds = [
            ("ses_a", json!({ "directory": "/home/me/a" })),
            (
                "ses_b",
                json!({ "directory": "/home/you/b", "time_archived": OLD }),
            ),
            // Nothing of it is in the event log: only rows were written.
            ("ses_c", json!({ "share_url": "https://example.org/s/1" })),
            (
                "ses_d",
                json!({ "parent_id": "ses_a", "title": "Look (@explore subagent)" }),
            ),
            ("ses_e", json!({ "directory": "" })),
        ];
        for (n, (id, more)) in kinds.iter().enumerate() {
            let mut past = Past::new(id, id, n as f64);
            for (name, value) in more.as_object().expect("an object") {
                past.row[name] = value.clone();
            }
            home.database.sessions.borrow_mut().push(past);
        }
        assert_eq!(home.call(&["push"]).await.0, 0);
        let found = sessions(&world).await;
        let ids: Vec<&Value> = found.iter().map(|session| &session["externalId"]).collect();
        assert_eq!(ids, ["ses_a", "ses_b", "ses_c", "ses_d", "ses_e"]);
        assert!(
            found
                .iter()
                .all(|session| texts(session) == ["text 0", "text 1"])
        );
        let queries = home.database.queries.borrow();
        assert!(
            !queries.iter().any(|sql| sql.contains("event")),
            "{queries:?}"
        );
    });
}

#[test]
fn a_large_session_arrives_whole_page_by_page_and_what_is_gone_from_it_is_emptied() {
    run(async {
        let world = World::new();
        let home = Home::new(0);
        home.login(&world).await;
        let mut past = Past::new("ses_a", "Large", 0.0);
        past.messages = 24;
        past.text = Box::new(|n| format!("{n} {}", "x".repeat(200_000)));
        home.database.sessions.borrow_mut().push(past);
        assert_eq!(home.call(&["push"]).await.0, 0);
        let whole = sessions(&world).await;
        let beginnings = |session: &Value| -> Vec<String> {
            let texts = texts(session);
            texts
                .iter()
                .map(|text| text.chars().take_while(|c| *c != ' ').collect())
                .collect()
        };
        let expected: Vec<String> = (0..24).map(|n| n.to_string()).collect();
        assert_eq!(beginnings(&whole[0]), expected);
        assert_eq!(whole[0]["cost"], json!(0.5));
        // 5 MB, and never more than a page and a message of it at once.
        assert!(
            home.database.longest.get() < 5_000_000,
            "{}",
            home.database.longest.get()
        );

        // An undo took the last; and a row that cannot be read is not one that is gone.
        home.past(0, |past| {
            past.messages = 23;
            past.unreadable = Some(22);
            past.row["time_updated"] = json!(OLD + 1.0);
        });
        let (exit, text) = home.call(&["push"]).await;
        assert_eq!(exit, 0, "{text}");
        let mut expected = expected;
        expected[23].clear();
        let mut found = beginnings(&sessions(&world).await[0]);
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn what_the_store_has_is_not_read_again() {
    run(async {
        let world = World::new();
        let home = Home::new(3);
        home.login(&world).await;
        assert_eq!(home.call(&["push"]).await.0, 0);
        let read = || {
            let mut queries = home.database.queries.borrow_mut();
            let read = queries
                .iter()
                .filter(|sql| sql.contains("FROM message WHERE"));
            let count = read.count();
            queries.clear();
            count
        };
        assert!(read() > 0);
        assert_eq!(home.call(&["push"]).await.0, 0);
        assert_eq!(read(), 0, "nothing has changed");
        home.past(1, |past| past.messages += 1);
        assert_eq!(home.call(&["push"]).await.0, 0);
        assert!(read() > 0, "one has");
        // Other rules make other records.
        assert_eq!(
            home.call(&["config", "set", "include.files", "true"])
                .await
                .0,
            0
        );
        assert_eq!(home.call(&["push"]).await.0, 0);
        assert!(read() > 0, "what leaves is another part of it");
    });
}

#[test]
fn a_session_that_the_store_cannot_give_back_at_once_is_counted() {
    run(async {
        let world = World::new();
        let home = Home::new(0);
        home.login(&world).await;
        let mut past = Past::new("ses_a", "Huge", 0.0);
        past.messages = 48;
        past.text = Box::new(|n| format!("{n} {}", "x".repeat(200_000)));
        home.database.sessions.borrow_mut().push(past);
        home.host.fast.set(true);
        let (exit, text) = home.call(&["push"]).await;
        assert_eq!(exit, 0, "{text}");
        assert_eq!(texts(&sessions(&world).await[0]).len(), 48);
        // One more is said to be taken, and is not: the number tells.
        home.past(0, |past| past.messages = 49);
        let lie = json!({ "silent": true, "path": "/sync/message" });
        world.store.fault(lie).await;
        world.store.forget().await;
        let (exit, text) = home.call(&["push"]).await;
        assert_eq!(exit, 0, "{text}");
        assert_eq!(texts(&sessions(&world).await[0]).len(), 49);
        let requests = world.store.requests().await;
        let sent = requests
            .iter()
            .filter(|request| request.ends_with("/sync/message"));
        assert_eq!(sent.count(), 2);
    });
}
