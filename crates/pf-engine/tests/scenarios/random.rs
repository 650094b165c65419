//! Random rules and packets, and bytes that are no packets. What random rules must say to random
//! packets is tested beside pf.conf's text (`crates/pf-conf/tests/model`).

use pf_engine::addr::Protocol;
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
