//! Where connections are that a SYN might meet: whoever opens one for a cache must know that there
//! is none.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::decision::EtherAddresses;
use crate::env::IfIndex;
use crate::flow::FlowKey;
use crate::key::{StateKey, Tuple};
use crate::rule::Direction;
use crate::state::State;

const DIRECTIONS: [Direction; 2] = [Direction::In, Direction::Out];

/// Where the cache knows packets of the opener of a connection: at an interface, in such frames.
pub(super) type At = (IfIndex, EtherAddresses);

/// What a SYN may meet of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Meeting {
    /// The cache has it, and knows a SYN of its opener there.
    Held(IfIndex, EtherAddresses),
    /// The engine alone knows it.
    Stray,
    /// The same, and packets between its ends may be its own wherever they are.
    Anywhere,
}

/// Packets that go one way between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    direction: Direction,
    source: IpAddr,
    destination: IpAddr,
}

impl Pair {
    const fn of(direction: Direction, tuple: &Tuple) -> Self {
        Self {
            direction,
            source: tuple.source.address,
            destination: tuple.destination.address,
        }
    }
}

/// Connections of a pair to one port.
#[derive(Debug, Default)]
struct Service {
    /// Those that the cache has, all at one place.
    held: u32,
    at: Option<At>,
    /// The others.
    strays: u32,
    offered: Vec<FlowKey>,
}

#[derive(Debug, Default)]
struct Pairing {
    /// Connections whose answers go this way.
    answers: u32,
    services: BTreeMap<u16, Service>,
}

impl Pairing {
    fn is_empty(&self) -> bool {
        self.answers == 0 && self.services.is_empty()
    }

    fn offered(&self) -> impl Iterator<Item = FlowKey> {
        let services = self.services.values();
        services.flat_map(|service| service.offered.iter().copied())
    }
}

/// Live connections, by whom a SYN that meets them comes from and goes to.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    pairs: BTreeMap<Pair, Pairing>,
}

impl Meetings {
    /// Counts a state; returns as what, and the offers that it stands in the way of.
    pub(super) fn count(&mut self, state: &State, meeting: Meeting) -> (Meeting, Vec<FlowKey>) {
        let mut barred = Vec::new();
        if meeting == Meeting::Anywhere {
            for pair in all_ways(state) {
                barred.extend(self.count_answers(pair));
            }
            return (meeting, barred);
        }
        let (opener, port, other) = ways(state);
        barred.extend(self.count_answers(other));
        let pairing = self.pairs.entry(opener).or_default();
        let service = pairing.services.entry(port).or_default();
        if let Meeting::Held(interface, ether) = meeting {
            let at = (interface, ether);
            if service.held == 0 || service.at == Some(at) {
                service.at = Some(at);
                service.held = service.held.saturating_add(1);
                return (meeting, barred);
            }
        }
        service.strays = service.strays.saturating_add(1);
        barred.extend(service.offered.iter().copied());
        (Meeting::Stray, barred)
    }

    fn count_answers(&mut self, pair: Pair) -> Vec<FlowKey> {
        let pairing = self.pairs.entry(pair).or_default();
        pairing.answers = pairing.answers.saturating_add(1);
        if pairing.answers > 1 {
            return Vec::new();
        }
        pairing.offered().collect()
    }

    /// Takes back what [`Meetings::count`] has counted.
    pub(super) fn forget(&mut self, state: &State, meeting: Meeting) {
        if meeting == Meeting::Anywhere {
            for pair in all_ways(state) {
                self.forget_answers(pair);
            }
            return;
        }
        let (opener, port, other) = ways(state);
        self.forget_answers(other);
        self.change(opener, port, |service| {
            let count = match meeting {
                Meeting::Held(..) => &mut service.held,
                Meeting::Stray | Meeting::Anywhere => &mut service.strays,
            };
            *count = count.saturating_sub(1);
        });
    }

    fn forget_answers(&mut self, pair: Pair) {
        if let Some(pairing) = self.pairs.get_mut(&pair) {
            pairing.answers = pairing.answers.saturating_sub(1);
            if pairing.is_empty() {
                self.pairs.remove(&pair);
            }
        }
    }

    fn change(&mut self, pair: Pair, port: u16, change: impl FnOnce(&mut Service)) {
        let Some(pairing) = self.pairs.get_mut(&pair) else {
            return;
        };
        let Some(service) = pairing.services.get_mut(&port) else {
            return;
        };
        change(service);
        if service.held == 0 && service.strays == 0 && service.offered.is_empty() {
            pairing.services.remove(&port);
        }
        if pairing.is_empty() {
            self.pairs.remove(&pair);
        }
    }

    /// Whether a SYN that comes where `key` says can meet no connection but those that are known
    /// there.
    pub(super) fn is_clear(&self, key: &FlowKey) -> bool {
        let (pair, port) = way_of(key);
        let Some(pairing) = self.pairs.get(&pair) else {
            return true;
        };
        let is_clear = |service: &Service| {
            let at = (key.hook.interface, key.ether);
            service.strays == 0 && (service.held == 0 || service.at == Some(at))
        };
        pairing.answers == 0 && pairing.services.get(&port).is_none_or(is_clear)
    }

    /// The cache opens connections with this key.
    pub(super) fn offer(&mut self, key: FlowKey) {
        let (pair, port) = way_of(&key);
        let pairing = self.pairs.entry(pair).or_default();
        let service = pairing.services.entry(port).or_default();
        service.offered.push(key);
    }

    /// It does no more.
    pub(super) fn withdraw(&mut self, key: &FlowKey) {
        let (pair, port) = way_of(key);
        self.change(pair, port, |service| {
            service.offered.retain(|offered| offered != key);
        });
    }
}

const fn way_of(key: &FlowKey) -> (Pair, u16) {
    let pair = Pair {
        direction: key.hook.direction,
        source: key.source.address,
        destination: key.destination.address,
    };
    (pair, key.destination.port)
}

/// The way of a state's opener with the port that it asks, and that of the answers.
const fn ways(state: &State) -> (Pair, u16, Pair) {
    let (there, back) = (state.direction, state.direction.reverse());
    let opener = state.side(there).tuple(there);
    let other = state.side(back).tuple(back);
    let port = opener.destination.port;
    (Pair::of(there, &opener), port, Pair::of(back, &other))
}

fn all_ways(state: &State) -> impl Iterator<Item = Pair> {
    let both = |key: StateKey| {
        let tuples = DIRECTIONS.map(|direction| key.tuple(direction));
        DIRECTIONS.map(|direction| tuples.map(|tuple| Pair::of(direction, &tuple)))
    };
    let (wire, stack) = (both(state.wire), both(state.stack));
    wire.into_iter().chain(stack).flatten()
}
