//! Outcomes on disk: an embedded `SQLite` database, bounded by rolling old counts up.
//!
//! One process writes (`weighbridge watch`), any number read. The journal is a write-ahead log, so
//! that readers never wait; a crash loses at most what was not yet handed over.

pub(super) mod hosts;
pub(super) mod unsent;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use mail::outcome::{Outcome, Verdict};
use mail::statistics::{Counts, System, Tally};
use mail::time::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, params};

/// Steps from one form of the database to the next; the number of steps done is its
/// `user_version`.
const MIGRATIONS: [&str; 2] = [include_str!("storage/1.sql"), include_str!("storage/2.sql")];
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// How long the names of counted messages are kept: a server that reports one again later than
/// that has other troubles.
const MESSAGES_KEPT: Duration = Duration::from_hours(7 * 24);
/// When counts are forgotten.
pub(super) const FORGOTTEN: Duration = Duration::from_hours(10 * 365 * 24);
/// Widths of buckets, the finest first, each with the age at which it is rolled up into the next
/// (the last: at which it is forgotten).
const LEVELS: [(u64, Duration); 3] = [
    (60, Duration::from_hours(24)),
    (3_600, Duration::from_hours(90 * 24)),
    (86_400, FORGOTTEN),
];

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A newer program has written it.
    #[error(
        "{}: was written by a newer weighbridge (form {found}, this one knows {}): update it",
        path.display(),
        MIGRATIONS.len()
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: usize,
    },
    /// What `SQLite` said.
    #[error("{}: {error}{}", path.display(), remedy(error))]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
}

/// What to do, where there is something.
fn remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            "\n  hint: it is damaged: move it away, with its -wal and -shm; counting begins anew"
        }
        _ => "",
    }
}

/// The error for a database that cannot be opened to be read, with what to do: `SQLite` says the same of
/// one that is not there and of one that this user may not open.
#[must_use]
pub fn unreadable(path: &Path, error: &StorageError) -> String {
    if let StorageError::Sqlite { error: sqlite, .. } = error
        && !remedy(sqlite).is_empty()
    {
        return error.to_string();
    }
    let opened = fs::File::open(path).map_err(|error| error.kind());
    let hint = if opened.is_err_and(|kind| kind == io::ErrorKind::PermissionDenied) {
        "this user may not read it: run it as root, or as the user that `weighbridge watch` runs as"
    } else {
        "`weighbridge watch -i IF` makes it, in its --state-dir"
    };
    format!("{error}\n  hint: {hint}")
}

/// A message that is to be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What became of it.
    pub outcome: Outcome,
    /// What its client was at that time.
    pub system: System,
}

/// The database.
#[derive(Debug)]
pub struct Storage {
    path: PathBuf,
    database: Connection,
}

