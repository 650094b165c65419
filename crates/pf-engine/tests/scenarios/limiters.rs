//! `max-pkt-rate`, `max-pkt-size`, state limiters, source limiters, `least-states`.

use pf_engine::addr::Protocol;
use pf_engine::decision::{Basis, DropReason, StateId};
use pf_engine::engine::{ForgetSources, KillStates};
use pf_engine::limiter::{LimiterCounters, LimiterTable, SourceLimiter, StateLimiter};
use pf_engine::rule::{LimiterUse, PoolKind, Rate, RouteKind, Rule, WhenLimited};
use pf_engine::ruleset::{Limit, Ruleset};

use super::harness::*;
use super::persist::restarted;

fn ping(host: &str, id: u16) -> Vec<u8> {
    echo(host, "192.0.2.80", id)
}

const fn used(when_limited: WhenLimited) -> LimiterUse {
    LimiterUse {
        id: 1,
        when_limited,
    }
}

fn by_state(rules: &[Rule], limit: u32, rate: Option<Rate>) -> Ruleset {
    let mut ruleset = filter(rules);
    ruleset.limiters.states.push(StateLimiter {
        name: "server".to_owned(),
        id: 1,
        limit,
        rate,
    });
    ruleset
}

fn by_source(rules: &[Rule], limit: u32, table: Option<LimiterTable>) -> Ruleset {
    let mut ruleset = filter(rules);
    ruleset.limiters.sources.push(SourceLimiter {
        name: "server".to_owned(),
        id: 1,
        entries: 2,
        limit,
        rate: None,
        inet_mask: 32,
        inet6_mask: 128,
        table,
    });
    ruleset
}

fn pings() -> Rule {
    pass().inbound().proto(Protocol::ICMP).keep()
}

fn limited(when: WhenLimited) -> Rule {
    pings().change(|rule| rule.state_limiter = Some(used(when)))
}

fn limited_by_source() -> Rule {
    pings().change(|rule| rule.source_limiter = Some(used(WhenLimited::NoMatch)))
}

fn counters(lab: &Lab) -> LimiterCounters {
    lab.engine.state_limiters().next().unwrap().counters
}

#[test]
fn a_state_limiter_that_is_full_makes_its_rule_not_match() {
    let mut lab = Lab::router(by_state(
        &[block().inbound(), limited(WhenLimited::NoMatch)],
        1,
        None,
    ));
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 2))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
             filter 0 in 1/84
             filter 1 evaluations 1
             reason match 1
             searches 1
             state-limiter 1 hardlimit 1",
        );
    lab.engine.flush_states();
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 2)).passes();
    assert_eq!((counters(&lab).states, counters(&lab).admitted), (1, 2));
}

#[test]
fn a_rate_lets_a_state_be_made_again_when_its_token_is_back() {
    let rate = Some(Rate {
        count: 1,
        seconds: 5,
    });
    let rules = [block().inbound(), limited(WhenLimited::NoMatch)];
    let mut lab = Lab::router(by_state(&rules, 1000, rate));
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 2))
        .drops(DropReason::Match);
    assert_eq!(counters(&lab).rate_limited, 1);
    lab.wait(4);
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 3))
        .drops(DropReason::Match);
    lab.wait(1);
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 4)).passes();
}

#[test]
fn block_drops_where_no_match_leaves_it_to_the_rules_before() {
    let rate = Some(Rate {
        count: 1,
        seconds: 5,
    });
    let rules = |when| [pass().inbound().keep(), limited(when)];
    let mut lab = Lab::router(by_state(&rules(WhenLimited::Block), 1000, rate));
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 2))
        .drops(DropReason::StateLimit)
        .counts(
            "filter 0 evaluations 1
             filter 1 evaluations 1
             filter 1 in 1/84
             reason state-limit 1
             searches 1
             state-limiter 1 ratelimit 1",
        );
    lab.load(by_state(&rules(WhenLimited::NoMatch), 1000, rate));
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 3)).passes();
    assert_eq!(counters(&lab).admitted, 1, "the first rule let it pass");
}

#[test]
fn a_source_limiter_counts_each_source_for_itself_and_can_forget_one() {
    let rules = [block().inbound(), limited_by_source()];
    let mut lab = Lab::router(by_source(&rules, 1, None));
    let _ = lab.packet(In, "em0", ping("10.0.0.2", 1)).passes();
    for id in 2..=3 {
        let _ = lab
            .packet(In, "em0", ping("10.0.0.2", id))
            .drops(DropReason::Match);
    }
    let _ = lab.packet(In, "em0", ping("10.0.0.3", 1)).passes();
    let limiter = lab.engine.source_limiters().next().unwrap();
    let hard = |at: usize| {
        (
            limiter.sources[at].0.to_string(),
            limiter.sources[at].1.hard_limited,
        )
    };
    assert_eq!(hard(0), ("10.0.0.2".to_owned(), 2));
    assert_eq!(hard(1), ("10.0.0.3".to_owned(), 0));
    let _ = lab
        .packet(In, "em0", ping("10.0.0.4", 1))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
             filter 0 in 1/84
             filter 1 evaluations 1
             reason match 1
             searches 1
             source-limiter 1 addrlimit 1",
        );
    assert_eq!(lab.engine.kill_limited_sources(1, prefix("10.0.0.2")), 1);
    let _ = lab.packet(In, "em0", ping("10.0.0.2", 4)).passes();
    lab.engine.flush_states();
    let limiter = lab.engine.source_limiters().next().unwrap();
    assert_eq!((limiter.counters.states, limiter.sources.len()), (0, 0));
}

