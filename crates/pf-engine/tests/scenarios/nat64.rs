//! `af-to`: from IPv6 to IPv4 and back.

use pf_engine::addr::{Family, Protocol};
use pf_engine::decision::{DropReason, Exit, GeneratedExit, Verdict};
use pf_engine::rule::{AfTo, PoolKind, PoolPorts, RouteKind, Rule, StatePolicy};
use pf_engine::ruleset::{Ruleset, Syncookies};
use pf_engine::wire::build::{self, Ip};
use pf_engine::wire::{Quoted, QuotedTransport};

use super::harness::*;

const CLIENT: (&str, u16) = ("2001:db8:a::2", 1025);
/// 192.0.2.80 behind the well-known prefix.
const SERVER6: (&str, u16) = ("64:ff9b::c000:250", 80);
const SERVER: (&str, u16) = ("192.0.2.80", 80);
const OUTSIDE: &str = "192.0.2.1";

fn af_to(rule: Rule, family: Family, from: &str, to: Option<&str>) -> Rule {
    rule.change(|rule| {
        rule.af_to = Some(AfTo {
            family,
            from: pool(from),
            to: to.map(pool),
        });
    })
}

fn nat64(from: &str) -> Rule {
    let rule = pass().inbound().on("em0").inet6().to("64:ff9b::/96").keep();
    af_to(rule, Family::Inet, from, None)
}

fn router(rule: Rule) -> Lab {
    Lab::router(filter(&[block(), rule]))
}

/// The source port that a packet has got.
fn port(bytes: &[u8]) -> u16 {
    meta(bytes).ports().expect("ports").0
}

/// A datagram of `client`'s crosses to the server; the source port that it has got.
fn crosses(lab: &mut Lab, client: (&str, u16), data: usize) -> u16 {
    let seen = lab
        .packet(In, "em0", udp(client, SERVER6, data))
        .leaves_by("em1", SERVER.0);
    port(&seen.bytes)
}

/// Both handshakes that the proxy makes for this rule.
fn connect_by_proxy(rule: Rule, syncookies: Syncookies) {
    let mut ruleset = filter(&[block(), rule]);
    ruleset.options.syncookies = syncookies;
    let mut lab = Lab::router(ruleset);
    let seen = lab.packet(In, "em0", tcp(CLIENT, SERVER6, S, 100, 0, 0));
    let own = meta(seen.answer()).tcp().unwrap().seq;
    drop(seen);
    let ack = tcp(CLIENT, SERVER6, A, 101, own.wrapping_add(1), 0);
    let seen = lab.packet(In, "em0", ack).leaves_by("em1", SERVER.0);
    let (call, port) = (*meta(&seen.bytes).tcp().unwrap(), port(&seen.bytes));
    drop(seen);
    assert_eq!(call.flags, S);

    let outside = (OUTSIDE, port);
    let syn_ack = tcp(SERVER, outside, SA, 900, call.seq.wrapping_add(1), 0);
    let seen = lab
        .packet(In, "em1", syn_ack)
        .leaves_by("em0", CLIENT.0)
        .becomes("64:ff9b::c000:250:80 > 2001:db8:a::2:1025");
    let opens = *meta(&seen.bytes).tcp().unwrap();
    assert_eq!((opens.flags, opens.ack), (A, 101));
    let ack = *meta(seen.answer()).tcp().unwrap();
    assert_eq!((ack.flags, ack.ack), (A, 901));
    assert_eq!(
        tuple(seen.answer()),
        format!("{OUTSIDE}:{port} > {}:{}", SERVER.0, SERVER.1)
    );
    let GeneratedExit::Onward { exit, .. } = seen.decision.generated[0].exit else {
        panic!("{:?}", seen.decision.generated);
    };
    drop(seen);
    let interface = lab.index("em1");
    let next_hop = ip(SERVER.0);
    assert_eq!(
        exit,
        Exit::Gateway {
            interface,
            next_hop
        }
    );
    assert_eq!(lab.engine.state_count(), 1, "it covers both sides");
    let data = tcp(CLIENT, SERVER6, PA, 101, own.wrapping_add(1), 7);
    let seen = lab.packet(In, "em0", data).leaves_by("em1", SERVER.0);
    let data = *meta(&seen.bytes).tcp().unwrap();
    assert_eq!((data.seq, data.ack), (call.seq.wrapping_add(1), 901));
}

