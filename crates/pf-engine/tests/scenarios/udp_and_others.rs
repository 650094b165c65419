//! UDP, other protocols, if-bound states, stateless decisions, fragments.

use pf_engine::addr::Protocol;
use pf_engine::decision::{Basis, Consulted, DropReason, EtherAddresses, Exit, Verdict};
use pf_engine::engine::KillStates;
use pf_engine::norm;
use pf_engine::rule::{Action, BlockReply, Rule, StatePolicy};
use pf_engine::ruleset::{Dialect, Ruleset};
use pf_engine::wire::Meta;
use pf_engine::wire::build::{self, Ip};

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 5000);
const SERVER: (&str, u16) = ("192.0.2.53", 53);

#[test]
fn a_udp_conversation_is_tracked() {
    let mut lab = Lab::router(filter(&[block(), pass().inbound().on("em0").keep()]));
    let _ = lab
        .packet(Out, "em0", udp(SERVER, CLIENT, 10))
        .drops(DropReason::Match);
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 10)).passes();
    assert_eq!(lab.state(1).expires_in.as_secs(), 60, "udp.first");
    let _ = lab
        .packet(Out, "em0", udp(SERVER, CLIENT, 20))
        .passes()
        .counts(
            "filter 1 out 1/48
         state 1 reply 1/48
         searches 1",
        );
    assert_eq!(lab.state(1).expires_in.as_secs(), 30, "udp.single");
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 10)).passes();
    assert_eq!(lab.state(1).expires_in.as_secs(), 60, "udp.multiple");
    let state = lab.state(1);
    assert_eq!((state.source.state, state.destination.state), (2, 2));
    lab.wait(70);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn other_protocols_are_tracked_by_their_addresses() {
    let mut lab = Lab::router(filter(&[block(), pass().inbound().on("em0").keep()]));
    let gre = |from, to| build::packet(&Ip::new(ip(from), ip(to)), Protocol(47), &[0; 12]);
    let _ = lab.packet(In, "em0", gre("10.0.0.9", "192.0.2.9")).passes();
    let _ = lab
        .packet(Out, "em0", gre("192.0.2.9", "10.0.0.9"))
        .passes();
    let _ = lab
        .packet(Out, "em0", gre("192.0.2.8", "10.0.0.9"))
        .drops(DropReason::Match);
    let state = lab.state(1);
    assert_eq!(
        (state.source.state, state.destination.state),
        (2, 1),
        "MULTIPLE:SINGLE"
    );
    assert_eq!((state.protocol, state.wire[0].port), (Protocol(47), 0));
    assert_eq!(state.expires_in.as_secs(), 30, "other.single");
}

#[test]
fn a_floating_state_matches_on_every_interface_and_a_bound_one_on_its_own() {
    for policy in [StatePolicy::Floating, StatePolicy::IfBound] {
        let mut ruleset = filter(&[block(), pass().inbound().on("em0").keep()]);
        ruleset.options.state_policy = policy;
        let mut lab = Lab::router(ruleset);
        let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 10)).passes();
        let interface = lab.state(1).interface.to_owned();
        let seen = lab.packet(Out, "em1", udp(SERVER, CLIENT, 10));
        if policy == StatePolicy::Floating {
            assert_eq!(interface, "all");
            let _ = seen.passes();
        } else {
            assert_eq!(interface, "em0");
            let _ = seen.drops(DropReason::Match);
            let _ = lab.packet(Out, "em0", udp(SERVER, CLIENT, 10)).passes();
        }
    }
}

#[test]
fn bound_states_of_two_interfaces_share_a_key() {
    let mut ruleset = filter(&[pass().inbound().keep()]);
    ruleset.options.state_policy = StatePolicy::IfBound;
    let mut lab = Lab::router(ruleset);
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 10)).passes();
    let _ = lab.packet(In, "em1", udp(CLIENT, SERVER, 10)).passes();
    assert_eq!(lab.engine.state_count(), 2);
    let _ = lab
        .packet(In, "em1", udp(CLIENT, SERVER, 10))
        .passes()
        .counts(
            "filter 0 in 1/38
         state 2 forward 1/38
         searches 1",
        );
    assert_eq!(
        kill(
            &mut lab,
            KillStates::Hosts(prefix("10.0.0.0/8"), Some(prefix("192.0.2.53")))
        ),
        2
    );
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn nothing_is_tracked_without_keep_state_and_the_basis_says_what_was_looked_at() {
    let mut ruleset = filter(&[
        pass().proto(Protocol::TCP).flags_s_sa(),
        pass().from("<t>").keep(),
    ]);
    ruleset
        .tables
        .insert("t".to_owned(), table(true, &["203.0.113.0/24"]));
    let mut lab = Lab::router(ruleset);
    let epoch = lab.engine.epoch();
    let seen = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, S, 1, 0, 0))
        .passes_unchanged();
    let consulted = Consulted {
        tcp_flags: S | SA,
        table: true,
        ..Consulted::default()
    };
    assert_eq!(seen.decision.basis, Basis::Stateless { epoch, consulted });
    drop(seen);
    lab.engine
        .table_add(lab.now, "t", &entries(&["10.0.0.0/8"]))
        .unwrap();
    assert_ne!(lab.engine.epoch(), epoch, "a table changed");
    let _ = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, S, 1, 0, 0))
        .passes();
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn a_disabled_engine_and_a_skipped_interface_pass_everything_uncounted() {
    let mut ruleset = filter(&[block()]);
    ruleset.options.skip = vec!["em".to_owned()];
    let mut lab = Lab::router(ruleset);
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 1))
        .passes_unchanged()
        .counts("");
    lab.load(filter(&[block()]));
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 1))
        .drops(DropReason::Match);
    assert!(lab.engine.set_enabled(lab.now, false));
    assert!(!lab.engine.set_enabled(lab.now, false));
    let _ = lab
        .packet(In, "em0", vec![0xff; 3])
        .passes_unchanged()
        .counts("");
}

