//! route-to and reply-to beyond the article.

use pf_engine::decision::{DropReason, EtherAddresses, Exit, GeneratedExit};
use pf_engine::rule::{Action, BlockReply, RouteKind, Rule, StatePolicy};

use super::harness::*;

const CLIENT: (&str, u16) = ("10.0.0.9", 1025);
const SERVER: (&str, u16) = ("198.51.100.80", 80);
const GATEWAY: [(&str, &str); 1] = [("em2", "10.2.0.254")];

fn lab(rules: &[Rule]) -> Lab {
    let interfaces = vec![
        interface(1, "em0", &["10.0.0.1/24"]),
        interface(2, "em1", &["192.0.2.1/24"]),
        interface(3, "em2", &["10.2.0.1/24"]),
    ];
    Lab::new(interfaces, filter(rules))
}

/// What comes in by em0 goes to the gateway.
fn routed() -> Rule {
    pass()
        .inbound()
        .on("em0")
        .route(RouteKind::RouteTo, &GATEWAY)
}

fn leaves_by_the_gateway(lab: &mut Lab) {
    let [(name, next_hop)] = GATEWAY;
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 1))
        .leaves_by(name, next_hop);
}

#[test]
fn a_block_on_the_way_out_leaves_no_half_state_and_answers_the_sender() {
    let returning = Rule::new(Action::Block(BlockReply::Return));
    let mut lab = lab(&[routed().modulate(), returning.outbound().on("em2")]);
    let seen = lab
        .packet(In, "em0", tcp(CLIENT, SERVER, S, 77, 0, 0))
        .drops(DropReason::Match)
        .counts(
            "filter 0 evaluations 2
         filter 0 in 1/40
         filter 1 evaluations 2
         filter 1 out 1/40
         reason match 2
         searches 2",
        );
    let answer = *meta(seen.answer()).tcp().unwrap();
    assert_eq!(
        answer.ack, 78,
        "the sender's own number, although it was modulated"
    );
    drop(seen);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn the_second_evaluation_can_be_skipped_by_set_skip() {
    let mut lab = lab(&[]);
    let mut ruleset = filter(&[routed().keep(), block().on("em2")]);
    ruleset.options.skip = vec!["em2".to_owned()];
    lab.load(ruleset);
    leaves_by_the_gateway(&mut lab);
}

#[test]
fn route_to_without_state_routes_each_packet() {
    let mut lab = lab(&[routed()]);
    leaves_by_the_gateway(&mut lab);
    assert_eq!(lab.engine.state_count(), 0);
}

#[test]
fn an_interface_alone_leads_to_the_destination_itself_and_an_address_alone_finds_its_interface() {
    let to = |targets: &[(&str, &str)]| {
        let mut lab = lab(&[pass()
            .inbound()
            .on("em0")
            .route(RouteKind::RouteTo, targets)
            .keep()]);
        let seen = lab.packet(In, "em0", udp(CLIENT, SERVER, 1));
        seen.decision.verdict.clone()
    };
    let gateway = |address: &str| {
        pf_engine::decision::Verdict::Pass(Exit::Gateway {
            interface: pf_engine::env::IfIndex(3),
            next_hop: ip(address),
        })
    };
    assert_eq!(to(&[("em2", "any")]), gateway(SERVER.0));
    assert_eq!(to(&[("", "10.2.0.9")]), gateway("10.2.0.9"));
    let dropped = pf_engine::decision::Verdict::Drop;
    let nowhere = dropped(DropReason::NoRoute);
    assert_eq!(to(&[("", "203.0.113.1")]), nowhere);
    assert_eq!(to(&[("em7", "10.2.0.9")]), nowhere);
    let none = dropped(DropReason::MapFailed);
    assert_eq!(to(&[("em2", "2001:db8::1")]), none, "wrong family");
}

#[test]
fn a_state_finds_its_interface_again_when_that_returns() {
    let mut lab = lab(&[routed().keep()]);
    leaves_by_the_gateway(&mut lab);
    lab.set_interfaces(|all| {
        all.pop();
    });
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 1))
        .drops(DropReason::NoRoute);
    lab.set_interfaces(|all| all.push(interface(9, "em2", &["10.2.0.1/24"])));
    leaves_by_the_gateway(&mut lab);
}

