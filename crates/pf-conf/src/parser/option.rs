//! Options of filter rules, in any order.

use pf_engine::addr::Family;
use pf_engine::rule::{FlagsMatch, IcmpMatch, RouteKind, tcp_flags};

use super::{Parse, Parser};
use crate::ast::{Flags, RuleStatement, Spanned};
use crate::diagnostic::Code;
use crate::limits::{MAX_LABELS, MAX_TAG_BYTES};
use crate::names::{did_you_mean, icmp, keywords};
use crate::source::Span;
use crate::token::{Kind, Token};

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
    pub(super) fn filter_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
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
            "once" => {
                self.next();
                self.once(rule.once.is_some(), &token)?;
                rule.once = Some(token.span);
                Ok(())
            }
            "keep" | "modulate" | "synproxy" | "no" => self.state(rule),
            "max-pkt-rate" => self.packet_rate(rule),
            "max-pkt-size" => self.packet_size(rule),
            "state" | "source" => self.rule_limiter(rule),
            "label" => self.label(rule),
            "tag" => self.tag(rule),
            "tagged" => self.tagged(rule, false),
            "route-to" | "reply-to" => self.route_option(rule),
            "af-to" => self.af_to(rule),
            "nat-to" | "rdr-to" | "binat-to" => self.translation_option(rule),
            "scrub" => self.scrub_options(rule),
            "set" => self.set_option(rule),
            _ => match self.beyond_option(rule, &token) {
                Some(parsed) => parsed,
                None => Err(self.unknown_option()),
            },
        }
    }

    pub(super) fn once(&mut self, known: bool, token: &Token) -> Parse<()> {
        if known {
            let message = format!("{} cannot be redefined", token.text);
            return Err(self.error(Code::Conflict, token.span, &message, String::new()));
        }
        Ok(())
    }

    /// A word where an option should be: one in the wrong place, a misspelled one, or nonsense.
    pub(super) fn unknown_option(&mut self) -> super::Bail {
        let token = self.peek().clone();
        if token.kind != Kind::Word {
            return self.unexpected("an option or the end of the line");
        }
        let mut error = self.syntax_error("an option or the end of the line");
        error.hint = if token.text == "port" {
            Some("a port belongs to an address: `to any port`, `to port` or `from port`".to_owned())
        } else if token.text == "os" {
            Some("a system belongs to the source: `from any os \"Linux\"`".to_owned())
        } else if keywords::RULE_OPTIONS.contains(&token.text.as_ref()) {
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

    pub(super) fn negated_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        if self.at_word("tagged") {
            return self.tagged(rule, true);
        }
        if self.at_word("received-on") {
            return self.received_on(rule, true);
        }
        Err(self.unexpected("`tagged` or `received-on`"))
    }

    pub(super) fn flags(&mut self, rule: &mut RuleStatement) -> Parse<()> {
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
            let known = tcp_flags::LETTERS
                .iter()
                .find(|(known, _)| *known == letter);
            known.map(|(_, bit)| bits | bit)
        });
        let Some(bits) = bits else {
            let message = format!("bad flags {}", token.text);
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

    pub(super) fn icmp_code(&mut self, family: Family, kind: u8) -> Parse<u8> {
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

    pub(super) fn icmp_number(&mut self, number: u32, span: Span, what: &str) -> Parse<u8> {
        u8::try_from(number).map_err(|_| {
            let message = format!("{what} {number}");
            self.error(Code::BadNumber, span, &message, "at most 255".to_owned())
        })
    }

    fn tos(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.tos.is_some(), &keyword)?;
        rule.tos = Some(self.tos_value()?);
        Ok(())
    }

    /// A number or a name of a TOS value.
    pub(super) fn tos_value(&mut self) -> Parse<u8> {
        if self.peek().kind == Kind::Number {
            let number = self.number("a TOS value")?;
            return self.icmp_number(number.node, number.span, "illegal tos value");
        }
        let name = self.string("a TOS value")?;
        let value = if let Some(hex) = name.node.strip_prefix("0x") {
            u8::from_str_radix(hex, 16).ok()
        } else {
            let known = TOS_NAMES
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(&name.node));
            known.map(|(_, value)| *value)
        };
        value.ok_or_else(|| {
            let message = format!("illegal tos value {}", name.node);
            let known = TOS_NAMES.iter().map(|(known, _)| *known);
            self.unknown_name(name.span, message, &name.node, known)
        })
    }

    pub(super) fn label(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        self.next();
        let label = self.string("a label")?;
        self.add_label(&mut rule.labels, label)
    }

    pub(super) fn add_label(
        &mut self,
        labels: &mut Vec<Spanned<String>>,
        label: Spanned<String>,
    ) -> Parse<()> {
        if labels.len() == MAX_LABELS {
            let message = format!("label can only be used {MAX_LABELS} times");
            return Err(self.error(Code::Limit, label.span, &message, String::new()));
        }
        labels.push(label);
        Ok(())
    }

    pub(super) fn tag(&mut self, rule: &mut RuleStatement) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.tag.is_some(), &keyword)?;
        rule.tag = Some(self.tag_name()?);
        Ok(())
    }

    pub(super) fn tagged(&mut self, rule: &mut RuleStatement, negated: bool) -> Parse<()> {
        let keyword = self.next();
        self.once(rule.tagged.is_some(), &keyword)?;
        rule.tagged = Some((negated, self.tag_name()?));
        Ok(())
    }

    pub(super) fn tag_name(&mut self) -> Parse<Spanned<String>> {
        let name = self.string("a tag")?;
        if name.node.len() > MAX_TAG_BYTES {
            let message = format!("tag too long, max {MAX_TAG_BYTES} chars");
            return Err(self.error(Code::Limit, name.span, &message, String::new()));
        }
        Ok(name)
    }

    pub(super) fn route_option(&mut self, rule: &mut RuleStatement) -> Parse<()> {
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
}
