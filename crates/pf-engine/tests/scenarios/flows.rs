//! The flow cache: whoever has one has the same states and counters as who has none.
//!
//! The cache here is a model of the kernel's: it passes what it knows, and tells it when asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pf_engine::addr::Protocol;
use pf_engine::counters::Count;
use pf_engine::decision::{DropReason, EtherAddresses, Hook, Packet, StateId, Verdict};
use pf_engine::engine::{FLOW_BEGINS_AT, KillStates};
use pf_engine::flow::{Flow, FlowBasis, FlowCache, FlowId, FlowKey, FlowProgress, FlowWindow};
use pf_engine::rule::{Direction, Log, RouteKind, Rule, SourceTrack, StateMode, tcp_flags};
use pf_engine::ruleset::{Ruleset, TableDefinition};
use pf_engine::time::Instant;
use pf_engine::view::HostPort;
use pf_engine::wire::{Icmp, IcmpBody, Meta, Rewrite, Tcp, Transport};

use super::harness::*;
use super::talks::{Dice, Talk, answer};

const MAX_ACK_WINDOW: u32 = 0xffff + 1500;
/// States that the model has room for.
const STATES_MAX: u32 = 400;
/// Courses of traffic for each ruleset.
const SEEDS: u64 = 5;

#[derive(Debug)]
struct Entry {
    flow: Flow,
    progress: FlowProgress,
    is_live: bool,
}

#[derive(Debug, Default)]
struct Inner {
    entries: Vec<Entry>,
    by_key: HashMap<FlowKey, (usize, usize)>,
    /// Flows in which an end has gone from one state to another.
    changed: Vec<FlowId>,
    passed: u64,
    translated: u64,
    dropped: u64,
    /// How often it was asked.
    calls: u64,
}

/// What the cache did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    Passed,
    Dropped,
    /// It is for the engine.
    Nothing,
}

/// A cache that both the engine and the wire have.
#[derive(Clone, Debug, Default)]
struct Model(Arc<Mutex<Inner>>);

impl FlowCache for Model {
    fn put_all(&mut self, flows: &[Flow]) -> Vec<Option<FlowId>> {
        let mut inner = self.0.lock().unwrap();
        inner.calls += 1;
        flows.iter().map(|flow| inner.put(flow)).collect()
    }

    fn read_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress> {
        let mut inner = self.0.lock().unwrap();
        inner.calls += 1;
        let told = |flow: &FlowId| inner.entries[flow.0 as usize].progress;
        flows.iter().map(told).collect()
    }

    fn changed(&mut self) -> Vec<FlowId> {
        std::mem::take(&mut self.0.lock().unwrap().changed)
    }

    fn take_all(&mut self, flows: &[FlowId]) -> Vec<FlowProgress> {
        for flow in flows {
            self.0.lock().unwrap().entries[flow.0 as usize].is_live = false;
        }
        self.read_all(flows)
    }

    fn suspend(&mut self) {
        for entry in &mut self.0.lock().unwrap().entries {
            entry.is_live = false;
        }
    }

    fn states_max(&self) -> u32 {
        STATES_MAX
    }

    fn memory(&self) -> u64 {
        0
    }
}

impl Inner {
    fn put(&mut self, flow: &Flow) -> Option<FlowId> {
        let of_states = |entry: &&Entry| entry.is_live && entry.flow.basis == FlowBasis::State;
        if self.entries.iter().filter(of_states).count() >= STATES_MAX as usize {
            return None;
        }
        let id = self.entries.len();
        for (way, key) in flow.keys.iter().enumerate() {
            if let Some(key) = key {
                self.by_key.insert(*key, (id, way));
            }
        }
        self.entries.push(Entry {
            flow: *flow,
            progress: FlowProgress {
                windows: flow.windows,
                ..FlowProgress::default()
            },
            is_live: true,
        });
        Some(FlowId(u32::try_from(id).unwrap()))
    }
}

