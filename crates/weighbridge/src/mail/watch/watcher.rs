//! Packets in, lines out.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use mail::store::{Event, What};
use mail::time::Timestamp;
use mail::unknown::Unknown;

use super::observations::{Finding, Observations};
use super::tell;
use crate::output::Output;

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
    form: Form,
    log: Option<BufWriter<File>>,
    /// Handshakes that are still to be told.
    left: Option<u64>,
    /// Handshakes that no signature fits, where they are collected.
    pub(super) unknown: Option<Unknown>,
}

impl Watcher {
    pub(super) fn new(observations: Observations, form: Form, count: Option<u64>) -> Self {
        Self {
            observations,
            form,
            log: None,
            left: count,
            unknown: None,
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
        let finding = self.observations.held().take(packet, at);
        self.tell(&finding, output)
    }

    /// Tells what a packet has told; false when that was enough.
    pub(super) fn tell(&mut self, finding: &Finding, output: &mut Output<'_>) -> io::Result<bool> {
        let Finding { at, ref events } = *finding;
        for event in events {
            if let Some(unknown) = &mut self.unknown {
                unknown.note(event, at);
            }
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
