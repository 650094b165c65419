//! `-s rules` and `-s nat`.

use std::fmt::Write;

use pf_conf::{PrintOptions, print_rule, print_rule_with_entries};
use pf_engine::anchor::{AnchorPath, TableRef};
use pf_engine::engine::RuleList;
use pf_engine::ruleset::Dialect;
use pf_engine::view::{InstalledRule, RuleCounters};

use super::anchors::{Line, Lines, TRANSLATION};
use super::{LoadedBy, Section, View, paged, whole};

/// `-s rules`: `scrub` rules, then filter rules.
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
    let lists = [RuleList::Scrub, RuleList::Filter];
    let lines = lists.map(|list| (list, Lines::new(view, list)));
    lines_page(view, lines, position)
}

pub(super) fn nat_page(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    let lines = TRANSLATION.map(|list| (list, Lines::translation(view, list)));
    lines_page(view, lines, position)
}

fn lines_page<'a, const N: usize>(
    view: &View<'a>,
    lists: [(RuleList, Lines<'a, InstalledRule<'a>>); N],
    position: u64,
) -> (String, Option<u64>) {
    let lines = lists
        .into_iter()
        .flat_map(|(list, lines)| lines.map(move |line| (list, line)));
    paged(lines, position, |text, (list, line)| {
        write_line(text, view, list, &line);
    })
}

fn write_line(text: &mut String, view: &View<'_>, list: RuleList, line: &Line<InstalledRule<'_>>) {
    match line {
        // What has expired is of interest only to those who look closely.
        Line::Rule(_, _, rule, _)
            if rule.expired && view.style.verbose < 2 && !view.style.debug => {}
        Line::Rule(depth, path, rule, opens) => {
            indent(text, view, *depth);
            write_rule(text, view, path, rule, *opens);
        }
        Line::Anchor(depth, path) => {
            let word = match list {
                RuleList::Nat => "nat-anchor",
                RuleList::Rdr => "rdr-anchor",
                RuleList::Binat => "binat-anchor",
                RuleList::Scrub | RuleList::Filter => "anchor",
            };
            indent(text, view, *depth);
            let _ = writeln!(text, "{word} \"{}\" all {{", path.name());
        }
        Line::Close(depth) => {
            indent(text, view, *depth);
            text.push_str("}\n");
        }
    }
}

/// As in PF, only where there are no counters between the rules.
pub(super) fn indent(text: &mut String, view: &View<'_>, depth: usize) {
    if view.style.verbose == 0 {
        text.push_str(&"  ".repeat(depth));
    }
}

fn write_rule(
    text: &mut String,
    view: &View<'_>,
    anchor: &AnchorPath,
    rule: &InstalledRule<'_>,
    opens: bool,
) {
    let options = PrintOptions {
        dialect: view.dialect,
        swap_service_names: view.style.swap_service_names,
    };
    if view.style.verbose >= 2 || view.style.debug {
        let _ = write!(text, "@{} ", rule.number);
        let entries = |name: &str| {
            view.engine.table_len(TableRef {
                anchor: anchor.as_str(),
                name,
            })
        };
        text.push_str(&print_rule_with_entries(rule.rule, options, &entries));
    } else {
        text.push_str(&print_rule(rule.rule, options));
    }
    if rule.expired {
        text.push_str(" # expired");
    }
    text.push_str(if opens { " {\n" } else { "\n" });
    if view.style.debug {
        write_skip_steps(text, rule, view.dialect);
    }
    if view.style.verbose >= 1 {
        let by = (!view.style.debug).then_some(view.loaded_by);
        write_counters(text, &rule.counters, view.dialect, by);
    }
}

