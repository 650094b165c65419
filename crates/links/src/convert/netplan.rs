//! netplan(5).

use std::fmt::Write;

use super::{
    File, MONITOR_MILLIS, addresses, described, destination, hash_policy, hashes, mode, names,
    routes,
};
use crate::offload::Offload;
use crate::plan::mac_text;
use crate::{Device, Protocol, WantedLagg, WantedLinks};

pub(super) fn write(wanted: &WantedLinks) -> Vec<File> {
    let mut text = "network:\n  version: 2\n  renderer: networkd\n".to_owned();
    section(wanted, &mut text, "ethernets", |device| match device {
        Device::Physical => Some(String::new()),
        Device::Bridge | Device::Lagg(_) | Device::Vlan(_) => None,
    });
    section(wanted, &mut text, "bonds", |device| match device {
        Device::Lagg(lagg) => Some(bond(lagg)),
        Device::Bridge | Device::Physical | Device::Vlan(_) => None,
    });
    section(wanted, &mut text, "vlans", |device| match device {
        Device::Vlan(vlan) => Some(format!(
            "      id: {}\n      link: {}\n",
            vlan.id, vlan.parent
        )),
        Device::Bridge | Device::Physical | Device::Lagg(_) => None,
    });
    bridges(wanted, &mut text);
    vec![File {
        path: "/etc/netplan/60-weighbridge.yaml".to_owned(),
        text,
    }]
}

fn section(
    wanted: &WantedLinks,
    text: &mut String,
    title: &str,
    of: impl Fn(&Device) -> Option<String>,
) {
    let mut body = String::new();
    for name in names(wanted) {
        if wanted.bridges.iter().any(|bridge| bridge.name == name) {
            continue;
        }
        let device = described(wanted, name).map_or(Device::Physical, |i| i.device.clone());
        let Some(own) = of(&device) else { continue };
        entry(wanted, &mut body, name, &own);
    }
    if !body.is_empty() {
        let _ = write!(text, "  {title}:\n{body}");
    }
}

fn entry(wanted: &WantedLinks, body: &mut String, name: &str, own: &str) {
    let common = common(wanted, name);
    if own.is_empty() && common.is_empty() {
        let _ = writeln!(body, "    {name}: {{}}");
    } else {
        let _ = write!(body, "    {name}:\n{own}{common}");
    }
}

fn common(wanted: &WantedLinks, name: &str) -> String {
    let mut text = String::new();
    if let Some(interface) = described(wanted, name) {
        if let Some(mtu) = interface.mtu {
            let _ = writeln!(text, "      mtu: {mtu}");
        }
        if let Some(mac) = interface.mac {
            let _ = writeln!(text, "      macaddress: {}", mac_text(mac));
        }
        for (offload, on) in &interface.offloads {
            if let Some(word) = word(*offload) {
                let _ = writeln!(text, "      {word}-offload: {on}");
            }
        }
    }
    let addresses = addresses(wanted, name);
    if !addresses.is_empty() {
        text.push_str("      addresses:\n");
        for address in addresses {
            let _ = writeln!(text, "        - {address}");
        }
    }
    let routes = routes(wanted, name);
    if !routes.is_empty() {
        text.push_str("      routes:\n");
        for route in routes {
            let to = destination(route);
            let _ = writeln!(text, "        - to: {to}\n          via: {}", route.gateway);
        }
    }
    text
}

fn word(offload: Offload) -> Option<&'static str> {
    Some(match offload {
        Offload::RxChecksum => "receive-checksum",
        Offload::TxChecksum => "transmit-checksum",
        Offload::Segmentation => "tcp-segmentation",
        Offload::Lro => "large-receive",
        Offload::Vlan => return None,
    })
}

fn bond(lagg: &WantedLagg) -> String {
    let mut text = format!(
        "      interfaces: [{}]\n      parameters:\n        mode: {}\n        \
         mii-monitor-interval: {MONITOR_MILLIS}\n",
        lagg.ports.join(", "),
        mode(lagg)
    );
    if hashes(lagg) {
        let policy = hash_policy(lagg.hash);
        let _ = writeln!(text, "        transmit-hash-policy: {policy}");
    }
    match lagg.protocol {
        Protocol::Lacp => {
            let rate = if lagg.fast { "fast" } else { "slow" };
            let _ = writeln!(text, "        lacp-rate: {rate}");
        }
        Protocol::Failover => {
            if let Some(port) = lagg.ports.first() {
                let _ = writeln!(text, "        primary: {port}");
            }
        }
        Protocol::RoundRobin => {
            let frames = lagg.round_robin_frames;
            let _ = writeln!(text, "        packets-per-slave: {frames}");
        }
        Protocol::Broadcast | Protocol::LoadBalance | Protocol::None => {}
    }
    text
}

fn bridges(wanted: &WantedLinks, text: &mut String) {
    if wanted.bridges.is_empty() {
        return;
    }
    text.push_str("  bridges:\n");
    for bridge in &wanted.bridges {
        let own = format!(
            "      interfaces: [{}]\n      parameters:\n        stp: false\n        forward-delay: 0\n",
            bridge.members.join(", ")
        );
        entry(wanted, text, &bridge.name, &own);
    }
}
