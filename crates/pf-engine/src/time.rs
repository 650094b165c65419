//! Time as the engine knows it: a number handed in by the caller.

use std::time::Duration;

/// A moment, counted from an origin that the caller chooses (the daemon: its start).
///
/// The engine only compares moments and subtracts them; it never reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The moment `since_origin` after the caller's origin.
    #[must_use]
    pub const fn from_origin(since_origin: Duration) -> Self {
        Self(since_origin)
    }

    /// The moment `seconds` after the caller's origin.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Time since the caller's origin.
    #[must_use]
    pub const fn since_origin(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to `self`, zero when `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// `self` moved on by `step`, at most the largest moment there is.
    #[must_use]
    pub const fn saturating_add(self, step: Duration) -> Self {
        Self(self.0.saturating_add(step))
    }
}
