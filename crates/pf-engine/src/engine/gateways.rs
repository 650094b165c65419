//! Next hops that fail and return: which ones pools choose from, and what becomes of states.

mod vacating;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::addr::{Family, Prefix};
use crate::anchor::TableRef;
use crate::decision::{DropReason, EtherAddresses, Hook};
use crate::engine::Engine;
use crate::engine::imagine::opener;
use crate::engine::packet::{Place, Work};
use crate::env::Env;
use crate::evaluate::CompiledRule;
use crate::hops::{OnFailure, Uplink, Uplinks};
use crate::installed::{PoolUse, RuleId};
use crate::names::NameId;
use crate::pool::{Choice, CompiledPool, LoadKey, Target, TargetAddress};
use crate::route::NextHop;
use crate::rule::{Address, Direction, RouteKind, tcp_flags};
use crate::state::{State, Way};
use crate::wire::Meta;
use crate::wire::build::{self, Ip, Segment};

pub(super) use self::vacating::Vacating;

/// Next hops that [`Engine::next_hops`] names at most: each is one that somebody may want to
/// probe, and a table may hold a million.
pub const NEXT_HOPS_MAX: usize = 256;

/// What has become of the states of a next hop that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vacated {
    /// States that are routed elsewhere now.
    pub moved: usize,
    /// States that were removed.
    pub killed: usize,
    /// States that stay as they were: their rule offers no next hop that works.
    pub kept: usize,
    /// For those who opened the TCP connections that were removed.
    pub resets: Vec<Reset>,
}

/// An RST for one end of a connection whose state was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The packet, IP header first.
    pub bytes: Vec<u8>,
    /// Where packets of its receiver meet the filter. It goes back the way that they come.
    pub hook: Hook,
    /// The frame addresses that these packets have.
    pub ether: EtherAddresses,
}

/// The pools of rules that route.
type Pools = BTreeMap<RuleId, CompiledPool>;

/// What is to be done with one state.
enum Fate {
    /// With where a `least-states` pool counts it.
    Moves(NextHop, Option<LoadKey>),
    Dies,
    Stays,
}

impl Engine {
    /// Tells whether a next hop of `route-to`, `reply-to` or `dup-to` works. One that does not is
    /// in no pool until it is said to work again, except where a pool has no other; states of one that
    /// works again stay where they are ([`Engine::begin_vacating`]). Returns whether that was news.
    pub fn set_next_hop_usable(&mut self, interface: &str, address: IpAddr, usable: bool) -> bool {
        let name = self.names.intern(interface);
        let news = self.dead_hops.set(name, address, !usable);
        if news {
            if usable {
                self.end_vacating(name, address);
            }
            self.suspend_flows();
            self.advance_epoch();
        }
        news
    }

    /// The uplinks: connections that come in by one of their interfaces are answered by it, as if
    /// the rule had `reply-to`, unless it says where to or the peer is on the uplink's own network.
    pub fn set_uplinks(&mut self, uplinks: &[Uplink]) {
        let known = uplinks
            .iter()
            .map(|uplink| (self.names.intern(&uplink.interface), uplink.address));
        self.uplinks = Uplinks::new(known.collect());
        // Names were given numbers that the interfaces may not have yet.
        self.handle_interface_change();
    }

    /// The single next hops that rules in force name together with their interface, in order:
    /// [`NEXT_HOPS_MAX`] of them at most.
    #[must_use]
    pub fn next_hops(&mut self) -> Vec<(String, IpAddr)> {
        let pools = self.route_pools();
        let mut hops = BTreeSet::new();
        for pool in pools.values() {
            self.prepare_tables(pool);
            for (interface, address) in pool.single_hops(&self.tables) {
                if hops.len() < NEXT_HOPS_MAX {
                    hops.insert((self.names.name(interface).to_owned(), address));
                }
            }
        }
        hops.into_iter().collect()
    }

    /// `reply-to` that no rule says: back by the uplink that the packet came in by.
    pub(super) fn automatic_reply(
        &self,
        place: Place,
        source: IpAddr,
        way: Option<Way>,
    ) -> Option<(RouteKind, NextHop)> {
        // A frame that is bridged is answered in a frame to whoever sent it.
        if place.direction != Direction::In || way == Some(Way::Bridge) {
            return None;
        }
        let hop = self.uplinks.way_back(place.name, source)?;
        let interface = self.net.interface(place.index)?;
        let is_neighbour = interface.addresses.iter().any(|own| {
            Prefix::new(own.address, own.prefix_len).is_some_and(|net| net.contains(source))
        });
        (!is_neighbour).then_some((RouteKind::ReplyTo, hop))
    }

