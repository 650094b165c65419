//! Links: what start-up files ask for, what has to be done for it, and the protocols of
//! aggregated links. Pure: no I/O, no clock.
//!
//! The files (`rc.conf`, `hostname.if`, `bridgename.if`, `mygate`, `sysctl.conf`) are read as they
//! stand on a BSD box. What a line asks for and this program cannot do is an error with its place, never ignored.

#![forbid(unsafe_code)]

pub mod bridgename;
pub mod convert;
mod device;
pub mod hostname_if;
mod ifconfig;
pub mod lacp;
pub mod lagg;
mod line;
pub mod monitor;
pub mod mygate;
pub mod offload;
pub mod plan;
pub mod rcconf;
pub mod show;
pub mod status;
pub mod sysctl;
#[cfg(test)]
mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use offload::Offload;

pub use device::{Device, HashLayers, Protocol, WantedLagg, WantedVlan};

/// Longest interface name that Linux takes, in bytes (`IFNAMSIZ` less the terminating NUL).
pub const MAX_NAME_LEN: usize = 15;

/// An error in a start-up file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}{}", hint.as_ref().map(|h| format!("\n  hint: {h}")).unwrap_or_default())]
pub struct ParseError {
    /// Line.
    pub line: u32,
    /// Column of the offending word.
    pub column: u32,
    /// What is wrong, with the offending text.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// All links that the start-up files ask for, in the order in which they are brought up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedLinks {
    /// Interfaces, from `hostname.*`, ordered by name.
    pub interfaces: Vec<WantedInterface>,
    /// Bridges, from `bridgename.*`, ordered by name; they come up last.
    pub bridges: Vec<WantedBridge>,
    /// Routes, the default ones among them, in the order of the files.
    pub routes: Vec<WantedRoute>,
    /// Whether packets of IPv4 are forwarded (`gateway_enable`, `net.inet.ip.forwarding`), where a
    /// file says so.
    pub forward_v4: Option<bool>,
    /// The same for IPv6 (`ipv6_gateway_enable`, `net.inet6.ip6.forwarding`).
    pub forward_v6: Option<bool>,
}

/// A route that the files ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRoute {
    /// Network that it leads to; all zeros for the default route.
    pub destination: IpAddr,
    /// Length of the network's prefix; 0 for the default route.
    pub prefix_len: u8,
    /// Next hop.
    pub gateway: IpAddr,
    /// The interface that a link-local next hop is at (RFC 4007: its address alone does not tell); none for
    /// all others.
    pub interface: Option<String>,
}

impl WantedRoute {
    /// The next hop as a BSD writes it: `fe80::1%em0`.
    #[must_use]
    pub fn next_hop(&self) -> String {
        match &self.interface {
            Some(interface) => format!("{}%{interface}", self.gateway),
            None => self.gateway.to_string(),
        }
    }
}

/// Whether an address means something only with its interface (`fe80::/10`, RFC 4291).
#[must_use]
pub const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

impl WantedLinks {
    /// Who has the addresses of an interface, and its routes: its bridge, if it is in one.
    #[must_use]
    pub fn holder<'w>(&'w self, name: &'w str) -> &'w str {
        let has = |bridge: &&WantedBridge| bridge.members.iter().any(|member| member == name);
        let bridge = self.bridges.iter().find(has);
        bridge.map_or(name, |bridge| &bridge.name)
    }

    /// The laggs and VLANs.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        let made = self
            .interfaces
            .iter()
            .filter(|i| matches!(i.device, Device::Lagg(_) | Device::Vlan(_)));
        made.map(|interface| interface.name.as_str())
    }

    /// What is made where it is not there: bridges, laggs and VLANs.
    #[must_use]
    pub fn made(&self) -> BTreeSet<&str> {
        let bridges = self.bridges.iter().map(|bridge| bridge.name.as_str());
        bridges.chain(self.devices()).collect()
    }
}

/// One `hostname.if`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedInterface {
    /// Interface name.
    pub name: String,
    /// Whether it is brought up (an address implies it).
    pub up: bool,
    /// Addresses in order; the first of a family is the primary one.
    pub addresses: Vec<WantedAddress>,
    /// `mtu N`, in bytes.
    pub mtu: Option<u32>,
    /// `lladdr`.
    pub mac: Option<[u8; 6]>,
    /// `media …`, with what `mediaopt …` adds.
    pub media: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// What its hardware is to do (`txcsum`), and is not to (`-tso`).
    pub offloads: BTreeMap<Offload, bool>,
    /// What kind of interface it is.
    pub device: Device,
}

