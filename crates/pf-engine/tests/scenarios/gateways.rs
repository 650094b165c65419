//! Next hops that fail and return, uplinks, and the rows of `route_to.sh` that are about pools.

mod pieces;

use pf_engine::decision::{DropReason, Exit, Verdict};
use pf_engine::engine::{KillStates, OnFailure, Reset, RuleList, Uplink, Vacated};
use pf_engine::rule::{Action, PoolKind, RouteKind, Rule, StatePolicy};
use pf_engine::ruleset::Ruleset;

use super::harness::*;

const SERVER: (&str, u16) = ("198.51.100.80", 80);
const ONE: (&str, &str) = ("em1", "192.0.2.254");
const TWO: (&str, &str) = ("em2", "10.2.0.254");
const THREE: (&str, &str) = ("em2", "10.2.0.253");

fn lab(ruleset: Ruleset) -> Lab {
    let interfaces = vec![
        interface(1, "em0", &["10.0.0.1/24"]),
        interface(2, "em1", &["192.0.2.1/24", "2001:db8:b::1/64"]),
        interface(3, "em2", &["10.2.0.1/24"]),
    ];
    Lab::new(interfaces, ruleset)
}

fn balanced(kind: PoolKind, sticky: bool, targets: &[(&str, &str)]) -> Rule {
    pass()
        .inbound()
        .on("em0")
        .route_by(RouteKind::RouteTo, kind, sticky, targets)
        .keep()
}

fn client(number: u16) -> (&'static str, u16) {
    ("10.0.0.9", 1024 + number)
}

/// The next hop that a new connection of `source` gets.
fn hop(lab: &mut Lab, source: (&str, u16)) -> String {
    let seen = lab.packet(In, "em0", udp(source, SERVER, 1));
    let Verdict::Pass(Exit::Gateway { next_hop, .. }) = seen.decision.verdict else {
        panic!("{:?}", seen.decision);
    };
    next_hop.to_string()
}

impl Lab {
    fn dies(&mut self, (interface, address): (&str, &str)) {
        assert!(
            self.engine
                .set_next_hop_usable(interface, ip(address), false)
        );
    }

    fn returns(&mut self, (interface, address): (&str, &str)) {
        assert!(
            self.engine
                .set_next_hop_usable(interface, ip(address), true)
        );
    }

    fn vacate(&mut self, (interface, address): (&str, &str), policy: OnFailure) -> Vacated {
        self.engine
            .vacate_next_hop(interface, ip(address), policy, &mut self.env)
    }
}

fn vacated(moved: usize, killed: usize, kept: usize) -> Vacated {
    Vacated {
        moved,
        killed,
        kept,
        resets: Vec::new(),
    }
}

#[test]
fn a_dead_next_hop_leaves_every_kind_of_pool_and_returns() {
    let hash = PoolKind::SourceHash { key: [9, 8, 7, 6] };
    for kind in [PoolKind::RoundRobin, PoolKind::Random, hash] {
        let mut lab = lab(filter(&[balanced(kind, false, &[ONE, TWO, THREE])]));
        lab.dies(TWO);
        for number in 0..60 {
            let source = format!("10.0.0.{}", 2 + number);
            assert_ne!(hop(&mut lab, (&source, 1000)), TWO.1, "{kind:?}");
        }
        lab.returns(TWO);
        let back = (0..60).any(|number| {
            let source = format!("10.0.0.{}", 2 + number);
            hop(&mut lab, (&source, 1001)) == TWO.1
        });
        assert!(back, "{kind:?}");
    }
}

#[test]
fn round_robin_goes_on_in_turn_without_the_dead_one() {
    let mut lab = lab(filter(&[balanced(
        PoolKind::RoundRobin,
        false,
        &[ONE, TWO, THREE],
    )]));
    lab.dies(TWO);
    let hops: Vec<_> = (0..4).map(|n| hop(&mut lab, client(n))).collect();
    assert_eq!(hops, [ONE.1, THREE.1, ONE.1, THREE.1]);
}

