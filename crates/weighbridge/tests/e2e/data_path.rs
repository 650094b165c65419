//! What crosses the bridge untouched, and what `block` stops.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::frame::{IpPacket, checksums_are_right};
use lab::service::{HTTP, OTHER, sha256_of_bytes};
use lab::{Capture, Configuration, FastPath, RawSender, Role, Weighbridge, clock, counters};

use crate::support::{BINARY, Bench, PATIENCE, SILENCE, UNSHAPED, until, with_daemon};

/// Locally administered, never on a real card.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Spanning tree and LACP (IEEE 802.1D table 7-10, 802.3 clause 43).
const BRIDGE_GROUP: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0];
const SLOW_PROTOCOLS: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 2];
const BROADCAST: [u8; 6] = [0xff; 6];

fn frame(destination: [u8; 6], kind: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &SENDER, kind, payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Whether a frame that is sent out of the switch's uplink arrives at the Cisco, unchanged.
/// (Sent there, because a switch keeps spanning tree and LACP for itself.)
fn crosses(bench: &Bench, frame: &[u8]) -> Result<bool> {
    arrives(bench, frame, PATIENCE)
}

fn is_stopped(bench: &Bench, frame: &[u8]) -> Result<bool> {
    Ok(!arrives(bench, frame, SILENCE / 3)?)
}

fn arrives(bench: &Bench, frame: &[u8], limit: Duration) -> Result<bool> {
    let capture = Capture::start(bench.lab.namespace(Role::Cisco), "lan")?;
    RawSender::open(bench.lab.namespace(Role::Switch), "uplink")?.send(frame)?;
    Ok(capture.wait_for(limit, 1, |arrived| arrived == frame))
}

/// An IPv4 packet of an experimental protocol (RFC 3692) from .34 to the Cisco's other network.
fn ip_packet() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 80, 0, 1, 0, 0, 64, 253, 0, 0];
    packet.extend([216, 28, 123, 34, 198, 51, 100, 10]);
    let checksum = lab::client::internet_checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.resize(80, 0x77);
    packet
}

#[test]
fn what_is_not_ip_crosses_even_where_all_ip_is_blocked() -> Result<()> {
    let files = Configuration::modern("block all\n");
    with_daemon("not IP", UNSHAPED, &files, |bench| {
        let spanning_tree = frame(BRIDGE_GROUP, &[0, 38], &[0x42, 0x42, 3, 0, 0, 0, 0]);
        assert!(crosses(bench, &spanning_tree)?, "STP");
        let lacp = frame(SLOW_PROTOCOLS, &[0x88, 0x09], &[1, 1, 1, 20]);
        assert!(crosses(bench, &lacp)?, "LACP");
        let arp = [
            0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 77, 0, 0, 0, 0, 0, 0,
        ];
        let arp = frame(
            BROADCAST,
            &[0x08, 0x06],
            &[&arp[..], &[192, 0, 2, 78]].concat(),
        );
        assert!(crosses(bench, &arp)?, "ARP");
        let experimental = frame(BROADCAST, &[0x88, 0xb5], &[9; 100]);
        assert!(crosses(bench, &experimental)?, "experimental ethertype");
        assert_tagged_ip_crosses(bench)?;

        let plain = frame(BROADCAST, &[0x08, 0], &ip_packet());
        assert!(is_stopped(bench, &plain)?, "IP is blocked");
        bench.daemon.load("pass\n")?;
        assert!(crosses(bench, &plain)?, "IP passes");
        Ok(())
    })
}

