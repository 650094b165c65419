//! LACP between two systems over links that can be cut, on a clock of our own.

use std::time::Duration;

use links::lacp::{
    CHURN_TIME, Churn, FRAME_LEN, Group, Info, LacpDu, MAX_LACPDUS_PER_SECOND, Marker, MarkerKind,
    Mux, Pdu, Receive, Settings, State, marker_frame,
};
use proptest::prelude::*;

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
const STEP: Duration = Duration::from_millis(10);
/// The promise: no flow is without a link for longer.
const LONGEST_GAP: Duration = Duration::from_secs(3);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn mac(system: [u8; 6], port: usize) -> [u8; 6] {
    let mut mac = system;
    mac[4] = u8::try_from(port).expect("few ports");
    mac
}

fn group(system: [u8; 6], ports: usize) -> Group {
    configured(Settings::new(system), ports)
}

fn configured(settings: Settings, ports: usize) -> Group {
    let macs: Vec<[u8; 6]> = (0..ports).map(|port| mac(settings.system, port)).collect();
    Group::new(settings, &macs)
}

/// The other end of the links.
trait Peer {
    fn receive(&mut self, port: usize, frame: &[u8], now: Duration);
    fn link(&mut self, port: usize, up: bool, now: Duration);
    fn tick(&mut self, now: Duration);
    fn next_frame(&mut self) -> Option<(usize, [u8; FRAME_LEN])>;
    fn distributes(&self, port: usize) -> bool;
    fn collects(&self, port: usize) -> bool;
}

impl Peer for Group {
    fn receive(&mut self, port: usize, frame: &[u8], now: Duration) {
        Self::receive(self, port, frame, now);
    }
    fn link(&mut self, port: usize, up: bool, now: Duration) {
        Self::link(self, port, up, true, now);
    }
    fn tick(&mut self, now: Duration) {
        Self::tick(self, now);
    }
    fn next_frame(&mut self) -> Option<(usize, [u8; FRAME_LEN])> {
        Self::next_frame(self)
    }
    fn distributes(&self, port: usize) -> bool {
        self.ports().nth(port).is_some_and(|p| p.distributes())
    }
    fn collects(&self, port: usize) -> bool {
        self.ports().nth(port).is_some_and(|p| p.collects())
    }
}

/// A partner that, like several that are in use, forgets in `DEFAULTED` that it wanted to be
/// quick: it then sends every 30 seconds until it hears something. It has no mux machine.
struct Forgetful {
    ports: Vec<ForgetfulPort>,
    out: Vec<(usize, [u8; FRAME_LEN])>,
}

struct ForgetfulPort {
    partner: Info,
    heard: Option<Duration>,
    sent: Option<Duration>,
    up: bool,
}

impl Forgetful {
    fn new(ports: usize) -> Self {
        let port = |_| ForgetfulPort {
            partner: Info::default(),
            heard: None,
            sent: None,
            up: false,
        };
        Self {
            ports: (0..ports).map(port).collect(),
            out: Vec::new(),
        }
    }

    fn send(&mut self, at: usize, now: Duration) {
        let port = &mut self.ports[at];
        port.sent = Some(now);
        let usable = port.heard.is_some() && port.partner.state.has(State::SYNC);
        let mut state = State(0x0f);
        state.set(State(0x30), usable);
        let actor = Info {
            system_priority: 0xfffe,
            system: B,
            key: 7,
            port_priority: 1,
            port: u16::try_from(at).expect("few ports") + 1,
            state,
        };
        let partner = port.partner;
        self.out
            .push((at, LacpDu { actor, partner }.frame(mac(B, at))));
    }
}

