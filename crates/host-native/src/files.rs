//! Files, on the threads that tokio keeps for what blocks.

use host::{FileError, FileErrorKind, TEMPORARY};
use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Does `work` with a path where it blocks nobody.
async fn blocking<T: Send + 'static>(
    path: &str,
    work: impl FnOnce(&str) -> io::Result<T> + Send + 'static,
) -> Result<T, FileError> {
    let owned = path.to_string();
    let done = tokio::task::spawn_blocking(move || work(&owned)).await;
    // Work that was not done: the runtime ends, or it panicked.
    let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
    done.map_err(|error| FileError {
        path: path.into(),
        kind: match error.kind() {
            ErrorKind::NotFound => FileErrorKind::NotFound,
            ErrorKind::AlreadyExists => FileErrorKind::Exists,
            _ => FileErrorKind::Other,
        },
        reason: error.to_string(),
    })
}

fn directory_of(path: &str) -> &Path {
    let dir = Path::new(path).parent();
    dir.filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Options for a file that only its owner reads, if it is a new one.
pub(crate) fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// A file that is there, to be read from a byte on.
pub(crate) fn opened_at(path: &str, offset: u64) -> io::Result<fs::File> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

pub(crate) async fn read_part(path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
    let read = move |path: &str| {
        let mut part = Vec::new();
        let mut file = opened_at(path, offset)?.take(length);
        file.read_to_end(&mut part)?;
        Ok(part)
    };
    blocking(path, read).await
}

pub(crate) async fn read_file(path: &str) -> Result<Vec<u8>, FileError> {
    blocking(path, |path| fs::read(path)).await
}

pub(crate) async fn replace_file(path: &str, content: Vec<u8>) -> Result<(), FileError> {
    let replace = move |path: &str| {
        let dir = directory_of(path);
        fs::create_dir_all(dir)?;
        // Made with mode 0600, and removed where anything below fails.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&content)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    blocking(path, replace).await
}

pub(crate) async fn create_file(path: &str) -> Result<(), FileError> {
    let create = |path: &str| {
        fs::create_dir_all(directory_of(path))?;
        private().create_new(true).open(path).map(drop)
    };
    blocking(path, create).await
}

pub(crate) async fn copy_file(from: &str, to: &str) -> Result<(), FileError> {
    let to = to.to_string();
    let copy = move |from: &str| {
        // Looked at first: what is copied is never older than its time says.
        let written = fs::metadata(from)?.modified()?;
        fs::copy(from, &to)?;
        set_modified(&to, rounded_down(written))
    };
    blocking(from, copy).await
}

/// A time without what is less than a millisecond.
fn rounded_down(time: SystemTime) -> SystemTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => UNIX_EPOCH + Duration::from_millis(since.as_millis() as u64),
        Err(_) => UNIX_EPOCH,
    }
}

/// By the path, because a file that may not be written may have its time set all the same.
#[cfg(unix)]
fn set_modified(path: &str, time: SystemTime) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: since.subsec_nanos().into(),
    };
    let both = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(utimensat(CWD, path, &both, AtFlags::empty())?)
}

#[cfg(not(unix))]
fn set_modified(path: &str, time: SystemTime) -> io::Result<()> {
    fs::File::options()
        .write(true)
        .open(path)?
        .set_modified(time)
}

pub(crate) async fn rename_file(from: &str, to: &str) -> Result<(), FileError> {
    let to = to.to_string();
    blocking(from, move |from| fs::rename(from, to)).await
}

/// Removes something; what is missing is fine.
fn unless_missing(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

pub(crate) async fn remove_file(path: &str) -> Result<(), FileError> {
    blocking(path, |path| unless_missing(fs::remove_file(path))).await
}

pub(crate) async fn list_dir(path: &str) -> Result<Vec<String>, FileError> {
    let list = |path: &str| {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            let name = entry?.file_name();
            Ok(name.to_string_lossy().into_owned())
        };
        entries.map(name).collect()
    };
    blocking(path, list).await
}

pub(crate) async fn make_dir(path: &str) -> Result<(), FileError> {
    let make = |path: &str| {
        let mut private = fs::DirBuilder::new();
        private.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
        private.create(path)
    };
    blocking(path, make).await
}

pub(crate) async fn remove_dir(path: &str) -> Result<(), FileError> {
    let remove = |path: &str| {
        let name = Path::new(path).file_name().unwrap_or_default();
        if !name.to_string_lossy().starts_with(TEMPORARY) {
            return Err(io::Error::other("not a temporary directory"));
        }
        unless_missing(fs::remove_dir_all(path))
    };
    blocking(path, remove).await
}

pub(crate) async fn real_path(path: &str) -> Result<String, FileError> {
    let real = |path: &str| Ok(fs::canonicalize(path)?.to_string_lossy().into_owned());
    blocking(path, real).await
}

pub(crate) async fn file_size(path: &str) -> Result<u64, FileError> {
    blocking(path, |path| Ok(fs::metadata(path)?.len())).await
}

pub(crate) async fn file_sizes(dir: &str, names: Vec<String>) -> Vec<u64> {
    let count = names.len();
    let sizes = move |dir: &str| {
        let size = |name: &String| match fs::symlink_metadata(Path::new(dir).join(name)) {
            Ok(found) if found.is_file() => found.len(),
            _ => 0,
        };
        Ok(names.iter().map(size).collect())
    };
    let sizes = blocking(dir, sizes).await;
    sizes.unwrap_or_else(|_| vec![0; count])
}

pub(crate) async fn modified_ms(path: &str) -> Result<u64, FileError> {
    let modified = |path: &str| {
        let modified = fs::metadata(path)?.modified()?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(since.as_millis() as u64)
    };
    blocking(path, modified).await
}
