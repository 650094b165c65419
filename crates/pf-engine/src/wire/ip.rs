//! IPv4 and IPv6 headers, with options and extension headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{array, be16, be32, byte};
use super::meta::Fragment;
use super::{FRAGMENT_HEADER_LEN, IPV4_HEADER_LEN, IPV6_HEADER_LEN, WireError};
use crate::addr::{Family, Protocol};

/// Headers behind the IP header that are looked at, the upper layer's among them, before a packet
/// is refused as `ip-option` (`pf_hdr_limit` of OpenBSD, `PF_HDR_LIMIT` of FreeBSD).
pub const MAX_HEADERS: usize = 20;

/// IPv4 and IPv6 options that are padding or harmless.
mod option {
    pub(super) const V4_END: u8 = 0;
    pub(super) const V4_NOP: u8 = 1;
    pub(super) const V4_ROUTER_ALERT: u8 = 148;
    pub(super) const V6_PAD1: u8 = 0;
    pub(super) const V6_PADN: u8 = 1;
    pub(super) const V6_ROUTER_ALERT: u8 = 5;
    /// RFC 2675.
    pub(super) const V6_JUMBO: u8 = 0xc2;
}

/// IPv6 extension headers (IANA "IPv6 Extension Header Types"), of which IPv4 has one too.
mod extension {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

/// Which options a packet carries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Router alert (RFC 2113, RFC 2711): harmless for IGMP and MLD.
    pub(crate) router_alert: bool,
    /// Anything else: routing and destination headers too, and padding where there is nothing
    /// to pad.
    pub(crate) other: bool,
}

impl Options {
    /// A header with options ends. One that has nothing but padding has no honest use.
    const fn close(&mut self) {
        self.other |= !self.router_alert;
    }
}

/// An IP header as read from a packet; offsets count from the start of the slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpHeader {
    pub(crate) family: Family,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: Protocol,
    pub(crate) header_len: usize,
    pub(crate) l4_offset: usize,
    /// Where the packet ends by its own account.
    pub(crate) end: usize,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) fragment: Option<Fragment>,
    pub(crate) options: Options,
}

impl IpHeader {
    /// Reads the header at `at`. The announced length is not compared with the slice's.
    pub(super) fn parse(bytes: &[u8], at: usize) -> Result<Self, WireError> {
        match byte(bytes, at)? >> 4 {
            4 => parse_v4(bytes, at),
            6 => parse_v6(bytes, at),
            _ => Err(WireError::SHORT),
        }
    }

    /// The same at the start of `bytes`, for one who only watches: the options of an IPv4 header
    /// may be anything, and neither they nor authentication headers are looked at.
    pub(crate) fn outline(bytes: &[u8]) -> Result<Self, WireError> {
        match byte(bytes, 0)? >> 4 {
            4 => outline_v4(bytes, 0),
            6 => parse_v6(bytes, 0),
            _ => Err(WireError::SHORT),
        }
    }
}

fn parse_v4(bytes: &[u8], at: usize) -> Result<IpHeader, WireError> {
    let mut header = outline_v4(bytes, at)?;
    let options = bytes
        .get(at.saturating_add(IPV4_HEADER_LEN)..header.l4_offset)
        .ok_or(WireError::SHORT)?;
    if !options.is_empty() {
        header.options = options_v4(options)?;
    }
    // Fragments keep what the IPv4 header says, so that those of a datagram are told alike.
    if header.fragment.is_none() {
        (header.protocol, header.l4_offset) =
            behind_authentication(bytes, header.protocol, header.l4_offset)?;
    }
    Ok(header)
}

/// The protocol inside of authentication headers (RFC 4302), and where it begins.
fn behind_authentication(
    bytes: &[u8],
    mut protocol: Protocol,
    mut at: usize,
) -> Result<(Protocol, usize), WireError> {
    for _ in 0..MAX_HEADERS {
        if protocol.0 != extension::AUTHENTICATION {
            return Ok((protocol, at));
        }
        protocol = Protocol(byte(bytes, at)?);
        let units = byte(bytes, at.saturating_add(1))?;
        at = at.saturating_add(authentication_len(units));
    }
    Err(WireError::IP_OPTION)
}

/// An authentication header counts in words, less two (RFC 4302, section 2.2).
fn authentication_len(units: u8) -> usize {
    usize::from(units).saturating_add(2).saturating_mul(4)
}

