//! Options of rules that ask for what lies outside of a packet's headers, and what rules do to
//! packets that they pass: see [`pf_engine::criteria`].

use pf_engine::criteria::{OwnerMatch, PRIORITY_MAX, Probability};
use pf_engine::rule::{InterfaceMatch, RouteKind};

use super::port::PortWord;
use super::{Bail, Parse, Parser};
use crate::accounts::NoNumber;
use crate::ast::{Divert, InterfaceName, PoolStatement, RuleStatement, Spanned, Target};
use crate::diagnostic::{Code, Diagnostic};
use crate::print;
use crate::source::Span;
use crate::token::{Kind, Token};

/// Largest routing domain and table (`RT_TABLEID_MAX`).
const MAX_ROUTING_DOMAIN: u32 = 255;

impl Parser<'_> {
    /// `None` when `token`, which is next, begins no such option.
    pub(super) fn criterion(
        &mut self,
        rule: &mut RuleStatement,
        token: &Token,
    ) -> Option<Parse<()>> {
        Some(match token.text.as_ref() {
            "user" => self.owners(rule, false),
            "group" => self.owners(rule, true),
            "received-on" => self.received_on(rule, false),
            "prio" => self.prio(rule),
            "probability" => self.probability(rule),
            "ridentifier" => self.identifier(rule),
            "rtable" => self.rtable(rule),
            "divert-to" | "divert-reply" | "divert-packet" => self.divert(rule),
            "dup-to" => self.dup_to(rule),
            _ => return None,
        })
    }

    /// What Linux has nothing for; a preview reads it all the same.
    pub(super) fn impossible(&mut self, feature: &str, span: Span, hint: &str) -> Parse<()> {
        if self.printing {
            return Ok(());
        }
        Err(self.unsupported(feature, span, hint))
    }

    /// `ridentifier N`.
    pub(super) fn identifier(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let number = self.any_number("a number")?;
        self.once(rule.identifier.replace(number.node).is_some(), &keyword)
    }

    /// `rtable N`.
    pub(super) fn rtable(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.treatment.routing_table.is_some(), &keyword)?;
        rule.treatment.routing_table = Some(self.routing_table()?);
        Ok(())
    }

    pub(super) fn routing_table(&mut self) -> Parse<u8> {
        let number = self.number("a routing table")?;
        u8::try_from(number.node).map_err(|_| {
            let message = format!("invalid rtable id {}", number.node);
            self.error(Code::BadNumber, number.span, &message, String::new())
        })
    }

    /// `user …`, `group …`. What is given last comes first, as in PF.
    fn owners(&mut self, rule: &mut RuleStatement, group: bool) -> Parse<()> {
        self.next();
        let mut list = Vec::new();
        self.list("a name or number", &mut |parser| {
            list.push(parser.owner(group)?);
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

    fn owner(&mut self, group: bool) -> Parse<OwnerMatch> {
        let operators = ["=", "!=", "<", "<=", ">", ">="];
        let token = self.peek().clone();
        let operator = token.text.as_ref();
        if token.kind == Kind::Symbol && operators.contains(&operator) {
            self.next();
            return self.compared(operator, group);
        }
        let place = token.span;
        let first = self.owner_number(group)?;
        for operator in ["><", "<>"] {
            if self.eat_symbol(operator) {
                let second = self.owner_number(group)?;
                let (Some(first), Some(second)) = (first, second) else {
                    return Err(self.unknown_owner(place, group));
                };
                return Ok(if operator == "><" {
                    OwnerMatch::Inside(first, second)
                } else {
                    OwnerMatch::Outside(first, second)
                });
            }
        }
        Ok(first.map_or(OwnerMatch::Unknown, OwnerMatch::Eq))
    }

    fn compared(&mut self, operator: &str, group: bool) -> Parse<OwnerMatch> {
        let place = self.peek().span;
        let number = self.owner_number(group)?;
        Ok(match (operator, number) {
            ("=", None) => OwnerMatch::Unknown,
            ("!=", None) => OwnerMatch::Known,
            (_, None) => return Err(self.unknown_owner(place, group)),
            ("=", Some(n)) => OwnerMatch::Eq(n),
            ("!=", Some(n)) => OwnerMatch::Ne(n),
            ("<", Some(n)) => OwnerMatch::Lt(n),
            ("<=", Some(n)) => OwnerMatch::Le(n),
            (">", Some(n)) => OwnerMatch::Gt(n),
            (_, Some(n)) => OwnerMatch::Ge(n),
        })
    }

    fn unknown_owner(&mut self, span: Span, group: bool) -> Bail {
        let what = if group { "group" } else { "user" };
        let message = format!("{what} unknown requires operator = or !=");
        self.error(Code::Conflict, span, &message, String::new())
    }

    /// Nothing for `unknown`.
    fn owner_number(&mut self, group: bool) -> Parse<Option<u32>> {
        if self.peek().kind == Kind::Number {
            let number = self.number("a number")?;
            if number.node == u32::MAX {
                let what = if group { "gid" } else { "uid" };
                let message = format!("illegal {what} value {}", number.node);
                return Err(self.error(Code::BadNumber, number.span, &message, String::new()));
            }
            return Ok(Some(number.node));
        }
        let name = self.string("a name or number")?;
        if name.node == "unknown" {
            return Ok(None);
        }
        // The layout of a file is the same where nobody has that account.
        if self.lexer.trace.is_some() {
            return Ok(Some(0));
        }
        match self.accounts.number(group, &name.node) {
            Ok(number) => Ok(Some(number)),
            Err(reason) => Err(self.no_account(group, &name, &reason)),
        }
    }

    fn no_account(&mut self, group: bool, name: &Spanned<String>, reason: &NoNumber) -> Bail {
        let what = if group { "group" } else { "user" };
        let mut error = Diagnostic::new(
            Code::UnknownName,
            name.span,
            format!("unknown {what} {}", name.node),
        );
        match reason {
            NoNumber::Unknown => {
                let (name, add) = (&name.node, if group { "groupadd" } else { "useradd" });
                error.hint = Some(format!(
                    "no process here can be of that {what}: leave the rule out, make the account \
                     ({add} --system {name}), or write its number"
                ));
            }
            NoNumber::Unreadable(said) => error.detail = Some(said.clone()),
        }
        self.report(error);
        Bail
    }

    pub(super) fn received_on(&mut self, rule: &mut RuleStatement, negated: bool) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.received_on.is_some(), &keyword)?;
        let negated = self.eat_symbol("!") || negated;
        let name = if self.eat_word("any") {
            "any".to_owned()
        } else {
            self.interface_word()?.node
        };
        rule.received_on = Some(InterfaceMatch { negated, name });
        Ok(())
    }

    /// `rdomain N` in the place of an interface.
    pub(super) fn routing_domain(&mut self, negated: bool) -> Parse<InterfaceName> {
        let keyword = self.next();
        let hint = "a VRF device (`ip link add … type vrf`) has its own routing table: name it, or \
                    its interfaces";
        self.impossible("on rdomain", keyword.span, hint)?;
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
        self.once(rule.priority.is_some(), &keyword)?;
        rule.priority = Some(self.priority()?);
        Ok(())
    }

    fn priority(&mut self) -> Parse<u8> {
        let number = self.number("a priority")?;
        let priority = u8::try_from(number.node).ok();
        priority.filter(|p| *p <= PRIORITY_MAX).ok_or_else(|| {
            let message = format!("prio must be 0 - {PRIORITY_MAX}");
            self.error(Code::BadNumber, number.span, &message, String::new())
        })
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
        if token.is_word("prio") {
            self.next();
            let priorities = self.priorities()?;
            let known = rule.treatment.priority.replace(priorities).is_some();
            return self.once(known, &token);
        }
        self.beyond_set_item(rule, &token)
    }

    /// `N`, `(N, M)`.
    fn priorities(&mut self) -> Parse<(u8, u8)> {
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

    /// A fraction, or a percentage with `%`; printed as a percentage.
    fn probability(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        let token = self.peek().clone();
        if !matches!(token.kind, Kind::Word | Kind::Number) {
            return Err(self.unexpected("a probability"));
        }
        self.next();
        let share: Option<f64> = match token.text.strip_suffix('%') {
            Some(percent) => percent.parse().ok().map(|percent: f64| percent / 100.0),
            None => token.text.parse().ok(),
        };
        let Some(probability) = share.and_then(Probability::of_share) else {
            let message = format!("invalid probability: {}", token.text);
            return Err(self.error(Code::BadNumber, token.span, &message, String::new()));
        };
        rule.probability = Some(probability);
        self.late_state_options(rule)
    }

    /// `divert-to address port N`, or FreeBSD's `divert-to N`; `divert-packet port N`;
    /// `divert-reply`.
    fn divert(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let node = match keyword.text.as_ref() {
            "divert-reply" => Divert::Reply,
            "divert-packet" => {
                self.impossible(
                    "divert-packet",
                    keyword.span,
                    crate::expand::NO_DIVERT_SOCKETS,
                )?;
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

    pub(super) fn dup_to(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        if rule.route.is_some() {
            let message = "cannot specify more than one of route-to, reply-to and dup-to";
            return Err(self.error(Code::Conflict, keyword.span, message, String::new()));
        }
        rule.route = Some(self.route(RouteKind::DupTo, keyword.span)?);
        Ok(())
    }
}