impl Storage {
    /// Opens the database at `path` for writing; makes it if there is none.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let failed = |error| failure(path, error);
        let database = Connection::open(path).map_err(failed)?;
        let mut storage = Self::new(path, database)?;
        storage
            .database
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(failed)?;
        storage.migrate()?;
        Ok(storage)
    }

    /// Opens the database at `path` for reading.
    ///
    /// # Errors
    /// Why it cannot be used, also that there is none.
    pub fn open_to_read(path: &Path) -> Result<Self, StorageError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(path, flags);
        let storage = Self::new(path, database.map_err(|error| failure(path, error))?)?;
        storage.version()?;
        Ok(storage)
    }

    fn new(path: &Path, database: Connection) -> Result<Self, StorageError> {
        database
            .busy_timeout(BUSY)
            .map_err(|error| failure(path, error))?;
        Ok(Self {
            path: path.to_path_buf(),
            database,
        })
    }

    /// Counts `records` in one transaction; tells of each whether it was a new message.
    ///
    /// # Errors
    /// What the database said; then none was counted.
    pub fn add(&mut self, records: &[Record]) -> Result<Vec<bool>, StorageError> {
        self.transaction(|transaction| {
            let records = records.iter();
            records.map(|record| add_one(transaction, record)).collect()
        })
    }

    /// The counts of all buckets that begin at `since` or later; of all times without it.
    ///
    /// # Errors
    /// What the database said.
    pub fn tally(&self, since: Option<Timestamp>) -> Result<Tally, StorageError> {
        self.read_tally(since)
            .map_err(|error| failure(&self.path, error))
    }

    fn read_tally(&self, since: Option<Timestamp>) -> rusqlite::Result<Tally> {
        let mut statement = self.database.prepare(
            "SELECT name, flavor, verdict, SUM(n) FROM bucket WHERE start >= ?1 \
             GROUP BY name, flavor, verdict",
        )?;
        let mut rows = statement.query([since.map_or(0, signed)])?;
        let mut tally = Tally::default();
        while let Some(row) = rows.next()? {
            let system = System {
                name: row.get(0)?,
                flavor: row.get(1)?,
            };
            let verdict: String = row.get(2)?;
            let count: i64 = row.get(3)?;
            if let Some(verdict) = Verdict::parse(&verdict) {
                tally.add(system, many(verdict, u64::try_from(count).unwrap_or(0)));
            }
        }
        Ok(tally)
    }

    /// Rolls old counts up and forgets what is older than its time. To be called now and then.
    ///
    /// # Errors
    /// What the database said; then nothing was changed.
    pub fn roll_up(&mut self, now: Timestamp) -> Result<(), StorageError> {
        self.transaction(|transaction| {
            for (at, (width, age)) in LEVELS.iter().enumerate() {
                // A wider bucket is made of whole ones.
                let next = LEVELS.get(at + 1);
                let whole = int(next.map_or(*width, |(wider, _)| *wider));
                let before = seconds_before(now, *age) / whole * whole;
                if *width == unsent::HOUR {
                    unsent::days_change(transaction, before)?;
                }
                if let Some((wider, _)) = next {
                    transaction.execute(
                        "INSERT INTO bucket SELECT start / ?1 * ?1, ?1, name, flavor, verdict, \
                         SUM(n) FROM bucket WHERE width = ?2 AND start < ?3 \
                         GROUP BY 1, name, flavor, verdict \
                         ON CONFLICT DO UPDATE SET n = n + excluded.n",
                        params![int(*wider), int(*width), before],
                    )?;
                }
                transaction.execute(
                    "DELETE FROM bucket WHERE width = ?1 AND start < ?2",
                    params![int(*width), before],
                )?;
            }
            transaction.execute(
                "DELETE FROM message WHERE at < ?1",
                [seconds_before(now, MESSAGES_KEPT)],
            )?;
            transaction.execute(
                "DELETE FROM unsent WHERE start < ?1",
                [seconds_before(now, FORGOTTEN)],
            )?;
            hosts::forget(transaction)
        })
    }

    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        let path = self.path.clone();
        let done = (|| {
            let transaction = self.database.transaction()?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })();
        done.map_err(|error| failure(&path, error))
    }

    fn migrate(&mut self) -> Result<(), StorageError> {
        let done = self.version()?;
        let form = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
        self.transaction(|transaction| {
            for step in MIGRATIONS.iter().skip(done) {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "user_version", form)
        })
    }

    /// How many migrations it has seen.
    fn version(&self) -> Result<usize, StorageError> {
        let version = self
            .database
            .pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0))
            .map_err(|error| failure(&self.path, error))?;
        let found = usize::try_from(version).unwrap_or(usize::MAX);
        if found > MIGRATIONS.len() {
            return Err(StorageError::TooNew {
                path: self.path.clone(),
                found,
            });
        }
        Ok(found)
    }
}

