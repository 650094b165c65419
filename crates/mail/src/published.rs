//! What is known, as a file in shared memory: who may read it needs no round trip to ask.
//!
//! ```text
//! 4096 bytes           header: form, number of pages, secret, heartbeat
//! 1024 x 256 bytes     texts: the names that slots refer to by number, from 1
//! pages x 4096 bytes   64 slots each, of connections and addresses
//! ```
//!
//! All numbers are little-endian. A connection is in the page that the keyed hash of its client's
//! end names, an address in that of its own hash; a full page loses what was seen longest ago. So
//! both sides do the same little work at any size, and the file never grows.
//!
//! Header, texts and slots begin with a checksum of the rest, which plays the part of a seqlock:
//! it holds however the copies of writer and reader overlap, and whatever stands in the file. A
//! reader that meets a wrong one reads again, [`ATTEMPTS`] times at most: nobody waits for
//! anybody.

mod publisher;
mod slot;
mod texts;

#[cfg(test)]
mod tests;

use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use siphasher::sip::SipHasher13;

pub use self::publisher::{Counts, Publisher, Write};
pub use self::slot::{SLOT_LEN, SLOTS};
pub use self::texts::{TEXT_LEN, TEXTS};

use self::slot::{Kind, Slot, is_of};
use crate::answer::{Answer, Basis, Confidence, Label, Os};
use crate::connection::Peer;
use crate::store::{CONNECTION_AGE, HOST_AGE};
use crate::time::Timestamp;

/// Bytes of a page, and of what stands before the texts.
pub const PAGE_LEN: usize = 4096;
/// Bytes of the header that mean something.
pub const HEADER_LEN: usize = 64;
/// Entries, connections and addresses together, that a file has room for unless a setting says
/// otherwise: 16 MiB.
pub const ENTRIES: usize = 100_000;
/// Entries that it may have room for: a connection and an address for each that the store keeps.
pub const ENTRIES_MAX: usize = 2 * crate::store::KEPT_MAX;
/// How often the header's heartbeat is written anew.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// After so long without one whoever wrote the file is dead or hangs.
pub const STALE: Duration = Duration::from_secs(5);
/// How often a page is read at most for one answer.
pub const ATTEMPTS: usize = 8;

const MAGIC: [u8; 8] = *b"WBOSTAB\0";
/// Version of all that is described here.
const VERSION: u32 = 1;
/// Entries of a page when the file is as full as it was made for. By chance a page has more than
/// its 64 slots once in ten thousand then.
const ENTRIES_PER_PAGE: usize = 40;
const PAGES_MAX: u64 = (ENTRIES_MAX / ENTRIES_PER_PAGE).next_power_of_two() as u64;
const CHECKSUM_LEN: usize = 8;

/// The beginning of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// A power of two.
    pages: u64,
    /// Random, another one for each start of the writer.
    generation: u64,
    /// Keys the hashes: it keeps the network from filling a page of its choice.
    secret: (u64, u64),
    /// When the writer was alive last; 0 when it has ended.
    heartbeat: Timestamp,
}

/// Why a file is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Too short, of another kind, or being written.
    #[error("is no table of weighbridge watch")]
    Foreign,
    /// Of another version.
    #[error("has form {0}, only {VERSION} is read")]
    Version(u32),
}

impl Header {
    /// Of a new file with room for `entries`, at most [`ENTRIES_MAX`].
    #[must_use]
    pub fn new(entries: usize, generation: u64, secret: (u64, u64)) -> Self {
        let pages = entries.clamp(1, ENTRIES_MAX).div_ceil(ENTRIES_PER_PAGE);
        Self {
            pages: u64::try_from(pages.next_power_of_two()).unwrap_or(PAGES_MAX),
            generation,
            secret,
            heartbeat: Timestamp::default(),
        }
    }

    /// The same with another heartbeat.
    #[must_use]
    pub const fn beaten(self, heartbeat: Timestamp) -> Self {
        Self { heartbeat, ..self }
    }

