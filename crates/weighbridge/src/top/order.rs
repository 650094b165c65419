//! Orders of states.

use std::cmp::{Ordering, Reverse};

use super::rows::{Measured, Row};
use crate::pfctl::show::records::StateRecord;

/// What states are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they come: by number.
    None,
    /// Most bytes first.
    Bytes,
    /// Longest to live first.
    Expiry,
    /// Most packets first.
    Packets,
    /// Oldest first.
    Age,
    /// By source address, then port.
    Source,
    /// By destination address, then port.
    Destination,
    /// By source port, then address.
    SourcePort,
    /// By destination port, then address.
    DestinationPort,
    /// Fastest first.
    Rate,
    /// Highest peak first.
    Peak,
}

/// Orders with their name, the word of `-o`, and their key; in pftop's order.
pub const ORDERS: [(Order, &str, &str, char); 11] = [
    (Order::None, "none", "none", 'N'),
    (Order::Bytes, "bytes", "bytes", 'B'),
    (Order::Expiry, "expiry", "exp", 'E'),
    (Order::Packets, "packets", "pkt", 'P'),
    (Order::Age, "age", "age", 'A'),
    (Order::Source, "source addr", "src", 'F'),
    (Order::Destination, "dest. addr", "dest", 'T'),
    (Order::SourcePort, "source port", "sport", 'S'),
    (Order::DestinationPort, "dest. port", "dport", 'D'),
    (Order::Rate, "rate", "rate", 'R'),
    (Order::Peak, "peak", "peak", 'K'),
];

impl Order {
    /// The order that `-o` names, in any case; `size` is pftop(8)'s other word for bytes.
    ///
    /// # Errors
    /// What is wrong, and which words there are.
    pub fn named(word: &str) -> Result<Self, String> {
        let wanted = word.to_ascii_lowercase();
        let wanted = if wanted == "size" { "bytes" } else { &wanted };
        let known = ORDERS.iter().find(|(_, _, known, _)| *known == wanted);
        known.map(|(order, ..)| *order).ok_or_else(|| {
            let words = ORDERS.map(|(_, _, word, _)| word).join(", ");
            format!("no order is named '{word}': use one of {words}")
        })
    }

    /// The order of a key.
    #[must_use]
    pub fn of_key(key: char) -> Option<Self> {
        let known = ORDERS.iter().find(|(.., own)| *own == key);
        known.map(|(order, ..)| *order)
    }

    /// As the first line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = ORDERS.iter().find(|(order, ..)| *order == self);
        known.map_or("", |(_, name, ..)| name)
    }

    /// The next one; after the last the first.
    #[must_use]
    pub fn next(self) -> Self {
        let own = ORDERS.iter().position(|(order, ..)| *order == self);
        let next = own.map_or(0, |at| (at + 1) % ORDERS.len());
        ORDERS.get(next).map_or(Self::None, |(order, ..)| *order)
    }

    /// Whether it needs two samples.
    #[must_use]
    pub const fn needs_speed(self) -> bool {
        matches!(self, Self::Rate | Self::Peak)
    }

    fn compare(self, left: &Measured, right: &Measured) -> Ordering {
        let (Row::State(a), Row::State(b)) = (&left.row, &right.row) else {
            return Ordering::Equal;
        };
        let speed = |row: &Measured| row.speed.map_or(-1.0, |speed| speed.bytes);
        let peak = |row: &Measured| row.speed.map_or(-1.0, |speed| speed.peak);
        match self {
            Self::None => Ordering::Equal,
            Self::Bytes => descending(a, b, |state| state.bytes.iter().sum()),
            Self::Expiry => descending(a, b, |state| state.expires_in),
            Self::Packets => descending(a, b, |state| state.packets.iter().sum()),
            Self::Age => descending(a, b, |state| state.age),
            Self::Source => a.source.cmp(&b.source),
            Self::Destination => a.destination.cmp(&b.destination),
            Self::SourcePort => {
                let key = |state: &StateRecord| (state.source.port, state.source.address);
                key(a).cmp(&key(b))
            }
            Self::DestinationPort => {
                let key = |state: &StateRecord| (state.destination.port, state.destination.address);
                key(a).cmp(&key(b))
            }
            Self::Rate => speed(right).total_cmp(&speed(left)),
            Self::Peak => peak(right).total_cmp(&peak(left)),
        }
    }
}

fn descending(a: &StateRecord, b: &StateRecord, key: impl Fn(&StateRecord) -> u64) -> Ordering {
    Reverse(key(a)).cmp(&Reverse(key(b)))
}

/// Sorts `rows`. Rows that are equal stay as they come.
pub fn sort(rows: &mut [Measured], order: Order, reversed: bool) {
    if order == Order::None {
        return;
    }
    rows.sort_by(|left, right| {
        let ordering = order.compare(left, right);
        if reversed {
            ordering.reverse()
        } else {
            ordering
        }
    });
}
