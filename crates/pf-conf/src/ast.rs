//! What the parser makes of a text: names still unresolved, lists still lists.

use std::net::IpAddr;
use std::sync::Arc;

use pf_engine::addr::{Family, Prefix, Protocol};
use pf_engine::criteria::{OwnerMatch, Probability, Treatment};
use pf_engine::ether::{EtherAction, MacMatch};
use pf_engine::limiter::{SourceLimiter, StateLimiter};
use pf_engine::osfp::pfos::Fingerprints;
use pf_engine::queue::{Altq, AltqQueue, FlowQueue, QueueChoice};
use pf_engine::rule::{
    BlockReply, Direction, DynamicAddress, DynamicPart, FlagsMatch, FragmentMode, IcmpMatch,
    InterfaceMatch, LimiterUse, Log, PoolKind, PoolPorts, PortMatch, PortSet, Rate, Reassemble,
    RouteKind, Scrub, StateMode, StateOptions, StatePolicy, Timeout,
};
use pf_engine::ruleset::{DebugLevel, Limit, Syncookies};

use crate::extras::Extras;
use crate::optimize::Optimization;
use crate::source::Span;

/// Something and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<T> {
    pub(crate) node: T,
    pub(crate) span: Span,
}

/// One statement, in the order of the text.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    Macro {
        name: String,
        value: String,
    },
    Set(SetStatement),
    Table(Box<TableStatement>),
    Antispoof(Box<AntispoofStatement>),
    Rule(Box<RuleStatement>),
    Ether(Box<EtherStatement>),
    StateLimiter(StateLimiter),
    SourceLimiter(Box<SourceLimiter>),
    /// `load anchor`: its name, the file and what that says.
    LoadAnchor {
        name: Spanned<String>,
        file: String,
        body: Vec<Self>,
    },
}

/// `set …`.
#[derive(Clone, Debug)]
pub(crate) enum SetStatement {
    Skip(Vec<InterfaceName>),
    BlockPolicy {
        returns: bool,
    },
    StatePolicy(StatePolicy),
    /// And how its name is written.
    Limit(Limit, Spanned<u32>, String),
    /// And how its name is written.
    Timeout(Timeout, u32, String),
    Optimization(String),
    RulesetOptimization(Optimization),
    LogInterface(Option<String>),
    HostId(u32),
    Debug(DebugLevel),
    FailPolicy {
        returns: bool,
    },
    KeepCounters,
    /// The file, and what it says.
    Fingerprints(String, Arc<Fingerprints>),
    Reassemble(Reassemble),
    /// And how it is printed.
    Syncookies(Syncookies, String),
    /// `altq`, `queue`: on one interface.
    Queue(Box<QueueStatement>),
    /// One that is printed but not installed: its text.
    Printed(String),
    /// `set state-defaults`: options of rules that have none.
    StateDefaults(Box<State>),
    RequireOrder(bool),
}

/// Queues on an interface, or one of them.
#[derive(Clone, Debug)]
pub(crate) enum QueueStatement {
    /// `altq on …`.
    Interface {
        interface: String,
        altq: Altq,
        span: Span,
    },
    /// `queue …` below it.
    Altq {
        interface: String,
        name: Spanned<String>,
        /// Whether the interface was named.
        bound: bool,
        options: AltqQueue,
    },
    /// `queue …` of OpenBSD; each comes behind its parent.
    Flow {
        interface: String,
        name: Spanned<String>,
        /// Whether its root stands on several interfaces.
        bound: bool,
        options: FlowQueue,
    },
}

/// `[!] name`.
#[derive(Clone, Debug)]
pub(crate) struct InterfaceName {
    pub(crate) negated: bool,
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// `table <name> …`.
#[derive(Clone, Debug)]
pub(crate) struct TableStatement {
    pub(crate) name: Spanned<String>,
    pub(crate) persist: bool,
    pub(crate) constant: bool,
    pub(crate) counters: bool,
    pub(crate) contents: Vec<TableContents>,
}

/// Where addresses of a table come from.
#[derive(Clone, Debug)]
pub(crate) enum TableContents {
    Inline(Vec<Host>),
    File { path: String, hosts: Vec<Host> },
}

/// `antispoof …`.
#[derive(Clone, Debug)]
pub(crate) struct AntispoofStatement {
    pub(crate) span: Span,
    pub(crate) log: Option<Log>,
    pub(crate) quick: bool,
    pub(crate) interfaces: Vec<(InterfaceName, bool)>,
    pub(crate) family: Option<Family>,
    pub(crate) labels: Vec<Spanned<String>>,
    pub(crate) treatment: Treatment,
    pub(crate) identifier: Option<u32>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Pass,
    /// Nothing: whatever `set block-policy` says.
    Block(Option<BlockReply>),
    Match,
    Anchor,
    Scrub {
        no: bool,
    },
    Nat {
        no: bool,
    },
    Rdr {
        no: bool,
    },
    Binat {
        no: bool,
    },
}

impl Verb {
    /// Rules of the old translation grammar.
    pub(crate) const fn is_translation(self) -> bool {
        matches!(
            self,
            Self::Nat { .. } | Self::Rdr { .. } | Self::Binat { .. }
        )
    }

