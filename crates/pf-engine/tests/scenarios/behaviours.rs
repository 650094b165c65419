//! Rows of the table in docs/compat.md that no other file holds: cases of PF's own suites, mostly
//! the IPv6 half or a combination of two features.

use pf_engine::addr::Protocol;
use pf_engine::criteria::OwnerMatch;
use pf_engine::decision::{DropReason, Exit, Verdict};
use pf_engine::env::SocketOwner;
use pf_engine::rule::{
    Address, DynamicAddress, DynamicPart, Endpoint, PoolKind, RouteKind, Rule, StatePolicy,
};
use pf_engine::ruleset::Ruleset;
use pf_engine::view::HostPort;

use super::harness::*;

const SERVER_V6: (&str, u16) = ("2001:db8:99::80", 80);
const OWN_V6: (&str, u16) = ("2001:db8:c::1", 53);
const GATEWAY_V6: [(&str, &str); 1] = [("em2", "2001:db8:c::fe")];

/// Three interfaces with both families.
fn lab(ruleset: Ruleset) -> Lab {
    let interfaces = vec![
        interface(1, "em0", &["10.0.0.1/24", "2001:db8:a::1/64"]),
        interface(2, "em1", &["192.0.2.1/24", "2001:db8:b::1/64"]),
        interface(3, "em2", &["10.2.0.1/24", "2001:db8:c::1/64"]),
    ];
    Lab::new(interfaces, ruleset)
}

fn if_bound(rules: &[Rule]) -> Ruleset {
    let mut ruleset = filter(rules);
    ruleset.options.state_policy = StatePolicy::IfBound;
    ruleset
}

fn dynamic(interface: &str, no_aliases: bool) -> Endpoint {
    Endpoint {
        negated: false,
        address: Address::Dynamic(DynamicAddress {
            interface: interface.to_owned(),
            part: DynamicPart::Host,
            no_aliases,
            prefix_len: None,
        }),
        port: None,
    }
}

/// FreeBSD's PR 228782: the owner is asked for a packet whose way the rule before has changed.
#[test]
fn route_to_without_state_beside_a_rule_about_users_routes_each_packet_of_both_families() {
    for (own, server, gateway) in [
        (("192.0.2.1", 999), ("198.51.100.80", 80), "10.2.0.254"),
        (("2001:db8:b::1", 999), SERVER_V6, "2001:db8:c::fe"),
    ] {
        let routed = pass()
            .outbound()
            .on("em1")
            .route(RouteKind::RouteTo, &[("em2", gateway)]);
        let owned = pass()
            .outbound()
            .on("em2")
            .proto(Protocol::TCP)
            .change(|rule| rule.criteria.user = Some(OwnerMatch::Eq(1000)));
        let mut lab = lab(filter(&[routed, owned]));
        let end = HostPort {
            address: ip(own.0),
            port: own.1,
        };
        let user = SocketOwner {
            user: 1000,
            group: None,
        };
        lab.env.add_socket(Protocol::TCP, end, user);
        let syn = tcp(own, server, S, 1, 0, 0);
        let bytes = syn.len();
        for _ in 0..2 {
            let _ = lab
                .packet(Out, "em1", syn.clone())
                .leaves_by("em2", gateway)
                .counts(&format!(
                    "filter 0 evaluations 2
                     filter 0 out 1/{bytes}
                     filter 1 evaluations 2
                     filter 1 out 1/{bytes}
                     reason match 2
                     searches 2"
                ));
        }
        assert_eq!(lab.engine.state_count(), 0);
    }
}

#[test]
fn an_ipv6_state_of_an_outbound_route_to_is_bound_to_where_it_leads() {
    let routed = pass()
        .outbound()
        .on("em1")
        .route(RouteKind::RouteTo, &GATEWAY_V6)
        .keep();
    let mut lab = lab(if_bound(&[block(), routed]));
    for _ in 0..2 {
        let _ = lab
            .packet(Out, "em1", udp(OWN_V6, SERVER_V6, 1))
            .leaves_by("em2", GATEWAY_V6[0].1);
    }
    let state = lab.state(1);
    assert_eq!((state.interface, state.original_interface), ("em2", "em1"));
    let _ = lab
        .packet(In, "em0", udp(SERVER_V6, OWN_V6, 1))
        .drops(DropReason::Match);
    let _ = lab
        .packet(In, "em2", udp(SERVER_V6, OWN_V6, 1))
        .passes()
        .counts(
            "filter 1 in 1/49
             state 1 reply 1/49
             searches 1",
        );
}

