//! The two readings of TCP options: p0f's, and PF's.

use super::layout::OptionLayout;
use super::{Kind, Quirks};
use crate::wire::{be16, be32};

pub(super) use crate::wire::option_kind as kind;

/// Largest window scale that RFC 7323 allows (section 2.3).
const MAX_WINDOW_SCALE: u8 = 14;

/// p0f's reading. A known option whose length byte is wrong is still taken for as long as it
/// should be; an unknown one is as long as it says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpOptionWalk {
    pub(super) layout: OptionLayout,
    pub(super) mss: Option<u16>,
    pub(super) window_scale: Option<u8>,
    pub(super) timestamp: Option<u32>,
    pub(super) timestamp_echo: Option<u32>,
    pub(super) quirks: Quirks,
    pub(super) p0f_quirks: Quirks,
}

impl TcpOptionWalk {
    /// Reads the bytes behind the fixed part of the header.
    pub(super) fn run(options: &[u8], packet: Kind) -> Self {
        let mut walk = Self::default();
        let mut rest = options;
        while let Some((&kind, behind)) = rest.split_first() {
            if !walk.layout.push(kind) {
                break;
            }
            let Some(next) = walk.step(kind, behind, packet) else {
                break;
            };
            rest = next;
        }
        if !rest.is_empty() {
            walk.flag(Quirks::BAD_OPTIONS);
        }
        walk
    }

    /// Takes the option of `kind` down and returns what follows it; `None` ends the walk.
    fn step<'a>(&mut self, kind: u8, behind: &'a [u8], packet: Kind) -> Option<&'a [u8]> {
        match kind {
            kind::END => Some(self.end(behind)),
            kind::NOP => Some(behind),
            kind::MSS => self.fixed(behind, 4).map(|(data, rest)| {
                self.mss = be16(data, 0).ok();
                rest
            }),
            kind::WINDOW_SCALE => self.fixed(behind, 3).map(|(data, rest)| {
                self.scale(data);
                rest
            }),
            kind::SACK_PERMITTED => self.fixed(behind, 2).map(|(_, rest)| rest),
            kind::TIMESTAMPS => self.fixed(behind, 10).map(|(data, rest)| {
                self.timestamps(data, packet);
                rest
            }),
            // RFC 2018: one to four blocks.
            kind::SACK => variable(behind, 10, 34),
            _ => variable(behind, 2, 40),
        }
    }

    fn flag(&mut self, quirk: Quirks) {
        self.quirks = self.quirks | quirk;
        self.p0f_quirks = self.p0f_quirks | quirk;
    }

    fn end<'a>(&mut self, padding: &'a [u8]) -> &'a [u8] {
        let dirty = |bytes: &[u8]| bytes.iter().any(|&byte| byte != 0);
        self.layout.pad(padding.len());
        let quirk = Quirks::NONZERO_PADDING;
        self.quirks = self.quirks | quirk.when(dirty(padding));
        // p0f 3.09b looks at the last byte, but does not remember what it saw.
        let looked_at = padding.split_last().map_or(&[][..], |(_, before)| before);
        self.p0f_quirks = self.p0f_quirks | quirk.when(dirty(looked_at));
        padding.get(padding.len()..).unwrap_or_default()
    }

    /// The data of an option of `len` bytes and what follows; `behind` begins at its length.
    fn fixed<'a>(&mut self, behind: &'a [u8], len: u8) -> Option<(&'a [u8], &'a [u8])> {
        if behind.first() != Some(&len) {
            self.flag(Quirks::BAD_OPTIONS);
        }
        let (option, rest) = behind.split_at_checked(usize::from(len).saturating_sub(1))?;
        Some((option.get(1..)?, rest))
    }

    fn scale(&mut self, data: &[u8]) {
        self.window_scale = data.first().copied();
        if self.window_scale > Some(MAX_WINDOW_SCALE) {
            self.flag(Quirks::EXCESSIVE_SCALE);
        }
    }

    fn timestamps(&mut self, data: &[u8], packet: Kind) {
        self.timestamp = be32(data, 0).ok();
        self.timestamp_echo = be32(data, 4).ok();
        if self.timestamp == Some(0) {
            self.flag(Quirks::ZERO_TIMESTAMP);
        }
        if packet == Kind::Syn && self.timestamp_echo != Some(0) {
            self.flag(Quirks::NONZERO_ECHO);
        }
    }
}

/// What follows an option that is as long as it says.
fn variable(behind: &[u8], least: u8, most: u8) -> Option<&[u8]> {
    let len = *behind.first()?;
    if !(least..=most).contains(&len) {
        return None;
    }
    behind.get(usize::from(len).saturating_sub(1)..)
}

/// The options as PF compares them with pf.os.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PfOptions {
    /// Kinds in their order, three bits each, the last one lowest. PF's field has 64 bits: of
    /// more than 21 options the first are shifted out.
    pub packed: u64,
    /// Number of options, NOPs included, end of list not.
    pub count: u8,
    /// Maximum segment size, 0 if none is announced.
    pub mss: u16,
    /// Window scale, 0 if none is announced.
    pub window_scale: u8,
    /// There is a timestamp, and it is 0 (`T0`).
    pub zero_timestamp: bool,
}

impl PfOptions {
    /// Bits of one option in [`PfOptions::packed`].
    pub const BITS: u32 = 3;

    /// PF's number for an option, `None` for one that PF does not know.
    #[must_use]
    pub const fn code(option: u8) -> Option<u64> {
        match option {
            kind::NOP => Some(0),
            kind::WINDOW_SCALE => Some(1),
            kind::MSS => Some(2),
            kind::SACK_PERMITTED => Some(3),
            kind::TIMESTAMPS => Some(4),
            _ => None,
        }
    }

    /// Appends an option.
    pub fn push(&mut self, code: u64) {
        self.packed = self.packed << Self::BITS | code;
        self.count = self.count.saturating_add(1);
    }

    /// Takes the values of an option down. One that is too short for its value counts without.
    fn read(&mut self, option: u8, data: &[u8]) {
        match option {
            kind::MSS => self.mss = be16(data, 0).unwrap_or(self.mss),
            kind::WINDOW_SCALE => {
                self.window_scale = data.first().copied().unwrap_or(self.window_scale);
            }
            kind::TIMESTAMPS if data.len() >= 8 => {
                self.zero_timestamp |= be32(data, 0) == Ok(0);
            }
            _ => {}
        }
    }
}

/// PF's reading: an option is as long as it says, and one that PF does not know, or that does
/// not fit, leaves the packet without a fingerprint.
pub(super) fn pf_options(options: &[u8]) -> Option<PfOptions> {
    let mut found = PfOptions::default();
    let mut rest = options;
    while let Some((&option, behind)) = rest.split_first() {
        if option == kind::END {
            break;
        }
        found.push(PfOptions::code(option)?);
        rest = behind;
        if option != kind::NOP {
            let len = usize::from(*behind.first()?);
            found.read(option, behind.get(1..len.checked_sub(1)?)?);
            rest = behind.get(len.saturating_sub(1)..)?;
        }
    }
    Some(found)
}
