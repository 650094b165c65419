//! What goes into the engine with a packet and what comes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::addr::Family;
use crate::anchor::AnchorPath;
use crate::env::IfIndex;
use crate::flow;
use crate::queue::QueueId;
use crate::rule::Direction;

/// Where a packet meets the filter: an interface and the direction through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook {
    /// The interface.
    pub interface: IfIndex,
    /// Entering or leaving the box.
    pub direction: Direction,
}

/// Ethernet addresses of a frame.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EtherAddresses {
    /// Sender.
    pub source: [u8; 6],
    /// Receiver.
    pub destination: [u8; 6],
}

impl EtherAddresses {
    /// The addresses of a frame that goes back.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }

    /// Whether the frame goes to more than one receiver: multicast or broadcast (IEEE 802).
    #[must_use]
    pub const fn is_to_group(self) -> bool {
        let [first, ..] = self.destination;
        first & 1 != 0
    }
}

/// A packet on its way through the engine: IP header first, checksums complete.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Packet {
    /// IPv4 or IPv6 header and all that follows. Trailing link-layer padding is allowed.
    pub bytes: Vec<u8>,
    /// Addresses of the frame that carried it, if it came in one.
    pub ether: Option<EtherAddresses>,
    /// By which interface it came into the box. Told of packets that leave; nothing for those
    /// that the box has sent itself, and where nobody knows.
    pub received_on: Option<IfIndex>,
    /// The priority in the tag of its frame (IEEE 802.1Q), 0 to 7, if there was one.
    pub priority: Option<u8>,
}

/// What the engine decided about one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// What becomes of the packet, which may have been rewritten in place.
    pub verdict: Verdict,
    /// Packets that the engine made: answers to the sender (RST, ICMP), copies (`dup-to`).
    /// They pass every hook without being looked at again (PF's "generated" tag), but for
    /// [`GeneratedExit::Onward`].
    pub generated: Vec<Generated>,
    /// What goes with a passed packet beside its bytes.
    pub handling: Handling,
    /// What the verdict rests on: what a flow cache may repeat.
    pub basis: Basis,
    /// What pflog(4) is told, in order; empty unless a rule has `log` or the packet is one that
    /// PF logs whatever the rules say.
    pub logged: Vec<LogEntry>,
}

/// What goes with a passed packet beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Handling {
    /// `set prio`: 0 to 7.
    pub priority: Option<u8>,
    /// `queue`: by which it waits at the interface that it leaves by. Of an interface without
    /// such a queue it takes the default one.
    pub queue: Option<QueueId>,
    /// `rtable`: the number of the routing table by which a packet that came in goes on.
    pub routing_table: Option<u8>,
}

/// A packet for the log: what pflog(4) would be told of one evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// N of `pflogN`.
    pub log: u8,
    /// Number of the rule in its list. Nothing where no rule matched, and for a rule that is no
    /// longer in force.
    /// For a rule in an anchor, that of the rule of the main ruleset which led there.
    pub rule: Option<u32>,
    /// For a rule in an anchor: the anchor and the rule's number in it.
    pub in_anchor: Option<(AnchorPath, Option<u32>)>,
    /// `ridentifier` of the rule, 0 for none.
    pub identifier: u32,
    /// `log (user)`: the user that owns the local socket, if there is one.
    pub owner: Option<u32>,
    /// What was done.
    pub action: LogAction,
    /// Why.
    pub reason: DropReason,
    /// Direction of the evaluation.
    pub direction: Direction,
    /// Interface of the evaluation; empty for one that nobody knows.
    pub interface: Arc<str>,
    /// Address family of the packet.
    pub family: Family,
    /// Length of the whole packet in bytes.
    pub length: usize,
    /// Its beginning, as it was at that evaluation: at most the snap length.
    pub bytes: Vec<u8>,
}

/// Bytes of a packet that are logged unless told otherwise: pflogd(8) of OpenBSD reads 160, of
/// which 64 are the header of pflog(4).
pub const LOG_SNAP_LENGTH: usize = 160 - 64;

