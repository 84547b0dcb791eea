//! What is packed is the worktree as it is, and the user's repository is not touched.

use git_bridge::Start;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use testkit::{TestHost, git, run, try_git, unpack, write_tree};

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

/// What a sandbox gets: the files, and a repository to ask.
struct Carried {
    files: BTreeMap<Vec<u8>, Node>,
    packed: git_bridge::Packed,
    sandbox: tempfile::TempDir,
}

fn project(worktree: &Path, depot: &Path) -> git_bridge::Project {
    let is_repository = try_git(worktree, &["rev-parse", "--git-dir"]).0;
    let host = Arc::new(TestHost::new(&[]));
    git_bridge::Project::new(
        host,
        &worktree.to_string_lossy(),
        is_repository,
        &depot.to_string_lossy(),
    )
}

/// Packs `worktree`, checks that nothing of the user's changed, and unpacks as a sandbox does.
fn carry(worktree: &Path, start: &Start) -> Carried {
    let (files, before) = (tree(worktree), git_dir(worktree));
    let out = tempfile::tempdir().expect("a directory");
    let depot = tempfile::tempdir().expect("a directory");
    let packed = run(async {
        let project = project(worktree, &depot.path().join("depot.git"));
        let packed = project.pack("ses_1", start).await.expect("packs");
        let sha256 = packed.commit.len() == 64;
        let format = format!("--object-format={}", if sha256 { "sha256" } else { "sha1" });
        git(out.path(), &["init", "--quiet", &format]);
        let shallow = packed.shallow.join("\n");
        if !shallow.is_empty() {
            fs::write(out.path().join(".git/shallow"), shallow + "\n").expect("written");
        }
        unpack(out.path(), packed.packs.iter().map(|pack| &pack.path));
        let kept = packed.clone();
        packed.discard(&TestHost::new(&[])).await;
        assert!(
            !Path::new(&kept.packs[0].path).exists(),
            "the temporary files are gone"
        );
        kept
    });
    assert_eq!(tree(worktree), files, "the user's files changed");
    assert!(git_dir(worktree) == before, "the user's repository changed");
    git(out.path(), &["fsck", "--strict", "--no-dangling"]);
    git(out.path(), &["checkout", "--quiet", &packed.commit]);
    Carried {
        files: tree(out.path()),
        packed,
        sandbox: out,
    }
}

fn history(history: usize) -> Start {
    Start {
        history,
        ..Start::default()
    }
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
        for depth in [0, 50] {
            let carried = carry(&worktree, &history(depth));
            assert_eq!(carried.files, tree(&worktree), "{claim}");
            assert_eq!(&carried.packed.branch, branch, "{claim}");
            assert_eq!(carried.packed.host_head, head(&worktree), "{claim}");
        }
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
    let carried = carry(&path, &history(0)).files;
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
    let filter = format!("touch '{}'; cat", mark.display());
    for key in [
        "filter.own.clean",
        "filter.own.smudge",
        "filter.a b=c.process",
    ] {
        git(&path, &["config", key, &filter]);
    }
    git(&path, &["config", "filter.own.required", "true"]);
    write_tree(
        &path,
        "//- .gitattributes\n*.own filter=own\n//- new.own\nas it is\n",
    );
    let _ = fs::remove_file(&mark);
    let files = carry(&path, &history(5)).files;
    assert!(!mark.exists());
    let as_it_is = Node::File {
        executable: false,
        content: "as it is\n".into(),
    };
    assert_eq!(files[&b"new.own"[..]], as_it_is);
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
        let start = Start {
            history: 50,
            keep_out: vec![".env".into()],
            ..Start::default()
        };
        let carried = carry(&path, &start);
        let everything = git(carried.sandbox.path(), &["rev-list", "--objects", "HEAD"]);
        assert!(!everything.contains(" .env"), "{everything}");
        let files = carried.files;
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
        let depot = case.dir.path().join("depot.git");
        let depot = depot.to_string_lossy();
        let pack = async |env: &[(&str, &str)], worktree: &str, repository, limit| {
            let host = Arc::new(TestHost::new(env));
            let project =
                git_bridge::Project::new(host, worktree, repository, &depot).with_limit(limit);
            let packed = project.pack("ses_1", &Start::default()).await;
            packed.map(drop).expect_err(worktree)
        };
        let slash = format!("{path}/");
        for home in [&path, &slash] {
            for (worktree, repository) in [
                ("/", true),
                ("", true),
                (&path, true),
                (&slash, false),
                (&parent, false),
            ] {
                let error = pack(
                    &[("HOME", home)],
                    worktree,
                    repository,
                    git_bridge::MAX_PACK,
                )
                .await;
                assert!(
                    matches!(error, git_bridge::Error::NotAProject { .. }),
                    "{error}"
                );
            }
        }
        let error = pack(&[], &path, true, 10).await;
        assert!(error.to_string().contains(".gitignore"), "{error}");
        let error = pack(&[], "/no/such/directory", false, git_bridge::MAX_PACK).await;
        assert!(error.to_string().contains("git"), "{error}");
    });
}

