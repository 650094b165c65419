//! Decisions without a state in a flow cache: which may be there, and what their packets did.
//!
//! A decision is repeated for packets with the same key if the evaluation asked for nothing that
//! the key does not tell and what was done can be counted again (`replay`). It is in the cache
//! until no packet has come for a while, a state is made that its packets would meet first, or
//! something changes. What its packets did is made up for whenever somebody looks.

use std::collections::btree_map;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use siphasher::sip::SipHasher13;

use crate::addr::{Family, Protocol};
use crate::counters::Count;
use crate::decision::{Consulted, DropReason};
use crate::engine::Engine;
use crate::engine::flows::{is_known_to_caches, key_of, share_of};
use crate::engine::packet::{self, Refused, Work};
use crate::engine::tally::Tally;
use crate::flow::{FLAGS_IN_KEY, Flow, FlowBasis, FlowId, FlowKey, FlowProgress};
use crate::key::{StateKey, Tuple};
use crate::replay::{Replay, Touch};
use crate::rule::{Direction, tcp_flags};
use crate::ruleset::Syncookies;
use crate::slab::Slab;
use crate::time::Instant;
use crate::wire::{Icmp, Meta, icmp6};

/// How long a decision stays without a packet: as long as PF keeps a UDP state of which one packet
/// was seen (`udp.single`), halved. Longer than hosts pause between attempts, and short enough that
/// what a scan leaves makes room for the next.
pub const DECISION_LIFETIME: Duration = Duration::from_secs(30);

/// Decisions about one source's packets, at most: a sixteenth of what the kernel's cache holds.
const DECISIONS_OF_ONE_MAX: u32 = 2048;
/// Decisions that block, at most: three quarters of what it holds, so that those that pass have the rest.
const BLOCKING_MAX: usize = 24_576;
/// Decisions that wait to be put into the cache, at most: as many as may come in a turn of the event
/// loop, several times over.
const WISHES_MAX: usize = 1024;
/// Counters that all decisions together may have to move: some 2 MB. Decisions that came about in
/// the same way share theirs.
const TOUCHES_MAX: usize = 262_144;
/// Counters that are moved as quickly as one decision is asked for.
const TOUCHES_AT_ONCE: usize = 64;
/// Marks of packets that came lately (4 bytes each). A decision is put into the cache for the
/// second packet of a flow: most of what scans and floods send comes once.
const MARKS: u64 = 32_768;
/// Decisions that one call of [`Engine::handle_timeout`] looks at, at most.
const EXPIRY_MAX: usize = 512;

/// A decision in the cache.
#[derive(Debug)]
struct Entry {
    key: FlowKey,
    /// By which a state would be found that its packets meet first.
    states: StateKey,
    at: packet::Place,
    id: FlowId,
    /// When it may be over.
    due: Instant,
    /// How often the cache had been emptied when it was put in.
    generation: u64,
    /// What has been made up for.
    counted: Count,
    replay: Arc<Replay>,
}

/// A decision that could be in it.
#[derive(Debug)]
struct Wish {
    states: StateKey,
    at: packet::Place,
    replay: Arc<Replay>,
}

/// The engine's side of decisions in the cache.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    entries: Slab<Entry>,
    by_key: BTreeMap<FlowKey, u32>,
    by_states: BTreeSet<(StateKey, u32)>,
    by_due: BTreeSet<(Instant, u32)>,
    by_source: BTreeMap<IpAddr, u32>,
    blocking: usize,
    /// How often the cache was emptied.
    generation: u64,
    /// Those that were in the cache when it was emptied and are not settled yet.
    left: usize,
    replays: BTreeSet<Arc<Replay>>,
    touches: usize,
    wishes: BTreeMap<FlowKey, Wish>,
    marks: Vec<u32>,
}

impl Decisions {
    /// Whether a packet with this hash came lately; it has now.
    pub(super) fn comes_again(&mut self, hash: u64) -> bool {
        if self.marks.is_empty() {
            self.marks.extend((0..MARKS).map(|_| 0));
        }
        let mark = u32::try_from(hash >> 32).unwrap_or_default();
        let at = usize::try_from(hash % MARKS).unwrap_or_default();
        let before = self.marks.get_mut(at);
        before.is_some_and(|before| std::mem::replace(before, mark) == mark)
    }

