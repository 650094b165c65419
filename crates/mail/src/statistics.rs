//! Outcomes by operating system, and what they are worth.
//!
//! The article's ratio is the share of rejected among accepted and rejected messages; deferred
//! ones are told apart, because they come again. Beside it stand the Wilson interval (how far the
//! true share may be) and the evidence: how much the system moves the odds of a rejection away
//! from those of the site, shrunk towards none while messages are few.

pub mod export;
pub mod render;

use std::collections::BTreeMap;
use std::ops::AddAssign;

use crate::answer::{Label, UNKNOWN, plain};
use crate::outcome::Verdict;

/// Standard deviations of a 95 % interval.
const Z: f64 = 1.959_964;
/// Messages at the site's own ratio that each system is thought to have had before: evidence of
/// a handful of messages stays near none.
pub const PRIOR_MESSAGES: f64 = 20.0;

/// Evidence below it comes of rounding.
const LEAST_EVIDENCE: f64 = 1e-9;

/// Messages by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted.
    pub accepted: u64,
    /// Rejected for good.
    pub rejected: u64,
    /// Rejected for now.
    pub deferred: u64,
}

impl Counts {
    /// One message.
    #[must_use]
    pub const fn one(verdict: Verdict) -> Self {
        let none = Self {
            accepted: 0,
            rejected: 0,
            deferred: 0,
        };
        match verdict {
            Verdict::Accepted => Self {
                accepted: 1,
                ..none
            },
            Verdict::Rejected => Self {
                rejected: 1,
                ..none
            },
            Verdict::Deferred => Self {
                deferred: 1,
                ..none
            },
        }
    }

    /// Messages that a ratio is made of: those with a final verdict.
    #[must_use]
    pub const fn decided(self) -> u64 {
        self.accepted.saturating_add(self.rejected)
    }

    /// Share of rejected messages, 0 to 1; `None` while there are none with a final verdict.
    #[must_use]
    pub fn ratio(self) -> Option<f64> {
        (self.decided() != 0).then(|| float(self.rejected) / float(self.decided()))
    }

    /// Where the true share lies with 95 % (Wilson's score interval).
    #[must_use]
    pub fn interval(self) -> Option<(f64, f64)> {
        let share = self.ratio()?;
        let count = float(self.decided());
        let spread = Z * Z / count;
        let center = share + spread / 2.0;
        let margin = Z * (share * (1.0 - share) / count + spread / (4.0 * count)).sqrt();
        let bound = |value: f64| (value / (1.0 + spread)).clamp(0.0, 1.0);
        Some((bound(center - margin), bound(center + margin)))
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.accepted = self.accepted.saturating_add(other.accepted);
        self.rejected = self.rejected.saturating_add(other.rejected);
        self.deferred = self.deferred.saturating_add(other.deferred);
    }
}

/// An operating system in statistics: name and flavour. The unknown one has an empty flavour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct System {
    /// Family, or `Unknown`.
    pub name: String,
    /// Version.
    pub flavor: String,
}

impl System {
    /// The system of a fingerprint, or the unknown one.
    #[must_use]
    pub fn of(label: Option<&Label>) -> Self {
        match label {
            Some(label) => Self {
                name: label.name.clone(),
                flavor: label.flavor.clone(),
            },
            None => Self {
                name: UNKNOWN.to_owned(),
                flavor: String::new(),
            },
        }
    }

    /// Name and flavour in one text.
    #[must_use]
    pub fn text(&self) -> String {
        if self.flavor.is_empty() {
            self.name.clone()
        } else {
            format!("{} {}", self.name, self.flavor)
        }
    }
}

/// Counts of all systems.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    systems: BTreeMap<System, Counts>,
}

/// Which systems stand on one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// Each family, as in the article's table.
    #[default]
    Family,
    /// Each version; of one family, if one is named.
    Version {
        /// The family, in any case.
        family: Option<String>,
    },
}

/// A line of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Its systems.
    pub system: String,
    /// Their messages.
    pub counts: Counts,
    /// Share of rejected ones.
    pub ratio: Option<f64>,
    /// 95 % interval of the share.
    pub interval: Option<(f64, f64)>,
    /// What the system adds to the log-odds of a rejection (natural logarithm): 0 says nothing,
    /// 0.7 doubles the odds, -0.7 halves them.
    pub evidence: Option<f64>,
}

