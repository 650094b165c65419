//! Parsed statements to a valid ruleset: names resolved, lists multiplied, families inferred,
//! options checked against each other.

mod anchor;
mod antispoof;
mod beyond;
mod check;
mod consistent;
mod ether;
mod host;
mod label;
pub(crate) mod numbering;
mod pool;
mod queue;
mod room;
mod rule;
mod set;
mod system;
mod table;

use std::collections::{BTreeMap, VecDeque};

use pf_engine::anchor::AnchorPath;
use pf_engine::engine::RuleList;
use pf_engine::env::Interface;
use pf_engine::ether::EtherRule;
use pf_engine::rule::{Reassemble, StatePolicy};
use pf_engine::ruleset::{Dialect, Options, Parts, Ruleset};

pub(crate) use self::anchor::Part;
use self::numbering::Numbering;
use crate::LoadOptions;
use crate::ast::{SetStatement, Spanned, State, Statement, Verb};
use crate::diagnostic::{Code, Diagnostic, shorten};
use crate::echo::{EchoLine, LoadedFile, Topic};
use crate::limits::{MAX_ERRORS, MAX_QUOTED_CHARS};
use crate::optimize::Optimization;
use crate::print::{PrintOptions, limits, quoted};
use crate::source::Span;

/// An error was recorded; the statement is given up.
pub(crate) struct Bail;

/// Where to go for what divert(4) does.
pub(crate) const NO_DIVERT_SOCKETS: &str = "Linux has no divert(4) sockets: `nft … queue` hands \
    packets to a program, and `dialect = \"openbsd\"` has a `divert-to ADDRESS port N` that leads to \
    a socket";

type Expand<T> = Result<T, Bail>;

/// What came out of the statements. Only without errors may the ruleset be used.
pub(crate) struct Expanded {
    pub(crate) ruleset: Ruleset,
    pub(crate) echo: Vec<EchoLine>,
    pub(crate) errors: Vec<Diagnostic>,
    /// Rules as text, if printing was asked for.
    pub(crate) lines: Lines,
    pub(crate) origins: RuleSpans,
    pub(crate) numbers: Numbers,
    /// `set ruleset-optimization`.
    pub(crate) optimization: Option<Optimization>,
    /// Filter rules whose labels or tags name `$nr`.
    pub(crate) numbering: BTreeMap<usize, Numbering>,
    /// Rulesets of anchors.
    pub(crate) anchors: BTreeMap<AnchorPath, Part>,
    /// What `load anchor` fills, in pfctl's order.
    pub(crate) loads: Vec<Load>,
    /// Where the queues were written, tree by tree.
    pub(crate) queue_spans: Vec<queue::TreeSpans>,
}

/// A rule as it is printed, and its number.
pub(crate) type NumberedLine = (usize, String);

/// Something of each rule, list by list as in its ruleset.
#[derive(Clone, Debug)]
pub(crate) struct Lists<T> {
    pub(crate) scrub: Vec<T>,
    pub(crate) nat: Vec<T>,
    pub(crate) rdr: Vec<T>,
    pub(crate) binat: Vec<T>,
    pub(crate) filter: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self {
            scrub: Vec::new(),
            nat: Vec::new(),
            rdr: Vec::new(),
            binat: Vec::new(),
            filter: Vec::new(),
        }
    }
}

impl<T> Lists<T> {
    pub(crate) fn list(&self, list: RuleList) -> &[T] {
        match list {
            RuleList::Scrub => &self.scrub,
            RuleList::Nat => &self.nat,
            RuleList::Rdr => &self.rdr,
            RuleList::Binat => &self.binat,
            RuleList::Filter => &self.filter,
        }
    }

    fn push(&mut self, list: RuleList, one: T) {
        let list = match list {
            RuleList::Scrub => &mut self.scrub,
            RuleList::Nat => &mut self.nat,
            RuleList::Rdr => &mut self.rdr,
            RuleList::Binat => &mut self.binat,
            RuleList::Filter => &mut self.filter,
        };
        list.push(one);
    }
}

/// Where each rule was written.
pub(crate) type RuleSpans = Lists<Span>;

/// The numbers that `pfctl -vv` gives rules before they are loaded. `scrub`, `nat`, `rdr` and
/// filter rules of a ruleset count together, in the order of the text; `binat` rules are all number 0.
pub(crate) type Numbers = Lists<usize>;

impl Numbers {
    /// The number of the next rule of `list`.
    fn next(&self, list: RuleList) -> usize {
        if list == RuleList::Binat {
            return 0;
        }
        let counted = RuleList::ALL
            .into_iter()
            .filter(|list| *list != RuleList::Binat);
        counted.map(|list| self.list(list).len()).sum()
    }
}

/// Printed rules.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) ether: Vec<NumberedLine>,
    pub(crate) rules: Lists<NumberedLine>,
}

