//! The ruleset optimizer (pf.conf(5), `set ruleset-optimization`; pfctl(8), `-o`).
//!
//! Rules are only touched inside a *block*: consecutive rules that do exactly the same to a packet
//! and differ in nothing but what they match. Whichever of them decides, the outcome is one, so
//! they may change places, and a rule that matches nothing of its own may go. A rule whose own
//! counters or limits somebody may look at is a block of its own: nothing passes it.

pub(crate) mod automatic;
mod blocks;
mod criteria;
mod order;
mod subsets;
mod tables;

use std::collections::BTreeMap;

use pf_engine::rule::Rule;
use pf_engine::ruleset::{Dialect, TableDefinition};

use self::criteria::Interner;
use crate::expand::numbering::Numbering;
use crate::source::Span;

/// How much the optimizer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Optimization {
    /// Rules stay as they were written.
    None,
    /// Rules that match nothing of their own go, addresses of like rules become a table, and
    /// rules that ask for the same are brought together.
    Basic,
    /// As `Basic`, but blocks of `quick` rules are ordered by the packets that they have seen.
    Profile,
}

impl Optimization {
    /// What pfctl does when nobody says: `basic`, and nothing at all before OpenBSD 4.1.
    #[must_use]
    pub const fn default_of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::FreeBsd | Dialect::OpenBsd => Self::Basic,
            Dialect::OpenBsd3 => Self::None,
        }
    }

    /// The level called `name` in pf.conf(5) and pfctl(8).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "basic" => Some(Self::Basic),
            "profile" => Some(Self::Profile),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Profile => "profile",
        }
    }
}

/// A rule in force and the packets that it and its states have seen: what [`Optimization::Profile`]
/// goes by. Rules that are not in the new ruleset as they stand are of no use to it.
pub type Feedback = (Rule, u64);

/// A filter rule on its way through the optimizer.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) rule: Rule,
    pub(crate) origin: Span,
    /// Its labels and tags, while they may still name `$nr`.
    pub(crate) numbering: Option<Numbering>,
}

/// Automatic tables, in the order in which they were made.
pub(crate) type Tables = Vec<(String, TableDefinition)>;

/// Optimizes `items`. `tables` are those of the ruleset; only if `makes_tables` there will be more.
pub(crate) fn optimize(
    items: Vec<Item>,
    level: Optimization,
    tables: &BTreeMap<String, TableDefinition>,
    feedback: &[Feedback],
    makes_tables: bool,
) -> (Vec<Item>, Tables) {
    if level == Optimization::None {
        return (items, Tables::new());
    }
    let mut interner = Interner::default();
    let mut automatic = tables::Automatic::new(tables);
    let profile = order::Profile::new(level, feedback);
    let mut optimized = Vec::with_capacity(items.len());
    for block in blocks::split(items, tables) {
        if block.len() == 1 {
            optimized.extend(block);
            continue;
        }
        let block = subsets::remove(block, &mut interner);
        let block = if makes_tables {
            tables::combine(block, &mut interner, &mut automatic)
        } else {
            block
        };
        optimized.extend(order::arrange(block, &mut interner, &profile));
    }
    (optimized, automatic.into_tables())
}
