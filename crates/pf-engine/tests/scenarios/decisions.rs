//! Decisions without a state in a flow cache: which are repeated, and until when.

use pf_engine::addr::Protocol;
use pf_engine::criteria::{OwnerMatch, Probability};
use pf_engine::engine::{DECISION_LIFETIME, FlowsRead};
use pf_engine::limiter::{LimiterTable, SourceLimiter};
use pf_engine::rule::{
    Action, BlockReply, FlagsMatch, IcmpMatch, InterfaceMatch, LimiterUse, Log, Rule, StateMode,
    WhenLimited, tcp_flags,
};
use pf_engine::ruleset::{Ruleset, Syncookies, TableDefinition};
use pf_engine::wire::build::{self, Ip, Segment};

use super::flows::Twins;
use super::harness::*;
use super::talks::Dice;

const CLIENT: (&str, u16) = ("10.0.0.5", 5000);
const SERVER: (&str, u16) = ("192.0.2.80", 53);

fn none() -> Rule {
    pass().change(|rule| rule.state = StateMode::None)
}

/// Sends the packet often enough for its decision to be in the cache, if it can be.
fn repeat(twins: &mut Twins, bytes: &[u8]) {
    for _ in 0..3 {
        twins.packet(In, "em0", bytes, 1);
        twins.cached.engine.fill_flow_cache();
    }
    twins.compare();
}

fn decisions(twins: &Twins) -> usize {
    twins.cached.engine.flow_statistics().decisions
}

fn question() -> Vec<u8> {
    udp(CLIENT, SERVER, 10)
}

fn syn() -> Vec<u8> {
    tcp(CLIENT, SERVER, tcp_flags::SYN, 1, 0, 0)
}

/// How many decisions there are after such a packet has come a few times.
fn kept(rules: &[Rule], bytes: &[u8]) -> usize {
    kept_by(&filter(rules), bytes)
}

fn kept_by(ruleset: &Ruleset, bytes: &[u8]) -> usize {
    let mut twins = Twins::new(ruleset);
    repeat(&mut twins, bytes);
    decisions(&twins)
}

#[test]
fn what_the_key_tells_is_repeated() {
    let data = tcp(CLIENT, SERVER, tcp_flags::ACK, 1, 1, 10);
    let ping = echo(CLIENT.0, SERVER.0, 7);
    let by_type = |kind, code| {
        block().proto(Protocol::ICMP).change(|rule| {
            rule.icmp = Some(IcmpMatch { kind, code });
        })
    };
    let by_flags = none().change(|rule| {
        rule.flags = Some(FlagsMatch {
            set: tcp_flags::SYN,
            mask: tcp_flags::SYN | tcp_flags::ACK,
        });
    });
    assert_eq!(kept(&[none()], &question()), 1);
    assert_eq!(kept(&[], &question()), 1, "the implicit pass");
    assert_eq!(kept(&[block()], &question()), 1);
    assert_eq!(kept(&[block()], &syn()), 1);
    assert_eq!(kept(&[block()], &data), 1);
    assert_eq!(kept(&[block(), by_flags.clone()], &data), 1);
    assert_eq!(kept(&[block(), by_flags], &syn()), 0, "a SYN that passes");
    assert_eq!(kept(&[by_type(8, None)], &ping), 1);
    assert_eq!(kept(&[none(), by_type(0, None)], &ping), 1);
    let same = echo(CLIENT.0, SERVER.0, 8);
    assert_eq!(kept(&[by_type(8, None)], &same), 0, "request or answer?");
    assert_eq!(kept(&[by_type(8, Some(0))], &ping), 0, "a code");
    let fin = tcp(CLIENT, SERVER, tcp_flags::FIN | tcp_flags::ACK, 1, 1, 0);
    assert_eq!(kept(&[block()], &fin), 0, "neither plain nor a SYN");
}

