//! Handshakes that the filter makes: `synproxy state` and `set syncookies`.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use lab::capture::RawSender;
use lab::frame::Segment;
use lab::roles::{BOX_FXP0, SERVICES_V6};
use lab::service::{HTTP, OTHER, sha256_of_bytes};
use lab::{Capture, Configuration, Role};
use pf_engine::rule::tcp_flags;
use pf_engine::wire::{Meta, build};

use crate::support::{Bench, PATIENCE, UNSHAPED, until, with_daemon};

const BYTES: u64 = 3_000_000;

/// All TCP that comes from inside is proxied: over the bridge, out by DSL, and to the box.
const SYNPROXY: &str = "\
nat on em0 inet from 216.28.123.99 to any -> (em0)
pass
pass in on em1 proto tcp synproxy state label \"proxied\"
pass in on em1 route-to (em0 192.168.0.1) inet proto tcp from 216.28.123.99 to any port 80 \\
    synproxy state label \"by DSL\"
";

const COOKIES: &str = "set limit states 1000\nset syncookies always\npass\n";

/// The first segments with these flags to or from `port`.
fn first(frames: &[Vec<u8>], wanted: impl Fn(&Segment) -> bool) -> Result<Segment> {
    let mut segments = frames.iter().filter_map(|frame| Segment::of_frame(frame));
    segments.find(wanted).context("no such segment")
}

#[test]
fn a_proxied_connection_crosses_the_bridge_with_its_data() -> Result<()> {
    let files = Configuration::modern(SYNPROXY);
    with_daemon("synproxy", UNSHAPED, &files, |bench| {
        let client = bench.lab.host(Role::H50);
        let inside = Capture::headers(client.namespace(), "eth0")?;
        let outside = Capture::headers(bench.lab.namespace(Role::Cisco), "lan")?;
        let download = client.download(Bench::server(HTTP), BYTES)?;
        assert_eq!(download.sha256, sha256_of_bytes(BYTES));
        assert_eq!(download.server_saw.ip(), Bench::t1(Role::H50));
        let upload = client.upload(Bench::server(HTTP), BYTES)?;
        assert_eq!(upload.sha256, sha256_of_bytes(BYTES));
        // Here the server speaks first.
        let mut lines = client.line_client(Bench::server(OTHER))?;
        lines.exchange("hello")?;
        let state = format!(":{OTHER} <- 216.28.123.50:");
        let states = bench.states()?;
        let state = states.iter().find(|line| line.contains(&state));
        let state = state.context("no state of the connection")?;
        assert!(state.ends_with("ESTABLISHED:ESTABLISHED"), "{state}");

        let (inside, outside) = (inside.finish(), outside.finish());
        let answer = |s: &Segment| s.source.port() == HTTP && s.sequence != 0;
        let (near, far) = (first(&inside, answer)?, first(&outside, answer)?);
        assert_ne!(near.sequence, far.sequence, "each end has its own numbers");
        let client_first = |s: &Segment| s.destination.port() == HTTP && s.is_first();
        let (near, far) = (
            first(&inside, client_first)?,
            first(&outside, client_first)?,
        );
        assert_eq!(
            (near.source, near.destination),
            (far.source, far.destination)
        );
        assert_ne!(near.sequence, far.sequence);
        Ok(())
    })
}

#[test]
fn a_proxied_connection_leaves_by_dsl_and_is_translated() -> Result<()> {
    let files = Configuration::modern(SYNPROXY);
    with_daemon("synproxy DSL", UNSHAPED, &files, |bench| {
        let client = bench.lab.host(Role::H99);
        let download = client.download(Bench::server(HTTP), BYTES)?;
        assert_eq!(download.sha256, sha256_of_bytes(BYTES));
        assert_eq!(download.server_saw.ip(), bench.dsl(1));
        Ok(())
    })
}

#[test]
fn a_proxied_connection_over_ipv6() -> Result<()> {
    let files = Configuration::modern(SYNPROXY);
    with_daemon("synproxy IPv6", UNSHAPED, &files, |bench| {
        let client = bench.lab.host(Role::H50);
        let server = SocketAddr::from((SERVICES_V6[0], HTTP));
        let download = client.download(server, BYTES)?;
        assert_eq!(download.sha256, sha256_of_bytes(BYTES));
        Ok(())
    })
}

/// A server on the box that sends back what it gets, once.
fn echo_once(bench: &Bench, at: SocketAddr) -> Result<JoinHandle<Result<()>>> {
    let listener = bench.lab.host(Role::Box).tcp_listen(at)?;
    Ok(std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        stream.write_all(&bytes)?;
        Ok(())
    }))
}

