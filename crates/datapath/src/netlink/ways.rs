//! Notices of what decides the ways of packets beside links, addresses and routes: neighbours,
//! forwarding tables of bridges, rules of routing, whether the kernel routes at all, and what it may do
//! with packets between: nftables, IPsec, filters of traffic control.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_XFRM};

use super::monitor;
use crate::Error;

// linux/rtnetlink.h
const RTNLGRP_NEIGH: u32 = 3;
const RTNLGRP_TC: u32 = 4;
const RTNLGRP_IPV4_RULE: u32 = 8;
const RTNLGRP_IPV6_RULE: u32 = 19;
const RTNLGRP_IPV4_NETCONF: u32 = 24;
const RTNLGRP_IPV6_NETCONF: u32 = 25;
const RTNLGRP_NEXTHOP: u32 = 32;
const RTNLGRP_BRVLAN: u32 = 33;

const GROUPS: [u32; 8] = [
    RTNLGRP_NEIGH,
    RTNLGRP_TC,
    RTNLGRP_IPV4_RULE,
    RTNLGRP_IPV6_RULE,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV6_NETCONF,
    RTNLGRP_NEXTHOP,
    RTNLGRP_BRVLAN,
];

// linux/netfilter/nfnetlink.h and linux/xfrm.h
const NFNLGRP_NFTABLES: u32 = 7;
const XFRMNLGRP_POLICY: u32 = 4;

/// What else stands in the way of packets, where the kernel has it.
const BETWEEN: [(isize, u32); 2] = [
    (NETLINK_NETFILTER, NFNLGRP_NFTABLES),
    (NETLINK_XFRM, XFRMNLGRP_POLICY),
];

/// Notices that are read at a time: who floods a bridge with addresses must not stop the packets.
const NOTICES_MAX: usize = 256;
/// Neighbours and stations that are remembered, at most: of all together the kernel's default is
/// fewer (`gc_thresh3`, 1024 a family), of a bridge as many as there are. When there is no room all
/// are forgotten, and whatever is heard next is a change.
const KNOWN_MAX: usize = 16_384;

/// Tells when packets may go another way. The kernel tells of each neighbour again and again while
/// it lives: only what differs is told here.
#[derive(Debug)]
pub struct WayMonitor {
    routing: Socket,
    between: Vec<Socket>,
    known: Known,
}

/// What has been heard of neighbours: by what they are, how they are reached.
#[derive(Debug, Default)]
pub(super) struct Known(BTreeMap<Whose, How>);

/// An IP neighbour of an interface, or a station of a bridge and a VLAN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Whose {
    device: u32,
    vlan: u16,
    address: Vec<u8>,
}

/// The Ethernet address, and the interface.
#[derive(Clone, Debug, PartialEq, Eq)]
struct How {
    link_layer: Vec<u8>,
    interface: u32,
}

/// What came of reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Packets may go another way than before.
    pub changed: bool,
    /// There may be more to read.
    pub more: bool,
}

impl WayMonitor {
    /// Subscribes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, Error> {
        let routing = monitor::subscribe(&GROUPS);
        let routing = routing.map_err(|error| broken("cannot watch the neighbours", error))?;
        // A kernel without them has none that packets could meet.
        let between = BETWEEN.iter();
        let between = between
            .filter_map(|(protocol, group)| monitor::subscribe_to(*protocol, &[*group]).ok());
        Ok(Self {
            routing,
            between: between.collect(),
            known: Known::default(),
        })
    }

    /// Readable when there are notices, one of them.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(&self.routing)
            .chain(&self.between)
            .map(AsFd::as_fd)
    }

    /// Reads what is there, up to a limit.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn drain(&mut self) -> Result<Heard, Error> {
        let mut changed = false;
        let known = &mut self.known;
        let more = monitor::drain(&self.routing, NOTICES_MAX, |notice| {
            if let Some(notice) = notice {
                changed |= known.hear(notice);
            } else {
                *known = Known::default();
                changed = true;
            }
        });
        let mut more =
            more.map_err(|error| broken("cannot watch the neighbours any more", error))?;
        for socket in &self.between {
            let left = monitor::drain(socket, NOTICES_MAX, |_| changed = true);
            more |= left.map_err(|error| broken("cannot watch nftables and IPsec", error))?;
        }
        Ok(Heard { changed, more })
    }
}

