//! `scrub` rules and `scrub (…)`.

use pf_engine::rule::{FragmentMode, Scrub};

use super::{Parse, Parser};
use crate::ast::{RuleStatement, Statement, Verb};
use crate::diagnostic::Code;
use crate::token::{Kind, Token};

/// Options of `scrub (…)`.
const OPTIONS: &[&str] = &[
    "no-df",
    "random-id",
    "min-ttl",
    "max-mss",
    "set-tos",
    "reassemble",
];

/// Options of a `scrub` rule.
const RULE_OPTIONS: &[&str] = &[
    "no-df",
    "random-id",
    "min-ttl",
    "max-mss",
    "set-tos",
    "reassemble",
    "fragment",
    "tagged",
    "rtable",
];

impl Parser<'_> {
    /// `[no] scrub …`.
    pub(super) fn scrub_rule(&mut self) -> Parse<()> {
        let first = self.peek().span;
        let no = self.eat_word("no");
        self.next();
        let mut rule = RuleStatement::new(Verb::Scrub { no }, first);
        self.scrub_match(&mut rule)?;
        if rule.quick {
            let message = "scrub rules do not support 'quick'";
            return Err(self.error(Code::Syntax, first, message, String::new()));
        }
        while !self.peek().ends_line() {
            if self.eat_symbol("!") {
                self.expect_word("tagged")?;
                rule.tagged = Some((true, self.tag_name()?));
            } else {
                self.scrub_option(&mut rule)?;
            }
            if self.eat_symbol(",") && self.peek().ends_line() {
                return Err(self.unexpected("an option of scrub"));
            }
        }
        if rule.scrub.reassemble_tcp && rule.direction.is_some() {
            let message = "reassemble tcp rules can not specify direction";
            return Err(self.error(Code::Conflict, first, message, String::new()));
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
        let is_rule = matches!(rule.verb, Verb::Scrub { .. });
        let token = self.peek().clone();
        let options = if is_rule { RULE_OPTIONS } else { OPTIONS };
        if token.kind != Kind::Word || !options.contains(&token.text.as_ref()) {
            return Err(self.unexpected("an option of scrub"));
        }
        self.next();
        if scrub_knows(&rule.scrub, &token.text) {
            let message = format!("{} cannot be respecified", token.text);
            return Err(self.error(Code::Conflict, token.span, &message, String::new()));
        }
        match token.text.as_ref() {
            "no-df" => rule.scrub.no_df = true,
            "random-id" => rule.scrub.random_id = true,
            // Zero stands for none.
            "min-ttl" => {
                let ttl: u8 = self.scrub_number(&token)?;
                rule.scrub.min_ttl = (ttl > 0).then_some(ttl);
            }
            "max-mss" => {
                let mss: u16 = self.scrub_number(&token)?;
                rule.scrub.max_mss = (mss > 0).then_some(mss);
            }
            "set-tos" => rule.scrub.set_tos = Some(self.tos_value()?),
            "reassemble" => {
                if !self.peek().text.eq_ignore_ascii_case("tcp") {
                    return Err(self.unexpected("`tcp`"));
                }
                self.next();
                rule.scrub.reassemble_tcp = true;
            }
            "fragment" => rule.fragments = self.fragment_mode()?,
            "tagged" => rule.tagged = Some((false, self.tag_name()?)),
            _ => rule.treatment.routing_table = Some(self.routing_table()?),
        }
        Ok(())
    }

    /// What follows `fragment`.
    fn fragment_mode(&mut self) -> Parse<FragmentMode> {
        if self.eat_word("crop") {
            Ok(FragmentMode::Crop)
        } else if self.eat_word("drop-ovl") {
            Ok(FragmentMode::DropOverlap)
        } else {
            let keep = self.eat_word("no");
            self.expect_word("reassemble")?;
            Ok(if keep {
                FragmentMode::Keep
            } else {
                FragmentMode::Reassemble
            })
        }
    }

    fn scrub_number<N: TryFrom<u32>>(&mut self, keyword: &Token) -> Parse<N> {
        let number = self.number("a number")?;
        N::try_from(number.node).map_err(|_| {
            let message = format!("illegal {} value {}", keyword.text, number.node);
            self.error(Code::BadNumber, number.span, &message, String::new())
        })
    }
}

/// Whether the rule has the option already.
fn scrub_knows(scrub: &Scrub, option: &str) -> bool {
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
