//! What the headers of a packet say, parsed once.

use std::net::{IpAddr, Ipv4Addr};

use super::ip::{IpHeader, Options};
use super::transport::{self, Icmp, IcmpBody, Tcp, Transport, icmp6};
use super::{IPV6_HEADER_LEN, WireError};
use crate::addr::{Family, Protocol};

/// Internet Group Management Protocol, whose packets carry router alert.
const IGMP: Protocol = Protocol(2);
/// The group that every host of a link is in (RFC 1112, section 4).
const ALL_HOSTS: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1));

/// What the headers of a packet say. All offsets count from the start of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Address family.
    pub family: Family,
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol above IP, behind any IPv6 extension headers and IPv4's authentication headers.
    pub protocol: Protocol,
    /// Length of the IPv4 header with options; 40 for IPv6.
    pub ip_header_len: usize,
    /// Where the transport header begins (behind extension headers).
    pub l4_offset: usize,
    /// Where the transport's payload begins; [`Meta::l4_offset`] for protocols that are not
    /// parsed and for fragments.
    pub payload_offset: usize,
    /// Length of the packet by its IP header, at most the slice's; what follows is padding.
    pub total_len: usize,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class (DSCP and ECN).
    pub tos: u8,
    /// IPv4 identification; 0 for IPv6.
    pub ip_id: u16,
    /// IPv4 "don't fragment"; always set for IPv6, whose routers never fragment.
    pub dont_fragment: bool,
    /// Set for fragments, and for IPv6 packets with a fragment header that are whole
    /// (RFC 6946); see [`Meta::is_fragment`].
    pub fragment: Option<Fragment>,
    /// IPv4 options, or IPv6 options or a routing header, that need `allow-opts` (pf.conf(5)):
    /// also if they are nothing but padding. Router alert of IGMP and MLD does not.
    pub has_ip_options: bool,
    /// The transport header.
    pub transport: Transport,
}

/// Place of a fragment in its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in bytes, a multiple of 8.
    pub offset: usize,
    /// More fragments follow.
    pub more: bool,
    /// Identification: 16 bits for IPv4, 32 for IPv6.
    pub id: u32,
    /// Where the IPv6 fragment header lies; nothing for IPv4.
    pub header_offset: Option<usize>,
    /// Where the "next header" byte that announces the fragment header lies; 0 for IPv4.
    pub(crate) announced_at: usize,
}

impl Fragment {
    /// Whether the datagram has other pieces than this.
    #[must_use]
    pub const fn is_partial(self) -> bool {
        self.offset != 0 || self.more
    }
}

impl Meta {
    /// Reads the headers of `packet`. Checksums are not verified.
    ///
    /// # Errors
    /// [`WireError::SHORT`] for a packet that is too short for its headers or their lengths,
    /// [`WireError::IP_OPTION`] for broken options, more than [`super::MAX_HEADERS`] headers behind
    /// the IP header, routing header type 0 (RFC 5095) or a second one, a jumbo payload;
    /// [`WireError::FRAGMENT`] for a second fragment header; [`WireError::UNFIT`] for an IPv6
    /// packet of no length, which is what is left of a jumbogram.
    pub fn parse(packet: &[u8]) -> Result<Self, WireError> {
        let ip = IpHeader::parse(packet, 0)?;
        let l4 = packet.get(..ip.end).ok_or(WireError::SHORT)?;
        if ip.family == Family::Inet6 && ip.end == IPV6_HEADER_LEN {
            return Err(WireError::UNFIT);
        }
        if ip.l4_offset > ip.end {
            return Err(WireError::SHORT);
        }
        let (transport, l4_header_len) = match ip.fragment {
            Some(f) if f.is_partial() => (Transport::Fragment, 0),
            _ => transport::parse(l4, ip.l4_offset, ip.family, ip.protocol)?,
        };
        Ok(Self {
            family: ip.family,
            source: ip.source,
            destination: ip.destination,
            protocol: ip.protocol,
            ip_header_len: ip.header_len,
            l4_offset: ip.l4_offset,
            payload_offset: ip.l4_offset.saturating_add(l4_header_len),
            total_len: ip.end,
            ttl: ip.ttl,
            tos: ip.tos,
            ip_id: ip.id,
            dont_fragment: ip.dont_fragment,
            fragment: ip.fragment,
            has_ip_options: needs_permission(ip.options, ip.protocol, &transport),
            transport,
        })
    }

