//! Frames that a lagg sends on its own: announcements and questions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const BROADCAST: [u8; 6] = [0xff; 6];
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;
/// IEEE 802.1Q.
pub const VLAN_TAG: u16 = 0x8100;
/// Bytes of the two addresses of a frame, where a tag is put behind.
pub const ADDRESSES_LEN: usize = 12;
const ARP_REQUEST: u16 = 1;
const ARP_REPLY: u16 = 2;
const ICMPV6: u8 = 58;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// The Ethernet type of a frame without a tag.
#[must_use]
pub fn ethernet_type(frame: &[u8]) -> Option<u16> {
    let bytes = frame.get(ADDRESSES_LEN..ADDRESSES_LEN + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// The four bytes of a tag.
#[must_use]
pub fn tag(vlan: u16) -> [u8; 4] {
    let [a, b] = VLAN_TAG.to_be_bytes();
    let [c, d] = vlan.to_be_bytes();
    [a, b, c, d]
}

/// Tells all neighbours that `address` is at `mac`: gratuitous ARP (RFC 5227 section 3), or an
/// unsolicited neighbour advertisement (RFC 4861 section 7.2.6).
#[must_use]
pub fn announcement(mac: [u8; 6], address: IpAddr, vlan: Option<u16>) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp(mac, address, address, vlan),
        IpAddr::V6(address) => advertisement(mac, address, vlan),
    }
}

/// Asks whether `target` is there, without telling an address of one's own (RFC 5227 section
/// 2.1.1): nobody learns anything from it but where `mac` is.
#[must_use]
pub fn arp_probe(mac: [u8; 6], target: Ipv4Addr, vlan: Option<u16>) -> Vec<u8> {
    arp(mac, Ipv4Addr::UNSPECIFIED, target, vlan)
}

/// Whether a frame is the answer of `target` to a question of `mac`.
#[must_use]
pub fn is_answer(frame: &[u8], mac: [u8; 6], target: Ipv4Addr) -> bool {
    let is = |at: usize, bytes: &[u8]| frame.get(at..at + bytes.len()) == Some(bytes);
    ethernet_type(frame) == Some(ARP)
        && is(0, &mac)
        && is(20, &ARP_REPLY.to_be_bytes())
        && is(28, &target.octets())
}

fn header(to: [u8; 6], from: [u8; 6], vlan: Option<u16>, kind: u16) -> Vec<u8> {
    let mut frame = [to, from].concat();
    if let Some(vlan) = vlan {
        frame.extend(tag(vlan));
    }
    frame.extend(kind.to_be_bytes());
    frame
}

fn arp(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr, vlan: Option<u16>) -> Vec<u8> {
    let mut frame = header(BROADCAST, mac, vlan, ARP);
    frame.extend([0, 1, 8, 0, 6, 4]); // Ethernet, IPv4 and their lengths
    frame.extend(ARP_REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

fn advertisement(mac: [u8; 6], address: Ipv6Addr, vlan: Option<u16>) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = vec![NEIGHBOR_ADVERTISEMENT, 0, 0, 0];
    message.extend([0x20, 0, 0, 0]); // override
    message.extend(address.octets());
    message.extend([2, 1]); // target link-layer address, in units of 8 bytes
    message.extend(mac);
    let sum = checksum(address, all_nodes, &message);
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    let mut frame = header([0x33, 0x33, 0, 0, 0, 1], mac, vlan, IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(
        u16::try_from(message.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    frame.extend([ICMPV6, 255]);
    frame.extend(address.octets());
    frame.extend(all_nodes.octets());
    frame.extend(message);
    frame
}

/// The checksum of an ICMPv6 message (RFC 8200 section 8.1).
fn checksum(from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) -> u16 {
    let len = u32::try_from(message.len())
        .unwrap_or_default()
        .to_be_bytes();
    let parts: [&[u8]; 5] = [
        &from.octets(),
        &to.octets(),
        &len,
        &[0, 0, 0, ICMPV6],
        message,
    ];
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or_default();
            let low = pair.get(1).copied().unwrap_or_default();
            sum += u32::from(u16::from_be_bytes([high, low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}
