//! The store under damage: nothing is lost, and without it nothing is made.

use crate::world::{World, until};
use plugin::Nothing;
use serde_json::{Value, json};
use std::fs;
use testkit::{Setting, run};

#[test]
fn a_lost_or_damaged_store_is_rebuilt_from_the_labels() {
    run(async {
        for damage in [
            None,
            Some(""),
            Some("{\"sessions\": {\"s\": {\"sand"),
            Some("not json"),
            Some("[1]"),
        ] {
            let world = World::new();
            let first = world.open_mortal(1).await;
            first.bash("s", "echo kept > f").await;
            first.bash("t", "echo too > f").await;
            let (s, t) = (world.sandbox_of("s"), world.sandbox_of("t"));
            let path = world.store_path();
            match damage {
                None => fs::remove_file(&path).expect("it is there"),
                Some(text) => fs::write(&path, text).expect("it is writable"),
            }
            let open = world.open_mortal(2).await;
            assert!(open.bash("s", "cat f").await.contains("kept"), "{damage:?}");
            assert!(open.bash("t", "cat f").await.contains("too"), "{damage:?}");
            assert_eq!(
                (world.sandbox_of("s"), world.sandbox_of("t")),
                (s, t),
                "{damage:?}"
            );
            assert_eq!(world.sandboxes().await.len(), 2, "{damage:?}");
            let names = fs::read_dir(path.parent().expect("a directory"))
                .expect("readable")
                .flatten();
            let aside: Vec<_> = names
                .filter(|e| e.file_name().to_string_lossy().contains(".broken-"))
                .collect();
            assert_eq!(aside.len(), usize::from(damage.is_some()), "{damage:?}");
            if let (Some(text), Some(aside)) = (damage, aside.first()) {
                assert_eq!(fs::read_to_string(aside.path()).expect("kept"), text);
            }
        }
    });
}

#[test]
fn the_user_is_told_why_a_store_did_not_parse_and_where_it_is() {
    run(async {
        for (damage, reason) in [
            ("{\"sessions\": {\"s\": {\"sand", "EOF while parsing"),
            ("{\"sessions\": {\"s\": {}}}", "missing field `sandboxId`"),
            ("[1]", "invalid"),
        ] {
            let world = World::new();
            let path = world.store_path();
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(&path, damage).expect("written");
            let open = world.open().await;
            open.bash("s", "true").await;
            let toasts = open.toasts();
            assert!(
                toasts.contains(&"Session store unreadable".into()),
                "{toasts:?}"
            );
            let logged = open.host.logged().join("\n");
            let told = logged.lines().find(|line| line.contains("did not parse"));
            let told = told.unwrap_or_else(|| panic!("{logged}"));
            assert!(told.contains(reason) && told.contains(".broken-"), "{told}");
        }
    });
}

#[test]
fn a_store_of_a_newer_plugin_is_refused_with_a_sentence_and_left_as_it_is() {
    run(async {
        for version in [
            json!(2),
            json!("2.0"),
            json!("7"),
            json!(null),
            json!({}),
            json!(-1),
        ] {
            let world = World::new();
            let path = world.store_path();
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            // What this version would misread.
            let text =
                json!({ "version": version, "sessions": [["s", { "id": "x" }]] }).to_string();
            fs::write(&path, &text).expect("written");
            let open = world.open().await;
            for (tool, args) in [
                ("bash", json!({ "command": "true" })),
                ("read", json!({ "filePath": "a" })),
                ("sync", json!({})),
            ] {
                let error = open.error("s", tool, args).await;
                assert!(
                    error.contains("a newer version of opencode-daytona-sandbox")
                        && error.contains("Update the plugin"),
                    "{version} {tool}: {error}"
                );
            }
            open.event("session.deleted", json!({ "info": { "id": "s" } }))
                .await;
            open.plugin.dispose(Nothing {}).await;
            assert!(world.sandboxes().await.is_empty(), "{version}");
            assert_eq!(fs::read_to_string(&path).expect("readable"), text);
        }
    });
}

