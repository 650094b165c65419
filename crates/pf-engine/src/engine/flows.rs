//! States in a flow cache: which may be there, and what their packets have done.
//!
//! A state is in the cache from [`Engine::fill_flow_cache`] until the engine needs to know more
//! of it than its key: when a packet comes up that may be its own, when it is removed, when a
//! change might concern it. Then it is taken out and what its packets did is made up for.

mod cached;
mod emptying;
mod putting;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use self::cached::{advance, is_as_it_came};
pub(super) use self::cached::{is_known_to_caches, key_of};
use self::emptying::Emptying;
pub use self::emptying::FlowsRead;
use crate::addr::Protocol;
use crate::counters::Count;
use crate::criteria::Treatment;
use crate::decision::{EtherAddresses, Exit, StateId};
use crate::engine::Engine;
use crate::engine::decisions::Decisions;
use crate::engine::leads::AnswerFrames;
use crate::engine::openings::{Meeting, Openings};
use crate::engine::packet::{Place, Work};
use crate::flow::{FlowCache, FlowChanged, FlowId, FlowProgress, FlowStatistics};
use crate::key::{StateKey, Tuple};
use crate::replay::Record;
use crate::rule::{Direction, Scrub};
use crate::state::State;
use crate::tcp;

/// Flows that wait to be put into the cache, at most: a turn of the event loop's packets, several
/// times over. Those for which there is no room ask again with their next packet.
const WISHES_MAX: usize = 8192;

/// Flows that one call of [`Engine::follow_flows`] looks at, at most: some milliseconds' worth.
const FOLLOWED_MAX: usize = 1024;

/// Packets that a state has had, both ways, before it is put into the cache, unless it is a connection,
/// which is there from its SYN on: a question and its answer, once repeated, cost less without.
pub const FLOW_BEGINS_AT: u64 = 4;
/// The same as long as nobody has answered: who asks waits before he asks again, who sends on sends a
/// stream. One packet of each of many flows, as of a flood of forged sources, is in no cache.
pub const STREAM_BEGINS_AT: u64 = 2;

/// Of the room that the cache has for states one address can open so much: a quarter, so that
/// nobody can keep the others out of it.
const SHARE_OF_ONE: u32 = 4;
/// Flows whose progress is asked for at once, at most: a few milliseconds, so that many do not hold
/// up packets.
pub const FLOWS_AT_ONCE: usize = 4096;
/// Bits of an IPv6 address that a host may choose (RFC 4291, section 2.5.1).
const HOST_BITS: u32 = 64;

/// The engine's side of the cache.
#[derive(Debug, Default)]
pub(super) struct Flows {
    pub(super) cache: Option<Box<dyn FlowCache>>,
    /// The states that are in it.
    slots: BTreeMap<FlowId, u32>,
    /// Flows whose connections have gone on, as far as nobody has looked, and whether they are over.
    changed: BTreeMap<FlowId, bool>,
    /// States that could be in it.
    wishes: Vec<StateId>,
    /// How many flows in it an address has opened; of IPv6 its network of 64 bits, which is what
    /// one host can have.
    by_opener: BTreeMap<IpAddr, u32>,
    /// How many one may have opened.
    of_one_max: u32,
    /// Moves on with every emptying: ways that were noted before are no longer known.
    generation: u64,
    emptying: Emptying,
    /// The packet at hand has made what it passes out of date.
    is_stale: bool,
    pub(super) statistics: FlowStatistics,
    /// Flows without a state.
    pub(super) decisions: Decisions,
    /// Connections that the cache opens itself.
    pub(super) openings: Openings,
    pub(super) answer_frames: AnswerFrames,
    /// What the packet at hand has touched.
    record: Record,
}

impl Flows {
    pub(super) const fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Room for one more of `opener`, if he may have it.
    fn reserve(&mut self, opener: IpAddr) -> bool {
        let flows = self.by_opener.get(&opener).copied().unwrap_or_default();
        let has_room = flows < self.of_one_max;
        if has_room {
            self.by_opener.insert(opener, flows.saturating_add(1));
        }
        has_room
    }

