//! `os` in rules: the first SYN of a connection is looked at, its state does the rest.

use std::sync::Arc;

use pf_engine::addr::Protocol;
use pf_engine::decision::{Basis, DropReason};
use pf_engine::osfp::pfos::{Fingerprints, SystemMatch};
use pf_engine::rule::Rule;
use pf_engine::ruleset::Ruleset;

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1234);
const SERVER: (&str, u16) = ("192.0.2.80", 80);
/// `mss,nop,ws`.
const OPTIONS: [u8; 8] = [2, 4, 5, 180, 1, 3, 3, 7];

const LIST: &str = "5000:64:0:48:M1460,N,W7:Known:1:a:Known\n\
                    5000:64:1:48:M1460,N,W7:Known:1:a:Known, DF\n\
                    5000:64:0:44:M*:Other:::Other\n";

fn known_syn() -> Vec<u8> {
    tcp_with(CLIENT, SERVER, S, 1, 0, 0, &OPTIONS)
}

fn with_list(rules: &[Rule], list: &str) -> Ruleset {
    let mut ruleset = filter(rules);
    let list = Fingerprints::read(list).expect("no error");
    ruleset.options.fingerprints = Some(Arc::new(list));
    ruleset
}

fn os(rule: Rule, name: &str) -> Rule {
    let list = Fingerprints::read(LIST).expect("no error");
    let system = list.find(name).expect("a name");
    rule.proto(Protocol::TCP)
        .change(|rule| rule.criteria.system = Some(system))
}

#[test]
fn the_syn_decides_and_replies_pass_by_its_state() {
    let rules = [block(), os(pass().inbound().keep(), "known 1")];
    let mut lab = Lab::router(with_list(&rules, LIST));
    lab.packet(In, "em0", known_syn()).passes().counts(
        "searches 1
         inserts 1
         state 1 forward 1/48
         reason match 1
         filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 states 1
         filter 1 created 1
         filter 1 in 1/48",
    );
    let reply = tcp(SERVER, CLIENT, S | A, 9, 2, 0);
    lab.packet(Out, "em0", reply).passes().counts(
        "searches 1
         state 1 reply 1/40
         filter 1 out 1/40",
    );
}

#[test]
fn another_system_does_not_match_and_no_cache_may_repeat_it() {
    let rules = [block(), os(pass(), "other")];
    let mut lab = Lab::router(with_list(&rules, LIST));
    let seen = lab.packet(In, "em0", known_syn()).drops(DropReason::Match);
    assert_eq!(seen.decision.basis, Basis::Packet);
}

#[test]
fn unknown_is_every_tcp_packet_without_a_signature() {
    let rules = [block(), os(pass(), "unknown")];
    let mut lab = Lab::router(with_list(&rules, LIST));
    let odd = tcp_with(CLIENT, SERVER, S, 1, 0, 0, &[30, 4, 0, 0]);
    let _ = lab.packet(In, "em0", odd).passes();
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, A, 5, 5, 0))
        .passes();
    let _ = lab.packet(In, "em0", known_syn()).drops(DropReason::Match);
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 5))
        .drops(DropReason::Match);
}

#[test]
fn a_list_that_is_flushed_leaves_everything_unknown() {
    let rules = [
        block(),
        os(pass(), "known"),
        os(pass().inbound(), "unknown").label("unknown"),
    ];
    let mut lab = Lab::router(with_list(&rules, LIST));
    lab.engine.flush_fingerprints();
    assert!(lab.engine.fingerprints().is_empty());
    let _ = lab.packet(In, "em0", known_syn()).passes();
    let _ = lab.packet(Out, "em1", known_syn()).drops(DropReason::Match);
    // A ruleset without `set fingerprints` brings the list that the program has.
    lab.load(filter(&[pass()]));
    assert_eq!(**lab.engine.fingerprints(), *Fingerprints::stock());
}

#[test]
fn a_name_is_compared_whatever_its_case() {
    let wanted = Fingerprints::read(LIST)
        .expect("no error")
        .find("KNOWN 1-A");
    assert_eq!(
        wanted.as_ref().map(SystemMatch::to_string).as_deref(),
        Some("Known 1 a")
    );
}
