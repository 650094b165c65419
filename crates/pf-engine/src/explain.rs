//! How a decision came about: what `weighbridge explain` shows.
//!
//! The steps are those of the evaluation itself, watched while it runs, in their order.

use std::net::IpAddr;

use crate::addr::{Family, Protocol};
use crate::anchor::AnchorPath;
use crate::decision::StateId;
use crate::engine::RuleList;
use crate::osfp::pfos::System;
use crate::rule::{Direction, RouteKind};
use crate::view::HostPort;

/// One step of an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet meets the filter at an interface. All steps up to the next `Entered` belong to
    /// this evaluation; `route-to` brings a second one.
    Entered {
        /// The interface; empty for one that nobody knows.
        interface: String,
        /// Direction through it.
        direction: Direction,
        /// The packet as it is there.
        packet: Seen,
    },
    /// A state covers the packet: no rule is looked at.
    StateFound {
        /// Which.
        id: StateId,
    },
    /// A rule was compared with the packet.
    Tested {
        /// The ruleset that it is in.
        anchor: AnchorPath,
        /// Its list.
        list: RuleList,
        /// Its number in the list.
        number: u32,
        /// What came of it.
        outcome: Outcome,
    },
    /// Rules were passed over, because they ask for the same as the one before, in vain.
    Skipped {
        /// The ruleset that they are in.
        anchor: AnchorPath,
        /// Their list.
        list: RuleList,
        /// The first of them.
        first: u32,
        /// The last of them.
        last: u32,
        /// What they ask for.
        criterion: Criterion,
    },
    /// A rule translated the packet. Later rules see it like this.
    Translated {
        /// The ruleset that the rule is in.
        anchor: AnchorPath,
        /// The rule's list.
        list: RuleList,
        /// Its number in the list.
        number: u32,
        /// The packet with its new addresses and ports.
        packet: Seen,
    },
    /// `nat pass` or `rdr pass`: the filter rules are not asked.
    PassedByTranslation,
    /// The filter rules have been gone through.
    Decided {
        /// The ruleset of the one that decides.
        anchor: AnchorPath,
        /// The one that decides; nothing if none matched, which passes the packet.
        number: Option<u32>,
    },
    /// A rule for frames has decided about the frame.
    FrameDecided {
        /// The ruleset that it is in.
        anchor: AnchorPath,
        /// Its number there.
        number: u32,
        /// Whether it lets the frame pass.
        passed: bool,
    },
    /// A state is made, if all evaluations let the packet pass.
    StateMade,
    /// `route-to`, `dup-to`, `reply-to` of a rule or state.
    Routed {
        /// Which of the three.
        kind: RouteKind,
        /// Where the packet leaves.
        interface: String,
        /// The neighbour that it goes to.
        next_hop: IpAddr,
    },
}

/// What came of comparing a rule with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It matches.
    Matched,
    /// It does not: the first criterion that failed.
    Failed(Criterion),
}

/// What a rule asks of a packet, in the order of comparison; by the first eight of them rules are
/// skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Criterion {
    /// `on`.
    Interface,
    /// `in`, `out`.
    Direction,
    /// `inet`, `inet6`.
    Family,
    /// `proto`.
    Protocol,
    /// `from`.
    SourceAddress,
    /// `to`.
    DestinationAddress,
    /// `from … port`.
    SourcePort,
    /// `to … port`.
    DestinationPort,
    /// `fragment`.
    Fragment,
    /// `flags`.
    Flags,
    /// `os`.
    System,
    /// `icmp-type`.
    Icmp,
    /// `tos`.
    Tos,
    /// `tagged`.
    Tag,
    /// `user`, `group`.
    Owner,
    /// `prio`.
    Priority,
    /// `received-on`.
    ReceivedOn,
    /// `probability`.
    Probability,
    /// `state limiter`: it has all the states it may have, or they come too fast.
    StateLimiter,
    /// `source limiter`: the same for the packet's source.
    SourceLimiter,
    /// `max-pkt-rate`: packets come too fast.
    PacketRate,
}

/// What rules see of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Family.
    pub family: Family,
    /// Protocol.
    pub protocol: Protocol,
    /// Source; the port is 0 where the protocol has none, for an ICMP query its identifier.
    pub source: HostPort,
    /// Destination.
    pub destination: HostPort,
    /// TCP flags.
    pub flags: Option<u8>,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// Type of service.
    pub tos: u8,
    /// What its SYN may be of, if rules ask for that.
    pub systems: Vec<System>,
    /// The tag that it carries.
    pub tag: Option<String>,
    /// The interface by which it came in; nothing for what the box has sent.
    pub received_on: Option<String>,
    /// The priority of its frame.
    pub priority: u8,
}
