//! The devices of this program: laggs and VLANs, their ports, and the frames between them.

mod frames;
mod gate;
mod inherit;
mod status;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use datapath::Error;
use datapath::device::{BUFFER_LEN, ControlSocket, Device, Held, PortSocket};
use datapath::netlink::{Machine, Netlink};
use links::lagg::{Lagg, OwnAddress, ProbeTarget};
use links::plan::{Maker, Present, Step};
use links::show::Interface;
use links::{Protocol, WantedLagg, WantedLinks, WantedVlan};

use self::gate::Gated;
use super::state::read_last;

/// Failovers that are remembered for the last hour at most.
const MAX_RECENT: usize = 1_000;
const HOUR: Duration = Duration::from_hours(1);

/// All of them.
#[derive(Debug)]
pub(super) struct Keeper {
    /// The time at `start`.
    base: Duration,
    start: Instant,
    laggs: Vec<KeptLagg>,
    vlans: Vec<KeptVlan>,
    buffer: Vec<u8>,
    news: bool,
    /// When it is looked at what the daemon claims.
    claims_at: Duration,
    claim_is_wrong: bool,
}

#[derive(Debug)]
struct KeptLagg {
    settings: WantedLagg,
    lagg: Lagg,
    device: Gated,
    ports: Vec<KeptPort>,
    /// Released last.
    held: Held,
    carrier: bool,
    failovers: u64,
    recent: Vec<Duration>,
    probe: Option<ProbeTarget>,
}

#[derive(Debug)]
struct KeptPort {
    name: String,
    own_mac: [u8; 6],
    link: bool,
    socket: PortSocket,
    /// Of a lagg with LACP.
    control: Option<ControlSocket>,
}

#[derive(Debug)]
struct KeptVlan {
    device: Gated,
    settings: WantedVlan,
    /// Of a parent that is no lagg of ours.
    socket: Option<PortSocket>,
}

impl Keeper {
    pub(super) fn new(start: Instant) -> Self {
        Self {
            base: Duration::ZERO,
            start,
            laggs: Vec::new(),
            vlans: Vec::new(),
            buffer: vec![0; BUFFER_LEN],
            news: true,
            claims_at: Duration::ZERO,
            claim_is_wrong: false,
        }
    }

    /// Time since the start, that of the first of the programs that followed each other.
    pub(super) fn now(&self) -> Duration {
        self.base + self.start.elapsed()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.laggs.is_empty() && self.vlans.is_empty()
    }

    /// The names of the laggs.
    pub(super) fn laggs(&self) -> Vec<String> {
        self.laggs
            .iter()
            .map(|l| l.device.name().to_owned())
            .collect()
    }

