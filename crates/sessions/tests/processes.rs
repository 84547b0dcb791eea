//! Several processes and one store: real processes, killed for real.
//!
//! The test binary runs itself again as a writer: see [`writer`].

use sessions::{Entry, Store};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::{TestHost, run};

/// Tells a child what to do: `DIRECTORY|NAME|COUNT`.
const JOB: &str = "SESSIONS_TEST_WRITER";

fn store(dir: &str) -> Store {
    Store::new(Arc::new(TestHost::new(&[])), dir, "project", "/w")
}

fn entry(sandbox: &str) -> Entry {
    Entry {
        sandbox_id: sandbox.into(),
        ..Entry::default()
    }
}

/// Not a test of its own: what a child does.
#[test]
fn writer() {
    let Ok(job) = std::env::var(JOB) else { return };
    let mut fields = job.split('|');
    let mut next = || fields.next().expect("a field");
    let (dir, name, count) = (next(), next(), next().parse::<u32>().expect("a number"));
    run(async {
        let store = store(dir);
        for n in 0..count {
            let key = format!("{name}-{n}");
            store
                .update(|d| d.sessions.insert(key.clone(), entry(&key)))
                .await
                .expect("writes");
        }
    });
}

fn spawn(dir: &str, name: &str, count: u32) -> Child {
    Command::new(std::env::current_exe().expect("a path"))
        .args(["writer", "--exact", "--nocapture"])
        .env(JOB, format!("{dir}|{name}|{count}"))
        .stdout(Stdio::null())
        .spawn()
        .expect("starts")
}

#[test]
fn two_processes_write_a_thousand_entries_each_and_none_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_string_lossy().into_owned();
    let children = [spawn(&path, "a", 1000), spawn(&path, "b", 1000)];
    for mut child in children {
        assert!(child.wait().expect("ends").success());
    }
    let document = run(async { store(&path).read().await.expect("reads") });
    let missing: Vec<String> = ["a", "b"]
        .iter()
        .flat_map(|name| (0..1000).map(move |n| format!("{name}-{n}")))
        .filter(|key| {
            document
                .sessions
                .get(key)
                .is_none_or(|entry| entry.sandbox_id != *key)
        })
        .collect();
    assert_eq!(missing, [""; 0]);
    assert_eq!(document.sessions.len(), 2000);
    assert_only_the_file_is_left(dir.path());
}

fn assert_only_the_file_is_left(dir: &std::path::Path) {
    let announcements = std::fs::read_dir(dir.join("project.json.lock"));
    let left = announcements.map_or(0, |names| names.count());
    assert_eq!(left, 0, "the lock is free");
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_file_and_no_lock() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_string_lossy().into_owned();
    let host = TestHost::new(&[]);
    let mut writes = 0;
    let mut rounds = 0;
    // Killed after its n-th write is seen, and a moment later that differs from round to round.
    while writes < 200 {
        rounds += 1;
        let name = format!("r{rounds}");
        let mut child = spawn(&path, &name, 10_000);
        let seen = || {
            run(async {
                let store = store(&path);
                assert!(
                    !store.is_broken().await.expect("reads"),
                    "after {writes} writes"
                );
                let document = store.read().await.expect("reads");
                let prefix = format!("{name}-");
                document
                    .sessions
                    .keys()
                    .filter(|key| key.starts_with(&prefix))
                    .count()
            })
        };
        let start = Instant::now();
        while seen() < 20 {
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "the writer is stuck behind a dead one's lock"
            );
        }
        let moment = Duration::from_micros(host::Host::random(&host) % 5_000);
        let kill_at = Instant::now() + moment;
        while Instant::now() < kill_at {
            std::hint::spin_loop();
        }
        child.kill().expect("killed");
        child.wait().expect("ended");
        writes += seen();
    }
    // Whoever comes next gets the lock although the last holder may have died with it.
    run(async {
        let store = store(&path);
        store
            .update(|d| d.sessions.insert("last".into(), entry("last")))
            .await
            .expect("writes");
        assert!(
            store
                .read()
                .await
                .expect("reads")
                .sessions
                .contains_key("last")
        );
    });
    assert_only_the_file_is_left(dir.path());
}
