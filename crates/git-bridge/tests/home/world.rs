//! A user's project, and a sandbox that makes whatever objects it likes.

use git_bridge::{BranchUpdate, Error, Incoming, Project, Start, Tip};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use testkit::{TestHost, run, write_tree};

pub(crate) const SESSION: &str = "ses_1";
pub(crate) const BRANCH: &str = "opencode/1";
pub(crate) const IDENTITY: &str = "agent <agent@sandbox> 1700000000 +0000";

pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let (ok, text) = try_git(dir, args);
    assert!(ok, "git {args:?}: {text}");
    text
}

/// The tests' git, which runs nothing that the project configures.
pub(crate) fn try_git(dir: &Path, args: &[&str]) -> (bool, String) {
    let nothing = [
        "-c",
        "core.hooksPath=/dev/null",
        "-c",
        "core.fsmonitor=false",
    ];
    testkit::try_git(dir, &[&nothing[..], args].concat())
}

/// Standard output of a git that gets `input`.
pub(crate) fn feed(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
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
pub(crate) fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
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
pub(crate) fn difference(
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
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) base: String,
    pub(crate) head: String,
}

/// What the sandbox sends.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) tip: String,
    pub(crate) branches: Vec<(String, String)>,
    pub(crate) bundle: Option<Vec<u8>>,
}

impl World {
    pub(crate) fn new() -> World {
        World::of(&["init", "--quiet", "--initial-branch=main", "project"])
    }

