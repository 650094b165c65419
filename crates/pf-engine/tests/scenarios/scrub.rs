//! `scrub` rules, `scrub (…)` and `set tos`: what goes on of packets that were normalised.
//!
//! The rows of FreeBSD's `scrub_compat.sh`, `scrub_pass.sh`, `set_tos.sh` and `tos.sh`.

use etherparse::{NetHeaders, PacketHeaders, TransportHeader};
use pf_engine::decision::{Basis, Verdict};
use pf_engine::rule::{Action, FragmentMode, Rule, Scrub};
use pf_engine::ruleset::Ruleset;
use pf_engine::wire::Meta;
use pf_engine::wire::build::{self, Ip, Segment};

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.5", 4000);
const SERVER: (&str, u16) = ("198.51.100.7", 80);
const CLIENT6: (&str, u16) = ("2001:db8:a::5", 4000);
const SERVER6: (&str, u16) = ("2001:db8:c::7", 80);
/// Address and port.
type End = (&'static str, u16);
const ENDS: [(End, End); 2] = [(CLIENT, SERVER), (CLIENT6, SERVER6)];

/// Type of service `va` (RFC 5865), as ECN-capable transport sends it.
const VOICE_ADMIT: u8 = 0xb0;
const ECT: u8 = 0x02;

fn options(change: impl FnOnce(&mut Scrub)) -> Scrub {
    let mut scrub = Scrub::NONE;
    change(&mut scrub);
    scrub
}

/// `scrub …`.
fn scrub(change: impl FnOnce(&mut Scrub)) -> Rule {
    Rule::new(Action::Scrub).change(|r| r.scrub = options(change))
}

fn no_scrub() -> Rule {
    Rule::new(Action::NoScrub)
}

/// `match … scrub (…)`.
fn matching(change: impl FnOnce(&mut Scrub)) -> Rule {
    Rule::new(Action::Match).change(|r| r.scrub = options(change))
}

fn normalising(scrub: &[Rule], rules: &[Rule]) -> Ruleset {
    Ruleset {
        scrub: scrub.to_vec(),
        ..filter(rules)
    }
}

fn mss_option(mss: u16) -> Vec<u8> {
    let [high, low] = mss.to_be_bytes();
    // At an odd place too: behind one NOP.
    vec![1, 2, 4, high, low]
}

fn syn(from: (&str, u16), to: (&str, u16), flags: u8, mss: u16) -> Vec<u8> {
    tcp_with(from, to, flags, 1000, 2000, 0, &mss_option(mss))
}

fn announced(bytes: &[u8]) -> Option<u16> {
    checked(bytes).tcp()?.maximum_segment_size(bytes)
}

/// The packet's headers, its checksums compared with those of another program.
fn checked(bytes: &[u8]) -> Meta {
    let theirs = PacketHeaders::from_ip_slice(bytes).unwrap();
    let (net, payload) = (theirs.net.unwrap(), theirs.payload.slice());
    if let NetHeaders::Ipv4(header, _) = &net {
        assert_eq!(header.header_checksum, header.calc_header_checksum());
    }
    match (&net, theirs.transport) {
        (NetHeaders::Ipv4(ip, _), Some(TransportHeader::Tcp(tcp))) => {
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv4(ip, payload).unwrap());
        }
        (NetHeaders::Ipv6(ip, _), Some(TransportHeader::Tcp(tcp))) => {
            assert_eq!(tcp.checksum, tcp.calc_checksum_ipv6(ip, payload).unwrap());
        }
        (NetHeaders::Ipv4(ip, _), Some(TransportHeader::Udp(udp))) => {
            assert_eq!(udp.checksum, udp.calc_checksum_ipv4(ip, payload).unwrap());
        }
        (NetHeaders::Ipv6(ip, _), Some(TransportHeader::Udp(udp))) => {
            assert_eq!(udp.checksum, udp.calc_checksum_ipv6(ip, payload).unwrap());
        }
        _ => {}
    }
    meta(bytes)
}

/// A UDP packet with this TTL, type of service and identification.
fn marked(from: (&str, u16), to: (&str, u16), ttl: u8, tos: u8, dont_fragment: bool) -> Vec<u8> {
    let header = Ip {
        ttl,
        tos,
        id: 7,
        dont_fragment,
        ..Ip::new(ip(from.0), ip(to.0))
    };
    build::udp(&header, from.1, to.1, b"data")
}

