//! The pieces of one datagram.

use std::collections::BTreeMap;

use crate::addr::Family;
use crate::decision::DropReason;
use crate::time::Instant;
use crate::wire::{FRAGMENT_HEADER_LEN, IPV6_HEADER_LEN, MAX_PACKET_LEN, Meta, put};
use crate::wire::{WireError, byte, checksum};

/// Fragments a datagram may come in: as many of the smallest IPv6 MTU hold the largest datagram.
/// PF's `PF_FRAG_ENTRY_LIMIT`, there for each 4096 bytes. The datagram is dropped as `fragment`
/// when there are more.
pub const MAX_FRAGMENTS: usize = 64;

/// The ECN field of type of service (RFC 3168): all bits set is "congestion experienced".
const ECN: u8 = 0b11;

/// A fragment that was found to be one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    family: Family,
    /// The headers that every fragment repeats, without the IPv6 fragment header.
    head: &'a [u8],
    /// Where in `head` the protocol goes (IPv6), and the protocol.
    protocol: (usize, u8),
    data: &'a [u8],
    offset: usize,
    /// Offset behind the last byte.
    end: usize,
    more: bool,
    packet_len: usize,
    pub(super) dont_fragment: bool,
    congestion: bool,
}

impl<'a> Piece<'a> {
    /// Checks the fragment's own fields (RFC 791, section 3.2; RFC 8200, section 4.5).
    pub(super) fn new(packet: &'a [u8], meta: &Meta) -> Result<Self, DropReason> {
        let fragment = meta.fragment.ok_or(DropReason::Fragment)?;
        let head_len = fragment.header_offset.unwrap_or(meta.ip_header_len);
        let data_offset = match fragment.header_offset {
            Some(at) => at.saturating_add(FRAGMENT_HEADER_LEN),
            None => meta.ip_header_len,
        };
        let head = packet.get(..head_len).ok_or(DropReason::Short)?;
        let data = packet
            .get(data_offset..meta.total_len)
            .ok_or(DropReason::Short)?;
        let end = fragment.offset.saturating_add(data.len());
        if data.is_empty() || (fragment.more && !data.len().is_multiple_of(8)) {
            return Err(DropReason::Fragment);
        }
        if end > MAX_PACKET_LEN {
            return Err(DropReason::BadOffset);
        }
        Ok(Self {
            family: meta.family,
            head,
            protocol: (fragment.announced_at, meta.protocol.0),
            data,
            offset: fragment.offset,
            end,
            more: fragment.more,
            packet_len: meta.total_len,
            dont_fragment: meta.family == Family::Inet && meta.dont_fragment,
            congestion: meta.tos & ECN == ECN,
        })
    }

    /// The head as the whole datagram has it: the fragment header is no longer announced.
    fn whole_head(&self) -> Vec<u8> {
        let mut head = self.head.to_vec();
        let (at, protocol) = self.protocol;
        if let (Family::Inet6, Some(byte)) = (self.family, head.get_mut(at)) {
            *byte = protocol;
        }
        head
    }

    fn slice(&self, from: usize, to: usize) -> Vec<u8> {
        let from = from.saturating_sub(self.offset);
        let to = to.saturating_sub(self.offset);
        self.data.get(from..to).unwrap_or_default().to_vec()
    }
}

/// What a piece did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It was new.
    Kept,
    /// It was nothing new or contradicted what is there: dropped alone.
    Refused,
    /// Its datagram is dropped with it.
    Fatal,
}

/// A datagram in the making.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) created: Instant,
    pub(super) serial: u64,
    family: Family,
    head: Option<Vec<u8>>,
    /// By offset; they never overlap.
    pieces: BTreeMap<usize, Vec<u8>>,
    total: Option<usize>,
    /// Fragments taken in.
    pub(super) fragments: usize,
    /// Bytes held.
    pub(super) bytes: usize,
    largest: usize,
    dont_fragment: bool,
    congestion: bool,
    /// Dropped, and so is what still comes of it (RFC 5722). Counts as one fragment.
    pub(super) discarded: bool,
}

impl Datagram {
    pub(super) fn new(created: Instant, serial: u64, family: Family) -> Self {
        Self {
            created,
            serial,
            family,
            head: None,
            pieces: BTreeMap::new(),
            total: None,
            fragments: 0,
            bytes: 0,
            largest: 0,
            dont_fragment: false,
            congestion: false,
            discarded: false,
        }
    }

    /// Frees what it holds and remembers that it is dropped.
    pub(super) fn discard(&mut self) {
        self.pieces.clear();
        self.head = None;
        self.fragments = 1;
        self.bytes = 0;
        self.discarded = true;
    }

