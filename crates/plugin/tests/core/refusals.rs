//! Fail closed: whatever is wrong, the tools are there and refuse.

use crate::world::{World, git};
use plugin::definitions;
use serde_json::json;
use std::fs;
use std::sync::Arc;
use testkit::{TestHost, run};

#[test]
fn a_bad_configuration_registers_the_same_tools_and_each_gives_the_reason() {
    run(async {
        let world = World::new();
        let good = world.open().await;
        let data = world.store_path().to_string_lossy().into_owned();
        let no_key = || Arc::new(TestHost::new(&[("XDG_DATA_HOME", &data)]));
        for (options, host, expected) in [
            (json!({}), no_key(), "DAYTONA_API_KEY is not set"),
            (
                json!({ "snapshoot": "x" }),
                world.host(&world.local.url),
                "no option \"snapshoot\"",
            ),
            (
                json!({ "prewarm": "yes" }),
                world.host(&world.local.url),
                "must be true or false",
            ),
            (
                json!({}),
                world.host("localhost:3000"),
                "is not an http or https URL",
            ),
            (
                json!({}),
                Arc::new(TestHost::new(&[("DAYTONA_API_KEY", "k")])),
                "no data directory",
            ),
        ] {
            let open = world.open_with(options, host).await;
            assert_eq!(open.started.without, good.started.without, "{expected}");
            assert!(
                open.started
                    .problem
                    .as_ref()
                    .is_some_and(|p| p.contains(expected)),
                "{:?}",
                open.started.problem
            );
            assert_eq!(open.toasts(), ["Sandbox unavailable"]);
            for tool in &definitions() {
                let error = open
                    .error("s", &tool.name, json!({ "command": "true" }))
                    .await;
                assert!(error.contains(expected), "{}: {error}", tool.name);
            }
            assert!(open.opencode.asked.borrow().is_empty());
        }
        assert!(world.sandboxes().await.is_empty());
    });
}

#[test]
fn the_key_may_stand_in_the_projects_env_file_and_stays_there() {
    run(async {
        for (number, head) in [
            "OTHER=1\nexport DAYTONA_API_KEY=\"{key}\"\nDAYTONA_API_URL={url} # here\n",
            "\u{feff}DAYTONA_API_KEY={key}\nDAYTONA_API_URL={url}\n",
            "export\tDAYTONA_API_KEY={key}\nexport\tDAYTONA_API_URL={url}\n",
            "export\tDAYTONA_API_KEY = '{key}'\r\nexport\tDAYTONA_API_URL = {url}\t# here\r\n",
            "DAYTONA_API_KEY={key}\rDAYTONA_API_URL: {url}\r",
        ]
        .into_iter()
        .enumerate()
        {
            let world = World::new();
            let data = world.store_path().with_file_name("elsewhere");
            let data = data.to_string_lossy().into_owned();
            let text = head.replace("{key}", &world.local.key);
            let text = text.replace("{url}", &world.local.url);
            fs::write(world.project.path().join(".env"), text).expect("written");
            // Tracked is no different.
            if number % 2 == 0 {
                git(world.project.path(), &["add", ".env"]);
                git(
                    world.project.path(),
                    &["commit", "--quiet", "-m", "with it"],
                );
            }
            let host = Arc::new(TestHost::new(&[("XDG_DATA_HOME", &data)]));
            let open = world.open_with(json!({}), host).await;
            assert_eq!(open.started.problem, None, "{head:?}");
            // The key works, and stays here.
            let look = "ls -A; git log -p --all | grep -c DAYTONA_API_KEY; grep -r DAYTONA_API_KEY . | wc -l";
            let listing = open.bash("s", look).await;
            let quiet = listing.contains("draft.txt") && !listing.contains(".env");
            assert!(
                quiet && listing.trim_end().ends_with("0\n0"),
                "{head:?}: {listing}"
            );
            assert_eq!(open.toasts(), ["Sandbox created"], "{head:?}");
        }
    });
}

