//! IP options and extension headers: what needs `allow-opts`, what is dropped whatever rules say.
//!
//! The rows of OpenBSD's `pf_opts` and of FreeBSD's `header.py`, `igmp.py` and `mld.py`.

use pf_engine::addr::Protocol;
use pf_engine::decision::DropReason;
use pf_engine::rule::{Action, Rule};
use pf_engine::ruleset::{Dialect, Ruleset};
use pf_engine::wire::build::{self, Ip};
use pf_engine::wire::checksum;

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.5", 4000);
const SERVER: (&str, u16) = ("198.51.100.7", 53);
const CLIENT6: (&str, u16) = ("2001:db8:a::5", 4000);
const SERVER6: (&str, u16) = ("2001:db8:c::7", 53);
const IGMP: Protocol = Protocol(2);

/// IPv4 options, 4 bytes each.
const ROUTER_ALERT: [u8; 4] = [148, 4, 0, 0];
const RECORD_ROUTE: [u8; 4] = [7, 3, 4, 0];
const PADDING: [u8; 4] = [1, 1, 1, 0];

/// IPv6 extension headers by number: type and options behind `next`.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
const ALERT_OPTION: [u8; 6] = [5, 2, 0, 0, 1, 0];
const UNKNOWN_OPTION: [u8; 6] = [0x1e, 4, 0, 0, 0, 0];
const PAD_OPTION: [u8; 6] = [1, 4, 0, 0, 0, 0];
const JUMBO_OPTION: [u8; 6] = [0xc2, 4, 0, 1, 0, 0];
/// It says that it is longer than the header.
const BROKEN_OPTION: [u8; 6] = [0x1e, 9, 0, 0, 0, 0];

fn allowing(rule: Rule) -> Rule {
    rule.change(|r| r.allow_options = true)
}

/// An IPv4 packet with options.
fn with_options(plain: &[u8], options: [u8; 4]) -> Vec<u8> {
    let mut bytes = plain[..20].to_vec();
    bytes.extend(options);
    bytes.extend(&plain[20..]);
    bytes[0] = 0x46;
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&len.to_be_bytes());
    // Broken options have no end that a checksum could be made up to.
    let _ = checksum::complete(&mut bytes);
    bytes
}

/// An IPv6 packet with extension headers of 8 bytes.
fn with_headers(plain: &[u8], headers: &[(u8, [u8; 6])]) -> Vec<u8> {
    let mut bytes = plain[..40].to_vec();
    let mut next: Vec<u8> = headers.iter().map(|(kind, _)| *kind).collect();
    next.push(plain[6]);
    bytes[6] = next[0];
    for ((_, body), next) in headers.iter().zip(&next[1..]) {
        bytes.extend([*next, 0]);
        bytes.extend(body);
    }
    bytes.extend(&plain[40..]);
    let len = u16::try_from(bytes.len() - 40).unwrap();
    bytes[4..6].copy_from_slice(&len.to_be_bytes());
    bytes
}

/// What becomes of packets without and with `allow-opts`.
fn both(packet: &[u8]) -> [Option<DropReason>; 2] {
    let by = |rule: Rule| {
        let mut lab = Lab::router(filter(&[rule]));
        let seen = lab.packet(In, "em0", packet.to_vec());
        if let pf_engine::decision::Verdict::Drop(reason) = seen.decision.verdict {
            Some(reason)
        } else {
            None
        }
    };
    [by(pass()), by(allowing(pass()))]
}

const NEEDS: [Option<DropReason>; 2] = [Some(DropReason::IpOption), None];
const FREE: [Option<DropReason>; 2] = [None; 2];
const NEVER: [Option<DropReason>; 2] = [Some(DropReason::IpOption); 2];

#[test]
fn ipv4_options_need_allow_opts_also_if_they_are_nothing_but_padding() {
    let plain = udp(CLIENT, SERVER, 8);
    assert_eq!(both(&with_options(&plain, RECORD_ROUTE)), NEEDS);
    assert_eq!(both(&with_options(&plain, ROUTER_ALERT)), NEEDS);
    assert_eq!(both(&with_options(&plain, PADDING)), NEEDS);
    assert_eq!(both(&with_options(&plain, [0; 4])), NEEDS);
    assert_eq!(both(&with_options(&plain, [7, 9, 4, 0])), NEVER, "broken");
}

