use std::fmt::Write as _;

use pf_engine::env::{IfIndex, Interface, InterfaceAddress};
use pf_engine::ruleset::Dialect;

use super::*;
use crate::MemoryFiles;

fn warnings_in(dialect: Dialect, text: &str) -> Warnings {
    warnings_within(rules::MAX_COMPARISONS, dialect, text)
}

fn warnings_within(limit: u64, dialect: Dialect, text: &str) -> Warnings {
    let options = LoadOptions {
        dialect,
        interfaces: vec![em1()],
        ..LoadOptions::default()
    };
    let mut files = MemoryFiles::default();
    files
        .0
        .insert("more.conf".into(), b"unused = \"1\"\n".to_vec());
    match check_within(limit, "pf.conf", text.as_bytes(), &mut files, &options) {
        Ok((_, warnings)) => warnings,
        Err(errors) => panic!("{errors}"),
    }
}

fn em1() -> Interface {
    Interface {
        addresses: vec![InterfaceAddress::new([10, 0, 0, 1].into(), 24)],
        ..Interface::new(IfIndex(1), "em1")
    }
}

/// Kind, line, line of the other rule.
type Told = (WarningKind, usize, Option<usize>);

fn told_in(dialect: Dialect, text: &str) -> Vec<Told> {
    told_of(&warnings_in(dialect, text))
}

fn told_of(warnings: &Warnings) -> Vec<Told> {
    let told = warnings.iter();
    told.map(|(place, warning, other)| (warning.kind, place.line, other.map(|o| o.line)))
        .collect()
}

fn told(text: &str) -> Vec<Told> {
    told_in(Dialect::FreeBsd, text)
}

#[track_caller]
fn quiet(text: &str) {
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd] {
        let warnings = warnings_in(dialect, text);
        assert_eq!(warnings.count(), 0, "{}", warnings.plain());
    }
}

use WarningKind::{
    AfterIdenticalQuick, BlockAfterPassAll, Duplicate, MacroTwice, NeverMatches, NoEffect,
    NotCompared, TableTwice, UndefinedTable, UnusedMacro, UnusedTable,
};

#[test]
fn a_rule_behind_a_wider_quick_one_never_matches() {
    assert_eq!(
        told("block in quick from 10.0.0.0/8\npass in on em0 from 10.1.0.0/16 to any\n"),
        [(NeverMatches, 2, Some(1))]
    );
    assert_eq!(
        told("block quick proto tcp to port 1:1023\npass in proto tcp to port { 22 80 }\n"),
        [(NeverMatches, 2, Some(1))]
    );
    assert_eq!(
        told("table <t> { 10.0.0.1 }\nblock quick from <t>\npass from <t> to 10.0.0.2\n"),
        [(NeverMatches, 3, Some(2))]
    );
}

#[test]
fn only_what_is_certain_is_told() {
    quiet("block in from 10.0.0.0/8\npass in from 10.1.0.0/16\n");
    quiet("block in quick on em0\npass out on em0\npass in on em1\n");
    quiet("block in quick on ! em0\npass in on em1\n");
    quiet("block quick from (em0)\npass from 10.0.0.1\n");
    quiet("table <t> { 10.0.0.0/8 }\nblock quick from <t>\npass from 10.0.0.1\n");
    quiet("block quick inet\npass inet6\n");
    quiet("pass quick proto icmp\npass proto tcp\n");
    // Segments that open no connection get past the first.
    quiet("pass quick proto tcp to port 22\nblock proto tcp to port 22\n");
    // Which packets are tagged changes in between.
    quiet("block quick tagged A\nmatch in on em0 tag A\nblock tagged A\n");
    quiet("match in on em0 tag A\nblock quick from 10.0.0.1 to 10.0.0.2\npass tagged A\n");
    // What `match` has translated is another packet.
    quiet(
        "block quick to 10.0.0.2\nmatch in on em0 to 192.0.2.1 rdr-to 10.0.0.2\npass to 10.0.0.2\n",
    );
}

#[test]
fn parts_of_a_rule_are_told_apart() {
    let text = "block quick from 10.0.0.0/8\npass in from { 10.1.0.1 192.0.2.1 }\n";
    assert_eq!(told(text), [(NeverMatches, 2, Some(1))]);
    let warnings = warnings_in(Dialect::FreeBsd, text);
    assert!(
        warnings
            .plain()
            .contains("of its parts: `pass in inet from 10.1.0.1 to any")
    );
}

