//! `pfctl -t … -T …`.

use crate::addr::Prefix;
use crate::anchor::{AnchorPath, TableRef};
use crate::engine::{Engine, ReplaceOutcome, TableChange, TableError};
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
        let (anchor, name) = owned(name.into());
        let change = TableChange::add(anchor, name, entries.to_vec());
        Ok(self.change_at_once(now, change)?.added)
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
        let (anchor, name) = owned(name.into());
        let change = TableChange::delete(anchor, name, entries.to_vec());
        Ok(self.change_at_once(self.now, change)?.deleted)
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
        let (anchor, name) = owned(name.into());
        let change = TableChange::replace(anchor, name, entries.to_vec());
        let done = self.change_at_once(now, change)?;
        Ok(ReplaceOutcome {
            added: done.added,
            deleted: done.deleted,
            changed: done.changed,
        })
    }

    /// `pfctl -t name -T flush`. Returns how many addresses it had.
    ///
    /// # Errors
    /// When there is no such table or it is constant.
    pub fn table_flush<'a>(&mut self, name: impl Into<TableRef<'a>>) -> Result<usize, TableError> {
        let held = self.changeable_table(name.into())?.flush();
        let flushed = held.len();
        self.tables.discard(held);
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
        self.tables.flush(anchor);
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

    /// An error if one more table is too many.
    pub(super) fn check_tables(&mut self, name: TableRef<'_>) -> Result<(), TableError> {
        let known = self.tables.find(name).is_some();
        if !known && self.is_reached(Limit::Tables, self.tables.len()) {
            self.hit(Limit::Tables);
            let limit = self.bound(Limit::Tables);
            return Err(TableError::TooManyTables { limit });
        }
        Ok(())
    }

    /// Addresses in all tables, those included that a change under way will add.
    pub(super) fn entries_taken(&self) -> usize {
        self.tables.total_entries().saturating_add(self.promised)
    }

    /// An error if `total` addresses are too many.
    pub(super) fn check_entries(&mut self, total: usize) -> Result<(), TableError> {
        let limit = self.bound(Limit::TableEntries);
        if u32::try_from(total).is_ok_and(|total| total <= limit) {
            return Ok(());
        }
        self.hit(Limit::TableEntries);
        Err(TableError::TooManyEntries {
            limit,
            wanted: total,
        })
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

    /// At most `max` addresses of a table after `after`, in order, each with the moment since
    /// which it counts; nothing when there is no such table.
    #[must_use]
    pub fn table_page<'a>(
        &self,
        name: impl Into<TableRef<'a>>,
        after: Option<Prefix>,
        max: usize,
    ) -> Option<Vec<(TableEntry, Instant)>> {
        let table = self.tables.get(self.tables.find(name.into())?)?;
        Some(table.page(after, max))
    }

    /// Counters of an address of a table that has `counters`; zero when no packet has met it.
    #[must_use]
    pub fn address_counters<'a>(
        &self,
        name: impl Into<TableRef<'a>>,
        address: Prefix,
    ) -> AddressCounters {
        let id = self.tables.find(name.into());
        let table = id.and_then(|id| self.tables.get(id));
        let counters = table.and_then(|table| table.counters_of(address));
        counters.unwrap_or_default()
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
        let held = self.any_table(name.into())?.undefine();
        self.tables.discard(held);
        self.tidy();
        Ok(())
    }
}

/// A name that does not end with the request. There are no tables at paths that are none.
fn owned(name: TableRef<'_>) -> (AnchorPath, String) {
    let anchor = AnchorPath::new(name.anchor).unwrap_or_default();
    (anchor, name.name.to_owned())
}
