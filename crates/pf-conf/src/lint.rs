//! `weighbridge check`: what is right in the grammar and still looks wrong.
//!
//! Only what is certain is told: a rule is called unreachable or without effect when that follows
//! from the rules alone, whatever the packets, tables and interfaces. Tables and dynamic addresses
//! are compared by name.

mod covers;
mod names;
mod render;
mod rules;
mod unfiltered;

use crate::diagnostic::Diagnostics;
use crate::parser::parse_traced;
use crate::source::{Place, Sources, Span};
use crate::{LoadOptions, Loaded, SourceReader, load};

pub use self::unfiltered::unfiltered;

/// Kind of a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WarningKind {
    /// `PF101`: an earlier rule takes every packet that the rule asks for.
    NeverMatches,
    /// `PF102`: the same as an earlier `quick` rule.
    AfterIdenticalQuick,
    /// `PF103`: the same as an earlier rule.
    Duplicate,
    /// `PF104`: a later rule matches every packet that the rule asks for, and the last match wins.
    NoEffect,
    /// `PF105`: `block` behind `pass quick all`, which leaves it next to nothing.
    BlockAfterPassAll,
    /// `PF106`: a macro that nothing uses.
    UnusedMacro,
    /// `PF107`: a macro defined twice in one file.
    MacroTwice,
    /// `PF108`: a table that no rule names.
    UnusedTable,
    /// `PF109`: a table that a rule names and nothing defines.
    UndefinedTable,
    /// `PF110`: the ruleset is too large to compare every rule with every other.
    NotCompared,
    /// `PF111`: a table defined twice; the last definition counts.
    TableTwice,
    /// `PF112`: a rule sends packets by an interface that is not filtered, or translates on it.
    Unfiltered,
}

impl WarningKind {
    /// As it is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverMatches => "PF101",
            Self::AfterIdenticalQuick => "PF102",
            Self::Duplicate => "PF103",
            Self::NoEffect => "PF104",
            Self::BlockAfterPassAll => "PF105",
            Self::UnusedMacro => "PF106",
            Self::MacroTwice => "PF107",
            Self::UnusedTable => "PF108",
            Self::UndefinedTable => "PF109",
            Self::NotCompared => "PF110",
            Self::TableTwice => "PF111",
            Self::Unfiltered => "PF112",
        }
    }
}

/// One warning.
#[derive(Clone, Debug)]
pub struct Warning {
    /// Its kind.
    pub kind: WarningKind,
    /// What looks wrong.
    pub message: String,
    /// Why.
    pub why: String,
    span: Span,
    /// What it has to do with: its place and what it is there.
    other: Option<(Span, String)>,
}

/// The warnings about one text, in the order of their places.
#[derive(Clone, Debug)]
pub struct Warnings {
    list: Vec<Warning>,
    sources: Sources,
}

impl Warnings {
    /// The warnings with their places, and the place of the other rule or definition.
    pub fn iter(&self) -> impl Iterator<Item = (Place, &Warning, Option<Place>)> {
        self.list.iter().map(|warning| {
            let other = warning.other.as_ref();
            let other = other.map(|(span, _)| self.sources.place(*span));
            (self.sources.place(warning.span), warning, other)
        })
    }

    /// By their places.
    fn sort(&mut self) {
        self.list
            .sort_by_key(|warning| (warning.span.file, warning.span.lo, warning.kind));
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.list.len()
    }

    /// The line of the file at `place`, without the blanks around it.
    #[must_use]
    pub fn line(&self, warning: &Warning) -> &str {
        render::line(&self.sources, warning.span)
    }
}

/// Reads `main` as [`load`] does and looks for what is probably a mistake.
///
/// # Errors
/// Every error in the text; then there are no warnings.
pub fn check(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
) -> Result<(Loaded, Warnings), Diagnostics> {
    check_within(rules::MAX_COMPARISONS, name, main, files, options)
}

/// As [`check`], with at most `limit` comparisons of rules in each list.
fn check_within(
    limit: u64,
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
) -> Result<(Loaded, Warnings), Diagnostics> {
    let loaded = load(name, main, files, options)?;
    let parsed = parse_traced(name, main, files, options);
    let mut list = Vec::new();
    rules::check(&loaded, limit, &mut list);
    names::check(&loaded, &parsed, &mut list);
    let mut warnings = Warnings {
        list,
        sources: parsed.sources,
    };
    warnings.sort();
    Ok((loaded, warnings))
}

#[cfg(test)]
mod tests;
