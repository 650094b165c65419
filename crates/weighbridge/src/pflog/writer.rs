//! The thread that writes logged packets to their files and hands them to those who watch. The
//! packet loop never waits for it: what does not fit into its queue is lost, and counted.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use pf_engine::decision::{LOG_SNAP_LENGTH, LogEntry};
use tracing::warn;

use super::file::LogFile;
use super::record::{PFLOG_HEADER, Record};
use crate::control::server::live::Feed;
use crate::text::reason;

/// Where the files are unless `log-directory` says otherwise.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/weighbridge";
/// Bytes of a file before it is rotated, unless `log-file-size` says otherwise: a minute of a
/// flood, and quick to look through.
pub const DEFAULT_FILE_SIZE: u64 = 16 << 20;
/// Files of each `pflogN`, the one that is written to included, unless `log-files` says
/// otherwise.
pub const DEFAULT_FILES: u32 = 8;
/// Entries that wait for the writer. With the largest snap length they take 64 MiB.
pub const QUEUE: usize = 1024;
/// What is gathered is written at least that often; twice that is the second that is promised.
const FLUSH_INTERVAL: Duration = Duration::from_millis(450);

/// Where and how packets are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Directory of the files.
    pub directory: PathBuf,
    /// Bytes of a file before it is rotated.
    pub file_size: u64,
    /// Files of each `pflogN`.
    pub files: u32,
    /// Bytes of a record, the 64 of the header of pflog(4) included.
    pub snap_length: u32,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            directory: DEFAULT_DIRECTORY.into(),
            file_size: DEFAULT_FILE_SIZE,
            files: DEFAULT_FILES,
            snap_length: u32::try_from(LOG_SNAP_LENGTH + PFLOG_HEADER).unwrap_or(u32::MAX),
        }
    }
}

impl LogSettings {
    /// Makes the directory, and sees that files can be made in it.
    ///
    /// # Errors
    /// One clear sentence.
    pub fn prepare(&self) -> Result<(), String> {
        let directory = &self.directory;
        let failed = |error: io::Error| {
            format!(
                "cannot write packet logs to {}: {}; set log-directory in weighbridge.toml",
                directory.display(),
                reason(&error)
            )
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(directory).map_err(failed)?;
        let probe = directory.join(format!(".probe{}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&probe).map_err(failed)?;
        fs::remove_file(&probe).map_err(failed)
    }
}

/// An entry, when it was made since 1970, and who loaded the rules.
type Item = (LogEntry, Duration, (u32, u32));

/// What was logged since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStatistics {
    /// Packets in files.
    pub written: u64,
    /// Packets that were lost: the writer was behind, or the disk failed.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    lost: AtomicU64,
}

/// The packet loop's half of the writer. Dropping it writes what is left.
#[derive(Debug)]
pub struct Logger {
    sender: Option<SyncSender<Item>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Logger {
    /// Starts the writer.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(settings: LogSettings, feed: Feed) -> io::Result<Self> {
        let (sender, items) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let mut writer = Writer {
            settings,
            feed,
            shared: Arc::clone(&shared),
            files: BTreeMap::new(),
            waiting_since: None,
            failing: false,
            told: 0,
        };
        let thread = std::thread::Builder::new().name("pflog".into());
        let thread = thread.spawn(move || writer.run(&items))?;
        Ok(Self {
            sender: Some(sender),
            shared,
            thread: Some(thread),
        })
    }

    /// Logs entries; never waits.
    pub fn log(&self, entries: Vec<LogEntry>, time: Duration, loaded_by: (u32, u32)) {
        for entry in entries {
            let sent = match &self.sender {
                Some(sender) => sender.try_send((entry, time, loaded_by)).is_ok(),
                None => false,
            };
            if !sent {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What was logged so far.
    #[must_use]
    pub fn statistics(&self) -> LogStatistics {
        LogStatistics {
            written: self.shared.written.load(Ordering::Relaxed),
            lost: self.shared.lost.load(Ordering::Relaxed),
        }
    }

    /// Writes what is left; what is logged afterwards is lost.
    pub fn finish(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Logger {
    fn drop(&mut self) {
        self.finish();
    }
}

struct Writer {
    settings: LogSettings,
    feed: Feed,
    shared: Arc<Shared>,
    files: BTreeMap<u8, LogFile>,
    /// Time of the first record since the last flush.
    waiting_since: Option<Duration>,
    /// The last write failed, and that was told.
    failing: bool,
    /// Lost entries that were told of.
    told: u64,
}

impl Writer {
    fn run(&mut self, items: &Receiver<Item>) {
        loop {
            match items.recv_timeout(FLUSH_INTERVAL) {
                Ok((entry, time, by)) => self.take(Record::new(entry, time, by)),
                Err(RecvTimeoutError::Timeout) => self.flush(),
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn take(&mut self, record: Record) {
        let time = record.time;
        let appended = self.append(&record);
        self.note(appended);
        self.feed.offer(record);
        let since = *self.waiting_since.get_or_insert(time);
        if time.saturating_sub(since) >= FLUSH_INTERVAL {
            self.flush();
        }
    }

    fn append(&mut self, record: &Record) -> Result<u64, (u64, io::Error)> {
        if !self.files.contains_key(&record.log) {
            let file = LogFile::open(record.log, &self.settings).map_err(|error| (1, error))?;
            self.files.insert(record.log, file);
        }
        match self.files.get_mut(&record.log) {
            Some(file) => file.append(record),
            None => Ok(0),
        }
    }

    fn flush(&mut self) {
        self.waiting_since = None;
        let flushed: Vec<_> = self.files.values_mut().map(LogFile::flush).collect();
        for result in flushed {
            self.note(result);
        }
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost > self.told {
            warn!("{} logged packets were lost", lost - self.told);
            self.told = lost;
        }
    }

    fn note(&mut self, appended: Result<u64, (u64, io::Error)>) {
        match appended {
            Ok(records) => {
                self.failing = false;
                self.shared.written.fetch_add(records, Ordering::Relaxed);
            }
            Err((lost, error)) => {
                self.shared.lost.fetch_add(lost, Ordering::Relaxed);
                if !self.failing {
                    let directory = self.settings.directory.display();
                    warn!("cannot log packets to {directory}: {}", reason(&error));
                }
                self.failing = true;
            }
        }
    }
}
