//! One look at the daemon: the rows of a view, read in pages so that neither it nor we are held
//! up or grow by the size of its tables.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::filter::Filter;
use super::rows::{Measured, Row};
use super::speed::Cache;
use super::view::Kind;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::{Outcome, Request, ShowRequest};
use crate::pfctl::show::records::StateRecord;
use crate::pfctl::show::{Scope, Section, Style};

/// Rows that are kept of one sample; the others are counted. A row takes some 350 bytes, so no
/// table of the daemon can make us larger than 50 MB or so.
pub const ROWS_MAX: usize = 131_072;

/// What the daemon had to say.
#[derive(Debug)]
pub struct Sample {
    /// What the rows are.
    pub kind: Kind,
    /// Whether the filter is enabled.
    pub enabled: bool,
    /// The rows, those that the filter lets pass.
    pub rows: Vec<Measured>,
    /// How many there are, with those that it does not.
    pub total: usize,
    /// How many had no room.
    pub left_out: usize,
}

impl Sample {
    /// Nothing seen yet.
    #[must_use]
    pub const fn empty(kind: Kind) -> Self {
        Self {
            kind,
            enabled: false,
            rows: Vec::new(),
            total: 0,
            left_out: 0,
        }
    }
}

/// Takes samples, and remembers what the last one has counted.
#[derive(Debug)]
pub struct Sampler {
    socket: PathBuf,
    states: Cache<u64>,
    others: Cache<String>,
}

impl Sampler {
    /// Asks the daemon at `socket`; knows the rates of `cached` states at most.
    #[must_use]
    pub fn new(socket: &Path, cached: usize) -> Self {
        Self {
            socket: socket.to_path_buf(),
            states: Cache::new(cached.min(ROWS_MAX)),
            others: Cache::new(ROWS_MAX),
        }
    }

    /// Looks at `kind` now, which is `now` since some beginning. With `rates` states are compared
    /// with those of the last sample.
    ///
    /// # Errors
    /// When the daemon cannot be asked, or its answer is not understood.
    pub fn take(
        &mut self,
        kind: Kind,
        filter: Option<&Filter>,
        rates: bool,
        now: Duration,
    ) -> Result<Sample, String> {
        let mut sample = Sample::empty(kind);
        let mut client = Client::connect(&self.socket).map_err(|error| error.to_string())?;
        let description = ask(&mut client, &Request::Describe)?;
        if let Outcome::Description(description) = description {
            sample.enabled = description.enabled;
        }
        match kind.section() {
            Some(section) => self.read(&mut client, section, &mut sample, filter, rates, now)?,
            None => {
                if let Outcome::Gateways(views) = ask(&mut client, &Request::Gateways)? {
                    for view in views {
                        add(&mut sample, Row::Gateway(Box::new(view)), None);
                    }
                }
            }
        }
        if rates {
            self.states.end(now);
        } else {
            self.states.clear();
        }
        self.others.end(now);
        Ok(sample)
    }

    fn read(
        &mut self,
        client: &mut Client,
        section: Section,
        sample: &mut Sample,
        filter: Option<&Filter>,
        rates: bool,
        now: Duration,
    ) -> Result<(), String> {
        let mut each = |line: &str| -> Result<(), serde_json::Error> {
            let row = parse(sample.kind, line)?;
            let speed = match &row {
                Row::State(state) => {
                    if filter.is_some_and(|filter| !filter.matches(state)) {
                        sample.total += 1;
                        return Ok(());
                    }
                    self.speed_of_state(state, rates, now)
                }
                Row::Queue(queue) => {
                    let key = format!("{} {}", queue.interface, queue.name);
                    self.others.speed(key, queue.packets, queue.bytes, now)
                }
                Row::Link(link) => {
                    let packets = link.passed_packets.iter().sum();
                    let bytes = link.passed_bytes.iter().sum();
                    self.others
                        .speed(link.interface.clone(), packets, bytes, now)
                }
                Row::Rule(_) | Row::Table(_) | Row::Gateway(_) => None,
            };
            add(sample, row, speed);
            Ok(())
        };
        let mut out = |text: &str| -> io::Result<()> {
            text.lines()
                .try_for_each(&mut each)
                .map_err(io::Error::other)
        };
        match client.call(&request(section), &mut out) {
            Ok(_) => Ok(()),
            Err(ClientError::Output(error)) => Err(format!(
                "the daemon's answer is not understood ({error}); are both of one version?"
            )),
            Err(error) => Err(error.to_string()),
        }
    }

    fn speed_of_state(
        &mut self,
        state: &StateRecord,
        rates: bool,
        now: Duration,
    ) -> Option<super::speed::Speed> {
        if !rates {
            return None;
        }
        let (packets, bytes) = (state.packets.iter().sum(), state.bytes.iter().sum());
        self.states.speed(state.id, packets, bytes, now)
    }
}

fn add(sample: &mut Sample, row: Row, speed: Option<super::speed::Speed>) {
    sample.total += 1;
    if sample.rows.len() < ROWS_MAX {
        sample.rows.push(Measured { row, speed });
    } else {
        sample.left_out += 1;
    }
}

fn parse(kind: Kind, line: &str) -> Result<Row, serde_json::Error> {
    fn boxed<T: DeserializeOwned>(line: &str) -> Result<Box<T>, serde_json::Error> {
        serde_json::from_str(line).map(Box::new)
    }
    Ok(match kind {
        Kind::States => Row::State(serde_json::from_str(line)?),
        Kind::Rules => Row::Rule(boxed(line)?),
        Kind::Queues => Row::Queue(boxed(line)?),
        Kind::Links => Row::Link(boxed(line)?),
        Kind::Tables => Row::Table(boxed(line)?),
        Kind::Gateways => Row::Gateway(boxed(line)?),
    })
}

fn request(section: Section) -> Request {
    Request::Show(ShowRequest {
        sections: vec![section],
        titles: false,
        // Queues are counted only with -v.
        style: Style {
            verbose: 1,
            ..Style::default()
        },
        dialect: None,
        scope: Scope::default(),
        interface: None,
    })
}

fn ask(client: &mut Client, request: &Request) -> Result<Outcome, String> {
    let outcome = client.call(request, &mut |_| Ok(()));
    outcome.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_of_the_daemon_makes_a_sample_grow_without_bound() {
        let line = r#"{"interface":"em0","skip":false,"passed_packets":[0,0],
            "passed_bytes":[0,0],"blocked_packets":[0,0],"blocked_bytes":[0,0]}"#;
        let row = parse(Kind::Links, line).expect("a row");
        let mut sample = Sample::empty(Kind::Links);
        for _ in 0..ROWS_MAX + 3 {
            add(&mut sample, row.clone(), None);
        }
        assert_eq!(sample.rows.len(), ROWS_MAX);
        assert_eq!((sample.total, sample.left_out), (ROWS_MAX + 3, 3));
    }

    #[test]
    fn what_is_no_row_is_told() {
        for line in ["", "{", "{}", "[]", "{\"id\":1}"] {
            assert!(parse(Kind::States, line).is_err(), "{line}");
        }
    }
}
