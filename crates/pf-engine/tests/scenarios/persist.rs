//! States over a restart: exported from one engine, taken over by another.

use std::collections::BTreeMap;

use pf_engine::addr::Protocol;
use pf_engine::anchor::AnchorPath;
use pf_engine::decision::DropReason;
use pf_engine::engine::{Engine, RuleList};
use pf_engine::record::{Imported, Kept, RecordError, RuleBinding, SourceRecord, StateRecord};
use pf_engine::rule::{RouteKind, Timeout};
use pf_engine::ruleset::{Limit, Ruleset};
use proptest::prelude::*;

use super::harness::*;
use super::random::{offer, rule};

const CLIENT: (&str, u16) = ("10.0.0.5", 4000);
const SERVER: (&str, u16) = ("198.51.100.7", 80);

/// All source nodes, a few at a time.
fn export_sources(lab: &Lab) -> Vec<SourceRecord> {
    let (mut records, mut from) = (Vec::new(), None);
    loop {
        let (some, next) = lab.engine.export_sources(lab.now, from, 2);
        records.extend(some);
        if next.is_none() {
            return records;
        }
        from = next;
    }
}

/// Every rule is what it was.
fn same_rules(engine: &Engine, records: &[StateRecord]) -> BTreeMap<u32, RuleBinding> {
    let numbers = records.iter().flat_map(|record| {
        let rules = record.rule.into_iter().chain(record.anchor);
        let rules = rules.chain(record.translation_rule);
        rules.chain(record.match_rules.iter().copied())
    });
    bindings(engine, numbers)
}

fn bindings(engine: &Engine, numbers: impl Iterator<Item = u32>) -> BTreeMap<u32, RuleBinding> {
    let binding = |number: u32| {
        let exported = engine.exported_rule(number)?;
        let anchor = exported.anchor.clone();
        let binding = match exported.number {
            Some(place) => RuleBinding::Installed(anchor, exported.list, place),
            None => RuleBinding::Retired(anchor, Box::new(exported.rule.clone())),
        };
        Some((number, binding))
    };
    numbers.filter_map(binding).collect()
}

fn import(
    lab: &mut Lab,
    records: Vec<StateRecord>,
    rules: BTreeMap<u32, RuleBinding>,
) -> Result<Imported, RecordError> {
    let kept = Kept {
        states: records,
        sources: Vec::new(),
    };
    import_all(lab, kept, rules)
}

fn import_all(
    lab: &mut Lab,
    kept: Kept,
    rules: BTreeMap<u32, RuleBinding>,
) -> Result<Imported, RecordError> {
    let interfaces = pf_engine::env::Env::interfaces(&lab.env).to_vec();
    lab.engine.import_states(lab.now, kept, rules, &interfaces)
}

/// The same box after a restart.
pub(super) fn restarted(lab: &Lab, ruleset: Ruleset) -> Lab {
    let mut next = Lab::router(ruleset);
    next.now = lab.now;
    next.env = lab.env.clone();
    let states = lab.export();
    let sources = export_sources(lab);
    let mut rules = same_rules(&lab.engine, &states);
    let of_sources = sources.iter().filter_map(|source| source.rule);
    rules.extend(bindings(&lab.engine, of_sources));
    let count = states.len();
    let imported = import_all(&mut next, Kept { states, sources }, rules).unwrap();
    assert_eq!(imported.states, count, "{imported:?}");
    next
}

proptest! {
    #[test]
    fn decisions_after_a_restart_are_those_without_one(
        rules in prop::collection::vec(rule(), 1..8),
        translated in any::<bool>(),
        before in prop::collection::vec(offer(), 0..20),
        after in prop::collection::vec(offer(), 1..20),
    ) {
        let mut ruleset = filter(&rules);
        if translated {
            ruleset.nat.push(nat("em1", "192.0.2.1").from("10.0.0.0/16"));
        }
        let mut old = Lab::router(ruleset.clone());
        for offer in before {
            old.packet(offer.direction, offer.interface, offer.bytes());
        }
        let mut new = restarted(&old, ruleset);
        for offer in after {
            let one = old.packet(offer.direction, offer.interface, offer.bytes());
            let (verdict, bytes) = (one.decision.verdict.clone(), one.bytes.clone());
            drop(one);
            let other = new.packet(offer.direction, offer.interface, offer.bytes());
            prop_assert_eq!(&verdict, &other.decision.verdict);
            prop_assert_eq!(&bytes, &other.bytes);
        }
        let states = |lab: &Lab| lab.states().len();
        prop_assert_eq!(states(&old), states(&new));
    }
}

/// What NAT and modulation made of a connection: its port outside and both shifts.
struct Connection {
    port: u16,
    up: u32,
    down: u32,
}

