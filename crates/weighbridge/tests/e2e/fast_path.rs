//! The flow cache on real traffic: packets pass in the kernel, and every figure of pfctl is what
//! it would be without.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::client::LineClient;
use lab::roles::SERVICES_V4;
use lab::service::{HTTP, OTHER, sha256_of_bytes};
use lab::{Configuration, Role, Weighbridge, clock};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use crate::support::{
    BINARY, Bench, PATIENCE, SILENCE, UNSHAPED, at_rest, until_is, until_same, with_daemon,
};

pub(crate) const ON: &str = "fast-path = \"on\"\n";
const RULES: &str = "\
pass
pass in on em1 inet proto tcp keep state label \"tcp\"
pass in on em1 inet proto udp keep state label \"udp\"
pass in on em1 inet proto icmp keep state label \"icmp\"
";
/// By a line of its own, translated.
const ROUTED: &str = "\
nat on em0 inet from 216.28.123.0/24 to any -> (em0)
pass
pass in on em1 route-to (em0 192.168.0.1) inet proto tcp keep state label \"tcp\"
pass in on em1 route-to (em0 192.168.0.1) inet proto udp keep state label \"udp\"
";
/// Everything without state but what is blocked.
const STATELESS: &str = "\
pass no state
pass inet proto udp no state label \"udp\"
block in on em1 inet proto udp to port 5353 label \"blocked udp\"
block in on em1 inet proto tcp to port 80 label \"blocked tcp\"
";
/// Packets that are blocked, and where their SYNs come from.
const KNOCKER: u16 = 20_000;
const ATTEMPTS: u64 = 100;
/// Enough for many super-packets.
pub(crate) const BULK: u64 = 8_000_000;
const LINES: usize = 50;
const CONNECTIONS: u64 = 200;
/// So many that most pass in the kernel, however long the cache takes to be filled (16 turns of 256
/// packets).
const DATAGRAMS: usize = 3_000;
/// How often is tried what the cache does for most packets: while the next packet always waits when
/// one is done, as on a busy machine, it is not filled.
const TRIES: usize = 5;

fn files(rules: &str) -> Configuration {
    Configuration::modern(rules).with("weighbridge.toml", ON)
}

pub(crate) fn flows(bench: &Bench) -> Result<BTreeMap<String, serde_json::Value>> {
    bench.daemon.flows()
}

pub(crate) fn flow_counter(bench: &Bench, name: &str) -> Result<u64> {
    let flows = flows(bench)?;
    let value = flows.get(name).and_then(serde_json::Value::as_u64);
    value.with_context(|| format!("{name} of {flows:?}"))
}

/// Packets that devices of the lab had no room for, and those of their receivers' queues.
fn lost_by_devices(bench: &Bench) -> Result<u64> {
    let roles = [
        Role::H99,
        Role::Switch,
        Role::Box,
        Role::Cisco,
        Role::Modem1,
        Role::Internet,
    ];
    let lost = roles.map(|role| -> Result<u64> {
        let text = bench
            .lab
            .namespace(role)
            .read("/proc/thread-self/net/dev")?;
        let columns = text.lines().skip(2).map(|line| {
            let (_, rest) = line.split_once(':').unwrap_or_default();
            let columns: Vec<u64> = rest.split_whitespace().flat_map(str::parse).collect();
            // Dropped of what was received, and of what was sent.
            [3, 11].map(|at| columns.get(at).copied().unwrap_or(0))
        });
        Ok(columns.flatten().sum())
    });
    lost.into_iter().sum()
}

/// What has been sent, and what has been lost, at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    segments: u64,
    lost: u64,
}

impl Sent {
    /// Now.
    pub(crate) fn so_far(bench: &Bench) -> Result<Self> {
        Ok(Self {
            segments: segments(bench)?,
            lost: lost_by_devices(bench)?,
        })
    }
}

/// TCP segments that the host and the servers have sent, those of super-packets each
/// (`/proc/net/snmp`; what is received is counted as it is put together).
fn segments(bench: &Bench) -> Result<u64> {
    let ends = [Role::H99, Role::Internet].map(|role| segments_of(bench, role));
    ends.into_iter().sum()
}

fn segments_of(bench: &Bench, role: Role) -> Result<u64> {
    sent(bench, role, "Tcp:", &["OutSegs", "RetransSegs"])
}

