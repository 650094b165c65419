//! A small language for scenarios.
//!
//! A [`Lab`] is an engine with interfaces. [`Lab::packet`] hands it a packet; the [`Seen`] that
//! comes back is asked for the verdict, and for *all* counters that changed.

mod counters;
mod packets;
mod rules;

use std::net::IpAddr;
use std::time::Duration;

use pf_engine::addr::{Family, Prefix};
use pf_engine::decision::{
    Decision, DropReason, EtherAddresses, Exit, Hook, Packet, StateId, Verdict,
};
use pf_engine::engine::{Engine, EngineConfig, KillStates, RuleList};
use pf_engine::env::{FixedEnv, IfIndex, Interface, InterfaceAddress};
use pf_engine::ether::Frame;
use pf_engine::record::StateRecord;
use pf_engine::rule::Direction;
use pf_engine::ruleset::Ruleset;
use pf_engine::time::Instant;
use pf_engine::view::StateView;

use self::counters::{Counters, difference};

pub(super) use self::counters::counters;
pub(super) use self::packets::*;
pub(super) use self::rules::*;
pub(super) use pf_engine::rule::Direction::{In, Out};

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').unwrap_or((text, ""));
    let address = ip(address);
    Prefix::new(address, len.parse().unwrap_or(Family::of(address).bits())).unwrap()
}

pub(super) fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

/// Frame addresses by the last bytes of two MAC addresses.
pub(super) fn ether(source: u8, destination: u8) -> EtherAddresses {
    EtherAddresses {
        source: mac(source),
        destination: mac(destination),
    }
}

/// An interface with addresses `a.b.c.d/len`.
pub(super) fn interface(index: u32, name: &str, addresses: &[&str]) -> Interface {
    let address = |text: &&str| {
        let p = prefix(text);
        InterfaceAddress::new(p.address(), p.prefix_len())
    };
    Interface {
        addresses: addresses.iter().map(address).collect(),
        ..Interface::new(IfIndex(index), name)
    }
}

/// In which states both ends of state 1 are, and for how many seconds it lives on.
pub(super) fn peers(lab: &Lab) -> (u8, u8, u64) {
    let state = lab.state(1);
    (
        state.source.state,
        state.destination.state,
        state.expires_in.as_secs(),
    )
}

/// `pfctl -k`, at all interfaces.
pub(super) fn kill(lab: &mut Lab, states: KillStates) -> usize {
    lab.engine.kill_states(&states.into())
}

/// An engine with interfaces.
pub(super) struct Lab {
    pub(super) engine: Engine,
    pub(super) env: FixedEnv,
    interfaces: Vec<Interface>,
    pub(super) now: Instant,
    before: Counters,
}

/// What the engine made of a packet.
pub(super) struct Seen<'l> {
    lab: &'l mut Lab,
    pub(super) decision: Decision,
    pub(super) bytes: Vec<u8>,
    sent: Vec<u8>,
}

impl Lab {
    pub(super) fn new(interfaces: Vec<Interface>, ruleset: Ruleset) -> Self {
        let now = Instant::from_secs(1000);
        let config = EngineConfig {
            hash_key: [1, 2],
            creator_id: 0x5805_7cf3,
        };
        let mut lab = Self {
            engine: Engine::new(now, config),
            env: FixedEnv::new(interfaces.clone(), 42),
            interfaces,
            now,
            before: Counters::new(),
        };
        lab.engine.set_enabled(now, true);
        lab.load(ruleset);
        lab
    }

    /// Two plain interfaces.
    pub(super) fn router(ruleset: Ruleset) -> Self {
        let interfaces = vec![
            interface(1, "em0", &["10.0.0.1/24", "2001:db8:a::1/64"]),
            interface(
                2,
                "em1",
                &["192.0.2.1/24", "fe80::1/64", "2001:db8:b::1/64"],
            ),
        ];
        Self::new(interfaces, ruleset)
    }

    pub(super) fn load(&mut self, ruleset: Ruleset) {
        self.engine.install(self.now, ruleset).unwrap();
        self.before = counters(&self.engine, self.now);
    }

    pub(super) fn set_interfaces(&mut self, change: impl FnOnce(&mut Vec<Interface>)) {
        change(&mut self.interfaces);
        self.env = FixedEnv::new(self.interfaces.clone(), 43);
        self.engine.handle_interface_change();
    }

    pub(super) fn index(&self, name: &str) -> IfIndex {
        self.interfaces
            .iter()
            .find(|i| i.name == name)
            .map_or(IfIndex(999), |i| i.index)
    }

