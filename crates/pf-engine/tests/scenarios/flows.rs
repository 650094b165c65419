//! The flow cache: whoever has one has the same states and counters as who has none.
//!
//! The cache here is a model of the kernel's: it passes what it knows, and tells it when asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pf_engine::addr::Protocol;
use pf_engine::counters::Count;
use pf_engine::decision::{EtherAddresses, Hook, Packet, StateId, Verdict};
use pf_engine::engine::{FLOW_BEGINS_AT, KillStates};
use pf_engine::flow::{Flow, FlowCache, FlowId, FlowKey, FlowProgress, FlowWindow};
use pf_engine::rule::{Direction, Log, Rule, SourceTrack, StateMode, tcp_flags};
use pf_engine::ruleset::{Ruleset, TableDefinition};
use pf_engine::time::Instant;
use pf_engine::view::HostPort;
use pf_engine::wire::{Icmp, IcmpBody, Meta, Rewrite, Tcp, Transport};

use super::harness::*;
use super::talks::{Dice, Talk, answer};

const MAX_ACK_WINDOW: u32 = 0xffff + 1500;
/// Courses of traffic for each ruleset.
const SEEDS: u64 = 3;
const PLAIN_FLAGS: u8 = tcp_flags::ACK | tcp_flags::PSH | 0x40 | 0x80;

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
    passed: u64,
    translated: u64,
}

/// A cache that both the engine and the wire have.
#[derive(Clone, Debug, Default)]
struct Model(Arc<Mutex<Inner>>);

impl FlowCache for Model {
    fn put(&mut self, flow: &Flow) -> Option<FlowId> {
        let mut inner = self.0.lock().unwrap();
        let id = inner.entries.len();
        for (way, key) in flow.keys.iter().enumerate() {
            if let Some(key) = key {
                inner.by_key.insert(*key, (id, way));
            }
        }
        inner.entries.push(Entry {
            flow: *flow,
            progress: FlowProgress {
                windows: flow.windows,
                ..FlowProgress::default()
            },
            is_live: true,
        });
        Some(FlowId(u32::try_from(id).unwrap()))
    }

    fn read(&mut self, flow: FlowId) -> FlowProgress {
        self.0.lock().unwrap().entries[flow.0 as usize].progress
    }

    fn take(&mut self, flow: FlowId) -> FlowProgress {
        let mut inner = self.0.lock().unwrap();
        inner.entries[flow.0 as usize].is_live = false;
        inner.entries[flow.0 as usize].progress
    }

    fn suspend(&mut self) {
        for entry in &mut self.0.lock().unwrap().entries {
            entry.is_live = false;
        }
    }
}

impl Model {
    /// Whether the packet passes without the engine, and translates it.
    fn passes(&self, now: Instant, hook: Hook, packet: &mut Packet) -> bool {
        let Some((key, mut meta)) = key_of(hook, packet) else {
            return false;
        };
        let mut inner = self.0.lock().unwrap();
        let Some((id, way)) = inner.by_key.get(&key).copied() else {
            return false;
        };
        let entry = &mut inner.entries[id];
        let last = entry.progress.refreshed.unwrap_or(entry.flow.refreshed);
        let is_over = last.saturating_add(entry.flow.lifetime) <= now;
        if !entry.is_live || is_over || entry.flow.keys[way] != Some(key) {
            return false;
        }
        if let (Some(windows), Some(tcp)) = (&mut entry.progress.windows, meta.tcp())
            && !slides(
                windows,
                way,
                tcp,
                u32::try_from(meta.payload_len()).unwrap(),
            )
        {
            return false;
        }
        let bytes = u64::try_from(meta.total_len).unwrap();
        entry.progress.counts[way].add(Count::one(bytes));
        entry.progress.refreshed = Some(now);
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
        true
    }
}

