//! Questions to the rules about packets that nobody has sent: may a state's opener use another
//! address, or leave by another interface?

use std::net::IpAddr;

use crate::addr::Protocol;
use crate::engine::Engine;
use crate::engine::packet::{Refused, Work};
use crate::env::Env;
use crate::key::Tuple;
use crate::rule::tcp_flags;
use crate::wire::build::{self, Ip, Segment};
use crate::wire::icmp6;

impl Engine {
    /// What the rules say of a packet that there is not. Nothing is made of it, logged or counted
    /// but the evaluations, and no rule with `once` has had its packet; its states are those that it would
    /// make, in `work.pending`.
    pub(super) fn imagine(
        &mut self,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        work.is_imagined = true;
        let trace = self.trace.take();
        let place = work.hook;
        let outcome = self.test_rules(place, work, env);
        self.trace = trace;
        outcome.map(|_| ())
    }
}

/// A packet that begins a connection between the ends of `tuple`.
pub(super) fn opener(tuple: &Tuple, tos: u8) -> Vec<u8> {
    let (from, to) = (tuple.source, tuple.destination);
    let mut ip = Ip::new(from.address, to.address);
    ip.tos = tos;
    match tuple.protocol {
        Protocol::TCP => build::tcp(&ip, &Segment::new(from.port, to.port, tcp_flags::SYN), &[]),
        Protocol::UDP => build::udp(&ip, from.port, to.port, &[]),
        Protocol::SCTP => build::sctp_init(&ip, from.port, to.port, 0),
        Protocol::ICMP | Protocol::ICMPV6 => {
            let [_, kind] = to.port.to_be_bytes();
            let parameter = u32::from(from.port) << 16;
            match to.address {
                IpAddr::V6(address) if icmp6::names_address(kind) => {
                    build::icmp(&ip, kind, 0, parameter, &address.octets())
                }
                IpAddr::V4(_) | IpAddr::V6(_) => build::icmp(&ip, kind, 0, parameter, &[]),
            }
        }
        // An IPv6 packet has some length.
        other => build::packet(&ip, other, &[0]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::HostPort;
    use crate::wire::Meta;
    use crate::wire::sctp::Chunks;

    #[test]
    fn the_opener_of_a_tuple_has_that_tuple() {
        let v4 = ["192.0.2.1", "192.0.2.2"];
        let v6 = ["2001:db8::1", "2001:db8::2"];
        for (protocol, [from, to], ports) in [
            (Protocol::TCP, v4, [1025, 8]),
            (Protocol::UDP, v6, [1025, 8]),
            (Protocol::SCTP, v4, [1025, 8]),
            (Protocol::SCTP, v6, [1025, 8]),
            (Protocol::ICMP, v4, [1025, 8]),
            (Protocol::ICMPV6, v6, [1025, 128]),
            (Protocol::ICMPV6, v6, [0, 130]),
            (Protocol::ICMPV6, v6, [0, 135]),
            (Protocol(47), v4, [0, 0]),
            (Protocol(47), v6, [0, 0]),
        ] {
            let end = |address: &str, port| HostPort {
                address: address.parse().unwrap(),
                port,
            };
            let tuple = Tuple {
                source: end(from, ports[0]),
                destination: end(to, ports[1]),
                protocol,
            };
            let bytes = opener(&tuple, 0x10);
            let meta = Meta::parse(&bytes).unwrap();
            assert_eq!((Tuple::of(&meta, &bytes), meta.tos), (tuple, 0x10));
            assert!(Chunks::parse(&bytes, &meta).is_ok());
        }
    }
}
