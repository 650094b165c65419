//! Who talks to whom: the tuple of a packet and the keys of states.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};

use crate::addr::{Family, Protocol};
use crate::rule::Direction;
use crate::view::HostPort;
use crate::wire::{
    Icmp, IcmpBody, Meta, Quoted, QuotedIcmp, QuotedTransport, Rewrite, Transport, WireError, icmp,
    icmp6,
};

/// The group of all hosts of a link (RFC 4291, section 2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Source and destination of a packet. For an ICMP query the asking side has the identifier as
/// port and the other the type of the request, so that an answer belongs to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) source: HostPort,
    pub(crate) destination: HostPort,
    pub(crate) protocol: Protocol,
}

/// Key of a state on one of its sides: index 0 is the source of an inbound packet and the
/// destination of an outbound one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StateKey {
    pub(crate) ends: [HostPort; 2],
    pub(crate) protocol: Protocol,
}

/// As one run of bytes of a fixed length for each family: half a dozen parts cost several times as much.
impl Hash for StateKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [one, other] = self.ends;
        let ports = u32::from(one.port) << 16 | u32::from(other.port);
        let rest = u64::from(ports) << 8 | u64::from(self.protocol.0);
        match (one.address, other.address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                let addresses = u64::from(one.to_bits()) << 32 | u64::from(other.to_bits());
                state.write(&(u128::from(addresses) << 64 | u128::from(rest)).to_ne_bytes());
            }
            (one, other) => {
                let (one, other, rest) = (octets(one), octets(other), rest.to_ne_bytes());
                let mut bytes = [0; 40];
                let whole = one.into_iter().chain(other).chain(rest);
                bytes
                    .iter_mut()
                    .zip(whole)
                    .for_each(|(to, from)| *to = from);
                state.write(&bytes);
            }
        }
    }
}

/// Of IPv4 as IPv6 has it.
const fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

impl StateKey {
    /// The tuple of a packet that goes in `direction` and has this key.
    pub(crate) const fn tuple(&self, direction: Direction) -> Tuple {
        let [first, second] = self.ends;
        let (source, destination) = match direction {
            Direction::In => (first, second),
            Direction::Out => (second, first),
        };
        Tuple {
            source,
            destination,
            protocol: self.protocol,
        }
    }

    pub(crate) const fn family(&self) -> Family {
        Family::of(self.ends[0].address)
    }
}

impl Tuple {
    /// The tuple of a packet. Errors have no ports: their state is that of the packet they quote.
    pub(crate) fn of(meta: &Meta, bytes: &[u8]) -> Self {
        let mut tuple = Self {
            source: host(meta.source),
            destination: host(meta.destination),
            protocol: meta.protocol,
        };
        match meta.transport {
            Transport::Tcp(_) | Transport::Udp(_) | Transport::Sctp(_) => {
                let (source, destination) = meta.ports().unwrap_or_default();
                tuple.source.port = source;
                tuple.destination.port = destination;
            }
            Transport::Icmp(icmp) => tuple.set_icmp(Family::Inet, icmp.kind, query_id(icmp)),
            Transport::Icmp6(icmp) => {
                tuple.set_icmp(Family::Inet6, icmp.kind, query_id(icmp));
                tuple.follow_neighbor_discovery(icmp.kind, bytes, meta.payload_offset);
            }
            Transport::Other | Transport::Fragment => {}
        }
        tuple
    }

    /// The tuple that the packet quoted by an ICMP error had where the error is now.
    pub(crate) fn of_quoted(quoted: &Quoted) -> Self {
        let mut tuple = Self {
            source: host(quoted.source),
            destination: host(quoted.destination),
            protocol: quoted.protocol,
        };
        match quoted.transport {
            QuotedTransport::Icmp(QuotedIcmp { kind, id, .. }) => {
                tuple.set_icmp(Family::Inet, kind, id);
            }
            QuotedTransport::Icmp6(QuotedIcmp { kind, id, .. }) => {
                tuple.set_icmp(Family::Inet6, kind, id);
            }
            QuotedTransport::Tcp(_)
            | QuotedTransport::Udp(_)
            | QuotedTransport::Sctp(_)
            | QuotedTransport::Other => {
                let (source, destination) = quoted.ports().unwrap_or_default();
                tuple.source.port = source;
                tuple.destination.port = destination;
            }
        }
        tuple
    }

    pub(crate) const fn family(&self) -> Family {
        Family::of(self.source.address)
    }

    pub(crate) const fn key(&self, direction: Direction) -> StateKey {
        let ends = match direction {
            Direction::In => [self.source, self.destination],
            Direction::Out => [self.destination, self.source],
        };
        StateKey {
            ends,
            protocol: self.protocol,
        }
    }

