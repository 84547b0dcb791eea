//! Which tools may run beside ours: the last line before anything touches the host.
//!
//! What runs is known to be harmless (a few built-ins that only talk to the user or to OpenCode
//! itself), named by the user in `allowTools`, or the user's own choice: a tool of a plugin or of an
//! MCP server. Everything else is blocked, so a built-in that this release does not know is.
//!
//! The names of our tools are no exception: another plugin may register one of them, too, and of two
//! plugins' tools the later one runs. Ours are known by a mark that their descriptions have until they
//! are offered, and only they run under their names.
//!
//! A plugin's tool is told from a built-in when OpenCode offers it, by its parameters: a plugin's are
//! opaque, a built-in's are a structure. Tools of MCP servers are not offered in that way; OpenCode is
//! asked for the servers, and for the tools that are no server's (1.18.33, November 2026).

use crate::config::Network;
use crate::opencode::Registered;
use jsonc_parser::ParseOptions;
use jsonc_parser::cst::CstRootNode;
use permission::Paths;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// Built-ins that touch neither files nor commands nor the network of the host. `skill` reads the
/// user's own skill files, by name only.
const HARMLESS: &[&str] = &[
    "invalid",
    "plan_exit",
    "question",
    "skill",
    "task",
    "todowrite",
];

/// Built-ins that touch the host and that the sandbox does not replace.
const BLOCKED: &[(&str, &str)] = &[
    ("execute", "runs code on your machine"),
    ("lsp", "starts language servers on your machine"),
];

/// Stands before what tells one instance of this plugin from another, behind a tool's description.
const MARK: &str = "\n[opencode-daytona-sandbox:";

/// Whose a tool is, as far as this OpenCode has shown it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// This plugin, or another copy of it.
    Ours,
    OpenCode,
    Plugin,
    Server,
}

/// What is known of the tools so far.
pub(crate) struct Guard {
    /// Follows the description of each of our tools.
    pub(crate) mark: String,
    makers: RefCell<HashMap<String, Maker>>,
    /// Names of ours that another plugin's tool has, too.
    contested: RefCell<HashSet<String>>,
    /// Names of the configured MCP servers.
    servers: RefCell<Vec<String>>,
}

impl Guard {
    pub(crate) fn new(random: u64) -> Self {
        Guard {
            mark: format!("{MARK}{random:016x}]"),
            makers: RefCell::default(),
            contested: RefCell::default(),
            servers: RefCell::default(),
        }
    }

    /// OpenCode is about to offer a tool. What is offered last is what runs. OpenCode offers what
    /// it has of one name one after the other, its own first.
    pub(crate) fn offered(&self, tool: &str, built_in: bool, description: &str) -> Maker {
        let is_our_name = tools::catalog::find(tool).is_some();
        let mut makers = self.makers.borrow_mut();
        let maker = match built_in {
            true => Maker::OpenCode,
            false if is_our_name && description.contains(MARK) => Maker::Ours,
            false => Maker::Plugin,
        };
        if maker == Maker::OpenCode && is_our_name {
            // Whatever else has the name comes behind it.
            makers.entry(tool.into()).or_insert(maker);
            return maker;
        }
        if maker == Maker::Plugin && is_our_name {
            self.contested.borrow_mut().insert(tool.into());
        }
        makers.insert(tool.into(), maker);
        maker
    }

    /// The description without the mark of this instance, if it has that.
    pub(crate) fn unmarked(&self, description: &str) -> Option<String> {
        let found = description.contains(&self.mark);
        found.then(|| description.replace(&self.mark, ""))
    }

    /// True for a name of ours that another plugin's tool has, too.
    pub(crate) fn is_contested(&self, tool: &str) -> bool {
        self.contested.borrow().contains(tool)
    }

    /// The MCP servers that are configured.
    pub(crate) fn configured(&self, servers: Vec<String>) {
        *self.servers.borrow_mut() = servers;
    }

