//! Rulesets with what stands in the braces of their anchors.

use pf_engine::anchor::AnchorCall;
use pf_engine::engine::RuleList;
use pf_engine::ether::EtherRule;
use pf_engine::rule::Rule;
use pf_engine::ruleset::Ruleset;

use super::ether::print_ether_rule;
use super::{PrintOptions, print_rule, table_line};
use crate::echo::indent;

/// A pf.conf that says what the ruleset says but for its options: tables with their addresses,
/// then rules.
#[must_use]
pub fn print_source(ruleset: &Ruleset, options: PrintOptions) -> String {
    let tree = Tree {
        root: ruleset,
        options,
    };
    let mut text = String::new();
    tree.ether(&mut text, &ruleset.ether, 0);
    tree.ruleset(&mut text, ruleset, 0);
    text
}

struct Tree<'a> {
    root: &'a Ruleset,
    options: PrintOptions,
}

impl Tree<'_> {
    fn ruleset(&self, text: &mut String, ruleset: &Ruleset, depth: usize) {
        for (name, table) in &ruleset.tables {
            text.push_str(&indent(depth));
            text.push_str(&table_line(name, table));
            text.push('\n');
        }
        for list in RuleList::ALL {
            self.list(text, ruleset.list(list), depth);
        }
    }

    fn ether(&self, text: &mut String, list: &[EtherRule], depth: usize) {
        for rule in list {
            text.push_str(&indent(depth));
            text.push_str(&print_ether_rule(rule));
            self.braces(text, rule.anchor.as_ref(), depth, &|text, inner| {
                self.ether(text, &inner.ether, depth + 1);
            });
            text.push('\n');
        }
    }

    fn list(&self, text: &mut String, list: &[Rule], depth: usize) {
        for rule in list {
            text.push_str(&indent(depth));
            text.push_str(&print_rule(rule, self.options));
            self.braces(text, rule.anchor.as_ref(), depth, &|text, inner| {
                self.ruleset(text, inner, depth + 1);
            });
            text.push('\n');
        }
    }

    /// What stands in braces behind a rule, which is further down in the tree each time.
    fn braces(
        &self,
        text: &mut String,
        call: Option<&AnchorCall>,
        depth: usize,
        print: &dyn Fn(&mut String, &Ruleset),
    ) {
        let call = call.filter(|call| call.inline);
        if let Some(inner) = call.and_then(|call| self.root.anchors.get(&call.path)) {
            text.push_str(" {\n");
            print(text, inner);
            text.push_str(&indent(depth));
            text.push('}');
        }
    }
}
