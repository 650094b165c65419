//! A packet that the rules let pass: its state, its route. States become real in
//! [`Engine::commit`], when all evaluations of the packet are done.

use crate::addr::Protocol;
use crate::criteria::Divert;
use crate::decision::{DropReason, LogAction, StateId};
use crate::engine::Cacheable;
use crate::engine::Engine;
use crate::engine::by_state::modulate;
use crate::engine::families::{self, Crossed};
use crate::engine::normalize::normalize_tcp;
use crate::engine::packet::{Passed, Refused, StateRef, Work};
use crate::engine::test::is_icmp_error;
use crate::engine::translate::Course;
use crate::env::Env;
use crate::evaluate::{CompiledRule, Content};
use crate::installed::Entry;
use crate::key::translate;
use crate::limiter::LimiterRef;
use crate::limits::LimitCounter;
use crate::names::NameId;
use crate::nat::mapping;
use crate::route::NextHop;
use crate::rule::Timeout;
use crate::rule::{BlockReply, Direction, RouteKind, Scrub, StateMode, tcp_flags};
use crate::ruleset::{Dialect, Limit};
use crate::sctp;
use crate::source::NodeUse;
use crate::state::{Count, State};
use crate::tcp::{self, Peer, Segment};
use crate::track::Kind;
use crate::wire::sctp::Chunks;

/// A state that is not in the table yet.
pub(super) struct Pending {
    state: Box<State>,
    nodes: Vec<NodeUse>,
    /// The states in its way, which are over, and the revision of the table that they were looked for in.
    over: Option<(u64, Vec<u32>)>,
}

impl Pending {
    /// The state, to be changed: then others may be in its way.
    pub(super) fn state_mut(&mut self) -> &mut State {
        self.over = None;
        &mut self.state
    }

    /// Whether the state covers packets at `interface`.
    pub(super) fn covers(&self, interface: NameId) -> bool {
        self.state.covers(interface)
    }
}

impl Engine {
    /// The rules let the packet pass; `rule` is the one that decided, if any did.
    pub(super) fn open(
        &mut self,
        rule: Option<&CompiledRule>,
        course: Course,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        let (place, anchor) = (course.place, course.anchor);
        let opened = self.try_open(rule, course, work, env);
        if let Err(refused) = &opened {
            let log = rule.and_then(|rule| rule.log);
            let rules = (rule.map(|rule| rule.id), anchor);
            self.log_refusal(log, rules, place, refused.reason, work);
            self.answer_failure(refused.reason, work);
        }
        opened
    }

    /// `set fail-policy return`: whom a pass rule should have let pass is told that it did not.
    fn answer_failure(&mut self, reason: DropReason, work: &mut Work<'_>) {
        let failed = matches!(
            reason,
            DropReason::StateLimit
                | DropReason::StateInsert
                | DropReason::SrcLimit
                | DropReason::Memory
                | DropReason::MapFailed
                | DropReason::NoRoute
        );
        let answered = matches!(work.original.meta.protocol, Protocol::TCP | Protocol::UDP);
        if self.options.fail_return && failed && answered && !work.meta.is_fragment() {
            self.answer_blocked(BlockReply::Return, work);
        }
    }

