//! What the engine needs from outside, through one narrow trait.

use std::net::IpAddr;

use crate::addr::{Family, Prefix, Protocol};
use crate::view::HostPort;

/// The largest IP packet in an Ethernet frame (RFC 894), in bytes.
pub const ETHERNET_MTU: u32 = 1500;

/// The kernel's interface number. Never reused while the engine knows the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfIndex(pub u32);

/// An interface as PF sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The kernel's number.
    pub index: IfIndex,
    /// Its name, as in rules.
    pub name: String,
    /// Groups it belongs to; its name without the number is always one (`em` of `em0`).
    pub groups: Vec<String>,
    /// Largest IP packet that leaves by it, in bytes.
    pub mtu: u32,
    /// Addresses in the order they were configured. A bridge port has those that its
    /// start-up file gave it, although Linux keeps them on the bridge.
    pub addresses: Vec<InterfaceAddress>,
    /// Whether it loops back (`lo`).
    pub loopback: bool,
    /// Its Ethernet address, if it has one: tells frames for the box from those it bridges.
    pub mac: Option<[u8; 6]>,
}

impl Interface {
    /// What an Ethernet interface has by itself: no address, an MTU of 1500 and the group of its
    /// name. The rest is by struct update.
    #[must_use]
    pub fn new(index: IfIndex, name: impl Into<String>) -> Self {
        let name = name.into();
        let family = Self::family_of(&name).to_owned();
        Self {
            index,
            loopback: family == "lo",
            groups: vec![family],
            name,
            mtu: ETHERNET_MTU,
            addresses: Vec::new(),
            mac: None,
        }
    }

    /// A name without its number: the group that each interface of a driver is in. A name of
    /// digits alone stays whole.
    #[must_use]
    pub fn family_of(name: &str) -> &str {
        match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "" => name,
            family => family,
        }
    }
}

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of the attached network's prefix.
    pub prefix_len: u8,
    /// Broadcast address of the attached network.
    pub broadcast: Option<IpAddr>,
    /// Far end of a point-to-point link.
    pub peer: Option<IpAddr>,
}

impl InterfaceAddress {
    /// An address without broadcast address and peer.
    #[must_use]
    pub const fn new(address: IpAddr, prefix_len: u8) -> Self {
        Self {
            address,
            prefix_len,
            broadcast: None,
            peer: None,
        }
    }

    /// The family of the address.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }
}

/// Answer to a route look-up (`no-route`, `urpf-failed`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteLookup {
    /// Nobody can tell: rules that ask do not match.
    Unknown,
    /// There is no route.
    Unreachable,
    /// By this interface.
    Via(IfIndex),
}

/// A TCP or UDP packet, as seen by the socket that sends or receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketQuery {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// This box's end.
    pub local: HostPort,
    /// The other end.
    pub remote: HostPort,
}

/// Whose a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// Effective user, by the system's number.
    pub user: u32,
    /// Group, if the system can tell.
    pub group: Option<u32>,
}

/// The outside world, as far as a decision may depend on it.
pub trait Env {
    /// A random number that an attacker cannot predict.
    fn random(&mut self) -> u32;

    /// The interface with this number.
    fn interface(&self, index: IfIndex) -> Option<&Interface>;

    /// The interface with this name.
    fn interface_named(&self, name: &str) -> Option<&Interface>;

    /// All interfaces, ordered by number.
    fn interfaces(&self) -> &[Interface];

    /// The interface and the neighbour by which the kernel would send a packet to `destination`.
    /// The neighbour may be of the other family (RFC 8950).
    fn next_hop(&self, destination: IpAddr) -> Option<(IfIndex, IpAddr)> {
        let _ = destination;
        None
    }

    /// The kernel's route to `destination`.
    fn route(&self, destination: IpAddr) -> RouteLookup {
        let _ = destination;
        RouteLookup::Unknown
    }

    /// Whose socket sends or receives this packet: a connected one, else one that listens.
    /// Nothing for packets of other hosts.
    fn socket_owner(&self, query: &SocketQuery) -> Option<SocketOwner> {
        let _ = query;
        None
    }
}

/// A fixed set of interfaces and a seeded generator: for tests, replay and the fuzzer.
#[derive(Clone, Debug)]
pub struct FixedEnv {
    interfaces: Vec<Interface>,
    /// Destination, interface, neighbour; longest destination first.
    routes: Vec<(Prefix, IfIndex, IpAddr)>,
    sockets: Vec<(Protocol, HostPort, SocketOwner)>,
    seed: u64,
}

