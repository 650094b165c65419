//! The replay itself: packets through the engine, one after the other.

use datapath::queues::QueueStatistics;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pf_conf::Loaded;
use pf_engine::decision::{
    Decision, Exit, GeneratedExit, Hook, LogEntry, Packet, StateId, Verdict,
};
use pf_engine::engine::{Engine, EngineConfig};
use pf_engine::env::Env;
use pf_engine::rule::Direction;
use pf_engine::time::Instant;
use pf_engine::wire::MAX_PACKET_LEN;
use serde_json::json;

use super::report::{self, Meeting, Which};
use super::sides::Sides;
use super::totals::Totals;
use super::world::{LEARNED_MAX, World};
use super::{Complaint, log_failed, told};
use crate::capture::link::{self, Carried, NoPacket};
use crate::capture::{Capture, Frame};
use crate::output::Output;
use crate::pfctl::show::anchors::Scope;
use crate::pfctl::show::{Cursor, LoadedBy, Lost, Section, Style, View, page};
use crate::pflog::record::{PFLOG_HEADER, Record, file_header};

/// Bytes of output that are gathered.
const GATHERED: usize = 64 << 10;
/// Interfaces that a packet meets at most: those of a box that it crosses, and again for what the
/// filter sends on.
const HOPS_MAX: u8 = 4;
/// Calls of the engine's timer in a row: each looks at some thousand states, so the largest table
/// is done by then.
const TIMER_CALLS_MAX: usize = 4096;
/// Bytes of a record of the log: whole packets, the longest header of pflog(4) included.
const LOG_RECORD_MAX: usize = MAX_PACKET_LEN + PFLOG_HEADER + 8;

/// How it is told.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "options of a command line")]
pub(super) struct Options {
    pub(super) is_json: bool,
    pub(super) is_quiet: bool,
    /// The interface, if nobody said which.
    pub(super) guessed: Option<String>,
    pub(super) states: bool,
    pub(super) counters: bool,
}

/// A file of logged packets.
#[derive(Debug)]
pub(super) struct LogWriter {
    path: PathBuf,
    file: BufWriter<File>,
    record: Vec<u8>,
}

impl LogWriter {
    /// Makes the file; one that is there is replaced.
    pub(super) fn create(path: &Path) -> Result<Self, Complaint> {
        let failed = |error: io::Error| log_failed(path, &error);
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        let header = file_header(u32::try_from(LOG_RECORD_MAX).unwrap_or(u32::MAX));
        file.write_all(&header).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            record: Vec::new(),
        })
    }

    fn write(&mut self, entry: LogEntry, time: Duration) -> Result<(), Complaint> {
        self.record.clear();
        Record::new(entry, time, (0, 0)).encode(&mut self.record);
        let written = self.file.write_all(&self.record);
        written.map_err(|error| log_failed(&self.path, &error))
    }

    fn finish(&mut self) -> Result<(), Complaint> {
        let flushed = self.file.flush();
        flushed.map_err(|error| log_failed(&self.path, &error))
    }
}

/// A packet that is to meet the rules.
struct Next {
    hook: Hook,
    packet: Packet,
    /// Interfaces that it has met.
    hops: u8,
}

/// A replay under way.
#[derive(Debug)]
pub(super) struct Replay {
    engine: Engine,
    world: World,
    sides: Sides,
    log: Option<LogWriter>,
    options: Options,
    totals: Totals,
    now: Instant,
    has_begun: bool,
    text: String,
}

