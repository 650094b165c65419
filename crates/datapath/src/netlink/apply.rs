//! Making links as wanted.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use links::plan::mac_text;
use links::{Device, WantedAddress, WantedBridge, WantedInterface, WantedLinks};
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::RouteMessage;

use super::connection::Connection;
use super::link::{self, Link};
use super::undo::{self, Undo};
use super::{Applied, address, bridge, route};
use crate::{Error, offload};

/// Reverse path filtering by any interface (RFC 3704 section 2.3) instead of the one that a
/// packet came by: what comes in by one uplink may be answered by another.
const LOOSE: &str = "2";
const STRICT: u32 = 1;

/// Makes the links as wanted, or leaves everything as it was.
pub(crate) fn apply(connection: &Connection, wanted: &WantedLinks) -> Result<Applied, Error> {
    check(connection, wanted)?;
    let mut run = Run {
        connection,
        steps: Vec::new(),
        undo: Vec::new(),
    };
    match run.all(wanted) {
        Ok(()) => Ok(Applied {
            steps: run.steps,
            undo: run.undo,
        }),
        Err(error) => {
            undo::all(connection, run.undo);
            Err(error)
        }
    }
}

/// Everything that can be known to fail before anything is done.
fn check(connection: &Connection, wanted: &WantedLinks) -> Result<(), Error> {
    let contradictions = links::check(wanted);
    if !contradictions.is_empty() {
        return Err(Error::Conflict {
            what: contradictions.join("\n"),
            hint: "each interface belongs in one file and one bridge, each address to one \
                   interface",
        });
    }
    let present = link::list(connection).map_err(|error| refused("list the interfaces", error))?;
    let present: BTreeMap<&str, &Link> = present
        .iter()
        .map(|link| (link.name.as_str(), link))
        .collect();
    check_all_there(wanted, &present)?;
    wanted
        .bridges
        .iter()
        .try_for_each(|bridge| check_bridge(bridge, &present))
}

fn check_all_there(wanted: &WantedLinks, present: &BTreeMap<&str, &Link>) -> Result<(), Error> {
    let is_made = |name: &str| wanted.bridges.iter().any(|bridge| bridge.name == name);
    let mut missing = BTreeMap::<&str, String>::new();
    for interface in &wanted.interfaces {
        missing.insert(&interface.name, format!("hostname.{}", interface.name));
    }
    for bridge in &wanted.bridges {
        for member in &bridge.members {
            let file = || format!("bridgename.{}", bridge.name);
            missing.entry(member).or_insert_with(file);
        }
    }
    missing.retain(|name, _| !present.contains_key(name) && !is_made(name));
    check_devices(wanted, &missing)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing
        .iter()
        .map(|(name, file)| format!("{name} (named by {file})"))
        .collect();
    Err(Error::NoInterface {
        names: names.join(", "),
    })
}

/// Laggs and VLANs are made by others: this only configures those that are there.
fn check_devices(wanted: &WantedLinks, missing: &BTreeMap<&str, String>) -> Result<(), Error> {
    let made = |i: &&WantedInterface| matches!(i.device, Device::Lagg(_) | Device::Vlan(_));
    let made = wanted.interfaces.iter().filter(made);
    let names: Vec<&str> = made
        .map(|interface| interface.name.as_str())
        .filter(|name| missing.contains_key(name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::Conflict {
        what: format!("{}: not there yet", names.join(", ")),
        hint: "`weighbridge links run` makes laggs and VLANs and keeps them; `weighbridge links \
               apply` has the kernel make them",
    })
}

fn check_bridge(wanted: &WantedBridge, present: &BTreeMap<&str, &Link>) -> Result<(), Error> {
    let bridge = present.get(wanted.name.as_str());
    if bridge.is_some_and(|link| link.bridge.is_none()) {
        return Err(Error::Conflict {
            what: format!("{} exists and is no bridge", wanted.name),
            hint: "rename one of the two; `ip -d link` shows what it is",
        });
    }
    for member in &wanted.members {
        let controller = present.get(member.as_str()).and_then(|l| l.controller);
        if controller.is_some() && controller != bridge.map(|link| link.index) {
            return Err(Error::Conflict {
                what: format!(
                    "{member}, a member of {}, is a port of another device",
                    wanted.name
                ),
                hint: "`ip link set dev INTERFACE nomaster` releases it",
            });
        }
    }
    Ok(())
}

struct Run<'a> {
    connection: &'a Connection,
    steps: Vec<String>,
    undo: Vec<Undo>,
}

