//! SCTP between hosts with several addresses: INIT, INIT ACK and ASCONF open and close states.

use pf_engine::addr::Protocol;
use pf_engine::decision::DropReason;
use pf_engine::engine::RuleList;
use pf_engine::rule::{Rule, StatePolicy};

use super::harness::*;

const CLIENT: &str = "10.0.0.9";
const CLIENT_TOO: &str = "10.0.0.10";
const SERVER: &str = "192.0.2.80";
const SERVER_TOO: &str = "192.0.2.81";
const CLIENT_TAG: u32 = 0xc11e;
const SERVER_TAG: u32 = 0x5e12;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const ASCONF: u8 = 193;

const ADD: u8 = 1;
const DELETE: u8 = 2;

fn to_server(from: &str, to: &str, tag: u32, chunks: &[u8]) -> Vec<u8> {
    sctp((from, 5000), (to, 1234), tag, chunks)
}

fn to_client(from: &str, to: &str, tag: u32, chunks: &[u8]) -> Vec<u8> {
    sctp((from, 1234), (to, 5000), tag, chunks)
}

fn data(from: &str, to: &str) -> Vec<u8> {
    to_server(from, to, SERVER_TAG, &chunk(DATA, 0, &[0; 12]))
}

/// A request of ASCONF for an address of IPv4.
fn request(what: u8, address: &str) -> Vec<u8> {
    let std::net::IpAddr::V4(address) = ip(address) else {
        panic!("IPv4")
    };
    let parameter = chunk(0, 5, &address.octets());
    let mut value = vec![0, 0, 0, what];
    value.extend(parameter);
    chunk(0xc0, what, &value)
}

fn asconf(from: &str, requests: &[Vec<u8>]) -> Vec<u8> {
    let mut value = vec![0, 0, 0, 1];
    value.extend(chunk(0, 5, &[10, 0, 0, 9]));
    value.extend(requests.concat());
    to_server(from, SERVER, SERVER_TAG, &chunk(ASCONF, 0, &value))
}

fn pass_sctp() -> Rule {
    pass().proto(Protocol::SCTP).keep()
}

fn shake_hands(lab: &mut Lab, clients: &[&str], servers: &[&str]) {
    let init = init_chunk(INIT, CLIENT_TAG, clients);
    let _ = lab
        .packet(In, "em0", to_server(CLIENT, SERVER, 0, &init))
        .passes_unchanged();
    let ack = init_chunk(INIT_ACK, SERVER_TAG, servers);
    let _ = lab
        .packet(Out, "em0", to_client(SERVER, CLIENT, CLIENT_TAG, &ack))
        .passes_unchanged();
}

/// The states as `a > b`, by their openers, in the order of their making.
fn paths(lab: &Lab) -> Vec<String> {
    let path = |state: &pf_engine::view::StateView<'_>| {
        let [first, second] = state.wire.map(|end| end.address);
        let (from, to) = match state.direction {
            In => (first, second),
            Out => (second, first),
        };
        format!("{from} > {to}")
    };
    lab.states().iter().map(path).collect()
}

