//! The text in the braces of an anchor, for a preview.

use super::{Expander, Lines};
use crate::ast::RuleStatement;

impl Expander<'_> {
    /// ` {`, the rules of the anchor, each two blanks further in, and `}`; nothing for a rule
    /// without braces. Rules are numbered from 0 in each anchor.
    pub(super) fn anchor_body(&mut self, statement: &RuleStatement) -> String {
        let Some(body) = &statement.body else {
            return String::new();
        };
        let outer_lines = std::mem::take(&mut self.lines);
        let outer_rules = std::mem::take(&mut self.ruleset.filter);
        for child in body {
            // A failed statement has recorded its error; the others are read all the same.
            let _ = self.statement(child);
        }
        self.ruleset.filter = outer_rules;
        let Lines {
            ether,
            scrub,
            nat,
            rdr,
            binat,
            filter,
        } = std::mem::replace(&mut self.lines, outer_lines);
        let mut text = String::from(" {\n");
        for line in [ether, scrub, nat, rdr, binat, filter].iter().flatten() {
            text = text + "  " + &line.replace('\n', "\n  ") + "\n";
        }
        text + "}"
    }
}
