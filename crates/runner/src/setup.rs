//! Makes the project directory: an empty repository, or one that holds an uploaded commit.
//!
//! Everything is prepared in a directory beside `root` and renamed into place, so a crash half-way
//! leaves nothing that looks finished. If `root` exists already and is not empty (an image may ship
//! it), the repository is built beside it, moved in as `.git`, and only then is the commit
//! checked out; the missing checkout mark makes the next run finish the job.
//!
//! Never: touch the working tree of a repository that has this base already.
//!
//! Surprise: git refuses repositories of other owners and reads the configuration of a home
//! directory that may not be there, so every call names the directory as safe.

use crate::error;
use crate::state::State;
use protocol::{Base, Code, Ready, Setup, ToolError};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const BASE_REF: &str = "refs/opencode/base";
/// In `.git` from the time the repository is in place until the checkout is complete.
const UNFINISHED: &str = "opencode-checkout";

/// Temporary files of the tools, as a line for `.git/info/exclude`.
const LEFTOVERS: &str = ".opencode-*-*.tmp";

/// Makes `setup.root`, or finds that it is there.
pub(crate) fn run(state: &State, setup: &Setup) -> Result<Ready, ToolError> {
    let root = Path::new(&setup.root);
    if !root.is_absolute() || root.parent().is_none() {
        return Err(error(
            Code::BadRequest,
            format!(
                "root must be an absolute path below /, not `{}`",
                setup.root
            ),
        ));
    }
    let _lock = lock(state);
    fs::create_dir_all(root).map_err(|why| {
        sandbox(format!(
            "The project directory {} cannot be made in the sandbox: {why}. Set the option `projectDir` to a directory that the sandbox's user may write.",
            root.display()
        ))
    })?;
    let git = Git {
        dir: root.to_path_buf(),
    };
    git.check()?;
    match &setup.base {
        Some(base) => with_base(&git, base)?,
        None if root.join(".git").exists() => {}
        None => git.run(&["init", "--quiet"])?,
    }
    configure(&git)?;
    Ok(Ready {
        home: std::env::var("HOME").unwrap_or_else(|_| "/".to_string()),
        head: git.text(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]),
        arch: rustix::system::uname()
            .machine()
            .to_string_lossy()
            .into_owned(),
    })
}

fn sandbox(message: String) -> ToolError {
    error(Code::Sandbox, message)
}

/// Two setups at the same time do the same work one after the other.
fn lock(state: &State) -> Option<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(state.sub("locks")?.join("setup"))
        .ok()?;
    flock(&file, FlockOperation::LockExclusive).ok()?;
    Some(file)
}

fn with_base(git: &Git, base: &Base) -> Result<(), ToolError> {
    let is_hash =
        matches!(base.commit.len(), 40 | 64) && base.commit.bytes().all(|b| b.is_ascii_hexdigit());
    let branch_ref = format!("refs/heads/{}", base.branch);
    if !is_hash || !git.succeeds(&["check-ref-format", &branch_ref]) {
        let message = format!(
            "`{}` is not a full commit hash or `{}` is not a branch name",
            base.commit, base.branch
        );
        return Err(error(Code::BadRequest, message));
    }
    let repository = git.dir.join(".git");
    let unfinished = repository.join(UNFINISHED);
    let old = if repository.exists() {
        git.text(&["rev-parse", "--verify", "--quiet", BASE_REF])
    } else {
        None
    };
    if old.as_ref() != Some(&base.commit) {
        if let Some(old) = old.filter(|_| !unfinished.exists()) {
            let message = format!(
                "{} in the sandbox already holds work on commit {old}, so commit {} was not put there. Use a fresh sandbox or another `projectDir`.",
                git.dir.display(),
                base.commit
            );
            return Err(error(Code::HoldsWork, message));
        }
        if repository.exists() {
            // A repository that came with the image: what its branch was stays reachable.
            if let Some(before) = git.text(&["rev-parse", "--verify", "--quiet", &branch_ref]) {
                git.run(&["update-ref", "refs/opencode/replaced", &before])?;
            }
            git.unpack(base)?;
            mark(&unfinished)?;
            git.point(base, &branch_ref)?;
        } else {
            build_beside(git, base, &branch_ref)?;
        }
    }
    if unfinished.exists() {
        git.run(&["symbolic-ref", "HEAD", &branch_ref])?;
        git.run(&["read-tree", "--reset", "-u", "HEAD"])?;
        fs::remove_file(&unfinished).map_err(io_failed)?;
    }
    let _ = fs::remove_file(&base.pack);
    Ok(())
}

