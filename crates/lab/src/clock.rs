//! The one place of the lab that reads the clock and waits: it measures a real network.

use std::time::{Duration, Instant};

/// The time now.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the lab measures rates on a real network"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits; for what has no event to wait for (a queue that drains, a counter that settles).
#[expect(
    clippy::disallowed_methods,
    reason = "the lab waits for a network to settle"
)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Asks `condition` every 20 ms until it holds; false when `limit` has passed before.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = now() + limit;
    loop {
        if condition() {
            return true;
        }
        if now() >= deadline {
            return false;
        }
        pause(Duration::from_millis(20));
    }
}