#[test]
fn broadcast_and_multicast_stay_on_their_link() {
    let mut lab = lab(&[routed()]);
    for to in ["255.255.255.255", "224.0.0.251"] {
        let _ = lab.packet(In, "em0", udp(CLIENT, (to, 5353), 1)).passes();
    }
}

#[test]
fn reply_to_sends_answers_back_where_the_question_came_from() {
    for policy in [StatePolicy::Floating, StatePolicy::IfBound] {
        let mut lab = lab(&[]);
        let mut ruleset = filter(&[
            block(),
            pass()
                .inbound()
                .on("em2")
                .route(RouteKind::ReplyTo, &GATEWAY)
                .keep(),
        ]);
        ruleset.options.state_policy = policy;
        lab.load(ruleset);
        let _ = lab
            .packet(In, "em2", udp(SERVER, ("10.2.0.1", 53), 1))
            .passes();
        // Routing would have sent it by em1.
        let _ = lab
            .packet(Out, "em1", udp(("10.2.0.1", 53), SERVER, 1))
            .leaves_by("em2", "10.2.0.254")
            .counts(
                "filter 1 out 1/29
             state 1 reply 1/29
             searches 1",
            );
        let _ = lab
            .packet(Out, "em2", udp(("10.2.0.1", 53), SERVER, 1))
            .leaves_by("em2", "10.2.0.254");
        assert_eq!(
            lab.state(1).route.map(|(kind, _, name)| (kind, name)),
            Some((RouteKind::ReplyTo, "em2"))
        );
    }
}