#[test]
fn a_home_or_a_root_is_no_project_on_any_platform() {
    use host::Platform::{Linux, Mac, Windows};
    let me = r"C:\Users\me";
    for (platform, name, home, worktree, is_repository, is_none) in [
        (Linux, "HOME", "/home/me", "/", true, true),
        (Linux, "HOME", "/home/me", "/home/me/", true, true),
        (Linux, "HOME", "/home/me", "/home", false, true),
        (Linux, "HOME", "/home/me", "/home", true, false),
        (Linux, "HOME", "/home/me", "/home/me/app", false, false),
        (Linux, "HOME", "/home/me", "/home/ME", true, false),
        (Mac, "HOME", "/Users/me", "/Users/me", true, true),
        (Mac, "HOME", "/Users/me", "/Users/me/app", true, false),
        (Windows, "USERPROFILE", me, r"C:\", true, true),
        (Windows, "USERPROFILE", me, "D:", true, true),
        (Windows, "USERPROFILE", me, r"\\server\share\", true, true),
        (
            Windows,
            "USERPROFILE",
            me,
            r"\\server\share\app",
            true,
            false,
        ),
        (Windows, "USERPROFILE", me, r"C:\Users\me", true, true),
        // As git writes it.
        (Windows, "USERPROFILE", me, "c:/users/ME", true, true),
        (Windows, "HOME", "C:/Users/me/", r"C:\Users\me", true, true),
        (Windows, "USERPROFILE", me, "C:/Users", false, true),
        (Windows, "USERPROFILE", me, "C:/Users", true, false),
        (Windows, "USERPROFILE", me, "C:/Users/me/app", false, false),
        (Windows, "USERPROFILE", me, "C:/Users/men", false, false),
    ] {
        let host = TestHost::new(&[(name, home)]);
        host.platform.set(platform);
        let found = git_bridge::is_no_project(&host, worktree, is_repository);
        assert_eq!(found, is_none, "{platform:?} {worktree} {is_repository}");
    }
}

/// Six commits in a row, and a merge on top.
fn with_history() -> Case {
    let case = Case::repository();
    let path = case.path();
    for n in 2..=6 {
        write_tree(&path, &format!("//- a.txt\nline {n}\n"));
        git(&path, &["commit", "--quiet", "-am", &format!("commit {n}")]);
    }
    git(&path, &["checkout", "--quiet", "-b", "side", "HEAD~2"]);
    write_tree(&path, "//- side.txt\nside\n");
    git(&path, &["add", "."]);
    git(&path, &["commit", "--quiet", "-m", "side"]);
    git(&path, &["checkout", "--quiet", "work"]);
    git(&path, &["merge", "--quiet", "--no-edit", "side"]);
    case
}

#[test]
fn history_goes_along_as_deep_as_a_clone_of_that_depth() {
    for (depth, dirty) in [
        (0, false),
        (1, false),
        (3, false),
        (3, true),
        (0, true),
        (50, true),
    ] {
        let case = with_history();
        let path = case.path();
        let commit = head(&path).expect("a commit");
        if dirty {
            write_tree(&path, "//- a.txt\nnot committed\n");
        }
        let carried = carry(&path, &history(depth));
        let sandbox = carried.sandbox.path();
        let log = |dir: &Path, from: &str| {
            let mut lines: Vec<String> = git(dir, &["log", "--format=%H", from])
                .lines()
                .map(str::to_string)
                .collect();
            lines.sort();
            lines
        };
        let tip = if dirty { "HEAD^" } else { "HEAD" };
        if depth == 0 {
            assert_eq!(git(sandbox, &["rev-list", "--count", "HEAD"]), "1");
        } else {
            assert_eq!(git(sandbox, &["rev-parse", tip]), commit);
            let url = format!("file://{}", path.display());
            let depth = format!("--depth={depth}");
            git(
                case.dir.path(),
                &["clone", "--quiet", &depth, &url, "clone"],
            );
            assert_eq!(
                log(sandbox, tip),
                log(&case.dir.path().join("clone"), "HEAD")
            );
            git(sandbox, &["blame", "a.txt"]);
        }
        assert_eq!(carried.packed.commit == commit, !dirty);
        assert_eq!(git(sandbox, &["status", "--porcelain"]), "");
    }
}

#[test]
fn what_the_sandbox_has_already_does_not_travel_again() {
    let case = with_history();
    let path = case.path();
    let noise: String = (0..20_000u32)
        .map(|n| format!("{:x}\n", n.wrapping_mul(2_654_435_761)))
        .collect();
    fs::write(path.join("large"), noise).expect("written");
    git(&path, &["add", "."]);
    git(&path, &["commit", "--quiet", "-m", "large"]);
    let prepared = head(&path).expect("a commit");
    write_tree(&path, "//- a.txt\nnewer\n");
    git(&path, &["commit", "--quiet", "-am", "newer"]);
    run(async {
        let project = project(&path, &case.dir.path().join("depot.git"));
        let size = async |known: Vec<String>| {
            let start = Start {
                history: 50,
                known,
                ..Start::default()
            };
            let packed = project.pack("ses_1", &start).await.expect("packs");
            (packed.size(), packed.without)
        };
        let (all, _) = size(vec![]).await;
        let unknown = "0123456789012345678901234567890123456789".to_string();
        let (less, without) = size(vec![unknown, prepared.clone()]).await;
        assert_eq!(without, [prepared]);
        assert!(less * 20 < all, "{less} of {all}");
    });
}

#[test]
fn settings_of_the_repository_hold_while_it_is_read() {
    let case = Case::repository();
    let path = case.path();
    git(&path, &["config", "core.autocrlf", "true"]);
    git(&path, &["config", "core.fileMode", "false"]);
    fs::write(path.join("a.txt"), "one\r\n").expect("written");
    fs::set_permissions(path.join("a.txt"), fs::Permissions::from_mode(0o755)).expect("set");
    fs::write(path.join(".git/info/attributes"), "*.bin -text\n").expect("written");
    fs::write(path.join("x.bin"), "raw\r\n").expect("written");
    let carried = carry(&path, &history(5));
    let plain = |content: &str| Node::File {
        executable: false,
        content: content.into(),
    };
    assert_eq!(carried.files[&b"a.txt"[..]], plain("one\n"));
    assert_eq!(carried.files[&b"x.bin"[..]], plain("raw\r\n"));
    assert_eq!(
        git(carried.sandbox.path(), &["diff", "--name-only", "HEAD^"]),
        "x.bin"
    );
}

#[test]
fn a_worktree_as_windows_or_macos_has_it_goes_in_as_git_has_it() {
    let windows = &[
        ("core.autocrlf", "true"),
        ("core.fileMode", "false"),
        ("core.symlinks", "false"),
        ("core.ignoreCase", "true"),
    ][..];
    let mac = &[
        ("core.precomposeUnicode", "true"),
        ("core.ignoreCase", "true"),
    ][..];
    for (settings, line_end) in [(windows, "\r\n"), (mac, "\n")] {
        let case = Case::repository();
        let path = case.path();
        // Composed, and not: git on macOS keeps the first of an accented letter's two forms.
        let names = ["\u{e9}.txt", "e\u{301}.txt"];
        for name in ["run.sh", "edited.sh", names[0], names[1]] {
            fs::write(path.join(name), "one\ntwo\n").expect("written");
        }
        for name in ["run.sh", "edited.sh"] {
            fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o755)).expect("set");
        }
        symlink("a.txt", path.join("way")).expect("linked");
        git(&path, &["add", "."]);
        git(&path, &["commit", "--quiet", "-m", "all kinds"]);
        for (name, value) in settings {
            git(&path, &["config", name, value]);
        }
        if settings == windows {
            // As a checkout there leaves them: no mode, no link, and other line ends.
            for name in ["run.sh", "edited.sh"] {
                let mode = fs::Permissions::from_mode(0o644);
                fs::set_permissions(path.join(name), mode).expect("set");
            }
            fs::remove_file(path.join("way")).expect("removed");
            fs::write(path.join("way"), "a.txt").expect("written");
            fs::write(path.join("run.sh"), "one\r\ntwo\r\n").expect("written");
        }
        let edited = ["one", "TWO", ""].join(line_end);
        fs::write(path.join("edited.sh"), &edited).expect("written");
        let carried = carry(&path, &history(5));
        let file = |content: &str, executable| Node::File {
            executable,
            content: content.into(),
        };
        let expected = [
            ("run.sh", file("one\ntwo\n", true)),
            ("edited.sh", file("one\nTWO\n", true)),
            (names[0], file("one\ntwo\n", false)),
            (names[1], file("one\ntwo\n", false)),
            ("way", Node::Link("a.txt".into())),
        ];
        for (name, node) in expected {
            assert_eq!(carried.files[name.as_bytes()], node, "{settings:?} {name}");
        }
        let changed = git(carried.sandbox.path(), &["diff", "--name-only", "HEAD^"]);
        assert_eq!(changed, "edited.sh", "{settings:?}");
    }
}

