//! `verify` and `doctor`: each thing that can be wrong is named, with what to do, and changes nothing.

use crate::home::Home;
use crate::world::World;
use serde_json::{Value, json};
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use testkit::run;

const OPENCODE: &str = ".config/opencode/opencode.json";

/// A home where all is well, with a session in the store.
async fn healthy(world: &World) -> Home {
    let home = Home::new(1);
    home.write("project/.git/HEAD", "");
    home.write(OPENCODE, "{\"plugin\": [\"opencode-session-sync\"]}");
    home.write("opencode.db", "rows");
    let script = format!(
        "#!/bin/sh\n[ \"$*\" = 'db path' ] && echo '{}'\n",
        home.at("opencode.db").display()
    );
    home.write("bin/opencode", &script);
    set_permissions(home.at("bin/opencode"), Permissions::from_mode(0o755)).expect("set");
    let programs = std::env::var("PATH").expect("a search path");
    let path = format!("{}:{programs}", home.at("bin").display());
    home.host.set_env("PATH", &path);
    home.login(world).await;
    home.host.set_env("OPENCODE_SYNC_API_KEY", "");
    let (exit, text) = home.call(&["push"]).await;
    assert_eq!(exit, 0, "{text}");
    home
}

/// What is said of what is wrong.
async fn problems(home: &Home, command: &str) -> Vec<(String, String)> {
    let (exit, found) = home.json(&[command]).await;
    let checks = found["checks"].as_array().expect("checks").clone();
    let text = |check: &Value, name: &str| check[name].as_str().expect("a text").to_string();
    let bad: Vec<(String, String)> = checks
        .iter()
        .filter(|check| check["ok"] == json!(false))
        .map(|check| (text(check, "what"), text(check, "text")))
        .collect();
    assert_eq!(exit, i32::from(!bad.is_empty()), "{found}");
    assert_eq!(found["ok"], json!(bad.is_empty()));
    bad
}

#[test]
fn where_all_is_well_both_say_so_and_leave_the_store_as_it_was() {
    run(async {
        let world = World::new();
        let home = healthy(&world).await;
        let before = world.store.state().await;
        let spooled = home.read("spool/ses_0000.json");
        world.store.forget().await;
        for command in ["verify", "doctor"] {
            assert_eq!(problems(&home, command).await, []);
            let (_, text) = home.call(&[command]).await;
            assert!(text.ends_with("Everything is in place."), "{text}");
            assert!(
                text.contains("\"Session 0\" was read back, with 2 messages"),
                "{text}"
            );
        }
        assert_eq!(world.store.state().await, before);
        assert_eq!(home.read("spool/ses_0000.json"), spooled);
        let requests = world.store.requests().await;
        assert!(
            requests.iter().all(|request| request.starts_with("GET")),
            "{requests:?}"
        );
        let left = std::fs::read_dir(home.at("spool"))
            .expect("a directory")
            .flatten();
        let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("doctor"));
        assert_eq!(left.count(), 0);
    });
}

/// What goes wrong.
type Damage = Box<dyn Fn(&Home)>;

const CONFIG: &str = ".config/opencode-sync/config.json";

fn mode(home: &Home, name: &str, mode: u32) {
    set_permissions(home.at(name), Permissions::from_mode(mode)).expect("set");
}

/// Files of OpenCode's and ours: which check finds it, the damage, and what is said.
fn in_files() -> Vec<(&'static str, Damage, &'static str)> {
    vec![
        (
            "settings",
            Box::new(|home| home.write(CONFIG, "{")),
            "cannot be used",
        ),
        (
            "settings",
            Box::new(|home| home.write(CONFIG, "{}")),
            "run `opencode-sync login`",
        ),
        (
            "mode",
            Box::new(move |home| mode(home, CONFIG, 0o644)),
            "chmod 600",
        ),
        (
            "mode",
            Box::new(move |home| mode(home, ".config/opencode-sync", 0o755)),
            "chmod 700",
        ),
        (
            "plugin",
            Box::new(|home| home.write(OPENCODE, "{}")),
            "run `opencode-sync init`",
        ),
        (
            "plugin",
            Box::new(|home| home.write(OPENCODE, "{\"plugins\": [\"opencode-session-sync\"]}")),
            "OpenCode 1 does not read",
        ),
        (
            "opencode",
            Box::new(|home| home.write(OPENCODE, "{")),
            "correct the file",
        ),
        (
            "other",
            Box::new(|home| {
                home.write(
                    "project/opencode.json",
                    "{\"plugin\": [\"opencode-sync-plugin\"]}",
                )
            }),
            "sent twice",
        ),
    ]
}

