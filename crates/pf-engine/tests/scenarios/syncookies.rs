//! `set syncookies`: SYNs that leave nothing behind.

use pf_engine::decision::{DropReason, Exit, GeneratedExit, Verdict};
use pf_engine::rule::{Action, BlockReply, Rule};
use pf_engine::ruleset::{Limit, Ruleset, Syncookies};

use super::harness::*;

/// What a cookie that has come back moves.
const CONNECTED: &str = "filter 0 evaluations 1
     filter 0 states 1
     filter 0 created 1
     filter 0 in 1/44
     state 1 forward 1/44
     reason match 1
     reason synproxy 1
     syncookies validated 1
     searches 1
     inserts 1";

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("192.0.2.80", 80);
const MSS: &[u8] = &[2, 4, 0x05, 0xb4];

fn with(mode: Syncookies, rules: &[Rule]) -> Ruleset {
    let mut ruleset = filter(rules);
    ruleset.options.syncookies = mode;
    ruleset
}

fn pass_in() -> Rule {
    pass().inbound().flags_s_sa().keep()
}

fn always() -> Lab {
    Lab::router(with(Syncookies::Always, &[pass_in()]))
}

fn syn(lab: &mut Lab, port: u16) -> Seen<'_> {
    let from = (CLIENT.0, port);
    lab.packet(In, "em0", tcp_with(from, SERVER, S, 100, 0, 0, MSS))
}

fn client(lab: &mut Lab, flags: u8, seq: u32, ack: u32) -> Seen<'_> {
    lab.packet(In, "em0", tcp(CLIENT, SERVER, flags, seq, ack, 0))
}

/// The number of the cookie that answers a SYN.
fn cookie(lab: &mut Lab) -> u32 {
    let answer = syn(lab, CLIENT.1).answer().to_vec();
    meta(&answer).tcp().unwrap().seq
}

