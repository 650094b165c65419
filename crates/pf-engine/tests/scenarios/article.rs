//! "Stupid Bridge Tricks #1": the article's ruleset on its network.
//!
//! `fxp0` goes to the Cisco, `em1` to the switch, `em0` to the DSL modem; `fxp0` and `em1` are
//! ports of one bridge.

use pf_engine::addr::Protocol;
use pf_engine::decision::DropReason;
use pf_engine::rule::{PoolKind, RouteKind, Rule, StateMode};
use pf_engine::ruleset::{Dialect, Ruleset};
use pf_engine::wire::build::{self, Ip};
use pf_engine::wire::{Quoted, TcpOption};

use super::harness::*;

const CLIENT: &str = "216.28.123.99";
const SERVER: &str = "198.51.100.80";
/// MAC addresses: the client's, its gateway's (the Cisco), the bridge box's.
const CLIENT_MAC: u8 = 0x99;
const CISCO_MAC: u8 = 0xc1;

fn interfaces() -> Vec<pf_engine::env::Interface> {
    vec![
        interface(1, "fxp0", &["216.123.123.123/22"]),
        interface(2, "em1", &[]),
        interface(3, "em0", &["192.168.1.64/16"]),
        interface(4, "em3", &["10.3.0.2/24"]),
    ]
}

const LOCALNET: [&str; 4] = [
    "216.28.123.0/24",
    "216.28.124.0/24",
    "216.28.125.0/24",
    "216.29.126.0/24",
];
const DSLNET: [&str; 5] = [
    "216.28.123.34",
    "216.28.123.175",
    "216.28.123.176",
    "216.28.123.99",
    "216.28.123.10",
];
const DSLPORTS: [u16; 5] = [22, 80, 110, 143, 443];

/// The rules of the article, in the order in which pfctl expands the lists.
fn rules(enabled: bool) -> Ruleset {
    let mut ruleset = Ruleset {
        dialect: Dialect::OpenBsd3,
        ..Ruleset::default()
    };
    ruleset
        .tables
        .insert("localnet".to_owned(), table(true, &LOCALNET));
    for interface in ["fxp0", "em1"] {
        ruleset.filter.push(
            pass()
                .quick()
                .on(interface)
                .from("<localnet>")
                .to("<localnet>"),
        );
    }
    if enabled {
        ruleset.nat = nat_rules();
        ruleset.filter.extend(route_rules());
    }
    ruleset.filter.push(pass().on("fxp0").modulate());
    ruleset
}

fn nat_rules() -> Vec<Rule> {
    let rule =
        |host: &'static str| DSLPORTS.map(|port| nat("em0", "(em0)").inet().from(host).port(port));
    DSLNET.into_iter().flat_map(rule).collect()
}

fn route_rules() -> Vec<Rule> {
    let gateway = [("em0", "192.168.0.1")];
    let mut rules = Vec::new();
    for protocol in [Protocol::TCP, Protocol::UDP] {
        for host in DSLNET {
            rules.extend(DSLPORTS.map(|port| {
                let rule = pass().inbound().quick().on("em1").inet().proto(protocol);
                let rule = rule.from(host).to("!<localnet>").port(port).modulate();
                rule.route(RouteKind::RouteTo, &gateway)
                    .label(&format!("DSL-1 {host}:{port}"))
            }));
        }
    }
    for protocol in [Protocol::TCP, Protocol::UDP] {
        rules.extend(DSLPORTS.map(|port| {
            let rule = pass().outbound().quick().on("fxp0").inet().proto(protocol);
            let rule = rule.from("192.168.1.64").port(port).modulate();
            rule.route(RouteKind::RouteTo, &gateway)
                .label(&format!("DSL-2 192.168.1.64:{port}"))
        }));
    }
    rules
}

fn lab(enabled: bool) -> Lab {
    Lab::new(interfaces(), rules(enabled))
}

