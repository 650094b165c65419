//! SCTP: what an association's packets tell of its other addresses opens and closes states
//! (pf.conf(5), `allow-related`; RFC 5061).

use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::{Family, Protocol};
use crate::association::{Association, Membership};
use crate::compile::Lists;
use crate::decision::{EtherAddresses, StateId};
use crate::engine::Engine;
use crate::engine::imagine::opener;
use crate::engine::packet::{Place, StateRef, Work};
use crate::engine::walk::Found;
use crate::env::Env;
use crate::installed::RuleId;
use crate::key::Tuple;
use crate::names::NameId;
use crate::rule::Direction;
use crate::sctp;
use crate::state::{State, Way};
use crate::tcp::Peer;
use crate::view::HostPort;
use crate::wire::Meta;
use crate::wire::sctp::{Change, Chunks};

/// A packet that has passed a place tells of addresses.
pub(super) struct Told {
    place: Place,
    state: StateRef,
    chunks: Chunks,
}

/// What the states of an association have in common.
struct Parent {
    /// The packet that told of the address.
    tuple: Tuple,
    place: Place,
    association: u32,
    rule: Option<RuleId>,
    anchor: Option<RuleId>,
    /// Tags that sender and receiver of the packet want to be sent.
    tags: [u32; 2],
    ether: Option<EtherAddresses>,
    way: Option<Way>,
    tos: u8,
}

impl State {
    /// The interface that it is bound to after a restart.
    pub(super) fn bound_for_keeps(&self) -> Option<NameId> {
        let unsettled = self.membership.is_some_and(|of| of.unsettled);
        self.bound.or(unsettled.then_some(self.origin))
    }

    /// Whether it is one whose other addresses are followed: behind translation those in its
    /// packets are not those of its packets.
    fn may_have_more(&self) -> bool {
        self.protocol() == Protocol::SCTP && self.wire == self.stack
    }
}

impl Engine {
    /// Of an association's state whose rule binds: by this interface its packets come.
    pub(super) fn bind_member(&mut self, slot: u32, interface: NameId) {
        let Some(state) = self.states.get_mut(slot) else {
            return;
        };
        if let Some(membership) = state.membership.as_mut().filter(|of| of.unsettled) {
            membership.unsettled = false;
            state.origin = interface;
            self.states.bind(slot, interface);
        }
    }

    /// Notes what the packet tells of its association, until it has passed all places.
    pub(super) fn note_addresses(place: Place, state: StateRef, work: &mut Work<'_>) {
        if work.meta.protocol != Protocol::SCTP || matches!(state, StateRef::None(_)) {
            return;
        }
        let chunks = Chunks::parse(work.bytes, &work.meta).ok().flatten();
        let telling = chunks.filter(|chunks| !chunks.changes.is_empty());
        work.told.extend(telling.map(|chunks| Told {
            place,
            state,
            chunks,
        }));
    }

    /// The packet passes, and the states that it has made are `made`.
    pub(super) fn follow_addresses(
        &mut self,
        made: &[StateId],
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) {
        for told in std::mem::take(&mut work.told) {
            let slot = match told.state {
                StateRef::Existing(slot) => Some(slot),
                StateRef::Pending(at) => made.get(at).and_then(|id| self.states.slot(*id)),
                StateRef::None(_) => None,
            };
            if let Some(slot) = slot {
                self.follow_told(slot, &told, work, env);
            }
        }
    }

    fn follow_told(&mut self, slot: u32, told: &Told, work: &Work<'_>, env: &mut dyn Env) {
        if !self.states.get(slot).is_some_and(State::may_have_more) {
            return;
        }
        let left_out = u64::from(told.chunks.left_out);
        self.associations.refused = self.associations.refused.wrapping_add(left_out);
        let Some(parent) = self.parent(slot, told, work) else {
            return;
        };
        for change in &told.chunks.changes {
            match *change {
                Change::Add(address) => self.add_address(&parent, address, env),
                Change::Delete(address) => self.delete_address(&parent, address),
            }
        }
    }

    fn parent(&mut self, slot: u32, told: &Told, work: &Work<'_>) -> Option<Parent> {
        let association = self.association_of(slot)?;
        let (place, at_hook) = (told.place, told.place == work.hook);
        let state = self.states.get(slot)?;
        let tags = [state.source.seq_lo, state.destination.seq_lo];
        let [source, destination] = tags;
        Some(Parent {
            tuple: state.wire.tuple(place.direction),
            place,
            association,
            rule: state.rule,
            anchor: state.anchor,
            tags: if state.direction == place.direction {
                tags
            } else {
                [destination, source]
            },
            ether: work.ether.filter(|_| at_hook),
            way: work.way_at(place),
            tos: work.meta.tos,
        })
    }

    /// The association of a state, which is made if it has none.
    fn association_of(&mut self, slot: u32) -> Option<u32> {
        let state = self.states.get_mut(slot)?;
        if let Some(membership) = state.membership {
            return Some(membership.association);
        }
        let association = Association::new(state.id, &state.wire);
        let association = self.associations.insert(association)?;
        state.membership = Some(Membership {
            association,
            unsettled: false,
        });
        Some(association)
    }

    /// One more address of the sender: states between it and all addresses of the other end, as
    /// far as the rules let them be.
    fn add_address(&mut self, parent: &Parent, address: IpAddr, env: &mut dyn Env) {
        // The unspecified address stands for the packet's own.
        if address.is_unspecified() {
            return;
        }
        let direction = parent.place.direction;
        let Some(association) = self.associations.get_mut(parent.association) else {
            return;
        };
        match association.add(direction, address) {
            Some(true) => {}
            Some(false) => return,
            None => {
                self.associations.refused = self.associations.refused.wrapping_add(1);
                return;
            }
        }
        for receiver in association.receivers(direction).to_vec() {
            if Family::of(receiver) == Family::of(address) {
                self.open_related(parent, address, receiver, env);
            }
        }
    }

