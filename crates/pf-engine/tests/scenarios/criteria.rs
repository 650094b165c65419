//! What rules ask beside the packet's headers, and what they do to packets that they pass.

use pf_engine::addr::Protocol;
use pf_engine::criteria::{Divert, OwnerMatch, Probability, Treatment};
use pf_engine::decision::{
    Basis, DropReason, Exit, Generated, GeneratedExit, Handling, Packet, Verdict,
};
use pf_engine::env::SocketOwner;
use pf_engine::queue::QueueChoice;
use pf_engine::rule::{Action, InterfaceMatch, Log, RouteKind, Rule, StatePolicy};
use pf_engine::ruleset::{Dialect, Ruleset};
use pf_engine::view::HostPort;

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1234);
const SERVER: (&str, u16) = ("192.0.2.80", 80);

fn syn() -> Vec<u8> {
    tcp(CLIENT, SERVER, S, 1, 0, 0)
}

fn matching() -> Rule {
    Rule::new(Action::Match)
}

fn received_on(rule: Rule, name: &str, negated: bool) -> Rule {
    rule.change(|rule| {
        rule.criteria.received_on = Some(InterfaceMatch {
            negated,
            name: name.to_owned(),
        });
    })
}

fn user(rule: Rule, user: OwnerMatch) -> Rule {
    rule.change(|rule| rule.criteria.user = Some(user))
}

fn group(rule: Rule, group: OwnerMatch) -> Rule {
    rule.change(|rule| rule.criteria.group = Some(group))
}

fn treated(rule: Rule, treatment: Treatment) -> Rule {
    rule.change(|rule| rule.treatment = treatment)
}

fn set_prio(normal: u8, urgent: u8) -> Treatment {
    Treatment {
        priority: Some((normal, urgent)),
        ..Treatment::NONE
    }
}

fn end((address, port): (&str, u16)) -> HostPort {
    HostPort {
        address: ip(address),
        port,
    }
}

const OWNER: SocketOwner = SocketOwner {
    user: 1000,
    group: Some(100),
};

#[test]
fn probability_takes_its_share_and_is_never_left_to_a_cache() {
    let half = Probability::of_share(0.5);
    let rule = block().change(|rule| rule.criteria.probability = half);
    let mut lab = Lab::router(filter(&[pass(), rule]));
    let mut blocked = 0;
    for _ in 0..1000 {
        let seen = lab.packet(In, "em0", udp(CLIENT, SERVER, 10));
        assert_eq!(seen.decision.basis, Basis::Packet);
        blocked += u32::from(seen.decision.verdict == Verdict::Drop(DropReason::Match));
    }
    assert!((400..600).contains(&blocked), "{blocked} of 1000 blocked");
}

#[test]
fn a_rule_that_fails_for_another_reason_draws_no_number() {
    let rule = block().port(81).proto(Protocol::TCP).change(|rule| {
        rule.criteria.probability = Probability::of_share(1.0);
    });
    let mut lab = Lab::router(filter(&[pass(), rule]));
    let seen = lab.packet(In, "em0", syn()).passes();
    assert!(matches!(seen.decision.basis, Basis::Stateless { .. }));
}

#[test]
fn received_on_knows_the_interface_by_the_state_of_the_way_in() {
    let rules = [
        block(),
        pass().inbound().on("em0").keep().change(|rule| {
            rule.state_options.policy = Some(StatePolicy::IfBound);
        }),
        received_on(pass().outbound().on("em1").label("from em0"), "em0", false),
    ];
    let mut lab = Lab::router(filter(&rules));
    lab.packet(In, "em0", syn()).passes();
    lab.packet(Out, "em1", syn()).passes().counts(
        "searches 1
         reason match 1
         filter 0 evaluations 1
         filter 1 evaluations 1
         filter 2 evaluations 1
         filter 2 out 1/40",
    );
    // What the box sends has been received on nothing.
    let own = tcp(("192.0.2.1", 999), SERVER, S, 1, 0, 0);
    lab.packet(Out, "em1", own).drops(DropReason::Match);
}

