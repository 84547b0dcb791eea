//! Session sync, natively, against a fake store.

mod cli;
mod plugin;
mod sending;
mod world;
