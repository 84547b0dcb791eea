//! What is found about the OpenCode that is installed, and what is written for it. Findings about the
//! service are in the end-to-end tests.

use super::*;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::TestHost;

const SPEC: &str = "opencode-daytona-sandbox@0.1.0";

/// A project, a home and an `opencode` that says `release`; none for no such program.
struct World {
    dir: tempfile::TempDir,
    host: Arc<TestHost>,
}

impl World {
    fn new(release: Option<&str>) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let host = TestHost::new(&[("HOME", &path("home")), ("PATH", &path("bin"))]);
        let world = World {
            host: Arc::new(host),
            dir,
        };
        fs::create_dir_all(world.path("project/.git")).expect("made");
        if let Some(release) = release {
            world.program("bin", &format!("echo {release}"));
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program `opencode` in a directory of this name; gives the directory.
    fn program(&self, dir: &str, script: &str) -> String {
        let dir = self.path(dir);
        fs::create_dir_all(&dir).expect("made");
        // Written by another process: a file that this one has open cannot be started by a fork of it.
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 755 \"$2\"";
        let made = std::process::Command::new("sh")
            .args(["-c", write, "sh", script])
            .arg(dir.join("opencode"))
            .status();
        assert!(made.expect("runs").success());
        dir.to_string_lossy().into_owned()
    }

    fn config(&self, value: Value) {
        fs::write(self.config_path(), value.to_string()).expect("written");
    }

    fn config_path(&self) -> PathBuf {
        self.path("project/opencode.json")
    }

    fn written(&self) -> Value {
        let text = fs::read_to_string(self.config_path()).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    async fn run(&self, args: &[&str]) -> CliDone {
        let host: Arc<dyn Host> = self.host.clone();
        let cli = Cli {
            call: 1,
            args: args.iter().map(|arg| arg.to_string()).collect(),
            directory: self.path("project").to_string_lossy().into_owned(),
        };
        run(host, &Secrets::default(), "/none", "/none", cli).await
    }

    /// The lines of what was found about one matter.
    async fn found(&self, what: &str) -> Vec<String> {
        let done = self.run(&["doctor"]).await;
        let about = |line: &&str| line.get(6..).is_some_and(|rest| rest.starts_with(what));
        let lines = done.output.lines().filter(about);
        lines.map(str::to_string).collect()
    }
}

/// What `init` writes.
fn block() -> Value {
    let denied = crate::guard::SERVED
        .iter()
        .map(|name| (name.to_string(), json!("deny")));
    json!({
        "plugin": [SPEC],
        "permission": denied.collect::<serde_json::Map<_, _>>(),
        "shell": "false",
        "snapshot": false,
    })
}

#[test]
fn the_release_that_a_user_would_start_is_judged() {
    testkit::run(async {
        for (release, expected) in [
            (
                Some("1.3.2"),
                "BAD   opencode   opencode-daytona-sandbox needs OpenCode 1.15.13 or later, and this is 1.3.2",
            ),
            (Some("1.15.13"), "ok    opencode   1.15.13 ("),
            (Some("1.18.33"), "ok    opencode   1.18.33 ("),
            (Some("1.19.3"), "note  opencode   1.19.3 works, untested"),
            (
                Some("2.3.2"),
                "BAD   opencode   This release of opencode-daytona-sandbox does not serve OpenCode 2 yet, and this is 2.3.2",
            ),
            (
                None,
                "note  opencode   It is not known which release is installed, because no `opencode` is on the PATH",
            ),
        ] {
            let found = World::new(release).found("opencode").await;
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(expected), "{found:?}");
        }
    });
}

#[test]
fn a_program_that_does_not_say_its_release_is_a_note_and_no_crash() {
    testkit::run(async {
        for (script, says) in [
            ("exit 3", "--version` failed: it ended with exit code 3"),
            ("echo hello", "it says \"hello\""),
            ("printf '\\377\\n'", "it says"),
            (":", "it says \"\""),
        ] {
            let world = World::new(None);
            world.program("bin", script);
            let found = world.found("opencode").await;
            assert!(
                found[0].starts_with("note") && found[0].contains(says),
                "{found:?}"
            );
        }
        let world = World::new(Some("1.18.33"));
        world
            .host
            .fail(|operation, _| (operation == "run").then(|| "it did not end within 20 s".into()));
        let found = world.found("opencode").await;
        assert!(
            found[0].starts_with("note") && found[0].contains("did not end within 20 s"),
            "{found:?}"
        );
    });
}

#[test]
fn the_program_is_the_one_that_a_shell_of_the_users_finds() {
    testkit::run(async {
        let world = World::new(None);
        let npm = world.program("project/node_modules/.bin", "echo 1.15.13");
        let broken = world.program("broken", "exit 1");
        let users = world.program("users", "echo 1.18.33");
        let nowhere = world.path("nowhere").to_string_lossy().into_owned();
        for (path, release) in [
            // What `npx` puts in front is not the user's, unless there is no other.
            (vec![&npm, &nowhere, &users], "1.18.33"),
            (vec![&nowhere, &npm], "1.15.13"),
            (vec![&broken, &users], "1.18.33"),
        ] {
            let path: Vec<&str> = path.into_iter().map(String::as_str).collect();
            world.host.set_env("PATH", &path.join(":"));
            let found = world.found("opencode").await;
            assert!(
                found[0].contains(&format!("ok    opencode   {release} (")),
                "{path:?} {found:?}"
            );
        }
    });
}

#[test]
fn the_key_that_the_release_reads_is_named_and_one_that_it_ignores_is_found() {
    let ignored = "which OpenCode ignores without a word: OpenCode 1 reads `plugin`.";
    testkit::run(async {
        for (release, config, users, expected) in [
            (
                "1.18.33",
                json!({ "plugin": [SPEC] }),
                Value::Null,
                vec!["ok", "under `plugin`"],
            ),
            (
                "1.18.33",
                json!({ "plugins": [SPEC] }),
                Value::Null,
                vec!["BAD", ignored],
            ),
            (
                "1.18.33",
                json!({}),
                Value::Null,
                vec!["BAD", "(OpenCode 1 reads `plugin`)"],
            ),
            // Where `plugin` names it in another file, or in the same.
            (
                "1.18.33",
                json!({ "plugins": [[SPEC, { "sync": "off" }]] }),
                json!({ "plugin": [SPEC] }),
                vec!["ok", "under `plugin`", "note", ignored],
            ),
            (
                "1.18.33",
                json!({ "plugins": [SPEC], "plugin": [SPEC] }),
                Value::Null,
                vec!["ok", "under `plugin`", "note", ignored],
            ),
            (
                "2.3.2",
                json!({ "plugins": [SPEC] }),
                Value::Null,
                vec!["ok", "under `plugins`"],
            ),
            (
                "2.3.2",
                json!({ "plugins": [{ "package": SPEC }] }),
                Value::Null,
                vec!["ok", "under `plugins`"],
            ),
            (
                "2.3.2",
                json!({ "plugin": [SPEC] }),
                Value::Null,
                vec!["ok", "under `plugin`"],
            ),
            (
                "2.3.2",
                json!({}),
                Value::Null,
                vec!["BAD", "(OpenCode 2 reads `plugins` and `plugin`)"],
            ),
        ] {
            let world = World::new(Some(release));
            world.config(config.clone());
            if !users.is_null() {
                let dir = world.path("home/.config/opencode");
                fs::create_dir_all(&dir).expect("made");
                fs::write(dir.join("opencode.json"), users.to_string()).expect("written");
            }
            let found = world.found("plugin").await;
            let expected: Vec<(&str, &str)> =
                expected.chunks(2).map(|pair| (pair[0], pair[1])).collect();
            assert_eq!(found.len(), expected.len(), "{release} {config}: {found:?}");
            for (line, (verdict, says)) in found.iter().zip(expected) {
                assert!(
                    line.starts_with(verdict) && line.contains(says),
                    "{release} {config}: {line}"
                );
            }
        }
    });
}

#[test]
fn a_version_that_is_named_is_looked_for_where_the_release_has_it() {
    testkit::run(async {
        for (release, spec, expected) in [
            (
                "1.18.33",
                SPEC,
                "note  version    0.1.0 is not installed yet",
            ),
            ("2.3.2", SPEC, "ok    version    0.1.0 is named"),
            (
                "2.3.2",
                "opencode-daytona-sandbox",
                "BAD   version    No version is named",
            ),
        ] {
            let world = World::new(Some(release));
            world.config(json!({ "plugin": [spec] }));
            let found = world.found("version").await;
            assert!(found[0].starts_with(expected), "{release}: {found:?}");
        }
    });
}

#[test]
fn the_second_engine_is_named_with_what_it_may_do() {
    testkit::run(async {
        let ruled = json!({ "plugin": [SPEC], "permission": { "bash": { "rm *": "ask" } } });
        for (release, config, expected) in [
            (
                "1.18.33",
                block(),
                Some(("ok", "has no tools for this machine either")),
            ),
            (
                "1.18.33",
                json!({ "plugin": [SPEC] }),
                Some(("note", "not denied: bash, edit,")),
            ),
            ("1.18.33", ruled, Some(("note", "lsp, bash."))),
            ("1.15.13", json!({}), None),
            ("2.3.2", json!({}), None),
        ] {
            let world = World::new(Some(release));
            world.config(config);
            let found = world.found("engine").await;
            match expected {
                Some((verdict, says)) => assert!(
                    found[0].starts_with(verdict) && found[0].contains(says),
                    "{found:?}"
                ),
                None => assert!(found.is_empty(), "{found:?}"),
            }
        }
    });
}

#[test]
fn init_writes_what_the_release_honors_or_nothing() {
    testkit::run(async {
        for (release, is_written) in [
            (Some("1.0.0"), false),
            (Some("1.3.2"), false),
            (Some("1.14.34"), true),
            (Some("1.15.13"), true),
            (Some("1.18.33"), true),
            (Some("1.19.3"), true),
            (Some("0.0.0-dev-1"), true),
            // One block serves both: OpenCode 2 reads all of these keys.
            (Some("2.3.2"), true),
            (None, true),
        ] {
            for command in [&["init"][..], &["doctor", "--fix"]] {
                let world = World::new(release);
                let done = world.run(command).await;
                if is_written {
                    let mut written = world.written();
                    written
                        .as_object_mut()
                        .expect("an object")
                        .remove("$schema");
                    assert_eq!(written, block(), "{release:?}");
                } else {
                    assert!(!world.config_path().exists(), "{release:?}");
                    let says = "Nothing was changed: OpenCode 1.";
                    assert!(done.output.contains(says), "{}", done.output);
                    assert!(
                        done.output.contains("opencode upgrade 1.18.33"),
                        "{}",
                        done.output
                    );
                    assert_eq!(done.exit, 1);
                }
                let is_two = release == Some("2.3.2");
                assert_eq!(done.output.contains("does not serve OpenCode 2"), is_two);
            }
        }
    });
}

#[test]
fn on_windows_paths_of_both_forms_are_read_and_the_shell_is_one_that_is_there() {
    testkit::run(async {
        let world = World::new(None);
        world.host.platform.set(Platform::Windows);
        let project = world.path("project").to_string_lossy().into_owned();
        world
            .host
            .set_env("USERPROFILE", &project.replace("project", "home"));
        world.config(json!({ "plugin": [SPEC], "shell": "false" }));
        let found = world.found("shell").await;
        assert!(
            found[0].starts_with("BAD") && found[0].contains("PowerShell"),
            "{found:?}"
        );
        world.run(&["init"]).await;
        assert_eq!(world.written()["shell"], "whoami");
        assert!(world.found("shell").await[0].starts_with("ok"));
        // A directory below the root, with the other separator.
        fs::create_dir_all(world.path("project/a/b")).expect("made");
        let below = world.host.platform().slashed(&format!("{project}\\a\\b"));
        assert_eq!(opencode_config::root(&*world.host, &below).await, project);
        assert!(Path::new(&project).is_absolute());
    });
}
