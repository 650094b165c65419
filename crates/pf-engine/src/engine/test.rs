//! One evaluation: a packet at an interface in a direction, by state or else by the rules
//! (pf.conf(5), STATEFUL FILTERING).

use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::Family;
use crate::compile::ListKind;
use crate::counters::Count;
use crate::decision::{DropReason, LogAction};
use crate::engine::families::{self, Crossed};
use crate::engine::normalize::{normalize, normalize_tcp};
use crate::engine::open::is_too_long;
use crate::engine::packet::{Passed, Place, Refused, StateRef, Work};
use crate::engine::systems::systems;
use crate::engine::translate::Course;
use crate::engine::walk::{Found, Walk};
use crate::engine::{Engine, RuleList};
use crate::env::{Env, IfIndex};
use crate::evaluate::{self, CompiledRule, Content, Ground, Subject, Verb};
use crate::installed::RuleId;
use crate::key::{Tuple, translate};
use crate::names::NameId;
use crate::replay::Judgement;
use crate::rule::{BlockReply, Direction, Scrub, tcp_flags};
use crate::sctp;
use crate::state::State;
use crate::table::Verdict;
use crate::tcp::{self, Segment};
use crate::track::Kind;
use crate::view::InterfaceCounters;
use crate::wire::sctp::{Act, Chunks};
use crate::wire::{Icmp, IcmpBody, Meta};

/// Whose counters a packet moves.
pub(super) struct Tally<'a> {
    pub(super) rule: Option<RuleId>,
    /// The rule of the main ruleset that led to the anchor of the deciding rule.
    pub(super) anchor: Option<RuleId>,
    pub(super) translation_rule: Option<RuleId>,
    pub(super) match_rules: &'a [RuleId],
    pub(super) passed: bool,
    /// Addresses as the rule saw them, for the tables it names.
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

impl Engine {
    /// Whether the packet may pass `place`; rewrites it if so.
    pub(super) fn test(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let (family, bytes) = (work.meta.family, length(&work.meta));
        let tested = self.test_whole(place, work, env);
        self.count_at(place, family, Count::one(bytes), tested.is_ok());
        if let Ok(passed) = &tested {
            Self::note_addresses(place, passed.state, work);
        }
        tested
    }

    /// Counts evaluations for `set loginterface`.
    pub(super) fn count_at(&mut self, place: Place, family: Family, count: Count, passed: bool) {
        if place.name == NameId::UNKNOWN {
            return;
        }
        let fresh = InterfaceCounters::since(self.interfaces_since);
        let counters = self.interfaces.entry(place.name).or_insert(fresh);
        let counters = match family {
            Family::Inet => &mut counters.inet,
            Family::Inet6 => &mut counters.inet6,
        };
        let counters = if passed {
            &mut counters.passed
        } else {
            &mut counters.blocked
        };
        counters.count(place.direction, count);
    }

    fn test_whole(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        self.trace_entry(place, work);
        let content = Content::of(&work.meta);
        let normal = match work.normalization.take() {
            Some(normal) => normal,
            None => self.normalization(place, content, work, env),
        };
        work.scrub = normal.scrub;
        work.handling.routing_table = normal.routing_table.or(work.handling.routing_table);
        work.is_unlike_its_flow |= normal.rule.is_some() && normal.scrub != Scrub::NONE;
        work.is_unlike_its_flow |= normal.routing_table.is_some();
        let passed = self.filter_one(place, content, work, env)?;
        work.is_unlike_its_flow |= work.scrub.random_id || content == Content::Fragment;
        normalize(work, env)?;
        Ok(passed)
    }

    /// The verdict of the state that covers the packet, else of the rules.
    fn filter_one(
        &mut self,
        place: Place,
        content: Content,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let by_state = if content == Content::Fragment {
            // Without ports it cannot be found; PF asks the rules for each.
            None
        } else if is_icmp_error(&work.meta) {
            self.test_error(place, work, env)
        } else {
            self.test_state(place, work, env)
        };
        if let Some(tested) = by_state {
            return tested;
        }
        self.recreate_syn(place, work);
        let tested = self.test_rules(place, work, env)?;
        // A client that was answered with a cookie needs a state to go on.
        if work.completed.is_some() && matches!(tested.state, StateRef::None(_)) {
            return Err(DropReason::Synproxy.into());
        }
        Ok(tested)
    }

