//! Gateway health: sends the probes, takes the answers out of the traffic, and tells the engine.

use std::net::IpAddr;
use std::time::Duration;

use datapath::{Datapath, Reinjection};
use pf_engine::addr::Family;
use pf_engine::decision::{Exit, Hook};
use pf_engine::engine::{Engine, Uplink, Vacated};
use pf_engine::env::Env;
use pf_engine::rule::Direction;
use pf_engine::time::Instant;
use tracing::{debug, info, warn};

use super::env::LiveEnv;
use crate::config::Settings;
use crate::gateway::monitor::{Event, Monitor, Payload, Probe, Surroundings};
use crate::gateway::settings::{DefaultKeys, GATEWAYS_MAX, GatewaySettings};

/// How often the kernel is asked whether a neighbour has answered.
const NEIGHBOR_LOOK: Duration = Duration::from_millis(50);

/// The gateways, as the daemon keeps them.
#[derive(Debug)]
pub(super) struct Gateways {
    monitor: Monitor,
    configured: Vec<GatewaySettings>,
    defaults: DefaultKeys,
    /// The engine's epoch when the next hops of its rules were last looked at.
    seen: Option<u64>,
    next_look: Option<Instant>,
}

/// What probing works on.
pub(super) struct Around<'a> {
    pub(super) engine: &'a mut Engine,
    pub(super) env: &'a mut LiveEnv,
    pub(super) datapath: &'a mut Datapath,
    pub(super) now: Instant,
}

impl Gateways {
    /// Tells the engine its uplinks and begins to probe.
    pub(super) fn start(settings: &Settings, engine: &mut Engine, now: Instant) -> Self {
        let answering = settings.gateways.iter().filter(|g| g.auto_reply_to);
        let uplinks: Vec<Uplink> = answering
            .map(|gateway| Uplink {
                interface: gateway.interface.clone(),
                address: gateway.address,
            })
            .collect();
        if !uplinks.is_empty() {
            engine.set_uplinks(&uplinks);
        }
        let mut monitor = Monitor::default();
        monitor.watch(now, settings.gateways.clone());
        Self {
            monitor,
            configured: settings.gateways.clone(),
            defaults: settings.gateway_defaults,
            seen: None,
            next_look: None,
        }
    }

    /// What is known of them.
    pub(super) const fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// When [`Gateways::work`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = self.monitor.poll_timeout();
        [due, self.next_look].into_iter().flatten().min()
    }

    /// Whether the packet that met `hook` answers a probe: then nobody else sees it.
    pub(super) fn take_answer(&mut self, hook: Hook, packet: &[u8], around: Around<'_>) -> bool {
        if self.monitor.is_empty() || hook.direction != Direction::In {
            return false;
        }
        let Some(interface) = around.env.interface(hook.interface) else {
            return false;
        };
        let taken = self
            .monitor
            .handle_packet(around.now, &interface.name, packet);
        let Some((probes, events)) = taken else {
            return false;
        };
        self.carry_out(probes, events, around);
        true
    }

    /// Sends the probes that are due, and acts on those that had no answer.
    pub(super) fn work(&mut self, mut around: Around<'_>) {
        self.follow_rules(&mut around);
        if self.deadline().is_none_or(|due| due > around.now) {
            return;
        }
        let mut events = self.look_at_neighbors(&around);
        let mut own = Own(&mut *around.env);
        let (probes, turned) = self.monitor.handle_timeout(around.now, &mut own);
        events.extend(turned);
        self.carry_out(probes, events, around);
    }

    /// `probe-next-hops`: the next hops of the rules are probed too.
    fn follow_rules(&mut self, around: &mut Around<'_>) {
        let epoch = around.engine.epoch();
        if !self.defaults.probe_next_hops || self.seen == Some(epoch) {
            return;
        }
        self.seen = Some(epoch);
        let mut wanted = self.configured.clone();
        for (interface, address) in around.engine.next_hops() {
            let is_known =
                |known: &GatewaySettings| known.interface == interface && known.address == address;
            if wanted.len() < GATEWAYS_MAX && !self.configured.iter().any(is_known) {
                wanted.push(self.defaults.next_hop(&interface, address));
            }
        }
        for gone in self.monitor.watch(around.now, wanted) {
            let (interface, address) = (&gone.interface, gone.address);
            around.engine.set_next_hop_usable(interface, address, true);
        }
        self.seen = Some(around.engine.epoch());
    }

    fn look_at_neighbors(&mut self, around: &Around<'_>) -> Vec<Event> {
        let asked: Vec<_> = self.monitor.asked_neighbors().cloned().collect();
        self.next_look = None;
        let mut events = Vec::new();
        for id in asked {
            let index = around.env.interface_named(&id.0).map(|i| i.index);
            let answered = index.map(|index| around.datapath.neighbor_has_answered(index, id.1));
            match answered {
                Some(Ok(true)) => events.extend(self.monitor.handle_neighbor(around.now, &id)),
                Some(Ok(false)) | None => {
                    self.next_look = Some(around.now.saturating_add(NEIGHBOR_LOOK));
                }
                Some(Err(error)) => debug!("{error}"),
            }
        }
        events
    }

    fn carry_out(&mut self, probes: Vec<Probe>, events: Vec<Event>, mut around: Around<'_>) {
        for probe in probes {
            if probe.payload == Payload::Neighbor {
                self.next_look = Some(around.now.saturating_add(NEIGHBOR_LOOK));
            }
            send(&probe, &mut around);
        }
        for event in events {
            turn(&event, &mut around);
        }
    }
}

