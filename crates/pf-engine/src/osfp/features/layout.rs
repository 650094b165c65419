//! The order of TCP options.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::options::kind;

/// Options that are looked at (p0f's limit; a header has room for 40 of one byte).
pub const MAX_OPTIONS: usize = 24;

/// The kinds of the TCP options in their order, end of list and NOPs included. Unused room is
/// zero, so equal layouts are equal values. [`Display`](fmt::Display) writes p0f's `olayout`:
/// `mss,nop,ws,eol+1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OptionLayout {
    kinds: [u8; MAX_OPTIONS],
    len: u8,
    eol_padding: u8,
}

impl OptionLayout {
    /// The layout of `kinds`, with `eol_padding` bytes behind an end of list; `None` when there
    /// are more than [`MAX_OPTIONS`].
    #[must_use]
    pub fn new(kinds: &[u8], eol_padding: u8) -> Option<Self> {
        let mut layout = Self {
            eol_padding,
            ..Self::default()
        };
        kinds
            .iter()
            .all(|&kind| layout.push(kind))
            .then_some(layout)
    }

    /// The kinds (IANA "TCP Parameters"), in their order.
    #[must_use]
    pub fn kinds(&self) -> &[u8] {
        self.kinds.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Bytes behind an end of list, 0 if there is none.
    #[must_use]
    pub fn eol_padding(&self) -> u8 {
        self.eol_padding
    }

    /// Appends; `false` when it is full.
    pub(super) fn push(&mut self, kind: u8) -> bool {
        let Some(place) = self.kinds.get_mut(usize::from(self.len)) else {
            return false;
        };
        *place = kind;
        self.len = self.len.saturating_add(1);
        true
    }

    pub(super) fn pad(&mut self, bytes: usize) {
        self.eol_padding = u8::try_from(bytes).unwrap_or(u8::MAX);
    }
}

impl fmt::Display for OptionLayout {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for &option in self.kinds() {
            out.write_str(comma)?;
            comma = ",";
            match option {
                kind::END => write!(out, "eol+{}", self.eol_padding)?,
                kind::NOP => out.write_str("nop")?,
                kind::MSS => out.write_str("mss")?,
                kind::WINDOW_SCALE => out.write_str("ws")?,
                kind::SACK_PERMITTED => out.write_str("sok")?,
                kind::SACK => out.write_str("sack")?,
                kind::TIMESTAMPS => out.write_str("ts")?,
                other => write!(out, "?{other}")?,
            }
        }
        Ok(())
    }
}
