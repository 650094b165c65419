//! What the model says to a packet: by a state, or by the rules; and what it counts.

use std::net::Ipv4Addr;
use std::rc::Rc;

use pf_engine::decision::DropReason;

use super::compare::Filter;
use super::language::*;
use super::rules::{Outcome, Packet, Traffic, in_table};
use super::segment::{ACK, SYN, opened};
use super::sequence::{Model, Wanted, check, same};
use super::states::{Connection, Heard, State, Tracker};
use super::translation::{self, NAT_PORTS, SOME_PORT};

/// The place of `XPass` in [`super::sequence::TableTraffic`].
const XPASS: usize = 3;

impl Model {
    /// A packet that a state passes.
    pub(super) fn by_state(
        &mut self,
        filter: &mut Filter,
        (at, forward): (usize, bool),
        packet: Packet,
        numbers: (u32, u32, usize),
    ) -> Result<(), String> {
        let sent = filter.send(&packet, numbers);
        let carried = self.entries(&packet).find_map(|state| state.prio);
        let (end, now) = (usize::from(!forward), self.now);
        let state = &mut self.states[at];
        state.take(now, end, sent.length);
        let [source, destination] = if forward {
            state.after
        } else {
            [state.before[1], state.before[0]]
        };
        let modulates = state.keep().is_some_and(|keep| keep.modulate);
        let moved = match &mut state.connection {
            Connection::Tcp(tcp) if !tcp.loose => {
                let own = *tcp.added[end].get_or_insert_with(|| sent.added(modulates));
                // Nothing is acknowledged without the flag.
                let other = if packet.flags & ACK == 0 {
                    0
                } else {
                    tcp.added[1 - end].unwrap_or(0)
                };
                Some((own, other))
            }
            Connection::Tcp(_) | Connection::Udp(_) => None,
        };
        let wanted = Wanted::Pass {
            source,
            destination,
            tos: state.tos.unwrap_or(0),
            prio: state.prio.or(carried),
            moved,
        };
        let state = state.clone();
        self.count_by_state(&state, packet.direction, sent.length);
        check(&sent, &wanted)
    }

    fn count_by_state(&mut self, state: &State, direction: Direction, length: u64) {
        if state.generation == self.generation {
            let ids = state.rule.into_iter().chain(state.anchor);
            for id in ids.chain(state.matched.iter().copied()) {
                count(&mut self.rules.all[id].traffic, direction, length);
            }
            if let Some(id) = state.translation {
                count(&mut self.translated[id], direction, length);
            }
        }
        let ends = [state.before[0].0, state.before[1].0];
        let (rule, matched) = &state.counting;
        for rule in matched {
            self.count_tables(rule, ends, direction, length, [0, 0]);
        }
        if let Some(rule) = rule {
            self.count_tables(rule, ends, direction, length, [0, XPASS]);
        }
    }

    /// Counts in the tables that a rule names: the verdict, as in [`TableTraffic`], and what it is where
    /// the table no longer says what the rule wants.
    fn count_tables(
        &mut self,
        rule: &Rule,
        ends: [Ipv4Addr; 2],
        direction: Direction,
        length: u64,
        [verdict, otherwise]: [usize; 2],
    ) {
        for (end, address) in [&rule.question.source, &rule.question.destination]
            .into_iter()
            .zip(ends)
        {
            if let Address::Table(number) = end.address {
                let entry = in_table(&self.ruleset.tables[number], address);
                let inside = entry.is_some_and(|negated| !negated);
                let still = inside != end.negated;
                let verdict = if still { verdict } else { otherwise };
                count(&mut self.tables[number][verdict], direction, length);
            }
        }
    }

