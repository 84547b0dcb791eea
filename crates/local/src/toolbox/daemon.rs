//! What the daemon knows, and what all of its handlers use.

use std::path::PathBuf;

use axum::Json;
use bytes::Bytes;
use serde_json::Value;

use crate::options::Daemon;
use crate::problem::Problem;

/// The daemon's state.
pub(super) struct Toolbox {
    /// Home and work directory.
    pub(super) home: PathBuf,
    pub(super) own_pid_namespace: bool,
    pub(super) daemon: Daemon,
    pub(super) ignore_envs: bool,
    pub(super) shell: PathBuf,
}

pub(super) type Reply = Result<Json<Value>, Problem>;

impl Toolbox {
    pub(super) fn path(&self, given: &str) -> PathBuf {
        self.home.join(given)
    }
}

/// The body of a request.
pub(super) fn parse(body: &Bytes) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(format!("invalid body request: {error}")).code("INVALID_REQUEST_BODY")
    })
}
