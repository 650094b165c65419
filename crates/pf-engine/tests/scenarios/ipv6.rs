//! The same for IPv6.

use pf_engine::addr::Protocol;
use pf_engine::decision::{DropReason, Exit, Verdict};
use pf_engine::norm;
use pf_engine::rule::{RouteKind, StateMode};
use pf_engine::wire::build::{self, Ip};
use pf_engine::wire::{Meta, Quoted};

use super::harness::*;

const CLIENT: (&str, u16) = ("2001:db8:a::9", 1025);
const SERVER: (&str, u16) = ("2001:db8:f::80", 80);
const OUTSIDE: &str = "2001:db8:b::1";
const GATEWAY: [(&str, &str); 1] = [("em1", "2001:db8:b::fe")];

fn routed() -> Lab {
    let mut ruleset = filter(&[pass()
        .inbound()
        .quick()
        .on("em0")
        .inet6()
        .route(RouteKind::RouteTo, &GATEWAY)
        .modulate()]);
    ruleset.nat = vec![nat("em1", "(em1)").inet6().from("2001:db8:a::/64")];
    Lab::router(ruleset)
}

#[test]
fn a_connection_is_tracked_and_strays_are_dropped() {
    let rules = [
        block(),
        pass()
            .inbound()
            .on("em0")
            .inet6()
            .proto(Protocol::TCP)
            .flags_s_sa()
            .keep(),
    ];
    let mut lab = Lab::router(filter(&rules));
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, S, 100, 0, 0))
        .passes_unchanged()
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
    let _ = lab
        .packet(Out, "em0", tcp(SERVER, CLIENT, SA, 900, 101, 0))
        .passes();
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, A, 101, 901, 0))
        .passes();
    assert_eq!(lab.state(1).expires_in.as_secs(), 86_400);
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, A, 5_000_000, 901, 9))
        .drops(DropReason::StateMismatch);
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 9))
        .drops(DropReason::Match);
}

#[test]
fn route_to_with_nat_comes_back_on_the_clients_wire() {
    let mut lab = routed();
    let seen = lab
        .frame(
            In,
            "em0",
            tcp(CLIENT, SERVER, S, 100, 0, 0),
            Some(ether(9, 1)),
        )
        .leaves_by("em1", "2001:db8:b::fe");
    let out = meta(&seen.bytes);
    drop(seen);
    let diff = out.tcp().unwrap().seq.wrapping_sub(100);
    assert_eq!(out.source, ip(OUTSIDE), "never the link-local address");
    assert_eq!(out.ttl, 63);
    let port = out.ports().unwrap().0;
    let answer = tcp(
        SERVER,
        (OUTSIDE, port),
        SA,
        900,
        101u32.wrapping_add(diff),
        0,
    );
    let seen = lab
        .packet(In, "em1", answer)
        .goes_onto_the_wire("em0", ether(1, 9))
        .becomes("2001:db8:f::80:80 > 2001:db8:a::9:1025");
    assert_eq!(meta(&seen.bytes).tcp().unwrap().ack, 101);
}

#[test]
fn packet_too_big_comes_back_with_the_clients_addresses() {
    let mut lab = routed();
    let seen = lab.frame(In, "em0", udp(CLIENT, SERVER, 1300), Some(ether(9, 1)));
    let on_wire = seen.bytes.clone();
    drop(seen);
    let error = build::icmp(
        &Ip::new(ip("2001:db8:b::fe"), ip(OUTSIDE)),
        2,
        0,
        1280,
        &on_wire[..1200],
    );
    let seen = lab
        .packet(In, "em1", error)
        .goes_onto_the_wire("em0", ether(1, 9));
    let outer = meta(&seen.bytes);
    assert_eq!(outer.destination, ip(CLIENT.0));
    assert_eq!(outer.icmp().unwrap().parameter, 1280);
    let quoted = Quoted::parse(&seen.bytes, &outer).unwrap();
    assert_eq!(
        (quoted.source, quoted.ports()),
        (ip(CLIENT.0), Some((1025, 80)))
    );
}

#[test]
fn a_packet_too_big_for_the_line_is_answered() {
    let mut lab = routed();
    lab.set_interfaces(|all| all[1].mtu = 1280);
    let seen = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 1400))
        .drops(DropReason::TooBig);
    let outer = meta(seen.answer());
    assert_eq!(outer.icmp().map(|i| (i.kind, i.parameter)), Some((2, 1280)));
    assert_eq!(
        (outer.source, outer.destination),
        (ip("2001:db8:a::1"), ip(CLIENT.0))
    );
    assert!(outer.total_len <= 1280);
    let quoted = Quoted::parse(seen.answer(), &outer).unwrap();
    assert_eq!(quoted.source, ip(CLIENT.0));
    drop(seen);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn pings_go_through_nat() {
    let mut ruleset = filter(&[pass().keep()]);
    ruleset.nat = vec![nat("em1", "(em1)").inet6()];
    let mut lab = Lab::router(ruleset);
    let seen = lab.packet(Out, "em1", echo(CLIENT.0, SERVER.0, 5)).passes();
    let out = meta(&seen.bytes);
    let id = u16::try_from(out.icmp().unwrap().parameter >> 16).unwrap();
    drop(seen);
    let seen = lab
        .packet(In, "em1", echo_reply(SERVER.0, OUTSIDE, id))
        .passes();
    let back = meta(&seen.bytes);
    assert_eq!(
        (back.destination, back.icmp().unwrap().parameter >> 16),
        (ip(CLIENT.0), 5)
    );
}