    /// Where a choice of a `route-to` pool leads.
    pub(super) fn hop_of(&self, choice: &Choice) -> Option<NextHop> {
        let attached = || {
            let interface = choice.address.and_then(|a| self.net.attached_to(a));
            interface.map(|interface| interface.name)
        };
        Some(NextHop {
            interface: choice.interface.or_else(attached)?,
            address: choice.address,
        })
    }

    fn route_pools(&self) -> Pools {
        let rules = self.all_lists().flat_map(|lists| &lists.filter);
        let pool = |rule: &CompiledRule| Some((rule.id, rule.route.as_ref()?.1.clone()));
        rules.filter_map(pool).collect()
    }

    fn fate(
        &mut self,
        slot: u32,
        gone: NextHop,
        policy: OnFailure,
        pools: &mut Pools,
        env: &mut dyn Env,
    ) -> Fate {
        if policy == OnFailure::Keep {
            return Fate::Stays;
        }
        let Some((kind, hop, load)) = self.other_way(slot, gone, pools, env) else {
            return Fate::Stays;
        };
        // A copy that goes elsewhere breaks nothing.
        if kind == RouteKind::DupTo {
            return Fate::Moves(hop, load);
        }
        let is_bound_to_die = policy == OnFailure::Kill || self.is_tied(slot, kind, gone, hop);
        if is_bound_to_die || !self.may_leave_by(slot, gone, hop, env) {
            return Fate::Dies;
        }
        Fate::Moves(hop, load)
    }

