//! What is checked.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use links::monitor::{
    self, Bundle, Limits, Range, Report, Severity, judge, of_status, performance, read_bonding,
    read_ifconfig, read_teamd,
};
use links::plan::Kind;

use super::{BridgeArguments, Common, DaemonArguments, LinksArguments, Subject, UplinksArguments};
use crate::control::client::{Client, NOT_UNDERSTOOD};
use crate::control::health::Health;
use crate::control::protocol::{Outcome, Request};
use crate::gateway::command::gateways;
use crate::gateway::monitor::GatewayView;
use crate::links::{STALE_SECS, interfaces, read_last, status_path, unix_now};
use crate::text::reason;

/// Where Linux bonding tells about its interfaces.
const BONDING: &str = "/proc/net/bonding";

pub(super) fn check(subject: &Subject) -> Report {
    let checked = match subject {
        Subject::Links(arguments) => links(arguments),
        Subject::Uplinks(arguments) => uplinks(arguments),
        Subject::Bridge(arguments) => bridges(arguments),
        Subject::Daemon(arguments) => Ok(daemon(arguments)),
    };
    checked.unwrap_or_else(Report::unknown)
}

/// A file, or standard input for `-`.
fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let limit = u64::try_from(monitor::MAX_TEXT_LEN).unwrap_or(u64::MAX);
    let read = if path == Path::new("-") {
        io::stdin().lock().take(limit).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text))
    };
    read.map(|_| text)
        .map_err(|error| format!("{}: {}", path.display(), reason(&error)))
}

fn links(arguments: &LinksArguments) -> Result<Report, String> {
    let bundles = bundles(arguments)?;
    let limits = Limits {
        warning: arguments.common.warning.clone(),
        critical: arguments.common.critical.clone(),
        flapping: arguments.flapping.clone(),
    };
    Ok(judge(&bundles, &arguments.interfaces, &limits))
}

fn bundles(arguments: &LinksArguments) -> Result<Vec<Bundle>, String> {
    if let Some(path) = &arguments.bonding {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.filter(|name| *name != "-").unwrap_or("bond");
        let bundle = read_bonding(name, &read(path)?);
        return bundle
            .map(|b| vec![b])
            .ok_or_else(|| not_understood(path, "Linux bonding"));
    }
    if let Some(path) = &arguments.teamd {
        let bundle = read_teamd(&read(path)?);
        return bundle
            .map(|b| vec![b])
            .ok_or_else(|| not_understood(path, "teamd"));
    }
    if let Some(path) = &arguments.ifconfig {
        return Ok(read_ifconfig(&read(path)?));
    }
    let mut bundles = kernel_bonds();
    bundles.extend(own_laggs()?);
    Ok(bundles)
}

fn not_understood(path: &Path, what: &str) -> String {
    format!("{}: not the text of {what}", path.display())
}

fn kernel_bonds() -> Vec<Bundle> {
    let Ok(entries) = fs::read_dir(BONDING) else {
        return Vec::new();
    };
    let mut bundles: Vec<Bundle> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            read_bonding(&name, &read(&entry.path()).ok()?)
        })
        .collect();
    bundles.sort_by(|a, b| a.name.cmp(&b.name));
    bundles
}

/// The laggs of a keeper; one that has died is not silently left out.
fn own_laggs() -> Result<Vec<Bundle>, String> {
    let Some(status) = read_last()? else {
        return Ok(Vec::new());
    };
    let now = unix_now();
    let age = now - status.time;
    if age > STALE_SECS {
        let path = status_path();
        return Err(format!(
            "{} is {age:.0} s old: `weighbridge links run` has died",
            path.display()
        ));
    }
    Ok(status
        .laggs
        .iter()
        .map(|lagg| of_status(lagg, now))
        .collect())
}

/// The status of a count, by the ranges that are given or these.
fn counted(common: &Common, count: usize, warning: Range, critical: Range) -> (Severity, String) {
    let warning = common.warning.clone().unwrap_or(warning);
    let critical = common.critical.clone().unwrap_or(critical);
    let value = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let severity = if critical.alerts(value) {
        Severity::Critical
    } else if warning.alerts(value) {
        Severity::Warning
    } else {
        Severity::Ok
    };
    (severity, format!(";{warning};{critical};0"))
}

fn at_least(count: usize) -> Range {
    Range::at_least(u32::try_from(count).unwrap_or(u32::MAX))
}

fn uplinks(arguments: &UplinksArguments) -> Result<Report, String> {
    let views = match &arguments.from {
        Some(path) => serde_json::from_str(&read(path)?)
            .map_err(|error| format!("{}: {error}", path.display()))?,
        None => gateways(&arguments.socket)?,
    };
    if views.is_empty() {
        return Ok(Report::unknown(
            "no gateway is probed (see weighbridge.toml(5), GATEWAYS)",
        ));
    }
    Ok(judged_uplinks(&views, &arguments.common))
}

