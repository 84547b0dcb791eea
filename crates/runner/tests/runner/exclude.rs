//! What git on the user's machine ignores does not come home, and the agent's git ignores it too.

use super::Sandbox;
use super::setup::{git, pack, project};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What a sync brings, as names.
fn home(sandbox: &Sandbox, root: &Path) -> Vec<String> {
    let request = json!({ "root": root, "sandbox": "s", "message": "m", "have": [] });
    let reply = sandbox.send(&sandbox.op("sync", request));
    let done = reply.result.expect("syncs");
    let protocol::Outcome::Synced(synced) = done else {
        panic!("{done:?}");
    };
    let names = git(root, &["ls-tree", "-r", "--name-only", &synced.tip]);
    names.lines().map(str::to_string).collect()
}

fn set_up(sandbox: &Sandbox, root: &Path, rules: Option<&str>, id: &str) -> Value {
    let source = sandbox.dir.path().join("source");
    if !source.exists() {
        project(&source);
    }
    let tip = git(&source, &["rev-parse", "HEAD"]);
    let upload = sandbox.dir.path().join("p.pack");
    pack(&source, "HEAD", &upload);
    let mut request = sandbox.op("setup", json!({ "root": root, "sandbox": id }));
    request["base"] = json!({ "pack": [upload], "commit": tip, "branch": "main" });
    if let Some(rules) = rules {
        let file = sandbox.dir.path().join("rules");
        fs::write(&file, rules).unwrap();
        request["base"]["exclude"] = json!(file);
    }
    sandbox.send(&request).result.expect("set up");
    request
}

#[test]
fn rules_of_the_host_hold_for_the_agent_and_for_what_goes_home() {
    for image in [false, true] {
        let sandbox = Sandbox::new();
        let root = sandbox.root();
        if image {
            git(&root, &["init", "-q"]);
            fs::create_dir_all(root.join(".git/info")).unwrap();
            fs::write(root.join(".git/info/exclude"), "cache/").unwrap();
            fs::create_dir(root.join("node_modules")).unwrap();
            fs::write(root.join("node_modules/installed"), "x").unwrap();
            fs::write(root.join("left.txt"), "x").unwrap();
            git(&root, &["add", "-f", "left.txt"]);
            git(&root, &["commit", "-qm", "the image's"]);
        }
        let rules = "node_modules/\na.txt\n*.log\n!keep.log\n";
        let request = set_up(&sandbox, &root, Some(rules), "s");
        assert!(
            !sandbox.dir.path().join("rules").exists(),
            "they are used up"
        );
        // Once more, as after an answer that was lost.
        let mut again = sandbox.op("setup", json!({ "root": root, "sandbox": "s" }));
        again["base"] = request["base"].clone();
        drop(sandbox.send(&again));
        fs::create_dir_all(root.join("node_modules/m")).unwrap();
        fs::create_dir_all(root.join("cache")).unwrap();
        for name in [
            "node_modules/m/x",
            "cache/x",
            "b.log",
            "keep.log",
            "made.c",
            "a.txt",
        ] {
            fs::write(root.join(name), "made\n").unwrap();
        }
        let status = git(&root, &["status", "--porcelain"]);
        let seen = |name: &str| {
            status
                .lines()
                .any(|line| line.contains(&format!(" {name}")))
        };
        assert!(seen("made.c") && seen("keep.log"), "{status}");
        assert!(!seen("node_modules") && !seen("b.log"), "{status}");
        assert!(seen("a.txt"), "what is tracked stays tracked: {status}");
        assert_eq!(seen("cache"), !image, "{status}");
        if image {
            let kept = root.join("node_modules/installed");
            assert!(
                kept.exists(),
                "what is ignored stays where the project takes its place"
            );
        }
        let names = home(&sandbox, &root);
        let has = |name: &str| names.iter().any(|found| found.starts_with(name));
        assert!(
            has("made.c") && has("keep.log") && has("a.txt"),
            "{names:?}"
        );
        assert!(!has("node_modules") && !has("b.log"), "{names:?}");
        let text = fs::read_to_string(root.join(".git/info/exclude")).unwrap();
        let count = |line: &str| text.lines().filter(|found| *found == line).count();
        assert_eq!(count("*.log"), 1, "{text}");
        assert_eq!(count("cache/"), usize::from(image), "{text}");

        // The agent makes the repository anew.
        fs::remove_dir_all(root.join(".git")).unwrap();
        let names = home(&sandbox, &root);
        assert!(
            !names.iter().any(|name| name.starts_with("node_modules")),
            "{names:?}"
        );
        assert!(names.contains(&"made.c".to_string()), "{names:?}");
    }
}

#[test]
fn rules_of_a_session_that_the_image_was_made_of_go() {
    let sandbox = Sandbox::new();
    let root = sandbox.root();
    set_up(&sandbox, &root, Some("*.log\n"), "first");
    set_up(&sandbox, &root, None, "s");
    fs::write(root.join("b.log"), "made\n").unwrap();
    assert!(home(&sandbox, &root).contains(&"b.log".to_string()));
}
