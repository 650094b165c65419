//! Interfaces as ifconfig(8) prints them: as FreeBSD 6.3 to 9 did, whose output people know and
//! scripts read, or as FreeBSD 14 does.

use std::fmt::Write;
use std::net::IpAddr;

use crate::lacp::State;
use crate::offload::Offloads;
use crate::plan::{Kind, mac_text};
use crate::status::{LacpStatus, LaggStatus, Status};
use crate::{Protocol, WantedLagg, WantedVlan};

/// Flags of `linux/if.h` and of FreeBSD's `net/if.h`, with their names there.
const FLAGS: [(u32, u32, &str); 9] = [
    (0x1, 0x1, "UP"),
    (0x2, 0x2, "BROADCAST"),
    (0x8, 0x8, "LOOPBACK"),
    (0x10, 0x10, "POINTOPOINT"),
    (0x40, 0x40, "RUNNING"),
    (0x80, 0x80, "NOARP"),
    (0x100, 0x100, "PROMISC"),
    (0x200, 0x200, "ALLMULTI"),
    (0x1000, 0x8000, "MULTICAST"),
];
const LOOPBACK: u32 = 0x8;
const SIMPLEX: u32 = 0x800;
const MULTICAST: u32 = 0x8000;
const LOWER_UP: u32 = 0x0100_0000;

/// Whose ifconfig.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// FreeBSD 7 to 9.
    #[default]
    Article,
    /// FreeBSD 14.
    FreeBsd14,
}

/// An address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShownAddress {
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix.
    pub prefix_len: u8,
    /// Its broadcast address.
    pub broadcast: Option<IpAddr>,
    /// The other end, on a point-to-point link.
    pub peer: Option<IpAddr>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that the kernel tells"
)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number.
    pub index: u32,
    /// `IFF_*` of Linux.
    pub flags: u32,
    /// In bytes.
    pub mtu: u32,
    /// Its MAC address.
    pub mac: Option<[u8; 6]>,
    /// Whether the link works.
    pub carrier: bool,
    /// What was said about it.
    pub description: String,
    /// Its addresses.
    pub addresses: Vec<ShownAddress>,
    /// What kind of device it is.
    pub kind: Kind,
    /// Ports, of a bridge or lagg; those of a lagg by their numbers.
    pub members: Vec<String>,
    /// The bridge or lagg that it is a port of.
    pub controller: Option<String>,
    /// Whether it is a port of a bridge that passes its frames on.
    pub forwards: bool,
    /// In Mbit/s, if it is known.
    pub speed: Option<u32>,
    /// Whether both sides can send at once, if it is known.
    pub full_duplex: Option<bool>,
    /// What its hardware does.
    pub offloads: Offloads,
    /// A device that only serves one of ours and is not shown.
    pub hidden: bool,
    /// Whether the controller is a lagg.
    pub lagg_port: bool,
    /// State of a lagg: of ours, or of Linux bonding.
    pub lagg: Option<LaggStatus>,
}

/// Puts together what the kernel tells and what the keeper of our own devices says.
pub fn complete(interfaces: &mut Vec<Interface>, status: Option<&Status>) {
    interfaces.retain(|interface| !interface.hidden);
    let Some(status) = status else { return };
    for interface in interfaces.iter_mut() {
        if let Some(lagg) = status.laggs.iter().find(|l| l.name == interface.name) {
            interface.kind = Kind::Lagg(lagg.settings());
            interface.lagg = Some(lagg.clone());
        }
        if let Some(vlan) = status.vlans.iter().find(|v| v.name == interface.name) {
            interface.kind = Kind::Vlan(WantedVlan {
                parent: vlan.parent.clone(),
                id: vlan.id,
                priority: vlan.priority,
            });
        }
    }
}