#[test]
fn whoever_asked_for_anything_else_sees_each_packet() {
    let others = |change: fn(&mut Rule)| none().from("10.0.0.99").change(change);
    let cases: Vec<(&str, Rule)> = vec![
        ("tos", none().change(|r| r.tos = Some(8))),
        (
            "probability",
            block().change(|r| r.criteria.probability = Probability::of_share(0.5)),
        ),
        (
            "user",
            none().change(|r| r.criteria.user = Some(OwnerMatch::Eq(0))),
        ),
        ("prio", none().change(|r| r.criteria.priority = Some(3))),
        (
            "max-pkt-size",
            none().change(|r| r.max_packet_size = Some(1000)),
        ),
        (
            "received-on",
            none().change(|r| {
                r.criteria.received_on = Some(InterfaceMatch {
                    name: "em0".to_owned(),
                    negated: false,
                });
            }),
        ),
        ("log", none().change(|r| r.log = Some(Log::default()))),
        (
            "set prio",
            none().change(|r| r.treatment.priority = Some((5, 5))),
        ),
        (
            "rtable",
            none().change(|r| r.treatment.routing_table = Some(2)),
        ),
        ("scrub", none().change(|r| r.scrub.min_ttl = Some(64))),
        ("return", Rule::new(Action::Block(BlockReply::Return))),
        ("log", block().change(|r| r.log = Some(Log::default()))),
        ("state", pass().keep()),
        (
            "reply-to",
            none().route(pf_engine::rule::RouteKind::ReplyTo, &[("em1", "192.0.2.1")]),
        ),
    ];
    for (name, rule) in cases {
        assert_eq!(kept(&[rule], &question()), 0, "{name}");
    }
    // A rule that is skipped before it asks says nothing.
    assert_eq!(kept(&[none(), others(|r| r.tos = Some(8))], &question()), 1);
}

#[test]
fn flags_that_the_key_does_not_tell_are_looked_at() {
    let psh = block().change(|rule| {
        rule.flags = Some(FlagsMatch {
            set: tcp_flags::PSH,
            mask: tcp_flags::PSH,
        });
    });
    let data = tcp(CLIENT, SERVER, tcp_flags::ACK, 1, 1, 10);
    assert_eq!(kept(&[none(), psh], &data), 0);
}

#[test]
fn syncookies_answer_before_any_rule() {
    let mut ruleset = filter(&[block()]);
    ruleset.options.syncookies = Syncookies::Always;
    assert_eq!(
        kept_by(&ruleset, &tcp(CLIENT, SERVER, tcp_flags::ACK, 1, 1, 0)),
        0
    );
    assert_eq!(kept_by(&ruleset, &question()), 1);
}

#[test]
fn a_state_takes_the_place_of_a_decision() {
    let rules = [
        block(),
        pass().keep().outbound().on("em0").proto(Protocol::UDP),
    ];
    let mut twins = Twins::new(&filter(&rules));
    repeat(&mut twins, &question());
    assert_eq!((decisions(&twins), twins.dropped()), (1, 1));
    // What answers is a question of its own here.
    let answer = udp(SERVER, CLIENT, 10);
    assert!(twins.packet(Out, "em0", &answer, 1).is_some());
    assert_eq!(decisions(&twins), 0);
    assert!(twins.packet(In, "em0", &question(), 1).is_some());
    repeat(&mut twins, &question());
    assert_eq!(decisions(&twins), 0);
}

#[test]
fn another_ruleset_takes_effect_at_once_and_counts_what_came_before() {
    let mut twins = Twins::new(&filter(&[block().label("all")]));
    repeat(&mut twins, &syn());
    for _ in 0..5 {
        assert!(twins.packet(In, "em0", &syn(), 1).is_none());
    }
    assert_eq!(twins.dropped(), 6);
    twins.cached.engine.read_flows();
    assert_eq!(twins.cached.label("all").1, 8);
    twins.both(|lab| lab.load(filter(&[none()])));
    assert_eq!(decisions(&twins), 0);
    assert!(twins.packet(In, "em0", &syn(), 1).is_some());
    twins.compare();
}

#[test]
fn a_decision_that_the_cache_was_emptied_of_is_made_anew_and_nothing_is_lost() {
    let mut twins = Twins::new(&filter(&[block().label("all")]));
    let blocked = |port| udp(("10.0.0.5", port), SERVER, 1);
    for port in 1..=20 {
        repeat(&mut twins, &blocked(port));
    }
    assert_eq!((decisions(&twins), twins.dropped()), (20, 20));
    twins.cached.engine.suspend_flows();
    assert_eq!(decisions(&twins), 20);
    repeat(&mut twins, &blocked(5));
    assert_eq!((decisions(&twins), twins.dropped()), (20, 22));
    let mut reading = Some(FlowsRead::default());
    while let Some(from) = reading {
        reading = twins.cached.engine.read_flows_piece(from, 3);
    }
    assert_eq!(twins.cached.label("all").1, 20 * 3 + 3);
    assert!(twins.cached.engine.settle_flows_piece(4));
    assert_eq!(decisions(&twins), 16);
    while twins.cached.engine.settle_flows_piece(4) {}
    assert_eq!(decisions(&twins), 1, "what came anew stays");
    twins.compare();
}

