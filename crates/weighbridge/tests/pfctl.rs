//! pfctl against an engine behind the real control socket, without a data path: no privileges.

#[path = "pfctl/anchors.rs"]
mod anchors;
#[path = "common/command.rs"]
mod command;
#[path = "pfctl/fingerprints.rs"]
mod fingerprints;
#[path = "pfctl/options.rs"]
mod options;
#[path = "pfctl/top.rs"]
mod top;

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
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
use weighbridge::control::queueing;
use weighbridge::control::server::Control;
use weighbridge::control::server::socket::ControlSocket;
use weighbridge::control::service::{Desk, Handled, handle, proceed};
use weighbridge::gateway::monitor::Monitor;
use weighbridge::output::Output;
use weighbridge::pfctl::execute;
use weighbridge::pfctl::show::LoadedBy;

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
const LOST: u64 = 5;
/// 2025-11-23 08:03:20 UTC.
const ORIGIN: u64 = 1_763_885_000;

/// An engine with a control socket.
struct Daemon {
    dir: tempfile::TempDir,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// What a run of pfctl came to.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    status: u8,
    out: String,
    err: String,
}

impl Daemon {
    fn start(dialect: Dialect, engine: Engine) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let socket = ControlSocket::bind(&dir.path().join("control.sock")).expect("socket");
        let poll = Poll::new().expect("poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("waker"));
        let control = Control::start(socket, waker.clone()).expect("control thread");
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
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = execute(
        &arguments,
        &mut Output {
            out: &mut out,
            err: &mut err,
            rich_errors: false,
        },
    );
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        status,
        out: text(out),
        err: text(err),
    }
}

fn serve(
    mut poll: Poll,
    control: &Control,
    mut engine: Engine,
    dialect: Dialect,
    stop: &AtomicBool,
) {
    let mut loaded_by = LoadedBy { uid: 0, pid: 4711 };
    let mut lost_before = 0;
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
                lost_before: &mut lost_before,
                interfaces: &interfaces(),
                dialect,
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

#[test]
fn rules_print_with_their_counters() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let plain = daemon.out("-sr");
    let rules: Vec<_> = plain.lines().collect();
    assert_eq!(
        rules,
        [
            "pass in on em0 inet proto tcp from any to <web> port = http flags S/SA keep state \
             label \"web 80\"",
            "pass in on em0 inet proto udp all keep state label \"udp\"",
            "block drop in quick on em0 inet proto tcp from any to any port = telnet",
        ]
    );
    let verbose = daemon.out("-vvsr");
    let lines: Vec<_> = verbose.lines().collect();
    assert_eq!(
        lines[0],
        format!("@0 {}", rules[0].replace("<web>", "<web:1>"))
    );
    assert_eq!(
        lines[1],
        "  [ Evaluations: 3         Packets: 1         Bytes: 40          States: 1     ]"
    );
    assert_eq!(
        lines[2],
        "  [ Inserted: uid 0 pid 4711 State Creations: 1     ]"
    );
    assert_eq!(
        lines[4],
        "  [ Evaluations: 3         Packets: 2         Bytes: 186         States: 1     ]"
    );
    assert!(daemon.out("-sr -P").contains("port = 80 "));
}

#[test]
fn labels_print_nine_fields_and_four_in_the_articles_dialect() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let expected = "web 80 3 1 40 1 40 0 0 1\nudp 3 2 186 2 186 0 0 1\n";
    for words in ["-sl", "-vvsl", "-s labels"] {
        assert_eq!(daemon.out(words), expected, "{words}");
    }
    let articles = daemon.out("--dialect openbsd3 -vvsl");
    assert_eq!(articles, "web 80 3 1 40\nudp 3 2 186\n");
    assert_eq!(daemon.says("-z"), "pf: rule counters cleared\n");
    assert_eq!(
        daemon.out("-sl"),
        "web 80 0 0 0 0 0 0 0 0\nudp 0 0 0 0 0 0 0 0\n"
    );
}

#[test]
fn states_print_in_three_degrees_of_detail() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(
        daemon.out("-ss"),
        "all tcp 198.51.100.10:80 <- 192.0.2.7:4000       CLOSED:SYN_SENT\n\
         all udp 198.51.100.10:53 <- 192.0.2.7:5000       NO_TRAFFIC:SINGLE\n"
    );
    let verbose = daemon.out("-vss");
    let lines: Vec<_> = verbose.lines().collect();
    assert_eq!(lines.len(), 5);
    assert!(lines[1].starts_with("   [0 + "), "{}", lines[1]);
    assert_eq!(
        lines[2],
        "   age 00:01:00, expires in 00:01:00, 1:0 pkts, 40:0 bytes, rule 0"
    );
    let lines = daemon.out("-vvss");
    assert!(lines.contains("\n   id: 0000000000000001 creatorid: 58075cf3\n   origif: em0\n"));
}

