//! Typed client of the Daytona API and of the toolbox inside a sandbox.
//!
//! It knows requests, replies, errors, retries and waiting. It does not know what a session or the
//! runner is.
//!
//! Facts come from the published OpenAPI files and from running the official SDK 0.216 and the
//! open-source daemon 0.190 (November 2026). Surprises: a create that answers 400 may have left a
//! sandbox behind; the proxy of the toolbox answers 401 for a sandbox that is gone and when it cannot
//! ask the API; the proxy repeats POSTs; a list lags behind a get.

mod client;
mod daemon;
mod error;
mod proxied;
mod snapshot;
mod status;
mod toolbox;
mod types;

pub use client::{Client, Settings};
pub use error::{Error, Result};
pub use toolbox::Toolbox;
pub use types::{
    CreateSandbox, Execute, ExecuteResult, Preview, Resources, Sandbox, SandboxState,
    SignedPreview, Snapshot, Upload, UploadSource, Usable, Way, is_reserved_port,
};
