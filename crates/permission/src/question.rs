//! A permission question, and what of the sandbox's files it depends on.

use crate::paths::normalize;
use protocol::{Change, Previewed};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::HashSet;

/// A permission question, as OpenCode's own tool would ask it. The fields are OpenCode's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[expect(missing_docs, reason = "the fields are OpenCode's own")]
pub struct Permission {
    pub permission: String,
    pub patterns: Vec<String>,
    pub always: Vec<String>,
    #[cfg_attr(feature = "ts", ts(type = "Record<string, unknown>"))]
    pub metadata: Value,
}

/// Which paths in the sandbox are directories, and what an edit would change there.
#[derive(Debug)]
pub enum Facts {
    /// Nothing is known, and no path counts as a directory; the paths that were asked about are noted.
    Files(RefCell<Vec<String>>),
    /// Nothing is known, and every path counts as a directory.
    Directories,
    /// What a preview found.
    Found(Found),
}

/// The result of a preview.
#[derive(Debug)]
pub struct Found {
    directories: HashSet<String>,
    /// What the tool would change, or why it refuses.
    change: Option<Result<Change, protocol::ToolError>>,
}

impl Facts {
    /// From what the runner answered.
    pub fn found(preview: Previewed) -> Facts {
        Facts::Found(Found {
            directories: preview.directories.into_iter().collect(),
            change: preview.change,
        })
    }

    pub(crate) fn is_directory(&self, path: &str) -> bool {
        match self {
            Facts::Files(wanted) => {
                wanted.borrow_mut().push(path.into());
                false
            }
            Facts::Directories => true,
            Facts::Found(found) => found.directories.contains(path),
        }
    }

    pub(crate) fn change(&self) -> Option<&Result<Change, protocol::ToolError>> {
        match self {
            Facts::Found(found) => found.change.as_ref(),
            _ => None,
        }
    }
}

/// A question of the permission `permission`.
pub(crate) fn ask(
    permission: &str,
    patterns: Vec<String>,
    always: Vec<String>,
    metadata: Value,
) -> Permission {
    Permission {
        permission: permission.into(),
        patterns,
        always,
        metadata,
    }
}

/// The directory that a path is in, as it is written.
pub(crate) fn parent(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

/// Output of a command that was cut and saved by the runner: OpenCode allows its own such files.
pub(crate) fn is_saved_output(path: &str) -> bool {
    path.split('/')
        .any(|part| part == ".opencode-daytona" || part.starts_with(".opencode-daytona-"))
        && path.contains("/jobs/")
}

/// The pattern of everything in a directory.
pub(crate) fn inside(dir: &str) -> String {
    match normalize(dir).as_str() {
        "" => "/*".into(),
        dir => format!("/{dir}/*"),
    }
}
