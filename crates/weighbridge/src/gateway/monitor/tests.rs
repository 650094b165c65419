//! The monitor with a line in between: who is down when, and what is an answer.

use pf_engine::engine::OnFailure;
use pf_engine::wire::build::{self, Ip, Segment};
use pf_engine::wire::{Meta, Transport};

use super::*;
use crate::gateway::settings::Probing;

const GATEWAY: &str = "192.0.2.254";

/// Has one interface with an address, and random numbers that begin with this one.
struct Own(u32);

impl Surroundings for Own {
    fn source(&self, interface: &str, target: IpAddr) -> Option<IpAddr> {
        (interface == "em0" && target.is_ipv4()).then(|| ip("192.0.2.1"))
    }

    fn random(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("address")
}

fn settings(kind: ProbeKind, targets: &[&str], quorum: usize) -> GatewaySettings {
    let target = |text: &&str| Target {
        address: ip(text),
        port: (kind == ProbeKind::Tcp).then_some(443),
    };
    GatewaySettings {
        interface: "em0".into(),
        address: ip(GATEWAY),
        auto_reply_to: true,
        targets: targets.iter().map(target).collect(),
        quorum,
        probing: Probing {
            kind,
            on_failure: OnFailure::Move,
            ..Probing::default()
        },
    }
}

/// A network in which some addresses answer at once.
struct Net {
    monitor: Monitor,
    now: Instant,
    silent: Vec<IpAddr>,
    events: Vec<(f64, bool)>,
    started: Instant,
    own: Own,
}

impl Net {
    fn new(settings: GatewaySettings) -> Self {
        let now = Instant::from_secs(1000);
        let mut monitor = Monitor::default();
        assert!(monitor.watch(now, vec![settings]).is_empty());
        Self {
            monitor,
            now,
            silent: Vec::new(),
            events: Vec::new(),
            started: now,
            own: Own(1),
        }
    }

    fn note(&mut self, events: Vec<Event>) {
        let after = self.now.saturating_since(self.started).as_secs_f64();
        let turned = events
            .into_iter()
            .map(|event| (after, event.cause.is_none()));
        self.events.extend(turned);
    }

