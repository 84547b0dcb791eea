//! The store's file and its lock: what cannot be read is never taken for nothing, and a lock that
//! somebody holds is waited for.

use host::{Host, Platform};
use serde_json::{Value, json};
use sessions::{Entry, Store, StoreError, store_dir};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::{Setting, TestHost, run};

/// Larger than any process number of Linux.
const DEAD: u32 = 5_000_000;

fn store(dir: &Path) -> (Arc<TestHost>, Store, PathBuf) {
    let host = Arc::new(TestHost::new(&[]));
    let store = Store::new(host.clone(), &dir.to_string_lossy(), "project", "/w");
    (host, store, dir.join("project.json"))
}

#[test]
fn an_announcement_holds_the_lock_until_its_process_is_dead_or_it_is_stale() {
    run(async {
        // How old it is, whose, and for how much longer it holds at most, if it does.
        for (age, pid, held) in [
            (0, DEAD, Some(2_000)),
            (1_000, DEAD, Some(1_000)),
            (2_500, DEAD, None),
            (0, 1, Some(30_000)),
            (20_000, 1, Some(10_000)),
            (31_000, 1, None),
            // Of a clock that was set back meanwhile.
            (-31_000, 1, None),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let (host, store, path) = store(dir.path());
            // Sleeping moves the clock of this process, and takes no time.
            host.fast.set(true);
            let lock = path.with_extension("json.lock");
            std::fs::create_dir(&lock).expect("made");
            let start = host.now_ms();
            let name = format!("{pid}-{}-abc", start.saturating_add_signed(-age));
            std::fs::write(lock.join(&name), "").expect("written");
            // What is no announcement is nobody's.
            std::fs::write(lock.join("README"), "").expect("written");
            let insert = store.update(|d| d.sessions.insert("s".into(), Entry::default()));
            insert.await.expect("written");
            // A pause between two looks takes less than 14 milliseconds.
            let (slept, passed) = (host.skip_ms.get(), host.now_ms() - start);
            let most = held.map_or(0, |held| held + 14);
            assert!(slept <= most, "{age} {pid}: {slept}");
            assert!(passed >= held.unwrap_or(0), "{age} {pid}: {passed}");
            let left = std::fs::read_dir(&lock).expect("there").flatten();
            let left: Vec<_> = left.map(|file| file.file_name()).collect();
            assert_eq!(left, ["README"], "{age} {pid}");
        }
    });
}

#[test]
fn who_announces_beside_another_goes_back_and_waits() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (host, store, path) = store(dir.path());
        host.fast.set(true);
        let lock = path.with_extension("json.lock");
        // Another process announces itself between our look and our own announcement.
        let start = host.now_ms();
        let other = lock.join(format!("1-{start}-abc"));
        let once = Setting::new(true);
        host.fail(move |operation, _| {
            if operation == "create" && once.replace(false) {
                std::fs::create_dir_all(&lock).expect("made");
                std::fs::write(&other, "").expect("written");
            }
            None
        });
        let insert = store.update(|d| d.sessions.insert("s".into(), Entry::default()));
        insert.await.expect("written");
        // It never ends, so it is waited for until it is stale.
        let passed = host.now_ms() - start;
        assert!(passed > 30_000, "{passed}");
    });
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (host, store, path) = store(dir.path());
        let text = json!({ "sessions": { "s": { "sandboxId": "x" } } }).to_string();
        std::fs::write(&path, &text).expect("written");
        host.fail(|operation, _| (operation == "read").then(|| "permission denied".into()));
        let insert = store.update(|d| d.sessions.insert("t".into(), Entry::default()));
        let error = insert.await.expect_err("it cannot be read");
        assert!(matches!(error, StoreError::File(_)), "{error}");
        assert!(store.read().await.is_err() && store.is_broken().await.is_err());
        host.heal();
        assert_eq!(std::fs::read_to_string(&path).expect("there"), text);
        assert!(
            !path
                .with_extension("json.lock")
                .read_dir()
                .expect("there")
                .any(|_| true)
        );
    });
}