    /// With `no` before it.
    pub(crate) const fn is_negated(self) -> bool {
        match self {
            Self::Nat { no } | Self::Rdr { no } | Self::Binat { no } | Self::Scrub { no } => no,
            Self::Pass | Self::Block(_) | Self::Match | Self::Anchor => false,
        }
    }
}

/// `flags …`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flags {
    Any,
    Match(FlagsMatch),
}

/// `keep state` and its kin.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) mode: StateMode,
    pub(crate) options: StateOptions,
    pub(crate) extras: Extras,
    /// `source-track` was written, not only implied.
    pub(crate) track_given: bool,
    /// And it says of what: `rule` or `global`.
    pub(crate) track_is_said: bool,
    pub(crate) span: Span,
}

/// A rule of any kind.
#[derive(Clone, Debug)]
pub(crate) struct RuleStatement {
    pub(crate) span: Span,
    pub(crate) verb: Verb,
    pub(crate) nat_pass: bool,
    pub(crate) direction: Option<Direction>,
    pub(crate) log: Option<Log>,
    pub(crate) quick: bool,
    pub(crate) interfaces: Vec<InterfaceName>,
    pub(crate) family: Option<Family>,
    pub(crate) protocols: Vec<Spanned<Protocol>>,
    pub(crate) source: Side,
    pub(crate) destination: Side,
    pub(crate) flags: Option<Spanned<Flags>>,
    pub(crate) icmp: Vec<Spanned<IcmpMatch>>,
    pub(crate) icmp_family: Option<Family>,
    pub(crate) tos: Option<u8>,
    pub(crate) max_packet_rate: Option<Rate>,
    pub(crate) max_packet_size: Option<u16>,
    pub(crate) state_limiter: Option<LimiterUse>,
    pub(crate) source_limiter: Option<LimiterUse>,
    pub(crate) fragment: Option<Span>,
    pub(crate) allow_options: Option<Span>,
    pub(crate) state: Option<State>,
    pub(crate) labels: Vec<Spanned<String>>,
    pub(crate) tag: Option<Spanned<String>>,
    pub(crate) tagged: Option<(bool, Spanned<String>)>,
    pub(crate) route: Option<(RouteKind, PoolStatement)>,
    pub(crate) nat: Option<PoolStatement>,
    pub(crate) rdr: Option<PoolStatement>,
    pub(crate) binat: Option<PoolStatement>,
    pub(crate) af_to: Option<Spanned<AfTo>>,
    pub(crate) systems: Vec<Spanned<String>>,
    pub(crate) users: Vec<OwnerMatch>,
    pub(crate) groups: Vec<OwnerMatch>,
    pub(crate) received_on: Option<InterfaceMatch>,
    pub(crate) priority: Option<u8>,
    pub(crate) probability: Option<Probability>,
    /// All but `divert`, which needs its address resolved.
    pub(crate) treatment: Treatment,
    pub(crate) queue: Option<QueueChoice>,
    pub(crate) identifier: Option<u32>,
    pub(crate) extras: Extras,
    /// Of a rule that calls an anchor.
    pub(crate) anchor: Option<AnchorName>,
    pub(crate) once: Option<Span>,
    /// What stands in the braces of an anchor.
    pub(crate) body: Option<Vec<Statement>>,
    /// Options of `scrub`.
    pub(crate) scrub: Scrub,
    /// `fragment …` of a `scrub` rule.
    pub(crate) fragments: FragmentMode,
    /// `set tos`.
    pub(crate) set_tos: Option<u8>,
    pub(crate) divert: Option<Spanned<Divert>>,
}

/// `ether …`.
#[derive(Clone, Debug)]
pub(crate) struct EtherStatement {
    /// What it shares with other rules; its addresses are those behind `l3`.
    pub(crate) rule: RuleStatement,
    pub(crate) action: EtherAction,
    pub(crate) bridge_to: Option<String>,
    pub(crate) types: Vec<u16>,
    pub(crate) sources: Vec<MacMatch>,
    pub(crate) destinations: Vec<MacMatch>,
}

impl EtherStatement {
    /// `ether pass`, with what it shares with other rules.
    pub(crate) const fn new(rule: RuleStatement) -> Self {
        Self {
            rule,
            action: EtherAction::Pass,
            bridge_to: None,
            types: Vec::new(),
            sources: Vec::new(),
            destinations: Vec::new(),
        }
    }
}

