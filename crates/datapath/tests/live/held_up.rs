//! Tests of what holds for a time alone show nothing where somebody holds them up.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What is learnt begins and ends to hold with time alone.
#[expect(clippy::disallowed_methods, reason = "there is nothing to wait for")]
pub(crate) fn let_pass(time: Duration) {
    noting(time + HELD_UP, || thread::sleep(time));
}

/// What takes longer than this and some milliseconds was held up: it shows nothing of what is learnt
/// for a time.
pub(crate) const HELD_UP: Duration = Duration::from_millis(200);
const TRIES: usize = 5;
/// How often a test was held up.
static HOLDUPS: AtomicUsize = AtomicUsize::new(0);

/// Does something, and notes when it was held up.
#[expect(
    clippy::disallowed_methods,
    reason = "what is learnt holds by the clock"
)]
pub(crate) fn noting<T>(limit: Duration, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    if began.elapsed() > limit {
        HOLDUPS.fetch_add(1, Ordering::Relaxed);
    }
    done
}

/// Does a test once more when it has failed and was held up.
pub(crate) fn undisturbed(test: impl Fn()) {
    for _ in 1..TRIES {
        let before = HOLDUPS.load(Ordering::Relaxed);
        let Err(failure) = catch_unwind(AssertUnwindSafe(&test)) else {
            return;
        };
        if HOLDUPS.load(Ordering::Relaxed) == before {
            resume_unwind(failure);
        }
    }
    test();
}
