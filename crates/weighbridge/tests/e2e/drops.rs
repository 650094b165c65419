//! Held to account for what it does not pass: each reason in `pfctl -si`, and each limit in
//! `pfctl -vsi`, against what the kernels of the switch inside and of the router outside have
//! counted on the wire.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::counters::named;
use lab::roles::{SERVICES_V4, SERVICES_V6};
use lab::{Capture, Configuration, RawSender, Role, clock};
use pf_engine::addr::Protocol;
use pf_engine::rule::tcp_flags::{ACK, PSH, SYN};
use pf_engine::wire::build::{self, Ip, Segment};
use pf_engine::wire::{Meta, checksum};

use crate::support::{Bench, PATIENCE, UNSHAPED, at_rest, until, with_daemon};

/// How often is tried what needs a machine that is not held up in the middle of it.
const TRIES: usize = 5;
/// Datagrams that the queue to the daemon has room for.
const BURST: u16 = 500;

/// Of hosts that are not there: locally administered.
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CLIENT: [u8; 4] = [216, 28, 123, 199];
const CLIENT_V6: [u16; 8] = [0x2001, 0xdb8, 0x28, 0x123, 0, 0, 0, 0x199];
/// Ethernet, IPv4 and TCP with timestamps, and no data.
const BARE_SEGMENT: usize = 14 + 20 + 32;
/// Ports of nobody.
const DISCARD: u16 = 9;
const SERVICE: u16 = 5353;

/// Frames of the client on the switch's way to the box, of others back to it, and of everybody
/// with IP either way; and those of the client behind the box.
const INSIDE: &str = "table netdev drops {\n counter sent { }\n counter answered { }\n \
    counter crossed { }\n \
    chain out { type filter hook egress device \"uplink\" priority 0; \
    ether type { ip, ip6 } counter name crossed; \
    ether saddr 02:00:00:00:00:01 counter name sent; }\n \
    chain in { type filter hook ingress device \"uplink\" priority 0; \
    ether type { ip, ip6 } counter name crossed; \
    ether daddr 02:00:00:00:00:01 counter name answered; }\n}\n";
const OUTSIDE: &str = "table netdev drops {\n counter arrived { }\n \
    chain in { type filter hook ingress device \"lan\" priority 0; \
    ether saddr 02:00:00:00:00:01 counter name arrived; }\n}\n";

/// Frames that the kernels have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Wire {
    sent: u64,
    answered: u64,
    crossed: u64,
    arrived: u64,
}

impl Wire {
    fn of(bench: &Bench) -> Result<Self> {
        let count = |role, name| -> Result<u64> {
            Ok(named(bench.lab.namespace(role), "netdev drops", name)?.packets)
        };
        Ok(Self {
            sent: count(Role::Switch, "sent")?,
            answered: count(Role::Switch, "answered")?,
            crossed: count(Role::Switch, "crossed")?,
            arrived: count(Role::Cisco, "arrived")?,
        })
    }

    const fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            answered: self.answered - before.answered,
            crossed: self.crossed - before.crossed,
            arrived: self.arrived - before.arrived,
        }
    }

    const fn lost(self) -> u64 {
        self.sent - self.arrived
    }
}

/// The client's side of the box, and the other.
struct Senders {
    client: RawSender,
    server: RawSender,
}

impl Senders {
    fn of(bench: &Bench) -> Result<Self> {
        bench.lab.namespace(Role::Switch).nft(INSIDE)?;
        bench.lab.namespace(Role::Cisco).nft(OUTSIDE)?;
        Ok(Self {
            client: RawSender::open(bench.lab.namespace(Role::Switch), "uplink")?,
            server: RawSender::open(bench.lab.namespace(Role::Cisco), "lan")?,
        })
    }

    fn client(&self, packet: &[u8]) -> Result<()> {
        Ok(self.client.send(&frame(SERVER_MAC, CLIENT_MAC, packet))?)
    }

