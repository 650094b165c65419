//! What is measured while a soak runs: memory, descriptors, states and every counter.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::world::World;
use crate::{Weighbridge, clock};

/// What the daemon has at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the start.
    pub at: f64,
    /// The process.
    pub pid: u32,
    /// Resident memory in KiB (`VmRSS` of proc(5)).
    pub rss_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// States.
    pub states: u64,
    /// Fragments that are held.
    pub fragments: u64,
    /// Source nodes.
    pub sources: u64,
    /// States and decisions in the flow cache.
    pub cached: u64,
    /// Packets that passed or ended by it.
    pub by_cache: u64,
    /// How often it was emptied.
    pub emptied: u64,
    /// What counts up in `pfctl -vsi`.
    #[serde(skip)]
    pub counters: BTreeMap<String, u64>,
}

impl Sample {
    /// Of a daemon that runs.
    pub(super) fn of(daemon: &Weighbridge, at: Duration) -> anyhow::Result<Self> {
        let process = Path::new("/proc").join(daemon.pid().to_string());
        let status = std::fs::read_to_string(process.join("status"))?;
        let info = Info::parse(&daemon.pfctl_ok(&["-vsi"])?);
        let flows = daemon.flows()?;
        let flow = |name: &str| flows.get(name).and_then(Value::as_u64).unwrap_or_default();
        Ok(Self {
            at: at.as_secs_f64(),
            pid: daemon.pid(),
            rss_kib: resident(&status).context("no VmRSS")?,
            descriptors: std::fs::read_dir(process.join("fd"))?.count() as u64,
            states: info.current("State Table"),
            fragments: info.current("Fragments"),
            sources: info.current("Source Tracking Table"),
            cached: flow("held") + flow("decisions"),
            by_cache: flow("passed") + flow("blocked"),
            emptied: flow("emptied"),
            counters: info.counters,
        })
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `pfctl -vsi` in numbers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    /// `current entries` of each table.
    current: BTreeMap<String, u64>,
    /// What has a rate behind it, by its name, with its heading but for the drop reasons.
    counters: BTreeMap<String, u64>,
}

impl Info {
    fn parse(text: &str) -> Self {
        let (mut info, mut heading) = (Self::default(), "");
        for line in text.lines() {
            let Some(entry) = line.strip_prefix("  ") else {
                heading = line.split("  ").next().unwrap_or_default().trim();
                continue;
            };
            let (name, rest) = entry.split_at(entry.len().min(25));
            let name = name.trim();
            let mut words = rest.split_whitespace();
            let Some(value) = words.next().and_then(|word| word.parse().ok()) else {
                continue;
            };
            if name == "current entries" {
                info.current.insert(heading.to_owned(), value);
            } else if words.next().is_some_and(|word| word.ends_with("/s")) {
                let name = match heading {
                    "Counters" | "Limit Counters" => name.to_owned(),
                    _ => format!("{heading}: {name}"),
                };
                info.counters.insert(name, value);
            }
        }
        info
    }

    fn current(&self, table: &str) -> u64 {
        self.current.get(table).copied().unwrap_or_default()
    }
}

/// All samples of a soak.
#[derive(Debug, Default)]
pub(super) struct Samples(Mutex<Vec<Sample>>);

impl Samples {
    /// Samples until the soak ends.
    pub(super) fn collect(&self, world: &World, every: Duration) {
        while !world.ledger.is_stopped() {
            let began = clock::now();
            let sample = Sample::of(&world.daemon(), world.ledger.elapsed());
            match sample {
                Ok(sample) => self.push(sample),
                Err(error) => world.ledger.wrong("sample", began, format!("{error:#}")),
            }
            world.ledger.pause(every);
        }
    }

    pub(super) fn push(&self, sample: Sample) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sample);
    }

    pub(super) fn last(&self) -> Option<Sample> {
        self.all().pop()
    }

    pub(super) fn all(&self) -> Vec<Sample> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What all daemons together have counted: each begins at zero.
pub(super) fn total_counters(samples: &[Sample]) -> BTreeMap<String, u64> {
    let mut totals = BTreeMap::new();
    let ends = samples.chunk_by(|one, next| one.pid == next.pid);
    for last in ends.filter_map(<[Sample]>::last) {
        for (name, value) in &last.counters {
            *totals.entry(name.clone()).or_default() += value;
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "\
Status: Enabled for 0 days 00:00:02           Debug: Urgent

State Table                          Total             Rate
  current entries                       12               
  searches                             345          172.5/s
Source Tracking Table
  current entries                        3               
Fragments
  current entries                        2               
Counters
  match                                 40           20.0/s
Limit Counters
  max states per rule                    1            0.5/s
Syncookies
  halfopen states           7
";

    #[test]
    fn entries_and_counters_of_info_are_read() {
        let info = Info::parse(INFO);
        assert_eq!(info.current("State Table"), 12);
        assert_eq!(info.current("Source Tracking Table"), 3);
        assert_eq!(info.current("Fragments"), 2);
        let counters: Vec<_> = info.counters.into_iter().collect();
        let due = [
            ("State Table: searches", 345),
            ("match", 40),
            ("max states per rule", 1),
        ];
        assert_eq!(counters, due.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn counters_of_daemons_that_followed_each_other_add_up() {
        let sample = |pid, count| Sample {
            pid,
            counters: BTreeMap::from([("match".to_owned(), count)]),
            ..Sample::default()
        };
        let samples = [sample(1, 3), sample(1, 5), sample(2, 1), sample(2, 4)];
        assert_eq!(total_counters(&samples)["match"], 9);
    }
}