    /// Does a step that is ours; false if it is the kernel's.
    pub(super) fn carry_out(
        &mut self,
        step: &Step,
        wanted: &WantedLinks,
        netlink: &mut Netlink,
    ) -> Result<bool, Error> {
        if let Step::MakeLagg {
            name,
            lagg,
            maker: Maker::Own,
        } = step
        {
            let described = wanted.interfaces.iter().find(|i| i.name == *name);
            let mtu = described.and_then(|i| i.mtu);
            self.make_lagg(name, lagg, mtu, &netlink.machine()?)?;
        } else if let Step::MakeVlan {
            name,
            vlan,
            maker: Maker::Own,
        } = step
        {
            self.make_vlan(name, vlan, &netlink.machine()?)?;
        } else if let Step::AddPort { of, .. } = step {
            return Ok(self.is_ours(of));
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn is_ours(&self, name: &str) -> bool {
        self.laggs.iter().any(|lagg| lagg.device.name() == name)
    }

    fn make_lagg(
        &mut self,
        name: &str,
        settings: &WantedLagg,
        mtu: Option<u32>,
        machine: &Machine,
    ) -> Result<(), Error> {
        let present = machine.snapshot().links;
        let find = |port: &String| present.iter().find(|link| link.name == *port);
        let macs: Vec<[u8; 6]> = settings
            .ports
            .iter()
            .map(|port| find(port).map(own_mac).unwrap_or_default())
            .collect();
        let first = settings.ports.first().and_then(find);
        let mtu = mtu.or(first.map(|port| port.mtu)).unwrap_or(1500);
        let mac = macs.first().copied().unwrap_or_default();
        let device = Device::create(name, mac, mtu)?;
        let held = Held::take(name, &settings.ports, mac, &macs)?;
        let ports = settings.ports.iter().zip(&macs);
        let ports = ports.map(|(port, own)| KeptPort::open(port, *own, settings.protocol));
        let ports = ports.collect::<Result<Vec<KeptPort>, Error>>()?;
        self.laggs.push(KeptLagg {
            settings: settings.clone(),
            lagg: Lagg::new(settings, &macs),
            device: Gated::new(device),
            ports,
            held,
            carrier: false,
            failovers: 0,
            recent: Vec::new(),
            probe: None,
        });
        Ok(())
    }

    fn make_vlan(
        &mut self,
        name: &str,
        settings: &WantedVlan,
        machine: &Machine,
    ) -> Result<(), Error> {
        let present = machine.snapshot().links;
        let parent = present.iter().find(|link| link.name == settings.parent);
        let mac = parent.and_then(|parent| parent.mac).unwrap_or_default();
        let mtu = parent.map_or(1500, |parent| parent.mtu);
        let socket = if self.is_ours(&settings.parent) {
            None
        } else {
            Some(PortSocket::open(&settings.parent)?)
        };
        let device = Device::create(name, mac, mtu)?;
        self.vlans.push(KeptVlan {
            device: Gated::new(device),
            settings: settings.clone(),
            socket,
        });
        Ok(())
    }

    /// Lets the ports of a lagg ask a neighbour.
    pub(super) fn probe(&mut self, lagg: &str, target: Option<ProbeTarget>) {
        let now = self.now();
        let found = self
            .laggs
            .iter_mut()
            .find(|kept| kept.device.name() == lagg);
        if let Some(kept) = found {
            kept.lagg.probe(target, now);
            kept.probe = target;
        }
    }

    /// Reads which links work and which addresses there are.
    pub(super) fn look(&mut self, netlink: &mut Netlink) -> Result<(), Error> {
        let interfaces = netlink.machine()?.interfaces();
        let now = self.now();
        for kept in &mut self.laggs {
            let name = kept.device.name();
            let own = interfaces.iter().filter(|i| i.name == name);
            let mut announced: Vec<OwnAddress> = own.flat_map(|i| addresses(i, None)).collect();
            for vlan in self
                .vlans
                .iter()
                .filter(|vlan| vlan.settings.parent == name)
            {
                let own = interfaces.iter().filter(|i| i.name == vlan.device.name());
                announced.extend(own.flat_map(|i| addresses(i, Some(vlan.settings.id))));
            }
            kept.lagg.set_addresses(announced);
            for (at, port) in kept.ports.iter_mut().enumerate() {
                let interface = interfaces.iter().find(|i| i.name == port.name);
                let link = interface.is_some_and(|i| i.carrier && i.flags & 1 != 0);
                if link != port.link {
                    port.link = link;
                    self.news = true;
                    kept.lagg.link(at, link, is_full_duplex(&port.name), now);
                }
            }
        }
        self.tick();
        Ok(())
    }

    /// Timers: LACP, questions, announcements; and what changes by them.
    pub(super) fn tick(&mut self) {
        let now = self.now();
        for kept in &mut self.laggs {
            kept.lagg.tick(now);
            kept.send_own();
            self.news |= kept.settle(now);
        }
        self.carriers();
    }

    /// A VLAN has the carrier of what it is on.
    fn carriers(&mut self) {
        for vlan in &mut self.vlans {
            let parent = &vlan.settings.parent;
            let lagg = self.laggs.iter().find(|l| l.device.name() == parent);
            vlan.device
                .set_carrier(lagg.is_none_or(|lagg| lagg.carrier));
        }
    }

    /// When [`Keeper::tick`] or [`Keeper::look_at_claims`] has something to do.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let laggs = self.laggs.iter().filter_map(|kept| kept.lagg.deadline());
        laggs.chain([self.claims_at]).min()
    }

    /// Whether the status has changed since this was asked.
    pub(super) fn has_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// Everything that frames come by.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let laggs = self.laggs.iter().flat_map(|kept| {
            let ports = kept.ports.iter().flat_map(KeptPort::fds);
            std::iter::once(kept.device.as_fd()).chain(ports)
        });
        let vlans = self.vlans.iter().flat_map(|vlan| {
            let socket = vlan.socket.iter().map(AsFd::as_fd);
            std::iter::once(vlan.device.as_fd()).chain(socket)
        });
        laggs.chain(vlans)
    }
}

impl KeptPort {
    fn open(name: &str, own_mac: [u8; 6], protocol: Protocol) -> Result<Self, Error> {
        let lacp = protocol == Protocol::Lacp;
        Ok(Self {
            name: name.to_owned(),
            own_mac,
            link: false,
            socket: PortSocket::open(name)?,
            control: lacp.then(|| ControlSocket::open(name)).transpose()?,
        })
    }

    fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let control = self.control.iter().map(AsFd::as_fd);
        control.chain(std::iter::once(self.socket.as_fd()))
    }
}

impl KeptLagg {
    /// Takes note of what has changed; whether something has.
    fn settle(&mut self, now: Duration) -> bool {
        let up = self.lagg.is_up();
        let failovers = self.lagg.totals().failovers;
        let news = up != self.carrier || failovers != self.failovers;
        if up != self.carrier {
            self.carrier = up;
            self.device.set_carrier(up);
        }
        if failovers != self.failovers && self.recent.len() < MAX_RECENT {
            self.recent.push(now);
        }
        self.failovers = failovers;
        self.recent.retain(|at| now < *at + HOUR);
        news
    }
}

fn report(error: &io::Error, name: &str) {
    tracing::debug!(%error, name, "a frame or a carrier was lost");
}

/// The address that a port has without its lagg: a keeper that died has left it the lagg's.
fn own_mac(port: &Present) -> [u8; 6] {
    let now = port.mac.unwrap_or_default();
    if port.controller.is_none() {
        return now;
    }
    let last = read_last().ok().flatten().unwrap_or_default();
    let ports = last.laggs.iter().flat_map(|lagg| &lagg.ports);
    let mut known = ports.filter(|known| known.name == port.name);
    known
        .find_map(|known| mac_of(&known.own_mac))
        .unwrap_or(now)
}

fn mac_of(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes?.try_into().ok()
}

/// What the driver says; links whose driver says nothing count as full-duplex.
fn is_full_duplex(name: &str) -> bool {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/duplex"));
    text.map_or(true, |text| text.trim() != "half")
}

fn addresses(interface: &Interface, vlan: Option<u16>) -> Vec<OwnAddress> {
    let shown = interface.addresses.iter();
    shown
        .map(|shown| OwnAddress {
            vlan,
            address: shown.address,
        })
        .collect()
}
