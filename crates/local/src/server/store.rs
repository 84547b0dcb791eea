//! What survives a restart: the key, one record per sandbox, the sandbox's own files, and snapshots
//! of them.
//!
//! ```text
//! DATA/key                       the API key, 0600
//! DATA/lock                      held while a server runs
//! DATA/sandboxes/{id}/record.json
//! DATA/sandboxes/{id}/home, tmp  the only two directories a sandbox can write to
//! DATA/snapshots/{id}/snapshot.json  written last: without it the copy is not whole
//! DATA/snapshots/{id}/home, tmp      as the sandbox had them, or what it had changed of its layers
//! DATA/trash/                    deleted sandboxes on their way out
//! ```
//!
//! A record is written to a temporary file, flushed and renamed. Everything is private to the user.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::sandbox::Record;
use super::snapshots::Made;
use crate::ids;

pub(crate) struct Store {
    root: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens the data directory for this process alone.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        private_dir(root)?;
        let root = root.canonicalize().context("resolve the data directory")?;
        for name in ["sandboxes", "snapshots", "trash"] {
            private_dir(&root.join(name))?;
        }
        let lock = private_file(&root.join("lock"), false)?;
        // SAFETY: flock on a descriptor this function owns.
        if unsafe { libc::flock(lock.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            bail!(
                "another daytona-local uses {}; stop it or give --data",
                root.display()
            );
        }
        let store = Self { root, _lock: lock };
        store.empty_trash();
        Ok(store)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The stored API key, made on first use.
    pub(crate) fn key(&self) -> Result<String> {
        let path = self.root.join("key");
        if let Ok(key) = fs::read_to_string(&path) {
            let key = key.trim().to_owned();
            if !key.is_empty() {
                return Ok(key);
            }
        }
        let key = format!("dtn_local_{}", ids::token());
        replace(&path, key.as_bytes())?;
        Ok(key)
    }

    pub(crate) fn dir(&self, id: &str) -> PathBuf {
        self.root.join("sandboxes").join(id)
    }

    /// Makes the directories of a new sandbox.
    pub(crate) fn create(&self, id: &str) -> Result<()> {
        make_places(&self.dir(id))
    }

    /// Makes the directories of a new sandbox whose files lie on those of `layers`.
    pub(crate) fn create_on(&self, id: &str, layers: &[String]) -> Result<()> {
        self.create(id)?;
        if let Some(top) = self.layers(layers).last() {
            for (name, _) in PLACES {
                let of_top = fs::metadata(top.join(name)).context("the snapshot is gone")?;
                fs::set_permissions(self.dir(id).join(name), of_top.permissions())?;
            }
        }
        Ok(())
    }

    /// The directories of layers.
    pub(crate) fn layers(&self, ids: &[String]) -> Vec<PathBuf> {
        ids.iter().map(|id| self.snapshot_dir(id)).collect()
    }

    /// Copies a sandbox's own files, and when they are all there, writes that they are.
    pub(crate) fn snapshot(&self, made: &Made, sandbox: &str) -> Result<()> {
        let dir = self.snapshot_dir(&made.id);
        make_places(&dir)?;
        copy_places(&self.dir(sandbox), &dir)?;
        self.save_snapshot(made)
    }

    /// Writes what is known of a snapshot.
    pub(crate) fn save_snapshot(&self, made: &Made) -> Result<()> {
        let path = self.snapshot_dir(&made.id).join("snapshot.json");
        replace(&path, &serde_json::to_vec_pretty(made)?)
    }

    /// Gives a new sandbox the files of a snapshot.
    pub(crate) fn fill(&self, sandbox: &str, snapshot: &str) -> Result<()> {
        copy_places(&self.snapshot_dir(snapshot), &self.dir(sandbox))
    }

    fn snapshot_dir(&self, id: &str) -> PathBuf {
        self.root.join("snapshots").join(id)
    }

    /// Every snapshot that is whole. One that cannot be read is named on standard error.
    pub(crate) fn load_snapshots(&self) -> Result<Vec<Made>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.root.join("snapshots"))? {
            let dir = entry?.path();
            let Ok(text) = fs::read(dir.join("snapshot.json")) else {
                continue;
            };
            match serde_json::from_slice(&text) {
                Ok(made) => all.push(made),
                Err(error) => eprintln!("daytona-local: skipped {}: {error}", dir.display()),
            }
        }
        Ok(all)
    }

    /// Removes what a failed snapshot left.
    pub(crate) fn discard_snapshot(&self, id: &str) {
        remove_tree(&self.snapshot_dir(id));
    }

    /// A snapshot is no more. Its files stay until [`Store::sweep`] removes them.
    pub(crate) fn forget_snapshot(&self, id: &str) {
        let _ = fs::remove_file(self.snapshot_dir(id).join("snapshot.json"));
    }

    /// Removes the files of snapshots that are no more, but for those that are `needed`.
    pub(crate) fn sweep(&self, needed: impl Fn(&str) -> bool) {
        let entries = fs::read_dir(self.root.join("snapshots"));
        for entry in entries.into_iter().flatten().flatten() {
            let is_needed = entry.file_name().to_str().is_some_and(&needed);
            // One that cannot be read is left alone.
            if !is_needed && !entry.path().join("snapshot.json").exists() {
                remove_tree(&entry.path());
            }
        }
    }

    pub(crate) fn save(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record)?;
        replace(&self.dir(&record.id).join("record.json"), &text)
    }

    /// Every sandbox on disk. One that cannot be read is named on standard error and left alone.
    pub(crate) fn load(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.root.join("sandboxes"))? {
            let path = entry?.path().join("record.json");
            let record = fs::read(&path)
                .map_err(anyhow::Error::from)
                .and_then(|text| Ok(serde_json::from_slice::<Record>(&text)?));
            match record {
                Ok(record) => records.push(record),
                Err(error) => eprintln!("daytona-local: skipped {}: {error}", path.display()),
            }
        }
        Ok(records)
    }

    /// Removes a sandbox: gone at once for a later start, its files freed before this returns.
    pub(crate) fn discard(&self, id: &str) {
        let _ = fs::rename(self.dir(id), self.root.join("trash").join(id));
        self.empty_trash();
    }

    fn empty_trash(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("trash")) else {
            return;
        };
        for entry in entries.flatten() {
            remove_tree(&entry.path());
        }
    }
}

