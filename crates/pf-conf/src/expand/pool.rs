//! Pools: family, kind, and what does not go together.

use pf_engine::addr::{Family, Prefix};
use pf_engine::rule::{Address, Pool, PoolKind, PoolPorts, PoolTarget, PortMatch};
use pf_engine::ruleset::Dialect;

use super::host::{Resolved, fitted};
use super::{Expand, Expander};
use crate::ast::{PoolStatement, Target};
use crate::diagnostic::Code;
use crate::echo::Topic;
use crate::optimize::automatic;
use crate::print::table_line;
use crate::source::Span;

/// What a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Nat,
    Rdr,
    Binat,
    Route,
    /// `from` of `af-to`.
    AfFrom,
    /// `to` of `af-to`.
    AfTo,
}

/// PF's own range of ports for NAT; `port 50001:65535` says nothing new.
const NAT_PORTS: PoolPorts = PoolPorts::Range(50_001, 65_535);

/// A pool whose names are resolved, with targets of both families.
pub(super) struct Candidates {
    targets: Vec<(Option<String>, Resolved)>,
    key: [u32; 4],
    /// `prefer-ipv6-nexthop`: they say nothing of the family of the packets.
    any_family: bool,
}

impl Candidates {
    /// The one family of all targets that have one, if packets must be of it.
    pub(super) fn common_family(&self) -> Option<Family> {
        if self.any_family {
            return None;
        }
        let mut families = self.targets.iter().map(|(_, host)| host.family);
        let first = families.next()??;
        families
            .all(|family| family == Some(first))
            .then_some(first)
    }

    /// The family that a `nat` or `rdr` rule takes from them: that of the first, else of the first that has one.
    pub(super) fn leading_family(&self) -> Option<Family> {
        let mut families = self.targets.iter().map(|(_, host)| host.family);
        self.first_family()
            .or_else(|| families.find_map(|family| family))
    }

    /// The family of the first target, unless that is a link-local address.
    pub(super) fn first_family(&self) -> Option<Family> {
        let (_, first) = self.targets.first()?;
        first.family.filter(|_| first.scope.is_none())
    }

    /// Its addresses, of any family.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.targets.iter().map(|(_, host)| &host.address)
    }

    /// The first address of `family`.
    pub(super) fn first(&self, family: Option<Family>) -> Option<&Resolved> {
        let mut hosts = self.targets.iter().map(|(_, host)| host);
        hosts.find(|host| fits(host, family))
    }

    /// The address, if there is one alone.
    pub(super) fn single(&self, family: Option<Family>) -> Option<&Resolved> {
        let mut fitting = self
            .targets
            .iter()
            .map(|(_, host)| host)
            .filter(|host| fits(host, family));
        let first = fitting.next()?;
        fitting.next().is_none().then_some(first)
    }
}

pub(super) fn fits(host: &Resolved, family: Option<Family>) -> bool {
    family.is_none() || host.family.is_none() || host.family == family
}

