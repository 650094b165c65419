//! SCTP associations whose ends have more than one address: which addresses, and which states
//! (RFC 9260, section 6.4; FreeBSD's `pf_sctp_multihome`).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::net::IpAddr;

use crate::decision::StateId;
use crate::key::StateKey;
use crate::rule::Direction;
use crate::slab::Slab;

/// Addresses of one end of an association that are followed (FreeBSD: `PF_SCTP_MAX_ENDPOINTS`).
/// An association has at most this many times this many states at one hook.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// A state's place in an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Number of the association.
    pub(crate) association: u32,
    /// Its rule binds states to interfaces, and nobody knows yet by which its packets will come.
    pub(crate) unsettled: bool,
}

/// One association at one hook. Of `ends`, 0 is the source of inbound packets, as in a
/// [`StateKey`].
#[derive(Debug, Default)]
pub(crate) struct Association {
    ends: [Vec<IpAddr>; 2],
    pub(crate) members: Vec<StateId>,
}

/// All associations with more than one address.
#[derive(Debug, Default)]
pub(crate) struct Associations {
    slab: Slab<Association>,
    /// Addresses that were not followed because there were too many.
    pub(crate) refused: u64,
}

/// Index of the end that sends packets which go in `direction`.
const fn sender(direction: Direction) -> usize {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
    }
}

impl Association {
    pub(crate) fn new(id: StateId, key: &StateKey) -> Self {
        Self {
            ends: key.ends.map(|end| vec![end.address]),
            members: vec![id],
        }
    }

    /// The addresses of who receives packets that go in `direction`.
    pub(crate) fn receivers(&self, direction: Direction) -> &[IpAddr] {
        let at = sender(direction.reverse());
        self.ends.get(at).map_or(&[], Vec::as_slice)
    }

    /// One more address of who sends packets in `direction`. Whether it is new, or nothing if
    /// there are too many.
    pub(crate) fn add(&mut self, direction: Direction, address: IpAddr) -> Option<bool> {
        let known = self.ends.get_mut(sender(direction))?;
        if known.contains(&address) {
            return Some(false);
        }
        if known.len() >= MAX_ADDRESSES {
            return None;
        }
        known.push(address);
        Some(true)
    }

    pub(crate) fn remove(&mut self, direction: Direction, address: IpAddr) {
        if let Some(known) = self.ends.get_mut(sender(direction)) {
            known.retain(|known| *known != address);
        }
    }
}

impl Associations {
    pub(crate) fn insert(&mut self, association: Association) -> Option<u32> {
        self.slab.insert(association)
    }

    pub(crate) fn get(&self, id: u32) -> Option<&Association> {
        self.slab.get(id)
    }

    pub(crate) fn get_mut(&mut self, id: u32) -> Option<&mut Association> {
        self.slab.get_mut(id)
    }

    /// A state is gone. Its addresses go with it unless other states have them too, and the
    /// association with the last state.
    pub(crate) fn leave(&mut self, id: u32, state: StateId, unused: [Option<IpAddr>; 2]) {
        let Some(association) = self.slab.get_mut(id) else {
            return;
        };
        association.members.retain(|member| *member != state);
        for (known, unused) in association.ends.iter_mut().zip(unused) {
            known.retain(|address| Some(*address) != unused);
        }
        if association.members.is_empty() {
            self.slab.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Protocol;
    use crate::view::HostPort;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn association() -> Association {
        let ends = [1, 2].map(|last| HostPort {
            address: address(last),
            port: 1,
        });
        let protocol = Protocol::SCTP;
        Association::new(StateId(1), &StateKey { ends, protocol })
    }

    #[test]
    fn each_end_has_its_addresses_and_no_more_than_are_followed() {
        let mut association = association();
        assert_eq!(association.receivers(Direction::In), [address(2)]);
        assert_eq!(association.add(Direction::In, address(1)), Some(false));
        for last in 11..18 {
            assert_eq!(association.add(Direction::In, address(last)), Some(true));
        }
        assert_eq!(association.add(Direction::In, address(18)), None);
        assert_eq!(association.receivers(Direction::Out).len(), MAX_ADDRESSES);
        association.remove(Direction::In, address(11));
        assert_eq!(association.add(Direction::In, address(18)), Some(true));
    }

    #[test]
    fn the_last_state_takes_the_association_with_it() {
        let mut all = Associations::default();
        let id = all.insert(association()).unwrap();
        all.get_mut(id).unwrap().members.push(StateId(2));
        all.leave(id, StateId(1), [Some(address(1)), None]);
        assert!(all.get(id).unwrap().receivers(Direction::Out).is_empty());
        assert_eq!(all.get(id).unwrap().receivers(Direction::In), [address(2)]);
        all.leave(id, StateId(2), [None, Some(address(2))]);
        assert!(all.get(id).is_none());
    }
}
