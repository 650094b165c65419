//! Address pools: how one address is taken from many (pf.conf(5), POOLS).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod block;

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use self::block::{Block, to_bits};
use crate::addr::{Family, Prefix};
use crate::hops::DeadHops;
use crate::installed::{PoolUse, RuleId};
use crate::names::NameId;
use crate::net::{DynamicId, Net, is_link_local};
use crate::rule::{Pool, PoolKind, PoolPorts, PortSet};
use crate::table::{TableId, Tables};

/// Addresses that `least-states` compares for one state at most; a pool may be a /8.
const LEAST_STATES_ADDRESSES: usize = 4096;

/// How often a pool is asked again when it chose a next hop that does not work, before the first
/// that works is taken.
const REDRAWS: u8 = 64;

/// A pool with its names looked up.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one keyword of pf.conf(5)"
)]
pub(crate) struct CompiledPool {
    pub(crate) targets: Vec<Target>,
    pub(crate) kind: PoolKind,
    pub(crate) sticky: bool,
    pub(crate) static_port: bool,
    pub(crate) endpoint_independent: bool,
    pub(crate) port_set: Option<PortSet>,
    pub(crate) prefer_ipv6_nexthop: bool,
    pub(crate) ports: Option<PoolPorts>,
}

impl CompiledPool {
    /// `pool`, whose addresses are `targets`.
    pub(crate) const fn new(pool: &Pool, targets: Vec<Target>) -> Self {
        Self {
            targets,
            kind: pool.kind,
            sticky: pool.sticky,
            static_port: pool.static_port,
            endpoint_independent: pool.endpoint_independent,
            port_set: pool.port_set,
            prefer_ipv6_nexthop: pool.prefer_ipv6_nexthop,
            ports: pool.ports,
        }
    }
}

/// One address of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) interface: Option<NameId>,
    pub(crate) address: TargetAddress,
    /// At least 1.
    pub(crate) weight: u16,
}

/// The address part of a [`Target`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum TargetAddress {
    /// None: the interface alone.
    Absent,
    /// All addresses from the first to the last, one family.
    Range(IpAddr, IpAddr),
    Dynamic(DynamicId),
    Table(TableId),
}

impl TargetAddress {
    pub(crate) fn prefix(prefix: Prefix) -> Self {
        let block = Block::of_prefix(None, prefix);
        Self::Range(block.at(0), block.at(block.last))
    }
}

/// What was taken from a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    /// Nothing for a next hop that is an interface alone.
    pub(crate) address: Option<IpAddr>,
    pub(crate) interface: Option<NameId>,
}

/// Where a round robin stands: the block and the address in it that are next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// It has been moved. Where it begins is the pool's to say.
    has_begun: bool,
    block: usize,
    offset: u128,
    /// How often the address was taken in this round (`weight`).
    taken: u16,
}

impl Cursor {
    /// What follows the address at `offset` of the block number `at`.
    const fn behind(at: usize, block: &Block, offset: u128) -> Self {
        let (block, offset) = if offset >= block.last {
            (at.wrapping_add(1), 0)
        } else {
            (at, offset.wrapping_add(1))
        };
        Self {
            has_begun: true,
            block,
            offset,
            taken: 0,
        }
    }
}

/// An address that a `least-states` pool of a rule may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LoadKey {
    pub(crate) rule: RuleId,
    pub(crate) pool: PoolUse,
    pub(crate) choice: Choice,
}

/// States of the addresses that `least-states` pools have chosen.
#[derive(Debug, Default)]
pub(crate) struct Loads(BTreeMap<LoadKey, u32>);

impl Loads {
    pub(crate) fn states(&self, key: &LoadKey) -> u32 {
        self.0.get(key).copied().unwrap_or(0)
    }

    pub(crate) fn refer(&mut self, key: LoadKey) {
        let states = self.0.entry(key).or_default();
        *states = states.saturating_add(1);
    }

    pub(crate) fn release(&mut self, key: &LoadKey) {
        let Some(states) = self.0.get_mut(key) else {
            return;
        };
        *states = states.saturating_sub(1);
        if *states == 0 {
            self.0.remove(key);
        }
    }
}

