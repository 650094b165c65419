//! What a monitoring plug-in makes of aggregated links: from our own status, from Linux bonding,
//! from teamd, and from the ifconfig(8) of FreeBSD and OpenBSD.
//!
//! Statuses, ranges and performance data are those of the Monitoring Plugins' guidelines.

mod bonding;
mod ifconfig;
mod range;
mod teamd;

use std::fmt::Write;

use crate::status::{LaggStatus, PortStatus};

pub use bonding::read as read_bonding;
pub use ifconfig::read as read_ifconfig;
pub use range::{Range, RangeError};
pub use teamd::read as read_teamd;

/// Longest text that is read, in bytes. A machine with hundreds of interfaces has less.
pub const MAX_TEXT_LEN: usize = 4 << 20;
/// Failovers in an hour that are no flapping yet.
const USUAL_FAILOVERS: &str = "3";

/// Status of a service; the exit status of a plug-in is its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well.
    #[default]
    Ok = 0,
    /// Somebody should look at it.
    Warning = 1,
    /// It does not work.
    Critical = 2,
    /// It could not be found out.
    Unknown = 3,
}

impl Severity {
    /// Its name, as it is printed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Links that work as one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bundle {
    /// Its interface.
    pub name: String,
    /// Its protocol or mode, as whoever runs it names it.
    pub mode: String,
    /// Whether only one port carries at a time.
    pub one_at_a_time: bool,
    /// Its ports.
    pub ports: Vec<BundlePort>,
    /// Whether nothing passes, because who filters it has no hooks on it.
    pub shut: bool,
    /// Times that traffic moved, since the start.
    pub failovers: Option<u64>,
    /// The same in the last hour.
    pub failovers_last_hour: Option<u64>,
    /// Seconds since the last time.
    pub last_failover_age: Option<f64>,
}

/// A port of a [`Bundle`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundlePort {
    /// Its interface.
    pub name: String,
    /// Whether it has a link.
    pub link: bool,
    /// Whether it carries traffic.
    pub carries: bool,
    /// Whether it should carry whenever it can.
    pub master: bool,
    /// What else is wrong with it.
    pub faults: Vec<String>,
}

impl BundlePort {
    fn works(&self) -> bool {
        self.link && self.faults.is_empty()
    }

    fn describe(&self) -> String {
        let mut text = self.name.clone();
        if !self.link {
            text += " has no link";
        } else if !self.faults.is_empty() {
            let _ = write!(text, " {}", self.faults.join(", "));
        } else if self.carries {
            text += " carries";
        } else {
            text += " stands by";
        }
        text
    }
}

/// What counts as bad.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Working links; fewer than all of them unless it is given.
    pub warning: Option<Range>,
    /// Working links; none unless it is given.
    pub critical: Option<Range>,
    /// Failovers in an hour; more than 3 unless it is given.
    pub flapping: Option<Range>,
}

/// What a plug-in says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The worst of all.
    pub severity: Severity,
    /// One for each thing that was checked, the worst first.
    pub summary: Vec<String>,
    /// More about each.
    pub details: Vec<String>,
    /// Performance data.
    pub performance: Vec<String>,
}

impl Report {
    /// That something could not be found out.
    #[must_use]
    pub fn unknown(what: impl Into<String>) -> Self {
        Self::of(Severity::Unknown, what)
    }

    /// One statement.
    #[must_use]
    pub fn of(severity: Severity, what: impl Into<String>) -> Self {
        Self {
            severity,
            summary: vec![what.into()],
            ..Self::default()
        }
    }

    /// The text for standard output: one line, and more with more `verbosity`.
    #[must_use]
    pub fn text(&self, service: &str, verbosity: u8) -> String {
        let clean = |text: &str| text.replace(['|', '\n'], " ");
        let summary: Vec<String> = self.summary.iter().map(|text| clean(text)).collect();
        let mut text = format!("{service} {}: {}", self.severity.name(), summary.join("; "));
        if verbosity == 1 && !self.details.is_empty() {
            let _ = write!(text, " ({})", clean(&self.details.join(", ")));
        }
        if !self.performance.is_empty() {
            let _ = write!(text, " | {}", self.performance.join(" "));
        }
        text.push('\n');
        if verbosity > 1 {
            for line in &self.details {
                let _ = writeln!(text, "{}", clean(line));
            }
        }
        text
    }
}

/// `'LABEL'=VALUE`, with limits.
#[must_use]
pub fn performance(label: &str, value: &str, limits: &str) -> String {
    let label = label.replace(['=', '\''], "_");
    let text = format!("'{label}'={value}{limits}");
    text.trim_end_matches(';').to_owned()
}

/// Judges the bundles of a machine, or those of them that are `named`.
#[must_use]
pub fn judge(bundles: &[Bundle], named: &[String], limits: &Limits) -> Report {
    for name in named {
        if !bundles.iter().any(|bundle| bundle.name == *name) {
            return Report::unknown(format!("{name}: no aggregated links of this name"));
        }
    }
    let chosen = bundles
        .iter()
        .filter(|b| named.is_empty() || named.contains(&b.name));
    let mut judged: Vec<Report> = chosen.map(|bundle| one(bundle, limits)).collect();
    if judged.is_empty() {
        return Report::unknown("no aggregated links");
    }
    judged.sort_by_key(|report| std::cmp::Reverse(report.severity));
    let mut all = Report::default();
    for mut report in judged {
        all.severity = all.severity.max(report.severity);
        all.summary.append(&mut report.summary);
        all.details.append(&mut report.details);
        all.performance.append(&mut report.performance);
    }
    all
}

