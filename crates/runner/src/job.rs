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
mod wire;

pub(crate) use client::{count_background, start, stop, visit, wait};
pub(crate) use supervisor::supervise;