#[test]
fn ipv6_headers_with_options_need_allow_opts_whatever_is_in_them() {
    let plain = udp(CLIENT6, SERVER6, 8);
    let cases = [
        (vec![(DESTINATION, PAD_OPTION)], NEEDS),
        (vec![(HOP_BY_HOP, PAD_OPTION)], NEEDS),
        (vec![(HOP_BY_HOP, ALERT_OPTION)], NEEDS),
        (vec![(HOP_BY_HOP, UNKNOWN_OPTION)], NEEDS),
        (vec![(DESTINATION, UNKNOWN_OPTION)], NEEDS),
        // Segment routing (RFC 8754), and the type that RFC 5095 forbids.
        (vec![(ROUTING, [4, 0, 0, 0, 0, 0])], NEEDS),
        (vec![(ROUTING, [0, 0, 0, 0, 0, 0])], NEVER),
        // Hop-by-hop options are right behind the IPv6 header or nowhere.
        (
            vec![(DESTINATION, PAD_OPTION), (HOP_BY_HOP, PAD_OPTION)],
            NEVER,
        ),
        // One for the route, and only the receiver reads what is for it.
        (vec![(ROUTING, [4, 0, 0, 0, 0, 0]); 2], NEVER),
        (vec![(DESTINATION, BROKEN_OPTION)], NEEDS),
        (vec![(HOP_BY_HOP, BROKEN_OPTION)], NEVER),
        // A jumbo payload in a packet that says how long it is.
        (vec![(HOP_BY_HOP, JUMBO_OPTION)], NEVER),
        (vec![(DESTINATION, PAD_OPTION); 19], NEEDS),
        (vec![(DESTINATION, PAD_OPTION); 20], NEVER),
    ];
    for (headers, wanted) in cases {
        assert_eq!(both(&with_headers(&plain, &headers)), wanted, "{headers:?}");
    }
}

#[test]
fn what_is_inside_of_authentication_headers_meets_the_rules() {
    const AUTHENTICATION: Protocol = Protocol(51);
    let header = Ip::new(ip(CLIENT.0), ip(SERVER.0));
    let ping = echo(CLIENT.0, SERVER.0, 7);
    let wrapped = |count: usize| {
        let mut headers = vec![[51, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]; count];
        headers.last_mut().unwrap()[0] = 1;
        let rest = [&headers.concat()[..], &ping[20..]].concat();
        build::packet(&header, AUTHENTICATION, &rest)
    };
    let mut lab = Lab::router(filter(&[block(), pass().proto(Protocol::ICMP).keep()]));
    let _ = lab.packet(In, "em0", wrapped(1)).passes_unchanged();
    let _ = lab.packet(In, "em0", wrapped(19)).passes_unchanged();
    let _ = lab
        .packet(In, "em0", wrapped(20))
        .drops(DropReason::IpOption);
    assert_eq!(lab.engine.state_count(), 1, "they are of one ping");
    let mut lab = Lab::router(filter(&[block(), pass().proto(AUTHENTICATION)]));
    let _ = lab.packet(In, "em0", wrapped(1)).drops(DropReason::Match);
}

#[test]
fn a_state_of_a_rule_with_allow_opts_lets_options_pass_both_ways() {
    for allowed in [true, false] {
        let rule = pass().keep().change(|r| r.allow_options = allowed);
        let mut lab = Lab::router(filter(&[rule]));
        let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 8)).passes();
        let reply = with_options(&udp(SERVER, CLIENT, 8), RECORD_ROUTE);
        let seen = lab.packet(Out, "em0", reply);
        let _ = if allowed {
            seen.passes()
        } else {
            seen.drops(DropReason::IpOption)
                .counts("reason ip-option 1\n searches 1")
        };
    }
}

/// The case `allow_opts` of FreeBSD's `match.sh`.
#[test]
fn a_match_rule_with_allow_opts_lets_options_pass_if_a_later_rule_passes_the_packet() {
    let matching = Rule::new(Action::Match).proto(Protocol::UDP);
    let request = with_options(&udp(CLIENT, SERVER, 8), RECORD_ROUTE);
    let reply = with_options(&udp(SERVER, CLIENT, 8), RECORD_ROUTE);
    for deciding in [pass(), pass().keep()] {
        let mut lab = Lab::router(filter(&[allowing(matching.clone()), deciding.clone()]));
        let _ = lab.packet(In, "em0", request.clone()).passes();
        let _ = lab.packet(Out, "em0", reply.clone()).passes();
        let mut lab = Lab::router(filter(&[matching.clone(), deciding]));
        let _ = lab
            .packet(In, "em0", request.clone())
            .drops(DropReason::IpOption);
    }
    let mut lab = Lab::router(filter(&[allowing(matching), block()]));
    let _ = lab.packet(In, "em0", request).drops(DropReason::Match);
}

