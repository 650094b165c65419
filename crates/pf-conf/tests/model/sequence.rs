//! A sequence of packets, pauses and orders, given to the engine and to the model.

use std::fmt;
use std::net::Ipv4Addr;
use std::rc::Rc;

use pf_engine::addr::Prefix;
use pf_engine::decision::{Decision, DropReason, Verdict};
use pf_engine::engine::KillStates;

use super::compare::{Filter, Sent};
use super::language::*;
use super::rules::{Outcome, Packet, Rules, Socket, Traffic, in_table};
use super::states::{Connection, Heard, Stage, State, Tcp, Tracker};
use super::translation::{self, NAT_PORTS, SOME_PORT};

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const PSH: u8 = 8;
pub(super) const ACK: u8 = 16;

/// A number far outside of every window.
const FAR: u32 = 0x2000_0000;
/// Inside of a window, but not the next number.
const NEAR: u32 = 1000;

/// A segment as an end of a connection would send it, or as an attacker would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Syn,
    SynAck,
    /// "Connection refused": the answer to a SYN.
    Refusal,
    Ack,
    Data,
    Fin,
    Rst,
    /// Its sequence number is outside of the window.
    FarSeq,
    /// It acknowledges what was never sent.
    FarAck,
    /// An RST inside of the window, without the right number.
    BlindRst,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A packet out of nowhere, with so many bytes of data.
    Fresh(Packet, usize),
    /// A packet of the nth state: by the other end or the opener, at its interface or at the
    /// other one.
    Follow {
        state: usize,
        reply: bool,
        elsewhere: bool,
        segment: Segment,
        data: usize,
    },
    /// Seconds.
    Wait(u8),
    /// `pfctl -k` of the source of the nth state.
    Kill(usize),
    /// The other ruleset.
    Reload,
}

/// Two rulesets, the first of which is in force at first, and what happens.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) rulesets: [Ruleset; 2],
    pub(super) steps: Vec<Step>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n--- pf.conf\n{}", self.rulesets[0])?;
        if self.steps.iter().any(|step| matches!(step, Step::Reload)) {
            writeln!(f, "--- the other pf.conf\n{}", self.rulesets[1])?;
        }
        writeln!(f, "--- steps")?;
        self.steps
            .iter()
            .try_for_each(|step| writeln!(f, "{step:?}"))
    }
}

/// What a rule, table by table, has counted: passed, blocked, of `match`, and passed though the
/// table no longer says so.
pub(super) type TableTraffic = [Traffic; 4];

/// What must become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Drop(DropReason),
    Pass {
        source: Socket,
        destination: Socket,
        tos: u8,
        prio: Option<u8>,
        /// What is added to the sequence and taken from the acknowledgment number. Nothing:
        /// whatever it is.
        moved: Option<(u32, u32)>,
    },
}

/// All that the model knows.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) ruleset: Ruleset,
    pub(super) rules: Rules,
    pub(super) translated: Vec<Traffic>,
    pub(super) generation: u32,
    pub(super) states: Vec<State>,
    pub(super) tables: [TableTraffic; TABLES.len()],
    /// What tables count is known. It is not where translation changes what they are asked for,
    /// nor once an anchor is gone by which a rule meant a table.
    pub(super) counts_tables: bool,
    pub(super) now: u64,
}

/// Runs a case; the message of the first difference.
pub(super) fn run(case: &Case) -> Result<(), String> {
    let mut filter = Filter::new(&case.rulesets[0])?;
    let mut model = Model::new(case);
    let mut current = 0;
    for (number, step) in case.steps.iter().enumerate() {
        let what = match step {
            Step::Fresh(packet, data) => model.fresh(&mut filter, *packet, *data),
            Step::Follow { .. } => model.follow(&mut filter, step),
            Step::Wait(seconds) => {
                filter.wait(*seconds);
                model.wait(*seconds);
                Ok(())
            }
            Step::Kill(state) => model.kill(&mut filter, *state),
            Step::Reload => {
                current = 1 - current;
                model.reload(&case.rulesets[current]);
                let loaded = filter.load(&case.rulesets[current]);
                // What is over by the new timeouts goes with the next purge.
                filter.wait(1);
                model.wait(1);
                loaded
            }
        };
        what.and_then(|()| filter.compare(&model))
            .map_err(|why| format!("step {number}, {step:?}: {why}"))?;
    }
    Ok(())
}

