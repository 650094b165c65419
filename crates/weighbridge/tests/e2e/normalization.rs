//! `scrub`, `set tos`, `set reassemble`: what the far end gets of real traffic.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use lab::frame::{IpPacket, Segment, checksums_are_right};
use lab::roles::SERVICES_V6;
use lab::service::{HTTP, sha256_of_bytes};
use lab::{Capture, Configuration, Role, article};

use crate::support::{Bench, UNSHAPED, until_is, until_same, with_daemon};

const BYTES: u64 = 300_000;
/// Type of service `ef` (RFC 3246), and the bits of it that are not ECN's (RFC 3168).
const EF: u8 = 0xb8;
const DSCP: u8 = 0xfc;

fn server6(port: u16) -> SocketAddr {
    SocketAddr::from((SERVICES_V6[0], port))
}

/// Type of service or traffic class of a frame's packet.
fn tos(frame: &[u8]) -> Option<u8> {
    match frame.get(14)? >> 4 {
        4 => frame.get(15).copied(),
        _ => Some(frame[14] << 4 | frame.get(15)? >> 4),
    }
}

/// The MSS that a SYN announces (RFC 9293, section 3.2).
fn mss(frame: &[u8]) -> Option<u16> {
    let packet = IpPacket::of_frame(frame)?;
    let mut options = packet.payload.get(20..)?;
    loop {
        match *options {
            [2, 4, high, low, ..] => return Some(u16::from_be_bytes([high, low])),
            [1, ref rest @ ..] => options = rest,
            [kind, len, ..] if kind != 0 && len >= 2 => {
                options = options.get(usize::from(len)..)?;
            }
            _ => return None,
        }
    }
}

/// Frames of TCP from `from` to `to`, where these are known.
fn segments(
    frames: &[Vec<u8>],
    from: IpAddr,
    to: IpAddr,
) -> impl Iterator<Item = (&[u8], Segment)> {
    frames.iter().filter_map(move |frame| {
        let segment = Segment::of_frame(frame)?;
        let ends = (segment.source.ip(), segment.destination.ip());
        (ends == (from, to)).then_some((frame.as_slice(), segment))
    })
}

/// What crossed a port.
type Frames = Vec<Vec<u8>>;

/// Downloads from `server` and returns what crossed the server's and the client's port.
fn download(bench: &Bench, server: SocketAddr) -> Result<(Frames, Frames)> {
    let client = bench.lab.host(Role::H50);
    let far = Capture::headers(bench.lab.namespace(Role::Internet), "t1")?;
    let near = Capture::headers(client.namespace(), "eth0")?;
    let download = client.download(server, BYTES)?;
    assert_eq!(download.sha256, sha256_of_bytes(BYTES));
    Ok((far.finish(), near.finish()))
}

const MARKING: &str = "\
match on em1 proto tcp scrub (max-mss 1200)
match in on em1 proto tcp to port 80 set tos ef
pass
";

#[test]
fn the_server_sees_the_lowered_mss_and_the_mark_on_each_packet_and_the_client_does_in_return()
-> Result<()> {
    let files = Configuration::modern(MARKING);
    with_daemon("max-mss and set-tos", UNSHAPED, &files, |bench| {
        let ends = [
            (Bench::server(HTTP), Bench::t1(Role::H50)),
            (
                server6(HTTP),
                IpAddr::V6(Role::H50.inside_v6().context("it has one")?),
            ),
        ];
        for (server, client) in ends {
            let (far, near) = download(bench, server)?;
            let sent: Vec<_> = segments(&far, client, server.ip()).collect();
            ensure!(sent.len() > 3, "{server}: {} segments", sent.len());
            assert!(sent.iter().any(|(_, segment)| segment.is_first()));
            for (frame, segment) in &sent {
                assert_eq!(tos(frame).map(|tos| tos & DSCP), Some(EF), "{segment:?}");
                if segment.is_first() {
                    assert_eq!(mss(frame), Some(1200));
                    assert_eq!(checksums_are_right(frame), Some(true));
                }
            }
            let answered = segments(&near, server.ip(), client);
            let announced: Vec<_> = answered
                .filter(|(_, segment)| segment.flags & lab::frame::SYN != 0)
                .map(|(frame, _)| mss(frame))
                .collect();
            assert_eq!(announced.first(), Some(&Some(1200)));
            let data = segments(&near, server.ip(), client).map(|(_, segment)| segment.data);
            assert!(data.max() > Some(1000), "the connection carried data");
        }
        let states = bench.daemon.pfctl_ok(&["-vvss"])?;
        assert!(states.contains(", set-tos 0xb8, max-mss 1200"), "{states}");
        Ok(())
    })
}

