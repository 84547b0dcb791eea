//! The plugin: what OpenCode sees, in terms of the rooms below.
//!
//! [`Plugin`] is the whole of it: it is made once per OpenCode instance, tells which tools exist,
//! and answers the hooks. It knows OpenCode's plugin API by meaning (a tool call, a permission
//! question, a session event) but names no JavaScript type; `crates/wasm` and the shim carry.
//!
//! The rule above all others: no input, error or crash may make a tool run on the host. Whatever
//! fails while loading becomes a reason, and every tool refuses with it.

mod carry;
mod config;
mod doctor;
mod dotenv;
mod edge;
mod fork;
mod guard;
mod home;
mod links;
mod opencode;
mod paths;
mod patience;
mod permission;
mod plugin;
mod prepared;
mod prompt;
mod release;
mod remote;
mod secrets;
mod trust;

pub use config::{Config, ConfigError, DEFAULT_PROJECT_DIR, KEYS, OPTIONS};
pub use edge::*;
pub use guard::Registered;
pub use opencode::{Asked, OpenCode};
pub use plugin::{Plugin, catalog_json, definitions};
pub use release::{FLOOR, TESTED, refusals};
