//! Whether one rule matches every packet that another matches.

use pf_engine::addr::{Family, Prefix, Protocol};
use pf_engine::rule::{
    Address, Endpoint, FlagsMatch, FragmentMode, IcmpMatch, InterfaceMatch, PortMatch, Rule, Scrub,
    StateMode, StateOptions,
};

/// Whether `rule` asks for nothing but what [`covers`] compares: then it can cover others. What
/// this program may learn to ask for later counts as something else.
pub(super) fn is_plain(rule: &Rule) -> bool {
    let mut rest = rule.clone();
    rest.nat_pass = false;
    rest.direction = None;
    rest.log = None;
    rest.quick = false;
    rest.interface = None;
    rest.family = None;
    rest.protocol = None;
    rest.source = Endpoint::ANY;
    rest.destination = Endpoint::ANY;
    rest.flags = None;
    rest.icmp = None;
    rest.tos = None;
    rest.allow_options = false;
    rest.state = StateMode::None;
    rest.state_options = StateOptions::default();
    rest.labels = Vec::new();
    rest.tag = None;
    rest.tagged = None;
    rest.route = None;
    rest.nat = None;
    rest.rdr = None;
    rest.af_to = None;
    rest.scrub = Scrub::NONE;
    rest.fragments = FragmentMode::Reassemble;
    rest.set_tos = None;
    rest == Rule::new(rule.action.clone())
}

/// Whether `a` matches every packet that `b` matches, if nothing between them changes addresses,
/// ports or tags. `a` is plain.
pub(super) fn covers(a: &Rule, b: &Rule) -> bool {
    covers_but_flags(a, b) && flags(a, b)
}

/// As [`covers`], TCP flags not compared.
pub(super) fn covers_but_flags(a: &Rule, b: &Rule) -> bool {
    is_wider(a.direction.as_ref(), b.direction.as_ref())
        && interface(a.interface.as_ref(), b.interface.as_ref())
        && is_wider(a.family.as_ref(), b.family.as_ref())
        && is_wider(a.protocol.as_ref(), b.protocol.as_ref())
        && is_wider(a.tos.as_ref(), b.tos.as_ref())
        && is_wider(a.tagged.as_ref(), b.tagged.as_ref())
        && icmp(a.icmp, b.icmp)
        && !b.fragment
        && port(a.source.port, b.source.port)
        && port(a.destination.port, b.destination.port)
        && address(&a.source, &b.source)
        && address(&a.destination, &b.destination)
}

/// Whether `rule` takes everything in its direction, interface and family, but for TCP flags.
pub(super) fn takes_all(rule: &Rule) -> bool {
    let any = |endpoint: &Endpoint| *endpoint == Endpoint::ANY;
    any(&rule.source)
        && any(&rule.destination)
        && rule.protocol.is_none()
        && rule.icmp.is_none()
        && rule.tos.is_none()
        && rule.tagged.is_none()
        && is_plain(rule)
}

/// Asks for nothing, or for the same.
fn is_wider<T: PartialEq>(a: Option<&T>, b: Option<&T>) -> bool {
    a.is_none() || a == b
}

fn interface(a: Option<&InterfaceMatch>, b: Option<&InterfaceMatch>) -> bool {
    a.is_none_or(|a| a.name == "any" && !a.negated) || a == b
}

fn flags(a: &Rule, b: &Rule) -> bool {
    // Flags say nothing about other protocols than TCP.
    if b.protocol.is_some_and(|protocol| protocol != Protocol::TCP) {
        return true;
    }
    match (a.flags, b.flags) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(FlagsMatch { set, mask }), Some(b)) => b.mask & mask == mask && b.set & mask == set,
    }
}

fn icmp(a: Option<IcmpMatch>, b: Option<IcmpMatch>) -> bool {
    match (a, b) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => a.kind == b.kind && (a.code.is_none() || a.code == b.code),
    }
}

fn port(a: Option<PortMatch>, b: Option<PortMatch>) -> bool {
    match (a, b) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => a == b || ranges(b).iter().all(|range| holds(a, *range)),
    }
}

/// The ports of an operator, both ends included.
fn ranges(port: PortMatch) -> [Option<(u16, u16)>; 2] {
    let last = u16::MAX;
    let up_to = |n: u16| n.checked_sub(1).map(|end| (0, end));
    let from = |n: u16| n.checked_add(1).map(|start| (start, last));
    match port {
        PortMatch::Eq(n) => [Some((n, n)), None],
        PortMatch::Ne(n) => [up_to(n), from(n)],
        PortMatch::Lt(n) => [up_to(n), None],
        PortMatch::Le(n) => [Some((0, n)), None],
        PortMatch::Gt(n) => [from(n), None],
        PortMatch::Ge(n) => [Some((n, last)), None],
        PortMatch::Range(a, b) => [Some((a, b)), None],
        PortMatch::Inside(a, b) => [
            a.checked_add(1)
                .zip(b.checked_sub(1))
                .filter(|(a, b)| a <= b),
            None,
        ],
        PortMatch::Outside(a, b) => [up_to(a), from(b)],
    }
}