/// By its own gateway, whatever the routes say. Nobody looks at it on its way.
fn send(probe: &Probe, around: &mut Around<'_>) {
    let Some(interface) = around.env.interface_named(&probe.interface) else {
        return;
    };
    let interface = interface.index;
    let sent = match &probe.payload {
        Payload::Neighbor => around.datapath.ask_neighbor(interface, probe.next_hop),
        Payload::Packet(packet) => {
            let hook = Hook {
                interface,
                direction: Direction::Out,
            };
            let exit = Exit::Gateway {
                interface,
                next_hop: probe.next_hop,
            };
            let to = Reinjection::Generated(hook, exit);
            around.datapath.send(packet, None, to)
        }
    };
    // A probe that could not be sent has no answer either.
    if let Err(error) = sent {
        debug!(gateway = %probe.next_hop, %error, "cannot probe");
    }
}

/// The new choice first, then the states that it concerns.
fn turn(event: &Event, around: &mut Around<'_>) {
    let gateway = &event.gateway;
    let (interface, address) = (&gateway.interface, gateway.address);
    let Some(cause) = event.cause else {
        around.engine.set_next_hop_usable(interface, address, true);
        info!("gateway {address} on {interface} works again");
        return;
    };
    around.engine.set_next_hop_usable(interface, address, false);
    let policy = gateway.probing.on_failure;
    let vacated = around
        .engine
        .vacate_next_hop(interface, address, policy, &mut *around.env);
    reset(&vacated, around.datapath);
    let Vacated {
        moved,
        killed,
        kept,
        ..
    } = vacated;
    warn!(
        "gateway {address} on {interface} does not work: {cause}; \
         {moved} states moved, {killed} killed, {kept} kept"
    );
}

/// Clients need not wait for a connection that is gone.
fn reset(vacated: &Vacated, datapath: &mut Datapath) {
    for reset in &vacated.resets {
        let to = Reinjection::Back(reset.hook);
        if let Err(error) = datapath.send(&reset.bytes, Some(reset.ether), to) {
            debug!(%error, "reset lost");
        }
    }
}

struct Own<'a>(&'a mut LiveEnv);

impl Surroundings for Own<'_> {
    /// Of the target's family; link-local for a link-local target, and only for one.
    fn source(&self, interface: &str, target: IpAddr) -> Option<IpAddr> {
        let is_local = |address: IpAddr| match address {
            IpAddr::V4(_) => false,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let interface = self.0.interface_named(interface)?;
        let mut own = interface.addresses.iter().map(|own| own.address);
        own.find(|own| Family::of(*own) == Family::of(target) && is_local(*own) == is_local(target))
    }

    fn random(&mut self) -> u32 {
        self.0.random()
    }
}
