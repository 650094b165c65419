//! The mail process's one clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail::time::Timestamp;

/// The moment. Everything below is told it.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the shell of the mail process owns the clock; everything else is told the time"
)]
pub fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::from_epoch(since_1970.unwrap_or(Duration::ZERO))
}
