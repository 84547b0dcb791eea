//! The user's machine: files, requests, git, time, randomness, and the values that go in and out.

use crate::http::HttpError;
use crate::platform::Platform;
use crate::proxy::{self, Proxy};
use async_trait::async_trait;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What the name of a directory for temporary files begins with.
pub const TEMPORARY: &str = "opencode-daytona-";

/// Work that goes on while its starter does something else, on the same thread.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

/// What several threads may share: `Send` and `Sync` in native programs, and nothing more on wasm.
#[cfg(not(target_family = "wasm"))]
pub trait Shareable: Send + Sync {}
#[cfg(not(target_family = "wasm"))]
impl<T: Send + Sync + ?Sized> Shareable for T {}

/// What several threads may share: `Send` and `Sync` in native programs, and nothing more on wasm.
#[cfg(target_family = "wasm")]
pub trait Shareable {}
#[cfg(target_family = "wasm")]
impl<T: ?Sized> Shareable for T {}

/// The user's machine, as far as the core may touch it.
#[cfg_attr(target_family = "wasm", async_trait(?Send))]
#[cfg_attr(not(target_family = "wasm"), async_trait)]
pub trait Host: Shareable {
    /// Sends one HTTP request. Redirects are answered as they are, never followed: a redirect
    /// must not carry a key elsewhere.
    ///
    /// A request whose future is dropped is ended.
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpError>;

    /// True if [`Host::http`] goes through the proxy that the environment names.
    fn uses_proxies(&self) -> bool;

    /// The proxy that requests to `url` go through; none if they go straight there.
    fn proxy(&self, url: &str) -> Option<Proxy> {
        match self.uses_proxies() {
            true => proxy::of(url, |name| self.env(name)),
            false => None,
        }
    }

    /// Opens a connection to `address` (host and port), sends `text`, and gives the first line that
    /// comes back; none if that takes too long or nothing comes.
    async fn first_line(&self, address: &str, tls: bool, text: &str) -> Option<String>;

    /// Reads at most `length` bytes from `offset` of a file.
    async fn read_part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError>;

    /// Reads a whole file.
    async fn read_file(&self, path: &str) -> Result<Vec<u8>, FileError>;

    /// Replaces a file as one step: temporary file in the same directory, flushed, renamed; mode
    /// 0600. Missing directories are made.
    async fn replace_file(&self, path: &str, content: &[u8]) -> Result<(), FileError>;

    /// Makes an empty file; fails with [`FileErrorKind::Exists`] if there is one. Missing
    /// directories are made.
    async fn create_file(&self, path: &str) -> Result<(), FileError>;

    /// Copies a file with the time when it was written last, rounded down to a millisecond. Git
    /// compares that time of an index with those of files to know which it has to read again.
    async fn copy_file(&self, from: &str, to: &str) -> Result<(), FileError>;

    /// Renames a file.
    async fn rename_file(&self, from: &str, to: &str) -> Result<(), FileError>;

    /// Removes a file; a missing file is fine.
    async fn remove_file(&self, path: &str) -> Result<(), FileError>;

    /// Names in a directory; a missing directory has none.
    async fn list_dir(&self, path: &str) -> Result<Vec<String>, FileError>;

    /// Makes a private directory, with the directories above it, unless they are there.
    async fn make_dir(&self, path: &str) -> Result<(), FileError>;

    /// Removes a directory with all in it; a missing one is fine. Its name must begin with
    /// [`TEMPORARY`]: a recursive removal takes no other path.
    async fn remove_dir(&self, path: &str) -> Result<(), FileError>;

    /// The path of what is there, without links; an error if nothing is.
    async fn real_path(&self, path: &str) -> Result<String, FileError>;

    /// Size of a file in bytes.
    async fn file_size(&self, path: &str) -> Result<u64, FileError>;

    /// Sizes in bytes of what is at paths relative to `dir`, links not followed; 0 for what is no file.
    async fn file_sizes(&self, dir: &str, names: &[String]) -> Vec<u64>;

    /// When a file was written last, in milliseconds since the Unix epoch.
    async fn modified_ms(&self, path: &str) -> Result<u64, FileError>;

    /// Runs git, without a shell and without blocking. It inherits the environment of this process
    /// without the variables whose names begin with `GIT_`, but for those that the call keeps. It
    /// never outlives this process, the call's time limit, or the future that this gives.
    async fn git(&self, call: GitCall) -> Result<GitOutput, GitError>;

    /// Runs a program of the user's in a directory, without input, and gives what it writes to its standard
    /// output. It is ended after `timeout_ms`, and when it has written more than `max_bytes`. The error is why
    /// there is none.
    async fn output_of(
        &self,
        program: &str,
        args: &[&str],
        cwd: &str,
        timeout_ms: u64,
        max_bytes: usize,
    ) -> Result<String, String>;

    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;

