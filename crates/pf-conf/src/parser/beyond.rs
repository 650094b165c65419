//! Options of rules that can be printed but not installed yet: see [`crate::extras`].

use pf_engine::rule::RouteKind;

use super::{Parse, Parser};
use crate::ast::{AfTo, PoolStatement, RuleStatement, Spanned, State, Statement, Verb};
use crate::diagnostic::Code;
use crate::extras::{Slot, StateSlot};
use crate::limits::{MAX_ANCHOR_DEPTH, MAX_ERRORS};
use crate::names::{keywords, owners};
use crate::print;
use crate::source::Span;
use crate::token::{Kind, Token};

impl Parser<'_> {
    /// `anchor [name] … [{ … }]`, `nat-anchor name …` and its kin.
    pub(super) fn anchor(&mut self) -> Parse<()> {
        let keyword = self.next();
        let verb = match keyword.text.as_ref() {
            "nat-anchor" => Verb::Nat { no: true },
            "rdr-anchor" => Verb::Rdr { no: true },
            "binat-anchor" => Verb::Binat { no: true },
            _ => Verb::Anchor,
        };
        let mut rule = RuleStatement::new(verb, keyword.span);
        let mut text = keyword.text.into_owned();
        let token = self.peek();
        let word = token.kind == Kind::Word && !keywords::is_reserved(&token.text);
        if word || token.kind == Kind::Quoted {
            let name = self.next();
            text = format!("{text} {}", print::quoted(&name.text));
        }
        rule.extras.push(Slot::Action, text);
        self.filter(&mut rule)?;
        if verb == Verb::Anchor && self.at_symbol("{") {
            rule.body = Some(self.anchor_body()?);
        }
        self.statements.push(Statement::Rule(Box::new(rule)));
        Ok(())
    }

    fn anchor_body(&mut self) -> Parse<Vec<Statement>> {
        let open = self.next();
        if self.anchor_depth == MAX_ANCHOR_DEPTH {
            let message = format!("anchors are nested more than {MAX_ANCHOR_DEPTH} deep");
            return Err(self.error(Code::Limit, open.span, &message, String::new()));
        }
        self.anchor_depth += 1;
        let outer = std::mem::take(&mut self.statements);
        let closed = self.anchor_statements(open.span);
        self.anchor_depth -= 1;
        let body = std::mem::replace(&mut self.statements, outer);
        closed.map(|()| body)
    }

    fn anchor_statements(&mut self, open: Span) -> Parse<()> {
        loop {
            self.skip_newlines();
            if self.eat_symbol("}") {
                return Ok(());
            }
            if self.peek().kind == Kind::End || self.lexer.errors.len() >= MAX_ERRORS {
                let detail = "this `{` is never closed".to_owned();
                return Err(self.error(Code::Syntax, open, "syntax error", detail));
            }
            if self.at_word("set") {
                return Err(self.unexpected("a rule; options stand outside of anchors"));
            }
            let braces = std::mem::take(&mut self.braces);
            if self.statement().is_err() {
                self.recover();
            }
            self.braces = braces;
        }
    }

    /// `None` when `token`, which is next, begins no such option.
    pub(super) fn beyond_option(
        &mut self,
        rule: &mut RuleStatement,
        token: &Token,
    ) -> Option<Parse<()>> {
        if !self.printing || token.kind != Kind::Word {
            return None;
        }
        Some(match token.text.as_ref() {
            "synproxy" => self.state(rule),
            "user" => self.owners(rule, false),
            "group" => self.owners(rule, true),
            "received-on" => self.received_on(rule, ""),
            "prio" => self.counted(rule, Slot::Prio),
            "set" => self.set_option(rule),
            "max-pkt-rate" => self.packet_rate(rule),
            "max-pkt-size" => self.counted(rule, Slot::Packets),
            "probability" => self.probability(rule),
            "ridentifier" => self.counted(rule, Slot::Ridentifier),
            "rtable" => self.counted(rule, Slot::Rtable),
            "queue" => self.queue(rule),
            "divert-to" => self.divert_to(rule),
            "dnpipe" | "dnqueue" => self.pipe(rule),
            "af-to" => self.af_to(rule),
            "dup-to" => self.dup_to(rule),
            "scrub" => self.scrub_options(rule),
            "once" => {
                self.next();
                rule.extras.push(Slot::Once, "once".to_owned());
                Ok(())
            }
            _ => return None,
        })
    }

    /// `keyword N`, printed as it stands.
    fn counted(&mut self, rule: &mut RuleStatement, slot: Slot) -> Parse<()> {
        let keyword = self.next();
        let number = self.number("a number")?;
        rule.extras
            .push(slot, format!("{} {}", keyword.text, number.node));
        Ok(())
    }

    /// `user …`, `group …`. What is given last comes first, as in PF.
    fn owners(&mut self, rule: &mut RuleStatement, group: bool) -> Parse<()> {
        let keyword = self.next();
        let mut list = Vec::new();
        self.list("a name or number", &mut |parser| {
            let test = parser.owner(group)?;
            list.push(format!("{} {test}", keyword.text));
            Ok(())
        })?;
        let known = if group {
            &mut rule.groups
        } else {
            &mut rule.users
        };
        list.append(known);
        *known = list;
        Ok(())
    }

    fn owner(&mut self, group: bool) -> Parse<String> {
        let operators = ["=", "!=", "<", "<=", ">", ">="];
        let token = self.peek().clone();
        if token.kind == Kind::Symbol && operators.contains(&token.text.as_ref()) {
            self.next();
            let number = self.owner_number(group)?;
            return Ok(format!("{} {number}", token.text));
        }
        let first = self.owner_number(group)?;
        for operator in ["><", "<>"] {
            if self.eat_symbol(operator) {
                let second = self.owner_number(group)?;
                return Ok(format!("{first} {operator} {second}"));
            }
        }
        Ok(format!("= {first}"))
    }

    fn owner_number(&mut self, group: bool) -> Parse<String> {
        if self.peek().kind == Kind::Number {
            return Ok(self.number("a number")?.node.to_string());
        }
        let name = self.string("a name or number")?;
        if name.node == "unknown" {
            return Ok(name.node);
        }
        let Some(number) = owners::number(group, &name.node) else {
            let what = if group { "group" } else { "user" };
            let message = format!("unknown {what} {}", name.node);
            return Err(self.error(Code::UnknownName, name.span, &message, String::new()));
        };
        Ok(number.to_string())
    }

    pub(super) fn received_on(&mut self, rule: &mut RuleStatement, not: &str) -> Parse<()> {
        self.next();
        let name = self.string("an interface name")?;
        let text = format!("{not}received-on {}", print::name(&name.node));
        rule.extras.push(Slot::ReceivedOn, text);
        Ok(())
    }

    /// `set prio N`, `set prio (N, M)`, `set (prio …)`.
    fn set_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let several = self.eat_symbol("(");
        if !self.at_word("prio") {
            return Err(self.unsupported("set option", keyword.span));
        }
        self.next();
        let text = if self.eat_symbol("(") {
            let first = self.number("a priority")?.node;
            self.eat_symbol(",");
            let second = self.number("a priority")?.node;
            self.expect_symbol(")")?;
            format!("set ( prio({first}, {second}) )")
        } else {
            format!("set ( prio {} )", self.number("a priority")?.node)
        };
        if several {
            self.expect_symbol(")")?;
        }
        rule.extras.push(Slot::Set, text);
        Ok(())
    }

    fn rate(&mut self) -> Parse<(u32, Spanned<u32>)> {
        let count = self.number("a number")?.node;
        self.expect_symbol("/")?;
        let seconds = self.number("a number of seconds")?;
        Ok((count, seconds))
    }

    fn packet_rate(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        let (count, seconds) = self.rate()?;
        let text = format!("max-pkt-rate {count}/{}", seconds.node);
        rule.extras.push(Slot::Packets, text);
        Ok(())
    }

    /// A fraction, or a percentage with `%`; printed as a percentage.
    fn probability(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        let token = self.peek().clone();
        if !matches!(token.kind, Kind::Word | Kind::Number) {
            return Err(self.unexpected("a probability"));
        }
        self.next();
        let value: Option<f64> = match token.text.strip_suffix('%') {
            Some(percent) => percent.parse().ok(),
            None => token
                .text
                .parse()
                .ok()
                .map(|fraction: f64| fraction * 100.0),
        };
        let Some(percent) = value.filter(|percent| (0.0..=100.0).contains(percent)) else {
            let message = format!("invalid probability: {}", token.text);
            return Err(self.error(Code::BadNumber, token.span, &message, String::new()));
        };
        let shown = format!("{percent:.6}");
        let shown = shown.trim_end_matches('0').trim_end_matches('.');
        rule.extras
            .push(Slot::Probability, format!("probability {shown}%"));
        // PF prints it between `keep state` and what belongs in the parentheses behind that.
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
        self.next();
        let text = if self.eat_symbol("(") {
            let first = self.string("a queue")?.node;
            let mut text = first;
            if self.eat_symbol(",") {
                text = format!("{text}, {}", self.string("a queue")?.node);
            }
            self.expect_symbol(")")?;
            format!("queue({text})")
        } else {
            format!("queue {}", self.string("a queue")?.node)
        };
        rule.extras.push(Slot::Queue, text);
        Ok(())
    }

    /// FreeBSD diverts to a port; it ignores the address.
    fn divert_to(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        if self.peek().kind != Kind::Number {
            self.host()?;
            self.expect_word("port")?;
        }
        let port = self.number("a port")?;
        rule.extras
            .push(Slot::Divert, format!("divert-to {}", port.node));
        Ok(())
    }

    fn pipe(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let text = if self.eat_symbol("(") {
            let first = self.number("a pipe")?.node;
            self.eat_symbol(",");
            let second = self.number("a pipe")?.node;
            self.expect_symbol(")")?;
            format!("{}({first}, {second})", keyword.text)
        } else {
            format!("{} {}", keyword.text, self.number("a pipe")?.node)
        };
        rule.extras.push(Slot::Pipe, text);
        Ok(())
    }

    fn af_to(&mut self, rule: &mut RuleStatement) -> Parse<()> {
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
        rule.af_to = Some(AfTo { family, from, to });
        Ok(())
    }

    pub(super) fn dup_to(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        rule.route = Some(self.route(RouteKind::DupTo, keyword.span)?);
        Ok(())
    }

    /// `os "…"` behind `from`.
    pub(super) fn fingerprints(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        if !self.printing {
            return Err(self.unsupported("os", keyword.span));
        }
        self.list("a system", &mut |parser| {
            let name = parser.string("a system")?;
            rule.systems
                .push(format!("os {}", print::quoted(&name.node)));
            Ok(())
        })
    }

    /// An option of a pool that is printed behind the others.
    pub(super) fn beyond_pool_option(&mut self, pool: &mut PoolStatement) -> Parse<()> {
        let keyword = self.next();
        let mut text = keyword.text.clone().into_owned();
        if text == "least-states" || !self.printing {
            return Err(self.unsupported(&text, keyword.span));
        }
        if text == "map-e-portset" {
            let offset = self.number("an offset")?.node;
            self.expect_symbol("/")?;
            let length = self.number("a length")?.node;
            self.expect_symbol("/")?;
            let set = self.next();
            text = format!("map-e-portset {offset}/{length}/{}", set.text);
            pool.portset = Some(keyword.span);
        }
        pool.words.push(text);
        Ok(())
    }

    /// A state option that is not in [`pf_engine::rule::StateOptions`]. Gives whether it was
    /// there before.
    pub(super) fn beyond_state_option(&mut self, state: &mut State, token: &Token) -> Parse<bool> {
        if !self.printing {
            return Err(self.unsupported(&token.text, token.span));
        }
        self.next();
        let (slot, text) = match token.text.as_ref() {
            "no-sync" => (StateSlot::NoSync, "no-sync".to_owned()),
            "pflow" => (StateSlot::Pflow, "pflow".to_owned()),
            "source-track" => (StateSlot::SourceTrack, self.source_track()),
            "max-src-states" => (StateSlot::MaxSrcStates, self.source_limit(token)?),
            "max-src-conn" => (StateSlot::MaxSrcConn, self.source_limit(token)?),
            "max-src-nodes" => (StateSlot::MaxSrcNodes, self.source_limit(token)?),
            "max-src-conn-rate" => (StateSlot::MaxSrcConnRate, self.source_rate(state)?),
            "overload" => (StateSlot::Overload, self.overload()?),
            other => return Err(self.unsupported(other, token.span)),
        };
        let tracks = !matches!(
            slot,
            StateSlot::NoSync | StateSlot::Pflow | StateSlot::SourceTrack
        );
        if tracks && !state.extras.has_state(StateSlot::SourceTrack) {
            let rule = "source-track rule".to_owned();
            state.extras.set_state(StateSlot::SourceTrack, rule);
        }
        Ok(state.extras.set_state(slot, text))
    }

    fn source_track(&mut self) -> String {
        let kind = if self.eat_word("global") {
            "global"
        } else {
            self.eat_word("rule");
            "rule"
        };
        format!("source-track {kind}")
    }

    fn source_limit(&mut self, token: &Token) -> Parse<String> {
        let number = self.number("a number")?;
        Ok(format!("{} {}", token.text, number.node))
    }

    fn source_rate(&mut self, state: &mut State) -> Parse<String> {
        let (count, seconds) = self.rate()?;
        state.rate_seconds = Some(seconds.node);
        Ok(format!("max-src-conn-rate {count}/{}", seconds.node))
    }

    fn overload(&mut self) -> Parse<String> {
        let table = self.table_name()?;
        let mut text = format!("overload {}", print::table_name(&table.node));
        if self.eat_word("flush") {
            text.push_str(" flush");
            if self.eat_word("global") {
                text.push_str(" global");
            }
        }
        Ok(text)
    }

    /// `set` options that change nothing that is printed later.
    pub(super) fn beyond_set(&mut self, option: &str, span: Span) -> Parse<String> {
        if !self.printing {
            return Err(self.unsupported(&format!("set {option}"), span));
        }
        match option {
            "hostid" => {
                let id = self.next();
                let digits = id.text.strip_prefix("0x");
                let number = digits.map_or_else(
                    || id.text.parse().ok(),
                    |hex| u32::from_str_radix(hex, 16).ok(),
                );
                let Some(number) = number else {
                    let message = format!("invalid hostid {}", id.text);
                    return Err(self.error(Code::BadNumber, id.span, &message, String::new()));
                };
                Ok(format!("set hostid 0x{number:08x}"))
            }
            "loginterface" | "debug" | "fail-policy" | "keepcounters" => {
                let value = self.next();
                Ok(format!("set {option} {}", value.text))
            }
            other => Err(self.unsupported(&format!("set {other}"), span)),
        }
    }
}
