//! The kernel's program, run by the kernel on packets that nobody has sent (`BPF_PROG_TEST_RUN`):
//! what it takes for its own, and that an engine whose states it keeps has the same states and
//! counters as one that sees each packet.

use std::time::Duration;

use aya::EbpfLoader;
use aya::programs::{TestRun, TestRunOptions};
use pf_engine::addr::{Prefix, Protocol};
use pf_engine::counters::Count;
use pf_engine::decision::{DropReason, EtherAddresses, Exit, Hook, Packet, StateId, Verdict};
use pf_engine::engine::{Engine, EngineConfig, RuleList};
use pf_engine::env::{FixedEnv, IfIndex, Interface};
use pf_engine::flow::FlowWindow;
use pf_engine::rule::{
    Action, Address, BlockReply, Direction, Pool, PoolPorts, PoolTarget, Rule, StateMode, tcp_flags,
};
use pf_engine::ruleset::Ruleset;
use pf_engine::view::HostPort;
use pf_engine::wire::build::{self, Ip, Segment};

use super::layout::put;
use super::*;
use crate::program::OBJECT;

mod batches;
mod counting;
mod decisions;
mod modulation;
mod openings;
mod programs;
mod shares;
mod translation;

#[path = "../../../pf-engine/tests/scenarios/talks.rs"]
mod talks;

use talks::{Dice, Talk, answer};

/// What the program returns of a packet that passes: `TC_ACT_UNSPEC`.
const PASSES: u32 = u32::MAX;
/// Of one that it drops: `TC_ACT_SHOT`.
const ENDS: u32 = 2;
/// What a test run has for its interface: the loopback.
const LOOPBACK: u32 = 1;
const ETHER: EtherAddresses = EtherAddresses {
    source: [2, 0, 0, 0, 0, 1],
    destination: [2, 0, 0, 0, 0, 2],
};
/// `struct __sk_buff`, and where it says what a super-packet's segments have.
const CONTEXT_LEN: usize = 192;
const GSO_SEGMENTS_AT: usize = 164;
const CAME_BY_AT: usize = 36;
const GSO_SIZE_AT: usize = 176;
/// Room for the header of what goes up.
const HEADROOM: usize = 64;
const PACKETS: usize = 2000;

/// What the kernel did with a packet.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    /// It passed, as this.
    Passes(Vec<u8>),
    /// It was dropped.
    Ends,
    /// It came up.
    ComesUp,
}

/// How many packets of a comparison ended in the kernel, passed there, and were another then.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    ended: usize,
    passed: usize,
    translated: usize,
}

/// The programs, and the cache until somebody takes it.
struct Bench {
    ebpf: Ebpf,
    maps: Option<FlowMaps>,
    /// By which interface packets that leave came in; 0 for the box itself.
    came_by: u32,
}

impl Bench {
    /// Nothing, with a message, when the test cannot run.
    fn new(test: &str) -> Option<Self> {
        Self::with_slots(test, 128)
    }

    /// With so many, half of which are for states, or all but 32,768.
    fn with_slots(test: &str, slots: u32) -> Option<Self> {
        Self::without(test, slots, &[])
    }