/// Git looks at a file's content again if it may have been written after the index, and tells that by
/// the times of both in whole seconds. Here it can tell by nothing else: size and time are equal.
#[test]
fn an_edit_in_the_second_of_the_index_is_carried() {
    let case = Case::repository();
    let path = case.path();
    git(&path, &["config", "core.trustctime", "false"]);
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let write = |content: &str| {
        fs::write(path.join("a.txt"), content).expect("written");
        set_modified(&path.join("a.txt"), then);
    };
    write("was\n");
    git(&path, &["commit", "--quiet", "-am", "second"]);
    set_modified(&path.join(".git/index"), then);
    write("now\n");
    let carried = carry(&path, &history(5));
    let Node::File { content, .. } = &carried.files[&b"a.txt"[..]] else {
        panic!("a.txt is no file");
    };
    assert_eq!(content, b"now\n");
}

#[test]
fn a_depot_that_another_process_has_begun_is_not_used_as_if_it_were_whole() {
    let case = Case::repository();
    let depot = case.dir.path().join("depot.git");
    // Git makes these first, and the objects last.
    fs::create_dir_all(depot.join("refs")).expect("made");
    fs::write(depot.join("HEAD"), "ref: refs/heads/main\n").expect("written");
    let project = project(&case.path(), &depot);
    let packed = run(async { project.pack("ses_1", &history(5)).await });
    packed.expect("packs");
}

