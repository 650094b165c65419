//! An aggregation system: its ports, which of them are used together, and the frames to send.

use std::collections::VecDeque;
use std::time::Duration;

use super::MAX_PORTS;
use super::pdu::{FRAME_LEN, Info, LacpDu, Marker, MarkerKind, Pdu, State, marker_frame};
use super::port::{Churn, Counters, LagId, Mux, Port, Receive};

/// Steps of all machines that one event can cause at most; each port has five mux states.
const MAX_STEPS: usize = MAX_PORTS * 8;

/// Settings of a [`Group`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The system: a MAC address.
    pub system: [u8; 6],
    /// Priority of the system; the lower, the better.
    pub system_priority: u16,
    /// Key of all ports.
    pub key: u16,
    /// Priority of the ports.
    pub port_priority: u16,
    /// Send without being asked.
    pub active: bool,
    /// Ask the partner to send each second (`lacp_fast_timeout`).
    pub fast: bool,
    /// Use a link only when its partner is heard (`lacp_strict`).
    pub strict: bool,
}

impl Settings {
    /// As lagg(4) has them, but with the short time-out: silent failures are found in 3 seconds.
    #[must_use]
    pub fn new(system: [u8; 6]) -> Self {
        Self {
            system,
            system_priority: 0x8000,
            key: 1,
            port_priority: 0x8000,
            active: true,
            fast: true,
            strict: true,
        }
    }
}

/// How a port stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortStatus {
    /// This side, as it is sent.
    pub actor: Info,
    /// The other side, as it was heard.
    pub partner: Info,
    /// The receive machine.
    pub receive: Receive,
    /// The mux machine.
    pub mux: Mux,
    /// In the aggregator that carries the traffic.
    pub active: bool,
    /// This side's churn machine.
    pub actor_churn: Churn,
    /// The partner's.
    pub partner_churn: Churn,
    /// Counters.
    pub counters: Counters,
}

impl PortStatus {
    /// Frames that come by it are taken.
    #[must_use]
    pub fn collects(&self) -> bool {
        self.active && self.actor.state.has(State::COLLECTING)
    }

    /// Frames may be sent by it.
    #[must_use]
    pub fn distributes(&self) -> bool {
        self.active && self.actor.state.has(State::DISTRIBUTING)
    }
}

/// An aggregation system. Ports are named by their place, from 0.
#[derive(Clone, Debug)]
pub struct Group {
    settings: Settings,
    ports: Vec<Port>,
    active: Option<LagId>,
    out: VecDeque<(usize, [u8; FRAME_LEN])>,
}

impl Group {
    /// A system with the ports of these addresses, all down. Those beyond [`MAX_PORTS`] are left
    /// out.
    #[must_use]
    pub fn new(settings: Settings, ports: &[[u8; 6]]) -> Self {
        let ports = ports.iter().take(MAX_PORTS).zip(1..);
        Self {
            ports: ports
                .map(|(mac, number)| Port::new(number, *mac, &settings))
                .collect(),
            settings,
            active: None,
            out: VecDeque::new(),
        }
    }

    /// A link came up or went down. Telling the same again does nothing.
    pub fn link(&mut self, port: usize, up: bool, full_duplex: bool, now: Duration) {
        if let Some(port) = self.ports.get_mut(port) {
            port.link(up, full_duplex, &self.settings, now);
        }
        self.run(now);
    }

    /// The link of a port is up and full-duplex, and the port goes on as it did in another process,
    /// where its partner was `partner` and the port was in use.
    pub fn resume(&mut self, port: usize, partner: Info, now: Duration) {
        if let Some(port) = self.ports.get_mut(port) {
            // Nothing is sent before both: the partner would hear of a port that is not in use.
            port.link(true, true, &self.settings, now);
            port.resume(partner, now);
        }
        self.run(now);
    }

    /// Takes a frame with the slow protocols' Ethernet type.
    pub fn receive(&mut self, port: usize, frame: &[u8], now: Duration) {
        let own = self.settings.system;
        let Some(entry) = self.ports.get_mut(port) else {
            return;
        };
        match Pdu::parse(frame) {
            Err(_) => entry.counters.malformed += 1,
            Ok(Pdu::Lacp(pdu)) if pdu.actor.system == own => entry.counters.loops += 1,
            Ok(Pdu::Lacp(pdu)) => entry.take(&pdu, now),
            Ok(Pdu::Marker(marker)) => self.marker(port, marker, now),
        }
        self.run(now);
    }

