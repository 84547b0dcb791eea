//! Commands that outlive the request that started them.
//!
//! A job is a supervisor process ([`supervisor`]) with a name, which is the id of the request. It
//! listens on an abstract Unix socket of that name, and every request about the job is one
//! connection: a question in, an answer out when there is one. So nothing polls, and nothing needs
//! a disk. Binding the name is the claim: a second request with the same id finds it taken and
//! asks the first one's supervisor.
//!
//! On disk, if there is a place, is `jobs/ID/`: `out` (the output while it fits), `done` (the
//! answer, written once), `command` (its beginning) and, empty, `background` for a job that outlives
//! its turn. A directory without `done` and without a listener is a job that died with its sandbox.

mod capture;
mod client;
mod descriptors;
mod kill;
mod list;
mod supervisor;

pub(crate) use client::{count_background, start, stop, visit, wait};
pub(crate) use supervisor::supervise;

use crate::state::home_hash;
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
struct Spec {
    command: String,
    cwd: PathBuf,
    env: BTreeMap<String, String>,
    timeout_ms: u64,
    /// It takes input, and its output is kept to be read later.
    background: bool,
    /// `jobs/ID`, if there is a place for it.
    dir: Option<PathBuf>,
    job: String,
}

impl Spec {
    /// The path of bash, which is its name in what it says (`/usr/bin/bash: line 1: …`), as in
    /// OpenCode.
    fn shell(&self) -> PathBuf {
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
struct Ask {
    offset: u64,
    wait: Wait,
    stop: Option<StopReason>,
    /// Text for the command's standard input, and the request that brought it: what is sent twice
    /// is written once.
    input: Option<(String, String)>,
}

/// The answer, also the content of `done`.
type Answer = Result<Outcome, ToolError>;

const DONE: &str = "done";
const OUT: &str = "out";
/// Says of a job that it runs in the background.
const BACKGROUND: &str = "background";
/// How the command begins.
const COMMAND: &str = "command";

/// The socket of a job. Abstract names need no disk, vanish with the process, and are not bound by
/// the length of a home directory's path.
fn address(job: &str) -> io::Result<SocketAddr> {
    let (uid, home) = (rustix::process::getuid().as_raw(), home_hash());
    SocketAddr::from_abstract_name(format!("opencode-runner-{uid}-{home:x}-{job}"))
}

/// Abstract sockets have no file permissions: only the same user may talk.
fn is_same_user(stream: &UnixStream) -> bool {
    rustix::net::sockopt::socket_peercred(stream)
        .is_ok_and(|peer| peer.uid == rustix::process::getuid())
}
