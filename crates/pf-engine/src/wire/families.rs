//! From one address family to the other: IP headers and ICMP messages (RFC 7915).

use std::net::IpAddr;

use super::build::{self, Ip};
use super::bytes::{be16, put};
use super::checksum::{self, Coverage, Delta};
use super::quoted::Quoted;
use super::transport::{Icmp, IcmpBody, icmp, icmp6};
use super::{ICMP_HEADER_LEN, IPV4_HEADER_LEN, IPV6_HEADER_LEN, MAX_PACKET_LEN, Meta, WireError};
use crate::addr::Family;
use crate::decision::DropReason;
use crate::generate::MAX_ERROR_LEN_V6;
use crate::nat64::{protocol_in, query_in};

/// The smallest MTU of an IPv6 link (RFC 8200, section 5).
pub(crate) const MIN_MTU_V6: usize = 1280;
/// The smallest MTU of an IPv4 link (RFC 791).
const MIN_MTU_V4: u32 = 68;
/// What an IPv6 header is longer by than an IPv4 header.
pub(crate) const HEADER_DIFFERENCE: usize = IPV6_HEADER_LEN - IPV4_HEADER_LEN;

/// Source and destination, both of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
}

const CANNOT: WireError = WireError {
    reason: DropReason::Normalize,
};

/// The MTU that a sender of `family` has to be told for one of `mtu` on a link of the other.
pub(crate) fn mtu_in(family: Family, mtu: u32) -> u32 {
    let difference = u32::try_from(HEADER_DIFFERENCE).unwrap_or_default();
    let least = u32::try_from(MIN_MTU_V6).unwrap_or_default();
    match family {
        Family::Inet6 => mtu.saturating_add(difference).max(least),
        Family::Inet => mtu.saturating_sub(difference).max(MIN_MTU_V4),
    }
}

/// `packet` between `ends` of the other family, ports as they are. `id` is its IPv4
/// identification, should it need one. IP options and extension headers are left out.
///
/// # Errors
/// `proto-cksum` for a wrong transport checksum: the new one would hide it. `normalize` for ICMP
/// messages that the other family does not have, `too-big` for what its header cannot announce.
pub(crate) fn packet(
    packet: &[u8],
    meta: &Meta,
    ends: Ends,
    id: u16,
) -> Result<Vec<u8>, WireError> {
    if !checksum::transport_valid(packet, meta) {
        return Err(WireError {
            reason: DropReason::ProtoCksum,
        });
    }
    let segment = segment(packet, meta)?;
    let family = Family::of(ends.destination);
    let l4 = match meta.icmp() {
        Some(icmp) => query(icmp, segment, family)?,
        None => segment.to_vec(),
    };
    finish(meta, ends, id, &l4)
}

/// The same for an ICMP error: `quoted` gets the addresses `quoted_ends`.
pub(crate) fn error(
    packet: &[u8],
    meta: &Meta,
    ends: Ends,
    (quoted, quoted_ends): (&Quoted, Ends),
    id: u16,
) -> Result<Vec<u8>, WireError> {
    if !checksum::transport_valid(packet, meta) {
        return Err(WireError {
            reason: DropReason::ProtoCksum,
        });
    }
    let family = Family::of(ends.destination);
    let icmp = meta.icmp().ok_or(CANNOT)?;
    let (kind, code, parameter) = match family {
        Family::Inet => error_v4(icmp),
        Family::Inet6 => error_v6(icmp),
    }
    .ok_or(CANNOT)?;
    let mut l4 = vec![kind, code, 0, 0];
    l4.extend(parameter.to_be_bytes());
    l4.extend(quotation(packet, quoted, quoted_ends)?);
    if family == Family::Inet6 {
        l4.truncate(MAX_ERROR_LEN_V6.saturating_sub(IPV6_HEADER_LEN));
    }
    finish(meta, ends, id, &l4)
}

fn segment<'p>(packet: &'p [u8], meta: &Meta) -> Result<&'p [u8], WireError> {
    let segment = packet.get(meta.l4_offset..meta.total_len);
    segment.ok_or(WireError::UNFIT)
}

