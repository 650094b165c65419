//! From a configuration, a log and what the machine does to findings.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::{Config, VirtualHost};
use super::listen::{Address, Listen, socket};
use super::log::{Complaint, Log};
use crate::files::Place;
use crate::finding::{Finding, Severity, Step};
use crate::fix::{Edit, Fix};

/// What became of a connection to a listener of our own, on the same address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It was made.
    Answers,
    /// The system refused it at once, with this error: httpd logs that.
    Refused(String),
    /// Nothing came back in time: httpd logs that at level debug only.
    Silent,
    /// The system has no such address family.
    NoFamily,
    /// It could not be tried.
    Unknown(String),
}

/// The place where httpd runs: its jail, container or network namespace.
pub trait Surroundings {
    /// Listens on `address` and a free port there, and connects to the same address.
    fn reach(&self, address: IpAddr) -> Probe;
    /// Addresses there, without the loopback's and link-local ones.
    fn addresses(&self) -> Vec<IpAddr>;
    /// The addresses that a name stands for there, or why it has none; nothing where nobody can be
    /// asked.
    fn addresses_of(&self, name: &str) -> Option<Result<Vec<IpAddr>, String>>;
    /// Whether the loopback interface is up, where there is one.
    fn loopback_up(&self) -> Option<bool>;
    /// For people: "this network namespace".
    fn name(&self) -> String;
}

/// Checks a configuration, with the log that was written under it.
#[must_use]
pub fn check(config: &Config, log: Option<(&str, &Log)>, around: &dyn Surroundings) -> Vec<Step> {
    vec![
        configuration(config),
        listeners(config, log, around),
        virtual_hosts(config),
    ]
}

/// Checks a log alone: its configuration, or the machine that wrote it, is elsewhere.
/// `address` is the address of that jail or container, where it is known.
#[must_use]
pub fn check_log(file: &str, log: &Log, address: Option<IpAddr>) -> Step {
    let finding = |complaint| log_finding(file, complaint, address);
    let findings = log.complaints.iter().map(finding).collect();
    Step::of(
        "apache/log",
        findings,
        format!("{file}: {} lines without the message", log.lines),
    )
}

fn configuration(config: &Config) -> Step {
    let mut findings: Vec<Finding> = config
        .problems
        .iter()
        .map(|problem| {
            let severity = if problem.fatal {
                Severity::Error
            } else {
                Severity::Note
            };
            Finding::new("apache/configuration", severity, problem.message.clone())
                .at(&problem.place, &problem.text)
                .why(if problem.fatal {
                    "httpd does not start with it."
                } else {
                    "What depends on it was not checked, or httpd warns about it."
                })
                .advise("Correct the line, then ask httpd itself: apachectl configtest")
                .verified("read in the configuration")
        })
        .collect();
    if config.left_out > 0 {
        findings.push(
            Finding::new(
                "apache/limit",
                Severity::Warning,
                "the configuration was not read whole",
            )
            .why(format!(
                "{} problems or files over the limits were left out.",
                config.left_out
            ))
            .verified("counted while reading"),
        );
    }
    findings.extend(overlaps(&config.listens));
    let seen = format!(
        "{} files, {} listeners",
        config.files.len(),
        config.listens.len()
    );
    Step::of("apache/configuration", findings, seen)
}

/// Two listeners that cannot both be bound.
fn overlaps(listens: &[Listen]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, second) in listens.iter().enumerate() {
        let before = listens.iter().take(index);
        let Some(first) = before.clone().find(|first| overlap(first, second)) else {
            continue;
        };
        findings.push(
            Finding::new(
                "apache/overlapping-listeners",
                Severity::Error,
                format!("{second} overlaps with {first}"),
            )
            .at(&second.place, &second.to_string())
            .at(&first.place, &first.to_string())
            .why("A port of an address can be bound once: httpd stops with \"Address already in use\".")
            .advise("Take one of them away.")
            .verified("compared in the configuration"),
        );
        if findings.len() >= crate::limits::MAX_PROBLEMS {
            break;
        }
    }
    findings
}

