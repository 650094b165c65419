//! `log`: which packets are logged, and what the entries say.

use pf_engine::decision::{Basis, DropReason, LOG_SNAP_LENGTH, LogEntry};
use pf_engine::rule::{Action, Log, Rule};
use pf_engine::ruleset::{Limit, Ruleset};

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1234);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn log(rule: Rule) -> Rule {
    log_with(rule, Log::default())
}

fn log_with(rule: Rule, log: Log) -> Rule {
    rule.change(|rule| rule.log = Some(log))
}

const ALL: Log = Log {
    all: true,
    user: false,
    matches: false,
    interface: 0,
};

fn matching() -> Rule {
    Rule::new(Action::Match)
}

/// `pflogN rule N/reason: action in on em0: source > destination`.
fn line(entry: &LogEntry) -> String {
    let rule = entry
        .rule
        .map_or("-".to_owned(), |number| number.to_string());
    let direction = if entry.direction == In { "in" } else { "out" };
    let mut whole = entry.bytes.clone();
    whole.resize(entry.length, 0x61);
    format!(
        "pflog{} rule {rule}/{}: {:?} {direction} on {}: {}",
        entry.log,
        entry.reason.name(),
        entry.action,
        entry.interface,
        tuple(&whole)
    )
}

fn lines(seen: &Seen<'_>) -> Vec<String> {
    seen.decision.logged.iter().map(line).collect()
}

fn syn() -> Vec<u8> {
    tcp(CLIENT, SERVER, S, 1, 0, 0)
}

fn syn_ack() -> Vec<u8> {
    tcp(SERVER, CLIENT, SA, 100, 2, 0)
}

#[test]
fn nothing_is_logged_without_log() {
    let mut lab = Lab::router(filter(&[pass().keep()]));
    assert_eq!(lab.packet(In, "em0", syn()).passes().decision.logged, []);
    let mut lab = Lab::router(filter(&[block()]));
    let seen = lab.packet(In, "em0", syn()).drops(DropReason::Match);
    assert_eq!(seen.decision.logged, []);
}

#[test]
fn log_alone_logs_the_packet_that_makes_the_state_and_no_other() {
    let mut lab = Lab::router(filter(&[block(), log(pass().keep())]));
    let seen = lab.packet(In, "em0", syn()).passes();
    let wanted = "pflog0 rule 1/match: Pass in on em0: 10.0.0.9:1234 > 192.0.2.80:80";
    assert_eq!(lines(&seen), [wanted]);
    assert!(matches!(seen.decision.basis, Basis::State(_)));
    drop(seen);
    assert_eq!(lines(&lab.packet(Out, "em0", syn_ack()).passes()).len(), 0);
}

#[test]
fn log_all_logs_both_directions_and_no_cache_may_repeat_the_decision() {
    let mut lab = Lab::router(filter(&[log_with(pass().keep(), ALL)]));
    let seen = lab.packet(In, "em0", syn()).passes();
    assert_eq!(
        lines(&seen).len(),
        1,
        "not once by the rule and once by the state"
    );
    assert_eq!(seen.decision.basis, Basis::Packet);
    drop(seen);
    let seen = lab.packet(Out, "em0", syn_ack()).passes();
    let wanted = "pflog0 rule 0/match: Pass out on em0: 192.0.2.80:80 > 10.0.0.9:1234";
    assert_eq!(lines(&seen), [wanted]);
    assert_eq!(seen.decision.basis, Basis::Packet);
}

#[test]
fn a_rule_without_state_logs_each_packet() {
    let blocking = log(block().inbound());
    let mut lab = Lab::router(filter(&[log(pass()), blocking]));
    for _ in 0..2 {
        let seen = lab.packet(In, "em0", syn()).drops(DropReason::Match);
        let wanted = "pflog0 rule 1/match: Block in on em0: 10.0.0.9:1234 > 192.0.2.80:80";
        assert_eq!(lines(&seen), [wanted]);
        assert_eq!(seen.decision.basis, Basis::Packet);
        drop(seen);
        let seen = lab.packet(Out, "em1", syn()).passes();
        let wanted = "pflog0 rule 0/match: Pass out on em1: 10.0.0.9:1234 > 192.0.2.80:80";
        assert_eq!(lines(&seen), [wanted]);
    }
}

/// The case `rdr_action` of PF's own tests.
#[test]
fn a_redirection_is_logged_as_it_came_and_the_pass_as_it_goes_on() {
    let mut lab = Lab::router(Ruleset {
        rdr: vec![log(rdr("em0", "192.0.2.99", Some(8080)).port(80))],
        filter: vec![log(pass().keep())],
        ..Ruleset::default()
    });
    let seen = lab.packet(In, "em0", syn()).passes();
    assert_eq!(
        lines(&seen),
        [
            "pflog0 rule 0/match: Rdr in on em0: 10.0.0.9:1234 > 192.0.2.80:80",
            "pflog0 rule 0/match: Pass in on em0: 10.0.0.9:1234 > 192.0.2.99:8080",
        ]
    );
}

