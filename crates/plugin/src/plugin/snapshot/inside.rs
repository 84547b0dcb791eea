//! Commands in the sandbox that a snapshot is made of. They are no tool calls: nothing is marked as
//! used, so that whoever finds the sandbox without its process deletes it.

use super::{Core, Failure};
use crate::error::Error;
use crate::plugin::call::Cancel;
use crate::plugin::{Plugin, typed};
use crate::trust;
use futures::future::{Either, select};
use protocol::args::{Bash, Job};
use protocol::{JobWait, Op, Outcome, Request, ToolArgs, ToolCall, ToolOutput, Wait};
use serde_json::Value;
use std::pin::pin;

/// How long after its time a command may still be said to run.
const OVERDUE_MS: u64 = 120_000;
/// How long the project's directory may take to be measured.
const MEASURE_MS: u64 = 60_000;

impl Plugin {
    /// Runs the user's command and shows what it prints. It is a failure unless it ends well.
    pub(super) async fn run_inside(
        &self,
        core: &Core,
        session: &str,
        command: &str,
        minutes: u64,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        self.say(&format!("Running in it: {command}"));
        let began = self.host.now_ms();
        let mut is_at_line_start = true;
        let mut show = |text: &str| {
            self.print(text);
            is_at_line_start = text.ends_with('\n') || (text.is_empty() && is_at_line_start);
        };
        let limit = minutes * 60_000;
        let ended = self.bash(core, session, command, limit, &mut show);
        let ended = match select(pin!(ended), cancel.clone()).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => Err(Failure::Interrupted),
        };
        if !is_at_line_start {
            self.print("\n");
        }
        let took = (self.host.now_ms().saturating_sub(began)) / 1000;
        match ended? {
            Some(0) => {
                self.say(&format!("The command ended well, after {took} s."));
                Ok(())
            }
            Some(code) => Err(format!(
                "`{command}` ended with exit code {code}, so no snapshot is made of its sandbox. Correct what it says, and try again."
            )
            .into()),
            None => Err(format!(
                "`{command}` was ended after {minutes} min, or by a signal, so no snapshot is made of its sandbox. --minutes gives it more time."
            )
            .into()),
        }
    }

    /// Bytes of the project's directory, if they can be counted.
    pub(super) async fn measure_inside(
        &self,
        core: &Core,
        session: &str,
        cancel: &Cancel,
    ) -> Result<Option<u64>, Failure> {
        let mut said = String::new();
        let mut hear = |text: &str| said.push_str(text);
        let counted = {
            let command = format!("du -sk -- '{}'", core.paths.root().replace('\'', r"'\''"));
            let counted = self.bash(core, session, &command, MEASURE_MS, &mut hear);
            match select(pin!(counted), cancel.clone()).await {
                Either::Left((counted, _)) => matches!(counted, Ok(Some(0))),
                Either::Right(_) => return Err(Failure::Interrupted),
            }
        };
        let blocks = said.split_whitespace().next().unwrap_or_default();
        let blocks = blocks.parse::<u64>().ok().filter(|_| counted);
        Ok(blocks.and_then(|blocks| blocks.checked_mul(1024)))
    }

    /// Runs a command to its end and gives its exit code, if it has one.
    async fn bash(
        &self,
        core: &Core,
        session: &str,
        command: &str,
        limit_ms: u64,
        show: &mut dyn FnMut(&str),
    ) -> Result<Option<i64>, Failure> {
        let overdue = self.host.now_ms() + limit_ms + OVERDUE_MS;
        let args = ToolArgs::Bash(Bash {
            command: command.into(),
            timeout: Some(limit_ms),
            workdir: None,
            background: None,
        });
        let mut seen = None;
        let mut op = tool(core, args);
        loop {
            let job = match self.ask(core, session, op).await? {
                Outcome::Done(output) => {
                    let exit = output.metadata.get("exit").and_then(Value::as_i64);
                    match seen {
                        None => show(&typed::rest(&output.output, exit, "")),
                        Some((job, offset)) => {
                            show(&self.rest_of(core, session, job, offset).await?);
                        }
                    }
                    return Ok(exit);
                }
                Outcome::Running(job) => job,
                _ => return Err(Error::Answer.into()),
            };
            if self.host.now_ms() > overdue {
                return Err(
                    "The command should have ended long ago, and the sandbox does not stop it."
                        .to_string()
                        .into(),
                );
            }
            show(&job.output);
            op = Op::JobWait(JobWait {
                job: job.job.clone(),
                offset: job.offset,
                wait: Wait::default(),
            });
            seen = Some((job.job, job.offset));
        }
    }

    /// What a job that has ended printed after `offset`.
    async fn rest_of(
        &self,
        core: &Core,
        session: &str,
        job: String,
        offset: u64,
    ) -> Result<String, Failure> {
        let args = ToolArgs::Job(Job {
            job: Some(job),
            input: None,
            wait: Some(0),
            stop: None,
            offset,
        });
        match self.ask(core, session, tool(core, args)).await? {
            Outcome::Done(ToolOutput { metadata, .. }) => {
                let news = metadata.get("output").and_then(Value::as_str);
                Ok(news.unwrap_or_default().to_string())
            }
            _ => Err(Error::Answer.into()),
        }
    }

    async fn ask(&self, core: &Core, session: &str, op: Op) -> Result<Outcome, Failure> {
        let request = Request::new(core.remote.id(), op);
        let answer = core
            .remote
            .call_existing(&core.sessions, session, &request)
            .await;
        let result = answer?.result;
        result.map_err(|error| trust::sentence(&error.message).into())
    }
}

fn tool(core: &Core, args: ToolArgs) -> Op {
    Op::Tool(ToolCall {
        root: core.paths.root().into(),
        cwd: core.paths.cwd().into(),
        args,
        wait: Wait::default(),
        env: Default::default(),
        loaded: Vec::new(),
        turn: None,
    })
}
