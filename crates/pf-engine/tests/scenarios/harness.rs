//! A small language for scenarios.
//!
//! A [`Lab`] is an engine with interfaces. [`Lab::packet`] hands it a packet; the [`Seen`] that
//! comes back is asked for the verdict, and for *all* counters that changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use pf_engine::addr::{Family, Prefix, Protocol};
use pf_engine::anchor::AnchorPath;
use pf_engine::counters::Traffic;
use pf_engine::decision::{
    Decision, DropReason, EtherAddresses, Exit, Hook, Packet, StateId, Verdict,
};
use pf_engine::engine::{Engine, EngineConfig, KillStates, RuleList};
use pf_engine::env::{FixedEnv, IfIndex, Interface, InterfaceAddress};
use pf_engine::ether::Frame;
use pf_engine::limiter::LimiterCounters;
use pf_engine::limits::LimitCounter;
use pf_engine::rule::{
    Action, Address, Direction, DynamicAddress, DynamicPart, Endpoint, InterfaceMatch, Pool,
    PoolKind, PoolPorts, PoolTarget, PortMatch, Route, RouteKind, Rule, StateMode, tcp_flags,
};
use pf_engine::ruleset::{Limit, Ruleset, TableDefinition, TableEntry};
use pf_engine::time::Instant;
use pf_engine::view::StateView;
use pf_engine::wire::build::{self, Ip, Segment};
use pf_engine::wire::{Meta, checksum};

pub(super) use pf_engine::rule::Direction::{In, Out};

pub(super) const S: u8 = tcp_flags::SYN;
pub(super) const SA: u8 = tcp_flags::SYN | tcp_flags::ACK;
pub(super) const A: u8 = tcp_flags::ACK;
pub(super) const PA: u8 = tcp_flags::PSH | tcp_flags::ACK;
pub(super) const FA: u8 = tcp_flags::FIN | tcp_flags::ACK;
pub(super) const R: u8 = tcp_flags::RST;
pub(super) const RA: u8 = tcp_flags::RST | tcp_flags::ACK;

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

/// Rules in the order of pf.conf's words.
pub(super) trait RuleWords: Sized {
    fn change(self, change: impl FnOnce(&mut Rule)) -> Self;

    fn inbound(self) -> Self {
        self.change(|r| r.direction = Some(In))
    }
    fn outbound(self) -> Self {
        self.change(|r| r.direction = Some(Out))
    }
    fn quick(self) -> Self {
        self.change(|r| r.quick = true)
    }
    fn on(self, name: &str) -> Self {
        self.change(|r| {
            r.interface = Some(InterfaceMatch {
                negated: false,
                name: name.to_owned(),
            });
        })
    }
    fn inet(self) -> Self {
        self.change(|r| r.family = Some(Family::Inet))
    }
    fn inet6(self) -> Self {
        self.change(|r| r.family = Some(Family::Inet6))
    }
    fn proto(self, protocol: Protocol) -> Self {
        self.change(|r| r.protocol = Some(protocol))
    }
    fn from(self, text: &str) -> Self {
        self.change(|r| {
            let port = r.source.port;
            r.source = Endpoint {
                port,
                ..endpoint(text)
            };
        })
    }
    fn to(self, text: &str) -> Self {
        self.change(|r| {
            let port = r.destination.port;
            r.destination = Endpoint {
                port,
                ..endpoint(text)
            };
        })
    }
    fn port(self, port: u16) -> Self {
        self.change(|r| r.destination.port = Some(PortMatch::Eq(port)))
    }
    fn flags_s_sa(self) -> Self {
        self.change(|r| r.flags = Some(pf_engine::rule::FlagsMatch::SYN_OF_SYN_ACK))
    }
    fn keep(self) -> Self {
        self.change(|r| r.state = StateMode::Keep)
    }
    fn modulate(self) -> Self {
        self.change(|r| r.state = StateMode::Modulate)
    }
    fn synproxy(self) -> Self {
        self.change(|r| r.state = StateMode::Synproxy)
    }
    fn label(self, label: &str) -> Self {
        self.change(|r| r.labels.push(label.to_owned()))
    }
    fn route(self, kind: RouteKind, targets: &[(&str, &str)]) -> Self {
        self.route_by(kind, PoolKind::Single, false, targets)
    }
    fn route_by(
        self,
        kind: RouteKind,
        pool_kind: PoolKind,
        sticky: bool,
        targets: &[(&str, &str)],
    ) -> Self {
        let target = |(name, address): &(&str, &str)| PoolTarget {
            interface: (!name.is_empty()).then(|| (*name).to_owned()),
            address: endpoint(address).address,
            weight: None,
        };
        let pool = Pool {
            targets: targets.iter().map(target).collect(),
            kind: pool_kind,
            sticky,
            ..Pool::default()
        };
        self.change(|r| r.route = Some(Route { kind, pool }))
    }
    fn nat_to(self, address: &str) -> Self {
        self.change(|r| r.nat = Some(pool(address)))
    }
    fn rdr_to(self, address: &str, port: Option<u16>) -> Self {
        self.change(|r| {
            r.rdr = Some(Pool {
                ports: port.map(PoolPorts::Single),
                ..pool(address)
            });
        })
    }
}

