//! Address pools: how one address is taken from many (pf.conf(5), POOLS).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher13;

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

/// Consecutive addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    interface: Option<NameId>,
    /// No address: the interface alone.
    absent: bool,
    family: Family,
    first: u128,
    /// Number of addresses less one.
    last: u128,
    weight: u16,
}

impl Block {
    fn of_prefix(interface: Option<NameId>, prefix: Prefix) -> Self {
        let prefix = prefix.masked();
        let host_bits = u32::from(prefix.family().bits().saturating_sub(prefix.prefix_len()));
        Self {
            interface,
            absent: false,
            family: prefix.family(),
            first: to_bits(prefix.address()),
            last: 1u128
                .checked_shl(host_bits)
                .map_or(u128::MAX, |size| size.wrapping_sub(1)),
            weight: 1,
        }
    }

    fn of_range(interface: Option<NameId>, first: IpAddr, last: IpAddr) -> Self {
        Self {
            interface,
            absent: false,
            family: Family::of(first),
            first: to_bits(first),
            last: to_bits(last).saturating_sub(to_bits(first)),
            weight: 1,
        }
    }

    const fn of_interface(interface: Option<NameId>, family: Family) -> Self {
        Self {
            interface,
            absent: true,
            family,
            first: 0,
            last: 0,
            weight: 1,
        }
    }

    fn at(&self, offset: u128) -> IpAddr {
        from_bits(self.family, self.first.wrapping_add(offset.min(self.last)))
    }

    fn choice(&self, offset: u128) -> Choice {
        Choice {
            address: (!self.absent).then(|| self.at(offset)),
            interface: self.interface,
        }
    }

    fn holds(&self, choice: &Choice) -> bool {
        choice.interface == self.interface
            && choice.address.map_or(self.absent, |address| {
                let bits = to_bits(address);
                !self.absent
                    && Family::of(address) == self.family
                    && bits >= self.first
                    && bits.wrapping_sub(self.first) <= self.last
            })
    }

