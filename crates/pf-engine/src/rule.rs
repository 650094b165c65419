//! A rule: what it matches and what it does, in PF's words.
//!
//! One type serves filter and translation rules, as in PF: their match fields, counters and
//! references from states are the same. A `Rule` is fully expanded: no list, no macro, no name
//! that still needs a look-up (pf.conf(5), GRAMMAR).

mod limits;
mod pool;
mod scrub;
mod timeout;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, Prefix, Protocol};
use crate::anchor::AnchorCall;
use crate::criteria::{Criteria, Treatment};
use crate::queue::QueueChoice;

pub use self::limits::{
    Flush, LimiterUse, Overload, Rate, SourceOptions, SourceTrack, WhenLimited,
};
pub use self::pool::{Pool, PoolKind, PoolPorts, PoolTarget, PortSet};
pub use self::scrub::{FragmentMode, Reassemble, Scrub};
pub use self::timeout::{Timeout, Timeouts};

/// Direction of a packet through an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// Entering the box by the interface.
    In,
    /// Leaving the box by the interface.
    Out,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

/// What a rule does with a packet that it matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// `pass`.
    Pass,
    /// `block`, with what is sent back to the sender.
    Block(BlockReply),
    /// `match`: apply the options, decide nothing.
    Match,
    /// `nat … -> pool` (old grammar, translation list).
    Nat,
    /// `no nat`.
    NoNat,
    /// `rdr … -> pool` (old grammar, translation list).
    Rdr,
    /// `no rdr`.
    NoRdr,
    /// `binat … -> address` (old grammar, translation list).
    Binat,
    /// `no binat`.
    NoBinat,
    /// `scrub …` (old grammar, list of its own).
    Scrub,
    /// `no scrub`.
    NoScrub,
}

/// What `block` sends back (`block-policy`, `return-rst`, `return-icmp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum BlockReply {
    /// `block drop`: nothing.
    #[default]
    Drop,
    /// `block return`: RST for TCP, ICMP unreachable (port) for the rest.
    Return,
    /// `block return-rst [(ttl N)]`; `ttl` 0 is the default TTL.
    Rst {
        /// TTL of the RST, 0 for the system's default.
        ttl: u8,
    },
    /// `block return-icmp (v4, v6)`, `return-icmp6 (v6)`.
    Icmp {
        /// ICMP (type, code) for IPv4.
        v4: (u8, u8),
        /// ICMPv6 (type, code) for IPv6.
        v6: (u8, u8),
    },
}

/// `on [!] interface-or-group`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceMatch {
    /// `! name`.
    pub negated: bool,
    /// Interface or group name; `any` matches every interface.
    pub name: String,
}

/// `from`/`to` half of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `! address`.
    pub negated: bool,
    /// The address part.
    pub address: Address,
    /// `port …`, or any port.
    pub port: Option<PortMatch>,
}

impl Endpoint {
    /// `any`.
    pub const ANY: Self = Self {
        negated: false,
        address: Address::Any,
        port: None,
    };
}

/// Address part of an [`Endpoint`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// `any`.
    Any,
    /// A host or network, host bits zero.
    Prefix(Prefix),
    /// `first - last`, both included, one family.
    Range(IpAddr, IpAddr),
    /// `(interface)`: its addresses at the time of the packet.
    Dynamic(DynamicAddress),
    /// `<table>`.
    Table(String),
    /// `no-route`.
    NoRoute,
    /// `urpf-failed`.
    UrpfFailed,
}

/// `(interface[:modifier…][/len])`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DynamicAddress {
    /// Interface or group name.
    pub interface: String,
    /// Which of its addresses.
    pub part: DynamicPart,
    /// `:0`: no alias addresses (the first of each family), no link-local.
    pub no_aliases: bool,
    /// `/len` behind the parenthesis: the network of that length around each address.
    pub prefix_len: Option<u8>,
}

/// Modifier of a [`DynamicAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum DynamicPart {
    /// The interface's own addresses.
    #[default]
    Host,
    /// `:network`: the attached networks.
    Network,
    /// `:broadcast`.
    Broadcast,
    /// `:peer`: the far end of a point-to-point link.
    Peer,
}

/// `port …`. Numbers are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortMatch {
    /// `= n`.
    Eq(u16),
    /// `!= n`.
    Ne(u16),
    /// `< n`.
    Lt(u16),
    /// `<= n`.
    Le(u16),
    /// `> n`.
    Gt(u16),
    /// `>= n`.
    Ge(u16),
    /// `a:b`: from a to b, both included.
    Range(u16, u16),
    /// `a >< b`: between, both excluded.
    Inside(u16, u16),
    /// `a <> b`: outside, both excluded from the match's complement: `< a` or `> b`.
    Outside(u16, u16),
}

