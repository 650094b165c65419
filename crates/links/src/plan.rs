//! What has to be done so that the machine is as the files say: wanted links against what is.

mod remade;
mod step;

use std::net::IpAddr;

use self::remade::{Removed, without_remade};
pub use step::{Step, bonding_mode, mac_text};

use crate::offload::Offloads;
use crate::{
    Device, Protocol, WantedAddress, WantedBridge, WantedInterface, WantedLagg, WantedLinks,
    WantedRoute, WantedVlan, device,
};

/// How the machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Its interfaces.
    pub links: Vec<Present>,
    /// Its routes with a next hop.
    pub routes: Vec<WantedRoute>,
    /// Whether it forwards packets of IPv4.
    pub forward_v4: bool,
    /// The same for IPv6.
    pub forward_v6: bool,
}

/// An interface that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Its name.
    pub name: String,
    /// Whether it is up (not: whether it has a carrier).
    pub up: bool,
    /// In bytes.
    pub mtu: u32,
    /// Its MAC address, if it has one.
    pub mac: Option<[u8; 6]>,
    /// What was said about it.
    pub description: String,
    /// What kind of device it is.
    pub kind: Kind,
    /// The bridge or lagg that it is a port of.
    pub controller: Option<String>,
    /// Its addresses.
    pub addresses: Vec<(IpAddr, u8)>,
    /// What its hardware does.
    pub offloads: Offloads,
}

/// Kind of a device that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// It is there by itself.
    #[default]
    Other,
    /// A bridge; whether it is as bridge(4) is.
    Bridge,
    /// Aggregated links.
    Lagg(WantedLagg),
    /// A VLAN.
    Vlan(WantedVlan),
}

/// Who can make a kind of device on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// The kernel.
    Kernel,
    /// This program, as long as it runs.
    Own,
    /// Nobody.
    Nobody,
}

/// Who can make what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Makers {
    /// Aggregated links.
    pub lagg: Maker,
    /// VLANs.
    pub vlan: Maker,
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}\n  hint: {hint}")]
pub struct Problem {
    /// What cannot be done.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

impl Problem {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// The steps from `present` to `wanted`, in the order in which they have to be done; none when
/// all is as wanted.
///
/// # Errors
/// What cannot be done; then nothing should be.
pub fn diff(
    wanted: &WantedLinks,
    present: &Snapshot,
    makers: Makers,
) -> Result<Vec<Step>, Vec<Problem>> {
    let (removed, present) = without_remade(wanted, present);
    let mut planner = Planner {
        wanted,
        present: &present,
        removed,
        makers,
        steps: Vec::new(),
        problems: Vec::new(),
    };
    planner.all();
    if planner.problems.is_empty() {
        Ok(planner.steps)
    } else {
        Err(planner.problems)
    }
}

struct Planner<'a> {
    wanted: &'a WantedLinks,
    /// How it is once what has to be made anew is gone.
    present: &'a Snapshot,
    removed: Removed,
    makers: Makers,
    steps: Vec<Step>,
    problems: Vec<Problem>,
}

impl<'a> Planner<'a> {
    fn all(&mut self) {
        for what in crate::check(self.wanted) {
            let problem = Problem::new(what, "see the files that name it");
            self.problems.push(problem);
        }
        self.missing();
        let ordered = device::in_order(&self.wanted.interfaces);
        for bridge in &self.wanted.bridges {
            self.bridge(bridge);
        }
        for interface in &ordered {
            self.device(interface);
            self.settings(interface);
        }
        for bridge in &self.wanted.bridges {
            self.ports(&bridge.name, &bridge.members, false);
        }
        for interface in &ordered {
            self.up(&interface.name, is_up(self.wanted, interface));
        }
        for bridge in &self.wanted.bridges {
            self.up(&bridge.name, bridge.up);
        }
        for interface in &ordered {
            self.addresses(interface);
        }
        self.routes();
        self.forwarding();
    }

    fn find(&self, name: &str) -> Option<&'a Present> {
        self.present.links.iter().find(|link| link.name == name)
    }

    fn is_made(&self, name: &str) -> bool {
        self.wanted.bridges.iter().any(|bridge| bridge.name == name)
            || self
                .wanted
                .interfaces
                .iter()
                .any(|i| i.name == name && i.device != Device::Physical)
    }

