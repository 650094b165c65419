//! What rules ask beside the packet's headers, and what they do to packets that they pass.

use pf_engine::criteria::{Divert, OwnerMatch, Probability};
use pf_engine::rule::Rule;

use super::name;

/// `received-on`, `user`, `group`.
pub(super) fn words(rule: &Rule, words: &mut Vec<String>) {
    if let Some(interface) = &rule.criteria.received_on {
        let not = if interface.negated { "! " } else { "" };
        words.push(match interface.name.as_str() {
            "any" => format!("{not}received-on any"),
            other => format!("{not}received-on {}", name(other)),
        });
    }
    let owners = [("user", rule.criteria.user), ("group", rule.criteria.group)];
    for (keyword, owner) in owners {
        words.extend(owner.map(|owner| format!("{keyword} {}", owner_words(owner))));
    }
}

fn owner_words(owner: OwnerMatch) -> String {
    match owner {
        OwnerMatch::Unknown => "= unknown".to_owned(),
        OwnerMatch::Known => "!= unknown".to_owned(),
        OwnerMatch::Eq(n) => format!("= {n}"),
        OwnerMatch::Ne(n) => format!("!= {n}"),
        OwnerMatch::Lt(n) => format!("< {n}"),
        OwnerMatch::Le(n) => format!("<= {n}"),
        OwnerMatch::Gt(n) => format!("> {n}"),
        OwnerMatch::Ge(n) => format!(">= {n}"),
        OwnerMatch::Inside(a, b) => format!("{a} >< {b}"),
        OwnerMatch::Outside(a, b) => format!("{a} <> {b}"),
    }
}

pub(super) fn probability(probability: Probability) -> String {
    let shown = format!("{:.6}", probability.percent());
    let shown = shown.trim_end_matches('0').trim_end_matches('.');
    format!("probability {shown}%")
}

/// What a rule asks beside the packet's headers, as it is printed.
#[must_use]
pub fn print_criteria(rule: &Rule) -> String {
    let criteria = &rule.criteria;
    let mut text = Vec::new();
    words(rule, &mut text);
    text.extend(criteria.priority.map(|priority| format!("prio {priority}")));
    text.extend(criteria.probability.map(probability));
    text.join(" ")
}

/// `rtable`, `divert-…`.
pub(super) fn treatment(rule: &Rule, words: &mut Vec<String>) {
    let treatment = rule.treatment;
    words.extend(
        treatment
            .routing_table
            .map(|table| format!("rtable {table}")),
    );
    words.extend(treatment.divert.map(|divert| match divert {
        Divert::To(to) => format!("divert-to {} port {}", to.ip(), to.port()),
        Divert::Reply => "divert-reply".to_owned(),
    }));
}
