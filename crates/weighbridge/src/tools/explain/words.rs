//! Rules and packets in words.

use std::fmt::Write as _;
use std::net::IpAddr;

use pf_conf::{print_address, print_port};
use pf_engine::addr::Protocol;
use pf_engine::engine::RuleList;
use pf_engine::explain::{Criterion, Seen};
use pf_engine::rule::{Direction, Endpoint, LimiterUse, PortMatch, Rule, tcp_flags};
use pf_engine::view::HostPort;

use crate::text::protocol_name;

/// Where a packet is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) interface: String,
    pub(super) direction: Direction,
}

pub(super) const fn list_name(list: RuleList) -> &'static str {
    match list {
        RuleList::Scrub => "scrub",
        RuleList::Nat => "nat",
        RuleList::Rdr => "rdr",
        RuleList::Binat => "binat",
        RuleList::Filter => "filter",
    }
}

pub(in crate::tools) const fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

/// The keyword of a criterion.
pub(super) const fn criterion(criterion: Criterion) -> &'static str {
    match criterion {
        Criterion::Interface => "interface",
        Criterion::Direction => "direction",
        Criterion::Family => "family",
        Criterion::Protocol => "protocol",
        Criterion::SourceAddress => "source address",
        Criterion::DestinationAddress => "destination address",
        Criterion::SourcePort => "source port",
        Criterion::DestinationPort => "destination port",
        Criterion::Fragment => "fragment",
        Criterion::Flags => "flags",
        Criterion::Icmp => "ICMP type",
        Criterion::Tos => "type of service",
        Criterion::Tag => "tag",
        Criterion::System => "system of the sender",
        Criterion::Owner => "owner of the socket",
        Criterion::Priority => "priority",
        Criterion::ReceivedOn => "interface it came in by",
        Criterion::Probability => "probability",
        Criterion::StateLimiter => "state limiter",
        Criterion::SourceLimiter => "source limiter",
        Criterion::PacketRate => "packet rate",
    }
}

pub(super) fn protocol(protocol: Protocol) -> String {
    match protocol_name(protocol.0) {
        Some("ipv6-icmp") => "icmp6".to_owned(),
        Some(name) => name.to_owned(),
        None => protocol.0.to_string(),
    }
}

pub(super) fn flags(flags: u8) -> String {
    if flags == 0 {
        return "none".to_owned();
    }
    let set = tcp_flags::LETTERS
        .iter()
        .filter(|(_, bit)| flags & bit != 0);
    set.map(|(letter, _)| *letter).collect()
}

pub(super) fn host_port(host: HostPort, protocol: Protocol) -> String {
    match (host.address, protocol.has_ports()) {
        (IpAddr::V4(address), true) => format!("{address}:{}", host.port),
        (IpAddr::V6(address), true) => format!("[{address}]:{}", host.port),
        (address, false) => address.to_string(),
    }
}

/// `tcp 10.0.0.1:1234 > 1.2.3.4:80 S`.
pub(in crate::tools) fn packet(seen: &Seen) -> String {
    let mut text = format!(
        "{} {} > {}",
        protocol(seen.protocol),
        host_port(seen.source, seen.protocol),
        host_port(seen.destination, seen.protocol)
    );
    if let Some(set) = seen.flags {
        text = text + " " + &flags(set);
    }
    if let Some((kind, code)) = seen.icmp {
        let _ = write!(text, " type {kind} code {code}");
    }
    if seen.tos != 0 {
        let _ = write!(text, " tos 0x{:02x}", seen.tos);
    }
    if let Some(tag) = &seen.tag {
        text = text + " tagged " + tag;
    }
    text
}

