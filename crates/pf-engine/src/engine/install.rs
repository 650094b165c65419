//! Putting rulesets into force.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::addr::Protocol;
use crate::anchor::{AnchorPath, TableRef};
use crate::compile::{Compiler, Lists};
use crate::engine::{Engine, InstallError, TableError};
use crate::ether::EtherRule;
use crate::installed::RuleId;
use crate::lifetime;
use crate::osfp::pfos::Fingerprints;
use crate::rule::{Address, Rule};
use crate::ruleset::{Dialect, Limit, Options, Parts, Ruleset};
use crate::table::{Contents, Table, TableId};
use crate::time::Instant;
use crate::view::RuleCounters;

/// A ruleset on its way into force. Its tables are made ready in pieces, with packets in between
/// ([`Engine::stage`]); then all of it is installed at once.
#[derive(Debug)]
pub struct Staging {
    path: AnchorPath,
    parts: Parts,
    dialect: Dialect,
    options: Options,
    /// It, and those of its anchors.
    rulesets: BTreeMap<AnchorPath, Ruleset>,
    /// Tables whose contents are replaced.
    tables: Vec<(AnchorPath, String, Contents)>,
    /// How many of them are ready.
    ready: usize,
}

impl Staging {
    /// `parts` of `ruleset` and of its anchors, for `path`.
    #[must_use]
    pub fn new(path: AnchorPath, parts: Parts, mut ruleset: Ruleset) -> Self {
        let (dialect, options) = (ruleset.dialect, std::mem::take(&mut ruleset.options));
        let mut rulesets = std::mem::take(&mut ruleset.anchors);
        rulesets.insert(path.clone(), ruleset);
        let mut tables = Vec::new();
        for (anchor, rules) in rulesets.iter().filter(|_| parts.tables) {
            let filled = rules.tables.iter().filter(|(_, table)| table.has_contents);
            let staged =
                |(name, _): (&String, _)| (anchor.clone(), name.clone(), Contents::default());
            tables.extend(filled.map(staged));
        }
        Self {
            path,
            parts,
            dialect,
            options,
            rulesets,
            tables,
            ready: 0,
        }
    }
}

impl Engine {
    /// Makes the tables of `staging` ready, at most `max` addresses at a time. Returns whether
    /// there are more.
    pub fn stage(&self, now: Instant, staging: &mut Staging, max: usize) -> bool {
        let mut left = max;
        while let Some((anchor, name, contents)) = staging.tables.get_mut(staging.ready) {
            let rules = staging.rulesets.get(anchor);
            let definition = rules.and_then(|rules| rules.tables.get(name));
            let known = TableRef {
                anchor: anchor.as_str(),
                name,
            };
            let before = self.tables.find(known).and_then(|id| self.tables.get(id));
            let given = definition.map_or(&[][..], |definition| &definition.entries);
            let (taken, more) = contents.take(now, given, before, left);
            left = left.saturating_sub(taken);
            if more {
                return true;
            }
            staging.ready = staging.ready.saturating_add(1);
        }
        false
    }