    /// One more although he has all that he may.
    fn exceed(&mut self, opener: IpAddr) {
        let flows = self.by_opener.entry(opener).or_default();
        *flows = flows.saturating_add(1);
    }

    fn release(&mut self, opener: IpAddr) {
        if let Entry::Occupied(mut flows) = self.by_opener.entry(opener) {
            *flows.get_mut() = flows.get().saturating_sub(1);
            if *flows.get() == 0 {
                flows.remove();
            }
        }
    }

    const fn count_put(&mut self) {
        let statistics = &mut self.statistics;
        statistics.put = statistics.put.wrapping_add(1);
        statistics.held = statistics.held.saturating_add(1);
    }

    const fn count_taken(&mut self) {
        let statistics = &mut self.statistics;
        statistics.held = statistics.held.saturating_sub(1);
        statistics.taken = statistics.taken.wrapping_add(1);
    }
}

/// What a state knows of the cache.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cacheable {
    /// How the packets of its opener, and the others, were let pass last, if simply so.
    pub(super) ways: [Option<Plain>; 2],
    pub(super) held: Option<Held>,
    is_wished: bool,
    /// It was in the cache until a packet of its key came up: one that waited when it was put in,
    /// most likely.
    returns: bool,
    /// Whoever opens a connection like it, from another port, is decided about alike.
    pub(super) opens_alike: bool,
    /// What a SYN may meet of it.
    pub(super) meeting: Option<Meeting>,
}

/// Packets of a state that are let pass as they are, here, in such frames.
#[derive(Clone, Debug)]
pub(super) struct Plain {
    pub(super) place: Place,
    pub(super) ether: EtherAddresses,
    pub(super) generation: u64,
    pub(super) onward: Onward,
    /// None was found by its key yet: whoever opens a connection is asked otherwise.
    is_expected: bool,
}

impl Plain {
    /// Those of which none was seen yet.
    pub(super) const fn expected(
        place: Place,
        ether: EtherAddresses,
        generation: u64,
        onward: Onward,
    ) -> Self {
        Self {
            place,
            ether,
            generation,
            onward,
            is_expected: true,
        }
    }

    /// Those of the other way.
    fn turned(&self) -> Self {
        let direction = self.place.direction.reverse();
        Self {
            place: Place {
                direction,
                ..self.place
            },
            ether: self.ether.reversed(),
            is_expected: true,
            ..self.clone()
        }
    }
}

/// What becomes of packets behind the place where a state lets them pass.
#[derive(Clone, Debug)]
pub(super) enum Onward {
    /// The kernel goes on with them.
    Plain,
    /// They are sent out at once. Few states know that.
    Leads(Box<Lead>),
    /// They have come from another state, which leads here.
    Ends(StateId),
}

/// The way out of packets that the engine routes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lead {
    pub(super) exit: Exit,
    /// The state that they meet where they leave, and where that is.
    pub(super) then: Option<(StateId, Place)>,
    pub(super) hops: u8,
    pub(super) mtu: u32,
}

/// A state that is in the cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) id: FlowId,
    pub(super) places: [Option<Place>; 2],
    /// That of the cache when it was put in.
    pub(super) generation: u64,
    /// What has been made up for.
    counted: [Count; 2],
}

impl Cacheable {
    /// Whether the cache may know more of the state.
    pub(crate) const fn is_held(&self) -> bool {
        self.held.is_some()
    }
}

impl Engine {
    /// From now on the decisions of states that repeat are put into `cache`.
    pub fn set_flow_cache(&mut self, cache: Box<dyn FlowCache>) {
        self.settle_flows();
        self.flows.of_one_max = cache.states_max().div_ceil(SHARE_OF_ONE);
        self.flows.cache = Some(cache);
        self.note_meetings();
    }

    /// States that the cache has room for, and bytes that it takes.
    #[must_use]
    pub fn flow_room(&self) -> (u32, u64) {
        let cache = self.flows.cache.as_ref();
        cache.map_or((0, 0), |cache| (cache.states_max(), cache.memory()))
    }