#[test]
fn source_hash_moves_only_the_sources_of_the_dead_next_hop() {
    let hash = PoolKind::SourceHash { key: [9, 8, 7, 6] };
    let mut lab = lab(filter(&[balanced(hash, false, &[ONE, TWO, THREE])]));
    let sources: Vec<String> = (2..60).map(|n| format!("10.0.0.{n}")).collect();
    let hops = |lab: &mut Lab, port| -> Vec<String> {
        sources.iter().map(|s| hop(lab, (s, port))).collect()
    };
    let before = hops(&mut lab, 1);
    lab.dies(TWO);
    let during = hops(&mut lab, 2);
    lab.returns(TWO);
    let after = hops(&mut lab, 3);
    assert_eq!(before, after);
    let mut heirs = std::collections::BTreeSet::new();
    for (before, during) in before.iter().zip(&during) {
        if before == TWO.1 {
            heirs.insert(during.clone());
        } else {
            assert_eq!(before, during);
        }
    }
    assert_eq!(heirs.len(), 2, "they are spread over those that are left");
}

#[test]
fn a_sticky_source_leaves_a_dead_next_hop_and_does_not_flap_back() {
    let mut lab = lab(filter(&[balanced(PoolKind::RoundRobin, true, &[ONE, TWO])]));
    assert_eq!(hop(&mut lab, client(1)), ONE.1);
    lab.dies(ONE);
    assert_eq!(hop(&mut lab, client(2)), TWO.1);
    lab.returns(ONE);
    assert_eq!(hop(&mut lab, client(3)), TWO.1);
}

#[test]
fn a_pool_whose_next_hops_are_all_dead_is_used_as_if_they_lived() {
    let mut lab = lab(filter(&[balanced(
        PoolKind::RoundRobin,
        false,
        &[ONE, TWO],
    )]));
    let _ = hop(&mut lab, client(0));
    lab.dies(ONE);
    assert_eq!(lab.vacate(ONE, OnFailure::Kill), vacated(0, 1, 0));
    let _ = hop(&mut lab, client(1));
    lab.dies(TWO);
    assert_eq!(
        lab.vacate(TWO, OnFailure::Kill),
        vacated(0, 0, 1),
        "nothing is killed"
    );
    assert_eq!(lab.engine.state_count(), 1);
    let hops: Vec<_> = (2..6).map(|n| hop(&mut lab, client(n))).collect();
    assert!(hops.contains(&ONE.1.to_owned()) && hops.contains(&TWO.1.to_owned()));
}

#[test]
fn states_move_when_their_rule_has_another_next_hop_and_keep_what_is_known_of_them() {
    for policy in [StatePolicy::Floating, StatePolicy::IfBound] {
        let mut ruleset = filter(&[
            block(),
            balanced(PoolKind::RoundRobin, false, &[ONE, TWO]),
            pass().outbound().flags_s_sa().keep(),
        ]);
        ruleset.options.state_policy = policy;
        let mut lab = lab(ruleset);
        let to = client(0);
        let syn = tcp(to, SERVER, S, 100, 0, 0);
        let _ = lab.packet(In, "em0", syn).leaves_by(ONE.0, ONE.1);
        let _ = lab.packet(In, "em1", tcp(SERVER, to, SA, 900, 101, 0));
        let _ = lab.packet(In, "em0", tcp(to, SERVER, A, 101, 901, 0));
        assert_eq!(lab.engine.state_count(), 2);
        lab.dies(ONE);
        assert_eq!(lab.vacate(ONE, OnFailure::Move), vacated(1, 0, 0));
        // In mid-stream, out of an interface where only a SYN would be let pass: the rules there
        // were asked about one when the state moved.
        let _ = lab
            .packet(In, "em0", tcp(to, SERVER, PA, 101, 901, 10))
            .leaves_by(TWO.0, TWO.1)
            .counts(
                "filter 0 evaluations 1
                 filter 1 evaluations 1
                 filter 1 in 1/50
                 filter 2 evaluations 1
                 filter 2 out 1/50
                 reason match 1
                 state 1 forward 1/50
                 state 2 forward 1/50
                 searches 2",
            );
        assert_eq!(lab.engine.state_count(), 2);
        assert_eq!(lab.vacate(ONE, OnFailure::Move), vacated(0, 0, 0));
    }
}

