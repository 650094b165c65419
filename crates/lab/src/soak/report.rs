//! What a soak tells: a line a minute, a table at the end, and all of it as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use pf_engine::decision::DropReason;
use serde::Serialize;

use super::judge::{EXPLAINED, Evidence, SLOPE_SPAN_MIN, slope};
use super::ledger::{Tally, Wrong};
use super::sample::Sample;
use super::world::World;
use super::{SoakConfig, trips};
use crate::FastPath;

/// Wrong verdicts that the table shows; the JSON report has more.
const WRONG_SHOWN: usize = 20;

/// The outcome of a soak.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How long traffic was made.
    pub seconds: u64,
    /// What was drawn came from this.
    pub seed: u64,
    /// The flow cache that was asked for.
    pub fast_path: Option<FastPath>,
    /// What is wrong, in sentences.
    pub complaints: Vec<String>,
    /// What was tried and never came out right, nor wrong: nothing was shown of it. Of a short soak much was
    /// under way when the daemon crashed.
    pub never_right: Vec<&'static str>,
    /// What was tried, and how often it came out how.
    pub tried: BTreeMap<&'static str, Tally>,
    /// What was sent or lost besides.
    pub events: BTreeMap<&'static str, u64>,
    /// Wrong verdicts, in their order.
    pub wrong: Vec<Wrong>,
    /// Growth of resident memory over the second half, in KiB in ten minutes; none where the
    /// last process gave too few samples.
    pub slope_kib: Option<f64>,
    /// Over how many seconds that was measured.
    pub slope_seconds: Option<f64>,
    /// Before all traffic.
    pub base: Sample,
    /// After it.
    pub end: Sample,
    /// Meanwhile.
    pub samples: Vec<Sample>,
    /// What counts up in `pfctl -vsi`, of all daemons together.
    pub counters: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(config: &SoakConfig, evidence: &Evidence, wrong: Vec<Wrong>) -> Self {
        let slope = slope(&evidence.samples);
        Self {
            seconds: config.seconds,
            seed: config.seed,
            fast_path: config.fast_path,
            complaints: evidence.complaints(),
            never_right: evidence.never_right(),
            tried: evidence.tallies.clone(),
            events: evidence.events.clone(),
            wrong,
            slope_kib: slope.map(|(slope, _)| slope),
            slope_seconds: slope.map(|(_, span)| span),
            base: evidence.base.clone(),
            end: evidence.end.clone(),
            samples: evidence.samples.clone(),
            counters: evidence.counters.clone(),
        }
    }

    /// Whether nothing is held against it.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.complaints.is_empty() && self.never_right.is_empty()
    }

    /// The table for people.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{:<24} {:>9} {:>9} {:>9}",
            "tried", "right", "excused", "wrong"
        )?;
        for (what, tally) in &self.tried {
            let Tally {
                right,
                excused,
                wrong,
            } = tally;
            writeln!(out, "{what:<24} {right:>9} {excused:>9} {wrong:>9}")?;
        }
        writeln!(out)?;
        for (event, count) in &self.events {
            writeln!(out, "{event:<24} {count:>9}")?;
        }
        self.write_memory(out)?;
        self.write_drops(out)?;
        self.write_wrong(out)?;
        let never = self.never_right.iter();
        let never = never.map(|what| format!("not one {what} came out right"));
        let failures: Vec<_> = self.complaints.iter().cloned().chain(never).collect();
        if failures.is_empty() {
            return writeln!(out, "\npassed");
        }
        writeln!(out, "\nFAILED: {}", failures.join("; "))
    }

    fn write_memory(&self, out: &mut impl Write) -> io::Result<()> {
        let line = |sample: &Sample| {
            let Sample {
                rss_kib,
                descriptors,
                states,
                fragments,
                sources,
                cached,
                ..
            } = sample;
            format!(
                "{rss_kib:>8} {descriptors:>11} {states:>8} {fragments:>9} {sources:>8} {cached:>8}"
            )
        };
        let most = |pick: fn(&Sample) -> u64| self.samples.iter().map(pick).max().unwrap_or(0);
        let peak = Sample {
            rss_kib: most(|s| s.rss_kib),
            descriptors: most(|s| s.descriptors),
            states: most(|s| s.states),
            fragments: most(|s| s.fragments),
            sources: most(|s| s.sources),
            cached: most(|s| s.cached),
            ..Sample::default()
        };
        writeln!(
            out,
            "\n{:<10} {:>8} {:>11} {:>8} {:>9} {:>8} {:>8}",
            "", "RSS KiB", "descriptors", "states", "fragments", "sources", "cached"
        )?;
        for (when, sample) in [
            ("before", &self.base),
            ("most", &peak),
            ("after", &self.end),
        ] {
            writeln!(out, "{when:<10} {}", line(sample))?;
        }
        self.write_cache(out)?;
        match self.slope_kib.zip(self.slope_seconds) {
            Some((slope, span)) if span >= SLOPE_SPAN_MIN => writeln!(
                out,
                "memory over the last {span:.0} s: {slope:+.0} KiB in ten minutes"
            ),
            _ => writeln!(out, "too short to judge the growth of memory"),
        }
    }

    /// What the caches of all daemons have done together.
    fn write_cache(&self, out: &mut impl Write) -> io::Result<()> {
        let ends = self.samples.chunk_by(|one, next| one.pid == next.pid);
        let last: Vec<&Sample> = ends.filter_map(<[Sample]>::last).collect();
        let sum = |pick: fn(&Sample) -> u64| last.iter().map(|sample| pick(sample)).sum::<u64>();
        let (packets, emptied) = (sum(|s| s.by_cache), sum(|s| s.emptied));
        writeln!(
            out,
            "flow cache: {packets} packets by it, emptied {emptied} times"
        )
    }

    fn write_drops(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "\ndropped")?;
        for reason in DropReason::ALL {
            let count = self
                .counters
                .get(reason.name())
                .copied()
                .unwrap_or_default();
            let explained = EXPLAINED.iter().find(|(known, _)| *known == reason);
            let words = explained.map_or("NOT EXPLAINED", |(_, words)| *words);
            if count > 0 {
                writeln!(out, "  {:<22} {count:>9}  {words}", reason.name())?;
            }
        }
        Ok(())
    }

    fn write_wrong(&self, out: &mut impl Write) -> io::Result<()> {
        write_wrong(out, self.wrong.get(..WRONG_SHOWN).unwrap_or(&self.wrong))?;
        let hidden = self.wrong.len().saturating_sub(WRONG_SHOWN);
        if hidden > 0 {
            writeln!(out, "\nand {hidden} more")?;
        }
        Ok(())
    }
}