/// A whole report.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The lines, those with most messages first.
    pub rows: Vec<Row>,
    /// All of them together: the site's base rate.
    pub total: Counts,
}

impl Tally {
    /// Adds `counts` of `system`.
    pub fn add(&mut self, system: System, counts: Counts) {
        *self.systems.entry(system).or_default() += counts;
    }

    /// Every system with its counts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&System, Counts)> {
        self.systems
            .iter()
            .map(|(system, counts)| (system, *counts))
    }

    /// The counts as lines. Evidence is against the base rate of the whole site, also where one
    /// family alone is shown.
    #[must_use]
    pub fn report(&self, grouping: &Grouping) -> Report {
        let mut base = Counts::default();
        let mut groups: BTreeMap<String, Counts> = BTreeMap::new();
        let mut total = Counts::default();
        for (system, counts) in self.iter() {
            base += counts;
            if let Some(group) = grouping.group(system) {
                *groups.entry(group).or_default() += counts;
                total += counts;
            }
        }
        let row = |(system, counts): (String, Counts)| Row {
            system,
            counts,
            ratio: counts.ratio(),
            interval: counts.interval(),
            evidence: evidence(counts, base),
        };
        let mut rows: Vec<Row> = groups.into_iter().map(row).collect();
        rows.sort_by(|one, other| {
            let size = |row: &Row| (row.counts.decided(), row.counts.accepted);
            size(other)
                .cmp(&size(one))
                .then_with(|| one.system.cmp(&other.system))
        });
        Report { rows, total }
    }
}

impl Grouping {
    /// The line of `system`: its name goes to terminals, tables and rules.
    fn group(&self, system: &System) -> Option<String> {
        let name = match self {
            Self::Family => system.name.clone(),
            Self::Version { family: None } => system.text(),
            Self::Version {
                family: Some(family),
            } if system.name.eq_ignore_ascii_case(family) => system.text(),
            Self::Version { family: Some(_) } => return None,
        };
        Some(plain(&name).into_owned())
    }
}

/// The log-odds of `counts`, with [`PRIOR_MESSAGES`] at the base rate mixed in, less those of
/// `base`. `None` where the site has only ever accepted, or only ever rejected.
fn evidence(counts: Counts, base: Counts) -> Option<f64> {
    let prior = base.ratio().filter(|ratio| *ratio > 0.0 && *ratio < 1.0)?;
    let rejected = float(counts.rejected) + PRIOR_MESSAGES * prior;
    let accepted = float(counts.accepted) + PRIOR_MESSAGES * (1.0 - prior);
    let moved = (rejected / accepted).ln() - (prior / (1.0 - prior)).ln();
    // What is left of two equal logarithms is no evidence, not even a negative one.
    Some(if moved.abs() < LEAST_EVIDENCE {
        0.0
    } else {
        moved
    })
}

