//! Long lists: what an index passes over is what looking at each rule would have passed over, down
//! to the last counter.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pf_engine::addr::{Prefix, Protocol};
use pf_engine::decision::{Decision, Hook, Packet, Verdict};
use pf_engine::engine::{Engine, EngineConfig, RuleList};
use pf_engine::env::{FixedEnv, IfIndex, Interface};
use pf_engine::rule::{
    Action, Address, BlockReply, Direction, Endpoint, PortMatch, Rule, StateMode, tcp_flags,
};
use pf_engine::ruleset::Ruleset;
use pf_engine::time::Instant;
use pf_engine::view::RuleCounters;
use pf_engine::wire::build;
use proptest::collection::vec;
use proptest::prelude::*;

const HOOK: Hook = Hook {
    interface: IfIndex(1),
    direction: Direction::In,
};
const NOW: Instant = Instant::from_secs(10);

/// An engine with rules, and whether it is watched: then each rule is looked at.
struct Filter {
    engine: Engine,
    env: FixedEnv,
    watched: bool,
}

impl Filter {
    fn new(rules: &[Rule], watched: bool) -> Self {
        let config = EngineConfig {
            hash_key: [1, 2],
            creator_id: 1,
        };
        let mut filter = Self {
            engine: Engine::new(NOW, config),
            env: FixedEnv::new(vec![Interface::new(IfIndex(1), "em0")], 7),
            watched,
        };
        filter.load(rules, false);
        filter.engine.set_enabled(NOW, true);
        filter
    }

    fn load(&mut self, rules: &[Rule], keep_counters: bool) {
        let mut ruleset = Ruleset {
            filter: rules.to_vec(),
            ..Ruleset::default()
        };
        ruleset.options.keep_counters = keep_counters;
        self.engine.install(NOW, ruleset).expect("no tables");
    }

    fn pass(&mut self, packet: &Packet) -> Decision {
        let mut packet = packet.clone();
        let Self { engine, env, .. } = self;
        if self.watched {
            engine.explain_packet(NOW, HOOK, &mut packet, env).0
        } else {
            engine.handle_packet(NOW, HOOK, &mut packet, env)
        }
    }

    fn counters(&self) -> Vec<RuleCounters> {
        let rules = self.engine.rules(RuleList::Filter);
        rules.map(|rule| rule.counters).collect()
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        9 => (0u8..40).prop_map(|host| Ipv4Addr::new(10, 0, host % 3, host).into()),
        1 => (0u16..8).prop_map(|host| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host).into()),
    ]
}

fn range() -> impl Strategy<Value = Address> {
    (0u8..20, 0u8..20).prop_map(|(first, more)| {
        let end = |host| IpAddr::from(Ipv4Addr::new(10, 0, 0, host));
        Address::Range(end(first), end(first + more))
    })
}

fn wanted_address() -> impl Strategy<Value = Address> {
    let prefix = |(address, len): (IpAddr, u8)| Prefix::new(address, len).expect("a length");
    prop_oneof![
        12 => address().prop_map(|address| Address::Prefix(Prefix::host(address))),
        3 => (address(), prop_oneof![Just(0u8), Just(8), Just(24), Just(30)])
            .prop_map(move |given| Address::Prefix(prefix(given).masked())),
        1 => Just(Address::Any),
        1 => range(),
    ]
}