    /// Whether there is a cache.
    #[must_use]
    pub fn has_flow_cache(&self) -> bool {
        self.flows.cache.is_some()
    }

    /// A packet has come up.
    pub(super) fn count_decided(&mut self) {
        let statistics = &mut self.flows.statistics;
        statistics.decided = statistics.decided.wrapping_add(1);
    }

    /// Puts flows into the cache whose packets passed since the last call. To be called when no
    /// packet waits, so that none is overtaken by the next of its flow. Returns how many.
    pub fn fill_flow_cache(&mut self) -> usize {
        let before = self.flows.statistics.put;
        let mut prepared = Vec::new();
        for id in std::mem::take(&mut self.flows.wishes) {
            let slot = self.states.slot(id);
            prepared.extend(slot.and_then(|slot| self.prepare_flow(slot)));
        }
        self.put_flows(prepared);
        self.put_decisions();
        self.bound_openings();
        usize::try_from(self.flows.statistics.put.wrapping_sub(before)).unwrap_or(usize::MAX)
    }

    /// Ends of connections have gone on in the cache: makes up for what the packets of some of them
    /// did. Those that are closed leave it: their last packets are looked at one by one. Whether
    /// there are more.
    pub fn follow_flows(&mut self) -> bool {
        self.learn_opened();
        self.bound_openings();
        self.note_changed();
        let (mut going, mut over) = (Vec::new(), Vec::new());
        for _ in 0..FOLLOWED_MAX {
            let Some((id, is_over)) = self.flows.changed.pop_first() else {
                break;
            };
            let slots = if is_over { &mut over } else { &mut going };
            slots.extend(self.flows.slots.get(&id).copied());
        }
        self.read_slots(&going);
        going.retain(|slot| self.states.get(*slot).is_some_and(State::is_closed));
        over.append(&mut going);
        self.settle_slots(&over);
        !self.flows.changed.is_empty()
    }

    fn note_changed(&mut self) {
        let cache = self.flows.cache.as_mut();
        let told = cache.map(|cache| cache.changed()).unwrap_or_default();
        for FlowChanged { flow, is_over } in told {
            *self.flows.changed.entry(flow).or_default() |= is_over;
        }
    }

    /// What the cache has done.
    #[must_use]
    pub fn flow_statistics(&self) -> FlowStatistics {
        self.flows.statistics
    }

    /// The cache passes packets that the next of their kind must not: because of the packet at hand, and
    /// until [`Engine::forget_stale_flows`].
    pub(super) const fn note_stale_flows(&mut self) {
        self.flows.is_stale = true;
    }

    /// To be called when a packet has been decided about: if it has changed what becomes of others, the
    /// cache is emptied.
    pub(super) fn forget_stale_flows(&mut self) {
        if std::mem::take(&mut self.flows.is_stale) {
            self.suspend_flows();
        }
    }

    /// Takes the states with `key` on this side out of the cache.
    pub(super) fn settle_key(&mut self, side: Direction, key: &StateKey) {
        for (slot, held) in self.held_with(side, key) {
            self.settle(slot);
            if let Some(state) = self.states.get_mut(slot) {
                state.flow.returns = held.generation == self.flows.generation;
            }
        }
    }

    /// Learns what the packets of the states with `key` on this side did in the cache.
    pub(super) fn read_key(&mut self, side: Direction, key: &StateKey) {
        let held = self.held_with(side, key);
        let slots: Vec<u32> = held.into_iter().map(|(slot, _)| slot).collect();
        self.read_slots(&slots);
    }

    /// The states with `key` on this side that are in the cache.
    fn held_with(&self, side: Direction, key: &StateKey) -> Vec<(u32, Held)> {
        if self.flows.statistics.held == 0 {
            return Vec::new();
        }
        let chain = self.states.chain(side, key);
        let held = chain.filter_map(|slot| Some((slot, self.states.get(slot)?.flow.held?)));
        held.collect()
    }

