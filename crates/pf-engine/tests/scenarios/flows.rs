//! The flow cache: whoever has one has the same states and counters as who has none.

mod leads;
mod model;
mod modulated;
mod openings;
mod rulesets;

use std::time::Duration;

use pf_engine::decision::{DropReason, EtherAddresses, Exit, Hook, Packet, StateId, Verdict};
use pf_engine::engine::{FLOW_BEGINS_AT, FLOWS_AT_ONCE, FlowsRead, KillStates, STREAM_BEGINS_AT};
use pf_engine::rule::{Direction, PoolPorts, tcp_flags};
use pf_engine::ruleset::Ruleset;
use pf_engine::wire::Meta;

use self::model::{Done, Model, STATES_MAX};
use self::rulesets::rulesets;
use super::harness::*;
use super::talks::{Dice, Talk, answer};

/// Courses of traffic for each ruleset.
const SEEDS: u64 = 5;

/// Two boxes in the same traffic: one has a cache.
pub(super) struct Twins {
    pub(super) plain: Lab,
    pub(super) cached: Lab,
    model: Model,
    /// A change waits until the cache is empty.
    waits: bool,
    /// The last packet has not been sent out by the engine.
    goes_on: bool,
}

impl Twins {
    pub(super) fn new(ruleset: &Ruleset) -> Self {
        let model = Model::default();
        let mut cached = Lab::router(ruleset.clone());
        cached.engine.set_flow_cache(Box::new(model.clone()));
        Self {
            plain: Lab::router(ruleset.clone()),
            cached,
            model,
            waits: false,
            goes_on: false,
        }
    }

    /// The packet meets both; returns it if it passes.
    pub(super) fn packet(
        &mut self,
        direction: Direction,
        name: &str,
        bytes: &[u8],
        frame: u8,
    ) -> Option<Vec<u8>> {
        let onward = EtherAddresses {
            source: mac(frame),
            destination: mac(9),
        };
        let is_back = matches!((direction, name), (In, "em1") | (Out, "em0"));
        let packet = Packet {
            bytes: bytes.to_vec(),
            ether: Some(if is_back { onward.reversed() } else { onward }),
            ..Packet::default()
        };
        let hook = Hook {
            interface: self.plain.index(name),
            direction,
        };
        let mut first = packet.clone();
        let now = self.plain.now;
        let lab = &mut self.plain;
        let wanted = lab
            .engine
            .handle_packet(now, hook, &mut first, &mut lab.env);
        let mut second = packet.clone();
        let done = self.model.meet(now, hook, &mut second);
        if done != Done::Nothing {
            let as_it_came = match done {
                Done::Passed => Verdict::Pass(Exit::Continue),
                Done::Led(exit) => Verdict::Pass(exit),
                Done::Dropped | Done::Nothing => Verdict::Drop(DropReason::Match),
            };
            assert_eq!(wanted.verdict, as_it_came, "{packet:?}");
            assert_eq!(first, second);
            assert_eq!((wanted.generated, wanted.logged), (vec![], vec![]));
            assert_eq!(wanted.handling, pf_engine::decision::Handling::default());
            self.goes_on = done == Done::Passed;
            return (done != Done::Dropped).then_some(second.bytes);
        }
        let lab = &mut self.cached;
        let found = lab
            .engine
            .handle_packet(now, hook, &mut second, &mut lab.env);
        assert_eq!(found, wanted);
        assert_eq!(second, first);
        self.goes_on = found.verdict == Verdict::Pass(Exit::Continue);
        matches!(found.verdict, Verdict::Pass(_)).then_some(second.bytes)
    }

    pub(super) fn both(&mut self, change: impl Fn(&mut Lab)) {
        change(&mut self.plain);
        change(&mut self.cached);
    }

    /// Both have the same states and counters.
    pub(super) fn compare(&mut self) {
        self.cached.engine.read_flows();
        let all = |lab: &Lab| {
            let states = lab.engine.states_from(StateId(0), lab.now);
            let states: Vec<String> = states.map(|state| format!("{state:?}")).collect();
            (counters(&lab.engine, lab.now), states)
        };
        let (plain, cached) = (all(&self.plain), all(&self.cached));
        assert_eq!(plain.1, cached.1);
        assert_eq!(plain.0, cached.0);
    }