/// What a choice depends on.
pub(crate) struct Chooser<'a> {
    pub(crate) pool: &'a CompiledPool,
    pub(crate) tables: &'a Tables,
    pub(crate) net: &'a Net,
    /// Next hops that are not to be chosen while there are others.
    pub(crate) dead: &'a DeadHops,
    pub(crate) loads: &'a Loads,
    /// Whose pool it is.
    pub(crate) owner: (RuleId, PoolUse),
    /// The family wanted.
    pub(crate) family: Family,
    /// Whose hash decides (`source-hash`).
    pub(crate) source: IpAddr,
    /// Whose host part is kept (`bitmask`).
    pub(crate) host_part: IpAddr,
}

impl Chooser<'_> {
    /// Takes an address, one that works if there is one. Nothing when the pool has none of the
    /// family.
    pub(crate) fn choose(
        &self,
        cursor: &mut Cursor,
        random: &mut dyn FnMut() -> u32,
    ) -> Option<Choice> {
        let first = self.draw(cursor, random, 0)?;
        if self.is_usable(&first) {
            return Some(first);
        }
        let Some(last_resort) = self.first_usable() else {
            return Some(first);
        };
        let again = (1..=REDRAWS).find_map(|attempt| {
            let choice = self.draw(cursor, random, attempt)?;
            self.is_usable(&choice).then_some(choice)
        });
        Some(again.unwrap_or(last_resort))
    }

    /// Whether it is not known not to work.
    pub(crate) fn is_usable(&self, choice: &Choice) -> bool {
        !self.dead.holds(choice)
    }

    /// A block has more addresses than are dead, or each is looked at.
    fn first_usable(&self) -> Option<Choice> {
        let dead = u128::try_from(self.dead.len()).unwrap_or(u128::MAX);
        self.blocks().find_map(|block| {
            let mut choices = (0..=dead.min(block.last)).map(|offset| block.choice(offset));
            choices.find(|choice| self.is_usable(choice))
        })
    }

    /// Takes an address by the pool's kind. Each `attempt` is another draw.
    fn draw(
        &self,
        cursor: &mut Cursor,
        random: &mut dyn FnMut() -> u32,
        attempt: u8,
    ) -> Option<Choice> {
        match self.pool.kind {
            PoolKind::Single | PoolKind::RoundRobin => self.round_robin(cursor),
            PoolKind::LeastStates => self.least_states(cursor),
            PoolKind::Bitmask => self.bitmask(),
            PoolKind::Random => self.random(random),
            PoolKind::SourceHash { key } => self.source_hash(key, attempt),
        }
    }

    /// Whether the pool still offers what was chosen from it before.
    pub(crate) fn offers(&self, choice: &Choice) -> bool {
        self.blocks().any(|block| block.holds(choice))
    }

    /// Each address in turn, from the first of the pool on; as often as its weight says.
    fn round_robin(&self, cursor: &mut Cursor) -> Option<Choice> {
        let (at, block, offset) = self.turn(cursor)?;
        let is_same = cursor.block == at && cursor.offset == offset;
        let taken = if is_same { cursor.taken } else { 0 }.saturating_add(1);
        *cursor = if taken < block.weight {
            Cursor {
                has_begun: true,
                block: at,
                offset,
                taken,
            }
        } else {
            Cursor::behind(at, &block, offset)
        };
        Some(block.choice(offset))
    }

    /// The address with the fewest states for its weight; the next in turn of those that are
    /// equal. An address without states need not be compared with others.
    fn least_states(&self, cursor: &mut Cursor) -> Option<Choice> {
        let (rule, pool) = self.owner;
        let mut best: Option<(Choice, u32, u16, Cursor)> = None;
        let mut at = *cursor;
        let mut first = None;
        for _ in 0..LEAST_STATES_ADDRESSES {
            let (number, block, offset) = self.turn(&at)?;
            at = Cursor::behind(number, &block, offset);
            let choice = block.choice(offset);
            if first == Some(choice) {
                break;
            }
            first = first.or(Some(choice));
            if !self.is_usable(&choice) {
                continue;
            }
            let states = self.loads.states(&LoadKey { rule, pool, choice });
            let is_better = best.is_none_or(|(_, fewest, weight, _)| {
                let (own, other) = (u64::from(block.weight), u64::from(weight));
                u64::from(states).saturating_mul(other) < u64::from(fewest).saturating_mul(own)
            });
            if is_better {
                best = Some((choice, states, block.weight, at));
            }
            if states == 0 {
                break;
            }
        }
        let Some((choice, _, _, next)) = best else {
            return self.round_robin(cursor);
        };
        *cursor = next;
        Some(choice)
    }

    /// The address whose turn it is: the number of its block, the block, and where in it.
    fn turn(&self, cursor: &Cursor) -> Option<(usize, Block, u128)> {
        let block = if cursor.has_begun {
            cursor.block
        } else {
            self.beginning()
        };
        let mut next = self.blocks().enumerate().skip(block);
        match next.next() {
            Some((at, block)) if cursor.offset <= block.last => Some((at, block, cursor.offset)),
            Some(_) => next
                .next()
                .map(|(at, block)| (at, block, 0))
                .or_else(|| self.start()),
            None => self.start(),
        }
    }

    /// The number of the block that is taken first. With `prefer-ipv6-nexthop` PF begins with the
    /// second host of several, unless the first is a table or an interface.
    fn beginning(&self) -> usize {
        match self.pool.targets.as_slice() {
            [first, _, ..] if self.pool.prefer_ipv6_nexthop => match first.address {
                TargetAddress::Range(..) => {
                    let of_first = self.blocks_of(first);
                    of_first
                        .filter(|block| self.is_wanted(block.family))
                        .count()
                }
                TargetAddress::Absent | TargetAddress::Dynamic(_) | TargetAddress::Table(_) => 0,
            },
            _ => 0,
        }
    }

    fn start(&self) -> Option<(usize, Block, u128)> {
        self.blocks().next().map(|block| (0, block, 0))
    }

    /// The network part of the pool, the host part of the packet.
    fn bitmask(&self) -> Option<Choice> {
        let block = self.blocks().next()?;
        let host = to_bits(self.host_part) & block.last;
        Some(block.choice(host))
    }

    fn random(&self, random: &mut dyn FnMut() -> u32) -> Option<Choice> {
        let mut draw = || {
            (0..4).fold(0u128, |bits, _| {
                bits.wrapping_shl(32) | u128::from(random())
            })
        };
        let which = draw();
        let offset = draw();
        self.by_number(which, offset)
    }

    /// By a keyed hash of the source address: the same source gets the same address as long as
    /// the pool stays the same. Sources whose address does not work get another; the others keep
    /// theirs.
    fn source_hash(&self, key: [u32; 4], attempt: u8) -> Option<Choice> {
        let salts = attempt.wrapping_mul(3);
        let [a, b, c, d] = key.map(u64::from);
        let hash = |salt: u8| {
            let mut hasher =
                SipHasher13::new_with_keys(a.wrapping_shl(32) | b, c.wrapping_shl(32) | d);
            hasher.write_u8(salts.wrapping_add(salt));
            hasher.write_u128(to_bits(self.source));
            u128::from(hasher.finish())
        };
        let offset = hash(1).wrapping_shl(64) | hash(2);
        self.by_number(hash(0), offset)
    }

    /// The address at `offset` of the block number `which`, both modulo what there is. As in PF, what
    /// a table or an interface has is drawn by its first address, and IPv4 only where there is no IPv6
    /// if that is preferred.
    fn by_number(&self, which: u128, offset: u128) -> Option<Choice> {
        let is_six = |block: &Block| block.family == Family::Inet6;
        let prefers_six =
            self.pool.prefer_ipv6_nexthop && self.blocks().any(|block| is_six(&block));
        let blocks = || {
            let all = self.blocks();
            all.filter(move |block| !prefers_six || is_six(block))
        };
        let count = u128::try_from(blocks().count()).ok()?;
        let at = usize::try_from(which.checked_rem(count)?).ok()?;
        let block = blocks().nth(at)?;
        let size = if block.is_entry { 1 } else { block.size() };
        Some(block.choice(offset.checked_rem(size).unwrap_or(0)))
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        self.pool
            .targets
            .iter()
            .flat_map(|target| {
                let weight = target.weight;
                let blocks = self.blocks_of(target);
                blocks.map(move |block| block.weighing(weight))
            })
            .filter(|block| self.is_wanted(block.family))
    }

    /// `prefer-ipv6-nexthop`: IPv6 next hops do for IPv4 packets too.
    fn is_wanted(&self, family: Family) -> bool {
        let bridged = self.pool.prefer_ipv6_nexthop && self.family == Family::Inet;
        family == self.family || bridged
    }

    fn blocks_of(&self, target: &Target) -> impl Iterator<Item = Block> {
        let interface = target.interface;
        let family = self.family;
        let (single, dynamic, table) = match target.address {
            TargetAddress::Absent => (Some(Block::of_interface(interface, family)), None, None),
            TargetAddress::Range(first, last) => {
                (Some(Block::of_range(interface, first, last)), None, None)
            }
            TargetAddress::Dynamic(id) => (None, Some(self.net.dynamic(id)), None),
            TargetAddress::Table(id) => {
                let meant = self.tables.meant(id);
                (None, None, meant.and_then(|id| self.tables.get(id)))
            }
        };
        let dynamic = dynamic.into_iter().flatten().map(|entry| entry.prefix);
        // A link-local address is of no use behind this link (RFC 4291, section 2.5.6).
        let dynamic = dynamic.filter(|prefix| !is_link_local(prefix.address()));
        let table = table
            .into_iter()
            .flat_map(|table| self.in_order(table.prefixes()));
        let prefixes = dynamic
            .chain(table)
            .map(move |p| Block::of_prefix(interface, p).as_entry());
        single.into_iter().chain(prefixes)
    }
}

