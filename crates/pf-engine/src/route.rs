//! Where `route-to` and `reply-to` send a packet.

use std::net::IpAddr;

use crate::names::NameId;

/// A neighbour behind an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextHop {
    /// By name: the interface may go and come back.
    pub(crate) interface: NameId,
    /// The neighbour; nothing for the packet's own destination.
    pub(crate) address: Option<IpAddr>,
}

/// Whether a packet to `destination` may be routed out: broadcast and multicast stay on their
/// link (RFC 1812, section 5.3).
pub(crate) const fn is_routable(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(a) => !a.is_multicast() && !a.is_broadcast() && !a.is_unspecified(),
        IpAddr::V6(a) => !a.is_multicast() && !a.is_unspecified() && !a.is_unicast_link_local(),
    }
}
