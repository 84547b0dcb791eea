//! The gate: with an OpenCode that cannot hold what the plugin promises, every tool refuses.

use crate::world::{Open, World, until};
use plugin::{FLOOR, Nothing, ShellStart, ToolOffer};
use serde_json::json;
use testkit::run;

/// What a tool says that refuses.
async fn refusal(open: &Open) -> String {
    open.error("s", "bash", json!({ "command": "echo ran" }))
        .await
}

async fn shell(open: &Open) -> String {
    let start = ShellStart {
        session_id: Some("s".into()),
    };
    format!("{:?}", open.plugin.shell_env(start).await.env)
}

#[test]
fn a_release_that_is_too_old_is_refused_before_anything_is_created() {
    run(async {
        for release in ["1.3.2", "1.14.41", "1.15.4", "2.3.2"] {
            let world = World::new();
            world.release.set(Some(release));
            let open = world.open().await;
            let problem = open.started.problem.clone().expect("it refuses");
            assert!(problem.contains(&format!("this is {release}")), "{problem}");
            assert!(
                open.opencode.told.borrow().join("\n").contains(&problem),
                "{release}"
            );
            let error = refusal(&open).await;
            assert!(error.contains(&problem), "{release}: {error}");
            let env = shell(&open).await;
            assert!(env.contains("OPENCODE_DAYTONA_REFUSED"), "{release}: {env}");
            assert!(env.contains(FLOOR) || release.starts_with('2'), "{env}");
            open.plugin.dispose(Nothing {}).await;
            assert_eq!(world.requests().await, 0, "{release}");
        }
    });
}

#[test]
fn a_release_that_says_nothing_is_served_until_it_says_that_it_is_too_old() {
    run(async {
        let world = World::new();
        world.release.set(None);
        let open = world.open().await;
        assert_eq!(open.started.problem, None);
        assert_eq!(open.bash("s", "echo ran").await.trim(), "ran");
        world.release.set(Some("1.15.4"));
        let refuses = async || {
            !open.opencode.told.borrow().is_empty()
                && open.opencode.told.borrow().join("").contains("1.15.4")
        };
        until("it refuses", refuses).await;
        let error = refusal(&open).await;
        assert!(error.contains("this is 1.15.4"), "{error}");
    });
}

#[test]
fn a_release_that_nobody_knows_is_judged_by_what_it_can_do() {
    run(async {
        for release in ["1.99.0", "0.0.0-dev-202611300900", "local"] {
            let world = World::new();
            world.release.set(Some(release));
            let open = world.open().await;
            assert_eq!(open.bash("s", "echo ran").await.trim(), "ran", "{release}");

            // Nobody is asked: the call is not allowed, and none is from then on.
            open.opencode.unasking.set(true);
            let error = refusal(&open).await;
            assert!(
                error.contains("does not ask the permission questions"),
                "{error}"
            );
            open.opencode.unasking.set(false);
            let error = refusal(&open).await;
            assert!(
                error.contains("does not ask the permission questions"),
                "{error}"
            );
            assert!(shell(&open).await.contains("REFUSED"), "{release}");
        }
    });
}

#[test]
fn a_release_in_which_arguments_cannot_be_described_is_refused() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        assert_eq!(open.bash("s", "echo ran").await.trim(), "ran");
        let offer = ToolOffer {
            tool: "read".into(),
            built_in: false,
            description: format!("Reads.{}", open.started.mark),
            describable: false,
        };
        open.plugin.offer(offer.clone()).await;
        open.plugin.offer(offer).await;
        let error = refusal(&open).await;
        assert!(error.contains("the arguments of its tools"), "{error}");
        // It is told once.
        assert_eq!(
            open.opencode
                .told
                .borrow()
                .join("\n")
                .matches("arguments")
                .count(),
            1
        );
    });
}