#[test]
fn info_memory_timeouts_and_all_of_it_print() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let info = daemon.out("-si");
    assert!(info.starts_with(&format!(
        "{:<44}{:>15}\n\nState Table                          Total             Rate\n  \
         current entries                        2               \n",
        "Status: Enabled for 0 days 00:01:40", "Debug: Urgent"
    )));
    assert!(info.contains("\n  match                                  3            0.0/s\n"));
    assert!(
        daemon
            .out("-sm")
            .starts_with("states        hard limit   100000\n")
    );
    // FreeBSD has timeouts of SCTP, OpenBSD has not.
    assert_eq!(daemon.out("-st").lines().count(), 25);
    for dialect in ["openbsd", "openbsd3"] {
        let timeouts = daemon.out(&format!("--dialect {dialect} -st"));
        assert_eq!(timeouts.lines().count(), 20, "{dialect}");
        assert!(!timeouts.contains("sctp"), "{dialect}");
    }
    let congestion = "\n  congestion                             5            0.1/s\n";
    assert!(info.contains(congestion), "what the data path lost: {info}");
    assert_eq!(daemon.says("-Fi"), "pf: statistics cleared\n");
    let info = daemon.out("-si");
    assert!(
        info.contains("\n  congestion                             0 "),
        "{info}"
    );
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
    assert_eq!(daemon.out("-sI"), "all\nem\nem0\n");
    let all = daemon.out("-sa");
    let titles: Vec<_> = all.lines().filter(|line| line.ends_with(':')).collect();
    assert_eq!(
        titles,
        [
            "FILTER RULES:",
            "STATES:",
            "INFO:",
            "LABEL COUNTERS:",
            "TIMEOUTS:",
            "LIMITS:",
            "TABLES:",
            "OS FINGERPRINTS:",
            "INTERFACES:"
        ]
    );
    assert!(all.starts_with("FILTER RULES:\npass in on em0 "));
    assert_eq!(all.matches("\n\nSTATES:\n").count(), 1);
}

#[test]
fn tables_are_listed_and_changed() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.out("-sT"), "quiet\nweb\n");
    assert_eq!(daemon.out("-vsT"), "-pa----\tquiet\n--a-r-C\tweb\n");
    assert!(
        daemon
            .out("-vvsT")
            .contains("\tReferences:  [ Anchors: 0                  Rules: 1                  ]\n")
    );
    assert_eq!(daemon.out("-t web -T show"), "   198.51.100.10\n");
    let add = "-t web -T add 192.0.2.1 198.51.100.10 10.1.0.0/16 !10.1.2.3";
    assert_eq!(
        daemon.says(&add.replace("add", "add -n")),
        "3/4 addresses added (dummy).\n"
    );
    assert_eq!(daemon.says(add), "3/4 addresses added.\n");
    assert_eq!(
        daemon.out("-t web -Ts"),
        "   10.1.0.0/16\n  !10.1.2.3\n   192.0.2.1\n   198.51.100.10\n"
    );
    let tested = daemon.pfctl("-t web -v -T test 10.1.9.9 10.1.2.3");
    assert_eq!(
        (tested.status, tested.err.as_str()),
        (2, "1/2 addresses match.\n")
    );
    assert_eq!(tested.out, "M  10.1.9.9\n");
    assert_eq!(
        daemon.says("-t web -T delete 192.0.2.1 192.0.2.2"),
        "1/2 addresses deleted.\n"
    );
    let file = daemon.file("list", "192.0.2.9 # one\n10.1.0.0/16\n");
    assert_eq!(
        daemon.says(&format!("-t web -T replace -f {file}")),
        "1 addresses added.\n2 addresses deleted.\n"
    );
    assert_eq!(
        daemon.says(&format!("-t web -T replace -f {file}")),
        "no changes.\n"
    );
    assert_eq!(daemon.says("-t web -T flush"), "2 addresses deleted.\n");
    assert_eq!(
        daemon.says("-t fresh -T add 192.0.2.1"),
        "1 table created.\n1/1 addresses added.\n"
    );
    let missing = daemon.pfctl("-t nowhere -T show");
    assert_eq!(
        (missing.status, missing.err.as_str()),
        (1, "pfctl: Table does not exist.\n")
    );
}

#[test]
fn a_large_table_is_listed_whole() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let addresses: Vec<String> = (0..10_000_u32)
        .map(|n| format!("10.{}.{}.1", n >> 8, n & 255))
        .collect();
    let file = daemon.file("many", &addresses.join("\n"));
    assert_eq!(
        daemon.says(&format!("-t quiet -T add -f {file}")),
        "10000/10000 addresses added.\n"
    );
    let shown = daemon.out("-t quiet -T show");
    assert_eq!(shown.lines().count(), 10_000);
    assert_eq!(shown.lines().last(), Some("   10.39.15.1"));
}

