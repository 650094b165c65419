//! What a ruleset of the model says: the part of pf.conf(5) that the model knows.

use std::net::Ipv4Addr;

pub(super) use pf_engine::rule::Direction;

/// Interfaces, their addresses and the groups they are in beside `em`.
pub(super) const INTERFACES: [(&str, Ipv4Addr, &str); 2] = [
    ("em0", Ipv4Addr::new(10, 0, 0, 1), "lan"),
    ("em1", Ipv4Addr::new(192, 0, 2, 1), "wan"),
];
/// The group that all interfaces are in.
pub(super) const ALL_OF_THEM: &str = "em";
/// Tables, by number.
pub(super) const TABLES: [&str; 2] = ["first", "second"];

/// A network: address and length.
pub(super) type Network = (Ipv4Addr, u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Debug)]
pub(super) enum Address {
    Any,
    Network(Network),
    Range(Ipv4Addr, Ipv4Addr),
    Table(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ports {
    Equal(u16),
    Unequal(u16),
    Less(u16),
    AtMost(u16),
    Greater(u16),
    AtLeast(u16),
    /// `a:b`, both included.
    From(u16, u16),
    /// `a >< b`, both excluded.
    Between(u16, u16),
    /// `a <> b`, less than a or greater than b.
    Except(u16, u16),
}

#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) negated: bool,
    pub(super) address: Address,
    pub(super) ports: Option<Ports>,
}

/// What rules and anchors ask of a packet.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) direction: Option<Direction>,
    /// An interface or group, negated or not.
    pub(super) on: Option<(bool, &'static str)>,
    pub(super) protocol: Option<Protocol>,
    pub(super) source: End,
    pub(super) destination: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Pass,
    Block,
    Match,
}

#[derive(Clone, Debug)]
pub(super) struct Tracking {
    /// `source-track global` instead of `rule`.
    pub(super) global: bool,
    pub(super) max_nodes: Option<u32>,
    pub(super) max_states: Option<u32>,
}

/// How a rule keeps state.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    pub(super) modulate: bool,
    pub(super) sloppy: bool,
    pub(super) max: Option<u32>,
    /// `if-bound` or `floating`, over `set state-policy`.
    pub(super) bound: Option<bool>,
    pub(super) tracking: Option<Tracking>,
    /// Timeouts of the rule.
    pub(super) timeouts: Vec<(Timeout, u32)>,
}

/// Translation in a filter rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum To {
    Nat {
        address: Ipv4Addr,
        static_port: bool,
    },
    Rdr {
        address: Ipv4Addr,
        port: Option<u16>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) verb: Verb,
    pub(super) quick: bool,
    pub(super) question: Question,
    /// `flags set/mask`.
    pub(super) flags: Option<(u8, u8)>,
    pub(super) tagged: Option<(bool, &'static str)>,
    pub(super) tag: Option<&'static str>,
    pub(super) set_tos: Option<u8>,
    pub(super) set_prio: Option<u8>,
    pub(super) keep: Option<Keep>,
    pub(super) to: Option<To>,
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    Rule(Box<Rule>),
    /// `match … binat-to`, which stands for two rules.
    Binat {
        on: &'static str,
        inside: Ipv4Addr,
        outside: Ipv4Addr,
    },
    Anchor {
        quick: bool,
        question: Box<Question>,
        items: Vec<Item>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nat,
    Rdr,
    Binat,
}

/// A rule of the old grammar's translation part.
#[derive(Clone, Debug)]
pub(super) struct Translation {
    pub(super) kind: Kind,
    /// `no nat` and its kin.
    pub(super) no: bool,
    /// `nat pass` and its kin.
    pub(super) pass: bool,
    pub(super) on: (bool, &'static str),
    pub(super) protocol: Option<Protocol>,
    pub(super) source: End,
    pub(super) destination: End,
    pub(super) address: Ipv4Addr,
    /// `rdr … -> address port N`.
    pub(super) port: Option<u16>,
    pub(super) static_port: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timeout {
    TcpFirst,
    TcpOpening,
    TcpEstablished,
    TcpClosing,
    TcpFinWait,
    TcpClosed,
    UdpFirst,
    UdpSingle,
    UdpMultiple,
}

impl Timeout {
    pub(super) const ALL: [Self; 9] = [
        Self::TcpFirst,
        Self::TcpOpening,
        Self::TcpEstablished,
        Self::TcpClosing,
        Self::TcpFinWait,
        Self::TcpClosed,
        Self::UdpFirst,
        Self::UdpSingle,
        Self::UdpMultiple,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TcpFirst => "tcp.first",
            Self::TcpOpening => "tcp.opening",
            Self::TcpEstablished => "tcp.established",
            Self::TcpClosing => "tcp.closing",
            Self::TcpFinWait => "tcp.finwait",
            Self::TcpClosed => "tcp.closed",
            Self::UdpFirst => "udp.first",
            Self::UdpSingle => "udp.single",
            Self::UdpMultiple => "udp.multiple",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Ruleset {
    /// `set state-policy if-bound`.
    pub(super) if_bound: bool,
    /// Seconds of each of [`Timeout::ALL`].
    pub(super) timeouts: [u32; Timeout::ALL.len()],
    /// Negated or not.
    pub(super) tables: [Vec<(bool, Network)>; TABLES.len()],
    pub(super) translations: Vec<Translation>,
    pub(super) items: Vec<Item>,
}

impl Ruleset {
    /// Whether any rule translates.
    pub(super) fn translates(&self) -> bool {
        fn any(items: &[Item]) -> bool {
            items.iter().any(|item| match item {
                Item::Rule(rule) => rule.to.is_some(),
                Item::Binat { .. } => true,
                Item::Anchor { items, .. } => any(items),
            })
        }
        !self.translations.is_empty() || any(&self.items)
    }

    pub(super) fn seconds(&self, timeout: Timeout) -> u32 {
        self.timeouts[timeout as usize]
    }
}
