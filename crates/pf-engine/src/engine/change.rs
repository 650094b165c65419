//! Changes of tables, in pieces: packets have their turn in between.

use std::time::Duration;

use crate::addr::Prefix;
use crate::anchor::{AnchorPath, TableRef};
use crate::engine::{Engine, TableError};
use crate::ruleset::TableEntry;
use crate::table::{Contents, Table};
use crate::time::Instant;

/// A change of a table that is made in pieces ([`Engine::change_table`]). It is refused as a
/// whole, before anything has changed, or made as a whole; addresses that are added or deleted
/// count from their own piece on, those of a replacement all at once.
#[derive(Debug)]
pub struct TableChange {
    anchor: AnchorPath,
    name: String,
    entries: Vec<TableEntry>,
    step: Step,
    done: TableChanged,
}

/// What a change has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableChanged {
    /// The table was not there before.
    pub created: bool,
    /// Addresses that it was given: each once, or for `expire` those that were old.
    pub given: usize,
    /// Addresses that were not in it before.
    pub added: usize,
    /// Addresses that are no longer in it.
    pub deleted: usize,
    /// Addresses whose negation changed.
    pub changed: usize,
}

/// What is to be done next.
#[derive(Debug)]
enum Step {
    /// `add`: find out how many are new, before any is.
    Count {
        next: usize,
        new: usize,
    },
    Add {
        next: usize,
    },
    Delete {
        next: usize,
    },
    Replace(Contents),
    /// Those after this one.
    Expire(Duration, Option<Prefix>),
    Done,
}

impl TableChange {
    /// `pfctl -t name -T add`. Creates the table (persistent) when there is none, as pfctl does.
    #[must_use]
    pub fn add(anchor: AnchorPath, name: String, entries: Vec<TableEntry>) -> Self {
        Self::new(anchor, name, entries, Step::Count { next: 0, new: 0 })
    }

    /// `pfctl -t name -T delete`.
    #[must_use]
    pub fn delete(anchor: AnchorPath, name: String, entries: Vec<TableEntry>) -> Self {
        Self::new(anchor, name, entries, Step::Delete { next: 0 })
    }

    /// `pfctl -t name -T replace`.
    #[must_use]
    pub fn replace(anchor: AnchorPath, name: String, entries: Vec<TableEntry>) -> Self {
        Self::new(anchor, name, entries, Step::Replace(Contents::default()))
    }

    /// `pfctl -t name -T expire SECONDS`: deletes the addresses that were added, or whose counters
    /// were zeroed, more than `age` ago.
    #[must_use]
    pub fn expire(anchor: AnchorPath, name: String, age: Duration) -> Self {
        Self::new(anchor, name, Vec::new(), Step::Expire(age, None))
    }

    /// Of several entries for one prefix the first counts, as in PF.
    fn new(anchor: AnchorPath, name: String, mut entries: Vec<TableEntry>, step: Step) -> Self {
        entries.sort_by_key(|entry| entry.prefix.masked());
        entries.dedup_by_key(|entry| entry.prefix.masked());
        let done = TableChanged {
            given: entries.len(),
            ..TableChanged::default()
        };
        Self {
            anchor,
            name,
            entries,
            step,
            done,
        }
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> TableRef<'_> {
        TableRef {
            anchor: self.anchor.as_str(),
            name: &self.name,
        }
    }

    /// What it has come to so far.
    #[must_use]
    pub const fn outcome(&self) -> TableChanged {
        self.done
    }

    /// The next entries, at most `max`, and where to go on.
    fn piece(&self, next: usize, max: usize) -> (&[TableEntry], usize) {
        let rest = self.entries.get(next..).unwrap_or_default();
        let piece = rest.get(..max).unwrap_or(rest);
        (piece, next.saturating_add(piece.len()))
    }
}

impl Engine {
    /// Goes on with a change, with at most `max` addresses. Returns whether there is more to do.
    ///
    /// # Errors
    /// When the table is constant or not there, or a limit would be exceeded; then nothing has
    /// changed.
    pub fn change_table(
        &mut self,
        now: Instant,
        change: &mut TableChange,
        max: usize,
    ) -> Result<bool, TableError> {
        self.now = now;
        change.step = match std::mem::replace(&mut change.step, Step::Done) {
            Step::Count { next, new } => self.count_added(change, (next, new), max)?,
            Step::Add { next } => self.add_piece(change, next, max),
            Step::Delete { next } => self.delete_piece(change, next, max)?,
            Step::Replace(contents) => self.replace_piece(change, contents, max)?,
            Step::Expire(age, after) => self.expire_piece(change, (age, after), max)?,
            Step::Done => Step::Done,
        };
        Ok(!matches!(change.step, Step::Done))
    }