    /// Lets time go by, second by second, as the daemon does.
    pub(super) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.saturating_add(Duration::from_secs(1));
            self.engine.handle_timeout(self.now);
        }
        self.before = counters(&self.engine, self.now);
    }

    /// Counts from here on.
    pub(super) fn settle(&mut self) {
        self.before = counters(&self.engine, self.now);
    }

    /// Lets time go by with nothing done.
    pub(super) fn skip_time(&mut self, seconds: u64) {
        self.now = self.now.saturating_add(Duration::from_secs(seconds));
    }

    pub(super) fn packet(&mut self, direction: Direction, name: &str, bytes: Vec<u8>) -> Seen<'_> {
        self.frame(direction, name, bytes, None)
    }

    pub(super) fn frame(
        &mut self,
        direction: Direction,
        name: &str,
        bytes: Vec<u8>,
        ether: Option<EtherAddresses>,
    ) -> Seen<'_> {
        let packet = Packet {
            bytes,
            ether,
            ..Packet::default()
        };
        self.whole_packet(direction, name, packet)
    }

    /// A packet with all that the data path tells of it.
    pub(super) fn whole_packet(
        &mut self,
        direction: Direction,
        name: &str,
        mut packet: Packet,
    ) -> Seen<'_> {
        let hook = self.hook(direction, name);
        let bytes = packet.bytes.clone();
        let decision = self
            .engine
            .handle_packet(self.now, hook, &mut packet, &mut self.env);
        Seen {
            lab: self,
            decision,
            bytes: packet.bytes,
            sent: bytes,
        }
    }

    /// A frame without IP.
    pub(super) fn other_frame(
        &mut self,
        direction: Direction,
        name: &str,
        ether_type: u16,
        ether: EtherAddresses,
    ) -> Seen<'_> {
        let frame = Frame {
            ether,
            ether_type,
            len: 60,
            received_on: None,
        };
        let hook = self.hook(direction, name);
        let decision = self
            .engine
            .handle_frame(self.now, hook, &frame, &mut self.env);
        self.saw(decision)
    }

    /// A packet whose frame was not known when it was decided.
    pub(super) fn departure(
        &mut self,
        name: &str,
        bytes: Vec<u8>,
        ether: EtherAddresses,
    ) -> Seen<'_> {
        let packet = Packet {
            bytes,
            ether: Some(ether),
            ..Packet::default()
        };
        let hook = self.hook(Out, name);
        let decision = self
            .engine
            .handle_departure(self.now, hook, &packet, &mut self.env);
        self.saw(decision)
    }

    fn hook(&self, direction: Direction, name: &str) -> Hook {
        Hook {
            interface: self.index(name),
            direction,
        }
    }

    fn saw(&mut self, decision: Decision) -> Seen<'_> {
        Seen {
            lab: self,
            decision,
            bytes: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(super) fn states(&self) -> Vec<StateView<'_>> {
        self.engine.states(self.now).collect()
    }

    /// All states as they are kept over a restart, asked for a few at a time.
    pub(super) fn export(&self) -> Vec<StateRecord> {
        let (mut records, mut from) = (Vec::new(), Some(StateId(0)));
        while let Some(next) = from {
            let take = |record| records.push(record);
            from = self.engine.export_states(self.now, next, 3, take);
        }
        records
    }

    pub(super) fn state(&self, id: u64) -> StateView<'_> {
        let state = self.engine.states_from(StateId(id), self.now).next();
        state
            .filter(|s| s.id == StateId(id))
            .expect("the state is there")
    }

    /// The label line of `pfctl -sl`: evaluations, packets, bytes.
    pub(super) fn label(&self, label: &str) -> (u64, u64, u64) {
        let rules = self.engine.rules(RuleList::Filter);
        let labelled = rules.filter(|r| r.rule.labels.iter().any(|l| l == label));
        labelled.fold((0, 0, 0), |(e, p, b), r| {
            let traffic = r.counters.traffic;
            (
                e + r.counters.evaluations,
                p + traffic.packets(),
                b + traffic.bytes(),
            )
        })
    }
}

impl Seen<'_> {
    /// It goes on its way, changed or not.
    pub(super) fn passes(self) -> Self {
        assert_eq!(self.decision.verdict, Verdict::Pass(Exit::Continue));
        assert_eq!(self.decision.generated, []);
        self
    }

    pub(super) fn passes_unchanged(self) -> Self {
        let seen = self.passes();
        assert_eq!(seen.bytes, seen.sent);
        seen
    }

    pub(super) fn leaves_by(self, name: &str, next_hop: &str) -> Self {
        let exit = Exit::Gateway {
            interface: self.lab.index(name),
            next_hop: ip(next_hop),
        };
        assert_eq!(self.decision.verdict, Verdict::Pass(exit));
        self
    }

    pub(super) fn bridges_to(self, name: &str) -> Self {
        let interface = self.lab.index(name);
        assert_eq!(
            self.decision.verdict,
            Verdict::Pass(Exit::Bridge { interface })
        );
        self
    }

    pub(super) fn goes_onto_the_wire(self, name: &str, ether: EtherAddresses) -> Self {
        let exit = Exit::Wire {
            interface: self.lab.index(name),
            ether,
        };
        assert_eq!(self.decision.verdict, Verdict::Pass(exit));
        self
    }

    pub(super) fn drops(self, reason: DropReason) -> Self {
        assert_eq!(self.decision.verdict, Verdict::Drop(reason));
        self
    }

    /// `source:port > destination:port` of what goes on.
    pub(super) fn becomes(self, wanted: &str) -> Self {
        assert_eq!(tuple(&self.bytes), wanted);
        self
    }

    /// The answer that the engine makes.
    pub(super) fn answer(&self) -> &[u8] {
        let [generated] = self.decision.generated.as_slice() else {
            panic!("one answer: {:?}", self.decision.generated);
        };
        &generated.bytes
    }

    /// Every counter that changed, one a line: `name difference` or `name packets/bytes`.
    #[track_caller]
    pub(super) fn counts(self, wanted: &str) -> Self {
        let after = counters(&self.lab.engine, self.lab.now);
        let found = difference(&self.lab.before, &after);
        let mut wanted: Vec<String> = wanted
            .lines()
            .map(|l| l.trim().to_owned())
            .filter(|l| !l.is_empty())
            .collect();
        wanted.sort();
        assert_eq!(
            found,
            wanted,
            "all counters that changed\n  found:\n{}\n  wanted:\n{}",
            found.join("\n"),
            wanted.join("\n")
        );
        self.lab.before = after;
        self
    }
}

impl Drop for Seen<'_> {
    fn drop(&mut self) {
        self.lab.before = counters(&self.lab.engine, self.lab.now);
    }
}
