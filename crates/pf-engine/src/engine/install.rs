//! Putting rulesets into force.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compile::{Compiler, Lists};
use crate::engine::{Engine, TableError, tables};
use crate::installed::RuleId;
use crate::lifetime;
use crate::rule::{Address, Pool, Rule};
use crate::ruleset::{Limit, Ruleset};

impl Engine {
    pub(super) fn install_ruleset(&mut self, mut ruleset: Ruleset) -> Result<(), TableError> {
        self.check_table_entries(&ruleset)?;
        self.dialect = ruleset.dialect;
        self.options = std::mem::take(&mut ruleset.options);
        self.timeouts = lifetime::timeouts(&self.options);
        for (name, definition) in &ruleset.tables {
            let id = self.tables.ensure(self.now, name);
            if let Some(table) = self.tables.get_mut(id) {
                table.define(definition);
            }
        }
        self.net.clear_dynamics();
        let lists = Compiler {
            now: self.now,
            names: &mut self.names,
            net: &mut self.net,
            tables: &mut self.tables,
            rules: &mut self.rules,
            state_policy: self.options.state_policy,
        }
        .lists(ruleset);
        self.replace_lists(lists);
        Ok(())
    }

    /// Puts `lists` into force. Rules that are in both lists stay as they are; the others are
    /// taken out of force and release their tables.
    pub(super) fn replace_lists(&mut self, lists: Lists) {
        let before = std::mem::replace(&mut self.lists, Arc::new(lists));
        let kept: BTreeSet<RuleId> = self.lists.iter().map(|rule| rule.id).collect();
        for rule in before.iter().filter(|rule| !kept.contains(&rule.id)) {
            for table in rule.tables() {
                self.tables.release(table);
            }
            self.rules.retire(rule.id);
        }
        self.remove_unreferenced_tables();
        self.net.invalidate();
        self.advance_epoch();
    }

    /// `set limit table-entries` of the new ruleset, against what there will be.
    fn check_table_entries(&self, ruleset: &Ruleset) -> Result<(), TableError> {
        let set = ruleset
            .options
            .limits
            .iter()
            .rev()
            .find(|(l, _)| *l == Limit::TableEntries);
        let limit = set.map_or(Limit::TableEntries.default_value(), |(_, value)| *value);
        let named = referenced_tables(ruleset);
        let declared = ruleset
            .tables
            .iter()
            .filter(|(name, table)| table.has_contents && (table.persist || named.contains(*name)))
            .map(|(_, table)| table.entries.len());
        let kept = self
            .tables
            .iter()
            .filter(|table| match ruleset.tables.get(table.name()) {
                Some(definition) => !definition.has_contents,
                None => table.is_persistent() || named.contains(table.name()),
            })
            .map(crate::table::Table::len);
        tables::check_entries(declared.chain(kept).sum(), limit)
    }
}

/// The tables that any rule names.
fn referenced_tables(ruleset: &Ruleset) -> BTreeSet<String> {
    ruleset.rules().flat_map(tables_of).cloned().collect()
}

fn tables_of(rule: &Rule) -> impl Iterator<Item = &String> {
    let ends = [&rule.source.address, &rule.destination.address];
    let route = rule.route.as_ref().map(|route| &route.pool);
    let pools: [Option<&Pool>; 3] = [rule.nat.as_ref(), rule.rdr.as_ref(), route];
    let targets = pools.into_iter().flatten().flat_map(|pool| &pool.targets);
    ends.into_iter()
        .chain(targets.map(|target| &target.address))
        .filter_map(|address| {
            if let Address::Table(name) = address {
                Some(name)
            } else {
                None
            }
        })
}
