//! What a keeper leaves to the next program, and goes on with from the one before.

use std::io;
use std::time::Instant;

use datapath::device::{BUFFER_LEN, ControlSocket, Device, Held, HeldPorts, PortSocket, pass_on};
use links::lagg::Lagg;
use links::{Device as WantedDevice, WantedLinks};

use super::super::handover::{HandOver, LaggHandOver, PortHandOver, VlanHandOver};
use super::gate::Gated;
use super::{Keeper, KeptLagg, KeptPort, KeptVlan};

impl Keeper {
    /// Goes on with what the program before this one has left, as far as it is still wanted as it
    /// is; the rest is given up.
    pub(in super::super) fn inherit(
        left: HandOver,
        wanted: &WantedLinks,
        start: Instant,
    ) -> io::Result<Self> {
        let base = left.now;
        let mut keeper = Self {
            base,
            start,
            laggs: Vec::new(),
            vlans: Vec::new(),
            buffer: vec![0; BUFFER_LEN],
            news: true,
            claims_at: base,
            claim_is_wrong: false,
        };
        for lagg in left.laggs {
            let (name, settings) = (lagg.name.clone(), WantedDevice::Lagg(lagg.settings.clone()));
            let kept = keeper.lagg(lagg)?;
            if is_wanted(wanted, &name, &settings) {
                keeper.laggs.push(kept);
            }
        }
        for vlan in left.vlans {
            let settings = WantedDevice::Vlan(vlan.settings.clone());
            let name = vlan.name.clone();
            let kept = inherit_vlan(vlan).map_err(|error| refused(&name, &error))?;
            if is_wanted(wanted, &name, &settings) {
                keeper.vlans.push(kept);
            }
        }
        Ok(keeper)
    }

    fn lagg(&self, left: LaggHandOver) -> io::Result<KeptLagg> {
        let macs: Vec<[u8; 6]> = left.ports.iter().map(|port| port.own_mac).collect();
        let flaps: Vec<u64> = left.ports.iter().map(|port| port.flaps).collect();
        let mut lagg = Lagg::new(&left.settings, &macs);
        let now = self.now();
        for (at, port) in left.ports.iter().enumerate().filter(|(_, port)| port.link) {
            match port.partner {
                Some(partner) => lagg.resume(at, partner, now),
                None => lagg.link(at, true, true, now),
            }
        }
        lagg.count_from(left.totals, &flaps);
        let failed = |error: io::Error| refused(&left.name, &error);
        let device = Device::inherit(left.device, &left.name, left.index).map_err(failed)?;
        let ports = left.ports.into_iter().map(inherit_port);
        Ok(KeptLagg {
            device: Gated::inherited(device, left.carrier),
            ports: ports.collect::<io::Result<_>>().map_err(failed)?,
            held: Held::inherit(HeldPorts {
                holder: left.holder,
                ports: left.held,
            })
            .map_err(io::Error::other)?,
            settings: left.settings,
            carrier: left.carrier,
            failovers: lagg.totals().failovers,
            recent: left.recent,
            probe: None,
            lagg,
        })
    }

    /// What the next program needs. All files stay open for it.
    pub(in super::super) fn hand_over(&self) -> io::Result<HandOver> {
        let mut left = HandOver::new(self.now());
        for kept in &self.laggs {
            left.laggs.push(kept.hand_over()?);
        }
        for vlan in &self.vlans {
            let socket = vlan.socket.as_ref().map(pass_on).transpose()?;
            left.vlans.push(VlanHandOver {
                name: vlan.device.name().to_owned(),
                index: vlan.device.index(),
                settings: vlan.settings.clone(),
                device: pass_on(&vlan.device)?,
                socket,
            });
        }
        Ok(left)
    }
}

impl KeptLagg {
    fn hand_over(&self) -> io::Result<LaggHandOver> {
        let lacp = self.lagg.lacp().unwrap_or_default();
        let ports = self.ports.iter().enumerate().map(|(at, port)| {
            let used = lacp.get(at).filter(|port| port.distributes());
            Ok(PortHandOver {
                name: port.name.clone(),
                own_mac: port.own_mac,
                link: port.link,
                flaps: self.lagg.flaps(at),
                socket: pass_on(&port.socket)?,
                control: port.control.as_ref().map(pass_on).transpose()?,
                partner: used.map(|port| port.partner),
            })
        });
        let held = self.held.held();
        Ok(LaggHandOver {
            name: self.device.name().to_owned(),
            index: self.device.index(),
            settings: self.settings.clone(),
            device: pass_on(&self.device)?,
            carrier: self.carrier,
            totals: self.lagg.totals(),
            recent: self.recent.clone(),
            holder: held.holder,
            held: held.ports,
            ports: ports.collect::<io::Result<_>>()?,
        })
    }
}

fn inherit_port(left: PortHandOver) -> io::Result<KeptPort> {
    Ok(KeptPort {
        name: left.name,
        own_mac: left.own_mac,
        link: left.link,
        socket: PortSocket::inherit(left.socket)?,
        control: left.control.map(ControlSocket::inherit).transpose()?,
    })
}

fn inherit_vlan(left: VlanHandOver) -> io::Result<KeptVlan> {
    let device = Device::inherit(left.device, &left.name, left.index)?;
    Ok(KeptVlan {
        device: Gated::inherited(device, false),
        settings: left.settings,
        socket: left.socket.map(PortSocket::inherit).transpose()?,
    })
}

fn is_wanted(wanted: &WantedLinks, name: &str, device: &WantedDevice) -> bool {
    let mut interfaces = wanted.interfaces.iter();
    interfaces.any(|interface| interface.name == name && interface.device == *device)
}

fn refused(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot go on with {name}: {error}"))
}