#[test]
fn a_flood_leaves_no_state_and_is_answered() {
    let mut lab = always();
    for port in 1..=100 {
        let seen = syn(&mut lab, port).drops(DropReason::Synproxy).counts(
            "reason synproxy 1
             syncookies sent 1",
        );
        assert_eq!(seen.decision.generated[0].exit, GeneratedExit::Back);
        let (meta, tcp) = (meta(seen.answer()), *meta(seen.answer()).tcp().unwrap());
        assert_eq!((tcp.flags, tcp.ack, tcp.window), (SA, 101, 0));
        assert_eq!(tcp.maximum_segment_size(seen.answer()), Some(1460));
        assert_eq!(meta.source, ip("192.0.2.80"));
    }
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn a_client_that_brings_its_cookie_back_is_connected() {
    let mut lab = always();
    let own = cookie(&mut lab);
    let seen = client(&mut lab, A, 101, own.wrapping_add(1))
        .passes()
        .becomes("10.0.0.9:1025 > 192.0.2.80:80")
        .counts(CONNECTED);
    let call = *meta(&seen.bytes).tcp().unwrap();
    assert_eq!((call.flags, call.window), (S, 0));
    assert_eq!(call.maximum_segment_size(&seen.bytes), Some(1460));
    assert_ne!(call.seq, 100);
    drop(seen);
    assert_eq!(lab.state(1).source.state, 12, "PROXY:DST");
    let syn_ack = tcp(SERVER, CLIENT, SA, 900, call.seq.wrapping_add(1), 0);
    let seen = lab.packet(Out, "em0", syn_ack);
    assert_eq!(seen.decision.verdict, Verdict::Pass(Exit::Continue));
    let ack = *meta(seen.answer()).tcp().unwrap();
    assert_eq!((ack.flags, ack.ack), (A, 901));
    drop(seen);
    let state = lab.state(1);
    assert_eq!((state.source.state, state.destination.state), (4, 4));
    let data = tcp(CLIENT, SERVER, PA, 101, own.wrapping_add(1), 7);
    let seen = lab.packet(In, "em0", data).passes();
    let data = *meta(&seen.bytes).tcp().unwrap();
    assert_eq!((data.seq, data.ack), (call.seq.wrapping_add(1), 901));
}

/// Each ACK of a blocked client's is a cookie that comes back, again and again.
#[test]
fn a_blocked_client_that_repeats_itself_uses_up_nobody_elses_cookie() {
    let rules = [block().inbound(), pass_in().from(CLIENT.0)];
    let mut lab = Lab::router(with(Syncookies::Always, &rules));
    let own = cookie(&mut lab);
    let blocked = ("10.0.0.66", 1025);
    let call = tcp_with(blocked, SERVER, S, 100, 0, 0, MSS);
    let answer = lab.packet(In, "em0", call).answer().to_vec();
    let others = meta(&answer).tcp().unwrap().seq.wrapping_add(1);
    for _ in 0..3 {
        let ack = tcp(blocked, SERVER, A, 101, others, 0);
        let _ = lab.packet(In, "em0", ack).drops(DropReason::Match);
    }
    let _ = client(&mut lab, A, 101, own.wrapping_add(1)).passes();
    assert_eq!(lab.state(1).source.state, 12, "PROXY:DST");
}

/// Its ACK was lost; what comes next is a probe of the window of 0, one number back.
#[test]
fn a_client_whose_ack_was_lost_is_connected_by_its_probe() {
    let mut lab = always();
    let own = cookie(&mut lab);
    let seen = client(&mut lab, A, 100, own.wrapping_add(1))
        .passes()
        .counts(CONNECTED);
    let call = *meta(&seen.bytes).tcp().unwrap();
    assert_eq!(call.flags, S);
    drop(seen);
    let syn_ack = tcp(SERVER, CLIENT, SA, 900, call.seq.wrapping_add(1), 0);
    let seen = lab.packet(Out, "em0", syn_ack);
    // What the client is told fits what it has sent, not what it has probed with.
    assert_eq!(meta(&seen.bytes).tcp().unwrap().ack, 101);
}

#[test]
fn the_same_over_ipv6() {
    let (client, server) = (("2001:db8:a::9", 1025), ("2001:db8:b::80", 80));
    let mut lab = always();
    let answer = lab.packet(In, "em0", tcp(client, server, S, 100, 0, 0));
    let own = meta(answer.answer()).tcp().unwrap().seq;
    drop(answer);
    let ack = tcp(client, server, A, 101, own.wrapping_add(1), 0);
    let seen = lab.packet(In, "em0", ack).passes();
    let call = *meta(&seen.bytes).tcp().unwrap();
    assert_eq!(call.maximum_segment_size(&seen.bytes), Some(1220));
}

#[test]
fn a_guessed_number_is_no_cookie_and_goes_by_the_rules() {
    let mut lab = Lab::router(with(Syncookies::Always, &[block(), pass_in()]));
    let own = cookie(&mut lab);
    for wrong in [own, own.wrapping_add(2), own ^ 0x0100_0000, 0] {
        let _ = client(&mut lab, A, 101, wrong)
            .drops(DropReason::Match)
            .counts(
                "filter 0 evaluations 1
                 filter 1 evaluations 1
                 filter 0 in 1/40
                 reason match 1
                 searches 1",
            );
    }
    lab.skip_time(31);
    let _ = client(&mut lab, A, 101, own.wrapping_add(1)).drops(DropReason::Match);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn rules_decide_about_the_client_when_it_comes_back() {
    let refuse = Rule::new(Action::Block(BlockReply::Return));
    let mut lab = Lab::router(with(Syncookies::Always, &[refuse]));
    let own = cookie(&mut lab);
    let seen = client(&mut lab, A, 101, own.wrapping_add(1)).drops(DropReason::Match);
    let reset = *meta(seen.answer()).tcp().unwrap();
    assert_eq!(
        (reset.flags, reset.seq, reset.ack),
        (RA, own.wrapping_add(1), 101)
    );
    drop(seen);
    // Without a state the connection cannot be.
    let mut lab = Lab::router(with(Syncookies::Always, &[pass()]));
    let own = cookie(&mut lab);
    let _ = client(&mut lab, A, 101, own.wrapping_add(1)).drops(DropReason::Synproxy);
}

#[test]
fn a_second_evaluation_that_blocks_leaves_no_state() {
    let mut lab = Lab::router(with(
        Syncookies::Always,
        &[
            pass_in()
                .on("em0")
                .route(pf_engine::rule::RouteKind::RouteTo, &[("em1", "192.0.2.9")]),
            block().outbound().on("em1"),
        ],
    ));
    let own = cookie(&mut lab);
    let _ = client(&mut lab, A, 101, own.wrapping_add(1)).drops(DropReason::Match);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn what_leaves_the_box_and_what_is_not_a_syn_meets_no_cookie() {
    let mut lab = always();
    let out = tcp(SERVER, CLIENT, S, 1, 0, 0);
    let _ = lab.packet(Out, "em0", out).passes_unchanged();
    let _ = client(&mut lab, SA, 1, 2).counts(
        "filter 0 evaluations 1
         reason match 1
         searches 1",
    );
    let _ = client(&mut lab, R, 1, 2);
    assert_eq!(lab.engine.status().syncookies.sent, 0);
}

#[test]
fn adaptive_cookies_bound_the_half_open_states_and_end_with_the_flood() {
    let mode = Syncookies::Adaptive { start: 10, end: 5 };
    let mut lab = Lab::router(limit(with(mode, &[pass_in()]), Limit::States, 100));
    for port in 1..=11 {
        let _ = syn(&mut lab, port).passes();
    }
    let _ = syn(&mut lab, 12).drops(DropReason::Synproxy).counts(
        "reason synproxy 1
         synfloods 1
         syncookies sent 1",
    );
    for port in 13..=100 {
        let _ = syn(&mut lab, port).drops(DropReason::Synproxy);
    }
    assert_eq!(lab.engine.state_count(), 11);
    let status = lab.engine.status().syncookies;
    assert!(status.active);
    assert_eq!((status.half_open, status.sent), (11, 89));
    lab.wait(140);
    let status = lab.engine.status().syncookies;
    assert!(!status.active);
    assert_eq!((status.half_open, status.floods), (0, 1));
    let _ = syn(&mut lab, 1).passes();
}

#[test]
fn an_established_connection_is_not_half_open() {
    let mut lab = Lab::router(filter(&[pass_in()]));
    let half_open = |lab: &Lab| lab.engine.status().syncookies.half_open;
    let _ = syn(&mut lab, CLIENT.1).passes();
    assert_eq!(half_open(&lab), 1);
    let _ = lab.packet(Out, "em0", tcp(SERVER, CLIENT, SA, 900, 101, 0));
    assert_eq!(half_open(&lab), 0, "its SYN was acknowledged");
    let _ = syn(&mut lab, 1026).passes();
    lab.engine.flush_states();
    assert_eq!(half_open(&lab), 0);
}

#[test]
fn a_closed_connection_is_opened_anew_from_the_same_port() {
    let mut lab = always();
    let own = cookie(&mut lab);
    let call = client(&mut lab, A, 101, own.wrapping_add(1))
        .passes()
        .bytes
        .clone();
    let seq = meta(&call).tcp().unwrap().seq.wrapping_add(1);
    let _ = lab.packet(Out, "em0", tcp(SERVER, CLIENT, SA, 900, seq, 0));
    let _ = client(&mut lab, R, 101, 0).passes();
    assert_eq!(lab.state(1).source.state, 10, "TIME_WAIT");
    let again = tcp_with(CLIENT, SERVER, S, 50_000, 0, 0, MSS);
    let seen = lab.packet(In, "em0", again).drops(DropReason::Synproxy);
    let own = meta(seen.answer()).tcp().unwrap().seq;
    drop(seen);
    let _ = client(&mut lab, A, 50_001, own.wrapping_add(1))
        .passes()
        .counts(
            "filter 0 evaluations 1
             filter 0 created 1
             filter 0 in 1/44
             state 2 forward 1/44
             reason match 1
             reason synproxy 1
             syncookies validated 1
             searches 1
             inserts 1
             removals 1",
        );
}