#[test]
fn the_list_of_one_rule_may_overlap() {
    quiet("pass quick from { 10.0.0.0/8 10.0.0.1 10.0.0.1 }\n");
    quiet("block from { 10.0.0.1 10.0.0.0/8 }\n");
}

#[test]
fn repeated_rules_are_told() {
    assert_eq!(
        told("pass in quick on em0\nblock out\npass in quick on em0\n"),
        [(AfterIdenticalQuick, 3, Some(1))]
    );
    assert_eq!(
        told("pass in on em0\nblock out\npass in on em0\n"),
        [(Duplicate, 3, Some(1))]
    );
    assert_eq!(
        told("pass in quick on em0\nblock out\nblock in quick on em0 flags S/SA\n"),
        [(NeverMatches, 3, Some(1))]
    );
}

#[test]
fn a_rule_that_a_later_one_overrides_has_no_effect() {
    assert_eq!(
        told("pass in on em0 proto udp to port 53 label \"dns\"\nblock in on em0\n"),
        [(NoEffect, 1, Some(2))]
    );
    // A tag stays, whoever decides.
    quiet("pass in on em0 proto udp to port 53 tag DNS\nblock in on em0\n");
    quiet("match in on em0 proto udp to port 53 label \"dns\"\nblock in on em0\n");
}

#[test]
fn block_behind_pass_quick_all_is_told_for_what_it_is() {
    assert_eq!(
        told("pass quick all\nblock in on em0\n"),
        [(BlockAfterPassAll, 2, Some(1))]
    );
    assert_eq!(
        told_in(Dialect::OpenBsd3, "pass quick all\nblock in on em0\n"),
        [(NeverMatches, 2, Some(1))]
    );
}

#[test]
fn of_translation_rules_the_first_decides() {
    assert_eq!(
        told(
            "no nat on em0 from 10.0.0.0/8 to any\nnat on em0 from 10.1.0.0/16 to any -> 192.0.2.1\n\
             rdr on em0 proto tcp from any to 192.0.2.1 port 80 -> 10.0.0.1\n\
             rdr on em0 proto tcp from any to 192.0.2.1 port 80 -> 10.0.0.2\n"
        ),
        [(NeverMatches, 2, Some(1)), (NeverMatches, 4, Some(3))]
    );
    quiet(
        "binat on em0 from 10.0.0.1 to any -> 192.0.2.1\nbinat on em0 from 10.0.0.1 to any -> 192.0.2.2\n",
    );
}

#[test]
fn macros_are_to_be_used_and_defined_once() {
    assert_eq!(
        told("a = \"1\"\nb = \"2\"\nb = \"3\"\npass proto tcp to port $b\n"),
        [(UnusedMacro, 1, None), (MacroTwice, 3, Some(2))]
    );
    quiet("include \"more.conf\"\npass\n");
}

#[test]
fn what_a_macro_switches_off_is_used() {
    quiet(
        "off = \"#\"\nports = \"{ 22 80 }\"\ntable <t> persist\n$off pass proto tcp from <t> \\\n  to port $ports\npass\n",
    );
}

#[test]
fn tables_are_to_be_defined_and_used() {
    assert_eq!(
        told("table <a> { 10.0.0.1 }\npass from ! <b>\npass to <b>\n"),
        [(UnusedTable, 1, None), (UndefinedTable, 2, None)]
    );
    quiet("table <a> persist\nnat on em0 from <a> to any -> 192.0.2.1\n");
}

#[test]
fn a_warning_says_where_what_and_why() {
    let text = "block in quick from 10.0.0.0/8\n  pass in from 10.1.0.0/16 \\\n to any\n";
    let warnings = warnings_in(Dialect::FreeBsd, text);
    assert_eq!(
        warnings.plain(),
        "pf.conf:2: warning: rule never matches [PF101]\n    \
         pf.conf:2:3: pass in from 10.1.0.0/16 \\\n    \
         why: the quick rule at pf.conf:1 takes every packet that this one asks for\n    \
         pf.conf:1:1: block in quick from 10.0.0.0/8\n"
    );
    let rendered = warnings.rendered(false);
    assert_eq!(
        rendered,
        "warning[PF101]: rule never matches\n \
         --> pf.conf:2:3\n  |\n\
         2 |   pass in from 10.1.0.0/16 \\\n  |   ^^^^\n  |\n \
         ::: pf.conf:1:1\n  |\n\
         1 | block in quick from 10.0.0.0/8\n  | ----- takes all of it\n  |\n  \
         = note: the quick rule at pf.conf:1 takes every packet that this one asks for\n"
    );
}