    /// On a kernel that refuses these programs.
    fn without(test: &str, slots: u32, refused: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED {test}: needs root");
            return None;
        }
        let mut ebpf = EbpfLoader::new()
            .override_global("exit_lives", &1_000_000_000_u64, true)
            .map_max_entries(FLOWS, 2 * slots)
            .map_max_entries(FLOW_STATES, slots)
            .map_max_entries(FLOW_USES, slots)
            .map_max_entries(FLOW_EXITS, 2 * slots)
            .map_max_entries(LANES, slots / 2)
            .map_max_entries(LANE_ENDS, slots / 2)
            .map_max_entries(LANE_OF_WAY, 2 * slots)
            .map_max_entries(FLOW_ENDS_V6, slots)
            .load(OBJECT)
            .expect("loads");
        for name in refused {
            // What is loaded already cannot be loaded.
            let program = program(&mut ebpf, name).expect("a program");
            program.load().expect("loads");
        }
        let now = (now(), kernel_now());
        let maps = FlowMaps::open(&mut ebpf, now).expect("the cache");
        Some(Self {
            ebpf,
            maps: Some(maps),
            came_by: 0,
        })
    }

    fn maps(&mut self) -> &mut FlowMaps {
        self.maps.as_mut().expect("not taken")
    }

    /// Whether the kernel passes a packet, with segments of `segment` bytes each if it is a
    /// super-packet.
    fn passes(&mut self, direction: Direction, frame: &[u8], segment: u32) -> bool {
        let done = self.run(direction, frame, segment);
        matches!(done, Done::Passes(_))
    }

    /// What the kernel does with a packet.
    fn run(&mut self, direction: Direction, frame: &[u8], segment: u32) -> Done {
        let (returned, out) = self.run_program(direction, frame, segment);
        match returned {
            PASSES => Done::Passes(out),
            ENDS => Done::Ends,
            _ => Done::ComesUp,
        }
    }

    /// What the program returns, and the packet then.
    fn run_program(&mut self, direction: Direction, frame: &[u8], segment: u32) -> (u32, Vec<u8>) {
        let name = match direction {
            Direction::In => "flow_in",
            Direction::Out => "flow_out",
        };
        let mut context = [0; CONTEXT_LEN];
        put(&mut context, CAME_BY_AT, &self.came_by.to_ne_bytes());
        put(&mut context, GSO_SIZE_AT, &segment.to_ne_bytes());
        put(
            &mut context,
            GSO_SEGMENTS_AT,
            &u32::from(segment > 0).to_ne_bytes(),
        );
        let mut out = vec![0; frame.len() + HEADROOM];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            ..TestRunOptions::default()
        };
        let program = program(&mut self.ebpf, name).expect("a program");
        let result = program.test_run(options).expect("runs");
        out.truncate(frame.len());
        (result.return_value, out)
    }
}

fn kernel_now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(
        u64::try_from(time.tv_sec).expect("seconds"),
        u32::try_from(time.tv_nsec).expect("nanoseconds"),
    )
}

/// The engine's time is the kernel's and an hour.
fn now() -> Instant {
    Instant::from_origin(kernel_now() + Duration::from_hours(1))
}

fn before(time: Duration) -> Instant {
    Instant::from_origin(now().since_origin().saturating_sub(time))
}

fn frame(packet: &[u8]) -> Vec<u8> {
    frame_of(packet, ETHER)
}

fn frame_of(packet: &[u8], ether: EtherAddresses) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 {
        0x0800u16
    } else {
        0x86dd
    };
    let addresses = [ether.destination, ether.source].concat();
    [&addresses[..], &kind.to_be_bytes(), packet].concat()
}

fn host(address: &str, port: u16) -> HostPort {
    let address = address.parse().expect("an address");
    HostPort { address, port }
}

fn key(
    protocol: Protocol,
    direction: Direction,
    source: HostPort,
    destination: HostPort,
) -> FlowKey {
    let hook = Hook {
        interface: IfIndex(LOOPBACK),
        direction,
    };
    FlowKey {
        hook,
        ether: ETHER,
        protocol,
        opens: false,
        source,
        destination,
    }
}

const CLIENT: (&str, u16) = ("10.0.0.5", 5000);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

/// A connection: the client's next number is 1000, the server's 9000, their windows are large.
fn connection() -> Flow {
    let (client, server) = (host(CLIENT.0, CLIENT.1), host(SERVER.0, SERVER.1));
    let window = |seq| FlowWindow {
        seq_lo: seq,
        seq_hi: seq + 30_000,
        max_win: 30_000,
        scale: None,
        state: 4,
    };
    Flow {
        basis: FlowBasis::State,
        keys: [
            Some(key(Protocol::TCP, Direction::In, client, server)),
            Some(key(Protocol::TCP, Direction::Out, server, client)),
        ],
        becomes: [None; 2],
        windows: Some([window(1000), window(9000)]),
        shifts: [0; 2],
        // The kernel's clock moves by ticks.
        refreshed: before(Duration::from_secs(1)),
        lifetime: Duration::from_hours(1),
    }
}

