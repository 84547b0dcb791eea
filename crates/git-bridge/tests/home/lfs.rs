//! What a sandbox says that Git LFS keeps: only bytes that have their name get in.

use crate::world::*;
use git_bridge::{Error, Incoming};
use protocol::pointer::{Pointer, Pointing};
use std::fs;
use testkit::run;

fn pointer(content: &[u8]) -> Pointer {
    let mut pointing = Pointing::default();
    pointing.add(content);
    pointing.end()
}

/// Sends a state with a commit of these files beside it.
async fn send(world: &World, files: &[(&[u8], &[u8])]) -> Result<Incoming, Error> {
    let (tip, mut objects) = world.work("headed");
    let blobs: Vec<String> = files
        .iter()
        .map(|(_, content)| world.object("blob", content))
        .collect();
    let entries: Vec<(&str, &[u8], &str)> = files
        .iter()
        .zip(&blobs)
        .map(|((name, _), blob)| ("100644", *name, blob.as_str()))
        .collect();
    let tree = world.tree(&entries);
    let lfs = world.commit(&tree, &[]);
    objects.extend([tree, lfs.clone()]);
    objects.extend(blobs);
    objects.sort();
    objects.dedup();
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    let head = world.head(&[(&tip, "refs/opencode/out/0"), (&lfs, "refs/opencode/out/1")]);
    let file = world.dir.path().join("lfs.bundle");
    fs::write(&file, [head, world.pack(&objects)].concat()).expect("written");
    let incoming = Incoming {
        tip,
        branches: Vec::new(),
        lfs: Some(lfs),
        bundle: Some(file.to_string_lossy().into_owned()),
    };
    let project = world.project();
    let received = project.receive(SESSION, &incoming, world.host_head());
    received.await.map(|_| incoming)
}

#[test]
fn only_bytes_that_have_their_name_reach_the_users_objects_and_none_is_replaced() {
    let world = World::new();
    run(async {
        let (good, known, lie) = (pointer(b"good"), pointer(b"known"), pointer(b"lie"));
        for storage in ["", "elsewhere"] {
            if !storage.is_empty() {
                git(&world.path(), &["config", "lfs.storage", storage]);
            }
            let store = world.path().join(".git").join(match storage {
                "" => "lfs/objects",
                other => &*format!("{other}/objects").leak(),
            });
            let there = store.join(known.path());
            fs::create_dir_all(there.parent().expect("a directory")).expect("made");
            fs::write(&there, "of the user").expect("written");
            let mut files: Vec<(&[u8], &[u8])> = vec![
                (good.oid.as_bytes(), b"good"),
                (known.oid.as_bytes(), b"known"),
                (lie.oid.as_bytes(), b"something else"),
                (b"HEAD", b"ref: refs/heads/x\n"),
            ];
            files.sort();
            send(&world, &files).await.expect("received");
            assert_eq!(fs::read(store.join(good.path())).expect("there"), b"good");
            assert_eq!(fs::read(&there).expect("there"), b"of the user");
            let mut names: Vec<String> = crate::world::files(&store)
                .keys()
                .map(|path| {
                    path.strip_prefix(&store)
                        .expect("below")
                        .display()
                        .to_string()
                })
                .collect();
            names.sort();
            let mut expected = vec![good.path(), known.path()];
            expected.sort();
            assert_eq!(names, expected, "{storage}");
            // Again is no harm.
            send(&world, &files).await.expect("received");
        }
        world.check("lfs");
    });
}

#[test]
fn more_bytes_than_can_be_taken_are_refused() {
    let world = World::new();
    run(async {
        let content = vec![0; 5_000_000];
        let oid = pointer(&content).oid;
        let (tip, _) = world.work("x");
        // It packs to nothing.
        let blob = world.object("blob", &content);
        let tree = world.tree(&[("100644", oid.as_bytes(), &blob)]);
        let lfs = world.commit(&tree, &[]);
        let file = world.dir.path().join("lfs.bundle");
        let (tip_now, mut objects) = world.work("x");
        assert_eq!(tip, tip_now);
        objects.extend([blob, tree, lfs.clone()]);
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        let head = world.head(&[(&tip, "refs/opencode/out/0"), (&lfs, "refs/opencode/out/1")]);
        fs::write(&file, [head, world.pack(&objects)].concat()).expect("written");
        let incoming = Incoming {
            tip,
            branches: Vec::new(),
            lfs: Some(lfs),
            bundle: Some(file.to_string_lossy().into_owned()),
        };
        let project = world.project().with_limit(1_000_000);
        let refused = project.receive(SESSION, &incoming, world.host_head()).await;
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains("Git LFS keeps have 5 MB"), "{refused}");
        let store = world.path().join(".git/lfs");
        assert!(!store.exists());
    });
}
