//! Rewriting in place: the bytes, every checksum that covers them, and the parsed value.
//!
//! A function that fails because a value does not fit has changed nothing.

use std::net::IpAddr;

use super::WireError;
use super::bytes::{array, be16, byte, put};
use super::checksum::{self, Coverage, Delta};
use super::meta::Meta;
use super::quoted::{Quoted, QuotedIcmp, QuotedTransport};
use super::tcp::TcpOption;
use super::transport::{IcmpBody, Tcp, Transport};
use crate::addr::Family;
use crate::decision::DropReason;
use crate::rule::tcp_flags;

/// Offsets in transport headers.
mod field {
    pub(super) const SOURCE_PORT: usize = 0;
    pub(super) const DESTINATION_PORT: usize = 2;
    pub(super) const ICMP_ID: usize = 4;
    pub(super) const TCP_SEQ: usize = 4;
    pub(super) const TCP_ACK: usize = 8;
    /// Length of the header and reserved bits, then the flags.
    pub(super) const TCP_LENGTH: usize = 12;
    pub(super) const TCP_URGENT: usize = 18;
}

/// Rewriting of addresses, ports and identifiers, in place: the bytes, every checksum that covers
/// them, and the parsed value. [`Meta`] rewrites the packet that was parsed into it; [`Quoted`] the
/// packet that an ICMP error quotes, its own checksums as far as they are quoted and the ICMP
/// checksum around it, where `packet` is the outer packet.
pub trait Rewrite: Parsed {
    /// Changes the source address: IPv4 header checksum and pseudo-header too. A routing header
    /// (IPv6) is left as it is.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] for an address of the other family.
    fn set_source(&mut self, packet: &mut [u8], address: IpAddr) -> Result<(), WireError> {
        let parts = self.parts();
        parts.site.set_address(packet, Side::Source, address)?;
        *parts.source = address;
        Ok(())
    }

    /// Changes the destination address, as [`Rewrite::set_source`] does the source.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] for an address of the other family.
    fn set_destination(&mut self, packet: &mut [u8], address: IpAddr) -> Result<(), WireError> {
        let parts = self.parts();
        parts.site.set_address(packet, Side::Destination, address)?;
        *parts.destination = address;
        Ok(())
    }

    /// Changes the source port of TCP, UDP or SCTP.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet has no ports.
    fn set_source_port(&mut self, packet: &mut [u8], port: u16) -> Result<(), WireError> {
        self.parts().set_port(packet, Side::Source, port)
    }

    /// Changes the destination port of TCP, UDP or SCTP.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet has no ports.
    fn set_destination_port(&mut self, packet: &mut [u8], port: u16) -> Result<(), WireError> {
        self.parts().set_port(packet, Side::Destination, port)
    }

    /// Changes the identifier of an ICMP query or its answer.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet has none.
    fn set_icmp_id(&mut self, packet: &mut [u8], new: u16) -> Result<(), WireError> {
        self.parts().set_icmp_id(packet, new)
    }

    /// Changes the ports that are given; of an ICMP query its identifier, to the first of the two
    /// that is given. Nothing happens to a packet that has neither ports nor an identifier.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when `packet` is not the one that was parsed.
    fn set_ports_or_id(
        &mut self,
        packet: &mut [u8],
        source: Option<u16>,
        destination: Option<u16>,
    ) -> Result<(), WireError> {
        match self.parts().numbers {
            Numbers::Ports { .. } => {
                source.map_or(Ok(()), |port| self.set_source_port(packet, port))?;
                destination.map_or(Ok(()), |port| self.set_destination_port(packet, port))
            }
            Numbers::IcmpId { .. } => source
                .or(destination)
                .map_or(Ok(()), |id| self.set_icmp_id(packet, id)),
            Numbers::None => Ok(()),
        }
    }
}

impl Rewrite for Meta {}
impl Rewrite for Quoted {}

