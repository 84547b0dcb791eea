//! Waits until something listens on a TCP port of the sandbox, where a preview reaches it.
//!
//! Daytona's daemon connects a preview to `localhost`. So a server on the loopback address or on all
//! addresses is reached, and one on the container's own address alone is not.
//!
//! Never: connect to it. A server that serves one connection, or counts them, is left alone; the
//! kernel's own list of listeners is read instead.

use crate::answer::error;
use protocol::{Code, ToolError, ToolOutput, args};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
    loop {
        let found = listeners(port);
        if found.iter().any(is_reached) {
            break;
        }
        let now = Instant::now();
        if now >= until {
            return Err(error(Code::Tool, out_of_reach(port, &found)));
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

fn out_of_reach(port: u16, found: &[IpAddr]) -> String {
    match found.first() {
        Some(address) => format!(
            "The server on port {port} in the sandbox listens on {address} only, and a preview does not reach that address. Make it listen on 0.0.0.0 or localhost."
        ),
        None => format!(
            "Nothing listens on port {port} in the sandbox. Start the server first, for example with bash and background, and make it listen on 0.0.0.0 or localhost."
        ),
    }
}

/// True for what a connection to `localhost` arrives at.
fn is_reached(address: &IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_unspecified() || v4 == Ipv4Addr::LOCALHOST,
        IpAddr::V6(v6) => v6.is_unspecified() || v6 == Ipv6Addr::LOCALHOST,
    }
}

/// The addresses on which something listens on `port`.
fn listeners(port: u16) -> Vec<IpAddr> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|list| std::fs::read_to_string(list).ok())
        .flat_map(|list| {
            list.lines()
                .filter_map(|line| listener(line, port))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A line is `  0: 0100007F:1F90 00000000:0000 0A …`: number, own address, other's, state.
fn listener(line: &str, port: u16) -> Option<IpAddr> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, own) = fields.next()?.rsplit_once(':')?;
    if u16::from_str_radix(own, 16).ok()? != port || fields.nth(1)? != LISTEN {
        return None;
    }
    parse_address(address)
}

/// The kernel prints each four bytes of an address as one number of this machine.
fn parse_address(hex: &str) -> Option<IpAddr> {
    if !matches!(hex.len(), 8 | 32) {
        return None;
    }
    let mut bytes = Vec::new();
    for word in hex.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn only_a_wildcard_or_loopback_listener_is_reached() {
        let zeros = "0".repeat(24);
        for (address, state, reached) in [
            ("00000000:1F90", "0A", Some(true)),
            ("0100007F:1F90", "0A", Some(true)),
            ("00000000000000000000000000000000:1F90", "0A", Some(true)),
            (&format!("{zeros}01000000:1F90"), "0A", Some(true)),
            // IPv4 addresses in the list of IPv6.
            ("0000000000000000FFFF00000100007F:1F90", "0A", Some(true)),
            ("0000000000000000FFFF000000000000:1F90", "0A", Some(true)),
            ("0000000000000000FFFF0000020011AC:1F90", "0A", Some(false)),
            ("020011AC:1F90", "0A", Some(false)),
            // `localhost` is 127.0.0.1 and no other address of that network.
            ("0200007F:1F90", "0A", Some(false)),
            (&format!("{zeros}02000000:1F90"), "0A", Some(false)),
            ("B80D0120000000000000000001000000:1F90", "0A", Some(false)),
            // Another port, another state, another thing.
            ("00000000:1F91", "0A", None),
            ("00000000:1F90", "01", None),
            ("0000:1F90", "0A", None),
            ("zzzzzzzz:1F90", "0A", None),
        ] {
            let line = format!("   0: {address} 00000000:0000 {state} 00000000:00000000 00");
            let found = listener(&line, 8080);
            assert_eq!(
                found.as_ref().map(is_reached),
                reached,
                "{address} {found:?}"
            );
        }
    }
}
