//! Address pools: how one address is taken from many (pf.conf(5), POOLS).

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siphasher::sip::SipHasher13;

use crate::addr::{Family, Prefix};
use crate::names::NameId;
use crate::net::{DynamicId, Net, is_link_local};
use crate::rule::{PoolKind, PoolPorts, PortSet};
use crate::table::{TableId, Tables};

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

/// One address of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) interface: Option<NameId>,
    pub(crate) address: TargetAddress,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// What a choice depends on.
pub(crate) struct Chooser<'a> {
    pub(crate) pool: &'a CompiledPool,
    pub(crate) tables: &'a Tables,
    pub(crate) net: &'a Net,
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
        }
    }

    fn of_range(interface: Option<NameId>, first: IpAddr, last: IpAddr) -> Self {
        Self {
            interface,
            absent: false,
            family: Family::of(first),
            first: to_bits(first),
            last: to_bits(last).saturating_sub(to_bits(first)),
        }
    }

    const fn of_interface(interface: Option<NameId>, family: Family) -> Self {
        Self {
            interface,
            absent: true,
            family,
            first: 0,
            last: 0,
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
    /// Takes an address. Nothing when the pool has none of the family.
    pub(crate) fn choose(
        &self,
        cursor: &mut Cursor,
        random: &mut dyn FnMut() -> u32,
    ) -> Option<Choice> {
        match self.pool.kind {
            PoolKind::Single | PoolKind::RoundRobin => self.round_robin(cursor),
            PoolKind::Bitmask => self.bitmask(),
            PoolKind::Random => self.random(random),
            PoolKind::SourceHash { key } => self.source_hash(key),
        }
    }

    /// Whether the pool still offers what was chosen from it before.
    pub(crate) fn offers(&self, choice: &Choice) -> bool {
        self.blocks().any(|block| block.holds(choice))
    }

    /// Each address in turn, from the first of the pool on.
    fn round_robin(&self, cursor: &mut Cursor) -> Option<Choice> {
        let mut next = self.blocks().enumerate().skip(cursor.block);
        let (at, block, offset) = match next.next() {
            Some((at, block)) if cursor.offset <= block.last => (at, block, cursor.offset),
            Some(_) => next
                .next()
                .map(|(at, block)| (at, block, 0))
                .or_else(|| self.start())?,
            None => self.start()?,
        };
        *cursor = if offset >= block.last {
            Cursor {
                block: at.wrapping_add(1),
                offset: 0,
            }
        } else {
            Cursor {
                block: at,
                offset: offset.wrapping_add(1),
            }
        };
        Some(block.choice(offset))
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
    /// the pool stays the same.
    fn source_hash(&self, key: [u32; 4]) -> Option<Choice> {
        let [a, b, c, d] = key.map(u64::from);
        let hash = |salt: u8| {
            let mut hasher =
                SipHasher13::new_with_keys(a.wrapping_shl(32) | b, c.wrapping_shl(32) | d);
            hasher.write_u8(salt);
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
            .flat_map(|target| self.blocks_of(target))
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
        let source = ip(source);
        let chooser = Chooser {
            pool,
            tables: &Tables::default(),
            net: &Net::default(),
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
        };
        let pool = pool(PoolKind::RoundRobin, &["192.0.2.1", "192.0.2.2"]);
        assert_eq!(
            take(&pool, &mut cursor, "10.0.0.1").as_deref(),
            Some("192.0.2.1")
        );
        let mut cursor = Cursor {
            block: 0,
            offset: 99,
        };
        assert_eq!(
            take(&pool, &mut cursor, "10.0.0.1").as_deref(),
            Some("192.0.2.2")
        );
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
            PoolKind::SourceHash { key: [0; 4] },
        ] {
            let pool = pool(kind, &["192.0.2.1"]);
            assert_eq!(take(&pool, &mut Cursor::default(), "2001:db8::1"), None);
        }
    }
}
