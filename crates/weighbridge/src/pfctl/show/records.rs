//! What `weighbridge top` reads: states, rules, queues, interfaces and tables, each a line of
//! JSON.

use datapath::queues::QueueCounters;
use pf_conf::{PrintOptions, print_rule};
use pf_engine::addr::Protocol;
use pf_engine::anchor::AnchorPath;
use pf_engine::counters::Traffic;
use pf_engine::decision::StateId;
use pf_engine::engine::RuleList;
use pf_engine::env::Interface;
use pf_engine::queue::{Queue, QueueOptions, QueueTree};
use pf_engine::rule::{Action, Direction, Log, Rule, StateMode};
use pf_engine::view::{HostPort, InstalledRule, StateView, TableView};
use serde::{Deserialize, Serialize};

use super::queues::{Item, items};
use super::states::peers;
use super::{View, paged};

/// States in one page: JSON takes more time than what pfctl prints, and packets wait meanwhile.
pub(super) const STATES_PER_PAGE: usize = 256;

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRecord {
    /// Its number.
    pub id: u64,
    /// The interface it is bound to, or `all`.
    pub interface: String,
    /// Number of the protocol.
    pub protocol: u8,
    /// Direction of the packet that made it.
    pub direction: Direction,
    /// Who opened it.
    pub source: HostPort,
    /// Who was called.
    pub destination: HostPort,
    /// The end that translation has changed, as it is on the other side.
    pub gateway: Option<HostPort>,
    /// PF's numbers of the peers' states, the opener's first for outbound states.
    pub peers: [u8; 2],
    /// Seconds since it was made.
    pub age: u64,
    /// Seconds until it expires.
    pub expires_in: u64,
    /// Packets in the direction of the first, and the other way.
    pub packets: [u64; 2],
    /// Bytes, the same.
    pub bytes: [u64; 2],
    /// Number of its rule.
    pub rule: Option<u32>,
}

/// A filter rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRecord {
    /// Number in its ruleset.
    pub number: u32,
    /// Path of its anchor; empty for the main ruleset.
    pub anchor: String,
    /// `pass`, `block`, `match`.
    pub action: String,
    /// `in`, `out` or both.
    pub direction: Option<Direction>,
    /// `log`, or `all` for `log (all)`.
    pub log: Option<String>,
    /// `quick`.
    pub quick: bool,
    /// `on`, with the `!` before it.
    pub interface: Option<String>,
    /// Number of the protocol.
    pub protocol: Option<u8>,
    /// `keep`, `modulate`, `synproxy`.
    pub state: Option<String>,
    /// Times it was looked at.
    pub evaluations: u64,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// States that it has made.
    pub states: u64,
    /// `max`: states that it may have.
    pub max: Option<u32>,
    /// Its labels, a blank between them.
    pub label: String,
    /// The rule as `pfctl -sr` prints it.
    pub text: String,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    /// Its interface.
    pub interface: String,
    /// Its name.
    pub name: String,
    /// How many queues are above it.
    pub depth: usize,
    /// Bits in a second.
    pub bandwidth: u64,
    /// The discipline.
    pub scheduler: String,
    /// `priority`, where one is given.
    pub priority: Option<u32>,
    /// Packets that were sent.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that it had no room for.
    pub dropped: u64,
    /// Packets that wait.
    pub waiting: u64,
    /// How often it sent with what others left.
    pub borrows: u64,
    /// How often it had to wait for its rate.
    pub suspends: u64,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRecord {
    /// Its name.
    pub interface: String,
    /// Whether `set skip` leaves it unfiltered.
    pub skip: bool,
    /// Packets that were passed, in and out.
    pub passed_packets: [u64; 2],
    /// Their bytes.
    pub passed_bytes: [u64; 2],
    /// Packets that were blocked, in and out.
    pub blocked_packets: [u64; 2],
    /// Their bytes.
    pub blocked_bytes: [u64; 2],
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Its name.
    pub name: String,
    /// Path of its anchor; empty for the main ruleset.
    pub anchor: String,
    /// Number of addresses.
    pub addresses: usize,
    /// Rules that refer to it.
    pub rules: u32,
    /// Look-ups that found an address.
    pub matches: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Packets that were passed, both ways.
    pub passed_packets: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Packets that were blocked, both ways.
    pub blocked_packets: u64,
}

