//! p0f's quirks as a set of bits.

use std::fmt;
use std::ops::BitOr;

use serde::{Deserialize, Serialize};

/// A set of p0f's quirks. [`Display`](fmt::Display) writes their names in p0f's order, with
/// commas between: `df,id+,ts2+`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Quirks(u32);

impl Quirks {
    /// None.
    pub const NONE: Self = Self(0);
    /// `df`: "don't fragment" is set. IPv4 only.
    pub const DF: Self = Self(1);
    /// `id+`: "don't fragment" is set, and the identification is not 0. IPv4 only.
    pub const NONZERO_ID: Self = Self(1 << 1);
    /// `id-`: "don't fragment" is not set, and the identification is 0. IPv4 only.
    pub const ZERO_ID: Self = Self(1 << 2);
    /// `ecn`: ECN bits in the IP header, or ECE, CWR or NS in the TCP header.
    pub const ECN: Self = Self(1 << 3);
    /// `0+`: the reserved flag of the IP header is set. IPv4 only.
    pub const RESERVED: Self = Self(1 << 4);
    /// `flow`: the flow label is not 0. IPv6 only.
    pub const FLOW: Self = Self(1 << 5);
    /// `seq-`: the sequence number is 0.
    pub const ZERO_SEQ: Self = Self(1 << 6);
    /// `ack+`: no ACK flag, but an acknowledgment number.
    pub const NONZERO_ACK: Self = Self(1 << 7);
    /// `ack-`: the ACK flag, but an acknowledgment number of 0.
    pub const ZERO_ACK: Self = Self(1 << 8);
    /// `uptr+`: no URG flag, but an urgent pointer.
    pub const NONZERO_URGENT_POINTER: Self = Self(1 << 9);
    /// `urgf+`: the URG flag.
    pub const URGENT: Self = Self(1 << 10);
    /// `pushf+`: the PSH flag.
    pub const PUSH: Self = Self(1 << 11);
    /// `ts1-`: the sender's timestamp is 0.
    pub const ZERO_TIMESTAMP: Self = Self(1 << 12);
    /// `ts2+`: an echoed timestamp that is not 0, on a SYN.
    pub const NONZERO_ECHO: Self = Self(1 << 13);
    /// `opt+`: bytes behind the end of the options that are not 0.
    pub const NONZERO_PADDING: Self = Self(1 << 14);
    /// `exws`: a window scale above 14 (RFC 7323 allows none).
    pub const EXCESSIVE_SCALE: Self = Self(1 << 15);
    /// `bad`: options that contradict their lengths, or more than [`super::MAX_OPTIONS`].
    pub const BAD_OPTIONS: Self = Self(1 << 16);

    /// Every quirk with p0f's name for it, in the order in which p0f writes them.
    pub const NAMES: [(Self, &'static str); 17] = [
        (Self::DF, "df"),
        (Self::NONZERO_ID, "id+"),
        (Self::ZERO_ID, "id-"),
        (Self::ECN, "ecn"),
        (Self::RESERVED, "0+"),
        (Self::FLOW, "flow"),
        (Self::ZERO_SEQ, "seq-"),
        (Self::NONZERO_ACK, "ack+"),
        (Self::ZERO_ACK, "ack-"),
        (Self::NONZERO_URGENT_POINTER, "uptr+"),
        (Self::URGENT, "urgf+"),
        (Self::PUSH, "pushf+"),
        (Self::ZERO_TIMESTAMP, "ts1-"),
        (Self::NONZERO_ECHO, "ts2+"),
        (Self::NONZERO_PADDING, "opt+"),
        (Self::EXCESSIVE_SCALE, "exws"),
        (Self::BAD_OPTIONS, "bad"),
    ];

    /// The quirk that p0f calls `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(_, known)| *known == name);
        found.map(|&(quirk, _)| quirk)
    }

    /// As bits: what a signature is compared with or hashed over. Not a stable format.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether no quirk is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every quirk of `other` is in it.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// These and those of `other`; as `|`, in constants.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Itself if `condition` holds, else none.
    #[must_use]
    pub(super) const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

impl BitOr for Quirks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Display for Quirks {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (quirk, name) in Self::NAMES {
            if self.contains(quirk) {
                write!(out, "{comma}{name}")?;
                comma = ",";
            }
        }
        Ok(())
    }
}