#[test]
fn a_connection_that_the_line_translates_is_reset_instead_of_moved() {
    let mut ruleset = filter(&[
        balanced(PoolKind::RoundRobin, false, &[ONE, TWO]),
        pass().outbound().keep(),
    ]);
    ruleset.nat = vec![nat("em1", "192.0.2.1")];
    let mut lab = lab(ruleset);
    let to = client(0);
    let frame = Some(ether(9, 1));
    let _ = lab
        .frame(In, "em0", tcp(to, SERVER, S, 100, 0, 0), frame)
        .leaves_by(ONE.0, ONE.1);
    // An outbound state's own end is the second.
    let own = lab.state(2).wire[1];
    let own = (own.address.to_string(), own.port);
    let _ = lab.packet(In, "em1", tcp(SERVER, (&own.0, own.1), SA, 900, 101, 0));
    let _ = lab.frame(In, "em0", tcp(to, SERVER, A, 101, 901, 0), frame);
    // This one goes by the line without translation, but would be translated by the other.
    let _ = lab
        .frame(In, "em0", tcp(client(1), SERVER, S, 1, 0, 0), frame)
        .leaves_by(TWO.0, TWO.1);
    lab.dies(ONE);
    let gone = lab.vacate(ONE, OnFailure::Move);
    assert_eq!((gone.moved, gone.killed, gone.kept), (0, 1, 0));
    let [
        Reset {
            bytes,
            hook,
            ether: frame,
        },
    ] = &gone.resets[..]
    else {
        panic!("{gone:?}");
    };
    assert_eq!(
        tuple(bytes),
        format!("198.51.100.80:80 > 10.0.0.9:{}", to.1)
    );
    let reset = *meta(bytes).tcp().unwrap();
    // The client took part in the handshake and has sent nothing yet: PF counts its SYN.
    assert_eq!((reset.flags, reset.seq, reset.ack), (RA, 901, 100));
    assert_eq!((hook.interface, hook.direction), (lab.index("em0"), In));
    assert_eq!(*frame, ether(9, 1));
    assert_eq!(
        lab.engine.state_count(),
        2,
        "the other connection has its states"
    );
    lab.returns(ONE);
    lab.dies(TWO);
    let gone = lab.vacate(TWO, OnFailure::Move);
    assert_eq!((gone.moved, gone.killed, gone.kept), (0, 1, 0));
}

#[test]
fn what_policy_and_rules_leave_alone_stays() {
    let mut lab = lab(filter(&[balanced(
        PoolKind::RoundRobin,
        false,
        &[ONE, TWO],
    )]));
    let _ = hop(&mut lab, client(0));
    lab.dies(ONE);
    assert_eq!(lab.vacate(ONE, OnFailure::Keep), vacated(0, 0, 1));
    lab.load(filter(&[pass()]));
    assert_eq!(lab.vacate(ONE, OnFailure::Keep), vacated(0, 0, 1));
}

