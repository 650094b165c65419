//! Tables: sets of addresses and networks, looked up by the longest prefix (pf.conf(5), TABLES).

mod contents;
mod prefixes;

use std::collections::BTreeMap;
use std::net::IpAddr;

pub use self::contents::Discarded;
pub(crate) use self::contents::{Contents, Entries};

use self::prefixes::PrefixMap;
use crate::addr::Prefix;
use crate::anchor::{AnchorPath, TableRef};
use crate::counters::Count;
use crate::counters::Traffic;
use crate::engine::{ReplaceOutcome, TableError};
use crate::rule::Direction;
use crate::ruleset::{TableDefinition, TableEntry};
use crate::slab::Slab;
use crate::time::Instant;
use crate::view::{AddressCounters, TableView};

/// Number of a table; its name keeps it as long as the table exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableId(u32);

/// All tables, by number, and by anchor and name.
///
/// A rule of an anchor names a table of that anchor. While that one is not defined it finds the
/// table of the same name in the main ruleset.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    slab: Slab<Table>,
    names: BTreeMap<AnchorPath, BTreeMap<String, TableId>>,
    discarded: Discarded,
}

impl Tables {
    /// A table that is defined.
    pub(crate) fn find(&self, table: TableRef<'_>) -> Option<TableId> {
        let id = self.known(table)?;
        self.get(id)?.active.then_some(id)
    }

    /// A table that is defined, or that a rule names.
    fn known(&self, table: TableRef<'_>) -> Option<TableId> {
        self.names.get(table.anchor)?.get(table.name).copied()
    }

    /// Whether there is such a table, defined or not.
    pub(crate) fn is_known(&self, table: TableRef<'_>) -> bool {
        self.known(table).is_some()
    }

    /// The table that rules with `id` mean: it, or the main ruleset's.
    pub(crate) fn meant(&self, id: TableId) -> Option<TableId> {
        let table = self.get(id)?;
        if table.active {
            return Some(id);
        }
        table
            .root
            .filter(|root| self.get(*root).is_some_and(|root| root.active))
    }

    /// Whether there is any table of `anchor`.
    pub(crate) fn has_any(&self, anchor: &AnchorPath) -> bool {
        self.names.contains_key(anchor)
    }

    pub(crate) fn get(&self, id: TableId) -> Option<&Table> {
        self.slab.get(id.0)
    }

    pub(crate) fn get_mut(&mut self, id: TableId) -> Option<&mut Table> {
        self.slab.get_mut(id.0)
    }

    /// The table called `name` of `anchor`, made undefined and empty if there is none.
    pub(crate) fn ensure(&mut self, now: Instant, anchor: &AnchorPath, name: &str) -> TableId {
        let known = TableRef {
            anchor: anchor.as_str(),
            name,
        };
        if let Some(id) = self.known(known) {
            return id;
        }
        let mut table = Table::new(now, anchor, name);
        if !anchor.is_main() {
            table.root = Some(self.root(now, name));
        }
        let id = TableId(self.slab.insert(table).unwrap_or(u32::MAX));
        let names = self.names.entry(anchor.clone()).or_default();
        names.insert(name.to_owned(), id);
        id
    }

    /// The table of the main ruleset that one more anchor's table stands before.
    fn root(&mut self, now: Instant, name: &str) -> TableId {
        let root = self.ensure(now, &AnchorPath::main(), name);
        if let Some(root) = self.get_mut(root) {
            root.anchor_references = root.anchor_references.saturating_add(1);
        }
        root
    }

