//! When connections are looked at that went on in the flow cache.

use std::time::Duration;

use pf_engine::engine::Engine;
use pf_engine::time::Instant;

/// How long after the kernel has told of the first of them: a short one is looked at once, when it is
/// over. Timeouts are seconds.
const FOLLOW_EACH: Duration = Duration::from_millis(20);
/// So many that went on since the last look make the next looks come without being told, and the kernel
/// tell nothing meanwhile: each time that it does costs as much as the packets of a short connection do.
const MANY: usize = 16;
/// How long it tells nothing then, unless a look makes it longer.
const WATCH_FOR: Duration = Duration::from_millis(40);
/// How long it is looked for after that time: what was being put down when it was over is found. The
/// kernel's coarse clock is a hundredth of a second behind at most.
const WATCH_LONGER: Duration = Duration::from_millis(60);

/// When they are looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Following {
    at: Option<Instant>,
    /// Looks do not end before that.
    until: Option<Instant>,
}

impl Following {
    /// The kernel has told that there are some.
    pub(super) fn told(&mut self, now: Instant) {
        self.at.get_or_insert(now.saturating_add(FOLLOW_EACH));
    }

    /// When to look next.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.at
    }

    /// Looks, if it is time.
    pub(super) fn work(&mut self, engine: &mut Engine, now: Instant) {
        if self.at.is_none_or(|at| at > now) {
            return;
        }
        let followed = engine.follow_flows();
        if followed.flows >= MANY {
            let watched = now.saturating_add(WATCH_FOR);
            engine.watch_flows_until(watched);
            self.until = Some(watched.saturating_add(WATCH_LONGER));
        }
        self.at = if followed.more {
            Some(now)
        } else {
            let is_watching = self.until.is_some_and(|until| now < until);
            is_watching.then(|| now.saturating_add(FOLLOW_EACH))
        };
    }
}
