//! Shares of what comes up: the user's side of `bpf/shares.bpf.h`, whose layout is repeated here.

use std::num::NonZeroU32;
use std::time::Duration;

/// Packets of a source that may come at once: what a browser sends that opens all the connections
/// of a page, four packets each.
const SOURCE_BURST: u32 = 128;
/// Packets that may come at once by one interface: half of the TAP's queue.
const INTERFACE_BURST: u32 = 512;

/// `struct shares`.
pub(crate) type SharesData = [u8; 32];

/// How many packets a second may come up while there are more than are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpcallShares {
    /// From one source at one interface (IPv4 address, IPv6 network of 64 bits), if that is
    /// bounded.
    pub source: Option<NonZeroU32>,
    /// By one interface, if that is bounded.
    pub interface: Option<NonZeroU32>,
}

impl UpcallShares {
    /// Nobody is bounded.
    pub const NONE: Self = Self {
        source: None,
        interface: None,
    };

    pub(crate) fn data(self) -> SharesData {
        let mut data = SharesData::default();
        let shares = [
            (self.source, SOURCE_BURST),
            (self.interface, INTERFACE_BURST),
        ];
        let numbers = shares.into_iter().flat_map(|(rate, burst)| {
            let interval = rate.map_or(0, interval);
            [interval, interval.saturating_mul(u64::from(burst))]
        });
        for (place, number) in data.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *place = number.to_ne_bytes();
        }
        data
    }
}

/// Nanoseconds from one packet to the next.
fn interval(rate: NonZeroU32) -> u64 {
    let interval = Duration::from_secs(1) / rate.get();
    u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_intervals_and_how_early_a_packet_may_come() {
        let shares = UpcallShares {
            source: NonZeroU32::new(1000),
            interface: None,
        };
        let mut expected = [0; 32];
        expected[..8].copy_from_slice(&1_000_000u64.to_ne_bytes());
        expected[8..16].copy_from_slice(&128_000_000u64.to_ne_bytes());
        assert_eq!(shares.data(), expected);
        assert_eq!(UpcallShares::NONE.data(), [0; 32]);
    }
}
