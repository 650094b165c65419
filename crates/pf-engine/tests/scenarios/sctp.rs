//! SCTP: associations, their tags, translation, and what refuses them.

use pf_engine::addr::Protocol;
use pf_engine::decision::DropReason;
use pf_engine::rule::{Action, BlockReply, Rule};
use pf_engine::ruleset::Ruleset;
use pf_engine::wire::build::{self, Ip};

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 5000);
const SERVER: (&str, u16) = ("192.0.2.80", 1234);
/// What the client wants to be sent, and the server.
const CLIENT_TAG: u32 = 0xc11e;
const SERVER_TAG: u32 = 0x5e12;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const DATA: u8 = 0;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

fn from_client(tag: u32, kind: u8) -> Vec<u8> {
    sctp(CLIENT, SERVER, tag, &chunk(kind, 0, &[0; 12]))
}

fn from_server(tag: u32, kind: u8) -> Vec<u8> {
    sctp(SERVER, CLIENT, tag, &chunk(kind, 0, &[0; 12]))
}

fn init() -> Vec<u8> {
    sctp(CLIENT, SERVER, 0, &init_chunk(INIT, CLIENT_TAG, &[]))
}

fn init_ack() -> Vec<u8> {
    sctp(
        SERVER,
        CLIENT,
        CLIENT_TAG,
        &init_chunk(INIT_ACK, SERVER_TAG, &[]),
    )
}

/// `block`, `pass in on em0 proto sctp to port 1234`.
fn guarded() -> Lab {
    let rule = pass()
        .inbound()
        .on("em0")
        .proto(Protocol::SCTP)
        .port(1234)
        .keep();
    Lab::router(filter(&[block(), rule]))
}

fn establish(lab: &mut Lab) {
    let _ = lab.packet(In, "em0", init()).passes_unchanged();
    let _ = lab.packet(Out, "em0", init_ack()).passes_unchanged();
    let _ = lab
        .packet(In, "em0", from_client(SERVER_TAG, COOKIE_ECHO))
        .passes_unchanged();
    let _ = lab
        .packet(Out, "em0", from_server(CLIENT_TAG, COOKIE_ACK))
        .passes_unchanged();
}

fn expires_in(lab: &Lab) -> u64 {
    lab.state(1).expires_in.as_secs()
}

fn peers(lab: &Lab) -> (u8, u8) {
    let state = lab.state(1);
    (state.source.state, state.destination.state)
}

#[test]
fn an_association_is_followed_from_init_to_shutdown_complete() {
    let mut lab = guarded();
    let _ = lab.packet(In, "em0", init()).passes_unchanged().counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/52
         filter 1 states 1
         filter 1 created 1
         state 1 forward 1/52
         reason match 1
         searches 1
         inserts 1",
    );
    assert_eq!((peers(&lab), expires_in(&lab)), ((1, 0), 120), "sctp.first");
    let _ = lab.packet(In, "em0", init()).passes_unchanged();
    assert_eq!(expires_in(&lab), 120, "still sctp.first");
    let _ = lab.packet(Out, "em0", init_ack()).passes_unchanged();
    let _ = lab
        .packet(In, "em0", from_client(SERVER_TAG, COOKIE_ECHO))
        .passes_unchanged();
    let _ = lab
        .packet(Out, "em0", from_server(CLIENT_TAG, COOKIE_ACK))
        .passes_unchanged();
    assert_eq!(
        (peers(&lab), expires_in(&lab)),
        ((2, 2), 86_400),
        "sctp.established"
    );
    let _ = lab
        .packet(In, "em0", from_client(SERVER_TAG, DATA))
        .passes_unchanged()
        .counts(
            "filter 1 in 1/48
         state 1 forward 1/48
         searches 1",
        );
    let _ = lab
        .packet(In, "em0", from_client(SERVER_TAG, SHUTDOWN))
        .passes_unchanged();
    let _ = lab
        .packet(Out, "em0", from_server(CLIENT_TAG, SHUTDOWN_ACK))
        .passes_unchanged();
    assert_eq!(
        (peers(&lab), expires_in(&lab)),
        ((3, 3), 900),
        "sctp.closing"
    );
    let last = from_client(SERVER_TAG, SHUTDOWN_COMPLETE);
    let _ = lab.packet(In, "em0", last).passes_unchanged();
    assert_eq!(expires_in(&lab), 90, "sctp.closed");
}

