//! `-s ether`: rules for frames.

use std::fmt::Write;

use pf_conf::print_ether_rule;
use pf_engine::view::{EtherCounters, InstalledEtherRule};

use super::anchors::{Line, Lines};
use super::rules::indent;
use super::{Section, View, paged, whole};

/// `-s ether`: rules for frames.
#[must_use]
pub fn ether(view: &View<'_>) -> String {
    whole(view, &[Section::Ether], false)
}

pub(super) fn page(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    paged(Lines::ether(view), position, |text, line| match line {
        Line::Rule(depth, _, rule, opens) => {
            indent(text, view, depth);
            write_rule(text, view, &rule, opens);
        }
        Line::Anchor(depth, path) => {
            indent(text, view, depth);
            let _ = writeln!(text, "anchor \"{}\" all {{", path.name());
        }
        Line::Close(depth) => {
            indent(text, view, depth);
            text.push_str("}\n");
        }
    })
}

fn write_rule(text: &mut String, view: &View<'_>, rule: &InstalledEtherRule<'_>, opens: bool) {
    if view.style.verbose >= 2 || view.style.debug {
        let _ = write!(text, "@{} ", rule.number);
    }
    text.push_str(&print_ether_rule(rule.rule));
    text.push_str(if opens { " {\n" } else { "\n" });
    let last_active = |counters: &EtherCounters| {
        let at = counters.last_active?.since_origin().as_secs();
        Some(view.origin.saturating_add(at))
    };
    write_counters(
        text,
        &rule.counters,
        view.style.verbose,
        last_active(&rule.counters),
    );
}

/// The lines below a rule with `-v` and `-vv`; `last_active` in seconds since 1970.
fn write_counters(
    text: &mut String,
    counters: &EtherCounters,
    verbose: u8,
    last_active: Option<u64>,
) {
    if verbose >= 1 {
        let _ = writeln!(
            text,
            "  [ Evaluations: {:<8}  Packets: {:<8}  Bytes: {:<10}]",
            counters.evaluations,
            counters.traffic.packets(),
            counters.traffic.bytes(),
        );
    }
    if verbose >= 2 {
        let date = last_active.map_or_else(|| "N/A".to_owned(), super::time::date);
        let _ = writeln!(text, "  [ Last Active Time: {date} ]");
    }
}

#[cfg(test)]
mod tests {
    use pf_engine::counters::Traffic;

    use super::*;

    #[test]
    fn counters_stand_below_a_rule_as_far_as_is_asked() {
        let counters = EtherCounters {
            evaluations: 12,
            traffic: Traffic {
                packets_in: 1,
                bytes_in: 60,
                packets_out: 2,
                bytes_out: 120,
            },
            last_active: None,
        };
        let first = "  [ Evaluations: 12        Packets: 3         Bytes: 180       ]\n";
        for (verbose, expected) in [
            (0, String::new()),
            (1, first.to_owned()),
            (2, format!("{first}  [ Last Active Time: N/A ]\n")),
        ] {
            let mut text = String::new();
            write_counters(&mut text, &counters, verbose, None);
            assert_eq!(text, expected);
        }
    }
}
