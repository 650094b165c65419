//! Source tracking: who has how many states and connections, and what happens to who has too many.

mod flushing;

use pf_engine::addr::{Family, Protocol};
use pf_engine::decision::{Basis, DropReason, StateId};
use pf_engine::engine::{ForgetSources, KillStates, RuleList, SourceFilter};
use pf_engine::record::PoolUse;
use pf_engine::rule::{
    AfTo, Flush, Overload, Pool, PoolKind, Rate, RouteKind, Rule, SourceTrack, StateOptions,
    Timeout,
};
use pf_engine::ruleset::{Dialect, Limit, Ruleset};
use pf_engine::view::{NodeKind, SourceView};

use super::harness::*;
use super::persist::restarted;

const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn tracking(options: impl FnOnce(&mut StateOptions)) -> Rule {
    pass().inbound().keep().change(|rule| {
        rule.state_options.source.track = Some(SourceTrack::Rule);
        options(&mut rule.state_options);
    })
}

fn connections(max: Option<u32>, rate: Option<(u32, u32)>, flush: Option<Flush>) -> Ruleset {
    let rule = tracking(|options| {
        options.source.max_connections = max;
        options.source.max_connection_rate = rate.map(|(count, seconds)| Rate { count, seconds });
        options.source.overload = Some(Overload {
            table: "bad".to_owned(),
            flush,
        });
        let seconds = rate.map_or(0, |(_, seconds)| seconds);
        options.timeouts = vec![(Timeout::SrcTrack, seconds)];
    });
    let mut ruleset = filter(&[block().inbound().from("<bad>").quick(), rule]);
    ruleset.tables.insert("bad".to_owned(), table(true, &[]));
    ruleset
}

fn syn(host: &str, port: u16) -> Vec<u8> {
    tcp((host, port), SERVER, S, 1, 0, 0)
}

/// The whole handshake; what became of its last segment.
fn connect<'l>(lab: &'l mut Lab, host: &str, port: u16) -> Seen<'l> {
    let _ = lab.packet(In, "em0", syn(host, port)).passes();
    let answer = tcp(SERVER, (host, port), SA, 1000, 2, 0);
    let _ = lab.packet(Out, "em0", answer).passes();
    lab.packet(In, "em0", tcp((host, port), SERVER, A, 2, 1001, 0))
}

fn nodes(lab: &Lab) -> Vec<SourceView> {
    lab.engine.sources(lab.now).collect()
}

fn hosts_in(lab: &Lab, table: &str) -> Vec<String> {
    let page = lab.engine.table_page(table, None, usize::MAX);
    let entries = page.expect("the table").into_iter();
    entries.map(|(e, _)| e.prefix.to_string()).collect()
}

#[test]
fn a_source_that_is_tracked_has_a_node_with_its_states_packets_and_bytes() {
    let mut lab = Lab::router(filter(&[tracking(|_| {})]));
    let ping = echo("10.0.0.9", "192.0.2.80", 7);
    let _ = lab.packet(In, "em0", ping.clone()).passes().counts(
        "filter 0 created 1
         filter 0 evaluations 1
         filter 0 in 1/84
         filter 0 states 1
         inserts 1
         nodes inserts 1
         reason match 1
         searches 1
         state 1 forward 1/84",
    );
    let _ = lab.packet(In, "em0", ping).passes();
    let reply = echo_reply("192.0.2.80", "10.0.0.9", 7);
    let _ = lab.packet(Out, "em0", reply).passes();
    let [node] = nodes(&lab)[..] else {
        panic!("{:?}", nodes(&lab));
    };
    assert_eq!(node.address, ip("10.0.0.9"));
    assert_eq!((node.kind, node.target), (NodeKind::Limit, None));
    assert_eq!(node.rule, Some((RuleList::Filter, 0)));
    assert_eq!((node.states, node.connections), (1, 0));
    assert_eq!((node.packets, node.bytes), (3, 252));
    lab.engine.flush_states();
    assert_eq!(nodes(&lab), []);
    assert_eq!(lab.engine.status().sources.removals, 1);
}