    /// Which start of the writer made the file.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether somebody writes the file at `now`.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        let ended = self.heartbeat == Timestamp::default();
        !ended && now.saturating_since(self.heartbeat) <= STALE
    }

    /// Length of the whole file, in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        page_offset(self.pages)
    }

    /// As it stands in the file.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let mut fields = Fields::<HEADER_LEN>::new();
        fields.put(&MAGIC);
        fields.put(&VERSION.to_le_bytes());
        fields.put(&[0; 4]);
        for number in [
            self.pages,
            self.generation,
            self.secret.0,
            self.secret.1,
            self.heartbeat.as_micros(),
        ] {
            fields.put(&number.to_le_bytes());
        }
        fields.sealed()
    }

    /// Reads it from the beginning of a file.
    ///
    /// # Errors
    /// Why the rest of the file is not to be looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        let bytes = bytes.first_chunk().ok_or(Unreadable::Foreign)?;
        let mut rest = unsealed::<HEADER_LEN>(bytes).ok_or(Unreadable::Foreign)?;
        if take(&mut rest) != Some(MAGIC) {
            return Err(Unreadable::Foreign);
        }
        let version = take(&mut rest).map_or(0, u32::from_le_bytes);
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let _: Option<[u8; 4]> = take(&mut rest);
        let mut number = || {
            take(&mut rest)
                .map(u64::from_le_bytes)
                .ok_or(Unreadable::Foreign)
        };
        let header = Self {
            pages: number()?,
            generation: number()?,
            secret: (number()?, number()?),
            heartbeat: Timestamp::from_micros(number()?),
        };
        if header.pages.is_power_of_two() && header.pages <= PAGES_MAX {
            Ok(header)
        } else {
            Err(Unreadable::Foreign)
        }
    }

    /// Where the page of connections from `client` is, in bytes from the beginning.
    fn page_of_client(&self, client: SocketAddr) -> u64 {
        self.page(Kind::Connection, client.ip(), client.port())
    }

    fn page_of_address(&self, address: IpAddr) -> u64 {
        self.page(Kind::Address, address, 0)
    }

    fn page(&self, kind: Kind, address: IpAddr, port: u16) -> u64 {
        let hash = self.hash(kind, &[SocketAddr::new(address, port)]);
        page_offset(hash & (self.pages - 1))
    }

    fn hash(&self, kind: Kind, ends: &[SocketAddr]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.secret.0, self.secret.1);
        hasher.write(&[kind.code()]);
        for end in ends {
            hasher.write(&wide(end.ip()));
            hasher.write(&end.port().to_le_bytes());
        }
        hasher.finish()
    }
}

/// Bytes before the page `number`.
fn page_offset(number: u64) -> u64 {
    let (page, text) = (PAGE_LEN as u64, TEXT_LEN as u64);
    number
        .saturating_add(1)
        .saturating_mul(page)
        .saturating_add(text * TEXTS as u64)
}

/// Where pieces of the file come from.
pub trait Source {
    /// Reads `piece.len()` bytes that begin at `offset`; false when there are not so many.
    fn read(&mut self, offset: u64, piece: &mut [u8]) -> bool;
}

/// What the file of `header` knows of `peer`, by its connection if that was seen, else by its
/// address: the same that [`crate::store::Store`] answers, but for what the file does not hold
/// (round trip, SYNs, MSS, window, raw signature, changes of host).
pub fn look_up(
    header: &Header,
    source: &mut impl Source,
    peer: &Peer,
    now: Timestamp,
) -> Option<Answer> {
    let page = header.page_of_address(peer.address);
    let key = (Kind::Address, peer.address);
    let host = newest(page, source, key, |slot| slot.age(now) <= HOST_AGE);
    let client = peer.port.map(|port| SocketAddr::new(peer.address, port));
    let connection = client.and_then(|client| of_client(header, source, client, peer.server, now));
    let slot = connection.as_ref().or(host.as_ref())?;
    let basis = match connection {
        Some(_) => Basis::Connection,
        None => Basis::Address,
    };
    answer(basis, slot, host.as_ref(), source)
}

