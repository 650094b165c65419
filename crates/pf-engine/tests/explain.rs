//! The steps that `explain_packet` writes down, and that watching changes no decision.

use std::net::IpAddr;

use pf_engine::addr::{Prefix, Protocol};
use pf_engine::anchor::AnchorPath;
use pf_engine::decision::{Decision, Exit, Hook, Packet, Verdict};
use pf_engine::engine::{Engine, EngineConfig, RuleList};
use pf_engine::env::{FixedEnv, IfIndex, Interface, InterfaceAddress};
use pf_engine::explain::{Criterion, Outcome, Step};
use pf_engine::rule::{
    Action, Address, BlockReply, Direction, DynamicAddress, DynamicPart, InterfaceMatch, Pool,
    PoolTarget, PortMatch, Route, RouteKind, Rule, StateMode, tcp_flags,
};
use pf_engine::ruleset::Ruleset;
use pf_engine::time::Instant;
use pf_engine::wire::build;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn interface(index: u32, name: &str, address: Option<&str>) -> Interface {
    let addresses = address.map(|address| InterfaceAddress::new(ip(address), 24));
    Interface {
        addresses: addresses.into_iter().collect(),
        ..Interface::new(IfIndex(index), name)
    }
}

fn env() -> FixedEnv {
    let interfaces = vec![
        interface(1, "em0", Some("192.168.1.64")),
        interface(2, "em1", None),
    ];
    FixedEnv::new(interfaces, 7)
}

fn on(name: &str) -> InterfaceMatch {
    InterfaceMatch {
        negated: false,
        name: name.into(),
    }
}

fn pool(interface: Option<&str>, address: Address) -> Pool {
    Pool {
        targets: vec![PoolTarget {
            weight: None,
            interface: interface.map(Into::into),
            address,
        }],
        ..Pool::default()
    }
}

/// `nat on em0 -> (em0)`, two blocks on em0, a route-to for port 80.
fn ruleset() -> Ruleset {
    let mut nat = Rule::new(Action::Nat);
    nat.interface = Some(on("em0"));
    nat.nat = Some(pool(
        None,
        Address::Dynamic(DynamicAddress {
            interface: "em0".into(),
            part: DynamicPart::Host,
            no_aliases: false,
            prefix_len: None,
        }),
    ));
    let mut block = Rule::new(Action::Block(BlockReply::Drop));
    block.interface = Some(on("em0"));
    block.direction = Some(Direction::In);
    let mut pass = Rule::new(Action::Pass);
    pass.interface = Some(on("em1"));
    pass.quick = true;
    pass.protocol = Some(Protocol::TCP);
    pass.destination.port = Some(PortMatch::Eq(80));
    pass.state = StateMode::Keep;
    let next_hop = Address::Prefix(Prefix::host(ip("192.168.1.1")));
    pass.route = Some(Route {
        kind: RouteKind::RouteTo,
        pool: pool(Some("em0"), next_hop),
    });
    Ruleset {
        nat: vec![nat],
        filter: vec![block.clone(), block, pass],
        ..Ruleset::default()
    }
}

fn engine() -> Engine {
    let config = EngineConfig {
        hash_key: [1, 2],
        creator_id: 1,
    };
    let mut engine = Engine::new(Instant::from_secs(1), config);
    let installed = engine.install(Instant::from_secs(1), ruleset());
    installed.expect("no tables");
    engine.set_enabled(Instant::from_secs(1), true);
    engine
}

fn packet(port: u16) -> Packet {
    let header = build::Ip::new(ip("10.0.0.1"), ip("1.2.3.4"));
    let segment = build::Segment::new(1234, port, tcp_flags::SYN);
    Packet {
        bytes: build::tcp(&header, &segment, &[]),
        ..Packet::default()
    }
}

const HOOK: Hook = Hook {
    interface: IfIndex(2),
    direction: Direction::In,
};

fn explained(port: u16) -> (Decision, Vec<Step>) {
    let mut packet = packet(port);
    engine().explain_packet(Instant::from_secs(2), HOOK, &mut packet, &mut env())
}

fn tested(number: u32, outcome: Outcome) -> Step {
    Step::Tested {
        anchor: AnchorPath::main(),
        list: RuleList::Filter,
        number,
        outcome,
    }
}

#[test]
fn each_rule_that_was_looked_at_is_told_with_what_failed() {
    let (decision, steps) = explained(81);
    assert_eq!(decision.verdict, Verdict::Pass(Exit::Continue));
    assert!(
        matches!(&steps[0], Step::Entered { interface, direction: Direction::In, packet }
        if interface == "em1" && packet.destination.port == 81)
    );
    let rest = [
        tested(0, Outcome::Failed(Criterion::Interface)),
        Step::Skipped {
            anchor: AnchorPath::main(),
            list: RuleList::Filter,
            first: 1,
            last: 1,
            criterion: Criterion::Interface,
        },
        tested(2, Outcome::Failed(Criterion::DestinationPort)),
        Step::Decided {
            anchor: AnchorPath::main(),
            number: None,
        },
    ];
    assert_eq!(steps[1..], rest);
}

#[test]
fn route_to_is_followed_to_the_second_evaluation_and_its_translation() {
    let (decision, steps) = explained(80);
    let Verdict::Pass(Exit::Gateway { interface, .. }) = decision.verdict else {
        panic!("{decision:?}");
    };
    assert_eq!(interface, IfIndex(1));
    let at = steps.iter().position(|step| {
        matches!(step, Step::Routed { kind: RouteKind::RouteTo, interface, next_hop }
            if interface == "em0" && *next_hop == ip("192.168.1.1"))
    });
    let at = at.expect("routed");
    assert_eq!(steps[at - 1], Step::StateMade);
    let decided = Step::Decided {
        anchor: AnchorPath::main(),
        number: Some(2),
    };
    assert_eq!(steps[at - 2], decided);
    assert!(
        matches!(&steps[at + 1], Step::Entered { interface, direction: Direction::Out, .. }
        if interface == "em0")
    );
    let translated = steps.iter().find_map(|step| {
        if let Step::Translated { list, packet, .. } = step {
            Some((*list, packet.source.address))
        } else {
            None
        }
    });
    assert_eq!(translated, Some((RuleList::Nat, ip("192.168.1.64"))));
}

#[test]
fn watching_changes_neither_the_decision_nor_the_packet() {
    for port in [22, 80, 81] {
        let (mut watched, mut unwatched) = (packet(port), packet(port));
        let now = Instant::from_secs(2);
        let (decision, _) = engine().explain_packet(now, HOOK, &mut watched, &mut env());
        let plain = engine().handle_packet(now, HOOK, &mut unwatched, &mut env());
        assert_eq!(decision, plain);
        assert_eq!(watched, unwatched);
    }
}

#[test]
fn a_packet_of_a_known_connection_is_told_to_be_passed_by_its_state() {
    let mut engine = engine();
    let mut env = env();
    let now = Instant::from_secs(2);
    let _ = engine.handle_packet(now, HOOK, &mut packet(80), &mut env);
    let (_, steps) = engine.explain_packet(now, HOOK, &mut packet(80), &mut env);
    assert!(matches!(steps[1], Step::StateFound { .. }), "{steps:?}");
}
