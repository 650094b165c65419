//! Devices that are made of others: aggregated links and VLANs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::line::{self, Word};
use crate::{ParseError, WantedInterface, WantedLinks, lacp};

/// VLAN numbers that can be used (IEEE 802.1Q: 0 and 4095 are reserved).
const VLAN_IDS: std::ops::RangeInclusive<u32> = 1..=4094;

/// What kind of interface it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// It is there by itself.
    #[default]
    Physical,
    /// A bridge, described by a [`crate::WantedBridge`] of the same name.
    Bridge,
    /// lagg(4), trunk(4) or aggr(4).
    Lagg(WantedLagg),
    /// vlan(4).
    Vlan(WantedVlan),
}

/// How aggregated links share the traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// The first port that works carries all.
    #[default]
    Failover,
    /// IEEE 802.1AX.
    Lacp,
    /// Each flow has its port.
    LoadBalance,
    /// The ports take turns.
    RoundRobin,
    /// Each frame leaves by all ports.
    Broadcast,
    /// Nothing passes.
    None,
}

impl Protocol {
    const NAMES: [(&'static str, Self); 6] = [
        ("failover", Self::Failover),
        ("lacp", Self::Lacp),
        ("loadbalance", Self::LoadBalance),
        ("roundrobin", Self::RoundRobin),
        ("broadcast", Self::Broadcast),
        ("none", Self::None),
    ];

    /// The protocol of this name; `fec` (FreeBSD up to 8) is load balancing without negotiation.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if name == "fec" {
            return Some(Self::LoadBalance);
        }
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, protocol)| *protocol)
    }

    /// Its name, as ifconfig(8) has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, protocol)| *protocol == self);
        found.map_or("none", |(name, _)| *name)
    }
}

/// What of a frame decides which port it leaves by (`lagghash`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashLayers {
    /// MAC addresses and the VLAN.
    pub l2: bool,
    /// IP addresses.
    pub l3: bool,
    /// Ports of TCP, UDP and SCTP.
    pub l4: bool,
}

impl Default for HashLayers {
    fn default() -> Self {
        Self {
            l2: true,
            l3: true,
            l4: true,
        }
    }
}

impl HashLayers {
    /// `l2,l3,l4`.
    #[must_use]
    pub fn text(self) -> String {
        let names = [(self.l2, "l2"), (self.l3, "l3"), (self.l4, "l4")];
        let set: Vec<&str> = names
            .iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| *name)
            .collect();
        set.join(",")
    }
}

/// Aggregated links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedLagg {
    /// How they share the traffic.
    pub protocol: Protocol,
    /// The ports in the files' order; the first one is the master of `failover`.
    pub ports: Vec<String>,
    /// What decides about the port.
    pub hash: HashLayers,
    /// `lacp_strict`: a link is used only when its partner is heard.
    pub strict: bool,
    /// `lacp_fast_timeout`: the partner is asked to send each second.
    pub fast: bool,
    /// `lacpmode active`: LACPDUs are sent without being asked.
    pub active: bool,
    /// `rr_limit`: frames that a port sends before it is the next one's turn.
    pub round_robin_frames: u32,
}

impl Default for WantedLagg {
    fn default() -> Self {
        Self {
            protocol: Protocol::default(),
            ports: Vec::new(),
            hash: HashLayers::default(),
            strict: true,
            fast: true,
            active: true,
            round_robin_frames: 1,
        }
    }
}

/// A VLAN of another interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedVlan {
    /// The interface that carries it; empty until it was named.
    pub parent: String,
    /// Its number.
    pub id: u16,
    /// Priority of what is sent (IEEE 802.1p).
    pub priority: u8,
}

/// Words that belong to a device, in their FreeBSD and OpenBSD spellings, for messages.
pub(crate) const KNOWN: &str = "laggproto, laggport, lagghash, lacp_strict, lacp_fast_timeout, \
    rr_limit, trunkproto, trunkport, lacpmode, lacptimeout, vlan, vlandev, vnetid, parent, vlanpcp";

