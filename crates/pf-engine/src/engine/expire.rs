//! Expiry: a part of the state table at a time, fragments, source nodes.

use std::time::Duration;

use crate::engine::Engine;
use crate::rule::Timeout;
use crate::time::Instant;

/// How often the sweep moves on.
const TICK: Duration = Duration::from_secs(1);

/// States that one call looks at, at most: what is left is due at once. About a millisecond, so
/// that a large table does not hold up packets.
const MAX_SWEEP: usize = 4096;

/// Source nodes that one call ends, at most, and sources of limiters.
const MAX_SOURCES: usize = 1024;

/// Where the sweep over the state table stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sweep {
    last: Instant,
    next_slot: u32,
    /// Slots that are due and were not looked at yet.
    owed: usize,
    /// There are sources that are over, perhaps.
    sources_left: bool,
}

impl Sweep {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            last: now,
            next_slot: 0,
            owed: 0,
            sources_left: false,
        }
    }
}

impl Engine {
    pub(super) fn expire(&mut self) {
        let options = self.reassembly_options();
        self.fragments.handle_timeout(self.now, &options);
        self.sweep.sources_left = self.expire_sources(MAX_SOURCES);
        self.full.expire(self.now);
        self.go_on_flushing();
        self.sweep_states();
        self.expire_decisions();
        self.checks_cookies();
    }

    /// As PF's purge, looks at `1/interval` of the table for each second that has gone by.
    fn sweep_states(&mut self) {
        let slots = self.states.slots();
        self.sweep.owed = self
            .sweep
            .owed
            .saturating_add(self.newly_due(slots))
            .min(slots);
        let now = self.sweep.owed.min(MAX_SWEEP);
        self.sweep.owed = self.sweep.owed.saturating_sub(now);
        let due: Vec<u32> = (0..now).map(|_| self.next_slot(slots)).collect();
        let mut over = self.seem_over(due);
        // By what the cache knows they live perhaps, which dates them anew; the others end there
        // together.
        self.read_slots(&over);
        over = self.seem_over(over);
        self.settle_slots(&over);
        for slot in over {
            // With fewer states others live longer (`adaptive.start`).
            if self.seems_over(slot) {
                self.remove_state(slot);
            }
        }
    }

    /// Slots that have become due since the last call.
    fn newly_due(&mut self, slots: usize) -> usize {
        let ticks = self.now.saturating_since(self.sweep.last).as_secs();
        let elapsed = TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX));
        self.sweep.last = self.sweep.last.saturating_add(elapsed);
        let interval = usize::try_from(self.timeouts.value(Timeout::Interval))
            .unwrap_or(1)
            .max(1);
        let ticks = usize::try_from(ticks).unwrap_or(usize::MAX);
        ticks.saturating_mul(slots.div_ceil(interval))
    }

    fn next_slot(&mut self, slots: usize) -> u32 {
        if self.sweep.next_slot as usize >= slots {
            self.sweep.next_slot = 0;
        }
        let slot = self.sweep.next_slot;
        self.sweep.next_slot = slot.saturating_add(1);
        slot
    }

    /// Those of the states in these slots that are over by what the engine knows.
    fn seem_over(&self, slots: Vec<u32>) -> Vec<u32> {
        let slots = slots.into_iter();
        slots.filter(|slot| self.seems_over(*slot)).collect()
    }

    fn seems_over(&self, slot: u32) -> bool {
        let state = self.states.get(slot);
        state.is_some_and(|state| self.lifetimes().is_over(state))
    }

    /// When there is something to expire.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let sweeps = self.states.len() > 0 || self.sources.has_idle() || self.limiters.has_idle();
        let sweep = sweeps.then(|| match self.sweep.owed {
            0 => self.sweep.last.saturating_add(TICK),
            _ => self.sweep.last,
        });
        let options = self.reassembly_options();
        let fragments = self.fragments.poll_timeout(&options);
        let is_behind = self.sweep.sources_left || self.is_flushing();
        let behind = is_behind.then(Instant::default);
        let expiries = [sweep, fragments, self.next_decision_expiry(), behind];
        expiries.into_iter().flatten().min()
    }
}
