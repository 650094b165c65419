//! What the optimizer makes of rules, and that no packet can tell.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pf_conf::{Feedback, LoadOptions, Loaded, MemoryFiles, Optimization, PrintOptions};
use pf_conf::{load, print_rule};
use pf_engine::decision::{Hook, Packet, Verdict};
use pf_engine::engine::{Engine, EngineConfig, RuleList};
use pf_engine::env::{FixedEnv, IfIndex, Interface, InterfaceAddress};
use pf_engine::rule::{Direction, tcp_flags};
use pf_engine::ruleset::Dialect;
use pf_engine::time::Instant;
use pf_engine::wire::build;
use proptest::prelude::*;

fn read_as(dialect: Dialect, text: &str) -> Loaded {
    let options = LoadOptions {
        dialect,
        ..LoadOptions::default()
    };
    load("t", text.as_bytes(), &mut MemoryFiles::default(), &options)
        .unwrap_or_else(|errors| panic!("{text}\n{}", errors.plain()))
}

fn read(text: &str) -> Loaded {
    read_as(Dialect::FreeBsd, text)
}

fn printed(loaded: &Loaded) -> Vec<String> {
    let rules = loaded.ruleset.filter.iter();
    rules
        .map(|rule| print_rule(rule, PrintOptions::default()))
        .collect()
}

/// The rules of `text` once optimized.
fn optimized(text: &str) -> Vec<String> {
    let mut loaded = read(text);
    loaded.optimize(Optimization::Basic, &[]);
    printed(&loaded)
}

/// Tables in `rules` without the part of their names that comes from the addresses.
fn without_digest(rules: &[String]) -> Vec<String> {
    let cut = |rule: &String| {
        let mut parts = rule.split("__automatic_");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| text + "__automatic" + &part[8..])
    };
    rules.iter().map(cut).collect()
}

#[test]
fn a_rule_that_is_there_twice_is_there_once() {
    let text = "pass in proto tcp to port 22\nblock in\nblock in\npass out no state\n";
    assert_eq!(
        optimized(text),
        [
            "pass in proto tcp from any to any port = ssh flags S/SA keep state",
            "block drop in all",
            "pass out all no state",
        ]
    );
}

#[test]
fn a_rule_that_another_contains_goes_whichever_comes_first() {
    let wide = "pass in inet from 10.0.0.0/8 to any flags S/SA keep state";
    for text in [
        "pass in from 10.0.0.0/8\npass in on em0 proto tcp from 10.1.2.0/24 to port 80\n",
        "pass in on em0 proto udp from 10.1.2.0/24 to 192.0.2.1\npass in from 10.0.0.0/8\n",
    ] {
        assert_eq!(optimized(text), [wide], "{text}");
    }
}

#[test]
fn any_in_a_list_adds_nothing() {
    let alone = ["pass in inet from 192.0.2.3 to any flags S/SA keep state"];
    assert_eq!(optimized("pass in from { any, 192.0.2.3 }\n"), alone);
    assert_eq!(optimized("pass in from { 192.0.2.3, any }\n"), alone);
}

#[test]
fn equal_rules_around_a_match_rule_both_stay() {
    let text = "pass tagged FOO\nmatch tag FOO\npass tagged FOO\n";
    assert_eq!(optimized(text).len(), 3);
}

#[test]
fn six_addresses_become_a_table_and_five_do_not() {
    let rule = |hosts: &str| format!("pass in proto tcp from {{ {hosts} }} to port 22\n");
    let five = rule("10.0.0.1 10.0.0.3 10.0.0.5 10.0.0.7 10.0.0.9");
    assert_eq!(optimized(&five).len(), 5);
    let mut loaded = read(&rule(
        "10.0.0.1 10.0.0.3 10.0.0.5 10.0.0.7 10.0.0.9 10.1.0.0/16",
    ));
    let lines = loaded.optimize(Optimization::Basic, &[]);
    assert_eq!(
        without_digest(&printed(&loaded)),
        [
            "pass in inet proto tcp from <__automatic_0> to any port = ssh \
             flags S/SA keep state"
        ]
    );
    assert_eq!(
        without_digest(&lines),
        [
            "table <__automatic_0> const { 10.0.0.1 10.0.0.3 10.0.0.5 10.0.0.7 10.0.0.9 10.1.0.0/16 }"
        ]
    );
    let (name, table) = loaded.ruleset.tables.iter().next().expect("a table");
    assert!(name.len() == 22 && table.constant && table.entries.len() == 6);
}