    /// Whether this is a piece of a datagram. Its transport header is not parsed then.
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        matches!(self.transport, Transport::Fragment)
    }

    /// Whether this is a piece of a datagram other than its first.
    #[must_use]
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|f| f.offset != 0)
    }

    /// Whether this is ICMP in IPv6 or ICMPv6 in IPv4, whole.
    #[must_use]
    pub fn is_of_other_family(&self) -> bool {
        let other = match self.family {
            Family::Inet => Protocol::ICMPV6,
            Family::Inet6 => Protocol::ICMP,
        };
        self.protocol == other && !self.is_fragment()
    }

    /// Whether this is an IGMP or MLD message that cannot have come from its own link: IGMP's to all
    /// hosts are sent with a TTL of 1 (RFC 1112, appendix I), MLD's all, from a link-local address
    /// (RFC 2710, section 3), a listener's also from none (RFC 3590).
    #[must_use]
    pub fn is_stray_group_message(&self) -> bool {
        match (&self.transport, self.source) {
            (Transport::Icmp6(icmp), IpAddr::V6(source)) if icmp6::is_mld(icmp.kind) => {
                let is_of_listener = icmp.kind != icmp6::LISTENER_QUERY;
                let is_from_link =
                    source.is_unicast_link_local() || is_of_listener && source.is_unspecified();
                self.ttl != 1 || !is_from_link
            }
            _ => {
                let is_igmp = self.family == Family::Inet && self.protocol == IGMP;
                is_igmp && self.ttl != 1 && self.destination == ALL_HOSTS
            }
        }
    }

    /// Whether this is Neighbor Discovery that cannot have come from its own link: it is sent with a
    /// hop limit of 255, which no router lets pass as it is (RFC 4861, section 3.1).
    #[must_use]
    pub const fn is_stray_discovery(&self) -> bool {
        matches!(self.transport, Transport::Icmp6(icmp) if icmp6::is_discovery(icmp.kind))
            && self.ttl != u8::MAX
    }

    /// Length of what follows the transport header.
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.total_len.saturating_sub(self.payload_offset)
    }

    /// Length of transport header and payload.
    #[must_use]
    pub const fn l4_len(&self) -> usize {
        self.total_len.saturating_sub(self.l4_offset)
    }

    /// Source and destination port of TCP, UDP and SCTP.
    #[must_use]
    pub const fn ports(&self) -> Option<(u16, u16)> {
        match self.transport {
            Transport::Tcp(t) => Some((t.source_port, t.destination_port)),
            Transport::Udp(u) => Some((u.source_port, u.destination_port)),
            Transport::Sctp(s) => Some((s.source_port, s.destination_port)),
            Transport::Icmp(_) | Transport::Icmp6(_) | Transport::Other | Transport::Fragment => {
                None
            }
        }
    }

    /// The TCP header.
    #[must_use]
    pub const fn tcp(&self) -> Option<&Tcp> {
        match &self.transport {
            Transport::Tcp(t) => Some(t),
            Transport::Udp(_)
            | Transport::Icmp(_)
            | Transport::Icmp6(_)
            | Transport::Sctp(_)
            | Transport::Other
            | Transport::Fragment => None,
        }
    }

    /// The ICMP header, of the packet's own family.
    #[must_use]
    pub const fn icmp(&self) -> Option<&Icmp> {
        match &self.transport {
            Transport::Icmp(i) | Transport::Icmp6(i) => Some(i),
            Transport::Tcp(_)
            | Transport::Udp(_)
            | Transport::Sctp(_)
            | Transport::Other
            | Transport::Fragment => None,
        }
    }

    /// Where the packet that an ICMP error quotes begins.
    #[must_use]
    pub const fn quoted_offset(&self) -> Option<usize> {
        match self.icmp() {
            Some(Icmp {
                body: IcmpBody::Error,
                ..
            }) => Some(self.payload_offset),
            _ => None,
        }
    }
}

/// pf.conf(5), `allow-opts`: router alert is expected of IGMP (RFC 3376) and MLD (RFC 2710).
fn needs_permission(options: Options, protocol: Protocol, transport: &Transport) -> bool {
    let alert_expected =
        protocol == IGMP || matches!(transport, Transport::Icmp6(i) if icmp6::is_mld(i.kind));
    options.other || (options.router_alert && !alert_expected)
}
