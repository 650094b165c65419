//! Connections that a flow cache opens itself, as the engine has opened others that differ in the
//! port of their opener alone.
//!
//! The cache passes their SYNs and tells of them; the engine then decides about each as if it came
//! now, before it does anything else, and finds its decision made. So that it finds the same, an
//! opening is offered only where the rules ask for nothing that tells one opener's port from
//! another, no limit can be reached, and a SYN can meet no state that the cache does not know.

mod meetings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

pub(super) use self::meetings::Meeting;
use self::meetings::Meetings;
use crate::addr::Protocol;
use crate::counters::Count;
use crate::decision::{Basis, Hook};
use crate::engine::Engine;
use crate::engine::flows::{key_of, share_of};
use crate::engine::packet::Place;
use crate::engine::translate::Course;
use crate::env::{Env, IfIndex, Interface};
use crate::evaluate::CompiledRule;
use crate::flow::{FLAGS_IN_KEY, FlowId, FlowKey, FlowOpened, FlowProgress};
use crate::rule::tcp_flags;
use crate::ruleset::{Limit, Syncookies};
use crate::state::State;
use crate::time::Instant;
use crate::view::HostPort;
use crate::wire::{Meta, Tcp};

/// How long what nobody opens is offered.
const OPENING_LIFETIME: Duration = Duration::from_secs(30);
/// How much of that goes by before it is offered for longer.
const REFRESH_EACH: Duration = Duration::from_secs(1);
/// Openings that are offered, at most (`FLOW_OPENINGS_MAX` of `datapath`).
const OPENINGS_MAX: usize = 4096;
/// Openings for one source, at most: a sixteenth.
const OPENINGS_OF_ONE_MAX: u32 = 256;
/// Of the limit of states so many times what a cache may open before it tells must be left, for it
/// to open more: the packets that come up between two looks at it make states as well.
const ROOM_LEFT: usize = 3;
/// The same for another offer.
const ROOM_FOR_MORE: usize = 4;

/// The engine's side of them.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// When each is over.
    offered: BTreeMap<FlowKey, Instant>,
    by_due: BTreeSet<(Instant, FlowKey)>,
    by_source: BTreeMap<IpAddr, u32>,
    meetings: Meetings,
    /// States that were made since, for whom it is not noted what a SYN meets of them.
    new: Vec<u32>,
    is_learning: bool,
    /// The flow of the SYN at hand, as long as no state has taken it.
    opened: Option<FlowId>,
}

impl Openings {
    fn has_room_for(&self, source: IpAddr) -> bool {
        let of_source = self.by_source.get(&share_of(source));
        let is_within = of_source.is_none_or(|count| *count < OPENINGS_OF_ONE_MAX);
        is_within && self.offered.len() < OPENINGS_MAX
    }

    fn add(&mut self, key: FlowKey, due: Instant) {
        self.offered.insert(key, due);
        self.by_due.insert((due, key));
        let of_source = self.by_source.entry(share_of(key.source.address));
        let count = of_source.or_default();
        *count = count.saturating_add(1);
        self.meetings.offer(key);
    }

    fn remove(&mut self, key: &FlowKey) {
        let Some(due) = self.offered.remove(key) else {
            return;
        };
        self.by_due.remove(&(due, *key));
        self.meetings.withdraw(key);
        let source = share_of(key.source.address);
        if let Some(count) = self.by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }

    /// Somebody has used what is offered.
    fn put_off(&mut self, key: &FlowKey, now: Instant) {
        let due = now.saturating_add(OPENING_LIFETIME);
        let Some(before) = self.offered.get_mut(key) else {
            return;
        };
        if before.saturating_add(REFRESH_EACH) <= due {
            self.by_due.remove(&(*before, *key));
            self.by_due.insert((due, *key));
            *before = due;
        }
    }
}

/// What is asked of nobody, because the rules do not ask for it.
struct Unasked;

impl Env for Unasked {
    fn random(&mut self) -> u32 {
        0
    }

    fn interface(&self, _: IfIndex) -> Option<&Interface> {
        None
    }

    fn interface_named(&self, _: &str) -> Option<&Interface> {
        None
    }

    fn interfaces(&self) -> &[Interface] {
        &[]
    }
}

impl Engine {
    /// Whether a SYN has made `state`, and the rules decide alike about whoever sends one like it.
    pub(super) fn opens_alike(
        &self,
        rule: Option<&CompiledRule>,
        course: &Course,
        (state, meta): (&State, &Meta),
    ) -> bool {
        let consulted = &course.consulted;
        let is_syn = |tcp: &Tcp| tcp.flags & FLAGS_IN_KEY == tcp_flags::SYN;
        let is_bounded = |rule: &CompiledRule| rule.keep.max.is_some() || rule.once;
        let is_counted = !state.sources.is_empty()
            || !state.limiters.is_empty()
            || !state.loads.is_empty()
            || !course.nodes.is_empty();
        meta.tcp().is_some_and(is_syn)
            && state.is_plain()
            && !course.translated
            && !is_counted
            && !rule.is_none_or(is_bounded)
            && self.is_told_by_key(consulted)
            && !(consulted.tag || consulted.interface_addresses)
    }