impl Peer for Forgetful {
    fn receive(&mut self, at: usize, frame: &[u8], now: Duration) {
        let Ok(Pdu::Lacp(pdu)) = Pdu::parse(frame) else {
            panic!("no LACPDU");
        };
        let changed = self.ports[at].partner != pdu.actor;
        self.ports[at].partner = pdu.actor;
        self.ports[at].heard = Some(now);
        if changed || pdu.partner.system != B {
            self.send(at, now);
        }
    }
    fn link(&mut self, at: usize, up: bool, _now: Duration) {
        self.ports[at].up = up;
    }
    fn tick(&mut self, now: Duration) {
        for at in 0..self.ports.len() {
            let port = &mut self.ports[at];
            port.heard = port.heard.filter(|heard| now < *heard + secs(6));
            let period = if port.heard.is_some() {
                secs(1)
            } else {
                secs(30)
            };
            if port.heard.is_none() {
                port.partner = Info::default();
            }
            if port.up && port.sent.is_none_or(|sent| now >= sent + period) {
                self.send(at, now);
            }
        }
    }
    fn next_frame(&mut self) -> Option<(usize, [u8; FRAME_LEN])> {
        self.out.pop()
    }
    fn distributes(&self, at: usize) -> bool {
        let port = &self.ports[at];
        port.up && port.heard.is_some() && port.partner.state.has(State::SYNC)
    }
    fn collects(&self, at: usize) -> bool {
        self.distributes(at)
    }
}

/// Two systems and their links.
struct World<P> {
    now: Duration,
    a: Group,
    b: P,
    /// Whether frames get through; the carrier stays.
    whole: Vec<bool>,
    /// LACPDUs of ours, by port: the longest time between two.
    sent: Vec<(Option<Duration>, Duration)>,
    flow: Flows,
}

/// Flows from our side, each on the link that its hash gives it: how long each was lost.
#[derive(Default)]
struct Flows {
    lost_since: [Option<Duration>; 8],
    longest: Duration,
}

impl<P: Peer> World<P> {
    fn new(a: Group, b: P, links: usize) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            a,
            b,
            whole: vec![true; links],
            sent: vec![(None, Duration::ZERO); links],
            flow: Flows::default(),
        };
        for link in 0..links {
            world.carrier(link, true);
        }
        world
    }

    fn carrier(&mut self, link: usize, up: bool) {
        self.a.link(link, up, true, self.now);
        self.b.link(link, up, self.now);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            self.a.tick(self.now);
            self.b.tick(self.now);
            self.exchange();
            self.measure();
        }
    }

    fn exchange(&mut self) {
        loop {
            if let Some((port, frame)) = self.a.next_frame() {
                self.note(port);
                if self.whole[port] {
                    self.b.receive(port, &frame, self.now);
                }
            } else if let Some((port, frame)) = self.b.next_frame() {
                if self.whole[port] {
                    self.a.receive(port, &frame, self.now);
                }
            } else {
                return;
            }
        }
    }

    fn note(&mut self, port: usize) {
        let (last, longest) = &mut self.sent[port];
        let gap = self
            .now
            .saturating_sub(last.replace(self.now).unwrap_or(self.now));
        *longest = gap.max(*longest);
    }

    fn measure(&mut self) {
        let usable: Vec<usize> = self.usable();
        for (hash, lost) in self.flow.lost_since.iter_mut().enumerate() {
            let link = usable.get(hash % usable.len().max(1));
            if link.is_some_and(|link| self.whole[*link] && self.b.collects(*link)) {
                *lost = None;
            } else {
                let since = *lost.get_or_insert(self.now);
                self.flow.longest = self.flow.longest.max(self.now.saturating_sub(since) + STEP);
            }
        }
    }

    /// Links that our side sends by.
    fn usable(&self) -> Vec<usize> {
        let ports = self.a.ports().enumerate();
        ports
            .filter(|(_, p)| p.distributes())
            .map(|(at, _)| at)
            .collect()
    }

    /// Forgets what was measured so far.
    fn measure_anew(&mut self) {
        self.flow = Flows::default();
        for sent in &mut self.sent {
            sent.1 = Duration::ZERO;
        }
    }
}

fn pair(links: usize) -> World<Group> {
    World::new(group(A, links), group(B, links), links)
}