#[test]
fn a_state_whose_rule_is_gone_moves_within_the_pool_that_the_rule_had() {
    let mut ruleset = filter(&[
        balanced(PoolKind::RoundRobin, false, &[ONE, TWO]),
        balanced(PoolKind::RoundRobin, false, &[("em1", "<lines>"), THREE]).port(53),
    ]);
    ruleset
        .tables
        .insert("lines".to_owned(), table(true, &[ONE.1]));
    let mut lab = lab(ruleset);
    let dns = udp(client(9), (SERVER.0, 53), 1);
    let _ = lab.packet(In, "em0", dns.clone()).leaves_by(ONE.0, ONE.1);
    assert_eq!(hop(&mut lab, client(0)), ONE.1);
    lab.load(filter(&[pass()]));
    lab.dies(ONE);
    assert_eq!(lab.vacate(ONE, OnFailure::Move), vacated(2, 0, 0));
    assert_eq!(hop(&mut lab, client(0)), TWO.1);
    let _ = lab.packet(In, "em0", dns).leaves_by(THREE.0, THREE.1);
    lab.dies(TWO);
    assert_eq!(
        lab.vacate(TWO, OnFailure::Move),
        vacated(0, 0, 1),
        "no other is left"
    );
}

#[test]
fn a_state_dies_instead_of_moving_to_where_the_rules_let_nothing_of_it_out() {
    let rules = |blocked: Rule| {
        filter(&[
            balanced(PoolKind::RoundRobin, false, &[ONE, TWO]),
            pass().outbound().flags_s_sa().keep(),
            blocked.outbound().on("em2"),
        ])
    };
    let tcp_only = |rule: Rule| rule.proto(pf_engine::addr::Protocol::TCP);
    let open = |lab: &mut Lab| {
        let _ = lab
            .packet(In, "em0", tcp(client(0), SERVER, S, 100, 0, 0))
            .leaves_by(ONE.0, ONE.1);
        lab.dies(ONE);
        lab.vacate(ONE, OnFailure::Move)
    };
    let mut blocked = lab(rules(tcp_only(block())));
    let before = blocked.engine.status();
    assert_eq!(open(&mut blocked), vacated(0, 1, 0));
    assert_eq!(blocked.engine.state_count(), 0);
    let after = blocked.engine.status();
    assert_eq!(after.inserts - before.inserts, 2, "the question makes none");

    let other = block().proto(pf_engine::addr::Protocol::UDP);
    let mut open_line = lab(rules(other));
    assert_eq!(open(&mut open_line), vacated(1, 0, 0));
}

#[test]
fn asking_the_rules_whether_a_state_may_move_uses_no_rule_with_once_up() {
    let mut lab = lab(filter(&[
        balanced(PoolKind::RoundRobin, false, &[ONE, TWO]),
        pass().outbound().on("em1").keep(),
        pass()
            .outbound()
            .on("em2")
            .keep()
            .change(|rule| rule.once = true),
    ]));
    let _ = lab
        .packet(In, "em0", udp(client(0), SERVER, 1))
        .leaves_by(ONE.0, ONE.1);
    lab.dies(ONE);
    let epoch = lab.engine.epoch();
    assert_eq!(lab.vacate(ONE, OnFailure::Move), vacated(1, 0, 0));
    assert!(lab.engine.rules(RuleList::Filter).all(|rule| !rule.expired));
    assert_eq!(lab.engine.epoch(), epoch, "no decision is another");
}

#[test]
fn states_are_killed_by_their_gateway() {
    let mut lab = lab(filter(&[
        balanced(PoolKind::RoundRobin, false, &[ONE, TWO]),
        pass()
            .inbound()
            .on("em2")
            .route(RouteKind::ReplyTo, &[TWO])
            .keep(),
        pass().inbound().on("em1").keep(),
    ]));
    let _ = hop(&mut lab, client(0));
    let _ = hop(&mut lab, client(1));
    let _ = lab.packet(In, "em2", udp(SERVER, ("10.2.0.1", 53), 1));
    let _ = lab.packet(In, "em1", udp(SERVER, ("192.0.2.1", 53), 1));
    let kill = |lab: &mut Lab, gateway: &str| {
        let filter = KillStates::Gateway(prefix(gateway)).into();
        lab.engine.kill_states(&filter)
    };
    assert_eq!(kill(&mut lab, SERVER.0), 0);
    assert_eq!(kill(&mut lab, TWO.1), 2);
    assert_eq!(kill(&mut lab, "192.0.2.0/24"), 1);
    assert_eq!(lab.engine.state_count(), 1);
}