    pub(crate) fn of(init: &[&str]) -> World {
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
    pub(crate) fn around(dir: tempfile::TempDir) -> World {
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
    pub(crate) fn plant(&self) {
        let program = self.dir.path().join("canary.sh");
        let canary = self.canary();
        let script = format!("#!/bin/sh\necho \"$0 $*\" >>'{}'\n", canary.display());
        fs::write(&program, script).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("set");
        let users = git(&self.path(), &["rev-parse", "--git-common-dir"]);
        for dir in [self.path().join(users), self.depot()] {
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

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    pub(crate) fn depot(&self) -> PathBuf {
        self.dir.path().join("depot.git")
    }

    pub(crate) fn sandbox(&self) -> PathBuf {
        self.dir.path().join("sandbox")
    }

    pub(crate) fn canary(&self) -> PathBuf {
        self.dir.path().join("canary")
    }

    pub(crate) fn project(&self) -> Project {
        let host = Arc::new(TestHost::new(&[]));
        let depot = self.depot();
        Project::new(
            host,
            &self.path().to_string_lossy(),
            true,
            &depot.to_string_lossy(),
        )
    }

    /// An object with any content.
    pub(crate) fn object(&self, kind: &str, content: &[u8]) -> String {
        let args = ["hash-object", "-t", kind, "--literally", "-w", "--stdin"];
        let hash = feed(&self.sandbox(), &args, content);
        String::from_utf8_lossy(&hash).trim().to_string()
    }

    pub(crate) fn blob(&self) -> String {
        self.object("blob", b"content\n")
    }

    /// A tree with any entries, in any order.
    pub(crate) fn tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
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

    pub(crate) fn commit(&self, tree: &str, parents: &[&str]) -> String {
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
    pub(crate) fn pack(&self, objects: &[&str]) -> Vec<u8> {
        let list = objects.join("\n") + "\n";
        let args = ["pack-objects", "--stdout", "--quiet"];
        feed(&self.sandbox(), &args, list.as_bytes())
    }

    pub(crate) fn head(&self, refs: &[(&str, &str)]) -> Vec<u8> {
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

    pub(crate) fn sent(&self, tip: &str, objects: &[&str]) -> Sent {
        let head = self.head(&[(tip, "refs/opencode/out/0")]);
        Sent {
            tip: tip.into(),
            branches: Vec::new(),
            bundle: Some([head, self.pack(objects)].concat()),
        }
    }

    /// With another head.
    pub(crate) fn headed(&self, head: Vec<u8>) -> Sent {
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
    pub(crate) fn work(&self, name: &str) -> (String, Vec<String>) {
        self.work_on(&self.base, name)
    }

    pub(crate) fn work_on(&self, parent: &str, name: &str) -> (String, Vec<String>) {
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

    pub(crate) fn good(&self, name: &str) -> Sent {
        let (tip, objects) = self.work(name);
        let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
        self.sent(&tip, &objects)
    }

    /// A root tree of these entries.
    pub(crate) fn with_tree(&self, entries: &[(&str, &[u8], &str)]) -> Sent {
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

    pub(crate) fn raw_commit(&self, head: &str, message: &[u8]) -> Sent {
        let blob = self.blob();
        let tree = self.tree(&[("100644", b"f", &blob)]);
        let text = format!("tree {tree}\nparent {}\n{head}\n", self.base);
        let commit = self.object("commit", &[text.as_bytes(), message].concat());
        self.sent(&commit, &[&blob, &tree, &commit])
    }

    pub(crate) async fn receive_with(
        &self,
        project: &Project,
        sent: &Sent,
    ) -> Result<Incoming, Error> {
        let file = self.dir.path().join("work.bundle");
        let mut incoming = Incoming {
            tip: sent.tip.clone(),
            branches: sent.branches.clone(),
            lfs: None,
            bundle: None,
        };
        if let Some(bytes) = &sent.bundle {
            fs::write(&file, bytes).expect("written");
            incoming.bundle = Some(file.to_string_lossy().into_owned());
        }
        let head = self.host_head();
        project.receive(SESSION, &incoming, head).await?;
        project.keep(SESSION, &incoming.tip).await?;
        Ok(incoming)
    }

    /// What is said of it when it is received.
    pub(crate) async fn told(&self, sent: &Sent) -> Result<Vec<String>, Error> {
        let file = self.dir.path().join("told.bundle");
        fs::write(&file, sent.bundle.as_ref().expect("a bundle")).expect("written");
        let incoming = Incoming {
            lfs: None,
            tip: sent.tip.clone(),
            branches: sent.branches.clone(),
            bundle: Some(file.to_string_lossy().into_owned()),
        };
        let project = self.project();
        project.receive(SESSION, &incoming, self.host_head()).await
    }

    pub(crate) async fn receive(&self, sent: &Sent) -> Result<Incoming, Error> {
        self.receive_with(&self.project(), sent).await
    }

    pub(crate) fn host_head(&self) -> Option<&str> {
        Some(self.head.as_str()).filter(|head| !head.is_empty())
    }

    pub(crate) async fn land(
        &self,
        incoming: &Incoming,
        last: Option<&str>,
    ) -> Result<BranchUpdate, Error> {
        let tip = Tip {
            session: SESSION,
            branch: BRANCH,
            last,
            beside: None,
        };
        self.project().land(tip, incoming, self.host_head()).await
    }

    /// Received and landed.
    pub(crate) async fn home(
        &self,
        sent: &Sent,
        last: Option<&str>,
    ) -> Result<BranchUpdate, Error> {
        let incoming = self.receive(sent).await?;
        self.land(&incoming, last).await
    }

    pub(crate) fn users(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(&self.path())
    }

    /// Nothing ran, and the user's repository is whole.
    pub(crate) fn check(&self, case: &str) {
        let ran = fs::read_to_string(self.canary()).unwrap_or_default();
        assert_eq!(ran, "", "{case}: a program ran");
        let (ok, found) = try_git(&self.path(), &["fsck", "--strict", "--full"]);
        assert!(ok, "{case}: {found}");
        let _ = fs::remove_file(self.canary());
    }
}

pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..length).map(next).collect()
}

/// A path, and its new mode and content; none deletes it. Each character of a path stands for the byte
/// of its number, so that names that are no text can be written.
pub(crate) type Change = (&'static str, Option<(&'static str, &'static [u8])>);

impl World {
    /// A commit on top of `parent` that changes these paths.
    pub(crate) fn change(&self, parent: &str, changes: &[Change]) -> Sent {
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
        let add = |line: &[u8]| {
            let mut child = Command::new("git")
                .args(["update-index", "--replace", "-z", "--index-info"])
                .current_dir(self.sandbox())
                .env("GIT_INDEX_FILE", &index)
                .stdin(Stdio::piped())
                .spawn()
                .expect("git runs");
            let mut stdin = child.stdin.take().expect("piped");
            stdin.write_all(line).expect("git reads its input");
            drop(stdin);
            assert!(child.wait().expect("ends").success(), "{line:?}");
        };
        git(&["read-tree", parent]);
        for (path, change) in changes {
            match change {
                Some((mode, content)) => {
                    let hash = self.object("blob", content);
                    let name = path.chars().map(|c| c as u8);
                    let line: Vec<u8> = format!("{mode} {hash}\t").bytes().chain(name).collect();
                    add(&[&line[..], b"\0"].concat());
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

impl World {
    pub(crate) fn outside(&self) -> PathBuf {
        let path = self.dir.path().join("outside");
        fs::create_dir_all(&path).expect("made");
        path
    }
}

pub(crate) const FILE: &str = "100644";
pub(crate) const LINK: &str = "120000";

/// Makes what a sandbox sends.
pub(crate) type Make = fn(&World) -> Sent;
