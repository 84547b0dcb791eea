//! How a call gets past what a sandbox's toolbox answers.
//!
//! Between here and the runner are the service's proxy and its caches. A sandbox that is gone, one
//! that is stopped and an API that is out may all look like a refused key (401). So whatever neither
//! the runner nor, for its own path, the daemon said is no answer: the API is asked once about the
//! sandbox, and what it says decides. Gone: it is replaced, or that is the error. Stopped: it is
//! started. There and running: the call is repeated, with patience. The key refused: that is the
//! error.

use crate::error::Error as CallError;
use crate::target::{Target, TargetError};
use daytona::{Client, Error, Toolbox};
use host::{Host, Level};

/// How long a call is kept alive through faults, from the first one on.
const PATIENCE_MS: u64 = 60_000;
/// After so long the API is asked again, although the answer is still the same.
const LOOK_AGAIN_MS: u64 = 10_000;
/// How often a request without any answer is sent again before the API is asked.
const UNANSWERED: u32 = 2;
/// How often an answer of the wrong form is asked for again.
const MALFORMED: u32 = 3;
/// How often a refusal is asked for again although the sandbox runs: the proxy may be behind.
const REFUSALS: u32 = 4;
/// How often a request that the service ended is sent again.
const ENDED: u32 = 2;

/// The faults of one call so far.
pub struct Patience<'a, T> {
    host: &'a dyn Host,
    client: &'a Client,
    target: &'a T,
    until: Option<u64>,
    failures: u32,
    ended: u32,
    /// What was answered when the API was asked last, and when that was. None if it did not say.
    looked: Option<(Option<u16>, u64)>,
}

impl<'a, T: Target> Patience<'a, T> {
    /// For one call to a target.
    pub fn new(host: &'a dyn Host, client: &'a Client, target: &'a T) -> Self {
        Patience {
            host,
            client,
            target,
            until: None,
            failures: 0,
            ended: 0,
            looked: None,
        }
    }

    /// Gives the sandbox that the call is sent to again after `error`, or why it is given up.
    pub async fn after(
        &mut self,
        toolbox: &Toolbox,
        error: Error,
    ) -> Result<Toolbox, CallError<T::Error>> {
        let now = self.host.now_ms();
        let until = *self.until.get_or_insert(now + PATIENCE_MS);
        let answer = match &error {
            // The request took its time, not its failures. What it began goes on.
            Error::Killed if self.ended < ENDED => {
                self.ended += 1;
                self.log(toolbox, &error);
                return Ok(toolbox.clone());
            }
            Error::Network(_) | Error::Proxy { .. } if !error.is_transient() => {
                return Err(error.into());
            }
            Error::Malformed { .. } if self.failures >= MALFORMED => return Err(error.into()),
            Error::Network(_) | Error::Proxy { .. } | Error::Malformed { .. } => None,
            Error::Toolbox { status, .. } => Some(*status),
            _ => return Err(error.into()),
        };
        let is_firm = answer.is_some_and(is_refusal) && self.failures >= REFUSALS;
        if now >= until || (is_firm && self.looked.is_some()) {
            return Err(self.given_up(error));
        }
        self.log(toolbox, &error);
        let is_news = match self.looked {
            Some((before, at)) => before != answer || now.abs_diff(at) >= LOOK_AGAIN_MS,
            None => true,
        };
        let look = is_news && (answer.is_some() || self.failures >= UNANSWERED);
        let told_when = matches!(
            &error,
            Error::Toolbox {
                retry_after_ms: Some(_),
                ..
            }
        );
        if self.failures > 0 || !look || told_when {
            self.client.pause(&error, self.failures).await;
        }
        self.failures += 1;
        if !look {
            return Ok(toolbox.clone());
        }
        match self.target.look(toolbox).await {
            Ok(looked) => {
                self.target.reached();
                // What is answered after a repair is another answer.
                let at = self.host.now_ms();
                self.looked = looked.was_running.then_some((answer, at));
                Ok(looked.toolbox)
            }
            // An API that is out is asked again.
            Err(error) => {
                let Some(out) = error.of_service().filter(|out| out.is_transient()) else {
                    return Err(CallError::Target(error));
                };
                self.looked = None;
                if matches!(out, Error::Network(_)) {
                    self.target.unreachable();
                }
                match self.host.now_ms() >= until {
                    true => Err(out.clone().into()),
                    false => Ok(toolbox.clone()),
                }
            }
        }
    }

    fn given_up(&self, error: Error) -> CallError<T::Error> {
        match self.looked {
            Some(_) => CallError::Running(error),
            None => error.into(),
        }
    }

    fn log(&self, toolbox: &Toolbox, error: &Error) {
        let message = format!("sandbox {}: {error}; trying again", toolbox.id);
        self.host.log(Level::Warn, &message);
    }
}

/// True for an answer that does not pass by itself. A 401 may: the proxy gives it, too, when it
/// could not ask the API.
fn is_refusal(status: u16) -> bool {
    (300..500).contains(&status) && !matches!(status, 401 | 408 | 425 | 429)
}
