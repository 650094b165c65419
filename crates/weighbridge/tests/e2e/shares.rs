//! Shares of what comes up: a flood of new connections from one source does not keep the others'
//! from the daemon.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::roles::SERVICES_V4;
use lab::service::{OTHER, PseudoRandom};
use lab::{Configuration, LabConfig, RawSender, Role, clock};
use pf_engine::rule::tcp_flags::SYN;
use pf_engine::wire::build::{self, Ip, Segment};

use crate::support::{Bench, SILENCE, with_daemon};

/// A flood has the machine to itself, as shaped labs have.
const ALONE: LabConfig = LabConfig {
    dsl_lines: 1,
    shaped: true,
};
/// Everything passes, with state.
const RULES: &str = "set limit states 2000000\npass\n";
/// Of a host that is not there, and of nobody: locally administered.
const FLOODER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NOBODY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const FLOODER: [u8; 4] = [216, 28, 123, 199];
const NOWHERE: [u8; 4] = [198, 51, 100, 99];
/// How long the flood has the box to itself.
const HEAD_START: Duration = Duration::from_secs(2);
/// How long it may take until somebody is held back: some thousand packets that the daemon has taken,
/// on a machine that others use too.
const UNTIL_HELD: Duration = Duration::from_secs(30);
/// How often is tried what others on this machine may spoil: four fifths come through on one at rest,
/// half is asked for.
const ATTEMPTS: usize = 6;
/// Connections of the other host, and how soon each has to be there: before a lost SYN is sent
/// again.
const CONNECTIONS: usize = 30;
const FEWER: usize = 8;
/// Datagrams from outside: fewer than a socket's buffer holds.
const DATAGRAMS: usize = 100;
const SOON: Duration = Duration::from_millis(700);

/// From whom the SYNs of a flood are.
#[derive(Clone, Copy, Debug)]
enum Sources {
    /// One host.
    One,
    /// Anybody, so it seems.
    Anybody,
}

/// SYNs to random ports, as many as go, until `done`.
fn flood(sender: &RawSender, from: Sources, done: &AtomicBool) {
    let mut random = PseudoRandom::seeded(11);
    while !done.load(Ordering::Relaxed) {
        let [first, second, third, _, high, low, ..] = random.draw().to_be_bytes();
        let source = match from {
            Sources::One => FLOODER,
            Sources::Anybody => [10, first, second, third],
        };
        let ip = Ip::new(IpAddr::from(source), IpAddr::from(NOWHERE));
        let ports = [[first, second], [high, low]].map(u16::from_be_bytes);
        let segment = Segment::new(ports[0].max(1), ports[1].max(1), SYN);
        let packet = build::tcp(&ip, &segment, &[]);
        let header = [&NOBODY_MAC[..], &FLOODER_MAC, &[0x08, 0]].concat();
        // A full queue loses frames of a flooder too.
        let _ = sender.send(&[header, packet].concat());
    }
}

/// How many of so many connections of another host succeed.
fn succeed(bench: &Bench, connections: usize) -> usize {
    let host = bench.lab.host(Role::H99);
    let to: SocketAddr = Bench::server(OTHER);
    let all = (0..connections).map(|_| host.tcp_connect_within(SOON, to));
    all.flatten().count()
}

/// The best of some attempts during a flood that holds somebody back; enough is enough.
fn best(
    bench: &Bench,
    from: Sources,
    enough: usize,
    attempt: impl Fn() -> Result<usize>,
) -> Result<usize> {
    during(bench, from, HEAD_START, || {
        let holds_back = || held_back(bench).is_ok_and(|packets| packets > 0);
        ensure!(
            clock::wait_until(UNTIL_HELD, holds_back),
            "nobody was held back"
        );
        let mut most = 0;
        for _ in 0..ATTEMPTS {
            most = attempt()?.max(most);
            if most >= enough {
                break;
            }
        }
        Ok(most)
    })
}

