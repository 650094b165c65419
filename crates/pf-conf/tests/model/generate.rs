//! Random rulesets and sequences, made so that much of them meets.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::sample::select;

use super::language::*;
use super::rules::Packet;
use super::segment::{ACK, FIN, PSH, RST, SYN, Segment};
use super::sequence::{Case, Step, run};

const HOSTS: [Ipv4Addr; 6] = [
    Ipv4Addr::new(10, 0, 0, 5),
    Ipv4Addr::new(10, 0, 0, 6),
    Ipv4Addr::new(10, 0, 1, 7),
    Ipv4Addr::new(192, 0, 2, 9),
    Ipv4Addr::new(192, 0, 2, 50),
    Ipv4Addr::new(198, 51, 100, 7),
];
const NETWORKS: [Network; 6] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 24),
    (Ipv4Addr::new(10, 0, 0, 5), 32),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 50), 32),
    (Ipv4Addr::UNSPECIFIED, 0),
];
const PORTS: [u16; 5] = [22, 80, 443, 1024, 8080];
const TAGS: [&str; 2] = ["RED", "BLUE"];
const ON: [&str; 5] = ["em0", "em1", "lan", "wan", ALL_OF_THEM];
/// Rules of a list at most, and of what stands in an anchor.
const RULES: usize = 7;
const STEPS: usize = 40;

fn option<S: Strategy>(weight: f64, strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    prop::option::weighted(weight, strategy)
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.2)
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&[Protocol::Tcp, Protocol::Udp][..])
}

fn direction() -> impl Strategy<Value = Direction> {
    select(&[Direction::In, Direction::Out][..])
}

