//! ifconfig(8) of FreeBSD (6.3 to today) and OpenBSD's trunks.

use std::collections::BTreeMap;

use super::{Bundle, BundlePort};

const MASTER: u32 = 0x01;
const ACTIVE: u32 = 0x04;
/// `ACTIVE,COLLECTING,DISTRIBUTING`.
const IN_USE: u32 = 0x1c;

struct Lagg<'t> {
    name: &'t str,
    protocol: &'t str,
    ports: Vec<(&'t str, u32)>,
}

/// Reads the output for all interfaces, or for the laggs alone. It may be indented as a whole.
#[must_use]
pub fn read(text: &str) -> Vec<Bundle> {
    let mut laggs: Vec<Lagg<'_>> = Vec::new();
    let mut links: BTreeMap<&str, bool> = BTreeMap::new();
    let mut interface = "";
    let indent = common_indent(text);
    for line in text.lines() {
        let line = line.strip_prefix(indent).unwrap_or(line);
        if !line.starts_with(char::is_whitespace) {
            interface = line.split_once(": ").map_or("", |(name, _)| name);
            continue;
        }
        let line = line.trim();
        if let Some(status) = line.strip_prefix("status: ") {
            links.insert(interface, status == "active");
        }
        // Lines of which nobody knows whose they are make no lagg.
        if let Some(protocol) = protocol(line).filter(|_| !interface.is_empty()) {
            laggs.push(Lagg {
                name: interface,
                protocol,
                ports: Vec::new(),
            });
        } else if let Some(lagg) = laggs.last_mut().filter(|lagg| lagg.name == interface) {
            lagg.ports.extend(port(line));
        }
    }
    laggs.iter().map(|lagg| bundle(lagg, &links)).collect()
}

/// The blanks that every line begins with; lines of blanks do not count.
fn common_indent(text: &str) -> &str {
    let blanks =
        |line: &'_ str| -> usize { line.len() - line.trim_start_matches([' ', '\t']).len() };
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let first = lines().next().unwrap_or_default();
    let whole = &first[..blanks(first)];
    let common = lines().map(|line| {
        let pairs = line.chars().zip(whole.chars());
        pairs.take_while(|(own, first)| own == first).count()
    });
    &whole[..common.min().unwrap_or_default()]
}

fn protocol(line: &str) -> Option<&str> {
    let line = line
        .strip_prefix("lagg: ")
        .or_else(|| line.strip_prefix("trunk: "))
        .unwrap_or(line);
    let rest = line
        .strip_prefix("laggproto ")
        .or_else(|| line.strip_prefix("trunkproto "))?;
    rest.split_whitespace().next()
}

/// `laggport: em1 flags=5<…>`, `laggport em0 =5<…>`, `trunkport em2 master,active`, `em2 port
/// master,active`.
fn port(line: &str) -> Option<(&str, u32)> {
    if let Some(rest) = line.strip_prefix("laggport") {
        let (name, rest) = rest.trim_start_matches([':', ' ']).split_once(' ')?;
        let (_, flags) = rest.split_once('=')?;
        let digits = flags.split('<').next()?;
        return Some((name, u32::from_str_radix(digits.trim(), 16).ok()?));
    }
    let (name, words) = match line.strip_prefix("trunkport ") {
        Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
        None => line.split_once(" port ")?,
    };
    let bit = |word: &str, bit: u32| {
        if words.split(',').any(|w| w.trim() == word) {
            bit
        } else {
            0
        }
    };
    let used = bit("collecting", 0x08) | bit("distributing", 0x10);
    Some((name, bit("master", MASTER) | bit("active", ACTIVE) | used))
}

fn bundle(lagg: &Lagg<'_>, links: &BTreeMap<&str, bool>) -> Bundle {
    let one_at_a_time = lagg.protocol == "failover";
    let lacp = lagg.protocol == "lacp";
    let port = |(name, flags): &(&str, u32)| {
        let carries = if lacp {
            flags & IN_USE == IN_USE
        } else {
            flags & ACTIVE != 0
        };
        let master = one_at_a_time && flags & MASTER != 0;
        // A master that does not carry has no link; about a standby only its own block tells.
        let guess = carries || lacp || (one_at_a_time && !master);
        let link = links.get(name).copied().unwrap_or(guess);
        BundlePort {
            name: (*name).to_owned(),
            link: link && (guess || !one_at_a_time || carries),
            carries,
            master,
            faults: if lacp && link && !carries {
                vec!["does not collect and distribute".to_owned()]
            } else {
                Vec::new()
            },
        }
    };
    Bundle {
        name: lagg.name.to_owned(),
        mode: lagg.protocol.to_owned(),
        one_at_a_time,
        ports: lagg.ports.iter().map(port).collect(),
        ..Bundle::default()
    }
}