impl Model {
    /// What becomes of the packet without the engine; translates it.
    fn meet(&self, now: Instant, hook: Hook, packet: &mut Packet) -> Done {
        let Some((key, mut meta)) = key_of(hook, packet) else {
            return Done::Nothing;
        };
        let mut inner = self.0.lock().unwrap();
        let inner = &mut *inner;
        let Some((id, way)) = inner.by_key.get(&key).copied() else {
            return Done::Nothing;
        };
        let entry = &mut inner.entries[id];
        let last = entry.progress.refreshed.unwrap_or(entry.flow.refreshed);
        let is_over = last.saturating_add(entry.flow.lifetime) <= now;
        if !entry.is_live || is_over || entry.flow.keys[way] != Some(key) {
            return Done::Nothing;
        }
        if let Some(tcp) = meta.tcp() {
            let segment = Segment {
                tcp,
                len: u32::try_from(meta.payload_len()).unwrap(),
                scale: tcp.window_scale(&packet.bytes),
            };
            match track(&mut entry.progress.windows, way, &segment) {
                Tracked::Not => return Done::Nothing,
                Tracked::Moved => inner.changed.push(FlowId(u32::try_from(id).unwrap())),
                Tracked::Same => {}
            }
        }
        let bytes = u64::try_from(meta.total_len).unwrap();
        entry.progress.counts[way].add(Count::one(bytes));
        entry.progress.refreshed = Some(now);
        if entry.flow.basis == FlowBasis::Block {
            inner.dropped += 1;
            return Done::Dropped;
        }
        if let Some((source, destination)) = entry.flow.becomes[way] {
            let bytes = &mut packet.bytes;
            meta.set_source(bytes, source.address).unwrap();
            meta.set_destination(bytes, destination.address).unwrap();
            let from = (source.port != key.source.port).then_some(source.port);
            let to = (destination.port != key.destination.port).then_some(destination.port);
            meta.set_ports_or_id(bytes, from, to).unwrap();
            inner.translated += 1;
        }
        inner.passed += 1;
        Done::Passed
    }
}

/// The key of a packet that a cache may know.
fn key_of(hook: Hook, packet: &Packet) -> Option<(FlowKey, Meta)> {
    let meta = Meta::parse(&packet.bytes).ok()?;
    let ports = match meta.transport {
        Transport::Tcp(tcp) if !has_class(tcp.flags) => return None,
        Transport::Tcp(_) | Transport::Udp(_) => meta.ports()?,
        Transport::Icmp(icmp) => echo_ports(icmp, 8, 0)?,
        Transport::Icmp6(icmp) => echo_ports(icmp, 128, 129)?,
        Transport::Sctp(_) | Transport::Other | Transport::Fragment => return None,
    };
    let host = |address, port| HostPort { address, port };
    let key = FlowKey {
        hook,
        ether: packet.ether?,
        protocol: meta.protocol,
        opens: meta
            .tcp()
            .is_some_and(|tcp| tcp.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN),
        source: host(meta.source, ports.0),
        destination: host(meta.destination, ports.1),
    };
    (!meta.has_ip_options && meta.fragment.is_none()).then_some((key, meta))
}

/// A segment with ACK and at most one other flag that matters, or one that opens a connection.
fn has_class(flags: u8) -> bool {
    let told = flags & !(tcp_flags::PSH | 0x40 | 0x80);
    let beside = told & !tcp_flags::ACK;
    let is_one = matches!(beside, 0 | tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST);
    told == tcp_flags::SYN || (told & tcp_flags::ACK != 0 && is_one)
}

fn echo_ports(icmp: Icmp, request: u8, reply: u8) -> Option<(u16, u16)> {
    match icmp.body {
        IcmpBody::Query { id } if icmp.kind == request => Some((id, request.into())),
        IcmpBody::Query { id } if icmp.kind == reply => Some((request.into(), id)),
        IcmpBody::Query { .. } | IcmpBody::Error | IcmpBody::Other => None,
    }
}

fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// What of a segment matters.
struct Segment<'a> {
    tcp: &'a Tcp,
    len: u32,
    scale: Option<u8>,
}