    /// The same for all decisions that came about so; nothing if there is no room for one more.
    fn shared(&mut self, replay: Replay) -> Option<Arc<Replay>> {
        if let Some(known) = self.replays.get(&replay) {
            return Some(Arc::clone(known));
        }
        let touches = self.touches.saturating_add(replay.touches.len());
        if touches > TOUCHES_MAX {
            self.drop_unused();
            return None;
        }
        self.touches = touches;
        let replay = Arc::new(replay);
        self.replays.insert(Arc::clone(&replay));
        Some(replay)
    }

    fn drop_unused(&mut self) {
        self.replays.retain(|replay| Arc::strong_count(replay) > 1);
        let touches = self.replays.iter().map(|replay| replay.touches.len());
        self.touches = touches.sum();
    }

    fn has_room_for(&self, key: &FlowKey, basis: FlowBasis) -> bool {
        let of_source = self.by_source.get(&share_of(key.source.address));
        let is_within = of_source.is_none_or(|held| *held < DECISIONS_OF_ONE_MAX);
        is_within && (basis != FlowBasis::Block || self.blocking < BLOCKING_MAX)
    }

    fn add(&mut self, entry: Entry) {
        let (key, states, due) = (entry.key, entry.states, entry.due);
        self.blocking = self
            .blocking
            .saturating_add(usize::from(!entry.replay.judgement.passed));
        let held = self.by_source.entry(share_of(key.source.address));
        let held = held.or_default();
        *held = held.saturating_add(1);
        if let Some(slot) = self.entries.insert(entry) {
            self.by_key.insert(key, slot);
            self.by_states.insert((states, slot));
            self.by_due.insert((due, slot));
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Entry> {
        let entry = self.entries.remove(slot)?;
        let is_left = usize::from(!self.is_current(&entry));
        self.left = self.left.saturating_sub(is_left);
        self.by_key.remove(&entry.key);
        self.by_states.remove(&(entry.states, slot));
        self.by_due.remove(&(entry.due, slot));
        let blocks = usize::from(!entry.replay.judgement.passed);
        self.blocking = self.blocking.saturating_sub(blocks);
        let held = self.by_source.entry(share_of(entry.key.source.address));
        if let btree_map::Entry::Occupied(mut held) = held {
            *held.get_mut() = held.get().saturating_sub(1);
            if *held.get() == 0 {
                held.remove();
            }
        }
        Some(entry)
    }

    /// A packet has come at `last`: it is not over before its lifetime has gone by again.
    fn put_off(&mut self, slot: u32, last: Option<Instant>) {
        let (Some(entry), Some(last)) = (self.entries.get_mut(slot), last) else {
            return;
        };
        self.by_due.remove(&(entry.due, slot));
        entry.due = entry.due.max(last.saturating_add(DECISION_LIFETIME));
        self.by_due.insert((entry.due, slot));
    }

    /// Those whose packets meet states with this key.
    fn of_states(&self, key: StateKey) -> Vec<u32> {
        let of_key = self.by_states.range((key, 0)..=(key, u32::MAX));
        of_key.map(|(_, slot)| *slot).collect()
    }

    /// Those that were in the cache when it was emptied and are not settled yet.
    pub(super) const fn left(&self) -> usize {
        self.left
    }

    /// Whether any of `all` that there are is in the cache.
    pub(super) const fn has_current(&self, all: usize) -> bool {
        all > self.left
    }

    /// Whether it was put in since the cache was emptied last.
    const fn is_current(&self, entry: &Entry) -> bool {
        entry.generation == self.generation
    }

    /// The cache was emptied.
    pub(super) fn note_emptied(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        self.left = self.entries.len();
    }

    /// Those from `from` on that are wanted: `max` at most, and no more than take so long as so many that
    /// touch little.
    fn piece(&self, from: u32, max: usize, is_wanted: impl Fn(&Entry) -> bool) -> Vec<u32> {
        let mut work = 0_usize;
        let entries = self.entries.iter();
        let entries = entries.filter(|(slot, entry)| *slot >= from && is_wanted(entry));
        let is_within = |(_, entry): &(u32, &Entry)| {
            let is_within = work < max;
            let touches = entry.replay.touches.len();
            work = work.saturating_add(1 + touches / TOUCHES_AT_ONCE);
            is_within
        };
        entries
            .take_while(is_within)
            .map(|(slot, _)| slot)
            .collect()
    }

    /// What was to be put in was decided by what is about to change.
    pub(super) fn forget_wishes(&mut self) {
        self.wishes.clear();
        self.drop_unused();
    }
}

impl Engine {
    /// A packet comes: what is done with it is recorded if it could be repeated.
    pub(super) fn begin_record(&mut self) {
        let is_on = self.has_flow_cache() && self.repeats();
        self.flows.record().begin(is_on);
    }

    /// A packet was dropped: by a rule, or for another reason.
    pub(super) fn note_refusal(&mut self, refused: &Refused, work: &Work<'_>) {
        let silent = work.generated.is_empty() && work.logged.is_empty();
        if let Some(consulted) = refused.consulted.filter(|_| silent) {
            self.note_decision(&consulted, FlowBasis::Block, work);
        }
    }

    /// Rules alone have decided about a packet, as they will about others like it if a cache can
    /// tell them by their key.
    pub(super) fn note_decision(
        &mut self,
        consulted: &Consulted,
        basis: FlowBasis,
        work: &Work<'_>,
    ) {
        if !self.flows.record().is_whole() || !self.is_told_by_key(consulted) {
            return;
        }
        let (meta, at) = (&work.original.meta, work.hook);
        let tuple = Tuple::of(meta, work.bytes);
        let Some(opens) = kind_of(meta, basis).filter(|_| is_unmistakable(consulted, &tuple))
        else {
            return;
        };
        let cookies = self.options.syncookies != Syncookies::Never;
        if cookies && tuple.protocol == Protocol::TCP {
            return;
        }
        let Some(ether) = work.ether else {
            return;
        };
        let key = FlowKey {
            opens,
            ..key_of(&tuple, at, ether)
        };
        let states = tuple.key(Direction::In);
        self.wish_for(key, Wishing { states, at, basis });
    }

    /// Tables that we change ourselves may change with any packet.
    pub(super) fn is_told_by_key(&self, consulted: &Consulted) -> bool {
        let is_told = consulted.is_told_by_key();
        is_told && !(consulted.table && self.has_asked_filled_tables())
    }

    fn wish_for(&mut self, key: FlowKey, wishing: Wishing) {
        let hash = self.hash_of(&key);
        let decisions = &mut self.flows.decisions;
        if decisions.wishes.contains_key(&key) || !decisions.comes_again(hash) {
            return;
        }
        if let Some(slot) = decisions.by_key.get(&key).copied()
            && !self.is_decision_over(slot)
        {
            return;
        }
        let decisions = &mut self.flows.decisions;
        let has_room =
            decisions.wishes.len() < WISHES_MAX && decisions.has_room_for(&key, wishing.basis);
        let replay = if has_room {
            let replay = self.flows.record().replay();
            self.flows.decisions.shared(replay)
        } else {
            None
        };
        let Some(replay) = replay else {
            self.count_refused_flow();
            return;
        };
        let Wishing { states, at, .. } = wishing;
        let wish = Wish { states, at, replay };
        self.flows.decisions.wishes.insert(key, wish);
    }

    pub(super) fn hash_of(&self, key: &FlowKey) -> u64 {
        let [first, second] = self.config.hash_key;
        let mut hasher = SipHasher13::new_with_keys(first, second);
        key.hash(&mut hasher);
        hasher.finish()
    }

    fn count_refused_flow(&mut self) {
        let statistics = &mut self.flows.statistics;
        statistics.refused = statistics.refused.wrapping_add(1);
    }

    /// Puts decisions into the cache that were made since the last call.
    pub(super) fn put_decisions(&mut self) {
        for (key, wish) in std::mem::take(&mut self.flows.decisions.wishes) {
            if self.repeats() && !self.has_states(wish.states) {
                self.put_decision(key, wish);
            }
        }
    }

    fn put_decision(&mut self, key: FlowKey, wish: Wish) {
        let basis = if wish.replay.judgement.passed {
            FlowBasis::Pass
        } else {
            FlowBasis::Block
        };
        let flow = Flow {
            basis,
            keys: [Some(key), None],
            becomes: [None; 2],
            windows: None,
            shifts: [0; 2],
            refreshed: self.now,
            lifetime: DECISION_LIFETIME,
        };
        let has_room = self.flows.decisions.has_room_for(&key, basis);
        let cache = self.flows.cache.as_mut().filter(|_| has_room);
        let Some(id) = cache.and_then(|cache| cache.put(&flow)) else {
            self.count_refused_flow();
            return;
        };
        self.flows.decisions.add(Entry {
            key,
            states: wish.states,
            at: wish.at,
            id,
            due: self.now.saturating_add(DECISION_LIFETIME),
            generation: self.flows.decisions.generation,
            counted: Count::default(),
            replay: wish.replay,
        });
        let statistics = &mut self.flows.statistics;
        statistics.put = statistics.put.wrapping_add(1);
        statistics.decisions = statistics.decisions.saturating_add(1);
    }

    /// Whether there is a state, live or not, that packets between these ends might meet.
    fn has_states(&self, key: StateKey) -> bool {
        let keys = [key, turned(key)];
        let sides = [Direction::In, Direction::Out];
        let mut chains = keys
            .iter()
            .flat_map(|key| sides.map(|side| self.states.chain(side, key).next().is_some()));
        chains.any(|has| has)
    }

    /// Takes decisions out whose packets meet states with this key, either way.
    pub(super) fn settle_decided(&mut self, key: StateKey) {
        if self.flows.statistics.decisions == 0 {
            return;
        }
        for key in [key, turned(key)] {
            for slot in self.flows.decisions.of_states(key) {
                self.settle_decision(slot);
            }
        }
    }

    /// Makes up for some of those that the cache was emptied of, as long as `max` that touch little
    /// take.
    pub(super) fn settle_left_decisions(&mut self, max: usize) {
        let decisions = &self.flows.decisions;
        let left = decisions.piece(0, max, |entry| !decisions.is_current(entry));
        self.settle_some(&left);
        if left.is_empty() {
            self.flows.decisions.left = 0;
        }
    }

    fn settle_decision(&mut self, slot: u32) {
        self.settle_some(&[slot]);
    }

    fn settle_some(&mut self, slots: &[u32]) {
        let (slots, ids) = self.ids_of(slots);
        let cache = self.flows.cache.as_mut().filter(|_| !ids.is_empty());
        let told = cache.map_or_else(Vec::new, |cache| cache.take_all(&ids));
        let told = told
            .into_iter()
            .chain(std::iter::repeat_with(FlowProgress::default));
        for (slot, progress) in slots.into_iter().zip(told) {
            let [count, _] = progress.counts;
            self.make_up_decision(slot, count);
            if self.flows.decisions.remove(slot).is_some() {
                let statistics = &mut self.flows.statistics;
                statistics.taken = statistics.taken.wrapping_add(1);
                statistics.decisions = statistics.decisions.saturating_sub(1);
            }
        }
    }

    /// Learns what packets did by decisions in the cache: by those in slots from `from` on, as long as
    /// `max` that touch little take. Returns the slot that the next piece begins with.
    pub(super) fn read_decisions(&mut self, from: u32, max: usize) -> Option<u32> {
        let slots = self.flows.decisions.piece(from, max, |_| true);
        self.read_some(&slots);
        slots.last().map(|last| last.saturating_add(1))
    }

    /// Those of these slots that a decision is in, and by what the cache knows it.
    fn ids_of(&self, slots: &[u32]) -> (Vec<u32>, Vec<FlowId>) {
        let entries = &self.flows.decisions.entries;
        let known = |slot: &u32| Some((*slot, entries.get(*slot)?.id));
        slots.iter().filter_map(known).unzip()
    }

    fn read_decision(&mut self, slot: u32) {
        self.read_some(&[slot]);
    }

    fn read_some(&mut self, slots: &[u32]) {
        let (slots, ids) = self.ids_of(slots);
        let cache = self.flows.cache.as_mut().filter(|_| !ids.is_empty());
        let told = cache.map_or_else(Vec::new, |cache| cache.read_all(&ids));
        for (slot, progress) in slots.into_iter().zip(told) {
            let [count, _] = progress.counts;
            self.make_up_decision(slot, count);
            self.flows.decisions.put_off(slot, progress.refreshed);
        }
    }

    /// Counts packets as if each had been evaluated.
    fn make_up_decision(&mut self, slot: u32, now: Count) {
        let Some(entry) = self.flows.decisions.entries.get_mut(slot) else {
            return;
        };
        let count = now.since(entry.counted);
        entry.counted = now;
        if count.packets == 0 {
            return;
        }
        let (replay, at) = (Arc::clone(&entry.replay), entry.at);
        let (source, destination) = (entry.key.source.address, entry.key.destination.address);
        for touch in &replay.touches {
            match *touch {
                Touch::Rule(rule) => self.rules.count_evaluation(rule, count.packets),
                Touch::Run(run, from, to) => {
                    self.rules.count_evaluations(run, from, to, count.packets);
                }
                Touch::Table(table, found) => {
                    self.tables.count_lookups(table, found, count.packets);
                }
            }
        }
        let judgement = &replay.judgement;
        let tally = Tally {
            rule: judgement.rule,
            anchor: judgement.anchor,
            translation_rule: judgement.translation_rule,
            match_rules: &judgement.match_rules,
            passed: judgement.passed,
            source,
            destination,
        };
        self.tally(at.direction, count, &tally);
        self.count_at(at, Family::of(source), count, judgement.passed);
        self.counters.searches = self.counters.searches.wrapping_add(count.packets);
        self.counters.count_many(DropReason::Match, count.packets);
        let statistics = &mut self.flows.statistics;
        let packets = if judgement.passed {
            &mut statistics.packets
        } else {
            &mut statistics.blocked
        };
        *packets = packets.wrapping_add(count.packets);
    }

    /// Takes a decision out if it is over, also by what the cache knows of it, or was taken out of it.
    fn is_decision_over(&mut self, slot: u32) -> bool {
        let now = self.now;
        let seems_over = |engine: &Self| {
            let entry = engine.flows.decisions.entries.get(slot);
            let is_current = |entry| engine.flows.decisions.is_current(entry);
            entry.is_none_or(|entry| entry.due <= now || !is_current(entry))
        };
        if seems_over(self) {
            self.read_decision(slot);
        }
        let is_over = seems_over(self);
        if is_over {
            self.settle_decision(slot);
        }
        is_over
    }

    /// Takes decisions out of which no packet has come for long.
    pub(super) fn expire_decisions(&mut self) {
        let due = self.flows.decisions.by_due.iter();
        let due = due.take_while(|(due, _)| *due <= self.now).take(EXPIRY_MAX);
        for (_, slot) in due.copied().collect::<Vec<_>>() {
            self.is_decision_over(slot);
        }
    }

    /// When there may be something for [`Engine::expire_decisions`].
    pub(super) fn next_decision_expiry(&self) -> Option<Instant> {
        self.flows.decisions.by_due.first().map(|(due, _)| *due)
    }
}

/// A decision that is to be put into the cache, but for what it has touched.
#[derive(Clone, Copy)]
struct Wishing {
    states: StateKey,
    at: packet::Place,
    basis: FlowBasis,
}

/// The key of who talks the other way.
const fn turned(key: StateKey) -> StateKey {
    let [first, second] = key.ends;
    StateKey {
        ends: [second, first],
        ..key
    }
}

/// Whether the packet is a SYN; nothing for one that caches cannot tell. SYNs that pass without a
/// state are too few.
fn kind_of(meta: &Meta, basis: FlowBasis) -> Option<bool> {
    if !is_known_to_caches(meta) {
        return None;
    }
    let Some(tcp) = meta.tcp() else {
        // It may answer a question to all hosts of the link, of which its key tells nothing.
        let answers = |icmp: &Icmp| icmp.kind == icmp6::ECHO_REPLY;
        let may_be_expected = meta.family == Family::Inet6 && meta.icmp().is_some_and(answers);
        return (!may_be_expected).then_some(false);
    };
    match tcp.flags & FLAGS_IN_KEY {
        tcp_flags::ACK => Some(false),
        tcp_flags::SYN => (basis == FlowBasis::Block).then_some(true),
        _ => None,
    }
}

/// Requests and answers of an echo are told by which port is the type: not if both are the same.
fn is_unmistakable(consulted: &Consulted, tuple: &Tuple) -> bool {
    !consulted.icmp || tuple.source.port != tuple.destination.port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_comes_again_is_worth_a_decision() {
        let mut decisions = Decisions::default();
        let one = 77 << 32 | 5;
        assert!(!decisions.comes_again(one));
        assert!(decisions.comes_again(one));
        assert!(!decisions.comes_again(one + 1));
        assert!(
            !decisions.comes_again(one + (1 << 32)),
            "another takes its place"
        );
        assert!(!decisions.comes_again(one));
    }

    #[test]
    fn decisions_that_came_about_alike_share_what_they_touch_within_a_bound() {
        let replay = |rule| Replay {
            judgement: crate::replay::Judgement::default(),
            touches: vec![Touch::Rule(crate::installed::RuleId::from_number(rule)); 16_384],
        };
        let mut decisions = Decisions::default();
        let held: Vec<_> = (0..16).map(|rule| decisions.shared(replay(rule))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(decisions.shared(replay(0)).is_some(), "shared");
        assert!(decisions.shared(replay(16)).is_none(), "no room");
        drop(held);
        assert!(decisions.shared(replay(16)).is_none(), "noticed too late");
        assert!(decisions.shared(replay(17)).is_some(), "room again");
    }
}
