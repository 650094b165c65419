//! Limits and load: what is full says so, what is large holds nobody up, and memory is bounded.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab::capture::{Capture, RawSender};
use lab::client::LineClient;
use lab::clock::{pause, wait_until};
use lab::frame::Segment;
use lab::service::{HTTP, OTHER, sha256_of_bytes};
use lab::{Configuration, Host, Role};
use pf_engine::addr::Protocol;
use pf_engine::ruleset::Limit;
use pf_engine::wire::build;

use crate::support::{BINARY, Bench, PATIENCE, SILENCE, UNSHAPED, until_same, with_daemon};

/// The longest that a packet may wait for a load; longer in a debug build.
const STALL: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
/// How often is tried what a busy machine may hold up.
const TRIES: usize = 5;
/// Addresses of a large table.
const MANY: u32 = 1_000_000;

/// Rules that make one state for each connection of the inside to the line service, and only for
/// these.
fn one_state_each(options: &str) -> String {
    format!(
        "{options}\nblock quick inet6\npass quick on fxp0 no state\n\
         pass in quick on em1 proto tcp to port {OTHER} keep state\npass no state\n"
    )
}

/// A limit, as `weighbridge limits --json` has it.
fn limit(bench: &Bench, name: &str) -> Result<serde_json::Value> {
    let mut command = std::process::Command::new(BINARY);
    let output = command
        .args(["limits", "--json", "--socket"])
        .arg(bench.daemon.socket())
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let limits: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    let found = limits.into_iter().find(|limit| limit["name"] == name);
    found.with_context(|| format!("no limit {name}"))
}

/// Use, peak and hits of a limit.
fn gauge(bench: &Bench, name: &str) -> Result<(u64, u64, u64)> {
    let limit = limit(bench, name)?;
    let number = |field: &str| limit[field].as_u64().context("a number");
    Ok((number("used")?, number("peak")?, number("hits")?))
}

/// A counter of `pfctl -si`.
fn counter(bench: &Bench, name: &str) -> Result<u64> {
    let info = bench.daemon.pfctl_ok(&["-si"])?;
    let line = info
        .lines()
        .find(|line| line.trim_start().starts_with(name));
    let count = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(count
        .with_context(|| format!("no {name}: {info}"))?
        .parse()?)
}

fn connect(host: &Host) -> Result<LineClient> {
    let mut client = host.line_client(Bench::server(OTHER))?;
    client.exchange("hello")?;
    Ok(client)
}

/// Resident bytes of the daemon.
fn memory(bench: &Bench) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", bench.daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    Ok(kilobytes.context("VmRSS")?.parse::<u64>()? * 1024)
}

/// Pings all the time until it is asked for the longest that one took.
///
/// How long pings take while nothing happens, beside other tests, is measured first.
struct Pinging {
    bound: Duration,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(Duration, u32)>>,
}

impl Pinging {
    fn start(host: &Host) -> Result<Self> {
        let mut calm = Duration::ZERO;
        for _ in 0..50 {
            calm = host.ping(Bench::server(0).ip(), 56)?.max(calm);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, host) = (Arc::clone(&stop), host.clone());
        let thread = std::thread::spawn(move || {
            let (mut longest, mut count) = (Duration::ZERO, 0);
            while !stopped.load(Ordering::Relaxed) {
                longest = host.ping(Bench::server(0).ip(), 56)?.max(longest);
                count += 1;
                pause(Duration::from_millis(2));
            }
            Ok((longest, count))
        });
        Ok(Self {
            bound: STALL + calm * 4,
            stop,
            thread,
        })
    }

    /// How many there were. One that was lost, or waited too long, is an error.
    fn finish(self, during: &str) -> Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        let Ok(result) = self.thread.join() else {
            bail!("the pinging thread panicked");
        };
        let (longest, count) = result.context("a ping was lost")?;
        let bound = self.bound;
        ensure!(
            longest < bound,
            "{during}: {longest:?} of {count} pings; the bound is {bound:?}"
        );
        Ok(count)
    }
}

/// Pings while something happens, which it does again if one has waited too long: others use this
/// machine too. How many pings there were.
fn holds_nobody_up(
    host: &Host,
    during: &str,
    mut happens: impl FnMut() -> Result<()>,
) -> Result<u32> {
    let mut told = Err(anyhow!("not tried"));
    for _ in 0..TRIES {
        let pinging = Pinging::start(host)?;
        happens()?;
        told = pinging.finish(during);
        if told.is_ok() {
            break;
        }
    }
    told
}