/// The key of a packet that a cache may know.
fn key_of(hook: Hook, packet: &Packet) -> Option<(FlowKey, Meta)> {
    let meta = Meta::parse(&packet.bytes).ok()?;
    let ports = match meta.transport {
        Transport::Tcp(tcp) if tcp.flags & !PLAIN_FLAGS != 0 || tcp.flags & tcp_flags::ACK == 0 => {
            return None;
        }
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
        source: host(meta.source, ports.0),
        destination: host(meta.destination, ports.1),
    };
    (!meta.has_ip_options && meta.fragment.is_none()).then_some((key, meta))
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

/// As the kernel's program has it.
fn slides(windows: &mut [FlowWindow; 2], way: usize, tcp: &Tcp, len: u32) -> bool {
    let (source, destination) = (windows[way], windows[1 - way]);
    let (mut seq, mut end) = (tcp.seq, tcp.seq.wrapping_add(len));
    if len == 0 {
        (seq, end) = (source.seq_lo, source.seq_lo);
    }
    let reach = destination.max_win << destination.scale;
    let skew = destination.seq_lo.wrapping_sub(tcp.ack).cast_signed();
    let ahead = MAX_ACK_WINDOW.cast_signed();
    if source.seq_lo == 0
        || before(source.seq_hi, end)
        || before(seq, source.seq_lo.wrapping_sub(reach))
        || skew < -ahead
        || skew > (MAX_ACK_WINDOW << source.scale).cast_signed()
    {
        return false;
    }
    let window = u32::from(tcp.window) << source.scale;
    windows[way].max_win = source.max_win.max(tcp.window.into());
    if before(source.seq_lo, end) {
        windows[way].seq_lo = end;
    }
    if !before(tcp.ack.wrapping_add(window), destination.seq_hi) {
        windows[1 - way].seq_hi = tcp.ack.wrapping_add(window.max(1));
    }
    true
}

/// Two boxes in the same traffic: one has a cache.
struct Twins {
    plain: Lab,
    cached: Lab,
    model: Model,
}

impl Twins {
    fn new(ruleset: &Ruleset) -> Self {
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
    fn packet(
        &mut self,
        direction: Direction,
        name: &str,
        bytes: &[u8],
        frame: u8,
    ) -> Option<Vec<u8>> {
        let packet = Packet {
            bytes: bytes.to_vec(),
            ether: Some(EtherAddresses {
                source: mac(frame),
                destination: mac(9),
            }),
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
        if self.model.passes(now, hook, &mut second) {
            let as_it_came = Verdict::Pass(pf_engine::decision::Exit::Continue);
            assert_eq!(wanted.verdict, as_it_came, "{packet:?}");
            assert_eq!(first, second);
            assert_eq!((wanted.generated, wanted.logged), (vec![], vec![]));
            assert_eq!(wanted.handling, pf_engine::decision::Handling::default());
            return Some(second.bytes);
        }
        let lab = &mut self.cached;
        let found = lab
            .engine
            .handle_packet(now, hook, &mut second, &mut lab.env);
        assert_eq!(found, wanted);
        assert_eq!(second, first);
        matches!(found.verdict, Verdict::Pass(_)).then_some(second.bytes)
    }

    fn both(&mut self, change: impl Fn(&mut Lab)) {
        change(&mut self.plain);
        change(&mut self.cached);
    }

    /// Both have the same states and counters.
    fn compare(&mut self) {
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

    fn passed(&self) -> u64 {
        self.model.0.lock().unwrap().passed
    }

    fn translated(&self) -> u64 {
        self.model.0.lock().unwrap().translated
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

/// Random traffic over both hooks of both interfaces; how many packets the cache has passed, and
/// how many of these translated.
fn run(ruleset: &Ruleset, seed: u64, steps: u32) -> (u64, u64) {
    let mut dice = Dice(seed);
    let mut twins = Twins::new(ruleset);
    let mut talks: Vec<Talk> = (0..6).map(|_| Talk::new(&mut dice)).collect();
    let mut asked: Vec<Option<Vec<u8>>> = vec![None; talks.len()];
    for _ in 0..steps {
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
        if dice.one_in(50) {
            let step = Duration::from_millis(dice.below(3000));
            twins.both(|lab| lab.now = lab.now.saturating_add(step));
        }
        if dice.one_in(40) {
            event(&mut twins, ruleset, &mut dice);
        }
    }
    twins.compare();
    (twins.passed(), twins.translated())
}

fn tracked() -> Rule {
    pass().keep().change(|rule| {
        rule.state_options.source.track = Some(SourceTrack::Rule);
    })
}

fn rulesets() -> Vec<(&'static str, Ruleset, bool)> {
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
        ("stateful", filter(&stateful), true),
        ("tables, match rules and source tracking", with_tables, true),
        ("one stateful hook", filter(&bound), true),
        ("translation", translated, true),
        ("modulated", filter(&[pass().modulate()]), true),
        ("everything logged", filter(&[logged]), false),
        ("no state", filter(&[none]), false),
    ]
}

#[test]
fn who_has_a_flow_cache_decides_and_counts_as_who_has_none() {
    for (name, ruleset, caches) in rulesets() {
        for seed in 1..=SEEDS {
            let (passed, translated) = run(&ruleset, seed, 1500);
            assert_eq!(passed > 0, caches, "{name}: {passed} packets by the cache");
            assert_eq!(
                translated > 100,
                name == "translation",
                "{name}: {translated}"
            );
        }
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