impl PortMatch {
    /// Whether `port` satisfies the operator.
    #[must_use]
    pub const fn matches(self, port: u16) -> bool {
        match self {
            Self::Eq(n) => port == n,
            Self::Ne(n) => port != n,
            Self::Lt(n) => port < n,
            Self::Le(n) => port <= n,
            Self::Gt(n) => port > n,
            Self::Ge(n) => port >= n,
            Self::Range(a, b) => port >= a && port <= b,
            Self::Inside(a, b) => port > a && port < b,
            Self::Outside(a, b) => port < a || port > b,
        }
    }
}

/// TCP flag bits as on the wire (RFC 9293 section 3.1).
pub mod tcp_flags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// URG.
    pub const URG: u8 = 0x20;
    /// ECE (`E`).
    pub const ECE: u8 = 0x40;
    /// CWR (`W`).
    pub const CWR: u8 = 0x80;

    /// The letters of pf.conf(5) in the order that PF prints them, and their bits.
    pub const LETTERS: [(char, u8); 8] = [
        ('F', FIN),
        ('S', SYN),
        ('R', RST),
        ('P', PSH),
        ('A', ACK),
        ('U', URG),
        ('E', ECE),
        ('W', CWR),
    ];
}

/// `flags set/mask`: of the flags in `mask`, exactly those in `set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlagsMatch {
    /// Flags that must be set.
    pub set: u8,
    /// Flags that are looked at.
    pub mask: u8,
}

impl FlagsMatch {
    /// `S/SA`, the default of a stateful rule since OpenBSD 4.1.
    pub const SYN_OF_SYN_ACK: Self = Self {
        set: tcp_flags::SYN,
        mask: tcp_flags::SYN | tcp_flags::ACK,
    };
}

/// `icmp-type` / `icmp6-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IcmpMatch {
    /// ICMP type as on the wire.
    pub kind: u8,
    /// `code`, or any.
    pub code: Option<u8>,
}

/// How a passing rule keeps state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum StateMode {
    /// `no state`, or nothing in a dialect without implicit state.
    #[default]
    None,
    /// `keep state`.
    Keep,
    /// `modulate state`: keep, with stronger TCP sequence numbers.
    Modulate,
    /// `synproxy state`.
    Synproxy,
}

/// What interfaces a state matches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum StatePolicy {
    /// Any interface.
    #[default]
    Floating,
    /// Only the interface that made it.
    IfBound,
}

/// Options in parentheses behind `keep state`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
pub struct StateOptions {
    /// `max N`: states that this rule may have.
    pub max: Option<u32>,
    /// `if-bound`/`floating`, over `set state-policy`.
    pub policy: Option<StatePolicy>,
    /// `sloppy`: no sequence number checks.
    pub sloppy: bool,
    /// `no-sync`: the state is not told to other firewalls. None is: there is no pfsync(4).
    pub no_sync: bool,
    /// `allow-related`: an SCTP association's other addresses are let in by this rule, whatever
    /// the others say.
    pub allow_related: bool,
    /// `source-track` and its kin.
    pub source: SourceOptions,
    /// Timeouts over the ruleset's.
    pub timeouts: Vec<(Timeout, u32)>,
}

/// `log [(…)]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub struct Log {
    /// `all`: every packet, not only the one that makes the state.
    pub all: bool,
    /// `user`: with the owner of the local socket.
    pub user: bool,
    /// `matches`.
    pub matches: bool,
    /// `to pflogN`.
    pub interface: u8,
}

/// Kind of [`Route`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// `route-to`: send it there instead of where routing would.
    RouteTo,
    /// `reply-to`: packets of the state in the opposite direction go there.
    ReplyTo,
    /// `dup-to`: send a copy there.
    DupTo,
}

/// `route-to`, `reply-to`, `dup-to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Which of the three.
    pub kind: RouteKind,
    /// Next hops. In the `(interface address)` spelling each target has an interface.
    pub pool: Pool,
}

/// `af-to`: translation into the other address family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AfTo {
    /// The family that packets leave in; the rule matches those of the other.
    pub family: Family,
    /// `from`: their source.
    pub from: Pool,
    /// `to`: their destination; without it the address inside of the packet's own, or around it
    /// (RFC 6052).
    pub to: Option<Pool>,
}

