//! What one sandbox may: its repositories, its allowance, its requests at once.

use super::config::Repository;
use super::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a sandbox may spend on models. It is asked before a request and told after it.
pub trait Allowance: Send + Sync {
    /// Whether one more request to a model may be sent now.
    fn may_start(&self) -> Result<(), Refused>;

    /// A request that was allowed has ended, whatever became of it. Called once for each.
    fn used(&self, usage: Usage);
}

/// Why no request may be sent now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// A sentence that the user sees.
    pub reason: String,
    /// When it may be tried again. With none, the answer is 402, which OpenCode takes as final;
    /// with one, 429, which it repeats until it passes.
    pub retry_after: Option<Duration>,
}

/// What a request to a model has used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The name of the provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// None where the answer did not say, or ended before it did.
    pub tokens: Option<Tokens>,
    /// Bytes of the request's body.
    pub sent: u64,
    /// Bytes of the answer's body. With `sent`, they bound the tokens where the answer says none.
    pub received: u64,
}

/// Tokens, as a provider counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// What the model read, with what came from a cache.
    pub input: u64,
    /// What it wrote, with its reasoning.
    pub output: u64,
}

/// What one sandbox may.
pub struct Grant {
    pub(super) repositories: Vec<Repository>,
    pub(super) allowance: Arc<dyn Allowance>,
    slots: Arc<Semaphore>,
    at_once: usize,
}

impl Grant {
    /// A grant for `at_once` requests at once.
    pub fn new(
        repositories: Vec<Repository>,
        allowance: Arc<dyn Allowance>,
        at_once: usize,
    ) -> Self {
        Grant {
            repositories,
            allowance,
            slots: Arc::new(Semaphore::new(at_once)),
            at_once,
        }
    }

    /// A place among the requests at once, which is free again when it is dropped.
    pub(super) fn slot(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let slots = Arc::clone(&self.slots);
        slots.try_acquire_owned().map_err(|_| Refusal::AtOnce {
            limit: self.at_once,
        })
    }

    /// Starts a request, whose end is told when the account is dropped.
    pub(super) fn start(&self, usage: Usage) -> Result<Account, Refusal> {
        match self.allowance.may_start() {
            Ok(()) => Ok(Account {
                allowance: Arc::clone(&self.allowance),
                usage,
            }),
            Err(refused) => Err(Refusal::Allowance {
                reason: refused.reason,
                retry_after: refused.retry_after,
            }),
        }
    }
}

/// A request that has started, and what it has used so far.
pub(super) struct Account {
    allowance: Arc<dyn Allowance>,
    pub(super) usage: Usage,
}

impl Drop for Account {
    fn drop(&mut self) {
        self.allowance.used(std::mem::take(&mut self.usage));
    }
}