#[test]
fn the_other_address_of_the_server_has_a_state_when_its_init_ack_has_passed() {
    let mut lab = Lab::router(filter(&[block(), pass_sctp().inet()]));
    let init = init_chunk(INIT, CLIENT_TAG, &[CLIENT]);
    let _ = lab
        .packet(In, "em0", to_server(CLIENT, SERVER, 0, &init))
        .passes_unchanged();
    assert_eq!(lab.engine.state_count(), 1, "its own address is no other");
    let ack = init_chunk(INIT_ACK, SERVER_TAG, &[SERVER, SERVER_TOO]);
    let _ = lab
        .packet(Out, "em0", to_client(SERVER, CLIENT, CLIENT_TAG, &ack))
        .passes_unchanged()
        .counts(
            "filter 0 evaluations 1
             filter 1 created 1
             filter 1 evaluations 1
             filter 1 out 1/68
             filter 1 states 1
             inserts 1
             reason match 1
             searches 1
             state 1 reply 1/68",
        );
    assert_eq!(
        paths(&lab),
        ["10.0.0.9 > 192.0.2.80", "192.0.2.81 > 10.0.0.9"]
    );
    let _ = lab
        .packet(In, "em0", data(CLIENT, SERVER_TOO))
        .passes_unchanged()
        .counts(
            "filter 1 in 1/48
             searches 1
             state 2 reply 1/48",
        );
    let wrong = to_server(CLIENT, SERVER_TOO, 7, &chunk(DATA, 0, &[0; 12]));
    let _ = lab
        .packet(In, "em0", wrong)
        .drops(DropReason::StateMismatch)
        .counts(
            "reason state-mismatch 1
             searches 1",
        );
}

#[test]
fn all_pairs_of_addresses_have_states_floating_ones() {
    let mut lab = Lab::router(filter(&[block(), pass_sctp()]));
    shake_hands(&mut lab, &[CLIENT_TOO], &[SERVER_TOO]);
    assert_eq!(
        paths(&lab),
        [
            "10.0.0.9 > 192.0.2.80",
            "10.0.0.10 > 192.0.2.80",
            "192.0.2.81 > 10.0.0.9",
            "192.0.2.81 > 10.0.0.10"
        ]
    );
    assert!(lab.states().iter().all(|state| state.interface == "all"));
    shake_hands(&mut lab, &[CLIENT_TOO], &[SERVER_TOO]);
    assert_eq!(lab.engine.state_count(), 4, "the same once more");
}

#[test]
fn states_of_a_binding_rule_are_bound_by_their_first_packet() {
    let rule = pass_sctp().change(|rule| {
        rule.state_options.policy = Some(StatePolicy::IfBound);
    });
    let mut lab = Lab::router(filter(&[block(), rule]));
    shake_hands(&mut lab, &[CLIENT_TOO], &[]);
    let _ = lab
        .packet(In, "em1", data(CLIENT_TOO, SERVER))
        .passes_unchanged();
    let _ = lab
        .packet(In, "em0", data(CLIENT_TOO, SERVER))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
             filter 1 evaluations 1
             reason match 1
             searches 1",
        );
    let bound: Vec<String> = lab
        .states()
        .iter()
        .map(|s| s.interface.to_owned())
        .collect();
    assert_eq!(bound, ["em0", "em1"]);
}

#[test]
fn asconf_adds_an_address_and_closes_the_states_of_one_that_is_deleted() {
    let mut lab = Lab::router(filter(&[block(), pass_sctp().inbound()]));
    shake_hands(&mut lab, &[], &[]);
    let _ = lab
        .packet(In, "em0", asconf(CLIENT, &[request(ADD, CLIENT_TOO)]))
        .passes_unchanged();
    assert_eq!(
        paths(&lab),
        ["10.0.0.9 > 192.0.2.80", "10.0.0.10 > 192.0.2.80"]
    );
    let _ = lab
        .packet(
            In,
            "em0",
            asconf(CLIENT_TOO, &[request(DELETE, CLIENT_TOO)]),
        )
        .passes_unchanged();
    assert_eq!(lab.state(2).source.state, 1, "not the packet's own");
    let _ = lab
        .packet(In, "em0", asconf(CLIENT_TOO, &[request(DELETE, CLIENT)]))
        .passes_unchanged();
    let peers: Vec<u8> = lab.states().iter().map(|s| s.source.state).collect();
    assert_eq!(
        (peers, lab.state(1).expires_in.as_secs()),
        (vec![3, 1], 900)
    );
}