    /// Interfaces that somebody names and that are not there.
    fn missing(&mut self) {
        let mut names: Vec<(&str, &str)> = Vec::new();
        for interface in &self.wanted.interfaces {
            match &interface.device {
                Device::Physical => names.push((&interface.name, &interface.name)),
                Device::Lagg(lagg) => {
                    names.extend(
                        lagg.ports
                            .iter()
                            .map(|p| (p.as_str(), interface.name.as_str())),
                    );
                }
                Device::Vlan(vlan) => names.push((&vlan.parent, &interface.name)),
                Device::Bridge => {}
            }
        }
        for bridge in &self.wanted.bridges {
            names.extend(
                bridge
                    .members
                    .iter()
                    .map(|m| (m.as_str(), bridge.name.as_str())),
            );
        }
        let mut told: Vec<&str> = Vec::new();
        for (name, by) in names {
            if name.is_empty()
                || self.find(name).is_some()
                || self.is_made(name)
                || told.contains(&name)
            {
                continue;
            }
            told.push(name);
            let needed = if name == by {
                String::new()
            } else {
                format!(", which {by} needs")
            };
            self.problems.push(Problem::new(
                format!("{name}{needed}: no such interface"),
                "`ip link` lists the interfaces of this machine",
            ));
        }
    }

    fn bridge(&mut self, bridge: &WantedBridge) {
        match self.find(&bridge.name).map(|link| &link.kind) {
            None => self.steps.push(Step::MakeBridge {
                name: bridge.name.clone(),
                timeout_secs: bridge.timeout_secs,
            }),
            Some(Kind::Bridge) => {}
            Some(Kind::Other | Kind::Lagg(_) | Kind::Vlan(_)) => {
                self.other_kind(&bridge.name, "a bridge");
            }
        }
    }

    fn other_kind(&mut self, name: &str, what: &str) {
        self.problems.push(Problem::new(
            format!("{name} exists and is not {what}"),
            "rename one of the two; `ip -d link` shows what it is",
        ));
    }

    fn device(&mut self, interface: &'a WantedInterface) {
        match &interface.device {
            Device::Physical | Device::Bridge => {}
            Device::Lagg(lagg) => self.lagg(&interface.name, lagg),
            Device::Vlan(vlan) => self.vlan(&interface.name, vlan),
        }
    }

    fn lagg(&mut self, name: &str, lagg: &'a WantedLagg) {
        let make = Step::MakeLagg {
            name: name.to_owned(),
            lagg: lagg.clone(),
            maker: self.makers.lagg,
        };
        match self.find(name).map(|link| &link.kind) {
            None => {
                self.can_be_made(name, self.makers.lagg, "bonding");
                self.kernel_can(name, lagg);
                self.remove(name);
                self.steps.push(make);
            }
            Some(Kind::Lagg(_)) => {}
            Some(Kind::Other | Kind::Bridge | Kind::Vlan(_)) => self.other_kind(name, "a lagg"),
        }
        self.ports(name, &lagg.ports, true);
    }

    /// Removes what is to be made anew, if it is there.
    fn remove(&mut self, name: &str) {
        if let Some((name, why)) = self.removed.iter().find(|(removed, _)| removed == name) {
            self.steps.push(Step::Remove {
                name: name.clone(),
                why,
            });
        }
    }

    fn kernel_can(&mut self, name: &str, lagg: &WantedLagg) {
        if self.makers.lagg == Maker::Kernel && lagg.protocol == Protocol::None {
            self.problems.push(Problem::new(
                format!("{name}: Linux bonding has no protocol `none`"),
                "leave the interface out, or set it down",
            ));
        }
    }

    fn can_be_made(&mut self, name: &str, maker: Maker, driver: &str) {
        if maker == Maker::Nobody {
            self.problems.push(Problem::new(
                format!("{name} cannot be made: this kernel has no {driver}"),
                format!("`weighbridge links run` makes {name} and keeps it"),
            ));
        }
    }

    fn vlan(&mut self, name: &str, vlan: &WantedVlan) {
        let make = Step::MakeVlan {
            name: name.to_owned(),
            vlan: vlan.clone(),
            maker: self.makers.vlan,
        };
        match self.find(name).map(|link| &link.kind) {
            None => {
                self.can_be_made(name, self.makers.vlan, "802.1Q");
                self.remove(name);
                self.steps.push(make);
            }
            Some(Kind::Vlan(_)) => {}
            Some(Kind::Other | Kind::Bridge | Kind::Lagg(_)) => self.other_kind(name, "a VLAN"),
        }
    }

    /// Ports that come to `of`, and those that are too many.
    fn ports(&mut self, of: &str, ports: &[String], exact: bool) {
        for port in ports {
            let controller = self.find(port).and_then(|link| link.controller.as_deref());
            match controller {
                Some(there) if there == of => {}
                Some(other) => {
                    let message = format!("{port}, a port of {of}, is a port of {other}");
                    let hint = "`ip link set dev INTERFACE nomaster` releases it";
                    self.problems.push(Problem::new(message, hint));
                }
                None => self.steps.push(Step::AddPort {
                    of: of.to_owned(),
                    port: port.clone(),
                }),
            }
        }
        if !exact {
            return;
        }
        for link in &self.present.links {
            if link.controller.as_deref() == Some(of) && !ports.contains(&link.name) {
                self.steps.push(Step::RemovePort {
                    of: of.to_owned(),
                    port: link.name.clone(),
                });
            }
        }
    }

