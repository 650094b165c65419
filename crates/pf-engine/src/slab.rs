//! Numbered slots: values keep their number until they are removed.

/// Bytes of a chunk at most: with what an allocator adds it is a huge page of the machine.
const CHUNK_BYTES: usize = (2 << 20) - 64;

/// Values in numbered slots; free slots are used again, the last one first, which is still in the CPU's cache.
///
/// They are in chunks: nothing is moved when there are more.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    /// Slots that were used once.
    slots: usize,
    free: Vec<u32>,
    /// Memory for the next chunks.
    spare: Vec<Chunk<T>>,
}

/// Memory for some slots that nothing is in.
#[derive(Debug)]
pub(crate) struct Chunk<T>(Vec<Option<T>>);

impl<T> Chunk<T> {
    /// All of it is in the machine's memory when this returns. `advise` is told where it will be and how many bytes
    /// it has.
    pub(crate) fn new(advise: impl FnOnce(usize, usize)) -> Self {
        let mut chunk: Vec<Option<T>> = Vec::with_capacity(Slab::<T>::CHUNK);
        advise(chunk.as_ptr().addr(), CHUNK_BYTES);
        chunk.resize_with(Slab::<T>::CHUNK, || None);
        // It has been written to: now it is as good as new.
        chunk.clear();
        Self(chunk)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            slots: 0,
            free: Vec::new(),
            spare: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Slots of a chunk.
    const CHUNK: usize = CHUNK_BYTES / size_of::<Option<T>>();

    /// Puts `value` into a free slot and returns its number; nothing when all 2^32 are taken.
    pub(crate) fn insert(&mut self, value: T) -> Option<u32> {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.place_mut(slot)
        {
            *place = Some(value);
            return Some(slot);
        }
        let slot = u32::try_from(self.slots).ok()?;
        if self.slots.is_multiple_of(Self::CHUNK) {
            let chunk = self.next_chunk();
            self.chunks.push(chunk);
        }
        self.chunks.last_mut()?.push(Some(value));
        self.slots = self.slots.saturating_add(1);
        Some(slot)
    }

    /// The first grows with what is in it: most slabs have few values.
    fn next_chunk(&mut self) -> Vec<Option<T>> {
        match self.spare.pop() {
            Some(Chunk(chunk)) => chunk,
            None if self.chunks.is_empty() => Vec::new(),
            None => Vec::with_capacity(Self::CHUNK),
        }
    }

    /// Whether less than half a chunk is left, and there is no memory for the next one.
    pub(crate) fn wants_spare(&self) -> bool {
        let room = self.chunks.len().saturating_mul(Self::CHUNK);
        self.spare.is_empty() && room.saturating_sub(self.len()) <= Self::CHUNK / 2
    }

    pub(crate) fn add_spare(&mut self, chunk: Chunk<T>) {
        self.spare.push(chunk);
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut Option<T>> {
        let slot = slot as usize;
        let chunk = self.chunks.get_mut(slot / Self::CHUNK)?;
        chunk.get_mut(slot % Self::CHUNK)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        let slot = slot as usize;
        let chunk = self.chunks.get(slot / Self::CHUNK)?;
        chunk.get(slot % Self::CHUNK)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.place_mut(slot)?.as_mut()
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.place_mut(slot)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.slots.saturating_sub(self.free.len())
    }

    /// Number of slots, used and free: the bound of a sweep.
    pub(crate) const fn slots(&self) -> usize {
        self.slots
    }

    /// The values with their numbers, in the order of the numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..)
            .zip(self.chunks.iter().flatten())
            .filter_map(|(slot, value)| Some((slot, value.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        (0u32..)
            .zip(self.chunks.iter_mut().flatten())
            .filter_map(|(slot, value)| Some((slot, value.as_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_slot_is_used_again_and_the_others_keep_their_numbers() {
        let mut slab = Slab::default();
        let a = slab.insert("a").unwrap();
        let b = slab.insert("b").unwrap();
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.len(), 1);
        assert_eq!(slab.insert("c"), Some(a));
        assert_eq!(slab.get(b), Some(&"b"));
        assert_eq!(slab.slots(), 2);
    }

    #[test]
    fn values_stay_where_they_are_when_there_are_chunks_of_them() {
        let mut slab = Slab::default();
        let chunk = Slab::<[u64; 512]>::CHUNK;
        for value in 0..chunk as u64 * 3 {
            // Whoever asks late finds a chunk all the same.
            if value % 100 == 0 && slab.wants_spare() {
                slab.add_spare(Chunk::new(|at, bytes| {
                    assert!(at > 0 && bytes <= CHUNK_BYTES);
                }));
            }
            slab.insert([value; 512]).unwrap();
        }
        let first: *const _ = slab.get(0).unwrap();
        slab.insert([7; 512]).unwrap();
        assert!(std::ptr::eq(first, slab.get(0).unwrap()));
        let all: Vec<u64> = slab.iter().map(|(_, value)| value[0]).collect();
        assert!(all.into_iter().take(chunk * 3).eq(0..chunk as u64 * 3));
        assert_eq!(slab.slots(), chunk * 3 + 1);
    }
}