#[test]
fn unknown_interfaces_meet_only_rules_without_on() {
    let mut lab = Lab::router(filter(&[pass(), block().on("em0")]));
    let _ = lab.packet(In, "nowhere", udp(CLIENT, SERVER, 1)).passes();
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 1))
        .drops(DropReason::Match);
}

#[test]
fn rules_match_interface_groups_and_negated_interfaces() {
    let not_em0 = block().change(|r| {
        r.interface = Some(pf_engine::rule::InterfaceMatch {
            negated: true,
            name: "em0".to_owned(),
        });
    });
    let mut lab = Lab::router(filter(&[pass().on("em"), not_em0]));
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 1)).passes();
    let _ = lab
        .packet(In, "em1", udp(CLIENT, SERVER, 1))
        .drops(DropReason::Match);
}

#[test]
fn a_broken_packet_is_dropped_and_counted() {
    let mut lab = Lab::router(filter(&[pass()]));
    let mut bytes = udp(CLIENT, SERVER, 1);
    bytes.truncate(22);
    let _ = lab
        .packet(In, "em0", bytes)
        .drops(DropReason::Short)
        .counts("reason short 1");
    let _ = lab.packet(In, "em0", vec![]).drops(DropReason::Short);
}

#[test]
fn ip_options_need_allow_opts() {
    let with_options = |to: &str| {
        let plain = udp(CLIENT, (to, 53), 4);
        let mut bytes = plain[..20].to_vec();
        // Record route, padded.
        bytes.extend([7, 3, 4, 0]);
        bytes.extend(&plain[20..]);
        bytes[0] = 0x46;
        bytes[3] += 4;
        pf_engine::wire::checksum::complete(&mut bytes).unwrap();
        bytes
    };
    let allowed = pass()
        .to("192.0.2.99")
        .keep()
        .change(|r| r.allow_options = true);
    let mut lab = Lab::router(filter(&[pass().keep(), allowed]));
    let _ = lab
        .packet(In, "em0", with_options("192.0.2.53"))
        .drops(DropReason::IpOption)
        .counts(
            "filter 0 evaluations 1
         filter 1 evaluations 1
         reason match 1
         reason ip-option 1
         searches 1",
        );
    assert_eq!(lab.engine.state_count(), 0);
    let _ = lab.packet(In, "em0", with_options("192.0.2.99")).passes();
    let _ = lab.packet(In, "em0", with_options("192.0.2.99")).passes();
}

#[test]
fn block_return_answers_udp_with_port_unreachable_in_the_name_of_the_interface() {
    let rule = Rule::new(Action::Block(BlockReply::Return));
    let mut lab = Lab::router(filter(&[rule]));
    let seen = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 5))
        .drops(DropReason::Match);
    let outer = meta(seen.answer());
    assert_eq!(
        (outer.source, outer.destination),
        (ip("10.0.0.1"), ip("10.0.0.9"))
    );
    assert_eq!(outer.icmp().map(|i| (i.kind, i.code)), Some((3, 3)));
    drop(seen);
    let multicast = lab
        .packet(In, "em0", udp(CLIENT, ("224.0.0.5", 9), 5))
        .drops(DropReason::Match);
    assert_eq!(multicast.decision.generated, []);
}

