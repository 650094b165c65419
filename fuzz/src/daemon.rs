//! What the daemon reads that is no packet: its settings, requests, and states of before.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use datapath::queues::QueueStatistics;
use pf_engine::addr::Protocol;
use pf_engine::decision::{Hook, Packet};
use pf_engine::engine::Engine;
use pf_engine::env::{FixedEnv, IfIndex};
use pf_engine::queue::{QueueNumbers, QueueTree};
use pf_engine::rule::Direction;
use pf_engine::ruleset::{Dialect, Limit};
use pf_engine::time::Instant;
use pf_engine::wire::build::{self, Ip, Segment};
use weighbridge::config::parse_settings;
use weighbridge::control::protocol::{Request, decode, encode};
use weighbridge::control::queueing;
use weighbridge::control::server::client::{ClientState, Step};
use weighbridge::control::server::rights::Rights;
use weighbridge::control::service::{Answer, Desk, Handled, Work, handle, proceed};
use weighbridge::fuzzing;
use weighbridge::gateway::monitor::Monitor;
use weighbridge::pfctl::show::{LoadedBy, Lost};

use crate::{hostile_engine, interfaces};

/// Bytes of requests that are sent: what fits into a socket without anybody reading.
const REQUESTS_MAX: usize = 64 << 10;
/// Steps of a client before it is hung up on.
const STEPS_MAX: usize = 1000;
/// Seconds since 1970 when files of states are written here.
const WRITTEN: u64 = 1_000_000_000;
/// Tables of the hostile ruleset that others may change.
const TABLES: &str = "[tables]\nnames = [\"caught\", \"new\"]\nentries = 20\n";
/// Packets that are made from states.
const PROBED_STATES_MAX: usize = 32;

/// Reads text as `weighbridge.toml`.
///
/// # Panics
/// When it is refused without a reason.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse_settings("weighbridge.toml", &text) {
        Ok(settings) => {
            let _ = settings.packet_log();
        }
        Err(problem) => assert!(problem.to_string().contains("weighbridge.toml:")),
    }
}

/// Sends bytes to the control socket of a daemon with the hostile ruleset.
///
/// # Panics
/// When a request changes by being written and read, or the answers never end.
pub fn control(data: &[u8]) {
    let data = data.get(..REQUESTS_MAX).unwrap_or(data);
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(request) = decode::<Request>(line) {
            let again = encode(&request).expect("encodes");
            assert_eq!(decode::<Request>(&again).expect("decodes"), request);
        }
    }
    say(data, Rights::All);
}

/// Sends bytes to the sockets for tables and for status.
///
/// # Panics
/// When the answers never end.
pub fn tables(data: &[u8]) {
    let data = data.get(..REQUESTS_MAX).unwrap_or(data);
    let settings = parse_settings("weighbridge.toml", TABLES).expect("it reads");
    let tables = settings.tables.expect("there");
    say(data, Rights::Tables(Arc::new(tables)));
    say(data, Rights::Status);
}

/// Sends bytes to a daemon by a socket with these rights.
fn say(data: &[u8], rights: Rights) {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.write_all(data).expect("it fits");
    ours.shutdown(Shutdown::Write).expect("shuts down");
    for stream in [&ours, &theirs] {
        stream.set_nonblocking(true).expect("does not block");
    }
    let theirs = mio::net::UnixStream::from_std(theirs);
    converse(&mut ClientState::new(theirs, rights), &mut ours);
}

fn converse(client: &mut ClientState, ours: &mut UnixStream) {
    let (mut engine, interfaces) = (hostile_engine(), interfaces());
    let (mut loaded_by, mut lost_before) = (LoadedBy::default(), Lost::default());
    let filtered = Arc::from([]);
    let mut desk = Desk {
        engine: &mut engine,
        now: Instant::from_secs(1),
        origin: WRITTEN,
        loaded_by: &mut loaded_by,
        lost: Lost::default(),
        lost_before: &mut lost_before,
        fused: [0; 3],
        interfaces: &interfaces,
        dialect: Dialect::FreeBsd,
        filtered: &filtered,
        scheduler: &mut Scheduler,
        gateways: &Monitor::default(),
    };
    let mut step = client.advance();
    for _ in 0..STEPS_MAX {
        step = match step {
            Step::Close => return,
            Step::Submit(work) => client.take_answer(done(&mut desk, work)),
            Step::Wait if drained(ours) == 0 => return,
            Step::Wait => client.advance(),
        };
    }
}

