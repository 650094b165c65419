//! Cutting packets into fragments.

use crate::addr::{Family, Protocol};
use crate::wire::{
    FRAGMENT_HEADER_LEN, IPV4_HEADER_LEN, IPV6_HEADER_LEN, Meta, WireError, be16, byte, checksum,
    put,
};

/// Options with this bit are in every fragment (RFC 791, section 3.1).
const OPTION_COPIED: u8 = 0x80;
/// End and padding of IPv4 options.
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
/// "More fragments" in IPv4's fragment field.
const MORE_V4: u16 = 0x2000;

/// Cuts a packet into fragments of at most `mtu` bytes (RFC 791, section 3.2; RFC 8200,
/// section 4.5), in order; a packet that fits comes back alone. `meta` is the parsed `packet`;
/// padding behind it goes.
///
/// `id` is the identification of IPv6 fragments (that of the datagram if it was reassembled);
/// IPv4 packets keep their own. "Don't fragment" is left to the caller, as is the lower bound
/// of `mtu`.
///
/// # Errors
/// [`WireError::UNFIT`] when `mtu` leaves no room for 8 bytes of data, or for an IPv6 packet
/// that is a fragment already; [`WireError::SHORT`] when `packet` is not the one parsed.
pub fn fragment(
    packet: &[u8],
    meta: &Meta,
    mtu: usize,
    id: u32,
) -> Result<Vec<Vec<u8>>, WireError> {
    let packet = packet.get(..meta.total_len).ok_or(WireError::SHORT)?;
    if packet.len() <= mtu {
        return Ok(vec![packet.to_vec()]);
    }
    match meta.family {
        Family::Inet => fragment_v4(packet, meta, mtu),
        Family::Inet6 => fragment_v6(packet, meta, mtu, id),
    }
}

/// Bytes of data in a fragment of `mtu` bytes with `head` bytes before them: a multiple of 8.
fn room(mtu: usize, head: usize) -> Result<usize, WireError> {
    match mtu.saturating_sub(head) / 8 {
        0 => Err(WireError::UNFIT),
        units => Ok(units.saturating_mul(8)),
    }
}

