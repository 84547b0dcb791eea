//! Session sync, natively, against a fake store.

mod plugin;
mod sending;
mod world;
