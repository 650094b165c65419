//! Options of NAT: which ports, for whom, and what happens when there are none left.

use pf_engine::decision::DropReason;
use pf_engine::engine::KillStates;
use pf_engine::rule::{PoolKind, PoolPorts, PortSet, RouteKind, Rule};
use pf_engine::ruleset::Ruleset;
use pf_engine::wire::build;

use super::harness::*;

const CLIENT: &str = "10.0.0.9";
const SERVERS: [(&str, u16); 2] = [("198.51.100.32", 1234), ("198.51.100.22", 1234)];

fn natting(change: impl FnOnce(&mut pf_engine::rule::Pool)) -> Ruleset {
    let rule = nat("em1", "192.0.2.1").change(|rule| change(rule.nat.as_mut().unwrap()));
    Ruleset {
        nat: vec![rule],
        ..Ruleset::default()
    }
}

/// The port that a packet from `port` of the client leaves with, if it does.
fn port_of(lab: &mut Lab, port: u16, server: (&str, u16)) -> Option<u16> {
    let seen = lab.packet(Out, "em1", udp((CLIENT, port), server, 4));
    if seen.decision.verdict == pf_engine::decision::Verdict::Drop(DropReason::MapFailed) {
        return None;
    }
    let seen = seen.passes();
    meta(&seen.bytes).ports().map(|(source, _)| source)
}

#[test]
fn a_source_has_one_outside_port_towards_all_with_endpoint_independent() {
    let mut lab = Lab::router(natting(|pool| pool.endpoint_independent = true));
    let first = port_of(&mut lab, 4242, SERVERS[0]);
    assert_eq!(first, port_of(&mut lab, 4242, SERVERS[1]));
    assert_ne!(first, port_of(&mut lab, 4243, SERVERS[1]));
    let mut lab = Lab::router(natting(|_| {}));
    let first = port_of(&mut lab, 4242, SERVERS[0]);
    assert_ne!(first, port_of(&mut lab, 4242, SERVERS[1]));
}

#[test]
fn the_outside_port_is_given_up_with_the_last_state_of_its_source() {
    let mut lab = Lab::router(natting(|pool| {
        pool.endpoint_independent = true;
        pool.ports = Some(PoolPorts::Range(3000, 3001));
    }));
    let first = port_of(&mut lab, 4242, SERVERS[0]).unwrap();
    let second = port_of(&mut lab, 4243, SERVERS[0]).unwrap();
    assert_eq!(first + second, 6001);
    assert_eq!(port_of(&mut lab, 4242, SERVERS[1]), Some(first));
    let _ = lab
        .packet(Out, "em1", udp((CLIENT, 4244), SERVERS[1], 4))
        .drops(DropReason::MapFailed)
        .counts(
            "nat 0 evaluations 1
             reason map-failed 1
             searches 1",
        );
    lab.wait(71);
    assert_eq!(lab.engine.state_count(), 0);
    assert!(port_of(&mut lab, 4244, SERVERS[1]).is_some());
}

#[test]
fn endpoint_independent_and_static_port_keep_the_port_of_the_first_source() {
    let mut lab = Lab::router(natting(|pool| {
        pool.endpoint_independent = true;
        pool.static_port = true;
    }));
    for server in SERVERS {
        assert_eq!(port_of(&mut lab, 4242, server), Some(4242));
    }
    let _ = lab
        .packet(
            Out,
            "em1",
            udp(("10.0.0.10", 4242), ("198.51.100.99", 9), 4),
        )
        .drops(DropReason::MapFailed);
}

#[test]
fn connections_of_tcp_are_not_endpoint_independent() {
    let mut lab = Lab::router(natting(|pool| pool.endpoint_independent = true));
    let mut ports = SERVERS.map(|server| {
        let seen = lab
            .packet(Out, "em1", tcp((CLIENT, 4242), server, S, 1, 0, 0))
            .passes();
        meta(&seen.bytes).ports().unwrap().0
    });
    ports.sort_unstable();
    assert_ne!(ports[0], ports[1]);
}

#[test]
fn map_e_takes_the_ports_of_its_customer_alone() {
    let mut lab = Lab::router(natting(|pool| pool.port_set = PortSet::new(2, 12, 0x342)));
    let mut taken: Vec<u16> = (0..12)
        .map(|n| port_of(&mut lab, 2000 + n, SERVERS[0]).unwrap())
        .collect();
    taken.sort_unstable();
    let blocks = [19_720..=19_723, 36_104..=36_107, 52_488..=52_491];
    let all = blocks.into_iter().flatten().collect::<Vec<u16>>();
    assert_eq!(taken, all);
    let set = PortSet::new(2, 12, 0x342).unwrap();
    let told: Vec<u16> = (0..=u16::MAX).filter(|port| set.contains(*port)).collect();
    assert_eq!(told, all);
    assert_eq!(port_of(&mut lab, 3000, SERVERS[0]), None);
    assert!(port_of(&mut lab, 3000, SERVERS[1]).is_some());
}