#[test]
fn an_idle_decision_is_forgotten_and_a_busy_one_stays() {
    let idle = DECISION_LIFETIME.as_secs();
    let mut twins = Twins::new(&filter(&[block()]));
    repeat(&mut twins, &question());
    for _ in 0..4 {
        twins.both(|lab| lab.wait(idle / 2 + 1));
        assert!(twins.packet(In, "em0", &question(), 1).is_none());
    }
    assert_eq!((decisions(&twins), twins.dropped()), (1, 5));
    twins.both(|lab| lab.wait(idle + 1));
    assert_eq!(decisions(&twins), 0);
    twins.compare();
}

#[test]
fn a_rule_that_has_had_its_one_packet_changes_what_was_decided() {
    let once = block().quick().to(SERVER.0).port(99).proto(Protocol::UDP);
    let once = once.change(|rule| rule.once = true);
    let mut twins = Twins::new(&filter(&[once, none().label("rest")]));
    repeat(&mut twins, &question());
    assert_eq!((decisions(&twins), twins.passed()), (1, 1));
    twins.packet(In, "em0", &udp(CLIENT, (SERVER.0, 99), 1), 1);
    assert!(twins.cached.engine.has_left_flows());
    twins.packet(In, "em0", &question(), 1);
    assert_eq!(twins.passed(), 1, "it has to be asked for anew");
    repeat(&mut twins, &question());
    assert_eq!((decisions(&twins), twins.passed()), (1, 3));
}

#[test]
fn the_packet_of_a_rule_with_once_makes_up_for_no_flow_however_many_there_are() {
    const FLOWS: u16 = 300;
    const PIECE: usize = 16;
    let once = block().quick().to(SERVER.0).port(99).proto(Protocol::UDP);
    let once = once.change(|rule| rule.once = true).label("once");
    let mut twins = Twins::new(&filter(&[once, none().label("rest")]));
    let passing = |port| udp((CLIENT.0, port), SERVER, 1);
    for port in 1..=FLOWS {
        repeat(&mut twins, &passing(port));
    }
    let statistics = |twins: &Twins| twins.cached.engine.flow_statistics();
    let before = statistics(&twins);
    assert_eq!(before.decisions, usize::from(FLOWS));
    twins.packet(In, "em0", &udp(CLIENT, (SERVER.0, 99), 1), 1);
    let after = statistics(&twins);
    assert_eq!(
        (after.taken, after.decisions),
        (before.taken, before.decisions)
    );
    assert_eq!(after.emptied, before.emptied + 1);
    // One that its turn has not come for yet, before and behind the piece that takes it.
    repeat(&mut twins, &passing(FLOWS));
    let mut pieces = 0;
    loop {
        let before = statistics(&twins).taken;
        let has_more = twins.cached.engine.settle_flows_piece(PIECE);
        pieces += 1;
        assert!(statistics(&twins).taken - before <= PIECE as u64);
        if !has_more {
            break;
        }
        twins.packet(In, "em0", &passing(pieces), 1);
    }
    assert!(
        usize::from(pieces) >= usize::from(FLOWS) / PIECE,
        "{pieces}"
    );
    twins.compare();
}

#[test]
fn another_ruleset_takes_effect_while_the_flows_of_before_a_rule_with_once_are_made_up_for() {
    let once = block().quick().to(SERVER.0).port(99).proto(Protocol::UDP);
    let once = once.change(|rule| rule.once = true);
    let mut twins = Twins::new(&filter(&[once, none().label("rest")]));
    let passing = |port| udp((CLIENT.0, port), SERVER, 1);
    for port in 1..=40 {
        repeat(&mut twins, &passing(port));
    }
    twins.packet(In, "em0", &udp(CLIENT, (SERVER.0, 99), 1), 1);
    assert!(twins.cached.engine.settle_flows_piece(7));
    twins.both(|lab| lab.load(filter(&[block().label("new")])));
    assert!(!twins.cached.engine.has_left_flows());
    assert!(twins.packet(In, "em0", &passing(3), 1).is_none());
    twins.compare();
}

