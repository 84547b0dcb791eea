//! The tools: what the model is told about them, and what each one does to a file tree.
//!
//! [`catalog`] is always built and compiles for wasm: names, descriptions, JSON Schemas, and the
//! check of arguments against those schemas. `fs`, behind the feature of that name, does the work
//! of every tool but `bash` (which is a process, and the runner's business).
//!
//! Never: network, OpenCode's permission rules, Daytona.
//!
//! Surprise: outputs are OpenCode's own, byte for byte, quirks included, because models and the
//! terminal UI know them. Where a quirk loses data or hangs, it is not copied, and the module says
//! so.

pub mod catalog;
#[cfg(feature = "fs")]
pub mod fs;