impl Model {
    fn new(case: &Case) -> Self {
        let reloads = case.steps.iter().any(|step| matches!(step, Step::Reload));
        let anchors = |ruleset: &Ruleset| {
            let mut items = ruleset.items.iter();
            items.any(|item| matches!(item, Item::Anchor { .. }))
        };
        let unclear = |ruleset| Ruleset::translates(ruleset) || (reloads && anchors(ruleset));
        let mut model = Self {
            ruleset: case.rulesets[0].clone(),
            rules: Rules::default(),
            translated: Vec::new(),
            generation: 0,
            states: Vec::new(),
            tables: Default::default(),
            counts_tables: !case.rulesets.iter().any(unclear),
            now: 0,
        };
        model.reload(&case.rulesets[0]);
        model
    }

    fn reload(&mut self, ruleset: &Ruleset) {
        self.generation += 1;
        self.rules = Rules::new(&ruleset.items);
        self.translated = vec![Traffic::default(); ruleset.translations.len()];
        self.ruleset = ruleset.clone();
    }

    fn wait(&mut self, seconds: u8) {
        self.now += u64::from(seconds);
        let (now, ruleset) = (self.now, &self.ruleset);
        self.states.retain(|state| state.end(ruleset) > now);
    }

    fn kill(&mut self, filter: &mut Filter, state: usize) -> Result<(), String> {
        if self.states.is_empty() {
            return Ok(());
        }
        let state = &self.states[state % self.states.len()];
        // By the addresses on the wire, the source being the opener.
        let opener = |state: &State| match state.direction {
            Direction::In => state.before[0].0,
            Direction::Out => state.after[0].0,
        };
        let source = opener(state);
        let before = self.states.len();
        self.states.retain(|state| opener(state) != source);
        let killed = filter.kill(KillStates::Hosts(Prefix::host(source.into()), None));
        same("killed states", killed, before - self.states.len())
    }

    /// A packet that nobody has prepared.
    fn fresh(&mut self, filter: &mut Filter, packet: Packet, data: usize) -> Result<(), String> {
        let (seq, ack) = (1000, if packet.flags & ACK == 0 { 0 } else { 2000 });
        if let Some((at, forward)) = self.find(&packet) {
            match self.states[at].connection {
                Connection::Tcp(tcp) if tcp.is_closed() && packet.flags & (SYN | ACK) == SYN => {
                    self.states.remove(at);
                }
                // What fits a connection only the connection knows.
                Connection::Tcp(_) => return Ok(()),
                Connection::Udp(_) => {
                    return self.by_state(filter, (at, forward), packet, (seq, ack, data));
                }
            }
        }
        self.by_rules(filter, packet, (seq, ack, data))
    }

    /// A packet of a state.
    fn follow(&mut self, filter: &mut Filter, step: &Step) -> Result<(), String> {
        let &Step::Follow {
            state,
            reply,
            elsewhere,
            segment,
            data,
        } = step
        else {
            return Ok(());
        };
        if self.states.is_empty() {
            return Ok(());
        }
        let state = &self.states[state % self.states.len()];
        let interface = if elsewhere {
            1 - state.interface
        } else {
            state.interface
        };
        let [source, destination] = if reply {
            [state.after[1], state.after[0]]
        } else {
            state.before
        };
        let mut packet = Packet {
            direction: if reply {
                state.direction.reverse()
            } else {
                state.direction
            },
            interface,
            protocol: state.protocol,
            source,
            destination,
            flags: 0,
        };
        let Some((at, forward)) = self.find(&packet) else {
            packet.flags = SYN;
            return self.fresh(filter, packet, 0);
        };
        let Connection::Tcp(tcp) = self.states[at].connection else {
            return self.by_state(filter, (at, forward), packet, (0, 0, data));
        };
        let end = usize::from(!forward);
        let sloppy = self.states[at].sloppy();
        let Some(made) = make(&tcp, end, segment, (data, sloppy)) else {
            return Ok(());
        };
        packet.flags = made.flags;
        let numbers = (made.seq, made.ack, made.data);
        if made.fits || sloppy {
            if let Connection::Tcp(tcp) = &mut self.states[at].connection {
                *tcp = made.after;
            }
            self.by_state(filter, (at, forward), packet, numbers)
        } else {
            let sent = filter.send(&packet, numbers);
            check(&sent, &Wanted::Drop(DropReason::StateMismatch))
        }
    }

