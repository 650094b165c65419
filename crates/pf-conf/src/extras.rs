//! What rules of PF can have and the engine has nothing for. [`crate::load`] refuses it;
//! [`crate::preview`] reads it and prints it.

use std::collections::BTreeMap;

/// Where in a rule something is printed (the order of FreeBSD's `pfctl -sr`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// In the place of `route-to`.
    Fastroute,
    /// In front of `queue`.
    Pipe,
    Divert,
}

/// Where in the parentheses behind `keep state` something is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StateSlot {
    GroupBound,
    Pflow,
}

impl StateSlot {
    const fn group(self) -> StateGroup {
        match self {
            Self::Pflow => StateGroup::AfterSloppy,
            Self::GroupBound => StateGroup::BeforePolicy,
        }
    }
}

/// Where state options of a kind are printed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateGroup {
    /// Between `overload` and `if-bound`.
    BeforePolicy,
    AfterSloppy,
}

/// What a rule sets in packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetOptions {
    /// Milliseconds.
    pub(crate) delay: Option<u32>,
}

impl SetOptions {
    const NONE: Self = Self { delay: None };
}

/// Texts for the slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extras {
    words: BTreeMap<Slot, Vec<String>>,
    state: BTreeMap<StateSlot, String>,
    pub(crate) set: SetOptions,
}

impl Extras {
    pub(crate) const NONE: Self = Self {
        words: BTreeMap::new(),
        state: BTreeMap::new(),
        set: SetOptions::NONE,
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

    /// State options that are printed together.
    pub(crate) fn state_words(&self, group: StateGroup) -> impl Iterator<Item = &String> {
        let chosen = self.state.iter();
        let chosen = chosen.filter(move |(slot, _)| slot.group() == group);
        chosen.map(|(_, text)| text)
    }
}
