//! Aggregated links at work: which port a frame leaves by, whose frames are taken, what happens
//! when a link fails. Pure: frames and the time go in.
//!
//! [`Lagg`] is what lagg(4) is in a kernel. Beyond it, it announces itself on a new port after a
//! failover (gratuitous ARP, unsolicited neighbour advertisements), and it can find links in
//! `failover` mode that have a carrier and pass nothing: each port asks a neighbour, under an
//! address of its own, whether it is there.

pub mod frame;
mod hash;
mod probe;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lacp::{Group, Info, MAX_PORTS, PortStatus, SLOW_PROTOCOLS, Settings};
use crate::{Protocol, WantedLagg};

use frame::ethernet_type;
use probe::Probes;

pub use hash::flow as flow_hash;
pub use probe::PROBE_INTERVAL;

/// How often a lagg announces itself after a failover: at once, and a second later for who was
/// busy relearning.
const ANNOUNCEMENTS: u8 = 2;
/// Time between them.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(1);
/// Addresses that are announced at most; a /24 of aliases.
const MAX_ADDRESSES: usize = 256;

/// Bits of a port's `flags=` (ifconfig(8)).
pub mod flags {
    /// The port that carries all when it can.
    pub const MASTER: u8 = 0x01;
    /// The port carries traffic.
    pub const ACTIVE: u8 = 0x04;
    /// Its frames are taken (LACP).
    pub const COLLECTING: u8 = 0x08;
    /// Frames are sent by it (LACP).
    pub const DISTRIBUTING: u8 = 0x10;
}

/// An address of the lagg, or of a VLAN on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The VLAN that it is in.
    pub vlan: Option<u16>,
    /// The address.
    pub address: IpAddr,
}

/// Whom the ports ask whether they work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The VLAN that it is in.
    pub vlan: Option<u16>,
    /// The neighbour.
    pub address: Ipv4Addr,
}

#[derive(Clone, Debug, Default)]
struct Port {
    mac: [u8; 6],
    link: bool,
    flaps: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Times that the traffic moved to another port (`failover`), or that the set of ports in use
    /// shrank.
    pub failovers: u64,
    /// When that was last.
    pub last_failover: Option<Duration>,
    /// Frames that were not taken, for they came by a port that is not in use.
    pub refused: u64,
    /// Frames that no port could send.
    pub unsent: u64,
}

/// Aggregated links. Ports are named by their place, from 0.
#[derive(Clone, Debug)]
pub struct Lagg {
    settings: WantedLagg,
    /// The lagg's own address: that of its first port.
    mac: [u8; 6],
    ports: Vec<Port>,
    group: Option<Group>,
    probes: Option<Probes>,
    addresses: Vec<OwnAddress>,
    /// Ports that frames may leave by.
    usable: Vec<usize>,
    turn: u32,
    out: VecDeque<(usize, Vec<u8>)>,
    announce: Option<(u8, Duration)>,
    totals: Totals,
}

impl Lagg {
    /// A lagg with ports of these own addresses, all without a link. What is beyond
    /// [`MAX_PORTS`] is left out.
    #[must_use]
    pub fn new(settings: &WantedLagg, macs: &[[u8; 6]]) -> Self {
        let mac = macs.first().copied().unwrap_or_default();
        let group = (settings.protocol == Protocol::Lacp).then(|| {
            let settings = Settings {
                active: settings.active,
                fast: settings.fast,
                strict: settings.strict,
                ..Settings::new(mac)
            };
            Group::new(settings, macs)
        });
        let port = |mac: &[u8; 6]| Port {
            mac: *mac,
            ..Port::default()
        };
        Self {
            settings: settings.clone(),
            mac,
            ports: macs.iter().take(MAX_PORTS).map(port).collect(),
            group,
            probes: None,
            addresses: Vec::new(),
            usable: Vec::new(),
            turn: 0,
            out: VecDeque::new(),
            announce: None,
            totals: Totals::default(),
        }
    }

    /// Lets the ports ask `target` whether they work (`failover` only).
    pub fn probe(&mut self, target: Option<ProbeTarget>, now: Duration) {
        let target = target.filter(|_| self.settings.protocol == Protocol::Failover);
        self.probes = target.map(|target| Probes::new(target, self.ports.len(), now));
    }

