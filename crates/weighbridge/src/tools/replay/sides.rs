//! Where a captured packet meets the filter.

use std::net::IpAddr;

use pf_engine::addr::Prefix;
use pf_engine::decision::Hook;
use pf_engine::env::{Env, IfIndex};
use pf_engine::rule::Direction;
use pf_engine::wire::Meta;

use crate::capture::link::Carried;

/// What the box stands between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sides {
    /// One interface. Packets come in, unless the capture says that the box sent them.
    One(IfIndex),
    /// One interface, and the networks behind it: what they send comes in, the rest leaves.
    Wire(IfIndex, Vec<Prefix>),
    /// Two interfaces: what the networks behind the first send comes in there and leaves by the
    /// second, the rest goes the other way.
    Through {
        /// The first.
        inner: IfIndex,
        /// The second.
        outer: IfIndex,
        /// The networks behind the first.
        inside: Vec<Prefix>,
    },
}

fn holds(inside: &[Prefix], address: Option<IpAddr>) -> bool {
    address.is_some_and(|address| inside.iter().any(|prefix| prefix.contains(address)))
}

fn is_own(env: &dyn Env, address: Option<IpAddr>) -> bool {
    let mut addresses = env.interfaces().iter().flat_map(|i| &i.addresses);
    address.is_some_and(|address| addresses.any(|own| own.address == address))
}

impl Sides {
    /// Where a packet is met first.
    pub(super) fn first(&self, carried: &Carried, env: &dyn Env) -> Hook {
        let source = Meta::parse(&carried.bytes).ok().map(|meta| meta.source);
        let sent = carried.outgoing == Some(true);
        let (interface, direction) = match self {
            Self::One(interface) => (
                *interface,
                if sent { Direction::Out } else { Direction::In },
            ),
            Self::Wire(interface, inside) if holds(inside, source) => (*interface, Direction::In),
            Self::Wire(interface, _) => (*interface, Direction::Out),
            Self::Through { .. } if is_own(env, source) => {
                (self.exit(None, &carried.bytes), Direction::Out)
            }
            Self::Through { inner, inside, .. } if holds(inside, source) => (*inner, Direction::In),
            Self::Through { outer, .. } => (*outer, Direction::In),
        };
        Hook {
            interface,
            direction,
        }
    }

    /// Where a packet that has passed `hook` leaves the box; nothing if it does not, or if only
    /// one side is known.
    pub(super) fn onward(&self, hook: Hook, packet: &[u8], env: &dyn Env) -> Option<Hook> {
        if hook.direction == Direction::Out || !matches!(self, Self::Through { .. }) {
            return None;
        }
        let destination = Meta::parse(packet).ok().map(|meta| meta.destination);
        (!is_own(env, destination)).then(|| Hook {
            interface: self.exit(Some(hook.interface), packet),
            direction: Direction::Out,
        })
    }

    fn exit(&self, entry: Option<IfIndex>, packet: &[u8]) -> IfIndex {
        let destination = Meta::parse(packet).ok().map(|meta| meta.destination);
        match self {
            Self::One(interface) | Self::Wire(interface, _) => *interface,
            Self::Through { inner, outer, .. } if entry == Some(*outer) => *inner,
            Self::Through { inner, inside, .. } if holds(inside, destination) => *inner,
            Self::Through { outer, .. } => *outer,
        }
    }
}

#[cfg(test)]
mod tests {
    use pf_engine::env::{FixedEnv, Interface, InterfaceAddress};
    use pf_engine::wire::build::{Ip, udp};

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    fn env() -> FixedEnv {
        let with = |index, name, own: &str| Interface {
            addresses: vec![InterfaceAddress::new(address(own), 24)],
            ..Interface::new(IfIndex(index), name)
        };
        FixedEnv::new(
            vec![with(1, "em0", "192.0.2.1"), with(2, "em1", "10.0.0.1")],
            1,
        )
    }

    fn through() -> Sides {
        Sides::Through {
            inner: IfIndex(2),
            outer: IfIndex(1),
            inside: vec![Prefix::new(address("10.0.0.0"), 24).expect("prefix")],
        }
    }

    fn packet(from: &str, to: &str) -> Carried {
        Carried {
            bytes: udp(&Ip::new(address(from), address(to)), 1, 2, b""),
            ..Carried::default()
        }
    }

    /// Interface and direction at both ends.
    fn way(sides: &Sides, carried: &Carried) -> (Hook, Option<Hook>) {
        let first = sides.first(carried, &env());
        (first, sides.onward(first, &carried.bytes, &env()))
    }

    const fn hook(interface: u32, direction: Direction) -> Hook {
        Hook {
            interface: IfIndex(interface),
            direction,
        }
    }

    #[test]
    fn a_packet_crosses_the_box_from_side_to_side() {
        use Direction::{In, Out};
        let cases = [
            ("10.0.0.9", "203.0.113.1", hook(2, In), Some(hook(1, Out))),
            ("203.0.113.1", "10.0.0.9", hook(1, In), Some(hook(2, Out))),
            (
                "203.0.113.1",
                "203.0.113.2",
                hook(1, In),
                Some(hook(2, Out)),
            ),
            ("10.0.0.9", "10.0.0.8", hook(2, In), Some(hook(2, Out))),
            ("10.0.0.9", "10.0.0.1", hook(2, In), None),
            ("203.0.113.1", "192.0.2.1", hook(1, In), None),
            ("192.0.2.1", "203.0.113.1", hook(1, Out), None),
            ("10.0.0.1", "10.0.0.9", hook(2, Out), None),
        ];
        for (from, to, first, then) in cases {
            let found = way(&through(), &packet(from, to));
            assert_eq!(found, (first, then), "{from} > {to}");
        }
    }

    #[test]
    fn on_one_wire_the_source_or_the_capture_tells_the_direction() {
        let Sides::Through { inner, inside, .. } = through() else {
            panic!("two sides");
        };
        let wire = Sides::Wire(inner, inside);
        let from_inside = way(&wire, &packet("10.0.0.9", "203.0.113.1"));
        assert_eq!(from_inside, (hook(2, Direction::In), None));
        let to_inside = way(&wire, &packet("203.0.113.1", "10.0.0.9"));
        assert_eq!(to_inside, (hook(2, Direction::Out), None));
        let mut sent = packet("10.0.0.9", "203.0.113.1");
        let one = Sides::One(inner);
        assert_eq!(way(&one, &sent), (hook(2, Direction::In), None));
        sent.outgoing = Some(true);
        assert_eq!(way(&one, &sent), (hook(2, Direction::Out), None));
    }
}