/// Who has two UDP states at a time is put into a table; pings come from hosts of one.
fn listing(hosts: &str) -> Ruleset {
    let limiter = LimiterUse {
        id: 1,
        when_limited: WhenLimited::Block,
    };
    let busy = pass().keep().proto(Protocol::UDP);
    let busy = busy.change(|rule| rule.source_limiter = Some(limiter));
    let mut rules = filter(&[block(), busy, none().proto(Protocol::ICMP).from(hosts)]);
    rules.limiters.sources.push(SourceLimiter {
        name: "busy".to_owned(),
        id: 1,
        entries: 100,
        limit: 100,
        rate: None,
        inet_mask: 32,
        inet6_mask: 128,
        table: Some(LimiterTable {
            name: "listed".to_owned(),
            above: 1,
            below: 0,
        }),
    });
    let hosts = TableDefinition {
        counters: true,
        ..table(true, &["10.0.0.0/24"])
    };
    for name in ["listed", "hosts"] {
        rules.tables.insert(name.to_owned(), hosts.clone());
    }
    rules
}

#[test]
fn a_table_that_a_limiter_fills_for_the_first_time_takes_no_decision_out_of_the_cache() {
    let mut twins = Twins::new(&listing("<hosts>"));
    for id in 20..60 {
        repeat(&mut twins, &echo(CLIENT.0, SERVER.0, id));
    }
    let before = twins.cached.engine.flow_statistics();
    assert_eq!(before.decisions, 40);
    for port in 1..=2 {
        twins.packet(In, "em0", &udp((CLIENT.0, port), SERVER, 1), 1);
    }
    let listed = twins.cached.engine.table("listed");
    assert_eq!(listed.map(|table| table.len), Some(2));
    let after = twins.cached.engine.flow_statistics();
    assert_eq!((after.taken, after.decisions), (before.taken, 40));
    let passed = twins.passed();
    assert!(
        twins
            .packet(In, "em0", &echo(CLIENT.0, SERVER.0, 21), 1)
            .is_some()
    );
    assert_eq!(twins.passed(), passed + 1);
    twins.compare();
}

#[test]
fn what_asks_a_table_that_a_limiter_fills_is_decided_anew_each_time() {
    for hosts in ["<listed>", "!<listed>"] {
        let mut twins = Twins::new(&listing(hosts));
        let ping = echo(CLIENT.0, SERVER.0, 20);
        repeat(&mut twins, &ping);
        for port in 1..=2 {
            twins.packet(In, "em0", &udp((CLIENT.0, port), SERVER, 1), 1);
            twins.packet(In, "em0", &ping, 1);
        }
        repeat(&mut twins, &ping);
        assert_eq!(
            (decisions(&twins), twins.passed(), twins.dropped()),
            (0, 0, 0)
        );
    }
}

#[test]
fn nobody_has_more_than_a_share_of_the_decisions() {
    const SHARE: u16 = 2048;
    let mut twins = Twins::new(&filter(&[block()]));
    let blocked = |source, port| udp((source, port), SERVER, 1);
    for port in 1..=SHARE + 10 {
        for _ in 0..2 {
            twins.packet(In, "em0", &blocked("10.0.0.5", port), 1);
        }
        twins.cached.engine.fill_flow_cache();
    }
    assert_eq!(decisions(&twins), usize::from(SHARE));
    assert_eq!(twins.cached.engine.flow_statistics().refused, 10);
    repeat(&mut twins, &blocked("10.0.0.6", 1));
    assert_eq!(decisions(&twins), usize::from(SHARE) + 1);
    twins.compare();
}

/// Rulesets that are drawn, and packets for each.
const RULESETS: u64 = 100;
const PACKETS: usize = 250;

/// A rule with some of all that a rule may ask for and do.
fn drawn_rule(dice: &mut Dice) -> Rule {
    let mut rule = match dice.below(8) {
        0..=2 => block(),
        3 => Rule::new(Action::Block(BlockReply::Return)),
        4 => pass().keep(),
        5 => Rule::new(Action::Match),
        _ => none(),
    };
    rule = match dice.below(6) {
        0 => rule.proto(Protocol::UDP),
        1 => rule.proto(Protocol::TCP),
        2 => rule.proto(Protocol::ICMP),
        _ => rule,
    };
    if dice.one_in(3) {
        rule = rule.from(["10.0.0.5", "!10.0.0.6", "<hosts>"][index(dice, 3)]);
    }
    if dice.one_in(4) {
        rule = if dice.one_in(2) {
            rule.inbound()
        } else {
            rule.outbound()
        };
    }
    if dice.one_in(3) {
        ask(&mut rule, dice);
    }
    rule.quick = dice.one_in(6);
    rule
}