    /// Takes out whatever a new state may stand in the way of, or before.
    pub(super) fn settle_rivals(&mut self, state: &State) {
        for key in keys_of(state) {
            self.settle_decided(key);
            self.flush_key(Direction::In, &key);
            self.flush_key(Direction::Out, &key);
        }
        if self.flows.statistics.held == 0 {
            return;
        }
        for key in keys_of(state) {
            self.settle_key(Direction::In, &key);
            self.settle_key(Direction::Out, &key);
        }
    }

    /// Takes a state out of the cache, if it is there.
    pub(super) fn settle(&mut self, slot: u32) {
        self.settle_slots(&[slot]);
    }

    /// Takes out of the cache those of these states that are there.
    pub(super) fn settle_slots(&mut self, slots: &[u32]) {
        self.ask(slots, |cache, ids| cache.take_all(ids));
        for slot in slots {
            let state = self.states.get_mut(*slot);
            let held = state.and_then(|state| Some((state.flow.held.take()?, opener(state))));
            if let Some((held, opener)) = held {
                self.flows.slots.remove(&held.id);
                self.flows.release(opener);
                self.flows.count_taken();
                self.flows.note_settled(held.generation);
                self.note_meeting(*slot);
            }
        }
    }

    /// Learns what the packets of those of these states did in the cache that are there.
    pub(super) fn read_slots(&mut self, slots: &[u32]) {
        self.ask(slots, |cache, ids| cache.read_all(ids));
    }

    fn ask(
        &mut self,
        slots: &[u32],
        question: impl Fn(&mut dyn FlowCache, &[FlowId]) -> Vec<FlowProgress>,
    ) {
        for slots in slots.chunks(FLOWS_AT_ONCE) {
            let held = |slot: &u32| Some((*slot, self.states.get(*slot)?.flow.held?));
            let held: Vec<_> = slots.iter().filter_map(held).collect();
            let ids: Vec<_> = held.iter().map(|(_, held)| held.id).collect();
            let Some(cache) = self.flows.cache.as_mut().filter(|_| !ids.is_empty()) else {
                continue;
            };
            let told = question(cache.as_mut(), &ids);
            for ((slot, held), progress) in held.into_iter().zip(&told) {
                self.make_up(slot, (held.places, held.counted), progress);
            }
        }
    }

    /// Does with the packets that the cache has passed at `places` what it would have done with each,
    /// but for those that were counted already.
    pub(super) fn make_up(
        &mut self,
        slot: u32,
        (places, counted): ([Option<Place>; 2], [Count; 2]),
        progress: &FlowProgress,
    ) {
        for (at, direction) in [(0, true), (1, false)] {
            let place = places.get(at).copied().flatten();
            let (now, then) = (progress.counts.get(at), counted.get(at));
            if let (Some(place), Some(now), Some(then)) = (place, now, then) {
                self.make_up_one(slot, place, direction, now.since(*then));
            }
        }
        let Some(state) = self.states.get_mut(slot) else {
            return;
        };
        if let Some(held) = &mut state.flow.held {
            held.counted = progress.counts;
        }
        let was = state.is_half_open();
        if let Some([opener, other]) = &progress.windows {
            let before = [state.source.state, state.destination.state];
            advance(&mut state.source, opener);
            advance(&mut state.destination, other);
            if [state.source.state, state.destination.state] != before {
                state.timeout = tcp::timeout(&state.source, &state.destination);
            }
        }
        state.refreshed = state.refreshed.max(progress.refreshed.unwrap_or_default());
        let is = state.is_half_open();
        self.half_open_moved(was, is);
    }

    fn make_up_one(&mut self, slot: u32, place: Place, forward: bool, count: Count) {
        let Some(state) = self.states.get_mut(slot).filter(|_| count.packets > 0) else {
            return;
        };
        let flow = if forward {
            state.direction
        } else {
            state.direction.reverse()
        };
        state.count(flow, count);
        let family = state.wire.family();
        let statistics = &mut self.flows.statistics;
        statistics.packets = statistics.packets.wrapping_add(count.packets);
        self.counters.searches = self.counters.searches.wrapping_add(count.packets);
        self.count_at(place, family, count, true);
        self.tally_state(slot, place.direction, count);
    }

