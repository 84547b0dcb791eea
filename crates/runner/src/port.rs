//! Waits until something listens on a TCP port of the sandbox.
//!
//! Never: connect to it. A server that serves one connection, or counts them, is left alone; the
//! kernel's own list of listeners is read instead.

use crate::error;
use protocol::{Code, ToolError, ToolOutput, args};
use serde_json::json;
use std::time::{Duration, Instant};

/// Longest wait, and the default.
const MAX_WAIT_MS: u64 = 10_000;
const POLL: Duration = Duration::from_millis(50);
/// `TCP_LISTEN`, as the list prints it.
const LISTEN: &str = "0A";

/// Answers when there is a listener, or that there is none.
pub(crate) fn await_listener(args: &args::Preview) -> Result<ToolOutput, ToolError> {
    let port = args.port;
    let wait = args.wait.unwrap_or(MAX_WAIT_MS).min(MAX_WAIT_MS);
    let until = Instant::now() + Duration::from_millis(wait);
    while !is_listening(port) {
        let now = Instant::now();
        if now >= until {
            return Err(error(
                Code::Tool,
                format!(
                    "Nothing listens on port {port} in the sandbox. Start the server first, for example with bash and background, and make it listen on 0.0.0.0 or localhost."
                ),
            ));
        }
        std::thread::sleep(POLL.min(until - now));
    }
    Ok(ToolOutput {
        title: format!("port {port}"),
        output: "listening".to_string(),
        metadata: json!({ "port": port }),
        attachments: Vec::new(),
    })
}

fn is_listening(port: u16) -> bool {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|list| std::fs::read_to_string(list).ok())
        .any(|list| list.lines().any(|line| is_listener(line, port)))
}

/// A line is `  0: 0100007F:1F90 00000000:0000 0A …`: number, own address, other's, state.
fn is_listener(line: &str, port: u16) -> bool {
    let mut fields = line.split_whitespace().skip(1);
    let own = fields
        .next()
        .and_then(|address| address.rsplit_once(':'))
        .and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    own == Some(port) && fields.nth(1) == Some(LISTEN)
}