/// The only directories that a sandbox can write to, with their modes.
const PLACES: [(&str, u32); 2] = [("home", 0o755), ("tmp", 0o1777)];

fn make_places(dir: &Path) -> Result<()> {
    private_dir(dir)?;
    for (name, mode) in PLACES {
        let path = dir.join(name);
        private_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Copies what a sandbox can write to: links, modes, times and, as root, owners.
fn copy_places(from: &Path, to: &Path) -> Result<()> {
    for (name, _) in PLACES {
        let out = Command::new("cp")
            .args(["--archive", "--reflink=auto", "--"])
            .arg(from.join(name).join("."))
            .arg(to.join(name))
            .output()
            .context("start cp to copy the sandbox's files")?;
        if !out.status.success() {
            bail!(
                "the sandbox's {name} could not be copied; stop what writes there and try again: {}",
                String::from_utf8_lossy(&out.stderr).trim()
            );
        }
    }
    Ok(())
}

/// Removes a tree whose owner may have taken away his own permissions.
fn remove_tree(path: &Path) {
    if fs::remove_dir_all(path).is_ok() {
        return;
    }
    let mut dirs = vec![path.to_owned()];
    while let Some(dir) = dirs.pop() {
        let _ = fs::set_permissions(&dir, fs::Permissions::from_mode(0o700));
        let inner = fs::read_dir(&dir).into_iter().flatten().flatten();
        // A symlink is not a directory here, so nothing outside the tree is touched.
        dirs.extend(
            inner
                .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
                .map(|e| e.path()),
        );
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            eprintln!(
                "daytona-local: could not remove {}: {error}",
                path.display()
            );
        }
        _ => {}
    }
}

fn private_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("create {}", path.display()))
}

fn private_file(path: &Path, truncate: bool) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(truncate)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    let mut file = private_file(&temporary, true)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path).with_context(|| format!("write {}", path.display()))
}
