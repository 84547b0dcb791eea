//! The language between the host and the runner in the sandbox.
//!
//! One [`Request`] goes in, one [`Reply`] comes out. A request names an id: the runner answers a
//! repeated id from its record and never does the work twice, because proxies repeat POSTs and
//! the host repeats whatever it lost the answer to.
//!
//! This crate knows nothing of OpenCode, of Daytona or of files. It is serde types, limits and the
//! [`frame`] that carries a reply through a shell's merged output.
//!
//! Surprise: the runner is not trusted. Everything here that is read by the host is bounded, and
//! unknown fields are ignored but unknown variants are errors.

pub mod args;
pub mod frame;
pub mod pointer;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

pub use args::ToolArgs;

/// Version of the wire types. A runner answers another version with [`Code::Protocol`].
pub const VERSION: u32 = 3;

/// Largest reply, in bytes of JSON, that the host accepts and the runner sends.
///
/// An image of 10 MB is 13.4 MB as base64; anything that large has no place in a model's context.
pub const MAX_REPLY: usize = 16 * 1024 * 1024;

/// Largest request, in bytes of JSON, that travels in the environment of one execute call. Linux
/// allows 128 KiB for one string and a quarter of the stack (2 MiB) for all of them.
pub const MAX_ENV_REQUEST: usize = 1024 * 1024;

/// Bytes of one environment chunk, below the kernel's limit of 128 KiB for one string.
pub const ENV_CHUNK: usize = 96 * 1024;

/// Prefix of the environment variables that carry a request: `OPENCODE_RUNNER_REQUEST_0`, `_1`, …
/// The runner joins them in order and removes them before it starts anything.
pub const ENV_REQUEST: &str = "OPENCODE_RUNNER_REQUEST_";

/// Bytes of a bundle that travels in the reply itself: one request instead of two.
pub const MAX_INLINE: usize = 512 * 1024;

/// Longest request id, in bytes. Ids are `[A-Za-z0-9_-]+`, because they become file names.
pub const MAX_ID: usize = 64;

/// One request to the runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`] of the sender.
    pub protocol: u32,
    /// Unique per piece of work; the same id is the same work.
    pub id: String,
    /// Id of the sandbox that the host sends it to. A setup leaves it in the sandbox when it has
    /// ended, and the project's state is taken or changed only where it is found again. None: only
    /// a setup that is under way is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// What to do.
    #[serde(flatten)]
    pub op: Op,
}

/// What the runner can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Run one tool.
    Tool(ToolCall),
    /// Look at what a question about a tool call must show. Changes nothing.
    Preview(Preview),
    /// Wait for news of a job that a `bash` call left running.
    JobWait(JobWait),
    /// Kill a job's whole process group, then answer like [`Op::JobWait`] with what it printed.
    JobStop(JobStop),
    /// Make the project directory from uploaded objects. Idempotent.
    Setup(Setup),
    /// Commit what the project directory holds and bundle what the host does not have.
    Sync(SyncRequest),
    /// Put the files back as they were when a turn began, or undo that.
    Restore(Restore),
}

/// One tool call, already validated and translated by the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Absolute path of the project in the sandbox: titles are relative to it.
    pub root: String,
    /// Absolute directory that relative paths start from; inside `root`, or `root` itself.
    pub cwd: String,
    /// Tool and arguments.
    #[serde(flatten)]
    pub args: ToolArgs,
    /// How long a `bash` call may hold the request open.
    #[serde(default)]
    pub wait: Wait,
    /// Extra environment for `bash`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Instruction files (`AGENTS.md` …) that `read` already showed in this message: absolute
    /// paths that it must not append again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaded: Vec<String>,
    /// The user's message that this call works for. Before the first call of a turn that may change
    /// files, the runner keeps their state under this name: see [`Restore`]. Message ids grow, so
    /// that names tell which turn came first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<String>,
}

/// What a permission question needs to know before its tool may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// The call.
    pub call: ToolCall,
    /// Absolute paths: which of them are directories?
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
}

