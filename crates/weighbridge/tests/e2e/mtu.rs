//! A DSL path with a smaller MTU: path MTU discovery works from end to end.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use lab::frame::IpPacket;
use lab::service::{HTTP, sha256_of_bytes};
use lab::{Capture, Configuration, Role, article};

use crate::support::{Bench, UNSHAPED, with_daemon};

const BYTES: u64 = 400_000;
/// ICMP's protocol number, and "fragmentation needed" (RFC 792, RFC 1191 section 4).
const ICMP: u8 = 1;
const FRAGMENTATION_NEEDED: [u8; 2] = [3, 4];

/// Uploads by DSL and returns the "fragmentation needed" that the client was sent: the MTU it
/// names, and the packet it quotes.
fn told_mtu(bench: &Bench) -> Result<(u16, SocketAddr, SocketAddr)> {
    let client = bench.lab.host(Role::H99);
    let capture = Capture::start(client.namespace(), "eth0")?;
    let upload = client.upload(Bench::server(HTTP), BYTES)?;
    assert_eq!(upload.sha256, sha256_of_bytes(BYTES));
    assert_eq!(upload.server_saw.ip(), bench.dsl(1));
    let frames = capture.finish();
    let packets = frames.iter().filter_map(|frame| IpPacket::of_frame(frame));
    let mut errors = packets.filter(|packet| {
        packet.protocol == ICMP && packet.payload.starts_with(&FRAGMENTATION_NEEDED)
    });
    let error = errors.next().context("the client was not told")?;
    assert_eq!(error.destination, Bench::t1(Role::H99));
    let mtu = u16::from_be_bytes([error.payload[6], error.payload[7]]);
    let quoted = IpPacket::parse(&error.payload[8..]).context("nothing is quoted")?;
    let quoted_port = |at: usize| u16::from_be_bytes([quoted.payload[at], quoted.payload[at + 1]]);
    Ok((
        mtu,
        SocketAddr::new(quoted.source, quoted_port(0)),
        SocketAddr::new(quoted.destination, quoted_port(2)),
    ))
}

fn assert_original(source: SocketAddr, destination: SocketAddr) {
    assert_eq!(
        source.ip(),
        Bench::t1(Role::H99),
        "the address before translation"
    );
    assert!(source.port() >= 1024 && destination == Bench::server(HTTP));
}

#[test]
fn a_smaller_mtu_of_em0_is_told_to_the_client_with_its_own_addresses() -> Result<()> {
    with_daemon(
        "mtu of em0",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            bench
                .lab
                .namespace(Role::Box)
                .ip("link set dev em0 mtu 1400")?;
            let (mtu, source, destination) = told_mtu(bench)?;
            assert_eq!(mtu, 1400);
            assert_original(source, destination);
            Ok(())
        },
    )
}

#[test]
fn a_smaller_mtu_behind_the_modem_is_told_to_the_client_with_its_own_addresses() -> Result<()> {
    with_daemon(
        "mtu of modem",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            bench
                .lab
                .namespace(Role::Modem1)
                .ip("link set dev wan mtu 1400")?;
            // The internet goes on announcing 1460 bytes a segment.
            let (mtu, source, destination) = told_mtu(bench)?;
            assert_eq!(mtu, 1400);
            assert_original(source, destination);
            Ok(())
        },
    )
}

#[test]
fn a_refused_datagram_is_told_to_the_client_through_both_translations() -> Result<()> {
    with_daemon(
        "port unreachable",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let client = bench.lab.host(Role::H99);
            // Nobody serves UDP on the SSH port.
            let error = client
                .udp_exchange(Bench::server(22), b"anyone?")
                .unwrap_err();
            let error = error.downcast::<std::io::Error>()?;
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
            Ok(())
        },
    )
}

#[test]
fn fragmented_datagrams_cross_translated_and_untranslated() -> Result<()> {
    // PF of that time reassembled where a scrub rule said so.
    let rules = format!("scrub in\nscrub out\n{}", article::pf_conf(true));
    with_daemon(
        "fragments",
        UNSHAPED,
        &Configuration::article(true).with("pf.conf", &rules),
        |bench| {
            let payload: Vec<u8> = (0..6000_u32).map(|n| n.to_le_bytes()[0]).collect();
            let client = bench.lab.host(Role::H99);
            let ways: [(u16, IpAddr); 2] = [(443, bench.dsl(1)), (53, Bench::t1(Role::H99))];
            for (port, way) in ways {
                let (seen, echo) = client.udp_exchange(Bench::server(port), &payload)?;
                assert_eq!(seen.ip(), way, "port {port}");
                assert_eq!(echo, payload);
            }
            client.ping(Bench::server(0).ip(), 8000)?;
            Ok(())
        },
    )
}
