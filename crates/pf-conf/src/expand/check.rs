//! Options of an expanded rule that exclude or require each other.

use pf_engine::addr::{Family, Protocol};
use pf_engine::rule::{Action, BlockReply, PortMatch, Rule, StateMode};

use super::{Bail, Expand, Expander, consistent};
use crate::ast::{RuleStatement, Side, Spanned};
use crate::diagnostic::Code;
use crate::source::Span;

impl Expander<'_> {
    pub(super) fn check(&mut self, rule: &Rule, statement: &RuleStatement) -> Expand<()> {
        let dialect = self.ruleset.dialect;
        // What pfctl's grammar refuses it refuses once; what it asks of each rule it has made skips that one.
        let of_grammar = consistent::of_grammar(rule, statement)
            .or_else(|| once(rule, statement))
            .or_else(|| limiters(rule, statement));
        if let Some((message, span)) = of_grammar {
            return Err(self.error(Code::Conflict, span, &message, ""));
        }
        let found =
            consistent::conflict(rule, statement, dialect).or_else(|| conflict(rule, statement));
        let Some((message, span)) = found else {
            return Ok(());
        };
        let bail = self.error(Code::Conflict, span, &message, "");
        Err(self.skipping(bail))
    }

    /// The last error is about one rule of those that a statement was multiplied to.
    pub(super) fn skipping(&mut self, bail: Bail) -> Bail {
        if let Some(error) = self.errors.last_mut() {
            error.skips_rule();
        }
        bail
    }
}

/// The first conflict, in PF's words, and the place of the option that it is about.
fn conflict(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    ports(rule, statement)
        .or_else(|| rdr_port(rule, statement))
        .or_else(|| icmp(rule, statement))
        .or_else(|| family(rule, statement))
        .or_else(|| block(rule, statement))
        .or_else(|| fragment(rule, statement))
        .or_else(|| translation(rule, statement))
        .or_else(|| af_to(rule, statement))
}

/// A `nat` rule may name a port without a protocol; filter and `rdr` rules may not. A filter rule's `rdr-to …
/// port` may stand without one: packets that have ports get it (`rule_consistent` of pfctl(8) asks about the
/// rule's own ports alone; only the one of `rdr` asks about the pool's).
fn ports(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let nat = matches!(rule.action, Action::Nat | Action::NoNat) && rule.protocol.is_none();
    if nat || rule.protocol.is_some_and(Protocol::has_ports) {
        return None;
    }
    let is_rdr = matches!(rule.action, Action::Rdr | Action::NoRdr);
    let of_pool = || {
        let pool = statement.rdr.as_ref().filter(|_| is_rdr)?;
        Some(pool.ports.as_ref()?.span)
    };
    let of = |side: &Side| side.ports.first().map(|port| port.span);
    let (whose, place) = None
        .or_else(|| Some(("src ", of(&statement.source)?)))
        .or_else(|| Some(("dst ", of(&statement.destination)?)))
        .or_else(|| Some(("rpool ", of_pool()?)))?;
    let whose = if is_rdr { whose } else { "" };
    Some((
        format!("{whose}port only applies to tcp/udp/sctp"),
        protocol_span(statement, place),
    ))
}

/// A port that `rdr` moves to another one, or a range of them.
fn rdr_port(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let is_rdr = matches!(rule.action, Action::Rdr | Action::NoRdr);
    let is_plain = matches!(
        rule.destination.port,
        None | Some(PortMatch::Eq(_) | PortMatch::Range(..))
    );
    (is_rdr && !is_plain).then(|| {
        let ports = statement.destination.ports.iter();
        let mut misfits = ports.filter(|port| Some(port.node) == rule.destination.port);
        let span = misfits.next().map_or(statement.span, |port| port.span);
        (
            "invalid port operator for rdr destination port".to_owned(),
            span,
        )
    })
}

/// The place of the protocol that does not fit, else `other`.
fn protocol_span(statement: &RuleStatement, other: Span) -> Span {
    let misfit = statement.protocols.iter().find(|p| !p.node.has_ports());
    misfit.map_or(other, |p| p.span)
}

fn icmp(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let Spanned { span, .. } = statement.icmp.first()?;
    let wanted = match statement.icmp_family? {
        Family::Inet => Protocol::ICMP,
        Family::Inet6 => Protocol::ICMPV6,
    };
    let message = match rule.protocol {
        Some(Protocol::ICMP | Protocol::ICMPV6) if rule.family.is_none() => {
            "must indicate address family with icmp-type/code"
        }
        Some(protocol) if protocol == wanted => return None,
        Some(Protocol::ICMP | Protocol::ICMPV6) => "icmp-type mismatch",
        _ => "icmp-type/code only applies to icmp",
    };
    Some((message.to_owned(), *span))
}

