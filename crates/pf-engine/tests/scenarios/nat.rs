//! Translation: nat, rdr, binat, nat-to, rdr-to; ports and their end.

use pf_engine::addr::Protocol;
use pf_engine::decision::DropReason;
use pf_engine::rule::{Action, PoolPorts, Rule};
use pf_engine::ruleset::Ruleset;

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("198.51.100.80", 80);
const OUTSIDE: &str = "192.0.2.1";

fn natting(rule: Rule) -> Ruleset {
    Ruleset {
        nat: vec![rule],
        ..Ruleset::default()
    }
}

fn ports(rule: Rule, low: u16, high: u16) -> Rule {
    rule.change(|r| r.nat.as_mut().unwrap().ports = Some(PoolPorts::Range(low, high)))
}

#[test]
fn nat_translates_and_keeps_state_without_any_filter_rule() {
    let mut lab = Lab::router(natting(nat("em1", "(em1)").from("10.0.0.0/24")));
    let seen = lab
        .packet(Out, "em1", tcp(CLIENT, SERVER, S, 5, 0, 0))
        .passes()
        .counts(
            "nat 0 evaluations 1
         nat 0 out 1/40
         nat 0 states 1
         nat 0 created 1
         state 1 forward 1/40
         reason match 1
         searches 1
         inserts 1",
        );
    let out = meta(&seen.bytes);
    let (port, to) = out.ports().unwrap();
    drop(seen);
    assert_eq!((out.source, to), (ip(OUTSIDE), 80));
    assert!(port >= 50_001);
    let state = lab.state(1);
    assert_eq!(
        (state.wire[1].address, state.wire[1].port),
        (ip(OUTSIDE), port)
    );
    assert_eq!(
        (state.stack[1].address, state.stack[1].port),
        (ip(CLIENT.0), 1025)
    );
    assert_eq!(state.rule, None);
    let _ = lab
        .packet(In, "em1", tcp(SERVER, (OUTSIDE, port), SA, 8, 6, 0))
        .passes()
        .becomes("198.51.100.80:80 > 10.0.0.9:1025")
        .counts(
            "nat 0 in 1/40
             state 1 reply 1/40
             searches 1",
        );
}

/// Opens a connection through NAT and returns the port that it has outside.
fn open_outside(lab: &mut Lab) -> u16 {
    let seen = lab
        .packet(Out, "em1", tcp(CLIENT, SERVER, S, 5, 0, 0))
        .passes();
    let (port, _) = meta(&seen.bytes).ports().unwrap();
    port
}