/// RFC 7915, sections 4.1 and 5.1: a packet of IPv4 that may not be cut comes from one of IPv6
/// that no link could take if it had to be.
fn finish(meta: &Meta, ends: Ends, id: u16, l4: &[u8]) -> Result<Vec<u8>, WireError> {
    let family = Family::of(ends.destination);
    let header = match family {
        Family::Inet => IPV4_HEADER_LEN,
        Family::Inet6 => IPV6_HEADER_LEN,
    };
    if l4.len().saturating_add(header) > MAX_PACKET_LEN {
        return Err(WireError {
            reason: DropReason::TooBig,
        });
    }
    let ip = Ip {
        source: ends.source,
        destination: ends.destination,
        ttl: meta.ttl,
        tos: meta.tos,
        id,
        dont_fragment: meta.total_len > MIN_MTU_V6,
    };
    Ok(build::packet(&ip, protocol_in(family, meta.protocol), l4))
}

/// An echo or its answer.
fn query(icmp: &Icmp, segment: &[u8], family: Family) -> Result<Vec<u8>, WireError> {
    let kind = match icmp.body {
        IcmpBody::Query { .. } => query_in(family, icmp.kind).ok_or(CANNOT)?,
        IcmpBody::Error | IcmpBody::Other => return Err(CANNOT),
    };
    let mut l4 = segment.to_vec();
    put(&mut l4, 0, &[kind, 0, 0, 0])?;
    Ok(l4)
}

/// RFC 7915, section 4.2: type, code and bytes 4 to 8 in ICMPv6.
fn error_v6(message: &Icmp) -> Option<(u8, u8, u32)> {
    let mtu = message.parameter & 0xffff;
    Some(match (message.kind, message.code) {
        (icmp::UNREACHABLE, icmp::CODE_PORT) => (icmp6::UNREACHABLE, icmp6::CODE_PORT, 0),
        (icmp::UNREACHABLE, icmp::CODE_FRAGMENTATION_NEEDED) => {
            (icmp6::PACKET_TOO_BIG, 0, mtu_in(Family::Inet6, mtu))
        }
        // The protocol: "unrecognized next header", which stands at 6.
        (icmp::UNREACHABLE, 2) => (icmp6::PARAMETER_PROBLEM, 1, 6),
        (icmp::UNREACHABLE, 0 | 1 | 5..=8 | 11 | 12) => (icmp6::UNREACHABLE, 0, 0),
        (icmp::UNREACHABLE, 9 | 10 | 13 | 15) => (icmp6::UNREACHABLE, 1, 0),
        (icmp::TIME_EXCEEDED, code) => (icmp6::TIME_EXCEEDED, code, 0),
        (icmp::PARAMETER_PROBLEM, 0 | 2) => {
            let [pointer, ..] = message.parameter.to_be_bytes();
            (icmp6::PARAMETER_PROBLEM, 0, pointer_v6(pointer)?)
        }
        _ => return None,
    })
}

/// RFC 7915, figure 3.
const fn pointer_v6(pointer: u8) -> Option<u32> {
    Some(match pointer {
        0 | 1 => pointer as u32,
        2 | 3 => 4,
        8 => 7,
        9 => 6,
        12..=15 => 8,
        16..=19 => 24,
        _ => return None,
    })
}

/// RFC 7915, section 5.2: type, code and bytes 4 to 8 in ICMP.
fn error_v4(message: &Icmp) -> Option<(u8, u8, u32)> {
    Some(match (message.kind, message.code) {
        (icmp6::UNREACHABLE, 0 | 2 | 3) => (icmp::UNREACHABLE, 1, 0),
        (icmp6::UNREACHABLE, 1) => (icmp::UNREACHABLE, 10, 0),
        (icmp6::UNREACHABLE, icmp6::CODE_PORT) => (icmp::UNREACHABLE, icmp::CODE_PORT, 0),
        (icmp6::PACKET_TOO_BIG, _) => {
            let mtu = mtu_in(Family::Inet, message.parameter).min(u32::from(u16::MAX));
            (icmp::UNREACHABLE, icmp::CODE_FRAGMENTATION_NEEDED, mtu)
        }
        (icmp6::TIME_EXCEEDED, code) => (icmp::TIME_EXCEEDED, code, 0),
        (icmp6::PARAMETER_PROBLEM, 0) => {
            let pointer = u32::from(pointer_v4(message.parameter)?);
            (icmp::PARAMETER_PROBLEM, 0, pointer << 24)
        }
        (icmp6::PARAMETER_PROBLEM, 1) => (icmp::UNREACHABLE, 2, 0),
        _ => return None,
    })
}

