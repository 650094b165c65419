//! What a captured frame carries: the IP packet, and what the frame tells of its way.

use pf_engine::decision::EtherAddresses;
use pf_engine::ether::Frame as EtherFrame;
use pf_engine::wire::MAX_PACKET_LEN;

use super::Frame;
use crate::pflog::record::{self, Order, RECORD_HEADER};

/// Link types that are read, by libpcap's list.
const NULL: u32 = 0;
const ETHERNET: u32 = 1;
const RAW: [u32; 3] = [12, 14, 101];
const LOOP: u32 = 108;
const COOKED: u32 = 113;
const PFLOG: u32 = record::LINK_TYPE;
const IPV4: u32 = 228;
const IPV6: u32 = 229;
const COOKED_2: u32 = 276;

/// Tags of a frame that are looked behind: 802.1ad allows two.
const TAGS_MAX: usize = 2;
const TAG_TYPES: [u16; 3] = [0x8100, 0x88a8, 0x9100];
const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
/// A session of `PPPoE` (RFC 2516): version, code, session and length, then PPP.
const TYPE_PPPOE: u16 = 0x8864;
const PPPOE_HEADER: usize = 6;
/// IPv4 and IPv6 in PPP (RFC 1332, RFC 5072).
const PPP_IP: [u16; 2] = [0x0021, 0x0057];
/// `PACKET_OUTGOING` of Linux.
const OUTGOING: u16 = 4;
/// `AF_INET` everywhere.
const AF_INET: u32 = 2;
/// `AF_INET6` of Linux, NetBSD and OpenBSD, FreeBSD, macOS.
const AF_INET6: [u32; 4] = [10, 24, 28, 30];
/// Bytes of an interface's name (`IFNAMSIZ`), without its end.
const NAME_MAX: usize = 15;

/// An IP packet out of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    /// IP header first. What the capture cut off is zeros.
    pub(crate) bytes: Vec<u8>,
    /// Bytes that were cut off.
    pub(crate) cut: usize,
    pub(crate) ether: Option<EtherAddresses>,
    /// The priority in its tag.
    pub(crate) priority: Option<u8>,
    /// Whether the box sent it, where the frame tells.
    pub(crate) outgoing: Option<bool>,
    /// The interface, where the frame tells.
    pub(crate) interface: Option<String>,
}

/// Why a frame carries no IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoPacket {
    /// Something else is in it.
    Other(String),
    /// Frames of this type are not read.
    LinkType(u32),
}

/// Takes `frame` apart.
pub(crate) fn unwrap(frame: &Frame) -> Result<Carried, NoPacket> {
    let bytes = frame.bytes.as_slice();
    let mut carried = match frame.link_type {
        ETHERNET => ethernet(bytes),
        NULL | LOOP => loopback(bytes),
        COOKED => cooked(bytes),
        COOKED_2 => cooked_2(bytes),
        IPV4 | IPV6 => bare(bytes),
        PFLOG => return logged(frame).ok_or_else(short),
        raw if RAW.contains(&raw) => bare(bytes),
        other => return Err(NoPacket::LinkType(other)),
    }?;
    carried.outgoing = carried.outgoing.or(frame.outgoing);
    complete(&mut carried, frame.length.saturating_sub(bytes.len()));
    Ok(carried)
}

/// What rules for frames see of an Ethernet frame.
pub(crate) fn other_frame(frame: &Frame) -> Option<EtherFrame> {
    let bytes = frame.bytes.as_slice();
    let address = |at: usize| bytes.get(at..)?.first_chunk().copied();
    let (ether_type, _) = typed(bytes.get(12..)?).ok()?;
    (frame.link_type == ETHERNET).then_some(EtherFrame {
        ether: EtherAddresses {
            source: address(6)?,
            destination: address(0)?,
        },
        ether_type,
        len: frame.length.max(bytes.len()),
        received_on: None,
    })
}

/// Puts zeros in the place of what was cut off.
fn complete(carried: &mut Carried, cut: usize) {
    let whole = carried.bytes.len().saturating_add(cut).min(MAX_PACKET_LEN);
    carried.cut = whole.saturating_sub(carried.bytes.len());
    if carried.cut > 0 {
        carried.bytes.resize(whole, 0);
    }
}

fn short() -> NoPacket {
    NoPacket::Other("frame too short".to_owned())
}

fn ethernet(frame: &[u8]) -> Result<Carried, NoPacket> {
    let (header, rest) = frame.split_at_checked(12).ok_or_else(short)?;
    let address = |at: usize| {
        header
            .get(at..)
            .and_then(|rest| rest.first_chunk().copied())
    };
    let ether = match (address(0), address(6)) {
        (Some(destination), Some(source)) => Some(EtherAddresses {
            source,
            destination,
        }),
        _ => None,
    };
    let (kind, rest) = typed(rest)?;
    let carried = tagged(kind, rest)?;
    Ok(Carried { ether, ..carried })
}

