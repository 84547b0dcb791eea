//! A session's sandbox as the client of the runner reaches it.

use crate::manager::{Error, Sessions};
use daytona::Toolbox;
use runner_client::{Looked, Target, TargetError};

/// The sandbox of one session.
pub struct SessionSandbox<'a> {
    sessions: &'a Sessions,
    session: &'a str,
    may_replace: bool,
    changes: bool,
}

impl Sessions {
    /// The session's sandbox for a request. With `may_replace` one that is gone is replaced; with `changes`
    /// there may be work afterwards that is not home.
    pub fn sandbox<'a>(
        &'a self,
        session: &'a str,
        may_replace: bool,
        changes: bool,
    ) -> SessionSandbox<'a> {
        SessionSandbox {
            sessions: self,
            session,
            may_replace,
            changes,
        }
    }
}

impl Target for SessionSandbox<'_> {
    type Error = Error;

    async fn enter(&self) -> Result<Toolbox, Error> {
        self.sessions.enter(self.session, self.changes).await
    }

    async fn look(&self, failed: &Toolbox) -> Result<Looked, Error> {
        match self.may_replace {
            true => self.sessions.recover(self.session, failed).await,
            false => self.sessions.revive(self.session, failed).await,
        }
    }

    fn reached(&self) {
        self.sessions.reached();
    }

    fn unreachable(&self) {
        self.sessions.unreachable();
    }
}

impl TargetError for Error {
    fn of_service(&self) -> Option<&daytona::Error> {
        match self {
            Error::Daytona(error) => Some(error),
            _ => None,
        }
    }
}
