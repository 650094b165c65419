//! Reloading, flushing, and what outlives it.

use pf_engine::anchor::AnchorPath;
use pf_engine::decision::DropReason;
use pf_engine::engine::KillStates;
use pf_engine::engine::{RuleList, TableError};
use pf_engine::ruleset::{Limit, TableDefinition};

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn labelled() -> pf_engine::ruleset::Ruleset {
    filter(&[pass().keep().label("web")])
}

#[test]
fn states_and_their_rules_outlive_a_reload() {
    let mut lab = Lab::router(labelled());
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 5)).passes();
    assert_eq!(lab.label("web"), (1, 1, 33));
    assert_eq!(lab.state(1).rule, Some(0));
    let epoch = lab.engine.epoch();
    lab.load(filter(&[block().label("web")]));
    assert!(lab.engine.epoch() > epoch);
    assert_eq!(
        lab.label("web"),
        (0, 0, 0),
        "a new rule counts from nothing"
    );
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 5))
        .passes_unchanged()
        .counts(
            "state 1 forward 1/33
         searches 1",
        );
    assert_eq!(lab.state(1).rule, None);
    let _ = lab
        .packet(In, "em0", udp(CLIENT, ("192.0.2.81", 1), 5))
        .drops(DropReason::Match);
    lab.engine.flush_states();
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 5))
        .drops(DropReason::Match);
}

#[test]
fn a_ruleset_with_too_many_addresses_changes_nothing() {
    let mut lab = Lab::router(labelled());
    let mut ruleset = limit(filter(&[block().from("<t>")]), Limit::TableEntries, 2);
    ruleset.tables.insert(
        "t".to_owned(),
        table(false, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
    );
    let refused = lab.engine.install(lab.now, ruleset);
    let (limit, wanted) = (2, 3);
    assert_eq!(
        refused,
        Err(TableError::TooManyEntries { limit, wanted }.into())
    );
    assert_eq!(lab.engine.rules(RuleList::Filter).count(), 1);
    assert_eq!(lab.engine.tables().count(), 0);
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 5)).passes();
}

#[test]
fn flushing_rules_keeps_translations_and_the_other_way_round() {
    let mut ruleset = filter(&[block().from("<t>"), block()]);
    ruleset.nat = vec![nat("em1", "(em1)").from("<n>")];
    ruleset
        .tables
        .insert("t".to_owned(), table(false, &["10.0.0.1"]));
    ruleset
        .tables
        .insert("n".to_owned(), table(false, &["10.0.0.0/8"]));
    let mut lab = Lab::router(ruleset.clone());
    lab.engine.flush_rules(&AnchorPath::main());
    assert_eq!(lab.engine.rules(RuleList::Filter).count(), 0);
    assert!(lab.engine.table("t").is_none(), "nothing refers to it");
    let _ = lab.packet(Out, "em1", udp(CLIENT, SERVER, 5)).passes();
    assert_eq!(lab.engine.state_count(), 1);
    lab.load(ruleset);
    lab.engine.flush_nat(&AnchorPath::main());
    assert_eq!(lab.engine.rules(RuleList::Nat).count(), 0);
    assert_eq!(lab.engine.rules(RuleList::Filter).count(), 2);
    assert!(lab.engine.table("n").is_none());
}

#[test]
fn tables_persist_over_a_reload_as_they_are_declared() {
    let mut ruleset = filter(&[block().from("<used>")]);
    ruleset
        .tables
        .insert("used".to_owned(), table(false, &["10.0.0.1"]));
    ruleset
        .tables
        .insert("kept".to_owned(), table(true, &["10.0.0.2"]));
    ruleset
        .tables
        .insert("vain".to_owned(), table(false, &["10.0.0.3"]));
    let mut lab = Lab::router(ruleset.clone());
    let names: Vec<&str> = lab.engine.tables().map(|t| t.name).collect();
    assert_eq!(names, ["kept", "used"]);
    lab.engine
        .table_add(lab.now, "kept", &entries(&["10.0.0.9"]))
        .unwrap();
    lab.engine
        .table_add(lab.now, "used", &entries(&["10.0.0.9"]))
        .unwrap();

    // Declared without contents they keep them, with contents they are set again.
    ruleset.tables.insert(
        "kept".to_owned(),
        TableDefinition {
            persist: true,
            ..TableDefinition::default()
        },
    );
    lab.load(ruleset.clone());
    assert_eq!(lab.engine.table("kept").unwrap().len, 2);
    assert_eq!(lab.engine.table("used").unwrap().len, 1);

    // No longer mentioned: the persistent one stays.
    lab.load(filter(&[]));
    let names: Vec<&str> = lab.engine.tables().map(|t| t.name).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(lab.engine.flush_tables(&AnchorPath::main()), 1);
    assert_eq!(lab.engine.tables().count(), 0);
}

#[test]
fn status_and_rule_counters_are_zeroed_on_request() {
    let mut lab = Lab::router(labelled());
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 5)).passes();
    lab.engine.clear_rule_counters();
    assert_eq!(lab.label("web"), (0, 0, 0));
    let rule = lab.engine.rules(RuleList::Filter).next().unwrap();
    assert_eq!(rule.counters.states, 1, "no counter but a fact");
    lab.engine.clear_status(lab.now);
    assert_eq!(lab.engine.status().searches, 0);
    assert_eq!(lab.engine.status().states, 1);
}

#[test]
fn states_are_listed_by_number_from_any_on() {
    let mut lab = Lab::router(labelled());
    for n in 0..5 {
        let _ = lab
            .packet(In, "em0", udp((CLIENT.0, 100 + n), SERVER, 5))
            .passes();
    }
    assert_eq!(
        kill(&mut lab, KillStates::Hosts(prefix("10.0.0.99"), None)),
        0
    );
    let ids: Vec<u64> = lab.states().iter().map(|s| s.id.0).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    let from = lab
        .engine
        .states_from(pf_engine::decision::StateId(4), lab.now);
    assert_eq!(from.map(|s| s.id.0).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn a_state_does_not_count_in_a_table_that_took_the_place_of_its_own() {
    let with_table = |name: &str| {
        let mut ruleset = filter(&[pass().from(&format!("<{name}>")).keep()]);
        ruleset
            .tables
            .insert(name.to_owned(), table(false, &["10.0.0.0/8"]));
        ruleset
    };
    let mut lab = Lab::router(with_table("first"));
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 5)).passes();
    lab.load(with_table("second"));
    lab.load(with_table("third"));
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 5))
        .passes()
        .counts(
            "state 1 forward 1/33
         searches 1",
        );
}