/// Rules for 700 hosts, of which each three-hundredth is the first once more.
fn hosts(how: &str) -> String {
    let mut text = String::new();
    for n in 1..=700_u32 {
        let n = if n.is_multiple_of(300) { 1 } else { n };
        let (a, b) = (n / 250, n % 250);
        let _ = writeln!(text, "pass in {how} proto tcp from 10.0.{a}.{b} to any");
    }
    text
}

#[test]
fn of_a_large_ruleset_as_much_is_compared_as_the_limit_allows() {
    let told_within = |limit, how| {
        let warnings = warnings_within(limit, Dialect::FreeBsd, &hosts(how));
        told_of(&warnings)
    };
    let repeats = |line| (AfterIdenticalQuick, line, Some(1));
    let cut_off = (NotCompared, 1, None);
    // The first 299 rules are 44,551 pairs, the first 599 are 179,101.
    assert_eq!(told_within(44_551, "quick"), [cut_off]);
    assert_eq!(told_within(44_552, "quick"), [cut_off, repeats(300)]);
    let all = [repeats(300), repeats(600)];
    assert_eq!(told_within(rules::MAX_COMPARISONS, "quick"), all);
    // Looking for a later rule is cut off in the same way.
    let first = (Duplicate, 300, Some(1));
    assert_eq!(told_within(299, ""), [cut_off, first]);
    let all = [first, (Duplicate, 600, Some(300))];
    assert_eq!(told_within(rules::MAX_COMPARISONS, ""), all);
}

/// OpenBSD's `/etc/examples/pf.conf` in spirit, a gateway, and the article.
const SENSIBLE: [&str; 3] = [
    "set skip on lo\nblock return\npass\nblock return in on ! lo0 proto tcp to port 6000:6010\n",
    "ext = \"em0\"\nint = \"em1\"\ntable <martians> { 127.0.0.0/8 172.16.0.0/12 }\n\
     table <bad> persist\nset block-policy return\nset skip on lo0\n\
     nat on $ext inet from ! ($ext) to any -> ($ext)\n\
     rdr on $ext inet proto tcp from any to ($ext) port 80 -> 10.0.0.5 port 8080\n\
     block all\nantispoof quick for { $int }\nblock drop in quick on $ext from <martians>\n\
     block drop in quick on $ext from <bad>\npass out quick inet keep state\n\
     pass in on $ext inet proto tcp from any to ($ext) port { 22 80 } keep state\n\
     pass in on $ext inet proto tcp from any to 10.0.0.5 port 8080\n\
     pass in on $int\npass in inet proto icmp icmp-type { echoreq unreach }\n",
    "int = \"em1\"\nmatch out on egress inet from ! (egress:network) to any nat-to (egress:0)\n\
     block in all\npass out quick inet\npass in on { em1 em2 } inet\n\
     pass in on egress inet proto tcp from any to (egress) port { 80 443 } rdr-to 192.168.1.2\n\
     pass in quick on $int proto tcp to port 25\nblock in quick on $int proto tcp to port 26\n",
];

#[test]
fn sensible_rulesets_are_not_complained_of() {
    for text in SENSIBLE {
        quiet(text);
    }
}

#[test]
fn a_table_that_is_defined_twice_is_told_at_each_later_definition() {
    let text = "table <t> { 10.0.0.1 }\ntable <u> { 10.0.0.1 }\ntable <t> { 10.0.0.2 }\n\
                pass from <t> to <u>\ntable <t> persist\n";
    let text = format!("set require-order no\n{text}");
    assert_eq!(
        told(&text),
        [(TableTwice, 4, Some(2)), (TableTwice, 6, Some(4))]
    );
    quiet("table <t> { 10.0.0.1 }\ntable <u> { 10.0.0.1 }\npass from <t> to <u>\n");
}

#[test]
fn of_a_table_that_is_defined_twice_the_last_definition_counts() {
    let text = "table <t> { 10.0.0.1 }\ntable <t> { 10.0.0.2 10.0.0.3 }\npass from <t>\n";
    let mut files = MemoryFiles::default();
    let read = load(
        "pf.conf",
        text.as_bytes(),
        &mut files,
        &LoadOptions::default(),
    );
    let loaded = read.unwrap_or_else(|errors| panic!("{errors}"));
    let entries = loaded.ruleset.tables["t"].entries.iter();
    let entries: Vec<String> = entries.map(|entry| entry.prefix.to_string()).collect();
    assert_eq!(entries, ["10.0.0.2", "10.0.0.3"]);
}
