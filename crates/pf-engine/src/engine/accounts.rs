//! What packets did at each interface, and in the tables that rules name.

use std::collections::BTreeMap;

use crate::counters::Count;
use crate::engine::Engine;
use crate::engine::packet::{Place, Work};
use crate::engine::tally::Tally;
use crate::engine::test::length;
use crate::installed::RuleId;
use crate::rule::{Address, Direction, Rule};
use crate::ruleset::Dialect;
use crate::table::{TableUse, Verdict};
use crate::time::Instant;
use crate::view::{InterfaceCounters, InterfaceReferences};

impl Engine {
    /// `pfctl -i name -F info`: zeroes the counters of an interface.
    pub fn clear_interface_counters(&mut self, now: Instant, name: &str) {
        self.read_flows();
        self.now = now;
        if let Some(id) = self.names.find(name) {
            self.interfaces.insert(id, InterfaceCounters::since(now));
        }
    }

    /// What packets did at the interface of that name (`pfctl -vvsI`).
    #[must_use]
    pub fn interface_counters(&self, name: &str) -> InterfaceCounters {
        let id = self.names.find(name);
        let known = id.and_then(|id| self.interfaces.get(&id));
        known
            .copied()
            .unwrap_or_else(|| InterfaceCounters::since(self.interfaces_since))
    }

    /// What refers to interfaces, by name. A walk over all rules; states are counted as they come and
    /// go.
    #[must_use]
    pub fn interface_references(&self) -> BTreeMap<String, InterfaceReferences> {
        let mut references: BTreeMap<String, InterfaceReferences> = BTreeMap::new();
        for (bound, states) in self.states.bound() {
            let name = bound.map_or("all", |bound| self.names.name(bound));
            references.entry(name.to_owned()).or_default().states += states;
        }
        let rules = self.all_rules().flat_map(interfaces_of);
        let ether = self.all_lists().flat_map(|lists| &lists.ether);
        let ether = ether.filter_map(|rule| self.ether_rules.get(rule.id));
        let ether = ether.flat_map(|entry| {
            let on = entry.rule.interface.as_ref().map(|on| on.name.as_str());
            on.into_iter().chain(entry.rule.bridge_to.as_deref())
        });
        for name in rules.chain(ether) {
            references.entry(name.to_owned()).or_default().rules += 1;
        }
        references
    }

    /// A packet that is dropped at `place` before the rules are asked.
    pub(super) fn count_refused(&mut self, place: Place, work: &Work<'_>) {
        let count = Count::one(length(&work.meta));
        self.count_at(place, work.meta.family, count, false);
    }

    /// The rules in force, of all rulesets.
    fn all_rules(&self) -> impl Iterator<Item = &Rule> {
        let ids = self.all_lists().flat_map(crate::compile::Lists::iter);
        ids.filter_map(|rule| Some(&self.rules.get(rule.id)?.rule))
    }

    /// Counts in the tables that the rule names. Those of a `match` rule count what became of the
    /// packet, as in FreeBSD; OpenBSD has counters of their own for them.
    pub(super) fn tally_tables(
        &mut self,
        rule: RuleId,
        direction: Direction,
        count: Count,
        tally: &Tally<'_>,
        by_match: bool,
    ) {
        let verdict = if by_match && self.dialect() == Dialect::OpenBsd {
            Verdict::Matched
        } else if tally.passed {
            Verdict::Passed
        } else {
            Verdict::Blocked
        };
        let Some(entry) = self.rules.get(rule) else {
            return;
        };
        let [source, destination] = entry.tables;
        let used = [(source, tally.source), (destination, tally.destination)];
        for (table, address) in used {
            let Some((id, negated)) = table else {
                continue;
            };
            let meant = self.tables.meant(id);
            if let Some(table) = meant.and_then(|id| self.tables.get_mut(id)) {
                table.count(TableUse {
                    address,
                    negated,
                    direction,
                    verdict,
                    by_match,
                    count,
                });
            }
        }
    }
}

/// The interfaces and groups that a rule names: after `on`, and in parentheses in `from` and `to`.
fn interfaces_of(rule: &Rule) -> impl Iterator<Item = &str> {
    let ends = [&rule.source.address, &rule.destination.address];
    let dynamic = ends.into_iter().filter_map(|address| {
        if let Address::Dynamic(dynamic) = address {
            Some(dynamic.interface.as_str())
        } else {
            None
        }
    });
    let on = rule.interface.iter().map(|on| on.name.as_str());
    on.chain(dynamic)
}