#[test]
fn deleting_the_unspecified_address_leaves_the_packets_own() {
    let mut lab = Lab::router(filter(&[block(), pass_sctp().inbound()]));
    shake_hands(&mut lab, &[CLIENT_TOO, "10.0.0.11"], &[]);
    let _ = lab
        .packet(In, "em0", asconf(CLIENT_TOO, &[request(DELETE, "0.0.0.0")]))
        .passes_unchanged();
    let peers: Vec<u8> = lab.states().iter().map(|s| s.source.state).collect();
    assert_eq!(peers, [3, 1, 3]);
}

#[test]
fn an_address_that_the_rules_block_has_no_state_unless_the_rule_allows_related_ones() {
    let narrow = || pass_sctp().inbound().from(CLIENT).to(SERVER);
    let mut lab = Lab::router(filter(&[block(), narrow()]));
    shake_hands(&mut lab, &[CLIENT_TOO], &[SERVER_TOO]);
    assert_eq!(paths(&lab), ["10.0.0.9 > 192.0.2.80"]);
    let _ = lab
        .packet(In, "em0", data(CLIENT_TOO, SERVER))
        .drops(DropReason::Match);

    let related = narrow().change(|rule| rule.state_options.allow_related = true);
    let mut lab = Lab::router(filter(&[block(), related]));
    shake_hands(&mut lab, &[CLIENT_TOO], &[SERVER_TOO]);
    assert_eq!(lab.engine.state_count(), 4);
    assert!(lab.states().iter().all(|state| state.rule == Some(1)));
    for (client, server) in [(CLIENT_TOO, SERVER), (CLIENT_TOO, SERVER_TOO)] {
        let _ = lab
            .packet(In, "em0", data(client, server))
            .passes_unchanged();
    }
}

#[test]
fn a_rule_with_once_makes_one_state_of_the_other_addresses() {
    let once = pass_sctp().inbound().from(CLIENT_TOO);
    let once = once.change(|rule| rule.once = true);
    let first = pass_sctp().inbound().from(CLIENT);
    let mut lab = Lab::router(filter(&[block(), first, once]));
    shake_hands(&mut lab, &[CLIENT_TOO], &[SERVER_TOO]);
    let made = ["10.0.0.9 > 192.0.2.80", "10.0.0.10 > 192.0.2.80"];
    assert_eq!(paths(&lab), made);
    let last = lab.engine.rules(RuleList::Filter).last();
    assert!(last.is_some_and(|rule| rule.expired));
}

#[test]
fn related_states_count_for_the_limits_of_their_rule() {
    let related = pass_sctp().change(|rule| {
        rule.state_options.allow_related = true;
        rule.state_options.max = Some(2);
    });
    let mut lab = Lab::router(filter(&[block(), related]));
    let init = init_chunk(INIT, CLIENT_TAG, &[CLIENT_TOO, "10.0.0.11"]);
    let _ = lab
        .packet(In, "em0", to_server(CLIENT, SERVER, 0, &init))
        .passes_unchanged()
        .counts(
            "filter 0 evaluations 1
             filter 1 created 2
             filter 1 evaluations 1
             filter 1 in 1/68
             filter 1 states 2
             inserts 2
             limit max states per rule 1
             reason match 3
             searches 1
             state 1 forward 1/68",
        );
}