fn len_bytes(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// `data` in parts of `room` bytes, each with its offset from `start` and whether more follow.
fn parts(
    data: &[u8],
    room: usize,
    start: usize,
    more_behind: bool,
) -> impl Iterator<Item = (usize, bool, &[u8])> {
    let count = data.len().div_ceil(room.max(1));
    data.chunks(room.max(1)).enumerate().map(move |(n, part)| {
        let offset = start.saturating_add(n.saturating_mul(room));
        let last = n.saturating_add(1) == count;
        (offset, !last || more_behind, part)
    })
}

fn fragment_v4(packet: &[u8], meta: &Meta, mtu: usize) -> Result<Vec<Vec<u8>>, WireError> {
    let (head, data) = packet
        .split_at_checked(meta.ip_header_len)
        .ok_or(WireError::SHORT)?;
    let room = room(mtu, head.len())?;
    let start = meta.fragment.map_or(0, |f| f.offset);
    let more_behind = meta.fragment.is_some_and(|f| f.more);
    let later_head = later_head_v4(head)?;
    parts(data, room, start, more_behind)
        .map(|(offset, more, part)| {
            let head = if offset == 0 { head } else { &later_head };
            piece_v4(head, offset, more, part)
        })
        .collect()
}

fn piece_v4(head: &[u8], offset: usize, more: bool, data: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut piece = [head, data].concat();
    let flags = be16(head, 6)? & 0xc000;
    let units = u16::try_from(offset / 8).unwrap_or_default();
    let word = flags | units | if more { MORE_V4 } else { 0 };
    let len = piece.len();
    put(&mut piece, 2, &len_bytes(len))?;
    put(&mut piece, 6, &word.to_be_bytes())?;
    checksum::complete_header_v4(&mut piece, head.len())?;
    Ok(piece)
}

/// The header of the fragments behind the first: only options with the copy bit.
fn later_head_v4(head: &[u8]) -> Result<Vec<u8>, WireError> {
    let (fixed, mut options) = head
        .split_at_checked(IPV4_HEADER_LEN)
        .ok_or(WireError::SHORT)?;
    let mut later = fixed.to_vec();
    while let Some(&kind) = options.first() {
        let len = match kind {
            OPTION_END => break,
            OPTION_NOP => 1,
            _ => usize::from(byte(options, 1)?).max(2),
        };
        let (option, rest) = options.split_at_checked(len).ok_or(WireError::IP_OPTION)?;
        if kind & OPTION_COPIED != 0 {
            later.extend(option);
        }
        options = rest;
    }
    later.resize(later.len().next_multiple_of(4), OPTION_END);
    let words = u8::try_from(later.len() / 4).unwrap_or_default();
    put(&mut later, 0, &[0x40 | words])?;
    Ok(later)
}

fn fragment_v6(packet: &[u8], meta: &Meta, mtu: usize, id: u32) -> Result<Vec<Vec<u8>>, WireError> {
    if meta.is_fragment() {
        return Err(WireError::UNFIT);
    }
    let split = Split::of(packet, meta)?;
    let mut head = packet
        .get(..split.head_len)
        .ok_or(WireError::SHORT)?
        .to_vec();
    let data = packet.get(split.data_offset..).ok_or(WireError::SHORT)?;
    put(&mut head, split.announced_at, &[Protocol::FRAGMENT.0])?;
    let room = room(mtu, head.len().saturating_add(FRAGMENT_HEADER_LEN))?;
    parts(data, room, 0, false)
        .map(|(offset, more, part)| {
            let word = len_bytes(offset | usize::from(more));
            let [high, low] = word;
            let fragment = [split.next, 0, high, low];
            piece_v6(&[&head, &fragment, &id.to_be_bytes(), part])
        })
        .collect()
}

fn piece_v6(parts: &[&[u8]]) -> Result<Vec<u8>, WireError> {
    let mut piece = parts.concat();
    let len = piece.len().saturating_sub(IPV6_HEADER_LEN);
    put(&mut piece, 4, &len_bytes(len))?;
    Ok(piece)
}

/// Where an IPv6 packet is cut in headers that every fragment has and what is divided.
struct Split {
    /// Length of the headers that every fragment has.
    head_len: usize,
    /// Where what is divided begins: behind the fragment header, if the packet has one.
    data_offset: usize,
    /// Where the byte lies that announces what is divided.
    announced_at: usize,
    /// What is divided.
    next: u8,
}

impl Split {
    fn of(packet: &[u8], meta: &Meta) -> Result<Self, WireError> {
        match meta.fragment.and_then(|f| Some((f, f.header_offset?))) {
            Some((fragment, at)) => Ok(Self {
                head_len: at,
                data_offset: at.saturating_add(FRAGMENT_HEADER_LEN),
                announced_at: fragment.announced_at,
                next: byte(packet, at)?,
            }),
            None => Self::walk(packet, meta),
        }
    }

    /// The per-fragment headers: up to hop-by-hop options and routing header, whichever is last.
    fn walk(packet: &[u8], meta: &Meta) -> Result<Self, WireError> {
        const HOP_BY_HOP: u8 = 0;
        const ROUTING: u8 = 43;
        const DESTINATION: u8 = 60;
        let mut split = Self::at(packet, 6, IPV6_HEADER_LEN)?;
        let (mut next, mut at) = (split.next, IPV6_HEADER_LEN);
        while matches!(next, HOP_BY_HOP | ROUTING | DESTINATION) && at < meta.l4_offset {
            let units = usize::from(byte(packet, at.saturating_add(1))?);
            let behind = at.saturating_add(units.saturating_add(1).saturating_mul(8));
            let header = Self::at(packet, at, behind)?;
            let following = header.next;
            if next != DESTINATION {
                split = header;
            }
            (next, at) = (following, behind);
        }
        Ok(split)
    }

    /// Cut at `end`, announced by the byte at `announced_at`.
    fn at(packet: &[u8], announced_at: usize, end: usize) -> Result<Self, WireError> {
        Ok(Self {
            head_len: end,
            data_offset: end,
            announced_at,
            next: byte(packet, announced_at)?,
        })
    }
}
