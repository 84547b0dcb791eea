//! OpenCode, as the plugin sees it.

use crate::wire::{Permission, Progress, Toast};
use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

/// What a permission question came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Go on.
    Allowed,
    /// The user or a rule said no; the edge kept OpenCode's error.
    Rejected,
    /// Nobody was asked: this OpenCode does not do it for plugins.
    Unasked,
}

/// Tools that are no MCP server's, and the servers, as OpenCode names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Registered {
    /// Names of built-ins and of plugins' tools.
    pub tools: Vec<String>,
    /// Names of the MCP servers.
    pub servers: Vec<String>,
}

/// OpenCode, as far as the plugin talks back to it.
#[async_trait(?Send)]
pub trait OpenCode {
    /// The release that OpenCode says it is; none if it does not say.
    async fn release(&self) -> Option<String>;

    /// Asks a permission question for a running call.
    async fn ask(&self, call: u32, question: &Permission) -> Asked;

    /// The parent of a session; none for a root session. An error says why it is not known.
    async fn parent(&self, session: &str) -> Result<Option<String>, String>;

    /// False if OpenCode says that there is no such session. An error says why it is not known.
    async fn has(&self, session: &str) -> Result<bool, String>;

    /// OpenCode's agents and a session, as it describes them: both hold permission rules. An error
    /// says why they are not known.
    async fn rules(&self, session: &str) -> Result<Value, String>;

    /// The tools and MCP servers that OpenCode has. An error says why they are not known.
    async fn registered(&self) -> Result<Registered, String>;

    /// The project's sessions, as OpenCode lists them.
    async fn sessions(&self) -> Result<Value, String>;

    /// The messages of a session, as OpenCode lists them.
    async fn messages(&self, session: &str) -> Result<Value, String>;

    /// Shows what a running command has printed so far.
    fn progress(&self, call: u32, progress: &Progress);

    /// Shows a line to the user.
    fn toast(&self, toast: Toast);

    /// Writes a line to the terminal that OpenCode was started in, if there is one. False while OpenCode
    /// still draws its own screen there.
    fn terminal(&self, line: &str) -> bool;
}