impl Segment<'_> {
    fn has(&self, flag: u8) -> bool {
        self.tcp.flags & flag != 0
    }
}

/// What became of a segment.
#[derive(PartialEq)]
enum Tracked {
    /// It is not one that the cache decides about.
    Not,
    /// It fits.
    Same,
    /// It fits, and an end is in another state now.
    Moved,
}

const SYN_SENT: u8 = 2;
const ESTABLISHED: u8 = 4;
const CLOSING: u8 = 7;
const FIN_WAIT_2: u8 = 9;
const TIME_WAIT: u8 = 10;

/// As the kernel's program has it.
fn track(windows: &mut Option<[FlowWindow; 2]>, way: usize, segment: &Segment<'_>) -> Tracked {
    let control = tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST;
    let Some(windows) = windows else {
        let is_plain = !segment.has(control) || segment.tcp.flags & tcp_flags::ACK == 0;
        return if is_plain {
            Tracked::Same
        } else {
            Tracked::Not
        };
    };
    let before = windows.map(|window| window.state);
    let (mut source, mut destination) = (windows[way], windows[1 - way]);
    let fits = segment.has(tcp_flags::ACK)
        && if segment.has(tcp_flags::SYN) {
            way == 1 && answers(&mut source, &mut destination, segment)
        } else {
            slides(&mut source, &mut destination, segment)
        };
    if !fits {
        return Tracked::Not;
    }
    (windows[way], windows[1 - way]) = (source, destination);
    if windows.map(|window| window.state) == before {
        Tracked::Same
    } else {
        Tracked::Moved
    }
}

/// The answer to a SYN, from somebody who was not heard before.
fn answers(source: &mut FlowWindow, destination: &mut FlowWindow, segment: &Segment<'_>) -> bool {
    let tcp = segment.tcp;
    let end = tcp.seq.wrapping_add(segment.len).wrapping_add(1);
    let acknowledges = tcp.ack == destination.seq_lo.wrapping_add(1);
    let is_first = source.seq_lo == 0 && source.state == 0 && destination.state == SYN_SENT;
    if !is_first || !acknowledges || segment.scale.is_some_and(|scale| scale > 14) {
        return false;
    }
    let (mut window, mut theirs) = (u32::from(tcp.window), 0);
    let offered = destination.scale;
    match (offered, segment.scale) {
        (Some(offered), Some(scale)) => {
            source.scale = Some(scale);
            theirs = offered;
            window = window.div_ceil(1 << scale);
        }
        (Some(offered), None) => {
            destination.max_win = (destination.max_win << offered).min(0xffff);
            destination.scale = None;
        }
        (None, _) => {}
    }
    let reach = end.wrapping_add((destination.max_win << theirs).max(1));
    source.seq_lo = end;
    if source.seq_hi == 1 || !before(reach, source.seq_hi) {
        source.seq_hi = reach;
    }
    source.max_win = source.max_win.max(window);
    let announced = window
        << source
            .scale
            .filter(|_| destination.scale.is_some())
            .unwrap_or(0);
    if !before(tcp.ack.wrapping_add(announced), destination.seq_hi) {
        destination.seq_hi = tcp.ack.wrapping_add(announced.max(1));
    }
    source.state = SYN_SENT;
    destination.state = ESTABLISHED;
    true
}

