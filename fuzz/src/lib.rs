//! What the fuzz targets do with their input. The same functions replay the committed corpora in
//! the ordinary test suite (`tests/replay.rs`), on stable and without libFuzzer.
//!
//! A target asserts more than "no panic": bounds, and that a decision fits the packet.

#![forbid(unsafe_code)]

mod capture;
mod carrier;
mod daemon;
mod doctor;
mod fingerprint;
mod follow;
mod mail;
mod wire;

pub use self::capture::{capture, pflog};
pub use self::carrier::carrier;
pub use self::daemon::{control, settings, states, tables};
pub use self::doctor::{doctor_logs, httpd_conf, kdc, keytab, krb5_conf, sshd_config};
pub use self::fingerprint::{features, p0f_fp, pf_os};
pub use self::follow::{mail_logs, unknown};
pub use self::mail::{mail_sessions, mail_settings, mail_texts, observations, published};
pub use self::wire::wire;

use std::sync::LazyLock;
use std::time::Duration;

use pf_conf::{LoadOptions, MemoryFiles, PrintOptions};
use pf_engine::decision::{EtherAddresses, Hook, Packet, Verdict};
use pf_engine::engine::{Engine, EngineConfig, RuleList};
use pf_engine::env::{FixedEnv, IfIndex, Interface, InterfaceAddress};
use pf_engine::ether::Frame;
use pf_engine::rule::Direction;
use pf_engine::ruleset::{Dialect, Limit, Ruleset};
use pf_engine::time::Instant;

/// A ruleset that reaches every part of the engine that a packet can reach.
const HOSTILE_RULES: &str = include_str!("hostile.conf");

/// Longest piece of input that becomes one packet, in bytes.
const MAX_PACKET_LEN: usize = 2048;

/// Feeds a sequence of packets to an engine with the hostile ruleset.
///
/// Input: records of one control byte (bit 0: direction, bits 1-2: interface, bits 3-7: seconds
/// that pass), a big-endian 16-bit length, and the bytes of the packet.
///
/// # Panics
/// When the engine breaks one of its promises.
pub fn packet(data: &[u8]) {
    let mut env = FixedEnv::new(interfaces(), 7);
    let mut engine = hostile_engine();
    let mut now = Duration::ZERO;
    for (control, bytes) in records(data) {
        now += Duration::from_secs(u64::from(control >> 3));
        one_packet(
            &mut engine,
            &mut env,
            Instant::from_origin(now),
            control,
            bytes,
        );
    }
    assert!(engine.state_count() <= engine.limit(Limit::States) as usize);
    engine.handle_timeout(Instant::from_origin(now + Duration::from_hours(48)));
}

fn one_packet(engine: &mut Engine, env: &mut FixedEnv, now: Instant, control: u8, bytes: &[u8]) {
    let direction = if control & 1 == 0 {
        Direction::In
    } else {
        Direction::Out
    };
    let hook = Hook {
        interface: IfIndex(1 + u32::from(control >> 1 & 3)),
        direction,
    };
    let ether = EtherAddresses {
        source: [2, 0, 0, 0, 0, 1],
        destination: [2, 0, 0, 0, 0, 2],
    };
    let mut packet = Packet {
        bytes: bytes.to_vec(),
        ether: Some(ether),
        ..Packet::default()
    };
    let sound = wire::is_sound(bytes);
    let decision = engine.handle_packet(now, hook, &mut packet, env);
    match decision.verdict {
        Verdict::Pass(_) => {
            assert!(packet.bytes.len() <= usize::from(u16::MAX) + 40);
            assert!(!sound || wire::is_sound(&packet.bytes));
        }
        Verdict::PassFragments(_, pieces) => assert!(!pieces.is_empty()),
        Verdict::Drop(_) | Verdict::Held => {}
    }
    other_frame(engine, env, (now, hook), ether, bytes);
    for generated in decision.generated {
        assert!(generated.bytes.len() >= 20 && generated.bytes.len() <= MAX_PACKET_LEN);
        // `dup-to` copies what comes, broken checksums included.
        assert!(!sound || wire::is_sound(&generated.bytes));
    }
    if control & 0xf8 == 0xf8 {
        engine.handle_timeout(now);
    }
}