impl FixedEnv {
    /// `interfaces` in any order; the numbers drawn depend only on `seed`.
    #[must_use]
    pub fn new(mut interfaces: Vec<Interface>, seed: u64) -> Self {
        interfaces.sort_by_key(|interface| interface.index);
        Self {
            interfaces,
            routes: Vec::new(),
            sockets: Vec::new(),
            seed,
        }
    }

    /// The same, with a route to `destination` by a neighbour.
    #[must_use]
    pub fn with_route(mut self, destination: Prefix, interface: IfIndex, hop: IpAddr) -> Self {
        self.routes.push((destination, interface, hop));
        self.routes
            .sort_by_key(|(destination, ..)| std::cmp::Reverse(destination.prefix_len()));
        self
    }

    /// The interface whose attached network holds `address`.
    fn attached_to(&self, address: IpAddr) -> Option<IfIndex> {
        let holds = |own: &InterfaceAddress| {
            Prefix::new(own.address, own.prefix_len).is_some_and(|net| net.contains(address))
        };
        let mut interfaces = self.interfaces.iter();
        let found = interfaces.find(|interface| interface.addresses.iter().any(holds));
        found.map(|interface| interface.index)
    }

    /// A socket that is bound to `local`, whoever it talks to.
    pub fn add_socket(&mut self, protocol: Protocol, local: HostPort, owner: SocketOwner) {
        self.sockets.push((protocol, local, owner));
    }
}

impl Env for FixedEnv {
    /// `SplitMix64`, upper half: good enough for tests, not for a live box.
    fn random(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default()
    }

    fn next_hop(&self, destination: IpAddr) -> Option<(IfIndex, IpAddr)> {
        let leads_there = |(prefix, ..): &&(Prefix, IfIndex, IpAddr)| prefix.contains(destination);
        let (_, interface, hop) = self.routes.iter().find(leads_there)?;
        Some((*interface, *hop))
    }

    /// Unknown unless there are routes. Attached networks are reached without one.
    fn route(&self, destination: IpAddr) -> RouteLookup {
        if self.routes.is_empty() {
            return RouteLookup::Unknown;
        }
        let by_route = || self.next_hop(destination).map(|(interface, _)| interface);
        let interface = self.attached_to(destination).or_else(by_route);
        interface.map_or(RouteLookup::Unreachable, RouteLookup::Via)
    }

    fn interface(&self, index: IfIndex) -> Option<&Interface> {
        let at = self
            .interfaces
            .binary_search_by_key(&index, |i| i.index)
            .ok()?;
        self.interfaces.get(at)
    }

    fn interface_named(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    fn socket_owner(&self, query: &SocketQuery) -> Option<SocketOwner> {
        let wanted = |(protocol, local, _): &&(Protocol, HostPort, SocketOwner)| {
            *protocol == query.protocol && *local == query.local
        };
        self.sockets.iter().find(wanted).map(|(_, _, owner)| *owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_an_interface_is_its_name_without_the_number() {
        assert_eq!(Interface::family_of("em0"), "em");
        assert_eq!(Interface::family_of("bridge12"), "bridge");
        assert_eq!(Interface::family_of("wlan"), "wlan");
        assert_eq!(Interface::family_of("42"), "42");
    }

    #[test]
    fn with_routes_a_fixed_world_knows_what_cannot_be_reached() {
        let address = |text: &str| text.parse::<IpAddr>().expect("address");
        let em0 = Interface {
            addresses: vec![InterfaceAddress::new(address("192.0.2.1"), 24)],
            ..Interface::new(IfIndex(1), "em0")
        };
        let env = FixedEnv::new(vec![em0, Interface::new(IfIndex(2), "em1")], 1);
        assert_eq!(env.route(address("192.0.2.9")), RouteLookup::Unknown);
        let net = Prefix::new(address("10.0.0.0"), 8).expect("prefix");
        let env = env.with_route(net, IfIndex(2), address("10.0.0.254"));
        let via = |index| RouteLookup::Via(IfIndex(index));
        assert_eq!(env.route(address("192.0.2.9")), via(1));
        assert_eq!(env.route(address("10.9.9.9")), via(2));
        assert_eq!(env.route(address("203.0.113.1")), RouteLookup::Unreachable);
    }

    #[test]
    fn a_new_interface_is_in_the_group_of_its_name_and_lo_loops_back() {
        let em1 = Interface::new(IfIndex(2), "em1");
        assert_eq!(em1.groups, ["em"]);
        assert_eq!((em1.mtu, em1.loopback, em1.mac), (1500, false, None));
        assert!(Interface::new(IfIndex(1), "lo0").loopback);
    }
}