#[test]
fn a_full_state_table_refuses_new_connections_keeps_the_old_and_recovers() -> Result<()> {
    let options = "set limit states 5\n\
         set timeout { interval 1, tcp.closing 1, tcp.finwait 1, tcp.closed 1, adaptive.start 0 }";
    let files = Configuration::modern(&one_state_each(options));
    with_daemon("state table exhaustion", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H50);
        let mut open = Vec::new();
        for _ in 0..5 {
            open.push(connect(&host)?);
        }
        ensure!(gauge(bench, "states")? == (5, 5, 0));
        let refused = host.tcp_connect_within(SILENCE, Bench::server(OTHER));
        ensure!(refused.is_err(), "there was no room for it");
        // Each is a drop.
        let hits = until_same(|| Ok((gauge(bench, "states")?.2, counter(bench, "memory")?)))?;
        let (used, peak, _) = gauge(bench, "states")?;
        ensure!((used, peak) == (5, 5) && hits > 0, "{hits} hits");
        bench.until_logged("limit of states (5) was hit")?;
        for client in &mut open {
            client.exchange("still here")?;
        }
        drop(open.pop());
        let room = || gauge(bench, "states").is_ok_and(|(used, _, _)| used < 5);
        ensure!(wait_until(PATIENCE, room), "it has ended");
        connect(&host)?;
        Ok(())
    })
}

#[test]
fn adaptive_timeouts_shorten_lives_and_no_limit_of_states_is_none() -> Result<()> {
    let options = "set timeout { interval 1, tcp.established 100, adaptive.start 2, \
         adaptive.end 12 }";
    let files = Configuration::modern(&one_state_each(options));
    with_daemon("adaptive timeouts", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H50);
        let mut open = vec![connect(&host)?, connect(&host)?];
        ensure!(longest_life(bench)? > 80, "two states are not many");
        for _ in 0..5 {
            open.push(connect(&host)?);
        }
        let life = longest_life(bench)?;
        ensure!(
            (30..=50).contains(&life),
            "(12 - 7) / (12 - 2) of 100 s: {life}"
        );
        open[0].exchange("still here")?;
        let rules = one_state_each("set limit states 0\nset timeout tcp.established 100");
        bench.daemon.load(&rules)?;
        let shown = bench.daemon.pfctl_ok(&["-sm"])?;
        ensure!(
            shown.contains("states        hard limit        0"),
            "{shown}"
        );
        for _ in 0..7 {
            open.push(connect(&host)?);
        }
        ensure!(gauge(bench, "states")? == (14, 14, 0));
        ensure!(longest_life(bench)? > 80, "nothing to scale by");
        for client in &mut open {
            client.exchange("all of them")?;
        }
        Ok(())
    })
}

/// The most seconds that a state has left.
fn longest_life(bench: &Bench) -> Result<u64> {
    let text = bench.daemon.pfctl_ok(&["-vss"])?;
    let times = text.lines().filter_map(|line| {
        let time = line.split("expires in ").nth(1)?.get(..8)?;
        let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
        Some(parts.next()?? * 3600 + parts.next()?? * 60 + parts.next()??)
    });
    times.max().context("no states")
}

#[test]
fn a_table_of_a_million_addresses_holds_nobody_up() -> Result<()> {
    let rules = "table <large> persist\nblock in quick on em1 from <large>\npass\n";
    let limits = format!("set limit table-entries {}\n", 2 * MANY);
    let files = Configuration::modern(&(limits.clone() + rules));
    with_daemon("a large table", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H50);
        let mut addresses = String::new();
        for number in 0..MANY {
            let address = Ipv4Addr::from_bits((20 << 24) + number * 5);
            let _ = writeln!(addresses, "{address}");
        }
        let file = bench.lab.directory().join("large");
        std::fs::write(&file, &addresses)?;
        let path = file.to_string_lossy().into_owned();
        let before = memory(bench)?;
        holds_nobody_up(&host, "adding", || {
            let change = |how: &[&str]| {
                let all = [&["-t", "large", "-T"], how].concat();
                bench.daemon.pfctl_ok(&all).map(drop)
            };
            change(&["flush"])?;
            change(&["add", "-f", &path])
        })?;
        ensure!(gauge(bench, "table-entries")? == (MANY.into(), MANY.into(), 0));
        let filled = rules.replace("persist", &format!("persist file \"{path}\""));
        let full = limits + &filled;
        holds_nobody_up(&host, "loading", || bench.daemon.load(&full))?;
        ensure!(gauge(bench, "table-entries")?.0 == u64::from(MANY));
        let last = Ipv4Addr::from_bits((20 << 24) + (MANY - 1) * 5).to_string();
        bench
            .daemon
            .pfctl_ok(&["-t", "large", "-T", "test", &last])?;
        // What is in the table, and as much again for the text on its way in.
        let bound = 2 * u64::from(MANY) * Limit::TableEntries.entry_bytes();
        let grown = memory(bench)?.saturating_sub(before);
        ensure!(grown < bound, "{} MiB more", grown >> 20);
        let refused = bench
            .daemon
            .load(&("set limit table-entries 999999\n".to_owned() + &filled));
        let said = format!("{:#}", refused.expect_err("too many"));
        ensure!(said.contains("limit of table-entries is 999999"), "{said}");
        ensure!(said.contains(":2:7:") && said.contains("hint:"), "{said}");
        Ok(())
    })
}

