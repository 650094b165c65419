//! Transport headers.

use super::bytes::{be16, be32, byte};
use super::{
    ICMP_HEADER_LEN, ICMP6_ADDRESSED_LEN, SCTP_HEADER_LEN, TCP_HEADER_LEN, UDP_HEADER_LEN,
    WireError,
};
use crate::addr::{Family, Protocol};

/// The transport header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP (RFC 9293).
    Tcp(Tcp),
    /// UDP (RFC 768).
    Udp(Udp),
    /// ICMP in IPv4 (RFC 792).
    Icmp(Icmp),
    /// ICMPv6 in IPv6 (RFC 4443).
    Icmp6(Icmp),
    /// SCTP (RFC 9260).
    Sctp(Sctp),
    /// Another protocol; also ICMP in IPv6 and ICMPv6 in IPv4.
    Other,
    /// A piece of a datagram, the first included: not parsed, it is reassembled before.
    Fragment,
}

/// TCP header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number, also when the ACK flag is not set.
    pub ack: u32,
    /// Flags, see [`crate::rule::tcp_flags`].
    pub flags: u8,
    /// Window as it stands, not scaled.
    pub window: u16,
    /// Length of the header with options.
    pub header_len: usize,
    /// Where the options begin in the packet.
    pub options_offset: usize,
}

/// UDP header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Whether it carries a checksum (the field is not zero).
    pub has_checksum: bool,
}

/// ICMP or ICMPv6 header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Bytes 4 to 8: identifier and sequence number of a query, MTU of "packet too big"
    /// (low 16 bits for IPv4), pointer, gateway.
    pub parameter: u32,
    /// What follows.
    pub body: IcmpBody,
}

/// Kinds of ICMP messages that PF tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpBody {
    /// A query or its answer, with an identifier.
    Query {
        /// Identifier.
        id: u16,
    },
    /// An error (or redirect): quotes the packet that caused it at [`super::Meta::quoted_offset`].
    Error,
    /// Anything else: router discovery, neighbour discovery, MLD.
    Other,
}

/// SCTP common header fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sctp {
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Verification tag.
    pub verification_tag: u32,
}

/// ICMP types and codes (IANA "ICMP Parameters").
pub mod icmp {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Router advertisement (RFC 1256).
    pub const ROUTER_ADVERTISEMENT: u8 = 9;
    /// Router solicitation (RFC 1256).
    pub const ROUTER_SOLICITATION: u8 = 10;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Timestamp request.
    pub const TIMESTAMP: u8 = 13;
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: u8 = 14;
    /// Information request.
    pub const INFORMATION: u8 = 15;
    /// Information reply.
    pub const INFORMATION_REPLY: u8 = 16;
    /// Address mask request.
    pub const MASK: u8 = 17;
    /// Address mask reply.
    pub const MASK_REPLY: u8 = 18;
    /// "Where are you", of IPv6's trials.
    pub const WHERE_ARE_YOU: u8 = 33;
    /// "I am here".
    pub const I_AM_HERE: u8 = 34;
    /// Mobile registration request.
    pub const REGISTRATION_REQUEST: u8 = 35;
    /// Mobile registration reply.
    pub const REGISTRATION_REPLY: u8 = 36;
    /// Code of "unreachable": port.
    pub const CODE_PORT: u8 = 3;
    /// Code of "unreachable": fragmentation needed and "don't fragment" set.
    pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;

    /// Whether messages of this type quote a packet (RFC 1122, section 3.2.2).
    #[must_use]
    pub const fn is_error(kind: u8) -> bool {
        matches!(
            kind,
            UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM
        )
    }

    /// Whether messages of this type carry an identifier.
    #[must_use]
    pub const fn is_query(kind: u8) -> bool {
        matches!(
            kind,
            ECHO_REPLY
                | ECHO_REQUEST
                | TIMESTAMP
                | TIMESTAMP_REPLY
                | INFORMATION
                | INFORMATION_REPLY
                | MASK
                | MASK_REPLY
        )
    }
}

/// ICMPv6 types and codes (IANA "ICMPv6 Parameters").
pub mod icmp6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query.
    pub const LISTENER_QUERY: u8 = 130;
    /// Multicast listener report.
    pub const LISTENER_REPORT: u8 = 131;
    /// Multicast listener done.
    pub const LISTENER_DONE: u8 = 132;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Neighbor solicitation.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbor advertisement.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// Multicast listener report, version 2.
    pub const LISTENER_REPORT_V2: u8 = 143;
    /// Answer to a multicast traceroute, as the BSDs number them.
    pub const TRACE_RESPONSE: u8 = 200;
    /// Multicast traceroute.
    pub const TRACE: u8 = 201;
    /// Code of "unreachable": port.
    pub const CODE_PORT: u8 = 4;

    /// Whether messages of this type quote a packet.
    #[must_use]
    pub const fn is_error(kind: u8) -> bool {
        matches!(
            kind,
            UNREACHABLE | PACKET_TOO_BIG | TIME_EXCEEDED | PARAMETER_PROBLEM
        )
    }

    /// Whether messages of this type carry an identifier.
    #[must_use]
    pub const fn is_query(kind: u8) -> bool {
        matches!(kind, ECHO_REQUEST | ECHO_REPLY)
    }

    /// Whether this is Neighbor Discovery (RFC 4861): router solicitation to redirect.
    #[must_use]
    pub const fn is_discovery(kind: u8) -> bool {
        matches!(kind, ROUTER_SOLICITATION..=REDIRECT)
    }

    /// Whether a message of this type is about an address that stands in it, as far as PF looks:
    /// MLD's queries and reports of version 1 (RFC 2710), neighbor solicitation and advertisement
    /// (RFC 4861).
    #[must_use]
    pub const fn names_address(kind: u8) -> bool {
        matches!(
            kind,
            LISTENER_QUERY | LISTENER_REPORT | NEIGHBOR_SOLICITATION | NEIGHBOR_ADVERTISEMENT
        )
    }

    /// Whether this is Multicast Listener Discovery (RFC 2710, RFC 9777).
    #[must_use]
    pub const fn is_mld(kind: u8) -> bool {
        matches!(
            kind,
            LISTENER_QUERY | LISTENER_REPORT | LISTENER_DONE | LISTENER_REPORT_V2
        )
    }
}

