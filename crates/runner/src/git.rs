//! Git in one directory: how it is called, and what its failures say.
//!
//! The image has settings of its own (`/etc/gitconfig`, the home directory's, templates, variables),
//! and so may a repository that came with it: line ends, ignored files, hooks, filters, sparse
//! checkouts. They are the agent's, whose own git keeps them. The project comes in and goes home as it
//! is, so none of them is in force here, and none of the programs that they name runs ([`OURS`]). What
//! Git LFS keeps goes through a filter of our own ([`crate::lfs`]).
//!
//! Never: let the environment of the sandbox point git to another repository, ask a question, run a
//! hook or another's filter, start a daemon or clean up in the background.
//!
//! Surprise: git refuses repositories of other owners, so every call names the directory as safe.

use crate::answer::error;
use protocol::{Code, ToolError};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, Output, Stdio};

/// What a repository's own settings could start, refuse, or make of the files, and what holds instead.
const OURS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.splitIndex=false",
    "core.untrackedCache=false",
    "core.safecrlf=false",
    "core.autocrlf=false",
    "core.eol=lf",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.sparseCheckout=false",
    "core.ignoreCase=false",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "advice.addEmbeddedRepo=false",
];

/// A file of more bytes is neither held in memory nor compared with another one.
pub(crate) const BIG_FILE: u64 = 16 * 1024 * 1024;
/// What bounds git's memory, whatever is in the project: the first is [`BIG_FILE`], the others are for
/// each thread, or for packs that are mapped.
const BOUNDED: &[&str] = &[
    "core.bigFileThreshold=16m",
    "core.packedGitWindowSize=8m",
    "core.packedGitLimit=64m",
    "core.deltaBaseCacheLimit=16m",
    "pack.windowMemory=32m",
    "pack.deltaCacheSize=16m",
    "pack.threads=2",
];

/// The oldest git that the project is carried with, here and on the host.
const OLDEST: (u32, u32) = (2, 30);

/// Git, in one directory.
#[derive(Clone)]
pub(crate) struct Git {
    pub(crate) dir: PathBuf,
    /// With the image's settings, and no others.
    is_agents: bool,
    /// Settings that put the repository's own filters out of force, and ours into it.
    filters: Vec<OsString>,
    index: Option<PathBuf>,
}

impl Git {
    /// For carrying the project in and home.
    pub(crate) fn new(dir: &Path) -> Git {
        let mut git = Git {
            dir: dir.to_path_buf(),
            is_agents: false,
            filters: Vec::new(),
            index: None,
        };
        git.filters = git.filters();
        if let Some(command) = crate::lfs::command(dir) {
            let process = format!("filter.lfs.process={command}");
            git.filters
                .extend([process.into(), "filter.lfs.required=false".into()]);
        }
        git
    }

    /// As the agent would call it: for a look at its settings.
    pub(crate) fn agents(dir: &Path) -> Git {
        Git {
            dir: dir.to_path_buf(),
            is_agents: true,
            filters: Vec::new(),
            index: None,
        }
    }

    /// Settings that put those filters out of force that the repository itself names. A name need not
    /// be text.
    fn filters(&self) -> Vec<OsString> {
        // Nearly every repository names none, and then git need not be asked.
        let may_name = |file: &str| match fs::read(self.dir.join(file)) {
            Ok(settings) => {
                let settings = settings.to_ascii_lowercase();
                let names = |word: &[u8]| settings.windows(word.len()).any(|part| part == word);
                names(b"filter") || names(b"include")
            }
            // Another place keeps them.
            Err(_) => self.dir.join(".git").is_file(),
        };
        if !may_name(".git/config") && !may_name(".git/config.worktree") {
            return Vec::new();
        }
        let names = ["config", "-z", "--name-only", "--get-regexp", "^filter\\."];
        let names = self.feed(&names, b"").unwrap_or_default();
        let names = names.split(|byte| *byte == 0).filter_map(|name| {
            let end = name.iter().rposition(|byte| *byte == b'.')?;
            Some(&name[..=end])
        });
        let mut settings = Vec::new();
        for filter in names.collect::<BTreeSet<_>>() {
            for value in ["clean=", "smudge=", "process=", "required=false"] {
                let setting = [filter, value.as_bytes()].concat();
                settings.push(OsString::from_vec(setting));
            }
        }
        settings
    }