impl Lines {
    /// Those of `parts` as `pfctl -nv` prints them, or with numbers as `-nvv` does.
    pub(crate) fn in_order(self, numbered: bool, parts: Parts) -> impl Iterator<Item = String> {
        let lists = [
            (parts.filter, self.rules.scrub),
            (parts.ether, self.ether),
            (parts.translation, self.rules.nat),
            (parts.translation, self.rules.rdr),
            (parts.translation, self.rules.binat),
            (parts.filter, self.rules.filter),
        ];
        let lists = lists.into_iter().filter(|(is_told, _)| *is_told);
        lists.flat_map(move |(_, list)| {
            list.into_iter().map(move |(number, line)| {
                if numbered {
                    format!("@{number} {line}")
                } else {
                    line
                }
            })
        })
    }
}

/// A file that `load anchor` names.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) told: LoadedFile,
    /// Its rules as text, if printing was asked for.
    pub(crate) lines: Lines,
    /// What it names itself.
    nested: Vec<Self>,
}

/// Expands `statements` in their order.
pub(crate) fn expand(
    statements: &[Statement],
    options: &LoadOptions,
    print: Option<(PrintOptions, bool)>,
) -> Expanded {
    let mut expander = Expander {
        interfaces: &options.interfaces,
        ruleset: Ruleset {
            dialect: options.dialect,
            options: default_options(options.dialect),
            ..Ruleset::default()
        },
        echo: Vec::new(),
        errors: Vec::new(),
        origins: RuleSpans::default(),
        optimization: None,
        numbering: BTreeMap::new(),
        anchor: options.anchor.clone(),
        anchors: BTreeMap::new(),
        ether_anchors: BTreeMap::new(),
        loads: BTreeMap::new(),
        rules: 0,
        body: String::new(),
        block_returns: false,
        require_order: options.dialect == Dialect::OpenBsd3,
        section: Section::Options,
        state_defaults: None,
        load_order: Vec::new(),
        numbers: Numbers::default(),
        state_policy: state_policy(statements),
        seed: options.hash_seed,
        queue_spans: Vec::new(),
        automatic_tables: 0,
        print: print.map(|(print, _)| print),
        numbered: print.is_some_and(|(_, numbered)| numbered),
        lines: Lines::default(),
        memory: options.memory,
        filled: Vec::new(),
    };
    for statement in statements {
        // A failed statement has recorded its error; the others are read all the same.
        let _ = expander.statement(statement);
        if expander.errors.len() >= MAX_ERRORS {
            break;
        }
    }
    expander.check_queues();
    expander.join_ether();
    expander.check_tables();
    expander.anchors.append(&mut expander.loads);
    Expanded {
        ruleset: expander.ruleset,
        echo: expander.echo,
        errors: expander.errors,
        lines: expander.lines,
        origins: expander.origins,
        numbers: expander.numbers,
        optimization: expander.optimization,
        numbering: expander.numbering,
        anchors: expander.anchors,
        loads: in_turn(expander.load_order),
        queue_spans: expander.queue_spans,
    }
}

/// Files in pfctl's order: what one names comes after all that were named before.
fn in_turn(loads: Vec<Load>) -> Vec<Load> {
    let mut waiting = VecDeque::from(loads);
    let mut all = Vec::with_capacity(waiting.len());
    while let Some(mut load) = waiting.pop_front() {
        waiting.extend(std::mem::take(&mut load.nested));
        all.push(load);
    }
    all
}

/// Only OpenBSD of today reassembles without being told to (pf.conf(5), `set reassemble`).
fn default_options(dialect: Dialect) -> Options {
    Options {
        reassemble: Reassemble {
            enabled: dialect == Dialect::OpenBsd,
            no_df: false,
        },
        ..Options::default()
    }
}

fn state_policy(statements: &[Statement]) -> StatePolicy {
    let mut policies = statements
        .iter()
        .rev()
        .filter_map(|statement| match statement {
            Statement::Set(SetStatement::StatePolicy(policy)) => Some(*policy),
            Statement::Set(_)
            | Statement::Macro { .. }
            | Statement::Table(_)
            | Statement::Antispoof(_)
            | Statement::Rule(_)
            | Statement::Ether(_)
            | Statement::StateLimiter(_)
            | Statement::SourceLimiter(_)
            | Statement::LoadAnchor { .. } => None,
        });
    policies.next().unwrap_or_default()
}

/// Parts of a pf.conf in the order that `set require-order` demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Options,
    Ether,
    Normalization,
    Translation,
    Filter,
}