#[test]
fn a_connection_in_the_place_of_a_closed_one_keeps_the_port_that_its_server_remembers() {
    let mut lab = Lab::router(natting(nat("em1", "(em1)").from("10.0.0.0/24")));
    let port = open_outside(&mut lab);
    let outside = (OUTSIDE, port);
    for (direction, segment) in [
        (In, tcp(SERVER, outside, SA, 8, 6, 0)),
        (Out, tcp(CLIENT, SERVER, FA, 6, 9, 0)),
        (In, tcp(SERVER, outside, FA, 9, 7, 0)),
        (Out, tcp(CLIENT, SERVER, A, 7, 10, 0)),
    ] {
        let _ = lab.packet(direction, "em1", segment).passes();
    }
    assert_eq!(open_outside(&mut lab), port);
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn filter_rules_see_translated_addresses() {
    let mut ruleset = natting(nat("em1", "(em1)").from("10.0.0.0/24"));
    ruleset.filter = vec![block(), pass().outbound().from(OUTSIDE)];
    ruleset.rdr = vec![
        rdr("em1", "10.0.0.5", Some(8080))
            .port(80)
            .proto(Protocol::TCP),
    ];
    ruleset.filter.push(
        pass()
            .inbound()
            .to("10.0.0.5")
            .proto(Protocol::TCP)
            .port(8080),
    );
    let mut lab = Lab::router(ruleset);
    let _ = lab
        .packet(Out, "em1", tcp(CLIENT, SERVER, S, 5, 0, 0))
        .passes();
    let _ = lab
        .packet(
            In,
            "em1",
            tcp(("203.0.113.7", 999), (OUTSIDE, 80), S, 5, 0, 0),
        )
        .passes()
        .becomes("203.0.113.7:999 > 10.0.0.5:8080");
    let _ = lab
        .packet(
            Out,
            "em1",
            tcp(("10.0.0.5", 8080), ("203.0.113.7", 999), SA, 5, 6, 0),
        )
        .passes()
        .becomes("192.0.2.1:80 > 203.0.113.7:999");
    let _ = lab
        .packet(In, "em1", udp(("203.0.113.7", 999), (OUTSIDE, 80), 5))
        .drops(DropReason::Match);
}

#[test]
fn the_first_translation_rule_decides_and_no_nat_ends_it() {
    let mut no = Rule::new(Action::NoNat).on("em1").to("198.51.100.0/24");
    no.source = pass().from("10.0.0.9").source;
    let mut ruleset = natting(no);
    ruleset.nat.push(nat("em1", "(em1)"));
    let mut lab = Lab::router(ruleset);
    let _ = lab
        .packet(Out, "em1", udp(CLIENT, SERVER, 5))
        .passes_unchanged();
    assert_eq!(lab.engine.state_count(), 0);
    let _ = lab
        .packet(Out, "em1", udp(("10.0.0.8", 1), SERVER, 5))
        .passes();
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn nat_pass_needs_no_filter_rule() {
    let rule = nat("em1", "(em1)").change(|r| r.nat_pass = true);
    let mut ruleset = natting(rule);
    ruleset.filter = vec![block()];
    let mut lab = Lab::router(ruleset);
    let _ = lab
        .packet(Out, "em1", udp(CLIENT, SERVER, 5))
        .passes()
        .counts(
            "nat 0 evaluations 1
         nat 0 out 1/33
         nat 0 states 1
         nat 0 created 1
         state 1 forward 1/33
         reason match 1
         searches 1
         inserts 1",
        );
}

#[test]
fn a_blocked_packet_makes_no_state_and_takes_no_port() {
    let mut ruleset = natting(ports(nat("em1", "(em1)"), 60_000, 60_000));
    ruleset.filter = vec![block().to(SERVER.0), pass().to("198.51.100.81")];
    let mut lab = Lab::router(ruleset);
    let _ = lab
        .packet(Out, "em1", udp(CLIENT, SERVER, 5))
        .drops(DropReason::Match);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn ports_run_out_for_one_server_and_come_back_when_states_expire() {
    let mut lab = Lab::router(natting(ports(nat("em1", "(em1)"), 60_000, 60_003)));
    let mut taken = Vec::new();
    for n in 0..4 {
        let seen = lab
            .packet(Out, "em1", udp((CLIENT.0, 2000 + n), SERVER, 5))
            .passes();
        taken.push(meta(&seen.bytes).ports().unwrap().0);
    }
    taken.sort_unstable();
    assert_eq!(taken, [60_000, 60_001, 60_002, 60_003]);
    let _ = lab
        .packet(Out, "em1", udp((CLIENT.0, 3000), SERVER, 5))
        .drops(DropReason::MapFailed)
        .counts(
            "nat 0 evaluations 1
         reason map-failed 1
         searches 1",
        );
    let other_server = ("198.51.100.81", 80);
    let _ = lab
        .packet(Out, "em1", udp((CLIENT.0, 3000), other_server, 5))
        .passes();
    lab.wait(70);
    let _ = lab
        .packet(Out, "em1", udp((CLIENT.0, 3000), SERVER, 5))
        .passes();
}

#[test]
fn several_addresses_are_tried_in_turn_when_ports_run_out() {
    let rule = ports(nat("em1", "192.0.2.8/31"), 60_000, 60_000);
    let mut lab = Lab::router(natting(rule));
    let mut taken = Vec::new();
    for n in 0..2 {
        let seen = lab
            .packet(Out, "em1", udp((CLIENT.0, 2000 + n), SERVER, 5))
            .passes();
        taken.push(tuple(&seen.bytes));
    }
    taken.sort();
    assert_eq!(
        taken,
        [
            "192.0.2.8:60000 > 198.51.100.80:80",
            "192.0.2.9:60000 > 198.51.100.80:80",
        ]
    );
    let _ = lab
        .packet(Out, "em1", udp((CLIENT.0, 3000), SERVER, 5))
        .drops(DropReason::MapFailed);
}

#[test]
fn static_port_keeps_the_port_or_fails() {
    let rule = nat("em1", "(em1)").change(|r| r.nat.as_mut().unwrap().static_port = true);
    let mut lab = Lab::router(natting(rule));
    let _ = lab
        .packet(Out, "em1", udp(CLIENT, SERVER, 5))
        .passes()
        .becomes("192.0.2.1:1025 > 198.51.100.80:80");
    let _ = lab
        .packet(Out, "em1", udp(("10.0.0.10", 1025), SERVER, 5))
        .drops(DropReason::MapFailed);
}

#[test]
fn pings_are_told_apart_by_their_identifier() {
    let mut lab = Lab::router(natting(nat("em1", "(em1)")));
    let mut ids = Vec::new();
    for host in ["10.0.0.9", "10.0.0.10"] {
        let seen = lab.packet(Out, "em1", echo(host, SERVER.0, 7)).passes();
        let out = meta(&seen.bytes);
        assert_eq!(out.source, ip(OUTSIDE));
        let pf_engine::wire::IcmpBody::Query { id } = out.icmp().unwrap().body else {
            panic!("a query");
        };
        ids.push((host, id));
    }
    assert_ne!(ids[0].1, ids[1].1);
    for (host, id) in ids {
        let seen = lab
            .packet(In, "em1", echo_reply(SERVER.0, OUTSIDE, id))
            .passes();
        let back = meta(&seen.bytes);
        assert_eq!(back.destination, ip(host));
        assert_eq!(back.icmp().unwrap().parameter >> 16, 7);
    }
}

#[test]
fn a_redirection_moves_the_source_port_of_the_second_of_two_alike() {
    let ruleset = Ruleset {
        rdr: vec![rdr("em1", "10.0.0.5", Some(80)).proto(Protocol::TCP)],
        ..Ruleset::default()
    };
    let mut lab = Lab::router(ruleset);
    let from = ("203.0.113.7", 1234);
    let _ = lab
        .packet(In, "em1", tcp(from, ("192.0.2.10", 80), S, 1, 0, 0))
        .passes()
        .becomes("203.0.113.7:1234 > 10.0.0.5:80");
    let seen = lab
        .packet(In, "em1", tcp(from, ("192.0.2.11", 80), S, 1, 0, 0))
        .passes();
    let (port, _) = meta(&seen.bytes).ports().unwrap();
    drop(seen);
    assert!(port > 50_000, "{port}");
    let _ = lab
        .packet(
            Out,
            "em1",
            tcp(("10.0.0.5", 80), (from.0, port), SA, 1, 2, 0),
        )
        .passes()
        .becomes("192.0.2.11:80 > 203.0.113.7:1234");
}

#[test]
fn binat_translates_both_ways() {
    let mut rule = Rule::new(Action::Binat).on("em1").from("10.0.0.0/24");
    rule.nat = Some(pool("192.0.2.0/24"));
    let ruleset = Ruleset {
        binat: vec![rule],
        ..Ruleset::default()
    };
    let mut lab = Lab::router(ruleset);
    let _ = lab
        .packet(Out, "em1", udp(CLIENT, SERVER, 5))
        .passes()
        .becomes("192.0.2.9:1025 > 198.51.100.80:80");
    let _ = lab
        .packet(In, "em1", udp(SERVER, ("192.0.2.9", 1025), 5))
        .passes()
        .becomes("198.51.100.80:80 > 10.0.0.9:1025");
    let _ = lab
        .packet(In, "em1", udp(("203.0.113.7", 9), ("192.0.2.77", 53), 5))
        .passes()
        .becomes("203.0.113.7:9 > 10.0.0.77:53");
    let _ = lab
        .packet(Out, "em1", udp(("10.0.0.77", 53), ("203.0.113.7", 9), 5))
        .passes()
        .becomes("192.0.2.77:53 > 203.0.113.7:9");
    assert_eq!(lab.engine.state_count(), 2);
}

#[test]
fn no_binat_asks_for_source_and_destination_as_they_are() {
    let no = |from: &str, to: &str| Rule::new(Action::NoBinat).on("em1").from(from).to(to);
    let mut binat = Rule::new(Action::Binat).on("em1").from("10.0.0.9");
    binat.nat = Some(pool("192.0.2.9"));
    let ruleset = Ruleset {
        binat: vec![
            no("192.0.2.9", "any"),
            no("203.0.113.7", "any"),
            no("10.0.0.9", "203.0.113.8"),
            binat,
        ],
        ..Ruleset::default()
    };
    let mut lab = Lab::router(ruleset);
    let outside = ("192.0.2.9", 53);
    let from = |host, to| udp((host, 9), to, 5);
    // The first rule does not stand for what comes in to its address.
    let _ = lab
        .packet(In, "em1", from("198.51.100.80", outside))
        .passes()
        .becomes("198.51.100.80:9 > 10.0.0.9:53");
    let _ = lab
        .packet(In, "em1", from("203.0.113.7", outside))
        .passes_unchanged();
    let _ = lab
        .packet(Out, "em1", from("10.0.0.9", ("203.0.113.8", 53)))
        .passes_unchanged();
    let _ = lab
        .packet(In, "em1", from("203.0.113.8", outside))
        .passes()
        .becomes("203.0.113.8:9 > 10.0.0.9:53");
}

#[test]
fn nat_to_and_rdr_to_of_filter_rules_translate_too() {
    let mut lab = Lab::router(filter(&[
        pass().outbound().on("em1").nat_to("(em1)").keep(),
        pass()
            .inbound()
            .on("em1")
            .proto(Protocol::TCP)
            .port(80)
            .rdr_to("10.0.0.5", Some(8080))
            .keep(),
    ]));
    let seen = lab.packet(Out, "em1", udp(CLIENT, SERVER, 5)).passes();
    let out = meta(&seen.bytes);
    drop(seen);
    assert_eq!(out.source, ip(OUTSIDE));
    let _ = lab
        .packet(In, "em1", udp(SERVER, (OUTSIDE, out.ports().unwrap().0), 5))
        .passes()
        .becomes("198.51.100.80:80 > 10.0.0.9:1025");
    let _ = lab
        .packet(
            In,
            "em1",
            tcp(("203.0.113.7", 9), (OUTSIDE, 80), S, 1, 0, 0),
        )
        .passes()
        .becomes("203.0.113.7:9 > 10.0.0.5:8080");
}

#[test]
fn rdr_to_a_port_without_a_protocol_gives_it_to_packets_that_have_ports() {
    let rule = pass().inbound().on("em1").rdr_to("10.0.0.5", Some(8080));
    let mut lab = Lab::router(filter(&[rule.keep()]));
    let from = ("203.0.113.7", 9);
    let _ = lab
        .packet(In, "em1", tcp(from, (OUTSIDE, 80), S, 1, 0, 0))
        .passes()
        .becomes("203.0.113.7:9 > 10.0.0.5:8080");
    let _ = lab
        .packet(In, "em1", udp(from, (OUTSIDE, 53), 5))
        .passes()
        .becomes("203.0.113.7:9 > 10.0.0.5:8080");
    let seen = lab.packet(In, "em1", echo(from.0, OUTSIDE, 7)).passes();
    let inside = meta(&seen.bytes);
    assert_eq!(inside.destination, ip("10.0.0.5"));
    drop(seen);
    let _ = lab
        .packet(Out, "em1", echo_reply("10.0.0.5", from.0, 7))
        .passes();
}

#[test]
fn a_match_rule_translates_for_the_rules_behind_it() {
    let matching = Rule::new(Action::Match)
        .outbound()
        .on("em1")
        .nat_to("(em1)");
    let mut lab = Lab::router(filter(&[block(), matching, pass().from(OUTSIDE)]));
    let seen = lab.packet(Out, "em1", udp(CLIENT, SERVER, 5)).passes();
    assert_eq!(meta(&seen.bytes).source, ip(OUTSIDE));
    drop(seen);
    assert_eq!(lab.engine.state_count(), 1, "translation keeps state");
}

#[test]
fn an_interface_without_address_cannot_be_translated_to() {
    let mut lab = Lab::router(natting(nat("em1", "(em1)")));
    lab.set_interfaces(|all| all[1].addresses.clear());
    let _ = lab
        .packet(Out, "em1", udp(CLIENT, SERVER, 5))
        .drops(DropReason::MapFailed);
    lab.set_interfaces(|all| all[1].addresses = interface(2, "em1", &["192.0.2.77/24"]).addresses);
    let seen = lab.packet(Out, "em1", udp(CLIENT, SERVER, 5)).passes();
    assert_eq!(meta(&seen.bytes).source, ip("192.0.2.77"));
}