    /// Of a few states both have the same, whatever the cache has not told of the others.
    fn compare_page(&mut self, from: StateId, max: usize) {
        self.cached.engine.read_flows_from(from, max);
        let page = |lab: &Lab| {
            let states = lab.engine.states_from(from, lab.now).take(max);
            states.map(|state| format!("{state:?}")).collect::<Vec<_>>()
        };
        assert_eq!(page(&self.plain), page(&self.cached));
    }

    pub(super) fn passed(&self) -> u64 {
        self.model.passed()
    }

    fn translated(&self) -> u64 {
        self.model.translated()
    }

    pub(super) fn modulated(&self) -> u64 {
        self.model.modulated()
    }

    fn led(&self) -> u64 {
        self.model.led()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.model.dropped()
    }
}

/// What happens beside packets.
fn event(twins: &mut Twins, ruleset: &Ruleset, dice: &mut Dice) {
    match dice.below(12) {
        0 => twins.both(|lab| lab.wait(1)),
        1 => twins.both(|lab| lab.wait(45)),
        2 => twins.both(|lab| lab.skip_time(70)),
        3 => twins.both(|lab| {
            lab.engine.settle_flows();
            lab.load(ruleset.clone());
        }),
        4 => twins.both(|lab| {
            let host = prefix("10.0.0.5");
            kill(lab, KillStates::Hosts(host, None));
        }),
        5 => twins.both(|lab| lab.set_interfaces(|_| {})),
        6 => twins.both(|lab| lab.engine.clear_rule_counters()),
        7 => twins.both(|lab| {
            lab.engine.settle_flows();
        }),
        8 => twins.both(|lab| lab.engine.suspend_flows()),
        9 | 10 => {
            twins.cached.engine.pause_flows();
            twins.waits = true;
        }
        _ => twins.compare(),
    }
}

/// What the daemon does between packets: pieces of emptying and reading the cache, and a change that
/// waits until it is empty.
fn piece(twins: &mut Twins, ruleset: &Ruleset, reading: &mut FlowsRead, dice: &mut Dice) {
    let few = 1 + usize::try_from(dice.below(3)).unwrap();
    match dice.below(5) {
        0 => {
            let engine = &mut twins.cached.engine;
            *reading = engine.read_flows_piece(*reading, few).unwrap_or_default();
        }
        1 => twins.compare_page(StateId(dice.below(40)), few),
        _ => {
            let has_more = twins.cached.engine.settle_flows_piece(few);
            if !has_more && twins.waits && dice.one_in(3) {
                twins.both(|lab| lab.load(ruleset.clone()));
                twins.cached.engine.resume_flows();
                twins.waits = false;
            }
        }
    }
}

/// Random traffic over both hooks of both interfaces.
fn run(ruleset: &Ruleset, seed: u64, steps: u32) -> Twins {
    let mut dice = Dice(seed);
    let mut twins = Twins::new(ruleset);
    let mut talks: Vec<Talk> = (0..6).map(|_| Talk::new(&mut dice)).collect();
    let mut asked: Vec<Option<Vec<u8>>> = vec![None; talks.len()];
    let mut reading = FlowsRead::default();
    for step in 0..steps {
        let at = usize::try_from(dice.below(6)).unwrap();
        if dice.one_in(60) {
            talks[at] = Talk::new(&mut dice);
            asked[at] = None;
        }
        let (mut bytes, forward) = talks[at].next(&mut dice);
        if let Some(question) = asked[at].as_ref().filter(|_| !forward) {
            answer(&mut bytes, question);
        }
        let (from, to) = if forward {
            ("em0", "em1")
        } else {
            ("em1", "em0")
        };
        let frame = if dice.one_in(30) { 2 } else { 1 };
        let entered = twins.packet(In, from, &bytes, frame);
        let left = if twins.goes_on {
            entered.and_then(|bytes| twins.packet(Out, to, &bytes, frame))
        } else {
            entered
        };
        if let Some(arrived) = &left {
            talks[at].arrived(forward, &bytes, arrived);
        }
        asked[at] = left.filter(|_| forward).or(asked[at].take());
        if !dice.one_in(4) {
            twins.cached.engine.fill_flow_cache();
        }
        if step % 7 == 0 {
            twins.cached.engine.follow_flows();
        }
        if dice.one_in(3) {
            piece(&mut twins, ruleset, &mut reading, &mut dice);
        }
        if dice.one_in(50) {
            let pause = Duration::from_millis(dice.below(3000));
            twins.both(|lab| lab.now = lab.now.saturating_add(pause));
        }
        if dice.one_in(40) {
            event(&mut twins, ruleset, &mut dice);
        }
    }
    twins.compare();
    twins
}