#[test]
fn a_blocked_redirection_is_logged_as_the_filter_rule_saw_it() {
    let mut lab = Lab::router(Ruleset {
        rdr: vec![rdr("em0", "192.0.2.99", Some(8080)).port(80)],
        filter: vec![log(block())],
        ..Ruleset::default()
    });
    let seen = lab.packet(In, "em0", syn()).drops(DropReason::Match);
    let wanted = "pflog0 rule 0/match: Block in on em0: 10.0.0.9:1234 > 192.0.2.99:8080";
    assert_eq!(lines(&seen), [wanted]);
}

#[test]
fn nat_with_log_all_is_named_for_each_packet_of_its_state() {
    let mut lab = Lab::router(Ruleset {
        nat: vec![log_with(
            nat("em1", "192.0.2.1").change(|r| r.nat_pass = true),
            ALL,
        )],
        filter: vec![block()],
        ..Ruleset::default()
    });
    let seen = lab.packet(Out, "em1", syn()).passes();
    let wanted = "pflog0 rule 0/match: Nat out on em1: 10.0.0.9:1234 > 192.0.2.80:80";
    assert_eq!(lines(&seen), [wanted]);
    let port = meta(&seen.bytes).ports().unwrap().0;
    drop(seen);
    let answer = tcp(SERVER, ("192.0.2.1", port), SA, 100, 2, 0);
    let seen = lab.packet(In, "em1", answer).passes();
    let wanted = "pflog0 rule 0/match: Pass in on em1: 192.0.2.80:80 > 10.0.0.9:1234";
    assert_eq!(lines(&seen), [wanted]);
}

/// The case malformed of PF's own tests.
#[test]
fn ip_options_are_logged_as_blocked_by_the_rule_that_passed_them() {
    let mut lab = Lab::router(filter(&[log(pass().keep())]));
    let mut bytes = syn();
    bytes[0] = 0x46;
    bytes.splice(20..20, [7, 4, 4, 0]);
    let length = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    pf_engine::wire::checksum::complete(&mut bytes).unwrap();
    let seen = lab
        .packet(In, "em0", bytes.clone())
        .drops(DropReason::IpOption);
    let wanted = "pflog0 rule 0/ip-option: Block in on em0: 10.0.0.9:1234 > 192.0.2.80:80";
    assert_eq!(lines(&seen), [wanted]);
    drop(seen);
    // PF logs them whether the rule has `log` or not, and by the state too.
    let mut lab = Lab::router(filter(&[pass().keep()]));
    let _ = lab.packet(In, "em0", syn()).passes();
    let seen = lab.packet(In, "em0", bytes).drops(DropReason::IpOption);
    assert_eq!(lines(&seen), [wanted]);
}

/// The case `state_max` of PF's own tests, with the one line that its comment wishes for.
#[test]
fn a_packet_that_hits_the_state_limit_is_logged_as_blocked_for_it() {
    let mut lab = Lab::router(filter(&[log(pass()
        .keep()
        .change(|rule| rule.state_options.max = Some(1)))]));
    let _ = lab.packet(In, "em0", syn()).passes();
    let other = tcp(("10.0.0.9", 1235), SERVER, S, 1, 0, 0);
    let seen = lab.packet(In, "em0", other).drops(DropReason::StateLimit);
    let wanted = "pflog0 rule 0/state-limit: Block in on em0: 10.0.0.9:1235 > 192.0.2.80:80";
    assert_eq!(lines(&seen), [wanted]);
    drop(seen);
    let bounded = pass()
        .keep()
        .change(|rule| rule.state_options.max = Some(1));
    let plain = filter(&[bounded]);
    let full = limit(filter(&[pass().keep()]), Limit::States, 1);
    for (ruleset, reason) in [(plain, DropReason::StateLimit), (full, DropReason::Memory)] {
        let mut lab = Lab::router(ruleset);
        let _ = lab.packet(In, "em0", syn()).passes();
        let other = tcp(("10.0.0.9", 1235), SERVER, S, 1, 0, 0);
        let seen = lab.packet(In, "em0", other).drops(reason);
        assert!(lines(&seen).is_empty(), "without `log` it is not");
    }
}

