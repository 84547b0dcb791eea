//! What the core needs from the machine it runs on, and nothing else.
//!
//! The core is compiled to WebAssembly and does no I/O of its own. In OpenCode the TypeScript shim
//! implements [`Host`], in native programs `host-native` does, and in tests `testkit` around that. This crate
//! has no implementation and knows no service: it is the seam.
//!
//! Native programs run on many threads, so there a host and its futures are `Send`. JavaScript has one
//! thread and its values cannot leave it, so on wasm they are not ([`Shareable`]).

mod encoded;
mod http;
mod lock;
mod machine;
mod platform;
pub mod proxy;

pub use encoded::{file_name, percent_decoded, percent_encoded};
pub use http::{CertificateFault, HttpError, Thrown};
pub use lock::Lock;
pub use machine::*;
pub use platform::Platform;
