//! A sequence of packets, pauses and orders, given to the engine and to the model.

use std::fmt;

use pf_engine::addr::Prefix;
use pf_engine::decision::{Decision, DropReason, Verdict};
use pf_engine::engine::KillStates;

use super::compare::{Filter, Sent};
use super::language::*;
use super::rules::{Packet, Rules, Socket, Traffic};
use super::segment::{ACK, SYN, Segment, make};
use super::states::{Connection, State};

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

/// What a rule, table by table, has counted: passed, blocked, of OpenBSD's `match`, and passed though the
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
}

/// Whether the engine did what was wanted.
pub(super) fn check(sent: &Sent, wanted: &Wanted) -> Result<(), String> {
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