    pub(crate) const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
        }
    }

    /// An answer of ICMPv6 as the one to a question that went to all hosts of a link, whom it comes from
    /// an address of its own; nothing for what is no such answer. Neighbor discovery knows its
    /// addresses otherwise.
    pub(crate) fn answer_to_all_nodes(&self, icmp: &Icmp) -> Option<Self> {
        let answers = icmp.kind != icmp6::NEIGHBOR_ADVERTISEMENT
            && request_of(Family::Inet6, icmp.kind).is_some();
        let mut tuple = *self;
        tuple.source.address = ALL_NODES.into();
        (self.family() == Family::Inet6 && answers).then_some(tuple)
    }

    fn set_icmp(&mut self, family: Family, kind: u8, id: Option<u16>) {
        let id = id.unwrap_or(0);
        let (source, destination) = match request_of(family, kind) {
            Some(request) => (u16::from(request), id),
            None => (id, u16::from(known_as(family, kind))),
        };
        self.source.port = source;
        self.destination.port = destination;
    }

    /// A neighbor advertisement answers the solicitation of its target, although that one went
    /// to a multicast address (RFC 4861, section 7.2). One to a multicast address answers who has no
    /// address yet (RFC 4862, section 5.4.4).
    fn follow_neighbor_discovery(&mut self, kind: u8, bytes: &[u8], target_offset: usize) {
        let target = bytes
            .get(target_offset..)
            .and_then(<[u8]>::first_chunk::<16>)
            .map(|octets| IpAddr::V6(Ipv6Addr::from(*octets)));
        match (kind, target) {
            (icmp6::NEIGHBOR_SOLICITATION, Some(target)) => self.destination.address = target,
            (icmp6::NEIGHBOR_ADVERTISEMENT, Some(target)) => {
                self.source.address = target;
                if self.destination.address.is_multicast() {
                    self.destination.address = Ipv6Addr::UNSPECIFIED.into();
                }
            }
            _ => {}
        }
    }
}

const fn host(address: IpAddr) -> HostPort {
    HostPort { address, port: 0 }
}

const fn query_id(icmp: Icmp) -> Option<u16> {
    match icmp.body {
        IcmpBody::Query { id } => Some(id),
        IcmpBody::Error | IcmpBody::Other => None,
    }
}

/// The type of the request that a message of type `kind` answers, if it is an answer.
pub(crate) const fn request_of(family: Family, kind: u8) -> Option<u8> {
    match (family, kind) {
        (Family::Inet, icmp::ECHO_REPLY) => Some(icmp::ECHO_REQUEST),
        (Family::Inet, icmp::TIMESTAMP_REPLY) => Some(icmp::TIMESTAMP),
        (Family::Inet, icmp::INFORMATION_REPLY) => Some(icmp::INFORMATION),
        (Family::Inet, icmp::MASK_REPLY) => Some(icmp::MASK),
        (Family::Inet, icmp::ROUTER_ADVERTISEMENT) => Some(icmp::ROUTER_SOLICITATION),
        (Family::Inet, icmp::I_AM_HERE) => Some(icmp::WHERE_ARE_YOU),
        (Family::Inet, icmp::REGISTRATION_REPLY) => Some(icmp::REGISTRATION_REQUEST),
        (Family::Inet6, icmp6::ECHO_REPLY) => Some(icmp6::ECHO_REQUEST),
        (Family::Inet6, icmp6::NEIGHBOR_ADVERTISEMENT) => Some(icmp6::NEIGHBOR_SOLICITATION),
        (Family::Inet6, icmp6::TRACE_RESPONSE) => Some(icmp6::TRACE),
        _ => None,
    }
}

/// The type by which a message that answers nothing is known: hosts report to a group without
/// being asked, and a report is of one kind with the query (PF's `pf_icmp_mapping`).
const fn known_as(family: Family, kind: u8) -> u8 {
    match (family, kind) {
        (Family::Inet6, icmp6::LISTENER_REPORT) => icmp6::LISTENER_QUERY,
        _ => kind,
    }
}

/// Rewrites the packet (or the one that an ICMP error quotes) from tuple `old` to tuple `new`,
/// checksums included.
pub(crate) fn translate(
    packet: &mut impl Rewrite,
    bytes: &mut [u8],
    old: &Tuple,
    new: &Tuple,
) -> Result<(), WireError> {
    if old.source.address != new.source.address {
        packet.set_source(bytes, new.source.address)?;
    }
    if old.destination.address != new.destination.address {
        packet.set_destination(bytes, new.destination.address)?;
    }
    let source_port = (old.source.port != new.source.port).then_some(new.source.port);
    let destination_port =
        (old.destination.port != new.destination.port).then_some(new.destination.port);
    packet.set_ports_or_id(bytes, source_port, destination_port)
}