/// What the packet has where a rule asks for something else.
pub(super) fn actual(seen: &Seen, place: &Place, asked: Criterion) -> String {
    match asked {
        Criterion::Interface if place.interface.is_empty() => "unknown".to_owned(),
        Criterion::Interface => place.interface.clone(),
        Criterion::Direction => direction(place.direction).to_owned(),
        Criterion::Family => seen.family.to_string(),
        Criterion::Protocol => protocol(seen.protocol),
        Criterion::SourceAddress => seen.source.address.to_string(),
        Criterion::DestinationAddress => seen.destination.address.to_string(),
        Criterion::SourcePort if seen.protocol.has_ports() => seen.source.port.to_string(),
        Criterion::DestinationPort if seen.protocol.has_ports() => {
            seen.destination.port.to_string()
        }
        Criterion::SourcePort | Criterion::DestinationPort => "no port".to_owned(),
        Criterion::Fragment => "no fragment".to_owned(),
        Criterion::Flags => seen.flags.map_or_else(|| "none".to_owned(), flags),
        Criterion::Icmp => match seen.icmp {
            Some((kind, code)) => format!("type {kind} code {code}"),
            None => "no ICMP".to_owned(),
        },
        Criterion::Tos => format!("0x{:02x}", seen.tos),
        Criterion::Tag => seen.tag.clone().unwrap_or_else(|| "none".to_owned()),
        Criterion::System if seen.systems.is_empty() => "unknown".to_owned(),
        Criterion::System => seen
            .systems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
        Criterion::Owner => "another, or unknown".to_owned(),
        Criterion::Priority => seen.priority.to_string(),
        Criterion::ReceivedOn => {
            let none = || "none, the box has sent it".to_owned();
            seen.received_on.clone().unwrap_or_else(none)
        }
        Criterion::Probability => "drew another number".to_owned(),
        Criterion::StateLimiter | Criterion::SourceLimiter => "more states".to_owned(),
        Criterion::PacketRate => "more packets".to_owned(),
    }
}

/// What a rule asks for. A `binat` rule is turned round for what comes in.
pub(super) fn wanted(rule: &Rule, list: RuleList, place: &Place, asked: Criterion) -> String {
    let turned = list == RuleList::Binat && place.direction == Direction::In;
    match asked {
        Criterion::Interface => rule
            .interface
            .as_ref()
            .map_or_else(String::new, |interface| {
                let not = if interface.negated { "! " } else { "" };
                format!("{not}{}", interface.name)
            }),
        Criterion::Direction => match rule.direction {
            Some(wanted) => direction(if turned { wanted.reverse() } else { wanted }).to_owned(),
            None => String::new(),
        },
        Criterion::Family => rule
            .family
            .map_or_else(String::new, |family| family.to_string()),
        Criterion::Protocol => rule.protocol.map_or_else(String::new, protocol),
        Criterion::SourceAddress if turned => endpoint(&rule.destination),
        Criterion::DestinationAddress if turned => external(rule),
        Criterion::SourceAddress => endpoint(&rule.source),
        Criterion::DestinationAddress => endpoint(&rule.destination),
        Criterion::SourcePort => rule.source.port.map_or_else(String::new, port),
        Criterion::DestinationPort => rule.destination.port.map_or_else(String::new, port),
        Criterion::Fragment => "a fragment (all are put together before)".to_owned(),
        Criterion::Flags => rule.flags.map_or_else(String::new, |wanted| {
            format!("{}/{}", flags(wanted.set), flags(wanted.mask))
        }),
        Criterion::Icmp => rule.icmp.map_or_else(String::new, |icmp| match icmp.code {
            Some(code) => format!("type {} code {code}", icmp.kind),
            None => format!("type {}", icmp.kind),
        }),
        Criterion::Tos => rule
            .tos
            .map_or_else(String::new, |tos| format!("0x{tos:02x}")),
        Criterion::Tag => rule
            .tagged
            .as_ref()
            .map_or_else(String::new, |(negated, tag)| {
                format!("{}{tag}", if *negated { "! " } else { "" })
            }),
        Criterion::System => rule
            .criteria
            .system
            .as_ref()
            .map_or_else(String::new, |wanted| format!("\"{wanted}\"")),
        Criterion::Owner | Criterion::Priority | Criterion::ReceivedOn | Criterion::Probability => {
            pf_conf::print_criteria(rule)
        }
        Criterion::StateLimiter => rule.state_limiter.map_or_else(String::new, limiter),
        Criterion::SourceLimiter => rule.source_limiter.map_or_else(String::new, limiter),
        Criterion::PacketRate => rule.max_packet_rate.map_or_else(String::new, |rate| {
            format!("{}/{}", rate.count, rate.seconds)
        }),
    }
}

fn limiter(used: LimiterUse) -> String {
    format!("id {}", used.id)
}

/// The address that a `binat` rule translates to.
fn external(rule: &Rule) -> String {
    let target = rule.nat.as_ref().and_then(|pool| pool.targets.first());
    target.map_or_else(
        || endpoint(&rule.source),
        |target| print_address(&target.address),
    )
}

fn endpoint(endpoint: &Endpoint) -> String {
    let not = if endpoint.negated { "! " } else { "" };
    format!("{not}{}", print_address(&endpoint.address))
}

/// Like rules, but without the `=` that nobody reads.
fn port(wanted: PortMatch) -> String {
    if let PortMatch::Eq(number) = wanted {
        number.to_string()
    } else {
        print_port(wanted)
    }
}