#[test]
fn more_addresses_than_the_limit_are_refused_by_name() -> Result<()> {
    let rules = "set limit table-entries 3\ntable <t> persist { 192.0.2.1 }\npass\n";
    with_daemon(
        "table limit",
        UNSHAPED,
        &Configuration::modern(rules),
        |bench| {
            let add = ["-t", "t", "-T", "add", "10.0.0.1", "10.0.0.2", "10.0.0.3"];
            let said = String::from_utf8(bench.daemon.pfctl(&add)?.stderr)?;
            ensure!(said.contains("table-entries limit of 3"), "{said}");
            ensure!(gauge(bench, "table-entries")? == (1, 1, 1));
            let huge = "set limit states 4000000000\npass\n";
            let refused = bench.daemon.load(huge).expect_err("too many");
            let said = format!("{refused:#}");
            ensure!(
                said.contains("cannot set limit states 4000000000"),
                "{said}"
            );
            ensure!(
                said.contains(":1:18:") && said.contains("hint: at most"),
                "{said}"
            );
            Ok(())
        },
    )
}

#[test]
fn ten_thousand_rules_are_loaded_under_traffic_and_the_last_decides() -> Result<()> {
    const BYTES: u64 = 4_000_000;
    with_daemon(
        "many rules",
        UNSHAPED,
        &Configuration::modern("pass\n"),
        |bench| {
            let host = bench.lab.host(Role::H50);
            let download = host.download_in_background(Bench::server(HTTP), BYTES);
            let rules = many_rules(OTHER);
            holds_nobody_up(&host, "loading rules", || bench.daemon.load(&rules))?;
            let download = download.join().ok().context("the download panicked")??;
            ensure!(download.sha256 == sha256_of_bytes(BYTES));
            let refused = host.tcp_connect_within(SILENCE, Bench::server(OTHER));
            ensure!(refused.is_err(), "the last rule blocks it");
            drop(host.tcp_connect(Bench::server(HTTP))?);
            let shown = bench.daemon.pfctl_ok(&["-sr"])?;
            ensure!(shown.lines().count() == 10_002, "{}", shown.lines().count());
            Ok(())
        },
    )
}

/// Ten thousand rules about strangers, between one that passes all and one that blocks a port.
fn many_rules(port: u16) -> String {
    let mut rules = "set ruleset-optimization none\npass\n".to_owned();
    for number in 0..10_000_u32 {
        let stranger = Ipv4Addr::from_bits((20 << 24) + number * 257);
        let _ = writeln!(rules, "block in on em1 proto tcp from {stranger} to any");
    }
    rules + &format!("block in on em1 proto tcp to any port {port}\n")
}

#[test]
fn reloads_in_a_loop_lose_no_state_and_decide_nothing_wrong() -> Result<()> {
    let files = Configuration::modern(&one_of_many(1));
    with_daemon("reloads", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H50);
        let pings = holds_nobody_up(&host, "reloading", || reload_in_a_loop(bench, &host))?;
        ensure!(pings > 10, "{pings} pings");
        // One table and no rule of before is left.
        ensure!(gauge(bench, "tables")?.0 == 1);
        Ok(())
    })
}

/// Rules that differ from those of another number.
fn one_of_many(number: u32) -> String {
    format!(
        "table <t> {{ 10.0.0.{number} }}\nblock in quick on em1 from <t>\n\
         block in quick on em1 proto tcp to port {OTHER}\npass label \"n{number}\"\n"
    )
}

