//! Name, DNS, realm, KDC and clock.

use std::net::{IpAddr, SocketAddr};

use super::{Answer, Case, Transport};
use crate::finding::{Finding, Severity, Step};
use crate::kerberos::message::{Reply, as_request, code};
use crate::kerberos::principal::Principal;
use crate::kerberos::profile::{Kdc, PORT};

/// Seconds by which clocks may differ, unless `clockskew` says otherwise (RFC 4120, 8.2).
const CLOCK_SKEW_SECS: i64 = 300;

/// A client that no realm has: its KDC always answers with an error, and so with its clock.
const NOBODY: &str = "weighbridge-doctor";

/// KDCs and addresses of theirs that are asked.
const MAX_KDCS: usize = 16;

/// 1. The machine knows its full name.
pub(super) fn name(case: &mut Case<'_>) -> Step {
    const CHECK: &str = "kerberos/name";
    let name = match case
        .subject
        .host
        .clone()
        .map_or_else(|| case.around.host_name(), Ok)
    {
        Ok(name) => name.trim_end_matches('.').to_owned(),
        Err(reason) => return Step::unchecked(CHECK, reason),
    };
    let finding =
        |message: String| {
            Finding::new("kerberos/host-name", Severity::Error, message)
            .said("hostname", &name)
            .why("The host's principal is made of its full name: host/NAME@REALM. Clients ask for \
                  the name that DNS gives, and the keytab must have the same.")
            .verified("asked the system")
        };
    if name.is_empty() || name == "localhost" || name.starts_with("localhost.") {
        return Step::of(
            CHECK,
            vec![finding(format!("the host's name is `{name}`"))],
            "",
        );
    }
    let full = if name.contains('.') {
        Some(name.clone())
    } else {
        canonical(case, &name)
    };
    let Some(full) = full else {
        let found = finding(format!(
            "`{name}` is no full name, and no domain is found for it"
        ))
        .advise(format!(
            "Put the full name first in /etc/hosts: ADDRESS {name}.DOMAIN {name}"
        ));
        return Step::of(CHECK, vec![found], "");
    };
    let lower = full.to_ascii_lowercase();
    case.host = Some(lower.clone());
    if lower != full {
        let mut found = finding(format!("`{full}` has capital letters"));
        found.severity = Severity::Warning;
        found = found.advise(format!(
            "Name the host {lower}: principals keep case, DNS does not."
        ));
        return Step::of(CHECK, vec![found], "");
    }
    Step::clean(CHECK, full)
}

/// The full name of a short one: of its addresses, the first with a domain.
fn canonical(case: &Case<'_>, name: &str) -> Option<String> {
    let addresses = case.around.addresses_of(name).ok()?;
    let mut names = addresses
        .iter()
        .filter_map(|address| case.around.name_of(*address).ok());
    names.find(|full| full.contains('.') && full.starts_with(name))
}

/// 2. The name has addresses, and each of them has the name.
pub(super) fn dns(case: &Case<'_>) -> Step {
    const CHECK: &str = "kerberos/dns";
    let Some(host) = &case.host else {
        return Step::unchecked(CHECK, "the host's full name is not known");
    };
    let addresses = match case.around.addresses_of(host) {
        Ok(addresses) if !addresses.is_empty() => addresses,
        Ok(_) => return Step::of(CHECK, vec![no_address(host, "no address")], ""),
        Err(reason) => return Step::of(CHECK, vec![no_address(host, &reason)], ""),
    };
    let findings: Vec<Finding> = addresses
        .iter()
        .filter_map(|address| reverse(case, host, *address))
        .collect();
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    Step::of(
        CHECK,
        findings,
        format!("{host} is {}, and back", shown.join(", ")),
    )
}

fn no_address(host: &str, reason: &str) -> Finding {
    Finding::new(
        "kerberos/no-address",
        Severity::Error,
        format!("{host} has no address"),
    )
    .said("name service", reason)
    .why("Clients cannot find the host, and its ticket cannot be asked for.")
    .advise(format!(
        "Give {host} an A or AAAA record, or a line in /etc/hosts of every machine."
    ))
    .verified("looked the name up as the system does")
}