#[test]
fn an_ipv6_answer_goes_back_by_reply_to_whatever_the_state_policy() {
    for policy in [StatePolicy::Floating, StatePolicy::IfBound] {
        let answered = pass()
            .inbound()
            .on("em2")
            .route(RouteKind::ReplyTo, &GATEWAY_V6)
            .keep();
        let mut ruleset = filter(&[block(), answered]);
        ruleset.options.state_policy = policy;
        let mut lab = lab(ruleset);
        let _ = lab.packet(In, "em2", udp(SERVER_V6, OWN_V6, 1)).passes();
        let _ = lab
            .packet(Out, "em1", udp(OWN_V6, SERVER_V6, 1))
            .leaves_by("em2", GATEWAY_V6[0].1)
            .counts(
                "filter 1 out 1/49
                 state 1 reply 1/49
                 searches 1",
            );
    }
}

#[test]
fn a_dead_next_hop_gets_nothing_of_least_states_although_it_has_the_fewest() {
    let targets = [("em1", "192.0.2.254"), ("em2", "10.2.0.254")];
    let rule = pass()
        .inbound()
        .on("em0")
        .route_by(RouteKind::RouteTo, PoolKind::LeastStates, false, &targets)
        .keep();
    let mut lab = lab(filter(&[rule]));
    let hop = |lab: &mut Lab, port| {
        let packet = udp(("10.0.0.9", port), ("198.51.100.80", 80), 1);
        let seen = lab.packet(In, "em0", packet);
        let Verdict::Pass(Exit::Gateway { next_hop, .. }) = seen.decision.verdict else {
            panic!("{:?}", seen.decision);
        };
        next_hop.to_string()
    };
    let dead = |lab: &mut Lab, usable| {
        let (interface, address) = targets[1];
        let changed = lab
            .engine
            .set_next_hop_usable(interface, ip(address), usable);
        assert!(changed);
    };
    dead(&mut lab, false);
    for port in 1..=6 {
        assert_eq!(hop(&mut lab, port), targets[0].1);
    }
    // Once it is back it has the fewest, until the two are even.
    dead(&mut lab, true);
    for port in 7..=12 {
        assert_eq!(hop(&mut lab, port), targets[1].1);
    }
}

#[test]
fn an_interface_without_aliases_is_its_first_address_of_each_family() {
    let to = |no_aliases| {
        pass().inbound().change(|rule| {
            rule.destination = dynamic("em9", no_aliases);
        })
    };
    let addresses = [
        "10.9.0.1/24",
        "10.9.0.2/24",
        "fe80::9/64",
        "2001:db8:9::1/64",
        "2001:db8:9::2/64",
    ];
    for (no_aliases, alias_passes) in [(true, false), (false, true)] {
        let interfaces = vec![interface(9, "em9", &addresses)];
        let mut lab = Lab::new(interfaces, filter(&[block(), to(no_aliases)]));
        let passes = |lab: &mut Lab, from: &str, to: &str| {
            let seen = lab.packet(In, "em9", udp((from, 5), (to, 53), 1));
            seen.decision.verdict == Verdict::Pass(Exit::Continue)
        };
        assert!(passes(&mut lab, "10.9.0.9", "10.9.0.1"));
        assert!(passes(&mut lab, "2001:db8:9::9", "2001:db8:9::1"));
        assert_eq!(passes(&mut lab, "10.9.0.9", "10.9.0.2"), alias_passes);
        assert_eq!(
            passes(&mut lab, "2001:db8:9::9", "2001:db8:9::2"),
            alias_passes
        );
        // An address that comes later is an alias, too.
        lab.set_interfaces(|all| {
            all[0] = interface(9, "em9", &["10.9.0.1/24", "10.9.0.3/24"]);
        });
        assert_eq!(passes(&mut lab, "10.9.0.9", "10.9.0.3"), alias_passes);
    }
}