impl Expander<'_> {
    /// Resolves the targets of a pool, once for all rules of its statement.
    pub(super) fn candidates(&mut self, pool: &PoolStatement) -> Expand<Candidates> {
        let mut targets = Vec::new();
        for target in &pool.targets {
            self.target(target, &mut targets)?;
        }
        let key = if pool.random_key {
            self.hash_key()
        } else {
            [0; 4]
        };
        Ok(Candidates {
            targets,
            key,
            any_family: pool.prefer_ipv6_nexthop.is_some(),
        })
    }

    fn target(
        &mut self,
        target: &Target,
        into: &mut Vec<(Option<String>, Resolved)>,
    ) -> Expand<()> {
        let Some(host) = &target.host else {
            let any = Resolved {
                weight: target.weight.map(|(weight, _)| weight),
                ..Resolved::ANY
            };
            into.push((target.interface.clone(), any));
            return Ok(());
        };
        let mut resolved = Vec::new();
        self.host(host, &mut resolved)?;
        if resolved.iter().any(|host| host.address == Address::Any) {
            let message = "could not parse host specification";
            let detail = "a network of length 0 cannot be translated or routed to";
            return Err(self.error(Code::BadAddress, host.span, message, detail));
        }
        into.extend(resolved.into_iter().map(|mut host| {
            host.weight = target.weight.map(|(weight, _)| weight);
            (target.interface.clone(), host)
        }));
        Ok(())
    }

    /// The pool for a rule of `family`.
    pub(super) fn pool(
        &mut self,
        statement: &PoolStatement,
        candidates: &Candidates,
        purpose: Purpose,
        family: Option<Family>,
        port: Option<PortMatch>,
    ) -> Expand<Pool> {
        self.check_dialect(statement)?;
        let any_family = candidates.any_family;
        let targets: Vec<&(Option<String>, Resolved)> = candidates
            .targets
            .iter()
            .filter(|(_, host)| any_family || fits(host, family))
            .collect();
        if targets.is_empty() {
            return Err(self.no_target(statement, purpose));
        }
        let hosts = targets.iter().map(|(_, host)| host);
        self.check_netmask(hosts, statement.span)?;
        let is_open = family.is_none() && !any_family;
        let mixed = is_open && targets.iter().any(|(_, host)| host.family.is_some());
        if mixed {
            let message = "address family not given and translation address expands to multiple \
                           address families";
            return Err(self.error(Code::Conflict, statement.span, message, ""));
        }
        let mut pool = Pool {
            targets: targets
                .into_iter()
                .map(|target| pool_target(target, family))
                .collect(),
            kind: PoolKind::Single,
            sticky: statement.sticky,
            static_port: statement.static_port.is_some(),
            endpoint_independent: statement.endpoint_independent.is_some(),
            port_set: statement.port_set.as_ref().map(|set| set.node),
            prefer_ipv6_nexthop: statement.prefer_ipv6_nexthop.is_some(),
            ports: self.pool_ports(statement, purpose, port)?,
        };
        if let Some(span) = statement.least_states
            && purpose == Purpose::Binat
        {
            let message = "binat-to takes no pool type";
            return Err(self.error(Code::Conflict, span, message, ""));
        }
        pool.kind = self.pool_kind(statement, candidates, &pool)?;
        if self.ruleset.dialect == Dialect::OpenBsd && purpose != Purpose::Binat {
            self.collapse(&mut pool);
        }
        Ok(pool)
    }

    /// `least-states` and `weight` are OpenBSD's alone.
    fn check_dialect(&mut self, statement: &PoolStatement) -> Expand<()> {
        let weighed = statement.targets.iter().find_map(|target| target.weight);
        let (word, span) = match (statement.least_states, weighed) {
            _ if self.ruleset.dialect == Dialect::OpenBsd => return Ok(()),
            (Some(span), _) => ("least-states", span),
            (None, Some((_, span))) => ("weight", span),
            (None, None) => return Ok(()),
        };
        let detail = format!("`{word}` is a word of the dialect `openbsd` alone");
        Err(self.error(Code::Syntax, span, "syntax error", &detail))
    }

    /// OpenBSD puts several addresses into a table of their own, one for each rule. A list with
    /// interfaces or weights stays a list: a table would lose them.
    fn collapse(&mut self, pool: &mut Pool) {
        let prefixes: Option<Vec<Prefix>> = pool.targets.iter().map(plain_prefix).collect();
        let Some(prefixes) = prefixes.filter(|prefixes| prefixes.len() > 1) else {
            return;
        };
        if pool.targets.iter().any(|target| target.weight.is_some()) {
            return;
        }
        let name = self.automatic_name(&prefixes);
        let definition = automatic::definition(&prefixes);
        self.tell(Topic::Tables, table_line(&name, &definition));
        self.ruleset.tables.insert(name.clone(), definition);
        pool.targets = vec![PoolTarget {
            interface: None,
            address: Address::Table(name),
            weight: None,
        }];
    }

    /// As pfctl names them: by a number alone before they are loaded, and with a hexadecimal part
    /// when they are.
    fn automatic_name(&mut self, prefixes: &[Prefix]) -> String {
        loop {
            let number = self.automatic_tables;
            self.automatic_tables += 1;
            let name = match self.print {
                Some(_) => format!("{}{number}", automatic::NAME_PREFIX),
                None => automatic::name(prefixes, number),
            };
            if !self.ruleset.tables.contains_key(&name) {
                return name;
            }
        }
    }

    fn no_target(&mut self, statement: &PoolStatement, purpose: Purpose) -> super::Bail {
        let what = match purpose {
            Purpose::Route => "routing",
            Purpose::Nat | Purpose::Rdr | Purpose::Binat | Purpose::AfFrom | Purpose::AfTo => {
                "translation"
            }
        };
        let message = format!("no {what} address with matching address family found.");
        self.error(Code::NoCombination, statement.span, &message, "")
    }

    fn pool_kind(
        &mut self,
        statement: &PoolStatement,
        candidates: &Candidates,
        pool: &Pool,
    ) -> Expand<PoolKind> {
        let several = pool.targets.len() > 1;
        let table = pool
            .targets
            .iter()
            .any(|t| matches!(t.address, Address::Table(_)));
        let alias = pool
            .targets
            .iter()
            .find_map(|target| aliased(&target.address));
        let kind = match (&statement.kind, several || table || alias.is_some()) {
            (None, true) => PoolKind::RoundRobin,
            (None, false) => PoolKind::Single,
            (Some(_), _) if statement.random_key => PoolKind::SourceHash {
                key: candidates.key,
            },
            (Some(kind), _) => kind.node,
        };
        let span = statement.kind.as_ref().map_or(statement.span, |k| k.span);
        let open = self.ruleset.dialect == Dialect::OpenBsd;
        let draws = match kind {
            PoolKind::RoundRobin | PoolKind::LeastStates => true,
            // They need not know the addresses beforehand.
            PoolKind::Random | PoolKind::SourceHash { .. } => open || !several,
            PoolKind::Single | PoolKind::Bitmask => false,
        };
        let message = match (several, table, alias) {
            _ if draws => return Ok(kind),
            (true, _, _) if open => {
                "pool type is not valid for multiple translation or routing addresses".to_owned()
            }
            (_, true, _) => "tables are not supported by pool type".to_owned(),
            (_, _, Some(name)) => format!("interface ({name}) is not supported by pool type"),
            (true, _, _) => "only round-robin valid for multiple redirection addresses".to_owned(),
            (false, false, None) => return Ok(kind),
        };
        Err(self.error(Code::Conflict, span, &message, ""))
    }

    fn pool_ports(
        &mut self,
        statement: &PoolStatement,
        purpose: Purpose,
        port: Option<PortMatch>,
    ) -> Expand<Option<PoolPorts>> {
        if let Some(span) = statement.static_port {
            if !matches!(purpose, Purpose::Nat | Purpose::AfFrom) {
                let message = "the 'static-port' option is only valid with nat rules";
                return Err(self.error(Code::Conflict, span, message, ""));
            }
            if statement.ports.is_some() {
                let message = "the 'static-port' option can't be used when specifying a port range";
                return Err(self.error(Code::Conflict, span, message, ""));
            }
        }
        if let Some((message, span)) = options_conflict(statement, purpose) {
            return Err(self.error(Code::Conflict, span, message, ""));
        }
        let Some(ports) = &statement.ports else {
            return Ok(None);
        };
        match (purpose, ports.node) {
            (Purpose::Nat | Purpose::AfFrom, NAT_PORTS) => Ok(None),
            (Purpose::Nat | Purpose::AfFrom, PoolPorts::Offset(_)) => {
                let message = "no port range may be open-ended in a nat rule";
                Err(self.error(Code::Conflict, ports.span, message, ""))
            }
            (Purpose::AfTo, _) => {
                let message = "`to` of af-to takes no port";
                Err(self.error(Code::Conflict, ports.span, message, ""))
            }
            (Purpose::Binat | Purpose::Route, _) => {
                let message = "binat-to and route-to take no port";
                Err(self.error(Code::Conflict, ports.span, message, ""))
            }
            (Purpose::Nat | Purpose::AfFrom, single_or_range) => Ok(Some(single_or_range)),
            (Purpose::Rdr, PoolPorts::Offset(first)) if overflows(first, port) => {
                let message = "invalid port range";
                let detail = format!("the ports from {first} on reach beyond 65535");
                Err(self.error(Code::BadNumber, ports.span, message, &detail))
            }
            (Purpose::Rdr, given) => Ok(Some(rdr_ports(given, port))),
        }
    }
}