fn overlap(a: &Listen, b: &Listen) -> bool {
    let covers = |wild: &Address, other: &Address| match (wild, other) {
        (Address::Ip(wild), Address::Ip(other)) => {
            wild.is_unspecified() && wild.is_ipv4() == other.is_ipv4()
        }
        (Address::Any | Address::Ip(_) | Address::Name(_), _) => false,
    };
    a.port == b.port
        && (a.address == b.address
            || covers(&a.address, &b.address)
            || covers(&b.address, &a.address))
}

fn listeners(config: &Config, log: Option<(&str, &Log)>, around: &dyn Surroundings) -> Step {
    const CHECK: &str = "apache/listener";
    let Some(poked) = poked(&config.listens) else {
        return Step::unchecked(CHECK, "the configuration has no Listen");
    };
    let Some((address, failed)) = wildcard_probe(poked, around) else {
        return specific(poked, around);
    };
    match failed {
        Probe::Answers => Step::clean(
            CHECK,
            format!(
                "{poked}: a connection to {address} in {} is answered",
                around.name()
            ),
        ),
        Probe::NoFamily => Step::unchecked(CHECK, format!("{} has no IP", around.name())),
        Probe::Unknown(reason) => Step::unchecked(CHECK, reason),
        Probe::Refused(reason) => Step::of(
            CHECK,
            vec![wildcard(config, poked, (address, &reason), log, around)],
            "",
        ),
        Probe::Silent => {
            let reason = "no answer within the time that httpd waits";
            Step::of(
                CHECK,
                vec![wildcard(config, poked, (address, reason), log, around)],
                "",
            )
        }
    }
}

/// The listener that the parent connects to: the first for plain http, else the first.
fn poked(listens: &[Listen]) -> Option<&Listen> {
    let plain = listens.iter().find(|listen| listen.protocol == "http");
    plain.or(listens.first())
}

/// What a wildcard listener is bound to, and what becomes of a connection to it.
fn wildcard_probe(listen: &Listen, around: &dyn Surroundings) -> Option<(IpAddr, Probe)> {
    let v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
    match listen.address {
        Address::Any => {
            let v6 = IpAddr::from(Ipv6Addr::UNSPECIFIED);
            let probe = around.reach(v6);
            Some(if matches!(probe, Probe::NoFamily) {
                (v4, around.reach(v4))
            } else {
                (v6, probe)
            })
        }
        Address::Ip(address) if address.is_unspecified() => Some((address, around.reach(address))),
        Address::Ip(_) | Address::Name(_) => None,
    }
}

/// A listener that names what it is bound to.
fn specific(listen: &Listen, around: &dyn Surroundings) -> Step {
    const CHECK: &str = "apache/listener";
    let name = match &listen.address {
        Address::Any => return Step::clean(CHECK, format!("{listen} is the wildcard")),
        Address::Ip(address) => return bound(listen, *address, around),
        Address::Name(name) => name,
    };
    match around.addresses_of(name) {
        None => Step::unchecked(
            CHECK,
            format!(
                "{listen}: what {name} means in {} is not known here",
                around.name()
            ),
        ),
        Some(Err(reason)) => Step::of(CHECK, vec![unknown(listen, name, &reason, around)], ""),
        Some(Ok(addresses)) => match addresses.first() {
            Some(address) => bound(listen, *address, around),
            None => Step::of(CHECK, vec![unknown(listen, name, "no address", around)], ""),
        },
    }
}

fn unknown(listen: &Listen, name: &str, reason: &str, around: &dyn Surroundings) -> Finding {
    Finding::new(
        "apache/unknown-name",
        Severity::Error,
        format!("{listen}: {name} has no address ({reason})"),
    )
    .at(&listen.place, &listen.to_string())
    .why("httpd does not start: it has nothing to listen on.")
    .advise(own_address_advice(listen, around))
    .verified("asked for the addresses of the name")
}

