//! Numbers of slots by a hash of what is in them.
//!
//! What is hashed is not kept here: a look-up asks the slot. So an entry is 9 bytes instead of 50, and
//! growing hashes nothing. It grows in parts: no insertion moves more than one of them.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

/// Parts, chosen by the highest bits of a hash. Of a million entries one has 16,384, which are moved in some 0.2 ms.
const PARTS: usize = 1 << 6;
/// The bits of a hash below those.
const REST_BITS: u32 = u32::BITS - PARTS.ilog2();

/// SipHash-1-3 with the engine's key: packets choose what is hashed.
#[derive(Clone, Copy, Debug)]
struct Keyed([u64; 2]);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        let [a, b] = self.0;
        SipHasher13::new_with_keys(a, b)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    slot: u32,
}

/// Slots, each by a hash. There may be several of one hash.
#[derive(Debug)]
pub(super) struct Index {
    keyed: Keyed,
    parts: Vec<HashTable<Entry>>,
}

impl Index {
    pub(super) fn new(hash_key: [u64; 2]) -> Self {
        Self {
            keyed: Keyed(hash_key),
            parts: vec![HashTable::new(); PARTS],
        }
    }

    /// By what a slot is found that `key` is in.
    pub(super) fn hash(&self, key: &impl Hash) -> u32 {
        let hash = self.keyed.hash_one(key).wrapping_shr(u32::BITS);
        u32::try_from(hash).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.parts.iter().all(HashTable::is_empty)
    }

    fn part(&self, hash: u32) -> Option<&HashTable<Entry>> {
        self.parts.get(part_of(hash))
    }

    fn part_mut(&mut self, hash: u32) -> Option<&mut HashTable<Entry>> {
        self.parts.get_mut(part_of(hash))
    }

    /// The slot with this hash that is the wanted one.
    pub(super) fn find(&self, hash: u32, is_wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let is_wanted = |entry: &Entry| entry.hash == hash && is_wanted(entry.slot);
        let found = self.part(hash)?.find(spread(hash), is_wanted)?;
        Some(found.slot)
    }

    pub(super) fn insert(&mut self, hash: u32, slot: u32) {
        if let Some(part) = self.part_mut(hash) {
            part.insert_unique(spread(hash), Entry { hash, slot }, |entry| {
                spread(entry.hash)
            });
        }
    }

    /// Another slot, or none, takes the place of `slot`.
    pub(super) fn replace(&mut self, hash: u32, slot: u32, by: Option<u32>) {
        let Some(part) = self.part_mut(hash) else {
            return;
        };
        let found = part.find_entry(spread(hash), |entry| entry.slot == slot);
        let Ok(mut found) = found else {
            return;
        };
        if let Some(by) = by {
            found.get_mut().slot = by;
        } else {
            found.remove();
        }
    }
}

const fn part_of(hash: u32) -> usize {
    hash.wrapping_shr(REST_BITS) as usize
}

/// The table takes its place from the lowest bits and a mark from the highest seven: both are of all bits
/// but for those of the part.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_one_hash_are_told_apart_and_stay_while_others_come_and_go() {
        let mut index = Index::new([1, 2]);
        for slot in 0..10_000 {
            index.insert(slot % 100, slot);
        }
        for slot in (0..10_000).filter(|slot| slot % 3 == 0) {
            index.replace(slot % 100, slot, None);
        }
        index.replace(1, 1, Some(20_001));
        for slot in 2..10_000 {
            let found = index.find(slot % 100, |other| other == slot);
            assert_eq!(found.is_some(), slot % 3 != 0, "{slot}");
        }
        assert_eq!(index.find(1, |_| false), None);
        assert_eq!(index.find(1, |slot| slot > 10_000), Some(20_001));
    }
}
