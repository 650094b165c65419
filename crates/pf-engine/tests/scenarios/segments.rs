//! What is done to each TCP segment before its state is looked for: flags that no host sends
//! together, reserved bits, and an urgent pointer that is none.

use pf_engine::decision::{Basis, DropReason, Verdict};
use pf_engine::rule::{Action, Log, Rule, tcp_flags};
use pf_engine::ruleset::{Dialect, Ruleset};
use pf_engine::wire::checksum;

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.5", 4000);
const SERVER: (&str, u16) = ("198.51.100.7", 80);
const CLIENT6: (&str, u16) = ("2001:db8:a::5", 4000);
const SERVER6: (&str, u16) = ("2001:db8:c::7", 80);

const F: u8 = tcp_flags::FIN;
const P: u8 = tcp_flags::PSH;
const U: u8 = tcp_flags::URG;
const EW: u8 = tcp_flags::ECE | tcp_flags::CWR;

/// Places in a TCP header: its length and reserved bits; the urgent pointer.
const LENGTH: usize = 12;
const URGENT: usize = 18;

fn scrub() -> Rule {
    Rule::new(Action::Scrub)
}

fn no_scrub() -> Rule {
    Rule::new(Action::NoScrub)
}

/// `pass` behind these `scrub` rules.
fn passing(dialect: Dialect, scrub: &[Rule]) -> Ruleset {
    Ruleset {
        dialect,
        scrub: scrub.to_vec(),
        ..filter(&[pass()])
    }
}

/// What a segment with these flags becomes: its flags then.
fn becomes(ruleset: &Ruleset, flags: u8) -> Option<u8> {
    let mut lab = Lab::router(ruleset.clone());
    let seen = lab.packet(In, "em0", tcp(CLIENT, SERVER, flags, 100, 900, 0));
    if let Verdict::Drop(reason) = seen.decision.verdict {
        assert_eq!(reason, DropReason::Normalize);
        return None;
    }
    Some(meta(&seen.bytes).tcp()?.flags)
}

/// The segment with other bytes in its TCP header, and right checksums.
fn with(segment: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let (mut bytes, start) = (segment.to_vec(), meta(segment).l4_offset);
    for (at, value) in changes {
        bytes[start + at] = *value;
    }
    checksum::complete(&mut bytes).unwrap();
    bytes
}

#[test]
fn segments_with_flags_that_no_host_sends_are_dropped_by_every_dialect() {
    let never = [
        0,
        F,
        P,
        U,
        F | P | U,
        EW,
        S | R,
        S | R | A,
        S | P,
        S | U,
        R | F,
        R | P,
    ];
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd] {
        for flags in never {
            let found = becomes(&passing(dialect, &[]), flags);
            assert_eq!(found, None, "{flags:#04x} in {dialect:?}");
        }
        for flags in [S, S | EW, SA, SA | P, A, PA, FA, A | U, R, RA, RA | F] {
            let found = becomes(&passing(dialect, &[]), flags);
            assert_eq!(found, Some(flags), "{flags:#04x} in {dialect:?}");
        }
    }
}

#[test]
fn a_syn_with_fin_is_dropped_in_freebsd_and_a_syn_in_openbsd() {
    for flags in [S | F, S | F | A] {
        assert_eq!(becomes(&passing(Dialect::FreeBsd, &[]), flags), None);
        for ruleset in [
            passing(Dialect::OpenBsd, &[]),
            passing(Dialect::OpenBsd3, &[scrub()]),
        ] {
            assert_eq!(becomes(&ruleset, flags), Some(flags & !F));
        }
    }
}

#[test]
fn where_there_are_scrub_rules_one_has_to_match() {
    let elsewhere = || scrub().on("em1");
    for (dialect, rules, is_checked) in [
        (Dialect::FreeBsd, vec![], true),
        (Dialect::FreeBsd, vec![scrub()], true),
        (Dialect::FreeBsd, vec![elsewhere()], false),
        (Dialect::FreeBsd, vec![no_scrub(), scrub()], false),
        (Dialect::OpenBsd3, vec![], false),
        (Dialect::OpenBsd3, vec![scrub()], true),
        (Dialect::OpenBsd3, vec![elsewhere()], false),
        (Dialect::OpenBsd3, vec![no_scrub(), scrub()], false),
    ] {
        let found = becomes(&passing(dialect, &rules), S | R);
        assert_eq!(found.is_none(), is_checked, "{rules:?} in {dialect:?}");
    }
}

#[test]
fn they_are_dropped_before_rules_and_states_are_asked_and_logged_where_scrub_logs() {
    let xmas = || tcp(CLIENT, SERVER, F | P | U, 101, 901, 0);
    let mut lab = Lab::router(filter(&[block(), pass().keep()]));
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, S, 100, 0, 0))
        .passes();
    let _ = lab
        .packet(Out, "em0", tcp(SERVER, CLIENT, SA, 900, 101, 0))
        .passes();
    let seen = lab
        .packet(In, "em0", xmas())
        .drops(DropReason::Normalize)
        .counts("reason normalize 1");
    assert!(seen.decision.logged.is_empty());
    assert_eq!(seen.decision.basis, Basis::Packet);
    drop(seen);
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, R | F, 101, 0, 0))
        .drops(DropReason::Normalize);
    assert_eq!(lab.engine.state_count(), 1);

    let logging = scrub().change(|r| r.log = Some(Log::default()));
    let mut lab = Lab::router(passing(Dialect::FreeBsd, &[logging]));
    let seen = lab.packet(In, "em0", xmas()).drops(DropReason::Normalize);
    let [entry] = &seen.decision.logged[..] else {
        panic!("{:?}", seen.decision.logged);
    };
    assert_eq!((entry.rule, entry.reason), (Some(0), DropReason::Normalize));
}

#[test]
fn reserved_bits_and_a_stray_urgent_pointer_are_cleared() {
    for (dialect, reserved, kept) in [
        (Dialect::FreeBsd, 0x0f, 0x01),
        (Dialect::OpenBsd, 0x0f, 0),
        (Dialect::OpenBsd3, 0x0f, 0x0f),
    ] {
        for (client, server) in [(CLIENT, SERVER), (CLIENT6, SERVER6)] {
            let mut lab = Lab::router(passing(dialect, &[]));
            let plain = tcp(client, server, PA, 101, 901, 5);
            let came = [
                (LENGTH, 0x50 | reserved),
                (URGENT, 0x12),
                (URGENT + 1, 0x34),
            ];
            let seen = lab.packet(In, "em0", with(&plain, &came)).passes();
            let urgent = if kept == reserved {
                came[1..].to_vec()
            } else {
                assert_eq!(seen.decision.basis, Basis::Packet, "others are not so");
                Vec::new()
            };
            let goes = [&urgent[..], &[(LENGTH, 0x50 | kept)]].concat();
            assert_eq!(seen.bytes, with(&plain, &goes), "in {dialect:?}");
            drop(seen);
            // One that is announced is left.
            let urgent = with(&tcp(client, server, A | U, 101, 901, 5), &[(URGENT + 1, 3)]);
            let _ = lab.packet(In, "em0", urgent).passes_unchanged();
        }
    }
}

#[test]
fn what_is_skipped_is_not_looked_at() {
    let mut ruleset = passing(Dialect::FreeBsd, &[]);
    ruleset.options.skip = vec!["em0".into()];
    let mut lab = Lab::router(ruleset);
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, S | R, 1, 2, 0))
        .passes_unchanged();
}
