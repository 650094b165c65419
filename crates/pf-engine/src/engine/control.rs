//! `pfctl -k`, `pfctl -F states`.

use crate::decision::StateId;
use crate::engine::{Engine, KillFilter};
use crate::state::State;

/// Whether `pfctl -k` means this state: by the addresses on the wire, source being the opener.
pub(super) fn is_wanted(state: &State, filter: KillFilter) -> bool {
    let tuple = state.wire.tuple(state.direction);
    filter.source.contains(tuple.source.address)
        && filter
            .destination
            .is_none_or(|destination| destination.contains(tuple.destination.address))
}

impl Engine {
    /// Removes the states that are wanted; returns how many.
    pub(super) fn remove_states(&mut self, is_wanted: impl Fn(&State) -> bool) -> usize {
        let slots: Vec<u32> = self
            .states
            .iter_from(StateId(0))
            .filter(|(_, state)| is_wanted(state))
            .map(|(slot, _)| slot)
            .collect();
        for slot in &slots {
            self.remove_state(*slot);
        }
        slots.len()
    }
}
