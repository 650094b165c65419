//! The engine against a model that is obvious: rules by last match or `quick`, states as a list.

use pf_engine::addr::Protocol;
use pf_engine::decision::Verdict;
use pf_engine::engine::RuleList;
use pf_engine::rule::{Action, Address, BlockReply, Direction, Endpoint, PortMatch, Rule};
use proptest::prelude::*;

use super::harness::*;

const INTERFACES: [&str; 2] = ["em0", "em1"];
const HOSTS: [&str; 4] = ["10.0.0.1", "10.0.1.1", "10.1.0.1", "192.0.2.9"];
const PREFIXES: [&str; 4] = ["10.0.0.0/8", "10.0.0.0/16", "10.0.0.1", "0.0.0.0/0"];
const PORTS: [u16; 3] = [22, 80, 443];

/// A packet at a hook.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) direction: Direction,
    pub(super) interface: &'static str,
    protocol: Protocol,
    source: (&'static str, u16),
    destination: (&'static str, u16),
    flags: u8,
}

impl Offer {
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self.protocol {
            Protocol::TCP => tcp(self.source, self.destination, self.flags, 1, 1, 0),
            _ => udp(self.source, self.destination, 1),
        }
    }
}

/// What the model knows of a state: who opened it, in which direction, by which rule.
#[derive(Debug)]
struct ModelState {
    opener: Offer,
    rule: usize,
}

impl ModelState {
    fn covers(&self, offer: &Offer) -> bool {
        let opener = &self.opener;
        let (first, second) = if offer.direction == opener.direction {
            (offer.source, offer.destination)
        } else {
            (offer.destination, offer.source)
        };
        opener.protocol == offer.protocol && (opener.source, opener.destination) == (first, second)
    }
}

#[derive(Debug, Default)]
struct Model {
    rules: Vec<Rule>,
    packets: Vec<u64>,
    states: Vec<ModelState>,
}

impl Model {
    /// A SYN into a connection may be challenged (RFC 5961, section 4): that depends on how far
    /// it has come, which this model does not follow; that of pf-conf's tests does.
    fn is_opened_again_by(&self, offer: &Offer) -> bool {
        let opens = offer.protocol == Protocol::TCP && offer.flags == S;
        opens && self.states.iter().any(|state| state.covers(offer))
    }

    /// Whether the packet passes.
    fn offer(&mut self, offer: &Offer) -> bool {
        if let Some(state) = self.states.iter().find(|state| state.covers(offer)) {
            self.packets[state.rule] += 1;
            return true;
        }
        let matching = || (0..self.rules.len()).filter(|at| matches(&self.rules[*at], offer));
        let Some(at) = matching()
            .find(|at| self.rules[*at].quick)
            .or(matching().next_back())
        else {
            return true;
        };
        self.packets[at] += 1;
        let rule = &self.rules[at];
        let passes = rule.action == Action::Pass;
        if passes && rule.state != pf_engine::rule::StateMode::None {
            self.states.push(ModelState {
                opener: offer.clone(),
                rule: at,
            });
        }
        passes
    }
}

fn matches(rule: &Rule, offer: &Offer) -> bool {
    let is_tcp = offer.protocol == Protocol::TCP;
    rule.direction.is_none_or(|d| d == offer.direction)
        && rule
            .interface
            .as_ref()
            .is_none_or(|i| (i.name == offer.interface) != i.negated)
        && rule.protocol.is_none_or(|p| p == offer.protocol)
        && end_matches(&rule.source, offer.source)
        && end_matches(&rule.destination, offer.destination)
        && rule
            .flags
            .is_none_or(|f| !is_tcp || offer.flags & f.mask == f.set)
}

fn end_matches(end: &Endpoint, (host, port): (&str, u16)) -> bool {
    let inside = if let Address::Prefix(prefix) = &end.address {
        prefix.contains(ip(host))
    } else {
        assert_eq!(end.address, Address::Any);
        true
    };
    let right_port = match end.port {
        None => true,
        Some(PortMatch::Eq(n)) => port == n,
        Some(PortMatch::Ne(n)) => port != n,
        Some(PortMatch::Range(a, b)) => (a..=b).contains(&port),
        Some(other) => panic!("not made here: {other:?}"),
    };
    inside != end.negated && right_port
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(In), Just(Out)]
}

