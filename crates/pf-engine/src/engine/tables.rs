//! `pfctl -t … -T …`.

use std::time::Duration;

use crate::addr::Prefix;
use crate::anchor::{AnchorPath, TableRef};
use crate::engine::{Engine, ReplaceOutcome, TableError};
use crate::ruleset::{Limit, TableDefinition, TableEntry};
use crate::table::{Table, TableId};
use crate::time::Instant;
use crate::view::{AddressCounters, TableView};

impl Engine {
    /// All tables, by their anchors, in the order of their names.
    pub fn tables(&self) -> impl Iterator<Item = TableView<'_>> {
        self.tables.iter().map(Table::view)
    }

    /// One table.
    #[must_use]
    pub fn table<'a>(&self, name: impl Into<TableRef<'a>>) -> Option<TableView<'_>> {
        let table = self.tables.get(self.tables.find(name.into())?)?;
        Some(table.view())
    }

    /// The names of an anchor's tables, in order.
    pub fn table_names<'a>(&'a self, anchor: &'a AnchorPath) -> impl Iterator<Item = &'a str> {
        let tables = self
            .tables
            .iter()
            .filter(move |table| table.anchor() == anchor);
        tables.map(Table::name)
    }

    /// What pf.conf would say of a table: its flags and its addresses.
    #[must_use]
    pub fn table_definition<'a>(&self, name: impl Into<TableRef<'a>>) -> Option<TableDefinition> {
        let table = self.tables.get(self.tables.find(name.into())?)?;
        Some(table.definition())
    }

    /// Whether there is a table of this name; cheaper than [`Engine::table`], which copies its
    /// addresses.
    #[must_use]
    pub fn has_table<'a>(&self, name: impl Into<TableRef<'a>>) -> bool {
        self.tables.find(name.into()).is_some()
    }

    /// Number of addresses in the table that rules of the anchor mean by the name: its own, or
    /// else the main ruleset's.
    #[must_use]
    pub fn table_len<'a>(&self, name: impl Into<TableRef<'a>>) -> Option<usize> {
        self.found_table(name.into()).map(Table::len)
    }

    /// Counters of the addresses of a table that has `counters`, in order; those that no packet
    /// has met since they were added are left out.
    pub fn table_address_counters<'a>(
        &self,
        name: impl Into<TableRef<'a>>,
    ) -> impl Iterator<Item = (Prefix, AddressCounters)> {
        let table = self
            .tables
            .find(name.into())
            .and_then(|id| self.tables.get(id));
        table.into_iter().flat_map(Table::address_counters)
    }

    /// `pfctl -t name -T add`. Creates the table (persistent) when there is none, as pfctl does.
    /// Returns how many addresses were not in it before.
    ///
    /// # Errors
    /// When the table is constant or full; then nothing has changed.
    pub fn table_add<'a>(
        &mut self,
        now: Instant,
        name: impl Into<TableRef<'a>>,
        entries: &[TableEntry],
    ) -> Result<usize, TableError> {
        self.now = now;
        let name = name.into();
        let known = self.tables.find(name).and_then(|id| self.tables.get(id));
        let new = match known {
            Some(table) => {
                table.check_changeable()?;
                table.count_new(entries)
            }
            None => entries.len(),
        };
        self.check_entries(self.tables.total_entries().saturating_add(new))?;
        let added = self
            .table_or_new(name)
            .map_or(0, |table| table.add(now, entries));
        self.advance_epoch();
        Ok(added)
    }

    /// `pfctl -t name -T delete`. Returns how many addresses were in it.
    ///
    /// # Errors
    /// When there is no such table or it is constant.
    pub fn table_delete<'a>(
        &mut self,
        name: impl Into<TableRef<'a>>,
        entries: &[TableEntry],
    ) -> Result<usize, TableError> {
        let deleted = self.changeable_table(name.into())?.delete(entries);
        self.advance_epoch();
        Ok(deleted)
    }

    /// `pfctl -t name -T replace`.
    ///
    /// # Errors
    /// When the table is constant or full; then nothing has changed.
    pub fn table_replace<'a>(
        &mut self,
        now: Instant,
        name: impl Into<TableRef<'a>>,
        entries: &[TableEntry],
    ) -> Result<ReplaceOutcome, TableError> {
        self.now = now;
        let name = name.into();
        let known = self.tables.find(name).and_then(|id| self.tables.get(id));
        let before = match known {
            Some(table) => {
                table.check_changeable()?;
                table.len()
            }
            None => 0,
        };
        let others = self.tables.total_entries().saturating_sub(before);
        self.check_entries(others.saturating_add(entries.len()))?;
        let table = self.table_or_new(name);
        let outcome = table.map(|table| table.replace(now, entries));
        self.advance_epoch();
        Ok(outcome.unwrap_or_default())
    }

    /// `pfctl -t name -T flush`. Returns how many addresses it had.
    ///
    /// # Errors
    /// When there is no such table or it is constant.
    pub fn table_flush<'a>(&mut self, name: impl Into<TableRef<'a>>) -> Result<usize, TableError> {
        let flushed = self.changeable_table(name.into())?.flush();
        self.advance_epoch();
        Ok(flushed)
    }

    /// `pfctl -t name -T test`: whether the table holds `address`, negation applied.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn table_test<'a>(
        &self,
        name: impl Into<TableRef<'a>>,
        address: Prefix,
    ) -> Result<bool, TableError> {
        let id = self
            .tables
            .find(name.into())
            .ok_or(TableError::NoSuchTable)?;
        let table = self.tables.get(id).ok_or(TableError::NoSuchTable)?;
        Ok(table.holds_prefix(address))
    }

    /// `pfctl -F Tables`: empties the tables of a ruleset, and removes those that no rule refers
    /// to. Returns how many were removed.
    pub fn flush_tables(&mut self, anchor: &AnchorPath) -> usize {
        let removed = self.tables.remove_where(|table| table.anchor() == anchor);
        self.rules.forget_tables(&removed);
        for table in self.tables.of_mut(anchor) {
            table.flush();
        }
        self.tidy();
        removed.len()
    }

    /// pfctl makes a table that is not there, and makes it persistent.
    pub(super) fn table_or_new(&mut self, name: TableRef<'_>) -> Option<&mut Table> {
        let is_new = self.tables.find(name).is_none();
        let anchor = AnchorPath::new(name.anchor).ok()?;
        // An anchor that has a table is there.
        self.anchors.ensure(&anchor);
        let id = self.tables.ensure(self.now, &anchor, name.name);
        let table = self.tables.get_mut(id)?;
        if is_new {
            table.set_persistent();
        }
        Some(table)
    }

    /// An error if `total` addresses are too many.
    pub(super) fn check_entries(&mut self, total: usize) -> Result<(), TableError> {
        let checked = check_entries(total, self.limit(Limit::TableEntries));
        if checked.is_err() {
            self.hit(Limit::TableEntries);
        }
        checked
    }

    pub(super) fn changeable_table(
        &mut self,
        name: TableRef<'_>,
    ) -> Result<&mut Table, TableError> {
        let id = self.tables.find(name).ok_or(TableError::NoSuchTable)?;
        let table = self.tables.get_mut(id).ok_or(TableError::NoSuchTable)?;
        table.check_changeable()?;
        Ok(table)
    }

    /// A table whose counters may be zeroed: any.
    fn any_table(&mut self, name: TableRef<'_>) -> Result<&mut Table, TableError> {
        let id = self.tables.find(name).ok_or(TableError::NoSuchTable)?;
        self.tables.get_mut(id).ok_or(TableError::NoSuchTable)
    }

    /// Tables that no rule refers to vanish unless they are persistent.
    pub(super) fn remove_unreferenced_tables(&mut self) -> Vec<TableId> {
        let removed = self.tables.remove_where(|table| !table.is_persistent());
        self.rules.forget_tables(&removed);
        removed
    }
}