#[test]
fn who_has_a_flow_cache_decides_and_counts_as_who_has_none() {
    for (name, ruleset, [passes, drops]) in rulesets() {
        let (mut passed, mut dropped) = (0, 0);
        let (mut translated, mut modulated, mut led) = (0, 0, 0);
        for seed in 1..=SEEDS {
            let twins = run(&ruleset, seed, 1500);
            passed += twins.passed();
            dropped += twins.dropped();
            translated += twins.translated();
            modulated += twins.modulated();
            led += twins.led();
        }
        assert_eq!(passed > 0, passes, "{name}: {passed} packets by the cache");
        assert_eq!(dropped > 0, drops, "{name}: {dropped} were dropped");
        let much = translated > 100 * SEEDS;
        let expects_it = name.starts_with("translation");
        assert_eq!(much, expects_it, "{name}: {translated}");
        let much = modulated > 100 * SEEDS;
        assert_eq!(much, name.ends_with("modulated"), "{name}: {modulated}");
        assert_eq!(led > 0, name.ends_with("routed"), "{name}: {led}");
    }
}

#[test]
fn a_state_that_the_cache_keeps_busy_does_not_expire_and_an_idle_one_does() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    let (client, server) = (("10.0.0.5", 5000), ("192.0.2.80", 53));
    for _ in 0..FLOW_BEGINS_AT / 2 {
        assert!(
            twins
                .packet(In, "em0", &udp(client, server, 10), 1)
                .is_some()
        );
        assert!(
            twins
                .packet(Out, "em0", &udp(server, client, 10), 1)
                .is_some()
        );
    }
    assert_eq!(twins.cached.engine.fill_flow_cache(), 1);
    for _ in 0..10 {
        twins.both(|lab| lab.wait(50));
        assert!(
            twins
                .packet(In, "em0", &udp(client, server, 10), 1)
                .is_some()
        );
    }
    twins.compare();
    assert_eq!(twins.passed(), 10);
    assert_eq!(twins.cached.states().len(), 1);
    twins.both(|lab| lab.wait(80));
    assert_eq!(twins.cached.states().len(), 0);
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
    twins.compare();
}

#[test]
fn what_nobody_answers_is_in_the_cache_from_its_second_packet_on_and_a_question_is_not() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    let (client, server) = (("10.0.0.5", 5000), ("192.0.2.80", 53));
    let ask = |twins: &mut Twins| {
        twins.packet(In, "em0", &udp(client, server, 10), 1);
        twins.cached.engine.fill_flow_cache()
    };
    let answer = |twins: &mut Twins| {
        twins.packet(Out, "em0", &udp(server, client, 10), 1);
        twins.cached.engine.fill_flow_cache()
    };
    for _ in 1..STREAM_BEGINS_AT {
        assert_eq!(ask(&mut twins), 0);
    }
    assert_eq!(ask(&mut twins), 1);
    assert_eq!(ask(&mut twins), 0);
    assert_eq!(twins.passed(), 1);
    answer(&mut twins);
    twins.compare();
    twins.both(|lab| lab.skip_time(90));
    assert_eq!((ask(&mut twins), answer(&mut twins)), (0, 0), "asked once");
    assert_eq!((ask(&mut twins), answer(&mut twins)), (0, 1), "and again");
    assert_eq!((ask(&mut twins), answer(&mut twins)), (0, 0));
    assert_eq!(twins.passed(), 3);
    twins.compare();
}

