//! When to look at carriers. The kernel tells of a lost one at once, but not within a second of what it
//! told before (`net/core/link_watch.c`): until then one has to look.

use std::time::Duration;

/// The kernel's second, and what it may be late.
const SECOND: Duration = Duration::from_millis(1_200);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Looks that are due.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watch {
    until: Duration,
    next: Option<Duration>,
}

impl Watch {
    /// The kernel told something at `now`.
    pub(crate) fn told(&mut self, now: Duration) {
        self.until = now + SECOND;
        self.next = Some(now + INTERVAL);
    }

    /// Whether it is time for a look; then the next one follows.
    pub(crate) fn is_due(&mut self, now: Duration) -> bool {
        let due = self.next.is_some_and(|next| next <= now);
        if due {
            let next = now + INTERVAL;
            self.next = (next < self.until).then_some(next);
        }
        due
    }

    /// When that is.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_notice_it_looks_for_a_second_and_then_no_more() {
        let mut watch = Watch::default();
        assert_eq!(watch.deadline(), None);
        watch.told(Duration::from_secs(5));
        let mut looks = 0;
        while let Some(at) = watch.deadline() {
            assert!(watch.is_due(at) && !watch.is_due(at));
            looks += 1;
        }
        assert_eq!(looks, 23);
    }
}