#[test]
fn many_states_are_listed_in_pages_without_gap_or_repetition() {
    let engine = engine_with_states(10_000..=29_999, [53]);
    let daemon = Daemon::start(Dialect::FreeBsd, engine);
    let listed = daemon.out("-ss");
    let ports: std::collections::BTreeSet<_> = listed.lines().collect();
    assert_eq!((listed.lines().count(), ports.len()), (20_000, 20_000));
    assert_eq!(daemon.says("-Fs"), "20000 states cleared\n");
    assert_eq!(daemon.out("-ss"), "");
}

#[test]
fn the_filter_is_switched_with_pfs_words() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let refused = |words: &str, message: &str| {
        let ran = daemon.pfctl(words);
        assert_eq!((ran.status, ran.err.as_str()), (1, message), "{words}");
    };
    refused("-d", "pfctl: pf not enabled\n");
    assert_eq!(daemon.pfctl("-s R").status, 1);
    assert_eq!(daemon.says("-e"), "pf enabled\n");
    refused("-e", "pfctl: pf already enabled\n");
    assert_eq!(daemon.says("-d"), "pf disabled\n");
    assert_eq!(daemon.says("-qe"), "");
}

#[test]
fn states_are_killed_by_host() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(
        daemon.says("-k 192.0.2.0/24 -k 203.0.113.1"),
        "killed 0 states from 1 sources and 1 destinations\n"
    );
    assert_eq!(
        daemon.says("-k 192.0.2.7"),
        "killed 2 states from 1 sources and 0 destinations\n"
    );
}

#[test]
fn states_are_killed_by_label_also_when_the_rule_is_gone() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.says("-k label -k nobody"), "killed 0 states\n");
    assert_eq!(daemon.says("-F rules"), "rules cleared\n");
    assert_eq!(daemon.says("-k label -k udp"), "killed 1 states\n");
    assert!(!daemon.out("-ss").contains("udp"));
    let lacking = daemon.pfctl("-k label");
    assert_eq!(lacking.status, 1);
    assert!(
        lacking
            .err
            .starts_with("pfctl: no label specified\nusage: pfctl "),
        "{}",
        lacking.err
    );
}

#[test]
fn states_are_killed_by_id_key_and_address_behind_the_translation() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let strange = "-k id -k 0000000000000001/00000001";
    assert_eq!(daemon.says(strange), "killed 0 states\n");
    let known = "-k id -k 0000000000000001/58075cf3";
    assert_eq!(daemon.says(known), "killed 1 states\n");
    let by_key = |key: &str| {
        let socket = daemon.socket().display().to_string();
        run(&["--socket", &socket, "-k", "key", "-k", key]).err
    };
    let outbound = by_key("udp 198.51.100.10:53 -> 192.0.2.7:5000");
    assert_eq!(outbound, "killed 0 states\n");
    let inbound = by_key("udp 198.51.100.10:53 <- 192.0.2.7:5000");
    assert_eq!(inbound, "killed 1 states\n");
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.says("-k nat -k 192.0.2.8"), "killed 0 states\n");
    assert_eq!(daemon.says("-k nat -k 192.0.2.7"), "killed 2 states\n");
    assert_eq!(
        daemon.says("-k gateway -k 192.0.2.0/24"),
        "killed 0 states\n"
    );
}

#[test]
fn an_interface_narrows_states_down_floating_ones_too() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.out("-i em0 -ss").lines().count(), 2);
    assert_eq!(daemon.out("-i em1 -ss"), "");
    assert_eq!(daemon.says("-i em1 -Fs"), "0 states cleared\n");
    assert_eq!(
        daemon.says("-i em1 -k 192.0.2.7"),
        "killed 0 states from 1 sources and 0 destinations\n"
    );
    assert_eq!(daemon.says("-i em0 -Fs"), "2 states cleared\n");
    let all = daemon.pfctl("-i em0 -Fa");
    assert!(
        all.err
            .starts_with("pfctl: don't specify an interface with -Fall\n")
    );
}