#[test]
fn next_hops_of_rules_and_tables_are_named_once() {
    let mut ruleset = filter(&[
        balanced(PoolKind::RoundRobin, false, &[ONE, TWO, ("", "10.9.9.9")]),
        balanced(
            PoolKind::RoundRobin,
            false,
            &[ONE, ("em2", "<gw>"), ("em1", "any")],
        ),
        balanced(PoolKind::Random, false, &[("em2", "10.2.0.0/24")]),
    ]);
    ruleset
        .tables
        .insert("gw".to_owned(), table(true, &[THREE.1, "10.2.0.64/30"]));
    let mut lab = lab(ruleset);
    let hops: Vec<_> = [ONE, THREE, TWO]
        .map(|(interface, address)| (interface.to_owned(), ip(address)))
        .to_vec();
    assert_eq!(lab.engine.next_hops(), hops);
}

fn uplinks(lab: &mut Lab) {
    lab.engine
        .set_uplinks(&[ONE, TWO].map(|(interface, address)| Uplink {
            interface: interface.to_owned(),
            address: ip(address),
        }));
}

/// `multiwan`: what comes in by a line is answered by it, wherever the routes lead.
#[test]
fn connections_are_answered_by_the_uplink_that_they_came_in_by() {
    for policy in [StatePolicy::Floating, StatePolicy::IfBound] {
        let mut ruleset = filter(&[pass().keep()]);
        ruleset.options.state_policy = policy;
        let mut lab = lab(ruleset);
        uplinks(&mut lab);
        for (own, (interface, gateway)) in [("192.0.2.1", ONE), ("10.2.0.1", TWO)] {
            let _ = lab
                .packet(In, interface, udp(SERVER, (own, 53), 1))
                .passes_unchanged();
            for out in ["em1", "em2"] {
                let _ = lab
                    .packet(Out, out, udp((own, 53), SERVER, 1))
                    .leaves_by(interface, gateway);
            }
        }
        assert_eq!(lab.engine.state_count(), 2);
        assert_eq!(
            lab.state(1).route.map(|(kind, _, name)| (kind, name)),
            Some((RouteKind::ReplyTo, "em1"))
        );
    }
}

#[test]
fn redirected_connections_are_answered_by_their_uplink() {
    let mut ruleset = filter(&[pass().keep()]);
    ruleset.rdr = vec![rdr("em2", "10.0.0.80", Some(8080))];
    let mut lab = lab(ruleset);
    uplinks(&mut lab);
    let _ = lab
        .packet(In, "em2", udp(SERVER, ("10.2.0.1", 53), 1))
        .becomes("198.51.100.80:80 > 10.0.0.80:8080");
    let _ = lab
        .packet(Out, "em0", udp(SERVER, ("10.0.0.80", 8080), 1))
        .passes();
    let _ = lab
        .packet(In, "em0", udp(("10.0.0.80", 8080), SERVER, 1))
        .passes();
    let _ = lab
        .packet(Out, "em1", udp(("10.0.0.80", 8080), SERVER, 1))
        .leaves_by(TWO.0, TWO.1)
        .becomes("10.2.0.1:53 > 198.51.100.80:80");
}