fn own_address_advice(listen: &Listen, around: &dyn Surroundings) -> String {
    let own = around.addresses();
    let lines: Vec<String> = own
        .iter()
        .map(|address| format!("Listen {}", socket(*address, listen.port)))
        .collect();
    if lines.is_empty() {
        format!("Name an address of {}", around.name())
    } else {
        format!(
            "Name an address of {}: {}",
            around.name(),
            lines.join(", or ")
        )
    }
}

/// A listener with an address is never refused; it may be silent.
fn bound(listen: &Listen, address: IpAddr, around: &dyn Surroundings) -> Step {
    const CHECK: &str = "apache/listener";
    let finding = |severity, message: String, why: &str| {
        Finding::new("apache/unreachable-listener", severity, message)
            .at(&listen.place, &listen.to_string())
            .why(why)
            .verified(format!(
                "listened on {address} and connected to it in {}",
                around.name()
            ))
    };
    match around.reach(address) {
        Probe::Silent => {
            let finding = finding(
                Severity::Note,
                format!("{listen} keeps the log quiet, but nothing here can connect to {address}"),
                "httpd wakes its idle children by such a connection; without it they go later. \
                 Clients do not notice.",
            )
            .advise(loopback_advice(around));
            Step::of(CHECK, vec![finding], "")
        }
        Probe::Refused(reason) => {
            let finding = finding(
                Severity::Warning,
                format!("{address} cannot be used here: {reason}"),
                "The address is not one of this machine, or not yet: httpd does not start, it could \
                 not bind to it.",
            )
            .advise(own_address_advice(listen, around));
            Step::of(CHECK, vec![finding], "")
        }
        Probe::Answers | Probe::NoFamily | Probe::Unknown(_) => {
            Step::clean(CHECK, format!("{listen} names an address"))
        }
    }
}

fn loopback_advice(around: &dyn Surroundings) -> String {
    match around.loopback_up() {
        Some(false) => format!(
            "Bring the loopback interface up in {}: ip link set dev lo up",
            around.name()
        ),
        Some(true) | None => "Let the machine reach its own addresses.".to_owned(),
    }
}

fn wildcard(
    config: &Config,
    listen: &Listen,
    (address, reason): (IpAddr, &str),
    log: Option<(&str, &Log)>,
    around: &dyn Surroundings,
) -> Finding {
    let wildcard = socket(address, listen.port);
    let mut finding = Finding::new(
        "apache/wildcard-listener",
        Severity::Warning,
        format!("{listen}: httpd cannot connect to its own listener {wildcard} ({reason})"),
    )
    .at(&listen.place, &listen.raw.join(" "))
    .why(format!(
        "httpd's parent wakes idle children by connecting to its first listener. Bound to the \
         wildcard it connects to {wildcard}, for which {} has no way. Children are not woken, a \
         graceful restart waits, and \"connect to listener on {wildcard}\" is logged again and \
         again (at level debug, where no answer comes).",
        around.name()
    ))
    .verified(format!(
        "listened on {address} and connected to it in {}, as httpd does: {reason}",
        around.name()
    ));
    if let Some((file, log)) = log {
        finding = with_log(finding, file, log);
    }
    let remedy = Remedy::of(listen, around);
    finding = with_advice(finding, listen, &remedy, around);
    for lost in lost_hosts(config, listen, &remedy.addresses) {
        finding = finding.at(&lost.place, &lost.text).advise(format!(
            "Mind {} (line {}): none of these addresses reaches it.",
            lost.text, lost.place.line
        ));
    }
    finding
}

fn with_log(mut finding: Finding, file: &str, log: &Log) -> Finding {
    for complaint in &log.complaints {
        let place = Place {
            file: file.to_owned(),
            line: complaint.line,
        };
        let text = format!("{} ({} times)", complaint.text, complaint.count);
        finding = finding.at(&place, &text);
    }
    finding
}

