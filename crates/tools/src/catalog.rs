//! What the model is told: name, description and input schema of each tool; and [`parse`], which
//! checks loose JSON against that very schema and turns it into [`ToolArgs`].
//!
//! Failures carry the text OpenCode 1.18.33 gives for a built-in tool (checked November 2026), so
//! that a model corrects itself the way it is used to.
//!
//! Surprise: unknown keys are ignored and `null` is not the same as absent, both as in OpenCode.

mod check;
mod text;

use protocol::ToolArgs;
use serde_json::{Value, json};

/// One tool, as the model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// The name that the model calls.
    pub name: &'static str,
    /// What it does and how to use it.
    pub description: &'static str,
    params: &'static [Param],
    /// False if the tool leaves the file tree as it is.
    pub mutates: bool,
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
struct Param {
    name: &'static str,
    description: &'static str,
    kind: Kind,
    required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    Flag,
    /// An integer from 0.
    Count,
    /// An integer from 1.
    Positive,
    /// Any number.
    Number,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// One of these texts; the second is the default.
    ChoiceOr(&'static [&'static str], &'static str),
}

const MAX_SAFE: i64 = 9_007_199_254_740_991;

const fn need(name: &'static str, kind: Kind, description: &'static str) -> Param {
    Param {
        name,
        description,
        kind,
        required: true,
    }
}

const fn may(name: &'static str, kind: Kind, description: &'static str) -> Param {
    Param {
        name,
        description,
        kind,
        required: false,
    }
}

/// Every tool, in the order of its name.
pub const TOOLS: &[Tool] = &[
    Tool {
        name: "apply_patch",
        description: text::APPLY_PATCH,
        mutates: true,
        params: &[need(
            "patchText",
            Kind::Text,
            "The whole patch, from *** Begin Patch to *** End Patch",
        )],
    },
    Tool {
        name: "bash",
        description: text::BASH,
        mutates: true,
        params: &[
            need("command", Kind::Text, "The command line to run"),
            may(
                "timeout",
                Kind::Positive,
                "Milliseconds after which the command is killed (default 120000)",
            ),
            may(
                "workdir",
                Kind::Text,
                "Directory to run in, absolute or relative to the project directory (the default). Prefer it to `cd`",
            ),
            may(
                "background",
                Kind::Flag,
                "Leave the command running and return at once; the tool job reads on, sends input and stops it",
            ),
        ],
    },
    Tool {
        name: "edit",
        description: text::EDIT,
        mutates: true,
        params: &[
            need(
                "filePath",
                Kind::Text,
                "Absolute path of the file to change",
            ),
            need("oldString", Kind::Text, "The text to replace"),
            need(
                "newString",
                Kind::Text,
                "The text to put in its place; must differ from oldString",
            ),
            may(
                "replaceAll",
                Kind::Flag,
                "Replace every occurrence of oldString (default false)",
            ),
        ],
    },
    Tool {
        name: "glob",
        description: text::GLOB,
        mutates: false,
        params: &[
            need(
                "pattern",
                Kind::Text,
                "Glob pattern that file paths must match",
            ),
            may(
                "path",
                Kind::Text,
                "Directory to search. Leave it out, rather than passing \"undefined\" or \"null\", to search the project directory",
            ),
        ],
    },
    Tool {
        name: "grep",
        description: text::GREP,
        mutates: false,
        params: &[
            need(
                "pattern",
                Kind::Text,
                "Regular expression to look for in file contents",
            ),
            may(
                "path",
                Kind::Text,
                "Directory to search (default: the project directory)",
            ),
            may(
                "include",
                Kind::Text,
                "Glob that file names must match, such as \"*.js\" or \"*.{ts,tsx}\"",
            ),
        ],
    },
    Tool {
        name: "job",
        description: text::JOB,
        mutates: true,
        params: &[
            may(
                "job",
                Kind::Text,
                "The job's name, as bash gave it. Leave it out to list the commands that run",
            ),
            may(
                "input",
                Kind::Text,
                "Text for its standard input, as it is; end a line with a newline",
            ),
            may(
                "wait",
                Kind::Positive,
                "Milliseconds to wait for new output or its end (default 1000, at most 10000)",
            ),
            may("stop", Kind::Flag, "Stop the command"),
        ],
    },
    Tool {
        name: "preview",
        description: text::PREVIEW,
        mutates: false,
        params: &[
            need(
                "port",
                Kind::Positive,
                "TCP port in the sandbox that your server listens on",
            ),
            may(
                "wait",
                Kind::Positive,
                "Milliseconds to wait until something listens there (default and at most 10000)",
            ),
            may(
                "minutes",
                Kind::Positive,
                "Minutes that the link holds (default 60, at most 1440)",
            ),
        ],
    },
    Tool {
        name: "read",
        description: text::READ,
        mutates: false,
        params: &[
            need(
                "filePath",
                Kind::Text,
                "Absolute path of the file or directory to read",
            ),
            may(
                "offset",
                Kind::Count,
                "First line (or directory entry) to show, counted from 1",
            ),
            may(
                "limit",
                Kind::Count,
                "How many lines (or entries) to show at most (default 2000)",
            ),
        ],
    },
    Tool {
        name: "sync",
        description: text::SYNC,
        mutates: false,
        params: &[may(
            "message",
            Kind::Text,
            "First line of the commit message for what is not committed yet",
        )],
    },
    Tool {
        name: "webfetch",
        description: text::WEBFETCH,
        mutates: false,
        params: &[
            need("url", Kind::Text, "The page's URL"),
            may(
                "format",
                Kind::ChoiceOr(&["text", "markdown", "html"], "markdown"),
                "What to make of the page (default markdown)",
            ),
            may("timeout", Kind::Number, "Seconds to wait (at most 120)"),
        ],
    },
    Tool {
        name: "websearch",
        description: text::WEBSEARCH,
        mutates: false,
        params: &[
            need("query", Kind::Text, "What to look for"),
            may("numResults", Kind::Number, "Results wanted (default 8)"),
            may(
                "livecrawl",
                Kind::Choice(&["fallback", "preferred"]),
                "Read pages live only if they are not cached (fallback, the default), or first (preferred)",
            ),
            may(
                "type",
                Kind::Choice(&["auto", "fast", "deep"]),
                "How thorough the search is (default auto)",
            ),
            may(
                "contextMaxCharacters",
                Kind::Number,
                "Longest text of all results, in characters (default 10000)",
            ),
        ],
    },
    Tool {
        name: "write",
        description: text::WRITE,
        mutates: true,
        params: &[
            need("content", Kind::Text, "The whole new content of the file"),
            need("filePath", Kind::Text, "Absolute path of the file to write"),
        ],
    },
];