    /// A packet without a state.
    pub(super) fn by_rules(
        &mut self,
        filter: &mut Filter,
        packet: Packet,
        numbers: (u32, u32, usize),
    ) -> Result<(), String> {
        let translations = &self.ruleset.translations;
        let translation = translation::find(translations, &packet, &self.ruleset.tables);
        let mut seen = packet;
        if let Some(id) = translation {
            translation::apply(&translations[id], &mut seen);
        }
        let seen_by_rules = seen;
        let outcome = if translation.is_some_and(|id| translations[id].pass) {
            Outcome::default()
        } else {
            self.evaluate(&packet, &mut seen)
        };
        let decided = outcome
            .decided
            .and_then(|id| self.rules.all[id].rule.clone());
        if let Some(to) = decided.as_ref().and_then(|rule| rule.to) {
            translation::apply_to(to, &mut seen);
        }
        let mut draft = self.draft(&packet, &seen, &outcome, decided.as_ref(), translation);
        let translates = translation.is_some() || self.translates(&outcome, decided.as_deref());
        let keep = decided.as_ref().and_then(|rule| rule.keep.as_ref());
        let blocks = decided
            .as_ref()
            .is_some_and(|rule| rule.verb == Verb::Block);
        let keeps = !blocks && (keep.is_some() || translates);
        let carried = self.entries(&packet).find_map(|state| state.prio);
        let random = seen.source.1 == SOME_PORT;
        if keeps && self.is_known(&draft, random) {
            // Two connections with one key: what comes of it pf.conf(5) does not say.
            return Ok(());
        }
        let refused = if blocks {
            Some(DropReason::Match)
        } else if keeps {
            self.refusal(&draft, keep)
        } else {
            None
        };
        let sent = filter.send(&packet, numbers);
        if refused.is_none() || blocks {
            self.count_by_rules(&draft, blocks, &seen_by_rules, sent.length);
        }
        if let Some(reason) = refused {
            return check(&sent, &Wanted::Drop(reason));
        }
        if random {
            self.take_port(&mut draft, sent.source_port())?;
        }
        let moved = if let (true, Connection::Tcp(tcp)) = (keeps, &mut draft.connection) {
            let opens = packet.flags & (SYN | ACK) == SYN;
            let modulates = keep.is_some_and(|keep| keep.modulate) && opens;
            tcp.added[0] = Some(sent.added(modulates));
            Some((tcp.added[0].unwrap_or(0), 0))
        } else {
            Some((0, 0))
        };
        let wanted = Wanted::Pass {
            source: draft.after[0],
            destination: draft.after[1],
            tos: draft.tos.unwrap_or(0),
            prio: draft.prio.or(carried),
            moved,
        };
        if keeps {
            self.keep(draft, sent.length);
        }
        check(&sent, &wanted)
    }

    /// What the rules make of a packet, which `match` rules translate.
    fn evaluate(&self, packet: &Packet, seen: &mut Packet) -> Outcome {
        let mut apply = |to, packet: &mut Packet| translation::apply_to(to, packet);
        let tag = self.entries(packet).find_map(|state| state.tag);
        let tables = &self.ruleset.tables;
        self.rules.evaluate(seen, tag, tables, &mut apply)
    }

    /// Whether a state has the key of a new one; a `random` port is drawn until it is free.
    fn is_known(&self, draft: &State, random: bool) -> bool {
        self.states.iter().any(|state| {
            let alike =
                state.protocol == draft.protocol && state.arriving(draft.direction) == draft.before;
            alike || (!random && state.clashes(draft))
        })
    }

    /// The port that NAT has drawn is one of its range that was free.
    fn take_port(&self, draft: &mut State, port: u16) -> Result<(), String> {
        draft.after[0].1 = port;
        same("a port for NAT", NAT_PORTS.contains(&port), true)?;
        let clash = self.states.iter().any(|state| state.clashes(draft));
        same("a port that is taken", clash, false)
    }

    fn keep(&mut self, mut draft: State, length: u64) {
        let own = draft.rule.into_iter().chain(draft.anchor);
        for id in own.chain(draft.matched.iter().copied()) {
            self.rules.all[id].states_created += 1;
        }
        draft.traffic[0] = (1, length);
        self.states.push(draft);
    }

    /// The states by which a packet that goes out may have come in: it has the tag and the
    /// priority of that.
    fn entries(&self, packet: &Packet) -> impl Iterator<Item = &State> {
        let packet = *packet;
        self.states.iter().filter(move |state| {
            packet.direction == Direction::Out
                && state.direction == Direction::In
                && state.protocol == packet.protocol
                && state.after == [packet.source, packet.destination]
        })
    }

    fn translates(&self, outcome: &Outcome, decided: Option<&Rule>) -> bool {
        let matched = outcome.matched.iter();
        let mut matched = matched.filter_map(|id| self.rules.all[*id].rule.as_ref());
        matched.any(|rule| rule.to.is_some()) || decided.is_some_and(|rule| rule.to.is_some())
    }

