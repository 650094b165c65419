//! pf.conf: text to valid ruleset to text.
//!
//! The stages are types: the parser makes statements out of tokens (names unresolved, lists still
//! lists), the expander makes a [`Ruleset`] out of statements, and only a text without one error
//! becomes one. Both grammars of PF (`nat on … ->` and `match … nat-to`) are read by one parser;
//! a [`Dialect`] rules the meaning of what is left out, and the printing.

#![forbid(unsafe_code)]

mod accounts;
mod ast;
mod diagnostic;
mod echo;
mod expand;
mod extras;
mod format;
mod lexer;
mod limits;
mod lint;
mod names;
mod optimize;
mod origin;
mod parser;
mod print;
mod source;
mod token;

use std::collections::BTreeMap;

use pf_engine::anchor::AnchorPath;
use pf_engine::env::Interface;
use pf_engine::ruleset::{Dialect, Parts, Ruleset};

use crate::expand::numbering::Numbering;
use crate::expand::{Lines, Numbers};
use crate::print::table_line;

pub use crate::accounts::{Accounts, Lookup};
pub use crate::diagnostic::{Code, Diagnostic, Diagnostics};
pub use crate::echo::{EchoLine, LoadedFile, Telling, Told, Topic, told};
pub use crate::format::{FormatError, format};
pub use crate::lint::{Warning, WarningKind, Warnings, check, unfiltered};
pub use crate::names::did_you_mean;
pub use crate::optimize::{Feedback, Optimization};
pub use crate::origin::Origins;
pub use crate::print::address::{print_address, print_port};
pub use crate::print::criteria::print_criteria;
pub use crate::print::ether::print_ether_rule;
pub use crate::print::queue::{print_queue, print_root_queue};
pub use crate::print::tree::print_source;
pub use crate::print::{PrintOptions, print_rule, print_rule_with_entries};
pub use crate::source::Place;

/// Reads the files that a pf.conf names (`include`, `table … file`).
pub trait SourceReader {
    /// The bytes of `path`, as it is written in the file (relative to the working directory).
    ///
    /// # Errors
    /// What the system said.
    fn read(&mut self, path: &str) -> std::io::Result<Vec<u8>>;
}

/// Files held in memory: for tests, and for what a client sends to the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFiles(pub BTreeMap<String, Vec<u8>>);

impl SourceReader for MemoryFiles {
    fn read(&mut self, path: &str) -> std::io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

/// How to read a pf.conf.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Whose meaning it has.
    pub dialect: Dialect,
    /// `-D name=value`; they win over definitions in the file.
    pub defines: Vec<(String, String)>,
    /// Interfaces that names in the file are expanded to.
    pub interfaces: Vec<Interface>,
    /// What names of users and groups stand for.
    pub accounts: Accounts,
    /// The ruleset that the text is for (`pfctl -a`): names of anchors in it are relative to that.
    pub anchor: AnchorPath,
    /// Where the keys of `source-hash` rules without one come from: a random number that an
    /// attacker cannot predict. The same seed gives the same keys.
    pub hash_seed: u64,
    /// Bytes of memory of the machine that the rules are for. What it cannot hold is refused;
    /// without it nothing is.
    pub memory: Option<u64>,
}

/// A pf.conf that was read without one error.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What can be installed.
    pub ruleset: Ruleset,
    /// What `pfctl -nv` echoes while it reads (macros, `set`, tables), one line each.
    pub echo: Vec<EchoLine>,
    /// Where each rule was written.
    pub origins: Origins,
    /// `set ruleset-optimization`. Nothing is optimized before [`Loaded::optimize`].
    pub optimization: Option<Optimization>,
    /// The ruleset that the text is for.
    pub anchor: AnchorPath,
    /// The files that `load anchor` names, in pfctl's order.
    pub loads: Vec<LoadedFile>,
    numbering: BTreeMap<AnchorPath, BTreeMap<usize, Numbering>>,
    numbers: BTreeMap<AnchorPath, Numbers>,
    /// The lines of the tables that the optimizer made.
    automatic: BTreeMap<AnchorPath, Vec<String>>,
    optimized: bool,
}

impl Loaded {
    /// How much is to be optimized: what was asked for (`pfctl -o`), else what the file says, else
    /// what the dialect does.
    #[must_use]
    pub fn level(&self, asked: Option<Optimization>) -> Optimization {
        asked
            .or(self.optimization)
            .unwrap_or(Optimization::default_of(self.ruleset.dialect))
    }

    /// Optimizes the filter rules. Decides no packet otherwise than before; only the numbers of
    /// rules (and `$nr` in labels), evaluation counters and tables named `__automatic_…` change.
    ///
    /// Returns the lines that `pfctl -v` prints for the tables it made.
    pub fn optimize(&mut self, level: Optimization, feedback: &[Feedback]) -> Vec<String> {
        self.optimize_parts(level, feedback, Parts::ALL);
        let own = self.automatic.get(&self.anchor);
        own.cloned().unwrap_or_default()
    }

    /// As [`Loaded::optimize`], where `parts` alone are loaded: without tables none are made.
    pub fn optimize_parts(&mut self, level: Optimization, feedback: &[Feedback], parts: Parts) {
        let anchors: Vec<AnchorPath> = self.origins.anchors().cloned().collect();
        for anchor in anchors {
            let tables = self.optimize_one(&anchor, level, feedback, parts.tables);
            self.automatic.insert(anchor, tables);
        }
        self.optimized |= level != Optimization::None;
    }

