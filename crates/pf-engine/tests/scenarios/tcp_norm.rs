//! `scrub (reassemble tcp)`.

use pf_engine::decision::DropReason;
use pf_engine::rule::{Action, Direction, Rule, Timeout};
use pf_engine::ruleset::Ruleset;
use pf_engine::wire::build::{self, Ip, Segment};

use super::harness::*;
use super::persist::restarted;

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn rule() -> Rule {
    pass()
        .inbound()
        .on("em0")
        .keep()
        .change(|r| r.scrub.reassemble_tcp = true)
}

/// A segment with timestamps.
#[derive(Clone, Copy)]
struct Stamped {
    flags: u8,
    seq: u32,
    ack: u32,
    value: u32,
    echo: u32,
    ttl: u8,
    data: usize,
}

fn send(lab: &mut Lab, direction: Direction, s: Stamped) -> Seen<'_> {
    let (from, to) = match direction {
        In => (CLIENT, SERVER),
        Out => (SERVER, CLIENT),
    };
    let mut options = vec![1, 1, 8, 10];
    options.extend(s.value.to_be_bytes());
    options.extend(s.echo.to_be_bytes());
    let mut segment = Segment::new(from.1, to.1, s.flags);
    (segment.seq, segment.ack, segment.options) = (s.seq, s.ack, &options);
    let mut header = Ip::new(ip(from.0), ip(to.0));
    header.ttl = s.ttl;
    let bytes = build::tcp(&header, &segment, &vec![0x61; s.data]);
    lab.packet(direction, "em0", bytes)
}

fn stamps(bytes: &[u8]) -> (u32, u32) {
    meta(bytes).tcp().unwrap().timestamps(bytes).unwrap()
}

/// Clocks of 1000 and 5000; returns what is added to them.
fn connect(lab: &mut Lab) -> (u32, u32) {
    let syn = Stamped {
        flags: S,
        seq: 100,
        ack: 0,
        value: 1000,
        echo: 0,
        ttl: 64,
        data: 0,
    };
    let seen = send(lab, In, syn).passes();
    let (sent, none) = stamps(&seen.bytes);
    drop(seen);
    assert_eq!(none, 0);
    let answer = Stamped {
        flags: SA,
        seq: 900,
        ack: 101,
        value: 5000,
        echo: sent,
        ..syn
    };
    let seen = send(lab, Out, answer).passes();
    let (told, echo) = stamps(&seen.bytes);
    drop(seen);
    assert_eq!(echo, 1000);
    let ack = Stamped {
        flags: PA,
        seq: 101,
        ack: 901,
        value: 1001,
        echo: told,
        data: 10,
        ..syn
    };
    let seen = send(lab, In, ack).passes();
    assert_eq!(stamps(&seen.bytes).1, 5000);
    drop(seen);
    (sent.wrapping_sub(1000), told.wrapping_sub(5000))
}

fn data(seq: u32, value: u32, echo: u32) -> Stamped {
    Stamped {
        flags: PA,
        seq,
        ack: 901,
        value,
        echo,
        ttl: 64,
        data: 10,
    }
}

#[test]
fn clocks_are_hidden_and_each_end_hears_its_own() {
    let mut lab = Lab::router(filter(&[rule()]));
    let (client, server) = connect(&mut lab);
    assert_ne!((client, server), (0, 0));
    let reply = Stamped {
        flags: A,
        seq: 901,
        ack: 111,
        value: 5002,
        echo: 1001u32.wrapping_add(client),
        ttl: 64,
        data: 0,
    };
    let seen = send(&mut lab, Out, reply).passes();
    assert_eq!(stamps(&seen.bytes), (5002u32.wrapping_add(server), 1001));
    drop(seen);
    let seen = send(&mut lab, In, data(111, 1003, 5002u32.wrapping_add(server))).passes();
    assert_eq!(stamps(&seen.bytes), (1003u32.wrapping_add(client), 5002));
}

#[test]
fn a_timestamp_that_cannot_be_is_dropped_counted_and_changes_nothing() {
    let mut lab = Lab::router(filter(&[rule()]));
    let (client, server) = connect(&mut lab);
    let reply = Stamped {
        seq: 901,
        ack: 111,
        value: 5002,
        echo: 1001u32.wrapping_add(client),
        ..data(0, 0, 0)
    };
    let _ = send(&mut lab, Out, reply).passes();
    let before = lab.state(1).source;
    let echo = 5002u32.wrapping_add(server);
    for bad in [
        data(111, 1000, echo),
        data(111, 1001 + 40 * 1100, echo),
        data(111, 1002, 5003u32.wrapping_add(server)),
    ] {
        let _ = send(&mut lab, In, bad)
            .drops(DropReason::BadTimestamp)
            .counts(
                "reason bad-timestamp 1
                 searches 1",
            );
    }
    let bare = tcp(CLIENT, SERVER, PA, 111, 901, 10);
    let _ = lab.packet(In, "em0", bare).drops(DropReason::BadTimestamp);
    assert_eq!(lab.state(1).source, before);
    let _ = send(&mut lab, In, data(111, 1002, echo)).passes();
}

#[test]
fn tcp_tsdiff_of_the_rule_says_how_far_ahead_a_clock_may_be() {
    let rule = rule().change(|r| r.state_options.timeouts = vec![(Timeout::TcpTsDiff, 100)]);
    let mut lab = Lab::router(filter(&[rule]));
    let (client, server) = connect(&mut lab);
    let reply = Stamped {
        seq: 901,
        ack: 111,
        value: 5002,
        echo: 1001u32.wrapping_add(client),
        ..data(0, 0, 0)
    };
    let _ = send(&mut lab, Out, reply).passes();
    let ahead = data(111, 1001 + 40 * 1100, 5002u32.wrapping_add(server));
    let _ = send(&mut lab, In, ahead).passes();
}

/// What a `scrub` rule follows has a state, as in PF, whatever the filter rule says.
#[test]
fn a_scrub_rule_that_reassembles_makes_states_of_its_own() {
    let scrub = Rule::new(Action::Scrub).change(|r| r.scrub.reassemble_tcp = true);
    let mut lab = Lab::router(Ruleset {
        scrub: vec![scrub],
        ..filter(&[pass()])
    });
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, S, 100, 0, 0))
        .passes()
        .counts(
            "filter 0 evaluations 1
             filter 0 created 1
             filter 0 in 1/40
             filter 0 states 1
             inserts 1
             reason match 1
             scrub 0 evaluations 1
             scrub 0 in 1/40
             searches 1
             state 1 forward 1/40",
        );
    // Of other protocols there is nothing to follow.
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 1)).passes();
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn the_hop_limit_is_raised_to_the_highest_seen() {
    let mut lab = Lab::router(filter(&[rule()]));
    let (_, server) = connect(&mut lab);
    let low = Stamped {
        ttl: 2,
        ..data(111, 1001, 5000u32.wrapping_add(server))
    };
    let seen = send(&mut lab, In, low).passes();
    assert_eq!(meta(&seen.bytes).ttl, 64);
}

#[test]
fn a_restart_goes_on_with_the_same_modulation() {
    let mut lab = Lab::router(filter(&[rule()]));
    let (client, server) = connect(&mut lab);
    let mut lab = restarted(&lab, filter(&[rule()]));
    let later = data(111, 9000, 5000u32.wrapping_add(server));
    let seen = send(&mut lab, In, later).passes();
    assert_eq!(stamps(&seen.bytes), (9000u32.wrapping_add(client), 5000));
}
