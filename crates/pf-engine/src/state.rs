//! The state table: states, found by the key of a packet on the wire or on the stack side.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::addr::Protocol;
use crate::association::Membership;
pub(crate) use crate::counters::Count;
use crate::criteria::{Divert, Treatment};
use crate::decision::{EtherAddresses, StateId};
use crate::engine::Cacheable;
use crate::installed::RuleId;
use crate::key::{StateKey, Tuple};
use crate::limiter::LimiterRef;
use crate::names::NameId;
use crate::pool::LoadKey;
use crate::route::NextHop;
use crate::rule::{Direction, RouteKind, Scrub, Timeout};
use crate::slab::{Chunk, Slab};
use crate::source::SourceKey;
use crate::tcp::{self, Peer, tcps};
use crate::tcpnorm::TcpNorm;
use crate::time::Instant;

use self::index::Index;

mod index;

/// A state.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one state"
)]
pub(crate) struct State {
    pub(crate) id: StateId,
    pub(crate) wire: StateKey,
    pub(crate) stack: StateKey,
    pub(crate) direction: Direction,
    /// The interface it is bound to; nothing for a floating one.
    pub(crate) bound: Option<NameId>,
    pub(crate) origin: NameId,
    /// The filter rule that made it; nothing for the implicit pass.
    pub(crate) rule: Option<RuleId>,
    /// The rule of the main ruleset that led to the anchor which `rule` is in.
    pub(crate) anchor: Option<RuleId>,
    /// The translation rule of the old grammar.
    pub(crate) translation_rule: Option<RuleId>,
    /// `match` rules that matched too.
    pub(crate) match_rules: Vec<RuleId>,
    pub(crate) timeout: Timeout,
    pub(crate) created: Instant,
    /// When it was last prolonged.
    pub(crate) refreshed: Instant,
    /// Peer that opened it.
    pub(crate) source: Peer,
    pub(crate) destination: Peer,
    pub(crate) traffic: [Count; 2],
    pub(crate) sloppy: bool,
    pub(crate) allow_options: bool,
    /// Each of its packets is logged: a rule that made it has `log (all)`.
    pub(crate) logged: bool,
    pub(crate) route: Option<(RouteKind, NextHop)>,
    /// Frame addresses of the opener, if its frame was for one station.
    pub(crate) ether: Option<EtherAddresses>,
    /// How its packets cross the box, if a frame told.
    pub(crate) way: Option<Way>,
    pub(crate) tag: Option<NameId>,
    /// NAT gave it the outside address and port that its source has towards all.
    pub(crate) endpoint_independent: bool,
    /// What its packets are normalised to.
    pub(crate) scrub: Scrub,
    /// What happens to its packets.
    pub(crate) treatment: Treatment,
    /// `log (user)`: the user that owns the local socket.
    pub(crate) owner: Option<u32>,
    /// `reassemble tcp`: what is remembered for it.
    pub(crate) norm: Option<Box<TcpNorm>>,
    /// Its source nodes: of `source-track` and of sticky pools.
    pub(crate) sources: Vec<SourceKey>,
    /// Its handshake was counted as a connection of its source.
    pub(crate) connected: bool,
    /// Limiters that it counts for.
    pub(crate) limiters: Vec<LimiterRef>,
    /// What `least-states` pools chose for it.
    pub(crate) loads: Vec<LoadKey>,
    /// `max-pkt-size`.
    pub(crate) max_packet_size: Option<u16>,
    /// Of SCTP: the association, if its ends have told each other more addresses.
    pub(crate) membership: Option<Membership>,
    /// What it has to do with the flow cache.
    pub(crate) flow: Cacheable,
}

/// How a packet crosses the box.
///
/// A connection may cross a bridge twice: as frames that the box bridges, and, behind a router,
/// as packets to the box itself. Both have the same addresses and ports, and each has its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// In a frame to or from an Ethernet address of the box: routed, or its own.
    Stack,
    /// In a frame between others.
    Bridge,
}

