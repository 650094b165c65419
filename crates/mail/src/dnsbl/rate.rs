//! How much one network may ask: a token bucket for each, bounded in number.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pf_engine::addr::{Family, Prefix};

use crate::time::Timestamp;

/// Networks that are counted at the same time; then all are forgotten, which only lets questions
/// pass.
const NETWORKS_MAX: usize = 65_536;
/// What counts as one asker: a /24 of IPv4, a /56 of IPv6.
const BITS: [(Family, u8); 2] = [(Family::Inet, 24), (Family::Inet6, 56)];

/// Questions a second for each network.
#[derive(Clone, Debug)]
pub struct RateLimit {
    per_second: u32,
    burst: u32,
    buckets: BTreeMap<IpAddr, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Millionths of a question that are left.
    left: u64,
    at: Timestamp,
}

impl RateLimit {
    /// `per_second` questions a second in the long run, `burst` at once.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second,
            burst,
            buckets: BTreeMap::new(),
        }
    }

    /// Whether `source` may ask now.
    pub fn allows(&mut self, source: IpAddr, now: Timestamp) -> bool {
        let full = u64::from(self.burst).saturating_mul(1_000_000);
        let network = network(source);
        if self.buckets.len() >= NETWORKS_MAX && !self.buckets.contains_key(&network) {
            self.buckets.clear();
        }
        let new = Bucket {
            left: full,
            at: now,
        };
        let bucket = self.buckets.entry(network).or_insert(new);
        let passed = now.saturating_since(bucket.at).as_micros();
        let gained = u64::try_from(passed).unwrap_or(u64::MAX);
        let gained = gained.saturating_mul(u64::from(self.per_second));
        let left = bucket.left.saturating_add(gained).min(full);
        let rest = left.checked_sub(1_000_000);
        *bucket = Bucket {
            left: rest.unwrap_or(left),
            // A clock that was set back goes on from there.
            at: now,
        };
        rest.is_some()
    }
}

fn network(source: IpAddr) -> IpAddr {
    let source = source.to_canonical();
    let bits = BITS
        .iter()
        .find(|(family, _)| *family == Family::of(source));
    let prefix = bits.and_then(|(_, bits)| Prefix::new(source, *bits));
    prefix.map_or(source, |prefix| prefix.masked().address())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_burst_then_its_rate_and_another_one_its_own() {
        let mut limit = RateLimit::new(2, 3);
        let one: IpAddr = [192, 0, 2, 1].into();
        let neighbor: IpAddr = [192, 0, 2, 200].into();
        let other: IpAddr = [192, 0, 3, 1].into();
        let start = Timestamp::from_secs(10);
        let answers = [one, neighbor, one, one, other].map(|from| limit.allows(from, start));
        assert_eq!(answers, [true, true, true, false, true]);
        let later = Timestamp::from_micros(10_500_000);
        assert_eq!(
            [one, one].map(|from| limit.allows(from, later)),
            [true, false]
        );
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut limit = RateLimit::new(1, 1);
        let source: IpAddr = [192, 0, 2, 1].into();
        let allows = [7_200, 3_600, 3_601].map(|at| limit.allows(source, Timestamp::from_secs(at)));
        assert_eq!(allows, [true, false, true]);
    }

    #[test]
    fn networks_are_bounded() {
        let mut limit = RateLimit::new(1, 1);
        for number in 0..u32::try_from(NETWORKS_MAX + 10).expect("it fits") {
            let source = std::net::Ipv4Addr::from(number << 8);
            assert!(limit.allows(source.into(), Timestamp::default()));
        }
        assert!(limit.buckets.len() <= NETWORKS_MAX);
    }
}