/// A capture does not show a tag that the kernel has taken off; its packet filter knows.
fn assert_tagged_ip_crosses(bench: &Bench) -> Result<()> {
    let cisco = bench.lab.namespace(Role::Cisco);
    let rules = [
        ("once", "vlan id 5 vlan pcp 1"),
        ("twice", "ether type 8021ad vlan id 7"),
    ];
    counters::count_frames(cisco, "lan", &rules)?;
    let sender = RawSender::open(bench.lab.namespace(Role::Switch), "uplink")?;
    let once = [0x81, 0, 0x20, 5, 0x08, 0];
    let twice = [0x88, 0xa8, 0, 7, 0x81, 0, 0, 5, 0x08, 0];
    sender.send(&frame(BROADCAST, &once, &ip_packet()))?;
    sender.send(&frame(BROADCAST, &twice, &ip_packet()))?;
    for (name, _) in rules {
        let arrived = || counters::named(cisco, "netdev weigh", name).is_ok_and(|c| c.packets == 1);
        assert!(clock::wait_until(PATIENCE, arrived), "IP tagged {name}");
    }
    Ok(())
}

#[test]
fn malformed_packets_are_dropped_and_counted_and_nothing_else_happens() -> Result<()> {
    with_daemon(
        "malformed",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let sender = RawSender::open(bench.lab.namespace(Role::Switch), "uplink")?;
            let good = ip_packet();
            for cut in 0..good.len() {
                sender.send(&[&BROADCAST[..], &SENDER, &[0x08, 0], &good[..cut]].concat())?;
            }
            for byte in 0..20 {
                for value in [0x00, 0x41, 0x4f, 0x6f, 0xff] {
                    let mut packet = good.clone();
                    packet[byte] = value;
                    sender.send(&frame(BROADCAST, &[0x08, 0], &packet))?;
                    sender.send(&frame(BROADCAST, &[0x86, 0xdd], &packet))?;
                }
            }
            bench.way_of(Role::H99, 22)?;
            until("short packets are counted", || {
                let info = bench.daemon.pfctl_ok(&["-si"]).unwrap_or_default();
                let short = info
                    .lines()
                    .find(|line| line.trim_start().starts_with("short"));
                let count = short.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
                count.is_some_and(|count: u64| count > 0)
            })
        },
    )
}

#[test]
fn block_and_pass_decide_by_port_host_and_direction() -> Result<()> {
    let rules = "\
        block return in on em1 proto tcp from any to any port 8080\n\
        pass in quick on em1 proto tcp from 216.28.123.50 to any port 8080\n\
        block in on fxp0 proto tcp from any to 216.28.123.0/24 port 22\n";
    with_daemon("block", UNSHAPED, &Configuration::modern(rules), |bench| {
        let refused = bench
            .lab
            .host(Role::H34)
            .tcp_connect(Bench::server(OTHER))
            .unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        bench
            .lab
            .host(Role::H50)
            .line_client(Bench::server(OTHER))?
            .exchange("allowed")?;
        bench.lab.serve(Role::H10)?;
        let internet = bench.lab.host(Role::Internet);
        let inside = Bench::t1(Role::H10);
        let silent = internet
            .tcp_connect_within(SILENCE, (inside, 22))
            .unwrap_err();
        assert_eq!(silent.kind(), std::io::ErrorKind::TimedOut);
        internet
            .line_client((inside, OTHER))?
            .exchange("another port")?;
        Ok(())
    })
}

#[test]
fn translation_works_on_the_bridge_in_both_grammars() -> Result<()> {
    let old = "\
        nat on fxp0 inet proto tcp from 216.28.123.10 to any port 8080 -> 216.28.123.77\n\
        rdr on em1 inet proto tcp from any to 198.51.100.99 port 2222 -> 198.51.100.10 port 22\n\
        pass\n";
    let new = "\
        pass in on em1 inet proto tcp to 198.51.100.99 port 2222 rdr-to 198.51.100.10 port 22\n\
        pass out on fxp0 inet proto tcp from 216.28.123.10 to any port 8080 \
            nat-to 216.28.123.77\n";
    for rules in [old, new] {
        with_daemon(
            "nat, rdr",
            UNSHAPED,
            &Configuration::modern(rules),
            |bench| {
                // The Cisco must find the translated address on the wire.
                bench
                    .lab
                    .namespace(Role::Cisco)
                    .ip("route add 216.28.123.77/32 via 216.28.123.10")?;
                let host = bench.lab.host(Role::H10);
                let mut session = host.line_client(Bench::server(OTHER))?;
                assert_eq!(session.server_saw().ip().to_string(), "216.28.123.77");
                session.exchange("translated")?;
                let elsewhere: SocketAddr = "198.51.100.99:2222".parse()?;
                let mut session = bench.lab.host(Role::H34).line_client(elsewhere)?;
                assert_eq!(session.server_saw().ip(), Bench::t1(Role::H34));
                session.exchange("redirected")?;
                Ok(())
            },
        )?;
    }
    Ok(())
}