/// While a download goes on, and somebody tries what all of the rules block.
fn reload_in_a_loop(bench: &Bench, host: &Host) -> Result<()> {
    const BYTES: u64 = 20_000_000;
    let download = host.download_in_background(Bench::server(HTTP), BYTES);
    let (stop, other) = (Arc::new(AtomicBool::new(false)), host.clone());
    let stopped = Arc::clone(&stop);
    let tried = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&tried);
    let blocked = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            let within = Duration::from_millis(100);
            if other
                .tcp_connect_within(within, Bench::server(OTHER))
                .is_ok()
            {
                return Err("a blocked connection got through");
            }
            counted.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    let mut reloads = 0;
    // Ten tries take a second: reloads go on as long as somebody tries.
    let busy = || tried.load(Ordering::Relaxed) < 10 && !blocked.is_finished();
    while reloads < 40 || !download.is_finished() || busy() {
        reloads += 1;
        bench.daemon.load(&one_of_many(reloads % 200 + 1))?;
    }
    stop.store(true, Ordering::Relaxed);
    let blocked = blocked.join().ok().context("a thread panicked")?;
    blocked.map_err(anyhow::Error::msg)?;
    let download = download.join().ok().context("the download panicked")??;
    ensure!(download.sha256 == sha256_of_bytes(BYTES));
    Ok(())
}

/// A frame's header as the host's own have it: behind it goes what no host sends.
fn header_of(host: &Host) -> Result<Vec<u8>> {
    let capture = Capture::start(host.namespace(), "eth0")?;
    drop(host.line_client(Bench::server(OTHER))?);
    let is_syn = |frame: &[u8]| {
        Segment::of_frame(frame).is_some_and(|s| s.is_first() && s.destination.port() == OTHER)
    };
    capture.wait_for(PATIENCE, 1, is_syn);
    let frames = capture.finish();
    let sent = frames.iter().find(|frame| is_syn(frame));
    Ok(sent
        .and_then(|frame| frame.get(..14))
        .context("no SYN")?
        .to_vec())
}

fn stranger(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits((10 << 24) + (66 << 16) + number))
}

#[test]
fn a_storm_of_icmp_and_a_flood_of_options_take_no_more_memory_than_the_limits_say() -> Result<()> {
    const STATES: u64 = 1_000;
    const FRAMES: u32 = 10_000;
    /// What a daemon may take besides: its thread stacks, buffers, log.
    const BESIDES: u64 = 24 << 20;
    let rules = format!("set limit states {STATES}\nset timeout adaptive.start 0\npass\n");
    let files = Configuration::modern(&rules);
    with_daemon("storm", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H50);
        let header = header_of(&host)?;
        let sender = RawSender::open(host.namespace(), "eth0")?;
        let before = memory(bench)?;
        for number in 0..FRAMES {
            let ip = build::Ip::new(stranger(number), Bench::server(0).ip());
            sender.send(&[&header[..], &build::echo_request(&ip, 7, 1, &[0; 32])].concat())?;
            if number % 64 == 0 {
                pause(Duration::from_millis(2));
            }
        }
        let full =
            || gauge(bench, "states").is_ok_and(|(_, peak, hits)| peak == STATES && hits > 0);
        ensure!(wait_until(PATIENCE, full), "{:?}", gauge(bench, "states")?);
        bench.daemon.pfctl_ok(&["-F", "states"])?;
        for number in 0..FRAMES {
            let packet = with_options(stranger(number));
            sender.send(&[&header[..], &packet].concat())?;
            if number % 64 == 0 {
                pause(Duration::from_millis(2));
            }
        }
        let counted = || counter(bench, "ip-option").is_ok_and(|count| count > 100);
        ensure!(
            wait_until(PATIENCE, counted),
            "{}",
            bench.daemon.pfctl_ok(&["-si"])?
        );
        let grown = memory(bench)?.saturating_sub(before);
        let bound = STATES * Limit::States.entry_bytes() + BESIDES;
        ensure!(grown < bound, "{} KiB more", grown >> 10);
        bench.daemon.pfctl_ok(&["-F", "states"])?;
        host.ping(Bench::server(0).ip(), 56)?;
        Ok(())
    })
}

/// An echo request with the longest option that a header has room for: "record route".
fn with_options(source: IpAddr) -> Vec<u8> {
    let mut option = [0; 40];
    option[..3].copy_from_slice(&[7, 39, 4]);
    let ip = build::Ip::new(source, Bench::server(0).ip());
    let plain = build::packet(&ip, Protocol::ICMP, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
    let (header, rest) = plain.split_at(20);
    let mut packet = [header, &option, rest].concat();
    packet[0] = 0x4f;
    let length = u16::try_from(packet.len()).unwrap_or_default();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].fill(0);
    let sum = lab::client::internet_checksum(&packet[..60]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}
