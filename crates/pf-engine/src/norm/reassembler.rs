//! The fragment cache.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::datagram::{Added, Datagram, Piece};
use crate::addr::{Family, Protocol};
use crate::decision::{DropReason, Hook};
use crate::time::Instant;
use crate::wire::Meta;

/// Bytes of fragments that are held at most, whatever `set limit frags` says: 5000 fragments,
/// PF's default, of a 1500-byte link, twice over.
pub const MAX_HELD_BYTES: usize = 16 * 1024 * 1024;

/// Settings that a reload may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassemblyOptions {
    /// `set limit frags`: fragments held at most. The oldest datagrams make room for new ones.
    pub limit: u32,
    /// `set timeout frag`: how long a datagram waits for its pieces, from the first on.
    pub timeout: Duration,
    /// `set reassemble yes no-df`: fragments with "don't fragment" set are taken and the bit is
    /// cleared. Otherwise they are dropped, as PF does.
    pub no_df: bool,
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// It was the last that was missing.
    Complete(Reassembled),
    /// It waits for others.
    Held,
    /// It is dropped, perhaps with all that is there of its datagram.
    Dropped(DropReason),
}

/// A datagram put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reassembled {
    /// The whole packet: no fragment header or fragment fields, length and IPv4 header checksum
    /// right. It has to be parsed anew.
    pub bytes: Vec<u8>,
    /// Length of the largest fragment seen, IP header included: what it may be cut to again.
    pub largest: usize,
    /// Identification of the fragments: what they get when it is cut again.
    pub id: u32,
    /// Whether a fragment had IPv4's "don't fragment" set; the packet has not.
    pub dont_fragment: bool,
}

/// What the cache has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReassemblyCounters {
    /// Datagrams put together.
    pub reassembled: u64,
    /// Fragments that waited in vain.
    pub expired: u64,
    /// Fragments that made room for others because of `set limit frags`.
    pub evicted: u64,
    /// Fragments that made room for others because of [`MAX_HELD_BYTES`].
    pub evicted_for_bytes: u64,
    /// Fragments held that were dropped because a later one was no good.
    pub discarded: u64,
}

/// Checks a fragment that is not put together with others, as PF does: `fragment` with "don't
/// fragment" unless that is cleared (`no_df`), or with a length that is no multiple of 8;
/// `bad-offset` beyond the largest datagram. `meta` is the parsed `packet`, for which
/// [`Meta::is_fragment`].
///
/// # Errors
/// Why it is dropped.
pub fn check_fragment(packet: &[u8], meta: &Meta, no_df: bool) -> Result<(), DropReason> {
    let piece = Piece::new(packet, meta)?;
    if piece.dont_fragment && !no_df {
        return Err(DropReason::Fragment);
    }
    Ok(())
}

/// What tells datagrams apart (RFC 791, section 3.2; RFC 8200, section 4.5), and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    hook: Hook,
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    /// Only IPv4 looks at it.
    protocol: Option<Protocol>,
}

/// The fragment cache. Datagrams of different hooks do not meet.
///
/// When it is full the datagrams that began first go, until nine tenths are left, as in PF.
#[derive(Debug, Default)]
pub struct Reassembler {
    datagrams: BTreeMap<Key, Datagram>,
    /// Datagrams in the order they began.
    ages: BTreeMap<u64, Key>,
    serial: u64,
    fragments: usize,
    bytes: usize,
    most_bytes: usize,
    counters: ReassemblyCounters,
}

impl Reassembler {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a fragment. `meta` is the parsed `packet`, for which [`Meta::is_fragment`].
    pub fn handle_fragment(
        &mut self,
        now: Instant,
        hook: Hook,
        packet: &[u8],
        meta: &Meta,
        options: &ReassemblyOptions,
    ) -> Outcome {
        self.handle_timeout(now, options);
        let piece = match Piece::new(packet, meta) {
            Ok(piece) if piece.dont_fragment && !options.no_df => {
                return Outcome::Dropped(DropReason::Fragment);
            }
            Ok(piece) => piece,
            Err(reason) => return Outcome::Dropped(reason),
        };
        if !self.make_room(options, meta.total_len) {
            return Outcome::Dropped(DropReason::Memory);
        }
        let key = Key::new(hook, meta);
        let outcome = self.insert(now, key, &piece);
        self.most_bytes = self.most_bytes.max(self.bytes);
        outcome
    }

    /// Drops the datagrams that have waited too long.
    pub fn handle_timeout(&mut self, now: Instant, options: &ReassemblyOptions) {
        while let Some(key) = self.oldest() {
            let due = self
                .datagrams
                .get(&key)
                .is_none_or(|d| now.saturating_since(d.created) >= options.timeout);
            if !due {
                return;
            }
            let fragments = self.remove(key).map_or(0, |d| d.fragments);
            self.counters.expired = add(self.counters.expired, fragments);
        }
    }

