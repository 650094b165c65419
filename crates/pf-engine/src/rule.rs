//! A rule: what it matches and what it does, in PF's words.
//!
//! One type serves filter and translation rules, as in PF: their match fields, counters and
//! references from states are the same. A `Rule` is fully expanded: no list, no macro, no name
//! that still needs a look-up (pf.conf(5), GRAMMAR).

mod limits;

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, Prefix, Protocol};
use crate::anchor::AnchorCall;
use crate::criteria::{Criteria, Treatment};
use crate::queue::QueueChoice;

mod scrub;

pub use self::limits::{
    Flush, LimiterUse, Overload, Rate, SourceOptions, SourceTrack, WhenLimited,
};
pub use self::scrub::{FragmentMode, Reassemble, Scrub};

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

/// One address of a [`Pool`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolTarget {
    /// `(interface address)`: the interface of a next hop.
    pub interface: Option<String>,
    /// The address; `Any` stands for none (`route-to em1`, without a next hop).
    pub address: Address,
    /// `weight N`: how much of the traffic it gets beside the others; 1 where nothing is said.
    pub weight: Option<u16>,
}

/// How an address is taken from a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum PoolKind {
    /// One address, taken as it is.
    #[default]
    Single,
    /// `bitmask`: the network part of the pool, the host part of the packet.
    Bitmask,
    /// `random`.
    Random,
    /// `source-hash [key]`: by a keyed hash of the source address.
    SourceHash {
        /// The 128-bit key; from the rule, or random when it was loaded.
        key: [u32; 4],
    },
    /// `round-robin`.
    RoundRobin,
    /// `least-states`: the address with the fewest states for its weight.
    LeastStates,
}

/// Addresses to translate to or route to.
#[derive(Clone, Debug, PartialEq, Eq, Default, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one keyword of pf.conf(5)"
)]
pub struct Pool {
    /// The addresses, at least one.
    pub targets: Vec<PoolTarget>,
    /// How one is chosen.
    pub kind: PoolKind,
    /// `sticky-address`: the same source gets the same address while it has states.
    pub sticky: bool,
    /// `static-port`: NAT does not change the source port.
    pub static_port: bool,
    /// `endpoint-independent`: NAT gives the same UDP address and port the same outside address
    /// and port, whoever the peer is (RFC 4787, section 4.1).
    pub endpoint_independent: bool,
    /// `map-e-portset`: NAT takes its ports from a set that others have the rest of.
    pub port_set: Option<PortSet>,
    /// `prefer-ipv6-nexthop`: IPv4 packets may be routed to IPv6 next hops (RFC 8950), which of
    /// one table come first.
    pub prefer_ipv6_nexthop: bool,
    /// `port a[:b]` behind the address. For NAT the range to allocate from; for `rdr` the port,
    /// or the range that `port a:*` spans.
    pub ports: Option<PoolPorts>,
}

/// Ports that one customer of MAP-E has of a shared address (RFC 7597, section 5.1): of the 16
/// bits of a port, `offset` bits that are not all zero, then `length` bits that are `id`, then
/// any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet {
    offset: u8,
    length: u8,
    id: u16,
}

impl PortSet {
    /// Bits of a port.
    const BITS: u8 = 16;

    /// `map-e-portset offset/length/id`. Nothing unless `offset` is 1 to 15, both lengths
    /// together are at most 16, and `id` fits into `length` bits.
    #[must_use]
    pub const fn new(offset: u8, length: u8, id: u16) -> Option<Self> {
        let possible = offset >= 1 && offset < Self::BITS && length <= Self::BITS - offset;
        if possible && (id as u32) < 1 << length {
            Some(Self { offset, length, id })
        } else {
            None
        }
    }

    /// Offset, length and identifier, as in the option.
    #[must_use]
    pub const fn parts(self) -> (u8, u8, u16) {
        (self.offset, self.length, self.id)
    }

    /// How many ports there are in it.
    #[must_use]
    pub const fn len(self) -> u16 {
        let free = Self::BITS - self.offset - self.length;
        ((1 << self.offset) - 1) << free
    }

    /// Whether there are none: never.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The port number `n` of the set, from 0; beyond the last it begins again.
    #[must_use]
    pub const fn port(self, n: u16) -> u16 {
        let free = Self::BITS - self.offset - self.length;
        let n = n % self.len();
        let block = ((n >> free) + 1) << (Self::BITS - self.offset);
        block | self.id << free | n & ((1 << free) - 1)
    }
}

/// `port` of a [`Pool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolPorts {
    /// `port n`: this port.
    Single(u16),
    /// `port a:b`: one of these, both included.
    Range(u16, u16),
    /// `port a:*`: as far from `a` as the packet's port from the rule's first.
    Offset(u16),
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

