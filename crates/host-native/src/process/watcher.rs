//! Ends children that are left when this process ends in a way that lets it do nothing more, such as SIGKILL.
//!
//! A shell is told of every child's start and end. Its input ends with this process, however that ends, and
//! then it kills the children that are left, each with whatever it has started. Linux's
//! `PR_SET_PDEATHSIG` would not do: it is about the thread that started the child, and about the child alone.

#[cfg(unix)]
mod unix {
    use std::io::Write;
    use std::os::unix::process::CommandExt;
    use std::process::{ChildStdin, Command, Stdio};
    use std::sync::{Mutex, PoisonError};

    const WATCH: &str = r#"live=
while read -r what pid; do
  left=
  for p in $live; do [ "$p" = "$pid" ] || left="$left $p"; done
  live=$left
  [ "$what" = start ] && live="$live $pid"
done
for p in $live; do kill -9 -"$p"; done"#;

    static WATCHER: Mutex<Option<ChildStdin>> = Mutex::new(None);

    pub(crate) fn started(pid: u32) {
        let mut watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
        if watcher.is_none() {
            *watcher = start();
        }
        tell(&mut watcher, &format!("start {pid}\n"));
    }

    pub(crate) fn ended(pid: u32) {
        let mut watcher = WATCHER.lock().unwrap_or_else(PoisonError::into_inner);
        tell(&mut watcher, &format!("end {pid}\n"));
    }

    /// Without a watcher, children still end at their time and with their futures.
    fn start() -> Option<ChildStdin> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCH]).env_clear().current_dir("/");
        // In a group of its own, so that it outlives what is done to this one's.
        command.process_group(0).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let stdin = child.stdin.take()?;
        // A watcher that has been stopped must not stop this process.
        rustix::io::ioctl_fionbio(&stdin, true).ok()?;
        Some(stdin)
    }

    /// A watcher that does not listen any more is replaced at the next start of a child.
    fn tell(watcher: &mut Option<ChildStdin>, line: &str) {
        let told = watcher.as_mut().map(|to| to.write_all(line.as_bytes()));
        if told.is_some_and(|told| told.is_err()) {
            *watcher = None;
        }
    }
}

#[cfg(unix)]
pub(super) use unix::{ended, started};

#[cfg(not(unix))]
pub(super) fn started(_: u32) {}

#[cfg(not(unix))]
pub(super) fn ended(_: u32) {}
