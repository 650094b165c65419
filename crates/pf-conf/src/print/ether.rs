//! Rules for frames, as FreeBSD's `pfctl -s ether` prints them. No other PF has them.

use std::fmt::Write as _;

use pf_engine::ether::{EtherAction, EtherRule, MacMatch};
use pf_engine::rule::Direction;

use super::{address, name, on, quoted};

/// A rule for frames as `pfctl -s ether` prints it, without newline.
#[must_use]
pub fn print_ether_rule(rule: &EtherRule) -> String {
    let mut text = format!("ether {}", action(rule));
    match rule.direction {
        Some(Direction::In) => text.push_str(" in"),
        Some(Direction::Out) => text.push_str(" out"),
        None => {}
    }
    if rule.quick {
        text.push_str(" quick");
    }
    // Writing to a string cannot fail.
    if let Some(interface) = &rule.interface {
        let _ = write!(text, " {}", on(interface));
    }
    if let Some(interface) = &rule.bridge_to {
        let _ = write!(text, " bridge-to {}", name(interface));
    }
    if let Some(ether_type) = rule.ether_type {
        let _ = write!(text, " proto 0x{ether_type:04x}");
    }
    for (word, mac) in [("from", rule.source), ("to", rule.destination)] {
        if let Some(mac) = mac {
            let _ = write!(text, " {word} {}", mac_match(mac));
        }
    }
    let hosts = address::hosts(&rule.ip_source, &rule.ip_destination);
    let _ = write!(text, " l3 {hosts}");
    options(rule, &mut text);
    text
}

fn action(rule: &EtherRule) -> String {
    match (&rule.anchor, rule.action) {
        (Some(call), _) if call.is_unnamed() => "anchor".to_owned(),
        (Some(call), _) => format!("anchor {}", quoted(&call.name)),
        (None, EtherAction::Pass) => "pass".to_owned(),
        (None, EtherAction::Block) => "block".to_owned(),
    }
}

fn options(rule: &EtherRule, text: &mut String) {
    for label in &rule.labels {
        let _ = write!(text, " label {}", quoted(label));
    }
    if let Some(identifier) = rule.identifier.filter(|identifier| *identifier != 0) {
        let _ = write!(text, " ridentifier {identifier}");
    }
    if let Some(queue) = &rule.queue {
        let _ = write!(text, " queue {}", name(queue));
    }
    if let Some(tag) = &rule.tag {
        let _ = write!(text, " tag {}", name(tag));
    }
    if let Some((negated, tag)) = &rule.tagged {
        let not = if *negated { "! " } else { "" };
        let _ = write!(text, " {not}tagged {}", name(tag));
    }
}

/// `[!] address`, with `/bits` or `&mask` where not all bits count.
fn mac_match(wanted: MacMatch) -> String {
    let not = if wanted.negated { "! " } else { "" };
    let address = mac(wanted.address);
    let mask = wanted
        .mask
        .iter()
        .fold(0_u64, |mask, byte| mask << 8 | u64::from(*byte));
    let bits = mask.count_ones();
    let is_prefix = mask << 16 == !u64::MAX.checked_shr(bits).unwrap_or(0);
    match bits {
        48 => format!("{not}{address}"),
        bits if is_prefix => format!("{not}{address}/{bits}"),
        _ => format!("{not}{address}&{}", mac(wanted.mask)),
    }
}

fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}
