//! The life of a connection, and what is refused during it.

use pf_engine::addr::Protocol;
use pf_engine::decision::{Basis, DropReason, StateId, Verdict};
use pf_engine::ruleset::DebugLevel;

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn keeping() -> Lab {
    let rules = [
        block(),
        pass()
            .inbound()
            .on("em0")
            .proto(Protocol::TCP)
            .flags_s_sa()
            .keep(),
    ];
    Lab::router(filter(&rules))
}

/// From the client: In on em0, where the state is.
fn client(lab: &mut Lab, flags: u8, seq: u32, ack: u32, data: usize) -> Seen<'_> {
    lab.packet(In, "em0", tcp(CLIENT, SERVER, flags, seq, ack, data))
}

/// From the server: Out on em0.
fn server(lab: &mut Lab, flags: u8, seq: u32, ack: u32, data: usize) -> Seen<'_> {
    lab.packet(Out, "em0", tcp(SERVER, CLIENT, flags, seq, ack, data))
}

fn established() -> Lab {
    let mut lab = keeping();
    let _ = client(&mut lab, S, 100, 0, 0).passes();
    let _ = server(&mut lab, SA, 900, 101, 0).passes();
    let _ = client(&mut lab, A, 101, 901, 0).passes();
    lab
}

#[test]
fn a_connection_opens_talks_and_closes() {
    let mut lab = keeping();
    let seen = client(&mut lab, S, 100, 0, 0).passes_unchanged().counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/40
         filter 1 states 1
         filter 1 created 1
         state 1 forward 1/40
         reason match 1
         searches 1
         inserts 1",
    );
    assert_eq!(seen.decision.basis, Basis::State(StateId(1)));
    drop(seen);
    assert_eq!(peers(&lab), (2, 0, 120), "SYN_SENT:CLOSED, tcp.first");
    let _ = server(&mut lab, SA, 900, 101, 0).passes_unchanged().counts(
        "filter 1 out 1/40
         state 1 reply 1/40
         searches 1",
    );
    assert_eq!(peers(&lab), (4, 2, 30), "ESTABLISHED:SYN_SENT, tcp.opening");
    let _ = client(&mut lab, A, 101, 901, 0).passes();
    assert_eq!(peers(&lab), (4, 4, 86_400), "tcp.established");
    let _ = client(&mut lab, PA, 101, 901, 500).passes();
    let _ = server(&mut lab, PA, 901, 601, 1000).passes();
    let _ = client(&mut lab, FA, 601, 1901, 0).passes();
    assert_eq!(peers(&lab), (7, 4, 900), "CLOSING:ESTABLISHED, tcp.closing");
    let _ = server(&mut lab, FA, 1901, 602, 0).passes();
    assert_eq!(peers(&lab), (9, 7, 45), "FIN_WAIT_2:CLOSING, tcp.finwait");
    let _ = client(&mut lab, A, 602, 1902, 0).passes();
    assert_eq!(peers(&lab), (9, 9, 90), "FIN_WAIT_2:FIN_WAIT_2, tcp.closed");
    lab.wait(89);
    assert_eq!(lab.engine.state_count(), 1);
    lab.wait(11);
    assert_eq!(lab.engine.state_count(), 0, "swept within an interval");
    assert_eq!(lab.engine.status().removals, 1);
}

#[test]
fn an_expired_state_counts_as_absent_before_it_is_swept() {
    let mut lab = keeping();
    let _ = client(&mut lab, S, 100, 0, 0).passes();
    lab.skip_time(121);
    let _ = server(&mut lab, SA, 900, 101, 0).drops(DropReason::Match);
    let _ = client(&mut lab, S, 100, 0, 0).passes().counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/40
         filter 1 created 1
         state 2 forward 1/40
         reason match 1
         searches 1
         inserts 1
         removals 1",
    );
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn a_segment_outside_the_window_is_dropped_and_changes_nothing() {
    let mut lab = established();
    let before = lab.state(1).source;
    for seq in [101 + 70_000, 101u32.wrapping_sub(70_000)] {
        let _ = client(&mut lab, PA, seq, 901, 100)
            .drops(DropReason::StateMismatch)
            .counts(
                "reason state-mismatch 1
             searches 1",
            );
    }
    let ack_ahead = 901 + 70_000;
    let _ = client(&mut lab, PA, 101, ack_ahead, 100).drops(DropReason::StateMismatch);
    assert_eq!(lab.state(1).source, before);
}