#[test]
fn what_a_later_plugin_of_the_same_layout_added_is_kept_in_every_record() {
    run(async {
        for version in [json!(1), json!("1.9")] {
            let world = World::new();
            let open = world.open_mortal(1).await;
            open.bash("s", "true").await;
            assert_eq!(world.store()["version"], 1);
            let path = world.store_path();
            let mut store = world.store();
            let now = now();
            store["version"] = version.clone();
            store["new"] = json!("document");
            store["sessions"]["s"]["new"] = json!("entry");
            store["sessions"]["s"]["unsynced"]["new"] = json!("unsynced");
            let other = json!({
                "sandboxId": "elsewhere", "worktree": "/elsewhere", "used": true,
                "home": { "commit": "c", "branch": "b", "at": 1, "new": "home" },
                "undo": { "to": "m", "new": "undo" },
            });
            store["sessions"]["other"] = other;
            store["creating"] =
                json!([{ "session": "t", "name": "n", "pid": 1, "since": now, "new": "creating" }]);
            store["cleanup"] =
                json!([{ "sandbox": "never", "since": now, "late": true, "new": "cleanup" }]);
            fs::write(&path, store.to_string()).expect("written");
            // Something else changes.
            let open = world.open_mortal(2).await;
            open.bash("another", "true").await;
            open.bash("s", "true").await;
            let kept = world.store();
            assert_eq!(kept["version"], version);
            for (pointer, expected) in [
                ("/new", "document"),
                ("/sessions/s/new", "entry"),
                ("/sessions/other/home/new", "home"),
                ("/sessions/other/undo/new", "undo"),
                ("/creating/0/new", "creating"),
                ("/cleanup/0/new", "cleanup"),
            ] {
                let found = kept.pointer(pointer).unwrap_or(&Value::Null);
                assert_eq!(found, expected, "{pointer}: {kept}");
            }
        }
    });
}

#[test]
fn without_a_store_every_tool_refuses_and_nothing_is_made() {
    run(async {
        for operation in ["read", "replace", "create", "list"] {
            let world = World::new();
            let open = world.open().await;
            open.host.fail(move |what, path| {
                (what == operation && path.contains("/storage/daytona/"))
                    .then(|| "permission denied".into())
            });
            for tool in &plugin::definitions() {
                let args = match tool.name.as_str() {
                    "bash" => json!({ "command": "true" }),
                    "read" => json!({ "filePath": "a" }),
                    "write" => json!({ "filePath": "a", "content": "" }),
                    "edit" => json!({ "filePath": "a", "oldString": "a", "newString": "b" }),
                    "apply_patch" => {
                        json!({ "patchText": "*** Begin Patch\n*** Add File: x\n+1\n*** End Patch" })
                    }
                    "job" => json!({ "job": "j" }),
                    "preview" => json!({ "port": 3000 }),
                    // Without an entry there is nothing to write down.
                    "sync" if operation != "read" => continue,
                    "sync" => json!({}),
                    "webfetch" => json!({ "url": "http://a" }),
                    "websearch" => json!({ "query": "a" }),
                    _ => json!({ "pattern": "a" }),
                };
                let error = open.error("s", &tool.name, args).await;
                assert!(
                    error.contains("session store") && error.contains("permission denied"),
                    "{operation}: {error}"
                );
            }
            assert!(world.sandboxes().await.is_empty(), "{operation}");
            open.host.heal();
            assert!(
                open.bash("s", "echo fine").await.contains("fine"),
                "{operation}"
            );
        }
    });
}

#[test]
fn a_store_that_fails_after_the_create_leaves_no_sandbox_and_no_wait() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let writes = Setting::new(0);
        open.host.fail(move |what, path| {
            let is_store = what == "replace" && path.contains("/storage/daytona/");
            let count = writes.get() + u32::from(is_store);
            writes.set(count);
            // The note of the create is written, the entry is not.
            (is_store && count > 1).then(|| "no space left".into())
        });
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(error.contains("no space left"), "{error}");
        until("the sandbox is gone", async || {
            world.sandboxes().await.is_empty()
        })
        .await;
        open.host.heal();
        assert!(open.bash("s", "echo fine").await.contains("fine"));
        assert_eq!(world.sandboxes().await, [world.sandbox_of("s")]);
    });
}