/// A count as a number with a fraction; above 2^53 messages the last digits do not matter.
#[expect(
    clippy::cast_precision_loss,
    reason = "shares need no more than 53 bits"
)]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The article's table.
    pub(crate) const ARTICLE: [(&str, u64, u64, &str); 25] = [
        ("Unknown", 83_052, 300_356, "78.34%"),
        ("AIX", 2716, 100_601, "97.37%"),
        ("OpenBSD", 4111, 22_719, "84.68%"),
        ("Windows", 2827, 2823, "49.96%"),
        ("Linux", 2946, 706, "19.33%"),
        ("FreeBSD", 801, 2056, "71.96%"),
        ("AOL", 4, 772, "99.48%"),
        ("NetApp", 622, 109, "14.91%"),
        ("PocketPC", 84, 565, "87.06%"),
        ("MacOS", 80, 135, "62.79%"),
        ("ULTRIX", 89, 28, "23.93%"),
        ("OpenVMS", 3, 91, "96.81%"),
        ("AXIS", 0, 85, "100.00%"),
        ("OS/400", 1, 43, "97.73%"),
        ("Alteon", 0, 37, "100.00%"),
        ("Tru64", 2, 27, "93.10%"),
        ("NewtonOS", 19, 2, "9.52%"),
        ("IRIX", 7, 14, "66.67%"),
        ("Clavister", 7, 1, "12.50%"),
        ("SCO", 0, 8, "100.00%"),
        ("BeOS", 0, 6, "100.00%"),
        ("Contiki", 1, 3, "75.00%"),
        ("HP-UX", 0, 3, "100.00%"),
        ("Dell", 0, 3, "100.00%"),
        ("BSD/OS", 0, 1, "100.00%"),
    ];

    pub(crate) fn counts(accepted: u64, rejected: u64) -> Counts {
        Counts {
            accepted,
            rejected,
            deferred: 0,
        }
    }

    pub(crate) fn system(name: &str, flavor: &str) -> System {
        System {
            name: name.to_owned(),
            flavor: flavor.to_owned(),
        }
    }

    pub(crate) fn article() -> Tally {
        let mut tally = Tally::default();
        for (name, accepted, rejected, _) in ARTICLE {
            tally.add(system(name, ""), counts(accepted, rejected));
        }
        tally
    }

    #[test]
    fn the_articles_counts_have_the_articles_ratios_and_order() {
        let report = article().report(&Grouping::Family);
        assert_eq!(report.rows.len(), ARTICLE.len());
        for (name, accepted, rejected, ratio) in ARTICLE {
            let row = report.rows.iter().find(|row| row.system == name);
            let row = row.expect("it has a line");
            assert_eq!(row.counts, counts(accepted, rejected));
            assert_eq!(format!("{:.2}%", row.ratio.expect("one") * 100.0), ratio);
        }
        let sizes: Vec<_> = report.rows.iter().map(|row| row.counts.decided()).collect();
        assert!(sizes.is_sorted_by(|one, other| one >= other));
        assert_eq!(report.total.decided(), 97_372 + 431_194);
    }

    #[test]
    fn versions_of_one_family_stand_alone_against_the_base_rate_of_the_site() {
        let mut tally = article();
        tally.add(system("Windows", "NT"), counts(0, 41));
        let report = tally.report(&Grouping::Version {
            family: Some("windows".to_owned()),
        });
        let names: Vec<_> = report.rows.iter().map(|row| row.system.as_str()).collect();
        assert_eq!(names, ["Windows", "Windows NT"]);
        assert_eq!(report.total.decided(), 5650 + 41);
        let evidence = report.rows[0].evidence.expect("some");
        assert!((-1.6..-1.4).contains(&evidence), "{evidence}");
    }

    #[test]
    fn the_interval_is_wilsons() {
        let (low, high) = counts(90, 10).interval().expect("one");
        assert!((low - 0.0552).abs() < 1e-4 && (high - 0.1744).abs() < 1e-4);
        let (low, high) = counts(0, 4).interval().expect("one");
        assert!((low - 0.5101).abs() < 1e-4 && high > 0.999);
        assert_eq!(Counts::default().interval(), None);
    }

    #[test]
    fn four_messages_are_hardly_evidence_and_a_site_of_one_mind_has_none() {
        let few = evidence(counts(0, 4), counts(500, 500)).expect("some");
        let many = evidence(counts(0, 400), counts(500, 500)).expect("some");
        assert!(few < 0.4 && many > 3.0, "{few} {many}");
        assert_eq!(evidence(counts(4, 0), counts(10, 0)), None);
        // The only system of a site is the site.
        for (accepted, rejected) in [(2, 4), (3, 7), (11, 13), (97_372, 431_194)] {
            let only = counts(accepted, rejected);
            let told = evidence(only, only).map(|none| format!("{none:+.2}"));
            assert_eq!(told.as_deref(), Some("+0.00"), "{accepted} {rejected}");
        }
    }

    #[test]
    fn deferred_messages_are_counted_apart() {
        let mut tally = Tally::default();
        for verdict in [Verdict::Accepted, Verdict::Deferred, Verdict::Rejected] {
            tally.add(System::of(None), Counts::one(verdict));
        }
        let report = tally.report(&Grouping::Family);
        assert_eq!(report.rows[0].system, "Unknown");
        assert_eq!(report.rows[0].counts.deferred, 1);
        assert_eq!(report.rows[0].ratio, Some(0.5));
    }
}