#[test]
fn the_handshakes_of_the_proxy_cross_to_ipv4_and_back() {
    connect_by_proxy(nat64("(em1)").synproxy(), Syncookies::Never);
}

#[test]
fn the_handshakes_of_a_cookie_cross_to_ipv4_and_back() {
    connect_by_proxy(nat64("(em1)").flags_s_sa(), Syncookies::Always);
}

#[test]
fn a_connection_crosses_to_ipv4_and_its_answers_come_back() {
    let mut lab = router(nat64("(em1)"));
    let seen = lab
        .packet(In, "em0", tcp(CLIENT, SERVER6, S, 5, 0, 0))
        .leaves_by("em1", SERVER.0)
        .counts(
            "filter 0 evaluations 1
             filter 1 evaluations 1
             filter 1 in 1/60
             filter 1 states 1
             filter 1 created 1
             state 1 forward 1/60
             reason match 1
             searches 1
             inserts 1",
        );
    let out = meta(&seen.bytes);
    assert_eq!((out.source, out.destination), (ip(OUTSIDE), ip(SERVER.0)));
    assert_eq!(out.ttl, 63, "a router takes one off");
    let port = port(&seen.bytes);
    assert_eq!(port, CLIENT.1, "it is free");
    drop(seen);
    let state = lab.state(1);
    assert_eq!(state.wire[0].address, ip(CLIENT.0));
    assert_eq!(state.stack[0].address, ip(OUTSIDE));
    let _ = lab
        .packet(In, "em1", tcp(SERVER, (OUTSIDE, port), SA, 8, 6, 0))
        .leaves_by("em0", CLIENT.0)
        .becomes("64:ff9b::c000:250:80 > 2001:db8:a::2:1025")
        .counts(
            "filter 1 in 1/40
             state 1 reply 1/40
             searches 1",
        );
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER6, A, 6, 9, 0))
        .leaves_by("em1", SERVER.0);
    let state = lab.state(1);
    assert_eq!(
        (state.source.state, state.destination.state),
        (4, 4),
        "established"
    );
    let other = tcp(("192.0.2.81", 80), (OUTSIDE, port), A, 9, 6, 0);
    let _ = lab.packet(In, "em1", other).drops(DropReason::Match);
}

#[test]
fn datagrams_pings_and_sctp_cross_too() {
    let mut lab = router(nat64("192.0.2.9"));
    let port = crosses(&mut lab, CLIENT, 5);
    let _ = lab
        .packet(In, "em1", udp(SERVER, ("192.0.2.9", port), 9))
        .leaves_by("em0", CLIENT.0)
        .becomes("64:ff9b::c000:250:80 > 2001:db8:a::2:1025");

    let seen = lab
        .packet(In, "em0", echo(CLIENT.0, SERVER6.0, 77))
        .leaves_by("em1", SERVER.0);
    let out = meta(&seen.bytes);
    assert_eq!(
        (out.protocol, out.source),
        (Protocol::ICMP, ip("192.0.2.9"))
    );
    let id = u16::try_from(out.icmp().unwrap().parameter >> 16).unwrap();
    drop(seen);
    let seen = lab
        .packet(In, "em1", echo_reply(SERVER.0, "192.0.2.9", id))
        .leaves_by("em0", CLIENT.0);
    let back = meta(&seen.bytes);
    assert_eq!(
        (back.protocol, back.icmp().unwrap().kind),
        (Protocol::ICMPV6, 129)
    );
    assert_eq!(back.icmp().unwrap().parameter >> 16, 77);
    drop(seen);

    let init = sctp(CLIENT, SERVER6, 0, &init_chunk(1, 0xabcd, &[]));
    let seen = lab.packet(In, "em0", init).leaves_by("em1", SERVER.0);
    assert_eq!(
        tuple(&seen.bytes),
        "192.0.2.9:1025 > 192.0.2.80:80",
        "ports of SCTP stay"
    );
}