    /// The number of addresses, as far as it can be told.
    const fn size(&self) -> u128 {
        self.last.saturating_add(1)
    }
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
        let mut next = self.blocks().enumerate().skip(cursor.block);
        match next.next() {
            Some((at, block)) if cursor.offset <= block.last => Some((at, block, cursor.offset)),
            Some(_) => next
                .next()
                .map(|(at, block)| (at, block, 0))
                .or_else(|| self.start()),
            None => self.start(),
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

    /// The address at `offset` of the block number `which`, both modulo what there is.
    fn by_number(&self, which: u128, offset: u128) -> Option<Choice> {
        let count = u128::try_from(self.blocks().count()).ok()?;
        let at = usize::try_from(which.checked_rem(count)?).ok()?;
        let block = self.blocks().nth(at)?;
        Some(block.choice(offset.checked_rem(block.size()).unwrap_or(0)))
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        self.pool
            .targets
            .iter()
            .flat_map(|target| {
                let weight = target.weight;
                let blocks = self.blocks_of(target);
                blocks.map(move |block| Block { weight, ..block })
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
            .map(move |p| Block::of_prefix(interface, p));
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

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::Inet => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or(u32::MAX))),
        Family::Inet6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn pool(kind: PoolKind, targets: &[&str]) -> CompiledPool {
        let target = |text: &&str| {
            let (address, len) = text.split_once('/').unwrap_or((text, ""));
            let address = ip(address);
            let len = len.parse().unwrap_or(Family::of(address).bits());
            Target {
                interface: None,
                address: TargetAddress::prefix(Prefix::new(address, len).unwrap()),
                weight: 1,
            }
        };
        CompiledPool {
            targets: targets.iter().map(target).collect(),
            kind,
            sticky: false,
            static_port: false,
            endpoint_independent: false,
            port_set: None,
            prefer_ipv6_nexthop: false,
            ports: None,
        }
    }

    fn take(pool: &CompiledPool, cursor: &mut Cursor, source: &str) -> Option<String> {
        take_by(pool, cursor, source, &Loads::default())
    }

    fn owner() -> (RuleId, PoolUse) {
        (RuleId::from_number(0), PoolUse::Route)
    }

    fn take_by(
        pool: &CompiledPool,
        cursor: &mut Cursor,
        source: &str,
        loads: &Loads,
    ) -> Option<String> {
        let source = ip(source);
        let chooser = Chooser {
            pool,
            tables: &Tables::default(),
            net: &Net::default(),
            dead: &crate::hops::NO_DEAD_HOPS,
            loads,
            owner: owner(),
            family: Family::of(source),
            source,
            host_part: source,
        };
        let mut seed = u32::from(source.is_ipv6());
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed
        };
        let choice = chooser.choose(cursor, &mut random)?;
        assert!(chooser.offers(&choice), "{choice:?} is of the pool");
        choice.address.map(|address| address.to_string())
    }

    #[test]
    fn round_robin_takes_each_address_of_each_block_in_turn() {
        let pool = pool(
            PoolKind::RoundRobin,
            &["192.0.2.8/31", "2001:db8::1", "192.0.2.20"],
        );
        let mut cursor = Cursor::default();
        let taken: Vec<String> = (0..4)
            .filter_map(|_| take(&pool, &mut cursor, "10.0.0.1"))
            .collect();
        assert_eq!(taken, ["192.0.2.8", "192.0.2.9", "192.0.2.20", "192.0.2.8"]);
    }

    #[test]
    fn round_robin_survives_a_pool_that_became_smaller() {
        let mut cursor = Cursor {
            block: 7,
            offset: 99,
            taken: 0,
        };
        let pool = pool(PoolKind::RoundRobin, &["192.0.2.1", "192.0.2.2"]);
        assert_eq!(
            take(&pool, &mut cursor, "10.0.0.1").as_deref(),
            Some("192.0.2.1")
        );
        let mut cursor = Cursor {
            block: 0,
            offset: 99,
            taken: 0,
        };
        assert_eq!(
            take(&pool, &mut cursor, "10.0.0.1").as_deref(),
            Some("192.0.2.2")
        );
    }

    #[test]
    fn round_robin_takes_an_address_as_often_as_its_weight_says() {
        let mut pool = pool(PoolKind::RoundRobin, &["192.0.2.1", "192.0.2.2"]);
        pool.targets[0].weight = 3;
        let mut cursor = Cursor::default();
        let taken: Vec<String> = (0..8)
            .filter_map(|_| take(&pool, &mut cursor, "10.0.0.1"))
            .map(|address| address.trim_start_matches("192.0.2.").to_owned())
            .collect();
        assert_eq!(taken, ["1", "1", "1", "2", "1", "1", "1", "2"]);
    }

    #[test]
    fn least_states_takes_the_address_with_the_fewest_states_for_its_weight() {
        let mut pool = pool(
            PoolKind::LeastStates,
            &["192.0.2.1", "192.0.2.2", "192.0.2.3"],
        );
        pool.targets[0].weight = 2;
        let mut loads = Loads::default();
        let mut cursor = Cursor::default();
        let (rule, pool_use) = owner();
        let key = |address: &str| LoadKey {
            rule,
            pool: pool_use,
            choice: Choice {
                address: Some(ip(address)),
                interface: None,
            },
        };
        let mut counts = BTreeMap::new();
        for _ in 0..8 {
            let taken = take_by(&pool, &mut cursor, "10.0.0.1", &loads).unwrap();
            loads.refer(key(&taken));
            *counts.entry(taken).or_insert(0) += 1;
        }
        let counts: Vec<u32> = counts.into_values().collect();
        assert_eq!(counts, [4, 2, 2]);
        loads.release(&key("192.0.2.3"));
        let taken = take_by(&pool, &mut cursor, "10.0.0.1", &loads).unwrap();
        assert_eq!(taken, "192.0.2.3");
    }

    #[test]
    fn bitmask_keeps_the_host_part() {
        let pool = pool(PoolKind::Bitmask, &["192.0.2.0/24"]);
        let taken = take(&pool, &mut Cursor::default(), "10.9.8.77");
        assert_eq!(taken.as_deref(), Some("192.0.2.77"));
    }

    #[test]
    fn source_hash_gives_a_source_the_same_address_and_sources_different_ones() {
        let pool = pool(
            PoolKind::SourceHash { key: [1, 2, 3, 4] },
            &["192.0.2.0/28", "198.51.100.0/28"],
        );
        let of = |source: &str| take(&pool, &mut Cursor::default(), source).unwrap();
        assert_eq!(of("10.0.0.1"), of("10.0.0.1"));
        let all: std::collections::BTreeSet<String> =
            (1..100).map(|n| of(&format!("10.0.0.{n}"))).collect();
        assert!(all.len() > 20, "{all:?}");
    }

    #[test]
    fn random_stays_in_the_pool() {
        let pool = pool(PoolKind::Random, &["2001:db8::/64", "2001:db8:1::1"]);
        assert!(take(&pool, &mut Cursor::default(), "2001:db8:9::9").is_some());
    }

    #[test]
    fn a_pool_without_an_address_of_the_family_gives_none() {
        for kind in [
            PoolKind::Single,
            PoolKind::Bitmask,
            PoolKind::Random,
            PoolKind::RoundRobin,
            PoolKind::LeastStates,
            PoolKind::SourceHash { key: [0; 4] },
        ] {
            let pool = pool(kind, &["192.0.2.1"]);
            assert_eq!(take(&pool, &mut Cursor::default(), "2001:db8::1"), None);
        }
    }
}
