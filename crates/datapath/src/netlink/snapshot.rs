//! How the machine is, in the words of plans and of ifconfig(8).

use std::fs;
use std::io;
use std::net::IpAddr;

use links::plan::{Kind, Maker, Makers, Present, Snapshot};
use links::show::{Interface, ShownAddress};
use links::status::LaggStatus;
use links::{WantedLagg, WantedRoute, WantedVlan, is_link_local};
use pf_engine::addr::Family;

use super::address::{self, Assigned};
use super::link::{self, Link};
use super::steps::forwarding_path;
use super::{Netlink, route};
use crate::Error;
use crate::device::holder_of;
use crate::offload::offloads;

/// Everything about the links of this machine, read at one time.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    links: Vec<Link>,
    addresses: Vec<Assigned>,
    routes: Vec<WantedRoute>,
}

impl Netlink {
    /// Reads all that [`Machine`] tells.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn machine(&mut self) -> Result<Machine, Error> {
        let unreadable = |error: io::Error| {
            let hint = "rtnetlink must be reachable (AF_NETLINK)";
            Error::kernel("cannot list the links", error, hint)
        };
        let routes = route::list(&self.connection).map_err(unreadable)?;
        let links = link::list(&self.connection).map_err(unreadable)?;
        let name_of = |number: u32| {
            let link = links.iter().find(|link| link.index == number)?;
            Some(link.name.clone())
        };
        let by_next_hop = |route: &super::Route| {
            let gateway = route.gateway?;
            let interface = is_link_local(gateway).then(|| name_of(route.interface.0));
            let family = Family::of(gateway);
            let len = route.destination.prefix_len();
            let any = len == 0;
            Some(WantedRoute {
                destination: if any {
                    family.unspecified()
                } else {
                    route.destination.address()
                },
                prefix_len: len,
                gateway,
                interface: interface.flatten(),
            })
        };
        Ok(Machine {
            addresses: address::list(&self.connection).map_err(unreadable)?,
            routes: route::main_table(&routes)
                .iter()
                .filter_map(by_next_hop)
                .collect(),
            links,
        })
    }
}

impl Machine {
    /// One of which nothing but its links is known.
    pub(super) fn of(links: Vec<Link>) -> Self {
        Self {
            links,
            ..Self::default()
        }
    }

