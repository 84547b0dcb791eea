//! What a sandbox may reach, as its owner asks for it and as routes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::options::Network;
use crate::problem::{Fields, Problem};
use crate::wiring::Routes;

const MOST_ENTRIES: usize = 10;

/// Out of reach for every sandbox, next to the host's own addresses.
const NEVER: [Ipv4Net; 5] = [
    // Addresses of this machine by convention.
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8),
    // Link-local, and with it what a cloud tells a machine about itself, keys included.
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    // The network of slirp4netns itself ([`crate::wiring::NETWORK`]).
    Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 24),
    // Multicast, which comes back to the host's own listeners.
    Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved, and with it the broadcast that slirp4netns takes for the host.
    Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The network settings of a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Policy {
    pub(crate) block_all: bool,
    /// Empty is everything.
    pub(crate) allow_list: Vec<Ipv4Net>,
}

impl Policy {
    /// Reads the settings that a request names; the others stay as they are. Gives how many it named.
    pub(crate) fn change(&mut self, fields: &mut Fields<'_>) -> usize {
        let mut named = 0;
        if let Some(block_all) = fields.get("networkBlockAll", "a boolean") {
            self.block_all = block_all;
            named += 1;
        }
        if let Some(list) = fields.get::<String>("networkAllowList", "a string") {
            match parse(&list) {
                Ok(list) => self.allow_list = list,
                Err(why) => fields.complain(why),
            }
            named += 1;
        }
        if let Some(list) = fields.get::<String>("domainAllowList", "a string") {
            if !list.trim().is_empty() {
                fields.complain("domainAllowList is not supported by daytona-local".to_owned());
            }
            named += 1;
        }
        named
    }

    /// Whether it holds in sandboxes of that kind.
    pub(crate) fn holds_in(&self, network: Network) -> Result<(), Problem> {
        let (asked, name) = match network {
            Network::Outbound => return Ok(()),
            // There is nothing that could be blocked.
            Network::None => (!self.allow_list.is_empty(), "none"),
            Network::Host => (self != &Self::default(), "host"),
        };
        if asked {
            return Err(Problem::bad_request(format!(
                "network rules are not supported by a daytona-local that runs with --network {name}; \
                 start it with --network outbound"
            )));
        }
        Ok(())
    }

    /// The routes that make it true on a machine that has these addresses.
    pub(crate) fn routes(&self, host: &BTreeSet<Ipv4Net>) -> Routes {
        let mut prohibited = host.clone();
        prohibited.extend(NEVER);
        let mut open = match (self.block_all, self.allow_list.is_empty()) {
            (true, _) => BTreeSet::new(),
            (false, true) => [Ipv4Net::default()].into(),
            (false, false) => self.allow_list.iter().copied().collect(),
        };
        // The longest prefix wins, so what is open inside of something prohibited must not be there.
        open.retain(|net| !prohibited.iter().any(|other| other.contains(net)));
        Routes { prohibited, open }
    }

    /// Whether it lets a sandbox use an address of the host that the server lets it use.
    pub(crate) fn allows(&self, address: IpAddr) -> bool {
        if self.block_all {
            return false;
        }
        self.allow_list.is_empty()
            || matches!(address, IpAddr::V4(v4) if self.allow_list.iter().any(|net| net.contains(&v4)))
    }

    /// The settings on the wire.
    pub(crate) fn write(&self, sandbox: &mut Value) {
        sandbox["networkBlockAll"] = self.block_all.into();
        if !self.allow_list.is_empty() {
            let list: Vec<String> = self.allow_list.iter().map(Ipv4Net::to_string).collect();
            sandbox["networkAllowList"] = list.join(",").into();
        }
    }
}

fn parse(list: &str) -> Result<Vec<Ipv4Net>, String> {
    let entries: Vec<&str> = list.split(',').map(str::trim).collect();
    if entries == [""] {
        return Ok(Vec::new());
    }
    if entries.len() > MOST_ENTRIES {
        return Err(format!(
            "networkAllowList must not have more than {MOST_ENTRIES} entries"
        ));
    }
    let parsed = entries.iter().map(|entry| match entry.parse::<Ipv4Net>() {
        Ok(net) => Ok(net.trunc()),
        Err(_) => Err(format!(
            "networkAllowList must be IPv4 networks like 10.0.0.0/8, and \"{entry}\" is none"
        )),
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(body: Value) -> Result<Policy, Problem> {
        let mut policy = Policy::default();
        let mut fields = Fields::of(&body)?;
        policy.change(&mut fields);
        fields.finish()?;
        Ok(policy)
    }

    #[test]
    fn a_rule_that_is_none_is_refused() {
        let eleven = ["10.0.0.0/8"; 11].join(",");
        for (body, part) in [
            (json!({"networkAllowList": "10.0.0.0"}), "\"10.0.0.0\""),
            (
                json!({"networkAllowList": "10.0.0.0/33"}),
                "\"10.0.0.0/33\"",
            ),
            (json!({"networkAllowList": "10.0.0.0/8,"}), "\"\""),
            (json!({"networkAllowList": "fd00::/8"}), "\"fd00::/8\""),
            (
                json!({"networkAllowList": "example.com"}),
                "\"example.com\"",
            ),
            (json!({"networkAllowList": eleven}), "more than 10"),
            (json!({"networkAllowList": ["10.0.0.0/8"]}), "a string"),
            (json!({"networkBlockAll": "yes"}), "a boolean"),
            (json!({"domainAllowList": "example.com"}), "not supported"),
        ] {
            let problem = policy(body.clone()).expect_err("refused");
            assert_eq!(problem.status, 400, "{body}");
            assert!(problem.message.contains(part), "{}", problem.message);
        }
    }

    #[test]
    fn routes_open_what_is_allowed_and_nothing_that_is_prohibited() {
        let host: BTreeSet<Ipv4Net> = ["192.0.2.2/32", "127.0.0.0/8"]
            .map(|net| net.parse().expect("a network"))
            .into();
        for (body, open) in [
            (json!({}), "0.0.0.0/0"),
            (json!({"networkAllowList": ""}), "0.0.0.0/0"),
            (json!({"networkBlockAll": true}), ""),
            (
                json!({"networkBlockAll": true, "networkAllowList": "10.0.0.0/8"}),
                "",
            ),
            (
                json!({"networkAllowList": "10.1.2.3/8, 192.0.2.0/24"}),
                "10.0.0.0/8 192.0.2.0/24",
            ),
            (
                json!({"networkAllowList": "192.0.2.2/32,169.254.169.254/32,127.0.0.1/32,8.8.8.8/32"}),
                "8.8.8.8/32",
            ),
        ] {
            let routes = policy(body.clone()).expect("valid").routes(&host);
            let found: Vec<String> = routes.open.iter().map(Ipv4Net::to_string).collect();
            assert_eq!(found.join(" "), open, "{body}");
            assert!(routes.prohibited.is_superset(&host), "{body}");
        }
    }
}