fn ip(from: (&str, u16), to: (&str, u16)) -> Ip {
    Ip::new(host(from.0, 0).address, host(to.0, 0).address)
}

fn segment(flags: u8, seq: u32, ack: u32, data: usize) -> Vec<u8> {
    let mut segment = Segment::new(CLIENT.1, SERVER.1, flags);
    (segment.seq, segment.ack, segment.window) = (seq, ack, 20_000);
    build::tcp(&ip(CLIENT, SERVER), &segment, &vec![7; data])
}

const ACK: u8 = tcp_flags::ACK;

#[test]
fn a_segment_in_the_window_passes_and_moves_it_on() {
    let Some(mut bench) = Bench::new("window") else {
        return;
    };
    let id = bench.maps().put(&connection()).expect("room");
    assert!(bench.passes(Direction::In, &frame(&segment(ACK, 1000, 9000, 100)), 0));
    let progress = bench.maps().read(id);
    let one = Count {
        packets: 1,
        bytes: 140,
    };
    assert_eq!(progress.counts, [one, Count::default()]);
    let [client, server] = progress.windows.expect("windows");
    assert_eq!((client.seq_lo, client.seq_hi), (1100, 31_000));
    assert_eq!((server.seq_lo, server.seq_hi), (9000, 39_000));
    assert!(progress.refreshed.is_some());
}

#[test]
fn of_a_connection_that_both_ends_have_closed_it_is_told_that_it_is_over() {
    const FIN: u8 = tcp_flags::FIN | ACK;

    let Some(mut bench) = Bench::new("over") else {
        return;
    };
    let flow = bench.maps().put(&connection()).expect("room");
    let answer = |flags, seq, ack| {
        let mut segment = Segment::new(SERVER.1, CLIENT.1, flags);
        (segment.seq, segment.ack, segment.window) = (seq, ack, 20_000);
        frame(&build::tcp(&ip(SERVER, CLIENT), &segment, &[]))
    };
    let mut told = |direction, frame: &[u8]| {
        assert!(bench.passes(direction, frame, 0));
        bench.maps().changed()
    };
    let changed = |is_over| [FlowChanged { flow, is_over }];
    let (from_client, from_server) = (Direction::In, Direction::Out);
    assert_eq!(
        told(from_client, &frame(&segment(FIN, 1000, 9000, 0))),
        changed(false)
    );
    assert_eq!(told(from_server, &answer(ACK, 9000, 1001)), changed(false));
    assert_eq!(told(from_server, &answer(FIN, 9000, 1001)), changed(false));
    assert_eq!(
        told(from_client, &frame(&segment(ACK, 1001, 9001, 0))),
        changed(true)
    );
}

