//! Runs git for one worktree: no hooks, no background work, nothing written but what is asked for.

use crate::error::Error;
use host::{GitCall, GitOutput, Host, Listener};

/// Settings of the user's that would run programs or write more than was asked for.
const QUIET: &[&str] = &[
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.splitIndex=false",
    "-c",
    "core.untrackedCache=false",
    "-c",
    "core.safecrlf=false",
    "-c",
    "gc.auto=0",
    "-c",
    "maintenance.auto=false",
];

/// What bounds git's memory, whatever it is given. A file above the first is neither held in memory
/// nor compared with another one; the others are for each thread, or for packs that are mapped.
const BOUNDED: &[&str] = &[
    "-c",
    "core.bigFileThreshold=16m",
    "-c",
    "core.packedGitWindowSize=8m",
    "-c",
    "core.packedGitLimit=64m",
    "-c",
    "core.deltaBaseCacheLimit=16m",
    "-c",
    "pack.windowMemory=32m",
    "-c",
    "pack.deltaCacheSize=16m",
    "-c",
    "pack.threads=2",
    "-c",
    "pack.packSizeLimit=0",
];

/// Variables of the user's that configure git and send it nowhere else: git of ours is configured as
/// the user's own is. Every other `GIT_…` is dropped, because it may name another repository, index
/// or object directory (exported by people whose home is a repository, and by git's own hooks), or
/// give paths another meaning.
const KEPT: &[&str] = &[
    "GIT_ATTR_NOSYSTEM",
    "GIT_ATTR_SOURCE",
    "GIT_CEILING_DIRECTORIES",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_SYSTEM",
    "GIT_DISCOVERY_ACROSS_FILESYSTEM",
    "GIT_EXEC_PATH",
];
/// Most settings that `GIT_CONFIG_COUNT` may announce.
const MAX_SETTINGS: u32 = 10_000;
/// How long any git may run.
const LIMIT_MS: u64 = 15 * 60 * 1000;

/// Git with an environment.
#[derive(Clone)]
pub(crate) struct Git<'a> {
    pub(crate) host: &'a dyn Host,
    worktree: String,
    env: Vec<(String, String)>,
    keep: Vec<String>,
    /// A file of settings that overrule all others.
    overrides: Option<String>,
    /// Is told what it writes to its standard error.
    listener: Option<Listener>,
}

impl<'a> Git<'a> {
    /// Git with no configuration of the user's.
    pub(crate) fn plain(host: &'a dyn Host, worktree: &str) -> Git<'a> {
        let git = Git {
            host,
            worktree: worktree.into(),
            env: Vec::new(),
            keep: Vec::new(),
            overrides: None,
            listener: None,
        };
        // What a partial clone lacks is not fetched: nobody asked for it, and a fetch runs programs
        // that the repository names. Git before 2.44 knows only the second.
        // And there is one graph: what is looked through is what is packed, and what a sandbox can
        // know. A path that leads nowhere is no file of grafts, and git is silent about it.
        git.with("GIT_OPTIONAL_LOCKS", "0")
            .with("GIT_NO_LAZY_FETCH", "1")
            .with("GIT_ALLOW_PROTOCOL", "none")
            .with("GIT_NO_REPLACE_OBJECTS", "1")
            .with("GIT_GRAFT_FILE", "/dev/null/none")
    }

    /// Git as the user's environment configures it.
    pub(crate) fn users(host: &'a dyn Host, worktree: &str) -> Git<'a> {
        let count = host.env("GIT_CONFIG_COUNT");
        let count = count.and_then(|count| count.parse::<u32>().ok());
        let pairs = (0..count.unwrap_or(0).min(MAX_SETTINGS))
            .flat_map(|n| ["KEY", "VALUE"].map(|part| format!("GIT_CONFIG_{part}_{n}")));
        let mut git = Git::plain(host, worktree);
        git.keep = KEPT.iter().map(|name| name.to_string()).collect();
        git.keep.extend(pairs);
        git
    }

    /// With a file of settings that overrule all others.
    pub(crate) fn overruled(mut self, settings: String) -> Git<'a> {
        self.overrides = Some(settings);
        self
    }

    /// With somebody who is told what it writes to its standard error.
    pub(crate) fn told_to(mut self, listener: Listener) -> Git<'a> {
        self.listener = Some(listener);
        self
    }

