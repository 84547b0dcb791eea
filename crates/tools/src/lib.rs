//! The tools: what the model is told about them, and what each one does to a file tree.
//!
//! [`catalog`] and [`cut`] are always built and compile for wasm: names, descriptions, JSON Schemas,
//! the check of arguments against those, and how a long output is cut. `fs`, behind the feature of
//! that name, does the work of every tool on files; processes and the web are the runner's business.
//!
//! Never: network, OpenCode's permission rules, Daytona.
//!
//! Surprise: outputs are OpenCode's own, byte for byte, quirks included, because models and the
//! terminal UI know them. Where a quirk loses data or hangs, it is not copied, and the module says
//! so.

pub mod catalog;
pub mod cut;
#[cfg(feature = "fs")]
pub mod fs;
