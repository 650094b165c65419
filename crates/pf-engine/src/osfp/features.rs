//! What a SYN or a SYN+ACK shows of the TCP stack that sent it.
//!
//! [`Features::of`] reads a packet that begins at its IP header and takes down everything that
//! the matchers of p0f 3 and of pf.os compare, so that the packet itself is needed no more. The
//! value is `Copy`, about 170 bytes, and nothing is allocated.

mod later;
mod layout;
mod options;
mod quirks;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

pub use self::later::{Later, Segment};
pub use self::layout::{MAX_OPTIONS, OptionLayout};
pub use self::options::PfOptions;
pub use self::quirks::Quirks;

use self::options::{TcpOptionWalk, pf_options};
use crate::addr::Family;
use crate::rule::tcp_flags;
use crate::wire::{IPV6_HEADER_LEN, IpHeader, TCP_HEADER_LEN, WireError, be16, be32, byte};

/// TCP in the protocol field of IPv4 and the next header field of IPv6 (IANA).
const PROTOCOL_TCP: u8 = 6;

/// Which packet of the handshake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The client's SYN.
    Syn,
    /// The server's SYN+ACK.
    SynAck,
}

/// Why a packet has no features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFingerprintable {
    /// Neither IPv4 nor IPv6, or a header that contradicts itself.
    #[error("not an IP packet, or a malformed one")]
    Malformed,
    /// The packet is longer by its own account than what is there of it.
    #[error("only the beginning of the packet is there")]
    Truncated,
    /// Another transport protocol.
    #[error("not TCP")]
    NotTcp,
    /// A piece of a datagram, the first one included.
    #[error("a fragment")]
    Fragment,
    /// A TCP packet that opens no connection: no SYN, or SYN with FIN or RST.
    #[error("neither a SYN nor a SYN+ACK")]
    NotHandshake,
}

impl From<WireError> for NotFingerprintable {
    fn from(_: WireError) -> Self {
        Self::Malformed
    }
}

/// What one SYN or SYN+ACK shows. Numbers are in host byte order, lengths in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// SYN or SYN+ACK.
    pub kind: Kind,
    /// Who sent it: the client of a SYN, the server of a SYN+ACK. Never has a scope or flow.
    pub source: SocketAddr,
    /// Who is to receive it.
    pub destination: SocketAddr,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Time to live, or hop limit, as it arrived.
    pub ttl: u8,
    /// The whole TOS or traffic class byte, ECN bits included.
    pub tos: u8,
    /// Length of the IPv4 options, 0 to 40. Always 0 for IPv6 (p0f's `olen`).
    pub ip_options_len: u8,
    /// Length of the IPv6 extension headers. p0f 3.09 reads no packet that has some.
    pub extension_headers_len: u16,
    /// The "don't fragment" bit of IPv4. Always set for IPv6, as PF has it.
    pub dont_fragment: bool,
    /// The identification of IPv4, 0 for IPv6.
    pub id: u16,
    /// The flow label of IPv6, 0 for IPv4.
    pub flow_label: u32,
    /// Length of the packet by its own account, IP header included (PF's `psize`).
    pub total_len: u32,
    /// Length of IP and TCP header together with their options (p0f's `tot_hdr`), without
    /// extension headers.
    pub headers_len: u16,
    /// Length of the TCP header with its options, 20 to 60.
    pub tcp_header_len: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number, whether the ACK flag is set or not.
    pub ack: u32,
    /// TCP flags, see [`crate::rule::tcp_flags`].
    pub flags: u8,
    /// Window as it stands, not scaled.
    pub window: u16,
    /// Maximum segment size, if announced. The last option counts. p0f writes 0 for none.
    pub mss: Option<u16>,
    /// Window scale as it stands, also above 14. The last option counts. p0f writes 0 for none.
    pub window_scale: Option<u8>,
    /// Kinds of the TCP options in their order.
    pub layout: OptionLayout,
    /// The sender's timestamp, if there is one (p0f's `ts1`).
    pub timestamp: Option<u32>,
    /// The echoed timestamp, if there is one (p0f's `ts2`).
    pub timestamp_echo: Option<u32>,
    /// Length of the payload (p0f's `pclass` is whether it is 0).
    pub payload_len: u32,
    /// What is unusual, as p0f's documentation describes it.
    pub quirks: Quirks,
    /// What is unusual, as p0f 3.09b finds it: with its two faults, for answers that must be
    /// equal to its own. It overlooks `ack+` unless the lowest bit of the first byte of the
    /// acknowledgment number is set, and `opt+` when only the very last byte is not zero.
    pub p0f_quirks: Quirks,
    /// The options as PF reads them, or `None` where PF finds no fingerprint: an option that it
    /// does not know, or a length that is impossible.
    pub pf_options: Option<PfOptions>,
}