#[test]
fn all_ports_towards_one_server_can_be_taken_and_come_back() {
    const PORTS: u16 = 1000;
    let mut lab = Lab::router(natting(|pool| {
        pool.ports = Some(PoolPorts::Range(20_000, 20_000 + PORTS - 1));
    }));
    for n in 0..PORTS {
        assert!(port_of(&mut lab, 1000 + n, SERVERS[0]).is_some(), "{n}");
    }
    for n in 0..3 {
        let _ = lab
            .packet(Out, "em1", udp((CLIENT, 5000 + n), SERVERS[0], 4))
            .drops(DropReason::MapFailed)
            .counts(
                "nat 0 evaluations 1
                 reason map-failed 1
                 searches 1",
            );
    }
    assert!(
        port_of(&mut lab, 5000, SERVERS[1]).is_some(),
        "another server"
    );
    let killed = kill(
        &mut lab,
        KillStates::Hosts(prefix("0.0.0.0/0"), Some(prefix(SERVERS[1].0))),
    );
    assert_eq!(killed, 1);
    assert_eq!(port_of(&mut lab, 5001, SERVERS[0]), None, "still full");
    lab.skip_time(61);
    assert!(
        port_of(&mut lab, 5001, SERVERS[0]).is_some(),
        "their time is over"
    );
}

#[test]
fn a_port_is_free_at_once_when_its_state_is_killed() {
    let mut lab = Lab::router(natting(|pool| {
        pool.ports = Some(PoolPorts::Range(20_000, 20_099));
    }));
    for n in 0..100 {
        assert!(port_of(&mut lab, 1000 + n, SERVERS[0]).is_some(), "{n}");
    }
    assert_eq!(port_of(&mut lab, 5000, SERVERS[0]), None);
    lab.engine.flush_states();
    assert!(port_of(&mut lab, 5000, SERVERS[0]).is_some());
}

#[test]
fn pools_without_addresses_drop_what_they_should_translate() {
    let kinds = [
        PoolKind::Single,
        PoolKind::RoundRobin,
        PoolKind::Random,
        PoolKind::Bitmask,
        PoolKind::SourceHash { key: [1, 2, 3, 4] },
    ];
    for target in ["<empty>", "(em2)"] {
        for kind in kinds {
            let rule = nat("em1", target).change(|r| r.nat.as_mut().unwrap().kind = kind);
            let mut ruleset = Ruleset {
                nat: vec![rule],
                ..Ruleset::default()
            };
            ruleset.tables.insert("empty".to_owned(), table(true, &[]));
            let mut lab = Lab::router(ruleset);
            assert_eq!(port_of(&mut lab, 1, SERVERS[0]), None, "{target} {kind:?}");
        }
    }
}

#[test]
fn ipv6_nat_to_an_interface_never_takes_its_link_local_address() {
    let mut lab = Lab::router(Ruleset {
        nat: vec![nat("em1", "(em1)").inet6()],
        ..Ruleset::default()
    });
    for port in 1..20 {
        let packet = udp(("2001:db8:a::2", port), ("2001:db8:9::9", 53), 3);
        let seen = lab.packet(Out, "em1", packet).passes();
        assert_eq!(meta(&seen.bytes).source, ip("2001:db8:b::1"));
    }
}

fn routed(kind: PoolKind, targets: &[(&str, &str)], tables: &[&str]) -> Lab {
    let rule: Rule = pass()
        .inbound()
        .route_by(RouteKind::RouteTo, kind, false, targets)
        .change(|rule| rule.route.as_mut().unwrap().pool.prefer_ipv6_nexthop = true)
        .keep();
    let mut ruleset = filter(&[rule]);
    ruleset.tables.insert("gw".to_owned(), table(true, tables));
    Lab::router(ruleset)
}

fn next_hop(lab: &mut Lab, port: u16) -> String {
    let packet = udp(("10.0.0.9", port), ("198.51.100.1", 53), 1);
    let seen = lab.packet(In, "em0", packet);
    let pf_engine::decision::Verdict::Pass(pf_engine::decision::Exit::Gateway { next_hop, .. }) =
        seen.decision.verdict
    else {
        panic!("{:?}", seen.decision);
    };
    next_hop.to_string()
}