#[test]
fn a_note_of_an_earlier_process_with_our_number_blocks_nobody() {
    run(async {
        let world = World::new();
        let note = json!({ "session": "s", "name": "opencode-s-1", "pid": std::process::id(), "since": 1 });
        let recent =
            json!({ "session": "s", "name": "opencode-s-2", "pid": 5_000_009, "since": now() });
        let path = world.store_path();
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(&path, json!({ "creating": [note, recent] }).to_string()).expect("written");
        let open = world.open().await;
        assert!(open.bash("s", "echo fine").await.contains("fine"));
        until("both were looked for", async || {
            let store = world.store();
            store["creating"].is_null() && store["cleanup"].as_array().is_some_and(|c| c.len() == 2)
        })
        .await;
        // They may still come to be: a start long after looks once more.
        let host = world.host(&world.local.url);
        host.skip_ms.set(3_600_000);
        let _later = world.open_with(json!({}), host).await;
        until("both notes are gone", async || {
            world.store()["cleanup"].is_null()
        })
        .await;
    });
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
}

#[test]
fn no_project_id_leads_out_of_the_directory() {
    run(async {
        let mut world = World::new();
        for id in ["../../escape", "a/b", "..", "", "global"] {
            world.project_id = id.into();
            let open = world.open().await;
            open.bash(&format!("s{}", id.len()), "true").await;
            let path = world.store_path();
            let canonical = path
                .canonicalize()
                .expect("the store is where it should be");
            assert!(
                canonical
                    .parent()
                    .expect("a directory")
                    .ends_with("opencode/storage/daytona"),
                "{id}"
            );
            assert_eq!(world.store()["projectId"], *id);
        }
    });
}

#[test]
fn what_earlier_plugins_wrote_is_used_and_kept() {
    run(async {
        let world = World::new();
        // A sandbox as an earlier plugin left it, with uncommitted work in it.
        let made = world.local.control("POST", "/api/sandbox", json!({})).await;
        let sandbox = made["id"].as_str().expect("an id").to_string();
        let work = "mkdir -p project && cd project && git init -q && echo old > a.txt && git add . && \
            git -c user.name=a -c user.email=a@b commit -qm x && echo precious > a.txt && git log --oneline | wc -l";
        assert_eq!(world.inside(&sandbox, work).await, "1");
        let old = json!({
            "projectId": "project", "worktree": "/somewhere", "theme": "dark",
            "sessions": {
                "s": { "sandboxId": sandbox, "branchNumber": 3, "created": 1, "lastAccessed": 2, "note": { "a": [1] } },
                "other": { "sandboxId": "unknown", "created": 1, "lastAccessed": 2 },
            },
        });
        let path = world.store_path();
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(&path, old.to_string()).expect("written");

        let open = world.open().await;
        let output = open.bash("s", "cat a.txt").await;
        assert!(output.contains("precious"), "{output}");
        open.plugin.dispose(Nothing {}).await;
        assert_eq!(
            world.sandboxes().await,
            std::slice::from_ref(&sandbox),
            "it is used, so it stays"
        );
        let new = world.store();
        for (pointer, expected) in [
            ("/theme", json!("dark")),
            ("/worktree", json!("/somewhere")),
            ("/sessions/s/sandboxId", json!(sandbox)),
            ("/sessions/s/branchNumber", json!(3)),
            ("/sessions/s/created", json!(1)),
            ("/sessions/s/note", json!({ "a": [1] })),
            ("/sessions/other", old["sessions"]["other"].clone()),
        ] {
            assert_eq!(
                new.pointer(pointer).unwrap_or(&Value::Null),
                &expected,
                "{pointer}"
            );
        }
    });
}