/// The sum of counters that a host's kernel has of a protocol.
fn sent(bench: &Bench, role: Role, protocol: &str, counters: &[&str]) -> Result<u64> {
    let read = || std::fs::read_to_string("/proc/thread-self/net/snmp");
    let text = bench.lab.namespace(role).run(read)?;
    let mut lines = text.lines().filter(|line| line.starts_with(protocol));
    let (names, values) = lines.next().zip(lines.next()).context("counters")?;
    let values = names.split_whitespace().zip(values.split_whitespace());
    let values = values.filter(|(name, _)| counters.contains(name));
    let numbers: Vec<u64> = values.filter_map(|(_, v)| v.parse().ok()).collect();
    Ok(numbers.iter().sum())
}

/// Packets that rules with a label have counted (`pfctl -sl`).
fn label(bench: &Bench, name: &str) -> Result<u64> {
    let text = bench.daemon.pfctl_ok(&["-sl"])?;
    let mut numbers = text.lines().filter_map(|line| line.strip_prefix(name));
    let packets = numbers
        .next()
        .and_then(|line| line.split_whitespace().nth(1));
    packets.context("a label")?.parse().context("packets")
}

/// A counter of `pfctl -si`.
fn counter(bench: &Bench, name: &str) -> Result<u64> {
    let info = bench.daemon.pfctl_ok(&["-si"])?;
    let line = info.lines().find(|line| line.contains(name));
    let mut words = line.context("a counter")?.split_whitespace();
    words
        .nth(1)
        .context("a number")?
        .parse()
        .context("a number")
}

/// What the filter, the cache and the kernels' devices tell of packets that are missing.
fn lost_elsewhere(bench: &Bench) -> Result<String> {
    let info = bench.daemon.pfctl_ok(&["-vsi"])?;
    let mut told = vec![info, format!("{:?}", flows(bench)?)];
    for role in [Role::H99, Role::Box, Role::Internet] {
        let read = || std::fs::read_to_string("/proc/thread-self/net/dev");
        told.push(bench.lab.namespace(role).run(read)?);
    }
    // Of the whole machine: what its queues between devices had no room for is in the second column.
    told.push(std::fs::read_to_string("/proc/net/softnet_stat")?);
    Ok(told.join("\n"))
}

/// What pfctl has counted of the host's TCP agrees with the hosts' kernels. What is lost on a busy
/// machine, or comes so late that its window has moved on, may be so before it is counted or behind.
pub(crate) fn assert_tcp_is_exact(bench: &Bench, before: Sent) -> Result<()> {
    bench.lab.until_connections_end()?;
    let read = || {
        let reasons = ["congestion", "state-mismatch", "upcall-share"];
        let dropped = reasons.into_iter().map(|reason| counter(bench, reason));
        let dropped = dropped.sum::<Result<u64>>()?;
        let lost = lost_by_devices(bench)?.saturating_sub(before.lost);
        let seen = segments(bench)? - before.segments;
        Ok((label(bench, "tcp")?, seen, dropped + lost))
    };
    let mut found = (0, 0, 0);
    let agree = clock::wait_until(PATIENCE, || {
        found = at_rest(read).unwrap_or(found);
        let (counted, seen, dropped) = found;
        (seen - dropped.min(seen)..=seen).contains(&counted)
    });
    let (counted, seen, dropped) = found;
    ensure!(
        agree,
        "{counted} counted, {seen} sent, {dropped} dropped\n{}",
        lost_elsewhere(bench)?
    );
    Ok(())
}

/// Packets that have passed in the kernel, and that came up.
fn passed_and_decided(bench: &Bench) -> Result<[u64; 2]> {
    Ok([
        flow_counter(bench, "passed")?,
        flow_counter(bench, "decided")?,
    ])
}

/// When this is done most packets pass in the kernel, unless somebody keeps emptying the cache.
pub(crate) fn assert_most_pass(bench: &Bench, act: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 0..TRIES {
        let before = passed_and_decided(bench)?;
        act()?;
        let after = passed_and_decided(bench)?;
        let [passed, decided] = [0, 1].map(|which| after[which] - before[which]);
        let emptied = flow_counter(bench, "emptied")? > 0;
        let least = if emptied { 1 } else { 2 * decided };
        if passed >= least {
            return Ok(());
        }
    }
    bail!("most came up: {:?}", flows(bench)?)
}