#[test]
fn sources_of_a_limiter_are_forgotten_in_pieces_and_old_states_do_not_count_for_new_ones() {
    const PIECE: usize = 4;
    let table = LimiterTable {
        name: "busy".to_owned(),
        above: 0,
        below: 0,
    };
    let mut ruleset = by_source(&[block().inbound(), limited_by_source()], 1, Some(table));
    ruleset.limiters.sources[0].entries = 100;
    let mut lab = Lab::router(ruleset.clone());
    let host = |last: usize| format!("10.0.0.{last}");
    for last in 10..30 {
        let _ = lab.packet(In, "em0", ping(&host(last), 1)).passes();
    }
    let listed = |lab: &Lab| lab.engine.table_len("busy");
    assert_eq!(listed(&lab), Some(20));
    let within = ForgetSources::Limited(1, prefix("10.0.0.16/28"));
    let mut forgetting = lab.engine.begin_forgetting(within);
    for looked_at in 1..=5 {
        assert!(lab.engine.go_on_forgetting(&mut forgetting, PIECE));
        assert!(forgetting.forgotten() <= looked_at * PIECE);
        if looked_at == 3 {
            assert_eq!((forgetting.forgotten(), listed(&lab)), (6, Some(14)));
            // One that is forgotten already, and one that is not.
            let _ = lab.packet(In, "em0", ping(&host(16), 2)).passes();
            let _ = lab
                .packet(In, "em0", ping(&host(29), 2))
                .drops(DropReason::Match);
        }
    }
    assert!(!lab.engine.go_on_forgetting(&mut forgetting, PIECE));
    assert_eq!((forgetting.forgotten(), listed(&lab)), (14, Some(7)));
    let states = |lab: &Lab| {
        let limiter = lab.engine.source_limiters().next().unwrap();
        (limiter.counters.states, limiter.sources.len())
    };
    assert_eq!(states(&lab), (7, 7));
    let next = restarted(&lab, ruleset);
    assert_eq!((states(&next), next.engine.state_count()), ((7, 7), 21));
    // The first state of a source whose second counts.
    assert_eq!(kill(&mut lab, KillStates::Id(StateId(7), None)), 1);
    assert_eq!(states(&lab), (7, 7));
    lab.engine.flush_states();
    assert_eq!((states(&lab), listed(&lab)), ((0, 0), Some(0)));
}

#[test]
fn a_source_with_many_states_is_in_the_limiters_table() {
    let table = LimiterTable {
        name: "busy".to_owned(),
        above: 1,
        below: 0,
    };
    let mut lab = Lab::router(by_source(&[limited_by_source()], 9, Some(table)));
    let held = |lab: &Lab| lab.engine.table_len("busy");
    let _ = lab.packet(In, "em0", ping("10.0.0.2", 1)).passes();
    assert_eq!(held(&lab), None);
    let _ = lab.packet(In, "em0", ping("10.0.0.2", 2)).passes();
    assert_eq!(held(&lab), Some(1));
    lab.engine.flush_states();
    assert_eq!(held(&lab), Some(0));
}

#[test]
fn limiters_count_on_over_a_restart() {
    let ruleset = by_state(&[limited(WhenLimited::Block)], 2, None);
    let mut lab = Lab::router(ruleset.clone());
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 2)).passes();
    let mut next = restarted(&lab, ruleset);
    let _ = next
        .packet(In, "em0", ping("10.0.0.9", 3))
        .drops(DropReason::StateLimit);
    next.engine.flush_states();
    let _ = next.packet(In, "em0", ping("10.0.0.9", 3)).passes();
}

#[test]
fn max_pkt_rate_lets_so_many_packets_of_the_opener_pass() {
    let rate = Rate {
        count: 2,
        seconds: 2,
    };
    let rule = pings().change(|rule| rule.max_packet_rate = Some(rate));
    let mut lab = Lab::router(filter(&[block().inbound(), rule]));
    let seen = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
    assert_eq!(seen.decision.basis, Basis::Packet);
    drop(seen);
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
    let reply = echo_reply("192.0.2.80", "10.0.0.9", 1);
    for _ in 0..3 {
        let _ = lab.packet(Out, "em0", reply.clone()).passes();
    }
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 1))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
             filter 0 in 1/84
             filter 1 evaluations 1
             reason match 1
             searches 1",
        );
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 2))
        .drops(DropReason::Match);
    lab.wait(3);
    let _ = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
}

