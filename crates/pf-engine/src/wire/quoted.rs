//! The packet that an ICMP error quotes, usually cut off behind 8 bytes of transport header.

use std::net::IpAddr;

use super::WireError;
use super::bytes::{be16, be32, byte};
use super::checksum::Coverage;
use super::ip::IpHeader;
use super::meta::Meta;
use super::transport::{IcmpBody, Sctp, Udp};
use crate::addr::{Family, Protocol};

/// What is quoted of a transport header at least (RFC 792).
const QUOTED_L4_LEN: usize = 8;

/// The headers of the packet that an ICMP error quotes. All offsets count from the start of the
/// outer packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Address family, always the outer packet's.
    pub family: Family,
    /// Source address of the quoted packet.
    pub source: IpAddr,
    /// Destination address of the quoted packet.
    pub destination: IpAddr,
    /// Its protocol, behind any IPv6 extension headers.
    pub protocol: Protocol,
    /// Where its IP header begins.
    pub offset: usize,
    /// Where its transport header begins.
    pub l4_offset: usize,
    /// Where the outer packet ends: the quotation is there up to here at most.
    pub end: usize,
    /// Length that its IP header announces; more than what is quoted, usually.
    pub total_len: usize,
    /// Its transport header.
    pub transport: QuotedTransport,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    /// Where the outer ICMP checksum lies.
    pub(super) outer_checksum: usize,
}

/// The first 8 bytes of a quoted transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedTransport {
    /// TCP.
    Tcp(QuotedTcp),
    /// UDP.
    Udp(Udp),
    /// ICMP in IPv4.
    Icmp(QuotedIcmp),
    /// ICMPv6 in IPv6.
    Icmp6(QuotedIcmp),
    /// SCTP.
    Sctp(Sctp),
    /// Any other protocol.
    Other,
}

/// What is surely quoted of a TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedTcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number, if that much is quoted.
    pub ack: Option<u32>,
}

/// What is surely quoted of an ICMP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotedIcmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier, for queries and their answers.
    pub id: Option<u16>,
}

impl Quoted {
    /// Reads the packet quoted in `packet`, whose headers are `meta`.
    ///
    /// # Errors
    /// [`WireError::SHORT`] when `packet` is no ICMP error, or quotes less than an IP header and
    /// 8 bytes of a transport header that we read, or a packet of the other family; `fragment` when it quotes a fragment
    /// other than the first (RFC 1122, section 3.2.2: such are never sent).
    pub fn parse(packet: &[u8], meta: &Meta) -> Result<Self, WireError> {
        let offset = meta.quoted_offset().ok_or(WireError::SHORT)?;
        let quotation = packet.get(..meta.total_len).ok_or(WireError::SHORT)?;
        let ip = IpHeader::parse(quotation, offset)?;
        if ip.family != meta.family {
            return Err(WireError::SHORT);
        }
        if ip.fragment.is_some_and(|f| f.offset != 0) {
            return Err(WireError::FRAGMENT);
        }
        Ok(Self {
            family: ip.family,
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            offset,
            l4_offset: ip.l4_offset,
            end: meta.total_len,
            total_len: ip.end.saturating_sub(offset),
            ttl: ip.ttl,
            tos: ip.tos,
            transport: transport(quotation, ip.l4_offset, ip.family, ip.protocol)?,
            outer_checksum: meta.l4_offset.saturating_add(2),
        })
    }

    /// Source and destination port of TCP, UDP and SCTP.
    #[must_use]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            QuotedTransport::Tcp(t) => Some((t.source_port, t.destination_port)),
            QuotedTransport::Udp(u) => Some((u.source_port, u.destination_port)),
            QuotedTransport::Sctp(s) => Some((s.source_port, s.destination_port)),
            QuotedTransport::Icmp(_) | QuotedTransport::Icmp6(_) | QuotedTransport::Other => None,
        }
    }
}

fn transport(
    bytes: &[u8],
    at: usize,
    family: Family,
    protocol: Protocol,
) -> Result<QuotedTransport, WireError> {
    if Coverage::of(family, protocol) == Coverage::None {
        return Ok(QuotedTransport::Other);
    }
    let first = bytes
        .get(at..at.saturating_add(QUOTED_L4_LEN))
        .ok_or(WireError::SHORT)?;
    Ok(match (protocol, family) {
        (Protocol::TCP, _) => QuotedTransport::Tcp(QuotedTcp {
            source_port: be16(first, 0)?,
            destination_port: be16(first, 2)?,
            seq: be32(first, 4)?,
            ack: be32(bytes, at.saturating_add(8)).ok(),
        }),
        (Protocol::UDP, _) => QuotedTransport::Udp(Udp {
            source_port: be16(first, 0)?,
            destination_port: be16(first, 2)?,
            has_checksum: be16(first, 6)? != 0,
        }),
        (Protocol::SCTP, _) => QuotedTransport::Sctp(Sctp {
            source_port: be16(first, 0)?,
            destination_port: be16(first, 2)?,
            verification_tag: be32(first, 4)?,
        }),
        (Protocol::ICMP, Family::Inet) => QuotedTransport::Icmp(icmp(first, family)?),
        (Protocol::ICMPV6, Family::Inet6) => QuotedTransport::Icmp6(icmp(first, family)?),
        _ => QuotedTransport::Other,
    })
}

fn icmp(first: &[u8], family: Family) -> Result<QuotedIcmp, WireError> {
    let kind = byte(first, 0)?;
    let id = match IcmpBody::of(family, kind, be32(first, 4)?) {
        IcmpBody::Query { id } => Some(id),
        IcmpBody::Error | IcmpBody::Other => None,
    };
    Ok(QuotedIcmp {
        kind,
        code: byte(first, 1)?,
        id,
    })
}
