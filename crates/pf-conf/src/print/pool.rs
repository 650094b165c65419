//! Pools.

use pf_engine::rule::{
    Action, Address, AfTo, Pool, PoolKind, PoolPorts, PoolTarget, PortMatch, Route, RouteKind, Rule,
};

use super::address::print_address;
use super::name;

/// `route-to …`.
pub(super) fn route(route: &Route) -> String {
    let keyword = match route.kind {
        RouteKind::RouteTo => "route-to",
        RouteKind::ReplyTo => "reply-to",
        RouteKind::DupTo => "dup-to",
    };
    let mut words = vec![keyword.to_owned(), targets(&route.pool)];
    options(&route.pool, &mut words);
    words.join(" ")
}

/// `-> …` of the old grammar, `nat-to …` and `rdr-to …` of the new one.
pub(super) fn translations(rule: &Rule, words: &mut Vec<String>) {
    let old = !matches!(rule.action, Action::Pass | Action::Block(_) | Action::Match);
    for (pool, keyword) in [(&rule.nat, "nat-to"), (&rule.rdr, "rdr-to")] {
        let Some(pool) = pool else { continue };
        words.push(if old { "->" } else { keyword }.to_owned());
        words.push(targets(pool));
        if let Some(ports) = pool.ports {
            words.push(format!("port {}", port(ports, rule)));
        }
        options(pool, words);
    }
}

/// `af-to …`.
pub(super) fn af_to(af_to: &AfTo, rule: &Rule) -> String {
    let mut words = vec![format!("af-to {} from", af_to.family)];
    words.push(targets(&af_to.from));
    if let Some(ports) = af_to.from.ports {
        words.push(format!("port {}", port(ports, rule)));
    }
    options(&af_to.from, &mut words);
    if let Some(to) = &af_to.to {
        words.push("to".to_owned());
        words.push(targets(to));
        options(to, &mut words);
    }
    words.join(" ")
}

fn targets(pool: &Pool) -> String {
    let targets = pool.targets.iter();
    let list: Vec<String> = targets
        .map(|given| match given.weight {
            None => target(given),
            Some(weight) => format!("{} weight {weight}", target(given)),
        })
        .collect();
    match list.as_slice() {
        [one] => one.clone(),
        _ => format!("{{ {} }}", list.join(", ")),
    }
}

fn target(target: &PoolTarget) -> String {
    match (&target.interface, &target.address) {
        (None, other) => print_address(other),
        (Some(interface), Address::Any) => name(interface),
        (Some(interface), other) => format!("({} {})", name(interface), print_address(other)),
    }
}

fn port(ports: PoolPorts, rule: &Rule) -> String {
    match ports {
        PoolPorts::Single(port) => port.to_string(),
        PoolPorts::Range(a, b) if a == b => a.to_string(),
        PoolPorts::Range(a, b) => format!("{a}:{b}"),
        PoolPorts::Offset(a) => match rule.destination.port {
            Some(PortMatch::Range(first, last)) => {
                format!("{a}:{}", u32::from(a) + u32::from(last - first))
            }
            _ => format!("{a}:*"),
        },
    }
}

fn options(pool: &Pool, words: &mut Vec<String>) {
    match pool.kind {
        PoolKind::Single => {}
        PoolKind::Bitmask => words.push("bitmask".to_owned()),
        PoolKind::Random => words.push("random".to_owned()),
        PoolKind::SourceHash { key: [a, b, c, d] } => {
            words.push(format!("source-hash 0x{a:08x}{b:08x}{c:08x}{d:08x}"));
        }
        PoolKind::RoundRobin => words.push("round-robin".to_owned()),
        PoolKind::LeastStates => words.push("least-states".to_owned()),
    }
    if pool.sticky {
        words.push("sticky-address".to_owned());
    }
    if pool.endpoint_independent {
        words.push("endpoint-independent".to_owned());
    }
    if pool.static_port {
        words.push("static-port".to_owned());
    }
    if let Some(set) = pool.port_set {
        let (offset, length, id) = set.parts();
        words.push(format!("map-e-portset {offset}/{length}/{id}"));
    }
    if pool.prefer_ipv6_nexthop {
        words.push("prefer-ipv6-nexthop".to_owned());
    }
}
