//! The file tree that the tools work in: its paths, and the locks of its files.

use super::path;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the tools work.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The project: titles are relative to it.
    pub root: PathBuf,
    /// Where relative paths start.
    pub cwd: PathBuf,
    /// Directory for lock files, so that writers of one file wait for each other; none if there is
    /// no place for it, and then writers are atomic but not serialized.
    pub locks: Option<PathBuf>,
    /// Instruction files that `read` must not append again.
    pub loaded: Vec<String>,
    /// Everything is read and checked, and nothing is written.
    pub preview: bool,
}

impl Tree {
    /// `path` as an absolute path: kept as it is when absolute, else joined to `cwd` and tidied.
    pub fn absolute(&self, path: &str) -> PathBuf {
        if path.starts_with('/') {
            PathBuf::from(path)
        } else {
            path::resolve(&self.cwd, path)
        }
    }

    /// Like [`Tree::absolute`], but a slash at the end stays, as with `path.join`.
    pub(super) fn joined(&self, path: &str) -> PathBuf {
        let absolute = self.absolute(path);
        if path.ends_with('/') {
            absolute.join("")
        } else {
            absolute
        }
    }

    pub(super) fn title(&self, path: &Path) -> String {
        path::relative(&self.root, path)
            .to_string_lossy()
            .into_owned()
    }

    /// Takes the locks of `paths`; they are held until the result is dropped.
    ///
    /// There is a fixed set of lock files, so two files may share one. They are taken in order, so
    /// two writers cannot wait for each other.
    pub(super) fn lock(&self, paths: &[&Path]) -> Vec<File> {
        let Some(locks) = &self.locks else {
            return Vec::new();
        };
        let mut names: Vec<u8> = paths.iter().map(|path| bucket(path)).collect();
        names.sort_unstable();
        names.dedup();
        let open = |name: u8| -> io::Result<File> {
            let path = locks.join(format!("{name:02x}"));
            let file = File::options().create(true).append(true).open(path)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(file)
        };
        // Without a lock the write is still atomic, and a full disk must not stop a read-only fix.
        names
            .into_iter()
            .filter_map(|name| open(name).ok())
            .collect()
    }
}

/// The lock file of a path, by its real path: the same in every process.
fn bucket(path: &Path) -> u8 {
    let real = path
        .canonicalize()
        .unwrap_or_else(|_| path::resolve(path, ""));
    let hash = protocol::fnv1a(real.as_os_str().as_bytes());
    (hash >> 32) as u8 ^ hash as u8
}