#[test]
fn received_on_without_state_is_what_the_kernel_tells() {
    let rules = [
        block().outbound(),
        pass().inbound(),
        received_on(pass().outbound(), "em", false),
    ];
    let mut lab = Lab::router(filter(&rules));
    let from = |lab: &Lab, name: &str| Packet {
        bytes: syn(),
        received_on: Some(lab.index(name)),
        ..Packet::default()
    };
    let packet = from(&lab, "em0");
    let seen = lab.whole_packet(Out, "em1", packet).passes();
    assert_eq!(seen.decision.basis, Basis::Packet, "not by the flow's key");
    drop(seen);
    lab.packet(Out, "em1", syn()).drops(DropReason::Match);
    // On its way in a packet is received where it is.
    let rules = [block(), received_on(pass().inbound(), "em1", false)];
    lab.load(filter(&rules));
    lab.packet(In, "em1", syn()).passes();
    lab.packet(In, "em0", syn()).drops(DropReason::Match);
}

#[test]
fn received_on_any_and_its_negation_tell_forwarded_packets_from_the_boxs_own() {
    let mut lab = Lab::router(filter(&[block(), received_on(pass(), "any", false)]));
    let forwarded = Packet {
        bytes: syn(),
        received_on: Some(lab.index("em0")),
        ..Packet::default()
    };
    lab.whole_packet(Out, "em1", forwarded.clone()).passes();
    lab.packet(Out, "em1", syn()).drops(DropReason::Match);
    lab.load(filter(&[block(), received_on(pass(), "em0", true)]));
    lab.whole_packet(Out, "em1", forwarded)
        .drops(DropReason::Match);
    lab.packet(Out, "em1", syn()).passes();
}

#[test]
fn user_and_group_are_those_of_the_local_socket() {
    let rules = [
        block(),
        user(pass().label("user"), OwnerMatch::Eq(1000)),
        group(block().quick(), OwnerMatch::Ne(100)),
    ];
    let mut lab = Lab::router(filter(&rules));
    let own = ("192.0.2.1", 999);
    lab.env.add_socket(Protocol::TCP, end(own), OWNER);
    // Out by its source, in by its destination.
    let out = tcp(own, SERVER, S, 1, 0, 0);
    let seen = lab.packet(Out, "em1", out).passes();
    assert_eq!(seen.decision.basis, Basis::Packet, "sockets come and go");
    drop(seen);
    lab.packet(In, "em1", tcp(SERVER, own, SA, 1, 2, 0))
        .passes();
    // What is forwarded has no owner: `user = 1000` does not match, `group != 100` does.
    lab.packet(Out, "em1", syn()).drops(DropReason::Match);
    assert_eq!(lab.label("user"), (3, 2, 80));
}

#[test]
fn an_unknown_owner_can_be_asked_for_and_icmp_has_none() {
    let rules = [pass(), user(block(), OwnerMatch::Unknown)];
    let mut lab = Lab::router(filter(&rules));
    let own = ("192.0.2.1", 999);
    lab.env.add_socket(Protocol::UDP, end(own), OWNER);
    lab.packet(Out, "em1", udp(own, SERVER, 1)).passes();
    lab.packet(Out, "em1", udp(CLIENT, SERVER, 1))
        .drops(DropReason::Match);
    // pf.conf(5): the parameters are ignored for other protocols, so the rule matches.
    lab.packet(Out, "em1", echo("192.0.2.1", "192.0.2.80", 7))
        .drops(DropReason::Match);
    // Of an SCTP socket nobody knows whose it is, and PF asks all the same.
    let init = sctp(own, SERVER, 0, &init_chunk(1, 9, &[]));
    lab.packet(Out, "em1", init.clone())
        .drops(DropReason::Match);
    lab.load(filter(&[
        block(),
        user(pass(), OwnerMatch::Known),
        user(pass(), OwnerMatch::Eq(OWNER.user)),
    ]));
    lab.packet(Out, "em1", udp(own, SERVER, 1)).passes();
    lab.packet(Out, "em1", init).drops(DropReason::Match);
}