fn receive_of(world: &World<Group>, port: usize) -> Receive {
    world.a.ports().nth(port).expect("there").receive
}

#[test]
fn two_systems_use_both_links_within_three_seconds() {
    let mut world = pair(2);
    world.run(secs(3));
    assert_eq!(world.usable(), [0, 1]);
    assert!((0..2).all(|link| world.b.distributes(link)));
    let state = world.a.ports().next().expect("there").actor.state;
    assert_eq!(state, State(0x3f));
}

#[test]
fn a_system_that_goes_on_in_another_process_stays_in_use_on_both_sides() {
    let mut world = pair(2);
    world.run(secs(5));
    let partners: Vec<Info> = world.a.ports().map(|port| port.partner).collect();
    let flaps = |world: &World<Group>| world.b.ports().map(|port| port.counters.flaps).sum::<u64>();
    let before = flaps(&world);
    world.measure_anew();
    world.a = group(A, 2);
    for (port, partner) in partners.into_iter().enumerate() {
        world.a.resume(port, partner, world.now);
    }
    assert_eq!(world.usable(), [0, 1]);
    world.run(secs(10));
    assert_eq!(world.flow.longest, Duration::ZERO);
    assert_eq!(flaps(&world), before);
    assert!(world.sent.iter().all(|(_, gap)| *gap <= secs(1)));
}

#[test]
fn a_system_that_goes_on_without_its_partner_gives_it_up_in_time() {
    let mut world = pair(1);
    world.run(secs(5));
    let partner = world.a.ports().next().expect("there").partner;
    world.a = group(A, 1);
    world.a.resume(0, partner, world.now);
    world.whole[0] = false;
    world.run(secs(4));
    assert_eq!(receive_of(&world, 0), Receive::Expired);
    assert!(world.usable().is_empty());
}

#[test]
fn a_lost_carrier_takes_the_link_away_at_once_and_it_is_back_within_two_seconds() {
    let mut world = pair(2);
    world.run(secs(5));
    world.carrier(0, false);
    assert_eq!(world.usable(), [1]);
    world.run(secs(5));
    world.carrier(0, true);
    world.run(secs(2));
    assert_eq!(world.usable(), [0, 1]);
}

#[test]
fn a_silent_cut_is_found_in_three_seconds_and_repaired_in_three() {
    let mut world = pair(2);
    world.run(secs(5));
    world.measure_anew();
    world.whole[0] = false;
    world.run(secs(3));
    assert_eq!(world.usable(), [1]);
    world.run(secs(10));
    assert_eq!(receive_of(&world, 0), Receive::Defaulted);
    world.whole[0] = true;
    world.run(secs(3));
    assert_eq!(world.usable(), [0, 1]);
    assert!(
        world.flow.longest <= LONGEST_GAP,
        "{:?}",
        world.flow.longest
    );
}

/// For a minute one link or the other is dead: at once when the other is repaired.
fn alternate<P: Peer>(world: &mut World<P>, period: Duration, silent: bool) {
    world.run(secs(5));
    world.measure_anew();
    let end = world.now + secs(60);
    let mut dead = 0;
    while world.now < end {
        for link in 0..2 {
            if silent {
                world.whole[link] = link != dead;
            } else {
                world.carrier(link, link != dead);
            }
        }
        world.run(period);
        dead = 1 - dead;
    }
}

#[test]
fn links_that_fail_in_turn_leave_no_flow_without_one_for_more_than_three_seconds() {
    for silent in [true, false] {
        for period in [4, 6, 8, 12] {
            let mut world = pair(2);
            alternate(&mut world, secs(period), silent);
            let longest = world.flow.longest;
            assert!(
                longest <= LONGEST_GAP,
                "{period} s, silent {silent}: {longest:?}"
            );
        }
    }
}

