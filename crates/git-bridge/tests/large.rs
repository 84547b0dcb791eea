//! Large projects: known in size before anything is packed, and packed once.

use git_bridge::{Error, Packed, Project, Secrets, Start, Step};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::{TestHost, git, run, unpack};

/// Bytes that nothing compresses, the same for the same seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        noise.extend_from_slice(&next());
    }
    noise.truncate(bytes);
    noise
}

const MB: usize = 1_000_000;

struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A repository of one commit with files of so many bytes.
    fn new(files: &[(&str, usize)]) -> World {
        let world = World {
            dir: tempfile::tempdir().expect("a directory"),
        };
        fs::create_dir(world.path()).expect("made");
        git(&world.path(), &["init", "--quiet", "--initial-branch=main"]);
        for (name, bytes) in files {
            world.write(name, *bytes as u64, *bytes);
        }
        world.commit("first");
        world
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn write(&self, name: &str, seed: u64, bytes: usize) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, noise(seed, bytes)).expect("written");
    }

    fn commit(&self, message: &str) {
        git(&self.path(), &["add", "--all"]);
        git(&self.path(), &["commit", "--quiet", "--message", message]);
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn bases(&self) -> Vec<String> {
        let list = fs::read_dir(self.store().join("project-packs"));
        let list = list.into_iter().flatten().flatten();
        let names = list.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".pack")).collect();
        names.sort();
        names
    }

    /// The project of a worktree, whose depot has a name of its own.
    fn project(&self, host: &Arc<TestHost>, worktree: &Path, depot: &str, limit: u64) -> Project {
        fs::create_dir_all(self.store()).expect("made");
        let depot = self.store().join(format!("project-{depot:0>16}.git"));
        let host = Arc::clone(host);
        let (worktree, depot) = (worktree.to_string_lossy(), depot.to_string_lossy());
        let is_repository = Path::new(&*worktree).join(".git").exists();
        Project::new(host, &worktree, is_repository, &depot).with_limit(limit)
    }

    fn pack(&self, start: &Start) -> Result<Packed, Error> {
        self.pack_within(start, 100 * MB as u64)
    }

    fn pack_within(&self, start: &Start, limit: u64) -> Result<Packed, Error> {
        let host = Arc::new(TestHost::new(&[]));
        let project = self.project(&host, &self.path(), "a", limit);
        let packed = run(async { project.pack("ses_1", start).await });
        if packed.is_err() {
            assert_eq!(host.temps(), [""; 0]);
        }
        packed
    }

    /// What a sandbox has after it has unpacked everything, checked to be whole.
    fn unpacked(&self, packed: &Packed) -> tempfile::TempDir {
        let out = tempfile::tempdir().expect("a directory");
        git(out.path(), &["init", "--quiet"]);
        if !packed.shallow.is_empty() {
            let shallow = packed.shallow.join("\n") + "\n";
            fs::write(out.path().join(".git/shallow"), shallow).expect("written");
        }
        unpack(out.path(), packed.packs.iter().map(|pack| &pack.path));
        let name = ["update-ref", "refs/heads/main", &packed.commit];
        git(out.path(), &name);
        if !packed.is_partial {
            let check = ["rev-list", "--objects", "--quiet", "main"];
            git(out.path(), &check);
        }
        git(out.path(), &["read-tree", "main"]);
        out
    }
}

fn with_history() -> Start {
    Start {
        history: 50,
        ..Start::default()
    }
}

#[test]
fn what_is_more_than_is_carried_is_refused_with_numbers_before_git_takes_it() {
    let limit = 3 * MB as u64;
    for (case, files, edit, words) in [
        (
            "committed",
            &[("a", 10), ("data/big.bin", 4 * MB)][..],
            None,
            &[
                "has 5 MB",
                "in 2 files",
                "data/big.bin (4.0 MB)",
                "at most 3 MB",
            ][..],
        ),
        (
            "not committed",
            &[("a", 10)],
            Some(("new file.bin", 5 * MB)),
            &[
                "has 5 MB",
                "in 1 files",
                "new file.bin (5.0 MB)",
                "carry.maxMegabytes",
            ],
        ),
        (
            "many",
            &[("a", MB), ("b", MB + 1), ("c", MB + 2), ("d", MB + 3)],
            None,
            &["has 5 MB", "in 4 files", "carry.paths"],
        ),
    ] {
        let world = World::new(files);
        if let Some((name, bytes)) = edit {
            world.write(name, 1, bytes);
        }
        let error = world.pack_within(&with_history(), limit).expect_err(case);
        assert!(matches!(error, Error::TooLarge { .. }), "{case}: {error}");
        for word in words {
            assert!(error.to_string().contains(word), "{case}: {word}: {error}");
        }
        let depot = world.store().join("project-000000000000000a.git");
        let size = git(&depot, &["count-objects", "-v"]);
        assert!(size.contains("size: 0\n"), "{case}: {size}");
        // What is raised holds.
        world.pack(&with_history()).expect(case);
    }
}

