//! How often something happens, in PF's arithmetic.
//!
//! What was counted fades away evenly over the seconds of the rate: with each event the count
//! first loses the share `elapsed / seconds` of itself, all of it after `seconds`, then gains one.
//! Time is in whole seconds and the count in thousandths, as in PF, whose `pfctl -sS` prints them.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::rule::Rate;
use crate::time::Instant;

/// What one event counts (`PF_THRESHOLD_MULT`).
const EVENT: u64 = 1000;

/// A count that fades away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Threshold {
    rate: Rate,
    /// In thousandths of an event.
    count: u64,
    /// Seconds of the last event.
    last: u64,
}

impl Threshold {
    pub(crate) const fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            count: 0,
            last: now.since_origin().as_secs(),
        }
    }

    /// One of before a restart.
    pub(crate) const fn resumed(rate: Rate, now: Instant, count: u64) -> Self {
        Self {
            count,
            ..Self::new(rate, now)
        }
    }

    pub(crate) fn add(&mut self, now: Instant) {
        self.count = self.count(now).saturating_add(EVENT);
        self.last = now.since_origin().as_secs();
    }

    /// Whether there were more events than the rate allows.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.count > u64::from(self.rate.count).saturating_mul(EVENT)
    }

    /// Thousandths of events that still count.
    pub(crate) fn count(&self, now: Instant) -> u64 {
        let elapsed = now.since_origin().as_secs().saturating_sub(self.last);
        let seconds = u64::from(self.rate.seconds);
        if elapsed >= seconds {
            return 0;
        }
        let faded = self.count.saturating_mul(elapsed).checked_div(seconds);
        self.count.saturating_sub(faded.unwrap_or(self.count))
    }

    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_fade_evenly_and_are_gone_after_the_seconds_of_the_rate() {
        let rate = Rate {
            count: 3,
            seconds: 10,
        };
        let mut threshold = Threshold::new(rate, Instant::from_secs(100));
        for _ in 0..3 {
            threshold.add(Instant::from_secs(100));
        }
        assert!(!threshold.is_exceeded());
        assert_eq!(threshold.count(Instant::from_secs(105)), 1500);
        threshold.add(Instant::from_secs(101));
        assert_eq!(threshold.count(Instant::from_secs(101)), 3700);
        assert!(threshold.is_exceeded());
        assert_eq!(threshold.count(Instant::from_secs(111)), 0);
        threshold.add(Instant::from_secs(111));
        assert!(!threshold.is_exceeded());
    }
}
