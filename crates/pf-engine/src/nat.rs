//! Network address translation: which port is free, which port a redirection leads to.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::addr::Protocol;
use crate::key::{StateKey, Tuple};
use crate::pool::CompiledPool;
use crate::rule::{Direction, PoolPorts, PortMatch, PortSet};
use crate::state::State;
use crate::time::Instant;
use crate::view::HostPort;

/// Ports that NAT takes if the rule names none (pf.conf(5), TRANSLATION; PF's
/// `PF_NAT_PROXY_PORT_LOW` and `_HIGH`).
pub(crate) const NAT_PORTS: (u16, u16) = (50_001, 65_535);

/// Identifiers that NAT takes for pings.
const ECHO_IDS: (u16, u16) = (1, 65_535);

/// Ports that are guessed before all are looked at in turn. With one port in ten free, 64 guesses
/// fail once in a thousand times.
const GUESSES: u32 = 64;

/// How long ports that were all taken are believed to be so, unless a state goes: what a look at
/// all of them costs at most once in this time.
const BELIEF: Duration = Duration::from_secs(1);

/// Which source ports a translation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ports {
    /// The packet's own.
    Keep,
    /// One of these, both included.
    Range(u16, u16),
    /// `map-e-portset`.
    Set(PortSet),
}

impl Ports {
    /// The choice that a pool leaves to a packet. `is_echo`: it is an ICMP echo request. PF does
    /// not change the ports of SCTP: an association may have other addresses, which must have the
    /// same.
    pub(crate) fn of(pool: &CompiledPool, protocol: Protocol, is_echo: bool) -> Self {
        if is_echo {
            return pool
                .port_set
                .map_or(Self::Range(ECHO_IDS.0, ECHO_IDS.1), Self::Set);
        }
        if pool.static_port || !protocol.has_ports() || protocol == Protocol::SCTP {
            return Self::Keep;
        }
        match (pool.port_set, pool.ports) {
            (Some(set), _) => Self::Set(set),
            (None, None) => Self::Range(NAT_PORTS.0, NAT_PORTS.1),
            (None, Some(PoolPorts::Single(port) | PoolPorts::Offset(port))) => {
                Self::Range(port, port)
            }
            (None, Some(PoolPorts::Range(low, high))) => Self::Range(low.min(high), low.max(high)),
        }
    }

    /// Whether `af-to` draws them even if the packet's own is free: identifiers of pings, and ports
    /// that the rule names.
    pub(crate) const fn are_drawn(pool: &CompiledPool, is_icmp: bool) -> bool {
        is_icmp || pool.ports.is_some() || pool.port_set.is_some()
    }

    fn count(self) -> u32 {
        match self {
            Self::Keep => 1,
            Self::Range(low, high) => u32::from(high.saturating_sub(low)).wrapping_add(1),
            Self::Set(set) => u32::from(set.len()),
        }
    }

    /// Number `n` of them, modulo their number.
    fn at(self, own: u16, n: u32) -> u16 {
        let n = n.checked_rem(self.count()).unwrap_or(0);
        let n = u16::try_from(n).unwrap_or(0);
        match self {
            Self::Keep => own,
            Self::Range(low, _) => low.saturating_add(n),
            Self::Set(set) => set.port(n),
        }
    }

    /// Whether this is one of them, of a packet with the port `own`.
    pub(crate) fn contain(self, port: u16, own: u16) -> bool {
        match self {
            Self::Keep => port == own,
            Self::Range(low, high) => (low..=high).contains(&port),
            Self::Set(set) => set.contains(port),
        }
    }

    /// So few that all of them can be tried for each packet.
    pub(crate) fn are_few(self) -> bool {
        self.count() <= GUESSES
    }

    /// A free port among some that are drawn at random.
    pub(crate) fn guess(
        self,
        own: u16,
        random: &mut dyn FnMut() -> u32,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        (0..GUESSES)
            .map(|_| self.at(own, random()))
            .find(|port| is_free(*port))
    }

    /// A free port. Begins at a random one; every port is tried at most once.
    pub(crate) fn find(
        self,
        own: u16,
        random: &mut dyn FnMut() -> u32,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let count = self.count();
        let start = random().checked_rem(count).unwrap_or(0);
        (0..count)
            .map(|n| self.at(own, start.wrapping_add(n)))
            .find(|port| is_free(*port))
    }
}

/// Outside addresses whose ports were all taken towards one destination a moment ago. Only ranges
/// of more than [`GUESSES`] ports get here, so there are far fewer of these than of states.
#[derive(Debug, Default)]
pub(crate) struct FullRanges {
    until: BTreeMap<(StateKey, Ports), Instant>,
}

impl FullRanges {
    pub(crate) fn holds(&self, now: Instant, key: StateKey, ports: Ports) -> bool {
        let until = self.until.get(&(key, ports));
        until.is_some_and(|until| *until > now)
    }

    pub(crate) fn note(&mut self, now: Instant, key: StateKey, ports: Ports) {
        self.until.insert((key, ports), now.saturating_add(BELIEF));
    }

    /// A state is gone, and with it what it had taken.
    pub(crate) fn forget(&mut self, state: &State) {
        if self.until.is_empty() || state.wire == state.stack {
            return;
        }
        let tuple = state.outcome();
        let direction = if state.changes_family() {
            Direction::Out
        } else {
            state.direction
        };
        for key in [towards(tuple, direction), anywhere(tuple, direction)] {
            let known = self.until.range((key, Ports::Keep)..);
            let gone: Vec<Ports> = known
                .take_while(|((known, _), _)| *known == key)
                .map(|((_, ports), _)| *ports)
                .collect();
            for ports in gone {
                self.until.remove(&(key, ports));
            }
        }
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.until.retain(|_, until| *until > now);
    }
}

