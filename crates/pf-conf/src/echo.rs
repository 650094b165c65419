//! What `pfctl -v` tells of a file: what it reads, line by line, then the rules. `-N`, `-R`, `-O`,
//! `-A` and `-T load` choose parts; of the others next to nothing is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pf_engine::anchor::{AnchorCall, AnchorPath};
use pf_engine::engine::RuleList;
use pf_engine::ether::EtherRule;
use pf_engine::rule::Rule;
use pf_engine::ruleset::{Parts, Ruleset};

use crate::print::before_loading;
use crate::print::ether::print_ether_rule;
use crate::{Loaded, PrintOptions, print_rule};

/// With which part of a file a line is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// With any: macros, and the options that pfctl tells before it looks whether it loads them.
    Any,
    /// With the options.
    Options,
    /// With the tables.
    Tables,
    /// With the queues.
    Queues,
}

/// A line that is told while a file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EchoLine {
    /// With what.
    pub topic: Topic,
    /// The line, without its newline.
    pub text: String,
}

impl EchoLine {
    /// Whether it is told where `parts` are loaded.
    #[must_use]
    pub const fn is_told(&self, parts: Parts) -> bool {
        match self.topic {
            Topic::Any => true,
            Topic::Options => parts.options,
            Topic::Tables => parts.tables,
            Topic::Queues => parts.queues,
        }
    }
}

/// The lines of `echo` that are told where `parts` are loaded.
pub fn told(echo: &[EchoLine], parts: Parts) -> impl Iterator<Item = &str> {
    let lines = echo.iter().filter(move |line| line.is_told(parts));
    lines.map(|line| line.text.as_str())
}

/// How much is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling {
    /// Whose words.
    pub print: PrintOptions,
    /// `-vv`: with `@number` before each rule, and rules in braces not further in.
    pub numbered: bool,
    /// What is loaded.
    pub parts: Parts,
}

/// What is told of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The anchor that the file is loaded into and the file, of `load anchor`; nothing for the main one.
    pub load: Option<(String, String)>,
    /// The lines, each with its newline.
    pub text: String,
}

/// A file that `load anchor` names.
#[derive(Clone, Debug)]
pub struct LoadedFile {
    /// The anchor, as pfctl tells it.
    pub name: String,
    /// The file, as it is written.
    pub file: String,
    /// The anchor.
    pub path: AnchorPath,
    /// What is told while it is read.
    pub echo: Vec<EchoLine>,
}

impl Loaded {
    /// What `pfctl -v` tells of the text and, in their order, of the files that its `load anchor` lines name.
    #[must_use]
    pub fn told(&self, telling: &Telling) -> Vec<Told> {
        let main = self.told_of(&self.anchor, &self.ruleset, &self.echo, telling);
        let mut all = vec![Told {
            load: None,
            text: main,
        }];
        for load in &self.loads {
            let Some(ruleset) = self.ruleset.anchors.get(&load.path) else {
                continue;
            };
            all.push(Told {
                load: Some((load.name.clone(), load.file.clone())),
                text: self.told_of(&load.path, ruleset, &load.echo, telling),
            });
        }
        all
    }

    fn told_of(
        &self,
        path: &AnchorPath,
        ruleset: &Ruleset,
        echo: &[EchoLine],
        telling: &Telling,
    ) -> String {
        let mut text = String::new();
        for line in told(echo, telling.parts) {
            text.push_str(line);
            text.push('\n');
        }
        let tree = Tree {
            loaded: self,
            telling,
        };
        let parts = telling.parts;
        if parts.filter {
            tree.list(&mut text, path, ruleset, RuleList::Scrub, 0);
        }
        if parts.ether {
            tree.ether(&mut text, &ruleset.ether, 0);
        }
        if parts.translation {
            for list in [RuleList::Nat, RuleList::Rdr, RuleList::Binat] {
                tree.list(&mut text, path, ruleset, list, 0);
            }
        }
        if parts.filter {
            tree.filter(&mut text, path, ruleset, 0);
        }
        text
    }

    /// The number that pfctl tells of a rule that it is about to load.
    fn number(&self, path: &AnchorPath, list: RuleList, index: usize) -> usize {
        if list == RuleList::Filter && self.optimized {
            return index;
        }
        let numbers = self.numbers.get(path).map(|numbers| numbers.list(list));
        let number = numbers.and_then(|numbers| numbers.get(index));
        number.copied().unwrap_or(index)
    }
}

/// Rules with those in their braces.
struct Tree<'a> {
    loaded: &'a Loaded,
    telling: &'a Telling,
}

impl Tree<'_> {
    /// The filter rules, the tables that the optimizer made of them first.
    fn filter(&self, text: &mut String, path: &AnchorPath, ruleset: &Ruleset, depth: usize) {
        for line in self.loaded.automatic.get(path).into_iter().flatten() {
            text.push_str(line);
            text.push('\n');
        }
        self.list(text, path, ruleset, RuleList::Filter, depth);
    }

    fn list(
        &self,
        text: &mut String,
        path: &AnchorPath,
        ruleset: &Ruleset,
        list: RuleList,
        depth: usize,
    ) {
        for (index, rule) in ruleset.list(list).iter().enumerate() {
            self.begin(text, self.loaded.number(path, list, index), depth);
            if self.telling.numbered {
                text.push_str(&print_rule(&before_loading(rule), self.telling.print));
            } else {
                text.push_str(&print_rule(rule, self.telling.print));
            }
            self.packets_inside(text, rule, depth);
            text.push('\n');
        }
    }

    fn ether(&self, text: &mut String, rules: &[EtherRule], depth: usize) {
        for (index, rule) in rules.iter().enumerate() {
            self.begin(text, index, depth);
            text.push_str(&print_ether_rule(rule));
            if let Some((_, inner)) = self.inside(rule.anchor.as_ref()) {
                text.push_str(" {\n");
                self.ether(text, &inner.ether, depth + 1);
                close(text, depth);
            }
            text.push('\n');
        }
    }

    fn packets_inside(&self, text: &mut String, rule: &Rule, depth: usize) {
        if let Some((path, inner)) = self.inside(rule.anchor.as_ref()) {
            // As in pfctl, a name without rules has no braces.
            if inner.filter.is_empty() && !path.name().starts_with('_') {
                return;
            }
            text.push_str(" {\n");
            self.filter(text, path, inner, depth + 1);
            close(text, depth);
        }
    }

    /// What stands in the braces of a rule.
    fn inside<'b>(&'b self, call: Option<&'b AnchorCall>) -> Option<(&'b AnchorPath, &'b Ruleset)> {
        let call = call.filter(|call| call.inline)?;
        let anchors: &BTreeMap<AnchorPath, Ruleset> = &self.loaded.ruleset.anchors;
        Some((&call.path, anchors.get(&call.path)?))
    }

    /// What stands before a rule: further in, or the number.
    fn begin(&self, text: &mut String, number: usize, depth: usize) {
        if self.telling.numbered {
            // Writing to a string cannot fail.
            let _ = write!(text, "@{number} ");
        } else {
            text.push_str(&indent(depth));
        }
    }
}

/// The brace that closes stands as far in as its rule would without a number, with one too.
fn close(text: &mut String, depth: usize) {
    text.push_str(&indent(depth));
    text.push('}');
}

/// Two blanks for each pair of braces.
pub(crate) fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}