    /// The state that the packet would have.
    fn draft(
        &self,
        packet: &Packet,
        seen: &Packet,
        outcome: &Outcome,
        decided: Option<&Rc<Rule>>,
        translation: Option<usize>,
    ) -> State {
        let keep = decided.and_then(|rule| rule.keep.as_ref());
        let tracking = keep.and_then(|keep| keep.tracking.as_ref());
        let tracker = tracking.map(|tracking| match (tracking.global, outcome.decided) {
            (false, Some(rule)) => Tracker::Rule {
                generation: self.generation,
                rule,
            },
            _ => Tracker::Everywhere,
        });
        let matched = outcome.matched.iter();
        let matched_rules = matched.filter_map(|id| self.rules.all[*id].rule.clone());
        let (connection, timeout) = match packet.protocol {
            Protocol::Tcp => (Connection::Tcp(opened(packet)), Timeout::TcpFirst),
            Protocol::Udp => (
                Connection::Udp([Heard::Sent, Heard::Nothing]),
                Timeout::UdpFirst,
            ),
        };
        State {
            protocol: packet.protocol,
            direction: packet.direction,
            interface: packet.interface,
            // `set state-policy` is of rules; a state that translation alone has made has none.
            bound: decided.is_some()
                && keep
                    .and_then(|keep| keep.bound)
                    .unwrap_or(self.ruleset.if_bound),
            before: [packet.source, packet.destination],
            after: [seen.source, seen.destination],
            generation: self.generation,
            rule: outcome.decided,
            anchor: outcome.anchor,
            translation,
            matched: outcome.matched.clone(),
            counting: (decided.cloned(), matched_rules.collect()),
            tag: decided.and_then(|rule| rule.tag).or(outcome.tag),
            tos: decided.and_then(|rule| rule.set_tos).or(outcome.tos),
            prio: decided.and_then(|rule| rule.set_prio).or(outcome.prio),
            tracked: tracker.map(|tracker| (tracker, seen.source.0)),
            connection,
            timeout,
            refreshed: self.now,
            traffic: Traffic::default(),
        }
    }

    /// Why there may be no such state.
    fn refusal(&self, draft: &State, keep: Option<&Keep>) -> Option<DropReason> {
        let keep = keep?;
        let of_rule =
            |state: &&State| (state.generation, state.rule) == (draft.generation, draft.rule);
        let states = self.states.iter().filter(of_rule).count();
        if keep.max.is_some_and(|max| states >= max as usize) {
            return Some(DropReason::StateLimit);
        }
        let (tracking, (tracker, source)) = (keep.tracking.as_ref()?, draft.tracked?);
        let nodes = self.states.iter().filter_map(|state| state.tracked);
        let mut sources: Vec<Ipv4Addr> = nodes
            .filter(|(other, _)| *other == tracker)
            .map(|(_, source)| source)
            .collect();
        let own = sources.iter().filter(|other| **other == source).count();
        sources.sort_unstable();
        sources.dedup();
        let too_many = if own == 0 {
            tracking
                .max_nodes
                .is_some_and(|max| sources.len() >= max as usize)
        } else {
            tracking.max_states.is_some_and(|max| own >= max as usize)
        };
        too_many.then_some(DropReason::SrcLimit)
    }

    /// Counts a packet without state; `seen` as the rules saw it.
    fn count_by_rules(&mut self, draft: &State, blocked: bool, seen: &Packet, length: u64) {
        let direction = seen.direction;
        let ids = draft.rule.into_iter().chain(draft.anchor);
        for id in ids.chain(draft.matched.iter().copied()) {
            count(&mut self.rules.all[id].traffic, direction, length);
        }
        if let Some(id) = draft.translation {
            count(&mut self.translated[id], direction, length);
        }
        let ends = [seen.source.0, seen.destination.0];
        let (rule, matched) = &draft.counting;
        let verdict = usize::from(blocked);
        for rule in matched {
            self.count_tables(rule, ends, direction, length, [verdict; 2]);
        }
        if let Some(rule) = rule {
            self.count_tables(rule, ends, direction, length, [verdict, XPASS]);
        }
    }
}

fn count(traffic: &mut Traffic, direction: Direction, length: u64) {
    let (packets, bytes) = &mut traffic[usize::from(direction == Direction::Out)];
    *packets += 1;
    *bytes += length;
}