/// RFC 791, section 3.1.
fn outline_v4(bytes: &[u8], at: usize) -> Result<IpHeader, WireError> {
    let fixed: [u8; IPV4_HEADER_LEN] = array(bytes, at)?;
    let header_len = usize::from(byte(&fixed, 0)? & 0x0f).saturating_mul(4);
    let total_len = usize::from(be16(&fixed, 2)?);
    if header_len < IPV4_HEADER_LEN || total_len < header_len {
        return Err(WireError::SHORT);
    }
    let l4_offset = at.saturating_add(header_len);
    let word = be16(&fixed, 6)?;
    let id = be16(&fixed, 4)?;
    Ok(IpHeader {
        family: Family::Inet,
        source: IpAddr::V4(Ipv4Addr::from(array::<4>(&fixed, 12)?)),
        destination: IpAddr::V4(Ipv4Addr::from(array::<4>(&fixed, 16)?)),
        protocol: Protocol(byte(&fixed, 9)?),
        header_len,
        l4_offset,
        end: at.saturating_add(total_len),
        ttl: byte(&fixed, 8)?,
        tos: byte(&fixed, 1)?,
        id,
        dont_fragment: word & 0x4000 != 0,
        fragment: fragment_v4(word, id),
        options: Options::default(),
    })
}

fn fragment_v4(word: u16, id: u16) -> Option<Fragment> {
    (word & 0x3fff != 0).then(|| Fragment {
        offset: usize::from(word & 0x1fff).saturating_mul(8),
        more: word & 0x2000 != 0,
        id: u32::from(id),
        header_offset: None,
        announced_at: 0,
    })
}

fn options_v4(mut rest: &[u8]) -> Result<Options, WireError> {
    let mut found = Options::default();
    while let Some(&kind) = rest.first() {
        let len = match kind {
            option::V4_END => break,
            option::V4_NOP => 1,
            _ => usize::from(*rest.get(1).ok_or(WireError::IP_OPTION)?),
        };
        if kind == option::V4_ROUTER_ALERT {
            found.router_alert = true;
        } else if kind != option::V4_NOP {
            found.other = true;
        }
        rest = advance(rest, len, if kind == option::V4_NOP { 1 } else { 2 })?;
    }
    found.close();
    Ok(found)
}

/// `rest` behind an option of `len` bytes, which cannot be shorter than `least`.
fn advance(rest: &[u8], len: usize, least: usize) -> Result<&[u8], WireError> {
    if len < least {
        return Err(WireError::IP_OPTION);
    }
    rest.get(len..).ok_or(WireError::IP_OPTION)
}

/// RFC 8200, section 3.
fn parse_v6(bytes: &[u8], at: usize) -> Result<IpHeader, WireError> {
    let fixed: [u8; IPV6_HEADER_LEN] = array(bytes, at)?;
    let payload_len = usize::from(be16(&fixed, 4)?);
    let walk = Walk::new(byte(&fixed, 6)?, at.saturating_add(IPV6_HEADER_LEN)).run(bytes)?;
    Ok(IpHeader {
        family: Family::Inet6,
        source: IpAddr::V6(Ipv6Addr::from(array::<16>(&fixed, 8)?)),
        destination: IpAddr::V6(Ipv6Addr::from(array::<16>(&fixed, 24)?)),
        protocol: Protocol(walk.next),
        header_len: IPV6_HEADER_LEN,
        l4_offset: walk.at,
        end: at
            .saturating_add(IPV6_HEADER_LEN)
            .saturating_add(payload_len),
        ttl: byte(&fixed, 7)?,
        tos: u8::try_from((be16(&fixed, 0)? >> 4) & 0xff).unwrap_or_default(),
        id: 0,
        dont_fragment: true,
        fragment: walk.fragment,
        options: walk.options,
    })
}

/// The walk along the extension headers (RFC 8200, section 4). It ends at the first header
/// that is none, and at the fragment header of a true fragment.
#[derive(Clone, Copy, Debug)]
struct Walk {
    next: u8,
    /// Where the byte lies that gave `next`.
    announced_at: usize,
    at: usize,
    fragment: Option<Fragment>,
    /// There was a routing header.
    routed: bool,
    options: Options,
}

impl Walk {
    fn new(next: u8, at: usize) -> Self {
        Self {
            next,
            announced_at: at.saturating_sub(IPV6_HEADER_LEN).saturating_add(6),
            at,
            fragment: None,
            routed: false,
            options: Options::default(),
        }
    }

