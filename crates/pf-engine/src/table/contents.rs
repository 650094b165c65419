//! Contents of a table on their way in and out.

use super::prefixes::PrefixMap;
use super::{Table, seconds};
use crate::engine::ReplaceOutcome;
use crate::ruleset::TableEntry;
use crate::time::Instant;

/// Addresses that are being read, and will be a table's contents when all are.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(super) entries: PrefixMap,
    pub(super) outcome: ReplaceOutcome,
    /// How many of those that were given are in.
    taken: usize,
}

impl Contents {
    /// Takes in the next of `given`, at most `max`. What is in `before`, which it will replace,
    /// keeps its age. Returns how many were taken and whether there are more.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        given: &[TableEntry],
        before: Option<&Table>,
        max: usize,
    ) -> (usize, bool) {
        let rest = given.get(self.taken..).unwrap_or_default();
        let next = rest.get(..max).unwrap_or(rest);
        for entry in next {
            self.take_one(now, *entry, before);
        }
        self.taken = self.taken.saturating_add(next.len());
        (next.len(), next.len() < rest.len())
    }

    fn take_one(&mut self, now: Instant, entry: TableEntry, before: Option<&Table>) {
        let held = before.and_then(|table| table.entries.exact(entry.prefix));
        let since = held.map_or(seconds(now), |held| held.since);
        if !self.entries.insert(entry, since) {
            return;
        }
        match held {
            None => self.outcome.added = self.outcome.added.saturating_add(1),
            Some(held) if held.negated != entry.negated => {
                self.outcome.changed = self.outcome.changed.saturating_add(1);
            }
            Some(_) => {}
        }
    }
}

/// What a table held.
#[derive(Debug)]
pub(crate) struct Entries(pub(super) PrefixMap);

impl Entries {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Contents of large tables that are no longer used. To free a million of them takes as long as
/// hundreds of packets do, so whoever owns the engine may do that elsewhere.
#[derive(Debug, Default)]
pub struct Discarded(Vec<PrefixMap>);

impl Discarded {
    /// Contents of fewer addresses are freed at once.
    const ENTRIES_MIN: usize = 4_096;
    /// So many wait; then the oldest are freed.
    const CONTENTS_MAX: usize = 16;

    /// Whether there is nothing to free.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, entries: Entries) {
        if entries.len() < Self::ENTRIES_MIN {
            return;
        }
        if self.0.len() >= Self::CONTENTS_MAX {
            self.0.remove(0);
        }
        self.0.push(entries.0);
    }
}
