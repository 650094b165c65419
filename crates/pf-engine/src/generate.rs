//! Packets that the filter sends back: TCP resets and ICMP errors.
//!
//! The functions answer nothing where the RFCs forbid an answer; a caller needs no check of
//! its own.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use std::net::{IpAddr, Ipv4Addr};

use crate::addr::{Family, Protocol};
use crate::criteria::LOW_DELAY;
use crate::rule::tcp_flags;
use crate::wire::build::{self, Ip, Segment};
use crate::wire::sctp::{ABORT, Act, Chunks};
use crate::wire::{ICMP_HEADER_LEN, IPV4_HEADER_LEN, IPV6_HEADER_LEN, Meta};
use crate::wire::{checksum, icmp, icmp6};

/// The longest ICMP error: 576 bytes (RFC 1812, section 4.3.2.3).
pub const MAX_ERROR_LEN_V4: usize = 576;
/// The longest ICMPv6 error: the minimum IPv6 MTU (RFC 4443, section 2.4 (c)).
pub const MAX_ERROR_LEN_V6: usize = 1280;
/// What an error quotes at most, of either family: a caller that rewrites a packet before it
/// knows whether an error will be needed keeps this many bytes of it.
pub const MAX_QUOTE_LEN: usize = 1232;

/// An ICMP error to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Type and code as a rule gives them, of the packet's family (`return-icmp`).
    Code {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Fragmentation needed (RFC 1191), packet too big (RFC 4443, section 3.2).
    TooBig {
        /// MTU of the link that the packet does not fit.
        mtu: u32,
    },
    /// TTL or hop limit exceeded in transit.
    TimeExceeded,
}

/// The RST that refuses the segment that came as `original` (`return-rst`), or nothing if that
/// is not TCP, is an RST, has a wrong checksum, or does not come from and go to single hosts.
/// `packet` and `meta` are what it is by now: rewriting keeps a checksum as right or wrong as it
/// was.
///
/// As PF, always with ACK of all that the segment occupies; its sequence number is the
/// segment's acknowledgment, or 0 if it had none (RFC 9293, section 3.10.7.1). `ttl` 0 is
/// [`build::DEFAULT_TTL`].
#[must_use]
pub fn reset(original: &Meta, packet: &[u8], meta: &Meta, ttl: u8) -> Option<Vec<u8>> {
    let tcp = original.tcp()?;
    if tcp.flags & tcp_flags::RST != 0 || !checksum::transport_valid(packet, meta) {
        return None;
    }
    let seq = if tcp.flags & tcp_flags::ACK == 0 {
        0
    } else {
        tcp.ack
    };
    let ack = tcp.seq.wrapping_add(segment_len(original, tcp.flags));
    tcp_answer(original, seq, ack, tcp_flags::RST | tcp_flags::ACK, ttl)
}

/// Sequence numbers that a segment occupies (RFC 9293, section 3.4: `SEG.LEN`).
fn segment_len(meta: &Meta, flags: u8) -> u32 {
    u32::try_from(meta.payload_len())
        .unwrap_or_default()
        .wrapping_add(u32::from(flags & tcp_flags::SYN != 0))
        .wrapping_add(u32::from(flags & tcp_flags::FIN != 0))
}

/// A TCP segment without data or options, window 0, to the sender of the packet that `meta`
/// describes, in the name of its receiver. Nothing for a packet that is not TCP or does not
/// come from and go to single hosts. `ttl` 0 is [`build::DEFAULT_TTL`].
#[must_use]
pub fn tcp_answer(meta: &Meta, seq: u32, ack: u32, flags: u8, ttl: u8) -> Option<Vec<u8>> {
    let tcp = meta.tcp()?;
    let mut header = Segment::new(tcp.destination_port, tcp.source_port, flags);
    header.seq = seq;
    header.ack = ack;
    header.window = 0;
    segment_with_ttl(meta.destination, meta.source, &header, ttl)
}

