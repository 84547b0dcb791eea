//! What OpenCode asks before and after it does something: settings, offers of tools, tools of others, the
//! system prompt. And the command line.

use super::call::{self};
use super::{Core, Plugin, snapshot};
use crate::config::{Network, SyncMode};
use crate::doctor::{self, is_no_shell};
use crate::guard::{self, Maker};
use crate::prompt;
use crate::release::Lack;
use crate::wire::*;
use futures::future::{Either, select};
use host::Level;
use protocol::ToolArgs;
use protocol::args::Write;
use serde_json::{Map, Value, json};
use std::pin::pin;
use std::rc::Rc;

/// How long offers of tools that have one name may take, one after the other.
const SETTLE_MS: u64 = 50;
/// Larger than any output of our tools, so that OpenCode never cuts one and saves the rest in a
/// file on the host. The runner has cut it already.
const OUTPUT_LINES: u32 = 100_000;
const OUTPUT_BYTES: u32 = 4 * 1024 * 1024;

impl Plugin {
    /// Settings for OpenCode: nothing of ours may be cut into a host file, what the user types runs
    /// in the sandbox, undo writes no file of the host, and the denials that guard an OpenCode
    /// without the plugin are lifted.
    pub async fn config(self: &Rc<Self>, now: ConfigNow) -> ConfigPatch {
        self.guard.configured(now.servers);
        let mut settings = Map::new();
        let cut = json!({ "max_lines": OUTPUT_LINES, "max_bytes": OUTPUT_BYTES });
        settings.insert("tool_output".into(), cut);
        settings.insert("snapshot".into(), json!(false));
        // OpenCode starts the user's language server for a file that the user attaches.
        let lsp = self
            .core()
            .is_ok_and(|core| core.config.allow_tools.iter().any(|tool| tool == "lsp"));
        if !lsp {
            settings.insert("lsp".into(), json!(false));
        }
        if !self.core().is_ok_and(|core| core.config.shell_on_host) {
            settings.insert("shell".into(), json!(self.init.shell));
        } else if now.shell.as_deref().is_some_and(is_no_shell) {
            // This name makes OpenCode without the plugin find no shell. With an empty name OpenCode takes
            // the user's own shell.
            settings.insert("shell".into(), json!(""));
        }
        let this_run = guard::denied_for_this_run(|name| self.host.env(name), &now.tools);
        if let Some(permission) = guard::lift_denials(&now.permission, &this_run) {
            settings.insert("permission".into(), permission);
        }
        ConfigPatch {
            settings: Value::Object(settings),
        }
    }

    /// OpenCode is about to offer a tool.
    pub async fn offer(self: &Rc<Self>, offer: ToolOffer) -> Offered {
        let ToolOffer {
            tool,
            built_in,
            description,
            describable,
        } = offer;
        let maker = self.guard.offered(&tool, built_in, &description);
        let mut set = Map::new();
        let own = tools::catalog::find(&tool);
        if let Some(own) = own.filter(|_| maker == Maker::Ours) {
            if !describable {
                self.lacks(Lack::Arguments);
            }
            // OpenCode would call every plain property required.
            set.insert("jsonSchema".into(), own.schema());
            match self.guard.unmarked(&description) {
                Some(plain) => drop(set.insert("description".into(), plain.into())),
                None => self.tell_once(
                    "",
                    "Loaded twice",
                    "OpenCode has loaded opencode-daytona-sandbox more than once, and the last copy serves the tools. Leave it in one configuration file.",
                ),
            }
        }
        Offered {
            set: Value::Object(set),
            theirs: own.is_some() && maker == Maker::Plugin,
        }
    }

