//! What a hostile or broken sandbox sends is refused whole: nothing of the user's changes, nothing
//! runs, and the next good bundle arrives.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use sync::{Applied, Error, Incoming, Landed, Project, Start, Tip};
use testkit::{TestHost, run, write_tree};

const SESSION: &str = "ses_1";
const BRANCH: &str = "opencode/1";
const IDENTITY: &str = "agent <agent@sandbox> 1700000000 +0000";

fn git(dir: &Path, args: &[&str]) -> String {
    let (ok, text) = try_git(dir, args);
    assert!(ok, "git {args:?}: {text}");
    text
}

fn try_git(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@localhost"])
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ])
        .args(args)
        .current_dir(dir)
        .output()
        .expect("git runs");
    let text = match output.status.success() {
        true => &output.stdout,
        false => &output.stderr,
    };
    let text = String::from_utf8_lossy(text).trim().to_string();
    (output.status.success(), text)
}

/// Standard output of a git that gets `input`.
fn feed(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("ends");
    writer.join().expect("joins").expect("git reads its input");
    assert!(output.status.success(), "git {args:?}");
    output.stdout
}

/// Every file below a directory, with its bytes; a link with its target.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("a directory").flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
            if kind.is_dir() {
                dirs.push(path);
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                found.insert(path, target.into_os_string().into_encoded_bytes());
            } else {
                let content = fs::read(&path).expect("a file");
                found.insert(path, content);
            }
        }
    }
    found
}

/// The names of what differs.
fn difference(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
) -> Vec<PathBuf> {
    let names = before.keys().chain(after.keys());
    let mut names: Vec<PathBuf> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect();
    names.dedup();
    names
}

/// A user's project, its depot, and a sandbox that makes whatever objects it likes.
struct World {
    dir: tempfile::TempDir,
    base: String,
    head: String,
}

/// What the sandbox sends.
#[derive(Clone)]
struct Sent {
    tip: String,
    branches: Vec<(String, String)>,
    bundle: Option<Vec<u8>>,
}

impl World {
    fn new() -> World {
        World::of(&["init", "--quiet", "--initial-branch=main", "project"])
    }