/// RFC 7915, figure 6.
const fn pointer_v4(pointer: u32) -> Option<u8> {
    Some(match pointer {
        0 => 0,
        1 => 1,
        4 | 5 => 2,
        6 => 9,
        7 => 8,
        8..=23 => 12,
        24..=39 => 16,
        _ => return None,
    })
}

/// What is quoted, with a header of the other family. Its transport checksum follows the
/// addresses where it is quoted; that of an echo does not.
fn quotation(packet: &[u8], quoted: &Quoted, ends: Ends) -> Result<Vec<u8>, WireError> {
    let mut l4 = packet
        .get(quoted.l4_offset..quoted.end)
        .ok_or(WireError::SHORT)?
        .to_vec();
    let family = Family::of(ends.destination);
    match quoted.icmp_kind() {
        Some(kind) => put(&mut l4, 0, &[query_in(family, kind).ok_or(CANNOT)?])?,
        None => follow_addresses(&mut l4, quoted, ends)?,
    }
    let ip = Ip {
        ttl: quoted.ttl,
        tos: quoted.tos,
        ..Ip::new(ends.source, ends.destination)
    };
    let headers = quoted.l4_offset.saturating_sub(quoted.offset);
    let announced = quoted.total_len.saturating_sub(headers);
    let protocol = protocol_in(family, quoted.protocol);
    let mut bytes = build::header(&ip, protocol, announced);
    bytes.extend(l4);
    bytes.truncate(MAX_PACKET_LEN.saturating_sub(IPV6_HEADER_LEN + ICMP_HEADER_LEN));
    Ok(bytes)
}

