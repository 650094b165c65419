//! `af-to`: from one address family to the other (pf.conf(5), TRANSLATION; RFC 7915, RFC 6146).
//!
//! A state that changes the family has a key of each. The one state of an inbound rule covers
//! both sides of the box: its packets are not evaluated again where they leave.

use std::net::IpAddr;

use crate::addr::Family;
use crate::compile::CompiledAfTo;
use crate::decision::{DropReason, EtherAddresses, Exit};
use crate::engine::Engine;
use crate::engine::packet::{Place, Refused, Work};
use crate::engine::translate::Course;
use crate::env::Env;
use crate::evaluate::{CompiledRule, Content};
use crate::installed::PoolUse;
use crate::key::{Tuple, request_of, translate};
use crate::names::NameId;
use crate::nat::Ports;
use crate::nat64::{self, WELL_KNOWN_LEN};
use crate::pool::{CompiledPool, TargetAddress};
use crate::rule::{Address, Direction};
use crate::state::State;
use crate::wire::families::{self, Ends};
use crate::wire::{Meta, Quoted};

/// A packet that has changed its family, and has to be routed anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crossed {
    /// Its state covers it where it leaves, too.
    is_covered: bool,
    /// Where the opener's frames came from, and the addresses of one back to it.
    back: Option<(NameId, EtherAddresses)>,
}

impl Crossed {
    /// By `state`, in the direction `flow` of its packets.
    pub(super) fn by(state: &State, flow: Direction) -> Self {
        let ether = state.ether.filter(|_| flow != state.direction);
        Self {
            is_covered: state.direction == Direction::In,
            back: ether.map(|ether| (state.origin, ether.reversed())),
        }
    }

    pub(super) const fn is_covered(&self) -> bool {
        self.is_covered
    }
}

/// What a packet that leaves in another family needs.
pub(super) enum Onward {
    /// It is for the box itself.
    Here,
    /// It leaves there.
    By(Place, Exit),
}

impl Engine {
    /// `af-to` of the rule that decided.
    pub(super) fn change_family(
        &mut self,
        rule: &CompiledRule,
        course: &mut Course,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        let Some(af_to) = &rule.af_to else {
            return Ok(());
        };
        // Checksums are of whole datagrams: pieces are translated once they are put together.
        if course.content == Content::Fragment {
            return Err(DropReason::Fragment.into());
        }
        let inside = course.tuple;
        let mut tuple = reframed(af_to.family, inside, course).ok_or(DropReason::MapFailed)?;
        let prefix = af_to.from.single_prefix();
        let source = inside.source.address;
        let taken = self
            .take_of(
                af_to.family,
                rule.id,
                PoolUse::Nat,
                &af_to.from,
                source,
                env,
            )
            .ok_or(DropReason::MapFailed)?;
        tuple.source.address = match (prefix, source) {
            (Some((network, len)), IpAddr::V4(address)) => {
                IpAddr::V6(nat64::embed(network, len, address))
            }
            _ => taken.choice.address.ok_or(DropReason::MapFailed)?,
        };
        tuple.destination.address =
            self.destination_in(af_to, rule, inside, tuple.source.address, env)?;
        if !nat64::is_reachable(tuple.destination.address) {
            return Err(DropReason::NoRoute.into());
        }
        let first = tuple;
        course.answers = Direction::In;
        // As in PF, it keeps its port if it can, where the rule says nothing of ports.
        let ports = prefix.is_none() && Ports::are_drawn(&af_to.from, course.icmp.is_some());
        let own = !ports && !self.is_taken(tuple, course.answers);
        let own = own.then_some(tuple.source.port);
        tuple.source.port = own
            .or_else(|| self.free_port_of(&af_to.from, first, course, env))
            .ok_or(DropReason::MapFailed)?;
        course.tuple = tuple;
        course.translated = true;
        course.exit = self.exit_towards(tuple.destination.address, env);
        course.remember(&taken);
        Ok(())
    }

