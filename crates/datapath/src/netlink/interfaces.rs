//! The interfaces of the machine as PF sees them.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use links::{WantedAddress, WantedLinks};
use pf_engine::env::{IfIndex, Interface, InterfaceAddress};

use super::address::{self, Assigned};
use super::connection::Connection;
use super::link::{self, Link};
use super::route::{self, DefaultRoute};

/// Group of the interfaces with a default route, ifconfig(8).
const EGRESS: &str = "egress";

/// Which addresses the start-up files gave to which interface.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given(BTreeMap<String, Vec<WantedAddress>>);

impl Given {
    /// Remembers what the files say, in addition to what is known.
    pub(crate) fn learn(&mut self, wanted: &WantedLinks) {
        for interface in &wanted.interfaces {
            let addresses = interface.addresses.clone();
            self.0.insert(interface.name.clone(), addresses);
        }
    }

    fn to(&self, interface: &str) -> &[WantedAddress] {
        self.0.get(interface).map_or(&[], Vec::as_slice)
    }
}

/// All interfaces, ordered by number.
pub(crate) fn list(connection: &Connection, given: &Given) -> io::Result<Vec<Interface>> {
    let view = View {
        links: link::list(connection)?,
        addresses: address::list(connection)?,
        defaults: route::defaults(&route::list(connection)?),
        given,
    };
    Ok(view.links.iter().map(|link| view.interface(link)).collect())
}

struct View<'a> {
    links: Vec<Link>,
    addresses: Vec<Assigned>,
    defaults: Vec<DefaultRoute>,
    given: &'a Given,
}

impl View<'_> {
    fn interface(&self, link: &Link) -> Interface {
        let addresses = self.addresses(link);
        let mut interface = Interface::new(IfIndex(link.index), &link.name);
        if self.leads_out(link, &addresses) {
            interface.groups.push(EGRESS.to_owned());
        }
        Interface {
            mtu: link.mtu,
            addresses,
            loopback: link.loopback,
            mac: link.mac.as_slice().try_into().ok(),
            ..interface
        }
    }

    /// Its own addresses, and those that its bridge has for it; the files' order comes first.
    fn addresses(&self, link: &Link) -> Vec<InterfaceAddress> {
        let bridge = bridge_of(link);
        let given = self.given.to(&link.name);
        let mut addresses: Vec<InterfaceAddress> = Vec::new();
        for wanted in given {
            let holds = |holder| self.assigned(holder, wanted);
            addresses.extend(holds(link.index).or_else(|| holds(bridge?)));
        }
        for assigned in self.addresses.iter().filter(|a| a.interface == link.index) {
            if !addresses.contains(&assigned.address) {
                addresses.push(assigned.address);
            }
        }
        if link.loopback {
            addresses.sort_by_key(|address| loopback_rank(address.address));
        }
        addresses
    }

    fn assigned(&self, holder: u32, wanted: &WantedAddress) -> Option<InterfaceAddress> {
        let found = self.addresses.iter().find(|a| a.is(holder, wanted))?;
        Some(found.address)
    }

    /// A bridge port leads out if the gateway is in a network of its own addresses.
    fn leads_out(&self, link: &Link, addresses: &[InterfaceAddress]) -> bool {
        let bridge = bridge_of(link);
        self.defaults.iter().any(|default| {
            let near = |gateway| addresses.iter().any(|address| contains(address, gateway));
            default.interface == link.index
                || (Some(default.interface) == bridge && default.gateway.is_some_and(near))
        })
    }
}

fn bridge_of(link: &Link) -> Option<u32> {
    link.port.and(link.controller)
}

/// A BSD gives its loopback interface `::1` and `fe80::1` before its start-up files add `127.0.0.1`; Linux tells
/// IPv4 first. Rules that name the interface stand in this order.
fn loopback_rank(address: IpAddr) -> u8 {
    match address {
        IpAddr::V6(address) if !address.is_unicast_link_local() => 0,
        IpAddr::V6(_) => 1,
        IpAddr::V4(_) => 2,
    }
}

fn contains(network: &InterfaceAddress, address: IpAddr) -> bool {
    let differing = match (network.address, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (u128::from(a) ^ u128::from(b)).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differing >= u32::from(network.prefix_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_has_its_addresses_in_the_order_of_a_bsd() {
        let told = ["127.0.0.1", "127.0.0.2", "fe80::1", "::1"];
        let mut addresses = told.map(|text| text.parse::<IpAddr>().expect("an address"));
        addresses.sort_by_key(|address| loopback_rank(*address));
        let sorted = addresses.map(|address| address.to_string());
        assert_eq!(sorted, ["::1", "fe80::1", "127.0.0.1", "127.0.0.2"]);
    }

    #[test]
    fn a_network_contains_the_addresses_with_its_prefix() {
        let network = InterfaceAddress::new(IpAddr::from([192, 168, 1, 64]), 16);
        assert!(contains(&network, IpAddr::from([192, 168, 0, 1])));
        assert!(!contains(&network, IpAddr::from([192, 169, 0, 1])));
        assert!(!contains(&network, IpAddr::from([0_u16; 8])));
    }
}
