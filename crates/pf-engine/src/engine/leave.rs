//! Leaving by another interface: `route-to`, `reply-to`, and the client's own wire.

use crate::addr::Family;
use crate::decision::{DropReason, Exit, Generated, GeneratedExit};
use crate::engine::Engine;
use crate::engine::families::Onward;
use crate::engine::packet::{Passed, Place, Refused, StateRef, Work};
use crate::engine::test::is_icmp_error;
use crate::env::{Env, IfIndex};
use crate::key::{StateKey, Tuple};
use crate::names::NameId;
use crate::norm::fragment;
use crate::route::{NextHop, is_routable};
use crate::rule::{Direction, RouteKind};
use crate::state::State;
use crate::wire::{Meta, Quoted, icmp6};

/// How often one packet is routed on (PF's `routed` counter allows as many).
const MAX_ROUTED: usize = 4;

impl Engine {
    /// Where the packet goes if a rule or state routes it: evaluates it on its way out of that
    /// interface too.
    pub(super) fn leave(
        &mut self,
        hook: Place,
        first: Passed,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Option<Exit>, Refused> {
        let (mut at, mut passed) = (hook, first);
        let mut exit = None;
        for _ in 0..MAX_ROUTED {
            let crossed = work.crossed.take();
            let Some((kind, hop)) = passed.route else {
                let Some(crossed) = crossed else {
                    return Ok(exit);
                };
                let Onward::By(out, way) = self.onward(at, crossed, work, env)? else {
                    return Ok(exit);
                };
                if at.direction == Direction::In {
                    self.decrement_ttl(out.index, work)?;
                }
                exit = Some(way);
                if crossed.is_covered() || self.is_decided(at, out, &passed, work) {
                    return Ok(exit);
                }
                at = out;
                passed = self.test_second(out, work, env)?;
                continue;
            };
            if !self.may_be_routed(&work.meta) {
                return Ok(exit);
            }
            let (out, gateway) = self.gateway(hop, work)?;
            self.trace_route(kind, out, gateway);
            if kind == RouteKind::DupTo {
                self.duplicate(at, out.index, gateway, work, env);
                return Ok(exit);
            }
            if at.direction == Direction::In {
                self.decrement_ttl(out.index, work)?;
            }
            exit = Some(gateway);
            let covered = crossed.is_some_and(|crossed| crossed.is_covered());
            if covered || self.is_decided(at, out, &passed, work) {
                return Ok(exit);
            }
            at = out;
            passed = self.test_second(out, work, env)?;
        }
        // The last evaluation routes on once more: a loop, unless it stays where it is.
        match passed.route {
            Some((_, hop)) if hop.interface != at.name => Err(DropReason::NoRoute.into()),
            _ => Ok(exit),
        }
    }

    /// `dup-to`: a copy goes to `exit`. What becomes of it is no news for the sender: a copy that
    /// cannot be sent is counted and no more.
    fn duplicate(
        &mut self,
        at: Place,
        out: IfIndex,
        exit: Exit,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) {
        match self.copies(at, out, work, env) {
            Ok(copies) => work
                .generated
                .extend(copies.into_iter().map(|bytes| Generated {
                    bytes,
                    exit: GeneratedExit::To(exit),
                })),
            Err(reason) => self.counters.count(reason),
        }
    }

    fn copies(
        &self,
        at: Place,
        out: IfIndex,
        work: &Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Vec<Vec<u8>>, DropReason> {
        let (mut bytes, mut meta) = (work.bytes.clone(), work.meta);
        bytes.truncate(meta.total_len);
        if at.direction == Direction::In {
            meta.decrement_ttl(&mut bytes).map_err(|e| e.reason)?;
        }
        let mtu = self.net.interface(out).map_or(u32::MAX, |i| i.mtu);
        let mtu = usize::try_from(mtu).unwrap_or(usize::MAX);
        if meta.total_len <= mtu {
            return Ok(vec![bytes]);
        }
        if work.pieces.is_none() && meta.dont_fragment {
            return Err(DropReason::TooBig);
        }
        fragment(&bytes, &meta, mtu, env.random()).map_err(|e| e.reason)
    }

    /// Broadcast, multicast and what is about its own link stay there.
    fn may_be_routed(&self, meta: &Meta) -> bool {
        is_routable(meta.destination)
            && !self.net.is_broadcast(meta.destination)
            && !is_neighbor_discovery(meta)
    }

    fn gateway(&self, hop: NextHop, work: &Work<'_>) -> Result<(Place, Exit), Refused> {
        let interface = self.net.named(hop.interface).ok_or(DropReason::NoRoute)?;
        let place = Place {
            index: interface.index,
            name: interface.name,
            direction: Direction::Out,
        };
        let exit = Exit::Gateway {
            interface: interface.index,
            next_hop: hop.address.unwrap_or(work.meta.destination),
        };
        Ok((place, exit))
    }

    /// Whether nothing is left to decide about leaving by `out`: PF evaluates again only for
    /// another interface, where the state of an outbound packet may be found again.
    fn is_decided(&self, at: Place, out: Place, passed: &Passed, work: &Work<'_>) -> bool {
        let skipped = self
            .net
            .interface(out.index)
            .is_some_and(|interface| interface.skipped);
        let covered = at.direction == Direction::Out
            && match passed.state {
                StateRef::None(_) => false,
                StateRef::Existing(slot) => self
                    .states
                    .get(slot)
                    .is_some_and(|state| state.covers(out.name)),
                StateRef::Pending(pending) => work
                    .pending
                    .get(pending)
                    .is_some_and(|pending| pending.covers(out.name)),
            };
        at.name == out.name || skipped || covered
    }

    fn decrement_ttl(&mut self, out: IfIndex, work: &mut Work<'_>) -> Result<(), Refused> {
        match work.meta.decrement_ttl(work.bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.reason == DropReason::TtlExceeded => {
                Err(self.time_exceeded(out, work))
            }
            Err(error) => Err(error.reason.into()),
        }
    }

    /// A packet that came in from where a `route-to` state sends its own: if it answers one, it
    /// is put on the wire of the client, as if the client's gateway had sent it.
    pub(super) fn wire_exit(
        &mut self,
        hook: Place,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<Option<Exit>, Refused> {
        if hook.direction != Direction::In || work.meta.is_fragment() {
            return Ok(None);
        }
        if (self.is_behind() || self.flow_statistics().held > 0)
            && let Some(key) = answer_key(work)
        {
            // What it has done in the cache says whether it is over.
            self.settle_key(Direction::Out, &key);
            self.catch_up_with(Direction::Out, &key, env);
        }
        let Some((interface, origin, ether)) = self.answered_client(hook.name, work) else {
            return Ok(None);
        };
        self.decrement_ttl(interface, work)?;
        let out = Place {
            index: interface,
            name: origin,
            direction: Direction::Out,
        };
        // The state of this packet is the one just found: its route is for the other direction.
        self.test_second(out, work, env)?;
        Ok(Some(Exit::Wire {
            interface,
            ether: ether.reversed(),
        }))
    }

    /// The client whose routed-out connection the packet from `uplink` answers.
    fn answered_client(
        &self,
        uplink: NameId,
        work: &Work<'_>,
    ) -> Option<(IfIndex, NameId, crate::decision::EtherAddresses)> {
        let key = answer_key(work)?;
        let lifetimes = self.lifetimes();
        let slot = self.states.find(Direction::Out, &key, |state| {
            is_routed_out(state, uplink) && !lifetimes.is_over(state)
        })?;
        let state = self.states.get(slot)?;
        let interface = self.net.named(state.origin)?.index;
        Some((interface, state.origin, state.ether?))
    }
}

/// Neighbor and router discovery are about their own link (RFC 4861): they are never routed.
fn is_neighbor_discovery(meta: &Meta) -> bool {
    meta.family == Family::Inet6
        && meta
            .icmp()
            .is_some_and(|icmp| icmp6::is_discovery(icmp.kind))
}

/// The key of an outbound packet like this one, or of the packet that it quotes.
fn answer_key(work: &Work<'_>) -> Option<StateKey> {
    if is_icmp_error(&work.meta) {
        let quoted = Quoted::parse(work.bytes, &work.meta).ok()?;
        return Some(Tuple::of_quoted(&quoted).reversed().key(Direction::Out));
    }
    Some(Tuple::of(&work.meta, work.bytes).key(Direction::Out))
}

/// Whether the state's client came in a frame from another interface than `uplink` and its
/// packets leave there.
pub(super) fn is_routed_out(state: &State, uplink: NameId) -> bool {
    let leaves_there = matches!(
        state.route,
        Some((RouteKind::RouteTo, hop)) if hop.interface == uplink
    );
    leaves_there
        && state.direction == Direction::In
        && state.origin != uplink
        && state.ether.is_some()
}