/// What was wrong; returns how many that are.
pub(super) fn write_wrong(out: &mut impl Write, wrongs: &[Wrong]) -> io::Result<usize> {
    for wrong in wrongs {
        let Wrong {
            at,
            since,
            what,
            outcome,
        } = wrong;
        writeln!(
            out,
            "\nwrong: {what}, begun at {since:.1} s, noticed at {at:.1} s\n  {outcome}"
        )?;
    }
    Ok(wrongs.len())
}

/// One line: how far it is.
pub(super) fn write_progress(
    out: &mut impl Write,
    world: &World,
    sample: &Sample,
) -> anyhow::Result<()> {
    let tallies = world.ledger.tallies();
    let sum = |pick: fn(&Tally) -> u64| tallies.values().map(pick).sum::<u64>();
    let times = |what: &str| tallies.get(what).map_or(0, |tally| tally.right);
    writeln!(
        out,
        "[{:5.0} s] {} right, {} excused, {} wrong; {} reloads, {} restarts, {} packets lost; {} \
         states, {} KiB, {} descriptors",
        world.ledger.elapsed().as_secs_f64(),
        sum(|tally| tally.right),
        sum(|tally| tally.excused),
        sum(|tally| tally.wrong),
        times("reload"),
        times("hand-over (SIGUSR2)") + times("crash (kill -9)"),
        trips::lost(&world.lab)?,
        sample.states,
        sample.rss_kib,
        sample.descriptors,
    )?;
    out.flush()?;
    Ok(())
}
