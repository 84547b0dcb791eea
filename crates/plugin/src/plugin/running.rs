//! A call in the sandbox, from its request to its end: a command is asked after until it has ended,
//! is left in the background, or is stopped.

use super::call::{Cancel, failed, is_background};
use super::{Core, Plugin};
use crate::remote::RemoteError;
use crate::transfer::progress::STOPPED;
use crate::wire::Executed;
use futures::future::{Either, select};
use protocol::args::{Bash, DEFAULT_TIMEOUT_MS};
use protocol::{
    Code, JobState, JobStop, JobWait, Op, Outcome, Request, StopReason, ToolArgs, ToolOutput, Wait,
};
use runner_client::{Answer, OTHER};
use serde_json::json;

/// How long after its time a command may still be said to run.
const OVERDUE_MS: u64 = 120_000;
/// Asks how a job is right now.
const NO_WAIT: Wait = Wait {
    output_ms: 0,
    max_ms: 0,
};

type Answered = Result<Answer, RemoteError>;

pub(super) struct Running<'a> {
    plugin: &'a Plugin,
    core: &'a Core,
    /// The session as OpenCode names it.
    session_id: &'a str,
    /// The session whose sandbox it is.
    root: &'a str,
    /// The command, if the tool is one.
    command: Option<String>,
    timeout_ms: u64,
    background: bool,
    cancel: Cancel,
}

/// What became of a look at a call.
enum Look {
    Ended(Executed),
    Runs(JobState),
    /// The service ended the request, and the command may still run.
    Lost,
}

impl<'a> Running<'a> {
    pub(super) fn new(
        plugin: &'a Plugin,
        core: &'a Core,
        session_id: &'a str,
        root: &'a str,
        args: &ToolArgs,
        cancel: Cancel,
    ) -> Self {
        let (command, timeout) = match args {
            ToolArgs::Bash(Bash {
                command, timeout, ..
            }) => (Some(command.clone()), *timeout),
            _ => (None, None),
        };
        Running {
            plugin,
            core,
            session_id,
            root,
            command,
            timeout_ms: timeout.unwrap_or(DEFAULT_TIMEOUT_MS),
            background: is_background(args),
            cancel,
        }
    }

    pub(super) fn request(&self, op: Op) -> Request {
        Request::new(self.core.remote.id(), op)
    }

    async fn ask(&self, op: Op) -> Answered {
        let (remote, sessions) = (&self.core.remote, &self.core.sessions);
        let request = self.request(op);
        remote.call(sessions, self.root, &request, || false).await
    }

    async fn stop(&self, job: &str) -> Answered {
        let (job, reason) = (job.into(), StopReason::Abort);
        self.ask(Op::JobStop(JobStop { job, reason })).await
    }

    async fn wait(&self, job: &str, offset: u64, wait: Wait) -> Answered {
        let job = job.into();
        self.ask(Op::JobWait(JobWait { job, offset, wait })).await
    }

    /// Sends the call and gives its first answer.
    async fn first(&self, request: &Request) -> Answered {
        self.core.transfer.steps.wanted(self.root);
        let is_cancelled = || self.cancel.peek().is_some();
        let (remote, sessions) = (&self.core.remote, &self.core.sessions);
        let first = remote.call(sessions, self.root, request, is_cancelled);
        match select(Box::pin(first), self.cancel.clone()).await {
            Either::Left((answer, _)) => answer,
            // A job has the name of its request, so it can be stopped before it has answered.
            Either::Right((_, first)) if self.command.is_some() && sessions.is_ready(self.root) => {
                match self.stop(&request.id).await {
                    Ok(stopped) if !is_unknown(&stopped) => Ok(stopped),
                    _ => first.await,
                }
            }
            Either::Right((_, first)) => {
                if sessions.is_ready(self.root) || self.plugin.is_wanted(self.root) {
                    return first.await;
                }
                self.core.transfer.steps.stop(self.root, STOPPED);
                first.await.map_err(|_| RemoteError::Cancelled)
            }
        }
    }