#[test]
fn log_user_tells_the_owner_and_of_the_state_too() {
    let log = Log {
        all: true,
        user: true,
        ..Log::default()
    };
    let rules = [pass().keep().change(|rule| rule.log = Some(log))];
    let mut lab = Lab::router(filter(&rules));
    let own = ("192.0.2.1", 999);
    lab.env.add_socket(Protocol::TCP, end(own), OWNER);
    let owners = |seen: &Seen<'_>| -> Vec<Option<u32>> {
        seen.decision
            .logged
            .iter()
            .map(|entry| entry.owner)
            .collect()
    };
    let seen = lab
        .packet(Out, "em1", tcp(own, SERVER, S, 1, 0, 0))
        .passes();
    assert_eq!(owners(&seen), [Some(1000)]);
    drop(seen);
    let seen = lab
        .packet(In, "em1", tcp(SERVER, own, SA, 9, 2, 0))
        .passes();
    assert_eq!(owners(&seen), [Some(1000)]);
    drop(seen);
    assert_eq!(owners(&lab.packet(Out, "em1", syn()).passes()), [None]);
}

#[test]
fn ridentifier_is_in_the_log() {
    let rules = [block().change(|rule| {
        rule.log = Some(Log::default());
        rule.identifier = Some(1234);
    })];
    let mut lab = Lab::router(filter(&rules));
    let seen = lab.packet(In, "em0", syn()).drops(DropReason::Match);
    assert_eq!(seen.decision.logged[0].identifier, 1234);
}

#[test]
fn prio_is_that_of_the_frames_tag() {
    let rule = pass().change(|rule| rule.criteria.priority = Some(5));
    let mut lab = Lab::router(filter(&[block(), rule]));
    let with = |priority| Packet {
        bytes: syn(),
        priority,
        ..Packet::default()
    };
    lab.whole_packet(In, "em0", with(Some(5))).passes();
    lab.whole_packet(In, "em0", with(Some(4)))
        .drops(DropReason::Match);
    // Without a tag it has none in FreeBSD, and the default in OpenBSD.
    for (dialect, default) in [(Dialect::FreeBsd, None), (Dialect::OpenBsd, Some(3))] {
        for priority in 0..=7 {
            let rule = pass().change(|rule| rule.criteria.priority = Some(priority));
            lab.load(Ruleset {
                dialect,
                ..filter(&[block(), rule])
            });
            let seen = lab.whole_packet(In, "em0", with(None));
            let passes = matches!(seen.decision.verdict, Verdict::Pass(_));
            assert_eq!(passes, default == Some(priority), "{dialect:?} {priority}");
        }
    }
}

#[test]
fn set_prio_gives_each_packet_of_the_state_its_priority() {
    let rules = [treated(pass().keep(), set_prio(2, 6))];
    let mut lab = Lab::router(filter(&rules));
    let priority = |seen: Seen<'_>| {
        assert_eq!(seen.decision.basis, Basis::Packet, "packets differ");
        seen.passes().decision.handling.priority
    };
    assert_eq!(priority(lab.packet(Out, "em1", syn())), Some(2));
    let answer = tcp(SERVER, CLIENT, SA, 100, 2, 0);
    assert_eq!(
        priority(lab.packet(In, "em1", answer)),
        Some(6),
        "empty ACK"
    );
    let data = tcp(CLIENT, SERVER, PA, 2, 101, 9);
    assert_eq!(priority(lab.packet(Out, "em1", data)), Some(2));
    let mut lowdelay = tcp(CLIENT, SERVER, PA, 11, 101, 9);
    lowdelay[1] = 0x10;
    pf_engine::wire::checksum::complete(&mut lowdelay).unwrap();
    assert_eq!(priority(lab.packet(Out, "em1", lowdelay)), Some(6));
}

#[test]
fn match_rules_set_what_later_rules_do_not() {
    let table = Treatment {
        routing_table: Some(3),
        ..Treatment::NONE
    };
    let rules = [
        treated(matching(), set_prio(1, 1)),
        treated(matching(), table),
        treated(pass().port(80).proto(Protocol::TCP).keep(), set_prio(4, 4)),
        pass().proto(Protocol::UDP).keep(),
    ];
    let mut lab = Lab::router(filter(&rules));
    let handling = |priority| Handling {
        priority: Some(priority),
        queue: None,
        routing_table: Some(3),
    };
    let seen = lab.packet(In, "em0", syn()).passes();
    assert_eq!(seen.decision.handling, handling(4));
    assert!(matches!(seen.decision.basis, Basis::State(_)));
    drop(seen);
    let seen = lab.packet(In, "em0", udp(CLIENT, SERVER, 1)).passes();
    assert_eq!(seen.decision.handling, handling(1));
}