impl CompiledPool {
    /// The next hops that it names one by one with their interface.
    pub(crate) fn single_hops(&self, tables: &Tables) -> impl Iterator<Item = (NameId, IpAddr)> {
        let hosts = |target: &Target| {
            let of_table = match target.address {
                TargetAddress::Table(id) => tables.meant(id).and_then(|id| tables.get(id)),
                TargetAddress::Absent | TargetAddress::Range(..) | TargetAddress::Dynamic(_) => {
                    None
                }
            };
            let of_table = of_table.into_iter().flat_map(crate::table::Table::prefixes);
            let of_table = of_table.map(|prefix| Block::of_prefix(None, *prefix));
            let own = match target.address {
                TargetAddress::Range(first, last) => Some(Block::of_range(None, first, last)),
                TargetAddress::Absent | TargetAddress::Dynamic(_) | TargetAddress::Table(_) => None,
            };
            let blocks = own.into_iter().chain(of_table);
            let hosts = blocks.filter(|block| block.last == 0);
            hosts.map(|block| block.at(0)).collect::<Vec<_>>()
        };
        let targets = self.targets.iter();
        targets.flat_map(move |target| {
            let hosts = target.interface.map(|name| (name, hosts(target)));
            let hosts = hosts.into_iter();
            hosts.flat_map(|(name, hosts)| hosts.into_iter().map(move |host| (name, host)))
        })
    }
}

impl Chooser<'_> {
    /// With `prefer-ipv6-nexthop` those of IPv6 come first.
    fn in_order<'t>(&self, prefixes: &'t [Prefix]) -> impl Iterator<Item = Prefix> + use<'t> {
        let first = if self.pool.prefer_ipv6_nexthop {
            Family::Inet6
        } else {
            Family::Inet
        };
        let of = move |wanted: bool| {
            let all = prefixes.iter().copied();
            all.filter(move |prefix| (prefix.family() == first) == wanted)
        };
        of(true).chain(of(false))
    }
}

#[cfg(test)]
mod tests;
