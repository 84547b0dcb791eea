//! Git in one directory: how it is called, and what its failures say.
//!
//! Never: let the environment of the sandbox point git to another repository, ask a question, or,
//! for a [`Git::quiet`] one, run a hook, start a daemon or clean up in the background.
//!
//! Surprise: git refuses repositories of other owners and reads the configuration of a home
//! directory that may not be there, so every call names the directory as safe.

use crate::error;
use protocol::{Code, ToolError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What turns off everything that a repository's own settings could start or refuse.
const QUIET: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.splitIndex=false",
    "core.safecrlf=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
    "advice.addEmbeddedRepo=false",
];

/// Git, in one directory.
#[derive(Clone)]
pub(crate) struct Git {
    pub(crate) dir: PathBuf,
    is_quiet: bool,
    index: Option<PathBuf>,
}

impl Git {
    /// As the agent would call it.
    pub(crate) fn new(dir: &Path) -> Git {
        Git {
            dir: dir.to_path_buf(),
            is_quiet: false,
            index: None,
        }
    }

    /// For work that nobody asked the repository about: no hooks, no signatures, no helpers.
    pub(crate) fn quiet(dir: &Path) -> Git {
        Git {
            is_quiet: true,
            ..Git::new(dir)
        }
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
        for setting in QUIET.iter().filter(|_| self.is_quiet) {
            command.args(["-c", setting]);
        }
        command.args(args);
        command
    }

    /// Fails if there is no git at all.
    pub(crate) fn check(&self) -> Result<(), ToolError> {
        match self.command(&["--version"]).output() {
            Ok(out) if out.status.success() => Ok(()),
            _ => Err(error(
                Code::Sandbox,
                "The sandbox's image has no git, which carrying the project in and out needs. Use an image or snapshot with git, or install it in the image.",
            )),
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
        let run = || -> io::Result<Output> {
            let mut command = self.command(args);
            if input.is_empty() {
                return command.output();
            }
            let mut child = command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let stdin = child.stdin.take();
            std::thread::scope(|scope| {
                // Git may answer before it has read everything; what it did not want is its own
                // business and shows in how it ends.
                scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
                child.wait_with_output()
            })
        };
        run().map_err(|why| {
            let what = args.first().copied().unwrap_or_default();
            error(
                Code::Sandbox,
                format!("git {what} cannot be started in the sandbox: {why}"),
            )
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