    /// Whose a tool with a name of ours is, if it is not ours.
    pub(crate) fn foreign(&self, tool: &str) -> Option<&'static str> {
        tools::catalog::find(tool)?;
        if self
            .servers
            .borrow()
            .iter()
            .any(|server| is_of(server, tool))
        {
            return Some("an MCP server has a tool of the same name, which runs in its place");
        }
        match self.makers.borrow().get(tool) {
            Some(Maker::Ours) => None,
            Some(Maker::Plugin) => Some("it is another plugin's, which runs on your machine"),
            Some(Maker::OpenCode | Maker::Server) => {
                Some("it is OpenCode's own, which works on your machine")
            }
            None => Some("OpenCode has not told whose it is, so it may touch your machine"),
        }
    }

    /// True if OpenCode must be asked whose the tool is before it may run.
    pub(crate) fn is_unknown(&self, tool: &str, allowed: &[String]) -> bool {
        !is_named(tool, allowed) && !self.makers.borrow().contains_key(tool)
    }

    /// What OpenCode says of a tool that was not offered.
    pub(crate) fn registered(&self, tool: &str, registered: &Registered) {
        let is_plain = registered.tools.iter().any(|name| name == tool);
        if !is_plain && registered.servers.iter().any(|server| is_of(server, tool)) {
            (self.makers.borrow_mut()).insert(tool.into(), Maker::Server);
        }
    }

    /// Why `tool` must not run, if it must not.
    pub(crate) fn refuse(
        &self,
        tool: &str,
        allowed: &[String],
        network: Network,
    ) -> Option<String> {
        if allowed.iter().any(|name| name == tool) {
            return None;
        }
        if WEB.contains(&tool) && network != Network::Sandbox {
            return (network == Network::Off).then(|| {
                format!(
                    "The tool {tool} is blocked: the option \"network\" of opencode-daytona-sandbox is \"off\". \
                     The user can set it to \"sandbox\" or \"host\"."
                )
            });
        }
        if let Some(why) = self.foreign(tool) {
            return Some(format!(
                "The tool {tool} of the sandbox is blocked: {why}. The user can remove or rename the other one, put this plugin \
                 behind the other in OpenCode's configuration, or allow the other tool with \"allowTools\": [\"{tool}\"] in the \
                 options of opencode-daytona-sandbox."
            ));
        }
        let why = match BLOCKED.iter().find(|blocked| blocked.0 == tool) {
            Some((_, why)) => *why,
            None if is_named(tool, allowed) => return None,
            None => match self.makers.borrow().get(tool) {
                Some(Maker::Plugin | Maker::Server | Maker::Ours) => return None,
                Some(Maker::OpenCode) => {
                    "is a built-in that this release does not know, so it may touch your machine"
                }
                None => {
                    "is not known to be a plugin's or a configured MCP server's, so it may touch your machine"
                }
            },
        };
        Some(format!(
            "The tool {tool} is blocked: it {why}. This session works in a Daytona sandbox; use bash there instead. \
             To allow it, the user can add \"allowTools\": [\"{tool}\"] to the options of opencode-daytona-sandbox."
        ))
    }
}

/// True if an MCP server's tool may have that name.
fn is_of(server: &str, tool: &str) -> bool {
    // As OpenCode makes the names of such tools.
    let plain = |c: char| match c.is_ascii_alphanumeric() || matches!(c, '_' | '-') {
        true => c,
        false => '_',
    };
    let prefix: String = server.chars().map(plain).chain(['_']).collect();
    tool.strip_prefix(&prefix)
        .is_some_and(|name| !name.is_empty())
}

/// True if OpenCode need not be asked for the servers to decide what becomes of the tool.
fn is_named(tool: &str, allowed: &[String]) -> bool {
    HARMLESS.contains(&tool)
        || WEB.contains(&tool)
        || BLOCKED.iter().any(|blocked| blocked.0 == tool)
        || tools::catalog::find(tool).is_some()
        || allowed.iter().any(|name| name == tool)
}

/// Tools that send requests: ours or OpenCode's own, as the option `network` says.
pub(crate) const WEB: &[&str] = &["webfetch", "websearch"];

/// Permissions that the install snippet denies, so that an OpenCode without the plugin has no host
/// tools, and that a loaded plugin serves or that touch nothing.
pub(crate) const SERVED: &[&str] = &[
    "bash",
    "edit",
    "glob",
    "grep",
    "read",
    "skill",
    "task",
    "webfetch",
    "websearch",
    // The plugin never serves this tool; it is denied for an OpenCode that runs without the plugin.
    "lsp",
];

