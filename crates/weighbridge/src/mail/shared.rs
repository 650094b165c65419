//! What all services share: who answers and who takes reports.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mail::answer::LookUp;
use mail::outcome::OutcomeSink;
use mail::session::World;

use super::clock;

/// Turns of the event loop without anything said, after which whatever had come was heard: one to accept, one to
/// read, one to answer, and as many again.
const SILENT_TURNS: u32 = 6;
/// A turn: everything that has come is taken while it lasts.
const TURN: Duration = Duration::from_millis(1);
/// Turns at most; somebody who goes on talking is cut.
const TURNS_MAX: u32 = 500;

/// The store and the sink behind locks that are held for one question at a time.
pub struct Shared {
    lookup: Mutex<Box<dyn LookUp + Send>>,
    outcomes: Mutex<Box<dyn OutcomeSink + Send>>,
    /// How often somebody has said something.
    said: AtomicU64,
}

impl Shared {
    /// Services ask `lookup` and report to `outcomes`.
    #[must_use]
    pub fn new(lookup: Box<dyn LookUp + Send>, outcomes: Box<dyn OutcomeSink + Send>) -> Self {
        Self {
            lookup: Mutex::new(lookup),
            outcomes: Mutex::new(outcomes),
            said: AtomicU64::new(0),
        }
    }

    /// Runs `ask` with the world as it is now. It must not wait for anything.
    pub fn with_world<T>(&self, ask: impl FnOnce(&mut World<'_>) -> T) -> T {
        self.said.fetch_add(1, Ordering::Relaxed);
        let mut lookup = held(&self.lookup);
        let mut outcomes = held(&self.outcomes);
        ask(&mut World {
            lookup: &mut **lookup,
            outcomes: &mut **outcomes,
            now: clock::now(),
        })
    }

    /// Returns when nothing is left in the sockets of services in this runtime that somebody has said: a mail
    /// server does not tell again what it wrote before the daemon was told to end.
    pub async fn hear_the_rest(&self) {
        let (mut said, mut silent) = (self.said.load(Ordering::Relaxed), 0);
        for _ in 0..TURNS_MAX {
            tokio::time::sleep(TURN).await;
            let now = self.said.load(Ordering::Relaxed);
            silent = if now == said { silent + 1 } else { 0 };
            if silent == SILENT_TURNS {
                return;
            }
            said = now;
        }
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