impl Known {
    /// Whether the messages of a notice tell something new.
    pub(super) fn hear(&mut self, mut notice: &[u8]) -> bool {
        let mut changed = false;
        while !notice.is_empty() {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(notice) else {
                return true;
            };
            let len = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            // Messages begin at multiples of four bytes (NLMSG_ALIGNTO).
            notice = notice
                .get(len.max(1).next_multiple_of(4)..)
                .unwrap_or_default();
            changed |= match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(neighbour)) => {
                    self.learn(&neighbour)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(neighbour)) => {
                    self.0.remove(&whose(&neighbour)).is_some()
                }
                NetlinkPayload::Done(_)
                | NetlinkPayload::Error(_)
                | NetlinkPayload::Noop
                | NetlinkPayload::Overrun(_)
                | NetlinkPayload::InnerMessage(_)
                | _ => true,
            };
        }
        changed
    }

    fn learn(&mut self, neighbour: &NeighbourMessage) -> bool {
        let whose = whose(neighbour);
        if !can_be_reached(neighbour) {
            return self.0.remove(&whose).is_some();
        }
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        let how = How {
            link_layer: link_layer(neighbour).to_vec(),
            interface: neighbour.header.ifindex,
        };
        self.0.get(&whose) != Some(&how) && {
            self.0.insert(whose, how);
            true
        }
    }
}

fn can_be_reached(neighbour: &NeighbourMessage) -> bool {
    let state = neighbour.header.state;
    neighbour.header.family == AddressFamily::Bridge
        || !matches!(
            state,
            NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
        )
}

/// A station is known by its Ethernet address on a bridge, a neighbour by its IP address.
fn whose(neighbour: &NeighbourMessage) -> Whose {
    let mut whose = Whose {
        device: neighbour.header.ifindex,
        vlan: 0,
        address: Vec::new(),
    };
    let is_station = neighbour.header.family == AddressFamily::Bridge;
    for attribute in &neighbour.attributes {
        if let NeighbourAttribute::Destination(address) = attribute {
            whose.address = octets(address);
        } else if let NeighbourAttribute::Vlan(vlan) = attribute {
            whose.vlan = *vlan;
        } else if let NeighbourAttribute::Controller(bridge) = attribute
            && is_station
        {
            whose.device = *bridge;
        }
    }
    if is_station {
        whose.address = link_layer(neighbour).to_vec();
    }
    whose
}

fn link_layer(neighbour: &NeighbourMessage) -> &[u8] {
    let address = neighbour.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::LinkLayerAddress(address) = attribute {
            return Some(address.as_slice());
        }
        None
    });
    address.unwrap_or_default()
}

fn octets(address: &NeighbourAddress) -> Vec<u8> {
    match address {
        NeighbourAddress::Inet(address) => address.octets().to_vec(),
        NeighbourAddress::Inet6(address) => address.octets().to_vec(),
        NeighbourAddress::Other(bytes) => bytes.clone(),
        _ => Vec::new(),
    }
}

fn broken(what: &str, source: io::Error) -> Error {
    Error::kernel(what, source, "netlink must be reachable (AF_NETLINK)")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    fn notice(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn neighbour(state: NeighbourState, mac: [u8; 6]) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = 3;
        message.header.state = state;
        let address = NeighbourAddress::Inet([192, 0, 2, 1].into());
        message.attributes = vec![
            NeighbourAttribute::Destination(address),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        message
    }

    fn station(port: u32) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = port;
        message.header.state = NeighbourState::Reachable;
        message.attributes = vec![
            NeighbourAttribute::LinkLayerAddress(MAC.to_vec()),
            NeighbourAttribute::Controller(10),
        ];
        message
    }

    fn new(message: &NeighbourMessage) -> Vec<u8> {
        notice(RouteNetlinkMessage::NewNeighbour(message.clone()))
    }

    #[test]
    fn a_neighbour_is_heard_of_once_until_it_moves_or_fails() {
        let mut known = Known::default();
        let reachable = new(&neighbour(NeighbourState::Reachable, MAC));
        let stale = new(&neighbour(NeighbourState::Stale, MAC));
        assert!(known.hear(&reachable));
        assert!(!known.hear(&stale), "it is where it was");
        assert!(!known.hear(&[&stale[..], &reachable[..]].concat()));
        let other = new(&neighbour(NeighbourState::Reachable, [2; 6]));
        assert!(known.hear(&other));
        assert!(
            known.hear(&[&other[..], &reachable[..]].concat()),
            "both are read"
        );
        let failed = new(&neighbour(NeighbourState::Failed, MAC));
        assert!(known.hear(&failed));
        assert!(!known.hear(&failed), "it was gone already");
        assert!(known.hear(&reachable));
    }

    #[test]
    fn a_station_is_heard_of_when_it_has_another_port_and_when_it_is_gone() {
        let mut known = Known::default();
        assert!(known.hear(&new(&station(3))));
        assert!(!known.hear(&new(&station(3))));
        assert!(known.hear(&new(&station(4))));
        let gone = notice(RouteNetlinkMessage::DelNeighbour(station(4)));
        assert!(known.hear(&gone));
        assert!(!known.hear(&gone));
    }

    #[test]
    fn what_is_not_understood_is_a_change() {
        assert!(Known::default().hear(&[1, 2, 3]));
    }
}
