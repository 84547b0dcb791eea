//! The tools, as OpenCode registers them.

use crate::wire::ToolDefinition;
use serde_json::json;

/// The tools, for the model.
pub fn definitions() -> Vec<ToolDefinition> {
    let define = |tool: &tools::catalog::Tool| ToolDefinition {
        name: tool.name.into(),
        description: tool.description.into(),
        schema: tool.schema(),
    };
    tools::catalog::TOOLS.iter().map(define).collect()
}

/// The tools as JSON, for the shim to register, whether the core can be loaded or not.
pub fn catalog_json() -> String {
    json!(definitions()).to_string()
}