    /// The rules leave SYNs that differ in their source's port alike.
    fn may_open(&self) -> bool {
        self.repeats()
            && self.options.syncookies == Syncookies::Never
            && !(self.asks_for_tags || self.asks_for_interface || self.asks_for_openers)
    }

    fn opened_max(&self) -> usize {
        let cache = self.flows.cache.as_ref();
        let max = cache.map_or(0, |cache| cache.opened_max());
        usize::try_from(max).unwrap_or(usize::MAX)
    }

    /// Whether so many times what a cache may open would reach the limit of states.
    fn comes_near_limit(&self, times: usize) -> bool {
        let more = self.opened_max().saturating_mul(times);
        self.is_reached(Limit::States, self.states.len().saturating_add(more))
    }

    /// The cache has a state that somebody has just opened: others like it may be opened there.
    pub(super) fn offer_opening(&mut self, slot: u32) {
        let is_early = self.has_left_flows() || !self.may_open();
        if self.opened_max() == 0 || is_early || self.comes_near_limit(ROOM_FOR_MORE) {
            return;
        }
        self.note_new_states();
        let Some((key, lifetime)) = self.opening_of(slot) else {
            return;
        };
        let hash = self.hash_of(&key);
        let openings = &self.flows.openings;
        let is_offered = openings.offered.contains_key(&key);
        if is_offered || !self.flows.decisions.comes_again(hash) {
            return;
        }
        self.withdraw_unused();
        let openings = &self.flows.openings;
        if !openings.meetings.is_clear(&key) || !openings.has_room_for(key.source.address) {
            return;
        }
        let due = self.now.saturating_add(OPENING_LIFETIME);
        let cache = self.flows.cache.as_mut();
        if cache.is_some_and(|cache| cache.offer(&key, lifetime)) {
            self.flows.openings.add(key, due);
        }
    }

    fn opening_of(&self, slot: u32) -> Option<(FlowKey, Duration)> {
        let state = self.states.get(slot).filter(|s| s.flow.opens_alike)?;
        let [Some(place), Some(_)] = state.flow.held?.places else {
            return None;
        };
        let [way, _] = &state.flow.ways;
        let tuple = state.side(place.direction).tuple(place.direction);
        let key = FlowKey {
            opens: true,
            source: HostPort {
                port: 0,
                ..tuple.source
            },
            ..key_of(&tuple, place, way.as_ref()?.ether)
        };
        let end = self.lifetimes().earliest_end(state);
        Some((key, end.saturating_since(state.refreshed)))
    }

    fn withdraw_unused(&mut self) {
        let first = self.flows.openings.by_due.first().copied();
        if let Some((_, key)) = first.filter(|(due, _)| *due <= self.now) {
            self.withdraw(&[key]);
        }
    }

    fn withdraw(&mut self, keys: &[FlowKey]) {
        if keys.is_empty() {
            return;
        }
        if let Some(cache) = &mut self.flows.cache {
            cache.withdraw(keys);
        }
        for key in keys {
            self.flows.openings.remove(key);
        }
    }

    /// To be called often: nothing is opened where there might be no room for it.
    pub(super) fn bound_openings(&mut self) {
        if !self.flows.openings.offered.is_empty() && self.comes_near_limit(ROOM_LEFT) {
            let keys: Vec<_> = self.flows.openings.offered.keys().copied().collect();
            self.withdraw(&keys);
        }
    }

    /// Something is about to change: no more are opened, and those that were are known, but for those
    /// that are being opened just now. Whether there may be such.
    pub(super) fn end_openings(&mut self) -> bool {
        let offered: Vec<_> = self.flows.openings.offered.keys().copied().collect();
        self.withdraw(&offered);
        self.learn_opened();
        !offered.is_empty()
    }

    /// Decides about connections that the cache has opened: to be called before anything is done or
    /// shown that they may have to do with.
    pub(super) fn learn_opened(&mut self) {
        // Without interfaces nothing can be decided: then they have changed, and none are opened.
        if self.flows.openings.is_learning || !self.net.is_fresh() {
            return;
        }
        let Some(cache) = &mut self.flows.cache else {
            return;
        };
        let opened = cache.opened();
        self.flows.openings.is_learning = true;
        for opened in opened {
            self.learn(opened);
        }
        self.flows.openings.is_learning = false;
    }

