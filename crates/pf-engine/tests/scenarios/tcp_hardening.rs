//! What somebody who does not see a connection cannot do to it, and how its own ends get rid of
//! one that they have forgotten.

use pf_engine::addr::Protocol;
use pf_engine::decision::{DropReason, GeneratedExit};
use pf_engine::rule::{Action, BlockReply, Rule};

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn client(lab: &mut Lab, flags: u8, seq: u32, ack: u32, data: usize) -> Seen<'_> {
    lab.packet(In, "em0", tcp(CLIENT, SERVER, flags, seq, ack, data))
}

fn server(lab: &mut Lab, flags: u8, seq: u32, ack: u32, data: usize) -> Seen<'_> {
    lab.packet(Out, "em0", tcp(SERVER, CLIENT, flags, seq, ack, data))
}

/// The client's number is 100 000, the server's 900.
fn established() -> Lab {
    let rule = pass().inbound().on("em0").proto(Protocol::TCP).flags_s_sa();
    let mut lab = Lab::router(filter(&[block(), rule.keep()]));
    let _ = client(&mut lab, S, 100_000, 0, 0).passes();
    let _ = server(&mut lab, SA, 900, 100_001, 0).passes();
    let _ = client(&mut lab, A, 100_001, 901, 0).passes();
    lab
}

fn peers(lab: &Lab) -> (u8, u8) {
    let state = lab.state(1);
    (state.source.state, state.destination.state)
}

/// The ACK that answers a SYN: its sequence number and what it acknowledges.
fn challenge(lab: &mut Lab, seq: u32) -> (u32, u32) {
    let seen = client(lab, S, seq, 0, 0)
        .drops(DropReason::StateMismatch)
        .counts(
            "reason state-mismatch 1
             searches 1",
        );
    assert_eq!(tuple(seen.answer()), "192.0.2.80:80 > 10.0.0.9:1025");
    let ack = *meta(seen.answer()).tcp().unwrap();
    assert_eq!((ack.flags, ack.window), (A, 0));
    (ack.seq, ack.ack)
}

#[test]
fn a_syn_in_a_connection_is_challenged_and_its_answer_ends_the_old_one() {
    let mut lab = established();
    let (seq, ack) = challenge(&mut lab, 5_000_000);
    assert_eq!((seq, ack), (901, 100_000));
    assert_eq!(peers(&lab), (4, 4));
    // Who has forgotten the connection refuses the ACK (RFC 9293, section 3.10.7.3).
    let _ = client(&mut lab, R, ack, 0, 0).passes();
    assert_eq!(peers(&lab), (10, 10));
    let _ = client(&mut lab, S, 5_000_000, 0, 0).passes();
    assert_eq!(lab.state(2).source.seq_lo, 5_000_000);
}

#[test]
fn a_challenge_has_the_numbers_that_a_modulated_client_knows() {
    let mut lab = Lab::router(filter(&[pass().inbound().on("em0").modulate()]));
    let _ = client(&mut lab, S, 100_000, 0, 0).passes();
    let sent = lab.state(1).source.seq_diff.wrapping_add(100_001);
    let seen = server(&mut lab, SA, 900, sent, 0).passes();
    let told = meta(&seen.bytes).tcp().unwrap().seq;
    drop(seen);
    let _ = client(&mut lab, A, 100_001, told.wrapping_add(1), 0).passes();
    let (seq, ack) = challenge(&mut lab, 5_000_000);
    assert_eq!((seq, ack), (told.wrapping_add(1), 100_000));
}

#[test]
fn a_reset_before_a_gap_ends_the_connection() {
    let mut lab = established();
    let _ = client(&mut lab, PA, 100_017, 901, 8).passes();
    let _ = client(&mut lab, PA, 100_001, 901, 8).passes();
    let _ = client(&mut lab, RA, 100_009, 901, 0).passes();
    assert_eq!(peers(&lab), (10, 10));
}

#[test]
fn a_reset_before_a_gap_that_does_not_know_what_was_sent_is_dropped() {
    for (flags, ack) in [(RA, 900), (RA, 0), (R, 901)] {
        let mut lab = established();
        let _ = client(&mut lab, PA, 100_017, 901, 8).passes();
        let _ = client(&mut lab, flags, 100_009, ack, 0).drops(DropReason::StateMismatch);
        assert_eq!(peers(&lab), (4, 4));
    }
}

/// An ACK of 0 must not be taken for one that is right.
#[test]
fn a_forged_reset_that_acknowledges_nothing_is_dropped() {
    let mut lab = established();
    let _ = client(&mut lab, RA, 97_500, 0, 0).drops(DropReason::StateMismatch);
    assert_eq!(peers(&lab), (4, 4));
    assert_eq!(challenge(&mut lab, 1), (901, 100_000));
}

#[test]
fn blind_resets_all_around_the_exact_number_are_dropped() {
    let mut lab = established();
    for seq in [899, 903, 901 + 4999, 901 - 500] {
        let _ = server(&mut lab, R, seq, 0, 0).drops(DropReason::StateMismatch);
    }
    assert_eq!(peers(&lab), (4, 4));
    let _ = server(&mut lab, R, 901, 0, 0).passes();
    assert_eq!(peers(&lab), (10, 10));
}

/// OpenBSD's `posack_fin`, `negack_fin` and `lessseq_fin`: a FIN with numbers that are nearly right.
#[test]
fn a_fin_with_odd_numbers_does_not_take_the_connection_away() {
    for (seq, ack) in [(100_001, 911), (100_001, 891), (99_991, 901)] {
        let mut lab = established();
        drop(client(&mut lab, FA, seq, ack, 0));
        let _ = server(&mut lab, PA, 901, 100_001, 100).passes();
        assert_eq!(peers(&lab).1, 4);
        let (seq, _) = challenge(&mut lab, 5_000_000);
        assert_eq!(seq, 1001);
    }
    let mut lab = established();
    for (seq, ack) in [(100_001, 901 + 70_000), (100_001 + 70_000, 901)] {
        let _ = client(&mut lab, FA, seq, ack, 0).drops(DropReason::StateMismatch);
    }
    assert_eq!(peers(&lab), (4, 4));
}

#[test]
fn resets_and_challenges_of_a_second_are_bounded_and_the_rest_is_counted() {
    let refuse = Rule::new(Action::Block(BlockReply::Return));
    let mut lab = Lab::router(filter(&[refuse]));
    let mut answered = 0;
    for port in 1..=300 {
        let seen = lab.packet(In, "em0", tcp((CLIENT.0, port), SERVER, S, 1, 0, 0));
        for generated in &seen.decision.generated {
            assert_eq!(generated.exit, GeneratedExit::Back);
            answered += 1;
        }
    }
    assert_eq!((answered, lab.engine.status().resets_refused), (200, 100));
    lab.skip_time(1);
    let seen = lab.packet(In, "em0", tcp(CLIENT, SERVER, S, 1, 0, 0));
    assert_eq!(seen.decision.generated.len(), 1);
}

#[test]
fn icmp_errors_of_a_second_are_bounded_and_the_rest_is_counted() {
    let refuse = Rule::new(Action::Block(BlockReply::Return));
    let mut lab = Lab::router(filter(&[refuse]));
    let answered: usize = (1..=1100)
        .map(|port| {
            let seen = lab.packet(In, "em0", udp((CLIENT.0, port), SERVER, 8));
            seen.decision.generated.len()
        })
        .sum();
    assert_eq!((answered, lab.engine.status().errors_refused), (1000, 100));
}