    fn run(&mut self, seconds: f64) {
        let end = self.now.saturating_add(Duration::from_secs_f64(seconds));
        while let Some(due) = self.monitor.poll_timeout().filter(|due| *due <= end) {
            self.now = due;
            let (probes, events) = self.monitor.handle_timeout(due, &mut self.own);
            self.note(events);
            for probe in probes {
                self.deliver(&probe);
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, probe: &Probe) {
        let Payload::Packet(packet) = &probe.payload else {
            let id = (probe.interface.clone(), probe.next_hop);
            if !self.silent.contains(&probe.next_hop) {
                let events = self.monitor.handle_neighbor(self.now, &id);
                self.note(events);
            }
            return;
        };
        let Some(answer) = answer(packet).filter(|_| !self.is_silent(packet)) else {
            return;
        };
        let (follow, events) = self
            .monitor
            .handle_packet(self.now, "em0", &answer)
            .expect("an answer");
        self.note(events);
        let resets = follow.iter().map(|probe| match &probe.payload {
            Payload::Packet(packet) => Meta::parse(packet).expect("packet").tcp().copied(),
            Payload::Neighbor => None,
        });
        let is_tcp = Meta::parse(&answer).expect("packet").tcp().is_some();
        assert_eq!(
            resets.flatten().filter(|tcp| tcp.flags == 4).count(),
            usize::from(is_tcp)
        );
        let again = self.monitor.handle_packet(self.now, "em0", &answer);
        assert!(again.is_none(), "an answer answers once");
    }

    fn is_silent(&self, packet: &[u8]) -> bool {
        let meta = Meta::parse(packet).expect("packet");
        self.silent.contains(&meta.destination)
    }

    fn is_up(&self) -> bool {
        self.monitor.views(self.now)[0].up
    }
}

/// What a host answers.
fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let meta = Meta::parse(packet).expect("packet");
    let ip = Ip::new(meta.destination, meta.source);
    match meta.transport {
        Transport::Icmp(icmp) => {
            let payload = &packet[meta.payload_offset..];
            Some(build::icmp(&ip, 0, 0, icmp.parameter, payload))
        }
        Transport::Tcp(tcp) if tcp.flags == 2 => {
            let mut segment = Segment::new(tcp.destination_port, tcp.source_port, 0x12);
            segment.ack = tcp.seq.wrapping_add(1);
            Some(build::tcp(&ip, &segment, &[]))
        }
        Transport::Tcp(_)
        | Transport::Udp(_)
        | Transport::Icmp6(_)
        | Transport::Sctp(_)
        | Transport::Other
        | Transport::Fragment => None,
    }
}

#[test]
fn a_gateway_that_falls_silent_is_down_in_less_than_three_seconds_and_comes_back_after_five_answers()
 {
    for kind in [ProbeKind::Icmp, ProbeKind::Tcp, ProbeKind::Neighbor] {
        // Whenever between two probes it dies.
        for died_after in [10.0, 10.1, 10.25, 10.499] {
            let mut net = Net::new(settings(kind, &[GATEWAY], 1));
            net.run(died_after);
            assert_eq!(net.events, [], "{kind:?}");
            net.silent.push(ip(GATEWAY));
            net.run(20.0);
            let (detected, up) = net.events[0];
            assert!(
                !up && detected - died_after < 3.0,
                "{kind:?}: {:?}",
                net.events
            );
            net.silent.clear();
            net.run(10.0);
            let (returned, up) = net.events[1];
            assert!(
                up && returned - (died_after + 20.0) < 3.0,
                "{kind:?}: {:?}",
                net.events
            );
            assert_eq!(net.events.len(), 2);
            let view = &net.monitor.views(net.now)[0];
            assert_eq!((view.failures, view.up), (1, true));
        }
    }
}

#[test]
fn as_many_targets_as_the_quorum_says_must_work() {
    let targets = ["198.51.100.1", "198.51.100.2", "198.51.100.3"];
    for quorum in 1..=3 {
        let mut net = Net::new(settings(ProbeKind::Icmp, &targets, quorum));
        net.run(5.0);
        for (silent, target) in targets.iter().enumerate() {
            assert_eq!(net.is_up(), 3 - silent >= quorum);
            net.silent.push(ip(target));
            net.run(5.0);
        }
        assert!(!net.is_up());
        for answering in 1..=3 {
            net.silent.pop();
            net.run(5.0);
            assert_eq!(net.is_up(), answering >= quorum);
        }
        assert_eq!(net.events.len(), 2, "one failure, one return");
    }
}

#[test]
fn an_answer_by_another_interface_or_after_its_time_is_none() {
    let mut net = Net::new(settings(ProbeKind::Icmp, &[GATEWAY], 1));
    let (probes, _) = net.monitor.handle_timeout(net.now, &mut Own(7));
    let Payload::Packet(packet) = &probes[0].payload else {
        panic!("no packet");
    };
    let answer = answer(packet).expect("an answer");
    assert_eq!(net.monitor.handle_packet(net.now, "em1", &answer), None);
    let late = net.now.saturating_add(Duration::from_secs(1));
    net.monitor.handle_timeout(late, &mut Own(8));
    assert_eq!(net.monitor.handle_packet(late, "em0", &answer), None);
    for garbage in [&[][..], &[0x45], &[0x60; 30]] {
        assert_eq!(net.monitor.handle_packet(late, "em0", garbage), None);
    }
}

#[test]
fn a_line_without_an_address_to_ask_from_is_down() {
    let mut settings = settings(ProbeKind::Icmp, &[GATEWAY], 1);
    settings.interface = "em9".into();
    let mut net = Net::new(settings);
    net.run(3.0);
    assert!(!net.is_up());
}

#[test]
fn gateways_that_stay_keep_what_is_known_of_them() {
    let kept = settings(ProbeKind::Icmp, &[GATEWAY], 1);
    let mut net = Net::new(kept.clone());
    net.silent.push(ip(GATEWAY));
    net.run(5.0);
    let mut other = kept.clone();
    other.address = ip("192.0.2.253");
    assert_eq!(
        net.monitor
            .watch(net.now, vec![kept.clone(), other.clone()]),
        []
    );
    let up: Vec<bool> = net
        .monitor
        .views(net.now)
        .iter()
        .map(|view| view.up)
        .collect();
    assert_eq!(up, [true, false]);
    assert_eq!(net.monitor.watch(net.now, vec![other]), [kept]);
    assert!(net.is_up());
}

#[test]
fn what_is_under_way_is_bounded_when_nobody_looks() {
    let mut net = Net::new(settings(ProbeKind::Icmp, &[GATEWAY], 1));
    let later = net.now.saturating_add(Duration::from_hours(1));
    let (probes, _) = net.monitor.handle_timeout(later, &mut Own(7));
    assert_eq!(probes.len(), 1);
    assert!(net.monitor.poll_timeout().is_some_and(|due| due > later));
}