    fn of(init: &[&str]) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        git(dir.path(), init);
        let path = dir.path().join("project");
        write_tree(&path, "//- a.txt\none\ntwo\n//- dir/b.txt\nb\n");
        git(&path, &["add", "."]);
        git(&path, &["commit", "--quiet", "-m", "first"]);
        write_tree(&path, "//- draft.txt\nnot committed\n");
        World::around(dir)
    }

    /// With `project` in `dir`.
    fn around(dir: tempfile::TempDir) -> World {
        let mut world = World {
            dir,
            base: String::new(),
            head: String::new(),
        };
        let packed = run(async {
            let start = Start::default();
            let packed = world.project().pack(SESSION, &start).await;
            let packed = packed.expect("packs");
            packed.clone().discard(&TestHost::new(&[])).await;
            packed
        });
        world.base = packed.commit;
        world.head = packed.host_head.unwrap_or_default();
        let format = match world.base.len() {
            64 => "--object-format=sha256",
            _ => "--object-format=sha1",
        };
        git(
            world.dir.path(),
            &["init", "--quiet", "--bare", format, "sandbox"],
        );
        let objects = format!("{}/objects\n", world.depot().display());
        fs::write(world.sandbox().join("objects/info/alternates"), objects).expect("written");
        world.plant();
        world
    }

    /// Programs that must never run.
    fn plant(&self) {
        let program = self.dir.path().join("canary.sh");
        let canary = self.canary();
        let script = format!("#!/bin/sh\necho \"$0 $*\" >>'{}'\n", canary.display());
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
        let users = git(
            &self.path(),
            &["rev-parse", "--path-format=absolute", "--git-common-dir"],
        );
        for dir in [PathBuf::from(users), self.depot()] {
            fs::create_dir_all(dir.join("hooks")).expect("made");
            for hook in [
                "reference-transaction",
                "post-index-change",
                "pre-auto-gc",
                "post-checkout",
                "post-update",
                "pre-receive",
                "update",
                "pre-applypatch",
            ] {
                let _ = fs::remove_file(dir.join("hooks").join(hook));
                symlink(&program, dir.join("hooks").join(hook)).expect("linked");
            }
        }
        let program = program.to_string_lossy();
        for name in [
            "core.fsmonitor",
            "core.pager",
            "core.editor",
            "filter.planted.clean",
            "filter.planted.smudge",
            "diff.external",
            "core.alternateRefsCommand",
            "uploadpack.packObjectsHook",
            "gpg.program",
        ] {
            git(&self.path(), &["config", name, &program]);
        }
        let _ = fs::remove_file(canary);
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn depot(&self) -> PathBuf {
        self.dir.path().join("depot.git")
    }

    fn sandbox(&self) -> PathBuf {
        self.dir.path().join("sandbox")
    }

    fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    fn project(&self) -> Project {
        let host = Rc::new(TestHost::new(&[]));
        let depot = self.depot();
        Project::new(
            host,
            &self.path().to_string_lossy(),
            true,
            &depot.to_string_lossy(),
        )
    }

    /// An object with any content.
    fn object(&self, kind: &str, content: &[u8]) -> String {
        let args = ["hash-object", "-t", kind, "--literally", "-w", "--stdin"];
        let hash = feed(&self.sandbox(), &args, content);
        String::from_utf8_lossy(&hash).trim().to_string()
    }

    fn blob(&self) -> String {
        self.object("blob", b"content\n")
    }

    /// A tree with any entries, in any order.
    fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut raw = Vec::new();
        for (mode, name, hash) in entries {
            raw.extend_from_slice(mode.as_bytes());
            raw.push(b' ');
            raw.extend_from_slice(name);
            raw.push(0);
            let nibble = |at: usize| u8::from_str_radix(&hash[at..at + 2], 16).expect("hex");
            raw.extend((0..hash.len()).step_by(2).map(nibble));
        }
        self.object("tree", &raw)
    }

    fn commit(&self, tree: &str, parents: &[&str]) -> String {
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            text.push_str(&format!("parent {parent}\n"));
        }
        text.push_str(&format!(
            "author {IDENTITY}\ncommitter {IDENTITY}\n\nwork\n"
        ));
        self.object("commit", text.as_bytes())
    }

    /// These objects and no others.
    fn pack(&self, objects: &[&str]) -> Vec<u8> {
        let list = objects.join("\n") + "\n";
        let args = ["pack-objects", "--stdout", "--quiet"];
        feed(&self.sandbox(), &args, list.as_bytes())
    }

    fn head(&self, refs: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!("# v2 git bundle\n-{} base\n", self.base);
        if self.base.len() == 64 {
            head = head.replace(
                "# v2 git bundle\n",
                "# v3 git bundle\n@object-format=sha256\n",
            );
        }
        for (hash, name) in refs {
            head.push_str(&format!("{hash} {name}\n"));
        }
        (head + "\n").into_bytes()
    }

    fn sent(&self, tip: &str, objects: &[&str]) -> Sent {
        let head = self.head(&[(tip, "refs/opencode/out/0")]);
        Sent {
            tip: tip.into(),
            branches: Vec::new(),
            bundle: Some([head, self.pack(objects)].concat()),
        }
    }

    /// With another head.
    fn headed(&self, head: Vec<u8>) -> Sent {
        let (tip, objects) = self.work("headed");
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        let bundle = Some([head, self.pack(&objects)].concat());
        Sent {
            tip,
            branches: Vec::new(),
            bundle,
        }
    }

    /// A commit on top of the base, with one file more; and its objects.
    fn work(&self, name: &str) -> (String, Vec<String>) {
        self.work_on(&self.base, name)
    }

    fn work_on(&self, parent: &str, name: &str) -> (String, Vec<String>) {
        let blob = self.object("blob", name.as_bytes());
        let listed = feed(&self.sandbox(), &["ls-tree", "-z", parent], b"");
        let entry = format!("100644 blob {blob}\t{name}\0");
        let tree = feed(
            &self.sandbox(),
            &["mktree", "-z"],
            &[listed, entry.into_bytes()].concat(),
        );
        let tree = String::from_utf8_lossy(&tree).trim().to_string();
        let commit = self.commit(&tree, &[parent]);
        (commit.clone(), vec![blob, tree, commit])
    }

    fn good(&self, name: &str) -> Sent {
        let (tip, objects) = self.work(name);
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        self.sent(&tip, &objects)
    }

    /// A root tree of these entries.
    fn with_tree(&self, entries: &[(&str, &[u8], &str)]) -> Sent {
        let tree = self.tree(entries);
        let commit = self.commit(&tree, &[&self.base]);
        let mut objects = vec![tree.as_str(), &commit];
        let own: Vec<&str> = (entries.iter())
            .filter(|(mode, ..)| *mode != "160000")
            .map(|(_, _, hash)| *hash)
            .collect();
        objects.extend(&own);
        objects.sort();
        objects.dedup();
        self.sent(&commit, &objects)
    }

    fn raw_commit(&self, head: &str, message: &[u8]) -> Sent {
        let blob = self.blob();
        let tree = self.tree(&[("100644", b"f", &blob)]);
        let text = format!("tree {tree}\nparent {}\n{head}\n", self.base);
        let commit = self.object("commit", &[text.as_bytes(), message].concat());
        self.sent(&commit, &[&blob, &tree, &commit])
    }

    async fn receive_with(&self, project: &Project, sent: &Sent) -> Result<Incoming, Error> {
        let file = self.dir.path().join("work.bundle");
        let mut incoming = Incoming {
            tip: sent.tip.clone(),
            branches: sent.branches.clone(),
            bundle: None,
        };
        if let Some(bytes) = &sent.bundle {
            fs::write(&file, bytes).expect("written");
            incoming.bundle = Some(file.to_string_lossy().into_owned());
        }
        let head = self.host_head();
        project
            .receive(SESSION, &incoming, head, true)
            .await
            .map(|()| incoming)
    }

    async fn receive(&self, sent: &Sent) -> Result<Incoming, Error> {
        self.receive_with(&self.project(), sent).await
    }

    fn host_head(&self) -> Option<&str> {
        Some(self.head.as_str()).filter(|head| !head.is_empty())
    }

    async fn land(&self, incoming: &Incoming, last: Option<&str>) -> Result<Landed, Error> {
        let tip = Tip {
            session: SESSION,
            branch: BRANCH,
            last,
        };
        self.project().land(tip, incoming, self.host_head()).await
    }

    /// Received and landed.
    async fn home(&self, sent: &Sent, last: Option<&str>) -> Result<Landed, Error> {
        let incoming = self.receive(sent).await?;
        self.land(&incoming, last).await
    }

    fn users(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.path())
    }

    /// Nothing ran, and the user's repository is whole.
    fn check(&self, case: &str) {
        let ran = fs::read_to_string(self.canary()).unwrap_or_default();
        assert_eq!(ran, "", "{case}: a program ran");
        let (ok, found) = try_git(&self.path(), &["fsck", "--strict", "--full"]);
        assert!(ok, "{case}: {found}");
        let _ = fs::remove_file(self.canary());
    }
}

fn flipped(sent: Sent, at: impl Fn(usize) -> usize) -> Sent {
    let mut bytes = sent.bundle.expect("a bundle");
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    Sent {
        bundle: Some(bytes),
        ..sent
    }
}

fn cut(sent: Sent, to: impl Fn(usize) -> usize) -> Sent {
    let mut bytes = sent.bundle.expect("a bundle");
    bytes.truncate(to(bytes.len()));
    Sent {
        bundle: Some(bytes),
        ..sent
    }
}

fn gitmodules(world: &World, content: &str) -> Sent {
    let blob = world.object("blob", content.as_bytes());
    world.with_tree(&[("100644", b".gitmodules", &blob)])
}

type Make = fn(&World) -> Sent;

