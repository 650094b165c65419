//! What is held against a soak.

use std::collections::BTreeMap;

use pf_engine::decision::DropReason;

use super::ledger::Tally;
use super::sample::Sample;

/// Growth of the daemon's memory that is none, in KiB in ten minutes: what an allocator's pools
/// still settle by. A leak of one state in a thousand connections would be more.
pub const SLOPE_MAX_KIB: f64 = 1024.0;
/// A slope over less than this many seconds says nothing.
pub const SLOPE_SPAN_MIN: f64 = 120.0;
/// States that hosts make by themselves (router solicitations, MLD).
const STATES_SPARE: u64 = 8;
/// Descriptors that clients of the control socket may have open at the moment of a sample.
const DESCRIPTORS_SPARE: u64 = 4;

/// Why packets of a soak are dropped: each reason that it may have, with its explanation.
pub const EXPLAINED: [(DropReason, &str); 8] = [
    (
        DropReason::Match,
        "what is blocked on purpose, and segments whose state is gone",
    ),
    (
        DropReason::Fragment,
        "fragments whose datagram has lost one and was given up",
    ),
    (
        DropReason::StateMismatch,
        "forged segments; late ones of connections that have ended",
    ),
    (
        DropReason::StateInsert,
        "a port that is used again while its old state ends",
    ),
    (DropReason::SrcLimit, "the connection above max-src-states"),
    (
        DropReason::Synproxy,
        "handshakes that the proxy or a cookie makes",
    ),
    (DropReason::Congestion, "a flood faster than the daemon"),
    (DropReason::UpcallShare, "who floods it"),
];

/// Slope of memory over the second half of the samples that one process gave: KiB in ten
/// minutes, and over how many seconds.
#[must_use]
pub fn slope(samples: &[Sample]) -> Option<(f64, f64)> {
    let end = samples.last()?;
    let half = end.at / 2.0;
    let of_last = samples.iter().filter(|s| s.pid == end.pid && s.at >= half);
    let points: Vec<(f64, f64)> = of_last.map(|s| (s.at, kib(s.rss_kib))).collect();
    let span = points.last()?.0 - points.first()?.0;
    (points.len() > 2 && span > 0.0).then(|| (least_squares(&points) * 600.0, span))
}

#[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
fn kib(value: u64) -> f64 {
    value as f64
}

/// The slope of the line that fits best.
#[expect(clippy::cast_precision_loss, reason = "a few hundred samples")]
fn least_squares(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let covariance: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    covariance / variance.max(f64::EPSILON)
}

/// Whether what came with the traffic has gone with it.
pub(super) fn is_at_rest(base: &Sample, end: &Sample) -> bool {
    end.states <= base.states + STATES_SPARE
        && end.fragments == 0
        && end.sources <= base.sources
        && end.cached <= base.cached + STATES_SPARE
}

/// What a soak is judged by.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) tallies: BTreeMap<&'static str, Tally>,
    pub(super) events: BTreeMap<&'static str, u64>,
    pub(super) samples: Vec<Sample>,
    pub(super) counters: BTreeMap<String, u64>,
    /// Before any traffic, and after all of it.
    pub(super) base: Sample,
    pub(super) end: Sample,
}

