//! Tables in rules, and their counters.

use pf_engine::decision::DropReason;
use pf_engine::engine::{ReplaceOutcome, TableError};
use pf_engine::ruleset::Ruleset;

use super::harness::*;

fn ruleset() -> Ruleset {
    let mut ruleset = filter(&[pass(), block().inbound().from("<bad>")]);
    ruleset.tables.insert(
        "bad".to_owned(),
        table(true, &["10.0.0.0/8", "!10.0.0.0/24"]),
    );
    ruleset
}

fn from(address: &str) -> Vec<u8> {
    udp((address, 5), ("192.0.2.80", 53), 2)
}

#[test]
fn the_longest_prefix_decides_and_everything_is_counted() {
    let mut lab = Lab::router(ruleset());
    let _ = lab
        .packet(In, "em0", from("10.1.0.1"))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/30
         table bad match 1
         table bad in-block 1/30
         reason match 1
         searches 1",
        );
    let _ = lab.packet(In, "em0", from("10.0.0.1")).passes().counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 0 in 1/30
         table bad nomatch 1
         reason match 1
         searches 1",
    );
}

#[test]
fn changes_by_hand_count_from_the_next_packet_on() {
    let mut lab = Lab::router(ruleset());
    let _ = lab.packet(In, "em0", from("172.16.0.1")).passes();
    assert_eq!(
        lab.engine
            .table_add(lab.now, "bad", &entries(&["172.16.0.0/12"])),
        Ok(1)
    );
    let _ = lab
        .packet(In, "em0", from("172.16.0.1"))
        .drops(DropReason::Match);
    assert_eq!(lab.engine.table_test("bad", prefix("172.16.9.9")), Ok(true));
    assert_eq!(
        lab.engine.table_delete("bad", &entries(&["172.16.0.0/12"])),
        Ok(1)
    );
    let _ = lab.packet(In, "em0", from("172.16.0.1")).passes();
    let outcome = lab
        .engine
        .table_replace(lab.now, "bad", &entries(&["172.16.0.1", "10.0.0.0/8"]));
    assert_eq!(
        outcome,
        Ok(ReplaceOutcome {
            added: 1,
            deleted: 1,
            changed: 0
        })
    );
    assert_eq!(lab.engine.table_flush("bad"), Ok(2));
}

#[test]
fn constant_and_missing_tables_are_refused() {
    let mut ruleset = ruleset();
    ruleset.tables.get_mut("bad").unwrap().constant = true;
    let mut lab = Lab::router(ruleset);
    assert_eq!(lab.engine.table_flush("bad"), Err(TableError::Constant));
    assert_eq!(
        lab.engine.table_add(lab.now, "bad", &[]),
        Err(TableError::Constant)
    );
    assert_eq!(lab.engine.table_flush("none"), Err(TableError::NoSuchTable));
    assert_eq!(
        lab.engine.table_test("none", prefix("10.0.0.1")),
        Err(TableError::NoSuchTable)
    );
    assert_eq!(
        lab.engine
            .table_add(lab.now, "new", &entries(&["10.0.0.1"])),
        Ok(1)
    );
    let new = lab.engine.table("new").unwrap();
    assert!(new.persist && !new.referenced);
}

#[test]
fn a_state_counts_in_the_table_of_its_rule_and_as_xpass_when_its_address_has_left() {
    let mut ruleset = filter(&[block(), pass().from("<good>").keep()]);
    ruleset
        .tables
        .insert("good".to_owned(), table(true, &["10.0.0.0/8"]));
    let mut lab = Lab::router(ruleset);
    let _ = lab.packet(In, "em0", from("10.1.0.1")).passes().counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/30
         filter 1 states 1
         filter 1 created 1
         state 1 forward 1/30
         table good match 1
         table good in-pass 1/30
         reason match 1
         searches 1
         inserts 1",
    );
    let answer = udp(("192.0.2.80", 53), ("10.1.0.1", 5), 2);
    let _ = lab.packet(Out, "em0", answer.clone()).passes().counts(
        "filter 1 out 1/30
         state 1 reply 1/30
         table good out-pass 1/30
         searches 1",
    );
    lab.engine.table_flush("good").unwrap();
    let _ = lab.packet(Out, "em0", answer).passes().counts(
        "filter 1 out 1/30
         state 1 reply 1/30
         table good out-xpass 1/30
         searches 1",
    );
}

#[test]
fn a_table_that_no_one_declared_is_empty() {
    let mut lab = Lab::router(filter(&[block().from("<later>")]));
    let _ = lab.packet(In, "em0", from("10.0.0.1")).passes();
    assert_eq!(
        lab.engine
            .table_add(lab.now, "later", &entries(&["10.0.0.1"])),
        Ok(1)
    );
    let _ = lab
        .packet(In, "em0", from("10.0.0.1"))
        .drops(DropReason::Match);
}

#[test]
fn a_table_with_counters_counts_for_each_address() {
    let mut ruleset = ruleset();
    ruleset.tables.get_mut("bad").unwrap().counters = true;
    let mut lab = Lab::router(ruleset.clone());
    for _ in 0..2 {
        let _ = lab
            .packet(In, "em0", from("10.1.0.1"))
            .drops(DropReason::Match);
    }
    let _ = lab.packet(In, "em0", from("10.0.0.1")).passes();
    let counted = |lab: &Lab| -> Vec<String> {
        let all = lab.engine.table_address_counters("bad");
        all.map(|(prefix, c)| format!("{prefix} {}/{}", c.blocked.packets_in, c.blocked.bytes_in))
            .collect()
    };
    assert_eq!(counted(&lab), ["10.0.0.0/8 2/60"]);
    lab.load(ruleset);
    assert_eq!(
        counted(&lab),
        ["10.0.0.0/8 2/60"],
        "a reload keeps what stays"
    );
    lab.engine
        .table_delete("bad", &entries(&["10.0.0.0/8"]))
        .unwrap();
    assert_eq!(counted(&lab), [""; 0]);
    assert!(lab.engine.has_table("bad") && !lab.engine.has_table("none"));
}
