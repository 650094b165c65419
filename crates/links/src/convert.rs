//! The same links in the words of Linux's own tools: netplan, systemd-networkd, ifupdown.

mod ifupdown;
mod netplan;
mod networkd;

use std::net::IpAddr;

use crate::offload::Offload;
use crate::plan::bonding_mode;
use crate::{
    Device, HashLayers, Protocol, WantedInterface, WantedLagg, WantedLinks, WantedRoute, check,
};

/// How often bonding looks whether a link is up, in milliseconds. Its own default is never.
const MONITOR_MILLIS: u32 = 100;

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// netplan(5).
    Netplan,
    /// systemd.network(5) and systemd.netdev(5).
    Networkd,
    /// interfaces(5), with ifenslave, vlan and bridge-utils.
    Ifupdown,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it belongs.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// The files that ask for the same links.
///
/// # Errors
/// What they have no words for, one sentence each.
pub fn convert(wanted: &WantedLinks, target: Target) -> Result<Vec<File>, Vec<String>> {
    let mut problems = check(wanted);
    for interface in &wanted.interfaces {
        if let Device::Lagg(lagg) = &interface.device
            && lagg.protocol == Protocol::None
        {
            problems.push(format!("{}: Linux has no protocol `none`", interface.name));
        }
    }
    for interface in &wanted.interfaces {
        let offloads = interface.offloads.iter();
        problems.extend(offloads.filter_map(|(offload, on)| {
            let hint = no_word_for(target, *offload)?;
            Some(format!(
                "{}: {}: {hint}",
                interface.name,
                offload.switched(*on)
            ))
        }));
    }
    for route in &wanted.routes {
        if way_to(wanted, route).is_none() {
            problems.push(format!(
                "{}: the next hop is in no network of these interfaces",
                route.next_hop()
            ));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(match target {
        Target::Netplan => netplan::write(wanted),
        Target::Networkd => networkd::write(wanted),
        Target::Ifupdown => ifupdown::write(wanted),
    })
}

/// Why a tool cannot switch this; nothing if it can.
fn no_word_for(target: Target, offload: Offload) -> Option<&'static str> {
    match (target, offload) {
        (Target::Networkd, _) => Some(
            "systemd.link(5) knows the card by its first name or its MAC address, which these files do not \
             tell: write a .link file",
        ),
        (Target::Netplan, Offload::Vlan) => Some("netplan has no word for it"),
        (Target::Netplan | Target::Ifupdown, _) => None,
    }
}

fn mode(lagg: &WantedLagg) -> &'static str {
    bonding_mode(lagg.protocol).unwrap_or_default()
}

/// `xmit_hash_policy`, the nearest that bonding has.
fn hash_policy(layers: HashLayers) -> &'static str {
    match (layers.l3, layers.l4) {
        (_, true) => "layer3+4",
        (true, false) => "layer2+3",
        (false, false) => "layer2",
    }
}

/// Whether the traffic is shared by flows.
fn hashes(lagg: &WantedLagg) -> bool {
    matches!(lagg.protocol, Protocol::Lacp | Protocol::LoadBalance)
}

/// The interface that the next hop is at: one that the file names, or in whose network it is.
fn way_to<'w>(wanted: &'w WantedLinks, route: &'w WantedRoute) -> Option<&'w str> {
    if let Some(interface) = &route.interface {
        let holder = wanted.holder(interface);
        let is_bridge = wanted.bridges.iter().any(|bridge| bridge.name == holder);
        return (is_bridge || names(wanted).contains(&holder)).then_some(holder);
    }
    let near = |interface: &&WantedInterface| {
        let mut addresses = interface.addresses.iter();
        addresses.any(|a| contains(a.address, a.prefix_len, route.gateway))
    };
    let interface = wanted.interfaces.iter().find(near)?;
    Some(wanted.holder(&interface.name))
}

/// The addresses that `name` has in the end, as `ADDRESS/LENGTH`.
fn addresses(wanted: &WantedLinks, name: &str) -> Vec<String> {
    let held = wanted
        .interfaces
        .iter()
        .filter(|i| wanted.holder(&i.name) == name);
    let addresses = held.flat_map(|i| &i.addresses);
    addresses
        .map(|a| format!("{}/{}", a.address, a.prefix_len))
        .collect()
}

/// The routes that leave by `name`.
fn routes<'w>(wanted: &'w WantedLinks, name: &str) -> Vec<&'w WantedRoute> {
    let mut found: Vec<_> = wanted.routes.iter().collect();
    found.retain(|route| way_to(wanted, route) == Some(name));
    found
}

fn destination(route: &WantedRoute) -> String {
    if route.prefix_len == 0 {
        return "default".to_owned();
    }
    format!("{}/{}", route.destination, route.prefix_len)
}

/// Whether `address` is in the network of `of`.
#[must_use]
pub fn contains(of: IpAddr, prefix_len: u8, address: IpAddr) -> bool {
    let differing = match (of, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differing >= u32::from(prefix_len)
}

/// All interfaces that a file has to speak of: those that are described, then ports and members
/// that are only named.
fn names(wanted: &WantedLinks) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let described = wanted.interfaces.iter().map(|i| i.name.as_str());
    let ports = wanted.interfaces.iter().flat_map(|i| match &i.device {
        Device::Lagg(lagg) => lagg.ports.iter().map(String::as_str).collect(),
        Device::Vlan(vlan) => vec![vlan.parent.as_str()],
        Device::Physical | Device::Bridge => Vec::new(),
    });
    let members = wanted
        .bridges
        .iter()
        .flat_map(|b| b.members.iter().map(String::as_str));
    for name in described.chain(ports).chain(members) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The lagg or bridge that `name` is a port of.
fn controller<'w>(wanted: &'w WantedLinks, name: &str) -> Option<(&'w str, bool)> {
    let is = |port: &String| port == name;
    let lagg = wanted.interfaces.iter().find(|i| match &i.device {
        Device::Lagg(lagg) => lagg.ports.iter().any(is),
        Device::Physical | Device::Bridge | Device::Vlan(_) => false,
    });
    let bridge = wanted.bridges.iter().find(|b| b.members.iter().any(is));
    lagg.map(|l| (l.name.as_str(), true))
        .or_else(|| bridge.map(|b| (b.name.as_str(), false)))
}

/// The description of `name`, if there is one.
fn described<'w>(wanted: &'w WantedLinks, name: &str) -> Option<&'w WantedInterface> {
    wanted.interfaces.iter().find(|i| i.name == name)
}

#[cfg(test)]
mod tests;