#[test]
fn ipv4_packets_go_to_ipv6_next_hops_where_these_are_preferred() {
    let mut lab = routed(PoolKind::Single, &[("em1", "2001:db8:b::2")], &[]);
    assert_eq!(next_hop(&mut lab, 1), "2001:db8:b::2");
    let table = ["192.0.2.2", "2001:db8:b::2", "192.0.2.3", "2001:db8:b::3"];
    let mut lab = routed(PoolKind::RoundRobin, &[("em1", "<gw>")], &table);
    let hops: Vec<String> = (0..5).map(|n| next_hop(&mut lab, n + 1)).collect();
    assert_eq!(
        hops,
        [
            "2001:db8:b::2",
            "2001:db8:b::3",
            "192.0.2.2",
            "192.0.2.3",
            "2001:db8:b::2"
        ]
    );
    let mut lab = routed(PoolKind::Random, &[("em1", "<gw>")], &table);
    let mut hops: Vec<String> = (0..100).map(|n| next_hop(&mut lab, n + 1)).collect();
    hops.sort();
    hops.dedup();
    assert_eq!(hops, ["2001:db8:b::2", "2001:db8:b::3"]);
    let mut lab = routed(PoolKind::Random, &[("em1", "<gw>")], &["192.0.2.2/31"]);
    let mut hops: Vec<String> = (0..100).map(|n| next_hop(&mut lab, n + 1)).collect();
    hops.dedup();
    assert_eq!(hops, ["192.0.2.2"], "where there is no IPv6");
}

/// The cases `prefer_ipv6_nexthop_mixed_af_roundrobin_ipv4` and `_ipv6` of FreeBSD's `route_to.sh`.
#[test]
fn a_list_of_both_families_begins_with_its_second_host_where_ipv6_is_preferred() {
    let pool = [
        ("em1", "2001:db8:b::2"),
        ("em1", "2001:db8:b::42:0/127"),
        ("em1", "192.0.2.18"),
        ("em1", "<none>"),
        ("em1", "192.0.2.24/31"),
        ("em1", "<gw>"),
    ];
    let table = ["192.0.2.40/31", "192.0.2.44", "2001:db8:b::42:4/127"];
    let mut lab = routed(PoolKind::RoundRobin, &pool, &table);
    let hops: Vec<String> = (1..=12).map(|n| next_hop(&mut lab, n)).collect();
    let six = ["2001:db8:b::42:0", "2001:db8:b::42:1"];
    let of_table = ["2001:db8:b::42:4", "2001:db8:b::42:5"];
    let [zero, one] = six;
    let [four, five] = of_table;
    assert_eq!(
        hops,
        [
            zero,
            one,
            "192.0.2.18",
            "192.0.2.24",
            "192.0.2.25",
            four,
            five,
            "192.0.2.40",
            "192.0.2.41",
            "192.0.2.44",
            "2001:db8:b::2",
            zero,
        ]
    );
    let mut lab = routed(PoolKind::RoundRobin, &pool, &table);
    for hop in [zero, one, four, five, "2001:db8:b::2", zero] {
        let packet = udp(("2001:db8:a::2", 1), ("2001:db8:9::9", 53), 3);
        let _ = lab.packet(In, "em0", packet).leaves_by("em1", hop);
        lab.engine.flush_states();
    }
}

#[test]
fn ipv6_packets_have_no_ipv4_next_hops() {
    let mut lab = routed(PoolKind::RoundRobin, &[("em1", "192.0.2.2")], &[]);
    let packet = udp(("2001:db8:a::2", 1), ("2001:db8:9::9", 53), 3);
    let _ = lab.packet(In, "em0", packet).drops(DropReason::MapFailed);
}

#[test]
fn a_client_inside_reaches_a_server_inside_by_its_outside_address() {
    let mut lab = Lab::router(Ruleset {
        nat: vec![
            nat("em0", "(em0)")
                .inet()
                .from("10.0.0.0/24")
                .to("10.0.0.5"),
        ],
        rdr: vec![
            rdr("em0", "10.0.0.5", Some(8080))
                .to("192.0.2.1")
                .proto(pf_engine::addr::Protocol::TCP)
                .port(80),
        ],
        ..Ruleset::default()
    });
    let syn = tcp((CLIENT, 1025), ("192.0.2.1", 80), S, 1, 0, 0);
    let seen = lab
        .packet(In, "em0", syn)
        .passes()
        .becomes("10.0.0.9:1025 > 10.0.0.5:8080");
    let redirected = seen.bytes.clone();
    drop(seen);
    let seen = lab.packet(Out, "em0", redirected).passes();
    let out = meta(&seen.bytes);
    drop(seen);
    assert_eq!(
        out.source,
        ip("10.0.0.1"),
        "or the server would answer the client itself"
    );
    let (port, _) = out.ports().unwrap();
    let answer = tcp(("10.0.0.5", 8080), ("10.0.0.1", port), SA, 9, 2, 0);
    let seen = lab
        .packet(In, "em0", answer)
        .passes()
        .becomes("10.0.0.5:8080 > 10.0.0.9:1025");
    let back = seen.bytes.clone();
    drop(seen);
    let _ = lab
        .packet(Out, "em0", back)
        .passes()
        .becomes("192.0.2.1:80 > 10.0.0.9:1025")
        .counts(
            "rdr 0 out 1/40
             state 1 reply 1/40
             searches 1",
        );
}