/// A rule, expanded and checked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one keyword of pf.conf(5)"
)]
pub struct Rule {
    /// What happens to a matching packet.
    pub action: Action,
    /// Old grammar, `nat pass`: translated packets pass without filter rules.
    pub nat_pass: bool,
    /// `in`, `out`, or both.
    pub direction: Option<Direction>,
    /// `log`.
    pub log: Option<Log>,
    /// `quick`: the last rule that is looked at if it matches.
    pub quick: bool,
    /// `on`.
    pub interface: Option<InterfaceMatch>,
    /// `inet`/`inet6`, as written or inferred.
    pub family: Option<Family>,
    /// `proto`.
    pub protocol: Option<Protocol>,
    /// `from`.
    pub source: Endpoint,
    /// `to`.
    pub destination: Endpoint,
    /// `flags`; nothing for `flags any` and for rules that do not look at flags.
    pub flags: Option<FlagsMatch>,
    /// `icmp-type`.
    pub icmp: Option<IcmpMatch>,
    /// `tos`.
    pub tos: Option<u8>,
    /// `max-pkt-rate N/S`: while more packets come it does not match.
    pub max_packet_rate: Option<Rate>,
    /// `max-pkt-size N`: its packets may have this many bytes from the IP header on.
    pub max_packet_size: Option<u16>,
    /// `state limiter`.
    pub state_limiter: Option<LimiterUse>,
    /// `source limiter`.
    pub source_limiter: Option<LimiterUse>,
    /// `fragment`.
    pub fragment: bool,
    /// `allow-opts`.
    pub allow_options: bool,
    /// `keep state` and its kin.
    pub state: StateMode,
    /// Options in parentheses behind it.
    pub state_options: StateOptions,
    /// `label`s, macros expanded.
    pub labels: Vec<String>,
    /// `tag`.
    pub tag: Option<String>,
    /// `[!] tagged`: (negated, tag).
    pub tagged: Option<(bool, String)>,
    /// `route-to`, `reply-to`, `dup-to`.
    pub route: Option<Route>,
    /// `nat-to` of a filter rule, or `-> pool` of [`Action::Nat`] and [`Action::Binat`].
    pub nat: Option<Pool>,
    /// `rdr-to` of a filter rule, or `-> pool` of [`Action::Rdr`].
    pub rdr: Option<Pool>,
    /// `af-to` of a filter rule.
    pub af_to: Option<AfTo>,
    /// `scrub (…)` of a filter rule, or the options of [`Action::Scrub`].
    pub scrub: Scrub,
    /// `fragment …` of [`Action::Scrub`].
    pub fragments: FragmentMode,
    /// `set ( tos X )`; wins over `scrub (set-tos X)`.
    pub set_tos: Option<u8>,
    /// `anchor` ([`Action::Match`]), `nat-anchor` ([`Action::Nat`]), `rdr-anchor`
    /// ([`Action::Rdr`]) and `binat-anchor` ([`Action::Binat`]): the rule only calls another
    /// ruleset.
    pub anchor: Option<AnchorCall>,
    /// `once`: the rule expires with the first packet that it decides.
    pub once: bool,
    /// What it asks beside the packet's headers.
    pub criteria: Criteria,
    /// What it does to packets that it passes.
    pub treatment: Treatment,
    /// `queue`, `set queue`.
    pub queue: Option<QueueChoice>,
    /// `ridentifier`: a number of its own, for the log.
    pub identifier: Option<u32>,
}

impl Rule {
    /// The pools of a rule, each once.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        let route = self.route.as_ref().map(|route| &route.pool);
        let from = self.af_to.as_ref().map(|af_to| &af_to.from);
        let to = self.af_to.as_ref().and_then(|af_to| af_to.to.as_ref());
        let pools = [self.nat.as_ref(), self.rdr.as_ref(), from, to, route];
        pools.into_iter().flatten()
    }

    /// A rule of `action` that matches everything and has no options.
    #[must_use]
    pub const fn new(action: Action) -> Self {
        Self {
            action,
            nat_pass: false,
            direction: None,
            log: None,
            quick: false,
            interface: None,
            family: None,
            protocol: None,
            source: Endpoint::ANY,
            destination: Endpoint::ANY,
            flags: None,
            icmp: None,
            tos: None,
            max_packet_rate: None,
            max_packet_size: None,
            state_limiter: None,
            source_limiter: None,
            fragment: false,
            allow_options: false,
            state: StateMode::None,
            state_options: StateOptions {
                max: None,
                policy: None,
                sloppy: false,
                no_sync: false,
                allow_related: false,
                source: SourceOptions::NONE,
                timeouts: Vec::new(),
            },
            labels: Vec::new(),
            tag: None,
            tagged: None,
            route: None,
            nat: None,
            rdr: None,
            af_to: None,
            scrub: Scrub::NONE,
            fragments: FragmentMode::Reassemble,
            set_tos: None,
            anchor: None,
            once: false,
            criteria: Criteria::NONE,
            treatment: Treatment::NONE,
            queue: None,
            identifier: None,
        }
    }
}
