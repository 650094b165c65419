//! ICMP queries and errors.

use pf_engine::addr::Protocol;
use pf_engine::decision::DropReason;
use pf_engine::wire::Quoted;
use pf_engine::wire::build::{self, Ip};

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn unreachable(from: &str, to: &str, quoted: &[u8]) -> Vec<u8> {
    build::icmp(&Ip::new(ip(from), ip(to)), 3, 1, 0, quoted)
}

#[test]
fn a_ping_is_answered_and_nothing_else_is() {
    let mut lab = Lab::router(filter(&[block(), pass().inbound().on("em0").keep()]));
    let _ = lab
        .packet(In, "em0", echo("10.0.0.9", "192.0.2.80", 77))
        .passes()
        .counts(
            "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/84
         filter 1 states 1
         filter 1 created 1
         state 1 forward 1/84
         reason match 1
         searches 1
         inserts 1",
        );
    assert_eq!(lab.state(1).expires_in.as_secs(), 20, "icmp.first");
    let _ = lab
        .packet(Out, "em0", echo_reply("192.0.2.80", "10.0.0.9", 77))
        .passes();
    assert_eq!(lab.state(1).expires_in.as_secs(), 10, "icmp.error");
    let _ = lab
        .packet(Out, "em0", echo_reply("192.0.2.80", "10.0.0.9", 78))
        .drops(DropReason::Match);
    let _ = lab
        .packet(Out, "em0", echo("192.0.2.80", "10.0.0.9", 77))
        .drops(DropReason::Match);
    let state = lab.state(1);
    assert_eq!(
        state.wire.map(|end| end.port),
        [77, 8],
        "identifier and type"
    );
}

#[test]
fn an_error_belongs_to_the_state_it_quotes() {
    let mut lab = Lab::router(filter(&[block(), pass().inbound().on("em0").keep()]));
    let syn = tcp(CLIENT, SERVER, S, 100, 0, 0);
    let _ = lab.packet(In, "em0", syn.clone()).passes();
    let error = unreachable("192.0.2.1", "10.0.0.9", &syn[..28]);
    let _ = lab
        .packet(Out, "em0", error.clone())
        .passes_unchanged()
        .counts(
            "filter 1 out 1/56
         state 1 reply 1/56
         searches 1",
        );
    assert_eq!(
        lab.state(1).expires_in.as_secs(),
        120,
        "errors prolong nothing"
    );
    let other = tcp(CLIENT, ("192.0.2.81", 80), S, 100, 0, 0);
    let stray = unreachable("192.0.2.1", "10.0.0.9", &other[..28]);
    let _ = lab.packet(Out, "em0", stray).drops(DropReason::Match);
}

#[test]
fn an_error_about_a_segment_outside_the_window_is_forged() {
    let mut lab = Lab::router(filter(&[pass().inbound().on("em0").keep()]));
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, S, 100, 0, 0))
        .passes();
    let forged = tcp(CLIENT, SERVER, A, 5_000_000, 0, 0);
    let error = unreachable("192.0.2.1", "10.0.0.9", &forged[..28]);
    let _ = lab
        .packet(Out, "em0", error)
        .drops(DropReason::StateMismatch)
        .counts(
            "reason state-mismatch 1
         searches 1",
        );
}

/// An error is for the sender of the packet that it quotes, and must not carry a state's
/// permission to anyone else.
#[test]
fn an_error_for_another_than_the_quoted_sender_is_forged() {
    let mut lab = Lab::router(filter(&[
        block(),
        pass().inbound().on("em0").keep(),
        pass().outbound().on("em1").keep(),
    ]));
    for query in [tcp(CLIENT, SERVER, S, 100, 0, 0), udp(CLIENT, SERVER, 10)] {
        let _ = lab.packet(In, "em0", query.clone()).passes();
        let _ = lab.packet(Out, "em1", query.clone()).passes();
        for (direction, interface) in [(In, "em1"), (Out, "em0")] {
            let forged = unreachable("192.0.2.66", "10.0.0.13", &query[..28]);
            let _ = lab
                .packet(direction, interface, forged)
                .drops(DropReason::StateMismatch)
                .counts(
                    "reason state-mismatch 1
                 searches 1",
                );
            let honest = unreachable("192.0.2.66", "10.0.0.9", &query[..28]);
            let _ = lab.packet(direction, interface, honest).passes_unchanged();
        }
    }
}

/// It is of no state then; RFC 792 wants eight bytes behind the header, and not all routers know.
#[test]
fn an_error_whose_quotation_cannot_be_read_is_judged_by_the_rules() {
    let query = udp(CLIENT, SERVER, 10);
    let mut later = query.clone();
    later[7] = 1;
    for quoted in [&query[..10], &query[..24], &later, &[0x60; 60]] {
        let mut lab = Lab::router(filter(&[block(), pass().inbound().on("em0").keep()]));
        let _ = lab.packet(In, "em0", query.clone()).passes();
        let error = unreachable("192.0.2.80", "10.0.0.9", quoted);
        let _ = lab
            .packet(Out, "em0", error.clone())
            .drops(DropReason::Match);
        let _ = lab.packet(In, "em0", error).passes_unchanged().counts(
            &"filter 0 evaluations 1
             filter 1 evaluations 1
             filter 1 in 1/LEN
             reason match 1"
                .replace("LEN", &(28 + quoted.len()).to_string()),
        );
    }
}

