//! A bounded map that forgets what was used longest ago.
//!
//! Every operation takes the same time at any size: values lie in slots, a hash map leads from the
//! keyed hash of a value's key to its slot, and the slots are chained in the order of their use.
//! The hash is keyed with a secret, so nobody on the network can make two keys collide; should it
//! happen by chance (one in 2^64), the newcomer takes the other's place.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use siphasher::sip::SipHasher13;

/// No slot.
const NONE: u32 = u32::MAX;

/// What can be kept: it knows by what it is found.
pub(super) trait Keyed {
    type Key: Hash + PartialEq;

    fn key(&self) -> Self::Key;
}

/// What goes when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// What was used longest ago.
    Use,
    /// As p0f has it: when there is one more than the limit, the tenth that came first.
    Arrival,
}

/// At most `limit` values (one more, by [`Order::Arrival`]).
#[derive(Debug)]
pub(super) struct Recent<T> {
    limit: usize,
    order: Order,
    secret: (u64, u64),
    places: HashMap<u64, u32, BuildHasherDefault<AlreadyHashed>>,
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
}

#[derive(Debug)]
struct Slot<T> {
    hash: u64,
    older: u32,
    newer: u32,
    value: Option<T>,
}

impl<T: Keyed> Recent<T> {
    /// An empty one; `secret` keys its hash.
    pub(super) fn new(limit: usize, order: Order, secret: (u64, u64)) -> Self {
        Self {
            limit: limit.clamp(1, usize::try_from(NONE - 1).unwrap_or(usize::MAX)),
            order,
            secret,
            places: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, key: &T::Key) -> Option<&T> {
        let place = *self.places.get(&self.hash(key))?;
        let value = self.slot(place)?.value.as_ref()?;
        (value.key() == *key).then_some(value)
    }

    /// The value, which thereby becomes the newest, unless the order is that of arrival.
    pub(super) fn used(&mut self, key: &T::Key) -> Option<&mut T> {
        let place = *self.places.get(&self.hash(key))?;
        if self.slot(place)?.value.as_ref()?.key() != *key {
            return None;
        }
        if self.order == Order::Use {
            self.unchain(place);
            self.chain(place);
        }
        self.slot_mut(place)?.value.as_mut()
    }

    /// Puts `value` in as the newest, in the place of one with the same key. Tells how many had to
    /// go.
    pub(super) fn insert(&mut self, value: T) -> usize {
        let hash = self.hash(&value.key());
        if let Some(place) = self.places.get(&hash).copied() {
            self.remove(place);
        }
        let len = self.places.len();
        let too_many = match self.order {
            Order::Use => usize::from(len >= self.limit),
            Order::Arrival if len > self.limit => 1 + len / 10,
            Order::Arrival => 0,
        };
        for _ in 0..too_many {
            self.remove(self.oldest);
        }
        let place = self.fill(Slot {
            hash,
            older: NONE,
            newer: NONE,
            value: Some(value),
        });
        self.places.insert(hash, place);
        self.chain(place);
        too_many
    }

    pub(super) fn forget(&mut self, key: &T::Key) {
        if let Some(place) = self.places.get(&self.hash(key)).copied() {
            self.remove(place);
        }
    }

    /// The one that was used longest ago.
    pub(super) fn oldest(&self) -> Option<&T> {
        self.slot(self.oldest)?.value.as_ref()
    }

    pub(super) fn remove_oldest(&mut self) {
        self.remove(self.oldest);
    }

    /// The first value in slot `from` or behind it, and the number of its slot: to go through all
    /// in pieces. What changes meanwhile may be missed or met as it then is.
    pub(super) fn at_or_after(&self, from: usize) -> Option<(usize, &T)> {
        let slots = self.slots.iter().enumerate().skip(from);
        let mut values = slots.filter_map(|(at, slot)| Some((at, slot.value.as_ref()?)));
        values.next()
    }

    /// All values, the one that was used longest ago first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut next = self.oldest;
        std::iter::from_fn(move || {
            let slot = self.slot(next)?;
            next = slot.newer;
            slot.value.as_ref()
        })
    }