    /// Where the packet goes: to an address of the rule's pool, or to the one inside of the
    /// destination.
    fn destination_in(
        &mut self,
        af_to: &CompiledAfTo,
        rule: &CompiledRule,
        inside: Tuple,
        source: IpAddr,
        env: &mut dyn Env,
    ) -> Result<IpAddr, Refused> {
        let embedded = |(network, len), address| IpAddr::V6(nat64::embed(network, len, address));
        match (&af_to.to, inside.destination.address, source) {
            (None, IpAddr::V6(address), _) => {
                Ok(IpAddr::V4(nat64::extract(address, af_to.prefix_len)))
            }
            (None, IpAddr::V4(address), IpAddr::V6(source)) => {
                Ok(embedded((source, WELL_KNOWN_LEN), address))
            }
            (Some(pool), IpAddr::V4(address), _) if pool.single_prefix().is_some() => pool
                .single_prefix()
                .map(|prefix| embedded(prefix, address))
                .ok_or_else(|| DropReason::MapFailed.into()),
            (Some(pool), to, _) => self
                .take_of(af_to.family, rule.id, PoolUse::Rdr, pool, to, env)
                .and_then(|taken| taken.choice.address)
                .ok_or_else(|| DropReason::MapFailed.into()),
            (None, IpAddr::V4(_), IpAddr::V4(_)) => Err(DropReason::MapFailed.into()),
        }
    }

    /// The interface that a packet to `destination` leaves by.
    fn exit_towards(&self, destination: IpAddr, env: &dyn Env) -> Option<NameId> {
        let by_route = env
            .next_hop(destination)
            .and_then(|(index, _)| self.net.interface(index));
        let interface = by_route.or_else(|| self.net.attached_to(destination));
        interface.map(|interface| interface.name)
    }

    /// Where a packet goes that has changed its family: by the kernel's routes, else onto the
    /// wire that the opener's frames came by.
    pub(super) fn onward(
        &self,
        at: Place,
        crossed: Crossed,
        work: &Work<'_>,
        env: &dyn Env,
    ) -> Result<Onward, Refused> {
        let destination = work.meta.destination;
        if self.net.is_own_address(destination) {
            return match at.direction {
                Direction::In => Ok(Onward::Here),
                Direction::Out => Err(DropReason::NoRoute.into()),
            };
        }
        let by_route = env
            .next_hop(destination)
            .and_then(|(index, hop)| Some((self.net.interface(index)?, hop)));
        let attached = || self.net.attached_to(destination).map(|i| (i, destination));
        if let Some((interface, next_hop)) = by_route.or_else(attached) {
            let exit = Exit::Gateway {
                interface: interface.index,
                next_hop,
            };
            return Ok(Onward::By(leaving(interface.index, interface.name), exit));
        }
        let (origin, ether) = crossed.back.ok_or(DropReason::NoRoute)?;
        let interface = self.net.named(origin).ok_or(DropReason::NoRoute)?.index;
        Ok(Onward::By(
            leaving(interface, origin),
            Exit::Wire { interface, ether },
        ))
    }

    /// Translates an ICMP error into the family of the one whom it is for.
    pub(super) fn cross_error(
        &self,
        state: &State,
        flow: Direction,
        quoted: &Quoted,
        work: &mut Work<'_>,
        env: &mut dyn Env,
    ) -> Result<(), Refused> {
        let new = state.translated(flow).tuple(flow).reversed();
        let ends = Ends {
            source: self
                .reporter(state, work.meta.source, new.destination.address)
                .unwrap_or(new.destination.address),
            destination: new.source.address,
        };
        let inner = Ends {
            source: new.source.address,
            destination: new.destination.address,
        };
        let id = id(env);
        let bytes = families::error(work.bytes, &work.meta, ends, (quoted, inner), id)
            .map_err(|e| e.reason)?;
        replace(work, bytes)?;
        let mut quoted = Quoted::parse(work.bytes, &work.meta).map_err(|e| e.reason)?;
        let old = Tuple::of_quoted(&quoted);
        translate(&mut quoted, work.bytes, &old, &new).map_err(|e| e.reason)?;
        Ok(())
    }