    fn server(&self, packet: &[u8]) -> Result<()> {
        Ok(self.server.send(&frame(CLIENT_MAC, SERVER_MAC, packet))?)
    }

    fn clients(&self, packets: impl IntoIterator<Item = Vec<u8>>) -> Result<()> {
        let mut packets = packets.into_iter();
        packets.try_for_each(|packet| self.client(&packet))
    }
}

fn frame(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let six = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let kind = if six { [0x86, 0xdd] } else { [0x08, 0] };
    [&to[..], &from, &kind, packet].concat()
}

/// What stands before a label to ask how often its rule was looked at.
const EVALUATIONS: &str = "evaluations of ";
/// The same before the heading of a table in `pfctl -vsi`.
const ENTRIES: &str = "current entries of ";

/// A counter of `pfctl -vsi` or `pfctl -sl`.
fn counter(bench: &Bench, name: &str) -> Result<u64> {
    if let Some(label) = name.strip_prefix(EVALUATIONS) {
        let labels = bench.daemon.pfctl_ok(&["-sl"])?;
        let line = labels.lines().find_map(|line| line.strip_prefix(label));
        let word = line.and_then(|line| line.split_whitespace().next());
        return Ok(word.context("the label")?.parse()?);
    }
    if let Some(heading) = name.strip_prefix(ENTRIES) {
        let info = bench.daemon.pfctl_ok(&["-vsi"])?;
        let mut lines = info.lines().skip_while(|line| !line.starts_with(heading));
        let word = lines.nth(1).and_then(|line| line.split_whitespace().nth(2));
        return Ok(word.context("its first line")?.parse()?);
    }
    let info = bench.daemon.pfctl_ok(&["-vsi"])?;
    let line = info.lines().find_map(|line| {
        let rest = line.strip_prefix("  ")?.strip_prefix(name)?;
        rest.starts_with(' ').then_some(rest)
    });
    let word = line.and_then(|rest| rest.split_whitespace().next());
    let word = word.with_context(|| format!("no {name} in {info}"))?;
    Ok(word.parse()?)
}

/// Does something under these rules, and holds every one of the counters to what `expected` makes
/// of what the kernels have counted meanwhile; returns what they had counted before.
fn account(
    bench: &Bench,
    rules: &str,
    act: impl FnOnce() -> Result<()>,
    counters: &[(&str, &dyn Fn(Wire) -> u64)],
) -> Result<Wire> {
    bench.daemon.load(rules)?;
    bench.daemon.pfctl_ok(&["-F", "states"])?;
    bench.daemon.pfctl_ok(&["-F", "Sources"])?;
    let (wire_before, before) = at_rest(|| {
        let read = counters.iter().map(|(name, _)| counter(bench, name));
        Ok((Wire::of(bench)?, read.collect::<Result<Vec<u64>>>()?))
    })?;
    act()?;
    let mut seen = Vec::new();
    let mut wire = Wire::default();
    let agree = clock::wait_until(PATIENCE, || {
        wire = Wire::of(bench).map_or(wire, |now| now.since(wire_before));
        seen.clear();
        for ((name, expected), before) in counters.iter().zip(&before) {
            let now = counter(bench, name).unwrap_or_default();
            seen.push((*name, now - before, expected(wire)));
        }
        wire.sent > 0 && seen.iter().all(|(_, found, wanted)| found == wanted)
    });
    ensure!(agree, "under {rules}: {seen:?} of {wire:?}");
    ensure!(seen.iter().all(|(_, found, _)| *found > 0), "{seen:?}");
    Ok(wire_before)
}

/// The same, and waits until the kernels have counted what they should: what is told of a packet
/// is on its way when that is counted.
fn account_until(
    bench: &Bench,
    rules: &str,
    act: impl FnOnce() -> Result<()>,
    counters: &[(&str, &dyn Fn(Wire) -> u64)],
    is_so: impl Fn(Wire) -> bool,
) -> Result<()> {
    let before = account(bench, rules, act, counters)?;
    let mut wire = Wire::default();
    clock::wait_until(PATIENCE, || {
        wire = Wire::of(bench).map_or(wire, |now| now.since(before));
        is_so(wire)
    });
    ensure!(is_so(wire), "under {rules}: {wire:?}");
    Ok(())
}

