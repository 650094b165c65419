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
    /// Notices were lost, and more may be until all are read.
    is_behind: bool,
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
    /// There are neighbours or stations that were not known, or are not any more: what was flooded may have
    /// another way, what was not has not.
    pub learnt: bool,
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
            is_behind: false,
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
        let mut told = News::Nothing;
        let (known, is_behind) = (&mut self.known, &mut self.is_behind);
        let more = monitor::drain(&self.routing, NOTICES_MAX, |notice| {
            if let Some(notice) = notice {
                told = told.max(known.hear(notice));
            } else {
                *known = Known::default();
                told = told.max(News::Learnt);
                *is_behind = true;
            }
        });
        let mut more =
            more.map_err(|error| broken("cannot watch the neighbours any more", error))?;
        // The kernel says once that it loses notices, until all are read.
        let mut changed = told == News::Moved || (self.is_behind && !more);
        self.is_behind &= more;
        for socket in &self.between {
            let left = monitor::drain(socket, NOTICES_MAX, |_| changed = true);
            more |= left.map_err(|error| broken("cannot watch nftables and IPsec", error))?;
        }
        Ok(Heard {
            changed,
            learnt: told >= News::Learnt,
            more,
        })
    }
}

/// What notices tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    Nothing,
    /// Of a neighbour or station that was not known, or is not any more.
    Learnt,
    /// Of one that is reached otherwise, or of anything else.
    Moved,
}

impl Known {
    /// What the messages of a notice tell.
    pub(super) fn hear(&mut self, mut notice: &[u8]) -> News {
        let mut told = News::Nothing;
        while !notice.is_empty() {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(notice) else {
                return News::Moved;
            };
            let len = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            // Messages begin at multiples of four bytes (NLMSG_ALIGNTO).
            notice = notice
                .get(len.max(1).next_multiple_of(4)..)
                .unwrap_or_default();
            told = told.max(match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(neighbour)) => {
                    self.learn(&neighbour)
                }
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelNeighbour(neighbour)) => {
                    self.forget(&neighbour)
                }
                NetlinkPayload::Done(_)
                | NetlinkPayload::Error(_)
                | NetlinkPayload::Noop
                | NetlinkPayload::Overrun(_)
                | NetlinkPayload::InnerMessage(_)
                | _ => News::Moved,
            });
        }
        told
    }

    /// A station may have been there before anybody listened; of neighbours that go, most led nowhere.
    fn forget(&mut self, neighbour: &NeighbourMessage) -> News {
        let was_known = self.0.remove(&whose(neighbour)).is_some();
        if was_known || is_station(neighbour) {
            News::Learnt
        } else {
            News::Nothing
        }
    }

    fn learn(&mut self, neighbour: &NeighbourMessage) -> News {
        let whose = whose(neighbour);
        if !can_be_reached(neighbour) {
            return match self.0.remove(&whose) {
                Some(_) => News::Moved,
                None => News::Nothing,
            };
        }
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        let how = How {
            link_layer: link_layer(neighbour).to_vec(),
            interface: neighbour.header.ifindex,
        };
        match self.0.insert(whose, how.clone()) {
            Some(before) if before == how => News::Nothing,
            Some(_) => News::Moved,
            None => News::Learnt,
        }
    }
}

fn can_be_reached(neighbour: &NeighbourMessage) -> bool {
    let state = neighbour.header.state;
    is_station(neighbour)
        || !matches!(
            state,
            NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None
        )
}

fn is_station(neighbour: &NeighbourMessage) -> bool {
    neighbour.header.family == AddressFamily::Bridge
}

/// A station is known by its Ethernet address on a bridge, a neighbour by its IP address.
fn whose(neighbour: &NeighbourMessage) -> Whose {
    let mut whose = Whose {
        device: neighbour.header.ifindex,
        vlan: 0,
        address: Vec::new(),
    };
    let is_station = is_station(neighbour);
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
        assert_eq!(known.hear(&reachable), News::Learnt);
        assert_eq!(known.hear(&stale), News::Nothing, "it is where it was");
        let both = [&stale[..], &reachable[..]].concat();
        assert_eq!(known.hear(&both), News::Nothing);
        let other = new(&neighbour(NeighbourState::Reachable, [2; 6]));
        assert_eq!(known.hear(&other), News::Moved);
        let both = [&other[..], &reachable[..]].concat();
        assert_eq!(known.hear(&both), News::Moved, "both are read");
        let failed = new(&neighbour(NeighbourState::Failed, MAC));
        assert_eq!(known.hear(&failed), News::Moved);
        assert_eq!(known.hear(&failed), News::Nothing, "it was gone already");
        assert_eq!(known.hear(&reachable), News::Learnt);
        let gone = neighbour(NeighbourState::Stale, MAC);
        let gone = notice(RouteNetlinkMessage::DelNeighbour(gone));
        assert_eq!(known.hear(&gone), News::Learnt);
        assert_eq!(known.hear(&gone), News::Nothing);
    }

    #[test]
    fn a_station_is_heard_of_when_it_has_another_port_and_when_it_is_gone() {
        let mut known = Known::default();
        let gone = notice(RouteNetlinkMessage::DelNeighbour(station(4)));
        assert_eq!(known.hear(&gone), News::Learnt, "it was there before");
        assert_eq!(known.hear(&new(&station(3))), News::Learnt);
        assert_eq!(known.hear(&new(&station(3))), News::Nothing);
        assert_eq!(known.hear(&new(&station(4))), News::Moved);
        assert_eq!(known.hear(&gone), News::Learnt);
    }

    #[test]
    fn what_is_not_understood_is_a_change() {
        assert_eq!(Known::default().hear(&[1, 2, 3]), News::Moved);
    }
}