#[test]
fn a_connection_to_the_box_itself_is_proxied() -> Result<()> {
    let files = Configuration::modern(SYNPROXY);
    with_daemon("synproxy local", UNSHAPED, &files, |bench| {
        let at = SocketAddr::from((BOX_FXP0, 8080));
        let server = echo_once(bench, at)?;
        // The Cisco is on the box's network, and comes in on the other port.
        bench
            .daemon
            .load("pass\npass in on fxp0 proto tcp to any port 8080 synproxy state\n")?;
        let mut stream = bench.lab.host(Role::Cisco).tcp_connect(at)?;
        stream.write_all(b"foo")?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert_eq!(answer, "foo");
        server.join().ok().context("the server panicked")?
    })
}

/// The timestamp of the first segment to `port`.
fn first_timestamp(frames: &[Vec<u8>], port: u16) -> Result<u32> {
    let of_syn = |frame: &Vec<u8>| {
        let packet = frame.get(14..)?;
        let tcp = *Meta::parse(packet).ok()?.tcp()?;
        let wanted = tcp.destination_port == port && tcp.flags == tcp_flags::SYN;
        let (value, _) = tcp.timestamps(packet).filter(|_| wanted)?;
        Some(value)
    };
    frames
        .iter()
        .find_map(of_syn)
        .context("no SYN with a timestamp")
}

#[test]
fn timestamps_are_modulated_and_a_transfer_stays_intact() -> Result<()> {
    let rules = "pass\nmatch in on em1 proto tcp scrub (reassemble tcp)\n";
    let files = Configuration::modern(rules);
    with_daemon("reassemble tcp", UNSHAPED, &files, |bench| {
        let client = bench.lab.host(Role::H50);
        let inside = Capture::headers(client.namespace(), "eth0")?;
        let outside = Capture::headers(bench.lab.namespace(Role::Cisco), "lan")?;
        let download = client.download(Bench::server(HTTP), BYTES)?;
        assert_eq!(download.sha256, sha256_of_bytes(BYTES));
        let upload = client.upload(Bench::server(HTTP), BYTES)?;
        assert_eq!(upload.sha256, sha256_of_bytes(BYTES));
        let (inside, outside) = (inside.finish(), outside.finish());
        let (near, far) = (
            first_timestamp(&inside, HTTP)?,
            first_timestamp(&outside, HTTP)?,
        );
        assert_ne!(near, far);
        assert_eq!(counter(bench, "bad-timestamp")?, 0);
        Ok(())
    })
}

/// A SYN of its own for each number, in frames as the client's own are.
fn flood(bench: &Bench, syns: u16) -> Result<()> {
    let client = bench.lab.host(Role::H50);
    let capture = Capture::start(client.namespace(), "eth0")?;
    drop(client.line_client(Bench::server(OTHER))?);
    let is_syn = |frame: &[u8]| {
        Segment::of_frame(frame).is_some_and(|s| s.is_first() && s.destination.port() == OTHER)
    };
    capture.wait_for(PATIENCE, 1, is_syn);
    let frames = capture.finish();
    let sent = frames.iter().find(|frame| is_syn(frame));
    let header = sent.and_then(|frame| frame.get(..14)).context("no SYN")?;
    let sender = RawSender::open(client.namespace(), "eth0")?;
    for number in 0..syns {
        let [high, low] = number.to_be_bytes();
        let source = IpAddr::V4(Ipv4Addr::new(10, 66, high, low));
        let ip = build::Ip::new(source, Bench::server(HTTP).ip());
        let segment = build::Segment::new(1000 + number, HTTP, tcp_flags::SYN);
        sender.send(&[header, &build::tcp(&ip, &segment, &[])].concat())?;
    }
    Ok(())
}

/// A counter of `pfctl -vsi`.
fn counter(bench: &Bench, name: &str) -> Result<u64> {
    let text = bench.daemon.pfctl_ok(&["-vsi"])?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    Ok(value
        .with_context(|| format!("no {name} in {text}"))?
        .parse()?)
}

#[test]
fn a_flood_leaves_no_state_and_a_client_is_connected_meanwhile() -> Result<()> {
    let files = Configuration::modern(COOKIES);
    with_daemon("syncookies", UNSHAPED, &files, |bench| {
        let before = counter(bench, "syncookies sent")?;
        assert_eq!(before, 0);
        flood(bench, 500)?;
        let download = bench
            .lab
            .host(Role::H99)
            .download(Bench::server(HTTP), BYTES)?;
        assert_eq!(download.sha256, sha256_of_bytes(BYTES));
        let states = bench.daemon.states()?;
        assert!(!states.iter().any(|s| s.contains("10.66.")), "{states:?}");
        // One for each SYN of the flood and for both clients; each port that these cross counts.
        until("each SYN is answered or lost", || {
            let sent = counter(bench, "syncookies sent").unwrap_or(0);
            // The queue to a daemon that is held up has no room for all.
            sent > 0 && sent + counter(bench, "congestion").unwrap_or(0) >= 502
        })?;
        assert!(counter(bench, "syncookies validated")? >= 2);
        assert_eq!(counter(bench, "synfloods detected")?, 0);
        Ok(())
    })
}
