//! What pfctl does by hand: killing states, and the accounts of interfaces and tables.

use std::time::Duration;

use pf_engine::anchor::AnchorPath;
use pf_engine::counters::Traffic;
use pf_engine::decision::DropReason;
use pf_engine::engine::{KillFilter, KillStates, TableChange};
use pf_engine::rule::{Action, RouteKind, Rule, StatePolicy};
use pf_engine::ruleset::{Dialect, Parts};
use pf_engine::view::InterfaceCounters;

use super::harness::*;

const CLIENT: &str = "10.0.0.9";
const SERVER: &str = "198.51.100.80";
const OUTSIDE: &str = "192.0.2.1";

/// A packet of an inside client that crosses the box and is translated on its way out.
fn crossing(policy: StatePolicy) -> Lab {
    let mut ruleset = filter(&[
        pass().inbound().on("em0").keep().label("inside"),
        pass()
            .outbound()
            .on("em1")
            .nat_to(OUTSIDE)
            .keep()
            .label("outside"),
    ]);
    ruleset.options.state_policy = policy;
    let mut lab = Lab::router(ruleset);
    for port in [1025, 1026] {
        let packet = udp((CLIENT, port), (SERVER, 53), 12);
        let bytes = lab.packet(In, "em0", packet).passes().bytes.clone();
        let _ = lab.packet(Out, "em1", bytes).passes();
    }
    assert_eq!(lab.engine.state_count(), 4);
    lab
}

fn filter_of(states: KillStates, interface: Option<&str>, matching: bool) -> KillFilter {
    KillFilter {
        states,
        interface: interface.map(str::to_owned),
        matching,
    }
}

#[test]
fn a_kill_in_pieces_ends_and_spares_what_was_made_after_it_began() {
    let mut lab = crossing(StatePolicy::Floating);
    let mut killing = lab.engine.begin_killing(KillStates::All.into());
    assert!(lab.engine.go_on_killing(&mut killing, 3), "there is more");
    assert_eq!((killing.killed(), lab.engine.state_count()), (3, 1));
    let later = udp((CLIENT, 1027), (SERVER, 53), 12);
    let _ = lab.packet(In, "em0", later).passes();
    assert!(!lab.engine.go_on_killing(&mut killing, 3));
    assert_eq!((killing.killed(), lab.engine.state_count()), (4, 1));

    let mut lab = crossing(StatePolicy::Floating);
    let first = KillStates::Hosts(prefix(CLIENT), None);
    let mut killing = lab.engine.begin_killing(filter_of(first, None, true));
    assert!(lab.engine.go_on_killing(&mut killing, 1));
    assert_eq!(killing.killed(), 2, "one and its partner");
    while lab.engine.go_on_killing(&mut killing, 1) {}
    assert_eq!((killing.killed(), lab.engine.state_count()), (4, 0));
}