/// A parsed packet, as far as [`Rewrite`] must know it.
pub trait Parsed {
    /// Where it lies, and what was parsed of it.
    fn parts(&mut self) -> Parts<'_>;
}

/// Where a packet lies, and the parsed values that must follow a change of its bytes.
pub struct Parts<'a> {
    site: Site,
    source: &'a mut IpAddr,
    destination: &'a mut IpAddr,
    numbers: Numbers<'a>,
}

/// What tells the connections of two hosts apart.
enum Numbers<'a> {
    Ports {
        source: &'a mut u16,
        destination: &'a mut u16,
    },
    IcmpId {
        id: &'a mut u16,
        /// Bytes 4 to 8 of the header, where they were kept.
        parameter: Option<&'a mut u32>,
    },
    None,
}

impl Parts<'_> {
    fn set_port(self, packet: &mut [u8], side: Side, port: u16) -> Result<(), WireError> {
        let Numbers::Ports {
            source,
            destination,
        } = self.numbers
        else {
            return Err(WireError::UNFIT);
        };
        let (offset, parsed) = match side {
            Side::Source => (field::SOURCE_PORT, source),
            Side::Destination => (field::DESTINATION_PORT, destination),
        };
        let at = self.site.l4_field(offset);
        self.site.set_l4_bytes(packet, at, port.to_be_bytes())?;
        *parsed = port;
        Ok(())
    }

    fn set_icmp_id(self, packet: &mut [u8], new: u16) -> Result<(), WireError> {
        let Numbers::IcmpId { id, parameter } = self.numbers else {
            return Err(WireError::UNFIT);
        };
        let at = self.site.l4_field(field::ICMP_ID);
        self.site.set_l4_bytes(packet, at, new.to_be_bytes())?;
        *id = new;
        if let Some(parameter) = parameter {
            *parameter = (u32::from(new) << 16) | (*parameter & 0xffff);
        }
        Ok(())
    }
}

impl Parsed for Meta {
    fn parts(&mut self) -> Parts<'_> {
        let site = Site::of_packet(self);
        let numbers = match &mut self.transport {
            Transport::Tcp(t) => ports(&mut t.source_port, &mut t.destination_port),
            Transport::Udp(u) => ports(&mut u.source_port, &mut u.destination_port),
            Transport::Sctp(s) => ports(&mut s.source_port, &mut s.destination_port),
            Transport::Icmp(icmp) | Transport::Icmp6(icmp) => match &mut icmp.body {
                IcmpBody::Query { id } => Numbers::IcmpId {
                    id,
                    parameter: Some(&mut icmp.parameter),
                },
                IcmpBody::Error | IcmpBody::Other => Numbers::None,
            },
            Transport::Other | Transport::Fragment => Numbers::None,
        };
        Parts {
            site,
            source: &mut self.source,
            destination: &mut self.destination,
            numbers,
        }
    }
}

impl Parsed for Quoted {
    fn parts(&mut self) -> Parts<'_> {
        let site = Site::of_quoted(self);
        let numbers = match &mut self.transport {
            QuotedTransport::Tcp(t) => ports(&mut t.source_port, &mut t.destination_port),
            QuotedTransport::Udp(u) => ports(&mut u.source_port, &mut u.destination_port),
            QuotedTransport::Sctp(s) => ports(&mut s.source_port, &mut s.destination_port),
            QuotedTransport::Icmp(QuotedIcmp { id: Some(id), .. })
            | QuotedTransport::Icmp6(QuotedIcmp { id: Some(id), .. }) => Numbers::IcmpId {
                id,
                parameter: None,
            },
            QuotedTransport::Icmp(_) | QuotedTransport::Icmp6(_) | QuotedTransport::Other => {
                Numbers::None
            }
        };
        Parts {
            site,
            source: &mut self.source,
            destination: &mut self.destination,
            numbers,
        }
    }
}

const fn ports<'a>(source: &'a mut u16, destination: &'a mut u16) -> Numbers<'a> {
    Numbers::Ports {
        source,
        destination,
    }
}

