//! Replaces files whole: every new content is written to a temporary file beside its target and
//! flushed, then all are renamed. A reader, a crash or a kill sees the old content or the new.
//!
//! Several changes are all made or none: a failure in the middle takes the others back. A kill in
//! the middle leaves whole files, some old and some new.
//!
//! A kill in the middle can also leave a temporary file. The next change in that directory removes
//! it, and the project's setup has git ignore it until then.
//!
//! The mode is kept, and the file a symlink points to is replaced rather than the link. Surprise:
//! a target that cannot be renamed over (a bind mount, a directory that is not writable) is
//! written in place, because the only other choice is to refuse.

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// One change of a set.
#[derive(Debug)]
pub(super) enum Change {
    Write(PathBuf, Vec<u8>),
    Remove(PathBuf),
}

/// Which change failed, and why.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) path: PathBuf,
    pub(super) error: io::Error,
}

/// Replaces one file.
pub(super) fn replace(path: &Path, bytes: Vec<u8>) -> Result<(), Failed> {
    apply(vec![Change::Write(path.to_path_buf(), bytes)])
}

/// Makes all changes or none.
pub(super) fn apply(changes: Vec<Change>) -> Result<(), Failed> {
    let mut steps: Vec<Step> = Vec::new();
    for change in changes {
        let path = match &change {
            Change::Write(path, _) | Change::Remove(path) => path.clone(),
        };
        steps.push(Step::prepare(change).map_err(|error| Failed { path, error })?);
    }
    let dirs: BTreeSet<&Path> = steps
        .iter()
        .filter_map(|step| step.target.parent())
        .collect();
    dirs.into_iter().for_each(sweep);
    let mut made: Vec<Step> = Vec::new();
    let alone = steps.len() == 1;
    for mut step in steps {
        if let Err(error) = step.commit(alone) {
            let path = step.target.clone();
            made.iter_mut().rev().for_each(Step::undo);
            return Err(Failed { path, error });
        }
        made.push(step);
    }
    Ok(())
}

/// One change with its new content ready. Temporary files go when it is dropped.
struct Step {
    target: PathBuf,
    new: New,
    /// The old content, once the change is made.
    old: Old,
}

/// What becomes of the target.
enum New {
    Removed,
    Renamed(Temporary),
    /// Its directory takes no temporary file, so the content is written over the old one.
    InPlace(Vec<u8>),
}

/// What was there before.
enum Old {
    /// Nothing, or nobody will ask for it.
    Nothing,
    File(Temporary),
    /// Of a file that is written in place.
    Content(Vec<u8>),
}

struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Step {
    /// Changes nothing but for directories that the target needs.
    fn prepare(change: Change) -> io::Result<Step> {
        let (target, new) = match change {
            Change::Remove(path) => {
                fs::symlink_metadata(&path)?;
                (path, New::Removed)
            }
            Change::Write(path, bytes) => {
                let target = follow(&path)?;
                if let Some(parent) = target.parent() {
                    fs::create_dir_all(parent).map_err(|error| match error.kind() {
                        // The name of a directory is taken by a file.
                        io::ErrorKind::AlreadyExists => io::ErrorKind::NotADirectory.into(),
                        _ => error,
                    })?;
                }
                let meta = match fs::metadata(&target) {
                    Ok(meta) if meta.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
                    Ok(meta) if !meta.is_file() => {
                        return Err(io::Error::other("not a regular file"));
                    }
                    Ok(meta) => Some(meta),
                    Err(_) => None,
                };
                let new = match temporary(&target, meta.as_ref(), &bytes) {
                    Ok(fresh) => New::Renamed(fresh),
                    Err(error) if meta.is_some() && is_fixed(&error) => {
                        // A file that may not be written must fail before anything is changed.
                        OpenOptions::new().write(true).open(&target)?;
                        New::InPlace(bytes)
                    }
                    Err(error) => return Err(error),
                };
                (target, new)
            }
        };
        let old = Old::Nothing;
        Ok(Step { target, new, old })
    }

    fn commit(&mut self, alone: bool) -> io::Result<()> {
        if let New::InPlace(bytes) = &self.new {
            self.old = in_place(&self.target, bytes)?;
            return Ok(());
        }
        if !alone && let Some(backup) = backup(&self.target)? {
            self.old = Old::File(backup);
        }
        let New::Renamed(fresh) = &self.new else {
            return fs::remove_file(&self.target);
        };
        match fs::rename(&fresh.0, &self.target) {
            Err(error) if is_fixed(&error) => {
                // The backup may be a second name of the very file that is written over.
                self.old = in_place(&self.target, &fs::read(&fresh.0)?)?;
                Ok(())
            }
            renamed => renamed,
        }
    }

    fn undo(&mut self) {
        let _ = match (&self.old, &self.new) {
            (Old::File(old), _) => fs::rename(&old.0, &self.target),
            (Old::Content(old), _) => overwrite(&self.target, old),
            (Old::Nothing, New::Removed) => Ok(()),
            (Old::Nothing, _) => fs::remove_file(&self.target),
        };
    }
}