#[test]
fn a_rule_that_is_gone_allows_nothing_related() {
    let related = pass_sctp().change(|rule| rule.state_options.allow_related = true);
    let mut lab = Lab::router(filter(&[block(), related]));
    shake_hands(&mut lab, &[], &[]);
    lab.load(filter(&[block()]));
    let _ = lab
        .packet(In, "em0", asconf(CLIENT, &[request(ADD, CLIENT_TOO)]))
        .passes_unchanged();
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn addresses_of_the_other_family_make_pairs_among_themselves() {
    let (client, server) = ("2001:db8:a::9", "2001:db8:9::80");
    let mut lab = Lab::router(filter(&[block(), pass_sctp()]));
    let init = init_chunk(INIT, CLIENT_TAG, &[CLIENT]);
    let _ = lab
        .packet(In, "em0", to_server(client, server, 0, &init))
        .passes_unchanged();
    assert_eq!(lab.engine.state_count(), 1, "nothing to pair it with yet");
    let ack = init_chunk(INIT_ACK, SERVER_TAG, &[SERVER]);
    let _ = lab
        .packet(Out, "em0", to_client(server, client, CLIENT_TAG, &ack))
        .passes_unchanged();
    assert_eq!(
        paths(&lab),
        ["2001:db8:a::9 > 2001:db8:9::80", "192.0.2.80 > 10.0.0.9"]
    );
    let _ = lab
        .packet(In, "em0", data(CLIENT, SERVER))
        .passes_unchanged();
    assert_eq!(lab.engine.state_count(), 2);
}

#[test]
fn more_addresses_than_are_followed_are_counted() {
    let many: Vec<String> = (20..29).map(|last| format!("10.0.0.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut lab = Lab::router(filter(&[block(), pass_sctp()]));
    shake_hands(&mut lab, &many, &[]);
    assert_eq!(lab.engine.state_count(), 8, "the first of them included");
    assert_eq!(lab.engine.status().addresses_refused, 2);
}

#[test]
fn requests_in_an_init_are_refused() {
    let mut lab = Lab::router(filter(&[pass_sctp()]));
    let mut value = 7_u32.to_be_bytes().to_vec();
    value.extend([0, 0, 0xff, 0xff, 0, 1, 0, 1, 0, 0, 0, 1]);
    value.extend(request(ADD, CLIENT_TOO));
    let init = to_server(CLIENT, SERVER, 0, &chunk(INIT, 0, &value));
    let _ = lab.packet(In, "em0", init).drops(DropReason::Normalize);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn an_abort_ends_the_association_on_all_addresses() {
    let mut lab = Lab::router(filter(&[block(), pass_sctp()]));
    shake_hands(&mut lab, &[CLIENT_TOO], &[SERVER_TOO]);
    let abort = to_server(CLIENT_TOO, SERVER, SERVER_TAG, &chunk(ABORT, 0, &[]));
    let _ = lab.packet(In, "em0", abort).passes_unchanged();
    let left: Vec<u64> = lab
        .states()
        .iter()
        .map(|state| state.expires_in.as_secs())
        .collect();
    assert_eq!(left, [90; 4], "sctp.closed");
    lab.wait(200);
    assert_eq!(lab.engine.state_count(), 0);
    shake_hands(&mut lab, &[CLIENT_TOO], &[SERVER_TOO]);
    assert_eq!(lab.engine.state_count(), 4, "a new association");
}

#[test]
fn an_address_whose_states_are_gone_may_be_told_again() {
    let mut lab = Lab::router(filter(&[block(), pass_sctp().inbound()]));
    shake_hands(&mut lab, &[], &[]);
    let add = || asconf(CLIENT, &[request(ADD, CLIENT_TOO)]);
    let _ = lab.packet(In, "em0", add()).passes_unchanged();
    let of_host = pf_engine::engine::KillStates::Hosts(prefix(CLIENT_TOO), None);
    assert_eq!(kill(&mut lab, of_host), 1);
    let _ = lab.packet(In, "em0", add()).passes_unchanged();
    assert_eq!(lab.engine.state_count(), 2);
}

#[test]
fn behind_translation_other_addresses_are_not_followed() {
    let rules = pf_engine::ruleset::Ruleset {
        nat: vec![nat("em1", "192.0.2.1")],
        ..filter(&[pass_sctp()])
    };
    let mut lab = Lab::router(rules);
    let init = init_chunk(INIT, CLIENT_TAG, &[CLIENT_TOO]);
    let _ = lab
        .packet(Out, "em1", to_server(CLIENT, "198.51.100.80", 0, &init))
        .passes();
    assert_eq!(lab.engine.state_count(), 1);
}