#[test]
fn max_mss_lowers_what_a_syn_and_its_answer_announce_in_both_families() {
    let rulesets = [
        // The old grammar: once for each direction.
        normalising(&[scrub(|s| s.max_mss = Some(1300))], &[pass().keep()]),
        filter(&[matching(|s| s.max_mss = Some(1300)), pass().keep()]),
        filter(&[pass().keep().change(|r| r.scrub.max_mss = Some(1300))]),
        // And without state.
        filter(&[matching(|s| s.max_mss = Some(1300)), pass()]),
    ];
    for ruleset in rulesets {
        for (client, server) in ENDS {
            let mut lab = Lab::router(ruleset.clone());
            let seen = lab.packet(In, "em0", syn(client, server, S, 1460)).passes();
            assert_eq!(announced(&seen.bytes), Some(1300));
            drop(seen);
            let answer = tcp_with(server, client, SA, 5000, 1001, 0, &mss_option(1440));
            let seen = lab.packet(Out, "em0", answer).passes();
            assert_eq!(announced(&seen.bytes), Some(1300));
        }
    }
}

#[test]
fn max_mss_leaves_smaller_ones_and_segments_that_are_no_syn() {
    let mut lab = Lab::router(filter(&[
        matching(|s| s.max_mss = Some(1300)),
        pass().keep().change(|r| r.state_options.sloppy = true),
    ]));
    let _ = lab
        .packet(In, "em0", syn(CLIENT, SERVER, S, 1300))
        .passes_unchanged();
    let _ = lab
        .packet(In, "em0", syn(CLIENT, SERVER, A, 1460))
        .passes_unchanged();
}

#[test]
fn min_ttl_raises_what_is_below_and_nothing_else_in_both_families() {
    let rulesets = [
        normalising(&[scrub(|s| s.min_ttl = Some(50))], &[pass().keep()]),
        filter(&[matching(|s| s.min_ttl = Some(50)), pass().keep()]),
    ];
    for ruleset in rulesets {
        for (client, server) in ENDS {
            let mut lab = Lab::router(ruleset.clone());
            for (ttl, wanted) in [(3, 50), (50, 50), (60, 60)] {
                let packet = marked(client, server, ttl, 0, false);
                let seen = lab.packet(In, "em0", packet).passes();
                assert_eq!(checked(&seen.bytes).ttl, wanted);
            }
            let reply = marked(server, client, 2, 0, false);
            let seen = lab.packet(Out, "em0", reply).passes();
            assert_eq!(checked(&seen.bytes).ttl, 50, "the state's packets too");
        }
    }
}

#[test]
fn set_tos_marks_what_matches_for_the_life_of_its_state_and_leaves_ecn() {
    let set = |rule: Rule| rule.change(|r| r.set_tos = Some(VOICE_ADMIT));
    let udp = |rule: Rule| rule.proto(pf_engine::addr::Protocol::UDP);
    let rulesets = [
        normalising(
            &[udp(scrub(|s| s.set_tos = Some(VOICE_ADMIT))).inbound()],
            &[pass().keep()],
        ),
        filter(&[
            udp(matching(|s| s.set_tos = Some(VOICE_ADMIT))),
            pass().keep(),
        ]),
        filter(&[udp(set(Rule::new(Action::Match))), pass().keep()]),
        filter(&[pass().keep(), udp(set(pass())).keep()]),
    ];
    for ruleset in rulesets {
        for (client, server) in ENDS {
            let mut lab = Lab::router(ruleset.clone());
            for (direction, from, to) in [
                (In, client, server),
                (Out, server, client),
                (In, client, server),
            ] {
                let packet = marked(from, to, 64, ECT, false);
                let seen = lab.packet(direction, "em0", packet).passes();
                assert_eq!(checked(&seen.bytes).tos, VOICE_ADMIT | ECT);
            }
            let segment = tcp(client, server, S, 1, 0, 0);
            let _ = lab.packet(In, "em0", segment).passes_unchanged();
        }
    }
}

#[test]
fn set_tos_sets_the_bits_of_ecn_too_if_it_names_them() {
    for ruleset in [
        normalising(&[scrub(|s| s.set_tos = Some(42))], &[pass().keep()]),
        filter(&[pass().keep().change(|r| r.set_tos = Some(42))]),
    ] {
        for (client, server) in ENDS {
            let mut lab = Lab::router(ruleset.clone());
            for (tos, wanted) in [(0, 0x2a), (0x01, 0x2b)] {
                let packet = marked(client, server, 64, tos, false);
                let seen = lab.packet(In, "em0", packet).passes();
                assert_eq!(checked(&seen.bytes).tos, wanted);
            }
        }
    }
}