impl Features {
    /// Reads a packet that begins at the IP header. Bytes behind the length that the IP header
    /// announces are padding of the link and ignored. IPv6 extension headers are skipped, with
    /// the segment [`crate::wire::MAX_HEADERS`] at most. Checksums are not looked at.
    ///
    /// Cost: one walk over the headers, at most 40 bytes of TCP options twice.
    pub fn of(packet: &[u8]) -> Result<Self, NotFingerprintable> {
        let (ip, segment) = outlined(packet)?;
        Self::read(packet, &ip, segment)
    }

    /// The differentiated services code point: the TOS byte without the ECN bits (p0f's `tos`).
    #[must_use]
    pub fn dscp(&self) -> u8 {
        self.tos >> 2
    }

    /// Whether the packet carries data (p0f's payload class `+`).
    #[must_use]
    pub fn has_payload(&self) -> bool {
        self.payload_len != 0
    }

    fn read(packet: &[u8], ip: &IpHeader, segment: &[u8]) -> Result<Self, NotFingerprintable> {
        let flags = byte(segment, 13)?;
        let kind = kind(flags).ok_or(NotFingerprintable::NotHandshake)?;
        let header_len = usize::from(byte(segment, 12)? >> 4).saturating_mul(4);
        let options = segment
            .get(TCP_HEADER_LEN..header_len)
            .ok_or(NotFingerprintable::Malformed)?;
        let walk = TcpOptionWalk::run(options, kind);
        let common = ip_quirks(packet, ip)? | tcp_quirks(segment)?;
        Ok(Self {
            kind,
            source: SocketAddr::new(ip.source, be16(segment, 0)?),
            destination: SocketAddr::new(ip.destination, be16(segment, 2)?),
            family: ip.family,
            ttl: ip.ttl,
            tos: ip.tos,
            ip_options_len: ip_options_len(ip),
            extension_headers_len: extension_headers_len(ip),
            dont_fragment: ip.dont_fragment,
            id: ip.id,
            flow_label: flow_label(packet, ip.family)?,
            total_len: u32::try_from(ip.end).unwrap_or(u32::MAX),
            headers_len: len16(ip.header_len.saturating_add(header_len)),
            tcp_header_len: u8::try_from(header_len).unwrap_or(u8::MAX),
            seq: be32(segment, 4)?,
            ack: be32(segment, 8)?,
            flags,
            window: be16(segment, 14)?,
            mss: walk.mss,
            window_scale: walk.window_scale,
            layout: walk.layout,
            timestamp: walk.timestamp,
            timestamp_echo: walk.timestamp_echo,
            payload_len: u32::try_from(segment.len().saturating_sub(header_len))
                .unwrap_or(u32::MAX),
            quirks: common | acknowledgment(segment)? | walk.quirks,
            p0f_quirks: common | acknowledgment_p0f(segment)? | walk.p0f_quirks,
            pf_options: pf_options(options),
        })
    }
}