/// What a client sends, its gateway being the Cisco.
fn from_client(lab: &mut Lab, bytes: Vec<u8>) -> Seen<'_> {
    lab.frame(In, "em1", bytes, Some(ether(CLIENT_MAC, CISCO_MAC)))
}

fn from_dsl(lab: &mut Lab, bytes: Vec<u8>) -> Seen<'_> {
    lab.frame(In, "em0", bytes, Some(ether(0xd5, 0xb0)))
}

/// Opens the article's connection; gives the NAT port and the modulator of each side.
fn open(lab: &mut Lab) -> (u16, u32, u32) {
    let syn = tcp((CLIENT, 1025), (SERVER, 80), S, 1000, 0, 0);
    let seen = from_client(lab, syn).leaves_by("em0", "192.168.0.1");
    let out = meta(&seen.bytes);
    let (port, _) = out.ports().unwrap();
    let client_diff = out.tcp().unwrap().seq.wrapping_sub(1000);
    drop(seen);
    let ack = 1001u32.wrapping_add(client_diff);
    let answer = tcp((SERVER, 80), ("192.168.1.64", port), SA, 9000, ack, 0);
    let seen = from_dsl(lab, answer).goes_onto_the_wire("em1", ether(CISCO_MAC, CLIENT_MAC));
    let back = meta(&seen.bytes);
    let server_diff = back.tcp().unwrap().seq.wrapping_sub(9000);
    assert_eq!(
        back.tcp().unwrap().ack,
        1001,
        "the client sees its own numbers"
    );
    (port, client_diff, server_diff)
}

#[test]
fn a_dslnet_host_leaves_by_dsl_and_its_answers_come_back_from_its_gateway() {
    let mut lab = lab(true);
    let syn = tcp((CLIENT, 1025), (SERVER, 80), S, 1000, 0, 0);
    let seen = from_client(&mut lab, syn)
        .leaves_by("em0", "192.168.0.1")
        .counts(
            "filter 0 evaluations 2
         filter 1 evaluations 2
         table localnet match 1
         table localnet nomatch 3
         filter 2 evaluations 1
         filter 7 evaluations 1
         filter 12 evaluations 1
         filter 17 evaluations 1
         filter 18 evaluations 1
         filter 18 in 1/40
         filter 18 states 1
         filter 18 created 1
         filter 52 evaluations 1
         nat 0 evaluations 1
         nat 5 evaluations 1
         nat 10 evaluations 1
         nat 15 evaluations 1
         nat 16 evaluations 1
         nat 16 out 1/40
         nat 16 states 1
         nat 16 created 1
         state 1 forward 1/40
         state 2 forward 1/40
         table localnet in-pass 1/40
         reason match 2
         searches 2
         inserts 2",
        );
    let out = meta(&seen.bytes);
    let (port, _) = out.ports().unwrap();
    assert_eq!(out.source, ip("192.168.1.64"));
    assert!(port > 50_000, "{port} is a NAT port");
    assert_eq!(out.ttl, 63);
    let diff = out.tcp().unwrap().seq.wrapping_sub(1000);
    assert_ne!(diff, 0, "modulated");
    drop(seen);

    let ack = 1001u32.wrapping_add(diff);
    let answer = tcp((SERVER, 80), ("192.168.1.64", port), SA, 9000, ack, 0);
    let seen = from_dsl(&mut lab, answer)
        .goes_onto_the_wire("em1", ether(CISCO_MAC, CLIENT_MAC))
        .becomes("198.51.100.80:80 > 216.28.123.99:1025")
        .counts(
            "nat 16 in 1/40
             filter 18 out 1/40
             table localnet out-pass 1/40
             state 1 reply 1/40
             state 2 reply 1/40
             searches 2",
        );
    let back = meta(&seen.bytes);
    assert_eq!(back.ttl, 63);
    assert_eq!(back.tcp().unwrap().ack, 1001);
    assert_ne!(
        back.tcp().unwrap().seq,
        9000,
        "the server's numbers are modulated too"
    );
}