/// Writes new content over the old one, which it gives; if that fails, the old one is put back.
fn in_place(target: &Path, bytes: &[u8]) -> io::Result<Old> {
    let old = fs::read(target)?;
    overwrite(target, bytes).inspect_err(|_| {
        let _ = overwrite(target, &old);
    })?;
    Ok(Old::Content(old))
}

/// True if the target's directory does not let it be replaced, though its content may be writable.
fn is_fixed(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, ResourceBusy};
    matches!(
        error.kind(),
        CrossesDevices | PermissionDenied | ResourceBusy
    )
}

fn overwrite(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(target)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The file that `path` finally names, through symlinks, also one that does not exist yet.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    // The kernel's own limit.
    for _ in 0..40 {
        match fs::read_link(&path) {
            Ok(link) => path = path.parent().unwrap_or(Path::new("/")).join(link),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
}

fn beside(target: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!(".opencode-{}-{number}.tmp", std::process::id()))
}

/// The process that made a temporary file of this name.
fn maker(name: &str) -> Option<Pid> {
    let (pid, number) = name
        .strip_prefix(".opencode-")?
        .strip_suffix(".tmp")?
        .split_once('-')?;
    number.parse::<u32>().ok()?;
    Pid::from_raw(pid.parse().ok().filter(|pid: &i32| *pid > 0)?)
}

/// Removes what killed runners left in `dir`, unless that means to search a very large directory.
fn sweep(dir: &Path) {
    for entry in fs::read_dir(dir)
        .into_iter()
        .flatten()
        .take(10_000)
        .flatten()
    {
        let name = entry.file_name();
        let is_dead = name
            .to_str()
            .and_then(maker)
            .is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH));
        if is_dead {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn temporary(target: &Path, old: Option<&fs::Metadata>, bytes: &[u8]) -> io::Result<Temporary> {
    let path = beside(target);
    // A killed runner with this process id may have left one.
    let _ = fs::remove_file(&path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(&path)?;
    let temporary = Temporary(path);
    file.write_all(bytes)?;
    if let Some(old) = old {
        keep_owner_and_mode(&file, old)?;
    }
    file.sync_all()?;
    Ok(temporary)
}

fn keep_owner_and_mode(file: &File, old: &fs::Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        // Only root may give a file away.
        let _ = std::os::unix::fs::fchown(file, Some(old.uid()), Some(old.gid()));
    }
    file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))
}