/// The key under which packets like `tuple` are noted, their source ports apart.
pub(crate) fn towards(mut tuple: Tuple, direction: Direction) -> StateKey {
    tuple.source.port = 0;
    tuple.key(direction)
}

/// The same, whatever the destination (`endpoint-independent`).
pub(crate) fn anywhere(mut tuple: Tuple, direction: Direction) -> StateKey {
    tuple.destination = HostPort {
        address: tuple.family().unspecified(),
        port: 0,
    };
    towards(tuple, direction)
}

/// Sources of UDP that have one outside address and port towards all
/// (`endpoint-independent`; RFC 4787, section 4.1), as long as they have states.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    outside: BTreeMap<HostPort, (HostPort, u32)>,
    taken: BTreeSet<HostPort>,
}

impl Mappings {
    pub(crate) fn of(&self, inside: HostPort) -> Option<HostPort> {
        self.outside.get(&inside).map(|(outside, _)| *outside)
    }

    pub(crate) fn is_taken(&self, outside: HostPort) -> bool {
        self.taken.contains(&outside)
    }

    /// One more state of this source.
    pub(crate) fn refer(&mut self, inside: HostPort, outside: HostPort) {
        let (_, states) = self.outside.entry(inside).or_insert((outside, 0));
        *states = states.saturating_add(1);
        self.taken.insert(outside);
    }

    /// One state less.
    pub(crate) fn release(&mut self, inside: HostPort) {
        let Some((outside, states)) = self.outside.get_mut(&inside) else {
            return;
        };
        *states = states.saturating_sub(1);
        if *states == 0 {
            self.taken.remove(outside);
            self.outside.remove(&inside);
        }
    }
}

/// Source of a translated state: inside and outside.
pub(crate) fn mapping(state: &State) -> (HostPort, HostPort) {
    (state.origin_tuple().source, state.outcome().source)
}

/// The port that `rdr` leads `port` to. `matched` is the rule's `port` of the destination.
pub(crate) fn redirected_port(
    pool: Option<PoolPorts>,
    matched: Option<PortMatch>,
    port: u16,
) -> u16 {
    let first = match matched {
        Some(PortMatch::Range(first, _) | PortMatch::Eq(first)) => first,
        Some(PortMatch::Inside(first, _)) => first.saturating_add(1),
        _ => 0,
    };
    let offset = port.wrapping_sub(first);
    match pool {
        None => port,
        Some(PoolPorts::Single(to)) => to,
        Some(PoolPorts::Offset(to)) => to.wrapping_add(offset),
        Some(PoolPorts::Range(low, high)) => {
            let span = u32::from(high.saturating_sub(low)).wrapping_add(1);
            let step = u32::from(offset).checked_rem(span).unwrap_or(0);
            low.saturating_add(u16::try_from(step).unwrap_or(0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_the_range_is_tried_once() {
        for seed in [0, 1, 4, 5, u32::MAX] {
            let mut tried = Vec::new();
            let found = Ports::Range(100, 104).find(7, &mut || seed, |port| {
                tried.push(port);
                false
            });
            assert_eq!(found, None);
            tried.sort_unstable();
            assert_eq!(tried, [100, 101, 102, 103, 104]);
        }
    }

    #[test]
    fn the_last_port_of_all_can_be_found() {
        let found = Ports::Range(1, 65_535).find(7, &mut || 3, |port| port == 65_535);
        assert_eq!(found, Some(65_535));
        assert_eq!(Ports::Keep.find(7, &mut || 3, |_| true), Some(7));
        assert_eq!(Ports::Keep.find(7, &mut || 3, |_| false), None);
    }

    #[test]
    fn a_port_set_of_map_e_has_the_ports_of_its_customer() {
        let set = PortSet::new(2, 12, 0x342).unwrap();
        let mut all: Vec<u16> = (0..set.len()).map(|n| set.port(n)).collect();
        all.sort_unstable();
        let blocks = [19_720..=19_723, 36_104..=36_107, 52_488..=52_491];
        assert_eq!(all, blocks.into_iter().flatten().collect::<Vec<u16>>());
        let found = Ports::Set(set).find(7, &mut || 3, |port| port == 52_491);
        assert_eq!(found, Some(52_491));
        for (offset, length, id) in [(0, 4, 0), (16, 0, 0), (8, 9, 0), (6, 4, 16)] {
            assert_eq!(PortSet::new(offset, length, id), None);
        }
    }

    #[test]
    fn guesses_are_few_and_of_the_range() {
        let mut tried = 0;
        let mut seed = 0;
        let mut random = || {
            seed += 7919;
            seed
        };
        let found = Ports::Range(50_001, 65_535).guess(7, &mut random, |port| {
            tried += 1;
            assert!(port >= 50_001);
            false
        });
        assert_eq!((found, tried), (None, 64));
    }

    #[test]
    fn redirections_move_ports_as_the_rule_says() {
        let range = Some(PortMatch::Range(8000, 8099));
        assert_eq!(redirected_port(None, range, 8010), 8010);
        assert_eq!(
            redirected_port(Some(PoolPorts::Single(80)), range, 8010),
            80
        );
        assert_eq!(
            redirected_port(Some(PoolPorts::Offset(9000)), range, 8010),
            9010
        );
        assert_eq!(
            redirected_port(Some(PoolPorts::Range(80, 84)), range, 8007),
            82
        );
    }
}