    /// The state that covers the packet, and whether it is the opener's.
    fn find(&self, packet: &Packet) -> Option<(usize, bool)> {
        let mut all = self.states.iter().enumerate();
        all.find_map(|(at, state)| Some((at, state.covers(packet)?)))
    }

    /// A packet that a state passes.
    fn by_state(
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
            self.count_tables(rule, ends, direction, length, 2);
        }
        if let Some(rule) = rule {
            self.count_tables(rule, ends, direction, length, 0);
        }
    }

    /// Counts in the tables that a rule names; `verdict` as in [`TableTraffic`].
    fn count_tables(
        &mut self,
        rule: &Rule,
        ends: [Ipv4Addr; 2],
        direction: Direction,
        length: u64,
        verdict: usize,
    ) {
        for (end, address) in [&rule.question.source, &rule.question.destination]
            .into_iter()
            .zip(ends)
        {
            if let Address::Table(number) = end.address {
                let entry = in_table(&self.ruleset.tables[number], address);
                let inside = entry.is_some_and(|negated| !negated);
                let still = inside != end.negated;
                let verdict = if still || verdict == 2 { verdict } else { 3 };
                count(&mut self.tables[number][verdict], direction, length);
            }
        }
    }

    /// A packet without a state.
    fn by_rules(
        &mut self,
        filter: &mut Filter,
        packet: Packet,
        numbers: (u32, u32, usize),
    ) -> Result<(), String> {
        let mut seen = packet;
        let translations = &self.ruleset.translations;
        let translation = translation::find(translations, &packet, &self.ruleset.tables);
        if let Some(id) = translation {
            translation::apply(&translations[id], &mut seen);
        }
        let seen_by_rules = seen;
        let outcome = if translation.is_some_and(|id| translations[id].pass) {
            Outcome::default()
        } else {
            let mut apply = |to, packet: &mut Packet| translation::apply_to(to, packet);
            let tag = self.entries(&packet).find_map(|state| state.tag);
            let rules = &self.rules;
            rules.evaluate(&mut seen, tag, &self.ruleset.tables, &mut apply)
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
        let clashes = |state: &State| {
            let alike =
                state.protocol == draft.protocol && state.arriving(draft.direction) == draft.before;
            alike || (!random && state.clashes(&draft))
        };
        if keeps && self.states.iter().any(clashes) {
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
            draft.after[0].1 = sent.source_port();
            same(
                "a port for NAT",
                NAT_PORTS.contains(&sent.source_port()),
                true,
            )?;
            let clash = self.states.iter().any(|state| state.clashes(&draft));
            same("a port that is taken", clash, false)?;
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
            for id in draft
                .rule
                .into_iter()
                .chain(draft.anchor)
                .chain(draft.matched.clone())
            {
                self.rules.all[id].states_created += 1;
            }
            draft.traffic[0] = (1, sent.length);
            self.states.push(draft);
        }
        check(&sent, &wanted)
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
        for rule in matched {
            self.count_tables(rule, ends, direction, length, 2);
        }
        if let Some(rule) = rule {
            self.count_tables(rule, ends, direction, length, usize::from(blocked));
        }
    }
}

fn count(traffic: &mut Traffic, direction: Direction, length: u64) {
    let (packets, bytes) = &mut traffic[usize::from(direction == Direction::Out)];
    *packets += 1;
    *bytes += length;
}

/// A TCP connection behind its first packet.
fn opened(packet: &Packet) -> Tcp {
    Tcp {
        stages: [Stage::SynSent, Stage::Silent],
        next: [1001, 5_000_001],
        added: [None, None],
        reset: false,
        loose: packet.flags & (SYN | ACK | RST | FIN) != SYN,
    }
}

/// A segment that is to be sent.
struct Made {
    flags: u8,
    seq: u32,
    ack: u32,
    data: usize,
    /// Whether it fits the connection.
    fits: bool,
    /// The connection behind it.
    after: Tcp,
}