/// A state's answers go by its routing table in FreeBSD; OpenBSD leads them as any other packet.
#[test]
fn answers_of_a_state_go_by_its_rtable_in_freebsd_alone() {
    let table = Treatment {
        routing_table: Some(3),
        ..Treatment::NONE
    };
    for (dialect, of_answers) in [(Dialect::FreeBsd, Some(3)), (Dialect::OpenBsd, None)] {
        let mut lab = Lab::router(Ruleset {
            dialect,
            ..filter(&[treated(pass().outbound().on("em1").keep(), table)])
        });
        for _ in 0..2 {
            let seen = lab.packet(Out, "em1", udp(CLIENT, SERVER, 1)).passes();
            assert_eq!(seen.decision.handling.routing_table, Some(3));
        }
        let answer = udp(SERVER, CLIENT, 1);
        let seen = lab.packet(In, "em1", answer).passes_unchanged().counts(
            "filter 0 in 1/29
             state 1 reply 1/29
             searches 1",
        );
        assert_eq!(seen.decision.handling.routing_table, of_answers);
    }
}

#[test]
fn a_priority_goes_along_from_in_to_out() {
    let rules = [treated(pass().inbound().on("em0").keep(), set_prio(5, 5))];
    let mut lab = Lab::router(filter(&rules).if_bound());
    lab.packet(In, "em0", syn()).passes();
    let seen = lab.packet(Out, "em1", syn()).passes();
    assert_eq!(seen.decision.handling.priority, Some(5));
    drop(seen);
    let other = tcp(("10.0.0.9", 1235), SERVER, S, 1, 0, 0);
    let seen = lab.packet(Out, "em1", other).passes();
    assert_eq!(seen.decision.handling.priority, None);
}

trait IfBound {
    fn if_bound(self) -> Self;
}

impl IfBound for Ruleset {
    fn if_bound(mut self) -> Self {
        self.options.state_policy = StatePolicy::IfBound;
        self
    }
}

#[test]
fn a_copy_goes_to_the_next_hop_of_dup_to_and_the_packet_on_its_way() {
    let dup = pass()
        .inbound()
        .on("em0")
        .keep()
        .route(RouteKind::DupTo, &[("em1", "192.0.2.99")]);
    let mut lab = Lab::router(filter(&[dup]));
    let mut copy = syn();
    copy[8] -= 1;
    pf_engine::wire::checksum::complete(&mut copy).unwrap();
    let wanted = Generated {
        bytes: copy,
        exit: GeneratedExit::To(Exit::Gateway {
            interface: lab.index("em1"),
            next_hop: ip("192.0.2.99"),
        }),
    };
    let seen = lab.packet(In, "em0", syn());
    assert_eq!(seen.decision.verdict, Verdict::Pass(Exit::Continue));
    assert_eq!(seen.bytes, syn());
    assert_eq!(seen.decision.generated, [wanted]);
    seen.counts(
        "searches 1
         inserts 1
         reason match 1
         filter 0 evaluations 1
         filter 0 states 1
         filter 0 created 1
         filter 0 in 1/40
         state 1 forward 1/40",
    );
    // Answers are not copied, what the opener sends goes on being.
    lab.packet(Out, "em0", tcp(SERVER, CLIENT, SA, 100, 2, 0))
        .passes();
    let seen = lab.packet(In, "em0", tcp(CLIENT, SERVER, A, 2, 101, 0));
    assert_eq!(seen.decision.generated.len(), 1);
}

