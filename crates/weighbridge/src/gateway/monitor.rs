//! All gateways: when to probe whom, what answers mean, and who is down.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use pf_engine::time::Instant;
use pf_engine::wire::Meta;
use serde::{Deserialize, Serialize};

use super::health::{Cause, Change, Health, Thresholds};
use super::probe::{ProbeKind, Token};
use super::settings::{GatewaySettings, Target};

/// Which gateway: interface and address.
pub type GatewayId = (String, IpAddr);

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The interface that it leaves by.
    pub interface: String,
    /// The gateway that it goes to.
    pub next_hop: IpAddr,
    /// What is sent.
    pub payload: Payload,
}

/// What a [`Probe`] sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A packet, IP header first.
    Packet(Vec<u8>),
    /// The kernel is to ask the next hop for its link-layer address.
    Neighbor,
}

/// A gateway turned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which.
    pub gateway: GatewaySettings,
    /// Nothing: it works again.
    pub cause: Option<Cause>,
}

/// What is known of a gateway, as `weighbridge gateways` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayView {
    /// Its interface.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether it counts as working.
    pub up: bool,
    /// Seconds since it turned, or since it is probed.
    pub since: f64,
    /// How often it has gone down.
    pub failures: u64,
    /// How it is probed.
    pub kind: ProbeKind,
    /// How many targets have to work.
    pub quorum: usize,
    /// Its targets.
    pub targets: Vec<TargetView>,
}

impl GatewayView {
    /// Mean time to the answer in milliseconds, of as many targets as have to work: the slowest of the
    /// fastest `quorum` ones; nothing if fewer have answered.
    #[must_use]
    pub fn rtt_ms(&self) -> Option<f64> {
        let mut known: Vec<f64> = self.targets.iter().filter_map(|t| t.rtt_ms).collect();
        known.sort_by(f64::total_cmp);
        known.get(self.quorum.saturating_sub(1)).copied()
    }

    /// Lost probes in percent, of as many targets as have to work: a target that is dead beside enough
    /// others that work is no loss of the gateway's.
    #[must_use]
    pub fn loss_percent(&self) -> Option<u8> {
        let mut known: Vec<u8> = self.targets.iter().filter_map(|t| t.loss_percent).collect();
        known.sort_unstable();
        known.get(self.quorum.saturating_sub(1)).copied()
    }
}

/// A target of a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetView {
    /// Its address.
    pub address: IpAddr,
    /// Its port, for TCP.
    pub port: Option<u16>,
    /// Whether it counts as working.
    pub up: bool,
    /// Mean time to the answer in milliseconds, over the window; nothing without answers.
    pub rtt_ms: Option<f64>,
    /// Lost probes in percent, over the window.
    pub loss_percent: Option<u8>,
    /// Probes for which it still has to work before it counts again: a target that flaps has to
    /// for longer each time.
    pub to_go: u32,
    /// Probes sent.
    pub sent: u64,
    /// Probes answered in time.
    pub answered: u64,
}

/// What probes are made of.
pub trait Surroundings {
    /// The address of `interface` from which `target` is asked.
    fn source(&self, interface: &str, target: IpAddr) -> Option<IpAddr>;

    /// A number that nobody on the network can predict.
    fn random(&mut self) -> u32;
}

/// All gateways.
#[derive(Debug, Default)]
pub struct Monitor {
    gateways: BTreeMap<GatewayId, Gateway>,
}

#[derive(Debug)]
struct Gateway {
    settings: GatewaySettings,
    asked: Vec<Asked>,
    up: bool,
    since: Instant,
    failures: u64,
}

/// One target and its probes under way.
#[derive(Debug)]
struct Asked {
    target: Target,
    health: Health,
    next: Instant,
    /// When it was sent, and what the answer repeats (nothing where the kernel asks).
    under_way: VecDeque<(Instant, Option<Token>)>,
    sent: u64,
    answered: u64,
    /// Why it went down last.
    cause: Option<Cause>,
}