fn on() -> impl Strategy<Value = (bool, &'static str)> {
    (rarely(), select(&ON[..]))
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        3 => Just(Address::Any),
        3 => select(&NETWORKS[..]).prop_map(Address::Network),
        1 => Just(Address::Range(HOSTS[1], HOSTS[3])),
        2 => (0..TABLES.len()).prop_map(Address::Table),
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    let port = || select(&PORTS[..]);
    let two = (port(), port()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    prop_oneof![
        port().prop_map(Ports::Equal),
        port().prop_map(Ports::Unequal),
        port().prop_map(Ports::Less),
        port().prop_map(Ports::AtMost),
        port().prop_map(Ports::Greater),
        port().prop_map(Ports::AtLeast),
        two.prop_flat_map(|(a, b)| {
            let mut of = vec![Ports::From(a, b), Ports::Except(a, b)];
            if a < b {
                of.push(Ports::Between(a, b));
            }
            select(of)
        }),
    ]
}

fn end() -> impl Strategy<Value = End> {
    (rarely(), address(), option(0.3, ports())).prop_map(|(negated, address, ports)| End {
        negated: negated && !matches!(address, Address::Any),
        address,
        ports,
    })
}

fn question() -> BoxedStrategy<Question> {
    (
        option(0.5, direction()),
        option(0.4, on()),
        option(0.6, protocol()),
        end(),
        end(),
    )
        .prop_map(|(direction, on, protocol, mut source, mut destination)| {
            if protocol.is_none() {
                (source.ports, destination.ports) = (None, None);
            }
            Question {
                direction,
                on,
                protocol,
                source,
                destination,
            }
        })
        .boxed()
}

fn seconds() -> impl Strategy<Value = u32> {
    2..20u32
}

fn tracking() -> impl Strategy<Value = Tracking> {
    (rarely(), option(0.5, 1..3u32), option(0.7, 1..3u32)).prop_map(
        |(global, max_nodes, max_states)| Tracking {
            global,
            max_nodes: max_nodes.filter(|_| !global),
            max_states,
        },
    )
}

fn keep() -> BoxedStrategy<Keep> {
    (
        rarely(),
        rarely(),
        option(0.2, 1..4u32),
        option(0.2, any::<bool>()),
        option(0.2, tracking()),
        prop::collection::btree_map(select(&Timeout::ALL[..]), seconds(), 0..2),
    )
        .prop_map(|(modulate, sloppy, max, bound, tracking, timeouts)| Keep {
            modulate,
            sloppy: sloppy && !modulate,
            max,
            bound,
            tracking,
            timeouts: timeouts.into_iter().collect(),
        })
        .boxed()
}

fn rule() -> BoxedStrategy<Rule> {
    let verb = prop_oneof![
        5 => Just(Verb::Pass),
        2 => Just(Verb::Block),
        2 => Just(Verb::Match),
    ];
    let flags = select(
        &[
            (SYN, SYN | ACK),
            (SYN, SYN | ACK),
            (ACK, ACK | RST),
            (SYN, SYN),
        ][..],
    );
    (
        (verb, rarely(), question(), option(0.5, flags)),
        (
            option(0.2, (rarely(), select(&TAGS[..]))),
            option(0.2, select(&TAGS[..])),
            option(0.15, select(&[0x10u8, 0x08, 0x28][..])),
            option(0.15, 0..8u8),
        ),
        option(0.8, keep()),
    )
        .prop_map(
            |((verb, quick, question, flags), (tagged, tag, set_tos, set_prio), keep)| {
                let is_tcp = question.protocol == Some(Protocol::Tcp);
                let keep = keep.filter(|_| verb == Verb::Pass).map(|keep| Keep {
                    modulate: keep.modulate && is_tcp,
                    ..keep
                });
                Rule {
                    verb,
                    quick: quick && verb != Verb::Match,
                    flags: flags.filter(|_| question.protocol != Some(Protocol::Udp)),
                    question,
                    tagged,
                    tag,
                    set_tos: set_tos.filter(|_| verb != Verb::Block),
                    set_prio: set_prio.filter(|_| verb != Verb::Block),
                    keep,
                    to: None,
                }
            },
        )
        .boxed()
}

/// With translation in filter rules, or with none.
fn item(translates: bool) -> BoxedStrategy<Item> {
    if !translates {
        return rule().prop_map(|rule| Item::Rule(Box::new(rule))).boxed();
    }
    let rule = (rule(), option(0.4, to())).prop_map(|(mut rule, to)| {
        if rule.verb == Verb::Match || rule.keep.is_some() {
            rule.to = to;
        }
        match rule.to {
            Some(To::Nat { .. }) => rule.question.direction = Some(Direction::Out),
            Some(To::Rdr { port, .. }) => {
                rule.question.direction = Some(Direction::In);
                if port.is_some() && rule.question.protocol.is_none() {
                    rule.question.protocol = Some(Protocol::Tcp);
                }
            }
            None => {}
        }
        if rule.to.is_some() {
            // Whose source it is that is tracked, pf.conf(5) does not say.
            rule.keep.iter_mut().for_each(|keep| keep.tracking = None);
        }
        Item::Rule(Box::new(rule))
    });
    let binat =
        (select(&["em0", "em1"][..]), select(&HOSTS[..3])).prop_map(|(on, inside)| Item::Binat {
            on,
            inside,
            outside: HOSTS[4],
        });
    prop_oneof![9 => rule, 1 => binat].boxed()
}

fn to() -> impl Strategy<Value = To> {
    prop_oneof![
        (select(&HOSTS[..]), any::<bool>()).prop_map(|(address, static_port)| To::Nat {
            address,
            static_port,
        }),
        (select(&HOSTS[..]), option(0.5, select(&PORTS[..])))
            .prop_map(|(address, port)| To::Rdr { address, port }),
    ]
}

fn items(translates: bool) -> BoxedStrategy<Vec<Item>> {
    let leaf = prop::collection::vec(item(translates), 0..RULES);
    leaf.prop_recursive(3, 20, 4, move |inner| {
        let anchor =
            (rarely(), question(), inner).prop_map(|(quick, question, items)| Item::Anchor {
                quick,
                question: Box::new(question),
                items,
            });
        prop::collection::vec(
            prop_oneof![4 => item(translates), 1 => anchor.boxed()],
            0..RULES,
        )
    })
    .boxed()
}

fn translation() -> BoxedStrategy<Translation> {
    let kind = select(&[Kind::Nat, Kind::Nat, Kind::Rdr, Kind::Rdr, Kind::Binat][..]);
    (
        (kind, rarely(), rarely(), on(), option(0.6, protocol())),
        (end(), end(), select(&HOSTS[..])),
        (option(0.5, select(&PORTS[..])), any::<bool>()),
    )
        .prop_map(
            |((kind, no, pass, on, protocol), (source, destination, address), (port, fixed))| {
                let mut rule = Translation {
                    kind,
                    no,
                    pass: pass && !no,
                    on,
                    protocol,
                    source,
                    destination,
                    address,
                    port: port.filter(|_| kind == Kind::Rdr && protocol.is_some()),
                    static_port: fixed && kind == Kind::Nat && !no,
                };
                if kind == Kind::Binat {
                    let inside = if no { HOSTS[1] } else { HOSTS[0] };
                    rule.source = End {
                        negated: false,
                        address: Address::Network((inside, 32)),
                        ports: None,
                    };
                    rule.destination.ports = None;
                }
                if protocol.is_none() {
                    (rule.source.ports, rule.destination.ports) = (None, None);
                }
                if kind == Kind::Rdr {
                    let movable =
                        |ports: &Ports| matches!(ports, Ports::Equal(_) | Ports::From(..));
                    rule.destination.ports = rule.destination.ports.filter(movable);
                }
                rule
            },
        )
        .boxed()
}

fn table() -> impl Strategy<Value = Vec<(bool, Network)>> {
    let entry = (rarely(), select(&NETWORKS[..5]));
    prop::collection::vec(entry, 0..4).prop_map(|mut entries| {
        entries.sort_by_key(|(_, network)| *network);
        entries.dedup_by_key(|(_, network)| *network);
        entries
    })
}

/// What of translation a ruleset has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    Without,
    Old,
    Modern,
}

