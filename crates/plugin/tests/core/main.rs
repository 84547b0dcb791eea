//! The plugin against a real `daytona-local`: real sandboxes, real git, real files. What goes wrong
//! is planted in the server or in the host.
//!
//! Needs the server (`cargo build -p daytona-local`) and the packaged runners (`npm run build`).

mod bash;
mod deaths;
mod faults;
mod home;
mod lies;
mod lifecycle;
mod permissions;
mod proxy;
mod refusals;
mod snapshots;
mod store;
mod together;
mod tools;
mod world;
