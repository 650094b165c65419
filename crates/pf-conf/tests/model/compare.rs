//! The engine beside the model: it is given the same, and asked for all that it has counted.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use pf_conf::{LoadOptions, MemoryFiles};
use pf_engine::addr::Protocol as Number;
use pf_engine::anchor::AnchorPath;
use pf_engine::counters;
use pf_engine::decision::{Decision, Hook, Packet as Frame};
use pf_engine::engine::{Engine, EngineConfig, KillStates, RuleList};
use pf_engine::env::{FixedEnv, IfIndex, Interface, InterfaceAddress};
use pf_engine::time::Instant;
use pf_engine::view::{RuleCounters, StateView};
use pf_engine::wire::build::{self, Ip, Segment};
use pf_engine::wire::{Meta, checksum};

use super::language::*;
use super::rules::{Installed, Packet, Socket, Traffic};
use super::sequence::{Model, same};
use super::states::State;

/// Where the sequence number and the acknowledgment number of a TCP segment stand.
const SEQ: usize = 24;
const ACK: usize = 28;
/// What every segment offers.
const WINDOW: u16 = 60_000;

/// The engine.
#[derive(Debug)]
pub(super) struct Filter {
    engine: Engine,
    env: FixedEnv,
    interfaces: Vec<Interface>,
    now: Instant,
}

/// A packet that was given to the engine, and what became of it.
#[derive(Debug)]
pub(super) struct Sent {
    before: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    pub(super) length: u64,
    pub(super) decision: Decision,
}

impl Filter {
    /// An engine with a ruleset.
    pub(super) fn new(ruleset: &Ruleset) -> Result<Self, String> {
        let interfaces: Vec<Interface> = INTERFACES.into_iter().zip(1..).map(interface).collect();
        let now = Instant::from_secs(1000);
        let config = EngineConfig {
            hash_key: [1, 2],
            creator_id: 1,
        };
        let mut filter = Self {
            engine: Engine::new(now, config),
            env: FixedEnv::new(interfaces.clone(), 42),
            interfaces,
            now,
        };
        filter.engine.set_enabled(now, true);
        filter.load(ruleset)?;
        Ok(filter)
    }

    pub(super) fn load(&mut self, ruleset: &Ruleset) -> Result<(), String> {
        let options = LoadOptions {
            interfaces: self.interfaces.clone(),
            ..LoadOptions::default()
        };
        let text = ruleset.to_string();
        let mut files = MemoryFiles::default();
        let loaded = pf_conf::load("model.conf", text.as_bytes(), &mut files, &options)
            .map_err(|errors| format!("refused: {errors}"))?;
        let installed = self.engine.install(self.now, loaded.ruleset);
        installed.map_err(|error| error.to_string())
    }

    pub(super) fn wait(&mut self, seconds: u8) {
        for _ in 0..seconds {
            self.now = self.now.saturating_add(Duration::from_secs(1));
            self.engine.handle_timeout(self.now);
        }
    }

    pub(super) fn kill(&mut self, states: KillStates) -> usize {
        self.engine.kill_states(&states.into())
    }

    /// Gives a packet with these sequence and acknowledgment numbers and so much data.
    pub(super) fn send(&mut self, packet: &Packet, (seq, ack, data): (u32, u32, usize)) -> Sent {
        let before = bytes(packet, seq, ack, data);
        let hook = Hook {
            interface: self.interfaces[packet.interface].index,
            direction: packet.direction,
        };
        let mut frame = Frame {
            bytes: before.clone(),
            ..Frame::default()
        };
        let (now, env) = (self.now, &mut self.env);
        let decision = self.engine.handle_packet(now, hook, &mut frame, env);
        Sent {
            length: before.len() as u64,
            before,
            bytes: frame.bytes,
            decision,
        }
    }

    /// All that is counted and all states.
    pub(super) fn compare(&self, model: &Model) -> Result<(), String> {
        self.compare_rules(model)?;
        self.compare_translations(model)?;
        if model.counts_tables {
            self.compare_tables(model)?;
        }
        let found: Vec<StateView<'_>> = self.engine.states(self.now).collect();
        same("states", found.len(), model.states.len())?;
        same("state count", self.engine.state_count(), model.states.len())?;
        for (found, wanted) in found.iter().zip(in_order(&found, &model.states)) {
            let wanted = wanted.ok_or_else(|| format!("an unknown state: {found:?}"))?;
            compare_state(found, wanted, model)?;
        }
        Ok(())
    }

    fn compare_rules(&self, model: &Model) -> Result<(), String> {
        for (id, rule) in model.rules.all.iter().enumerate() {
            let found = self.counters(rule)?;
            let named = |what: &str| format!("{what} of rule {} {}", rule.anchor, rule.number);
            same(&named("traffic"), traffic(found.traffic), rule.traffic)?;
            let states = model.states.iter().filter(|state| {
                let mut ids = state.rule.iter().chain(&state.anchor).chain(&state.matched);
                state.generation == model.generation && ids.any(|other| *other == id)
            });
            same(&named("states"), found.states as usize, states.count())?;
            same(
                &named("states created"),
                found.states_created,
                rule.states_created,
            )?;
        }
        Ok(())
    }

    fn counters(&self, rule: &Installed) -> Result<RuleCounters, String> {
        let path = AnchorPath::new(&rule.anchor).map_err(|error| error.to_string())?;
        let mut rules = self.engine.rules_at(&path, RuleList::Filter);
        let found = rules.nth(rule.number).map(|found| found.counters);
        found.ok_or_else(|| format!("no rule {} {}", rule.anchor, rule.number))
    }