#[test]
fn with_debug_misc_a_segment_outside_the_window_is_told_as_pf_logs_it() {
    let mut lab = established();
    let _ = client(&mut lab, PA, 101 + 70_000, 901, 100).drops(DropReason::StateMismatch);
    assert_eq!(lab.engine.take_bad_state(), None, "urgent alone");
    lab.engine
        .set_debug(DebugLevel::named("misc").expect("a level"));
    let _ = client(&mut lab, PA, 101 + 70_000, 901, 100).drops(DropReason::StateMismatch);
    let bad = lab.engine.take_bad_state().expect("it is told");
    assert_eq!(
        bad.to_string(),
        "pf: BAD state: TCP in wire: 10.0.0.9:1025 192.0.2.80:80 stack: - \
         [lo=100 high=5101 win=5000 modulator=0] [lo=901 high=5901 win=5000 modulator=0] 4:4 \
         PA seq=70101 (70101) ack=901 len=100 ackskew=0 pkts=2:1 dir=in,fwd\n\
         pf: State failure on: 1       |    "
    );
    assert_eq!(lab.engine.take_bad_state(), None, "once");
    let _ = server(&mut lab, PA, 901, 101 - 90, 0).passes();
    assert_eq!(lab.engine.take_bad_state(), None, "nothing was wrong");
}

#[test]
fn a_blind_reset_does_not_end_a_connection_and_an_exact_one_does() {
    let mut lab = established();
    let _ = server(&mut lab, R, 901 + 100, 0, 0).drops(DropReason::StateMismatch);
    assert_eq!(peers(&lab), (4, 4, 86_400));
    let _ = server(&mut lab, R, 901, 0, 0).passes();
    assert_eq!(peers(&lab), (10, 10, 90), "TIME_WAIT:TIME_WAIT");
}

#[test]
fn a_refused_connection_is_over_at_once() {
    let mut lab = keeping();
    let _ = client(&mut lab, S, 100, 0, 0).passes();
    let _ = server(&mut lab, RA, 0, 101, 0).passes();
    assert_eq!(peers(&lab), (10, 10, 90));
}

#[test]
fn an_answer_to_another_handshake_is_reset() {
    let mut lab = keeping();
    let _ = client(&mut lab, S, 100, 0, 0).passes();
    let _ = server(&mut lab, S, 900, 0, 0).passes();
    let bad = server(&mut lab, SA, 500_000, 4_000_000, 0).drops(DropReason::StateMismatch);
    let answer = *meta(bad.answer()).tcp().unwrap();
    assert_eq!(tuple(bad.answer()), "10.0.0.9:1025 > 192.0.2.80:80");
    assert_eq!((answer.flags, answer.seq), (R, 4_000_000));
}

#[test]
fn a_closed_connection_may_be_opened_again_from_the_same_port() {
    let mut lab = established();
    let _ = server(&mut lab, R, 901, 0, 0).passes();
    let _ = client(&mut lab, S, 50_000, 0, 0).passes().counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/40
         filter 1 created 1
         state 2 forward 1/40
         reason match 1
         searches 1
         inserts 1
         removals 1",
    );
    assert_eq!(lab.state(2).source.seq_lo, 50_000);
}

#[test]
fn an_open_connection_is_not_opened_again() {
    let mut lab = established();
    let _ = client(&mut lab, S, 3_000_000, 0, 0).drops(DropReason::StateMismatch);
    assert_eq!(peers(&lab), (4, 4, 86_400));
}

