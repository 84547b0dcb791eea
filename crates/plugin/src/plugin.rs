//! The plugin itself: hooks in, decisions out.

mod calls;
mod gate;
mod ground;
mod notices;
mod permit;
mod running;
mod snapshot;
mod typed;
mod work;

use crate::carry::Carry;
use crate::carry::steps::Steps;
use crate::config::{Config, DEFAULT_PROJECT_DIR, Network, Sync};
use crate::doctor::{self, is_no_shell};
use crate::edge::*;
use crate::guard::{self, Guard, Maker};
use crate::links;
use crate::opencode::{Asked, OpenCode};
use crate::paths::Paths;
use crate::permission::rules::Approvals;
use crate::prepared::Carried;
use crate::prompt;
use crate::release::Lack;
use crate::remote::Remote;
use crate::secrets::{Screen, Secrets};
use daytona::Client;
use futures::channel::oneshot;
use futures::future::{Either, join, pending, select};
use host::{Level, LocalHost};
use protocol::ToolArgs;
use protocol::args::Write;
use serde_json::{Map, Value, json};
use sessions::{Carrier, Notice, Project, Sessions, Store};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use calls::{Cancel, UnderWay};

/// An unused sandbox is deleted when its session has been idle this long.
const IDLE_MS: u64 = 10 * 60 * 1000;
/// How long OpenCode's end may be held up.
const DISPOSE_MS: u64 = 8_000;
/// After so long the user hears what the end waits for, and how often it is tried to say that.
const LEAVING_MS: (u64, u64) = (300, 100);
const LEAVING: &str =
    "Bringing the work home from the sandbox …; press Ctrl-C again to leave it for the next start.";
/// How long offers of tools that have one name may take, one after the other.
const SETTLE_MS: u64 = 50;
/// Larger than any output of our tools, so that OpenCode never cuts one and saves the rest in a
/// file on the host. The runner has cut it already.
const OUTPUT_LINES: u32 = 100_000;
const OUTPUT_BYTES: u32 = 4 * 1024 * 1024;
/// Events that [`Plugin::event`] does something about.
const EVENTS: &[&str] = &[
    "session.created",
    "session.deleted",
    "session.idle",
    "session.compacted",
    "session.updated",
    "message.updated",
    "message.removed",
    "message.part.removed",
    "permission.asked",
    "permission.replied",
];
/// A session tree deeper than this is a loop.
const MAX_DEPTH: usize = 16;

/// One plugin per OpenCode instance (that is, per directory).
pub struct Plugin {
    /// Both hear no secret.
    host: Arc<dyn LocalHost>,
    opencode: Rc<dyn OpenCode>,
    secrets: Arc<Secrets>,
    init: Init,
    state: RefCell<State>,
    guard: Guard,
    /// Tools of others of which the user has heard.
    told: RefCell<HashSet<String>>,
    /// Parents of the sessions this instance has heard of; a root session has none.
    parents: RefCell<HashMap<String, Option<String>>>,
    aborts: RefCell<HashMap<u32, oneshot::Sender<()>>>,
    /// Calls that are under way.
    under_way: RefCell<HashMap<u32, UnderWay>>,
    /// Counts up when a session does anything, so that an idle timer knows it is out of date.
    activity: RefCell<HashMap<String, u64>>,
    /// Instruction files that a session has seen: OpenCode shows each once.
    loaded: RefCell<HashMap<String, Vec<String>>>,
    /// What users have allowed for good.
    approvals: RefCell<Approvals>,
    /// Bytes of a background job's output that the model has seen.
    jobs: RefCell<HashMap<String, u64>>,
    turns: work::Turns,
    /// When the terminal heard last how far the preparation of a sandbox is.
    step_at: Cell<u64>,
    disposed: Cell<bool>,
}

#[derive(Clone)]
enum State {
    /// Why nothing works.
    Refusing(String),
    Working(Rc<Core>),
}

/// What a working plugin has.
struct Core {
    config: Config,
    paths: Paths,
    remote: Rc<Remote>,
    carry: Rc<Carry>,
    sessions: Rc<Sessions>,
}