/// The segment that an end (0: the opener) would send, if it could send such a one now.
fn make(tcp: &Tcp, end: usize, segment: Segment, (data, sloppy): (usize, bool)) -> Option<Made> {
    if tcp.loose || tcp.is_closed() {
        return None;
    }
    let (own, other) = (tcp.stages[end], tcp.stages[1 - end]);
    let seq = tcp.next[end];
    // Numbers of the other end as they arrive at this one.
    let ack = tcp.next[1 - end].wrapping_add(tcp.added[1 - end].unwrap_or(0));
    let mut made = Made {
        flags: ACK,
        seq,
        ack,
        data: 0,
        fits: true,
        after: *tcp,
    };
    let talks = own == Stage::Open && other >= Stage::SynSent;
    let open = own >= Stage::Open && other >= Stage::Open;
    let possible = match segment {
        Segment::Syn => end == 0 && own == Stage::SynSent && other == Stage::Silent,
        Segment::SynAck => end == 1 && own <= Stage::SynSent && other <= Stage::Open,
        Segment::Refusal => end == 1 && own == Stage::Silent,
        Segment::Ack => own >= Stage::SynSent && other >= Stage::SynSent,
        Segment::Data | Segment::Fin => talks,
        Segment::Rst | Segment::FarSeq => open,
        // What closes is not looked at so closely.
        Segment::FarAck | Segment::BlindRst => open && !tcp.stages.contains(&Stage::Done),
    };
    if !possible {
        return None;
    }
    match segment {
        Segment::Syn => (made.flags, made.seq, made.ack) = (SYN, seq.wrapping_sub(1), 0),
        Segment::SynAck => {
            (made.flags, made.seq) = (SYN | ACK, seq.wrapping_sub(1));
            made.after.stages[end] = Stage::SynSent;
        }
        Segment::Refusal => {
            (made.flags, made.seq) = (RST | ACK, 0);
            made.after.reset = true;
        }
        Segment::Ack => {}
        Segment::Data => {
            (made.flags, made.data) = (PSH | ACK, data);
            made.after.next[end] = seq.wrapping_add(u32::try_from(data).unwrap_or(0));
        }
        Segment::Fin => {
            made.flags = FIN | ACK;
            made.after.next[end] = seq.wrapping_add(1);
            made.after.stages[end] = Stage::FinSent;
        }
        Segment::Rst => {
            made.flags = RST | ACK;
            made.after.reset = true;
        }
        // Without data the number hardly matters.
        Segment::FarSeq => {
            (made.seq, made.data) = (seq.wrapping_add(FAR), data.max(1));
            made.fits = false;
        }
        Segment::FarAck => (made.ack, made.fits) = (ack.wrapping_add(FAR), false),
        Segment::BlindRst => {
            (made.flags, made.seq, made.ack) = (RST, seq.wrapping_add(NEAR), 0);
            made.fits = false;
        }
    }
    if made.flags & ACK != 0 {
        // PF may see but the opener's half of a sloppy connection: if that goes on after its FIN
        // it has seen the other's.
        let half = sloppy && end == 0 && made.after.stages[end] == Stage::FinSent;
        let peer = &mut made.after.stages[1 - end];
        *peer = match *peer {
            Stage::SynSent => Stage::Open,
            Stage::FinSent => Stage::Done,
            Stage::Open if half => Stage::FinSent,
            stage @ (Stage::Silent | Stage::Open | Stage::Done) => stage,
        };
    }
    if !made.fits && segment == Segment::BlindRst {
        // A sloppy state believes it.
        made.after.reset = true;
    }
    Some(made)
}

/// Whether the engine did what was wanted.
fn check(sent: &Sent, wanted: &Wanted) -> Result<(), String> {
    match wanted {
        Wanted::Drop(reason) => same("verdict", &sent.decision.verdict, &Verdict::Drop(*reason)),
        Wanted::Pass {
            source,
            destination,
            tos,
            prio,
            moved,
        } => {
            let Decision {
                verdict, handling, ..
            } = &sent.decision;
            if !matches!(verdict, Verdict::Pass(_)) {
                return Err(format!("it should pass: {verdict:?}"));
            }
            same("addresses", sent.ends(), [*source, *destination])?;
            same("checksums", sent.is_sound(), true)?;
            same("tos", sent.bytes[1], *tos)?;
            same("priority", handling.priority, *prio)?;
            let moved = moved.filter(|_| sent.is_tcp());
            moved.map_or(Ok(()), |moved| {
                same("numbers moved by", sent.moved(), moved)
            })
        }
    }
}

/// An error that names what is not the same.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers make both for the purpose"
)]
pub(super) fn same<T: PartialEq + fmt::Debug>(
    what: &str,
    found: T,
    wanted: T,
) -> Result<(), String> {
    if found == wanted {
        Ok(())
    } else {
        Err(format!(
            "{what}: the engine has {found:?}, the model {wanted:?}"
        ))
    }
}