#[test]
fn window_scale_counts_only_if_both_announce_it() {
    let scale = |n| [3, 3, n, 1];
    for (server_options, fits) in [(Some(7), true), (None, false)] {
        let mut lab = keeping();
        let _ = lab
            .packet(In, "em0", tcp_with(CLIENT, SERVER, S, 100, 0, 0, &scale(7)))
            .passes();
        let options = server_options.map(scale);
        let options = options.as_ref().map_or(&[][..], |o| &o[..]);
        let _ = lab
            .packet(
                Out,
                "em0",
                tcp_with(SERVER, CLIENT, SA, 900, 101, 0, options),
            )
            .passes();
        let _ = client(&mut lab, A, 101, 901, 0).passes();
        let _ = server(&mut lab, A, 901, 101, 0).passes();
        // Windows are 5000: scaled by 7, 640000 bytes.
        let far = client(&mut lab, PA, 101 + 100_000, 901, 1000);
        let dropped = far.decision.verdict == Verdict::Drop(DropReason::StateMismatch);
        assert_eq!(dropped, !fits);
        drop(far);
        let state = lab.state(1);
        assert_eq!(state.source.window_scale, server_options);
        assert_eq!(state.destination.window_scale, server_options);
    }
}

#[test]
fn without_flags_a_connection_is_picked_up_in_the_middle() {
    let mut lab = Lab::router(filter(&[pass().on("em0").proto(Protocol::TCP).keep()]));
    let _ = client(&mut lab, PA, 5000, 9000, 100).passes();
    let _ = server(&mut lab, A, 9000, 5100, 0).passes();
    let _ = client(&mut lab, PA, 5100, 9000, 1000).passes();
    let _ = server(&mut lab, PA, 9000, 6100, 1000).passes();
    assert_eq!(peers(&lab).0, 4);
    let _ = server(&mut lab, PA, 9000 + 500_000, 6100, 10).drops(DropReason::StateMismatch);
}

#[test]
fn sloppy_states_do_not_look_at_numbers_and_live_on_one_direction() {
    let rule = pass()
        .on("em0")
        .keep()
        .change(|r| r.state_options.sloppy = true);
    let mut lab = Lab::router(filter(&[rule]));
    let _ = client(&mut lab, S, 100, 0, 0).passes();
    let _ = client(&mut lab, A, 4_000_000, 77, 0).passes();
    assert_eq!(peers(&lab), (4, 4, 86_400));
    let _ = client(&mut lab, FA, 9, 9, 0).passes();
    assert_eq!(peers(&lab), (7, 7, 45));
}

#[test]
fn a_rules_own_timeouts_win() {
    use pf_engine::rule::Timeout;
    let rule = pass()
        .on("em0")
        .keep()
        .change(|r| r.state_options.timeouts = vec![(Timeout::TcpFirst, 7)]);
    let mut lab = Lab::router(filter(&[rule]));
    let _ = client(&mut lab, S, 100, 0, 0).passes();
    assert_eq!(peers(&lab).2, 7);
}

#[test]
fn modulated_numbers_differ_on_the_two_sides_and_agree_for_each_peer() {
    let mut lab = Lab::router(filter(&[pass().inbound().on("em0").modulate()]));
    let syn = client(&mut lab, S, 100, 0, 0).passes();
    let diff = meta(&syn.bytes).tcp().unwrap().seq.wrapping_sub(100);
    drop(syn);
    assert_ne!(diff, 0);
    let answer = server(&mut lab, SA, 900, 101u32.wrapping_add(diff), 0).passes();
    let back = *meta(&answer.bytes).tcp().unwrap();
    drop(answer);
    assert_eq!(back.ack, 101);
    let server_diff = back.seq.wrapping_sub(900);
    let state = lab.state(1);
    assert_eq!(
        (state.source.seq_diff, state.destination.seq_diff),
        (diff, server_diff)
    );
    let seen = client(&mut lab, PA, 101, back.seq.wrapping_add(1), 10).passes();
    let forward = *meta(&seen.bytes).tcp().unwrap();
    assert_eq!((forward.seq, forward.ack), (101u32.wrapping_add(diff), 901));
    drop(seen);
    // A repeated SYN gets the same number.
    let mut lab = Lab::router(filter(&[pass().inbound().on("em0").modulate()]));
    let first = client(&mut lab, S, 100, 0, 0).bytes.clone();
    let second = client(&mut lab, S, 100, 0, 0).bytes.clone();
    assert_eq!(first, second);
}

