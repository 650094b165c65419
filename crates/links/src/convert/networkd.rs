//! systemd.netdev(5) and systemd.network(5): a file for each device, and one for each interface.

use std::fmt::Write;

use super::{
    File, MONITOR_MILLIS, addresses, controller, described, destination, hash_policy, hashes, mode,
    names, routes,
};
use crate::plan::mac_text;
use crate::{Device, Protocol, WantedLagg, WantedLinks};

const DIRECTORY: &str = "/etc/systemd/network";

pub(super) fn write(wanted: &WantedLinks) -> Vec<File> {
    let mut files = Vec::new();
    for interface in &wanted.interfaces {
        let body = match &interface.device {
            Device::Lagg(lagg) => bond(lagg),
            Device::Vlan(vlan) => format!("Kind=vlan\n\n[VLAN]\nId={}\n", vlan.id),
            Device::Bridge | Device::Physical => continue,
        };
        files.push(netdev(&interface.name, &body));
    }
    for bridge in &wanted.bridges {
        let body = "Kind=bridge\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n";
        files.push(netdev(&bridge.name, body));
    }
    let mut all = names(wanted);
    for bridge in &wanted.bridges {
        if !all.contains(&bridge.name.as_str()) {
            all.push(&bridge.name);
        }
    }
    files.extend(all.into_iter().map(|name| network(wanted, name)));
    files
}

fn netdev(name: &str, body: &str) -> File {
    File {
        path: format!("{DIRECTORY}/60-{name}.netdev"),
        text: format!("[NetDev]\nName={name}\n{body}"),
    }
}

fn bond(lagg: &WantedLagg) -> String {
    let mut text = format!(
        "Kind=bond\n\n[Bond]\nMode={}\nMIIMonitorSec={MONITOR_MILLIS}ms\n",
        mode(lagg)
    );
    if hashes(lagg) {
        let _ = writeln!(text, "TransmitHashPolicy={}", hash_policy(lagg.hash));
    }
    match lagg.protocol {
        Protocol::Lacp => {
            let rate = if lagg.fast { "fast" } else { "slow" };
            let _ = writeln!(text, "LACPTransmitRate={rate}");
        }
        Protocol::RoundRobin => {
            let _ = writeln!(text, "PacketsPerSlave={}", lagg.round_robin_frames);
        }
        Protocol::Failover | Protocol::Broadcast | Protocol::LoadBalance | Protocol::None => {}
    }
    text
}

fn network(wanted: &WantedLinks, name: &str) -> File {
    let mut text = format!("[Match]\nName={name}\n");
    let interface = described(wanted, name);
    let mtu = interface.and_then(|i| i.mtu);
    let mac = interface.and_then(|i| i.mac);
    if mtu.is_some() || mac.is_some() {
        text.push_str("\n[Link]\n");
    }
    if let Some(mtu) = mtu {
        let _ = writeln!(text, "MTUBytes={mtu}");
    }
    if let Some(mac) = mac {
        let _ = writeln!(text, "MACAddress={}", mac_text(mac));
    }
    text.push_str("\n[Network]\n");
    if let Some(interface) = interface
        && let Some(description) = &interface.description
    {
        let _ = writeln!(text, "Description={}", description.replace('\n', " "));
    }
    membership(wanted, name, &mut text);
    for address in addresses(wanted, name) {
        let _ = writeln!(text, "Address={address}");
    }
    for route in routes(wanted, name) {
        let (to, by) = (destination(route), route.gateway);
        if route.prefix_len == 0 {
            let _ = write!(text, "\n[Route]\nGateway={by}\n");
        } else {
            let _ = write!(text, "\n[Route]\nDestination={to}\nGateway={by}\n");
        }
    }
    File {
        path: format!("{DIRECTORY}/60-{name}.network"),
        text,
    }
}

fn membership(wanted: &WantedLinks, name: &str, text: &mut String) {
    match controller(wanted, name) {
        Some((lagg, true)) => {
            let _ = writeln!(text, "Bond={lagg}");
            if is_master(wanted, lagg, name) {
                text.push_str("PrimarySlave=yes\n");
            }
        }
        Some((bridge, false)) => {
            let _ = writeln!(text, "Bridge={bridge}");
        }
        None => {}
    }
    for interface in &wanted.interfaces {
        if let Device::Vlan(vlan) = &interface.device
            && vlan.parent == name
        {
            let _ = writeln!(text, "VLAN={}", interface.name);
        }
    }
}

fn is_master(wanted: &WantedLinks, lagg: &str, port: &str) -> bool {
    let Some(Device::Lagg(lagg)) = described(wanted, lagg).map(|i| &i.device) else {
        return false;
    };
    lagg.protocol == Protocol::Failover && lagg.ports.first().is_some_and(|first| first == port)
}
