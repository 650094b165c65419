//! `modulate state`: other sequence numbers on the other side, and the stream intact.

use anyhow::{Context, Result, bail};
use lab::frame::Segment;
use lab::service::{HTTP, OTHER, sha256_of_bytes};
use lab::{Capture, Configuration, Role};

use crate::fast_path::{BULK, ON, Sent, assert_most_pass, assert_tcp_is_exact, transfer};
use crate::support::{Bench, UNSHAPED, with_daemon};

const BYTES: u64 = 100_000_000;
const TRIES: usize = 5;

/// The first segment to `port` that a capture holds.
fn first_segment(frames: &[Vec<u8>], port: u16) -> Result<Segment> {
    let segments = frames.iter().filter_map(|frame| Segment::of_frame(frame));
    let mut first = segments.filter(|s| s.is_first() && s.destination.port() == port);
    first.next().context("no connection was captured")
}

#[test]
fn initial_sequence_numbers_differ_on_the_two_sides_of_the_t1() -> Result<()> {
    with_daemon(
        "modulate",
        UNSHAPED,
        &Configuration::article(true),
        |bench| {
            let client = bench.lab.host(Role::H50);
            let inside = Capture::headers(client.namespace(), "eth0")?;
            let outside = Capture::headers(bench.lab.namespace(Role::Cisco), "lan")?;
            client
                .line_client(Bench::server(OTHER))?
                .exchange("hello")?;
            let inside = first_segment(&inside.finish(), OTHER)?;
            let outside = first_segment(&outside.finish(), OTHER)?;
            assert_eq!(
                (inside.source, inside.destination),
                (outside.source, outside.destination)
            );
            assert_ne!(inside.sequence, outside.sequence);
            Ok(())
        },
    )
}

/// By DSL, as the article has it, and on the bridge.
const ROUTED: &str = "\
nat on em0 inet from 216.28.123.0/24 to any -> (em0)
pass
pass in on em1 route-to (em0 192.168.0.1) inet proto tcp modulate state label \"tcp\"
pass out on em0 inet proto tcp modulate state
";
const BRIDGED: &str = "\
pass
pass in on em1 inet proto tcp modulate state label \"tcp\"
pass out on fxp0 inet proto tcp modulate state
";

/// 100 MB by DSL over a line with a short queue: it drops, and the receiver answers with SACK.
#[test]
fn a_long_transfer_with_sack_is_intact_behind_modulated_sequence_numbers() -> Result<()> {
    let article = Configuration::article(true);
    with_daemon("SACK", UNSHAPED, &article, |bench| {
        shape(bench)?;
        download(bench, BYTES)
    })
}

/// The cache moves the numbers of both states, and those in SACK blocks.
#[test]
fn a_transfer_with_sack_is_intact_where_the_kernel_modulates() -> Result<()> {
    let files = Configuration::modern(ROUTED).with("weighbridge.toml", ON);
    with_daemon("SACK, fast path", UNSHAPED, &files, |bench| {
        shape(bench)?;
        assert_most_pass(bench, || download(bench, BYTES / 4))
    })
}

#[test]
fn modulated_transfers_pass_in_the_kernel_and_each_segment_is_counted() -> Result<()> {
    let files = Configuration::modern(BRIDGED).with("weighbridge.toml", ON);
    with_daemon("modulate, fast path", UNSHAPED, &files, |bench| {
        let before = Sent::so_far(bench)?;
        let inside = Capture::headers(bench.lab.host(Role::H99).namespace(), "eth0")?;
        let outside = Capture::headers(bench.lab.namespace(Role::Cisco), "lan")?;
        let digest = sha256_of_bytes(BULK);
        assert_most_pass(bench, || transfer(bench, &digest))?;
        let inside = first_segment(&inside.finish(), HTTP)?;
        let outside = first_segment(&outside.finish(), HTTP)?;
        assert_ne!(inside.sequence, outside.sequence);
        assert_tcp_is_exact(bench, before)
    })
}

/// Gives the DSL line's far end a short queue.
fn shape(bench: &Bench) -> Result<()> {
    let internet = bench.lab.namespace(Role::Internet);
    internet.tc("qdisc add dev modem1 root tbf rate 150mbit burst 32k limit 64k")?;
    Ok(())
}

/// What comes by DSL, from a server whose line drops; again, if it has not: who sends may have been
/// held up so much that the queue was never full.
fn download(bench: &Bench, bytes: u64) -> Result<()> {
    for _ in 0..TRIES {
        if download_once(bench, bytes)? > 0 {
            return Ok(());
        }
    }
    bail!("the line dropped nothing: the test shows nothing")
}

/// How many SACK blocks there were.
fn download_once(bench: &Bench, bytes: u64) -> Result<usize> {
    bench.lab.until_connections_end()?;
    let client = bench.lab.host(Role::H99);
    let inside = Capture::headers(client.namespace(), "eth0")?;
    let outside = Capture::headers(bench.lab.namespace(Role::Modem1), "lan")?;
    let download = client.download(Bench::server(HTTP), bytes)?;
    assert_eq!(download.sha256, sha256_of_bytes(bytes));
    assert_eq!(download.server_saw.ip(), bench.dsl(1));

    let (inside, outside) = (inside.finish(), outside.finish());
    let client_first = first_segment(&inside, HTTP)?;
    let modem_first = first_segment(&outside, HTTP)?;
    assert_ne!(client_first.sequence, modem_first.sequence);
    assert_sack_fits(&outside)
}

/// Every SACK block that the server is sent lies above what is acknowledged and within what the
/// server has sent: it speaks of the server's own sequence numbers. How many there were.
fn assert_sack_fits(frames: &[Vec<u8>]) -> Result<usize> {
    let segments: Vec<_> = frames
        .iter()
        .filter_map(|frame| Segment::of_frame(frame))
        .collect();
    let answer = |s: &&Segment| s.source.port() == HTTP && s.data > 0;
    let first = segments
        .iter()
        .find(answer)
        .context("the server sent nothing")?
        .sequence;
    let acknowledgements = segments.iter().filter(|s| s.destination.port() == HTTP);
    let mut blocks = 0;
    for segment in acknowledgements {
        let acknowledged = segment.acknowledgement.wrapping_sub(first);
        for (left, right) in &segment.sack {
            let (left, right) = (left.wrapping_sub(first), right.wrapping_sub(first));
            // A block at or below the acknowledgement reports a duplicate (RFC 2883).
            let duplicate = right <= acknowledged;
            assert!(duplicate || left > acknowledged, "{segment:?}");
            assert!(
                left < right && u64::from(right) < BYTES + 1000,
                "{segment:?}"
            );
            blocks += 1;
        }
    }
    Ok(blocks)
}
