//! Rules: `pass`, `block`, `match`, `nat`, `rdr`, `binat`, `antispoof`.

use pf_engine::addr::{Family, Protocol};
use pf_engine::rule::{BlockReply, Direction, Log};

use super::{Parse, Parser};
use crate::ast::{AntispoofStatement, HostKind, RuleStatement, Side, Spanned, Statement, Verb};
use crate::diagnostic::Code;
use crate::names::{icmp, protocols};
use crate::source::Span;
use crate::token::Kind;

impl Parser<'_> {
    pub(super) fn rule(&mut self) -> Parse<()> {
        let first = self.peek().span;
        if self.at_word("no") && self.lexer.peek_at(1).is_word("scrub") {
            return self.scrub_rule();
        }
        let verb = self.verb()?;
        let mut rule = RuleStatement::new(verb, first);
        if verb.is_translation() {
            self.translation(&mut rule)?;
        } else {
            self.filter(&mut rule)?;
        }
        self.statements.push(Statement::Rule(Box::new(rule)));
        Ok(())
    }

    fn verb(&mut self) -> Parse<Verb> {
        let mut token = self.next();
        let no = token.is_word("no");
        if no {
            if !["nat", "rdr", "binat"]
                .iter()
                .any(|word| self.at_word(word))
            {
                return Err(self.unexpected("`nat`, `rdr` or `binat`"));
            }
            token = self.next();
        }
        Ok(match token.text.as_ref() {
            "pass" => Verb::Pass,
            "match" => Verb::Match,
            "nat" => Verb::Nat { no },
            "rdr" => Verb::Rdr { no },
            "binat" => Verb::Binat { no },
            _ => Verb::Block(self.block_reply()?),
        })
    }

    fn block_reply(&mut self) -> Parse<Option<BlockReply>> {
        if self.eat_word("drop") {
            return Ok(Some(BlockReply::Drop));
        }
        if self.eat_word("return") {
            return Ok(Some(BlockReply::Return));
        }
        if self.eat_word("return-rst") {
            return Ok(Some(BlockReply::Rst {
                ttl: self.reply_ttl()?,
            }));
        }
        let families: &[Family] = if self.eat_word("return-icmp") {
            &[Family::Inet, Family::Inet6]
        } else if self.eat_word("return-icmp6") {
            &[Family::Inet6]
        } else {
            return Ok(None);
        };
        self.reply_codes(families).map(Some)
    }

    fn reply_ttl(&mut self) -> Parse<u8> {
        if !self.eat_symbol("(") {
            return Ok(0);
        }
        self.expect_word("ttl")?;
        let ttl = self.number("a TTL")?;
        self.expect_symbol(")")?;
        u8::try_from(ttl.node).map_err(|_| {
            let message = format!("illegal ttl value {}", ttl.node);
            self.error(
                Code::BadNumber,
                ttl.span,
                &message,
                "at most 255".to_owned(),
            )
        })
    }

    fn reply_codes(&mut self, families: &[Family]) -> Parse<BlockReply> {
        let default = |family| (icmp::unreachable(family), icmp::port_unreachable(family));
        let mut v4 = default(Family::Inet);
        let mut v6 = default(Family::Inet6);
        if self.eat_symbol("(") {
            for (index, family) in families.iter().enumerate() {
                if index > 0 && !self.eat_symbol(",") {
                    break;
                }
                let kind = icmp::unreachable(*family);
                let code = self.icmp_code(*family, kind)?;
                match family {
                    Family::Inet => v4 = (kind, code),
                    Family::Inet6 => v6 = (kind, code),
                }
            }
            self.expect_symbol(")")?;
        }
        Ok(BlockReply::Icmp { v4, v6 })
    }

    fn translation(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let span = self.peek().span;
        if self.eat_word("pass") {
            if rule.verb.is_negated() {
                let message = "\"pass\" not valid with \"no\"";
                return Err(self.error(Code::Conflict, span, message, String::new()));
            }
            rule.nat_pass = true;
        }
        self.log_and_quick(rule)?;
        if rule.quick {
            let detail = "translation rules are first-match; they have no `quick`".to_owned();
            return Err(self.error(Code::Syntax, rule.span, "syntax error", detail));
        }
        self.translation_match(rule)?;
        loop {
            let token = self.peek().clone();
            match (token.kind, token.text.as_ref()) {
                (Kind::Word, "tag") => self.tag(rule)?,
                (Kind::Word, "tagged") => self.tagged(rule, false)?,
                (Kind::Symbol, "!") => self.negated_option(rule)?,
                (Kind::Word, "rtable") => self.rtable(rule)?,
                _ => break,
            }
        }
        self.translation_target(rule)
    }

    /// What a translation rule matches.
    pub(super) fn translation_match(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.on(rule)?;
        self.family(rule);
        self.protocols(rule)?;
        self.addresses(rule)
    }

    fn translation_target(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let arrow = self.peek().span;
        let is_binat = matches!(rule.verb, Verb::Binat { .. });
        if rule.verb.is_negated() {
            if self.at_symbol("->") {
                let message = if is_binat {
                    "'no binat' rule does not need '->'"
                } else {
                    "translation rule with 'no' does not need '->'"
                };
                return Err(self.error(Code::Conflict, arrow, message, String::new()));
            }
            return Ok(());
        }
        if !self.at_symbol("->") {
            if self.peek().ends_line() {
                let message = if is_binat {
                    "'binat' rule requires '-> address'"
                } else {
                    "translation rule requires '-> address'"
                };
                return Err(self.error(Code::Syntax, arrow, message, String::new()));
            }
            return Err(self.unknown_option());
        }
        self.next();
        let pool = self.redirection(arrow)?;
        match rule.verb {
            Verb::Rdr { .. } => rule.rdr = Some(pool),
            Verb::Binat { .. } => rule.binat = Some(pool),
            Verb::Pass
            | Verb::Block(_)
            | Verb::Match
            | Verb::Anchor
            | Verb::Scrub { .. }
            | Verb::Nat { .. } => rule.nat = Some(pool),
        }
        Ok(())
    }

    /// What a `scrub` rule matches.
    pub(super) fn scrub_match(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.direction(rule);
        self.log_and_quick(rule)?;
        self.on(rule)?;
        self.family(rule);
        self.protocols(rule)?;
        self.addresses(rule)
    }

    fn direction(&mut self, rule: &mut RuleStatement) {
        if self.eat_word("in") {
            rule.direction = Some(Direction::In);
        } else if self.eat_word("out") {
            rule.direction = Some(Direction::Out);
        }
    }

    pub(super) fn filter(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.direction(rule);
        self.log_and_quick(rule)?;
        self.on(rule)?;
        if self.at_word("route-to") || self.at_word("reply-to") {
            self.route_option(rule)?;
        } else if self.at_word("dup-to") {
            self.dup_to(rule)?;
        } else if self.at_word("fastroute") {
            self.fastroute(rule)?;
        }
        self.family(rule);
        self.protocols(rule)?;
        self.addresses(rule)?;
        while !self.peek().ends_line() && !self.at_symbol("{") {
            self.filter_option(rule)?;
        }
        Ok(())
    }

    fn log_and_quick(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        loop {
            let span = self.peek().span;
            let twice = if self.eat_word("quick") {
                std::mem::replace(&mut rule.quick, true)
            } else if self.at_word("log") {
                let log = self.log()?;
                rule.log.replace(log).is_some()
            } else {
                return Ok(());
            };
            if twice {
                let message = "log and quick cannot be respecified";
                return Err(self.error(Code::Conflict, span, message, String::new()));
            }
        }
    }

    fn log(&mut self) -> Parse<Log> {
        self.next();
        let mut log = Log::default();
        if !self.eat_symbol("(") {
            return Ok(log);
        }
        loop {
            if self.eat_word("all") {
                log.all = true;
            } else if self.eat_word("user") || self.eat_word("group") {
                log.user = true;
            } else if self.eat_word("matches") {
                log.matches = true;
            } else if self.eat_word("to") {
                log.interface = self.log_interface()?;
            } else {
                return Err(self.unexpected("`all`, `user`, `matches` or `to pflogN`"));
            }
            self.eat_symbol(",");
            if self.eat_symbol(")") {
                return Ok(log);
            }
        }
    }

    fn log_interface(&mut self) -> Parse<u8> {
        let name = self.string("pflogN")?;
        let number = name.node.strip_prefix("pflog").and_then(|n| n.parse().ok());
        number.ok_or_else(|| {
            let message = format!("{}: should be a pflog interface", name.node);
            self.error(Code::BadAddress, name.span, &message, String::new())
        })
    }

    pub(super) fn on(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        if !self.eat_word("on") {
            return Ok(());
        }
        self.list("an interface name", &mut |parser| {
            rule.interfaces.push(parser.interface_name()?);
            Ok(())
        })
    }

    fn family(&mut self, rule: &mut RuleStatement) {
        rule.family = self.eat_family();
    }

    pub(super) fn eat_family(&mut self) -> Option<Family> {
        if self.eat_word("inet") {
            Some(Family::Inet)
        } else if self.eat_word("inet6") {
            Some(Family::Inet6)
        } else {
            None
        }
    }

    fn protocols(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        if !self.eat_word("proto") {
            return Ok(());
        }
        self.list("a protocol", &mut |parser| {
            rule.protocols.push(parser.protocol()?);
            Ok(())
        })
    }

    fn protocol(&mut self) -> Parse<Spanned<Protocol>> {
        if self.peek().kind == Kind::Number {
            let number = self.number("a protocol")?;
            return self.protocol_number(number.node, number.span);
        }
        let name = self.string("a protocol")?;
        let Some(number) = protocols::number(&name.node) else {
            let message = format!("unknown protocol {}", name.node);
            return Err(self.unknown_name(name.span, message, &name.node, protocols::all()));
        };
        self.protocol_number(number.into(), name.span)
    }

    fn protocol_number(&mut self, number: u32, span: Span) -> Parse<Spanned<Protocol>> {
        match u8::try_from(number) {
            Ok(0) => Err(self.error(
                Code::BadNumber,
                span,
                "proto 0 cannot be used",
                String::new(),
            )),
            Ok(number) => Ok(Spanned {
                node: Protocol(number),
                span,
            }),
            Err(_) => Err(self.error(
                Code::BadNumber,
                span,
                "protocol outside range",
                "at most 255".to_owned(),
            )),
        }
    }

    pub(super) fn addresses(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        if self.eat_word("all") {
            return Ok(());
        }
        if self.eat_word("from") {
            rule.source = self.side()?;
            if self.at_word("os") {
                self.systems(rule)?;
            }
        }
        if self.eat_word("to") {
            rule.destination = self.side()?;
            let hosts = rule.destination.hosts.iter();
            let mut failed = hosts.filter(|host| matches!(host.kind, HostKind::UrpfFailed));
            if let Some(host) = failed.next() {
                let message = "\"urpf-failed\" is not permitted in a destination address";
                return Err(self.error(Code::Conflict, host.span, message, String::new()));
            }
        }
        Ok(())
    }

    fn side(&mut self) -> Parse<Side> {
        let mut side = Side::ANY;
        if !self.at_word("port") {
            side.hosts = self.hosts()?;
        }
        if self.eat_word("port") {
            side.ports = self.ports()?;
        }
        Ok(side)
    }

    pub(super) fn antispoof(&mut self) -> Parse<()> {
        let keyword = self.next();
        let mut rule = RuleStatement::new(Verb::Block(Some(BlockReply::Drop)), keyword.span);
        self.log_and_quick(&mut rule)?;
        self.expect_word("for")?;
        let mut interfaces = Vec::new();
        self.list("an interface name", &mut |parser| {
            let dynamic = parser.eat_symbol("(");
            let interface = parser.interface_name()?;
            if dynamic {
                parser.expect_symbol(")")?;
            }
            if interface.negated {
                let message = "antispoof for ! <interface> is not supported";
                return Err(parser.error(Code::Conflict, interface.span, message, String::new()));
            }
            interfaces.push((interface, dynamic));
            Ok(())
        })?;
        rule.family = self.eat_family();
        loop {
            let token = self.peek().clone();
            match token.text.as_ref() {
                "label" => self.label(&mut rule)?,
                "ridentifier" => self.identifier(&mut rule)?,
                "rtable" => self.rtable(&mut rule)?,
                _ => break,
            }
        }
        let statement = AntispoofStatement {
            span: keyword.span,
            log: rule.log,
            quick: rule.quick,
            interfaces,
            family: rule.family,
            labels: rule.labels,
            treatment: rule.treatment,
            identifier: rule.identifier,
        };
        self.statements
            .push(Statement::Antispoof(Box::new(statement)));
        Ok(())
    }
}
