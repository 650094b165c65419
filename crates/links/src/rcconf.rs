//! FreeBSD's `rc.conf` (rc.conf(5)): which links, addresses and routes it asks for.
//!
//! Variables that have nothing to do with links are told in [`RcConf::others`] and left alone;
//! those that have and that cannot be done are errors.

pub(crate) mod routes;
mod shell;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::ifconfig::{self, Target};
use crate::line::{self, Word};
use crate::rcconf::shell::{Assignment, Value};
use crate::{
    Device, ParseError, WantedAddress, WantedBridge, WantedInterface, WantedLagg, WantedLinks,
    WantedVlan, device, hostname_if,
};

/// What a file asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcConf {
    /// The links.
    pub links: WantedLinks,
    /// Whether the packet filter is enabled from the start (`pf`, `pf_enable`), where it says so.
    pub filter: Option<bool>,
    /// Variables that are about something else, in the file's order.
    pub others: Vec<String>,
}

/// Variables about links that cannot be done, with what to do instead.
const REFUSED: [(&str, &str); 9] = [
    ("gif_interfaces", "make the tunnel with `ip tunnel add`"),
    ("gre_interfaces", "make the tunnel with `ip tunnel add`"),
    (
        "autobridge_interfaces",
        "name the bridge's members: ifconfig_bridge0=\"addm IF up\"",
    ),
    ("ifconfig_DEFAULT", "give each interface a line of its own"),
    (
        "ipv6_network_interfaces",
        "give each interface an ifconfig_IF_ipv6",
    ),
    (
        "ipv6_prefix",
        "give the address: ifconfig_IF_ipv6=\"inet6 ADDRESS prefixlen 64\"",
    ),
    (
        "wlans",
        "wireless interfaces are set up by wpa_supplicant or hostapd",
    ),
    (
        "autobridge",
        "name the bridge's members: ifconfig_bridge0=\"addm IF up\"",
    ),
    (
        "ifconfig_DEFAULT_ipv6",
        "give each interface a line of its own",
    ),
];

/// Reads the file.
///
/// # Errors
/// Everything that cannot be carried out, with its place.
pub fn parse(text: &str) -> Result<RcConf, Vec<ParseError>> {
    let (assignments, errors) = shell::read(text);
    let mut reader = Reader {
        assignments: &assignments,
        used: vec![false; assignments.len()],
        names: BTreeMap::new(),
        links: WantedLinks::default(),
        filter: None,
        errors,
    };
    reader.all();
    let mut errors = reader.errors;
    if errors.is_empty() {
        let unused = reader
            .used
            .iter()
            .zip(&assignments)
            .filter(|(used, _)| !**used);
        return Ok(RcConf {
            links: reader.links,
            filter: reader.filter,
            others: unused.map(|(_, a)| a.name.clone()).collect(),
        });
    }
    errors.sort_by_key(|error| (error.line, error.column));
    Err(errors)
}

struct Reader<'a> {
    assignments: &'a [Assignment],
    /// Which of them were about links.
    used: Vec<bool>,
    /// Names of interfaces as variables spell them (`em0_101`), and as they are.
    names: BTreeMap<String, String>,
    links: WantedLinks,
    filter: Option<bool>,
    errors: Vec<ParseError>,
}

impl<'a> Reader<'a> {
    fn all(&mut self) {
        self.refuse();
        self.cloned();
        self.vlans();
        self.physical();
        self.create_args();
        for at in 0..self.links.interfaces.len() {
            self.interface(at);
        }
        self.leave_unlisted();
        self.switches();
        routes::read(self);
        self.stray_aliases();
    }

