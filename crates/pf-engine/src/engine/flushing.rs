//! `overload … flush`: the states of a source end, in pieces: a source may have a million, and packets
//! cannot wait for them.
//!
//! For packets it is as if all had ended at once: a state that is not reached yet ends when a packet
//! meets it, and none of them is left in the flow cache.

use std::net::IpAddr;

use crate::decision::StateId;
use crate::engine::Engine;
use crate::installed::RuleId;
use crate::key::StateKey;
use crate::rule::{Direction, Flush};
use crate::state::State;

/// States that are looked at at once, at most: a millisecond's worth.
pub const FLUSHED_AT_ONCE: usize = 512;

/// A source whose states end.
#[derive(Debug)]
pub(super) struct Flushing {
    source: IpAddr,
    flush: Flush,
    /// The rule that they are of, unless all are meant.
    rule: Option<RuleId>,
    /// The slot that the next piece begins with.
    next: u32,
    /// States made since are not meant.
    last: StateId,
}

impl Flushing {
    fn means(&self, state: &State) -> bool {
        let is_of_rule = self.flush == Flush::Global || state.rule == self.rule;
        is_of_rule && state.id <= self.last && state.sources_of_opener().contains(&self.source)
    }
}

impl Engine {
    /// Ends the states of a source, some of them by now.
    pub(super) fn flush_source(&mut self, source: IpAddr, rule: Option<RuleId>, flush: Flush) {
        let mut flushing = Flushing {
            source,
            flush,
            rule,
            next: 0,
            last: StateId(self.next_state),
        };
        if self.flush_piece(&mut flushing) {
            let same = (source, flush, rule);
            self.flushing
                .retain(|one| (one.source, one.flush, one.rule) != same);
            self.flushing.push_back(flushing);
            // Those that are left would pass there.
            self.note_stale_flows();
        }
    }

    /// Whether [`Engine::go_on_flushing`] has something to do.
    pub(super) fn is_flushing(&self) -> bool {
        !self.flushing.is_empty()
    }

    /// The next piece.
    pub(super) fn go_on_flushing(&mut self) {
        if let Some(mut flushing) = self.flushing.pop_front()
            && self.flush_piece(&mut flushing)
        {
            self.flushing.push_front(flushing);
        }
    }

    /// Whether there is more to do.
    fn flush_piece(&mut self, flushing: &mut Flushing) -> bool {
        let of_source = self.states.of_source(flushing.source, flushing.next);
        let (mut looked_at, mut doomed) = (0, Vec::new());
        for (slot, state) in of_source.take(FLUSHED_AT_ONCE) {
            looked_at += 1;
            flushing.next = slot.saturating_add(1);
            doomed.extend(flushing.means(state).then_some(slot));
        }
        // The cache is asked about all at once.
        self.settle_slots(&doomed);
        for slot in doomed {
            self.remove_state(slot);
        }
        looked_at == FLUSHED_AT_ONCE
    }

    /// A packet is about to meet states with this key: those that are still to end, do now.
    pub(super) fn flush_key(&mut self, side: Direction, key: &StateKey) {
        if self.flushing.is_empty() {
            return;
        }
        let is_meant = |state: &State| self.flushing.iter().any(|one| one.means(state));
        let chain = self.states.chain(side, key);
        let met: Vec<u32> = chain
            .filter(|slot| self.states.get(*slot).is_some_and(is_meant))
            .collect();
        for slot in met {
            self.remove_state(slot);
        }
    }
}
