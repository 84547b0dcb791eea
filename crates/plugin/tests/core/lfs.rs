//! Files that Git LFS keeps, from the user's repository into a sandbox and back. No git-lfs is on either
//! side; `FILTER` does on the host what it would.

use crate::home::idle;
use crate::world::{World, git};
use protocol::pointer::Pointing;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use testkit::run;

/// Clean and smudge as git-lfs does them.
const FILTER: &str = r#"#!/bin/sh
store="$(git rev-parse --path-format=absolute --git-common-dir)/lfs/objects"; mkdir -p "$store"; t="$store/tmp.$$"; cat >"$t"
if [ "$1" = clean ]; then
  if [ ! -s "$t" ] || head -c 7 "$t" | grep -q version; then cat "$t"; rm "$t"; exit 0; fi
  o=$(sha256sum <"$t" | cut -d' ' -f1); s=$(wc -c <"$t"); d="$store/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-4)"
  mkdir -p "$d"; mv "$t" "$d/$o"
  printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %s\n' $o $s
else
  o=$(sed -n 's/^oid sha256://p' "$t"); f="$store/$(echo $o | cut -c1-2)/$(echo $o | cut -c3-4)/$o"
  if [ -n "$o" ] && [ -e "$f" ]; then cat "$f"; else echo "no object" >&2; exit 1; fi; rm "$t"
fi
"#;

fn text(content: &[u8]) -> String {
    let mut pointing = Pointing::default();
    pointing.add(content);
    pointing.end().text()
}

/// Where the user's git-lfs has the bytes.
fn object(world: &World, content: &[u8]) -> PathBuf {
    let mut pointing = Pointing::default();
    pointing.add(content);
    let objects = world.project.path().join(".git/lfs/objects");
    objects.join(pointing.end().path())
}

/// A repository whose `old.bin` and `touched.bin` git-lfs keeps; the filter is the user's.
fn world() -> World {
    let world = World::new();
    let path = world.project.path();
    let filter = path.join(".git/lfs-filter");
    fs::write(&filter, FILTER).expect("written");
    for (key, way) in [
        ("filter.lfs.clean", "clean"),
        ("filter.lfs.smudge", "smudge"),
    ] {
        let command = format!("sh '{}' {way}", filter.display());
        git(path, &["config", key, &command]);
    }
    git(path, &["config", "filter.lfs.required", "true"]);
    fs::write(
        path.join(".gitattributes"),
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    )
    .expect("written");
    for name in ["old.bin", "touched.bin", "edited.bin"] {
        fs::write(path.join(name), format!("{name}\n")).expect("written");
    }
    git(path, &["add", ".gitattributes", "*.bin"]);
    git(path, &["commit", "-qm", "binaries"]);
    world
}

fn show(world: &World, what: &str) -> String {
    git(world.project.path(), &["show", what])
}

#[test]
fn what_git_lfs_keeps_goes_in_and_comes_home_as_pointers_with_their_bytes() {
    run(async {
        let world = world();
        let path = world.project.path();
        // The same content with another time is no change, and nobody may take it for one.
        fs::write(path.join("touched.bin"), "touched.bin\n").expect("written");
        let time = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        let touched = fs::File::options()
            .write(true)
            .open(path.join("touched.bin"));
        touched.expect("opens").set_modified(time).expect("set");
        fs::write(path.join("edited.bin"), "by the user\n").expect("written");
        fs::write(path.join("fresh.bin"), "fresh of the user\n").expect("written");
        let open = world.open().await;
        let seen = open
            .bash(
                "s",
                "cat edited.bin fresh.bin; git status --porcelain; cat old.bin touched.bin",
            )
            .await;
        let expected = format!(
            "by the user\nfresh of the user\n{}{}",
            text(b"old.bin\n"),
            text(b"touched.bin\n")
        );
        assert_eq!(seen, expected);
        idle(&world, &open, "s").await;
        let branches = git(path, &["branch", "--list", "opencode/*"]);
        assert_eq!(branches, "", "nothing was done");

        open.bash("s", "printf 'made here' > made.bin; git add made.bin; git commit -qm mine; printf more > more.bin; echo t > t.txt").await;
        open.ok("s", "sync", json!({})).await;
        for (commit, name, content) in [
            ("opencode/1", "made.bin", "made here"),
            ("opencode/1^", "made.bin", "made here"),
            ("opencode/1", "more.bin", "more"),
            ("opencode/1", "edited.bin", "by the user\n"),
            ("opencode/1", "fresh.bin", "fresh of the user\n"),
        ] {
            let blob = show(&world, &format!("{commit}:{name}"));
            assert_eq!(blob, text(content.as_bytes()), "{commit}:{name}");
            let bytes = fs::read(object(&world, content.as_bytes()));
            assert_eq!(bytes.expect(name), content.as_bytes(), "{name}");
        }
        for name in ["old.bin", "touched.bin"] {
            let blob = show(&world, &format!("opencode/1:{name}"));
            assert_eq!(blob, show(&world, &format!("HEAD:{name}")), "{name}");
        }
        let odd = open
            .opencode
            .told
            .borrow()
            .iter()
            .any(|told| told.contains("Note:"));
        assert!(!odd, "{:?}", open.opencode.told.borrow());

        // A sandbox that takes this one's place has the bytes, too.
        let sandbox = world.sandbox_of("s");
        world.delete_elsewhere(&sandbox, true).await;
        let open = world.open().await;
        let seen = open.bash("s", "cat made.bin; git status --porcelain").await;
        assert!(seen.starts_with("made here"), "{seen}");
        // The user's own filter finds all of it.
        git(path, &["stash", "-q", "--include-untracked"]);
        git(path, &["merge", "-q", "opencode/1"]);
        assert_eq!(
            fs::read_to_string(path.join("made.bin")).expect("there"),
            "made here"
        );
        assert_eq!(git(path, &["status", "--porcelain"]), "");
    });
}