/// The answer to `work`, however many pieces it takes.
fn done(desk: &mut Desk<'_>, work: Work) -> Answer {
    let mut handled = handle(desk, work);
    loop {
        match handled {
            Handled::Done(answer) => return answer,
            Handled::More(ongoing) => handled = proceed(desk, ongoing),
        }
    }
}

/// Takes what the daemon has said; returns how much.
fn drained(stream: &mut UnixStream) -> usize {
    let (mut buffer, mut all) = ([0; 4096], 0);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        all += read;
    }
    all
}

/// Queues that nobody uses.
#[derive(Debug)]
struct Scheduler;

impl queueing::Scheduler for Scheduler {
    fn set(&mut self, _: &[QueueTree], _: &QueueNumbers) -> Result<(), String> {
        Ok(())
    }

    fn statistics(&self, _: &QueueNumbers) -> QueueStatistics {
        QueueStatistics::new()
    }
}

/// Reads bytes as a file of states, and as the inner lines of one; what an engine takes over is
/// met by packets, written again and read again.
///
/// # Panics
/// When the engine breaks a promise, or does not read what it has written.
pub fn states(data: &[u8]) {
    states_of(data);
    for is_packed in [false, true] {
        let sealed = fuzzing::sealed_states(data, is_packed, Dialect::FreeBsd, WRITTEN);
        states_of(&sealed);
    }
}

fn states_of(file: &[u8]) {
    let mut engine = hostile_engine();
    let now = Instant::from_secs(1000);
    let load = |engine: &mut Engine, file: &[u8]| {
        fuzzing::load_states(file, engine, now, WRITTEN, &interfaces())
    };
    if load(&mut engine, file).is_err() {
        assert_eq!(engine.state_count(), 0);
        return;
    }
    assert!(engine.state_count() <= engine.limit(Limit::States) as usize);
    for is_packed in [false, true] {
        let when = (now, WRITTEN);
        let saved = fuzzing::save_states(&engine, is_packed, when, Dialect::FreeBsd);
        let mut other = hostile_engine();
        let again = load(&mut other, &saved).unwrap_or_else(|why| panic!("what we saved: {why}"));
        assert_eq!(
            (again.states, other.state_count()),
            (engine.state_count(), engine.state_count())
        );
    }
    meet(&mut engine, now);
    engine.handle_timeout(now.saturating_add(Duration::from_hours(48)));
}

/// Sends packets that belong to the states.
fn meet(engine: &mut Engine, now: Instant) {
    let mut env = FixedEnv::new(interfaces(), 7);
    for (direction, bytes) in packets_of_states(engine, now) {
        for index in 1..=4 {
            let hook = Hook {
                interface: IfIndex(index),
                direction,
            };
            let mut packet = Packet {
                bytes: bytes.clone(),
                ..Packet::default()
            };
            let _ = engine.handle_packet(now, hook, &mut packet, &mut env);
        }
    }
}

fn packets_of_states(engine: &Engine, now: Instant) -> Vec<(Direction, Vec<u8>)> {
    let mut packets = Vec::new();
    for state in engine.states(now).take(PROBED_STATES_MAX) {
        for ([from, to], direction) in [
            (state.wire, Direction::In),
            (state.stack, Direction::Out),
            ([state.wire[1], state.wire[0]], Direction::In),
            ([state.stack[1], state.stack[0]], Direction::Out),
        ] {
            if from.address.is_ipv4() != to.address.is_ipv4() {
                continue;
            }
            let ip = Ip::new(from.address, to.address);
            packets.push((
                direction,
                match state.protocol {
                    Protocol::TCP => {
                        let mut segment = Segment::new(from.port, to.port, 0x10);
                        segment.seq = state.source.seq_lo;
                        segment.ack = state.destination.seq_lo;
                        build::tcp(&ip, &segment, b"data")
                    }
                    Protocol::UDP => build::udp(&ip, from.port, to.port, b"data"),
                    Protocol::ICMP | Protocol::ICMPV6 => {
                        build::echo_request(&ip, from.port, 1, b"data")
                    }
                    other => build::packet(&ip, other, b"data"),
                },
            ));
        }
    }
    packets
}