/// FreeBSD answers no ICMP, OpenBSD what is about no other packet.
#[test]
fn block_return_answers_pings_in_openbsd_and_errors_in_none() {
    let (client6, server6) = ("2001:db8:a::9", "2001:db8:c::7");
    let ping = |family| match family {
        4 => echo(CLIENT.0, SERVER.0, 7),
        _ => echo(client6, server6, 7),
    };
    let error = |family| match family {
        4 => build::icmp(
            &Ip::new(ip(CLIENT.0), ip(SERVER.0)),
            3,
            1,
            0,
            &udp(SERVER, CLIENT, 1),
        ),
        _ => build::icmp(
            &Ip::new(ip(client6), ip(server6)),
            1,
            4,
            0,
            &udp((server6, 53), (client6, 5000), 1),
        ),
    };
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd, Dialect::OpenBsd3] {
        let mut lab = Lab::router(Ruleset {
            dialect,
            ..filter(&[Rule::new(Action::Block(BlockReply::Return))])
        });
        for (family, unreachable) in [(4, (3, 3)), (6, (1, 4))] {
            let seen = lab.packet(In, "em0", ping(family)).drops(DropReason::Match);
            if dialect == Dialect::OpenBsd {
                let answer = meta(seen.answer());
                assert_eq!(answer.icmp().map(|i| (i.kind, i.code)), Some(unreachable));
            } else {
                assert_eq!(seen.decision.generated, []);
            }
            drop(seen);
            let seen = lab
                .packet(In, "em0", error(family))
                .drops(DropReason::Match);
            assert_eq!(seen.decision.generated, []);
        }
    }
}

#[test]
fn block_return_does_not_answer_what_was_broadcast_on_the_link() {
    let rule = Rule::new(Action::Block(BlockReply::Return));
    let mut lab = Lab::router(filter(&[rule]));
    let to_all = EtherAddresses {
        source: mac(9),
        destination: [0xff; 6],
    };
    let netbios = udp(("10.0.0.9", 137), ("10.0.0.255", 137), 5);
    let seen = lab
        .frame(In, "em0", netbios.clone(), Some(to_all))
        .drops(DropReason::Match);
    assert_eq!(seen.decision.generated, []);
    drop(seen);
    let seen = lab
        .frame(In, "em0", netbios, Some(ether(9, 1)))
        .drops(DropReason::Match);
    assert_eq!(seen.decision.generated.len(), 1);
}

#[test]
fn the_last_match_wins_unless_quick_and_match_rules_count_too() {
    let matching = Rule::new(Action::Match).label("seen");
    let mut lab = Lab::router(filter(&[
        block(),
        matching.inbound(),
        pass().to("192.0.2.53").quick().keep(),
        block(),
    ]));
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 2))
        .passes()
        .counts(
            "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/30
         filter 1 states 1
         filter 1 created 1
         filter 2 evaluations 1
         filter 2 in 1/30
         filter 2 states 1
         filter 2 created 1
         state 1 forward 1/30
         reason match 1
         searches 1
         inserts 1",
        );
    let _ = lab
        .packet(In, "em0", udp(CLIENT, ("192.0.2.54", 1), 2))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/30
         filter 2 evaluations 1
         filter 3 evaluations 1
         filter 3 in 1/30
         reason match 1
         searches 1",
        );
}

#[test]
fn fragments_are_put_together_before_they_are_looked_at_and_cut_again() {
    let rules = [block(), pass().proto(Protocol::UDP).port(53).keep()];
    let mut lab = Lab::router(filter(&rules));
    let whole = udp(CLIENT, SERVER, 3000);
    let pieces = norm::fragment(&whole, &Meta::parse(&whole).unwrap(), 1200, 0).unwrap();
    assert_eq!(pieces.len(), 3);
    for piece in [&pieces[2], &pieces[0]] {
        let seen = lab.packet(In, "em0", piece.clone());
        assert_eq!(seen.decision.verdict, Verdict::Held);
        let _ = seen.counts("fragments 1");
    }
    let seen = lab.packet(In, "em0", pieces[1].clone());
    let Verdict::PassFragments(Exit::Continue, out) = seen.decision.verdict.clone() else {
        panic!("{:?}", seen.decision.verdict);
    };
    assert_eq!(out, pieces);
    let _ = seen.counts(
        "filter 0 evaluations 1
         filter 1 evaluations 1
         filter 1 in 1/3028
         filter 1 states 1
         filter 1 created 1
         state 1 forward 1/3028
         fragments -2
         reason match 1
         searches 1
         inserts 1",
    );
}

#[test]
fn fragments_that_wait_in_vain_expire() {
    let mut lab = Lab::router(filter(&[pass()]));
    let whole = udp(CLIENT, SERVER, 3000);
    let pieces = norm::fragment(&whole, &Meta::parse(&whole).unwrap(), 1200, 0).unwrap();
    let _ = lab.packet(In, "em0", pieces[0].clone());
    assert!(lab.engine.poll_timeout().is_some());
    lab.wait(31);
    assert_eq!(lab.engine.status().fragments, 0);
    assert_eq!(lab.engine.poll_timeout(), None);
}
