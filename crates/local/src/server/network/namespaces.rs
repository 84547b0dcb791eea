//! The way into a sandbox's network namespace, from outside.
//!
//! bubblewrap makes the namespace in a user namespace of its own, which its programs are not in any
//! more: the one that owns the network is asked for, and whoever enters it has all capabilities there.
//! They outlive an `exec` because who made it is its root, which bubblewrap needs for `--dev`.

use std::io::{Error, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::unix::pipe;

use crate::server::demote;
use crate::wiring::{MOST_SOCKETS, Order};

const WITHIN: Duration = Duration::from_secs(60);

/// Where bubblewrap waits with a sandbox that has no programs yet.
pub(crate) struct Gate {
    info: pipe::Receiver,
    /// Opened by one byte. Closed is open, too, but then there is no network.
    latch: OwnedFd,
}

/// Bubblewrap's ends of a gate.
pub(crate) struct GateOfBwrap {
    info: OwnedFd,
    latch: OwnedFd,
}

impl GateOfBwrap {
    /// The descriptors for `--info-fd` and `--block-fd`, to be inherited.
    pub(crate) fn fds(&self) -> [RawFd; 2] {
        [self.info.as_raw_fd(), self.latch.as_raw_fd()]
    }
}

impl Gate {
    pub(crate) fn new() -> Result<(Self, GateOfBwrap)> {
        let (info, info_in) = pipe_in()?;
        let (latch_out, latch) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let bwrap = GateOfBwrap {
            info: info_in,
            latch: latch_out,
        };
        Ok((Self { info, latch }, bwrap))
    }

    /// The namespaces of who waits.
    pub(super) async fn namespaces(&mut self) -> Result<Namespaces> {
        let mut info = String::new();
        let read = tokio::time::timeout(WITHIN, self.info.read_to_string(&mut info)).await;
        read.context("bubblewrap said nothing")?
            .context("read what bubblewrap says")?;
        let info: serde_json::Value =
            serde_json::from_str(&info).context("bubblewrap made no sandbox")?;
        let pid = info["child-pid"]
            .as_u64()
            .context("bubblewrap said no process")?;
        tokio::time::timeout(WITHIN, mapped(pid))
            .await
            .context("bubblewrap did not finish the sandbox's users")??;
        let net = OwnedFd::from(
            std::fs::File::open(format!("/proc/{pid}/ns/net"))
                .context("open the sandbox's network namespace")?,
        );
        // SAFETY: the request takes no memory, and its result is a new descriptor.
        let user = unsafe {
            let fd = libc::ioctl(net.as_raw_fd(), libc::NS_GET_USERNS);
            if fd < 0 {
                return Err(Error::last_os_error()).context("find the network's owner");
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Namespaces { user, net })
    }

    /// Lets the sandbox start.
    pub(crate) fn open(self) -> Result<()> {
        std::fs::File::from(self.latch)
            .write_all(b"1")
            .context("start the sandbox")
    }
}

/// Waits until the users of a process are mapped: before, nobody can enter its namespaces and keep
/// capabilities. Bubblewrap names the process before that, and then says nothing more.
async fn mapped(pid: u64) -> Result<()> {
    let map = format!("/proc/{pid}/uid_map");
    while std::fs::read_to_string(&map)
        .context("bubblewrap ended")?
        .is_empty()
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// A network namespace and the user namespace that owns it.
pub(super) struct Namespaces {
    user: OwnedFd,
    net: OwnedFd,
}

impl Namespaces {
    /// Makes `command` a slirp4netns of this network, which itself stays in the host's. It is the
    /// same user as the sandbox, and root in the sandbox's user namespace only.
    pub(super) fn serve(
        &self,
        command: &mut Command,
        user: Option<u32>,
        ready: OwnedFd,
        exit: OwnedFd,
    ) -> Result<()> {
        let (owner, net) = (self.user.try_clone()?, self.net.try_clone()?);
        let number = |fd: &OwnedFd| fd.as_raw_fd().to_string();
        command.args(["--ready-fd", &number(&ready), "--exit-fd", &number(&exit)]);
        command.arg("--netns-type=path");
        command.arg(format!("/proc/self/fd/{}", net.as_raw_fd()));
        if let Some(user) = user {
            demote::tunnel(command, user);
        }
        // SAFETY: between fork and exec only system calls are made, with memory of before.
        unsafe {
            command.pre_exec(move || {
                for fd in [&net, &ready, &exit] {
                    demote::check(libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0))?;
                }
                demote::check(libc::setns(owner.as_raw_fd(), libc::CLONE_NEWUSER))
            });
        }
        Ok(())
    }

    /// Carries out an order inside, and gives the sockets that it made.
    pub(super) async fn wire(&self, order: &Order) -> Result<Vec<OwnedFd>> {
        let (user, net) = (self.user.try_clone()?, self.net.try_clone()?);
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg("wiring").env_clear().current_dir("/");
        command
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        // Root has every capability there already, and is nobody there who could keep them.
        let must_enter = !demote::is_root();
        // SAFETY: between fork and exec only system calls are made, with memory of before.
        unsafe {
            command.pre_exec(move || {
                if must_enter {
                    demote::check(libc::setns(user.as_raw_fd(), libc::CLONE_NEWUSER))?;
                }
                demote::check(libc::setns(net.as_raw_fd(), libc::CLONE_NEWNET))
            });
        }
        let mut command = tokio::process::Command::from(command);
        let child = command
            .kill_on_drop(true)
            .spawn()
            .context("enter the sandbox's network")?;
        drop(command); // Its copy of the socket must go, so that the end of the process is seen.
        ours.write_all(&serde_json::to_vec(order)?)?;
        ours.shutdown(Shutdown::Write)?;
        ours.set_nonblocking(true)?;
        let ours = tokio::net::UnixStream::from_std(ours)?;
        let answer = ours.async_io(Interest::READABLE, || receive(&ours));
        let answer = tokio::time::timeout(WITHIN, answer).await;
        let sockets = answer.context("the sandbox's network is not ready in time")??;
        match sockets {
            Some(sockets) => Ok(sockets),
            None => {
                let said = child.wait_with_output().await?;
                let why = String::from_utf8_lossy(&said.stderr);
                bail!("set up the sandbox's network: {}", why.trim())
            }
        }
    }
}

/// The sockets in the answer; nothing if the other side ended without one.
fn receive(from: &tokio::net::UnixStream) -> std::io::Result<Option<Vec<OwnedFd>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(
        from,
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        flags,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let sockets = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    Ok(Some(sockets.flatten().collect()))
}

/// A pipe that is read here and written elsewhere.
pub(super) fn pipe_in() -> Result<(pipe::Receiver, OwnedFd)> {
    let (out, into) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    Ok((pipe::Receiver::from_owned_fd(out)?, into))
}