fn ruleset(era: Era) -> BoxedStrategy<Ruleset> {
    let old = if era == Era::Old { 1..6 } else { 0..1 };
    (
        rarely(),
        prop::array::uniform9(seconds()),
        [table(), table()],
        prop::collection::vec(translation(), old),
        items(era == Era::Modern),
    )
        .prop_map(
            move |(if_bound, timeouts, tables, translations, mut items)| {
                if era != Era::Without {
                    untrack(&mut items);
                }
                Ruleset {
                    if_bound,
                    timeouts,
                    tables,
                    translations,
                    items,
                }
            },
        )
        .boxed()
}

fn untrack(items: &mut [Item]) {
    for item in items {
        match item {
            Item::Rule(rule) => rule.keep.iter_mut().for_each(|keep| keep.tracking = None),
            Item::Anchor { items, .. } => untrack(items),
            Item::Binat { .. } => {}
        }
    }
}

fn packet() -> impl Strategy<Value = Packet> {
    let socket = || (select(&HOSTS[..]), select(&PORTS[..]));
    let odd = select(&[SYN | ACK, ACK, PSH | ACK, FIN | ACK, RST][..]);
    let flags = prop_oneof![4 => Just(SYN), 1 => odd];
    (
        direction(),
        0..2usize,
        protocol(),
        socket(),
        socket(),
        flags,
    )
        .prop_map(
            |(direction, interface, protocol, source, destination, flags)| Packet {
                direction,
                interface,
                protocol,
                source,
                destination,
                flags,
            },
        )
}

fn step() -> BoxedStrategy<Step> {
    let segment = prop_oneof![
        1 => Just(Segment::Syn),
        5 => Just(Segment::SynAck),
        1 => Just(Segment::Refusal),
        5 => Just(Segment::Ack),
        5 => Just(Segment::Data),
        3 => Just(Segment::Fin),
        1 => Just(Segment::Rst),
        1 => Just(Segment::FarSeq),
        1 => Just(Segment::FarAck),
        1 => Just(Segment::BlindRst),
    ];
    let data = || 0..100usize;
    let follow = (0..3usize, any::<bool>(), rarely(), segment, data());
    prop_oneof![
        8 => (packet(), data()).prop_map(|(packet, data)| Step::Fresh(packet, data)),
        16 => follow.prop_map(|(state, reply, elsewhere, segment, data)| Step::Follow {
            state,
            reply,
            elsewhere,
            segment,
            data,
        }),
        2 => (1..12u8).prop_map(Step::Wait),
        1 => (0..3usize).prop_map(Step::Kill),
        1 => Just(Step::Reload),
    ]
    .boxed()
}

fn case(era: Era) -> impl Strategy<Value = Case> {
    let steps = prop::collection::vec(step(), 1..STEPS);
    ([ruleset(era), ruleset(era)], steps).prop_map(|(rulesets, steps)| Case { rulesets, steps })
}

/// Cases of each property, unless `PROPTEST_CASES` says otherwise: a few seconds' worth.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 400;
    }
    config.failure_persistence = None;
    config.max_shrink_iters = 20_000;
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn rules_and_states_are_those_of_the_model(case in case(Era::Without)) {
        run(&case).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn translation_rules_before_the_filter_are_those_of_the_model(case in case(Era::Old)) {
        run(&case).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn translation_in_filter_rules_is_that_of_the_model(case in case(Era::Modern)) {
        run(&case).map_err(TestCaseError::fail)?;
    }
}
