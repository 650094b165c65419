//! The addresses of a table, by the length of their prefixes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::addr::{Family, Prefix, mask_v4, mask_v6};
use crate::ruleset::TableEntry;

/// What is known of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) negated: bool,
    /// Seconds from the origin to when it was added or its counters zeroed.
    pub(super) since: u32,
}

/// Prefixes, one ordered map for each length in use, longest first. Twelve to twenty-four bytes
/// an address; a look-up costs one search for each length in use.
#[derive(Debug, Default)]
pub(super) struct PrefixMap {
    v4: Vec<(u8, BTreeMap<u32, Held>)>,
    v6: Vec<(u8, BTreeMap<u128, Held>)>,
    len: usize,
}

impl PrefixMap {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether the prefix is new. One that is there keeps its negation, as in PF.
    pub(super) fn insert(&mut self, entry: TableEntry, since: u32) -> bool {
        let prefix = entry.prefix.masked();
        let len = prefix.prefix_len();
        let held = Held {
            negated: entry.negated,
            since,
        };
        let new = match prefix.address() {
            IpAddr::V4(a) => insert_new(of_length(&mut self.v4, len), a.to_bits(), held),
            IpAddr::V6(a) => insert_new(of_length(&mut self.v6, len), a.to_bits(), held),
        };
        self.len += usize::from(new);
        new
    }

    pub(super) fn remove(&mut self, prefix: Prefix) -> bool {
        let prefix = prefix.masked();
        let len = prefix.prefix_len();
        let found = match prefix.address() {
            IpAddr::V4(a) => remove_of_length(&mut self.v4, len, &a.to_bits()),
            IpAddr::V6(a) => remove_of_length(&mut self.v6, len, &a.to_bits()),
        };
        self.len -= usize::from(found);
        found
    }

    /// Notes a moment for exactly this prefix; whether it is there.
    pub(super) fn mark(&mut self, prefix: Prefix, since: u32) -> bool {
        let prefix = prefix.masked();
        let len = prefix.prefix_len();
        let held = match prefix.address() {
            IpAddr::V4(a) => {
                let mut maps = self.v4.iter_mut();
                let map = maps.find(|(l, _)| *l == len);
                map.and_then(|(_, map)| map.get_mut(&a.to_bits()))
            }
            IpAddr::V6(a) => {
                let mut maps = self.v6.iter_mut();
                let map = maps.find(|(l, _)| *l == len);
                map.and_then(|(_, map)| map.get_mut(&a.to_bits()))
            }
        };
        held.map(|held| held.since = since).is_some()
    }

    pub(super) fn mark_all(&mut self, since: u32) {
        let v4 = self.v4.iter_mut().flat_map(|(_, map)| map.values_mut());
        let v6 = self.v6.iter_mut().flat_map(|(_, map)| map.values_mut());
        for held in v4.chain(v6) {
            held.since = since;
        }
    }

    /// What is known of exactly this prefix.
    pub(super) fn exact(&self, prefix: Prefix) -> Option<Held> {
        let prefix = prefix.masked();
        let len = prefix.prefix_len();
        match prefix.address() {
            IpAddr::V4(a) => self
                .v4
                .iter()
                .find(|(l, _)| *l == len)?
                .1
                .get(&a.to_bits())
                .copied(),
            IpAddr::V6(a) => self
                .v6
                .iter()
                .find(|(l, _)| *l == len)?
                .1
                .get(&a.to_bits())
                .copied(),
        }
    }

    /// The longest prefix that holds all of `prefix`.
    pub(super) fn covering(&self, prefix: Prefix) -> Option<TableEntry> {
        let limit = prefix.prefix_len();
        let fits = |len: u8| len <= limit;
        match prefix.address() {
            IpAddr::V4(a) => self
                .v4
                .iter()
                .filter(|(len, _)| fits(*len))
                .find_map(|(len, map)| {
                    let bits = a.to_bits() & mask_v4(*len);
                    entry(IpAddr::V4(bits.into()), *len, map.get(&bits)?.negated)
                }),
            IpAddr::V6(a) => self
                .v6
                .iter()
                .filter(|(len, _)| fits(*len))
                .find_map(|(len, map)| {
                    let bits = a.to_bits() & mask_v6(*len);
                    entry(IpAddr::V6(bits.into()), *len, map.get(&bits)?.negated)
                }),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = TableEntry> {
        self.iter_held().map(|(entry, _)| entry)
    }

    pub(super) fn iter_held(&self) -> impl Iterator<Item = (TableEntry, u32)> {
        let of = |address: IpAddr, len: u8, held: &Held| {
            Some((entry(address, len, held.negated)?, held.since))
        };
        let v4 = self.v4.iter().flat_map(move |(len, map)| {
            map.iter()
                .filter_map(move |(bits, held)| of(IpAddr::V4((*bits).into()), *len, held))
        });
        let v6 = self.v6.iter().flat_map(move |(len, map)| {
            map.iter()
                .filter_map(move |(bits, held)| of(IpAddr::V6((*bits).into()), *len, held))
        });
        v4.chain(v6)
    }
}

fn entry(address: IpAddr, len: u8, negated: bool) -> Option<TableEntry> {
    debug_assert!(len <= Family::of(address).bits());
    Some(TableEntry {
        prefix: Prefix::new(address, len)?,
        negated,
    })
}

/// The map of the prefixes of one length, made if there is none. The list is kept longest first.
fn of_length<K>(maps: &mut Vec<(u8, BTreeMap<K, Held>)>, len: u8) -> &mut BTreeMap<K, Held> {
    let at = maps.partition_point(|(l, _)| *l > len);
    if maps.get(at).is_none_or(|(l, _)| *l != len) {
        maps.insert(at, (len, BTreeMap::new()));
    }
    &mut maps[at].1
}

fn insert_new<K: Ord>(map: &mut BTreeMap<K, Held>, key: K, held: Held) -> bool {
    let before = map.len();
    map.entry(key).or_insert(held);
    map.len() > before
}

fn remove_of_length<K: Ord>(maps: &mut Vec<(u8, BTreeMap<K, Held>)>, len: u8, key: &K) -> bool {
    let Some(at) = maps.iter().position(|(l, _)| *l == len) else {
        return false;
    };
    let found = maps[at].1.remove(key).is_some();
    if maps[at].1.is_empty() {
        maps.remove(at);
    }
    found
}