    /// A change in one piece.
    pub(super) fn change_at_once(
        &mut self,
        now: Instant,
        mut change: TableChange,
    ) -> Result<TableChanged, TableError> {
        while self.change_table(now, &mut change, usize::MAX)? {}
        Ok(change.done)
    }

    fn count_added(
        &mut self,
        change: &mut TableChange,
        (next, new): (usize, usize),
        max: usize,
    ) -> Result<Step, TableError> {
        let (piece, next) = change.piece(next, max);
        let new = match self.existing(change.table()) {
            Some(table) => {
                table.check_changeable()?;
                new.saturating_add(table.count_new(piece))
            }
            None => new.saturating_add(piece.len()),
        };
        if next < change.entries.len() {
            return Ok(Step::Count { next, new });
        }
        self.check_tables(change.table())?;
        self.check_entries(self.entries_taken().saturating_add(new))?;
        change.done.created = self.existing(change.table()).is_none();
        self.promised = new;
        Ok(Step::Add { next: 0 })
    }

    fn add_piece(&mut self, change: &mut TableChange, next: usize, max: usize) -> Step {
        let now = self.now;
        let (piece, next) = change.piece(next, max);
        let added = self
            .table_or_new(change.table())
            .map_or(0, |table| table.add(now, piece));
        self.promised = self.promised.saturating_sub(added);
        change.done.added = change.done.added.saturating_add(added);
        self.advance_epoch();
        if next < change.entries.len() {
            return Step::Add { next };
        }
        self.promised = 0;
        Step::Done
    }

    fn delete_piece(
        &mut self,
        change: &mut TableChange,
        next: usize,
        max: usize,
    ) -> Result<Step, TableError> {
        let (piece, next) = change.piece(next, max);
        let deleted = self.changeable_table(change.table())?.delete(piece);
        change.done.deleted = change.done.deleted.saturating_add(deleted);
        self.advance_epoch();
        if next < change.entries.len() {
            return Ok(Step::Delete { next });
        }
        Ok(Step::Done)
    }

    fn replace_piece(
        &mut self,
        change: &mut TableChange,
        mut contents: Contents,
        max: usize,
    ) -> Result<Step, TableError> {
        let known = self.existing(change.table());
        let before = known.map_or(Ok(0), |table| {
            table.check_changeable().map(|()| table.len())
        })?;
        let others = self.entries_taken().saturating_sub(before);
        self.check_tables(change.table())?;
        self.check_entries(others.saturating_add(change.entries.len()))?;
        let known = self.existing(change.table());
        if contents.take(self.now, &change.entries, known, max).1 {
            return Ok(Step::Replace(contents));
        }
        change.done.created = known.is_none();
        if let Some(table) = self.table_or_new(change.table()) {
            let (outcome, held) = table.replace(contents);
            change.done.added = outcome.added;
            change.done.deleted = outcome.deleted;
            change.done.changed = outcome.changed;
            self.tables.discard(held);
        }
        self.advance_epoch();
        Ok(Step::Done)
    }

    fn expire_piece(
        &mut self,
        change: &mut TableChange,
        (age, after): (Duration, Option<Prefix>),
        max: usize,
    ) -> Result<Step, TableError> {
        // Pages have no use for more than a table can hold.
        let max = max.min(u32::MAX as usize);
        let now = self.now;
        let table = self.changeable_table(change.table())?;
        let page = table.page(after, max);
        let old = page
            .iter()
            .filter(|(_, since)| now.saturating_since(*since) > age);
        let old: Vec<TableEntry> = old.map(|(entry, _)| *entry).collect();
        let deleted = table.delete(&old);
        change.done.given = change.done.given.saturating_add(old.len());
        change.done.deleted = change.done.deleted.saturating_add(deleted);
        self.advance_epoch();
        let last = page.last().map(|(entry, _)| entry.prefix);
        if page.len() < max {
            return Ok(Step::Done);
        }
        Ok(Step::Expire(age, last))
    }

    /// The table, if it is defined.
    fn existing(&self, name: TableRef<'_>) -> Option<&Table> {
        self.tables.get(self.tables.find(name)?)
    }
}
