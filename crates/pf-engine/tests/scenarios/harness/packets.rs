//! Packets.

use std::net::IpAddr;

use pf_engine::addr::Protocol;
use pf_engine::rule::tcp_flags;
use pf_engine::wire::build::{self, Ip, Segment};
use pf_engine::wire::{Meta, checksum};

use super::ip;

pub(crate) const S: u8 = tcp_flags::SYN;
pub(crate) const SA: u8 = tcp_flags::SYN | tcp_flags::ACK;
pub(crate) const A: u8 = tcp_flags::ACK;
pub(crate) const PA: u8 = tcp_flags::PSH | tcp_flags::ACK;
pub(crate) const FA: u8 = tcp_flags::FIN | tcp_flags::ACK;
pub(crate) const R: u8 = tcp_flags::RST;
pub(crate) const RA: u8 = tcp_flags::RST | tcp_flags::ACK;

/// A TCP segment between `address:port` and `address:port`.
pub(crate) fn tcp(
    from: (&str, u16),
    to: (&str, u16),
    flags: u8,
    seq: u32,
    ack: u32,
    data: usize,
) -> Vec<u8> {
    tcp_with(from, to, flags, seq, ack, data, &[])
}

pub(crate) fn tcp_with(
    from: (&str, u16),
    to: (&str, u16),
    flags: u8,
    seq: u32,
    ack: u32,
    data: usize,
    options: &[u8],
) -> Vec<u8> {
    let mut segment = Segment::new(from.1, to.1, flags);
    segment.seq = seq;
    segment.ack = ack;
    segment.options = options;
    segment.window = 5000;
    build::tcp(&Ip::new(ip(from.0), ip(to.0)), &segment, &vec![0x61; data])
}

pub(crate) fn udp(from: (&str, u16), to: (&str, u16), data: usize) -> Vec<u8> {
    build::udp(
        &Ip::new(ip(from.0), ip(to.0)),
        from.1,
        to.1,
        &vec![0x62; data],
    )
}

pub(crate) fn echo(from: &str, to: &str, id: u16) -> Vec<u8> {
    build::echo_request(&Ip::new(ip(from), ip(to)), id, 1, &[0x63; 56])
}

pub(crate) fn echo_reply(from: &str, to: &str, id: u16) -> Vec<u8> {
    build::echo_reply(&Ip::new(ip(from), ip(to)), id, 1, &[0x63; 56])
}

/// The same packet with "don't fragment".
pub(crate) fn dont_fragment(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[6] |= 0x40;
    checksum::complete(&mut bytes).unwrap();
    bytes
}

pub(crate) fn meta(bytes: &[u8]) -> Meta {
    let meta = Meta::parse(bytes).expect("a packet");
    assert!(checksum::ip_header_valid(bytes, &meta), "IP checksum");
    assert!(
        checksum::transport_valid(bytes, &meta),
        "transport checksum of {meta:?}"
    );
    meta
}

/// `source:port > destination:port`, for any packet with right checksums.
pub(crate) fn tuple(bytes: &[u8]) -> String {
    let meta = meta(bytes);
    let (source, destination) = meta.ports().unwrap_or_default();
    format!(
        "{}:{source} > {}:{destination}",
        meta.source, meta.destination
    )
}

/// An SCTP packet with these chunks.
pub(crate) fn sctp(from: (&str, u16), to: (&str, u16), tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(from.1.to_be_bytes());
    l4.extend(to.1.to_be_bytes());
    l4.extend(tag.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(chunks);
    build::packet(&Ip::new(ip(from.0), ip(to.0)), Protocol::SCTP, &l4)
}

/// A chunk of SCTP, padded.
pub(crate) fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = vec![kind, flags];
    bytes.extend(len.to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// INIT (1) or INIT ACK (2) with an initiate tag and IPv4 or IPv6 addresses.
pub(crate) fn init_chunk(kind: u8, tag: u32, addresses: &[&str]) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    for address in addresses {
        match ip(address) {
            IpAddr::V4(a) => value.extend(chunk(0, 5, &a.octets())),
            IpAddr::V6(a) => value.extend(chunk(0, 6, &a.octets())),
        }
    }
    chunk(kind, 0, &value)
}