#[test]
fn what_is_not_plain_comes_up() {
    let Some(mut bench) = Bench::new("not-plain") else {
        return;
    };
    let id = bench.maps().put(&connection()).expect("room");
    let good = segment(ACK, 1000, 9000, 100);
    let change = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        frame(&bytes)
    };
    let mut cases: Vec<(&str, Vec<u8>)> = [
        ("SYN", tcp_flags::SYN),
        ("the answer to a SYN, of the opener", tcp_flags::SYN | ACK),
        ("SYN and FIN", tcp_flags::SYN | tcp_flags::FIN | ACK),
        ("FIN and RST", tcp_flags::FIN | tcp_flags::RST | ACK),
        ("FIN without ACK", tcp_flags::FIN),
        ("RST without ACK", tcp_flags::RST),
        ("URG", 0x20 | ACK),
        ("no ACK", tcp_flags::PSH),
    ]
    .map(|(name, flags)| (name, frame(&segment(flags, 1000, 9000, 100))))
    .into();
    cases.extend([
        (
            "too old",
            frame(&segment(ACK, 1000u32.wrapping_sub(30_001), 9000, 1)),
        ),
        (
            "RST astray",
            frame(&segment(tcp_flags::RST | ACK, 1005, 8999, 0)),
        ),
        ("too far", frame(&segment(ACK, 30_900, 9000, 101))),
        (
            "acknowledges the future",
            frame(&segment(ACK, 1000, 9000 + 67_036, 1)),
        ),
        (
            "acknowledges the past",
            frame(&segment(ACK, 1000, 9000u32.wrapping_sub(67_036), 1)),
        ),
        ("IP options", change(0, 0x46)),
        ("another version", change(0, 0x65)),
        ("a first fragment", change(6, 0x20)),
        ("a later fragment", change(7, 1)),
        ("longer than its frame", change(3, 200)),
        ("shorter than its header", change(3, 30)),
        ("a reserved bit", change(32, 0x51)),
        ("an urgent pointer that is none", change(39, 1)),
        ("a header that is too short", change(32, 0x40)),
        ("another port", change(21, 1)),
        ("another address", change(15, 6)),
        ("another protocol", change(9, 17)),
    ]);
    let mut other_frame = frame(&good);
    other_frame[0] = 0x0a;
    cases.push(("another station", other_frame));
    let mut long = segment(ACK, 1000, 9000, 30);
    long[32] = 0xf0;
    cases.push(("a header that is too long", frame(&long)));
    cases.push(("cut off", frame(&good)[..40].to_vec()));
    for (name, frame) in cases {
        assert!(!bench.passes(Direction::In, &frame, 0), "{name}");
    }
    assert!(
        !bench.passes(Direction::Out, &frame(&good), 0),
        "another hook"
    );
    assert_eq!(bench.maps().read(id).counts, <[Count; 2]>::default());
    assert!(bench.passes(Direction::In, &frame(&good), 0));
}

#[test]
fn datagrams_and_echoes_of_both_families_are_known() {
    let Some(mut bench) = Bench::new("datagrams") else {
        return;
    };
    let (inside, outside) = (("2001:db8::5", 7), ("2001:db8::80", 53));
    for (client, server) in [(CLIENT, SERVER), (inside, outside)] {
        let v6 = client.0.contains(':');
        let udp = build::udp(&ip(client, server), client.1, server.1, &[1; 9]);
        let ends = (host(client.0, client.1), host(server.0, server.1));
        assert_passes(&mut bench, Protocol::UDP, ends, &udp);
        let (icmp, request) = if v6 {
            (Protocol::ICMPV6, 128)
        } else {
            (Protocol::ICMP, 8)
        };
        let echo = build::echo_request(&ip(client, server), 77, 1, &[2; 9]);
        let ends = (host(client.0, 77), host(server.0, request));
        assert_passes(&mut bench, icmp, ends, &echo);
        let reply = build::echo_reply(&ip(server, client), 77, 1, &[2; 9]);
        let ends = (host(server.0, request), host(client.0, 77));
        assert_passes(&mut bench, icmp, ends, &reply);
    }
}

/// A packet of a flow without windows passes once, and no more when it has been taken out.
fn assert_passes(
    bench: &mut Bench,
    protocol: Protocol,
    (source, destination): (HostPort, HostPort),
    packet: &[u8],
) {
    let flow = Flow {
        keys: [
            Some(key(protocol, Direction::In, source, destination)),
            None,
        ],
        windows: None,
        ..connection()
    };
    assert!(!bench.passes(Direction::In, &frame(packet), 0));
    let id = bench.maps().put(&flow).expect("room");
    assert!(bench.passes(Direction::In, &frame(packet), 0), "{flow:?}");
    let count = Count::one(u64::try_from(packet.len()).expect("length"));
    assert_eq!(bench.maps().take(id).counts[0], count);
    assert!(!bench.passes(Direction::In, &frame(packet), 0));
}

