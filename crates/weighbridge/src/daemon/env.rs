//! The engine's view of the box: interfaces as PF would see them.

use std::net::IpAddr;

use datapath::netlink::Route;
use links::{WantedAddress, WantedInterface, WantedLinks};
use pf_engine::addr::Prefix;
use pf_engine::env::{
    Env, IfIndex, Interface, InterfaceAddress, RouteLookup, SocketOwner, SocketQuery,
};

use super::owner::Owners;
use crate::random::Random;

/// Numbers of interfaces that are not there yet: larger than those of any that are.
const FIRST_TO_BE_MADE: u32 = 1 << 31;

/// The live box.
#[derive(Debug)]
pub(super) struct LiveEnv {
    interfaces: Vec<Interface>,
    /// Longest destination first.
    routes: Vec<Route>,
    owners: Owners,
    random: Random,
}

impl LiveEnv {
    /// `interfaces` are ordered by number.
    pub(super) fn new(interfaces: Vec<Interface>, routes: Vec<Route>, random: Random) -> Self {
        Self {
            interfaces,
            routes,
            owners: Owners::new(),
            random,
        }
    }

    /// Replaces the routes; true if that makes a difference.
    pub(super) fn refresh_routes(&mut self, routes: Vec<Route>) -> bool {
        let changed = self.routes != routes;
        self.routes = routes;
        changed
    }

    /// The route that leads to `destination`.
    fn leading_to(&self, destination: IpAddr) -> Option<&Route> {
        let leads_there = |route: &&Route| route.destination.contains(destination);
        self.routes.iter().find(leads_there)
    }

    /// The interface whose attached network holds `neighbor`.
    fn attached_to(&self, neighbor: IpAddr) -> Option<IfIndex> {
        let holds = |address: &InterfaceAddress| {
            Prefix::new(address.address, address.prefix_len).is_some_and(|p| p.contains(neighbor))
        };
        let found = self
            .interfaces
            .iter()
            .find(|i| i.addresses.iter().any(holds));
        found.map(|interface| interface.index)
    }

    /// Whether packets to `address` are for this box.
    fn is_own(&self, address: IpAddr) -> bool {
        let addresses = self.interfaces.iter().flat_map(|i| &i.addresses);
        address.is_loopback() || addresses.into_iter().any(|own| own.address == address)
    }

    /// Replaces the snapshot; true if that makes a difference.
    pub(super) fn refresh(&mut self, interfaces: Vec<Interface>) -> bool {
        let changed = self.interfaces != interfaces;
        self.interfaces = interfaces;
        changed
    }
}

impl Env for LiveEnv {
    fn random(&mut self) -> u32 {
        self.random.next()
    }

    fn interface(&self, index: IfIndex) -> Option<&Interface> {
        let at = self.interfaces.binary_search_by_key(&index, |i| i.index);
        self.interfaces.get(at.ok()?)
    }

    fn interface_named(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|i| i.name == name)
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// By the main table, as [`Env::route`].
    fn next_hop(&self, destination: IpAddr) -> Option<(IfIndex, IpAddr)> {
        let route = self.leading_to(destination)?;
        let neighbor = route.gateway.unwrap_or(destination);
        Some((
            self.attached_to(neighbor).unwrap_or(route.interface),
            neighbor,
        ))
    }

    /// By the main table. A route out of a bridge is one out of the port that has the address,
    /// as on BSD.
    fn route(&self, destination: IpAddr) -> RouteLookup {
        self.next_hop(destination)
            .map_or(RouteLookup::Unreachable, |(interface, _)| {
                RouteLookup::Via(interface)
            })
    }

    /// A socket that listens on all addresses has nothing to do with packets for other hosts.
    fn socket_owner(&self, query: &SocketQuery) -> Option<SocketOwner> {
        if !self.is_own(query.local.address) {
            return None;
        }
        self.owners.owner(query)
    }
}

/// `present` with addresses where the start-up files put them.
///
/// OpenBSD gives a bridge member its own address; Linux wants it on the bridge. Rules are written
/// for the former, so `(fxp0)` means what `hostname.fxp0` says, and the bridge does not have it a
/// second time. Addresses that are wanted but not there yet are counted in.
pub(crate) fn as_configured(mut present: Vec<Interface>, wanted: &WantedLinks) -> Vec<Interface> {
    for bridge in &wanted.bridges {
        let members: Vec<_> = wanted
            .interfaces
            .iter()
            .filter(|interface| bridge.members.contains(&interface.name))
            .collect();
        if let Some(device) = find(&mut present, &bridge.name) {
            device.addresses.retain(|has| {
                let of_member = |member: &&WantedInterface| gives(member, has);
                !members.iter().any(of_member)
            });
        }
    }
    for interface in &wanted.interfaces {
        if let Some(device) = find(&mut present, &interface.name) {
            let others = std::mem::take(&mut device.addresses);
            device.addresses = interface.addresses.iter().map(configured).collect();
            let own = others.into_iter().filter(|has| !gives(interface, has));
            device.addresses.extend(own);
        }
    }
    present
}

/// The same with the laggs and VLANs that are still to be made.
pub(crate) fn with_devices(mut present: Vec<Interface>, wanted: &WantedLinks) -> Vec<Interface> {
    for (name, number) in wanted.devices().zip(FIRST_TO_BE_MADE..) {
        if find(&mut present, name).is_none() {
            present.push(Interface::new(IfIndex(number), name));
        }
    }
    present
}

