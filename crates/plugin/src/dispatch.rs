//! The calls from JavaScript: one method, one parameter value in, one result value out. The table of calls
//! is generated for TypeScript, too: adding one is a type in `wire.rs` and a line in [`calls!`].

use crate::plugin::Plugin;
use crate::secrets::Secrets;
use crate::wire::*;
use serde_json::Value;
use std::rc::Rc;

/// A call that the edge cannot make. This is a defect of the shim.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No such method.
    #[error("there is no call {0}")]
    Unknown(String),
    /// The parameters are not what the method takes.
    #[error("bad parameters for {0}: {1}")]
    Parameters(String, String),
}

/// Calls whose results nobody reads: settings that OpenCode and a process of ours need as they are.
/// Reasons in them are made fit to be read where they are made.
const SETTINGS: &[&str] = &["config", "shellEnv"];

/// Takes all secrets out of a result. A link that is the result itself stays in it, and is one from
/// then on.
fn leave(secrets: &Secrets, result: &mut Value) {
    let link = result
        .as_object_mut()
        .and_then(|fields| fields.remove("link"));
    let link = link.as_ref().and_then(Value::as_str);
    if let Some(link) = link {
        secrets.forget_link(link);
    }
    let kind = result.get("kind").cloned();
    secrets.hide_in(result);
    if let Some(kind) = kind {
        result["kind"] = kind;
    }
    if let Some(link) = link {
        secrets.link(link);
    }
}

macro_rules! calls {
    ($($name:literal => $method:ident($params:ty) -> $result:ty;)*) => {
        /// Runs the method `name` with JSON parameters; gives its JSON result, which holds no
        /// secret.
        pub async fn dispatch(plugin: &Rc<Plugin>, name: &str, params: &str) -> Result<String, CallError> {
            let secrets = plugin.secrets();
            match name {
                $($name => {
                    let params: $params = serde_json::from_str(params).map_err(|error| {
                        let reason = secrets.hide(&error.to_string()).into_owned();
                        CallError::Parameters(name.into(), reason)
                    })?;
                    let result: $result = Plugin::$method(plugin, params).await;
                    let mut value = serde_json::to_value(&result).expect("plain data serializes");
                    if !SETTINGS.contains(&$name) {
                        leave(secrets, &mut value);
                    }
                    Ok(value.to_string())
                })*
                _ => Err(CallError::Unknown(name.into())),
            }
        }

        /// The generated TypeScript module.
        #[cfg(feature = "ts")]
        pub fn typescript() -> String {
            use ts_rs::TS;
            let config = ts_rs::Config::default();
            let mut out = String::from("// Generated from crates/plugin/src/wire.rs and dispatch.rs by `cargo xtask types`. Do not edit.\n\n");
            for declaration in [
                Init::decl(&config), Nothing::decl(&config), Started::decl(&config), ToolDefinition::decl(&config),
                Execute::decl(&config), Executed::decl(&config), Done::decl(&config), Call::decl(&config),
                Parts::decl(&config), ShellStart::decl(&config), Environment::decl(&config), Shell::decl(&config),
                Shelled::decl(&config), Cli::decl(&config), CliDone::decl(&config), ToolResult::decl(&config), Event::decl(&config), ToolBefore::decl(&config), ToolVerdict::decl(&config),
                ToolOffer::decl(&config), Offered::decl(&config), System::decl(&config), ConfigNow::decl(&config), ConfigPatch::decl(&config),
                Permission::decl(&config), Progress::decl(&config), Toast::decl(&config),
            ] {
                out.push_str(&format!("export {declaration}\n\n"));
            }
            out.push_str("/** Every call: what goes in, what comes out. */\nexport interface Calls {\n");
            $(out.push_str(&format!("  {}: {{ params: {}, result: {} }}\n", $name, <$params>::name(&config), <$result>::name(&config)));)*
            out.push_str("}\n");
            out
        }
    };
}

calls! {
    "start" => start(Nothing) -> Started;
    "config" => config(ConfigNow) -> ConfigPatch;
    "execute" => execute(Execute) -> Executed;
    "abort" => abort(Call) -> Nothing;
    "message" => message(Parts) -> Parts;
    "command" => command(Parts) -> Parts;
    "shellEnv" => shell_env(ShellStart) -> Environment;
    "shell" => shell(Shell) -> Shelled;
    "event" => event(Event) -> Nothing;
    "offer" => offer(ToolOffer) -> Offered;
    "before" => before(ToolBefore) -> ToolVerdict;
    "after" => after(ToolResult) -> ToolResult;
    "system" => system(System) -> System;
    "cli" => cli(Cli) -> CliDone;
    "dispose" => dispose(Nothing) -> Nothing;
}