#[test]
fn a_copy_that_does_not_fit_is_counted_and_the_packet_passes() {
    let dup = pass().route(RouteKind::DupTo, &[("em1", "192.0.2.99")]);
    let mut lab = Lab::router(filter(&[dup]));
    lab.set_interfaces(|all| all[1].mtu = 600);
    let large = dont_fragment(udp(CLIENT, SERVER, 900));
    lab.packet(In, "em0", large).passes_unchanged().counts(
        "searches 1
         reason match 1
         reason too-big 1
         filter 0 evaluations 1
         filter 0 in 1/928",
    );
    let seen = lab.packet(In, "em0", udp(CLIENT, SERVER, 900));
    let lens: Vec<usize> = seen
        .decision
        .generated
        .iter()
        .map(|g| g.bytes.len())
        .collect();
    assert_eq!(lens, [596, 352], "cut for the copy's link");
}

#[test]
fn dup_to_takes_its_next_hops_from_a_pool() {
    let dup = pass().route_by(
        RouteKind::DupTo,
        pf_engine::rule::PoolKind::RoundRobin,
        false,
        &[("em1", "192.0.2.98"), ("em1", "192.0.2.99")],
    );
    let mut lab = Lab::router(filter(&[dup]));
    let mut hops = Vec::new();
    for _ in 0..3 {
        let seen = lab.packet(In, "em0", udp(CLIENT, SERVER, 1));
        if let GeneratedExit::To(Exit::Gateway { next_hop, .. }) = seen.decision.generated[0].exit {
            hops.push(next_hop.to_string());
        }
    }
    assert_eq!(hops, ["192.0.2.98", "192.0.2.99", "192.0.2.98"]);
}

#[test]
fn divert_to_leads_the_openers_packets_to_a_socket_and_answers_out() {
    let to: std::net::SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let divert = Treatment {
        divert: Some(Divert::To(to)),
        ..Treatment::NONE
    };
    let mut lab = Lab::router(filter(&[treated(pass().inbound().keep(), divert)]));
    let diverted = Verdict::Pass(Exit::Socket(Some(to)));
    let seen = lab.packet(In, "em0", syn());
    assert_eq!(seen.decision.verdict, diverted);
    assert_eq!(seen.bytes, syn(), "the socket sees the real destination");
    drop(seen);
    lab.packet(Out, "em0", tcp(SERVER, CLIENT, SA, 100, 2, 0))
        .passes_unchanged();
    let seen = lab.packet(In, "em0", tcp(CLIENT, SERVER, A, 2, 101, 0));
    assert_eq!(seen.decision.verdict, diverted);
}

#[test]
fn divert_reply_leads_answers_to_the_socket_that_asked() {
    let divert = Treatment {
        divert: Some(Divert::Reply),
        ..Treatment::NONE
    };
    let mut lab = Lab::router(filter(&[treated(pass().outbound().keep(), divert)]));
    lab.packet(Out, "em1", syn()).passes();
    let answer = tcp(SERVER, CLIENT, SA, 100, 2, 0);
    let seen = lab.packet(In, "em1", answer);
    assert_eq!(seen.decision.verdict, Verdict::Pass(Exit::Socket(None)));
}

#[test]
fn interfaces_count_each_evaluation_by_family_direction_and_outcome() {
    let rules = [pass(), block().inbound().proto(Protocol::UDP)];
    let mut lab = Lab::router(filter(&rules));
    let six = udp(("2001:db8:a::9", 1), ("2001:db8:b::9", 2), 10);
    lab.packet(In, "em0", syn()).passes();
    lab.packet(In, "em0", udp(CLIENT, SERVER, 10))
        .drops(DropReason::Match);
    lab.packet(In, "em0", six.clone()).drops(DropReason::Match);
    lab.packet(Out, "em0", six).passes();
    lab.packet(In, "em0", vec![0x45, 0])
        .drops(DropReason::Short);
    let counters = lab.engine.interface_counters("em0");
    let (inet, inet6) = (counters.inet, counters.inet6);
    assert_eq!((inet.passed.packets_in, inet.passed.bytes_in), (1, 40));
    assert_eq!((inet.blocked.packets_in, inet.blocked.bytes_in), (2, 40));
    assert_eq!((inet6.blocked.packets_in, inet6.blocked.bytes_in), (1, 58));
    assert_eq!((inet6.passed.packets_out, inet6.passed.bytes_out), (1, 58));
    assert_eq!(
        lab.engine.interface_counters("em1").inet.passed.packets(),
        0
    );
    lab.engine.clear_status(lab.now);
    assert_eq!(
        lab.engine.interface_counters("em0").inet.passed.packets(),
        0
    );
}

