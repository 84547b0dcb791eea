//! What Git LFS keeps: pointers in every commit, and the bytes beside them.

use super::setup::git;
use super::work::{at, fetch_file, files, sync};
use super::*;
use protocol::Synced;
use protocol::pointer::{Pointer, Pointing};
use std::os::unix::fs::PermissionsExt;

const ATTRIBUTES: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n";

fn pointer(content: &[u8]) -> Pointer {
    let mut pointing = Pointing::default();
    pointing.add(content);
    pointing.end()
}

/// A file of a commit, as it is in git.
fn blob(sandbox: &Sandbox, commit: &str, name: &str) -> Vec<u8> {
    let out = Command::new("git")
        .args(["cat-file", "blob", &format!("{commit}:{name}")])
        .current_dir(sandbox.root())
        .output()
        .unwrap();
    assert!(out.status.success(), "{name} in {commit}");
    out.stdout
}

/// What stands in for git-lfs: clean and smudge as it does, with the objects where it has them.
const STAND_IN: &str = r#"[ "$1" = version ] && exit 0
store="$(git rev-parse --absolute-git-dir)/lfs/objects"; mkdir -p "$store"; t="$store/tmp.$$"; cat >"$t"
if [ "$1" = clean ]; then
  if [ ! -s "$t" ] || head -c 7 "$t" | grep -q version; then cat "$t"; rm "$t"; exit 0; fi
  o=$(sha256sum <"$t" | cut -d' ' -f1); s=$(wc -c <"$t"); d="$store/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-4)"
  mkdir -p "$d"; mv "$t" "$d/$o"
  printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %s\n' $o $s
else
  o=$(sed -n 's/^oid sha256://p' "$t"); f="$store/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-4)/$o"
  if [ -n "$o" ] && [ -e "$f" ]; then cat "$f"; else cat "$t"; fi; rm "$t"
fi"#;

/// Where the image has git-lfs, if it has it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Image {
    Nothing,
    /// Configured for the user, and there is no such program.
    Missing,
    User,
    /// In the configuration of a repository that came with the image.
    Repository,
}