/// What an interface has from those it is made of or belongs to; after the laggs are known.
pub fn relate(interfaces: &mut [Interface]) {
    let before = interfaces.to_vec();
    for interface in interfaces.iter_mut() {
        inherit(interface, &before);
        if let Kind::Lagg(lagg) = &interface.kind {
            interface.members = by_number(&lagg.ports, &before);
        }
        let controller = interface.controller.as_ref();
        interface.lagg_port = before
            .iter()
            .any(|i| Some(&i.name) == controller && matches!(i.kind, Kind::Lagg(_)));
    }
}

/// The ports as FreeBSD keeps them since version 10; those that are not there are the last.
fn by_number(ports: &[String], all: &[Interface]) -> Vec<String> {
    let number = |port: &String| {
        let found = all.iter().find(|interface| interface.name == *port);
        found.map_or(u32::MAX, |interface| interface.index)
    };
    let mut ports = ports.to_vec();
    ports.sort_by_key(number);
    ports
}

/// What is made of others does what they all do.
fn inherit(interface: &mut Interface, all: &[Interface]) {
    let of = |name: &str| all.iter().find(|i| i.name == name).map(|i| i.offloads);
    match &interface.kind {
        Kind::Lagg(lagg) => {
            let ports = lagg.ports.iter().filter_map(|port| of(port));
            interface.offloads = ports.reduce(Offloads::common).unwrap_or_default();
        }
        Kind::Vlan(vlan) => {
            let parent = all.iter().find(|i| i.name == vlan.parent);
            let parent = parent.map(|parent| {
                let mut parent = parent.clone();
                if let Kind::Lagg(_) = parent.kind {
                    inherit(&mut parent, all);
                }
                parent.offloads
            });
            interface.offloads = parent.unwrap_or_default();
        }
        Kind::Bridge | Kind::Other => {}
    }
}

/// The block of an interface. `verbose`: LACP's state of each port, too.
#[must_use]
pub fn render(interface: &Interface, style: Style, verbose: bool) -> String {
    let mut text = head(interface, style);
    if !interface.description.is_empty() {
        line(
            &mut text,
            &format!("description: {}", interface.description),
        );
    }
    options(interface, style, &mut text);
    if let Some(mac) = interface.mac {
        line(&mut text, &format!("ether {}", mac_text(mac)));
        if style == Style::FreeBsd14 && matches!(interface.kind, Kind::Lagg(_)) {
            line(&mut text, "hwaddr 00:00:00:00:00:00");
        }
    }
    for address in &interface.addresses {
        line(&mut text, &address_text(interface, address));
    }
    if style == Style::FreeBsd14 {
        device(interface, style, verbose, &mut text);
        group(interface, &mut text);
        media(interface, style, &mut text);
        nd6(interface, &mut text);
    } else {
        media(interface, style, &mut text);
        device(interface, style, verbose, &mut text);
    }
    text
}

fn line(text: &mut String, what: &str) {
    let _ = writeln!(text, "\t{what}");
}

fn head(interface: &Interface, style: Style) -> String {
    let mut bits = 0;
    let mut names: Vec<&str> = Vec::new();
    for (linux, bsd, name) in FLAGS {
        if interface.flags & linux == 0 {
            continue;
        }
        if bsd == MULTICAST && interface.flags & LOOPBACK == 0 {
            bits |= SIMPLEX;
            names.push("SIMPLEX");
        }
        bits |= bsd;
        names.push(name);
    }
    if style == Style::FreeBsd14 && interface.carrier {
        bits |= LOWER_UP;
        names.push("LOWER_UP");
    }
    format!(
        "{}: flags={bits:x}<{}> metric 0 mtu {}\n",
        interface.name,
        names.join(","),
        interface.mtu
    )
}