    /// When [`Reassembler::handle_timeout`] has something to do next.
    #[must_use]
    pub fn poll_timeout(&self, options: &ReassemblyOptions) -> Option<Instant> {
        let oldest = self.datagrams.get(&self.oldest()?)?;
        Some(oldest.created.saturating_add(options.timeout))
    }

    /// Fragments held.
    #[must_use]
    pub const fn fragments(&self) -> usize {
        self.fragments
    }

    /// Bytes held.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most bytes that were ever held.
    #[must_use]
    pub const fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// What the cache has seen.
    #[must_use]
    pub const fn counters(&self) -> &ReassemblyCounters {
        &self.counters
    }

    fn insert(&mut self, now: Instant, key: Key, piece: &Piece<'_>) -> Outcome {
        let serial = self.serial;
        let datagram = self.datagrams.entry(key).or_insert_with(|| {
            self.ages.insert(serial, key);
            self.serial = serial.wrapping_add(1);
            Datagram::new(now, serial, Family::of(key.source))
        });
        let bytes_before = datagram.bytes;
        match datagram.add(piece) {
            Added::Refused => Outcome::Dropped(DropReason::Fragment),
            Added::Fatal => self.drop_datagram(key),
            Added::Kept => {
                let more = datagram.bytes.saturating_sub(bytes_before);
                let complete = datagram.is_complete();
                self.fragments = self.fragments.saturating_add(1);
                self.bytes = self.bytes.saturating_add(more);
                if complete {
                    self.complete(key)
                } else {
                    Outcome::Held
                }
            }
        }
    }

    fn complete(&mut self, key: Key) -> Outcome {
        let Some(datagram) = self.remove(key) else {
            return Outcome::Dropped(DropReason::Fragment);
        };
        let (largest, dont_fragment) = (datagram.largest(), datagram.dont_fragment());
        match datagram.assemble() {
            Err(reason) => Outcome::Dropped(reason),
            Ok(bytes) => {
                self.counters.reassembled = add(self.counters.reassembled, 1);
                Outcome::Complete(Reassembled {
                    bytes,
                    largest,
                    id: key.id,
                    dont_fragment,
                })
            }
        }
    }

    /// IPv6 remembers the datagram and drops what still comes of it (RFC 5722). IPv4 does not:
    /// its identifications come round too soon.
    fn drop_datagram(&mut self, key: Key) -> Outcome {
        if let Some(mut datagram) = self.remove(key) {
            self.counters.discarded = add(self.counters.discarded, datagram.fragments);
            if Family::of(key.source) == Family::Inet6 {
                datagram.discard();
                self.fragments = self.fragments.saturating_add(datagram.fragments);
                self.ages.insert(datagram.serial, key);
                self.datagrams.insert(key, datagram);
            }
        }
        Outcome::Dropped(DropReason::Fragment)
    }

    /// Makes room for one fragment of `len` bytes; false if there can be none.
    fn make_room(&mut self, options: &ReassemblyOptions, len: usize) -> bool {
        let limit = usize::try_from(options.limit).unwrap_or(usize::MAX);
        if self.fragments < limit && self.bytes.saturating_add(len) <= MAX_HELD_BYTES {
            return true;
        }
        let many = self.fragments >= limit;
        let fragments_left = (limit / 10).saturating_mul(9);
        let bytes_left = (MAX_HELD_BYTES / 10).saturating_mul(9);
        while self.fragments > fragments_left || self.bytes > bytes_left {
            let Some(datagram) = self.oldest().and_then(|key| self.remove(key)) else {
                break;
            };
            let counter = if many {
                &mut self.counters.evicted
            } else {
                &mut self.counters.evicted_for_bytes
            };
            *counter = add(*counter, datagram.fragments);
        }
        self.fragments < limit
    }

    fn oldest(&self) -> Option<Key> {
        self.ages.first_key_value().map(|(_, key)| *key)
    }

    fn remove(&mut self, key: Key) -> Option<Datagram> {
        let datagram = self.datagrams.remove(&key)?;
        self.ages.remove(&datagram.serial);
        self.fragments = self.fragments.saturating_sub(datagram.fragments);
        self.bytes = self.bytes.saturating_sub(datagram.bytes);
        Some(datagram)
    }
}

impl Key {
    fn new(hook: Hook, meta: &Meta) -> Self {
        Self {
            hook,
            source: meta.source,
            destination: meta.destination,
            id: meta.fragment.map_or(0, |f| f.id),
            protocol: (meta.family == Family::Inet).then_some(meta.protocol),
        }
    }
}

fn add(counter: u64, step: usize) -> u64 {
    counter.wrapping_add(u64::try_from(step).unwrap_or_default())
}
