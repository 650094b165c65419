//! A packet that a state covers: it is tracked, translated, counted and routed as the state says
//! (pf.conf(5), STATEFUL FILTERING).

use crate::counters::Count;
use crate::criteria::Treatment;
use crate::decision::DropReason;
use crate::engine::Engine;
use crate::engine::families::{self, Crossed};
use crate::engine::normalize::normalize_tcp;
use crate::engine::open::is_too_long;
use crate::engine::packet::{Passed, Place, Refused, StateRef, Work};
use crate::engine::test::length;
use crate::env::Env;
use crate::key::{StateKey, Tuple, translate};
use crate::rule::{Direction, tcp_flags};
use crate::ruleset::Dialect;
use crate::sctp;
use crate::state::State;
use crate::tcp::{self, Segment};
use crate::time::Instant;
use crate::track::Kind;
use crate::view::HostPort;
use crate::wire::Meta;
use crate::wire::sctp::{Act, Chunks};

impl Engine {
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

    /// The state of a question to all hosts of a link that the packet answers.
    fn find_asked_of_all(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        tuple: &Tuple,
        env: &mut dyn Env,
    ) -> Option<(u32, Direction)> {
        let asked = tuple.answer_to_all_nodes(work.meta.icmp()?)?;
        self.catch_up(place, &asked, env);
        let (slot, flow) = self.find_state(place, work, &asked)?;
        let state = self.states.get(slot)?;
        // Translated, it would come from the group.
        let is_plain = state.wire == state.stack;
        work.is_unlike_its_flow |= is_plain;
        is_plain.then_some((slot, flow))
    }

    /// Whether something is being done with many states that packets may meet before their turn.
    pub(super) fn is_behind(&self) -> bool {
        self.is_vacating() || self.is_flushing()
    }

    /// If something is being done with many states, those that the packet meets have their turn.
    pub(super) fn catch_up(&mut self, place: Place, tuple: &Tuple, env: &mut dyn Env) {
        if !self.is_behind() {
            return;
        }
        for side in [place.direction, Direction::Out] {
            self.catch_up_with(side, &tuple.key(side), env);
        }
    }

    /// The same for those with `key` on this side.
    pub(super) fn catch_up_with(&mut self, side: Direction, key: &StateKey, env: &mut dyn Env) {
        self.flush_key(side, key);
        self.vacate_key(side, key, env);
    }

    /// Nothing if no state covers the packet.
    pub(super) fn test_state(
        &mut self,
        place: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Option<Result<Passed, Refused>> {
        let tuple = Tuple::of(&work.meta, work.bytes);
        self.catch_up(place, &tuple, env);
        let found = self.find_state(place, work, &tuple);
        let (slot, flow) = found.or_else(|| self.find_asked_of_all(place, work, &tuple, env))?;
        if self.comes_too_often(slot, place) {
            return None;
        }
        if self.is_reopened(slot, place, work) {
            work.former_source = self.former_source(slot, place);
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

    /// What NAT has made of the source of a state's opener, who has come again.
    fn former_source(&self, slot: u32, place: Place) -> Option<HostPort> {
        let state = self.states.get(slot)?;
        let is_opener = state.direction == place.direction && !state.changes_family();
        let outside = state.outcome().source;
        (is_opener && outside != state.origin_tuple().source).then_some(outside)
    }

    fn pass_by_state(
        &mut self,
        (slot, flow): (u32, Direction),
        place: Place,
        tuple: &Tuple,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        self.check_packet(slot, work)?;
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
            self.bind_member(slot, place.name);
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

    /// `max-pkt-rate` of packets from the one who opened the state: the rule "stops matching", with its
    /// states (pf.conf(5)), and the others are asked.
    fn comes_too_often(&mut self, slot: u32, place: Place) -> bool {
        let state = self.states.get(slot);
        let of_opener = state.filter(|state| place.direction == state.direction);
        let rule = of_opener.and_then(|state| state.rule);
        rule.is_some_and(|rule| !self.rules.takes_packet(rule, self.now))
    }

    /// `max-pkt-size`.
    fn check_packet(&self, slot: u32, work: &Work<'_>) -> Result<(), Refused> {
        let state = self.states.get(slot).ok_or(DropReason::Memory)?;
        if is_too_long(state.max_packet_size, &work.meta) {
            return Err(DropReason::Normalize.into());
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
        self.note_meeting(slot);
        tracked.map_err(|refused| {
            if let Some(mismatch) = refused.mismatch {
                self.note_bad_state(slot, (flow, work.hook.direction), segment, mismatch);
            }
            if refused.resets {
                self.reset_handshake(work);
            }
            refused.reason.into()
        })
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
        let leads_one_way = self.dialect() == Dialect::OpenBsd;
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
        work.treat(Treatment {
            // OpenBSD leads answers as any other packet.
            routing_table: state
                .treatment
                .routing_table
                .filter(|_| forward || !leads_one_way),
            ..state.treatment
        });
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
}

/// Checks a segment against its state and modulates its numbers.
fn track_tcp(
    state: &mut State,
    direction: Direction,
    segment: &Segment,
    now: Instant,
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
                mismatch: None,
            })
        }
        Err(mismatch) => Err(Untracked {
            reason: DropReason::StateMismatch,
            resets: mismatch.reset,
            mismatch: Some(mismatch),
        }),
    }
}

/// A segment does not fit its state.
#[derive(Clone, Copy)]
struct Untracked {
    reason: DropReason,
    /// Its sender gets an RST.
    resets: bool,
    /// Why it is outside the windows, if it is.
    mismatch: Option<tcp::Mismatch>,
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