const REFUSED: &[(&str, Make)] = &[
    ("an empty file", |w| cut(w.good("x"), |_| 0)),
    ("half a head", |w| cut(w.good("x"), |_| 30)),
    ("no pack", |w| {
        let head = w.head(&[(&w.work("x").0, "refs/opencode/out/0")]);
        cut(w.good("x"), move |_| head.len())
    }),
    ("half a pack", |w| cut(w.good("x"), |all| all - 60)),
    ("no trailer", |w| cut(w.good("x"), |all| all - 20)),
    ("half a trailer", |w| cut(w.good("x"), |all| all - 3)),
    ("a flipped signature", |w| flipped(w.good("x"), |_| 3)),
    ("a flipped byte in the pack", |w| {
        flipped(w.good("x"), |all| all - 60)
    }),
    ("a flipped byte in the trailer", |w| {
        flipped(w.good("x"), |all| all - 1)
    }),
    ("something behind the pack", |w| {
        let mut sent = w.good("x");
        sent.bundle.as_mut().expect("a bundle").extend([0; 40]);
        sent
    }),
    ("another commit in refs", |w| {
        w.headed(w.head(&[(&w.base, "refs/opencode/out/0")]))
    }),
    ("no refs", |w| w.headed(w.head(&[]))),
    ("a ref main beside", |w| {
        let tip = w.work("headed").0;
        w.headed(w.head(&[(&tip, "refs/opencode/out/0"), (&tip, "refs/heads/main")]))
    }),
    ("a ref HEAD", |w| {
        w.headed(w.head(&[(&w.work("headed").0, "HEAD")]))
    }),
    ("a ref that leads out", |w| {
        w.headed(w.head(&[(&w.work("headed").0, "refs/opencode/out/../../heads/main")]))
    }),
    ("version 3 with a filter", |w| {
        let tip = w.work("headed").0;
        let head = format!("# v3 git bundle\n@filter=blob:none\n{tip} refs/opencode/out/0\n\n");
        w.headed(head.into_bytes())
    }),
    ("another hash in version 3", |w| {
        let tip = w.work("headed").0;
        let head = format!("# v3 git bundle\n@object-format=sha256\n{tip} refs/opencode/out/0\n\n");
        w.headed(head.into_bytes())
    }),
    ("a tip that is a blob", |w| w.sent(&w.blob(), &[&w.blob()])),
    ("a tip that is a tree", |w| {
        let tree = w.tree(&[("100644", b"f", &w.blob())]);
        w.sent(&tree, &[&tree, &w.blob()])
    }),
    ("a tip that is a tag", |w| {
        let commit = w.work("x");
        let tag = format!(
            "object {}\ntype commit\ntag t\ntagger {IDENTITY}\n\nm\n",
            commit.0
        );
        let tag = w.object("tag", tag.as_bytes());
        let objects: Vec<&str> = commit.1.iter().map(String::as_str).chain([&*tag]).collect();
        w.sent(&tag, &objects)
    }),
    ("a tip that nobody has", |_| Sent {
        tip: "1234567890123456789012345678901234567890".into(),
        branches: Vec::new(),
        bundle: None,
    }),
    ("a tip that is no hash", |_| Sent {
        tip: "main".into(),
        branches: Vec::new(),
        bundle: None,
    }),
    ("a tip that is an option", |_| Sent {
        tip: "--all".into(),
        branches: Vec::new(),
        bundle: None,
    }),
    ("a tip of the other hash's length", |_| Sent {
        tip: "1".repeat(64),
        branches: Vec::new(),
        bundle: None,
    }),
    ("a branch that is no hash", |w| Sent {
        branches: vec![("x".into(), "HEAD".into())],
        ..w.good("x")
    }),
    ("a branch that nobody has", |w| Sent {
        branches: vec![("x".into(), "1".repeat(40))],
        ..w.good("x")
    }),
    ("too many branches", |w| {
        let sent = w.good("x");
        let branches = (0..10_000).map(|n| (format!("b{n}"), sent.tip.clone()));
        Sent {
            branches: branches.collect(),
            ..sent
        }
    }),
    ("a missing blob", |w| {
        let (tip, objects) = w.work("missing blob");
        w.sent(&tip, &[&objects[1], &objects[2]])
    }),
    ("a missing tree", |w| {
        let (tip, objects) = w.work("missing tree");
        w.sent(&tip, &[&objects[0], &objects[2]])
    }),
    ("a missing parent", |w| {
        let parent = w.work("missing parent").0;
        let (tip, objects) = w.work_on(&parent, "y");
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        w.sent(&tip, &objects)
    }),
    (".git", |w| w.with_tree(&[("100644", b".git", &w.blob())])),
    (".GIT", |w| w.with_tree(&[("100644", b".GIT", &w.blob())])),
    (".git as a directory with a hook", |w| {
        let hooks = w.tree(&[("100755", b"post-checkout", &w.blob())]);
        let dot = w.tree(&[("40000", b"hooks", &hooks)]);
        let root = w.tree(&[("40000", b".Git", &dot)]);
        let tip = w.commit(&root, &[&w.base]);
        w.sent(&tip, &[&hooks, &dot, &root, &tip, &w.blob()])
    }),
    (".git with a space, as Windows drops it", |w| {
        w.with_tree(&[("100644", b".git ", &w.blob())])
    }),
    (".git with a dot", |w| {
        w.with_tree(&[("100644", b".git.", &w.blob())])
    }),
    (".git as a stream of NTFS", |w| {
        w.with_tree(&[("100644", b".git::$INDEX_ALLOCATION", &w.blob())])
    }),
    (".git with characters that HFS ignores", |w| {
        w.with_tree(&[("100644", ".g\u{200c}it".as_bytes(), &w.blob())])
    }),
    ("git~1", |w| w.with_tree(&[("100644", b"GIT~1", &w.blob())])),
    ("backslashes to .git", |w| {
        w.with_tree(&[("100644", b"x\\.git\\hooks\\post-checkout", &w.blob())])
    }),
    ("a dot", |w| w.with_tree(&[("100644", b".", &w.blob())])),
    ("two dots", |w| w.with_tree(&[("100644", b"..", &w.blob())])),
    ("an empty name", |w| {
        w.with_tree(&[("100644", b"", &w.blob())])
    }),
    ("a slash", |w| w.with_tree(&[("100644", b"a/b", &w.blob())])),
    ("a way out in a name", |w| {
        w.with_tree(&[("100644", b"../../x", &w.blob())])
    }),
    ("an absolute name", |w| {
        w.with_tree(&[("100644", b"/etc/x", &w.blob())])
    }),
    ("an entry twice", |w| {
        w.with_tree(&[("100644", b"f", &w.blob()), ("100644", b"f", &w.blob())])
    }),
    ("a link and a directory of one name", |w| {
        let dir = w.tree(&[("100644", b"x", &w.blob())]);
        let root = w.tree(&[("120000", b"f", &w.blob()), ("40000", b"f", &dir)]);
        let tip = w.commit(&root, &[&w.base]);
        w.sent(&tip, &[&dir, &root, &tip, &w.blob()])
    }),
    ("the wrong order", |w| {
        w.with_tree(&[("100644", b"g", &w.blob()), ("100644", b"f", &w.blob())])
    }),
    ("a null hash", |w| {
        let null = "0".repeat(40);
        let tree = w.tree(&[("160000", b"f", &null)]);
        let tip = w.commit(&tree, &[&w.base]);
        w.sent(&tip, &[&tree, &tip])
    }),
    ("a file that is said to be a directory", |w| {
        w.with_tree(&[("40000", b"f", &w.blob())])
    }),
    ("half a tree", |w| {
        let tree = w.object("tree", b"100644 f\0abc");
        let tip = w.commit(&tree, &[&w.base]);
        w.sent(&tip, &[&tree, &tip])
    }),
    (".gitmodules as a link", |w| {
        let target = w.object("blob", b"/etc/passwd");
        w.with_tree(&[("120000", b".gitmodules", &target)])
    }),
    ("a submodule whose address is an option", |w| {
        gitmodules(
            w,
            "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch x\n",
        )
    }),
    ("a submodule whose path is an option", |w| {
        gitmodules(w, "[submodule \"x\"]\n\tpath = -x\n\turl = https://e/x\n")
    }),
    ("a submodule whose name leads out", |w| {
        gitmodules(
            w,
            "[submodule \"../../x\"]\n\tpath = x\n\turl = https://e/x\n",
        )
    }),
    ("a submodule with a command", |w| {
        gitmodules(
            w,
            "[submodule \"x\"]\n\tpath = x\n\turl = https://e/x\n\tupdate = !touch x\n",
        )
    }),
    ("a prerequisite that nobody has", |w| {
        let (tip, objects) = w.work_on(&w.work("nowhere").0, "z");
        let head = format!(
            "# v2 git bundle\n-{} nowhere\n{tip} refs/opencode/out/0\n\n",
            w.work("nowhere").0
        );
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        Sent {
            bundle: Some([head.into_bytes(), w.pack(&objects)].concat()),
            tip,
            branches: Vec::new(),
        }
    }),
    ("a commit with a null byte in its head", |w| {
        w.raw_commit(
            &format!("author a\0b <a> 1 +0000\ncommitter {IDENTITY}\n"),
            b"m\n",
        )
    }),
    ("a commit without a committer", |w| {
        w.raw_commit(&format!("author {IDENTITY}\n"), b"m\n")
    }),
    ("a commit of the year 292 billion", |w| {
        let head =
            "author a <a> 99999999999999999999 +0000\ncommitter a <a> 99999999999999999999 +0000\n";
        w.raw_commit(head, b"m\n")
    }),
];