#[test]
fn no_file_with_the_keys_value_gets_into_a_sandbox_and_the_user_hears_of_it_once() {
    run(async {
        let world = World::new();
        let key = world.local.key.clone();
        let line = format!("export DAYTONA_API_KEY={key}\n");
        for path in [".envrc", ".env.local", "src/.env"] {
            fs::write(world.project.path().join(path), &line).expect("written");
        }
        let open = world.open().await;
        let look = "git status --short; ls -A . src; git log -p --all; cat -A .git/* 2>/dev/null";
        let (head, tail) = key.split_at(20);
        let listing = open
            .bash("a", &format!("({look}) | grep -c '{head}''{tail}'; {look}"))
            .await;
        assert!(listing.starts_with("0\n"), "{listing}");
        assert!(
            !listing.contains(".env") && listing.contains("draft.txt"),
            "{listing}"
        );
        open.bash("b", "true").await;
        let told = open.opencode.told.borrow().join("\n");
        for path in [".envrc", ".env.local", "src/.env"] {
            let said = format!("{path} holds a key or password of yours");
            assert_eq!(told.matches(&said).count(), 1, "{told}");
        }
        assert!(!told.contains("history"), "{told}");
        // In the history it keeps all of that here.
        git(world.project.path(), &["add", "--all"]);
        git(world.project.path(), &["commit", "--quiet", "-m", "oh no"]);
        let log = open
            .bash(
                "c",
                "git log --oneline | wc -l; git log -p | grep -c API_KEY",
            )
            .await;
        assert!(log.starts_with("1\n0\n"), "{log}");
        let told = open.opencode.told.borrow().join("\n");
        assert!(
            told.contains("The history is not brought into the sandbox, because commit "),
            "{told}"
        );
        assert!(told.contains("Replace the key at Daytona"), "{told}");
        assert!(!told.contains(&key), "{told}");
    });
}

#[test]
fn a_package_without_runners_refuses() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        open.host.fail(|what, path| {
            (what == "read" && path.ends_with("runners.json")).then(|| "gone".into())
        });
        let error = open.error("s", "bash", json!({ "command": "true" })).await;
        assert!(
            error.contains("is not complete") && error.contains("Install it again"),
            "{error}"
        );
    });
}

#[test]
fn a_tool_of_nobody_knows_whom_does_not_run() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let refused = async |tool: &str| {
            let args = json!({});
            let tool = tool.to_string();
            open.plugin
                .before(plugin::ToolBefore { tool, args })
                .await
                .refuse
        };
        let offer = async |tool: &str, built_in: bool| {
            let (tool, description) = (tool.to_string(), String::new());
            let offer = plugin::ToolOffer {
                tool,
                built_in,
                description,
                describable: true,
            };
            open.plugin.offer(offer).await;
        };
        // OpenCode has told of none of them.
        open.opencode.forgetful.set(true);
        for tool in ["new_built_in", "others_tool", "server_tool"] {
            let reason = refused(tool).await.expect("refused");
            assert!(reason.contains("is not known to be"), "{reason}");
        }
        assert_eq!(refused("todowrite").await, None);
        offer("new_built_in", true).await;
        offer("others_tool", false).await;
        assert!(refused("new_built_in").await.is_some());
        assert_eq!(refused("others_tool").await, None);
        open.opencode.forgetful.set(false);
        assert_eq!(refused("server_tool").await, None);
        assert!(refused("stranger_tool").await.is_some());
        // It is known by now.
        open.opencode.forgetful.set(true);
        assert_eq!(refused("server_tool").await, None);
    });
}

#[test]
fn a_worktree_that_does_not_hold_the_directory_is_not_believed() {
    run(async {
        let (world, other) = (World::new(), World::new());
        let init = |worktree: &str, directory: &str| plugin::Init {
            worktree: worktree.into(),
            directory: directory.into(),
            ..world.init(json!({}))
        };
        let path = world.project.path().to_string_lossy().into_owned();
        let below = format!("{path}/src");
        let elsewhere = other.project.path().to_string_lossy().into_owned();
        for (session, worktree, directory) in [
            ("a", &elsewhere, &path),
            ("b", &elsewhere, &below),
            ("c", &path, &below),
        ] {
            let host = world.host(&world.local.url);
            let open = world.open_as(init(worktree, directory), host).await;
            assert_eq!(open.started.problem, None);
            open.bash(session, "true").await;
            let entry = world.entry(session);
            assert_eq!(entry["worktree"], json!(path), "{worktree} {directory}");
        }
    });
}

#[test]
fn what_stands_for_no_shell_is_not_taken_for_the_users_own() {
    run(async {
        let mut world = World::new();
        world.options = json!({ "shellMode": "host" });
        let open = world.open().await;
        for (named, expected) in [
            (Some("false"), json!("")),
            (Some("whoami"), json!("")),
            (Some("/bin/zsh"), json!(null)),
            (None, json!(null)),
        ] {
            let now = plugin::ConfigNow {
                permission: json!(null),
                tools: json!(null),
                shell: named.map(str::to_string),
                servers: Vec::new(),
            };
            let settings = open.plugin.config(now).await.settings;
            assert_eq!(settings["shell"], expected, "{named:?}");
        }
    });
}