    /// A packet has passed `place` by the state `id`: another like it may pass without being
    /// looked at, if nothing was done with it and it is one that a cache knows. It has `made` these
    /// states.
    pub(super) fn note_flow(
        &mut self,
        (id, made): (StateId, &[StateId]),
        place: Place,
        exit: Exit,
        identity: &Tuple,
        work: &Work<'_>,
    ) {
        if !self.has_flow_cache() || !is_known_to_caches(&work.original.meta) {
            return;
        }
        let onward = match exit {
            Exit::Continue => Some(Onward::Plain),
            Exit::Gateway { .. } | Exit::Wire { .. } => self.note_lead((id, made), exit, work),
            Exit::Bridge { .. } | Exit::Socket(_) => None,
        };
        let onward = onward.filter(|_| is_as_it_came(work));
        let way = onward.zip(work.ether);
        self.note_way((id, place), identity, way);
        if matches!(exit, Exit::Gateway { .. }) {
            self.expect_answer(id);
        }
    }

    /// Packets of the state `id` pass so at `place`, or they may not be passed.
    pub(super) fn note_way(
        &mut self,
        (id, place): (StateId, Place),
        identity: &Tuple,
        way: Option<(Onward, EtherAddresses)>,
    ) {
        let Some(slot) = self.states.slot(id) else {
            return;
        };
        let may_be_held = self.repeats() && self.may_be_held(slot);
        let generation = self.flows.generation;
        let Some(state) = self.states.get_mut(slot) else {
            return;
        };
        let forward = place.direction == state.direction;
        if state.side(place.direction).tuple(place.direction) != *identity {
            return;
        }
        let way = way.filter(|_| may_be_held);
        // What made the state was not found by its key: what comes behind it may meet another.
        let is_expected = forward
            && state.protocol() == Protocol::TCP
            && tcp::is_unanswered(&state.source, &state.destination);
        // Answers of one that is routed go where nobody can tell yet.
        let begins = is_expected
            && state.route.is_none()
            && matches!(way, Some((Onward::Plain, _)))
            && tcp::has_just_begun(&state.source, &state.destination);
        let is_answered =
            !forward && tcp::has_just_been_answered(&state.source, &state.destination);
        let is_moved = state.source.seq_diff != 0 || state.route.is_some();
        let [of_opener, of_other] = &mut state.flow.ways;
        let noted = if forward {
            &mut *of_opener
        } else {
            &mut *of_other
        };
        let is_let_pass = way.is_some();
        *noted = way.map(|(onward, ether)| Plain {
            place,
            ether,
            generation,
            onward,
            is_expected,
        });
        if begins {
            // Whoever answers does so where the SYN met the filter, in frames back.
            *of_other = of_opener.as_ref().map(Plain::turned);
        }
        // Where their answers go, or what they say, nobody could tell before.
        let is_late = |way: &Plain| is_moved || !matches!(way.onward, Onward::Plain);
        let begins = begins || (is_answered && of_opener.as_ref().is_some_and(is_late));
        let has_begun = begins_in_cache(state);
        let has_room = self.flows.wishes.len() < WISHES_MAX && has_begun;
        let returns = std::mem::take(&mut state.flow.returns)
            && (has_begun || state.protocol() == Protocol::TCP);
        let is_new = !state.flow.is_wished && !state.flow.is_held();
        if !is_let_pass {
            return;
        }
        if begins {
            self.put_opened(slot);
        } else if returns {
            // Those behind it have overtaken it already.
            self.put_flow(slot);
        } else if has_room && is_new {
            state.flow.is_wished = true;
            self.flows.wishes.push(id);
        }
    }

    /// Who opens a connection waits for an answer: no packet of it is on its way.
    fn put_opened(&mut self, slot: u32) {
        if !self.is_opened(slot) {
            self.put_flow(slot);
            self.offer_opening(slot);
        }
    }

