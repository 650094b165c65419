//! A cache is emptied at once, and what its packets did is made up for in pieces.
//!
//! When something changes that is no packet, the cache passes nothing any more that it had
//! ([`FlowCache::suspend`](crate::flow::FlowCache::suspend)): that takes no time, whatever it holds.
//! States keep their flow until somebody looks at them, a packet of theirs comes up, they end, or
//! their turn comes in [`Engine::settle_flows_piece`]: each is settled before it is shown, expires,
//! is changed or is put into the cache anew, so figures are exact at any moment. What changes where
//! packets are counted (rules, tables, counters that are zeroed) has to wait until none is left
//! ([`Engine::pause_flows`]).

use std::ops::Bound;

use crate::decision::StateId;
use crate::engine::Engine;
use crate::engine::flows::{FLOWS_AT_ONCE, Flows};
use crate::flow::FlowId;

/// How far the cache is emptied.
#[derive(Debug, Default)]
pub(super) struct Emptying {
    /// States that were in it when it was emptied and are not settled yet.
    left: usize,
    /// Behind which the next of them are looked for.
    behind: Option<FlowId>,
    /// How often the last flow was reached since: the second time all were looked at.
    rounds: u8,
    /// Nothing is put into it.
    is_paused: bool,
}

impl Emptying {
    pub(super) const fn is_paused(&self) -> bool {
        self.is_paused
    }
}

/// Where a reading of the cache that is made in pieces goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowsRead(Next);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// With states, behind this flow.
    States(Option<FlowId>),
    /// With decisions, in this slot.
    Decisions(u32),
}

impl Default for Next {
    fn default() -> Self {
        Self::States(None)
    }
}

impl Flows {
    /// Flows of states behind `behind`, `max` at most, with their slots, and the last if there may be
    /// more.
    fn piece(&self, behind: Option<FlowId>, max: usize) -> (Vec<u32>, Option<FlowId>) {
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let flows = self.slots.range((from, Bound::Unbounded)).take(max);
        let (ids, slots): (Vec<FlowId>, Vec<u32>) = flows.unzip();
        let last = ids.last().copied().filter(|_| ids.len() == max);
        (slots, last)
    }

    /// A state that was put into the cache in that generation is not there any more.
    pub(super) const fn note_settled(&mut self, generation: u64) {
        if generation != self.generation {
            self.emptying.left = self.emptying.left.saturating_sub(1);
        }
    }
}

impl Engine {
    /// Makes up for what packets did in the cache so far: to be called before anything of the
    /// engine is shown.
    pub fn read_flows(&mut self) {
        let mut next = Some(FlowsRead::default());
        while let Some(from) = next {
            next = self.read_flows_piece(from, FLOWS_AT_ONCE);
        }
    }

    /// A piece of [`Engine::read_flows`]: `max` flows at most. Returns where the next begins; nothing
    /// when all is read.
    pub fn read_flows_piece(&mut self, from: FlowsRead, max: usize) -> Option<FlowsRead> {
        self.learn_opened();
        let decisions = match from.0 {
            Next::States(behind) => {
                let (slots, last) = self.flows.piece(behind, max);
                self.read_slots(&slots);
                if last.is_some() {
                    return Some(FlowsRead(Next::States(last)));
                }
                (self.flows.statistics.decisions > 0).then_some(0)
            }
            Next::Decisions(from) => self.read_decisions(from, max),
        };
        decisions.map(|from| FlowsRead(Next::Decisions(from)))
    }

    /// The same for the states with these numbers alone: the next `max` from `from` on.
    pub fn read_flows_from(&mut self, from: StateId, max: usize) {
        self.learn_opened();
        if self.flows.statistics.held == 0 {
            return;
        }
        let states = self.states.iter_from(from).take(max);
        let held = states.filter(|(_, state)| state.flow.is_held());
        let slots: Vec<u32> = held.map(|(slot, _)| slot).collect();
        self.read_slots(&slots);
    }

    /// Empties the cache, at once: to be called before anything changes that is no packet. As long as
    /// [`Engine::has_left_flows`], what changes must not change where packets are counted.
    pub fn suspend_flows(&mut self) {
        let may_open = self.end_openings();
        let flows = &mut self.flows;
        flows.generation = flows.generation.wrapping_add(1);
        flows.decisions.forget_wishes();
        let has_states = flows.statistics.held > flows.emptying.left;
        if !may_open && !has_states && !flows.decisions.has_current(flows.statistics.decisions) {
            return;
        }
        let is_done = flows.cache.as_mut().is_some_and(|cache| cache.suspend());
        flows.emptying.left = flows.statistics.held;
        flows.emptying.rounds = 0;
        flows.decisions.note_emptied();
        let emptied = &mut flows.statistics.emptied;
        *emptied = emptied.wrapping_add(1);
        if !is_done {
            self.settle_left();
        }
    }

    /// Whether there are flows that the cache was emptied of and that are not made up for.
    #[must_use]
    pub fn has_left_flows(&self) -> bool {
        self.flows.emptying.left > 0 || self.flows.decisions.left() > 0
    }

    /// Makes up for what some of the flows did that the cache was emptied of: `max` at most are looked
    /// at. Whether there are more.
    pub fn settle_flows_piece(&mut self, max: usize) -> bool {
        if self.flows.emptying.left > 0 {
            self.settle_left_states(max);
        } else if self.flows.decisions.left() > 0 {
            self.settle_left_decisions(max);
        }
        self.has_left_flows()
    }

    /// Empties the cache and makes up for all of it, in one piece.
    pub fn settle_flows(&mut self) {
        self.suspend_flows();
        self.settle_left();
    }

    /// Empties the cache and keeps it empty until [`Engine::resume_flows`]: something is to change, when
    /// none [is left](Engine::has_left_flows).
    pub fn pause_flows(&mut self) {
        self.suspend_flows();
        self.flows.emptying.is_paused = self.has_flow_cache();
    }

    /// What was to change has changed.
    pub const fn resume_flows(&mut self) {
        self.flows.emptying.is_paused = false;
    }

    fn settle_left(&mut self) {
        while self.settle_flows_piece(FLOWS_AT_ONCE) {}
    }

    fn settle_left_states(&mut self, max: usize) {
        let (mut slots, last) = self.flows.piece(self.flows.emptying.behind, max);
        let now = self.flows.generation;
        slots.retain(|slot| {
            let held = self.states.get(*slot).and_then(|state| state.flow.held);
            held.is_some_and(|held| held.generation != now)
        });
        self.settle_slots(&slots);
        let emptying = &mut self.flows.emptying;
        emptying.behind = last;
        emptying.rounds = emptying.rounds.saturating_add(u8::from(last.is_none()));
        if emptying.rounds > 1 {
            emptying.left = 0;
        }
    }
}
