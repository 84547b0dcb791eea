//! One tool call: permission first, then the sandbox, then what OpenCode shows of it.

use super::call::{ABORTED, Cancel, UnderWay, failed, is_background};
use super::running::Running;
use super::{Core, Plugin};
use crate::links;
use crate::trust;
use crate::wire::*;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, select};
use host::Level;
use protocol::{Code, Op, ToolArgs, ToolCall, ToolError, ToolOutput, Wait};
use serde_json::Value;
use std::rc::Rc;
use std::sync::Arc;
use tools::catalog;

/// OpenCode stores an aborted tool's result only if it arrives within 250 ms.
const ABORT_MS: u64 = 180;
/// How long a command in the background may fail at once, or say a first word.
const FIRST_WORDS: Wait = Wait {
    output_ms: 200,
    max_ms: 400,
};
/// How often the terminal hears how far the preparation of a sandbox is.
const STEP_MS: u64 = 5_000;
/// Jobs whose output is remembered as shown.
const MAX_JOBS: usize = 1_000;
/// Instruction files that are remembered per session: each costs room in every later `read`.
const MAX_LOADED: usize = 200;
/// Characters of a running command's output that are shown, as in OpenCode's own bash.
const LIVE_CHARS: usize = 30_000;

/// Follows the first result from a sandbox that took a deleted one's place.
const REPLACED: &str = "\n\n<system-reminder>\nThe sandbox of this session had been deleted. This call ran in a new one, which holds the \
    project as it is on the user's machine now: whatever was done only in the old sandbox is lost.\n</system-reminder>";

impl Plugin {
    /// Stops a call.
    pub async fn abort(self: &Rc<Self>, call: Call) -> Nothing {
        if let Some(abort) = self.aborts.borrow_mut().remove(&call.call) {
            let _ = abort.send(());
        }
        Nothing {}
    }

    /// Runs a tool in the session's sandbox.
    pub async fn execute(self: &Rc<Self>, call: Execute) -> Executed {
        let id = call.call;
        let cancel = self.cancellable(id);
        let result = self.run(call, cancel).await;
        self.waits_no_more(id);
        self.aborts.borrow_mut().remove(&id);
        self.under_way.borrow_mut().remove(&id);
        result
    }

    /// Shows a line at every call of a session and its subagents.
    pub(super) fn show_to_all(&self, root: &str, text: &str) {
        for (call, under_way) in &mut *self.under_way.borrow_mut() {
            if self.known.root(&under_way.session) == root {
                under_way.waits = true;
                let (title, output) = (under_way.title.clone(), Some(text.to_string()));
                self.opencode.progress(*call, &Progress { title, output });
            }
        }
    }

    /// Takes away what a call was said to wait for. OpenCode keeps what it showed last of a call that fails.
    fn waits_no_more(&self, call: u32) {
        let mut all = self.under_way.borrow_mut();
        if let Some(under_way) = all.get_mut(&call).filter(|under_way| under_way.waits) {
            under_way.waits = false;
            let (title, output) = (under_way.title.clone(), under_way.output.clone());
            self.opencode.progress(call, &Progress { title, output });
        }
    }

    /// Does so for every call of a session and its subagents.
    pub(super) fn nothing_waits_any_more(&self, root: &str) {
        let calls: Vec<u32> = {
            let all = self.under_way.borrow();
            let of_root = all
                .iter()
                .filter(|(_, at)| self.known.root(&at.session) == root);
            of_root.map(|(call, _)| *call).collect()
        };
        for call in calls {
            self.waits_no_more(call);
        }
    }

    /// Shows what a command has printed.
    fn show(&self, call: u32, title: &str, printed: &str) {
        let (title, output) = (title.to_string(), Some(printed.to_string()));
        if let Some(under_way) = self.under_way.borrow_mut().get_mut(&call) {
            under_way.waits = false;
            under_way.output = output.clone();
        }
        self.opencode.progress(call, &Progress { title, output });
    }

    /// Shows how far the preparation of a session's sandbox is: at its calls, and now and then in the
    /// terminal, if that is not OpenCode's.
    pub(super) fn step(&self, root: &str, text: &str) {
        self.show_to_all(root, text);
        let now = self.host.now_ms();
        if now.saturating_sub(self.step_at.get()) >= STEP_MS {
            self.step_at.set(now);
            self.opencode.terminal(text);
        }
    }

