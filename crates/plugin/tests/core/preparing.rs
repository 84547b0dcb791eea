//! Large projects: they go up in parts, say how far they are, and end where the user ends them.

use crate::world::{World, git, until};
use futures::future::{Either, select};
use plugin::{Call, Executed};
use serde_json::json;
use std::rc::Rc;
use std::sync::Arc;
use testkit::{Setting, run};

const UPLOAD: &str = "files/bulk-upload";

/// A project with a committed file of so many megabytes that nothing compresses.
fn project(world: &World, megabytes: usize) {
    let mut state = 1_u64;
    let mut noise = Vec::with_capacity(megabytes * 1_000_000);
    while noise.len() < megabytes * 1_000_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    std::fs::write(world.project.path().join("noise.bin"), noise).expect("written");
    git(world.project.path(), &["add", "."]);
    git(world.project.path(), &["commit", "--quiet", "-m", "noise"]);
}

fn hash(world: &World) -> String {
    let hash = git(world.project.path(), &["hash-object", "noise.bin"]);
    hash.trim().into()
}

#[test]
fn a_part_that_breaks_is_sent_again_alone_and_whoever_waits_hears_how_far_it_is() {
    run(async {
        let world = World::new();
        project(&world, 40);
        let open = world.open().await;
        let uploads = Arc::new(Setting::new(0));
        let (counted, host) = (Arc::clone(&uploads), Arc::downgrade(&open.host));
        open.host.fail(move |operation, what| {
            if operation != "http" || !what.contains(UPLOAD) {
                return None;
            }
            // Each takes its time.
            let host = host.upgrade().expect("a host");
            host.skip_ms.set(host.skip_ms.get() + 2_000);
            counted.set(counted.get() + 1);
            // The second part breaks, and breaks again.
            [2, 4].contains(&counted.get()).then(|| "dropped".into())
        });
        let found = open.bash("s", "git hash-object noise.bin").await;
        assert_eq!(found.trim(), hash(&world));
        // Three parts, two of them repeated, and one for the runner with the rest.
        assert_eq!(uploads.get(), 6);
        let shown = open.opencode.printed();
        for said in [
            "Uploading the project: 17 of 41 MB.",
            "Uploading the project: 41 of 41 MB.",
            "Unpacking",
        ] {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        let left = open.bash("s", "ls /tmp/.opencode-upload* 2>&1").await;
        assert!(left.contains("No such file"), "{left}");
        // A second session sends the same pack, and packs nothing.
        let packed = Arc::new(Setting::new(0));
        let counted = Arc::clone(&packed);
        open.host.fail(move |operation, what| {
            let packs = operation == "git" && what.contains("pack-objects");
            counted.set(counted.get() + usize::from(packs));
            None
        });
        let found = open.bash("t", "git hash-object noise.bin").await;
        assert_eq!((found.trim(), packed.get()), (&*hash(&world), 0));
    });
}

#[test]
fn an_abort_ends_packing_and_sending_at_once_and_leaves_nothing() {
    run(async {
        for stage in ["pack", "send"] {
            let world = World::new();
            project(&world, 40);
            let open = Rc::new(world.open().await);
            let begun = Arc::new(Setting::new(false));
            let sent = Arc::new(Setting::new(0));
            let (tell, count) = (Arc::clone(&begun), Arc::clone(&sent));
            open.host.fail(move |operation, what| {
                let is_upload = operation == "http" && what.contains(UPLOAD);
                count.set(count.get() + usize::from(is_upload));
                if stage == "pack" {
                    tell.set(tell.get() || operation == "git" && what.contains("pack-objects"));
                    return None;
                }
                tell.set(tell.get() || is_upload);
                is_upload.then(|| "dropped".into())
            });
            let call = open.execute("s", "bash", json!({ "command": "touch ran" }));
            let id = call.call;
            let plugin = Rc::clone(&open.plugin);
            let running = Box::pin(plugin.execute(call));
            let waiting = Box::pin(until("it is under way", async || begun.get()));
            let Either::Right((_, running)) = select(running, waiting).await else {
                panic!("{stage}: it ended before");
            };
            open.plugin.abort(Call { call: id }).await;
            let aborted = "Tool execution aborted".to_string();
            assert_eq!(running.await, Executed::Failed { message: aborted });
            until("nothing is left", async || open.host.temps().is_empty()).await;
            let before = sent.get();
            if stage == "pack" {
                assert_eq!(before, 0);
            }
            let logged = open.host.logged().join("\n");
            until("its end is told", async || {
                open.host.logged().join("\n").contains("interrupted")
            })
            .await;
            assert_eq!(sent.get(), before, "{stage}: {logged}");
            assert!(!open.toasts().join("\n").contains("interrupted"));
            // The next call has its sandbox, the same one.
            open.host.heal();
            let files = open.bash("s", "ls; git hash-object noise.bin").await;
            assert!(files.contains(&hash(&world)), "{stage}: {files}");
            assert!(!files.contains("ran\n"), "{stage}: {files}");
            assert_eq!(world.sandboxes().await.len(), 1, "{stage}");
        }
    });
}

#[test]
fn a_project_that_is_too_large_is_refused_with_the_options_that_help() {
    run(async {
        let mut world = World::new();
        project(&world, 3);
        world.options = json!({ "carry": { "maxMegabytes": 2 } });
        let open = world.open().await;
        let error = open.error("s", "bash", json!({ "command": "ls" })).await;
        for word in [
            "has 4 MB",
            "2 MB",
            "noise.bin (3.0 MB)",
            "carry.maxMegabytes",
            "carry.paths",
        ] {
            assert!(error.contains(word), "{word}: {error}");
        }
        let options = json!({ "carry": { "maxMegabytes": 2, "paths": ["a.txt"] } });
        std::fs::write(world.project.path().join("a.txt"), "carried\n").expect("written");
        let open = world.open_with(options, world.host(&world.local.url)).await;
        let listed = open.bash("t", "ls; git status --short; git ls-files").await;
        assert!(listed.starts_with("a.txt\n"), "{listed}");
        assert!(listed.contains("\nnoise.bin\n"), "{listed}");
        // What comes home deletes nothing that stayed here.
        open.bash("t", "echo changed > a.txt").await;
        crate::home::idle(&world, &open, "t").await;
        let branch = world.entry("t")["home"]["branch"].clone();
        let branch = branch.as_str().expect("a branch");
        let changed = git(
            world.project.path(),
            &["diff", "--stat", "HEAD", branch, "--", "noise.bin"],
        );
        assert_eq!(changed, "");
    });
}

#[test]
fn a_call_that_fails_keeps_nothing_of_what_was_said_while_it_waited() {
    run(async {
        let world = World::new();
        for (session, tool, args, left) in [
            ("s", "read", json!({ "filePath": "missing.txt" }), None),
            (
                "t",
                "bash",
                json!({ "command": "true", "workdir": "/missing" }),
                Some(""),
            ),
        ] {
            let open = world.open().await;
            let host = Arc::downgrade(&open.host);
            open.host.fail(move |operation, _| {
                let host = host.upgrade().expect("a host");
                let skipped = if operation == "git" { 2_000 } else { 0 };
                host.skip_ms.set(host.skip_ms.get() + skipped);
                None
            });
            open.error(session, tool, args).await;
            let shown = open.opencode.shown.borrow();
            let said = shown
                .iter()
                .flatten()
                .any(|text| text.contains("Unpacking"));
            assert!(said, "{tool}: {shown:?}");
            let last = shown.last().expect("something").as_deref();
            assert_eq!(last, left, "{tool}: {shown:?}");
        }
    });
}