fn follow_addresses(l4: &mut [u8], quoted: &Quoted, ends: Ends) -> Result<(), WireError> {
    let Coverage::Sum {
        offset,
        pseudo_header: true,
        optional,
    } = Coverage::of(quoted.family, quoted.protocol)
    else {
        return Ok(());
    };
    let old = [octets(quoted.source), octets(quoted.destination)].concat();
    let new = [octets(ends.source), octets(ends.destination)].concat();
    match be16(l4, offset) {
        Ok(0) if optional => Ok(()),
        Ok(sum) => {
            let sum = checksum::present(Delta::between(&old, &new, false).apply(sum), optional);
            put(l4, offset, &sum.to_be_bytes())
        }
        // It is cut off.
        Err(_) => Ok(()),
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

impl Quoted {
    /// Type of the quoted ICMP message.
    const fn icmp_kind(&self) -> Option<u8> {
        match self.transport {
            super::QuotedTransport::Icmp(icmp) | super::QuotedTransport::Icmp6(icmp) => {
                Some(icmp.kind)
            }
            super::QuotedTransport::Tcp(_)
            | super::QuotedTransport::Udp(_)
            | super::QuotedTransport::Sctp(_)
            | super::QuotedTransport::Other => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Transport;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
        }
    }

    fn ip(source: &str, destination: &str) -> Ip {
        let Ends {
            source,
            destination,
        } = ends(source, destination);
        Ip::new(source, destination)
    }

    const V4: (&str, &str) = ("192.0.2.1", "192.0.2.2");
    const V6: (&str, &str) = ("2001:db8::2", "64:ff9b::c000:202");

    fn crossed(bytes: &[u8], to: (&str, &str)) -> (Vec<u8>, Meta) {
        let meta = Meta::parse(bytes).unwrap();
        let bytes = packet(bytes, &meta, ends(to.0, to.1), 7).unwrap();
        let meta = Meta::parse(&bytes).unwrap();
        assert!(checksum::transport_valid(&bytes, &meta));
        assert!(checksum::ip_header_valid(&bytes, &meta));
        (bytes, meta)
    }

    #[test]
    fn datagrams_keep_ports_payload_and_traffic_class_and_come_back_the_same() {
        let from = Ip {
            tos: 0x2e,
            ttl: 9,
            ..ip(V6.0, V6.1)
        };
        let sent = build::udp(&from, 4000, 53, b"question");
        let (bytes, meta) = crossed(&sent, V4);
        assert_eq!((meta.family, meta.tos, meta.ttl), (Family::Inet, 0x2e, 9));
        assert_eq!(meta.ports(), Some((4000, 53)));
        assert!(!meta.dont_fragment && meta.ip_id == 7);
        assert_eq!(crossed(&bytes, V6).0, sent);
        let large = build::udp(&from, 4000, 53, &[1; 1400]);
        assert!(crossed(&large, V4).1.dont_fragment);
    }

    #[test]
    fn a_datagram_without_checksum_gets_one() {
        let mut sent = build::udp(&ip(V4.0, V4.1), 4000, 53, b"question");
        sent[26..28].copy_from_slice(&[0, 0]);
        let (bytes, _) = crossed(&sent, V6);
        assert_ne!(bytes[46..48], [0, 0]);
    }

    #[test]
    fn echoes_change_type_and_protocol() {
        let sent = build::echo_request(&ip(V6.0, V6.1), 77, 3, b"ping");
        let (bytes, meta) = crossed(&sent, V4);
        assert!(matches!(meta.transport, Transport::Icmp(i) if i.kind == 8));
        assert_eq!(crossed(&bytes, V6).0, sent);
        let timestamp = build::icmp(&ip(V4.0, V4.1), 13, 0, 0, &[0; 12]);
        let meta = Meta::parse(&timestamp).unwrap();
        assert_eq!(packet(&timestamp, &meta, ends(V6.0, V6.1), 7), Err(CANNOT));
    }

    #[test]
    fn a_wrong_checksum_is_not_made_right() {
        let mut sent = build::udp(&ip(V6.0, V6.1), 4000, 53, b"question");
        sent[46] ^= 1;
        let meta = Meta::parse(&sent).unwrap();
        let refused = packet(&sent, &meta, ends(V4.0, V4.1), 7).unwrap_err();
        assert_eq!(refused.reason, DropReason::ProtoCksum);
    }

    #[test]
    fn errors_are_translated_with_what_they_quote() {
        let quoted = build::udp(&ip(V4.0, V4.1), 4000, 53, b"question");
        let sent = build::icmp(&ip("198.51.100.9", V4.0), 3, 4, 1400, &quoted);
        let meta = Meta::parse(&sent).unwrap();
        let inner = Quoted::parse(&sent, &meta).unwrap();
        let outer_ends = ends("64:ff9b::c633:6409", V6.0);
        let bytes = error(&sent, &meta, outer_ends, (&inner, ends(V6.0, V6.1)), 7).unwrap();
        let meta = Meta::parse(&bytes).unwrap();
        assert!(checksum::transport_valid(&bytes, &meta));
        let icmp = meta.icmp().unwrap();
        assert_eq!((icmp.kind, icmp.code, icmp.parameter), (2, 0, 1420));
        let wanted = build::udp(&ip(V6.0, V6.1), 4000, 53, b"question");
        assert_eq!(
            bytes[meta.payload_offset..],
            wanted,
            "checksum of the quoted datagram too"
        );
    }

    #[test]
    fn every_error_has_its_counterpart_or_none() {
        let message = |kind, code, parameter| Icmp {
            kind,
            code,
            parameter,
            body: IcmpBody::Error,
        };
        for (kind, code, wanted) in [
            (3, 0, Some((1, 0, 0))),
            (3, 1, Some((1, 0, 0))),
            (3, 2, Some((4, 1, 6))),
            (3, 3, Some((1, 4, 0))),
            (3, 13, Some((1, 1, 0))),
            (3, 14, None),
            (4, 0, None),
            (5, 1, None),
            (11, 0, Some((3, 0, 0))),
            (12, 0, Some((4, 0, 0))),
        ] {
            assert_eq!(error_v6(&message(kind, code, 0)), wanted, "{kind} {code}");
        }
        for (kind, code, wanted) in [
            (1, 0, Some((3, 1, 0))),
            (1, 1, Some((3, 10, 0))),
            (1, 4, Some((3, 3, 0))),
            (2, 0, Some((3, 4, 68))),
            (3, 1, Some((11, 1, 0))),
            (4, 1, Some((3, 2, 0))),
            (4, 2, None),
            (137, 0, None),
        ] {
            assert_eq!(error_v4(&message(kind, code, 0)), wanted, "{kind} {code}");
        }
    }
}