#[test]
fn interfaces_show_what_crossed_them() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let expected = "em0\n\
        \tCleared:     Sun Nov 23 08:03:20 2025\n\
        \tReferences:  [ States:  0                  Rules: 3                  ]\n\
        \tIn4/Pass:    [ Packets: 3                  Bytes: 226                ]\n\
        \tIn4/Block:   [ Packets: 1                  Bytes: 40                 ]\n\
        \tOut4/Pass:   [ Packets: 0                  Bytes: 0                  ]\n\
        \tOut4/Block:  [ Packets: 0                  Bytes: 0                  ]\n\
        \tIn6/Pass:    [ Packets: 0                  Bytes: 0                  ]\n\
        \tIn6/Block:   [ Packets: 0                  Bytes: 0                  ]\n\
        \tOut6/Pass:   [ Packets: 0                  Bytes: 0                  ]\n\
        \tOut6/Block:  [ Packets: 0                  Bytes: 0                  ]\n";
    assert_eq!(daemon.out("-i em0 -vvsI"), expected);
    let all = daemon.out("-vvsI");
    assert!(
        all.starts_with("all\n\tCleared:") && all.contains("[ States:  2 "),
        "{all}"
    );
    assert_eq!(
        daemon.says("-i em0 -Fi"),
        "pf: statistics cleared for interface em0\n"
    );
    let cleared = daemon.out("-i em0 -vvsI");
    assert!(
        cleared.contains("\tCleared:     Sun Nov 23 08:06:00 2025\n"),
        "{cleared}"
    );
    assert!(
        cleared.contains("\tIn4/Pass:    [ Packets: 0 "),
        "{cleared}"
    );
    assert!(
        daemon
            .out("-si")
            .contains("\n  match                                  3 ")
    );
}

#[test]
fn counters_of_tables_are_zeroed_and_addresses_age() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let shown = daemon.out("-t web -vvT show");
    assert!(
        shown.starts_with("   198.51.100.10\n\tCleared:     Sun Nov 23 08:04:00 2025\n"),
        "since it was added: {shown}"
    );
    assert!(
        shown.contains("\tIn/Pass:     [ Packets: 1                  Bytes: 40 "),
        "{shown}"
    );
    assert_eq!(
        daemon.says("-t web -T add 192.0.2.99"),
        "1/1 addresses added.\n"
    );
    assert_eq!(
        daemon.says("-t web -nT reset"),
        "1/1 stats cleared (dummy).\n"
    );
    assert_eq!(daemon.says("-t web -T reset"), "1/1 stats cleared.\n");
    assert_eq!(daemon.says("-t web -T reset"), "0/0 stats cleared.\n");
    let shown = daemon.out("-t web -vvT show");
    assert!(
        shown.contains("\tCleared:     Sun Nov 23 08:06:00 2025\n"),
        "{shown}"
    );
    assert!(shown.contains("\tIn/Pass:     [ Packets: 0 "), "{shown}");
    assert_eq!(
        daemon.says("-t web -T zero 198.51.100.10 203.0.113.1"),
        "1/2 addresses cleared.\n"
    );
    let table = daemon.out("-vvsT");
    assert!(
        table.contains("\tEvaluations: [ NoMatch: 0                  Match: 2 "),
        "{table}"
    );
    assert_eq!(daemon.says("-t web -T zero"), "1 table/stats cleared.\n");
    let table = daemon.out("-vvsT");
    assert!(
        table.contains("\tEvaluations: [ NoMatch: 0                  Match: 0 "),
        "{table}"
    );
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(
        daemon.says("-t web -T add 192.0.2.99"),
        "1/1 addresses added.\n"
    );
    assert_eq!(
        daemon.says("-t web -T expire 120"),
        "0/0 addresses expired.\n"
    );
    assert_eq!(
        daemon.says("-t web -T expire 119"),
        "1/1 addresses expired.\n"
    );
    assert_eq!(daemon.out("-t web -T show"), "   192.0.2.99\n");
    assert_eq!(daemon.pfctl("-t web -T expire soon").status, 1);
    assert_eq!(daemon.says("-t web -T kill"), "1 table deleted.\n");
    assert_eq!(daemon.out("-sT"), "quiet\n");
    assert_eq!(
        daemon.pfctl("-t web -T kill").err,
        "pfctl: Table does not exist.\n"
    );
    assert_eq!(
        daemon.says("-t web -T add 198.51.100.10"),
        "1 table created.\n1/1 addresses added.\n"
    );
}

#[test]
fn states_are_stored_in_a_file_and_loaded_from_it() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let file = daemon.dir.path().join("saved").display().to_string();
    let before = daemon.out("-vss");
    let (tcp, _) = before.split_once("all udp").expect("both states");
    assert_eq!(daemon.says(&format!("-S {file}")), "");
    assert_eq!(daemon.says("-Fs"), "2 states cleared\n");
    assert_eq!(
        daemon.says(&format!("-L {file}")),
        "1 states loaded\n1 states had expired\n"
    );
    assert_eq!(daemon.out("-vss"), tcp);
    assert_eq!(
        daemon.says(&format!("-L {file}")),
        "0 states loaded\n1 states had expired\n1 states found no room\n"
    );
    let text = fs::read_to_string(&file).expect("saved");
    fs::write(&file, text.replace("192.0.2.7", "192.0.2.8")).expect("write");
    let refused = daemon.pfctl(&format!("-L {file}"));
    assert_eq!(
        (refused.status, refused.err.as_str()),
        (
            1,
            "pfctl: states not loaded: the checksum is wrong: it was changed or cut off\n"
        )
    );
    let missing = daemon.pfctl("-L /nonexistent/states");
    assert_eq!(
        missing.err,
        "pfctl: /nonexistent/states: No such file or directory\n"
    );
}

