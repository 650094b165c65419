//! Rules that send packets by interfaces, or translate on them, whose packets nobody shows to the filter.

use std::collections::BTreeSet;

use pf_engine::anchor::AnchorPath;
use pf_engine::engine::RuleList;
use pf_engine::env::Interface;
use pf_engine::rule::{RouteKind, Rule};

use super::{Warning, WarningKind, Warnings};
use crate::Loaded;

const WHY: &str = "no rule, state or translation meets packets there: answers that come in by it reach nobody; \
                   a hostname file of its name has it filtered, or `interfaces` of weighbridge.toml";

/// The first rule of each kind that names such an interface.
struct Found<'a> {
    anchor: &'a AnchorPath,
    list: RuleList,
    number: usize,
    message: String,
}

/// What is said of the interfaces in `present` that rules send packets by or translate on and that are
/// not `filtered`: once for each, with the place of the first rule.
#[must_use]
pub fn unfiltered(loaded: &Loaded, present: &[Interface], filtered: &[String]) -> Vec<String> {
    let tell = |found: Found<'_>| {
        let origins = &loaded.origins;
        let place = origins.place_in(found.anchor, found.list, found.number);
        let place = place.map_or_else(String::new, |place| format!("{place}: "));
        format!("{place}{}: {WHY}", found.message)
    };
    find(loaded, present, filtered)
        .into_iter()
        .map(tell)
        .collect()
}

impl Warnings {
    /// Adds what [`unfiltered`] says.
    pub fn add_unfiltered(&mut self, loaded: &Loaded, present: &[Interface], filtered: &[String]) {
        for found in find(loaded, present, filtered) {
            let spans = loaded.origins.list(found.anchor, found.list);
            self.list
                .extend(spans.get(found.number).map(|span| Warning {
                    kind: WarningKind::Unfiltered,
                    message: found.message,
                    why: WHY.to_owned(),
                    span: *span,
                    other: None,
                }));
        }
        self.sort();
    }
}

fn find<'a>(loaded: &'a Loaded, present: &[Interface], filtered: &[String]) -> Vec<Found<'a>> {
    let is_unfiltered = |name: &str| {
        present.iter().any(|interface| interface.name == name)
            && !filtered.iter().any(|known| known == name)
    };
    let mut told = BTreeSet::new();
    let mut all = Vec::new();
    let anchors = loaded.ruleset.anchors.iter();
    for (anchor, ruleset) in anchors.chain([(&loaded.anchor, &loaded.ruleset)]) {
        for list in RuleList::ALL {
            for (number, rule) in ruleset.list(list).iter().enumerate() {
                for (what, name) in named(list, rule) {
                    if is_unfiltered(name) && told.insert((what, name)) {
                        all.push(Found {
                            anchor,
                            list,
                            number,
                            message: format!("`{what} {name}`: {name} is not filtered"),
                        });
                    }
                }
            }
        }
    }
    all
}

/// The interfaces that a rule sends packets by, or translates on.
fn named(list: RuleList, rule: &Rule) -> impl Iterator<Item = (&'static str, &str)> {
    let route = rule.route.as_ref().and_then(|route| {
        let what = match route.kind {
            RouteKind::RouteTo => "route-to",
            RouteKind::ReplyTo => "reply-to",
            RouteKind::DupTo => return None,
        };
        Some((what, &route.pool.targets))
    });
    let ways = route.into_iter().flat_map(|(what, targets)| {
        let names = targets
            .iter()
            .filter_map(|target| target.interface.as_deref());
        names.map(move |name| (what, name))
    });
    let on = rule.interface.as_ref().filter(|on| !on.negated);
    let what = match list {
        RuleList::Nat => Some("nat on"),
        RuleList::Binat => Some("binat on"),
        RuleList::Rdr => Some("rdr on"),
        RuleList::Filter if rule.nat.is_some() => Some("nat-to on"),
        RuleList::Filter if rule.rdr.is_some() => Some("rdr-to on"),
        RuleList::Filter | RuleList::Scrub => None,
    };
    ways.chain(what.zip(on.map(|on| on.name.as_str())))
}