    /// The addresses to announce.
    pub fn set_addresses(&mut self, addresses: impl IntoIterator<Item = OwnAddress>) {
        self.addresses = addresses.into_iter().take(MAX_ADDRESSES).collect();
    }

    /// A link came up or went down.
    pub fn link(&mut self, port: usize, up: bool, full_duplex: bool, now: Duration) {
        let Some(entry) = self.ports.get_mut(port) else {
            return;
        };
        if entry.link != up {
            entry.link = up;
            entry.flaps += u64::from(!up);
            if let Some(probes) = &mut self.probes {
                probes.link(port, now);
            }
        }
        if let Some(group) = &mut self.group {
            group.link(port, up, full_duplex, now);
        }
        self.choose(now);
    }

    /// The link of a port is up and full-duplex, and the port goes on with the LACP partner that it
    /// had in another process, where it was in use.
    pub fn resume(&mut self, port: usize, partner: Info, now: Duration) {
        if let Some(port) = self.ports.get_mut(port) {
            port.link = true;
        }
        if let Some(group) = &mut self.group {
            group.resume(port, partner, now);
        }
        self.choose(now);
    }

    /// Goes on counting from what another process has counted; `flaps` of each port.
    pub fn count_from(&mut self, totals: Totals, flaps: &[u64]) {
        self.totals = totals;
        for (port, flaps) in self.ports.iter_mut().zip(flaps) {
            port.flaps = *flaps;
        }
    }

    /// Takes a frame that came by `port`, without its VLAN tag; true if it is for who is above.
    #[must_use]
    pub fn receive(&mut self, port: usize, frame: &[u8], tagged: bool, now: Duration) -> bool {
        if !tagged
            && ethernet_type(frame) == Some(SLOW_PROTOCOLS)
            && let Some(group) = &mut self.group
        {
            group.receive(port, frame, now);
            self.choose(now);
            return false;
        }
        let own = self
            .ports
            .get(port)
            .map(|port| port.mac)
            .unwrap_or_default();
        if let Some(probes) = &mut self.probes
            && probes.receive(port, own, frame, now)
        {
            self.choose(now);
            return false;
        }
        let takes = self.takes(port);
        self.totals.refused += u64::from(!takes);
        takes
    }

    fn takes(&self, port: usize) -> bool {
        if let Some(group) = &self.group {
            return group.ports().nth(port).is_some_and(|port| port.collects());
        }
        match self.settings.protocol {
            Protocol::None => false,
            Protocol::Failover => self.usable.contains(&port),
            Protocol::Lacp | Protocol::LoadBalance | Protocol::RoundRobin | Protocol::Broadcast => {
                true
            }
        }
    }

    /// The ports that a frame leaves by; none if there is none. `vlan`: the frame's, if its tag
    /// is not in it.
    pub fn send(&mut self, frame: &[u8], vlan: Option<u16>) -> &[usize] {
        let turn = self.turn / self.settings.round_robin_frames.max(1);
        let chosen = match self.settings.protocol {
            Protocol::Broadcast => return &self.usable,
            Protocol::Failover => 0,
            Protocol::RoundRobin => {
                self.turn = self.turn.wrapping_add(1);
                turn
            }
            Protocol::Lacp | Protocol::LoadBalance | Protocol::None => {
                hash::flow(frame, vlan, self.settings.hash)
            }
        };
        if self.usable.is_empty() {
            self.totals.unsent += 1;
            return &[];
        }
        let at = usize::try_from(chosen).unwrap_or_default() % self.usable.len();
        self.usable.get(at..=at).unwrap_or_default()
    }

    /// Does what is due. Calls without need are harmless.
    pub fn tick(&mut self, now: Duration) {
        if let Some(group) = &mut self.group {
            group.tick(now);
        }
        if let Some(probes) = &mut self.probes {
            let ports = self.ports.iter().enumerate();
            let up = ports
                .filter(|(_, port)| port.link)
                .map(|(at, p)| (at, p.mac));
            self.out.extend(probes.tick(up, now));
        }
        self.choose(now);
        self.announce_again(now);
    }

