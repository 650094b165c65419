//! Packets from parts: for what the engine itself sends, and for tests.
//!
//! Every packet built here has right lengths and checksums. What is longer than an IP packet
//! can be is cut off.

use std::net::{IpAddr, Ipv6Addr};

use super::bytes::len16;
use super::checksum;
use super::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, MAX_PACKET_LEN, sctp, transport};
use crate::addr::{Family, Protocol};

/// TTL and hop limit of packets of our own (IANA "IP Option Numbers": recommended default 64).
pub const DEFAULT_TTL: u8 = 64;

/// IP header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: IpAddr,
    /// Destination address. If the families differ the packet becomes IPv6 with the IPv4
    /// address mapped (`::ffff:a.b.c.d`).
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// IPv4 identification.
    pub id: u16,
    /// IPv4 "don't fragment".
    pub dont_fragment: bool,
}

impl Ip {
    /// A header with TTL 64, type of service 0, identification 0 and "don't fragment" clear.
    #[must_use]
    pub const fn new(source: IpAddr, destination: IpAddr) -> Self {
        Self {
            source,
            destination,
            ttl: DEFAULT_TTL,
            tos: 0,
            id: 0,
            dont_fragment: false,
        }
    }

    /// The family of the packet.
    #[must_use]
    pub const fn family(&self) -> Family {
        match (self.source, self.destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => Family::Inet,
            _ => Family::Inet6,
        }
    }

    /// The protocol of ICMP messages in this family.
    #[must_use]
    pub const fn icmp_protocol(&self) -> Protocol {
        match self.family() {
            Family::Inet => Protocol::ICMP,
            Family::Inet6 => Protocol::ICMPV6,
        }
    }
}

/// TCP header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Flags, see [`crate::rule::tcp_flags`].
    pub flags: u8,
    /// Window, not scaled.
    pub window: u16,
    /// Options, padded to 4 bytes here; at most 40 bytes.
    pub options: &'a [u8],
}

impl Segment<'_> {
    /// A header with a window of 65535 and without options.
    #[must_use]
    pub const fn new(source_port: u16, destination_port: u16, flags: u8) -> Self {
        Self {
            source_port,
            destination_port,
            seq: 0,
            ack: 0,
            flags,
            window: u16::MAX,
            options: &[],
        }
    }
}