    /// Puts a ruleset into force whose tables are ready.
    ///
    /// # Errors
    /// As [`Engine::install`].
    pub fn install_staged(&mut self, now: Instant, staging: Staging) -> Result<(), InstallError> {
        self.now = now;
        self.settle_flows();
        let Staging {
            path,
            parts,
            dialect,
            options,
            mut rulesets,
            tables,
            ready: _,
        } = staging;
        let has_options = path.is_main() && parts.options;
        let before = has_options.then(|| std::mem::replace(&mut self.options, options));
        if let Err(error) = self.check_room(&rulesets, parts) {
            self.options = before.unwrap_or_else(|| std::mem::take(&mut self.options));
            return Err(error);
        }
        if has_options {
            self.dialect = dialect;
            self.timeouts = lifetime::timeouts(&self.options, self.memory);
            self.debug = self.options.debug.or(self.debug);
            let fingerprints = self.options.fingerprints.clone();
            self.fingerprints = fingerprints.unwrap_or_else(Fingerprints::stock);
            self.config.creator_id = self.options.host_id.unwrap_or(self.config.creator_id);
        }
        if parts.filter {
            // Limiters have no anchor: a number is the same limiter everywhere.
            let sets = rulesets.values_mut().map(|rules| &mut rules.limiters);
            let limiters = sets.map(std::mem::take).collect();
            self.limiters.install(limiters, path.is_main());
        }
        if path.is_main()
            && parts.queues
            && let Some(main) = rulesets.get_mut(&path)
        {
            self.queues = std::mem::take(&mut main.queues);
        }
        self.abandon(&path, parts, &rulesets);
        for (anchor, rules) in &rulesets {
            self.define_tables(anchor, rules, parts);
        }
        for (anchor, name, contents) in tables {
            self.fill_table(&anchor, &name, contents);
        }
        for (anchor, rules) in rulesets {
            self.replace(&anchor, &path, parts, rules);
        }
        self.tidy();
        Ok(())
    }

    /// The limits in force are those of the ruleset that comes.
    fn check_room(
        &mut self,
        rulesets: &BTreeMap<AnchorPath, Ruleset>,
        parts: Parts,
    ) -> Result<(), InstallError> {
        if parts.tables {
            self.check_entries(self.entries_wanted(rulesets))?;
        }
        self.check_table_count(rulesets)?;
        self.check_anchors(rulesets)?;
        self.check_ether_anchors(rulesets)
    }

    fn define_tables(&mut self, anchor: &AnchorPath, rules: &Ruleset, parts: Parts) {
        for (name, definition) in rules.tables.iter().filter(|_| parts.tables) {
            let id = self.tables.ensure(self.now, anchor, name);
            if let Some(table) = self.tables.get_mut(id) {
                table.define(definition);
            }
        }
    }

    fn fill_table(&mut self, anchor: &AnchorPath, name: &str, contents: Contents) {
        let id = self.tables.ensure(self.now, anchor, name);
        if let Some(table) = self.tables.get_mut(id) {
            let (_, held) = table.replace(contents);
            self.tables.discard(held);
        }
    }

    /// Empties the anchors that the last text for `path` filled and this one does not.
    fn abandon(
        &mut self,
        path: &AnchorPath,
        parts: Parts,
        rulesets: &BTreeMap<AnchorPath, Ruleset>,
    ) {
        let filled = self
            .anchors
            .iter()
            .filter(|anchor| anchor.filled_by.as_ref() == Some(path));
        let left = filled
            .map(|anchor| anchor.path.clone())
            .filter(|path| !rulesets.contains_key(path));
        for anchor in left.collect::<Vec<_>>() {
            self.replace(&anchor, path, parts, Ruleset::default());
        }
    }

    /// Compiles `rules` and puts them into force at `anchor`, in place of those there.
    fn replace(&mut self, anchor: &AnchorPath, by: &AnchorPath, parts: Parts, rules: Ruleset) {
        let mut lists = Compiler {
            now: self.now,
            names: &mut self.names,
            net: &mut self.net,
            tables: &mut self.tables,
            rules: &mut self.rules,
            ether_rules: &mut self.ether_rules,
            anchors: &mut self.anchors,
            anchor: anchor.clone(),
            state_policy: self.options.state_policy,
            queue_numbers: &mut self.queue_numbers,
        }
        .lists(rules, parts);
        if let Some(old) = self.lists_at(anchor) {
            lists.complete(parts, old);
        }
        self.has_carried |= lists.iter().any(|rule| rule.treatment.is_carried());
        if self.options.keep_counters {
            self.keep_counters(anchor, &lists);
        }
        self.put(anchor, lists);
        if let Some(id) = self.anchors.find(anchor)
            && let Some(anchor) = self.anchors.get_mut(id)
        {
            anchor.filled_by = Some(by.clone());
        }
    }

