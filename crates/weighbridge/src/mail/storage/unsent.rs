//! Counts that a common database does not have yet.
//!
//! What is sent are absolute counts of hours and days, and nothing is taken off the list before the
//! other side has it: sent twice, they are the same.

use rusqlite::{Connection, Transaction, params};

use super::{Storage, StorageError, failure, int};

/// Seconds of an hour and of a day: the widths of buckets that are sent.
pub(in crate::mail) const HOUR: u64 = 3_600;
/// See [`HOUR`].
pub(in crate::mail) const DAY: u64 = 86_400;

/// The counts of one hour or day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mail) struct Bucket {
    /// Where it begins, in seconds since 1970.
    pub(in crate::mail) start: i64,
    /// How many seconds it spans.
    pub(in crate::mail) width: i64,
    changes: i64,
    /// Counts.
    pub(in crate::mail) counts: Vec<BucketCount>,
}

/// One count of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mail) struct BucketCount {
    /// The system's name.
    pub(in crate::mail) name: String,
    /// Its flavour.
    pub(in crate::mail) flavor: String,
    /// Name of the verdict.
    pub(in crate::mail) verdict: String,
    /// Messages.
    pub(in crate::mail) count: i64,
}

impl Storage {
    /// Buckets to be sent, the oldest first, at most `most`.
    pub(in crate::mail) fn unsent(&self, most: usize) -> Result<Vec<Bucket>, StorageError> {
        read(&self.database, most).map_err(|error| failure(&self.path, error))
    }

    /// The other side has these, as they were read.
    pub(in crate::mail) fn sent(&mut self, buckets: &[Bucket]) -> Result<(), StorageError> {
        self.transaction(|transaction| {
            for bucket in buckets {
                transaction.execute(
                    "DELETE FROM unsent WHERE start = ?1 AND width = ?2 AND changes = ?3",
                    params![bucket.start, bucket.width, bucket.changes],
                )?;
            }
            Ok(())
        })
    }
}

fn read(database: &Connection, most: usize) -> rusqlite::Result<Vec<Bucket>> {
    let mut list = database.prepare_cached(
        "SELECT start, width, changes FROM unsent ORDER BY start, width LIMIT ?1",
    )?;
    let limit = i64::try_from(most).unwrap_or(i64::MAX);
    let buckets = list.query_map([limit], |row| {
        Ok(Bucket {
            start: row.get(0)?,
            width: row.get(1)?,
            changes: row.get(2)?,
            counts: Vec::new(),
        })
    })?;
    let mut buckets = buckets.collect::<rusqlite::Result<Vec<_>>>()?;
    for bucket in &mut buckets {
        bucket.counts = counts(database, bucket)?;
    }
    Ok(buckets)
}

/// An hour is the sum of its minutes and of those that were rolled up already.
fn counts(database: &Connection, bucket: &Bucket) -> rusqlite::Result<Vec<BucketCount>> {
    let widths = if bucket.width > int(HOUR) {
        (bucket.width, bucket.width)
    } else {
        (0, bucket.width)
    };
    let mut sums = database.prepare_cached(
        "SELECT name, flavor, verdict, SUM(n) FROM bucket WHERE start >= ?1 AND start < ?2 \
         AND width BETWEEN ?3 AND ?4 GROUP BY name, flavor, verdict",
    )?;
    let end = bucket.start.saturating_add(bucket.width);
    let sums = sums.query_map(params![bucket.start, end, widths.0, widths.1], |row| {
        Ok(BucketCount {
            name: row.get(0)?,
            flavor: row.get(1)?,
            verdict: row.get(2)?,
            count: row.get(3)?,
        })
    })?;
    sums.collect()
}

/// The hour that begins at `start` has changed.
pub(super) fn hour_changed(transaction: &Transaction<'_>, start: u64) -> rusqlite::Result<()> {
    let start = start / HOUR * HOUR;
    transaction
        .prepare_cached(
            "INSERT INTO unsent VALUES (?1, ?2, 1) \
             ON CONFLICT DO UPDATE SET changes = changes + 1",
        )?
        .execute([int(start), int(HOUR)])?;
    Ok(())
}

/// The days of the hours before `before` are about to be made of them.
pub(super) fn days_change(transaction: &Transaction<'_>, before: i64) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO unsent SELECT DISTINCT start / ?1 * ?1, ?1, 1 FROM bucket \
         WHERE width = ?2 AND start < ?3 ON CONFLICT DO UPDATE SET changes = changes + 1",
        params![int(DAY), int(HOUR), before],
    )?;
    Ok(())
}