    /// Whether the rules leave packets of states to their states alone.
    pub(super) fn repeats(&self) -> bool {
        self.enabled
            && !self.flows.emptying.is_paused()
            && self.lists.scrub.is_empty()
            && self.lists.ether.is_empty()
            && !self.has_carried
            && !self.options.reassemble.no_df
    }

    /// Whether all packets of the state are let pass where they go, and only translated and counted.
    pub(super) fn may_be_held(&self, slot: u32) -> bool {
        self.states.get(slot).is_some_and(|state| {
            state.is_straight()
                && !state.sloppy
                && !state.logged
                && state.scrub == Scrub::NONE
                && state.treatment == Treatment::NONE
                && state.norm.is_none()
                && state.membership.is_none()
                && !self.is_metered(state)
                && !self.counts_in_filled_tables(state)
        })
    }

    /// Whether it counts in a table that the engine itself puts addresses into: where a packet
    /// counts may change with the next one then.
    fn counts_in_filled_tables(&self, state: &State) -> bool {
        let rules = state.rule.into_iter().chain(state.translation_rule);
        let mut rules = rules.chain(state.match_rules.iter().copied());
        rules.any(|rule| {
            let entry = self.rules.get(rule);
            let mut tables = entry.into_iter().flat_map(|entry| entry.tables).flatten();
            tables.any(|(table, _)| {
                let table = self.tables.get(table);
                table.is_some_and(|table| self.fills_table(table.name()))
            })
        })
    }

    /// Whether the packet at hand was looked up in such a table, as far as can be told.
    pub(super) fn has_asked_filled_tables(&self) -> bool {
        let Some(mut tables) = self.flows.record.tables() else {
            return true;
        };
        tables.any(|table| {
            let table = self.tables.get(table);
            table.is_none_or(|table| self.fills_table(table.name()))
        })
    }

    fn fills_table(&self, name: &str) -> bool {
        self.rules.fill_table(name) || self.limiters.fill_table(name)
    }

    /// The cache, with the number of the state that it holds.
    pub(super) fn cache_and_held(
        &mut self,
        slot: u32,
    ) -> Option<(&mut (dyn FlowCache + 'static), Held, &State)> {
        let state = self.states.get(slot)?;
        let held = state.flow.held?;
        Some((self.flows.cache.as_deref_mut()?, held, state))
    }

    pub(super) const fn flow_generation(&self) -> u64 {
        self.flows.generation
    }
}

/// Whether the state has had as many packets as there are before the cache is worth it.
fn begins_in_cache(state: &State) -> bool {
    let [forward, reply] = state.traffic.map(|count| count.packets);
    let is_stream = state.protocol() != Protocol::TCP && (forward == 0 || reply == 0);
    let begins_at = if is_stream {
        STREAM_BEGINS_AT
    } else {
        FLOW_BEGINS_AT
    };
    forward.saturating_add(reply) >= begins_at
}

/// Whose share of the cache a state has.
fn opener(state: &State) -> IpAddr {
    share_of(state.origin_tuple().source.address)
}

/// Of IPv6 the network of 64 bits, which is what one host can have.
pub(super) fn share_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> HOST_BITS << HOST_BITS;
            IpAddr::V6(network.into())
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// The keys of a state, each once.
fn keys_of(state: &State) -> impl Iterator<Item = StateKey> + use<> {
    let behind = (state.stack != state.wire).then_some(state.stack);
    std::iter::once(state.wire).chain(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_a_share_of_the_cache() {
        let mut flows = Flows {
            of_one_max: 100,
            ..Flows::default()
        };
        let [one, other] = ["10.0.0.5", "10.0.0.6"].map(|text| text.parse().expect("an address"));
        for _ in 0..flows.of_one_max {
            assert!(flows.reserve(one));
        }
        assert!(!flows.reserve(one));
        assert!(flows.reserve(other), "others have room");
        flows.release(one);
        assert!(flows.reserve(one), "what is free can be had again");
        for _ in 0..flows.of_one_max {
            flows.release(one);
        }
        flows.release(other);
        assert!(flows.by_opener.is_empty());
    }
}
