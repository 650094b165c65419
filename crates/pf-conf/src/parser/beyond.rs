//! Options of rules that can be printed but not installed yet: see [`crate::extras`].

use pf_engine::rule::RouteKind;

use super::port::PortWord;
use super::{Bail, Parse, Parser};
use crate::accounts::NoNumber;
use crate::ast::{
    AfTo, Divert, InterfaceName, PoolStatement, RuleStatement, Spanned, State, Statement, Target,
    Verb,
};
use crate::diagnostic::{Code, Diagnostic};
use crate::extras::{Slot, StateSlot};
use crate::limits::{MAX_ANCHOR_DEPTH, MAX_ERRORS};
use crate::print;
use crate::source::Span;
use crate::token::{Kind, Token};

/// Largest routing domain and table (`RT_TABLEID_MAX`).
const MAX_ROUTING_DOMAIN: u32 = 255;

/// Largest count of `max-src-conn-rate` (`PF_THRESHOLD_MAX`).
const MAX_SOURCE_RATE: u32 = 4_294_967;

/// Largest `prio` (`PF_PRIO_MAX`).
const MAX_PRIORITY: u32 = 7;

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
        let mut text = keyword.text.clone().into_owned();
        let name = self.anchor_name()?;
        if let Some(name) = &name {
            text = format!("{text} {}", print::quoted(&name.node));
        }
        rule.extras.push(Slot::Action, text);
        if verb == Verb::Anchor {
            self.filter(&mut rule)?;
            self.check_anchor(&rule)?;
            rule.body = self.inline_body(name.as_ref(), keyword.span)?;
        } else {
            if name.is_none() {
                return Err(self.unexpected("the name of an anchor"));
            }
            self.translation_anchor(&mut rule)?;
        }
        self.statements.push(Statement::Rule(Box::new(rule)));
        Ok(())
    }

    pub(super) fn anchor_body(&mut self) -> Parse<Vec<Statement>> {
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
            let braces = std::mem::take(&mut self.braces);
            let read = if self.at_word("set") {
                Err(self.unexpected("a rule; options stand outside of anchors"))
            } else {
                self.statement()
            };
            let closed = read.is_err() && self.recover_in_anchor();
            self.braces = braces;
            if closed {
                return Ok(());
            }
        }
    }

    /// As [`Parser::recover`], but a `}` that closes the anchor ends it all the same. Gives whether
    /// there was one.
    fn recover_in_anchor(&mut self) -> bool {
        loop {
            if self.peek().kind == Kind::End {
                return false;
            }
            let open = self.braces;
            let token = self.next();
            let line_ends = token.kind == Kind::Newline;
            if line_ends && (open == 0 || super::begins_statement(self.peek())) {
                return false;
            }
            if open == 0 && token.is_symbol("}") {
                return true;
            }
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
            "user" => self.owners(rule, false),
            "group" => self.owners(rule, true),
            "received-on" => self.received_on(rule, ""),
            "prio" => self.prio(rule),
            "max-pkt-rate" => self.packet_rate(rule),
            "max-pkt-size" => self.counted(rule, Slot::Packets),
            "probability" => self.probability(rule),
            "ridentifier" => self.counted(rule, Slot::Ridentifier),
            "rtable" => self.rtable(rule),
            "queue" => self.queue(rule),
            "divert-to" | "divert-reply" | "divert-packet" => self.divert(rule),
            "state" | "source" => self.rule_limiter(rule),
            "fastroute" => self.fastroute(rule),
            "dnpipe" | "dnqueue" => self.pipe(rule),
            "dup-to" => self.dup_to(rule),
            "once" => {
                self.next();
                rule.extras.push(Slot::Once, "once".to_owned());
                Ok(())
            }
            _ => return None,
        })
    }

    /// `keyword N`, printed as it stands.
    pub(super) fn counted(&mut self, rule: &mut RuleStatement, slot: Slot) -> Parse<()> {
        let keyword = self.next();
        let number = self.number("a number")?;
        rule.extras
            .push(slot, format!("{} {}", keyword.text, number.node));
        Ok(())
    }

    /// `rtable N`.
    pub(super) fn rtable(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let known = !rule.extras.words(Slot::Rtable).is_empty();
        self.once(known, &keyword)?;
        let number = self.number("a routing table")?;
        if number.node > MAX_ROUTING_DOMAIN {
            let message = format!("invalid rtable id {}", number.node);
            return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
        }
        let text = format!("rtable {}", number.node);
        rule.extras.push(Slot::Rtable, text);
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
        // The layout of a file is the same where nobody has that account.
        if self.lexer.trace.is_some() {
            return Ok(name.node);
        }
        match self.accounts.number(group, &name.node) {
            Ok(number) => Ok(number.to_string()),
            Err(reason) => Err(self.unknown_owner(group, &name, &reason)),
        }
    }

    fn unknown_owner(&mut self, group: bool, name: &Spanned<String>, reason: &NoNumber) -> Bail {
        let what = if group { "group" } else { "user" };
        let mut error = Diagnostic::new(
            Code::UnknownName,
            name.span,
            format!("unknown {what} {}", name.node),
        );
        match reason {
            NoNumber::Unknown => {
                error.hint = Some(format!("a number needs no {what} of that name"));
            }
            NoNumber::Unreadable(said) => error.detail = Some(said.clone()),
        }
        self.report(error);
        Bail
    }

    pub(super) fn received_on(&mut self, rule: &mut RuleStatement, not: &str) -> Parse<()> {
        let keyword = self.next();
        let known = !rule.extras.words(Slot::ReceivedOn).is_empty();
        self.once(known, &keyword)?;
        let not = if self.eat_symbol("!") { "! " } else { not };
        let text = if self.eat_word("any") {
            format!("{not}received-on any")
        } else {
            let name = self.string("an interface name")?;
            format!("{not}received-on {}", print::name(&name.node))
        };
        rule.extras.push(Slot::ReceivedOn, text);
        Ok(())
    }

    /// `rdomain N` in the place of an interface.
    pub(super) fn routing_domain(&mut self, negated: bool) -> Parse<InterfaceName> {
        let keyword = self.next();
        if !self.printing {
            return Err(self.unsupported("on rdomain", keyword.span));
        }
        let number = self.number("a routing domain")?;
        if number.node > MAX_ROUTING_DOMAIN {
            let message = format!("rdomain {} outside range", number.node);
            return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
        }
        Ok(InterfaceName {
            negated,
            name: format!("{}{}", print::RDOMAIN, number.node),
            span: keyword.span.to(number.span),
        })
    }

    /// `prio N`.
    fn prio(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let known = !rule.extras.words(Slot::Prio).is_empty();
        self.once(known, &keyword)?;
        let priority = self.priority()?;
        rule.extras.push(Slot::Prio, format!("prio {priority}"));
        Ok(())
    }

    fn priority(&mut self) -> Parse<u32> {
        let number = self.number("a priority")?;
        if number.node > MAX_PRIORITY {
            let message = format!("prio must be 0 - {MAX_PRIORITY}");
            return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
        }
        Ok(number.node)
    }

    /// `set option`, `set (option [,] …)`.
    pub(super) fn set_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        if !self.eat_symbol("(") {
            return self.set_item(rule);
        }
        loop {
            self.set_item(rule)?;
            self.eat_symbol(",");
            if self.eat_symbol(")") {
                return Ok(());
            }
        }
    }

    fn set_item(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let token = self.peek().clone();
        let set = &mut rule.extras.set;
        let known = match token.text.as_ref() {
            "prio" | "queue" | "delay" if !self.printing => {
                let feature = format!("set {}", token.text);
                return Err(self.unsupported(&feature, token.span));
            }
            "prio" => {
                self.next();
                set.prio.replace(self.priorities()?).is_some()
            }
            "tos" => {
                self.next();
                rule.set_tos.replace(self.tos_value()?).is_some()
            }
            "queue" => return self.queue(rule),
            "delay" => {
                self.next();
                let delay = self.number("milliseconds")?.node;
                set.delay.replace(delay).is_some()
            }
            _ => return Err(self.unexpected("`prio`, `queue`, `tos` or `delay`")),
        };
        self.once(known, &token)
    }

    /// `N`, `(N, M)`.
    fn priorities(&mut self) -> Parse<(u32, u32)> {
        if !self.eat_symbol("(") {
            let priority = self.priority()?;
            return Ok((priority, priority));
        }
        let first = self.priority()?;
        self.eat_symbol(",");
        let second = self.priority()?;
        self.expect_symbol(")")?;
        Ok((first, second))
    }

    pub(super) fn rate(&mut self) -> Parse<(u32, Spanned<u32>)> {
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
        self.late_state_options(rule)
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
        let first = self.queue_name()?.node;
        let mut acks = None;
        if several {
            self.eat_symbol(",");
            if !self.at_symbol(")") {
                acks = Some(self.queue_name()?.node);
            }
            self.expect_symbol(")")?;
        }
        let known = rule.extras.set.queue.replace((first, acks)).is_some();
        self.once(known, &keyword)
    }

    /// `divert-to address port N`, or FreeBSD's `divert-to N`; `divert-packet port N`;
    /// `divert-reply`.
    fn divert(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let node = match keyword.text.as_ref() {
            "divert-reply" => Divert::Reply,
            "divert-packet" => {
                self.expect_word("port")?;
                Divert::Packet(self.single_port()?)
            }
            _ => self.divert_to(keyword.span)?,
        };
        let span = keyword.span;
        let known = rule.divert.replace(Spanned { node, span }).is_some();
        self.once(known, &keyword)
    }

    fn divert_to(&mut self, span: Span) -> Parse<Divert> {
        if self.peek().kind == Kind::Number && !self.lexer.peek_at(1).is_symbol("/") {
            return Ok(Divert::To(None, self.single_port()?));
        }
        let mut pool = PoolStatement::new(span);
        pool.targets.push(Target {
            interface: None,
            weight: None,
            host: Some(self.host()?),
        });
        self.expect_word("port")?;
        Ok(Divert::To(Some(Box::new(pool)), self.single_port()?))
    }

    fn single_port(&mut self) -> Parse<u16> {
        let (word, span) = self.port_word()?;
        match word {
            PortWord::Single(0) => {
                let message = "invalid divert port 0";
                Err(self.error(Code::BadNumber, span, message, String::new()))
            }
            PortWord::Single(port) => Ok(port),
            PortWord::Range(..) | PortWord::Open(_) => {
                let message = "port ranges are not supported in divert-to";
                Err(self.error(Code::Conflict, span, message, String::new()))
            }
        }
    }

    /// PF's of before 2009: past the route lookup.
    pub(super) fn fastroute(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let known = !rule.extras.words(Slot::Fastroute).is_empty() || rule.route.is_some();
        self.once(known, &keyword)?;
        rule.extras.push(Slot::Fastroute, "fastroute".to_owned());
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
            "group-bound" => (StateSlot::GroupBound, "group-bound".to_owned()),
            "allow-related" => (StateSlot::AllowRelated, "allow-related".to_owned()),
            other => return Err(self.unsupported(other, token.span)),
        };
        let tracks = !matches!(
            slot,
            StateSlot::NoSync
                | StateSlot::Pflow
                | StateSlot::SourceTrack
                | StateSlot::GroupBound
                | StateSlot::AllowRelated
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
        if number.node == 0 {
            let message = format!("'{}' must be > 0", token.text);
            return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
        }
        Ok(format!("{} {}", token.text, number.node))
    }

    fn source_rate(&mut self, state: &mut State) -> Parse<String> {
        let start = self.peek().span;
        let (count, seconds) = self.rate()?;
        let message = if count == 0 || seconds.node == 0 {
            "'max-src-conn-rate' values must be > 0".to_owned()
        } else if count > MAX_SOURCE_RATE {
            format!("'max-src-conn-rate' maximum rate must be < {MAX_SOURCE_RATE}")
        } else {
            String::new()
        };
        if !message.is_empty() {
            return Err(self.error(Code::BadNumber, start, &message, String::new()));
        }
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
}
