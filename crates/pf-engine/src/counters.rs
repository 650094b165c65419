//! Counters of rules, states, tables and interfaces.

use crate::rule::Direction;

/// Packets and bytes, by direction. Bytes are those of the IP packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Packets in.
    pub packets_in: u64,
    /// Bytes in.
    pub bytes_in: u64,
    /// Packets out.
    pub packets_out: u64,
    /// Bytes out.
    pub bytes_out: u64,
}

impl Traffic {
    /// Counts one packet of `bytes`.
    pub const fn count(&mut self, direction: Direction, bytes: u64) {
        match direction {
            Direction::In => {
                self.packets_in = self.packets_in.wrapping_add(1);
                self.bytes_in = self.bytes_in.wrapping_add(bytes);
            }
            Direction::Out => {
                self.packets_out = self.packets_out.wrapping_add(1);
                self.bytes_out = self.bytes_out.wrapping_add(bytes);
            }
        }
    }

    /// The counters of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            packets_in: self.packets_in.wrapping_add(other.packets_in),
            bytes_in: self.bytes_in.wrapping_add(other.bytes_in),
            packets_out: self.packets_out.wrapping_add(other.packets_out),
            bytes_out: self.bytes_out.wrapping_add(other.bytes_out),
        }
    }

    /// Packets of both directions.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets_in.wrapping_add(self.packets_out)
    }

    /// Bytes of both directions.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes_in.wrapping_add(self.bytes_out)
    }
}