/// A segment of a connection whose ends have both been heard.
fn slides(source: &mut FlowWindow, destination: &mut FlowWindow, segment: &Segment<'_>) -> bool {
    let tcp = segment.tcp;
    let (fin, rst) = (segment.has(tcp_flags::FIN), segment.has(tcp_flags::RST));
    let scales = source.scale.zip(destination.scale);
    let (ours, theirs) = scales.unwrap_or((0, 0));
    let mut seq = tcp.seq;
    let mut data_end = seq.wrapping_add(segment.len);
    let mut end = data_end.wrapping_add(fin.into());
    if seq == end {
        (seq, data_end, end) = (source.seq_lo, source.seq_lo, source.seq_lo);
    }
    let skew = destination.seq_lo.wrapping_sub(tcp.ack).cast_signed();
    let exact =
        tcp.seq.wrapping_sub(source.seq_lo).wrapping_add(1) <= 2 || tcp.ack == destination.seq_lo;
    if source.seq_lo == 0
        || destination.state < SYN_SENT
        || (rst && (tcp.ack == 0 || !exact))
        || before(source.seq_hi, data_end)
        || before(
            seq,
            source.seq_lo.wrapping_sub(destination.max_win << theirs),
        )
        || skew < -MAX_ACK_WINDOW.cast_signed()
        || skew > (MAX_ACK_WINDOW << ours).cast_signed()
    {
        return false;
    }
    source.max_win = source.max_win.max(tcp.window.into());
    if before(source.seq_lo, end) {
        source.seq_lo = end;
    }
    let window = u32::from(tcp.window) << ours;
    if !before(tcp.ack.wrapping_add(window), destination.seq_hi) {
        destination.seq_hi = tcp.ack.wrapping_add(window.max(1));
    }
    if fin {
        source.state = source.state.max(CLOSING);
    }
    destination.state = match destination.state {
        SYN_SENT => ESTABLISHED,
        CLOSING => FIN_WAIT_2,
        other => other,
    };
    if rst {
        (source.state, destination.state) = (TIME_WAIT, TIME_WAIT);
    }
    true
}

/// Two boxes in the same traffic: one has a cache.
pub(super) struct Twins {
    plain: Lab,
    pub(super) cached: Lab,
    model: Model,
}

impl Twins {
    pub(super) fn new(ruleset: &Ruleset) -> Self {
        let model = Model::default();
        let mut cached = Lab::router(ruleset.clone());
        cached.engine.set_flow_cache(Box::new(model.clone()));
        Self {
            plain: Lab::router(ruleset.clone()),
            cached,
            model,
        }
    }

    /// The packet meets both; returns it if it passes.
    pub(super) fn packet(
        &mut self,
        direction: Direction,
        name: &str,
        bytes: &[u8],
        frame: u8,
    ) -> Option<Vec<u8>> {
        let onward = EtherAddresses {
            source: mac(frame),
            destination: mac(9),
        };
        let is_back = matches!((direction, name), (In, "em1") | (Out, "em0"));
        let packet = Packet {
            bytes: bytes.to_vec(),
            ether: Some(if is_back { onward.reversed() } else { onward }),
            ..Packet::default()
        };
        let hook = Hook {
            interface: self.plain.index(name),
            direction,
        };
        let mut first = packet.clone();
        let now = self.plain.now;
        let lab = &mut self.plain;
        let wanted = lab
            .engine
            .handle_packet(now, hook, &mut first, &mut lab.env);
        let mut second = packet.clone();
        let done = self.model.meet(now, hook, &mut second);
        if done != Done::Nothing {
            let as_it_came = match done {
                Done::Passed => Verdict::Pass(pf_engine::decision::Exit::Continue),
                Done::Dropped | Done::Nothing => Verdict::Drop(DropReason::Match),
            };
            assert_eq!(wanted.verdict, as_it_came, "{packet:?}");
            assert_eq!(first, second);
            assert_eq!((wanted.generated, wanted.logged), (vec![], vec![]));
            assert_eq!(wanted.handling, pf_engine::decision::Handling::default());
            return (done == Done::Passed).then_some(second.bytes);
        }
        let lab = &mut self.cached;
        let found = lab
            .engine
            .handle_packet(now, hook, &mut second, &mut lab.env);
        assert_eq!(found, wanted);
        assert_eq!(second, first);
        matches!(found.verdict, Verdict::Pass(_)).then_some(second.bytes)
    }

    pub(super) fn both(&mut self, change: impl Fn(&mut Lab)) {
        change(&mut self.plain);
        change(&mut self.cached);
    }