fn typed(bytes: &[u8]) -> Result<(u16, &[u8]), NoPacket> {
    let (kind, rest) = bytes.split_first_chunk().ok_or_else(short)?;
    Ok((u16::from_be_bytes(*kind), rest))
}

/// The IP packet behind an Ethernet type, tags taken off; nothing where there is none.
pub(crate) fn behind(kind: u16, rest: &[u8]) -> &[u8] {
    untagged(kind, rest).map_or(&[], |(_, packet)| packet)
}

fn tagged(kind: u16, rest: &[u8]) -> Result<Carried, NoPacket> {
    let (priority, packet) = untagged(kind, rest)?;
    Ok(Carried {
        bytes: packet.to_vec(),
        priority,
        ..Carried::default()
    })
}

/// The priority in the outer tag, and the packet.
fn untagged(mut kind: u16, mut rest: &[u8]) -> Result<(Option<u8>, &[u8]), NoPacket> {
    let mut priority = None;
    for _ in 0..TAGS_MAX {
        if TAG_TYPES.contains(&kind) {
            let (tag, behind) = typed(rest)?;
            priority = priority.or(u8::try_from(tag >> 13).ok());
            (kind, rest) = typed(behind)?;
        }
    }
    match kind {
        TYPE_IPV4 | TYPE_IPV6 => Ok((priority, rest)),
        TYPE_PPPOE => Ok((priority, pppoe(rest)?)),
        0x0806 => Err(NoPacket::Other("ARP".to_owned())),
        0..0x0600 => Err(NoPacket::Other("IEEE 802.2".to_owned())),
        kind => Err(NoPacket::Other(format!("Ethernet type 0x{kind:04x}"))),
    }
}

fn pppoe(session: &[u8]) -> Result<&[u8], NoPacket> {
    let (_, ppp) = session.split_at_checked(PPPOE_HEADER).ok_or_else(short)?;
    match typed(ppp)? {
        (protocol, packet) if PPP_IP.contains(&protocol) => Ok(packet),
        (protocol, _) => Err(NoPacket::Other(format!("PPP protocol 0x{protocol:04x}"))),
    }
}

fn bare(bytes: &[u8]) -> Result<Carried, NoPacket> {
    match bytes.first().map(|byte| byte >> 4) {
        Some(4 | 6) => Ok(Carried {
            bytes: bytes.to_vec(),
            ..Carried::default()
        }),
        _ => Err(NoPacket::Other("neither IPv4 nor IPv6".to_owned())),
    }
}

/// The family is in the byte order of the machine that captured.
fn loopback(frame: &[u8]) -> Result<Carried, NoPacket> {
    let (family, packet) = frame.split_first_chunk().ok_or_else(short)?;
    let families = [u32::from_le_bytes(*family), u32::from_be_bytes(*family)];
    let is_ip = |family: &u32| *family == AF_INET || AF_INET6.contains(family);
    if families.iter().any(is_ip) {
        bare(packet)
    } else {
        let family = families.iter().min().copied().unwrap_or_default();
        Err(NoPacket::Other(format!("address family {family}")))
    }
}

/// `LINKTYPE_LINUX_SLL`: kind, device, address, type.
fn cooked(frame: &[u8]) -> Result<Carried, NoPacket> {
    let (header, rest) = frame.split_at_checked(14).ok_or_else(short)?;
    let (kind, _) = typed(header)?;
    let (protocol, rest) = typed(rest)?;
    let carried = tagged(protocol, rest)?;
    Ok(Carried {
        outgoing: Some(kind == OUTGOING),
        ..carried
    })
}

/// `LINKTYPE_LINUX_SLL2`: type, interface, device, kind, address.
fn cooked_2(frame: &[u8]) -> Result<Carried, NoPacket> {
    let (header, rest) = frame.split_at_checked(20).ok_or_else(short)?;
    let (protocol, _) = typed(header)?;
    let carried = tagged(protocol, rest)?;
    Ok(Carried {
        outgoing: header.get(10).map(|kind| u16::from(*kind) == OUTGOING),
        ..carried
    })
}

/// A record of pflog(4), which tells interface and direction.
fn logged(frame: &Frame) -> Option<Carried> {
    let order = Order::of(&record::file_header(0)).ok()?;
    let mut header = [0; RECORD_HEADER];
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    header[8..12].copy_from_slice(&number(frame.bytes.len()));
    header[12..].copy_from_slice(&number(frame.length));
    let record = order.decode(&header, &frame.bytes).ok()?;
    let cut = record.length.saturating_sub(record.bytes.len());
    let mut carried = Carried {
        bytes: record.bytes,
        outgoing: Some(!record.inbound),
        interface: Some(name(&record.interface)),
        ..Carried::default()
    };
    complete(&mut carried, cut);
    Some(carried)
}