#[test]
fn a_port_is_free_when_the_state_that_had_it_is_over_in_the_cache_as_well() {
    let mut twins = Twins::new(&rulesets::translated());
    let client = ("10.0.0.5", 5000);
    let ask = |twins: &mut Twins, server| {
        let passed = twins.packet(In, "em0", &udp(client, (server, 80), 10), 1);
        Meta::parse(&passed.unwrap()).unwrap().ports().unwrap().0
    };
    for _ in 0..FLOW_BEGINS_AT {
        assert_eq!(ask(&mut twins, "192.0.2.80"), 5000);
    }
    assert_eq!(twins.cached.engine.fill_flow_cache(), 1);
    twins.both(|lab| lab.skip_time(20));
    assert_eq!(ask(&mut twins, "192.0.2.80"), 5000);
    assert_eq!(twins.passed(), 1);
    // The engine has not heard of that one.
    twins.both(|lab| lab.skip_time(20));
    assert_ne!(ask(&mut twins, "192.0.2.81"), 5000, "it is still there");
    twins.both(|lab| lab.skip_time(70));
    assert_eq!(twins.cached.engine.flow_statistics().held, 1);
    assert_eq!(ask(&mut twins, "192.0.2.82"), 5000);
    twins.compare();
}

#[test]
fn who_looks_for_a_port_among_many_that_are_taken_asks_the_cache_about_few() {
    const PORTS: u16 = 300;
    let mut rules = rulesets::translated();
    rules.nat[0].nat.as_mut().unwrap().ports = Some(PoolPorts::Range(20_001, 20_000 + PORTS));
    let mut twins = Twins::new(&rules);
    let ask = |twins: &mut Twins, at: u16| {
        let client = format!("10.0.{}.{}", at / 90, at % 90 + 1);
        let packet = udp((client.as_str(), 5000), ("192.0.2.80", 53), 10);
        twins.packet(Out, "em1", &packet, 1).is_some()
    };
    for at in 0..PORTS {
        for _ in 0..FLOW_BEGINS_AT {
            assert!(ask(&mut twins, at));
        }
    }
    assert_eq!(twins.cached.engine.fill_flow_cache(), usize::from(PORTS));
    let asked = twins.model.calls();
    assert!(!ask(&mut twins, PORTS), "there is none");
    assert!(twins.model.calls() - asked < 70);
    twins.compare();
}

#[test]
fn a_flow_leaves_the_cache_with_its_state() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    let (client, server) = (("10.0.0.5", 5000), ("192.0.2.80", 53));
    for _ in 0..FLOW_BEGINS_AT {
        twins.packet(In, "em0", &udp(client, server, 10), 1);
    }
    twins.cached.engine.fill_flow_cache();
    assert!(
        twins
            .packet(In, "em0", &udp(client, server, 10), 1)
            .is_some()
    );
    assert_eq!(twins.passed(), 1);
    twins.both(|lab| {
        assert_eq!(kill(lab, KillStates::All), 1);
    });
    twins.both(|lab| lab.load(filter(&[block()])));
    assert!(
        twins
            .packet(In, "em0", &udp(client, server, 10), 1)
            .is_none()
    );
    twins.compare();
}

pub(super) const CLIENT: (&str, u16) = ("10.0.0.5", 5000);
pub(super) const SERVER: (&str, u16) = ("192.0.2.80", 80);

impl Twins {
    /// A segment of a connection through both hooks, on its way from the client or to it.
    fn segment(&mut self, forward: bool, flags: u8, (seq, ack): (u32, u32), data: usize) {
        let (ends, hooks) = if forward {
            ((CLIENT, SERVER), ["em0", "em1"])
        } else {
            ((SERVER, CLIENT), ["em1", "em0"])
        };
        let scale: &[u8] = if flags & tcp_flags::SYN == 0 {
            &[]
        } else {
            &[3, 3, 7, 1]
        };
        let bytes = tcp_with(ends.0, ends.1, flags, seq, ack, data, scale);
        for (direction, name) in [In, Out].into_iter().zip(hooks) {
            let passed = self.packet(direction, name, &bytes, 1);
            assert_eq!(passed.as_ref(), Some(&bytes), "{flags:#x} {direction:?}");
        }
        self.compare();
    }

    pub(super) fn decided(&self) -> u64 {
        self.cached.engine.flow_statistics().decided
    }
}

pub(super) const SYN: u8 = tcp_flags::SYN;
pub(super) const ACK: u8 = tcp_flags::ACK;
pub(super) const FIN: u8 = tcp_flags::FIN;
const RST: u8 = tcp_flags::RST;

