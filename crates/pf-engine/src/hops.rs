//! Next hops that do not work at the moment, and uplinks.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::names::NameId;
use crate::pool::Choice;
use crate::route::NextHop;

/// A line to the outside: connections that come in by it may be answered by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uplink {
    /// The interface it is on.
    pub interface: String,
    /// The gateway behind it.
    pub address: IpAddr,
}

/// What becomes of states that are routed to a next hop which does not work any more, where their
/// rule offers another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are routed to another next hop; connections that this would break (their address was
    /// translated for the old one) are killed.
    Move,
    /// They are killed.
    Kill,
    /// They stay as they are.
    Keep,
}

/// Next hops that do not work.
#[derive(Debug, Default)]
pub(crate) struct DeadHops(BTreeSet<(NameId, IpAddr)>);

/// For pools of which no address is a next hop.
pub(crate) static NO_DEAD_HOPS: DeadHops = DeadHops(BTreeSet::new());

impl DeadHops {
    /// Returns whether that changed anything.
    pub(crate) fn set(&mut self, interface: NameId, address: IpAddr, dead: bool) -> bool {
        if dead {
            self.0.insert((interface, address))
        } else {
            self.0.remove(&(interface, address))
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a pool should not choose this. An address without interface is on whatever
    /// interface it was found dead.
    pub(crate) fn holds(&self, choice: &Choice) -> bool {
        let Some(address) = choice.address.filter(|_| !self.0.is_empty()) else {
            return false;
        };
        match choice.interface {
            Some(interface) => self.0.contains(&(interface, address)),
            None => self.0.iter().any(|(_, dead)| *dead == address),
        }
    }
}

/// Uplinks by which connections are answered that came in by them.
#[derive(Debug, Default)]
pub(crate) struct Uplinks(Vec<(NameId, IpAddr)>);

impl Uplinks {
    pub(crate) const fn new(uplinks: Vec<(NameId, IpAddr)>) -> Self {
        Self(uplinks)
    }

    /// The way back by `interface` to an address of the family of `peer`.
    pub(crate) fn way_back(&self, interface: NameId, peer: IpAddr) -> Option<NextHop> {
        let mut fitting = self
            .0
            .iter()
            .filter(|(name, gateway)| *name == interface && gateway.is_ipv4() == peer.is_ipv4());
        let (interface, address) = *fitting.next()?;
        Some(NextHop {
            interface,
            address: Some(address),
        })
    }
}