/// What not every cache can tell by a key.
fn ask(rule: &mut Rule, dice: &mut Dice) {
    let (kinds, codes) = ([8, 0, 3], [None, None, Some(0), Some(1)]);
    match dice.below(10) {
        0 => rule.tos = Some(8),
        1 | 2 => {
            let mask = [0x12, 0x3f, 0x08, 0x40][index(dice, 4)];
            let set = mask & [0x02, 0x10, 0x08, 0x18][index(dice, 4)];
            rule.flags = Some(FlagsMatch { set, mask });
        }
        3 | 4 => {
            rule.protocol = Some(Protocol::ICMP);
            let (kind, code) = (kinds[index(dice, 3)], codes[index(dice, 4)]);
            rule.icmp = Some(IcmpMatch { kind, code });
        }
        5 => rule.max_packet_size = Some(500),
        6 => rule.tag = Some("t".to_owned()),
        7 => rule.tagged = Some((dice.one_in(2), "t".to_owned())),
        8 => rule.criteria.probability = Probability::of_share(0.5),
        _ => rule.once = true,
    }
}

fn index(dice: &mut Dice, len: u64) -> usize {
    usize::try_from(dice.below(len)).unwrap()
}

/// One of few flows, and anything beside its key.
fn drawn_packet(dice: &mut Dice) -> Vec<u8> {
    let mut header = Ip::new(ip(["10.0.0.5", "10.0.0.6"][index(dice, 2)]), ip(SERVER.0));
    header.tos = [0, 0, 8][index(dice, 3)];
    let port = [8, 53][index(dice, 2)];
    let data = vec![7; [0, 600][index(dice, 2)]];
    match dice.below(4) {
        0 => build::udp(&header, port, 80, &data),
        1 => build::icmp(
            &header,
            [8, 8, 0][index(dice, 3)],
            [0, 0, 1][index(dice, 3)],
            u32::from(port) << 16 | 1,
            &data,
        ),
        _ => {
            let flags = [0x02, 0x02, 0xc2, 0x10, 0x18, 0x10, 0x11, 0x04][index(dice, 8)];
            build::tcp(&header, &Segment::new(port, 80, flags), &data)
        }
    }
}

#[test]
fn whatever_rules_ask_for_who_has_a_cache_decides_and_counts_as_who_has_none() {
    let (mut passed, mut dropped) = (0, 0);
    for seed in 1..=RULESETS {
        let mut dice = Dice(seed);
        let rules: Vec<Rule> = (0..=dice.below(8)).map(|_| drawn_rule(&mut dice)).collect();
        let mut ruleset = filter(&rules);
        let hosts = TableDefinition {
            counters: true,
            ..table(true, &["10.0.0.0/24", "!10.0.0.6"])
        };
        ruleset.tables.insert("hosts".to_owned(), hosts);
        let mut twins = Twins::new(&ruleset);
        for _ in 0..PACKETS {
            let bytes = drawn_packet(&mut dice);
            if let Some(bytes) = twins.packet(In, "em0", &bytes, 1) {
                twins.packet(Out, "em1", &bytes, 9);
            }
            twins.cached.engine.fill_flow_cache();
            if dice.one_in(25) {
                twins.compare();
            }
            if dice.one_in(60) {
                twins.both(|lab| lab.wait(20));
            }
        }
        twins.compare();
        passed += twins.passed();
        dropped += twins.dropped();
    }
    assert!(passed > 1000 && dropped > 1000, "{passed} and {dropped}");
}

#[test]
fn a_tag_comes_with_a_state_or_not_at_all() {
    let tags = pass().keep().inbound().on("em0").to(SERVER.0);
    let tags = tags.change(|rule| rule.tag = Some("t".to_owned()));
    let untagged = none().outbound();
    let untagged = untagged.change(|rule| rule.tagged = Some((true, "t".to_owned())));
    let mut twins = Twins::new(&filter(&[block(), tags, untagged]));
    for _ in 0..3 {
        twins.packet(Out, "em1", &question(), 9);
        twins.cached.engine.fill_flow_cache();
    }
    assert_eq!((decisions(&twins), twins.passed()), (1, 1));
    assert!(twins.packet(In, "em0", &question(), 1).is_some());
    assert!(twins.packet(Out, "em1", &question(), 9).is_none(), "tagged");
    twins.compare();
}