    /// Both have the same states and counters.
    pub(super) fn compare(&mut self) {
        self.cached.engine.read_flows();
        let all = |lab: &Lab| {
            let states = lab.engine.states_from(StateId(0), lab.now);
            let states: Vec<String> = states.map(|state| format!("{state:?}")).collect();
            (counters(&lab.engine, lab.now), states)
        };
        let (plain, cached) = (all(&self.plain), all(&self.cached));
        assert_eq!(plain.1, cached.1);
        assert_eq!(plain.0, cached.0);
    }

    pub(super) fn passed(&self) -> u64 {
        self.model.0.lock().unwrap().passed
    }

    fn translated(&self) -> u64 {
        self.model.0.lock().unwrap().translated
    }

    pub(super) fn dropped(&self) -> u64 {
        self.model.0.lock().unwrap().dropped
    }
}

/// What happens beside packets.
fn event(twins: &mut Twins, ruleset: &Ruleset, dice: &mut Dice) {
    match dice.below(9) {
        0 => twins.both(|lab| lab.wait(1)),
        1 => twins.both(|lab| lab.wait(45)),
        2 => twins.both(|lab| lab.skip_time(70)),
        3 => twins.both(|lab| {
            lab.engine.settle_flows();
            lab.load(ruleset.clone());
        }),
        4 => twins.both(|lab| {
            let host = prefix("10.0.0.5");
            kill(lab, KillStates::Hosts(host, None));
        }),
        5 => twins.both(|lab| lab.set_interfaces(|_| {})),
        6 => twins.both(|lab| lab.engine.clear_rule_counters()),
        7 => twins.both(|lab| {
            lab.engine.settle_flows();
        }),
        _ => twins.compare(),
    }
}

/// Random traffic over both hooks of both interfaces.
fn run(ruleset: &Ruleset, seed: u64, steps: u32) -> Twins {
    let mut dice = Dice(seed);
    let mut twins = Twins::new(ruleset);
    let mut talks: Vec<Talk> = (0..6).map(|_| Talk::new(&mut dice)).collect();
    let mut asked: Vec<Option<Vec<u8>>> = vec![None; talks.len()];
    for step in 0..steps {
        let at = usize::try_from(dice.below(6)).unwrap();
        if dice.one_in(60) {
            talks[at] = Talk::new(&mut dice);
            asked[at] = None;
        }
        let (mut bytes, forward) = talks[at].next(&mut dice);
        if let Some(question) = asked[at].as_ref().filter(|_| !forward) {
            answer(&mut bytes, question);
        }
        let (from, to) = if forward {
            ("em0", "em1")
        } else {
            ("em1", "em0")
        };
        let frame = if dice.one_in(30) { 2 } else { 1 };
        let entered = twins.packet(In, from, &bytes, frame);
        let left = entered.and_then(|bytes| twins.packet(Out, to, &bytes, frame));
        asked[at] = left.filter(|_| forward).or(asked[at].take());
        if !dice.one_in(4) {
            twins.cached.engine.fill_flow_cache();
        }
        if step % 7 == 0 {
            twins.cached.engine.follow_flows();
        }
        if dice.one_in(50) {
            let pause = Duration::from_millis(dice.below(3000));
            twins.both(|lab| lab.now = lab.now.saturating_add(pause));
        }
        if dice.one_in(40) {
            event(&mut twins, ruleset, &mut dice);
        }
    }
    twins.compare();
    twins
}

fn tracked() -> Rule {
    pass().keep().change(|rule| {
        rule.state_options.source.track = Some(SourceTrack::Rule);
    })
}

/// TCP has states, the rest has none, and of one host some is blocked.
fn by_protocol() -> Ruleset {
    let none = |rule: &mut Rule| rule.state = StateMode::None;
    let mut rules = filter(&[
        pass().change(none).label("rest"),
        Rule::new(pf_engine::rule::Action::Match).from("<hosts>"),
        pass().keep().flags_s_sa().proto(Protocol::TCP),
        pass().change(none).from("!<hosts>").label("others"),
        pass().change(none).proto(Protocol::ICMP).label("pings"),
    ]);
    let hosts = TableDefinition {
        counters: true,
        ..table(true, &["10.0.0.0/24", "!10.0.0.6"])
    };
    rules.tables.insert("hosts".to_owned(), hosts);
    rules
}

