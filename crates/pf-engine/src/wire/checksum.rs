//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and SCTP's CRC-32C.

use std::net::IpAddr;

use super::bytes::{array, be16, put};
use super::meta::Meta;
use super::{SCTP_HEADER_LEN, WireError};
use crate::addr::{Family, Protocol};

/// Where the checksum lies in an IPv4 header.
pub(super) const IPV4_OFFSET: usize = 10;
/// Where the CRC-32C lies in an SCTP common header.
pub(super) const SCTP_OFFSET: usize = 8;

/// How the transport of a packet is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    /// The Internet checksum at this offset of the transport header.
    Sum {
        offset: usize,
        /// The addresses are covered (RFC 9293, section 3.1; RFC 8200, section 8.1).
        pseudo_header: bool,
        /// Zero stands for "none" (RFC 768; RFC 6935).
        optional: bool,
    },
    /// CRC-32C without addresses.
    Crc32c,
    /// Nothing that we know.
    None,
}

impl Coverage {
    pub(super) const fn of(family: Family, protocol: Protocol) -> Self {
        let (offset, pseudo_header, optional) = match (protocol, family) {
            (Protocol::TCP, _) => (16, true, false),
            (Protocol::UDP, _) => (6, true, true),
            (Protocol::ICMP, Family::Inet) => (2, false, false),
            (Protocol::ICMPV6, Family::Inet6) => (2, true, false),
            (Protocol::SCTP, _) => return Self::Crc32c,
            _ => return Self::None,
        };
        Self::Sum {
            offset,
            pseudo_header,
            optional,
        }
    }
}

/// What a change of bytes does to a checksum that covers them: RFC 1624, equation 3,
/// `HC' = ~(~HC + ~m + m')`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta(u64);

impl Delta {
    /// The change from `old` to `new`, bytes of the same number. `odd` tells that they begin in
    /// the middle of a 16-bit word of the covered range.
    pub(super) fn between(old: &[u8], new: &[u8], odd: bool) -> Self {
        // ~m summed over whole words is (number of words × 0xffff) − m, and 0xffff is the zero
        // of this arithmetic: the complement of the folded sum does for all words together.
        let removed = !fold(sum(old, odd));
        Self(sum(new, odd).wrapping_add(u64::from(removed)))
    }

    /// The checksum that was `checksum` before the change.
    pub(super) fn apply(self, checksum: u16) -> u16 {
        !fold(self.0.wrapping_add(u64::from(!checksum)))
    }
}

/// Sum of the 16-bit words of `bytes`, not folded; bytes at odd places count as low bytes, the
/// other way round when `odd`. Packets are far too short for the sum to overflow.
fn sum(bytes: &[u8], odd: bool) -> u64 {
    let (head, rest) = match bytes.split_first() {
        Some((&head, rest)) if odd => (u64::from(head), rest),
        _ => (0, bytes),
    };
    let (pairs, last) = rest.as_chunks::<2>();
    let tail = last.first().map_or(0, |&b| u64::from(b) << 8);
    pairs.iter().fold(head.wrapping_add(tail), |sum, &pair| {
        sum.wrapping_add(u64::from(u16::from_be_bytes(pair)))
    })
}

/// Adds the carries back in.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    u16::try_from(sum).unwrap_or_default()
}

/// The Internet checksum of `bytes`: what belongs in a checksum field that is zero in them.
#[must_use]
pub fn internet(bytes: &[u8]) -> u16 {
    !fold(sum(bytes, false))
}

/// The checksum of `segment` (transport header and payload, its own checksum field zero) with
/// the pseudo-header of its addresses (RFC 9293, section 3.1; RFC 8200, section 8.1).
///
/// A result of 0 is given as it is: UDP writes 0xffff for it.
#[must_use]
pub fn with_pseudo_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    segment: &[u8],
) -> u16 {
    !fold(sum(segment, false).wrapping_add(pseudo_sum(
        source,
        destination,
        protocol,
        segment.len(),
    )))
}

fn pseudo_sum(source: IpAddr, destination: IpAddr, protocol: Protocol, len: usize) -> u64 {
    let len = u64::try_from(len).unwrap_or_default();
    address_sum(source)
        .wrapping_add(address_sum(destination))
        .wrapping_add(u64::from(protocol.0))
        .wrapping_add(len)
}

fn address_sum(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(a) => sum(&a.octets(), false),
        IpAddr::V6(a) => sum(&a.octets(), false),
    }
}

/// CRC-32C of an SCTP packet whose checksum field is zero (RFC 9260, appendix A).
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    !crc32c_update(u32::MAX, bytes)
}

fn crc32c_update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, &b| {
        let low = (crc & 0xff) ^ u32::from(b);
        (crc >> 8) ^ crc32c_byte(low)
    })
}

/// The reflected polynomial of CRC-32C, run over one byte. Not worth a table: SCTP is rare.
const fn crc32c_byte(mut crc: u32) -> u32 {
    let mut bit = 0_u8;
    while bit < 8 {
        crc = if crc & 1 == 0 {
            crc >> 1
        } else {
            (crc >> 1) ^ 0x82f6_3b78
        };
        bit = bit.saturating_add(1);
    }
    crc
}