/// Options that are for pools of another kind.
fn options_conflict(statement: &PoolStatement, purpose: Purpose) -> Option<(&'static str, Span)> {
    if let Some(set) = &statement.port_set {
        let message = port_set_conflict(statement, purpose)?;
        return Some((message, set.span));
    }
    if let Some(span) = statement
        .endpoint_independent
        .filter(|_| purpose != Purpose::Nat)
    {
        let message = "the 'endpoint-independent' option is only valid with nat rules";
        return Some((message, span));
    }
    let span = statement.prefer_ipv6_nexthop?;
    let message = "the 'prefer-ipv6-nexthop' option is only valid with route-to rules";
    (purpose != Purpose::Route).then_some((message, span))
}

fn port_set_conflict(statement: &PoolStatement, purpose: Purpose) -> Option<&'static str> {
    if purpose != Purpose::Nat {
        Some("the 'map-e-portset' option is only valid with nat rules")
    } else if statement.static_port.is_some() {
        Some("the 'map-e-portset' option can't be used 'static-port'")
    } else if statement.ports.is_some() {
        Some("the 'map-e-portset' option can't be used when specifying a port range")
    } else {
        None
    }
}

fn overflows(first: u16, port: Option<PortMatch>) -> bool {
    matches!(port, Some(PortMatch::Range(a, b)) if first.checked_add(b - a).is_none())
}