/// Which of the two ends.
#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

/// An IP packet inside of a slice: the packet itself, or the one that an ICMP error quotes.
#[derive(Clone, Copy)]
struct Site {
    /// Where the IP header begins.
    ip: usize,
    family: Family,
    /// Where the transport header begins.
    l4: usize,
    /// Where the packet or the quotation ends.
    end: usize,
    coverage: Coverage,
    /// Where the checksum of the ICMP error around it lies.
    outer: Option<usize>,
}

impl Site {
    fn of_packet(meta: &Meta) -> Self {
        // A fragment's bytes may be no header, and the checksum is in another one.
        let coverage = if meta.is_fragment() {
            Coverage::None
        } else {
            Coverage::of(meta.family, meta.protocol)
        };
        Self {
            ip: 0,
            family: meta.family,
            l4: meta.l4_offset,
            end: meta.total_len,
            coverage,
            outer: None,
        }
    }

    fn of_quoted(quoted: &Quoted) -> Self {
        Self {
            ip: quoted.offset,
            family: quoted.family,
            l4: quoted.l4_offset,
            end: quoted.end,
            coverage: Coverage::of(quoted.family, quoted.protocol),
            outer: Some(quoted.outer_checksum),
        }
    }

    fn set_address(self, packet: &mut [u8], side: Side, address: IpAddr) -> Result<(), WireError> {
        match (self.family, address) {
            (Family::Inet, IpAddr::V4(a)) => self.set_address_v4(packet, side, a.octets()),
            (Family::Inet6, IpAddr::V6(a)) => {
                let at = self.ip.saturating_add(match side {
                    Side::Source => 8,
                    Side::Destination => 24,
                });
                let delta = self.replace(packet, at, &a.octets())?;
                self.fix_transport(packet, delta, true)
            }
            (Family::Inet, IpAddr::V6(_)) | (Family::Inet6, IpAddr::V4(_)) => Err(WireError::UNFIT),
        }
    }

    fn set_address_v4(
        self,
        packet: &mut [u8],
        side: Side,
        address: [u8; 4],
    ) -> Result<(), WireError> {
        let at = self.ip.saturating_add(match side {
            Side::Source => 12,
            Side::Destination => 16,
        });
        let delta = self.replace(packet, at, &address)?;
        self.fix_ipv4(packet, delta)?;
        self.fix_transport(packet, delta, true)
    }

    /// Overwrites `N` bytes at `at` inside the IPv4 header, or the IPv6 header.
    fn set_ip_field<const N: usize>(
        self,
        packet: &mut [u8],
        at: usize,
        value: [u8; N],
    ) -> Result<(), WireError> {
        let delta = self.replace(packet, self.ip.saturating_add(at), &value)?;
        match self.family {
            Family::Inet => self.fix_ipv4(packet, delta),
            Family::Inet6 => Ok(()),
        }
    }

    /// Overwrites bytes of the transport header (or payload) at `at` of the packet.
    fn set_l4_bytes<const N: usize>(
        self,
        packet: &mut [u8],
        at: usize,
        value: [u8; N],
    ) -> Result<(), WireError> {
        let delta = self.replace(packet, at, &value)?;
        self.fix_transport(packet, delta, false)
    }

    /// Writes `value` at `at`, tells the outer checksum, and gives the change for the others.
    fn replace<const N: usize>(
        self,
        packet: &mut [u8],
        at: usize,
        value: &[u8; N],
    ) -> Result<Delta, WireError> {
        let bytes = packet.get_mut(..self.end).ok_or(WireError::UNFIT)?;
        let old: [u8; N] = array(bytes, at)?;
        // Every header begins at an even offset, so the place in the packet tells the place in
        // the 16-bit words of all checksums.
        let delta = Delta::between(&old, value, at & 1 == 1);
        if let Some(outer) = self.outer {
            let sum = delta.apply(be16(bytes, outer)?);
            put(bytes, outer, &sum.to_be_bytes())?;
        }
        put(bytes, at, value)?;
        Ok(delta)
    }

