//! Rules that differ in one address become one rule with a table.

use std::collections::{BTreeMap, HashMap};

use pf_engine::addr::Prefix;
use pf_engine::rule::{Address, Endpoint, Rule};
use pf_engine::ruleset::TableDefinition;

use super::criteria::{Criteria, Interner, Place};
use super::{Item, Tables, automatic};

/// Rules that a table must replace to be worth it (PF's threshold).
const RULES_MIN: usize = 6;
/// Automatic tables of a ruleset.
pub(super) struct Automatic<'a> {
    declared: &'a BTreeMap<String, TableDefinition>,
    tables: Tables,
    /// By contents: two rules with the same addresses share a table.
    known: HashMap<Vec<Prefix>, usize>,
}

impl<'a> Automatic<'a> {
    pub(super) fn new(declared: &'a BTreeMap<String, TableDefinition>) -> Self {
        Self {
            declared,
            tables: Tables::new(),
            known: HashMap::new(),
        }
    }

    pub(super) fn into_tables(self) -> Tables {
        self.tables
    }

    /// The name of the table of `prefixes`, made if there is none.
    fn table(&mut self, prefixes: &[Prefix]) -> String {
        let mut entries = prefixes.to_vec();
        entries.sort_unstable();
        entries.dedup();
        let known = self.known.get(&entries);
        if let Some((name, _)) = known.and_then(|at| self.tables.get(*at)) {
            return name.clone();
        }
        let mut number = self.tables.len();
        let mut name = automatic::name(&entries, number);
        while self.declared.contains_key(&name) {
            number += 1;
            name = automatic::name(&entries, number);
        }
        let definition = automatic::definition(prefixes);
        self.known.insert(entries, self.tables.len());
        self.tables.push((name.clone(), definition));
        name
    }
}

/// Puts tables in the place of rules that differ in `from` alone, then in `to` alone.
pub(super) fn combine(
    block: Vec<Item>,
    interner: &mut Interner,
    automatic: &mut Automatic<'_>,
) -> Vec<Item> {
    let block = combine_side(block, Side::Source, interner, automatic);
    combine_side(block, Side::Destination, interner, automatic)
}

#[derive(Clone, Copy)]
enum Side {
    Source,
    Destination,
}

impl Side {
    const fn of(self, rule: &Rule) -> &Endpoint {
        match self {
            Self::Source => &rule.source,
            Self::Destination => &rule.destination,
        }
    }

    const fn of_mut(self, rule: &mut Rule) -> &mut Endpoint {
        match self {
            Self::Source => &mut rule.source,
            Self::Destination => &mut rule.destination,
        }
    }

    /// What the rules of a group have in common, and the address in which they differ.
    fn key(self, mut criteria: Criteria) -> Option<(Criteria, Prefix)> {
        let place = match self {
            Self::Source => &mut criteria.source,
            Self::Destination => &mut criteria.destination,
        };
        let Place::Prefix(prefix) = std::mem::replace(place, Place::Any) else {
            return None;
        };
        Some((criteria, prefix))
    }
}

fn combine_side(
    block: Vec<Item>,
    side: Side,
    interner: &mut Interner,
    automatic: &mut Automatic<'_>,
) -> Vec<Item> {
    if block.len() < RULES_MIN {
        return block;
    }
    let keys: Vec<Option<(Criteria, Prefix)>> = block
        .iter()
        .map(|item| side.key(interner.criteria(&item.rule)))
        .collect();
    let mut groups: HashMap<Criteria, Vec<Prefix>> = HashMap::new();
    for (key, prefix) in keys.iter().flatten() {
        groups.entry(*key).or_default().push(*prefix);
    }
    let mut combined = Vec::with_capacity(block.len());
    for (mut item, key) in block.into_iter().zip(keys) {
        let group = key.as_ref().and_then(|(key, _)| groups.get_mut(key));
        match group {
            // The first of the group has taken the addresses of all.
            Some(prefixes) if prefixes.is_empty() => continue,
            Some(prefixes) if prefixes.len() >= RULES_MIN => {
                let name = automatic.table(&std::mem::take(prefixes));
                let port = side.of(&item.rule).port;
                *side.of_mut(&mut item.rule) = Endpoint {
                    negated: false,
                    address: Address::Table(name),
                    port,
                };
            }
            Some(_) | None => {}
        }
        combined.push(item);
    }
    combined
}
