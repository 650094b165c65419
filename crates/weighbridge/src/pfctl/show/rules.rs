//! `-s rules` and `-s nat`.

use std::fmt::Write;

use pf_conf::{PrintOptions, print_rule};
use pf_engine::engine::RuleList;
use pf_engine::ruleset::Dialect;
use pf_engine::view::{InstalledRule, RuleCounters};

use super::{LoadedBy, Section, View, paged, whole};

/// `-s rules`.
#[must_use]
pub fn rules(view: &View<'_>) -> String {
    whole(view, &[Section::Rules], false)
}

/// `-s nat`: `nat`, `rdr` and `binat` rules, in this order.
#[must_use]
pub fn nat(view: &View<'_>) -> String {
    whole(view, &[Section::Nat], false)
}

pub(super) fn filter_page(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    paged(
        view.engine.rules(RuleList::Filter),
        position,
        |text, rule| {
            write_rule(text, view, &rule);
        },
    )
}

pub(super) fn nat_page(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    let lists = [RuleList::Nat, RuleList::Rdr, RuleList::Binat];
    let rules = lists.into_iter().flat_map(|list| view.engine.rules(list));
    paged(rules, position, |text, rule| write_rule(text, view, &rule))
}

fn write_rule(text: &mut String, view: &View<'_>, rule: &InstalledRule<'_>) {
    let options = PrintOptions {
        dialect: view.dialect,
        swap_service_names: view.style.swap_service_names,
    };
    if view.style.verbose >= 2 {
        let _ = write!(text, "@{} ", rule.number);
    }
    text.push_str(&print_rule(rule.rule, options));
    text.push('\n');
    if view.style.verbose >= 1 {
        write_counters(text, &rule.counters, view.dialect, view.loaded_by);
    }
}

/// The lines below a rule with `-v`. OpenBSD 3.7 has the first one only.
fn write_counters(text: &mut String, counters: &RuleCounters, dialect: Dialect, by: LoadedBy) {
    let _ = writeln!(
        text,
        "  [ Evaluations: {:<8}  Packets: {:<8}  Bytes: {:<10}  States: {:<6}]",
        counters.evaluations,
        counters.traffic.packets(),
        counters.traffic.bytes(),
        counters.states,
    );
    if dialect != Dialect::OpenBsd3 {
        let _ = writeln!(
            text,
            "  [ Inserted: uid {} pid {} State Creations: {:<6}]",
            by.uid, by.pid, counters.states_created,
        );
    }
}

#[cfg(test)]
mod tests {
    use pf_engine::counters::Traffic;

    use super::*;

    const COUNTERS: RuleCounters = RuleCounters {
        evaluations: 1203,
        traffic: Traffic {
            packets_in: 4401,
            bytes_in: 502_211,
            packets_out: 4411,
            bytes_out: 701_133,
        },
        states: 2,
        states_created: 34,
    };
    const BY: LoadedBy = LoadedBy { uid: 0, pid: 4711 };

    #[test]
    fn counters_stand_in_two_lines_of_fixed_columns() {
        let mut text = String::new();
        write_counters(&mut text, &COUNTERS, Dialect::FreeBsd, BY);
        assert_eq!(
            text,
            "  [ Evaluations: 1203      Packets: 8812      Bytes: 1203344     States: 2     ]\n  \
             [ Inserted: uid 0 pid 4711 State Creations: 34    ]\n"
        );
    }

    #[test]
    fn openbsd_3_7_has_the_evaluations_alone() {
        let mut text = String::new();
        write_counters(&mut text, &COUNTERS, Dialect::OpenBsd3, BY);
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("  [ Evaluations: 1203 "));
    }
}