fn one(bundle: &Bundle, limits: &Limits) -> Report {
    let total = bundle.ports.len();
    let working = bundle.ports.iter().filter(|port| port.works()).count();
    let carries = bundle.ports.iter().any(|port| port.carries);
    let at_least = |n: usize| Range::at_least(u32::try_from(n).unwrap_or(u32::MAX));
    let warning = limits.warning.clone().unwrap_or_else(|| at_least(total));
    let critical = limits.critical.clone().unwrap_or_else(|| at_least(1));
    let count = f64::from(u32::try_from(working).unwrap_or(u32::MAX));
    let mut worst = Severity::Ok;
    let mut told = vec![format!("{working} of {total} links work")];
    let mut raise = |severity: Severity, what: String| {
        worst = worst.max(severity);
        if !what.is_empty() {
            told.push(what);
        }
    };
    if !carries {
        raise(Severity::Critical, "no link carries traffic".to_owned());
    } else if critical.alerts(count) {
        raise(Severity::Critical, String::new());
    } else if warning.alerts(count) {
        raise(Severity::Warning, String::new());
    }
    if bundle.shut {
        let what = "passes nothing until the daemon filters it";
        raise(Severity::Critical, what.to_owned());
    }
    if let Some(what) = standby_in_use(bundle) {
        raise(Severity::Warning, what);
    }
    for port in bundle.ports.iter().filter(|port| !port.works()) {
        raise(Severity::Ok, port.describe());
    }
    if let Some(what) = flapping(bundle, limits) {
        raise(Severity::Warning, what);
    }
    let name = &bundle.name;
    let details = bundle.ports.iter().map(BundlePort::describe);
    let age = bundle
        .last_failover_age
        .map(|age| format!("last failover {age:.0} s ago"));
    let range = format!(";{warning};{critical};0;{total}");
    let mut performance_data = vec![performance(
        &format!("{name} working"),
        &working.to_string(),
        &range,
    )];
    if let Some(failovers) = bundle.failovers {
        let value = format!("{failovers}c");
        performance_data.push(performance(&format!("{name} failovers"), &value, ""));
    }
    Report {
        severity: worst,
        summary: vec![format!("{name} ({}): {}", bundle.mode, told.join(", "))],
        details: details
            .chain(age)
            .map(|detail| format!("{name}: {detail}"))
            .collect(),
        performance: performance_data,
    }
}

fn standby_in_use(bundle: &Bundle) -> Option<String> {
    let master = bundle
        .ports
        .iter()
        .find(|port| port.master && !port.carries)?;
    let other = bundle.ports.iter().find(|port| port.carries)?;
    bundle
        .one_at_a_time
        .then(|| format!("standby {} in use instead of {}", other.name, master.name))
}

fn flapping(bundle: &Bundle, limits: &Limits) -> Option<String> {
    let recent = bundle.failovers_last_hour?;
    let usual = || Range::parse(USUAL_FAILOVERS).ok();
    let range = limits.flapping.clone().or_else(usual)?;
    let count = f64::from(u32::try_from(recent).unwrap_or(u32::MAX));
    range
        .alerts(count)
        .then(|| format!("flapping: {recent} failovers in an hour"))
}

/// A lagg of ours; `now` in seconds since 1970.
#[must_use]
pub fn of_status(lagg: &LaggStatus, now: f64) -> Bundle {
    let one_at_a_time = lagg.protocol == "failover";
    let ports = lagg.ports.iter().enumerate();
    Bundle {
        name: lagg.name.clone(),
        mode: lagg.protocol.clone(),
        one_at_a_time,
        ports: ports
            .map(|(at, port)| of_port(port, one_at_a_time && at == 0))
            .collect(),
        shut: lagg.shut,
        failovers: Some(lagg.failovers),
        failovers_last_hour: Some(lagg.failovers_last_hour),
        last_failover_age: lagg.last_failover.map(|at| (now - at).max(0.0)),
    }
}

fn of_port(port: &PortStatus, master: bool) -> BundlePort {
    let mut faults = Vec::new();
    if port.silent {
        faults.push("passes nothing".to_owned());
    }
    if let Some(lacp) = &port.lacp {
        faults.extend(lacp_faults(lacp.has_partner, lacp.churned, lacp.loops > 0));
        if lacp.has_partner && port.flags & 0x1c != 0x1c {
            faults.push("is not in use".to_owned());
        }
    }
    let carrying = if port.lacp.is_some() { 0x1c } else { 0x04 };
    BundlePort {
        name: port.name.clone(),
        link: port.link,
        carries: port.flags & carrying == carrying,
        master,
        faults,
    }
}

fn lacp_faults(has_partner: bool, churned: bool, looped: bool) -> Vec<String> {
    let told = [
        (!has_partner, "has no LACP partner"),
        (churned, "churns"),
        (looped, "hears itself"),
    ];
    let wrong = told.iter().filter(|(is, _)| *is);
    wrong.map(|(_, what)| (*what).to_owned()).collect()
}

#[cfg(test)]
mod tests;