#[test]
fn what_a_hostile_sandbox_sends_is_refused_and_nothing_of_the_users_changes() {
    let world = World::new();
    let before = world.users();
    let refs = git(&world.depot(), &["for-each-ref"]);
    let mut wrong = Vec::new();
    run(async {
        for (case, make) in REFUSED {
            let sent = make(&world);
            match world.home(&sent, None).await {
                Err(Error::Refused(reason)) => {
                    assert!(reason.len() < 1_000, "{case}: {reason}");
                }
                other => wrong.push(format!("{case}: {other:?}")),
            }
            let changed = difference(&before, &world.users());
            if !changed.is_empty() {
                wrong.push(format!("{case}: changed {changed:?}"));
                break;
            }
            let now = git(&world.depot(), &["for-each-ref"]);
            assert_eq!(now, refs, "{case}: the depot's refs changed");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        world.check("refused");
        let landed = world.home(&world.good("good"), None).await.expect("lands");
        assert_eq!(landed.branch, BRANCH);
        assert_eq!(landed.files, ["good"]);
        world.check("good");
    });
    let left = files(&world.depot().join("objects"));
    let left: Vec<&PathBuf> = left
        .keys()
        .filter(|path| path.to_string_lossy().contains("tmp_"))
        .collect();
    assert!(left.is_empty(), "refused packs stay in the depot: {left:?}");
}

#[test]
fn what_is_larger_than_allowed_is_refused_packed_or_unpacked() {
    let world = World::new();
    let before = world.users();
    run(async {
        let (tip, objects) = {
            let blob = world.object("blob", &noise(300_000));
            let tree = world.tree(&[("100644", b"large", &blob)]);
            let tip = world.commit(&tree, &[&world.base]);
            (tip.clone(), [blob, tree, tip])
        };
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        let sent = world.sent(&tip, &objects);
        let project = world.project().with_limit(100_000);
        let error = world.receive_with(&project, &sent).await;
        assert!(matches!(error, Err(Error::Refused(_))), "{error:?}");
        assert!(difference(&before, &world.users()).is_empty());
        world.home(&sent, None).await.expect("it is not too large");
    });
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn a_tree_of_few_objects_and_endless_paths_is_refused() {
    let world = World::new();
    let before = world.users();
    let mut objects = vec![world.blob()];
    let mut mode = "100644";
    // Ten levels of ten: ten thousand million files in eleven objects.
    for _ in 0..10 {
        let below = objects.last().expect("one").clone();
        let names: Vec<String> = (0..10).map(|n| format!("d{n}")).collect();
        let entries: Vec<(&str, &[u8], &str)> = (names.iter())
            .map(|name| (mode, name.as_bytes(), below.as_str()))
            .collect();
        objects.push(world.tree(&entries));
        mode = "40000";
    }
    let tip = world.commit(objects.last().expect("a tree"), &[&world.base]);
    objects.push(tip.clone());
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    run(async {
        let sent = world.sent(&tip, &objects);
        let error = world.home(&sent, None).await;
        assert!(matches!(error, Err(Error::Refused(_))), "{error:?}");
        assert!(difference(&before, &world.users()).is_empty());
    });
}

#[test]
fn odd_commits_arrive_or_are_refused_and_never_break_anything() {
    let cases: &[(&str, Make)] = &[
        ("before 1970", |w| {
            let head = "author a <a> -1 +0000\ncommitter a <a> -1 +0000\n";
            w.raw_commit(head, b"m\n")
        }),
        ("an absurd time zone", |w| {
            let head = "author a <a> 1 +9999\ncommitter a <a> 1 -9999\n";
            w.raw_commit(head, b"m\n")
        }),
        ("the year 2100", |w| {
            let head = "author a <a> 4102444800 +0000\ncommitter a <a> 4102444800 +0000\n";
            w.raw_commit(head, b"m\n")
        }),
        ("an encoding that nobody knows", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\nencoding klingon\n");
            w.raw_commit(&head, b"\xff\xfe\n")
        }),
        ("a message that is not text", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
            w.raw_commit(&head, b"\xe4\xf6\xfc\n")
        }),
        ("no message", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
            w.raw_commit(&head, b"")
        }),
        ("a message of five megabytes", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
            w.raw_commit(&head, &vec![b'x'; 5_000_000])
        }),
        ("control characters in the message", |w| {
            let head = format!("author {IDENTITY}\ncommitter {IDENTITY}\n");
            w.raw_commit(&head, b"\x1b[2J\x07\r\n")
        }),
        ("a signature that is none", |w| {
            let head = format!(
                "author {IDENTITY}\ncommitter {IDENTITY}\ngpgsig -----BEGIN PGP SIGNATURE-----\n x\n"
            );
            w.raw_commit(&head, b"m\n")
        }),
        ("no parent", |w| {
            let tree = w.tree(&[("100644", b"f", &w.blob())]);
            let tip = w.commit(&tree, &[]);
            w.sent(&tip, &[&tree, &tip, &w.blob()])
        }),
        ("no files", |w| w.with_tree(&[])),
        ("a link out of the project", |w| {
            let target = w.object("blob", b"/etc/passwd");
            w.with_tree(&[("120000", b"link", &target)])
        }),
        (".gitattributes as a link", |w| {
            let target = w.object("blob", b"/etc/passwd");
            w.with_tree(&[("120000", b".gitattributes", &target)])
        }),
        ("names of one letter in two cases", |w| {
            w.with_tree(&[("100644", b"F", &w.blob()), ("100644", b"f", &w.blob())])
        }),
        ("a submodule", |w| {
            let module = w.object(
                "blob",
                b"[submodule \"x\"]\n\tpath = x\n\turl = https://example.com/x\n",
            );
            let hash = "1".repeat(40);
            let tree = w.tree(&[("100644", b".gitmodules", &module), ("160000", b"x", &hash)]);
            let tip = w.commit(&tree, &[&w.base]);
            w.sent(&tip, &[&module, &tree, &tip])
        }),
        ("a name that is an option", |w| {
            w.with_tree(&[("100644", b"--output=x", &w.blob())])
        }),
        ("a name that is not text", |w| {
            w.with_tree(&[("100644", b"\xff\n\x1b", &w.blob())])
        }),
        ("nothing but the user's own HEAD", |w| Sent {
            tip: w.head.clone(),
            branches: Vec::new(),
            bundle: None,
        }),
    ];
    for (case, make) in cases {
        let world = World::new();
        run(async {
            let worktree = git(&world.path(), &["status", "--porcelain"]);
            let sent = make(&world);
            match world.home(&sent, None).await {
                Ok(landed) => {
                    assert_eq!(landed.commit, sent.tip, "{case}");
                    // What is built on it arrives too: git puts its first line into the head.
                    let (tip, objects) = world.work_on(&sent.tip, "next");
                    git(
                        &world.sandbox(),
                        &["update-ref", "refs/opencode/out/0", &tip],
                    );
                    let file = world.dir.path().join("next.bundle");
                    let file = file.to_string_lossy();
                    let without = format!("^{}", sent.tip);
                    git(
                        &world.sandbox(),
                        &["bundle", "create", &file, "refs/opencode/out/0", &without],
                    );
                    let next = Sent {
                        bundle: Some(fs::read(&*file).expect("a bundle")),
                        tip,
                        branches: Vec::new(),
                    };
                    let next = world.home(&next, Some(&landed.commit)).await;
                    next.unwrap_or_else(|error| panic!("{case}: {error} {objects:?}"));
                }
                Err(Error::Refused(reason)) => println!("{case}: refused: {reason}"),
                Err(error) => panic!("{case}: {error}"),
            }
            let after = git(&world.path(), &["status", "--porcelain"]);
            assert_eq!(after, worktree, "{case}");
            world.check(case);
        });
    }
}

