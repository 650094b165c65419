//! How long reading pf.conf takes: 10,000 and 100,000 rules, a table of 1,000,000 addresses; and
//! how long a packet takes that no rule matches, as the first of a connection does.
//!
//! `make bench-load`. Each figure is the median of several runs with the fastest and the slowest; the
//! ratio of the time for one rule shows whether time grows faster than the rules do. Where nft
//! is there and may be run, it checks equivalent rules in the same run (`nft -c -f`, which changes
//! nothing).

#![expect(clippy::print_stdout, reason = "this is what a benchmark is for")]

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pf_conf::{LoadOptions, Loaded, MemoryFiles, Optimization};
use pf_engine::decision::{Hook, Packet, Verdict};
use pf_engine::engine::{Engine, EngineConfig};
use pf_engine::env::{FixedEnv, IfIndex, Interface};
use pf_engine::rule::{Direction, tcp_flags};
use pf_engine::ruleset::Limit;
use pf_engine::wire::build;

/// Runs of each measurement.
const REPETITIONS: usize = 7;
/// Addresses in the table.
const TABLE_ENTRIES: u32 = 1_000_000;
/// Packets that are evaluated in a run.
const FIRST_PACKETS: u32 = 1_000;

fn main() {
    let (few, many) = (10_000, 100_000);
    let small = rules(few);
    let large = rules(many);
    println!("{REPETITIONS} runs each: median (fastest - slowest)\n");
    for (what, work) in [
        ("read and check", read_rules as fn(&str)),
        ("... and optimize", read_and_optimize),
        ("... and install", read_optimize_install),
    ] {
        let a = report(what, few, &measure(|| work(&small.pf)));
        let b = report(what, many, &measure(|| work(&large.pf)));
        println!(
            "{what:<18} one rule of {many} to one of {few}: {:.2}\n",
            b / a
        );
    }
    first_packets(&[
        ("few", &rules(100)),
        ("10,000", &small),
        ("100,000", &large),
    ]);
    let table = table(TABLE_ENTRIES);
    let entries = TABLE_ENTRIES as usize;
    let small_table = self::table(TABLE_ENTRIES / 10);
    let a = report(
        "table",
        entries / 10,
        &measure(|| read_rules(&small_table.pf)),
    );
    let b = report("table", entries, &measure(|| read_rules(&table.pf)));
    println!(
        "{:<18} one address of {entries} to one of {}: {:.2}\n",
        "table",
        entries / 10,
        b / a
    );
    for (what, count, pair) in [
        ("rules", few, &small),
        ("rules", many, &large),
        ("table", entries, &table),
    ] {
        compare(what, count, pair);
    }
}

/// The same rules for both.
struct Pair {
    pf: String,
    nft: String,
}

/// `count` rules, no two of which are alike.
fn rules(count: usize) -> Pair {
    let mut pf = String::from("set limit table-entries 2000000\nblock in\n");
    let mut nft = String::from(
        "table inet bench {\n chain input {\n  type filter hook input priority 0; policy drop;\n",
    );
    for number in 0..count {
        let (high, low) = (number / 250 % 250, number % 250);
        let (net, port) = (number / 62_500, 1024 + number % 50_000);
        let (from, to) = (format!("10.{net}.{high}.{low}"), "192.0.2.0/24");
        let _ = writeln!(
            pf,
            "pass in quick on em0 inet proto tcp from {from} to {to} port {port} no state"
        );
        let _ = writeln!(
            nft,
            "  iifname \"em0\" ip saddr {from} ip daddr {to} tcp dport {port} accept"
        );
    }
    nft.push_str(" }\n}\n");
    Pair { pf, nft }
}

/// One table of `count` addresses.
fn table(count: u32) -> Pair {
    let mut pf = String::from("set limit table-entries 2000000\ntable <bench> persist {\n");
    let mut nft =
        String::from("table inet bench {\n set bench {\n  type ipv4_addr\n  elements = {\n");
    for number in 0..count {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number * 3);
        let _ = writeln!(pf, " {address}");
        let _ = writeln!(nft, "   {address},");
    }
    pf.push_str("}\nblock in from <bench>\n");
    nft.push_str("  }\n }\n chain input {\n  type filter hook input priority 0;\n");
    nft.push_str("  ip saddr @bench drop\n }\n}\n");
    Pair { pf, nft }
}