/// Neighbor discovery (RFC 4861) of `kind` about `2001:db8:b::77`.
fn discovery(from: &str, to: &str, kind: u8) -> Vec<u8> {
    let header = Ip {
        ttl: 255,
        ..Ip::new(ip(from), ip(to))
    };
    let target: std::net::Ipv6Addr = "2001:db8:b::77".parse().unwrap();
    build::icmp(&header, kind, 0, 0, &target.octets())
}

#[test]
fn a_neighbor_advertisement_answers_its_solicitation() {
    let mut lab = Lab::router(filter(&[block(), pass().outbound().keep()]));
    let _ = lab
        .packet(Out, "em1", discovery(OUTSIDE, "ff02::1:ff00:77", 135))
        .passes();
    let _ = lab
        .packet(In, "em1", discovery("2001:db8:b::77", OUTSIDE, 136))
        .passes_unchanged();
    let _ = lab
        .packet(In, "em1", discovery("2001:db8:b::78", "2001:db8:b::2", 136))
        .drops(DropReason::Match);
}

/// RFC 4862, section 5.4: whoever looks whether an address is free has none, and is answered at the
/// group of all.
#[test]
fn an_advertisement_to_all_answers_who_has_no_address_yet() {
    let mut lab = Lab::router(filter(&[block(), pass().outbound().keep()]));
    let taken = discovery("2001:db8:b::77", "ff02::1", 136);
    let _ = lab
        .packet(In, "em1", taken.clone())
        .drops(DropReason::Match);
    let _ = lab
        .packet(Out, "em1", discovery("::", "ff02::1:ff00:77", 135))
        .passes_unchanged();
    let _ = lab.packet(In, "em1", taken).passes_unchanged().counts(
        "filter 1 in 1/64
         state 1 reply 1/64
         searches 1",
    );
}

#[test]
fn whoever_answers_a_ping_to_all_hosts_of_the_link_answers_it() {
    let ping_to = |to: &str| {
        let mut lab = Lab::router(filter(&[block(), pass().outbound().keep()]));
        let _ = lab
            .packet(Out, "em1", echo("fe80::1", to, 7))
            .passes_unchanged();
        lab
    };
    let mut lab = ping_to("ff02::1");
    let _ = lab
        .packet(In, "em1", echo_reply("fe80::2", "fe80::1", 7))
        .passes_unchanged()
        .counts(
            "filter 1 in 1/104
         state 1 reply 1/104
         searches 2",
        );
    for (other, id) in [("fe80::1", 8), ("fe80::3", 7)] {
        let _ = lab
            .packet(In, "em1", echo_reply("fe80::2", other, id))
            .drops(DropReason::Match);
    }
    let mut lab = ping_to("ff02::2");
    let _ = lab
        .packet(In, "em1", echo_reply("fe80::2", "fe80::1", 7))
        .drops(DropReason::Match);
}

#[test]
fn fragments_are_put_together_and_cut_to_what_they_were() {
    let rule = pass()
        .proto(Protocol::UDP)
        .port(80)
        .change(|r| r.state = StateMode::Keep);
    let mut lab = Lab::router(filter(&[block(), rule]));
    let whole = udp(CLIENT, SERVER, 3000);
    let pieces = norm::fragment(&whole, &Meta::parse(&whole).unwrap(), 1280, 77).unwrap();
    let (last, others) = pieces.split_last().unwrap();
    for piece in others {
        assert_eq!(
            lab.packet(In, "em0", piece.clone()).decision.verdict,
            Verdict::Held
        );
    }
    let seen = lab.packet(In, "em0", last.clone());
    assert_eq!(
        seen.decision.verdict,
        Verdict::PassFragments(Exit::Continue, pieces)
    );
}

#[test]
fn neighbor_discovery_is_never_routed_out() {
    let mut lab = Lab::router(filter(&[pass()
        .inbound()
        .route(RouteKind::RouteTo, &GATEWAY)]));
    let header = Ip {
        ttl: 255,
        ..Ip::new(ip(CLIENT.0), ip("2001:db8:a::1"))
    };
    let probe = build::icmp(&header, 135, 0, 0, &[0; 16]);
    let _ = lab.packet(In, "em0", probe).passes_unchanged();
    let _ = lab
        .packet(In, "em0", echo(CLIENT.0, SERVER.0, 1))
        .leaves_by("em1", GATEWAY[0].1);
}

/// What is in a fragment that was itself cut into fragments would be seen by no rule.
#[test]
fn fragments_of_fragments_are_dropped() {
    let mut lab = Lab::router(filter(&[pass()]));
    let header = |next: Protocol, offset: u8, more: u8| [next.0, 0, 0, offset | more, 0, 0, 0, 7];
    let inner = [&header(Protocol::UDP, 0, 1)[..], &[0; 16]].concat();
    let (start, end) = inner.split_at(16);
    let outer = Ip::new(ip(CLIENT.0), ip(SERVER.0));
    let piece = |header: [u8; 8], data: &[u8]| {
        build::packet(&outer, Protocol::FRAGMENT, &[&header, data].concat())
    };
    let first = piece(header(Protocol::FRAGMENT, 0, 1), start);
    let last = piece(header(Protocol::FRAGMENT, 16, 0), end);
    assert_eq!(lab.packet(In, "em0", first).decision.verdict, Verdict::Held);
    let _ = lab.packet(In, "em0", last).drops(DropReason::Fragment);
}