/// How long news of a command is held back after it was printed, in milliseconds: a command that ends
/// within that time is worth one request, not two.
pub const HOLD_MS: u64 = 200;

/// When a request about a command returns although the command still runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Return once this many milliseconds passed and there is output that the host has not seen and
    /// that is [`HOLD_MS`] old.
    pub output_ms: u64,
    /// Return after this many milliseconds in any case.
    pub max_ms: u64,
}

impl Wait {
    /// For a command of which nothing was seen yet: its first text as soon as it is [`HOLD_MS`] old.
    pub const FIRST: Wait = Wait {
        output_ms: 0,
        max_ms: 10_000,
    };
}

impl Default for Wait {
    /// One second with output, ten without: far below every proxy's time-out.
    fn default() -> Self {
        Wait {
            output_ms: 1_000,
            max_ms: 10_000,
        }
    }
}

/// Waits for a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobWait {
    /// The job, as named by [`Outcome::Running`].
    pub job: String,
    /// Bytes of output the host has already.
    pub offset: u64,
    /// When to return.
    #[serde(default)]
    pub wait: Wait,
}

/// Stops a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStop {
    /// The job.
    pub job: String,
    /// Why: it decides the closing note of the output.
    pub reason: StopReason,
}

/// Why a job is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The user interrupted the turn.
    Abort,
    /// The model no longer needs it.
    Asked,
}

/// Makes `root` a directory that holds the project. What another sandbox ([`Request::sandbox`]) left
/// in it came with a snapshot that was made of that one: it is nobody's work here, and gives way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// Absolute path of the project in the sandbox.
    pub root: String,
    /// What to put there; none makes an empty git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Box<Base>>,
    /// Whatever is there stays: this only asks whether there are commits, and another setup follows
    /// if there are none.
    #[serde(default)]
    pub probe: bool,
    /// Absolute path of the directory that the session works in, below `root`. It is made where it is
    /// missing: git keeps no empty directories and carries no ignored ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Whose the agent's commits are; none: as the image says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Where the project has its hooks, relative to `root`: they are the agent's git's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<String>,
}

/// Who makes a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `user.name`.
    pub name: String,
    /// `user.email`.
    pub email: String,
}

/// A commit and the packed objects that hold it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Base {
    /// A pack that is put in place as it is, with its index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
    /// The pack with everything else, in parts: absolute paths in the sandbox, in their order; none if
    /// there is nothing else. They are removed when they have been used. It may lack what
    /// [`Ready::found`] named earlier; if that is not there any more, [`Code::MissingBase`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pack: Vec<String>,
    /// Full hash of the commit to check out. Also becomes `refs/opencode/base`.
    pub commit: String,
    /// Branch that is checked out, without `refs/heads/`.
    pub branch: String,
    /// Commits whose parents did not travel: the shallow boundary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shallow: Vec<String>,
    /// True if files that the commit names are nowhere: they stay out of the working tree, and git
    /// knows of them as it does in a partial clone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Absolute path in the sandbox of uploaded rules for ignored files, in the form of git's
    /// `info/exclude`; removed when they have been used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    /// A commit in the pack, whose tree has files that Git LFS keeps by the SHA-256 of their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs: Option<String>,
    /// Further refs: full names and hashes. None of them is the branch that is checked out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refs: Vec<(String, String)>,
    /// A ref that stands for another, such as `refs/remotes/origin/HEAD`, and that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<(String, String)>,
    /// What the branch follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// What git was doing in the user's worktree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under_way: Option<UnderWay>,
}

/// An uploaded pack that lacks nothing that its objects refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whole {
    /// Absolute paths of its parts, in their order; removed when they have been used.
    pub parts: Vec<String>,
    /// Absolute path of its index; removed when it has been used.
    pub index: String,
    /// Bytes of the pack.
    pub size: u64,
}

/// What a branch follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Name of the remote, which has no address in the sandbox; or `.`.
    pub remote: String,
    /// The ref there.
    pub merge: String,
    /// The ref here that follows it.
    pub tracking: String,
}