    /// The live state that packets with `key` meet at `place` on their way.
    pub(super) fn find_state(
        &mut self,
        place: Place,
        work: &Work<'_>,
        tuple: &Tuple,
    ) -> Option<(u32, Direction)> {
        self.counters.searches = self.counters.searches.wrapping_add(1);
        let way = work.way_at(place);
        let key = tuple.key(place.direction);
        self.settle_key(place.direction, &key);
        let lifetimes = self.lifetimes();
        let covers = |state: &State| state.covers(place.name) && !lifetimes.is_over(state);
        let find = |wanted: &dyn Fn(&State) -> bool| {
            let covers = |state: &State| covers(state) && wanted(state);
            let slot = self.states.find(place.direction, &key, covers);
            slot.map(|slot| (slot, place.direction))
        };
        let crossing = || {
            // Answers to an inbound `af-to` come in too, as if they went out to the opener.
            let flow = Direction::Out;
            let covers =
                |state: &State| state.changes_family() && state.direction != flow && covers(state);
            let slot = self.states.find(flow, &tuple.key(flow), covers);
            slot.map(|slot| (slot, flow))
        };
        let other = find(&|state| state.goes(way)).or_else(crossing);
        other.or_else(|| {
            // Between hosts of one link answers may skip a router, and a redirect (RFC 792) takes
            // it out of the way: then one connection goes both ways.
            find(&State::is_plain).filter(|_| !opens_connection(&work.meta))
        })
    }