#[test]
fn max_src_states_bounds_the_states_of_one_source_of_the_rule() {
    let rules = [
        tracking(|o| o.source.max_states = Some(2)),
        tracking(|_| {}),
    ];
    let [limited, other] = rules;
    let mut lab = Lab::router(filter(&[limited.port(80), other.port(53)]));
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 1)).passes();
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 2)).passes();
    let _ = lab
        .packet(In, "em0", syn("10.0.0.9", 3))
        .drops(DropReason::SrcLimit)
        .counts(
            "filter 0 evaluations 1
             filter 1 evaluations 1
             limit max-src-states 1
             reason match 1
             reason src-limit 1
             searches 1",
        );
    let _ = lab.packet(In, "em0", syn("10.0.0.8", 3)).passes();
    let dns = udp(("10.0.0.9", 9), ("192.0.2.80", 53), 5);
    let _ = lab.packet(In, "em0", dns).passes();
}

#[test]
fn source_track_global_counts_the_states_of_all_rules_that_say_so() {
    let global = |port| {
        tracking(|o| {
            o.source.track = Some(SourceTrack::Global);
            o.source.max_states = Some(1);
        })
        .proto(Protocol::TCP)
        .port(port)
    };
    let mut lab = Lab::router(filter(&[global(80), global(81)]));
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 1)).passes();
    let other = tcp(("10.0.0.9", 2), ("192.0.2.80", 81), S, 1, 0, 0);
    let _ = lab.packet(In, "em0", other).drops(DropReason::SrcLimit);
    assert_eq!(nodes(&lab)[0].rule, None);
}

#[test]
fn max_src_nodes_bounds_the_sources_of_the_rule() {
    let mut lab = Lab::router(filter(&[tracking(|o| o.source.max_nodes = Some(1))]));
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 1)).passes();
    let _ = lab
        .packet(In, "em0", syn("10.0.0.8", 1))
        .drops(DropReason::SrcLimit)
        .counts(
            "filter 0 evaluations 1
             limit max-src-nodes 1
             reason match 1
             reason src-limit 1
             searches 1",
        );
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 2)).passes();
}

#[test]
fn the_limit_of_source_nodes_is_named_when_it_is_hit() {
    let ruleset = limit(filter(&[tracking(|_| {})]), Limit::SrcNodes, 1);
    let mut lab = Lab::router(ruleset);
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 1)).passes();
    let _ = lab
        .packet(In, "em0", syn("10.0.0.8", 1))
        .drops(DropReason::Memory);
    assert_eq!(lab.engine.limit_hits()[Limit::SrcNodes as usize], 1);
}

#[test]
fn a_connection_counts_when_its_handshake_is_done() {
    let mut lab = Lab::router(connections(Some(1), None, None));
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 1)).passes();
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 2)).passes();
    assert_eq!((nodes(&lab)[0].states, nodes(&lab)[0].connections), (2, 0));
    let _ = connect(&mut lab, "10.0.0.9", 3).passes();
    assert_eq!(nodes(&lab)[0].connections, 1);
    assert_eq!(hosts_in(&lab, "bad"), Vec::<String>::new());
    let seen = connect(&mut lab, "10.0.0.9", 4);
    let _ = seen.drops(DropReason::SrcLimit).counts(
        "filter 1 states -1
         limit max-src-conn 1
         limit overload table insertion 1
         reason src-limit 1
         removals 1
         searches 1",
    );
    assert_eq!(hosts_in(&lab, "bad"), ["10.0.0.9"]);
    assert_eq!(lab.engine.state_count(), 3, "only the one too many is gone");
    let _ = lab
        .packet(In, "em0", syn("10.0.0.9", 5))
        .drops(DropReason::Match);
}