/// Counts one message; false when it was counted before.
fn add_one(transaction: &Transaction<'_>, record: &Record) -> rusqlite::Result<bool> {
    let outcome = &record.outcome;
    if let Some(id) = &outcome.message {
        let new = transaction
            .prepare_cached("INSERT INTO message VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![id, signed(outcome.at)])?;
        if new == 0 {
            return Ok(false);
        }
    }
    let (width, _) = LEVELS[0];
    let start = outcome.at.as_secs() / width * width;
    transaction
        .prepare_cached(
            "INSERT INTO bucket VALUES (?1, ?2, ?3, ?4, ?5, 1) \
             ON CONFLICT DO UPDATE SET n = n + 1",
        )?
        .execute(params![
            int(start),
            int(width),
            record.system.name,
            record.system.flavor,
            outcome.verdict.name()
        ])?;
    unsent::hour_changed(transaction, start)?;
    Ok(true)
}

pub(super) fn many(verdict: Verdict, count: u64) -> Counts {
    let mut counts = Counts::default();
    match verdict {
        Verdict::Accepted => counts.accepted = count,
        Verdict::Rejected => counts.rejected = count,
        Verdict::Deferred => counts.deferred = count,
    }
    counts
}

fn seconds_before(now: Timestamp, age: Duration) -> i64 {
    int(now.as_secs().saturating_sub(age.as_secs()))
}

fn signed(at: Timestamp) -> i64 {
    int(at.as_secs())
}

/// The databases' integers have a sign.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn failure(path: &Path, error: rusqlite::Error) -> StorageError {
    StorageError::Sqlite {
        path: path.to_path_buf(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use mail::connection::Peer;
    use mail::statistics::Grouping;

    use super::*;

    const NOON: u64 = 1_700_000_000;

    fn record(system: &str, verdict: Verdict, at: u64, id: Option<&str>) -> Record {
        Record {
            outcome: Outcome {
                at: Timestamp::from_secs(at),
                peer: Peer::address([192, 0, 2, 1].into()),
                verdict,
                stage: None,
                message: id.map(str::to_owned),
                reporter: "text",
            },
            system: System {
                name: system.to_owned(),
                flavor: String::new(),
            },
        }
    }

    fn storage() -> (tempfile::TempDir, Storage) {
        let dir = tempfile::tempdir().expect("a directory");
        let storage = Storage::open(&dir.path().join("mail.db")).expect("it opens");
        (dir, storage)
    }

    fn totals(storage: &Storage, since: Option<u64>) -> (u64, u64, u64) {
        let tally = storage
            .tally(since.map(Timestamp::from_secs))
            .expect("it reads");
        let total = tally.report(&Grouping::Family).total;
        (total.accepted, total.rejected, total.deferred)
    }

    #[test]
    fn messages_are_counted_once_whoever_reports_them() {
        let (_dir, mut storage) = storage();
        let records = [
            record("Linux", Verdict::Accepted, NOON, Some("a")),
            record("Linux", Verdict::Accepted, NOON + 1, Some("a")),
            record("Windows", Verdict::Rejected, NOON, None),
            record("Windows", Verdict::Rejected, NOON, None),
            record("Windows", Verdict::Deferred, NOON, Some("b")),
        ];
        let new = storage.add(&records).expect("counted");
        assert_eq!(new, [true, false, true, true, true]);
        let new = storage.add(&records[..2]).expect("counted");
        assert_eq!(new, [false, false]);
        assert_eq!(totals(&storage, None), (1, 2, 1));
    }

    #[test]
    fn what_was_before_is_left_out() {
        let (_dir, mut storage) = storage();
        let old = record("Linux", Verdict::Accepted, NOON, None);
        let new = record("Linux", Verdict::Accepted, NOON + 3_600, None);
        storage.add(&[old, new]).expect("counted");
        assert_eq!(totals(&storage, Some(NOON + 600)), (1, 0, 0));
    }

    #[test]
    fn rolling_up_keeps_every_count_until_its_time_is_over() {
        let (_dir, mut storage) = storage();
        for minute in 0..120 {
            let record = record("Linux", Verdict::Accepted, NOON + 60 * minute, None);
            storage.add(&[record]).expect("counted");
        }
        let buckets = |storage: &Storage| -> i64 {
            let count = "SELECT COUNT(*) FROM bucket";
            let read = storage.database.query_row(count, [], |row| row.get(0));
            read.expect("it reads")
        };
        assert_eq!(buckets(&storage), 120);
        let day = 24 * 3_600;
        storage
            .roll_up(Timestamp::from_secs(NOON + 2 * day))
            .expect("rolled");
        assert!(buckets(&storage) <= 3);
        storage
            .roll_up(Timestamp::from_secs(NOON + 200 * day))
            .expect("rolled");
        assert!(buckets(&storage) <= 2);
        assert_eq!(totals(&storage, None), (120, 0, 0));
        storage
            .roll_up(Timestamp::from_secs(NOON + 4_000 * day))
            .expect("rolled");
        assert_eq!(totals(&storage, None), (0, 0, 0));
    }

    #[test]
    fn what_is_to_be_sent_are_whole_hours_and_days_until_it_is_there() {
        let (_dir, mut storage) = storage();
        let hour = NOON / 3_600 * 3_600;
        for minute in [0, 1, 61] {
            let record = record("Linux", Verdict::Accepted, hour + 60 * minute, None);
            storage.add(&[record]).expect("counted");
        }
        let sums = |storage: &Storage| -> Vec<(i64, i64)> {
            let buckets = storage.unsent(9).expect("read").into_iter();
            let sum = |bucket: &unsent::Bucket| bucket.counts.iter().map(|one| one.count).sum();
            buckets.map(|bucket| (bucket.width, sum(&bucket))).collect()
        };
        assert_eq!(sums(&storage), [(3_600, 2), (3_600, 1)]);
        let read = storage.unsent(9).expect("read");
        // One more while the other side takes them.
        let late = record("Linux", Verdict::Accepted, hour + 120, None);
        storage.add(&[late]).expect("counted");
        storage.sent(&read).expect("noted");
        assert_eq!(sums(&storage), [(3_600, 3)]);
        let day = 24 * 3_600;
        storage
            .roll_up(Timestamp::from_secs(NOON + 2 * day))
            .expect("rolled");
        assert_eq!(sums(&storage), [(3_600, 3)]);
        storage
            .roll_up(Timestamp::from_secs(NOON + 200 * day))
            .expect("rolled");
        assert_eq!(sums(&storage), [(86_400, 4), (3_600, 0)]);
        storage
            .roll_up(Timestamp::from_secs(NOON + 4_000 * day))
            .expect("rolled");
        assert_eq!(sums(&storage), []);
    }

    #[test]
    fn of_a_damaged_file_it_is_said_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("mail.db");
        fs::write(&path, "no database, however long this may be").expect("written");
        let problem = Storage::open(&path).expect_err("damaged").to_string();
        assert!(
            problem.contains("hint: it is damaged: move it away"),
            "{problem}"
        );
        let error = Storage::open_to_read(&path).expect_err("damaged");
        let problem = unreadable(&path, &error);
        assert_eq!(problem.matches("hint:").count(), 1, "{problem}");
    }

    #[test]
    fn a_reader_sees_what_was_written_and_a_newer_form_is_refused() {
        let (dir, mut storage) = storage();
        let path = dir.path().join("mail.db");
        storage
            .add(&[record("Linux", Verdict::Accepted, NOON, None)])
            .expect("counted");
        let reader = Storage::open_to_read(&path).expect("it opens");
        assert_eq!(totals(&reader, None), (1, 0, 0));
        storage
            .database
            .pragma_update(None, "user_version", 99)
            .expect("set");
        assert!(matches!(
            Storage::open_to_read(&path),
            Err(StorageError::TooNew { found: 99, .. })
        ));
        let nowhere = Storage::open_to_read(&dir.path().join("none.db"));
        assert!(matches!(nowhere, Err(StorageError::Sqlite { .. })));
    }
}
