//! The IPv6 half of what rules do to packets beside passing them, and the priority that the kernel
//! sees.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use lab::counters::named;
use lab::frame::IpPacket;
use lab::roles::SERVICES_V6;
use lab::{Capture, Configuration, Role};

use crate::criteria::Listener;
use crate::support::{Bench, PATIENCE, UNSHAPED, with_daemon};

/// The box with addresses on the inside network and on the DSL line.
fn files(rules: &str) -> Configuration {
    let em0 = "inet 192.168.1.64 255.255.0.0 NONE\ninet6 2001:db8:d1::64 64\n";
    let fxp0 = "inet 216.123.123.123 255.255.252.0 NONE\ninet6 2001:db8:28:123::b0 64\n";
    Configuration::modern(rules)
        .with("hostname.em0", em0)
        .with("hostname.fxp0", fxp0)
}

fn server(port: u16) -> SocketAddr {
    SocketAddr::from((SERVICES_V6[0], port))
}

#[test]
fn what_comes_in_over_ipv6_goes_by_the_routing_table_of_its_rule() -> Result<()> {
    let rules = "pass\npass in on em1 inet6 proto tcp from 2001:db8:28:123::99 to any rtable 7\n";
    with_daemon("rtable IPv6", UNSHAPED, &files(rules), |bench| {
        let inside = bench.lab.namespace(Role::Box);
        inside.ip("-6 route add default via 2001:db8:28:123::1")?;
        inside.ip("-6 route add default via 2001:db8:d1::1 dev em0 table 7")?;
        for role in [Role::H99, Role::H50] {
            let host = bench.lab.namespace(role);
            host.ip("-6 route replace default via 2001:db8:28:123::b0 dev eth0")?;
        }
        let modem = bench.lab.namespace(Role::Modem1);
        modem.nft(
            "table ip6 seen {\n counter by_table { }\n chain through { \
             type filter hook forward priority 0; tcp dport 22 counter name by_table; }\n}\n",
        )?;
        let by_table = || -> Result<u64> { Ok(named(modem, "ip6 seen", "by_table")?.packets) };
        // Answers come by the T1, whatever way the question took.
        let mut other = bench.lab.host(Role::H50).line_client(server(22))?;
        other.exchange("as ever")?;
        ensure!(by_table()? == 0, "by the ordinary table");
        let mut session = bench.lab.host(Role::H99).line_client(server(22))?;
        session.exchange("by the table")?;
        ensure!(by_table()? > 2, "a handshake and a line");
        Ok(())
    })
}

#[test]
fn a_connection_over_ipv6_is_diverted_to_a_socket_of_the_box() -> Result<()> {
    let rules = "pass\npass in on em1 inet6 proto tcp from any to any port 22 \
                 divert-to ::1 port 8022\n";
    let files = files(rules).with("weighbridge.toml", "dialect = \"openbsd\"\n");
    with_daemon("divert-to IPv6", UNSHAPED, &files, |bench| {
        let _listener = Listener::start_v6(bench.lab.namespace(Role::Box))?;
        for _ in 0..2 {
            let wanted = Listener::asked(&bench.lab.host(Role::H99), server(22))?;
            ensure!(wanted == format!("wanted {}\n", server(22)), "{wanted:?}");
        }
        // Other ports go where they were going.
        let mut other = bench.lab.host(Role::H99).line_client(server(110))?;
        other.exchange("past it")
    })
}

/// A slow line whose queue sends the priorities 6 and 7 first (the first band of `pfifo_fast`): the
/// kernel does by itself what the packet's priority asks of it.
const SLOW_LINE: [&str; 2] = [
    "qdisc replace dev fxp0 root handle 1: tbf rate 200kbit burst 2000 latency 20s",
    "qdisc add dev fxp0 parent 1:1 pfifo_fast",
];

/// Datagrams that wait: a second's worth of the slow line.
const WAITING: usize = 25;
const TRIES: usize = 5;

/// How many of the waiting datagrams come before the one that was sent last, to port 53.
fn overtaken(bench: &Bench, to: SocketAddr) -> Result<usize> {
    let capture = Capture::start(bench.lab.namespace(Role::Cisco), "lan")?;
    bench.lab.namespace(Role::H99).run(|| -> Result<()> {
        let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
        let socket = UdpSocket::bind((any, 0))?;
        for _ in 0..WAITING {
            socket.send_to(&[0; 1000], (to.ip(), 443))?;
        }
        socket.send_to(b"urgent", to)?;
        Ok(())
    })?;
    let port_of = |frame: &[u8]| {
        let packet = IpPacket::of_frame(frame)?;
        let is_it = packet.protocol == 17 && packet.destination == to.ip();
        is_it.then(|| u16::from_be_bytes([packet.payload[2], packet.payload[3]]))
    };
    capture.wait_for(PATIENCE, WAITING + 1, |frame| port_of(frame).is_some());
    let frames = capture.finish();
    let ports: Vec<u16> = frames.iter().filter_map(|frame| port_of(frame)).collect();
    ensure!(ports.len() == WAITING + 1, "all arrive: {ports:?}");
    ports.iter().position(|port| *port == 53).context("port 53")
}

#[test]
fn the_kernel_sends_what_a_rule_has_made_urgent_before_what_waits() -> Result<()> {
    let plain = "pass no state\n";
    let urgent = "pass no state\npass out on fxp0 proto udp to port 53 set prio 6\n";
    with_daemon("set prio", UNSHAPED, &files(plain), |bench| {
        let inside = bench.lab.namespace(Role::Box);
        for line in SLOW_LINE {
            inside.tc(line)?;
        }
        for to in [Bench::server(53), server(53)] {
            bench.daemon.load(plain)?;
            let place = overtaken(bench, to)?;
            ensure!(place == WAITING, "in its turn: {place}");
            bench.daemon.load(urgent)?;
            // Who sends may be held up until most have gone.
            let mut place = WAITING;
            for _ in 0..TRIES {
                place = overtaken(bench, to)?.min(place);
                if place < WAITING / 2 {
                    break;
                }
            }
            ensure!(place < WAITING / 2, "before most: {place}");
        }
        Ok(())
    })
}
