//! The command line. `serve` is the default; `toolbox` and `wiring` are for the server's own use.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::options::{ServeOptions, ToolboxOptions};
use crate::{server, toolbox, wiring};

#[derive(Parser)]
#[command(
    name = "daytona-local",
    version,
    about = "A Daytona-compatible server on loopback"
)]
pub(crate) enum Cli {
    /// Serve sandboxes until stopped (the default)
    Serve(ServeOptions),
    #[command(hide = true)]
    Toolbox(ToolboxOptions),
    #[command(hide = true)]
    Wiring,
}

/// Runs the program named by the command line.
pub fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let first = args.get(1).and_then(|a| a.to_str()).unwrap_or("--");
    let named = [
        "serve",
        "toolbox",
        "wiring",
        "help",
        "-h",
        "--help",
        "-V",
        "--version",
    ]
    .contains(&first);
    if !named {
        args.insert(1.min(args.len()), "serve".into());
    }
    let done = match Cli::parse_from(args) {
        Cli::Serve(options) => server::run(options),
        Cli::Toolbox(options) => toolbox::run(options),
        Cli::Wiring => wiring::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("daytona-local: {error:#}");
            ExitCode::FAILURE
        }
    }
}