/// The tool of that name.
pub fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    /// Its parameters in their order.
    fn names(&self) -> Vec<&'static str> {
        self.params.iter().map(|param| param.name).collect()
    }

    /// JSON Schema of the input, in the shape that OpenCode sends to models.
    pub fn schema(&self) -> Value {
        let properties: serde_json::Map<String, Value> = self
            .params
            .iter()
            .map(|param| (param.name.to_string(), param.schema()))
            .collect();
        let required: Vec<&str> = self
            .params
            .iter()
            .filter(|param| param.required)
            .map(|param| param.name)
            .collect();
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": properties,
            "required": required,
        })
    }
}

impl Param {
    fn schema(&self) -> Value {
        let mut schema = match self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Count => json!({ "type": "integer", "minimum": 0, "maximum": MAX_SAFE }),
            Kind::Positive => {
                json!({ "type": "integer", "exclusiveMinimum": 0, "maximum": MAX_SAFE })
            }
            Kind::Number => json!({ "type": "number" }),
            Kind::Choice(values) => json!({ "type": "string", "enum": values }),
            Kind::ChoiceOr(values, default) => {
                json!({ "type": "string", "enum": values, "default": default })
            }
        };
        schema["description"] = json!(self.description);
        schema
    }
}

/// Checks `args` and turns them into [`ToolArgs`]; the error is the text for the model.
pub fn parse(tool: &str, args: &Value) -> Result<ToolArgs, String> {
    let Some(found) = find(tool) else {
        return Err(format!("The sandbox has no tool named {tool}."));
    };
    let clean =
        check::check(&found.schema(), &found.names(), args).map_err(|why| refuse(tool, &why))?;
    serde_json::from_value(json!({ "tool": tool, "args": clean }))
        .map_err(|error| refuse(tool, &error.to_string()))
}

fn refuse(tool: &str, why: &str) -> String {
    format!(
        "The {tool} tool was called with invalid arguments: SchemaError({why}).\n\
         Please rewrite the input so it satisfies the expected schema."
    )
}

#[cfg(test)]
mod tests;
