//! Addresses and ports.

use pf_engine::addr::Protocol;
use pf_engine::rule::{Address, DynamicAddress, DynamicPart, Endpoint, PortMatch, Rule};
use pf_engine::ruleset::Dialect;

use super::{name, quoted, table_name};
use crate::names::services;

/// `all`, or `from … to …`.
pub(super) fn from_to(rule: &Rule, names: Option<Dialect>) -> String {
    let system = rule.criteria.system.as_ref();
    if rule.source == Endpoint::ANY && rule.destination == Endpoint::ANY && system.is_none() {
        return "all".to_owned();
    }
    let mut source = vec![endpoint(&rule.source, rule.protocol, names)];
    source.extend(system.map(|system| format!("os {}", quoted(&system.to_string()))));
    let destination = endpoint(&rule.destination, rule.protocol, names);
    format!("from {} to {destination}", source.join(" "))
}

/// As [`from_to`], of a rule that has nothing but hosts.
pub(super) fn hosts(source: &Endpoint, destination: &Endpoint) -> String {
    if *source == Endpoint::ANY && *destination == Endpoint::ANY {
        return "all".to_owned();
    }
    let host = |end| endpoint(end, None, None);
    format!("from {} to {}", host(source), host(destination))
}

fn endpoint(endpoint: &Endpoint, protocol: Option<Protocol>, names: Option<Dialect>) -> String {
    let not = if endpoint.negated { "! " } else { "" };
    let address = print_address(&endpoint.address);
    match endpoint.port {
        None => format!("{not}{address}"),
        Some(match_) => format!("{not}{address} port {}", port(match_, protocol, names)),
    }
}

/// An address as rules have it: `any`, `10.0.0.0/8`, `10.0.0.1 - 10.0.0.9`, `(em0:network)`,
/// `<table>`, `no-route`, `urpf-failed`.
#[must_use]
pub fn print_address(address: &Address) -> String {
    match address {
        Address::Any => "any".to_owned(),
        Address::Prefix(prefix) => prefix.to_string(),
        Address::Range(first, last) => format!("{first} - {last}"),
        Address::Dynamic(given) => dynamic(given),
        Address::Table(name) => table_name(name),
        Address::NoRoute => "no-route".to_owned(),
        Address::UrpfFailed => "urpf-failed".to_owned(),
    }
}

fn dynamic(given: &DynamicAddress) -> String {
    let len = given
        .prefix_len
        .map_or_else(String::new, |len| format!("/{len}"));
    format!("({}){len}", name(&inside(given)))
}

/// What stands in the parentheses: `em0:network:0`.
pub(super) fn inside(given: &DynamicAddress) -> String {
    let part = match given.part {
        DynamicPart::Host => "",
        DynamicPart::Network => ":network",
        DynamicPart::Broadcast => ":broadcast",
        DynamicPart::Peer => ":peer",
    };
    let first = if given.no_aliases { ":0" } else { "" };
    format!("{}{part}{first}", given.interface)
}

/// A port match as rules have it, in numbers: `= 80`, `1000:2000`, `1 >< 9`.
#[must_use]
pub fn print_port(given: PortMatch) -> String {
    port(given, None, None)
}

fn port(given: PortMatch, protocol: Option<Protocol>, names: Option<Dialect>) -> String {
    let one = |number: u16| {
        let known = names.and_then(|dialect| services::name(number, protocol, dialect));
        known.map_or_else(|| number.to_string(), str::to_owned)
    };
    match given {
        PortMatch::Eq(n) => format!("= {}", one(n)),
        PortMatch::Ne(n) => format!("!= {}", one(n)),
        PortMatch::Lt(n) => format!("< {n}"),
        PortMatch::Le(n) => format!("<= {n}"),
        PortMatch::Gt(n) => format!("> {n}"),
        PortMatch::Ge(n) => format!(">= {n}"),
        PortMatch::Range(a, b) => format!("{a}:{b}"),
        PortMatch::Inside(a, b) => format!("{a} >< {b}"),
        PortMatch::Outside(a, b) => format!("{a} <> {b}"),
    }
}