#[test]
fn the_label_counts_what_was_sent() {
    let mut lab = lab(true);
    let (port, client_diff, server_diff) = open(&mut lab);
    let (mut packets, mut bytes) = (2, 80);
    let server_seq = 9001u32.wrapping_add(server_diff);
    let mut seq = 1001u32;
    for data in [100usize, 1460, 7] {
        let segment = tcp((CLIENT, 1025), (SERVER, 80), PA, seq, server_seq, data);
        bytes += segment.len() as u64;
        let seen = from_client(&mut lab, segment).leaves_by("em0", "192.168.0.1");
        let out = *meta(&seen.bytes).tcp().unwrap();
        assert_eq!(out.seq, seq.wrapping_add(client_diff));
        assert_eq!(out.ack, 9001, "the server sees its own numbers");
        drop(seen);
        seq += u32::try_from(data).unwrap();
        let ack = tcp(
            (SERVER, 80),
            ("192.168.1.64", port),
            A,
            9001,
            seq.wrapping_add(client_diff),
            0,
        );
        bytes += ack.len() as u64;
        let _ = from_dsl(&mut lab, ack).goes_onto_the_wire("em1", ether(CISCO_MAC, CLIENT_MAC));
        packets += 2;
    }
    assert_eq!(lab.label("DSL-1 216.28.123.99:80"), (1, packets, bytes));
    let state = lab.state(1);
    assert_eq!(
        (state.source.state, state.destination.state),
        (4, 4),
        "ESTABLISHED"
    );
    assert_eq!(state.traffic.packets(), packets);
}

#[test]
fn a_host_outside_dslnet_and_a_port_outside_dslports_never_leave_by_dsl() {
    let mut lab = lab(true);
    let other = tcp(("216.28.123.50", 1025), (SERVER, 80), S, 1, 0, 0);
    let _ = from_client(&mut lab, other.clone()).passes_unchanged();
    let port = tcp((CLIENT, 1025), (SERVER, 8080), S, 1, 0, 0);
    let _ = from_client(&mut lab, port.clone()).passes_unchanged();
    let local = tcp((CLIENT, 1025), ("216.28.124.7", 80), S, 1, 0, 0);
    let _ = from_client(&mut lab, local).passes_unchanged();
    assert_eq!(
        lab.engine.state_count(),
        0,
        "em1 keeps no state but for DSL"
    );
    // On their way out to the Cisco they are modulated.
    let _ = lab.packet(Out, "fxp0", other).passes();
    let _ = lab.packet(Out, "fxp0", port).passes();
    assert_eq!(lab.engine.state_count(), 2);
    assert_eq!(lab.label("DSL-1 216.28.123.99:80").1, 0);
}