/// A TCP packet.
#[must_use]
pub fn tcp(ip: &Ip, segment: &Segment<'_>, payload: &[u8]) -> Vec<u8> {
    let mut options: Vec<u8> = segment.options.iter().take(40).copied().collect();
    options.resize(options.len().next_multiple_of(4), 0);
    let words = u8::try_from(options.len() / 4).unwrap_or_default();
    let mut l4 = Vec::with_capacity(payload.len().saturating_add(60));
    l4.extend(segment.source_port.to_be_bytes());
    l4.extend(segment.destination_port.to_be_bytes());
    l4.extend(segment.seq.to_be_bytes());
    l4.extend(segment.ack.to_be_bytes());
    l4.extend([words.saturating_add(5) << 4, segment.flags]);
    l4.extend(segment.window.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(options);
    l4.extend(payload);
    packet(ip, Protocol::TCP, &l4)
}

/// A UDP packet, with checksum.
#[must_use]
pub fn udp(ip: &Ip, source_port: u16, destination_port: u16, payload: &[u8]) -> Vec<u8> {
    let most = MAX_PACKET_LEN
        .saturating_sub(IPV6_HEADER_LEN)
        .saturating_sub(super::UDP_HEADER_LEN);
    let payload = payload.get(..most).unwrap_or(payload);
    let mut l4 = Vec::with_capacity(payload.len().saturating_add(8));
    l4.extend(source_port.to_be_bytes());
    l4.extend(destination_port.to_be_bytes());
    l4.extend(len16(payload.len().saturating_add(super::UDP_HEADER_LEN)).to_be_bytes());
    l4.extend([0; 2]);
    l4.extend(payload);
    packet(ip, Protocol::UDP, &l4)
}

/// An SCTP packet that opens an association (RFC 9260, section 3.3.2), with `padding` bytes that say
/// nothing.
#[must_use]
pub fn sctp_init(ip: &Ip, source_port: u16, destination_port: u16, padding: u16) -> Vec<u8> {
    let mut l4 = [source_port.to_be_bytes(), destination_port.to_be_bytes()].concat();
    // No verification tag; the checksum is filled in.
    l4.extend([0; 8]);
    l4.extend(sctp::bare_init(1, padding));
    packet(ip, Protocol::SCTP, &l4)
}

/// An ICMP message in IPv4, an ICMPv6 message in IPv6: type, code, bytes 4 to 8, and the rest.
/// An error has the quoted packet as `body`.
#[must_use]
pub fn icmp(ip: &Ip, kind: u8, code: u8, parameter: u32, body: &[u8]) -> Vec<u8> {
    let mut l4 = Vec::with_capacity(body.len().saturating_add(8));
    l4.extend([kind, code, 0, 0]);
    l4.extend(parameter.to_be_bytes());
    l4.extend(body);
    packet(ip, ip.icmp_protocol(), &l4)
}

/// A ping in the packet's family.
#[must_use]
pub fn echo_request(ip: &Ip, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let kind = match ip.family() {
        Family::Inet => transport::icmp::ECHO_REQUEST,
        Family::Inet6 => transport::icmp6::ECHO_REQUEST,
    };
    icmp(ip, kind, 0, echo_parameter(id, sequence), payload)
}

/// The answer to a ping in the packet's family.
#[must_use]
pub fn echo_reply(ip: &Ip, id: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let kind = match ip.family() {
        Family::Inet => transport::icmp::ECHO_REPLY,
        Family::Inet6 => transport::icmp6::ECHO_REPLY,
    };
    icmp(ip, kind, 0, echo_parameter(id, sequence), payload)
}

fn echo_parameter(id: u16, sequence: u16) -> u32 {
    (u32::from(id) << 16) | u32::from(sequence)
}

/// A packet of any protocol with `l4` behind the IP header. The transport checksum of protocols
/// that have one is filled in.
#[must_use]
pub fn packet(ip: &Ip, protocol: Protocol, l4: &[u8]) -> Vec<u8> {
    let mut bytes = match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = header_v4(ip, protocol, l4.len());
            [&header[..], &source.octets(), &destination.octets(), l4].concat()
        }
        (source, destination) => {
            let header = header_v6(ip, protocol, l4.len());
            let (source, destination) = (mapped(source), mapped(destination));
            [&header[..], &source.octets(), &destination.octets(), l4].concat()
        }
    };
    bytes.truncate(MAX_PACKET_LEN);
    if ip.family() == Family::Inet {
        let _ = checksum::complete_header_v4(&mut bytes, IPV4_HEADER_LEN);
    }
    // Only a transport header that the caller has cut short or broken fails: its own affair.
    let _ = checksum::complete(&mut bytes);
    bytes
}

/// The IP header of a packet with `payload` bytes behind it, which may be more than there are:
/// for what ICMP errors quote.
pub(super) fn header(ip: &Ip, protocol: Protocol, payload: usize) -> Vec<u8> {
    match (ip.source, ip.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = header_v4(ip, protocol, payload);
            let mut bytes = [&header[..], &source.octets(), &destination.octets()].concat();
            // A whole header is there.
            let _ = checksum::complete_header_v4(&mut bytes, IPV4_HEADER_LEN);
            bytes
        }
        (source, destination) => {
            let header = header_v6(ip, protocol, payload);
            let (source, destination) = (mapped(source), mapped(destination));
            [&header[..], &source.octets(), &destination.octets()].concat()
        }
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(a) => a.to_ipv6_mapped(),
        IpAddr::V6(a) => a,
    }
}

/// The IPv4 header up to the addresses, checksum zero.
fn header_v4(ip: &Ip, protocol: Protocol, payload: usize) -> [u8; 12] {
    let [len_high, len_low] = len16(payload.saturating_add(IPV4_HEADER_LEN)).to_be_bytes();
    let [id_high, id_low] = ip.id.to_be_bytes();
    let flags = if ip.dont_fragment { 0x40 } else { 0 };
    [
        0x45, ip.tos, len_high, len_low, id_high, id_low, flags, 0, ip.ttl, protocol.0, 0, 0,
    ]
}

/// The IPv6 header up to the addresses, flow label 0.
fn header_v6(ip: &Ip, protocol: Protocol, payload: usize) -> [u8; 8] {
    let most = MAX_PACKET_LEN.saturating_sub(IPV6_HEADER_LEN);
    let [len_high, len_low] = len16(payload.min(most)).to_be_bytes();
    [
        0x60 | (ip.tos >> 4),
        ip.tos << 4,
        0,
        0,
        len_high,
        len_low,
        protocol.0,
        ip.ttl,
    ]
}
