//! Options of an expanded rule that contradict its action, its protocol or each other: the checks
//! that pfctl makes of every rule (`rule_consistent` in PF's words).

use pf_engine::addr::{Family, Protocol};
use pf_engine::rule::{Action, RouteKind, Rule, SourceTrack, StateMode};
use pf_engine::ruleset::Dialect;

use crate::ast::{Flags, RuleStatement, Verb};
use crate::source::Span;

type Conflict = Option<(String, Span)>;

/// As [`conflict`], of what pfctl looks at before it makes rules of the statement.
pub(super) fn of_grammar(rule: &Rule, statement: &RuleStatement) -> Conflict {
    match statement.verb {
        Verb::Pass | Verb::Block(_) | Verb::Match => routing(rule, statement)
            .or_else(|| flags(statement))
            .or_else(|| tracking(rule, statement)),
        Verb::Anchor => flags(statement),
        Verb::Scrub { .. } | Verb::Nat { .. } | Verb::Rdr { .. } | Verb::Binat { .. } => None,
    }
}

/// The first conflict, in PF's words, and the place of the option that it is about.
pub(super) fn conflict(rule: &Rule, statement: &RuleStatement, dialect: Dialect) -> Conflict {
    match statement.verb {
        Verb::Pass | Verb::Block(_) | Verb::Match => {}
        Verb::Anchor
        | Verb::Scrub { .. }
        | Verb::Nat { .. }
        | Verb::Rdr { .. }
        | Verb::Binat { .. } => return None,
    }
    on_match(rule, statement)
        .or_else(|| kept(rule, statement, dialect))
        .or_else(|| owners(rule, statement))
        .or_else(|| sources(rule, statement))
        .or_else(|| sloppy(rule, statement))
        .or_else(|| af_to(rule, statement))
        .or_else(|| open(rule, statement).filter(|_| dialect == Dialect::OpenBsd))
}

/// What comes back takes another way than what goes out: PF wants to know which is meant.
fn routing(rule: &Rule, statement: &RuleStatement) -> Conflict {
    let (kind, pool) = statement.route.as_ref()?;
    if *kind == RouteKind::DupTo || rule.direction.is_some() {
        return None;
    }
    let message = "direction must be explicit with rules that specify routing";
    Some((message.to_owned(), pool.span))
}

/// Among several protocols TCP is enough: the rules for the others have no flags.
fn flags(statement: &RuleStatement) -> Conflict {
    let given = statement.flags.as_ref()?;
    let protocols = &statement.protocols;
    let tcp = protocols.is_empty() || protocols.iter().any(|p| p.node == Protocol::TCP);
    (matches!(given.node, Flags::Match(_)) && !tcp)
        .then(|| ("flags only apply to tcp".to_owned(), given.span))
}

/// What a rule does not pass has no state of it. FreeBSD has another word for `block`.
fn kept(rule: &Rule, statement: &RuleStatement, dialect: Dialect) -> Conflict {
    let state = statement.state.as_ref()?;
    let is_block = matches!(rule.action, Action::Block(_)) && dialect == Dialect::OpenBsd;
    let passes = rule.action != Action::Match && !is_block;
    (!passes && state.mode != StateMode::None).then(|| {
        let message = "keep state is great, but only for pass rules";
        (message.to_owned(), state.span)
    })
}

fn on_match(rule: &Rule, statement: &RuleStatement) -> Conflict {
    if rule.action != Action::Match {
        return None;
    }
    if let Some((_, pool)) = &statement.route {
        let message = "route-to, reply-to and dup-to are not supported on match rules";
        return Some((message.to_owned(), pool.span));
    }
    let af_to = statement.af_to.as_ref()?;
    let message = "af-to is not supported on match rules";
    Some((message.to_owned(), af_to.node.from.span))
}

/// Sockets with owners, and SYNs with a system, are of some protocols alone.
fn owners(rule: &Rule, statement: &RuleStatement) -> Conflict {
    let tcp = rule.protocol == Some(Protocol::TCP);
    let message = if !statement.systems.is_empty() && !tcp {
        "os only applies to tcp"
    } else if tcp || rule.protocol == Some(Protocol::UDP) {
        return None;
    } else if !statement.users.is_empty() {
        "user only applies to tcp/udp"
    } else if !statement.groups.is_empty() {
        "group only applies to tcp/udp"
    } else {
        return None;
    };
    Some((message.to_owned(), statement.span))
}

/// `overload` is about connections.
fn sources(rule: &Rule, statement: &RuleStatement) -> Conflict {
    let options = &rule.state_options.source;
    let span = statement.state.as_ref().map_or(statement.span, |s| s.span);
    let measured = options.max_connections.is_some() || options.max_connection_rate.is_some();
    if options.overload.is_some() && !measured {
        let message = "'overload' requires 'max-src-conn' or 'max-src-conn-rate'";
        return Some((message.to_owned(), span));
    }
    None
}

/// What is counted for all rules together has no limit of one rule.
fn tracking(rule: &Rule, statement: &RuleStatement) -> Conflict {
    let options = &rule.state_options.source;
    let span = statement.state.as_ref().map_or(statement.span, |s| s.span);
    if options.track != Some(SourceTrack::Global) {
        return None;
    }
    let (_, name) = [
        (options.max_nodes.is_some(), "max-src-nodes"),
        (options.max_connections.is_some(), "max-src-conn"),
        (options.max_connection_rate.is_some(), "max-src-conn-rate"),
    ]
    .into_iter()
    .find(|(given, _)| *given)?;
    let message = format!("'{name}' is incompatible with 'source-track global'");
    Some((message, span))
}

fn sloppy(rule: &Rule, statement: &RuleStatement) -> Conflict {
    let state = statement.state.as_ref()?;
    let strict = matches!(rule.state, StateMode::Modulate | StateMode::Synproxy);
    (rule.state_options.sloppy && strict).then(|| {
        let message = "sloppy state matching cannot be used with synproxy state or modulate state";
        (message.to_owned(), state.span)
    })
}

fn af_to(rule: &Rule, statement: &RuleStatement) -> Conflict {
    let af_to = statement.af_to.as_ref()?;
    (rule.family == Some(af_to.node.family)).then(|| {
        let message = "must indicate different address family with af-to";
        (message.to_owned(), af_to.node.from.span)
    })
}

/// What OpenBSD alone refuses.
fn open(rule: &Rule, statement: &RuleStatement) -> Conflict {
    if let Some((_, pool)) = &statement.route
        && rule.state == StateMode::None
    {
        let message = "route-to, reply-to and dup-to require keep state";
        return Some((message.to_owned(), pool.span));
    }
    let pool = statement.nat.as_ref().or(statement.rdr.as_ref());
    if let Some(pool) = pool.filter(|_| rule.direction.is_none()) {
        let message = "nat-to and rdr-to require a direction";
        return Some((message.to_owned(), pool.span));
    }
    let scrub = &statement.scrub;
    let of_ipv4 = scrub.no_df || scrub.random_id;
    (of_ipv4 && rule.family == Some(Family::Inet6)).then(|| {
        let message = "address family inet6 does not support scrub options no-df, random-id";
        (message.to_owned(), statement.span)
    })
}