    /// Sends the call and follows it to its end. `replaced` and `show` are those of
    /// [`Plugin::work`].
    pub(super) async fn to_its_end(
        &self,
        request: &Request,
        mut replaced: Option<String>,
        show: &mut dyn FnMut(&str),
    ) -> Executed {
        let mut answer = self.first(request).await;
        // The runner ends a command in time. One that does not is not believed for ever.
        let overdue = self.timeout_ms.saturating_add(OVERDUE_MS);
        let overdue = self.plugin.host.now_ms().saturating_add(overdue);
        let (mut id, mut lost, mut stopped) = (request.id.clone(), false, false);
        let mut seen = false;
        loop {
            if let Err(error) = &answer
                && !is_killed(error)
            {
                return failed(self.given_up(error, seen, &id));
            }
            let job = match self.look(answer, &mut replaced, lost, &id) {
                Look::Ended(ended) => return ended,
                Look::Lost => {
                    lost = true;
                    // What it has printed so far only the user has seen.
                    answer = self.wait(&id, 0, NO_WAIT).await;
                    continue;
                }
                Look::Runs(job) => job,
            };
            seen = true;
            if self.plugin.host.now_ms() > overdue {
                if stopped {
                    return failed(
                        "The command should have ended long ago, and the sandbox does not stop it. Stop its processes with another command."
                            .into(),
                    );
                }
                stopped = true;
                answer = self.stop(&job.job).await;
                continue;
            }
            if !job.output.is_empty() {
                show(&job.output);
            }
            id.clone_from(&job.job);
            let rhythm = match job.offset {
                0 => Wait::FIRST,
                _ => Wait::default(),
            };
            let wait = self.wait(&job.job, job.offset, rhythm);
            answer = match select(self.cancel.clone(), Box::pin(wait)).await {
                Either::Right((answer, _)) => answer,
                Either::Left(_) => self.stop(&job.job).await,
            };
        }
    }

    /// What an answer means. `lost` says that the service has ended a request of this command `id`
    /// before.
    fn look(&self, answer: Answered, replaced: &mut Option<String>, lost: bool, id: &str) -> Look {
        let killed = daytona::Error::Killed;
        let answered = match answer {
            Ok(answered) => answered,
            Err(error) if is_killed(&error) && self.command.is_some() => {
                return match lost {
                    false => Look::Lost,
                    true => Look::Ended(failed(format!(
                        "{killed}. The command may still run, as job {id}: look at it with the tool job."
                    ))),
                };
            }
            Err(error) => return Look::Ended(failed(error.to_string())),
        };
        *replaced = answered.replaced.or(replaced.take());
        let is_replaced = replaced.is_some();
        Look::Ended(match answered.result {
            Ok(Outcome::Done(output)) => self.plugin.done(self.session_id, output, is_replaced),
            Ok(Outcome::Running(job)) if self.background || lost => {
                self.left_running(job, lost, is_replaced)
            }
            Ok(Outcome::Running(job)) => return Look::Runs(job),
            Ok(_) => failed(OTHER.into()),
            Err(error) if lost && error.code == Code::NoSuchJob => failed(format!(
                "{killed}. No job of this command is there any more; look what it did before you repeat it."
            )),
            Err(error) => (self.plugin).tool_error(error, self.command.as_deref(), is_replaced),
        })
    }

    /// Why a call has no answer. `seen` says that its command `id` was seen to run.
    fn given_up(&self, error: &RemoteError, seen: bool, id: &str) -> String {
        let is_open = matches!(error, RemoteError::Open(_));
        if self.command.is_none() || !(is_open || seen && error.is_of_the_way()) {
            return error.to_string();
        }
        // What it makes comes home when it can be asked again.
        self.plugin.known.of(self.root).has_background.set(true);
        let goes_on = match seen {
            true => format!("The command still runs as job {id}"),
            false => format!("If the command had begun, it still runs as job {id}"),
        };
        format!(
            "{error} {goes_on}: ask the tool job for it before you run it again, and call that tool without a name to see what runs."
        )
    }

    /// A command in the background, as the model hears of it; `lost` says that the service ended the request.
    fn left_running(&self, job: JobState, lost: bool, replaced: bool) -> Executed {
        self.plugin.known.of(self.root).has_background.set(true);
        let lost = match lost {
            true => format!("{}. ", daytona::Error::Killed),
            false => String::new(),
        };
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
            title: self.command.clone().unwrap_or_default(),
            output: output.to_string() + &protocol::shell_note(&note),
            metadata: json!({ "output": job.output, "exit": null, "truncated": false, "job": job.job, "offset": job.offset }),
            attachments: Vec::new(),
        };
        self.plugin.done(self.session_id, output, replaced)
    }
}

/// True if the service ended a request that took its time.
fn is_killed(error: &RemoteError) -> bool {
    matches!(error, RemoteError::Daytona(daytona::Error::Killed))
}

/// True if the runner does not know the job that was asked for.
fn is_unknown(answer: &Answer) -> bool {
    matches!(&answer.result, Err(error) if error.code == Code::NoSuchJob)
}
