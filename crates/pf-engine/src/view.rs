//! What the engine shows of itself: the facts that pfctl prints.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, Protocol};
use crate::counters::Traffic;
use crate::decision::{DropReason, EtherAddresses, StateId};
use crate::engine::RuleList;
use crate::ether::EtherRule;
use crate::limits::LimitCounter;
use crate::rule::{Direction, RouteKind, Rule, Scrub};
use crate::ruleset::Syncookies;
pub use crate::source::NodeKind;
use crate::time::Instant;

/// Number of criteria that rules are skipped by.
pub const SKIP_STEPS: usize = crate::evaluate::SKIP_STEPS;

/// A rule in force.
#[derive(Clone, Copy, Debug)]
pub struct InstalledRule<'a> {
    /// Number in its list, from 0.
    pub number: u32,
    /// The rule.
    pub rule: &'a Rule,
    /// Its counters.
    pub counters: RuleCounters,
    /// The rule that is looked at next when a criterion fails, nothing for the end of the list:
    /// interface, direction, family, protocol, source address, destination address, source port,
    /// destination port.
    pub skip_steps: [Option<u32>; SKIP_STEPS],
    /// A rule with `once` that has decided.
    pub expired: bool,
}

/// Counters of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounters {
    /// Times the rule was looked at.
    pub evaluations: u64,
    /// Packets of the rule and of its states.
    pub traffic: Traffic,
    /// States that refer to it now.
    pub states: u32,
    /// States it has made.
    pub states_created: u64,
}

/// A rule for frames in force.
#[derive(Clone, Copy, Debug)]
pub struct InstalledEtherRule<'a> {
    /// Number in its ruleset, from 0.
    pub number: u32,
    /// The rule.
    pub rule: &'a EtherRule,
    /// Its counters.
    pub counters: EtherCounters,
}

/// Counters of a rule for frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EtherCounters {
    /// Times the rule was looked at.
    pub evaluations: u64,
    /// Frames that it has decided about, with their headers.
    pub traffic: Traffic,
    /// When it last did.
    pub last_active: Option<Instant>,
}

/// One end of a state's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// Address.
    pub address: IpAddr,
    /// Port; for ICMP the identifier (or type), otherwise 0.
    pub port: u16,
}

/// A state, as `pfctl -ss` and its verbose forms show it.
#[derive(Clone, Copy, Debug)]
pub struct StateView<'a> {
    /// Its number.
    pub id: StateId,
    /// Who made it.
    pub creator_id: u32,
    /// The interface it is bound to, or `all`.
    pub interface: &'a str,
    /// The interface that made it.
    pub original_interface: &'a str,
    /// Direction of the packet that made it.
    pub direction: Direction,
    /// Family.
    pub family: Family,
    /// Protocol.
    pub protocol: Protocol,
    /// Key on the wire side: index 0 is the source of an inbound packet and the destination
    /// of an outbound one, as in PF's `pf_state_key`.
    pub wire: [HostPort; 2],
    /// Key on the stack side, the same order.
    pub stack: [HostPort; 2],
    /// Peer that opened it.
    pub source: PeerView,
    /// Peer that was called.
    pub destination: PeerView,
    /// Since it was made.
    pub age: Duration,
    /// Until it expires, if nothing more comes.
    pub expires_in: Duration,
    /// Packets and bytes: `packets_in`/`bytes_in` are those in the direction of the packet
    /// that made the state, `…_out` those the other way, whatever the hook.
    pub traffic: Traffic,
    /// Number of the filter rule that made it, if that is still in force.
    pub rule: Option<u32>,
    /// If that rule is in an anchor: number of the rule of the main ruleset that led there.
    pub anchor: Option<u32>,
    /// `route-to`, `reply-to`: kind, next hop, interface.
    pub route: Option<(RouteKind, IpAddr, &'a str)>,
    /// The frame addresses of the opener, if it came in a frame.
    pub ether: Option<EtherAddresses>,
    /// What its packets are normalised to.
    pub scrub: Scrub,
    /// What else its rules have asked for.
    pub asked: StateOptions,
}

/// What the rules of a state have asked for, beside tracking it.
#[expect(clippy::struct_excessive_bools, reason = "a set of words of a rule")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateOptions {
    /// `allow-opts`.
    pub allow_options: bool,
    /// `sloppy`.
    pub sloppy: bool,
    /// `set prio`: of packets, and of those that should not wait.
    pub priority: Option<(u8, u8)>,
    /// It counts for a source node of `source-track`.
    pub source_track: bool,
    /// A pool with `sticky-address` chose what it is translated to.
    pub sticky_translation: bool,
    /// A pool with `sticky-address` chose where it is routed.
    pub sticky_route: bool,
    /// `log (all)`.
    pub log_all: bool,
    /// `rtable`.
    pub routing_table: Option<u8>,
}

/// Tracking of one peer of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// PF's state number of this peer (TCPS_*, PFUDPS_*, PFOTHERS_*).
    pub state: u8,
    /// Lowest sequence number that is valid.
    pub seq_lo: u32,
    /// One above the highest that is valid.
    pub seq_hi: u32,
    /// What is added to its sequence numbers (`modulate state`), 0 for nothing.
    pub seq_diff: u32,
    /// Window scale, if one was announced.
    pub window_scale: Option<u8>,
}

