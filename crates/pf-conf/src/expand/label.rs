//! Macros in labels and tags: `$if $srcaddr $dstaddr $srcport $dstport $proto $nr`
//! (pf.conf(5), `label`).

use pf_engine::rule::{Address, Endpoint, PortMatch, Rule};

use crate::names::protocols;

const MACROS: [&str; 7] = [
    "$if", "$srcaddr", "$dstaddr", "$srcport", "$dstport", "$proto", "$nr",
];

/// The macro that stands for the rule's number.
pub(super) const NUMBER: &str = "$nr";

/// Whether a macro is left, put together from the values of others.
pub(super) fn has_macro(text: &str) -> bool {
    MACROS.iter().any(|name| text.contains(name))
}

/// Puts the values of `rule` in the place of macros, but for its number.
pub(super) fn expand(text: &str, rule: &Rule) -> String {
    if !text.contains('$') {
        return text.to_owned();
    }
    let interface = rule.interface.as_ref().map_or("any", |i| i.name.as_str());
    text.replace("$if", interface)
        .replace("$srcaddr", &address(&rule.source))
        .replace("$dstaddr", &address(&rule.destination))
        .replace("$srcport", &port(&rule.source))
        .replace("$dstport", &port(&rule.destination))
        .replace("$proto", &protocol(rule))
}

fn protocol(rule: &Rule) -> String {
    match rule.protocol {
        None => "ip".to_owned(),
        Some(number) => {
            protocols::name(number.0).map_or_else(|| number.0.to_string(), str::to_owned)
        }
    }
}

fn address(endpoint: &Endpoint) -> String {
    let text = match &endpoint.address {
        Address::Any => "any".to_owned(),
        Address::Prefix(prefix) => prefix.to_string(),
        // pfctl has no word for a range here.
        Address::Range(..) => "?".to_owned(),
        Address::Dynamic(dynamic) => format!("({})", dynamic.interface),
        Address::Table(name) => format!("<{name}>"),
        Address::NoRoute => "no-route".to_owned(),
        Address::UrpfFailed => "urpf-failed".to_owned(),
    };
    if endpoint.negated {
        format!("! {text}")
    } else {
        text
    }
}

/// Empty for `a:b` and for no port, as in PF.
fn port(endpoint: &Endpoint) -> String {
    match endpoint.port {
        None | Some(PortMatch::Range(..)) => String::new(),
        Some(PortMatch::Eq(n)) => n.to_string(),
        Some(PortMatch::Ne(n)) => format!("!={n}"),
        Some(PortMatch::Lt(n)) => format!("<{n}"),
        Some(PortMatch::Le(n)) => format!("<={n}"),
        Some(PortMatch::Gt(n)) => format!(">{n}"),
        Some(PortMatch::Ge(n)) => format!(">={n}"),
        Some(PortMatch::Inside(a, b)) => format!("{a}><{b}"),
        Some(PortMatch::Outside(a, b)) => format!("{a}<>{b}"),
    }
}