impl RuleWords for Rule {
    fn change(mut self, change: impl FnOnce(&mut Rule)) -> Self {
        change(&mut self);
        self
    }
}

/// `pfctl -k`, at all interfaces.
pub(super) fn kill(lab: &mut Lab, states: KillStates) -> usize {
    lab.engine.kill_states(&states.into())
}

pub(super) fn pool(address: &str) -> Pool {
    Pool {
        targets: vec![PoolTarget {
            interface: None,
            address: endpoint(address).address,
            weight: None,
        }],
        ..Pool::default()
    }
}

/// `any`, `<table>`, `(interface)`, an address or network, with `!` before it or not.
fn endpoint(text: &str) -> Endpoint {
    let (negated, text) = text
        .strip_prefix('!')
        .map_or((false, text), |rest| (true, rest));
    let inner = |open, close| {
        text.strip_prefix(open)
            .and_then(|t: &str| t.strip_suffix(close))
    };
    let address = if text == "any" {
        Address::Any
    } else if let Some(name) = inner('<', '>') {
        Address::Table(name.to_owned())
    } else if let Some(name) = inner('(', ')') {
        Address::Dynamic(DynamicAddress {
            interface: name.to_owned(),
            part: DynamicPart::Host,
            no_aliases: false,
            prefix_len: None,
        })
    } else {
        Address::Prefix(prefix(text))
    };
    Endpoint {
        negated,
        address,
        port: None,
    }
}

pub(super) fn pass() -> Rule {
    Rule::new(Action::Pass)
}

pub(super) fn block() -> Rule {
    Rule::new(Action::Block(pf_engine::rule::BlockReply::Drop))
}

pub(super) fn nat(on: &str, to: &str) -> Rule {
    Rule::new(Action::Nat).on(on).nat_to(to)
}

pub(super) fn rdr(on: &str, to: &str, port: Option<u16>) -> Rule {
    Rule::new(Action::Rdr).on(on).rdr_to(to, port)
}

pub(super) fn filter(rules: &[Rule]) -> Ruleset {
    Ruleset {
        filter: rules.to_vec(),
        ..Ruleset::default()
    }
}

pub(super) fn entries(texts: &[&str]) -> Vec<TableEntry> {
    let entry = |text: &&str| {
        let (negated, text) = text
            .strip_prefix('!')
            .map_or((false, *text), |rest| (true, rest));
        TableEntry {
            prefix: prefix(text),
            negated,
        }
    };
    texts.iter().map(entry).collect()
}

pub(super) fn table(persist: bool, texts: &[&str]) -> TableDefinition {
    TableDefinition {
        persist,
        has_contents: true,
        entries: entries(texts),
        ..TableDefinition::default()
    }
}

/// A TCP segment between `address:port` and `address:port`.
pub(super) fn tcp(
    from: (&str, u16),
    to: (&str, u16),
    flags: u8,
    seq: u32,
    ack: u32,
    data: usize,
) -> Vec<u8> {
    tcp_with(from, to, flags, seq, ack, data, &[])
}

pub(super) fn tcp_with(
    from: (&str, u16),
    to: (&str, u16),
    flags: u8,
    seq: u32,
    ack: u32,
    data: usize,
    options: &[u8],
) -> Vec<u8> {
    let mut segment = Segment::new(from.1, to.1, flags);
    segment.seq = seq;
    segment.ack = ack;
    segment.options = options;
    segment.window = 5000;
    build::tcp(&Ip::new(ip(from.0), ip(to.0)), &segment, &vec![0x61; data])
}

