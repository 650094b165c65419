//! Questions to the rules about packets that nobody has sent: may a state's opener use another
//! address, or leave by another interface?

use crate::addr::Protocol;
use crate::engine::Engine;
use crate::engine::packet::{Refused, Work};
use crate::env::Env;
use crate::key::Tuple;
use crate::rule::tcp_flags;
use crate::wire::build::{self, Ip, Segment};
use crate::wire::sctp;

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
        Protocol::SCTP => {
            let ports = [from.port, to.port].map(u16::to_be_bytes);
            let l4 = [&ports.concat()[..], &sctp::BARE_INIT].concat();
            build::packet(&ip, Protocol::SCTP, &l4)
        }
        Protocol::ICMP | Protocol::ICMPV6 => {
            let [_, kind] = to.port.to_be_bytes();
            build::icmp(&ip, kind, 0, u32::from(from.port) << 16, &[])
        }
        other => build::packet(&ip, other, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::HostPort;
    use crate::wire::Meta;

    #[test]
    fn the_opener_of_a_tuple_has_that_tuple() {
        for protocol in [
            Protocol::TCP,
            Protocol::UDP,
            Protocol::SCTP,
            Protocol::ICMP,
            Protocol(47),
        ] {
            let port = |port| if protocol == Protocol(47) { 0 } else { port };
            let end = |last, of| HostPort {
                address: [192, 0, 2, last].into(),
                port: port(of),
            };
            let tuple = Tuple {
                source: end(1, 1025),
                destination: end(2, 8),
                protocol,
            };
            let bytes = opener(&tuple, 0x10);
            let meta = Meta::parse(&bytes).unwrap();
            assert_eq!((Tuple::of(&meta, &bytes), meta.tos), (tuple, 0x10));
        }
    }
}
