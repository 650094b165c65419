//! Filters of states, in the language of pftop(8): that of tcpdump, for states.
//!
//! `and` and `or` bind alike and from the left; a value without a qualifier takes those of the one
//! before it (`port 22 or 80`).

mod lexer;
mod parser;

use std::fmt;
use std::net::IpAddr;

use pf_engine::addr::Prefix;
use pf_engine::rule::Direction;

pub use self::parser::parse;
use crate::pfctl::show::records::StateRecord;

/// Bytes of a filter at most (pftop's line).
pub const FILTER_BYTES_MAX: usize = 1_024;

/// Why a text is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// The character where it is wrong, from 0.
    pub at: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column {}: {}", self.at + 1, self.message)
    }
}

/// Which ends of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// `src`.
    Source,
    /// `dst`.
    Destination,
    /// `gw`.
    Gateway,
    /// `src or dst`.
    SourceOrDestination,
    /// `src and dst`.
    SourceAndDestination,
    /// Any of the three.
    Any,
}

/// Whose protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `ip`.
    V4,
    /// `ip6`.
    V6,
    /// The number of a protocol.
    Protocol(u8),
}

/// A number of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    PacketsIn,
    PacketsOut,
    BytesIn,
    BytesOut,
    Age,
    Expires,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    And,
    Or,
    ShiftLeft,
    ShiftRight,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Number(i64),
    Variable(Variable),
    Negative(Box<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Greater,
    GreaterOrEqual,
    Equal,
    Unequal,
    LessOrEqual,
    Less,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Family(Family),
    Direction(Direction),
    Address(Ends, Vec<Prefix>),
    Port(Ends, u16),
    Interface(String),
    Rule(u32),
    Compare(Relation, Arithmetic, Arithmetic),
}

/// A filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Test);

impl Filter {
    /// Whether the state passes.
    #[must_use]
    pub fn matches(&self, state: &StateRecord) -> bool {
        self.0.holds(state)
    }
}

impl Test {
    fn holds(&self, state: &StateRecord) -> bool {
        match self {
            Self::Not(test) => !test.holds(state),
            Self::And(left, right) => left.holds(state) && right.holds(state),
            Self::Or(left, right) => left.holds(state) || right.holds(state),
            Self::Family(Family::V4) => state.source.address.is_ipv4(),
            Self::Family(Family::V6) => state.source.address.is_ipv6(),
            Self::Family(Family::Protocol(number)) => state.protocol == *number,
            Self::Direction(direction) => state.direction == *direction,
            Self::Address(ends, prefixes) => ends.any(state, |end| {
                prefixes.iter().any(|prefix| prefix.contains(end.0))
            }),
            Self::Port(ends, port) => has_ports(state) && ends.any(state, |end| end.1 == *port),
            Self::Interface(name) => state.interface == *name,
            Self::Rule(number) => state.rule == Some(*number),
            Self::Compare(relation, left, right) => match (left.value(state), right.value(state)) {
                (Some(left), Some(right)) => relation.holds(left, right),
                _ => false,
            },
        }
    }
}

/// TCP, UDP, SCTP and UDP-Lite: what others have in their place is no port.
const fn has_ports(state: &StateRecord) -> bool {
    matches!(state.protocol, 6 | 17 | 132 | 136)
}

impl Ends {
    fn any(self, state: &StateRecord, test: impl Fn((IpAddr, u16)) -> bool) -> bool {
        let end = |end: pf_engine::view::HostPort| test((end.address, end.port));
        let source = || end(state.source);
        let destination = || end(state.destination);
        let gateway = || state.gateway.is_some_and(end);
        match self {
            Self::Source => source(),
            Self::Destination => destination(),
            Self::Gateway => gateway(),
            Self::SourceOrDestination => source() || destination(),
            Self::SourceAndDestination => source() && destination(),
            Self::Any => source() || destination() || gateway(),
        }
    }
}

impl Relation {
    const fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::LessOrEqual => left <= right,
            Self::Less => left < right,
        }
    }
}

impl Arithmetic {
    /// Nothing where there is no result: a division by zero, or a number out of range.
    fn value(&self, state: &StateRecord) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Variable(variable) => i64::try_from(variable.of(state)).ok(),
            Self::Negative(of) => of.value(state)?.checked_neg(),
            Self::Binary(operator, left, right) => {
                operator.apply(left.value(state)?, right.value(state)?)
            }
        }
    }
}

impl Variable {
    const fn of(self, state: &StateRecord) -> u64 {
        let ([packets_in, packets_out], [bytes_in, bytes_out]) = (state.packets, state.bytes);
        match self {
            Self::PacketsIn => packets_in,
            Self::PacketsOut => packets_out,
            Self::BytesIn => bytes_in,
            Self::BytesOut => bytes_out,
            Self::Age => state.age,
            Self::Expires => state.expires_in,
        }
    }
}

impl Operator {
    fn apply(self, left: i64, right: i64) -> Option<i64> {
        let shift = || u32::try_from(right).ok();
        match self {
            Self::Add => left.checked_add(right),
            Self::Subtract => left.checked_sub(right),
            Self::Multiply => left.checked_mul(right),
            Self::Divide => left.checked_div(right),
            Self::And => Some(left & right),
            Self::Or => Some(left | right),
            Self::ShiftLeft => left.checked_shl(shift()?),
            Self::ShiftRight => left.checked_shr(shift()?),
        }
    }
}

#[cfg(test)]
mod tests;