#[test]
fn the_traffic_class_is_kept() {
    let mut lab = router(nat64("(em1)"));
    let ip = Ip {
        tos: 0x20,
        ..Ip::new(ip(CLIENT.0), ip(SERVER6.0))
    };
    let seen = lab
        .packet(In, "em0", build::udp(&ip, 1, 2, b"x"))
        .leaves_by("em1", SERVER.0);
    assert_eq!(meta(&seen.bytes).tos, 0x20);
}

#[test]
fn scrub_min_ttl_raises_the_hop_limit_of_what_crosses() {
    let mut lab = router(nat64("(em1)").change(|rule| rule.scrub.min_ttl = Some(50)));
    let ip = Ip {
        ttl: 9,
        ..Ip::new(ip(CLIENT.0), ip(SERVER6.0))
    };
    let packet = build::udp(&ip, 1, 2, b"x");
    for _ in 0..2 {
        let seen = lab
            .packet(In, "em0", packet.clone())
            .leaves_by("em1", SERVER.0);
        assert_eq!(meta(&seen.bytes).ttl, 49);
    }
}

#[test]
fn without_an_address_of_ipv4_there_is_nothing_to_translate_to() {
    let mut lab = router(nat64("(em1)"));
    lab.set_interfaces(|all| all[1].addresses.clear());
    let _ = lab
        .packet(In, "em0", echo(CLIENT.0, SERVER6.0, 1))
        .drops(DropReason::MapFailed)
        .counts(
            "filter 0 evaluations 1
             filter 1 evaluations 1
             reason match 1
             reason map-failed 1
             searches 1",
        );
}

#[test]
fn addresses_come_from_ranges_and_tables_in_turn_or_at_random() {
    for (kind, from) in [
        (PoolKind::RoundRobin, "192.0.2.2/31"),
        (PoolKind::RoundRobin, "<pool>"),
        (PoolKind::Random, "<pool>"),
    ] {
        let rule = nat64(from).change(|r| r.af_to.as_mut().unwrap().from.kind = kind);
        let mut ruleset = filter(&[rule]);
        ruleset.tables.insert(
            "pool".to_owned(),
            table(true, &["192.0.2.2", "2001:db8::9", "192.0.2.3"]),
        );
        let mut lab = Lab::router(ruleset);
        let mut taken: Vec<String> = (0..20)
            .map(|n| {
                let seen = lab.packet(In, "em0", udp((CLIENT.0, 1 + n), SERVER6, 1));
                meta(&seen.bytes).source.to_string()
            })
            .collect();
        if kind == PoolKind::RoundRobin {
            assert_eq!(taken[..3], ["192.0.2.2", "192.0.2.3", "192.0.2.2"]);
        }
        taken.sort();
        taken.dedup();
        assert_eq!(taken, ["192.0.2.2", "192.0.2.3"], "{kind:?} {from}");
    }
}

#[test]
fn an_if_bound_state_belongs_to_where_the_packet_leaves() {
    let bound = |policy| nat64("(em1)").change(|r| r.state_options.policy = Some(policy));
    for (policy, interface) in [
        (StatePolicy::IfBound, "em1"),
        (StatePolicy::Floating, "all"),
    ] {
        let mut lab = router(bound(policy));
        let port = crosses(&mut lab, CLIENT, 5);
        assert_eq!(lab.state(1).interface, interface);
        assert_eq!(lab.state(1).original_interface, "em0");
        let answer = udp(SERVER, (OUTSIDE, port), 9);
        let _ = lab.packet(In, "em1", answer).leaves_by("em0", CLIENT.0);
        let _ = lab
            .packet(In, "em0", udp(CLIENT, SERVER6, 5))
            .leaves_by("em1", SERVER.0);
    }
}

