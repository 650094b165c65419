//! Options of rules that can be printed but not installed: see [`crate::extras`].

use pf_engine::queue::QueueChoice;

use super::{Parse, Parser};
use crate::ast::{AfTo, RuleStatement, Spanned, State};
use crate::extras::{Slot, StateSlot};
use crate::token::{Kind, Token};

/// Why there is no `group-bound`: PF gave it up with OpenBSD 4.
pub(super) const NO_GROUP_BOUND: &str =
    "states are bound to one interface (`if-bound`) or to none (`floating`)";

const NO_PFLOW: &str = "there is no pflow(4): a flow exporter can watch the interfaces";

const NO_FASTROUTE: &str =
    "what is routed goes by the kernel's look-up: leave the word out, or use `route-to`";

/// Where to go for what dummynet(4) does.
pub(super) const NO_DUMMYNET: &str = "dummynet is FreeBSD's; `tc qdisc add dev INTERFACE root netem` delays \
                           and limits what leaves by an interface";

impl Parser<'_> {
    /// `None` when `token`, which is next, begins no such option.
    pub(super) fn beyond_option(
        &mut self,
        rule: &mut RuleStatement,
        token: &Token,
    ) -> Option<Parse<()>> {
        if token.kind != Kind::Word {
            return None;
        }
        if let Some(parsed) = self.criterion(rule, token) {
            return Some(parsed);
        }
        match token.text.as_ref() {
            "dnpipe" | "dnqueue" => Some(self.pipe(rule)),
            "queue" => Some(self.queue(rule)),
            "fastroute" => Some(self.fastroute(rule)),
            _ => None,
        }
    }

    /// What `set` sets beside a priority.
    pub(super) fn beyond_set_item(&mut self, rule: &mut RuleStatement, token: &Token) -> Parse<()> {
        let word = token.text.as_ref();
        if !matches!(word, "tos" | "queue" | "delay") {
            return Err(self.unexpected("`prio`, `queue`, `tos` or `delay`"));
        }
        let known = match word {
            "queue" => return self.queue(rule),
            "tos" => {
                self.next();
                rule.set_tos.replace(self.tos_value()?).is_some()
            }
            _ => {
                self.impossible("set delay", token.span, NO_DUMMYNET)?;
                self.next();
                let delay = self.number("milliseconds")?.node;
                rule.extras.set.delay.replace(delay).is_some()
            }
        };
        self.once(known, token)
    }

    pub(super) fn rate(&mut self) -> Parse<(u32, Spanned<u32>)> {
        let count = self.number("a number")?.node;
        self.expect_symbol("/")?;
        let seconds = self.number("a number of seconds")?;
        Ok((count, seconds))
    }

    /// PF prints some options between `keep state` and the parentheses that belong to it.
    pub(super) fn late_state_options(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        match rule.state.take() {
            Some(mut state) if self.at_symbol("(") => {
                let parsed = self.state_parentheses(&mut state);
                rule.state = Some(state);
                parsed
            }
            other => {
                rule.state = other;
                Ok(())
            }
        }
    }

    fn queue(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let several = self.eat_symbol("(");
        let normal = self.queue_name()?.node;
        let mut urgent = None;
        if several {
            self.eat_symbol(",");
            if !self.at_symbol(")") {
                urgent = Some(self.queue_name()?.node);
            }
            self.expect_symbol(")")?;
        }
        let known = rule.queue.replace(QueueChoice { normal, urgent }).is_some();
        self.once(known, &keyword)
    }

    /// PF's of before 2009: past the route lookup.
    pub(super) fn fastroute(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        self.impossible("fastroute", keyword.span, NO_FASTROUTE)?;
        let known = !rule.extras.words(Slot::Fastroute).is_empty() || rule.route.is_some();
        self.once(known, &keyword)?;
        rule.extras.push(Slot::Fastroute, "fastroute".to_owned());
        Ok(())
    }

    fn pipe(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        self.impossible(&keyword.text, keyword.span, NO_DUMMYNET)?;
        let text = if self.eat_symbol("(") {
            let first = self.number("a pipe")?.node;
            if self.eat_symbol(")") {
                format!("{} {first}", keyword.text)
            } else {
                self.eat_symbol(",");
                let second = self.number("a pipe")?.node;
                self.expect_symbol(")")?;
                format!("{}({first}, {second})", keyword.text)
            }
        } else {
            format!("{} {}", keyword.text, self.number("a pipe")?.node)
        };
        rule.extras.push(Slot::Pipe, text);
        Ok(())
    }

    /// `af-to family from pool [to pool]`.
    pub(super) fn af_to(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let Some(family) = self.eat_family() else {
            return Err(self.unexpected("`inet` or `inet6`"));
        };
        self.expect_word("from")?;
        let from = self.redirection(keyword.span)?;
        let to = if self.eat_word("to") {
            Some(self.redirection(keyword.span)?)
        } else {
            None
        };
        let span = keyword.span;
        let node = AfTo { family, from, to };
        let known = rule.af_to.replace(Spanned { node, span }).is_some();
        self.once(known, &keyword)
    }

    /// A state option that is not in [`pf_engine::rule::StateOptions`]. Gives whether it was
    /// there before.
    pub(super) fn beyond_state_option(&mut self, state: &mut State, token: &Token) -> Parse<bool> {
        let (slot, hint) = match token.text.as_ref() {
            "pflow" => (StateSlot::Pflow, NO_PFLOW),
            _ => (StateSlot::GroupBound, NO_GROUP_BOUND),
        };
        self.impossible(&token.text, token.span, hint)?;
        self.next();
        let text = token.text.to_string();
        Ok(state.extras.set_state(slot, text))
    }
}
