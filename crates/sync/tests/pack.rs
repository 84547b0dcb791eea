//! What is packed is the worktree as it is, and the user's repository is not touched.

use host::Host;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{TestHost, run, write_tree};

/// Runs git with a fixed identity and none of the machine's configuration.
fn git(dir: &Path, args: &[&str]) -> String {
    let (ok, text) = try_git(dir, args);
    assert!(ok, "git {args:?}: {text}");
    text
}

fn try_git(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@localhost",
            "-c",
            "protocol.file.allow=always",
        ])
        .args(args)
        .current_dir(dir)
        .output()
        .expect("git runs");
    let text = if output.status.success() {
        &output.stdout
    } else {
        &output.stderr
    };
    (
        output.status.success(),
        String::from_utf8_lossy(text).trim().to_string(),
    )
}

/// A file as git sees it: kind and content.
#[derive(Debug, PartialEq)]
enum Node {
    File { executable: bool, content: Vec<u8> },
    Link(PathBuf),
}

/// Everything below `root` but `.git`.
fn tree(root: &Path) -> BTreeMap<Vec<u8>, Node> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
            if entry.file_name() == ".git" {
                continue;
            }
            let name = path
                .strip_prefix(root)
                .expect("below")
                .as_os_str()
                .as_bytes()
                .to_vec();
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_symlink() {
                found.insert(name, Node::Link(fs::read_link(&path).expect("a link")));
            } else {
                let executable =
                    entry.metadata().expect("metadata").permissions().mode() & 0o100 != 0;
                found.insert(
                    name,
                    Node::File {
                        executable,
                        content: fs::read(&path).expect("a file"),
                    },
                );
            }
        }
    }
    found
}

