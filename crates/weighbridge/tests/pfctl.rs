//! pfctl against an engine behind the real control socket, without a data path: no privileges.

#[path = "pfctl/anchors.rs"]
mod anchors;
#[path = "common/command.rs"]
mod command;
#[path = "pfctl/fingerprints.rs"]
mod fingerprints;
#[path = "pfctl/hostile.rs"]
mod hostile;
#[path = "pfctl/loading.rs"]
mod loading;
#[path = "pfctl/optimizing.rs"]
mod optimizing;
#[path = "pfctl/options.rs"]
mod options;
#[path = "pfctl/queues.rs"]
mod queues;
#[path = "pfctl/rights.rs"]
mod rights;
#[path = "pfctl/show.rs"]
mod show;
#[path = "pfctl/states.rs"]
mod states;
#[path = "pfctl/status.rs"]
mod status;
#[path = "pfctl/tables.rs"]
mod tables;
#[path = "pfctl/telling.rs"]
mod telling;
#[path = "pfctl/top.rs"]
mod top;

use std::ffi::OsString;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use datapath::queues::{QueueCounters, QueueStatistics};
use etherparse::PacketBuilder;
use mio::{Events, Poll, Token, Waker};
use pf_conf::{LoadOptions, MemoryFiles};
use pf_engine::decision::{Hook, Packet};
use pf_engine::engine::{Engine, EngineConfig};
use pf_engine::env::{FixedEnv, IfIndex, Interface, InterfaceAddress};
use pf_engine::queue::{QueueNumbers, QueueTree};
use pf_engine::rule::Direction;
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;
use weighbridge::config::parse_settings;
use weighbridge::control::queueing;
use weighbridge::control::server::rights::TableSocket;
use weighbridge::control::server::socket::ControlSocket;
use weighbridge::control::server::status::{StatusSettings, StatusSocket};
use weighbridge::control::server::{Control, Sockets};
use weighbridge::control::service::{Desk, Handled, handle, proceed};
use weighbridge::gateway::monitor::Monitor;
use weighbridge::pfctl::execute;

use self::command::{Ran, ran};
use weighbridge::pfctl::show::{LoadedBy, Lost};

const RULES: &str = r#"
table <web> counters { 198.51.100.10 }
table <quiet> persist
pass in on em0 inet proto tcp from any to <web> port 80 keep state label "web $dstport"
pass in on em0 inet proto udp from any to any keep state label "udp"
block in quick on em0 inet proto tcp from any to any port 23
"#;

/// When pfctl asks: a minute after the packets.
const ASKED_AT: u64 = 160;
const PACKETS_AT: u64 = 100;
/// Packets that the data path says it lost.
const LOST: Lost = Lost {
    congested: 5,
    held_back: 7,
};
/// 2025-11-23 08:03:20 UTC.
const ORIGIN: u64 = 1_763_885_000;

/// An engine with a control socket.
struct Daemon {
    dir: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(dialect: Dialect, engine: Engine) -> Self {
        Self::start_with(dialect, engine, "")
    }

    /// With these keys of `[tables]`; their socket is `tables.sock`.
    fn start_with(dialect: Dialect, engine: Engine, tables: &str) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let tables = (!tables.is_empty()).then(|| {
            let socket = dir.path().join("tables.sock");
            let text = format!("[tables]\nsocket = \"{}\"\n{tables}", socket.display());
            let settings = parse_settings("weighbridge.toml", &text).expect("it reads");
            TableSocket::bind(&settings.tables.expect("there")).expect("socket")
        });
        let socket = ControlSocket::bind(&dir.path().join("control.sock")).expect("socket");
        let status = StatusSocket::bind(&StatusSettings::default(), socket.path());
        let sockets = Sockets {
            control: socket,
            tables,
            status: status.expect("socket"),
        };
        let poll = Poll::new().expect("poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("waker"));
        let control = Control::start(sockets, &waker).expect("control thread");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || serve(poll, &control, engine, dialect, &stopped));
        Self {
            dir,
            stop,
            waker,
            thread: Some(thread),
        }
    }

    fn with_traffic(dialect: Dialect) -> Self {
        Self::start(dialect, engine_with_traffic(dialect))
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("write");
        path.display().to_string()
    }

    fn pfctl(&self, words: &str) -> Ran {
        pfctl(&self.socket(), words)
    }

    fn out(&self, words: &str) -> String {
        let ran = self.pfctl(words);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{words}: {ran:?}");
        ran.out
    }

    /// What a successful command says on standard error.
    fn says(&self, words: &str) -> String {
        let ran = self.pfctl(words);
        assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{words}: {ran:?}");
        ran.err
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake().expect("wakes");
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the loop ends");
        }
        assert!(!self.socket().exists(), "the socket goes with the daemon");
    }
}

fn pfctl(socket: &Path, words: &str) -> Ran {
    let own = format!("--socket {}", socket.display());
    let all = own.split_whitespace().chain(words.split_whitespace());
    run(&all.collect::<Vec<_>>())
}

fn run(words: &[&str]) -> Ran {
    let arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    ran(|output| execute(&arguments, output))
}

