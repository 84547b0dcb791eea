//! `snapshot create`, and the sessions that start from what it made.

use crate::home::idle;
use crate::snapshots::{add_large_file, uploaded};
use crate::world::{DEAD, Fake, Open, World, git, until};
use plugin::{Cli, Init, Plugin};
use serde_json::{Value, json};
use std::rc::Rc;
use std::sync::Arc;
use testkit::{TestHost, run};

/// A world whose project has a file that cannot be compressed.
fn prepared_world() -> World {
    let world = small_world();
    add_large_file(&world);
    world
}

/// A world whose project has the id that OpenCode would give it.
fn small_world() -> World {
    let mut world = World::new();
    let root = git(
        world.project.path(),
        &["rev-list", "--max-parents=0", "HEAD"],
    );
    world.project_id = root.trim().into();
    world
}

/// One run of the command line program.
struct Program {
    plugin: Rc<Plugin>,
    terminal: Rc<Fake>,
    host: Arc<TestHost>,
    directory: String,
}

impl Program {
    fn new(world: &World) -> Program {
        Program::with(world, world.host(&world.local.url))
    }

    fn with(world: &World, host: Arc<TestHost>) -> Program {
        let terminal = Rc::new(Fake::default());
        // It is told of no project.
        let init = Init {
            worktree: String::new(),
            project_id: String::new(),
            project_since: None,
            ..world.init(Value::Null)
        };
        let directory = init.directory.clone();
        let plugin = Plugin::new(host.clone(), terminal.clone(), init);
        Program {
            plugin,
            terminal,
            host,
            directory,
        }
    }

    /// The exit code, and all that was printed.
    async fn run(&self, args: &[&str]) -> (i32, String) {
        let args = [&["snapshot"], args].concat();
        let cli = Cli {
            call: 1,
            args: args.iter().map(|arg| arg.to_string()).collect(),
            directory: self.directory.clone(),
        };
        let done = self.plugin.cli(cli).await;
        (done.exit, self.terminal.printed() + &done.output)
    }
}

/// Makes one, which succeeds.
async fn create(world: &World, args: &[&str]) -> String {
    let program = Program::new(world);
    let (exit, said) = program.run(&[&["create"], args].concat()).await;
    assert_eq!(exit, 0, "{said}\n{}", program.host.logged().join("\n"));
    assert_eq!(program.host.temps(), [""; 0]);
    assert_eq!(world.sandboxes().await, [""; 0], "{said}");
    said
}

async fn snapshot_of(world: &World, name: &str) -> Value {
    let listed = world
        .local
        .control("GET", "/api/snapshots", json!({}))
        .await;
    let all = listed["items"].as_array().expect("a list");
    let found = all.iter().find(|found| found["name"] == name);
    found.cloned().unwrap_or_default()
}

/// Nothing is left of a run but what the store says. What a dead process was about to create is looked
/// for as long as it may come.
fn is_clean(world: &World) {
    let mut store = world.store();
    if let Some(notes) = store["cleanup"].as_array_mut() {
        notes.retain(|note| note["late"] != true);
    }
    for list in ["creating", "cleanup", "snapshotting"] {
        let left = store[list].as_array().is_some_and(|left| !left.is_empty());
        assert!(!left, "{list}: {store}");
    }
}

const BUILD: &str = "mkdir target && echo built > target/cache && seq 3";
const LOOK: &str = "git status --porcelain; git log --format=%s; git branch --format='%(refname)'; cat target/cache; wc -c < large.bin; cat draft.txt";
const LOOKED: &str =
    "Project as it was on the host\nlarge\nfirst\nrefs/heads/main\nbuilt\n2000000\nnot committed\n";

/// Bytes of the runner, which every upload has.
fn runner() -> u64 {
    let runner = testkit::runners().join("runner-x86_64.gz");
    std::fs::metadata(runner).expect("the runner").len()
}

async fn starts_with_the_difference(world: &World, open: &Open, session: &str) {
    uploaded(world).await;
    assert_eq!(open.bash(session, LOOK).await, LOOKED);
    let (requests, bytes) = uploaded(world).await;
    assert_eq!(requests, 1);
    assert!(bytes < runner() + 100_000, "{bytes} bytes were sent");
}