    /// Asks the rules for a state between two other addresses of an association.
    fn open_related(
        &mut self,
        parent: &Parent,
        source: IpAddr,
        destination: IpAddr,
        env: &mut dyn Env,
    ) {
        let mut tuple = parent.tuple;
        tuple.source.address = source;
        tuple.destination.address = destination;
        let place = parent.place;
        let lifetimes = self.lifetimes();
        let is_there = |state: &State| state.covers(place.name) && !lifetimes.is_over(state);
        let key = tuple.key(place.direction);
        if self.states.find(place.direction, &key, is_there).is_some() {
            return;
        }
        let mut bytes = opener(&tuple, parent.tos);
        let Ok(meta) = Meta::parse(&bytes) else {
            return;
        };
        let mut work = Work::new(&mut bytes, meta, parent.ether, parent.way, place);
        work.related_rule = self.related_rule(parent);
        if self.imagine(&mut work, env).is_err() {
            return;
        }
        let mut pending = std::mem::take(&mut work.pending);
        let mut rules = Vec::new();
        for pending in &mut pending {
            let state = pending.state_mut();
            relate(state, parent);
            rules.extend(state.rule);
        }
        let made = self.commit(pending).unwrap_or_default();
        if !made.is_empty() {
            self.expire_those_with_once(&rules);
        }
        if let Some(association) = self.associations.get_mut(parent.association) {
            association.members.extend(made);
        }
    }

    /// The rules have made states.
    fn expire_those_with_once(&mut self, rules: &[RuleId]) {
        for rule in rules {
            let entry = self.rules.get(*rule);
            if entry.is_some_and(|entry| entry.rule.once && !entry.expired) {
                self.expire_once(*rule);
            }
        }
    }

    /// `allow-related`: the rule of the first state, as long as it is in force.
    fn related_rule(&self, parent: &Parent) -> Option<Found> {
        let rule = parent.rule?;
        let options = &self.rules.get(rule)?.rule.state_options;
        if !options.allow_related {
            return None;
        }
        let in_force = |lists: &Arc<Lists>| {
            let at = lists.filter.iter().position(|known| known.id == rule)?;
            Some(Found::filter(Arc::clone(lists), at, parent.anchor))
        };
        let anchors = self.anchors.iter().map(|anchor| &anchor.lists);
        std::iter::once(&self.lists)
            .chain(anchors)
            .find_map(in_force)
    }

    /// The sender gives up an address, or all but that of the packet: their states are closing.
    /// The packet's own cannot go (RFC 5061, section 4.2.2).
    fn delete_address(&mut self, parent: &Parent, address: IpAddr) {
        let own = parent.tuple.source.address;
        let direction = parent.place.direction;
        let is_gone = |one: IpAddr| one != own && (one == address || address.is_unspecified());
        let Some(association) = self.associations.get_mut(parent.association) else {
            return;
        };
        for known in association.receivers(direction.reverse()).to_vec() {
            if is_gone(known) {
                association.remove(direction, known);
            }
        }
        for slot in self.members(parent.association) {
            let Some(state) = self.states.get_mut(slot) else {
                continue;
            };
            if is_gone(state.wire.tuple(direction).source.address) {
                let (sender, _) = state.peers(direction);
                state.timeout = sctp::shut_down(sender).unwrap_or(state.timeout);
                state.refreshed = self.now;
            }
        }
    }

    /// Who sends in `direction` has ended the association of a state: it has ended on all
    /// addresses.
    pub(super) fn close_association(&mut self, slot: u32, direction: Direction) {
        let state = self.states.get(slot);
        let Some((id, membership)) = state.and_then(|state| Some((state.id, state.membership?)))
        else {
            return;
        };
        for slot in self.members(membership.association) {
            let state = self.states.get_mut(slot);
            if let Some(state) = state.filter(|state| state.id != id) {
                let (sender, _) = state.peers(direction);
                state.timeout = sctp::close(sender);
                state.refreshed = self.now;
            }
        }
    }

    /// The slots of an association's states.
    fn members(&self, association: u32) -> Vec<u32> {
        let association = self.associations.get(association);
        let members = association.map_or(&[][..], |known| &known.members);
        let slots = members.iter().filter_map(|id| self.states.slot(*id));
        slots.collect()
    }

    /// A state is gone.
    pub(super) fn leave_association(&mut self, state: &State) {
        let Some(membership) = state.membership else {
            return;
        };
        let id = membership.association;
        let others = self.members(id).into_iter();
        let keys: Vec<[HostPort; 2]> = others
            .filter_map(|slot| Some(self.states.get(slot)?.wire.ends))
            .collect();
        let unused = [0, 1].map(|end| {
            let address = |ends: &[HostPort; 2]| ends.get(end).map(|end| end.address);
            let own = address(&state.wire.ends)?;
            let used = keys.iter().any(|ends| address(ends) == Some(own));
            (!used).then_some(own)
        });
        self.associations.leave(id, state.id, unused);
    }
}

/// Makes a state one of the association.
fn relate(state: &mut State, parent: &Parent) {
    let [sender, receiver] = parent.tags;
    let (source, destination) = state.peers(parent.place.direction);
    let tag = |peer: &mut Peer, tag| peer.seq_lo = tag;
    tag(source, sender);
    tag(destination, receiver);
    let unsettled = state.bound.take().is_some();
    state.membership = Some(Membership {
        association: parent.association,
        unsettled,
    });
}
