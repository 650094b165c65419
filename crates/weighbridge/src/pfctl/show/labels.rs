//! `-s labels`.

use std::fmt::Write;

use pf_engine::engine::RuleList;
use pf_engine::ruleset::Dialect;
use pf_engine::view::{InstalledRule, RuleCounters};

use super::anchors::{Line, Lines};
use super::{Section, View, paged, whole};

/// `-s labels`: a line for each filter rule that has a label.
#[must_use]
pub fn labels(view: &View<'_>) -> String {
    whole(view, &[Section::Labels], false)
}

pub(super) fn page(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    let labelled = |rule: &InstalledRule<'_>| !rule.rule.labels.is_empty();
    let rules = Lines::new(view, RuleList::Filter).filter_map(|line| match line {
        Line::Rule(_, _, rule, _) => Some(rule),
        Line::Anchor(..) | Line::Close(_) => None,
    });
    let rules = rules.filter(labelled);
    paged(rules, position, |text, rule| {
        write_line(text, &rule.rule.labels, &rule.counters, view.dialect);
    })
}

/// Labels, then evaluations, packets and bytes; since OpenBSD 3.8 also packets and bytes by
/// direction and the number of states made.
fn write_line(text: &mut String, labels: &[String], counters: &RuleCounters, dialect: Dialect) {
    for label in labels {
        let _ = write!(text, "{label} ");
    }
    let traffic = &counters.traffic;
    let (evaluations, packets, bytes) = (counters.evaluations, traffic.packets(), traffic.bytes());
    let _ = write!(text, "{evaluations} {packets} {bytes}");
    if dialect != Dialect::OpenBsd3 {
        let _ = write!(
            text,
            " {} {} {} {} {}",
            traffic.packets_in,
            traffic.bytes_in,
            traffic.packets_out,
            traffic.bytes_out,
            counters.states_created
        );
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pfctl::show::testing::COUNTERS;

    fn line(labels: &[&str], dialect: Dialect) -> String {
        let labels: Vec<_> = labels.iter().map(ToString::to_string).collect();
        let mut text = String::new();
        write_line(&mut text, &labels, &COUNTERS, dialect);
        text
    }

    #[test]
    fn todays_dialects_have_nine_fields() {
        let expected = "ssh 1203 8812 1203344 4401 502211 4411 701133 34\n";
        assert_eq!(line(&["ssh"], Dialect::FreeBsd), expected);
        assert_eq!(line(&["ssh"], Dialect::OpenBsd), expected);
    }

    #[test]
    fn openbsd_3_7_has_four_as_the_article_shows() {
        assert_eq!(
            line(&["DSL-1 216.28.123.99:80"], Dialect::OpenBsd3),
            "DSL-1 216.28.123.99:80 1203 8812 1203344\n"
        );
    }

    #[test]
    fn several_labels_stand_before_one_set_of_counters() {
        assert!(line(&["a", "b"], Dialect::FreeBsd).starts_with("a b 1203 8812 "));
    }
}