fn write_line<T: Serialize>(text: &mut String, record: &T) {
    // The types of this module always become JSON.
    if let Ok(line) = serde_json::to_string(record) {
        text.push_str(&line);
        text.push('\n');
    }
}

/// Position: as of `-s states`.
pub(super) fn states(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    let mut text = String::new();
    let mut states = view.engine.states_from(StateId(position), view.now);
    for state in states.by_ref().take(STATES_PER_PAGE) {
        write_line(&mut text, &StateRecord::from(&state));
    }
    let next = states.next().map(|state| state.id.0);
    (text, next)
}

/// Filter rules: of the main ruleset, then of the anchors.
pub(super) fn rules(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    let main = AnchorPath::main();
    let paths = std::iter::once(&main).chain(view.engine.anchors());
    let rules = paths.flat_map(|path| {
        let rules = view.engine.rules_at(path, RuleList::Filter);
        rules.map(move |rule| (path, rule))
    });
    paged(rules, position, |text, (path, rule)| {
        write_line(text, &rule_record(view, path, &rule));
    })
}

pub(super) fn queues(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    let all = view.engine.queues().iter().flat_map(items);
    paged(all, position, |text, item| {
        write_line(text, &queue_record(view, item));
    })
}

pub(super) fn links(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    paged(view.interfaces.iter(), position, |text, interface| {
        write_line(text, &link_record(view, interface));
    })
}

pub(super) fn tables(view: &View<'_>, position: u64) -> (String, Option<u64>) {
    paged(view.engine.tables(), position, |text, table| {
        write_line(text, &TableRecord::from(&table));
    })
}

impl From<&StateView<'_>> for StateRecord {
    fn from(state: &StateView<'_>) -> Self {
        let (left, right) = peers(state);
        let (near, far) = match state.direction {
            Direction::In => (state.stack, state.wire),
            Direction::Out => (state.wire, state.stack),
        };
        let (opener, called) = match state.direction {
            Direction::In => (0, 1),
            Direction::Out => (1, 0),
        };
        // Of an ICMP key the second port carries no meaning of its own.
        let icmp = state.protocol == Protocol::ICMP || state.protocol == Protocol::ICMPV6;
        let differs = |end: usize| {
            let ports = near[end].port != far[end].port && !icmp;
            ports || near[end].address != far[end].address
        };
        let changed = [called, opener].into_iter().find(|end| differs(*end));
        let traffic = &state.traffic;
        Self {
            id: state.id.0,
            interface: state.interface.to_owned(),
            protocol: state.protocol.0,
            direction: state.direction,
            source: near[opener],
            destination: near[called],
            gateway: changed.map(|end| far[end]),
            peers: [left.state, right.state],
            age: state.age.as_secs(),
            expires_in: state.expires_in.as_secs(),
            packets: [traffic.packets_in, traffic.packets_out],
            bytes: [traffic.bytes_in, traffic.bytes_out],
            rule: state.rule,
        }
    }
}