    fn run(mut self, bytes: &[u8]) -> Result<Self, WireError> {
        for step in 0..MAX_HEADERS {
            if self.ended() {
                return Ok(self);
            }
            self.step(bytes, step == 0)?;
        }
        Err(WireError::IP_OPTION)
    }

    fn ended(&self) -> bool {
        let upper_layer = !matches!(
            self.next,
            extension::HOP_BY_HOP
                | extension::ROUTING
                | extension::FRAGMENT
                | extension::AUTHENTICATION
                | extension::DESTINATION
        );
        upper_layer || self.fragment.is_some_and(Fragment::is_partial)
    }

    fn step(&mut self, bytes: &[u8], first: bool) -> Result<(), WireError> {
        let next = byte(bytes, self.at)?;
        let units = byte(bytes, self.at.saturating_add(1))?;
        let len = match self.next {
            extension::FRAGMENT => FRAGMENT_HEADER_LEN,
            extension::AUTHENTICATION => authentication_len(units),
            _ => usize::from(units).saturating_add(1).saturating_mul(8),
        };
        let end = self.at.saturating_add(len);
        let header = bytes.get(self.at..end).ok_or(WireError::SHORT)?;
        match self.next {
            extension::FRAGMENT => self.fragment(header)?,
            extension::ROUTING => self.routing(header)?,
            // Anywhere else than right behind the IPv6 header it is an error (section 4.1).
            extension::HOP_BY_HOP if !first => return Err(WireError::IP_OPTION),
            extension::HOP_BY_HOP => {
                self.options_of(header)?;
                self.options.close();
            }
            // They need permission whatever is in them, and nobody but the receiver reads them, as in PF.
            extension::DESTINATION => self.options.other = true,
            _ => {}
        }
        self.next = next;
        self.announced_at = self.at;
        self.at = end;
        Ok(())
    }

    /// RFC 8200, section 4.5. Two of them in one packet make no sense.
    fn fragment(&mut self, header: &[u8]) -> Result<(), WireError> {
        if self.fragment.is_some() {
            return Err(WireError::FRAGMENT);
        }
        let word = be16(header, 2)?;
        self.fragment = Some(Fragment {
            offset: usize::from(word & 0xfff8),
            more: word & 1 != 0,
            id: be32(header, 4)?,
            header_offset: Some(self.at),
            announced_at: self.announced_at,
        });
        Ok(())
    }

    /// Type 0 is refused (RFC 5095), and a second one (RFC 8200, section 4.1); else they need
    /// `allow-opts`.
    fn routing(&mut self, header: &[u8]) -> Result<(), WireError> {
        self.options.other = true;
        if self.routed || byte(header, 2)? == 0 {
            return Err(WireError::IP_OPTION);
        }
        self.routed = true;
        Ok(())
    }

    /// RFC 8200, section 4.2. A packet that says how long it is by the jumbo payload option is not
    /// one that fits into what we read, whatever its header says.
    fn options_of(&mut self, header: &[u8]) -> Result<(), WireError> {
        let mut rest = header.get(2..).unwrap_or_default();
        while let Some(&kind) = rest.first() {
            if kind == option::V6_PAD1 {
                rest = advance(rest, 1, 1)?;
                continue;
            }
            match kind {
                option::V6_PADN => {}
                option::V6_ROUTER_ALERT => self.options.router_alert = true,
                option::V6_JUMBO => return Err(WireError::IP_OPTION),
                _ => self.options.other = true,
            }
            let data = usize::from(*rest.get(1).ok_or(WireError::IP_OPTION)?);
            rest = advance(rest, data.saturating_add(2), 2)?;
        }
        Ok(())
    }
}

/// Source and destination of a packet, whatever else is wrong with it; nothing if it is shorter
/// than the fixed header of its family.
pub(crate) fn addresses(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match bytes.first()? >> 4 {
        4 => {
            let header = bytes.get(..IPV4_HEADER_LEN)?;
            let address = |at| Some(Ipv4Addr::from(array::<4>(header, at).ok()?));
            Some((address(12)?.into(), address(16)?.into()))
        }
        6 => {
            let header = bytes.get(..IPV6_HEADER_LEN)?;
            let address = |at| Some(Ipv6Addr::from(array::<16>(header, at).ok()?));
            Some((address(8)?.into(), address(24)?.into()))
        }
        _ => None,
    }
}