fn lost(wire: Wire) -> u64 {
    wire.lost()
}

fn header() -> Ip {
    Ip::new(CLIENT.into(), SERVICES_V4[0].into())
}

fn header_v6() -> Ip {
    Ip::new(CLIENT_V6.into(), SERVICES_V6[0].into())
}

fn udp(header: &Ip, port: u16, to: u16, len: usize) -> Vec<u8> {
    build::udp(header, port, to, &vec![0x62; len])
}

/// Datagrams of both families from `count` ports.
fn datagrams(count: u16, to: u16) -> impl Iterator<Item = Vec<u8>> {
    (1..=count).flat_map(move |port| {
        [header(), header_v6()].map(|header| udp(&header, 2000 + port, to, 20))
    })
}

fn segment(header: &Ip, ports: (u16, u16), flags: u8, numbers: (u32, u32), len: usize) -> Vec<u8> {
    let mut segment = Segment::new(ports.0, ports.1, flags);
    (segment.seq, segment.ack) = numbers;
    build::tcp(header, &segment, &vec![0x61; len])
}

fn syn(port: u16) -> Vec<u8> {
    segment(&header(), (port, 22), SYN, (100, 0), 0)
}

fn back(header: Ip) -> Ip {
    Ip::new(header.destination, header.source)
}

/// A handshake of two hosts that are not there.
fn handshake(bench: &Bench, senders: &Senders, header: Ip, port: u16) -> Result<()> {
    let answer = segment(&back(header), (22, port), SYN | ACK, (900, 101), 0);
    let before = Wire::of(bench)?;
    let since = || Wire::of(bench).map_or_else(|_| Wire::default(), |now| now.since(before));
    senders.client(&segment(&header, (port, 22), SYN, (100, 0), 0))?;
    until("the SYN crosses", || since().arrived > 0)?;
    senders.server(&answer)?;
    until("the answer crosses", || since().answered > 0)?;
    senders.client(&segment(&header, (port, 22), ACK, (101, 901), 0))
}

/// A fragment (of nothing that was sent before) with this offset in bytes.
fn fragment(offset: u16, more: bool, len: usize) -> [Vec<u8>; 2] {
    let mut four = build::packet(&header(), Protocol(253), &vec![7; len]);
    let field = (offset / 8) | if more { 0x2000 } else { 0 };
    four[6..8].copy_from_slice(&field.to_be_bytes());
    fix(&mut four);
    let [high, low] = (offset | u16::from(more)).to_be_bytes();
    let head = [253, 0, high, low, 0, 0, 0, 9];
    let six = build::packet(
        &header_v6(),
        Protocol(44),
        &[&head[..], &vec![7; len]].concat(),
    );
    [four, six]
}

