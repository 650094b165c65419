//! Rules: `pass`, `block`, `match`, `nat`, `rdr`, `binat`, `antispoof`.

use pf_engine::addr::{Family, Protocol};
use pf_engine::rule::{BlockReply, Direction, FlagsMatch, IcmpMatch, Log, RouteKind, tcp_flags};

use super::{Parse, Parser};
use crate::ast::{AntispoofStatement, Flags, RuleStatement, Side, Spanned, Statement, Verb};
use crate::diagnostic::Code;
use crate::limits::{MAX_LABELS, MAX_TAG_BYTES};
use crate::names::{did_you_mean, icmp, keywords, protocols};
use crate::source::Span;
use crate::token::{Kind, Token};

/// Letters of TCP flags in the order that PF prints them, and their bits.
pub(crate) const FLAG_LETTERS: [(char, u8); 8] = [
    ('F', tcp_flags::FIN),
    ('S', tcp_flags::SYN),
    ('R', tcp_flags::RST),
    ('P', tcp_flags::PSH),
    ('A', tcp_flags::ACK),
    ('U', tcp_flags::URG),
    ('E', tcp_flags::ECE),
    ('W', tcp_flags::CWR),
];

/// Names of `tos` values (pf.conf(5); RFC 2474, RFC 2597, RFC 3246).
const TOS_NAMES: &[(&str, u8)] = &[
    ("lowdelay", 0x10),
    ("throughput", 0x08),
    ("reliability", 0x04),
    ("critical", 0xa0),
    ("inetcontrol", 0xc0),
    ("netcontrol", 0xe0),
    ("ef", 0xb8),
    ("va", 0xb0),
    ("af11", 0x28),
    ("af12", 0x30),
    ("af13", 0x38),
    ("af21", 0x48),
    ("af22", 0x50),
    ("af23", 0x58),
    ("af31", 0x68),
    ("af32", 0x70),
    ("af33", 0x78),
    ("af41", 0x88),
    ("af42", 0x90),
    ("af43", 0x98),
    ("cs0", 0x00),
    ("cs1", 0x20),
    ("cs2", 0x40),
    ("cs3", 0x60),
    ("cs4", 0x80),
    ("cs5", 0xa0),
    ("cs6", 0xc0),
    ("cs7", 0xe0),
];