#[test]
fn of_a_connection_that_takes_its_course_the_first_packet_alone_comes_up() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    twins.segment(true, SYN, (100, 0), 0);
    assert_eq!(twins.decided(), 2, "once at each hook");
    twins.segment(false, SYN | ACK, (9000, 101), 0);
    twins.segment(true, ACK, (101, 9001), 0);
    twins.segment(true, ACK, (101, 9001), 10);
    twins.segment(false, ACK, (9001, 111), 1400);
    twins.segment(false, ACK | FIN, (10_401, 111), 0);
    twins.segment(true, ACK, (111, 10_402), 0);
    twins.segment(true, ACK | FIN, (111, 10_402), 0);
    twins.segment(false, ACK, (10_402, 112), 0);
    assert_eq!(twins.decided(), 2);
    assert_eq!(twins.cached.engine.flow_statistics().held, 2);
    let asked = twins.model.calls();
    twins.cached.engine.follow_flows();
    assert_eq!(
        twins.model.calls(),
        asked + 1,
        "taken without being read first"
    );
    assert_eq!(twins.cached.engine.flow_statistics().held, 0, "it is over");
    twins.segment(true, ACK, (112, 10_402), 0);
    assert_eq!(twins.decided(), 4);
    twins.compare();
}

#[test]
fn a_reset_ends_a_connection_in_the_cache_if_it_is_exact() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    twins.segment(true, SYN, (100, 0), 0);
    twins.segment(false, SYN | ACK, (9000, 101), 0);
    twins.segment(true, ACK, (101, 9001), 0);
    let astray = tcp(CLIENT, SERVER, RST | ACK, 150, 8000, 0);
    assert_eq!(twins.packet(In, "em0", &astray, 1), None);
    assert_eq!(twins.decided(), 3, "what does not fit comes up");
    twins.segment(true, RST | ACK, (101, 9001), 0);
    twins.cached.engine.follow_flows();
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
    twins.compare();
}

#[test]
fn many_flows_are_put_read_and_taken_in_a_handful_of_questions() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    let many = u64::from(STATES_MAX) + 50;
    for at in 0..many {
        let client = format!("10.0.{}.{}", at / 90, at % 90 + 1);
        for _ in 0..FLOW_BEGINS_AT {
            let packet = udp((client.as_str(), 5000), ("192.0.2.80", 53), 10);
            assert!(twins.packet(In, "em0", &packet, 1).is_some());
        }
    }
    let asked = |twins: &Twins| twins.model.calls();
    let before = asked(&twins);
    let put = twins.cached.engine.fill_flow_cache();
    assert_eq!((put, asked(&twins) - before), (STATES_MAX as usize, 1));
    let flows = twins.cached.engine.flow_statistics();
    assert_eq!((flows.held, flows.refused), (STATES_MAX as usize, 50));
    twins.packet(
        In,
        "em0",
        &udp(("10.0.0.7", 5000), ("192.0.2.80", 53), 10),
        1,
    );
    assert_eq!(twins.passed(), 1);
    let before = asked(&twins);
    let from = FlowsRead::default();
    let engine = &mut twins.cached.engine;
    assert_eq!(engine.read_flows_piece(from, FLOWS_AT_ONCE), None);
    assert_eq!(asked(&twins) - before, 1);
    twins.compare();
    let before = asked(&twins);
    twins.cached.engine.settle_flows();
    assert_eq!(asked(&twins) - before, 1);
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
    twins.compare();
}

#[test]
fn one_address_has_a_quarter_of_the_room() {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    for port in 0..150 {
        for _ in 0..FLOW_BEGINS_AT {
            let packet = udp(("10.0.0.5", 5000 + port), ("192.0.2.80", 53), 10);
            assert!(twins.packet(In, "em0", &packet, 1).is_some());
        }
    }
    assert_eq!(
        twins.cached.engine.fill_flow_cache(),
        STATES_MAX as usize / 4
    );
    assert_eq!(twins.cached.engine.flow_statistics().refused, 50);
    twins.compare();
}

/// A datagram of one of many clients.
fn question(client: u32) -> Vec<u8> {
    let client = format!("10.0.0.{}", client + 1);
    udp((client.as_str(), 5000), ("192.0.2.80", 53), 10)
}

/// So many states in the cache, of each of which it has passed a packet.
fn with_states(many: u32) -> Twins {
    let mut twins = Twins::new(&filter(&[pass().keep()]));
    let begins = u32::try_from(FLOW_BEGINS_AT).unwrap();
    for at in 0..many * begins {
        twins.packet(In, "em0", &question(at % many), 1);
    }
    assert_eq!(twins.cached.engine.fill_flow_cache(), many as usize);
    for client in 0..many {
        twins.packet(In, "em0", &question(client), 1);
    }
    assert_eq!(twins.passed(), many.into());
    twins
}

