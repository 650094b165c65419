//! Random numbers that nobody on the network can predict.

use std::hash::{BuildHasher, RandomState};
use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// Random bytes that are fetched from the kernel at a time.
const BLOCK_BYTES: usize = 1024;
const WORD_BYTES: usize = size_of::<u32>();

/// Random numbers from the kernel, a block at a time.
#[derive(Debug)]
pub(crate) struct Random {
    block: [u8; BLOCK_BYTES],
    used: usize,
    fallback: RandomState,
    fallback_count: u64,
}

impl Random {
    /// Fetches the first block.
    ///
    /// # Errors
    /// When the kernel has none.
    pub(crate) fn new() -> io::Result<Self> {
        let mut random = Self {
            block: [0; BLOCK_BYTES],
            used: 0,
            fallback: RandomState::new(),
            fallback_count: 0,
        };
        random.refill()?;
        Ok(random)
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u32 {
        if self.used + WORD_BYTES > BLOCK_BYTES && self.refill().is_err() {
            return self.keyed_count();
        }
        let mut word = [0; WORD_BYTES];
        word.copy_from_slice(&self.block[self.used..self.used + WORD_BYTES]);
        self.used += WORD_BYTES;
        u32::from_ne_bytes(word)
    }

    /// A number for what is seeded once.
    pub(crate) fn seed(&mut self) -> u64 {
        (u64::from(self.next()) << 32) | u64::from(self.next())
    }

    fn refill(&mut self) -> io::Result<()> {
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            match getrandom(&mut self.block[filled..], GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.used = 0;
        Ok(())
    }

    /// A keyed hash of a counter. Linux does not fail once it has given a block; should it do so
    /// all the same, packets still get numbers that nobody can predict.
    fn keyed_count(&mut self) -> u32 {
        self.fallback_count = self.fallback_count.wrapping_add(1);
        let [a, b, c, d, ..] = self.fallback.hash_one(self.fallback_count).to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_go_on_past_a_block_and_do_not_repeat_in_a_row() {
        let mut random = Random::new().expect("the kernel has some");
        let drawn: Vec<u32> = (0..1000).map(|_| random.next()).collect();
        let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
        assert!(distinct.len() > 990, "{}", distinct.len());
        assert_ne!(random.keyed_count(), random.keyed_count());
    }
}