impl Run<'_> {
    fn all(&mut self, wanted: &WantedLinks) -> Result<(), Error> {
        for bridge in &wanted.bridges {
            self.bridge(bridge)?;
        }
        for interface in &wanted.interfaces {
            self.interface(interface)?;
        }
        for bridge in &wanted.bridges {
            self.members(bridge)?;
            self.warn_of_strays(wanted, bridge);
        }
        let up = wanted
            .interfaces
            .iter()
            .filter(|interface| is_up(interface));
        for interface in up {
            self.bring_up(&interface.name)?;
        }
        for bridge in wanted.bridges.iter().filter(|bridge| bridge.up) {
            self.bring_up(&bridge.name)?;
        }
        for interface in &wanted.interfaces {
            self.addresses(interface, holder(wanted, &interface.name))?;
        }
        Ok(())
    }

    fn bridge(&mut self, wanted: &WantedBridge) -> Result<(), Error> {
        let settings = bridge::settings(wanted.timeout_secs);
        let name = &wanted.name;
        let failed = |error| refused(&format!("make the bridge {name}"), error);
        let Some(link) = link::find(self.connection, name).map_err(failed)? else {
            bridge::create(self.connection, name, settings).map_err(failed)?;
            let undo = Undo::RemoveLink(self.link(name)?.index);
            self.done(format!("{name}: made a bridge"), undo);
            return Ok(());
        };
        let before = link.bridge.unwrap_or_default();
        if before != settings {
            bridge::change(self.connection, link.index, settings).map_err(failed)?;
            let undo = Undo::SetBridge(link.index, before);
            self.done(format!("{name}: forwards at once, no spanning tree"), undo);
        }
        Ok(())
    }

    fn interface(&mut self, wanted: &WantedInterface) -> Result<(), Error> {
        let link = self.link(&wanted.name)?;
        if let Some(mtu) = wanted.mtu.filter(|mtu| *mtu != link.mtu) {
            let step = format!("{}: MTU {mtu}", link.name);
            self.set(
                &link,
                step,
                LinkAttribute::Mtu(mtu),
                LinkAttribute::Mtu(link.mtu),
            )?;
        }
        if let Some(mac) = wanted.mac.filter(|mac| link.mac != mac) {
            let step = format!("{}: address {}", link.name, mac_text(mac));
            let before = LinkAttribute::Address(link.mac.clone());
            self.set(&link, step, LinkAttribute::Address(mac.to_vec()), before)?;
        }
        if let Some(text) = wanted.description.as_ref().filter(|d| **d != link.alias) {
            let step = format!("{}: description {text:?}", link.name);
            let before = LinkAttribute::IfAlias(link.alias.clone());
            self.set(&link, step, LinkAttribute::IfAlias(text.clone()), before)?;
        }
        self.offloads(wanted)?;
        self.steps.extend(wanted.unset_medium());
        Ok(())
    }

    fn offloads(&mut self, wanted: &WantedInterface) -> Result<(), Error> {
        let name = &wanted.name;
        let present = offload::offloads(name);
        for (offload, on) in &wanted.offloads {
            if present.does(*offload) == *on {
                continue;
            }
            let step = format!("{name}: {}", offload.switched(*on));
            let before = offload::set(name, *offload, *on)
                .map_err(|error| refused(&format!("set {step}"), error))?;
            self.done(step, Undo::SetOffload(name.clone(), *offload, before));
        }
        Ok(())
    }

    fn set(
        &mut self,
        link: &Link,
        step: String,
        to: LinkAttribute,
        from: LinkAttribute,
    ) -> Result<(), Error> {
        link::set(self.connection, link.index, vec![to])
            .map_err(|error| refused(&format!("set {step}"), error))?;
        self.done(step, Undo::SetLink(link.index, from));
        Ok(())
    }

    fn members(&mut self, wanted: &WantedBridge) -> Result<(), Error> {
        let bridge = self.link(&wanted.name)?;
        for member in &wanted.members {
            self.member(&bridge, member)?;
        }
        Ok(())
    }

    fn member(&mut self, bridge: &Link, member: &str) -> Result<(), Error> {
        let link = self.link(member)?;
        if link.controller != Some(bridge.index) {
            let none = LinkAttribute::Controller(0);
            let step = format!("{member}: a port of {}", bridge.name);
            self.set(&link, step, LinkAttribute::Controller(bridge.index), none)?;
        }
        let before = self.link(member)?.port.unwrap_or_default();
        if before != bridge::TRANSPARENT {
            bridge::change_port(self.connection, link.index, bridge::TRANSPARENT)
                .map_err(|error| refused(&format!("set up the port {member}"), error))?;
            let step = format!("{member}: lets spanning tree, LACP and LLDP cross");
            self.done(step, Undo::SetPort(link.index, before));
        }
        Ok(())
    }

    /// Other addresses of a bridge port have no effect any more, which nobody would guess.
    fn warn_of_strays(&mut self, wanted: &WantedLinks, bridge: &WantedBridge) {
        let present = address::list(self.connection).unwrap_or_default();
        for member in &bridge.members {
            let Ok(link) = self.link(member) else {
                continue;
            };
            let interface = wanted.interfaces.iter().find(|i| i.name == *member);
            let given = interface.map_or(&[][..], |i| &i.addresses);
            let strays = present.iter().filter(|a| {
                let is_given = given.iter().any(|wanted| a.is(link.index, wanted));
                a.interface == link.index && a.is_global() && !is_given
            });
            self.steps.extend(strays.map(|stray| {
                let address = stray.address.address;
                let bridge = &bridge.name;
                format!("{member}: warning: {address} has no effect on a port of {bridge}")
            }));
        }
    }

    fn bring_up(&mut self, name: &str) -> Result<(), Error> {
        let link = self.link(name)?;
        if !link.up {
            link::set_up(self.connection, link.index, true)
                .map_err(|error| refused(&format!("bring {name} up"), error))?;
            self.done(format!("{name}: up"), Undo::SetDown(link.index));
        }
        Ok(())
    }

    /// Gives the addresses of an interface to `holder`: itself, or its bridge.
    fn addresses(&mut self, wanted: &WantedInterface, holder: &str) -> Result<(), Error> {
        if wanted.addresses.is_empty() {
            return Ok(());
        }
        let own = self.link(&wanted.name)?;
        let holder = self.link(holder)?;
        for address in &wanted.addresses {
            let routes = if own.index == holder.index {
                Vec::new()
            } else {
                self.take_away(&own, address)?
            };
            self.give(&own, &holder, address)?;
            self.keep_routes(&holder, &routes);
        }
        if wanted.addresses.iter().any(|a| a.address.is_ipv4()) {
            self.loosen(&holder.name);
        }
        Ok(())
    }

    /// Takes an address off a bridge port, where it has no effect. Answers the routes that are
    /// lost with it.
    fn take_away(
        &mut self,
        port: &Link,
        wanted: &WantedAddress,
    ) -> Result<Vec<RouteMessage>, Error> {
        let what = text(wanted);
        let failed = |error| refused(&format!("move {what} off {}", port.name), error);
        let present = address::list(self.connection).map_err(failed)?;
        let Some(found) = present.iter().find(|a| a.is(port.index, wanted)) else {
            return Ok(Vec::new());
        };
        let routes = route::list(self.connection).map_err(failed)?;
        let before = route::made_through(&routes, port.index);
        address::remove(self.connection, found.message.clone()).map_err(failed)?;
        let routes = route::list(self.connection).map_err(failed)?;
        let after = route::made_through(&routes, port.index);
        let lost: Vec<RouteMessage> = before
            .into_iter()
            .filter(|route| !after.contains(route))
            .collect();
        let undo = Undo::RestoreAddress(found.message.clone(), lost.clone());
        self.done(format!("{}: without {what}", port.name), undo);
        Ok(lost)
    }

    fn give(&mut self, own: &Link, holder: &Link, wanted: &WantedAddress) -> Result<(), Error> {
        let what = text(wanted);
        let failed = |error| refused(&format!("give {what} to {}", holder.name), error);
        let present = address::list(self.connection).map_err(failed)?;
        if present.iter().any(|a| a.is(holder.index, wanted)) {
            return Ok(());
        }
        let message = address::message(holder.index, wanted);
        address::add(self.connection, message.clone()).map_err(failed)?;
        let step = if own.index == holder.index {
            format!("{}: {what}", own.name)
        } else {
            format!("{}: {what}, held by {}", own.name, holder.name)
        };
        self.done(step, Undo::RemoveAddress(message));
        Ok(())
    }

    /// They vanish with the address; nothing to undo.
    fn keep_routes(&mut self, holder: &Link, routes: &[RouteMessage]) {
        for route in routes {
            let moved = route::moved(route, holder.index);
            if let Err(error) = route::add(self.connection, moved) {
                let name = &holder.name;
                let step = format!("{name}: warning: a route could not be kept: {error}");
                self.steps.push(step);
            }
        }
    }

    fn loosen(&mut self, name: &str) {
        let own = reverse_path_filter(name);
        // The kernel goes by the larger number of the two (ip-sysctl).
        if number(&own).max(number(&reverse_path_filter("all"))) != Some(STRICT) {
            return;
        }
        let before = fs::read_to_string(&own).unwrap_or_default();
        match fs::write(&own, LOOSE) {
            Ok(()) => {
                let undo = Undo::WriteSysctl {
                    path: own,
                    value: before,
                };
                self.done(format!("{name}: loose reverse path filter"), undo);
            }
            Err(error) => self.steps.push(format!(
                "{name}: warning: the strict reverse path filter stays ({own}: {error})"
            )),
        }
    }

    fn link(&self, name: &str) -> Result<Link, Error> {
        link::by_name(self.connection, name)
            .map_err(|error| refused(&format!("find {name}"), error))
    }

    fn done(&mut self, step: String, undo: Undo) {
        self.steps.push(step);
        self.undo.push(undo);
    }
}

/// hostname.if(5): an address implies it.
fn is_up(interface: &WantedInterface) -> bool {
    interface.up || !interface.addresses.is_empty()
}

/// The interface that has the addresses of `name`: its bridge, if it is a member of one.
fn holder<'a>(wanted: &'a WantedLinks, name: &'a str) -> &'a str {
    wanted
        .bridges
        .iter()
        .find(|bridge| bridge.members.iter().any(|member| member == name))
        .map_or(name, |bridge| &bridge.name)
}

fn reverse_path_filter(interface: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter")
}

fn number(path: &str) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn text(address: &WantedAddress) -> String {
    format!("{}/{}", address.address, address.prefix_len)
}

pub(super) fn refused(what: &str, source: io::Error) -> Error {
    let hint = if source.kind() == io::ErrorKind::PermissionDenied {
        "run as root"
    } else {
        "`ip -d link` and `ip address` show what is there"
    };
    Error::kernel(format!("cannot {what}"), source, hint)
}