#[test]
fn large_packets_with_offloaded_checksums_arrive_whole_both_ways() -> Result<()> {
    with_daemon(
        "offloads",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            for role in [Role::H99, Role::H50] {
                let host = bench.lab.host(role);
                let bytes = 20_000_000;
                let digest = sha256_of_bytes(bytes);
                assert_eq!(host.download(Bench::server(HTTP), bytes)?.sha256, digest);
                assert_eq!(host.upload(Bench::server(HTTP), bytes)?.sha256, digest);
            }
            Ok(())
        },
    )
}

/// The kernel takes a virtual port's checksums on trust; a real card would not. So what leaves
/// the box must carry right ones.
#[test]
fn what_leaves_the_box_carries_right_checksums() -> Result<()> {
    // What passes in the kernel may be left to the card, as what a bridge passes.
    let files = Configuration::article(true).on_path(Some(FastPath::Off));
    with_daemon("checksums", UNSHAPED, &files, check_checksums)
}

#[test]
fn what_is_translated_and_modulated_in_the_kernel_carries_right_checksums() -> Result<()> {
    let files = Configuration::article(true).on_path(Some(FastPath::On));
    with_daemon("checksums in the kernel", UNSHAPED, &files, |bench| {
        for (role, port) in [
            (Role::H99, "eth0"),
            (Role::Internet, "t1"),
            (Role::Internet, Role::Modem1.name()),
        ] {
            bench.set_feature(role, port, "tx", false)?;
        }
        check_checksums(bench)?;
        let flows = bench.daemon.flows()?;
        let passed = flows.get("passed").and_then(serde_json::Value::as_u64);
        ensure!(passed > Some(0), "{flows:?}");
        Ok(())
    })
}

/// What the box sends to each of its neighbours, by rules that translate and modulate.
fn check_checksums(bench: &mut Bench) -> Result<()> {
    let host = bench.lab.host(Role::H99);
    let modem = Capture::start(bench.lab.namespace(Role::Modem1), "lan")?;
    let cisco = Capture::start(bench.lab.namespace(Role::Cisco), "lan")?;
    let inside = Capture::start(host.namespace(), "eth0")?;
    host.upload(Bench::server(HTTP), 200_000)?;
    host.download(Bench::server(HTTP), 200_000)?;
    host.udp_exchange(Bench::server(443), &[1; 333])?;
    host.udp_exchange(Bench::server(53), &[2; 334])?;
    host.line_client(Bench::server(OTHER))?
        .exchange("over the T1")?;
    let _refused = host.udp_exchange(Bench::server(22), b"port unreachable");
    let checked = [
        ("modem", modem.finish(), "192.168.1.64"),
        ("Cisco", cisco.finish(), "216.28.123.99"),
        ("h99", inside.finish(), "198.51.100.10"),
    ];
    for (place, frames, source) in checked {
        let source: IpAddr = source.parse()?;
        // Frames of the box only: what a neighbour sends is filled in by its own card.
        let from_box = frames.iter().filter(|frame| {
            IpPacket::of_frame(frame).is_some_and(|packet| packet.source == source)
        });
        let verdicts = from_box.filter_map(|frame| checksums_are_right(frame));
        let (right, wrong): (Vec<_>, Vec<_>) = verdicts.partition(|right| *right);
        assert_eq!(
            wrong.len(),
            0,
            "{place}: wrong beside {} right ones",
            right.len()
        );
        assert!(right.len() >= 4, "{place}: {} frames", right.len());
    }
    Ok(())
}