#[test]
fn a_history_that_does_not_fit_stays_and_is_told() {
    let world = World::new(&[("a", MB)]);
    for n in 2..5 {
        world.write("a", n, MB);
        world.commit("more");
    }
    let packed = world.pack_within(&with_history(), 2 * MB as u64);
    let packed = packed.expect("fits without the history");
    assert_eq!(packed.too_long.map(|bytes| bytes / MB as u64), Some(4));
    assert!(packed.size() < 2 * MB as u64, "{}", packed.size());
    world.unpacked(&packed);
    let packed = world.pack(&with_history()).expect("fits");
    assert_eq!(packed.too_long, None);
}

#[test]
fn what_was_packed_once_is_sent_again_as_it_is() {
    let world = World::new(&[("a", 3 * MB), ("b", 2 * MB)]);
    let first = world.pack(&with_history()).expect("packs");
    let base = first.packs[0].clone();
    assert!(base.index.is_some());
    assert_eq!(first.packs.len(), 1);
    assert_eq!(world.bases().len(), 1);

    // Another session, and what the user does in between.
    let again = world.pack(&with_history()).expect("packs");
    assert_eq!(again.packs, first.packs);
    world.write("b", 7, 1_000);
    let edited = world.pack(&with_history()).expect("packs");
    assert_eq!(edited.packs[0], base);
    assert!(edited.packs[1].size < 3_000, "{:?}", edited.packs);
    world.commit("second");
    let later = world.pack(&with_history()).expect("packs");
    assert_eq!(later.packs[0], base);
    assert!(later.packs[1].size < 3_000, "{:?}", later.packs);
    let sandbox = world.unpacked(&later);
    assert_eq!(git(sandbox.path(), &["rev-list", "--count", "main"]), "2");

    // Another worktree of the repository, with a depot of its own.
    let other = world.dir.path().join("other");
    let add = [
        "worktree",
        "add",
        "--quiet",
        &other.to_string_lossy(),
        "-b",
        "x",
    ];
    git(&world.path(), &add);
    fs::write(other.join("c"), "of the other\n").expect("written");
    let host = Arc::new(TestHost::new(&[]));
    let project = world.project(&host, &other, "b", 100 * MB as u64);
    let packed = run(async { project.pack("ses_2", &with_history()).await });
    let packed = packed.expect("packs");
    assert_eq!(packed.packs[0], base);
    world.unpacked(&packed);

    // Most of it is new.
    world.write("a", 8, 3 * MB);
    world.commit("third");
    let renewed = world.pack(&with_history()).expect("packs");
    assert_ne!(renewed.packs[0], base);
    assert_eq!(world.bases().len(), 2);
}

#[test]
fn a_base_with_something_that_must_not_go_is_not_used() {
    let world = World::new(&[("a", 5 * MB), ("gone", 10)]);
    let first = world.pack(&with_history()).expect("packs");
    let uses = |start: &Start, case: &str| {
        let packed = world.pack(start).expect(case);
        world.unpacked(&packed);
        packed.packs[0] == first.packs[0]
    };
    assert!(uses(&with_history(), "the same"));
    let other_secrets = Start {
        secrets: Secrets::new(vec!["a-secret".into()]),
        ..with_history()
    };
    assert!(!uses(&other_secrets, "looked through for something else"));
    assert!(!uses(&Start::default(), "no history is to go"));
    let paths = Start {
        paths: vec!["a".into()],
        ..with_history()
    };
    assert!(!uses(&paths, "only a part is to go"));
    git(&world.path(), &["rm", "--quiet", "gone"]);
    git(
        &world.path(),
        &["commit", "--quiet", "--amend", "-m", "first"],
    );
    assert!(!uses(&with_history(), "the commit is taken back"));
}