fn family(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let (protocol, family) = match (rule.protocol, rule.family) {
        (Some(Protocol::ICMP), Some(Family::Inet6)) => ("icmp", "inet6"),
        (Some(Protocol::ICMPV6), Some(Family::Inet)) => ("icmp6", "inet"),
        _ => return None,
    };
    let mut protocols = statement.protocols.iter();
    let misfit = protocols.find(|p| Some(p.node) == rule.protocol);
    let span = misfit.map_or(statement.span, |p| p.span);
    Some((
        format!("proto {protocol} doesn't match address family {family}"),
        span,
    ))
}

fn once(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let decides = matches!(rule.action, Action::Pass | Action::Block(_));
    let message = match &rule.anchor {
        Some(_) => "can't specify once for anchors",
        None => "can't specify once for match rules",
    };
    (!decides).then_some((message.to_owned(), statement.once?))
}

fn block(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let Action::Block(reply) = rule.action else {
        return None;
    };
    if matches!(reply, BlockReply::Rst { .. }) && rule.protocol != Some(Protocol::TCP) {
        let message = "return-rst can only be applied to TCP rules".to_owned();
        return Some((message, statement.span));
    }
    if let Some(state) = &statement.state
        && state.mode != StateMode::None
    {
        let message = "keep state on block rules doesn't make sense".to_owned();
        return Some((message, state.span));
    }
    if let Some(span) = statement.allow_options {
        let message = "allow-opts can only be specified for pass rules".to_owned();
        return Some((message, span));
    }
    if let Some((_, pool)) = &statement.route {
        let message = "route-to, reply-to and dup-to are not supported on block rules".to_owned();
        return Some((message, pool.span));
    }
    let pools = [&statement.nat, &statement.rdr, &statement.binat];
    let pool = pools.into_iter().flatten().next()?;
    let message = "nat-to, rdr-to and binat-to are not supported on block rules".to_owned();
    Some((message, pool.span))
}

fn fragment(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let looks_inside = rule.source.port.is_some()
        || rule.destination.port.is_some()
        || rule.flags.is_some()
        || rule.icmp.is_some();
    let span = statement.fragment?;
    looks_inside.then(|| {
        (
            "fragments can be filtered only on IP header fields".to_owned(),
            span,
        )
    })
}

/// Translation needs a state to be undone on the way back.
fn translation(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let filter = matches!(rule.action, Action::Pass);
    if !filter || rule.state != StateMode::None {
        return None;
    }
    let pools = [&statement.nat, &statement.rdr, &statement.binat];
    let pool = pools.into_iter().flatten().next()?;
    Some(("nat-to and rdr-to require keep state".to_owned(), pool.span))
}

/// `af-to` decides where a packet goes: it needs a rule that passes, in one direction.
fn af_to(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let af_to = statement.af_to.as_ref()?;
    let pools = [&statement.nat, &statement.rdr, &statement.binat];
    let message = if matches!(rule.action, Action::Block(_)) {
        "af-to is not supported on block rules"
    } else if pools.into_iter().flatten().next().is_some() {
        "cannot specify af-to with nat-to, rdr-to or binat-to"
    } else if rule.state == StateMode::None {
        "af-to requires keep state"
    } else if rule.state == StateMode::Synproxy {
        "af-to cannot be used with synproxy state"
    } else if rule.direction.is_none() {
        "af-to needs a direction"
    } else {
        return None;
    };
    Some((message.to_owned(), af_to.span))
}

/// Limiters count states.
fn limiters(rule: &Rule, statement: &RuleStatement) -> Option<(String, Span)> {
    let limited = rule.state_limiter.is_some() || rule.source_limiter.is_some();
    let stateless = match rule.action {
        Action::Pass => rule.state == StateMode::None,
        Action::Block(_) => true,
        Action::Match
        | Action::Nat
        | Action::NoNat
        | Action::Rdr
        | Action::NoRdr
        | Action::Binat
        | Action::NoBinat
        | Action::Scrub
        | Action::NoScrub => false,
    };
    (limited && stateless).then(|| {
        let message = "limiters can only be used by rules that keep state";
        (message.to_owned(), statement.span)
    })
}
