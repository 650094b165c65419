//! Rules that can never match, or never count.

use std::collections::BTreeMap;

use pf_engine::anchor::AnchorPath;
use pf_engine::engine::RuleList;
use pf_engine::rule::{Action, Rule};

use super::covers::{covers, covers_but_flags, is_plain, takes_all};
use super::{Warning, WarningKind};
use crate::Loaded;
use crate::origin::Origins;
use crate::print::{PrintOptions, print_rule};
use crate::source::Span;

/// Pairs of rules that are compared at most, for one list: a ruleset of ten thousand rules, and
/// about a second.
pub(super) const MAX_COMPARISONS: u64 = 50_000_000;

/// Looks through all lists, with at most `limit` comparisons in each.
pub(super) fn check(loaded: &Loaded, limit: u64, warnings: &mut Vec<Warning>) {
    let anchors = loaded.ruleset.anchors.iter();
    for (anchor, ruleset) in anchors.chain([(&loaded.anchor, &loaded.ruleset)]) {
        for list in RuleList::ALL {
            let rules = ruleset.list(list);
            let spans = loaded.origins.list(anchor, list);
            if rules.len() == spans.len() {
                Comparison::new((anchor, list), rules, spans, limit).check(loaded, warnings);
            }
        }
    }
}

/// What is wrong with one rule.
#[derive(Clone, Copy)]
struct Finding {
    rule: usize,
    other: usize,
    kind: WarningKind,
}

struct Comparison<'a> {
    anchor: &'a AnchorPath,
    list: RuleList,
    rules: &'a [Rule],
    spans: &'a [Span],
    plain: Vec<bool>,
    /// For each rule, how many before it may change what later rules see of a packet.
    changing: Vec<usize>,
    comparisons: u64,
    limit: u64,
}