    /// `set keepcounters`: each rule goes on counting where an equal one of the ruleset that goes
    /// has come to.
    fn keep_counters(&mut self, anchor: &AnchorPath, lists: &Lists) {
        let Some(old) = self.lists_at(anchor) else {
            return;
        };
        let mut counted: HashMap<&Rule, VecDeque<RuleCounters>> = HashMap::new();
        let before: BTreeSet<RuleId> = old.iter().map(|rule| rule.id).collect();
        for rule in old.iter() {
            let entry = self.rules.get(rule.id);
            if let Some((entry, counters)) = entry.zip(self.rules.counters(rule.id)) {
                counted.entry(&entry.rule).or_default().push_back(counters);
            }
        }
        let mut kept = Vec::new();
        for rule in lists.iter().filter(|rule| !before.contains(&rule.id)) {
            let entry = self.rules.get(rule.id);
            let same = entry.and_then(|entry| counted.get_mut(&entry.rule)?.pop_front());
            kept.extend(same.map(|counters| (rule.id, counters)));
        }
        for (rule, counters) in kept {
            self.rules.go_on_counting(rule, counters);
        }
    }

    /// The rules of the ruleset at `path`, if there is one.
    pub(super) fn lists_at(&self, path: &AnchorPath) -> Option<&Lists> {
        if path.is_main() {
            return Some(&self.lists);
        }
        Some(&self.anchors.at(path)?.lists)
    }

    /// Puts `lists` into force at `path`; [`Engine::tidy`] has to follow. Rules that are in both
    /// lists stay as they are; the others are taken out of force and release what they refer to.
    pub(super) fn put(&mut self, path: &AnchorPath, lists: Lists) {
        let kept: BTreeSet<RuleId> = lists.iter().map(|rule| rule.id).collect();
        let kept_ether: BTreeSet<RuleId> = lists.ether.iter().map(|rule| rule.id).collect();
        let known = self
            .anchors
            .ensure(path)
            .or_else(|| self.anchors.find(path));
        let place = match known.and_then(|id| self.anchors.get_mut(id)) {
            Some(anchor) => &mut anchor.lists,
            None => &mut self.lists,
        };
        let before = std::mem::replace(place, Arc::new(lists));
        for rule in before.iter().filter(|rule| !kept.contains(&rule.id)) {
            for table in rule.tables() {
                self.tables.release(table);
            }
            if let Some(call) = rule.call {
                self.anchors.release(call);
            }
            self.rules.retire(rule.id);
        }
        let ether = before.ether.iter();
        for rule in ether.filter(|rule| !kept_ether.contains(&rule.id)) {
            for table in rule.tables() {
                self.tables.release(table);
            }
            if let Some(call) = rule.call {
                self.anchors.release(call);
            }
            self.ether_rules.remove(rule.id);
        }
    }

    /// Removes what nothing refers to any more.
    pub(super) fn tidy(&mut self) {
        self.remove_unreferenced_tables();
        let tables = &self.tables;
        self.anchors.remove_empty(|path| tables.has_any(path));
        let (mut used, mut asks, mut asks_for_interface) = (BTreeSet::new(), false, false);
        let (mut asks_for_system, mut asks_for_openers) = (false, false);
        for rule in self.all_lists().flat_map(Lists::iter) {
            used.extend(rule.dynamics());
            asks |= rule.tagged.is_some();
            asks_for_interface |= rule.asked.received_on.is_some();
            asks_for_system |= rule.system.is_some();
            let may_be_tcp = rule
                .protocol
                .is_none_or(|protocol| protocol == Protocol::TCP);
            asks_for_openers |= may_be_tcp && rule.source.port.is_some();
        }
        for rule in self.all_lists().flat_map(|lists| &lists.ether) {
            used.extend(rule.dynamics());
            asks |= rule.tagged.is_some();
        }
        self.asks_for_tags = asks;
        self.asks_for_interface = asks_for_interface;
        self.asks_for_system = asks_for_system;
        self.asks_for_openers = asks_for_openers;
        self.net.retain_dynamics(&used);
        self.note_use(Limit::EtherAnchors);
        self.advance_epoch();
    }

