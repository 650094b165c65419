//! Translation (pf.conf(5), TRANSLATION): of each kind the first rule that matches, then what
//! becomes of the packet.

use super::language::*;
use super::rules::{Packet, Tables, is_end, is_on};

/// Stands for any port that NAT may choose: no rule of the model tells these apart.
pub(super) const SOME_PORT: u16 = 60_000;
/// The ports that NAT chooses from where no rule says otherwise.
pub(super) const NAT_PORTS: std::ops::RangeInclusive<u16> = 50_001..=65_535;

/// The rule that translates the packet, if one does.
pub(super) fn find(rules: &[Translation], packet: &Packet, tables: &Tables) -> Option<usize> {
    let order = match packet.direction {
        Direction::In => [Kind::Rdr, Kind::Binat],
        Direction::Out => [Kind::Binat, Kind::Nat],
    };
    let first = |kind| {
        let mut all = rules.iter();
        all.position(|rule| rule.kind == kind && matches(rule, packet, tables))
    };
    let found = order.into_iter().find_map(first)?;
    (!rules[found].no).then_some(found)
}

fn matches(rule: &Translation, packet: &Packet, tables: &Tables) -> bool {
    let on = is_on(rule.on.1, packet.interface) != rule.on.0;
    let inward = rule.kind == Kind::Binat && packet.direction == Direction::In && !rule.no;
    let (first, second) = if inward {
        // What comes in is to the outside address, from what the rule says after `to`.
        let outside = End {
            negated: false,
            address: Address::Network((rule.address, 32)),
            ports: None,
        };
        let to_outside = is_end(&outside, packet.destination, tables);
        (to_outside, is_end(&rule.destination, packet.source, tables))
    } else {
        (
            is_end(&rule.source, packet.source, tables),
            is_end(&rule.destination, packet.destination, tables),
        )
    };
    on && first && second && rule.protocol.is_none_or(|p| p == packet.protocol)
}

/// What the rule makes of the packet.
pub(super) fn apply(rule: &Translation, packet: &mut Packet) {
    match (rule.kind, packet.direction) {
        (Kind::Rdr, _) => redirect(packet, rule.address, rule.port),
        (Kind::Binat, Direction::In) => {
            let Address::Network((inside, _)) = rule.source.address else {
                return;
            };
            redirect(packet, inside, None);
        }
        (Kind::Binat, Direction::Out) => packet.source.0 = rule.address,
        (Kind::Nat, _) => nat(packet, rule.address, rule.static_port),
    }
}

/// What `nat-to` and `rdr-to` make of it.
pub(super) fn apply_to(to: To, packet: &mut Packet) {
    match to {
        To::Nat {
            address,
            static_port,
        } => nat(packet, address, static_port),
        To::Rdr { address, port } => redirect(packet, address, port),
    }
}

const fn nat(packet: &mut Packet, address: std::net::Ipv4Addr, static_port: bool) {
    let port = if static_port {
        packet.source.1
    } else {
        SOME_PORT
    };
    packet.source = (address, port);
}

fn redirect(packet: &mut Packet, address: std::net::Ipv4Addr, port: Option<u16>) {
    packet.destination = (address, port.unwrap_or(packet.destination.1));
}