/// The same bytes as a frame without IP, and as a packet that leaves by a hook.
fn other_frame(
    engine: &mut Engine,
    env: &mut FixedEnv,
    (now, hook): (Instant, Hook),
    ether: EtherAddresses,
    bytes: &[u8],
) {
    let ether_type = bytes.first_chunk().copied().map(u16::from_be_bytes);
    let frame = Frame {
        ether,
        ether_type: ether_type.unwrap_or_default(),
        len: bytes.len() + 12,
        received_on: None,
    };
    let packet = Packet {
        bytes: bytes.to_vec(),
        ether: Some(ether),
        ..Packet::default()
    };
    for decision in [
        engine.handle_frame(now, hook, &frame, env),
        engine.handle_departure(now, hook, &packet, env),
    ] {
        assert!(decision.generated.is_empty());
        assert!(matches!(
            decision.verdict,
            Verdict::Pass(_) | Verdict::Drop(_)
        ));
    }
}

/// Cuts the input of [`packet`] into records. A short last record is what there is of it.
fn records(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (&[control, hi, lo], after) = rest.split_first_chunk::<3>()?;
        let len = usize::from(u16::from_be_bytes([hi, lo]))
            .min(MAX_PACKET_LEN)
            .min(after.len());
        let (bytes, next) = after.split_at(len);
        rest = next;
        Some((control, bytes))
    })
}

fn hostile_engine() -> Engine {
    // Read once: a fuzzer makes an engine for every input.
    static RULES: LazyLock<Ruleset> = LazyLock::new(hostile_rules);
    let start = Instant::default();
    let mut engine = Engine::new(
        start,
        EngineConfig {
            hash_key: [1, 2],
            creator_id: 1,
        },
    );
    engine
        .install(start, RULES.clone())
        .expect("hostile.conf fits the limits");
    engine.set_enabled(start, true);
    assert!(engine.rules(RuleList::Filter).count() > 10);
    engine
}

fn hostile_rules() -> Ruleset {
    let options = LoadOptions {
        dialect: Dialect::FreeBsd,
        interfaces: interfaces(),
        hash_seed: 1,
        ..LoadOptions::default()
    };
    let mut files = MemoryFiles::default();
    pf_conf::load(
        "hostile.conf",
        HOSTILE_RULES.as_bytes(),
        &mut files,
        &options,
    )
    .unwrap_or_else(|errors| panic!("hostile.conf:\n{errors}"))
    .ruleset
}

/// Reads text as pf.conf in every dialect. What is accepted must print and read back as itself.
///
/// # Panics
/// When a ruleset that was accepted does not survive the round trip.
pub fn language(data: &[u8]) {
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd, Dialect::OpenBsd3] {
        let options = LoadOptions {
            dialect,
            interfaces: interfaces(),
            hash_seed: 1,
            ..LoadOptions::default()
        };
        let mut files = MemoryFiles::default();
        files.0.insert("self".into(), data.to_vec());
        check_preview(data, &mut files, &options);
        match pf_conf::load("fuzz", data, &mut files, &options) {
            Ok(loaded) => check_round_trip(&loaded, &options),
            Err(errors) => {
                assert!(!errors.plain().is_empty() && !errors.rendered(false).is_empty());
            }
        }
    }
}

/// What cannot be installed is read and printed too, or refused.
fn check_preview(data: &[u8], files: &mut MemoryFiles, options: &LoadOptions) {
    let print = PrintOptions {
        dialect: options.dialect,
        swap_service_names: false,
    };
    match pf_conf::preview("fuzz", data, files, options, print) {
        Ok(lines) => assert!(lines.iter().all(|line| !line.ends_with('\n'))),
        Err(errors) => assert!(!errors.plain().is_empty()),
    }
}

/// PF's own `selfpf` test: the printed rules read back print the same.
fn check_round_trip(loaded: &pf_conf::Loaded, options: &LoadOptions) {
    let print = PrintOptions {
        dialect: options.dialect,
        swap_service_names: false,
    };
    let text = printed(loaded, print);
    let again = pf_conf::load(
        "printed",
        text.as_bytes(),
        &mut MemoryFiles::default(),
        options,
    )
    .unwrap_or_else(|errors| panic!("what we printed is refused:\n{text}\n{errors}"));
    assert_eq!(
        text,
        printed(&again, print),
        "the printed rules change when read again"
    );
}

fn printed(loaded: &pf_conf::Loaded, print: PrintOptions) -> String {
    let lines = loaded
        .ruleset
        .rules()
        .map(|rule| pf_conf::print_rule(rule, print) + "\n");
    lines.collect()
}

