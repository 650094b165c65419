use super::*;
use proptest::prelude::*;

fn segment(flags: u8, seq: u32, ack: u32, len: u32) -> Segment {
    Segment {
        flags,
        seq,
        ack,
        window: 1000,
        len,
        window_scale: None,
    }
}

const SYN: u8 = tcp_flags::SYN;
const ACK: u8 = tcp_flags::ACK;
const FIN: u8 = tcp_flags::FIN;
const RST: u8 = tcp_flags::RST;

fn never() -> u32 {
    panic!("no number is drawn")
}

/// A connection whose client begins at 100 and whose server begins at 900. The SYN's number is
/// the highest that the client is known to have sent, as in PF.
fn established() -> (Peer, Peer) {
    let (mut client, mut server) = open(&segment(SYN, 100, 0, 0), 0);
    track(
        &mut server,
        &mut client,
        &segment(SYN | ACK, 900, 101, 0),
        &mut never,
    )
    .unwrap();
    track(
        &mut client,
        &mut server,
        &segment(ACK, 101, 901, 0),
        &mut never,
    )
    .unwrap();
    (client, server)
}

#[test]
fn a_syn_opens_as_pf_does() {
    let mut syn = segment(SYN, 100, 0, 0);
    syn.window = 65_535;
    syn.window_scale = Some(7);
    let (client, server) = open(&syn, 0);
    assert_eq!(
        (client.state, client.seq_lo, client.seq_hi),
        (tcps::SYN_SENT, 100, 102)
    );
    assert_eq!(client.max_win, 512, "65535 / 128, rounded up");
    assert_eq!(
        (server.state, server.seq_lo, server.seq_hi, server.max_win),
        (0, 0, 1, 1)
    );
}

#[test]
fn the_window_ends_where_the_receiver_said() {
    let (client, server) = established();
    for (len, fits) in [(1000, true), (1001, false)] {
        let (mut client, mut server) = (client, server);
        let data = segment(ACK, 101, 901, len);
        assert_eq!(
            track(&mut client, &mut server, &data, &mut never).is_ok(),
            fits,
            "{len}"
        );
    }
}

#[test]
fn a_retransmission_is_at_most_one_window_back() {
    let (client, server) = established();
    for (back, fits) in [(1000, true), (1001, false)] {
        let (mut client, mut server) = (client, server);
        let data = segment(ACK, 100u32.wrapping_sub(back), 901, 10);
        assert_eq!(
            track(&mut client, &mut server, &data, &mut never).is_ok(),
            fits,
            "{back}"
        );
    }
}

#[test]
fn an_acknowledgment_is_at_most_a_fragment_ahead() {
    let (client, server) = established();
    for (ahead, fits) in [(MAX_ACK_WINDOW, true), (MAX_ACK_WINDOW + 1, false)] {
        let (mut client, mut server) = (client, server);
        let ack = segment(ACK, 101, 901 + ahead, 0);
        assert_eq!(
            track(&mut client, &mut server, &ack, &mut never).is_ok(),
            fits,
            "{ahead}"
        );
    }
}

#[test]
fn a_reset_is_exact_give_or_take_one() {
    let (client, server) = established();
    for (seq, fits) in [
        (99, true),
        (100, true),
        (101, true),
        (98, false),
        (102, false),
    ] {
        let (mut client, mut server) = (client, server);
        let reset = segment(RST, seq, 0, 0);
        let tracked = track(&mut client, &mut server, &reset, &mut never);
        assert_eq!(tracked.is_ok(), fits, "{seq}");
        assert_eq!(client.state == tcps::TIME_WAIT, fits);
    }
}

#[test]
fn sequence_numbers_wrap_around() {
    let (mut client, mut server) = open(&segment(SYN, u32::MAX - 5, 0, 0), 0);
    let seq = u32::MAX - 4;
    track(
        &mut server,
        &mut client,
        &segment(SYN | ACK, 900, seq, 0),
        &mut never,
    )
    .unwrap();
    track(
        &mut client,
        &mut server,
        &segment(ACK, seq, 901, 500),
        &mut never,
    )
    .unwrap();
    assert_eq!(client.seq_lo, 495);
}

#[test]
fn after_both_fins_stragglers_pass_without_prolonging() {
    let (mut client, mut server) = established();
    track(
        &mut client,
        &mut server,
        &segment(FIN | ACK, 101, 901, 0),
        &mut never,
    )
    .unwrap();
    track(
        &mut server,
        &mut client,
        &segment(FIN | ACK, 901, 102, 0),
        &mut never,
    )
    .unwrap();
    let done = track(
        &mut client,
        &mut server,
        &segment(ACK, 102, 902, 0),
        &mut never,
    )
    .unwrap();
    assert_eq!(done.timeout, Some(Timeout::TcpClosed));
    let straggler = segment(ACK, 102 + 20_000, 902, 40_000);
    let passed = track(&mut client, &mut server, &straggler, &mut never).unwrap();
    assert_eq!(passed.timeout, None);
}

