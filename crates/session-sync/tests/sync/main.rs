//! Session sync, natively, against a fake store.

mod checks;
mod cli;
mod docs;
mod home;
mod init;
mod past;
mod plugin;
mod privacy;
mod sending;
mod world;