/// Whether one range of `a` holds all of `range`.
fn holds(a: PortMatch, range: Option<(u16, u16)>) -> bool {
    let Some((first, last)) = range else {
        return true;
    };
    first > last
        || ranges(a)
            .into_iter()
            .flatten()
            .any(|(from, to)| from <= first && last <= to)
}

fn address(a: &Endpoint, b: &Endpoint) -> bool {
    if a.address == Address::Any && !a.negated {
        return true;
    }
    if a.negated == b.negated && a.address == b.address {
        return true;
    }
    let (Some(first), Some(second)) = (bounds(&a.address), bounds(&b.address)) else {
        return false;
    };
    match (a.negated, b.negated) {
        (false, false) => is_within(second, first),
        // Everything but `a`, in its family, and all of `b` is something else.
        (true, false) => first.0 == second.0 && is_apart(first, second),
        (true, true) => is_within(first, second),
        (false, true) => false,
    }
}

/// Family, first and last address, as numbers.
type Bounds = (Family, u128, u128);

fn bounds(address: &Address) -> Option<Bounds> {
    let number = |ip: std::net::IpAddr| match ip {
        std::net::IpAddr::V4(v4) => u128::from(v4.to_bits()),
        std::net::IpAddr::V6(v6) => v6.to_bits(),
    };
    match address {
        Address::Prefix(prefix) => {
            let first = Prefix::masked(prefix);
            Some((
                prefix.family(),
                number(first.address()),
                number(prefix.last()),
            ))
        }
        Address::Range(a, b) => Some((Family::of(*a), number(*a), number(*b))),
        Address::Any
        | Address::Dynamic(_)
        | Address::Table(_)
        | Address::NoRoute
        | Address::UrpfFailed => None,
    }
}

fn is_within(inner: Bounds, outer: Bounds) -> bool {
    inner.0 == outer.0 && outer.1 <= inner.1 && inner.2 <= outer.2
}

const fn is_apart(a: Bounds, b: Bounds) -> bool {
    a.2 < b.1 || b.2 < a.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_compared_as_ranges() {
        let covers = |a, b| port(Some(a), Some(b));
        assert!(covers(PortMatch::Range(1, 1023), PortMatch::Eq(80)));
        assert!(covers(PortMatch::Gt(1023), PortMatch::Inside(1023, 2000)));
        assert!(covers(PortMatch::Ne(25), PortMatch::Ge(26)));
        assert!(covers(PortMatch::Outside(10, 20), PortMatch::Lt(10)));
        assert!(covers(PortMatch::Eq(1), PortMatch::Lt(0)));
        assert!(!covers(PortMatch::Ne(25), PortMatch::Ge(25)));
        assert!(!covers(PortMatch::Eq(80), PortMatch::Range(80, 81)));
        assert!(!covers(PortMatch::Inside(5, 5), PortMatch::Eq(5)));
        assert!(!port(Some(PortMatch::Eq(80)), None));
        assert!(port(None, Some(PortMatch::Eq(80))));
    }

    #[test]
    fn operators_agree_with_what_they_match() {
        let all = [
            PortMatch::Eq(7),
            PortMatch::Ne(7),
            PortMatch::Lt(7),
            PortMatch::Le(7),
            PortMatch::Gt(7),
            PortMatch::Ge(7),
            PortMatch::Range(5, 9),
            PortMatch::Inside(5, 9),
            PortMatch::Outside(5, 9),
            PortMatch::Lt(0),
            PortMatch::Gt(u16::MAX),
        ];
        for a in all {
            for b in all {
                let told = port(Some(a), Some(b));
                let so = (0..=u16::MAX).all(|n| !b.matches(n) || a.matches(n));
                assert!(so || !told, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn negated_networks_cover_what_lies_outside() {
        let endpoint = |negated, text: &str| {
            let (ip, len) = text.split_once('/').unwrap();
            let prefix = Prefix::new(ip.parse().unwrap(), len.parse().unwrap()).unwrap();
            Endpoint {
                negated,
                address: Address::Prefix(prefix),
                port: None,
            }
        };
        let ten = "10.0.0.0/8";
        assert!(address(
            &endpoint(false, ten),
            &endpoint(false, "10.1.0.0/16")
        ));
        assert!(!address(
            &endpoint(false, "10.1.0.0/16"),
            &endpoint(false, ten)
        ));
        assert!(address(
            &endpoint(true, ten),
            &endpoint(false, "192.0.2.0/24")
        ));
        assert!(!address(
            &endpoint(true, ten),
            &endpoint(false, "10.1.0.0/16")
        ));
        assert!(address(
            &endpoint(true, "10.1.0.0/16"),
            &endpoint(true, ten)
        ));
        assert!(!address(
            &endpoint(true, ten),
            &endpoint(true, "10.1.0.0/16")
        ));
        assert!(!address(&endpoint(false, ten), &endpoint(true, ten)));
        assert!(!address(&endpoint(false, ten), &Endpoint::ANY));
    }
}