#[test]
fn counters_of_the_filter_are_shown_and_cleared() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let searches = |daemon: &Daemon| {
        let info = daemon.out("-si");
        let line = info.lines().find(|line| line.starts_with("  searches"));
        let word = line.and_then(|line| line.split_whitespace().nth(1));
        word.and_then(|word| word.parse::<u64>().ok())
    };
    assert_eq!(searches(&daemon), Some(4));
    assert_eq!(daemon.says("-Fi"), "pf: statistics cleared\n");
    assert_eq!(searches(&daemon), Some(0));
}

#[test]
fn debug_levels_devices_creators_and_rules_for_frames() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.out("-s creatorids"), "Creator IDs:\n58075cf3\n");
    assert_eq!(daemon.out("-s ether"), "");
    assert_eq!(daemon.says("-x loud"), "debug level set to 'loud'\n");
    assert!(daemon.out("-si").contains("Debug: Loud\n"));
    assert_eq!(daemon.says("-F Reset"), "pf: interface flags reset\n");
    assert!(daemon.out("-si").contains("Debug: Urgent\n"));
    let strange = daemon.pfctl("-x noisy");
    assert!(
        strange
            .err
            .starts_with("pfctl: Unknown debug level 'noisy'\nusage:")
    );
    let device = daemon.pfctl("-p /dev/pf -sr");
    assert_eq!(device.status, 1);
    assert!(device.err.contains("--socket PATH"), "{}", device.err);
}

#[test]
fn flushing_speaks_pfs_words() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    assert_eq!(daemon.says("-F rules"), "rules cleared\n");
    assert_eq!(daemon.out("-sr"), "");
    assert_eq!(
        daemon.says("-Fa"),
        "Ethernet rules cleared\nrules cleared\nnat cleared\n1 tables deleted.\naltq cleared\n2 states cleared\n\
         source tracking entries cleared\npf: statistics cleared\n\
         pf: interface flags reset\n"
    );
    assert_eq!(daemon.out("-sT"), "");
}

#[test]
fn a_load_is_whole_or_nothing_and_keeps_states() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let before = daemon.out("-sr");
    let bad = daemon.file(
        "bad.conf",
        "block all\npass in on em0 frobnicate\npass from $nowhere\n",
    );
    let refused = daemon.pfctl(&format!("-f {bad}"));
    assert_eq!(refused.status, 1);
    for expected in ["bad.conf:2", "bad.conf:3", "frobnicate", "nowhere"] {
        assert!(
            refused.err.contains(expected),
            "{expected} in {}",
            refused.err
        );
    }
    let end = refused.err.lines().last();
    let expected = "pfctl: Syntax error in config file: pf rules not loaded";
    assert_eq!(end, Some(expected));
    assert_eq!(daemon.out("-sr"), before);

    let list = daemon.file("spam", "192.0.2.66\n");
    let text =
        format!("table <spam> persist file \"{list}\"\nblock in from <spam>\npass in on $nic\n");
    let good = daemon.file("good.conf", &text);
    assert_eq!(daemon.says(&format!("-D nic=em0 -f {good}")), "");
    assert_eq!(
        daemon.out("-sr"),
        "block drop in from <spam> to any\npass in on em0 all flags S/SA keep state\n"
    );
    assert_eq!(daemon.out("-t spam -T show"), "   192.0.2.66\n");
    assert_eq!(daemon.out("-ss").lines().count(), 2);
    let own = format!("pid {} ", std::process::id());
    assert!(daemon.out("-vsr").contains(&own), "who loaded is known");
}

#[test]
fn the_daemons_dialect_rules_a_load_unless_one_is_named() {
    let daemon = Daemon::start(Dialect::OpenBsd3, empty_engine());
    let file = daemon.file(
        "pf.conf",
        "pass in on em0 proto tcp from any to any port 80\n",
    );
    daemon.says(&format!("-f {file}"));
    assert!(!daemon.out("-sr").contains("keep state"));
    daemon.says(&format!("--dialect freebsd -f {file}"));
    assert!(daemon.out("-sr").contains("keep state"));
}

