//! Limits, and what happens at them.

use pf_engine::decision::DropReason;
use pf_engine::rule::{PoolKind, RouteKind, Timeout};
use pf_engine::ruleset::Limit;

use super::harness::*;

fn syn(n: u16) -> Vec<u8> {
    tcp(("10.0.0.9", n), ("192.0.2.80", 80), S, 1, 0, 0)
}

#[test]
fn the_state_limit_refuses_new_states_and_counts_it() {
    let ruleset = limit(filter(&[pass().keep()]), Limit::States, 2);
    let mut ruleset = ruleset;
    ruleset.options.timeouts = vec![(Timeout::AdaptiveStart, 0)];
    let mut lab = Lab::router(ruleset);
    let _ = lab.packet(In, "em0", syn(1)).passes();
    let _ = lab.packet(In, "em0", syn(2)).passes();
    let _ = lab
        .packet(In, "em0", syn(3))
        .drops(DropReason::StateLimit)
        .counts(
            "filter 0 evaluations 1
         reason match 1
         reason state-limit 1
         searches 1",
        );
    let _ = lab.packet(In, "em0", syn(1)).passes();
    assert_eq!(lab.engine.flush_states(), 2);
    let _ = lab.packet(In, "em0", syn(3)).passes();
    assert_eq!(lab.engine.limit(Limit::States), 2);
    assert_eq!(lab.engine.limit(Limit::Frags), 5000);
}

#[test]
fn a_routed_packet_that_needs_two_states_makes_both_or_none() {
    let gateway = [("em1", "192.0.2.254")];
    let mut ruleset = filter(&[
        pass()
            .inbound()
            .on("em0")
            .route(RouteKind::RouteTo, &gateway)
            .keep(),
        pass().outbound().on("em1").keep(),
    ]);
    ruleset.options.limits = vec![(Limit::States, 1)];
    ruleset.options.timeouts = vec![(Timeout::AdaptiveStart, 0)];
    let mut lab = Lab::router(ruleset.clone());
    let _ = lab.packet(In, "em0", syn(1)).drops(DropReason::StateLimit);
    assert_eq!(lab.engine.state_count(), 0);
    ruleset.options.limits = vec![(Limit::States, 2)];
    lab.load(ruleset);
    let _ = lab
        .packet(In, "em0", syn(1))
        .leaves_by("em1", "192.0.2.254");
    assert_eq!(lab.engine.state_count(), 2);
}

#[test]
fn a_rules_max_bounds_its_states() {
    let rule = pass().keep().change(|r| r.state_options.max = Some(1));
    let mut lab = Lab::router(filter(&[rule]));
    let _ = lab.packet(In, "em0", syn(1)).passes();
    let _ = lab.packet(In, "em0", syn(2)).drops(DropReason::StateLimit);
}

#[test]
fn the_limit_of_source_nodes_refuses_new_sources() {
    let gateways = [("em1", "192.0.2.7"), ("em1", "192.0.2.8")];
    let rule = pass()
        .inbound()
        .route_by(RouteKind::RouteTo, PoolKind::RoundRobin, true, &gateways)
        .keep();
    let mut lab = Lab::router(limit(filter(&[rule]), Limit::SrcNodes, 1));
    let from = |host: &str, port| udp((host, port), ("198.51.100.1", 53), 5);
    let _ = lab
        .packet(In, "em0", from("10.0.0.1", 1))
        .leaves_by("em1", "192.0.2.7");
    let _ = lab
        .packet(In, "em0", from("10.0.0.1", 2))
        .leaves_by("em1", "192.0.2.7");
    let _ = lab
        .packet(In, "em0", from("10.0.0.2", 3))
        .drops(DropReason::SrcLimit);
    lab.engine.flush_states();
    let _ = lab.packet(In, "em0", from("10.0.0.2", 3));
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn timeouts_shrink_as_the_table_fills() {
    let mut ruleset = filter(&[pass().keep()]);
    ruleset.options.timeouts = vec![(Timeout::AdaptiveStart, 1), (Timeout::AdaptiveEnd, 5)];
    let mut lab = Lab::router(ruleset);
    for n in 1..=3 {
        let _ = lab.packet(In, "em0", syn(n)).passes();
    }
    assert_eq!(
        lab.state(1).expires_in.as_secs(),
        60,
        "120 seconds * (5 - 3) / (5 - 1)"
    );
}
