//! Anchors: rulesets that rules call (pf.conf(5), ANCHORS), and rules with `once`.

use std::collections::BTreeMap;

use pf_engine::addr::Protocol;
use pf_engine::anchor::{AnchorCall, AnchorPath, TableRef};
use pf_engine::decision::DropReason;
use pf_engine::engine::{InstallError, RuleList};
use pf_engine::rule::{Action, Log, Rule};
use pf_engine::ruleset::{Limit, Parts, Ruleset};

use super::harness::*;

fn path(text: &str) -> AnchorPath {
    AnchorPath::new(text).unwrap()
}

/// `anchor "name"` in the ruleset at `base`.
fn call_in(base: &str, name: &str) -> Rule {
    Rule {
        anchor: Some(AnchorCall::new(&path(base), name).unwrap()),
        ..Rule::new(Action::Match)
    }
}

fn call(name: &str) -> Rule {
    call_in("", name)
}

fn quick(rule: Rule) -> Rule {
    Rule {
        quick: true,
        ..rule
    }
}

fn once(rule: Rule) -> Rule {
    Rule { once: true, ..rule }
}

/// A main ruleset with anchors that its text fills.
fn tree(main: &[Rule], anchors: &[(&str, &[Rule])]) -> Ruleset {
    let anchors = anchors
        .iter()
        .map(|(name, rules)| (path(name), filter(rules)));
    Ruleset {
        anchors: anchors.collect::<BTreeMap<_, _>>(),
        ..filter(main)
    }
}

fn load(lab: &mut Lab, anchor: &str, ruleset: Ruleset) {
    let installed = lab
        .engine
        .install_at(lab.now, &path(anchor), Parts::ALL, ruleset);
    installed.unwrap();
    lab.settle();
}

fn anchors(lab: &Lab) -> Vec<&str> {
    lab.engine.anchors().map(AnchorPath::as_str).collect()
}

fn request() -> Vec<u8> {
    echo("10.0.0.5", "198.51.100.7", 9)
}

fn reply() -> Vec<u8> {
    echo_reply("198.51.100.7", "10.0.0.5", 9)
}

#[test]
fn the_rule_of_an_anchor_counts_what_is_decided_inside_with_its_states() {
    let mut lab = Lab::router(tree(&[block(), call("foo")], &[("foo", &[pass().keep()])]));
    let _ = lab.packet(In, "em0", request()).passes().counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/84
         filter 1 states 1
         filter 1 created 1
         foo filter 0 evaluations 1
         foo filter 0 in 1/84
         foo filter 0 states 1
         foo filter 0 created 1
         state 1 forward 1/84
         inserts 1
         reason match 1
         searches 1",
    );
    let _ = lab.packet(Out, "em0", reply()).passes().counts(
        "filter 1 out 1/84
         foo filter 0 out 1/84
         state 1 reply 1/84
         searches 1",
    );
    let state = lab.engine.states(lab.now).next().unwrap();
    assert_eq!((state.anchor, state.rule), (Some(1), Some(0)));
}

#[test]
fn what_an_anchor_asks_for_is_asked_before_its_rules() {
    let rules = tree(&[pass(), call("foo").on("em1")], &[("foo", &[block()])]);
    let mut lab = Lab::router(rules);
    let _ = lab.packet(In, "em0", request()).passes();
    let _ = lab
        .packet(In, "em1", echo("192.0.2.5", "198.51.100.7", 9))
        .drops(DropReason::Match);
}

#[test]
fn the_last_match_wins_across_anchors_and_quick_inside_ends_everything() {
    let mut lab = Lab::router(tree(&[call("a"), block()], &[("a", &[pass()])]));
    let _ = lab.packet(In, "em0", request()).drops(DropReason::Match);
    lab.load(tree(&[call("a"), block()], &[("a", &[quick(pass())])]));
    let _ = lab.packet(In, "em0", request()).passes().counts(
        "filter 0 evaluations 1
         filter 0 in 1/84
         a filter 0 evaluations 1
         a filter 0 in 1/84
         reason match 1
         searches 1",
    );
}

#[test]
fn a_quick_anchor_ends_the_evaluation_only_if_a_rule_inside_has_matched() {
    let inner = |rules: &[Rule]| tree(&[quick(call("a")), block()], &[("a", rules)]);
    let mut lab = Lab::router(inner(&[pass()]));
    let _ = lab.packet(In, "em0", request()).passes();
    lab.load(inner(&[pass().on("em1")]));
    let _ = lab.packet(In, "em0", request()).drops(DropReason::Match);
}

