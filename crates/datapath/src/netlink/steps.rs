//! Carrying out the steps of a plan.

use std::fs;
use std::io;

use links::WantedLagg;
use links::plan::{Maker, Step};
use netlink_packet_route::link::LinkAttribute;

use super::apply::refused;
use super::link::{self, Link};
use super::undo::Undo;
use super::{Applied, Netlink, address, bond, bridge, route};
use crate::{Error, offload};

impl Netlink {
    /// Does one step. What a device of this program needs ([`Maker::Own`]) is the caller's.
    ///
    /// # Errors
    /// When the kernel refuses; then [`Netlink::undo`] takes back what was done before.
    pub fn carry_out(&mut self, step: &Step, applied: &mut Applied) -> Result<(), Error> {
        let undo = self
            .try_step(step)
            .map_err(|error| refused(&step.to_string(), error))?;
        applied.steps.push(step.to_string());
        applied.undo.extend(undo);
        Ok(())
    }

    fn try_step(&self, step: &Step) -> io::Result<Option<Undo>> {
        let connection = &self.connection;
        match step {
            Step::MakeBridge { name, timeout_secs } => {
                bridge::create(connection, name, bridge::settings(*timeout_secs))?;
                self.made(name)
            }
            Step::MakeLagg { name, lagg, maker } => match maker {
                Maker::Kernel => {
                    bond::create(connection, name, lagg)?;
                    self.made(name)
                }
                Maker::Own | Maker::Nobody => Err(io::ErrorKind::Unsupported.into()),
            },
            Step::MakeVlan { name, vlan, maker } => match maker {
                Maker::Kernel => {
                    let parent = self.named(&vlan.parent)?.index;
                    bond::create_vlan(connection, name, parent, vlan.id)?;
                    self.made(name)
                }
                Maker::Own | Maker::Nobody => Err(io::ErrorKind::Unsupported.into()),
            },
            Step::Remove { name, .. } => {
                link::delete(connection, self.named(name)?.index)?;
                Ok(None)
            }
            Step::SetMtu { name, mtu } => self.set(name, LinkAttribute::Mtu(*mtu), |link| {
                LinkAttribute::Mtu(link.mtu)
            }),
            Step::SetMac { name, mac } => {
                self.set(name, LinkAttribute::Address(mac.to_vec()), |link| {
                    LinkAttribute::Address(link.mac.clone())
                })
            }
            Step::SetDescription { name, text } => {
                self.set(name, LinkAttribute::IfAlias(text.clone()), |link| {
                    LinkAttribute::IfAlias(link.alias.clone())
                })
            }
            Step::SetOffload { name, offload, on } => {
                let before = offload::set(name, *offload, *on)?;
                Ok(Some(Undo::SetOffload(name.clone(), *offload, before)))
            }
            Step::AddPort { of, port } => self.add_port(of, port),
            Step::RemovePort { of, port } => {
                let bond = self.named(of)?.index;
                let port = self.named(port)?.index;
                link::set(connection, port, vec![LinkAttribute::Controller(0)])?;
                let back = LinkAttribute::Controller(bond);
                Ok(Some(Undo::SetLink(port, back)))
            }
            Step::Up { name } => {
                let link = self.named(name)?;
                link::set_up(connection, link.index, true)?;
                Ok((!link.up).then_some(Undo::SetDown(link.index)))
            }
            Step::AddAddress { name, address } => {
                let message = address::message(self.named(name)?.index, address);
                address::add(connection, message.clone())?;
                Ok(Some(Undo::RemoveAddress(message)))
            }
            Step::AddRoute { route, .. } => {
                let interface = route.interface.as_deref().map(|name| self.named(name));
                let interface = interface.transpose()?.map(|link| link.index);
                let made = route::replace(connection, route, interface)?;
                // Any other goes with the address that leads to its next hop.
                Ok(interface.map(|_| Undo::RemoveRoute(made)))
            }
            Step::Forward { v6, on } => forward(*v6, *on).map(Some),
        }
    }

    fn named(&self, name: &str) -> io::Result<Link> {
        link::by_name(&self.connection, name)
    }

    fn made(&self, name: &str) -> io::Result<Option<Undo>> {
        Ok(Some(Undo::RemoveLink(self.named(name)?.index)))
    }

    fn set(
        &self,
        name: &str,
        to: LinkAttribute,
        before: impl FnOnce(&Link) -> LinkAttribute,
    ) -> io::Result<Option<Undo>> {
        let link = self.named(name)?;
        link::set(&self.connection, link.index, vec![to])?;
        Ok(Some(Undo::SetLink(link.index, before(&link))))
    }

    fn add_port(&self, of: &str, port: &str) -> io::Result<Option<Undo>> {
        let controller = self.named(of)?;
        let link = self.named(port)?;
        let join = vec![LinkAttribute::Controller(controller.index)];
        if let Some(lagg) = &controller.bond {
            // Bonding takes no port that is up, and brings it up itself.
            link::set_up(&self.connection, link.index, false)?;
            link::set(&self.connection, link.index, join)?;
            self.primary(&controller, lagg, link.index)?;
        } else {
            link::set(&self.connection, link.index, join)?;
            bridge::change_port(&self.connection, link.index, bridge::TRANSPARENT)?;
        }
        let back = LinkAttribute::Controller(0);
        Ok(Some(Undo::SetLink(link.index, back)))
    }

    /// The first port is the master.
    fn primary(&self, bond: &Link, lagg: &WantedLagg, port: u32) -> io::Result<()> {
        if lagg.protocol == links::Protocol::Failover && bond.bond_state.primary.is_none() {
            bond::set_primary(&self.connection, bond.index, port)?;
        }
        Ok(())
    }
}

fn forward(v6: bool, on: bool) -> io::Result<Undo> {
    let path = forwarding_path(v6).to_owned();
    let value = fs::read_to_string(&path)?;
    fs::write(&path, if on { "1" } else { "0" })?;
    Ok(Undo::WriteSysctl { path, value })
}

/// Where it is set whether packets are forwarded.
pub(super) fn forwarding_path(v6: bool) -> &'static str {
    if v6 {
        "/proc/sys/net/ipv6/conf/all/forwarding"
    } else {
        "/proc/sys/net/ipv4/ip_forward"
    }
}