fn find<'a>(present: &'a mut [Interface], name: &str) -> Option<&'a mut Interface> {
    present.iter_mut().find(|interface| interface.name == name)
}

fn gives(interface: &WantedInterface, address: &InterfaceAddress) -> bool {
    let mut wanted = interface.addresses.iter();
    wanted.any(|wanted| wanted.address == address.address)
}

fn configured(wanted: &WantedAddress) -> InterfaceAddress {
    InterfaceAddress {
        address: wanted.address,
        prefix_len: wanted.prefix_len,
        broadcast: wanted.broadcast.map(Into::into),
        peer: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
        let address = |text: &&str| InterfaceAddress::new(text.parse().expect("address"), 22);
        Interface {
            addresses: addresses.iter().map(address).collect(),
            ..Interface::new(IfIndex(index), name)
        }
    }

    fn article() -> WantedLinks {
        let wanted =
            |name: &str, text: &str| links::hostname_if::parse(name, text).expect("start-up file");
        WantedLinks {
            interfaces: vec![
                wanted("em0", "inet 192.168.1.64 255.255.0.0 NONE\n"),
                wanted("fxp0", "inet 216.123.123.123 255.255.252.0 NONE\n"),
            ],
            bridges: vec![
                links::bridgename::parse("bridge0", "add em1\nadd fxp0\nup\n").expect("bridge"),
            ],
            ..WantedLinks::default()
        }
    }

    fn addresses(interfaces: &[Interface], name: &str) -> Vec<IpAddr> {
        let interface = interfaces.iter().find(|i| i.name == name).expect("there");
        interface.addresses.iter().map(|a| a.address).collect()
    }

    #[test]
    fn a_members_address_is_the_members_although_linux_keeps_it_on_the_bridge() {
        let present = vec![
            interface(2, "fxp0", &[]),
            interface(3, "em0", &["192.168.1.64", "198.51.100.9"]),
            interface(9, "bridge0", &["216.123.123.123", "203.0.113.1"]),
        ];
        let seen = as_configured(present, &article());
        let parse = |text: &str| text.parse::<IpAddr>().expect("address");
        assert_eq!(addresses(&seen, "fxp0"), [parse("216.123.123.123")]);
        assert_eq!(addresses(&seen, "bridge0"), [parse("203.0.113.1")]);
        assert_eq!(
            addresses(&seen, "em0"),
            [parse("192.168.1.64"), parse("198.51.100.9")]
        );
    }

    #[test]
    fn wanted_addresses_count_before_they_are_there() {
        let present = vec![interface(2, "fxp0", &[]), interface(3, "em0", &[])];
        let seen = as_configured(present, &article());
        assert_eq!(addresses(&seen, "fxp0").len(), 1);
        assert_eq!(seen[1].addresses[0].prefix_len, 16);
    }

    #[test]
    fn a_snapshot_tells_whether_it_differs() {
        let all = vec![interface(2, "fxp0", &[]), interface(3, "em0", &[])];
        let mut env = LiveEnv::new(all.clone(), Vec::new(), Random::new().expect("random"));
        assert!(!env.refresh(all.clone()));
        assert!(env.refresh(all[..1].to_vec()));
        assert_eq!(
            env.interface(IfIndex(2)).map(|i| i.name.as_str()),
            Some("fxp0")
        );
        assert!(env.interface_named("em0").is_none());
    }

    #[test]
    fn a_route_leads_out_of_the_port_that_has_the_address() {
        let parse = |text: &str| text.parse::<IpAddr>().expect("address");
        let route = |destination, len, gateway: Option<&str>, interface| Route {
            destination: Prefix::new(parse(destination), len).expect("prefix"),
            gateway: gateway.map(parse),
            interface: IfIndex(interface),
        };
        let interfaces = vec![
            interface(2, "fxp0", &["216.123.123.123"]),
            interface(3, "em0", &[]),
            interface(9, "bridge0", &[]),
        ];
        let routes = vec![
            route("216.123.120.0", 22, None, 9),
            route("10.0.0.0", 8, Some("198.51.100.1"), 3),
            route("0.0.0.0", 0, Some("216.123.120.1"), 9),
        ];
        let mut env = LiveEnv::new(interfaces, routes, Random::new().expect("random"));
        let via = |index| RouteLookup::Via(IfIndex(index));
        assert_eq!(env.route(parse("216.123.121.7")), via(2));
        assert_eq!(env.route(parse("203.0.113.7")), via(2));
        assert_eq!(env.route(parse("10.1.1.1")), via(3));
        assert_eq!(
            env.next_hop(parse("10.1.1.1")),
            Some((IfIndex(3), parse("198.51.100.1")))
        );
        assert_eq!(
            env.next_hop(parse("216.123.121.7")),
            Some((IfIndex(2), parse("216.123.121.7")))
        );
        assert_eq!(env.route(parse("2001:db8::1")), RouteLookup::Unreachable);
        assert!(env.refresh_routes(Vec::new()));
        assert_eq!(env.route(parse("10.1.1.1")), RouteLookup::Unreachable);
    }
}
