//! What a sandbox reaches of the host all the same: its resolver, and the ports that the server's
//! options name.
//!
//! The sockets listen inside of the sandbox and belong to the server, so what connects to them is
//! connected by the server, to one fixed place. A rule of the sandbox that forbids it ends the
//! connections that are open, too.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::policy::Policy;

/// Where a sandbox asks for names: an address of its own loopback.
pub(crate) const RESOLVER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 53);
/// How many questions or connections of one sandbox are under way at each socket.
const AT_ONCE: usize = 256;
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Where a connection goes.
#[derive(Clone, Copy)]
pub(super) enum To {
    Resolver,
    Host(SocketAddr),
}

impl To {
    fn is_allowed(self, policy: &Policy) -> bool {
        match self {
            To::Resolver => !policy.block_all,
            To::Host(address) => policy.allows(address.ip()),
        }
    }

    fn address(self) -> SocketAddr {
        match self {
            To::Resolver => resolver(),
            To::Host(address) => address,
        }
    }
}

/// Relays connections for as long as it is polled.
pub(super) async fn streams(listener: TcpListener, to: To, policy: watch::Receiver<Policy>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < AT_ONCE => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, to, policy.clone()))),
                // Out of descriptors, most likely: let some connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut inside: TcpStream, to: To, mut policy: watch::Receiver<Policy>) {
    if !to.is_allowed(&policy.borrow_and_update()) {
        return;
    }
    let relayed = async {
        let mut outside = TcpStream::connect(to.address()).await?;
        copy_bidirectional(&mut inside, &mut outside).await
    };
    tokio::select! {
        _ = relayed => {}
        _ = policy.wait_for(|policy| !to.is_allowed(policy)) => {}
    }
}

/// Answers questions for names for as long as it is polled.
pub(super) async fn datagrams(socket: UdpSocket, policy: watch::Receiver<Policy>) {
    let (socket, free) = (Arc::new(socket), Arc::new(Semaphore::new(AT_ONCE)));
    let mut questions = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        while questions.try_join_next().is_some() {}
        // One too many is dropped, as a network does.
        let Ok(permit) = free.clone().try_acquire_owned() else {
            continue;
        };
        let question = buffer[..length].to_vec();
        if !To::Resolver.is_allowed(&policy.borrow()) {
            // Who gets no answer asks again for many seconds.
            if let Some(refusal) = refusal(question) {
                let _ = socket.send_to(&refusal, from).await;
            }
            continue;
        }
        let socket = socket.clone();
        questions.spawn(async move {
            // Without an answer the sandbox asks again, or gives up, by itself.
            if let Ok(Ok(answer)) = tokio::time::timeout(ANSWER_WITHIN, ask(&question)).await {
                let _ = socket.send_to(&answer, from).await;
            }
            drop(permit);
        });
    }
}

async fn ask(question: &[u8]) -> Result<Vec<u8>> {
    let resolver = resolver();
    let any: IpAddr = match resolver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(resolver).await?;
    socket.send(question).await.context("ask the resolver")?;
    let mut answer = vec![0; 65_536];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    Ok(answer)
}

/// The answer REFUSED to a question.
fn refusal(mut question: Vec<u8>) -> Option<Vec<u8>> {
    *question.get_mut(2)? |= 0x80;
    let code = question.get_mut(3)?;
    *code = *code & 0xf0 | 5;
    Some(question)
}

/// The host's first resolver, as it is now.
fn resolver() -> SocketAddr {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let found = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then_some(())?;
        words.next()?.parse().ok()
    });
    // As the C library has it.
    SocketAddr::new(found.unwrap_or(Ipv4Addr::LOCALHOST.into()), 53)
}