/// With `-g`: the criteria whose failure skips more than the rule itself, and where to. There are
/// no queues.
fn write_skip_steps(text: &mut String, rule: &InstalledRule<'_>, dialect: Dialect) {
    let [i, d, f, p, sa, da, sp, dp] = rule.skip_steps;
    // All rules are of one routing domain.
    let addresses_first = [
        ("r", None),
        ("f", f),
        ("p", p),
        ("sa", sa),
        ("da", da),
        ("sp", sp),
    ];
    let sources_first = [("f", f), ("p", p), ("sa", sa), ("sp", sp), ("da", da)];
    let middle = match dialect {
        Dialect::OpenBsd => addresses_first.as_slice(),
        Dialect::FreeBsd | Dialect::OpenBsd3 => sources_first.as_slice(),
    };
    let first = [("i", i), ("d", d)];
    let last = [("dp", dp)];
    let steps = first.iter().chain(middle).chain(&last);
    text.push_str("  [ Skip steps: ");
    for (name, step) in steps.copied() {
        let _ = match step {
            Some(next) if next == rule.number + 1 => Ok(()),
            Some(next) => write!(text, "{name}={next} "),
            None => write!(text, "{name}=end "),
        };
    }
    text.push_str("]\n  [ queue: qname= qid=0 pqname= pqid=0 ]\n");
}

/// The lines below a rule with `-v`. OpenBSD 3.7 has the first one only, and so has `-g`.
fn write_counters(
    text: &mut String,
    counters: &RuleCounters,
    dialect: Dialect,
    by: Option<LoadedBy>,
) {
    let _ = writeln!(
        text,
        "  [ Evaluations: {:<8}  Packets: {:<8}  Bytes: {:<10}  States: {:<6}]",
        counters.evaluations,
        counters.traffic.packets(),
        counters.traffic.bytes(),
        counters.states,
    );
    if let Some(by) = by.filter(|_| dialect != Dialect::OpenBsd3) {
        let _ = writeln!(
            text,
            "  [ Inserted: uid {} pid {} State Creations: {:<6}]",
            by.uid, by.pid, counters.states_created,
        );
    }
}

#[cfg(test)]
mod tests {
    use pf_engine::rule::{Action, Rule};

    use super::*;
    use crate::pfctl::show::testing::COUNTERS;

    const BY: LoadedBy = LoadedBy { uid: 0, pid: 4711 };

    #[test]
    fn counters_stand_in_two_lines_of_fixed_columns() {
        let mut text = String::new();
        write_counters(&mut text, &COUNTERS, Dialect::FreeBsd, Some(BY));
        assert_eq!(
            text,
            "  [ Evaluations: 1203      Packets: 8812      Bytes: 1203344     States: 2     ]\n  \
             [ Inserted: uid 0 pid 4711 State Creations: 34    ]\n"
        );
    }

    fn skip_steps(dialect: Dialect, number: u32, steps: [Option<u32>; 8]) -> String {
        let rule = InstalledRule {
            number,
            rule: &Rule::new(Action::Pass),
            counters: COUNTERS,
            expired: false,
            skip_steps: steps,
        };
        let mut text = String::new();
        write_skip_steps(&mut text, &rule, dialect);
        text.lines().next().unwrap_or_default().to_owned()
    }

    #[test]
    fn skip_steps_stand_in_the_order_of_each_pf() {
        let some = [
            None,
            None,
            Some(4),
            Some(2),
            Some(4),
            Some(1),
            Some(2),
            Some(3),
        ];
        assert_eq!(
            skip_steps(Dialect::FreeBsd, 0, some),
            "  [ Skip steps: i=end d=end f=4 p=2 sa=4 sp=2 dp=3 ]"
        );
        assert_eq!(
            skip_steps(Dialect::OpenBsd, 0, some),
            "  [ Skip steps: i=end d=end r=end f=4 p=2 sa=4 sp=2 dp=3 ]"
        );
        let last = [None; 8];
        assert_eq!(
            skip_steps(Dialect::FreeBsd, 4, last),
            "  [ Skip steps: i=end d=end f=end p=end sa=end sp=end da=end dp=end ]"
        );
        assert_eq!(
            skip_steps(Dialect::OpenBsd, 4, last),
            "  [ Skip steps: i=end d=end r=end f=end p=end sa=end da=end sp=end dp=end ]"
        );
    }

    #[test]
    fn openbsd_3_7_has_the_evaluations_alone() {
        let mut text = String::new();
        write_counters(&mut text, &COUNTERS, Dialect::OpenBsd3, Some(BY));
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("  [ Evaluations: 1203 "));
    }
}
