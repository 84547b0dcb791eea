//! `--network outbound`: a network of its own for each sandbox, with access outward.
//!
//! slirp4netns takes what a sandbox sends out of the sandbox's network namespace and sends it from
//! this machine, as any program would; so it would reach every listener of this machine. What keeps
//! a sandbox from them are routes in its own namespace (`crate::wiring`), one for each address of
//! this machine, renewed when those change. Other sandboxes cannot be addressed at all: no port of
//! a sandbox is a port of this machine. There is no IPv6 but on the sandbox's loopback.
//!
//! Other machines are outside, also those of private networks that this machine is in; a sandbox's
//! allow list is how to be stricter.
//!
//! Everything is made before the first program of the sandbox runs: bubblewrap waits at a [`Gate`].

mod addresses;
mod namespaces;
pub(crate) mod policy;
mod relay;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::Ipv4Net;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use super::programs;
use crate::wiring::{self, First, MOST_SOCKETS, Order, TAP};
use namespaces::Namespaces;
pub(super) use namespaces::{Gate, GateOfBwrap};
use policy::Policy;
pub(super) use relay::RESOLVER;
use relay::To;

const INSTALL: &str = "Install slirp4netns 1.1 or newer (apt install slirp4netns, dnf install \
                       slirp4netns, pacman -S slirp4netns, apk add slirp4netns), or give --network none";

/// How sandboxes get their networks.
pub(crate) struct Outbound {
    slirp: PathBuf,
    allowed: Vec<SocketAddr>,
    /// The user that sandboxes are on this machine, if it is not the server's own.
    user: Option<u32>,
    host: watch::Receiver<BTreeSet<Ipv4Net>>,
}

impl Outbound {
    /// Finds what it needs. Whether it works is seen when the first network is made.
    pub(super) async fn new(allowed: Vec<SocketAddr>, user: Option<u32>) -> Result<Self> {
        ensure!(
            allowed.len() < MOST_SOCKETS,
            "--allow-host: there may be {} addresses at most",
            MOST_SOCKETS - 2
        );
        let slirp = programs::find("slirp4netns")
            .with_context(|| format!("--network outbound needs slirp4netns. {INSTALL}."))?;
        check_version(&slirp).await?;
        let host = addresses::watch()
            .await
            .context("read the addresses of this machine")?;
        Ok(Self {
            slirp,
            allowed,
            user,
            host,
        })
    }

    /// Makes the network of the sandbox that waits at the gate.
    pub(super) async fn attach(&self, gate: &mut Gate, policy: Policy) -> Result<Attached> {
        let namespaces = gate.namespaces().await?;
        let (slirp, exit) = self.start_slirp(&namespaces).await?;
        let mut streams = vec![RESOLVER];
        streams.extend(&self.allowed);
        let first = First {
            streams,
            datagrams: vec![RESOLVER],
        };
        let mut host = self.host.clone();
        let routes = policy.routes(&host.borrow_and_update());
        let order = Order {
            first: Some(first),
            routes,
        };
        let mut sockets = namespaces.wire(&order).await?;
        ensure!(
            sockets.len() == self.allowed.len() + 2,
            "the sandbox's network has {} of its sockets",
            sockets.len()
        );

        let policy = watch::Sender::new(policy);
        let mut relays = JoinSet::new();
        let questions = std::net::UdpSocket::from(sockets.pop().context("the last socket")?);
        questions.set_nonblocking(true)?;
        let questions = tokio::net::UdpSocket::from_std(questions)?;
        relays.spawn(relay::datagrams(questions, policy.subscribe()));
        let to = [To::Resolver].into_iter();
        let to = to.chain(self.allowed.iter().map(|address| To::Host(*address)));
        for (socket, to) in sockets.into_iter().zip(to) {
            let socket = std::net::TcpListener::from(socket);
            socket.set_nonblocking(true)?;
            let socket = tokio::net::TcpListener::from_std(socket)?;
            relays.spawn(relay::streams(socket, to, policy.subscribe()));
        }
        Ok(Attached {
            namespaces,
            policy,
            host: Mutex::new(host),
            _slirp: slirp,
            _exit: exit,
            _relays: relays,
        })
    }

    /// Waits until the addresses of this machine are others. Each caller has its own `seen`.
    pub(super) fn host(&self) -> watch::Receiver<BTreeSet<Ipv4Net>> {
        self.host.clone()
    }

    /// Starts slirp4netns, and gives the file that ends it when it is closed.
    async fn start_slirp(&self, namespaces: &Namespaces) -> Result<(Child, OwnedFd)> {
        let (mut ready, ready_in) = namespaces::pipe_in()?;
        let (exit_out, exit) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut command = std::process::Command::new(&self.slirp);
        command
            .args(["--disable-host-loopback", "--disable-dns"])
            .args(["--enable-sandbox", "--enable-seccomp"])
            .args(["--cidr", wiring::NETWORK])
            .args(["--mtu", &wiring::MTU.to_string()])
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        namespaces.serve(&mut command, self.user, ready_in, exit_out)?;
        command.arg(TAP);
        let mut command = Command::from(command);
        let mut slirp = command
            .kill_on_drop(true)
            .spawn()
            .context("start slirp4netns")?;
        drop(command); // Its copies of the pipes must go.
        let mut said = String::new();
        let _ = ready.read_to_string(&mut said).await;
        if said != "1" {
            let mut why = String::new();
            if let Some(mut stderr) = slirp.stderr.take() {
                let _ = stderr.read_to_string(&mut why).await;
            }
            bail!("slirp4netns does not work: {}", why.trim());
        }
        // What it says later is of no use, and it must be able to say it.
        if let Some(mut stderr) = slirp.stderr.take() {
            tokio::spawn(async move { tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await });
        }
        Ok((slirp, exit))
    }
}

async fn check_version(slirp: &Path) -> Result<()> {
    let said = Command::new(slirp).arg("--help").output().await;
    let said = said.with_context(|| format!("cannot run {}. {INSTALL}.", slirp.display()))?;
    let help = String::from_utf8_lossy(&said.stdout);
    ensure!(
        help.contains("--disable-dns"),
        "{} is too old for --network outbound. {INSTALL}.",
        slirp.display()
    );
    Ok(())
}

/// The network of a sandbox that runs. Dropped, it is gone.
pub(crate) struct Attached {
    namespaces: Namespaces,
    policy: watch::Sender<Policy>,
    /// The addresses of the machine that the routes are for. Held while these change.
    host: Mutex<watch::Receiver<BTreeSet<Ipv4Net>>>,
    _slirp: Child,
    _exit: OwnedFd,
    _relays: JoinSet<()>,
}

impl Attached {
    /// Makes other rules hold. An error is for whoever holds it to end the sandbox.
    pub(super) async fn set(&self, policy: Policy) -> Result<()> {
        let mut host = self.host.lock().await;
        self.policy.send_replace(policy);
        self.wire(&mut host).await
    }

    /// Makes the rules hold on this machine as it is now, if it has got other addresses.
    pub(super) async fn renew(&self) -> Result<()> {
        let mut host = self.host.lock().await;
        match host.has_changed() {
            Ok(false) => Ok(()),
            _ => self.wire(&mut host).await,
        }
    }

    async fn wire(&self, host: &mut watch::Receiver<BTreeSet<Ipv4Net>>) -> Result<()> {
        let routes = self.policy.borrow().routes(&host.borrow_and_update());
        self.namespaces
            .wire(&Order {
                first: None,
                routes,
            })
            .await?;
        Ok(())
    }
}