/// A merge, cherry-pick or revert that has not ended, or conflicts alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// Files of the git directory: name and text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<(String, String)>,
    /// Sides of files with conflicts: mode, hash, stage and path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sides: Vec<(String, String, u8, String)>,
    /// A commit in the pack, whose tree has the sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blobs: Option<String>,
}

/// Commits the state of the project directory, without touching the agent's own branch, index or
/// working files, and bundles it for the host.
///
/// The commit's parents are the state that was committed before and the agent's HEAD, each unless
/// the other holds it already; if the files are just those of HEAD, and HEAD holds what was
/// committed before, it is HEAD itself. So what came home is never taken back, and the agent's
/// commits are there as they are. It becomes `refs/opencode/work`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncRequest {
    /// Absolute path of the project in the sandbox.
    pub root: String,
    /// Message of the commit for what the agent left uncommitted.
    pub message: String,
    /// Commits (full hashes) that the host has: what they reach stays out of the bundle. Those the
    /// sandbox does not know are ignored. None: commit only, no bundle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub have: Option<Vec<String>>,
    /// Most bytes that a bundle may have: where it would have more, there is none, and the answer says
    /// so ([`Synced::too_much`]). None: as many as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// Not the state as it is now, but as it was before the first turn after this message, if one
    /// followed: what a fork of the session starts from. `refs/opencode/work` stays then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Puts the files (tracked, and untracked but not ignored) back. HEAD, branches and index stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restore {
    /// Absolute path of the project in the sandbox.
    pub root: String,
    /// To which state.
    pub to: RestoreTo,
    /// Like [`Setup::cwd`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
}

/// A state of the files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreTo {
    /// As before the turn of this message: the state kept for it, or for the first turn after it.
    /// If there is none, nothing was changed since, and nothing is done.
    Before {
        /// The user's message.
        turn: String,
        /// Nothing is undone yet: the state as it is now is what [`RestoreTo::Latest`] comes back to.
        first: bool,
    },
    /// As it was before anything was undone.
    Latest,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// [`VERSION`] of the runner.
    pub protocol: u32,
    /// The runner that answered.
    pub runner: Runner,
    /// The request's id.
    pub id: String,
    /// True if the answer comes from the record of an earlier request with this id.
    #[serde(default)]
    pub replayed: bool,
    /// What came of it.
    pub result: Result<Outcome, ToolError>,
}

/// Which runner answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runner {
    /// Version of the package it was built for.
    pub version: String,
    /// Commit it was built from, with `+` if the tree was changed; `unknown` outside git.
    pub commit: String,
}

/// A request that did its work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Outcome {
    /// The tool is done.
    Done(ToolOutput),
    /// The command still runs.
    Running(JobState),
    /// The project directory is there.
    Ready(Ready),
    /// What a question can show.
    Previewed(Previewed),
    /// The state is committed, and bundled if that was asked for.
    Synced(Synced),
    /// The files are as they were.
    Restored(Restored),
}

/// The answer to a [`SyncRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// The commit that holds the state.
    pub tip: String,
    /// Further work that `tip` does not reach: the agent's other branches, and its stash as `stash`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Branch>,
    /// A commit whose tree has the files that Git LFS keeps for pointers in what is new, by the SHA-256
    /// of their bytes, as far as they are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lfs: Option<String>,
    /// What the host does not have of all these; none if it has everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Bundle>,
    /// Why there is no bundle although there is something new: it would be too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub too_much: Option<TooMuch>,
    /// Files that could not be committed, with the reason, one per line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// What else the user should know of what is in the commit, or cannot be in any, one per line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Background commands that still run.
    #[serde(default)]
    pub jobs: u32,
}

/// A branch of the agent's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// Its name, without `refs/heads/`.
    pub name: String,
    /// Full hash.
    pub commit: String,
}