/// A download and an upload, each intact.
pub(crate) fn transfer(bench: &Bench, digest: &str) -> Result<()> {
    let host = bench.lab.host(Role::H99);
    assert_eq!(host.download(Bench::server(HTTP), BULK)?.sha256, digest);
    assert_eq!(host.upload(Bench::server(HTTP), BULK)?.sha256, digest);
    Ok(())
}

fn session(bench: &Bench) -> Result<LineClient> {
    let host = bench.lab.host(Role::H99);
    host.line_client(Bench::server(OTHER))
}

/// Whether a connection has been cut off.
fn is_cut_off(session: &mut LineClient) -> Result<bool> {
    session.set_patience(SILENCE)?;
    Ok(session.exchange("anybody there?").is_err())
}

/// A connection whose packets pass in the kernel.
fn busy_session(bench: &Bench) -> Result<LineClient> {
    let mut session = session(bench)?;
    let before = flow_counter(bench, "passed")?;
    session.exchange("over the fast path")?;
    // While the next packet always waits when one is done, the cache is filled after some thousand.
    let in_kernel = || {
        let said = (0..LINES).try_for_each(|_| session.exchange("over the fast path"));
        said.is_ok() && flow_counter(bench, "passed").is_ok_and(|now| now > before)
    };
    let known = clock::wait_until(PATIENCE, in_kernel);
    ensure!(known, "nothing passed: {:?}", flows(bench)?);
    Ok(session)
}

#[test]
fn bulk_transfers_pass_in_the_kernel_and_each_segment_is_counted() -> Result<()> {
    with_daemon("fast path, bulk", UNSHAPED, &files(RULES), |bench| {
        let before = Sent::so_far(bench)?;
        let digest = sha256_of_bytes(BULK);
        assert_most_pass(bench, || transfer(bench, &digest))?;
        assert_tcp_is_exact(bench, before)
    })
}

/// Of many short connections so many packets of ten come up, no more. All are counted.
fn assert_short_connections_pass(bench: &Bench, of_ten: u64) -> Result<()> {
    let before = Sent::so_far(bench)?;
    let (mut connections, mut come_up) = (0, u64::MAX);
    let is_few = |come_up: u64| come_up < of_ten * CONNECTIONS / 10;
    for _ in 0..TRIES {
        let decided = flow_counter(bench, "decided")?;
        for _ in 0..CONNECTIONS {
            session(bench)?.exchange("a word")?;
        }
        bench.lab.until_connections_end()?;
        connections += CONNECTIONS;
        come_up = come_up.min(flow_counter(bench, "decided")? - decided);
        // Of a cache that somebody empties most of the connection may come up.
        if is_few(come_up) || flow_counter(bench, "emptied")? > 0 {
            break;
        }
    }
    assert_tcp_is_exact(bench, before)?;
    let states = bench.daemon.pfctl_ok(&["-ss"])?;
    let closed = |line: &&str| line.contains(&format!(":{}", Bench::server(OTHER).port()));
    let states: Vec<&str> = states.lines().filter(closed).collect();
    assert_eq!(states.len() as u64, 2 * connections, "at two hooks");
    for state in states {
        assert!(state.ends_with("FIN_WAIT_2:FIN_WAIT_2"), "{state}");
    }
    ensure!(
        is_few(come_up) || flow_counter(bench, "emptied")? > 0,
        "{come_up} packets of {CONNECTIONS} connections came up"
    );
    Ok(())
}

/// Closed states are to be there until they are looked at.
fn with_closed_kept(rules: &str) -> Configuration {
    let timeouts = "set timeout { tcp.finwait 3600, tcp.closed 3600 }\n";
    files(&format!("{timeouts}{rules}"))
}

#[test]
fn of_short_connections_the_first_packets_alone_come_up() -> Result<()> {
    let files = with_closed_kept(RULES);
    // The SYN at two hooks; one in ten connections may have two others.
    with_daemon("fast path, short", UNSHAPED, &files, |bench| {
        assert_short_connections_pass(bench, 22)
    })
}

#[test]
fn of_short_connections_that_are_routed_the_first_packets_alone_come_up() -> Result<()> {
    let files = with_closed_kept(ROUTED);
    // The SYN, and of the first connection its answer; one in two may have another.
    with_daemon("fast path, by a line", UNSHAPED, &files, |bench| {
        assert_short_connections_pass(bench, 15)
    })
}