impl Evidence {
    /// What is wrong, in sentences; nothing when the soak has passed.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let wrong: u64 = self.tallies.values().map(|tally| tally.wrong).sum();
        if wrong > 0 {
            complaints.push(format!("{wrong} wrong verdicts"));
        }
        complaints.extend(self.growth());
        complaints.extend(self.leftovers());
        complaints.extend(self.unexplained());
        complaints
    }

    fn growth(&self) -> Option<String> {
        let (slope, span) = slope(&self.samples)?;
        let grows = span >= SLOPE_SPAN_MIN && slope > SLOPE_MAX_KIB;
        grows.then(|| format!("memory grows by {slope:.0} KiB in ten minutes"))
    }

    /// What should have gone with the traffic.
    fn leftovers(&self) -> Vec<String> {
        let (base, end) = (&self.base, &self.end);
        let mut complaints = Vec::new();
        let mut compare = |what: &str, left: u64, spare: u64| {
            if left > spare {
                complaints.push(format!(
                    "{left} {what} are left after all traffic has ended"
                ));
            }
        };
        compare("states", end.states, base.states + STATES_SPARE);
        compare("held fragments", end.fragments, 0);
        compare("cached flows", end.cached, base.cached + STATES_SPARE);
        compare("source nodes", end.sources, base.sources);
        let of_last = self.samples.iter().find(|sample| sample.pid == end.pid);
        let first = of_last.map_or(base.descriptors, |sample| sample.descriptors);
        compare("descriptors", end.descriptors, first + DESCRIPTORS_SPARE);
        complaints
    }

    fn unexplained(&self) -> Vec<String> {
        let drops = DropReason::ALL.into_iter().filter_map(|reason| {
            let count = self
                .counters
                .get(reason.name())
                .copied()
                .unwrap_or_default();
            let known = EXPLAINED.iter().any(|(explained, _)| *explained == reason);
            (count > 0 && !known)
                .then(|| format!("{count} packets were dropped as {}", reason.name()))
        });
        drops.collect()
    }

    /// What was tried, and is shown nothing of.
    pub(super) fn never_right(&self) -> Vec<&'static str> {
        let never = |tally: &Tally| tally.right == 0 && tally.wrong == 0;
        let tallies = self.tallies.iter().filter(|(_, tally)| never(tally));
        tallies.map(|(what, _)| *what).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, pid: u32, rss_kib: u64) -> Sample {
        Sample {
            at,
            pid,
            rss_kib,
            ..Sample::default()
        }
    }

    fn growing(kib_in_ten_minutes: u64) -> Evidence {
        let samples = (0..=60).map(|step: u32| {
            let at = f64::from(step) * 20.0;
            sample(at, 9, 10_000 + u64::from(step) * kib_in_ten_minutes / 30)
        });
        Evidence {
            tallies: BTreeMap::from([(
                "download",
                Tally {
                    right: 3,
                    ..Tally::default()
                },
            )]),
            samples: samples.collect(),
            end: sample(1200.0, 9, 0),
            ..Evidence::default()
        }
    }

    #[test]
    fn memory_that_grows_faster_than_the_bound_is_told() {
        assert_eq!(growing(900).complaints(), Vec::<String>::new());
        let complaints = growing(1200).complaints();
        assert_eq!(complaints, ["memory grows by 1200 KiB in ten minutes"]);
    }

    #[test]
    fn only_the_second_half_and_the_last_process_count() {
        let mut samples = vec![sample(0.0, 1, 90_000), sample(100.0, 2, 500)];
        samples.extend((0..10).map(|step: u32| sample(110.0 + f64::from(step * 10), 2, 700)));
        let (slope, span) = slope(&samples).unwrap();
        assert!((slope - 0.0).abs() > 1.0, "{slope}");
        assert!((span - 100.0).abs() < 1e-9, "{span}");
        samples
            .iter_mut()
            .filter(|s| s.at < 105.0)
            .for_each(|s| s.pid = 1);
        assert!(super::slope(&samples).unwrap().0.abs() < 1e-9);
    }

    #[test]
    fn what_is_left_and_what_has_no_explanation_is_told() {
        let mut evidence = growing(0);
        evidence.end.states = 100;
        evidence.end.descriptors = 40;
        evidence.end.cached = 9;
        evidence.counters.insert("memory".to_owned(), 2);
        evidence.counters.insert("match".to_owned(), 200);
        evidence.tallies.insert(
            "ping",
            Tally {
                wrong: 1,
                ..Tally::default()
            },
        );
        evidence.tallies.insert(
            "upload",
            Tally {
                excused: 1,
                ..Tally::default()
            },
        );
        let due = [
            "1 wrong verdicts",
            "100 states are left after all traffic has ended",
            "9 cached flows are left after all traffic has ended",
            "40 descriptors are left after all traffic has ended",
            "2 packets were dropped as memory",
        ];
        assert_eq!(evidence.complaints(), due);
        assert_eq!(evidence.never_right(), ["upload"]);
    }
}
