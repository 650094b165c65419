//! Rows: what a sample shows of one state, rule, queue, interface, table or gateway.

use pf_engine::addr::Protocol;
use pf_engine::rule::Direction;
use pf_engine::view::HostPort;
use serde::Serialize;

use super::cell::{age, bandwidth, number, plain, rate, size};
use super::fields::Field;
use super::speed::Speed;
use crate::gateway::monitor::GatewayView;
use crate::pfctl::show::records::{LinkRecord, QueueRecord, RuleRecord, StateRecord, TableRecord};
use crate::pfctl::show::states::{level_names, write_host};
use crate::text::protocol_name;

/// A row.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Row {
    /// A state.
    State(StateRecord),
    /// A rule.
    Rule(Box<RuleRecord>),
    /// A queue.
    Queue(Box<QueueRecord>),
    /// An interface.
    Link(Box<LinkRecord>),
    /// A table.
    Table(Box<TableRecord>),
    /// A gateway.
    Gateway(Box<GatewayView>),
}

/// A row with how fast it is, where that is known.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// What a second has brought.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<Speed>,
}

impl Measured {
    /// What stands in `field`, which is `width` wide. Whatever came from outside is harmless.
    #[must_use]
    pub fn cell(&self, field: Field, width: usize) -> String {
        match &self.row {
            Row::State(state) => state_cell(state, self.speed, field, width),
            Row::Rule(rule) => rule_cell(rule, field, width),
            Row::Queue(queue) => queue_cell(queue, self.speed, field, width),
            Row::Link(link) => link_cell(link, self.speed, field, width),
            Row::Table(table) => table_cell(table, field, width),
            Row::Gateway(gateway) => gateway_cell(gateway, field, width),
        }
    }

