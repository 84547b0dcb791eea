//! The hidden `wiring`: what is done inside a sandbox's network namespace, from outside of the sandbox.
//!
//! The server starts it in that namespace, with the capabilities that a sandbox never has. It reads
//! one [`Order`] from the socket that is its standard input, and answers with one byte when all of it
//! is done, and with the sockets that it was asked for. Sockets belong to the namespace that they
//! were made in, so the server, which gets them, listens inside.
//!
//! Routes are the filter. A process of a sandbox cannot change them, so what they do not lead to is
//! out of reach, also for connections that are open when they change.

use std::collections::BTreeSet;
use std::io::{IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::{Deserialize, Serialize};

/// The interface to the outside, which slirp4netns makes and serves.
pub(crate) const TAP: &str = "tap0";
/// The network behind it, of those that are set aside for measuring: nobody's.
pub(crate) const NETWORK: &str = "198.18.0.0/24";
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);
pub(crate) const MTU: u32 = 65_520;
/// Marks the routes that are made here: the kernel makes others.
const OURS: RouteProtocol = RouteProtocol::Other(0xDA);
/// The most sockets that one message carries, and a few less.
pub(crate) const MOST_SOCKETS: usize = 200;

/// What the server wants of a namespace.
#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    /// Only for a new namespace: what is made once.
    pub(crate) first: Option<First>,
    pub(crate) routes: Routes,
}

/// What a new namespace gets.
#[derive(Serialize, Deserialize)]
pub(crate) struct First {
    /// Where to listen, for TCP.
    pub(crate) streams: Vec<SocketAddr>,
    /// Where to listen, for UDP.
    pub(crate) datagrams: Vec<SocketAddr>,
}

/// All routes of a namespace. Where both name an address, it is prohibited.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Routes {
    pub(crate) prohibited: BTreeSet<Ipv4Net>,
    pub(crate) open: BTreeSet<Ipv4Net>,
}

/// Does what standard input says.
pub(crate) fn run() -> Result<()> {
    let mut server = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let mut order = String::new();
    server.read_to_string(&mut order)?;
    let order: Order = serde_json::from_str(&order).context("read the order")?;
    let sockets = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(carry_out(&order))?;
    answer(&server, &sockets)
}

async fn carry_out(order: &Order) -> Result<Vec<OwnedFd>> {
    let (connection, netlink, _) = new_connection()?;
    tokio::spawn(connection);
    let tap = index(&netlink, TAP).await?;
    let mut sockets = Vec::new();
    if let Some(first) = &order.first {
        let link = LinkUnspec::new_with_index(tap).mtu(MTU).up().build();
        netlink.link().set(link).execute().await?;
        netlink
            .address()
            .add(tap, ADDRESS.into(), 32)
            .execute()
            .await?;
        sockets = listen(&netlink, first).await?;
    }
    set_routes(&netlink, tap, &order.routes).await?;
    Ok(sockets)
}

async fn index(netlink: &Handle, name: &str) -> Result<u32> {
    let mut found = netlink.link().get().match_name(name).execute();
    let link = found
        .try_next()
        .await
        .with_context(|| format!("find {name}"))?;
    Ok(link
        .with_context(|| format!("there is no {name}"))?
        .header
        .index)
}

/// Makes the sockets. An address of the host is an address of the sandbox's own loopback then.
async fn listen(netlink: &Handle, first: &First) -> Result<Vec<OwnedFd>> {
    let loopback = index(netlink, "lo").await?;
    let all = first.streams.iter().chain(&first.datagrams);
    let own: BTreeSet<IpAddr> = all
        .map(SocketAddr::ip)
        .filter(|ip| !ip.is_loopback())
        .collect();
    for ip in own {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        netlink
            .address()
            .add(loopback, ip, bits)
            .execute()
            .await
            .with_context(|| format!("make {ip} an address of the sandbox"))?;
    }
    let mut sockets = Vec::new();
    for at in &first.streams {
        let socket = std::net::TcpListener::bind(at);
        sockets.push(socket.with_context(|| format!("listen on {at}"))?.into());
    }
    for at in &first.datagrams {
        let socket = std::net::UdpSocket::bind(at);
        sockets.push(socket.with_context(|| format!("listen on {at}"))?.into());
    }
    Ok(sockets)
}

/// Replaces the routes. No address is open for a moment that is neither before nor after.
async fn set_routes(netlink: &Handle, tap: u32, wanted: &Routes) -> Result<()> {
    let before = routes_of(netlink, |header| header.protocol == OURS).await?;
    let is_open = |route: &RouteMessage| route.header.kind == RouteType::Unicast;
    let (opened, prohibited): (Vec<_>, Vec<_>) = before.into_iter().partition(is_open);
    remove_others(netlink, &opened, &wanted.open).await?;
    for net in missing(&prohibited, &wanted.prohibited) {
        let prohibited = route_to(net).kind(RouteType::Prohibit).build();
        netlink.route().add(prohibited).execute().await?;
    }
    remove_others(netlink, &prohibited, &wanted.prohibited).await?;
    for net in missing(&opened, &wanted.open) {
        let open = route_to(net).gateway(GATEWAY).output_interface(tap);
        // No other route leads to the gateway, as nothing in its network is for sandboxes.
        let open = open.onlink().build();
        netlink.route().add(open).execute().await?;
    }
    Ok(())
}

fn route_to(net: &Ipv4Net) -> RouteMessageBuilder<Ipv4Addr> {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(net.network(), net.prefix_len())
        .protocol(OURS)
}

fn missing<'a>(
    routes: &[RouteMessage],
    wanted: &'a BTreeSet<Ipv4Net>,
) -> impl Iterator<Item = &'a Ipv4Net> + use<'a> {
    let known: BTreeSet<Ipv4Net> = routes.iter().filter_map(destination).collect();
    wanted.iter().filter(move |net| !known.contains(net))
}

async fn remove_others(
    netlink: &Handle,
    routes: &[RouteMessage],
    wanted: &BTreeSet<Ipv4Net>,
) -> Result<()> {
    for route in routes {
        if destination(route).is_none_or(|net| !wanted.contains(&net)) {
            netlink.route().del(route.clone()).execute().await?;
        }
    }
    Ok(())
}

/// The IPv4 routes that are `chosen`, of all tables.
pub(crate) async fn routes_of(
    netlink: &Handle,
    chosen: impl Fn(&RouteHeader) -> bool,
) -> Result<Vec<RouteMessage>> {
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let all: Vec<RouteMessage> = netlink.route().get(all).execute().try_collect().await?;
    let chosen = |route: &RouteMessage| chosen(&route.header);
    Ok(all.into_iter().filter(chosen).collect())
}

/// Where an IPv4 route leads.
pub(crate) fn destination(route: &RouteMessage) -> Option<Ipv4Net> {
    let address = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
            _ => None,
        });
    let bits = route.header.destination_prefix_length;
    let net = Ipv4Net::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED), bits).ok()?;
    Some(net.trunc())
}

fn answer(server: &UnixStream, sockets: &[OwnedFd]) -> Result<()> {
    let sockets: Vec<_> = sockets.iter().map(|socket| socket.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
    anyhow::ensure!(
        sockets.is_empty() || fits,
        "too many sockets for one message"
    );
    let flags = SendFlags::empty();
    sendmsg(server, &[IoSlice::new(b"d")], &mut ancillary, flags)?;
    Ok(())
}