#[test]
fn keepcounters_lets_equal_rules_go_on_counting() {
    let mut rules = filter(&[pass().label("gone"), pass().label("same")]);
    rules.options.keep_counters = true;
    let mut lab = Lab::router(rules);
    lab.packet(In, "em0", syn()).passes();
    let mut next = filter(&[pass().label("same"), pass().label("new")]);
    next.options.keep_counters = true;
    lab.load(next.clone());
    assert_eq!(lab.label("same"), (1, 1, 40));
    assert_eq!(lab.label("new"), (0, 0, 0));
    next.options.keep_counters = false;
    lab.load(next);
    assert_eq!(lab.label("same"), (0, 0, 0));
}

#[test]
fn fail_policy_return_tells_whom_a_pass_rule_cannot_pass() {
    let limited = pass()
        .keep()
        .change(|rule| rule.state_options.max = Some(1));
    let mut rules = filter(&[limited]);
    let other = || tcp(("10.0.0.9", 1235), SERVER, S, 1, 0, 0);
    let mut lab = Lab::router(rules.clone());
    lab.packet(In, "em0", syn()).passes();
    let seen = lab.packet(In, "em0", other()).drops(DropReason::StateLimit);
    assert_eq!(seen.decision.generated, [], "drop is the default");
    drop(seen);
    rules.options.fail_return = true;
    let mut lab = Lab::router(rules);
    lab.packet(In, "em0", syn()).passes();
    let seen = lab.packet(In, "em0", other()).drops(DropReason::StateLimit);
    assert_eq!(meta(seen.answer()).tcp().map(|tcp| tcp.flags), Some(RA));
    drop(seen);
    let seen = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 1))
        .drops(DropReason::StateLimit);
    assert!(meta(seen.answer()).icmp().is_some());
    drop(seen);
    let seen = lab
        .packet(In, "em0", echo(CLIENT.0, SERVER.0, 1))
        .drops(DropReason::StateLimit);
    assert_eq!(seen.decision.generated, [], "neither TCP nor UDP");
}

#[test]
fn the_debug_level_and_the_host_id_are_those_that_were_set_last() {
    use pf_engine::ruleset::{DebugLevel, Dialect};
    let mut lab = Lab::router(filter(&[pass().keep()]));
    assert_eq!(lab.engine.debug(), DebugLevel::default_of(Dialect::FreeBsd));
    let mut rules = filter(&[pass().keep()]);
    rules.options.debug = DebugLevel::named("loud");
    rules.options.host_id = Some(7);
    lab.load(rules);
    assert_eq!(lab.engine.debug().name(), "loud");
    assert_eq!(lab.engine.status().host_id, 7);
    lab.packet(In, "em0", syn()).passes();
    assert_eq!(lab.states()[0].creator_id, 7);
}

#[test]
fn set_skip_holds_for_interfaces_that_come_later_and_for_groups() {
    let mut rules = filter(&[block()]);
    rules.options.skip = vec!["em".to_owned(), "wg0".to_owned()];
    let mut lab = Lab::router(rules);
    lab.packet(In, "em0", syn()).passes_unchanged();
    lab.set_interfaces(|all| all.push(interface(9, "wg0", &["10.9.0.1/24"])));
    lab.packet(In, "wg0", syn()).passes_unchanged();
    lab.set_interfaces(|all| all.push(interface(10, "lan0", &["10.8.0.1/24"])));
    lab.packet(In, "lan0", syn()).drops(DropReason::Match);
    // A skip that is taken out of the rules takes effect at once.
    lab.load(filter(&[block()]));
    lab.packet(In, "wg0", syn()).drops(DropReason::Match);
}

