//! The plugin: what OpenCode sees, in terms of the crates below.
//!
//! [`Plugin`] is the whole of it: it is made once per OpenCode instance, tells which tools exist,
//! and answers the hooks. It knows OpenCode's plugin API by meaning (a tool call, a permission
//! question, a session event) but names no JavaScript type; `crates/wasm` and the shim carry.
//!
//! The rule above all others: no input, error or crash may make a tool run on the host. Whatever
//! fails while loading becomes a reason, and every tool refuses with it.

mod config;
mod definitions;
mod dispatch;
mod doctor;
mod dotenv;
mod error;
mod guard;
mod known;
mod links;
mod opencode;
mod plugin;
mod prompt;
mod release;
mod remote;
mod screen;
mod secrets;
mod transfer;
mod trust;
mod wire;

pub use config::{Config, ConfigError, DEFAULT_PROJECT_DIR, KEYS, OPTIONS};
pub use definitions::{catalog_json, definitions};
#[cfg(feature = "ts")]
pub use dispatch::typescript;
pub use dispatch::{CallError, dispatch};
pub use opencode::{Asked, OpenCode, Registered};
pub use plugin::Plugin;
pub use release::{FLOOR, TESTED, refusals};
pub use wire::*;