    /// The value of a variable, which then counts as used.
    fn value(&mut self, name: &str) -> Option<&'a Value> {
        let at = self.assignments.iter().position(|a| a.name == name)?;
        if let Some(used) = self.used.get_mut(at) {
            *used = true;
        }
        self.assignments.get(at).map(|a| &a.value)
    }

    fn refuse(&mut self) {
        for assignment in self.assignments {
            let name = &assignment.name;
            let refused = REFUSED.iter().find(|(refused, _)| {
                name == refused
                    || name
                        .strip_prefix(refused)
                        .is_some_and(|r| r.starts_with('_'))
            });
            let is_off = assignment.value.is_yes() == Some(false);
            if let Some((_, hint)) = refused.filter(|_| !is_off) {
                let error = assignment.error(format!("not supported: {name}"), Some(hint));
                self.errors.push(error);
            }
            if name.starts_with("ifconfig_") && name.ends_with("_name") {
                let error = assignment.error(
                    format!("not supported: {name}"),
                    Some("rename interfaces with a .link file (systemd.link(5))"),
                );
                self.errors.push(error);
            }
        }
    }

    /// `cloned_interfaces`.
    fn cloned(&mut self) {
        let Some(value) = self.value("cloned_interfaces") else {
            return;
        };
        for word in value.words() {
            let made = clone_of(&word).and_then(|device| {
                let name = line::interface_name(&word)?;
                self.add(&word, name, device)
            });
            self.errors.extend(made.err());
        }
    }

    fn add(&mut self, word: &Word<'_>, name: String, device: Device) -> Result<(), ParseError> {
        let spelt = spelling(&name);
        if self.names.insert(spelt, name.clone()).is_some() {
            return Err(word.error(format!("{name} is there twice"), None));
        }
        if device == Device::Bridge {
            self.links.bridges.push(WantedBridge {
                name: name.clone(),
                ..WantedBridge::default()
            });
        }
        self.links.interfaces.push(WantedInterface {
            name,
            device,
            ..WantedInterface::default()
        });
        Ok(())
    }

    /// `vlans_IF`: numbers, or names whose `create_args_NAME` has the number.
    fn vlans(&mut self) {
        for assignment in self.assignments {
            let Some(parent) = assignment.name.strip_prefix("vlans_") else {
                continue;
            };
            self.value(&assignment.name);
            let parent = self.names.get(parent).cloned().unwrap_or(parent.to_owned());
            for word in assignment.value.words() {
                let made = vlan_of(&parent, &word)
                    .and_then(|(name, vlan)| self.add(&word, name, Device::Vlan(vlan)));
                self.errors.extend(made.err());
            }
        }
    }

    /// Interfaces that are there by themselves, known by their lines.
    fn physical(&mut self) {
        const PREFIXES: [&str; 3] = ["ifconfig_", "ipv4_addrs_", "ipv6_ifconfig_"];
        let mut found = Vec::new();
        for assignment in self.assignments {
            let rest = PREFIXES
                .iter()
                .find_map(|prefix| assignment.name.strip_prefix(prefix));
            let Some(name) = rest.map(without_suffix) else {
                continue;
            };
            if self.names.contains_key(name) || name == "DEFAULT" {
                continue;
            }
            self.names.insert(name.to_owned(), name.to_owned());
            match line::check_name(name) {
                Ok(()) => found.push(WantedInterface {
                    name: name.to_owned(),
                    ..WantedInterface::default()
                }),
                Err(error) => {
                    let hint = error.hint.as_deref();
                    self.errors.push(assignment.error(error.message, hint));
                }
            }
        }
        // They come up before what is made of them.
        found.append(&mut self.links.interfaces);
        self.links.interfaces = found;
    }

    fn create_args(&mut self) {
        for at in 0..self.links.interfaces.len() {
            let name = self.links.interfaces.get(at).map(|i| spelling(&i.name));
            let name = name.unwrap_or_default();
            if let Some(value) = self.value(&format!("create_args_{name}")) {
                self.arguments(at, &value.words());
            }
        }
    }

    fn arguments(&mut self, at: usize, words: &[Word<'_>]) {
        let Some(interface) = self.links.interfaces.get_mut(at) else {
            return;
        };
        let bridge = if ifconfig::is_bridge(interface) {
            let mut bridges = self.links.bridges.iter_mut();
            bridges.find(|bridge| bridge.name == interface.name)
        } else {
            None
        };
        let mut target = Target { interface, bridge };
        ifconfig::arguments(&mut target, words, &mut self.errors);
    }

    fn interface(&mut self, at: usize) {
        let Some(interface) = self.links.interfaces.get(at) else {
            return;
        };
        let name = spelling(&interface.name);
        if let Some(value) = self.value(&format!("ifconfig_{name}")) {
            let words: Vec<Word<'_>> = value
                .words()
                .into_iter()
                .filter(|word| !word.text.eq_ignore_ascii_case("NOAUTO"))
                .collect();
            if words.len() < value.words().len() {
                return; // NOAUTO: not brought up at the start
            }
            self.arguments(at, &words);
        }
        if let Some(value) = self.value(&format!("ipv4_addrs_{name}")) {
            self.ranges(at, &value.words());
        }
        for number in 0.. {
            let Some(value) = self.value(&format!("ifconfig_{name}_alias{number}")) else {
                break;
            };
            self.alias(at, &value.words());
        }
        if let Some(value) = self.value(&format!("ifconfig_{name}_aliases")) {
            self.aliases(at, &value.words());
        }
        self.ipv6(at, &name);
        for suffix in ["descr", "description"] {
            if let Some(value) = self.value(&format!("ifconfig_{name}_{suffix}"))
                && let Some(interface) = self.links.interfaces.get_mut(at)
            {
                interface.description = Some(value.whole().text.to_owned());
            }
        }
    }

    fn ipv6(&mut self, at: usize, name: &str) {
        if let Some(value) = self.value(&format!("ifconfig_{name}_ipv6")) {
            let words = value.words();
            let text = |nth: usize| words.get(nth).map(|word| word.text);
            if text(0) == Some("inet6") && text(1) == Some("accept_rtadv") {
                let hint = "Linux accepts router advertisements by itself: leave the line out";
                let error = words
                    .get(1)
                    .map(|word| word.error("not supported: accept_rtadv", Some(hint)));
                self.errors.extend(error);
            } else {
                self.arguments(at, &words);
            }
        }
        // Up to FreeBSD 8: the address alone.
        if let Some(value) = self.value(&format!("ipv6_ifconfig_{name}")) {
            self.arguments(at, &value.words());
        }
    }

    /// One `ifconfig_IF_aliasN`.
    fn alias(&mut self, at: usize, words: &[Word<'_>]) {
        let before = self.addresses(at);
        self.arguments(at, words);
        if let Some(interface) = self.links.interfaces.get_mut(at) {
            for address in interface.addresses.iter_mut().skip(before) {
                address.alias = true;
            }
        }
    }

    fn addresses(&self, at: usize) -> usize {
        let interface = self.links.interfaces.get(at);
        interface.map_or(0, |interface| interface.addresses.len())
    }

    /// `ifconfig_IF_aliases`: several, each beginning with its family; of IPv4 a range as well.
    fn aliases(&mut self, at: usize, words: &[Word<'_>]) {
        let starts = |word: &Word<'_>| matches!(word.text, "inet" | "inet6");
        let mut rest = words;
        while !rest.is_empty() {
            let len = rest
                .iter()
                .skip(1)
                .position(starts)
                .map_or(rest.len(), |n| n + 1);
            let (one, others) = rest.split_at(len);
            match one {
                [family, range] if family.text == "inet" && range.text.contains('-') => {
                    self.ranges(at, std::slice::from_ref(range));
                }
                _ => self.alias(at, one),
            }
            rest = others;
        }
    }

    /// `ipv4_addrs_IF`: `192.0.2.5-23/24` stands for all addresses from .5 to .23.
    fn ranges(&mut self, at: usize, words: &[Word<'_>]) {
        for word in words {
            match range(word) {
                Ok(mut addresses) => {
                    if let Some(interface) = self.links.interfaces.get_mut(at) {
                        interface.up = true;
                        if let Some(first) = addresses.first_mut() {
                            first.alias = !interface.addresses.is_empty();
                        }
                        interface.addresses.append(&mut addresses);
                    }
                }
                Err(error) => self.errors.push(error),
            }
        }
    }

    /// `network_interfaces`: what is not in the list is not touched.
    fn leave_unlisted(&mut self) {
        let Some(value) = self.value("network_interfaces") else {
            return;
        };
        let words = value.words();
        let listed: Vec<&str> = words.iter().map(|word| word.text).collect();
        if listed.iter().any(|name| name.eq_ignore_ascii_case("auto")) {
            return;
        }
        self.links.interfaces.retain(|interface| {
            interface.device != Device::Physical || listed.contains(&interface.name.as_str())
        });
    }

    fn switches(&mut self) {
        self.links.forward_v4 = self.switch("gateway_enable");
        self.links.forward_v6 = self.switch("ipv6_gateway_enable");
        let of_openbsd = self.switch("pf");
        self.filter = self.switch("pf_enable").or(of_openbsd);
    }

    fn switch(&mut self, name: &str) -> Option<bool> {
        let value = self.value(name)?;
        let answer = value.is_yes();
        if answer.is_none() {
            let word = value.whole();
            let text = word.text.escape_debug();
            let error = word.error(format!("expected YES or NO, found '{text}'"), None);
            self.errors.push(error);
        }
        answer
    }

    /// Aliases behind a gap in the numbers, which rc(8) never sees.
    fn stray_aliases(&mut self) {
        for (assignment, used) in self.assignments.iter().zip(&self.used) {
            let name = &assignment.name;
            if !*used && name.starts_with("ifconfig_") && name.contains("_alias") {
                let error = assignment.error(
                    format!("{name} has no effect: the numbers before it have a gap"),
                    Some("aliases are numbered from 0 without a gap"),
                );
                self.errors.push(error);
            }
        }
    }
}

/// The kind of device that a name in `cloned_interfaces` stands for.
fn clone_of(word: &Word<'_>) -> Result<Device, ParseError> {
    let (kind, _) = word.text.split_at(
        word.text
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(word.text.len()),
    );
    if let Some((parent, id)) = word.text.rsplit_once('.') {
        let id = Word { text: id, ..*word };
        return Ok(Device::Vlan(WantedVlan {
            parent: parent.to_owned(),
            id: device::vlan_id(&id)?,
            priority: 0,
        }));
    }
    match kind {
        "lagg" => Ok(Device::Lagg(WantedLagg::default())),
        "vlan" => Ok(Device::Vlan(WantedVlan::default())),
        "bridge" => Ok(Device::Bridge),
        _ => Err(word.error(
            format!("not supported: cloning '{}'", word.text.escape_debug()),
            Some("lagg, vlan and bridge can be made"),
        )),
    }
}

fn vlan_of(parent: &str, word: &Word<'_>) -> Result<(String, WantedVlan), ParseError> {
    let numbered = word.text.starts_with(|c: char| c.is_ascii_digit());
    let (name, id) = if numbered {
        (format!("{parent}.{}", word.text), device::vlan_id(word)?)
    } else {
        (word.text.to_owned(), 0)
    };
    line::check_name(&name).map_err(|error| word.error(error.message, error.hint.as_deref()))?;
    Ok((
        name,
        WantedVlan {
            parent: parent.to_owned(),
            id,
            priority: 0,
        },
    ))
}

fn range(word: &Word<'_>) -> Result<Vec<WantedAddress>, ParseError> {
    let (hosts, len) = word.text.split_once('/').unwrap_or((word.text, "32"));
    let prefix_len = hostname_if::length(word, len, 32)?;
    let (first, last) = hosts.split_once('-').unwrap_or((hosts, ""));
    let first_word = Word {
        text: first,
        ..*word
    };
    let first = hostname_if::ipv4(&first_word, "an IPv4 address")?;
    let [a, b, c, from] = first.octets();
    let to = match last {
        "" => Some(from),
        text => text.parse::<u8>().ok().filter(|to| *to >= from),
    };
    let to = to.ok_or_else(|| {
        word.error(
            format!(
                "'{}' is no end of a range of addresses",
                last.escape_debug()
            ),
            Some("for example 192.0.2.5-23/24"),
        )
    })?;
    let one = |host: u8| WantedAddress {
        address: IpAddr::V4(Ipv4Addr::new(a, b, c, host)),
        prefix_len,
        broadcast: None,
        alias: host != from,
    };
    Ok((from..=to).map(one).collect())
}

/// `em0` of `em0_alias3`, `em0_ipv6` and the like.
fn without_suffix(name: &str) -> &str {
    for suffix in ["_aliases", "_ipv6", "_name", "_descr", "_description"] {
        if let Some(name) = name.strip_suffix(suffix) {
            return name;
        }
    }
    let digits = name.trim_end_matches(|c: char| c.is_ascii_digit());
    digits.strip_suffix("_alias").unwrap_or(name)
}

/// A name as variables spell it (rc.conf(5)).
fn spelling(name: &str) -> String {
    name.replace(['.', '-', '/', '+'], "_")
}

#[cfg(test)]
mod tests;