fn serve(
    mut poll: Poll,
    control: &Control,
    mut engine: Engine,
    dialect: Dialect,
    stop: &AtomicBool,
) {
    let mut loaded_by = LoadedBy { uid: 0, pid: 4711 };
    let mut lost_before = Lost::default();
    let mut scheduler = Scheduler;
    let mut events = Events::with_capacity(4);
    while !stop.load(Ordering::SeqCst) {
        poll.poll(&mut events, None).expect("poll");
        while let Some(job) = control.next_job() {
            let mut desk = Desk {
                engine: &mut engine,
                now: Instant::from_secs(ASKED_AT),
                origin: ORIGIN,
                loaded_by: &mut loaded_by,
                lost: LOST,
                fused: [0; 3],
                lost_before: &mut lost_before,
                interfaces: &interfaces(),
                dialect,
                filtered: &interfaces().into_iter().map(|i| i.name).collect(),
                scheduler: &mut scheduler,
                gateways: &Monitor::default(),
            };
            let mut handled = handle(&mut desk, job.work);
            let answer = loop {
                match handled {
                    Handled::Done(answer) => break answer,
                    Handled::More(rest) => handled = proceed(&mut desk, rest),
                }
            };
            control.answer(job.client, answer);
        }
    }
}

/// Queues that nobody uses: every packet waits nowhere.
#[derive(Debug)]
struct Scheduler;

impl queueing::Scheduler for Scheduler {
    fn set(&mut self, trees: &[QueueTree], _: &QueueNumbers) -> Result<(), String> {
        match trees.iter().find(|tree| tree.interface != "em0") {
            Some(tree) => Err(format!("{}: no such interface", tree.place)),
            None => Ok(()),
        }
    }

    fn statistics(&self, numbers: &QueueNumbers) -> QueueStatistics {
        assert!(numbers.get("std").is_some());
        let counters = QueueCounters {
            packets: 12,
            bytes: 3456,
            dropped: 7,
            waiting: 3,
            borrows: 2,
            delays: 1,
        };
        QueueStatistics::from([(("em0".to_owned(), "std".to_owned()), counters)])
    }
}

fn interfaces() -> Vec<Interface> {
    vec![Interface {
        addresses: vec![InterfaceAddress::new(
            "198.51.100.1".parse().expect("address"),
            24,
        )],
        ..Interface::new(IfIndex(2), "em0")
    }]
}

fn empty_engine() -> Engine {
    let config = EngineConfig {
        hash_key: [1, 2],
        creator_id: 0x5807_5cf3,
    };
    Engine::new(Instant::from_secs(0), config)
}

fn engine_with_rules(dialect: Dialect) -> Engine {
    let options = LoadOptions {
        dialect,
        interfaces: interfaces(),
        ..LoadOptions::default()
    };
    let mut files = MemoryFiles::default();
    let loaded = pf_conf::load("pf.conf", RULES.as_bytes(), &mut files, &options);
    let mut engine = empty_engine();
    let ruleset = loaded.expect("no errors").ruleset;
    engine
        .install(Instant::from_secs(40), ruleset)
        .expect("installs");
    engine.set_enabled(Instant::from_secs(60), true);
    engine
}

/// A SYN to the web server, two UDP datagrams of one flow, a telnet attempt.
fn engine_with_traffic(dialect: Dialect) -> Engine {
    let mut engine = engine_with_rules(dialect);
    let packets = [
        tcp(4000, 80),
        udp(5000, 53, 100),
        udp(5000, 53, 30),
        tcp(4001, 23),
    ];
    offer(&mut engine, packets);
    engine
}

/// `count` sources, each with a source node and a state.
fn engine_with_sources(count: u16) -> Engine {
    let rules = b"pass in inet proto udp keep state (source-track rule, max-src-states 9)\n";
    let options = LoadOptions {
        interfaces: interfaces(),
        ..LoadOptions::default()
    };
    let loaded = pf_conf::load("pf.conf", rules, &mut MemoryFiles::default(), &options);
    let mut engine = engine_with_rules(Dialect::FreeBsd);
    let ruleset = loaded.expect("no errors").ruleset;
    engine
        .install(Instant::from_secs(70), ruleset)
        .expect("installs");
    let sources = (0..count).map(|number| {
        let [high, low] = number.to_be_bytes();
        let builder = PacketBuilder::ipv4([10, 0, high, low], [198, 51, 100, 10], 64);
        let mut bytes = Vec::new();
        builder
            .udp(5000, 53)
            .write(&mut bytes, &[])
            .expect("builds");
        bytes
    });
    offer(&mut engine, sources);
    engine
}

/// A state for a datagram from each port of `from` to each of `to`.
fn engine_with_states<const N: usize>(from: RangeInclusive<u16>, to: [u16; N]) -> Engine {
    let mut engine = engine_with_rules(Dialect::FreeBsd);
    let mut env = FixedEnv::new(interfaces(), 7);
    let hook = Hook {
        interface: IfIndex(2),
        direction: Direction::In,
    };
    for (from, to) in from.flat_map(|from| to.map(|to| (from, to))) {
        let mut packet = Packet {
            bytes: udp(from, to, 8),
            ..Packet::default()
        };
        let at = Instant::from_secs(PACKETS_AT + 50);
        let _ = engine.handle_packet(at, hook, &mut packet, &mut env);
    }
    engine
}

/// Offers `packets` to the rules where they enter the box.
fn offer(engine: &mut Engine, packets: impl IntoIterator<Item = Vec<u8>>) {
    let mut env = FixedEnv::new(interfaces(), 7);
    for bytes in packets {
        let hook = Hook {
            interface: IfIndex(2),
            direction: Direction::In,
        };
        let mut packet = Packet {
            bytes,
            ..Packet::default()
        };
        let at = Instant::from_secs(PACKETS_AT);
        let _ = engine.handle_packet(at, hook, &mut packet, &mut env);
    }
}

fn tcp(from: u16, to: u16) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([192, 0, 2, 7], [198, 51, 100, 10], 64)
        .tcp(from, to, 1_000, 512)
        .syn();
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[]).expect("builds");
    bytes
}

fn udp(from: u16, to: u16, len: usize) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([192, 0, 2, 7], [198, 51, 100, 10], 64).udp(from, to);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &vec![0; len]).expect("builds");
    bytes
}