pub(super) fn udp(from: (&str, u16), to: (&str, u16), data: usize) -> Vec<u8> {
    build::udp(
        &Ip::new(ip(from.0), ip(to.0)),
        from.1,
        to.1,
        &vec![0x62; data],
    )
}

pub(super) fn echo(from: &str, to: &str, id: u16) -> Vec<u8> {
    build::echo_request(&Ip::new(ip(from), ip(to)), id, 1, &[0x63; 56])
}

pub(super) fn echo_reply(from: &str, to: &str, id: u16) -> Vec<u8> {
    build::echo_reply(&Ip::new(ip(from), ip(to)), id, 1, &[0x63; 56])
}

/// The same packet with "don't fragment".
pub(super) fn dont_fragment(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[6] |= 0x40;
    checksum::complete(&mut bytes).unwrap();
    bytes
}

pub(super) fn meta(bytes: &[u8]) -> Meta {
    let meta = Meta::parse(bytes).expect("a packet");
    assert!(checksum::ip_header_valid(bytes, &meta), "IP checksum");
    assert!(
        checksum::transport_valid(bytes, &meta),
        "transport checksum of {meta:?}"
    );
    meta
}

/// `source:port > destination:port`, for any packet with right checksums.
pub(super) fn tuple(bytes: &[u8]) -> String {
    let meta = meta(bytes);
    let (source, destination) = meta.ports().unwrap_or_default();
    format!(
        "{}:{source} > {}:{destination}",
        meta.source, meta.destination
    )
}

/// An engine with interfaces.
pub(super) struct Lab {
    pub(super) engine: Engine,
    pub(super) env: FixedEnv,
    interfaces: Vec<Interface>,
    pub(super) now: Instant,
    before: BTreeMap<String, [u64; 2]>,
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
            before: BTreeMap::new(),
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

fn difference(
    before: &BTreeMap<String, [u64; 2]>,
    after: &BTreeMap<String, [u64; 2]>,
) -> Vec<String> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let mut lines = Vec::new();
    for name in names {
        // A state that is gone shows in `removals`.
        if name.starts_with("state ") && !after.contains_key(name) {
            continue;
        }
        let [a, b] = before.get(name).copied().unwrap_or_default();
        let [c, d] = after.get(name).copied().unwrap_or_default();
        let (first, second) = (
            c.wrapping_sub(a).cast_signed(),
            d.wrapping_sub(b).cast_signed(),
        );
        match (first, second) {
            (0, 0) => {}
            (packets, 0) => lines.push(format!("{name} {packets}")),
            (packets, bytes) => lines.push(format!("{name} {packets}/{bytes}")),
        }
    }
    lines.sort();
    lines
}

