//! Limiters: `state limiter …`, `source limiter …`, and the rules that use them.

use pf_engine::addr::Family;
use pf_engine::limiter::{LimiterTable, SourceLimiter, StateLimiter};
use pf_engine::rule::{LimiterUse, Rate, WhenLimited};

use super::{Parse, Parser};
use crate::ast::{RuleStatement, Spanned, Statement};
use crate::diagnostic::Code;
use crate::limits::{MAX_LIMITER_ID, MAX_LIMITERS};
use crate::token::Token;

/// Limiters by name, of each kind.
#[derive(Default)]
pub(super) struct Limiters {
    state: Vec<(String, u8)>,
    source: Vec<(String, u8)>,
}

impl Limiters {
    fn of(&mut self, kind: &str) -> &mut Vec<(String, u8)> {
        if kind == "state" {
            &mut self.state
        } else {
            &mut self.source
        }
    }
}

/// Options of a definition.
#[derive(Default)]
struct Definition {
    id: Option<u8>,
    entries: Option<u32>,
    limit: Option<u32>,
    rate: Option<Rate>,
    inet_mask: Option<u8>,
    inet6_mask: Option<u8>,
    table: Option<LimiterTable>,
}

impl Parser<'_> {
    /// `state limiter name id N limit N [rate N/seconds]`;
    /// `source limiter name id N entries N limit N [rate …] [inet mask N] [inet6 mask N]
    /// [table <name> above N [below N]]`.
    pub(super) fn limiter(&mut self) -> Parse<()> {
        let kind = self.next();
        self.expect_word("limiter")?;
        let name = self.string("a name")?;
        let mut definition = Definition::default();
        while !self.peek().ends_line() {
            self.limiter_option(&kind, &mut definition)?;
        }
        let missing = if definition.id.is_none() {
            Some("id")
        } else if kind.is_word("source") && definition.entries.is_none() {
            Some("entries")
        } else if definition.limit.is_none() {
            Some("limit")
        } else {
            None
        };
        if let Some(missing) = missing {
            let message = format!(
                "{} limiter {} {missing} not specified",
                kind.text, name.node
            );
            return Err(self.error(Code::Syntax, name.span, &message, String::new()));
        }
        let id = definition.id.unwrap_or_default();
        self.define_limiter(&kind.text, &name, id)?;
        let statement = if kind.is_word("state") {
            Statement::StateLimiter(StateLimiter {
                name: name.node,
                id,
                limit: definition.limit.unwrap_or_default(),
                rate: definition.rate,
            })
        } else {
            Statement::SourceLimiter(Box::new(definition.source(name.node, id)))
        };
        self.statements.push(statement);
        Ok(())
    }

    fn define_limiter(&mut self, kind: &str, name: &Spanned<String>, id: u8) -> Parse<()> {
        let known = self.limiters.of(kind);
        let full = known.len() >= MAX_LIMITERS;
        let same_name = known.iter().any(|(known, _)| *known == name.node);
        let same_id = known.iter().any(|(_, known)| *known == id);
        known.push((name.node.clone(), id));
        let message = if same_name {
            format!("{kind} limiter {} already exists", name.node)
        } else if same_id {
            format!("{kind} limiter id {id} already exists")
        } else if full {
            format!("more than {MAX_LIMITERS} {kind} limiters")
        } else {
            return Ok(());
        };
        Err(self.error(Code::Conflict, name.span, &message, String::new()))
    }

    fn limiter_option(&mut self, kind: &Token, definition: &mut Definition) -> Parse<()> {
        let token = self.peek().clone();
        let source = kind.is_word("source");
        let known = if self.eat_word("id") {
            let id = self.limiter_id()?;
            definition.id.replace(id).is_some()
        } else if self.eat_word("limit") {
            let limit = self.number("a number of states")?.node;
            definition.limit.replace(limit).is_some()
        } else if self.eat_word("rate") {
            let rate = self.limiter_rate()?;
            definition.rate.replace(rate).is_some()
        } else if source && self.eat_word("entries") {
            let entries = self.number("a number of sources")?.node;
            definition.entries.replace(entries).is_some()
        } else if source && (self.at_word("inet") || self.at_word("inet6")) {
            self.limiter_mask(definition)?
        } else if source && self.eat_word("table") {
            let table = self.limiter_table()?;
            definition.table.replace(table).is_some()
        } else {
            return Err(self.unexpected("an option of the limiter"));
        };
        if known {
            let message = format!("{} limiter {} already specified", kind.text, token.text);
            return Err(self.error(Code::Conflict, token.span, &message, String::new()));
        }
        Ok(())
    }

    fn limiter_id(&mut self) -> Parse<u8> {
        let id = self.number("a number")?;
        let number = u8::try_from(id.node).ok().filter(|number| *number > 0);
        number.ok_or_else(|| {
            let message = format!(
                "limiter id {} is out of range (1 to {MAX_LIMITER_ID})",
                id.node
            );
            self.error(Code::BadNumber, id.span, &message, String::new())
        })
    }

    /// `inet mask N`. Gives whether it was there before.
    fn limiter_mask(&mut self, definition: &mut Definition) -> Parse<bool> {
        let family = self.next();
        self.expect_word("mask")?;
        let bits = self.number("a prefix length")?;
        let (mask, max) = if family.is_word("inet") {
            (&mut definition.inet_mask, Family::Inet.bits())
        } else {
            (&mut definition.inet6_mask, Family::Inet6.bits())
        };
        let Some(length) = u8::try_from(bits.node).ok().filter(|bits| *bits <= max) else {
            let message = format!("invalid netmask '/{}'", bits.node);
            return Err(self.error(Code::BadNumber, bits.span, &message, String::new()));
        };
        Ok(mask.replace(length).is_some())
    }

    /// `<name> above N [below N]`.
    fn limiter_table(&mut self) -> Parse<LimiterTable> {
        let name = self.table_name()?.node;
        self.expect_word("above")?;
        let above = self.number("a number of states")?;
        let below = if self.eat_word("below") {
            self.number("a number of states")?.node
        } else {
            0
        };
        if below > above.node {
            let message = "below must not be more than above";
            return Err(self.error(Code::Conflict, above.span, message, String::new()));
        }
        Ok(LimiterTable {
            name,
            above: above.node,
            below,
        })
    }

    /// `state limiter name [(block|no-match)]` of a rule; `source` alike.
    pub(super) fn rule_limiter(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let kind = self.next();
        self.expect_word("limiter")?;
        let id = if self.eat_word("id") {
            self.limiter_id()?
        } else {
            let name = self.string("a limiter")?;
            let known = self.limiters.of(&kind.text).iter();
            let Some(id) = known.clone().find(|(known, _)| *known == name.node) else {
                let message = format!("{} limiter {} is not defined", kind.text, name.node);
                return Err(self.error(Code::UnknownName, name.span, &message, String::new()));
            };
            id.1
        };
        let mut when_limited = WhenLimited::NoMatch;
        if self.eat_symbol("(") {
            if self.eat_word("block") {
                when_limited = WhenLimited::Block;
            } else {
                self.expect_word("no-match")?;
            }
            self.expect_symbol(")")?;
        }
        let used = LimiterUse { id, when_limited };
        let known = if kind.is_word("state") {
            &mut rule.state_limiter
        } else {
            &mut rule.source_limiter
        };
        if known.replace(used).is_some() {
            let message = format!("{} limiter cannot be respecified", kind.text);
            return Err(self.error(Code::Conflict, kind.span, &message, String::new()));
        }
        self.late_state_options(rule)
    }
}

impl Definition {
    fn source(self, name: String, id: u8) -> SourceLimiter {
        SourceLimiter {
            name,
            id,
            entries: self.entries.unwrap_or_default(),
            limit: self.limit.unwrap_or_default(),
            rate: self.rate,
            inet_mask: self.inet_mask.unwrap_or(Family::Inet.bits()),
            inet6_mask: self.inet6_mask.unwrap_or(Family::Inet6.bits()),
            table: self.table,
        }
    }
}