    /// OpenCode is about to run a tool, ours or not.
    pub async fn before(self: &Rc<Self>, tool: ToolBefore) -> ToolVerdict {
        let (allowed, network) = match self.core() {
            Ok(core) => (core.config.allow_tools.clone(), core.config.network),
            // Our own tools refuse by themselves, and say why.
            Err(_) => (Vec::new(), Network::Sandbox),
        };
        if self.guard.is_unknown(&tool.tool, &allowed) {
            match self.opencode.registered().await {
                Ok(registered) => self.guard.registered(&tool.tool, &registered),
                Err(reason) => {
                    let message = format!("OpenCode does not tell its tools: {reason}");
                    self.host.log(Level::Warn, &message);
                }
            }
        }
        if self.guard.is_contested(&tool.tool) {
            // Offers to another session may be on their way.
            self.host.sleep(SETTLE_MS).await;
        }
        let refuse = self.guard.refuse(&tool.tool, &allowed, network);
        if let Some(why) = self.guard.foreign(&tool.tool) {
            match &refuse {
                Some(reason) => self.tell_once(&tool.tool, "Tool blocked", reason),
                None if network == Network::Sandbox || !guard::WEB.contains(&&*tool.tool) => {
                    let message = format!(
                        "The option allowTools lets {} run outside of the sandbox: {why}.",
                        tool.tool
                    );
                    self.tell_once(&tool.tool, "Tool on your machine", &message);
                }
                None => {}
            }
        }
        ToolVerdict {
            refuse,
            replace: Some(guard::rewrite(&tool.tool, &tool.args))
                .filter(|replace| !replace.is_empty())
                .map(Value::Object),
        }
    }

    /// A tool that is not ours is done. OpenCode would cut a long output and keep it in a file on
    /// the host: it is kept in the sandbox instead.
    pub async fn after(self: &Rc<Self>, mut done: ToolResult) -> ToolResult {
        let core = self.core();
        if let Some(output) = done.result.get("output").and_then(Value::as_str) {
            let text = match done.tool.as_str() {
                "skill" => {
                    let dir = done.result.pointer("/metadata/dir");
                    guard::skill(output, dir.and_then(Value::as_str), &self.paths())
                }
                _ => output.to_string(),
            };
            done.result["output"] = self.cut(&core, &done.session_id, text).await.into();
        } else if let Some(content) = done.result.get_mut("content").and_then(Value::as_array_mut) {
            // OpenCode joins the texts and cuts them as one.
            let of_text = |part: &Value| part["type"] == "text";
            let texts = content.iter().filter(|part| of_text(part));
            let texts: Vec<&str> = texts.filter_map(|part| part["text"].as_str()).collect();
            let text = texts.join("\n\n");
            if tools::cut::cut(&text).is_some() {
                let text = self.cut(&core, &done.session_id, text).await;
                content.retain(|part| !of_text(part));
                content.insert(0, json!({ "type": "text", "text": text }));
            }
        }
        done
    }

    /// The text, or its head and where the whole of it is.
    async fn cut(&self, core: &Result<Rc<Core>, String>, session: &str, text: String) -> String {
        let Some(cut) = tools::cut::cut(&text) else {
            return text;
        };
        let saved = match core {
            Ok(core) => self.keep(core, session, &text).await,
            Err(_) => None,
        };
        cut.explain(saved.as_deref())
    }

    /// Puts an output into a file of the sandbox.
    async fn keep(&self, core: &Core, session: &str, text: &str) -> Option<String> {
        let path = format!("/tmp/opencode-{}.txt", core.remote.id());
        let args = ToolArgs::Write(Write {
            file_path: path.clone(),
            content: text.into(),
        });
        let (cancel, mut show) = (call::never(), |_: &str| {});
        let kept = self.work(core, session, args, cancel, None, &mut show);
        matches!(kept.await, Executed::Done(_)).then_some(path)
    }

    /// The system prompt.
    pub async fn system(self: &Rc<Self>, system: System) -> System {
        let brings_home = (self.core()).is_ok_and(|core| core.config.sync != SyncMode::Off);
        System {
            system: prompt::rewrite(system.system, &self.paths(), brings_home),
        }
    }

    /// The command line program, which needs no OpenCode.
    pub async fn cli(self: &Rc<Self>, cli: Cli) -> CliDone {
        let call = cli.call;
        let cancel = self.cancellable(call);
        let done = match cli.args.first().map(String::as_str) {
            Some("snapshot") => self.snapshot(&cli, cancel).await,
            _ => {
                let (assets, shell) = (&self.init.assets, &self.init.shell);
                let run = doctor::run(self.host.clone(), &self.secrets, assets, shell, cli);
                match select(pin!(run), cancel).await {
                    Either::Left((done, _)) => done,
                    Either::Right(_) => snapshot::interrupted(),
                }
            }
        };
        self.aborts.borrow_mut().remove(&call);
        done
    }
}