#[test]
fn without_history_a_base_is_used_as_long_as_no_file_of_it_is_gone() {
    let plain = tempfile::tempdir().expect("a directory");
    let world = World {
        dir: tempfile::tempdir().expect("a directory"),
    };
    fs::write(plain.path().join("a"), noise(1, 5 * MB)).expect("written");
    fs::write(plain.path().join("b"), "b\n").expect("written");
    let host = Arc::new(TestHost::new(&[]));
    let project = world.project(&host, plain.path(), "a", 100 * MB as u64);
    let pack = || run(async { project.pack("ses_1", &with_history()).await }).expect("packs");
    let base = pack().packs[0].clone();
    let again = pack();
    assert_eq!(again.packs[0], base);
    assert!(
        again.packs[1..].iter().all(|pack| pack.size < 500),
        "{again:?}"
    );
    fs::write(plain.path().join("b"), "changed\n").expect("written");
    let changed = pack();
    assert_eq!(changed.packs[0], base);
    let sandbox = world.unpacked(&changed);
    assert_eq!(git(sandbox.path(), &["show", "main:b"]), "changed");
    fs::remove_file(plain.path().join("b")).expect("removed");
    assert_ne!(pack().packs[0], base);
}

#[test]
fn bases_are_bounded_and_the_one_not_used_for_the_longest_time_goes_first() {
    let world = World::new(&[("a", 5 * MB)]);
    let limit = 6 * MB as u64;
    let host = Arc::new(TestHost::new(&[]));
    let project = world.project(&host, &world.path(), "a", limit);
    let mut bases = Vec::new();
    for n in 0..4 {
        let packed = run(async { project.pack("ses_1", &Start::default()).await });
        bases.push(packed.expect("packs").packs[0].path.clone());
        // A file that is gone makes the base of before useless.
        git(&world.path(), &["mv", "-k", "a", "b"]);
        git(&world.path(), &["mv", "-k", "b", &format!("a{n}")]);
        let name = fs::read_dir(world.path()).expect("reads").flatten();
        let name = name.map(|entry| entry.file_name()).find(|n| n != ".git");
        let name = name.expect("a file").to_string_lossy().into_owned();
        fs::rename(world.path().join(name), world.path().join("a")).expect("renamed");
        world.write("a", 100 + n, 5 * MB);
        world.commit("next");
        // An hour is over, so that none may be on its way into a sandbox.
        host.skip_ms.set(host.skip_ms.get() + 2 * 60 * 60 * 1000);
    }
    bases.dedup();
    assert_eq!(bases.len(), 4);
    let kept: Vec<bool> = bases.iter().map(|base| Path::new(base).exists()).collect();
    assert_eq!(kept, [false, false, true, true]);
    assert_eq!(world.bases().len(), 2);
}

#[test]
fn only_the_paths_that_are_carried_go_and_the_rest_is_not_deleted() {
    let world = World::new(&[("src/a", 100), ("data/big", 5 * MB), ("top", 50)]);
    world.write("data/big", 3, 5 * MB);
    world.commit("second");
    world.write("src/new", 1, 10);
    world.write("other/new", 1, 10);
    let start = Start {
        paths: vec!["src".into(), "missing".into()],
        ..with_history()
    };
    let packed = world.pack_within(&start, MB as u64).expect("fits");
    assert!(packed.is_partial);
    assert!(packed.size() < 10_000, "{}", packed.size());
    assert_eq!(packed.files, (2, 110));
    let out = tempfile::tempdir().expect("a directory");
    git(out.path(), &["init", "--quiet"]);
    unpack(out.path(), packed.packs.iter().map(|pack| &pack.path));
    let list = ["ls-tree", "-r", "--name-only", &packed.commit];
    let list = git(out.path(), &list);
    assert_eq!(list, "data/big\nsrc/a\nsrc/new\ntop");
    let sizes = git(
        out.path(),
        &[
            "cat-file",
            "--batch-all-objects",
            "--batch-check=%(objecttype)",
        ],
    );
    assert_eq!(sizes.lines().filter(|kind| *kind == "blob").count(), 2);
}

#[test]
fn a_secret_in_a_large_file_is_found_wherever_it_stands() {
    let secret = "secret-of-the-user-0123456789";
    for at in [0, 1_048_570, 9 * MB - secret.len()] {
        let world = World::new(&[("a", 10)]);
        let mut bytes = noise(1, 9 * MB);
        bytes[at..at + secret.len()].copy_from_slice(secret.as_bytes());
        fs::write(world.path().join("large.bin"), bytes).expect("written");
        let start = Start {
            secrets: Secrets::new(vec![secret.into()]),
            ..with_history()
        };
        let packed = world.pack(&start).expect("packs");
        assert_eq!(packed.held_back, ["large.bin"], "at {at}");
    }
}