#[test]
fn an_outbound_route_to_of_a_bound_state_binds_to_where_it_leads() {
    let mut lab = lab(&[]);
    let mut ruleset = filter(&[
        block(),
        pass()
            .outbound()
            .on("em1")
            .route(RouteKind::RouteTo, &GATEWAY)
            .keep(),
    ]);
    ruleset.options.state_policy = StatePolicy::IfBound;
    lab.load(ruleset);
    for _ in 0..2 {
        let _ = lab
            .packet(Out, "em1", udp(("10.2.0.1", 9), SERVER, 1))
            .leaves_by("em2", "10.2.0.254");
    }
    assert_eq!(
        (lab.state(1).interface, lab.state(1).original_interface),
        ("em2", "em1")
    );
    let _ = lab
        .packet(In, "em2", udp(SERVER, ("10.2.0.1", 9), 1))
        .passes();
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn dup_to_sends_a_copy_and_lets_the_packet_go_on() {
    let mut lab = lab(&[pass()
        .inbound()
        .on("em0")
        .route(RouteKind::DupTo, &GATEWAY)
        .keep()]);
    let packet = udp(CLIENT, SERVER, 1);
    for _ in 0..2 {
        let seen = lab.packet(In, "em0", packet.clone());
        assert_eq!(
            seen.decision.verdict,
            pf_engine::decision::Verdict::Pass(Exit::Continue)
        );
        let mut copy = packet.clone();
        copy[8] -= 1;
        pf_engine::wire::checksum::complete(&mut copy).unwrap();
        assert_eq!(seen.answer(), copy);
        assert!(matches!(
            seen.decision.generated[0].exit,
            GeneratedExit::To(Exit::Gateway { .. })
        ));
    }
}

#[test]
fn an_answer_from_another_line_than_the_clients_is_not_put_on_its_wire() {
    let mut lab = lab(&[routed().keep()]);
    let _ = lab
        .frame(In, "em0", udp(CLIENT, SERVER, 1), Some(ether(9, 1)))
        .leaves_by("em2", "10.2.0.254");
    let answer = udp(SERVER, CLIENT, 1);
    let _ = lab.packet(In, "em1", answer.clone()).passes();
    let _ = lab
        .packet(In, "em2", answer.clone())
        .goes_onto_the_wire("em0", ether(1, 9));
    // The client moved behind another gateway address: answers follow.
    let _ = lab.frame(In, "em0", udp(CLIENT, SERVER, 1), Some(ether(9, 3)));
    let _ = lab
        .packet(In, "em2", answer)
        .goes_onto_the_wire("em0", ether(3, 9));
}

#[test]
fn a_client_without_frame_is_reached_by_ordinary_routing() {
    let mut lab = lab(&[routed().keep()]);
    leaves_by_the_gateway(&mut lab);
    let _ = lab.packet(In, "em2", udp(SERVER, CLIENT, 1)).passes();
}

#[test]
fn routes_that_lead_in_a_circle_end() {
    let mut lab = lab(&[
        pass()
            .on("em0")
            .route(RouteKind::RouteTo, &[("em1", "192.0.2.9")]),
        pass()
            .outbound()
            .on("em1")
            .route(RouteKind::RouteTo, &[("em2", "10.2.0.9")]),
        pass()
            .outbound()
            .on("em2")
            .route(RouteKind::RouteTo, &[("em1", "192.0.2.9")]),
    ]);
    let _ = lab
        .packet(In, "em0", udp(CLIENT, SERVER, 1))
        .drops(DropReason::NoRoute);
}

#[test]
fn a_tag_set_on_the_way_in_is_known_on_the_way_out() {
    let tagging = |rule: Rule| rule.change(|r| r.tag = Some("inside".to_owned()));
    let wanting = |rule: Rule| rule.change(|r| r.tagged = Some((false, "inside".to_owned())));
    let mut lab = lab(&[
        block().outbound(),
        tagging(pass().inbound().on("em0").keep()),
        wanting(pass().outbound().keep()),
    ]);
    let _ = lab.packet(In, "em0", udp(CLIENT, SERVER, 1)).passes();
    let _ = lab.packet(Out, "em1", udp(CLIENT, SERVER, 1)).passes();
    let stranger = udp(("10.0.0.10", 1), SERVER, 1);
    let _ = lab.packet(Out, "em1", stranger).drops(DropReason::Match);

    // In the second evaluation of a routed packet too.
    let route = routed();
    lab.load(filter(&[
        block().outbound(),
        tagging(route),
        wanting(pass().outbound()),
    ]));
    let _ = lab
        .packet(In, "em0", udp(("10.0.0.11", 1), SERVER, 1))
        .leaves_by("em2", "10.2.0.254");
}

#[test]
fn no_route_and_urpf_failed_ask_where_the_way_back_leads() {
    use pf_engine::env::{Env, IfIndex, Interface, RouteLookup};
    use pf_engine::rule::Address;

    const SERVER6: (&str, u16) = ("2001:db8:c::7", 53);

    /// 10/8 leads out of em0, 192.0.2/24 and IPv6 nowhere, of the rest nobody knows.
    struct Routed(pf_engine::env::FixedEnv);
    impl Env for Routed {
        fn random(&mut self) -> u32 {
            self.0.random()
        }
        fn interface(&self, index: IfIndex) -> Option<&Interface> {
            self.0.interface(index)
        }
        fn interface_named(&self, name: &str) -> Option<&Interface> {
            self.0.interface_named(name)
        }
        fn interfaces(&self) -> &[Interface] {
            self.0.interfaces()
        }
        fn route(&self, destination: std::net::IpAddr) -> RouteLookup {
            if prefix("10.0.0.0/8").contains(destination) {
                RouteLookup::Via(IfIndex(1))
            } else if prefix("192.0.2.0/24").contains(destination) || destination.is_ipv6() {
                RouteLookup::Unreachable
            } else {
                RouteLookup::Unknown
            }
        }
    }

    let from = |address: Address| block().change(|r| r.source.address = address);
    let mut lab = lab(&[
        pass(),
        from(Address::UrpfFailed).inbound(),
        from(Address::NoRoute).outbound(),
    ]);
    let mut env = Routed(lab.env.clone());
    let mut verdict = |direction, index, source| {
        let hook = pf_engine::decision::Hook {
            interface: IfIndex(index),
            direction,
        };
        let mut packet = pf_engine::decision::Packet {
            bytes: udp(
                (source, 1),
                if ip(source).is_ipv6() {
                    SERVER6
                } else {
                    SERVER
                },
                1,
            ),
            ..pf_engine::decision::Packet::default()
        };
        let decision = lab
            .engine
            .handle_packet(lab.now, hook, &mut packet, &mut env);
        matches!(decision.verdict, pf_engine::decision::Verdict::Pass(_))
    };
    assert!(verdict(In, 1, "10.0.0.9"), "came in where it would go back");
    assert!(!verdict(In, 2, "10.0.0.9"), "came in elsewhere");
    assert!(!verdict(In, 1, "192.0.2.9"), "no way back");
    assert!(verdict(In, 1, "203.0.113.9"), "nobody knows");
    assert!(!verdict(Out, 1, "192.0.2.9"));
    assert!(verdict(Out, 1, "10.0.0.9"));
    // What is of one link has a way back on each, and routes do not know of which it is.
    for (source, passes) in [("fe80::9", true), ("2001:db8::9", false)] {
        assert_eq!(verdict(In, 1, source), passes, "{source}");
        assert_eq!(verdict(In, 2, source), passes, "{source}");
        assert_eq!(verdict(Out, 1, source), passes, "{source}");
    }
}

/// The box is a host's router to others on the same link: answers do not come back by it, and
/// after a redirect the host's own packets do not either.
#[test]
fn a_connection_through_a_router_on_its_own_link_stays_one_connection() {
    const HOST: u8 = 0x50;
    const ROUTER: u8 = 0xc1;
    const BOX: u8 = 0xb0;
    let client = ("10.0.0.9", 1025);
    let server = ("198.51.100.80", 80);
    let mut lab = Lab::router(filter(&[block(), pass().flags_s_sa().keep()]));
    lab.set_interfaces(|interfaces| interfaces[0].mac = Some(mac(BOX)));

    let syn = tcp(client, server, S, 1000, 0, 0);
    let _ = lab
        .frame(In, "em0", syn.clone(), Some(ether(HOST, BOX)))
        .passes();
    let _ = lab
        .frame(Out, "em0", syn, Some(ether(BOX, ROUTER)))
        .passes();
    let answer = tcp(server, client, SA, 9000, 1001, 0);
    for direction in [In, Out] {
        let _ = lab
            .frame(direction, "em0", answer.clone(), Some(ether(ROUTER, HOST)))
            .passes_unchanged();
    }
    let redirected = tcp(client, server, A, 1001, 9001, 10);
    for direction in [In, Out] {
        let _ = lab
            .frame(
                direction,
                "em0",
                redirected.clone(),
                Some(ether(HOST, ROUTER)),
            )
            .passes_unchanged();
    }
    assert_eq!(lab.states().len(), 2);
}

/// The gateway's address on the client's wire is not one to send from if it is a group's.
#[test]
fn a_frame_to_a_group_does_not_tell_who_the_gateway_is() {
    let mut lab = Lab::router(filter(&[pass()
        .inbound()
        .on("em0")
        .route(RouteKind::RouteTo, &[("em1", "192.0.2.254")])
        .keep()]));
    let query = || udp(("10.0.0.9", 1025), ("198.51.100.80", 53), 10);
    let to_all = EtherAddresses {
        source: mac(9),
        destination: [0xff; 6],
    };
    let _ = lab
        .frame(In, "em0", query(), Some(to_all))
        .leaves_by("em1", "192.0.2.254");
    let answer = udp(("198.51.100.80", 53), ("10.0.0.9", 1025), 10);
    let _ = lab.packet(In, "em1", answer.clone()).passes_unchanged();
    let _ = lab
        .frame(In, "em0", query(), Some(ether(9, 1)))
        .leaves_by("em1", "192.0.2.254");
    let _ = lab
        .packet(In, "em1", answer)
        .goes_onto_the_wire("em0", ether(1, 9));
}
