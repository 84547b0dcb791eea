//! No program that a repository names runs on the host, and the user's environment neither sends git
//! elsewhere nor stops configuring it. Every case first shows that plain git would have.

use git_bridge::{Error, Project, Start};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use testkit::{TestHost, run, unpack, write_tree};

/// Plain git, as the user runs it, in a home without configuration.
fn plain(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .args(["-c", "user.name=a", "-c", "user.email=a@localhost"])
        .args(["-c", "protocol.file.allow=always"])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .current_dir(dir);
    command
}

fn git(dir: &Path, args: &[&str]) -> String {
    let output = plain(dir).args(args).output().expect("git runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {args:?}: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

/// A project, a program that must not run, and a depot.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World {
            dir: tempfile::tempdir().expect("a directory"),
        };
        let canary = world.canary();
        // It reads nothing: whoever talks to it must not wait for it.
        let script = format!("#!/bin/sh\ntouch '{}'\n", world.mark().display());
        fs::write(&canary, script).expect("written");
        fs::set_permissions(&canary, fs::Permissions::from_mode(0o755)).expect("set");
        world.repository("project", "//- a.txt\none\n//- dir/b.txt\nb\n");
        world
    }

    fn repository(&self, name: &str, files: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).expect("made");
        git(&path, &["init", "--quiet", "--initial-branch=main"]);
        write_tree(&path, files);
        git(&path, &["add", "."]);
        git(&path, &["commit", "--quiet", "-m", "first"]);
        path
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn depot(&self) -> PathBuf {
        self.dir.path().join("depot.git")
    }

    fn canary(&self) -> PathBuf {
        self.dir.path().join("canary.sh")
    }

    fn mark(&self) -> PathBuf {
        self.dir.path().join("ran")
    }

    /// True if the program has run since this was asked last.
    fn ran(&self) -> bool {
        fs::remove_file(self.mark()).is_ok()
    }

    /// Appends to the configuration of a repository, byte for byte.
    fn configure(&self, repository: &Path, text: &[u8]) {
        let dir = git(repository, &["rev-parse", "--absolute-git-dir"]);
        let path = Path::new(&dir).join("config");
        let mut config = fs::read(&path).expect("a configuration");
        config.extend_from_slice(text);
        fs::write(path, config).expect("written");
    }

    fn project(&self, env: &[(&str, &str)]) -> Project {
        let host = Arc::new(TestHost::new(env));
        let (path, depot) = (self.path(), self.depot());
        Project::new(
            host,
            &path.to_string_lossy(),
            true,
            &depot.to_string_lossy(),
        )
    }

    /// Packs the project; gives the names of the files in the commit.
    fn pack(&self, env: &[(&str, &str)]) -> Result<Vec<String>, Error> {
        let start = Start {
            history: 50,
            ..Start::default()
        };
        let packed = run(async {
            let packed = self.project(env).pack("ses_1", &start).await?;
            packed.clone().discard(&TestHost::new(&[])).await;
            Ok::<_, Error>(packed)
        })?;
        let names = git(
            &self.depot(),
            &["ls-tree", "-r", "--name-only", &packed.commit],
        );
        Ok(names.lines().map(str::to_string).collect())
    }
}

