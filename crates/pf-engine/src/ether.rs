//! Rules for frames (`ether` of FreeBSD's pf.conf(5), ETHERNET FILTERING).

use crate::anchor::AnchorCall;
use crate::decision::EtherAddresses;
use crate::env::IfIndex;
use crate::rule::{Direction, Endpoint, InterfaceMatch};

/// Type of a frame that carries IPv4 (IEEE 802 number).
pub const ETHER_TYPE_IPV4: u16 = 0x0800;
/// Type of a frame that carries IPv6.
pub const ETHER_TYPE_IPV6: u16 = 0x86dd;
/// Bytes of a frame's header: two addresses and the type.
pub const ETHER_HEADER_LEN: usize = 14;

/// An `ether` rule. It keeps no state: each frame is compared again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EtherRule {
    /// What it does; nothing for one that calls an anchor.
    pub action: EtherAction,
    /// `in`, `out`; nothing for both.
    pub direction: Option<Direction>,
    /// `quick`.
    pub quick: bool,
    /// `on`.
    pub interface: Option<InterfaceMatch>,
    /// `bridge-to`: the interface that a frame which passes leaves by, as it is.
    pub bridge_to: Option<String>,
    /// `proto`: the type of the frame.
    pub ether_type: Option<u16>,
    /// `from`.
    pub source: Option<MacMatch>,
    /// `to`.
    pub destination: Option<MacMatch>,
    /// `l3 from`, without a port. It is asked of IP packets only.
    pub ip_source: Endpoint,
    /// `l3 to`.
    pub ip_destination: Endpoint,
    /// `label`, as often as it stands there.
    pub labels: Vec<String>,
    /// `ridentifier`.
    pub identifier: Option<u32>,
    /// `queue`.
    pub queue: Option<String>,
    /// `tag`.
    pub tag: Option<String>,
    /// `tagged`, and whether it is negated.
    pub tagged: Option<(bool, String)>,
    /// The anchor that it calls.
    pub anchor: Option<AnchorCall>,
}

impl EtherRule {
    /// A rule for every frame.
    #[must_use]
    pub const fn new(action: EtherAction) -> Self {
        Self {
            action,
            direction: None,
            quick: false,
            interface: None,
            bridge_to: None,
            ether_type: None,
            source: None,
            destination: None,
            ip_source: Endpoint::ANY,
            ip_destination: Endpoint::ANY,
            labels: Vec::new(),
            identifier: None,
            queue: None,
            tag: None,
            tagged: None,
            anchor: None,
        }
    }
}

/// What an `ether` rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EtherAction {
    /// `pass`.
    Pass,
    /// `block`: nobody is told.
    Block,
}

/// An Ethernet address that a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacMatch {
    /// `!`.
    pub negated: bool,
    /// The address.
    pub address: [u8; 6],
    /// The bits of it that count.
    pub mask: [u8; 6],
}

impl MacMatch {
    /// Whether `address` is one that is asked for.
    #[must_use]
    pub fn matches(&self, address: [u8; 6]) -> bool {
        let pairs = address.iter().zip(self.address.iter().zip(&self.mask));
        let same = pairs.fold(true, |same, (a, (b, mask))| same && (a ^ b) & mask == 0);
        same != self.negated
    }
}

/// A frame that carries no IP packet which PF filters: ARP, spanning tree, one with a VLAN tag.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frame {
    /// Its addresses.
    pub ether: EtherAddresses,
    /// Its type, or what stands in that place: the tag's (0x8100, 0x88a8) or, below 1536, a
    /// length (IEEE 802.3).
    pub ether_type: u16,
    /// All its bytes, header and tags included.
    pub len: usize,
    /// By which interface it came into the box, if somebody knows.
    pub received_on: Option<IfIndex>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_the_mask_count() {
        let mut wanted = MacMatch {
            negated: false,
            address: [0, 1, 2, 3, 4, 5],
            mask: [0xff, 0xff, 0xff, 0, 0, 0xff],
        };
        assert!(wanted.matches([0, 1, 2, 9, 9, 5]));
        assert!(!wanted.matches([0, 1, 2, 3, 4, 6]));
        wanted.negated = true;
        assert!(!wanted.matches([0, 1, 2, 9, 9, 5]) && wanted.matches([0; 6]));
    }
}