fn options(interface: &Interface, style: Style, text: &mut String) {
    let has = interface.offloads;
    let ethernet = interface.mac.is_some();
    let vlan = matches!(interface.kind, Kind::Vlan(_));
    let tags = has.vlan && !vlan;
    let all = [
        (0x1, has.rx_checksum, "RXCSUM"),
        (0x2, has.tx_checksum, "TXCSUM"),
        (0x8, ethernet && !vlan, "VLAN_MTU"),
        (0x10, tags, "VLAN_HWTAGGING"),
        (0x80, tags && has.tx_checksum, "VLAN_HWCSUM"),
        (0x100, has.segmentation && !vlan, "TSO4"),
        (
            0x200,
            has.segmentation && !vlan && style == Style::FreeBsd14,
            "TSO6",
        ),
        (0x400, has.lro && !vlan, "LRO"),
    ];
    let set: Vec<&(u32, bool, &str)> = all.iter().filter(|(_, on, _)| *on).collect();
    let bits: u32 = set.iter().map(|(bit, _, _)| bit).sum();
    if bits != 0 {
        let names: Vec<&str> = set.iter().map(|(_, _, name)| *name).collect();
        line(text, &format!("options={bits:x}<{}>", names.join(",")));
    }
}

fn address_text(interface: &Interface, shown: &ShownAddress) -> String {
    match shown.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(shown.prefix_len))
                .unwrap_or(0);
            let peer = shown
                .peer
                .map(|peer| format!(" --> {peer}"))
                .unwrap_or_default();
            let to = shown
                .broadcast
                .map(|to| format!(" broadcast {to}"))
                .unwrap_or_default();
            format!("inet {address}{peer} netmask 0x{mask:08x}{to}")
        }
        IpAddr::V6(address) => {
            let link_local = address.is_unicast_link_local();
            let zone = if link_local {
                format!("%{}", interface.name)
            } else {
                String::new()
            };
            let scope = if link_local {
                format!(" scopeid 0x{:x}", interface.index)
            } else {
                String::new()
            };
            format!(
                "inet6 {address}{zone} prefixlen {}{scope}",
                shown.prefix_len
            )
        }
    }
}

fn media(interface: &Interface, style: Style, text: &mut String) {
    if interface.mac.is_none() || interface.kind == Kind::Bridge {
        return;
    }
    let made = matches!(interface.kind, Kind::Lagg(_) | Kind::Vlan(_));
    let kind = interface
        .speed
        .filter(|_| interface.carrier && !made)
        .map(|speed| {
            let duplex = if interface.full_duplex == Some(false) {
                "half"
            } else {
                "full"
            };
            format!(" ({} <{duplex}-duplex>)", media_name(speed, style))
        });
    line(
        text,
        &format!("media: Ethernet autoselect{}", kind.unwrap_or_default()),
    );
    let status = if interface.carrier {
        "active"
    } else {
        "no carrier"
    };
    line(text, &format!("status: {status}"));
}

/// The name of a speed in Mbit/s (ifmedia(4)).
fn media_name(speed: u32, style: Style) -> String {
    match (speed, style) {
        (10, _) => "10baseT/UTP".to_owned(),
        (100, _) => "100baseTX".to_owned(),
        (1000, Style::Article) => "1000baseTX".to_owned(),
        (1000, Style::FreeBsd14) => "1000baseT".to_owned(),
        (speed, _) if speed % 1000 == 0 => format!("{}Gbase-T", speed / 1000),
        (speed, _) => format!("{speed}Base-T"),
    }
}

fn device(interface: &Interface, style: Style, verbose: bool, text: &mut String) {
    match &interface.kind {
        Kind::Lagg(lagg) => lagg_lines(interface, lagg, style, verbose, text),
        Kind::Vlan(vlan) => {
            let parent = if vlan.parent.is_empty() {
                "<none>"
            } else {
                &vlan.parent
            };
            let details = if style == Style::FreeBsd14 {
                format!(" vlanproto: 802.1q vlanpcp: {}", vlan.priority)
            } else {
                String::new()
            };
            line(
                text,
                &format!("vlan: {}{details} parent interface: {parent}", vlan.id),
            );
        }
        Kind::Bridge => {
            for member in &interface.members {
                line(
                    text,
                    &format!("member: {member} flags=3<LEARNING,DISCOVER>"),
                );
            }
        }
        Kind::Other => {}
    }
    let controller = interface
        .controller
        .as_ref()
        .filter(|_| style == Style::Article);
    if let Some(lagg) = controller.filter(|_| interface.kind != Kind::Bridge)
        && interface.lagg_port
    {
        line(text, &format!("lagg: laggdev {lagg}"));
    }
}

