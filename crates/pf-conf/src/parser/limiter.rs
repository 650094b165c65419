//! Limiters: `state limiter …`, `source limiter …`, and the rules that use them, for a preview.

use super::{Parse, Parser};
use crate::ast::{RuleStatement, Spanned};
use crate::diagnostic::Code;
use crate::extras::Slot;
use crate::limits::{MAX_LIMITER_ID, MAX_LIMITERS};
use crate::print;
use crate::token::Token;

/// Limiters by name, of each kind.
#[derive(Default)]
pub(super) struct Limiters {
    state: Vec<(String, u32)>,
    source: Vec<(String, u32)>,
}

impl Limiters {
    fn of(&mut self, kind: &str) -> &mut Vec<(String, u32)> {
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
    id: Option<u32>,
    entries: Option<u32>,
    limit: Option<u32>,
    rate: Option<String>,
    masks: Vec<String>,
    table: Option<String>,
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
        self.define_limiter(&kind.text, &name, definition.id.unwrap_or_default())?;
        let line = definition.print(&kind.text, &name.node);
        self.echo(line);
        Ok(())
    }

    fn define_limiter(&mut self, kind: &str, name: &Spanned<String>, id: u32) -> Parse<()> {
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
            let (count, seconds) = self.rate()?;
            let rate = format!("{count}/{}", seconds.node);
            definition.rate.replace(rate).is_some()
        } else if source && self.eat_word("entries") {
            let entries = self.number("a number of sources")?.node;
            definition.entries.replace(entries).is_some()
        } else if source && (self.at_word("inet") || self.at_word("inet6")) {
            definition.masks.push(self.limiter_mask()?);
            false
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

    fn limiter_id(&mut self) -> Parse<u32> {
        let id = self.number("a number")?;
        if !(1..=MAX_LIMITER_ID).contains(&id.node) {
            let message = format!(
                "limiter id {} is out of range (1 to {MAX_LIMITER_ID})",
                id.node
            );
            return Err(self.error(Code::BadNumber, id.span, &message, String::new()));
        }
        Ok(id.node)
    }

    /// `inet mask N`.
    fn limiter_mask(&mut self) -> Parse<String> {
        let family = self.next();
        self.expect_word("mask")?;
        let bits = self.number("a prefix length")?;
        let max = if family.is_word("inet") { 32 } else { 128 };
        if bits.node > max {
            let message = format!("invalid netmask '/{}'", bits.node);
            return Err(self.error(Code::BadNumber, bits.span, &message, String::new()));
        }
        Ok(format!("{} mask {}", family.text, bits.node))
    }

    /// `<name> above N [below N]`.
    fn limiter_table(&mut self) -> Parse<String> {
        let table = print::table_name(&self.table_name()?.node);
        self.expect_word("above")?;
        let above = self.number("a number of states")?.node;
        let mut text = format!("{table} above {above}");
        if self.eat_word("below") {
            let below = self.number("a number of states")?.node;
            text = format!("{text} below {below}");
        }
        Ok(text)
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
        let mut action = "no-match";
        if self.eat_symbol("(") {
            if self.eat_word("block") {
                action = "block";
            } else {
                self.expect_word("no-match")?;
            }
            self.expect_symbol(")")?;
        }
        let slot = if kind.is_word("state") {
            Slot::StateLimiter
        } else {
            Slot::SourceLimiter
        };
        if !rule.extras.words(slot).is_empty() {
            let message = format!("{} limiter cannot be respecified", kind.text);
            return Err(self.error(Code::Conflict, kind.span, &message, String::new()));
        }
        let text = format!("{} limiter id {id} ({action})", kind.text);
        rule.extras.push(slot, text);
        self.late_state_options(rule)
    }
}

impl Definition {
    fn print(&self, kind: &str, name: &str) -> String {
        let mut words = vec![format!("{kind} limiter {}", print::name(name))];
        for (word, number) in [
            ("id", self.id),
            ("entries", self.entries),
            ("limit", self.limit),
        ] {
            words.extend(number.map(|number| format!("{word} {number}")));
        }
        words.extend(self.rate.iter().map(|rate| format!("rate {rate}")));
        words.extend(self.masks.iter().cloned());
        words.extend(self.table.iter().map(|table| format!("table {table}")));
        words.join(" ")
    }
}