/// An IGMP membership report with router alert.
fn igmp(to: &str, ttl: u8) -> Vec<u8> {
    let header = Ip {
        ttl,
        ..Ip::new(ip(CLIENT.0), ip(to))
    };
    let report = build::packet(&header, IGMP, &[0x16, 0, 0, 0, 224, 0, 0, 9]);
    with_options(&report, ROUTER_ALERT)
}

const QUERY: u8 = 130;
const DONE: u8 = 132;
const REPORT: u8 = 143;

/// An MLD message with router alert.
fn mld(kind: u8, from: &str, hop_limit: u8) -> Vec<u8> {
    let header = Ip {
        ttl: hop_limit,
        ..Ip::new(ip(from), ip("ff02::16"))
    };
    let plain = build::icmp(&header, kind, 0, 0, &[0; 16]);
    with_headers(&plain, &[(HOP_BY_HOP, ALERT_OPTION)])
}

#[test]
fn igmp_with_router_alert_passes_and_to_all_hosts_on_their_own_link_alone() {
    assert_eq!(both(&igmp("224.0.0.1", 1)), FREE);
    assert_eq!(both(&igmp("224.0.0.1", 2)), NEVER);
    assert_eq!(both(&igmp("224.0.0.22", 1)), FREE);
    assert_eq!(both(&igmp("224.0.0.22", 2)), FREE);
    assert_eq!(both(&igmp("198.51.100.7", 64)), FREE);
    let mut lab = Lab::router(filter(&[block()]));
    let _ = lab
        .packet(In, "em0", igmp("224.0.0.22", 1))
        .drops(DropReason::Match);
}

#[test]
fn mld_with_router_alert_passes_on_its_own_link_and_nowhere_else() {
    for kind in [QUERY, DONE, REPORT] {
        assert_eq!(both(&mld(kind, "fe80::5", 1)), FREE);
        assert_eq!(both(&mld(kind, "fe80::5", 255)), NEVER);
        assert_eq!(both(&mld(kind, CLIENT6.0, 1)), NEVER);
    }
}

#[test]
fn mld_from_no_address_is_a_listeners_or_nobodys() {
    assert_eq!(both(&mld(REPORT, "::", 1)), FREE);
    assert_eq!(both(&mld(DONE, "::", 1)), FREE);
    assert_eq!(both(&mld(QUERY, "::", 1)), NEVER);
}

#[test]
fn router_advertisements_are_judged_by_the_rules_alone() {
    let header = Ip {
        ttl: 255,
        ..Ip::new(ip("fe80::1"), ip("ff02::1"))
    };
    let advertisement = build::icmp(&header, 134, 0, 0x4000_0708, &[0; 8]);
    assert_eq!(both(&advertisement), FREE);
    let refused = block().inet6().proto(Protocol::ICMPV6).change(|r| {
        r.icmp = Some(pf_engine::rule::IcmpMatch {
            kind: 134,
            code: None,
        });
    });
    let mut lab = Lab::router(filter(&[pass(), refused]));
    let _ = lab
        .packet(In, "em0", advertisement)
        .drops(DropReason::Match);
}

/// The ruleset in a dialect.
fn in_dialect(dialect: Dialect, rules: &[Rule]) -> Ruleset {
    Ruleset {
        dialect,
        ..filter(rules)
    }
}

#[test]
fn neighbor_discovery_from_beyond_its_own_link_is_dropped() {
    for kind in 133..=137 {
        for (dialect, hop_limit) in [
            (Dialect::FreeBsd, 254),
            (Dialect::OpenBsd, 1),
            (Dialect::OpenBsd3, 254),
            (Dialect::FreeBsd, 255),
            (Dialect::OpenBsd, 255),
        ] {
            let header = Ip {
                ttl: hop_limit,
                ..Ip::new(ip("fe80::1"), ip("fe80::2"))
            };
            let message = build::icmp(&header, kind, 0, 0, &[0; 32]);
            let mut lab = Lab::router(in_dialect(dialect, &[pass()]));
            let seen = lab.packet(In, "em0", message);
            let _ = if dialect == Dialect::OpenBsd3 || hop_limit == 255 {
                seen.passes_unchanged()
            } else {
                seen.drops(DropReason::Normalize)
                    .counts("reason normalize 1")
            };
        }
    }
}

#[test]
fn tcp_to_port_0_is_short_where_openbsd_says_so() {
    let syn = tcp(CLIENT, (SERVER.0, 0), S, 1, 0, 0);
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd, Dialect::OpenBsd3] {
        let mut lab = Lab::router(in_dialect(dialect, &[pass()]));
        let seen = lab.packet(In, "em0", syn.clone());
        let _ = if dialect == Dialect::OpenBsd {
            seen.drops(DropReason::Short).counts("reason short 1")
        } else {
            seen.passes_unchanged()
        };
        // From there it may come.
        let from = tcp((CLIENT.0, 0), SERVER, S, 1, 0, 0);
        let _ = lab.packet(In, "em0", from).passes_unchanged();
    }
}

