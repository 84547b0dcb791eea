//! The sandbox's end of the connection to a hosted agent; what it does is the crate `carrier`'s.
//!
//! `--carry PORT TARGET OUTWARD SECRET-FILE`: the port for the program, OpenCode's port, the port for whoever
//! wants to speak to the program, and the file with the secret, which is in no argument. A port of its own may be 0, for any. When both
//! listen, it says so in one line, `carrying on PORT and OUTWARD`. It ends when it is killed, or at once and
//! with a sentence if it cannot begin.

use carrier::{Carrier, Secret};
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

/// What it is called with.
pub(crate) const FLAG: &str = "--carry";

/// Carries until it is killed.
pub(crate) fn run(args: &[OsString]) {
    let reason = match begin(args) {
        Ok(never) => match never {},
        Err(reason) => reason,
    };
    eprintln!("{reason}");
    std::process::exit(1);
}

fn begin(args: &[OsString]) -> Result<std::convert::Infallible, String> {
    let [port, target, outward, secret] = args else {
        return Err(format!(
            "usage: opencode-runner {FLAG} PORT TARGET OUTWARD SECRET-FILE"
        ));
    };
    let number = |arg: &OsString| {
        let number = arg.to_str().and_then(|arg| arg.parse::<u16>().ok());
        number.ok_or_else(|| format!("{} is not a port.", arg.display()))
    };
    let (port, target, outward) = (number(port)?, number(target)?, number(outward)?);
    let secret = Secret::read(Path::new(secret)).map_err(|error| error.to_string())?;
    // It copies, and waits: one thread does that.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("No runtime could be made: {error}."))?;
    runtime.block_on(async {
        let failed = |error| {
            format!("Ports {port} and {outward} of loopback cannot be listened on: {error}.")
        };
        let carrier = Carrier::bind(port, target, outward, secret)
            .await
            .map_err(failed)?;
        let (port, outward) = carrier.ports().map_err(failed)?;
        // Whoever started it may not care.
        let _ = writeln!(std::io::stdout(), "carrying on {port} and {outward}");
        carrier.serve().await
    })
}
