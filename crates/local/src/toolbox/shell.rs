//! Which shell runs commands, and how one is started.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The first of zsh and bash in `/etc/shells`, else `$SHELL`, else `sh`: the daemon's own order.
pub(crate) fn find() -> PathBuf {
    let listed = std::fs::read_to_string("/etc/shells").unwrap_or_default();
    let called = |name: &str| {
        let named = |line: &&str| line.rsplit('/').next() == Some(name) && Path::new(line).exists();
        // The last one, as /usr/bin comes after /bin there and is what the daemon shows.
        listed
            .lines()
            .map(str::trim)
            .rfind(named)
            .map(PathBuf::from)
    };
    called("zsh")
        .or_else(|| called("bash"))
        .or_else(|| {
            std::env::var_os("SHELL")
                .map(PathBuf::from)
                .filter(|p| p.exists())
        })
        .unwrap_or_else(|| "/bin/sh".into())
}

/// The shell in a process group of its own, reading its script from standard input.
pub(crate) fn command(shell: &Path) -> Command {
    let mut command = Command::new(shell);
    command.process_group(0);
    command
}

/// Sends `signal` to a process group; a group that is gone is fine.
pub(crate) fn signal_group(leader: u32, signal: i32) {
    if let Ok(leader) = i32::try_from(leader)
        && leader > 1
    {
        // SAFETY: no memory is involved.
        unsafe { libc::kill(-leader, signal) };
    }
}