fn reverse(case: &Case<'_>, host: &str, address: IpAddr) -> Option<Finding> {
    if address.is_loopback() {
        return Some(
            Finding::new(
                "kerberos/loopback-name",
                Severity::Warning,
                format!("{host} is {address} here: the loopback's"),
            )
            .said("name service", &format!("{host} {address}"))
            .why(
                "Services that bind to their name, and tickets with addresses, get one that nobody \
                  else can use.",
            )
            .advise(format!(
                "In /etc/hosts, give {host} its address of the network."
            ))
            .verified("looked the name up as the system does"),
        );
    }
    let strict = case.profile.switch("rdns").is_none_or(|(on, _)| on);
    let (found, severity) = match case.around.name_of(address) {
        Ok(name) if name.trim_end_matches('.').eq_ignore_ascii_case(host) => return None,
        Ok(name) => (
            format!("{address} is called {name}, not {host}"),
            Severity::Error,
        ),
        Err(reason) => (
            format!("{address} has no name ({reason})"),
            Severity::Warning,
        ),
    };
    let severity = if strict { severity } else { Severity::Note };
    Some(
        Finding::new("kerberos/reverse-name", severity, found)
            .said("name service", &address.to_string())
            .why(if strict {
                "Clients turn the host's name into an address and that into a name again, and ask \
                 for a ticket for this last name (`rdns`, on unless it is turned off)."
            } else {
                "With `rdns` off this machine does not ask; others may."
            })
            .advise(format!("Let the PTR record of {address} say {host}."))
            .advise("Or, on every client: `rdns = false` in [libdefaults].")
            .verified("looked the address up as the system does"),
    )
}

/// 3. The name has a realm.
pub(super) fn realm(case: &mut Case<'_>) -> Step {
    const CHECK: &str = "kerberos/realm";
    let host = case.host.clone().unwrap_or_default();
    let shown = if host.is_empty() {
        "the host, whose full name is not known,"
    } else {
        host.as_str()
    };
    let Some(realm) = case.profile.realm_of(&host).map(str::to_owned) else {
        let place = crate::files::Place::file(case.subject.configuration.clone());
        let found = Finding::new(
            "kerberos/no-realm",
            Severity::Error,
            format!("no realm is known for {shown}"),
        )
        .at(
            &place,
            "no default_realm in [libdefaults], nothing in [domain_realm]",
        )
        .why("Without a realm the library guesses from the domain, or asks nobody.")
        .advise("Add `default_realm = REALM` to [libdefaults].")
        .verified("read in krb5.conf");
        return Step::of(CHECK, vec![found], "");
    };
    case.realm = Some(realm.clone());
    if realm != realm.to_ascii_uppercase() {
        let relation = case.profile.relations.iter().find(|r| r.value == realm);
        let mut found = Finding::new(
            "kerberos/realm-case",
            Severity::Note,
            format!("the realm {realm} has small letters"),
        )
        .why("Realms keep case; by custom they are in capitals, and a slip is the usual reason.")
        .verified("read in krb5.conf");
        if let Some(relation) = relation {
            found = found.at(&relation.place, &relation.text);
        }
        return Step::of(CHECK, vec![found], "");
    }
    Step::clean(CHECK, format!("{shown} is in {realm}"))
}

/// What the KDCs of a realm came to.
#[derive(Default)]
struct Round {
    answered: Vec<String>,
    failures: Vec<(String, String)>,
    /// The KDC's clock less ours, in microseconds, and whose.
    skews: Vec<(String, i64)>,
    wrong_realm: Option<String>,
}

