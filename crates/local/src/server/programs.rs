//! Where this machine has the programs that make sandboxes.

use std::path::PathBuf;

/// The program itself: a link to it may be where the sandbox's user cannot go.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find_map(|path| path.canonicalize().ok())
}
