//! The runner in the sandbox of a session.

use daytona::{Client, Toolbox};
use host::Host;
use protocol::{Op, Request};
use runner_client::{Answer, RunnerClient};
use sessions::Sessions;
use std::ops::Deref;
use std::sync::Arc;
use tools::catalog;

/// Why a call has no reply.
pub(crate) type RemoteError = runner_client::Error<sessions::Error>;

/// The runners of all sessions' sandboxes.
pub(crate) struct Remote(RunnerClient);

impl Remote {
    pub(crate) fn new(host: Arc<dyn Host>, client: Client, assets: String) -> Self {
        Remote(RunnerClient::new(host, client, assets))
    }

    /// Calls the runner in the session's sandbox, which is made if there is none, and replaced if it is gone.
    /// What was not sent when `cancelled` says so is not sent any more.
    pub(crate) async fn call(
        &self,
        sessions: &Sessions,
        session: &str,
        request: &Request,
        cancelled: impl Fn() -> bool,
    ) -> Result<Answer, RemoteError> {
        let failed = RemoteError::Target;
        sessions.ensure(session).await.map_err(failed)?;
        if cancelled() {
            return Err(RemoteError::Cancelled);
        }
        let changes = changes(&request.op);
        let toolbox = sessions.enter(session, changes).await.map_err(failed)?;
        self.send(
            sessions,
            session,
            toolbox,
            request,
            (true, changes),
            &cancelled,
        )
        .await
    }

    /// Like [`Remote::call`], in the sandbox that the session has, which is started if it is
    /// stopped, but never made: it is asked for what it holds.
    pub(crate) async fn call_existing(
        &self,
        sessions: &Sessions,
        session: &str,
        request: &Request,
    ) -> Result<Answer, RemoteError> {
        let toolbox = sessions.existing(session).await;
        let toolbox = toolbox.map_err(RemoteError::Target)?;
        let none = || sessions::Error::Gone(format!("of session {session}"));
        let toolbox = toolbox.ok_or_else(|| RemoteError::Target(none()))?;
        let how = (false, changes(&request.op));
        self.send(sessions, session, toolbox, request, how, &|| false)
            .await
    }

    /// There is one copy of this in the wasm, whoever calls.
    async fn send(
        &self,
        sessions: &Sessions,
        session: &str,
        toolbox: Toolbox,
        request: &Request,
        (may_replace, changes): (bool, bool),
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Answer, RemoteError> {
        let target = sessions.sandbox(session, may_replace, changes);
        self.0.call(&target, toolbox, request, cancelled).await
    }
}

impl Deref for Remote {
    type Target = RunnerClient;

    fn deref(&self) -> &RunnerClient {
        &self.0
    }
}

/// True if there may be work afterwards that is not home.
fn changes(op: &Op) -> bool {
    match op {
        Op::Tool(call) => catalog::find(call.args.tool()).is_none_or(|tool| tool.mutates),
        Op::Restore(_) => true,
        _ => false,
    }
}
