//! Addresses in all their forms.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pf_engine::addr::{Family, Prefix};
use pf_engine::rule::{DynamicAddress, DynamicPart};

use super::{Parse, Parser};
use crate::ast::{Host, HostKind, NamedHost, Spanned};
use crate::diagnostic::Code;
use crate::limits::MAX_TABLE_NAME_BYTES;
use crate::names::keywords;
use crate::source::Span;
use crate::token::{Kind, Token};

impl Parser<'_> {
    /// `any`, an address, or a list of them.
    pub(super) fn hosts(&mut self) -> Parse<Vec<Host>> {
        let mut hosts = Vec::new();
        self.list("an address", &mut |parser| {
            hosts.push(parser.host()?);
            Ok(())
        })?;
        Ok(hosts)
    }

    /// `[!] address`.
    pub(super) fn host(&mut self) -> Parse<Host> {
        let start = self.peek().span;
        let negated = self.eat_symbol("!");
        let (kind, span) = self.host_kind()?;
        if negated && matches!(kind, HostKind::Any) {
            let detail = "`any` cannot be negated".to_owned();
            return Err(self.error(Code::Syntax, span, "syntax error", detail));
        }
        Ok(Host {
            negated,
            kind,
            span: start.to(span),
        })
    }

    fn host_kind(&mut self) -> Parse<(HostKind, Span)> {
        let token = self.peek().clone();
        if token.is_symbol("<") {
            let name = self.table_name()?;
            return Ok((HostKind::Table(name.node), name.span));
        }
        if token.is_symbol("(") {
            return self.dynamic_host();
        }
        let keyword = match (token.kind, token.text.as_ref()) {
            (Kind::Word, "any") => Some(HostKind::Any),
            (Kind::Word, "no-route") => Some(HostKind::NoRoute),
            (Kind::Word, "urpf-failed") => Some(HostKind::UrpfFailed),
            _ => None,
        };
        if let Some(kind) = keyword {
            self.next();
            return Ok((kind, token.span));
        }
        self.literal_host(&token)
    }

    /// `<name>`.
    pub(super) fn table_name(&mut self) -> Parse<Spanned<String>> {
        let open = self.expect_symbol("<")?;
        let name = match self.peek().kind {
            Kind::Word | Kind::Quoted | Kind::Number => self.next(),
            Kind::Symbol | Kind::Newline | Kind::End | Kind::Invalid => {
                return Err(self.unexpected("a table name"));
            }
        };
        let close = self.expect_symbol(">")?;
        let span = open.span.to(close.span);
        if name.text.is_empty() {
            let detail = "a table needs a name".to_owned();
            return Err(self.error(Code::Syntax, span, "syntax error", detail));
        }
        if name.text.len() > MAX_TABLE_NAME_BYTES {
            let message = format!("table name too long, max {MAX_TABLE_NAME_BYTES} chars");
            return Err(self.error(Code::Limit, span, &message, String::new()));
        }
        Ok(Spanned {
            node: name.text.into_owned(),
            span,
        })
    }

    /// `(interface[:modifier…])[/len]`.
    fn dynamic_host(&mut self) -> Parse<(HostKind, Span)> {
        let open = self.expect_symbol("(")?;
        let (address, span) = self.dynamic_inside(open.span)?;
        Ok((HostKind::Dynamic(address), span))
    }

    /// The rest of [`Self::dynamic_host`], after its `(`.
    pub(super) fn dynamic_inside(&mut self, open: Span) -> Parse<(DynamicAddress, Span)> {
        let name = self.string("an interface name")?;
        let close = self.expect_symbol(")")?;
        let mut span = open.to(close.span);
        let (interface, part, no_aliases) = self.modifiers(&name)?;
        self.check_interface(&interface, name.span)?;
        let mut prefix_len = None;
        if self.at_symbol("/") {
            let (len, at) = self.prefix_len()?;
            span = span.to(at);
            prefix_len = Some(len);
        }
        self.check_part(part, prefix_len, span)?;
        Ok((
            DynamicAddress {
                interface,
                part,
                no_aliases,
                prefix_len,
            },
            span,
        ))
    }

    fn check_part(&mut self, part: DynamicPart, len: Option<u8>, span: Span) -> Parse<()> {
        if len.is_some() && matches!(part, DynamicPart::Network | DynamicPart::Broadcast) {
            let message = "network or broadcast lookup, but extra netmask given";
            return Err(self.error(Code::BadAddress, span, message, String::new()));
        }
        Ok(())
    }

    /// Splits `em0:network:0`.
    fn modifiers(&mut self, name: &Spanned<String>) -> Parse<(String, DynamicPart, bool)> {
        let mut pieces = name.node.split(':');
        let interface = pieces.next().unwrap_or_default().to_owned();
        let mut part = DynamicPart::Host;
        let mut no_aliases = false;
        for piece in pieces {
            let wanted = match piece {
                "0" => {
                    no_aliases = true;
                    continue;
                }
                "network" => DynamicPart::Network,
                "broadcast" => DynamicPart::Broadcast,
                "peer" => DynamicPart::Peer,
                other => {
                    let message = format!("interface {interface} has bad modifier");
                    let known = ["network", "broadcast", "peer"];
                    return Err(self.unknown_name(name.span, message, other, known));
                }
            };
            if part != DynamicPart::Host {
                let message = "illegal combination of interface modifiers";
                return Err(self.error(Code::BadAddress, name.span, message, String::new()));
            }
            part = wanted;
        }
        if interface.is_empty() {
            let detail = "an interface name is missing".to_owned();
            return Err(self.error(Code::Syntax, name.span, "syntax error", detail));
        }
        Ok((interface, part, no_aliases))
    }

    /// `/len`.
    fn prefix_len(&mut self) -> Parse<(u8, Span)> {
        self.expect_symbol("/")?;
        let number = self.number("a prefix length")?;
        match u8::try_from(number.node) {
            Ok(len) if len <= 128 => Ok((len, number.span)),
            _ => Err(self.bad_netmask(number.node, number.span)),
        }
    }

    fn bad_netmask(&mut self, len: u32, span: Span) -> super::Bail {
        let message = format!("invalid netmask '/{len}'");
        self.error(Code::BadAddress, span, &message, String::new())
    }

    /// A host, a network, a range, or a name.
    fn literal_host(&mut self, token: &Token) -> Parse<(HostKind, Span)> {
        let usable = match token.kind {
            Kind::Word => !keywords::is_reserved(&token.text),
            Kind::Quoted => true,
            Kind::Number => self.lexer.peek_at(1).is_symbol("/"),
            Kind::Symbol | Kind::Newline | Kind::End | Kind::Invalid => false,
        };
        if !usable {
            return Err(self.unexpected("an address"));
        }
        let word = self.next();
        let text = Spanned {
            node: word.text.into_owned(),
            span: word.span,
        };
        if self.at_symbol("-") {
            return self.range(&text);
        }
        let len = if self.at_symbol("/") {
            Some(self.prefix_len()?)
        } else {
            None
        };
        let span = len.map_or(text.span, |(_, at)| text.span.to(at));
        let kind = self.address_or_name(&text, len.map(|(len, _)| len), span)?;
        Ok((kind, span))
    }

    fn range(&mut self, first: &Spanned<String>) -> Parse<(HostKind, Span)> {
        self.expect_symbol("-")?;
        let last = self.string("an address")?;
        let span = first.span.to(last.span);
        let ends = (parse_ip(&first.node), parse_ip(&last.node));
        match ends {
            (Some(a), Some(b)) if Family::of(a) == Family::of(b) && a <= b => {
                Ok((HostKind::Range(a, b), span))
            }
            _ => {
                let detail = "a range is two addresses of one family, the smaller first";
                let message = "could not parse host specification";
                Err(self.error(Code::BadAddress, span, message, detail.to_owned()))
            }
        }
    }

    fn address_or_name(
        &mut self,
        text: &Spanned<String>,
        len: Option<u8>,
        span: Span,
    ) -> Parse<HostKind> {
        let (address, scope) = match text.node.split_once('%') {
            Some((address, scope)) => (address, Some(scope.to_owned())),
            None => (text.node.as_str(), None),
        };
        let ip = parse_ip(address).or_else(|| len.and_then(|_| parse_short_v4(address)));
        if scope.as_deref() == Some("") {
            let message = "could not parse host specification";
            let detail = "an interface name is missing behind `%`".to_owned();
            return Err(self.error(Code::BadAddress, span, message, detail));
        }
        if let Some(ip) = ip {
            let bits = len.unwrap_or(Family::of(ip).bits());
            let Some(prefix) = Prefix::new(ip, bits) else {
                return Err(self.bad_netmask(bits.into(), span));
            };
            return Ok(HostKind::Literal {
                prefix: prefix.masked(),
                scope,
            });
        }
        if looks_like_address(&text.node) {
            let message = "could not parse host specification";
            let detail = format!("`{}` is no address", text.node);
            return Err(self.error(Code::BadAddress, span, message, detail));
        }
        let (name, part, no_aliases) = self.modifiers(text)?;
        self.check_part(part, len, span)?;
        Ok(HostKind::Name(NamedHost {
            name,
            part,
            no_aliases,
            prefix_len: len,
        }))
    }
}

/// An address in full.
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

/// `10`, `10.1`, `10.1.2`: the leading bytes of a network, the rest zero.
pub(super) fn parse_short_v4(text: &str) -> Option<IpAddr> {
    let mut bytes = [0; 4];
    for (count, piece) in text.split('.').enumerate() {
        let digits = !piece.is_empty() && piece.bytes().all(|b| b.is_ascii_digit());
        *bytes.get_mut(count)? = piece.parse().ok().filter(|_| digits)?;
    }
    Some(IpAddr::V4(Ipv4Addr::from(bytes)))
}

/// Whether a word can only have been meant as an address.
fn looks_like_address(text: &str) -> bool {
    let v4 = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let v6 =
        text.matches(':').count() > 1 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    v4 || v6 || text.parse::<Ipv6Addr>().is_ok()
}
