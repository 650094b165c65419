//! What is kept of hosts.

use mail::throttle::{self, ADDRESSES_MAX, Kept};
use mail::time::Timestamp;
use rusqlite::{Row, Transaction, params};

use super::{Storage, StorageError, failure, int};
use crate::text::parse_prefix;

impl Storage {
    /// Keeps these.
    ///
    /// # Errors
    /// What the database said; then none was kept.
    pub fn keep_hosts(&mut self, hosts: &[Kept]) -> Result<(), StorageError> {
        self.transaction(|transaction| {
            for kept in hosts {
                transaction
                    .prepare_cached(
                        "INSERT INTO host VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET \
                         accepted = excluded.accepted, rejected = excluded.rejected, \
                         at = excluded.at, until = excluded.until",
                    )?
                    .execute(params![
                        throttle::text(&kept.host),
                        kept.accepted,
                        kept.rejected,
                        int(kept.at.as_micros()),
                        kept.until.map(|until| int(until.as_micros())),
                    ])?;
            }
            Ok(())
        })
    }

    /// What was kept of the hosts that were heard of last, at most [`ADDRESSES_MAX`], the oldest
    /// first.
    ///
    /// # Errors
    /// What the database said.
    pub fn hosts(&self) -> Result<Vec<Kept>, StorageError> {
        self.read_hosts()
            .map_err(|error| failure(&self.path, error))
    }

    fn read_hosts(&self) -> rusqlite::Result<Vec<Kept>> {
        let mut statement = self.database.prepare(
            "SELECT * FROM (SELECT host, accepted, rejected, at, until FROM host \
             ORDER BY at DESC LIMIT ?1) ORDER BY at",
        )?;
        let limit = i64::try_from(ADDRESSES_MAX).unwrap_or(i64::MAX);
        let rows = statement.query_map([limit], kept)?;
        Ok(rows
            .collect::<rusqlite::Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    }
}

/// Nothing for what is no host of ours.
fn kept(row: &Row<'_>) -> rusqlite::Result<Option<Kept>> {
    let time = |micros: i64| Timestamp::from_micros(u64::try_from(micros).unwrap_or(0));
    let host: String = row.get(0)?;
    let until: Option<i64> = row.get(4)?;
    let (accepted, rejected, at) = (row.get(1)?, row.get(2)?, row.get(3)?);
    Ok(parse_prefix(&host).map(|host| Kept {
        host,
        accepted,
        rejected,
        at: time(at),
        until: until.map(time),
    }))
}

/// Forgets all but the [`ADDRESSES_MAX`] that were heard of last.
pub(super) fn forget(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let limit = i64::try_from(ADDRESSES_MAX).unwrap_or(i64::MAX);
    transaction.execute(
        "DELETE FROM host WHERE at <= \
         (SELECT at FROM host ORDER BY at DESC LIMIT 1 OFFSET ?1)",
        [limit],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_back_as_they_were_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut storage = Storage::open(&dir.path().join("mail.db")).expect("it opens");
        let kept = |text: &str, rejected: f64, until: Option<u64>| Kept {
            host: throttle::host_of(text.parse().expect("an address")),
            accepted: 0.25,
            rejected,
            at: Timestamp::from_micros(1_700_000_000_000_001),
            until: until.map(Timestamp::from_secs),
        };
        let first = [
            kept("192.0.2.1", 1.0, None),
            kept("2001:db8::1", 2.0, Some(9)),
        ];
        storage.keep_hosts(&first).expect("kept");
        let again = kept("192.0.2.1", 3.5, Some(1_700_003_600));
        storage.keep_hosts(&[again]).expect("kept");
        let mut hosts = storage.hosts().expect("read");
        hosts.sort_by_key(|kept| kept.host);
        assert_eq!(hosts, [again, first[1]]);
        storage
            .roll_up(Timestamp::from_secs(1_700_000_000))
            .expect("rolled");
        assert_eq!(storage.hosts().expect("read").len(), 2);
    }
}