    /// Nothing if no state covers the packet.
    fn test_state(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Option<Result<Passed, Refused>> {
        let tuple = Tuple::of(&work.meta, work.bytes);
        let (slot, flow) = self.find_state(place, work, &tuple)?;
        if self.is_reopened(slot, place, work) {
            self.remove_state(slot);
            return None;
        }
        self.trace_state(slot);
        Some(self.pass_by_state((slot, flow), place, &tuple, work, env))
    }

    /// Whether a SYN, or the answer to a cookie, may open a closed connection anew.
    fn is_reopened(&self, slot: u32, place: Place, work: &Work<'_>) -> bool {
        let state = self.states.get(slot);
        if let (Some(state), Ok(Some(chunks))) = (state, Chunks::parse(work.bytes, &work.meta)) {
            return sctp::is_reopened(&state.source, &state.destination, &chunks);
        }
        let closed = state.is_some_and(State::is_closed);
        closed
            && (opens_connection(&work.meta)
                || (place.direction == Direction::In
                    && self.cookie_of(&work.meta, work.bytes).is_some()))
    }

    fn pass_by_state(
        &mut self,
        (slot, flow): (u32, Direction),
        place: Place,
        tuple: &Tuple,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        self.check_packet(slot, place, work)?;
        let state = self.states.get_mut(slot).ok_or(DropReason::Memory)?;
        if work.meta.has_ip_options && !state.allow_options {
            let rules = (state.rule, state.anchor);
            self.log_refusal(None, rules, place, DropReason::IpOption, work);
            return Err(DropReason::IpOption.into());
        }
        if let Some(header) = work.meta.tcp().copied() {
            let segment = Segment::of(&work.meta, &header, work.bytes);
            if state.is_proxied() {
                let place = Place {
                    direction: flow,
                    ..place
                };
                return self.proxy(slot, place, &segment, work, env);
            }
            self.take_segment(slot, flow, &segment, work, env)?;
            self.count_connection(slot)?;
        } else if let Some(chunks) = Chunks::parse(work.bytes, &work.meta).map_err(|e| e.reason)? {
            let (source, destination) = state.peers(flow);
            let timeout = sctp::track(source, destination, &chunks)
                .map_err(|sctp::Mismatch| DropReason::StateMismatch)?;
            state.timeout = timeout.unwrap_or(state.timeout);
            state.refreshed = self.now;
            state.settle(place.name);
            if matches!(chunks.act, Act::Close { .. }) {
                self.close_association(slot, flow);
            }
        } else {
            let (source, destination) = state.peers(flow);
            state.timeout = Kind::of(tuple.protocol).track(source, destination);
            state.refreshed = self.now;
        }
        self.follow_state((slot, flow), place, Some(tuple), work, env)
    }

    /// `max-pkt-size`, and `max-pkt-rate` of packets from the one who opened the state.
    fn check_packet(&mut self, slot: u32, place: Place, work: &Work<'_>) -> Result<(), Refused> {
        let state = self.states.get(slot).ok_or(DropReason::Memory)?;
        if is_too_long(state.max_packet_size, &work.meta) {
            return Err(DropReason::Normalize.into());
        }
        let rule = state.rule.filter(|_| place.direction == state.direction);
        if rule.is_some_and(|rule| !self.rules.takes_packet(rule, self.now)) {
            self.counters.count(DropReason::Match);
            return Err(DropReason::Match.into());
        }
        Ok(())
    }

    /// A segment of a connection: it is tracked, and normalised if it fits.
    fn take_segment(
        &mut self,
        slot: u32,
        flow: Direction,
        segment: &Segment,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        let rule = self.states.get(slot).and_then(|state| state.rule);
        let difference = self.timestamp_difference(rule);
        let state = self.states.get_mut(slot).ok_or(DropReason::Memory)?;
        let (source, destination) = state.peers(flow);
        if let Some((seq, ack)) = tcp::challenge(source, destination, segment) {
            self.challenge(seq, ack, work);
            return Err(DropReason::StateMismatch.into());
        }
        let was = state.is_half_open();
        let ends = (state.source, state.destination);
        let life = (state.timeout, state.refreshed);
        let tracked = track_tcp(state, flow, segment, self.now, work, env);
        if tracked.is_ok()
            && let Err(refused) = normalize_tcp(state, flow, self.now, difference, work, env)
        {
            (state.source, state.destination) = ends;
            (state.timeout, state.refreshed) = life;
            return Err(refused);
        }
        let is = state.is_half_open();
        self.half_open_moved(was, is);
        if tracked.is_err_and(|refused| refused.resets) {
            self.reset_handshake(work);
        }
        tracked.map_err(|refused| refused.reason.into())
    }

    /// What a state does with a packet that fits it: translates, counts, routes. A `tuple` is
    /// translated; the caller has done so where there is none. `flow` is the direction in which
    /// the state has the packet, which is not that of the hook for answers to `af-to`.
    pub(super) fn follow_state(
        &mut self,
        (slot, flow): (u32, Direction),
        place: Place,
        tuple: Option<&Tuple>,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let state = self.states.get_mut(slot).ok_or(DropReason::Memory)?;
        let bytes = match tuple {
            // An error that has been translated into another family counts as it came.
            None if work.has_crossed() => length(&work.original.meta),
            Some(_) | None => length(&work.meta),
        };
        if let Some(tuple) = tuple
            && state.wire != state.stack
        {
            let new = state.translated(flow).tuple(flow);
            if state.changes_family() {
                families::cross(work, &new, env)?;
            } else {
                translate(&mut work.meta, work.bytes, tuple, &new).map_err(|e| e.reason)?;
            }
        }
        if state.changes_family() {
            work.crossed = Some(Crossed::by(state, flow));
        }
        let forward = flow == state.direction;
        let ether = work.single_ether();
        if forward && state.origin == place.name && ether.is_some() {
            state.ether = ether;
        }
        work.tag = state.tag.or(work.tag);
        work.scrub.add(&state.scrub);
        work.is_unlike_its_flow |= work.scrub != state.scrub;
        work.treat(state.treatment);
        work.owner = state.owner;
        let divert = state.divert_of(flow);
        state.count(flow, Count::one(bytes));
        let route = state.route_of(flow);
        let logged = state.logged;
        work.is_metered |= self.states.get(slot).is_some_and(|s| self.is_metered(s));
        self.tally_state(slot, place.direction, Count::one(bytes));
        if logged {
            self.log_by_state(slot, place, work);
        }
        Ok(Passed {
            state: StateRef::Existing(slot),
            route,
            divert,
        })
    }

    /// Moves the counters that a state has beside its own.
    pub(super) fn tally_state(&mut self, slot: u32, direction: Direction, count: Count) {
        let Some(state) = self.states.get(slot) else {
            return;
        };
        // As the rules saw the packet: after translation, unless that is into another family.
        let seen = if state.changes_family() {
            state.origin_tuple()
        } else {
            state.outcome()
        };
        let (rule, translation_rule) = (state.rule, state.translation_rule);
        let tally = Tally {
            rule,
            anchor: state.anchor,
            translation_rule,
            match_rules: &[],
            passed: true,
            source: seen.source.address,
            destination: seen.destination.address,
        };
        for key in &state.sources {
            self.sources.count(key, count.packets, count.bytes);
        }
        let match_rule = |engine: &Self, at: usize| {
            let state = engine.states.get(slot)?;
            state.match_rules.get(at).copied()
        };
        let mut at = 0;
        while let Some(rule) = match_rule(self, at) {
            self.rules.count_packet(rule, direction, count);
            self.tally_tables(rule, direction, count, &tally, Verdict::Matched);
            at += 1;
        }
        self.tally(direction, count, &tally);
    }

    /// Moves the counters of rules and tables.
    pub(super) fn tally(&mut self, direction: Direction, count: Count, tally: &Tally<'_>) {
        let rules = tally.rule.into_iter().chain(tally.anchor);
        let rules = rules.chain(tally.translation_rule);
        for rule in rules.chain(tally.match_rules.iter().copied()) {
            self.rules.count_packet(rule, direction, count);
        }
        for rule in tally.match_rules {
            self.tally_tables(*rule, direction, count, tally, Verdict::Matched);
        }
        // As in PF, the tables of the filter rule, or of the translation rule if there is none.
        if let Some(rule) = tally.rule.or(tally.translation_rule) {
            let verdict = if tally.passed {
                Verdict::Passed
            } else {
                Verdict::Blocked
            };
            self.tally_tables(rule, direction, count, tally, verdict);
        }
    }

    /// By the rules: translation, then filter.
    pub(super) fn test_rules(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let mut course = self.course(place, work);
        work.owner = None;
        if self.asks_for_tags || self.asks_for_interface {
            // The state by which it came in is asked.
            self.settle_key(Direction::Out, &course.identity.key(Direction::In));
        }
        if self.asks_for_tags && course.tag.is_none() {
            course.tag = self.carried_tag(&course);
        }
        if self.asks_for_interface && place == work.hook {
            course.received_on = self.carried_interface(&course).or(course.received_on);
        }
        if course.content == Content::Whole && !is_icmp_error(&work.meta) {
            self.translate_by_lists(&mut course, env)?;
            self.note_owner(course.translation_rule, &mut course, work, env);
            self.log_translation(&course, work);
        }
        let decided = match work.related_rule.take() {
            Some(found) => Some(found),
            None if course.nat_pass => None,
            None => self.filter(&mut course, work, env)?,
        };
        self.counters.count(DropReason::Match);
        course.anchor = decided.as_ref().and_then(|found| found.anchor);
        let rule = decided.as_ref().and_then(Found::rule);
        self.trace_decision(&course, rule);
        self.expire_once(rule);
        if let Some(rule) = rule
            && let Verb::Block(reply) = rule.verb
        {
            if course.content == Content::Whole {
                self.answer_blocked(reply, work);
            }
            if reply != BlockReply::Drop || course.translated {
                self.flows.record().spoil();
            }
            self.tally_course(&course, Some(rule.id), false);
            self.log_decision(rule, LogAction::Block, &course, work);
            return Err(Refused {
                reason: DropReason::Match,
                consulted: (course.content == Content::Whole).then_some(course.consulted),
            });
        }
        self.open(rule, course, work, env)
    }

    /// `log (user)`: looks up whose socket it is.
    fn note_owner(
        &self,
        rule: Option<RuleId>,
        course: &mut Course,
        work: &mut Work<'_>,
        env: &dyn Env,
    ) {
        let log = rule.and_then(|rule| self.rules.get(rule)?.rule.log);
        if log.is_some_and(|log| log.user) {
            work.owner = course.user(env);
        }
    }

    /// The tag that a packet brought along from where it came in. Nothing is written on packets
    /// between two hooks: the tag is that of the state by which it came in.
    fn carried_tag(&self, course: &Course) -> Option<NameId> {
        if course.place.direction == Direction::In {
            return None;
        }
        self.state_of_entry(&course.identity, |state| state.tag.is_some())?
            .tag
    }

    /// The interface by which a packet came in that leaves now: that of its state, which knows the
    /// port where the kernel may name the bridge.
    fn carried_interface(&self, course: &Course) -> Option<IfIndex> {
        if course.place.direction == Direction::In {
            return None;
        }
        let origin = self.state_of_entry(&course.identity, |_| true)?.origin;
        Some(self.net.named(origin)?.index)
    }

    /// The state by which a packet came in that leaves now.
    pub(super) fn state_of_entry(
        &self,
        identity: &Tuple,
        wanted: impl Fn(&State) -> bool,
    ) -> Option<&State> {
        let lifetimes = self.lifetimes();
        let key = identity.key(Direction::In);
        let slot = self.states.find(Direction::Out, &key, |state| {
            state.direction == Direction::In && wanted(state) && !lifetimes.is_over(state)
        })?;
        self.states.get(slot)
    }

    /// The state of a packet that has been through all evaluations and leaves, if it has a tag.
    pub(super) fn state_of_departure(&self, identity: &Tuple) -> Option<&State> {
        let key = identity.key(Direction::Out);
        let tagged = |state: &State| state.tag.is_some();
        self.states
            .get(self.states.find(Direction::In, &key, tagged)?)
    }

    /// The filter rule that decides: the last that matches, or the first `quick` one.
    fn filter(
        &mut self,
        course: &mut Course,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Option<Found>, Refused> {
        let mut decided = None;
        let mut walk = Walk::new(ListKind::Read(RuleList::Filter), Arc::clone(&self.lists));
        while let Some(found) = self.next_found(&mut walk, course, env)? {
            let Some(rule) = found.rule() else {
                break;
            };
            course.anchor = found.anchor;
            if let Some(reason) = course.refused {
                let rules = (Some(rule.id), course.anchor);
                self.tally_course(course, Some(rule.id), false);
                self.log_refusal(rule.log, rules, course.place, reason, work);
                return Err(reason.into());
            }
            course.tag = rule.tag.or(course.tag);
            self.note_owner(Some(rule.id), course, work, env);
            if rule.verb == Verb::Match {
                course.treatment = course.treatment.overridden_by(rule.treatment);
                course.match_rules.push(rule.id);
                course.scrub.add(&rule.scrub);
                course.max_packet_size = rule.max_packet_size.or(course.max_packet_size);
                let source = course.tuple.source.address;
                course.limiters.extend(self.limiters_of(rule, source));
                self.translate_by_rule(rule, course, env)?;
                self.trace_translation(rule, course);
            } else {
                walk.mark_matched();
                decided = Some(found.clone());
            }
            if rule.log.is_some() || !course.log_matches.is_empty() {
                self.log_match(rule, course, work);
            }
            if rule.quick {
                break;
            }
        }
        Ok(decided)
    }

    /// `once`: the rule has had its packet. What was decided without state may not be repeated.
    fn expire_once(&mut self, rule: Option<&CompiledRule>) {
        if let Some(rule) = rule.filter(|rule| rule.once) {
            self.settle_decisions();
            self.flows.record().spoil();
            self.rules.expire(rule.id);
            self.advance_epoch();
        }
    }

    /// The first rule from `from` on that matches.
    pub(super) fn next_match(
        &mut self,
        rules: &[CompiledRule],
        from: usize,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Option<usize> {
        let subject = Subject {
            direction: course.place.direction,
            content: course.content,
            interface: self.net.interface(course.place.index),
            tuple: course.tuple,
            identity: course.identity,
            flags: course.flags,
            icmp: course.icmp,
            tos: course.tos,
            systems: systems(&self.fingerprints, course),
            tag: course.tag,
            received_on: course
                .received_on
                .and_then(|index| self.net.interface(index)),
            priority: course.priority,
        };
        let mut ground = Ground {
            rules: &mut self.rules,
            tables: &mut self.tables,
            net: &self.net,
            env,
            owner: &mut course.owner,
            consulted: &mut course.consulted,
            record: self.flows.record(),
            limiters: &mut self.limiters,
            now: self.now,
            refused: &mut course.refused,
        };
        if self.trace.is_none() {
            return evaluate::next_match(rules, from, &subject, &mut ground, &mut ());
        }
        let mut tested = Vec::new();
        let found = evaluate::next_match(rules, from, &subject, &mut ground, &mut tested);
        self.trace_tests(rules, &tested);
        found
    }

    pub(super) fn tally_course(&mut self, course: &Course, rule: Option<RuleId>, passed: bool) {
        if course.is_imagined {
            return;
        }
        let tally = Tally {
            rule,
            anchor: course.anchor,
            translation_rule: course.translation_rule,
            match_rules: &course.match_rules,
            passed,
            source: course.seen().source.address,
            destination: course.seen().destination.address,
        };
        self.tally(course.place.direction, Count::one(course.bytes), &tally);
        let judgement = Judgement {
            rule,
            anchor: course.anchor,
            translation_rule: course.translation_rule,
            match_rules: Vec::new(),
            passed,
        };
        self.flows.record().decide(judgement, &course.match_rules);
    }
}

/// Checks a segment against its state and modulates its numbers.
fn track_tcp(
    state: &mut State,
    direction: Direction,
    segment: &Segment,
    now: crate::time::Instant,
    work: &mut Work<'_>,
    env: &mut dyn Env,
) -> Result<(), Untracked> {
    let sloppy = state.sloppy;
    let (source, destination) = state.peers(direction);
    let tracked = if sloppy {
        Ok(tcp::track_sloppily(source, destination, segment))
    } else {
        tcp::track(source, destination, segment, &mut || env.random())
    };
    let (add, subtract) = (source.seq_diff, destination.seq_diff);
    match tracked {
        Ok(accepted) => {
            if let Some(timeout) = accepted.timeout {
                state.timeout = timeout;
                state.refreshed = now;
            }
            modulate(add, subtract, segment, work).map_err(|refused| Untracked {
                reason: refused.reason,
                resets: false,
            })
        }
        Err(mismatch) => Err(Untracked {
            reason: DropReason::StateMismatch,
            resets: mismatch.reset,
        }),
    }
}

/// A segment does not fit its state.
#[derive(Clone, Copy)]
struct Untracked {
    reason: DropReason,
    /// Its sender gets an RST.
    resets: bool,
}

/// `modulate state`: the sender's numbers are moved, those that it acknowledges moved back.
pub(super) fn modulate(
    add: u32,
    subtract: u32,
    segment: &Segment,
    work: &mut Work<'_>,
) -> Result<(), Refused> {
    let meta = &mut work.meta;
    if add != 0 {
        let seq = segment.seq.wrapping_add(add);
        meta.set_tcp_seq(work.bytes, seq).map_err(|e| e.reason)?;
    }
    if subtract != 0 && segment.has(tcp_flags::ACK) {
        let ack = segment.ack.wrapping_sub(subtract);
        meta.set_tcp_ack(work.bytes, ack).map_err(|e| e.reason)?;
        let back = 0u32.wrapping_sub(subtract);
        meta.add_to_sack_edges(work.bytes, back)
            .map_err(|e| e.reason)?;
    }
    Ok(())
}

fn opens_connection(meta: &Meta) -> bool {
    meta.tcp()
        .is_some_and(|tcp| tcp.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN)
}

pub(super) fn is_icmp_error(meta: &Meta) -> bool {
    matches!(
        meta.icmp(),
        Some(Icmp {
            body: IcmpBody::Error,
            ..
        })
    )
}

/// Bytes of the packet, as counters count them.
pub(super) fn length(meta: &Meta) -> u64 {
    u64::try_from(meta.total_len).unwrap_or(u64::MAX)
}
