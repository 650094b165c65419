//! Rules for frames, case by case as FreeBSD's ether.sh has them.

use pf_engine::anchor::{AnchorCall, AnchorPath};
use pf_engine::decision::DropReason;
use pf_engine::engine::InstallError;
use pf_engine::ether::{EtherAction, EtherRule, MacMatch};
use pf_engine::rule::{InterfaceMatch, Rule};
use pf_engine::ruleset::{Limit, Parts, Ruleset};

use super::harness::{
    In, Lab, Out, RuleWords, S, block, echo, echo_reply, ether, filter, limit, mac, pass, pool,
    prefix, table, tcp,
};
use pf_engine::rule::{Address, Endpoint, RouteKind};

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const VLAN: u16 = 0x8100;

/// Rules for frames in the order of pf.conf's words.
trait EtherWords: Sized {
    fn with(self, change: impl FnOnce(&mut EtherRule)) -> Self;

    fn inward(self) -> Self {
        self.with(|r| r.direction = Some(In))
    }
    fn outward(self) -> Self {
        self.with(|r| r.direction = Some(Out))
    }
    fn at(self, name: &str) -> Self {
        self.with(|r| {
            r.interface = Some(InterfaceMatch {
                negated: false,
                name: name.to_owned(),
            });
        })
    }
    fn kind(self, ether_type: u16) -> Self {
        self.with(|r| r.ether_type = Some(ether_type))
    }
    fn of(self, last: u8) -> Self {
        self.with(|r| r.source = Some(exactly(last)))
    }
    fn tags(self, tag: &str) -> Self {
        self.with(|r| r.tag = Some(tag.to_owned()))
    }
    fn asks(self, negated: bool, tag: &str) -> Self {
        self.with(|r| r.tagged = Some((negated, tag.to_owned())))
    }
    fn l3_from(self, address: Address) -> Self {
        self.with(|r| {
            r.ip_source = Endpoint {
                address,
                ..Endpoint::ANY
            };
        })
    }
    fn calls(self, name: &str) -> Self {
        self.with(|r| r.anchor = Some(AnchorCall::new(&AnchorPath::main(), name).unwrap()))
    }
    fn first(self) -> Self {
        self.with(|r| r.quick = true)
    }
}

impl EtherWords for EtherRule {
    fn with(mut self, change: impl FnOnce(&mut EtherRule)) -> Self {
        change(&mut self);
        self
    }
}

fn exactly(last: u8) -> MacMatch {
    MacMatch {
        negated: false,
        address: mac(last),
        mask: [0xff; 6],
    }
}

fn let_pass() -> EtherRule {
    EtherRule::new(EtherAction::Pass)
}

fn stop() -> EtherRule {
    EtherRule::new(EtherAction::Block)
}

fn ruleset(ether: &[EtherRule], rules: &[Rule]) -> Ruleset {
    Ruleset {
        ether: ether.to_vec(),
        ..filter(rules)
    }
}

/// Frames alone are asked.
fn frames(ether: &[EtherRule]) -> Lab {
    Lab::router(ruleset(ether, &[]))
}

fn request() -> Vec<u8> {
    echo("10.0.0.5", "10.0.0.1", 7)
}

#[test]
fn mac_the_last_rule_that_matches_decides_and_counts_the_whole_frame() {
    let masked = stop().with(|r| {
        r.source = Some(MacMatch {
            negated: true,
            address: mac(0),
            mask: [0xff, 0xff, 0xff, 0xff, 0xff, 0],
        });
    });
    let mut lab = frames(&[stop().of(5), let_pass().of(6), masked]);
    let _ = lab
        .frame(In, "em0", request(), Some(ether(5, 1)))
        .drops(DropReason::Match)
        .counts(
            "ether 0 evaluations 1
             ether 0 in 1/98
             ether 1 evaluations 1
             ether 2 evaluations 1",
        );
    let _ = lab
        .frame(In, "em0", request(), Some(ether(6, 1)))
        .passes_unchanged()
        .counts(
            "searches 1
             reason match 1
             ether 0 evaluations 1
             ether 1 evaluations 1
             ether 1 in 1/98
             ether 2 evaluations 1",
        );
    let _ = lab.frame(In, "em0", request(), Some(ether(7, 1))).passes();
}