#[test]
fn a_file_is_used_or_moved_aside_or_refused_by_what_is_in_it() {
    run(async {
        for (text, expected) in [
            (r#"{ "sessions": { "s": { "sandboxId": "x" } } }"#, "used"),
            (r#"{ "version": 1, "sessions": {} }"#, "used"),
            (
                r#"{ "version": "1.7", "new": [1], "sessions": {} }"#,
                "used",
            ),
            (r#"{ "version": 2, "sessions": {} }"#, "refused"),
            (r#"{ "version": "2.0" }"#, "refused"),
            (r#"{ "version": 2, "sessions": [] }"#, "refused"),
            (r#"{ "version": null }"#, "refused"),
            (r#"{ "sessions": { "s": {} } }"#, "moved aside"),
            ("not json", "moved aside"),
            ("", "moved aside"),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let (_, store, path) = store(dir.path());
            std::fs::write(&path, text).expect("written");
            let broken = store.is_broken().await;
            let update = store.update(|d| d.sessions.insert("t".into(), Entry::default()));
            let updated = update.await.map(drop);
            let is_aside = |name: &str| name.contains(".broken-");
            let names = dir.path().read_dir().expect("there").flatten();
            let aside = names
                .filter(|file| is_aside(&file.file_name().to_string_lossy()))
                .map(|file| std::fs::read_to_string(file.path()).expect("kept"));
            let aside: Vec<String> = aside.collect();
            let now = std::fs::read_to_string(&path).expect("there");
            if expected == "refused" {
                let newer = StoreError::Newer(path.to_string_lossy().into());
                assert_eq!(updated, Err(newer.clone()), "{text}");
                assert_eq!(broken, Err(newer), "{text}");
                assert_eq!((now.as_str(), aside.len()), (text, 0), "{text}");
                continue;
            }
            updated.expect("written");
            let is_moved = expected == "moved aside";
            assert_eq!(broken, Ok(is_moved), "{text}");
            assert_eq!(aside, if is_moved { vec![text] } else { vec![] }, "{text}");
            let now: Value = serde_json::from_str(&now).expect("it parses");
            assert!(now["sessions"]["t"].is_object(), "{text}");
            let was: Value = serde_json::from_str(text).unwrap_or_default();
            if is_moved {
                assert_eq!(now["projectId"], "project", "{text}");
                assert_eq!(now["worktree"], "/w", "{text}");
            } else {
                assert_eq!(now["new"], was["new"], "{text}");
                let kept = &was["sessions"]["s"]["sandboxId"];
                assert_eq!(now["sessions"]["s"]["sandboxId"], *kept, "{text}");
            }
        }
    });
}

#[test]
fn what_changes_nothing_writes_nothing() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let (host, store, path) = store(dir.path());
        host.fail(|operation, _| (operation == "replace").then(|| "no space left".into()));
        store.update(|_| ()).await.expect("nothing to write");
        assert!(!path.exists());
        let insert = store.update(|d| d.sessions.insert("s".into(), Entry::default()));
        insert.await.expect_err("no space left");
    });
}

#[test]
fn on_windows_a_file_that_is_read_at_that_moment_is_replaced_a_little_later() {
    run(async {
        for (platform, failures, is_written) in [
            (Platform::Windows, 3, true),
            (Platform::Windows, usize::MAX, false),
            (Platform::Linux, 1, false),
            (Platform::Mac, 1, false),
        ] {
            let dir = tempfile::tempdir().expect("a directory");
            let (host, store, path) = store(dir.path());
            host.platform.set(platform);
            host.fast.set(true);
            let left = Setting::new(failures);
            host.fail(move |operation, _| {
                let fails = operation == "replace" && left.get() > 0;
                left.set(left.get().saturating_sub(usize::from(fails)));
                fails.then(|| "EPERM".into())
            });
            let update = store.update(|d| d.sessions.insert("s".into(), Entry::default()));
            assert_eq!(update.await.is_ok(), is_written, "{platform:?} {failures}");
            assert_eq!(path.exists(), is_written);
        }
    });
}

#[test]
fn every_project_has_a_file_of_its_own_in_the_data_directory() {
    for (id, name) in [
        ("3f2a_B-9", "3f2a_B-9.json"),
        ("../../x", "%2E%2E%2F%2E%2E%2Fx.json"),
        ("a/b\\c", "a%2Fb%5Cc.json"),
        ("", "%.json"),
        ("é", "%C3%A9.json"),
    ] {
        assert_eq!(host::file_name(id), name);
    }
    // `data_is_where_each_platform_has_it` in crates/host has the whole table.
    use Platform::{Linux, Mac, Windows};
    for (platform, env, expected) in [
        (
            Linux,
            &[("XDG_DATA_HOME", "/d"), ("HOME", "/h")][..],
            Some("/d"),
        ),
        (
            Mac,
            &[("HOME", "/h"), ("LOCALAPPDATA", "/l")],
            Some("/h/.local/share"),
        ),
        (Windows, &[("HOME", "/h"), ("APPDATA", "/a")], Some("/a")),
        (Linux, &[("APPDATA", "/a")], None),
    ] {
        let value = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        };
        let expected = expected.map(|dir| format!("{dir}/opencode/storage/daytona"));
        let expected = expected.ok_or(StoreError::NoDirectory);
        assert_eq!(store_dir(platform, value), expected);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (_, store, path) = store(dir.path());
    assert_eq!(Path::new(store.path()), path);
}