/// A range as long as the packet's own is the same offset into both.
fn rdr_ports(given: PoolPorts, port: Option<PortMatch>) -> PoolPorts {
    match (given, port) {
        (PoolPorts::Range(a, b), Some(PortMatch::Range(c, d))) if b - a == d - c => {
            PoolPorts::Offset(a)
        }
        (PoolPorts::Offset(a), Some(PortMatch::Range(..))) => PoolPorts::Offset(a),
        (PoolPorts::Offset(a), _) => PoolPorts::Single(a),
        (other, _) => other,
    }
}

fn pool_target(
    (interface, host): &(Option<String>, Resolved),
    family: Option<Family>,
) -> PoolTarget {
    PoolTarget {
        interface: interface.clone(),
        address: fitted(&host.address, family),
        weight: host.weight,
    }
}

/// The address, if it is nothing but an address.
const fn plain_prefix(target: &PoolTarget) -> Option<Prefix> {
    match (&target.interface, &target.address) {
        (None, Address::Prefix(prefix)) => Some(*prefix),
        _ => None,
    }
}

/// The name of an interface that may have several addresses: `(em0)`; `(em0:0)` has one. A group may have
/// several even so.
fn aliased(address: &Address) -> Option<&str> {
    let Address::Dynamic(dynamic) = address else {
        return None;
    };
    let is_one = dynamic.no_aliases && dynamic.interface.ends_with(|c: char| c.is_ascii_digit());
    (!is_one).then_some(&dynamic.interface)
}

/// One side of `binat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinatSide {
    /// A host or network of this length.
    Length(u8),
    /// An interface, whose addresses are known later.
    Unknown,
}

/// Why an address, which is that of the rule, is none for `binat`, which needs one that is known or follows
/// one of an interface.
pub(super) fn binat_misfit(address: &Address, of: &str) -> Option<String> {
    let what = if let Address::Table(name) = address {
        format!("table <{name}>")
    } else {
        format!("interface ({})", aliased(address)?)
    };
    Some(format!("invalid use of {what} as the {of} of a binat rule"))
}

/// What an address is as a side of `binat`, if it can be one.
pub(super) fn binat_side(address: &Address) -> Option<BinatSide> {
    match address {
        Address::Prefix(prefix) => Some(BinatSide::Length(prefix.prefix_len())),
        Address::Dynamic(_) => Some(BinatSide::Unknown),
        Address::Any
        | Address::Range(..)
        | Address::Table(_)
        | Address::NoRoute
        | Address::UrpfFailed => None,
    }
}