    pub(super) fn add(&mut self, piece: &Piece<'_>) -> Added {
        if self.discarded {
            return Added::Refused;
        }
        if self.fragments >= MAX_FRAGMENTS {
            return Added::Fatal;
        }
        if self.contradicts(piece) {
            return self.overlap();
        }
        let holes = self.holes(piece.offset, piece.end);
        if holes == [(piece.offset, piece.end)] {
            return self.keep(piece, &holes);
        }
        match self.family {
            // What came first stays: the trimmed rest fills the holes.
            Family::Inet if !holes.is_empty() => self.keep(piece, &holes),
            Family::Inet => Added::Refused,
            // A network may double a packet; RFC 8200, section 4.5 lets that be told apart.
            Family::Inet6 if self.is_duplicate(piece) => Added::Refused,
            Family::Inet6 => Added::Fatal,
        }
    }

    /// Overlapping IPv6 fragments end the datagram (RFC 5722).
    fn overlap(&self) -> Added {
        match self.family {
            Family::Inet => Added::Refused,
            Family::Inet6 => Added::Fatal,
        }
    }

    /// Whether the piece does not agree with the others on where the datagram ends.
    fn contradicts(&self, piece: &Piece<'_>) -> bool {
        match self.total {
            Some(total) if piece.more => piece.end > total,
            Some(total) => piece.end != total,
            None => !piece.more && self.reach() > piece.end,
        }
    }

    /// Offset behind the last byte that is there.
    fn reach(&self) -> usize {
        self.pieces
            .last_key_value()
            .map_or(0, |(offset, data)| offset.saturating_add(data.len()))
    }

    /// The parts of `start..end` that are missing.
    fn holes(&self, start: usize, end: usize) -> Vec<(usize, usize)> {
        let mut holes = Vec::new();
        let mut at = start;
        for (&offset, data) in self.pieces.range(..end) {
            let behind = offset.saturating_add(data.len());
            if behind <= at {
                continue;
            }
            if offset > at {
                holes.push((at, offset));
            }
            at = behind;
        }
        if at < end {
            holes.push((at, end));
        }
        holes
    }

    fn is_duplicate(&self, piece: &Piece<'_>) -> bool {
        self.pieces
            .get(&piece.offset)
            .is_some_and(|data| data == piece.data)
    }

    fn keep(&mut self, piece: &Piece<'_>, holes: &[(usize, usize)]) -> Added {
        for &(from, to) in holes {
            self.pieces.insert(from, piece.slice(from, to));
            self.bytes = self.bytes.saturating_add(to.saturating_sub(from));
        }
        if piece.offset == 0 && self.head.is_none() {
            self.head = Some(piece.whole_head());
        }
        if !piece.more {
            self.total = Some(piece.end);
        }
        self.fragments = self.fragments.saturating_add(1);
        self.largest = self.largest.max(piece.packet_len);
        self.dont_fragment |= piece.dont_fragment;
        self.congestion |= piece.congestion;
        Added::Kept
    }

    pub(super) fn is_complete(&self) -> bool {
        self.head.is_some() && self.total == Some(self.bytes)
    }

    /// Length of the largest fragment, IP header included.
    pub(super) const fn largest(&self) -> usize {
        self.largest
    }

    /// Whether a fragment had "don't fragment" set.
    pub(super) const fn dont_fragment(&self) -> bool {
        self.dont_fragment
    }

    /// The whole packet.
    pub(super) fn assemble(self) -> Result<Vec<u8>, DropReason> {
        let congestion = self.congestion;
        let family = self.family;
        let mut packet = self.head.unwrap_or_default();
        let head_len = packet.len();
        packet.reserve_exact(self.bytes);
        for data in self.pieces.into_values() {
            packet.extend(data);
        }
        if packet.len() > MAX_PACKET_LEN {
            return Err(DropReason::BadOffset);
        }
        finish(&mut packet, family, head_len, congestion).map_err(|error| error.reason)?;
        Ok(packet)
    }
}

/// Brings the header up to date with what now follows it.
fn finish(
    packet: &mut [u8],
    family: Family,
    head_len: usize,
    congestion: bool,
) -> Result<(), WireError> {
    let len = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_be_bytes();
    match family {
        Family::Inet => {
            put(packet, 2, &len(packet.len()))?;
            put(packet, 6, &[0, 0])?;
            let tos = byte(packet, 1)?;
            put(packet, 1, &[experienced(tos, congestion)])?;
            checksum::complete_header_v4(packet, head_len)
        }
        Family::Inet6 => {
            put(
                packet,
                4,
                &len(packet.len().saturating_sub(IPV6_HEADER_LEN)),
            )?;
            let second = byte(packet, 1)?;
            put(
                packet,
                1,
                &[experienced(second >> 4, congestion) << 4 | second & 0x0f],
            )
        }
    }
}

/// RFC 3168, section 5.3: congestion that one fragment met is kept, where the sender takes part.
const fn experienced(tos: u8, congestion: bool) -> u8 {
    if congestion && tos & ECN != 0 {
        tos | ECN
    } else {
        tos
    }
}
