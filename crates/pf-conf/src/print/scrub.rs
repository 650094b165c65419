//! `scrub` rules and `scrub (…)`.

use pf_engine::engine::RuleList;
use pf_engine::rule::{Action, FragmentMode, Rule};
use pf_engine::ruleset::Dialect;

/// The options, in parentheses unless the rule is a `scrub` rule.
pub(super) fn options(rule: &Rule, dialect: Dialect, words: &mut Vec<String>) {
    let mut list = before_tcp(rule);
    if is_scrub(rule) {
        words.append(&mut list);
        return;
    }
    // Both end with the MSS.
    let is_mss = |word: &String| word.starts_with("max-mss");
    let at = list.iter().position(is_mss);
    let mss = at.map(|at| list.remove(at));
    list.extend(tcp(rule).into_iter().chain(mss));
    if list.is_empty() {
        return;
    }
    let list = list.join(" ");
    words.push(match dialect {
        Dialect::FreeBsd => format!("scrub( {list})"),
        Dialect::OpenBsd | Dialect::OpenBsd3 => format!("scrub ({list})"),
    });
}

/// What a `scrub` rule says behind that, if it is not `no scrub`.
pub(super) fn fragments(rule: &Rule, words: &mut Vec<String>) {
    if rule.action == Action::Scrub {
        words.extend(tcp(rule));
        let mode = match rule.fragments {
            FragmentMode::Reassemble => "fragment reassemble",
            FragmentMode::Keep => "fragment no reassemble",
            FragmentMode::Crop => "fragment crop",
            FragmentMode::DropOverlap => "fragment drop-ovl",
        };
        words.push(mode.to_owned());
    }
}

fn is_scrub(rule: &Rule) -> bool {
    RuleList::of(&rule.action) == RuleList::Scrub
}

fn tcp(rule: &Rule) -> Option<String> {
    rule.scrub
        .reassemble_tcp
        .then(|| "reassemble tcp".to_owned())
}

fn before_tcp(rule: &Rule) -> Vec<String> {
    let scrub = &rule.scrub;
    let numbers = [
        scrub.min_ttl.map(|ttl| format!("min-ttl {ttl}")),
        scrub.max_mss.map(|mss| format!("max-mss {mss}")),
        scrub.set_tos.map(|tos| format!("set-tos 0x{tos:02x}")),
    ];
    [(scrub.no_df, "no-df"), (scrub.random_id, "random-id")]
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, word)| word.to_owned())
        .chain(numbers.into_iter().flatten())
        .collect()
}