/// Reads text as each of the BSD start-up files.
///
/// # Panics
/// When a problem across the files has no text.
pub fn startup(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let interface = links::hostname_if::parse("em0", &text);
    let bridge = links::bridgename::parse("bridge0", &text);
    let wanted = links::WantedLinks {
        interfaces: interface.into_iter().collect(),
        bridges: bridge.into_iter().collect(),
        routes: links::mygate::parse(&text).unwrap_or_default(),
        forward_v4: links::sysctl::parse(&text)
            .ok()
            .and_then(|read| read.forward_v4),
        ..links::WantedLinks::default()
    };
    let of_rc_conf = links::rcconf::parse(&text).map(|read| read.links);
    for wanted in of_rc_conf.into_iter().chain([wanted]) {
        let problems = links::check(&wanted);
        assert!(problems.iter().all(|problem| !problem.is_empty()));
        for target in [
            links::convert::Target::Netplan,
            links::convert::Target::Networkd,
            links::convert::Target::Ifupdown,
        ] {
            let files = links::convert::convert(&wanted, target);
            assert_eq!(files.is_err(), files.is_err_and(|told| !told.is_empty()));
        }
    }
}

/// Sends an aggregation system of three ports what the input says: each event has a byte for the
/// port and the kind, one for the time in 16ths of a second, and a frame where it is one.
///
/// # Panics
/// When the system would wake for ever, or sends more than it may.
pub fn lacp(data: &[u8]) {
    use links::lacp::{FRAME_LEN, Group, MAX_LACPDUS_PER_SECOND, MAX_MARKERS_PER_SECOND, Settings};
    let mut group = Group::new(Settings::new([2, 0, 0, 0, 0, 1]), &[[2, 0, 0, 0, 1, 1]; 3]);
    let mut now = Duration::ZERO;
    let mut rest = data;
    let mut sent = 0_usize;
    while let Some(([what, time], tail)) = rest.split_first_chunk() {
        now += Duration::from_millis(u64::from(*time) * 1_000 / 16);
        let port = usize::from(what & 3);
        if what & 0x80 == 0 {
            let (frame, tail) = tail.split_at(tail.len().min(FRAME_LEN));
            group.receive(port, frame, now);
            rest = tail;
        } else {
            group.link(port, what & 4 == 0, what & 8 == 0, now);
            rest = tail;
        }
        group.tick(now);
        assert!(
            group.deadline().is_none_or(|next| next > now),
            "it would wake for ever"
        );
        while group.next_frame().is_some() {
            sent += 1;
        }
    }
    let seconds = usize::try_from(now.as_secs())
        .unwrap_or(usize::MAX)
        .saturating_add(2);
    let most = seconds.saturating_mul(3 * (MAX_LACPDUS_PER_SECOND + MAX_MARKERS_PER_SECOND));
    assert!(sent <= most, "{sent} frames in {seconds} s");
}

/// Reads text as everything that the monitoring plug-in reads, and judges it.
///
/// # Panics
/// When the answer is not one line, or has more than one bar.
pub fn monitor(data: &[u8]) {
    use links::monitor::{
        Limits, Range, judge, of_status, read_bonding, read_ifconfig, read_teamd,
    };
    let text = String::from_utf8_lossy(data);
    let mut bundles = read_ifconfig(&text);
    bundles.extend(read_bonding("bond0", &text));
    bundles.extend(read_teamd(&text));
    let status = links::status::Status::parse(&text);
    bundles.extend(
        status
            .iter()
            .flat_map(|status| &status.laggs)
            .map(|lagg| of_status(lagg, 1.0)),
    );
    let limits = Limits {
        warning: text.lines().next().and_then(|line| Range::parse(line).ok()),
        ..Limits::default()
    };
    let told = judge(&bundles, &[], &limits).text("LINKS", 0);
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// Interfaces as in the bridge article, with an IPv6 address each.
fn interfaces() -> Vec<Interface> {
    [
        ("fxp0", "216.123.123.123", 22),
        ("em1", "", 0),
        ("em0", "192.168.1.64", 16),
        ("lo0", "127.0.0.1", 8),
    ]
    .into_iter()
    .zip(1u16..)
    .map(|((name, address, prefix_len), index)| interface(name, address, prefix_len, index))
    .collect()
}

fn interface(name: &str, address: &str, prefix_len: u8, index: u16) -> Interface {
    let v4 = address.parse().ok().map(|address| (address, prefix_len));
    let v6 = (
        std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, index, 0, 0, 0, 1).into(),
        64,
    );
    let addresses = v4
        .into_iter()
        .chain([v6])
        .map(|(address, prefix_len)| InterfaceAddress::new(address, prefix_len));
    Interface {
        addresses: addresses.collect(),
        ..Interface::new(IfIndex(u32::from(index)), name)
    }
}