/// A file may call an interface anything; what is printed and compared is a plain name.
fn name(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.:-@".contains(c);
    let plain = |c: char| if is_plain(c) { c } else { '?' };
    text.chars().take(NAME_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Enough of an IPv4 header to be told from others.
    const IP: [u8; 4] = [0x45, 0, 0, 20];

    fn frame(link_type: u32, parts: &[&[u8]]) -> Frame {
        let bytes = parts.concat();
        Frame {
            link_type,
            length: bytes.len(),
            bytes,
            ..Frame::default()
        }
    }

    fn carried(link_type: u32, parts: &[&[u8]]) -> Carried {
        let carried = unwrap(&frame(link_type, parts)).expect("a packet");
        assert_eq!(carried.bytes, IP);
        carried
    }

    fn other(link_type: u32, parts: &[&[u8]]) -> NoPacket {
        unwrap(&frame(link_type, parts)).expect_err("no packet")
    }

    #[test]
    fn ethernet_tells_addresses_and_the_priority_of_the_outer_tag() {
        let addresses: &[u8] = &[1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15];
        let plain = carried(ETHERNET, &[addresses, &[8, 0], &IP]);
        let ether = plain.ether.expect("addresses");
        assert_eq!(ether.destination, [1, 2, 3, 4, 5, 6]);
        assert_eq!(ether.source, [10, 11, 12, 13, 14, 15]);
        assert_eq!(plain.priority, None);
        let tags = [0x88, 0xa8, 0xa0, 7, 0x81, 0, 0x40, 8, 8, 0];
        let tagged = carried(ETHERNET, &[addresses, &tags, &IP]);
        assert_eq!(tagged.priority, Some(5));
        let arp = other(ETHERNET, &[addresses, &[8, 6], &IP]);
        assert_eq!(arp, NoPacket::Other("ARP".into()));
        assert_eq!(other(ETHERNET, &[addresses]), short());
    }

    #[test]
    fn a_session_of_pppoe_is_looked_into_also_behind_a_tag() {
        let addresses: &[u8] = &[0; 12];
        let session = [0x88, 0x64, 0x11, 0, 0, 9, 0, 22, 0, 0x21];
        carried(ETHERNET, &[addresses, &session, &IP]);
        let tag = [0x81, 0, 0x60, 7];
        let tagged = carried(ETHERNET, &[addresses, &tag, &session, &IP]);
        assert_eq!(tagged.priority, Some(3));
        let control = [0x88, 0x64, 0x11, 0, 0, 9, 0, 22, 0xc0, 0x21];
        let found = other(ETHERNET, &[addresses, &control, &IP]);
        assert_eq!(found, NoPacket::Other("PPP protocol 0xc021".into()));
    }

    #[test]
    fn cooked_frames_tell_the_direction() {
        let v1 = |kind| carried(COOKED, &[&[0, kind], &[0; 12], &[8, 0], &IP]);
        assert_eq!((v1(4).outgoing, v1(0).outgoing), (Some(true), Some(false)));
        let v2 = |kind| carried(COOKED_2, &[&[8, 0], &[0; 8], &[kind, 6], &[0; 8], &IP]);
        assert_eq!((v2(4).outgoing, v2(0).outgoing), (Some(true), Some(false)));
    }

    #[test]
    fn loopback_frames_are_of_either_byte_order() {
        for family in [[2, 0, 0, 0], [0, 0, 0, 2], [0, 0, 0, 30], [28, 0, 0, 0]] {
            carried(NULL, &[&family, &IP]);
            carried(LOOP, &[&family, &IP]);
        }
        let other = other(NULL, &[&[0, 0, 0, 23], &IP]);
        assert_eq!(other, NoPacket::Other("address family 23".into()));
    }

    #[test]
    fn raw_frames_are_packets_and_other_types_are_named() {
        for link_type in [12, 14, 101, 228, 229] {
            carried(link_type, &[&IP]);
        }
        assert_eq!(other(127, &[&IP]), NoPacket::LinkType(127));
        assert!(matches!(other(101, &[&[0x50]]), NoPacket::Other(_)));
    }

    #[test]
    fn what_was_cut_off_is_zeros() {
        let mut frame = frame(101, &[&IP]);
        frame.length = 20;
        let carried = unwrap(&frame).expect("a packet");
        assert_eq!((carried.bytes.len(), carried.cut), (20, 16));
        frame.length = usize::MAX;
        assert_eq!(unwrap(&frame).expect("one").bytes.len(), MAX_PACKET_LEN);
    }

    #[test]
    fn names_of_interfaces_are_plain() {
        assert_eq!(name("em0"), "em0");
        assert_eq!(name("\u{1b}[2Jem0"), "??2Jem0");
        assert_eq!(name(&"a".repeat(99)).len(), NAME_MAX);
    }
}