#[test]
fn a_flow_ends_with_its_life_and_with_the_epoch() {
    let Some(mut bench) = Bench::new("life") else {
        return;
    };
    let packet = frame(&segment(ACK, 1000, 9000, 0));
    for (idle, passes) in [(0, true), (250, false)] {
        let short = Flow {
            refreshed: before(Duration::from_millis(idle)),
            lifetime: Duration::from_millis(200),
            ..connection()
        };
        let id = bench.maps().put(&short).expect("room");
        let found = bench.passes(Direction::In, &packet, 0);
        assert_eq!(found, passes, "idle for {idle} ms");
        bench.maps().take(id);
    }
    let id = bench.maps().put(&connection()).expect("room");
    bench.maps().suspend();
    assert!(!bench.passes(Direction::In, &packet, 0));
    assert_eq!(bench.maps().take(id).counts[0], Count::default());
}

/// Datagrams from a port of an address.
fn datagrams(address: &str, port: u16) -> Flow {
    let ends = (host(address, port), host(SERVER.0, 53));
    Flow {
        keys: [
            Some(key(Protocol::UDP, Direction::In, ends.0, ends.1)),
            None,
        ],
        windows: None,
        ..connection()
    }
}

#[test]
fn a_full_cache_takes_nothing_and_a_free_slot_is_used_again() {
    let Some(mut bench) = Bench::new("full") else {
        return;
    };
    let mut put = |port| bench.maps().put(&datagrams(CLIENT.0, port));
    let held: Vec<_> = (0..64).map(&mut put).collect();
    assert!(held.iter().all(Option::is_some));
    assert_eq!(put(64), None);
    bench.maps().take(held[5].expect("held"));
    assert_eq!(bench.maps().put(&datagrams(CLIENT.0, 65)), held[5]);
}

/// An engine whose rules, if there are no others, let everything pass with state, and translate
/// what they are told to.
fn engine(ruleset: &Ruleset) -> (Engine, FixedEnv) {
    let config = EngineConfig {
        hash_key: [1, 2],
        creator_id: 3,
    };
    let mut engine = Engine::new(now(), config);
    let mut rule = Rule::new(Action::Pass);
    rule.state = StateMode::Keep;
    let mut rules = ruleset.clone();
    if rules.filter.is_empty() {
        rules.filter.push(rule);
    }
    engine.install(now(), rules).expect("installs");
    engine.set_enabled(now(), true);
    let interface = Interface::new(IfIndex(LOOPBACK), "em0");
    (engine, FixedEnv::new(vec![interface], 9))
}

/// What both have to agree in, but for the moments.
fn figures(engine: &Engine) -> String {
    let states = engine.states_from(StateId(0), now());
    let states = states.map(|s| {
        format!(
            "{:?} {:?} {:?} {:?}",
            s.id, s.source, s.destination, s.traffic
        )
    });
    let states: Vec<_> = states.collect();
    let rules = engine
        .rules(RuleList::Filter)
        .map(|rule| (rule.counters.evaluations, rule.counters.traffic));
    let rules: Vec<_> = rules.collect();
    let (all, seen) = (engine.status(), engine.interface_counters("em0"));
    let counters = (all.searches, all.reasons, seen.inet, seen.inet6);
    format!("{states:#?} {rules:?} {counters:?}")
}

/// The kernel's cache with an engine behind it, and an engine alone.
struct Twins<'b> {
    bench: &'b mut Bench,
    cached: (Engine, FixedEnv),
    plain: (Engine, FixedEnv),
    tally: Tally,
}

impl<'b> Twins<'b> {
    fn new(bench: &'b mut Bench, ruleset: &Ruleset) -> Self {
        let (plain, mut cached) = (engine(ruleset), engine(ruleset));
        let maps = bench.maps.take().expect("the cache");
        cached.0.set_flow_cache(Box::new(maps));
        Self {
            bench,
            cached,
            plain,
            tally: Tally::default(),
        }
    }