#[test]
fn an_inner_anchor_does_not_clear_quick_of_the_outer_one() {
    let rules = tree(
        &[quick(call("a")), block()],
        &[
            ("a", &[call_in("a", "b"), call_in("a", "c")]),
            ("a/b", &[pass()]),
            ("a/c", &[]),
        ],
    );
    let mut lab = Lab::router(rules);
    let _ = lab.packet(In, "em0", request()).passes();
}

#[test]
fn names_lead_up_and_from_the_main_ruleset() {
    let rules = tree(
        &[block(), call("a")],
        &[
            ("a", &[call_in("a", "b")]),
            (
                "a/b",
                &[call_in("a/b", "../../up"), call_in("a/b", "/top/x")],
            ),
            ("up", &[pass().proto(Protocol::UDP)]),
            ("top/x", &[pass().proto(Protocol::ICMP)]),
        ],
    );
    let mut lab = Lab::router(rules);
    let _ = lab.packet(In, "em0", request()).passes();
    let dns = udp(("10.0.0.5", 5), ("198.51.100.7", 53), 4);
    let _ = lab.packet(In, "em0", dns).passes();
    let web = tcp(("10.0.0.5", 5), ("198.51.100.7", 80), 2, 1, 0, 0);
    let _ = lab.packet(In, "em0", web).drops(DropReason::Match);
}

#[test]
fn a_wildcard_finds_what_is_loaded_later_in_the_order_of_names() {
    let mut lab = Lab::router(filter(&[block(), call("foo/*")]));
    let _ = lab.packet(In, "em0", request()).drops(DropReason::Match);
    load(&mut lab, "foo/b", filter(&[pass()]));
    let _ = lab.packet(In, "em0", request()).passes();
    load(&mut lab, "foo/c", filter(&[block()]));
    let _ = lab.packet(In, "em0", request()).drops(DropReason::Match);
    load(&mut lab, "foo/a", filter(&[quick(pass())]));
    let _ = lab.packet(In, "em0", request()).passes().counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/84
         foo/a filter 0 evaluations 1
         foo/a filter 0 in 1/84
         reason match 1
         searches 1",
    );
    assert_eq!(anchors(&lab), ["foo", "foo/a", "foo/b", "foo/c"]);
}

#[test]
fn anchors_that_call_themselves_end_in_a_counted_drop() {
    let rules = tree(
        &[call("a")],
        &[
            ("a", &[pass(), call_in("a", "/b")]),
            ("b", &[call_in("b", "/a")]),
        ],
    );
    let mut lab = Lab::router(rules);
    let seen = lab.packet(In, "em0", request());
    let _ = seen.drops(DropReason::Memory);
    let looped = tree(&[call("a")], &[("a", &[quick(pass()), call_in("a", "/a")])]);
    lab.load(looped);
    let _ = lab.packet(In, "em0", request()).passes();
}

#[test]
fn anchors_that_multiply_end_in_a_counted_drop() {
    let names: Vec<String> = (0..40).map(|n| format!("n{n}")).collect();
    let mut rules = filter(&[call("n0")]);
    for pair in names.windows(2) {
        let next = format!("/{}", pair[1]);
        let both = [call_in(&pair[0], &next), call_in(&pair[0], &next)];
        rules.anchors.insert(path(&pair[0]), filter(&both));
    }
    let mut lab = Lab::router(rules);
    let _ = lab.packet(In, "em0", request()).drops(DropReason::Memory);
}

#[test]
fn translation_in_anchors_is_first_match() {
    let mut rules = filter(&[]);
    let nat_call = |name| Rule {
        anchor: call(name).anchor,
        ..Rule::new(Action::Nat)
    };
    rules.nat = vec![nat_call("ftp-proxy/*"), nat("em1", "192.0.2.99")];
    let mut lab = Lab::router(rules);
    let out = || udp(("10.0.0.5", 5), ("198.51.100.7", 53), 4);
    let source = |lab: &mut Lab, bytes| {
        let seen = lab.packet(Out, "em1", bytes).passes();
        let tuple = tuple(&seen.bytes);
        tuple.split(':').next().unwrap_or_default().to_owned()
    };
    assert_eq!(source(&mut lab, out()), "192.0.2.99");
    lab.engine.flush_states();
    let mut session = filter(&[]);
    session.nat = vec![nat("em1", "192.0.2.50").port(53)];
    load(&mut lab, "ftp-proxy/12.7", session);
    assert_eq!(source(&mut lab, out()), "192.0.2.50");
    let other = udp(("10.0.0.5", 5), ("198.51.100.7", 54), 4);
    assert_eq!(source(&mut lab, other), "192.0.2.99");
}

