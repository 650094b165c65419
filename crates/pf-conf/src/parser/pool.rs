//! Pools: `-> …`, `nat-to …`, `route-to …`.

use pf_engine::rule::{PoolKind, PoolPorts, PortSet, RouteKind};

use super::port::PortWord;
use super::{Parse, Parser};
use crate::ast::{Host, HostKind, PoolStatement, Spanned, Target};
use crate::diagnostic::Code;
use crate::names::{keywords, md5};
use crate::source::Span;
use crate::token::Kind;

impl Parser<'_> {
    /// `addresses [port …] [options]`.
    pub(super) fn redirection(&mut self, start: Span) -> Parse<PoolStatement> {
        let mut pool = PoolStatement::new(start);
        let mut hosts = Vec::new();
        self.list("an address", &mut |parser| {
            hosts.push((parser.host()?, parser.weight()?));
            Ok(())
        })?;
        for (host, weight) in hosts {
            self.check_target(&host)?;
            pool.targets.push(Target {
                interface: None,
                weight,
                host: Some(host),
            });
        }
        if self.at_word("port") {
            pool.ports = Some(self.redirection_port()?);
        }
        self.pool_options(&mut pool)?;
        Ok(pool)
    }

    fn check_target(&mut self, host: &Host) -> Parse<()> {
        let problem = match host.kind {
            _ if host.negated => "a negated address",
            HostKind::Any => "`any`",
            HostKind::NoRoute => "`no-route`",
            HostKind::UrpfFailed => "`urpf-failed`",
            HostKind::Range(..) => "a range of addresses",
            HostKind::Table(_)
            | HostKind::Dynamic(_)
            | HostKind::Literal { .. }
            | HostKind::Name(_) => return Ok(()),
        };
        let detail = format!("{problem} cannot be translated or routed to");
        Err(self.error(Code::Syntax, host.span, "syntax error", detail))
    }

    fn redirection_port(&mut self) -> Parse<Spanned<PoolPorts>> {
        self.next();
        let (word, span) = self.port_word()?;
        let node = match word {
            PortWord::Single(port) => PoolPorts::Single(port),
            PortWord::Range(a, b) => PoolPorts::Range(a, b),
            PortWord::Open(port) => PoolPorts::Offset(port),
        };
        Ok(Spanned { node, span })
    }

    fn pool_options(&mut self, pool: &mut PoolStatement) -> Parse<()> {
        loop {
            let token = self.peek().clone();
            if token.kind != Kind::Word {
                return Ok(());
            }
            match token.text.as_ref() {
                "bitmask" => self.pool_kind(pool, PoolKind::Bitmask)?,
                "random" => self.pool_kind(pool, PoolKind::Random)?,
                "round-robin" => self.pool_kind(pool, PoolKind::RoundRobin)?,
                "source-hash" => self.source_hash(pool)?,
                "sticky-address" => {
                    self.next();
                    let known = std::mem::replace(&mut pool.sticky, true);
                    self.once(known, &token)?;
                }
                "static-port" => {
                    self.next();
                    let known = pool.static_port.replace(token.span).is_some();
                    self.once(known, &token)?;
                }
                "least-states" => self.least_states(pool)?,
                "endpoint-independent" => {
                    self.next();
                    pool.endpoint_independent = Some(token.span);
                }
                "prefer-ipv6-nexthop" => {
                    self.next();
                    pool.prefer_ipv6_nexthop = Some(token.span);
                }
                "map-e-portset" => self.port_set(pool)?,
                _ => return Ok(()),
            }
        }
    }

    /// `map-e-portset offset/length/identifier`.
    fn port_set(&mut self, pool: &mut PoolStatement) -> Parse<()> {
        let keyword = self.next();
        if pool.kind.is_some() || pool.least_states.is_some() {
            let message = "map-e-portset cannot be used with address pools";
            return Err(self.error(Code::Conflict, keyword.span, message, String::new()));
        }
        let offset = self.any_number("an offset")?;
        self.expect_symbol("/")?;
        let length = self.any_number("a length")?;
        self.expect_symbol("/")?;
        let id = self.any_number("an identifier")?;
        let set = match (
            u8::try_from(offset.node),
            u8::try_from(length.node),
            u16::try_from(id.node),
        ) {
            (Ok(offset), Ok(length), Ok(id)) => PortSet::new(offset, length, id),
            _ => None,
        };
        let (message, span, detail) = match set {
            Some(_) if length.node == 0 => {
                let message = "PSID Length = 0: this means you do not need MAP-E";
                (message, length.span, "")
            }
            Some(node) => {
                let span = keyword.span;
                let known = pool.port_set.replace(Spanned { node, span }).is_some();
                return self.once(known, &keyword);
            }
            None if !(1..=15).contains(&offset.node) => {
                ("MAP-E PSID offset must be 1-15", offset.span, "")
            }
            None if length.node > 16 - offset.node => {
                let detail = "offset and length are together at most 16";
                ("Invalid MAP-E PSID length", length.span, detail)
            }
            None => (
                "Invalid MAP-E PSID",
                id.span,
                "the identifier fits into its length",
            ),
        };
        Err(self.error(Code::BadNumber, span, message, detail.to_owned()))
    }

    /// OpenBSD's: the address with the fewest states.
    fn least_states(&mut self, pool: &mut PoolStatement) -> Parse<()> {
        pool.least_states = Some(self.peek().span);
        self.pool_kind(pool, PoolKind::LeastStates)
    }

    /// OpenBSD's `weight N` behind an address of a pool.
    fn weight(&mut self) -> Parse<Option<(u16, Span)>> {
        let token = self.peek().clone();
        if !token.is_word("weight") {
            return Ok(None);
        }
        self.next();
        let weight = self.number("a weight")?;
        let Some(number) = u16::try_from(weight.node).ok().filter(|n| *n > 0) else {
            let message = format!("weight out of range (1 to {})", u16::MAX);
            return Err(self.error(Code::BadNumber, weight.span, &message, String::new()));
        };
        Ok(Some((number, token.span)))
    }

    fn pool_kind(&mut self, pool: &mut PoolStatement, kind: PoolKind) -> Parse<()> {
        let token = self.next();
        if pool.kind.is_some() {
            let message = "pool type cannot be redefined";
            return Err(self.error(Code::Conflict, token.span, message, String::new()));
        }
        pool.kind = Some(Spanned {
            node: kind,
            span: token.span,
        });
        Ok(())
    }

    fn source_hash(&mut self, pool: &mut PoolStatement) -> Parse<()> {
        self.pool_kind(pool, PoolKind::SourceHash { key: [0; 4] })?;
        let token = self.peek().clone();
        let has_key = match token.kind {
            Kind::Quoted => true,
            Kind::Word => {
                !keywords::is_reserved(&token.text)
                    && !keywords::RULE_OPTIONS.contains(&token.text.as_ref())
            }
            Kind::Number | Kind::Symbol | Kind::Newline | Kind::End | Kind::Invalid => false,
        };
        if !has_key {
            pool.random_key = true;
            return Ok(());
        }
        let token = self.next();
        let key = match token.text.strip_prefix("0x") {
            None => md5::words(token.text.as_bytes()),
            Some(hex) => hash_key(hex).ok_or_else(|| {
                let message = "hex key must be 128 bits (32 hex digits) long";
                self.error(Code::BadNumber, token.span, message, String::new())
            })?,
        };
        if let Some(kind) = &mut pool.kind {
            kind.node = PoolKind::SourceHash { key };
        }
        Ok(())
    }

    /// What follows `route-to` and `reply-to`, in the spelling of today and of before.
    pub(super) fn route(
        &mut self,
        kind: RouteKind,
        start: Span,
    ) -> Parse<(RouteKind, PoolStatement)> {
        let mut pool = PoolStatement::new(start);
        self.list("an interface or an address", &mut |parser| {
            let mut target = parser.route_target()?;
            target.weight = parser.weight()?;
            pool.targets.push(target);
            Ok(())
        })?;
        self.pool_options(&mut pool)?;
        if let Some(span) = pool.static_port {
            let message = "the 'static-port' option is only valid with nat rules";
            return Err(self.error(Code::Conflict, span, message, String::new()));
        }
        Ok((kind, pool))
    }

    /// `(interface address)`, `(interface)`, `interface`, `address`, `<table>`.
    fn route_target(&mut self) -> Parse<Target> {
        if self.at_symbol("(") {
            return self.parenthesized_target();
        }
        let host = self.host()?;
        self.check_target(&host)?;
        if let HostKind::Name(name) = &host.kind {
            let bare = name.prefix_len.is_none() && !host_modified(&host.kind);
            if bare {
                return Ok(Target {
                    interface: Some(name.name.clone()),
                    weight: None,
                    host: None,
                });
            }
        }
        Ok(Target {
            interface: None,
            weight: None,
            host: Some(host),
        })
    }

    fn parenthesized_target(&mut self) -> Parse<Target> {
        let open = self.peek().span;
        if self.lexer.peek_at(2).is_symbol(")") {
            self.next();
            let (address, span) = self.dynamic_inside(open)?;
            return Ok(Target {
                interface: None,
                weight: None,
                host: Some(Host {
                    negated: false,
                    kind: HostKind::Dynamic(address),
                    span,
                }),
            });
        }
        self.next();
        let interface = self.interface_word()?;
        let host = self.host()?;
        self.check_target(&host)?;
        self.expect_symbol(")")?;
        Ok(Target {
            interface: Some(interface.node),
            weight: None,
            host: Some(host),
        })
    }
}

fn host_modified(kind: &HostKind) -> bool {
    match kind {
        HostKind::Name(name) => name.no_aliases || name.part != pf_engine::rule::DynamicPart::Host,
        HostKind::Any
        | HostKind::NoRoute
        | HostKind::UrpfFailed
        | HostKind::Table(_)
        | HostKind::Dynamic(_)
        | HostKind::Literal { .. }
        | HostKind::Range(..) => false,
    }
}

fn hash_key(hex: &str) -> Option<[u32; 4]> {
    if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 4];
    for (index, word) in key.iter_mut().enumerate() {
        *word = u32::from_str_radix(hex.get(index * 8..index * 8 + 8)?, 16).ok()?;
    }
    Some(key)
}