/// The header's checksum of a packet that is not what it says.
fn fix(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let length = usize::from(packet[0] & 15) * 4;
    let sum = lab::client::internet_checksum(&packet[..length]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// IPv4 with "record route", IPv6 with a destination option that nobody knows.
fn with_options() -> [Vec<u8>; 2] {
    let mut four = udp(&header(), 2000, DISCARD, 20);
    four.splice(20..20, [7, 3, 4, 0]);
    four[0] = 0x46;
    let len = u16::try_from(four.len()).unwrap_or_default();
    four[2..4].copy_from_slice(&len.to_be_bytes());
    fix(&mut four);
    let options = [17, 0, 0x1e, 4, 0, 0, 0, 0];
    let datagram = &udp(&header_v6(), 2000, DISCARD, 20)[40..];
    let six = build::packet(
        &header_v6(),
        Protocol(60),
        &[&options[..], datagram].concat(),
    );
    [four, six]
}

#[test]
fn packets_that_are_refused_as_they_are_count_by_their_reason() -> Result<()> {
    let files = Configuration::modern("pass no state\n");
    with_daemon("drops", UNSHAPED, &files, |bench| {
        let senders = Senders::of(bench)?;
        let plain = "pass no state\n";
        // Each packet that rules decide counts, passed or blocked, of the hosts' chatter too.
        let blocks = "set skip on { fxp0 em0 bridge0 }\npass no state label \"first\"\n\
                      block drop in on em1 proto udp to port 9\n";
        let decided = |wire: Wire| wire.crossed;
        let act = || {
            senders.clients(datagrams(3, DISCARD))?;
            senders.clients(datagrams(2, SERVICE))
        };
        let counters: [(&str, &dyn Fn(Wire) -> u64); 3] = [
            ("match", &decided),
            ("searches", &decided),
            ("evaluations of first", &decided),
        ];
        account_until(bench, blocks, act, &counters, |wire| {
            (wire.sent, wire.arrived) == (10, 4)
        })?;

        let whole = "set reassemble yes\npass no state\n";
        let beyond = || senders.clients(fragment(65_528, false, 16));
        account(bench, whole, beyond, &[("bad-offset", &lost)])?;
        let first = || senders.clients(fragment(0, true, 16));
        account(
            bench,
            whole,
            first,
            &[("current entries of Fragments", &lost)],
        )?;
        let uneven = || senders.clients(fragment(0, true, 13));
        account(bench, whole, uneven, &[("fragment", &lost)])?;
        let cut = || {
            senders.client(&build::packet(&header(), Protocol::UDP, &[0, 9, 0, 9]))?;
            senders.client(&build::packet(&header_v6(), Protocol::UDP, &[0, 9, 0, 9]))
        };
        account(bench, plain, cut, &[("short", &lost)])?;
        let small = "pass no state\npass in on em1 proto udp max-pkt-size 100\n";
        let long = || {
            senders.client(&udp(&header(), 2000, DISCARD, 200))?;
            senders.client(&udp(&header_v6(), 2000, DISCARD, 200))?;
            senders.client(&udp(&header_v6(), 2000, DISCARD, 20))
        };
        account(bench, small, long, &[("normalize", &lost)])?;
        let circle = "pass no state\nanchor \"a\" in on em1 proto udp {\n anchor \"/a\"\n}\n";
        let datagram = || senders.clients(datagrams(2, DISCARD));
        account(bench, circle, datagram, &[("memory", &lost)])?;
        let options = || senders.clients(with_options());
        account(bench, plain, options, &[("ip-option", &lost)])?;
        Ok(())
    })
}

#[test]
fn packets_that_cannot_be_translated_or_routed_count_by_their_reason() -> Result<()> {
    let files = Configuration::modern("pass no state\n");
    with_daemon("no way", UNSHAPED, &files, |bench| {
        let senders = Senders::of(bench)?;
        let datagram = || senders.clients(datagrams(3, SERVICE));
        let four = || {
            let mut ports = 1..=3;
            ports.try_for_each(|port| senders.client(&udp(&header(), port, SERVICE, 1000)))
        };
        let empty = "table <none> persist\npass no state\n\
                     pass out on fxp0 proto udp to port 5353 nat-to <none> round-robin\n";
        account(bench, empty, datagram, &[("map-failed", &lost)])?;
        // The other dialect has another name for it.
        let info = bench.daemon.pfctl_ok(&["--dialect", "openbsd", "-si"])?;
        let line = info.lines().find(|line| line.starts_with("  translate "));
        let shown = line.and_then(|line| line.split_whitespace().nth(1));
        ensure!(
            shown == Some(&*counter(bench, "map-failed")?.to_string()),
            "{info}"
        );

        let wrong = || {
            let header = Ip::new(CLIENT_V6.into(), "64:ff9b::c633:640a".parse()?);
            let mut packet = udp(&header, 2000, SERVICE, 20);
            packet[46] ^= 0xff;
            senders.client(&packet)
        };
        let cross = "pass no state\npass in on em1 inet6 proto udp from any to 64:ff9b::/96 \
                     af-to inet from 216.123.123.123\n";
        account(bench, cross, wrong, &[("proto-cksum", &lost)])?;

        let nowhere = "pass no state\n\
                       pass in on em1 inet proto udp to port 5353 route-to (em7 192.168.0.1)\n";
        account(bench, nowhere, four, &[("no-route", &lost)])?;
        let routed = nowhere.replace("em7", "em0");
        let old = || {
            let mut header = header();
            header.ttl = 1;
            senders.client(&udp(&header, 2000, SERVICE, 20))
        };
        let each_is_told = |wire: Wire| wire.sent > 0 && wire.answered == wire.sent;
        account_until(
            bench,
            &routed,
            old,
            &[("ttl-exceeded", &lost)],
            each_is_told,
        )?;
        bench
            .lab
            .namespace(Role::Box)
            .ip("link set dev em0 mtu 600")?;
        let large = || {
            let mut header = header();
            header.dont_fragment = true;
            senders.client(&udp(&header, 2000, SERVICE, 1000))
        };
        // The daemon hears of it a moment later.
        until("the MTU is known", || {
            let before = counter(bench, "too-big").unwrap_or_default();
            let sent = large().is_ok();
            clock::pause(Duration::from_millis(100));
            sent && counter(bench, "too-big").is_ok_and(|now| now > before)
        })?;
        let counters: [(&str, &dyn Fn(Wire) -> u64); 1] = [("too-big", &lost)];
        account_until(bench, &routed, large, &counters, each_is_told)?;
        Ok(())
    })
}

#[test]
fn packets_beyond_a_limit_count_by_their_reason_and_the_limit_by_its_name() -> Result<()> {
    let files = Configuration::modern("pass no state\n");
    with_daemon("limits", UNSHAPED, &files, |bench| {
        let senders = Senders::of(bench)?;
        let rule = |options: &str| {
            format!("pass no state\npass in on em1 proto udp to port 5353 keep state ({options})\n")
        };
        let datagram = || senders.clients(datagrams(4, SERVICE));
        let limits: [&dyn Fn(Wire) -> u64; 1] = [&lost];
        let [lost] = limits;
        for (options, reason, limit, pass) in [
            ("max 3", "state-limit", "max states per rule", 3),
            ("max-src-states 2", "src-limit", "max-src-states", 4),
        ] {
            let counters = [(reason, lost), (limit, lost)];
            account_until(bench, &rule(options), datagram, &counters, |wire| {
                (wire.sent, wire.arrived) == (8, pass)
            })
            .context(options)?;
        }
        let nodes = rule("source-track rule, max-src-nodes 1");
        let counters = [("src-limit", lost), ("max-src-nodes", lost)];
        account(bench, &nodes, datagram, &counters)?;
        let global = format!("set limit states 3\n{}", rule("floating"));
        account(bench, &global, datagram, &[("memory", lost)])?;
        connections(bench, &senders)
    })
}

/// `max-src-conn`: of three handshakes the last is too much.
fn connections(bench: &Bench, senders: &Senders) -> Result<()> {
    let rules = "set limit states 1000\npass no state\n\
                 pass in on em1 proto tcp to port 22 keep state (max-src-conn 2)\n";
    let three = || (1..=3).try_for_each(|port| handshake(bench, senders, header(), port));
    let counters: [(&str, &dyn Fn(Wire) -> u64); 2] =
        [("src-limit", &lost), ("max-src-conn", &lost)];
    // The third's last segment.
    account_until(bench, rules, three, &counters, |wire| wire.lost() == 1)
}

#[test]
fn segments_that_do_not_fit_their_state_count_by_their_reason() -> Result<()> {
    let files = Configuration::modern("pass\n");
    with_daemon("mismatch", UNSHAPED, &files, |bench| {
        let senders = Senders::of(bench)?;
        let act = || {
            for header in [header(), header_v6()] {
                handshake(bench, &senders, header, 4000)?;
                for _ in 0..3 {
                    let far = (0x4000_0000, 901);
                    senders.client(&segment(&header, (4000, 22), ACK | PSH, far, 10))?;
                }
            }
            Ok(())
        };
        let counters: [(&str, &dyn Fn(Wire) -> u64); 1] = [("state-mismatch", &lost)];
        account_until(bench, "pass\n", act, &counters, |wire| wire.lost() == 6)?;
        // Two states to one server, whose protocol has nothing else to tell them apart.
        let rules = "pass no state\npass in on em1 inet proto 253 from any to \
                     { 198.51.100.98, 198.51.100.99 } rdr-to 198.51.100.10\n";
        let both = || {
            for to in [98, 99, 99] {
                let header = Ip::new(CLIENT.into(), [198, 51, 100, to].into());
                senders.client(&build::packet(&header, Protocol(253), &[7; 20]))?;
            }
            Ok(())
        };
        account(bench, rules, both, &[("state-insert", &lost)])?;
        stale_timestamps(bench, &senders)
    })
}

/// Segments of a real connection, once more with a clock that has gone back.
fn stale_timestamps(bench: &Bench, senders: &Senders) -> Result<()> {
    let rules = "pass no state\npass in on em1 inet proto tcp to port 22 scrub (reassemble tcp)\n";
    bench.daemon.load(rules)?;
    let host = bench.lab.host(Role::H99);
    let mut connection = None;
    let act = || {
        let capture = Capture::start(host.namespace(), "eth0")?;
        let mut open = host.line_client(Bench::server(22))?;
        open.exchange("a line")?;
        open.exchange("another")?;
        connection = Some(open);
        let own = CLIENT_MAC;
        let has_data = |frame: &[u8]| {
            let meta = frame.get(14..).and_then(|packet| Meta::parse(packet).ok());
            meta.is_some_and(|meta| {
                meta.source == Bench::t1(Role::H99)
                    && meta.ports().is_some_and(|(_, to)| to == 22)
                    && frame.len() > BARE_SEGMENT
            })
        };
        capture.wait_for(PATIENCE, 2, has_data);
        let frames = capture.finish();
        let last = frames.iter().rev().find(|frame| has_data(frame));
        let mut packet = last.context("a segment with data")?[14..].to_vec();
        let at = packet.windows(4).position(|it| it == [1, 1, 8, 10]);
        let at = at.context("its timestamp")? + 4;
        packet[at] = packet[at].wrapping_sub(0x40);
        checksum::complete(&mut packet).ok().context("a packet")?;
        for _ in 0..3 {
            senders.client.send(&frame(SERVER_MAC, own, &packet))?;
        }
        Ok(())
    };
    let counters: [(&str, &dyn Fn(Wire) -> u64); 1] = [("bad-timestamp", &lost)];
    account_until(bench, rules, act, &counters, |wire| wire.lost() == 3)?;
    connection.context("it was open")?.exchange("still there")
}

/// Sends from so many ports, never more at once than the queue to the daemon has room for.
fn in_bursts(bench: &Bench, count: u16, send: impl Fn(u16) -> Result<()>) -> Result<()> {
    let before = counter(bench, "searches")?;
    for port in 1..=count {
        send(port)?;
        if port.is_multiple_of(BURST) {
            let taken = before + u64::from(port);
            until("the daemon has taken them", || {
                counter(bench, "searches").is_ok_and(|searches| searches >= taken)
            })?;
        }
    }
    Ok(())
}

/// Answers of which only so many a second are sent: on a machine that is held up, all may be.
fn limited(
    bench: &Bench,
    rules: &str,
    act: impl Fn() -> Result<()>,
    counted: (&str, &dyn Fn(Wire) -> u64),
) -> Result<()> {
    let mut last = account(bench, rules, &act, &[counted]);
    for _ in 1..TRIES {
        if last.is_ok() {
            break;
        }
        last = account(bench, rules, &act, &[counted]);
    }
    last.map(drop)
}

#[test]
fn answers_that_are_made_instead_of_passing_are_counted_one_by_one() -> Result<()> {
    let files = Configuration::modern("pass no state\n");
    with_daemon("answers", UNSHAPED, &files, |bench| {
        let senders = Senders::of(bench)?;
        let syns = |count: u16| {
            let senders = &senders;
            move || (1..=count).try_for_each(|port| senders.client(&syn(port)))
        };
        let answered = |wire: Wire| wire.answered;
        let unanswered = |wire: Wire| wire.sent - wire.answered;
        let proxy = "pass no state\npass in on em1 inet proto tcp to port 22 synproxy state\n";
        let counters: [(&str, &dyn Fn(Wire) -> u64); 1] = [("synproxy", &lost)];
        // Each has its SYN and ACK.
        account_until(bench, proxy, syns(5), &counters, |wire| wire.answered >= 5)?;

        let always = "set syncookies always\npass no state\npass in on em1 proto tcp to port 22\n";
        let counters: [(&str, &dyn Fn(Wire) -> u64); 2] =
            [("syncookies sent", &answered), ("synproxy", &lost)];
        account(bench, always, syns(5), &counters)?;
        let before = counter(bench, "syncookies validated")?;
        let mut client = bench.lab.host(Role::H99).line_client(Bench::server(22))?;
        client.exchange("hello")?;
        ensure!(counter(bench, "syncookies validated")? > before);
        drop(client);

        let adaptive = "set limit states 20\nset syncookies adaptive (start 25%, end 10%)\n\
                        pass no state\npass in on em1 inet proto tcp to port 22\n";
        let once = |_: Wire| 1;
        let counters: [(&str, &dyn Fn(Wire) -> u64); 2] = [
            ("syncookies sent", &answered),
            ("synfloods detected", &once),
        ];
        account_until(bench, adaptive, syns(12), &counters, |wire| {
            wire.sent == 12 && wire.sent == wire.arrived + wire.answered
        })?;

        let returns = "set limit states 1000\npass no state\n\
                       block return in on em1 inet proto { tcp, udp } to port { 9, 22 }\n";
        let unsaid: &dyn Fn(Wire) -> u64 = &unanswered;
        let resets = || in_bursts(bench, 800, |port| senders.client(&syn(port)));
        limited(bench, returns, resets, ("resets not sent", unsaid))?;
        let datagram = |port| senders.client(&udp(&header(), port, DISCARD, 1));
        let errors = || in_bursts(bench, 2400, datagram);
        limited(bench, returns, errors, ("icmp errors not sent", unsaid))
    })
}

#[test]
fn what_the_queue_to_a_daemon_that_does_not_read_has_no_room_for_is_congestion() -> Result<()> {
    let files = Configuration::modern("pass no state\n");
    with_daemon("congestion", UNSHAPED, &files, |bench| {
        let senders = Senders::of(bench)?;
        let pid = bench.daemon.pid().to_string();
        let signal = |name: &str| -> Result<()> {
            let done = Command::new("kill").args([name, &pid]).status()?;
            ensure!(done.success(), "kill {name}");
            Ok(())
        };
        let read = || Ok((Wire::of(bench)?, counter(bench, "congestion")?));
        let before = at_rest(read)?;
        signal("-STOP")?;
        let sent = (0..6).try_for_each(|_| senders.clients(datagrams(500, DISCARD)));
        signal("-CONT")?;
        sent?;
        let (mut wire, mut lost) = (Wire::default(), 0);
        let agree = clock::wait_until(PATIENCE, || {
            let Ok(after) = at_rest(read) else {
                return false;
            };
            (wire, lost) = (after.0.since(before.0), after.1 - before.1);
            // What hosts chatter meanwhile is lost on its way in or on its way out.
            let chatter = 3 * (wire.crossed - wire.sent);
            (wire.lost()..=wire.lost() + chatter).contains(&lost) && lost > 0 && wire.arrived > 0
        });
        ensure!(agree, "{lost} of {wire:?}");
        Ok(())
    })
}