impl Monitor {
    /// Whether nobody is probed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.gateways.is_empty()
    }

    /// Probes these gateways from now on and no others; those that stay as they are keep what is
    /// known of them. Returns those that are probed no longer.
    pub fn watch(&mut self, now: Instant, wanted: Vec<GatewaySettings>) -> Vec<GatewaySettings> {
        let mut before = std::mem::take(&mut self.gateways);
        for settings in wanted {
            let id = (settings.interface.clone(), settings.address);
            let known = before.remove(&id);
            let same = known.filter(|gateway| gateway.settings == settings);
            let gateway = same.unwrap_or_else(|| Gateway::new(now, settings));
            self.gateways.insert(id, gateway);
        }
        before
            .into_values()
            .map(|gateway| gateway.settings)
            .collect()
    }

    /// When [`Monitor::handle_timeout`] wants to be called next, if ever.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = self.gateways.values().flat_map(Gateway::deadlines);
        due.min()
    }

    /// Gives up probes that have waited long enough, and makes those that are due.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        around: &mut dyn Surroundings,
    ) -> (Vec<Probe>, Vec<Event>) {
        let mut probes = Vec::new();
        let mut events = Vec::new();
        for gateway in self.gateways.values_mut() {
            gateway.give_up(now);
            probes.extend(gateway.probe(now, around));
            events.extend(gateway.judge(now));
        }
        (probes, events)
    }

    /// Whether `packet`, which came in by `interface`, is the answer to a probe: then it concerns
    /// nobody else. Also what is to be sent because of it.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        interface: &str,
        packet: &[u8],
    ) -> Option<(Vec<Probe>, Vec<Event>)> {
        let source = source_of(packet)?;
        let asks = |gateway: &&mut Gateway| {
            gateway.settings.interface == interface && gateway.asks(source)
        };
        let mut asking = self.gateways.values_mut().filter(asks).peekable();
        asking.peek()?;
        let meta = Meta::parse(packet).ok()?;
        asking.find_map(|gateway| gateway.handle_answer(now, packet, &meta))
    }

    /// Takes from the kernel that a neighbour has answered since `asked`.
    pub fn handle_neighbor(&mut self, now: Instant, id: &GatewayId) -> Vec<Event> {
        let Some(gateway) = self.gateways.get_mut(id) else {
            return Vec::new();
        };
        gateway.handle_neighbor(now);
        gateway.judge(now).into_iter().collect()
    }

    /// The gateways about which the kernel is to be asked whether they have answered.
    pub fn asked_neighbors(&self) -> impl Iterator<Item = &GatewayId> {
        let waiting = self.gateways.iter().filter(|(_, gateway)| {
            let is_neighbor = gateway.settings.probing.kind == ProbeKind::Neighbor;
            is_neighbor
                && gateway
                    .asked
                    .iter()
                    .any(|asked| !asked.under_way.is_empty())
        });
        waiting.map(|(id, _)| id)
    }

    /// What is known of all gateways.
    #[must_use]
    pub fn views(&self, now: Instant) -> Vec<GatewayView> {
        self.gateways
            .values()
            .map(|gateway| gateway.view(now))
            .collect()
    }
}

impl Gateway {
    /// The probes of several targets are spread over the interval.
    fn new(now: Instant, settings: GatewaySettings) -> Self {
        let count = u32::try_from(settings.targets.len().max(1)).unwrap_or(1);
        let step = settings.probing.interval / count;
        let asked = (0u32..).zip(&settings.targets).map(|(at, target)| Asked {
            target: *target,
            health: Health::default(),
            next: now.saturating_add(step.saturating_mul(at)),
            under_way: VecDeque::new(),
            sent: 0,
            answered: 0,
            cause: None,
        });
        Self {
            asked: asked.collect(),
            settings,
            up: true,
            since: now,
            failures: 0,
        }
    }

    fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let timeout = self.settings.probing.timeout;
        self.asked.iter().flat_map(move |asked| {
            let oldest = asked.under_way.front();
            let lost = oldest.map(|(sent, _)| sent.saturating_add(timeout));
            lost.into_iter().chain([asked.next])
        })
    }

    fn asks(&self, source: IpAddr) -> bool {
        let mut asked = self.asked.iter();
        asked.any(|asked| asked.target.address == source && !asked.under_way.is_empty())
    }

    /// Probes whose time is over are lost.
    fn give_up(&mut self, now: Instant) {
        let probing = self.settings.probing;
        for asked in &mut self.asked {
            while let Some((sent, _)) = asked.under_way.front()
                && sent.saturating_add(probing.timeout) <= now
            {
                asked.under_way.pop_front();
                asked.note(now, None, &probing.thresholds);
            }
        }
    }

    fn probe(&mut self, now: Instant, around: &mut dyn Surroundings) -> Vec<Probe> {
        let settings = &self.settings;
        let mut probes = Vec::new();
        for asked in self.asked.iter_mut().filter(|asked| asked.next <= now) {
            // After a pause of the whole machine there is nothing to catch up with.
            asked.next = now.saturating_add(settings.probing.interval);
            asked.sent = asked.sent.wrapping_add(1);
            let payload = asked.ask(now, settings, around);
            probes.extend(payload.map(|payload| Probe {
                interface: settings.interface.clone(),
                next_hop: settings.address,
                payload,
            }));
        }
        probes
    }

    fn handle_answer(
        &mut self,
        now: Instant,
        packet: &[u8],
        meta: &Meta,
    ) -> Option<(Vec<Probe>, Vec<Event>)> {
        let probing = self.settings.probing;
        let token = self.asked.iter_mut().find_map(|asked| {
            let fits = |token: &Token| token.is_answered_by(probing.kind, packet, meta);
            let mut under_way = asked.under_way.iter();
            let at = under_way.position(|(_, token)| token.as_ref().is_some_and(fits))?;
            // Answers come in the order of the questions: those before are lost. Were they given
            // up later, they would spoil the row of answers of a line that has just returned.
            for _ in 0..at {
                asked.under_way.pop_front();
                asked.note(now, None, &probing.thresholds);
            }
            let (sent, token) = asked.under_way.pop_front()?;
            asked.note(now, Some(now.saturating_since(sent)), &probing.thresholds);
            token
        })?;
        let reset = (probing.kind == ProbeKind::Tcp).then(|| Probe {
            interface: self.settings.interface.clone(),
            next_hop: self.settings.address,
            payload: Payload::Packet(token.reset()),
        });
        let events = self.judge(now);
        Some((reset.into_iter().collect(), events.into_iter().collect()))
    }

    fn handle_neighbor(&mut self, now: Instant) {
        let probing = self.settings.probing;
        for asked in &mut self.asked {
            if let Some((sent, _)) = asked.under_way.pop_front() {
                // One answer is as good for all questions.
                asked.under_way.clear();
                asked.note(now, Some(now.saturating_since(sent)), &probing.thresholds);
            }
        }
    }

    /// It works when enough of its targets do.
    fn judge(&mut self, now: Instant) -> Option<Event> {
        let working = self.asked.iter().filter(|asked| asked.health.is_up());
        let up = working.count() >= self.settings.quorum;
        if up == self.up {
            return None;
        }
        self.up = up;
        self.since = now;
        self.failures = self.failures.wrapping_add(u64::from(!up));
        let down = self.asked.iter().find(|asked| !asked.health.is_up());
        Some(Event {
            gateway: self.settings.clone(),
            cause: down.filter(|_| !up).and_then(|asked| asked.cause),
        })
    }

    fn view(&self, now: Instant) -> GatewayView {
        GatewayView {
            interface: self.settings.interface.clone(),
            address: self.settings.address,
            up: self.up,
            since: now.saturating_since(self.since).as_secs_f64(),
            failures: self.failures,
            kind: self.settings.probing.kind,
            quorum: self.settings.quorum,
            targets: self
                .asked
                .iter()
                .map(|asked| asked.view(&self.settings.probing.thresholds))
                .collect(),
        }
    }
}

impl Asked {
    fn note(&mut self, now: Instant, outcome: Option<Duration>, thresholds: &Thresholds) {
        self.answered = self.answered.wrapping_add(u64::from(outcome.is_some()));
        if let Some(Change::Down(cause)) = self.health.note(now, outcome, thresholds) {
            self.cause = Some(cause);
        }
    }

    /// Nothing where there is no address to ask from: that is a lost probe too.
    fn ask(
        &mut self,
        now: Instant,
        settings: &GatewaySettings,
        around: &mut dyn Surroundings,
    ) -> Option<Payload> {
        let kind = settings.probing.kind;
        if kind == ProbeKind::Neighbor {
            self.under_way.push_back((now, None));
            return Some(Payload::Neighbor);
        }
        let target = self.target;
        let Some(source) = around.source(&settings.interface, target.address) else {
            self.note(now, None, &settings.probing.thresholds);
            return None;
        };
        let token = Token::new(
            source,
            target.address,
            target.port.unwrap_or(0),
            &mut || around.random(),
        );
        self.under_way.push_back((now, Some(token)));
        Some(Payload::Packet(match kind {
            ProbeKind::Tcp => token.syn(),
            ProbeKind::Icmp | ProbeKind::Neighbor => token.echo_request(),
        }))
    }

    fn view(&self, thresholds: &Thresholds) -> TargetView {
        TargetView {
            address: self.target.address,
            port: self.target.port,
            up: self.health.is_up(),
            rtt_ms: self.health.rtt().map(|rtt| rtt.as_secs_f64() * 1000.0),
            loss_percent: self.health.loss(),
            to_go: self.health.to_go(thresholds),
            sent: self.sent,
            answered: self.answered,
        }
    }
}

/// The source address of a packet, without reading the rest: most packets answer no probe.
fn source_of(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => {
            let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            Some(IpAddr::from(source))
        }
        6 => {
            let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            Some(IpAddr::from(source))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
