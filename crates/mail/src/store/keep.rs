//! The store as lines of text, to be kept over a restart: one JSON object a line.
//!
//! The first names the format; then come labels with the numbers by which the others refer to
//! them, hosts and connections. A line that cannot be read makes the whole file unreadable: half
//! of what was known would be told as if it were all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host::{ClientEnd, Entry, Host};
use super::sight::Matched;
use super::{KEPT_MAX, Store};
use crate::answer::{self, Label};

/// Version of the format; a file of another one is not read.
const VERSION: u32 = 1;
/// Bytes of one line at most.
const LINE_MAX: usize = 16_384;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Observations { version: u32 },
    Label(u32, Label),
    Host(Box<Host>),
    Connection(Box<Entry>),
}

/// Why kept observations are not read.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not in this form.
    #[error("line {line}: {reason}")]
    Broken {
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Written by another version.
    #[error("format {0} is not read, only {VERSION}")]
    Version(u32),
}

/// How far the store has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepCursor {
    /// Not begun.
    #[default]
    Start,
    /// Hosts from this slot on are missing.
    Hosts(usize),
    /// Connections from this slot on are missing.
    Connections(usize),
    /// All is written.
    Done,
}

impl Store {
    /// Appends at most `count` of the lines that follow `cursor`, which is moved on. What changes
    /// between two pieces may be told as it was or as it is.
    pub fn export(&self, cursor: &mut KeepCursor, count: usize, lines: &mut String) {
        if *cursor == KeepCursor::Start {
            self.export_head(lines);
            *cursor = KeepCursor::Hosts(0);
        }
        for _ in 0..count {
            *cursor = match *cursor {
                KeepCursor::Hosts(from) => match self.hosts.at_or_after(from) {
                    Some((at, host)) => {
                        write(&Line::Host(Box::new(host.clone())), lines);
                        KeepCursor::Hosts(at + 1)
                    }
                    None => KeepCursor::Connections(0),
                },
                KeepCursor::Connections(from) => match self.connections.at_or_after(from) {
                    Some((at, entry)) => {
                        write(&Line::Connection(Box::new(entry.clone())), lines);
                        KeepCursor::Connections(at + 1)
                    }
                    None => KeepCursor::Done,
                },
                KeepCursor::Start | KeepCursor::Done => return,
            };
        }
    }

    fn export_head(&self, lines: &mut String) {
        write(&Line::Observations { version: VERSION }, lines);
        for (number, label) in (0..).zip(self.labels.all()) {
            write(&Line::Label(number, label.as_ref().clone()), lines);
        }
    }

    /// Takes in what [`Store::export`] wrote, up to this store's limits: the newest stay.
    ///
    /// # Errors
    /// What is wrong; the store is then as it was.
    pub fn import<'t>(&mut self, lines: impl Iterator<Item = &'t str>) -> Result<(), ImportError> {
        let mut kept = Kept::default();
        for (number, line) in (1..).zip(lines) {
            let broken = |reason: String| ImportError::Broken {
                line: number,
                reason,
            };
            if line.len() > LINE_MAX {
                return Err(broken("too long".to_owned()));
            }
            let line = serde_json::from_str(line).map_err(|error| broken(error.to_string()))?;
            kept.take(line, number)?;
        }
        self.take_in(kept);
        Ok(())
    }

    fn take_in(&mut self, kept: Kept) {
        let Kept {
            labels,
            mut hosts,
            mut connections,
            ..
        } = kept;
        let mut numbers = BTreeMap::new();
        for (old, label) in labels {
            numbers.insert(old, self.labels.number_of(label));
        }
        hosts.sort_by_key(|host| host.last_seen);
        connections.sort_by_key(|entry| entry.last_seen);
        for mut host in hosts {
            renumber(&mut host.matched, &numbers);
            let host_sights = host.syn.iter_mut().chain(host.syn_ack.as_deref_mut());
            for sight in host_sights {
                renumber(&mut sight.matched, &numbers);
            }
            self.hosts.insert(*host);
        }
        for mut entry in connections {
            renumber(&mut entry.sight.matched, &numbers);
            self.ends.insert(ClientEnd(entry.connection));
            self.connections.insert(*entry);
        }
    }
}

/// What was read so far.
#[derive(Debug, Default)]
#[expect(
    clippy::vec_box,
    reason = "they come boxed from the reader and go on one by one"
)]
struct Kept {
    begun: bool,
    labels: Vec<(u32, Label)>,
    hosts: Vec<Box<Host>>,
    connections: Vec<Box<Entry>>,
}

impl Kept {
    fn take(&mut self, line: Line, number: usize) -> Result<(), ImportError> {
        let broken = |reason: &str| ImportError::Broken {
            line: number,
            reason: reason.to_owned(),
        };
        match line {
            Line::Observations { version: VERSION } => self.begun = true,
            Line::Observations { version } => return Err(ImportError::Version(version)),
            _ if !self.begun => return Err(broken("the first line is missing")),
            Line::Label(number, label) if is_plain(&label) => self.labels.push((number, label)),
            Line::Label(..) => return Err(broken("no label of a signature file")),
            Line::Host(_) if self.hosts.len() >= KEPT_MAX => return Err(broken("too many")),
            Line::Host(host) => self.hosts.push(host),
            Line::Connection(_) if self.connections.len() >= KEPT_MAX => {
                return Err(broken("too many"));
            }
            Line::Connection(entry) => self.connections.push(entry),
        }
        Ok(())
    }
}

/// Labels go to terminals and into headers.
fn is_plain(label: &Label) -> bool {
    [&label.class, &label.name, &label.flavor]
        .into_iter()
        .all(|text| answer::is_plain(text))
}

/// The numbers of labels and signatures are those of the process that wrote them.
fn renumber(matched: &mut Option<Matched>, numbers: &BTreeMap<u32, Option<u32>>) {
    *matched = matched.and_then(|matched| {
        let label = *numbers.get(&matched.label)?;
        Some(Matched {
            label: label?,
            ..matched
        })
    });
}

fn write(line: &Line, lines: &mut String) {
    // Only a map with keys that are no text could fail.
    if let Ok(text) = serde_json::to_string(line) {
        lines.push_str(&text);
        lines.push('\n');
    }
}
