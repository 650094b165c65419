//! The addresses of a table, by the length of their prefixes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Bound;

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
    /// Seconds from the origin to when the counters of all were zeroed.
    marked: u32,
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

    /// Notes a moment for all prefixes.
    pub(super) fn mark_all(&mut self, since: u32) {
        self.marked = since;
    }

    /// What is known of exactly this prefix.
    pub(super) fn exact(&self, prefix: Prefix) -> Option<Held> {
        let prefix = prefix.masked();
        let len = prefix.prefix_len();
        let held = match prefix.address() {
            IpAddr::V4(a) => {
                let map = self.v4.iter().find(|(l, _)| *l == len);
                map?.1.get(&a.to_bits())?
            }
            IpAddr::V6(a) => {
                let map = self.v6.iter().find(|(l, _)| *l == len);
                map?.1.get(&a.to_bits())?
            }
        };
        Some(Held {
            since: self.marked.max(held.since),
            ..*held
        })
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
        let v4 = self.v4.iter().flat_map(|(len, map)| {
            map.iter()
                .filter_map(|(bits, held)| entry(IpAddr::V4((*bits).into()), *len, held.negated))
        });
        let v6 = self.v6.iter().flat_map(|(len, map)| {
            map.iter()
                .filter_map(|(bits, held)| entry(IpAddr::V6((*bits).into()), *len, held.negated))
        });
        v4.chain(v6)
    }

    /// At most `max` entries after `after`, in the order of addresses, then of lengths, each with
    /// the moment that was noted for it.
    pub(super) fn page(&self, after: Option<Prefix>, max: usize) -> Vec<(TableEntry, u32)> {
        let (v4, v6) = match after.map(|prefix| (prefix.address(), prefix.prefix_len())) {
            None => (Some(None), None),
            Some((IpAddr::V4(address), len)) => (Some(Some((address.to_bits(), len))), None),
            Some((IpAddr::V6(address), len)) => (None, Some((address.to_bits(), len))),
        };
        let mut page = Vec::new();
        if let Some(after) = v4 {
            merge(&self.v4, after, max, &mut page, |bits| {
                IpAddr::V4(bits.into())
            });
        }
        merge(&self.v6, v6, max, &mut page, |bits| IpAddr::V6(bits.into()));
        for (_, since) in &mut page {
            *since = self.marked.max(*since);
        }
        page
    }
}

/// Fills `page` up to `max` with what comes after `after`, from maps of different lengths.
fn merge<K: Ord + Copy>(
    maps: &[(u8, BTreeMap<K, Held>)],
    after: Option<(K, u8)>,
    max: usize,
    page: &mut Vec<(TableEntry, u32)>,
    address: impl Fn(K) -> IpAddr,
) {
    let mut sources: Vec<_> = maps
        .iter()
        .map(|(len, map)| {
            let start = match after {
                None => Bound::Unbounded,
                Some((bits, past)) if *len > past => Bound::Included(bits),
                Some((bits, _)) => Bound::Excluded(bits),
            };
            (*len, map.range((start, Bound::Unbounded)).peekable())
        })
        .collect();
    while page.len() < max {
        let first = sources
            .iter_mut()
            .filter_map(|(len, source)| Some((*source.peek()?.0, *len, source)))
            .min_by_key(|(bits, len, _)| (*bits, *len));
        let Some((_, len, source)) = first else {
            return;
        };
        let next = source.next();
        page.extend(next.and_then(|(bits, held)| {
            Some((entry(address(*bits), len, held.negated)?, held.since))
        }));
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