#[test]
fn checking_needs_no_daemon() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    fs::write(&file, "ext = \"em0\"\npass in on $ext\n").expect("write");
    let config = dir.path().display();
    let ran = pfctl(
        &nowhere,
        &format!("--config {config} -nvf {}", file.display()),
    );
    assert_eq!(ran.status, 0, "{ran:?}");
    assert_eq!(
        ran.out,
        "ext = \"em0\"\npass in on em0 all flags S/SA keep state\n"
    );
    fs::write(
        dir.path().join("weighbridge.toml"),
        "dialect = \"openbsd3\"\n",
    )
    .expect("write");
    let ran = pfctl(
        &nowhere,
        &format!("--config {config} -nvvf {}", file.display()),
    );
    assert_eq!(ran.out, "ext = \"em0\"\n@0 pass in on em0 all\n");
    let ran = pfctl(&nowhere, "-sr");
    assert_eq!(ran.status, 1);
    assert!(
        ran.err.contains("cannot reach the daemon at"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("is `weighbridge run` running?"),
        "{}",
        ran.err
    );
    let ran = pfctl(&nowhere, "-nf /nonexistent/pf.conf");
    assert_eq!(
        ran.err,
        "pfctl: /nonexistent/pf.conf: No such file or directory\n"
    );
}

/// Six hosts, a rule that is there twice, and a label with its rule's number.
const TO_OPTIMIZE: &str = "table <t> persist { 192.0.2.0/24 }
block in quick from <t>
block in quick from <t>
pass in proto tcp from { 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 } to port 22
pass out label \"rule $nr\"
";

/// The automatic table's name without the part that comes from its addresses.
fn without_digest(text: &str) -> String {
    let mut parts = text.split("__automatic_");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "__automatic" + &part[8..])
}

#[test]
fn rules_are_optimized_as_asked() {
    let daemon = Daemon::start(Dialect::FreeBsd, empty_engine());
    let file = daemon.file("pf.conf", TO_OPTIMIZE);
    assert_eq!(daemon.says(&format!("-f {file}")), "");
    let shown = without_digest(&daemon.out("-vvsr"));
    let rules: Vec<&str> = shown.lines().filter(|l| l.starts_with('@')).collect();
    let table = "@1 pass in inet proto tcp from <__automatic_0:6> to any port = ssh \
                 flags S/SA keep state";
    assert_eq!(
        rules,
        [
            "@0 block drop in quick from <t:1> to any",
            table,
            "@2 pass out all flags S/SA keep state label \"rule 2\"",
        ]
    );
    let shown = daemon.out("-gvsr");
    let lines: Vec<&str> = shown.lines().take(4).collect();
    assert_eq!(lines[1], "  [ Skip steps: i=end d=2 sp=end da=end ]");
    assert_eq!(lines[2], "  [ queue: qname= qid=0 pqname= pqid=0 ]");
    assert!(lines[3].starts_with("  [ Evaluations: "), "{shown}");
    assert!(without_digest(&daemon.out("-vsT")).starts_with("c-a-r--\t__automatic_0\n"));
    assert_eq!(daemon.says(&format!("-o none -f {file}")), "");
    assert_eq!(daemon.out("-sr").lines().count(), 9);
    assert!(daemon.out("-sr").ends_with("label \"rule 8\"\n"));
    assert_eq!(daemon.says(&format!("-o profile -f {file}")), "");
    assert_eq!(daemon.out("-sr").lines().count(), 3);
}

/// Quick rules of one block; the traffic of [`profiled`] meets the last ones most.
const TO_PROFILE: &str = "\
block in quick proto tcp to port 21
block in quick proto tcp from { 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4, 10.0.0.5, 192.0.2.7 } \
to port 22
block in quick proto tcp to port 23
block in quick proto udp to port 53
pass in quick on em0 proto tcp to port 25
pass in quick on em0 proto tcp to port 443
pass in quick on em0 proto tcp to port 80
block all
";

/// A daemon with the rules of `file`, not profiled, after 2 packets to port 80, 3 to 23, 5 to 22
/// and 7 to 53.
fn profiled(file: &str) -> Daemon {
    let text = fs::read(file).expect("rules");
    let options = LoadOptions {
        interfaces: interfaces(),
        ..LoadOptions::default()
    };
    let loaded = pf_conf::load("pf.conf", &text, &mut MemoryFiles::default(), &options);
    let mut loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    loaded.optimize(loaded.level(None), &[]);
    let mut engine = empty_engine();
    let start = Instant::from_secs(0);
    engine.install(start, loaded.ruleset).expect("installs");
    engine.set_enabled(start, true);
    offer(&mut engine, (0..2).map(|from| tcp(4000 + from, 80)));
    offer(&mut engine, (0..3).map(|from| tcp(4000 + from, 23)));
    offer(&mut engine, (0..5).map(|from| tcp(4000 + from, 22)));
    offer(&mut engine, (0..7).map(|from| udp(5000 + from, 53, 10)));
    Daemon::start(Dialect::FreeBsd, engine)
}