    /// Optimizes one of the rulesets.
    fn optimize_one(
        &mut self,
        anchor: &AnchorPath,
        level: Optimization,
        feedback: &[Feedback],
        makes_tables: bool,
    ) -> Vec<String> {
        let ruleset = if *anchor == self.anchor {
            Some(&mut self.ruleset)
        } else {
            self.ruleset.anchors.get_mut(anchor)
        };
        let Some(ruleset) = ruleset else {
            return Vec::new();
        };
        let rules = std::mem::take(&mut ruleset.filter);
        let places = self.origins.take_filter(anchor);
        let mut numbering = self.numbering.remove(anchor).unwrap_or_default();
        let items = rules.into_iter().zip(places).enumerate();
        let items = items.map(|(number, (rule, origin))| optimize::Item {
            rule,
            origin,
            numbering: numbering.remove(&number),
        });
        let tables = &ruleset.tables;
        let (items, tables) =
            optimize::optimize(items.collect(), level, tables, feedback, makes_tables);
        let mut places = Vec::with_capacity(items.len());
        for (number, mut item) in items.into_iter().enumerate() {
            if let Some(names) = item.numbering {
                names.apply(&mut item.rule, number);
                numbering.insert(number, names);
            }
            ruleset.filter.push(item.rule);
            places.push(item.origin);
        }
        let lines = tables.iter().map(|(name, table)| table_line(name, table));
        let lines = lines.collect();
        ruleset.tables.extend(tables);
        self.origins.put_filter(anchor, places);
        self.numbering.insert(anchor.clone(), numbering);
        lines
    }
}

/// Reads `main` (named `name` in messages; `stdin` for `-`).
///
/// # Errors
/// Every error in the text; then there is nothing to install.
pub fn load(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
) -> Result<Loaded, Diagnostics> {
    let parsed = parser::parse(name, main, files, options, false);
    let expanded = expand::expand(&parsed.statements, options, None);
    let mut errors = parsed.errors;
    errors.extend(expanded.errors);
    if !errors.is_empty() {
        return Err(Diagnostics::new(errors, parsed.sources).after(expanded.echo));
    }
    let base = options.anchor.clone();
    let mut ruleset = expanded.ruleset;
    let mut origins = BTreeMap::from([(base.clone(), expanded.origins)]);
    let mut numbering = BTreeMap::from([(base.clone(), expanded.numbering)]);
    let mut numbers = BTreeMap::from([(base.clone(), expanded.numbers)]);
    for (tree, spans) in ruleset.queues.iter_mut().zip(expanded.queue_spans) {
        spans.name_places(tree, &parsed.sources);
    }
    for (path, part) in expanded.anchors {
        ruleset.anchors.insert(path.clone(), part.ruleset);
        origins.insert(path.clone(), part.origins);
        numbers.insert(path.clone(), part.numbers);
        numbering.insert(path, part.numbering);
    }
    Ok(Loaded {
        ruleset,
        echo: expanded.echo,
        origins: Origins::new(origins, base.clone(), parsed.sources),
        optimization: expanded.optimization,
        anchor: base,
        loads: expanded.loads.into_iter().map(|load| load.told).collect(),
        numbering,
        numbers,
        automatic: BTreeMap::new(),
        optimized: false,
    })
}

/// What `pfctl -o none -nv` prints for `main`, without the last newline of each piece: the echo,
/// then the rules. A piece is one line, but for an anchor with rules in braces, which is all its
/// lines.
///
/// Unlike [`load`] it also takes what can be read and printed but not installed;
/// nothing of it can be installed.
///
/// # Errors
/// Every error in the text.
pub fn preview(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
    print: PrintOptions,
) -> Result<Vec<String>, Diagnostics> {
    let telling = Telling {
        print,
        ..Telling::default()
    };
    let pieces = pieces(name, main, files, options, &telling)?;
    Ok(pieces.into_iter().flat_map(|(_, lines)| lines).collect())
}

/// As [`preview`], file by file: the main one, then those that `load anchor` lines name.
///
/// # Errors
/// Every error in the text.
pub fn preview_files(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
    telling: &Telling,
) -> Result<Vec<Told>, Diagnostics> {
    let pieces = pieces(name, main, files, options, telling)?;
    let told = pieces.into_iter().map(|(load, lines)| Told {
        load,
        text: lines.into_iter().map(|line| line + "\n").collect(),
    });
    Ok(told.collect())
}

/// A file that was loaded into an anchor, if it was, and what is printed of it.
type Pieces = (Option<(String, String)>, Vec<String>);

fn pieces(
    name: &str,
    main: &[u8],
    files: &mut dyn SourceReader,
    options: &LoadOptions,
    telling: &Telling,
) -> Result<Vec<Pieces>, Diagnostics> {
    let parsed = parser::parse(name, main, files, options, true);
    let print = (telling.print, telling.numbered);
    let expanded = expand::expand(&parsed.statements, options, Some(print));
    let mut errors = parsed.errors;
    errors.extend(expanded.errors);
    if !errors.is_empty() {
        return Err(Diagnostics::new(errors, parsed.sources).after(expanded.echo));
    }
    let lines = |echo: &[EchoLine], rules: Lines| {
        let rules = rules.in_order(telling.numbered, telling.parts);
        let echo = told(echo, telling.parts).map(str::to_owned);
        echo.chain(rules).collect()
    };
    let mut all = vec![(None, lines(&expanded.echo, expanded.lines))];
    for load in expanded.loads {
        let lines = lines(&load.told.echo, load.lines);
        all.push((Some((load.told.name, load.told.file)), lines));
    }
    Ok(all)
}