/// What a log entry says was done with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogAction {
    /// It was let pass.
    Pass,
    /// It was dropped.
    Block,
    /// A `match` rule matched it.
    Match,
    /// A `nat` rule of the old grammar translated it.
    Nat,
    /// A `binat` rule did.
    Binat,
    /// An `rdr` rule did.
    Rdr,
    /// The proxy has answered it instead (`synproxy state`).
    SynproxyDrop,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, as `packet` now is.
    Pass(Exit),
    /// It goes on in pieces that replace `packet` (it was reassembled, or exceeds the exit's MTU).
    PassFragments(Exit, Vec<Vec<u8>>),
    /// It ends here.
    Drop(DropReason),
    /// It is a fragment and waits for the others; a later decision covers it.
    Held,
}

/// Where a passed packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// On its ordinary way behind the hook: bridge, routing, local socket, wire.
    Continue,
    /// Out of `interface` to the neighbour `next_hop`. The engine has made the decision for
    /// leaving by that interface too.
    Gateway {
        /// The interface it leaves by.
        interface: IfIndex,
        /// The neighbour whose link-layer address is looked up.
        next_hop: IpAddr,
    },
    /// To a socket of this box (`divert-to`, `divert-reply`), whatever its destination: to the
    /// connection that it belongs to, else to the socket that listens at the address.
    Socket(Option<SocketAddr>),
    /// Out of `interface` in the frame that it came in, as it is (`bridge-to`). No rule is asked
    /// there.
    Bridge {
        /// The interface it leaves by.
        interface: IfIndex,
    },
    /// Out of `interface` in a frame with these addresses. The engine has made the decision for
    /// leaving by that interface too.
    Wire {
        /// The interface it leaves by.
        interface: IfIndex,
        /// The frame's addresses.
        ether: EtherAddresses,
    },
}

/// A packet made by the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// IP header and all that follows.
    pub bytes: Vec<u8>,
    /// Where it goes.
    pub exit: GeneratedExit,
}

/// Where a generated packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratedExit {
    /// Back to the sender of the packet that caused it, by the way that one came: at an `in`
    /// hook onto the wire, at an `out` hook as if the peer on that interface had sent it.
    Back,
    /// As for a passed packet.
    To(Exit),
    /// As a packet that met `hook`, came in a frame with these addresses and passed: unlike the
    /// others it is looked at by the hooks behind.
    Onward {
        /// The hook.
        hook: Hook,
        /// Addresses of the frame.
        ether: Option<EtherAddresses>,
        /// Where it goes from there.
        exit: Exit,
    },
}

/// Why a packet was dropped: the counters of `pfctl -si`, in its order, then our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// `match`: a rule (the only reason that is not a fault).
    Match,
    /// `bad-offset`: impossible fragment offset.
    BadOffset,
    /// `fragment`: fragment overlaps, is too many, or is of a datagram that was dropped.
    Fragment,
    /// `short`: too short for the headers it announces.
    Short,
    /// `normalize`: cannot be normalised.
    Normalize,
    /// `memory`: no room, by a limit of `set limit` or for want of memory.
    Memory,
    /// `bad-timestamp`.
    BadTimestamp,
    /// `congestion`: the queue to the engine was full.
    Congestion,
    /// `ip-option`: IP options without `allow-opts`.
    IpOption,
    /// `proto-cksum`: wrong transport checksum.
    ProtoCksum,
    /// `state-mismatch`: does not fit the state it belongs to.
    StateMismatch,
    /// `state-insert`: the state's key is taken.
    StateInsert,
    /// `state-limit`: the rule's `max`, or a limiter.
    StateLimit,
    /// `src-limit`.
    SrcLimit,
    /// `synproxy`: the proxy answers instead.
    Synproxy,
    /// `map-failed`: a pool has no address of the family, or no port is free to translate to.
    MapFailed,
    /// Ours: what `route-to` names is no usable interface.
    NoRoute,
    /// Ours: hop limit reached zero where the packet was routed.
    TtlExceeded,
    /// Ours: too big for the exit's MTU with "don't fragment" set.
    TooBig,
    /// Ours: more came than the engine could take, and its sender had had his share.
    UpcallShare,
}