/// Nothing but connections over IPv4 passes, and these from one side alone.
fn blocking() -> Ruleset {
    let none = |rule: &mut Rule| rule.state = StateMode::None;
    filter(&[
        block().label("all"),
        pass()
            .keep()
            .flags_s_sa()
            .from("10.0.0.5")
            .inbound()
            .on("em0")
            .label("one"),
        pass().change(none).from("10.0.0.9").label("nobody"),
        block().quick().outbound().label("out"),
    ])
}

/// Stretches of rules that are looked up.
fn long() -> Ruleset {
    let none = |rule: &mut Rule| rule.state = StateMode::None;
    let mut rules = vec![pass().change(none)];
    rules.extend((1..90).map(|last| block().quick().from(&format!("10.0.1.{last}"))));
    rules.push(block().from("10.0.0.5").inbound().on("em0").label("one"));
    let by_port = |port| block().quick().proto(Protocol::UDP).port(port);
    rules.extend((81..130).map(by_port));
    filter(&rules)
}

/// All passes, and what comes in by em0 has a route.
fn routed(kind: RouteKind, hop: (&str, &str)) -> Ruleset {
    let inbound = pass().keep().inbound().on("em0").inet();
    filter(&[pass().keep(), inbound.route(kind, &[hop])])
}

/// With whether the cache is to pass packets, and to drop some.
fn rulesets() -> Vec<(&'static str, Ruleset, [bool; 2])> {
    let stateful = vec![pass().keep().label("all")];
    let several = vec![
        block(),
        pass().keep().from("<inside>").label("inside"),
        pass()
            .keep()
            .proto(Protocol::UDP)
            .from("!<inside>")
            .label("rest"),
        Rule::new(pf_engine::rule::Action::Match).to("<inside>"),
        tracked().outbound().on("em1").label("tracked"),
    ];
    let bound = vec![pass().keep().inbound().on("em0"), pass().outbound()];
    let mut with_tables = filter(&several);
    let inside = table(true, &["10.0.0.0/24", "!10.0.0.6", "2001:db8:a::/64"]);
    let inside = TableDefinition {
        counters: true,
        ..inside
    };
    with_tables.tables.insert("inside".to_owned(), inside);
    let mut translated = filter(&stateful);
    translated.nat.push(nat("em1", "192.0.2.1"));
    translated.rdr.push(
        rdr("em0", "192.0.2.90", Some(8080))
            .inet()
            .proto(Protocol::UDP)
            .port(80),
    );
    let logged = pass().keep().change(|rule| {
        rule.log = Some(Log {
            all: true,
            ..Log::default()
        });
    });
    let none = pass().change(|rule| rule.state = StateMode::None);
    vec![
        ("stateful", filter(&stateful), [true, false]),
        (
            "tables, match rules and source tracking",
            with_tables,
            [true, true],
        ),
        ("one stateful hook", filter(&bound), [true, false]),
        ("translation", translated, [true, false]),
        ("modulated", filter(&[pass().modulate()]), [true, false]),
        ("everything logged", filter(&[logged]), [false, false]),
        ("no state", filter(&[none]), [true, false]),
        ("no state and state", by_protocol(), [true, false]),
        ("block", blocking(), [true, true]),
        ("long lists", long(), [true, true]),
        (
            "answers routed",
            routed(RouteKind::ReplyTo, ("em0", "10.0.0.99")),
            [true, false],
        ),
        (
            "questions routed",
            routed(RouteKind::RouteTo, ("em1", "192.0.2.1")),
            [true, false],
        ),
    ]
}

