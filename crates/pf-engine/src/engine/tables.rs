//! `pfctl -t … -T …`.

use crate::anchor::{AnchorPath, TableRef};
use crate::engine::{Engine, ReplaceOutcome, TableError};
use crate::ruleset::{Limit, TableEntry};
use crate::table::{Table, TableId};

impl Engine {
    pub(super) fn add_to_table(
        &mut self,
        name: TableRef<'_>,
        entries: &[TableEntry],
    ) -> Result<usize, TableError> {
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
            .map_or(0, |table| table.add(entries));
        self.advance_epoch();
        Ok(added)
    }

    pub(super) fn replace_table(
        &mut self,
        name: TableRef<'_>,
        entries: &[TableEntry],
    ) -> Result<ReplaceOutcome, TableError> {
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
        let outcome = self.table_or_new(name).map(|table| table.replace(entries));
        self.advance_epoch();
        Ok(outcome.unwrap_or_default())
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

    pub(super) fn flush_all_tables(&mut self, anchor: &AnchorPath) -> usize {
        let removed = self.tables.remove_where(|table| table.anchor() == anchor);
        self.rules.forget_tables(&removed);
        for table in self.tables.of_mut(anchor) {
            table.flush();
        }
        self.tidy();
        removed.len()
    }

    /// Tables that no rule refers to vanish unless they are persistent.
    pub(super) fn remove_unreferenced_tables(&mut self) -> Vec<TableId> {
        let removed = self.tables.remove_where(|table| !table.is_persistent());
        self.rules.forget_tables(&removed);
        removed
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
