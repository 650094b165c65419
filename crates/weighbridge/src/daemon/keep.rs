//! States over a restart: snapshots into a file, and back from it at the next start.

mod anchors;
mod beside;
pub(crate) mod file;
pub(crate) mod load;
mod packed;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use pf_engine::engine::Engine;
use pf_engine::env::Interface;
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;
use rustix::fs::{FlockOperation, flock};
use tracing::{info, warn};

use self::beside::{Progress, Snapshot};
use self::file::{Draft, Form};
use super::clock::Clock;

/// From the end of a snapshot to the beginning of the next. With the time that writing a million
/// states takes, what is on the disk is never older than ten seconds.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(5);
/// States that are written down before packets get their turn: a fraction of a millisecond's worth.
const SLICE: usize = 128;
/// How long a disk that is behind is left alone.
const DISK_PATIENCE: Duration = Duration::from_millis(5);

const STATES: &str = "states";
/// What pfctl has loaded into anchors.
const ANCHORS: &str = "anchors";
/// What is behind the name of a file that is being written.
const NEW: &str = ".new";
const LOCK: &str = "states.lock";

/// Keeps states in a directory.
#[derive(Debug)]
pub(super) struct Keeper {
    /// Nothing when states cannot be kept.
    place: Option<Place>,
    dialect: Dialect,
    draft: Option<Snapshot>,
    next: Instant,
    /// The disk is behind: it is waited for until then.
    patience: Option<Instant>,
    writing: Option<Receiver<io::Result<()>>>,
    /// The last snapshot had states.
    had_states: bool,
    /// The file of anchors as it is on the disk, and the epoch of the rules then.
    anchors: Vec<u8>,
    anchors_epoch: Option<u64>,
    /// That it failed was told.
    told: bool,
}

/// A directory that is ours.
#[derive(Debug)]
struct Place {
    directory: PathBuf,
    // The lock lasts as long as this descriptor.
    _lock: File,
}

impl Keeper {
    /// Takes `directory`; where that fails one line of log says why, and states are not kept.
    pub(super) fn open(directory: &Path, dialect: Dialect) -> Self {
        let place = Place::take(directory).map_err(|error| {
            warn!(
                "states will not outlive this daemon: {}: {error}; name another directory with \
                 --state-dir DIR",
                directory.display()
            );
        });
        Self {
            place: place.ok(),
            dialect,
            draft: None,
            next: Instant::default(),
            patience: None,
            writing: None,
            had_states: false,
            anchors: Vec::new(),
            anchors_epoch: None,
            told: false,
        }
    }

    /// Takes over what a daemon of before has kept, as far as it can be used.
    pub(super) fn restore(&mut self, engine: &mut Engine, clock: &Clock, interfaces: &[Interface]) {
        let now = clock.now();
        self.next = now.saturating_add(SNAPSHOT_INTERVAL);
        let Some(place) = &self.place else {
            return;
        };
        let path = place.directory.join(ANCHORS);
        match anchors::restore(&path, engine, now, interfaces) {
            0 => {}
            restored => info!("{restored} anchors are loaded again"),
        }
        let path = place.directory.join(STATES);
        match load::load(&path, engine, now, clock.date(now), interfaces) {
            Ok(None) => {}
            Ok(Some(imported)) => {
                self.had_states = true;
                info!(
                    "{} states of before go on; {} were over, {} have lost their interface, for \
                     {} there was no room",
                    imported.states,
                    imported.expired,
                    imported.without_interface,
                    imported.without_room
                );
            }
            Err(error) => warn!(
                "{} is not used, connections of before start anew: {error}",
                path.display()
            ),
        }
    }