    /// The packet meets both; returns it if it passes.
    fn packet(&mut self, direction: Direction, forward: bool, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let hook = Hook {
            interface: IfIndex(LOOPBACK),
            direction,
        };
        let ether = if forward { ETHER } else { ETHER.reversed() };
        let packet = Packet {
            bytes,
            ether: Some(ether),
            ..Packet::default()
        };
        let mut first = packet.clone();
        let (plain, env) = &mut self.plain;
        let wanted = plain.handle_packet(now(), hook, &mut first, env);
        match self
            .bench
            .run(direction, &frame_of(&packet.bytes, ether), 0)
        {
            Done::Passes(found) => {
                let as_it_came = Verdict::Pass(Exit::Continue);
                assert_eq!(wanted.verdict, as_it_came);
                assert_eq!(found, frame_of(&first.bytes, ether), "of {packet:?}");
                self.tally.passed += 1;
                self.tally.translated += usize::from(first != packet);
            }
            Done::Ends => {
                assert_eq!(wanted.verdict, Verdict::Drop(DropReason::Match));
                self.tally.ended += 1;
            }
            Done::ComesUp => {
                let mut second = packet;
                let (cached, env) = &mut self.cached;
                let found = cached.handle_packet(now(), hook, &mut second, env);
                assert_eq!((&found, &second), (&wanted, &first));
            }
        }
        matches!(wanted.verdict, Verdict::Pass(_)).then_some(first.bytes)
    }

    /// Both have the same states and counters.
    fn compare(&mut self, when: usize) {
        self.cached.0.read_flows();
        let (cached, plain) = (figures(&self.cached.0), figures(&self.plain.0));
        assert_eq!(cached, plain, "after {when} packets");
    }
}

/// Random traffic through both.
fn compare(bench: &mut Bench, ruleset: &Ruleset, side: [Direction; 2]) -> Tally {
    let mut twins = Twins::new(bench, ruleset);
    let mut dice = Dice(7);
    let mut talks: Vec<Talk> = (0..4).map(|_| Talk::new(&mut dice)).collect();
    let mut asked: Vec<Option<Vec<u8>>> = vec![None; talks.len()];
    for step in 0..PACKETS {
        let at = usize::try_from(dice.below(4)).expect("small");
        if dice.one_in(100) {
            talks[at] = Talk::new(&mut dice);
            asked[at] = None;
        }
        let (mut bytes, forward) = talks[at].next(&mut dice);
        if let Some(question) = asked[at].as_ref().filter(|_| !forward) {
            answer(&mut bytes, question);
        }
        let passed = twins.packet(side[usize::from(!forward)], forward, bytes.clone());
        if let Some(passed) = &passed {
            talks[at].arrived(forward, &bytes, passed);
        }
        asked[at] = passed.filter(|_| forward).or(asked[at].take());
        twins.cached.0.fill_flow_cache();
        if step % 7 == 0 {
            twins.cached.0.follow_flows();
        }
        if step % 20 == 0 {
            twins.compare(step);
        }
        match dice.below(60) {
            0 => twins.cached.0.settle_flows(),
            1 | 2 => twins.cached.0.suspend_flows(),
            3..20 => {
                twins.cached.0.settle_flows_piece(1);
            }
            20 => twins.cached.0.read_flows_from(StateId(0), 2),
            _ => {}
        }
    }
    twins.cached.0.settle_flows();
    twins.compare(PACKETS);
    twins.tally
}

#[test]
fn who_has_the_kernel_s_cache_decides_and_counts_as_who_has_none() {
    let Some(mut bench) = Bench::new("twins") else {
        return;
    };
    let sides = [Direction::In, Direction::Out];
    let Tally {
        passed, translated, ..
    } = compare(&mut bench, &Ruleset::default(), sides);
    assert!(
        passed > PACKETS / 8,
        "{passed} packets passed in the kernel"
    );
    assert_eq!(translated, 0);
}