    /// The rules of all rulesets.
    pub(super) fn all_lists(&self) -> impl Iterator<Item = &Lists> {
        let main = std::iter::once(&*self.lists);
        main.chain(self.anchors.iter().map(|anchor| &*anchor.lists))
    }

    /// `set limit anchors`, against what there will be.
    fn check_anchors(
        &mut self,
        rulesets: &BTreeMap<AnchorPath, Ruleset>,
    ) -> Result<(), InstallError> {
        let mut wanted: BTreeSet<AnchorPath> = BTreeSet::new();
        for (path, rules) in rulesets {
            let calls = rules.rules().filter_map(|rule| rule.anchor.as_ref());
            for path in calls.map(|call| &call.path).chain([path]) {
                let mut next = Some(path.clone());
                while let Some(path) = next.filter(|path| !path.is_main()) {
                    next = path.parent();
                    wanted.insert(path);
                }
            }
        }
        let new = wanted
            .iter()
            .filter(|path| self.anchors.find(path).is_none());
        let new = new.count();
        let total = self.anchors.len().saturating_add(new);
        // What is there already is not refused.
        if new == 0 || !self.is_reached(Limit::Anchors, total.saturating_sub(1)) {
            return Ok(());
        }
        self.hit(Limit::Anchors);
        let limit = self.bound(Limit::Anchors);
        Err(InstallError::TooManyAnchors { limit })
    }

    /// `set limit eth-anchors`, against what there will be.
    fn check_ether_anchors(
        &mut self,
        rulesets: &BTreeMap<AnchorPath, Ruleset>,
    ) -> Result<(), InstallError> {
        let new = rulesets.iter().flat_map(|(path, rules)| {
            let rules = rules.ether.iter();
            rules.flat_map(move |rule| ether_anchors(path, rule))
        });
        let new: BTreeSet<AnchorPath> = new.filter(|path| !path.is_main()).cloned().collect();
        let kept = self.ether_anchors_besides(rulesets);
        let total = kept.union(&new).count();
        if new.is_empty() || !self.is_reached(Limit::EtherAnchors, total.saturating_sub(1)) {
            return Ok(());
        }
        self.hit(Limit::EtherAnchors);
        let limit = self.bound(Limit::EtherAnchors);
        Err(InstallError::TooManyEtherAnchors { limit })
    }

    /// The anchors that rules for frames stand in or call, but for rules that are replaced.
    pub(super) fn ether_anchors_besides(
        &self,
        replaced: &BTreeMap<AnchorPath, Ruleset>,
    ) -> BTreeSet<AnchorPath> {
        let main = AnchorPath::main();
        let there = self.anchors.iter().map(|anchor| &anchor.path);
        let there = there.chain(std::iter::once(&main));
        let kept = there.filter(|path| !replaced.contains_key(*path));
        let kept = kept.flat_map(|path| {
            let rules = self.ether_rules_at(path);
            rules.flat_map(move |installed| ether_anchors(path, installed.rule))
        });
        kept.filter(|path| !path.is_main()).cloned().collect()
    }