#[test]
fn match_pass_and_block_rules_count_each_packet() {
    let rules = [
        matching().proto(Protocol::TCP),
        pass().proto(Protocol::TCP).keep(),
        matching().proto(Protocol::UDP),
        pass().proto(Protocol::UDP),
        block().proto(Protocol::UDP).port(81),
    ];
    let mut lab = Lab::router(filter(&rules));
    lab.packet(In, "em0", syn()).passes();
    lab.packet(Out, "em0", tcp(SERVER, CLIENT, SA, 100, 2, 0))
        .passes()
        .counts(
            "searches 1
             filter 0 out 1/40
             filter 1 out 1/40
             state 1 reply 1/40",
        );
    lab.packet(In, "em0", udp(CLIENT, SERVER, 10))
        .passes()
        .counts(
            "searches 1
         reason match 1
         filter 0 evaluations 1
         filter 2 evaluations 1
         filter 2 in 1/38
         filter 3 evaluations 1
         filter 3 in 1/38
         filter 4 evaluations 1",
        );
    lab.packet(In, "em0", udp(CLIENT, ("192.0.2.80", 81), 10))
        .drops(DropReason::Match)
        .counts(
            "searches 1
             reason match 1
             filter 0 evaluations 1
             filter 2 evaluations 1
             filter 2 in 1/38
             filter 3 evaluations 1
             filter 4 evaluations 1
             filter 4 in 1/38",
        );
}

fn queued(rule: Rule, normal: &str, urgent: Option<&str>) -> Rule {
    rule.change(|rule| {
        rule.queue = Some(QueueChoice {
            normal: normal.to_owned(),
            urgent: urgent.map(str::to_owned),
        });
    })
}

/// The name of the queue that a packet got.
fn queue_of(handling: Handling, engine: &pf_engine::engine::Engine) -> Option<&str> {
    engine.queue_numbers().name(handling.queue?)
}

#[test]
fn packets_of_a_state_wait_in_its_rules_queue_and_empty_acks_in_the_second() {
    let rules = [
        queued(matching(), "from match", None),
        queued(pass().port(80).keep(), "bulk", Some("acks")),
        pass().proto(Protocol::UDP).keep(),
    ];
    let mut lab = Lab::router(filter(&rules));
    let mut queue = |direction, name, packet| {
        let handling = lab
            .packet(direction, name, packet)
            .passes()
            .decision
            .handling;
        queue_of(handling, &lab.engine).map(str::to_owned)
    };
    let bulk = Some("bulk".to_owned());
    assert_eq!(queue(Out, "em1", syn()), bulk);
    let answer = tcp(SERVER, CLIENT, SA, 100, 2, 0);
    assert_eq!(queue(In, "em1", answer), Some("acks".to_owned()));
    let ack = tcp(CLIENT, SERVER, A, 2, 101, 0);
    assert_eq!(queue(Out, "em1", ack), Some("acks".to_owned()));
    assert_eq!(queue(Out, "em1", tcp(CLIENT, SERVER, A, 2, 101, 9)), bulk);
    let other = queue(Out, "em1", udp(CLIENT, ("192.0.2.80", 53), 1));
    assert_eq!(other, Some("from match".to_owned()));
}

#[test]
fn a_queue_goes_along_from_in_to_out_unless_a_rule_there_has_one() {
    let rules = [
        queued(pass().inbound().on("em0").keep(), "in", None),
        pass().outbound().on("em1").keep(),
        queued(pass().outbound().on("em1").port(81).keep(), "out", None),
    ];
    let mut lab = Lab::router(filter(&rules).if_bound());
    for (port, wanted) in [(80, "in"), (81, "out")] {
        let packet = tcp(CLIENT, (SERVER.0, port), S, 1, 0, 0);
        lab.packet(In, "em0", packet.clone()).passes();
        let handling = lab.packet(Out, "em1", packet).passes().decision.handling;
        assert_eq!(queue_of(handling, &lab.engine), Some(wanted));
    }
}

#[test]
fn a_state_finds_its_queue_by_name_after_a_reload_and_a_restart() {
    let rules = |queue: &str| filter(&[queued(pass().keep(), queue, None)]);
    let mut lab = Lab::router(rules("first"));
    lab.packet(Out, "em1", syn()).passes();
    lab.load(rules("second"));
    let again = lab.packet(Out, "em1", syn()).passes().decision.handling;
    assert_eq!(queue_of(again, &lab.engine), Some("first"));
    let records = lab.export();
    let kept = Some(("first".to_owned(), "first".to_owned()));
    assert_eq!(
        records.first().map(|record| record.queue.clone()),
        Some(kept)
    );
}