/// All counters by name.
pub(super) fn counters(engine: &Engine, now: Instant) -> BTreeMap<String, [u64; 2]> {
    let mut all = BTreeMap::new();
    let status = engine.status();
    all.insert("searches".to_owned(), [status.searches, 0]);
    all.insert("inserts".to_owned(), [status.inserts, 0]);
    all.insert("removals".to_owned(), [status.removals, 0]);
    all.insert("fragments".to_owned(), [status.fragments as u64, 0]);
    for (reason, count) in DropReason::ALL.iter().zip(status.reasons) {
        all.insert(format!("reason {}", reason.name()), [count, 0]);
    }
    let cookies = status.syncookies;
    for (name, count) in [
        ("synfloods", cookies.floods),
        ("syncookies sent", cookies.sent),
        ("syncookies validated", cookies.validated),
        ("resets refused", status.resets_refused),
        ("errors refused", status.errors_refused),
        ("addresses refused", status.addresses_refused),
    ] {
        all.insert(name.to_owned(), [count, 0]);
    }
    for (limit, count) in LimitCounter::ALL.iter().zip(status.limits) {
        all.insert(format!("limit {}", limit.name()), [count, 0]);
    }
    all.insert("nodes inserts".to_owned(), [status.sources.inserts, 0]);
    all.insert("nodes removals".to_owned(), [status.sources.removals, 0]);
    for limiter in engine.state_limiters() {
        let name = format!("state-limiter {}", limiter.definition.id);
        limiter_counters(&mut all, &name, limiter.counters);
    }
    for limiter in engine.source_limiters() {
        let name = format!("source-limiter {}", limiter.definition.id);
        limiter_counters(&mut all, &name, limiter.counters);
        all.insert(format!("{name} addrlimit"), [limiter.address_limited, 0]);
    }
    let lists = [
        ("scrub", RuleList::Scrub),
        ("filter", RuleList::Filter),
        ("nat", RuleList::Nat),
        ("rdr", RuleList::Rdr),
        ("binat", RuleList::Binat),
    ];
    let main = AnchorPath::main();
    let rulesets = std::iter::once(&main).chain(engine.anchors());
    let lists = rulesets.flat_map(|path| lists.map(|(list, which)| (path, list, which)));
    for (path, list, which) in lists {
        for rule in engine.rules_at(path, which) {
            let name = format!("{path} {list} {}", rule.number);
            let name = name.trim_start();
            let counters = rule.counters;
            all.insert(format!("{name} evaluations"), [counters.evaluations, 0]);
            all.insert(format!("{name} states"), [u64::from(counters.states), 0]);
            all.insert(format!("{name} created"), [counters.states_created, 0]);
            traffic(&mut all, name, "in", "out", counters.traffic);
        }
    }
    for path in std::iter::once(&main).chain(engine.anchors()) {
        for rule in engine.ether_rules_at(path) {
            let name = format!("{path} ether {}", rule.number);
            let name = name.trim_start();
            let evaluations = rule.counters.evaluations;
            all.insert(format!("{name} evaluations"), [evaluations, 0]);
            traffic(&mut all, name, "in", "out", rule.counters.traffic);
        }
    }
    for state in engine.states(now) {
        traffic(
            &mut all,
            &format!("state {}", state.id.0),
            "forward",
            "reply",
            state.traffic,
        );
    }
    for table in engine.tables() {
        let name = format!("table {}", table.name);
        all.insert(format!("{name} match"), [table.matches, 0]);
        all.insert(format!("{name} nomatch"), [table.misses, 0]);
        traffic(&mut all, &name, "in-pass", "out-pass", table.passed);
        traffic(&mut all, &name, "in-block", "out-block", table.blocked);
        traffic(&mut all, &name, "in-xpass", "out-xpass", table.xpassed);
    }
    all
}

fn limiter_counters(all: &mut BTreeMap<String, [u64; 2]>, name: &str, counters: LimiterCounters) {
    all.insert(format!("{name} states"), [u64::from(counters.states), 0]);
    all.insert(format!("{name} admitted"), [counters.admitted, 0]);
    all.insert(format!("{name} hardlimit"), [counters.hard_limited, 0]);
    all.insert(format!("{name} ratelimit"), [counters.rate_limited, 0]);
}

fn traffic(
    all: &mut BTreeMap<String, [u64; 2]>,
    name: &str,
    first: &str,
    second: &str,
    traffic: Traffic,
) {
    all.insert(
        format!("{name} {first}"),
        [traffic.packets_in, traffic.bytes_in],
    );
    all.insert(
        format!("{name} {second}"),
        [traffic.packets_out, traffic.bytes_out],
    );
}

/// `set limit`.
pub(super) fn limit(mut ruleset: Ruleset, limit: Limit, value: u32) -> Ruleset {
    ruleset.options.limits.push((limit, value));
    ruleset
}

/// An SCTP packet with these chunks.
pub(super) fn sctp(from: (&str, u16), to: (&str, u16), tag: u32, chunks: &[u8]) -> Vec<u8> {
    let mut l4 = Vec::new();
    l4.extend(from.1.to_be_bytes());
    l4.extend(to.1.to_be_bytes());
    l4.extend(tag.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(chunks);
    build::packet(&Ip::new(ip(from.0), ip(to.0)), Protocol::SCTP, &l4)
}

/// A chunk of SCTP, padded.
pub(super) fn chunk(kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 4).unwrap();
    let mut bytes = vec![kind, flags];
    bytes.extend(len.to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// INIT (1) or INIT ACK (2) with an initiate tag and IPv4 or IPv6 addresses.
pub(super) fn init_chunk(kind: u8, tag: u32, addresses: &[&str]) -> Vec<u8> {
    let mut value = tag.to_be_bytes().to_vec();
    value.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    for address in addresses {
        match ip(address) {
            IpAddr::V4(a) => value.extend(chunk(0, 5, &a.octets())),
            IpAddr::V6(a) => value.extend(chunk(0, 6, &a.octets())),
        }
    }
    chunk(kind, 0, &value)
}