    /// The tables that are defined.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Table> {
        let ids = self.names.values().flat_map(BTreeMap::values);
        ids.filter_map(|id| self.get(*id))
            .filter(|table| table.active)
    }

    /// Removes the tables that `doomed` names and nothing needs; returns their numbers. Those of
    /// anchors go first: they hold the main ruleset's.
    pub(crate) fn remove_where(&mut self, doomed: impl Fn(&Table) -> bool) -> Vec<TableId> {
        let mut gone = Vec::new();
        for of_main in [false, true] {
            let ids = self.slab.iter().filter(|(_, table)| {
                table.anchor.is_main() == of_main && !table.is_needed() && doomed(table)
            });
            let ids: Vec<TableId> = ids.map(|(slot, _)| TableId(slot)).collect();
            for id in ids {
                self.remove(id);
                gone.push(id);
            }
        }
        gone
    }

    fn remove(&mut self, id: TableId) {
        let Some(mut table) = self.slab.remove(id.0) else {
            return;
        };
        self.discarded.take(table.flush());
        if let Some(names) = self.names.get_mut(&table.anchor) {
            names.remove(&table.name);
            if names.is_empty() {
                self.names.remove(&table.anchor);
            }
        }
        if let Some(root) = table.root.and_then(|root| self.get_mut(root)) {
            root.anchor_references = root.anchor_references.saturating_sub(1);
        }
    }

    /// A rule that referred to the table is no longer in force.
    pub(crate) fn release(&mut self, id: TableId) {
        if let Some(table) = self.get_mut(id) {
            table.references = table.references.saturating_sub(1);
        }
    }

    /// Empties the tables of an anchor.
    pub(crate) fn flush(&mut self, anchor: &AnchorPath) {
        let tables = self.slab.iter_mut().map(|(_, table)| table);
        for table in tables.filter(|table| table.anchor == *anchor) {
            self.discarded.take(table.flush());
        }
    }

    /// Contents that are no longer used.
    pub(crate) fn discard(&mut self, entries: Entries) {
        self.discarded.take(entries);
    }

    /// See [`Discarded`].
    pub(crate) fn take_discarded(&mut self) -> Discarded {
        std::mem::take(&mut self.discarded)
    }

    /// Number of tables, those that rules only name included: what `set limit tables` bounds.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// All tables, defined or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Table> {
        self.slab.iter().map(|(_, table)| table)
    }

    /// Addresses in all tables together, what `set limit table-entries` bounds.
    pub(crate) fn total_entries(&self) -> usize {
        self.slab.iter().map(|(_, table)| table.entries.len()).sum()
    }

    /// Whether `table` holds `address`, negation applied; counted (`Evaluations`).
    pub(crate) fn matches(&mut self, id: TableId, address: IpAddr) -> bool {
        let Some(table) = self.meant(id).and_then(|id| self.get_mut(id)) else {
            return false;
        };
        let found = table.holds(address);
        table.count_lookups(found, 1);
        found
    }

    /// Counts look-ups that have come to this.
    pub(crate) fn count_lookups(&mut self, id: TableId, found: bool, lookups: u64) {
        if let Some(table) = self.meant(id).and_then(|id| self.get_mut(id)) {
            table.count_lookups(found, lookups);
        }
    }
}

/// What became of a packet whose rule names a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableUse {
    pub(crate) address: IpAddr,
    /// `! <table>` in the rule.
    pub(crate) negated: bool,
    pub(crate) direction: Direction,
    pub(crate) verdict: Verdict,
    /// The rule is a `match` rule. A later one may have changed the address that it saw, so that it
    /// cannot be told whether the table still has it.
    pub(crate) by_match: bool,
    pub(crate) count: Count,
}

/// What a table that a rule names counts a packet as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Blocked,
    /// OpenBSD: by a `match` rule, whatever became of it.
    Matched,
}

/// One table.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag that pfctl prints"
)]
pub(crate) struct Table {
    anchor: AnchorPath,
    name: String,
    /// Defined, by a ruleset or by hand; otherwise rules only name it.
    active: bool,
    /// The main ruleset's table of the same name, for a table of an anchor.
    root: Option<TableId>,
    /// Tables of anchors that have it as `root`.
    anchor_references: u32,
    persist: bool,
    constant: bool,
    counters: bool,
    entries: PrefixMap,
    /// The prefixes in order, for pools; made when first asked for, dropped on every change.
    ordered: Option<Vec<Prefix>>,
    /// With `counters`: of the addresses that packets have met.
    counted: BTreeMap<Prefix, AddressCounters>,
    pub(crate) references: u32,
    cleared: Instant,
    matches: u64,
    misses: u64,
    passed: Traffic,
    blocked: Traffic,
    matched: Traffic,
    xpassed: Traffic,
}

impl Table {
    fn new(now: Instant, anchor: &AnchorPath, name: &str) -> Self {
        Self {
            anchor: anchor.clone(),
            name: name.to_owned(),
            active: false,
            root: None,
            anchor_references: 0,
            persist: false,
            constant: false,
            counters: false,
            entries: PrefixMap::default(),
            ordered: None,
            counted: BTreeMap::new(),
            references: 0,
            cleared: now,
            matches: 0,
            misses: 0,
            passed: Traffic::default(),
            blocked: Traffic::default(),
            matched: Traffic::default(),
            xpassed: Traffic::default(),
        }
    }