impl Parser<'_> {
    pub(super) fn rule(&mut self) -> Parse<()> {
        let first = self.peek().span;
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
            if self.at_word("scrub") {
                let span = self.peek().span;
                return Err(self.unsupported("no scrub", span));
            }
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
        if self.eat_word("pass") {
            rule.nat_pass = true;
        }
        self.log_and_quick(rule)?;
        if rule.quick {
            let detail = "translation rules are first-match; they have no `quick`".to_owned();
            return Err(self.error(Code::Syntax, rule.span, "syntax error", detail));
        }
        self.on(rule)?;
        self.family(rule);
        self.protocols(rule)?;
        self.addresses(rule)?;
        loop {
            let token = self.peek().clone();
            match (token.kind, token.text.as_ref()) {
                (Kind::Word, "tag") => self.tag(rule)?,
                (Kind::Word, "tagged") => self.tagged(rule, false)?,
                (Kind::Symbol, "!") => self.negated_option(rule)?,
                (Kind::Word, "rtable") => return Err(self.unsupported("rtable", token.span)),
                _ => break,
            }
        }
        self.translation_target(rule)
    }

    fn translation_target(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let no = matches!(
            rule.verb,
            Verb::Nat { no: true } | Verb::Rdr { no: true } | Verb::Binat { no: true }
        );
        let arrow = self.peek().span;
        if no {
            if self.at_symbol("->") {
                let message = "'no' translation rules must not have a target";
                return Err(self.error(Code::Conflict, arrow, message, String::new()));
            }
            return Ok(());
        }
        if !self.at_symbol("->") {
            let name = match rule.verb {
                Verb::Rdr { .. } => "rdr",
                Verb::Binat { .. } => "binat",
                Verb::Nat { .. } | Verb::Pass | Verb::Match | Verb::Block(_) => "nat",
            };
            if self.peek().ends_line() {
                let message = format!("{name} rule requires redirection address '-> ...'");
                return Err(self.error(Code::Syntax, arrow, &message, String::new()));
            }
            return Err(self.unknown_option());
        }
        self.next();
        let pool = self.redirection(arrow)?;
        match rule.verb {
            Verb::Rdr { .. } => rule.rdr = Some(pool),
            Verb::Binat { .. } => rule.binat = Some(pool),
            Verb::Nat { .. } | Verb::Pass | Verb::Match | Verb::Block(_) => rule.nat = Some(pool),
        }
        Ok(())
    }

    fn filter(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        if self.eat_word("in") {
            rule.direction = Some(Direction::In);
        } else if self.eat_word("out") {
            rule.direction = Some(Direction::Out);
        }
        self.log_and_quick(rule)?;
        self.on(rule)?;
        if self.at_word("route-to") || self.at_word("reply-to") {
            self.route_option(rule)?;
        }
        self.family(rule);
        self.protocols(rule)?;
        self.addresses(rule)?;
        while !self.peek().ends_line() {
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
            } else if self.eat_word("user") {
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

    fn on(&mut self, rule: &mut RuleStatement) -> Parse<()> {
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

    fn eat_family(&mut self) -> Option<Family> {
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

    fn addresses(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        if self.eat_word("all") {
            return Ok(());
        }
        if self.eat_word("from") {
            rule.source = self.side()?;
            if self.at_word("os") {
                let span = self.peek().span;
                return Err(self.unsupported("os", span));
            }
        }
        if self.eat_word("to") {
            rule.destination = self.side()?;
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

    fn filter_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let token = self.peek().clone();
        if token.is_symbol("!") {
            return self.negated_option(rule);
        }
        if token.kind != Kind::Word {
            return Err(self.unexpected("an option or the end of the line"));
        }
        match token.text.as_ref() {
            "flags" => self.flags(rule),
            "icmp-type" => self.icmp_types(rule, Family::Inet),
            "icmp6-type" => self.icmp_types(rule, Family::Inet6),
            "tos" => self.tos(rule),
            "fragment" => {
                self.next();
                self.once(rule.fragment.is_some(), &token)?;
                rule.fragment = Some(token.span);
                Ok(())
            }
            "allow-opts" => {
                self.next();
                self.once(rule.allow_options.is_some(), &token)?;
                rule.allow_options = Some(token.span);
                Ok(())
            }
            "keep" | "modulate" | "no" => self.state(rule),
            "label" => self.label(rule),
            "tag" => self.tag(rule),
            "tagged" => self.tagged(rule, false),
            "route-to" | "reply-to" => self.route_option(rule),
            "nat-to" | "rdr-to" | "binat-to" => self.translation_option(rule),
            _ => Err(self.unknown_option()),
        }
    }

    fn once(&mut self, known: bool, token: &Token) -> Parse<()> {
        if known {
            let message = format!("{} cannot be respecified", token.text);
            return Err(self.error(Code::Conflict, token.span, &message, String::new()));
        }
        Ok(())
    }

    /// A word where an option should be: one of PF's, a misspelled one, or nonsense.
    fn unknown_option(&mut self) -> super::Bail {
        let token = self.peek().clone();
        if token.kind != Kind::Word {
            return self.unexpected("an option or the end of the line");
        }
        if let Some(feature) = keywords::unsupported_option(&token.text) {
            return match feature {
                "synproxy" => self.unsupported("synproxy state", token.span),
                "set" => self.unsupported_set(&token),
                other => self.unsupported(other, token.span),
            };
        }
        let mut error = self.syntax_error("an option or the end of the line");
        error.hint = if keywords::RULE_OPTIONS.contains(&token.text.as_ref()) {
            Some(
                "the order is: direction, log, quick, on, route-to, family, proto, from, to, \
                 other options"
                    .to_owned(),
            )
        } else {
            did_you_mean(&token.text, keywords::RULE_OPTIONS.iter().copied())
        };
        self.report(error);
        super::Bail
    }

    fn unsupported_set(&mut self, token: &Token) -> super::Bail {
        let next = self.lexer.peek_at(1).clone();
        let feature = if next.kind == Kind::Word {
            format!("set {}", next.text)
        } else {
            "set (…)".to_owned()
        };
        self.unsupported(&feature, token.span)
    }

    fn negated_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        if self.at_word("tagged") {
            return self.tagged(rule, true);
        }
        if self.at_word("received-on") {
            let span = self.peek().span;
            return Err(self.unsupported("received-on", span));
        }
        Err(self.unexpected("`tagged`"))
    }

    fn flags(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.flags.is_some(), &keyword)?;
        let node = if self.eat_word("any") {
            Flags::Any
        } else {
            let set = if self.at_symbol("/") {
                0
            } else {
                self.flag_set()?
            };
            self.expect_symbol("/")?;
            Flags::Match(FlagsMatch {
                set,
                mask: self.flag_set()?,
            })
        };
        rule.flags = Some(Spanned {
            node,
            span: keyword.span,
        });
        self.check_flags(rule)
    }

    fn check_flags(&mut self, rule: &RuleStatement) -> Parse<()> {
        match &rule.flags {
            Some(Spanned {
                node: Flags::Match(flags),
                span,
            }) if flags.set & !flags.mask != 0 => {
                let detail = "flags that must be set are not among those looked at".to_owned();
                Err(self.error(Code::Conflict, *span, "flags always false", detail))
            }
            _ => Ok(()),
        }
    }

    fn flag_set(&mut self) -> Parse<u8> {
        let token = self.peek().clone();
        if token.kind != Kind::Word {
            return Err(self.unexpected("TCP flags (FSRPAUEW)"));
        }
        let bits = token.text.chars().try_fold(0, |bits, letter| {
            let known = FLAG_LETTERS.iter().find(|(known, _)| *known == letter);
            known.map(|(_, bit)| bits | bit)
        });
        let Some(bits) = bits else {
            let message = format!("unknown flag in '{}'", token.text);
            let detail = "the flags are FSRPAUEW".to_owned();
            return Err(self.error(Code::UnknownName, token.span, &message, detail));
        };
        self.next();
        Ok(bits)
    }

    fn icmp_types(&mut self, rule: &mut RuleStatement, family: Family) -> Parse<()> {
        let keyword = self.next();
        self.once(!rule.icmp.is_empty(), &keyword)?;
        rule.icmp_family = Some(family);
        self.list("an ICMP type", &mut |parser| {
            rule.icmp.push(parser.icmp_type(family)?);
            Ok(())
        })
    }

    fn icmp_type(&mut self, family: Family) -> Parse<Spanned<IcmpMatch>> {
        let start = self.peek().span;
        let kind = if self.peek().kind == Kind::Number {
            let number = self.number("an ICMP type")?;
            self.icmp_number(number.node, number.span, "illegal icmp-type")?
        } else {
            let name = self.string("an ICMP type")?;
            let Some(kind) = icmp::kind_by_name(family, &name.node) else {
                let message = format!("unknown icmp-type {}", name.node);
                let known = icmp::kind_names(family);
                return Err(self.unknown_name(name.span, message, &name.node, known));
            };
            kind
        };
        let code = if self.eat_word("code") {
            Some(self.icmp_code(family, kind)?)
        } else {
            None
        };
        Ok(Spanned {
            node: IcmpMatch { kind, code },
            span: start,
        })
    }

    fn icmp_code(&mut self, family: Family, kind: u8) -> Parse<u8> {
        if self.peek().kind == Kind::Number {
            let number = self.number("an ICMP code")?;
            return self.icmp_number(number.node, number.span, "illegal icmp-code");
        }
        let name = self.string("an ICMP code")?;
        icmp::code_by_name(family, kind, &name.node).ok_or_else(|| {
            let message = format!("unknown icmp-code {}", name.node);
            let known = icmp::code_names(family, kind);
            self.unknown_name(name.span, message, &name.node, known)
        })
    }

    fn icmp_number(&mut self, number: u32, span: Span, what: &str) -> Parse<u8> {
        u8::try_from(number).map_err(|_| {
            let message = format!("{what} {number}");
            self.error(Code::BadNumber, span, &message, "at most 255".to_owned())
        })
    }

    fn tos(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.tos.is_some(), &keyword)?;
        if self.peek().kind == Kind::Number {
            let number = self.number("a TOS value")?;
            rule.tos = Some(self.icmp_number(number.node, number.span, "illegal tos value")?);
            return Ok(());
        }
        let name = self.string("a TOS value")?;
        let hex = name.node.strip_prefix("0x");
        let value = if let Some(hex) = hex {
            u8::from_str_radix(hex, 16).ok()
        } else {
            let known = TOS_NAMES.iter().find(|(known, _)| *known == name.node);
            known.map(|(_, value)| *value)
        };
        rule.tos = Some(value.ok_or_else(|| {
            let message = format!("illegal tos value {}", name.node);
            let known = TOS_NAMES.iter().map(|(known, _)| *known);
            self.unknown_name(name.span, message, &name.node, known)
        })?);
        Ok(())
    }

    fn label(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        let label = self.string("a label")?;
        self.add_label(&mut rule.labels, label)
    }

    fn add_label(
        &mut self,
        labels: &mut Vec<Spanned<String>>,
        label: Spanned<String>,
    ) -> Parse<()> {
        if labels.len() == MAX_LABELS {
            let message = format!("label may only be used {MAX_LABELS} times");
            return Err(self.error(Code::Limit, label.span, &message, String::new()));
        }
        labels.push(label);
        Ok(())
    }

    fn tag(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.tag.is_some(), &keyword)?;
        rule.tag = Some(self.tag_name()?);
        Ok(())
    }

    fn tagged(&mut self, rule: &mut RuleStatement, negated: bool) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.tagged.is_some(), &keyword)?;
        rule.tagged = Some((negated, self.tag_name()?));
        Ok(())
    }

    fn tag_name(&mut self) -> Parse<Spanned<String>> {
        let name = self.string("a tag")?;
        if name.node.len() > MAX_TAG_BYTES {
            let message = format!("tag too long, max {MAX_TAG_BYTES} chars");
            return Err(self.error(Code::Limit, name.span, &message, String::new()));
        }
        Ok(name)
    }

    fn route_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let kind = if keyword.is_word("route-to") {
            RouteKind::RouteTo
        } else {
            RouteKind::ReplyTo
        };
        if rule.route.is_some() {
            let message = "cannot specify more than one of route-to, reply-to and dup-to";
            return Err(self.error(Code::Conflict, keyword.span, message, String::new()));
        }
        rule.route = Some(self.route(kind, keyword.span)?);
        Ok(())
    }

    fn translation_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        let pool = self.redirection(keyword.span)?;
        let slot = match keyword.text.as_ref() {
            "nat-to" => &mut rule.nat,
            "rdr-to" => &mut rule.rdr,
            _ => &mut rule.binat,
        };
        let known = slot.replace(pool).is_some();
        self.once(known, &keyword)?;
        if rule.binat.is_some() && (rule.nat.is_some() || rule.rdr.is_some()) {
            let message = "cannot specify binat-to with nat-to or rdr-to";
            return Err(self.error(Code::Conflict, keyword.span, message, String::new()));
        }
        Ok(())
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
        let mut statement = AntispoofStatement {
            span: keyword.span,
            log: rule.log,
            quick: rule.quick,
            interfaces,
            family: self.eat_family(),
            labels: Vec::new(),
        };
        while self.eat_word("label") {
            let label = self.string("a label")?;
            self.add_label(&mut statement.labels, label)?;
        }
        self.statements
            .push(Statement::Antispoof(Box::new(statement)));
        Ok(())
    }
}