#[test]
fn a_header_that_ends_too_early_is_short_whatever_the_rules_say() {
    let whole = udp(CLIENT6, SERVER6, 8);
    let chain = with_headers(&whole, &[(DESTINATION, PAD_OPTION)]);
    for len in [0, 1, 39, 44] {
        let mut lab = Lab::router(filter(&[allowing(pass())]));
        let _ = lab
            .packet(In, "em0", chain[..len].to_vec())
            .drops(DropReason::Short)
            .counts("reason short 1");
    }
}

/// What is left of a jumbogram, and a datagram cut twice.
#[test]
fn ipv6_packets_of_no_length_and_with_two_fragment_headers_are_dropped() {
    let mut lab = Lab::router(filter(&[allowing(pass())]));
    let mut empty = udp(CLIENT6, SERVER6, 0)[..40].to_vec();
    empty[4..6].copy_from_slice(&[0; 2]);
    empty[6] = 59;
    let _ = lab
        .packet(In, "em0", empty)
        .drops(DropReason::Normalize)
        .counts("reason normalize 1");
    let atomic = [0, 0, 0, 0, 0, 7];
    let twice = with_headers(&udp(CLIENT6, SERVER6, 8), &[(FRAGMENT, atomic); 2]);
    let _ = lab
        .packet(In, "em0", twice)
        .drops(DropReason::Fragment)
        .counts("reason fragment 1");
}

#[test]
fn icmp_of_the_other_family_is_dropped_whatever_the_rules_say() {
    let crossed = [
        build::packet(
            &Ip::new(ip(CLIENT.0), ip(SERVER.0)),
            Protocol::ICMPV6,
            &[128, 0, 0, 0, 0, 7, 0, 1],
        ),
        build::packet(
            &Ip::new(ip(CLIENT6.0), ip(SERVER6.0)),
            Protocol::ICMP,
            &[8, 0, 0, 0, 0, 7, 0, 1],
        ),
    ];
    for packet in crossed {
        let mut lab = Lab::router(filter(&[pass()]));
        let _ = lab
            .packet(In, "em0", packet)
            .drops(DropReason::Normalize)
            .counts("reason normalize 1");
    }
}

/// What a state of discovery is found by stands in the message.
#[test]
fn icmpv6_messages_that_end_before_the_address_they_are_about_are_short() {
    for (kind, hop_limit) in [(130, 1), (131, 1), (135, 255), (136, 255)] {
        let header = Ip {
            ttl: hop_limit,
            ..Ip::new(ip("fe80::5"), ip("ff02::1"))
        };
        let message = |len: usize| build::icmp(&header, kind, 0, 0, &vec![0; len]);
        let mut lab = Lab::router(filter(&[pass()]));
        let _ = lab
            .packet(In, "em0", message(15))
            .drops(DropReason::Short)
            .counts("reason short 1");
        let _ = lab.packet(In, "em0", message(16)).passes_unchanged();
    }
    // The others are as long as they like.
    for (kind, hop_limit) in [(132, 1), (143, 1), (133, 255), (134, 255), (137, 255)] {
        let header = Ip {
            ttl: hop_limit,
            ..Ip::new(ip("fe80::5"), ip("ff02::1"))
        };
        let mut lab = Lab::router(filter(&[pass()]));
        let message = build::icmp(&header, kind, 0, 0, &[]);
        let _ = lab.packet(In, "em0", message).passes_unchanged();
    }
}

#[test]
fn options_of_a_fragmented_datagram_count_as_they_do_of_a_whole_one() {
    let plain = udp(CLIENT, SERVER, 3000);
    let bytes = with_options(&plain, RECORD_ROUTE);
    let meta = pf_engine::wire::Meta::parse(&bytes).unwrap();
    let pieces = pf_engine::norm::fragment(&bytes, &meta, 1500, 7).unwrap();
    for allowed in [true, false] {
        let rule = pass().keep().change(|r| r.allow_options = allowed);
        let mut lab = Lab::router(filter(&[rule]));
        let mut last = None;
        for piece in &pieces {
            last = Some(
                lab.packet(In, "em0", piece.clone())
                    .decision
                    .verdict
                    .clone(),
            );
        }
        let dropped = last == Some(pf_engine::decision::Verdict::Drop(DropReason::IpOption));
        assert_eq!(dropped, !allowed);
    }
}