#[test]
fn connections_that_come_too_fast_fill_the_table_and_lose_the_states_of_the_rule() {
    let mut lab = Lab::router(connections(None, Some((2, 10)), Some(Flush::Rule)));
    for port in 1..=2 {
        let _ = connect(&mut lab, "10.0.0.9", port).passes();
    }
    let _ = connect(&mut lab, "10.0.0.8", 1).passes();
    let _ = connect(&mut lab, "10.0.0.9", 3)
        .drops(DropReason::SrcLimit)
        .counts(
            "filter 1 states -3
             limit max-src-conn-rate 1
             limit overload flush states 1
             limit overload table insertion 1
             reason src-limit 1
             removals 3
             searches 1",
        );
    assert_eq!(hosts_in(&lab, "bad"), ["10.0.0.9"]);
    assert_eq!(lab.engine.state_count(), 1, "the other source has its own");
    let idle = nodes(&lab)
        .into_iter()
        .find(|n| n.address == ip("10.0.0.9"));
    let idle = idle.expect("it is remembered as long as its rate is measured");
    assert_eq!((idle.states, idle.connections, idle.rate), (0, 0, 3000));
    assert_eq!(idle.expires_in.map(|left| left.as_secs()), Some(10));
    lab.wait(11);
    assert_eq!(nodes(&lab).len(), 1);
}

#[test]
fn the_rate_is_pfs_a_connection_fades_away_over_the_seconds() {
    let mut lab = Lab::router(connections(None, Some((2, 10)), None));
    for port in 1..=6 {
        let _ = connect(&mut lab, "10.0.0.9", port).passes();
        lab.wait(5);
    }
    assert_eq!(nodes(&lab)[0].connections, 6);
    assert!(nodes(&lab)[0].rate < 2000);
    let _ = connect(&mut lab, "10.0.0.9", 7).passes();
    let _ = connect(&mut lab, "10.0.0.9", 8).drops(DropReason::SrcLimit);
}

#[test]
fn flush_global_ends_states_of_other_rules_too() {
    let mut ruleset = connections(Some(1), None, Some(Flush::Global));
    ruleset.filter.push(pass().inbound().port(53).keep());
    let mut lab = Lab::router(ruleset);
    let dns = |host| udp((host, 9), ("192.0.2.80", 53), 5);
    let _ = lab.packet(In, "em0", dns("10.0.0.9")).passes();
    let _ = lab.packet(In, "em0", dns("10.0.0.8")).passes();
    let _ = connect(&mut lab, "10.0.0.9", 1).passes();
    let _ = connect(&mut lab, "10.0.0.9", 2).drops(DropReason::SrcLimit);
    let left: Vec<_> = lab.states().iter().map(|s| s.wire[0].address).collect();
    assert_eq!(left, [ip("10.0.0.8")]);
}

#[test]
fn a_full_table_takes_no_more_but_the_connection_is_refused_all_the_same() {
    let ruleset = connections(Some(1), None, None);
    let mut lab = Lab::router(limit(ruleset, Limit::TableEntries, 1));
    for host in ["10.0.0.9", "10.0.0.8"] {
        let _ = connect(&mut lab, host, 1).passes();
        let _ = connect(&mut lab, host, 2).drops(DropReason::SrcLimit);
    }
    assert_eq!(hosts_in(&lab, "bad"), ["10.0.0.9"]);
    assert_eq!(lab.engine.limit_hits()[Limit::TableEntries as usize], 1);
}

