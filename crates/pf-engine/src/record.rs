//! States as they outlive a restart: plain data, with names instead of numbers and with spans
//! instead of moments.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, Protocol};
use crate::anchor::AnchorPath;
use crate::criteria::Treatment;
use crate::decision::EtherAddresses;
use crate::engine::RuleList;
use crate::rule::{Direction, RouteKind, Rule, Scrub, Timeout};
use crate::view::HostPort;

use crate::source::SourceKey;

pub use crate::installed::PoolUse;
pub use crate::source::NodeKind;
pub use crate::state::Way;
pub use crate::tcpnorm::EndRecord;

/// Largest shift that a TCP window scale may have (RFC 7323, section 2.3).
const WINDOW_SCALE_MAX: u8 = 14;
/// PF's largest number of a peer's state (`PF_TCPS_PROXY_DST`).
const PEER_STATE_MAX: u8 = 12;
/// `match` rules and sticky sources of one state at most: more than rules can give it.
const REFERENCES_MAX: usize = 4096;
/// Bytes in an interface's name or a tag at most (PF's `PF_TAG_NAME_SIZE`).
const NAME_MAX: usize = 64;

/// A state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about one state"
)]
pub struct StateRecord {
    /// Key on the wire side.
    pub wire: [HostPort; 2],
    /// Key on the stack side.
    pub stack: [HostPort; 2],
    /// Protocol.
    pub protocol: Protocol,
    /// Direction of the packet that made it.
    pub direction: Direction,
    /// The interface it is bound to; nothing for a floating one.
    pub bound: Option<String>,
    /// The interface that made it.
    pub origin: String,
    /// Number of the filter rule that made it, as [`crate::engine::Engine::exported_rule`] knows
    /// it.
    pub rule: Option<u32>,
    /// The same for the rule of the main ruleset that led to that rule's anchor.
    #[serde(default)]
    pub anchor: Option<u32>,
    /// The same for the translation rule of the old grammar.
    pub translation_rule: Option<u32>,
    /// The same for `match` rules.
    pub match_rules: Vec<u32>,
    /// Which timeout it has.
    pub timeout: Timeout,
    /// Since it was made.
    pub age: Duration,
    /// Since it was last prolonged.
    pub idle: Duration,
    /// Peer that opened it.
    pub source: PeerRecord,
    /// Peer that was called.
    pub destination: PeerRecord,
    /// Packets and bytes from the opener, then packets and bytes to it.
    pub traffic: [u64; 4],
    /// `keep state (sloppy)`.
    pub sloppy: bool,
    /// `allow-opts`.
    pub allow_options: bool,
    /// `log (all)` of a rule that made it.
    pub logged: bool,
    /// `route-to`, `reply-to`: kind, interface, next hop.
    pub route: Option<(RouteKind, String, Option<IpAddr>)>,
    /// Frame addresses of the opener.
    pub ether: Option<EtherAddresses>,
    /// How its packets cross the box.
    pub way: Option<Way>,
    /// `tag`.
    pub tag: Option<String>,
    /// Its source has one outside address and port towards all (`endpoint-independent`).
    #[serde(default)]
    pub endpoint_independent: bool,
    /// `scrub`: what its packets are normalised to.
    #[serde(default)]
    pub scrub: Scrub,
    /// `set prio`, `rtable`, `divert-to`.
    #[serde(default)]
    pub treatment: Treatment,
    /// `queue`: of its packets, and of those that should not wait.
    #[serde(default)]
    pub queue: Option<(String, String)>,
    /// `log (user)`: the user that owns the local socket.
    #[serde(default)]
    pub owner: Option<u32>,
    /// `reassemble tcp`: what is remembered of the opener and of the called.
    #[serde(default)]
    pub norm: Option<[EndRecord; 2]>,
    /// What sticky pools chose for its source.
    pub sticky: Vec<StickyRecord>,
    /// Its source as `source-track` knows it.
    #[serde(default)]
    pub tracked: Vec<TrackedRecord>,
    /// Its handshake was counted as a connection of its source.
    #[serde(default)]
    pub connected: bool,
    /// Limiters that it counts for.
    #[serde(default)]
    pub limiters: Vec<LimiterRecord>,
    /// What `least-states` pools chose for it.
    #[serde(default)]
    pub loads: Vec<LoadRecord>,
    /// `max-pkt-size`.
    #[serde(default)]
    pub max_packet_size: Option<u16>,
}

/// A source that is tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackedRecord {
    /// Number of the rule; nothing for `source-track global`.
    pub rule: Option<u32>,
    /// The source.
    pub source: IpAddr,
}

/// A limiter that a state counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimiterRecord {
    /// The number of a state limiter.
    State(u8),
    /// The number of a source limiter, the source and how many of its bits count.
    Source(u8, IpAddr, u8),
}

