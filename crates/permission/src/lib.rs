//! What a tool call must ask before it runs: OpenCode's permission questions, the user's rules that answer
//! them, the paths and the command lines that they are about. It decides from what it is given, and does no I/O.

mod bash;
mod needs;
mod paths;
mod question;
pub mod rules;
mod shell;
#[cfg(test)]
mod tests;

pub use needs::{Needed, Step, needed, steps};
pub use paths::{Paths, normalize};
pub use question::{Facts, Found, Permission};