#[test]
fn nodes_for_limits_and_for_each_kind_of_pool_are_apart() {
    let gateways = [("em1", "192.0.2.7"), ("em1", "192.0.2.8")];
    let rule = tracking(|_| {})
        .on("em0")
        .route_by(RouteKind::RouteTo, PoolKind::RoundRobin, true, &gateways)
        .rdr_to("192.0.2.33", None)
        .change(|rule| {
            if let Some(pool) = &mut rule.rdr {
                pool.sticky = true;
            }
        });
    let out = pass().outbound().keep().nat_to("192.0.2.1").change(|rule| {
        if let Some(pool) = &mut rule.nat {
            pool.sticky = true;
        }
    });
    let mut lab = Lab::router(filter(&[rule, out]));
    let _ = lab
        .packet(In, "em0", syn("10.0.0.9", 1))
        .leaves_by("em1", "192.0.2.7");
    let kinds: Vec<_> = nodes(&lab).iter().map(|n| (n.kind, n.target)).collect();
    let wanted = [
        (NodeKind::Limit, None),
        (NodeKind::Sticky(PoolUse::Rdr), Some(ip("192.0.2.33"))),
        (NodeKind::Sticky(PoolUse::Route), Some(ip("192.0.2.7"))),
        (NodeKind::Sticky(PoolUse::Nat), Some(ip("192.0.2.1"))),
    ];
    assert_eq!(kinds, wanted);
    assert!(nodes(&lab).iter().all(|node| node.states == 1));
    let asked = |id| {
        let asked = lab.state(id).asked;
        let sticky = (asked.sticky_translation, asked.sticky_route);
        (asked.source_track, sticky)
    };
    assert_eq!(asked(1), (true, (true, true)));
    assert_eq!(asked(2), (false, (true, false)), "where it leaves");
}

#[test]
fn a_source_sticks_to_a_next_hop_of_the_other_family() {
    let gateways = [("em1", "2001:db8:b::7"), ("em1", "2001:db8:b::8")];
    let rule = pass()
        .inbound()
        .on("em0")
        .route_by(RouteKind::RouteTo, PoolKind::RoundRobin, true, &gateways)
        .keep()
        .change(|rule| {
            if let Some(route) = &mut rule.route {
                route.pool.prefer_ipv6_nexthop = true;
            }
        });
    let mut lab = Lab::router(filter(&[rule]));
    for (port, host, hop) in [
        (1, "10.0.0.9", "2001:db8:b::8"),
        (2, "10.0.0.8", "2001:db8:b::7"),
        (3, "10.0.0.9", "2001:db8:b::8"),
    ] {
        let _ = lab.packet(In, "em0", syn(host, port)).leaves_by("em1", hop);
    }
    let targets: Vec<_> = nodes(&lab).iter().map(|n| (n.states, n.target)).collect();
    let (first, second) = (ip("2001:db8:b::7"), ip("2001:db8:b::8"));
    assert_eq!(targets, [(1, Some(first)), (2, Some(second))]);
}

/// The case `mixed_af` of FreeBSD's `src_track.sh`. What `af-to` chose is remembered there and not used
/// for the next state; OpenBSD's is.
#[test]
fn a_source_that_changes_its_family_sticks_to_its_next_hop() {
    let gateways = [("em1", "192.0.2.18"), ("em1", "2001:db8:b::2")];
    let sticky = Pool {
        kind: PoolKind::RoundRobin,
        sticky: true,
        ..pool("203.0.113.0/24")
    };
    let rule = pass()
        .inbound()
        .on("em0")
        .inet6()
        .to("64:ff9b::/96")
        .route_by(RouteKind::RouteTo, PoolKind::RoundRobin, true, &gateways)
        .keep()
        .change(|rule| {
            if let Some(route) = &mut rule.route {
                route.pool.prefer_ipv6_nexthop = true;
            }
            rule.af_to = Some(AfTo {
                family: Family::Inet,
                from: sticky,
                to: None,
            });
        });
    for (dialect, sources) in [(Dialect::FreeBsd, [0, 1, 2]), (Dialect::OpenBsd, [0, 0, 1])] {
        let mut ruleset = filter(std::slice::from_ref(&rule));
        ruleset.dialect = dialect;
        let mut lab = Lab::router(ruleset);
        let (one, two) = ("2001:db8:44::1", "2001:db8:44::2");
        let (first, second) = ("192.0.2.18", "2001:db8:b::2");
        let connections = [(one, 4201, second), (one, 4202, second), (two, 4203, first)];
        for ((host, port, hop), source) in connections.into_iter().zip(sources) {
            let syn = tcp((host, port), ("64:ff9b::c000:264", 9), S, 1, 0, 0);
            let _ = lab
                .packet(In, "em0", syn)
                .leaves_by("em1", hop)
                .becomes(&format!("203.0.113.{source}:{port} > 192.0.2.100:9"));
        }
        let found = nodes(&lab).into_iter();
        let found: Vec<_> = found.map(|n| (n.address, n.target, n.states)).collect();
        let wanted = [
            (one, "203.0.113.0".to_owned(), 2),
            (two, format!("203.0.113.{}", sources[2]), 1),
            (one, second.to_owned(), 2),
            (two, first.to_owned(), 1),
        ];
        let wanted = wanted.map(|(host, target, states)| (ip(host), Some(ip(&target)), states));
        assert_eq!(found, wanted, "{dialect:?}");
    }
}

