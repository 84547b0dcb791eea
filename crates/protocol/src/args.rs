//! Arguments of the tools, in OpenCode's own spelling (1.18.33, November 2026).
//!
//! `tools::catalog` holds the JSON Schemas the model sees and turns loose JSON into these types;
//! a test there keeps the two in step.

use serde::{Deserialize, Serialize};

/// Milliseconds after which a command is killed that names no time of its own.
pub const DEFAULT_TIMEOUT_MS: u64 = 120_000;

/// A tool and its arguments: `{"tool":"read","args":{"filePath":"…"}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "tool", content = "args", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant is the tool of that name")]
pub enum ToolArgs {
    Read(Read),
    Write(Write),
    Edit(Edit),
    ApplyPatch(ApplyPatch),
    Glob(Glob),
    Grep(Grep),
    Bash(Bash),
    Webfetch(Webfetch),
    Websearch(Websearch),
    Job(Job),
    Preview(Preview),
    Sync(Sync),
}

impl ToolArgs {
    /// The tool's name, as the model calls it.
    pub fn tool(&self) -> &'static str {
        match self {
            ToolArgs::Read(_) => "read",
            ToolArgs::Write(_) => "write",
            ToolArgs::Edit(_) => "edit",
            ToolArgs::ApplyPatch(_) => "apply_patch",
            ToolArgs::Glob(_) => "glob",
            ToolArgs::Grep(_) => "grep",
            ToolArgs::Bash(_) => "bash",
            ToolArgs::Webfetch(_) => "webfetch",
            ToolArgs::Websearch(_) => "websearch",
            ToolArgs::Job(_) => "job",
            ToolArgs::Preview(_) => "preview",
            ToolArgs::Sync(_) => "sync",
        }
    }
}

/// Shows a file or a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Read {
    /// File or directory.
    pub file_path: String,
    /// First line (or entry), from 1; 0 acts as 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Lines (or entries) at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// Writes a whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Write {
    /// The new text, as it is.
    pub content: String,
    /// The file.
    pub file_path: String,
}

/// Replaces text in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edit {
    /// The file.
    pub file_path: String,
    /// Text to find; empty makes a new file.
    pub old_string: String,
    /// Text to put in its place.
    pub new_string: String,
    /// Replace every occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_all: Option<bool>,
}

/// Applies a patch in the `*** Begin Patch` format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyPatch {
    /// The whole patch.
    pub patch_text: String,
}

/// Finds files by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Glob {
    /// Glob pattern.
    pub pattern: String,
    /// Directory to search; default the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Finds lines by regular expression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grep {
    /// Regular expression.
    pub pattern: String,
    /// Directory to search; default the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Glob for the file names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<String>,
}

/// Runs a command with bash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bash {
    /// The command line.
    pub command: String,
    /// Milliseconds before the command is killed; default 120,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Directory to run in; default the working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Leave it running and answer at once. Then it is killed only if it has a `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<bool>,
}

/// Looks after a command that runs in the background.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name, as `bash` gave it. Without one, the commands that run are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Text for its standard input, as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// Milliseconds to wait for new output or the end; default 1,000, at most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// Stop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<bool>,
    /// Bytes of its output that were shown before. The host's, not the model's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
}

fn is_zero(offset: &u64) -> bool {
    *offset == 0
}

/// Gives a link to a port of the sandbox. The runner waits until something listens there; the link
/// is the host's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// TCP port.
    pub port: u16,
    /// Milliseconds to wait until something listens; default and at most 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// Minutes that the link holds; default 60, at most 1,440.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes: Option<u64>,
}

/// Brings the work home. Only the host can do it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    /// First line of the message of the commit for what is not committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Fetches a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Webfetch {
    /// An http or https URL.
    pub url: String,
    /// What to make of an HTML page.
    #[serde(default)]
    pub format: Format,
    /// Seconds; default 30, at most 120.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<f64>,
}

/// What becomes of an HTML page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Its text, without markup.
    Text,
    /// Markdown.
    #[default]
    Markdown,
    /// The page as it is.
    Html,
}

/// Searches the web.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Websearch {
    /// What to look for.
    pub query: String,
    /// Default 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_results: Option<f64>,
    /// `fallback` (default) or `preferred`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub livecrawl: Option<String>,
    /// `auto` (default), `fast` or `deep`.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Characters of context; the service's default is 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_max_characters: Option<f64>,
}