/// Whether the IPv4 header checksum of `packet` is right; always for IPv6, which has none.
#[must_use]
pub fn ip_header_valid(packet: &[u8], meta: &Meta) -> bool {
    match meta.family {
        Family::Inet6 => true,
        Family::Inet => packet
            .get(..meta.ip_header_len)
            .is_some_and(|header| fold(sum(header, false)) == 0xffff),
    }
}

/// Whether the transport checksum of `packet` is right. True where there is none: fragments,
/// other protocols, UDP with checksum 0.
#[must_use]
pub fn transport_valid(packet: &[u8], meta: &Meta) -> bool {
    let Some(segment) = packet.get(meta.l4_offset..meta.total_len) else {
        return false;
    };
    if meta.is_fragment() {
        return true;
    }
    match Coverage::of(meta.family, meta.protocol) {
        Coverage::None => true,
        Coverage::Crc32c => crc32c_of_segment(segment).is_ok_and(|(crc, stored)| crc == stored),
        Coverage::Sum {
            offset,
            pseudo_header,
            optional,
        } => {
            let absent = optional && be16(segment, offset) == Ok(0);
            absent || fold(covered_sum(meta, segment, pseudo_header)) == 0xffff
        }
    }
}

fn covered_sum(meta: &Meta, segment: &[u8], pseudo_header: bool) -> u64 {
    let own = sum(segment, false);
    if !pseudo_header {
        return own;
    }
    own.wrapping_add(pseudo_sum(
        meta.source,
        meta.destination,
        meta.protocol,
        segment.len(),
    ))
}

/// CRC-32C of `segment` as if its checksum field were zero, and the one that stands there, both
/// as they lie in the packet (least significant byte first).
fn crc32c_of_segment(segment: &[u8]) -> Result<(u32, u32), WireError> {
    let stored = u32::from_le_bytes(array(segment, SCTP_OFFSET)?);
    let before = segment.get(..SCTP_OFFSET).unwrap_or_default();
    let behind = segment.get(SCTP_HEADER_LEN..).unwrap_or_default();
    let crc = crc32c_update(u32::MAX, before);
    let crc = crc32c_update(crc, &[0; 4]);
    Ok((!crc32c_update(crc, behind), stored))
}

/// Computes the IPv4 header checksum of `packet` and its transport checksum anew, whatever
/// stands there. Fragments and unknown protocols: the header checksum only.
///
/// # Errors
/// When the packet cannot be parsed.
pub fn complete(packet: &mut [u8]) -> Result<(), WireError> {
    let meta = Meta::parse(packet)?;
    complete_ip_header(packet, &meta)?;
    complete_transport(packet, &meta)
}

/// Computes the IPv4 header checksum anew.
fn complete_ip_header(packet: &mut [u8], meta: &Meta) -> Result<(), WireError> {
    match meta.family {
        Family::Inet => complete_header_v4(packet, meta.ip_header_len),
        Family::Inet6 => Ok(()),
    }
}

/// Computes the checksum of an IPv4 header of `header_len` bytes anew.
pub(crate) fn complete_header_v4(packet: &mut [u8], header_len: usize) -> Result<(), WireError> {
    put(packet, IPV4_OFFSET, &[0, 0])?;
    let checksum = internet(packet.get(..header_len).ok_or(WireError::SHORT)?);
    put(packet, IPV4_OFFSET, &checksum.to_be_bytes())
}

/// Computes the transport checksum anew, also for UDP that had none.
fn complete_transport(packet: &mut [u8], meta: &Meta) -> Result<(), WireError> {
    if meta.is_fragment() {
        return Ok(());
    }
    let segment = packet
        .get_mut(meta.l4_offset..meta.total_len)
        .ok_or(WireError::SHORT)?;
    match Coverage::of(meta.family, meta.protocol) {
        Coverage::None => Ok(()),
        Coverage::Crc32c => complete_crc32c(segment),
        Coverage::Sum {
            offset,
            pseudo_header,
            optional,
        } => {
            put(segment, offset, &[0, 0])?;
            let checksum = !fold(covered_sum(meta, segment, pseudo_header));
            let checksum = present(checksum, optional);
            put(segment, offset, &checksum.to_be_bytes())
        }
    }
}

/// A checksum as it is written: where 0 stands for "none", 0xffff stands for 0 (RFC 768).
pub(super) const fn present(checksum: u16, optional: bool) -> u16 {
    match checksum {
        0 if optional => 0xffff,
        other => other,
    }
}

/// Computes the CRC-32C of an SCTP packet (common header first) anew.
pub(super) fn complete_crc32c(segment: &mut [u8]) -> Result<(), WireError> {
    let (crc, _) = crc32c_of_segment(segment)?;
    put(segment, SCTP_OFFSET, &crc.to_le_bytes())
}
