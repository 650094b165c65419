//! Rules in force and rules that only states still refer to, with their counters.

pub(crate) mod ether;
pub(crate) mod runs;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry::Occupied;

use serde::{Deserialize, Serialize};

use crate::anchor::AnchorPath;
use crate::counters::Count;
use crate::counters::Traffic;
use crate::installed::runs::{Place, RunId, Runs};
use crate::pool::Cursor;
use crate::rule::{Direction, Rule, Timeout};
use crate::slab::Slab;
use crate::table::TableId;
use crate::threshold::Threshold;
use crate::time::Instant;
use crate::view::RuleCounters;

/// Number of a rule, its own as long as it is in force or a state refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RuleId(u32);

impl RuleId {
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// A rule that was installed.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) rule: Rule,
    /// The ruleset that it is in.
    pub(crate) anchor: AnchorPath,
    /// Its number in its list; nothing once another ruleset is in force.
    pub(crate) number: Option<u32>,
    /// A rule with `once` that has decided: it is not looked at any more.
    pub(crate) expired: bool,
    /// Evaluations are those of its own alone: see [`Rules::counters`].
    counters: RuleCounters,
    /// Where it is evaluated with others.
    runs: Vec<Place>,
    /// Tables of `from` and `to`, each with its negation.
    pub(crate) tables: [Option<(TableId, bool)>; 2],
    /// Where the pools stand, by [`PoolUse`].
    cursors: [Cursor; 3],
    /// Packets in the time of `max-pkt-rate`.
    packet_rate: Option<Threshold>,
    /// Source nodes that refer to the rule.
    nodes: u32,
}

/// Which pool of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PoolUse {
    /// `nat-to`, `nat ->`.
    Nat,
    /// `rdr-to`, `rdr ->`.
    Rdr,
    /// `route-to` and its kin.
    Route,
}

impl Entry {
    pub(crate) fn cursor(&mut self, pool: PoolUse) -> &mut Cursor {
        let [nat, rdr, route] = &mut self.cursors;
        match pool {
            PoolUse::Nat => nat,
            PoolUse::Rdr => rdr,
            PoolUse::Route => route,
        }
    }

    /// States that refer to it now.
    pub(crate) const fn states(&self) -> u32 {
        self.counters.states
    }

    /// Whether states or source nodes need it.
    const fn is_needed(&self) -> bool {
        self.counters.states > 0 || self.nodes > 0
    }

    /// The rule's own value of a timeout.
    pub(crate) fn timeout(&self, timeout: Timeout) -> Option<u32> {
        let own = &self.rule.state_options.timeouts;
        own.iter()
            .rev()
            .find(|(name, _)| *name == timeout)
            .map(|(_, value)| *value)
    }
}

/// All rules.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    slab: Slab<Entry>,
    runs: Runs,
    /// Tables that `overload` names, with how many rules do.
    overloads: BTreeMap<String, u32>,
}

impl Rules {
    pub(crate) fn install(
        &mut self,
        rule: Rule,
        (anchor, number): (&AnchorPath, u32),
        tables: [Option<(TableId, bool)>; 2],
    ) -> RuleId {
        if let Some(table) = overload_table(&rule) {
            let rules = self.overloads.entry(table.to_owned()).or_default();
            *rules = rules.saturating_add(1);
        }
        let entry = Entry {
            rule,
            anchor: anchor.clone(),
            number: Some(number),
            expired: false,
            counters: RuleCounters::default(),
            runs: Vec::new(),
            tables,
            cursors: <[Cursor; 3]>::default(),
            packet_rate: None,
            nodes: 0,
        };
        RuleId(self.slab.insert(entry).unwrap_or(u32::MAX))
    }

