//! The plugin itself: hooks in, decisions out.

use crate::carry::Carry;
use crate::config::Config;
use crate::edge::*;
use crate::guard::{self, Guard};
use crate::paths::Paths;
use crate::remote::{Answer, Remote};
use crate::{permission, prompt, trust};
use async_trait::async_trait;
use daytona::Client;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, LocalBoxFuture, Shared, select};
use host::{Host, Level};
use protocol::args::{Bash, DEFAULT_TIMEOUT_MS};
use protocol::{
    Code, JobStop, JobWait, Op, Outcome, Request, StopReason, ToolArgs, ToolCall, ToolError,
    ToolOutput, Wait,
};
use serde_json::{Value, json};
use sessions::{Notice, Project, Sessions, Store};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// An unused sandbox is deleted when its session has been idle this long.
const IDLE_MS: u64 = 10 * 60 * 1000;
/// How long OpenCode's end may be held up.
const DISPOSE_MS: u64 = 2_500;
/// How long after its time a command may still be said to run.
const OVERDUE_MS: u64 = 120_000;
/// OpenCode stores an aborted tool's result only if it arrives within 250 ms.
const ABORT_MS: u64 = 180;
/// Larger than any output of our tools, so that OpenCode never cuts one and saves the rest in a
/// file on the host. The runner has cut it already.
const OUTPUT_LINES: u32 = 100_000;
const OUTPUT_BYTES: u32 = 4 * 1024 * 1024;
/// Instruction files that are remembered per session: each costs room in every later `read`.
const MAX_LOADED: usize = 200;
/// Events that [`Plugin::event`] does something about.
const EVENTS: &[&str] = &[
    "session.created",
    "session.deleted",
    "session.idle",
    "session.compacted",
];
/// Characters of a running command's output that are shown, as in OpenCode's own bash.
const LIVE_CHARS: usize = 30_000;
/// A session tree deeper than this is a loop.
const MAX_DEPTH: usize = 16;

/// Follows the first result from a sandbox that took a deleted one's place.
const REPLACED: &str = "\n\n<system-reminder>\nThe sandbox of this session had been deleted. This call ran in a new one, which holds the \
    project as it is on the user's machine now: whatever was done only in the old sandbox is lost.\n</system-reminder>";

/// What a permission question came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Go on.
    Allowed,
    /// The user or a rule said no; the edge kept OpenCode's error.
    Rejected,
}

/// OpenCode, as far as the plugin talks back to it.
#[async_trait(?Send)]
pub trait OpenCode {
    /// Asks a permission question for a running call.
    async fn ask(&self, call: u32, question: &Permission) -> Asked;

    /// The parent of a session; none for a root session. An error says why it is not known.
    async fn parent(&self, session: &str) -> Result<Option<String>, String>;

    /// Shows what a running command has printed so far.
    fn progress(&self, call: u32, progress: &Progress);

    /// Shows a line to the user.
    fn toast(&self, toast: Toast);
}

/// One plugin per OpenCode instance (that is, per directory).
pub struct Plugin {
    host: Rc<dyn Host>,
    opencode: Rc<dyn OpenCode>,
    init: Init,
    state: RefCell<State>,
    guard: Guard,
    /// Parents of the sessions this instance has heard of; a root session has none.
    parents: RefCell<HashMap<String, Option<String>>>,
    aborts: RefCell<HashMap<u32, oneshot::Sender<()>>>,
    /// Counts up when a session does anything, so that an idle timer knows it is out of date.
    activity: RefCell<HashMap<String, u64>>,
    /// Instruction files that a session has seen: OpenCode shows each once.
    loaded: RefCell<HashMap<String, Vec<String>>>,
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
    sessions: Rc<Sessions>,
}

type Cancel = Shared<LocalBoxFuture<'static, ()>>;

