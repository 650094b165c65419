//! Fragments: put together, or filtered one by one.
//!
//! The rows of FreeBSD's `fragmentation_*.sh` and of OpenBSD's `pf_fragment`.

use pf_engine::addr::Protocol;
use pf_engine::decision::{Basis, DropReason, Exit, Verdict};
use pf_engine::norm;
use pf_engine::rule::{Action, BlockReply, FlagsMatch, Reassemble, Rule};
use pf_engine::ruleset::{Limit, Ruleset};
use pf_engine::wire::build::{self, Ip};
use pf_engine::wire::{Meta, checksum};

use super::harness::*;

const CLIENT: &str = "10.0.0.5";
const SERVER: &str = "198.51.100.7";
const CLIENT6: &str = "2001:db8:a::5";
const SERVER6: &str = "2001:db8:c::7";
const ENDS: [(&str, &str); 2] = [(CLIENT, SERVER), (CLIENT6, SERVER6)];

/// `set reassemble`.
fn set(enabled: bool, no_df: bool, rules: &[Rule]) -> Ruleset {
    let mut ruleset = filter(rules);
    ruleset.options.reassemble = Reassemble { enabled, no_df };
    ruleset
}

/// A ping of `data` bytes in pieces of at most `mtu`.
fn ping(from: &str, to: &str, data: usize, mtu: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let header = Ip {
        id: 7,
        ..Ip::new(ip(from), ip(to))
    };
    let whole = build::echo_request(&header, 9, 1, &vec![0x63; data]);
    let pieces = cut(&whole, mtu);
    (whole, pieces)
}

fn cut(whole: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    norm::fragment(whole, &Meta::parse(whole).unwrap(), mtu, 77).unwrap()
}

/// A fragment of a ping at `offset`, all of its bytes `fill`.
fn ping_piece(offset: u16, more: bool, len: usize, fill: u8) -> Vec<u8> {
    let header = Ip {
        id: 7,
        ..Ip::new(ip(CLIENT), ip(SERVER))
    };
    let mut bytes = build::packet(&header, Protocol(200), &vec![fill; len]);
    bytes[9] = Protocol::ICMP.0;
    let word = (offset / 8) | if more { 0x2000 } else { 0 };
    bytes[6..8].copy_from_slice(&word.to_be_bytes());
    checksum::complete(&mut bytes).unwrap();
    bytes
}

fn is_held(seen: &Seen<'_>) -> bool {
    seen.decision.verdict == Verdict::Held
}

#[test]
fn a_ping_of_sixty_kilobytes_crosses_in_the_fragments_it_came_in() {
    for (client, server) in ENDS {
        let mut lab = Lab::router(filter(&[block(), pass().keep()]));
        let (whole, pieces) = ping(client, server, 60_000, 1500);
        assert!(pieces.len() > 40);
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            assert!(is_held(&lab.packet(In, "em0", piece.clone())));
        }
        let seen = lab.packet(In, "em0", last.clone());
        assert_eq!(
            seen.decision.verdict,
            Verdict::PassFragments(Exit::Continue, pieces)
        );
        assert_eq!(seen.bytes, whole, "what the rules saw");
    }
}

#[test]
fn the_sixty_fifth_fragment_of_a_datagram_ends_it_in_both_families() {
    for (client, server) in ENDS {
        let mut lab = Lab::router(filter(&[pass()]));
        let (_, pieces) = ping(client, server, 3000, if client == CLIENT { 60 } else { 88 });
        assert!(pieces.len() > 64);
        for piece in &pieces[..64] {
            assert!(is_held(&lab.packet(In, "em0", piece.clone())));
        }
        let seen = lab.packet(In, "em0", pieces[64].clone());
        let _ = seen.drops(DropReason::Fragment);
        let whole = pieces[65..].iter().any(|piece| {
            let seen = lab.packet(In, "em0", piece.clone());
            matches!(seen.decision.verdict, Verdict::PassFragments(..))
        });
        assert!(!whole);
    }
}

#[test]
fn more_fragments_than_the_limit_push_the_oldest_datagrams_out() {
    let mut lab = Lab::router(limit(filter(&[pass()]), Limit::Frags, 10));
    for id in 0..50_u16 {
        let header = Ip {
            id,
            ..Ip::new(ip(CLIENT), ip(SERVER))
        };
        let whole = build::echo_request(&header, 9, 1, &[0x63; 2000]);
        let _ = lab.packet(In, "em0", cut(&whole, 1500)[0].clone());
        assert!(lab.engine.status().fragments <= 10);
    }
}