    /// When [`Keeper::work`] wants to be called next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.place.as_ref().map(|_| match self.draft {
            Some(_) => self.patience.unwrap_or_default(),
            None => self.next,
        })
    }

    /// Goes on with the snapshot that is being made, or begins one if it is time.
    pub(super) fn work(&mut self, engine: &mut Engine, clock: &Clock, now: Instant) {
        if self.place.is_none() || (self.draft.is_none() && now < self.next) {
            return;
        }
        let idle =
            engine.state_count() == 0 && engine.status().sources.entries == 0 && !self.had_states;
        if self.draft.is_none() && (idle || self.is_writing()) {
            self.next = now.saturating_add(SNAPSHOT_INTERVAL);
            return;
        }
        let mut snapshot = match self.draft.take() {
            Some(snapshot) => snapshot,
            None => match self.begin(Draft::new(Form::Packed, self.dialect, clock.date(now))) {
                Some(snapshot) => snapshot,
                None => return,
            },
        };
        self.patience = None;
        match snapshot.go_on(engine, now) {
            Progress::More => self.draft = Some(snapshot),
            Progress::Behind => {
                self.patience = Some(now.saturating_add(DISK_PATIENCE));
                self.draft = Some(snapshot);
            }
            Progress::Done(states) => {
                self.next = now.saturating_add(SNAPSHOT_INTERVAL);
                self.had_states = states > 0;
            }
        }
    }

    /// The last snapshot, whole and at once.
    pub(super) fn finish(&mut self, engine: &Engine, clock: &Clock) {
        if self.place.is_none() {
            return;
        }
        // One that is not whole is given up.
        self.draft = None;
        if let Some(writing) = self.writing.take() {
            let _ = writing.recv();
        }
        self.anchors_epoch = None;
        self.keep_anchors(engine, true);
        let Some(place) = &self.place else {
            return;
        };
        let now = clock.now();
        let mut draft = Draft::new(Form::Packed, self.dialect, clock.date(now));
        while draft.add(engine, now, SLICE) {}
        let states = draft.states();
        match place.write(&draft.finish()) {
            Ok(()) => info!("{states} states are kept for the next start"),
            Err(error) => warn!("states cannot be kept: {error}"),
        }
    }

    /// Writes the anchors down if they have changed.
    fn keep_anchors(&mut self, engine: &Engine, whole: bool) {
        let Some(place) = &self.place else {
            return;
        };
        if self.anchors_epoch == Some(engine.epoch()) {
            return;
        }
        self.anchors_epoch = Some(engine.epoch());
        let bytes = anchors::draft(engine, self.dialect, whole);
        if bytes == self.anchors {
            return;
        }
        match write(&place.directory, ANCHORS, &bytes) {
            Ok(()) => self.anchors = bytes,
            Err(error) => warn!("anchors cannot be kept: {error}"),
        }
    }

    /// Whether a snapshot is still on its way to the disk.
    fn is_writing(&mut self) -> bool {
        let Some(writing) = &self.writing else {
            return false;
        };
        match writing.try_recv() {
            Err(TryRecvError::Empty) => return true,
            Ok(Err(error)) if !self.told => {
                self.told = true;
                warn!("states cannot be kept: {error}");
            }
            Ok(Ok(())) => self.told = false,
            Ok(Err(_)) | Err(TryRecvError::Disconnected) => {}
        }
        self.writing = None;
        false
    }

    /// Begins a snapshot. A slow disk must not hold up packets: it is written by a thread.
    fn begin(&mut self, draft: Draft) -> Option<Snapshot> {
        let directory = self.place.as_ref()?.directory.clone();
        match beside::begin(draft, directory) {
            Ok((snapshot, writing)) => {
                self.writing = Some(writing);
                Some(snapshot)
            }
            Err(error) => {
                warn!("states cannot be kept: {error}");
                self.next = self.next.saturating_add(SNAPSHOT_INTERVAL);
                None
            }
        }
    }
}

impl Place {
    fn take(directory: &Path) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::other("another weighbridge keeps its states there"))?;
        Ok(Self {
            directory: directory.to_path_buf(),
            _lock: lock,
        })
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        write(&self.directory, STATES, bytes)
    }
}

/// The file is the old one or the new one, never half of one. (Not even that matters after a
/// power failure: connections do not outlive one, so nothing waits for the disk.)
fn write(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = create(directory, name)?;
    file.write_all(bytes)?;
    drop(file);
    put_in_place(directory, name)
}

/// A file that is not yet what it will be called.
fn create(directory: &Path, name: &str) -> io::Result<File> {
    let new = directory.join(name.to_owned() + NEW);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
}

/// What was created is whole.
fn put_in_place(directory: &Path, name: &str) -> io::Result<()> {
    fs::rename(directory.join(name.to_owned() + NEW), directory.join(name))
}

#[cfg(test)]
mod tests;