    /// Whether it deserves attention: what is blocked, dropped or down.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        match &self.row {
            Row::Rule(rule) => rule.action == "block" && rule.packets > 0,
            Row::Queue(queue) => queue.dropped > 0,
            Row::Gateway(gateway) => !gateway.up,
            Row::State(_) | Row::Link(_) | Row::Table(_) => false,
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a field of other rows is blank"
)]
fn state_cell(state: &StateRecord, speed: Option<Speed>, field: Field, width: usize) -> String {
    let bytes: u64 = state.bytes.iter().sum();
    match field {
        Field::Proto => protocol(state.protocol),
        Field::Dir => direction(Some(state.direction)),
        Field::Src => host(state.source),
        Field::Dest => host(state.destination),
        Field::Gw => state.gateway.map_or_else(String::new, host),
        Field::State => {
            let [left, right] = state.peers;
            let names = level_names(Protocol(state.protocol), left, right);
            if names.len() > width {
                format!("{left}:{right}")
            } else {
                names
            }
        }
        Field::Age => age(state.age, width),
        Field::Expires => age(state.expires_in, width),
        Field::Packets => size(state.packets.iter().sum(), width),
        Field::Bytes => size(bytes, width),
        Field::Rate => rate(speed.map(|speed| speed.bytes), width),
        Field::Peak => rate(speed.map(|speed| speed.peak), width),
        Field::Average => {
            let average = bytes.checked_div(state.age);
            average.map_or_else(|| "*".into(), |average| size(average, width))
        }
        Field::Rule => state
            .rule
            .map_or_else(String::new, |rule| number(rule.into(), width)),
        Field::If => plain(&state.interface),
        _ => String::new(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a field of other rows is blank"
)]
fn rule_cell(rule: &RuleRecord, field: Field, width: usize) -> String {
    let text = |text: &Option<String>| text.as_deref().map_or_else(String::new, capital);
    match field {
        Field::Rule => number(rule.number.into(), width),
        Field::Anchor => plain(&rule.anchor),
        Field::Action => capital(&rule.action),
        Field::Dir => direction(rule.direction),
        Field::Log => text(&rule.log),
        Field::Quick if rule.quick => "Q".into(),
        Field::If => rule.interface.as_deref().map_or_else(String::new, plain),
        Field::Proto => rule.protocol.map_or_else(String::new, protocol),
        Field::KeepState => text(&rule.state),
        Field::Packets => size(rule.packets, width),
        Field::Bytes => size(rule.bytes, width),
        Field::States => size(rule.states, width),
        Field::Evaluations => size(rule.evaluations, width),
        Field::Max => rule
            .max
            .map_or_else(String::new, |max| number(max.into(), width)),
        Field::Label => plain(&rule.label),
        Field::Info => plain(&rule.text),
        _ => String::new(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a field of other rows is blank"
)]
fn queue_cell(queue: &QueueRecord, speed: Option<Speed>, field: Field, width: usize) -> String {
    match field {
        Field::Queue => format!(
            "{}{}",
            " ".repeat(queue.depth.min(width)),
            plain(&queue.name)
        ),
        Field::Bandwidth => bandwidth(queue.bandwidth, width),
        Field::Scheduler => plain(&queue.scheduler),
        Field::Prio => queue
            .priority
            .map_or_else(String::new, |priority| number(priority.into(), width)),
        Field::Packets => size(queue.packets, width),
        Field::Bytes => size(queue.bytes, width),
        Field::DropPackets => size(queue.dropped, width),
        // The kernel does not count the bytes of what it drops.
        Field::DropBytes => "-".into(),
        Field::QueueLength => size(queue.waiting, width),
        Field::Borrow => size(queue.borrows, width),
        Field::Suspends => size(queue.suspends, width),
        Field::PacketRate => rate(speed.map(|speed| speed.packets), width),
        Field::BytesRate => rate(speed.map(|speed| speed.bytes), width),
        Field::If => plain(&queue.interface),
        _ => String::new(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a field of other rows is blank"
)]
fn link_cell(link: &LinkRecord, speed: Option<Speed>, field: Field, width: usize) -> String {
    let [passed_in, passed_out] = link.passed_packets;
    let [bytes_in, bytes_out] = link.passed_bytes;
    let [blocked_in, blocked_out] = link.blocked_packets;
    match field {
        Field::If => plain(&link.interface),
        Field::PacketRate => rate(speed.map(|speed| speed.packets), width),
        Field::BytesRate => rate(speed.map(|speed| speed.bytes), width),
        Field::PassIn => size(passed_in, width),
        Field::BytesIn => size(bytes_in, width),
        Field::BlockIn => size(blocked_in, width),
        Field::PassOut => size(passed_out, width),
        Field::BytesOut => size(bytes_out, width),
        Field::BlockOut => size(blocked_out, width),
        Field::Skip if link.skip => "skip".into(),
        _ => String::new(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a field of other rows is blank"
)]
fn table_cell(table: &TableRecord, field: Field, width: usize) -> String {
    match field {
        Field::Table => plain(&table.name),
        Field::Anchor => plain(&table.anchor),
        Field::Addresses => size(table.addresses.try_into().unwrap_or(u64::MAX), width),
        Field::Rules => number(table.rules.into(), width),
        Field::Match => size(table.matches, width),
        Field::NoMatch => size(table.misses, width),
        Field::Packets => size(table.passed_packets, width),
        Field::Bytes => size(table.passed_bytes, width),
        Field::Blocked => size(table.blocked_packets, width),
        _ => String::new(),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a field of other rows is blank"
)]
fn gateway_cell(gateway: &GatewayView, field: Field, width: usize) -> String {
    match field {
        Field::If => plain(&gateway.interface),
        Field::Gateway => gateway.address.to_string(),
        Field::Up if gateway.up => "up".into(),
        Field::Up => "down".into(),
        Field::Since => {
            let since = std::time::Duration::try_from_secs_f64(gateway.since);
            age(since.unwrap_or_default().as_secs(), width)
        }
        Field::Failures => number(gateway.failures, width),
        Field::Rtt => gateway
            .rtt_ms()
            .map_or_else(|| "-".into(), |rtt| format!("{rtt:.1}ms")),
        Field::Loss => gateway
            .loss_percent()
            .map_or_else(|| "-".into(), |loss| format!("{loss}%")),
        _ => String::new(),
    }
}

fn protocol(number: u8) -> String {
    protocol_name(number).map_or_else(|| number.to_string(), str::to_owned)
}

fn direction(direction: Option<Direction>) -> String {
    match direction {
        Some(Direction::In) => "In",
        Some(Direction::Out) => "Out",
        None => "Any",
    }
    .to_owned()
}

fn host(end: HostPort) -> String {
    let mut text = String::new();
    write_host(&mut text, end);
    text
}

/// pftop begins such words with a capital.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    plain(&first.into_iter().chain(letters).collect::<String>())
}