/// The worst of some attempts during a flood: who makes it may be held up too.
fn worst(
    bench: &Bench,
    from: Sources,
    is_worse: impl Fn(usize) -> bool,
    attempt: impl Fn() -> Result<usize>,
) -> Result<usize> {
    during(bench, from, HEAD_START, || {
        let mut least = attempt()?;
        for _ in 1..ATTEMPTS {
            if is_worse(least) {
                break;
            }
            least = attempt()?.min(least);
        }
        Ok(least)
    })
}

/// What comes of `work` during a flood, which has begun so much earlier.
fn during<T>(
    bench: &Bench,
    from: Sources,
    head_start: Duration,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let sender = RawSender::open(bench.lab.namespace(Role::Switch), "uplink")?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&sender, from, &done));
        clock::pause(head_start);
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// How many datagrams arrive that come by another port than the flood, each of a flow of its own.
fn arrive(bench: &Bench) -> Result<usize> {
    let inside = bench.lab.namespace(Role::H99);
    let receiver = inside.run(|| UdpSocket::bind("0.0.0.0:0"))?;
    receiver.set_read_timeout(Some(SILENCE))?;
    let port = receiver.local_addr()?.port();
    let to = SocketAddr::new(Bench::t1(Role::H99), port);
    let outside = bench.lab.namespace(Role::Internet);
    for _ in 0..DATAGRAMS {
        let from = SocketAddr::from((SERVICES_V4[0], 0));
        let socket = outside.run(|| UdpSocket::bind(from))?;
        socket.send_to(b"one", to)?;
        clock::pause(Duration::from_millis(10));
    }
    let mut buffer = [0; 16];
    Ok((0..DATAGRAMS)
        .take_while(|_| receiver.recv(&mut buffer).is_ok())
        .count())
}

/// What `pfctl -si` counts.
fn held_back(bench: &Bench) -> Result<u64> {
    let text = bench.daemon.pfctl_ok(&["-si"])?;
    let line = text.lines().find(|line| line.contains("upcall-share"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.context("a counter")?.parse()?)
}

fn files(fast_path: &str) -> Configuration {
    let setting = format!("fast-path = \"{fast_path}\"\n");
    Configuration::modern(RULES).with("weighbridge.toml", &setting)
}

#[test]
fn a_flood_of_one_source_does_not_keep_the_others_from_connecting() -> Result<()> {
    let mut with = 0;
    with_daemon("shares", ALONE, &files("on"), |bench| {
        let enough = CONNECTIONS * 8 / 10;
        with = best(bench, Sources::One, enough, || {
            Ok(succeed(bench, CONNECTIONS))
        })?;
        ensure!(
            with * 2 >= CONNECTIONS,
            "{with} of {CONNECTIONS} succeeded, {} packets were held back",
            held_back(bench)?
        );
        Ok(())
    })?;
    with_daemon("no shares", ALONE, &files("off"), |bench| {
        let is_worse = |without: usize| without * CONNECTIONS < with * FEWER;
        let without = worst(bench, Sources::One, is_worse, || Ok(succeed(bench, FEWER)))?;
        assert_eq!(held_back(bench)?, 0);
        ensure!(
            is_worse(without),
            "{without} of {FEWER} succeeded without shares, {with} of {CONNECTIONS} with them"
        );
        Ok(())
    })
}

#[test]
fn a_flood_of_random_sources_by_one_port_leaves_what_comes_by_another() -> Result<()> {
    let mut with = 0;
    with_daemon("shares of ports", ALONE, &files("on"), |bench| {
        let enough = DATAGRAMS * 8 / 10;
        with = best(bench, Sources::Anybody, enough, || arrive(bench))?;
        ensure!(
            with * 2 >= DATAGRAMS,
            "{with} of {DATAGRAMS} arrived, {} packets were held back",
            held_back(bench)?
        );
        Ok(())
    })?;
    with_daemon("no shares of ports", ALONE, &files("off"), |bench| {
        let is_worse = |without: usize| without < with;
        let without = worst(bench, Sources::Anybody, is_worse, || arrive(bench))?;
        ensure!(
            is_worse(without),
            "{without} arrived without shares, {with} with"
        );
        Ok(())
    })
}