#[test]
fn redirected_transfers_are_translated_in_the_kernel() -> Result<()> {
    let [there, instead, ..] = SERVICES_V4;
    let rules = format!("rdr on em1 inet proto tcp to {there} port 80 -> {instead}\n{RULES}");
    with_daemon("fast path, rdr", UNSHAPED, &files(&rules), |bench| {
        let before = Sent::so_far(bench)?;
        let digest = sha256_of_bytes(BULK);
        assert_most_pass(bench, || transfer(bench, &digest))?;
        assert_tcp_is_exact(bench, before)?;
        let states = bench.daemon.pfctl_ok(&["-ss"])?;
        assert!(
            states.contains(&format!("{instead}:80 ({there}:80)")),
            "{states}"
        );
        Ok(())
    })
}

#[test]
fn datagrams_and_pings_pass_in_the_kernel_and_are_counted() -> Result<()> {
    with_daemon("fast path, UDP", UNSHAPED, &files(RULES), |bench| {
        let host = bench.lab.host(Role::H99);
        let socket = datagrams_to(bench, 443)?;
        for _ in 0..DATAGRAMS {
            lab::client::udp_exchange_over(&socket, &[5; 100])?;
        }
        let datagrams = 2 * u64::try_from(DATAGRAMS)?;
        until_is(&datagrams, || label(bench, "udp"))?;
        host.ping(Bench::server(OTHER).ip(), 300)?;
        // Who is not answered soon asks again.
        until_same(|| {
            let asked = sent(bench, Role::H99, "Icmp:", &["OutEchos"])?;
            Ok((label(bench, "icmp")?, 2 * asked))
        })?;
        let passed = flow_counter(bench, "passed")?;
        // At two hooks each; the first dozen of the conversation come up.
        ensure!(passed > datagrams, "{:?}", flows(bench)?);
        // What is learnt of a way holds after some milliseconds, and this takes many more.
        let is_learnt = flow_counter(bench, "fused")? > 0;
        ensure!(
            is_learnt || flow_counter(bench, "emptied")? > 0,
            "{:?}",
            flows(bench)?
        );
        Ok(())
    })
}

#[test]
fn a_cache_that_is_emptied_at_any_moment_changes_nothing_but_speed() -> Result<()> {
    with_daemon("fast path, emptied", UNSHAPED, &files(RULES), |bench| {
        let before = Sent::so_far(bench)?;
        let digest = sha256_of_bytes(BULK);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| -> Result<()> {
            let emptied = scope.spawn(|| -> Result<()> {
                while !done.load(Ordering::Relaxed) {
                    // It changes nothing, but the daemon cannot know.
                    bench.daemon.pfctl_ok(&["-x", "misc"])?;
                    clock::pause(Duration::from_millis(3));
                }
                Ok(())
            });
            let transferred = (|| -> Result<()> {
                for number in 0.. {
                    transfer(bench, &digest)?;
                    if number >= 2 && flow_counter(bench, "emptied")? > 3 {
                        break;
                    }
                }
                Ok(())
            })();
            done.store(true, Ordering::Relaxed);
            emptied.join().map_err(|_| anyhow::anyhow!("panicked"))??;
            transferred
        })?;
        assert_tcp_is_exact(bench, before)
    })
}

#[test]
fn nothing_passes_in_the_kernel_once_its_state_is_killed_and_rules_block() -> Result<()> {
    with_daemon("fast path, killed", UNSHAPED, &files(RULES), |bench| {
        let mut session = busy_session(bench)?;
        bench.daemon.load("block\n")?;
        // States outlive their rules.
        session.exchange("still there")?;
        for _ in 0..LINES {
            session.exchange("still there")?;
        }
        bench.daemon.pfctl_ok(&["-F", "states"])?;
        assert_eq!(flow_counter(bench, "held")?, 0);
        assert!(is_cut_off(&mut session)?);
        Ok(())
    })
}

#[test]
fn the_cache_ends_with_a_daemon_that_dies() -> Result<()> {
    crate::support::with_lab("fast path, crash", UNSHAPED, |lab| {
        let daemon = Weighbridge::start(&lab, std::path::Path::new(BINARY), &files(RULES))?;
        let mut bench = Bench { daemon, lab };
        let mut session = busy_session(&bench)?;
        bench.daemon.kill()?;
        assert!(is_cut_off(&mut session)?);
        bench.daemon.forget_log();
        Ok(())
    })
}