    fn hash(&self, key: &T::Key) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        key.hash(&mut hasher);
        hasher.finish()
    }

    fn slot(&self, place: u32) -> Option<&Slot<T>> {
        self.slots.get(usize::try_from(place).ok()?)
    }

    fn slot_mut(&mut self, place: u32) -> Option<&mut Slot<T>> {
        self.slots.get_mut(usize::try_from(place).ok()?)
    }

    fn fill(&mut self, slot: Slot<T>) -> u32 {
        if let Some(place) = self.free.pop() {
            if let Some(empty) = self.slot_mut(place) {
                *empty = slot;
            }
            return place;
        }
        self.slots.push(slot);
        u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
    }

    fn remove(&mut self, place: u32) {
        self.unchain(place);
        let Some(slot) = self.slot_mut(place) else {
            return;
        };
        slot.value = None;
        let hash = slot.hash;
        self.places.remove(&hash);
        self.free.push(place);
    }

    /// Makes it the newest.
    fn chain(&mut self, place: u32) {
        let before = self.newest;
        if let Some(slot) = self.slot_mut(place) {
            slot.older = before;
            slot.newer = NONE;
        }
        match self.slot_mut(before) {
            Some(slot) => slot.newer = place,
            None => self.oldest = place,
        }
        self.newest = place;
    }

    fn unchain(&mut self, place: u32) {
        let Some(slot) = self.slot(place) else {
            return;
        };
        let (older, newer) = (slot.older, slot.newer);
        match self.slot_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slot_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }
}

/// Hands a number through that is a hash already.
#[derive(Clone, Copy, Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Item(u8, u32);

    impl Keyed for Item {
        type Key = u8;

        fn key(&self) -> u8 {
            self.0
        }
    }

    /// Newest last.
    #[derive(Debug, Default)]
    struct Model(Vec<Item>);

    impl Model {
        fn insert(&mut self, item: Item, limit: usize) -> usize {
            self.0.retain(|known| known.0 != item.0);
            let full = self.0.len() >= limit;
            if full {
                self.0.remove(0);
            }
            self.0.push(item);
            usize::from(full)
        }

        fn used(&mut self, key: u8) -> Option<Item> {
            let at = self.0.iter().position(|known| known.0 == key)?;
            let item = self.0.remove(at);
            self.0.push(item);
            Some(item)
        }
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_list_that_is_searched(
            steps in prop::collection::vec((0_u8..4, 0_u8..12, any::<u32>()), 0..300),
        ) {
            let (mut recent, mut model) = (Recent::new(6, Order::Use, (1, 2)), Model::default());
            for (step, key, value) in steps {
                match step {
                    0 | 1 => prop_assert_eq!(
                        recent.insert(Item(key, value)),
                        model.insert(Item(key, value), 6)
                    ),
                    2 => prop_assert_eq!(recent.used(&key).copied(), model.used(key)),
                    _ => {
                        recent.remove_oldest();
                        if !model.0.is_empty() {
                            model.0.remove(0);
                        }
                    }
                }
                prop_assert_eq!(recent.len(), model.0.len());
                prop_assert_eq!(recent.oldest(), model.0.first());
                for key in 0..12 {
                    let known = model.0.iter().find(|known| known.0 == key);
                    prop_assert_eq!(recent.get(&key), known);
                }
            }
        }
    }

    #[test]
    fn by_arrival_a_tenth_goes_and_use_does_not_count() {
        let mut recent = Recent::new(10, Order::Arrival, (1, 2));
        for key in 0..11 {
            assert_eq!(recent.insert(Item(key, 0)), 0);
        }
        assert!(recent.used(&0).is_some());
        assert_eq!(recent.insert(Item(11, 0)), 2);
        assert_eq!(recent.oldest(), Some(&Item(2, 0)));
        recent.forget(&2);
        assert_eq!((recent.len(), recent.oldest()), (9, Some(&Item(3, 0))));
    }

    #[test]
    fn going_through_the_slots_meets_every_value_once() {
        let mut recent = Recent::new(4, Order::Use, (1, 2));
        for key in 0..6 {
            recent.insert(Item(key, 0));
        }
        let (mut at, mut met) = (0, Vec::new());
        while let Some((slot, item)) = recent.at_or_after(at) {
            met.push(item.0);
            at = slot + 1;
        }
        met.sort_unstable();
        assert_eq!(met, [2, 3, 4, 5]);
    }
}