    fn compare_translations(&self, model: &Model) -> Result<(), String> {
        for (kind, list) in [
            (Kind::Nat, RuleList::Nat),
            (Kind::Rdr, RuleList::Rdr),
            (Kind::Binat, RuleList::Binat),
        ] {
            let found = self
                .engine
                .rules(list)
                .map(|rule| traffic(rule.counters.traffic));
            let rules = model.ruleset.translations.iter().zip(&model.translated);
            let wanted = rules.filter(|(rule, _)| rule.kind == kind);
            let wanted: Vec<Traffic> = wanted.map(|(_, traffic)| *traffic).collect();
            same(
                &format!("traffic of {kind:?}"),
                found.collect::<Vec<_>>(),
                wanted,
            )?;
        }
        Ok(())
    }

    fn compare_tables(&self, model: &Model) -> Result<(), String> {
        for (name, wanted) in TABLES.into_iter().zip(&model.tables) {
            let table = self.engine.table(name);
            let table = table.ok_or_else(|| format!("no table {name}"))?;
            let found = [table.passed, table.blocked, table.matched, table.xpassed];
            same(&format!("traffic of <{name}>"), found.map(traffic), *wanted)?;
        }
        Ok(())
    }
}

/// The model's states in the order of the engine's.
fn in_order<'m>(found: &[StateView<'_>], states: &'m [State]) -> Vec<Option<&'m State>> {
    let of = |view: &StateView<'_>| states.iter().find(|state| wire(state) == wire_of(view));
    found.iter().map(of).collect()
}

/// Protocol, direction, and both ends before and after translation, the opener first.
type Identity = (Number, Direction, [Socket; 2], [Socket; 2]);

fn wire(state: &State) -> Identity {
    let number = number(state.protocol);
    (number, state.direction, state.before, state.after)
}

fn wire_of(view: &StateView<'_>) -> Identity {
    let ends = |pair: [pf_engine::view::HostPort; 2]| {
        let [first, second] = pair.map(|end| match end.address {
            IpAddr::V4(address) => (address, end.port),
            IpAddr::V6(_) => (Ipv4Addr::UNSPECIFIED, 0),
        });
        match view.direction {
            Direction::In => [first, second],
            Direction::Out => [second, first],
        }
    };
    let (before, after) = match view.direction {
        Direction::In => (view.wire, view.stack),
        Direction::Out => (view.stack, view.wire),
    };
    (view.protocol, view.direction, ends(before), ends(after))
}

fn compare_state(found: &StateView<'_>, wanted: &State, model: &Model) -> Result<(), String> {
    let named = |what: &str| format!("{what} of the state {found:?}");
    same(&named("traffic"), traffic(found.traffic), wanted.traffic)?;
    let left = Duration::from_secs(wanted.end(&model.ruleset) - model.now);
    same(&named("time left"), found.expires_in, left)?;
    let interface = INTERFACES[wanted.interface].0;
    same(&named("interface"), found.original_interface, interface)?;
    let bound = if wanted.bound { interface } else { "all" };
    same(&named("binding"), found.interface, bound)
}

fn traffic(found: counters::Traffic) -> Traffic {
    [
        (found.packets_in, found.bytes_in),
        (found.packets_out, found.bytes_out),
    ]
}

impl Sent {
    /// Source and destination as it goes on.
    pub(super) fn ends(&self) -> [Socket; 2] {
        let field = |at: usize| u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        let address = |at: usize| {
            let octets: [u8; 4] = self.bytes[at..at + 4].try_into().expect("four");
            Ipv4Addr::from(octets)
        };
        [(address(12), field(20)), (address(16), field(22))]
    }

    pub(super) fn source_port(&self) -> u16 {
        self.ends()[0].1
    }

    pub(super) fn is_tcp(&self) -> bool {
        self.bytes[9] == Number::TCP.0
    }

    /// Whether its checksums are right.
    pub(super) fn is_sound(&self) -> bool {
        Meta::parse(&self.bytes).is_ok_and(|meta| {
            checksum::ip_header_valid(&self.bytes, &meta)
                && checksum::transport_valid(&self.bytes, &meta)
        })
    }

    /// What was added to the sequence number, and taken from the acknowledgment number.
    pub(super) fn moved(&self) -> (u32, u32) {
        let field = |bytes: &[u8], at: usize| {
            u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"))
        };
        let moved = |at| field(&self.bytes, at).wrapping_sub(field(&self.before, at));
        (moved(SEQ), moved(ACK).wrapping_neg())
    }

    /// What was added to the sequence number, where something may be.
    pub(super) fn added(&self, may_be: bool) -> u32 {
        if may_be && self.is_tcp() {
            self.moved().0
        } else {
            0
        }
    }
}

const fn number(protocol: Protocol) -> Number {
    match protocol {
        Protocol::Tcp => Number::TCP,
        Protocol::Udp => Number::UDP,
    }
}

fn bytes(packet: &Packet, seq: u32, ack: u32, data: usize) -> Vec<u8> {
    let (source, destination) = (packet.source, packet.destination);
    let ip = Ip::new(source.0.into(), destination.0.into());
    let payload = vec![0x61; data];
    match packet.protocol {
        Protocol::Tcp => {
            let mut segment = Segment::new(source.1, destination.1, packet.flags);
            (segment.seq, segment.ack, segment.window) = (seq, ack, WINDOW);
            build::tcp(&ip, &segment, &payload)
        }
        Protocol::Udp => build::udp(&ip, source.1, destination.1, &payload),
    }
}

fn interface(((name, address, group), index): ((&str, Ipv4Addr, &str), u32)) -> Interface {
    Interface {
        addresses: vec![InterfaceAddress::new(address.into(), 24)],
        groups: vec![ALL_OF_THEM.to_owned(), group.to_owned()],
        ..Interface::new(IfIndex(index), name)
    }
}
