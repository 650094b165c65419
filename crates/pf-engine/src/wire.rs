//! Packets as they are on the wire: parsing, rewriting in place, checksums, building.
//!
//! A packet is `&[u8]` or `&mut [u8]` that begins at the IP header, checksums complete; bytes
//! behind the length that the IP header announces are link-layer padding and are left alone.
//! [`Meta::parse`] looks at the headers once; [`Rewrite`] and the rewriting functions of [`Meta`]
//! and [`Quoted`] change bytes, every checksum that covers them (RFC 1624) and the parsed value together.
//! Nothing here panics, whatever the bytes are.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

pub mod build;
pub mod checksum;

mod bytes;
pub(crate) mod families;
mod ip;
mod meta;
mod quoted;
mod rewrite;
pub(crate) mod sctp;
mod tcp;
mod transport;

pub(crate) use self::bytes::{be16, be32, byte, put};
pub(crate) use self::ip::IpHeader;
pub use self::ip::MAX_HEADERS;
pub(crate) use self::ip::addresses;
pub use self::meta::{Fragment, Meta};
pub use self::quoted::{Quoted, QuotedIcmp, QuotedTcp, QuotedTransport};
pub use self::rewrite::Rewrite;
pub(crate) use self::tcp::kind as option_kind;
pub use self::tcp::{TcpOption, TcpOptions};
pub use self::transport::{Icmp, IcmpBody, Sctp, Tcp, Transport, Udp, icmp, icmp6};

use crate::decision::DropReason;

/// Length of an IPv4 header without options (RFC 791).
pub const IPV4_HEADER_LEN: usize = 20;
/// Length of the fixed IPv6 header (RFC 8200).
pub const IPV6_HEADER_LEN: usize = 40;
/// Length of the IPv6 fragment header (RFC 8200, section 4.5).
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// Length of a TCP header without options (RFC 9293).
pub const TCP_HEADER_LEN: usize = 20;
/// Length of a UDP header (RFC 768).
pub const UDP_HEADER_LEN: usize = 8;
/// Length of an ICMP or ICMPv6 header (RFC 792, RFC 4443).
pub const ICMP_HEADER_LEN: usize = 8;
/// Length of an ICMPv6 message that is about an address: MLD of version 1 (RFC 2710, section 3),
/// neighbor solicitation and advertisement without options (RFC 4861, sections 4.3, 4.4).
pub(crate) const ICMP6_ADDRESSED_LEN: usize = 24;
/// Length of the SCTP common header (RFC 9260).
pub const SCTP_HEADER_LEN: usize = 12;
/// The largest IP packet without jumbo payload option, header included (RFC 791).
pub const MAX_PACKET_LEN: usize = 65_535;

/// Why a packet cannot be read or rewritten, as the reason to drop and count it under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed packet: {}", reason.name())]
pub struct WireError {
    /// What the packet is counted under.
    pub reason: DropReason,
}

impl WireError {
    /// Too short for the headers that it announces.
    pub const SHORT: Self = Self {
        reason: DropReason::Short,
    };
    /// Broken or refused IP options or extension headers.
    pub const IP_OPTION: Self = Self {
        reason: DropReason::IpOption,
    };
    /// A fragment that no host sends.
    pub const FRAGMENT: Self = Self {
        reason: DropReason::Fragment,
    };
    /// An address of the wrong family, or bytes that are not the ones that were parsed; a packet of
    /// no length.
    pub const UNFIT: Self = Self {
        reason: DropReason::Normalize,
    };
}

#[cfg(test)]
pub(crate) mod tests;