impl State {
    pub(crate) const fn protocol(&self) -> Protocol {
        self.wire.protocol
    }

    /// Whether its two keys are of different families (`af-to`).
    pub(crate) fn changes_family(&self) -> bool {
        self.wire.family() != self.stack.family()
    }

    /// Source and destination as the opener's packets leave behind the translation.
    pub(crate) const fn outcome(&self) -> Tuple {
        self.translated(self.direction).tuple(self.direction)
    }

    /// The same as they come.
    pub(crate) const fn origin_tuple(&self) -> Tuple {
        self.side(self.direction).tuple(self.direction)
    }

    /// The opener's address on the wire and on the stack.
    pub(crate) fn sources_of_opener(&self) -> [IpAddr; 2] {
        [&self.wire, &self.stack].map(|key| key.tuple(self.direction).source.address)
    }

    /// Counts packets: index 0 goes in the direction of the opener.
    pub(crate) fn count(&mut self, direction: Direction, count: Count) {
        let [forward, reply] = &mut self.traffic;
        if direction == self.direction {
            forward.add(count);
        } else {
            reply.add(count);
        }
    }

    /// Sender and receiver of a packet that goes in `direction`.
    pub(crate) const fn peers(&mut self, direction: Direction) -> (&mut Peer, &mut Peer) {
        match (direction, self.direction) {
            (Direction::In, Direction::In) | (Direction::Out, Direction::Out) => {
                (&mut self.source, &mut self.destination)
            }
            (Direction::In, Direction::Out) | (Direction::Out, Direction::In) => {
                (&mut self.destination, &mut self.source)
            }
        }
    }

    /// Whether the proxy still makes the handshakes of the connection.
    pub(crate) const fn is_proxied(&self) -> bool {
        matches!(self.source.state, tcps::PROXY_SRC | tcps::PROXY_DST)
    }

    /// Whether it is a TCP connection whose opener has not completed its handshake.
    pub(crate) fn is_half_open(&self) -> bool {
        let opening = tcps::CLOSED < self.source.state && self.source.state < tcps::ESTABLISHED;
        self.protocol() == Protocol::TCP && (opening || self.source.state == tcps::PROXY_SRC)
    }

    /// Whether it is a TCP connection that both ends have closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.protocol() == Protocol::TCP && tcp::both_closed(&self.source, &self.destination)
    }

    /// Whether the state covers packets at `interface`.
    pub(crate) fn covers(&self, interface: NameId) -> bool {
        self.bound
            .is_none_or(|bound| bound == interface || self.origin == interface)
    }

    /// Whether the state is of packets that go this way; what is not known does not part them.
    pub(crate) fn goes(&self, way: Option<Way>) -> bool {
        self.way.is_none() || way.is_none() || self.way == way
    }

    /// Whether it lets its packets through as they are, where they were going.
    pub(crate) fn is_plain(&self) -> bool {
        let modulates = self.source.seq_diff != 0 || self.destination.seq_diff != 0;
        self.wire == self.stack && !modulates && self.route.is_none() && !self.is_proxied()
    }

    /// Whether it does no more with its packets than to translate them within their family, to modulate
    /// their sequence numbers, and to route them.
    pub(crate) fn is_straight(&self) -> bool {
        let copies = matches!(self.route, Some((RouteKind::DupTo, _)));
        !self.changes_family() && !copies && !self.is_proxied()
    }

    /// Where a packet that goes in `direction` is routed: `route-to` for the opener's packets,
    /// `reply-to` for the others.
    pub(crate) fn route_of(&self, direction: Direction) -> Option<(RouteKind, NextHop)> {
        let forward = direction == self.direction;
        self.route.filter(|(kind, _)| match kind {
            RouteKind::RouteTo | RouteKind::DupTo => forward,
            RouteKind::ReplyTo => !forward,
        })
    }

    /// Where a packet that goes in `direction` is diverted to: `divert-to` takes those of the
    /// opener, `divert-reply` the others.
    pub(crate) fn divert_of(&self, direction: Direction) -> Option<Divert> {
        let forward = direction == self.direction;
        self.treatment.divert.filter(|divert| match divert {
            Divert::To(_) => forward,
            Divert::Reply => !forward,
        })
    }

    /// The key after translation of packets that go in `direction`.
    pub(crate) const fn translated(&self, direction: Direction) -> &StateKey {
        match direction {
            Direction::In => &self.stack,
            Direction::Out => &self.wire,
        }
    }

    /// The key by which packets that go in `direction` find it.
    pub(crate) const fn side(&self, direction: Direction) -> &StateKey {
        match direction {
            Direction::In => &self.wire,
            Direction::Out => &self.stack,
        }
    }
}