#[test]
fn tos_matches_the_field_as_it_came_whatever_ecn_says() {
    let voice = block().inbound().change(|r| r.tos = Some(VOICE_ADMIT));
    let mut lab = Lab::router(filter(&[
        Rule::new(Action::Match).change(|r| r.set_tos = Some(VOICE_ADMIT)),
        pass(),
        voice,
    ]));
    for (client, server) in ENDS {
        let packet = |tos| marked(client, server, 64, tos, false);
        for tos in [VOICE_ADMIT, VOICE_ADMIT | ECT, VOICE_ADMIT | 3] {
            let _ = lab
                .packet(In, "em0", packet(tos))
                .drops(pf_engine::decision::DropReason::Match);
        }
        let _ = lab.packet(In, "em0", packet(0xb4)).passes();
        let _ = lab.packet(In, "em0", packet(0)).passes();
    }
}

#[test]
fn no_df_clears_dont_fragment_and_random_id_gives_each_packet_its_own() {
    let rulesets = [
        normalising(
            &[scrub(|s| (s.no_df, s.random_id) = (true, true))],
            &[pass().keep()],
        ),
        filter(&[
            matching(|s| s.no_df = true),
            matching(|s| s.random_id = true),
            pass().keep(),
        ]),
    ];
    for ruleset in rulesets {
        let mut lab = Lab::router(ruleset);
        let mut ids = Vec::new();
        for _ in 0..4 {
            let packet = marked(CLIENT, SERVER, 64, 0, true);
            let seen = lab.packet(In, "em0", packet).passes();
            let meta = checked(&seen.bytes);
            assert!(!meta.dont_fragment && meta.ip_id != 0);
            assert_eq!(seen.decision.basis, Basis::Packet, "an id for each packet");
            ids.push(meta.ip_id);
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 4);
        // Nothing of it is in IPv6.
        let packet = marked(CLIENT6, SERVER6, 64, 0, false);
        let _ = lab.packet(In, "em0", packet).passes_unchanged();
    }
}

#[test]
fn the_first_scrub_rule_that_matches_decides_and_counts() {
    let rules = [
        no_scrub().from("10.0.0.9"),
        scrub(|s| s.min_ttl = Some(50)).on("em0").inet(),
        scrub(|s| s.min_ttl = Some(99)),
    ];
    let mut lab = Lab::router(normalising(&rules, &[pass()]));
    let exempt = marked(("10.0.0.9", 4000), SERVER, 3, 0, false);
    let _ = lab.packet(In, "em0", exempt).passes_unchanged().counts(
        "filter 0 evaluations 1
         filter 0 in 1/32
         reason match 1
         scrub 0 evaluations 1
         searches 1",
    );
    let seen = lab.packet(In, "em0", marked(CLIENT, SERVER, 3, 0, false));
    assert_eq!(checked(&seen.bytes).ttl, 50);
    let _ = seen.counts(
        "filter 0 evaluations 1
         filter 0 in 1/32
         reason match 1
         scrub 0 evaluations 1
         scrub 1 evaluations 1
         scrub 1 in 1/32
         searches 1",
    );
    let seen = lab.packet(In, "em0", marked(CLIENT6, SERVER6, 3, 0, false));
    assert_eq!(checked(&seen.bytes).ttl, 99);
    let _ = seen.counts(
        "filter 0 evaluations 1
         filter 0 in 1/52
         reason match 1
         scrub 0 evaluations 1
         scrub 1 evaluations 1
         scrub 2 evaluations 1
         scrub 2 in 1/52
         searches 1",
    );
}

#[test]
fn no_scrub_leaves_packets_of_both_families_alone() {
    for (client, server) in ENDS {
        let rules = [no_scrub(), scrub(|s| s.min_ttl = Some(50))];
        let mut lab = Lab::router(normalising(&rules, &[pass().keep()]));
        let packet = marked(client, server, 3, 0, false);
        let _ = lab.packet(In, "em0", packet).passes_unchanged();
    }
}

#[test]
fn options_of_match_rules_add_up_and_what_the_last_one_sets_counts() {
    let mut lab = Lab::router(filter(&[
        matching(|s| (s.min_ttl, s.set_tos) = (Some(99), Some(0x20))),
        matching(|s| s.min_ttl = Some(50)),
        pass().keep().change(|r| r.set_tos = Some(0x40)),
    ]));
    let seen = lab
        .packet(In, "em0", marked(CLIENT, SERVER, 3, 0, false))
        .passes();
    let meta = checked(&seen.bytes);
    assert_eq!((meta.ttl, meta.tos), (50, 0x40));
    drop(seen);
    let state = lab.state(1);
    assert_eq!(
        (state.scrub.min_ttl, state.scrub.set_tos),
        (Some(50), Some(0x40))
    );
}