struct Expander<'a> {
    interfaces: &'a [Interface],
    /// What the machine has.
    memory: Option<u64>,
    /// The tables with how many addresses each was given.
    filled: Vec<(Spanned<String>, usize)>,
    ruleset: Ruleset,
    echo: Vec<EchoLine>,
    errors: Vec<Diagnostic>,
    origins: RuleSpans,
    numbers: Numbers,
    optimization: Option<Optimization>,
    numbering: BTreeMap<usize, Numbering>,
    /// The ruleset that is read.
    anchor: AnchorPath,
    /// The others that are filled.
    anchors: BTreeMap<AnchorPath, Part>,
    /// Rules for frames in braces.
    ether_anchors: BTreeMap<AnchorPath, Vec<EtherRule>>,
    /// What `load anchor` fills.
    loads: BTreeMap<AnchorPath, Part>,
    /// Rules in all of them.
    rules: usize,
    /// The printed braces of the rule at hand.
    body: String,
    /// `set block-policy return`, for the rules after it.
    block_returns: bool,
    require_order: bool,
    section: Section,
    /// `set state-defaults`, for the rules after it.
    state_defaults: Option<State>,
    /// The files that fill them, in pfctl's order.
    load_order: Vec<Load>,
    /// `set state-policy`: for every rule, wherever it stands.
    state_policy: StatePolicy,
    /// State of the generator of `source-hash` keys.
    seed: u64,
    queue_spans: Vec<queue::TreeSpans>,
    /// Tables that were made for pools.
    automatic_tables: usize,
    /// Print rules instead of keeping them.
    print: Option<PrintOptions>,
    /// With a number before each.
    numbered: bool,
    lines: Lines,
}

impl Expander<'_> {
    fn statement(&mut self, statement: &Statement) -> Expand<()> {
        match statement {
            Statement::Macro { name, value } => {
                self.tell(Topic::Any, format!("{name} = {}", quoted(value)));
                Ok(())
            }
            Statement::Set(SetStatement::RequireOrder(required)) => {
                self.require_order = *required;
                let word = if *required { "yes" } else { "no" };
                self.tell(Topic::Any, format!("set require-order {word}"));
                Ok(())
            }
            Statement::Set(SetStatement::StateDefaults(defaults)) => {
                if self.state_defaults.is_some() {
                    let message = "cannot redefine state-defaults";
                    return Err(self.error(Code::Conflict, defaults.span, message, ""));
                }
                self.state_defaults = Some((**defaults).clone());
                Ok(())
            }
            Statement::Set(set) => {
                self.set(set);
                Ok(())
            }
            Statement::Table(table) => self.table(table),
            Statement::StateLimiter(limiter) => {
                self.tell(Topic::Any, limits::state_limiter(limiter));
                self.ruleset.limiters.states.push(limiter.clone());
                Ok(())
            }
            Statement::SourceLimiter(limiter) => {
                self.tell(Topic::Any, limits::source_limiter(limiter));
                self.ruleset.limiters.sources.push((**limiter).clone());
                Ok(())
            }
            Statement::LoadAnchor { name, file, body } => self.loaded(name, file, body),
            Statement::Antispoof(antispoof) => {
                self.enter(Section::Filter, antispoof.span)?;
                self.antispoof(antispoof)
            }
            Statement::Ether(ether) => self.ether(ether),
            Statement::Rule(rule) => {
                let section = match rule.verb {
                    Verb::Scrub { .. } => Section::Normalization,
                    Verb::Nat { .. } | Verb::Rdr { .. } | Verb::Binat { .. } => {
                        Section::Translation
                    }
                    Verb::Pass | Verb::Block(_) | Verb::Match | Verb::Anchor => Section::Filter,
                };
                self.enter(section, rule.span)?;
                self.rule(rule)
            }
        }
    }

    pub(super) fn tell(&mut self, topic: Topic, text: String) {
        self.echo.push(EchoLine { topic, text });
    }

    /// Checks `set require-order`, the default before OpenBSD 4.7.
    fn enter(&mut self, section: Section, span: Span) -> Expand<()> {
        if self.require_order && section < self.section {
            let message = match self.ruleset.dialect {
                Dialect::OpenBsd3 => {
                    "Rules must be in order: options, normalization, queueing, translation, filtering"
                }
                Dialect::FreeBsd | Dialect::OpenBsd => {
                    "Rules must be in order: options, ethernet, normalization, queueing, \
                     translation, filtering"
                }
            };
            let bail = self.error(Code::Conflict, span, message, "");
            if let Some(error) = self.errors.last_mut() {
                error.hint = Some("`set require-order no` turns this check off".to_owned());
            }
            return Err(bail);
        }
        self.section = section;
        Ok(())
    }

    /// Records an error; `detail` may be empty.
    fn error(&mut self, code: Code, span: Span, message: &str, detail: &str) -> Bail {
        let mut error = Diagnostic::new(code, span, message.to_owned());
        error.detail =
            Some(shorten(detail.to_owned(), MAX_QUOTED_CHARS)).filter(|text| !text.is_empty());
        self.errors.push(error);
        Bail
    }

    /// A key for `source-hash` without one. `SplitMix64` over the seed of the load.
    fn hash_key(&mut self) -> [u32; 4] {
        let mut key = [0; 4];
        for word in &mut key {
            self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *word = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default();
        }
        key
    }
}