/// The addresses to listen on instead.
struct Remedy {
    addresses: Vec<IpAddr>,
    /// A connection to the first of them was answered.
    reached: bool,
}

impl Remedy {
    /// `0.0.0.0` when that can be reached (only IPv6's loopback is missing), and the addresses
    /// of the machine that it does not cover.
    fn of(listen: &Listen, around: &dyn Surroundings) -> Self {
        let v4 = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let only_v4 = listen.address == Address::Ip(v4);
        let mut own = around.addresses();
        own.sort();
        own.dedup();
        let of_family = |v6: bool| own.iter().copied().filter(move |a| a.is_ipv6() == v6);
        if !only_v4 && of_family(false).next().is_some() && around.reach(v4) == Probe::Answers {
            return Self {
                addresses: std::iter::once(v4).chain(of_family(true)).collect(),
                reached: true,
            };
        }
        let mut usable: Vec<IpAddr> = own
            .iter()
            .copied()
            .filter(|a| !only_v4 || a.is_ipv4())
            .collect();
        let probe = |address: &IpAddr| around.reach(*address) == Probe::Answers;
        // The first listener is the one that httpd connects to.
        if let Some(index) = usable.iter().position(probe) {
            usable.swap(0, index);
            return Self {
                addresses: usable,
                reached: true,
            };
        }
        Self {
            addresses: usable,
            reached: false,
        }
    }
}

fn with_advice(
    mut finding: Finding,
    listen: &Listen,
    remedy: &Remedy,
    around: &dyn Surroundings,
) -> Finding {
    let lines: Vec<String> = remedy
        .addresses
        .iter()
        .map(|a| listen.line_for(*a))
        .collect();
    let loopback_down = around.loopback_up() == Some(false);
    if loopback_down {
        finding = finding.advise(format!("{}; that alone is enough", loopback_advice(around)));
    }
    if lines.is_empty() {
        return finding.advise(format!(
            "Give {} an address, and name it: Listen ADDRESS:{}",
            around.name(),
            listen.port
        ));
    }
    finding = finding.advise(named_addresses(&lines, remedy));
    if listen.raw.is_empty() {
        return finding.advise("The line comes out of a macro: change it there.");
    }
    finding.fix(Fix {
        summary: format!("{listen} names its addresses"),
        edits: vec![Edit {
            file: listen.place.file.clone(),
            line: listen.place.line,
            old: listen.raw.clone(),
            new: lines,
        }],
        then: Some(
            "apachectl graceful-stop && apachectl start  (a changed Listen needs a restart)"
                .to_owned(),
        ),
    })
}

/// That the line shall name its addresses, by `lines`, and what is lost with the first alone.
fn named_addresses(lines: &[String], remedy: &Remedy) -> String {
    let all: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let mut advice = format!(
        "Name the address: replace the line by `{}`",
        all.join("`, `")
    );
    if let [first, _, ..] = all.as_slice() {
        let others = remedy.addresses.iter().skip(1);
        let lost: Vec<String> = others.map(ToString::to_string).collect();
        let lost = lost.join(", ");
        let _ = write!(advice, "; with `{first}` alone {lost} would be lost");
    }
    if !remedy.reached {
        advice.push_str("; this keeps the log quiet, but children are still not woken");
    }
    advice
}

/// Virtual hosts that the wildcard reaches and `addresses` do not.
fn lost_hosts<'a>(
    config: &'a Config,
    listen: &Listen,
    addresses: &[IpAddr],
) -> Vec<&'a VirtualHost> {
    let lost = |address: &Address, port: Option<u16>| {
        let Address::Ip(wanted) = address else {
            return false;
        };
        !wanted.is_unspecified()
            && port.is_none_or(|port| port == listen.port)
            && !addresses
                .iter()
                .any(|a| a == wanted || a.is_unspecified() && a.is_ipv4() == wanted.is_ipv4())
    };
    let hosts = config.virtual_hosts.iter();
    hosts
        .filter(|host| {
            host.addresses
                .iter()
                .any(|(address, port)| lost(address, *port))
        })
        .collect()
}