#[test]
fn syns_before_the_answer_pass_loosely() {
    let (mut client, mut server) = open(&segment(SYN, 100, 0, 0), 0);
    let again = segment(SYN, 30_000, 0, 0);
    let passed = track(&mut client, &mut server, &again, &mut never).unwrap();
    assert_eq!(passed.timeout, None, "a flood prolongs nothing");
}

#[test]
fn a_modulated_server_is_drawn_a_number_once() {
    let (mut client, mut server) = open(&segment(SYN, 100, 0, 0), 5000);
    let answer = segment(SYN | ACK, 900, 5101, 0);
    let mut draws = 0;
    for _ in 0..2 {
        let mut random = || {
            draws += 1;
            77_777
        };
        track(&mut server, &mut client, &answer, &mut random).unwrap();
    }
    assert_eq!(draws, 1);
    assert_eq!(server.seq_diff, 77_777 - 900);
    assert_eq!(client.state, tcps::ESTABLISHED);
    assert_eq!(modulator(9, &mut || 9), 1, "never 0");
}

/// As PF: it is answered with an RST, and what it claimed is forgotten, so that it does not stand
/// in the way of the true answer.
#[test]
fn a_forged_answer_to_a_syn_is_reset_and_forgotten() {
    let (mut client, mut server) = open(&segment(SYN, 100, 0, 0), 0);
    let forged = segment(SYN | ACK, 5_000_000, 900_000, 0);
    let refused = track(&mut server, &mut client, &forged, &mut never).unwrap_err();
    assert!(refused.reset);
    assert_eq!((server.seq_lo, server.seq_hi, server.max_win), (0, 1, 1));
    let answer = segment(SYN | ACK, 900, 101, 0);
    track(&mut server, &mut client, &answer, &mut never).unwrap();
    assert_eq!(client.state, tcps::ESTABLISHED);
    assert_eq!(server.seq_lo, 901);
}

#[test]
fn a_quoted_number_must_be_one_that_was_sent() {
    let (mut client, mut server) = established();
    track(
        &mut client,
        &mut server,
        &segment(ACK, 101, 901, 500),
        &mut never,
    )
    .unwrap();
    for (seq, fits) in [(101, true), (600, true), (3000, false), (50_000, false)] {
        assert_eq!(quoted_fits(&client, &server, seq), fits, "{seq}");
    }
    assert!(!quoted_fits(&client, &server, 101u32.wrapping_sub(5000)));
}

/// A transfer in order within the window. Gives the client as it is tracked at the end.
fn transfer(starts: (u32, u32), lengths: &[u32], modulation: u32) -> Result<Peer, Mismatch> {
    let (client_start, server_start) = starts;
    let (mut client, mut server) = open(&segment(SYN, client_start, 0, 0), modulation);
    let mut random = || 0x1234_5678;
    let shown = client_start.wrapping_add(1).wrapping_add(modulation);
    let answer = segment(SYN | ACK, server_start, shown, 0);
    track(&mut server, &mut client, &answer, &mut random)?;
    let server_diff = server.seq_diff;
    let (mut sent, server_next) = (client_start.wrapping_add(1), server_start.wrapping_add(1));
    for len in lengths {
        let data = segment(ACK, sent, server_next.wrapping_add(server_diff), *len);
        track(&mut client, &mut server, &data, &mut random)?;
        sent = sent.wrapping_add(*len);
        let ack = segment(ACK, server_next, sent.wrapping_add(modulation), 0);
        track(&mut server, &mut client, &ack, &mut random)?;
    }
    Ok(client)
}

/// As in PF, whose test takes an empty segment for one at the highest number that is known.
#[test]
fn an_empty_segment_moves_no_number() {
    for (lengths, sent) in [(&[0, 0][..], 1), (&[0, 1], 3), (&[1, 0], 3)] {
        let client = transfer((1, 0), lengths, 0).expect("in order");
        assert_eq!(client.seq_lo, sent, "{lengths:?}");
    }
}

proptest! {
    /// It never meets a mismatch, wherever the numbers begin.
    #[test]
    fn an_orderly_transfer_passes(
        client_start: u32,
        server_start: u32,
        lengths in prop::collection::vec(0u32..=1000, 1..50),
        modulation: u32,
    ) {
        let client = transfer((client_start, server_start), &lengths, modulation);
        // The SYN's own number is known to be sent with the first byte behind it.
        let sent = match lengths.iter().sum() {
            0 => client_start,
            bytes => client_start.wrapping_add(1).wrapping_add(bytes),
        };
        prop_assert_eq!(client.map(|client| client.seq_lo), Ok(sent));
    }
}