#[test]
fn proto_asks_for_the_type_whatever_the_frame_carries() {
    let mut lab = frames(&[stop().kind(ARP), stop().kind(VLAN)]);
    for (kind, passes) in [(ARP, false), (VLAN, false), (0x88cc, true), (38, true)] {
        let seen = lab.other_frame(In, "em0", kind, ether(5, 1));
        let _ = if passes {
            seen.passes()
        } else {
            seen.drops(DropReason::Match)
        };
    }
    let _ = lab.frame(In, "em0", request(), Some(ether(5, 1))).passes();
    let mut lab = frames(&[stop().kind(IPV4)]);
    let _ = lab.other_frame(In, "em0", ARP, ether(5, 1)).passes();
    let _ = lab
        .frame(In, "em0", request(), Some(ether(5, 1)))
        .drops(DropReason::Match);
}

#[test]
fn direction_and_interface_are_those_of_the_hook() {
    let mut lab = frames(&[stop().inward().kind(ARP).at("em0")]);
    let _ = lab
        .other_frame(In, "em0", ARP, ether(5, 1))
        .drops(DropReason::Match)
        .counts(
            "ether 0 evaluations 1
             ether 0 in 1/60",
        );
    let _ = lab
        .other_frame(Out, "em0", ARP, ether(1, 5))
        .passes()
        .counts("ether 0 evaluations 1");
    let _ = lab.other_frame(In, "em1", ARP, ether(5, 1)).passes();
}

#[test]
fn captive_a_tag_of_the_frame_is_seen_by_the_rules_for_packets() {
    let rdr = |tag: &str| {
        let mut rule = Rule::new(pf_engine::rule::Action::Rdr).on("em0");
        rule.rdr = Some(pool("10.0.0.1"));
        rule.tagged = Some((false, tag.to_owned()));
        rule
    };
    let frames = [
        let_pass().first().kind(ARP),
        let_pass().first().of(9),
        let_pass().tags("captive"),
    ];
    let mut lab = Lab::router(Ruleset {
        rdr: vec![rdr("captive")],
        ..ruleset(&frames, &[pass().keep()])
    });
    let syn = |port| tcp(("10.0.0.5", port), ("198.51.100.7", 80), S, 1, 0, 0);
    let _ = lab
        .frame(In, "em0", syn(1000), Some(ether(5, 1)))
        .passes()
        .becomes("10.0.0.5:1000 > 10.0.0.1:80");
    // Who has authenticated is not sent to the portal.
    let _ = lab
        .frame(In, "em0", syn(1001), Some(ether(9, 1)))
        .passes_unchanged();
}

#[test]
fn captive_long_and_anchor_rules_of_an_anchor_are_asked_where_they_are_called() {
    let path = AnchorPath::new("portal").unwrap();
    let call = let_pass().inward().at("em0").calls("portal");
    let mut lab = frames(&[stop().inward(), call]);
    let arp = |lab: &mut Lab, name: &str| {
        let seen = lab.other_frame(In, name, ARP, ether(5, 1));
        seen.decision.verdict.clone()
    };
    let blocked = pf_engine::decision::Verdict::Drop(DropReason::Match);
    assert_eq!(arp(&mut lab, "em0"), blocked, "the anchor is empty");
    let inside = ruleset(&[let_pass().kind(ARP)], &[]);
    let loaded = lab.engine.install_at(lab.now, &path, Parts::ALL, inside);
    assert_eq!(loaded, Ok(()));
    lab.settle();
    let _ = lab
        .other_frame(In, "em0", ARP, ether(5, 1))
        .passes()
        .counts(
            "ether 0 evaluations 1
             ether 1 evaluations 1
             portal ether 0 evaluations 1
             portal ether 0 in 1/60",
        );
    assert_eq!(arp(&mut lab, "em1"), blocked, "not called there");
    lab.engine.flush_ether(&path);
    assert_eq!(arp(&mut lab, "em0"), blocked);
}