    fn fix_ipv4(self, packet: &mut [u8], delta: Delta) -> Result<(), WireError> {
        let at = self.ip.saturating_add(checksum::IPV4_OFFSET);
        let sum = delta.apply(be16(packet, at)?);
        self.replace(packet, at, &sum.to_be_bytes())?;
        Ok(())
    }

    /// Brings the transport checksum up to date with a change of its bytes, or of the addresses.
    fn fix_transport(
        self,
        packet: &mut [u8],
        delta: Delta,
        addresses: bool,
    ) -> Result<(), WireError> {
        match self.coverage {
            Coverage::None => Ok(()),
            Coverage::Crc32c => self.fix_crc32c(packet, addresses),
            Coverage::Sum {
                offset,
                pseudo_header,
                optional,
            } => {
                let at = self.l4.saturating_add(offset);
                if addresses && !pseudo_header || at.saturating_add(2) > self.end {
                    return Ok(());
                }
                self.fix_sum(packet, at, delta, optional)?;
                self.fix_zero(packet, at, pseudo_header)
            }
        }
    }

    fn fix_sum(
        self,
        packet: &mut [u8],
        at: usize,
        delta: Delta,
        optional: bool,
    ) -> Result<(), WireError> {
        let old = be16(packet, at)?;
        if old == 0 && optional {
            return Ok(());
        }
        let sum = checksum::present(delta.apply(old), optional);
        self.replace(packet, at, &sum.to_be_bytes())?;
        Ok(())
    }

    /// The one case that equation 3 gets wrong: a message of nothing but zeros, whose checksum
    /// is 0xffff and not 0. Only an ICMP echo reply can be one.
    fn fix_zero(self, packet: &mut [u8], at: usize, pseudo_header: bool) -> Result<(), WireError> {
        let segment = packet.get(self.l4..self.end).ok_or(WireError::UNFIT)?;
        if pseudo_header || self.outer.is_some() || segment.iter().any(|&b| b != 0) {
            return Ok(());
        }
        put(packet, at, &[0xff, 0xff])
    }

    /// A CRC has no incremental update worth its code. A quoted one is left: most of what it
    /// covers is not there.
    fn fix_crc32c(self, packet: &mut [u8], addresses: bool) -> Result<(), WireError> {
        if addresses || self.outer.is_some() {
            return Ok(());
        }
        let segment = packet.get_mut(self.l4..self.end);
        checksum::complete_crc32c(segment.ok_or(WireError::UNFIT)?)
    }

    fn l4_field(self, offset: usize) -> usize {
        self.l4.saturating_add(offset)
    }
}

/// Rewriting that only whole packets need. `packet` must be the one that was parsed into `self`.
impl Meta {
    /// Changes the TCP sequence number.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet is not TCP.
    pub fn set_tcp_seq(&mut self, packet: &mut [u8], seq: u32) -> Result<(), WireError> {
        self.set_tcp_u32(packet, field::TCP_SEQ, seq)?.seq = seq;
        Ok(())
    }

    /// Changes the TCP acknowledgment number.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet is not TCP.
    pub fn set_tcp_ack(&mut self, packet: &mut [u8], ack: u32) -> Result<(), WireError> {
        self.set_tcp_u32(packet, field::TCP_ACK, ack)?.ack = ack;
        Ok(())
    }