/// A second name for the old content, or a copy where links are not possible; none if there is no
/// old content.
fn backup(target: &Path) -> io::Result<Option<Temporary>> {
    if fs::symlink_metadata(target).is_err() {
        return Ok(None);
    }
    let path = beside(target);
    let _ = fs::remove_file(&path);
    if fs::hard_link(target, &path).is_err() {
        fs::copy(target, &path)?;
    }
    Ok(Some(Temporary(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn mode_and_symlink_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("run.sh");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o751)).unwrap();
        symlink("run.sh", dir.path().join("link")).unwrap();
        replace(&dir.path().join("link"), b"new".to_vec()).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o751);
        assert!(
            fs::symlink_metadata(dir.path().join("link"))
                .unwrap()
                .is_symlink()
        );
        assert_eq!(names(dir.path()), ["link", "run.sh"]);
    }

    #[test]
    fn a_dangling_link_makes_its_target_and_a_loop_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        symlink("there", dir.path().join("link")).unwrap();
        replace(&dir.path().join("link"), b"x".to_vec()).unwrap();
        assert_eq!(fs::read(dir.path().join("there")).unwrap(), b"x");
        symlink("loop", dir.path().join("loop")).unwrap();
        assert!(replace(&dir.path().join("loop"), b"x".to_vec()).is_err());
    }

    #[test]
    fn what_a_killed_runner_left_goes_with_the_next_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let kept = [
            format!(".opencode-{}-7.tmp", std::os::unix::process::parent_id()),
            format!(".opencode-{dead}-x.tmp"),
            format!(".opencode-{dead}.tmp"),
            ".opencode-0-1.tmp".to_string(),
            ".opencode--1-1.tmp".to_string(),
            format!("x.opencode-{dead}-1.tmp"),
        ];
        for name in &kept {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::write(dir.path().join(format!(".opencode-{dead}-0.tmp")), "half").unwrap();
        replace(&dir.path().join("f"), b"x".to_vec()).unwrap();
        let mut expected = kept.to_vec();
        expected.push("f".to_string());
        expected.sort();
        assert_eq!(names(dir.path()), expected);
    }

    /// Runs `test` as a user who may write the files of a directory, but neither add any nor remove.
    fn where_the_directory_is_fixed(dir: &Path, test: impl FnOnce() + Send) {
        let mode = |mode| fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o555);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                if rustix::process::getuid().is_root() {
                    // Of this thread alone, which is how Linux has it.
                    let nobody = rustix::process::Uid::from_raw(65_534);
                    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                }
                test();
            });
            run.join().unwrap();
        });
        mode(0o755);
    }

    fn writable(dir: &Path, name: &str, text: &str) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        path
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place_and_taken_back_like_any_other() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let (a, b) = (
            writable(dir.path(), "a", "a"),
            writable(dir.path(), "b", "b"),
        );
        fs::write(dir.path().join("closed"), "closed").unwrap();
        fs::set_permissions(dir.path().join("closed"), fs::Permissions::from_mode(0o444)).unwrap();
        let change = |path: &Path, text: &str| Change::Write(path.into(), text.into());
        where_the_directory_is_fixed(dir.path(), || {
            // This can only fail when it is made: nothing can be removed here.
            for last in [
                Change::Remove(b.clone()),
                change(&dir.path().join("closed"), "x"),
            ] {
                let failed = apply(vec![change(&a, "a longer text"), change(&b, ""), last]);
                assert!(failed.is_err());
                assert_eq!(fs::read_to_string(&a).unwrap(), "a");
                assert_eq!(fs::read_to_string(&b).unwrap(), "b");
            }
            apply(vec![change(&a, "A"), change(&b, "B")]).unwrap();
            assert_eq!(fs::read_to_string(&a).unwrap(), "A");
            assert_eq!(fs::read_to_string(&b).unwrap(), "B");
        });
        assert_eq!(names(dir.path()), ["a", "b", "closed"]);
    }

    #[test]
    fn a_failure_takes_everything_back() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "a").unwrap();
        fs::write(at("b"), "b").unwrap();
        fs::create_dir(at("full")).unwrap();
        fs::write(at("full/x"), "x").unwrap();
        let failed = apply(vec![
            Change::Write(at("a"), b"A".to_vec()),
            Change::Write(at("new"), b"N".to_vec()),
            Change::Remove(at("b")),
            // A directory is there, so this can only fail when it is made.
            Change::Remove(at("full")),
        ])
        .unwrap_err();
        assert_eq!(failed.path, at("full"));
        assert_eq!(fs::read(at("a")).unwrap(), b"a");
        assert_eq!(fs::read(at("b")).unwrap(), b"b");
        assert_eq!(names(dir.path()), ["a", "b", "full"]);
    }
}
