//! Much work: what a bundle may have, and that what was made once is not made again.

use super::work::{at, commit, fetch_file, files, parents, project, sync};
use super::*;
use protocol::Synced;
use std::fs;

const MB: u64 = 1_000_000;

/// Bytes that no compression makes fewer.
fn noise(length: u64, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    (0..length / 8).flat_map(|_| next()).collect()
}

fn put(sandbox: &Sandbox, name: &str, content: &[u8]) {
    fs::write(sandbox.path(name), content).unwrap();
}

/// What waits for the host, and what is left of what does not.
fn waiting(sandbox: &Sandbox) -> Vec<String> {
    let place = sandbox.home.join(".opencode-daytona/bundles");
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn over(synced: &Synced) -> (u64, Vec<&str>) {
    assert_eq!((&synced.bundle, &synced.lfs), (&None, &None));
    let too_much = synced.too_much.as_ref().expect("too much");
    let names = too_much.largest.iter().map(|(name, _)| name.as_str());
    (too_much.size, names.collect())
}

#[test]
fn a_large_file_is_compared_with_no_other() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    let mut content = noise(17 * 1024 * 1024, 1);
    put(&sandbox, "big", &content);
    let first = sync(&sandbox, json!({ "have": [base] }));
    content[1_000] ^= 1;
    put(&sandbox, "big", &content);
    let second = sync(&sandbox, json!({ "have": [first.tip] }));
    let size = second.bundle.expect("a bundle").size;
    assert!(size > 17 * 1024 * 1024, "{size}");
    // A smaller one is.
    let mut content = noise(MB, 2);
    put(&sandbox, "small", &content);
    let first = sync(&sandbox, json!({ "have": [second.tip] }));
    content[1_000] ^= 1;
    put(&sandbox, "small", &content);
    let second = sync(&sandbox, json!({ "have": [first.tip] }));
    let size = second.bundle.expect("a bundle").size;
    assert!(size < MB / 10, "{size}");
}

#[test]
fn a_bundle_has_as_many_bytes_as_it_may_and_no_more() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    put(&sandbox, "data.bin", &noise(3 * MB, 1));
    fs::create_dir(sandbox.path("logs")).unwrap();
    put(&sandbox, "logs/a b.bin", &noise(MB, 2));
    let free = sync(&sandbox, json!({ "have": [base] }));
    let size = free.bundle.as_ref().expect("a bundle").size;
    let exact = sync(&sandbox, json!({ "have": [base], "max_bytes": size }));
    assert_eq!(exact, free);
    for max in [size - 1, 2 * MB, 0] {
        let less = sync(&sandbox, json!({ "have": [base], "max_bytes": max }));
        let (all, names) = over(&less);
        assert!(all > 4 * MB && all < 5 * MB, "{max}: {all}");
        assert_eq!(names, ["data.bin", "logs/a b.bin", "a.txt"][..2]);
        assert_eq!(less.tip, free.tip);
        assert_eq!(waiting(&sandbox), [""; 0], "{max}");
    }
    assert_eq!(
        fs::read(sandbox.path("data.bin")).unwrap(),
        noise(3 * MB, 1)
    );
    let more = sync(&sandbox, json!({ "have": [base], "max_bytes": 10 * MB }));
    fetch_file(&sandbox, &more.bundle.expect("a bundle"));
}

#[test]
fn versions_that_are_small_together_are_not_too_much() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    let mut content = noise(MB, 1);
    for version in 0..4 {
        content[version] ^= 1;
        put(&sandbox, "data", &content);
        commit(&sandbox, "version");
    }
    // They are stored as four, and go as one and three differences.
    let not = sync(&sandbox, json!({ "have": [base], "max_bytes": MB / 2 }));
    assert!(over(&not).0 > 4 * MB);
    assert_eq!(waiting(&sandbox), [""; 0]);
    let fits = sync(&sandbox, json!({ "have": [base], "max_bytes": 2 * MB }));
    assert!(fits.bundle.is_some_and(|bundle| bundle.size < 2 * MB));
}

#[test]
fn what_was_too_large_and_is_gone_does_not_keep_the_rest_from_coming_home() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    let limited = json!({ "have": [base], "max_bytes": MB });
    put(&sandbox, "core", &noise(2 * MB, 1));
    put(&sandbox, "work.txt", b"work\n");
    let with = sync(&sandbox, limited.clone());
    assert_eq!(over(&with).1[0], "core");
    assert_eq!(at(&sandbox, &["rev-parse", "refs/opencode/work"]), with.tip);
    fs::remove_file(sandbox.path("core")).unwrap();
    let without = sync(&sandbox, limited.clone());
    assert!(without.bundle.is_some() && without.too_much.is_none());
    assert_eq!(
        files(&sandbox, &without.tip),
        ["100644 a.txt", "100644 work.txt"]
    );
    assert_eq!(parents(&sandbox, &without.tip), [base.as_str()]);
    assert!(without.notes[0].contains("too large to come home"));
    assert_eq!(
        at(&sandbox, &["rev-parse", "refs/opencode/work"]),
        without.tip
    );
    // The next state stands on it, and there is nothing more to say.
    put(&sandbox, "work.txt", b"more\n");
    let next = sync(&sandbox, json!({ "have": [without.tip], "max_bytes": MB }));
    assert_eq!(parents(&sandbox, &next.tip), [without.tip]);
    assert_eq!(next.notes, [""; 0]);

    // A commit of the agent's is not taken out of its history.
    put(&sandbox, "core", &noise(2 * MB, 2));
    commit(&sandbox, "all of it");
    fs::remove_file(sandbox.path("core")).unwrap();
    let own = commit(&sandbox, "without it");
    let kept = sync(&sandbox, json!({ "have": [next.tip], "max_bytes": MB }));
    assert_eq!(over(&kept).1[0], "core");
    assert!(at(&sandbox, &["rev-list", &kept.tip]).contains(&own));
}

#[test]
fn a_bundle_that_was_not_fetched_is_not_made_again() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    put(&sandbox, "data.bin", &noise(MB, 1));
    let first = sync(&sandbox, json!({ "have": [base] })).bundle.unwrap();
    let made = fs::metadata(first.path.as_ref().unwrap()).unwrap();
    let again = sync(&sandbox, json!({ "have": [base] })).bundle.unwrap();
    assert_eq!(again, first);
    let still = fs::metadata(again.path.as_ref().unwrap()).unwrap();
    assert_eq!(
        (still.ino(), still.mtime_nsec()),
        (made.ino(), made.mtime_nsec())
    );
    fetch_file(&sandbox, &again);
    // With something new it gives way, and what was cut short is not taken for whole.
    put(&sandbox, "b.bin", &noise(MB, 2));
    let place = sandbox.home.join(".opencode-daytona/bundles");
    fs::write(place.join("0123.part"), "half").unwrap();
    let other = sync(&sandbox, json!({ "have": [base] })).bundle.unwrap();
    let name = |path: &Option<String>| {
        path.as_ref()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_string()
    };
    assert_eq!(waiting(&sandbox), [name(&other.path)]);
    fetch_file(&sandbox, &other);
}