impl Plugin {
    /// A plugin that refuses everything until [`Plugin::start`] has read the configuration.
    pub fn new(host: Arc<dyn LocalHost>, opencode: Rc<dyn OpenCode>, init: Init) -> Rc<Plugin> {
        let secrets = Arc::new(Secrets::default());
        secrets.learn_settings(&init.options, |name| host.env(name), &[]);
        let guard = Guard::new(host.random());
        Rc::new(Plugin {
            host: Arc::new(Screen::new(host, &secrets)),
            opencode: Rc::new(Screen::new(opencode, &secrets)),
            secrets,
            init,
            guard,
            told: RefCell::default(),
            state: RefCell::new(State::Refusing(
                "opencode-daytona-sandbox has not been started".into(),
            )),
            parents: RefCell::default(),
            aborts: RefCell::default(),
            under_way: RefCell::default(),
            activity: RefCell::default(),
            loaded: RefCell::default(),
            approvals: RefCell::default(),
            jobs: RefCell::default(),
            turns: work::Turns::default(),
            step_at: Cell::default(),
            disposed: Cell::new(false),
        })
    }

    /// From now on every tool refuses.
    fn refuse(&self, reason: &str) {
        self.host.log(Level::Error, reason);
        *self.state.borrow_mut() = State::Refusing(reason.into());
        self.toast("Sandbox unavailable", reason, "error");
    }

    /// Reads the configuration and says which tools there are. They are the same whether it works
    /// or not: without a sandbox they refuse.
    pub async fn start(self: &Rc<Self>, _: Nothing) -> Started {
        let (loaded, refusal) = join(self.load(), self.gate()).await;
        let problem = match refusal.map_or(loaded, Err) {
            Ok(core) => {
                let core = Rc::new(core);
                *self.state.borrow_mut() = State::Working(Rc::clone(&core));
                let plugin = Rc::clone(self);
                // Whatever fails from now on is looked after, before anything is waited for.
                core.sessions.keep_clean();
                self.host.spawn(Box::pin(async move {
                    if let Some(reason) = plugin.old_git().await {
                        return plugin.refuse(&reason);
                    }
                    let failed = |reason: String| {
                        let message = format!("cleaning up after earlier runs failed: {reason}");
                        plugin.host.log(Level::Warn, &message);
                    };
                    if let Err(error) = core.sessions.sweep().await {
                        failed(error.to_string());
                    }
                    if let Err(error) = core.carry.project.sweep().await {
                        failed(error.to_string());
                    }
                }));
                self.host.log(
                    Level::Info,
                    &format!(
                        "opencode-daytona-sandbox {} is ready",
                        env!("CARGO_PKG_VERSION")
                    ),
                );
                None
            }
            Err(reason) => {
                self.refuse(&reason);
                Some(reason)
            }
        };
        let on_host = self
            .core()
            .is_ok_and(|core| core.config.network != Network::Sandbox);
        let not_ours = if on_host { guard::WEB } else { &[] };
        Started {
            without: not_ours.iter().map(|tool| tool.to_string()).collect(),
            mark: self.guard.mark.clone(),
            events: EVENTS.iter().map(|kind| kind.to_string()).collect(),
            problem,
        }
    }