/// The IP header of an unfragmented TCP packet, and its TCP segment.
fn outlined(packet: &[u8]) -> Result<(IpHeader, &[u8]), NotFingerprintable> {
    let ip = IpHeader::outline(packet)?;
    if ip.end > packet.len() {
        return Err(NotFingerprintable::Truncated);
    }
    if ip.fragment.is_some_and(crate::wire::Fragment::is_partial) {
        return Err(NotFingerprintable::Fragment);
    }
    if ip.protocol.0 != PROTOCOL_TCP {
        return Err(NotFingerprintable::NotTcp);
    }
    let segment = packet
        .get(ip.l4_offset..ip.end)
        .ok_or(NotFingerprintable::Malformed)?;
    Ok((ip, segment))
}

fn kind(flags: u8) -> Option<Kind> {
    const SYN_ACK: u8 = tcp_flags::SYN | tcp_flags::ACK;
    let tested = SYN_ACK | tcp_flags::FIN | tcp_flags::RST;
    match flags & tested {
        tcp_flags::SYN => Some(Kind::Syn),
        SYN_ACK => Some(Kind::SynAck),
        _ => None,
    }
}

fn len16(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn ip_options_len(ip: &IpHeader) -> u8 {
    let least = match ip.family {
        Family::Inet => crate::wire::IPV4_HEADER_LEN,
        Family::Inet6 => IPV6_HEADER_LEN,
    };
    u8::try_from(ip.header_len.saturating_sub(least)).unwrap_or(u8::MAX)
}

fn extension_headers_len(ip: &IpHeader) -> u16 {
    len16(ip.l4_offset.saturating_sub(ip.header_len))
}

fn flow_label(packet: &[u8], family: Family) -> Result<u32, WireError> {
    match family {
        Family::Inet => Ok(0),
        Family::Inet6 => Ok(be32(packet, 0)? & 0x000f_ffff),
    }
}

fn ip_quirks(packet: &[u8], ip: &IpHeader) -> Result<Quirks, WireError> {
    let ecn = Quirks::ECN.when(ip.tos & 3 != 0);
    Ok(match ip.family {
        Family::Inet => ecn | ipv4_quirks(be16(packet, 6)?, ip),
        Family::Inet6 => ecn | Quirks::FLOW.when(flow_label(packet, ip.family)? != 0),
    })
}

/// `word` holds the flags of IPv4: reserved, DF, MF.
fn ipv4_quirks(word: u16, ip: &IpHeader) -> Quirks {
    let id = if ip.dont_fragment {
        Quirks::DF | Quirks::NONZERO_ID.when(ip.id != 0)
    } else {
        Quirks::ZERO_ID.when(ip.id == 0)
    };
    id | Quirks::RESERVED.when(word & 0x8000 != 0)
}

/// Everything but the acknowledgment number and the options.
fn tcp_quirks(segment: &[u8]) -> Result<Quirks, WireError> {
    let flags = byte(segment, 13)?;
    let nonce_sum = byte(segment, 12)? & 1;
    let urgent = flags & tcp_flags::URG != 0;
    let congestion = flags & (tcp_flags::ECE | tcp_flags::CWR) != 0 || nonce_sum != 0;
    Ok(Quirks::ECN.when(congestion)
        | Quirks::ZERO_SEQ.when(be32(segment, 4)? == 0)
        | Quirks::URGENT.when(urgent)
        | Quirks::NONZERO_URGENT_POINTER.when(!urgent && be16(segment, 18)? != 0)
        | Quirks::PUSH.when(flags & tcp_flags::PSH != 0))
}

fn acknowledgment(segment: &[u8]) -> Result<Quirks, WireError> {
    let ack = be32(segment, 8)?;
    let acknowledges = byte(segment, 13)? & tcp_flags::ACK != 0;
    Ok(Quirks::ZERO_ACK.when(acknowledges && ack == 0)
        | Quirks::NONZERO_ACK.when(!acknowledges && ack != 0))
}

/// p0f 3.09b negates a flag logically and then combines bitwise, so that one bit of the number
/// decides, the lowest of its first byte on a little-endian machine.
fn acknowledgment_p0f(segment: &[u8]) -> Result<Quirks, WireError> {
    let seen = byte(segment, 8)? & 1 != 0;
    let found = acknowledgment(segment)?;
    Ok(if seen {
        found
    } else {
        found.without(Quirks::NONZERO_ACK)
    })
}