#[test]
fn neighbours_on_the_uplinks_own_network_bridged_frames_and_rules_with_a_way_are_excepted() {
    let mut lab = lab(filter(&[
        pass().keep(),
        pass()
            .inbound()
            .on("em2")
            .port(7)
            .route(RouteKind::ReplyTo, &[THREE])
            .keep(),
    ]));
    lab.set_interfaces(|all| all[2].mac = Some(mac(0xb0)));
    uplinks(&mut lab);
    let neighbour = ("10.2.0.77", 9);
    let _ = lab.packet(In, "em2", udp(neighbour, ("10.2.0.1", 53), 1));
    let _ = lab
        .packet(Out, "em2", udp(("10.2.0.1", 53), neighbour, 1))
        .passes_unchanged();
    let bridged = udp(SERVER, ("10.0.0.80", 53), 1);
    let _ = lab.frame(In, "em2", bridged, Some(ether(9, 0x50)));
    let _ = lab
        .packet(Out, "em2", udp(("10.0.0.80", 53), SERVER, 1))
        .passes_unchanged();
    let _ = lab.frame(
        In,
        "em2",
        udp(SERVER, ("10.2.0.1", 7), 1),
        Some(ether(9, 0xb0)),
    );
    let _ = lab
        .packet(Out, "em1", udp(("10.2.0.1", 7), SERVER, 1))
        .leaves_by(THREE.0, THREE.1);
    // No uplink of the family of the peer.
    let six = udp(("2001:db8:9::1", 9), ("2001:db8:b::1", 53), 1);
    let _ = lab.packet(In, "em1", six);
    assert_eq!(lab.states().iter().filter(|s| s.route.is_some()).count(), 1);
}

/// `multiwanlocal`: what the box itself sends from a line's address is moved to that line.
#[test]
fn a_local_connection_from_the_address_of_another_line_goes_there() {
    for policy in [StatePolicy::Floating, StatePolicy::IfBound] {
        let mut ruleset = filter(&[
            pass().keep(),
            pass()
                .outbound()
                .quick()
                .from("10.2.0.1")
                .route(RouteKind::RouteTo, &[TWO])
                .keep(),
        ]);
        ruleset.options.state_policy = policy;
        let mut lab = lab(ruleset);
        let own = ("10.2.0.1", 9);
        let _ = lab
            .packet(Out, "em1", tcp(own, SERVER, S, 1, 0, 0))
            .leaves_by(TWO.0, TWO.1);
        let _ = lab
            .packet(In, "em2", tcp(SERVER, own, SA, 9, 2, 0))
            .passes_unchanged();
        let _ = lab
            .packet(Out, "em1", tcp(own, SERVER, A, 2, 10, 0))
            .leaves_by(TWO.0, TWO.1);
        assert_eq!(lab.engine.state_count(), 1);
    }
}

/// `icmp_nat`: "fragmentation needed" of the exit speaks of the client's own addresses.
#[test]
fn a_packet_too_big_for_the_exit_is_answered_without_the_exits_translation() {
    let mut ruleset = filter(&[balanced(PoolKind::Single, false, &[TWO])]);
    ruleset.nat = vec![nat("em2", "10.2.0.1")];
    let mut lab = lab(ruleset);
    lab.set_interfaces(|all| all[2].mtu = 500);
    let seen = lab
        .packet(In, "em0", dont_fragment(udp(client(0), SERVER, 600)))
        .drops(DropReason::TooBig);
    let answer = seen.answer();
    let answer_meta = meta(answer);
    assert_eq!(answer_meta.destination, ip("10.0.0.9"));
    let quoted = pf_engine::wire::Quoted::parse(answer, &answer_meta).unwrap();
    assert_eq!(
        (quoted.source, quoted.destination),
        (ip("10.0.0.9"), ip(SERVER.0))
    );
    assert_eq!(quoted.ports(), Some((client(0).1, SERVER.1)));
    drop(seen);
    assert_eq!(lab.engine.state_count(), 0);
}