/// A repository and what plain git does with it that runs the program.
type Way = (&'static str, fn(&World), &'static [&'static str]);

const WAYS: &[Way] = &[
    (
        "a filter with a name that is no text",
        |w| {
            let canary = w.canary();
            let name = b"[filter \"\xff\\\"\\\\ .x\"]\n\tclean = ";
            w.configure(
                &w.path(),
                &[name, canary.as_os_str().as_bytes(), b"\n"].concat(),
            );
            // An attribute's value takes no quotes, so that filter is a second one.
            let plain = b"[filter \"\xff\"]\n\trequired\n\tclean = ";
            w.configure(
                &w.path(),
                &[plain, canary.as_os_str().as_bytes(), b"\n"].concat(),
            );
            fs::write(w.path().join(".gitattributes"), b"*.x filter=\xff\n").expect("written");
            fs::write(w.path().join("new.x"), "x\n").expect("written");
        },
        &["add", "--all"],
    ),
    (
        "a filter that is a process",
        |w| {
            let program = w.canary().to_string_lossy().into_owned();
            git(&w.path(), &["config", "filter.a b=c.process", &program]);
            write_tree(
                &w.path(),
                "//- .gitattributes\n*.x filter=own\n//- new.x\nx\n",
            );
            git(&w.path(), &["config", "filter.own.process", &program]);
        },
        &["add", "--all"],
    ),
    (
        "a submodule's own filter",
        |w| {
            let inner = w.submodule();
            write_tree(&inner, "//- .gitattributes\n*.x filter=own\n//- b.x\nx\n");
            git(&inner, &["add", "."]);
            git(&inner, &["commit", "--quiet", "-m", "x"]);
            git(&w.path(), &["commit", "--quiet", "--all", "-m", "moved"]);
            let program = w.canary().to_string_lossy().into_owned();
            git(&inner, &["config", "filter.own.clean", &program]);
            fs::write(inner.join("b.x"), "y\n").expect("written");
        },
        &["add", "--all"],
    ),
    (
        "a submodule's own watcher of files",
        |w| {
            let program = w.canary().to_string_lossy().into_owned();
            git(&w.submodule(), &["config", "core.fsmonitor", &program]);
        },
        &["add", "--all"],
    ),
    (
        "a watcher of files",
        |w| {
            let program = w.canary().to_string_lossy().into_owned();
            git(&w.path(), &["config", "core.fsmonitor", &program]);
        },
        &["add", "--all"],
    ),
    (
        "a hook in a directory of the configuration's",
        |w| {
            let hooks = w.dir.path().join("hooks");
            fs::create_dir_all(&hooks).expect("made");
            for name in ["post-index-change", "reference-transaction"] {
                fs::copy(w.canary(), hooks.join(name)).expect("copied");
            }
            let hooks = hooks.to_string_lossy().into_owned();
            git(&w.path(), &["config", "core.hooksPath", &hooks]);
        },
        &["update-ref", "refs/heads/x", "HEAD"],
    ),
    (
        "a signature",
        |w| {
            let program = w.canary().to_string_lossy().into_owned();
            git(&w.path(), &["config", "commit.gpgSign", "true"]);
            git(&w.path(), &["config", "gpg.program", &program]);
        },
        // Signing fails with this program, but it has run.
        &["commit", "--allow-empty", "-m", "x"],
    ),
    (
        "the remote of a partial clone",
        |w| {
            w.partial(&["--filter=tree:0"]);
            let program = w.canary().to_string_lossy().into_owned();
            git(&w.path(), &["config", "remote.origin.uploadpack", &program]);
        },
        &["rev-list", "--objects", "--all"],
    ),
    (
        "the way to the remote of a partial clone",
        |w| {
            w.partial(&["--filter=tree:0"]);
            let program = w.canary().to_string_lossy().into_owned();
            git(&w.path(), &["config", "core.sshCommand", &program]);
            git(
                &w.path(),
                &["config", "remote.origin.url", "ssh://localhost/x"],
            );
        },
        &["rev-list", "--objects", "--all"],
    ),
    (
        "a helper for the remote of a partial clone",
        |w| {
            w.partial(&["--filter=tree:0"]);
            let program = w.canary().to_string_lossy().into_owned();
            git(&w.path(), &["config", "protocol.ext.allow", "always"]);
            let url = format!("ext::{program}");
            git(&w.path(), &["config", "remote.origin.url", &url]);
        },
        &["rev-list", "--objects", "--all"],
    ),
];

impl World {
    /// A submodule of the project, checked out.
    fn submodule(&self) -> PathBuf {
        let other = self.repository("other", "//- c.txt\nc\n");
        let url = other.to_string_lossy().into_owned();
        git(
            &self.path(),
            &["submodule", "--quiet", "add", &url, "module"],
        );
        git(&self.path(), &["commit", "--quiet", "-m", "module"]);
        self.path().join("module")
    }

    /// Makes the project a partial clone of itself, with old files that it lacks.
    fn partial(&self, args: &[&str]) {
        let origin = self.dir.path().join("origin");
        fs::rename(self.path(), &origin).expect("moved");
        write_tree(&origin, "//- a.txt\ntwo\n");
        git(&origin, &["commit", "--quiet", "--all", "-m", "second"]);
        git(&origin, &["config", "uploadpack.allowFilter", "true"]);
        let url = format!("file://{}", origin.display());
        let path = self.path().to_string_lossy().into_owned();
        let clone = [&["clone", "--quiet"], args, &[&url, &path]].concat();
        git(self.dir.path(), &clone);
    }
}

#[test]
fn no_program_that_a_repository_names_runs_while_it_is_packed() {
    for (case, plant, args) in WAYS {
        let world = World::new();
        plant(&world);
        world.ran();
        let names = world
            .pack(&[])
            .unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(!world.ran(), "{case}: a program ran");
        assert!(names.contains(&"a.txt".into()), "{case}: {names:?}");
        let _ = plain(&world.path()).args(*args).output().expect("git runs");
        assert!(
            world.ran(),
            "{case}: plain git runs nothing, so this shows nothing"
        );
    }
}

#[test]
fn configured_hooks_of_newer_git_are_put_out_of_force() {
    let world = World::new();
    let program = world.canary().to_string_lossy().into_owned();
    git(&world.path(), &["config", "hook.lint.command", &program]);
    let events = ["config", "hook.lint.event", "reference-transaction"];
    git(&world.path(), &events);
    world.pack(&[]).expect("packs");
    let include = format!("include.path={}/overrides", world.depot().display());
    let asked = ["-c", &include, "config", "--get", "hook.lint.enabled"];
    assert_eq!(git(&world.path(), &asked), "false");
    // As git that knows them does; older git says nothing and runs nothing.
    let moved = ["-c", &include, "update-ref", "refs/heads/x", "HEAD"];
    git(&world.path(), &moved);
    assert!(!world.ran());
}

#[test]
fn a_submodule_goes_along_at_the_commit_that_it_is_at() {
    let world = World::new();
    let inner = world.submodule();
    let recorded = |commit: &str| {
        run(async {
            let packed = world.project(&[]).pack("ses_1", &Start::default()).await;
            let packed = packed.expect("packs");
            packed.clone().discard(&TestHost::new(&[])).await;
            let tree = git(&world.depot(), &["ls-tree", &packed.commit, "module"]);
            assert!(
                tree.starts_with(&format!("160000 commit {commit}")),
                "{tree}"
            );
        })
    };
    recorded(&git(&inner, &["rev-parse", "HEAD"]));
    git(
        &inner,
        &["commit", "--quiet", "--allow-empty", "-m", "moved"],
    );
    recorded(&git(&inner, &["rev-parse", "HEAD"]));
    fs::remove_dir_all(&inner).expect("removed");
    let names = world.pack(&[]).expect("packs");
    assert!(!names.contains(&"module".into()), "{names:?}");
}

#[test]
fn a_partial_clone_goes_along_with_its_files_and_without_its_history() {
    for filter in ["--filter=blob:none", "--filter=tree:0"] {
        let world = World::new();
        world.partial(&[filter]);
        fs::write(world.path().join("dir/b.txt"), "changed\n").expect("written");
        // Whoever asked for what is missing would find nobody there.
        fs::remove_dir_all(world.dir.path().join("origin")).expect("removed");
        let packed = run(async {
            let start = Start {
                history: 50,
                keep_out: vec![".env".into()],
                ..Start::default()
            };
            let packed = world.project(&[]).pack("ses_1", &start).await;
            packed.expect("packs")
        });
        let out = world.dir.path().join("out");
        fs::create_dir(&out).expect("made");
        git(&out, &["init", "--quiet"]);
        fs::write(out.join(".git/shallow"), packed.shallow.join("\n") + "\n").expect("written");
        unpack(&out, packed.packs.iter().map(|pack| &pack.path));
        git(&out, &["fsck", "--strict", "--no-dangling"]);
        git(&out, &["checkout", "--quiet", &packed.commit]);
        let read = |name: &str| fs::read_to_string(out.join(name)).expect("a file");
        assert_eq!(read("a.txt"), "two\n");
        assert_eq!(read("dir/b.txt"), "changed\n");
        run(async { packed.discard(&TestHost::new(&[])).await });
    }
}

#[test]
fn a_partial_clone_that_lacks_files_of_its_head_goes_along_and_nothing_is_fetched() {
    let world = World::new();
    world.partial(&["--filter=blob:none", "--sparse"]);
    let program = world.canary().to_string_lossy().into_owned();
    git(
        &world.path(),
        &["config", "remote.origin.uploadpack", &program],
    );
    let names = world.pack(&[]).expect("packs");
    assert!(!world.ran());
    assert!(names.contains(&"dir/b.txt".into()), "{names:?}");
}

/// Variables that git sets for its hooks, or that people with a repository as their home export.
const REDIRECTIONS: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_NAMESPACE",
    "GIT_SHALLOW_FILE",
    "GIT_GRAFT_FILE",
    "GIT_QUARANTINE_PATH",
    "GIT_LITERAL_PATHSPECS",
    "GIT_PREFIX",
];

/// Set in a process that runs one test only.
const ALONE: &str = "TEST_RUNS_ALONE";

/// Shared with nobody: the variables of this process are those of all its threads.
fn in_a_process_of_its_own(test: &str, env: &[(&str, String)]) {
    let own = std::env::current_exe().expect("a path");
    let output = Command::new(own)
        .args(["--exact", test, "--nocapture"])
        .env(ALONE, "1")
        .envs(env.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{env:?}: {text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn what_redirects_git_is_dropped() {
    let other = World::new();
    let (path, dir) = (other.path(), other.path().join(".git"));
    let before = git(&path, &["for-each-ref"]);
    for name in REDIRECTIONS {
        let value = match *name {
            "GIT_DIR" | "GIT_COMMON_DIR" => dir.display().to_string(),
            "GIT_WORK_TREE" => path.display().to_string(),
            "GIT_INDEX_FILE" => dir.join("index").display().to_string(),
            "GIT_LITERAL_PATHSPECS" => "1".into(),
            "GIT_NAMESPACE" => "other".into(),
            "GIT_PREFIX" => "dir/".into(),
            _ => dir.join("objects").display().to_string(),
        };
        in_a_process_of_its_own("packed_from_where_it_is", &[(*name, value)]);
    }
    assert_eq!(git(&path, &["for-each-ref"]), before);
    assert!(!other.depot().exists());
}

/// A part of the test above, which runs it in processes of its own and sets their environment. The
/// host has it, too.
#[test]
fn packed_from_where_it_is() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let set: Vec<(String, String)> = std::env::vars()
        .filter(|(name, _)| REDIRECTIONS.contains(&name.as_str()))
        .collect();
    // The test's own git is the user's in another terminal.
    for name in REDIRECTIONS {
        // SAFETY: no other thread runs: this process has one test.
        unsafe { std::env::remove_var(name) };
    }
    let world = World::new();
    write_tree(&world.path(), "//- here.txt\nhere\n");
    for (name, value) in &set {
        // SAFETY: as above.
        unsafe { std::env::set_var(name, value) };
    }
    let env: Vec<(&str, &str)> = (set.iter())
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let project = world.project(&env);
    let packed = run(async { project.pack("ses_1", &Start::default()).await });
    let packed = packed.expect("packs");
    for (name, _) in &set {
        // SAFETY: as above.
        unsafe { std::env::remove_var(name) };
    }
    let tree = git(
        &world.depot(),
        &["ls-tree", "-r", "--name-only", &packed.commit],
    );
    assert_eq!(tree, "a.txt\ndir/b.txt\nhere.txt");
    let alternates = fs::read(world.depot().join("objects/info/alternates")).expect("a file");
    let objects = world.path().join(".git/objects\n");
    assert_eq!(OsStr::from_bytes(&alternates), objects.as_os_str());
    run(async { packed.discard(&TestHost::new(&[])).await });
}

#[test]
fn what_configures_git_for_the_user_stays_in_force_and_runs_nothing() {
    let world = World::new();
    write_tree(
        &world.path(),
        "//- .gitattributes\n*.x filter=own\n//- new.x\nx\n//- secret.txt\ns\n",
    );
    let ignored = world.dir.path().join("ignored");
    fs::write(&ignored, "secret.txt\n").expect("written");
    let ignored = ignored.to_string_lossy().into_owned();
    let program = world.canary().to_string_lossy().into_owned();
    let global = world.dir.path().join("gitconfig");
    let filter = format!("[filter \"own\"]\n\tclean = {program}\n");
    let excludes = format!("[core]\n\texcludesFile = {ignored}\n");
    fs::write(&global, filter + &excludes).expect("written");
    let global = global.to_string_lossy().into_owned();
    let parameters = format!("'core.excludesFile'='{ignored}' 'filter.own.clean'='{program}'");
    for env in [
        vec![("GIT_CONFIG_GLOBAL", global.as_str())],
        vec![("GIT_CONFIG_SYSTEM", global.as_str())],
        vec![
            ("GIT_CONFIG_COUNT", "2"),
            ("GIT_CONFIG_KEY_0", "filter.own.clean"),
            ("GIT_CONFIG_VALUE_0", program.as_str()),
            ("GIT_CONFIG_KEY_1", "core.excludesFile"),
            ("GIT_CONFIG_VALUE_1", ignored.as_str()),
        ],
        vec![("GIT_CONFIG_PARAMETERS", parameters.as_str())],
    ] {
        let names = world.pack(&env).expect("packs");
        assert!(!world.ran(), "{env:?}: a program ran");
        assert!(names.contains(&"new.x".into()), "{env:?}: {names:?}");
        assert!(!names.contains(&"secret.txt".into()), "{env:?}: {names:?}");
        let add = (plain(&world.path())
            .args(["add", "--dry-run", "--all"])
            .envs(env.clone()))
        .output()
        .expect("git runs");
        let shown = String::from_utf8_lossy(&add.stdout);
        assert!(!shown.contains("secret.txt"), "{env:?}: {shown}");
        assert!(
            world.ran(),
            "{env:?}: plain git runs nothing, so this shows nothing"
        );
    }
}