#[test]
fn what_a_state_has_to_see_comes_up() -> Result<()> {
    let rules = "\
block quick inet6
pass
pass in on em1 inet proto tcp keep state (sloppy) label \"tcp\"
pass out on fxp0 inet proto tcp scrub (min-ttl 10) keep state
";
    with_daemon("fast path, refused", UNSHAPED, &files(rules), |bench| {
        let mut session = session(bench)?;
        for _ in 0..LINES {
            session.exchange("slow")?;
        }
        assert_eq!(flow_counter(bench, "passed")?, 0, "{:?}", flows(bench)?);
        Ok(())
    })
}

/// A socket of an inside host for datagrams to `port` of the server.
fn datagrams_to(bench: &Bench, port: u16) -> Result<UdpSocket> {
    let host = bench.lab.host(Role::H99);
    let socket = host.namespace().run(|| UdpSocket::bind("0.0.0.0:0"))?;
    socket.connect(Bench::server(port))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The host sends one SYN, each time from the same port. A child that another test has forked has the last
/// socket open until it executes: nobody else has its connection for so long.
fn knock(bench: &Bench, port: u16) -> Result<()> {
    let host = bench.lab.host(Role::H99);
    host.namespace().run(|| {
        let mut knocked = Ok(());
        clock::wait_until(PATIENCE, || {
            knocked = knock_from_here(port);
            knocked != Err(rustix::io::Errno::ADDRNOTAVAIL)
        });
        Ok(knocked?)
    })
}

fn knock_from_here(port: u16) -> rustix::io::Result<()> {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let socket = rustix::net::socket_with(family, kind, SocketFlags::NONBLOCK, Some(ipproto::TCP))?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::from(([0, 0, 0, 0], KNOCKER)))?;
    match rustix::net::connect(&socket, &Bench::server(port)) {
        Err(rustix::io::Errno::INPROGRESS) => Ok(()),
        other => other,
    }
}

#[test]
fn what_is_blocked_ends_in_the_kernel_and_passes_at_once_when_the_rules_say_so() -> Result<()> {
    with_daemon("fast path, blocked", UNSHAPED, &files(STATELESS), |bench| {
        let socket = datagrams_to(bench, 5353)?;
        let counted = || -> Result<[u64; 2]> {
            let datagrams = sent(bench, Role::H99, "Udp:", &["OutDatagrams"])?;
            Ok([datagrams, segments_of(bench, Role::H99)?])
        };
        let before = counted()?;
        let sent = || -> Result<[u64; 2]> {
            let now = counted()?;
            Ok([now[0] - before[0], now[1] - before[1]])
        };
        let labels = || -> Result<[u64; 2]> {
            Ok([label(bench, "blocked udp")?, label(bench, "blocked tcp")?])
        };
        let mut blocked = false;
        for _ in 0..2 * TRIES {
            for _ in 0..ATTEMPTS {
                socket.send(&[5; 100])?;
                knock(bench, HTTP)?;
            }
            // All that has been sent before the first decision is known comes up.
            until_same(|| Ok((labels()?, sent()?)))?;
            blocked = flow_counter(bench, "blocked")? > ATTEMPTS;
            if blocked {
                break;
            }
        }
        let sent = sent()?;
        ensure!(sent.iter().all(|packets| *packets >= ATTEMPTS), "{sent:?}");
        let emptied = flow_counter(bench, "emptied")? > 0;
        ensure!(blocked || emptied, "{:?}", flows(bench)?);
        bench.daemon.load("pass\n")?;
        assert_eq!(flow_counter(bench, "decisions")?, 0);
        transfer_once(bench)
    })
}

/// A download that rules blocked before.
fn transfer_once(bench: &Bench) -> Result<()> {
    let host = bench.lab.host(Role::H99);
    let downloaded = host.download(Bench::server(HTTP), 1000)?;
    assert_eq!(downloaded.sha256, sha256_of_bytes(1000));
    Ok(())
}

#[test]
fn datagrams_without_state_pass_in_the_kernel_and_are_counted() -> Result<()> {
    with_daemon(
        "fast path, no state",
        UNSHAPED,
        &files(STATELESS),
        |bench| {
            let socket = datagrams_to(bench, 443)?;
            let exchanged = Cell::new(0);
            assert_most_pass(bench, || {
                for _ in 0..DATAGRAMS {
                    lab::client::udp_exchange_over(&socket, &[5; 100])?;
                    exchanged.set(exchanged.get() + 1);
                }
                Ok(())
            })?;
            // Both ways, at two hooks each: there are no states.
            until_is(&(4 * exchanged.get()), || label(bench, "udp"))
        },
    )
}