fn wanted_port() -> impl Strategy<Value = Option<PortMatch>> {
    prop_oneof![
        6 => (0u16..30).prop_map(|port| Some(PortMatch::Eq(port))),
        1 => Just(Some(PortMatch::Range(5, 9))),
        1 => Just(Some(PortMatch::Ne(3))),
        2 => Just(None),
    ]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (wanted_address(), prop::bool::weighted(0.05), wanted_port()).prop_map(
        |(address, negated, port)| Endpoint {
            address,
            negated,
            port,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let protocol = prop_oneof![6 => Just(Some(Protocol::TCP)), 2 => Just(Some(Protocol::UDP))];
    let odds = (
        prop::bool::weighted(0.5),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.02),
    );
    (endpoint(), endpoint(), protocol, odds).prop_map(
        |(source, destination, protocol, (blocks, quick, once))| {
            let mut rule = Rule::new(if blocks {
                Action::Block(BlockReply::Drop)
            } else {
                Action::Pass
            });
            rule.source = source;
            rule.destination = destination;
            rule.protocol = protocol;
            rule.quick = quick;
            rule.once = once && quick;
            rule.state = StateMode::None;
            rule
        },
    )
}

/// Lists in which one end of the rules stays the same for a while, as people write them.
fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let stretch = (vec(rule(), 1..60), 0u8..4).prop_map(|(mut rules, same)| {
        let first = rules[0].clone();
        for rule in &mut rules {
            rule.protocol = first.protocol;
            match same {
                0 => rule.source = first.source.clone(),
                1 => rule.destination = first.destination.clone(),
                2 => rule.source.address = first.source.address.clone(),
                _ => {}
            }
        }
        rules
    });
    vec(stretch, 1..5).prop_map(|stretches| stretches.concat())
}

fn packet() -> impl Strategy<Value = Packet> {
    (address(), address(), 0u16..30, 0u16..30, any::<bool>()).prop_filter_map(
        "one family",
        |(source, destination, from, to, is_tcp)| {
            if source.is_ipv4() != destination.is_ipv4() {
                return None;
            }
            let header = build::Ip::new(source, destination);
            let bytes = if is_tcp {
                let segment = build::Segment::new(from.max(1), to.max(1), tcp_flags::SYN);
                build::tcp(&header, &segment, &[])
            } else {
                build::udp(&header, from.max(1), to.max(1), b"text")
            };
            Some(Packet {
                bytes,
                ..Packet::default()
            })
        },
    )
}

proptest! {
    #[test]
    fn an_index_changes_no_decision_and_no_counter(
        rules in rules(),
        packets in vec(packet(), 1..40),
        keeps_counters in any::<bool>(),
    ) {
        let [mut indexed, mut watched] = [false, true].map(|watched| Filter::new(&rules, watched));
        let (first, second) = packets.split_at(packets.len() / 2);
        for packet in first {
            prop_assert_eq!(indexed.pass(packet), watched.pass(packet));
            prop_assert_eq!(indexed.counters(), watched.counters());
        }
        for filter in [&mut indexed, &mut watched] {
            filter.load(&rules, keeps_counters);
        }
        prop_assert_eq!(indexed.counters(), watched.counters());
        for packet in second {
            prop_assert_eq!(indexed.pass(packet), watched.pass(packet));
        }
        prop_assert_eq!(indexed.counters(), watched.counters());
        indexed.engine.clear_rule_counters();
        let evaluations: u64 = indexed.counters().iter().map(|counters| counters.evaluations).sum();
        prop_assert_eq!(evaluations, 0);
    }
}

fn blocks(count: u32) -> Vec<Rule> {
    let block = |number| {
        let mut rule = Rule::new(Action::Block(BlockReply::Drop));
        let address = IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + number));
        rule.source.address = Address::Prefix(Prefix::host(address));
        rule.quick = true;
        rule
    };
    (0..count).map(block).collect()
}

#[test]
fn each_rule_that_is_passed_over_counts_an_evaluation() {
    let mut filter = Filter::new(&blocks(1000), false);
    let header = build::Ip::new(
        Ipv4Addr::new(11, 0, 2, 0).into(),
        Ipv4Addr::new(192, 0, 2, 1).into(),
    );
    let packet = Packet {
        bytes: build::udp(&header, 5, 6, b"text"),
        ..Packet::default()
    };
    let decision = filter.pass(&packet);
    assert!(matches!(decision.verdict, Verdict::Drop(_)), "{decision:?}");
    let counters = filter.counters();
    let evaluated = counters.iter().filter(|rule| rule.evaluations == 1).count();
    // The 513th of them blocks it, quick.
    assert_eq!(evaluated, 513);
    assert!(counters[..513].iter().all(|rule| rule.evaluations == 1));
    assert_eq!(counters[512].traffic.packets_in, 1);
}