#[test]
fn who_has_a_flow_cache_decides_and_counts_as_who_has_none() {
    for (name, ruleset, [passes, drops]) in rulesets() {
        let (mut passed, mut dropped, mut translated) = (0, 0, 0);
        for seed in 1..=SEEDS {
            let twins = run(&ruleset, seed, 1500);
            passed += twins.passed();
            dropped += twins.dropped();
            translated += twins.translated();
        }
        assert_eq!(passed > 0, passes, "{name}: {passed} packets by the cache");
        assert_eq!(dropped > 0, drops, "{name}: {dropped} were dropped");
        let much = translated > 100 * SEEDS;
        assert_eq!(much, name == "translation", "{name}: {translated}");
    }
}

#[test]
fn a_state_that_the_cache_keeps_busy_does_not_expire_and_an_idle_one_does() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    let (client, server) = (("10.0.0.5", 5000), ("192.0.2.80", 53));
    for _ in 0..FLOW_BEGINS_AT / 2 {
        assert!(
            twins
                .packet(In, "em0", &udp(client, server, 10), 1)
                .is_some()
        );
        assert!(
            twins
                .packet(Out, "em0", &udp(server, client, 10), 1)
                .is_some()
        );
    }
    assert_eq!(twins.cached.engine.fill_flow_cache(), 1);
    for _ in 0..10 {
        twins.both(|lab| lab.wait(50));
        assert!(
            twins
                .packet(In, "em0", &udp(client, server, 10), 1)
                .is_some()
        );
    }
    twins.compare();
    assert_eq!(twins.passed(), 10);
    assert_eq!(twins.cached.states().len(), 1);
    twins.both(|lab| lab.wait(80));
    assert_eq!(twins.cached.states().len(), 0);
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
    twins.compare();
}

#[test]
fn a_flow_leaves_the_cache_with_its_state() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    let (client, server) = (("10.0.0.5", 5000), ("192.0.2.80", 53));
    for _ in 0..FLOW_BEGINS_AT {
        twins.packet(In, "em0", &udp(client, server, 10), 1);
    }
    twins.cached.engine.fill_flow_cache();
    assert!(
        twins
            .packet(In, "em0", &udp(client, server, 10), 1)
            .is_some()
    );
    assert_eq!(twins.passed(), 1);
    twins.both(|lab| {
        assert_eq!(kill(lab, KillStates::All), 1);
    });
    twins.both(|lab| lab.load(filter(&[block()])));
    assert!(
        twins
            .packet(In, "em0", &udp(client, server, 10), 1)
            .is_none()
    );
    twins.compare();
}

const CLIENT: (&str, u16) = ("10.0.0.5", 5000);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

impl Twins {
    /// A segment of a connection through both hooks, on its way from the client or to it.
    fn segment(&mut self, forward: bool, flags: u8, (seq, ack): (u32, u32), data: usize) {
        let (ends, hooks) = if forward {
            ((CLIENT, SERVER), ["em0", "em1"])
        } else {
            ((SERVER, CLIENT), ["em1", "em0"])
        };
        let scale: &[u8] = if flags & tcp_flags::SYN == 0 {
            &[]
        } else {
            &[3, 3, 7, 1]
        };
        let bytes = tcp_with(ends.0, ends.1, flags, seq, ack, data, scale);
        for (direction, name) in [In, Out].into_iter().zip(hooks) {
            let passed = self.packet(direction, name, &bytes, 1);
            assert_eq!(passed.as_ref(), Some(&bytes), "{flags:#x} {direction:?}");
        }
        self.compare();
    }

    fn decided(&self) -> u64 {
        self.cached.engine.flow_statistics().decided
    }
}

const SYN: u8 = tcp_flags::SYN;
const ACK: u8 = tcp_flags::ACK;
const FIN: u8 = tcp_flags::FIN;
const RST: u8 = tcp_flags::RST;

