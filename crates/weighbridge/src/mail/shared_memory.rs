//! The answers in a file in memory, for readers that do not want to ask: `[shared-memory]`.
//!
//! The file is written with `pwrite(2)`, not mapped: when there is no memory left that is an
//! error, not a signal. A new one takes the old one's place when it is whole.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use mail::published::{Counts, HEARTBEAT, Header, Publisher, Write};
use mail::store::{Event, Store};
use mail::time::Timestamp;

use super::listen::{CLOSED_MODE, ListenError, group};
use super::settings::SharedMemorySettings;
use crate::random::Random;

/// A file that is kept.
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    publisher: Publisher,
    writes: Vec<Write>,
    /// When the heartbeat is due.
    next_beat: Timestamp,
    failed: u64,
}

impl SharedMemory {
    /// Makes the file that `settings` name, in the place of one that an earlier process left.
    ///
    /// # Errors
    /// Why it cannot be made; the old one stays then.
    pub fn create(settings: &SharedMemorySettings) -> Result<Self, ListenError> {
        let path = &settings.file;
        let failed = |error| ListenError::Io {
            place: path.display().to_string(),
            error,
        };
        let mut random = Random::new().map_err(failed)?;
        let secret = (random.seed(), random.seed());
        let header = Header::new(settings.entries, random.seed(), secret);
        let group = settings.group.as_deref().map(group).transpose()?;
        let new = path.with_extension("new");
        let file = new_file(&new).map_err(failed)?;
        let made = fill(&file, &header)
            .and_then(|()| fchown(&file, None, group))
            .and_then(|()| file.set_permissions(Permissions::from_mode(settings.mode)))
            .and_then(|()| fs::rename(&new, path));
        made.map_err(failed)?;
        Ok(Self {
            file,
            publisher: Publisher::new(header),
            writes: Vec::new(),
            next_beat: Timestamp::default(),
            failed: 0,
        })
    }

    /// Publishes everything that `store` knows at `now`, and that somebody is there.
    pub fn begin(&mut self, store: &mut Store, now: Timestamp) {
        let Self {
            file,
            publisher,
            failed,
            ..
        } = self;
        publisher.all(store, now, &mut |write| *failed += lost(file, &write));
        self.beat(now);
    }

    /// Publishes what `events`, of one packet that came at `now`, have changed in `store`.
    pub fn publish(&mut self, store: &mut Store, events: &[Event], now: Timestamp) {
        let Self {
            file,
            publisher,
            writes,
            failed,
            ..
        } = self;
        publisher.events(store, events, now, writes);
        for write in writes.drain(..) {
            *failed += lost(file, &write);
        }
    }

    /// Writes the heartbeat if it is due at `now`.
    pub fn beat(&mut self, now: Timestamp) {
        if now >= self.next_beat {
            self.next_beat = now.saturating_add(HEARTBEAT);
            self.write_header(now);
        }
    }

    /// Tells readers that nobody keeps the file any more.
    pub fn end(&mut self) {
        self.write_header(Timestamp::default());
    }

    /// What was published.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.publisher.counts()
    }

    /// Writes for which there was no memory.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    fn write_header(&mut self, heartbeat: Timestamp) {
        let header = self.publisher.header().beaten(heartbeat).bytes();
        self.failed += u64::from(self.file.write_all_at(&header, 0).is_err());
    }
}

fn lost(file: &File, write: &Write) -> u64 {
    u64::from(file.write_all_at(write.bytes(), write.offset()).is_err())
}

/// Nobody reads it before it has its group and mode.
fn new_file(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true).mode(CLOSED_MODE);
    options.open(path)
}

fn fill(file: &File, header: &Header) -> io::Result<()> {
    file.set_len(header.file_len())?;
    file.write_all_at(&header.bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_has_its_mode_and_nobody_in_it_until_it_begins() {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = SharedMemorySettings {
            file: dir.path().join("run/os.shm"),
            ..SharedMemorySettings::default()
        };
        let mut memory = SharedMemory::create(&settings).expect("it is made");
        let header = || {
            let bytes = fs::read(&settings.file).expect("read");
            Header::parse(&bytes).expect("a table")
        };
        let now = Timestamp::from_secs(1_700_000_000);
        assert!(!header().is_alive(now));
        memory.beat(now);
        assert!(header().is_alive(now));
        memory.end();
        assert!(!header().is_alive(now));
        let found = fs::metadata(&settings.file).expect("there");
        assert_eq!(found.permissions().mode() & 0o777, 0o640);
        assert_eq!(found.len(), header().file_len());
        let first = header().generation();
        SharedMemory::create(&settings).expect("it is replaced");
        assert_ne!(header().generation(), first);
        assert_eq!(memory.failed(), 0);
    }
}
