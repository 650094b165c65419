//! The machine that filters: what of its kernel and its links makes rules work badly, or not.

use serde::Serialize;

use crate::files::Place;
use crate::finding::{Finding, Severity, Step};

/// Smallest MTU with which IPv6 works (RFC 8200, 5).
const MIN_IPV6_MTU: u32 = 1280;

/// An interface as the kernel tells it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that the kernel tells"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Whether it is set up (`IFF_UP`).
    pub up: bool,
    /// Whether it has a carrier; none when the kernel does not say.
    pub carrier: Option<bool>,
    /// MTU in bytes.
    pub mtu: u32,
    /// The bridge it is a member of.
    pub bridge: Option<String>,
    /// Whether it is a bridge.
    pub is_bridge: bool,
    /// Whether it is the bridge that is down to hold the ports of a lagg of `weighbridge links run`:
    /// nothing is to pass it.
    pub holds_ports: bool,
    /// Whether it is the loopback.
    pub is_loopback: bool,
    /// Whether it has addresses other than link-local ones.
    pub has_addresses: bool,
    /// `rp_filter`: 0 none, 1 strict, 2 loose; the larger of its own and that of all.
    pub rp_filter: Option<u32>,
    /// Offloads that are on, by ethtool's names.
    pub offloads: Vec<String>,
    /// `multicast_snooping` of a bridge that nobody asks as a querier.
    pub snooping_without_querier: bool,
}

/// What a kernel does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MissingFeature {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// How that is known.
    pub verified: String,
}

/// What came of asking the kernel for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Trial {
    /// It made one.
    Made,
    /// It made none, for this reason.
    Refused(String),
    /// It was not asked, for this reason.
    Untried(String),
}

/// A kind of device that the kernel may make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceKind {
    /// Its name.
    pub name: &'static str,
    /// Whether the kernel has it, by what its files tell.
    pub found: bool,
    /// Whether that is so.
    pub trial: Trial,
}

impl DeviceKind {
    fn describe(&self) -> String {
        let (how, has) = match &self.trial {
            Trial::Made => ("tried".to_owned(), true),
            Trial::Refused(reason) => (format!("tried ({reason})"), false),
            Trial::Untried(reason) => (format!("looked up, not tried ({reason})"), self.found),
        };
        let who = if has {
            "the kernel makes them"
        } else {
            "`weighbridge links run` makes them"
        };
        format!("{}: {how}, {who}", self.name)
    }

    /// A kernel that is believed to have it is relied upon.
    fn fault(&self) -> Option<Finding> {
        let Trial::Refused(reason) = &self.trial else {
            return None;
        };
        let finding = Finding::new(
            "links/device-refused",
            Severity::Warning,
            format!("this kernel has {}, and makes no such device", self.name),
        )
        .said("kernel", reason)
        .why("`weighbridge links` leaves laggs and VLANs to a kernel that can make them: they will fail.")
        .advise("Look at dmesg; a container may lack the right, or the kernel its module's settings.")
        .verified("asked for one in a network namespace of its own");
        self.found.then_some(finding)
    }
}