/// Reads an option of a device. False if `word` is none.
pub(crate) fn option<'w, 't: 'w>(
    interface: &mut WantedInterface,
    word: &Word<'_>,
    words: &mut impl Iterator<Item = &'w Word<'t>>,
) -> Result<bool, ParseError> {
    match word.text {
        "laggproto" | "trunkproto" => {
            let name = line::argument(word, words, "a protocol")?;
            lagg(interface, word)?.protocol = protocol(name)?;
        }
        "laggport" | "trunkport" => {
            let port = line::argument(word, words, "an interface")?;
            add_port(lagg(interface, word)?, port)?;
        }
        "-laggport" | "-trunkport" => {
            let port = line::argument(word, words, "an interface")?;
            remove_port(lagg(interface, word)?, port)?;
        }
        "lagghash" => {
            let layers = line::argument(word, words, "l2, l3, l4 or several with commas")?;
            lagg(interface, word)?.hash = hash(layers)?;
        }
        "lacp_strict" => lagg(interface, word)?.strict = true,
        "-lacp_strict" => lagg(interface, word)?.strict = false,
        "lacp_fast_timeout" => lagg(interface, word)?.fast = true,
        "-lacp_fast_timeout" => lagg(interface, word)?.fast = false,
        "lacpmode" => {
            let mode = line::argument(word, words, "active or passive")?;
            lagg(interface, word)?.active = one_of(mode, ["active", "passive"])?;
        }
        "lacptimeout" => {
            let speed = line::argument(word, words, "fast or slow")?;
            lagg(interface, word)?.fast = one_of(speed, ["fast", "slow"])?;
        }
        "rr_limit" => {
            let frames = line::argument(word, words, "a number of frames")?;
            lagg(interface, word)?.round_robin_frames =
                line::number(frames, "a number of frames")?.max(1);
        }
        "vlan" | "vnetid" => {
            let id = line::argument(word, words, "a VLAN number")?;
            vlan(interface, word)?.id = vlan_id(id)?;
        }
        "vlandev" | "parent" => {
            let parent = line::argument(word, words, "an interface")?;
            vlan(interface, word)?.parent = line::interface_name(parent)?;
        }
        "vlanpcp" | "vlanprio" => {
            let priority = line::argument(word, words, "a priority of 0 to 7")?;
            vlan(interface, word)?.priority = vlan_priority(priority)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn lagg<'i>(
    interface: &'i mut WantedInterface,
    word: &Word<'_>,
) -> Result<&'i mut WantedLagg, ParseError> {
    if interface.device == Device::Physical {
        interface.device = Device::Lagg(WantedLagg {
            protocol: usual_protocol(&interface.name),
            ..WantedLagg::default()
        });
    }
    match &mut interface.device {
        Device::Lagg(lagg) => Ok(lagg),
        Device::Physical | Device::Bridge | Device::Vlan(_) => {
            Err(misplaced(word, &interface.name, "aggregated links"))
        }
    }
}

/// The protocol of a device whose file names none: trunk(4), aggr(4), lagg(4).
fn usual_protocol(name: &str) -> Protocol {
    match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "trunk" => Protocol::RoundRobin,
        "aggr" => Protocol::Lacp,
        _ => Protocol::Failover,
    }
}

fn vlan<'i>(
    interface: &'i mut WantedInterface,
    word: &Word<'_>,
) -> Result<&'i mut WantedVlan, ParseError> {
    if interface.device == Device::Physical {
        interface.device = Device::Vlan(WantedVlan::default());
    }
    match &mut interface.device {
        Device::Vlan(vlan) => Ok(vlan),
        Device::Physical | Device::Bridge | Device::Lagg(_) => {
            Err(misplaced(word, &interface.name, "a VLAN"))
        }
    }
}

fn misplaced(word: &Word<'_>, name: &str, what: &str) -> ParseError {
    word.error(
        format!(
            "'{}' is for {what}, and {name} is something else",
            word.text
        ),
        Some("each device has a name and a line of its own"),
    )
}

fn protocol(word: &Word<'_>) -> Result<Protocol, ParseError> {
    Protocol::named(word.text).ok_or_else(|| {
        word.error(
            format!("invalid aggregation protocol: {}", word.text.escape_debug()),
            Some("failover, lacp, loadbalance, roundrobin, broadcast or none"),
        )
    })
}

fn add_port(lagg: &mut WantedLagg, port: &Word<'_>) -> Result<(), ParseError> {
    let name = line::interface_name(port)?;
    if lagg.ports.contains(&name) {
        return Err(port.error(format!("{name} is a port already"), None));
    }
    if lagg.ports.len() == lacp::MAX_PORTS {
        let most = lacp::MAX_PORTS;
        return Err(port.error(format!("more than {most} ports"), None));
    }
    lagg.ports.push(name);
    Ok(())
}

fn remove_port(lagg: &mut WantedLagg, port: &Word<'_>) -> Result<(), ParseError> {
    let at = lagg.ports.iter().position(|name| name == port.text);
    let at =
        at.ok_or_else(|| port.error(format!("{} is not a port", port.text.escape_debug()), None))?;
    lagg.ports.remove(at);
    Ok(())
}

fn hash(word: &Word<'_>) -> Result<HashLayers, ParseError> {
    let mut layers = HashLayers {
        l2: false,
        l3: false,
        l4: false,
    };
    for layer in word.text.split(',') {
        match layer {
            "l2" => layers.l2 = true,
            "l3" => layers.l3 = true,
            "l4" => layers.l4 = true,
            other => {
                return Err(word.error(
                    format!("invalid lagghash option: {}", other.escape_debug()),
                    Some("l2, l3, l4 or several of them with commas"),
                ));
            }
        }
    }
    Ok(layers)
}

/// Whether it is the first of the two.
fn one_of(word: &Word<'_>, names: [&str; 2]) -> Result<bool, ParseError> {
    let [first, second] = names;
    if word.text == first || word.text == second {
        return Ok(word.text == first);
    }
    Err(word.error(
        format!(
            "expected {first} or {second}, found '{}'",
            word.text.escape_debug()
        ),
        None,
    ))
}