#[test]
fn an_emptied_cache_is_made_up_for_in_pieces_and_a_state_that_is_wanted_at_once() {
    const MANY: u32 = 50;
    let mut twins = with_states(MANY);
    let held = |twins: &Twins| twins.cached.engine.flow_statistics().held;
    let asked = twins.model.calls();
    twins.cached.engine.suspend_flows();
    assert_eq!(twins.model.calls(), asked, "whatever it holds");
    assert_eq!(held(&twins), 50);
    twins.compare_page(StateId(20), 3);
    assert_eq!(held(&twins), 50, "who only looks leaves it");
    for client in 7..10 {
        twins.packet(In, "em0", &question(client), 1);
    }
    assert_eq!(held(&twins), 47, "their packets come up");
    assert_eq!(twins.cached.engine.fill_flow_cache(), 3, "into it anew");
    assert!(twins.cached.engine.settle_flows_piece(20));
    let left = held(&twins) - 3;
    assert!((27..=30).contains(&left), "{left}");
    twins.packet(In, "em0", &question(8), 1);
    assert_eq!(twins.passed(), u64::from(MANY) + 1);
    while twins.cached.engine.settle_flows_piece(20) {}
    assert_eq!(held(&twins), 3, "what came anew stays");
    assert!(!twins.cached.engine.has_left_flows());
    twins.compare();
}

#[test]
fn a_cache_that_is_emptied_again_before_all_is_made_up_for_forgets_nothing() {
    let mut twins = with_states(40);
    for round in 0..8 {
        twins.cached.engine.suspend_flows();
        twins.cached.engine.settle_flows_piece(3);
        twins.packet(In, "em0", &question(round), 1);
        twins.cached.engine.fill_flow_cache();
        twins.packet(In, "em0", &question(round), 1);
    }
    assert!(twins.passed() > 45);
    assert!(twins.cached.engine.has_left_flows());
    twins.cached.engine.settle_flows();
    assert!(!twins.cached.engine.has_left_flows());
    assert_eq!(twins.cached.engine.flow_statistics().held, 0);
    twins.compare();
}

#[test]
fn nothing_is_put_into_a_cache_as_long_as_a_change_waits() {
    let mut twins = with_states(5);
    twins.cached.engine.pause_flows();
    for _ in 0..2 * FLOW_BEGINS_AT {
        twins.packet(In, "em0", &question(1), 1);
        assert_eq!(twins.cached.engine.fill_flow_cache(), 0);
    }
    assert!(!twins.cached.engine.settle_flows_piece(FLOWS_AT_ONCE));
    twins.both(|lab| lab.load(filter(&[block().label("new")])));
    twins.cached.engine.resume_flows();
    twins.packet(In, "em0", &question(1), 1);
    assert_eq!(twins.cached.engine.fill_flow_cache(), 1);
    twins.packet(In, "em0", &question(1), 1);
    assert_eq!(twins.passed(), 6);
    twins.compare();
}

#[test]
fn who_is_put_into_a_table_by_a_rule_takes_no_other_s_state_out_of_the_cache() {
    let mut twins = Twins::new(&rulesets::overloaded());
    let known = udp(("10.0.0.7", 5000), ("192.0.2.80", 53), 10);
    for _ in 0..FLOW_BEGINS_AT {
        twins.packet(In, "em0", &known, 1);
    }
    assert_eq!(twins.cached.engine.fill_flow_cache(), 1);
    for port in 1..=4 {
        let client = ("10.0.0.5", port);
        for (forward, flags, seq, ack) in [
            (true, SYN, 9, 0),
            (false, SYN | ACK, 99, 10),
            (true, ACK, 10, 100),
        ] {
            let (from, to) = if forward {
                (client, SERVER)
            } else {
                (SERVER, client)
            };
            let direction = if forward { In } else { Out };
            twins.packet(direction, "em0", &tcp(from, to, flags, seq, ack, 0), 1);
        }
        twins.compare();
    }
    assert!(
        twins
            .cached
            .engine
            .table("bad")
            .is_some_and(|table| table.len == 1)
    );
    let passed = twins.passed();
    twins.packet(In, "em0", &known, 1);
    assert_eq!(twins.passed(), passed + 1);
    twins.compare();
}