impl WantedInterface {
    /// What is told of a medium that is not negotiated: it is not set.
    #[must_use]
    pub fn unset_medium(&self) -> Option<String> {
        let media = self.media.as_ref()?;
        let is_set = !matches!(media.as_str(), "auto" | "autoselect");
        is_set.then(|| {
            format!(
                "{}: warning: media {media:?} is left to `ethtool -s`; Linux negotiates by itself",
                self.name
            )
        })
    }
}

/// An address of a [`WantedInterface`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the attached network's prefix.
    pub prefix_len: u8,
    /// Broadcast address, where the file names one.
    pub broadcast: Option<Ipv4Addr>,
    /// `alias`.
    pub alias: bool,
}

/// One `bridgename.if`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedBridge {
    /// Bridge name.
    pub name: String,
    /// Members in the order of their `add`.
    pub members: Vec<String>,
    /// Whether it is brought up.
    pub up: bool,
    /// `timeout N`: age of a learned address, in seconds; 0: entries never expire.
    pub timeout_secs: Option<u32>,
}

/// What is wrong across the files: names used twice, members of two bridges, an address on two
/// interfaces. One sentence each; empty when there is nothing.
#[must_use]
pub fn check(wanted: &WantedLinks) -> Vec<String> {
    let mut problems = Vec::new();
    duplicate_names(wanted, &mut problems);
    shared_members(wanted, &mut problems);
    shared_addresses(wanted, &mut problems);
    device::check(wanted, &mut problems);
    problems
}

fn duplicate_names(wanted: &WantedLinks, problems: &mut Vec<String>) {
    let mut seen = BTreeMap::<&str, &str>::new();
    let interfaces = wanted
        .interfaces
        .iter()
        .filter(|i| i.device != Device::Bridge)
        .map(|i| (i.name.as_str(), "hostname"));
    let bridges = wanted
        .bridges
        .iter()
        .map(|b| (b.name.as_str(), "bridgename"));
    for (name, kind) in interfaces.chain(bridges) {
        match seen.insert(name, kind) {
            Some(before) if before == kind => {
                problems.push(format!("{name} is configured by two {kind}.{name} files"));
            }
            Some(_) => {
                problems.push(format!(
                    "{name} has both a hostname.{name} and a bridgename.{name}"
                ));
            }
            None => {}
        }
    }
}

fn shared_members(wanted: &WantedLinks, problems: &mut Vec<String>) {
    let mut bridge_of = BTreeMap::<&str, &str>::new();
    for bridge in &wanted.bridges {
        for member in &bridge.members {
            if let Some(other) = bridge_of.insert(member, &bridge.name) {
                problems.push(format!(
                    "{member} is a member of {other} and of {}: an interface has one bridge",
                    bridge.name
                ));
            }
            if *member == bridge.name {
                problems.push(format!("{member} cannot be a member of itself"));
            }
        }
    }
}

fn shared_addresses(wanted: &WantedLinks, problems: &mut Vec<String>) {
    let mut owner = BTreeMap::<IpAddr, &str>::new();
    for interface in &wanted.interfaces {
        for wanted in &interface.addresses {
            if let Some(other) = owner.insert(wanted.address, &interface.name) {
                problems.push(format!(
                    "{} is configured on {other} and on {}",
                    wanted.address, interface.name
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(name: &str, members: &[&str]) -> WantedBridge {
        WantedBridge {
            name: name.into(),
            members: members.iter().map(ToString::to_string).collect(),
            ..WantedBridge::default()
        }
    }

    #[test]
    fn a_member_of_two_bridges_is_reported() {
        let wanted = WantedLinks {
            interfaces: Vec::new(),
            bridges: vec![
                bridge("bridge0", &["em0", "em1"]),
                bridge("bridge1", &["em1"]),
            ],
            ..WantedLinks::default()
        };
        assert_eq!(
            check(&wanted),
            ["em1 is a member of bridge0 and of bridge1: an interface has one bridge"]
        );
    }

    #[test]
    fn an_address_on_two_interfaces_and_a_name_of_two_kinds_are_reported() {
        let address = WantedAddress {
            address: "192.0.2.1".parse().unwrap(),
            prefix_len: 24,
            broadcast: None,
            alias: false,
        };
        let interface = |name: &str| WantedInterface {
            name: name.into(),
            addresses: vec![address],
            ..WantedInterface::default()
        };
        let wanted = WantedLinks {
            interfaces: vec![interface("bridge0"), interface("em0")],
            bridges: vec![bridge("bridge0", &["bridge0"])],
            ..WantedLinks::default()
        };
        assert_eq!(
            check(&wanted),
            [
                "bridge0 has both a hostname.bridge0 and a bridgename.bridge0",
                "bridge0 cannot be a member of itself",
                "192.0.2.1 is configured on bridge0 and on em0",
            ]
        );
    }
}