    /// Gives a segment these flags, clears the bits `reserved` beside the length of its header, and
    /// its urgent pointer unless the flags have URG. Whether it was otherwise before.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet is not TCP.
    pub fn set_tcp_flags(
        &mut self,
        packet: &mut [u8],
        flags: u8,
        reserved: u8,
    ) -> Result<bool, WireError> {
        let site = Site::of_packet(self);
        let Transport::Tcp(tcp) = &mut self.transport else {
            return Err(WireError::UNFIT);
        };
        let (length_at, urgent_at) = (
            site.l4_field(field::TCP_LENGTH),
            site.l4_field(field::TCP_URGENT),
        );
        let length = byte(packet, length_at)?;
        let (old, new) = ([length, tcp.flags], [length & !reserved, flags]);
        let is_stray = flags & tcp_flags::URG == 0 && be16(packet, urgent_at)? != 0;
        if old != new {
            site.set_l4_bytes(packet, length_at, new)?;
            tcp.flags = flags;
        }
        if is_stray {
            site.set_l4_bytes(packet, urgent_at, [0; 2])?;
        }
        Ok(old != new || is_stray)
    }

    fn set_tcp_u32(
        &mut self,
        packet: &mut [u8],
        offset: usize,
        value: u32,
    ) -> Result<&mut Tcp, WireError> {
        let site = Site::of_packet(self);
        let Transport::Tcp(tcp) = &mut self.transport else {
            return Err(WireError::UNFIT);
        };
        site.set_l4_bytes(packet, site.l4_field(offset), value.to_be_bytes())?;
        Ok(tcp)
    }

    /// Adds `difference` (wrapping) to both edges of every SACK block. Nothing happens without
    /// SACK option.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet is not TCP.
    pub fn add_to_sack_edges(&self, packet: &mut [u8], difference: u32) -> Result<(), WireError> {
        let site = Site::of_packet(self);
        let tcp = self.tcp().ok_or(WireError::UNFIT)?;
        // At most 40 bytes of options: no more than 4 blocks in each of at most 4 options.
        let edges: Vec<usize> = tcp.options(packet).flat_map(sack_edges).collect();
        for at in edges {
            let edge = u32::from_be_bytes(array(packet, at)?).wrapping_add(difference);
            site.set_l4_bytes(packet, at, edge.to_be_bytes())?;
        }
        Ok(())
    }

    /// Changes both values of the TCP timestamps (RFC 7323). Nothing happens without them.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet is not TCP.
    pub fn set_tcp_timestamps(
        &self,
        packet: &mut [u8],
        value: u32,
        echo: u32,
    ) -> Result<(), WireError> {
        let site = Site::of_packet(self);
        let tcp = self.tcp().ok_or(WireError::UNFIT)?;
        let place = |option| {
            let TcpOption::Timestamps { offset, .. } = option else {
                return None;
            };
            Some(offset)
        };
        let Some(at) = tcp.options(packet).find_map(place) else {
            return Ok(());
        };
        site.set_l4_bytes(packet, at, value.to_be_bytes())?;
        site.set_l4_bytes(packet, at.saturating_add(4), echo.to_be_bytes())
    }

    /// Changes TTL or hop limit.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when `packet` is not the one that was parsed.
    pub fn set_ttl(&mut self, packet: &mut [u8], ttl: u8) -> Result<(), WireError> {
        let at = match self.family {
            Family::Inet => 8,
            Family::Inet6 => 7,
        };
        Site::of_packet(self).set_ip_field(packet, at, [ttl])?;
        self.ttl = ttl;
        Ok(())
    }

    /// Takes one off TTL or hop limit, as a router does (RFC 1812, section 5.3.1).
    ///
    /// # Errors
    /// `ttl-exceeded` when nothing would be left; the packet is unchanged then.
    pub fn decrement_ttl(&mut self, packet: &mut [u8]) -> Result<(), WireError> {
        match self.ttl.checked_sub(1) {
            None | Some(0) => Err(WireError {
                reason: DropReason::TtlExceeded,
            }),
            Some(ttl) => self.set_ttl(packet, ttl),
        }
    }

