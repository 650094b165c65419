//! Shares of what comes up: a flood of new connections from one source does not keep the others'
//! from the daemon.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::service::{OTHER, PseudoRandom};
use lab::{Configuration, RawSender, Role, clock};
use pf_engine::rule::tcp_flags::SYN;
use pf_engine::wire::build::{self, Ip, Segment};

use crate::support::{Bench, UNSHAPED, with_daemon};

/// Everything passes, with state.
const RULES: &str = "set limit states 2000000\npass\n";
/// Of a host that is not there, and of nobody: locally administered.
const FLOODER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NOBODY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const FLOODER: [u8; 4] = [216, 28, 123, 199];
const NOWHERE: [u8; 4] = [198, 51, 100, 99];
/// How long the flood has the box to itself.
const HEAD_START: Duration = Duration::from_secs(2);
/// Connections of the other host, and how soon each has to be there: before a lost SYN is sent
/// again.
const CONNECTIONS: usize = 30;
const FEWER: usize = 8;
const SOON: Duration = Duration::from_millis(700);

/// SYNs from one host to random ports, as many as go, until `done`.
fn flood(sender: &RawSender, done: &AtomicBool) {
    let mut random = PseudoRandom::seeded(11);
    let ip = Ip::new(IpAddr::from(FLOODER), IpAddr::from(NOWHERE));
    while !done.load(Ordering::Relaxed) {
        let [.., a, b, c, d] = random.draw().to_be_bytes();
        let ports = [[a, b], [c, d]].map(u16::from_be_bytes);
        let segment = Segment::new(ports[0].max(1), ports[1].max(1), SYN);
        let packet = build::tcp(&ip, &segment, &[]);
        let header = [&NOBODY_MAC[..], &FLOODER_MAC, &[0x08, 0]].concat();
        // A full queue loses frames of a flooder too.
        let _ = sender.send(&[header, packet].concat());
    }
}

/// How many of so many connections of another host succeed during a flood.
fn succeed(bench: &Bench, connections: usize) -> Result<usize> {
    let sender = RawSender::open(bench.lab.namespace(Role::Switch), "uplink")?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| flood(&sender, &done));
        clock::pause(HEAD_START);
        let host = bench.lab.host(Role::H99);
        let to: SocketAddr = Bench::server(OTHER);
        let all = (0..connections).map(|_| host.tcp_connect_within(SOON, to));
        let succeeded = all.filter(Result::is_ok).count();
        done.store(true, Ordering::Relaxed);
        Ok(succeeded)
    })
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
    with_daemon("shares", UNSHAPED, &files("on"), |bench| {
        with = succeed(bench, CONNECTIONS)?;
        let held_back = held_back(bench)?;
        ensure!(held_back > 0, "nobody was held back");
        ensure!(
            with * 10 >= CONNECTIONS * 8,
            "{with} of {CONNECTIONS} succeeded, {held_back} packets were held back"
        );
        Ok(())
    })?;
    with_daemon("no shares", UNSHAPED, &files("off"), |bench| {
        let without = succeed(bench, FEWER)?;
        assert_eq!(held_back(bench)?, 0);
        ensure!(
            without * CONNECTIONS < with * FEWER,
            "{without} of {FEWER} succeeded without shares, {with} of {CONNECTIONS} with them"
        );
        Ok(())
    })
}
