//! What rules of PF can have and the engine cannot do yet. [`crate::load`] refuses it;
//! [`crate::preview`] reads it and prints it.

use std::collections::BTreeMap;

/// Where in a rule something is printed (the order of FreeBSD's `pfctl -sr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// In the place of the action.
    Action,
    Os,
    /// In the place of `route-to`.
    Fastroute,
    Packets,
    StateLimiter,
    SourceLimiter,
    Divert,
    Pipe,
    NatPool,
    RdrPool,
    RoutePool,
    AfTo,
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
    GroupBound,
    Pflow,
    AllowRelated,
}

impl StateSlot {
    const AFTER_SLOPPY: [Self; 2] = [Self::Pflow, Self::AllowRelated];

    fn group(self) -> StateGroup {
        if Self::AFTER_SLOPPY.contains(&self) {
            StateGroup::AfterSloppy
        } else {
            StateGroup::BeforePolicy
        }
    }
}

/// Where state options of a kind are printed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateGroup {
    /// Between `max` and `if-bound`.
    BeforePolicy,
    AfterSloppy,
}

/// What a rule sets in packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetOptions {
    /// Its queue, and that of empty ACKs.
    pub(crate) queue: Option<(String, Option<String>)>,
    /// Milliseconds.
    pub(crate) delay: Option<u32>,
}

impl SetOptions {
    const NONE: Self = Self {
        queue: None,
        delay: None,
    };
}

/// Texts for the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    words: BTreeMap<Slot, Vec<String>>,
    state: BTreeMap<StateSlot, String>,
    /// The weight of each address of a pool.
    weights: BTreeMap<Slot, Vec<Option<u32>>>,
    pub(crate) set: SetOptions,
}

impl Extras {
    pub(crate) const NONE: Self = Self {
        words: BTreeMap::new(),
        state: BTreeMap::new(),
        weights: BTreeMap::new(),
        set: SetOptions::NONE,
    };

    pub(crate) fn push(&mut self, slot: Slot, text: String) {
        self.words.entry(slot).or_default().push(text);
    }

    pub(crate) fn words(&self, slot: Slot) -> &[String] {
        self.words.get(&slot).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn set_weights(&mut self, pool: Slot, weights: Vec<Option<u32>>) {
        self.weights.insert(pool, weights);
    }

    /// The weights of a pool's addresses, in their order; none where nothing is known of them.
    pub(crate) fn weights(&self, pool: Slot) -> &[Option<u32>] {
        self.weights.get(&pool).map_or(&[], Vec::as_slice)
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

    /// State options that are printed together.
    pub(crate) fn state_words(&self, group: StateGroup) -> impl Iterator<Item = &String> {
        let chosen = self.state.iter();
        let chosen = chosen.filter(move |(slot, _)| slot.group() == group);
        chosen.map(|(_, text)| text)
    }
}
