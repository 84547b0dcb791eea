//! An OpenCode server in a sandbox: the connection to it, and what goes out through it with our keys.
//!
//! This crate knows no conversations and no HTTP face of ours.

pub mod api;
pub mod connection;
pub mod outward;
pub mod package;
pub mod place;
pub mod start;
