//! Limits, and what happens at them.

use pf_engine::anchor::AnchorPath;
use pf_engine::decision::DropReason;
use pf_engine::engine::{InstallError, Staging, TableChange, TableError};
use pf_engine::limits::{LimitSource, LimitView};
use pf_engine::rule::{PoolKind, RouteKind, Timeout};
use pf_engine::ruleset::{Dialect, Limit, Parts};

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
        .drops(DropReason::Memory)
        .counts(
            "filter 0 evaluations 1
         reason match 1
         reason memory 1
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
    let _ = lab.packet(In, "em0", syn(1)).drops(DropReason::Memory);
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
    let mut ruleset = limit(filter(&[rule]), Limit::SrcNodes, 1);
    let mut lab = Lab::router(ruleset.clone());
    let from = |host: &str, port| udp((host, port), ("198.51.100.1", 53), 5);
    let _ = lab
        .packet(In, "em0", from("10.0.0.1", 1))
        .leaves_by("em1", "192.0.2.7");
    let _ = lab
        .packet(In, "em0", from("10.0.0.1", 2))
        .leaves_by("em1", "192.0.2.7");
    let _ = lab
        .packet(In, "em0", from("10.0.0.2", 3))
        .drops(DropReason::Memory);
    ruleset.dialect = Dialect::OpenBsd;
    lab.load(ruleset);
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

fn view(lab: &Lab, name: &str) -> LimitView {
    let mut views = lab.engine.limits().into_iter();
    views.find(|view| view.name == name).expect("a limit")
}

/// Use, most and hits.
fn gauge(lab: &Lab, name: &str) -> (u64, u64, u64) {
    let view = view(lab, name);
    (view.used, view.peak, view.hits)
}

#[test]
fn each_limit_tells_its_use_its_peak_and_its_hits() {
    let mut ruleset = limit(filter(&[pass().keep()]), Limit::States, 2);
    ruleset.options.timeouts = vec![(Timeout::AdaptiveStart, 0)];
    let mut lab = Lab::router(ruleset);
    for port in 1..=4 {
        let _ = lab.packet(In, "em0", syn(port));
    }
    assert_eq!(gauge(&lab, "states"), (2, 2, 2));
    lab.engine.flush_states();
    assert_eq!(gauge(&lab, "states"), (0, 2, 2));
    let (states, frags) = (view(&lab, "states"), view(&lab, "frags"));
    assert_eq!((states.value, states.source), (2, LimitSource::Set));
    assert_eq!((frags.value, frags.source), (5_000, LimitSource::Default));
    assert_eq!(view(&lab, "fragment-bytes").source, LimitSource::Fixed);
}

#[test]
fn limits_that_are_not_set_grow_with_the_memory_and_adaptive_timeouts_with_them() {
    let mut lab = Lab::router(filter(&[pass().keep()]));
    assert_eq!(lab.engine.limit(Limit::States), 100_000);
    lab.engine.set_memory(16 << 30);
    assert_eq!(lab.engine.limit(Limit::States), 1_048_000);
    assert_eq!(lab.engine.limit(Limit::TableEntries), 3_355_000);
    let start = |lab: &Lab| lab.engine.timeouts().value(Timeout::AdaptiveStart);
    assert_eq!(start(&lab), 628_800);
    let ruleset = limit(filter(&[pass().keep()]), Limit::States, 500);
    lab.engine.install(lab.now, ruleset).unwrap();
    assert_eq!((lab.engine.limit(Limit::States), start(&lab)), (500, 300));
    lab.engine.reset_options();
    assert_eq!(
        (lab.engine.limit(Limit::States), start(&lab)),
        (1_048_000, 628_800)
    );
}

#[test]
fn no_limit_of_states_ends_where_the_memory_does() {
    let mut ruleset = limit(filter(&[pass().keep()]), Limit::States, 0);
    ruleset.options.timeouts = vec![(Timeout::TcpFirst, 60)];
    let mut lab = Lab::router(ruleset);
    // Room for three.
    lab.engine.set_memory(2 * 3 * Limit::States.entry_bytes());
    for port in 1..=3 {
        let _ = lab.packet(In, "em0", syn(port)).passes();
    }
    let _ = lab.packet(In, "em0", syn(4)).drops(DropReason::Memory);
    assert_eq!(lab.engine.limit(Limit::States), 0, "as it was set");
    assert_eq!(gauge(&lab, "states"), (3, 3, 1));
    // Nothing to scale by: states live as long as they would.
    lab.skip_time(59);
    assert_eq!(lab.engine.state_count(), 3);
}

#[test]
fn more_tables_than_the_limit_are_refused_by_name_and_those_that_are_there_stay() {
    let mut ruleset = limit(filter(&[block().from("<a>")]), Limit::Tables, 2);
    ruleset
        .tables
        .insert("a".to_owned(), table(true, &["10.0.0.1"]));
    let mut lab = Lab::router(ruleset.clone());
    let one = entries(&["10.0.0.7"]);
    assert_eq!(lab.engine.table_add(lab.now, "b", &one), Ok(1));
    let refused = Err(TableError::TooManyTables { limit: 2 });
    assert_eq!(lab.engine.table_add(lab.now, "c", &one), refused);
    assert_eq!(gauge(&lab, "tables"), (2, 2, 1));
    let mut more = ruleset.clone();
    more.filter.push(block().from("<c>"));
    let refused = lab.engine.install(lab.now, more);
    let expected = InstallError::Table(TableError::TooManyTables { limit: 2 });
    assert_eq!(refused, Err(expected));
    assert_eq!(
        lab.engine
            .rules(pf_engine::engine::RuleList::Filter)
            .count(),
        1
    );
    lab.engine.install(lab.now, ruleset).unwrap();
    assert_eq!(gauge(&lab, "tables"), (2, 2, 2));
}

#[test]
fn a_change_in_pieces_comes_to_the_same_as_one_at_once() {
    let names = ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let given = entries(&names);
    let mut lab = Lab::router(filter(&[block().from("<t>"), pass().keep()]));
    let main = AnchorPath::main;
    let add = |given: &[_]| TableChange::add(main(), "t".to_owned(), given.to_vec());
    let mut change = add(&given);
    let mut pieces = 0;
    while lab.engine.change_table(lab.now, &mut change, 2).unwrap() {
        pieces += 1;
        // Packets have their turn.
        let _ = lab.packet(In, "em0", syn(pieces)).passes();
    }
    assert_eq!(pieces, 3, "two to count, two to add");
    assert_eq!((change.outcome().given, change.outcome().added), (4, 4));
    assert!(change.outcome().created);
    let mut deletion = TableChange::delete(main(), "t".to_owned(), entries(&names[..3]));
    while lab.engine.change_table(lab.now, &mut deletion, 1).unwrap() {}
    assert_eq!(deletion.outcome().deleted, 2);
    let new = entries(&["!10.0.0.3", "10.0.0.9"]);
    let mut replacement = TableChange::replace(main(), "t".to_owned(), new.clone());
    assert!(
        lab.engine
            .change_table(lab.now, &mut replacement, 1)
            .unwrap()
    );
    assert_eq!(
        lab.engine.table_len("t"),
        Some(2),
        "nothing is seen of it yet"
    );
    while lab
        .engine
        .change_table(lab.now, &mut replacement, 1)
        .unwrap()
    {}
    let done = replacement.outcome();
    assert_eq!((done.added, done.deleted, done.changed), (1, 1, 1));
    let page = lab.engine.table_page("t", None, 9).unwrap();
    assert_eq!(page.iter().map(|(e, _)| *e).collect::<Vec<_>>(), new);
}

#[test]
fn a_change_that_would_not_fit_changes_nothing() {
    let mut lab = Lab::router(limit(
        filter(&[block().from("<t>")]),
        Limit::TableEntries,
        3,
    ));
    lab.engine
        .table_add(lab.now, "t", &entries(&["10.0.0.1"]))
        .unwrap();
    let more = entries(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    let mut change = TableChange::add(AnchorPath::main(), "t".to_owned(), more);
    let refused = loop {
        match lab.engine.change_table(lab.now, &mut change, 1) {
            Ok(true) => {}
            other => break other,
        }
    };
    let (limit, wanted) = (3, 4);
    assert_eq!(refused, Err(TableError::TooManyEntries { limit, wanted }));
    assert_eq!(gauge(&lab, "table-entries"), (1, 1, 1));
}

#[test]
fn a_ruleset_whose_tables_are_made_ready_in_pieces_is_installed_at_once() {
    let mut ruleset = filter(&[pass().keep(), block().from("<t>")]);
    let names = ["10.0.0.9", "10.0.0.1", "10.0.0.2"];
    ruleset.tables.insert("t".to_owned(), table(false, &names));
    ruleset
        .tables
        .insert("u".to_owned(), table(true, &names[..2]));
    let mut lab = Lab::router(filter(&[pass().keep()]));
    let mut staging = Staging::new(AnchorPath::main(), Parts::ALL, ruleset);
    let mut pieces = 1;
    while lab.engine.stage(lab.now, &mut staging, 2) {
        pieces += 1;
        let _ = lab.packet(In, "em0", syn(pieces)).passes();
    }
    assert_eq!(pieces, 3);
    lab.engine.install_staged(lab.now, staging).unwrap();
    let _ = lab.packet(In, "em0", syn(9)).drops(DropReason::Match);
    assert_eq!(lab.engine.table_len("u"), Some(2));
}

#[test]
fn pages_of_a_table_are_in_the_order_of_addresses_over_all_lengths() {
    let names = [
        "10.0.0.0/8",
        "10.0.0.0/16",
        "10.0.0.1",
        "10.1.0.0/16",
        "11.0.0.0/8",
    ];
    let names = [&names[..], &["2001:db8::/32", "2001:db8::1"]].concat();
    let all = entries(&names);
    let mut lab = Lab::router(filter(&[block().from("<t>")]));
    lab.engine.table_add(lab.now, "t", &all).unwrap();
    for size in 1..=all.len() + 1 {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = lab.engine.table_page("t", after, size).unwrap();
            seen.extend(page.iter().map(|(entry, _)| *entry));
            match page.last() {
                Some((entry, _)) if page.len() == size => after = Some(entry.prefix),
                _ => break,
            }
        }
        assert_eq!(seen, all, "pages of {size}");
    }
}