#[test]
fn local_traffic_is_neither_filtered_nor_tracked() {
    let mut lab = lab(true);
    for data in [0, 1000] {
        let segment = tcp((CLIENT, 1025), ("216.28.124.7", 80), PA, 77, 99, data);
        let bytes = segment.len();
        let _ = from_client(&mut lab, segment.clone())
            .passes_unchanged()
            .counts(&format!(
                "filter 0 evaluations 1
             filter 1 evaluations 1
             filter 1 in 1/{bytes}
             table localnet match 2
             table localnet in-pass 2/{}
             reason match 1
             searches 1",
                2 * bytes
            ));
        let _ = lab.packet(Out, "fxp0", segment).passes_unchanged();
    }
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn a_connection_from_the_internet_is_not_disturbed_by_switching_dsl() {
    let mut lab = lab(false);
    let (client, server) = (("203.0.113.9", 4000), ("216.28.123.10", 80));
    let mut client_seq = 500u32;
    // In on fxp0 the state of the last rule; em1 has nothing to say.
    let seen = lab
        .packet(In, "fxp0", tcp(client, server, S, client_seq, 0, 0))
        .passes();
    let client_diff = meta(&seen.bytes)
        .tcp()
        .unwrap()
        .seq
        .wrapping_sub(client_seq);
    let onward = seen.bytes.clone();
    drop(seen);
    let _ = lab.packet(Out, "em1", onward).passes_unchanged();
    client_seq += 1;
    let mut server_seq = 7000u32;
    let mut server_diff = None;
    let mut from_server = |lab: &mut Lab, flags, seq: u32, ack: u32, data: usize| {
        let segment = tcp(
            server,
            client,
            flags,
            seq,
            ack.wrapping_add(client_diff),
            data,
        );
        let _ = from_client(lab, segment.clone()).passes_unchanged();
        let seen = lab.packet(Out, "fxp0", segment).passes();
        let out = *meta(&seen.bytes).tcp().unwrap();
        assert_eq!(out.ack, ack);
        let diff = out.seq.wrapping_sub(seq);
        assert_eq!(*server_diff.get_or_insert(diff), diff);
        diff
    };
    let diff = from_server(&mut lab, SA, server_seq, client_seq, 0);
    server_seq += 1;
    for enabled in [true, false, true, true] {
        let ack = server_seq.wrapping_add(diff);
        let segment = tcp(client, server, PA, client_seq, ack, 200);
        let seen = lab.packet(In, "fxp0", segment).passes();
        assert_eq!(meta(&seen.bytes).tcp().unwrap().ack, server_seq);
        drop(seen);
        client_seq += 200;
        let _ = from_server(&mut lab, PA, server_seq, client_seq, 1000);
        server_seq += 1000;
        lab.load(rules(enabled));
        assert_eq!(lab.engine.state_count(), 1);
    }
    let state = lab.state(1);
    assert_eq!((state.source.state, state.destination.state), (4, 4));
    assert_eq!(state.traffic.packets(), 1 + 1 + 4 * 2);
    assert_eq!(state.rule, None, "its rule is no longer in force");
}

#[test]
fn a_connection_over_dsl_survives_switching_it_off_and_new_ones_take_the_t1() {
    let mut lab = lab(true);
    let (port, client_diff, server_diff) = open(&mut lab);
    lab.load(rules(false));
    let ack = 9001u32.wrapping_add(server_diff);
    let segment = tcp((CLIENT, 1025), (SERVER, 80), PA, 1001, ack, 10);
    let _ = from_client(&mut lab, segment)
        .leaves_by("em0", "192.168.0.1")
        .counts(
            "state 1 forward 1/50
         state 2 forward 1/50
         table localnet in-pass 1/50
         searches 2",
        );
    let answer = tcp(
        (SERVER, 80),
        ("192.168.1.64", port),
        A,
        9001,
        1011u32.wrapping_add(client_diff),
        0,
    );
    let _ = from_dsl(&mut lab, answer).goes_onto_the_wire("em1", ether(CISCO_MAC, CLIENT_MAC));
    let new = tcp((CLIENT, 1026), (SERVER, 80), S, 1, 0, 0);
    let _ = from_client(&mut lab, new).passes_unchanged();
}

#[test]
fn what_the_box_sends_from_its_dsl_address_leaves_by_dsl() {
    let mut lab = lab(true);
    let syn = tcp(("192.168.1.64", 3000), (SERVER, 80), S, 50, 0, 0);
    let seen = lab.packet(Out, "fxp0", syn).leaves_by("em0", "192.168.0.1");
    let out = meta(&seen.bytes);
    assert_eq!(out.source, ip("192.168.1.64"));
    assert_eq!(out.ttl, 64, "the box's own packet is not forwarded");
    let diff = out.tcp().unwrap().seq.wrapping_sub(50);
    assert_ne!(diff, 0);
    drop(seen);
    let answer = tcp(
        (SERVER, 80),
        ("192.168.1.64", 3000),
        SA,
        60,
        51u32.wrapping_add(diff),
        0,
    );
    let seen = from_dsl(&mut lab, answer).passes();
    let back = *meta(&seen.bytes).tcp().unwrap();
    assert_eq!(back.ack, 51);
    let server_diff = back.seq.wrapping_sub(60);
    drop(seen);
    let ack = tcp(
        ("192.168.1.64", 3000),
        (SERVER, 80),
        A,
        51,
        61u32.wrapping_add(server_diff),
        0,
    );
    let seen = lab
        .packet(Out, "fxp0", ack)
        .leaves_by("em0", "192.168.0.1")
        .counts(
            "filter 53 out 1/40
         state 1 forward 1/40
         searches 1",
        );
    assert_eq!(
        meta(&seen.bytes).tcp().unwrap().seq,
        51u32.wrapping_add(diff)
    );
    drop(seen);
    assert_eq!(lab.label("DSL-2 192.168.1.64:80").1, 3);
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn the_box_stays_reachable_on_its_own_address() {
    let mut lab = lab(true);
    let (client, server) = (("203.0.113.9", 4000), ("216.123.123.123", 22));
    let seen = lab
        .packet(In, "fxp0", tcp(client, server, S, 5, 0, 0))
        .passes();
    let seq = meta(&seen.bytes).tcp().unwrap().seq;
    drop(seen);
    let answer = tcp(server, client, SA, 6, seq.wrapping_add(1), 0);
    let seen = lab.packet(Out, "fxp0", answer).passes();
    assert_eq!(meta(&seen.bytes).tcp().unwrap().ack, 6);
}

#[test]
fn two_and_three_lines_take_turns_and_a_client_sticks_to_its_line() {
    let gateways = [
        ("em0", "192.168.0.1"),
        ("em3", "10.3.0.1"),
        ("em0", "192.168.0.2"),
    ];
    for lines in [2, 3] {
        let gateways = &gateways[..lines];
        let rule = pass()
            .inbound()
            .quick()
            .on("em1")
            .from("10.9.0.0/16")
            .keep();
        let rule = rule.route_by(RouteKind::RouteTo, PoolKind::RoundRobin, true, gateways);
        let mut lab = Lab::new(interfaces(), filter(&[rule]));
        for round in 0..2u16 {
            for host in 0..6usize {
                let address = format!("10.9.0.{}", host + 1);
                let syn = tcp((&address, 1000 + round), (SERVER, 80), S, 1, 0, 0);
                let (name, gateway) = gateways[host % lines];
                let _ = from_client(&mut lab, syn).leaves_by(name, gateway);
            }
        }
        assert_eq!(lab.engine.state_count(), 12);
    }
}

#[test]
fn selective_acknowledgments_are_moved_with_the_numbers_both_ways() {
    let mut lab = lab(true);
    let (port, client_diff, server_diff) = open(&mut lab);
    let edges = |bytes: &[u8]| -> Vec<u32> {
        let meta = meta(bytes);
        let sack = meta.tcp().unwrap().options(bytes).find_map(|option| {
            if let TcpOption::Sack { offset, blocks } = option {
                Some((offset, blocks))
            } else {
                None
            }
        });
        let (offset, blocks) = sack.expect("SACK");
        let edge = |n: usize| bytes[offset + 4 * n..].first_chunk::<4>().copied();
        (0..2 * blocks)
            .filter_map(edge)
            .map(u32::from_be_bytes)
            .collect()
    };
    let sack = |edges: [u32; 2]| {
        let mut option = vec![1, 1, 5, 10];
        option.extend(edges.iter().flat_map(|edge| edge.to_be_bytes()));
        option
    };
    // The client lacks a piece of what the server sent.
    let of_server = |seq: u32| seq.wrapping_add(server_diff);
    let options = sack([of_server(9500), of_server(9900)]);
    let segment = tcp_with(
        (CLIENT, 1025),
        (SERVER, 80),
        A,
        1001,
        of_server(9001),
        0,
        &options,
    );
    let seen = from_client(&mut lab, segment).leaves_by("em0", "192.168.0.1");
    assert_eq!(edges(&seen.bytes), [9500, 9900]);
    drop(seen);
    // The server lacks a piece of what the client sent.
    let of_client = |seq: u32| seq.wrapping_add(client_diff);
    let options = sack([of_client(1500), of_client(1700)]);
    let to = ("192.168.1.64", port);
    let segment = tcp_with((SERVER, 80), to, A, 9001, of_client(1001), 0, &options);
    let seen = from_dsl(&mut lab, segment);
    assert_eq!(edges(&seen.bytes), [1500, 1700]);
}

#[test]
fn fragmentation_needed_comes_back_with_the_clients_addresses_and_numbers() {
    let mut lab = lab(true);
    let (_, _, server_diff) = open(&mut lab);
    let ack = 9001u32.wrapping_add(server_diff);
    let segment = dont_fragment(tcp((CLIENT, 1025), (SERVER, 80), PA, 1001, ack, 1400));
    let seen = from_client(&mut lab, segment).leaves_by("em0", "192.168.0.1");
    let on_dsl = seen.bytes.clone();
    drop(seen);
    // A router behind the modem.
    let error = build::icmp(
        &Ip::new(ip("192.168.0.1"), ip("192.168.1.64")),
        3,
        4,
        1280,
        &on_dsl[..28],
    );
    let seen = from_dsl(&mut lab, error)
        .goes_onto_the_wire("em1", ether(CISCO_MAC, CLIENT_MAC))
        .counts(
            "nat 16 in 1/56
             filter 18 out 1/56
             table localnet out-pass 1/56
             state 1 reply 1/56
             state 2 reply 1/56
             searches 2",
        );
    let outer = meta(&seen.bytes);
    assert_eq!(
        (outer.source, outer.destination),
        (ip("192.168.0.1"), ip(CLIENT))
    );
    assert_eq!(outer.icmp().unwrap().parameter & 0xffff, 1280);
    let quoted = Quoted::parse(&seen.bytes, &outer).unwrap();
    assert_eq!(
        (quoted.source, quoted.destination),
        (ip(CLIENT), ip(SERVER))
    );
    assert_eq!(quoted.ports(), Some((1025, 80)));
    let pf_engine::wire::QuotedTransport::Tcp(header) = quoted.transport else {
        panic!("{quoted:?}");
    };
    assert_eq!(header.seq, 1001);
}

#[test]
fn a_packet_too_big_for_the_dsl_line_is_answered_with_its_original_header() {
    let mut lab = lab(true);
    lab.set_interfaces(|all| all[2].mtu = 1000);
    let (_, _, server_diff) = open(&mut lab);
    let ack = 9001u32.wrapping_add(server_diff);
    let segment = tcp((CLIENT, 1025), (SERVER, 80), PA, 1001, ack, 1400);
    let seen = from_client(&mut lab, dont_fragment(segment.clone())).drops(DropReason::TooBig);
    let answer = seen.answer().to_vec();
    drop(seen);
    let outer = meta(&answer);
    assert_eq!(
        (outer.source, outer.destination),
        (ip("192.168.1.64"), ip(CLIENT))
    );
    assert_eq!(outer.icmp().unwrap().parameter & 0xffff, 1000);
    let quoted = Quoted::parse(&answer, &outer).unwrap();
    assert_eq!(
        (quoted.source, quoted.destination),
        (ip(CLIENT), ip(SERVER))
    );
    assert_eq!(quoted.ports(), Some((1025, 80)));

    // Without "don't fragment" it is cut.
    let seen = from_client(&mut lab, segment);
    let pf_engine::decision::Verdict::PassFragments(_, pieces) = &seen.decision.verdict else {
        panic!("{:?}", seen.decision);
    };
    assert_eq!(pieces.len(), 2);
    assert!(pieces.iter().all(|piece| piece.len() <= 1000));
}

#[test]
fn an_exhausted_hop_limit_is_answered_and_makes_no_state() {
    let mut lab = lab(true);
    let mut syn = tcp((CLIENT, 1025), (SERVER, 80), S, 1000, 0, 0);
    syn[8] = 1;
    pf_engine::wire::checksum::complete(&mut syn).unwrap();
    let seen = from_client(&mut lab, syn).drops(DropReason::TtlExceeded);
    let answer = seen.answer().to_vec();
    drop(seen);
    let outer = meta(&answer);
    assert_eq!(outer.icmp().map(|i| (i.kind, i.code)), Some((11, 0)));
    assert_eq!(
        (outer.source, outer.destination),
        (ip("192.168.1.64"), ip(CLIENT))
    );
    let quoted = Quoted::parse(&answer, &outer).unwrap();
    assert_eq!(
        (quoted.source, quoted.ports()),
        (ip(CLIENT), Some((1025, 80)))
    );
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn dsl_1_carries_udp_too() {
    let mut lab = lab(true);
    let query = udp((CLIENT, 5000), (SERVER, 443), 30);
    let seen = from_client(&mut lab, query).leaves_by("em0", "192.168.0.1");
    let (port, _) = meta(&seen.bytes).ports().unwrap();
    drop(seen);
    let answer = udp((SERVER, 443), ("192.168.1.64", port), 300);
    let _ = from_dsl(&mut lab, answer)
        .goes_onto_the_wire("em1", ether(CISCO_MAC, CLIENT_MAC))
        .becomes("198.51.100.80:443 > 216.28.123.99:5000");
    assert!(
        rules(true)
            .filter
            .iter()
            .all(|rule| rule.state != StateMode::Synproxy)
    );
}

/// One connection, from a host inside to the box, by way of the Cisco: it crosses `fxp0` as
/// frames between the host and the Cisco, and again as frames between the Cisco and the box.
#[test]
fn a_host_inside_reaches_the_box_by_its_router_and_each_crossing_has_its_state() {
    const HOST: (&str, u16) = ("216.28.123.50", 1025);
    const BOX: (&str, u16) = ("216.123.123.123", 22);
    const HOST_MAC: u8 = 0x50;
    const BOX_MAC: u8 = 0xb0;
    let mut lab = lab(true);
    lab.set_interfaces(|interfaces| {
        interfaces[0].mac = Some(ether(BOX_MAC, 0).source);
    });
    let to_cisco = Some(ether(HOST_MAC, CISCO_MAC));
    let to_box = Some(ether(CISCO_MAC, BOX_MAC));
    let to_host = Some(ether(CISCO_MAC, HOST_MAC));
    let from_box = Some(ether(BOX_MAC, CISCO_MAC));

    let syn = tcp(HOST, BOX, S, 1000, 0, 0);
    lab.frame(In, "em1", syn.clone(), to_cisco).passes();
    let bridged = lab.frame(Out, "fxp0", syn, to_cisco).passes().bytes.clone();
    let arrived = lab
        .frame(In, "fxp0", bridged.clone(), to_box)
        .passes()
        .bytes
        .clone();
    let [outer, inner] = [&bridged, &arrived].map(|bytes| meta(bytes).tcp().unwrap().seq);
    assert!(
        outer != 1000 && inner != outer,
        "modulated at each crossing"
    );
    assert_eq!(lab.states().len(), 2);

    let answer = tcp(BOX, HOST, SA, 9000, inner.wrapping_add(1), 0);
    let left = lab
        .frame(Out, "fxp0", answer, from_box)
        .passes()
        .bytes
        .clone();
    assert_eq!(meta(&left).tcp().unwrap().ack, outer.wrapping_add(1));
    let returned = lab.frame(In, "fxp0", left, to_host).passes().bytes.clone();
    assert_eq!(meta(&returned).tcp().unwrap().ack, 1001);
    lab.frame(Out, "em1", returned, to_host).passes_unchanged();
    assert_eq!(lab.states().len(), 2);
}