impl Replay {
    /// An engine with the rules.
    pub(super) fn new(
        loaded: &Loaded,
        world: World,
        sides: Sides,
        log: Option<LogWriter>,
        options: Options,
    ) -> Result<Self, Complaint> {
        let now = Instant::default();
        // Fixed keys: the same capture has the same outcome.
        let config = EngineConfig {
            hash_key: [0, 0],
            creator_id: 0,
        };
        let mut engine = Engine::new(now, config);
        let installed = engine.install(now, loaded.ruleset.clone());
        installed.map_err(|error| Complaint::Message(error.to_string()))?;
        if log.is_some() {
            engine.set_log_snap_length(MAX_PACKET_LEN);
        }
        Ok(Self {
            engine,
            world,
            sides,
            log,
            options,
            totals: Totals::default(),
            now,
            has_begun: false,
            text: String::new(),
        })
    }

    /// Replays `capture`. What came before an error is told all the same.
    pub(super) fn run(
        &mut self,
        mut capture: Capture<impl Read>,
        name: &str,
        output: &mut Output<'_>,
    ) -> Result<(), Complaint> {
        let replayed = self.packets(&mut capture, name, output);
        if let Err(Complaint::OutputClosed) = replayed {
            return replayed;
        }
        let finished = self.log.as_mut().map_or(Ok(()), LogWriter::finish);
        self.summary(output)?;
        replayed.and(finished)
    }