    fn try_open(
        &mut self,
        rule: Option<&CompiledRule>,
        mut course: Course,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Passed, Refused> {
        course.allow_options |= rule.is_some_and(|rule| rule.allow_options);
        if work.meta.has_ip_options && !course.allow_options {
            return Err(DropReason::IpOption.into());
        }
        let is_error = is_icmp_error(&work.meta);
        let is_fragment = course.content == Content::Fragment;
        course
            .scrub
            .add(&rule.map_or(Scrub::NONE, |rule| rule.scrub));
        work.scrub = course.scrub;
        course.matched_source = course.tuple.source.address;
        let own = rule.and_then(|rule| rule.max_packet_size);
        course.max_packet_size = own.or(course.max_packet_size);
        course.consulted.length |= course.max_packet_size.is_some();
        if is_too_long(course.max_packet_size, &work.meta) {
            return Err(DropReason::Normalize.into());
        }
        if let Some(rule) = rule.filter(|_| !is_error) {
            self.translate_by_rule(rule, &mut course, env)?;
            if course.may_change_family() {
                self.change_family(rule, &mut course, env)?;
            }
            self.trace_translation(rule, &course);
        }
        let route = match rule {
            Some(rule) => self.choose_route(rule, &mut course, env)?,
            None => None,
        };
        let route = route.or_else(|| {
            let way = work.way_at(course.place);
            self.automatic_reply(course.place, course.identity.source.address, way)
        });
        let keeps = rule.is_some_and(|rule| rule.keep.mode != StateMode::None);
        work.tag = course.tag;
        if let Some(rule) = rule {
            course.treatment = course.treatment.overridden_by(rule.treatment);
        }
        work.treat(course.treatment);
        let state =
            if !is_error && !is_fragment && (keeps || course.translated || course.is_followed) {
                let at = self.prepare(rule, &mut course, route, work, env)?;
                self.trace_new_state();
                StateRef::Pending(at)
            } else {
                StateRef::None(course.consulted)
            };
        self.tally_course(&course, rule.map(|rule| rule.id), true);
        if let Some(rule) = rule {
            self.log_decision(rule, LogAction::Pass, &course, work);
        }
        // `reply-to` concerns the packets of the other direction.
        let route = route.filter(|(kind, _)| *kind != RouteKind::ReplyTo);
        let divert = course.treatment.divert;
        let divert = divert.filter(|divert| matches!(divert, Divert::To(_)));
        Ok(Passed {
            state,
            route,
            divert,
        })
    }

    fn choose_route(
        &mut self,
        rule: &CompiledRule,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Result<Option<(RouteKind, NextHop)>, Refused> {
        let Some((kind, pool)) = &rule.route else {
            return Ok(None);
        };
        course.consulted.pool = true;
        // Answers to `af-to` are of the family that the packet came in, and so is the source that a
        // choice sticks to.
        let (family, source) = match kind {
            RouteKind::ReplyTo => (course.identity.family(), course.identity.source),
            RouteKind::RouteTo | RouteKind::DupTo => (course.tuple.family(), course.seen().source),
        };
        let taken = self
            .take_hop(family, rule.id, pool, source.address, env)
            .ok_or(DropReason::MapFailed)?;
        course.remember(&taken);
        let hop = self.hop_of(&taken.choice).ok_or(DropReason::NoRoute)?;
        Ok(Some((*kind, hop)))
    }

    /// Makes the state that the packet will have if it passes, and rewrites the packet.
    fn prepare(
        &mut self,
        rule: Option<&CompiledRule>,
        course: &mut Course,
        route: Option<(RouteKind, NextHop)>,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<usize, Refused> {
        self.check_limits(rule, course, work)?;
        let towards = route.map(|(_, hop)| hop.interface);
        let proxied = self.open_by_proxy(rule, course, towards, work, env)?;
        let answer = proxied.as_ref().and_then(|opened| opened.answer);
        let (source, destination, timeout) = match proxied {
            Some(opened) => (opened.source, opened.destination, Timeout::TcpFirst),
            None => open_peers(modulates(rule), course, work, env)?,
        };
        let peers = (source, destination, timeout);
        let mut state = Box::new(self.state(rule, course, route, work, peers));
        state.flow.opens_alike = self.opens_alike(rule, course, (&*state, &work.meta));
        let over = self.make_way(&state)?;
        if let Some(answer) = answer {
            state.norm = state.scrub.reassemble_tcp.then(Box::default);
            let packet = answer.packet(&course.identity.reversed());
            work.send_back(Some(packet.ok_or(DropReason::Synproxy)?));
            work.answered = true;
        } else {
            translate_packet(course, work, env)?;
            if state.changes_family() {
                work.crossed = Some(Crossed::by(&state, state.direction));
            }
            self.normalize_first(&mut state, work, env)?;
            if !course.is_imagined {
                state.count(course.place.direction, Count::one(course.bytes));
            }
        }
        course.applied = course.translated;
        work.logs_each |= state.logged;
        work.is_metered |= self.is_metered(&state);
        work.pending.push(Pending {
            state,
            nodes: std::mem::take(&mut course.nodes),
            over: Some((self.states.revision(), over)),
        });
        if work.answered {
            self.trace_new_state();
            return Err(DropReason::Synproxy.into());
        }
        Ok(work.pending.len().saturating_sub(1))
    }

    /// `reassemble tcp` begins with the packet that makes the state, unless that is the proxy's.
    fn normalize_first(
        &self,
        state: &mut State,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        let wanted = state.scrub.reassemble_tcp && !state.sloppy;
        if !wanted || work.meta.tcp().is_none() {
            return Ok(());
        }
        state.norm = Some(Box::default());
        if work.of_proxy {
            return Ok(());
        }
        let difference = self.timestamp_difference(state.rule);
        normalize_tcp(state, state.direction, self.now, difference, work, env)
    }

    /// The rule's `max`, its limits of sources, `set limit src-nodes`, `set limit states`; 0 is no
    /// limit. To PF the limits of `set limit` are memory that there is no more of; OpenBSD says of source
    /// nodes what it says of the rule's own limits.
    fn check_limits(
        &mut self,
        rule: Option<&CompiledRule>,
        course: &mut Course,
        work: &Work<'_>,
    ) -> Result<(), Refused> {
        let full = rule.is_some_and(|rule| {
            let states = self.rules.get(rule.id).map_or(0, Entry::states);
            rule.keep.max.is_some_and(|max| states >= max)
        });
        if full {
            self.counters.count_limit(LimitCounter::RuleStates);
            return Err(DropReason::StateLimit.into());
        }
        self.check_source(rule, course)?;
        let pending = work.pending.iter().flat_map(|pending| &pending.nodes);
        let new = pending
            .chain(&course.nodes)
            .filter(|used| self.sources.get(&used.key).is_none())
            .count();
        let nodes = self.sources.len().saturating_add(new);
        if new > 0 && self.is_reached(Limit::SrcNodes, nodes.saturating_sub(1)) {
            self.hit(Limit::SrcNodes);
            return Err(match self.dialect() {
                Dialect::FreeBsd => DropReason::Memory.into(),
                Dialect::OpenBsd | Dialect::OpenBsd3 => DropReason::SrcLimit.into(),
            });
        }
        let states = self.states.len().saturating_add(work.pending.len());
        if self.is_reached(Limit::States, states) {
            self.hit(Limit::States);
            return Err(DropReason::Memory.into());
        }
        Ok(())
    }

    fn state(
        &self,
        rule: Option<&CompiledRule>,
        course: &mut Course,
        route: Option<(RouteKind, NextHop)>,
        work: &Work<'_>,
        (source, destination, timeout): (Peer, Peer, Timeout),
    ) -> State {
        let direction = course.place.direction;
        let before = course.identity.key(direction);
        let after = if course.translated {
            course.tuple.key(direction)
        } else {
            before
        };
        let (wire, stack) = match direction {
            Direction::In => (before, after),
            Direction::Out => (after, before),
        };
        State {
            id: StateId(0),
            wire,
            stack,
            direction,
            bound: bound(rule, course, route),
            origin: course.place.name,
            rule: rule.map(|rule| rule.id),
            anchor: course.anchor.filter(|_| rule.is_some()),
            translation_rule: course.translation_rule,
            match_rules: course.match_rules.clone(),
            timeout,
            created: self.now,
            refreshed: self.now,
            source,
            destination,
            traffic: <[Count; 2]>::default(),
            sloppy: rule.is_some_and(|rule| rule.keep.sloppy),
            allow_options: course.allow_options,
            logged: self.logs_each(rule, course),
            route,
            ether: work.ether.filter(|ether| !ether.is_to_group()),
            way: work.way_at(course.place),
            tag: course.tag,
            endpoint_independent: course.endpoint_independent,
            scrub: course.scrub,
            treatment: course.treatment,
            owner: work.owner,
            norm: None,
            sources: course.nodes.iter().map(|used| used.key).collect(),
            connected: false,
            limiters: self.limiters_for(rule, course),
            loads: course.loads.clone(),
            max_packet_size: course.max_packet_size,
            membership: None,
            flow: Cacheable::default(),
        }
    }

    fn limiters_for(&self, rule: Option<&CompiledRule>, course: &Course) -> Vec<LimiterRef> {
        let own = rule.map(|rule| self.limiters_of(rule, course.matched_source));
        let others = course.limiters.iter().copied();
        let mut limiters: Vec<LimiterRef> = others.chain(own.into_iter().flatten()).collect();
        limiters.sort_unstable();
        limiters.dedup();
        limiters
    }

    /// Puts the states of a packet that passes into the table; returns their numbers.
    pub(super) fn commit(&mut self, pending: Vec<Pending>) -> Result<Vec<StateId>, Refused> {
        let mut made = Vec::with_capacity(pending.len());
        for pending in pending {
            made.push(self.commit_one(pending)?);
        }
        Ok(made)
    }

    /// Takes out of the cache what may stand in the way of `state`, or before it. The states in its way,
    /// which are over; refused if one is not.
    fn make_way(&mut self, state: &State) -> Result<Vec<u32>, Refused> {
        self.settle_rivals(state);
        let over = self
            .states
            .obstacles(state, |other| self.lifetimes().is_over(other))
            .map_err(|_| DropReason::StateInsert)?;
        Ok(over)
    }

    fn commit_one(&mut self, pending: Pending) -> Result<StateId, Refused> {
        let mut state = pending.state;
        let known = pending.over;
        let known = known.filter(|(revision, _)| *revision == self.states.revision());
        let over = match known {
            Some((_, over)) => over,
            None => self.make_way(&state)?,
        };
        for slot in over {
            self.remove_state(slot);
        }
        self.next_state = self.next_state.wrapping_add(1);
        state.id = StateId(self.next_state);
        let id = state.id;
        let half_open = state.is_half_open();
        let rules = state.rule.into_iter().chain(state.anchor);
        let rules = rules.chain(state.translation_rule);
        for rule in rules.chain(state.match_rules.iter().copied()) {
            self.rules.refer(rule);
        }
        let [forward, reply] = state.traffic;
        let packets = forward.packets.saturating_add(reply.packets);
        let bytes = forward.bytes.saturating_add(reply.bytes);
        let (limiters, loads) = (state.limiters.clone(), state.loads.clone());
        let mapping = state.endpoint_independent.then(|| mapping(&state));
        let slot = self.states.insert(*state).ok_or(DropReason::Memory)?;
        self.note_later(slot);
        self.note_use(Limit::States);
        if let Some((inside, outside)) = mapping {
            self.mappings.refer(inside, outside);
        }
        self.half_open_moved(false, half_open);
        for used in &pending.nodes {
            self.refer_source(used, id, (packets, bytes));
        }
        for limiter in limiters {
            let listing = self.limiters.admit((limiter, id), self.now);
            self.list_source(listing);
        }
        for load in loads {
            self.loads.refer(load);
        }
        self.counters.inserts = self.counters.inserts.wrapping_add(1);
        Ok(id)
    }
}

/// `synproxy state` includes `modulate state` (pf.conf(5)), where there is no handshake to make.
fn modulates(rule: Option<&CompiledRule>) -> bool {
    rule.is_some_and(|rule| matches!(rule.keep.mode, StateMode::Modulate | StateMode::Synproxy))
}

/// Peers and timeout of the new state; modulates the packet's numbers.
fn open_peers(
    modulates: bool,
    course: &Course,
    work: &mut Work<'_>,
    env: &mut dyn Env,
) -> Result<(Peer, Peer, Timeout), Refused> {
    if let Some(chunks) = Chunks::parse(work.bytes, &work.meta).map_err(|e| e.reason)? {
        // As in PF, what opens no association passes by a rule without state alone.
        return sctp::open(&chunks).ok_or(DropReason::Match.into());
    }
    let Some(header) = work.meta.tcp().copied() else {
        return Ok(Kind::of(course.tuple.protocol).open());
    };
    let segment = Segment::of(&work.meta, &header, work.bytes);
    let opens = segment.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
    let modulator = if modulates && opens {
        tcp::modulator(segment.seq, &mut || env.random())
    } else {
        0
    };
    let (source, destination) = tcp::open(&segment, modulator);
    modulate(modulator, 0, &segment, work)?;
    Ok((source, destination, Timeout::TcpFirst))
}

/// Rewrites the packet to what the rules have made of it.
fn translate_packet(
    course: &Course,
    work: &mut Work<'_>,
    env: &mut dyn Env,
) -> Result<(), Refused> {
    if !course.translated {
        return Ok(());
    }
    if course.tuple.family() != course.identity.family() {
        return families::cross(work, &course.tuple, env);
    }
    translate(&mut work.meta, work.bytes, &course.identity, &course.tuple)
        .map_err(|error| error.reason.into())
}

/// The interface that the state is bound to. As in PF, `reply-to` leaves it floating, because
/// answers leave by another, and an outbound `route-to` binds to where it leads.
fn bound(
    rule: Option<&CompiledRule>,
    course: &Course,
    route: Option<(RouteKind, NextHop)>,
) -> Option<NameId> {
    if !rule.is_some_and(|rule| rule.keep.if_bound) {
        return None;
    }
    match (route, course.place.direction) {
        (Some((RouteKind::ReplyTo, _)), _) => None,
        (Some((RouteKind::RouteTo, hop)), Direction::Out) => Some(hop.interface),
        (Some((RouteKind::RouteTo, hop)), Direction::In) if course.exit.is_some() => {
            Some(hop.interface)
        }
        _ => Some(course.exit.unwrap_or(course.place.name)),
    }
}

/// `max-pkt-size`.
pub(super) fn is_too_long(max: Option<u16>, meta: &crate::wire::Meta) -> bool {
    max.is_some_and(|max| meta.total_len > usize::from(max))
}
