//! OpenCode's sessions in a store of the user's choice.
//!
//! What OpenCode has of a session ([`opencode`]) becomes records in the shapes of the store
//! ([`record`]), and these are made to fit its limits ([`fit`]).

pub mod fit;
pub mod opencode;
pub mod record;
pub mod send;
pub mod spool;
pub mod store;
