//! Where the runner keeps what outlives a request: records, jobs and locks.
//!
//! The first of a few places that is ours, private and writable. With a read-only home and a full
//! disk there may be none, and then everything still works except replay after the end and saved
//! command output.

use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The directories, or none of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    dir: Option<PathBuf>,
}

impl State {
    /// The first usable place.
    pub(crate) fn open() -> State {
        let uid = rustix::process::getuid().as_raw();
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute());
        let places = [
            home.map(|home| home.join(".opencode-daytona")),
            Some(PathBuf::from(format!("/tmp/.opencode-daytona-{uid}"))),
            Some(PathBuf::from(format!("/dev/shm/.opencode-daytona-{uid}"))),
        ];
        State {
            dir: places.into_iter().flatten().find(|dir| usable(dir, uid)),
        }
    }

    /// `jobs`, `records` or `locks`, if there is a place for it.
    pub(crate) fn sub(&self, name: &str) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?.join(name);
        private(&dir).ok()?;
        Some(dir)
    }
}

fn private(dir: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Ours, a real directory, closed to others, and a byte can be written.
fn usable(dir: &Path, uid: u32) -> bool {
    if private(dir).is_err() {
        return false;
    }
    let Ok(meta) = fs::symlink_metadata(dir) else {
        return false;
    };
    if !meta.is_dir() || meta.uid() != uid {
        return false;
    }
    if meta.mode() & 0o077 != 0
        && fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).is_err()
    {
        return false;
    }
    let probe = dir.join(format!("probe-{}", std::process::id()));
    // A full disk often accepts a new empty file and refuses its first byte.
    let written = fs::File::create(&probe).and_then(|mut file| file.write_all(b"x"));
    let _ = fs::remove_file(&probe);
    written.is_ok()
}