    async fn load(self: &Rc<Self>) -> Result<Core, String> {
        let init = &self.init;
        let worktree = self.worktree().await?;
        let git = worktree != "/" && !worktree.is_empty();
        let root = if git { &worktree } else { &init.directory };
        let config = self.secrets.settings(&*self.host, &init.options, root);
        let config = config.await.map_err(|e| e.to_string())?;
        let mut paths = Paths::new(&worktree, &init.directory, &config.project_dir);
        links::start(&*self.host, &mut paths, &init.directory).await;
        let dir = sessions::store_dir(self.host.platform(), |name| self.host.env(name))
            .map_err(|e| e.to_string())?;
        let client = Client::new(self.host.clone(), config.settings.clone());
        let remote = Rc::new(Remote::new(
            self.host.clone(),
            client.clone(),
            init.assets.clone(),
        ));
        let secrets = Arc::clone(&self.secrets);
        let store = Store::new(self.host.clone(), &dir, &init.project_id, paths.host())
            .telling(move |reason| secrets.hide(reason).into_owned());
        let depot = sync::depot_path(store.path(), paths.host(), git);
        let plugin = Rc::downgrade(self);
        let steps = {
            let plugin = plugin.clone();
            let show = Box::new(move |session: &str, text: Option<&str>| {
                let Some(plugin) = plugin.upgrade() else {
                    return;
                };
                match text {
                    Some(text) => plugin.step(session, text),
                    None => plugin.nothing_waits_any_more(session),
                }
            });
            Steps::new(self.host.clone(), show)
        };
        let carry = Rc::new(Carry {
            host: self.host.clone(),
            opencode: Rc::clone(&self.opencode),
            remote: Rc::clone(&remote),
            project: sync::Project::new(self.host.clone(), paths.host(), git, &depot)
                .with_limit(config.carry.max_bytes),
            store: store.path().to_string(),
            worktree: paths.host().to_string(),
            root: config.project_dir.clone(),
            cwd: paths.cwd().to_string(),
            history: config.history,
            paths: config.carry.paths.clone(),
            steps,
            mode: config.sync,
            branch_prefix: config.branch_prefix.clone(),
            turns: Rc::clone(&self.turns.current),
            ready: RefCell::default(),
            secrets: Arc::clone(&self.secrets),
            told: RefCell::default(),
            remarks: RefCell::default(),
            carried: Carried::default(),
            identity: config.identity,
            tell: Box::new(move |brought| {
                if let Some(plugin) = plugin.upgrade() {
                    plugin.tell(brought);
                }
            }),
        });
        let project = Project {
            id: init.project_id.clone(),
            worktree: paths.host().to_string(),
            is_repository: git,
            brings_home: config.sync != Sync::Off,
            known_since: init.project_since.map(|since| since as u64),
        };
        let plugin = Rc::downgrade(self);
        let notices = Box::new(move |notice: Notice| {
            if let Some(plugin) = plugin.upgrade() {
                plugin.notice(&notice);
            }
        });
        let template = config.template.clone();
        let sessions = Sessions::new(
            self.host.clone(),
            client,
            store,
            project,
            template,
            Rc::clone(&carry) as Rc<dyn Carrier>,
            notices,
        );
        Ok(Core {
            config,
            paths,
            remote,
            carry,
            sessions: Rc::new(sessions),
        })
    }

    /// What must not be read by anybody.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// A text without the secrets that are known: for what leaves the core past its calls.
    pub fn fit_to_read(&self, text: &str) -> String {
        self.secrets.hide(text).into_owned()
    }

    fn core(&self) -> Result<Rc<Core>, String> {
        match &*self.state.borrow() {
            State::Working(core) => Ok(Rc::clone(core)),
            State::Refusing(reason) => Err(reason.clone()),
        }
    }

    fn toast(&self, title: &str, message: &str, variant: &str) {
        self.opencode.toast(Toast {
            title: title.into(),
            message: message.into(),
            variant: variant.into(),
        });
    }

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
            // It stands for no shell while the plugin is not there; no name is the user's own.
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

