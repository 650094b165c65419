//! TCP options (RFC 9293, section 3.1).

use super::bytes::{be16, be32, byte};
use super::transport::Tcp;

/// Largest window scale that counts (RFC 7323, section 2.3).
const MAX_WINDOW_SCALE: u8 = 14;
/// Bytes of one SACK block: two sequence numbers (RFC 2018).
const SACK_BLOCK_LEN: usize = 8;

/// Option kinds (IANA "TCP Parameters").
pub(crate) mod kind {
    pub(crate) const END: u8 = 0;
    pub(crate) const NOP: u8 = 1;
    pub(crate) const MSS: u8 = 2;
    pub(crate) const WINDOW_SCALE: u8 = 3;
    pub(crate) const SACK_PERMITTED: u8 = 4;
    pub(crate) const SACK: u8 = 5;
    pub(crate) const TIMESTAMPS: u8 = 8;
}

/// A TCP option. Offsets count from the start of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// Maximum segment size.
    MaximumSegmentSize {
        /// Where the value lies (2 bytes, at any alignment).
        offset: usize,
        /// The size.
        value: u16,
    },
    /// Window scale (RFC 7323), at most 14.
    WindowScale(u8),
    /// SACK permitted (RFC 2018).
    SackPermitted,
    /// Selective acknowledgment (RFC 2018).
    Sack {
        /// Where the first block lies: two sequence numbers each, at any alignment.
        offset: usize,
        /// Number of blocks.
        blocks: usize,
    },
    /// Timestamps (RFC 7323).
    Timestamps {
        /// Where the two values lie, at any alignment.
        offset: usize,
        /// The sender's clock.
        value: u32,
        /// The receiver's clock, echoed.
        echo: u32,
    },
    /// Any other, or one of the above with a length that is not its own.
    Other {
        /// Kind.
        kind: u8,
        /// Where the option begins.
        offset: usize,
        /// Its length, kind and length bytes included.
        len: usize,
    },
}

/// The options of a TCP header, without padding. Ends at the first broken one; the header's
/// length bounds it (40 bytes).
#[derive(Clone, Debug)]
pub struct TcpOptions<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Tcp {
    /// The options in `packet`, which must be the one that was parsed.
    #[must_use]
    pub fn options<'a>(&self, packet: &'a [u8]) -> TcpOptions<'a> {
        let end = self
            .options_offset
            .saturating_add(self.header_len)
            .saturating_sub(super::TCP_HEADER_LEN);
        TcpOptions {
            bytes: packet.get(self.options_offset..end).unwrap_or_default(),
            offset: self.options_offset,
        }
    }

    /// The window scale that `packet` announces. The last one counts, as in PF.
    #[must_use]
    pub fn window_scale(&self, packet: &[u8]) -> Option<u8> {
        let scale = |option| {
            let TcpOption::WindowScale(scale) = option else {
                return None;
            };
            Some(scale)
        };
        self.options(packet).filter_map(scale).last()
    }

    /// The maximum segment size that `packet` announces.
    #[must_use]
    pub fn maximum_segment_size(&self, packet: &[u8]) -> Option<u16> {
        self.options(packet).find_map(|option| {
            let TcpOption::MaximumSegmentSize { value, .. } = option else {
                return None;
            };
            Some(value)
        })
    }

    /// The timestamps of `packet`: the sender's, and the receiver's echoed.
    #[must_use]
    pub fn timestamps(&self, packet: &[u8]) -> Option<(u32, u32)> {
        self.options(packet).find_map(|option| {
            let TcpOption::Timestamps { value, echo, .. } = option else {
                return None;
            };
            Some((value, echo))
        })
    }
}

impl Iterator for TcpOptions<'_> {
    type Item = TcpOption;

    fn next(&mut self) -> Option<TcpOption> {
        while *self.bytes.first()? == kind::NOP {
            self.advance(1)?;
        }
        let kind = *self.bytes.first()?;
        let len = usize::from(*self.bytes.get(1)?);
        if kind == kind::END || len < 2 {
            self.bytes = &[];
            return None;
        }
        let option = self.bytes.get(..len)?;
        let read = read(kind, option, self.offset);
        self.advance(len)?;
        Some(read)
    }
}

impl TcpOptions<'_> {
    fn advance(&mut self, len: usize) -> Option<()> {
        self.bytes = self.bytes.get(len..)?;
        self.offset = self.offset.saturating_add(len);
        Some(())
    }
}

/// The option whose bytes are `option`, which begins at `offset`.
fn read(kind: u8, option: &[u8], offset: usize) -> TcpOption {
    let data = offset.saturating_add(2);
    let known = match (kind, option.len()) {
        (kind::MSS, 4) => be16(option, 2)
            .ok()
            .map(|value| TcpOption::MaximumSegmentSize {
                offset: data,
                value,
            }),
        (kind::WINDOW_SCALE, 3) => byte(option, 2)
            .ok()
            .map(|scale| TcpOption::WindowScale(scale.min(MAX_WINDOW_SCALE))),
        (kind::SACK_PERMITTED, 2) => Some(TcpOption::SackPermitted),
        (kind::SACK, len) if len > 2 => Some(TcpOption::Sack {
            offset: data,
            blocks: len.saturating_sub(2) / SACK_BLOCK_LEN,
        }),
        (kind::TIMESTAMPS, 10) => timestamps(option, data),
        _ => None,
    };
    known.unwrap_or(TcpOption::Other {
        kind,
        offset,
        len: option.len(),
    })
}

fn timestamps(option: &[u8], offset: usize) -> Option<TcpOption> {
    Some(TcpOption::Timestamps {
        offset,
        value: be32(option, 2).ok()?,
        echo: be32(option, 6).ok()?,
    })
}