/// Which of the two maps.
const SIDES: [Direction; 2] = [Direction::In, Direction::Out];

#[derive(Debug)]
struct Node {
    state: State,
    /// The next states with the same wire key and with the same stack key.
    next: [Option<u32>; 2],
    /// What its wire key and its stack key are found by.
    hashes: [u32; 2],
}

/// Memory for states to come ([`crate::engine::Engine::add_state_room`]): thousands of them.
#[derive(Debug)]
pub struct StateRoom(Chunk<Node>);

impl StateRoom {
    /// Takes it, and writes to all of it, so that no state waits until the machine has found a page.
    /// `advise` is told before where it begins and how many bytes it has: it may be one huge page.
    pub fn new(advise: impl FnOnce(usize, usize)) -> Self {
        Self(Chunk::new(advise))
    }
}

/// All states.
#[derive(Debug)]
pub(crate) struct StateTable {
    nodes: Slab<Node>,
    /// The first state with a wire key, and with a stack key.
    first: [Index; 2],
    by_id: BTreeMap<StateId, u32>,
    /// Slots by the address of the opener, before and behind translation.
    by_source: BTreeSet<(IpAddr, u32)>,
    /// How many are bound to each interface, and how many float.
    bound: BTreeMap<Option<NameId>, usize>,
    revision: u64,
}

/// Why a state cannot be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyTaken;

impl StateTable {
    pub(crate) fn new(hash_key: [u64; 2]) -> Self {
        Self {
            nodes: Slab::default(),
            first: [Index::new(hash_key), Index::new(hash_key)],
            by_id: BTreeMap::new(),
            by_source: BTreeSet::new(),
            bound: BTreeMap::new(),
            revision: 0,
        }
    }

    /// Moves on with whatever may put a state in the way of another: one that comes, goes or is bound
    /// elsewhere, or that a flow cache gets.
    pub(crate) const fn revision(&self) -> u64 {
        self.revision
    }

