//! A lock between processes, made of files only, that a killed holder cannot keep.
//!
//! JavaScript runtimes offer no `flock`, so: announce, then look. A process creates a file with a
//! name of its own, then lists the directory. If it is alone it has the lock; if not, it takes its
//! file back and tries again after a random pause. Of two processes at least the one that created
//! later sees the other, so both can never hold it. Announcements of dead processes are removed;
//! a living process loses its announcement only after [`STALE_MS`], far longer than any update
//! takes.

use crate::machine::{FileError, Host};

/// An announcement older than this is void even if a process of that number lives (numbers are
/// used again, and an aborted task leaves its file behind). Updates take milliseconds.
const STALE_MS: u64 = 30_000;
/// A dead process's announcement is left alone this long: its number may belong to another
/// process-id namespace that shares the directory.
const GRACE_MS: u64 = 2_000;

/// The right to change one file. Release it with [`Lock::release`].
#[derive(Debug)]
pub struct Lock {
    path: String,
}

/// `PID-MILLISECONDS-RANDOM` of an announcement.
fn parse(name: &str) -> Option<(u32, u64)> {
    let mut fields = name.split('-');
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

impl Lock {
    /// Waits for the lock on `file`.
    pub async fn acquire(host: &dyn Host, file: &str) -> Result<Lock, FileError> {
        let dir = format!("{file}.lock");
        loop {
            if !Self::others(host, &dir, None).await? {
                let name = format!("{}-{}-{:016x}", host.pid(), host.now_ms(), host.random());
                let path = format!("{dir}/{name}");
                host.create_file(&path).await?;
                match Self::others(host, &dir, Some(&name)).await {
                    Ok(false) => return Ok(Lock { path }),
                    Ok(true) => host.remove_file(&path).await?,
                    Err(error) => {
                        let _ = host.remove_file(&path).await;
                        return Err(error);
                    }
                }
            }
            host.sleep(2 + host.random() % 12).await;
        }
    }

    /// True if anybody else announced; removes the announcements of the dead.
    async fn others(host: &dyn Host, dir: &str, own: Option<&str>) -> Result<bool, FileError> {
        let mut found = false;
        for name in host.list_dir(dir).await? {
            if Some(name.as_str()) == own {
                continue;
            }
            let Some((pid, at)) = parse(&name) else {
                continue;
            };
            // A clock may have been set back: an announcement of the far future is void too.
            let age = host.now_ms().abs_diff(at);
            if age > STALE_MS || (age > GRACE_MS && !host.pid_alive(pid)) {
                host.remove_file(&format!("{dir}/{name}")).await?;
            } else {
                found = true;
            }
        }
        Ok(found)
    }

    /// Gives the lock back.
    pub async fn release(self, host: &dyn Host) {
        // If this fails the announcement goes stale by itself.
        let _ = host.remove_file(&self.path).await;
    }
}
