//! The plugin against a real `daytona-local`: real sandboxes, real git, real files. What goes wrong
//! is planted in the server or in the host.
//!
//! Server and packaged runners are built if they are missing; `npm test` builds them before.

mod bash;
mod deaths;
mod faults;
mod gate;
mod ground;
mod half;
mod home;
mod large;
mod lfs;
mod lies;
mod lifecycle;
mod moved;
mod permissions;
mod prepared;
mod preparing;
mod proxy;
mod refusals;
mod repository;
mod secrets;
mod snapshots;
mod store;
mod together;
mod tools;
mod unsent;
mod world;