fn load(text: &str) -> Loaded {
    let mut files = MemoryFiles::default();
    let loaded = pf_conf::load(
        "bench",
        text.as_bytes(),
        &mut files,
        &LoadOptions::default(),
    );
    loaded.unwrap_or_else(|errors| panic!("{}", errors.plain()))
}

fn read_rules(text: &str) {
    std::hint::black_box(load(text));
}

fn read_and_optimize(text: &str) {
    let mut loaded = load(text);
    loaded.optimize(Optimization::Basic, &[]);
    std::hint::black_box(loaded);
}

fn read_optimize_install(text: &str) {
    std::hint::black_box(installed(text));
}

fn installed(text: &str) -> Engine {
    let mut loaded = load(text);
    loaded.optimize(Optimization::Basic, &[]);
    assert!(
        loaded
            .ruleset
            .options
            .limits
            .contains(&(Limit::TableEntries, 2_000_000))
    );
    let now = pf_engine::time::Instant::from_secs(0);
    let config = EngineConfig {
        hash_key: [1, 2],
        creator_id: 1,
    };
    let mut engine = Engine::new(now, config);
    assert_eq!(engine.install(now, loaded.ruleset), Ok(()));
    engine
}

/// Packets from addresses that no rule names: each rule counts that it was evaluated.
fn first_packets(lists: &[(&str, &Pair)]) {
    let now = pf_engine::time::Instant::from_secs(0);
    let mut env = FixedEnv::new(vec![Interface::new(IfIndex(1), "em0")], 7);
    let hook = Hook {
        interface: IfIndex(1),
        direction: Direction::In,
    };
    for (name, pair) in lists {
        let mut engine = installed(&pair.pf);
        engine.set_enabled(now, true);
        let times = measure(|| {
            for number in 0..FIRST_PACKETS {
                let source = std::net::Ipv4Addr::from_bits(0x0b00_0000 + number);
                let header = build::Ip::new(source.into(), [192, 0, 2, 1].into());
                let segment = build::Segment::new(4000, 80, tcp_flags::SYN);
                let mut packet = Packet {
                    bytes: build::tcp(&header, &segment, &[]),
                    ..Packet::default()
                };
                let decision = engine.handle_packet(now, hook, &mut packet, &mut env);
                assert!(matches!(decision.verdict, Verdict::Drop(_)));
            }
        });
        report(
            &format!("first, {name} rules"),
            FIRST_PACKETS as usize,
            &times,
        );
    }
    println!();
}

/// Times of the runs, fastest first.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn measure(mut work: impl FnMut()) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..REPETITIONS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

/// Prints the times; returns nanoseconds for each of `count` items.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn report(what: &str, count: usize, times: &[Duration]) -> f64 {
    let (Some(fastest), Some(slowest)) = (times.first(), times.last()) else {
        return 0.0;
    };
    let median = times[times.len() / 2];
    let each = median.as_secs_f64() * 1e9 / count as f64;
    println!(
        "{what:<18} {count:>9}: {:>9.1} ms ({:.1} - {:.1}), {each:.0} ns each",
        milliseconds(median),
        milliseconds(*fastest),
        milliseconds(*slowest),
    );
    each
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Both in turns, as programs do it: file to verdict.
fn compare(what: &str, count: usize, pair: &Pair) {
    let path = std::env::temp_dir().join(format!("weighbridge-bench-{}", std::process::id()));
    let (pf, nft) = (path.with_extension("pf"), path.with_extension("nft"));
    let written = fs::write(&pf, &pair.pf).and_then(|()| fs::write(&nft, &pair.nft));
    let check = || {
        let mut command = Command::new("nft");
        command.arg("-c").arg("-f").arg(&nft);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if written.is_err() || !check() {
        println!("{what:<18} {count:>9}: not compared, `nft -c -f` does not work here");
    } else {
        let ours = measure(|| read_rules(&fs::read_to_string(&pf).unwrap_or_default()));
        let theirs = measure(|| assert!(check()));
        let a = report("  pf-conf", count, &ours);
        let b = report("  nft -c", count, &theirs);
        println!("{what:<18} nft's time to ours: {:.1}\n", b / a);
    }
    let _ = (fs::remove_file(pf), fs::remove_file(nft));
}