impl IcmpBody {
    /// What a message of type `kind` with `parameter` in bytes 4 to 8 is.
    pub(super) fn of(family: Family, kind: u8, parameter: u32) -> Self {
        let (is_query, is_error) = match family {
            Family::Inet => (icmp::is_query(kind), icmp::is_error(kind)),
            Family::Inet6 => (icmp6::is_query(kind), icmp6::is_error(kind)),
        };
        let [high, low, ..] = parameter.to_be_bytes();
        match (is_query, is_error) {
            (true, _) => Self::Query {
                id: u16::from_be_bytes([high, low]),
            },
            (_, true) => Self::Error,
            _ => Self::Other,
        }
    }
}

/// Reads the transport header at `at`; `packet` ends where the IP header says. Gives the
/// header's length too.
pub(super) fn parse(
    packet: &[u8],
    at: usize,
    family: Family,
    protocol: Protocol,
) -> Result<(Transport, usize), WireError> {
    match (protocol, family) {
        (Protocol::TCP, _) => parse_tcp(packet, at),
        (Protocol::UDP, _) => parse_udp(packet, at),
        (Protocol::SCTP, _) => parse_sctp(packet, at),
        (Protocol::ICMP, Family::Inet) => {
            parse_icmp(packet, at, family).map(|i| (Transport::Icmp(i), ICMP_HEADER_LEN))
        }
        (Protocol::ICMPV6, Family::Inet6) => {
            parse_icmp(packet, at, family).map(|i| (Transport::Icmp6(i), ICMP_HEADER_LEN))
        }
        _ => Ok((Transport::Other, 0)),
    }
}

/// The bytes of a header of `len` bytes at `at`.
fn header(packet: &[u8], at: usize, len: usize) -> Result<&[u8], WireError> {
    packet
        .get(at..at.saturating_add(len))
        .ok_or(WireError::SHORT)
}

fn parse_tcp(packet: &[u8], at: usize) -> Result<(Transport, usize), WireError> {
    let fixed = header(packet, at, TCP_HEADER_LEN)?;
    let header_len = usize::from(byte(fixed, 12)? >> 4).saturating_mul(4);
    if header_len < TCP_HEADER_LEN {
        return Err(WireError::SHORT);
    }
    header(packet, at, header_len)?;
    let tcp = Tcp {
        source_port: be16(fixed, 0)?,
        destination_port: be16(fixed, 2)?,
        seq: be32(fixed, 4)?,
        ack: be32(fixed, 8)?,
        flags: byte(fixed, 13)?,
        window: be16(fixed, 14)?,
        header_len,
        options_offset: at.saturating_add(TCP_HEADER_LEN),
    };
    Ok((Transport::Tcp(tcp), header_len))
}

/// As PF, refuses port 0 as destination and a length that does not fit.
fn parse_udp(packet: &[u8], at: usize) -> Result<(Transport, usize), WireError> {
    let fixed = header(packet, at, UDP_HEADER_LEN)?;
    let udp = Udp {
        source_port: be16(fixed, 0)?,
        destination_port: be16(fixed, 2)?,
        has_checksum: be16(fixed, 6)? != 0,
    };
    let len = usize::from(be16(fixed, 4)?);
    if udp.destination_port == 0 || len < UDP_HEADER_LEN {
        return Err(WireError::SHORT);
    }
    header(packet, at, len)?;
    Ok((Transport::Udp(udp), UDP_HEADER_LEN))
}

/// As PF, refuses port 0 (RFC 9260, section 3.1).
fn parse_sctp(packet: &[u8], at: usize) -> Result<(Transport, usize), WireError> {
    let fixed = header(packet, at, SCTP_HEADER_LEN)?;
    let sctp = Sctp {
        source_port: be16(fixed, 0)?,
        destination_port: be16(fixed, 2)?,
        verification_tag: be32(fixed, 4)?,
    };
    if sctp.source_port == 0 || sctp.destination_port == 0 {
        return Err(WireError::SHORT);
    }
    Ok((Transport::Sctp(sctp), SCTP_HEADER_LEN))
}

/// As PF, refuses messages without the address that they are about.
fn parse_icmp(packet: &[u8], at: usize, family: Family) -> Result<Icmp, WireError> {
    let fixed = header(packet, at, ICMP_HEADER_LEN)?;
    let kind = byte(fixed, 0)?;
    if family == Family::Inet6 && icmp6::names_address(kind) {
        header(packet, at, ICMP6_ADDRESSED_LEN)?;
    }
    let parameter = be32(fixed, 4)?;
    Ok(Icmp {
        kind,
        code: byte(fixed, 1)?,
        parameter,
        body: IcmpBody::of(family, kind, parameter),
    })
}