#[test]
fn a_quick_anchor_ends_the_evaluation_if_a_rule_in_it_has_matched() {
    let path = AnchorPath::new("a").unwrap();
    let mut main = ruleset(&[let_pass().first().calls("a"), stop()], &[]);
    main.anchors
        .insert(path, ruleset(&[let_pass().kind(ARP)], &[]));
    let mut lab = Lab::router(main);
    let _ = lab.other_frame(In, "em0", ARP, ether(5, 1)).passes();
    let _ = lab
        .other_frame(In, "em0", VLAN, ether(5, 1))
        .drops(DropReason::Match);
}

#[test]
fn ip_addresses_and_tables_are_asked_of_ip_packets_alone() {
    let mut main = ruleset(
        &[
            let_pass(),
            stop().inward().l3_from(Address::Table("guests".to_owned())),
        ],
        &[],
    );
    main.tables
        .insert("guests".to_owned(), table(false, &["10.0.0.5"]));
    let mut lab = Lab::router(main);
    let from = |address: &str| echo(address, "10.0.0.1", 7);
    let _ = lab
        .frame(In, "em0", from("10.0.0.5"), Some(ether(5, 1)))
        .drops(DropReason::Match)
        .counts(
            "ether 0 evaluations 1
             ether 1 evaluations 1
             ether 1 in 1/98
             table guests match 1",
        );
    let _ = lab
        .frame(In, "em0", from("10.0.0.6"), Some(ether(5, 1)))
        .passes();
    // As in PF: where there is no IP address, none is asked for.
    let _ = lab
        .other_frame(In, "em0", ARP, ether(5, 1))
        .drops(DropReason::Match);
    let host = Address::Prefix(prefix("10.0.0.6"));
    lab.load(ruleset(&[stop().kind(IPV4).l3_from(host)], &[]));
    let _ = lab.other_frame(In, "em0", ARP, ether(5, 1)).passes();
    assert!(lab.engine.table("guests").is_none(), "no rule refers to it");
}

#[test]
fn match_tag_a_tag_of_a_packet_is_asked_for_when_its_frame_leaves() {
    let tagging = pass()
        .inbound()
        .keep()
        .change(|r| r.tag = Some("vip".to_owned()));
    let rules = [tagging, pass().outbound().keep()];
    let mut lab = Lab::router(ruleset(&[stop().outward().asks(true, "vip")], &rules));
    let there = || echo("10.0.0.5", "192.0.2.9", 7);
    let _ = lab.frame(In, "em0", there(), Some(ether(5, 1))).passes();
    let _ = lab.frame(Out, "em1", there(), Some(ether(2, 9))).passes();
    let _ = lab.frame(Out, "em1", there(), Some(ether(2, 9))).passes();
    // What the box sends itself has no tag; its state is not made.
    let states = lab.states().len();
    let own = echo("192.0.2.1", "192.0.2.9", 8);
    let _ = lab
        .frame(Out, "em1", own, Some(ether(2, 9)))
        .drops(DropReason::Match);
    assert_eq!(lab.states().len(), states);
    let _ = lab
        .other_frame(Out, "em1", ARP, ether(2, 9))
        .drops(DropReason::Match);
}

#[test]
fn tag_a_later_rule_for_frames_sees_what_an_earlier_one_has_given() {
    let rules = [
        stop(),
        let_pass().of(5).tags("known"),
        let_pass().kind(ARP).asks(false, "known"),
        stop().of(6).tags("known"),
    ];
    let mut lab = frames(&rules);
    let _ = lab.other_frame(In, "em0", ARP, ether(5, 1)).passes();
    let _ = lab
        .other_frame(In, "em0", ARP, ether(7, 1))
        .drops(DropReason::Match);
}

#[test]
fn short_pkt_what_is_too_short_for_ip_is_dropped_whatever_the_rules_say() {
    let mut lab = frames(&[let_pass()]);
    for bytes in [vec![0x45; 19], vec![0x60; 39], vec![0x45], Vec::new()] {
        let _ = lab
            .frame(In, "em0", bytes, Some(ether(5, 1)))
            .drops(DropReason::Short);
    }
    let _ = lab
        .departure("em0", vec![0x45; 19], ether(1, 5))
        .drops(DropReason::Short)
        .counts("reason short 1");
}

