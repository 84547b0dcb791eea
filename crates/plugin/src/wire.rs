//! The values that cross the edge to JavaScript. The TypeScript types are generated from them
//! (`cargo xtask types`).

pub use permission::Permission;
use protocol::Attachment;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

macro_rules! values {
    ($($(#[$doc:meta])* $kind:ident $name:ident $body:tt)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS))]
        #[allow(missing_docs, reason = "the fields are OpenCode's own; some types have none")]
        pub $kind $name $body
    )*};
}

values! {
    /// What OpenCode tells a plugin when it starts.
    struct Init {
        pub directory: String,
        pub worktree: String,
        pub project_id: String,
        /// When OpenCode came to know the project, in milliseconds since the epoch.
        #[serde(default)]
        pub project_since: Option<f64>,
        /// Options of the plugin entry in `opencode.json`, as they stand there.
        #[cfg_attr(feature = "ts", ts(type = "unknown"))]
        pub options: Value,
        /// Directory of the packaged files (runners).
        pub assets: String,
        /// The packaged program that stands in for the shell of `!command`.
        pub shell: String,
        /// The program that runs JavaScript: OpenCode's own.
        pub javascript: String,
    }

    /// Nothing.
    struct Nothing {}

    /// What the plugin offers.
    struct Started {
        /// Tools of the catalog that are OpenCode's own this time.
        pub without: Vec<String>,
        /// Follows the description of each tool when it is registered: by it the tool is known again.
        pub mark: String,
        /// Kinds of events that the plugin wants to hear of.
        pub events: Vec<String>,
        /// Why every tool will refuse, if it will.
        pub problem: Option<String>,
    }

    /// One tool for the model.
    struct ToolDefinition {
        pub name: String,
        pub description: String,
        #[cfg_attr(feature = "ts", ts(type = "Record<string, unknown>"))]
        pub schema: Value,
    }

    /// A tool call.
    struct Execute {
        /// Names this call in `abort` and in permission questions.
        pub call: u32,
        pub tool: String,
        #[cfg_attr(feature = "ts", ts(type = "unknown"))]
        pub args: Value,
        pub session_id: String,
        /// Whose rules hold.
        pub agent: String,
    }

    /// A finished tool call, as OpenCode takes it.
    struct Done {
        pub title: String,
        pub output: String,
        #[cfg_attr(feature = "ts", ts(type = "Record<string, unknown>"))]
        pub metadata: Value,
        #[cfg_attr(feature = "ts", ts(type = "Array<{ mime: string, url: string }>"))]
        pub attachments: Vec<Attachment>,
        /// The link that this call was made for. It does not cross the edge.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[cfg_attr(feature = "ts", ts(skip))]
        pub link: Option<String>,
    }

    /// A call's identity.
    struct Call {
        pub call: u32,
    }

    /// What a user's message or command becomes, part by part, in OpenCode's own form.
    struct Parts {
        pub session_id: String,
        /// The user's message that they belong to.
        pub message_id: Option<String>,
        #[cfg_attr(feature = "ts", ts(type = "unknown[]"))]
        pub parts: Vec<Value>,
    }

    /// OpenCode is about to start a shell on its own: for `!command`, or for a terminal, which has
    /// no session.
    struct ShellStart {
        pub session_id: Option<String>,
    }

    /// Environment of a process.
    struct Environment {
        pub env: BTreeMap<String, String>,
    }

    /// A command that the user typed as `!command`, in the process that stands in for the shell.
    struct Shell {
        pub call: u32,
        pub session_id: String,
        pub command: String,
        /// The user's message that it belongs to, as far as that was known.
        pub turn: Option<String>,
    }

    /// How it ended.
    struct Shelled {
        /// Output that was not shown by `progress`.
        pub rest: String,
        /// Exit code.
        pub exit: i32,
    }

    /// A run of the command line program.
    struct Cli {
        /// Names this run in `abort`.
        pub call: u32,
        pub args: Vec<String>,
        pub directory: String,
    }

    /// What it says.
    struct CliDone {
        pub output: String,
        pub exit: i32,
    }

    /// What a tool that is not ours gave.
    struct ToolResult {
        pub session_id: String,
        pub tool: String,
        /// With `output` for OpenCode's own and plugins' tools, with `content` (a list of texts and
        /// files) for those of MCP servers.
        #[cfg_attr(feature = "ts", ts(type = "object"))]
        pub result: Value,
    }

    /// An event of OpenCode, as far as the plugin needs it.
    struct Event {
        #[serde(rename = "type")]
        pub kind: String,
        #[cfg_attr(feature = "ts", ts(type = "unknown"))]
        pub properties: Value,
    }

    /// A tool that OpenCode is about to run, whoever made it.
    struct ToolBefore {
        pub tool: String,
        #[cfg_attr(feature = "ts", ts(type = "unknown"))]
        pub args: Value,
    }

    /// What becomes of it.
    struct ToolVerdict {
        /// The tool must not run, and why.
        pub refuse: Option<String>,
        /// Arguments to change, by name; none if there is nothing to change.
        #[cfg_attr(feature = "ts", ts(type = "Record<string, unknown> | null"))]
        pub replace: Option<Value>,
    }

    /// A tool that OpenCode is about to offer.
    struct ToolOffer {
        pub tool: String,
        /// Its parameters are a structure, as a built-in's are; a plugin's are opaque.
        pub built_in: bool,
        /// What OpenCode would tell the model of it.
        pub description: String,
        /// A plugin can say what its arguments are.
        pub describable: bool,
    }

    /// What becomes of such an offer.
    struct Offered {
        /// Parts of the offer to set.
        #[cfg_attr(feature = "ts", ts(type = "Record<string, unknown>"))]
        pub set: Value,
        /// It has the name of one of our tools, and is another plugin's.
        pub theirs: bool,
    }

    /// The system prompt, block by block.
    struct System {
        pub system: Vec<String>,
    }

    /// Settings that OpenCode is about to run with.
    struct ConfigNow {
        #[cfg_attr(feature = "ts", ts(type = "unknown"))]
        pub permission: Value,
        /// Tools that are switched on or off.
        #[cfg_attr(feature = "ts", ts(type = "unknown"))]
        pub tools: Value,
        /// The program that runs `!command`.
        pub shell: Option<String>,
        /// Names of the MCP servers.
        pub servers: Vec<String>,
    }

    /// Settings that OpenCode shall run with.
    struct ConfigPatch {
        /// Keys of OpenCode's configuration to set.
        #[cfg_attr(feature = "ts", ts(type = "Record<string, unknown>"))]
        pub settings: Value,
    }

    /// What is shown of a call while it runs.
    struct Progress {
        pub title: String,
        /// What a command has printed so far, or what the call waits for. None shows what OpenCode shows
        /// of a call that has said nothing.
        pub output: Option<String>,
    }

    /// A line for the user's eyes.
    struct Toast {
        pub title: String,
        pub message: String,
        /// `info`, `success`, `warning` or `error`.
        pub variant: String,
    }
}

/// How a tool call ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub enum Executed {
    /// With a result.
    Done(Done),
    /// With an error for the model.
    Failed {
        /// Its text.
        message: String,
    },
    /// The user or a rule said no: the error that OpenCode threw is thrown on unchanged.
    Rejected,
}
