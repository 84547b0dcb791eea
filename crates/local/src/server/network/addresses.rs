//! The addresses of this machine, as they are and as they change.

use std::collections::BTreeSet;

use anyhow::Result;
use futures_util::StreamExt as _;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};
use tokio::sync::watch;

use crate::wiring::{destination, routes_of};

/// Reads them, and again whenever the kernel says that something changed.
pub(super) async fn watch() -> Result<watch::Receiver<BTreeSet<Ipv4Net>>> {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv4Route];
    let (connection, netlink, mut changes) = new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    let (sender, receiver) = watch::channel(read(&netlink).await?);
    tokio::spawn(async move {
        while changes.next().await.is_some() {
            match read(&netlink).await {
                Ok(now) => drop(sender.send_if_modified(|known| {
                    let is_new = *known != now;
                    *known = now;
                    is_new
                })),
                Err(error) => eprintln!(
                    "daytona-local: WARNING: cannot read the addresses of this machine, so sandboxes \
                     reach those that are new: {error:#}"
                ),
            }
        }
    });
    Ok(receiver)
}

/// What the kernel takes for its own: every address, and what is sent to all of a network.
async fn read(netlink: &Handle) -> Result<BTreeSet<Ipv4Net>> {
    let kinds = [RouteType::Local, RouteType::Broadcast, RouteType::Anycast];
    let own = routes_of(netlink, |header| kinds.contains(&header.kind)).await?;
    Ok(own.iter().filter_map(destination).collect())
}