#[test]
fn so_it_is_with_a_partner_that_forgets_to_be_quick() {
    for period in [6, 8, 12] {
        let mut world = World::new(group(A, 2), Forgetful::new(2), 2);
        alternate(&mut world, secs(period), true);
        let longest = world.flow.longest;
        assert!(longest <= LONGEST_GAP, "{period} s: {longest:?}");
    }
}

#[test]
fn a_port_without_a_partner_goes_on_sending_each_second() {
    let mut world = pair(1);
    world.run(secs(5));
    world.whole[0] = false;
    world.run(secs(20));
    world.measure_anew();
    world.run(secs(100));
    assert_eq!(receive_of(&world, 0), Receive::Defaulted);
    assert!(world.sent[0].1 <= secs(1), "{:?}", world.sent[0].1);
}

#[test]
fn a_slow_partner_is_told_every_30_seconds_and_lost_after_90() {
    let slow = |system| Settings {
        fast: false,
        ..Settings::new(system)
    };
    let (a, b) = (configured(slow(A), 1), configured(slow(B), 1));
    let mut world = World::new(a, b, 1);
    world.run(secs(40));
    world.measure_anew();
    world.run(secs(120));
    let gap = world.sent[0].1;
    assert!(gap > secs(29) && gap <= secs(31), "{gap:?}");
    world.whole[0] = false;
    world.run(secs(59));
    assert_eq!(receive_of(&world, 0), Receive::Current);
    world.run(secs(32));
    assert_ne!(receive_of(&world, 0), Receive::Current);
}

#[test]
fn two_passive_systems_say_nothing_and_one_active_one_is_enough() {
    let passive = |system| Settings {
        active: false,
        ..Settings::new(system)
    };
    let mut silent = World::new(configured(passive(A), 1), configured(passive(B), 1), 1);
    silent.run(secs(30));
    assert_eq!(silent.usable(), [] as [usize; 0]);
    let mut world = World::new(configured(passive(A), 1), group(B, 1), 1);
    world.run(secs(5));
    assert_eq!(world.usable(), [0]);
}

#[test]
fn without_a_partner_a_link_is_used_only_if_strictness_is_off() {
    for (strict, usable) in [(true, vec![]), (false, vec![0])] {
        let settings = Settings {
            strict,
            ..Settings::new(A)
        };
        let mut group = configured(settings, 1);
        group.link(0, true, true, Duration::ZERO);
        for second in 1..20 {
            group.tick(secs(second));
        }
        let used: Vec<usize> = group
            .ports()
            .enumerate()
            .filter(|(_, p)| p.distributes())
            .map(|(at, _)| at)
            .collect();
        assert_eq!(used, usable, "strict {strict}");
    }
}

#[test]
fn only_one_of_two_partners_is_used_and_the_other_when_it_is_gone() {
    let mut a = group(A, 2);
    let (mut b, mut c) = (group(B, 1), group([2, 0, 0, 0, 0, 0xc], 1));
    for port in 0..2 {
        a.link(port, true, true, Duration::ZERO);
    }
    b.link(0, true, true, Duration::ZERO);
    c.link(0, true, true, Duration::ZERO);
    let mut now = Duration::ZERO;
    let mut run = |a: &mut Group, until: Duration| {
        while now < until {
            now += STEP;
            a.tick(now);
            b.tick(now);
            c.tick(now);
            while let Some((port, frame)) = a.next_frame() {
                let to = if port == 0 { &mut b } else { &mut c };
                to.receive(0, &frame, now);
            }
            while let Some((_, frame)) = b.next_frame() {
                a.receive(0, &frame, now);
            }
            while let Some((_, frame)) = c.next_frame() {
                a.receive(1, &frame, now);
            }
        }
    };
    run(&mut a, secs(5));
    let used = |a: &Group| a.ports().map(|p| p.distributes()).collect::<Vec<_>>();
    assert_eq!(used(&a), [true, false]);
    a.link(0, false, true, secs(5));
    assert_eq!(used(&a), [false, true]);
    run(&mut a, secs(6));
}