/// A VLAN's number.
pub(crate) fn vlan_id(word: &Word<'_>) -> Result<u16, ParseError> {
    let id = line::number(word, "a VLAN number")?;
    u16::try_from(id)
        .ok()
        .filter(|_| VLAN_IDS.contains(&id))
        .ok_or_else(|| {
            word.error(
                format!("{id} is no VLAN number"),
                Some("a number of 1 to 4094"),
            )
        })
}

fn vlan_priority(word: &Word<'_>) -> Result<u8, ParseError> {
    let priority = line::number(word, "a priority of 0 to 7")?;
    u8::try_from(priority)
        .ok()
        .filter(|priority| *priority < 8)
        .ok_or_else(|| word.error(format!("{priority} is no priority of 0 to 7"), None))
}

/// What is wrong with devices that are made of others, one sentence each.
pub(crate) fn check(wanted: &WantedLinks, problems: &mut Vec<String>) {
    let mut port_of = BTreeMap::<&str, &str>::new();
    for bridge in &wanted.bridges {
        for member in &bridge.members {
            port_of.insert(member, &bridge.name);
        }
    }
    for interface in &wanted.interfaces {
        match &interface.device {
            Device::Lagg(lagg) => {
                if lagg.ports.is_empty() {
                    problems.push(format!(
                        "{} has no ports: add `laggport IF`",
                        interface.name
                    ));
                }
                check_ports(wanted, &interface.name, lagg, &mut port_of, problems);
            }
            Device::Vlan(vlan) => check_vlan(&interface.name, vlan, problems),
            Device::Physical | Device::Bridge => {}
        }
    }
    check_loops(wanted, problems);
}

fn check_ports<'w>(
    wanted: &'w WantedLinks,
    name: &'w str,
    lagg: &'w WantedLagg,
    port_of: &mut BTreeMap<&'w str, &'w str>,
    problems: &mut Vec<String>,
) {
    for port in &lagg.ports {
        if let Some(other) = port_of.insert(port, name) {
            problems.push(format!("{port} is a port of {other} and of {name}"));
        }
        let Some(interface) = wanted.interfaces.iter().find(|i| i.name == *port) else {
            continue;
        };
        if matches!(interface.device, Device::Lagg(_)) {
            problems.push(format!("{port}, a port of {name}, is itself made of links"));
        }
        if !interface.addresses.is_empty() {
            problems.push(format!("{port} has an address and is a port of {name}"));
        }
    }
}

fn check_vlan(name: &str, vlan: &WantedVlan, problems: &mut Vec<String>) {
    if vlan.parent.is_empty() {
        problems.push(format!("{name} has no parent: add `vlandev IF`"));
    }
    if vlan.id == 0 {
        problems.push(format!("{name} has no number: add `vlan N`"));
    }
}

/// Interfaces that carry themselves.
fn check_loops(wanted: &WantedLinks, problems: &mut Vec<String>) {
    let under = |name: &str| -> Vec<&str> {
        let device = wanted.interfaces.iter().find(|i| i.name == name);
        match device.map(|i| &i.device) {
            Some(Device::Lagg(lagg)) => lagg.ports.iter().map(String::as_str).collect(),
            Some(Device::Vlan(vlan)) => vec![vlan.parent.as_str()],
            Some(Device::Bridge | Device::Physical) | None => {
                let bridge = wanted.bridges.iter().find(|b| b.name == name);
                bridge.map_or_else(Vec::new, |b| b.members.iter().map(String::as_str).collect())
            }
        }
    };
    let made = |interface: &&WantedInterface| interface.device != Device::Physical;
    for interface in wanted.interfaces.iter().filter(made) {
        let mut seen = Vec::new();
        let mut next = under(&interface.name);
        while let Some(name) = next.pop() {
            if name == interface.name {
                problems.push(format!("{name} is made of itself"));
                break;
            }
            if !seen.contains(&name) {
                seen.push(name);
                next.extend(under(name));
            }
        }
    }
}

/// The interfaces so that each comes after those it is made of; the order of the files else.
#[must_use]
pub(crate) fn in_order(interfaces: &[WantedInterface]) -> Vec<&WantedInterface> {
    let rank = |interface: &&WantedInterface| match &interface.device {
        Device::Physical => 0,
        Device::Lagg(_) => 1,
        Device::Vlan(vlan) => 2 + depth(interfaces, &vlan.parent),
        Device::Bridge => usize::MAX,
    };
    let mut ordered: Vec<&WantedInterface> = interfaces.iter().collect();
    ordered.sort_by_key(rank);
    ordered
}

/// How many VLANs are below `name`; loops end.
fn depth(interfaces: &[WantedInterface], name: &str) -> usize {
    let mut name = name;
    for depth in 0..interfaces.len() {
        let found = interfaces.iter().find(|i| i.name == name);
        let Some(Device::Vlan(vlan)) = found.map(|i| &i.device) else {
            return depth;
        };
        name = &vlan.parent;
    }
    interfaces.len()
}
