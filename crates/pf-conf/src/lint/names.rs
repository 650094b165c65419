//! Macros and tables that are defined and not used, or used and not defined.

use std::collections::{BTreeMap, BTreeSet};

use pf_engine::engine::RuleList;
use pf_engine::rule::{Address, Rule};

use super::{Warning, WarningKind};
use crate::Loaded;
use crate::parser::Parsed;
use crate::source::{Sources, Span};
use crate::token::{Kind, Token};

/// The file that was given: only what it defines itself is expected to be used.
const MAIN: usize = 0;

/// Looks through macros and tables.
pub(super) fn check(loaded: &Loaded, parsed: &Parsed, warnings: &mut Vec<Warning>) {
    let named = Named::of(parsed);
    named.macros(warnings);
    named.tables_defined_twice(warnings);
    named.unused_tables(warnings);
    named.undefined_tables(loaded, warnings);
}

/// Names in a text.
#[derive(Default)]
struct Named {
    macros: Vec<(String, Span)>,
    used_macros: BTreeSet<String>,
    tables: Vec<(String, Span)>,
    used_tables: BTreeMap<String, Span>,
}

impl Named {
    fn of(parsed: &Parsed) -> Self {
        let mut named = Self::default();
        let mut line_start = 0;
        for (at, token) in parsed.tokens.iter().enumerate() {
            if token.ends_line() {
                line_start = at + 1;
            }
            let next = |ahead: usize| parsed.tokens.get(at + ahead);
            let defines = at == line_start
                && token.kind == Kind::Word
                && next(1).is_some_and(|next| next.is_symbol("="));
            if defines {
                named.macros.push((token.text.to_string(), token.span));
            }
            if token.is_symbol("<")
                && let (Some(name), Some(close)) = (next(1), next(2))
                && close.is_symbol(">")
            {
                let of_table = at == line_start + 1 && parsed.tokens[line_start].is_word("table");
                named.table(name, token.span.to(close.span), of_table);
            }
        }
        for used in parsed.sources.expansions() {
            named.used_macros.insert(used.name.clone());
            if used.value.contains('#') {
                named.switched_off(rest_of_line(&parsed.sources, used.at));
            }
        }
        named
    }

    fn table(&mut self, name: &Token, span: Span, defined: bool) {
        if !matches!(name.kind, Kind::Word | Kind::Quoted | Kind::Number) {
            return;
        }
        let name = name.text.to_string();
        if defined {
            self.tables.push((name, span));
        } else {
            self.used_tables.entry(name).or_insert(span);
        }
    }

    /// A line that a macro turns into a comment counts: it can be switched on again.
    fn switched_off(&mut self, text: &str) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
        for (at, sign) in text.match_indices(['$', '<']) {
            let rest = text[at + 1..].trim_start();
            let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
            if sign == "$" {
                let end = name.find(['-', '.']).unwrap_or(name.len());
                self.used_macros.insert(name[..end].to_owned());
            } else {
                let nowhere = Span {
                    file: MAIN,
                    lo: 0,
                    hi: 0,
                    expansion: None,
                };
                self.used_tables.entry(name).or_insert(nowhere);
            }
        }
    }

    fn macros(&self, warnings: &mut Vec<Warning>) {
        let mut first: BTreeMap<(usize, &str), Span> = BTreeMap::new();
        for (name, span) in &self.macros {
            let known = *first.entry((span.file, name)).or_insert(*span);
            if known != *span {
                warnings.push(Warning {
                    kind: WarningKind::MacroTwice,
                    message: format!("macro '{name}' is defined twice"),
                    why: "what comes before this line has the first value, what comes after it \
                          the second"
                        .to_owned(),
                    span: *span,
                    other: Some((known, "defined here first".to_owned())),
                });
            } else if span.file == MAIN && !self.used_macros.contains(name) {
                warnings.push(Warning {
                    kind: WarningKind::UnusedMacro,
                    message: format!("macro '{name}' is not used"),
                    why: format!("nothing says ${name}"),
                    span: *span,
                    other: None,
                });
            }
        }
    }

    fn tables_defined_twice(&self, warnings: &mut Vec<Warning>) {
        let mut earlier: BTreeMap<&str, Span> = BTreeMap::new();
        for (name, span) in &self.tables {
            if let Some(known) = earlier.insert(name, *span) {
                warnings.push(Warning {
                    kind: WarningKind::TableTwice,
                    message: format!("table <{name}> is defined twice"),
                    why: "the last definition counts; what the earlier one says is lost".to_owned(),
                    span: *span,
                    other: Some((known, "defined here before".to_owned())),
                });
            }
        }
    }

    fn unused_tables(&self, warnings: &mut Vec<Warning>) {
        for (name, span) in &self.tables {
            if span.file == MAIN && !self.used_tables.contains_key(name) {
                warnings.push(Warning {
                    kind: WarningKind::UnusedTable,
                    message: format!("table <{name}> is not used"),
                    why: "no rule names it".to_owned(),
                    span: *span,
                    other: None,
                });
            }
        }
    }

    fn undefined_tables(&self, loaded: &Loaded, warnings: &mut Vec<Warning>) {
        let mut told = BTreeSet::new();
        let anchors = loaded.ruleset.anchors.iter();
        let rulesets = anchors.chain([(&loaded.anchor, &loaded.ruleset)]);
        let lists = rulesets.flat_map(|(anchor, ruleset)| {
            let lists = RuleList::ALL.into_iter();
            lists.map(move |list| (anchor, ruleset, list))
        });
        for (anchor, ruleset, list) in lists {
            for (number, rule) in ruleset.list(list).iter().enumerate() {
                for name in tables_of(rule) {
                    // What an anchor does not define may be the main ruleset's.
                    let defined = ruleset.tables.contains_key(name)
                        || loaded.ruleset.tables.contains_key(name);
                    if defined || !told.insert(name.clone()) {
                        continue;
                    }
                    let rule_span = loaded.origins.list(anchor, list).get(number).copied();
                    let Some(span) = self.used_tables.get(name).copied().or(rule_span) else {
                        continue;
                    };
                    warnings.push(Warning {
                        kind: WarningKind::UndefinedTable,
                        message: format!("table <{name}> is not defined"),
                        why: "it is empty until something fills it, and goes when it is not named \
                              any more; `table <...> persist` would say that this is meant"
                            .to_owned(),
                        span,
                        other: None,
                    });
                }
            }
        }
    }
}

fn tables_of(rule: &Rule) -> impl Iterator<Item = &String> {
    let targets = rule.pools().flat_map(|pool| &pool.targets);
    [&rule.source.address, &rule.destination.address]
        .into_iter()
        .chain(targets.map(|target| &target.address))
        .filter_map(|address| match address {
            Address::Table(name) => Some(name),
            Address::Any
            | Address::Prefix(_)
            | Address::Range(..)
            | Address::Dynamic(_)
            | Address::NoRoute
            | Address::UrpfFailed => None,
        })
}

/// From the place of a macro to the end of its line, continued lines included.
fn rest_of_line(sources: &Sources, at: Span) -> &str {
    let text = sources.file(at.file).map_or("", |file| &file.text);
    let rest = text.get(at.hi..).unwrap_or_default();
    let mut end = 0;
    for line in rest.split_inclusive('\n') {
        end += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        if !line.ends_with('\\') {
            break;
        }
    }
    rest.get(..end).unwrap_or_default()
}