    /// The same with an index of its own.
    pub(crate) fn with_index(&self, index: &Path) -> Git {
        Git {
            index: Some(index.to_path_buf()),
            ..self.clone()
        }
    }

    /// The command, ready to be run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
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
            .stdin(Stdio::null());
        if let Some(index) = &self.index {
            command.env("GIT_INDEX_FILE", index);
        }
        if !self.is_agents {
            // No git before 2.32 knows another way to leave out a user's settings, ignored files and
            // attributes.
            command
                .env("HOME", "/dev/null")
                .env("XDG_CONFIG_HOME", "/dev/null")
                .env("GIT_CONFIG_NOSYSTEM", "1")
                .env("GIT_ATTR_NOSYSTEM", "1")
                // What is bundled is the graph that the host will see: the agent's replaced commits
                // and grafts are its own.
                .env("GIT_NO_REPLACE_OBJECTS", "1")
                .env("GIT_GRAFT_FILE", "/dev/null/none");
            let ours = OURS.iter().chain(BOUNDED).map(OsStr::new);
            for setting in ours.chain(self.filters.iter().map(OsString::as_os_str)) {
                command.arg("-c").arg(setting);
            }
        }
        command.args(args);
        command
    }

    /// Fails if there is no git at all, or one that is too old. A version in a form that is not known
    /// is one of the future, or somebody's own.
    pub(crate) fn check(&self) -> Result<(), ToolError> {
        let said = match self.command(&["--version"]).output() {
            Ok(out) if out.status.success() => first_line(&out.stdout).unwrap_or_default(),
            _ => {
                return Err(error(
                    Code::Sandbox,
                    "The sandbox's image has no git, which carrying the project in and out needs. Use an image or snapshot with git, or install it in the image.",
                ));
            }
        };
        match version(&said) {
            Some(found) if found < OLDEST => Err(error(
                Code::Sandbox,
                format!(
                    "The sandbox's image has {said}, and version {}.{} or newer is needed to carry the project in and out. Use an image or snapshot with a newer git, or install one in the image.",
                    OLDEST.0, OLDEST.1
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Runs it for its effect.
    pub(crate) fn run(&self, args: &[&str]) -> Result<(), ToolError> {
        self.feed(args, b"").map(drop)
    }

    /// Runs it with `input` on stdin; the result is what it prints.
    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>, ToolError> {
        let out = self.output(args, input)?;
        match out.status.success() {
            true => Ok(out.stdout),
            false => Err(failed(args, &out)),
        }
    }

    /// Runs it with `input` on stdin, to whatever end.
    pub(crate) fn output(&self, args: &[&str], input: &[u8]) -> Result<Output, ToolError> {
        match input.is_empty() {
            true => self
                .command(args)
                .output()
                .map_err(|why| not_started(args, &why)),
            false => self.written_to(args, |stdin| stdin.write_all(input)),
        }
    }

    /// Runs it with what `write` writes on stdin, to whatever end.
    pub(crate) fn written_to(
        &self,
        args: &[&str],
        write: impl FnOnce(&mut ChildStdin) -> io::Result<()> + Send,
    ) -> Result<Output, ToolError> {
        let run = || -> io::Result<Output> {
            let mut child = self
                .command(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let stdin = child.stdin.take();
            std::thread::scope(|scope| {
                // Git may answer before it has read everything; what it did not want is its own
                // business and shows in how it ends.
                scope.spawn(move || stdin.map(|mut stdin| write(&mut stdin)));
                child.wait_with_output()
            })
        };
        run().map_err(|why| not_started(args, &why))
    }

    /// Runs it and gives what it prints to `take`, a part after the other, until that wants no more:
    /// then it is ended, and the result is false.
    pub(crate) fn stream(
        &self,
        args: &[&str],
        take: &mut dyn FnMut(&[u8]) -> Result<bool, ToolError>,
    ) -> Result<bool, ToolError> {
        let mut command = self.command(args);
        let broken = |why: io::Error| {
            let what = args.first().copied().unwrap_or_default();
            let message = format!("git {what} cannot be run in the sandbox: {why}");
            error(Code::Sandbox, message)
        };
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().map_err(broken)?;
        let (stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            let said = scope.spawn(move || {
                let mut said = Vec::new();
                let _ = stderr.as_mut().map(|stderr| stderr.read_to_end(&mut said));
                said
            });
            let mut pass = |mut from: ChildStdout| -> Result<bool, ToolError> {
                let mut part = vec![0; 1 << 16];
                loop {
                    match from.read(&mut part) {
                        Ok(0) => return Ok(true),
                        Ok(read) if !take(&part[..read])? => return Ok(false),
                        Ok(_) => {}
                        Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                        Err(why) => return Err(broken(why)),
                    }
                }
            };
            let passed = stdout.map_or(Ok(true), &mut pass);
            if !matches!(passed, Ok(true)) {
                // What it has started ends when it finds nobody that reads.
                let _ = child.kill();
            }
            let status = child.wait().map_err(broken)?;
            let stderr = said.join().unwrap_or_default();
            match passed {
                Ok(true) if !status.success() => Err(failed(
                    args,
                    &Output {
                        status,
                        stdout: Vec::new(),
                        stderr,
                    },
                )),
                passed => passed,
            }
        })
    }

    /// True if it succeeds.
    pub(crate) fn succeeds(&self, args: &[&str]) -> bool {
        self.output(args, b"").is_ok_and(|out| out.status.success())
    }

    /// The first line that a command prints; none if it fails or prints nothing.
    pub(crate) fn text(&self, args: &[&str]) -> Option<String> {
        let out = self.feed(args, b"").ok()?;
        first_line(&out)
    }

    /// The hashes of objects by name, such as `HEAD^{tree}`, in one call; none for what is missing.
    pub(crate) fn resolve(&self, names: &[&str]) -> Vec<Option<String>> {
        let args = ["cat-file", "--batch-check=%(objectname)"];
        let out = self.feed(&args, (names.join("\n") + "\n").as_bytes());
        let text = String::from_utf8_lossy(&out.unwrap_or_default()).into_owned();
        let mut lines = text.lines().map(|line| is_hash(line).then(|| line.into()));
        names
            .iter()
            .map(|_| lines.next().unwrap_or_default())
            .collect()
    }

    /// The refs below `places` in git's order: full name and hash.
    pub(crate) fn refs(&self, places: &[&str]) -> Result<Vec<(String, String)>, ToolError> {
        let args = ["for-each-ref", "--format=%(objectname) %(refname)"];
        let out = self.feed(&[&args, places].concat(), b"")?;
        let text = String::from_utf8_lossy(&out);
        let pairs = text.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs
            .map(|(hash, name)| (name.to_string(), hash.to_string()))
            .collect())
    }

    /// True if `old` is `new` or behind it.
    pub(crate) fn is_ancestor(&self, old: &str, new: &str) -> bool {
        old == new || self.succeeds(&["merge-base", "--is-ancestor", old, new])
    }
}

/// The numbers of `git version 2.30.2`.
fn version(said: &str) -> Option<(u32, u32)> {
    let mut numbers = said.strip_prefix("git version ")?.split(['.', '-', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What is said of a git that did not run.
fn not_started(args: &[&str], why: &io::Error) -> ToolError {
    let what = args.first().copied().unwrap_or_default();
    error(
        Code::Sandbox,
        format!("git {what} cannot be started in the sandbox: {why}"),
    )
}

/// What a command that failed said.
pub(crate) fn failed(args: &[&str], out: &Output) -> ToolError {
    let why = String::from_utf8_lossy(&out.stderr);
    error(
        Code::Sandbox,
        format!(
            "git {} failed in the sandbox: {}",
            args.join(" "),
            why.trim()
        ),
    )
}

/// The first line, if there is anything in it.
pub(crate) fn first_line(text: &[u8]) -> Option<String> {
    String::from_utf8_lossy(text)
        .lines()
        .next()
        .filter(|line| !line.is_empty())
        .map(str::to_string)
}

/// True for a full hash.
pub(crate) fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