fn end() -> impl Strategy<Value = Endpoint> {
    let address = prop_oneof![
        Just(Address::Any),
        prop::sample::select(&PREFIXES[..]).prop_map(|p| Address::Prefix(prefix(p))),
    ];
    let port = prop_oneof![
        prop::sample::select(&PORTS[..]).prop_map(PortMatch::Eq),
        prop::sample::select(&PORTS[..]).prop_map(PortMatch::Ne),
        Just(PortMatch::Range(22, 100)),
    ];
    (
        prop::bool::weighted(0.2),
        address,
        prop::option::weighted(0.3, port),
    )
        .prop_map(|(negated, address, port)| Endpoint {
            negated,
            address,
            port,
        })
}

pub(super) fn rule() -> impl Strategy<Value = Rule> {
    let interface = prop::option::of((prop::sample::select(&INTERFACES[..]), any::<bool>()));
    let protocol = prop::option::of(prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP)]);
    let action = prop_oneof![Just(Action::Pass), Just(Action::Block(BlockReply::Drop))];
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    (
        action,
        prop::option::of(direction()),
        interface,
        protocol,
        end(),
        end(),
        flags,
    )
        .prop_map(
            |(action, direction, interface, protocol, source, destination, (keep, syn, quick))| {
                let mut rule = if syn {
                    Rule::new(action).flags_s_sa()
                } else {
                    Rule::new(action)
                };
                rule.direction = direction;
                rule.interface = interface.map(|(name, negated)| pf_engine::rule::InterfaceMatch {
                    negated,
                    name: name.to_owned(),
                });
                rule.protocol = protocol;
                rule.source = source;
                rule.destination = destination;
                rule.quick = quick;
                rule.state_options.sloppy = true;
                if keep { rule.keep() } else { rule }
            },
        )
}

pub(super) fn offer() -> impl Strategy<Value = Offer> {
    let end = || {
        (
            prop::sample::select(&HOSTS[..]),
            prop::sample::select(&PORTS[..]),
        )
    };
    let flags = prop::sample::select(&[S, SA, A, PA][..]);
    let protocol = prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP)];
    let interface = prop::sample::select(&INTERFACES[..]);
    (direction(), interface, protocol, end(), end(), flags).prop_map(
        |(direction, interface, protocol, source, destination, flags)| Offer {
            direction,
            interface,
            protocol,
            source,
            destination,
            flags,
        },
    )
}

proptest! {
    #[test]
    fn the_engine_decides_as_the_model(
        rules in prop::collection::vec(rule(), 0..8),
        offers in prop::collection::vec(offer(), 1..40),
    ) {
        let mut model = Model {
            packets: vec![0; rules.len()],
            rules: rules.clone(),
            states: Vec::new(),
        };
        let mut lab = Lab::router(filter(&rules));
        for offer in &offers {
            if model.is_opened_again_by(offer) {
                continue;
            }
            let wanted = model.offer(offer);
            let seen = lab.packet(offer.direction, offer.interface, offer.bytes());
            let passed = matches!(seen.decision.verdict, Verdict::Pass(_));
            prop_assert_eq!(passed, wanted, "{:?}", offer);
            drop(seen);
            prop_assert_eq!(lab.engine.state_count(), model.states.len());
        }
        let packets: Vec<u64> = lab
            .engine
            .rules(RuleList::Filter)
            .map(|rule| rule.counters.traffic.packets())
            .collect();
        prop_assert_eq!(packets, model.packets);
    }

    /// Whatever comes, nothing panics, and what passes has right checksums if it came with them.
    #[test]
    fn no_packet_harms_the_engine(
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        version in prop_oneof![Just(0x45u8), Just(0x46), Just(0x60)],
        protocol in prop_oneof![Just(6u8), Just(17), Just(1), Just(58), Just(44), any::<u8>()],
        direction in direction(),
    ) {
        let mut ruleset = filter(&[pass().modulate()]);
        ruleset.nat = vec![nat("em1", "(em1)")];
        ruleset.rdr = vec![rdr("em1", "10.0.0.5", Some(80))];
        let mut lab = Lab::router(ruleset);
        let mut bytes = bytes;
        if bytes.len() > 10 {
            bytes[0] = version;
            if version == 0x60 { bytes[6] = protocol } else { bytes[9] = protocol }
            let len = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            bytes[2..4].copy_from_slice(&len);
        }
        for _ in 0..2 {
            let seen = lab.packet(direction, "em1", bytes.clone());
            drop(seen);
        }
        prop_assert!(lab.engine.state_count() <= 2);
    }
}