/// A source node, as `pfctl -sS` and its verbose forms show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// The source.
    pub address: IpAddr,
    /// What a sticky pool chose for it; nothing for an interface alone and for `source-track`.
    pub target: Option<IpAddr>,
    /// What it is for.
    pub kind: NodeKind,
    /// Its rule, if that is still in force: list and number. Nothing for `source-track global`.
    pub rule: Option<(RuleList, u32)>,
    /// States that refer to it.
    pub states: u32,
    /// TCP connections among them whose handshake is done.
    pub connections: u32,
    /// Connections in the time that the rule's rate is measured over, in thousandths.
    pub rate: u64,
    /// That time, 0 without a rate.
    pub rate_seconds: u32,
    /// Since it was made.
    pub age: Duration,
    /// Without states: until it is forgotten.
    pub expires_in: Option<Duration>,
    /// Packets of its states, both ways.
    pub packets: u64,
    /// Bytes of its states, both ways.
    pub bytes: u64,
}

/// The table of source nodes (`pfctl -vsi`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Number of nodes.
    pub entries: usize,
    /// Look-ups.
    pub searches: u64,
    /// Nodes made.
    pub inserts: u64,
    /// Nodes removed.
    pub removals: u64,
}

/// What `pfctl -si` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Since when it is enabled.
    pub enabled_since: Option<Instant>,
    /// Since when it is disabled, if it is and ever was enabled or disabled.
    pub disabled_since: Option<Instant>,
    /// PF's hostid.
    pub host_id: u32,
    /// Number of states.
    pub states: usize,
    /// State look-ups.
    pub searches: u64,
    /// States made.
    pub inserts: u64,
    /// States removed.
    pub removals: u64,
    /// Fragments held.
    pub fragments: usize,
    /// `set syncookies`.
    pub syncookies: SyncookieStatus,
    /// RSTs that were not sent because there were too many.
    pub resets_refused: u64,
    /// ICMP errors that were not sent because there were too many.
    pub errors_refused: u64,
    /// Addresses of SCTP associations that were not followed because there were too many.
    pub addresses_refused: u64,
    /// One counter for each of [`DropReason::ALL`].
    pub reasons: [u64; DropReason::ALL.len()],
    /// Source tracking.
    pub sources: SourceStatus,
    /// One counter for each of [`LimitCounter::ALL`].
    pub limits: [u64; LimitCounter::ALL.len()],
}

/// What `set syncookies` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncookieStatus {
    /// What was set.
    pub mode: Syncookies,
    /// Whether SYNs are answered with cookies now.
    pub active: bool,
    /// TCP states whose opener has not completed its handshake.
    pub half_open: usize,
    /// Times that the adaptive mode has begun to answer with cookies.
    pub floods: u64,
    /// Cookies sent.
    pub sent: u64,
    /// Cookies that have come back.
    pub validated: u64,
}

/// What refers to an interface or group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceReferences {
    /// States that are bound to it; floating ones are bound to `all`.
    pub states: usize,
    /// Places in rules that name it.
    pub rules: usize,
}

/// What packets did with one address of a table that has `counters`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressCounters {
    /// Packets that were passed, by direction.
    pub passed: Traffic,
    /// Packets that were blocked, by direction.
    pub blocked: Traffic,
    /// OpenBSD: packets for which a `match` rule named the table, by direction.
    pub matched: Traffic,
}

/// What packets did at one interface: every evaluation counts, in bytes of the IP packet as it
/// came. A datagram that came in fragments and was put together counts once, as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceCounters {
    /// IPv4.
    pub inet: AddressCounters,
    /// IPv6.
    pub inet6: AddressCounters,
    /// Since when they count.
    pub cleared: Instant,
}

impl InterfaceCounters {
    /// Nothing counted yet.
    #[must_use]
    pub fn since(cleared: Instant) -> Self {
        Self {
            cleared,
            ..Self::default()
        }
    }

    /// The counters of both, cleared when the one that was cleared last was.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            inet: self.inet.plus(other.inet),
            inet6: self.inet6.plus(other.inet6),
            cleared: self.cleared.max(other.cleared),
        }
    }
}

impl AddressCounters {
    const fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed.plus(other.passed),
            blocked: self.blocked.plus(other.blocked),
            matched: self.matched.plus(other.matched),
        }
    }
}

/// A table in force.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag that pfctl prints"
)]
pub struct TableView<'a> {
    /// Name.
    pub name: &'a str,
    /// The anchor that it belongs to; empty for the main ruleset.
    pub anchor: &'a str,
    /// `const`.
    pub constant: bool,
    /// `persist`.
    pub persist: bool,
    /// A rule refers to it.
    pub referenced: bool,
    /// `counters`.
    pub counters: bool,
    /// Number of addresses.
    pub len: usize,
    /// Rules that refer to it.
    pub references: u32,
    /// Tables of this name in anchors, whose rules find it while that one is not defined.
    pub anchor_references: u32,
    /// When its counters were last zeroed.
    pub cleared: Instant,
    /// Look-ups that found an address.
    pub matches: u64,
    /// Look-ups that found none.
    pub misses: u64,
    /// Packets that were passed, by direction.
    pub passed: Traffic,
    /// Packets that were blocked, by direction.
    pub blocked: Traffic,
    /// Packets for which a `match` rule named the table, by direction.
    pub matched: Traffic,
    /// Packets of states whose address has left the table since, by direction.
    pub xpassed: Traffic,
}