    /// Another next hop for a state, of its rule's pool.
    fn other_way(
        &mut self,
        slot: u32,
        gone: NextHop,
        pools: &mut Pools,
        env: &mut dyn Env,
    ) -> Option<(RouteKind, NextHop, Option<LoadKey>)> {
        let state = self.states.get(slot)?;
        let (kind, _) = state.route?;
        let rule = state.rule?;
        let family = state.outcome().family();
        let source = if state.changes_family() {
            state.origin_tuple().source.address
        } else {
            state.outcome().source.address
        };
        let pool = match pools.entry(rule) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.retired_pool(rule)?),
        };
        let taken = self.take_hop(family, rule, pool, source, env)?;
        let hop = self.hop_of(&taken.choice)?;
        if hop == gone || self.dead_hops.holds(&taken.choice) {
            return None;
        }
        if let Some(used) = taken.sticky {
            self.sources.rechoose(&used.key, taken.choice);
        }
        Some((kind, hop, taken.load))
    }

    /// The pool of a rule that is not in force any more: what it named is there, or is left out.
    fn retired_pool(&mut self, rule: RuleId) -> Option<CompiledPool> {
        let entry = self.rules.get(rule)?;
        let pool = &entry.rule.route.as_ref()?.pool;
        let anchor = entry.anchor.as_str();
        let mut targets = Vec::with_capacity(pool.targets.len());
        for target in &pool.targets {
            let address = match &target.address {
                Address::Any => Some(TargetAddress::Absent),
                Address::Prefix(prefix) => Some(TargetAddress::prefix(*prefix)),
                Address::Range(first, last) => Some(TargetAddress::Range(*first, *last)),
                Address::Table(name) => {
                    let table = self.meant_table(TableRef { anchor, name });
                    table.map(TargetAddress::Table)
                }
                Address::Dynamic(_) | Address::NoRoute | Address::UrpfFailed => None,
            };
            let interface = target.interface.as_ref();
            targets.extend(address.map(|address| Target {
                interface: interface.map(|name| self.names.intern(name)),
                address,
                weight: target.weight.unwrap_or(1).max(1),
            }));
        }
        Some(CompiledPool::new(pool, targets))
    }

    /// Whether the rules in force let the opener of a state leave by another interface: its
    /// packets are not asked about there in mid-stream.
    fn may_leave_by(&mut self, slot: u32, gone: NextHop, hop: NextHop, env: &mut dyn Env) -> bool {
        let Some(state) = self.states.get(slot) else {
            return false;
        };
        let (outcome, tag, origin) = (state.outcome(), state.tag, state.origin);
        let index = self.net.named(hop.interface).map(|named| named.index);
        let mut bytes = opener(&outcome, 0);
        let (Some(index), Ok(meta)) = (index, Meta::parse(&bytes)) else {
            return true;
        };
        if hop.interface == gone.interface {
            return true;
        }
        let place = Place {
            index,
            name: hop.interface,
            direction: Direction::Out,
        };
        let mut work = Work::new(&mut bytes, meta, None, None, place);
        work.tag = tag;
        work.received_on = self.net.named(origin).map(|named| named.index);
        // What else may stand in the way of a new state does not in that of an old one.
        let asked = self.imagine(&mut work, env);
        asked.map_or_else(|refused| refused.reason != DropReason::Match, |()| true)
    }

    /// Whether the connection would not live on by the other next hop: its address is one of the
    /// line that failed, or would become one of the other line.
    fn is_tied(&self, slot: u32, kind: RouteKind, gone: NextHop, hop: NextHop) -> bool {
        if hop.interface == gone.interface {
            return false;
        }
        let Some(state) = self.states.get(slot) else {
            return false;
        };
        // The peer knows the address of this line, not one of the other.
        if kind == RouteKind::ReplyTo {
            return true;
        }
        let translated = |state: &State| {
            state.direction == Direction::Out
                && state.origin_tuple().source != state.outcome().source
        };
        let companion = self
            .companion(state, gone)
            .and_then(|slot| self.states.get(slot));
        translated(state)
            || companion.is_some_and(translated)
            || self.translates_out_of(hop.interface, state)
    }

    /// The state that the packets of `state` have where they leave.
    fn companion(&self, state: &State, hop: NextHop) -> Option<u32> {
        let key = state.outcome().key(Direction::Out);
        self.states.find(Direction::Out, &key, |other| {
            other.direction == Direction::Out
                && other.origin == hop.interface
                && other.id != state.id
        })
    }

    /// Whether there is a rule that may translate the source of such packets there.
    fn translates_out_of(&self, interface: NameId, state: &State) -> bool {
        let tuple = state.outcome();
        let net = self.net.named(interface);
        let applies = |rule: &CompiledRule| {
            let is_here = rule.interface.is_none_or(|(name, negated)| {
                net.is_some_and(|interface| interface.is_in(name)) != negated
            });
            is_here
                && rule.nat.is_some()
                && rule.direction != Some(Direction::In)
                && rule.family.is_none_or(|family| family == tuple.family())
                && rule
                    .protocol
                    .is_none_or(|protocol| protocol == tuple.protocol)
        };
        self.all_lists().any(|lists| {
            let rules = lists.nat.iter().chain(&lists.binat_out);
            rules.chain(&lists.filter).any(applies)
        })
    }

    fn move_state(&mut self, slot: u32, from: NextHop, to: NextHop) {
        let companion = self
            .states
            .get(slot)
            .and_then(|state| self.companion(state, from));
        let was_bound = |state: &State| state.bound == Some(from.interface);
        if let Some(state) = self.states.get_mut(slot) {
            state.route = state.route.map(|(kind, _)| (kind, to));
            if was_bound(state) && state.direction == Direction::Out {
                self.states.bind(slot, to.interface);
            }
        }
        let Some(companion) = companion else {
            return;
        };
        if let Some(state) = self.states.get_mut(companion) {
            state.origin = to.interface;
            if was_bound(state) {
                self.states.bind(companion, to.interface);
            }
        }
    }

    /// The state counts for its new next hop from now on.
    fn move_load(&mut self, slot: u32, load: Option<LoadKey>) {
        let Some(state) = self.states.get_mut(slot) else {
            return;
        };
        for old in state
            .loads
            .iter_mut()
            .filter(|old| old.pool == PoolUse::Route)
        {
            self.loads.release(old);
            if let Some(new) = load {
                *old = new;
                self.loads.refer(new);
            }
        }
    }

    fn kill_with_companion(&mut self, slot: u32, gone: NextHop) {
        let companion = self
            .states
            .get(slot)
            .and_then(|state| self.companion(state, gone));
        for slot in companion.into_iter().chain([slot]) {
            self.remove_state(slot);
        }
    }

    /// An RST for who opened the connection, in the name of the other end. Nothing where the
    /// opener is behind the line that failed.
    fn reset_of(&self, slot: u32) -> Option<Reset> {
        let state = self.states.get(slot)?;
        let (kind, _) = state.route?;
        let is_tcp = state.protocol() == crate::addr::Protocol::TCP;
        if !is_tcp || kind == RouteKind::ReplyTo {
            return None;
        }
        let hook = Hook {
            interface: self.net.named(state.origin)?.index,
            direction: state.direction,
        };
        Some(Reset {
            bytes: reset(state),
            hook,
            ether: state.ether?,
        })
    }
}

/// Numbers as the opener knows them: what the other end would send next, and what it has seen.
fn reset(state: &State) -> Vec<u8> {
    let tuple = state.origin_tuple();
    let (from, to) = (tuple.destination, tuple.source);
    let mut segment = Segment::new(from.port, to.port, tcp_flags::RST | tcp_flags::ACK);
    let peer = &state.destination;
    let is_answered = peer.state != crate::tcp::tcps::CLOSED;
    if is_answered {
        segment.seq = peer.seq_lo.wrapping_add(peer.seq_diff);
    }
    // A SYN that nobody has answered counts one.
    let syn = u32::from(!is_answered);
    segment.ack = state.source.seq_lo.wrapping_add(syn);
    segment.window = 0;
    let mut ip = Ip::new(from.address, to.address);
    ip.dont_fragment = Family::of(from.address) == Family::Inet;
    build::tcp(&ip, &segment, &[])
}
