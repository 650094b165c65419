//! Gateway health: sends the probes, takes the answers out of the traffic, and tells the engine.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use datapath::{Datapath, Reinjection};
use pf_engine::addr::Family;
use pf_engine::decision::{Exit, Hook};
use pf_engine::engine::{Engine, Reset, Uplink, Vacated};
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
/// States that are looked at when a gateway has failed, and moved or ended if they are its own, before
/// packets get their turn.
const STATES_PER_TURN: usize = 2_048;

/// The gateways, as the daemon keeps them.
#[derive(Debug)]
pub(super) struct Gateways {
    monitor: Monitor,
    configured: Vec<GatewaySettings>,
    defaults: DefaultKeys,
    /// The engine's epoch when the next hops of its rules were last looked at.
    seen: Option<u64>,
    next_look: Option<Instant>,
    /// Those that have failed and whose states are being looked at, in their order.
    failed: VecDeque<Event>,
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
            failed: VecDeque::new(),
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

    /// The next piece of what is to be done with states of gateways that have failed. Packets have
    /// their turn in between.
    pub(super) fn vacate(&mut self, around: &mut Around<'_>) {
        let engine = &mut *around.engine;
        let (resets, vacated) = engine.go_on_vacating(STATES_PER_TURN, &mut *around.env);
        reset(&resets, around.datapath);
        if let Some((event, vacated)) = vacated.and_then(|it| Some((self.failed.pop_front()?, it)))
        {
            tell_failure(&event, &vacated);
        }
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
            self.turn(event, &mut around);
        }
    }

    /// The new choice first, then the states that it concerns.
    fn turn(&mut self, event: Event, around: &mut Around<'_>) {
        let gateway = &event.gateway;
        let (interface, address) = (&gateway.interface, gateway.address);
        if event.cause.is_none() {
            around.engine.set_next_hop_usable(interface, address, true);
            info!("gateway {address} on {interface} works again");
            return;
        }
        around.engine.set_next_hop_usable(interface, address, false);
        let policy = gateway.probing.on_failure;
        around.engine.begin_vacating(interface, address, policy);
        self.failed.push_back(event);
        self.vacate(around);
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

fn tell_failure(event: &Event, vacated: &Vacated) {
    let (interface, address) = (&event.gateway.interface, event.gateway.address);
    let Some(cause) = event.cause else {
        return;
    };
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
fn reset(resets: &[Reset], datapath: &mut Datapath) {
    for reset in resets {
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