    /// In another directory.
    pub(crate) fn within(mut self, dir: &str) -> Git<'a> {
        self.worktree = dir.into();
        self
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Git<'a> {
        self.env.push((name.into(), value.into()));
        self
    }

    fn call(&self, args: &[&str]) -> GitCall {
        let ours = QUIET.iter().chain(BOUNDED);
        let mut all: Vec<String> = ours.map(|arg| arg.to_string()).collect();
        if let Some(file) = &self.overrides {
            all.extend(["-c".into(), format!("include.path={file}")]);
        }
        all.extend(args.iter().map(|arg| arg.to_string()));
        GitCall {
            args: all,
            cwd: self.worktree.clone(),
            env: self.env.clone(),
            keep: self.keep.clone(),
            timeout_ms: LIMIT_MS,
            listener: self.listener.clone(),
            ..GitCall::default()
        }
    }

    pub(crate) async fn run(&self, args: &[&str], stdin: &str) -> Result<GitOutput, Error> {
        self.feed(args, stdin.into()).await
    }

    /// With a standard input that need not be text.
    pub(crate) async fn feed(&self, args: &[&str], stdin: Vec<u8>) -> Result<GitOutput, Error> {
        let mut call = self.call(args);
        call.stdin = stdin;
        Ok(self.host.git(call).await?)
    }

    /// A git that must succeed.
    pub(crate) async fn checked(&self, args: &[&str], stdin: &str) -> Result<GitOutput, Error> {
        let output = self.run(args, stdin).await?;
        self.check(args, output)
    }

    /// Its standard output goes to a file.
    pub(crate) async fn to_file(
        &self,
        args: &[&str],
        stdin: &str,
        path: &str,
    ) -> Result<(), Error> {
        self.feed_to_file(args, stdin.into(), path).await
    }

    /// The same with a standard input that need not be text.
    pub(crate) async fn feed_to_file(
        &self,
        args: &[&str],
        stdin: Vec<u8>,
        path: &str,
    ) -> Result<(), Error> {
        let mut call = self.call(args);
        (call.stdin, call.stdout_file) = (stdin, Some(path.into()));
        let output = self.host.git(call).await?;
        self.check(args, output).map(drop)
    }

    /// Its standard input is a file from some byte on.
    pub(crate) async fn fed_from(
        &self,
        args: &[&str],
        path: &str,
        offset: u64,
    ) -> Result<GitOutput, Error> {
        let mut call = self.call(args);
        call.stdin_file = Some((path.into(), offset));
        Ok(self.host.git(call).await?)
    }

    /// Its standard input is a file, and its standard output goes to another.
    pub(crate) async fn file_to_file(
        &self,
        args: &[&str],
        from: &str,
        to: &str,
    ) -> Result<(), Error> {
        let mut call = self.call(args);
        (call.stdin_file, call.stdout_file) = (Some((from.into(), 0)), Some(to.into()));
        let output = self.host.git(call).await?;
        self.check(args, output).map(drop)
    }

    pub(crate) fn check(&self, args: &[&str], output: GitOutput) -> Result<GitOutput, Error> {
        if output.code == 0 {
            return Ok(output);
        }
        let command = args
            .iter()
            .find(|a| !a.starts_with('-') && !a.contains('='))
            .unwrap_or(&"")
            .to_string();
        Err(Error::Git {
            worktree: self.worktree.clone(),
            command,
            reason: reason(&output),
        })
    }

    /// Standard output of a git that must succeed, without the line end.
    pub(crate) async fn line(&self, args: &[&str]) -> Result<String, Error> {
        let output = self.checked(args, "").await?;
        Ok(text(&output.stdout))
    }

    /// True if `older` is `newer` or one of its ancestors.
    pub(crate) async fn is_ancestor(&self, older: &str, newer: &str) -> Result<bool, Error> {
        let args = ["merge-base", "--is-ancestor", older, newer];
        Ok(self.run(&args, "").await?.code == 0)
    }

    /// True if it is a commit itself, and no tag of one.
    pub(crate) async fn is_commit(&self, name: &str) -> Result<bool, Error> {
        let output = self.run(&["cat-file", "-t", name], "").await?;
        Ok(text(&output.stdout) == "commit")
    }

    /// True if the commit is there.
    pub(crate) async fn has(&self, commit: &str) -> Result<bool, Error> {
        let name = format!("{commit}^{{commit}}");
        Ok(self.run(&["cat-file", "-e", &name], "").await?.code == 0)
    }
}

/// Output as text, without the line end.
pub(crate) fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim_end().to_string()
}

/// The files that `check-attr -z` gives a value for, and the value.
pub(crate) fn attributes(output: &[u8]) -> Vec<(&[u8], &[u8])> {
    let fields: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
    let triples = fields.chunks_exact(3);
    let has_value = |value: &[u8]| !matches!(value, b"unspecified" | b"unset" | b"set");
    triples
        .filter(|triple| has_value(triple[2]))
        .map(|triple| (triple[0], triple[2]))
        .collect()
}

/// The contents that `cat-file --batch` gives, in their order, up to the first object that is missing.
pub(crate) fn contents(mut output: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while let Some(end) = output.iter().position(|byte| *byte == b'\n') {
        // `HASH TYPE SIZE`
        let head = std::str::from_utf8(&output[..end]).unwrap_or_default();
        let size = head.rsplit(' ').next().and_then(|size| size.parse().ok());
        let content = size.and_then(|size: usize| output.get(end + 1..end + 1 + size));
        let Some(content) = content else {
            break;
        };
        found.push(content);
        output = output.get(end + content.len() + 2..).unwrap_or_default();
    }
    found
}

/// Arguments that list the files in which two commits differ, each with a NUL behind it.
pub(crate) fn changed_names<'a>(from: &'a str, to: &'a str) -> [&'a str; 7] {
    [
        "diff-tree",
        "-r",
        "-z",
        "--name-only",
        "--no-renames",
        from,
        to,
    ]
}

/// Git's words, cut.
pub(crate) fn reason(output: &GitOutput) -> String {
    output.stderr.trim().chars().take(500).collect()
}

/// The text of `objects/info/alternates` for one path: it is quoted if it begins with a quote, or holds
/// a line end.
pub(crate) fn text_of_alternates(path: &str) -> String {
    match path.starts_with('"') || path.contains('\n') {
        true => quoted(path) + "\n",
        false => format!("{path}\n"),
    }
}

/// A path as git's C-style strings are.
pub(crate) fn quoted(path: &str) -> String {
    let path = path
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{path}\"")
}
