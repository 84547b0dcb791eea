//! What the user hears while a sandbox is not there yet, and while nothing of Daytona's can be reached:
//! one word when it begins, and one when it is over.

use super::{CLEAN_MS, Error, Notice, Sessions};
use futures::future::{Either, select};
use host::HttpError;
use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;

/// After so long the user hears what a sandbox is waited for.
const SLOW_MS: u64 = 20_000;

/// A wait for a sandbox, which speaks when it takes long.
pub(super) struct Wait<'a> {
    sessions: &'a Sessions,
    session: &'a str,
    sandbox: String,
    /// Since when it is known what it is waited for, and what that is now.
    known: RefCell<Option<(u64, String)>>,
}

impl Wait<'_> {
    /// What it is waited for now, as the service says.
    pub(super) fn for_what(&self, what: &str) {
        let now = self.sessions.host.now_ms();
        let since = self
            .known
            .borrow()
            .as_ref()
            .map_or(now, |(since, _)| *since);
        *self.known.borrow_mut() = Some((since, what.into()));
        self.say();
    }

    /// Milliseconds until it has taken long.
    fn left(&self) -> u64 {
        let now = self.sessions.host.now_ms();
        let known = self.known.borrow();
        let waited = known
            .as_ref()
            .map_or(0, |(since, _)| now.saturating_sub(*since));
        SLOW_MS.saturating_sub(waited)
    }

    fn say(&self) {
        if self.left() > 0 {
            return;
        }
        let Some((since, what)) = self.known.borrow().clone() else {
            return;
        };
        let sessions = self.sessions;
        (sessions.notices)(Notice::Waiting {
            session: self.session.into(),
            id: self.sandbox.clone(),
            what,
            seconds: sessions.host.now_ms().saturating_sub(since) / 1000,
            first: sessions.slow.borrow_mut().insert(self.session.into()),
        });
    }

    /// Waits for `work`. The service holds some requests for half a minute before it says how far it
    /// is.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let work = pin!(work);
        let slow = pin!(async {
            self.sessions.host.sleep(SLOW_MS).await;
            if self.left() > 0 {
                self.sessions.host.sleep(self.left()).await;
            }
        });
        match select(work, slow).await {
            Either::Left((done, _)) => done,
            Either::Right((_, work)) => {
                self.say();
                work.await
            }
        }
    }
}

impl Sessions {
    pub(super) fn wait_for<'a>(&'a self, session: &'a str, sandbox: &str) -> Wait<'a> {
        Wait {
            sessions: self,
            session,
            sandbox: sandbox.into(),
            known: RefCell::default(),
        }
    }

    /// The session's sandbox cannot be had.
    pub(super) fn failed(&self, error: &Error) {
        // What has a way out of its own (a name, a certificate, a proxy) is said with it.
        if let Error::Daytona(daytona::Error::Network(
            HttpError::Connect { .. } | HttpError::Dropped { .. } | HttpError::Timeout { .. },
        )) = error
        {
            self.unreachable();
        }
        // While nothing can be reached, whatever else fails has that reason, and whoever asked hears it.
        if !self.lost.get() {
            (self.notices)(Notice::Failed {
                reason: error.to_string(),
            });
        }
    }

    /// Neither a sandbox nor the API can be reached. The user hears of it once, until one of them
    /// answers again; somebody looks for that, also when no call waits any more.
    pub fn unreachable(&self) {
        if self.lost.replace(true) {
            return;
        }
        let url = self.client.api_url().to_string();
        (self.notices)(Notice::Lost { url });
        let watcher = self.cleaner.borrow().clone();
        let host = Arc::clone(&self.host);
        self.host.spawn(Box::pin(async move {
            let mut pause = CLEAN_MS.0;
            loop {
                host.sleep(pause).await;
                let Some(sessions) = watcher.upgrade().filter(|sessions| sessions.lost.get())
                else {
                    return;
                };
                if sessions.client.answers().await {
                    sessions.reached();
                    return;
                }
                pause = (2 * pause).min(CLEAN_MS.1 / 4);
            }
        }));
    }

    /// True while nothing can be reached.
    pub fn is_lost(&self) -> bool {
        self.lost.get()
    }

    /// Something of Daytona's answered.
    pub fn reached(&self) {
        if self.lost.replace(false) {
            (self.notices)(Notice::Back);
        }
    }
}