/// A project with a pointer, a file that is none, and what the image brings.
fn sandbox(image: Image) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let dir = sandbox.dir.path();
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).unwrap();
    if image != Image::Missing && image != Image::Nothing {
        let program = bin.join("git-lfs");
        std::fs::write(&program, format!("#!/bin/sh\n{STAND_IN}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let settings = "[filter \"lfs\"]\nclean = git-lfs clean -- %f\nsmudge = git-lfs smudge -- %f\nrequired = true\n";
    let root = sandbox.root();
    match image {
        Image::Nothing => {}
        Image::Missing | Image::User => {
            std::fs::write(sandbox.home.join(".gitconfig"), settings).unwrap();
        }
        Image::Repository => {
            git(&root, &["init", "-q"]);
            let config = root.join(".git/config");
            let before = std::fs::read_to_string(&config).unwrap();
            std::fs::write(config, before + settings).unwrap();
        }
    }
    let source = dir.join("source");
    std::fs::create_dir(&source).unwrap();
    git(&source, &["init", "-q"]);
    for (name, text) in [
        (".gitattributes", ATTRIBUTES.to_string()),
        ("old.bin", pointer(b"never here\n").text()),
        ("a.txt", "one\n".into()),
    ] {
        std::fs::write(source.join(name), text).unwrap();
    }
    git(&source, &["add", "-A"]);
    git(&source, &["commit", "-qm", "first"]);
    let tip = git(&source, &["rev-parse", "HEAD"]);
    let upload = dir.join("p.pack");
    super::setup::pack(&source, "HEAD", &upload);
    let mut request = sandbox.op("setup", json!({ "root": root, "sandbox": "s" }));
    request["base"] = json!({ "pack": [upload], "commit": tip, "branch": "main" });
    let reply = with_path(&sandbox, &request);
    reply
        .result
        .unwrap_or_else(|why| panic!("{image:?}: {why:?}"));
    (sandbox, tip)
}

/// Sends a request to a runner that finds the image's programs.
fn with_path(sandbox: &Sandbox, request: &Value) -> Reply {
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", sandbox.dir.path().join("bin").display());
    let output = sandbox.command(request).env("PATH", path).output().unwrap();
    parse(request["id"].as_str().unwrap(), &output)
}

fn bash(sandbox: &Sandbox, command: &str) -> String {
    let call = sandbox.call("bash", json!({ "command": command }));
    let output = done(with_path(sandbox, &call).result).unwrap();
    let text = output.output;
    assert!(!text.contains("exit code"), "{command}: {text}");
    text.replace("(no output)", "").trim().to_string()
}

/// Takes a bundle as the host does, and gives the files that came beside the commits.
fn objects(sandbox: &Sandbox, known: &[&str], home: &Synced) -> Vec<(String, Vec<u8>)> {
    let Some(lfs) = &home.lfs else {
        return Vec::new();
    };
    let host = sandbox.dir.path().join(format!("host-{}", sandbox.id()));
    git(sandbox.dir.path(), &["init", "-q", host.to_str().unwrap()]);
    let root = sandbox.root();
    for commit in known {
        git(&host, &["fetch", "-q", root.to_str().unwrap(), commit]);
    }
    let file = fetch_file(sandbox, home.bundle.as_ref().unwrap());
    let refs = "refs/opencode/out/*:refs/in/*";
    git(&host, &["fetch", "-q", file.to_str().unwrap(), refs]);
    let names = git(&host, &["ls-tree", "--name-only", lfs]);
    let read = |oid: &str| {
        let out = Command::new("git")
            .args(["cat-file", "blob", &format!("{lfs}:{oid}")])
            .current_dir(&host)
            .output()
            .unwrap();
        (oid.to_string(), out.stdout)
    };
    names.lines().map(read).collect()
}

#[test]
fn a_file_that_git_lfs_keeps_is_a_pointer_at_home_and_its_bytes_come_along() {
    let made = vec![7_u8; 200_000];
    for image in [
        Image::Nothing,
        Image::Missing,
        Image::User,
        Image::Repository,
    ] {
        let (sandbox, base) = sandbox(image);
        assert_eq!(
            sandbox.text("old.bin"),
            pointer(b"never here\n").text(),
            "{image:?}"
        );
        assert_eq!(bash(&sandbox, "git status --porcelain"), "", "{image:?}");
        let sync = |have: Value| {
            let fields = json!({ "have": have, "sandbox": "s" });
            let request = super::work::request(&sandbox, fields);
            super::work::synced(with_path(&sandbox, &request).result)
        };
        // Nothing was done, and nothing is new.
        assert_eq!(sync(json!([base])).tip, base, "{image:?}");

        std::fs::write(sandbox.path("made.bin"), &made).unwrap();
        std::fs::write(sandbox.path("empty.bin"), "").unwrap();
        let home = sync(json!([base]));
        assert_eq!((home.left_out.len(), home.notes.len()), (0, 0), "{image:?}");
        assert_eq!(
            blob(&sandbox, &home.tip, "made.bin"),
            pointer(&made).text().into_bytes(),
            "{image:?}"
        );
        assert_eq!(blob(&sandbox, &home.tip, "empty.bin"), b"", "{image:?}");
        assert_eq!(
            blob(&sandbox, &home.tip, "old.bin"),
            pointer(b"never here\n").text().into_bytes(),
            "{image:?}"
        );
        assert_eq!(
            objects(&sandbox, &[&base], &home),
            [(pointer(&made).oid, made.clone())],
            "{image:?}"
        );
        assert_eq!(std::fs::read(sandbox.path("made.bin")).unwrap(), made);

        // The agent's own commits are the same, and so are those that its work tree no longer shows.
        bash(
            &sandbox,
            "set -e; git add -A; git commit -qm one; echo second > second.bin; git add -A; git commit -qm two; \
             echo third > second.bin; git commit -qam three; git status --porcelain",
        );
        assert_eq!(bash(&sandbox, "git status --porcelain"), "", "{image:?}");
        let own = at(&sandbox, &["rev-parse", "HEAD"]);
        for commit in [own.as_str(), &format!("{own}~1")] {
            let content = blob(&sandbox, commit, "second.bin");
            assert!(Pointer::parse(&content).is_some(), "{image:?}");
        }
        let more = sync(json!([base, home.tip]));
        let came = objects(&sandbox, &[&base, &home.tip], &more);
        let mut expected = ["second\n", "third\n"]
            .map(|text| (pointer(text.as_bytes()).oid, text.as_bytes().to_vec()));
        expected.sort();
        assert_eq!(came, expected, "{image:?}");
        assert!(
            files(&sandbox, &more.tip).contains(&"100644 second.bin".to_string()),
            "{image:?}"
        );
    }
}

#[test]
fn an_undo_puts_the_bytes_back_and_a_setup_takes_those_that_were_sent() {
    let (sandbox, _) = sandbox(Image::Nothing);
    std::fs::write(sandbox.path("a.bin"), "first\n").unwrap();
    let mut call = sandbox.call(
        "write",
        json!({ "filePath": "a.bin", "content": "second\n" }),
    );
    call["turn"] = json!("msg_1");
    done(sandbox.send(&call).result).unwrap();
    let back = sandbox.op(
        "restore",
        json!({ "root": sandbox.root(), "to": { "before": { "turn": "msg_1", "first": true } } }),
    );
    sandbox.send(&back).result.unwrap();
    assert_eq!(sandbox.text("a.bin"), "first\n");
    let latest = sandbox.op("restore", json!({ "root": sandbox.root(), "to": "latest" }));
    sandbox.send(&latest).result.unwrap();
    assert_eq!(sandbox.text("a.bin"), "second\n");

    // Another sandbox begins with what came home from this one.
    let home = sync(&sandbox, json!({ "have": [] }));
    let source = sandbox.dir.path().join("second-source");
    git(
        sandbox.dir.path(),
        &["clone", "-q", "--no-checkout", "project", "second-source"],
    );
    let lfs = home.lfs.unwrap();
    git(
        &source,
        &["fetch", "-q", "../project", "refs/opencode/out/*:refs/in/*"],
    );
    let upload = sandbox.dir.path().join("second.pack");
    super::setup::pack(&source, &format!("{} {lfs}", home.tip), &upload);
    let fresh = Sandbox::new();
    for (commit, works) in [(home.tip.as_str(), false), (lfs.as_str(), true)] {
        let copy = fresh.dir.path().join("copy.pack");
        std::fs::copy(&upload, &copy).unwrap();
        let mut request = fresh.op("setup", json!({ "root": fresh.root() }));
        request["base"] =
            json!({ "pack": [copy], "commit": home.tip, "branch": "main", "lfs": commit });
        let reply = fresh.send(&request).result;
        assert_eq!(reply.is_ok(), works, "{reply:?}");
    }
    assert_eq!(fresh.text("a.bin"), "second\n");
    assert_eq!(git(&fresh.root(), &["status", "--porcelain"]), "");
    assert_eq!(sync(&fresh, json!({})).tip, home.tip);
}