fn ruleset() -> Ruleset {
    Ruleset {
        nat: vec![nat("em1", "192.0.2.1").from("10.0.0.0/24")],
        ..filter(&[pass().outbound().on("em1").modulate().label("out")])
    }
}

fn field(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn connect(lab: &mut Lab) -> Connection {
    let seen = lab
        .packet(Out, "em1", tcp(CLIENT, SERVER, S, 100, 0, 0))
        .passes();
    let port = u16::from_be_bytes(seen.bytes[20..22].try_into().unwrap());
    let up = field(&seen.bytes, 24).wrapping_sub(100);
    drop(seen);
    let outside = ("192.0.2.1", port);
    let ack = 101u32.wrapping_add(up);
    let seen = lab
        .packet(In, "em1", tcp(SERVER, outside, SA, 900, ack, 0))
        .passes();
    let down = field(&seen.bytes, 24).wrapping_sub(900);
    drop(seen);
    let ack = 901u32.wrapping_add(down);
    lab.packet(Out, "em1", tcp(CLIENT, SERVER, A, 101, ack, 0))
        .passes();
    Connection { port, up, down }
}

#[test]
fn a_translated_and_modulated_connection_goes_on_as_if_nothing_had_been() {
    let mut old = Lab::router(ruleset());
    let connection = connect(&mut old);
    let mut new = restarted(&old, ruleset());
    let outside = ("192.0.2.1", connection.port);
    for lab in [&mut old, &mut new] {
        let seen = lab
            .packet(
                Out,
                "em1",
                tcp(
                    CLIENT,
                    SERVER,
                    PA,
                    101,
                    901u32.wrapping_add(connection.down),
                    10,
                ),
            )
            .passes();
        assert_eq!(field(&seen.bytes, 24), 101u32.wrapping_add(connection.up));
        let seen = seen.becomes(&format!("192.0.2.1:{} > 198.51.100.7:80", connection.port));
        drop(seen);
        let ack = 111u32.wrapping_add(connection.up);
        let seen = lab
            .packet(In, "em1", tcp(SERVER, outside, A, 901, ack, 0))
            .passes();
        assert_eq!(field(&seen.bytes, 28), 111);
    }
    let view = new.states()[0];
    assert_eq!((view.rule, view.traffic.packets()), (Some(0), 5));
    let rule = new.engine.rules(RuleList::Filter).next().unwrap();
    assert_eq!((rule.counters.states, rule.counters.states_created), (1, 0));
}

/// The snapshot was some seconds old: the connection is far ahead of what it says.
#[test]
fn a_connection_that_went_on_meanwhile_is_caught_up_with_once() {
    let mut old = Lab::router(ruleset());
    let connection = connect(&mut old);
    let mut new = restarted(&old, ruleset());
    let outside = ("192.0.2.1", connection.port);
    let ack = 101u32.wrapping_add(connection.up);
    let far = 80_000_000u32;
    new.packet(In, "em1", tcp(SERVER, outside, R, far, 0, 0))
        .drops(DropReason::StateMismatch);
    new.packet(In, "em1", tcp(SERVER, outside, A, far, ack, 500))
        .passes();
    new.packet(
        Out,
        "em1",
        tcp(
            CLIENT,
            SERVER,
            A,
            101,
            (far + 500u32).wrapping_add(connection.down),
            0,
        ),
    )
    .passes();
    new.packet(In, "em1", tcp(SERVER, outside, A, far + 500, ack, 500))
        .passes();
    new.packet(In, "em1", tcp(SERVER, outside, A, 2 * far, ack, 500))
        .drops(DropReason::StateMismatch);
    // Without a restart nothing of that is let through.
    old.packet(In, "em1", tcp(SERVER, outside, A, far, ack, 500))
        .drops(DropReason::StateMismatch);
}

/// The snapshot knows a SYN alone, which has been answered since.
#[test]
fn a_connection_that_was_opened_meanwhile_is_not_closed_by_a_forged_rst() {
    let rules = || filter(&[pass().inbound().on("em0").keep(), pass().outbound().keep()]);
    let mut old = Lab::router(rules());
    old.packet(In, "em0", tcp(CLIENT, SERVER, S, 100, 0, 0))
        .passes();
    let mut new = restarted(&old, rules());
    for number in [70_000_000, 3_000_000_000] {
        new.packet(In, "em0", tcp(CLIENT, SERVER, R, number, 0, 0))
            .drops(DropReason::StateMismatch);
        new.packet(Out, "em0", tcp(SERVER, CLIENT, R, number, 0, 0))
            .drops(DropReason::StateMismatch);
    }
    new.packet(In, "em0", tcp(CLIENT, SERVER, A, 101, 901, 500))
        .passes();
    new.packet(Out, "em0", tcp(SERVER, CLIENT, A, 901, 601, 0))
        .passes();
    // Who was never there refuses it.
    let mut refused = restarted(&old, rules());
    refused
        .packet(Out, "em0", tcp(SERVER, CLIENT, R | A, 0, 101, 0))
        .passes();
}

#[test]
fn after_a_restart_a_connection_does_not_go_back() {
    let mut old = Lab::router(ruleset());
    let connection = connect(&mut old);
    let mut new = restarted(&old, ruleset());
    let outside = ("192.0.2.1", connection.port);
    let ack = 101u32.wrapping_add(connection.up);
    let behind = 901u32.wrapping_sub(1_000_000);
    new.packet(In, "em1", tcp(SERVER, outside, A, behind, ack, 10))
        .drops(DropReason::StateMismatch);
}

#[test]
fn a_routed_state_and_its_sticky_choice_come_back() {
    let targets = [("em1", "192.0.2.254"), ("em1", "192.0.2.253")];
    let rules = || {
        let rule = pass().inbound().on("em0").keep();
        let kind = pf_engine::rule::PoolKind::RoundRobin;
        filter(&[rule.route_by(RouteKind::RouteTo, kind, true, &targets)])
    };
    let mut old = Lab::router(rules());
    let datagram = |port| udp(("10.0.0.5", port), ("198.51.100.7", 53), 10);
    old.packet(In, "em0", datagram(1))
        .leaves_by("em1", "192.0.2.254");
    let mut new = restarted(&old, rules());
    new.packet(In, "em0", datagram(1))
        .leaves_by("em1", "192.0.2.254");
    new.packet(In, "em0", datagram(2))
        .leaves_by("em1", "192.0.2.254");
}

#[test]
fn a_state_keeps_a_rule_that_is_gone_with_its_timeouts() {
    let mut rule = pass().inbound().on("em0").proto(Protocol::UDP).keep();
    rule.state_options.timeouts = vec![(Timeout::UdpFirst, 5)];
    let mut old = Lab::router(filter(&[rule.clone()]));
    old.packet(In, "em0", udp(("10.0.0.5", 1), ("198.51.100.7", 53), 10))
        .passes();
    let records = old.export();
    let number = records[0].rule.unwrap();
    let mut new = Lab::router(filter(&[block()]));
    new.now = old.now;
    let rules = BTreeMap::from([(
        number,
        RuleBinding::Retired(AnchorPath::main(), Box::new(rule)),
    )]);
    assert_eq!(import(&mut new, records, rules).unwrap().states, 1);
    assert_eq!(
        (new.states()[0].rule, new.states()[0].expires_in.as_secs()),
        (None, 5)
    );
    new.packet(In, "em0", udp(("10.0.0.5", 1), ("198.51.100.7", 53), 10))
        .passes();
    let number = new.export()[0].rule.unwrap();
    assert!(new.engine.exported_rule(number).is_some());
    new.skip_time(100);
    new.wait(30);
    assert_eq!(new.states().len(), 0);
    assert!(
        new.engine.exported_rule(number).is_none(),
        "it went with its last state"
    );
}

#[test]
fn what_is_over_or_has_no_interface_or_no_room_is_left_out_and_counted() {
    let mut old = Lab::router(filter(&[pass().keep()]));
    for port in 1..=5 {
        old.packet(In, "em0", udp(("10.0.0.5", port), ("198.51.100.7", 53), 10))
            .passes();
    }
    let mut records = old.export();
    records[0].idle = std::time::Duration::from_hours(1);
    records[1].origin = "gone0".to_owned();
    records.push(records[4].clone());
    let mut options = Ruleset::default();
    options.options.limits = vec![(Limit::States, 2)];
    options.options.timeouts = vec![(Timeout::AdaptiveStart, 0)];
    let mut new = Lab::router(options);
    new.now = old.now;
    let imported = import(&mut new, records, BTreeMap::new()).unwrap();
    assert_eq!(
        imported,
        Imported {
            states: 2,
            expired: 1,
            without_interface: 1,
            without_room: 2,
        }
    );
}

#[test]
fn a_record_that_contradicts_itself_refuses_all() {
    let mut old = Lab::router(filter(&[pass().keep()]));
    for port in 1..=2 {
        old.packet(In, "em0", udp(("10.0.0.5", port), ("198.51.100.7", 53), 10))
            .passes();
    }
    let damages: [fn(&mut StateRecord); 4] = [
        |record| record.wire[0].address = ip("::1"),
        |record| record.source.state = 200,
        |record| record.destination.window_scale = Some(99),
        |record| record.tag = Some("x".repeat(1000)),
    ];
    for damage in damages {
        let mut records = old.export();
        damage(&mut records[1]);
        let mut new = Lab::router(filter(&[]));
        let error = import(&mut new, records, BTreeMap::new()).unwrap_err();
        assert_eq!(error.number, 1);
        assert_eq!(new.states().len(), 0);
    }
}