#[test]
fn the_old_grammar_scrubs_and_prints_its_rules_with_their_counters() -> Result<()> {
    let files = Configuration::article(true).with(
        "pf.conf",
        &format!(
            "scrub in on em1 inet proto tcp max-mss 1100 set-tos ef\nscrub in\n{}",
            article::pf_conf(true)
        ),
    );
    with_daemon("old scrub", UNSHAPED, &files, |bench| {
        let server = Bench::server(HTTP);
        let capture = Capture::headers(bench.lab.namespace(Role::Internet), "t1")?;
        bench.lab.host(Role::H50).download(server, BYTES)?;
        bench.lab.until_connections_end()?;
        let sent =
            |frames: &[Vec<u8>]| segments(frames, Bench::t1(Role::H50), server.ip()).count() as u64;
        // As many as crossed.
        until_same(|| Ok((scrubbed(bench)?, sent(&capture.frames()))))?;
        let frames = capture.finish();
        let mut sent = segments(&frames, Bench::t1(Role::H50), server.ip());
        let (first, segment) = sent.next().context("nothing was sent")?;
        assert!(segment.is_first());
        assert_eq!(mss(first), Some(1100));
        assert_eq!(tos(first).map(|tos| tos & DSCP), Some(EF));
        Ok(())
    })
}

/// Packets that the first rule has scrubbed, by the listing of it.
fn scrubbed(bench: &Bench) -> Result<u64> {
    let rules = bench.daemon.pfctl_ok(&["-vsr"])?;
    let mut lines = rules.lines();
    let rule = "scrub in on em1 inet proto tcp all max-mss 1100 set-tos 0xb8 fragment reassemble";
    assert_eq!(lines.next(), Some(rule));
    let counters = lines.next().and_then(|line| line.split_once("Packets: "));
    let (_, rest) = counters.context("no counters")?;
    let packets = rest.split(' ').next().context("no counters")?;
    Ok(packets.parse()?)
}

/// Packets of the label `pieces`.
fn blocked(bench: &Bench) -> Result<u64> {
    let labels = bench.daemon.pfctl_ok(&["-sl"])?;
    let packets = labels.split_whitespace().nth(2).context("no label")?;
    Ok(packets.parse()?)
}

#[test]
fn a_ping_of_sixty_kilobytes_crosses_the_bridge_in_both_families() -> Result<()> {
    // Whole they are pings, which may pass; in pieces they may not.
    let rules = |reassemble: &str| {
        format!(
            "set reassemble {reassemble}\npass\n\
             block in on em1 fragment label \"pieces\"\n"
        )
    };
    let files = Configuration::modern(&rules("yes"));
    with_daemon("large pings", UNSHAPED, &files, |bench| {
        let host = bench.lab.host(Role::H50);
        let servers = [Bench::server(0).ip(), server6(0).ip()];
        for server in servers {
            host.ping(server, 60_000)?;
        }
        assert_eq!(blocked(bench)?, 0);
        bench.daemon.load(&rules("no"))?;
        bench.daemon.pfctl_ok(&["-Fs"])?;
        for server in servers {
            host.ping(server, 500)?;
        }
        assert!(host.is_unanswered(servers[1], 3000));
        // Three attempts, each in three pieces.
        until_is(&9, || blocked(bench))
    })
}