    /// A rule that is not in force: states of before a restart refer to it.
    pub(crate) fn install_retired(&mut self, anchor: &AnchorPath, rule: Rule) -> RuleId {
        let id = self.install(rule, (anchor, 0), [None; 2]);
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.number = None;
        }
        id
    }

    pub(crate) fn get(&self, id: RuleId) -> Option<&Entry> {
        self.slab.get(id.0)
    }

    pub(crate) fn get_mut(&mut self, id: RuleId) -> Option<&mut Entry> {
        self.slab.get_mut(id.0)
    }

    /// Takes a rule out of force; it stays while states refer to it.
    pub(crate) fn retire(&mut self, id: RuleId) {
        let Some(entry) = self.slab.get_mut(id.0) else {
            return;
        };
        entry.number = None;
        for place in std::mem::take(&mut entry.runs) {
            let counted = self.runs.get(place);
            entry.counters.evaluations = entry.counters.evaluations.wrapping_add(counted);
            self.runs.leave(place);
        }
        if !entry.is_needed() {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: RuleId) {
        let Some(entry) = self.slab.remove(id.0) else {
            return;
        };
        let table = overload_table(&entry.rule).map(str::to_owned);
        if let Some(Occupied(mut rules)) = table.map(|table| self.overloads.entry(table)) {
            *rules.get_mut() = rules.get().saturating_sub(1);
            if *rules.get() == 0 {
                rules.remove();
            }
        }
    }

    /// Whether states of any rule put addresses into a table of that name.
    pub(crate) fn fill_table(&self, name: &str) -> bool {
        self.overloads.contains_key(name)
    }

    /// A source node refers to the rule.
    pub(crate) fn refer_node(&mut self, id: RuleId) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.nodes = entry.nodes.saturating_add(1);
        }
    }

    /// A source node that referred to the rule is gone.
    pub(crate) fn release_node(&mut self, id: RuleId) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.nodes = entry.nodes.saturating_sub(1);
        }
        self.remove_if_over(id);
    }

    fn remove_if_over(&mut self, id: RuleId) {
        let is_over = |entry: &Entry| entry.number.is_none() && !entry.is_needed();
        if self.slab.get(id.0).is_some_and(is_over) {
            self.remove(id);
        }
    }

    /// Counts a packet for `max-pkt-rate`; whether the rule takes it.
    pub(crate) fn takes_packet(&mut self, id: RuleId, now: Instant) -> bool {
        let Some(entry) = self.slab.get_mut(id.0) else {
            return true;
        };
        let Some(rate) = entry.rule.max_packet_rate else {
            return true;
        };
        let threshold = entry
            .packet_rate
            .get_or_insert_with(|| Threshold::new(rate, now));
        threshold.add(now);
        !threshold.is_exceeded()
    }

    /// A state refers to the rule from now on, one that it made.
    pub(crate) fn refer(&mut self, id: RuleId) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.counters.states = entry.counters.states.wrapping_add(1);
            entry.counters.states_created = entry.counters.states_created.wrapping_add(1);
        }
    }

    /// A state of before a restart refers to the rule again: it was made long ago.
    pub(crate) fn refer_again(&mut self, id: RuleId) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.counters.states = entry.counters.states.wrapping_add(1);
        }
    }

    /// A state that referred to the rule is gone.
    pub(crate) fn release(&mut self, id: RuleId) {
        let Some(entry) = self.slab.get_mut(id.0) else {
            return;
        };
        entry.counters.states = entry.counters.states.saturating_sub(1);
        self.remove_if_over(id);
    }

    /// A rule with `once` has decided.
    pub(crate) fn expire(&mut self, id: RuleId) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.expired = true;
        }
    }

    pub(crate) fn is_expired(&self, id: RuleId) -> bool {
        self.slab.get(id.0).is_some_and(|entry| entry.expired)
    }

    /// The rule has counted that much before it was loaded again.
    pub(crate) fn go_on_counting(&mut self, id: RuleId, before: RuleCounters) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.counters.evaluations = before.evaluations;
            entry.counters.traffic = before.traffic;
        }
    }

    pub(crate) fn count_evaluation(&mut self, id: RuleId, packets: u64) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.counters.evaluations = entry.counters.evaluations.wrapping_add(packets);
        }
    }

    /// Rules that are evaluated together, in groups that begin with these.
    pub(crate) fn open_run(&mut self, firsts: &[RuleId]) -> RunId {
        let run = self
            .runs
            .open(u32::try_from(firsts.len()).unwrap_or(u32::MAX));
        for (group, id) in (0..).zip(firsts) {
            if let Some(entry) = self.slab.get_mut(id.0) {
                entry.runs.push(Runs::place(run, group));
            }
        }
        run
    }

    /// The first rules of the groups from `from` to the one before `to`, or to the last, were
    /// looked at, for so many packets.
    pub(crate) fn count_evaluations(
        &mut self,
        run: RunId,
        from: u32,
        to: Option<u32>,
        packets: u64,
    ) {
        self.runs.count(run, from, to, packets);
    }

    /// What a rule has counted.
    pub(crate) fn counters(&self, id: RuleId) -> Option<RuleCounters> {
        let entry = self.slab.get(id.0)?;
        let together = entry.runs.iter().map(|place| self.runs.get(*place));
        let own = entry.counters.evaluations;
        Some(RuleCounters {
            evaluations: together.fold(own, u64::wrapping_add),
            ..entry.counters
        })
    }

    pub(crate) fn count_packet(&mut self, id: RuleId, direction: Direction, count: Count) {
        if let Some(entry) = self.slab.get_mut(id.0) {
            entry.counters.traffic.count(direction, count);
        }
    }

    /// `pfctl -z`.
    pub(crate) fn clear_counters(&mut self) {
        for (_, entry) in self.slab.iter_mut() {
            entry.counters.evaluations = 0;
            entry.counters.traffic = Traffic::default();
            entry.counters.states_created = 0;
        }
        self.runs.clear();
    }

    /// Forgets tables that are gone.
    pub(crate) fn forget_tables(&mut self, gone: &[TableId]) {
        for (_, entry) in self.slab.iter_mut() {
            for table in &mut entry.tables {
                if table.is_some_and(|(id, _)| gone.contains(&id)) {
                    *table = None;
                }
            }
        }
    }

    /// Number of rules, those out of force included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }
}

fn overload_table(rule: &Rule) -> Option<&str> {
    let overload = rule.state_options.source.overload.as_ref();
    overload.map(|overload| overload.table.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Action;

    #[test]
    fn a_retired_rule_lives_as_long_as_its_states() {
        let mut rules = Rules::default();
        let id = rules.install(Rule::new(Action::Pass), (&AnchorPath::main(), 0), [None; 2]);
        rules.refer(id);
        rules.retire(id);
        rules.count_packet(id, Direction::In, Count::one(100));
        assert_eq!(rules.counters(id).unwrap().traffic.bytes_in, 100);
        rules.release(id);
        assert!(rules.get(id).is_none());
        assert_eq!(rules.len(), 0);
    }
}
