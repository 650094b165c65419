//! Address pools as rules have them (pf.conf(5), POOLS).

use super::Address;

/// One address of a [`Pool`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolTarget {
    /// `(interface address)`: the interface of a next hop.
    pub interface: Option<String>,
    /// The address; `Any` stands for none (`route-to em1`, without a next hop).
    pub address: Address,
    /// `weight N`: how much of the traffic it gets beside the others; 1 where nothing is said.
    pub weight: Option<u16>,
}

/// How an address is taken from a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum PoolKind {
    /// One address, taken as it is.
    #[default]
    Single,
    /// `bitmask`: the network part of the pool, the host part of the packet.
    Bitmask,
    /// `random`.
    Random,
    /// `source-hash [key]`: by a keyed hash of the source address.
    SourceHash {
        /// The 128-bit key; from the rule, or random when it was loaded.
        key: [u32; 4],
    },
    /// `round-robin`.
    RoundRobin,
    /// `least-states`: the address with the fewest states for its weight.
    LeastStates,
}

/// Addresses to translate to or route to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one keyword of pf.conf(5)"
)]
pub struct Pool {
    /// The addresses, at least one.
    pub targets: Vec<PoolTarget>,
    /// How one is chosen.
    pub kind: PoolKind,
    /// `sticky-address`: the same source gets the same address while it has states.
    pub sticky: bool,
    /// `static-port`: NAT does not change the source port.
    pub static_port: bool,
    /// `endpoint-independent`: NAT gives the same UDP address and port the same outside address
    /// and port, whoever the peer is (RFC 4787, section 4.1).
    pub endpoint_independent: bool,
    /// `map-e-portset`: NAT takes its ports from a set that others have the rest of.
    pub port_set: Option<PortSet>,
    /// `prefer-ipv6-nexthop`: IPv4 packets may be routed to IPv6 next hops (RFC 8950), which of
    /// one table come first.
    pub prefer_ipv6_nexthop: bool,
    /// `port a[:b]` behind the address. For NAT the range to allocate from; for `rdr` the port,
    /// or the range that `port a:*` spans.
    pub ports: Option<PoolPorts>,
}

/// Ports that one customer of MAP-E has of a shared address (RFC 7597, section 5.1): of the 16
/// bits of a port, `offset` bits that are not all zero, then `length` bits that are `id`, then
/// any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet {
    offset: u8,
    length: u8,
    id: u16,
}

impl PortSet {
    /// Bits of a port.
    const BITS: u8 = 16;

    /// `map-e-portset offset/length/id`. Nothing unless `offset` is 1 to 15, both lengths
    /// together are at most 16, and `id` fits into `length` bits.
    #[must_use]
    pub const fn new(offset: u8, length: u8, id: u16) -> Option<Self> {
        let possible = offset >= 1 && offset < Self::BITS && length <= Self::BITS - offset;
        if possible && (id as u32) < 1 << length {
            Some(Self { offset, length, id })
        } else {
            None
        }
    }

    /// Offset, length and identifier, as in the option.
    #[must_use]
    pub const fn parts(self) -> (u8, u8, u16) {
        (self.offset, self.length, self.id)
    }

    /// How many ports there are in it.
    #[must_use]
    pub const fn len(self) -> u16 {
        let free = Self::BITS - self.offset - self.length;
        ((1 << self.offset) - 1) << free
    }

    /// Whether there are none: never.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether the port is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        let free = Self::BITS - self.offset - self.length;
        let is_of_block = port >> (Self::BITS - self.offset) != 0;
        is_of_block && (port >> free) as u32 % (1 << self.length) == self.id as u32
    }

    /// The port number `n` of the set, from 0; beyond the last it begins again.
    #[must_use]
    pub const fn port(self, n: u16) -> u16 {
        let free = Self::BITS - self.offset - self.length;
        let n = n % self.len();
        let block = ((n >> free) + 1) << (Self::BITS - self.offset);
        block | self.id << free | n & ((1 << free) - 1)
    }
}

/// `port` of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolPorts {
    /// `port n`: this port.
    Single(u16),
    /// `port a:b`: one of these, both included.
    Range(u16, u16),
    /// `port a:*`: as far from `a` as the packet's port from the rule's first.
    Offset(u16),
}
