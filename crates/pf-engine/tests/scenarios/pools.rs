//! Pools as rules use them.

use pf_engine::rule::{PoolKind, RouteKind};
use pf_engine::ruleset::Ruleset;

use super::harness::*;

fn hops(kind: PoolKind, sticky: bool, targets: &[(&str, &str)], sources: &[&str]) -> Vec<String> {
    let rule = pass()
        .inbound()
        .route_by(RouteKind::RouteTo, kind, sticky, targets)
        .keep();
    let mut ruleset: Ruleset = filter(&[rule]);
    ruleset.tables.insert(
        "gw".to_owned(),
        table(true, &["192.0.2.64/30", "192.0.2.70"]),
    );
    let mut lab = Lab::router(ruleset);
    let mut hops = Vec::new();
    for (port, source) in (1000..).zip(sources) {
        let seen = lab.packet(In, "em0", udp((source, port), ("198.51.100.1", 53), 1));
        let pf_engine::decision::Verdict::Pass(pf_engine::decision::Exit::Gateway {
            next_hop, ..
        }) = seen.decision.verdict
        else {
            panic!("{:?}", seen.decision);
        };
        hops.push(next_hop.to_string());
    }
    hops
}

#[test]
fn a_table_is_a_pool_too() {
    let sources = ["10.0.0.1"; 6];
    let taken = hops(PoolKind::RoundRobin, false, &[("em1", "<gw>")], &sources);
    assert_eq!(
        taken,
        [
            "192.0.2.64",
            "192.0.2.65",
            "192.0.2.66",
            "192.0.2.67",
            "192.0.2.70",
            "192.0.2.64",
        ]
    );
}

#[test]
fn random_takes_every_address_of_a_network_and_the_first_of_each_entry_of_a_table() {
    let sources: Vec<String> = (1..=200).map(|n| format!("10.0.0.{n}")).collect();
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let taken = |kind, target| {
        let mut taken = hops(kind, false, &[("em1", target)], &sources);
        taken.sort();
        taken.dedup();
        taken
    };
    let hash = PoolKind::SourceHash { key: [9, 8, 7, 6] };
    for kind in [PoolKind::Random, hash] {
        assert_eq!(taken(kind, "<gw>"), ["192.0.2.64", "192.0.2.70"]);
        assert_eq!(taken(kind, "192.0.2.64/30").len(), 4);
    }
}

#[test]
fn source_hash_and_sticky_address_keep_a_source_on_its_line() {
    let sources = ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"];
    let hash = PoolKind::SourceHash { key: [9, 8, 7, 6] };
    for (kind, sticky) in [
        (hash, false),
        (PoolKind::Random, true),
        (PoolKind::RoundRobin, true),
    ] {
        let taken = hops(kind, sticky, &[("em1", "192.0.2.64/26")], &sources);
        assert_eq!(taken[0], taken[2], "{kind:?}");
        assert_eq!(taken[1], taken[3], "{kind:?}");
    }
}

#[test]
fn a_sticky_source_moves_when_its_address_leaves_the_table() {
    let rule = pass()
        .inbound()
        .route_by(
            RouteKind::RouteTo,
            PoolKind::RoundRobin,
            true,
            &[("em1", "<gw>")],
        )
        .keep();
    let mut ruleset = filter(&[rule]);
    ruleset
        .tables
        .insert("gw".to_owned(), table(true, &["192.0.2.7", "192.0.2.8"]));
    let mut lab = Lab::router(ruleset);
    let from = |port| udp(("10.0.0.9", port), ("198.51.100.1", 53), 1);
    let _ = lab.packet(In, "em0", from(1)).leaves_by("em1", "192.0.2.7");
    lab.engine
        .table_delete("gw", &entries(&["192.0.2.7"]))
        .unwrap();
    let node = |lab: &Lab| {
        let mut nodes = lab.engine.sources(lab.now);
        let node = nodes.next().expect("a node");
        assert!(nodes.next().is_none(), "the only one");
        (node.target.map(|target| target.to_string()), node.states)
    };
    assert_eq!(node(&lab), (Some("192.0.2.7".to_owned()), 1));
    for (port, states) in [(2, 1), (4, 2)] {
        let _ = lab
            .packet(In, "em0", from(port))
            .leaves_by("em1", "192.0.2.8");
        assert_eq!(node(&lab), (Some("192.0.2.8".to_owned()), states));
    }
    assert_eq!(lab.engine.status().sources.removals, 1);
    let _ = lab.packet(In, "em0", from(1)).leaves_by("em1", "192.0.2.7");
    assert_eq!(node(&lab).1, 2, "the old state no longer counts");
    lab.engine.table_flush("gw").unwrap();
    let _ = lab
        .packet(In, "em0", from(3))
        .drops(pf_engine::decision::DropReason::MapFailed);
}
