//! One tool call: permission first, then the sandbox, then what OpenCode shows of it.

use super::{Core, Plugin};
use crate::edge::*;
use crate::remote::{Answer, OTHER, RemoteError};
use crate::trust;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{Either, LocalBoxFuture, Shared, select};
use host::Level;
use protocol::args::{Bash, DEFAULT_TIMEOUT_MS};
use protocol::{
    Code, JobState, JobStop, JobWait, Op, Outcome, Request, StopReason, ToolArgs, ToolCall,
    ToolError, ToolOutput, Wait,
};
use serde_json::{Value, json};
use std::rc::Rc;
use tools::catalog;

/// How long after its time a command may still be said to run.
const OVERDUE_MS: u64 = 120_000;
/// OpenCode stores an aborted tool's result only if it arrives within 250 ms.
const ABORT_MS: u64 = 180;
/// How long a command in the background may fail at once, or say a first word.
const FIRST_WORDS: Wait = Wait {
    output_ms: 200,
    max_ms: 400,
};
/// Asks how a job is right now.
const NO_WAIT: Wait = Wait {
    output_ms: 0,
    max_ms: 0,
};
/// Jobs whose output is remembered as shown.
const MAX_JOBS: usize = 1_000;
/// Instruction files that are remembered per session: each costs room in every later `read`.
const MAX_LOADED: usize = 200;
/// Characters of a running command's output that are shown, as in OpenCode's own bash.
const LIVE_CHARS: usize = 30_000;

pub(super) const ABORTED: &str = "Tool execution aborted";

/// Follows the first result from a sandbox that took a deleted one's place.
const REPLACED: &str = "\n\n<system-reminder>\nThe sandbox of this session had been deleted. This call ran in a new one, which holds the \
    project as it is on the user's machine now: whatever was done only in the old sandbox is lost.\n</system-reminder>";

pub(super) type Cancel = Shared<LocalBoxFuture<'static, ()>>;

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
        self.aborts.borrow_mut().remove(&id);
        result
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
            Ok(args) => core.paths.arguments(args),
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
                plugin.opencode.progress(
                    call.call,
                    &Progress {
                        title: title.clone(),
                        output: shown.clone(),
                    },
                );
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
            Either::Right(_) => failed(ABORTED.into()),
        }
    }

    /// Runs a tool that may run. `replaced` names the sandbox that took a deleted one's place
    /// while permission was asked; `show` is told what a command prints while it runs.
    pub(super) async fn work(
        &self,
        core: &Core,
        session_id: &str,
        mut args: ToolArgs,
        cancel: Cancel,
        replaced: Option<String>,
        show: &mut dyn FnMut(&str),
    ) -> Executed {
        let session = match self.root(session_id).await {
            Ok(session) => session,
            Err(reason) => return failed(reason),
        };
        self.active(&session);
        if let Err(reason) = self.settle(core, &session).await {
            return failed(reason);
        }
        let mutates = catalog::find(args.tool()).is_none_or(|tool| tool.mutates);
        let _working = mutates.then(|| core.sessions.working(&session));
        let loaded = match &args {
            ToolArgs::Read(_) => self.loaded_in(session_id),
            _ => Vec::new(),
        };
        let (command, time) = match &args {
            ToolArgs::Bash(Bash {
                command, timeout, ..
            }) => (Some(command.clone()), *timeout),
            _ => (None, None),
        };
        let background = matches!(&args, ToolArgs::Bash(bash) if bash.background == Some(true));
        if let ToolArgs::Job(job) = &mut args {
            job.offset = self
                .jobs
                .borrow()
                .get(&job.job)
                .copied()
                .unwrap_or_default();
        }
        let op = Op::Tool(ToolCall {
            root: core.paths.root().into(),
            cwd: core.paths.cwd().into(),
            args,
            wait: if background {
                FIRST_WORDS
            } else {
                Wait::default()
            },
            env: Default::default(),
            loaded,
            turn: self.turn_of(&session).filter(|_| mutates),
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
        let (mut replaced, mut stopped) = (replaced, false);
        let (mut job_id, mut lost) = (request.id.clone(), false);
        loop {
            let answered = match answer {
                Ok(answered) => answered,
                // The service ended the request, not the command.
                Err(RemoteError::Daytona(error @ daytona::Error::Killed)) if command.is_some() => {
                    if lost {
                        return failed(format!(
                            "{error}. The command may still run, as job {job_id}: look at it with the tool job."
                        ));
                    }
                    lost = true;
                    // What it has printed so far only the user has seen.
                    let look = ask(Op::JobWait(JobWait {
                        job: job_id.clone(),
                        offset: 0,
                        wait: NO_WAIT,
                    }));
                    let look = core.remote.call(&core.sessions, &session, &look, || false);
                    answer = look.await;
                    continue;
                }
                Err(error) => return failed(error.to_string()),
            };
            replaced = answered.replaced.or(replaced);
            let job = match answered.result {
                Ok(Outcome::Done(output)) => {
                    return self.done(session_id, output, replaced.is_some());
                }
                Ok(Outcome::Running(job)) if background || lost => {
                    self.turns.background.borrow_mut().insert(session.clone());
                    let why = lost.then_some(daytona::Error::Killed);
                    return self.left_running(session_id, command, job, why, replaced.is_some());
                }
                Ok(Outcome::Running(job)) => job,
                Ok(_) => return failed(OTHER.into()),
                Err(error) if lost && error.code == Code::NoSuchJob => {
                    return failed(format!(
                        "{}. No job of this command is there any more; look what it did before you repeat it.",
                        daytona::Error::Killed
                    ));
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
                show(&job.output);
            }
            job_id.clone_from(&job.job);
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

    /// A command in the background, as the model hears of it; `lost` is why it is there.
    fn left_running(
        &self,
        session: &str,
        command: Option<String>,
        job: JobState,
        lost: Option<daytona::Error>,
        replaced: bool,
    ) -> Executed {
        let lost = lost.map(|error| format!("{error}. ")).unwrap_or_default();
        let note = format!(
            "{lost}The command runs in the background as job {}. The tool job shows what it prints, sends it input and stops it.",
            job.job
        );
        let output = if job.output.is_empty() {
            "(no output yet)"
        } else {
            &job.output
        };
        let output = ToolOutput {
            title: command.unwrap_or_default(),
            output: output.to_string() + &protocol::shell_note(&note),
            metadata: json!({ "output": job.output, "exit": null, "truncated": false, "job": job.job, "offset": job.offset }),
            attachments: Vec::new(),
        };
        self.done(session, output, replaced)
    }

    fn done(&self, session: &str, output: ToolOutput, replaced: bool) -> Executed {
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
            let mut loaded = self.loaded.borrow_mut();
            let seen = loaded.entry(session.into()).or_default();
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

/// Nobody aborts.
pub(super) fn never() -> Cancel {
    futures::future::pending().boxed_local().shared()
}

/// What a running command is called.
fn title(args: &ToolArgs) -> String {
    match args {
        ToolArgs::Bash(bash) => bash.command.clone(),
        _ => String::new(),
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

pub(super) fn failed(message: String) -> Executed {
    Executed::Failed { message }
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