#[test]
fn outbound_rules_translate_what_was_routed_there() {
    let rule = pass().outbound().on("em1").to("64:ff9b::/96").keep();
    let first = pass().inbound().on("em0").to("64:ff9b::/96").keep();
    let mut lab = Lab::router(filter(&[
        block(),
        first,
        af_to(rule, Family::Inet, "(em1)", None),
    ]));
    let syn = tcp(CLIENT, SERVER6, S, 5, 0, 0);
    let _ = lab.packet(In, "em0", syn.clone()).passes_unchanged();
    let seen = lab.packet(Out, "em1", syn).leaves_by("em1", SERVER.0);
    let port = port(&seen.bytes);
    drop(seen);
    let _ = lab
        .packet(In, "em1", tcp(SERVER, (OUTSIDE, port), SA, 8, 6, 0))
        .leaves_by("em0", CLIENT.0)
        .becomes("64:ff9b::c000:250:80 > 2001:db8:a::2:1025")
        .counts(
            "filter 1 out 1/60
             filter 2 in 1/40
             state 1 reply 1/60
             state 2 reply 1/40
             searches 2",
        );
}

#[test]
fn routes_lead_by_gateways_of_either_family() {
    let mut lab = router(nat64("(em1)"));
    let em1 = lab.index("em1");
    for hop in ["192.0.2.254", "fe80::254"] {
        lab.env = lab
            .env
            .clone()
            .with_route(prefix("198.51.100.0/24"), em1, ip(hop));
    }
    let to = ("64:ff9b::c633:6401", 80);
    let _ = lab
        .packet(In, "em0", udp(CLIENT, to, 5))
        .leaves_by("em1", "192.0.2.254");
    let _ = lab
        .packet(In, "em0", udp(CLIENT, ("64:ff9b::cb00:7101", 80), 5))
        .drops(DropReason::NoRoute);
    lab.env = lab
        .env
        .clone()
        .with_route(prefix("203.0.113.0/24"), em1, ip("fe80::254"));
    let _ = lab
        .packet(In, "em0", udp(CLIENT, ("64:ff9b::cb00:7101", 80), 5))
        .leaves_by("em1", "fe80::254");
}

#[test]
fn a_client_behind_another_router_is_answered_by_it() {
    let mut lab = router(nat64("(em1)"));
    let em0 = lab.index("em0");
    let far = ("2001:db8:1::2", 7);
    lab.env = lab
        .env
        .clone()
        .with_route(prefix("2001:db8:1::/64"), em0, ip("2001:db8:a::9"));
    let port = crosses(&mut lab, far, 5);
    let _ = lab
        .packet(In, "em1", udp(SERVER, (OUTSIDE, port), 5))
        .leaves_by("em0", "2001:db8:a::9");
}

#[test]
fn where_no_route_leads_back_the_answer_goes_onto_the_clients_wire() {
    let mut lab = router(nat64("(em1)"));
    let far = ("2001:db8:1::2", 7);
    let seen = lab
        .frame(In, "em0", udp(far, SERVER6, 5), Some(ether(1, 2)))
        .leaves_by("em1", SERVER.0);
    let port = port(&seen.bytes);
    drop(seen);
    let _ = lab
        .packet(In, "em1", udp(SERVER, (OUTSIDE, port), 5))
        .goes_onto_the_wire("em0", ether(2, 1));
}

#[test]
fn route_to_and_reply_to_name_next_hops_of_the_family_they_are_for() {
    let rule = nat64("(em1)").route(RouteKind::RouteTo, &[("em1", "192.0.2.99")]);
    let mut lab = router(rule);
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER6, 5))
        .leaves_by("em1", "192.0.2.99");
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER6, 5))
        .leaves_by("em1", "192.0.2.99");
    let rule = nat64("(em1)").route(RouteKind::ReplyTo, &[("em0", "2001:db8:a::99")]);
    let mut lab = router(rule);
    let port = crosses(&mut lab, CLIENT, 5);
    let _ = lab
        .packet(In, "em1", udp(SERVER, (OUTSIDE, port), 5))
        .leaves_by("em0", "2001:db8:a::99");
}

