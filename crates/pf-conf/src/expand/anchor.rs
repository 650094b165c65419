//! What is in the braces of an anchor, and what `load anchor` read, for a preview.

use pf_engine::ruleset::Ruleset;

use super::{Expander, Section};
use crate::ast::{RuleStatement, Statement};

impl Expander<'_> {
    /// ` {`, the rules of the anchor, each two blanks further in unless rules are numbered, and
    /// `}`; nothing for a rule without braces.
    pub(super) fn anchor_body(&mut self, statement: &RuleStatement) -> String {
        let Some(body) = &statement.body else {
            return String::new();
        };
        let mut text = String::from(" {\n");
        let indent = if self.numbered { "" } else { "  " };
        for line in self.apart(body) {
            text = text + indent + &line.replace('\n', &format!("\n{indent}")) + "\n";
        }
        text + "}"
    }

    /// What is printed after everything else.
    pub(super) fn loaded(&mut self, body: &[Statement]) {
        let outer = std::mem::take(&mut self.echo);
        let section = std::mem::replace(&mut self.section, Section::Options);
        let lines = self.apart(body);
        self.section = section;
        let echo = std::mem::replace(&mut self.echo, outer);
        self.after.extend(echo.into_iter().chain(lines));
    }

    /// The rules of another ruleset: numbered from 0, with tables of its own.
    fn apart(&mut self, body: &[Statement]) -> Vec<String> {
        let inner = Ruleset {
            dialect: self.ruleset.dialect,
            ..Ruleset::default()
        };
        let outer_lines = std::mem::take(&mut self.lines);
        let outer_rules = std::mem::replace(&mut self.ruleset, inner);
        for child in body {
            // A failed statement has recorded its error; the others are read all the same.
            let _ = self.statement(child);
        }
        self.ruleset = outer_rules;
        let lines = std::mem::replace(&mut self.lines, outer_lines);
        lines.in_order(self.numbered).collect()
    }
}
