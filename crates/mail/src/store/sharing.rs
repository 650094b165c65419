//! Whether one address is one host: each handshake is compared with the one before it, what
//! differs has a weight, and the last sums of these weights decide. Weights, thresholds and words
//! are those with which p0f 3.09b answers.

use std::fmt;
use std::time::Duration;

use pf_engine::osfp::features::Quirks;
use serde::{Deserialize, Serialize};

use super::sight::{Labels, Sight};
use super::uptime::{GRACE, most_ticks};

/// Sums that are kept of a host.
const SCORES: usize = 32;
/// Sums from a first number on that may be among the last [`SCORES`] of one host, at most.
const TOLERATED: [(u8, u8); 4] = [(6, 2), (3, 4), (2, 6), (1, 8)];
/// A single sum from which on a host has changed.
const CHANGED: u8 = 2;
/// Routers to a host whose TTL does not change by itself.
const NEAR: u8 = 9;
/// Routers to one that is in the same building.
const LOCAL: u8 = 5;
/// Routes to others may differ by so many routers.
const DETOUR: u16 = 2;
/// A client's ports go up; one that falls by so much is no mere disorder.
const PORT_DROP: u16 = 64;
/// Timestamps further apart are not compared.
const TIMESTAMPS_AGE: Duration = Duration::from_hours(24);
/// Quirks that networks change.
const OF_THE_WAY: Quirks = Quirks::ECN
    .union(Quirks::DF)
    .union(Quirks::NONZERO_ID)
    .union(Quirks::ZERO_ID);

/// Why a host was taken for another one; a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reasons(u16);

impl Reasons {
    const OS: Self = Self(1);
    const SIGNATURE: Self = Self(1 << 1);
    const KNOWN: Self = Self(1 << 2);
    const TIMESTAMP: Self = Self(1 << 3);
    const TTL: Self = Self(1 << 4);
    const PORT: Self = Self(1 << 5);
    const MSS: Self = Self(1 << 6);
    const FUZZY: Self = Self(1 << 7);
    /// p0f's words, in its order.
    const NAMES: [(Self, &'static str); 8] = [
        (Self::OS, "os_diff"),
        (Self::SIGNATURE, "sig_diff"),
        (Self::KNOWN, "x_known"),
        (Self::TIMESTAMP, "tstamp"),
        (Self::TTL, "ttl"),
        (Self::PORT, "port"),
        (Self::MSS, "mtu"),
        (Self::FUZZY, "fuzzy"),
    ];

    /// p0f's words for those in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = Self::NAMES.into_iter();
        named.filter_map(move |(one, name)| (self.0 & one.0 != 0).then_some(name))
    }

    fn add(&mut self, reason: Self) {
        self.0 |= reason.0;
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        for name in self.names() {
            write!(f, "{blank}{name}")?;
            blank = " ";
        }
        Ok(())
    }
}

/// Something in which a handshake differs from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    System,
    Version,
    Signature,
    Fuzziness,
    Quirks,
    Layout,
    Recognition,
    Detour,
    Distance,
    Port,
    Mss,
    Clock,
}

impl Finding {
    /// How much it says, and the reason that is told.
    const fn weight(self) -> (u8, Reasons) {
        match self {
            Self::System => (8, Reasons::OS),
            Self::Version => (2, Reasons::OS),
            Self::Signature => (1, Reasons::OS),
            Self::Fuzziness => (1, Reasons::FUZZY),
            Self::Quirks => (2, Reasons::SIGNATURE),
            Self::Layout => (1, Reasons::SIGNATURE),
            Self::Recognition => (1, Reasons::KNOWN),
            Self::Detour => (1, Reasons::TTL),
            Self::Distance => (4, Reasons::TTL),
            Self::Port => (1, Reasons::PORT),
            Self::Mss => (1, Reasons::MSS),
            Self::Clock => (4, Reasons::TIMESTAMP),
        }
    }
}

/// How different a handshake is, and in what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Score {
    points: u8,
    reasons: Reasons,
}

