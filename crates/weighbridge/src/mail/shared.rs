//! What all services share: who answers and who takes reports.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mail::answer::LookUp;
use mail::outcome::OutcomeSink;
use mail::session::World;

use super::clock;

/// The store and the sink behind locks that are held for one question at a time.
pub struct Shared {
    lookup: Mutex<Box<dyn LookUp + Send>>,
    outcomes: Mutex<Box<dyn OutcomeSink + Send>>,
}

impl Shared {
    /// Services ask `lookup` and report to `outcomes`.
    #[must_use]
    pub fn new(lookup: Box<dyn LookUp + Send>, outcomes: Box<dyn OutcomeSink + Send>) -> Self {
        Self {
            lookup: Mutex::new(lookup),
            outcomes: Mutex::new(outcomes),
        }
    }

    /// Runs `ask` with the world as it is now. It must not wait for anything.
    pub fn with_world<T>(&self, ask: impl FnOnce(&mut World<'_>) -> T) -> T {
        let mut lookup = held(&self.lookup);
        let mut outcomes = held(&self.outcomes);
        ask(&mut World {
            lookup: &mut **lookup,
            outcomes: &mut **outcomes,
            now: clock::now(),
        })
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// A session that panicked has left nothing half done: each call is whole or did nothing.
fn held<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