#[test]
fn whoever_waits_hears_how_far_it_is() {
    let world = World::new(&[("a", 9 * MB)]);
    let host = Arc::new(TestHost::new(&[]));
    let project = world.project(&host, &world.path(), "a", 100 * MB as u64);
    let start = Start {
        secrets: Secrets::new(vec!["a-secret".into()]),
        ..with_history()
    };
    let (tell, heard) = futures::channel::mpsc::unbounded();
    run(async { project.pack_telling("ses_1", &start, tell).await }).expect("packs");
    let heard: Vec<Step> = futures::executor::block_on_stream(heard).collect();
    let size = 9 * MB as u64;
    let searched = Step::Searching {
        done: size,
        of: size,
    };
    assert!(heard.contains(&searched), "{heard:?}");
    let packed = |step: &Step| matches!(step, Step::Packing { done, of } if done == of);
    assert!(heard.iter().any(packed), "{heard:?}");
}

#[test]
fn what_a_killed_process_left_is_swept_and_what_another_works_in_is_not() {
    let world = World::new(&[("a", 10)]);
    let host = Arc::new(TestHost::new(&[]));
    let project = world.project(&host, &world.path(), "a", 100 * MB as u64);
    run(async {
        project.pack("ses_1", &with_history()).await.expect("packs");
        let depot = world.store().join("project-000000000000000a.git");
        let part = depot.join("objects/pack/tmp_pack_x");
        let lock = depot.join("refs/opencode/base/ses_1.lock");
        let leave = || {
            fs::write(&part, "half").expect("written");
            fs::write(&lock, "").expect("written");
        };
        // A process that lives is at work.
        let other = Arc::new(TestHost::new(&[]));
        other.pid.set(Some(1));
        let at_work = world.project(&other, &world.path(), "a", 0);
        let at_work = at_work.temp_dir().await.expect("made");
        for own in host.temps() {
            host::Host::remove_dir(&*host, &own).await.expect("removed");
        }
        leave();
        project.sweep().await.expect("sweeps");
        assert!(Path::new(&at_work).exists() && part.exists() && lock.exists());
        // One that is gone is not.
        fs::remove_dir_all(&at_work).expect("removed");
        other.pid.set(Some(u32::MAX - 1));
        let gone = world.project(&other, &world.path(), "a", 0);
        let gone = gone.temp_dir().await.expect("made");
        fs::write(Path::new(&gone).join("base.pack"), "half").expect("written");
        project.sweep().await.expect("sweeps");
        assert!(!Path::new(&gone).exists() && !part.exists() && !lock.exists());
        project.pack("ses_1", &with_history()).await.expect("packs");
    });
}

#[test]
fn a_pack_that_is_given_up_leaves_nothing() {
    let world = World::new(&[("a", 9 * MB)]);
    let host = Arc::new(TestHost::new(&[]));
    let project = world.project(&host, &world.path(), "a", 100 * MB as u64);
    run(async {
        let start = with_history();
        let packing = Box::pin(project.pack("ses_1", &start));
        let begun = Box::pin(async {
            while host.temps().is_empty() {
                tokio::task::yield_now().await;
            }
        });
        let first = futures::future::select(packing, begun).await;
        assert!(
            matches!(first, futures::future::Either::Right(_)),
            "it is at work"
        );
        drop(first);
        assert_eq!(host.temps().len(), 1);
        project.abandon("ses_2").await;
        assert_eq!(host.temps().len(), 1);
        project.abandon("ses_1").await;
        assert_eq!(host.temps(), [""; 0]);
    });
}

#[test]
fn a_repository_that_lacks_an_object_is_refused_with_gits_words() {
    let world = World::new(&[("a", 1_000)]);
    let lost = git(&world.path(), &["rev-parse", "HEAD:a"]);
    world.write("a", 7, 1_000);
    world.commit("second");
    let (dir, name) = lost.split_at(2);
    let object = world.path().join(".git/objects").join(dir).join(name);
    fs::remove_file(object).expect("it is loose");
    let error = world.pack(&with_history()).expect_err("it is damaged");
    assert!(error.to_string().contains(&lost), "{error}");
    world.pack(&Start::default()).expect("what goes is whole");
}