/// 4. A KDC answers, over UDP and TCP; 5. and its clock is ours.
pub(super) fn kdc_and_clock(case: &mut Case<'_>) -> [Step; 2] {
    const KDC: &str = "kerberos/kdc";
    const CLOCK: &str = "kerberos/clock";
    let Some(realm) = case.realm.clone() else {
        let reason = "the realm is not known";
        return [Step::unchecked(KDC, reason), Step::unchecked(CLOCK, reason)];
    };
    let (kdcs, mut findings) = kdcs(case, &realm);
    if kdcs.is_empty() {
        if findings
            .iter()
            .all(|finding| finding.severity < Severity::Error)
        {
            findings.push(no_kdc(&realm));
        }
        return [
            Step::of(KDC, findings, ""),
            Step::unchecked(CLOCK, "no KDC is known"),
        ];
    }
    let mut round = Round::default();
    for kdc in kdcs.iter().take(MAX_KDCS) {
        ask(case, &realm, kdc, &mut round);
    }
    findings.extend(unreached(&round));
    if let Some(other) = &round.wrong_realm {
        findings.push(
            Finding::new(
                "kerberos/wrong-realm",
                Severity::Error,
                format!("the KDC is one of {other}, not of {realm}"),
            )
            .said("KDC", other)
            .why("It has no keys of this realm.")
            .advise(format!(
                "Correct the kdc of {realm} in [realms], or default_realm."
            ))
            .verified("asked the KDC"),
        );
    }
    let kdc = Step::of(
        KDC,
        findings,
        format!("{} answer", round.answered.join(", ")),
    );
    [kdc, clock(case, CLOCK, &round)]
}

fn no_kdc(realm: &str) -> Finding {
    Finding::new(
        "kerberos/no-kdc",
        Severity::Error,
        format!("no KDC of {realm} is known"),
    )
    .said("DNS", &format!("no SRV record _kerberos._udp.{realm}"))
    .why("Nobody can be asked for tickets.")
    .advise(format!(
        "Name one: `{realm} = {{ kdc = HOST }}` in [realms], or SRV records in DNS."
    ))
    .verified("read krb5.conf and asked DNS")
}

/// KDCs of krb5.conf, else of DNS.
fn kdcs(case: &Case<'_>, realm: &str) -> (Vec<Kdc>, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut kdcs = Vec::new();
    for kdc in case.profile.kdcs(realm) {
        match kdc {
            Ok(kdc) => kdcs.push(kdc),
            Err(reason) => findings.push(
                Finding::new("kerberos/kdc-not-asked", Severity::Note, reason)
                    .why("It is left out of what follows.")
                    .verified("read in krb5.conf"),
            ),
        }
    }
    if kdcs.is_empty() && findings.is_empty() {
        let services = ["_kerberos._udp", "_kerberos._tcp"];
        let found = services.iter().find_map(|service| {
            case.around
                .servers_of(&format!("{service}.{realm}"))
                .ok()
                .filter(|s| !s.is_empty())
        });
        let servers = found.unwrap_or_default().into_iter();
        kdcs = servers
            .map(|(host, port)| Kdc {
                host,
                port: if port == 0 { PORT } else { port },
            })
            .collect();
    }
    (kdcs, findings)
}

fn ask(case: &mut Case<'_>, realm: &str, kdc: &Kdc, round: &mut Round) {
    let addresses = match kdc.host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![address]),
        Err(_) => case.around.addresses_of(&kdc.host),
    };
    let addresses = match addresses {
        Ok(addresses) => addresses,
        Err(reason) => return round.failures.push((kdc.host.clone(), reason)),
    };
    let nobody = Principal {
        components: vec![NOBODY.to_owned()],
        realm: realm.to_owned(),
    };
    let granting = Principal::service("krbtgt", realm, realm);
    for address in addresses.into_iter().take(MAX_KDCS) {
        let server = SocketAddr::new(address, kdc.port);
        for (transport, name) in [(Transport::Udp, "UDP"), (Transport::Tcp, "TCP")] {
            let who = format!("{} ({server}, {name})", kdc.host);
            let answer = case.around.ask(
                server,
                transport,
                &as_request(&nobody, &granting, case.around.nonce()),
            );
            match answer.and_then(|answer| Ok((Reply::read(&answer.bytes)?, answer))) {
                Ok((reply, answer)) => {
                    note(&who, realm, &reply, &answer, round);
                    about_host(case, server, transport);
                }
                Err(reason) => round.failures.push((who, reason)),
            }
        }
    }
}