impl DropReason {
    /// All of them: PF's in the order of `pfctl -si`, then ours.
    pub const ALL: [Self; 20] = [
        Self::Match,
        Self::BadOffset,
        Self::Fragment,
        Self::Short,
        Self::Normalize,
        Self::Memory,
        Self::BadTimestamp,
        Self::Congestion,
        Self::IpOption,
        Self::ProtoCksum,
        Self::StateMismatch,
        Self::StateInsert,
        Self::StateLimit,
        Self::SrcLimit,
        Self::Synproxy,
        Self::MapFailed,
        Self::NoRoute,
        Self::TtlExceeded,
        Self::TooBig,
        Self::UpcallShare,
    ];

    /// The name in `pfctl -si`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::BadOffset => "bad-offset",
            Self::Fragment => "fragment",
            Self::Short => "short",
            Self::Normalize => "normalize",
            Self::Memory => "memory",
            Self::BadTimestamp => "bad-timestamp",
            Self::Congestion => "congestion",
            Self::IpOption => "ip-option",
            Self::ProtoCksum => "proto-cksum",
            Self::StateMismatch => "state-mismatch",
            Self::StateInsert => "state-insert",
            Self::StateLimit => "state-limit",
            Self::SrcLimit => "src-limit",
            Self::Synproxy => "synproxy",
            Self::MapFailed => "map-failed",
            Self::NoRoute => "no-route",
            Self::TtlExceeded => "ttl-exceeded",
            Self::TooBig => "too-big",
            Self::UpcallShare => "upcall-share",
        }
    }
}

/// What a verdict rests on. The seam for the kernel's flow cache: an entry may only repeat a
/// decision for packets that agree in every consulted field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A state, which outlives the ruleset. What its packets are normalised to is part of it;
    /// those to which a `scrub` rule of the old grammar does more are [`Basis::Packet`]. A cache
    /// of states has to be emptied when a ruleset is installed, because that may bring such rules.
    State(StateId),
    /// A rule evaluation (or the implicit pass) without state, valid for this ruleset epoch.
    Stateless {
        /// Ruleset epoch, see `Engine::epoch`.
        epoch: u64,
        /// What the evaluation looked at.
        consulted: Consulted,
    },
    /// This packet alone: fragments, errors, anything that must be looked at each time.
    Packet,
}

/// Number of a state, as `pfctl -vvss` prints it; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateId(pub u64);

/// Fields outside of the flow's key that an evaluation looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "a set of fields")]
pub struct Consulted {
    /// TCP flags: those that were asked for.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp: bool,
    /// ICMP code.
    pub icmp_code: bool,
    /// Type of service.
    pub tos: bool,
    /// A table, whose contents may change.
    pub table: bool,
    /// An interface's addresses, which may change.
    pub interface_addresses: bool,
    /// A tag that came with the packet.
    pub tag: bool,
    /// A random number (`probability`).
    pub random: bool,
    /// Who owns a socket (`user`, `group`).
    pub owner: bool,
    /// The interface by which the packet came in.
    pub received_on: bool,
    /// The priority of the packet's frame.
    pub priority: bool,
    /// How much came before (`max-pkt-rate`, limiters).
    pub limits: bool,
    /// What the SYN says of its sender's system (`os`).
    pub system: bool,
    /// The length of the packet (`max-pkt-size`).
    pub length: bool,
    /// What a pool gives next.
    pub pool: bool,
}

impl Consulted {
    /// Whether packets with the same flow key that agree in the other fields are sure to be
    /// decided alike.
    #[must_use]
    pub const fn is_repeatable(&self) -> bool {
        !(self.random
            || self.owner
            || self.received_on
            || self.priority
            || self.limits
            || self.system)
    }

    /// Whether the key of a flow tells all of it ([`FlowKey`](crate::flow::FlowKey)), but for the
    /// contents of tables, addresses of interfaces, and tags: those come from states, and where
    /// there is one it decides. It tells the type of an echo, unless the
    /// identifier is the same number, and of the TCP flags those that make a segment plain or one
    /// that opens a connection.
    #[must_use]
    pub const fn is_told_by_key(&self) -> bool {
        let flags = self.tcp_flags & !flow::FLAGS_IN_KEY;
        self.is_repeatable()
            && flags == 0
            && !(self.icmp_code || self.tos || self.length || self.pool)
    }
}
