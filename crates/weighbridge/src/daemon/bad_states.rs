//! Segments that do not fit their states in the log: PF's lines, as many in a second as somebody
//! may still read.

use std::time::Duration;

use pf_engine::bad_state::BadState;
use pf_engine::time::Instant;
use tracing::info;

/// Segments that are told in a second, at most: whoever sends such has no say in how fast the log
/// grows.
const TOLD_MAX: u32 = 50;
const SECOND: Duration = Duration::from_secs(1);

/// How many were told of late.
#[derive(Debug, Default)]
pub(super) struct BadStates {
    since: Instant,
    told: u32,
    untold: u64,
}

impl BadStates {
    /// Tells of a segment.
    pub(super) fn note(&mut self, now: Instant, bad: &BadState) {
        let (is_told, untold) = self.count(now);
        if untold > 0 {
            info!("pf: BAD state: {untold} more, which are not told");
        }
        if is_told {
            for line in bad.to_string().lines() {
                info!("{line}");
            }
        }
    }

    /// Whether one is to be told now, and how many were not in a second that is over.
    fn count(&mut self, now: Instant) -> (bool, u64) {
        let mut untold = 0;
        if now.saturating_since(self.since) >= SECOND {
            untold = std::mem::take(&mut self.untold);
            self.since = now;
            self.told = 0;
        }
        let is_told = self.told < TOLD_MAX;
        if is_told {
            self.told += 1;
        } else {
            self.untold = self.untold.saturating_add(1);
        }
        (is_told, untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_told_in_a_second_and_the_next_tells_how_many_were_not() {
        let mut all = BadStates::default();
        let now = Instant::from_secs(100);
        for _ in 0..TOLD_MAX {
            assert_eq!(all.count(now), (true, 0));
        }
        assert_eq!(all.count(now), (false, 0));
        assert_eq!(all.count(now), (false, 0));
        let later = Instant::from_secs(101);
        assert_eq!(all.count(later), (true, 2));
        assert_eq!(all.count(later), (true, 0));
    }
}