impl Extend<Finding> for Score {
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, findings: T) {
        for (points, reason) in findings.into_iter().map(Finding::weight) {
            self.points = self.points.saturating_add(points);
            self.reasons.add(reason);
        }
    }
}

/// What a handshake is compared with.
#[derive(Debug)]
pub(super) struct Before<'a> {
    /// The host's last packet of the same kind.
    pub(super) sight: Option<&'a Sight>,
    /// Label of the host's system, whatever showed it.
    pub(super) label: Option<u32>,
    /// The client's last port.
    pub(super) port: u16,
    /// Whether the packets are SYNs.
    pub(super) of_client: bool,
}

/// Compares `sight`, of a connection from `port` of the client, with what was `before`.
pub(super) fn score(labels: &Labels, before: &Before<'_>, sight: &Sight, port: u16) -> Score {
    let mut score = Score::default();
    let moved = is_other_system(labels, before, sight);
    score.extend(moved.then_some(Finding::System));
    let Some(last) = before.sight else {
        return score;
    };
    let pair = Pair { last, now: sight };
    if before.of_client {
        score.extend(pair.of_clients(labels));
        let fell = before.port.saturating_sub(port) >= PORT_DROP;
        score.extend(fell.then_some(Finding::Port));
    }
    score.extend(pair.quirks());
    if !moved {
        score.extend(pair.route());
    }
    score.extend((last.mss != sight.mss).then_some(Finding::Mss));
    // Some systems' timestamps are random: they only confirm or doubt what else was found.
    match pair.clock_runs_on().filter(|_| score.points != 0) {
        Some(true) => score.points /= 2,
        Some(false) => score.extend([Finding::Clock]),
        None => {}
    }
    score
}

/// Whether the system is another than that of the last packet, or than what is known of the host.
fn is_other_system(labels: &Labels, before: &Before<'_>, sight: &Sight) -> bool {
    let Some(now) = sight.matched else {
        return false;
    };
    let last = before.sight.and_then(|last| last.matched);
    let known = [last.map(|last| last.label), before.label];
    known
        .into_iter()
        .flatten()
        .any(|label| !labels.same_system(now.label, label))
}

/// Two packets of one kind and one address.
struct Pair<'a> {
    last: &'a Sight,
    now: &'a Sight,
}

impl Pair<'_> {
    /// What is compared of SYNs alone: servers answer each client in another way.
    fn of_clients(&self, labels: &Labels) -> Vec<Finding> {
        let (Some(last), Some(now)) = (self.last.matched, self.now.matched) else {
            let other = self.last.matched.is_some() != self.now.matched.is_some();
            let same_options = self.last.layout.kinds() == self.now.layout.kinds();
            // What differs in quirks need not be told again.
            let layout = !same_options && self.quirks().is_none();
            let findings = [(other, Finding::Recognition), (layout, Finding::Layout)];
            let true_ones = findings.into_iter().filter(|(holds, _)| *holds);
            return true_ones.map(|(_, finding)| finding).collect();
        };
        if !labels.same_system(last.label, now.label) {
            return Vec::new();
        }
        let differences = [
            (last.label != now.label, Finding::Version),
            (last.signature != now.signature, Finding::Signature),
            (last.is_fuzzy() != now.is_fuzzy(), Finding::Fuzziness),
        ];
        // The first says more than those behind it.
        let first = differences.into_iter().find(|(differs, _)| *differs);
        first.map(|(_, finding)| finding).into_iter().collect()
    }

    /// Packets that no signature fits are compared by what is odd in them.
    fn quirks(&self) -> Option<Finding> {
        let unknown = self.last.matched.is_none() || self.now.matched.is_none();
        let odd = |sight: &Sight| sight.quirks.without(OF_THE_WAY);
        (unknown && odd(self.last) != odd(self.now)).then_some(Finding::Quirks)
    }

    /// Of a near host each change of the TTL tells something, of a far one that it came nearer.
    fn route(&self) -> Option<Finding> {
        let random = |sight: &Sight| sight.matched.is_some_and(|matched| matched.random_ttl);
        let change = self.now.ttl.abs_diff(self.last.ttl);
        let nearer = self.now.ttl > self.last.ttl && change > 1;
        let tells = self.now.distance <= NEAR || nearer;
        if change == 0 || !tells || random(self.now) || random(self.last) {
            return None;
        }
        let elsewhere = self.now.distance > LOCAL;
        if elsewhere && u16::from(change) <= DETOUR {
            Some(Finding::Detour)
        } else {
            Some(Finding::Distance)
        }
    }

    /// Whether the newer timestamp can be of the clock that made the older; nothing where they
    /// cannot be compared.
    fn clock_runs_on(&self) -> Option<bool> {
        let (last, now) = (self.last.timestamp, self.now.timestamp);
        let time = self.now.at.saturating_since(self.last.at);
        if last == 0 || now == 0 || time >= TIMESTAMPS_AGE {
            return None;
        }
        let most = most_ticks(time.max(GRACE));
        let forth = u64::from(now.wrapping_sub(last)) <= most;
        let overtook = time < GRACE && u64::from(last.wrapping_sub(now)) <= most;
        Some(forth || overtook)
    }
}