#[test]
fn of_overlapping_fragments_what_came_first_counts() {
    // Replaced as a whole, in part at its end, in part at its beginning; a hole filled.
    let overlaps: [&[(u16, bool, usize)]; 3] = [
        &[(8, true, 16), (0, true, 24), (24, false, 8)],
        &[(0, true, 16), (8, true, 16), (24, false, 8)],
        &[(16, false, 16), (0, true, 24)],
    ];
    for pieces in overlaps {
        let mut lab = Lab::router(filter(&[pass()]));
        let mut wanted = [0_u8; 32];
        let mut last = None;
        for (&(offset, more, len), fill) in pieces.iter().zip([8_u8, 0, 9]) {
            for byte in &mut wanted[usize::from(offset)..][..len] {
                // Fill 0 and type 0 make an echo reply; a taken byte stays.
                *byte = if *byte == 0 { fill } else { *byte };
            }
            let seen = lab.packet(In, "em0", ping_piece(offset, more, len, fill));
            last = Some(seen.bytes.clone());
        }
        assert_eq!(last.unwrap()[20..], wanted);
    }
}

#[test]
fn a_fragment_beyond_the_end_or_the_largest_datagram_is_dropped() {
    let mut lab = Lab::router(filter(&[pass()]));
    assert!(is_held(&lab.packet(In, "em0", ping_piece(8, false, 8, 1))));
    let _ = lab
        .packet(In, "em0", ping_piece(16, true, 8, 1))
        .drops(DropReason::Fragment)
        .counts("reason fragment 1");
    let _ = lab
        .packet(In, "em0", ping_piece(65_528, false, 100, 1))
        .drops(DropReason::BadOffset)
        .counts("reason bad-offset 1");
    let _ = lab
        .packet(In, "em0", ping_piece(0, true, 7, 1))
        .drops(DropReason::Fragment)
        .counts("reason fragment 1");
}

#[test]
fn overlapping_ipv6_fragments_end_their_datagram() {
    let mut lab = Lab::router(filter(&[pass()]));
    let (_, pieces) = ping(CLIENT6, SERVER6, 3000, 1280);
    let mut other = pieces[1].clone();
    // The same place with other bytes.
    *other.last_mut().unwrap() ^= 1;
    assert!(is_held(&lab.packet(In, "em0", pieces[0].clone())));
    assert!(is_held(&lab.packet(In, "em0", pieces[1].clone())));
    let _ = lab
        .packet(In, "em0", other)
        .drops(DropReason::Fragment)
        .counts("fragments -1\n reason fragment 1");
    let _ = lab
        .packet(In, "em0", pieces[2].clone())
        .drops(DropReason::Fragment);
}

#[test]
fn a_reassembled_packet_is_cut_smaller_for_a_narrower_exit() {
    for (client, server) in ENDS {
        let route = pass().inbound().on("em0").keep().route(
            pf_engine::rule::RouteKind::RouteTo,
            &[if client == CLIENT {
                ("em1", "192.0.2.9")
            } else {
                ("em1", "2001:db8:b::9")
            }],
        );
        let mut lab = Lab::router(filter(&[pass(), route]));
        lab.set_interfaces(|all| all[1].mtu = 1300);
        let (_, pieces) = ping(client, server, 4000, 1500);
        let mut verdict = Verdict::Held;
        for piece in pieces {
            verdict = lab.packet(In, "em0", piece).decision.verdict.clone();
        }
        let Verdict::PassFragments(_, out) = verdict else {
            panic!("{verdict:?}");
        };
        assert!(out.iter().all(|piece| piece.len() <= 1300) && out.len() > 3);
    }
}

#[test]
fn fragments_with_dont_fragment_are_dropped_unless_no_df_clears_it() {
    let (whole, pieces) = ping(CLIENT, SERVER, 3000, 1500);
    let pieces: Vec<_> = pieces.into_iter().map(forbid_fragments).collect();
    for enabled in [true, false] {
        let mut lab = Lab::router(set(enabled, false, &[pass()]));
        let _ = lab
            .packet(In, "em0", pieces[0].clone())
            .drops(DropReason::Fragment)
            .counts("reason fragment 1");
    }
    let mut lab = Lab::router(set(true, true, &[pass()]));
    let (last, first) = pieces.split_last().unwrap();
    for piece in first {
        assert!(is_held(&lab.packet(In, "em0", piece.clone())));
    }
    let seen = lab.packet(In, "em0", last.clone());
    let Verdict::PassFragments(_, out) = &seen.decision.verdict else {
        panic!("{:?}", seen.decision.verdict);
    };
    assert!(
        out.iter()
            .all(|piece| !Meta::parse(piece).unwrap().dont_fragment)
    );
    assert_eq!(seen.bytes, whole);
    drop(seen);
    // `set reassemble yes no-df` clears it on every packet.
    let seen = lab.packet(In, "em0", dont_fragment(echo(CLIENT, SERVER, 1)));
    assert!(!meta(&seen.bytes).dont_fragment);
}

/// "Don't fragment" on a fragment.
fn forbid_fragments(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[6] |= 0x40;
    checksum::complete(&mut bytes).unwrap();
    bytes
}

