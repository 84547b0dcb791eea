//! What goes out of a sandbox: a client on one side, a scripted provider or a real git host on the other, and a
//! [`Gateway`](agent::outward::Gateway) in between.

mod git;
mod git_host;
mod limits;
mod models;
mod provider;
mod refused;
mod world;
