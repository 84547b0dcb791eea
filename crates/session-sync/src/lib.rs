//! OpenCode's sessions in a store of the user's choice.
//!
//! What OpenCode has of a session ([`opencode`]) becomes records ([`record`]) in the fields
//! that the store has ([`records`]), without the secrets in it ([`redact`], [`project`]) and made to fit the store's limits ([`fit`]). Records
//! wait on disk ([`spool`]) until they were seen in the store ([`send`], [`store`]). The [`plugin`] brings what happens
//! now; the command ([`cli`]) brings the past ([`push`]), which is in a database ([`history`]) and in files ([`old`]).

pub mod cli;
pub mod config;
pub mod database;
mod digest;
pub mod drain;
pub mod edge;
pub mod fit;
pub mod found;
pub mod history;
pub mod old;
pub mod opencode;
pub mod plugin;
pub mod project;
pub mod push;
pub mod record;
pub mod records;
pub mod redact;
pub mod send;
pub mod spool;
pub mod store;