/// The port that each rule of `-sr` asks for, in their order.
fn ports(daemon: &Daemon) -> Vec<String> {
    let text = daemon.out("-sr");
    let asked = text.lines().filter_map(|line| line.split("port = ").nth(1));
    asked
        .filter_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Evaluations and packets of each rule, as `-vsr` prints them.
fn seen(daemon: &Daemon) -> Vec<(u64, u64)> {
    let text = daemon.out("-vsr");
    let lines = text.lines().filter(|line| line.contains("Evaluations:"));
    let number = |line: &str, name: &str| {
        let rest = line.split(name).nth(1).expect("the counter");
        let number = rest.split_whitespace().next().expect("a number");
        number.parse().expect("a number")
    };
    lines
        .map(|line| (number(line, "Evaluations:"), number(line, "Packets:")))
        .collect()
}

#[test]
fn a_profile_orders_the_rules_by_what_those_in_force_have_seen() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("profiled.conf");
    fs::write(&file, TO_PROFILE).expect("write");
    let file = file.display().to_string();
    let in_file = dir.path().join("asks.conf");
    let asks = format!("set ruleset-optimization profile\n{TO_PROFILE}");
    fs::write(&in_file, asks).expect("write");
    for load in [
        format!("-o profile -f {file}"),
        format!("-f {}", in_file.display()),
    ] {
        let daemon = profiled(&file);
        let basic = ["ftp", "telnet", "domain", "ssh", "smtp", "https", "http"];
        assert_eq!(ports(&daemon), basic);
        let counted = [
            (17, 0),
            (10, 3),
            (14, 7),
            (7, 5),
            (2, 0),
            (2, 0),
            (2, 2),
            (0, 0),
        ];
        assert_eq!(seen(&daemon), counted);
        assert_eq!(daemon.says(&load), "");
        // By packets in each block: 7, 5, 3, 0 and 2, 0, 0.
        let by_packets = ["domain", "ssh", "telnet", "ftp", "http", "smtp", "https"];
        assert_eq!(ports(&daemon), by_packets);
        assert_eq!(seen(&daemon), [(0, 0); 8]);
        // As in PF a load begins new counters, so the next profile knows nothing.
        assert_eq!(daemon.says(&load), "");
        assert_eq!(ports(&daemon), basic);
    }
}

#[test]
fn a_check_prints_the_rules_as_they_would_be_installed() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    fs::write(&file, TO_OPTIMIZE).expect("write");
    let run = |level: &str| {
        let config = dir.path().display();
        let words = format!("--config {config} {level} -nvf {}", file.display());
        without_digest(&pfctl(&nowhere, &words).out)
    };
    let table = "table <__automatic_0> const { 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 \
                 10.0.0.6 }";
    let lines: Vec<String> = run("").lines().map(str::to_owned).collect();
    assert_eq!(lines[1], table);
    assert_eq!(lines.len(), 5);
    assert_eq!(run("-o basic"), run(""));
    assert_eq!(run("-o none").lines().count(), 10);
    fs::write(
        &file,
        format!("set ruleset-optimization none\n{TO_OPTIMIZE}"),
    )
    .expect("write");
    assert_eq!(run("").lines().count(), 11);
    assert_eq!(run("-o basic").lines().count(), 6);
}

#[test]
fn what_cannot_be_installed_is_printed_and_refused_unless_printing_was_all() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    fs::write(&file, "set hostid 1\npass in proto tcp divert-to 8080\n").expect("write");
    let at = format!("--config {} ", dir.path().display());
    let with = |flags: &str| pfctl(&nowhere, &format!("{at}{flags} {}", file.display()));
    let rules = "set hostid 0x00000001\n\
                 pass in proto tcp all flags S/SA keep state divert-to 8080\n";
    let numbered = rules.replace("pass in", "@0 pass in");
    let only_printing = with("-o none -nvf");
    assert_eq!(only_printing.status, 0, "{only_printing:?}");
    assert_eq!(
        (only_printing.out.as_str(), only_printing.err.as_str()),
        (rules, "")
    );
    assert_eq!(with("-o none -nvvf").out, numbered);
    let plain = with("-nvf");
    assert_eq!((plain.status, plain.out.as_str()), (1, rules));
    assert!(
        plain.err.contains("pf.conf:2: not supported: divert-to\n"),
        "{}",
        plain.err
    );
    let silent = with("-o none -nf");
    assert_eq!((silent.status, silent.out.as_str()), (1, ""));
    assert!(
        silent.err.contains("pf.conf:2: not supported: divert-to\n"),
        "{}",
        silent.err
    );
    fs::write(&file, "pass in proto tcp divert-to\n").expect("write");
    let wrong = with("-o none -nvf");
    assert_eq!((wrong.status, wrong.out.as_str()), (1, ""));
    assert!(
        wrong.err.contains("pf.conf:1: syntax error\n"),
        "{}",
        wrong.err
    );
}

/// The number of an account in the text of passwd(5) or group(5).
fn numbered_in(file: &str, name: &str) -> u32 {
    let text = fs::read_to_string(file).expect("the file is readable");
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields[0] == name).expect("the account");
    line[2].parse().expect("a number")
}

