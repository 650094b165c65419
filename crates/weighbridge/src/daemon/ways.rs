//! When what is learnt of fused flows' ways ends because neighbours and stations come and go.

use std::time::Duration;

use pf_engine::time::Instant;

/// How often it ends for them, at most: whoever makes up addresses must not have all packets go the ordinary
/// way.
const EACH: Duration = Duration::from_secs(1);

/// Neighbours and stations that nobody knew lead no packets another way, but for those that were flooded: that
/// can wait.
#[derive(Debug, Default)]
pub(super) struct NewWays {
    /// When it is to end, if there are such.
    due: Option<Instant>,
    /// When it may end for the next ones; none: at once.
    next: Option<Instant>,
}

impl NewWays {
    /// There are some.
    pub(super) fn note(&mut self, now: Instant) {
        let next = self.next.unwrap_or(now);
        self.due.get_or_insert(next.max(now));
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// What was learnt has ended, whatever for.
    pub(super) fn forgotten(&mut self, now: Instant) {
        self.due = None;
        self.next = Some(now.saturating_add(EACH));
    }

    /// When it is to end, if nothing else happens.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_new_station_is_heard_at_once_and_a_flood_of_them_once_a_second() {
        let (mut ways, mut now) = (NewWays::default(), Instant::from_secs(100));
        let mut forgotten = Vec::new();
        for millisecond in 0..2_500 {
            ways.note(now);
            if ways.is_due(now) {
                ways.forgotten(now);
                forgotten.push(millisecond);
            }
            now = now.saturating_add(MILLISECOND);
        }
        assert_eq!(forgotten, [0, 1_000, 2_000]);
        let last = Instant::from_secs(103);
        assert_eq!(ways.deadline(), Some(last), "the last ones wait");
        assert!(ways.is_due(last));
        ways.forgotten(last);
        assert_eq!(ways.deadline(), None);
    }
}
