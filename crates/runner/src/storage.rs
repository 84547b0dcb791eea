//! Where the runner keeps what outlives a request: records, jobs and locks.
//!
//! The first of a few places that is ours, private and writable. With a read-only home and a full
//! disk there may be none, and then everything still works except replay after the end and saved
//! command output.

use protocol::fnv1a;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often [`Storage::is_due`] says yes.
const DUE: Duration = Duration::from_secs(600);

/// The places of this sandbox.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storage {
    /// Where new things go, if a byte can be written anywhere.
    dir: Option<PathBuf>,
    /// All places that are ours, in order: a disk that was full a moment ago was passed over.
    places: Vec<PathBuf>,
}

impl Storage {
    /// Looks at the places.
    pub(crate) fn open() -> Storage {
        let uid = rustix::process::getuid().as_raw();
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute())
            .map(|home| vec![home.join(".opencode-daytona")]);
        let shared = |parent: &str| {
            let dir = PathBuf::from(format!("{parent}/.opencode-daytona-{uid}"));
            let own = dir.join(format!("{:x}", home_hash()));
            Some(vec![dir, own])
        };
        // Each place with the directories above it that must be ours before it is trusted.
        let places: Vec<Vec<PathBuf>> = [home, shared("/tmp"), shared("/dev/shm")]
            .into_iter()
            .flatten()
            .collect();
        let made = |dir: &PathBuf| private(dir).is_ok() && is_ours(dir, uid);
        let usable = |place: &&Vec<PathBuf>| {
            place.iter().all(made) && place.last().is_some_and(|dir| is_writable(dir))
        };
        let dir = places
            .iter()
            .find(usable)
            .and_then(|place| place.last().cloned());
        let known = |place: &Vec<PathBuf>| place.iter().all(|dir| is_ours(dir, uid));
        let places = places
            .into_iter()
            .filter(known)
            .filter_map(|mut place| place.pop());
        Storage {
            dir,
            places: places.collect(),
        }
    }

    /// `jobs`, `records`, `bundles`, `projects`, `exclude` or `locks`, to put something new there.
    pub(crate) fn sub(&self, name: &str) -> Option<PathBuf> {
        let dir = self.dir.as_ref()?.join(name);
        private(&dir).ok()?;
        Some(dir)
    }

    /// Waits for the lock of that name; it is held until the result is dropped. Without a place for
    /// it nobody waits.
    pub(crate) fn lock(&self, name: &str) -> Option<File> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(self.sub("locks")?.join(name))
            .ok()?;
        flock(&file, FlockOperation::LockExclusive).ok()?;
        Some(file)
    }

    /// True at most once in ten minutes for a name, whichever process asks; true without a place to
    /// remember it.
    pub(crate) fn is_due(&self, name: &str) -> bool {
        let Some(mark) = self.sub("locks").map(|locks| locks.join(name)) else {
            return true;
        };
        let now = SystemTime::now();
        let last = fs::metadata(&mark).and_then(|meta| meta.modified());
        // A time in the future is a clock that was put back.
        let is_recent = last.is_ok_and(|last| now.duration_since(last).is_ok_and(|age| age < DUE));
        if !is_recent {
            let marked = File::create(&mark).and_then(|file| file.set_modified(now));
            drop(marked);
        }
        !is_recent
    }

    /// All places where `sub` may have put something.
    pub(crate) fn all(&self, sub: &str) -> impl Iterator<Item = PathBuf> {
        self.places.iter().map(move |place| place.join(sub))
    }

    /// Something that was put into `sub` before, wherever that was then.
    pub(crate) fn find(&self, sub: &str, name: &str) -> Option<PathBuf> {
        self.places
            .iter()
            .map(|place| place.join(sub).join(name))
            .find(|path| path.exists())
    }
}

/// Tells sandboxes apart that share a user, a `/tmp` or a kernel.
pub(crate) fn home_hash() -> u64 {
    fnv1a(std::env::var_os("HOME").unwrap_or_default().as_bytes())
}

/// The name of a file that is kept about a project directory.
pub(crate) fn name_of(dir: &Path) -> String {
    format!("{:016x}", fnv1a(dir.as_os_str().as_bytes()))
}

fn private(dir: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Ours, a real directory, closed to others.
fn is_ours(dir: &Path, uid: u32) -> bool {
    let Ok(meta) = fs::symlink_metadata(dir) else {
        return false;
    };
    meta.is_dir()
        && meta.uid() == uid
        && (meta.mode() & 0o077 == 0
            || fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).is_ok())
}

fn is_writable(dir: &Path) -> bool {
    let probe = dir.join(format!("probe-{}", std::process::id()));
    // A full disk often accepts a new empty file and refuses its first byte.
    let written = fs::File::create(&probe).and_then(|mut file| file.write_all(b"x"));
    let _ = fs::remove_file(&probe);
    written.is_ok()
}