#[test]
fn ipv4_crosses_to_ipv6_with_its_addresses_behind_prefixes() {
    let rule = pass().inbound().on("em1").inet().to("192.0.2.1").keep();
    let rule = af_to(rule, Family::Inet6, "64:ff9b::/96", Some("2001:db8:a::80"));
    let mut lab = router(rule);
    let _ = lab
        .packet(In, "em1", tcp(("192.0.2.7", 99), (OUTSIDE, 80), S, 1, 0, 0))
        .leaves_by("em0", "2001:db8:a::80")
        .becomes("64:ff9b::c000:207:99 > 2001:db8:a::80:80");
    let _ = lab
        .packet(
            In,
            "em0",
            tcp(
                ("2001:db8:a::80", 80),
                ("64:ff9b::c000:207", 99),
                SA,
                1,
                2,
                0,
            ),
        )
        .leaves_by("em1", "192.0.2.7")
        .becomes("192.0.2.1:80 > 192.0.2.7:99");
    let rule = pass().inbound().on("em1").inet().keep();
    let rule = af_to(
        rule,
        Family::Inet6,
        "2001:db8:a::1",
        Some("2001:db8:a::/96"),
    );
    let mut lab = router(rule);
    let seen = lab
        .packet(In, "em1", udp(("192.0.2.7", 99), ("203.0.113.5", 53), 1))
        .leaves_by("em0", "2001:db8:a::cb00:7105");
    assert_eq!(meta(&seen.bytes).source, ip("2001:db8:a::1"));
}

#[test]
fn nothing_crosses_to_loopback_or_groups() {
    let mut lab = router(nat64("(em1)"));
    for to in [
        "64:ff9b::7f00:1",
        "64:ff9b::e000:1",
        "64:ff9b::ffff:ffff",
        "64:ff9b::",
    ] {
        let _ = lab
            .packet(In, "em0", udp(CLIENT, (to, 9), 5))
            .drops(DropReason::NoRoute);
    }
}

#[test]
fn an_error_from_ipv4_reaches_the_client_in_its_own_family() {
    let mut lab = router(nat64("(em1)"));
    let seen = lab
        .packet(In, "em0", udp(CLIENT, SERVER6, 100))
        .leaves_by("em1", SERVER.0);
    let sent = seen.bytes.clone();
    drop(seen);
    let router = Ip::new(ip("192.0.2.254"), ip(OUTSIDE));
    let error = build::icmp(&router, 3, 4, 1400, &sent[..28]);
    let seen = lab
        .packet(In, "em1", error)
        .leaves_by("em0", CLIENT.0)
        .counts(
            "filter 1 in 1/56
         state 1 reply 1/56
         searches 1",
        );
    let outer = meta(&seen.bytes);
    assert_eq!(
        (outer.source, outer.destination),
        (ip("64:ff9b::c000:2fe"), ip(CLIENT.0)),
        "the router's address behind the prefix"
    );
    let icmp = outer.icmp().unwrap();
    assert_eq!((icmp.kind, icmp.code, icmp.parameter), (2, 0, 1420));
    let quoted = Quoted::parse(&seen.bytes, &outer).unwrap();
    assert_eq!(
        (quoted.source, quoted.destination),
        (ip(CLIENT.0), ip(SERVER6.0))
    );
    assert!(matches!(quoted.transport, QuotedTransport::Udp(_)));
    assert_eq!(quoted.ports(), Some((1025, 80)));
}

#[test]
fn an_error_from_ipv6_reaches_the_server_in_its_own_family() {
    let mut lab = router(nat64("(em1)"));
    let port = crosses(&mut lab, CLIENT, 1);
    let seen = lab
        .packet(In, "em1", udp(SERVER, (OUTSIDE, port), 30))
        .leaves_by("em0", CLIENT.0);
    let answer = seen.bytes.clone();
    drop(seen);
    let from = Ip::new(ip(CLIENT.0), ip(SERVER6.0));
    let error = build::icmp(&from, 1, 4, 0, &answer);
    let seen = lab.packet(In, "em0", error).leaves_by("em1", SERVER.0);
    let outer = meta(&seen.bytes);
    assert_eq!(
        (outer.source, outer.destination),
        (ip(OUTSIDE), ip(SERVER.0))
    );
    let icmp = outer.icmp().unwrap();
    assert_eq!((icmp.kind, icmp.code), (3, 3));
    let quoted = Quoted::parse(&seen.bytes, &outer).unwrap();
    assert_eq!(
        (quoted.source, quoted.destination),
        (ip(SERVER.0), ip(OUTSIDE))
    );
    assert_eq!(quoted.ports(), Some((80, port)));
}

