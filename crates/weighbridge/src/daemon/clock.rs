//! The daemon's one clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pf_engine::time::Instant;

/// Counts from the daemon's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: std::time::Instant,
    /// Seconds since 1970 at the start.
    origin: u64,
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
            origin: since_1970.unwrap_or(Duration::ZERO).as_secs(),
        }
    }

    /// The moment.
    pub(super) fn now(&self) -> Instant {
        Instant::from_origin(self.start.elapsed())
    }

    /// Seconds since 1970 at the engine's time origin, for dates that people read.
    pub(super) const fn origin(&self) -> u64 {
        self.origin
    }
}