/// What a `least-states` pool chose for a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadRecord {
    /// Number of the rule.
    pub rule: u32,
    /// Which of its pools.
    pub pool: PoolUse,
    /// The address chosen.
    pub address: Option<IpAddr>,
    /// The interface chosen.
    pub interface: Option<String>,
}

/// A source node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceRecord {
    /// Number of the rule; nothing for `source-track global`.
    pub rule: Option<u32>,
    /// What it is for.
    pub kind: NodeKind,
    /// The source.
    pub source: IpAddr,
    /// The address that a sticky pool chose.
    pub address: Option<IpAddr>,
    /// The interface that it chose.
    pub interface: Option<String>,
    /// Since it was made.
    pub age: Duration,
    /// Packets of its states.
    pub packets: u64,
    /// Bytes of its states.
    pub bytes: u64,
    /// Connections in the time of the rate, in thousandths.
    pub rate: u64,
    /// Without states: until it is forgotten.
    pub expires_in: Option<Duration>,
}

/// Where an export or a listing of source nodes goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceCursor(pub(crate) SourceKey);

/// All that can be kept over a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// States.
    pub states: Vec<StateRecord>,
    /// Source nodes.
    pub sources: Vec<SourceRecord>,
}

/// One end of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRecord {
    /// PF's number.
    pub state: u8,
    /// Highest sequence number sent.
    pub seq_lo: u32,
    /// Highest that may be sent.
    pub seq_hi: u32,
    /// Largest window announced, not scaled.
    pub max_win: u32,
    /// What is added to its sequence numbers.
    pub seq_diff: u32,
    /// Window scale.
    pub window_scale: Option<u8>,
    /// Segment size that the proxy announces for it; 0 once it has made the handshakes.
    #[serde(default)]
    pub mss: u16,
}

/// What a sticky pool chose for a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StickyRecord {
    /// Number of the rule.
    pub rule: u32,
    /// Which of its pools.
    pub pool: PoolUse,
    /// The source.
    pub source: IpAddr,
    /// The address chosen.
    pub address: Option<IpAddr>,
    /// The interface chosen.
    pub interface: Option<String>,
}

/// A rule that a record refers to.
#[derive(Clone, Copy, Debug)]
pub struct ExportedRule<'a> {
    /// The ruleset that it is in, or was.
    pub anchor: &'a AnchorPath,
    /// Its list.
    pub list: RuleList,
    /// Its number there, if it is in force.
    pub number: Option<u32>,
    /// The rule.
    pub rule: &'a Rule,
}

/// What the number of a rule in a record stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleBinding {
    /// A rule in force: its anchor, its list and its number there.
    Installed(AnchorPath, RuleList, u32),
    /// A rule that is no longer in force, and the anchor it was in.
    Retired(AnchorPath, Box<Rule>),
}

/// What became of the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// States that live on.
    pub states: usize,
    /// Their time was over.
    pub expired: usize,
    /// An interface of theirs is gone.
    pub without_interface: usize,
    /// No room: `set limit states`, or a state with the same key.
    pub without_room: usize,
}

/// A record that no engine has written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("record {number} is damaged: {what}")]
pub struct RecordError {
    /// Which record, from 0.
    pub number: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

impl StateRecord {
    /// What is wrong with it, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let mixed = |[a, b]: [HostPort; 2]| Family::of(a.address) != Family::of(b.address);
        if mixed(self.wire) || mixed(self.stack) {
            return Some("addresses of two families");
        }
        if ![self.source, self.destination]
            .iter()
            .all(PeerRecord::is_possible)
        {
            return Some("a peer in an impossible state");
        }
        let references = [
            self.match_rules.len(),
            self.sticky.len(),
            self.tracked.len(),
            self.limiters.len(),
            self.loads.len(),
        ];
        if references.into_iter().any(|count| count > REFERENCES_MAX) {
            return Some("too many rules");
        }
        if self.names().any(|name| name.len() > NAME_MAX) {
            return Some("a name that is too long");
        }
        None
    }

    /// The interfaces it cannot do without.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &String> {
        let route = self.route.as_ref().map(|(_, interface, _)| interface);
        let sticky = self.sticky.iter().filter_map(|s| s.interface.as_ref());
        let loads = self.loads.iter().filter_map(|l| l.interface.as_ref());
        std::iter::once(&self.origin)
            .chain(&self.bound)
            .chain(route)
            .chain(sticky)
            .chain(loads)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        let queues = self
            .queue
            .iter()
            .flat_map(|(normal, urgent)| [normal, urgent]);
        self.interfaces().chain(&self.tag).chain(queues)
    }
}

impl SourceRecord {
    /// What is wrong with it, if anything.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let long = self.interface.as_ref().is_some_and(|n| n.len() > NAME_MAX);
        long.then_some("a name that is too long")
    }
}

impl PeerRecord {
    fn is_possible(&self) -> bool {
        self.state <= PEER_STATE_MAX && self.window_scale.is_none_or(|s| s <= WINDOW_SCALE_MAX)
    }
}