    fn settings(&mut self, wanted: &WantedInterface) {
        let present = self.find(&wanted.name);
        if let Some(mtu) = wanted
            .mtu
            .filter(|mtu| present.is_none_or(|p| p.mtu != *mtu))
        {
            self.steps.push(Step::SetMtu {
                name: wanted.name.clone(),
                mtu,
            });
        }
        if let Some(mac) = wanted
            .mac
            .filter(|mac| present.is_none_or(|p| p.mac != Some(*mac)))
        {
            self.steps.push(Step::SetMac {
                name: wanted.name.clone(),
                mac,
            });
        }
        let differs = |text: &&String| present.is_none_or(|p| p.description != **text);
        if let Some(text) = wanted.description.as_ref().filter(differs) {
            self.steps.push(Step::SetDescription {
                name: wanted.name.clone(),
                text: text.clone(),
            });
        }
        for (offload, on) in &wanted.offloads {
            if present.is_none_or(|p| p.offloads.does(*offload) != *on) {
                self.steps.push(Step::SetOffload {
                    name: wanted.name.clone(),
                    offload: *offload,
                    on: *on,
                });
            }
        }
    }

    fn up(&mut self, name: &str, up: bool) {
        if up && self.find(name).is_none_or(|link| !link.up) {
            let up = Step::Up {
                name: name.to_owned(),
            };
            if !self.steps.contains(&up) {
                self.steps.push(up);
            }
        }
    }

    /// The addresses; those of a bridge's member go to the bridge, where Linux needs them.
    fn addresses(&mut self, interface: &WantedInterface) {
        let holder = self.wanted.holder(&interface.name);
        for address in &interface.addresses {
            if !self.has(holder, address) {
                self.steps.push(Step::AddAddress {
                    name: holder.to_owned(),
                    address: *address,
                });
            }
        }
    }

    fn has(&self, name: &str, wanted: &WantedAddress) -> bool {
        let address = (wanted.address, wanted.prefix_len);
        self.find(name)
            .is_some_and(|link| link.addresses.contains(&address))
    }

    fn routes(&mut self) {
        for route in &self.wanted.routes {
            let holder = |name: &String| self.wanted.holder(name).to_owned();
            let route = WantedRoute {
                interface: route.interface.as_ref().map(holder),
                ..route.clone()
            };
            if self.present.routes.contains(&route) {
                continue;
            }
            let other = self.present.routes.iter().find(|present| {
                present.destination == route.destination && present.prefix_len == route.prefix_len
            });
            self.steps.push(Step::AddRoute {
                instead_of: other.map(WantedRoute::next_hop),
                route,
            });
        }
    }

    fn forwarding(&mut self) {
        let present = (self.present.forward_v4, self.present.forward_v6);
        for (v6, wanted, present) in [
            (false, self.wanted.forward_v4, present.0),
            (true, self.wanted.forward_v6, present.1),
        ] {
            if let Some(on) = wanted.filter(|on| *on != present) {
                self.steps.push(Step::Forward { v6, on });
            }
        }
    }
}

/// An interface is up when a file says so, when it has an address, and when something is made of
/// it that is up.
fn is_up(wanted: &WantedLinks, interface: &WantedInterface) -> bool {
    let holds = |other: &WantedInterface| match &other.device {
        Device::Vlan(vlan) => vlan.parent == interface.name && other.up,
        Device::Physical | Device::Bridge | Device::Lagg(_) => false,
    };
    interface.up || !interface.addresses.is_empty() || wanted.interfaces.iter().any(holds)
}

/// Whether a lagg is as wanted, apart from its ports. Which one is the master matters where
/// there is one.
fn is_same(there: &WantedLagg, wanted: &WantedLagg) -> bool {
    let master = |lagg: &WantedLagg| match lagg.protocol {
        Protocol::Failover => lagg.ports.first().cloned(),
        Protocol::Lacp
        | Protocol::LoadBalance
        | Protocol::RoundRobin
        | Protocol::Broadcast
        | Protocol::None => None,
    };
    let without_ports = |lagg: &WantedLagg| WantedLagg {
        ports: Vec::new(),
        ..lagg.clone()
    };
    without_ports(there) == without_ports(wanted) && master(there) == master(wanted)
}

#[cfg(test)]
mod tests;