impl<'a> Comparison<'a> {
    fn new(
        (anchor, list): (&'a AnchorPath, RuleList),
        rules: &'a [Rule],
        spans: &'a [Span],
        limit: u64,
    ) -> Self {
        let mut count = 0;
        let changing = rules
            .iter()
            .map(|rule| {
                let before = count;
                count += usize::from(list == RuleList::Filter && changes_packet(rule));
                before
            })
            .collect();
        Self {
            anchor,
            list,
            rules,
            spans,
            plain: rules.iter().map(is_plain).collect(),
            changing,
            comparisons: 0,
            limit,
        }
    }

    fn check(&mut self, loaded: &Loaded, warnings: &mut Vec<Warning>) {
        let mut findings = self.taken_before();
        if self.list == RuleList::Filter {
            let known: Vec<usize> = findings.iter().map(|finding| finding.rule).collect();
            let later = self.overridden();
            findings.extend(
                later
                    .into_iter()
                    .filter(|f| known.binary_search(&f.rule).is_err()),
            );
        }
        self.tell(&findings, loaded, warnings);
        if self.comparisons >= self.limit
            && let Some(span) = self.spans.first()
        {
            warnings.push(Warning {
                kind: WarningKind::NotCompared,
                message: "not every rule was compared with every other".to_owned(),
                why: format!("{} rules are too many", self.rules.len()),
                span: *span,
                other: None,
            });
        }
    }

    /// Rules whose packets an earlier one takes: a quick one, or the first of a translation list.
    fn taken_before(&mut self) -> Vec<Finding> {
        let mut takers: Vec<usize> = Vec::new();
        let mut findings = Vec::new();
        for rule in 0..self.rules.len() {
            let found = takers.iter().find_map(|taker| self.takes(*taker, rule));
            findings.extend(found);
            self.comparisons += takers.len() as u64;
            if self.comparisons >= self.limit {
                break;
            }
            let is_taker = self.list != RuleList::Filter || self.rules[rule].quick;
            if is_taker && self.plain[rule] {
                takers.push(rule);
            }
        }
        findings
    }

    fn takes(&self, taker: usize, rule: usize) -> Option<Finding> {
        let (a, b) = (&self.rules[taker], &self.rules[rule]);
        if self.spans[taker] == self.spans[rule] || !self.see_the_same(taker, rule) {
            return None;
        }
        // `binat` is turned round for what comes in: the target is a criterion too.
        if self.list == RuleList::Binat && a.nat != b.nat {
            return None;
        }
        let kind = if covers(a, b) && covers(b, a) && self.plain[rule] {
            let same = a.action == b.action && self.list == RuleList::Filter;
            if same {
                WarningKind::AfterIdenticalQuick
            } else {
                WarningKind::NeverMatches
            }
        } else if covers(a, b) {
            WarningKind::NeverMatches
        } else if is_block(b) && a.action == Action::Pass && takes_all(a) && covers_but_flags(a, b)
        {
            WarningKind::BlockAfterPassAll
        } else {
            return None;
        };
        Some(Finding {
            rule,
            other: taker,
            kind,
        })
    }

    /// Rules of which a later one always matches too: the last match wins.
    fn overridden(&mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for earlier in 0..self.rules.len() {
            let rule = &self.rules[earlier];
            let logs_all = rule.log.is_some_and(|log| log.matches);
            if rule.quick || rule.tag.is_some() || logs_all || !decides(rule) {
                continue;
            }
            let later =
                (earlier + 1..self.rules.len()).find(|later| self.overrides(*later, earlier));
            let last = later.unwrap_or(self.rules.len());
            self.comparisons += (last - earlier) as u64;
            findings.extend(later.map(|later| self.finding(earlier, later)));
            if self.comparisons >= self.limit {
                break;
            }
        }
        findings
    }

    fn overrides(&self, later: usize, earlier: usize) -> bool {
        let rule = &self.rules[later];
        self.plain[later]
            && decides(rule)
            && self.spans[later] != self.spans[earlier]
            && covers(rule, &self.rules[earlier])
            && self.see_the_same(earlier, later)
    }

    fn finding(&self, earlier: usize, later: usize) -> Finding {
        if self.rules[earlier] == self.rules[later] {
            return Finding {
                rule: later,
                other: earlier,
                kind: WarningKind::Duplicate,
            };
        }
        Finding {
            rule: earlier,
            other: later,
            kind: WarningKind::NoEffect,
        }
    }

    /// Whether no rule between `first` and `second` may change addresses, ports or tags.
    fn see_the_same(&self, first: usize, second: usize) -> bool {
        self.changing.get(first + 1) == self.changing.get(second)
    }

    /// One warning for each statement and kind.
    fn tell(&self, findings: &[Finding], loaded: &Loaded, warnings: &mut Vec<Warning>) {
        let mut sizes: BTreeMap<Span, usize> = BTreeMap::new();
        for span in self.spans {
            *sizes.entry(*span).or_default() += 1;
        }
        let mut groups: BTreeMap<(Span, WarningKind), Vec<Finding>> = BTreeMap::new();
        for finding in findings {
            let key = (self.spans[finding.rule], finding.kind);
            groups.entry(key).or_default().push(*finding);
        }
        for ((span, kind), group) in groups {
            let whole = sizes.get(&span) == Some(&group.len());
            warnings.push(self.warning(span, kind, &group, whole, loaded));
        }
    }

    fn warning(
        &self,
        span: Span,
        kind: WarningKind,
        group: &[Finding],
        whole: bool,
        loaded: &Loaded,
    ) -> Warning {
        let first = group[0];
        let place = place(&loaded.origins, (self.anchor, self.list), first.other);
        let (message, why, role) = words(kind, self.list);
        let mut message = message.to_owned();
        if !whole {
            let options = PrintOptions {
                dialect: loaded.ruleset.dialect,
                ..PrintOptions::default()
            };
            let text = print_rule(&self.rules[first.rule], options);
            let more = match group.len() - 1 {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            message = format!("{message}, of its parts: `{text}`{more}");
        }
        Warning {
            kind,
            message,
            why: why.replace("{}", &place),
            span,
            other: Some((self.spans[first.other], role.to_owned())),
        }
    }
}

fn place(origins: &Origins, (anchor, list): (&AnchorPath, RuleList), number: usize) -> String {
    let place = origins.place_in(anchor, list, number);
    place.map_or_else(String::new, |place| {
        format!("{}:{}", place.file, place.line)
    })
}

/// Message, reason (`{}` for the other rule's place), and what the other rule is.
const fn words(kind: WarningKind, list: RuleList) -> (&'static str, &'static str, &'static str) {
    match kind {
        WarningKind::AfterIdenticalQuick => (
            "rule repeats an earlier quick rule and never matches",
            "the quick rule at {} asks for the same",
            "the same, quick",
        ),
        WarningKind::Duplicate => (
            "duplicate rule",
            "the rule at {} is the same, and has no effect because of this one",
            "the same",
        ),
        WarningKind::NoEffect => (
            "rule has no effect",
            "the rule at {} matches every packet that this one matches, and the last match wins",
            "matches all of it, later",
        ),
        WarningKind::BlockAfterPassAll => (
            "block can hardly match",
            "`pass quick` at {} takes everything but TCP packets that open no connection",
            "takes nearly all of it",
        ),
        WarningKind::NeverMatches
        | WarningKind::UnusedMacro
        | WarningKind::MacroTwice
        | WarningKind::TableTwice
        | WarningKind::Unfiltered
        | WarningKind::UnusedTable
        | WarningKind::UndefinedTable
        | WarningKind::NotCompared => (
            "rule never matches",
            match list {
                RuleList::Filter => {
                    "the quick rule at {} takes every packet that this one asks for"
                }
                RuleList::Scrub => {
                    "the rule at {} takes every packet that this one asks for, and the first \
                     scrub rule that matches decides"
                }
                RuleList::Nat | RuleList::Rdr | RuleList::Binat => {
                    "the rule at {} takes every packet that this one asks for, and the first \
                     translation rule that matches decides"
                }
            },
            "takes all of it",
        ),
    }
}

const fn is_block(rule: &Rule) -> bool {
    matches!(rule.action, Action::Block(_))
}

/// Whether the rule decides, when it is the last that matches.
const fn decides(rule: &Rule) -> bool {
    matches!(rule.action, Action::Pass | Action::Block(_))
}

/// Whether later rules may see another packet than this one did. Of what is neither `pass` nor
/// `block`, only a `match` that does not translate is known not to.
fn changes_packet(rule: &Rule) -> bool {
    // Rules in an anchor may do anything.
    let translates =
        rule.anchor.is_some() || rule.nat.is_some() || rule.rdr.is_some() || rule.af_to.is_some();
    let known = decides(rule) || (rule.action == Action::Match && !translates);
    rule.tag.is_some() || !known
}