#[test]
fn what_is_too_big_behind_the_translation_is_told_in_the_senders_measure() {
    let mut lab = router(nat64("(em1)"));
    lab.set_interfaces(|all| all[1].mtu = 1400);
    let seen = lab
        .packet(In, "em0", udp(CLIENT, SERVER6, 1400))
        .drops(DropReason::TooBig);
    let told = meta(seen.answer());
    assert_eq!(told.destination, ip(CLIENT.0));
    let icmp = told.icmp().unwrap();
    assert_eq!((icmp.kind, icmp.parameter), (2, 1420));
}

#[test]
fn a_packet_of_ipv4_that_may_be_cut_is_cut_to_what_any_ipv6_link_takes() {
    let mut lab = router(nat64("(em1)"));
    let port = crosses(&mut lab, CLIENT, 1);
    let seen = lab.packet(In, "em1", udp(SERVER, (OUTSIDE, port), 1400));
    let Verdict::PassFragments(Exit::Gateway { .. }, pieces) = &seen.decision.verdict else {
        panic!("{:?}", seen.decision.verdict);
    };
    assert_eq!(pieces.len(), 2);
    assert!(pieces.iter().all(|piece| piece.len() <= 1280));
    drop(seen);
    let whole = dont_fragment(udp(SERVER, (OUTSIDE, port), 1400));
    let _ = lab.packet(In, "em1", whole).leaves_by("em0", CLIENT.0);
}

#[test]
fn fragments_cross_as_fragments() {
    let mut lab = router(nat64("(em1)"));
    let whole = udp(CLIENT, SERVER6, 4000);
    let pieces = pf_engine::norm::fragment(&whole, &meta(&whole), 1400, 99).unwrap();
    let (last, first) = pieces.split_last().unwrap();
    for piece in first {
        let seen = lab.packet(In, "em0", piece.clone());
        assert_eq!(seen.decision.verdict, Verdict::Held);
    }
    let seen = lab.packet(In, "em0", last.clone());
    let Verdict::PassFragments(Exit::Gateway { .. }, out) = &seen.decision.verdict else {
        panic!("{:?}", seen.decision.verdict);
    };
    assert_eq!(out.len(), pieces.len());
    assert!(
        out.iter()
            .all(|piece| piece.len() <= 1380 && piece[0] == 0x45)
    );
}

#[test]
fn pieces_that_nobody_puts_together_do_not_cross() {
    let mut ruleset = filter(&[nat64("(em1)")]);
    ruleset.options.reassemble = pf_engine::rule::Reassemble {
        enabled: false,
        no_df: false,
    };
    let mut lab = Lab::router(ruleset);
    let whole = udp(CLIENT, SERVER6, 4000);
    let pieces = pf_engine::norm::fragment(&whole, &meta(&whole), 1400, 99).unwrap();
    let _ = lab
        .packet(In, "em0", pieces[0].clone())
        .drops(DropReason::Fragment);
}

#[test]
fn a_port_is_kept_where_it_is_free_and_the_rule_names_none() {
    let mut lab = router(nat64("(em1)"));
    assert_eq!(crosses(&mut lab, CLIENT, 5), CLIENT.1);
    let other = crosses(&mut lab, ("2001:db8:a::3", CLIENT.1), 5);
    assert!(other >= 50_001, "{other}");
    let named = |rule: &mut Rule| {
        let pool = &mut rule.af_to.as_mut().unwrap().from;
        pool.ports = Some(PoolPorts::Range(2000, 3000));
    };
    let mut lab = router(nat64("(em1)").change(named));
    let drawn = crosses(&mut lab, CLIENT, 5);
    assert!((2000..=3000).contains(&drawn), "{drawn}");
}