    fn learn(&mut self, opened: FlowOpened) {
        let FlowOpened {
            flow,
            hook,
            mut packet,
            at,
        } = opened;
        self.now = self.now.max(at);
        self.flows.openings.opened = Some(flow);
        let decision = self.decide(hook, &mut packet, &mut Unasked);
        self.note_new_states();
        let statistics = &mut self.flows.statistics;
        statistics.packets = statistics.packets.wrapping_add(1);
        statistics.opened = statistics.opened.wrapping_add(1);
        if let Some(flow) = self.flows.openings.opened.take() {
            // Nobody has got it: its packets are for the engine.
            statistics.refused = statistics.refused.wrapping_add(1);
            let told = self.flows.cache.as_mut().map(|cache| cache.take(flow));
            self.make_up_opened(hook, decision.basis, told.unwrap_or_default());
        }
    }

    /// The state of a connection that the cache has opened is not in it. What has passed there
    /// until somebody asked is the state's all the same.
    fn make_up_opened(&mut self, hook: Hook, basis: Basis, mut told: FlowProgress) {
        let Basis::State(id) = basis else {
            return;
        };
        let (Some(slot), Some(place)) = (self.states.slot(id), self.enter(hook, &mut Unasked))
        else {
            return;
        };
        // The cache knows nothing of numbers that are moved, or of proxies.
        let is_plain = self.states.get(slot).is_some_and(State::is_plain);
        told.windows = told.windows.filter(|_| is_plain);
        let back = Place {
            direction: place.direction.reverse(),
            ..place
        };
        let none = <[Count; 2]>::default();
        self.make_up(slot, ([Some(place), Some(back)], none), &told);
    }

    /// Whether the state of the SYN at hand is one that the cache has opened.
    pub(super) fn is_opened(&mut self, slot: u32) -> bool {
        let Some(flow) = self.flows.openings.opened else {
            return false;
        };
        if !self.hold_opened(slot, flow) {
            return false;
        }
        self.flows.openings.opened = None;
        if let Some((key, _)) = self.opening_of(slot) {
            let now = self.now;
            self.flows.openings.put_off(&key, now);
        }
        true
    }

    /// A state was made: when the packet has been decided about it is noted.
    pub(super) fn note_later(&mut self, slot: u32) {
        if self.opened_max() > 0 {
            self.flows.openings.new.push(slot);
        }
    }

    pub(super) fn note_new_states(&mut self) {
        for slot in std::mem::take(&mut self.flows.openings.new) {
            self.note_meeting(slot);
        }
    }

    /// There is a cache now.
    pub(super) fn note_meetings(&mut self) {
        let slots: Vec<u32> = self.held_or_not().collect();
        for slot in slots {
            self.note_meeting(slot);
        }
    }

    fn held_or_not(&self) -> impl Iterator<Item = u32> {
        let all = self.states.iter_from(crate::decision::StateId(0));
        all.map(|(slot, _)| slot)
    }

    /// What a SYN meets of a state may be another now.
    pub(super) fn note_meeting(&mut self, slot: u32) {
        if self.opened_max() == 0 {
            return;
        }
        let Some(state) = self.states.get(slot) else {
            return;
        };
        let meeting = meeting(state);
        if meeting == state.flow.meeting {
            return;
        }
        let meetings = &mut self.flows.openings.meetings;
        if let Some(before) = state.flow.meeting {
            meetings.forget(state, before);
        }
        let counted = meeting.map(|meeting| meetings.count(state, meeting));
        let (meeting, barred) = counted.unzip();
        if let Some(state) = self.states.get_mut(slot) {
            state.flow.meeting = meeting;
        }
        self.withdraw(&barred.unwrap_or_default());
    }

    /// A state goes.
    pub(super) fn leave_meeting(&mut self, slot: u32) {
        let state = self.states.get(slot);
        let left = state.and_then(|state| Some((state, state.flow.meeting?)));
        if let Some((state, meeting)) = left {
            self.flows.openings.meetings.forget(state, meeting);
        }
        if let Some(state) = self.states.get_mut(slot) {
            state.flow.meeting = None;
        }
    }
}

fn meeting(state: &State) -> Option<Meeting> {
    let is_held = state.flow.is_held();
    if state.protocol() != Protocol::TCP || (!is_held && state.is_closed()) {
        return None;
    }
    if state.route.is_some() || state.changes_family() {
        return Some(Meeting::Anywhere);
    }
    let [place, _] = state.flow.held.map_or([None; 2], |held| held.places);
    let [way, _] = &state.flow.ways;
    let known = place.zip(way.as_ref());
    Some(known.map_or(Meeting::Stray, |(place, way)| {
        Meeting::Held(place.index, way.ether)
    }))
}