fn lagg_lines(
    interface: &Interface,
    lagg: &WantedLagg,
    style: Style,
    verbose: bool,
    text: &mut String,
) {
    let hash = if style == Style::FreeBsd14 {
        format!(" lagghash {}", lagg.hash.text())
    } else {
        String::new()
    };
    line(text, &format!("laggproto {}{hash}", lagg.protocol.name()));
    let status = interface.lagg.as_ref();
    // FreeBSD 7 to 9 put each port that was added before the others.
    let ports: Vec<&String> = match style {
        Style::Article => lagg.ports.iter().rev().collect(),
        Style::FreeBsd14 => interface.members.iter().collect(),
    };
    for port in ports {
        let state = status.and_then(|s| s.ports.iter().find(|p| p.name == *port));
        let flags = state.map_or(0, |state| state.flags);
        let names = port_flag_names(flags).join(",");
        let lacp = state
            .and_then(|state| state.lacp.as_ref())
            .filter(|_| verbose);
        let more = lacp.map(|lacp| lacp_text(lacp, style)).unwrap_or_default();
        line(
            text,
            &format!("laggport: {port} flags={flags:x}<{names}>{more}"),
        );
    }
    if verbose
        && lagg.protocol == Protocol::Lacp
        && let Some(status) = status
    {
        let known = |id: &&LacpStatus| !id.actor.is_empty();
        let mut ids = status.ports.iter().filter_map(|port| port.lacp.as_ref());
        if let Some(id) = ids.find(known) {
            let label = if style == Style::FreeBsd14 {
                "lagg id"
            } else {
                "lag id"
            };
            line(
                text,
                &format!("{label}: [{},\n\t\t {}]", id.actor, id.partner),
            );
        }
    }
}

fn lacp_text(lacp: &LacpStatus, style: Style) -> String {
    match style {
        Style::Article => format!(" state={:X}", lacp.state),
        Style::FreeBsd14 => {
            let names = State(lacp.state).names().join(",");
            format!(" state={:x}<{names}>", lacp.state)
        }
    }
}

/// The names of a port's flags.
#[must_use]
pub fn port_flag_names(flags: u8) -> Vec<&'static str> {
    const NAMES: [(u8, &str); 5] = [
        (0x01, "MASTER"),
        (0x02, "STACK"),
        (0x04, "ACTIVE"),
        (0x08, "COLLECTING"),
        (0x10, "DISTRIBUTING"),
    ];
    let set = NAMES.iter().filter(|(bit, _)| flags & bit != 0);
    set.map(|(_, name)| *name).collect()
}

fn group(interface: &Interface, text: &mut String) {
    let group = match interface.kind {
        Kind::Lagg(_) => "lagg",
        Kind::Vlan(_) => "vlan",
        Kind::Bridge => "bridge",
        Kind::Other if interface.flags & LOOPBACK != 0 => "lo",
        Kind::Other => return,
    };
    line(text, &format!("groups: {group}"));
}

fn nd6(interface: &Interface, text: &mut String) {
    let v6 = interface.addresses.iter().any(|a| a.address.is_ipv6());
    let flags = if v6 {
        "21<PERFORMNUD,AUTO_LINKLOCAL>"
    } else {
        "29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>"
    };
    line(text, &format!("nd6 options={flags}"));
}

#[cfg(test)]
mod tests;