    /// `set limit tables`, against what there will be.
    fn check_table_count(
        &mut self,
        rulesets: &BTreeMap<AnchorPath, Ruleset>,
    ) -> Result<(), InstallError> {
        let (main, mut wanted) = (AnchorPath::main(), BTreeSet::new());
        for (path, rules) in rulesets {
            let named = referenced_tables(rules).into_iter();
            for name in named.chain(rules.tables.keys().cloned()) {
                // A table of an anchor stands before one of the main ruleset.
                wanted.insert((main.clone(), name.clone()));
                wanted.insert((path.clone(), name));
            }
        }
        let new = wanted.iter().filter(|(path, name)| {
            let (anchor, name) = (path.as_str(), name.as_str());
            !self.tables.is_known(TableRef { anchor, name })
        });
        let new = new.count();
        let stays = |table: &&Table| {
            let place = (table.anchor().clone(), table.name().to_owned());
            let elsewhere = !rulesets.contains_key(table.anchor());
            elsewhere || table.is_persistent() || table.has_anchors() || wanted.contains(&place)
        };
        let total = self.tables.all().filter(stays).count().saturating_add(new);
        if new == 0 || !self.is_reached(Limit::Tables, total.saturating_sub(1)) {
            return Ok(());
        }
        self.hit(Limit::Tables);
        let limit = self.bound(Limit::Tables);
        Err(TableError::TooManyTables { limit }.into())
    }

    /// How many addresses there will be in all tables.
    fn entries_wanted(&self, rulesets: &BTreeMap<AnchorPath, Ruleset>) -> usize {
        let named: BTreeMap<&AnchorPath, BTreeSet<String>> = rulesets
            .iter()
            .map(|(path, rules)| (path, referenced_tables(rules)))
            .collect();
        let is_named = |path, name: &str| named.get(path).is_some_and(|names| names.contains(name));
        let declared = rulesets.iter().flat_map(|(path, rules)| {
            let tables = rules.tables.iter();
            tables
                .filter(|(name, t)| t.has_contents && (t.persist || is_named(path, name)))
                .map(|(_, table)| table.entries.len())
        });
        let kept = self.tables.iter().filter(|table| {
            let (path, name) = (table.anchor(), table.name());
            let Some(rules) = rulesets.get(path) else {
                return true;
            };
            match rules.tables.get(name) {
                Some(definition) => !definition.has_contents,
                None => table.is_persistent() || table.has_anchors() || is_named(path, name),
            }
        });
        declared.chain(kept.map(Table::len)).sum()
    }

    /// The table of that name, as rules of the anchor find it.
    pub(super) fn found_table(&self, table: TableRef<'_>) -> Option<&Table> {
        self.tables.get(self.meant_table(table)?)
    }

    /// The anchor's own table, or else the main ruleset's.
    pub(super) fn meant_table(&self, table: TableRef<'_>) -> Option<TableId> {
        let own = self.tables.find(table);
        own.or_else(|| self.tables.find(table.name.into()))
    }
}

/// The tables that any rule names.
fn referenced_tables(ruleset: &Ruleset) -> BTreeSet<String> {
    let limiters = ruleset.limiters.sources.iter();
    let listed = limiters.filter_map(|limiter| Some(&limiter.table.as_ref()?.name));
    let ends = ruleset.ether.iter();
    let ends = ends.flat_map(|rule| [&rule.ip_source.address, &rule.ip_destination.address]);
    ruleset
        .rules()
        .flat_map(tables_of)
        .chain(ends.filter_map(table_of))
        .chain(listed)
        .cloned()
        .collect()
}

fn tables_of(rule: &Rule) -> impl Iterator<Item = &String> {
    let ends = [&rule.source.address, &rule.destination.address];
    let overload = rule.state_options.source.overload.as_ref();
    let targets = rule.pools().flat_map(|pool| &pool.targets);
    ends.into_iter()
        .chain(targets.map(|target| &target.address))
        .filter_map(table_of)
        .chain(overload.map(|overload| &overload.table))
}

const fn table_of(address: &Address) -> Option<&String> {
    if let Address::Table(name) = address {
        Some(name)
    } else {
        None
    }
}

/// The anchor that a rule for frames stands in and the one that it calls.
fn ether_anchors<'a>(
    path: &'a AnchorPath,
    rule: &'a EtherRule,
) -> impl Iterator<Item = &'a AnchorPath> {
    let call = rule.anchor.as_ref().map(|call| &call.path);
    std::iter::once(path).chain(call)
}