#[test]
fn redirection_in_nested_anchors_reaches_the_server() {
    let rdr_call = |base, name| Rule {
        anchor: call_in(base, name).anchor,
        ..Rule::new(Action::Rdr)
    };
    let mut rules = filter(&[]);
    rules.rdr = vec![rdr_call("", "outer")];
    let mut outer = filter(&[]);
    outer.rdr = vec![rdr_call("outer", "inner")];
    let mut inner = filter(&[]);
    inner.rdr = vec![rdr("em1", "10.0.0.80", Some(8080))];
    rules.anchors = BTreeMap::from([(path("outer"), outer), (path("outer/inner"), inner)]);
    let mut lab = Lab::router(rules);
    let seen = lab
        .packet(
            In,
            "em1",
            tcp(("198.51.100.7", 9), ("192.0.2.1", 80), 2, 1, 0, 0),
        )
        .passes();
    assert_eq!(tuple(&seen.bytes), "198.51.100.7:9 > 10.0.0.80:8080");
}

#[test]
fn a_reload_of_main_keeps_what_was_loaded_and_empties_what_its_own_text_filled() {
    let mut lab = Lab::router(tree(
        &[block(), call("inline"), call("live")],
        &[("inline", &[pass()])],
    ));
    load(&mut lab, "live", filter(&[pass().keep()]));
    assert_eq!(anchors(&lab), ["inline", "live"]);
    let _ = lab.packet(In, "em0", request()).passes();
    lab.load(filter(&[block(), call("inline"), call("live")]));
    assert_eq!(
        lab.engine
            .rules_at(&path("inline"), RuleList::Filter)
            .count(),
        0
    );
    assert_eq!(
        lab.engine.rules_at(&path("live"), RuleList::Filter).count(),
        1
    );
    let _ = lab.packet(Out, "em0", reply()).passes();
    assert_eq!(lab.engine.state_count(), 1, "states outlive it");
    lab.load(filter(&[block()]));
    assert_eq!(anchors(&lab), ["live"], "not called, but not empty");
    lab.engine.flush_rules(&path("live"));
    assert!(anchors(&lab).is_empty());
}

#[test]
fn dynamic_addresses_of_anchors_survive_a_reload_of_main() {
    let mut lab = Lab::router(filter(&[block(), call("a")]));
    load(&mut lab, "a", filter(&[pass().from("(em0)")]));
    lab.load(filter(&[block().to("(em1)"), call("a")]));
    let own = udp(("10.0.0.1", 5), ("192.0.2.1", 53), 4);
    let _ = lab.packet(Out, "em0", own).passes();
}

#[test]
fn a_table_of_an_anchor_hides_the_one_of_main_while_it_is_defined() {
    let mut rules = tree(&[pass(), call("a")], &[("a", &[block().from("<bad>")])]);
    let of_main = table(true, &["10.0.0.5"]);
    rules.tables.insert("bad".to_owned(), of_main);
    let mut lab = Lab::router(rules);
    let _ = lab.packet(In, "em0", request()).drops(DropReason::Match);
    let main = lab.engine.table("bad").unwrap();
    assert_eq!((main.references, main.anchor_references), (0, 1));
    let bad = TableRef {
        anchor: "a",
        name: "bad",
    };
    assert!(!lab.engine.has_table(bad));
    let others = entries(&["10.0.0.77"]);
    assert_eq!(lab.engine.table_add(lab.now, bad, &others), Ok(1));
    let _ = lab.packet(In, "em0", request()).passes();
    let _ = lab
        .packet(In, "em0", echo("10.0.0.77", "198.51.100.7", 9))
        .drops(DropReason::Match);
    let own = lab.engine.table(bad).unwrap();
    assert_eq!((own.anchor, own.references, own.persist), ("a", 1, true));
    assert_eq!(lab.engine.flush_tables(&path("a")), 0, "a rule names it");
    assert_eq!(lab.engine.table_len("bad"), Some(1), "main's is another");
}