/// FreeBSD's PR 251414.
#[test]
fn a_table_that_gets_counters_by_a_reload_goes_on_and_counts() {
    let mut ruleset = filter(&[pass(), block().inbound().from("<bad>")]);
    let plain = table(true, &["10.0.0.0/8"]);
    ruleset.tables.insert("bad".to_owned(), plain);
    let mut lab = lab(ruleset.clone());
    let packet = || udp(("10.0.0.9", 5), ("198.51.100.80", 53), 2);
    let _ = lab.packet(In, "em0", packet()).drops(DropReason::Match);
    let counted = |lab: &Lab| -> Vec<u64> {
        let all = lab.engine.table_address_counters("bad");
        all.map(|(_, counters)| counters.blocked.packets_in)
            .collect()
    };
    ruleset.tables.get_mut("bad").unwrap().counters = true;
    lab.load(ruleset.clone());
    let _ = lab.packet(In, "em0", packet()).drops(DropReason::Match);
    assert_eq!(counted(&lab), [1], "from when it was told to");
    ruleset.tables.get_mut("bad").unwrap().counters = false;
    lab.load(ruleset);
    let _ = lab.packet(In, "em0", packet()).drops(DropReason::Match);
    assert_eq!(lab.engine.table("bad").unwrap().blocked.packets_in, 3);
}

/// What OpenBSD's `pf_table` asks of its table: every prefix length from /1 to /32, each inside
/// the one before and each the opposite of it, and six of IPv6.
#[test]
fn every_prefix_length_hits_and_misses_and_both_are_counted() {
    let nested = |bits: u32, len: u8| {
        let mask = u32::MAX << (32 - u32::from(len));
        std::net::Ipv4Addr::from_bits(bits & mask)
    };
    // Alternating bits: a host that leaves the nest at bit n fits n prefixes.
    let bits = 0x0a55_aa55;
    let mut texts: Vec<String> = (1..=32_u8)
        .map(|len| {
            let sign = if len % 2 == 0 { "!" } else { "" };
            format!("{sign}{}/{len}", nested(bits, len))
        })
        .collect();
    let six = [3, 20, 48, 64, 127, 128];
    for len in six {
        let whole = u128::from_str_radix("20010db8005500550055005500550055", 16).unwrap();
        let address = std::net::Ipv6Addr::from_bits(whole & (u128::MAX << (128 - len)));
        let sign = if len % 2 == 0 { "!" } else { "" };
        texts.push(format!("{sign}{address}/{len}"));
    }
    assert_eq!(texts.len(), 38);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut ruleset = filter(&[pass(), block().inbound().from("<nest>")]);
    ruleset
        .tables
        .insert("nest".to_owned(), table(true, &texts));
    let mut lab = lab(ruleset);
    let (mut hits, mut misses) = (0, 0);
    for len in 1..=32_u8 {
        // It differs from the nest behind bit `len`, or nowhere.
        let leaves = if len == 32 {
            0
        } else {
            1 << (31 - u32::from(len))
        };
        let source = std::net::Ipv4Addr::from_bits(bits ^ leaves).to_string();
        let seen = lab.packet(In, "em0", udp((&source, 5), ("198.51.100.80", 53), 1));
        let hit = seen.decision.verdict == Verdict::Drop(DropReason::Match);
        assert_eq!(hit, len % 2 == 1, "{source} fits {len} prefixes");
        drop(seen);
        if hit { hits += 1 } else { misses += 1 }
    }
    let counted = lab.engine.table("nest").unwrap();
    assert_eq!((counted.matches, counted.misses), (hits, misses));
    assert_eq!((hits, misses), (16, 16));
    let _ = lab
        .packet(In, "em0", udp(("2001:db8:55:55::9", 5), SERVER_V6, 1))
        .passes()
        .counts(
            "filter 0 evaluations 1
             filter 1 evaluations 1
             filter 0 in 1/49
             table nest nomatch 1
             reason match 1
             searches 1",
        );
    let _ = lab
        .packet(In, "em0", udp(("2001:db8:77::9", 5), SERVER_V6, 1))
        .passes();
    let _ = lab
        .packet(In, "em0", udp(("3001::9", 5), SERVER_V6, 1))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
             filter 1 evaluations 1
             filter 1 in 1/49
             table nest match 1
             table nest in-block 1/49
             reason match 1
             searches 1",
        );
}
