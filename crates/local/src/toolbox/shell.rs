//! Which shell runs commands, and how one is started.

use std::fs::File;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// The shell that runs everything here.
pub(crate) fn find() -> PathBuf {
    let listed = std::fs::read_to_string("/etc/shells").unwrap_or_default();
    let by_default = std::env::var_os("SHELL").map(PathBuf::from);
    choose(&listed, by_default, Path::exists)
}

/// zsh or else bash, if `/etc/shells` lists it; else `$SHELL`, else `sh`: the daemon's own order.
fn choose(listed: &str, by_default: Option<PathBuf>, is_there: impl Fn(&Path) -> bool) -> PathBuf {
    let listed: Vec<&str> = listed.lines().map(str::trim).collect();
    ["/usr/bin/zsh", "/bin/zsh", "/usr/bin/bash", "/bin/bash"]
        .into_iter()
        .filter(|shell| listed.contains(shell))
        .map(PathBuf::from)
        .chain(by_default)
        .find(|shell| is_there(shell))
        .unwrap_or_else(|| "/bin/sh".into())
}

/// Keeps zsh from asking a new user questions: Daytona's image has this file for the same reason.
pub(crate) fn prepare(shell: &Path, home: &Path) {
    if shell.ends_with("zsh") {
        // One that is there stays, and a home that is read-only has none.
        let _ = File::create_new(home.join(".zshrc"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zsh_gets_a_file_of_settings_and_keeps_its_own() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join(".zshrc");
        prepare(Path::new("/bin/bash"), home.path());
        assert!(!file.exists());
        prepare(Path::new("/bin/zsh"), home.path());
        assert_eq!(std::fs::read(&file).expect("a file"), b"");
        std::fs::write(&file, "own").expect("written");
        prepare(Path::new("/bin/zsh"), home.path());
        assert_eq!(std::fs::read(&file).expect("a file"), b"own");
    }

    #[test]
    fn zsh_is_before_bash_and_both_are_before_the_environment() {
        let all = "# list\n/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/zsh\n/usr/bin/zsh\n";
        for (listed, by_default, missing, want) in [
            (all, None, "", "/usr/bin/zsh"),
            (all, None, "/usr/bin/zsh", "/bin/zsh"),
            ("/bin/bash\n/bin/zsh\n", None, "", "/bin/zsh"),
            (
                "/bin/bash\n/usr/bin/bash\n",
                Some("/bin/dash"),
                "",
                "/usr/bin/bash",
            ),
            ("#/bin/zsh\n/bin/bash\n", None, "", "/bin/bash"),
            ("/bin/sh\n", Some("/bin/dash"), "", "/bin/dash"),
            ("/bin/sh\n", Some("/bin/dash"), "/bin/dash", "/bin/sh"),
            ("", None, "", "/bin/sh"),
        ] {
            let is_there = |path: &Path| path != Path::new(missing);
            let found = choose(listed, by_default.map(PathBuf::from), is_there);
            assert_eq!(found, Path::new(want), "{listed:?} without {missing:?}");
        }
    }
}