#[test]
fn users_and_groups_are_the_machines_own() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let nowhere = dir.path().join("none.sock");
    let file = dir.path().join("pf.conf");
    let at = format!(
        "--config {} -o none -nvf {}",
        dir.path().display(),
        file.display()
    );
    // FreeBSD's `games` is 7 and its `mail` 6.
    fs::write(&file, "pass proto tcp user games group mail\n").expect("write");
    let user = numbered_in("/etc/passwd", "games");
    let group = numbered_in("/etc/group", "mail");
    assert_ne!((user, group), (7, 6), "this machine is FreeBSD");
    let ran = pfctl(&nowhere, &at);
    assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        ran.out,
        format!("pass proto tcp all user = {user} group = {group} flags S/SA keep state\n")
    );
    fs::write(&file, "pass proto tcp user _no_such_user\n").expect("write");
    let ran = pfctl(&nowhere, &at);
    assert_eq!((ran.status, ran.out.as_str()), (1, ""));
    assert!(
        ran.err.contains("pf.conf:1: unknown user _no_such_user\n"),
        "{}",
        ran.err
    );
}

#[test]
fn hostile_and_silent_clients_do_not_stop_the_others() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let connect = || UnixStream::connect(daemon.socket()).expect("connects");
    let silent: Vec<_> = (0..40).map(|_| connect()).collect();
    let mut rude = connect();
    rude.write_all(b"\xff\xfe{}\n[]\n\"describe\"\n")
        .expect("writes");
    let mut answers = String::new();
    let mut buffer = [0; 4096];
    while answers.matches('\n').count() < 3 {
        let len = rude.read(&mut buffer).expect("reads");
        assert_ne!(len, 0, "hung up after {answers}");
        answers.push_str(&String::from_utf8_lossy(&buffer[..len]));
    }
    assert_eq!(
        answers.matches("request not understood").count(),
        2,
        "{answers}"
    );
    assert!(answers.contains("\"description\""), "{answers}");
    // Asks for a long answer and does not read it.
    let mut deaf = connect();
    deaf.write_all(
        b"{\"table\":{\"name\":\"web\",\"command\":\"show\",\"entries\":[],\
                     \"dry_run\":false,\"verbose\":0}}\n",
    )
    .expect("writes");
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
    drop(silent);
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
}

#[test]
fn a_request_without_end_is_refused() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let mut endless = UnixStream::connect(daemon.socket()).expect("connects");
    let block = vec![b'x'; 1 << 20];
    // The daemon answers and hangs up somewhere behind its limit.
    let refused_at = (0..200).find(|_| endless.write_all(&block).is_err());
    assert!(refused_at.is_some_and(|mib| mib >= 96), "{refused_at:?}");
    assert_eq!(daemon.out("-s Running"), "Enabled\n");
}

const QUEUES: &str = "\
altq on em0 cbq bandwidth 10Mb queue { std }
queue std bandwidth 50% qlimit 60 cbq(default borrow)
pass in on em0 queue std
";

#[test]
fn queues_are_shown_with_the_kernels_counters_and_one_that_is_refused_leaves_the_rules() {
    let daemon = Daemon::with_traffic(Dialect::FreeBsd);
    let dir = daemon.dir.path();
    let good = dir.join("queues.conf");
    fs::write(&good, QUEUES).expect("written");
    assert_eq!(daemon.pfctl(&format!("-f {}", good.display())).status, 0);
    let root = "queue root_em0 on em0 bandwidth 10Mb priority 0 cbq( wrr root ) {std}\n";
    let std = "queue  std on em0 bandwidth 5Mb qlimit 60 cbq( borrow default ) \n";
    assert_eq!(daemon.out("-sq"), format!("{root}{std}"));
    let zero = "  [ pkts:          0  bytes:          0  dropped pkts:      0 bytes:      0 ]\n  \
                [ qlength:   0/ 50  borrows:      0  suspends:      0 ]\n";
    let counted = "  [ pkts:         12  bytes:       3456  dropped pkts:      7 bytes:      0 ]\n  \
                   [ qlength:   3/ 60  borrows:      2  suspends:      1 ]\n";
    assert_eq!(daemon.out("-vsq"), format!("{root}{zero}{std}{counted}"));
    let bad = dir.join("refused.conf");
    fs::write(&bad, QUEUES.replace("em0", "em9")).expect("written");
    let refused = daemon.pfctl(&format!("-f {}", bad.display()));
    assert_eq!(refused.status, 1);
    assert!(
        refused.err.contains("refused.conf:1: no such interface"),
        "{}",
        refused.err
    );
    assert_eq!(daemon.out("-sq"), format!("{root}{std}"));
    assert_eq!(daemon.says("-F queue"), "altq cleared\n");
    assert_eq!(daemon.out("-sq"), "");
}
