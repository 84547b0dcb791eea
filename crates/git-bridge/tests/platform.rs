//! In and home on the system that this runs on, with its own git, its own file system and git's settings
//! for it: what the tables by platform in the other tests cannot show. It builds on Windows, too.

use git_bridge::{Applied, Incoming, Project, Start, Tip};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use testkit::{TestHost, git, run, try_git, unpack};

const SESSION: &str = "ses_1";
const BRANCH: &str = "opencode/1";

struct World {
    dir: tempfile::TempDir,
}

impl World {
    /// A project as git on this system makes it.
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a directory");
        git(
            dir.path(),
            &["init", "--quiet", "--initial-branch=main", "project"],
        );
        git(dir.path(), &["init", "--quiet", "sandbox"]);
        let world = World { dir };
        let (path, line) = (world.path(), if cfg!(windows) { "\r\n" } else { "\n" });
        fs::create_dir_all(path.join("dir")).expect("made");
        fs::write(path.join(".gitattributes"), "*.txt text\n").expect("written");
        fs::write(path.join("a.txt"), format!("one{line}two{line}")).expect("written");
        fs::write(path.join("dir/run.sh"), "#!/bin/sh\n").expect("written");
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(path.join("dir/run.sh"), mode).expect("set");
        }
        fs::write(path.join("e\u{301}.md"), "accent\n").expect("written");
        git(&path, &["add", "."]);
        git(&path, &["update-index", "--chmod=+x", "dir/run.sh"]);
        git(&path, &["commit", "--quiet", "-m", "first"]);
        world
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn sandbox(&self) -> PathBuf {
        self.dir.path().join("sandbox")
    }

    fn project(&self) -> Project {
        let host = Arc::new(TestHost::new(&[]));
        let depot = self.dir.path().join("depot.git");
        let (worktree, depot) = (slashed(&self.path()), slashed(&depot));
        Project::new(host, &worktree, true, &depot)
    }

    /// Carries the project into the sandbox's repository; gives the commit that it starts from.
    async fn carry(&self) -> String {
        let packed = self.project().pack(SESSION, &Start::default()).await;
        let packed = packed.expect("packs");
        unpack(&self.sandbox(), packed.packs.iter().map(|pack| &pack.path));
        packed.commit
    }

    /// A commit of the agent's with these files, and its bundle.
    fn work(&self, base: &str, files: &[(&str, &str, &[u8])]) -> Incoming {
        let sandbox = self.sandbox();
        git(&sandbox, &["read-tree", base]);
        for (mode, name, content) in files {
            fs::write(sandbox.join("content"), content).expect("written");
            let hash = git(&sandbox, &["hash-object", "-w", "--no-filters", "content"]);
            let entry = format!("{mode},{hash},{name}");
            let add = [
                "-c",
                "core.ignoreCase=false",
                "-c",
                "core.precomposeUnicode=false",
            ];
            let add = [&add[..], &["update-index", "--add", "--cacheinfo", &entry]].concat();
            git(&sandbox, &add);
        }
        let tree = git(&sandbox, &["write-tree"]);
        let tip = git(&sandbox, &["commit-tree", "-p", base, "-m", "work", &tree]);
        git(&sandbox, &["update-ref", "refs/opencode/out/0", &tip]);
        let bundle = slashed(&self.dir.path().join("work.bundle"));
        let except = format!("^{base}");
        let make = [
            "bundle",
            "create",
            "--quiet",
            &bundle,
            "refs/opencode/out/0",
            &except,
        ];
        git(&sandbox, &make);
        Incoming {
            tip,
            branches: Vec::new(),
            lfs: None,
            bundle: Some(bundle),
        }
    }

    async fn home(&self, incoming: &Incoming) -> git_bridge::BranchUpdate {
        let project = self.project();
        let head = git(&self.path(), &["rev-parse", "HEAD"]);
        let received = project.receive(SESSION, incoming, Some(&head)).await;
        received.expect("received");
        project.keep(SESSION, &incoming.tip).await.expect("kept");
        let tip = Tip {
            session: SESSION,
            branch: BRANCH,
            last: None,
            beside: None,
        };
        project
            .land(tip, incoming, Some(&head))
            .await
            .expect("lands")
    }
}

/// A path in the core's form.
fn slashed(path: &Path) -> String {
    host::Platform::of_path(&path.to_string_lossy()).slashed(&path.to_string_lossy())
}

fn tree(dir: &Path, commit: &str) -> String {
    git(dir, &["-c", "core.quotePath=true", "ls-tree", "-r", commit])
}

#[test]
fn what_goes_in_is_what_git_has_and_what_comes_home_is_what_the_sandbox_has() {
    let world = World::new();
    run(async {
        let base = world.carry().await;
        assert_eq!(tree(&world.sandbox(), &base), tree(&world.path(), "HEAD"));
        assert!(tree(&world.path(), "HEAD").contains("100755"));
        let text = git(
            &world.sandbox(),
            &["cat-file", "-s", &format!("{base}:a.txt")],
        );
        assert_eq!(text, "8", "line ends are those that git keeps");
        let incoming = world.work(
            &base,
            &[
                ("100755", "new.sh", b"#!/bin/sh\n"),
                ("100644", "crlf.txt", b"1\r\n2\r\n"),
                ("100644", "lf.txt", b"1\n2\n"),
                ("120000", "way", b"lf.txt"),
                ("100644", "\u{e9}", b"composed\n"),
                ("100644", "e\u{301}", b"not composed\n"),
                ("100644", "F", b"1\n"),
                ("100644", "f", b"2\n"),
            ],
        );
        let landed = world.home(&incoming).await;
        assert_eq!(landed.branch, BRANCH);
        let there = tree(&world.sandbox(), &incoming.tip);
        assert_eq!(tree(&world.path(), BRANCH), there);
        let asked = ["config", "--type=bool", "--get", "core.ignoreCase"];
        let ignores_case = try_git(&world.path(), &asked).1 == "true";
        assert_eq!(
            landed.notes.len(),
            usize::from(ignores_case),
            "{:?}",
            landed.notes
        );
        let applied = world.project().apply(&base, &incoming.tip).await;
        let is_applied = applied.expect("looks") == Applied::Yes;
        assert!(
            !(is_applied && ignores_case),
            "one file was written over another"
        );
    });
}

#[test]
fn a_change_is_put_into_the_working_tree_with_its_line_ends() {
    let world = World::new();
    run(async {
        let base = world.carry().await;
        let files = [
            ("100644", "a.txt", &b"one\nTWO\n"[..]),
            ("100755", "new.sh", b"x\n"),
        ];
        let incoming = world.work(&base, &files);
        world.home(&incoming).await;
        let applied = world.project().apply(&base, &incoming.tip).await;
        assert_eq!(applied.expect("looks"), Applied::Yes);
        let text = fs::read_to_string(world.path().join("a.txt")).expect("there");
        assert_eq!(text.lines().collect::<Vec<_>>(), ["one", "TWO"]);
        git(&world.path(), &["add", "a.txt"]);
        let staged = git(&world.path(), &["rev-parse", ":a.txt"]);
        let theirs = git(
            &world.sandbox(),
            &["rev-parse", &format!("{}:a.txt", incoming.tip)],
        );
        assert_eq!(
            staged, theirs,
            "only the line that the agent changed is another one"
        );
    });
}