/// The newest of the connections that are meant. Behind rdr or a proxy the server knows another
/// address of itself.
fn of_client(
    header: &Header,
    source: &mut impl Source,
    client: SocketAddr,
    server: Option<SocketAddr>,
    now: Timestamp,
) -> Option<Slot> {
    let page = header.page_of_client(client);
    let fits = |slot: &Slot| slot.is_of_client(client) && slot.age(now) <= CONNECTION_AGE;
    let key = (Kind::Connection, client.ip());
    let exact = server.and_then(|server| {
        newest(page, source, key, |slot| {
            fits(slot) && slot.is_to_server(server)
        })
    });
    exact.or_else(|| newest(page, source, key, fits))
}

/// The newest slot of a page that is of this kind and address, and fits.
fn newest(
    offset: u64,
    source: &mut impl Source,
    (kind, address): (Kind, IpAddr),
    fits: impl Fn(&Slot) -> bool,
) -> Option<Slot> {
    let address = wide(address);
    let mut page = [0; PAGE_LEN];
    for _ in 0..ATTEMPTS {
        if !source.read(offset, &mut page) {
            return None;
        }
        let mut torn = false;
        let mut best: Option<Slot> = None;
        let (slots, _) = page.as_chunks::<SLOT_LEN>();
        for bytes in slots.iter().filter(|slot| is_of(slot, kind, &address)) {
            let Some(slot) = Slot::unchecked(bytes).filter(|slot| fits(slot)) else {
                continue;
            };
            if unsealed(bytes).is_none() {
                torn = true;
            } else if best.as_ref().is_none_or(|best| slot.order() > best.order()) {
                best = Some(slot);
            }
        }
        if !torn {
            return best;
        }
    }
    None
}

fn answer(
    basis: Basis,
    slot: &Slot,
    host: Option<&Slot>,
    source: &mut impl Source,
) -> Option<Answer> {
    let os = match slot.confidence() {
        Some(confidence) => Some(os(slot, confidence, texts::read(slot.label, source)?)),
        None => None,
    };
    let link = match slot.link {
        0 => None,
        link => Some(texts::read(link, source)?.name),
    };
    let host = host.unwrap_or(slot);
    Some(Answer {
        basis,
        os,
        distance: slot.distance(),
        link,
        mtu: (slot.mtu != 0).then_some(slot.mtu),
        uptime: host.uptime(),
        first_seen: host.first_seen(),
        last_seen: host.last_seen(),
        connections: host.connections(),
        ..Answer::nothing(basis)
    })
}

fn os(slot: &Slot, confidence: Confidence, label: Label) -> Os {
    Os {
        label,
        confidence,
        fuzzy: slot.fuzzy,
        generic: slot.generic,
    }
}

/// Sixteen bytes for either family; IPv4 is mapped.
fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn narrow(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// Fields one behind the other, behind room for a checksum.
struct Fields<const LEN: usize> {
    bytes: [u8; LEN],
    at: usize,
}

impl<const LEN: usize> Fields<LEN> {
    const fn new() -> Self {
        Self {
            bytes: [0; LEN],
            at: CHECKSUM_LEN,
        }
    }

    fn put(&mut self, field: &[u8]) {
        let end = self.at.saturating_add(field.len());
        if let Some(place) = self.bytes.get_mut(self.at..end) {
            place.copy_from_slice(field);
        }
        self.at = end;
    }

    fn sealed(mut self) -> [u8; LEN] {
        seal(&mut self.bytes);
        self.bytes
    }
}

/// Puts the checksum of what is behind it into the front of `bytes`: a header, a text or a slot.
pub fn seal(bytes: &mut [u8]) {
    if let Some((place, rest)) = bytes.split_first_chunk_mut() {
        *place = checksum(rest);
    }
}

/// What is behind the checksum, if that is right.
fn unsealed<const LEN: usize>(bytes: &[u8; LEN]) -> Option<&[u8]> {
    let (stated, rest) = bytes.split_first_chunk()?;
    (checksum(rest) == *stated).then_some(rest)
}

/// It tells a torn copy from a whole one. Who may write the file may write what he likes.
fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut hasher = SipHasher13::new();
    hasher.write(bytes);
    hasher.finish().to_le_bytes()
}

/// Takes a field from the front.
fn take<const LEN: usize>(rest: &mut &[u8]) -> Option<[u8; LEN]> {
    let (field, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*field)
}