    /// Random bits from a secure source.
    fn random(&self) -> u64;

    /// Comes back after `ms` milliseconds.
    async fn sleep(&self, ms: u64);

    /// An environment variable; empty counts as unset.
    fn env(&self, name: &str) -> Option<String>;

    /// The operating system.
    fn platform(&self) -> Platform;

    /// This process.
    fn pid(&self) -> u32;

    /// This machine's name.
    fn machine(&self) -> String;

    /// True while a process of this number lives on this machine.
    fn pid_alive(&self, pid: u32) -> bool;

    /// Writes a line to the log.
    fn log(&self, level: Level, message: &str);
}

/// A host whose callers stay on one thread, as the plugins do.
pub trait LocalHost: Host {
    /// Lets `task` run by itself on this thread.
    fn spawn(&self, task: Task);
}

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual four")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// One HTTP request. Not `Debug`: its headers hold a key.
#[derive(Clone)]
pub struct HttpRequest {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Absolute URL.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Body,
    /// Give up after this many milliseconds.
    pub timeout_ms: u64,
    /// Refuse a longer response.
    pub max_bytes: usize,
    /// A successful response's body goes to this file, not to the core's memory: from this byte on, and
    /// what is there before stays. From byte 0 on the file is a new one.
    pub save_to: Option<(String, u64)>,
}

/// What a request carries.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON text.
    Json(String),
    /// `multipart/form-data`, in this order.
    Multipart(Vec<Part>),
}

/// One field of a multipart body.
#[derive(Clone, Debug)]
pub struct Part {
    /// Field name.
    pub name: String,
    /// Field value.
    pub content: PartContent,
}

/// Where a field's value comes from.
#[derive(Clone, Debug)]
pub enum PartContent {
    /// A plain value.
    Text(String),
    /// A file's content, streamed from disk: it never enters the core's memory.
    File(String),
    /// At most `length` bytes of a file from `offset` on, in the same way.
    Slice {
        /// The file.
        path: String,
        /// First byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// Bytes, sent as a file.
    Bytes(Vec<u8>),
}

/// A response, whatever its status.
#[derive(Clone, Debug, Default)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// A header's value, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// A failed file operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FileError {
    /// The file.
    pub path: String,
    /// What kind of failure.
    pub kind: FileErrorKind,
    /// The system's words.
    pub reason: String,
}

/// Kinds of failed file operations that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileErrorKind {
    /// There is no such file.
    NotFound,
    /// There is one already.
    Exists,
    /// Anything else.
    Other,
}

/// One run of git.
#[derive(Clone, Debug, Default)]
pub struct GitCall {
    /// Arguments after `git`.
    pub args: Vec<String>,
    /// Directory to run in.
    pub cwd: String,
    /// Variables added to the environment.
    pub env: Vec<(String, String)>,
    /// Names of this process's `GIT_…` variables that git sees as well, where they are set.
    pub keep: Vec<String>,
    /// Git is ended after this many milliseconds; 0 is no limit.
    pub timeout_ms: u64,
    /// Standard input.
    pub stdin: Vec<u8>,
    /// Standard input is this file instead, from this byte on. Git has the file itself, not its bytes through a
    /// pipe: `index-pack` refuses a pack with something behind it only in a file.
    pub stdin_file: Option<(String, u64)>,
    /// Standard output goes to this file, not to the core's memory.
    pub stdout_file: Option<String>,
    /// Is told what git writes to its standard error, as it comes.
    pub listener: Option<Listener>,
}

/// Is told a text, a piece after the other.
pub trait Listen: Shareable {
    /// Takes the next piece.
    fn hear(&self, text: &str);
}

impl<F: Fn(&str) + Shareable> Listen for F {
    fn hear(&self, text: &str) {
        self(text);
    }
}

/// Who is told.
#[derive(Clone)]
pub struct Listener(pub Arc<dyn Listen>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}

/// What git answered.
#[derive(Clone, Debug, Default)]
pub struct GitOutput {
    /// Exit code; -1 if it was killed.
    pub code: i32,
    /// Standard output, if it did not go to a file.
    pub stdout: Vec<u8>,
    /// Standard error, at most the last 64 KiB.
    pub stderr: String,
}

/// There is no output of git.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    /// It did not run at all.
    #[error("cannot run git: {0}; install git and make sure it is on the PATH")]
    NotRun(String),
    /// It was ended at its time limit.
    #[error(
        "git did not finish within {} s and was ended; try again when the machine is less busy",
        timeout_ms / 1000
    )]
    TooSlow {
        /// The limit.
        timeout_ms: u64,
    },
}