/// The cases matches and `matches_logif` of PF's own tests.
#[test]
fn log_matches_logs_every_later_rule_that_matches_into_its_own_file() {
    let to_pflog1 = Log {
        matches: true,
        interface: 1,
        ..Log::default()
    };
    let mut lab = Lab::router(filter(&[
        pass(),
        log_with(matching(), to_pflog1),
        matching().port(80),
        matching().port(81),
        block().port(80),
        log(pass().keep()),
    ]));
    let seen = lab.packet(In, "em0", syn()).passes();
    let end = "in on em0: 10.0.0.9:1234 > 192.0.2.80:80";
    assert_eq!(
        lines(&seen),
        [
            format!("pflog1 rule 1/match: Match {end}"),
            format!("pflog1 rule 2/match: Match {end}"),
            format!("pflog1 rule 4/match: Block {end}"),
            format!("pflog1 rule 5/match: Pass {end}"),
            format!("pflog0 rule 5/match: Pass {end}"),
        ]
    );
}

#[test]
fn two_rules_with_log_matches_into_one_file_log_a_packet_once_there() {
    let matches = Log {
        matches: true,
        ..Log::default()
    };
    let mut lab = Lab::router(filter(&[
        log_with(matching(), matches),
        log_with(matching().port(80), matches),
        log(pass().keep()),
    ]));
    let seen = lab.packet(In, "em0", syn()).passes();
    let end = "in on em0: 10.0.0.9:1234 > 192.0.2.80:80";
    assert_eq!(
        lines(&seen),
        [
            format!("pflog0 rule 0/match: Match {end}"),
            format!("pflog0 rule 1/match: Match {end}"),
            format!("pflog0 rule 2/match: Pass {end}"),
        ]
    );
}

#[test]
fn a_match_rule_with_log_all_has_each_packet_of_the_state_logged() {
    let mut lab = Lab::router(filter(&[log_with(matching(), ALL), pass().keep()]));
    let seen = lab.packet(In, "em0", syn()).passes();
    let wanted = "pflog0 rule 0/match: Match in on em0: 10.0.0.9:1234 > 192.0.2.80:80";
    assert_eq!(lines(&seen), [wanted]);
    drop(seen);
    let seen = lab.packet(Out, "em0", syn_ack()).passes();
    let wanted = "pflog0 rule 0/match: Pass out on em0: 192.0.2.80:80 > 10.0.0.9:1234";
    assert_eq!(lines(&seen), [wanted]);
}

#[test]
fn a_state_logs_on_after_its_rule_is_out_of_force_but_has_no_number_to_tell() {
    let mut lab = Lab::router(filter(&[log_with(pass().keep(), ALL)]));
    let _ = lab.packet(In, "em0", syn()).passes();
    lab.load(filter(&[block()]));
    let seen = lab.packet(Out, "em0", syn_ack()).passes();
    let wanted = "pflog0 rule -/match: Pass out on em0: 192.0.2.80:80 > 10.0.0.9:1234";
    assert_eq!(lines(&seen), [wanted]);
}

#[test]
fn what_cannot_be_read_is_always_logged() {
    let mut lab = Lab::router(filter(&[pass()]));
    let seen = lab.packet(In, "em0", syn()[..12].to_vec());
    let [entry] = seen.decision.logged.as_slice() else {
        panic!("one entry");
    };
    assert_eq!(entry.reason, DropReason::Short);
    assert_eq!((entry.rule, entry.length), (None, 12));
    assert_eq!(entry.bytes, syn()[..12]);
}

#[test]
fn an_entry_holds_the_beginning_of_the_packet_and_its_length() {
    let mut lab = Lab::router(filter(&[log(pass())]));
    let whole = udp(CLIENT, SERVER, 1000);
    let mut padded = whole.clone();
    padded.extend([0; 6]);
    let seen = lab.packet(In, "em0", padded).passes();
    let entry = &seen.decision.logged[0];
    assert_eq!(entry.length, 1028);
    assert_eq!(entry.bytes, whole[..LOG_SNAP_LENGTH]);
    drop(seen);
    lab.engine.set_log_snap_length(2000);
    let seen = lab.packet(In, "em0", whole.clone()).passes();
    assert_eq!(seen.decision.logged[0].bytes, whole);
}

#[test]
fn packets_from_the_unspecified_address_are_logged_as_any_other() {
    let mut lab = Lab::router(filter(&[log(block().inbound()), log(pass().outbound())]));
    for (source, server) in [("0.0.0.0", "192.0.2.80"), ("::", "2001:db8:b::80")] {
        let packet = udp((source, 68), (server, 67), 9);
        let seen = lab.packet(In, "em0", packet.clone());
        let seen = seen.drops(DropReason::Match);
        let wanted = format!("pflog0 rule 0/match: Block in on em0: {source}:68 > {server}:67");
        assert_eq!(lines(&seen), [wanted]);
        drop(seen);
        let seen = lab.packet(Out, "em1", packet).passes();
        let wanted = format!("pflog0 rule 1/match: Pass out on em1: {source}:68 > {server}:67");
        assert_eq!(lines(&seen), [wanted]);
    }
}
