//! Which sandbox belongs to which session: one per root session, made once, found again after a
//! restart, replaced when it is gone, deleted when the session is.
//!
//! It knows sessions by an opaque id and sandboxes by the client of `daytona`. It does not know
//! OpenCode's plugin API, and not what a tool is: what makes a fresh sandbox useful
//! is behind [`Carrier`], and so is bringing the work home.
//!
//! The order of every step is: write down what is about to exist, make it, write down that it
//! exists. So a kill at any moment leaves either an entry or a note that the next start cleans up.

mod manager;
mod store;
mod target;

pub use manager::work::Working;
pub use manager::{Carrier, Error, Fresh, Notice, Origin, Prepared, Project, Sessions, Template};
pub use store::{
    Cleanup, Creating, Document, Entry, Home, PreparedSnapshot, Snapshotting, Store, StoreError,
    Undo, Unsynced, Version, store_dir,
};
pub use target::SessionSandbox;