#[test]
fn modulated_numbers_over_ipv6() {
    let (client, server) = (("2001:db8:a::9", 1025), ("2001:db8:b::80", 80));
    let mut lab = Lab::router(filter(&[pass().inbound().on("em0").modulate()]));
    let syn = lab
        .packet(In, "em0", tcp(client, server, S, 100, 0, 0))
        .passes();
    let sent = meta(&syn.bytes).tcp().unwrap().seq;
    drop(syn);
    assert_ne!(sent, 100);
    let answer = tcp(server, client, SA, 900, sent.wrapping_add(1), 0);
    let answer = lab.packet(Out, "em0", answer).passes();
    let back = *meta(&answer.bytes).tcp().unwrap();
    assert_ne!(back.seq, 900);
    assert_eq!(back.ack, 101);
}

#[test]
fn block_return_answers_with_a_reset_and_never_answers_one() {
    use pf_engine::rule::{Action, BlockReply, Rule};
    let mut lab = Lab::router(filter(&[Rule::new(Action::Block(BlockReply::Return))]));
    let seen = client(&mut lab, S, 100, 0, 7)
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
         filter 0 in 1/47
         reason match 1
         searches 1",
        );
    let answer = *meta(seen.answer()).tcp().unwrap();
    assert_eq!(tuple(seen.answer()), "192.0.2.80:80 > 10.0.0.9:1025");
    assert_eq!((answer.flags, answer.seq, answer.ack), (RA, 0, 108));
    drop(seen);
    let seen = client(&mut lab, R, 100, 0, 0).drops(DropReason::Match);
    assert_eq!(seen.decision.generated, []);
}

/// Nobody knows whose it was. PF counts that beside the rule's.
#[test]
fn block_return_leaves_a_segment_with_a_wrong_checksum_unanswered_and_counts_it() {
    use pf_engine::rule::{Action, BlockReply, Rule};
    let mut lab = Lab::router(filter(&[Rule::new(Action::Block(BlockReply::Return))]));
    let mut syn = tcp(CLIENT, SERVER, S, 100, 0, 0);
    syn[37] ^= 1;
    let seen = lab.packet(In, "em0", syn).drops(DropReason::Match).counts(
        "filter 0 evaluations 1
         filter 0 in 1/40
         reason match 1
         reason proto-cksum 1
         searches 1",
    );
    assert_eq!(seen.decision.generated, []);
}

/// Whatever number the server begins with.
#[test]
fn a_syn_that_was_repeated_is_answered() {
    const SCALE: [u8; 4] = [3, 3, 10, 1];
    for begins_at in (0..=u32::MAX).step_by(1 << 25) {
        let mut lab = keeping();
        for _ in 0..2 {
            lab.packet(In, "em0", tcp_with(CLIENT, SERVER, S, 100, 0, 0, &SCALE))
                .passes();
        }
        let answer = tcp_with(SERVER, CLIENT, SA, begins_at, 101, 0, &SCALE);
        lab.packet(Out, "em0", answer).passes();
        let next = begins_at.wrapping_add(1);
        lab.packet(In, "em0", tcp(CLIENT, SERVER, A, 101, next, 0))
            .passes();
    }
}
