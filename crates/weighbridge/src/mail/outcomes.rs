//! Where reports of mail servers go: to a thread that counts them in the database, so that no
//! mail server ever waits for a disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mail::answer::LookUp;
use mail::outcome::{Outcome, OutcomeSink};
use mail::statistics::System;
use mail::time::Timestamp;
use tracing::warn;

use super::clock;
use super::reputation::Reputation;
use super::storage::{Record, Storage, StorageError};

/// The database, in the directory of the observations.
pub const DATABASE: &str = "mail.db";
/// Reports that may wait for the database: an hour's of a busy server. Further ones are counted
/// as lost.
pub const HELD_MAX: usize = 100_000;
/// Reports that are counted in one transaction.
const BATCH: usize = 1_000;
/// How often old counts are rolled up, by the time of the reports.
const ROLL_UP_EVERY: Duration = Duration::from_hours(1);

enum Message {
    Report(Outcome),
    End,
}

/// The thread that counts.
#[derive(Debug)]
pub struct Writer {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

/// Why outcomes cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is no thread to be had.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

impl Writer {
    /// Opens the database in `directory` and starts the thread. What a client was is asked of
    /// `lookup` when its report is counted; what follows for its host is noted in `reputation`.
    ///
    /// # Errors
    /// Why outcomes cannot be kept.
    pub fn start(
        directory: &Path,
        lookup: Box<dyn LookUp + Send>,
        reputation: Reputation,
    ) -> Result<Self, StartError> {
        let storage = Storage::open(&directory.join(DATABASE))?;
        reputation.restore(&storage.hosts()?, clock::now());
        let (sender, reports) = sync_channel(HELD_MAX);
        let counter = Counter {
            storage,
            lookup,
            reputation,
            rolled_up: Timestamp::default(),
        };
        let thread = std::thread::Builder::new()
            .name("outcomes".to_owned())
            .spawn(move || counter.run(&reports))?;
        Ok(Self {
            sender,
            lost: Arc::default(),
            thread,
        })
    }

    /// A sink for the services.
    #[must_use]
    pub fn sink(&self) -> Box<dyn OutcomeSink + Send> {
        Box::new(Sink {
            sender: self.sender.clone(),
            lost: Arc::clone(&self.lost),
        })
    }

    /// Waits until all that was reported is counted; returns how many reports were lost.
    #[must_use]
    pub fn finish(self) -> u64 {
        if self.sender.send(Message::End).is_ok() {
            let _ = self.thread.join();
        }
        self.lost.load(Ordering::Relaxed)
    }
}

struct Sink {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl OutcomeSink for Sink {
    fn record(&mut self, outcome: Outcome) {
        if self.sender.try_send(Message::Report(outcome)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A sink for where there is no database: it says once that it keeps nothing.
#[must_use]
pub fn nowhere() -> Box<dyn OutcomeSink + Send> {
    Box::new(Nowhere { said: false })
}

struct Nowhere {
    said: bool,
}

impl OutcomeSink for Nowhere {
    fn record(&mut self, _: Outcome) {
        if !std::mem::replace(&mut self.said, true) {
            warn!("outcomes are reported, and there is no state directory to keep them in");
        }
    }
}

struct Counter {
    storage: Storage,
    lookup: Box<dyn LookUp + Send>,
    reputation: Reputation,
    rolled_up: Timestamp,
}

impl Counter {
    fn run(mut self, reports: &Receiver<Message>) {
        let mut records = Vec::new();
        while let Ok(first) = reports.recv() {
            let mut go_on = self.take(first, &mut records);
            while go_on
                && records.len() < BATCH
                && let Ok(next) = reports.try_recv()
            {
                go_on = self.take(next, &mut records);
            }
            self.count(&records);
            records.clear();
            if !go_on {
                return;
            }
        }
    }

    /// False when it was the last.
    fn take(&mut self, message: Message, records: &mut Vec<Record>) -> bool {
        let Message::Report(outcome) = message else {
            return false;
        };
        let answer = self.lookup.look_up(&outcome.peer, outcome.at);
        let os = answer.as_ref().and_then(|answer| answer.os.as_ref());
        records.push(Record {
            system: System::of(os.map(|os| &os.label)),
            outcome,
        });
        true
    }

    fn count(&mut self, records: &[Record]) {
        let Some(newest) = records.iter().map(|record| record.outcome.at).max() else {
            return;
        };
        let mut done = self.add(records);
        if done.is_ok() && newest >= self.rolled_up.saturating_add(ROLL_UP_EVERY) {
            self.rolled_up = newest;
            done = self.storage.roll_up(newest);
        }
        if let Err(error) = done {
            warn!("{} outcomes were not counted: {error}", records.len());
        }
    }

    fn add(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let new = self.storage.add(records)?;
        let new = records.iter().zip(new).filter(|(_, new)| *new);
        let kept = self
            .reputation
            .record(new.map(|(record, _)| &record.outcome));
        self.storage.keep_hosts(&kept)
    }
}

#[cfg(test)]
mod tests {
    use mail::outcome::Verdict;
    use mail::statistics::Grouping;

    use super::*;
    use crate::mail::settings::MailSettings;
    use crate::mail::testing::{Nobody, outcome};

    #[test]
    fn what_was_reported_is_counted_when_the_writer_has_finished() {
        let dir = tempfile::tempdir().expect("a directory");
        let reputation = Reputation::new(&MailSettings::default());
        let writer = Writer::start(dir.path(), Box::new(Nobody), reputation.clone());
        let writer = writer.expect("it starts");
        let mut sink = writer.sink();
        let at = Timestamp::from_secs(1_700_000_000);
        for (number, verdict) in [Verdict::Accepted, Verdict::Rejected, Verdict::Rejected]
            .into_iter()
            .enumerate()
        {
            sink.record(Outcome {
                message: Some(number.to_string()),
                ..outcome("203.0.113.1", verdict, at)
            });
        }
        assert_eq!(writer.finish(), 0);
        let storage = Storage::open_to_read(&dir.path().join(DATABASE)).expect("it is there");
        let report = storage
            .tally(None)
            .expect("it reads")
            .report(&Grouping::Family);
        assert_eq!(report.rows.len(), 1);
        assert_eq!(report.rows[0].system, "Unknown");
        assert_eq!((report.total.accepted, report.total.rejected), (1, 2));
        let known = reputation
            .explain([203, 0, 113, 1].into(), at)
            .expect("known");
        assert!((known.rejected - 2.0).abs() < 0.01, "{known}");
        assert_eq!(storage.hosts().expect("it reads").len(), 1);
        sink.record(outcome("203.0.113.1", Verdict::Accepted, at));
    }
}