/// What a rule calls.
#[derive(Clone, Debug)]
pub(crate) struct AnchorName {
    /// As it is written, or made up for braces without a name.
    pub(crate) name: String,
    /// Its rules stand in braces behind the rule.
    pub(crate) inline: bool,
}

/// `divert-…`.
#[derive(Clone, Debug)]
pub(crate) enum Divert {
    /// The address, which FreeBSD ignores, and the port.
    To(Option<Box<PoolStatement>>, u16),
    Reply,
    Packet(u16),
}

impl RuleStatement {
    pub(crate) const fn new(verb: Verb, span: Span) -> Self {
        Self {
            span,
            verb,
            nat_pass: false,
            direction: None,
            log: None,
            quick: false,
            interfaces: Vec::new(),
            family: None,
            protocols: Vec::new(),
            source: Side::ANY,
            destination: Side::ANY,
            flags: None,
            icmp: Vec::new(),
            icmp_family: None,
            tos: None,
            max_packet_rate: None,
            max_packet_size: None,
            state_limiter: None,
            source_limiter: None,
            fragment: None,
            allow_options: None,
            state: None,
            labels: Vec::new(),
            tag: None,
            tagged: None,
            route: None,
            nat: None,
            rdr: None,
            binat: None,
            af_to: None,
            systems: Vec::new(),
            users: Vec::new(),
            groups: Vec::new(),
            received_on: None,
            priority: None,
            probability: None,
            treatment: Treatment::NONE,
            queue: None,
            identifier: None,
            extras: Extras::NONE,
            anchor: None,
            once: None,
            body: None,
            scrub: Scrub::NONE,
            fragments: FragmentMode::Reassemble,
            set_tos: None,
            divert: None,
        }
    }
}

/// `from …` or `to …`: empty lists stand for any.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) hosts: Vec<Host>,
    pub(crate) ports: Vec<Spanned<PortMatch>>,
}

impl Side {
    pub(crate) const ANY: Self = Self {
        hosts: Vec::new(),
        ports: Vec::new(),
    };
}

/// One address as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) negated: bool,
    pub(crate) kind: HostKind,
    pub(crate) span: Span,
}

/// Forms of an address.
#[derive(Clone, Debug)]
pub(crate) enum HostKind {
    Any,
    NoRoute,
    UrpfFailed,
    Table(String),
    Dynamic(DynamicAddress),
    Literal {
        prefix: Prefix,
        /// `%interface` of a link-local address.
        scope: Option<String>,
    },
    Range(IpAddr, IpAddr),
    /// An interface, a group, `self`, or a host name.
    Name(NamedHost),
}

/// `name[:modifier…][/len]`.
#[derive(Clone, Debug)]
pub(crate) struct NamedHost {
    pub(crate) name: String,
    pub(crate) part: DynamicPart,
    pub(crate) no_aliases: bool,
    pub(crate) prefix_len: Option<u8>,
}

/// `-> …`, `nat-to …`, `route-to …`.
#[derive(Clone, Debug)]
pub(crate) struct PoolStatement {
    pub(crate) span: Span,
    pub(crate) targets: Vec<Target>,
    pub(crate) kind: Option<Spanned<PoolKind>>,
    pub(crate) random_key: bool,
    pub(crate) sticky: bool,
    pub(crate) static_port: Option<Span>,
    /// `least-states`, which is `kind` too.
    pub(crate) least_states: Option<Span>,
    /// `map-e-portset`.
    pub(crate) port_set: Option<Spanned<PortSet>>,
    pub(crate) endpoint_independent: Option<Span>,
    pub(crate) prefer_ipv6_nexthop: Option<Span>,
    pub(crate) ports: Option<Spanned<PoolPorts>>,
}

impl PoolStatement {
    pub(crate) const fn new(span: Span) -> Self {
        Self {
            span,
            targets: Vec::new(),
            kind: None,
            random_key: false,
            sticky: false,
            static_port: None,
            least_states: None,
            port_set: None,
            endpoint_independent: None,
            prefer_ipv6_nexthop: None,
            ports: None,
        }
    }
}

/// `af-to family from … [to …]`.
#[derive(Clone, Debug)]
pub(crate) struct AfTo {
    pub(crate) family: Family,
    pub(crate) from: PoolStatement,
    pub(crate) to: Option<PoolStatement>,
}

/// One address of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Of `(interface address)` and of `interface` alone.
    pub(crate) interface: Option<String>,
    /// Nothing for an interface alone.
    pub(crate) host: Option<Host>,
    /// `weight N`.
    pub(crate) weight: Option<(u16, Span)>,
}