#[test]
fn of_a_connection_that_takes_its_course_the_first_packet_alone_comes_up() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    twins.segment(true, SYN, (100, 0), 0);
    assert_eq!(twins.decided(), 2, "once at each hook");
    twins.segment(false, SYN | ACK, (9000, 101), 0);
    twins.segment(true, ACK, (101, 9001), 0);
    twins.segment(true, ACK, (101, 9001), 10);
    twins.segment(false, ACK, (9001, 111), 1400);
    twins.segment(false, ACK | FIN, (10_401, 111), 0);
    twins.segment(true, ACK, (111, 10_402), 0);
    twins.segment(true, ACK | FIN, (111, 10_402), 0);
    twins.segment(false, ACK, (10_402, 112), 0);
    assert_eq!(twins.decided(), 2);
    assert_eq!(twins.cached.engine.flow_statistics().held, 2);
    twins.cached.engine.follow_flows();
    assert_eq!(twins.cached.engine.flow_statistics().held, 0, "it is over");
    twins.segment(true, ACK, (112, 10_402), 0);
    assert_eq!(twins.decided(), 4);
    twins.compare();
}

#[test]
fn a_connection_whose_answers_are_routed_is_not_in_the_cache_from_its_syn_on() {
    let mut twins = Twins::new(&routed(RouteKind::ReplyTo, ("em0", "10.0.0.99")));
    twins.segment(true, SYN, (100, 0), 0);
    twins.segment(false, SYN | ACK, (9000, 101), 0);
    assert_eq!(twins.decided(), 3, "the answer is known where it comes in");
    twins.segment(true, ACK, (101, 9001), 0);
    twins.segment(false, ACK, (9001, 101), 10);
    twins.compare();
}

#[test]
fn a_reset_ends_a_connection_in_the_cache_if_it_is_exact() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    twins.segment(true, SYN, (100, 0), 0);
    twins.segment(false, SYN | ACK, (9000, 101), 0);
    twins.segment(true, ACK, (101, 9001), 0);
    let astray = tcp(CLIENT, SERVER, RST | ACK, 150, 8000, 0);
    assert_eq!(twins.packet(In, "em0", &astray, 1), None);
    assert_eq!(twins.decided(), 3, "what does not fit comes up");
    twins.segment(true, RST | ACK, (101, 9001), 0);
    twins.cached.engine.follow_flows();
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
    twins.compare();
}

#[test]
fn many_flows_are_put_read_and_taken_in_a_handful_of_questions() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    let many = u64::from(STATES_MAX) + 50;
    for at in 0..many {
        let client = format!("10.0.{}.{}", at / 90, at % 90 + 1);
        for _ in 0..FLOW_BEGINS_AT {
            let packet = udp((client.as_str(), 5000), ("192.0.2.80", 53), 10);
            assert!(twins.packet(In, "em0", &packet, 1).is_some());
        }
    }
    let asked = |twins: &Twins| twins.model.0.lock().unwrap().calls;
    let before = asked(&twins);
    let put = twins.cached.engine.fill_flow_cache();
    assert_eq!((put, asked(&twins) - before), (STATES_MAX as usize, 1));
    let flows = twins.cached.engine.flow_statistics();
    assert_eq!((flows.held, flows.refused), (STATES_MAX as usize, 50));
    twins.packet(
        In,
        "em0",
        &udp(("10.0.0.7", 5000), ("192.0.2.80", 53), 10),
        1,
    );
    assert_eq!(twins.passed(), 1);
    let before = asked(&twins);
    assert_eq!(twins.cached.engine.read_flows_piece(StateId(0)), None);
    assert_eq!(asked(&twins) - before, 1);
    twins.compare();
    let before = asked(&twins);
    twins.cached.engine.settle_flows();
    assert_eq!(asked(&twins) - before, 1);
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
    twins.compare();
}

#[test]
fn one_address_has_a_quarter_of_the_room() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    for port in 0..150 {
        for _ in 0..FLOW_BEGINS_AT {
            let packet = udp(("10.0.0.5", 5000 + port), ("192.0.2.80", 53), 10);
            assert!(twins.packet(In, "em0", &packet, 1).is_some());
        }
    }
    assert_eq!(
        twins.cached.engine.fill_flow_cache(),
        STATES_MAX as usize / 4
    );
    assert_eq!(twins.cached.engine.flow_statistics().refused, 50);
    twins.compare();
}