    fn packets(
        &mut self,
        capture: &mut Capture<impl Read>,
        name: &str,
        output: &mut Output<'_>,
    ) -> Result<(), Complaint> {
        let mut frame = Frame::default();
        loop {
            match capture.next(&mut frame) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(told(name, &error)),
            }
            self.totals.packets += 1;
            let which = Which {
                number: self.totals.packets,
                time: frame.time,
            };
            self.tell_guess(&frame, output);
            self.frame(which, &frame, name)?;
            if self.text.len() >= GATHERED {
                self.put_out(output)?;
            }
        }
    }

    /// Says once where packets are taken to come in, if nothing else tells.
    fn tell_guess(&mut self, frame: &Frame, output: &mut Output<'_>) {
        if frame.link_type != crate::pflog::record::LINK_TYPE
            && let Some(guessed) = self.options.guessed.take()
        {
            output.message(&format!(
                "weighbridge: packets are taken to come in by {guessed} (--in-if NAME)"
            ));
        }
    }

    fn put_out(&mut self, output: &mut Output<'_>) -> Result<(), Complaint> {
        output.text(&self.text)?;
        self.text.clear();
        Ok(())
    }

    fn frame(&mut self, which: Which, frame: &Frame, name: &str) -> Result<(), Complaint> {
        self.advance(frame.time);
        match link::unwrap(frame) {
            Ok(carried) => {
                self.totals.cut += u64::from(carried.cut > 0);
                self.packet(which, carried, name)
            }
            Err(NoPacket::Other(what)) => {
                self.totals.not_ip += 1;
                let judged = self.other_frame(which, frame, &what);
                if !self.options.is_quiet {
                    let other = || report::other(which, &what, self.options.is_json);
                    self.text.push_str(&judged.unwrap_or_else(other));
                }
                Ok(())
            }
            Err(NoPacket::LinkType(link_type)) => {
                self.totals.packets -= 1;
                let message = format!(
                    "{name}: packet {}: link type {link_type} is not read (Ethernet, raw IP, Linux cooked, loopback and PFLOG are)",
                    which.number
                );
                Err(Complaint::Message(message))
            }
        }
    }

    /// A frame without IP, if there are rules for such.
    fn other_frame(&mut self, which: Which, frame: &Frame, what: &str) -> Option<String> {
        let other = link::other_frame(frame).filter(|_| self.engine.filters_frames())?;
        let carried = Carried {
            ether: Some(other.ether),
            outgoing: frame.outgoing,
            ..Carried::default()
        };
        let hook = self.sides.first(&carried, &self.world.env);
        let env = &mut self.world.env;
        let decision = self.engine.handle_frame(self.now, hook, &other, env);
        let interface = self.world.name(hook.interface);
        let came = Meeting::new(interface, hook.direction, what.to_owned());
        let met = report::meetings(&[], &decision, came, what, |_| None);
        Some(if self.options.is_json {
            report::json(which, other.len, &met, &[])
        } else {
            report::text(which, &met, &[])
        })
    }

    /// Lets the time go by that has passed. The first packet switches the filter on.
    fn advance(&mut self, time: Duration) {
        let then = Instant::from_origin(time);
        self.totals.backwards += u64::from(then < self.now);
        self.now = self.now.max(then);
        if !self.has_begun {
            self.has_begun = true;
            self.engine.set_enabled(self.now, true);
        }
        for _ in 0..TIMER_CALLS_MAX {
            if self.engine.poll_timeout().is_none_or(|due| due > self.now) {
                break;
            }
            self.engine.handle_timeout(self.now);
        }
    }

    fn packet(&mut self, which: Which, carried: Carried, name: &str) -> Result<(), Complaint> {
        let hook = self.hook(&carried, name)?;
        let length = carried.bytes.len();
        let crosses = carried.interface.is_none();
        let packet = Packet {
            bytes: carried.bytes,
            ether: carried.ether,
            received_on: None,
            priority: carried.priority,
        };
        let mut waiting = VecDeque::from([Next {
            hook,
            packet,
            hops: 1,
        }]);
        let (mut meetings, mut sent) = (Vec::new(), Vec::new());
        let mut last = Verdict::Held;
        while let Some(next) = waiting.pop_front() {
            let is_own = next.hops > 2;
            let (decision, left) = self.decide(which, next, &mut meetings, &mut sent)?;
            if crosses {
                self.follow(&decision, left, &mut waiting);
            }
            if !is_own {
                last = decision.verdict;
            }
        }
        self.totals.count(&last);
        self.totals.sent += sent.len() as u64;
        if !self.options.is_quiet {
            let line = if self.options.is_json {
                report::json(which, length, &meetings, &sent)
            } else {
                report::text(which, &meetings, &sent)
            };
            self.text.push_str(&line);
        }
        Ok(())
    }

    /// Where the packet meets the rules first.
    fn hook(&mut self, carried: &Carried, name: &str) -> Result<Hook, Complaint> {
        let Some(wanted) = &carried.interface else {
            return Ok(self.sides.first(carried, &self.world.env));
        };
        let interface = if let Some(known) = self.world.find(wanted) {
            known
        } else {
            let learned = self.world.learn(wanted).ok_or_else(|| {
                let message = format!(
                    "{name}: packet {}: more than {LEARNED_MAX} interfaces",
                    self.totals.packets
                );
                Complaint::Message(message)
            })?;
            self.engine.handle_interface_change();
            learned
        };
        Ok(Hook {
            interface,
            direction: match carried.outgoing {
                Some(true) => Direction::Out,
                Some(false) | None => Direction::In,
            },
        })
    }

    /// One call of the engine; returns the packet as it goes on.
    fn decide(
        &mut self,
        which: Which,
        next: Next,
        meetings: &mut Vec<Meeting>,
        sent: &mut Vec<(&'static str, String)>,
    ) -> Result<(Decision, Next), Complaint> {
        let mut left = next;
        let env = &mut self.world.env;
        let mut decision = if self.options.is_quiet {
            let packet = &mut left.packet;
            let decision = self.engine.handle_packet(self.now, left.hook, packet, env);
            sent.extend(decision.generated.iter().map(|_| ("", String::new())));
            decision
        } else {
            let interface = self.world.name(left.hook.interface);
            let came = report::packet(&left.packet.bytes);
            let came = Meeting::new(interface, left.hook.direction, came);
            let (packet, env) = (&mut left.packet, &mut self.world.env);
            let (decision, steps) = self.engine.explain_packet(self.now, left.hook, packet, env);
            let leaves_as = report::packet(&packet.bytes);
            let rule_of = |id: StateId| self.engine.states_from(id, self.now).next()?.rule;
            let met = report::meetings(&steps, &decision, came, &leaves_as, rule_of);
            meetings.extend(met);
            sent.extend(report::sent(&decision));
            decision
        };
        for entry in std::mem::take(&mut decision.logged) {
            self.totals.logged += 1;
            if let Some(log) = &mut self.log {
                log.write(entry, which.time)?;
            }
        }
        Ok((decision, left))
    }

    /// Queues what goes on to another interface.
    fn follow(&mut self, decision: &Decision, left: Next, waiting: &mut VecDeque<Next>) {
        let received_on = Some(left.hook.interface);
        for generated in &decision.generated {
            if let GeneratedExit::Onward {
                hook,
                ether,
                exit: Exit::Continue,
            } = generated.exit
            {
                let packet = Packet {
                    bytes: generated.bytes.clone(),
                    ether,
                    received_on: Some(hook.interface),
                    priority: None,
                };
                self.queue(hook, packet, left.hops.max(2), waiting);
            }
        }
        match &decision.verdict {
            Verdict::Pass(Exit::Continue) => {
                let packet = Packet {
                    received_on,
                    ..left.packet
                };
                self.queue(left.hook, packet, left.hops, waiting);
            }
            Verdict::PassFragments(Exit::Continue, pieces) => {
                for piece in pieces {
                    let packet = Packet {
                        bytes: piece.clone(),
                        received_on,
                        ..left.packet
                    };
                    self.queue(left.hook, packet, left.hops, waiting);
                }
            }
            Verdict::Pass(_) | Verdict::PassFragments(..) | Verdict::Drop(_) | Verdict::Held => {}
        }
    }

    fn queue(&mut self, passed: Hook, packet: Packet, hops: u8, waiting: &mut VecDeque<Next>) {
        let Some(hook) = self.sides.onward(passed, &packet.bytes, &self.world.env) else {
            return;
        };
        if hops >= HOPS_MAX {
            self.totals.not_followed += 1;
            return;
        }
        waiting.push_back(Next {
            hook,
            packet,
            hops: hops + 1,
        });
    }

    /// Totals, states and counters.
    fn summary(&mut self, output: &mut Output<'_>) -> Result<(), Complaint> {
        let states = self.engine.status().inserts;
        let told = if self.options.is_json {
            self.totals.json(states).to_string() + "\n"
        } else {
            self.totals.text(states)
        };
        self.text.push_str(&told);
        self.put_out(output)?;
        if self.options.states {
            self.show("STATES", &[(Section::States, 2)], output)?;
        }
        if self.options.counters {
            let sections = [(Section::Nat, 2), (Section::Rules, 2), (Section::Info, 1)];
            self.show("COUNTERS", &sections, output)?;
        }
        Ok(())
    }

    fn show(
        &self,
        title: &str,
        sections: &[(Section, u8)],
        output: &mut Output<'_>,
    ) -> Result<(), Complaint> {
        if !self.options.is_json {
            output.text(&format!("\n{title}:\n"))?;
        }
        let scope = Scope {
            recurse: true,
            ..Scope::default()
        };
        for &(section, verbose) in sections {
            let style = Style {
                verbose,
                ..Style::default()
            };
            let view = View {
                queues: &QueueStatistics::new(),
                engine: &self.engine,
                now: self.now,
                origin: 0,
                loaded_by: LoadedBy::default(),
                lost: Lost::default(),
                interfaces: self.world.env.interfaces(),
                interface: None,
                dialect: self.engine.dialect(),
                style,
                scope: &scope,
            };
            let mut at = Some(Cursor::default());
            while let Some(cursor) = at {
                let page = page(&view, &[section], false, cursor);
                for line in page.text.lines().filter(|_| self.options.is_json) {
                    output.text(&format!("{}\n", json!({"show": section, "line": line})))?;
                }
                if !self.options.is_json {
                    output.text(&page.text)?;
                }
                at = page.next;
            }
        }
        Ok(())
    }
}
