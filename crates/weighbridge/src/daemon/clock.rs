//! The daemon's one clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pf_engine::time::Instant;

/// How long the daemon seems to have run when it starts: states of before a restart are older
/// than it. What is older still counts as this old.
const HEAD_START: Duration = Duration::from_hours(400 * 24);

/// Counts from [`HEAD_START`] before the daemon's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: std::time::Instant,
    /// Time since 1970 at the origin.
    origin: Duration,
}

impl Clock {
    /// Starts it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the daemon's event loop owns the clock; everything else is told the time"
    )]
    pub(super) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            start: std::time::Instant::now(),
            origin: since_1970
                .unwrap_or(Duration::ZERO)
                .saturating_sub(HEAD_START),
        }
    }

    /// The moment.
    pub(super) fn now(&self) -> Instant {
        Instant::from_origin(HEAD_START.saturating_add(self.start.elapsed()))
    }

    /// `now` in seconds since 1970.
    pub(super) const fn date(&self, now: Instant) -> u64 {
        self.since_1970(now).as_secs()
    }

    /// The moment `now` as time since 1970.
    pub(super) const fn since_1970(&self, now: Instant) -> Duration {
        self.origin.saturating_add(now.since_origin())
    }

    /// Seconds since 1970 at the engine's time origin, for dates that people read.
    pub(super) const fn origin(&self) -> u64 {
        self.origin.as_secs()
    }
}