#[test]
fn bridge_to_passes_the_frame_on_without_asking_the_rules_for_packets() {
    let bridge = let_pass()
        .inward()
        .at("em0")
        .with(|r| r.bridge_to = Some("em1".to_owned()));
    let nowhere = let_pass()
        .inward()
        .at("em1")
        .with(|r| r.bridge_to = Some("em9".to_owned()));
    let mut lab = Lab::router(ruleset(&[bridge, nowhere], &[block()]));
    let _ = lab
        .frame(In, "em0", request(), Some(ether(5, 1)))
        .bridges_to("em1")
        .counts(
            "ether 0 evaluations 1
             ether 0 in 1/98
             ether 1 evaluations 1",
        );
    let _ = lab
        .other_frame(In, "em0", ARP, ether(5, 1))
        .bridges_to("em1");
    let _ = lab
        .other_frame(In, "em1", ARP, ether(5, 1))
        .drops(DropReason::NoRoute);
}

#[test]
fn a_packet_that_is_routed_is_asked_for_its_frame_when_it_leaves() {
    let route = pass()
        .inbound()
        .keep()
        .route(RouteKind::RouteTo, &[("em1", "192.0.2.9")])
        .change(|r| r.tag = Some("vip".to_owned()));
    let rules = [route, pass().outbound().keep()];
    let frames = [
        stop().outward().with(|r| r.destination = Some(exactly(8))),
        stop().outward().asks(true, "vip"),
    ];
    let mut lab = Lab::router(ruleset(&frames, &rules));
    let packet = echo("10.0.0.5", "198.51.100.7", 7);
    let _ = lab
        .frame(In, "em0", packet.clone(), Some(ether(5, 1)))
        .leaves_by("em1", "192.0.2.9");
    let _ = lab.departure("em1", packet.clone(), ether(2, 9)).passes();
    let _ = lab
        .departure("em1", packet, ether(2, 8))
        .drops(DropReason::Match);
    let stranger = echo_reply("10.0.0.77", "198.51.100.7", 9);
    let _ = lab
        .departure("em1", stranger, ether(2, 9))
        .drops(DropReason::Match);
}

#[test]
fn without_rules_for_frames_or_switched_off_every_frame_passes() {
    let mut lab = frames(&[]);
    assert!(!lab.engine.filters_frames());
    let _ = lab
        .other_frame(In, "em0", ARP, ether(5, 1))
        .passes()
        .counts("");
    lab.load(ruleset(&[stop()], &[]));
    assert!(lab.engine.filters_frames());
    lab.engine.set_enabled(lab.now, false);
    assert!(!lab.engine.filters_frames());
    let _ = lab
        .other_frame(In, "em0", ARP, ether(5, 1))
        .passes()
        .counts("");
    lab.engine.set_enabled(lab.now, true);
    let mut skipped = ruleset(&[stop()], &[]);
    skipped.options.skip.push("em0".to_owned());
    lab.load(skipped);
    lab.engine.handle_interface_change();
    let _ = lab.other_frame(In, "em0", ARP, ether(5, 1)).passes();
    let _ = lab
        .other_frame(In, "em1", ARP, ether(5, 1))
        .drops(DropReason::Match);
}

#[test]
fn too_many_anchors_of_rules_for_frames_change_nothing() {
    let calls = |names: &[&str]| {
        let rules: Vec<EtherRule> = names.iter().map(|name| let_pass().calls(name)).collect();
        ruleset(&rules, &[])
    };
    let mut lab = Lab::router(limit(calls(&["a"]), Limit::EtherAnchors, 2));
    let refused = lab.engine.install_at(
        lab.now,
        &AnchorPath::new("a").unwrap(),
        Parts::ALL,
        calls(&["b", "c"]),
    );
    assert_eq!(refused, Err(InstallError::TooManyEtherAnchors { limit: 2 }));
    let anchors: Vec<String> = lab.engine.anchors().map(ToString::to_string).collect();
    assert_eq!(anchors, ["a"]);
    let counters = lab.engine.ether_rules_at(&AnchorPath::main()).next();
    assert_eq!(counters.unwrap().counters.last_active, None);
}