/// `ttl`.
#[test]
fn route_to_takes_one_off_the_ttl_of_what_comes_in_and_answers_when_none_is_left() {
    let mut lab = lab(filter(&[balanced(PoolKind::Single, false, &[TWO])]));
    let with_ttl = |ttl: u8| {
        let mut bytes = udp(client(0), SERVER, 1);
        bytes[8] = ttl;
        // RFC 1624: the checksum takes what the TTL gave.
        let sum = u16::from_be_bytes([bytes[10], bytes[11]]);
        let sum = u32::from(sum) + (u32::from(64 - ttl) << 8);
        let sum = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let seen = lab.packet(In, "em0", with_ttl(2)).leaves_by(TWO.0, TWO.1);
    assert_eq!(seen.bytes[8], 1);
    drop(seen);
    let seen = lab
        .packet(In, "em0", with_ttl(1))
        .drops(DropReason::TtlExceeded);
    assert_eq!(meta(seen.answer()).icmp().unwrap().kind, 11);
}

/// `empty_pool`.
#[test]
fn a_pool_without_an_address_drops_what_it_should_route() {
    for kind in [PoolKind::RoundRobin, PoolKind::Random] {
        let mut ruleset = filter(&[balanced(kind, false, &[("em2", "<gw>")])]);
        ruleset.tables.insert("gw".to_owned(), table(true, &[]));
        let mut lab = lab(ruleset);
        let _ = lab
            .packet(In, "em0", udp(client(0), SERVER, 1))
            .drops(DropReason::MapFailed);
        assert_eq!(lab.engine.state_count(), 0);
    }
}

/// `bcast_*` and `mcast_*`: the rule matches and counts, but nothing leaves by its line.
#[test]
fn broadcast_and_multicast_of_both_families_do_not_leave_by_the_line() {
    let mut lab = lab(filter(&[
        pass().label("out").outbound().on("em2"),
        pass().route(RouteKind::RouteTo, &[TWO]).on("em0"),
        pass()
            .inet6()
            .route(RouteKind::RouteTo, &[("em2", "2001:db8:9::1")])
            .on("em0"),
    ]));
    for direction in [In, Out] {
        for to in ["255.255.255.255", "10.0.0.255", "224.0.0.251", "239.1.1.1"] {
            let source = if direction == In {
                "10.0.0.9"
            } else {
                "10.0.0.1"
            };
            let _ = lab
                .packet(direction, "em0", udp((source, 9), (to, 9), 1))
                .passes();
        }
        for to in ["ff02::1", "ff0e::1"] {
            let _ = lab
                .packet(direction, "em0", udp(("2001:db8::9", 9), (to, 9), 1))
                .passes();
        }
    }
    assert_eq!(lab.label("out").1, 0, "no packet");
}

/// `random_prefix`: every address of a network is drawn.
#[test]
fn random_draws_every_address_of_a_network_but_the_dead_ones() {
    let mut lab = lab(filter(&[balanced(
        PoolKind::Random,
        false,
        &[("em2", "10.2.0.0/30")],
    )]));
    let draw = |lab: &mut Lab, from: u16| -> Vec<String> {
        let drawn = (from..from + 100).map(|n| hop(lab, client(n)));
        let distinct: std::collections::BTreeSet<_> = drawn.collect();
        distinct.into_iter().collect()
    };
    let all = ["10.2.0.0", "10.2.0.1", "10.2.0.2", "10.2.0.3"];
    assert_eq!(draw(&mut lab, 0), all);
    lab.dies(("em2", "10.2.0.1"));
    assert_eq!(draw(&mut lab, 100), ["10.2.0.0", "10.2.0.2", "10.2.0.3"]);
}

/// The action only matters as far as it routes.
#[test]
fn a_block_rule_has_no_way_for_replies() {
    let returning = Rule::new(Action::Block(pf_engine::rule::BlockReply::Return));
    let mut lab = lab(filter(&[returning.inbound().on("em1")]));
    uplinks(&mut lab);
    let _ = lab
        .packet(In, "em1", tcp(SERVER, ("192.0.2.1", 22), S, 1, 0, 0))
        .drops(DropReason::Match);
    assert_eq!(lab.engine.state_count(), 0);
}
