//! Links as they stand, for who only looks.

use super::link::Link;

/// A link as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that the kernel tells"
)]
pub struct LinkState {
    /// Name.
    pub name: String,
    /// Whether it is set up (`IFF_UP`).
    pub up: bool,
    /// Whether it has a carrier; none that is not set up has.
    pub carrier: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Whether it is a bridge.
    pub is_bridge: bool,
    /// The bridge that it is a port of.
    pub bridge: Option<String>,
}

/// The states of `links`.
pub(super) fn states(links: &[Link]) -> Vec<LinkState> {
    let bridge_of = |link: &Link| {
        let index = link.controller.filter(|_| link.port.is_some())?;
        let bridge = links.iter().find(|other| other.index == index)?;
        Some(bridge.name.clone())
    };
    let state = |link: &Link| LinkState {
        name: link.name.clone(),
        up: link.up,
        carrier: link.carrier,
        mtu: link.mtu,
        loopback: link.loopback,
        is_bridge: link.bridge.is_some(),
        bridge: bridge_of(link),
    };
    links.iter().map(state).collect()
}