/// The user's rules with the plain `"deny"` of every served permission lifted, but for those that
/// were given for `this_run`. A user who means it in a configuration file writes `{"*": "deny"}`, which
/// stays; so does every other rule.
pub(crate) fn lift_denials(permission: &Value, this_run: &HashSet<String>) -> Option<Value> {
    let mut rules = permission.as_object()?.clone();
    let mut lifted = false;
    for name in SERVED {
        if rules.get(*name).and_then(Value::as_str) == Some("deny") && !this_run.contains(*name) {
            // Absent, not allowed: OpenCode's own defaults (such as asking for `*.env`) hold again.
            rules.remove(*name);
            lifted = true;
        }
    }
    lifted.then_some(Value::Object(rules))
}

/// Permissions that are denied for this run: in the environment, or by switching a tool off. None of
/// them is a denial of the install snippet, which stands in a configuration file, or in a whole
/// configuration that loads this plugin.
pub(crate) fn denied_for_this_run(
    env: impl Fn(&str) -> Option<String>,
    tools: &Value,
) -> HashSet<String> {
    let json = |name: &str| {
        let text = env(name)?;
        let root = CstRootNode::parse(&text, &ParseOptions::default()).ok()?;
        root.to_serde_value()
    };
    let content = json("OPENCODE_CONFIG_CONTENT").filter(|content| content["plugin"].is_null());
    let from_content = content.map(|mut content| content["permission"].take());
    let given = [json("OPENCODE_PERMISSION"), from_content];
    let mut denied = HashSet::new();
    for rules in given.into_iter().flatten() {
        let is_denied = |name: &&&str| match &rules {
            Value::Object(rules) => rules.get(**name).is_some_and(|rule| rule == "deny"),
            rule => rule == "deny",
        };
        denied.extend(SERVED.iter().filter(is_denied).map(|name| name.to_string()));
    }
    // OpenCode makes rules of these: the tools that write have one permission.
    for (tool, _) in tools
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, on)| **on == false)
    {
        let permission = match tool.as_str() {
            "write" | "patch" | "apply_patch" | "multiedit" => "edit",
            other => other,
        };
        denied.insert(permission.into());
    }
    denied
}

/// A skill's text with the files it names as the sandbox knows them. Files of a skill outside the
/// project are not there, so none is named; the instructions are all the model gets.
pub(crate) fn skill(text: &str, dir: Option<&str>, paths: &Paths) -> String {
    if dir.is_some_and(|dir| paths.inside(dir).is_some()) {
        return paths.text(text);
    }
    let line = |line: &str| {
        if line.starts_with("<file>") {
            None
        } else if line.starts_with(BASE) {
            Some(format!(
                "{BASE}on the user's machine. Its other files are not in the sandbox."
            ))
        } else {
            Some(line.to_string())
        }
    };
    let lines: Vec<String> = text.split('\n').filter_map(line).collect();
    lines.join("\n")
}

const BASE: &str = "Base directory for this skill: ";

/// Arguments to change before a harmless tool runs.
///
/// OpenCode resolves `@path` in a `task` prompt with its own reader, on the host and unasked. The
/// `@` of everything that looks like a path is taken away; names of agents keep theirs only if
/// they cannot be a path, which OpenCode decides by looking, so none do.
pub(crate) fn rewrite(tool: &str, args: &Value) -> Map<String, Value> {
    let mut replace = Map::new();
    if tool == "task" {
        for name in ["prompt", "description", "command"] {
            if let Some(text) = args.get(name).and_then(Value::as_str)
                && text.contains('@')
            {
                replace.insert(name.into(), Value::String(disarm(text)));
            }
        }
    }
    replace
}

