//! Windows that are multiples of the segment size or the MTU.

use std::fmt;

use crate::addr::Family;
use crate::osfp::features::Features;

use super::{HEADERS_V4, HEADERS_V6};

/// An MSS below it says nothing about a window, in bytes.
const LEAST_MSS: u16 = 100;
/// Bytes of the timestamp option with its padding, which some systems take off the MSS.
pub(super) const TIMESTAMPS: u16 = 12;
/// Ethernet's MTU, in bytes: some systems take the wrong interface's.
const ETHERNET: u16 = 1500;

/// A window as `mss*n` or `mtu*n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Multiple {
    /// The factor.
    pub(super) times: u16,
    /// Of the MTU, not of the MSS.
    pub(super) of_mtu: bool,
}

impl fmt::Display for Multiple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.of_mtu { "mtu" } else { "mss" };
        write!(f, "{unit}*{}", self.times)
    }
}

/// The first of p0f's divisors that divides the window.
pub(super) fn multiple(features: &Features, peer_mss: Option<u16>) -> Option<Multiple> {
    let window = features.window;
    let mss = features.mss.filter(|mss| *mss >= LEAST_MSS)?;
    if window == 0 {
        return None;
    }
    let stamped = features.timestamp.is_some_and(|stamp| stamp != 0);
    let six = features.family == Family::Inet6;
    let peer = peer_mss.filter(|mss| *mss != 0);
    let divisors = [
        (Some(mss), false),
        (stamped.then(|| mss.saturating_sub(TIMESTAMPS)), false),
        (Some(ETHERNET - HEADERS_V4), false),
        (Some(ETHERNET - HEADERS_V4 - TIMESTAMPS), false),
        (six.then_some(ETHERNET - HEADERS_V6), false),
        (six.then_some(ETHERNET - HEADERS_V6 - TIMESTAMPS), false),
        (mss.checked_add(HEADERS_V4), true),
        (mss.checked_add(features.headers_len), true),
        (six.then(|| mss.saturating_add(HEADERS_V6)), true),
        (Some(ETHERNET), true),
        (peer, false),
        (peer.map(|mss| mss.saturating_sub(TIMESTAMPS)), false),
    ];
    divisors.into_iter().find_map(|(divisor, of_mtu)| {
        let divisor = divisor?;
        (window.checked_rem(divisor)? == 0).then_some(Multiple {
            times: window.checked_div(divisor)?,
            of_mtu,
        })
    })
}