fn rule_record(view: &View<'_>, path: &AnchorPath, installed: &InstalledRule<'_>) -> RuleRecord {
    let rule: &Rule = installed.rule;
    let options = PrintOptions {
        dialect: view.dialect,
        swap_service_names: false,
    };
    let action = match rule.action {
        Action::Pass => "pass",
        Action::Block(_) => "block",
        Action::Match => "match",
        Action::Nat => "nat",
        Action::NoNat => "no nat",
        Action::Rdr => "rdr",
        Action::NoRdr => "no rdr",
        Action::Binat => "binat",
        Action::NoBinat => "no binat",
        Action::Scrub => "scrub",
        Action::NoScrub => "no scrub",
    };
    let state = match rule.state {
        StateMode::None => None,
        StateMode::Keep => Some("keep"),
        StateMode::Modulate => Some("modulate"),
        StateMode::Synproxy => Some("synproxy"),
    };
    let log = |log: &Log| if log.all { "all" } else { "log" };
    let interface = rule.interface.as_ref().map(|interface| {
        let sign = if interface.negated { "!" } else { "" };
        format!("{sign}{}", interface.name)
    });
    let counters = &installed.counters;
    RuleRecord {
        number: installed.number,
        anchor: path.as_str().to_owned(),
        action: action.to_owned(),
        direction: rule.direction,
        log: rule.log.as_ref().map(|options| log(options).to_owned()),
        quick: rule.quick,
        interface,
        protocol: rule.protocol.map(|protocol| protocol.0),
        state: state.map(str::to_owned),
        evaluations: counters.evaluations,
        packets: counters.traffic.packets(),
        bytes: counters.traffic.bytes(),
        states: counters.states_created,
        max: rule.state_options.max,
        label: rule.labels.join(" "),
        text: print_rule(rule, options),
    }
}

fn queue_record(view: &View<'_>, (tree, at): Item<'_>) -> QueueRecord {
    let queue = at.and_then(|at| tree.queues.get(at));
    let name = queue.map_or_else(|| tree.root_name(), |queue| queue.name.clone());
    let counters: Option<&QueueCounters> = view.queues.get(&(tree.interface.clone(), name.clone()));
    let counters = counters.copied().unwrap_or_default();
    let altq = tree.altq.as_ref();
    let whole = altq.map_or(0, |altq| altq.bandwidth);
    let priority = queue.and_then(|queue| match &queue.options {
        QueueOptions::Altq(options) => options.priority,
        QueueOptions::Flow(_) => None,
    });
    QueueRecord {
        interface: tree.interface.clone(),
        name,
        depth: depth(tree, queue),
        bandwidth: at.map_or(whole, |at| tree.rate(at)),
        scheduler: altq
            .map_or("flow", |altq| altq.scheduler.discipline.name())
            .to_owned(),
        priority,
        packets: counters.packets,
        bytes: counters.bytes,
        dropped: counters.dropped,
        waiting: counters.waiting,
        borrows: counters.borrows,
        suspends: counters.delays,
    }
}

/// ALTQ's root is above all of its queues.
fn depth(tree: &QueueTree, queue: Option<&Queue>) -> usize {
    let Some(queue) = queue else { return 0 };
    let parent = |queue: &Queue| queue.parent.and_then(|at| tree.queues.get(at));
    let above = std::iter::successors(parent(queue), |above| parent(above));
    // A tree has no loops; what has one would not end.
    above.take(tree.queues.len()).count() + usize::from(tree.altq.is_some())
}

fn link_record(view: &View<'_>, interface: &Interface) -> LinkRecord {
    let counters = view.engine.interface_counters(&interface.name);
    let (four, six) = (&counters.inet, &counters.inet6);
    let packets = |four: &Traffic, six: &Traffic| {
        [
            four.packets_in + six.packets_in,
            four.packets_out + six.packets_out,
        ]
    };
    let bytes = |four: &Traffic, six: &Traffic| {
        [four.bytes_in + six.bytes_in, four.bytes_out + six.bytes_out]
    };
    let skip = &view.engine.options().skip;
    let mut own = std::iter::once(&interface.name).chain(&interface.groups);
    LinkRecord {
        interface: interface.name.clone(),
        skip: own.any(|name| skip.contains(name)),
        passed_packets: packets(&four.passed, &six.passed),
        passed_bytes: bytes(&four.passed, &six.passed),
        blocked_packets: packets(&four.blocked, &six.blocked),
        blocked_bytes: bytes(&four.blocked, &six.blocked),
    }
}

impl From<&TableView<'_>> for TableRecord {
    fn from(table: &TableView<'_>) -> Self {
        Self {
            name: table.name.to_owned(),
            anchor: table.anchor.to_owned(),
            addresses: table.len,
            rules: table.references,
            matches: table.matches,
            misses: table.misses,
            passed_packets: table.passed.packets(),
            passed_bytes: table.passed.bytes(),
            blocked_packets: table.blocked.packets(),
        }
    }
}