/// Commands for counters and age.
impl Engine {
    /// `pfctl -t name -T zero`: zeroes the counters of the table and of its addresses.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn table_zero<'a>(
        &mut self,
        now: Instant,
        name: impl Into<TableRef<'a>>,
    ) -> Result<(), TableError> {
        self.any_table(name.into())?.zero(now);
        Ok(())
    }

    /// `pfctl -t name -T zero ADDRESS …`: zeroes the counters of these addresses. Returns how many
    /// of them are in the table.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn table_zero_addresses<'a>(
        &mut self,
        now: Instant,
        name: impl Into<TableRef<'a>>,
        entries: &[TableEntry],
    ) -> Result<usize, TableError> {
        let table = self.any_table(name.into())?;
        Ok(table.zero_addresses(now, entries))
    }

    /// `pfctl -t name -T reset`: zeroes the counters of the addresses that have counted something.
    /// Returns how many.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn table_reset<'a>(
        &mut self,
        now: Instant,
        name: impl Into<TableRef<'a>>,
    ) -> Result<usize, TableError> {
        Ok(self.any_table(name.into())?.reset(now))
    }

    /// `pfctl -t name -T expire SECONDS`: the addresses that were added, or whose counters were
    /// zeroed, more than `age` before `now`.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn table_older_than<'a>(
        &self,
        now: Instant,
        name: impl Into<TableRef<'a>>,
        age: Duration,
    ) -> Result<Vec<TableEntry>, TableError> {
        let id = self.tables.find(name.into());
        let table = id.and_then(|id| self.tables.get(id));
        Ok(table.ok_or(TableError::NoSuchTable)?.older_than(now, age))
    }

    /// The addresses of a table in order, each with the moment since which it counts; nothing
    /// when there is no such table.
    #[must_use]
    pub fn table_ages<'a>(
        &self,
        name: impl Into<TableRef<'a>>,
    ) -> Option<Vec<(TableEntry, Instant)>> {
        let table = self.tables.get(self.tables.find(name.into())?)?;
        Some(table.since())
    }

    /// Whether there is such a table and it has `counters`.
    #[must_use]
    pub fn table_has_counters<'a>(&self, name: impl Into<TableRef<'a>>) -> bool {
        let id = self.tables.find(name.into());
        let table = id.and_then(|id| self.tables.get(id));
        table.is_some_and(Table::has_counters)
    }

    /// `pfctl -t name -T kill`: removes the table with its addresses; rules that name it find it
    /// empty.
    ///
    /// # Errors
    /// When there is no such table.
    pub fn table_kill<'a>(&mut self, name: impl Into<TableRef<'a>>) -> Result<(), TableError> {
        self.any_table(name.into())?.undefine();
        self.tidy();
        Ok(())
    }
}

/// An error if `total` addresses are more than `limit`; 0 is no limit.
pub(super) fn check_entries(total: usize, limit: u32) -> Result<(), TableError> {
    let fits = limit == 0 || u32::try_from(total).is_ok_and(|total| total <= limit);
    if fits {
        Ok(())
    } else {
        Err(TableError::TooManyEntries { limit })
    }
}
