//! A program on a pseudo terminal of its own.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};

/// What a terminal shows at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) cols: u16,
    pub(super) rows: u16,
}

/// The side of a terminal at which a user would sit.
pub(super) struct Terminal(AsyncFd<OwnedFd>);

impl Terminal {
    /// Starts `command` as the leader of a session whose terminal this is.
    pub(super) fn start(mut command: Command, size: Size) -> io::Result<(Self, Child)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        // Not by its name, which would be looked up in this process's own `/dev/pts`.
        let theirs = ioctl_tiocgptpeer(&ours, flags)?;
        tcsetwinsize(&theirs, winsize(size))?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        command
            .stdin(theirs.try_clone()?)
            .stdout(theirs.try_clone()?)
            .stderr(theirs);
        // SAFETY: between fork and exec only these two system calls are made.
        unsafe {
            command.pre_exec(|| {
                if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn()?;
        // `command` holds the program's side open, too, and goes with the end of this function.
        // SAFETY: the descriptor is owned, and neither replaced nor closed while it is registered.
        let ours = unsafe { AsyncFd::register(ours)? };
        Ok((Self(ours), child))
    }

    pub(super) fn resize(&self, size: Size) -> io::Result<()> {
        Ok(tcsetwinsize(self.0.get_ref(), winsize(size))?)
    }

    /// Reads what was printed; 0 is that nobody holds the other side any more.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = |fd: &OwnedFd| match rustix::io::read(fd, &mut *buffer) {
            Err(Errno::IO) => Ok(0),
            read => Ok(read?),
        };
        self.0.async_io(Interest::READABLE, read).await
    }

    /// Types all of `text`, as fast as it is taken.
    pub(super) async fn type_in(&self, mut text: &[u8]) -> io::Result<()> {
        while !text.is_empty() {
            let write = |fd: &OwnedFd| Ok(rustix::io::write(fd, text)?);
            let written = self.0.async_io(Interest::WRITABLE, write).await?;
            text = &text[written..];
        }
        Ok(())
    }
}

fn winsize(size: Size) -> Winsize {
    Winsize {
        ws_col: size.cols,
        ws_row: size.rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