fn virtual_hosts(config: &Config) -> Step {
    const CHECK: &str = "apache/virtual-hosts";
    let mut findings = Vec::new();
    for host in &config.virtual_hosts {
        for (address, port) in &host.addresses {
            if findings.len() < crate::limits::MAX_PROBLEMS
                && !config
                    .listens
                    .iter()
                    .any(|listen| serves(listen, address, *port))
            {
                findings.push(unserved(host, address, *port));
            }
        }
    }
    let seen = format!(
        "{} virtual hosts, each behind a listener",
        config.virtual_hosts.len()
    );
    Step::of(CHECK, findings, seen)
}

fn serves(listen: &Listen, address: &Address, port: Option<u16>) -> bool {
    let same_port = port.is_none_or(|port| port == listen.port);
    let same_address = match (&listen.address, address) {
        // A name is one of the machine's addresses, or httpd would not start.
        (Address::Any | Address::Name(_), _) | (_, Address::Any | Address::Name(_)) => true,
        (Address::Ip(bound), Address::Ip(wanted)) => {
            bound == wanted || bound.is_unspecified() && (bound.is_ipv6() || wanted.is_ipv4())
        }
    };
    same_port && same_address
}

fn unserved(host: &VirtualHost, address: &Address, port: Option<u16>) -> Finding {
    let shown = match (address, port) {
        (Address::Ip(address), Some(port)) => socket(*address, port),
        (Address::Ip(address), None) => address.to_string(),
        (Address::Any, Some(port)) => format!("port {port}"),
        (Address::Any, None) => "any address".to_owned(),
        (Address::Name(name), port) => {
            name.clone() + &port.map(|port| format!(":{port}")).unwrap_or_default()
        }
    };
    let line = match (address, port) {
        (Address::Ip(address), Some(port)) => format!("Listen {}", socket(*address, port)),
        (_, Some(port)) => format!("Listen {port}"),
        (_, None) => "a Listen for it".to_owned(),
    };
    Finding::new(
        "apache/virtual-host-without-listener",
        Severity::Warning,
        format!("no Listen covers {shown}"),
    )
    .at(&host.place, &host.text)
    .why("No connection can come to this virtual host.")
    .advise(format!(
        "Add `{line}`, or take the address out of the virtual host."
    ))
    .verified("compared with every Listen of the configuration")
}

fn log_finding(file: &str, complaint: &Complaint, address: Option<IpAddr>) -> Finding {
    let place = Place {
        file: file.to_owned(),
        line: complaint.line,
    };
    let port = complaint
        .listener
        .rsplit_once(':')
        .map_or("80", |(_, port)| port);
    let named = address.map_or_else(
        || format!("ADDRESS:{port}"),
        |address| socket(address, port.parse().unwrap_or(80)),
    );
    let mut finding = Finding::new(
        "apache/wildcard-listener",
        Severity::Warning,
        format!(
            "httpd could not connect to its own listener {}",
            complaint.listener
        ),
    )
    .at(
        &place,
        &format!("{} ({} times)", complaint.text, complaint.count),
    )
    .why(if complaint.is_from_bsd() {
        "The error's number is a BSD's. In a jail the wildcard is not the jail's address: the \
         parent connects to an address of the host on which nobody listens."
    } else {
        "The parent wakes idle children by connecting to its first listener, and there the \
         wildcard leads nowhere."
    })
    .verified("read in the log; not tried, since the log may be another machine's");
    if complaint.listener.starts_with("[::]") && !complaint.is_from_bsd() {
        finding = finding.advise(format!(
            "Where only IPv6's loopback is missing (a container): Listen 0.0.0.0:{port}"
        ));
    }
    finding
        .advise(format!(
            "Name the address of the jail or container: Listen {named}"
        ))
        .advise("To be certain, run weighbridge doctor apache where httpd runs: it tries it.")
}
