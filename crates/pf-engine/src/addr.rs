//! Address families, protocols and prefixes.

use serde::{Deserialize, Serialize};

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Address family of a packet or rule (`inet`, `inet6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Inet,
            IpAddr::V6(_) => Self::Inet6,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Inet => Self::Inet6,
            Self::Inet6 => Self::Inet,
        }
    }

    /// Bits in an address of this family.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Inet => 32,
            Self::Inet6 => 128,
        }
    }

    /// `0.0.0.0` or `::`.
    #[must_use]
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Inet6 => "inet6",
        })
    }
}

/// IP protocol number (IANA "Assigned Internet Protocol Numbers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// Whether packets of this protocol carry ports where TCP and UDP have them.
    #[must_use]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }
}

/// An address with a prefix length. Host bits are kept as given; [`Prefix::masked`] clears them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// `address/len`, or nothing when `len` is longer than the family's address.
    #[must_use]
    pub const fn new(address: IpAddr, len: u8) -> Option<Self> {
        if len <= Family::of(address).bits() {
            Some(Self { address, len })
        } else {
            None
        }
    }

    /// The prefix that holds `address` alone.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self {
            address,
            len: Family::of(address).bits(),
        }
    }

    /// The prefix whose addresses are exactly those from `first` to `last`, if there is one.
    #[must_use]
    pub fn spanning(first: IpAddr, last: IpAddr) -> Option<Self> {
        let host_bits = match (first, last) {
            (IpAddr::V4(a), IpAddr::V4(b)) => 32 - (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => 128 - (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let len = u32::from(Family::of(first).bits()).saturating_sub(host_bits);
        let prefix = Self::new(first, u8::try_from(len).ok()?)?;
        let ends = prefix.masked().address() == first && prefix.last() == last;
        ends.then_some(prefix)
    }

    /// The last address of the prefix.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() | !mask_v4(self.len))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() | !mask_v6(self.len))),
        }
    }

    /// The address, host bits as given.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Prefix length in bits.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.len
    }

    /// The family of the address.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Whether this is one host (`/32`, `/128`).
    #[must_use]
    pub const fn is_host(&self) -> bool {
        self.len == self.family().bits()
    }

    /// The same prefix with all host bits zero.
    #[must_use]
    pub fn masked(&self) -> Self {
        let address = match self.address {
            IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from_bits(a.to_bits() & mask_v4(self.len))),
            IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from_bits(a.to_bits() & mask_v6(self.len))),
        };
        Self {
            address,
            len: self.len,
        }
    }

    /// Whether `address` lies in the prefix. Addresses of the other family never do.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(a)) => {
                (net.to_bits() ^ a.to_bits()) & mask_v4(self.len) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(a)) => {
                (net.to_bits() ^ a.to_bits()) & mask_v6(self.len) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// `address`, or `address/len` when it is not a host, as PF prints it.
impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_host() {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.len)
        }
    }
}

/// Network mask of `len` bits; `len` above 32 counts as 32.
#[must_use]
pub const fn mask_v4(len: u8) -> u32 {
    match len {
        0 => 0,
        1..=31 => u32::MAX << (32 - len),
        _ => u32::MAX,
    }
}

/// Network mask of `len` bits; `len` above 128 counts as 128.
#[must_use]
pub const fn mask_v6(len: u8) -> u128 {
    match len {
        0 => 0,
        1..=127 => u128::MAX << (128 - len),
        _ => u128::MAX,
    }
}