/// A filter of the user's own does not run for us. Git looks at a file that was written in the second of
/// the index again, and would take it as the worktree has it.
#[test]
fn a_filtered_file_that_nobody_wrote_goes_in_as_the_users_index_has_it() {
    let case = Case::repository();
    let path = case.path();
    git(&path, &["config", "filter.upper.clean", "tr a-z A-Z"]);
    let attributes = "*.up filter=upper\n";
    fs::write(path.join(".gitattributes"), attributes).expect("written");
    let then = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 250_000_000);
    for name in ["same.up", "edited.up"] {
        fs::write(path.join(name), "text\n").expect("written");
        set_modified(&path.join(name), then);
    }
    git(&path, &["add", "--all"]);
    // The index is not younger than the files, and the one edit is told by the millisecond alone.
    set_modified(&path.join(".git/index"), then);
    fs::write(path.join("edited.up"), "next\n").expect("written");
    set_modified(&path.join("edited.up"), then + Duration::from_millis(1));
    let carried = carry(&path, &history(5));
    for (name, expected) in [("same.up", "TEXT\n"), ("edited.up", "next\n")] {
        let Node::File { content, .. } = &carried.files[name.as_bytes()] else {
            panic!("{name} is no file");
        };
        assert_eq!(String::from_utf8_lossy(content), expected, "{name}");
    }
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = fs::File::options().write(true).open(path).expect("opened");
    file.set_modified(time).expect("set");
}

#[test]
fn a_submodule_is_its_commit_and_lfs_files_are_their_pointers() {
    let case = Case::repository();
    let path = case.path();
    let other = Case::repository();
    let url = other.path().to_string_lossy().into_owned();
    git(&path, &["submodule", "--quiet", "add", &url, "module"]);
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    fs::write(path.join("large.bin"), pointer).expect("written");
    fs::write(
        path.join(".gitattributes"),
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    )
    .expect("written");
    let carried = carry(&path, &history(5));
    let listed = git(carried.sandbox.path(), &["ls-tree", "HEAD", "module"]);
    assert!(listed.starts_with("160000 commit"), "{listed}");
    assert!(!carried.files.contains_key(&b"module/a.txt"[..]));
    let expected = Node::File {
        executable: false,
        content: pointer.into(),
    };
    assert_eq!(carried.files[&b"large.bin"[..]], expected);
}

#[test]
fn a_part_of_a_repository_is_a_tree_of_its_own() {
    let case = Case::repository();
    let carried = carry(&case.path().join("dir"), &history(50));
    assert_eq!(carried.files.keys().collect::<Vec<_>>(), [b"b.txt"]);
    assert_eq!(carried.packed.host_head, None);
}

#[test]
fn a_repository_in_the_worktree_does_not_keep_the_rest_from_travelling() {
    for commits in [false, true] {
        let case = Case::repository();
        let path = case.path();
        git(&path, &["init", "--quiet", "inner"]);
        write_tree(&path, "//- inner/x\n1\n//- new\n2\n");
        if commits {
            git(&path.join("inner"), &["add", "."]);
            git(&path.join("inner"), &["commit", "--quiet", "-m", "inner"]);
        }
        let files = carry(&path, &history(0)).files;
        assert!(files.contains_key(&b"new"[..]), "{files:?}");
    }
}