#[test]
fn both_ends_can_become_tables() {
    let hosts = |net: u8| (1..=6).map(move |host| format!(" 10.0.{net}.{host}"));
    let (from, to): (String, String) = (hosts(1).collect(), hosts(2).collect());
    let rules = optimized(&format!("block in from {{{from} }} to {{{to} }}\n"));
    assert_eq!(
        without_digest(&rules),
        ["block drop in inet from <__automatic_0> to <__automatic_1>"]
    );
}

#[test]
fn a_table_has_the_same_name_when_the_rules_are_loaded_again() {
    let text = "pass in from { 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 }\n";
    assert_eq!(optimized(text), optimized(text));
    let reversed = "pass in from { 10.0.0.6 10.0.0.5 10.0.0.4 10.0.0.3 10.0.0.2 10.0.0.1 }\n";
    assert_eq!(optimized(text), optimized(reversed));
}

#[test]
fn rules_that_ask_for_the_same_come_together() {
    let text = "block in on em0 proto tcp to port 1\nblock in on em1 proto tcp to port 2\n\
                block in on em0 proto udp to port 3\nblock in on em1 proto udp to port 4\n\
                block in on em0 proto tcp to port 5\n";
    let ports: Vec<String> = optimized(text)
        .iter()
        .filter_map(|rule| rule.rsplit("= ").next().map(str::to_owned))
        .collect();
    assert_eq!(ports, ["tcpmux", "rje", "3", "compressnet", "4"]);
}

#[test]
fn what_somebody_counts_is_left_alone() {
    for text in [
        "pass in label a\npass in from 10.0.0.1 label a\npass in label a\n",
        "pass in keep state (max 3)\npass in keep state (max 3)\n",
        "table <t> counters\npass in from <t>\npass in from <t>\n",
        "match log\nmatch log\n",
        "pass in nat-to { 10.0.0.1 10.0.0.2 } round-robin\npass in nat-to { 10.0.0.1 10.0.0.2 } round-robin\n",
    ] {
        assert_eq!(optimized(text), printed(&read(text)), "{text}");
    }
}

#[test]
fn a_rule_with_a_label_is_not_passed_by_others() {
    let text = "block in from 10.0.0.1\npass in label here\nblock in from 10.0.0.1\n";
    assert_eq!(optimized(text).len(), 3);
}

#[test]
fn a_rule_with_a_table_stays_beside_a_wider_one() {
    let text = "table <t> persist\npass in from <t>\npass in\npass in from <t>\n";
    let rules = optimized(text);
    assert_eq!(rules.len(), 2, "{rules:?}");
}

#[test]
fn numbers_in_labels_are_those_after_optimization() {
    let text = "block in\nblock in\nblock in\npass in label \"rule $nr\"\npass out label \"$nr\"\n";
    let mut loaded = read(text);
    assert_eq!(loaded.ruleset.filter[3].labels, ["rule 3"]);
    loaded.optimize(Optimization::Basic, &[]);
    assert_eq!(loaded.ruleset.filter.len(), 3);
    assert_eq!(loaded.ruleset.filter[1].labels, ["rule 1"]);
    assert_eq!(loaded.ruleset.filter[2].labels, ["2"]);
    let place = loaded.origins.place(RuleList::Filter, 1).expect("a place");
    assert_eq!(place.line, 4);
}

#[test]
fn tags_with_numbers_are_not_taken_for_one() {
    let text = "pass in tag \"t$nr\"\npass in tag \"t$nr\"\n";
    let rules = optimized(text);
    assert!(rules[0].ends_with("tag t0") && rules[1].ends_with("tag t1"));
}

#[test]
fn the_level_is_asked_for_or_set_or_that_of_the_dialect() {
    let level = |dialect, text, asked| read_as(dialect, text).level(asked);
    let set = "set ruleset-optimization profile\npass\n";
    assert_eq!(level(Dialect::FreeBsd, "pass\n", None), Optimization::Basic);
    assert_eq!(level(Dialect::OpenBsd3, "pass\n", None), Optimization::None);
    assert_eq!(level(Dialect::OpenBsd, set, None), Optimization::Profile);
    let none = Some(Optimization::None);
    assert_eq!(level(Dialect::FreeBsd, set, none), Optimization::None);
    assert!(read(set).echo.is_empty(), "pfctl does not tell it");
}

