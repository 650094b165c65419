//! Rulesets with what stands in the braces of their anchors.

use std::fmt::Write as _;

use pf_engine::engine::RuleList;
use pf_engine::rule::Rule;
use pf_engine::ruleset::Ruleset;

use super::{PrintOptions, print_rule, table_line};

/// The rules of one list as `pfctl -nv` prints them, each line with its newline; those in braces
/// are two blanks further in. `numbered`: with `@number` before each and no indentation
/// (`pfctl -nvv`). `root` has the rulesets of the anchors.
#[must_use]
pub fn print_list(root: &Ruleset, list: &[Rule], options: PrintOptions, numbered: bool) -> String {
    let tree = Tree {
        root,
        options,
        numbered,
        tables: false,
    };
    let mut text = String::new();
    tree.list(&mut text, list, 0);
    text
}

/// A pf.conf that says what the ruleset says but for its options: tables with their addresses,
/// then rules.
#[must_use]
pub fn print_source(ruleset: &Ruleset, options: PrintOptions) -> String {
    let tree = Tree {
        root: ruleset,
        options,
        numbered: false,
        tables: true,
    };
    let mut text = String::new();
    tree.ruleset(&mut text, ruleset, 0);
    text
}

struct Tree<'a> {
    root: &'a Ruleset,
    options: PrintOptions,
    numbered: bool,
    tables: bool,
}

impl Tree<'_> {
    fn ruleset(&self, text: &mut String, ruleset: &Ruleset, depth: usize) {
        for (name, table) in ruleset.tables.iter().filter(|_| self.tables) {
            self.indent(text, depth);
            text.push_str(&table_line(name, table));
            text.push('\n');
        }
        for list in RuleList::ALL {
            self.list(text, ruleset.list(list), depth);
        }
    }

    fn list(&self, text: &mut String, list: &[Rule], depth: usize) {
        for (number, rule) in list.iter().enumerate() {
            self.indent(text, depth);
            if self.numbered {
                // Writing to a string cannot fail.
                let _ = write!(text, "@{number} ");
            }
            text.push_str(&print_rule(rule, self.options));
            let call = rule.anchor.as_ref().filter(|call| call.inline);
            if let Some(inner) = call.and_then(|call| self.root.anchors.get(&call.path)) {
                // What stands in braces is further down in the tree each time.
                text.push_str(" {\n");
                self.ruleset(text, inner, depth + 1);
                self.indent(text, depth);
                text.push('}');
            }
            text.push('\n');
        }
    }

    fn indent(&self, text: &mut String, depth: usize) {
        if !self.numbered {
            text.push_str(&"  ".repeat(depth));
        }
    }
}
