//! Packets in, lines out.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mail::answer::{Answer, LookUp};
use mail::connection::Peer;
use mail::store::{Event, Store, What};
use mail::time::Timestamp;
use mail::unknown::Unknown;
use pf_engine::osfp::features::Segment;
use pf_engine::osfp::p0f::Mode;

use super::tell;
use crate::mail::shared_memory::SharedMemory;
use crate::output::Output;

/// The store, which answers while it is being filled.
#[derive(Clone, Debug)]
pub(super) struct Observations(Arc<Mutex<Store>>);

impl Observations {
    pub(super) fn new(store: Store) -> Self {
        Self(Arc::new(Mutex::new(store)))
    }

    /// What panicked has left nothing half done: each call is whole or did nothing.
    pub(super) fn held(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LookUp for Observations {
    fn look_up(&mut self, peer: &Peer, now: Timestamp) -> Option<Answer> {
        self.held().look_up(peer, now)
    }
}

/// What is told of each finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A line for people.
    Line,
    /// A JSON object.
    Json,
    /// Nothing.
    Quiet,
}

/// Takes packets.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) observations: Observations,
    mode: Mode,
    form: Form,
    log: Option<BufWriter<File>>,
    /// Handshakes that are still to be told.
    left: Option<u64>,
    events: Vec<Event>,
    /// Handshakes that no signature fits, where they are collected.
    pub(super) unknown: Option<Unknown>,
    /// Where answers are published too.
    pub(super) published: Option<SharedMemory>,
}

impl Watcher {
    pub(super) fn new(
        observations: Observations,
        mode: Mode,
        form: Form,
        count: Option<u64>,
    ) -> Self {
        Self {
            observations,
            mode,
            form,
            log: None,
            left: count,
            events: Vec::new(),
            unknown: None,
            published: None,
        }
    }

    /// Appends to p0f's log in `path` from now on.
    pub(super) fn log_to(&mut self, path: &Path) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let file = options.create(true).append(true).mode(0o600).open(path)?;
        self.log = Some(BufWriter::new(file));
        Ok(())
    }

    /// Takes a packet that begins at its IP header; false when enough was told.
    pub(super) fn packet(
        &mut self,
        packet: &[u8],
        at: Timestamp,
        output: &mut Output<'_>,
    ) -> io::Result<bool> {
        let Ok(segment) = Segment::of(packet) else {
            return Ok(true);
        };
        if self.mode == Mode::Parity && has_extensions(&segment) {
            return Ok(true);
        }
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let mut store = self.observations.held();
        store.handle(&segment, at, &mut events);
        if let Some(published) = &mut self.published {
            published.publish(&mut store, &events, at);
        }
        drop(store);
        if let Some(unknown) = &mut self.unknown {
            for event in &events {
                unknown.note(event, at);
            }
        }
        let told = self.tell(&events, at, output);
        self.events = events;
        told
    }

    fn tell(
        &mut self,
        events: &[Event],
        at: Timestamp,
        output: &mut Output<'_>,
    ) -> io::Result<bool> {
        for event in events {
            if let (Some(log), Some(line)) = (&mut self.log, tell::p0f_line(at, event)) {
                writeln!(log, "{line}")?;
            }
            match self.form {
                Form::Line => output.text(&(tell::line(at, event) + "\n"))?,
                Form::Json => output.text(&(tell::json(at, event) + "\n"))?,
                Form::Quiet => {}
            }
        }
        let is_handshake = |event: &&Event| matches!(event.what, What::Handshake(_));
        let handshakes = events.iter().filter(is_handshake).count();
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(u64::try_from(handshakes).unwrap_or(u64::MAX));
        }
        Ok(self.left != Some(0))
    }

    /// Nothing that was told stays behind.
    pub(super) fn flush(&mut self, output: &mut Output<'_>) -> io::Result<()> {
        if let Some(log) = &mut self.log {
            log.flush()?;
        }
        output.out.flush()
    }
}

/// p0f reads no packet with extension headers of IPv6.
fn has_extensions(segment: &Segment) -> bool {
    match segment {
        Segment::Handshake(features) => features.extension_headers_len != 0,
        Segment::Later(_) => false,
    }
}