#[test]
fn a_branchs_name_from_a_sandbox_never_leads_to_a_branch_of_the_users() {
    let world = World::new();
    git(&world.path(), &["branch", "x"]);
    let users = |world: &World| {
        git(
            &world.path(),
            &[
                "rev-parse",
                "main",
                "x",
                "HEAD",
                "--symbolic-full-name",
                "HEAD",
            ],
        )
    };
    let before = users(&world);
    let long = "n".repeat(200);
    let names = [
        "../../x",
        "-d",
        "--delete",
        "refs/heads/main",
        "main",
        "HEAD",
        "@",
        "x",
        "x.lock",
        "a/b",
        "a b",
        "a~b",
        "a-b",
        "\u{202e}nam",
        "A/B",
        "2",
        "",
        " ",
        "\n",
        "\0",
        &long,
    ];
    run(async {
        // All of one commit, then each of its own, then all again with other commits.
        let mut last: Option<String> = None;
        for round in 0..3 {
            let mut objects = Vec::new();
            let mut sent = world.good("tip");
            if let Some(last) = &last {
                let (tip, of_tip) = world.work_on(last, &format!("tip{round}"));
                objects.extend(of_tip);
                sent.tip = tip;
            } else {
                objects.extend(world.work("tip").1);
            }
            let (same, of_same) = world.work(&format!("same{round}"));
            objects.extend(of_same);
            for (n, name) in names.iter().enumerate() {
                let commit = match round {
                    0 => same.clone(),
                    _ => {
                        let (commit, own) = world.work(&format!("b{round}-{n}"));
                        objects.extend(own);
                        commit
                    }
                };
                sent.branches.push((name.to_string(), commit));
            }
            let mut refs = vec![(sent.tip.clone(), "refs/opencode/out/0".to_string())];
            for (n, (_, commit)) in sent.branches.iter().enumerate() {
                refs.push((commit.clone(), format!("refs/opencode/out/{}", n + 1)));
            }
            let refs: Vec<(&str, &str)> = refs.iter().map(|(c, n)| (&**c, &**n)).collect();
            objects.sort();
            objects.dedup();
            let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
            sent.bundle = Some([world.head(&refs), world.pack(&objects)].concat());
            let landed = world.home(&sent, last.as_deref()).await;
            let landed = landed.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(users(&world), before, "round {round}");
            assert_eq!(landed.others.len(), names.len());
            for (name, (_, commit)) in landed.others.iter().zip(&sent.branches) {
                assert!(
                    name.starts_with("opencode/1-") && name.len() < 100,
                    "{name}"
                );
                assert_eq!(
                    &git(&world.path(), &["rev-parse", &format!("refs/heads/{name}")]),
                    commit
                );
            }
            last = Some(sent.tip.clone());
        }
        for line in git(&world.path(), &["for-each-ref", "--format=%(refname)"]).lines() {
            assert!(
                line.starts_with("refs/heads/opencode/1")
                    || ["refs/heads/main", "refs/heads/x"].contains(&line),
                "{line}"
            );
        }
        world.check("names");
    });
}