/// The ABORT that refuses the SCTP packet `packet`, whose headers were `original` and are `meta`
/// by now (RFC 9260, section 8.4): with the tag that its INIT asks for, else with its own tag
/// reflected. Nothing if it is not SCTP, is malformed, ends an association itself, or does not
/// come from and go to single hosts.
#[must_use]
pub fn sctp_abort(original: &Meta, packet: &[u8], meta: &Meta) -> Option<Vec<u8>> {
    let (to, from) = original.ports()?;
    let chunks = Chunks::parse(packet, meta).ok()??;
    let answerable = is_host(original.source)
        && is_host(original.destination)
        && !chunks.is_final
        && checksum::transport_valid(packet, meta);
    if !answerable {
        return None;
    }
    let (tag, reflected) = match chunks.act {
        Act::Init(tag) => (tag, 0),
        Act::Carry | Act::InitAck(_) | Act::Confirm | Act::Shutdown | Act::Close { .. } => {
            (chunks.tag, 1)
        }
    };
    let mut l4 = [from.to_be_bytes(), to.to_be_bytes()].concat();
    l4.extend(tag.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend([ABORT, reflected, 0, 4]);
    let ip = atomic(original.destination, original.source);
    Some(build::packet(&ip, Protocol::SCTP, &l4))
}

/// A TCP segment without data. Nothing unless it comes from and goes to single hosts.
#[must_use]
pub fn segment(source: IpAddr, destination: IpAddr, header: &Segment<'_>) -> Option<Vec<u8>> {
    segment_with_ttl(source, destination, header, 0)
}

fn segment_with_ttl(
    source: IpAddr,
    destination: IpAddr,
    header: &Segment<'_>,
    ttl: u8,
) -> Option<Vec<u8>> {
    if !is_host(source) || !is_host(destination) {
        return None;
    }
    let mut ip = atomic(source, destination);
    // As PF; of IPv6 it says nothing.
    if ip.family() == Family::Inet {
        ip.tos = LOW_DELAY;
    }
    if ttl != 0 {
        ip.ttl = ttl;
    }
    Some(build::tcp(&ip, header, &[]))
}

/// The ICMP error about `packet` from `source`, or nothing where none may be sent (RFC 1122,
/// section 3.2.2; RFC 4443, section 2.4 (e)): about ICMP errors and redirects, fragments other
/// than the first, packets that do not come from and go to single hosts. Also nothing when
/// `source` is of the other family.
///
/// `packet` may end early, for example after [`MAX_QUOTE_LEN`] bytes; `meta` is its parsed form.
#[must_use]
pub fn icmp_error(packet: &[u8], meta: &Meta, error: IcmpError, source: IpAddr) -> Option<Vec<u8>> {
    let allowed = Family::of(source) == meta.family
        && is_host(meta.source)
        && is_host(meta.destination)
        && !meta.is_later_fragment()
        && !is_icmp_error(meta);
    if !allowed {
        return None;
    }
    let (kind, code, parameter) = message(meta.family, error);
    let quoted = quotation(packet, meta);
    let ip = atomic(source, meta.source);
    Some(build::icmp(&ip, kind, code, parameter, quoted))
}

/// Type, code and bytes 4 to 8 of the message.
fn message(family: Family, error: IcmpError) -> (u8, u8, u32) {
    match (error, family) {
        (IcmpError::Code { kind, code }, _) => (kind, code, 0),
        (IcmpError::TooBig { mtu }, Family::Inet) => {
            let mtu = mtu.min(u32::from(u16::MAX));
            (icmp::UNREACHABLE, icmp::CODE_FRAGMENTATION_NEEDED, mtu)
        }
        (IcmpError::TooBig { mtu }, Family::Inet6) => (icmp6::PACKET_TOO_BIG, 0, mtu),
        (IcmpError::TimeExceeded, Family::Inet) => (icmp::TIME_EXCEEDED, 0, 0),
        (IcmpError::TimeExceeded, Family::Inet6) => (icmp6::TIME_EXCEEDED, 0, 0),
    }
}

/// As much of the packet as the error may carry.
fn quotation<'a>(packet: &'a [u8], meta: &Meta) -> &'a [u8] {
    let most = match meta.family {
        Family::Inet => MAX_ERROR_LEN_V4.saturating_sub(IPV4_HEADER_LEN),
        Family::Inet6 => MAX_ERROR_LEN_V6.saturating_sub(IPV6_HEADER_LEN),
    };
    let len = most
        .saturating_sub(ICMP_HEADER_LEN)
        .min(meta.total_len)
        .min(packet.len());
    packet.get(..len).unwrap_or_default()
}

/// Never answered with an error: for ICMPv6 all types below 128 are errors, known or not
/// (RFC 4443, section 2.1).
fn is_icmp_error(meta: &Meta) -> bool {
    meta.icmp().is_some_and(|message| match meta.family {
        Family::Inet => icmp::is_error(message.kind),
        Family::Inet6 => message.kind < 128 || message.kind == icmp6::REDIRECT,
    })
}

/// A header for a packet that is never fragmented and so needs no identification (RFC 6864).
fn atomic(source: IpAddr, destination: IpAddr) -> Ip {
    Ip {
        dont_fragment: true,
        ..Ip::new(source, destination)
    }
}

/// Whether an address can be that of a single host (RFC 1122, section 3.2.1.3).
fn is_host(address: IpAddr) -> bool {
    match address {
        // Multicast, class E and the limited broadcast lie above.
        IpAddr::V4(a) => !a.is_unspecified() && a < Ipv4Addr::new(224, 0, 0, 0),
        IpAddr::V6(a) => !a.is_unspecified() && !a.is_multicast(),
    }
}

#[cfg(test)]
mod tests;