#[test]
fn two_clients_with_one_port_get_two_and_a_nat_state_keeps_its_own() {
    let mut ruleset: Ruleset = filter(&[nat64("192.0.2.1")]);
    ruleset.nat = vec![nat("em1", "192.0.2.1").inet().change(|r| {
        r.nat.as_mut().unwrap().static_port = true;
    })];
    let mut lab = Lab::router(ruleset);
    let fixed = |rule: &mut Rule| rule.af_to.as_mut().unwrap().from.static_port = true;
    let _ = lab
        .packet(Out, "em1", udp(("10.0.0.9", 1025), SERVER, 5))
        .passes()
        .becomes("192.0.2.1:1025 > 192.0.2.80:80");
    let mut other = filter(&[nat64("192.0.2.1").change(fixed)]);
    other.nat = vec![nat("em1", "192.0.2.1").inet().change(|r| {
        r.nat.as_mut().unwrap().static_port = true;
    })];
    lab.load(other);
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER6, 5))
        .drops(DropReason::MapFailed);
    let _ = lab
        .packet(In, "em0", udp((CLIENT.0, 1026), SERVER6, 5))
        .leaves_by("em1", SERVER.0);
    let _ = lab
        .packet(Out, "em1", udp(("10.0.0.9", 1026), SERVER, 5))
        .drops(DropReason::MapFailed);
}

#[test]
fn a_state_of_two_families_outlives_a_restart() {
    let mut lab = router(nat64("(em1)"));
    let seen = lab
        .packet(In, "em0", echo(CLIENT.0, SERVER6.0, 7))
        .leaves_by("em1", SERVER.0);
    let id = u16::try_from(meta(&seen.bytes).icmp().unwrap().parameter >> 16).unwrap();
    drop(seen);
    let records = lab.export();
    let mut next = router(nat64("(em1)"));
    let interfaces: Vec<_> = pf_engine::env::Env::interfaces(&next.env).to_vec();
    let imported = next
        .engine
        .import_states(
            next.now,
            pf_engine::record::Kept {
                states: records,
                sources: Vec::new(),
            },
            std::collections::BTreeMap::new(),
            &interfaces,
        )
        .unwrap();
    assert_eq!(imported.states, 1);
    let _ = next
        .packet(In, "em1", echo_reply(SERVER.0, OUTSIDE, id))
        .leaves_by("em0", CLIENT.0);
}

/// Whatever comes, what crosses is a packet with right checksums.
#[test]
fn damaged_packets_cross_whole_or_not_at_all() {
    let mut lab = router(nat64("(em1)"));
    let seen = lab
        .packet(In, "em0", udp(CLIENT, SERVER6, 40))
        .leaves_by("em1", SERVER.0);
    let port = port(&seen.bytes);
    let sent = seen.bytes.clone();
    drop(seen);
    let error = Ip::new(ip("192.0.2.254"), ip(OUTSIDE));
    let samples = [
        ("em0", udp(CLIENT, SERVER6, 40)),
        ("em0", tcp(CLIENT, SERVER6, S, 1, 0, 20)),
        ("em0", echo(CLIENT.0, SERVER6.0, 7)),
        (
            "em0",
            sctp(CLIENT, SERVER6, 0, &init_chunk(1, 9, &["2001:db8:a::3"])),
        ),
        ("em1", udp(SERVER, (OUTSIDE, port), 40)),
        ("em1", build::icmp(&error, 3, 3, 0, &sent)),
        ("em1", build::icmp(&error, 11, 0, 0, &sent[..28])),
    ];
    let mut crossed = 0;
    for round in 0..20_000 {
        let mut random = || pf_engine::env::Env::random(&mut lab.env) as usize;
        let (name, mut bytes) = samples[random() % samples.len()].clone();
        let at = random() % bytes.len();
        bytes[at] ^= 1 << (random() % 8);
        if round % 7 == 0 {
            bytes.truncate(at);
        }
        if round % 2 == 0 && bytes.len() > 8 {
            let _ = pf_engine::wire::checksum::complete(&mut bytes);
        }
        let seen = lab.packet(In, name, bytes);
        if let Verdict::Pass(Exit::Gateway { .. }) = seen.decision.verdict {
            let _ = meta(&seen.bytes);
            crossed += 1;
        }
        drop(seen);
        if round % 500 == 0 {
            lab.engine.flush_states();
        }
    }
    assert!(crossed > 1000, "{crossed}");
}
