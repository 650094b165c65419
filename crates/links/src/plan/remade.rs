//! Devices that are there with other settings and are made anew, and what goes with them.

use super::{Kind, Present, Snapshot, is_same};
use crate::convert::contains;
use crate::{Device, WantedInterface, WantedLinks, WantedRoute, device};

/// Devices to be removed, with the reason.
pub(super) type Removed = Vec<(String, &'static str)>;

/// What has to be removed first, and the machine without it: its ports are free, the VLANs on it are
/// gone, and so are routes to next hops that only it leads to.
pub(super) fn without_remade(wanted: &WantedLinks, present: &Snapshot) -> (Removed, Snapshot) {
    let (mut removed, mut rest) = (Removed::new(), present.clone());
    // What is on top of another comes behind it, and has gone with it.
    for interface in device::in_order(&wanted.interfaces) {
        let there = rest.links.iter().find(|link| link.name == interface.name);
        if let Some(why) = there.and_then(|there| why_removed(interface, there)) {
            removed.push((interface.name.clone(), why));
            remove(&mut rest, &interface.name);
        }
    }
    (removed, rest)
}

fn why_removed(wanted: &WantedInterface, present: &Present) -> Option<&'static str> {
    match (&wanted.device, &present.kind) {
        (Device::Lagg(lagg), Kind::Lagg(there)) => {
            (!is_same(there, lagg)).then_some("it has other settings")
        }
        (Device::Vlan(vlan), Kind::Vlan(there)) => {
            let same = there.parent == vlan.parent && there.id == vlan.id;
            (!same).then_some("it is another VLAN")
        }
        _ => None,
    }
}

fn remove(machine: &mut Snapshot, name: &str) {
    let Some(at) = machine.links.iter().position(|link| link.name == name) else {
        return;
    };
    let gone = machine.links.remove(at);
    machine.routes.retain(|route| !leads_to(&gone, route));
    for link in &mut machine.links {
        link.controller.take_if(|controller| controller == name);
    }
    let on_it = |link: &&Present| matches!(&link.kind, Kind::Vlan(vlan) if vlan.parent == name);
    let vlans: Vec<String> = machine
        .links
        .iter()
        .filter(on_it)
        .map(|vlan| vlan.name.clone())
        .collect();
    for vlan in vlans {
        remove(machine, &vlan);
    }
}

/// Whether the next hop of a route is at the device, or in a network of it.
fn leads_to(link: &Present, route: &WantedRoute) -> bool {
    let is_near = |(own, len): &(_, _)| contains(*own, *len, route.gateway);
    match &route.interface {
        Some(interface) => *interface == link.name,
        None => link.addresses.iter().any(is_near),
    }
}
