//! Session sync, natively, against a fake store.

mod cli;
mod home;
mod init;
mod plugin;
mod sending;
mod world;
