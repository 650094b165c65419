//! Flows that are routed, in a flow cache.

use pf_engine::rule::RouteKind;

use super::rulesets::routed;
use super::{ACK, CLIENT, SERVER, SYN, Twins};
use crate::scenarios::harness::*;

#[test]
fn a_connection_whose_answers_are_routed_is_not_in_the_cache_from_its_syn_on() {
    let mut twins = Twins::new(&routed(RouteKind::ReplyTo, ("em0", "10.0.0.99")));
    twins.segment(true, SYN, (100, 0), 0);
    twins.segment(false, SYN | ACK, (9000, 101), 0);
    assert_eq!(twins.decided(), 3, "the answer is known where it comes in");
    twins.segment(true, ACK, (101, 9001), 0);
    twins.segment(false, ACK, (9001, 101), 10);
    twins.compare();
}

/// A question in a frame of this client, and its answer, which comes in the gateway's own.
fn exchange(twins: &mut Twins, client: u8) {
    let question = udp(CLIENT, SERVER, 10);
    assert!(twins.packet(In, "em0", &question, client).is_some());
    let answer = udp(SERVER, CLIENT, 10);
    assert!(twins.packet(In, "em1", &answer, 3).is_some());
    twins.cached.engine.fill_flow_cache();
    twins.compare();
}

#[test]
fn answers_of_what_is_routed_follow_a_client_whose_frames_come_from_another_address() {
    let mut twins = Twins::new(&routed(RouteKind::RouteTo, ("em1", "192.0.2.1")));
    for client in [1, 2, 1] {
        let before = twins.led();
        for _ in 0..8 {
            exchange(&mut twins, client);
        }
        let led = twins.led() - before;
        assert!(led > 4, "{led} of 16 packets of client {client}");
    }
}