#[test]
fn a_blocked_packet_is_not_rewritten_and_a_state_that_normalises_can_be_cached() {
    let mut lab = Lab::router(filter(&[matching(|s| s.min_ttl = Some(50)), block()]));
    let packet = marked(CLIENT, SERVER, 3, 0, false);
    let seen = lab.packet(In, "em0", packet.clone());
    assert_eq!(seen.bytes, packet);
    drop(seen);

    let mut lab = Lab::router(filter(&[matching(|s| s.min_ttl = Some(50)), pass().keep()]));
    let seen = lab.packet(In, "em0", packet.clone());
    assert!(matches!(seen.decision.basis, Basis::State(_)));
    drop(seen);

    // Without state, and by the old list, only this packet is known to be so.
    for ruleset in [
        filter(&[matching(|s| s.min_ttl = Some(50)), pass()]),
        normalising(&[scrub(|s| s.min_ttl = Some(50))], &[pass().keep()]),
    ] {
        let mut lab = Lab::router(ruleset);
        let seen = lab.packet(In, "em0", packet.clone());
        assert_eq!(seen.decision.basis, Basis::Packet);
    }
}

#[test]
fn a_packet_with_dont_fragment_cleared_is_cut_for_a_narrow_gateway() {
    let route = |rule: Rule| {
        rule.inbound()
            .on("em0")
            .keep()
            .route(pf_engine::rule::RouteKind::RouteTo, &[("em1", "192.0.2.9")])
    };
    let large = || {
        let header = Ip {
            dont_fragment: true,
            ..Ip::new(ip(CLIENT.0), ip(SERVER.0))
        };
        build::udp(&header, 4000, 53, &[0x62; 1400])
    };
    for (no_df, cut) in [(false, false), (true, true)] {
        let mut lab = Lab::router(filter(&[
            matching(|s| s.no_df = no_df),
            pass(),
            route(pass()),
        ]));
        lab.set_interfaces(|all| all[1].mtu = 1000);
        let seen = lab.packet(In, "em0", large());
        assert_eq!(
            matches!(seen.decision.verdict, Verdict::PassFragments(..)),
            cut,
            "{:?}",
            seen.decision.verdict
        );
    }
}

#[test]
fn segments_with_options_of_all_kinds_keep_right_checksums() {
    // MSS at the end, behind others; two of them; none.
    let window = [3, 3, 7];
    for list in [
        [&window[..], &mss_option(9000)].concat(),
        [mss_option(9000), mss_option(8000)].concat(),
        window.to_vec(),
    ] {
        let mut lab = Lab::router(filter(&[
            matching(|s| {
                (s.max_mss, s.set_tos, s.min_ttl) = (Some(536), Some(0xff), Some(255));
                (s.no_df, s.random_id) = (true, true);
            }),
            pass(),
        ]));
        let mut segment = Segment::new(1, 2, S);
        segment.options = &list;
        let packet = build::tcp(&Ip::new(ip(CLIENT.0), ip(SERVER.0)), &segment, b"odd");
        let seen = lab.packet(In, "em0", packet).passes();
        assert!(announced(&seen.bytes).is_none_or(|mss| mss == 536));
    }
}

#[test]
fn a_scrub_rule_says_whether_fragments_are_put_together() {
    let keep = |rule: Rule| rule.change(|r| r.fragments = FragmentMode::Keep);
    let whole = udp(CLIENT, SERVER, 3000);
    let pieces = pf_engine::norm::fragment(&whole, &Meta::parse(&whole).unwrap(), 1200, 0).unwrap();
    let held = |rules: &[Rule]| {
        let mut lab = Lab::router(normalising(rules, &[pass()]));
        let seen = lab.packet(In, "em0", pieces[1].clone());
        seen.decision.verdict == Verdict::Held
    };
    assert!(held(&[scrub(|_| {})]));
    assert!(held(&[
        scrub(|_| {}).change(|r| r.fragments = FragmentMode::Crop)
    ]));
    // No port is known of a fragment, so that of the rule does not count.
    assert!(held(&[scrub(|_| {})
        .proto(pf_engine::addr::Protocol::UDP)
        .port(7)]));
    assert!(!held(&[keep(scrub(|_| {})), scrub(|_| {})]));
    assert!(!held(&[no_scrub(), scrub(|_| {})]));
    assert!(!held(&[scrub(|_| {}).on("em1")]));
}

#[test]
fn rtable_of_a_scrub_rule_is_that_of_its_packets_unless_the_rule_that_passes_has_one() {
    let mut rule = scrub(|_| {}).inbound();
    rule.treatment.routing_table = Some(3);
    let mut own = pass().inbound().port(53).keep();
    own.treatment.routing_table = Some(4);
    let mut lab = Lab::router(normalising(&[rule], &[pass().inbound().keep(), own]));
    for (port, table) in [(80, 3), (53, 4)] {
        for _ in 0..2 {
            let packet = udp(("10.0.0.9", 1025), ("192.0.2.80", port), 1);
            let seen = lab.packet(In, "em0", packet).passes();
            assert_eq!(seen.decision.handling.routing_table, Some(table));
        }
    }
}