    /// True if a call of the session's tree runs that nobody has aborted.
    pub(super) fn is_wanted(&self, root: &str) -> bool {
        let aborts = self.aborts.borrow();
        let under_way = self.under_way.borrow();
        let mut calls = under_way
            .iter()
            .filter(|(call, _)| aborts.contains_key(call));
        calls.any(|(_, at)| self.known.root(&at.session) == root)
    }

    /// Resolves when the call is aborted.
    pub(super) fn cancellable(&self, call: u32) -> Cancel {
        let (sender, receiver) = oneshot::channel::<()>();
        self.aborts.borrow_mut().insert(call, sender);
        let sent = receiver.then(|sent| async move {
            if sent.is_err() {
                futures::future::pending::<()>().await;
            }
        });
        sent.boxed_local().shared()
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
            Ok(args) => {
                links::learn(&*self.host, &core.paths, &args).await;
                core.paths.arguments(args)
            }
            Err(message) => return failed(message),
        };
        if let ToolArgs::Webfetch(args) = &args
            && !(args.url.starts_with("http://") || args.url.starts_with("https://"))
        {
            return failed("URL must start with http:// or https://".into());
        }
        if let ToolArgs::Preview(args) = &args
            && daytona::is_reserved_port(args.port)
        {
            return failed(daytona::Error::ReservedPort(args.port).to_string());
        }
        let under_way = UnderWay {
            session: call.session_id.clone(),
            title: title(&args),
            output: None,
            waits: false,
        };
        self.under_way.borrow_mut().insert(call.call, under_way);
        let replaced = match self.permit(&core, &call, &args, &cancel).await {
            Ok(replaced) => replaced,
            Err(refused) => return refused,
        };
        match &args {
            ToolArgs::Sync(args) => {
                return self.sync_tool(&core, &call.session_id, args.clone()).await;
            }
            ToolArgs::Preview(args) => {
                return self
                    .preview_tool(&core, &call.session_id, args.clone())
                    .await;
            }
            _ => {}
        }
        // The work goes on if the call is aborted: half a created sandbox helps nobody, and a
        // command must still be stopped.
        let (done, result) = oneshot::channel();
        let (plugin, cancelled) = (Rc::clone(self), cancel.clone());
        self.host.spawn(Box::pin(async move {
            let (mut shown, title) = (String::new(), title(&args));
            let mut show = |fresh: &str| {
                shown.push_str(fresh);
                keep_tail(&mut shown, LIVE_CHARS);
                plugin.show(call.call, &title, &shown);
            };
            if matches!(args, ToolArgs::Bash(_)) {
                // As OpenCode does: the terminal shows the command before it prints, and an error
                // keeps this.
                show("");
            }
            let session = &call.session_id;
            let _ = done.send(
                plugin
                    .work(&core, session, args, cancelled, replaced, &mut show)
                    .await,
            );
        }));
        let host = Arc::clone(&self.host);
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
            Either::Right(_) => failed(ABORTED.into()),
        }
    }

    /// Runs a tool that may run. `replaced` names the sandbox that took a deleted one's place
    /// while permission was asked; `show` is told what a command prints while it runs.
    pub(super) async fn work(
        &self,
        core: &Core,
        session_id: &str,
        args: ToolArgs,
        cancel: Cancel,
        replaced: Option<String>,
        show: &mut dyn FnMut(&str),
    ) -> Executed {
        let root = match self.root(session_id).await {
            Ok(root) => root,
            Err(reason) => return failed(reason),
        };
        self.active(&root);
        if let Err(reason) = self.settle(core, &root).await {
            return failed(reason.to_string());
        }
        let mutates = catalog::find(args.tool()).is_none_or(|tool| tool.mutates);
        let _working = mutates.then(|| core.sessions.working(&root));
        let running = Running::new(self, core, session_id, &root, &args, cancel);
        let turn = self.turn_of(&root).filter(|_| mutates);
        let request = running.request(self.tool(core, session_id, args, turn));
        let ended = running.to_its_end(&request, replaced, show).await;
        let known = self.known.find(&root);
        let remark = known
            .map(|known| known.remark.take())
            .filter(|remark| !remark.is_empty());
        match remark {
            Some(remark) => remarked(ended, &remark),
            None => ended,
        }
    }

    /// What the runner is asked to do.
    fn tool(&self, core: &Core, session_id: &str, mut args: ToolArgs, turn: Option<String>) -> Op {
        let loaded = match &args {
            ToolArgs::Read(_) => self.loaded_in(session_id),
            _ => Vec::new(),
        };
        if let ToolArgs::Job(job) = &mut args {
            let jobs = self.jobs.borrow();
            let shown = job.job.as_ref().and_then(|name| jobs.get(name).copied());
            job.offset = shown.unwrap_or_default();
        }
        let wait = match is_background(&args) {
            true => FIRST_WORDS,
            false => Wait::FIRST,
        };
        Op::Tool(ToolCall {
            root: core.paths.root().into(),
            cwd: core.paths.cwd().into(),
            args,
            wait,
            env: Default::default(),
            loaded,
            turn,
        })
    }

    /// Instruction files that the session has seen. After a compaction it has seen none.
    fn loaded_in(&self, session: &str) -> Vec<String> {
        let known = self.known.find(session);
        known.map_or_else(Vec::new, |known| known.loaded.borrow().clone())
    }

    pub(super) fn done(&self, session: &str, output: ToolOutput, replaced: bool) -> Executed {
        let output = trust::output(output);
        // How far a job's output was shown. After a restart of OpenCode it is shown from its start.
        if let (Some(job), Some(offset)) = (
            output.metadata.get("job").and_then(Value::as_str),
            output.metadata.get("offset").and_then(Value::as_u64),
        ) {
            let mut jobs = self.jobs.borrow_mut();
            if jobs.len() < MAX_JOBS || jobs.contains_key(job) {
                jobs.insert(job.into(), offset);
            }
        }
        if let Some(shown) = output.metadata.get("loaded").and_then(Value::as_array) {
            let known = self.known.of(session);
            let mut seen = known.loaded.borrow_mut();
            let shown = shown.iter().filter_map(Value::as_str).map(str::to_string);
            let room = MAX_LOADED.saturating_sub(seen.len());
            seen.extend(shown.take(room));
        }
        let text = with_notice(output.output, replaced);
        Executed::Done(Done {
            title: output.title,
            output: text,
            metadata: output.metadata,
            attachments: output.attachments,
            link: None,
        })
    }

    pub(super) fn tool_error(
        &self,
        error: ToolError,
        command: Option<&str>,
        replaced: bool,
    ) -> Executed {
        if error.code != Code::Tool {
            let why = trust::sentence(&error.message);
            self.host
                .log(Level::Warn, &format!("runner: {:?}: {why}", error.code));
        }
        let text = with_notice(trust::text(error.message), replaced);
        match (command, &error.metadata) {
            // A command that was cut off has output worth showing.
            (Some(command), Some(metadata)) if metadata.is_object() => Executed::Done(Done {
                title: command.into(),
                output: text,
                metadata: metadata.clone(),
                attachments: Vec::new(),
                link: None,
            }),
            _ => failed(text),
        }
    }
}

/// What a running command is called.
fn title(args: &ToolArgs) -> String {
    match args {
        ToolArgs::Bash(bash) => bash.command.clone(),
        _ => String::new(),
    }
}

/// Tells the model why files may be missing.
fn with_notice(text: String, replaced: bool) -> String {
    match replaced {
        true => text + REPLACED,
        false => text,
    }
}

/// With what the model must know of its sandbox.
fn remarked(mut ended: Executed, remark: &str) -> Executed {
    let note = format!("\n\n<system-reminder>\n{remark}\n</system-reminder>");
    match &mut ended {
        Executed::Done(done) => done.output.push_str(&note),
        Executed::Failed { message } => message.push_str(&note),
        _ => {}
    }
    ended
}

/// Leaves the last `chars` characters.
fn keep_tail(text: &mut String, chars: usize) {
    if let Some((start, _)) = text.char_indices().rev().nth(chars.saturating_sub(1)) {
        text.drain(..start);
    }
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