/// It has lost its state or never had one: who keeps state learns of an association from its INIT.
#[test]
fn what_opens_no_association_makes_no_state() {
    for kind in [DATA, COOKIE_ECHO, SHUTDOWN, ABORT] {
        let mut lab = guarded();
        let _ = lab
            .packet(In, "em0", from_client(SERVER_TAG, kind))
            .drops(DropReason::Match)
            .counts(
                "filter 0 evaluations 1
                 filter 1 evaluations 1
                 reason match 1
                 searches 1",
            );
        let mut lab = Lab::router(filter(&[pass()]));
        let _ = lab
            .packet(In, "em0", from_client(SERVER_TAG, kind))
            .passes_unchanged();
    }
    let mut lab = guarded();
    let answer = sctp(CLIENT, SERVER, 9, &init_chunk(INIT_ACK, SERVER_TAG, &[]));
    let _ = lab.packet(In, "em0", answer).drops(DropReason::Match);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn other_ports_and_the_wrong_side_are_blocked() {
    let mut lab = guarded();
    let other = sctp(CLIENT, (SERVER.0, 1235), 0, &init_chunk(INIT, 7, &[]));
    let _ = lab.packet(In, "em0", other).drops(DropReason::Match);
    let source = sctp(
        (CLIENT.0, 1234),
        (SERVER.0, 1235),
        0,
        &init_chunk(INIT, 7, &[]),
    );
    let _ = lab.packet(In, "em0", source).drops(DropReason::Match);
}

#[test]
fn a_packet_with_a_wrong_verification_tag_is_not_of_the_association() {
    let mut lab = guarded();
    establish(&mut lab);
    for kind in [DATA, ABORT, SHUTDOWN] {
        let _ = lab
            .packet(In, "em0", from_client(SERVER_TAG + 1, kind))
            .drops(DropReason::StateMismatch)
            .counts(
                "reason state-mismatch 1
                 searches 1",
            );
    }
    assert_eq!(peers(&lab), (2, 2));
    let reflected = sctp(SERVER, CLIENT, SERVER_TAG, &chunk(ABORT, 1, &[]));
    let _ = lab.packet(Out, "em0", reflected).passes_unchanged();
    assert_eq!(
        expires_in(&lab),
        90,
        "an ABORT with the server's own tag reflected"
    );
}

#[test]
fn a_client_may_use_its_port_again() {
    let mut lab = guarded();
    establish(&mut lab);
    let _ = lab
        .packet(In, "em0", from_client(SERVER_TAG, ABORT))
        .passes_unchanged();
    let again = sctp(CLIENT, SERVER, 0, &init_chunk(INIT, 0xbeef, &[]));
    let _ = lab.packet(In, "em0", again).passes_unchanged();
    assert_eq!(lab.engine.state_count(), 1);
    assert_eq!(lab.states()[0].id.0, 2, "a new state");
}

#[test]
fn malformed_chunks_are_dropped() {
    let mut lab = guarded();
    establish(&mut lab);
    let bundled = [init_chunk(INIT, 9, &[]), chunk(DATA, 0, &[])].concat();
    let _ = lab
        .packet(In, "em0", sctp(CLIENT, SERVER, 0, &bundled))
        .drops(DropReason::Normalize);
    let _ = lab
        .packet(In, "em0", sctp(CLIENT, SERVER, SERVER_TAG, &[0, 0, 0, 200]))
        .drops(DropReason::Short);
    // As of any packet that cannot be read, no rule is asked.
    let mut lab = Lab::router(filter(&[pass()]));
    let _ = lab
        .packet(In, "em0", sctp(CLIENT, SERVER, 0, &bundled))
        .drops(DropReason::Normalize)
        .counts("reason normalize 1");
    let unpadded = sctp(CLIENT, SERVER, SERVER_TAG, &[0, 0, 0, 5, 7]);
    let _ = lab
        .packet(In, "em0", unpadded)
        .drops(DropReason::Short)
        .counts("reason short 1");
}

#[test]
fn block_return_answers_with_an_abort_and_block_drop_with_nothing() {
    let returning = Rule::new(Action::Block(BlockReply::Return));
    let mut lab = Lab::router(filter(&[returning]));
    let seen = lab.packet(In, "em0", init()).drops(DropReason::Match);
    assert_eq!(tuple(seen.answer()), "192.0.2.80:1234 > 10.0.0.9:5000");
    assert_eq!(seen.answer()[24..28], CLIENT_TAG.to_be_bytes());
    assert_eq!(seen.answer()[32..36], [ABORT, 0, 0, 4]);
    drop(seen);
    let seen = lab
        .packet(In, "em0", from_client(77, DATA))
        .drops(DropReason::Match);
    assert_eq!(seen.answer()[24..28], 77_u32.to_be_bytes());
    assert_eq!(
        seen.answer()[32..36],
        [ABORT, 1, 0, 4],
        "the tag is reflected"
    );
    drop(seen);
    let seen = lab
        .packet(In, "em0", from_client(77, ABORT))
        .drops(DropReason::Match);
    assert_eq!(seen.decision.generated, [], "an ABORT is not answered");
    drop(seen);
    let six = sctp(
        ("2001:db8:a::9", 1),
        ("2001:db8:9::1", 2),
        0,
        &init_chunk(INIT, 5, &[]),
    );
    let seen = lab.packet(In, "em0", six).drops(DropReason::Match);
    assert_eq!(tuple(seen.answer()), "2001:db8:9::1:2 > 2001:db8:a::9:1");
    drop(seen);
    let mut lab = Lab::router(filter(&[block()]));
    let seen = lab.packet(In, "em0", init()).drops(DropReason::Match);
    assert_eq!(seen.decision.generated, []);
}

#[test]
fn nat_changes_addresses_and_leaves_ports() {
    for (inside, outside, server) in [
        ("10.0.0.9", "192.0.2.1", "198.51.100.80"),
        ("2001:db8:a::9", "2001:db8:b::1", "2001:db8:9::80"),
    ] {
        let mut lab = Lab::router(Ruleset {
            nat: vec![nat("em1", outside)],
            ..Ruleset::default()
        });
        let (client, server) = ((inside, 5000), (server, 1234));
        let _ = lab
            .packet(
                Out,
                "em1",
                sctp(client, server, 0, &init_chunk(INIT, 7, &[])),
            )
            .passes()
            .becomes(&format!("{outside}:5000 > {}:1234", server.0));
        let answer = sctp(server, (outside, 5000), 7, &init_chunk(INIT_ACK, 8, &[]));
        let _ = lab
            .packet(In, "em1", answer)
            .passes()
            .becomes(&format!("{}:1234 > {inside}:5000", server.0));
    }
}

#[test]
fn rdr_changes_the_address_and_leaves_the_port() {
    let redirect = rdr("em1", "10.0.0.5", Some(4321))
        .proto(Protocol::SCTP)
        .port(1234);
    let mut lab = Lab::router(Ruleset {
        rdr: vec![redirect],
        ..Ruleset::default()
    });
    let packet = sctp(
        ("203.0.113.7", 9),
        ("192.0.2.1", 1234),
        0,
        &init_chunk(INIT, 7, &[]),
    );
    let _ = lab
        .packet(In, "em1", packet)
        .passes()
        .becomes("203.0.113.7:9 > 10.0.0.5:1234");
}

/// RFC 9260, section 10: whoever cannot see the packets does not know their tag.
#[test]
fn an_icmp_error_that_quotes_another_tag_is_forged() {
    let error = |quoted: &[u8]| {
        let header = Ip::new(ip("192.0.2.1"), ip(CLIENT.0));
        build::icmp(&header, 3, 1, 0, &quoted[..28])
    };
    let mut lab = guarded();
    let _ = lab.packet(In, "em0", init()).passes_unchanged();
    let _ = lab.packet(Out, "em0", error(&init())).passes_unchanged();
    let _ = lab.packet(Out, "em0", init_ack()).passes_unchanged();
    let echo = from_client(SERVER_TAG, COOKIE_ECHO);
    let _ = lab.packet(In, "em0", echo).passes_unchanged();
    for tag in [0, CLIENT_TAG, SERVER_TAG + 1] {
        let _ = lab
            .packet(Out, "em0", error(&from_client(tag, DATA)))
            .drops(DropReason::StateMismatch)
            .counts(
                "reason state-mismatch 1
             searches 1",
            );
    }
    let _ = lab
        .packet(Out, "em0", error(&from_client(SERVER_TAG, DATA)))
        .passes_unchanged();
}

#[test]
fn an_icmp_error_about_an_association_belongs_to_it() {
    let mut lab = guarded();
    establish(&mut lab);
    let quoted = from_client(SERVER_TAG, DATA);
    let error = build::icmp(
        &Ip::new(ip("192.0.2.1"), ip(CLIENT.0)),
        3,
        1,
        0,
        &quoted[..28],
    );
    let _ = lab.packet(Out, "em0", error).passes_unchanged().counts(
        "filter 1 out 1/56
         state 1 reply 1/56
         searches 1",
    );
    let other = sctp(CLIENT, ("192.0.2.81", 1), 3, &chunk(DATA, 0, &[]));
    let error = build::icmp(
        &Ip::new(ip("192.0.2.1"), ip(CLIENT.0)),
        3,
        1,
        0,
        &other[..28],
    );
    let _ = lab.packet(Out, "em0", error).drops(DropReason::Match);
}