/// RFC 1256, and what PF pairs besides: each has no identifier.
#[test]
fn questions_without_identifier_are_answered_by_their_own_kind() {
    for (question, answer) in [(10, 9), (33, 34), (35, 36)] {
        let mut lab = Lab::router(filter(&[block(), pass().inbound().on("em0").keep()]));
        let message = |from: &str, to: &str, kind| {
            build::icmp(&Ip::new(ip(from), ip(to)), kind, 0, 0, &[0; 8])
        };
        let (client, server) = ("10.0.0.9", "192.0.2.80");
        let _ = lab
            .packet(In, "em0", message(client, server, question))
            .passes_unchanged();
        for other in [question, answer + 4] {
            let _ = lab
                .packet(Out, "em0", message(server, client, other))
                .drops(DropReason::Match);
        }
        let _ = lab
            .packet(Out, "em0", message(server, client, answer))
            .passes_unchanged()
            .counts(
                "filter 1 out 1/36
             state 1 reply 1/36
             searches 1",
            );
    }
}

/// Multicast traceroute is asked of all routers of a link, and answered by one.
#[test]
fn a_trace_is_answered_by_whom_it_was_asked_of() {
    let message =
        |from: &str, to: &str, kind| build::icmp(&Ip::new(ip(from), ip(to)), kind, 0, 0, &[0; 8]);
    let mut lab = Lab::router(filter(&[block(), pass().outbound().keep()]));
    let answer = message("fe80::2", "fe80::1", 200);
    let _ = lab
        .packet(In, "em1", answer.clone())
        .drops(DropReason::Match);
    let _ = lab
        .packet(Out, "em1", message("fe80::1", "ff02::1", 201))
        .passes_unchanged();
    let _ = lab.packet(In, "em1", answer).passes_unchanged().counts(
        "filter 1 in 1/56
         state 1 reply 1/56
         searches 2",
    );
}

/// Hosts report to groups without being asked: both make the same state, and none answers.
#[test]
fn reports_of_listeners_are_of_one_kind_with_queries() {
    let message = |kind| {
        let header = Ip {
            ttl: 1,
            ..Ip::new(ip("fe80::5"), ip("ff02::db8"))
        };
        build::icmp(&header, kind, 0, 0, &[0; 16])
    };
    let mut lab = Lab::router(filter(&[pass().inbound().keep()]));
    let _ = lab.packet(In, "em0", message(130)).passes_unchanged();
    let _ = lab
        .packet(In, "em0", message(131))
        .passes_unchanged()
        .counts(
            "filter 0 in 1/64
         state 1 forward 1/64
         searches 1",
        );
}

#[test]
fn an_unmatched_error_is_judged_by_the_rules_and_never_keeps_state() {
    let mut lab = Lab::router(filter(&[pass().proto(Protocol::ICMP).keep()]));
    let quoted = udp(SERVER, CLIENT, 10);
    let _ = lab
        .packet(In, "em0", unreachable("10.0.0.9", "192.0.2.80", &quoted))
        .passes_unchanged()
        .counts(
            "filter 0 evaluations 1
         filter 0 in 1/66
         reason match 1
         searches 1",
        );
}

#[test]
fn an_error_through_nat_gets_the_inside_addresses_in_and_out() {
    let mut ruleset = filter(&[pass().keep()]);
    ruleset.nat = vec![nat("em1", "(em1)").from("10.0.0.0/24")];
    let mut lab = Lab::router(ruleset);
    let seen = lab.packet(Out, "em1", udp(CLIENT, SERVER, 10)).passes();
    let on_wire = seen.bytes.clone();
    drop(seen);
    let error = unreachable("192.0.2.254", "192.0.2.1", &on_wire);
    let seen = lab.packet(In, "em1", error).passes();
    let outer = meta(&seen.bytes);
    assert_eq!(
        (outer.source, outer.destination),
        (ip("192.0.2.254"), ip("10.0.0.9"))
    );
    let quoted = Quoted::parse(&seen.bytes, &outer).unwrap();
    assert_eq!(
        (quoted.source, quoted.destination),
        (ip("10.0.0.9"), ip("192.0.2.80"))
    );
    assert_eq!(quoted.ports(), Some((1025, 80)));
}

#[test]
fn a_ping_with_identifier_zero_is_a_ping_as_any_other() {
    for (client, server) in [
        ("10.0.0.5", "198.51.100.7"),
        ("2001:db8:a::5", "2001:db8:c::7"),
    ] {
        let mut lab = Lab::router(filter(&[block(), pass().inbound().keep()]));
        let _ = lab
            .packet(In, "em0", echo(client, server, 0))
            .passes_unchanged();
        let _ = lab
            .packet(Out, "em0", echo_reply(server, client, 0))
            .passes_unchanged();
        let _ = lab
            .packet(Out, "em0", echo_reply(server, client, 1))
            .drops(DropReason::Match);
    }
}
