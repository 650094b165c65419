//! What rules of PF can have and the engine cannot do yet. [`crate::load`] refuses it;
//! [`crate::preview`] reads it and prints it.

use std::collections::BTreeMap;

/// Where in a rule something is printed (the order of FreeBSD's `pfctl -sr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// In the place of the action.
    Action,
    Os,
    ReceivedOn,
    User,
    Group,
    Prio,
    Set,
    Packets,
    Probability,
    Scrub,
    ScrubEnd,
    Ridentifier,
    Queue,
    Rtable,
    Divert,
    Pipe,
    NatPool,
    RdrPool,
    RoutePool,
    AfTo,
    Once,
}

/// Where in the parentheses behind `keep state` something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StateSlot {
    NoSync,
    SourceTrack,
    MaxSrcStates,
    MaxSrcConn,
    MaxSrcConnRate,
    MaxSrcNodes,
    Overload,
    Pflow,
}

/// Texts for the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    words: BTreeMap<Slot, Vec<String>>,
    state: BTreeMap<StateSlot, String>,
}

impl Extras {
    pub(crate) const NONE: Self = Self {
        words: BTreeMap::new(),
        state: BTreeMap::new(),
    };

    pub(crate) fn push(&mut self, slot: Slot, text: String) {
        self.words.entry(slot).or_default().push(text);
    }

    pub(crate) fn words(&self, slot: Slot) -> &[String] {
        self.words.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Gives whether the option was there before.
    pub(crate) fn set_state(&mut self, slot: StateSlot, text: String) -> bool {
        self.state.insert(slot, text).is_some()
    }

    pub(crate) fn add_state(&mut self, other: &Self) {
        let pairs = other.state.iter().map(|(slot, text)| (*slot, text.clone()));
        self.state.extend(pairs);
    }

    pub(crate) fn has_state(&self, slot: StateSlot) -> bool {
        self.state.contains_key(&slot)
    }

    /// State options that are printed between `max` and `if-bound`, or after `sloppy`.
    pub(crate) fn state_words(&self, after_sloppy: bool) -> impl Iterator<Item = &String> {
        let pflow = move |slot: StateSlot| (slot == StateSlot::Pflow) == after_sloppy;
        let chosen = self.state.iter().filter(move |(slot, _)| pflow(**slot));
        chosen.map(|(_, text)| text)
    }
}
