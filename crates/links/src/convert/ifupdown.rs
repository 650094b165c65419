//! interfaces(5).

use std::fmt::Write;
use std::net::IpAddr;

use super::{
    File, MONITOR_MILLIS, addresses, controller, described, destination, hash_policy, hashes, mode,
    names, routes,
};
use crate::offload::Offload;
use crate::plan::mac_text;
use crate::{Device, Protocol, WantedBridge, WantedLagg, WantedLinks};

pub(super) fn write(wanted: &WantedLinks) -> Vec<File> {
    let mut text = String::new();
    let mut all = names(wanted);
    for bridge in &wanted.bridges {
        if !all.contains(&bridge.name.as_str()) {
            all.push(&bridge.name);
        }
    }
    // Ports first: a lagg takes them when it comes up.
    all.sort_by_key(|name| controller(wanted, name).is_none());
    for name in all {
        stanza(wanted, name, &mut text);
    }
    vec![File {
        path: "/etc/network/interfaces.d/weighbridge".to_owned(),
        text,
    }]
}

fn stanza(wanted: &WantedLinks, name: &str, text: &mut String) {
    let addresses = addresses(wanted, name);
    let own = own(wanted, name);
    let _ = writeln!(text, "auto {name}");
    let Some((first, others)) = addresses.split_first() else {
        let _ = writeln!(
            text,
            "iface {name} inet manual\n{own}{}",
            ways(wanted, name)
        );
        return;
    };
    let family = |address: &str| {
        if address.contains(':') {
            "inet6"
        } else {
            "inet"
        }
    };
    let _ = writeln!(
        text,
        "iface {name} {} static\n    address {first}\n{own}{}",
        family(first),
        ways(wanted, name)
    );
    for address in others {
        let family = family(address);
        let _ = writeln!(
            text,
            "iface {name} {family} static\n    address {address}\n"
        );
    }
}

fn ways(wanted: &WantedLinks, name: &str) -> String {
    let mut text = String::new();
    for route in routes(wanted, name) {
        let family = if matches!(route.gateway, IpAddr::V6(_)) {
            " -6"
        } else {
            ""
        };
        let (to, by) = (destination(route), route.gateway);
        let _ = writeln!(
            text,
            "    up ip{family} route replace {to} via {by} dev {name}"
        );
    }
    text
}

fn own(wanted: &WantedLinks, name: &str) -> String {
    let mut text = String::new();
    if let Some((lagg, true)) = controller(wanted, name) {
        let _ = writeln!(text, "    bond-master {lagg}");
    }
    if let Some(bridge) = wanted.bridges.iter().find(|bridge| bridge.name == name) {
        text.push_str(&bridge_lines(bridge));
    }
    let Some(interface) = described(wanted, name) else {
        return text;
    };
    match &interface.device {
        Device::Lagg(lagg) => text.push_str(&bond(lagg)),
        Device::Vlan(vlan) => {
            let (id, parent) = (vlan.id, &vlan.parent);
            let _ = writeln!(text, "    vlan-raw-device {parent}\n    vlan-id {id}");
        }
        Device::Bridge | Device::Physical => {}
    }
    if let Some(mtu) = interface.mtu {
        let _ = writeln!(text, "    mtu {mtu}");
    }
    if let Some(mac) = interface.mac {
        let _ = writeln!(text, "    hwaddress ether {}", mac_text(mac));
    }
    for (offload, on) in &interface.offloads {
        let switch = if *on { "on" } else { "off" };
        let _ = write!(text, "    up ethtool -K {name}");
        for feature in features(*offload) {
            let _ = write!(text, " {feature} {switch}");
        }
        text.push('\n');
    }
    text
}

/// As ethtool(8) names it.
const fn features(offload: Offload) -> &'static [&'static str] {
    match offload {
        Offload::RxChecksum => &["rx"],
        Offload::TxChecksum => &["tx"],
        Offload::Segmentation => &["tso"],
        Offload::Vlan => &["rxvlan", "txvlan"],
        Offload::Lro => &["lro"],
    }
}

fn bond(lagg: &WantedLagg) -> String {
    let mut text = format!(
        "    bond-slaves {}\n    bond-mode {}\n    bond-miimon {MONITOR_MILLIS}\n",
        lagg.ports.join(" "),
        mode(lagg)
    );
    if hashes(lagg) {
        let _ = writeln!(text, "    bond-xmit-hash-policy {}", hash_policy(lagg.hash));
    }
    match lagg.protocol {
        Protocol::Lacp => {
            let rate = if lagg.fast { "fast" } else { "slow" };
            let _ = writeln!(text, "    bond-lacp-rate {rate}");
        }
        Protocol::Failover => {
            if let Some(port) = lagg.ports.first() {
                let _ = writeln!(text, "    bond-primary {port}");
            }
        }
        Protocol::RoundRobin => {
            let _ = writeln!(
                text,
                "    bond-packets-per-slave {}",
                lagg.round_robin_frames
            );
        }
        Protocol::Broadcast | Protocol::LoadBalance | Protocol::None => {}
    }
    text
}

fn bridge_lines(bridge: &WantedBridge) -> String {
    let members = bridge.members.join(" ");
    format!("    bridge_ports {members}\n    bridge_stp off\n    bridge_fd 0\n")
}