#[test]
fn churn_is_told_after_a_minute_and_a_half_duplex_link_is_never_used() {
    let mut group = group(A, 2);
    group.link(0, true, true, Duration::ZERO);
    group.link(1, true, false, Duration::ZERO);
    let status = |group: &Group, at: usize| group.ports().nth(at).expect("there");
    group.tick(CHURN_TIME.checked_sub(STEP).unwrap());
    assert_eq!(status(&group, 0).partner_churn, Churn::Monitor);
    group.tick(CHURN_TIME);
    assert_eq!(status(&group, 0).partner_churn, Churn::Churned);
    assert_eq!(status(&group, 0).actor_churn, Churn::Churned);
    assert_eq!(status(&group, 1).receive, Receive::LacpDisabled);
    assert_eq!(status(&group, 1).mux, Mux::Detached);
}

#[test]
fn our_own_frames_are_a_loop_and_no_partner() {
    let mut group = group(A, 1);
    group.link(0, true, true, Duration::ZERO);
    let (_, frame) = group.next_frame().expect("a new link speaks at once");
    group.receive(0, &frame, STEP);
    let status = group.ports().next().expect("there");
    assert_eq!(
        (status.counters.loops, status.receive),
        (1, Receive::Expired)
    );
}

#[test]
fn markers_are_answered_and_no_more_than_ten_in_a_second() {
    let mut group = group(A, 1);
    group.link(0, true, true, Duration::ZERO);
    while group.next_frame().is_some() {}
    let marker = Marker {
        kind: MarkerKind::Information,
        port: 3,
        system: B,
        transaction: 99,
    };
    for _ in 0..50 {
        group.receive(0, &marker_frame(&marker, B), STEP);
    }
    let (_, frame) = group.next_frame().expect("an answer");
    let answer = Marker {
        kind: MarkerKind::Response,
        ..marker
    };
    assert_eq!(Pdu::parse(&frame), Ok(Pdu::Marker(answer)));
    let counters = group.ports().next().expect("there").counters;
    assert_eq!((counters.markers, counters.limited), (10, 40));
}

proptest! {
    /// Whatever comes and whenever: no panic, no more frames than allowed, no endless waking.
    #[test]
    fn no_sequence_of_frames_and_links_breaks_anything(
        events in prop::collection::vec(
            (0..4_usize, 0..3_u8, prop::collection::vec(any::<u8>(), 0..140), 0..3000_u64),
            1..60,
        )
    ) {
        let mut group = group(A, 3);
        let mut now = Duration::ZERO;
        let mut sent = [0_usize; 3];
        for (port, kind, mut bytes, millis) in events {
            now += Duration::from_millis(millis);
            match kind {
                0 => group.link(port, bytes.first().is_some_and(|b| b & 1 == 1), bytes.len() % 2 == 0, now),
                1 => group.receive(port, &bytes, now),
                _ => {
                    // Random contents in a frame that is one.
                    let mut frame = LacpDu::default().frame(B);
                    bytes.resize(FRAME_LEN, 0);
                    frame[16..].copy_from_slice(&bytes[16..]);
                    frame[16..18].copy_from_slice(&[1, 20]);
                    frame[36..38].copy_from_slice(&[2, 20]);
                    group.receive(port, &frame, now);
                }
            }
            for _ in 0..8 {
                if let Some(next) = group.deadline().filter(|next| *next <= now + STEP) {
                    group.tick(next.max(now));
                }
            }
            prop_assert!(group.deadline().is_none_or(|next| next > now), "it would wake for ever");
            while let Some((port, _)) = group.next_frame() {
                sent[port] += 1;
            }
        }
        let seconds = usize::try_from(now.as_secs()).expect("short") + 1;
        for sent in sent {
            prop_assert!(sent <= seconds * (MAX_LACPDUS_PER_SECOND + 10) + 3);
        }
    }

    #[test]
    fn any_bytes_are_a_pdu_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Pdu::parse(&bytes);
    }
}
