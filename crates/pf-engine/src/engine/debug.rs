//! How much is told of what PF writes into the kernel's log (`set debug`).

use crate::bad_state::BadState;
use crate::engine::Engine;
use crate::rule::Direction;
use crate::ruleset::DebugLevel;
use crate::tcp::{Mismatch, Segment};

impl Engine {
    /// `pfctl -x`.
    pub fn set_debug(&mut self, level: DebugLevel) {
        self.debug = Some(level);
    }

    /// `set debug`, `pfctl -x`, or what a fresh PF of the ruleset's dialect has.
    #[must_use]
    pub fn debug(&self) -> DebugLevel {
        self.debug.unwrap_or(DebugLevel::default_of(self.dialect))
    }

    /// The segment of the packet at hand that did not fit its state, if `set debug` says that PF logs
    /// such (`misc`, `notice`): to be asked behind each packet, and before the next.
    pub const fn take_bad_state(&mut self) -> Option<Box<BadState>> {
        self.bad_state.take()
    }

    /// What PF's log is told of a segment that does not fit its state, if `set debug` says so.
    pub(super) fn note_bad_state(
        &mut self,
        slot: u32,
        (flow, at): (Direction, Direction),
        segment: &Segment,
        mismatch: Mismatch,
    ) {
        if !self.debug().tells_bad_states() {
            return;
        }
        self.bad_state = self.states.get(slot).map(|state| {
            Box::new(BadState {
                wire: state.wire,
                stack: state.stack,
                direction: state.direction,
                traffic: state.traffic,
                segment: *segment,
                at,
                forward: flow == state.direction,
                mismatch,
            })
        });
    }
}