/// A whole repository in `ROOT.opencode-setup`, then its `.git` moved into place in one step.
fn build_beside(git: &Git, base: &Base, branch_ref: &str) -> Result<(), ToolError> {
    let mut name = git.dir.file_name().unwrap_or_default().to_os_string();
    name.push(".opencode-setup");
    // Beside the root if that is possible, else in it: both are on the same file system.
    let beside = git.dir.with_file_name(&name);
    let _ = fs::remove_dir_all(&beside);
    let place = match fs::create_dir(&beside) {
        Ok(()) => beside,
        Err(_) => {
            let inside = git.dir.join(".opencode-setup");
            let _ = fs::remove_dir_all(&inside);
            fs::create_dir(&inside).map_err(io_failed)?;
            inside
        }
    };
    let fresh = Git { dir: place.clone() };
    let build = || -> Result<(), ToolError> {
        let format = if base.commit.len() == 64 {
            "--object-format=sha256"
        } else {
            "--object-format=sha1"
        };
        if !fresh.succeeds(&["init", "--quiet", format]) {
            fresh.run(&["init", "--quiet"])?;
        }
        fresh.unpack(base)?;
        mark(&place.join(".git").join(UNFINISHED))?;
        fresh.point(base, branch_ref)?;
        fresh.run(&["symbolic-ref", "HEAD", branch_ref])?;
        match fs::rename(place.join(".git"), git.dir.join(".git")) {
            // The root may be a mount of its own.
            Err(why) if why.kind() == io::ErrorKind::CrossesDevices => {
                let inside = git.dir.join(".git.opencode-setup");
                let _ = fs::remove_dir_all(&inside);
                let copied = Command::new("cp")
                    .arg("-a")
                    .arg(place.join(".git"))
                    .arg(&inside)
                    .status();
                if !copied.is_ok_and(|status| status.success()) {
                    return Err(io_failed(why));
                }
                fs::rename(&inside, git.dir.join(".git")).map_err(io_failed)
            }
            moved => moved.map_err(io_failed),
        }
    };
    let built = build();
    let _ = fs::remove_dir_all(&place);
    built
}

fn mark(path: &Path) -> Result<(), ToolError> {
    fs::write(path, "the checkout is not complete\n").map_err(io_failed)
}

fn io_failed(why: io::Error) -> ToolError {
    sandbox(format!(
        "The project cannot be set up in the sandbox: {why}"
    ))
}

/// A name for commits, where the image brings none, and no commit of what a killed write left.
fn configure(git: &Git) -> Result<(), ToolError> {
    for (key, value) in [
        ("user.name", "OpenCode"),
        ("user.email", "opencode@localhost"),
    ] {
        if git.text(&["config", "--get", key]).is_none() {
            git.run(&["config", key, value])?;
        }
    }
    if let Some(exclude) = git.text(&["rev-parse", "--git-path", "info/exclude"]) {
        let path = git.dir.join(exclude);
        let old = fs::read_to_string(&path).unwrap_or_default();
        if !old.lines().any(|line| line == LEFTOVERS) {
            let gap = if old.is_empty() || old.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            let dir = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(dir)
                .and_then(|()| File::options().append(true).create(true).open(&path))
                .and_then(|mut file| writeln!(file, "{gap}{LEFTOVERS}"))
                .map_err(io_failed)?;
        }
    }
    Ok(())
}

/// Git, in one directory.
struct Git {
    dir: PathBuf,
}