    fn marker(&mut self, at: usize, marker: Marker, now: Duration) {
        let Some(port) = self.ports.get_mut(at) else {
            return;
        };
        if marker.kind == MarkerKind::Response || !port.is_enabled() {
            return;
        }
        if !port.transmit.take_marker(now) {
            port.counters.limited += 1;
            return;
        }
        port.counters.markers += 1;
        let answer = Marker {
            kind: MarkerKind::Response,
            ..marker
        };
        self.out.push_back((at, marker_frame(&answer, port.mac)));
    }

    /// Does what is due. Calls without need are harmless.
    pub fn tick(&mut self, now: Duration) {
        self.run(now);
    }

    /// The next frame to send and the port to send it by; to be asked until there is none.
    #[must_use]
    pub fn next_frame(&mut self) -> Option<(usize, [u8; FRAME_LEN])> {
        self.out.pop_front()
    }

    /// When [`Group::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.ports.iter().filter_map(Port::deadline).min()
    }

    /// How the ports stand, in order.
    pub fn ports(&self) -> impl Iterator<Item = PortStatus> + '_ {
        self.ports.iter().map(|port| PortStatus {
            actor: port.actor,
            partner: port.partner,
            receive: port.receive,
            mux: port.mux,
            active: port.selected.is_some() && port.selected == self.active,
            actor_churn: port.actor_churn,
            partner_churn: port.partner_churn,
            counters: port.counters,
        })
    }

    /// Whether a frame may be sent by any port.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.ports().any(|port| port.distributes())
    }

    fn run(&mut self, now: Duration) {
        for port in &mut self.ports {
            port.run_receive(&self.settings, now);
        }
        for _ in 0..MAX_STEPS {
            if !self.step(now) {
                break;
            }
        }
        self.choose();
        for at in 0..self.ports.len() {
            self.finish(at, now);
        }
    }

    /// One step of every mux machine; whether one changed.
    fn step(&mut self, now: Duration) -> bool {
        let mut changed = false;
        for at in 0..self.ports.len() {
            let ready = self.is_ready(at, now);
            let Some(port) = self.ports.get_mut(at) else {
                continue;
            };
            port.select(&self.settings);
            changed |= port.run_mux(ready, now);
        }
        changed
    }

    fn is_ready(&self, at: usize, now: Duration) -> bool {
        let wanted = self.ports.get(at).and_then(|port| port.selected);
        !self
            .ports
            .iter()
            .any(|port| port.selected == wanted && port.is_waiting(now))
    }

    /// The aggregator that carries the traffic: the present one while it can, else the one with
    /// the most links that work, then the best partner.
    fn choose(&mut self) {
        let usable = |id: LagId| {
            let here = self.ports.iter().filter(|p| p.selected == Some(id));
            here.filter(|p| p.actor.state.has(State::DISTRIBUTING))
                .count()
        };
        if self.active.is_some_and(|id| usable(id) > 0) {
            return;
        }
        let candidates = self.ports.iter().filter_map(|port| port.selected);
        let best = candidates.max_by_key(|id| (usable(*id), std::cmp::Reverse(*id)));
        if best.is_some() {
            self.active = best;
        }
    }

    /// Churn, period and transmission of a port.
    fn finish(&mut self, at: usize, now: Duration) {
        let Some(port) = self.ports.get_mut(at) else {
            return;
        };
        port.run_churn(now);
        if !port.is_enabled() {
            return;
        }
        port.transmit
            .run_periodic(port.actor.state, port.partner.state, now);
        let (send, put_off) = port.transmit.take(now);
        port.counters.limited += u64::from(put_off);
        if !send {
            return;
        }
        port.counters.sent += 1;
        let pdu = LacpDu {
            actor: port.actor,
            partner: port.partner,
        };
        self.out.push_back((at, pdu.frame(port.mac)));
    }
}