#[test]
fn killing_a_node_leaves_its_states_which_no_longer_count() {
    let mut lab = Lab::router(filter(&[tracking(|o| o.source.max_states = Some(1))]));
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 1)).passes();
    let _ = lab.packet(In, "em0", syn("10.0.0.8", 1)).passes();
    let filter = |text| SourceFilter {
        source: prefix(text),
        target: None,
    };
    assert_eq!(lab.engine.kill_sources(filter("10.0.0.9")), 1);
    assert_eq!(lab.engine.kill_sources(filter("10.0.0.9")), 0);
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 2)).passes();
    assert_eq!(nodes(&lab).len(), 2);
    assert_eq!(lab.engine.flush_sources(), 2);
    assert_eq!(lab.engine.state_count(), 3);
    lab.engine.flush_states();
    assert_eq!(lab.engine.sources(lab.now).count(), 0);
}

#[test]
fn nodes_are_removed_in_pieces_and_those_that_come_meanwhile_stay() {
    const PIECE: usize = 8;
    let mut lab = Lab::router(filter(&[tracking(|o| o.source.max_states = Some(1))]));
    let host = |last: usize| format!("10.0.0.{last}");
    for last in 10..50 {
        let _ = lab.packet(In, "em0", syn(&host(last), 1)).passes();
    }
    let mut forgetting = lab.engine.begin_forgetting(ForgetSources::All);
    assert!(lab.engine.go_on_forgetting(&mut forgetting, PIECE));
    assert_eq!((forgetting.forgotten(), nodes(&lab).len()), (PIECE, 32));
    // Of one whose node is gone, one whose node is still there, and two who had none.
    let _ = lab.packet(In, "em0", syn(&host(10), 2)).passes();
    let _ = lab
        .packet(In, "em0", syn(&host(49), 2))
        .drops(DropReason::SrcLimit);
    for last in [5, 60] {
        let _ = lab.packet(In, "em0", syn(&host(last), 1)).passes();
    }
    let mut pieces = 1;
    while lab.engine.go_on_forgetting(&mut forgetting, PIECE) {
        pieces += 1;
        assert!(forgetting.forgotten() <= pieces * PIECE);
    }
    assert_eq!(forgetting.forgotten(), 40);
    let left: Vec<_> = nodes(&lab).iter().map(|node| node.address).collect();
    assert_eq!(left, [5, 10, 60].map(|last| ip(&host(last))));
    // Older states of a source do not count for its new node, whatever becomes of them.
    let counted = |lab: &Lab| {
        nodes(lab)
            .iter()
            .map(|node| node.states)
            .collect::<Vec<_>>()
    };
    assert_eq!(counted(&lab), [1, 1, 1]);
    let first = kill(&mut lab, KillStates::Id(StateId(1), None));
    assert_eq!((first, counted(&lab)), (1, vec![1, 1, 1]));
    lab.load(filter(&[block()]));
    lab.engine.flush_states();
    assert_eq!(lab.engine.sources(lab.now).count(), 0);
}