#[test]
fn a_table_made_by_hand_keeps_its_addresses_when_a_ruleset_defines_it() {
    let mut lab = Lab::router(filter(&[pass()]));
    let bar = TableRef {
        anchor: "a",
        name: "bar",
    };
    let one = entries(&["10.0.0.5"]);
    assert_eq!(lab.engine.table_add(lab.now, bar, &one), Ok(1));
    assert_eq!(anchors(&lab), ["a"]);
    let mut rules = filter(&[pass().from("<bar>")]);
    let mut definition = table(true, &[]);
    definition.has_contents = false;
    definition.counters = true;
    rules.tables.insert("bar".to_owned(), definition);
    load(&mut lab, "a", rules);
    let view = lab.engine.table(bar).unwrap();
    assert_eq!((view.len, view.counters, view.references), (1, true, 1));
}

#[test]
fn parts_of_a_ruleset_leave_the_others_alone() {
    let mut rules = filter(&[block()]);
    rules.nat = vec![nat("em1", "(em1)")];
    let mut lab = Lab::router(rules);
    let only = Parts {
        filter: true,
        ..Parts::NONE
    };
    let installed = lab.engine.install_at(
        lab.now,
        &AnchorPath::main(),
        only,
        filter(&[pass(), pass()]),
    );
    assert_eq!(installed, Ok(()));
    assert_eq!(lab.engine.rules(RuleList::Filter).count(), 2);
    assert_eq!(lab.engine.rules(RuleList::Nat).count(), 1);
    lab.settle();
    let out = udp(("10.0.0.5", 5), ("198.51.100.7", 53), 4);
    let _ = lab.packet(Out, "em1", out).passes();
}

#[test]
fn too_many_anchors_change_nothing() {
    let mut lab = Lab::router(limit(filter(&[pass()]), Limit::Anchors, 2));
    let refused = lab
        .engine
        .install_at(lab.now, &path("a/b/c"), Parts::ALL, filter(&[block()]));
    assert_eq!(refused, Err(InstallError::TooManyAnchors { limit: 2 }));
    assert!(anchors(&lab).is_empty());
}

#[test]
fn a_rule_with_once_passes_one_state_and_is_expired_then() {
    let mut lab = Lab::router(filter(&[block(), once(pass().keep())]));
    let _ = lab.packet(In, "em0", request()).passes();
    let rule = lab.engine.rules(RuleList::Filter).nth(1).unwrap();
    assert!(rule.expired);
    let _ = lab.packet(Out, "em0", reply()).passes();
    lab.engine.flush_states();
    lab.settle();
    let _ = lab
        .packet(In, "em0", request())
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
             filter 0 in 1/84
             reason match 1
             searches 1",
        );
}

#[test]
fn a_rule_with_once_in_an_anchor_expires_too() {
    let rules = tree(&[block(), call("a")], &[("a", &[once(pass().keep())])]);
    let mut lab = Lab::router(rules);
    let epoch = lab.engine.epoch();
    let _ = lab.packet(In, "em0", request()).passes();
    assert_ne!(lab.engine.epoch(), epoch, "nobody may repeat it");
    lab.engine.flush_states();
    let _ = lab.packet(In, "em0", request()).drops(DropReason::Match);
}

#[test]
fn the_log_names_the_way_to_a_rule_in_an_anchor() {
    let log = Some(Log::default());
    let rule = Rule { log, ..block() };
    let mut lab = Lab::router(tree(
        &[pass(), call("foo")],
        &[
            ("foo", &[call_in("foo", "bar")]),
            ("foo/bar", &[pass(), rule]),
        ],
    ));
    let seen = lab.packet(In, "em0", request()).drops(DropReason::Match);
    let entry = &seen.decision.logged[0];
    assert_eq!(entry.rule, Some(1));
    assert_eq!(entry.in_anchor, Some((path("foo/bar"), Some(1))));
}

/// FreeBSD's PR 196314, `nested_inline` of `pass_block.sh`.
#[test]
fn a_rule_of_an_anchor_inside_an_anchor_passes_what_main_blocks() {
    let inner = [quick(pass().inbound().proto(Protocol::ICMP))];
    let outer = [
        quick(pass().inbound().proto(Protocol::TCP).port(37)),
        call_in("an1", "an2"),
    ];
    let mut lab = Lab::router(tree(
        &[block().inbound(), call("an1")],
        &[("an1", &outer), ("an1/an2", &inner)],
    ));
    let _ = lab.packet(In, "em0", request()).passes();
    let _ = lab
        .packet(In, "em0", udp(("10.0.0.5", 9), ("198.51.100.7", 9), 1))
        .drops(DropReason::Match);
}
