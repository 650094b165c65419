//! Tracking of protocols that have no windows: UDP, ICMP queries and all others.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::addr::Protocol;
use crate::rule::Timeout;
use crate::tcp::Peer;

/// `SINGLE`: the peer has sent (`PFUDPS_SINGLE`, `PFOTHERS_SINGLE`).
const SINGLE: u8 = 1;
/// `MULTIPLE`: it was answered.
const MULTIPLE: u8 = 2;

/// The protocols that the timeouts tell apart, other than TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Udp,
    Icmp,
    Other,
}

impl Kind {
    pub(crate) const fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::UDP => Self::Udp,
            Protocol::ICMP | Protocol::ICMPV6 => Self::Icmp,
            _ => Self::Other,
        }
    }

    /// Peers and timeout of a state that a first packet opens.
    pub(crate) fn open(self) -> (Peer, Peer, Timeout) {
        let single = Peer {
            state: SINGLE,
            ..Peer::default()
        };
        let none = Peer::default();
        match self {
            Self::Udp => (single, none, Timeout::UdpFirst),
            Self::Icmp => (none, none, Timeout::IcmpFirst),
            Self::Other => (single, none, Timeout::OtherFirst),
        }
    }

    /// Takes a packet from `source`; returns the timeout from now on.
    pub(crate) fn track(self, source: &mut Peer, destination: &mut Peer) -> Timeout {
        if self == Self::Icmp {
            return Timeout::IcmpError;
        }
        source.state = source.state.max(SINGLE);
        if destination.state == SINGLE {
            destination.state = MULTIPLE;
        }
        let answered = source.state == MULTIPLE && destination.state == MULTIPLE;
        match (self, answered) {
            (Self::Udp, false) => Timeout::UdpSingle,
            (Self::Udp, true) => Timeout::UdpMultiple,
            (Self::Icmp | Self::Other, false) => Timeout::OtherSingle,
            (Self::Icmp | Self::Other, true) => Timeout::OtherMultiple,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_udp_conversation_is_multiple_once_both_ends_were_answered() {
        let (mut client, mut server, timeout) = Kind::Udp.open();
        assert_eq!(timeout, Timeout::UdpFirst);
        assert_eq!(
            Kind::Udp.track(&mut client, &mut server),
            Timeout::UdpSingle
        );
        assert_eq!(
            Kind::Udp.track(&mut server, &mut client),
            Timeout::UdpSingle
        );
        assert_eq!((client.state, server.state), (MULTIPLE, SINGLE));
        assert_eq!(
            Kind::Udp.track(&mut client, &mut server),
            Timeout::UdpMultiple
        );
        assert_eq!((client.state, server.state), (MULTIPLE, MULTIPLE));
    }

    #[test]
    fn icmp_queries_have_no_peer_states() {
        let (mut client, mut server, timeout) = Kind::of(Protocol::ICMPV6).open();
        assert_eq!(timeout, Timeout::IcmpFirst);
        assert_eq!(
            Kind::Icmp.track(&mut client, &mut server),
            Timeout::IcmpError
        );
        assert_eq!((client.state, server.state), (0, 0));
    }
}