/// Names of `set timeout`, in the order that `pfctl -st` prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timeout {
    /// `tcp.first`: after the first packet.
    TcpFirst,
    /// `tcp.opening`: before the destination has acknowledged.
    TcpOpening,
    /// `tcp.established`.
    TcpEstablished,
    /// `tcp.closing`: after the first FIN.
    TcpClosing,
    /// `tcp.finwait`: after both FINs.
    TcpFinWait,
    /// `tcp.closed`: after an RST.
    TcpClosed,
    /// `tcp.tsdiff`: allowed timestamp difference.
    TcpTsDiff,
    /// `sctp.first`: after the first packet.
    SctpFirst,
    /// `sctp.opening`: before the association is established.
    SctpOpening,
    /// `sctp.established`.
    SctpEstablished,
    /// `sctp.closing`: after the first SHUTDOWN.
    SctpClosing,
    /// `sctp.closed`: after SHUTDOWN COMPLETE or ABORT.
    SctpClosed,
    /// `udp.first`.
    UdpFirst,
    /// `udp.single`.
    UdpSingle,
    /// `udp.multiple`.
    UdpMultiple,
    /// `icmp.first`.
    IcmpFirst,
    /// `icmp.error`.
    IcmpError,
    /// `other.first`.
    OtherFirst,
    /// `other.single`.
    OtherSingle,
    /// `other.multiple`.
    OtherMultiple,
    /// `frag`: an unassembled fragment.
    Frag,
    /// `interval` between purges.
    Interval,
    /// `adaptive.start`, in states.
    AdaptiveStart,
    /// `adaptive.end`, in states.
    AdaptiveEnd,
    /// `src.track`: a source node without states.
    SrcTrack,
}

impl Timeout {
    /// Those that a connection goes through once somebody has answered.
    pub(crate) const OF_TCP: [Self; 5] = [
        Self::TcpOpening,
        Self::TcpEstablished,
        Self::TcpClosing,
        Self::TcpFinWait,
        Self::TcpClosed,
    ];
    /// All of them, in the order of `pfctl -st`.
    pub const ALL: [Self; 25] = [
        Self::TcpFirst,
        Self::TcpOpening,
        Self::TcpEstablished,
        Self::TcpClosing,
        Self::TcpFinWait,
        Self::TcpClosed,
        Self::TcpTsDiff,
        Self::SctpFirst,
        Self::SctpOpening,
        Self::SctpEstablished,
        Self::SctpClosing,
        Self::SctpClosed,
        Self::UdpFirst,
        Self::UdpSingle,
        Self::UdpMultiple,
        Self::IcmpFirst,
        Self::IcmpError,
        Self::OtherFirst,
        Self::OtherSingle,
        Self::OtherMultiple,
        Self::Frag,
        Self::Interval,
        Self::AdaptiveStart,
        Self::AdaptiveEnd,
        Self::SrcTrack,
    ];

    /// Whether it is `adaptive.start` or `adaptive.end`.
    #[must_use]
    pub const fn is_adaptive(self) -> bool {
        matches!(self, Self::AdaptiveStart | Self::AdaptiveEnd)
    }

    /// The name in `set timeout` and in `pfctl -st`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpFirst => "tcp.first",
            Self::TcpOpening => "tcp.opening",
            Self::TcpEstablished => "tcp.established",
            Self::TcpClosing => "tcp.closing",
            Self::TcpFinWait => "tcp.finwait",
            Self::TcpClosed => "tcp.closed",
            Self::TcpTsDiff => "tcp.tsdiff",
            Self::SctpFirst => "sctp.first",
            Self::SctpOpening => "sctp.opening",
            Self::SctpEstablished => "sctp.established",
            Self::SctpClosing => "sctp.closing",
            Self::SctpClosed => "sctp.closed",
            Self::UdpFirst => "udp.first",
            Self::UdpSingle => "udp.single",
            Self::UdpMultiple => "udp.multiple",
            Self::IcmpFirst => "icmp.first",
            Self::IcmpError => "icmp.error",
            Self::OtherFirst => "other.first",
            Self::OtherSingle => "other.single",
            Self::OtherMultiple => "other.multiple",
            Self::Frag => "frag",
            Self::Interval => "interval",
            Self::AdaptiveStart => "adaptive.start",
            Self::AdaptiveEnd => "adaptive.end",
            Self::SrcTrack => "src.track",
        }
    }

    /// The value of a fresh PF: seconds, or states for the `adaptive.*` pair with the default
    /// state limit (pf.conf(5), `set timeout`).
    #[must_use]
    pub const fn default_value(self) -> u32 {
        match self {
            Self::TcpFirst | Self::SctpFirst => 120,
            Self::TcpOpening
            | Self::SctpOpening
            | Self::TcpTsDiff
            | Self::UdpSingle
            | Self::OtherSingle
            | Self::Frag => 30,
            Self::TcpEstablished | Self::SctpEstablished => 24 * 60 * 60,
            Self::TcpClosing | Self::SctpClosing => 15 * 60,
            Self::TcpFinWait => 45,
            Self::TcpClosed | Self::SctpClosed => 90,
            Self::UdpFirst | Self::UdpMultiple | Self::OtherFirst | Self::OtherMultiple => 60,
            Self::IcmpFirst => 20,
            Self::IcmpError | Self::Interval => 10,
            Self::AdaptiveStart => 60_000,
            Self::AdaptiveEnd => 120_000,
            Self::SrcTrack => 0,
        }
    }
}

/// Values of `set timeout`, one for each [`Timeout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts([u32; Timeout::ALL.len()]);

impl Default for Timeouts {
    fn default() -> Self {
        Self(Timeout::ALL.map(Timeout::default_value))
    }
}

impl Timeouts {
    /// The raw value: seconds, or states for the `adaptive.*` pair.
    #[must_use]
    pub const fn value(&self, timeout: Timeout) -> u32 {
        self.0[timeout as usize]
    }

    /// Sets the raw value.
    pub const fn set(&mut self, timeout: Timeout, value: u32) {
        self.0[timeout as usize] = value;
    }

    /// The value as a duration.
    #[must_use]
    pub const fn duration(&self, timeout: Timeout) -> Duration {
        Duration::from_secs(self.value(timeout) as u64)
    }
}