/// A git bundle. Its refs are `refs/opencode/out/0` for [`Synced::tip`] and
/// `refs/opencode/out/1`, … for [`Synced::branches`] in their order, then [`Synced::lfs`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the whole, in hex.
    pub sha256: String,
    /// The whole, base64, if it has at most [`MAX_INLINE`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline: Option<String>,
    /// Absolute path of the file in the sandbox otherwise. It stays until a [`SyncRequest`] has something else
    /// to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// More is new than [`SyncRequest::max_bytes`] allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooMuch {
    /// Bytes, packed.
    pub size: u64,
    /// The largest files of it, with the bytes that they take of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub largest: Vec<(String, u64)>,
}

/// The answer to a [`Restore`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Something was put back; false if there was nothing to go back to.
    pub changed: bool,
}

/// The answer to a [`Preview`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Previewed {
    /// Those of the paths that are directories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directories: Vec<String>,
    /// What the call would change, or why it would not; none for a tool that changes no files. A
    /// patch's error says in its metadata which `section` it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Result<Change, ToolError>>,
}

/// A change of files, not made yet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// As OpenCode shows it.
    pub diff: String,
    /// The files of a patch, as OpenCode shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Value>,
}

/// A finished tool call, in OpenCode's own terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolOutput {
    /// One line for the user.
    pub title: String,
    /// Text for the model.
    pub output: String,
    /// Data for the terminal UI, as OpenCode's own tool gives it.
    pub metadata: Value,
    /// Pictures and documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// A file that goes to the model beside the text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Media type, such as `image/png`.
    pub mime: String,
    /// `data:` URL with base64 content.
    pub url: String,
}

/// A command that still runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// Names the job in later requests.
    pub job: String,
    /// Output since the offset that the host named; invalid UTF-8 is replaced. At most 64 KiB:
    /// if there is more, the oldest part is left out and `offset` moves on all the same.
    pub output: String,
    /// Bytes of output so far: the next request's offset.
    pub offset: u64,
}

/// The project directory is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Home directory of the sandbox's user.
    pub home: String,
    /// The commit that is checked out; none if there is no commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Machine, as `uname -m` says.
    pub arch: String,
    /// Commits (full hashes, at most 20) that the image brought in this directory. The host need
    /// not send them to the next sandbox of this image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<String>,
}

/// Why a request failed. For a tool, `message` is the text that OpenCode's own tool would give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolError {
    /// What kind of failure.
    pub code: Code,
    /// What happened, to what, and what to do next.
    pub message: String,
    /// Metadata for the terminal UI, where OpenCode's own tool gives some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The tool says no: file not found, no match, … The model reads the text.
    Tool,
    /// The job is not known here (any more), for example after the sandbox was restarted.
    NoSuchJob,
    /// The request could not be read.
    BadRequest,
    /// The request is for another protocol version.
    Protocol,
    /// The project directory holds work on another base, which a setup must not overwrite. The
    /// metadata has that commit as `base`, as far as the sandbox still knows it.
    HoldsWork,
    /// No setup of the project directory has ended in this sandbox, so what is there is not a state
    /// that anybody made.
    NotSetUp,
    /// The uploaded pack needs objects that the sandbox does not have: send all of them.
    MissingBase,
    /// The sandbox cannot do it: disk full, no git, read-only directory.
    Sandbox,
    /// A defect of the runner.
    Internal,
}

impl Request {
    /// A request of this version.
    pub fn new(id: impl Into<String>, op: Op) -> Self {
        Request {
            protocol: VERSION,
            id: id.into(),
            sandbox: None,
            op,
        }
    }
}

/// A remark of the tool behind a command's output, in OpenCode's form.
pub fn shell_note(text: &str) -> String {
    format!("\n\n<shell_metadata>\n{text}\n</shell_metadata>")
}

/// The remark that tells the model of an exit code.
pub fn exit_note(code: i32) -> String {
    shell_note(&format!("The command ended with exit code {code}."))
}

/// True for an id that may become a file name.
pub fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_ID
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// FNV-1a of 64 bits, for names that are the same in every process.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