/// Of its TCP sequence numbers are moved as well.
#[test]
fn what_the_article_sends_by_dsl_is_translated_and_routed_in_the_kernel() -> Result<()> {
    let article = Configuration::article(true);
    let settings = format!("{ON}{}", article.text("weighbridge.toml"));
    let files = article.with("weighbridge.toml", &settings);
    with_daemon("fast path, DSL", UNSHAPED, &files, |bench| {
        let socket = datagrams_to(bench, 443)?;
        for _ in 0..DATAGRAMS {
            lab::client::udp_exchange_over(&socket, &[5; 100])?;
        }
        let fused = flow_counter(bench, "fused")?;
        ensure!(fused > u64::try_from(DATAGRAMS)?, "{:?}", flows(bench)?);
        assert_eq!(bench.way_of(Role::H99, 22)?, bench.dsl(1));
        let digest = sha256_of_bytes(BULK);
        assert_most_pass(bench, || transfer(bench, &digest))
    })
}

#[test]
fn routes_and_answers_by_a_line_pass_in_the_kernel_and_each_segment_is_counted() -> Result<()> {
    with_daemon("fast path, routed", UNSHAPED, &files(ROUTED), |bench| {
        let before = Sent::so_far(bench)?;
        let digest = sha256_of_bytes(BULK);
        assert_most_pass(bench, || transfer(bench, &digest))?;
        assert_tcp_is_exact(bench, before)?;
        let socket = datagrams_to(bench, 443)?;
        for _ in 0..DATAGRAMS {
            lab::client::udp_exchange_over(&socket, &[5; 100])?;
        }
        let datagrams = 2 * u64::try_from(DATAGRAMS)?;
        until_is(&datagrams, || label(bench, "udp"))?;
        Ok(())
    })
}

#[test]
fn answers_by_a_line_follow_a_client_whose_frames_come_from_another_address() -> Result<()> {
    with_daemon("fast path, moved", UNSHAPED, &files(ROUTED), |bench| {
        let socket = datagrams_to(bench, 443)?;
        for address in ["02:00:00:00:99:01", "02:00:00:00:99:02"] {
            let moved = format!("link set dev eth0 address {address}");
            bench.lab.namespace(Role::H99).ip(&moved)?;
            for at in 0..DATAGRAMS {
                lab::client::udp_exchange_over(&socket, &[5; 100])
                    .with_context(|| format!("datagram {at} of {address}"))?;
            }
        }
        let passed = flow_counter(bench, "passed")?;
        ensure!(
            passed > u64::try_from(DATAGRAMS)? || flow_counter(bench, "emptied")? > 0,
            "{:?}",
            flows(bench)?
        );
        Ok(())
    })
}

/// What virtual pairs need for XDP: complete checksums, and other ends that take frames of a driver.
fn prepare_for_xdp(bench: &Bench) -> Result<()> {
    bench.set_feature(Role::H99, "eth0", "tx", false)?;
    bench.set_feature(Role::Internet, "t1", "tx", false)?;
    bench.set_feature(Role::Switch, "uplink", "gro", true)?;
    bench.set_feature(Role::Cisco, "lan", "gro", true)
}

#[test]
fn datagrams_pass_at_the_driver_and_are_counted() -> Result<()> {
    let xdp = "fast-path = \"xdp\"\n[xdp]\non-veth = true\n";
    let files = files(RULES).with("weighbridge.toml", xdp);
    with_daemon("fast path, XDP", UNSHAPED, &files, |bench| {
        prepare_for_xdp(bench)?;
        let socket = datagrams_to(bench, 443)?;
        for _ in 0..DATAGRAMS {
            lab::client::udp_exchange_over(&socket, &[5; 100])?;
        }
        let datagrams = 2 * u64::try_from(DATAGRAMS)?;
        until_is(&datagrams, || label(bench, "udp"))?;
        let at_driver = flow_counter(bench, "by_xdp")? > 0;
        let is_too_old = bench.daemon.log().contains("it takes Linux 5.18");
        ensure!(
            at_driver || is_too_old || flow_counter(bench, "emptied")? > 0,
            "{:?}; {}",
            flows(bench)?,
            bench.daemon.log()
        );
        Ok(())
    })
}