/// The machine and the store.
fn around() -> Vec<(&'static str, Damage, &'static str)> {
    vec![
        (
            "spool",
            Box::new(|home| {
                home.host.fail(|operation, path| {
                    (operation == "replace" && path.contains("spool")).then(|| "disk full".into())
                })
            }),
            "disk full",
        ),
        (
            "history",
            Box::new(|home| {
                home.host
                    .fail(|operation, _| (operation == "run").then(|| "not found".into()))
            }),
            "put opencode on the PATH",
        ),
        (
            "history",
            Box::new(|home| std::fs::remove_file(home.at("opencode.db")).expect("removed")),
            "start OpenCode once",
        ),
        (
            "store",
            Box::new(|home| {
                home.host
                    .fail(|operation, _| (operation == "http").then(|| "connect".into()))
            }),
            "Is the address right",
        ),
        (
            "clock",
            Box::new(|home| home.host.skip_ms.set(3_600_000)),
            "60 minutes ahead",
        ),
        (
            "key",
            Box::new(|home| home.host.set_env("OPENCODE_SYNC_API_KEY", "osk_wrong")),
            "`opencode-sync login` saves another",
        ),
    ]
}

#[test]
fn each_thing_that_can_be_wrong_is_named_with_what_to_do() {
    run(async {
        let world = World::new();
        for (what, damage, says) in in_files().into_iter().chain(around()) {
            let home = healthy(&world).await;
            damage(&home);
            let found = problems(&home, "doctor").await;
            let names: Vec<&str> = found.iter().map(|(what, _)| what.as_str()).collect();
            assert_eq!(names, [what], "{what}: {found:?}");
            assert!(found[0].1.contains(says), "{what}: {found:?}");
            let is_verified = ["settings", "store", "clock", "key"].contains(&what);
            assert_eq!(
                !problems(&home, "verify").await.is_empty(),
                is_verified,
                "{what}"
            );
        }
    });
}

#[test]
fn what_waits_for_long_is_told_with_its_age_and_what_is_refused_by_its_number() {
    run(async {
        let world = World::new();
        let home = healthy(&world).await;
        std::fs::remove_file(home.at("spool/ses_0000.json")).expect("removed");
        home.host.fast.set(true);
        world.store.lose("/sync/session").await;
        assert_eq!(home.call(&["push"]).await.0, 1);
        let (_, text) = home.call(&["doctor"]).await;
        assert!(text.contains("3 records wait\n"), "{text}");
        home.host
            .skip_ms
            .set(home.host.skip_ms.get() + 3 * 86_400_000);
        world.store.forward(home.host.skip_ms.get()).await;
        let found = problems(&home, "doctor").await;
        assert!(
            found[0]
                .1
                .contains("3 records wait, the first for 3 days: `opencode-sync retry`"),
            "{found:?}"
        );
        world.store.heal().await;
        let refusal = json!({ "error": "ArgumentValidationError: no" });
        world
            .store
            .fault(json!({ "status": 500, "body": refusal, "path": "/sync/message" }))
            .await;
        home.call(&["retry"]).await;
        let found = problems(&home, "doctor").await;
        assert!(
            found[0]
                .1
                .contains("does not take 1 records: `opencode-sync pending`"),
            "{found:?}"
        );
        world.store.heal().await;
        assert_eq!(home.call(&["retry"]).await.0, 0);
        assert_eq!(problems(&home, "doctor").await, []);
        std::fs::write(home.at("spool/ses_0001.json"), "{").expect("written");
        let (exit, text) = home.call(&["doctor"]).await;
        assert_eq!(exit, 0);
        assert!(text.contains("nothing waits; 1 files in"), "{text}");
    });
}
