//! What the host fetches: that it is all there, and no more than it lacks.

use super::setup::git;
use super::work::{agents, at, commit, fetch_file, parents, project, request, sync, synced};
use super::*;
use std::path::Path;

/// Fetches what a bundle holds, as `refs/in/0`, ….
fn take(host: &Path, bundle: &Path) {
    let refs = "refs/opencode/out/*:refs/in/*";
    git(host, &["fetch", "-q", bundle.to_str().unwrap(), refs]);
}

#[test]
fn other_branches_and_the_stash_come_along() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    sandbox
        .run("bash", json!({ "command": "set -e; git branch same; git checkout -q -b side; echo s > s; git add s; git commit -qm side;
            git checkout -q same; echo stashed > a.txt; git stash -q; echo now > now.txt" }))
        .unwrap();
    let before = agents(&sandbox);
    let home = sync(&sandbox, json!({ "have": [base] }));
    assert_eq!(agents(&sandbox), before);
    let names: Vec<_> = home
        .branches
        .iter()
        .map(|branch| branch.name.as_str())
        .collect();
    assert_eq!(names, ["side", "stash"]);
    let host = sandbox.dir.path().join("host");
    git(sandbox.dir.path(), &["init", "-q", "host"]);
    git(
        &host,
        &["fetch", "-q", sandbox.root().to_str().unwrap(), &base],
    );
    let file = fetch_file(&sandbox, &home.bundle.unwrap());
    take(&host, &file);
    for (n, commit) in std::iter::once(&home.tip)
        .chain(home.branches.iter().map(|branch| &branch.commit))
        .enumerate()
    {
        assert_eq!(git(&host, &["rev-parse", &format!("refs/in/{n}")]), *commit);
    }
    git(&host, &["fsck"]);
    assert_eq!(git(&host, &["show", "refs/in/0:now.txt"]), "now");
    assert_eq!(git(&host, &["show", "refs/in/2:a.txt"]), "stashed");

    // The host has it now, and only what is new comes.
    let have = json!([
        base,
        home.tip,
        home.branches[0].commit,
        home.branches[1].commit
    ]);
    let again = sync(&sandbox, json!({ "have": have }));
    assert_eq!((again.bundle, again.branches), (None, vec![]));
    sandbox.run("bash", json!({ "command": "git checkout -q side; echo t > t; git add t; git commit -qm more; git checkout -q same" })).unwrap();
    let more = sync(&sandbox, json!({ "have": have }));
    assert_eq!(more.tip, home.tip);
    let file = fetch_file(&sandbox, &more.bundle.unwrap());
    take(&host, &file);
    assert_eq!(
        git(&host, &["rev-parse", "refs/in/1"]),
        more.branches[0].commit
    );
    assert_eq!(
        at(
            &sandbox,
            &["for-each-ref", "--format=%(refname)", "refs/opencode/out"]
        ),
        "refs/opencode/out/0\nrefs/opencode/out/1"
    );
}

#[test]
fn a_bundle_is_as_large_as_what_is_new() {
    let sandbox = project("");
    for n in 0..2_000u32 {
        let dir = sandbox.path(format!("d{}", n % 40));
        std::fs::create_dir_all(&dir).unwrap();
        let text: String = (0..50)
            .map(|line| format!("{} {line}\n", n * 7919))
            .collect();
        std::fs::write(dir.join(format!("f{n}")), text).unwrap();
    }
    let base = commit(&sandbox, "many");
    let text = sandbox.text("d1/f1");
    std::fs::write(sandbox.path("d1/f1"), text + "one more\n").unwrap();
    let unknown = "0123456789012345678901234567890123456789";
    let home = sync(&sandbox, json!({ "have": [unknown, base, "--all"] }));
    let bundle = home.bundle.unwrap();
    assert!(bundle.size < 10_000, "{}", bundle.size);

    // More than fits into a reply stays in a file until the next sync.
    let noise: Vec<u8> = (0..300_000u64)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect();
    std::fs::write(sandbox.path("noise"), noise).unwrap();
    let request = request(&sandbox, json!({ "have": [home.tip] }));
    let large = synced(sandbox.send(&request).result);
    let again = synced(sandbox.send(&request).result);
    assert_eq!((&large.tip, &large.branches), (&again.tip, &again.branches));
    let bundle = again.bundle.unwrap();
    assert!(bundle.inline.is_none() && bundle.size > protocol::MAX_INLINE as u64);
    fetch_file(&sandbox, &bundle);
    let none = sync(&sandbox, json!({ "have": [large.tip] }));
    assert_eq!(none.bundle, None);
    assert!(!Path::new(&bundle.path.unwrap()).exists());
}

#[test]
fn from_a_shallow_history_only_the_new_commits_come() {
    let sandbox = project("//- /a.txt\none\n");
    std::fs::write(sandbox.path("a.txt"), "two\n").unwrap();
    let base = commit(&sandbox, "second");
    let full = sandbox.dir.path().join("full");
    std::fs::rename(sandbox.root(), &full).unwrap();
    let url = format!("file://{}", full.display());
    git(
        sandbox.dir.path(),
        &["clone", "-q", "--depth=1", &url, "project"],
    );
    std::fs::write(sandbox.path("a.txt"), "three\n").unwrap();
    let home = sync(&sandbox, json!({ "have": [base] }));
    assert_eq!(parents(&sandbox, &home.tip), [base]);
    let file = fetch_file(&sandbox, &home.bundle.unwrap());
    git(
        &full,
        &[
            "fetch",
            "-q",
            file.to_str().unwrap(),
            "refs/opencode/out/0:refs/in/0",
        ],
    );
    assert_eq!(git(&full, &["rev-parse", "refs/in/0"]), home.tip);
    assert!(sync(&sandbox, json!({ "have": [] })).bundle.is_some());
}

#[test]
fn commits_that_only_a_tag_of_the_agents_holds_come_along_and_other_tags_do_not() {
    let sandbox = project("//- /a.txt\none\n");
    let base = at(&sandbox, &["rev-parse", "HEAD"]);
    let root = sandbox.root();
    let tagged = |name: &str, annotated: bool| {
        at(&sandbox, &["checkout", "-q", "--detach", &base]);
        std::fs::write(sandbox.path("t"), name).unwrap();
        let tip = commit(&sandbox, name);
        match annotated {
            true => at(&sandbox, &["tag", "-a", "-m", "m", name]),
            false => at(&sandbox, &["tag", name]),
        };
        tip
    };
    // The image's, before the setup; one that came with a remote's branch.
    tagged("images", true);
    at(&sandbox, &["checkout", "-q", "main"]);
    let request = sandbox.op("setup", json!({ "root": root }));
    sandbox.send(&request).result.unwrap();
    let remotes = tagged("remotes", false);
    at(&sandbox, &["update-ref", "refs/remotes/x/y", &remotes]);
    let (light, own) = (tagged("light", false), tagged("own", true));
    at(&sandbox, &["tag", "of-base", &base]);
    at(&sandbox, &["tag", "of-a-tree", "HEAD^{tree}"]);
    at(&sandbox, &["checkout", "-q", "main"]);
    let home = sync(&sandbox, json!({ "have": [base] }));
    let mut found: Vec<_> = home
        .branches
        .iter()
        .map(|branch| (branch.name.as_str(), branch.commit.as_str()))
        .collect();
    found.sort();
    assert_eq!(found, [("light", light.as_str()), ("own", &own)]);
}