#[test]
fn a_host_is_the_opener_on_the_wire_and_nat_looks_behind_the_translation() {
    let mut lab = crossing(StatePolicy::Floating);
    let outside = KillStates::Hosts(prefix(OUTSIDE), None);
    assert_eq!(kill(&mut lab, outside), 2);
    let mut lab = crossing(StatePolicy::Floating);
    let from_client = KillStates::Hosts(prefix(CLIENT), Some(prefix("198.51.100.0/24")));
    assert_eq!(kill(&mut lab, from_client), 2);
    let behind = KillStates::Nat(prefix(CLIENT), Some(prefix(SERVER)));
    assert_eq!(kill(&mut lab, behind), 2, "those on the way out");
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn matching_states_of_the_same_connection_are_killed_too() {
    let mut lab = crossing(StatePolicy::Floating);
    let id = lab.states()[0].id;
    let first = KillStates::Id(id, None);
    assert_eq!(lab.engine.kill_states(&filter_of(first, None, true)), 2);
    let left: Vec<u16> = lab
        .states()
        .iter()
        .map(|state| state.stack[0].port.max(state.stack[1].port))
        .collect();
    assert_eq!(left, [1026, 1026], "the other connection");
    let outside = KillStates::Hosts(prefix(OUTSIDE), None);
    let killed = lab
        .engine
        .kill_states(&filter_of(outside, Some("em1"), true));
    assert_eq!(killed, 2, "from the other side, whatever its interface");
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn an_interface_is_the_one_of_a_bound_state_and_the_origin_of_a_floating_one() {
    for policy in [StatePolicy::Floating, StatePolicy::IfBound] {
        let mut lab = crossing(policy);
        let of = |name: &str| filter_of(KillStates::All, Some(name), false);
        assert_eq!(lab.engine.kill_states(&of("em2")), 0);
        assert_eq!(lab.engine.kill_states(&of("em1")), 2);
        assert_eq!(lab.engine.kill_states(&of("em0")), 2);
    }
}

#[test]
fn a_label_kills_the_states_of_a_rule_that_is_gone() {
    let mut lab = crossing(StatePolicy::Floating);
    lab.load(filter(&[pass()]));
    assert_eq!(kill(&mut lab, KillStates::Label("inside".into())), 2);
    assert_eq!(kill(&mut lab, KillStates::Label("inside".into())), 0);
    assert_eq!(lab.engine.state_count(), 2);
}

#[test]
fn a_gateway_kills_what_is_routed_to_it() {
    let targets = [("em1", "192.0.2.254")];
    let mut lab = Lab::router(filter(&[
        pass()
            .inbound()
            .on("em0")
            .route(RouteKind::RouteTo, &targets)
            .keep(),
        pass().outbound(),
    ]));
    let packet = udp((CLIENT, 5), (SERVER, 53), 12);
    let _ = lab
        .packet(In, "em0", packet)
        .leaves_by("em1", "192.0.2.254");
    let other = KillStates::Gateway(prefix("192.0.2.253"));
    assert_eq!(kill(&mut lab, other), 0);
    let gateway = KillStates::Gateway(prefix("192.0.2.254"));
    assert_eq!(kill(&mut lab, gateway), 1);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn interfaces_count_what_passes_and_what_is_blocked_by_family_and_direction() {
    let mut lab = crossing(StatePolicy::Floating);
    let two = Traffic {
        packets_in: 2,
        bytes_in: 80,
        ..Traffic::default()
    };
    let em0 = lab.engine.interface_counters("em0");
    assert_eq!(em0.inet.passed, two);
    assert_eq!(em0.inet.blocked, Traffic::default());
    assert_eq!(em0.inet6.passed, Traffic::default());
    let em1 = lab.engine.interface_counters("em1");
    let out = Traffic {
        packets_out: 2,
        bytes_out: 80,
        ..Traffic::default()
    };
    assert_eq!(em1.inet.passed, out);
    lab.load(filter(&[block()]));
    let six = udp(("2001:db8:a::9", 1), ("2001:db8:b::9", 2), 2);
    let _ = lab.packet(In, "em0", six).drops(DropReason::Match);
    let _ = lab
        .packet(In, "em0", vec![0x45, 0, 0])
        .drops(DropReason::Short);
    let em0 = lab.engine.interface_counters("em0");
    let (four, six) = (em0.inet.blocked, em0.inet6.blocked);
    assert_eq!(
        (four.packets_in, four.bytes_in),
        (1, 3),
        "what cannot be read"
    );
    assert_eq!((six.packets_in, six.bytes_in), (1, 50));
    let references = lab.engine.interface_references();
    assert_eq!(references["all"].states, 4);
    lab.engine.clear_interface_counters(lab.now, "em0");
    let cleared = InterfaceCounters::since(lab.now);
    assert_eq!(lab.engine.interface_counters("em0"), cleared);
    assert_ne!(lab.engine.interface_counters("em1").inet, cleared.inet);
}

#[test]
fn a_packet_that_is_routed_counts_where_it_leaves_too() {
    let targets = [("em1", "192.0.2.254")];
    let mut lab = Lab::router(filter(&[
        pass()
            .inbound()
            .on("em0")
            .route(RouteKind::RouteTo, &targets)
            .keep(),
        block().outbound().on("em1"),
    ]));
    let packet = udp((CLIENT, 5), (SERVER, 53), 12);
    let _ = lab.packet(In, "em0", packet).drops(DropReason::Match);
    let em0 = lab.engine.interface_counters("em0");
    assert_eq!(em0.inet.passed.packets_in, 1);
    let em1 = lab.engine.interface_counters("em1");
    assert_eq!(
        (em1.inet.blocked.packets_out, em1.inet.blocked.bytes_out),
        (1, 40)
    );
}

/// A `match` rule that names a table with counters, and one that decides.
fn matching_clients(deciding: Rule, dialect: Dialect) -> Lab {
    let mut ruleset = filter(&[Rule::new(Action::Match).from("<clients>"), deciding]);
    ruleset.dialect = dialect;
    let mut clients = table(true, &["10.0.0.0/8"]);
    clients.counters = true;
    ruleset.tables.insert("clients".to_owned(), clients);
    Lab::router(ruleset)
}

/// The case `match_block` of FreeBSD's `counters.sh`, and that of a state.
#[test]
fn a_table_of_a_match_rule_counts_what_the_deciding_rule_did_unless_it_is_openbsds() {
    let packet = || udp((CLIENT, 5), (SERVER, 53), 12);
    let one = Traffic {
        packets_in: 1,
        bytes_in: 40,
        ..Traffic::default()
    };
    let none = Traffic::default();
    for (dialect, deciding, wanted) in [
        (Dialect::FreeBsd, block(), [none, one, none]),
        (Dialect::FreeBsd, pass().keep(), [one, none, none]),
        (Dialect::FreeBsd, pass(), [one, none, none]),
        (Dialect::OpenBsd, block(), [none, none, one]),
        (Dialect::OpenBsd, pass(), [none, none, one]),
    ] {
        let mut lab = matching_clients(deciding, dialect);
        let _ = lab.packet(In, "em0", packet());
        let clients = lab.engine.table("clients").unwrap();
        let counted = [clients.passed, clients.blocked, clients.matched];
        assert_eq!(counted, wanted, "{dialect:?}");
        assert_eq!(clients.xpassed, none);
        let (_, address) = lab.engine.table_address_counters("clients").next().unwrap();
        assert_eq!([address.passed, address.blocked, address.matched], wanted);
    }
}

/// As FreeBSD's `counters.sh` says in `nat_match`: a table before the translation is no `XPass`.
#[test]
fn a_table_of_a_match_rule_whose_address_is_translated_later_is_no_xpass() {
    let mut ruleset = filter(&[
        Rule::new(Action::Match).from("<clients>"),
        Rule::new(Action::Match).outbound().nat_to(OUTSIDE),
        pass().keep(),
    ]);
    let clients = table(true, &["10.0.0.0/8"]);
    ruleset.tables.insert("clients".to_owned(), clients);
    let mut lab = Lab::router(ruleset);
    let _ = lab.packet(Out, "em1", udp((CLIENT, 5), (SERVER, 53), 12));
    let clients = lab.engine.table("clients").unwrap();
    assert_eq!(clients.passed.packets_out, 1);
    assert_eq!(clients.xpassed, Traffic::default());
}

#[test]
fn a_match_rule_counts_in_its_table_with_every_packet_of_the_state() {
    let mut lab = matching_clients(pass().keep(), Dialect::OpenBsd);
    let _ = lab
        .packet(In, "em0", udp((CLIENT, 5), (SERVER, 53), 12))
        .passes();
    let _ = lab
        .packet(Out, "em0", udp((SERVER, 53), (CLIENT, 5), 22))
        .passes();
    let counted = Traffic {
        packets_in: 1,
        bytes_in: 40,
        packets_out: 1,
        bytes_out: 50,
    };
    let clients = lab.engine.table("clients").unwrap();
    assert_eq!(clients.matched, counted);
    assert_eq!(clients.passed, Traffic::default());
    let (_, address) = lab.engine.table_address_counters("clients").next().unwrap();
    assert_eq!(address.matched, counted);
}

#[test]
fn addresses_age_from_when_they_were_added_or_zeroed() {
    let mut ruleset = filter(&[pass().from("<t>")]);
    ruleset
        .tables
        .insert("t".to_owned(), table(true, &["10.0.0.1", "10.0.0.2"]));
    let mut lab = Lab::router(ruleset.clone());
    let added = lab.now;
    lab.skip_time(50);
    let third = entries(&["10.0.0.3"]);
    lab.engine.table_add(lab.now, "t", &third).unwrap();
    let one = entries(&["10.0.0.1", "10.9.9.9"]);
    assert_eq!(lab.engine.table_zero_addresses(lab.now, "t", &one), Ok(1));
    lab.skip_time(51);
    // The same addresses again do not make them young.
    lab.engine.install(lab.now, ruleset).unwrap();
    let ages = lab.engine.table_page("t", None, 2).unwrap();
    assert_eq!(ages[1], (entries(&["10.0.0.2"])[0], added));
    let age = Duration::from_secs(100);
    let mut expiry = TableChange::expire(AnchorPath::main(), "t".to_owned(), age);
    while lab.engine.change_table(lab.now, &mut expiry, 1).unwrap() {}
    assert_eq!((expiry.outcome().given, expiry.outcome().deleted), (1, 1));
    assert!(
        !lab.engine
            .table_test("t", entries(&["10.0.0.2"])[0].prefix)
            .unwrap()
    );
    assert_eq!(lab.engine.table_len("t"), Some(1));
    lab.engine.table_kill("t").unwrap();
    assert!(lab.engine.table("t").is_none());
    let _ = lab
        .packet(In, "em0", udp(("10.0.0.2", 5), (SERVER, 53), 1))
        .passes();
    lab.engine.table_add(lab.now, "t", &third).unwrap();
    assert_eq!(lab.engine.table("t").unwrap().references, 1);
}

#[test]
fn options_are_reset_and_interfaces_filtered_again() {
    let mut ruleset = filter(&[block()]);
    ruleset.options.skip = vec!["em0".to_owned()];
    let mut lab = Lab::router(ruleset.clone());
    let packet = || udp((CLIENT, 5), (SERVER, 53), 1);
    let _ = lab.packet(In, "em0", packet()).passes();
    lab.engine.reset_options();
    let _ = lab.packet(In, "em0", packet()).drops(DropReason::Match);
    let parts = Parts {
        options: true,
        ..Parts::NONE
    };
    let main = AnchorPath::main();
    lab.engine
        .install_at(lab.now, &main, parts, ruleset)
        .unwrap();
    let _ = lab.packet(In, "em0", packet()).passes();
    lab.engine.reset_options();
    let _ = lab.packet(In, "em0", packet()).drops(DropReason::Match);
}