#[test]
fn a_state_whose_node_was_removed_has_none_after_a_restart() {
    let ruleset = filter(&[tracking(|o| o.source.max_states = Some(1))]);
    let mut lab = Lab::router(ruleset.clone());
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 1)).passes();
    lab.engine.flush_sources();
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 2)).passes();
    let next = restarted(&lab, ruleset);
    assert_eq!(next.engine.state_count(), 2);
    assert_eq!(nodes(&next)[0].states, 1);
}

#[test]
fn nodes_whose_time_is_over_go_in_pieces_and_the_next_piece_is_due_at_once() {
    const PIECE: usize = 1024;
    let rule = tracking(|o| o.timeouts = vec![(Timeout::SrcTrack, 10)]);
    let mut lab = Lab::router(limit(filter(&[rule]), Limit::SrcNodes, 100_000));
    for number in 0..2_500 {
        let host = format!("10.1.{}.{}", number / 250, 1 + number % 250);
        let _ = lab.packet(In, "em0", udp((&host, 1), SERVER, 1)).passes();
    }
    lab.engine.flush_states();
    lab.skip_time(11);
    let mut left = vec![nodes(&lab).len()];
    while lab.engine.poll_timeout().is_some_and(|at| at <= lab.now) {
        lab.engine.handle_timeout(lab.now);
        left.push(nodes(&lab).len());
    }
    assert_eq!(left, [2_500, 2_500 - PIECE, 2_500 - 2 * PIECE, 0]);
}

#[test]
fn a_node_that_outlives_its_rule_keeps_the_rule() {
    let rule = tracking(|o| o.timeouts = vec![(Timeout::SrcTrack, 100)]);
    let mut lab = Lab::router(filter(&[rule]));
    let _ = lab.packet(In, "em0", syn("10.0.0.9", 1)).passes();
    lab.engine.flush_states();
    lab.load(filter(&[block(), block(), block()]));
    assert_eq!(nodes(&lab)[0].rule, None, "no longer in force");
    lab.wait(101);
    assert_eq!(nodes(&lab), []);
}

#[test]
fn the_end_of_a_handshake_is_never_left_to_a_flow_cache() {
    let mut lab = Lab::router(connections(Some(1), None, None));
    let seen = lab.packet(In, "em0", syn("10.0.0.9", 1));
    assert_eq!(seen.decision.basis, Basis::Packet);
    drop(seen);
    let seen = connect(&mut lab, "10.0.0.9", 2);
    assert!(matches!(seen.decision.basis, Basis::State(_)));
}

#[test]
fn nodes_their_connections_and_rates_outlive_a_restart() {
    let ruleset = connections(Some(2), Some((3, 60)), None);
    let mut lab = Lab::router(ruleset.clone());
    let _ = connect(&mut lab, "10.0.0.9", 1).passes();
    let _ = connect(&mut lab, "10.0.0.9", 2).passes();
    let _ = lab.packet(In, "em0", syn("10.0.0.7", 1)).passes();
    lab.skip_time(6);
    let before = nodes(&lab);
    let mut next = restarted(&lab, ruleset);
    let after = nodes(&next);
    assert_eq!(after, before);
    assert_eq!(after[1].connections, 2);
    let _ = connect(&mut next, "10.0.0.9", 3).drops(DropReason::SrcLimit);
}

#[test]
fn a_node_without_states_outlives_a_restart_as_long_as_it_would_have_lived() {
    let ruleset = connections(None, Some((3, 60)), None);
    let mut lab = Lab::router(ruleset.clone());
    let _ = connect(&mut lab, "10.0.0.9", 1).passes();
    lab.engine.flush_states();
    let mut next = restarted(&lab, ruleset);
    assert_eq!(nodes(&next), nodes(&lab));
    assert_eq!(nodes(&next)[0].rate, 1000);
    next.wait(61);
    assert_eq!(nodes(&next), []);
}