    /// Changes type of service or traffic class, all 8 bits.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when `packet` is not the one that was parsed.
    pub fn set_tos(&mut self, packet: &mut [u8], tos: u8) -> Result<(), WireError> {
        let site = Site::of_packet(self);
        match self.family {
            Family::Inet => site.set_ip_field(packet, 1, [tos])?,
            Family::Inet6 => {
                let first = (byte(packet, 0)? & 0xf0) | (tos >> 4);
                let second = (byte(packet, 1)? & 0x0f) | (tos << 4);
                site.set_ip_field(packet, 0, [first, second])?;
            }
        }
        self.tos = tos;
        Ok(())
    }

    /// Clears IPv4's "don't fragment" (`no-df`). Nothing happens to IPv6 packets.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when `packet` is not the one that was parsed.
    pub fn clear_dont_fragment(&mut self, packet: &mut [u8]) -> Result<(), WireError> {
        if self.family == Family::Inet6 {
            return Ok(());
        }
        let high = byte(packet, 6)? & !0x40;
        Site::of_packet(self).set_ip_field(packet, 6, [high])?;
        self.dont_fragment = false;
        Ok(())
    }

    /// Changes IPv4's identification (`random-id`). Nothing happens to IPv6 packets.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when `packet` is not the one that was parsed.
    pub fn set_ip_id(&mut self, packet: &mut [u8], id: u16) -> Result<(), WireError> {
        if self.family == Family::Inet6 {
            return Ok(());
        }
        Site::of_packet(self).set_ip_field(packet, 4, id.to_be_bytes())?;
        self.ip_id = id;
        if let Some(fragment) = &mut self.fragment {
            fragment.id = u32::from(id);
        }
        Ok(())
    }

    /// Lowers the maximum segment size that is announced to `max`, wherever it is larger.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the packet is not TCP.
    pub fn lower_mss(&self, packet: &mut [u8], max: u16) -> Result<(), WireError> {
        let site = Site::of_packet(self);
        let tcp = self.tcp().ok_or(WireError::UNFIT)?;
        let larger = |option| {
            let TcpOption::MaximumSegmentSize { offset, value } = option else {
                return None;
            };
            (value > max).then_some(offset)
        };
        // At most 40 bytes of options: no more than 10 of them.
        let places: Vec<usize> = tcp.options(packet).filter_map(larger).collect();
        for at in places {
            site.set_l4_bytes(packet, at, max.to_be_bytes())?;
        }
        Ok(())
    }
}

/// Offsets of all edges of one option, if it is SACK.
fn sack_edges(option: TcpOption) -> impl Iterator<Item = usize> {
    let (offset, blocks) = if let TcpOption::Sack { offset, blocks } = option {
        (offset, blocks)
    } else {
        (0, 0)
    };
    (0..blocks.saturating_mul(2)).map(move |edge| offset.saturating_add(edge.saturating_mul(4)))
}

/// Rewriting that only quoted TCP needs. `packet` is the outer packet that was parsed.
impl Quoted {
    /// Changes the quoted TCP sequence number.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the quoted packet is not TCP.
    pub fn set_tcp_seq(&mut self, packet: &mut [u8], seq: u32) -> Result<(), WireError> {
        let site = Site::of_quoted(self);
        let QuotedTransport::Tcp(tcp) = &mut self.transport else {
            return Err(WireError::UNFIT);
        };
        site.set_l4_bytes(packet, site.l4_field(field::TCP_SEQ), seq.to_be_bytes())?;
        tcp.seq = seq;
        Ok(())
    }

    /// Changes the quoted TCP acknowledgment number, where it is quoted.
    ///
    /// # Errors
    /// [`WireError::UNFIT`] when the quoted packet is not TCP.
    pub fn set_tcp_ack(&mut self, packet: &mut [u8], ack: u32) -> Result<(), WireError> {
        let site = Site::of_quoted(self);
        let QuotedTransport::Tcp(tcp) = &mut self.transport else {
            return Err(WireError::UNFIT);
        };
        if let Some(parsed) = &mut tcp.ack {
            site.set_l4_bytes(packet, site.l4_field(field::TCP_ACK), ack.to_be_bytes())?;
            *parsed = ack;
        }
        Ok(())
    }
}
