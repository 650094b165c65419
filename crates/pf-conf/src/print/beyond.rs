//! What rules set in packets: each PF has another way of saying it.

use pf_engine::rule::Rule;
use pf_engine::ruleset::Dialect;

use super::{limits, name};
use crate::extras::{Extras, SetOptions};

/// `prio`, `set (…)`, `max-pkt-…`.
pub(super) fn set_words(rule: &Rule, extras: &Extras, dialect: Dialect, words: &mut Vec<String>) {
    words.extend(
        rule.criteria
            .priority
            .map(|priority| format!("prio {priority}")),
    );
    if dialect == Dialect::OpenBsd {
        words.extend(limits::packets(rule));
        words.extend(set(rule, &extras.set, true).map(|list| format!("set ({list})")));
    } else {
        words.extend(set(rule, &extras.set, false).map(|list| format!("set ( {list} )")));
        words.extend(limits::packets(rule));
    }
}

fn set(rule: &Rule, options: &SetOptions, with_queue: bool) -> Option<String> {
    let mut list = Vec::new();
    match rule.treatment.priority {
        None => {}
        Some((all, acks)) if all == acks => list.push(format!("prio {all}")),
        Some((all, acks)) => list.push(format!("prio({all}, {acks})")),
    }
    list.extend(queue(rule).filter(|_| with_queue));
    list.extend(rule.set_tos.map(|tos| format!("tos 0x{tos:02x}")));
    list.extend(options.delay.map(|delay| format!("delay {delay}")));
    (!list.is_empty()).then(|| list.join(", "))
}

/// `queue …`.
pub(super) fn queue(rule: &Rule) -> Option<String> {
    let choice = rule.queue.as_ref()?;
    let normal = name(&choice.normal);
    Some(match &choice.urgent {
        None => format!("queue {normal}"),
        Some(urgent) => format!("queue({normal}, {})", name(urgent)),
    })
}