fn devices(machine: &Machine) -> Step {
    let kinds = machine.devices.iter();
    let told: Vec<String> = kinds.clone().map(DeviceKind::describe).collect();
    let findings = kinds.filter_map(DeviceKind::fault).collect();
    Step::of("links/devices", findings, told.join("; "))
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// Interfaces in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// `net.ipv4.ip_forward`.
    pub forward_v4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`.
    pub forward_v6: Option<bool>,
    /// `net.bridge.bridge-nf-call-iptables`, and the kernel's own filter has tables: bridged packets
    /// go through it.
    pub bridge_netfilter: Option<bool>,
    /// What this program needs of the kernel and does not find.
    pub missing_features: Vec<MissingFeature>,
    /// Laggs and VLANs of the kernel's own.
    pub devices: Vec<DeviceKind>,
    /// What could not be looked at.
    pub unknown: Vec<String>,
}

impl Machine {
    fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.name == name)
    }

    /// Bridges that packets pass.
    fn bridges(&self) -> impl Iterator<Item = &Interface> {
        let all = self.interfaces.iter();
        all.filter(|interface| interface.is_bridge && !interface.holds_ports)
    }

    fn members(&self, bridge: &Interface) -> impl Iterator<Item = &Interface> {
        let all = self.interfaces.iter();
        all.filter(|interface| interface.bridge.as_ref() == Some(&bridge.name))
    }
}

/// What the rules and the start-up files want of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The rules translate addresses of, or route, packets between interfaces.
    pub routes: bool,
    /// The first rule that does.
    pub routes_at: Option<(Place, String)>,
    /// Rules with `route-to` or `reply-to`: answers may come back elsewhere.
    pub policy_routes: bool,
    /// Interfaces that are filtered; empty when all are.
    pub filtered: Vec<String>,
    /// Bridges of start-up files with their members, and the files.
    pub bridges: Vec<(Place, String, Vec<String>)>,
    /// What `weighbridge run` makes where it is not there: that it is missing is no fault.
    pub made: Vec<String>,
    /// Interfaces of start-up files, with the MTU they ask for.
    pub interfaces: Vec<(Place, String, Option<u32>)>,
}

impl Wanted {
    /// Whether it is not there yet, and will be.
    fn is_to_be_made(&self, machine: &Machine, name: &str) -> bool {
        machine.interface(name).is_none() && self.made.iter().any(|made| made == name)
    }
}

/// Checks the machine.
#[must_use]
pub fn check(machine: &Machine, wanted: &Wanted) -> Vec<Step> {
    let mut steps = vec![
        kernel(machine),
        devices(machine),
        loopback(machine),
        bridges(machine, wanted),
        wanted_links(machine, wanted),
        mtu(machine),
        offloads(machine, wanted),
        reverse_path(machine, wanted),
        forwarding(machine, wanted),
    ];
    steps.extend(
        machine
            .unknown
            .iter()
            .map(|reason| Step::unchecked("links/machine", reason.clone())),
    );
    steps
}

fn system(path: impl Into<String>) -> Place {
    Place::file(path)
}

fn kernel(machine: &Machine) -> Step {
    let finding = |missing: &MissingFeature| {
        let name = &missing.name;
        Finding::new(
            "links/kernel-feature",
            Severity::Error,
            format!("this kernel has no {name}"),
        )
        .said("kernel", name)
        .why(missing.purpose.clone())
        .advise("Boot a kernel of 6.6 or newer that has it, or load its module.")
        .verified(missing.verified.clone())
    };
    let findings = machine.missing_features.iter().map(finding).collect();
    Step::of(
        "links/kernel",
        findings,
        "the kernel has what the data path needs",
    )
}

fn loopback(machine: &Machine) -> Step {
    let down = machine.interfaces.iter().find(|i| i.is_loopback && !i.up);
    let finding = down.map(|interface| {
        Finding::new(
            "links/loopback-down",
            Severity::Warning,
            format!("{} is down", interface.name),
        )
        .said("kernel", &format!("{} is down", interface.name))
        .why(
            "Nothing on this machine can connect to the machine itself, by whatever address: not \
                  a web server to its own listener, not a program to its resolver.",
        )
        .advise(format!("ip link set dev {} up", interface.name))
        .verified("asked the kernel")
    });
    Step::of(
        "links/loopback",
        finding.into_iter().collect(),
        "the loopback is up",
    )
}

fn bridges(machine: &Machine, wanted: &Wanted) -> Step {
    const CHECK: &str = "links/bridges";
    let mut findings = Vec::new();
    for bridge in machine.bridges() {
        findings.extend(half_bridge(machine, wanted, bridge));
    }
    if machine.bridge_netfilter == Some(true) && machine.bridges().next().is_some() {
        findings.push(
            Finding::new(
                "links/bridge-netfilter",
                Severity::Warning,
                "bridged packets also go through the kernel's own filter (br_netfilter)",
            )
            .at(&system("/proc/sys/net/bridge/bridge-nf-call-iptables"), "1; the kernel's filter has tables")
            .why("Two filters see each packet: the kernel's may drop, translate or reassemble what pf.conf \
                  lets pass.")
            .advise("sysctl -w net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0, \
                     unless a container engine of this machine needs it")
            .verified("asked the kernel"),
        );
    }
    Step::of(
        CHECK,
        findings,
        "each bridge is up, with members that are up",
    )
}

fn half_bridge(machine: &Machine, wanted: &Wanted, bridge: &Interface) -> Vec<Finding> {
    let mut findings = Vec::new();
    let members: Vec<&Interface> = machine.members(bridge).collect();
    let of_ours = wanted
        .bridges
        .iter()
        .any(|(_, name, _)| *name == bridge.name);
    let finding = |id, message: String| {
        Finding::new(id, Severity::Warning, message)
            .at(&system(format!("/sys/class/net/{}/brif", bridge.name)), "")
            .verified("asked the kernel")
    };
    // Container engines leave bridges without members lying about: theirs are no fault.
    if members.len() < 2 && of_ours {
        let one = if members.is_empty() {
            "no member"
        } else {
            "one member only"
        };
        findings.push(
            finding("links/half-bridge", format!("{} has {one}", bridge.name))
                .why("A bridge passes packets between two members or more.")
                .advise(format!("ip link set dev OTHER master {}", bridge.name)),
        );
    }
    if !bridge.up && !members.is_empty() {
        findings.push(
            finding(
                "links/bridge-down",
                format!("{} has members and is down", bridge.name),
            )
            .why("Nothing passes it, and its members are cut off.")
            .advise(format!("ip link set dev {} up", bridge.name)),
        );
    }
    for member in members {
        if bridge.up && !member.up {
            findings.push(
                finding(
                    "links/member-down",
                    format!("{}, a member of {}, is down", member.name, bridge.name),
                )
                .why("Nothing passes through it.")
                .advise(format!("ip link set dev {} up", member.name)),
            );
        }
    }
    findings
}

fn wanted_links(machine: &Machine, wanted: &Wanted) -> Step {
    let bridges = wanted.bridges.iter();
    let interfaces = wanted.interfaces.iter();
    let findings = bridges
        .flat_map(|(place, bridge, members)| wanted_bridge(machine, wanted, place, bridge, members))
        .chain(
            interfaces
                .filter(|(_, name, _)| !wanted.is_to_be_made(machine, name))
                .filter_map(|(place, name, mtu)| wanted_interface(machine, place, name, *mtu)),
        )
        .collect();
    Step::of(
        "links/start-up-files",
        findings,
        "the links are as the start-up files want them",
    )
}

fn wanted_bridge(
    machine: &Machine,
    wanted: &Wanted,
    place: &Place,
    bridge: &String,
    members: &[String],
) -> Vec<Finding> {
    let (there, missing): (Vec<&String>, Vec<&String>) = members
        .iter()
        .filter(|name| !wanted.is_to_be_made(machine, name))
        .partition(|name| machine.interface(name).is_some());
    let mut findings = Vec::new();
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().map(String::as_str).collect();
        findings.push(
            Finding::new(
                "links/missing-member",
                Severity::Error,
                format!(
                    "{bridge} wants {}, which is not there",
                    missing.join(" and ")
                ),
            )
            .at(place, &format!("add {}", members.join(" add ")))
            .why("The bridge cannot be made whole.")
            .advise(
                "Correct the name (ip link shows those that are there), or load the card's driver.",
            )
            .verified("asked the kernel"),
        );
    }
    if machine.interface(bridge).is_none() {
        return findings;
    }
    let there = there.into_iter().filter_map(|name| machine.interface(name));
    let elsewhere = there.filter(|member| member.bridge.as_ref() != Some(bridge));
    findings.extend(elsewhere.map(|member| not_a_member(place, bridge, &member.name)));
    findings
}

fn not_a_member(place: &Place, bridge: &str, name: &str) -> Finding {
    Finding::new(
        "links/not-a-member",
        Severity::Error,
        format!("{name} is to be a member of {bridge} and is not"),
    )
    .at(place, &format!("add {name}"))
    .why("What comes in there does not reach the bridge.")
    .advise(format!(
        "ip link set dev {name} master {bridge}, or start weighbridge again"
    ))
    .verified("asked the kernel")
}

fn wanted_interface(
    machine: &Machine,
    place: &Place,
    name: &str,
    wanted_mtu: Option<u32>,
) -> Option<Finding> {
    let Some(found) = machine.interface(name) else {
        let finding = Finding::new(
            "links/missing-interface",
            Severity::Error,
            format!("{name} is not there"),
        )
        .at(place, "")
        .why("Its addresses cannot be set.")
        .advise("Correct the name there (ip link shows those that there are), or load the card's driver.")
        .verified("asked the kernel");
        return Some(finding);
    };
    let mtu = wanted_mtu.filter(|mtu| found.mtu != *mtu)?;
    let finding = Finding::new(
        "links/mtu-not-set",
        Severity::Warning,
        format!("{name} has an MTU of {}, {mtu} is asked for", found.mtu),
    )
    .at(place, &format!("mtu {mtu}"))
    .why("Somebody else changed it, or the card refused.")
    .advise(format!("ip link set dev {name} mtu {mtu}"))
    .verified("asked the kernel");
    Some(finding)
}

fn mtu(machine: &Machine) -> Step {
    let bridges = machine.bridges();
    let interfaces = machine.interfaces.iter();
    let small = interfaces.filter(|i| i.up && !i.is_loopback && i.mtu < MIN_IPV6_MTU);
    let findings = bridges
        .filter_map(|bridge| mtu_mismatch(machine, bridge))
        .chain(small.map(small_mtu))
        .collect();
    Step::of(
        "links/mtu",
        findings,
        "the members of each bridge have one MTU",
    )
}

fn mtu_mismatch(machine: &Machine, bridge: &Interface) -> Option<Finding> {
    let members: Vec<&Interface> = machine.members(bridge).collect();
    let least = members.iter().map(|member| member.mtu).min()?;
    if members.iter().all(|member| member.mtu == least) {
        return None;
    }
    let listed: Vec<String> = members
        .iter()
        .map(|member| format!("{} {}", member.name, member.mtu))
        .collect();
    let finding = Finding::new(
        "links/mtu-mismatch",
        Severity::Warning,
        format!("the members of {} have different MTUs", bridge.name),
    )
    .at(
        &system(format!("/sys/class/net/{}/brif", bridge.name)),
        &listed.join(", "),
    )
    .why(
        "A bridge sends no \"fragmentation needed\": what fits into one member and not into \
          another is dropped without a word, and connections hang once they carry much.",
    )
    .advise(format!(
        "Give all the same: ip link set dev NAME mtu {least}"
    ))
    .verified("asked the kernel");
    Some(finding)
}

fn small_mtu(interface: &Interface) -> Finding {
    Finding::new(
        "links/small-mtu",
        Severity::Note,
        format!("{} has an MTU of {}", interface.name, interface.mtu),
    )
    .at(
        &system(format!("/sys/class/net/{}/mtu", interface.name)),
        &interface.mtu.to_string(),
    )
    .why("IPv6 is off on an interface with less than 1280 bytes.")
    .verified("asked the kernel")
}

/// Offloads by which a card changes packets before they can be filtered.
const HURTFUL: [(&str, &str); 2] = [
    (
        "large-receive-offload",
        "The card merges packets into larger ones that cannot be taken apart again as they came: \
         what is forwarded or bridged is not what was received.",
    ),
    (
        "rx-gro-list",
        "Datagrams are chained into lists; what filters sees the first of each.",
    ),
];

fn offloads(machine: &Machine, wanted: &Wanted) -> Step {
    let mut findings = Vec::new();
    let concerned = |interface: &&Interface| {
        interface.up && (interface.bridge.is_some() || wanted.filtered.contains(&interface.name))
    };
    for interface in machine.interfaces.iter().filter(concerned) {
        for (name, why) in HURTFUL {
            if interface.offloads.iter().any(|offload| offload == name) {
                findings.push(
                    Finding::new(
                        "links/offload",
                        Severity::Warning,
                        format!("{} has {name} on", interface.name),
                    )
                    .said("ethtool", &format!("{}: {name}: on", interface.name))
                    .why(why)
                    .advise(format!("ethtool -K {} {name} off", interface.name))
                    .verified("asked the driver"),
                );
            }
        }
    }
    Step::of(
        "links/offloads",
        findings,
        "no offload that changes packets before they are filtered",
    )
}

fn reverse_path(machine: &Machine, wanted: &Wanted) -> Step {
    let strict: Vec<&str> = machine
        .interfaces
        .iter()
        .filter(|i| i.rp_filter == Some(1) && i.has_addresses && !i.is_loopback && i.up)
        .map(|i| i.name.as_str())
        .collect();
    let mut findings = Vec::new();
    if wanted.policy_routes && !strict.is_empty() {
        let mut finding = Finding::new(
            "links/reverse-path-filter",
            Severity::Warning,
            format!("{} drops what comes in by another way than answers would go out", strict.join(", ")),
        )
        .at(&system(format!("/proc/sys/net/ipv4/conf/{}/rp_filter", strict.first().unwrap_or(&"all"))), "1")
        .why("The rules send packets by route-to or reply-to, so answers come in where the routing table \
              does not expect them. The kernel drops them before anybody sees them.")
        .advise("sysctl -w net.ipv4.conf.all.rp_filter=2 (loose), and the same for these interfaces; \
                 `antispoof` in pf.conf does what was meant")
        .verified("asked the kernel, and read the rules");
        if let Some((place, text)) = &wanted.routes_at {
            finding = finding.at(place, text);
        }
        findings.push(finding);
    }
    Step::of(
        "links/reverse-path",
        findings,
        "no filter of the kernel's is in the way of the rules",
    )
}

fn forwarding(machine: &Machine, wanted: &Wanted) -> Step {
    let mut findings = Vec::new();
    let bridged = machine
        .bridges()
        .any(|bridge| machine.members(bridge).next().is_some());
    // On a bridge whose rules say `route-to` the engine sends what they route by itself.
    let asks = wanted.routes && !(bridged && wanted.policy_routes);
    if let (true, Some(false), Some((place, text))) = (asks, machine.forward_v4, &wanted.routes_at)
    {
        let severity = if bridged {
            Severity::Note
        } else {
            Severity::Warning
        };
        findings.push(
            Finding::new(
                "links/no-forwarding",
                severity,
                "the rules are a router's, and the kernel does not forward",
            )
            .at(place, text)
            .at(&system("/proc/sys/net/ipv4/ip_forward"), "0")
            .why(if bridged {
                "What is bridged passes; what is to be routed does not."
            } else {
                "Packets for others are dropped before a rule sees them leave."
            })
            .advise(
                "Say `net.inet.ip.forwarding=1` in sysctl.conf of the configuration directory (for \
                 IPv6 net.inet6.ip6.forwarding); until the next start sysctl -w \
                 net.ipv4.ip_forward=1",
            )
            .verified("asked the kernel, and read the rules"),
        );
    }
    Step::of(
        "links/forwarding",
        findings,
        "the kernel forwards, or the rules do not ask for it",
    )
}

#[cfg(test)]
mod tests;