#[test]
fn ipv6_redirections_and_translations_have_right_checksums() {
    let mut lab = Lab::router(Ruleset {
        nat: vec![nat("em1", "2001:db8:b::1").inet6()],
        rdr: vec![
            rdr("em1", "2001:db8:a::5", Some(8000))
                .proto(pf_engine::addr::Protocol::TCP)
                .port(80),
        ],
        ..Ruleset::default()
    });
    let client = ("2001:db8:9::9", 999);
    let _ = lab
        .packet(In, "em1", tcp(client, ("2001:db8:b::1", 80), S, 1, 0, 0))
        .passes()
        .becomes("2001:db8:9::9:999 > 2001:db8:a::5:8000");
    let _ = lab
        .packet(
            Out,
            "em1",
            tcp(("2001:db8:a::5", 8000), client, SA, 1, 2, 0),
        )
        .passes()
        .becomes("2001:db8:b::1:80 > 2001:db8:9::9:999");
    let seen = lab
        .packet(Out, "em1", udp(("2001:db8:a::2", 7), client, 60))
        .passes();
    let sent = seen.bytes.clone();
    drop(seen);
    let router = build::Ip::new(ip("2001:db8:7::1"), ip("2001:db8:b::1"));
    let error = build::icmp(&router, 2, 0, 1280, &sent);
    let seen = lab.packet(In, "em1", error).passes();
    let outer = meta(&seen.bytes);
    assert_eq!(outer.destination, ip("2001:db8:a::2"));
    let quoted = pf_engine::wire::Quoted::parse(&seen.bytes, &outer).unwrap();
    assert_eq!(
        (quoted.source, quoted.ports()),
        (ip("2001:db8:a::2"), Some((7, 999)))
    );
    let whole = &seen.bytes[outer.payload_offset..];
    assert_eq!(
        meta(whole).source,
        ip("2001:db8:a::2"),
        "the quoted checksum is right too"
    );
}

#[test]
fn a_network_of_ipv6_is_mapped_onto_another_address_by_address() {
    let mut rule = Rule::new(pf_engine::rule::Action::Binat)
        .on("em1")
        .from("2001:db8:a::/64");
    rule.nat = Some(pool("2001:db8:c::/64"));
    let mut lab = Lab::router(Ruleset {
        binat: vec![rule],
        ..Ruleset::default()
    });
    let _ = lab
        .packet(
            Out,
            "em1",
            udp(("2001:db8:a::77", 7), ("2001:db8:9::9", 9), 4),
        )
        .passes()
        .becomes("2001:db8:c::77:7 > 2001:db8:9::9:9");
    let _ = lab
        .packet(
            In,
            "em1",
            udp(("2001:db8:9::1", 1), ("2001:db8:c::5", 53), 4),
        )
        .passes()
        .becomes("2001:db8:9::1:1 > 2001:db8:a::5:53");
}

#[test]
fn protocols_without_ports_are_translated_for_one_host_at_a_time() {
    for protocol in [pf_engine::addr::Protocol(47), pf_engine::addr::Protocol(50)] {
        let mut lab = Lab::router(natting(|_| {}));
        let packet = |from: &str, to: &str| {
            build::packet(&build::Ip::new(ip(from), ip(to)), protocol, &[7; 40])
        };
        let seen = lab
            .packet(Out, "em1", packet(CLIENT, SERVERS[0].0))
            .passes();
        assert_eq!(meta(&seen.bytes).source, ip("192.0.2.1"));
        drop(seen);
        let seen = lab
            .packet(In, "em1", packet(SERVERS[0].0, "192.0.2.1"))
            .passes();
        assert_eq!(meta(&seen.bytes).destination, ip(CLIENT));
        drop(seen);
        let _ = lab
            .packet(Out, "em1", packet("10.0.0.10", SERVERS[0].0))
            .drops(DropReason::MapFailed);
        let _ = lab
            .packet(Out, "em1", packet("10.0.0.10", SERVERS[1].0))
            .passes();
    }
}
