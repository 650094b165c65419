//! Whether a SYN is one of a signature's.

use super::{Key, MAX_DISTANCE, System};
use crate::osfp::features::{Features, Kind, PfOptions};

/// MSS of Ethernet: routers and NAT change the MSS of a SYN, but not the window that was computed
/// from it (PF's `SMART_MSS`).
const ETHERNET_MSS: u16 = 1460;
/// Length of IPv4 and TCP headers without options: MTU less MSS (PF's `MTUOFF`, for IPv6 too).
const HEADERS: u16 = 40;

/// A number of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Number {
    /// `*`.
    Any,
    /// `n`.
    Exactly(u32),
    /// `%n`.
    MultipleOf(u32),
}

impl Number {
    fn matches(self, found: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == found,
            Self::MultipleOf(wanted) => found.checked_rem(wanted) == Some(0),
        }
    }

    /// The same for a packet that is longer.
    pub(super) fn longer(self, by: u32) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Exactly(number) => Self::Exactly(number.saturating_add(by)),
            Self::MultipleOf(number) => Self::MultipleOf(number.saturating_add(by)),
        }
    }
}

/// The window of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Window {
    Number(Number),
    /// `Sn`: so many times the MSS.
    OfMss(u16),
    /// `Tn`: so many times the MTU.
    OfMtu(u16),
}

impl Window {
    fn matches(self, window: u16, mss: u16) -> bool {
        let is_multiple = |unit: Option<u16>, times| {
            let times: u16 = times;
            unit.and_then(|unit| unit.checked_mul(times)) == Some(window)
        };
        match self {
            Self::Number(number) => number.matches(u32::from(window)),
            Self::OfMss(_) | Self::OfMtu(_) if mss == 0 => false,
            Self::OfMss(times) => {
                is_multiple(Some(mss), times) || is_multiple(Some(ETHERNET_MSS), times)
            }
            Self::OfMtu(times) => {
                is_multiple(mss.checked_add(HEADERS), times)
                    || is_multiple(ETHERNET_MSS.checked_add(HEADERS), times)
            }
        }
    }
}

/// What a line of pf.os says of the SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) window: Window,
    pub(super) ttl: u8,
    pub(super) dont_fragment: bool,
    /// Length of the IP packet.
    pub(super) size: Number,
    /// Kinds and number of the options, and whether there is a timestamp of zero. Its values of
    /// MSS and window scale are not used.
    pub(super) options: PfOptions,
    pub(super) mss: Number,
    pub(super) window_scale: Number,
    /// The line was made for IPv6. PF compares nothing with it, but keeps both apart.
    pub(super) inet6: bool,
}

/// A line of pf.os and the names that it goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) shape: Shape,
    pub(super) systems: Vec<System>,
}

impl Shape {
    pub(super) fn key(&self) -> Key {
        key(&self.options, self.dont_fragment)
    }
}

impl Signature {
    /// Whether `probe`, which has the same key, matches.
    pub(super) fn matches(&self, probe: &Probe) -> bool {
        let shape = &self.shape;
        let distance = shape.ttl.checked_sub(probe.ttl);
        distance.is_some_and(|distance| distance <= MAX_DISTANCE)
            && shape.size.matches(probe.size)
            && shape.mss.matches(u32::from(probe.options.mss))
            && (shape.window_scale).matches(u32::from(probe.options.window_scale))
            && shape.window.matches(probe.window, probe.options.mss)
    }
}

/// What a SYN is compared by.
pub(super) struct Probe {
    window: u16,
    ttl: u8,
    dont_fragment: bool,
    size: u32,
    options: PfOptions,
}

impl Probe {
    /// Nothing for what PF gives no fingerprint.
    pub(super) fn of(features: &Features) -> Option<Self> {
        if features.kind != Kind::Syn {
            return None;
        }
        Some(Self {
            window: features.window,
            ttl: features.ttl,
            dont_fragment: features.dont_fragment,
            size: features.total_len,
            options: features.pf_options?,
        })
    }

    pub(super) fn key(&self) -> Key {
        key(&self.options, self.dont_fragment)
    }
}

fn key(options: &PfOptions, dont_fragment: bool) -> Key {
    let PfOptions {
        packed,
        count,
        zero_timestamp,
        mss: _,
        window_scale: _,
    } = *options;
    (packed, count, dont_fragment, zero_timestamp)
}