impl Git {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            // Whatever repository the sandbox's environment points to is not this one.
            let is_git = name.to_str().is_some_and(|name| name.starts_with("GIT_"));
            if is_git || crate::input::is_request_variable(&name) {
                command.env_remove(name);
            }
        }
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .env(
                "GIT_CEILING_DIRECTORIES",
                self.dir.parent().unwrap_or(Path::new("/")),
            )
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .args(args);
        command
    }

    fn check(&self) -> Result<(), ToolError> {
        match self.command(&["--version"]).output() {
            Ok(out) if out.status.success() => Ok(()),
            _ => Err(sandbox(
                "The sandbox's image has no git, which carrying the project in and out needs. Use an image or snapshot with git, or install it in the image."
                    .to_string(),
            )),
        }
    }

    fn run(&self, args: &[&str]) -> Result<(), ToolError> {
        let out = self.command(args).output().map_err(io_failed)?;
        if out.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&out.stderr);
        Err(sandbox(format!(
            "git {} failed in the sandbox: {}",
            args.join(" "),
            why.trim()
        )))
    }

    fn succeeds(&self, args: &[&str]) -> bool {
        self.command(args)
            .output()
            .is_ok_and(|out| out.status.success())
    }

    /// The first line that a command prints; none if it fails or prints nothing.
    fn text(&self, args: &[&str]) -> Option<String> {
        let out = self
            .command(args)
            .output()
            .ok()
            .filter(|out| out.status.success())?;
        String::from_utf8_lossy(&out.stdout)
            .lines()
            .next()
            .filter(|line| !line.is_empty())
            .map(str::to_string)
    }

    /// Adds the uploaded objects.
    fn unpack(&self, base: &Base) -> Result<(), ToolError> {
        let pack = File::open(&base.pack).map_err(|why| {
            sandbox(format!(
                "The uploaded pack {} cannot be opened: {why}",
                base.pack
            ))
        })?;
        let out = self
            .command(&["index-pack", "--stdin", "--fix-thin"])
            .stdin(Stdio::from(pack))
            .output()
            .map_err(io_failed)?;
        if !out.status.success() {
            let why = String::from_utf8_lossy(&out.stderr);
            return Err(sandbox(format!(
                "The uploaded pack {} is not usable: {}",
                base.pack,
                why.trim()
            )));
        }
        Ok(())
    }

    /// Makes the refs. A commit whose parents did not travel is the beginning of this history.
    fn point(&self, base: &Base, branch_ref: &str) -> Result<(), ToolError> {
        let commit = format!("{}^{{commit}}", base.commit);
        if !self.succeeds(&["cat-file", "-e", &commit]) {
            return Err(sandbox(format!(
                "The uploaded pack {} does not hold the commit {}",
                base.pack, base.commit
            )));
        }
        let missing = self.missing_parents(&base.commit);
        if !missing.is_empty() {
            let shallow = self.dir.join(".git/shallow");
            fs::write(shallow, missing.join("\n") + "\n").map_err(io_failed)?;
        }
        self.run(&["update-ref", branch_ref, &base.commit])?;
        self.run(&["update-ref", BASE_REF, &base.commit])
    }

    /// Commits whose parents are not here.
    fn missing_parents(&self, tip: &str) -> Vec<String> {
        let mut edge = Vec::new();
        let mut todo = vec![tip.to_string()];
        let mut seen = std::collections::HashSet::new();
        // With the whole history there, one call says so and no walk is needed.
        if self.succeeds(&["rev-list", "--quiet", tip]) {
            return edge;
        }
        while let Some(commit) = todo.pop() {
            if !seen.insert(commit.clone()) {
                continue;
            }
            let Ok(out) = self.command(&["cat-file", "commit", &commit]).output() else {
                continue;
            };
            let text = String::from_utf8_lossy(&out.stdout);
            let parents: Vec<&str> = text
                .lines()
                .take_while(|line| !line.is_empty())
                .filter_map(|line| line.strip_prefix("parent "))
                .collect();
            let here = |parent: &&str| self.succeeds(&["cat-file", "-e", parent]);
            if parents.iter().all(here) {
                todo.extend(parents.iter().map(|parent| parent.to_string()));
            } else {
                edge.push(commit);
            }
        }
        edge
    }
}