/// `route-to` forwards, and what is forwarded gets older; what is bridged does not.
#[test]
fn routed_packets_get_older_by_one_hop_and_bridged_ones_do_not() -> Result<()> {
    with_daemon("TTL", UNSHAPED, &Configuration::article(true), |bench| {
        let host = bench.lab.host(Role::H99);
        let modem = Capture::start(bench.lab.namespace(Role::Modem1), "lan")?;
        let cisco = Capture::start(bench.lab.namespace(Role::Cisco), "lan")?;
        host.udp_exchange(Bench::server(443), b"routed")?;
        host.udp_exchange(Bench::server(53), b"bridged")?;
        let hops = |frames: &[Vec<u8>], port: u16| {
            let sent = frames.iter().find(|frame| {
                IpPacket::of_frame(frame)
                    .is_some_and(|packet| packet.payload.get(2..4) == Some(&port.to_be_bytes()))
            });
            sent.map(|frame| frame[22])
        };
        assert_eq!(hops(&modem.finish(), 443), Some(63));
        assert_eq!(hops(&cisco.finish(), 53), Some(64));
        Ok(())
    })
}

#[test]
fn an_address_added_to_a_table_changes_the_way_of_new_connections_at_once() -> Result<()> {
    with_daemon("tables", UNSHAPED, &Configuration::article(true), |bench| {
        let table = |command: &str| {
            bench
                .daemon
                .pfctl_ok(&["-t", "localnet", "-T", command, "198.51.100.0/24"])
        };
        let mut open = bench.lab.host(Role::H99).line_client(Bench::server(22))?;
        assert_eq!(open.server_saw().ip(), bench.dsl(1));
        table("add")?;
        assert_eq!(bench.way_of(Role::H99, 22)?, Bench::t1(Role::H99));
        open.exchange("by its state")?;
        table("delete")?;
        assert_eq!(bench.way_of(Role::H99, 22)?, bench.dsl(1));
        Ok(())
    })
}

#[test]
fn killed_states_end_their_connections_and_flushed_ones_all_of_them() -> Result<()> {
    let rules = "block in on em1 proto tcp flags A/A\npass in on em1 proto tcp flags S/SA\n";
    with_daemon("kill", UNSHAPED, &Configuration::modern(rules), |bench| {
        let mut one = bench.lab.host(Role::H99).line_client(Bench::server(22))?;
        let mut other = bench.lab.host(Role::H50).line_client(Bench::server(22))?;
        one.set_patience(SILENCE)?;
        bench.daemon.pfctl_ok(&["-k", "216.28.123.99"])?;
        other.exchange("untouched")?;
        assert!(one.exchange("cut").is_err());
        other.set_patience(SILENCE)?;
        bench.daemon.pfctl_ok(&["-F", "states"])?;
        assert!(other.exchange("cut too").is_err());
        Ok(())
    })
}

#[test]
fn where_the_daemon_was_killed_the_bridge_goes_on_and_the_next_daemon_starts() -> Result<()> {
    with_daemon(
        "kill -9",
        UNSHAPED,
        &Configuration::article(true).with(
            "weighbridge.toml",
            "dialect = \"openbsd3\"\nfail-policy = \"pass\"\n",
        ),
        |bench| {
            bench.daemon.kill()?;
            assert_eq!(bench.way_of(Role::H99, 22)?, Bench::t1(Role::H99));
            bench.daemon =
                Weighbridge::start(&bench.lab, BINARY.as_ref(), &Configuration::article(true))?;
            assert_eq!(bench.way_of(Role::H99, 22)?, bench.dsl(1));
            Ok(())
        },
    )
}
