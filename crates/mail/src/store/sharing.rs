//! Whether one address is one host: p0f's scores for each handshake that differs from the one
//! before it, and what it concludes from the last of them.

use std::fmt;
use std::time::Duration;

use pf_engine::osfp::features::Quirks;
use serde::{Deserialize, Serialize};

use super::sight::{Labels, Sight};
use super::uptime::{GRACE, MOST_TICKS_A_SECOND};

/// Scores that are kept of a host (p0f's `NAT_SCORES`).
const SCORES: usize = 32;
/// A host so near has a TTL that does not change by itself (`NEAR_TTL_LIMIT`).
const NEAR: u8 = 9;
/// And one so near is in the same building (`LOCAL_TTL_LIMIT`).
const LOCAL: u8 = 5;
/// Routes to others may differ by this (`SMALL_TTL_CHG`).
const SMALL_TTL_CHANGE: u16 = 2;
/// A drop of the source port that is no mere disorder (`MIN_PORT_DROP`).
const PORT_DROP: u16 = 64;
/// Timestamps further apart are not compared (`MAX_NAT_TS`).
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

/// How different a handshake is, and in what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Score {
    points: u8,
    reasons: Reasons,
}

impl Score {
    fn add(&mut self, points: u8, reason: Reasons) {
        self.points = self.points.saturating_add(points);
        self.reasons.add(reason);
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
    let label = sight.matched.map(|matched| matched.label);
    let other_system = match (label, before.label) {
        (Some(now), Some(known)) => !labels.same_system(now, known),
        _ => false,
    };
    let Some(last) = before.sight else {
        if other_system {
            score.add(8, Reasons::OS);
        }
        return score;
    };
    let mut differs = signatures(labels, before, last, sight, &mut score);
    if !differs && other_system {
        score.add(8, Reasons::OS);
        differs = true;
    }
    if !differs {
        ttl(last, sight, &mut score);
    }
    if before.of_client && before.port.saturating_sub(port) >= PORT_DROP {
        score.add(1, Reasons::PORT);
    }
    if sight.mss != last.mss {
        score.add(1, Reasons::MSS);
    }
    clocks(last, sight, &mut score);
    score
}

/// True where the systems differ: nothing else needs to be said of that.
fn signatures(
    labels: &Labels,
    before: &Before<'_>,
    last: &Sight,
    sight: &Sight,
    score: &mut Score,
) -> bool {
    let (Some(now), Some(then)) = (sight.matched, last.matched) else {
        if sight.quirks.without(OF_THE_WAY) != last.quirks.without(OF_THE_WAY) {
            score.add(2, Reasons::SIGNATURE);
        } else if before.of_client && sight.layout.kinds() != last.layout.kinds() {
            score.add(1, Reasons::SIGNATURE);
        }
        if before.of_client && sight.matched.is_some() != last.matched.is_some() {
            score.add(1, Reasons::KNOWN);
        }
        return false;
    };
    if !labels.same_system(now.label, then.label) {
        score.add(8, Reasons::OS);
        return true;
    }
    if before.of_client {
        if now.label != then.label {
            score.add(2, Reasons::OS);
        } else if now.signature != then.signature {
            score.add(1, Reasons::OS);
        } else if now.is_fuzzy() != then.is_fuzzy() {
            score.add(1, Reasons::FUZZY);
        }
    }
    false
}

fn ttl(last: &Sight, sight: &Sight, score: &mut Score) {
    let random = |sight: &Sight| sight.matched.is_some_and(|matched| matched.random_ttl);
    let change = u16::from(sight.ttl.abs_diff(last.ttl));
    let up_by_more = sight.ttl > last.ttl && change > 1;
    if change == 0 || random(sight) || random(last) || !(sight.distance <= NEAR || up_by_more) {
        return;
    }
    if sight.distance > LOCAL && change <= SMALL_TTL_CHANGE {
        score.add(1, Reasons::TTL);
    } else {
        score.add(4, Reasons::TTL);
    }
}

/// Some systems' timestamps are random: they only confirm or doubt what else was found.
fn clocks(last: &Sight, sight: &Sight, score: &mut Score) {
    if score.points == 0 || sight.timestamp == 0 || last.timestamp == 0 {
        return;
    }
    let time = sight.at.saturating_since(last.at);
    if time >= TIMESTAMPS_AGE {
        return;
    }
    let millis = u64::try_from(time.max(GRACE).as_millis()).unwrap_or(u64::MAX);
    let most = millis.saturating_mul(MOST_TICKS_A_SECOND) / 1000;
    let ticks = sight.timestamp.wrapping_sub(last.timestamp);
    let in_disorder = time < GRACE && u64::from(!ticks) <= most;
    if u64::from(ticks) > most && !in_disorder {
        score.add(4, Reasons::TIMESTAMP);
    } else {
        score.points /= 2;
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
        let hits = [6, 3, 2, 1].map(|least| self.at_least(least));
        if hits
            .into_iter()
            .zip([2, 4, 6, 8])
            .any(|(hits, most)| hits > most)
        {
            let reasons = self.reasons;
            *self = Self::default();
            return Conclusion::Shared(reasons, hits);
        }
        if score.points == 1 {
            return Conclusion::OneHost;
        }
        Conclusion::Changed(score.reasons, hits)
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
