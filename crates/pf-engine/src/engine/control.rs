//! `pfctl -k`, `pfctl -F states`.

mod sources;

use std::collections::BTreeSet;

use crate::addr::{Prefix, Protocol};
use crate::decision::StateId;
use crate::engine::Engine;
use crate::rule::Direction;
use crate::state::State;
use crate::view::HostPort;

pub use self::sources::{ForgetSources, Forgetting};

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

/// A kill that is under way: packets cannot wait until a million states have been looked at.
#[derive(Clone, Debug)]
pub struct Killing {
    filter: KillFilter,
    next: StateId,
    /// States made since it began are not meant.
    last: StateId,
    killed: usize,
}

impl Killing {
    /// How many states were killed so far.
    #[must_use]
    pub const fn killed(&self) -> usize {
        self.killed
    }
}

impl Engine {
    /// `pfctl -F states`. Returns how many states were removed.
    pub fn flush_states(&mut self) -> usize {
        self.kill_states(&KillStates::All.into())
    }

    /// `pfctl -k`, in one go. Returns how many states were killed.
    pub fn kill_states(&mut self, filter: &KillFilter) -> usize {
        let mut killing = self.begin_killing(filter.clone());
        while self.go_on_killing(&mut killing, usize::MAX) {}
        killing.killed()
    }

    /// Begins to kill the states that there are now.
    #[must_use]
    pub fn begin_killing(&self, filter: KillFilter) -> Killing {
        Killing {
            filter,
            next: StateId(0),
            last: self.states.last_id(),
            killed: 0,
        }
    }

    /// Looks at the next states, at most `most`; whether there are more.
    pub fn go_on_killing(&mut self, killing: &mut Killing, most: usize) -> bool {
        let interface = killing.filter.interface.as_deref();
        let mut slots = BTreeSet::new();
        let mut looked_at = 0;
        for (slot, state) in self.states.iter_from(killing.next).take(most) {
            if state.id > killing.last {
                break;
            }
            looked_at += 1;
            killing.next = StateId(state.id.0.saturating_add(1));
            if self.is_of(state, interface) && self.is_wanted(state, &killing.filter.states) {
                slots.insert(slot);
            }
        }
        if killing.filter.matching {
            let partners: Vec<u32> = slots.iter().flat_map(|slot| self.partners(*slot)).collect();
            slots.extend(partners);
        }
        for slot in &slots {
            self.remove_state(*slot);
        }
        killing.killed = killing.killed.saturating_add(slots.len());
        looked_at == most
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
