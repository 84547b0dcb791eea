//! The configuration of git in a sandbox.

use crate::outward::config::GitHost;
use std::fmt::Write;

/// Lines of git's configuration that send what is addressed to these hosts to a sandbox's outward port, in each
/// of the three ways that people write an address. A proxy that the sandbox is set up with is left out for it.
pub fn git_config(hosts: &[GitHost], port: u16) -> String {
    let base = format!("http://127.0.0.1:{port}/");
    let mut lines = format!("[http \"{base}\"]\n\tproxy =\n");
    for GitHost { name, .. } in hosts {
        let _ = write!(
            lines,
            "[url \"{base}git/{name}/\"]\n\
             \tinsteadOf = https://{name}/\n\
             \tinsteadOf = git@{name}:\n\
             \tinsteadOf = ssh://git@{name}/\n"
        );
    }
    lines
}