    fn count_lookups(&mut self, found: bool, lookups: u64) {
        let counter = if found {
            &mut self.matches
        } else {
            &mut self.misses
        };
        *counter = counter.wrapping_add(lookups);
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn anchor(&self) -> &AnchorPath {
        &self.anchor
    }

    /// Whether a rule, or a table of an anchor, needs it.
    const fn is_needed(&self) -> bool {
        self.references > 0 || self.anchor_references > 0
    }

    /// Whether tables of anchors stand before it.
    pub(crate) const fn has_anchors(&self) -> bool {
        self.anchor_references > 0
    }

    pub(crate) const fn has_counters(&self) -> bool {
        self.counters
    }

    /// What pf.conf would say of it.
    pub(crate) fn definition(&self) -> TableDefinition {
        TableDefinition {
            persist: self.persist,
            constant: self.constant,
            counters: self.counters,
            has_contents: true,
            entries: self.entries.iter().collect(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.persist
    }

    /// Defines it by hand.
    pub(crate) fn set_persistent(&mut self) {
        self.persist = true;
        self.active = true;
    }

    /// `pfctl -T kill`: only rules that name it know it from now on. Returns what it held.
    pub(crate) fn undefine(&mut self) -> Entries {
        self.active = false;
        self.persist = false;
        self.constant = false;
        self.flush()
    }

    /// Takes over what a pf.conf says, but for its addresses.
    pub(crate) fn define(&mut self, definition: &TableDefinition) {
        self.active = true;
        self.persist = definition.persist;
        self.constant = definition.constant;
        self.counters = definition.counters;
    }

    /// Whether the longest prefix around `address` is in the table and not negated.
    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        self.entries
            .covering(Prefix::host(address))
            .is_some_and(|found| !found.negated)
    }

    /// `pfctl -T test`: a network is in the table if a prefix at least as short holds it all.
    pub(crate) fn holds_prefix(&self, prefix: Prefix) -> bool {
        self.entries
            .covering(prefix)
            .is_some_and(|found| !found.negated)
    }

    pub(crate) fn add(&mut self, now: Instant, entries: &[TableEntry]) -> usize {
        self.ordered = None;
        let since = seconds(now);
        entries
            .iter()
            .filter(|entry| self.entries.insert(**entry, since))
            .count()
    }

    /// Deletes the entries that it has with the same sign, as PF does; returns how many.
    pub(crate) fn delete(&mut self, entries: &[TableEntry]) -> usize {
        self.ordered = None;
        let mut deleted = 0;
        for entry in entries {
            let held = self.entries.exact(entry.prefix);
            if held.is_some_and(|held| held.negated == entry.negated) {
                self.counted.remove(&entry.prefix.masked());
                deleted += usize::from(self.entries.remove(entry.prefix));
            }
        }
        deleted
    }

    /// Empties it; returns what it held.
    pub(crate) fn flush(&mut self) -> Entries {
        self.ordered = None;
        self.counted.clear();
        Entries(std::mem::take(&mut self.entries))
    }

    /// Puts `contents` in place of what it holds, and returns that.
    pub(crate) fn replace(&mut self, contents: Contents) -> (ReplaceOutcome, Entries) {
        let mut outcome = contents.outcome;
        let kept = contents.entries.len().saturating_sub(outcome.added);
        outcome.deleted = self.entries.len().saturating_sub(kept);
        let before = std::mem::replace(&mut self.entries, contents.entries);
        self.ordered = None;
        let entries = &self.entries;
        self.counted
            .retain(|prefix, _| entries.exact(*prefix).is_some());
        (outcome, Entries(before))
    }

    /// How many of `entries`, no two of them for the same prefix, are not in the table.
    pub(crate) fn count_new(&self, entries: &[TableEntry]) -> usize {
        let new = |entry: &&TableEntry| self.entries.exact(entry.prefix).is_none();
        entries.iter().filter(new).count()
    }

    /// Makes [`Table::prefixes`] up to date.
    pub(crate) fn prepare_prefixes(&mut self) {
        self.ordered.get_or_insert_with(|| {
            let mut all: Vec<Prefix> = self
                .entries
                .iter()
                .filter(|e| !e.negated)
                .map(|e| e.prefix)
                .collect();
            all.sort_unstable();
            all
        });
    }

    /// The prefixes that are not negated, in order: what a pool takes addresses from. Prepared
    /// before.
    pub(crate) fn prefixes(&self) -> &[Prefix] {
        self.ordered.as_deref().unwrap_or_default()
    }

    /// Counts packets of a rule that names this table. When the table no longer says what made
    /// the rule match, it is an `XPass`.
    pub(crate) fn count(&mut self, used: TableUse) {
        let found = self.entries.covering(Prefix::host(used.address));
        let still = found.is_some_and(|found| !found.negated) != used.negated;
        let traffic = match (still || used.by_match, used.verdict) {
            (false, _) => &mut self.xpassed,
            (true, Verdict::Passed) => &mut self.passed,
            (true, Verdict::Blocked) => &mut self.blocked,
            (true, Verdict::Matched) => &mut self.matched,
        };
        traffic.count(used.direction, used.count);
        if let Some(entry) = found.filter(|_| self.counters && still) {
            let counters = self.counted.entry(entry.prefix).or_default();
            let traffic = match used.verdict {
                Verdict::Passed => &mut counters.passed,
                Verdict::Blocked => &mut counters.blocked,
                Verdict::Matched => &mut counters.matched,
            };
            traffic.count(used.direction, used.count);
        }
    }

    /// `pfctl -T zero`: the counters of the table and of its addresses.
    pub(crate) fn zero(&mut self, now: Instant) {
        self.cleared = now;
        (self.matches, self.misses) = (0, 0);
        self.passed = Traffic::default();
        self.blocked = Traffic::default();
        self.matched = Traffic::default();
        self.xpassed = Traffic::default();
        self.counted.clear();
        self.entries.mark_all(seconds(now));
    }

    /// `pfctl -T zero ADDRESS …`; returns how many of these are in the table.
    pub(crate) fn zero_addresses(&mut self, now: Instant, entries: &[TableEntry]) -> usize {
        let mut zeroed = 0;
        for entry in entries {
            self.counted.remove(&entry.prefix.masked());
            zeroed += usize::from(self.entries.mark(entry.prefix, seconds(now)));
        }
        zeroed
    }

    /// `pfctl -T reset`: the counters of the addresses that have counted; returns how many.
    pub(crate) fn reset(&mut self, now: Instant) -> usize {
        let counted = std::mem::take(&mut self.counted);
        for prefix in counted.keys() {
            self.entries.mark(*prefix, seconds(now));
        }
        counted.len()
    }

    /// At most `max` addresses after `after` in their order, each with the moment since which it
    /// counts.
    pub(crate) fn page(&self, after: Option<Prefix>, max: usize) -> Vec<(TableEntry, Instant)> {
        let held = self.entries.page(after, max).into_iter();
        held.map(|(entry, since)| (entry, moment(since))).collect()
    }

    /// Counters of an address, if packets have met it.
    pub(crate) fn counters_of(&self, prefix: Prefix) -> Option<AddressCounters> {
        self.counted.get(&prefix).copied()
    }

    /// Counters of the addresses that packets have met, in order.
    pub(crate) fn address_counters(&self) -> impl Iterator<Item = (Prefix, AddressCounters)> {
        self.counted
            .iter()
            .map(|(prefix, counters)| (*prefix, *counters))
    }

    pub(crate) fn view(&self) -> TableView<'_> {
        TableView {
            name: &self.name,
            anchor: self.anchor.as_str(),
            constant: self.constant,
            persist: self.persist,
            referenced: self.references > 0,
            counters: self.counters,
            len: self.entries.len(),
            references: self.references,
            anchor_references: self.anchor_references,
            cleared: self.cleared,
            matches: self.matches,
            misses: self.misses,
            passed: self.passed,
            blocked: self.blocked,
            matched: self.matched,
            xpassed: self.xpassed,
        }
    }

    /// An error unless the contents may be changed by hand.
    pub(crate) fn check_changeable(&self) -> Result<(), TableError> {
        if self.constant {
            Err(TableError::Constant)
        } else {
            Ok(())
        }
    }
}

/// Whole seconds since the origin.
fn seconds(at: Instant) -> u32 {
    u32::try_from(at.since_origin().as_secs()).unwrap_or(u32::MAX)
}

fn moment(seconds: u32) -> Instant {
    Instant::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry_of(text: &str) -> TableEntry {
        let (negated, text) = text
            .strip_prefix('!')
            .map_or((false, text), |rest| (true, rest));
        let (address, len) = text
            .split_once('/')
            .map_or((text, None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().unwrap();
        let prefix = len.map_or(Prefix::host(address), |len| {
            Prefix::new(address, len.parse().unwrap()).unwrap()
        });
        TableEntry { prefix, negated }
    }

    fn table(entries: &[&str]) -> Table {
        let mut table = Table::new(Instant::default(), &AnchorPath::main(), "t");
        let entries: Vec<_> = entries.iter().map(|e| entry_of(e)).collect();
        table.add(Instant::default(), &entries);
        table
    }

    fn holds(table: &Table, address: &str) -> bool {
        table.holds(address.parse().unwrap())
    }

    #[test]
    fn the_longest_prefix_decides_and_may_be_negated() {
        let t = table(&[
            "10.0.0.0/8",
            "!10.1.0.0/16",
            "10.1.2.3",
            "2001:db8::/32",
            "!2001:db8:1::/48",
        ]);
        assert!(holds(&t, "10.9.9.9"));
        assert!(!holds(&t, "10.1.9.9"));
        assert!(holds(&t, "10.1.2.3"));
        assert!(!holds(&t, "11.0.0.1"));
        assert!(holds(&t, "2001:db8:2::1"));
        assert!(!holds(&t, "2001:db8:1::1"));
    }

    #[test]
    fn a_zero_length_prefix_holds_its_family_only() {
        let t = table(&["0.0.0.0/0"]);
        assert!(holds(&t, "255.255.255.255"));
        assert!(!holds(&t, "::1"));
    }

    #[test]
    fn test_of_a_network_wants_all_of_it() {
        let t = table(&["10.0.0.0/8", "10.1.0.0/24"]);
        assert!(t.holds_prefix(entry_of("10.1.0.0/16").prefix));
        assert!(!t.holds_prefix(entry_of("0.0.0.0/0").prefix));
    }

    #[test]
    fn replace_reports_what_changed() {
        let mut t = table(&["10.0.0.1", "10.0.0.2", "!10.0.0.3"]);
        let new = ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.4"].map(entry_of);
        let mut contents = Contents::default();
        let mut turns = 0;
        while contents.take(Instant::from_secs(9), &new, Some(&t), 3).1 {
            turns += 1;
        }
        assert_eq!(turns, 1);
        let (outcome, before) = t.replace(contents);
        assert_eq!(before.len(), 3);
        assert_eq!(
            outcome,
            ReplaceOutcome {
                added: 1,
                deleted: 1,
                changed: 1
            }
        );
        assert_eq!(t.len(), 3);
    }

    #[test]
    fn adding_twice_counts_once_and_deleting_counts_what_was_there() {
        let mut t = table(&["10.0.0.1"]);
        assert_eq!(t.count_new(&["10.0.0.1", "10.0.0.2"].map(entry_of)), 1);
        assert_eq!(
            t.add(Instant::default(), &["10.0.0.1", "10.0.0.2"].map(entry_of)),
            1
        );
        assert_eq!(t.delete(&["10.0.0.2", "10.0.0.9"].map(entry_of)), 1);
        assert_eq!(t.flush().len(), 1);
    }

    #[test]
    fn a_packet_whose_address_left_the_table_is_an_xpass() {
        let mut t = table(&["10.0.0.1"]);
        let used = |address: &str, negated| TableUse {
            address: address.parse().unwrap(),
            negated,
            direction: Direction::In,
            verdict: Verdict::Passed,
            by_match: false,
            count: Count::one(100),
        };
        t.count(used("10.0.0.1", false));
        t.count(used("10.0.0.2", false));
        t.count(used("10.0.0.2", true));
        assert_eq!(t.passed.packets_in, 2);
        assert_eq!(t.xpassed.packets_in, 1);
    }

    #[test]
    fn a_million_addresses_are_held_and_found() {
        let mut t = table(&[]);
        let all: Vec<TableEntry> = (0..1_000_000u32)
            .map(|n| TableEntry {
                prefix: Prefix::host(IpAddr::V4((0x0a00_0000 + n * 7).into())),
                negated: false,
            })
            .collect();
        assert_eq!(t.add(Instant::default(), &all), 1_000_000);
        assert!(t.holds(IpAddr::V4((0x0a00_0000u32 + 7 * 999_999).into())));
        assert!(!t.holds(IpAddr::V4((0x0a00_0000u32 + 7 * 999_999 + 1).into())));
    }
}
