//! What requests and supervisors of jobs agree on: what is said over a job's socket, and which files a
//! job has.

use crate::storage::home_hash;
use protocol::{Outcome, StopReason, ToolError, Wait};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;

/// What a supervisor runs. Written to its first connection as one line of JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) command: String,
    pub(super) cwd: PathBuf,
    pub(super) env: BTreeMap<String, String>,
    pub(super) timeout_ms: u64,
    /// It takes input, and its output is kept to be read later.
    pub(super) background: bool,
    /// `jobs/ID`, if there is a place for it.
    pub(super) dir: Option<PathBuf>,
    pub(super) job: String,
}

impl Spec {
    /// The path of bash, which is its name in what it says (`/usr/bin/bash: line 1: …`), as in
    /// OpenCode.
    pub(super) fn shell(&self) -> PathBuf {
        let own = self.env.get("PATH").map(OsString::from);
        let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        std::env::split_paths(&path)
            .map(|dir| dir.join("bash"))
            .find(|file| file.is_absolute() && file.is_file())
            .unwrap_or_else(|| PathBuf::from("bash"))
    }
}

/// One question to a supervisor.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) offset: u64,
    pub(super) wait: Wait,
    pub(super) stop: Option<StopReason>,
    /// Text for the command's standard input, and the request that brought it: what is sent twice
    /// is written once.
    pub(super) input: Option<(String, String)>,
}

/// The answer, also the content of `done`.
pub(super) type Answer = Result<Outcome, ToolError>;

pub(super) const DONE: &str = "done";
pub(super) const OUT: &str = "out";
/// Says of a job that it runs in the background.
pub(super) const BACKGROUND: &str = "background";
/// How the command begins.
pub(super) const COMMAND: &str = "command";

/// The socket of a job. Abstract names need no disk, vanish with the process, and are not bound by
/// the length of a home directory's path.
pub(super) fn address(job: &str) -> io::Result<SocketAddr> {
    let (uid, home) = (rustix::process::getuid().as_raw(), home_hash());
    SocketAddr::from_abstract_name(format!("opencode-runner-{uid}-{home:x}-{job}"))
}

/// Abstract sockets have no file permissions: only the same user may talk.
pub(super) fn is_same_user(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::getuid())
}

/// True if someone answers for the job.
pub(super) fn runs(job: &str) -> bool {
    address(job)
        .and_then(|address| UnixStream::connect_addr(&address))
        .is_ok()
}