fn note(who: &str, realm: &str, reply: &Reply, answer: &Answer, round: &mut Round) {
    round.answered.push(who.to_owned());
    if let Reply::Error {
        code,
        server_time,
        realm: of,
        ..
    } = reply
    {
        round
            .skews
            .push((who.to_owned(), server_time.saturating_sub(answer.at)));
        if *code == code::WRONG_REALM || of != realm {
            round.wrong_realm = Some(of.clone());
        }
    }
}

/// What the KDC says of the host's own principal: a ticket for itself tells the version of its
/// key. Asked once.
fn about_host(case: &mut Case<'_>, server: SocketAddr, transport: Transport) {
    let Some(principal) = case.principal().filter(|_| case.key.is_none()) else {
        return;
    };
    let answer = case.around.ask(
        server,
        transport,
        &as_request(&principal, &principal, case.around.nonce()),
    );
    case.key = answer
        .ok()
        .and_then(|answer| Reply::read(&answer.bytes).ok());
}

fn unreached(round: &Round) -> Vec<Finding> {
    let all = round.answered.is_empty();
    let severity = if all {
        Severity::Error
    } else {
        Severity::Warning
    };
    let finding = |(who, reason): &(String, String)| {
        Finding::new(
            "kerberos/kdc-unreachable",
            severity,
            format!("no KDC answers at {who}"),
        )
        .said(who.clone(), reason)
        .why(if all {
            "Without a KDC there are no tickets."
        } else {
            "Others answer, but clients try this one too and wait for it; what does not fit \
                 into a datagram needs TCP."
        })
        .advise("Start it, let port 88 pass (UDP and TCP), or take it out of krb5.conf and DNS.")
        .verified("sent it a request")
    };
    round.failures.iter().map(finding).collect()
}

fn clock(case: &Case<'_>, check: &'static str, round: &Round) -> Step {
    let allowed = case.profile.first(&["libdefaults", "clockskew"]);
    let allowed = allowed
        .and_then(|r| r.value.trim_end_matches('s').trim().parse().ok())
        .unwrap_or(CLOCK_SKEW_SECS);
    let Some((who, worst)) = round
        .skews
        .iter()
        .max_by_key(|(_, skew)| skew.saturating_abs())
    else {
        return Step::unchecked(check, "no KDC told its clock");
    };
    let seconds = worst / 1_000_000;
    let direction = if seconds > 0 { "behind" } else { "ahead of" };
    let severity = match seconds.saturating_abs() {
        off if off > allowed => Severity::Error,
        off if off > allowed / 2 => Severity::Warning,
        _ => {
            let millis = worst / 1000;
            return Step::clean(check, format!("{millis} ms from the clock of {who}"));
        }
    };
    let found = Finding::new(
        "kerberos/clock-skew",
        severity,
        format!(
            "this clock is {} s {direction} the KDC's; {allowed} s are allowed",
            seconds.saturating_abs()
        ),
    )
    .said(who.clone(), &format!("its clock less ours: {seconds} s"))
    .why(
        "Tickets and their proofs carry times; outside of the allowed difference they are refused.",
    )
    .advise("Let both run NTP (chrony, ntpd), and set this clock now: chronyc makestep")
    .verified("the KDC's own answer carries its clock");
    Step::of(check, vec![found], "")
}

/// Whether the KDC knows the principal at all.
pub(super) fn is_unknown(reply: &Reply) -> bool {
    matches!(reply, Reply::Error { code, .. } if [code::CLIENT_UNKNOWN, code::SERVER_UNKNOWN].contains(code))
}
