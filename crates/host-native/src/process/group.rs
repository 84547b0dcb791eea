//! A child process with what it starts: one process group.

use super::watcher;
use std::io;
use std::process::ExitStatus;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// A child that is ended with all of its group when this is dropped.
pub(super) struct Group {
    child: Child,
    /// Its number, until it has been waited for: from then on the number may be somebody else's.
    pid: Option<u32>,
}

impl Group {
    pub(super) fn start(command: &mut Command) -> io::Result<Group> {
        #[cfg(unix)]
        command.process_group(0);
        let child = command.kill_on_drop(true).spawn()?;
        let pid = child.id();
        if let Some(pid) = pid {
            watcher::started(pid);
        }
        Ok(Group { child, pid })
    }

    /// This end of the child's pipes.
    pub(super) fn pipes(
        &mut self,
    ) -> (Option<ChildStdin>, Option<ChildStdout>, Option<ChildStderr>) {
        let child = &mut self.child;
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    }

    /// Waits until the child has ended by itself.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        if let Some(pid) = self.pid.take() {
            watcher::ended(pid);
        }
        Ok(status)
    }

    /// Ends the child and what it has started, and waits for the child.
    pub(super) async fn end(&mut self) {
        self.kill();
        // What cannot be waited for is nobody's child any more.
        let _ = self.ended().await;
    }

    fn kill(&mut self) {
        let Some(pid) = self.pid else { return };
        #[cfg(unix)]
        if let Some(pid) = (i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) {
            // It fails where all of them have ended.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
        // Windows has no process groups. Git's `git.exe` starts the one that works.
        #[cfg(not(unix))]
        if std::process::Command::new("taskkill")
            .args(["/pid", &pid.to_string(), "/t", "/f"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .status()
            .is_err()
        {
            let _ = self.child.start_kill();
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        if let Some(pid) = self.pid.take() {
            watcher::ended(pid);
        }
    }
}