/// All of the user's git directory that a careless git would change: every file's bytes.
fn git_dir(worktree: &Path) -> BTreeMap<Vec<u8>, Node> {
    let (ok, dir) = try_git(
        worktree,
        &["rev-parse", "--path-format=absolute", "--git-common-dir"],
    );
    if ok {
        tree(Path::new(&dir))
    } else {
        BTreeMap::new()
    }
}

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Case {
        Case {
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    /// One commit with two files.
    fn repository() -> Case {
        let case = Case::new();
        fs::create_dir(case.path()).expect("made");
        git(&case.path(), &["init", "--quiet", "--initial-branch=work"]);
        write_tree(
            &case.path(),
            "//- a.txt\none\n//- dir/b.txt\ntwo\n//- .gitignore\nignored*\n",
        );
        git(&case.path(), &["add", "."]);
        git(&case.path(), &["commit", "--quiet", "-m", "first"]);
        case
    }
}

/// Packs `worktree`, checks that nothing of the user's changed, and gives what a sandbox gets.
fn carry(worktree: &Path) -> (BTreeMap<Vec<u8>, Node>, sync::Packed) {
    carry_without(worktree, &[])
}

fn carry_without(worktree: &Path, keep_out: &[&str]) -> (BTreeMap<Vec<u8>, Node>, sync::Packed) {
    let is_repository = try_git(worktree, &["rev-parse", "--git-dir"]).0;
    let (files, before) = (tree(worktree), git_dir(worktree));
    let out = tempfile::tempdir().expect("a directory");
    let packed = run(async {
        let host = TestHost::new(&[]);
        let worktree = worktree.to_string_lossy();
        let packed = sync::pack(&host, &worktree, is_repository, keep_out)
            .await
            .expect("packs");
        let sha256 = packed.commit.len() == 64;
        let format = format!("--object-format={}", if sha256 { "sha256" } else { "sha1" });
        git(out.path(), &["init", "--quiet", &format]);
        let pack = fs::File::open(&packed.pack).expect("a pack");
        let unpacked = Command::new("git")
            .args(["unpack-objects", "-q"])
            .current_dir(out.path())
            .stdin(pack)
            .status();
        assert!(unpacked.expect("git runs").success());
        let kept = packed.clone();
        packed.discard(&host).await;
        assert!(
            !Path::new(&kept.pack).exists(),
            "the temporary files are gone"
        );
        kept
    });
    assert_eq!(tree(worktree), files, "the user's files changed");
    assert!(git_dir(worktree) == before, "the user's repository changed");
    git(out.path(), &["fsck", "--strict", "--no-dangling"]);
    git(out.path(), &["checkout", "--quiet", &packed.commit]);
    assert_eq!(git(out.path(), &["rev-list", "--count", "HEAD"]), "1");
    (tree(out.path()), packed)
}

fn head(worktree: &Path) -> Option<String> {
    let (ok, head) = try_git(worktree, &["rev-parse", "HEAD"]);
    ok.then_some(head)
}

#[test]
fn every_state_of_a_repository_is_carried_as_it_is() {
    type Make = fn(&Case) -> PathBuf;
    let cases: &[(&str, &str, Make)] = &[
        ("clean", "work", |case| case.path()),
        (
            "edits, a new file, a deletion, staged and not",
            "work",
            |case| {
                let path = case.path();
                write_tree(
                    &path,
                    "//- a.txt\nchanged\n//- new/c.txt\nthree\n//- staged.txt\nstaged\n",
                );
                git(&path, &["add", "staged.txt"]);
                write_tree(&path, "//- staged.txt\nstaged and changed\n");
                fs::remove_file(path.join("dir/b.txt")).expect("removed");
                path
            },
        ),
        ("a detached head", "main", |case| {
            git(&case.path(), &["checkout", "--quiet", "--detach"]);
            case.path()
        }),
        ("a shallow clone", "work", |case| {
            write_tree(&case.path(), "//- a.txt\nsecond\n");
            git(&case.path(), &["commit", "--quiet", "-am", "second"]);
            let url = format!("file://{}", case.path().display());
            git(
                case.dir.path(),
                &["clone", "--quiet", "--depth=1", &url, "shallow"],
            );
            let shallow = case.dir.path().join("shallow");
            write_tree(&shallow, "//- a.txt\nand an edit\n");
            shallow
        }),
        ("no commits", "unborn", |case| {
            let path = case.dir.path().join("empty");
            git(
                case.dir.path(),
                &["init", "--quiet", "--initial-branch=unborn", "empty"],
            );
            write_tree(&path, "//- x\n1\n");
            path
        }),
        ("no commits and no files", "main", |case| {
            git(
                case.dir.path(),
                &["init", "--quiet", "--initial-branch=main", "empty"],
            );
            case.dir.path().join("empty")
        }),
        ("no git at all", "main", |case| {
            let path = case.dir.path().join("plain");
            write_tree(&path, "//- x/y\n1\n");
            path
        }),
        ("a linked worktree", "feature", |case| {
            git(
                &case.path(),
                &["worktree", "add", "--quiet", "-b", "feature", "../linked"],
            );
            let path = case.dir.path().join("linked");
            write_tree(&path, "//- a.txt\nedit in the linked one\n//- d\n4\n");
            path
        }),
        ("a merge conflict", "work", |case| {
            let path = case.path();
            git(&path, &["checkout", "--quiet", "-b", "side"]);
            write_tree(&path, "//- a.txt\nside\n");
            git(&path, &["commit", "--quiet", "-am", "side"]);
            git(&path, &["checkout", "--quiet", "work"]);
            write_tree(&path, "//- a.txt\nours\n");
            git(&path, &["commit", "--quiet", "-am", "ours"]);
            assert!(!try_git(&path, &["merge", "side"]).0);
            path
        }),
        ("executable bits and links", "work", |case| {
            let path = case.path();
            write_tree(&path, "//- run.sh\n#!/bin/sh\n");
            fs::set_permissions(path.join("run.sh"), fs::Permissions::from_mode(0o755))
                .expect("set");
            for (target, link) in [
                ("a.txt", "good"),
                ("nowhere", "dangling"),
                ("loop", "loop"),
                ("/etc", "out"),
            ] {
                symlink(target, path.join(link)).expect("linked");
            }
            path
        }),
        ("names of every kind", "work", |case| {
            let path = case.path();
            let names: [&[u8]; 7] = [
                b"with space",
                b"quote\"'",
                b"new\nline",
                b"\xff\xfe",
                "é".as_bytes(),
                b"-dash",
                b"$(x)",
            ];
            for name in names {
                fs::write(path.join(OsStr::from_bytes(name)), name).expect("written");
            }
            path
        }),
        ("a split index", "work", |case| {
            git(&case.path(), &["update-index", "--split-index"]);
            write_tree(&case.path(), "//- a.txt\nchanged\n");
            case.path()
        }),
        ("a path with a colon, a quote and a space", "work", |case| {
            let path = case.dir.path().join("od\"d: path");
            fs::rename(case.path(), &path).expect("renamed");
            write_tree(&path, "//- a.txt\nchanged\n");
            path
        }),
        ("sha-256", "work", |case| {
            let path = case.dir.path().join("sha256");
            git(
                case.dir.path(),
                &[
                    "init",
                    "--quiet",
                    "--initial-branch=work",
                    "--object-format=sha256",
                    "sha256",
                ],
            );
            write_tree(&path, "//- x\n1\n");
            git(&path, &["add", "."]);
            git(&path, &["commit", "--quiet", "-m", "first"]);
            path
        }),
    ];
    for (claim, branch, make) in cases {
        let case = Case::repository();
        let worktree = make(&case);
        let (carried, packed) = carry(&worktree);
        assert_eq!(carried, tree(&worktree), "{claim}");
        assert_eq!(&packed.branch, branch, "{claim}");
        assert_eq!(packed.host_head, head(&worktree), "{claim}");
    }
}

#[test]
fn what_is_ignored_stays_on_the_host() {
    let case = Case::repository();
    let path = case.path();
    write_tree(
        &path,
        "//- ignored/x\n1\n//- local\n2\n//- dir/ignored.log\n3\n//- kept\n4\n//- ignored-but-tracked\n5\n",
    );
    fs::write(path.join(".git/info/exclude"), "local\n").expect("written");
    git(&path, &["add", "--force", "ignored-but-tracked"]);
    git(&path, &["commit", "--quiet", "-m", "tracked"]);
    let (carried, _) = carry(&path);
    let names: Vec<_> = carried
        .keys()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    assert_eq!(
        names,
        [
            ".gitignore",
            "a.txt",
            "dir/b.txt",
            "ignored-but-tracked",
            "kept"
        ]
    );
}

#[test]
fn a_repository_that_runs_programs_runs_none() {
    let case = Case::repository();
    let path = case.path();
    let mark = case.dir.path().join("ran");
    let hook = format!("#!/bin/sh\ntouch '{}'\n", mark.display());
    for name in [
        "pre-commit",
        "post-index-change",
        "reference-transaction",
        "post-checkout",
        "fsmonitor",
    ] {
        let file = path.join(".git/hooks").join(name);
        fs::create_dir_all(file.parent().expect("a directory")).expect("made");
        fs::write(&file, &hook).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("set");
    }
    git(&path, &["config", "core.fsmonitor", ".git/hooks/fsmonitor"]);
    git(&path, &["config", "commit.gpgSign", "true"]);
    let _ = fs::remove_file(&mark);
    let host = TestHost::new(&[]);
    run(async {
        let packed = sync::pack(&host, &path.to_string_lossy(), true, &[])
            .await
            .expect("packs");
        packed.discard(&host).await;
    });
    assert!(!mark.exists());
}

#[test]
fn what_is_kept_out_is_not_in_the_pack_and_stays_on_the_host() {
    for tracked in [true, false] {
        let case = Case::repository();
        let path = case.path();
        write_tree(
            &path,
            "//- .env\nDAYTONA_API_KEY=secret\n//- sub/.env\nA=1\n",
        );
        if tracked {
            git(&path, &["add", "."]);
            git(&path, &["commit", "--quiet", "-m", "x"]);
        }
        let (files, _) = carry_without(&path, &[".env"]);
        assert!(!files.contains_key(&b".env"[..]), "{files:?}");
        assert!(files.contains_key(&b"sub/.env"[..]), "{files:?}");
    }
}

#[test]
fn what_is_no_project_or_too_large_is_refused() {
    run(async {
        let case = Case::repository();
        let path = case.path().to_string_lossy().into_owned();
        let parent = format!("{path}/..");
        let parent = fs::canonicalize(parent).expect("a parent");
        let parent = parent.to_string_lossy();
        let slash = format!("{path}/");
        for home in [&path, &slash] {
            let host = TestHost::new(&[("HOME", home)]);
            for (worktree, repository) in [
                ("/", true),
                ("", true),
                ("C:\\", false),
                (&path, true),
                (&slash, false),
                (&parent, false),
            ] {
                let packed = sync::pack(&host, worktree, repository, &[]).await;
                let error = packed.expect_err(worktree);
                assert!(matches!(error, sync::Error::NotAProject { .. }), "{error}");
            }
        }
        let host = TestHost::new(&[]);
        let error = sync::pack_within(&host, &path, true, &[], 10)
            .await
            .expect_err("too large");
        assert!(error.to_string().contains(".gitignore"), "{error}");
        assert!(host.env("HOME").is_none());
        let error = sync::pack(&host, "/no/such/directory", false, &[])
            .await
            .expect_err("not there");
        assert!(error.to_string().contains("git"), "{error}");
    });
}