/// Leaves out every `@` that could start a reference; mail addresses stay.
fn disarm(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        // ASCII only: JavaScript and Unicode disagree about what else is a space, and what is no
        // space there starts a reference.
        let follows = chars.peek().is_some_and(|next| !next.is_ascii_whitespace());
        let word_before = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == '_' || b == '`');
        if c == '@' && follows && !word_before {
            // Left out: the path stays as text, and the subagent reads it in the sandbox.
        } else {
            out.push(c);
        }
        before = Some(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_may_run() {
        let guard = Guard::new(7);
        let ours = format!("Runs commands.{}", guard.mark);
        guard.offered("bash", false, &ours);
        guard.offered("webfetch", false, &ours);
        for (tool, built_in) in [
            ("bash", true),
            ("teleport", true),
            ("other_plugin", false),
            ("todowrite", true),
            ("server_builtin", true),
        ] {
            guard.offered(tool, built_in, "");
        }
        let known = Registered {
            tools: vec!["quiet".into(), "server_quiet".into()],
            servers: vec!["server".into(), "my server.1".into()],
        };
        let allowed = vec!["execute".to_string(), "named".to_string()];
        for (tool, runs) in [
            ("bash", true),
            ("todowrite", true),
            ("other_plugin", true),
            ("server_mcp_tool", true),
            ("my_server_1_tool", true),
            ("named", true),
            ("teleport", false),
            ("lsp", false),
            ("execute", true),
            ("webfetch", true),
            // Nobody has said whose these are: the hook that would have may have failed.
            ("quiet", false),
            ("strange", false),
            ("server", false),
            ("server_", false),
            ("other_tool", false),
            // Not a server's, whatever their names say.
            ("server_quiet", false),
            ("server_builtin", false),
        ] {
            if guard.is_unknown(tool, &allowed) {
                guard.registered(tool, &known);
            }
            let refused = guard.refuse(tool, &allowed, Network::Sandbox);
            assert_eq!(refused.is_none(), runs, "{tool}: {refused:?}");
        }
        guard.offered("websearch", false, &ours);
        for (network, runs) in [
            (Network::Sandbox, true),
            (Network::Host, true),
            (Network::Off, false),
        ] {
            for tool in WEB {
                assert_eq!(guard.refuse(tool, &[], network).is_none(), runs);
            }
        }
        for tool in ["teleport", "strange"] {
            let reason = guard.refuse(tool, &[], Network::Sandbox).expect("refused");
            let way_out = format!("\"allowTools\": [\"{tool}\"]");
            assert!(reason.contains(&way_out), "{reason}");
        }
    }

    #[test]
    fn a_tool_is_whose_it_was_offered_last() {
        let guard = Guard::new(7);
        for (built_in, runs) in [(true, false), (false, true), (true, false)] {
            guard.offered("teleport", built_in, "");
            let refused = guard.refuse("teleport", &[], Network::Sandbox);
            assert_eq!(refused.is_none(), runs);
        }
    }

    #[test]
    fn under_a_name_of_ours_only_ours_runs() {
        let (guard, copy) = (Guard::new(7), Guard::new(8));
        let ours = format!("Runs commands.{}", guard.mark);
        let copys = format!("Runs commands.{}", copy.mark);
        let theirs = "Runs commands.";
        let offer = |tool: &str, offers: &[(bool, &str)]| {
            for (built_in, description) in offers {
                guard.offered(tool, *built_in, description);
            }
            guard.refuse(tool, &[], Network::Sandbox)
        };
        assert!(guard.refuse("bash", &[], Network::Sandbox).is_some());
        assert_eq!(offer("bash", &[(true, ""), (false, &ours)]), None);
        assert_eq!(offer("bash", &[(true, ""), (false, &copys)]), None);
        assert!(!guard.is_contested("bash"));
        let before = [(true, ""), (false, theirs), (false, &ours)];
        assert_eq!(offer("edit", &before), None);
        let after = [(true, ""), (false, &ours), (false, theirs)];
        // As often as OpenCode offers them.
        for tool in ["read", "read", "job", "webfetch"] {
            let reason = offer(tool, &after).expect(tool);
            assert!(reason.contains("another plugin's"), "{reason}");
            assert!(reason.contains(&format!("\"allowTools\": [\"{tool}\"]")));
            let allowed = [tool.to_string()];
            assert_eq!(guard.refuse(tool, &allowed, Network::Sandbox), None);
            assert!(guard.is_contested(tool));
        }
        let reason = offer("glob", &[(true, "")]).expect("refused");
        assert!(reason.contains("OpenCode's own"), "{reason}");
        assert_eq!(offer("apply_patch", &before), None);
        guard.configured(vec!["apply".into()]);
        let reason = offer("apply_patch", &before).expect("refused");
        assert!(reason.contains("an MCP server"), "{reason}");
        assert_eq!(guard.unmarked(&ours).as_deref(), Some(theirs));
        assert_eq!(guard.unmarked(&copys), None);
    }

    #[test]
    fn only_plain_denials_of_served_permissions_are_lifted() {
        let rules = json!({
            "bash": "deny", "read": "deny", "edit": { "*": "deny" }, "webfetch": "deny", "grep": "ask", "mine_*": "deny",
        });
        let lifted = json!({ "edit": { "*": "deny" }, "grep": "ask", "mine_*": "deny" });
        let none = HashSet::new();
        assert_eq!(lift_denials(&rules, &none), Some(lifted));
        for unchanged in [json!({ "bash": "ask" }), json!("deny"), json!(null)] {
            assert_eq!(lift_denials(&unchanged, &none), None, "{unchanged}");
        }
    }

    #[test]
    fn a_denial_given_for_this_run_is_no_denial_of_the_install_snippet() {
        let rules = json!({ "bash": "deny", "read": "deny", "edit": "deny" });
        let permission = "OPENCODE_PERMISSION";
        let content = "OPENCODE_CONFIG_CONTENT";
        let all = &["bash", "edit", "read"][..];
        for (variable, value, tools, stay) in [
            ("", "", json!(null), &[][..]),
            (permission, r#"{"bash":"deny"}"#, json!(null), &["bash"]),
            (
                permission,
                r#"{"bash":"ask","edit":{"*":"deny"}}"#,
                json!({}),
                &[],
            ),
            (permission, r#""deny""#, json!(null), all),
            (permission, "no JSON", json!(null), &[]),
            (
                content,
                r#"{ "permission": { "read": "deny" }, } // for now"#,
                json!(null),
                &["read"],
            ),
            (content, r#"{"permission":"deny"}"#, json!(null), all),
            // The whole snippet.
            (
                content,
                r#"{"plugin":["x"],"permission":{"read":"deny"}}"#,
                json!(null),
                &[],
            ),
            ("", "", json!({ "bash": false, "read": true }), &["bash"]),
            ("", "", json!({ "write": false }), &["edit"]),
        ] {
            let env = |name: &str| (name == variable).then(|| value.to_string());
            let lifted = lift_denials(&rules, &denied_for_this_run(env, &tools));
            let left = lifted.unwrap_or_else(|| rules.clone());
            let left: Vec<&String> = left.as_object().expect("rules").keys().collect();
            assert_eq!(left, stay, "{variable} {value} {tools}");
        }
    }

    #[test]
    fn a_skill_names_no_file_of_the_host() {
        let paths = Paths::new("/home/me/app", "/home/me/app", "/p");
        let text = |dir: &str| {
            format!(
                "do this\n\n{BASE}{dir}\n<skill_files>\n<file>{dir}/a.sh</file>\n</skill_files>"
            )
        };
        let shown = |dir: &str| skill(&text(dir), Some(dir), &paths);
        let inside = shown("/home/me/app/.opencode/skill/x");
        assert_eq!(inside, text("/p/.opencode/skill/x"));
        let outside = shown("/home/me/.config/opencode/skill/x");
        assert!(outside.starts_with("do this\n"), "{outside}");
        assert!(!outside.contains("/home/me"), "{outside}");
    }

    #[test]
    fn no_reference_survives_in_a_task_prompt() {
        for (prompt, expected) in [
            ("look at @/etc/hostname", "look at /etc/hostname"),
            ("@src/a.rs and (@~/x)", "src/a.rs and (~/x)"),
            ("mail me@example.org", "mail me@example.org"),
            ("a @ b", "a @ b"),
            ("@@/etc/passwd", "/etc/passwd"),
            ("@\u{85}/../../etc/passwd", "\u{85}/../../etc/passwd"),
        ] {
            assert_eq!(
                rewrite("task", &json!({ "prompt": prompt })).get("prompt"),
                Some(&json!(expected))
            );
        }
        assert!(rewrite("todowrite", &json!({ "prompt": "@x" })).is_empty());
    }
}
