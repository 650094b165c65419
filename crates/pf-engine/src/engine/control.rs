//! `pfctl -k`, `pfctl -F states`.

use std::collections::BTreeSet;

use crate::addr::{Prefix, Protocol};
use crate::decision::StateId;
use crate::engine::Engine;
use crate::rule::Direction;
use crate::state::State;
use crate::view::HostPort;

/// Which states `pfctl -k` and `pfctl -F states` remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillFilter {
    /// By what they are.
    pub states: KillStates,
    /// `-i`: only those of this interface; of floating states those that it made.
    pub interface: Option<String>,
    /// `-M`: also the states of the same connections at other hooks, whatever the interface.
    pub matching: bool,
}

/// What `pfctl -k` says of states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillStates {
    /// `-F states`.
    All,
    /// `-k source [-k destination]`: by the addresses on the wire, source being the opener.
    Hosts(Prefix, Option<Prefix>),
    /// `-k nat -k source`: by the addresses on the other side of the translation.
    Nat(Prefix, Option<Prefix>),
    /// `-k label -k LABEL`: the rule that made them has this label.
    Label(String),
    /// `-k gateway -k ADDRESS`: they are routed there.
    Gateway(Prefix),
    /// `-k id -k ID[/CREATOR]`.
    Id(StateId, Option<u32>),
    /// `-k key -k KEY`: protocol, the two ends as `pfctl -ss` prints them, and whether the opener
    /// is the second (`<-`, an inbound state) or the first.
    Key(Protocol, [HostPort; 2], Direction),
}

impl From<KillStates> for KillFilter {
    fn from(states: KillStates) -> Self {
        Self {
            states,
            interface: None,
            matching: false,
        }
    }
}

impl Engine {
    /// `pfctl -F states`. Returns how many states were removed.
    pub fn flush_states(&mut self) -> usize {
        self.remove_states(|_| true)
    }

    /// `pfctl -k`. Returns how many states were killed.
    pub fn kill_states(&mut self, filter: &KillFilter) -> usize {
        let interface = filter.interface.as_deref();
        let wanted = self.states.iter_from(StateId(0)).filter(|(_, state)| {
            self.is_of(state, interface) && self.is_wanted(state, &filter.states)
        });
        let mut slots: BTreeSet<u32> = wanted.map(|(slot, _)| slot).collect();
        if filter.matching {
            let partners: Vec<u32> = slots.iter().flat_map(|slot| self.partners(*slot)).collect();
            slots.extend(partners);
        }
        for slot in &slots {
            self.remove_state(*slot);
        }
        slots.len()
    }

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

    /// Whether the state is of that interface; a floating one is of the one that made it.
    fn is_of(&self, state: &State, interface: Option<&str>) -> bool {
        let own = state.bound.unwrap_or(state.origin);
        interface.is_none_or(|interface| self.names.name(own) == interface)
    }

    fn is_wanted(&self, state: &State, wanted: &KillStates) -> bool {
        match wanted {
            KillStates::All => true,
            KillStates::Hosts(source, destination) => {
                let tuple = state.wire.tuple(state.direction);
                joins(&tuple, *source, *destination)
            }
            KillStates::Nat(source, destination) => {
                let tuple = state.stack.tuple(state.direction);
                joins(&tuple, *source, *destination)
            }
            KillStates::Label(label) => {
                let rule = state.rule.and_then(|rule| self.rules.get(rule));
                rule.is_some_and(|entry| entry.rule.labels.contains(label))
            }
            KillStates::Gateway(gateway) => state
                .route
                .and_then(|(_, hop)| hop.address)
                .is_some_and(|address| gateway.contains(address)),
            KillStates::Id(id, creator) => {
                let creator = creator.unwrap_or(self.config.creator_id);
                state.id == *id && creator == self.config.creator_id
            }
            KillStates::Key(protocol, [left, right], direction) => {
                let [wire, stack] = [&state.wire, &state.stack].map(|key| key.ends);
                let ends = [*right, *left];
                state.protocol() == *protocol
                    && state.direction == *direction
                    && (wire == ends || stack == ends)
            }
        }
    }

    /// The states that the same packets meet at the other side of the box: both have one key
    /// there.
    fn partners(&self, slot: u32) -> Vec<u32> {
        let Some(state) = self.states.get(slot) else {
            return Vec::new();
        };
        let other = match state.direction {
            Direction::In => Direction::Out,
            Direction::Out => Direction::In,
        };
        let key = state.stack.tuple(state.direction).key(other);
        let with_key = self.states.chain(Direction::Out, &key);
        let states = with_key.filter_map(|slot| Some((slot, self.states.get(slot)?)));
        states
            .filter(|(_, partner)| partner.direction == other)
            .map(|(slot, _)| slot)
            .collect()
    }
}

fn joins(tuple: &crate::key::Tuple, source: Prefix, destination: Option<Prefix>) -> bool {
    source.contains(tuple.source.address)
        && destination.is_none_or(|destination| destination.contains(tuple.destination.address))
}
