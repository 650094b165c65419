//! Which port a flow has.

use super::frame::{ADDRESSES_LEN, ethernet_type};
use crate::HashLayers;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ETHERNET_LEN: usize = 14;
/// TCP, UDP, SCTP: their ports are their first four bytes.
const WITH_PORTS: [u8; 3] = [6, 17, 132];

/// A number that is the same for all frames of a flow, in the layers that count. The frame is
/// without its tag; fragments count up to their addresses, so that they keep their order.
#[must_use]
pub fn flow(frame: &[u8], vlan: Option<u16>, layers: HashLayers) -> u32 {
    let mut hash = Hash::default();
    if layers.l2 {
        hash.add(frame.get(..ADDRESSES_LEN).unwrap_or(frame));
        hash.add(&vlan.unwrap_or_default().to_be_bytes());
    }
    let packet = frame.get(ETHERNET_LEN..).unwrap_or_default();
    match ethernet_type(frame) {
        Some(IPV4) => v4(packet, layers, &mut hash),
        Some(IPV6) => v6(packet, layers, &mut hash),
        _ => {}
    }
    hash.finish()
}

fn v4(packet: &[u8], layers: HashLayers, hash: &mut Hash) {
    if layers.l3 {
        hash.add(packet.get(12..20).unwrap_or_default());
    }
    let first = packet.first().copied().unwrap_or_default();
    let fragment = packet
        .get(6..8)
        .is_none_or(|bits| matches!(bits, [a, b] if a & 0x3f != 0 || *b != 0));
    let protocol = packet.get(9).copied().unwrap_or_default();
    if layers.l4 && !fragment && WITH_PORTS.contains(&protocol) {
        let start = usize::from(first & 0x0f) * 4;
        hash.add(packet.get(start..start + 4).unwrap_or_default());
    }
}

fn v6(packet: &[u8], layers: HashLayers, hash: &mut Hash) {
    if layers.l3 {
        hash.add(packet.get(8..40).unwrap_or_default());
    }
    let next = packet.get(6).copied().unwrap_or_default();
    if layers.l4 && WITH_PORTS.contains(&next) {
        hash.add(packet.get(40..44).unwrap_or_default());
    }
}

/// FNV-1a with 32 bits, whose low bits are then mixed with the high ones: ports are few.
struct Hash(u32);

impl Default for Hash {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn finish(self) -> u32 {
        let mixed = (self.0 ^ (self.0 >> 15)).wrapping_mul(0x85eb_ca6b);
        mixed ^ (mixed >> 13)
    }
}