    /// What a plan is made against.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            links: self.links.iter().map(|link| self.present(link)).collect(),
            routes: self.routes.clone(),
            forward_v4: is_on(forwarding_path(false)),
            forward_v6: is_on(forwarding_path(true)),
        }
    }

    /// The interfaces as ifconfig(8) shows them, as far as the kernel tells; ordered by number.
    #[must_use]
    pub fn interfaces(&self) -> Vec<Interface> {
        self.links.iter().map(|link| self.shown(link)).collect()
    }

    fn present(&self, link: &Link) -> Present {
        Present {
            name: link.name.clone(),
            up: link.up,
            mtu: link.mtu,
            mac: link.mac.as_slice().try_into().ok(),
            description: link.alias.clone(),
            kind: self.kind(link),
            controller: self.controller(link),
            addresses: self.addresses(link),
            offloads: offloads(&link.name),
        }
    }

    fn kind(&self, link: &Link) -> Kind {
        if let Some(lagg) = &link.bond {
            return Kind::Lagg(WantedLagg {
                ports: self.ports(link),
                ..lagg.clone()
            });
        }
        if let Some(id) = link.vlan {
            let parent = link.parent.and_then(|index| self.name(index));
            return Kind::Vlan(WantedVlan {
                parent: parent.unwrap_or_default(),
                id,
                priority: 0,
            });
        }
        if link.bridge.is_some() {
            return Kind::Bridge;
        }
        Kind::Other
    }

    /// The ports of a bond or bridge, a bond's primary first.
    fn ports(&self, of: &Link) -> Vec<String> {
        let ports = self.port_links(of).into_iter();
        ports.map(|port| port.name.clone()).collect()
    }

    fn port_links(&self, of: &Link) -> Vec<&Link> {
        let ports = self.links.iter().filter(|l| l.controller == Some(of.index));
        let mut ports: Vec<&Link> = ports.collect();
        ports.sort_by_key(|port| of.bond_state.primary != Some(port.index));
        ports
    }

    /// How a bond of the kernel stands.
    fn lagg(&self, link: &Link) -> Option<LaggStatus> {
        let settings = link.bond.as_ref()?;
        let ports = self.port_links(link).into_iter().filter_map(|port| {
            let state = port.bond_port.as_ref()?;
            Some((port.index, port.name.as_str(), state))
        });
        let ports: Vec<_> = ports.collect();
        let name = (link.name.as_str(), link.carrier);
        Some(link.bond_state.status(name, settings, &ports))
    }

    fn name(&self, index: u32) -> Option<String> {
        let found = self.links.iter().find(|link| link.index == index)?;
        Some(found.name.clone())
    }

    /// What it is a port of; ports of a lagg of ours are held by a bridge that carries nothing.
    fn controller(&self, link: &Link) -> Option<String> {
        let controller = link.controller.filter(|index| *index != 0)?;
        let name = self.name(controller)?;
        Some(holder_of(&name).map_or(name.clone(), str::to_owned))
    }

    fn addresses(&self, link: &Link) -> Vec<(IpAddr, u8)> {
        let own = self.addresses.iter().filter(|a| a.interface == link.index);
        own.map(|a| (a.address.address, a.address.prefix_len))
            .collect()
    }

    fn shown(&self, link: &Link) -> Interface {
        let own = self.addresses.iter().filter(|a| a.interface == link.index);
        let address = |assigned: &Assigned| ShownAddress {
            address: assigned.address.address,
            prefix_len: assigned.address.prefix_len,
            broadcast: assigned.address.broadcast,
            peer: assigned.address.peer,
        };
        Interface {
            forwards: link.forwards,
            name: link.name.clone(),
            index: link.index,
            flags: link.flags,
            mtu: link.mtu,
            mac: link
                .mac
                .as_slice()
                .try_into()
                .ok()
                .filter(|_| !link.loopback),
            carrier: link.carrier,
            description: link.alias.clone(),
            addresses: own.map(address).collect(),
            kind: self.kind(link),
            members: self.ports(link),
            controller: self.controller(link),
            hidden: holder_of(&link.name).is_some(),
            lagg: self.lagg(link),
            ..Interface::default()
        }
    }
}

fn is_on(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

/// Whether a kernel has what makes a kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Built in, or loaded.
    Here,
    /// As a module, which it loads when such a device is asked for.
    Module,
    /// Not that it is known.
    Missing,
}

/// Bonding and 802.1Q of the running kernel, as its files tell.
#[must_use]
pub fn support() -> [Support; 2] {
    let look = |known: &[&str], module: &str| {
        if known.iter().any(|path| fs::exists(path).unwrap_or(false)) {
            Support::Here
        } else if has_module(module) {
            Support::Module
        } else {
            Support::Missing
        }
    };
    [
        look(&["/sys/module/bonding"], "/bonding.ko"),
        look(&["/sys/module/8021q", "/proc/net/vlan"], "/8021q.ko"),
    ]
}

/// Whether the kernel can make laggs and VLANs; `otherwise` makes what it cannot.
#[must_use]
pub fn makers(otherwise: Maker) -> Makers {
    let [lagg, vlan] = support().map(|support| match support {
        Support::Here | Support::Module => Maker::Kernel,
        Support::Missing => otherwise,
    });
    Makers { lagg, vlan }
}

/// Whether a module is there that the kernel loads when it is asked for.
fn has_module(name: &str) -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    ["modules.dep", "modules.builtin"].iter().any(|list| {
        let path = format!("/lib/modules/{release}/{list}");
        fs::read_to_string(path).is_ok_and(|text| text.contains(name))
    })
}