#[test]
fn a_pointer_without_bytes_and_a_filter_that_did_not_run_are_told() {
    run(async {
        let world = world();
        let path = world.project.path();
        let attributes = "*.bin filter=lfs -text\n*.enc filter=git-crypt\n";
        fs::write(path.join(".gitattributes"), attributes).expect("written");
        git(path, &["commit", "-qam", "attributes"]);
        let open = world.open().await;
        let nowhere = text(b"nowhere");
        open.ok(
            "s",
            "write",
            json!({ "filePath": "lost.bin", "content": nowhere }),
        )
        .await;
        let raw = "git config --unset filter.lfs.process; echo raw > raw.bin; git add raw.bin; git commit -qm raw; \
                   echo plain > a.enc; git rm -q --cached raw.bin; git commit -qm 'not any more'; rm raw.bin";
        open.bash("s", raw).await;
        let said = open.ok("s", "sync", json!({})).await;
        for expected in [
            "Note: a.enc came home as it is in the sandbox, because no filter runs there, and git-crypt works on it",
            "Note: lost.bin is a pointer of Git LFS, and neither the sandbox nor your repository has its bytes",
        ] {
            assert!(said.contains(expected), "{said}");
        }
        let told = open.opencode.told.borrow().join("\n");
        assert!(
            told.contains("Note: ") && told.contains("lost.bin"),
            "{told}"
        );
        assert!(!object(&world, b"nowhere").exists());
    });
}

#[test]
fn attributes_of_the_project_mean_the_same_on_both_sides() {
    run(async {
        let world = World::new();
        let path = world.project.path();
        let attributes = "*.crlf text eol=crlf\n*.auto text=auto\n*.id ident\n*.u16 working-tree-encoding=UTF-16LE-BOM\n*.bin filter=lfs -text\n";
        let utf16 = |text: &str| {
            let units = "\u{feff}".chars().chain(text.chars());
            let units: Vec<u8> = units.flat_map(|c| (c as u16).to_le_bytes()).collect();
            units
        };
        fs::write(path.join(".gitattributes"), attributes).expect("written");
        for (name, content) in [
            ("a.crlf", b"one\r\ntwo\r\n".to_vec()),
            ("a.auto", b"one\ntwo\n".to_vec()),
            ("a.id", b"$Id$\n".to_vec()),
            ("a.u16", utf16("one\n")),
        ] {
            fs::write(path.join(name), content).expect("written");
        }
        git(path, &["add", "."]);
        git(path, &["commit", "-qm", "attributes"]);
        git(path, &["rm", "-q", "--cached", "-r", "."]);
        git(path, &["reset", "-q", "--hard"]);
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        for name in ["a.crlf", "a.auto", "a.id", "a.u16"] {
            let file = fs::File::options().write(true).open(path.join(name));
            file.expect("opens").set_modified(later).expect("set");
        }
        let open = world.open().await;
        open.bash("s", "git status --porcelain").await;
        idle(&world, &open, "s").await;
        assert_eq!(git(path, &["branch", "--list", "opencode/*"]), "");
        open.bash("s", "printf 'three\\r\\n' >> a.crlf; printf 'three\\r\\n' >> a.auto; echo more >> a.id; printf 't\\0\\n\\0' >> a.u16; echo x > x.bin").await;
        let said = open.ok("s", "sync", json!({})).await;
        assert!(
            said.contains("Note: Git LFS is not set up on this machine"),
            "{said}"
        );
        git(path, &["merge", "-q", "opencode/1"]);
        assert_eq!(git(path, &["status", "--porcelain"]), "");
        for (name, content) in [
            ("a.crlf", b"one\r\ntwo\r\nthree\r\n".to_vec()),
            ("a.auto", b"one\ntwo\nthree\n".to_vec()),
            ("a.u16", utf16("one\nt\n")),
        ] {
            let found = fs::read(path.join(name)).expect("there");
            assert_eq!(found, content, "{name}");
        }
        let ident = fs::read_to_string(path.join("a.id")).expect("there");
        assert!(
            ident.starts_with("$Id: ") && ident.ends_with("more\n"),
            "{ident}"
        );
    });
}