fn judged_uplinks(views: &[GatewayView], common: &Common) -> Report {
    let up = views.iter().filter(|view| view.up).count();
    let (severity, range) = counted(common, up, at_least(views.len()), at_least(1));
    let down = views.iter().filter(|view| !view.up);
    let down: Vec<String> = down
        .map(|view| {
            format!(
                "{} {} is down for {:.0} s",
                view.interface, view.address, view.since
            )
        })
        .collect();
    let mut summary = vec![format!("{up} of {} gateways work", views.len())];
    summary.extend(down);
    let mut data = vec![performance(
        "working",
        &up.to_string(),
        &format!("{range};{}", views.len()),
    )];
    for view in views {
        let label = format!("{} {}", view.interface, view.address);
        let (rtt, loss) = (view.rtt_ms(), view.loss_percent());
        data.extend(
            rtt.map(|rtt| performance(&format!("{label} rtt"), &format!("{rtt:.3}ms"), "")),
        );
        data.extend(
            loss.map(|loss| performance(&format!("{label} loss"), &format!("{loss}%"), "")),
        );
    }
    Report {
        severity,
        summary,
        details: Vec::new(),
        performance: data,
    }
}

fn bridges(arguments: &BridgeArguments) -> Result<Report, String> {
    let all = interfaces().map_err(|error| error.to_string())?;
    let mut report = Report::default();
    let is_bridge = |i: &&links::show::Interface| i.kind == Kind::Bridge;
    for name in &arguments.bridges {
        if !all.iter().filter(is_bridge).any(|i| i.name == *name) {
            return Err(format!("{name}: no such bridge"));
        }
    }
    let named = |name: &String| arguments.bridges.is_empty() || arguments.bridges.contains(name);
    for bridge in all.iter().filter(is_bridge).filter(|i| named(&i.name)) {
        let forwards = |port: &String| all.iter().any(|i| i.name == *port && i.forwards);
        let idle: Vec<&String> = bridge.members.iter().filter(|p| !forwards(p)).collect();
        one_bridge(bridge, &idle, &arguments.common, &mut report);
    }
    if report.summary.is_empty() {
        return Err("no bridge".to_owned());
    }
    Ok(report)
}

fn one_bridge(
    bridge: &links::show::Interface,
    idle: &[&String],
    common: &Common,
    report: &mut Report,
) {
    let name = &bridge.name;
    let total = bridge.members.len();
    let working = total - idle.len();
    let (mut severity, range) = counted(common, working, at_least(total), at_least(1));
    let mut told = format!("{name}: {working} of {total} ports forward");
    if bridge.flags & 1 == 0 {
        severity = Severity::Critical;
        told += ", the bridge is down";
    }
    let idle = idle.iter();
    report
        .details
        .extend(idle.map(|port| format!("{name}: {port} does not forward")));
    report.severity = report.severity.max(severity);
    report.summary.push(told);
    let data = performance(
        &format!("{name} forwarding"),
        &working.to_string(),
        &format!("{range};{total}"),
    );
    report.performance.push(data);
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures how long an answer takes"
)]
fn daemon(arguments: &DaemonArguments) -> Report {
    let begin = Instant::now();
    let patience = Duration::from_secs(arguments.common.timeout.max(1));
    let answer = Client::connect_within(&arguments.socket, patience)
        .and_then(|mut client| client.call(&Request::Health, &mut |_| Ok(())));
    let seconds = begin.elapsed().as_secs_f64();
    match answer {
        Ok(Outcome::Health(health)) => judged_daemon(&health, seconds, &arguments.common),
        Ok(_) => Report::unknown(NOT_UNDERSTOOD),
        Err(error) if is_forbidden(&arguments.socket) => Report::unknown(error.to_string()),
        Err(error) => Report::of(Severity::Critical, error.to_string()),
    }
}

fn judged_daemon(health: &Health, seconds: f64, common: &Common) -> Report {
    let over = |range: &&Range| range.alerts(seconds);
    let critical = common.critical.as_ref().filter(over);
    let exceeded = critical.or_else(|| common.warning.as_ref().filter(over));
    let severity = if critical.is_some() {
        Severity::Critical
    } else if exceeded.is_some() || !health.enabled {
        Severity::Warning
    } else {
        Severity::Ok
    };
    let mut answers = format!("answers in {:.1} ms", seconds * 1_000.0);
    if let Some(range) = exceeded {
        let _ = write!(answers, " (asked for: {range} seconds)");
    }
    let mut summary = vec![answers];
    if !health.enabled {
        summary.push("the filter is disabled".to_owned());
    }
    let text = |range: &Option<Range>| range.as_ref().map_or_else(String::new, Range::to_string);
    let times = format!(";{};{};0", text(&common.warning), text(&common.critical));
    let most = format!(";;;0;{}", health.states_max);
    let flows = &health.flows;
    let cached = flows.passed.saturating_add(flows.blocked);
    let count = |number: u64| format!("{number}c");
    Report {
        severity,
        summary,
        details: vec![
            format!("version {}", health.version),
            format!("{} of at most {} states", health.states, health.states_max),
            format!("{} packets lost", health.lost),
            format!("flow cache {}", if flows.on { "on" } else { "off" }),
        ],
        performance: vec![
            performance("time", &format!("{seconds:.6}s"), &times),
            performance("states", &health.states.to_string(), &most),
            performance("lost", &count(health.lost), ""),
            performance("decided", &count(flows.decided), ""),
            performance("cached", &count(cached), ""),
        ],
    }
}

/// Whether it is only that this user may not ask.
fn is_forbidden(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket)
        .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}
