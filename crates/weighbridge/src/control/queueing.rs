//! The kernel's queues, as requests see them.

use std::fmt;

use datapath::Datapath;
use datapath::queues::QueueStatistics;
use pf_engine::engine::Engine;
use pf_engine::queue::{QueueNumbers, QueueTree};

/// What queues packets: the kernel, or in tests nothing.
pub trait Scheduler: fmt::Debug {
    /// Puts queues into force in place of those before, all or none.
    ///
    /// # Errors
    /// What cannot be done, and where it was written.
    fn set(&mut self, trees: &[QueueTree], numbers: &QueueNumbers) -> Result<(), String>;

    /// What was counted of them.
    fn statistics(&self, numbers: &QueueNumbers) -> QueueStatistics;
}

impl Scheduler for Datapath {
    fn set(&mut self, trees: &[QueueTree], numbers: &QueueNumbers) -> Result<(), String> {
        self.set_queues(trees, numbers)
            .map_err(|error| error.to_string())
    }

    fn statistics(&self, numbers: &QueueNumbers) -> QueueStatistics {
        self.queue_statistics(numbers)
    }
}

/// Has the kernel do the queues of a ruleset that `engine` is about to install.
///
/// # Errors
/// As [`Scheduler::set`]; then the queues in force are those of before.
pub fn put(
    engine: &mut Engine,
    scheduler: &mut dyn Scheduler,
    trees: &[QueueTree],
) -> Result<(), String> {
    if let Some(queue) = engine.number_queues(trees) {
        let (place, name) = (&queue.place, &queue.name);
        return Err(format!(
            "{place}: queue {name}: too many names of queues since the daemon started\n  \
             hint: start it again"
        ));
    }
    scheduler.set(trees, engine.queue_numbers())
}

/// Has the kernel go back to the queues of the ruleset in force.
pub fn put_back(engine: &Engine, scheduler: &mut dyn Scheduler) {
    if let Err(message) = scheduler.set(engine.queues(), engine.queue_numbers()) {
        tracing::warn!("{message}");
    }
}
