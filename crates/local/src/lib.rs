//! A Daytona-compatible server on loopback: real sandboxes, real processes, no account.
//!
//! Three programs in one binary. `serve` is the control plane (`/api`), the toolbox proxy
//! (`/toolbox/{id}`) and the previews (a port each, and `{port}-{id}.localhost`). `toolbox` is the daemon that
//! the server starts inside every sandbox; it is reached through a unix socket it inherits as its
//! standard input, so no sandbox has a network path to the server and none can be swapped for
//! another. `wiring` sets the routes of a sandbox that has a network, and ends.
//!
//! What it never does: listen on anything but 127.0.0.1, answer a request without the key, or pass
//! the key, the server's environment or the server's files into a sandbox.
//!
//! What surprises: where Daytona's own behavior is odd (the script is the shell's standard input,
//! a timeout discards the output, `exit` in a session hangs it), the same oddity is here on purpose.

mod body;
mod cli;
mod clock;
mod ids;
mod installation;
mod mutex;
mod options;
mod problem;
mod relay;
mod route;
mod server;
mod toolbox;
mod unimplemented;
mod wiring;

pub use cli::main;