#[test]
fn a_session_after_it_has_what_was_built_and_is_sent_only_the_difference() {
    run(async {
        let world = prepared_world();
        let said = create(&world, &["web", "--run", BUILD]).await;
        let head = git(world.project.path(), &["rev-parse", "HEAD"]);
        for part in [
            "Daytona's default snapshot",
            "2.0 MB were carried",
            "Running in it: mkdir target",
            "\n1\n2\n3\n",
            "ended well",
            "Making the snapshot web",
            "The snapshot web is there",
            "MB of the project",
            "\"snapshot\": \"web\"",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        is_clean(&world);
        let prepared = world.store()["prepared"][""].clone();
        assert_eq!(prepared["name"], "web");
        assert_eq!(prepared["run"], BUILD);
        assert_eq!(prepared["hostHead"], head.trim());
        assert_eq!(world.store()["sessions"], json!({}));

        let open = world.open().await;
        starts_with_the_difference(&world, &open, "first").await;
        assert_eq!(world.entry("first")["snapshot"], "web");
        starts_with_the_difference(&world, &open, "second").await;
        // Nothing of the run is the session's.
        let jobs = open.ok("first", "job", json!({})).await;
        assert_eq!(jobs, "No command runs.");
        open.bash("first", "echo new > new.txt").await;
        idle(&world, &open, "first").await;
        let branch = world.entry("first")["home"]["branch"].clone();
        let branch = branch.as_str().expect("a branch");
        let log = git(world.project.path(), &["log", "--format=%s", branch]);
        assert!(
            log.ends_with("Project as it was on the host\nlarge\nfirst\n"),
            "{log}"
        );
        assert!(
            open.toasts()
                .iter()
                .all(|title| !title.starts_with("Prepared"))
        );
    });
}

#[test]
fn the_first_session_that_names_the_snapshot_is_sent_only_the_difference() {
    run(async {
        let world = prepared_world();
        create(&world, &["web", "--run", BUILD]).await;
        let open = world.open_snapshot("web").await;
        starts_with_the_difference(&world, &open, "s").await;
        // Other options mean something else.
        let open = world.open_snapshot("daytona-medium").await;
        let looked = open.bash("other", "ls; test -e target || echo none").await;
        assert!(looked.contains("none"), "{looked}");
        let (exit, said) = Program::new(&world).run(&["list"]).await;
        assert_eq!(exit, 0);
        assert!(
            said.starts_with("web: this project at")
                && said.contains("It is active. Sessions of this project start from it."),
            "{said}"
        );
    });
}

#[test]
fn forgotten_it_is_a_snapshot_like_any_other() {
    run(async {
        let world = prepared_world();
        create(&world, &["web", "--run", BUILD]).await;
        let (exit, said) = Program::new(&world).run(&["forget"]).await;
        assert!(exit == 0 && said.contains("web stays at Daytona"), "{said}");
        assert_eq!(snapshot_of(&world, "web").await["state"], "active");
        let open = world.open().await;
        let looked = open.bash("s", "test -e target || echo none").await;
        assert_eq!(looked, "none\n");
        for args in [["list"], ["forget"]] {
            let (exit, said) = Program::new(&world).run(&args).await;
            assert!(exit == 0 && said.contains("no prepared snapshot"), "{said}");
        }
        let depots = git(world.project.path(), &["for-each-ref", "refs/opencode"]);
        assert_eq!(depots, "");
    });
}

#[test]
fn a_name_is_given_once_and_the_one_before_goes_when_the_new_one_is_there() {
    run(async {
        let world = prepared_world();
        create(&world, &["web", "--run", BUILD]).await;
        for name in ["web", "daytona-small"] {
            let (exit, said) = Program::new(&world)
                .run(&["create", name, "--replace"])
                .await;
            let is_told =
                said.contains("a name is given once") && said.contains(&format!("{name}-2"));
            assert!(exit == 1 && is_told, "{said}");
        }
        assert_eq!(world.sandboxes().await, [""; 0]);
        assert_eq!(world.store()["prepared"][""]["name"], "web");
        is_clean(&world);

        let said = create(&world, &["web-2"]).await;
        assert!(said.contains("The snapshot web stays at Daytona"), "{said}");
        assert_eq!(snapshot_of(&world, "web").await["state"], "active");
        let said = create(&world, &["web-3", "--replace"]).await;
        assert!(said.contains("The snapshot web-2 is deleted."), "{said}");
        assert_eq!(snapshot_of(&world, "web-2").await, Value::Null);
        assert_eq!(snapshot_of(&world, "web").await["state"], "active");
        assert_eq!(world.store()["prepared"][""]["name"], "web-3");
    });
}

#[test]
fn what_comes_to_nothing_leaves_nothing() {
    run(async {
        let world = prepared_world();
        let snapshots = world.local.data().join("snapshots");
        let cases: [(&str, &[&str], &str); 4] = [
            (
                "the command fails",
                &["web", "--run", "echo no >&2; exit 7"],
                "exit code 7",
            ),
            (
                "a signal ends it",
                &["web", "--run", "kill -9 $$"],
                "exit code 137",
            ),
            ("the copy fails", &["web", "--run", "true"], "was not made"),
            ("there is no such snapshot", &["web"], "not found"),
        ];
        for (case, args, part) in cases {
            let host = world.host(&world.local.url);
            match case {
                "the copy fails" => {
                    std::fs::remove_dir_all(&snapshots).expect("removed");
                    std::fs::write(&snapshots, "").expect("written");
                }
                "there is no such snapshot" => host.set_env("DAYTONA_SNAPSHOT", "nope"),
                _ => {}
            }
            let program = Program::with(&world, host);
            let (exit, said) = program.run(&[&["create"], args].concat()).await;
            assert!(exit == 1 && said.contains(part), "{case}: {said}");
            assert!(
                case != "the command fails" || said.contains("\nno\n"),
                "{said}"
            );
            assert_eq!(world.sandboxes().await, [""; 0], "{case}");
            assert_eq!(world.store()["sessions"], json!({}), "{case}");
            assert!(world.store()["prepared"].is_null(), "{case}");
            is_clean(&world);
            assert_ne!(
                snapshot_of(&world, "web").await["state"],
                "active",
                "{case}"
            );
            assert_eq!(program.host.temps(), [""; 0]);
            if snapshots.is_file() {
                std::fs::remove_file(&snapshots).expect("removed");
                std::fs::create_dir(&snapshots).expect("made");
            }
        }
        create(&world, &["web"]).await;
    });
}

#[test]
fn lost_answers_make_no_second_snapshot_and_cost_none() {
    run(async {
        let world = prepared_world();
        for (number, kind) in ["drop_before", "drop_after", "garbage", "repeat"]
            .iter()
            .enumerate()
        {
            let name = format!("s{number}");
            world
                .local
                .fault(
                    "POST",
                    "/api/sandbox/*/snapshot",
                    1,
                    json!({ "kind": kind }),
                )
                .await;
            create(&world, &[&name]).await;
            assert_eq!(
                snapshot_of(&world, &name).await["state"],
                "active",
                "{kind}"
            );
            is_clean(&world);
        }
    });
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing() {
    run(async {
        let world = prepared_world();
        for when in [
            "the sandbox is made",
            "the command runs",
            "the snapshot is made",
        ] {
            let program = Program::new(&world);
            let (part, route) = match when {
                "the sandbox is made" => ("Making a sandbox", "/api/sandbox"),
                "the command runs" => ("\nbegun\n", "/none"),
                _ => ("Making the snapshot", "/api/sandbox/*/snapshot"),
            };
            world
                .local
                .fault("POST", route, 1, json!({ "kind": "slow", "ms": 500 }))
                .await;
            let create = program.run(&[
                "create",
                "web",
                "--run",
                "echo begun; until [ -e /tmp/go ]; do sleep 0.05; done",
            ]);
            let interrupt = async {
                if when == "the snapshot is made" {
                    until("the command runs", async || {
                        program.terminal.printed().contains("begun\n")
                    })
                    .await;
                    let sandbox = world.sandboxes().await.remove(0);
                    world.inside(&sandbox, "touch /tmp/go").await;
                }
                until(when, async || program.terminal.printed().contains(part)).await;
                program.plugin.abort(plugin::Call { call: 1 }).await;
            };
            let ((exit, said), ()) = futures::join!(create, interrupt);
            assert_eq!(exit, 130, "{when}: {said}");
            world.mend().await;
            assert_eq!(world.sandboxes().await, [""; 0], "{when}: {said}");
            is_clean(&world);
            assert_eq!(snapshot_of(&world, "web").await, Value::Null, "{when}");
        }
    });
}

#[test]
fn a_death_at_any_step_leaves_no_sandbox_and_no_name_taken() {
    run(async {
        let world = small_world();
        for step in 1.. {
            let host = world.host(&world.local.url);
            let number = 2 * step as u32;
            host.pid.set(Some(DEAD + number));
            host.skip_ms.set(u64::from(number) * 5_000);
            let dying = Program::with(&world, host);
            let died = dying.host.die_at(step);
            let done = tokio::select! {
                biased;
                _ = died => None,
                done = dying.run(&["create", "web", "--run", "true"]) => Some(done),
            };
            // What a dead process asked for may still come to be, for a moment.
            let living = world.open_later(number + 1).await;
            until("no sandbox is left", async || {
                world.sandboxes().await.is_empty()
            })
            .await;
            until("what the dead process left is swept", async || {
                let left = dying.host.temps();
                left.iter().all(|dir| !std::path::Path::new(dir).exists())
            })
            .await;
            if let Some((exit, said)) = done {
                assert_eq!(exit, 0, "{said}");
                assert!(step > 15, "only {step} steps were seen");
                return;
            }
            let remembered = !world.store()["prepared"].is_null();
            let is_open = remembered || !world.store()["snapshotting"].is_null();
            // Where nothing was asked for, the next run is the first again.
            if !is_open && step % 10 != 1 {
                continue;
            }
            let name = if remembered { "web-2" } else { "web" };
            let host = world.host(&world.local.url);
            host.skip_ms.set(u64::from(number + 1) * 5_000);
            let next = Program::with(&world, host);
            let (exit, said) = next.run(&["create", name, "--replace"]).await;
            assert_eq!(
                exit,
                0,
                "step {step}: {said}\n{}",
                next.host.logged().join("\n")
            );
            is_clean(&world);
            assert_eq!(world.sandboxes().await, [""; 0], "step {step}");
            for name in ["web", "web-2"] {
                let found = snapshot_of(&world, name).await;
                if let Some(id) = found["id"].as_str() {
                    assert_eq!(world.store()["prepared"][""]["name"], name, "step {step}");
                    let path = format!("/api/snapshots/{id}");
                    world.local.control("DELETE", &path, json!({})).await;
                }
            }
            let forgotten = Program::new(&world).run(&["forget"]).await;
            assert_eq!(forgotten.0, 0);
            drop(living);
        }
    });
}

#[test]
fn a_snapshot_that_is_gone_or_inactive_is_told_once_and_the_default_takes_its_place() {
    run(async {
        for (method, what, part) in [
            ("DELETE", "", "has no snapshot web any more"),
            ("POST", "/deactivate", "which is inactive at Daytona"),
        ] {
            let world = prepared_world();
            create(&world, &["web", "--run", BUILD]).await;
            let id = snapshot_of(&world, "web").await["id"].clone();
            let path = format!("/api/snapshots/{}{what}", id.as_str().expect("an id"));
            world.local.control(method, &path, json!({})).await;
            let open = world.open().await;
            for session in ["first", "second"] {
                let looked = open
                    .bash(session, "test -e target || echo none; wc -c < large.bin")
                    .await;
                assert_eq!(looked, "none\n2000000\n", "{part}");
                assert!(world.entry(session)["snapshot"].is_null());
            }
            let toasts = open.toasts();
            let told = toasts
                .iter()
                .filter(|title| *title == "Prepared snapshot not used");
            assert_eq!(told.count(), 1, "{toasts:?}");
            let told = open.opencode.told.borrow().concat();
            assert!(
                told.contains(part) && told.contains("snapshot create web"),
                "{told}"
            );
            assert!(told.contains("--run 'mkdir target"), "{told}");
            // What the default brings is not what it would have brought.
            assert!(world.store()["snapshots"][""].is_null());
            let (exit, said) = Program::new(&world).run(&["list"]).await;
            assert!(exit == 0 && said.contains(part), "{said}");
        }
    });
}

#[test]
fn a_create_that_is_refused_for_another_reason_is_no_reason_to_give_the_snapshot_up() {
    run(async {
        let world = prepared_world();
        create(&world, &["web", "--run", BUILD]).await;
        let open = world.open().await;
        let refusal = json!({ "kind": "status", "status": 400, "body": { "message": "Snapshot web is not there, says somebody" } });
        world.local.fault("POST", "/api/sandbox", 2, refusal).await;
        starts_with_the_difference(&world, &open, "s").await;
        assert!(
            open.toasts()
                .iter()
                .all(|title| !title.starts_with("Prepared"))
        );
    });
}

#[test]
fn too_far_behind_is_said_once_from_the_hundredth_commit_on() {
    run(async {
        let world = prepared_world();
        create(&world, &["web", "--run", "true"]).await;
        let commit = |count: usize| {
            for number in 0..count {
                let message = format!("c{number}");
                let args = ["commit", "--quiet", "--allow-empty", "-m", &message];
                git(world.project.path(), &args);
            }
        };
        let told = |open: &Open| {
            let toasts = open.toasts();
            let told = toasts
                .iter()
                .filter(|title| *title == "Prepared snapshot too far behind");
            told.count()
        };
        commit(99);
        let open = world.open().await;
        open.bash("near", "true").await;
        assert_eq!(told(&open), 0);
        commit(1);
        open.bash("far", "true").await;
        assert_eq!(told(&open), 1);
        let text = open.opencode.told.borrow().concat();
        assert!(text.contains("web is 100 commits behind"), "{text}");
        assert!(
            text.contains(
                "npx opencode-daytona-sandbox snapshot create web-2 --run 'true' --replace"
            ),
            "{text}"
        );
        open.bash("later", "true").await;
        assert_eq!(told(&open), 1);
        // Where the options name something else it does not matter.
        let other = world.open_snapshot("daytona-small").await;
        other.bash("other", "true").await;
        assert_eq!(told(&other), 0);
    });
}

#[test]
fn directories_without_commits_share_a_store_and_not_their_snapshots() {
    run(async {
        let mut world = World::new();
        std::fs::remove_dir_all(world.project.path().join(".git")).expect("removed");
        std::fs::write(world.project.path().join("large.txt"), "x y z\n").expect("written");
        world.project_id = "global".into();
        create(&world, &["plain", "--run", BUILD]).await;
        let project = world.project.path().to_string_lossy().into_owned();
        assert_eq!(world.store()["prepared"][&project]["name"], "plain");
        let init = |worktree: &str, directory: &str| Init {
            worktree: worktree.into(),
            directory: directory.into(),
            ..world.init(json!({}))
        };
        let host = world.host(&world.local.url);
        let open = world.open_as(init("/", &project), host).await;
        assert_eq!(
            open.bash("s", "cat target/cache draft.txt").await,
            "built\nnot committed\n"
        );
        let other = tempfile::tempdir().expect("a directory");
        let directory = other.path().to_string_lossy().into_owned();
        let host = world.host(&world.local.url);
        let open = world.open_as(init("/", &directory), host).await;
        assert_eq!(
            open.bash("t", "test -e target || echo none").await,
            "none\n"
        );
    });
}

#[test]
fn what_is_wrong_with_the_command_line_or_the_project_is_said_before_anything_is_made() {
    run(async {
        let world = prepared_world();
        world.forget_requests().await;
        for (args, part) in [
            (&["create"][..], "needs a name"),
            (&["create", "web", "--minutes", "x"], "--minutes"),
            (&["creat"], "There is no command `snapshot creat`"),
        ] {
            let (exit, said) = Program::new(&world).run(args).await;
            assert!(
                exit == 2 && said.contains(part) && said.contains("Usage:"),
                "{said}"
            );
        }
        let host = world.host(&world.local.url);
        host.set_env("HOME", &world.project.path().to_string_lossy());
        let (exit, said) = Program::with(&world, host).run(&["create", "web"]).await;
        assert!(exit == 1 && said.contains("home directory"), "{said}");
        let host = world.host(&world.local.url);
        host.set_env("DAYTONA_API_KEY", "");
        let (exit, said) = Program::with(&world, host).run(&["create", "web"]).await;
        assert!(
            exit == 1 && said.contains("DAYTONA_API_KEY is not set"),
            "{said}"
        );
        let run = format!("curl -H 'X-Key: {}' https://example.org", world.local.key);
        let program = Program::new(&world);
        let (exit, said) = program.run(&["create", "web", "--run", &run]).await;
        assert!(exit == 1 && said.contains("holds a key"), "{said}");
        assert!(!said.contains(&world.local.key), "{said}");
        assert_eq!(world.requests().await, 0);
    });
}