    /// Tells the user something about a tool, once.
    fn tell_once(&self, tool: &str, title: &str, message: &str) {
        if self.told.borrow_mut().insert(tool.into()) {
            self.host.log(Level::Warn, &format!("{title}: {message}"));
            self.toast(title, message, "warning");
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
        let (cancel, mut show) = (calls::never(), |_: &str| {});
        let kept = self.work(core, session, args, cancel, None, &mut show);
        matches!(kept.await, Executed::Done(_)).then_some(path)
    }

    /// The system prompt.
    pub async fn system(self: &Rc<Self>, system: System) -> System {
        let brings_home = (self.core()).is_ok_and(|core| core.config.sync != Sync::Off);
        System {
            system: prompt::rewrite(system.system, &self.paths(), brings_home),
        }
    }

    /// The project's paths, also while nothing works.
    fn paths(&self) -> Paths {
        match self.core() {
            Ok(core) => core.paths.clone(),
            Err(_) => Paths::new(
                &self.init.worktree,
                &self.init.directory,
                DEFAULT_PROJECT_DIR,
            ),
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

    /// Makes the session's sandbox, unless it is there.
    fn prewarm(self: &Rc<Self>, session: &str) {
        if let Ok(core) = self.core()
            && core.config.prewarm
            && !self.disposed.get()
        {
            let (plugin, session) = (Rc::clone(self), session.to_string());
            self.host.spawn(Box::pin(async move {
                // A failure is shown by its notice, and again by the first tool call.
                if let Ok(root) = plugin.root(&session).await {
                    core.carry.steps.wanted(&root);
                    let _ = core.sessions.ensure(&root).await;
                }
            }));
        }
    }

    /// Something happened in OpenCode.
    pub async fn event(self: &Rc<Self>, event: Event) -> Nothing {
        let text = |pointer: &str| {
            event
                .properties
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_string)
        };
        let session = text("/sessionID").or_else(|| text("/info/id"));
        let (Some(session), Ok(core)) = (session, self.core()) else {
            return Nothing {};
        };
        match event.kind.as_str() {
            "session.created" => {
                let parent = text("/info/parentID");
                if parent.is_none() {
                    core.sessions.created(&session);
                }
                self.parents.borrow_mut().insert(session, parent);
            }
            "session.deleted" => {
                let known = self.parents.borrow_mut().remove(&session);
                let parent = text("/info/parentID").or(known.flatten());
                if parent.is_none() {
                    let host = self.host.clone();
                    self.host.spawn(Box::pin(async move {
                        if let Err(error) = core.sessions.delete(&session).await {
                            host.log(
                                Level::Error,
                                &format!(
                                    "the sandbox of session {session} could not be deleted: {error}"
                                ),
                            );
                        }
                    }));
                }
            }
            "session.idle" => {
                self.idle(Rc::clone(&core), session.clone());
                if let Ok(root) = self.root(&session).await
                    && root == session
                {
                    self.come_home(core, root, None);
                }
            }
            "session.updated" => self.updated(core, session, &event.properties["info"]),
            "message.updated" => {
                if text("/info/role").as_deref() == Some("user")
                    && let (Some(session), Some(id)) = (text("/info/sessionID"), text("/info/id"))
                    && let Ok(root) = self.root(&session).await
                    && root == session
                {
                    self.turn(&root, &id, None);
                }
            }
            "message.removed" | "message.part.removed" => self.removed(session),
            "permission.asked" => self.approvals.borrow_mut().asked(&event.properties),
            "permission.replied" => self.approvals.borrow_mut().replied(&event.properties),
            "session.compacted" => drop(self.loaded.borrow_mut().remove(&session)),
            _ => {}
        }
        Nothing {}
    }

    fn active(&self, session: &str) -> u64 {
        let mut activity = self.activity.borrow_mut();
        let count = activity.entry(session.into()).or_default();
        *count += 1;
        *count
    }

    /// Deletes the session's sandbox later, if nothing happens until then and no tool used it.
    fn idle(self: &Rc<Self>, core: Rc<Core>, session: String) {
        let stamp = self.active(&session);
        let plugin = Rc::downgrade(self);
        let host = self.host.clone();
        self.host.spawn(Box::pin(async move {
            host.sleep(IDLE_MS).await;
            let Some(plugin) = plugin.upgrade() else {
                return;
            };
            if plugin.activity.borrow().get(&session) == Some(&stamp)
                && let Err(error) = core.sessions.delete_unused(&session).await
            {
                host.log(
                    Level::Warn,
                    &format!("the unused sandbox of session {session} stays: {error}"),
                );
            }
        }));
    }

    /// OpenCode ends: the work comes home, and no sandbox that nobody used stays behind.
    pub async fn dispose(self: &Rc<Self>, _: Nothing) -> Nothing {
        self.disposed.set(true);
        if let Ok(core) = self.core() {
            let end = join(self.all_home(&core), core.sessions.delete_all_unused());
            let limit = self.host.sleep(DISPOSE_MS);
            let told = self.tell_leaving(&core);
            // What does not get done is done at the next start.
            select(Box::pin(end), select(limit, Box::pin(told))).await;
        }
        Nothing {}
    }

    /// Says in the terminal that work travels: OpenCode's screen has gone, and a user who sees nothing
    /// presses Ctrl-C again, which ends the process at once.
    async fn tell_leaving(&self, core: &Core) {
        if core.config.sync != Sync::Off && !core.sessions.unsynced().is_empty() {
            self.host.sleep(LEAVING_MS.0).await;
            while !self.opencode.terminal(LEAVING) {
                self.host.sleep(LEAVING_MS.1).await;
            }
        }
        pending().await
    }

    /// The root of a session's tree: subagents work in its sandbox. If that cannot be found out, it
    /// is no guess: a subagent in a sandbox of its own would lose its work.
    async fn root(&self, session: &str) -> Result<String, String> {
        let mut current = session.to_string();
        for _ in 0..MAX_DEPTH {
            let known = self.parents.borrow().get(&current).cloned();
            let parent = match known {
                Some(parent) => parent,
                None => {
                    let parent = self.opencode.parent(&current).await.map_err(|reason| {
                        format!("OpenCode does not say whose session {current} is: {reason}")
                    })?;
                    self.parents
                        .borrow_mut()
                        .insert(current.clone(), parent.clone());
                    parent
                }
            };
            match parent {
                Some(parent) => current = parent,
                None => break,
            }
        }
        Ok(current)
    }
}

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
