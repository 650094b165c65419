//! `scrub` rules and `scrub (…)`, for a preview.

use super::{Parse, Parser};
use crate::ast::{Fragment, RuleStatement, Statement, Verb};
use crate::diagnostic::Code;
use crate::extras::Slot;
use crate::token::{Kind, Token};

impl Parser<'_> {
    /// `[no] scrub …`.
    pub(super) fn scrub_rule(&mut self) -> Parse<()> {
        let mut rule = RuleStatement::new(Verb::Scrub, self.peek().span);
        let no = if self.eat_word("no") { "no " } else { "" };
        self.next();
        rule.extras.push(Slot::Action, format!("{no}scrub"));
        self.scrub_match(&mut rule)?;
        while !self.peek().ends_line() {
            self.scrub_option(&mut rule)?;
        }
        self.statements.push(Statement::Rule(Box::new(rule)));
        Ok(())
    }

    /// `scrub (…)` of a filter rule.
    pub(super) fn scrub_options(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        self.expect_symbol("(")?;
        loop {
            self.scrub_option(rule)?;
            self.eat_symbol(",");
            if self.eat_symbol(")") {
                return Ok(());
            }
        }
    }

    fn scrub_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let token = self.peek().clone();
        if token.kind != Kind::Word {
            return Err(self.unexpected("an option of scrub"));
        }
        self.next();
        self.once(scrub_knows(rule, &token.text), &token)?;
        match token.text.as_ref() {
            "no-df" => rule.scrub.no_df = true,
            "random-id" => rule.scrub.random_id = true,
            "min-ttl" => rule.scrub.min_ttl = Some(self.scrub_number(&token, 255)?),
            "max-mss" => rule.scrub.max_mss = Some(self.scrub_number(&token, 65_535)?),
            "set-tos" => rule.scrub.set_tos = Some(self.tos_value()?),
            "reassemble" => {
                self.expect_word("tcp")?;
                rule.scrub.reassemble_tcp = true;
            }
            "fragment" if rule.verb == Verb::Scrub => {
                rule.scrub.fragment = self.fragment_mode()?;
            }
            "rtable" if rule.verb == Verb::Scrub => {
                let table = self.number("a routing table")?.node;
                rule.extras.push(Slot::Rtable, format!("rtable {table}"));
            }
            "tagged" if rule.verb == Verb::Scrub => {
                rule.tagged = Some((false, self.tag_name()?));
            }
            other => return Err(self.unsupported(&format!("scrub {other}"), token.span)),
        }
        Ok(())
    }

    /// What follows `fragment`.
    fn fragment_mode(&mut self) -> Parse<Fragment> {
        if self.eat_word("crop") {
            Ok(Fragment::Crop)
        } else if self.eat_word("drop-ovl") {
            Ok(Fragment::DropOverlap)
        } else {
            let keep = self.eat_word("no");
            self.expect_word("reassemble")?;
            Ok(if keep {
                Fragment::Keep
            } else {
                Fragment::Reassemble
            })
        }
    }

    fn scrub_number(&mut self, keyword: &Token, max: u32) -> Parse<u32> {
        let number = self.number("a number")?;
        if number.node > max {
            let message = format!("illegal {} value {}", keyword.text, number.node);
            return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
        }
        Ok(number.node)
    }
}

/// Whether the rule has the option already.
fn scrub_knows(rule: &RuleStatement, option: &str) -> bool {
    let scrub = &rule.scrub;
    match option {
        "no-df" => scrub.no_df,
        "random-id" => scrub.random_id,
        "min-ttl" => scrub.min_ttl.is_some(),
        "max-mss" => scrub.max_mss.is_some(),
        "set-tos" => scrub.set_tos.is_some(),
        "reassemble" => scrub.reassemble_tcp,
        _ => false,
    }
}
