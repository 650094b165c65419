//! `scrub` rules and `scrub (…)`, for a preview.

use super::{Parse, Parser};
use crate::ast::{RuleStatement, Statement, Verb};
use crate::extras::Slot;
use crate::token::Kind;

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
        match token.text.as_ref() {
            "no-df" => rule.scrub.no_df = true,
            "random-id" => rule.scrub.random_id = true,
            "min-ttl" => rule.scrub.min_ttl = Some(self.number("a TTL")?.node),
            "max-mss" => rule.scrub.max_mss = Some(self.number("a segment size")?.node),
            "set-tos" => rule.scrub.set_tos = Some(self.tos_value()?),
            "reassemble" => {
                self.expect_word("tcp")?;
                rule.scrub.reassemble_tcp = true;
            }
            "fragment" if rule.verb == Verb::Scrub => {
                rule.scrub.no_reassemble = self.eat_word("no");
                // `crop` and `drop-ovl` of old: FreeBSD reads them as `reassemble`.
                if !self.eat_word("crop") && !self.eat_word("drop-ovl") {
                    self.expect_word("reassemble")?;
                }
            }
            "tagged" if rule.verb == Verb::Scrub => {
                rule.tagged = Some((false, self.tag_name()?));
            }
            other => return Err(self.unsupported(&format!("scrub {other}"), token.span)),
        }
        Ok(())
    }
}