/// Who is above the rate is any other to the rules.
#[test]
fn above_max_pkt_rate_the_other_rules_decide() {
    let rate = Rate {
        count: 1,
        seconds: 10,
    };
    let limited = |first| {
        let rule = pings().change(|rule| rule.max_packet_rate = Some(rate));
        let mut lab = Lab::router(filter(&[first, rule]));
        let _ = lab.packet(In, "em0", ping("10.0.0.9", 1)).passes();
        lab
    };
    let mut lab = limited(pass().label("rest"));
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 1))
        .passes_unchanged()
        .counts(
            "filter 0 evaluations 1
             filter 0 in 1/84
             filter 1 evaluations 1
             reason match 1
             searches 1",
        );
    // One with state finds that there is one.
    let mut lab = limited(pass().keep());
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 1))
        .drops(DropReason::StateInsert);
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn max_pkt_size_bounds_each_packet_of_the_rule_and_of_its_states() {
    let rule = pass()
        .inbound()
        .keep()
        .change(|rule| rule.max_packet_size = Some(128));
    let mut lab = Lab::router(filter(&[rule]));
    let sized = |data| udp(("10.0.0.9", 9), ("192.0.2.80", 53), data);
    let _ = lab
        .packet(In, "em0", sized(101))
        .drops(DropReason::Normalize);
    assert_eq!(lab.engine.state_count(), 0);
    let _ = lab.packet(In, "em0", sized(100)).passes();
    let _ = lab
        .packet(In, "em0", sized(101))
        .drops(DropReason::Normalize)
        .counts("reason normalize 1\nsearches 1");
    let answer = udp(("192.0.2.80", 53), ("10.0.0.9", 9), 101);
    let _ = lab.packet(Out, "em0", answer).drops(DropReason::Normalize);
}

#[test]
fn a_limit_of_zero_is_no_limit() {
    let mut ruleset = filter(&[pass().keep()]);
    for name in [Limit::States, Limit::SrcNodes, Limit::Frags] {
        ruleset = limit(ruleset, name, 0);
    }
    let mut lab = Lab::router(ruleset);
    for id in 1..=50 {
        let _ = lab.packet(In, "em0", ping("10.0.0.9", id)).passes();
    }
    assert_eq!(lab.engine.limit_hits(), [0; Limit::ALL.len()]);
}

#[test]
fn a_rules_max_is_counted_as_such_and_the_limit_of_states_by_its_name() {
    let rule = pass().inbound().keep();
    let rule = rule.change(|rule| rule.state_options.max = Some(3));
    let mut lab = Lab::router(filter(&[rule]));
    for id in 1..=3 {
        let _ = lab.packet(In, "em0", ping("10.0.0.9", id)).passes();
    }
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 4))
        .drops(DropReason::StateLimit)
        .counts(
            "filter 0 evaluations 1
             limit max states per rule 1
             reason match 1
             reason state-limit 1
             searches 1",
        );
    assert_eq!(lab.engine.limit_hits()[Limit::States as usize], 0);
    let plain = pass().inbound().keep();
    lab.load(limit(filter(&[plain]), Limit::States, 3));
    let _ = lab
        .packet(In, "em0", ping("10.0.0.9", 5))
        .drops(DropReason::Memory);
    assert_eq!(lab.engine.limit_hits()[Limit::States as usize], 1);
}

#[test]
fn least_states_sends_new_states_where_there_are_fewest() {
    let gateways = [("em1", "192.0.2.7"), ("em1", "192.0.2.8")];
    let kind = PoolKind::LeastStates;
    let rule = pass()
        .inbound()
        .route_by(RouteKind::RouteTo, kind, false, &gateways)
        .keep()
        .change(|rule| {
            let route = rule.route.as_mut().unwrap();
            route.pool.targets[0].weight = Some(2);
        });
    let ruleset = filter(&[rule]);
    let mut lab = Lab::router(ruleset.clone());
    let hop = |lab: &mut Lab, port| {
        let packet = udp(("10.0.0.9", port), ("198.51.100.1", 53), 5);
        let seen = lab.packet(In, "em0", packet);
        let pf_engine::decision::Verdict::Pass(pf_engine::decision::Exit::Gateway {
            next_hop, ..
        }) = seen.decision.verdict
        else {
            panic!("{:?}", seen.decision);
        };
        next_hop.to_string()
    };
    let mut taken: Vec<String> = (1..=6).map(|port| hop(&mut lab, port)).collect();
    taken.sort();
    let eight = taken.iter().filter(|hop| hop.ends_with(".8")).count();
    assert_eq!(eight, 2, "weight 2 to 1 of 6: {taken:?}");
    let mut next = restarted(&lab, ruleset);
    let mut more: Vec<String> = (7..=9).map(|port| hop(&mut next, port)).collect();
    more.sort();
    assert_eq!(more, ["192.0.2.7", "192.0.2.7", "192.0.2.8"]);
}