    /// The IPv6 address of an IPv4 router that reports an error: behind the prefix that the
    /// destination stands behind (RFC 6052, section 2).
    fn reporter(&self, state: &State, router: IpAddr, destination: IpAddr) -> Option<IpAddr> {
        let rule = &self.rules.get(state.rule?)?.rule;
        let embeds = rule.af_to.as_ref().is_some_and(|af_to| af_to.to.is_none());
        match (router, destination) {
            (IpAddr::V4(router), IpAddr::V6(destination)) if embeds => {
                let len = prefix_len(&rule.destination.address);
                Some(IpAddr::V6(nat64::embed(destination, len, router)))
            }
            _ => None,
        }
    }
}

/// How long the prefix of IPv6 destinations is that a rule matches, if IPv4 addresses may stand
/// behind one of that length.
pub(crate) fn prefix_len(destination: &Address) -> u8 {
    if let Address::Prefix(prefix) = destination
        && nat64::can_hold(prefix.prefix_len())
        && prefix.family() == Family::Inet6
    {
        return prefix.prefix_len();
    }
    WELL_KNOWN_LEN
}

const fn leaving(index: crate::env::IfIndex, name: NameId) -> Place {
    Place {
        index,
        name,
        direction: Direction::Out,
    }
}

/// The tuple in the other family, addresses still to be put in. Nothing for what that family does
/// not have.
fn reframed(family: Family, inside: Tuple, course: &Course) -> Option<Tuple> {
    let mut tuple = inside;
    tuple.protocol = nat64::protocol_in(family, inside.protocol);
    if let Some((kind, _)) = course.icmp {
        if !course.is_translatable() {
            return None;
        }
        // A first packet that is an answer opens nothing that could be answered.
        request_of(inside.family(), kind).is_none().then_some(())?;
        tuple.destination.port = u16::from(nat64::query_in(family, kind)?);
    }
    Some(tuple)
}

/// Rewrites the packet to `tuple`, of the other family.
pub(super) fn cross(work: &mut Work<'_>, tuple: &Tuple, env: &mut dyn Env) -> Result<(), Refused> {
    let ends = Ends {
        source: tuple.source.address,
        destination: tuple.destination.address,
    };
    let bytes = families::packet(work.bytes, &work.meta, ends, id(env)).map_err(|e| e.reason)?;
    replace(work, bytes)?;
    // RFC 7915, section 5.1.1: what came in pieces goes on in pieces.
    if work.pieces.is_some() {
        work.meta
            .clear_dont_fragment(work.bytes)
            .map_err(|e| e.reason)?;
    }
    let old = Tuple::of(&work.meta, work.bytes);
    translate(&mut work.meta, work.bytes, &old, tuple).map_err(|e| e.reason)?;
    Ok(())
}

fn replace(work: &mut Work<'_>, bytes: Vec<u8>) -> Result<(), Refused> {
    *work.bytes = bytes;
    work.meta = Meta::parse(work.bytes).map_err(|e| e.reason)?;
    Ok(())
}

/// An identification for a packet of IPv4 that may be cut (RFC 6864, section 4.3).
fn id(env: &mut dyn Env) -> u16 {
    let [_, _, high, low] = env.random().to_be_bytes();
    u16::from_be_bytes([high, low])
}

impl CompiledPool {
    /// The one prefix that it is, if IPv4 addresses may stand behind it.
    fn single_prefix(&self) -> Option<(std::net::Ipv6Addr, u8)> {
        let [target] = self.targets.as_slice() else {
            return None;
        };
        match target.address {
            TargetAddress::Range(first, last) => nat64::prefix_of(first, last),
            TargetAddress::Absent | TargetAddress::Dynamic(_) | TargetAddress::Table(_) => None,
        }
    }
}