/// How many of the last scores were at least 6, 3, 2, 1.
pub type Hits = [u8; 4];

/// What is concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// One host, as far as can be seen.
    OneHost,
    /// It is another host than before.
    Changed(Reasons, Hits),
    /// Several hosts share the address.
    Shared(Reasons, Hits),
}

/// A host's last scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    scores: [u8; SCORES],
    next: u8,
    reasons: Reasons,
}

impl History {
    /// Takes a score down.
    pub(super) fn conclude(&mut self, score: Score) -> Conclusion {
        if let Some(slot) = self.scores.get_mut(usize::from(self.next)) {
            *slot = score.points;
        }
        self.next = self.next.wrapping_add(1) % 32;
        self.reasons.add(score.reasons);
        if score.points == 0 {
            return Conclusion::OneHost;
        }
        let hits = TOLERATED.map(|(least, _)| self.at_least(least));
        let mut both = hits.iter().zip(TOLERATED);
        if both.any(|(hits, (_, most))| *hits > most) {
            let reasons = std::mem::take(self).reasons;
            return Conclusion::Shared(reasons, hits);
        }
        if score.points >= CHANGED {
            Conclusion::Changed(score.reasons, hits)
        } else {
            Conclusion::OneHost
        }
    }

    fn at_least(&self, points: u8) -> u8 {
        let hits = self.scores.iter().filter(|score| **score >= points);
        u8::try_from(hits.count()).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(points: u8) -> Score {
        Score {
            points,
            reasons: Reasons::TTL,
        }
    }

    #[test]
    fn one_large_score_is_a_change_and_the_third_is_sharing() {
        let mut history = History::default();
        let conclude = |history: &mut History| history.conclude(points(8));
        assert_eq!(
            conclude(&mut history),
            Conclusion::Changed(Reasons::TTL, [1, 1, 1, 1])
        );
        conclude(&mut history);
        assert_eq!(
            conclude(&mut history),
            Conclusion::Shared(Reasons::TTL, [3, 3, 3, 3])
        );
        assert_eq!(history, History::default());
    }

    #[test]
    fn small_scores_count_only_together() {
        let mut history = History::default();
        for _ in 0..8 {
            assert_eq!(history.conclude(points(1)), Conclusion::OneHost);
        }
        assert_eq!(
            history.conclude(points(1)),
            Conclusion::Shared(Reasons::TTL, [0, 0, 0, 9])
        );
    }

    #[test]
    fn what_was_long_ago_is_forgotten() {
        let mut history = History::default();
        history.conclude(points(8));
        history.conclude(points(8));
        for _ in 0..SCORES {
            history.conclude(points(0));
        }
        assert_eq!(
            history.conclude(points(8)),
            Conclusion::Changed(Reasons::TTL, [1, 1, 1, 1])
        );
    }

    #[test]
    fn reasons_are_told_in_the_words_and_order_of_p0f() {
        let mut reasons = Reasons::FUZZY;
        reasons.add(Reasons::OS);
        reasons.add(Reasons::MSS);
        assert_eq!(reasons.to_string(), "os_diff mtu fuzzy");
    }
}