    /// When [`Lagg::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let group = self.group.as_ref().and_then(Group::deadline);
        let probes = self.probes.as_ref().map(Probes::deadline);
        let announce = self.announce.map(|(_, at)| at);
        [group, probes, announce].into_iter().flatten().min()
    }

    /// The next frame that the lagg itself sends, and its port; to be asked until there is none.
    #[must_use]
    pub fn next_frame(&mut self) -> Option<(usize, Vec<u8>)> {
        let lacp = self.group.as_mut().and_then(Group::next_frame);
        lacp.map(|(port, frame)| (port, frame.to_vec()))
            .or_else(|| self.out.pop_front())
    }

    /// Whether any frame can be sent: the carrier of the lagg.
    #[must_use]
    pub fn is_up(&self) -> bool {
        !self.usable.is_empty()
    }

    /// What was counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// LACP's view of the ports, if it runs.
    #[must_use]
    pub fn lacp(&self) -> Option<Vec<PortStatus>> {
        self.group.as_ref().map(|group| group.ports().collect())
    }

    /// The flags of a port, as ifconfig(8) prints them.
    #[must_use]
    pub fn flags(&self, port: usize) -> u8 {
        let mut bits = 0;
        if let Some(status) = self.group.as_ref().and_then(|g| g.ports().nth(port)) {
            let state = status.actor.state;
            let on = |bit, is: bool| if is { bit } else { 0 };
            bits |= on(flags::ACTIVE, status.active);
            bits |= on(flags::COLLECTING, state.has(crate::lacp::State::COLLECTING));
            bits |= on(
                flags::DISTRIBUTING,
                state.has(crate::lacp::State::DISTRIBUTING),
            );
            return bits;
        }
        if self.settings.protocol == Protocol::Failover && port == 0 {
            bits |= flags::MASTER;
        }
        if self.usable.contains(&port) {
            bits |= flags::ACTIVE;
        }
        bits
    }

    /// Times that a port lost its link.
    #[must_use]
    pub fn flaps(&self, port: usize) -> u64 {
        self.ports.get(port).map_or(0, |port| port.flaps)
    }

    /// Whether a port has a carrier and passes nothing.
    #[must_use]
    pub fn is_silent(&self, port: usize, now: Duration) -> bool {
        let link = self.ports.get(port).is_some_and(|port| port.link);
        link && self.probes.as_ref().is_some_and(|p| p.is_silent(port, now))
    }

    /// Finds the ports that are in use now.
    fn choose(&mut self, now: Duration) {
        let with_link = self.ports.iter().enumerate().filter(|(_, port)| port.link);
        let up: Vec<usize> = with_link.map(|(at, _)| at).collect();
        let usable = match (&self.group, self.settings.protocol) {
            (Some(group), _) => {
                let ports = group.ports().enumerate();
                ports
                    .filter(|(_, p)| p.distributes())
                    .map(|(at, _)| at)
                    .collect()
            }
            (None, Protocol::None) => Vec::new(),
            (None, Protocol::Failover) => self.best(&up, now).into_iter().collect(),
            (None, _) => up,
        };
        if usable == self.usable {
            return;
        }
        let before = std::mem::replace(&mut self.usable, usable);
        let lost = before.iter().any(|port| !self.usable.contains(port));
        if lost {
            self.totals.failovers += 1;
            self.totals.last_failover = Some(now);
        }
        if !self.usable.is_empty() && (lost || before.is_empty()) {
            self.announce(now, ANNOUNCEMENTS - 1);
        }
    }

    /// The first port that works; of those that pass nothing, the first.
    fn best(&self, up: &[usize], now: Duration) -> Option<usize> {
        let works = |port: &&usize| !self.is_silent(**port, now);
        up.iter().find(works).or(up.first()).copied()
    }

    fn announce_again(&mut self, now: Duration) {
        if let Some((left, at)) = self.announce
            && now >= at
        {
            self.announce(now, left - 1);
        }
    }

    /// Tells the neighbours where the addresses are now.
    fn announce(&mut self, now: Duration, left: u8) {
        self.announce = (left > 0).then(|| (left, now + ANNOUNCE_AGAIN));
        let frames: Vec<Vec<u8>> = self
            .addresses
            .iter()
            .map(|own| frame::announcement(self.mac, own.address, own.vlan))
            .collect();
        for frame in frames {
            for port in self.send(&frame, None).to_vec() {
                self.out.push_back((port, frame.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