    /// A flow cache has got a state.
    pub(crate) const fn note_held(&mut self) {
        self.revision = self.revision.wrapping_add(1);
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Number of slots: the bound of a sweep.
    pub(crate) fn slots(&self) -> usize {
        self.nodes.slots()
    }

    /// Whether there will soon be no memory for more states.
    pub(crate) fn wants_room(&self) -> bool {
        self.nodes.wants_spare()
    }

    pub(crate) fn add_room(&mut self, room: StateRoom) {
        self.nodes.add_spare(room.0);
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&State> {
        self.nodes.get(slot).map(|node| &node.state)
    }

    /// Keys, number and interface must stay as they are: see [`StateTable::bind`].
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut State> {
        self.nodes.get_mut(slot).map(|node| &mut node.state)
    }

    /// Binds a state to another interface.
    pub(crate) fn bind(&mut self, slot: u32, interface: NameId) {
        self.revision = self.revision.wrapping_add(1);
        let state = self.get_mut(slot);
        if let Some(before) = state.map(|state| state.bound.replace(interface)) {
            self.count_bound(Some(interface));
            self.discount_bound(before);
        }
    }

    /// How many states are bound to each interface that has any, and how many float.
    pub(crate) fn bound(&self) -> impl Iterator<Item = (Option<NameId>, usize)> {
        self.bound.iter().map(|(bound, states)| (*bound, *states))
    }

    /// The slot of a state.
    pub(crate) fn slot(&self, id: StateId) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// The number of the youngest state.
    pub(crate) fn last_id(&self) -> StateId {
        let last = self.by_id.last_key_value();
        last.map_or(StateId(0), |(id, _)| *id)
    }

    /// The states numbered `from` or above, in order.
    pub(crate) fn iter_from(&self, from: StateId) -> impl Iterator<Item = (u32, &State)> {
        self.by_id
            .range(from..)
            .filter_map(|(_, slot)| Some((*slot, self.get(*slot)?)))
    }

    /// The states whose opener has this address, before translation or behind it, by slots from `from`
    /// on. Costs what there is of them.
    pub(crate) fn of_source(
        &self,
        address: IpAddr,
        from: u32,
    ) -> impl Iterator<Item = (u32, &State)> {
        let slots = self.by_source.range((address, from)..=(address, u32::MAX));
        slots.filter_map(|(_, slot)| Some((*slot, self.get(*slot)?)))
    }

    /// The first state that packets with `key` going in `direction` meet and that `wanted` wants.
    pub(crate) fn find(
        &self,
        direction: Direction,
        key: &StateKey,
        wanted: impl Fn(&State) -> bool,
    ) -> Option<u32> {
        self.chain(direction, key)
            .find(|slot| self.get(*slot).is_some_and(&wanted))
    }

    /// The states that stand in the way of `state`: the same key, direction and interface. Those
    /// that are over are returned and have to be removed; an error if one is not.
    pub(crate) fn obstacles(
        &self,
        state: &State,
        is_over: impl Fn(&State) -> bool,
    ) -> Result<Vec<u32>, KeyTaken> {
        let mut over = Vec::new();
        for side in SIDES {
            for slot in self.chain(side, state.side(side)) {
                let Some(other) = self.get(slot) else {
                    continue;
                };
                let apart = other.bound != state.bound || !other.goes(state.way);
                if apart || other.direction != state.direction {
                    continue;
                }
                if !is_over(other) && !other.is_closed() {
                    return Err(KeyTaken);
                }
                over.push(slot);
            }
        }
        over.sort_unstable();
        over.dedup();
        Ok(over)
    }

    /// Puts `state` into the table; [`StateTable::obstacles`] have been removed. Nothing when
    /// there is no slot left.
    pub(crate) fn insert(&mut self, state: State) -> Option<u32> {
        let (bound, floating) = (state.bound, state.bound.is_none());
        let id = state.id;
        let [wire, stack] = state.sources_of_opener();
        let of_wire = self.map(Direction::In).hash(&state.wire);
        let of_stack = if state.wire == state.stack {
            of_wire
        } else {
            self.map(Direction::Out).hash(&state.stack)
        };
        let node = Node {
            state,
            next: [None; 2],
            hashes: [of_wire, of_stack],
        };
        let slot = self.nodes.insert(node)?;
        self.revision = self.revision.wrapping_add(1);
        for side in SIDES {
            self.link(side, slot, floating);
        }
        self.by_id.insert(id, slot);
        self.count_bound(bound);
        self.by_source.insert((wire, slot));
        if stack != wire {
            self.by_source.insert((stack, slot));
        }
        Some(slot)
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<State> {
        for side in SIDES {
            self.unlink(side, slot);
        }
        let state = self.nodes.remove(slot)?.state;
        self.revision = self.revision.wrapping_add(1);
        self.by_id.remove(&state.id);
        self.discount_bound(state.bound);
        let [wire, stack] = state.sources_of_opener();
        self.by_source.remove(&(wire, slot));
        if stack != wire {
            self.by_source.remove(&(stack, slot));
        }
        Some(state)
    }

    fn count_bound(&mut self, bound: Option<NameId>) {
        let states = self.bound.entry(bound).or_default();
        *states = states.saturating_add(1);
    }

    fn discount_bound(&mut self, bound: Option<NameId>) {
        if let Entry::Occupied(mut states) = self.bound.entry(bound) {
            *states.get_mut() = states.get().saturating_sub(1);
            if *states.get() == 0 {
                states.remove();
            }
        }
    }

    /// The states that have `key` on a side: `In` is the wire's, `Out` the stack's.
    pub(crate) fn chain(&self, side: Direction, key: &StateKey) -> impl Iterator<Item = u32> {
        let first = self.first(side, self.map(side).hash(key), key);
        std::iter::successors(first, move |slot| self.next(side, *slot))
    }

    /// The first of them; `hash` is that of `key`.
    fn first(&self, side: Direction, hash: u32, key: &StateKey) -> Option<u32> {
        let has_key = |slot| self.has_key(side, slot, key);
        self.map(side).find(hash, has_key)
    }

    fn has_key(&self, side: Direction, slot: u32, key: &StateKey) -> bool {
        self.get(slot).is_some_and(|state| state.side(side) == key)
    }

    fn next(&self, side: Direction, slot: u32) -> Option<u32> {
        let [wire, stack] = self.nodes.get(slot)?.next;
        match side {
            Direction::In => wire,
            Direction::Out => stack,
        }
    }

    fn set_next(&mut self, side: Direction, slot: u32, to: Option<u32>) {
        if let Some(node) = self.nodes.get_mut(slot) {
            let [wire, stack] = &mut node.next;
            match side {
                Direction::In => *wire = to,
                Direction::Out => *stack = to,
            }
        }
    }

    const fn map(&self, side: Direction) -> &Index {
        let [wire, stack] = &self.first;
        match side {
            Direction::In => wire,
            Direction::Out => stack,
        }
    }

    const fn map_mut(&mut self, side: Direction) -> &mut Index {
        let [wire, stack] = &mut self.first;
        match side {
            Direction::In => wire,
            Direction::Out => stack,
        }
    }

    /// By what the state in `slot` is found on this side.
    fn place(&self, side: Direction, slot: u32) -> Option<(u32, StateKey)> {
        let node = self.nodes.get(slot)?;
        let [of_wire, of_stack] = node.hashes;
        let hash = match side {
            Direction::In => of_wire,
            Direction::Out => of_stack,
        };
        Some((hash, *node.state.side(side)))
    }

    /// Bound states go before floating ones, so that they win.
    fn link(&mut self, side: Direction, slot: u32, floating: bool) {
        let Some((hash, key)) = self.place(side, slot) else {
            return;
        };
        let first = self.first(side, hash, &key);
        let Some(first) = first else {
            self.map_mut(side).insert(hash, slot);
            return;
        };
        if floating {
            let chain = std::iter::successors(Some(first), |slot| self.next(side, *slot));
            let last = chain.last().unwrap_or(first);
            self.set_next(side, last, Some(slot));
        } else {
            self.map_mut(side).replace(hash, first, Some(slot));
            self.set_next(side, slot, Some(first));
        }
    }

    fn unlink(&mut self, side: Direction, slot: u32) {
        let Some((hash, key)) = self.place(side, slot) else {
            return;
        };
        let after = self.next(side, slot);
        let first = self.first(side, hash, &key);
        if first == Some(slot) {
            self.map_mut(side).replace(hash, slot, after);
            return;
        }
        let mut chain = std::iter::successors(first, |slot| self.next(side, *slot));
        let previous = chain.find(|other| self.next(side, *other) == Some(slot));
        if let Some(previous) = previous {
            self.set_next(side, previous, after);
        }
    }
}

#[cfg(test)]
mod tests;