#[test]
fn a_profile_puts_the_busiest_quick_rule_first() {
    let text = "block in quick proto tcp to port 1\nblock in quick proto udp to port 2\n\
                block in quick proto tcp to port 3\n";
    let mut loaded = read(text);
    let rules = &loaded.ruleset.filter;
    let feedback: Vec<Feedback> = vec![
        (rules[0].clone(), 7),
        (rules[1].clone(), 7_000),
        (rules[2].clone(), 70),
    ];
    loaded.optimize(Optimization::Profile, &feedback);
    let ports: Vec<_> = loaded
        .ruleset
        .filter
        .iter()
        .map(|r| r.destination.port)
        .collect();
    let wanted = [1, 2, 0].map(|at| feedback[at].0.destination.port);
    assert_eq!(ports, wanted);
}

const HOSTS: [&str; 9] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.5",
    "10.0.0.6",
    "10.0.0.7",
    "10.1.0.1",
    "192.0.2.9",
];

fn host(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn interface(index: u32, name: &str, address: &str) -> Interface {
    Interface {
        addresses: vec![InterfaceAddress::new(host(address), 24)],
        ..Interface::new(IfIndex(index), name)
    }
}

/// An engine with the interfaces around it.
struct Filter {
    engine: Engine,
    env: FixedEnv,
}

impl Filter {
    fn with(loaded: &Loaded) -> Self {
        let config = EngineConfig {
            hash_key: [1, 2],
            creator_id: 1,
        };
        let mut engine = Engine::new(Instant::from_secs(0), config);
        let installed = engine.install(Instant::from_secs(0), loaded.ruleset.clone());
        assert_eq!(installed, Ok(()));
        engine.set_enabled(Instant::from_secs(0), true);
        let interfaces = vec![
            interface(1, "em0", "10.0.0.7"),
            interface(2, "em1", "192.0.2.9"),
        ];
        let env = FixedEnv::new(interfaces, 7);
        Self { engine, env }
    }

    /// Verdict, the packet as it goes on, and the number of states.
    fn offer(&mut self, offer: &Offer) -> (Verdict, Vec<u8>, usize) {
        let hook = Hook {
            interface: IfIndex(offer.interface),
            direction: if offer.inbound {
                Direction::In
            } else {
                Direction::Out
            },
        };
        let mut packet = Packet {
            bytes: offer.bytes(),
            ..Packet::default()
        };
        let now = Instant::from_secs(1);
        let decision = (self.engine).handle_packet(now, hook, &mut packet, &mut self.env);
        (decision.verdict, packet.bytes, self.engine.state_count())
    }

    /// Packets and states made, by label.
    fn labels(&self) -> BTreeMap<String, (u64, u64)> {
        let mut counts = BTreeMap::new();
        for rule in self.engine.rules(RuleList::Filter) {
            for label in &rule.rule.labels {
                let count: &mut (u64, u64) = counts.entry(label.clone()).or_default();
                count.0 += rule.counters.traffic.packets();
                count.1 += rule.counters.states_created;
            }
        }
        counts
    }
}

/// A packet at a hook.
#[derive(Clone, Debug)]
struct Offer {
    inbound: bool,
    interface: u32,
    kind: u8,
    source: (&'static str, u16),
    destination: (&'static str, u16),
}

impl Offer {
    fn bytes(&self) -> Vec<u8> {
        let mut ip = build::Ip::new(host(self.source.0), host(self.destination.0));
        ip.tos = (self.kind & 1) * 0x10;
        let tcp = |flags| {
            let segment = build::Segment::new(self.source.1, self.destination.1, flags);
            build::tcp(&ip, &segment, &[])
        };
        match self.kind / 2 {
            0 => tcp(tcp_flags::SYN),
            1 => tcp(tcp_flags::ACK),
            2 => build::echo_request(&ip, 1, 1, &[0; 8]),
            _ => build::udp(&ip, self.source.1, self.destination.1, &[0; 8]),
        }
    }
}

fn offer() -> impl Strategy<Value = Offer> {
    let end = || {
        (
            prop::sample::select(&HOSTS[..]),
            prop::sample::select(&[22_u16, 53, 80][..]),
        )
    };
    (any::<bool>(), 1_u32..=2, 0_u8..8, end(), end()).prop_map(
        |(inbound, interface, kind, source, destination)| Offer {
            inbound,
            interface,
            kind,
            source,
            destination,
        },
    )
}

/// What a run of rules does to packets: words before and behind the criteria.
const EFFECTS: [(&str, &str); 14] = [
    ("pass", ""),
    ("pass", ""),
    ("pass", "no state"),
    ("pass", "keep state (sloppy)"),
    ("block", ""),
    ("block", ""),
    ("block return", ""),
    ("match", "tag A"),
    ("match", ""),
    ("pass", "tag A"),
    ("pass", "tag B"),
    ("pass", "label \"l$nr\""),
    ("block", "label L"),
    ("pass", "keep state (max 2)"),
];

fn criteria() -> impl Strategy<Value = (String, String)> {
    let one = |values: &'static [&'static str]| prop::sample::select(values);
    let place = || {
        one(&[
            "any",
            "any",
            "10.0.0.0/8",
            "10.0.0.0/29",
            "10.0.0.1",
            "! 10.0.0.2",
            "<t>",
            "(em0)",
            "{ 10.0.0.1 10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6 }",
            "{ any 192.0.2.9 }",
        ])
    };
    let port = || one(&["", "", "", "port 22", "port > 30"]);
    let head = (
        one(&["", "in", "in", "out"]),
        one(&["", "", "on em0", "on em1", "on ! em0"]),
    );
    let protocol = one(&["tcp", "udp", "icmp", "tcp"]);
    let tail = one(&["", "", "", "tagged A", "! tagged B", "tos 0x10"]);
    (
        head,
        (any::<bool>(), protocol),
        (place(), place()),
        (port(), port()),
        tail,
    )
        .prop_map(
            |((direction, interface), (ported, protocol), (from, to), (sport, dport), tail)| {
                let (proto, sport, dport) = match (ported, protocol) {
                    (false, _) => (String::new(), "", ""),
                    (true, "icmp") => ("proto icmp".to_owned(), "", ""),
                    (true, other) => (format!("proto {other}"), sport, dport),
                };
                let rest =
                    format!("{interface} {proto} from {from} {sport} to {to} {dport} {tail}");
                (direction.to_owned(), rest)
            },
        )
}

/// Runs of rules of one effect, so that there is something to optimize.
fn ruleset() -> impl Strategy<Value = String> {
    let run = (
        prop::sample::select(&EFFECTS[..]),
        prop::bool::weighted(0.3),
        prop::collection::vec(criteria(), 1..8),
    );
    prop::collection::vec(run, 1..5).prop_map(|runs| {
        let mut text = "table <t> persist { 10.0.0.0/30 !10.0.0.2 }\n".to_owned();
        for ((action, options), quick, rules) in runs {
            let quick = if quick && action != "match" {
                "quick"
            } else {
                ""
            };
            for (direction, rest) in rules {
                let words = [action, direction.as_str(), quick, rest.as_str(), options];
                text.push_str(&words.join(" "));
                text.push('\n');
            }
        }
        text
    })
}

/// Labels without the rule's number, which optimization changes.
fn by_name(labels: BTreeMap<String, (u64, u64)>) -> Vec<(u64, u64)> {
    labels
        .into_values()
        .filter(|count| *count != (0, 0))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_packet_can_tell_that_rules_were_optimized(
        text in ruleset(),
        offers in prop::collection::vec(offer(), 1..40),
        busy in prop::collection::vec(0_u64..100, 0..40),
    ) {
        let plain = read(&text);
        let mut first = read(&text);
        first.optimize(Optimization::Basic, &[]);
        let rules = first.ruleset.filter.iter().cloned();
        let feedback: Vec<Feedback> = rules.zip(busy).collect();
        let mut second = read(&text);
        second.optimize(Optimization::Profile, &feedback);
        prop_assert!(first.ruleset.filter.len() <= plain.ruleset.filter.len());
        let mut boxes = [&plain, &first, &second].map(Filter::with);
        for offer in &offers {
            let [wanted, basic, profile] = boxes.each_mut().map(|one| one.offer(offer));
            prop_assert_eq!(&basic, &wanted, "{:?}\n{}", offer, printed(&first).join("\n"));
            prop_assert_eq!(&profile, &wanted, "{:?}\n{}", offer, printed(&second).join("\n"));
        }
        let [wanted, basic, profile] = boxes.each_ref().map(Filter::labels).map(by_name);
        prop_assert_eq!(basic.len(), wanted.len());
        let sorted = |mut list: Vec<(u64, u64)>| { list.sort_unstable(); list };
        let wanted = sorted(wanted);
        prop_assert_eq!(sorted(basic), wanted.clone());
        prop_assert_eq!(sorted(profile), wanted);
    }
}
