//! The runner in a sandbox, from outside: it is installed where it is missing, and a request gets its one
//! reply through every fault that can be survived. Whose sandbox it is, and what becomes of one that is gone,
//! is a [`Target`]'s to say.

mod client;
mod error;
mod patience;
mod script;
mod target;

pub use client::{Answer, OTHER, PART, RunnerClient};
pub use error::Error;
pub use patience::Patience;
pub use script::UNPACK;
pub use target::{Looked, Target, TargetError};