#[test]
fn without_reassembly_fragment_rules_match_fragments_alone() {
    for (client, server) in ENDS {
        let fragments = block().change(|r| r.fragment = true).label("f");
        let mut lab = Lab::router(set(false, false, &[pass().keep(), fragments]));
        let (_, pieces) = ping(client, server, 3000, 1500);
        for piece in &pieces {
            let seen = lab
                .packet(In, "em0", piece.clone())
                .drops(DropReason::Fragment);
            assert_eq!(seen.decision.basis, Basis::Packet);
            let len = piece.len();
            let _ = seen.counts(&format!(
                "filter 0 evaluations 1
                 filter 1 evaluations 1
                 filter 1 in 1/{len}
                 reason match 1
                 reason fragment 1"
            ));
        }
        assert_eq!(lab.label("f").1, 3);
        let _ = lab
            .packet(In, "em0", echo(client, server, 1))
            .passes_unchanged();
        assert_eq!(lab.label("f").1, 3);
    }
}

#[test]
fn without_reassembly_fragments_have_no_ports_no_flags_and_no_state() {
    let to_port = pass().proto(Protocol::UDP).port(53).keep();
    let by_flags = pass()
        .proto(Protocol::TCP)
        .change(|r| r.flags = Some(FlagsMatch::SYN_OF_SYN_ACK))
        .keep();
    let by_type = pass().inet().proto(Protocol::ICMP).change(|r| {
        r.icmp = Some(pf_engine::rule::IcmpMatch {
            kind: 8,
            code: None,
        });
    });
    let mut lab = Lab::router(set(false, false, &[block(), to_port, by_flags, by_type]));
    let datagram = udp((CLIENT, 4000), (SERVER, 53), 3000);
    let segment = tcp((CLIENT, 4000), (SERVER, 80), S, 1, 0, 3000);
    let (echo, _) = ping(CLIENT, SERVER, 3000, 1500);
    for whole in [&datagram, &segment, &echo] {
        let seen = lab.packet(In, "em0", cut(whole, 1500)[0].clone());
        let _ = seen.drops(DropReason::Fragment);
    }
    // Its state does not let the fragments of the others through either.
    let _ = lab
        .packet(In, "em0", udp((CLIENT, 4000), (SERVER, 53), 30))
        .passes();
    let piece = cut(&datagram, 1500)[1].clone();
    let _ = lab.packet(In, "em0", piece).drops(DropReason::Fragment);
    assert_eq!(lab.states().len(), 1);
}

#[test]
fn without_reassembly_fragments_pass_as_they_are_without_state_or_translation() {
    let mut ruleset = set(false, false, &[pass().keep()]);
    ruleset.nat = vec![nat("em1", "192.0.2.1")];
    let mut lab = Lab::router(ruleset);
    let (_, pieces) = ping(CLIENT, SERVER, 3000, 1500);
    let _ = lab
        .packet(Out, "em1", pieces[1].clone())
        .passes_unchanged()
        .counts(
            "filter 0 evaluations 1
             filter 0 out 1/1500
             reason match 1",
        );
}

#[test]
fn a_blocked_fragment_is_not_answered() {
    let rules = [Rule::new(Action::Block(BlockReply::Return))];
    let mut lab = Lab::router(set(false, false, &rules));
    let datagram = udp((CLIENT, 4000), (SERVER, 53), 3000);
    let seen = lab.packet(In, "em0", cut(&datagram, 1500)[0].clone());
    assert_eq!(seen.decision.generated, []);
    let _ = seen.drops(DropReason::Fragment);
    let small = udp((CLIENT, 4000), (SERVER, 53), 30);
    assert_eq!(lab.packet(In, "em0", small).decision.generated.len(), 1);
}

#[test]
fn without_reassembly_impossible_fragments_are_dropped_all_the_same() {
    let mut lab = Lab::router(set(false, false, &[pass()]));
    let _ = lab
        .packet(In, "em0", ping_piece(8, true, 7, 1))
        .drops(DropReason::Fragment);
    let _ = lab
        .packet(In, "em0", ping_piece(65_528, false, 100, 1))
        .drops(DropReason::BadOffset);
    // `no scrub` takes even those.
    let mut ruleset = filter(&[pass()]);
    ruleset.scrub = vec![Rule::new(Action::NoScrub)];
    let mut lab = Lab::router(ruleset);
    let _ = lab
        .packet(In, "em0", ping_piece(8, true, 7, 1))
        .passes_unchanged();
}

#[test]
fn a_path_mtu_error_quotes_a_reassembled_packet_with_right_checksums() {
    // The datagram fits its fragments but has "don't fragment" beyond the exit.
    let route = pass()
        .inbound()
        .on("em0")
        .keep()
        .route(pf_engine::rule::RouteKind::RouteTo, &[("em1", "192.0.2.9")]);
    let mut lab = Lab::router(filter(&[pass(), route]));
    lab.set_interfaces(|all| all[1].mtu = 600);
    let packet = dont_fragment(udp((CLIENT, 4000), (SERVER, 53), 1000));
    let seen = lab
        .packet(In, "em0", packet.clone())
        .drops(DropReason::TooBig);
    let answer = meta(seen.answer());
    let quoted = answer.quoted_offset().unwrap();
    let kept = &seen.answer()[quoted..];
    assert_eq!(kept, &packet[..kept.len()], "the sender's own bytes");
}