impl Plugin {
    /// A plugin that refuses everything until [`Plugin::start`] has read the configuration.
    pub fn new(host: Rc<dyn Host>, opencode: Rc<dyn OpenCode>, init: Init) -> Rc<Plugin> {
        Rc::new(Plugin {
            host,
            opencode,
            init,
            state: RefCell::new(State::Refusing(
                "opencode-daytona-sandbox has not been started".into(),
            )),
            guard: Guard::default(),
            parents: RefCell::default(),
            aborts: RefCell::default(),
            activity: RefCell::default(),
            loaded: RefCell::default(),
            disposed: Cell::new(false),
        })
    }

    /// Reads the configuration and says which tools there are. They are the same whether it works
    /// or not: without a sandbox they refuse.
    pub async fn start(self: &Rc<Self>, _: Nothing) -> Started {
        let problem = match self.load().await {
            Ok(core) => {
                let core = Rc::new(core);
                *self.state.borrow_mut() = State::Working(Rc::clone(&core));
                let host = Rc::clone(&self.host);
                self.host.spawn(Box::pin(async move {
                    if let Err(error) = core.sessions.sweep().await {
                        host.log(
                            Level::Warn,
                            &format!("cleaning up after earlier runs failed: {error}"),
                        );
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
                self.host.log(Level::Error, &reason);
                *self.state.borrow_mut() = State::Refusing(reason.clone());
                self.toast("Sandbox unavailable", &reason, "error");
                Some(reason)
            }
        };
        Started {
            tools: definitions(),
            events: EVENTS.iter().map(|kind| kind.to_string()).collect(),
            problem,
        }
    }

    async fn load(self: &Rc<Self>) -> Result<Core, String> {
        let init = &self.init;
        let root = if init.worktree == "/" || init.worktree.is_empty() {
            &init.directory
        } else {
            &init.worktree
        };
        let dotenv = self
            .host
            .read_file(&format!("{}/.env", root.trim_end_matches('/')))
            .await
            .unwrap_or_default();
        let config = Config::read(
            &init.options,
            |name| self.host.env(name),
            &String::from_utf8_lossy(&dotenv),
        )
        .map_err(|e| e.to_string())?;
        let paths = Paths::new(&init.worktree, &init.directory, &config.project_dir);
        let dir = sessions::store_dir(|name| self.host.env(name)).map_err(|e| e.to_string())?;
        let client = Client::new(Rc::clone(&self.host), config.settings.clone());
        let remote = Rc::new(Remote::new(
            Rc::clone(&self.host),
            client.clone(),
            init.assets.clone(),
        ));
        let git = init.worktree != "/" && !init.worktree.is_empty();
        let carry = Carry {
            host: Rc::clone(&self.host),
            remote: Rc::clone(&remote),
            worktree: paths.host().to_string(),
            repository: git,
            root: config.project_dir.clone(),
        };
        let store = Store::new(Rc::clone(&self.host), &dir, &init.project_id, paths.host());
        let project = Project {
            id: init.project_id.clone(),
            worktree: paths.host().to_string(),
            git,
        };
        let plugin = Rc::downgrade(self);
        let notices = Box::new(move |notice: Notice| {
            if let Some(plugin) = plugin.upgrade() {
                plugin.notice(&notice);
            }
        });
        let template = config.template.clone();
        let sessions = Sessions::new(
            Rc::clone(&self.host),
            client,
            store,
            project,
            template,
            Rc::new(carry),
            notices,
        );
        Ok(Core {
            config,
            paths,
            remote,
            sessions: Rc::new(sessions),
        })
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

    fn notice(&self, notice: &Notice) {
        let (title, message, variant) = match notice {
            Notice::Created { id } => (
                "Sandbox created",
                format!("This session works in Daytona sandbox {id}."),
                "success",
            ),
            Notice::Resumed { id } => (
                "Sandbox resumed",
                format!("Daytona sandbox {id} was stopped and runs again."),
                "info",
            ),
            Notice::Replaced { old, id } => (
                "Sandbox replaced",
                format!(
                    "Daytona sandbox {old} is gone, with all that was only there. {id} takes its place."
                ),
                "warning",
            ),
            Notice::Failed { reason } => ("Sandbox unavailable", reason.clone(), "error"),
            Notice::DeleteLater { id, reason } => (
                "Sandbox not deleted yet",
                format!("{id} could not be deleted: {reason} It is tried again at the next start."),
                "warning",
            ),
        };
        let level = if matches!(variant, "error" | "warning") {
            Level::Warn
        } else {
            Level::Info
        };
        self.host.log(level, &format!("{title}: {message}"));
        self.toast(title, &message, variant);
    }

    /// Settings for OpenCode: nothing of ours may be cut into a host file, and the denials that
    /// guard an OpenCode without the plugin are lifted.
    pub async fn config(self: &Rc<Self>, now: ConfigNow) -> ConfigPatch {
        ConfigPatch {
            permission: guard::lift_denials(&now.permission),
            tool_output_lines: OUTPUT_LINES,
            tool_output_bytes: OUTPUT_BYTES,
        }
    }

    /// OpenCode is about to offer a tool.
    pub async fn offer(self: &Rc<Self>, offer: ToolOffer) -> Nothing {
        self.guard.offered(&offer.tool, offer.built_in);
        Nothing {}
    }

    /// OpenCode is about to run a tool, ours or not.
    pub async fn before(self: &Rc<Self>, tool: ToolBefore) -> ToolVerdict {
        let allowed = self
            .core()
            .map(|core| core.config.allow_tools.clone())
            .unwrap_or_default();
        ToolVerdict {
            refuse: self.guard.refuse(&tool.tool, &allowed),
            replace: Value::Object(guard::rewrite(&tool.tool, &tool.args)),
        }
    }

    /// The system prompt.
    pub async fn system(self: &Rc<Self>, system: System) -> System {
        match self.core() {
            Ok(core) => System {
                system: prompt::rewrite(system.system, &core.paths),
            },
            Err(_) => system,
        }
    }

    /// A user's message arrived: its sandbox can be made while the model thinks.
    pub async fn message(self: &Rc<Self>, session: Session) -> Nothing {
        self.active(&session.session_id);
        if let Ok(core) = self.core()
            && core.config.prewarm
            && !self.disposed.get()
        {
            let plugin = Rc::clone(self);
            self.host.spawn(Box::pin(async move {
                // A failure is shown by its notice, and again by the first tool call.
                if let Ok(root) = plugin.root(&session.session_id).await {
                    let _ = core.sessions.ensure(&root).await;
                }
            }));
        }
        Nothing {}
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
                    let host = Rc::clone(&self.host);
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
            "session.idle" => self.idle(core, session),
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
        let host = Rc::clone(&self.host);
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

    /// OpenCode ends: no sandbox that nobody used stays behind.
    pub async fn dispose(self: &Rc<Self>, _: Nothing) -> Nothing {
        self.disposed.set(true);
        if let Ok(core) = self.core() {
            let unused = core.sessions.delete_all_unused();
            let limit = self.host.sleep(DISPOSE_MS);
            // What does not get done is swept at the next start.
            select(Box::pin(unused), limit).await;
        }
        Nothing {}
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

    /// Stops a call.
    pub async fn abort(self: &Rc<Self>, call: Call) -> Nothing {
        if let Some(abort) = self.aborts.borrow_mut().remove(&call.call) {
            let _ = abort.send(());
        }
        Nothing {}
    }

    /// Runs a tool in the session's sandbox.
    pub async fn execute(self: &Rc<Self>, call: Execute) -> Executed {
        let (sender, receiver) = oneshot::channel::<()>();
        let cancel: Cancel = receiver
            .then(|sent| async move {
                if sent.is_err() {
                    futures::future::pending::<()>().await;
                }
            })
            .boxed_local()
            .shared();
        let id = call.call;
        self.aborts.borrow_mut().insert(id, sender);
        let result = self.run(call, cancel).await;
        self.aborts.borrow_mut().remove(&id);
        result
    }

    async fn run(self: &Rc<Self>, call: Execute, cancel: Cancel) -> Executed {
        let core = match self.core() {
            Ok(core) => core,
            Err(reason) => {
                return failed(format!(
                    "This tool works in a Daytona sandbox, which is not available: {reason}"
                ));
            }
        };
        let args = match tools::catalog::parse(&call.tool, &call.args) {
            Ok(args) => core.paths.arguments(args),
            Err(message) => return failed(message),
        };
        for question in permission::questions(&args, &core.paths) {
            // OpenCode leaves the question of an aborted call open for ever.
            let asked = self.opencode.ask(call.call, &question);
            match select(asked, cancel.clone()).await {
                Either::Left((Asked::Allowed, _)) => {}
                Either::Left((Asked::Rejected, _)) => return Executed::Rejected,
                Either::Right(_) => return failed("Tool execution aborted".into()),
            }
        }
        // The work goes on if the call is aborted: half a created sandbox helps nobody, and a
        // command must still be stopped.
        let (done, result) = oneshot::channel();
        let (plugin, cancelled) = (Rc::clone(self), cancel.clone());
        self.host.spawn(Box::pin(async move {
            let _ = done.send(plugin.work(&core, call, args, cancelled).await);
        }));
        let host = Rc::clone(&self.host);
        let limit = async move {
            cancel.await;
            host.sleep(ABORT_MS).await;
        };
        match select(result, Box::pin(limit)).await {
            Either::Left((Ok(result), _)) => result,
            Either::Left((Err(_), _)) => failed(
                "the call ended without a result; this is a defect of opencode-daytona-sandbox"
                    .into(),
            ),
            Either::Right(_) => failed("Tool execution aborted".into()),
        }
    }

    async fn work(&self, core: &Core, call: Execute, args: ToolArgs, cancel: Cancel) -> Executed {
        let session = match self.root(&call.session_id).await {
            Ok(session) => session,
            Err(reason) => return failed(reason),
        };
        self.active(&session);
        let loaded = match &args {
            ToolArgs::Read(_) => self.loaded_in(&call.session_id),
            _ => Vec::new(),
        };
        let (command, time) = match &args {
            ToolArgs::Bash(Bash {
                command, timeout, ..
            }) => (Some(command.clone()), *timeout),
            _ => (None, None),
        };
        let op = Op::Tool(ToolCall {
            root: core.paths.root().into(),
            cwd: core.paths.cwd().into(),
            args,
            wait: Wait::default(),
            env: Default::default(),
            loaded,
        });
        let ask = |op: Op| Request::new(core.remote.id(), op);
        let stop = async |job: &str| {
            let op = Op::JobStop(JobStop {
                job: job.into(),
                reason: StopReason::Abort,
            });
            let never = || false;
            core.remote
                .call(&core.sessions, &session, &ask(op), never)
                .await
        };
        let is_cancelled = || cancel.peek().is_some();
        let request = ask(op);
        let first = core
            .remote
            .call(&core.sessions, &session, &request, is_cancelled);
        let mut answer = match select(Box::pin(first), cancel.clone()).await {
            Either::Left((answer, _)) => answer,
            // A job has the name of its request, so it can be stopped before it has answered.
            Either::Right((_, first)) if command.is_some() && core.sessions.is_ready(&session) => {
                match stop(&request.id).await {
                    Ok(stopped) if !is_unknown(&stopped) => Ok(stopped),
                    _ => first.await,
                }
            }
            Either::Right((_, first)) => first.await,
        };
        // The runner ends a command in time. One that does not is not believed for ever.
        let overdue = time
            .unwrap_or(DEFAULT_TIMEOUT_MS)
            .saturating_add(OVERDUE_MS);
        let overdue = self.host.now_ms().saturating_add(overdue);
        let (mut replaced, mut stopped) = (None, false);
        let mut shown = String::new();
        loop {
            let answered = match answer {
                Ok(answered) => answered,
                Err(error) => return failed(error.to_string()),
            };
            replaced = answered.replaced.or(replaced);
            let job = match answered.result {
                Ok(Outcome::Done(output)) => return self.done(&call, output, replaced.is_some()),
                Ok(Outcome::Running(job)) => job,
                Ok(Outcome::Ready(_)) => {
                    return failed("the runner answered another question than was asked".into());
                }
                Err(error) => {
                    return self.tool_error(error, command.as_deref(), replaced.is_some());
                }
            };
            if self.host.now_ms() > overdue {
                if stopped {
                    return failed(
                        "The command should have ended long ago, and the sandbox does not stop it. Stop its processes with another command."
                            .into(),
                    );
                }
                stopped = true;
                answer = stop(&job.job).await;
                continue;
            }
            if !job.output.is_empty() {
                shown.push_str(&job.output);
                keep_tail(&mut shown, LIVE_CHARS);
                self.opencode.progress(
                    call.call,
                    &Progress {
                        title: command.clone().unwrap_or_default(),
                        output: shown.clone(),
                    },
                );
            }
            let wait = ask(Op::JobWait(JobWait {
                job: job.job.clone(),
                offset: job.offset,
                wait: Wait::default(),
            }));
            let wait = core.remote.call(&core.sessions, &session, &wait, || false);
            answer = match select(cancel.clone(), Box::pin(wait)).await {
                Either::Right((answer, _)) => answer,
                Either::Left(_) => stop(&job.job).await,
            };
        }
    }

    /// Instruction files that the session has seen. After a compaction it has seen none.
    fn loaded_in(&self, session: &str) -> Vec<String> {
        self.loaded
            .borrow()
            .get(session)
            .cloned()
            .unwrap_or_default()
    }

    fn done(&self, call: &Execute, output: ToolOutput, replaced: bool) -> Executed {
        let output = trust::output(output);
        if let Some(shown) = output.metadata.get("loaded").and_then(Value::as_array) {
            let mut loaded = self.loaded.borrow_mut();
            let seen = loaded.entry(call.session_id.clone()).or_default();
            let shown = shown.iter().filter_map(Value::as_str).map(str::to_string);
            seen.extend(shown.take(MAX_LOADED.saturating_sub(seen.len())));
        }
        let text = with_notice(output.output, replaced);
        Executed::Done(Done {
            title: output.title,
            output: text,
            metadata: output.metadata,
            attachments: output.attachments,
        })
    }

    fn tool_error(&self, error: ToolError, command: Option<&str>, replaced: bool) -> Executed {
        if error.code != Code::Tool {
            self.host.log(
                Level::Warn,
                &format!("runner: {:?}: {}", error.code, error.message),
            );
        }
        let text = with_notice(trust::text(error.message), replaced);
        match (command, &error.metadata) {
            // A command that was cut off has output worth showing.
            (Some(command), Some(metadata)) if metadata.is_object() => Executed::Done(Done {
                title: command.into(),
                output: text,
                metadata: metadata.clone(),
                attachments: Vec::new(),
            }),
            _ => failed(text),
        }
    }
}

/// True if the runner does not know the job that was asked for.
fn is_unknown(answer: &Answer) -> bool {
    matches!(&answer.result, Err(error) if error.code == Code::NoSuchJob)
}

/// Tells the model why files may be missing.
fn with_notice(text: String, replaced: bool) -> String {
    match replaced {
        true => text + REPLACED,
        false => text,
    }
}

/// Leaves the last `chars` characters.
fn keep_tail(text: &mut String, chars: usize) {
    if let Some((start, _)) = text.char_indices().rev().nth(chars.saturating_sub(1)) {
        text.drain(..start);
    }
}

fn failed(message: String) -> Executed {
    Executed::Failed { message }
}

/// The tools, for the model.
fn definitions() -> Vec<ToolDefinition> {
    let define = |tool: &tools::catalog::Tool| ToolDefinition {
        name: tool.name.into(),
        description: tool.description.into(),
        schema: tool.schema(),
    };
    tools::catalog::TOOLS.iter().map(define).collect()
}

/// The tools as JSON, for the shim to register when the core cannot be loaded.
pub fn catalog_json() -> String {
    json!(definitions()).to_string()
}

#[cfg(test)]
mod tests {
    use super::keep_tail;

    #[test]
    fn the_tail_is_kept_in_characters() {
        for (text, chars, expected) in [
            ("abc", 2, "bc"),
            ("aé€", 2, "é€"),
            ("ab", 5, "ab"),
            ("", 3, ""),
        ] {
            let mut text = text.to_string();
            keep_tail(&mut text, chars);
            assert_eq!(text, expected);
        }
    }
}
