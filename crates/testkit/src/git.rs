//! The user's git, as tests type it.

use std::path::Path;
use std::process::Command;

/// Runs git in a directory, with a name for commits; gives what it printed, without space around it.
/// Panics with git's own words if it fails.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let (is_done, text) = try_git(dir, args);
    assert!(is_done, "git {args:?}: {text}");
    text
}

/// The same for what may fail: whether it did not, and what git printed, or said of the failure.
pub fn try_git(dir: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@localhost"])
        .args(["-c", "protocol.file.allow=always"])
        .args(args)
        .current_dir(dir)
        .output()
        .expect("git runs");
    let text = match output.status.success() {
        true => &output.stdout,
        false => &output.stderr,
    };
    let text = String::from_utf8_lossy(text).trim().to_string();
    (output.status.success(), text)
}

/// Unpacks packs into the repository of a directory, in their order.
pub fn unpack<'a>(dir: &Path, packs: impl IntoIterator<Item = &'a String>) {
    for pack in packs {
        let pack = std::fs::File::open(pack).expect("a pack");
        let unpacked = Command::new("git")
            .args(["unpack-objects", "-q"])
            .current_dir(dir)
            .stdin(pack)
            .status();
        assert!(unpacked.expect("git runs").success());
    }
}
