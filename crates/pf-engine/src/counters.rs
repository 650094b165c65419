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

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

impl Count {
    /// One packet of `bytes`.
    #[must_use]
    pub const fn one(bytes: u64) -> Self {
        Self { packets: 1, bytes }
    }

    /// What has come since it was `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }

    /// Counts more.
    pub const fn add(&mut self, more: Self) {
        self.packets = self.packets.wrapping_add(more.packets);
        self.bytes = self.bytes.wrapping_add(more.bytes);
    }
}

impl Traffic {
    /// Counts packets.
    pub const fn count(&mut self, direction: Direction, count: Count) {
        match direction {
            Direction::In => {
                self.packets_in = self.packets_in.wrapping_add(count.packets);
                self.bytes_in = self.bytes_in.wrapping_add(count.bytes);
            }
            Direction::Out => {
                self.packets_out = self.packets_out.wrapping_add(count.packets);
                self.bytes_out = self.bytes_out.wrapping_add(count.bytes);
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
