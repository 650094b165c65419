//! How many answers of a kind are sent in a second.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::time::Duration;

use crate::time::Instant;

/// RSTs a second for `block return` and broken handshakes (FreeBSD's `net.inet.icmp.icmplim`,
/// which bounds its RSTs too).
pub(crate) const RESETS_PER_SECOND: u32 = 200;
/// ICMP errors a second (Linux's `net.ipv4.icmp_msgs_per_sec` of before 6.x). More than BSD's
/// 200, for "fragmentation needed" is among them.
pub(crate) const ERRORS_PER_SECOND: u32 = 1000;

/// A bucket that holds what may be sent at once: a second's worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    per_second: u32,
    /// How long ago the bucket would have been empty.
    full_since: Instant,
    refused: u64,
}

impl Quota {
    pub(crate) const fn new(per_second: u32) -> Self {
        Self {
            per_second,
            full_since: Instant::from_secs(0),
            refused: 0,
        }
    }

    /// Takes one; counts if there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let price = Duration::from_secs(1)
            .checked_div(self.per_second)
            .unwrap_or_default();
        let saved = now
            .saturating_since(self.full_since)
            .min(Duration::from_secs(1));
        let Some(left) = saved.checked_sub(price) else {
            self.refused = self.refused.wrapping_add(1);
            return false;
        };
        let spent = now.since_origin().saturating_sub(left);
        self.full_since = Instant::from_origin(spent);
        true
    }

    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    pub(crate) const fn clear(&mut self) {
        self.refused = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_gives_a_seconds_worth_and_no_more() {
        let mut quota = Quota::new(200);
        let take = |quota: &mut Quota, millis: u64| {
            let now = Instant::from_origin(Duration::from_millis(100_000 + millis));
            (0..1000).filter(|_| quota.take(now)).count()
        };
        assert_eq!(take(&mut quota, 0), 200);
        assert_eq!(quota.refused(), 800);
        assert_eq!(take(&mut quota, 5), 1);
        assert_eq!(take(&mut quota, 505), 100);
        assert_eq!(take(&mut quota, 60_000), 200);
    }
}