/// A path, and its new mode and content; none deletes it.
type Change = (&'static str, Option<(&'static str, &'static [u8])>);

impl World {
    /// A commit on top of `parent` that changes these paths.
    fn change(&self, parent: &str, changes: &[Change]) -> Sent {
        let index = self.dir.path().join("sandbox-index");
        let _ = fs::remove_file(&index);
        let git = |args: &[&str]| {
            let output = Command::new("git")
                .args(args)
                .current_dir(self.sandbox())
                .env("GIT_INDEX_FILE", &index)
                .env("GIT_DIR", self.sandbox())
                .env("GIT_WORK_TREE", self.outside())
                .output()
                .expect("git runs");
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8_lossy(&output.stdout).trim().to_string()
        };
        git(&["read-tree", parent]);
        for (path, change) in changes {
            match change {
                Some((mode, content)) => {
                    let hash = self.object("blob", content);
                    let entry = format!("{mode},{hash},{path}");
                    git(&["update-index", "--add", "--replace", "--cacheinfo", &entry]);
                }
                None => drop(git(&["update-index", "--force-remove", path])),
            }
        }
        let tip = self.commit(&git(&["write-tree"]), &[parent]);
        let args = ["pack-objects", "--revs", "--stdout", "--quiet"];
        let pack = feed(
            &self.sandbox(),
            &args,
            format!("{tip}\n^{parent}\n").as_bytes(),
        );
        let head = self.head(&[(&tip, "refs/opencode/out/0")]);
        Sent {
            tip,
            branches: Vec::new(),
            bundle: Some([head, pack].concat()),
        }
    }
}

const FILE: &str = "100644";
const LINK: &str = "120000";

/// What the user has, what the agent changed, and whether it may be applied.
type Application = (&'static str, fn(&World), &'static [Change], bool);

const APPLIED: &[Application] = &[
    (
        "edits of every kind",
        |_| {},
        &[
            ("a.txt", Some(("100755", b"one\nTWO\n"))),
            ("dir/b.txt", None),
            ("new/dir/c", Some((FILE, b"c\n"))),
            ("binary", Some((FILE, b"\0\x01\xff"))),
            ("no end", Some((FILE, b"x"))),
            ("-d", Some((FILE, b"x\n"))),
            ("link", Some((LINK, b"/etc/passwd"))),
        ],
        true,
    ),
    (
        "while the user's index is locked",
        |w| fs::write(w.path().join(".git/index.lock"), "").expect("written"),
        &[("a.txt", Some((FILE, b"1\n")))],
        true,
    ),
    (
        "beside a change of the user's in another file",
        |w| write_tree(&w.path(), "//- dir/b.txt\nthe user's\n"),
        &[("a.txt", Some((FILE, b"1\n")))],
        true,
    ),
    (
        "two names in two cases",
        |_| {},
        &[("F", Some((FILE, b"1\n"))), ("f", Some((FILE, b"2\n")))],
        true,
    ),
    (
        "a file behind a link that leads out",
        |w| symlink(w.outside(), w.path().join("way")).expect("linked"),
        &[("way/x", Some((FILE, b"x\n")))],
        false,
    ),
    (
        "a directory that the user made a link that leads out",
        |w| {
            fs::write(w.outside().join("b.txt"), "b\n").expect("written");
            fs::remove_dir_all(w.path().join("dir")).expect("removed");
            symlink(w.outside(), w.path().join("dir")).expect("linked");
        },
        &[("dir/b.txt", Some((FILE, b"out\n")))],
        false,
    ),
    (
        "a file that the user made a link that leads out",
        |w| {
            fs::write(w.outside().join("a"), "one\ntwo\n").expect("written");
            fs::remove_file(w.path().join("a.txt")).expect("removed");
            symlink(w.outside().join("a"), w.path().join("a.txt")).expect("linked");
        },
        &[("a.txt", Some((FILE, b"out\n")))],
        false,
    ),
    (
        "a link and a file behind it, one after the other",
        |w| symlink(w.outside(), w.path().join("way")).expect("linked"),
        &[
            ("a.txt", Some((LINK, b"../outside"))),
            ("way/x", Some((FILE, b"x\n"))),
        ],
        false,
    ),
    (
        "attributes",
        |_| {},
        &[(".gitattributes", Some((FILE, b"* filter=planted\n")))],
        false,
    ),
    (
        "attributes further down, in other letters",
        |_| {},
        &[("dir/.GitAttributes", Some((FILE, b"* filter=planted\n")))],
        false,
    ),
    (
        "a file of a filter",
        |w| {
            fs::write(
                w.path().join(".git/info/attributes"),
                "*.f filter=planted\n",
            )
            .expect("written")
        },
        &[("x.f", Some((FILE, b"x\n")))],
        false,
    ),
    (
        "a deletion of a file that the user changed",
        |w| write_tree(&w.path(), "//- a.txt\nthe user's\n"),
        &[("a.txt", None)],
        false,
    ),
    (
        "a change in a line that the user changed, and others beside",
        |w| write_tree(&w.path(), "//- a.txt\nthe user's\n"),
        &[
            ("a.txt", Some((FILE, b"one\nTWO\n"))),
            ("0", Some((FILE, b"before\n"))),
            ("z", Some((FILE, b"after\n"))),
        ],
        false,
    ),
    (
        "a new file where the user has one",
        |w| write_tree(&w.path(), "//- mine\nthe user's\n"),
        &[("mine", Some((FILE, b"the agent's\n")))],
        false,
    ),
    (
        "a new file where the user has one that git ignores",
        |w| {
            write_tree(&w.path(), "//- mine\nthe user's\n");
            fs::write(w.path().join(".git/info/exclude"), "mine\n").expect("written");
        },
        &[("mine", Some((FILE, b"the agent's\n")))],
        false,
    ),
    (
        "a file where the user has a directory",
        |w| write_tree(&w.path(), "//- mine/x\nthe user's\n"),
        &[("mine", Some((FILE, b"the agent's\n")))],
        false,
    ),
    (
        "a directory where the user has a file",
        |w| write_tree(&w.path(), "//- mine\nthe user's\n"),
        &[("mine/x", Some((FILE, b"the agent's\n")))],
        false,
    ),
];

impl World {
    fn outside(&self) -> PathBuf {
        let path = self.dir.path().join("outside");
        fs::create_dir_all(&path).expect("made");
        path
    }
}

#[test]
fn a_change_is_applied_whole_or_not_at_all_and_nothing_of_the_users_is_lost() {
    for (case, prepare, changes, expected) in APPLIED {
        let world = World::new();
        world.outside();
        prepare(&world);
        run(async {
            let sent = world.change(&world.base, changes);
            let incoming = world.receive(&sent).await.expect("received");
            let (before, outside) = (world.users(), files(&world.outside()));
            let applied = world.project().apply(&world.base, &incoming.tip).await;
            let applied = applied.unwrap_or_else(|error| panic!("{case}: {error}"));
            let changed = difference(&before, &world.users());
            assert_eq!(files(&world.outside()), outside, "{case}");
            match applied {
                Applied::Yes => {
                    assert!(expected, "{case}: applied");
                    let mut wanted: Vec<PathBuf> = changes
                        .iter()
                        .map(|(path, _)| world.path().join(path))
                        .collect();
                    wanted.sort();
                    let mut changed = changed;
                    changed.sort();
                    changed.dedup();
                    assert_eq!(changed, wanted, "{case}");
                    let again = world.project().apply(&world.base, &incoming.tip).await;
                    assert_eq!(again.expect("looks"), Applied::Yes, "{case}: repeated");
                }
                Applied::No(reason) => {
                    assert!(!expected, "{case}: {reason}");
                    assert!(changed.is_empty(), "{case}: {changed:?}");
                    assert!(!reason.is_empty());
                }
            }
            let _ = fs::remove_file(world.path().join(".git/index.lock"));
            world.check(case);
        });
    }
}

#[test]
fn the_work_lands_in_every_kind_of_repository() {
    type Make = fn() -> World;
    let cases: &[(&str, Make)] = &[
        ("a plain one", World::new),
        ("of sha256", || {
            World::of(&[
                "init",
                "--quiet",
                "--object-format=sha256",
                "--initial-branch=main",
                "project",
            ])
        }),
        ("with refs in tables", || {
            World::of(&[
                "init",
                "--quiet",
                "--ref-format=reftable",
                "--initial-branch=main",
                "project",
            ])
        }),
        ("detached", || {
            let world = World::new();
            git(&world.path(), &["checkout", "--quiet", "--detach"]);
            world
        }),
        ("shallow", || {
            let dir = tempfile::tempdir().expect("a directory");
            git(
                dir.path(),
                &["init", "--quiet", "--initial-branch=main", "origin"],
            );
            for n in 0..3 {
                write_tree(&dir.path().join("origin"), &format!("//- a.txt\n{n}\n"));
                git(&dir.path().join("origin"), &["add", "."]);
                git(
                    &dir.path().join("origin"),
                    &["commit", "--quiet", "-m", "n"],
                );
            }
            let url = format!("file://{}/origin", dir.path().display());
            git(
                dir.path(),
                &["clone", "--quiet", "--depth=1", &url, "project"],
            );
            World::around(dir)
        }),
        ("without a commit", || {
            let dir = tempfile::tempdir().expect("a directory");
            git(
                dir.path(),
                &["init", "--quiet", "--initial-branch=main", "project"],
            );
            write_tree(&dir.path().join("project"), "//- a.txt\n1\n");
            World::around(dir)
        }),
        ("a linked worktree", || {
            let dir = tempfile::tempdir().expect("a directory");
            git(
                dir.path(),
                &["init", "--quiet", "--initial-branch=main", "origin"],
            );
            let origin = dir.path().join("origin");
            write_tree(&origin, "//- a.txt\n1\n");
            git(&origin, &["add", "."]);
            git(&origin, &["commit", "--quiet", "-m", "n"]);
            git(
                &origin,
                &["worktree", "add", "--quiet", "-b", "linked", "../project"],
            );
            World::around(dir)
        }),
        ("packed", || {
            let world = World::new();
            git(&world.path(), &["gc", "--quiet"]);
            world
        }),
    ];
    for (case, make) in cases {
        let world = make();
        run(async {
            let head =
                |w: &World| try_git(&w.path(), &["rev-parse", "--symbolic-full-name", "HEAD"]);
            let index = || {
                let path = ["rev-parse", "--path-format=absolute", "--git-path", "index"];
                fs::read(git(&world.path(), &path)).ok()
            };
            let before = (head(&world), index());
            let first = world.change(&world.base, &[("f", Some((FILE, b"1\n")))]);
            let landed = world.home(&first, None).await;
            let landed = landed.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(landed.branch, BRANCH, "{case}");
            let second = world.change(&first.tip, &[("f", Some((FILE, b"2\n")))]);
            let landed = world.home(&second, Some(&landed.commit)).await;
            let landed = landed.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(
                (landed.branch.as_str(), &landed.files[..]),
                (BRANCH, &["f".to_string()][..])
            );
            assert_eq!(
                git(&world.path(), &["show", &format!("{BRANCH}:f")]),
                "2",
                "{case}"
            );
            assert_eq!((head(&world), index()), before, "{case}");
            let log = git(&world.path(), &["reflog", "show", BRANCH]);
            assert_eq!(log.lines().count(), 2, "{case}: {log}");
            assert!(log.contains("work from the sandbox"), "{case}: {log}");
            world.check(case);
        });
    }
}

#[test]
fn a_branch_that_is_checked_out_anywhere_is_left_alone() {
    let world = World::new();
    run(async {
        let first = world.change(&world.base, &[("f", Some((FILE, b"1\n")))]);
        let landed = world.home(&first, None).await.expect("lands");
        git(
            &world.path(),
            &["worktree", "add", "--quiet", "../linked", BRANCH],
        );
        let linked = files(&world.dir.path().join("linked"));
        let second = world.change(&first.tip, &[("f", Some((FILE, b"2\n")))]);
        let landed = world
            .home(&second, Some(&landed.commit))
            .await
            .expect("lands");
        assert_eq!(landed.branch, "opencode/1-2");
        assert!(landed.beside.expect("a reason").contains("checked out"));
        assert_eq!(git(&world.path(), &["rev-parse", BRANCH]), first.tip);
        assert_eq!(files(&world.dir.path().join("linked")), linked);
        let status = ["status", "--porcelain"];
        assert_eq!(git(&world.dir.path().join("linked"), &status), "");
    });
}

#[test]
fn a_branch_whose_name_is_in_the_way_is_named_and_the_work_waits() {
    let world = World::new();
    git(&world.path(), &["branch", "opencode"]);
    run(async {
        let sent = world.good("f");
        let before = git(&world.path(), &["for-each-ref"]);
        let error = world.home(&sent, None).await.expect_err("it is in the way");
        assert!(matches!(error, Error::Branch { .. }), "{error:?}");
        let said = error.to_string();
        assert!(
            said.contains("opencode/1") && said.contains("branchPrefix"),
            "{said}"
        );
        assert_eq!(git(&world.path(), &["for-each-ref"]), before);
        git(&world.path(), &["branch", "-m", "opencode", "mine"]);
        let landed = world.home(&sent, None).await.expect("lands");
        assert_eq!(landed.branch, BRANCH);
        world.check("in the way");
    });
}

#[test]
fn a_branch_that_somebody_moved_on_stays_and_one_that_the_agent_took_back_is_kept_beside() {
    let world = World::new();
    run(async {
        let first = world.change(&world.base, &[("f", Some((FILE, b"1\n")))]);
        let second = world.change(&first.tip, &[("f", Some((FILE, b"2\n")))]);
        world.home(&first, None).await.expect("lands");
        world.home(&second, Some(&first.tip)).await.expect("lands");
        // A slower process of the same session comes with what it has from before.
        for last in [None, Some(world.base.as_str())] {
            let landed = world.home(&first, last).await.expect("lands");
            assert_eq!((landed.branch.as_str(), &landed.beside), (BRANCH, &None));
            assert_eq!(git(&world.path(), &["rev-parse", BRANCH]), second.tip);
        }
        // The agent itself goes back: both states are kept.
        let landed = world.home(&first, Some(&second.tip)).await.expect("lands");
        assert_eq!(landed.branch, "opencode/1-2");
        assert_eq!(git(&world.path(), &["rev-parse", BRANCH]), second.tip);
        assert_eq!(
            git(&world.path(), &["rev-parse", "opencode/1-2"]),
            first.tip
        );
        world.check("taken back");
    });
}

#[test]
fn what_the_depot_does_not_need_goes_once_there_is_enough_of_it() {
    let world = World::new();
    let objects = world.depot().join("objects");
    // More than git's own estimate of five thousand: it counts one directory of 256.
    for n in 0..30 {
        let name = format!("{n:038x}");
        fs::create_dir_all(objects.join("17")).expect("made");
        fs::write(objects.join("17").join(name), "").expect("written");
    }
    let kept = files(&objects).len();
    run(async {
        world.project().forget("another").await;
    });
    let left = files(&objects)
        .keys()
        .any(|path| path.extension().is_some_and(|e| e == "pack"));
    assert!(
        left || files(&objects).len() < kept,
        "nothing was collected"
    );
}
